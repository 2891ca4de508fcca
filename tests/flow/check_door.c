/* What table telemetry says: the same as the public API, by every plan. */
#include "door_suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T0 INT64_C(1795000000000)

static const char rich[] = TPC_JSON({
    "key": "rich", "codec": "json",
    "model": {
        "properties": [
            { "id": "whole", "type": "int" },
            { "id": "real", "type": "double" },
            { "id": "yes", "type": "bool" },
            { "id": "name", "type": "text", "length": 200 },
            { "id": "tree", "type": "struct", "fields": [
                { "id": "a", "type": "int" }, { "id": "b", "type": "text", "length": 9 } ] },
            { "id": "list", "type": "array", "items": { "type": "int" } }
        ]
    }
});

static void begin(struct fx *f)
{
    fx_init(f, 0, FX_FILE_LOG | FX_SQLITE);
    fx_open(f);
    fx_entities(f);
    fx_put(f, "product", rich);
    fx_put(f, "device", "{\"key\":\"r1\",\"product\":\"rich\"}");
    fx_start(f);
    door_tick(f, false);
}

/* ---- against the public API ---- */

static void add_value(struct door_text *t, const struct tpc_value *v)
{
    switch (v->type) {
    case TPC_BOOL:
        door_add(t, "%d\n", v->as.b);
        break;
    case TPC_INT:
        door_add(t, "%lld\n", (long long) v->as.i);
        break;
    case TPC_DOUBLE:
        door_add(t, "%.17g\n", v->as.d);
        break;
    default:
        door_add(t, "%.*s\n", (int) v->len, v->as.text);
        break;
    }
}

/* "ts|value" of one property, as door_ask() writes it. */
static void api_rows(struct fx *f, const char *device, const char *property, int64_t from,
                     int64_t to, bool descending, struct door_text *ret)
{
    struct tpc_device *d = fx_device(f, device);
    struct tpc_str name = tpc_str_from(property);
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_rows *rows;
    const struct tpc_row_batch *b;
    int rc;
    q.devices = &d;
    q.device_count = 1;
    q.properties = &name;
    q.property_count = 1;
    q.from_unix_ms = from;
    q.to_unix_ms = to;
    q.descending = descending;
    ret->len = 0;
    door_add(ret, "%s", "");
    fx_ok(tpc_history_query(f->core, &q, &rows), "query");
    while ((rc = tpc_rows_next(rows, &b)) > 0) {
        for (uint32_t i = 0; i < b->count; i++) {
            struct tpc_value value;
            if (tpc_column_value(&b->columns[0], i, &value) == 1) {
                door_add(ret, "%lld|", (long long) b->unix_ms[i]);
                add_value(ret, &value);
            }
        }
    }
    fx_ok(rc, "rows");
    tpc_rows_close(rows);
}

