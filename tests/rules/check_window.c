/* Windows of data rules that keep messages: sliding, overlapping, event time, lists and sets. */
#include "house.h"
#include "rules/window.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>

static int put_timed(struct house *h, const char *sql, const char *time)
{
    char json[1024];
    snprintf(json, sizeof(json), "{'key':'r','sql':'%s','to':{'event':'row'}%s}", sql, time);
    return house_put(h, "rule", json);
}

static int put_rule(struct house *h, const char *sql)
{
    return put_timed(h, sql, "");
}

static unsigned rows(struct house *h)
{
    return atomic_load(&h->message_count);
}

/* What row n says: its columns, without what is added to each. */
static void expect(struct house *h, unsigned n, const char *columns)
{
    ck_assert_uint_lt(n, rows(h));
    const char *text = strstr(h->messages[n].text, "{");
    ck_assert_ptr_nonnull(text);
    ck_assert_msg(strncmp(text, columns, strlen(columns)) == 0 && text[strlen(columns)] == ',',
                  "row %u is %s, not %s", n, text, columns);
}

static void expect_window(struct house *h, unsigned n, int64_t start, int64_t end)
{
    char text[100];
    snprintf(text, sizeof(text), "\"window_start_ms\":%lld,\"window_end_ms\":%lld}",
             (long long) start, (long long) end);
    ck_assert_uint_lt(n, rows(h));
    ck_assert_msg(strstr(h->messages[n].text, text) != NULL, "row %u: %s, not %s", n,
                  h->messages[n].text, text);
}

static void at(struct house *h, int64_t unix_ms)
{
    tk_clock_set_unix(&h->env.clock, unix_ms);
}

static void humidity(struct house *h, const char *device, int value)
{
    struct house_point p = { "humidity", value };
    house_say(h, device, &p, 1);
}

/* A message whose event was then. */
static void event(struct house *h, int64_t unix_ms, int value)
{
    h->event_ms = unix_ms;
    humidity(h, "t1", value);
}

static struct tpi_buf *save(struct house *h)
{
    static struct tpi_buf state[HOUSE_PARTITIONS];
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_init(&state[i], NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, i, &state[i]));
    }
    return state;
}

/* A new process with the state; no part of it is taken for all of it. */
static void restart(struct house *h)
{
    struct tpi_buf *state = save(h);
    tk_ok(house_restart(h));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        uint64_t next;
        struct tpc_bytes bytes = { state[i].ptr, state[i].len };
        for (size_t cut = 1; cut < state[i].len; cut++) {
            struct tpc_bytes less = { state[i].ptr, cut };
            ck_assert_int_eq(tpi_rules_state_load(h->rules, i, less, NULL, &next), TPC_ECORRUPT);
        }
        tk_ok(tpi_rules_state_load(h->rules, i, bytes, NULL, &next));
        tpi_buf_fini(&state[i]);
    }
}

static size_t state_bytes(struct house *h)
{
    struct tpi_buf *state = save(h);
    size_t n = 0;
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        n += state[i].len;
        tpi_buf_fini(&state[i]);
    }
    return n;
}

static uint64_t count(struct house *h, size_t offset)
{
    return atomic_load(
        (const _Atomic uint64_t *) ((const char *) tpi_rules_count(h->rules) + offset));
}

#define COUNT(h, member) count(h, offsetof(struct tpi_rules_counters, member))

/* ---- sliding ---- */

START_TEST(each_message_gives_what_came_in_the_time_before_it)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(*) AS n, sum(humidity) AS s FROM thermo "
                      "GROUP BY device, SLIDINGWINDOW(ss, 10)"));
    humidity(h, "t1", 1);
    expect(h, 0, "{\"n\":1,\"s\":1");
    expect_window(h, 0, 990000, 1000000);
    at(h, 1004000);
    humidity(h, "t1", 2);
    expect(h, 1, "{\"n\":2,\"s\":3");
    humidity(h, "t2", 40); /* a device of its own */
    expect(h, 2, "{\"n\":1,\"s\":40");
    at(h, 1010000);
    humidity(h, "t1", 4); /* the first one is 10 s old: gone */
    expect(h, 3, "{\"n\":2,\"s\":6");
    expect_window(h, 3, 1000000, 1010000);
    at(h, 1030000);
    humidity(h, "t1", 8);
    expect(h, 4, "{\"n\":1,\"s\":8");
    ck_assert_uint_eq(rows(h), 5);
    house_free(h);
}
END_TEST

