/* Cron on the days on which clocks are set. */
#include "places.h"

#include "calendar/cron.h"

#include <string.h>

/* The runs from `from` to before `to` (UTC), which must be those of the list, ended by NULL. */
static void runs_are(const char *zone, const char *text, const char *from, const char *to,
                     const char *const *expect)
{
    struct tpi_zone *z = place(zone);
    struct tpi_cron c;
    int64_t at = utc(from) * 1000 - 1;
    tk_ok(tpi_cron_parse(tpc_str_from(text), NULL, &c));
    while (tpi_cron_next(&c, z, at, &at) && at < utc(to) * 1000) {
        ck_assert_msg(*expect != NULL && strcmp(utc_text(at / 1000), *expect) == 0,
                      "%s in %s: %s, expected %s", text, zone, utc_text(at / 1000),
                      *expect != NULL ? *expect : "none");
        expect++;
    }
    ck_assert_msg(*expect == NULL, "%s in %s: nothing, expected %s", text, zone, *expect);
    tpi_zone_destroy(z);
}

#define RUNS(zone, text, from, to, ...)                                                            \
    runs_are(zone, text, from, to, (const char *const[]){ __VA_ARGS__, NULL })

START_TEST(a_time_in_the_gap_fires_once_at_its_end)
{
    RUNS("Europe/Berlin", "30 2 * * *", "2026-03-28T00:00:00", "2026-03-31T00:00:00",
         "2026-03-28T01:30:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00");
    /* All of a gap are one; what is at its end anyhow, too. */
    RUNS("Europe/Berlin", "*/10 2,3 * * *", "2026-03-29T00:00:00", "2026-03-29T02:00:00",
         "2026-03-29T01:00:00", "2026-03-29T01:10:00", "2026-03-29T01:20:00", "2026-03-29T01:30:00",
         "2026-03-29T01:40:00", "2026-03-29T01:50:00");
    RUNS("America/New_York", "0 30 2 8 3 ?", "2026-01-01T00:00:00", "2026-12-31T00:00:00",
         "2026-03-08T07:00:00");
    RUNS("Australia/Lord_Howe", "15 2 * * *", "2026-10-02T12:00:00", "2026-10-04T23:00:00",
         "2026-10-02T15:45:00", "2026-10-03T15:30:00", "2026-10-04T15:15:00");
    /* A day that does not exist. */
    RUNS("Pacific/Apia", "0 9 30 * *", "2011-12-01T00:00:00", "2012-01-01T00:00:00",
         "2011-12-30T10:00:00");
}
END_TEST

START_TEST(a_time_that_exists_twice_fires_at_the_first)
{
    RUNS("Europe/Berlin", "30 2 * * *", "2026-10-24T00:00:00", "2026-10-27T00:00:00",
         "2026-10-24T00:30:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00");
    RUNS("America/New_York", "0,30 1 * * *", "2026-11-01T00:00:00", "2026-11-02T00:00:00",
         "2026-11-01T05:00:00", "2026-11-01T05:30:00");
    RUNS("Australia/Lord_Howe", "45 1 5 4 *", "2026-01-01T00:00:00", "2026-12-31T00:00:00",
         "2026-04-04T14:45:00");
}
END_TEST

START_TEST(jobs_of_every_hour_keep_their_interval)
{
    RUNS("Europe/Berlin", "*/30 * * * *", "2026-03-29T00:00:00", "2026-03-29T02:30:00",
         "2026-03-29T00:00:00", "2026-03-29T00:30:00", "2026-03-29T01:00:00", "2026-03-29T01:30:00",
         "2026-03-29T02:00:00");
    RUNS("Europe/Berlin", "*/30 * * * *", "2026-10-24T23:30:00", "2026-10-25T02:30:00",
         "2026-10-24T23:30:00", "2026-10-25T00:00:00", "2026-10-25T00:30:00", "2026-10-25T01:00:00",
         "2026-10-25T01:30:00", "2026-10-25T02:00:00");
    RUNS("Europe/Berlin", "15 0-23 25 10 *", "2026-10-25T00:00:00", "2026-10-25T02:30:00",
         "2026-10-25T00:15:00", "2026-10-25T01:15:00", "2026-10-25T02:15:00");
    RUNS("Australia/Lord_Howe", "0 * * * *", "2026-10-03T14:00:00", "2026-10-03T17:30:00",
         "2026-10-03T14:30:00", "2026-10-03T16:00:00", "2026-10-03T17:00:00");
}
END_TEST

START_TEST(no_run_is_lost_or_doubled_in_ten_years)
{
    static const char *const zones[] = { "Europe/Berlin", "America/New_York", "Europe/Dublin",
                                         "Australia/Lord_Howe", "Asia/Shanghai" };
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
        struct tpi_zone *z = place(zones[i]);
        for (int hour = 0; hour < 4; hour++) {
            char text[32] = "30 0 * * *";
            text[3] = (char) ('0' + hour);
            struct tpi_cron c;
            int64_t at = utc("2020-01-01T00:00:00") * 1000;
            int64_t day = 0;
            tk_ok(tpi_cron_parse(tpc_str_from(text), NULL, &c));
            for (int n = 0; n < 3653; n++) {
                holds(tpi_cron_next(&c, z, at, &at));
                int64_t d = tpi_floor_div(tpi_zone_local(z, at / 1000), TPI_DAY_S);
                holds(n == 0 || d == day + 1);
                day = d;
            }
        }
        tpi_zone_destroy(z);
    }
}
END_TEST

START_TEST(next_rises_from_every_moment_around_a_change)
{
    static const char *const texts[] = { "30 2 * * *", "*/7 1-3 * * *", "*/20 * * * *",
                                         "0 0 * * *" };
    static const char *const changes[] = { "2026-03-29T01:00:00", "2026-10-25T01:00:00" };
    struct tpi_zone *z = place("Europe/Berlin");
    for (size_t i = 0; i < 4; i++) {
        struct tpi_cron c;
        tk_ok(tpi_cron_parse(tpc_str_from(texts[i]), NULL, &c));
        for (size_t k = 0; k < 2; k++) {
            int64_t last = INT64_MIN;
            for (int64_t t = utc(changes[k]) - 9000; t < utc(changes[k]) + 9000; t += 29) {
                int64_t at;
                int64_t again;
                holds(tpi_cron_next(&c, z, t * 1000, &at));
                holds(at > t * 1000 && at >= last);
                holds(tpi_cron_next(&c, z, at - 1, &again));
                holds(again == at);
                last = at;
            }
        }
    }
    tpi_zone_destroy(z);
}
END_TEST

Suite *dst_suite(void)
{
    Suite *s = suite_create("dst");
    TCase *t = tcase_create("dst");
    tcase_add_test(t, a_time_in_the_gap_fires_once_at_its_end);
    tcase_add_test(t, a_time_that_exists_twice_fires_at_the_first);
    tcase_add_test(t, jobs_of_every_hour_keep_their_interval);
    tcase_add_test(t, no_run_is_lost_or_doubled_in_ten_years);
    tcase_add_test(t, next_rises_from_every_moment_around_a_change);
    suite_add_tcase(s, t);
    return s;
}
