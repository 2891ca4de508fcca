#include "places.h"

#include "calendar/civil.h"

START_TEST(every_day_of_800_years_goes_to_a_date_and_back)
{
    int64_t day = tpi_days_from_civil(1599, 12, 31);
    struct tpi_civil last;
    tpi_civil_from_days(day, &last);
    int32_t weekday = tpi_weekday(day);
    for (day++; day < tpi_days_from_civil(2401, 1, 1); day++) {
        struct tpi_civil c;
        tpi_civil_from_days(day, &c);
        bool next_day = c.day == last.day + 1 && c.month == last.month && c.year == last.year;
        bool next_month = c.day == 1 && last.day == tpi_month_days(last.year, last.month) &&
                          (c.month == last.month + 1 || (c.month == 1 && last.month == 12));
        holds(next_day || next_month);
        holds(tpi_days_from_civil(c.year, c.month, c.day) == day);
        weekday = (weekday + 1) % 7;
        holds(tpi_weekday(day) == weekday);
        last = c;
    }
}
END_TEST

START_TEST(known_dates)
{
    ck_assert_int_eq(tpi_days_from_civil(1970, 1, 1), 0);
    ck_assert_int_eq(tpi_days_from_civil(2000, 2, 29), 11016);
    ck_assert_int_eq(tpi_weekday(tpi_days_from_civil(2026, 11, 21)), 6);
    ck_assert_int_eq(tpi_weekday(tpi_days_from_civil(1899, 12, 31)), 0);
    ck_assert_int_eq(tpi_month_days(1900, 2), 28);
    ck_assert_int_eq(tpi_month_days(2000, 2), 29);
    ck_assert_int_eq(tpi_time_of_day(-1), 86399);
    utc_is(-1, "1969-12-31T23:59:59");
    utc_is(1000000000, "2001-09-09T01:46:40");
    struct tpi_civil c;
    tpi_civil_from_local(TPI_TIME_MIN_S, &c);
    ck_assert_int_eq(tpi_local_from_civil(&c), TPI_TIME_MIN_S);
    tpi_civil_from_local(TPI_TIME_MAX_S, &c);
    ck_assert_int_eq(tpi_local_from_civil(&c), TPI_TIME_MAX_S);
}
END_TEST

START_TEST(clocks_and_dates_are_read_strictly)
{
    int32_t s = -1;
    int64_t day = -1;
    static const char *const clocks[] = { "",         "7:30",     "24:00", "23:60",     "12:00:60",
                                          "12:00:0",  "12-00",    "aa:bb", "12:00:00Z", "12:00:",
                                          "-1:00:00", "12:00-00", " 12:00" };
    for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
        tk_fails(TPC_EINVAL, tpi_civil_clock(tpc_str_from(clocks[i]), &s));
    }
    tk_ok(tpi_civil_clock(TPC_STR("23:59:58"), &s));
    ck_assert_int_eq(s, 86398);
    tk_ok(tpi_civil_clock(TPC_STR("07:30"), &s));
    ck_assert_int_eq(s, 27000);
    static const char *const dates[] = { "",           "2026-02-29", "2026-13-01", "2026-00-01",
                                         "2026-01-00", "2026-1-1",   "0000-01-01", "2026/01/01",
                                         "2026-01-0x", "2100-02-29" };
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
        tk_fails(TPC_EINVAL, tpi_civil_parse(tpc_str_from(dates[i]), &day));
    }
    tk_ok(tpi_civil_parse(TPC_STR("2024-02-29"), &day));
    ck_assert_int_eq(day, tpi_days_from_civil(2024, 2, 29));
}
END_TEST

static int64_t span(const char *text)
{
    int64_t ms = -1;
    int rc = tpi_span_parse(tpc_str_from(text), &ms);
    return rc == 0 ? ms : INT64_MIN;
}

START_TEST(spans_are_read_as_people_and_go_write_them)
{
    ck_assert_int_eq(span("90"), 90);
    ck_assert_int_eq(span("5m"), 300000);
    ck_assert_int_eq(span("1h30m"), 5400000);
    ck_assert_int_eq(span("1.5h"), 5400000);
    ck_assert_int_eq(span("-30m"), -1800000);
    ck_assert_int_eq(span("+1s250ms"), 1250);
    ck_assert_int_eq(span("1w2d"), 9 * 86400000LL);
    static const char *const bad[] = { "",      "-",    "m",
                                       "5x",    "1h30", "1..5h",
                                       "5 m",   ".",    "--5m",
                                       "5m-",   "1e3s", "99999999999w",
                                       "1h-3m", "0x5",  "1234567890123456" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(span(bad[i]) == INT64_MIN, "%s", bad[i]);
    }
}
END_TEST

START_TEST(weekdays_have_names_and_numbers)
{
    ck_assert_int_eq(tpi_weekday_parse(TPC_STR("sun")), 0);
    ck_assert_int_eq(tpi_weekday_parse(TPC_STR("Saturday")), 6);
    ck_assert_int_eq(tpi_weekday_parse(TPC_STR("WED")), 3);
    ck_assert_int_eq(tpi_weekday_parse(TPC_STR("7")), 0);
    ck_assert_int_lt(tpi_weekday_parse(TPC_STR("8")), 0);
    ck_assert_int_lt(tpi_weekday_parse(TPC_STR("")), 0);
    ck_assert_int_lt(tpi_weekday_parse(TPC_STR("mond")), 0);
    ck_assert_int_lt(tpi_weekday_parse(TPC_STR("sat urday")), 0);
}
END_TEST

Suite *civil_suite(void)
{
    Suite *s = suite_create("civil");
    TCase *t = tcase_create("civil");
    tcase_add_test(t, every_day_of_800_years_goes_to_a_date_and_back);
    tcase_add_test(t, known_dates);
    tcase_add_test(t, clocks_and_dates_are_read_strictly);
    tcase_add_test(t, spans_are_read_as_people_and_go_write_them);
    tcase_add_test(t, weekdays_have_names_and_numbers);
    suite_add_tcase(s, t);
    return s;
}