START_TEST(a_sliding_window_with_a_delay_ends_later)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(*) AS n, last_value(humidity) AS l FROM thermo "
                      "GROUP BY device, SLIDINGWINDOW(ss, 10, 5)"));
    humidity(h, "t1", 1);
    at(h, 1003000);
    humidity(h, "t1", 2);
    ck_assert_uint_eq(rows(h), 0);
    house_wait(h, 1999);
    ck_assert_uint_eq(rows(h), 0);
    house_wait(h, 1); /* 1005: that of the first */
    ck_assert_uint_eq(rows(h), 1);
    expect(h, 0, "{\"n\":2,\"l\":2");
    expect_window(h, 0, 990000, 1005000);
    at(h, 1009000);
    humidity(h, "t1", 3); /* past 1008: that of the second, without this one */
    ck_assert_uint_eq(rows(h), 2);
    expect(h, 1, "{\"n\":2,\"l\":2");
    expect_window(h, 1, 993000, 1008000);
    house_wait(h, 5000);
    ck_assert_uint_eq(rows(h), 3);
    expect(h, 2, "{\"n\":3,\"l\":3");
    house_free(h);
}
END_TEST

START_TEST(a_sliding_window_is_bounded_and_freed)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo GROUP BY device, SLIDINGWINDOW(ss, 10) "
                      "HAVING count(*) = 1024"));
    size_t empty = state_bytes(h);
    for (int i = 0; i < TPI_SQL_MAX_KEPT + 3; i++) {
        humidity(h, "t1", i);
    }
    ck_assert_uint_eq(rows(h), 4);
    ck_assert_uint_eq(COUNT(h, kept_full), 3);
    ck_assert_uint_gt(state_bytes(h), empty + TPI_SQL_MAX_KEPT);
    house_wait(h, 9999);
    ck_assert_uint_gt(state_bytes(h), empty + TPI_SQL_MAX_KEPT);
    house_wait(h, 1);
    ck_assert_uint_le(state_bytes(h), empty + 40);
    house_free(h);
}
END_TEST

/* ---- count ---- */

START_TEST(windows_of_a_count_overlap)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "SELECT sum(humidity) AS s, first_value(humidity) AS a FROM thermo "
                      "GROUP BY device, COUNTWINDOW(4, 2)"));
    for (int i = 1; i <= 8; i++) {
        humidity(h, "t1", i);
    }
    ck_assert_uint_eq(rows(h), 3); /* after 4, 6 and 8: after 2 there are too few */
    expect(h, 0, "{\"s\":10,\"a\":1");
    expect(h, 1, "{\"s\":18,\"a\":3");
    expect(h, 2, "{\"s\":26,\"a\":5");
    house_free(h);
}
END_TEST

START_TEST(a_device_that_is_deleted_takes_no_state)
{
    static const char *const windows[] = { "COUNTWINDOW(4, 2)", "COUNTWINDOW(4)",
                                           "STATEWINDOW(humidity > 0, humidity < 0)" };
    for (size_t i = 0; i < 3; i++) {
        struct house *h = house_new();
        char sql[200];
        snprintf(sql, sizeof(sql), "SELECT count(*) AS n FROM thermo GROUP BY device, %s",
                 windows[i]);
        tk_ok(put_rule(h, sql));
        humidity(h, "t1", 1);
        humidity(h, "t2", 1);
        size_t both = state_bytes(h);
        tk_ok(house_delete(h, "device", "t1"));
        ck_assert_uint_lt(state_bytes(h), both);
        tk_ok(house_delete(h, "device", "t2"));
        size_t none = state_bytes(h);
        ck_assert_uint_lt(none, both - 10);
        house_free(h);
    }
}
END_TEST

/* A window of a count stays open when the device's event time stands still. */
START_TEST(a_silent_device_that_is_deleted_takes_no_state_while_others_send)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_timed(h, "SELECT count(*) AS n FROM thermo GROUP BY device, COUNTWINDOW(4)",
                    ",'time':'event','idle':'10s'"));
    event(h, 1000000, 1);
    house_wait(h, 10000);
    humidity(h, "t2", 1);
    humidity(h, "t3", 1);
    size_t all = state_bytes(h);
    tk_ok(house_delete(h, "device", "t1"));
    ck_assert_uint_lt(state_bytes(h), all);
    house_free(h);
}
END_TEST

