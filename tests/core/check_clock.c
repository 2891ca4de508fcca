/* A wall clock that is not set at first: docs/guide/clock.md. */
#include "box.h"
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t right_ms = 1795176000000; /* 2026-11-20T12:00:00Z */

enum { BOOTED_MS = 1000 }; /* the wall clock at start: 1970 */

static void put(struct flow *f, const char *kind, const char *json)
{
    char text[1024];
    size_t len = strlen(json);
    for (size_t i = 0; i <= len; i++) {
        text[i] = json[i] == '\'' ? '"' : json[i];
    }
    tk_ok(tpc_entity_put(f->core, NULL, kind, (struct tpc_str){ text, len }, TPC_ANY_REV, NULL));
}

static void boot(struct flow *f, uint8_t number, int64_t unix_ms)
{
    memset(f->e.clock.boot.b, number, sizeof(f->e.clock.boot.b));
    tk_clock_set_unix(&f->e.clock, unix_ms);
}

static void feed(struct flow *f, const char *device, const char *text)
{
    struct tpc_device *d = flow_device(f, device);
    tk_ok(flow_feed(d, text));
    tpc_device_unref(d);
    flow_settle(f);
}

static int keep_flags(void *user, const struct tpc_batch *batch)
{
    uint32_t *seen = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        seen[(m->flags & TPC_MSG_CLOCK_UNSURE) != 0]++;
    }
    return 0;
}

static void begin(struct flow *f, const char *policy)
{
    flow_init(f, 0);
    boot(f, 1, BOOTED_MS);
    f->o.clock_policy = tpc_str_from(policy);
    flow_create(f);
    flow_devices(f, 1);
}

START_TEST(what_comes_before_the_clock_is_set_is_marked)
{
    struct flow f;
    uint32_t seen[2] = { 0, 0 };
    struct tpc_sub *sub;
    begin(&f, "{\"trust\":\"auto\"}");
    flow_start(&f);
    struct tpc_subscribe_options so = TPC_SUBSCRIBE_OPTIONS_INIT;
    so.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(f.core, &so, keep_flags, seen, &sub));
    ck_assert(flow_metric(&f, "tpc_clock_unsure") == 1);
    feed(&f, "t1", "{\"temperature\":20}");
    ck_assert_uint_eq(seen[1], 1);
    tk_clock_advance(&f.e.clock, 5000);
    feed(&f, "t1", "{\"temperature\":21}");
    ck_assert_uint_eq(seen[1], 2);
    tk_clock_set_unix(&f.e.clock, right_ms);
    feed(&f, "t1", "{\"temperature\":22}");
    ck_assert_uint_eq(seen[0], 1);
    ck_assert(flow_metric(&f, "tpc_clock_unsure") == 0);
    ck_assert(flow_metric(&f, "tpc_clock_stamped_total") == 2);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

START_TEST(a_clock_that_only_runs_past_the_floor_is_not_set)
{
    struct flow f;
    begin(&f, "{\"floor\":10000,\"trust\":\"auto\"}");
    flow_start(&f);
    for (int i = 0; i < 20; i++) {
        tk_clock_advance(&f.e.clock, 1000);
        flow_settle(&f);
    }
    ck_assert(flow_metric(&f, "tpc_clock_unsure") == 1);
    tk_clock_set_unix(&f.e.clock, 8000); /* set, but to a time that cannot be */
    flow_settle(&f);
    ck_assert(flow_metric(&f, "tpc_clock_unsure") == 1);
    tk_clock_set_unix(&f.e.clock, right_ms);
    flow_settle(&f);
    ck_assert(flow_metric(&f, "tpc_clock_unsure") == 0);
    flow_fini(&f);
}
END_TEST

START_TEST(the_program_says_when_the_clock_is_valid)
{
    struct flow f;
    begin(&f, "{\"trust\":\"program\"}");
    tk_clock_set_unix(&f.e.clock, right_ms);
    flow_start(&f);
    ck_assert(flow_metric(&f, "tpc_clock_unsure") == 1);
    tk_clock_set_unix(&f.e.clock, right_ms + 100000);
    flow_settle(&f);
    ck_assert(flow_metric(&f, "tpc_clock_unsure") == 1);
    tk_ok(tpc_core_clock_valid(f.core));
    ck_assert(flow_metric(&f, "tpc_clock_unsure") == 0);
    tk_fails(TPC_EINVAL, tpc_core_clock_valid(NULL));
    flow_fini(&f);
}
END_TEST

