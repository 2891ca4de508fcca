/* Bad rules, bad values and bad times in a whole core: what is named, refused, freed and unharmed. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/rule.h>

#include "flow.h"

enum { MINUTE_MS = 60000, DAY_MS = 86400000 };

/* What came out: rows and notifications, by the first letter of their name. */
struct told {
    atomic_uint counts['z' + 1];
    atomic_uint all;
    char row[600]; /* params of the last one */
};

static int on_batch(void *user, const struct tpc_batch *batch)
{
    struct told *t = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        if (m->kind != TPC_MSG_EVENT && m->kind != TPC_MSG_NOTIFY) {
            continue;
        }
        struct tpc_buf out = { (uint8_t *) t->row, sizeof(t->row) - 1, 0 };
        ck_assert_int_eq(tpc_json_write(&m->params, 0, &out), 0);
        t->row[out.need] = '\0';
        atomic_fetch_add(&t->counts[(unsigned char) m->name.ptr[0]], 1);
        atomic_fetch_add(&t->all, 1);
    }
    return 0;
}

/* A core with the devices t1 .. tn and what it says. */
struct scene_of_test {
    struct flow f;
    struct told told;
    struct tpc_sub *sub;
    struct tpc_device *t1;
};

static void start(struct scene_of_test *s)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    flow_start(&s->f);
    o.name = TPC_STR("told");
    o.filter = TPC_STR("main/#");
    tk_ok(tpc_consume(s->f.core, &o, on_batch, &s->told, &s->sub));
    s->t1 = flow_device(&s->f, "t1");
}

static void begin(struct scene_of_test *s, uint32_t workers, int devices)
{
    memset(s, 0, sizeof(*s));
    flow_init(&s->f, workers);
    flow_create(&s->f);
    flow_devices(&s->f, devices);
    flow_probe_open(&s->f);
    start(s);
}

static void end(struct scene_of_test *s)
{
    tpc_device_unref(s->t1);
    tpc_unsubscribe(s->sub);
    flow_fini(&s->f);
}

static unsigned told(const struct scene_of_test *s, char name)
{
    return atomic_load(&s->told.counts[(unsigned char) name]);
}

static void feed(struct scene_of_test *s, const char *text)
{
    int rc;
    while ((rc = flow_feed(s->t1, text)) == TPC_EAGAIN) {
        flow_settle(&s->f);
    }
    tk_ok(rc);
    if (s->f.workers == 0) {
        (void) tpc_core_step(s->f.core, 0, NULL);
    }
}

/* Until everything that follows from what was said has been told. */
static void settle(struct scene_of_test *s)
{
    for (int i = 0; i < 3; i++) {
        flow_settle(&s->f);
    }
}