/* ---- lists and sets ---- */

START_TEST(collect_gives_a_list_and_count_distinct_how_many_differ)
{
    struct house *h = house_new();
    tk_ok(put_rule(h, "SELECT collect(humidity) AS all, count(distinct humidity) AS n, "
                      "count(DISTINCT device) AS m FROM thermo GROUP BY device, COUNTWINDOW(4)"));
    static const int values[] = { 3, 1, 3, 7, 9, 9, 9, 9 };
    for (size_t i = 0; i < 8; i++) {
        humidity(h, "t1", values[i]);
    }
    ck_assert_uint_eq(rows(h), 2);
    expect(h, 0, "{\"all\":[3,1,3,7],\"n\":3,\"m\":1");
    expect(h, 1, "{\"all\":[9,9,9,9],\"n\":1,\"m\":1");
    house_free(h);
}
END_TEST

START_TEST(lists_and_sets_stand_in_having_filter_and_every_window)
{
    static const char *const windows[] = { "TUMBLINGWINDOW(ss, 10)",
                                           "HOPPINGWINDOW(ss, 10, 10)",
                                           "SLIDINGWINDOW(ss, 10)",
                                           "SESSIONWINDOW(ss, 10, 10)",
                                           "COUNTWINDOW(3)",
                                           "COUNTWINDOW(3, 1)",
                                           "STATEWINDOW(true, humidity = 5)" };
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        struct house *h = house_new();
        char sql[300];
        at(h, 1000000);
        snprintf(sql, sizeof(sql),
                 "SELECT collect(humidity) AS all FROM thermo GROUP BY device, %s FILTER (WHERE "
                 "humidity < 9) HAVING count(distinct humidity) = 2 and "
                 "cardinality(collect(humidity)) = 3",
                 windows[i]);
        tk_ok(put_rule(h, sql));
        humidity(h, "t1", 4);
        humidity(h, "t1", 4);
        humidity(h, "t1", 10);
        restart(h);
        humidity(h, "t1", 5);
        house_wait(h, 10000);
        ck_assert_msg(rows(h) == 1, "%s: %u", windows[i], rows(h));
        expect(h, 0, "{\"all\":[4,4,5]");
        house_free(h);
    }
}
END_TEST

START_TEST(what_collect_and_distinct_keep_is_bounded)
{
    struct house *h = house_new();
    tk_ok(put_rule(h,
                   "SELECT cardinality(collect(device)) AS n, count(distinct humidity) AS m FROM "
                   "thermo GROUP BY device, COUNTWINDOW(11000)"));
    for (int i = 0; i < 11000; i++) {
        humidity(h, "t1", i);
    }
    ck_assert_uint_eq(rows(h), 1);
    expect(h, 0, "{\"n\":1000,\"m\":10000");
    ck_assert_uint_eq(COUNT(h, values_lost), 10000 + 1000);
    house_free(h);
}
END_TEST

/* ---- event time ---- */

static const char on_events[] = ",'time':'event','lateness':'5s'";

START_TEST(events_are_in_the_window_of_their_time_and_it_ends_by_the_watermark)
{
    struct house *h = house_new();
    at(h, 9000000); /* the clock says something else */
    tk_ok(put_timed(h,
                    "SELECT count(*) AS n, first_value(humidity) AS a, last_value(humidity) AS b "
                    "FROM thermo GROUP BY device, TUMBLINGWINDOW(ss, 10)",
                    on_events));
    event(h, 1000000, 1);
    event(h, 1012000, 2); /* watermark 1007 */
    event(h, 1008000, 3); /* not late, and in the first window */
    event(h, 1006999, 4); /* late */
    ck_assert_uint_eq(rows(h), 0);
    event(h, 1014999, 5); /* watermark 1009.999 */
    ck_assert_uint_eq(rows(h), 0);
    event(h, 1015000, 6); /* watermark 1010: the first window ends */
    ck_assert_uint_eq(rows(h), 1);
    expect(h, 0, "{\"n\":2,\"a\":1,\"b\":3");
    expect_window(h, 0, 1000000, 1010000);
    ck_assert_uint_eq(COUNT(h, late), 1);
    house_wait(h, 59999);
    ck_assert_uint_eq(rows(h), 1);
    house_wait(h, 1); /* idle: the second one ends by the clock */
    ck_assert_uint_eq(rows(h), 2);
    expect(h, 1, "{\"n\":3,\"a\":2,\"b\":6");
    expect_window(h, 1, 1010000, 1020000);
    event(h, 900000, 7); /* begins anew: nothing is late */
    house_wait(h, 60000);
    ck_assert_uint_eq(rows(h), 3);
    expect(h, 2, "{\"n\":1,\"a\":7,\"b\":7");
    ck_assert_uint_eq(COUNT(h, late), 1);
    house_free(h);
}
END_TEST