START_TEST(options_are_checked)
{
    static const char *const bad[] = { "{\"trust\":\"never\"}",
                                       "[]",
                                       "{\"floor\":\"yesterday\"}",
                                       "{\"floor\":\"2026-13-01\"}",
                                       "{\"hold_max\":\"x\"}",
                                       "{\"what\":1}",
                                       "{" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tpc_core *core;
        struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
        o.clock_policy = tpc_str_from(bad[i]);
        tk_fails(TPC_EINVAL, tpc_core_create(&o, &core));
        ck_assert_msg(strncmp(tpc_error_last()->path, "clock", 5) == 0, "%s: %s", bad[i],
                      tpc_error_last()->path);
    }
}
END_TEST

/* ---- readers ---- */

struct row {
    int64_t unix_ms;
    double value;
};

/* Samples of t1 in the history, in their order. */
static uint32_t rows_of(struct flow *f, struct row *ret, uint32_t max)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_device *d = flow_device(f, "t1");
    struct tpc_str key = TPC_STR("temperature");
    const struct tpc_row_batch *b;
    struct tpc_rows *rows;
    uint32_t n = 0;
    q.devices = &d, q.device_count = 1;
    q.properties = &key, q.property_count = 1;
    tk_ok(tpc_history_query(f->core, &q, &rows));
    while (tpc_rows_next(rows, &b) > 0) {
        for (uint32_t i = 0; i < b->count && n < max; i++, n++) {
            ret[n] = (struct row){ b->unix_ms[i], b->columns[0].doubles[i] };
        }
    }
    tpc_rows_close(rows);
    tpc_device_unref(d);
    return n;
}

static void check_rows(struct flow *f, const struct row *want, uint32_t count)
{
    struct row got[16];
    ck_assert_uint_eq(rows_of(f, got, 16), count);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_int_eq(got[i].unix_ms, want[i].unix_ms);
        ck_assert_double_eq(got[i].value, want[i].value);
    }
}

static void begin_with_target(struct flow *f, uint32_t workers, const char *policy)
{
    box_reset();
    flow_init(f, workers);
    boot(f, 1, BOOTED_MS);
    f->o.clock_policy = tpc_str_from(policy);
    flow_create(f);
    tk_ok(tpc_core_add_module(f->core, box_module()));
    tk_ok(tpc_core_open(f->core, "box", "box", TPC_STR("{\"color\":\"red\"}")));
    flow_devices(f, 1);
    put(f, "forward", "{'key':'out','sink':'box','filter':['main/up/thermo/+/telemetry']}");
    flow_start(f);
}

/* Two samples in 1970, five seconds from one to the other. */
static void feed_two(struct flow *f)
{
    feed(f, "t1", "{\"temperature\":20}");
    tk_clock_advance(&f->e.clock, 5000);
    feed(f, "t1", "{\"temperature\":21}");
}

static void pass(struct flow *f, uint64_t ms)
{
    tk_clock_advance(&f->e.clock, ms);
    flow_settle(f);
}

static int64_t latest_ms(struct flow *f)
{
    struct tpc_device *d = flow_device(f, "t1");
    struct tpc_value v;
    int64_t ms = 0;
    tk_ok(tpc_latest_get(d, TPC_STR("temperature"), NULL, &v, &ms));
    tpc_device_unref(d);
    return ms;
}

START_TEST(history_and_targets_wait_and_get_the_right_times)
{
    struct flow f;
    begin_with_target(&f, 0, "{\"trust\":\"auto\"}");
    feed_two(&f);
    pass(&f, 1000);
    ck_assert_uint_eq(rows_of(&f, &(struct row){ 0, 0 }, 1), 0);
    ck_assert_uint_eq(box_count(), 0);
    ck_assert(flow_metric(&f, "tpc_clock_held") == 1);
    ck_assert_int_eq(latest_ms(&f), BOOTED_MS + 5000);
    tk_clock_set_unix(&f.e.clock, right_ms);
    flow_settle(&f);
    pass(&f, 1000);
    feed(&f, "t1", "{\"temperature\":22}");
    pass(&f, 1000);
    const struct row want[] = { { right_ms - 6000, 20 },
                                { right_ms - 1000, 21 },
                                { right_ms + 1000, 22 } };
    check_rows(&f, want, 3);
    ck_assert_uint_eq(box_count(), 3);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(box.items[i].unix_ms, want[i].unix_ms);
        ck_assert_int_eq(box.items[i].received_unix_ms, want[i].unix_ms);
        ck_assert_uint_eq(box.items[i].flags & TPC_MSG_CLOCK_UNSURE, 0);
    }
    ck_assert(flow_metric(&f, "tpc_clock_held") == 0);
    ck_assert(flow_metric(&f, "tpc_clock_marked_total") == 0);
    flow_fini(&f);
}
END_TEST

