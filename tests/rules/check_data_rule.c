/* Data rules over a still clock: rows as events and in actions. */
#include "house.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

static int put_rule(struct house *h, const char *sql)
{
    char json[1024];
    snprintf(json, sizeof(json), "{'key':'r','sql':'%s','to':{'event':'row'}}", sql);
    return house_put(h, "rule", json);
}

static unsigned rows(struct house *h)
{
    return atomic_load(&h->message_count);
}

/* What message number n says, after "rule:r event <device> row ". */
static void expect_row(struct house *h, unsigned n, const char *device, const char *json)
{
    char text[200];
    ck_assert_uint_lt(n, rows(h));
    snprintf(text, sizeof(text), "rule:r event %s row %s", device, json);
    ck_assert_str_eq(h->messages[n].text, text);
}

static void at(struct house *h, int64_t unix_ms)
{
    tk_clock_set_unix(&h->env.clock, unix_ms);
}

START_TEST(without_a_window_each_message_that_fits_is_a_row)
{
    struct house *h = house_new();
    tk_ok(
        put_rule(h, "SELECT temperature * 2 AS twice, device FROM thermo WHERE temperature > 30"));
    house_temperature(h, "t1", 20);
    ck_assert_uint_eq(rows(h), 0);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(rows(h), 1);
    expect_row(h, 0, "t1", "{\"twice\":62.0,\"device\":\"t1\"}");
    struct house_point p = { "humidity", 5 };
    house_say(h, "t1", &p, 1); /* the message alone counts: temperature is absent */
    ck_assert_uint_eq(rows(h), 1);
    house_free(h);
}
END_TEST

START_TEST(all_columns_are_the_points_of_the_message)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "select * from thermo"));
    struct house_point p[] = { { "humidity", 5 }, { "on", 1 } };
    house_say(h, "t2", p, 2);
    ck_assert_uint_eq(rows(h), 1);
    expect_row(h, 0, "t2", "{\"humidity\":5,\"on\":true,\"device\":\"t2\"}");
    house_free(h);
}
END_TEST

START_TEST(a_tumbling_window_ends_by_the_clock_for_each_device)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT avg(temperature) AS mean, count(*) AS n FROM thermo "
                      "GROUP BY device, TUMBLINGWINDOW(ss, 10)"));
    house_temperature(h, "t1", 10);
    house_temperature(h, "t1", 20);
    house_wait(h, 9999);
    ck_assert_uint_eq(rows(h), 0);
    house_wait(h, 1);
    ck_assert_uint_eq(rows(h), 1);
    expect_row(h, 0, "t1",
               "{\"mean\":15.0,\"n\":2,\"device\":\"t1\",\"window_start_ms\":1000000,"
               "\"window_end_ms\":1010000}");
    house_wait(h, 60000); /* a device that is silent costs nothing more */
    ck_assert_uint_eq(rows(h), 1);
    house_temperature(h, "t1", 1);
    house_temperature(h, "t2", 2);
    house_wait(h, 10000);
    ck_assert_uint_eq(rows(h), 3);
    house_free(h);
}
END_TEST

START_TEST(a_tumbling_window_ends_with_the_first_message_after_it)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT max(temperature) AS m FROM thermo "
                      "GROUP BY device, TUMBLINGWINDOW(ss, 10)"));
    house_temperature(h, "t1", 10);
    at(h, 1012000);
    house_temperature(h, "t1", 3);
    ck_assert_uint_eq(rows(h), 1);
    expect_row(h, 0, "t1",
               "{\"m\":10.0,\"device\":\"t1\",\"window_start_ms\":1000000,\"window_end_ms\":"
               "1010000}");
    house_free(h);
}
END_TEST

START_TEST(hopping_windows_overlap)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(temperature) AS n FROM thermo "
                      "GROUP BY device, HOPPINGWINDOW(ss, 10, 5)"));
    house_temperature(h, "t1", 10); /* in 995..1005 and 1000..1010 */
    at(h, 1006000);
    house_temperature(h, "t1", 10); /* ends the first; in 1000..1010 and 1005..1015 */
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "\"n\":1"));
    house_wait(h, 4000);
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_ptr_nonnull(strstr(h->messages[1].text, "\"n\":2"));
    house_wait(h, 60000);
    ck_assert_uint_eq(rows(h), 3);
    ck_assert_ptr_nonnull(strstr(h->messages[2].text, "\"n\":1"));
    house_free(h);
}
END_TEST

