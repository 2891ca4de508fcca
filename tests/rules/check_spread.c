/* Windows over several devices: what comes into them goes to one owner. */
#include "house.h"
#include "suites.h"

#include "rules/group.h"
#include "rules/window.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

static int put_rule(struct house *h, const char *sql)
{
    char json[1024];
    snprintf(json, sizeof(json), "{'key':'r','sql':'%s','to':{'event':'row','device':'fan-1'}}",
             sql);
    return house_put(h, "rule", json);
}

static unsigned rows(struct house *h)
{
    return atomic_load(&h->message_count);
}

static bool has_row(struct house *h, const char *json)
{
    char text[240];
    snprintf(text, sizeof(text), "rule:r event fan-1 row %s", json);
    for (unsigned i = 0; i < rows(h); i++) {
        if (strcmp(h->messages[i].text, text) == 0) {
            return true;
        }
    }
    return false;
}

static void at(struct house *h, int64_t unix_ms)
{
    tk_clock_set_unix(&h->env.clock, unix_ms);
}

static void say_two(struct house *h, const char *device, double temperature, double humidity)
{
    struct house_point p[] = { { "temperature", temperature }, { "humidity", humidity } };
    house_say(h, device, p, 2);
}

START_TEST(a_window_without_groups_has_all_devices)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT avg(temperature) AS mean, count(*) AS n, min(temperature), "
                      "window_start() AS s FROM thermo GROUP BY TUMBLINGWINDOW(ss, 10)"));
    house_temperature(h, "t1", 10);
    house_temperature(h, "t2", 20);
    house_temperature(h, "t3", 60);
    house_wait(h, 9999);
    ck_assert_uint_eq(rows(h), 0);
    house_wait(h, 1);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert(has_row(h, "{\"mean\":30.0,\"n\":3,\"min\":10.0,\"s\":1000000,"
                         "\"window_start_ms\":1000000,\"window_end_ms\":1010000}"));
    house_wait(h, 60000);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->inputs), 3);
    house_free(h);
}
END_TEST

START_TEST(a_group_is_an_expression_and_a_column)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT temperature > 30 AS hot, count(*) AS n, sum(humidity) AS s "
                      "FROM thermo GROUP BY temperature > 30, COUNTWINDOW(2) HAVING hot or "
                      "count(*) = 2"));
    say_two(h, "t1", 20, 1);
    say_two(h, "t2", 40, 2);
    say_two(h, "t3", 10, 4);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "{\"hot\":false,\"n\":2,\"s\":5,"));
    say_two(h, "t1", 50, 8);
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_ptr_nonnull(strstr(h->messages[1].text, "{\"hot\":true,\"n\":2,\"s\":10,"));
    house_free(h);
}
END_TEST

START_TEST(groups_that_no_column_is_stand_behind_them)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(house_put(h, "rule",
                    "{'key':'r','sql':'SELECT count(*) AS n FROM thermo GROUP BY device, "
                    "humidity / 10 AS tens, COUNTWINDOW(2)','then':[{'notify':{'handler':'ops',"
                    "'params':{'t':'{{ n }} of {{ device }} in {{ tens }}'}}}]}"));
    struct house_point low = { "humidity", 20 };
    house_say(h, "t1", &low, 1);
    house_say(h, "t2", &low, 1);
    house_temperature(h, "t1", 5); /* its humidity is as it was */
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_str_eq(h->messages[0].text, "rule:r notify - ops {\"t\":\"2 of t1 in 2\"}");
    house_free(h);
}
END_TEST

