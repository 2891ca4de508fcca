#include "places.h"

#include "calendar/schedule.h"

#include <string.h>
#include <tpcore/json.h>

static int init_with(const struct tpc_allocator *alloc, const char *json, struct tpi_schedule *ret,
                     struct tpc_error *err)
{
    struct tpi_env env;
    struct tpc_arena *arena = NULL;
    struct tpc_value doc;
    tpi_env_default(&env);
    env.alloc = alloc != NULL ? alloc : env.alloc;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, tpc_str_from(json), 0, err, &doc));
    int rc = tpi_schedule_init(ret, &env, ZONE_DIR, &doc, err);
    tpc_arena_destroy(arena);
    return rc;
}

static struct tpi_schedule make(const char *json)
{
    struct tpi_schedule s;
    struct tpc_error err = { 0 };
    int rc = init_with(NULL, json, &s, &err);
    ck_assert_msg(rc == 0, "%s: %s: %s", json, err.path, err.text);
    return s;
}

/* What is planned after `from` (UTC): the times of the list, ended by NULL; "none" = no more. */
static void plan_is(const char *json, const char *from, const char *const *expect)
{
    struct tpi_schedule s = make(json);
    struct tpi_schedule_state state;
    int64_t at = utc(from) * 1000;
    tpi_schedule_start(&state, at);
    for (; *expect != NULL; expect++) {
        bool found = tpi_schedule_next(&s, &state, at, &at);
        const char *got = found ? utc_text(at / 1000) : "none";
        ck_assert_msg(strcmp(got, *expect) == 0, "%s: %s, expected %s", json, got, *expect);
    }
    tpi_schedule_fini(&s);
}

#define PLAN(json, from, ...) plan_is(json, from, (const char *const[]){ __VA_ARGS__, NULL })

START_TEST(all_types_plan)
{
    PLAN(TPC_JSON({ "type" : "repeat", "interval" : "7h" }), "2026-11-21T10:00:01",
                  "2026-11-21T17:00:01", "2026-11-22T00:00:01");
    PLAN(TPC_JSON({ "type" : "repeat", "interval" : 5000 }), "2026-11-21T10:00:01",
                  "2026-11-21T10:00:06");
    PLAN(TPC_JSON({ "type" : "cron", "cron" : "@every 90s" }), "2026-11-21T10:00:01",
                  "2026-11-21T10:01:31");
    PLAN(TPC_JSON({ "type" : "cron", "cron" : "0 30 7 * * MON-FRI", "zone" : "Europe/Berlin" }),
                  "2026-11-20T06:30:00", "2026-11-23T06:30:00");
    PLAN(TPC_JSON({ "type" : "simple", "frequency" : "daily", "time" : "07:30:15" }),
                  "2026-11-21T10:00:00", "2026-11-22T07:30:15", "2026-11-23T07:30:15");
    PLAN(TPC_JSON({ "type" : "simple", "time" : "07:30", "day_of_week" : "mon,tue" }),
                  "2026-11-21T10:00:00", "2026-11-23T07:30:00", "2026-11-24T07:30:00",
                  "2026-11-30T07:30:00");
    PLAN(TPC_JSON({
             "type" : "simple",
             "frequency" : "weekly",
             "time" : "00:00",
             "day_of_week" : [ "thu", "Sunday", 6 ]
         }),
                    "2026-11-21T00:00:00", "2026-11-22T00:00:00", "2026-11-26T00:00:00",
                    "2026-11-28T00:00:00");
    PLAN(TPC_JSON({
             "type" : "simple",
             "frequency" : "monthly",
             "date_of_month" : 31,
             "time" : "12:00",
             "zone" : "+08:00"
         }),
                  "2026-11-21T00:00:00", "2026-12-31T04:00:00", "2027-01-31T04:00:00",
                  "2027-03-31T04:00:00");
    PLAN(TPC_JSON({
             "type" : "simple",
             "frequency" : "on_date",
             "date" : "2027-02-28",
             "time" : "12:00"
         }),
                  "2026-11-21T00:00:00", "2027-02-28T12:00:00", "none");
}
END_TEST

