/*
 * Dates of the proleptic Gregorian calendar as arithmetic. Pure functions, any thread.
 *
 * A day is its number since 1970-01-01, a local time is its seconds since 1970-01-01T00:00:00 as if
 * the place had no offset. Years are -30,000,000..30,000,000.
 */
#ifndef TPI_CALENDAR_CIVIL_H
#define TPI_CALENDAR_CIVIL_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>

enum { TPI_DAY_S = 86400, TPI_HOUR_S = 3600, TPI_MINUTE_S = 60 };

/* Bounds of every time that functions of this folder take, in seconds; they bring others to them. */
#define TPI_TIME_MAX_S ((int64_t) 900000000000000)
#define TPI_TIME_MIN_S (-TPI_TIME_MAX_S)

struct tpi_civil {
    int32_t year;
    int32_t month; /* 1..12 */
    int32_t day;   /* 1..31 */
    int32_t hour;
    int32_t minute;
    int32_t second;
};

/* Quotient towards minus infinity; b > 0. */
int64_t tpi_floor_div(int64_t a, int64_t b);

/* month 1..12; day may be any small number, 0 is the day before the 1st. */
int64_t tpi_days_from_civil(int64_t year, int32_t month, int32_t day);

/* Fills year, month and day. */
void tpi_civil_from_days(int64_t days, struct tpi_civil *ret);

/* 0 = Sunday .. 6 = Saturday. */
int32_t tpi_weekday(int64_t days);

int32_t tpi_month_days(int64_t year, int32_t month);

int64_t tpi_local_from_civil(const struct tpi_civil *civil);
void tpi_civil_from_local(int64_t local_s, struct tpi_civil *ret);

/* Second of the day, 0..86399. */
int32_t tpi_time_of_day(int64_t local_s);

/* "HH:MM" or "HH:MM:SS", 00:00:00..23:59:59, as seconds. Returns 0 or TPC_EINVAL. */
int tpi_civil_clock(struct tpc_str text, int32_t *ret_s);

/* "YYYY-MM-DD", years 1..9999, as a day. Returns 0 or TPC_EINVAL. */
int tpi_civil_parse(struct tpc_str text, int64_t *ret_days);

/* Spans of time as people write them: "90" (ms), "5m", "1h30m", "1.5h", "250ms", with a sign in
 * front; units ms s m h d w; up to 1,000 years. Returns 0 or TPC_EINVAL. */
int tpi_span_parse(struct tpc_str text, int64_t *ret_ms);

/* "sun".."sat", "sunday".., any case, or 0..7 (0 and 7 are Sunday). Returns 0..6 or TPC_EINVAL. */
int tpi_weekday_parse(struct tpc_str text);

#endif
