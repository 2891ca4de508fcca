#include "places.h"

#include "calendar/sun.h"

#include <stdlib.h>

/* Within a minute of a published time. */
static void event_is(double lat, double lon, const char *date, bool rise, const char *expect)
{
    int64_t day = 0;
    int64_t at = 0;
    tk_ok(tpi_civil_parse(tpc_str_from(date), &day));
    ck_assert_int_eq(tpi_sun_event(lat, lon, day, rise, &at), TPI_SUN_RISES);
    ck_assert_msg(llabs(at - utc(expect)) <= 60, "%s: %s, expected %s", date, utc_text(at), expect);
}

START_TEST(published_times_within_a_minute)
{
    /* London: timeanddate.com */
    event_is(51.5074, -0.1278, "2015-12-01", true, "2015-12-01T07:43:00");
    event_is(51.5074, -0.1278, "2015-12-01", false, "2015-12-01T15:55:00");
    event_is(51.5074, -0.1278, "2024-06-20", true, "2024-06-20T03:43:00");
    event_is(51.5074, -0.1278, "2024-06-20", false, "2024-06-20T20:21:00");
    event_is(51.5074, -0.1278, "2024-12-21", true, "2024-12-21T08:04:00");
    event_is(51.5074, -0.1278, "2024-12-21", false, "2024-12-21T15:53:00");
    /* Near Kiev, early March: 04:34:56 and 15:46:57 */
    event_is(50.5, 30.5, "2013-03-05", true, "2013-03-05T04:35:00");
    event_is(50.5, 30.5, "2013-03-05", false, "2013-03-05T15:47:00");
    /* New York */
    event_is(40.7128, -74.0060, "2024-12-21", true, "2024-12-21T12:17:00");
    event_is(40.7128, -74.0060, "2024-12-21", false, "2024-12-21T21:32:00");
    event_is(40.7128, -74.0060, "2024-06-20", true, "2024-06-20T09:25:00");
    event_is(40.7128, -74.0060, "2024-06-20", false, "2024-06-21T00:31:00");
    /* Sydney: the day of the sun begins on the day before in UTC */
    event_is(-33.8688, 151.2093, "2024-12-21", true, "2024-12-20T18:41:00");
    event_is(-33.8688, 151.2093, "2024-12-21", false, "2024-12-21T09:05:00");
    /* Reykjavik: sunset after midnight */
    event_is(64.1466, -21.9426, "2024-06-20", true, "2024-06-20T02:55:00");
    event_is(64.1466, -21.9426, "2024-06-20", false, "2024-06-21T00:04:00");
}
END_TEST

START_TEST(polar_days_and_nights_are_answered)
{
    int64_t day = tpi_days_from_civil(2026, 6, 21);
    int64_t winter = tpi_days_from_civil(2026, 12, 21);
    int64_t at;
    /* Tromso, the poles, McMurdo */
    ck_assert_int_eq(tpi_sun_event(69.6492, 18.9553, day, true, &at), TPI_SUN_ALWAYS_UP);
    ck_assert_int_eq(tpi_sun_event(69.6492, 18.9553, winter, true, &at), TPI_SUN_ALWAYS_DOWN);
    ck_assert_int_eq(tpi_sun_event(90, 0, day, false, &at), TPI_SUN_ALWAYS_UP);
    ck_assert_int_eq(tpi_sun_event(-90, 0, day, false, &at), TPI_SUN_ALWAYS_DOWN);
    ck_assert_int_eq(tpi_sun_event(-77.85, 166.67, winter, false, &at), TPI_SUN_ALWAYS_UP);
    ck_assert_int_eq(tpi_sun_event(1000, 1000, day, false, &at), TPI_SUN_ALWAYS_UP);
    /* The midnight sun of Tromso lasts from May to July. */
    int64_t bright = 0;
    int64_t dark = 0;
    for (int64_t d = tpi_days_from_civil(2026, 1, 1); d < tpi_days_from_civil(2027, 1, 1); d++) {
        enum tpi_sun s = tpi_sun_event(69.6492, 18.9553, d, true, &at);
        bright += s == TPI_SUN_ALWAYS_UP ? 1 : 0;
        dark += s == TPI_SUN_ALWAYS_DOWN ? 1 : 0;
    }
    ck_assert_int_ge(bright, 67);
    ck_assert_int_le(bright, 73);
    ck_assert_int_ge(dark, 46);
    ck_assert_int_le(dark, 52);
}
END_TEST

START_TEST(the_sun_rises_before_it_sets_everywhere)
{
    for (int lat = -65; lat <= 65; lat += 5) {
        for (int lon = -180; lon <= 180; lon += 45) {
            int64_t last = 0;
            for (int64_t d = 20000; d < 20400; d += 1) {
                int64_t rise = 0;
                int64_t set = 0;
                holds(tpi_sun_event(lat, lon, d, true, &rise) == TPI_SUN_RISES);
                holds(tpi_sun_event(lat, lon, d, false, &set) == TPI_SUN_RISES);
                holds(rise < set && set - rise < 86400 && rise > last);
                last = rise;
            }
        }
    }
}
END_TEST

Suite *sun_suite(void)
{
    Suite *s = suite_create("sun");
    TCase *t = tcase_create("sun");
    tcase_add_test(t, published_times_within_a_minute);
    tcase_add_test(t, polar_days_and_nights_are_answered);
    tcase_add_test(t, the_sun_rises_before_it_sets_everywhere);
    suite_add_tcase(s, t);
    return s;
}