START_TEST(the_sun_is_planned_by_local_dates)
{
    PLAN(TPC_JSON({
             "type" : "sunset",
             "latitude" : 51.5074,
             "longitude" : -0.1278,
             "offset" : "-30m",
             "zone" : "Europe/Berlin"
         }),
                  "2015-12-01T00:00:00", "2015-12-01T15:25:00", "2015-12-02T15:25:00");
    /* Samoa is a day ahead of its sun's day. */
    PLAN(TPC_JSON({
             "type" : "sunrise",
             "frequency" : "on_date",
             "date" : "2026-06-10",
             "latitude" : -13.83,
             "longitude" : -171.77,
             "zone" : "Pacific/Apia"
         }),
                  "2026-01-01T00:00:00", "2026-06-09T17:47:00", "none");
    /* Tromso: the sun is up until late in July. */
    struct tpi_schedule tromso =
        make(TPC_JSON({ "type" : "sunset", "latitude" : 69.6492, "longitude" : 18.9553 }));
    struct tpi_schedule_state state = { 0 };
    int64_t at = 0;
    ck_assert(tpi_schedule_next(&tromso, &state, utc("2026-05-20T12:00:00") * 1000, &at));
    ck_assert(at / 1000 > utc("2026-07-25T12:00:00") && at / 1000 < utc("2026-07-28T12:00:00"));
    tpi_schedule_fini(&tromso);
    PLAN(TPC_JSON({ "type" : "sunrise", "latitude" : 90, "longitude" : 0 }), "2026-06-20T12:00:00",
                  "none");
    PLAN(TPC_JSON({
             "type" : "sunrise",
             "latitude" : 40.7128,
             "longitude" : -74.006,
             "frequency" : "weekly",
             "day_of_week" : ["sat"],
             "zone" : "America/New_York"
         }),
                    "2024-12-20T00:00:00", "2024-12-21T12:17:00", "2024-12-28T12:19:00");
}
END_TEST

START_TEST(validity_bounds_dates_and_times)
{
    /* Each day from 08:00 to 09:00 */
    PLAN(TPC_JSON({
             "type" : "cron",
             "cron" : "*/30 * * * *",
             "zone" : "Europe/Berlin",
             "validity" : {
                 "date" : { "from" : "2026-11-23", "to" : "2026-11-24" },
                 "time" : { "from" : "08:00", "to" : "09:00" }
             }
         }),
                    "2026-11-21T10:00:00", "2026-11-23T07:00:00", "2026-11-23T07:30:00",
                    "2026-11-23T08:00:00", "2026-11-24T07:00:00", "2026-11-24T07:30:00",
                    "2026-11-24T08:00:00", "none");
    /* One span */
    PLAN(TPC_JSON({
             "type" : "cron",
             "cron" : "0 */12 * * *",
             "validity" : {
                 "date" : { "from" : "2026-11-23", "to" : "2026-11-24" },
                 "time" : { "from" : "08:00", "to" : "09:00" },
                 "every_day" : false
             }
         }),
                    "2026-11-21T10:00:00", "2026-11-23T12:00:00", "2026-11-24T00:00:00", "none");
    /* Over midnight */
    PLAN(TPC_JSON({
             "type" : "cron",
             "cron" : "0 * * * *",
             "validity" : { "time" : { "from" : "22:30", "to" : "01:00" } }
         }),
                    "2026-11-21T10:00:00", "2026-11-21T23:00:00", "2026-11-22T00:00:00",
                    "2026-11-22T01:00:00", "2026-11-22T23:00:00");
    /* Never inside */
    PLAN(TPC_JSON({
             "type" : "simple",
             "time" : "20:00",
             "validity" : { "time" : { "from" : "08:00", "to" : "18:00" } }
         }),
                    "2026-11-21T10:00:00", "none");
    /* A second's job is not looked at second by second until its window. */
    PLAN(TPC_JSON({
             "type" : "repeat",
             "interval" : "1s",
             "validity" : { "date" : { "from" : "2036-01-01" } }
         }),
                    "2026-11-21T10:00:00", "2036-01-01T00:00:00");
}
END_TEST

