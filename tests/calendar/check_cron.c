#include "places.h"

#include "calendar/cron.h"

#include <stdio.h>
#include <string.h>

/* The next time of an expression in UTC, as text; "none". */
static const char *next(const char *text, const char *after)
{
    struct tpi_cron c;
    struct tpc_error err = { 0 };
    int64_t at = 0;
    int rc = tpi_cron_parse(tpc_str_from(text), &err, &c);
    ck_assert_msg(rc == 0, "%s: column %u: %s", text, err.column, err.text);
    return tpi_cron_next(&c, NULL, utc(after) * 1000, &at) ? utc_text(at / 1000) : "none";
}

struct next_case {
    const char *text;
    const char *after;
    const char *expect;
};

static void all_are(const struct next_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *got = next(cases[i].text, cases[i].after);
        ck_assert_msg(strcmp(got, cases[i].expect) == 0, "%s after %s: %s, expected %s",
                      cases[i].text, cases[i].after, got, cases[i].expect);
    }
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

START_TEST(fields_ranges_lists_steps_and_names)
{
    static const struct next_case cases[] = {
        { "* * * * *", "2026-11-21T10:12:07", "2026-11-21T10:13:00" },
        { "* * * * * *", "2026-11-21T10:12:07", "2026-11-21T10:12:08" },
        { "0 0 * * *", "2026-12-31T00:00:00", "2027-01-01T00:00:00" },
        { "*/15 * * * *", "2026-11-21T10:46:00", "2026-11-21T11:00:00" },
        { "5/20 * * * *", "2026-11-21T10:26:00", "2026-11-21T10:45:00" },
        { "10-20/5 * * * *", "2026-11-21T10:15:00", "2026-11-21T10:20:00" },
        { "50-10/10 * * * *", "2026-11-21T10:51:00", "2026-11-21T11:00:00" },
        { "0 22-2 * * *", "2026-11-21T02:00:00", "2026-11-21T22:00:00" },
        { "0,30 7,19 * * *", "2026-11-21T07:30:00", "2026-11-21T19:00:00" },
        { "0 9 * jan,JUL *", "2026-11-21T00:00:00", "2027-01-01T09:00:00" },
        { "0 9 * NOV-FEB 1", "2026-11-21T00:00:00", "2026-11-23T09:00:00" },
        { "0 9 * * mon-FRI", "2026-11-20T09:00:00", "2026-11-23T09:00:00" },
        { "0 9 * * fri-MON", "2026-11-21T09:00:00", "2026-11-22T09:00:00" },
        { "0 9 * * 7", "2026-11-21T09:00:00", "2026-11-22T09:00:00" },
        { "0 9 * * 0", "2026-11-21T09:00:00", "2026-11-22T09:00:00" },
        { "0 9 * * 5-7", "2026-11-22T09:00:00", "2026-11-27T09:00:00" },
        { "0 9 * * 6-1", "2026-11-23T09:00:00", "2026-11-28T09:00:00" },
        { "30 15 10 * * *", "2026-11-21T10:15:30", "2026-11-22T10:15:30" },
        { "0 0 0 1 1 ? 2028", "2026-11-21T00:00:00", "2028-01-01T00:00:00" },
        { "0 0 0 1 1 ? *", "2026-11-21T00:00:00", "2027-01-01T00:00:00" },
        { "0 0 0 1 1 ? 2026-2030/2", "2026-11-21T00:00:00", "2028-01-01T00:00:00" },
        { "  0\t0  * * *  ", "2026-11-21T00:00:00", "2026-11-22T00:00:00" },
        { "59 59 23 31 12 *", "2026-12-31T23:59:58", "2026-12-31T23:59:59" },
        { "@hourly", "2026-11-21T10:12:07", "2026-11-21T11:00:00" },
        { "@daily", "2026-11-21T10:12:07", "2026-11-22T00:00:00" },
        { "@midnight", "2026-11-21T10:12:07", "2026-11-22T00:00:00" },
        { "@weekly", "2026-11-21T10:12:07", "2026-11-22T00:00:00" },
        { "@monthly", "2026-11-21T10:12:07", "2026-12-01T00:00:00" },
        { "@yearly", "2026-11-21T10:12:07", "2027-01-01T00:00:00" },
        { "@annually", "2026-11-21T10:12:07", "2027-01-01T00:00:00" },
        { "@every 5m", "2026-11-21T10:12:07", "2026-11-21T10:15:00" },
        { "@every 1h30m", "1970-01-01T00:00:00", "1970-01-01T01:30:00" },
    };
    all_are(cases, COUNT(cases));
}
END_TEST