START_TEST(session_and_state_windows_are_shared)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo GROUP BY SESSIONWINDOW(ss, 100, 5)"));
    house_temperature(h, "t1", 1);
    house_wait(h, 4000);
    house_temperature(h, "t2", 1);
    house_wait(h, 4000);
    ck_assert_uint_eq(rows(h), 0);
    house_wait(h, 1000);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert(has_row(h, "{\"n\":2,\"window_start_ms\":1000000,\"window_end_ms\":1009000}"));
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo GROUP BY "
                      "STATEWINDOW(temperature > 30, temperature < 10)"));
    house_temperature(h, "t1", 20);
    house_temperature(h, "t1", 31);
    house_temperature(h, "t2", 20);
    house_temperature(h, "t3", 5);
    ck_assert_uint_eq(rows(h), 2);
    ck_assert_ptr_nonnull(strstr(h->messages[1].text, "{\"n\":3,"));
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

START_TEST(what_came_before_a_restart_is_counted_once)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT mode AS m, sum(temperature) AS s, count(*) AS n FROM thermo "
                      "WHERE temperature > 0 GROUP BY mode, TUMBLINGWINDOW(ss, 10)"));
    house_temperature(h, "t1", 1);
    house_temperature(h, "t2", 2);
    restart(h);
    h->input_done = 0; /* a replay brings them again */
    house_inputs(h);
    house_temperature(h, "t3", 4);
    house_wait(h, 10000);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "{\"m\":null,\"s\":7.0,\"n\":3,"));
    h->input_done = 0;
    house_inputs(h);
    house_wait(h, 20000);
    ck_assert_uint_eq(rows(h), 1);
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_rules_inputs_end(h->rules, i, 0); /* the log began anew */
    }
    h->input_done = 0;
    house_inputs(h);
    house_wait(h, 20000);
    ck_assert_uint_eq(rows(h), 2);
    house_free(h);
}
END_TEST

START_TEST(inputs_of_another_statement_are_not_counted)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT sum(temperature) AS s FROM thermo GROUP BY COUNTWINDOW(2)"));
    house_temperature(h, "t1", 1);
    tk_ok(put_rule(h, "SELECT max(temperature) AS s FROM thermo GROUP BY COUNTWINDOW(2)"));
    h->input_done = 0;
    house_inputs(h);
    house_temperature(h, "t1", 2);
    ck_assert_uint_eq(rows(h), 0);
    house_temperature(h, "t1", 3);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "{\"s\":3.0,"));
    tk_ok(house_delete(h, "rule", "r"));
    h->input_done = 0;
    house_inputs(h);
    ck_assert_uint_eq(rows(h), 1);
    house_free(h);
}
END_TEST

START_TEST(what_is_wrong_is_told)
{
    static const struct {
        const char *sql, *text;
    } bad[] = {
        { "SELECT temperature AS t, count(*) FROM thermo GROUP BY TUMBLINGWINDOW(ss, 1)",
          "temperature" },
        { "SELECT device, count(*) FROM thermo GROUP BY TUMBLINGWINDOW(ss, 1)", "device" },
        { "SELECT count(*) FROM thermo GROUP BY humidity + 1, TUMBLINGWINDOW(ss, 1)", "AS name" },
        { "SELECT count(*) FROM thermo GROUP BY humidity", "window" },
        { "SELECT count(*) FROM thermo GROUP BY humidity, humidity, COUNTWINDOW(1)", "same name" },
        { "SELECT count(*) AS n FROM thermo GROUP BY humidity AS n, COUNTWINDOW(1)", "column" },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(put_rule(h, bad[i].sql), TPC_EINVAL);
        ck_assert_msg(strstr(h->err.text, bad[i].text) != NULL, "%s", h->err.text);
        ck_assert_str_eq(h->err.path, "sql");
    }
    ck_assert_int_eq(house_put(h, "rule",
                               "{'key':'r','sql':'SELECT count(*) FROM thermo GROUP BY "
                               "COUNTWINDOW(1)','to':{'event':'e'}}"),
                     TPC_EINVAL);
    ck_assert_str_eq(h->err.path, "to.device");
    house_free(h);
}
END_TEST

START_TEST(rows_of_one_device_may_be_about_another)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "SELECT temperature AS t, device FROM thermo"));
    house_temperature(h, "t2", 7);
    ck_assert(has_row(h, "{\"t\":7.0,\"device\":\"t2\"}"));
    tk_ok(house_put(h, "rule",
                    "{'key':'r','sql':'SELECT temperature FROM thermo','to':{'event':'row',"
                    "'device':'nobody'}}"));
    house_temperature(h, "t2", 8);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->missing_target), 1);
    house_free(h);
}
END_TEST