/* form has ' for ", and one place for a text. */
static int put(struct scene_of_test *s, const char *kind, const char *form, const char *text)
{
    char json[1024];
    snprintf(json, sizeof(json), form, text);
    for (char *p = json; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    return tpc_entity_put(s->f.core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
}

static int see_broken(void *user, const struct tpc_rule_info *info)
{
    snprintf(user, 200, "%.*s", (int) info->broken.len, info->broken.ptr);
    return 0;
}

static const char *broken(struct scene_of_test *s, const char *kind, const char *key)
{
    static char text[200];
    tk_ok(tpc_rule_info(s->f.core, TPC_STR(""), tpc_str_from(kind), tpc_str_from(key), see_broken,
                        text));
    return text;
}

/* ---- models ---- */

static const char both[] = "{'key':'box','codec':'json','model':{'properties':["
                           "{'id':'a','type':'double'},{'id':'b','type':'double'}]}}%s";
static const char one[] = "{'key':'box','codec':'json','model':{'properties':["
                          "{'id':'a','type':'double'}]}}%s";
static const char scene_form[] = "{'key':'%1$s','when':{'product':'box','expr':'%1$s > 1',"
                                 "'fire':'each'},'then':[{'notify':{'handler':'scene-%1$s'}}]}";
static const char rule_form[] = "{'key':'%1$s','sql':'SELECT %1$s FROM box WHERE %1$s > 1',"
                                "'to':{'event':'%1$s'}}";

START_TEST(a_property_that_is_removed_stops_what_names_it_and_nothing_else)
{
    struct scene_of_test s;
    begin(&s, (uint32_t) _i, 1);
    tk_ok(put(&s, "product", both, ""));
    tk_ok(put(&s, "device", "{'key':'b1','product':'box'}%s", ""));
    tpc_device_unref(s.t1);
    s.t1 = flow_device(&s.f, "b1");
    static const char *const names[] = { "a", "b" };
    for (int i = 0; i < 2; i++) {
        tk_ok(put(&s, "scene", scene_form, names[i]));
        tk_ok(put(&s, "rule", rule_form, names[i]));
    }
    feed(&s, "{\"a\":2,\"b\":2}");
    settle(&s);
    ck_assert_uint_eq(told(&s, 'a'), 1);
    ck_assert_uint_eq(told(&s, 'b'), 1);
    ck_assert_uint_eq(told(&s, 's'), 2);
    tk_ok(put(&s, "product", one, ""));
    ck_assert_str_eq(broken(&s, "scene", "a"), "");
    ck_assert_str_eq(broken(&s, "rule", "a"), "");
    ck_assert_str_eq(broken(&s, "scene", "b"), "no property 'b' (when.expr, line 1, column 1)");
    ck_assert_str_eq(broken(&s, "rule", "b"), "no property 'b' (sql, line 1, column 25)");
    feed(&s, "{\"a\":2}");
    settle(&s);
    ck_assert_uint_eq(told(&s, 'a'), 2);
    ck_assert_uint_eq(told(&s, 's'), 3);
    ck_assert_uint_eq(told(&s, 'b'), 1);
    /* A property of that name is there again: another one, and they take it. */
    tk_ok(put(&s, "product", both, ""));
    ck_assert_str_eq(broken(&s, "scene", "b"), "");
    feed(&s, "{\"b\":2}");
    settle(&s);
    ck_assert_uint_eq(told(&s, 'b'), 2);
    end(&s);
}
END_TEST

/* ---- values ---- */

START_TEST(values_without_a_result_are_null_in_rows_and_fire_nothing)
{
    static const char *const never[] = { "n / 0 > 1",
                                         "not (n / 0 > 1)",
                                         "n % 0 == 0",
                                         "temperature * 1e308 * 1e308 > 0",
                                         "sqrt(0 - temperature) >= 0",
                                         "ln(0) < 0",
                                         "on",
                                         "on == false",
                                         "on != true",
                                         "temperature > 0 and on",
                                         "power(10, 400) > 0",
                                         "exp(1000) > 0" };
    struct scene_of_test s;
    begin(&s, 0, 1);
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        char form[300];
        snprintf(form, sizeof(form),
                 "{'key':'s%zu','when':{'product':'thermo','expr':'%%s or n == 999','fire':'each'},"
                 "'then':[{'notify':{'handler':'x'}}]}",
                 i);
        int rc = put(&s, "scene", form, never[i]);
        ck_assert_msg(rc == 0, "%s: %s", never[i], tpc_error_last()->text);
    }
    tk_ok(put(&s, "rule",
              "{'key':'r','sql':'SELECT n / 0 AS a, n %% 0 AS b, temperature * 1e308 AS c,"
              " sqrt(0 - n) AS d, on AS e, n + 9223372036854775807 AS f, - n AS g,"
              " concat(on, 1) AS h FROM thermo%s','to':{'event':'r'}}",
              ""));
    tk_ok(put(&s, "rule",
              "{'key':'w','sql':'SELECT sum(temperature * 1e307) AS s, avg(temperature / 0) AS a,"
              " min(on) AS m, max(temperature / 0) AS x, count(on) AS c, sum(n) AS i,"
              " stddev(temperature * 1e300) AS d FROM thermo"
              " GROUP BY device, COUNTWINDOW(2)%s','to':{'event':'w'}}",
              ""));
    feed(&s, "{\"temperature\":120,\"n\":9223372036854775807}");
    settle(&s);
    ck_assert_uint_eq(told(&s, 'x'), 0);
    ck_assert_uint_eq(told(&s, 'r'), 1);
    ck_assert_str_eq(s.told.row,
                     "{\"a\":null,\"b\":null,\"c\":null,\"d\":null,\"e\":null,"
                     "\"f\":1.8446744073709552e19,\"g\":-9223372036854775807,\"h\":null,"
                     "\"device\":\"t1\"}");
    tk_ok(tpc_entity_delete(s.f.core, NULL, TPC_STR(""), "rule", TPC_STR("r"), TPC_ANY_REV));
    feed(&s, "{\"temperature\":20,\"n\":9223372036854775807}");
    settle(&s);
    ck_assert_uint_eq(told(&s, 'w'), 1);
    ck_assert_ptr_nonnull(strstr(s.told.row, "{\"s\":null,\"a\":null,\"m\":null,\"x\":null,\"c\":0,"
                                             "\"i\":1.8446744073709552e19,\"d\":null,"));
    end(&s);
}
END_TEST

/* ---- documents ---- */

static int put_repeated(struct scene_of_test *s, const char *kind, const char *head,
                        const char *part, size_t count, const char *tail)
{
    size_t room = strlen(head) + strlen(part) * count + strlen(tail) + 1;
    char *json = malloc(room);
    char *p = json + snprintf(json, room, "%s", head);
    for (size_t i = 0; i < count; i++) {
        memcpy(p, part, strlen(part));
        p += strlen(part);
    }
    snprintf(p, room - (size_t) (p - json), "%s", tail);
    int rc = tpc_entity_put(s->f.core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    free(json);
    return rc;
}

struct rule_text {
    const char *kind;
    const char *head, *tail;
};

/* Wherever a rule has a text that is read. */
static const struct rule_text texts[] = {
    { "rule", "{\"key\":\"x\",\"sql\":\"SELECT ", " FROM thermo\",\"to\":{\"event\":\"e\"}}" },
    { "rule", "{\"key\":\"x\",\"sql\":\"SELECT n FROM thermo WHERE ",
      "\",\"to\":{\"event\":\"e\"}}" },
    { "rule", "{\"key\":\"x\",\"sql\":\"SELECT sum(",
      ") FROM thermo GROUP BY device, COUNTWINDOW(2)\",\"to\":{\"event\":\"e\"}}" },
    { "scene", "{\"key\":\"x\",\"when\":{\"product\":\"thermo\",\"expr\":\"",
      "\"},\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}" },
    { "scene", "{\"key\":\"x\",\"when\":{\"product\":\"thermo\",\"expr\":\"on\",\"until\":\"",
      "\"},\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}" },
    { "scene",
      "{\"key\":\"x\",\"when\":{\"product\":\"thermo\",\"expr\":\"on\"},\"then\":[{\"notify\":"
      "{\"handler\":\"ops\",\"params\":{\"text\":\"{{ ",
      " }}\"}}}]}" },
    { "schedule", "{\"key\":\"x\",\"cron\":\"",
      "\",\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}" },
};

START_TEST(texts_that_are_too_long_or_too_deep_are_refused)
{
    struct scene_of_test s;
    begin(&s, 0, 1);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const struct rule_text *t = &texts[i];
        tk_fails(TPC_ETOOBIG, put_repeated(&s, t->kind, t->head, "n + 1 ", 1747627, t->tail));
        ck_assert_ptr_nonnull(strstr(tpc_error_last()->text, "bytes"));
        int rc = put_repeated(&s, t->kind, t->head, "(", 10000, t->tail);
        ck_assert_msg(rc == TPC_ETOOBIG || rc == TPC_EINVAL, "%zu: %s", i, tpc_error_name(rc));
        rc = put_repeated(&s, t->kind, t->head, "[", 10000, t->tail);
        ck_assert_msg(rc == TPC_ETOOBIG || rc == TPC_EINVAL, "%zu: %s", i, tpc_error_name(rc));
        /* Just below the limit of a document. */
        rc = put_repeated(&s, t->kind, t->head, " ", 1000000, t->tail);
        ck_assert_msg(rc == TPC_ETOOBIG || rc == TPC_EINVAL, "%zu: %s", i, tpc_error_name(rc));
    }
    tk_fails(TPC_ETOOBIG, put_repeated(&s, "rule", "{\"key\":\"x\",\"to\":", "{\"a\":", 10000, ""));
    feed(&s, "{\"n\":3}");
    settle(&s);
    ck_assert_double_eq(flow_latest(&s.f, "t1", "n"), 3);
    end(&s);
}
END_TEST

/* ---- many of them ---- */

enum { MANY = 500 }; /* scenes, and as many data rules */

START_TEST(a_thousand_rules_come_and_go_under_traffic)
{
    static const char scene[] = "{'key':'m%s','when':{'product':'thermo','expr':'n >= 0',"
                                "'fire':'each'},'then':[{'notify':{'handler':'many'}}]}";
    static const char rule[] = "{'key':'m%s','sql':'SELECT count(*) AS n FROM thermo WHERE n >= 0 "
                               "GROUP BY device, TUMBLINGWINDOW(dd, 1)','to':{'event':'many'}}";
    struct scene_of_test s;
    begin(&s, (uint32_t) _i, 2);
    tk_ok(put(&s, "scene",
              "{'key':'%s','when':{'product':'thermo','expr':'n >= 0','fire':'each'},"
              "'then':[{'notify':{'handler':'scene'}}]}",
              "stays"));
    tk_ok(put(&s, "rule", "{'key':'%s','sql':'SELECT n FROM thermo','to':{'event':'rule'}}",
              "stays"));
    for (int i = 0; i < MANY; i++) {
        char key[16], text[32];
        snprintf(key, sizeof(key), "%d", i);
        tk_ok(put(&s, "scene", scene, key));
        tk_ok(put(&s, "rule", rule, key));
        snprintf(text, sizeof(text), "{\"n\":%d}", i);
        if (i % 50 == 0) {
            feed(&s, text);
        }
    }
    ck_assert_double_eq(flow_metric(&s.f, "tpc_rules_scenes"), MANY + 1);
    for (int i = 0; i < MANY; i++) {
        char key[16], text[32];
        snprintf(text, sizeof(text), "{\"n\":%d}", i);
        if (i % 50 == 0) {
            feed(&s, text);
        }
        snprintf(key, sizeof(key), "m%d", i);
        tk_ok(tpc_entity_delete(s.f.core, NULL, TPC_STR(""), "scene", tpc_str_from(key),
                                TPC_ANY_REV));
        tk_ok(
            tpc_entity_delete(s.f.core, NULL, TPC_STR(""), "rule", tpc_str_from(key), TPC_ANY_REV));
    }
    settle(&s);
    unsigned before = told(&s, 'm');
    ck_assert_uint_gt(before, MANY);
    ck_assert_uint_eq(told(&s, 's'), 2 * MANY / 50);
    ck_assert_uint_eq(told(&s, 'r'), 2 * MANY / 50);
    tk_clock_advance(&s.f.e.clock, 2 * (uint64_t) DAY_MS);
    feed(&s, "{\"n\":1}");
    settle(&s);
    ck_assert_uint_eq(told(&s, 'm'), before); /* their windows went with them */
    ck_assert_uint_eq(told(&s, 's'), 2 * MANY / 50 + 1);
    ck_assert_uint_eq(told(&s, 'r'), 2 * MANY / 50 + 1);
    end(&s);
}
END_TEST

/* ---- clocks ---- */

/* Three rules that wait: they lose nothing and repeat nothing when the wall clock jumps. */
START_TEST(a_clock_that_jumps_is_survived)
{
    struct scene_of_test s;
    int64_t begin_ms = 1795176000000;
    int64_t jump = _i == 0 ? DAY_MS : -DAY_MS;
    begin(&s, 0, 1);
    tk_clock_set_unix(&s.f.e.clock, begin_ms);
    tk_ok(put(&s, "scene",
              "{'key':'%s','when':{'product':'thermo','expr':'temperature > 30','for':'5m'},"
              "'then':[{'notify':{'handler':'for'}}]}",
              "long"));
    tk_ok(put(&s, "scene",
              "{'key':'%s','when':{'product':'thermo','expr':'temperature > 30','fire':'each',"
              "'every':'10m'},'then':[{'notify':{'handler':'every'}}]}",
              "seldom"));
    tk_ok(put(&s, "rule",
              "{'key':'%s','sql':'SELECT count(*) AS n FROM thermo GROUP BY device, "
              "TUMBLINGWINDOW(mi, 1)','to':{'event':'window'}}",
              "w"));
    feed(&s, "{\"temperature\":31}");
    settle(&s);
    ck_assert_uint_eq(told(&s, 'e'), 1);
    tk_clock_set_unix(&s.f.e.clock, begin_ms + jump);
    for (int i = 0; i < 7; i++) { /* six minutes after the jump all of them have to be themselves */
        feed(&s, "{\"temperature\":31}");
        settle(&s);
        tk_clock_advance(&s.f.e.clock, MINUTE_MS);
        settle(&s);
    }
    ck_assert_uint_eq(told(&s, 'f'), 1);
    ck_assert_uint_eq(told(&s, 'e'), 2); /* another time: not held back by the one that was set */
    ck_assert_uint_ge(told(&s, 'w'), 7);
    ck_assert_uint_le(told(&s, 'w'), 9);
    end(&s);
}
END_TEST

/* ---- what is over is freed ---- */

enum { CROWD = 200 };

START_TEST(windows_of_devices_that_never_send_again_are_freed)
{
    static const char *const windows[] = { "TUMBLINGWINDOW(ss, 10)", "HOPPINGWINDOW(ss, 20, 5)",
                                           "SESSIONWINDOW(ss, 60, 10)" };
    struct scene_of_test s;
    size_t before = 0, after = 0;
    begin(&s, 0, CROWD);
    tk_ok(put(&s, "rule",
              "{'key':'w','sql':'SELECT count(*) AS n, avg(n) AS mean FROM thermo GROUP BY device, "
              "%s','to':{'event':'w'}}",
              windows[_i]));
    for (int round = 0; round < 3; round++) {
        before = s.f.e.alloc.live_bytes;
        for (int i = 1; i <= CROWD; i++) {
            char key[16];
            snprintf(key, sizeof(key), "t%d", i);
            struct tpc_device *d = flow_device(&s.f, key);
            tk_ok(flow_feed(d, "{\"n\":1}"));
            tpc_device_unref(d);
        }
        settle(&s);
        tk_clock_advance(&s.f.e.clock, 2 * MINUTE_MS);
        settle(&s);
        after = s.f.e.alloc.live_bytes;
    }
    ck_assert_uint_ge(told(&s, 'w'), 3 * CROWD);
    ck_assert_msg(after <= before + CROWD, "%zu bytes, then %zu", before, after);
    end(&s);
}
END_TEST

Suite *rule_fault_flow_suite(void)
{
    Suite *s = suite_create("rule faults");
    TCase *t = tcase_create("rule faults");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_property_that_is_removed_stops_what_names_it_and_nothing_else, 0, 3);
    tcase_add_test(t, values_without_a_result_are_null_in_rows_and_fire_nothing);
    tcase_add_test(t, texts_that_are_too_long_or_too_deep_are_refused);
    tcase_add_loop_test(t, a_thousand_rules_come_and_go_under_traffic, 0, 3);
    tcase_add_loop_test(t, a_clock_that_jumps_is_survived, 0, 2);
    tcase_add_loop_test(t, windows_of_devices_that_never_send_again_are_freed, 0, 3);
    suite_add_tcase(s, t);
    return s;
}