START_TEST(all_windows_see_events_in_their_order)
{
    static const struct {
        const char *window;
        unsigned rows;
        const char *row[6];
    } cases[] = {
        { "HOPPINGWINDOW(ss, 10, 5)", 6, { "[1,2]", "[1,2,3,4]", "[3,4,5]", "[5]", "[6]", "[6]" } },
        { "SLIDINGWINDOW(ss, 4)", 6, { "[1]", "[1,2]", "[2,3]", "[3,4]", "[4,5]", "[6]" } },
        { "SLIDINGWINDOW(ss, 2, 2)", 6, { "[1]", "[2]", "[3,4]", "[3,4]", "[5]", "[6]" } },
        { "SESSIONWINDOW(ss, 100, 5)", 2, { "[1,2,3,4,5]", "[6]" } },
        { "COUNTWINDOW(3)", 2, { "[1,2,3]", "[4,5,6]" } },
        { "COUNTWINDOW(3, 2)", 2, { "[2,3,4]", "[4,5,6]" } },
        { "STATEWINDOW(humidity = 2, humidity = 4)", 1, { "[2,3,4]" } },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct house *h = house_new();
        char text[300];
        at(h, 9000000);
        snprintf(text, sizeof(text),
                 "SELECT collect(humidity) AS l FROM thermo GROUP BY device, %s", cases[i].window);
        tk_ok(put_timed(h, text, on_events));
        /* at 1000, 1003, 1006, 1007, 1010.5 and 1030 s */
        event(h, 1003000, 2);
        event(h, 1000000, 1);
        event(h, 1007000, 4);
        event(h, 1006000, 3);
        restart(h);
        event(h, 1010500, 5);
        event(h, 1030000, 6);
        house_wait(h, 60000);
        for (unsigned n = 0; n < rows(h) && n < cases[i].rows; n++) {
            snprintf(text, sizeof(text), "{\"l\":%s", cases[i].row[n]);
            ck_assert_msg(strstr(h->messages[n].text, text) != NULL, "%s: row %u is %s",
                          cases[i].window, n, h->messages[n].text);
        }
        ck_assert_msg(rows(h) == cases[i].rows, "%s: %u", cases[i].window, rows(h));
        ck_assert_uint_eq(COUNT(h, late), 0);
        house_free(h);
    }
}
END_TEST

START_TEST(a_clock_that_was_ahead_does_no_harm_for_ever)
{
    struct house *h = house_new();
    at(h, 9000000);
    tk_ok(put_timed(h, "SELECT count(*) AS n FROM thermo GROUP BY device, TUMBLINGWINDOW(ss, 10)",
                    on_events));
    event(h, 900000000, 1);
    for (int i = 0; i < 20; i++) { /* all late, and so they keep nothing alive */
        house_wait(h, 4000);
        event(h, 1000000 + i * 4000, 1);
    }
    ck_assert_uint_eq(COUNT(h, late), 14);
    ck_assert_uint_ge(rows(h), 2);
    expect_window(h, 0, 900000000, 900010000);
    event(h, INT64_MAX, 1);
    event(h, INT64_MIN, 1);
    ck_assert_uint_eq(COUNT(h, late), 16);
    house_free(h);
}
END_TEST

START_TEST(a_device_that_sends_events_no_more_takes_no_state)
{
    struct house *h = house_new();
    at(h, 9000000);
    tk_ok(put_timed(h, "SELECT count(*) AS n FROM thermo GROUP BY device, HOPPINGWINDOW(ss, 10, 1)",
                    ",'time':'event','idle':'10s'"));
    event(h, 1000000, 1);
    size_t open = state_bytes(h);
    house_wait(h, 10000);
    ck_assert_uint_eq(rows(h), 10);
    size_t none = state_bytes(h);
    ck_assert_uint_lt(none, open);
    humidity(h, "t1", 1);
    ck_assert_uint_gt(state_bytes(h), none + 20);
    house_wait(h, 10000);
    ck_assert_uint_eq(state_bytes(h), none);
    house_free(h);
}
END_TEST