START_TEST(a_count_window_ends_with_its_last_message)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "SELECT sum(humidity) AS s, first_value(humidity) AS a, last_value(humidity) "
                      "AS b FROM thermo GROUP BY device, COUNTWINDOW(3)"));
    for (int i = 1; i <= 6; i++) {
        struct house_point p = { "humidity", i };
        house_say(h, "t1", &p, 1);
    }
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "{\"s\":6,\"a\":1,\"b\":3,"));
    ck_assert_ptr_nonnull(strstr(h->messages[1].text, "{\"s\":15,\"a\":4,\"b\":6,"));
    ck_assert_int_ne(memcmp(&h->messages[0].id, &h->messages[1].id, sizeof(struct tpc_id)), 0);
    house_free(h);
}
END_TEST

START_TEST(a_session_ends_after_silence_or_when_it_is_too_long)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo "
                      "GROUP BY device, SESSIONWINDOW(ss, 20, 5)"));
    house_temperature(h, "t1", 1);
    house_wait(h, 4000);
    house_temperature(h, "t1", 1);
    house_wait(h, 4999);
    ck_assert_uint_eq(rows(h), 0);
    house_wait(h, 1);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "\"n\":2"));
    for (int i = 0; i < 6; i++) { /* 0, 4, .. 20: the last one is the next session */
        house_temperature(h, "t1", 1);
        house_wait(h, 4000);
    }
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_ptr_nonnull(strstr(h->messages[1].text, "\"n\":5"));
    house_free(h);
}
END_TEST

START_TEST(a_state_window_is_open_between_two_conditions)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo "
                      "GROUP BY device, STATEWINDOW(temperature > 30, temperature < 20)"));
    static const double values[] = { 10, 31, 32, 25, 19, 10, 15 };
    for (size_t i = 0; i < 7; i++) {
        house_temperature(h, "t1", values[i]);
    }
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "\"n\":4"));
    house_free(h);
}
END_TEST

START_TEST(having_and_filter_choose_rows_and_messages)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT round(avg(temperature), 1) AS mean, mode FROM thermo GROUP BY device,"
                      " TUMBLINGWINDOW(ss, 10) FILTER (WHERE temperature < 100) "
                      "HAVING count(*) >= 2 and window_end() > 0"));
    house_temperature(h, "t1", 1);
    house_temperature(h, "t1", 200);
    house_temperature(h, "t2", 1);
    house_temperature(h, "t2", 2);
    house_wait(h, 10000);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "{\"mean\":1.5,\"mode\":null,"));
    house_free(h);
}
END_TEST

START_TEST(rows_set_off_actions_and_their_columns_are_names)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "rule",
                    "{'key':'r','sql':'SELECT temperature AS t FROM thermo WHERE temperature > 9',"
                    "'then':[{'notify':{'handler':'ops'}},"
                    "{'notify':{'handler':'ops','params':{'text':'{{ device }}: {{ t }}'}}},"
                    "{'command':{'device':'fan-1','service':'set','params':{'on':true}}}]}"));
    house_temperature(h, "t1", 10);
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_str_eq(h->messages[0].text, "rule:r notify t1 ops {\"t\":10.0,\"device\":\"t1\"}");
    ck_assert_ptr_nonnull(strstr(h->messages[1].text, "t1: 10"));
    ck_assert_uint_eq(atomic_load(&h->command_count), 1);
    house_free(h);
}
END_TEST

/* Recipes of docs/guide/data-rules.md. */
START_TEST(recipes_do_what_the_guide_says)
{
    struct house *h = house_new();
    at(h, 1200000);
    tk_ok(house_put(h, "rule",
                    "{'key':'r','then':[{'alert':{'key':'often-hot','text':'{{ n }} times above 30 "
                    "in {{ device }}'}}],'sql':'SELECT count(*) AS n FROM thermo WHERE temperature "
                    "> 30 GROUP BY device, TUMBLINGWINDOW(mi, 5) HAVING count(*) >= 2'}"));
    tk_ok(house_put(h, "rule",
                    "{'key':'q','to':{'event':'run'},'sql':'SELECT (window_end() - window_start()) "
                    "/ 1000 AS seconds, max(humidity) AS peak FROM thermo GROUP BY device, "
                    "STATEWINDOW(humidity > 5, humidity < 1)'}"));
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 32);
    house_temperature(h, "t2", 32);
    static const double power[] = { 3, 6, 9, 0 };
    for (size_t i = 0; i < 4; i++) {
        struct house_point p = { "humidity", power[i] };
        house_say(h, "t1", &p, 1);
        house_wait(h, 1000);
    }
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "{\"seconds\":2.0,\"peak\":9,"));
    house_wait(h, 300000);
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_ptr_nonnull(strstr(h->messages[1].text, "2 times above 30 in t1"));
    house_free(h);
}
END_TEST

