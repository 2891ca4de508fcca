/* The next time of a cron expression: on the local clock first, then as a moment. */
#include "calendar/cron.h"

#define NONE INT64_MIN

enum {
    ALL_HOURS = (1 << 24) - 1,
    /* Local times that turn out to lie before `after`: only zones that no clock has give so many. */
    MAX_TRIES = 4096
};

/* Lowest bit from `from` on; -1 = none. */
static int lowest(uint64_t bits, int from)
{
    if (from > 63) {
        return -1;
    }
    uint64_t rest = bits >> from << from;
    return rest != 0 ? __builtin_ctzll(rest) : -1;
}

static uint32_t bit(int32_t n)
{
    return (uint32_t) 1 << n;
}

/* Weekday nearest to a day without leaving its month. first: weekday of the 1st. */
static uint32_t nearest(int32_t day, int32_t first, int32_t last)
{
    int32_t w = (first + day - 1) % 7;
    if (w == 6) {
        return bit(day > 1 ? day - 1 : day + 2);
    }
    if (w == 0) {
        return bit(day < last ? day + 1 : day - 2);
    }
    return bit(day);
}

/* Days that the field of days names. */
static uint32_t month_days(const struct tpi_cron_days *d, int32_t first, int32_t last)
{
    uint32_t days = d->days;
    for (int32_t n = 0; d->before_last >> n != 0; n++) {
        if ((d->before_last & bit(n)) != 0 && last - n >= 1) {
            days |= bit(last - n);
        }
    }
    for (int32_t n = 1; n <= last && d->near >> n != 0; n++) {
        if ((d->near & bit(n)) != 0) {
            days |= nearest(n, first, last);
        }
    }
    if (d->last_weekday) {
        int32_t w = (first + last - 1) % 7;
        days |= bit(w == 6 ? last - 1 : w == 0 ? last - 2 : last);
    }
    return days;
}

/* Days that the field of weekdays names. */
static uint32_t week_days(const struct tpi_cron_days *d, int32_t first, int32_t last)
{
    uint32_t days = 0;
    for (int32_t day = 1; day <= last; day++) {
        uint32_t w = bit((first + day - 1) % 7);
        if ((d->weekdays & w) != 0 || (d->nth[(day - 1) / 7] & w) != 0 ||
            (day + 7 > last && (d->last & w) != 0)) {
            days |= bit(day);
        }
    }
    return days;
}

/* Bit n: the n-th of a month is one of the days. */
static uint32_t days_of(const struct tpi_cron_days *d, int64_t year, int32_t month)
{
    int32_t first = tpi_weekday(tpi_days_from_civil(year, month, 1));
    int32_t last = tpi_month_days(year, month);
    uint32_t real = (uint32_t) (((uint64_t) 1 << (last + 1)) - 2);
    if (d->any_day && d->any_weekday && d->days == UINT32_MAX - 1 && d->weekdays == 0x7F) {
        return real;
    }
    uint32_t by_day = month_days(d, first, last);
    uint32_t by_weekday = week_days(d, first, last);
    bool both = !d->any_day && !d->any_weekday;
    return (both ? by_day | by_weekday : by_day & by_weekday) & real;
}

static bool has_year(const struct tpi_cron *c, int64_t year)
{
    if (c->any_year) {
        return true;
    }
    int64_t n = year - TPI_CRON_FIRST_YEAR;
    return n >= 0 && n < 256 && (c->years[n / 64] >> n % 64 & 1) != 0;
}

bool tpi_cron_has_day(const struct tpi_cron *cron, int64_t day)
{
    struct tpi_civil c;
    tpi_civil_from_days(day, &c);
    return has_year(cron, c.year) && (cron->months >> c.month & 1) != 0 &&
           (days_of(&cron->days, c.year, c.month) >> c.day & 1) != 0;
}

/* First day of the expression from `day` on. */
static int64_t next_day(const struct tpi_cron *cron, int64_t day)
{
    struct tpi_civil c;
    tpi_civil_from_days(day, &c);
    int32_t from_month = c.month;
    int32_t from_day = c.day;
    for (int64_t y = c.year; y <= (int64_t) c.year + TPI_CRON_YEARS; y++) {
        for (int32_t m = from_month; m <= 12 && has_year(cron, y); m++) {
            int d = (cron->months >> m & 1) != 0
                        ? lowest(days_of(&cron->days, y, m), m == from_month ? from_day : 1)
                        : -1;
            if (d > 0) {
                return tpi_days_from_civil(y, m, d);
            }
            from_day = m == from_month ? 1 : from_day;
        }
        from_month = 1;
        from_day = 1;
    }
    return NONE;
}

