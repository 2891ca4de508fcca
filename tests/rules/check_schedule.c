/* Schedules over a still clock, with restarts. */
#include "house.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "calendar/civil.h"

#define NIGHT                                                                                      \
    "'then':[{'command':{'device':'fan-1','service':'set','params':{'on':false}}},"                \
    "{'notify':{'handler':'ops','params':{'text':'night'}}}]}"

static int64_t utc_ms(const char *text)
{
    int64_t day = 0;
    int32_t s = 0;
    tk_ok(tpi_civil_parse((struct tpc_str){ text, 10 }, &day));
    tk_ok(tpi_civil_clock((struct tpc_str){ text + 11, 8 }, &s));
    return (day * TPI_DAY_S + s) * 1000;
}

static void set_clock(struct house *h, const char *utc)
{
    tk_clock_set_unix(&h->env.clock, utc_ms(utc));
}

/* As the core's workers do it. Returns how many commands there are by now. */
static unsigned look(struct house *h)
{
    int64_t now = tpi_unix_ms(&h->env.env);
    for (uint32_t w = 0; w < HOUSE_WORKERS; w++) {
        (void) tpi_rules_turn(h->rules, w);
        ck_assert_int_gt(tpi_rules_next_ms(h->rules, w), now);
    }
    return atomic_load(&h->command_count);
}

static unsigned look_at(struct house *h, const char *utc)
{
    set_clock(h, utc);
    return look(h);
}

static void save(struct house *h, struct tpi_buf out[HOUSE_PARTITIONS])
{
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_init(&out[i], NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, i, &out[i]));
    }
}

/* Starts again with what was saved, and frees it. */
static void restart(struct house *h, struct tpi_buf state[HOUSE_PARTITIONS])
{
    tk_ok(house_restart(h));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        uint64_t next;
        struct tpc_bytes bytes = { state[i].ptr, state[i].len };
        tk_ok(tpi_rules_state_load(h->rules, i, bytes, NULL, &next));
        tpi_buf_fini(&state[i]);
    }
}

static uint64_t missed(struct house *h)
{
    return atomic_load(&tpi_rules_count(h->rules)->schedules_missed);
}

START_TEST(a_planned_time_does_all_actions_once)
{
    struct house *h = house_new();
    set_clock(h, "2026-11-20T12:00:00");
    tk_ok(house_put(
        h, "schedule",
        "{'key':'night','type':'cron','cron':'0 22 * * *','zone':'Europe/Berlin'," NIGHT));
    ck_assert_uint_eq(atomic_load(&h->wakes), 1);
    ck_assert_uint_eq(look(h), 0);
    ck_assert_uint_eq(look_at(h, "2026-11-20T20:59:59"), 0);
    ck_assert_uint_eq(look_at(h, "2026-11-20T21:00:00"), 1);
    ck_assert_uint_eq(look(h), 1);
    ck_assert_str_eq(h->commands[0].text, "- fan-1 set {\"on\":false}");
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    ck_assert_str_eq(h->messages[0].text, "schedule:night notify - ops {\"text\":\"night\"}");
    ck_assert(memcmp(&h->commands[0].id, &h->messages[0].id, sizeof(struct tpc_id)) != 0);
    ck_assert_uint_eq(look_at(h, "2026-11-21T21:00:03"), 2);
    ck_assert(memcmp(&h->commands[0].id, &h->commands[1].id, sizeof(struct tpc_id)) != 0);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->schedules), 1);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->schedules_fired), 2);
    ck_assert_uint_eq(missed(h), 0);
    house_free(h);
}
END_TEST

START_TEST(what_passed_during_a_downtime_is_skipped_or_done_once)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    set_clock(h, "2026-11-20T12:30:00");
    tk_ok(house_put(h, "schedule", "{'key':'skip','type':'cron','cron':'0 * * * *'," NIGHT));
    tk_ok(house_put(h, "schedule",
                    "{'key':'once','type':'cron','cron':'0 * * * *','missed':'run_once'," NIGHT));
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:00:00"), 2);
    save(h, state);
    set_clock(h, "2026-11-20T16:30:00");
    restart(h, state);
    ck_assert_uint_eq(look(h), 3);
    ck_assert_uint_eq(missed(h), 3 + 2);
    ck_assert_uint_eq(look_at(h, "2026-11-20T17:00:00"), 5);
    house_free(h);
}
END_TEST