START_TEST(days_counted_from_the_ends_of_the_month)
{
    static const struct next_case cases[] = {
        { "0 0 L * *", "2026-02-01T00:00:00", "2026-02-28T00:00:00" },
        { "0 0 L * *", "2028-02-01T00:00:00", "2028-02-29T00:00:00" },
        { "0 0 L-2 * ?", "2026-02-01T00:00:00", "2026-02-26T00:00:00" },
        { "0 0 L-30 * ?", "2026-02-01T00:00:00", "2026-03-01T00:00:00" },
        { "0 0 15W * ?", "2026-11-01T00:00:00", "2026-11-16T00:00:00" }, /* Sunday */
        { "0 0 14W * ?", "2026-11-01T00:00:00", "2026-11-13T00:00:00" }, /* Saturday */
        { "0 0 1W 8 ?", "2026-01-01T00:00:00", "2026-08-03T00:00:00" },  /* Saturday the 1st */
        { "0 0 31W 5 ?", "2026-01-01T00:00:00", "2026-05-29T00:00:00" }, /* Sunday the 31st */
        { "0 0 31W 2,5 ?", "2026-01-01T00:00:00", "2026-05-29T00:00:00" },
        { "0 0 LW * ?", "2026-05-01T00:00:00", "2026-05-29T00:00:00" },
        { "0 0 LW * ?", "2026-10-01T00:00:00", "2026-10-30T00:00:00" },
        { "0 0 1,L * ?", "2026-05-01T00:00:00", "2026-05-31T00:00:00" },
        { "0 0 ? * 1#1", "2026-11-21T00:00:00", "2026-12-07T00:00:00" },
        { "0 0 ? * FRI#5", "2026-11-21T00:00:00", "2027-01-29T00:00:00" },
        { "0 0 ? * 5L", "2026-11-21T00:00:00", "2026-11-27T00:00:00" },
        { "0 0 ? * sunL,7#1", "2026-11-21T00:00:00", "2026-11-29T00:00:00" },
    };
    all_are(cases, COUNT(cases));
}
END_TEST

START_TEST(either_of_two_restricted_day_fields_is_enough)
{
    static const struct next_case cases[] = {
        { "0 0 13 * 5", "2026-11-21T00:00:00", "2026-11-27T00:00:00" },  /* a Friday */
        { "0 0 28 * 5", "2026-11-27T00:00:00", "2026-11-28T00:00:00" },  /* the 28th */
        { "0 0 */2 * 5", "2026-11-21T00:00:00", "2026-11-27T00:00:00" }, /* both: 27 is odd */
        { "0 0 13 * *", "2026-11-21T00:00:00", "2026-12-13T00:00:00" },
        { "0 0 * * 5", "2026-11-21T00:00:00", "2026-11-27T00:00:00" },
        { "0 0 13 * ?", "2026-11-21T00:00:00", "2026-12-13T00:00:00" },
        { "0 0 29 2 1", "2026-02-24T00:00:00", "2027-02-01T00:00:00" },
    };
    all_are(cases, COUNT(cases));
}
END_TEST

START_TEST(impossible_and_past_dates_end)
{
    static const struct next_case cases[] = {
        { "0 0 30 2 *", "2026-11-21T00:00:00", "none" },
        { "0 0 31 4,6,9,11 *", "2026-11-21T00:00:00", "none" },
        { "0 0 0 1 1 ? 2020", "2026-11-21T00:00:00", "none" },
        { "0 0 0 29 2 ? 2027", "2026-11-21T00:00:00", "none" },
        { "* * * 30 2 *", "2026-11-21T00:00:00", "none" },
        { "0 0 30W 2 ?", "2026-11-21T00:00:00", "none" },
        { "0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00" },
        { "0 0 ? 2 0#5", "2032-03-01T00:00:00", "2060-02-29T00:00:00" },
        { "0 0 ? 2 0#5", "2088-03-01T00:00:00", "2128-02-29T00:00:00" },
    };
    all_are(cases, COUNT(cases));
    struct tpi_cron c;
    int64_t at;
    tk_ok(tpi_cron_parse(TPC_STR("* * * * *"), NULL, &c));
    ck_assert(!tpi_cron_next(&c, NULL, INT64_MAX, &at));
    ck_assert(!tpi_cron_next(&c, NULL, INT64_MIN, &at));
    ck_assert(tpi_cron_next(&c, NULL, -1, &at));
    ck_assert_int_eq(at, 0);
    ck_assert(tpi_cron_next(&c, NULL, 59999, &at));
    ck_assert_int_eq(at, 60000);
}
END_TEST

