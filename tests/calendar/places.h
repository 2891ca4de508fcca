/* Zones and moments for the tests of this folder. */
#ifndef PLACES_H
#define PLACES_H

#include "base/env.h"
#include "calendar/zone.h"
#include "tk.h"

/* A zone of tests/calendar/zones; fails the test if it cannot be read. */
struct tpi_zone *place(const char *name);

/* "2026-03-29T01:00:00" of UTC as seconds, and as text again (static, 4 texts in turn). */
int64_t utc(const char *text);
const char *utc_text(int64_t unix_s);

#define utc_is(unix_s, text) ck_assert_str_eq(utc_text(unix_s), text)

/* For long loops: a check that holds costs a message to the runner. */
#define holds(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            ck_abort_msg("%s", #condition);                                                        \
        }                                                                                          \
    } while (0)

tk_suite_fn civil_suite, cron_suite, dampen_suite, dst_suite, schedule_suite, sun_suite, zone_suite;

#endif