START_TEST(a_time_that_comes_again_after_a_crash_has_the_same_ids)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    set_clock(h, "2026-11-20T12:30:00");
    tk_ok(house_put(h, "schedule", "{'key':'a','type':'cron','cron':'0 * * * *'," NIGHT));
    look(h);
    save(h, state);
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:00:00"), 1);
    set_clock(h, "2026-11-20T13:00:07");
    restart(h, state);
    ck_assert_uint_eq(look(h), 2);
    ck_assert(!h->commands[0].again && h->commands[1].again);
    ck_assert(memcmp(&h->commands[0].id, &h->commands[1].id, sizeof(struct tpc_id)) == 0);
    ck_assert(memcmp(&h->messages[0].id, &h->messages[1].id, sizeof(struct tpc_id)) == 0);
    /* Without any state it goes on from when its document was put. */
    tk_ok(house_restart(h));
    ck_assert_uint_eq(look(h), 3);
    ck_assert(memcmp(&h->commands[0].id, &h->commands[2].id, sizeof(struct tpc_id)) == 0);
    house_free(h);
}
END_TEST

START_TEST(a_changed_plan_starts_anew_and_changed_actions_do_not)
{
    struct house *h = house_new();
    set_clock(h, "2026-11-20T12:00:00");
    tk_ok(house_put(h, "schedule", "{'key':'a','type':'repeat','interval':'1h'," NIGHT));
    set_clock(h, "2026-11-20T12:30:00");
    tk_ok(
        house_put(h, "schedule",
                  "{'key':'a','type':'repeat','interval':'1h','missed':'run_once',"
                  "'then':[{'command':{'device':'fan-1','service':'set','params':{'on':true}}}]}"));
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:00:00"), 1);
    ck_assert_str_eq(h->commands[0].text, "- fan-1 set {\"on\":true}");
    set_clock(h, "2026-11-20T13:10:00");
    tk_ok(house_put(h, "schedule", "{'key':'a','type':'repeat','interval':'30m'," NIGHT));
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:30:00"), 1);
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:40:00"), 2);
    tk_ok(house_delete(h, "schedule", "a"));
    ck_assert_uint_eq(look_at(h, "2026-11-20T14:10:00"), 2);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->schedules), 0);
    house_free(h);
}
END_TEST

START_TEST(a_disabled_one_misses_nothing)
{
    struct house *h = house_new();
    set_clock(h, "2026-11-20T12:30:00");
#define HOURLY "'type':'cron','cron':'0 * * * *','missed':'run_once'," NIGHT
    tk_ok(house_put(h, "schedule", "{'key':'a'," HOURLY));
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:00:00"), 1);
    tk_ok(house_put(h, "schedule", "{'key':'a','enabled':false," HOURLY));
    ck_assert_uint_eq(look_at(h, "2026-11-20T15:30:00"), 1);
    tk_ok(house_put(h, "schedule", "{'key':'a'," HOURLY));
    ck_assert_uint_eq(look(h), 1);
    ck_assert_uint_eq(look_at(h, "2026-11-20T16:00:00"), 2);
    ck_assert_uint_eq(missed(h), 0);
    house_free(h);
}
END_TEST

START_TEST(a_document_put_before_a_crash_is_not_made_up_for)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    set_clock(h, "2026-11-20T12:30:00");
    tk_ok(house_put(h, "schedule", "{'key':'a'," HOURLY));
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:00:00"), 1);
    save(h, state);
    tk_ok(house_put(h, "schedule", "{'key':'a','enabled':false," HOURLY));
    set_clock(h, "2026-11-20T15:30:00");
    tk_ok(house_put(h, "schedule", "{'key':'a'," HOURLY));
    restart(h, state); /* saved before it was disabled */
    ck_assert_uint_eq(look(h), 1);
    ck_assert_uint_eq(look_at(h, "2026-11-20T16:00:00"), 2);
    house_free(h);
}
END_TEST

START_TEST(days_of_summer_time_have_one_run)
{
    struct house *h = house_new();
    set_clock(h, "2026-03-28T12:00:00");
    tk_ok(house_put(h, "schedule",
                    "{'key':'a','type':'simple','time':'02:30','zone':'Europe/Berlin'," NIGHT));
    look(h);
    ck_assert_uint_eq(look_at(h, "2026-03-29T00:59:59"), 0);
    ck_assert_uint_eq(look_at(h, "2026-03-29T01:00:00"), 1);
    ck_assert_uint_eq(look_at(h, "2026-03-29T01:30:00"), 1);
    ck_assert_uint_eq(look_at(h, "2026-03-30T00:30:00"), 2);
    look_at(h, "2026-10-24T12:00:00");
    unsigned before = look(h);
    ck_assert_uint_eq(look_at(h, "2026-10-25T00:30:00"), before + 1);
    ck_assert_uint_eq(look_at(h, "2026-10-25T01:30:00"), before + 1);
    house_free(h);
}
END_TEST

