/* A wall clock that is not set at first: docs/guide/clock.md. */
#include "flow.h"

#include <stdio.h>
#include <string.h>

static const int64_t right_ms = 1795176000000; /* 2026-11-20T12:00:00Z */

enum { BOOTED_MS = 1000 }; /* the wall clock at start: 1970 */

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
        ck_assert_msg(strncmp(tpc_error_last()->path, "clock_policy", 12) == 0, "%s: %s", bad[i],
                      tpc_error_last()->path);
    }
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
    suite_add_tcase(s, t);
    return s;
}