START_TEST(too_many_early_events_are_taken_in_before_their_time)
{
    struct house *h = house_new();
    at(h, 9000000);
    tk_ok(put_timed(h, "SELECT count(*) AS n FROM thermo GROUP BY device, TUMBLINGWINDOW(hh, 1)",
                    ",'time':'event','lateness':'1h'"));
    for (int i = 0; i < TPI_SQL_MAX_KEPT + 5; i++) {
        event(h, 3600000 + i, i);
    }
    ck_assert_uint_eq(COUNT(h, kept_full), 5);
    event(h, 3600000, 1);
    ck_assert_uint_eq(COUNT(h, late), 1);
    house_wait(h, 60000);
    ck_assert_uint_eq(rows(h), 1);
    expect(h, 0, "{\"n\":1029");
    house_free(h);
}
END_TEST

/* The newest event comes first: each is the oldest of those that wait. */
START_TEST(early_events_that_come_backwards_are_bounded_and_their_state_loads)
{
    enum { MORE = 200 };
    struct house *h = house_new();
    at(h, 9000000);
    tk_ok(put_timed(h, "SELECT count(*) AS n FROM thermo GROUP BY device, TUMBLINGWINDOW(hh, 1)",
                    ",'time':'event','lateness':'1h'"));
    for (int i = 0; i <= TPI_SQL_MAX_KEPT; i++) {
        event(h, 3700000 - i, i);
    }
    ck_assert_uint_eq(COUNT(h, kept_full), 1);
    for (int i = 1; i <= MORE; i++) {
        event(h, 3700000 + i, i);
    }
    ck_assert_uint_eq(COUNT(h, kept_full), 1 + MORE);
    ck_assert_uint_eq(COUNT(h, late), 0);
    struct tpi_buf *state = save(h);
    tk_ok(house_restart(h));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        uint64_t next;
        struct tpc_bytes bytes = { state[i].ptr, state[i].len };
        tk_ok(tpi_rules_state_load(h->rules, i, bytes, NULL, &next));
        tpi_buf_fini(&state[i]);
    }
    house_wait(h, 60000);
    ck_assert_uint_eq(rows(h), 1);
    expect(h, 0, "{\"n\":1225");
    house_free(h);
}
END_TEST

/* ---- what waits ---- */

START_TEST(sessions_that_ended_leave_nothing_behind)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(
        put_rule(h, "SELECT count(*) AS n FROM thermo GROUP BY device, SESSIONWINDOW(ss, 10, 9)"));
    for (int i = 0; i < 200; i++) { /* each ends by its length, long before its silence */
        at(h, 1000000 + i * 5000);
        humidity(h, "t1", i);
    }
    ck_assert_uint_eq(rows(h), 99);
    house_wait(h, 20000);
    ck_assert_uint_eq(rows(h), 100);
    for (uint32_t w = 0; w < HOUSE_WORKERS; w++) {
        ck_assert_int_eq(tpi_rules_next_ms(h->rules, w), INT64_MAX);
    }
    house_free(h);
}
END_TEST

START_TEST(what_is_taken_in_after_the_clock_ended_a_window_says_so)
{
    struct house *h = house_new();
    at(h, 1000000);
    tk_ok(put_rule(h, "SELECT count(*) AS n FROM thermo GROUP BY device, TUMBLINGWINDOW(ss, 10)"));
    uint32_t worker = HOUSE_WORKERS;
    humidity(h, "t1", 1);
    for (uint32_t w = 0; w < HOUSE_WORKERS; w++) {
        worker = tpi_rules_next_ms(h->rules, w) != INT64_MAX ? w : worker;
    }
    ck_assert_uint_lt(worker, HOUSE_WORKERS);
    ck_assert_int_eq(tpi_rules_received(h->rules, worker, 1009999), 1009999);
    house_wait(h, 10003);
    ck_assert_uint_eq(rows(h), 1);
    ck_assert_int_eq(tpi_rules_received(h->rules, worker, 1009999), 1010003);
    ck_assert_int_eq(tpi_rules_received(h->rules, worker, 1010004), 1010004);
    ck_assert_int_eq(tpi_rules_received(h->rules, worker, 990000),
                     1010003); /* it waited for long */
    at(h, 990001);
    ck_assert_int_eq(tpi_rules_received(h->rules, worker, 990000), 990000); /* set back */
    house_free(h);
}
END_TEST