static void restart(struct house *h)
{
    struct tpi_buf state[HOUSE_PARTITIONS];
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_init(&state[i], NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, i, &state[i]));
    }
    tk_ok(house_restart(h));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        uint64_t next;
        struct tpc_bytes bytes = { state[i].ptr, state[i].len };
        tk_ok(tpi_rules_state_load(h->rules, i, bytes, NULL, &next));
        for (size_t cut = 1; cut < state[i].len; cut++) {
            struct tpc_bytes less = { state[i].ptr, cut };
            ck_assert_int_eq(tpi_rules_state_load(h->rules, i, less, NULL, &next), TPC_ECORRUPT);
        }
        tpi_buf_fini(&state[i]);
    }
}

START_TEST(what_is_open_goes_on_after_a_restart)
{
    static const char *const windows[] = { "TUMBLINGWINDOW(ss, 10)", "SESSIONWINDOW(ss, 10, 10)",
                                           "COUNTWINDOW(3)" };
    for (size_t i = 0; i < 3; i++) {
        struct house *h = house_new();
        char sql[200];
        at(h, 1000000);
        snprintf(sql, sizeof(sql),
                 "SELECT sum(temperature) AS s, stddev(temperature) AS d, min(on) AS m FROM thermo "
                 "GROUP BY device, %s",
                 windows[i]);
        tk_ok(put_rule(h, sql));
        house_temperature(h, "t1", 1);
        house_temperature(h, "t1", 3);
        restart(h);
        house_temperature(h, "t1", 8);
        house_wait(h, 10000);
        ck_assert_uint_eq(rows(h), 1);
        ck_assert_ptr_nonnull(strstr(h->messages[0].text, "{\"s\":12.0,\"d\":2.943920"));
        house_wait(h, 100000);
        ck_assert_uint_eq(rows(h), 1);
        house_free(h);
    }
}
END_TEST

START_TEST(a_row_has_the_same_id_when_it_comes_again)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo GROUP BY device, TUMBLINGWINDOW(ss, 10)"));
    for (int i = 0; i < 2; i++) {
        at(h, 1000000);
        house_temperature(h, "t1", 1);
        house_wait(h, 10000);
        tk_ok(house_restart(h));
    }
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_int_eq(memcmp(&h->messages[0].id, &h->messages[1].id, sizeof(struct tpc_id)), 0);
    house_free(h);
}
END_TEST

START_TEST(another_statement_or_its_end_forgets_what_is_open)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo GROUP BY device, COUNTWINDOW(2)"));
    house_temperature(h, "t1", 1);
    tk_ok(put_rule(h, "SELECT count(*) AS m FROM thermo GROUP BY device, COUNTWINDOW(2)"));
    house_temperature(h, "t1", 1);
    ck_assert_uint_eq(rows(h), 0);
    house_temperature(h, "t1", 1);
    ck_assert_uint_eq(rows(h), 1);
    tk_ok(house_delete(h, "rule", "r"));
    house_temperature(h, "t1", 1);
    house_temperature(h, "t1", 1);
    ck_assert_uint_eq(rows(h), 1);
    house_free(h);
}
END_TEST

START_TEST(a_changed_model_keeps_rule_and_windows)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo WHERE temperature > 0 "
                      "GROUP BY device, COUNTWINDOW(2)"));
    house_temperature(h, "t1", 1);
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':["
                    "{'id':'extra','type':'double','access':'r'},"
                    "{'id':'temperature','type':'double','access':'r'}]}}"));
    house_temperature(h, "t1", 1);
    ck_assert_uint_eq(rows(h), 1);
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':["
                    "{'id':'extra','type':'double','access':'r'}]}}"));
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->data_rules_broken), 1);
    house_free(h);
}
END_TEST