bool tpi_cron_next_day(const struct tpi_cron *cron, int64_t day, int64_t *ret_day)
{
    int64_t found = next_day(cron, day);
    if (found == NONE) {
        return false;
    }
    *ret_day = found;
    return true;
}

/* First time of the day from `s` on; -1 = none. */
static int32_t next_time(const struct tpi_cron *cron, int32_t s)
{
    int h = s / TPI_HOUR_S;
    int m = s / TPI_MINUTE_S % 60;
    int sec = lowest(cron->seconds, s % 60);
    if (sec < 0) {
        m++;
        sec = lowest(cron->seconds, 0);
    }
    int minute = lowest(cron->minutes, m);
    if (minute != m) {
        sec = lowest(cron->seconds, 0);
    }
    if (minute < 0) {
        h++;
        minute = lowest(cron->minutes, 0);
    }
    int hour = lowest(cron->hours, h);
    if (hour != h) {
        minute = lowest(cron->minutes, 0);
        sec = lowest(cron->seconds, 0);
    }
    if (hour < 0 || minute < 0 || sec < 0) {
        return -1;
    }
    return hour * TPI_HOUR_S + minute * TPI_MINUTE_S + sec;
}

/* First local time of the expression from `local_s` on. */
static int64_t next_local(const struct tpi_cron *cron, int64_t local_s)
{
    int64_t day = tpi_floor_div(local_s, TPI_DAY_S);
    int64_t found = next_day(cron, day);
    int32_t s = found == day ? next_time(cron, tpi_time_of_day(local_s)) : -1;
    if (found == day && s < 0) {
        found = next_day(cron, day + 1);
    }
    if (found == NONE) {
        return NONE;
    }
    s = s >= 0 ? s : next_time(cron, 0);
    return s >= 0 ? found * TPI_DAY_S + s : NONE;
}

/* Times of every hour: what the clock shows, whether once, twice or never. */
static int64_t next_by_clock(const struct tpi_cron *cron, const struct tpi_zone *zone, int64_t from)
{
    struct tpi_zone_span span;
    tpi_zone_span(zone, from, &span);
    for (int64_t u = from;;) {
        int64_t local = next_local(cron, u + span.offset_s);
        if (local == NONE || local > TPI_TIME_MAX_S) {
            return NONE;
        }
        if (local - span.offset_s < span.to_s) {
            return local - span.offset_s;
        }
        u = span.to_s;
        if (u > TPI_TIME_MAX_S) {
            return NONE;
        }
        tpi_zone_span(zone, u, &span);
    }
}

/* Fixed times. Moments rise with local times: those of a gap are its end, those of two moments the
 * first of them. */
static int64_t next_fixed(const struct tpi_cron *cron, const struct tpi_zone *zone, int64_t from)
{
    struct tpi_zone_span span;
    tpi_zone_span(zone, from, &span);
    int64_t local = from + span.offset_s;
    if (span.from_s > TPI_TIME_MIN_S) {
        /* After the clock was set back, what it showed before is over; after it was set forward, the
         * gap belongs to its end. */
        struct tpi_zone_span before;
        tpi_zone_span(zone, span.from_s - 1, &before);
        int64_t shown = span.from_s + before.offset_s;
        local = shown > local || from == span.from_s ? shown : local;
    }
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        local = next_local(cron, local);
        if (local == NONE || local > TPI_TIME_MAX_S) {
            return NONE;
        }
        struct tpi_local_unix unix;
        tpi_zone_unix(zone, local, &unix);
        if (unix.first_s >= from) {
            return unix.first_s;
        }
        local++;
    }
    return NONE;
}

bool tpi_cron_next(const struct tpi_cron *cron, const struct tpi_zone *zone, int64_t after_ms,
                   int64_t *ret_ms)
{
    int64_t after = tpi_floor_div(after_ms, 1000);
    if (after > TPI_TIME_MAX_S || after < TPI_TIME_MIN_S) {
        return false;
    }
    if (cron->every_ms > 0) {
        *ret_ms = (tpi_floor_div(after_ms, cron->every_ms) + 1) * cron->every_ms;
        return true;
    }
    int64_t next = cron->hours == ALL_HOURS ? next_by_clock(cron, zone, after + 1)
                                            : next_fixed(cron, zone, after + 1);
    if (next == NONE) {
        return false;
    }
    *ret_ms = next * 1000;
    return true;
}