START_TEST(wrong_windows_are_told_with_their_place)
{
    static const struct {
        const char *sql;
        uint32_t column;
    } bad[] = {
        { "SELECT count(*) FROM thermo GROUP BY device, SLIDINGWINDOW(ss, 0)", 64 },
        { "SELECT count(*) FROM thermo GROUP BY device, SLIDINGWINDOW(ss, 10, 0)", 68 },
        { "SELECT count(*) FROM thermo GROUP BY device, SLIDINGWINDOW(10)", 60 },
        { "SELECT count(*) FROM thermo GROUP BY device, COUNTWINDOW(3, 4)", 61 },
        { "SELECT count(*) FROM thermo GROUP BY device, COUNTWINDOW(2000, 1)", 58 },
        { "SELECT collect(*) AS c FROM thermo GROUP BY device, COUNTWINDOW(2)", 16 },
        { "SELECT collect(humidity) > 1 AS c FROM thermo GROUP BY device, COUNTWINDOW(2)", 9 },
        { "SELECT count(distinct humidty) AS c FROM thermo GROUP BY device, COUNTWINDOW(2)", 23 },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_ne(put_rule(h, bad[i].sql), 0);
        ck_assert_msg(h->err.line == 1 && h->err.column == bad[i].column, "%s: %u %s", bad[i].sql,
                      h->err.column, h->err.text);
    }
    ck_assert_int_ne(put_timed(h, "SELECT * FROM thermo", ",'time':'ingest'"), 0);
    house_free(h);
}
END_TEST

/* Recipes of docs/guide/data-rules.md. */
START_TEST(recipes_do_what_the_guide_says)
{
    struct house *h = house_new();
    at(h, 3600000);
    tk_ok(put_rule(h, "SELECT max(humidity) - min(humidity) AS rise FROM thermo GROUP BY device, "
                      "SLIDINGWINDOW(mi, 1) HAVING max(humidity) - min(humidity) > 10"));
    humidity(h, "t1", 10);
    house_wait(h, 30000);
    humidity(h, "t1", 20);
    ck_assert_uint_eq(rows(h), 0);
    house_wait(h, 29999);
    humidity(h, "t1", 21);
    expect(h, 0, "{\"rise\":11");
    house_wait(h, 30001);
    humidity(h, "t1", 31);
    ck_assert_uint_eq(rows(h), 1);
    tk_ok(put_rule(h, "SELECT avg(humidity) AS mean, collect(humidity) AS all FROM thermo "
                      "GROUP BY device, COUNTWINDOW(10, 5)"));
    for (int i = 0; i < 15; i++) {
        humidity(h, "t1", i);
    }
    expect(h, 1, "{\"mean\":4.5,\"all\":[0,1,2,3,4,5,6,7,8,9]");
    expect(h, 2, "{\"mean\":9.5,\"all\":[5,6,7,8,9,10,11,12,13,14]");
    tk_ok(put_timed(h,
                    "SELECT sum(humidity) AS energy, count(distinct mode) AS tariffs FROM thermo "
                    "GROUP BY device, TUMBLINGWINDOW(hh, 1)",
                    ",'time':'event','lateness':'10m','idle':'30m'"));
    event(h, 7200000 + 1000, 1);
    event(h, 7200000 + 3599999, 2);
    event(h, 7200000 + 3000000, 4);
    event(h, 10800000 + 600000, 8);
    ck_assert_uint_eq(rows(h), 4);
    expect(h, 3, "{\"energy\":7,\"tariffs\":0");
    house_free(h);
}
END_TEST

START_TEST(a_clock_that_is_set_back_does_not_keep_messages_for_long)
{
    struct house *h = house_new();
    at(h, 9000000);
    tk_ok(put_rule(h,
                   "SELECT sum(humidity) AS s FROM thermo GROUP BY device, SLIDINGWINDOW(ss, 10)"));
    humidity(h, "t1", 1);
    at(h, 1000000);
    humidity(h, "t1", 2);
    expect(h, 1, "{\"s\":2");
    at(h, 1005000);
    humidity(h, "t1", 4);
    expect(h, 2, "{\"s\":6");
    size_t kept = state_bytes(h);
    at(h, 1005000);
    house_wait(h, 10000);
    ck_assert_uint_lt(state_bytes(h), kept - 30);
    house_free(h);
}
END_TEST