START_TEST(documents_that_are_wrong_say_where)
{
    static const struct {
        const char *json;
        const char *path;
        const char *text;
    } bad[] = {
        { "{}", "type", "repeat, cron" },
        { "{\"type\":\"often\"}", "type", "repeat, cron" },
        { "{\"type\":5}", "type", "repeat, cron" },
        { "{\"type\":\"repeat\"}", "interval", "1s or more" },
        { "{\"type\":\"repeat\",\"interval\":\"10ms\"}", "interval", "1s or more" },
        { "{\"type\":\"repeat\",\"interval\":\"5m\",\"count\":-1}", "count", "a number of runs" },
        { "{\"type\":\"cron\",\"cron\":\"* * *\"}", "cron", "5 fields" },
        { "{\"type\":\"cron\"}", "cron", "5 fields" },
        { "{\"type\":\"simple\"}", "time", "HH:MM" },
        { "{\"type\":\"simple\",\"time\":\"25:00\"}", "time", "HH:MM" },
        { "{\"type\":\"simple\",\"time\":\"12:00\",\"frequency\":\"x\"}", "frequency", "daily" },
        { "{\"type\":\"simple\",\"time\":\"12:00\",\"frequency\":\"weekly\"}", "day_of_week",
          "days" },
        { "{\"type\":\"simple\",\"time\":\"12:00\",\"day_of_week\":[]}", "day_of_week", "days" },
        { "{\"type\":\"simple\",\"time\":\"12:00\",\"day_of_week\":[\"mon\",9]}", "day_of_week",
          "days" },
        { "{\"type\":\"simple\",\"time\":\"12:00\",\"frequency\":\"monthly\",\"date_of_month\":32}",
          "date_of_month", "1-31" },
        { "{\"type\":\"simple\",\"time\":\"12:00\",\"frequency\":\"on_date\",\"date\":\"2026-2-"
          "1\"}",
          "date", "YYYY-MM-DD" },
        { "{\"type\":\"sunset\",\"longitude\":3}", "latitude", "-90..90" },
        { "{\"type\":\"sunset\",\"latitude\":3,\"longitude\":181}", "longitude", "-180..180" },
        { "{\"type\":\"sunset\",\"latitude\":3,\"longitude\":1,\"offset\":\"-13h\"}", "offset",
          "12h" },
        { "{\"type\":\"repeat\",\"interval\":\"5m\",\"zone\":\"Mars\"}", "zone", "Mars" },
        { "{\"type\":\"repeat\",\"interval\":\"5m\",\"zone\":\"../x\"}", "zone", "no time zone" },
        { "{\"type\":\"repeat\",\"interval\":\"5m\",\"missed\":\"all\"}", "missed", "skip" },
        { "{\"type\":\"repeat\",\"interval\":\"5m\",\"validity\":{\"date\":{\"from\":\"x\"}}}",
          "validity.date.from", "YYYY" },
        { "{\"type\":\"repeat\",\"interval\":\"5m\",\"validity\":{\"time\":{\"to\":\"x\"}}}",
          "validity.time.to", "HH:MM" },
        { "{\"type\":\"repeat\",\"interval\":\"5m\",\"validity\":{\"date\":{\"from\":"
          "\"2026-02-02\",\"to\":\"2026-02-01\"}}}",
          "validity.date", "not before" },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tpi_schedule s;
        struct tpc_error err = { 0 };
        int rc = init_with(NULL, bad[i].json, &s, &err);
        ck_assert_msg(rc < 0, "%s", bad[i].json);
        ck_assert_msg(strcmp(err.path, bad[i].path) == 0, "%s: %s", bad[i].json, err.path);
        ck_assert_msg(strstr(err.text, bad[i].text) != NULL, "%s: %s", bad[i].json, err.text);
    }
}
END_TEST