START_TEST(what_is_wrong_is_told_with_its_place)
{
    static const struct {
        const char *sql;
        uint32_t line, column;
    } bad[] = {
        { "SELEC temperature FROM thermo", 1, 1 },
        { "SELECT temperature", 1, 19 },
        { "SELECT FROM thermo", 1, 8 },
        { "SELECT temp FROM thermo", 1, 8 },
        { "SELECT temperature + 1 FROM thermo", 1, 8 },
        { "SELECT temperature, temperature FROM thermo", 1, 21 },
        { "SELECT temperature FROM thermo\\nWHERE humidty > 3", 2, 7 },
        { "SELECT avg(temperature) FROM thermo", 1, 8 },
        { "SELECT avg(mode) FROM thermo GROUP BY device, COUNTWINDOW(2)", 1, 12 },
        { "SELECT avg(sum(on)) FROM thermo GROUP BY device, COUNTWINDOW(2)", 1, 12 },
        { "SELECT avg(temperatur) FROM thermo GROUP BY device, COUNTWINDOW(2)", 1, 12 },
        { "SELECT avg(*) FROM thermo GROUP BY device, COUNTWINDOW(2)", 1, 12 },
        { "SELECT avg( FROM thermo", 1, 24 },
        { "SELECT count(*) FROM thermo GROUP BY mode + 1, COUNTWINDOW(2)", 1, 38 },
        { "SELECT count(*) FROM thermo GROUP BY mode", 1, 38 },
        { "SELECT count(*) FROM thermo GROUP BY device, COUNTWINDOW(0)", 1, 58 },
        { "SELECT count(*) FROM thermo GROUP BY device, TUMBLINGWINDOW(yy, 1)", 1, 61 },
        { "SELECT count(*) FROM thermo GROUP BY device, HOPPINGWINDOW(ss, 1, 2)", 1, 60 },
        { "SELECT * FROM thermo GROUP BY device, COUNTWINDOW(2)", 1, 1 },
        { "SELECT * FROM thermo WHERE avg(temperature) > 1", 1, 28 },
        { "SELECT * FROM thermo HAVING temperature > 1", 1, 29 },
        { "SELECT * FROM thermo ORDER BY x", 1, 22 },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_ne(put_rule(h, bad[i].sql), 0);
        ck_assert_msg(strncmp(h->err.path, "sql", 3) == 0 && h->err.line == bad[i].line &&
                          h->err.column == bad[i].column,
                      "%s: %s %u:%u %s", bad[i].sql, h->err.path, h->err.line, h->err.column,
                      h->err.text);
    }
    ck_assert_int_ne(put_rule(h, "SELECT * FROM nothing"), 0);
    ck_assert_int_ne(house_put(h, "rule", "{'key':'r','sql':'SELECT * FROM thermo'}"), 0);
    house_free(h);
}
END_TEST

START_TEST(a_thousand_rules_go_while_messages_come)
{
    struct house *h = house_new();
    char json[300];
    h->count_only = true;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 1000; i++) {
            char key[16];
            snprintf(key, sizeof(key), "r%d", i);
            snprintf(json, sizeof(json),
                     "{'key':'%s','sql':'SELECT count(*) AS n FROM thermo WHERE humidity > 0 GROUP "
                     "BY device, COUNTWINDOW(1000000)','to':{'event':'e'}}",
                     key);
            tk_ok(pass == 0 ? house_put(h, "rule", json) : house_delete(h, "rule", key));
            house_temperature(h, "t1", i);
        }
    }
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->data_rules), 0);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->evaluations), 0);
    house_free(h);
}
END_TEST

struct oom {
    struct house *h;
    struct tpi_change change;
    struct tpc_device *device;
};

static int ignore_command(void *user, uint32_t worker, const struct tpi_rule_command *c)
{
    (void) user;
    (void) worker;
    (void) c;
    return 0;
}

static int ignore_message(void *user, uint32_t worker, const struct tpi_rule_message *m)
{
    (void) user;
    (void) worker;
    (void) m;
    return 0;
}

/* A message into a window, which is saved, read, and ended. */
static int use(struct tpi_rules *rules, struct oom *o)
{
    struct tpc_point point = { .property = 1, .value = { .type = TPC_DOUBLE, .as.d = 1 } };
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_TELEMETRY,
                         .partition = o->device->partition,
                         .received_unix_ms = 1000000,
                         .point_count = 1,
                         .point_size = sizeof(point),
                         .points = &point };
    struct tpi_buf state;
    uint64_t next;
    tpi_registry_read_lock(o->h->registry);
    tpi_rules_begin(rules, 0);
    tpi_rules_message(rules, 0, o->device, &m);
    tpi_rules_end(rules, 0);
    tpi_registry_read_unlock(o->h->registry);
    tpi_buf_init(&state, NULL, 0);
    tk_ok(tpi_rules_state_save(rules, m.partition, &state));
    struct tpc_bytes bytes = { state.ptr, state.len };
    int rc = tpi_rules_state_load(rules, m.partition, bytes, NULL, &next);
    tpi_buf_fini(&state);
    (void) tpi_rules_turn(rules, 0);
    const struct tpi_rules_counters *n = tpi_rules_count(rules);
    ck_assert_uint_eq(TPI_METRIC_GET(n->panes_full) > 0 || TPI_METRIC_GET(n->rows) > 0, 1);
    tpi_rules_product_changed(rules, o->device->product->id);
    return rc;
}