START_TEST(faults_say_where_and_what_was_expected)
{
    static const struct {
        const char *text;
        uint32_t column;
        const char *expect;
    } bad[] = {
        { "", 1, "5 fields" },
        { "* * * *", 8, "5 fields" },
        { "* * * * * * * *", 15, "5 fields" },
        { "60 * * * *", 1, "minute: expected *, 0-59" },
        { "* 24 * * *", 3, "hour: expected *, 0-23" },
        { "* * 0 * *", 5, "day of month: expected *, 1-31" },
        { "* * 32 * *", 5, "day of month" },
        { "* * * 13 *", 7, "month: expected *, 1-12 or JAN-DEC" },
        { "* * * FOO *", 7, "JAN-DEC" },
        { "* * * * 8", 9, "day of week: expected *, 0-7, SUN-SAT or ?" },
        { "* * * * L", 9, "day of week" },
        { "* * * * MON#6", 13, "1-5" },
        { "* * * * MONDAY", 12, "',' or the end" },
        { "* * 20-10 * *", 5, "a range that rises" },
        { "*/0 * * * *", 3, "a step" },
        { "*/ * * * *", 3, "a step" },
        { "1- * * * *", 3, "minute" },
        { "1,, * * * *", 3, "minute" },
        { "-1 * * * *", 1, "minute" },
        { "? * * * *", 1, "minute" },
        { "* * L-31 * *", 7, "0-30" },
        { "* * 5X * *", 6, "',' or the end" },
        { "0 0 0 1 1 ? 1969", 13, "year: expected *, 1970-2199" },
        { "0 0 0 1 1 ? 99999999", 13, "year" },
        { "@every", 1, "@every 5m" },
        { "@every 0s", 8, "a span of 1s" },
        { "@every x", 8, "a span of 1s" },
        { "@reboot", 1, "@hourly" },
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct tpi_cron c;
        struct tpc_error err = { 0 };
        int rc = tpi_cron_parse(tpc_str_from(bad[i].text), &err, &c);
        ck_assert_msg(rc == TPC_EINVAL, "%s", bad[i].text);
        ck_assert_msg(err.line == 1 && err.column == bad[i].column, "%s: column %u: %s",
                      bad[i].text, err.column, err.text);
        ck_assert_msg(strstr(err.text, bad[i].expect) != NULL, "%s: %s", bad[i].text, err.text);
    }
    char big[1000];
    memset(big, '*', sizeof(big));
    struct tpi_cron c;
    tk_fails(TPC_EINVAL, tpi_cron_parse((struct tpc_str){ big, sizeof(big) }, NULL, &c));
}
END_TEST

/* All that a set of fields says, minute by minute of five years, without any cleverness. */
START_TEST(next_is_what_looking_at_every_minute_finds)
{
    static const char *const texts[] = { "7 3 * * *",    "*/7 */5 1-7 * 3", "0 12 L 2,6 *",
                                         "30 6 ? * 2#2", "15 14 10W * ?",   "59 23 31 12 *",
                                         "1 1 13 * 5",   "0 0 29 2 *",      "*/20 8-10 * 3-5 1-5" };
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct tpi_cron c;
        int64_t at = 0;
        int64_t t = utc("2024-01-01T00:00:00");
        tk_ok(tpi_cron_parse(tpc_str_from(texts[i]), NULL, &c));
        ck_assert(tpi_cron_next(&c, NULL, t * 1000 - 1, &at));
        for (int64_t end = t + 5 * 365 * 86400; t < end; t += 60) {
            int32_t s = tpi_time_of_day(t);
            bool hit = (c.hours >> s / 3600 & 1) != 0 && (c.minutes >> s / 60 % 60 & 1) != 0 &&
                       tpi_cron_has_day(&c, tpi_floor_div(t, TPI_DAY_S));
            if (hit) {
                ck_assert_msg(at == t * 1000, "%s: %s", texts[i], utc_text(t));
                ck_assert(tpi_cron_next(&c, NULL, at, &at));
            }
        }
        ck_assert_int_ge(at, t * 1000);
    }
}
END_TEST

Suite *cron_suite(void)
{
    Suite *s = suite_create("cron");
    TCase *t = tcase_create("cron");
    tcase_add_test(t, fields_ranges_lists_steps_and_names);
    tcase_add_test(t, days_counted_from_the_ends_of_the_month);
    tcase_add_test(t, either_of_two_restricted_day_fields_is_enough);
    tcase_add_test(t, impossible_and_past_dates_end);
    tcase_add_test(t, faults_say_where_and_what_was_expected);
    tcase_add_test(t, next_is_what_looking_at_every_minute_finds);
    suite_add_tcase(s, t);
    return s;
}