static void same_rows(struct fx *f, sqlite3 *db, const char *device, const char *property,
                      int64_t from, int64_t to)
{
    struct door_text t = { NULL, 0, 0 };
    char sql[400];
    for (int back = 0; back < 2; back++) {
        snprintf(sql, sizeof(sql),
                 "SELECT ts, value FROM telemetry WHERE device = '%s' AND property = '%s' AND"
                 " ts >= %lld AND ts < %lld ORDER BY ts%s",
                 device, property, (long long) from, (long long) to, back ? " DESC" : "");
        api_rows(f, device, property, from, to, back, &t);
        ck_assert_str_eq(door_ask(db, sql), t.ptr);
    }
    free(t.ptr);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static void feed_random(struct fx *f, uint64_t *seed, int i)
{
    static const char *const devices[] = { "t1", "t2", "fan1" };
    char json[200];
    uint64_t x = next_random(seed);
    /* mostly rising, some late, some twice */
    int64_t at = T0 + (int64_t) i * 100 + (x % 5 == 0 ? -(int64_t) (x / 8 % 300) * 100 : 0);
    int n = snprintf(json, sizeof(json), "{\"seq\":%d", i);
    if (x % 3 == 0) {
        n += snprintf(json + n, sizeof(json) - (size_t) n, ",\"temperature\":%d.%d", i % 50, i % 7);
    }
    if (x % 7 < 2) {
        n += snprintf(json + n, sizeof(json) - (size_t) n, ",\"on\":%s,\"note\":\"n%d\"",
                      x % 2 ? "true" : "false", i % 9);
    }
    snprintf(json + n, sizeof(json) - (size_t) n, "}");
    door_feed(f, devices[x / 64 % 3], at, json);
}

static void compare_all(struct fx *f, uint64_t *seed)
{
    static const char *const devices[] = { "t1", "t2", "fan1", "fan2" };
    static const char *const properties[] = { "seq", "temperature", "on", "note" };
    sqlite3 *db = door_open(f->dir, "history.db");
    for (int d = 0; d < 4; d++) {
        for (int p = 0; p < 4; p++) {
            int64_t from = T0 + (int64_t) (next_random(seed) % 100000) - 20000;
            same_rows(f, db, devices[d], properties[p], INT64_MIN + 1, INT64_MAX);
            same_rows(f, db, devices[d], properties[p], from,
                      from + 1 + (int64_t) (next_random(seed) % 30000));
        }
    }
    sqlite3_close(db);
}

START_TEST(rows_are_those_of_the_public_api)
{
    uint64_t seed = 4711 + (uint64_t) _i;
    struct fx f;
    begin(&f);
    for (int i = 0; i < 1000; i++) {
        feed_random(&f, &seed, i);
        if (i % 100 != 99) {
            continue;
        }
        fx_settle(&f);
        (void) tpc_core_step(f.core, 0, NULL);
        compare_all(&f, &seed);
        switch (next_random(&seed) % 3) {
        case 0:
            door_tick(&f, true);
            compare_all(&f, &seed);
            break;
        case 1:
            fx_close(&f);
            fx_run(&f);
            compare_all(&f, &seed);
            break;
        default:
            break;
        }
    }
    fx_fini(&f);
}
END_TEST

/* ---- plans ---- */

/* Two devices, 300 rounds of 1 s: seq = round, temperature = round / 2 on even rounds; half of it is
 * in chunks. */
static sqlite3 *begin_rounds(struct fx *f)
{
    char json[100];
    begin(f);
    for (int i = 0; i < 300; i++) {
        int n = snprintf(json, sizeof(json), "{\"seq\":%d", i);
        if (i % 2 == 0) {
            n += snprintf(json + n, sizeof(json) - (size_t) n, ",\"temperature\":%d.5", i / 2);
        }
        snprintf(json + n, sizeof(json) - (size_t) n, "}");
        door_feed(f, "t1", T0 + i * 1000, json);
        door_feed(f, "t2", T0 + i * 1000, json);
        if (i == 150) {
            door_tick(f, true);
        }
    }
    door_tick(f, false);
    return door_open(f->dir, "history.db");
}

static const struct {
    const char *sql;
    const char *answer;
} questions[] = {
    { "SELECT property, count(*), avg(value), min(value), max(value) FROM telemetry"
      " WHERE device = 't1' GROUP BY property",
      "seq|300|149.5|0|299\ntemperature|150|75|0.5|149.5\n" },
    { "SELECT count(*) FROM telemetry", "900\n" },
    { "SELECT device, count(*) FROM telemetry WHERE device IN ('t2', 't1', 'none') GROUP BY 1",
      "t1|450\nt2|450\n" },
    { "SELECT count(*) FROM telemetry WHERE device = 't1' OR property = 'seq'", "750\n" },
    { "SELECT count(*) FROM telemetry WHERE property IN ('seq', 'none')", "600\n" },
    { "SELECT count(*) FROM telemetry WHERE property LIKE 'temp%'", "300\n" },
    { "SELECT count(*) FROM telemetry WHERE device = 'T1'", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE device = 'T1' COLLATE NOCASE", "450\n" },
    { "SELECT count(*) FROM telemetry WHERE tenant = 'main' AND product = 'thermo'", "900\n" },
    { "SELECT count(*) FROM telemetry WHERE tenant = 'other'", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE product = 'rich'", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE device = NULL", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE device = x'7431'", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE device IS NULL", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE device IS NOT NULL AND ts IS NOT NULL", "900\n" },
    { "SELECT value FROM telemetry WHERE device = 't1' AND property = 'seq' AND"
      " ts = 1795000007000",
      "7\n" },
    { "SELECT value FROM telemetry WHERE device = 't1' AND property = 'seq' AND"
      " ts = '1795000007000'",
      "7\n" },
    { "SELECT count(*) FROM telemetry WHERE device = 't1' AND property = 'seq' AND"
      " ts BETWEEN 1795000000500.5 AND 1795000003000.5",
      "3\n" },
    { "SELECT count(*) FROM telemetry WHERE ts > 1795000298000 AND ts <= 1795000299000", "2\n" },
    { "SELECT count(*) FROM telemetry WHERE ts < 'x'", "900\n" },
    { "SELECT count(*) FROM telemetry WHERE ts > 'x'", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE ts > 9.3e18", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE ts < 9.3e18 AND ts > -9.3e18", "900\n" },
    { "SELECT count(*) FROM telemetry WHERE ts > 9223372036854775807", "0\n" },
    { "SELECT count(*) FROM telemetry WHERE ts >= -9223372036854775808", "900\n" },
    { "SELECT count(*) FROM telemetry WHERE ts < NULL", "0\n" },
    { "SELECT ts - 1795000000000, value FROM telemetry WHERE device = 't1' AND property = 'seq'"
      " ORDER BY ts DESC LIMIT 2",
      "299000|299\n298000|298\n" },
    { "SELECT device, value FROM telemetry WHERE device IN ('t1', 't2') AND property = 'seq'"
      " ORDER BY ts, device LIMIT 3",
      "t1|0\nt2|0\nt1|1\n" },
    { "SELECT p.type, count(*) FROM telemetry t JOIN property p ON p.key = t.property"
      " GROUP BY 1 ORDER BY 1",
      "double|300\nint|600\n" },
    { "SELECT count(*) FROM telemetry a JOIN telemetry b USING (device, property, ts)", "900\n" },
    { "SELECT count(*) FROM telemetry a, telemetry b WHERE a.device = 't1' AND b.device = 't2' AND"
      " b.ts = a.ts AND a.property = 'temperature' AND b.property = 'seq' AND"
      " b.value = 2 * (a.value - 0.5)",
      "150\n" },
    { "SELECT DISTINCT tenant, device, product FROM telemetry ORDER BY 1, 2",
      "main|t1|thermo\nmain|t2|thermo\n" },
    { "SELECT value FROM telemetry WHERE device = 't1' AND property = 'seq' AND ts ="
      " (SELECT max(ts) FROM telemetry WHERE device = 't2')",
      "299\n" },
    { "SELECT (ts - 1795000000000) / 100000, sum(value) FROM telemetry WHERE device = 't2' AND"
      " property = 'seq' GROUP BY 1",
      "0|4950\n1|14950\n2|24950\n" },
    { "SELECT max(device), min(property) FROM telemetry", "t2|seq\n" },
};

START_TEST(questions_are_answered_by_every_plan)
{
    struct fx f;
    sqlite3 *db = begin_rounds(&f);
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        const char *answer = door_ask(db, questions[i].sql);
        ck_assert_msg(strcmp(answer, questions[i].answer) == 0, "%s:\n%s", questions[i].sql,
                      answer);
    }
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(the_plan_reads_few_chunks)
{
    struct fx f;
    sqlite3 *db = begin_rounds(&f);
    /* a device's order of time needs no sorting */
    const char *plan = door_ask(db, "EXPLAIN QUERY PLAN SELECT value FROM telemetry WHERE"
                                    " device = 't1' AND property = 'seq' ORDER BY ts DESC");
    ck_assert_msg(strstr(plan, "TEMP B-TREE") == NULL, "%s", plan);
    plan = door_ask(db, "EXPLAIN QUERY PLAN SELECT value FROM telemetry ORDER BY ts");
    ck_assert_msg(strstr(plan, "TEMP B-TREE") != NULL, "%s", plan);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

/* ---- values ---- */

START_TEST(values_have_their_natural_types)
{
    struct fx f;
    begin(&f);
    door_feed(
        &f, "r1", T0,
        "{\"whole\":-9007199254740993,\"real\":0.5,\"yes\":true,\"name\":\"h\\u00e9 \\\"q\\\"\","
        "\"tree\":{\"a\":1,\"b\":\"x\"},\"list\":[1,2,3]}");
    door_feed(&f, "r1", T0 + 1, "{\"name\":\"\",\"yes\":false,\"real\":3}");
    for (int pass = 0; pass < 2; pass++) {
        door_tick(&f, pass == 1); /* open, then in a chunk */
        sqlite3 *db = door_open(f.dir, "history.db");
        ck_assert_str_eq(door_ask(db, "SELECT ts - 1795000000000, property, typeof(value), value"
                                      " FROM telemetry ORDER BY 1, 2"),
                         "0|list|text|[1,2,3]\n0|name|text|h\xc3\xa9 \"q\"\n0|real|real|0.5\n"
                         "0|tree|text|{\"a\":1,\"b\":\"x\"}\n0|whole|integer|-9007199254740993\n"
                         "0|yes|integer|1\n1|name|text|\n1|real|real|3\n1|yes|integer|0\n");
        ck_assert_str_eq(
            door_ask(db, "SELECT value ->> '$.b' FROM telemetry WHERE property = 'tree'"), "x\n");
        sqlite3_close(db);
    }
    fx_fini(&f);
}
END_TEST

START_TEST(the_last_one_appended_wins)
{
    struct fx f;
    begin(&f);
    door_feed(&f, "t1", T0, "{\"seq\":1}");
    door_tick(&f, true); /* a chunk .. */
    door_feed(&f, "t1", T0, "{\"seq\":2}");
    fx_close(&f); /* .. another one .. */
    fx_run(&f);
    door_tick(&f, false);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_int_eq(door_number(db, "SELECT value FROM telemetry"), 2);
    door_feed(&f, "t1", T0, "{\"seq\":3}"); /* .. and an open sample */
    door_feed(&f, "t1", T0 - 5, "{\"seq\":4}");
    door_tick(&f, false);
    ck_assert_str_eq(door_ask(db, "SELECT value FROM telemetry WHERE device = 't1' ORDER BY ts"),
                     "4\n3\n");
    door_feed(&f, "t1", T0, "{\"seq\":5}");
    door_tick(&f, true);
    ck_assert_str_eq(
        door_ask(db, "SELECT value FROM telemetry WHERE device = 't1' ORDER BY ts DESC"), "5\n4\n");
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry"), 2);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(tenants_share_a_device_key)
{
    struct fx f;
    begin(&f);
    fx_put(&f, "tenant", "{\"key\":\"acme\"}");
    fx_put(&f, "product",
           "{\"tenant\":\"acme\",\"key\":\"box\",\"codec\":\"json\",\"model\":{\"properties\":"
           "[{\"id\":\"level\",\"type\":\"int\"}]}}");
    fx_put(&f, "device", "{\"tenant\":\"acme\",\"key\":\"t1\",\"product\":\"box\"}");
    struct tpc_device *d;
    struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = T0 + 1 };
    static const char json[] = "{\"level\":9}";
    frame.payload = (struct tpc_bytes){ (const uint8_t *) json, sizeof(json) - 1 };
    fx_ok(tpc_device_open_in(f.core, TPC_STR("acme"), TPC_STR("t1"), &d), "acme/t1");
    fx_ok(tpc_feed_frame(d, &frame, NULL, NULL), "feed");
    tpc_device_unref(d);
    door_feed(&f, "t1", T0, "{\"seq\":1}");
    door_feed(&f, "t1", T0 + 2, "{\"seq\":2}");
    door_tick(&f, false);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_str_eq(door_ask(db, "SELECT tenant, product, property, value FROM telemetry"
                                  " WHERE device = 't1' ORDER BY ts"),
                     "main|thermo|seq|1\nacme|box|level|9\nmain|thermo|seq|2\n");
    ck_assert_str_eq(door_ask(db, "SELECT value FROM telemetry WHERE device = 't1' AND"
                                  " tenant = 'acme' ORDER BY ts DESC"),
                     "9\n");
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

Suite *door_suite(void)
{
    Suite *s = suite_create("door");
    TCase *t = tcase_create("rows");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, rows_are_those_of_the_public_api, 0, 4);
    tcase_add_test(t, questions_are_answered_by_every_plan);
    tcase_add_test(t, the_plan_reads_few_chunks);
    tcase_add_test(t, values_have_their_natural_types);
    tcase_add_test(t, the_last_one_appended_wins);
    tcase_add_test(t, tenants_share_a_device_key);
    suite_add_tcase(s, t);
    return s;
}
