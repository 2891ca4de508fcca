/* Schedules in a whole core: in steps, on threads, over restarts. */
#include "flow.h"

#include <string.h>

static const char night[] =
    TPC_JSON({
    "key": "night",
    "type": "cron",
    "cron": "0 * * * *",
    "missed": "run_once",
    "then": [
        { "command": { "device": "fan-1", "service": "set", "params": { "on": false } } },
        { "notify": { "handler": "ops", "params": { "text": "night" } } } ] });

/* 2026-11-20T12:30:00Z */
static const int64_t half_past = 1795177800000;

static void open_core(struct flow *f, const char *dir)
{
    flow_create(f);
    flow_file_log(f, dir, "");
    tk_clock_set_unix(&f->e.clock, half_past);
    flow_devices(f, 1);
    flow_probe_open(f);
    tk_ok(tpc_entity_put(f->core, NULL, "schedule", TPC_STR(night), TPC_ANY_REV, NULL));
}

static void at(struct flow *f, int64_t minutes)
{
    tk_clock_set_unix(&f->e.clock, half_past + minutes * 60000);
}

START_TEST(a_schedule_sends_its_command_in_a_step)
{
    struct flow f;
    flow_init(&f, 0);
    open_core(&f, tk_tmpdir());
    flow_start(&f);
    (void) flow_session("fan-1", 0);
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 0);
    at(&f, 30);
    flow_settle(&f);
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    ck_assert_str_eq(flow_probe.sent[0].device, "fan-1");
    ck_assert_ptr_nonnull(strstr(flow_probe.sent[0].payload, "false"));
    ck_assert_double_eq(flow_metric(&f, "tpc_rules_schedules"), 1);
    ck_assert_double_eq(flow_metric(&f, "tpc_rules_schedules_fired_total"), 1);
    flow_fini(&f);
}
END_TEST

START_TEST(what_is_missed_while_the_core_is_stopped_is_done_once)
{
    struct flow f;
    flow_init(&f, 0);
    open_core(&f, tk_tmpdir());
    flow_start(&f);
    flow_settle(&f);
    at(&f, 30);
    flow_settle(&f);
    tk_ok(tpc_core_stop(f.core, 1000));
    at(&f, 240);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    flow_start(&f);
    (void) flow_session("fan-1", 0);
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 2);
    ck_assert_double_eq(flow_metric(&f, "tpc_rules_schedules_fired_total"), 2);
    ck_assert_double_eq(flow_metric(&f, "tpc_rules_schedules_missed_total"), 2);
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 2);
    flow_fini(&f);
}
END_TEST

START_TEST(a_command_that_the_log_has_is_not_sent_again)
{
    struct flow f;
    const char *dir = tk_tmpdir();
    flow_init(&f, 0);
    open_core(&f, dir);
    flow_start(&f);
    flow_settle(&f);
    at(&f, 30);
    flow_settle(&f);
    ck_assert_double_eq(flow_metric(&f, "tpc_rules_schedules_fired_total"), 1);
    flow_destroy(&f);
    /* The state is lost with the store in memory: the same time is due again, for the log's sake
     * with the same ids. */
    open_core(&f, dir);
    at(&f, 30);
    flow_start(&f);
    (void) flow_session("fan-1", 0);
    flow_settle(&f);
    flow_settle(&f);
    ck_assert_double_eq(flow_metric(&f, "tpc_rules_schedules_fired_total"), 1);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    flow_fini(&f);
}
END_TEST

static bool has_sent(void *user)
{
    (void) user;
    return flow_probe.sent_count >= 2;
}

START_TEST(a_schedule_wakes_the_thread_that_owns_it)
{
    struct flow f;
    flow_init(&f, 3);
    f.o.clock = NULL;
    flow_create(&f);
    flow_file_log(&f, tk_tmpdir(), "");
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", 0);
    static const char second[] =
        TPC_JSON({
        "key": "second", "type": "repeat", "interval": "1s", "count": 2,
        "then": [{ "command": { "device": "fan-1", "service": "set",
                                "params": { "on": true } } }] });
    tk_ok(tpc_entity_put(f.core, NULL, "schedule", TPC_STR(second), TPC_ANY_REV, NULL));
    ck_assert(flow_until(&f, has_sent, NULL));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 2);
    flow_fini(&f);
}
END_TEST

Suite *schedule_flow_suite(void)
{
    Suite *s = suite_create("schedule");
    TCase *t = tcase_create("schedule");
    tcase_add_test(t, a_schedule_sends_its_command_in_a_step);
    tcase_add_test(t, what_is_missed_while_the_core_is_stopped_is_done_once);
    tcase_add_test(t, a_command_that_the_log_has_is_not_sent_again);
    tcase_add_test(t, a_schedule_wakes_the_thread_that_owns_it);
    suite_add_tcase(s, t);
    return s;
}
