/*
 * Cron expressions, and the next moment at which one fires. Pure functions, any thread.
 *
 *     5 fields            minute hour day-of-month month day-of-week
 *     6 fields     second minute hour day-of-month month day-of-week
 *     7 fields     second minute hour day-of-month month day-of-week year
 *
 * Every field takes *, a number, a range a-b, steps (* /n, a-b/n, a/n = from a to the end) and lists
 * of them; months and weekdays have names (JAN, MON). Weekdays are 0-7, 0 and 7 are Sunday, as in
 * Unix (Quartz counts 1-7 from Sunday: use names). Ranges of hours, minutes, seconds, months and
 * weekdays may pass their end (22-2, FRI-MON). Further:
 *
 *     ?     any day, in the two day fields         L     last day of the month
 *     L-n   n days before the last one             nW    weekday (MON-FRI) nearest to day n
 *     LW    last weekday of the month              n#k   k-th weekday n of the month (1-5)
 *     nL    last weekday n of the month            @hourly @daily @midnight @weekly @monthly
 *     @every 1h30m                                 @yearly @annually
 *
 * If both day fields are restricted, either of them is enough; a field that begins with * or ? is
 * not restricted (as in Vixie cron).
 *
 * When the clock is set forward, a time that does not exist fires at the first moment after the
 * gap, once for all times in it. When it is set back, a time that exists twice fires at the first.
 * Jobs of every hour (their hour field names all 24) follow the clock instead: times that do not
 * exist do not fire, those that exist twice fire twice, so that their interval stays.
 * "@every" counts from 1970-01-01T00:00:00Z.
 */
#ifndef TPI_CALENDAR_CRON_H
#define TPI_CALENDAR_CRON_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>
#include <tpcore/error.h>

#include "calendar/zone.h"

enum {
    TPI_CRON_MAX_TEXT = 256,
    TPI_CRON_FIRST_YEAR = 1970,
    TPI_CRON_LAST_YEAR = 2199, /* that a year field can name */
    TPI_CRON_YEARS = 400,      /* searched for the next time: then the calendar repeats */
    TPI_CRON_MIN_EVERY_MS = 1000
};

/* Which days of a month. Bit n stands for n. */
struct tpi_cron_days {
    uint32_t days;        /* 1..31 */
    uint32_t before_last; /* L-n: 0 = the last day */
    uint32_t near;        /* nW: 1..31 */
    bool last_weekday;    /* LW */
    uint8_t weekdays;     /* 0..6 */
    uint8_t last;         /* nL: 0..6 */
    uint8_t nth[5];       /* n#1 .. n#5: 0..6 */
    bool any_day;         /* the field of days is not restricted */
    bool any_weekday;
};

struct tpi_cron {
    uint64_t seconds;
    uint64_t minutes;
    uint32_t hours;
    uint16_t months; /* 1..12 */
    bool any_year;
    uint64_t years[4]; /* from TPI_CRON_FIRST_YEAR */
    struct tpi_cron_days days;
    int64_t every_ms; /* @every; 0 = the fields */
};

/* Returns 0 or TPC_EINVAL with line and column and what was expected. */
int tpi_cron_parse(struct tpc_str text, struct tpc_error *err, struct tpi_cron *ret);

/* The first moment after after_ms. Returns false if there is none (30 February, years that are
 * over). */
bool tpi_cron_next(const struct tpi_cron *cron, const struct tpi_zone *zone, int64_t after_ms,
                   int64_t *ret_ms);

/* Whether a day is one of the expression's days, by months, years and the two day fields. */
bool tpi_cron_has_day(const struct tpi_cron *cron, int64_t day);

/* The first such day from `day` on; false if there is none. */
bool tpi_cron_next_day(const struct tpi_cron *cron, int64_t day, int64_t *ret_day);

#endif