START_TEST(windows_of_an_older_state_are_read)
{
    static const uint8_t functions[] = { TPI_SQL_AVG, TPI_SQL_COUNT };
    struct tpi_flow f;
    struct tpi_buf b;
    struct tpi_reader in;
    bool fresh;
    tpi_buf_init(&b, NULL, 0);
    tk_ok(tpi_buf_zigzag(&b, 10)); /* done */
    tk_ok(tpi_buf_varint(&b, 1));  /* windows */
    tk_ok(tpi_buf_zigzag(&b, 10));
    tk_ok(tpi_buf_zigzag(&b, 20));
    tk_ok(tpi_buf_varint(&b, 1)); /* devices */
    tk_ok(tpi_buf_varint(&b, 7));
    tk_ok(tpi_buf_varint(&b, 3)); /* mark, start, last, count */
    tk_ok(tpi_buf_zigzag(&b, 0));
    tk_ok(tpi_buf_zigzag(&b, 12));
    tk_ok(tpi_buf_varint(&b, 2));
    static const uint64_t numbers[] = { 2, 5, 0, 2, 0, 0 }; /* two values, their sum 5; two */
    for (size_t i = 0; i < 6; i++) {
        tk_ok(tpi_buf_u64(&b, numbers[i]));
    }
    tpi_reader_init(&in, b.ptr, b.len);
    tpi_flow_init(&f, NULL, functions, 2);
    tk_ok(tpi_flow_read(&f, &in, true));
    ck_assert_uint_eq(tpi_reader_left(&in), 0);
    struct tpi_pane *p = tpi_flow_pane(&f, f.first, 7, &fresh);
    ck_assert_int_eq(fresh, false);
    ck_assert_uint_eq(p->count, 2);
    ck_assert_double_eq(tpi_aggregate_value(TPI_SQL_AVG, &p->aggregates[0]).as.d, 2.5);
    ck_assert_int_eq(tpi_aggregate_value(TPI_SQL_COUNT, &p->aggregates[1]).as.i, 2);
    tpi_flow_fini(&f);
    tpi_buf_fini(&b);
}
END_TEST

/* ---- memory ---- */

/* As many as find room; the last one may take more than was left. */
static uint64_t fill_lanes(struct tpi_flow *f)
{
    static const uint8_t null = TPC_NULL;
    bool fresh;
    uint64_t n = 0;
    for (uint64_t device = 1;; device++) {
        struct tpi_lane *lane = tpi_flow_lane(f, device, &fresh);
        for (int i = 0; i < TPI_SQL_MAX_KEPT; i++, n++) {
            struct tpi_moment m = { .ms = i, .mark = n, .bytes = 1 };
            if (tpi_recent_put(&lane->past, NULL, &m, &null, false, TPI_FLOW_MAX_BYTES,
                               &f->bytes) != 0) {
                return n;
            }
        }
    }
}

START_TEST(a_state_of_all_that_may_be_kept_loads)
{
    static const uint8_t functions[] = { TPI_SQL_SUM };
    struct tpi_flow f;
    struct tpi_flow again;
    struct tpi_buf b;
    struct tpi_reader in;
    size_t iter = 0;
    void *lane;
    tpi_flow_init(&f, NULL, functions, 1);
    uint64_t n = fill_lanes(&f);
    tpi_buf_init(&b, NULL, 0);
    tk_ok(tpi_flow_save(&f, &b));
    tpi_flow_fini(&f);
    tpi_flow_init(&again, NULL, functions, 1);
    tpi_reader_init(&in, b.ptr, b.len);
    tk_ok(tpi_flow_read(&again, &in, false));
    while (tpi_map64_next(&again.lanes, &iter, NULL, &lane)) {
        n -= ((const struct tpi_lane *) lane)->past.count;
    }
    ck_assert_uint_eq(n, 0);
    tpi_flow_fini(&again);
    tpi_buf_fini(&b);
}
END_TEST