static bool has_two(void *user)
{
    (void) user;
    return box_count() >= 2;
}

START_TEST(threads_notice_that_the_clock_was_set)
{
    struct flow f;
    begin_with_target(&f, 2, "{\"trust\":\"auto\"}");
    feed_two(&f);
    ck_assert_uint_eq(box_count(), 0);
    tk_clock_set_unix(&f.e.clock, right_ms);
    ck_assert(flow_until(&f, has_two, NULL));
    ck_assert_int_eq(box.items[1].unix_ms, right_ms);
    flow_fini(&f);
}
END_TEST

START_TEST(latest_values_move_with_the_clock)
{
    struct flow f;
    begin(&f, "{\"trust\":\"auto\"}");
    flow_start(&f);
    feed_two(&f);
    tk_clock_set_unix(&f.e.clock, right_ms);
    flow_settle(&f);
    ck_assert_int_eq(latest_ms(&f), right_ms);
    flow_fini(&f);
}
END_TEST

START_TEST(what_waits_for_its_period_moves_with_the_clock)
{
    struct flow f;
    begin_with_target(&f, 0, "{\"trust\":\"auto\"}");
    put(&f, "device", "{'key':'t1','product':'thermo','report':{'mode':'period','period':'10s'}}");
    feed_two(&f);
    tk_clock_set_unix(&f.e.clock, right_ms);
    flow_settle(&f);
    pass(&f, 5000);
    pass(&f, 1000);
    const struct row want[] = { { right_ms - 5000, 20 }, { right_ms, 21 } };
    check_rows(&f, want, 2);
    flow_fini(&f);
}
END_TEST

START_TEST(times_that_devices_said_stay)
{
    struct flow f;
    begin_with_target(&f, 0, "{\"trust\":\"auto\"}");
    struct tpc_device *d = flow_device(&f, "t1");
    struct tpc_value v = { .type = TPC_DOUBLE, .as.d = 1 };
    struct tpc_point points[] = {
        { .key = TPC_STR("temperature"), .unix_ms = right_ms - 100000, .value = v },
        { .key = TPC_STR("temperature"), .unix_ms = BOOTED_MS - 900, .value = v },
        { .key = TPC_STR("temperature"), .value = v },
    };
    struct tpc_points feed_points = { sizeof(feed_points), 3, sizeof(points[0]), points, 0, 0, 0 };
    tk_ok(tpc_feed_points(d, &feed_points, NULL, NULL));
    tpc_device_unref(d);
    flow_settle(&f);
    tk_clock_set_unix(&f.e.clock, right_ms);
    flow_settle(&f);
    pass(&f, 1000);
    const struct row want[] = { { right_ms - 100000, 1 }, { right_ms - 900, 1 }, { right_ms, 1 } };
    check_rows(&f, want, 3);
    flow_fini(&f);
}
END_TEST

START_TEST(what_waited_for_too_long_goes_on_with_its_mark)
{
    struct flow f;
    begin_with_target(&f, 0, "{\"trust\":\"auto\",\"hold_max\":\"1m\"}");
    feed_two(&f);
    pass(&f, 54000);
    ck_assert_uint_eq(box_count(), 0);
    pass(&f, 2000); /* the first one's minute is over */
    ck_assert_uint_eq(box_count(), 1);
    ck_assert_uint_eq(box.items[0].flags & TPC_MSG_CLOCK_UNSURE, TPC_MSG_CLOCK_UNSURE);
    ck_assert_int_eq(box.items[0].unix_ms, BOOTED_MS);
    tk_clock_set_unix(&f.e.clock, right_ms);
    flow_settle(&f);
    pass(&f, 1000);
    ck_assert_uint_eq(box_count(), 2);
    ck_assert_int_eq(box.items[1].unix_ms, right_ms - 56000);
    const struct row want[] = { { BOOTED_MS, 20 }, { right_ms - 56000, 21 } };
    check_rows(&f, want, 2);
    flow_fini(&f);
}
END_TEST