START_TEST(clocks_that_are_set)
{
    struct house *h = house_new();
    set_clock(h, "2026-11-20T12:30:00");
    tk_ok(house_put(h, "schedule", "{'key':'a','type':'cron','cron':'0 * * * *'," NIGHT));
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:00:00"), 1);
    ck_assert_uint_eq(look_at(h, "2026-11-20T12:10:00"), 1); /* back */
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:00:00"), 1);
    ck_assert_uint_eq(look_at(h, "2026-11-20T14:00:00"), 2);
    ck_assert_uint_eq(look_at(h, "2026-11-20T15:30:00"), 2); /* forward: one is missed */
    ck_assert_uint_eq(missed(h), 1);
    ck_assert_uint_eq(look_at(h, "2099-01-01T00:00:00"), 3);
    /* Back to the right year: it goes on. */
    ck_assert_uint_eq(look_at(h, "2026-11-20T15:40:00"), 3);
    ck_assert_uint_eq(look_at(h, "2026-11-20T16:00:00"), 4);
    house_free(h);
}
END_TEST

START_TEST(counted_and_dated_ones_end_also_over_a_restart)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    set_clock(h, "2026-11-20T12:00:00");
    tk_ok(
        house_put(h, "schedule", "{'key':'two','type':'repeat','interval':'1h','count':2," NIGHT));
    tk_ok(house_put(h, "schedule",
                    "{'key':'day','type':'simple','frequency':'on_date','date':'2026-11-20',"
                    "'time':'13:00'," NIGHT));
    ck_assert_uint_eq(look_at(h, "2026-11-20T13:00:00"), 2);
    save(h, state);
    restart(h, state);
    ck_assert_uint_eq(look_at(h, "2026-11-20T14:00:00"), 3);
    save(h, state);
    restart(h, state);
    ck_assert_uint_eq(look_at(h, "2026-11-20T15:00:00"), 3);
    ck_assert_int_eq(tpi_rules_next_ms(h->rules, 0), INT64_MAX);
    ck_assert_int_eq(tpi_rules_next_ms(h->rules, 1), INT64_MAX);
    house_free(h);
}
END_TEST

START_TEST(failed_actions_are_counted_and_the_next_time_comes)
{
    struct house *h = house_new();
    set_clock(h, "2026-11-20T12:00:00");
    tk_ok(house_put(h, "schedule",
                    "{'key':'a','type':'repeat','interval':'1h','then':["
                    "{'command':{'device':'nobody','service':'set'}}]}"));
    look_at(h, "2026-11-20T13:00:00");
    look_at(h, "2026-11-20T14:00:00");
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->schedules_failed), 2);
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->missing_target), 2);
    ck_assert_uint_eq(tk_env_logged(&h->env, "no such device"), 1);
    house_free(h);
}
END_TEST

START_TEST(a_notification_is_for_its_own_tenant)
{
    struct house *h = house_new();
    set_clock(h, "2026-11-20T12:00:00");
    tk_ok(house_put(h, "tenant", "{'key':'acme'}"));
#define TELL(params)                                                                               \
    "'type':'repeat','interval':'1h','then':[{'notify':{'handler':'ops'" params "}}]}"
    tk_ok(house_put(h, "schedule", "{'key':'a','tenant':'acme'," TELL("")));
    look_at(h, "2026-11-20T13:00:00");
    ck_assert_str_eq(h->messages[0].text, "schedule:a notify - ops {\"tenant\":\"acme\"}");
    tk_ok(house_put(h, "schedule", "{'key':'a'," TELL(",'params':{'tenant':'acme','text':'x'}")));
    look_at(h, "2026-11-20T14:00:00");
    ck_assert_uint_eq(atomic_load(&h->message_count), 3);
    bool first = strstr(h->messages[1].text, "text") != NULL;
    ck_assert_str_eq(h->messages[first ? 1 : 2].text,
                     "schedule:a notify - ops {\"text\":\"x\",\"tenant\":\"main\"}");
    house_free(h);
}
END_TEST

START_TEST(texts_of_actions_have_values)
{
    struct house *h = house_new();
    set_clock(h, "2026-11-20T12:00:00");
    house_temperature(h, "t1", 21.5);
    tk_ok(house_put(h, "schedule",
                    "{'key':'a','type':'repeat','interval':'1h','then':[{'notify':{'handler':'ops',"
                    "'params':{'text':'{{ schedule.key }}: {{ device(\\'t1\\').temperature }}',"
                    "'at':'{{ planned }}'}}}]}"));
    look_at(h, "2026-11-20T13:00:05");
    ck_assert_str_eq(h->messages[0].text,
                     "schedule:a notify - ops {\"text\":\"a: 21.5\",\"at\":1795179600000}");
    ck_assert_int_eq(house_put(h, "schedule",
                               "{'key':'b','type':'repeat','interval':'1h','then':[{'notify':{"
                               "'handler':'ops','params':{'text':'{{ temperature }}'}}}]}"),
                     TPC_EINVAL);
    ck_assert_str_eq(h->err.path, "then[0].notify.params.text");
    house_free(h);
}
END_TEST