/* One step; checks whether and for which time it fires. */
static struct tpi_schedule_step step(const struct tpi_schedule *s, struct tpi_schedule_state *state,
                                     const char *now, const char *fires, uint64_t missed)
{
    struct tpi_schedule_step r;
    tpi_schedule_step(s, state, utc(now) * 1000, &r);
    const char *got = r.fire ? utc_text(r.fire_ms / 1000) : "";
    ck_assert_msg(strcmp(got, fires) == 0, "%s: '%s', expected '%s'", now, got, fires);
    ck_assert_msg(r.missed == missed, "%s: missed %d", now, (int) r.missed);
    return r;
}

START_TEST(a_planned_time_is_done_once)
{
    struct tpi_schedule s = make(TPC_JSON({ "type" : "cron", "cron" : "0 * * * *" }));
    struct tpi_schedule_state st;
    tpi_schedule_start(&st, utc("2026-11-21T10:12:00") * 1000);
    struct tpi_schedule_step r = step(&s, &st, "2026-11-21T10:12:00", "", 0);
    utc_is(r.next_ms / 1000, "2026-11-21T11:00:00");
    step(&s, &st, "2026-11-21T10:59:59", "", 0);
    r = step(&s, &st, "2026-11-21T11:00:00", "2026-11-21T11:00:00", 0);
    utc_is(r.next_ms / 1000, "2026-11-21T12:00:00");
    step(&s, &st, "2026-11-21T11:00:00", "", 0);
    step(&s, &st, "2026-11-21T11:59:59", "", 0);
    /* Late by less than the limit is not missed. */
    step(&s, &st, "2026-11-21T12:00:09", "2026-11-21T12:00:00", 0);
    ck_assert_uint_eq(st.fired, 2);
    tpi_schedule_fini(&s);
}
END_TEST

START_TEST(what_is_missed_is_skipped_or_done_once)
{
    struct tpi_schedule s = make(TPC_JSON({ "type" : "cron", "cron" : "0 * * * *" }));
    struct tpi_schedule_state st;
    tpi_schedule_start(&st, utc("2026-11-21T10:12:00") * 1000);
    step(&s, &st, "2026-11-21T14:30:00", "", 4);
    ck_assert_uint_eq(st.missed, 4);
    step(&s, &st, "2026-11-21T15:00:00", "2026-11-21T15:00:00", 0);
    /* The newest is in time, those before are missed. */
    step(&s, &st, "2026-11-21T18:00:01", "2026-11-21T18:00:00", 2);
    s.run_once = true;
    step(&s, &st, "2026-11-22T00:30:00", "2026-11-22T00:00:00", 5);
    step(&s, &st, "2026-11-22T00:30:01", "", 0);
    tpi_schedule_fini(&s);
    /* Years of seconds cost no more than a thousand looks. */
    s = make(TPC_JSON({ "type" : "cron", "cron" : "* * * * * *", "missed" : "run_once" }));
    tpi_schedule_start(&st, utc("2006-11-21T10:12:00") * 1000);
    step(&s, &st, "2026-11-21T14:30:00", "2026-11-21T14:30:00", TPI_SCHEDULE_MAX_MISSED);
    tpi_schedule_fini(&s);
}
END_TEST