static int spread_and_use(const struct tpc_allocator *a, void *user)
{
    (void) user;
    struct tpc_value v[] = { { .type = TPC_INT, .as.i = 5 },
                             { .type = TPC_TEXT, .len = 3, .as.text = "abc" } };
    struct tpi_group_input in = { .rule = 7, .hash = 1, .partition = 2, .offset = 300, .count = 1 };
    struct tpi_group_input got;
    struct tpc_arena *arena = NULL;
    struct tpi_buf raw;
    tpi_buf_init(&raw, a, 0);
    int rc = tpc_arena_create(a, 0, &arena);
    rc = rc != 0 ? rc : tpi_group_head(&raw, &in);
    rc = rc != 0 ? rc : tpi_group_value(&raw, &v[0], false);
    rc = rc != 0 ? rc : tpi_group_value(&raw, &v[1], true);
    rc = rc != 0 ? rc : tpi_group_read((struct tpc_bytes){ raw.ptr, raw.len }, arena, &got);
    if (rc == 0) {
        ck_assert_uint_eq(got.offset, 300);
        ck_assert_int_eq(got.values[0].as.i, 5);
        tpi_group_values(got.groups, arena, 1, v);
        ck_assert_uint_eq(v[0].len, 3);
    }
    tpc_arena_destroy(arena);
    tpi_buf_fini(&raw);
    return rc;
}

START_TEST(what_groups_take_is_bounded)
{
    static uint8_t long_text[TPI_GROUP_BYTES];
    struct tpi_flow f;
    uint64_t n = 0;
    tpi_flow_init(&f, NULL, NULL, 0);
    tk_ok(tpi_flow_spread(&f, 4));
    struct tpi_open *o;
    bool fresh;
    ck_assert_ptr_nonnull(o = tpi_flow_open(&f, 0, INT64_MAX, &fresh));
    struct tpc_bytes text = { long_text, sizeof(long_text) };
    while (n < 5000 && tpi_flow_group(&f, n + 1, text) == 0) {
        ck_assert_ptr_nonnull(tpi_flow_pane(&f, o, ++n, &fresh));
    }
    ck_assert_uint_eq(n, TPI_FLOW_MAX_BYTES / TPI_GROUP_BYTES);
    ck_assert_int_eq(tpi_flow_group(&f, n + 1, text), TPC_ETOOBIG);
    tpi_flow_drop_pane(&f, o, 1); /* its window has ended: there is room */
    tk_ok(tpi_flow_group(&f, n + 1, text));
    tpi_flow_spread_fini(&f);
    ck_assert_uint_eq(f.bytes, 0);
    tpi_flow_fini(&f);
}
END_TEST

START_TEST(a_record_survives_each_failure_of_memory)
{
    ck_assert_uint_gt(tk_each_alloc_fails(spread_and_use, NULL), 1);
}
END_TEST

Suite *spread_suite(void)
{
    Suite *s = suite_create("rules over several devices");
    TCase *t = tcase_create("rows");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_window_without_groups_has_all_devices);
    tcase_add_test(t, a_group_is_an_expression_and_a_column);
    tcase_add_test(t, groups_that_no_column_is_stand_behind_them);
    tcase_add_test(t, session_and_state_windows_are_shared);
    tcase_add_test(t, what_came_before_a_restart_is_counted_once);
    tcase_add_test(t, inputs_of_another_statement_are_not_counted);
    tcase_add_test(t, what_is_wrong_is_told);
    tcase_add_test(t, rows_of_one_device_may_be_about_another);
    tcase_add_test(t, what_groups_take_is_bounded);
    tcase_add_test(t, a_record_survives_each_failure_of_memory);
    suite_add_tcase(s, t);
    return s;
}