START_TEST(other_policies_do_not_wait)
{
    for (int send = 0; send < 2; send++) {
        struct flow f;
        begin_with_target(&f, 0,
                          send ? "{\"trust\":\"auto\",\"policy\":\"send\"}"
                               : "{\"trust\":\"auto\",\"policy\":\"mark\"}");
        feed_two(&f);
        pass(&f, 1000);
        ck_assert_uint_eq(box_count(), 2);
        ck_assert_int_eq(box.items[0].unix_ms, BOOTED_MS);
        ck_assert_uint_eq(box.items[0].flags & TPC_MSG_CLOCK_UNSURE, send ? 0 : 1);
        const struct row want[] = { { BOOTED_MS, 20 }, { BOOTED_MS + 5000, 21 } };
        check_rows(&f, want, 2);
        flow_fini(&f);
    }
}
END_TEST

/* A core over the same log. The stores are in memory: all is read from the log again. */
static void again(struct flow *f, const char *dir, uint8_t number, int64_t unix_ms)
{
    flow_init(f, 0);
    boot(f, number, unix_ms);
    f->o.clock_policy = TPC_STR("{\"trust\":\"auto\"}");
    flow_create(f);
    flow_file_log(f, dir, "");
    flow_devices(f, 1);
    flow_start(f);
    flow_settle(f);
}

START_TEST(after_a_restart_in_the_same_boot_times_become_right)
{
    struct flow f;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/clock-1", tk_tmpdir());
    again(&f, dir, 1, BOOTED_MS);
    feed_two(&f);
    flow_fini(&f);
    again(&f, dir, 1, right_ms); /* the clock was set meanwhile; it still counts from 1,000 s */
    pass(&f, 1000);
    const struct row want[] = { { right_ms, 20 }, { right_ms + 5000, 21 } };
    check_rows(&f, want, 2);
    ck_assert_int_eq(latest_ms(&f), right_ms + 5000);
    /* A kill: the log as it is now. The machine comes up anew, and a third time without a clock. */
    for (uint8_t number = 2; number <= 3; number++) {
        char copy[300], command[640];
        snprintf(copy, sizeof(copy), "%s-%u", dir, number);
        snprintf(command, sizeof(command), "cp -r '%s' '%s'", dir, copy);
        ck_assert_int_eq(system(command), 0);
        flow_fini(&f);
        again(&f, copy, number, number == 2 ? right_ms + 100000 : BOOTED_MS);
        check_rows(&f, want, 2);
        ck_assert_int_eq(latest_ms(&f), right_ms + 5000);
        ck_assert(flow_metric(&f, "tpc_clock_unsure") == (number == 3));
        memcpy(dir, copy, strlen(copy) < sizeof(dir) ? strlen(copy) + 1 : 0);
    }
    flow_fini(&f);
}
END_TEST

START_TEST(a_boot_that_never_knew_the_time_stays_marked)
{
    struct flow f;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/clock-2", tk_tmpdir());
    again(&f, dir, 1, BOOTED_MS);
    feed_two(&f);
    check_rows(&f, NULL, 0);
    flow_fini(&f);
    again(&f, dir, 2, right_ms);
    const struct row want[] = { { BOOTED_MS, 20 }, { BOOTED_MS + 5000, 21 } };
    check_rows(&f, want, 2);
    ck_assert(flow_metric(&f, "tpc_clock_marked_total") > 0);
    ck_assert(flow_metric(&f, "tpc_clock_held") == 0);
    flow_fini(&f);
}
END_TEST

Suite *clock_flow_suite(void)
{
    Suite *s = suite_create("clock");
    TCase *t = tcase_create("clock");
    tcase_add_test(t, what_comes_before_the_clock_is_set_is_marked);
    tcase_add_test(t, a_clock_that_only_runs_past_the_floor_is_not_set);
    tcase_add_test(t, the_program_says_when_the_clock_is_valid);
    tcase_add_test(t, options_are_checked);
    tcase_add_test(t, history_and_targets_wait_and_get_the_right_times);
    tcase_add_test(t, threads_notice_that_the_clock_was_set);
    tcase_add_test(t, latest_values_move_with_the_clock);
    tcase_add_test(t, what_waits_for_its_period_moves_with_the_clock);
    tcase_add_test(t, times_that_devices_said_stay);
    tcase_add_test(t, what_waited_for_too_long_goes_on_with_its_mark);
    tcase_add_test(t, other_policies_do_not_wait);
    tcase_add_test(t, after_a_restart_in_the_same_boot_times_become_right);
    tcase_add_test(t, a_boot_that_never_knew_the_time_stays_marked);
    suite_add_tcase(s, t);
    return s;
}