START_TEST(documents_are_checked_when_they_are_put)
{
    static const struct {
        const char *json;
        const char *path;
    } bad[] = {
        { "{'key':'a'," NIGHT, "type" },
        { "{'key':'a','type':'cron','cron':'0 25 * * *'," NIGHT, "cron" },
        { "{'key':'a','type':'repeat','interval':'1h','zone':'Mars/Olympus'," NIGHT, "zone" },
        { "{'key':'a','type':'repeat','interval':'1h'}", "then" },
        { "{'key':'a','type':'repeat','interval':'1h','then':[{'command':{'service':'set'}}]}",
          "then[0].command.device" },
        { "{'key':'a','type':'repeat','interval':'1h','then':[{'command':{'device':'fan-1',"
          "'service':'fly'}}]}",
          "then[0].command.service" },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(house_put(h, "schedule", bad[i].json) != 0, "%s", bad[i].json);
        ck_assert_msg(strcmp(h->err.path, bad[i].path) == 0, "%s: %s: %s", bad[i].json, h->err.path,
                      h->err.text);
    }
    ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->schedules), 0);
    house_free(h);
}
END_TEST

START_TEST(damaged_state_of_schedules_is_refused)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    set_clock(h, "2026-11-20T12:30:00");
    for (int i = 0; i < 8; i++) {
        char json[512];
        snprintf(json, sizeof(json), "{'key':'s%d'," HOURLY, i);
        tk_ok(house_put(h, "schedule", json));
    }
    save(h, state);
    for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
        uint64_t next;
        for (size_t len = 0; len < state[p].len; len++) {
            struct tpc_bytes cut = { state[p].ptr, len };
            tk_fails(TPC_ECORRUPT, tpi_rules_state_load(h->rules, p, cut, NULL, &next));
        }
        /* Version 1 knew none. */
        uint8_t old[] = { 1, 5, 0 };
        tk_ok(
            tpi_rules_state_load(h->rules, p, (struct tpc_bytes){ old, sizeof(old) }, NULL, &next));
        ck_assert_uint_eq(next, 5);
        tpi_buf_fini(&state[p]);
    }
    house_free(h);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
    struct house *h = house_new();
    bool done = false;
    for (size_t n = 1; !done; n++) {
        h->env.alloc.fail_at = h->env.alloc.count + n;
        int rc = house_put(h, "schedule",
                           "{'key':'a','type':'repeat','interval':'1h','zone':'Europe/Berlin',"
                           "" NIGHT);
        h->env.alloc.fail_at = 0;
        ck_assert(rc == 0 || rc == TPC_ENOMEM);
        done = rc == 0;
        ck_assert_uint_eq(atomic_load(&tpi_rules_count(h->rules)->schedules), done ? 1 : 0);
    }
    house_free(h);
}
END_TEST

Suite *schedule_suite(void)
{
    Suite *s = suite_create("schedule");
    TCase *t = tcase_create("schedule");
    tcase_add_test(t, a_planned_time_does_all_actions_once);
    tcase_add_test(t, what_passed_during_a_downtime_is_skipped_or_done_once);
    tcase_add_test(t, a_time_that_comes_again_after_a_crash_has_the_same_ids);
    tcase_add_test(t, a_changed_plan_starts_anew_and_changed_actions_do_not);
    tcase_add_test(t, a_disabled_one_misses_nothing);
    tcase_add_test(t, a_document_put_before_a_crash_is_not_made_up_for);
    tcase_add_test(t, days_of_summer_time_have_one_run);
    tcase_add_test(t, clocks_that_are_set);
    tcase_add_test(t, counted_and_dated_ones_end_also_over_a_restart);
    tcase_add_test(t, failed_actions_are_counted_and_the_next_time_comes);
    tcase_add_test(t, texts_of_actions_have_values);
    tcase_add_test(t, a_notification_is_for_its_own_tenant);
    tcase_add_test(t, documents_are_checked_when_they_are_put);
    tcase_add_test(t, damaged_state_of_schedules_is_refused);
    tcase_add_test(t, without_memory_nothing_changes);
    suite_add_tcase(s, t);
    return s;
}