START_TEST(a_clock_that_goes_back_fires_nothing_twice)
{
    struct tpi_schedule s = make(TPC_JSON({ "type" : "repeat", "interval" : "1h" }));
    struct tpi_schedule_state st;
    tpi_schedule_start(&st, utc("2026-11-21T10:00:00") * 1000);
    step(&s, &st, "2026-11-21T11:00:00", "2026-11-21T11:00:00", 0);
    step(&s, &st, "2026-11-21T09:00:00", "", 0);
    step(&s, &st, "2026-11-21T11:00:00", "", 0);
    step(&s, &st, "2026-11-21T12:00:00", "2026-11-21T12:00:00", 0);
    /* By more than a day: the time before was wrong. */
    step(&s, &st, "2099-01-01T00:00:00", "2099-01-01T00:00:00", 1000);
    struct tpi_schedule_step r = step(&s, &st, "2026-11-21T12:30:00", "", 0);
    utc_is(r.next_ms / 1000, "2026-11-21T13:00:00");
    tpi_schedule_fini(&s);
    s = make(TPC_JSON({
        "type" : "cron",
        "cron" : "0 * * * *",
        "validity" : { "date" : { "to" : "2027-12-31" } }
    }));
    tpi_schedule_start(&st, utc("2026-11-21T10:00:00") * 1000);
    (void) step(&s, &st, "2099-01-01T00:00:00", "", 1001);
    ck_assert(st.ended); /* but it was not */
    r = step(&s, &st, "2026-11-21T12:30:00", "", 0);
    ck_assert(!st.ended);
    utc_is(r.next_ms / 1000, "2026-11-21T13:00:00");
    tpi_schedule_fini(&s);
}
END_TEST

START_TEST(counts_and_dates_end_a_schedule)
{
    struct tpi_schedule s = make(TPC_JSON({ "type" : "repeat", "interval" : "1h", "count" : 2 }));
    struct tpi_schedule_state st;
    tpi_schedule_start(&st, utc("2026-11-21T10:00:00") * 1000);
    step(&s, &st, "2026-11-21T11:00:00", "2026-11-21T11:00:00", 0);
    ck_assert(!st.ended);
    struct tpi_schedule_step r = step(&s, &st, "2026-11-21T12:00:00", "2026-11-21T12:00:00", 0);
    ck_assert(st.ended && r.next_ms == INT64_MAX);
    step(&s, &st, "2026-11-21T13:00:00", "", 0);
    tpi_schedule_start(&st, utc("2026-11-21T13:30:00") * 1000);
    step(&s, &st, "2026-11-21T14:30:00", "2026-11-21T14:30:00", 0);
    tpi_schedule_fini(&s);
    s = make(TPC_JSON({
        "type" : "simple",
        "frequency" : "on_date",
        "date" : "2026-11-22",
        "time" : "12:00",
        "missed" : "run_once"
    }));
    tpi_schedule_start(&st, utc("2026-11-21T10:00:00") * 1000);
    step(&s, &st, "2026-11-25T11:00:00", "2026-11-22T12:00:00", 0);
    ck_assert(st.ended);
    tpi_schedule_fini(&s);
}
END_TEST

static int init_oom(const struct tpc_allocator *a, void *user)
{
    struct tpi_schedule s;
    int rc = init_with(a, user, &s, NULL);
    if (rc == 0) {
        tpi_schedule_fini(&s);
    }
    return rc;
}

START_TEST(schedules_without_memory)
{
    char json[] = "{\"type\":\"repeat\",\"interval\":\"5m\",\"zone\":\"Europe/Berlin\"}";
    ck_assert_uint_gt(tk_each_alloc_fails(init_oom, json), 2);
}
END_TEST

Suite *schedule_suite(void)
{
    Suite *s = suite_create("schedule");
    TCase *t = tcase_create("schedule");
    tcase_add_test(t, all_types_plan);
    tcase_add_test(t, the_sun_is_planned_by_local_dates);
    tcase_add_test(t, validity_bounds_dates_and_times);
    tcase_add_test(t, documents_that_are_wrong_say_where);
    tcase_add_test(t, a_planned_time_is_done_once);
    tcase_add_test(t, what_is_missed_is_skipped_or_done_once);
    tcase_add_test(t, a_clock_that_goes_back_fires_nothing_twice);
    tcase_add_test(t, counts_and_dates_end_a_schedule);
    tcase_add_test(t, schedules_without_memory);
    suite_add_tcase(s, t);
    return s;
}