static int add_and_read(const struct tpc_allocator *a, void *user)
{
    static const uint8_t functions[] = { TPI_SQL_COLLECT, TPI_SQL_DISTINCT, TPI_SQL_AVG };
    const struct tpc_value text = { .type = TPC_TEXT, .len = 3, .as.text = "abc" };
    struct tpi_flow f;
    struct tpi_buf bytes;
    struct tpi_packed one = { .m = { .ms = 5, .mark = 1 } };
    bool fresh;
    (void) user;
    tpi_flow_init(&f, a, functions, 3);
    f.chains = true;
    tpi_buf_init(&bytes, a, 0);
    tpi_buf_init(&one.values, a, 0);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < 3; i++) {
        rc = tpi_packed_add(&one, a, functions[i], &text);
    }
    one.m.bytes = (uint32_t) one.values.len;
    struct tpi_lane *lane = rc == 0 ? tpi_flow_lane(&f, 7, &fresh) : NULL;
    struct tpi_open *o = lane != NULL ? tpi_flow_open(&f, 0, INT64_MAX, &fresh) : NULL;
    struct tpi_pane *p = o != NULL ? tpi_flow_chain(&f, o, 7, 20, &fresh) : NULL;
    struct tpi_pane *q = p != NULL ? tpi_flow_chain(&f, o, 7, 10, &fresh) : NULL;
    bool room =
        q != NULL &&
        tpi_recent_put(&lane->past, a, &one.m, one.values.ptr, false, 1 << 20, &f.bytes) == 0 &&
        tpi_flow_play(&f, q, &one.m, one.values.ptr) == 0 && tpi_flow_add(&f, p, 0, &text) == 0;
    rc = room ? tpi_flow_save(&f, &bytes) : TPC_ENOMEM;
    tpi_flow_fini(&f);
    ck_assert_uint_eq(f.bytes, 0);
    if (rc == 0) {
        struct tpi_reader in;
        tpi_reader_init(&in, bytes.ptr, bytes.len);
        tpi_flow_init(&f, a, functions, 3);
        rc = tpi_flow_read(&f, &in, false);
        tpi_flow_fini(&f);
        ck_assert_uint_eq(f.bytes, 0);
    }
    tpi_buf_fini(&one.values);
    tpi_buf_fini(&bytes);
    return rc;
}

START_TEST(no_memory_for_lists_sets_and_kept_messages_leaks_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(add_and_read, NULL), 20);
}
END_TEST

Suite *window_suite(void)
{
    Suite *s = suite_create("windows");
    TCase *t = tcase_create("windows");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, each_message_gives_what_came_in_the_time_before_it);
    tcase_add_test(t, a_sliding_window_with_a_delay_ends_later);
    tcase_add_test(t, a_sliding_window_is_bounded_and_freed);
    tcase_add_test(t, windows_of_a_count_overlap);
    tcase_add_test(t, a_device_that_is_deleted_takes_no_state);
    tcase_add_test(t, a_silent_device_that_is_deleted_takes_no_state_while_others_send);
    tcase_add_test(t, collect_gives_a_list_and_count_distinct_how_many_differ);
    tcase_add_test(t, lists_and_sets_stand_in_having_filter_and_every_window);
    tcase_add_test(t, what_collect_and_distinct_keep_is_bounded);
    tcase_add_test(t, events_are_in_the_window_of_their_time_and_it_ends_by_the_watermark);
    tcase_add_test(t, all_windows_see_events_in_their_order);
    tcase_add_test(t, a_clock_that_was_ahead_does_no_harm_for_ever);
    tcase_add_test(t, a_device_that_sends_events_no_more_takes_no_state);
    tcase_add_test(t, too_many_early_events_are_taken_in_before_their_time);
    tcase_add_test(t, early_events_that_come_backwards_are_bounded_and_their_state_loads);
    tcase_add_test(t, sessions_that_ended_leave_nothing_behind);
    tcase_add_test(t, what_is_taken_in_after_the_clock_ended_a_window_says_so);
    tcase_add_test(t, wrong_windows_are_told_with_their_place);
    tcase_add_test(t, recipes_do_what_the_guide_says);
    tcase_add_test(t, a_clock_that_is_set_back_does_not_keep_messages_for_long);
    tcase_add_test(t, windows_of_an_older_state_are_read);
    tcase_add_test(t, a_state_of_all_that_may_be_kept_loads);
    tcase_add_test(t, no_memory_for_lists_sets_and_kept_messages_leaks_nothing);
    suite_add_tcase(s, t);
    return s;
}