static int put_and_use(const struct tpc_allocator *a, void *user)
{
    struct oom *o = user;
    struct tpi_env env = o->h->env.env;
    env.alloc = a;
    struct tpi_rules_host host = { .registry = o->h->registry,
                                   .workers = 1,
                                   .partitions = HOUSE_PARTITIONS,
                                   .command = ignore_command,
                                   .message = ignore_message };
    struct tpi_rules *rules = NULL;
    int rc = tpi_rules_create(&env, &host, NULL, &rules);
    if (rc != 0) {
        return rc;
    }
    const struct tpi_kind *kind = tpi_rules_data_kind(rules);
    rc = kind->prepare(kind->user, &o->change, NULL);
    if (rc == 0) {
        kind->apply(kind->user, &o->change);
        rc = kind->prepare(kind->user, &o->change, NULL); /* and once more: an update */
    }
    if (rc == 0) {
        kind->discard(kind->user, &o->change);
        rc = use(rules, o);
    }
    tpi_rules_destroy(rules);
    return rc;
}

static void fail_each_allocation(const char *json)
{
    struct oom o = { .h = house_new() };
    at(o.h, 2000000);
    struct tpc_value doc;
    tk_ok(tpc_arena_create(NULL, 0, &o.change.arena));
    tk_ok(tpc_json_parse(o.change.arena, tpc_str_from(json), 0, NULL, &doc));
    tk_ok(tpi_registry_open(o.h->registry, TPC_STR("main"), TPC_STR("t1"), NULL, &o.device));
    o.change.doc = &doc;
    o.change.id = 77;
    o.change.revision = 1;
    o.change.tenant = o.device->tenant->id;
    o.change.tenant_key = TPC_STR("main");
    o.change.key = TPC_STR("r");
    ck_assert_uint_gt(tk_each_alloc_fails(put_and_use, &o), 30);
    tpi_device_unref(o.device);
    tpc_arena_destroy(o.change.arena);
    house_free(o.h);
}

START_TEST(no_memory_refuses_the_rule_and_leaks_nothing)
{
    static const char json[] = TPC_JSON({
            "key" : "r",
            "sql" : "SELECT avg(temperature) AS mean, min(temperature) AS m, 'a' AS b FROM thermo WHERE temperature > 0 GROUP BY device, TUMBLINGWINDOW(ss, 10) HAVING count(*) > 0",
            "to" : { "event" : "e" },
            "then" : [ { "notify" : { "handler" : "ops", "params" : { "t" : "{{ mean }} at {{ device }}" } } } ]
        });
    fail_each_allocation(json);
}
END_TEST

START_TEST(no_memory_refuses_a_topic_and_leaks_nothing)
{
    fail_each_allocation(
        TPC_JSON({
        "key" : "r",
        "sql" : "SELECT max(temperature) AS m FROM 'main/up/thermo/t%31/telemetry' GROUP BY device, TUMBLINGWINDOW(ss, 10)",
        "to" : { "event" : "e" }
    }));
}
END_TEST

Suite *data_rule_suite(void)
{
    Suite *s = suite_create("data rules");
    TCase *t = tcase_create("rows");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, without_a_window_each_message_that_fits_is_a_row);
    tcase_add_test(t, all_columns_are_the_points_of_the_message);
    tcase_add_test(t, a_tumbling_window_ends_by_the_clock_for_each_device);
    tcase_add_test(t, a_tumbling_window_ends_with_the_first_message_after_it);
    tcase_add_test(t, hopping_windows_overlap);
    tcase_add_test(t, a_count_window_ends_with_its_last_message);
    tcase_add_test(t, a_session_ends_after_silence_or_when_it_is_too_long);
    tcase_add_test(t, a_state_window_is_open_between_two_conditions);
    tcase_add_test(t, having_and_filter_choose_rows_and_messages);
    tcase_add_test(t, rows_set_off_actions_and_their_columns_are_names);
    tcase_add_test(t, recipes_do_what_the_guide_says);
    tcase_add_test(t, what_is_open_goes_on_after_a_restart);
    tcase_add_test(t, a_row_has_the_same_id_when_it_comes_again);
    tcase_add_test(t, another_statement_or_its_end_forgets_what_is_open);
    tcase_add_test(t, a_changed_model_keeps_rule_and_windows);
    tcase_add_test(t, what_is_wrong_is_told_with_its_place);
    tcase_add_test(t, no_memory_refuses_the_rule_and_leaks_nothing);
    tcase_add_test(t, no_memory_refuses_a_topic_and_leaks_nothing);
    tcase_add_test(t, a_thousand_rules_go_while_messages_come);
    suite_add_tcase(s, t);
    return s;
}
