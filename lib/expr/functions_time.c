/*
 * Functions of time: numbers that count ms since 1970-01-01 UTC. Dates are of the Gregorian
 * calendar, in UTC or in the zone that the last argument names.
 */
#include <stdio.h>
#include <string.h>

#include "calendar/zone.h"
#include "expr/cell.h"
#include "expr/functions.h"

enum { FORMAT_BYTES = 256 };

static const int64_t day_ms = 86400000;
static const int64_t max_ms =
    8640000000000000; /* 275,760 years: what other languages' dates hold */

struct date {
    int64_t year;
    uint32_t month, day;  /* 1.. */
    uint32_t weekday;     /* 0 = Sunday */
    uint32_t day_of_year; /* 1.. */
    uint32_t hour, minute, second, ms;
    int32_t offset_s; /* of the zone */
    const char *abbr;
};

static bool is_leap(int64_t y)
{
    return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
}

static uint32_t days_before(int64_t year, uint32_t month)
{
    static const uint16_t days[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    return days[month - 1] + (month > 2 && is_leap(year) ? 1U : 0U);
}

/* howardhinnant.github.io/date_algorithms, civil_from_days. */
static void date_of(int64_t local_ms, struct date *ret)
{
    int64_t days = local_ms / day_ms - (local_ms % day_ms < 0);
    uint32_t ms = (uint32_t) (local_ms - days * day_ms);
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    uint32_t doe = (uint32_t) (z - era * 146097);
    uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    uint32_t mp = (5 * doy + 2) / 153;
    ret->day = doy - (153 * mp + 2) / 5 + 1;
    ret->month = mp < 10 ? mp + 3 : mp - 9;
    ret->year = (int64_t) yoe + era * 400 + (ret->month <= 2);
    ret->weekday = (uint32_t) (((days + 4) % 7 + 7) % 7);
    ret->day_of_year = days_before(ret->year, ret->month) + ret->day;
    ret->hour = ms / 3600000;
    ret->minute = ms / 60000 % 60;
    ret->second = ms / 1000 % 60;
    ret->ms = ms % 1000;
}

/* The date of the first argument in the zone that argument `zone` is, if it is there. False beyond max_ms. */
static bool date_at(const struct eval *r, const struct cell *a, uint32_t n, uint32_t zone,
                    struct date *ret)
{
    struct cell w = a->type == TPC_INT ? *a : cell_whole(floor(a->as.d));
    if (w.type != TPC_INT || w.as.i > max_ms || w.as.i < -max_ms) {
        return false;
    }
    struct tpi_zone_span span = { .abbr = "UTC" };
    if (n > zone) {
        int64_t unix_s = w.as.i / 1000 - (w.as.i % 1000 < 0);
        tpi_zone_span(r->e->zones[a[zone].as.i], unix_s, &span);
    }
    ret->offset_s = span.offset_s;
    ret->abbr = span.abbr;
    date_of(w.as.i + (int64_t) span.offset_s * 1000, ret);
    return true;
}

static struct cell fn_now(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) a;
    (void) n;
    return r->host->now != NULL ? cell_int(r->host->now(r->user)) : cell_null();
}

static struct cell fn_event_time(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) a;
    (void) n;
    return r->host->event_time != NULL ? cell_int(r->host->event_time(r->user)) : cell_null();
}

static struct cell fn_year(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_int(d.year) : cell_null();
}

static struct cell fn_month(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_int(d.month) : cell_null();
}

static struct cell fn_day(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_int(d.day) : cell_null();
}

static struct cell fn_hour(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_int(d.hour) : cell_null();
}

static struct cell fn_minute(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_int(d.minute) : cell_null();
}

static struct cell fn_second(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_int(d.second) : cell_null();
}

static struct cell fn_day_of_week(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_int(d.weekday + 1) : cell_null();
}

static struct cell fn_day_of_year(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_int(d.day_of_year) : cell_null();
}

static const char *const days[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                    "Thursday", "Friday", "Saturday" };
static const char *const months[] = { "January",   "February", "March",    "April",
                                      "May",       "June",     "July",     "August",
                                      "September", "October",  "November", "December" };

static struct cell fn_day_name(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_text(tpc_str_from(days[d.weekday])) : cell_null();
}

static struct cell fn_month_name(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    return date_at(r, a, n, 1, &d) ? cell_text(tpc_str_from(months[d.month - 1])) : cell_null();
}

/* Z: "+0100"; X: "+01:00", or "Z" where there is none. */
static int format_offset(char *out, size_t cap, char letter, int32_t offset_s)
{
    int minutes = (int) (offset_s < 0 ? -offset_s : offset_s) / 60;
    if (letter == 'X' && minutes == 0) {
        return snprintf(out, cap, "Z");
    }
    return snprintf(out, cap, "%c%02d%s%02d", offset_s < 0 ? '-' : '+', minutes / 60,
                    letter == 'X' ? ":" : "", minutes % 60);
}

/* One run of the same letter. Returns the bytes printed, as snprintf. */
static int format_part(char *out, size_t cap, char letter, int count, const struct date *d)
{
    int hour = (int) (d->hour % 12 == 0 ? 12 : d->hour % 12);
    int wide = count > 1 ? 2 : 1;
    switch (letter) {
    case 'y':
    case 'Y':
        return count == 2 ? snprintf(out, cap, "%02d", (int) ((d->year % 100 + 100) % 100))
                          : snprintf(out, cap, "%04d", (int) d->year);
    case 'M':
        return count > 2 ? snprintf(out, cap, "%.*s", count == 3 ? 3 : 9, months[d->month - 1])
                         : snprintf(out, cap, "%0*d", wide, (int) d->month);
    case 'd':
        return snprintf(out, cap, "%0*d", wide, (int) d->day);
    case 'E':
        return snprintf(out, cap, "%.*s", count > 3 ? 9 : 3, days[d->weekday]);
    case 'H':
        return snprintf(out, cap, "%0*d", wide, (int) d->hour);
    case 'h':
        return snprintf(out, cap, "%0*d", wide, hour);
    case 'm':
        return snprintf(out, cap, "%0*d", wide, (int) d->minute);
    case 's':
        return snprintf(out, cap, "%0*d", wide, (int) d->second);
    case 'S':
        return snprintf(out, cap, ".%03d", (int) d->ms) > 0 ? (count < 3 ? count : 3) + 1 : 0;
    case 'a':
        return snprintf(out, cap, "%s", d->hour < 12 ? "AM" : "PM");
    case 'z':
        return snprintf(out, cap, "%.15s", d->abbr);
    default:
        return format_offset(out, cap, letter, d->offset_s);
    }
}

/* Patterns as eKuiper's. Text between '' stands for itself, as does every other character. */
static size_t format_time(char *out, struct tpc_str pattern, const struct date *d)
{
    size_t len = 0;
    bool quoted = false;
    for (size_t i = 0; i < pattern.len && len < FORMAT_BYTES - 16;) {
        char c = pattern.ptr[i];
        size_t run = 1;
        if (c == '\'') {
            quoted = !quoted;
            i++;
            continue;
        }
        if (quoted || c == 0 || strchr("yYMdEHhmsSaZzX", c) == NULL) {
            out[len++] = c;
            i++;
            continue;
        }
        while (i + run < pattern.len && pattern.ptr[i + run] == c) {
            run++;
        }
        i += run;
        char part[32];
        int n = format_part(part, sizeof(part), c, run > 9 ? 9 : (int) run, d);
        /* ".250" behind a point or comma of the pattern's own is "250" */
        int skip = c == 'S' && len > 0 && (out[len - 1] == '.' || out[len - 1] == ',');
        memcpy(out + len, part + skip, (size_t) (n - skip));
        len += (size_t) (n - skip);
    }
    return len;
}

static struct cell fn_format_time(struct eval *r, const struct cell *a, uint32_t n)
{
    struct date d;
    char text[FORMAT_BYTES + 16];
    struct tpc_str pattern = cell_str(&a[1]);
    if (pattern.len > FORMAT_BYTES / 2 || !date_at(r, a, n, 2, &d)) {
        return cell_null();
    }
    size_t len = format_time(text, pattern, &d);
    char *room = tpi_expr_take(r, len);
    if (room == NULL) {
        return cell_null();
    }
    memcpy(room, text, len);
    return cell_text((struct tpc_str){ room, len });
}

#define PART(NAME, HELP)                                                                           \
    {                                                                                              \
        .name = #NAME, .args = "nz", .min = 1, .max = 2, .result = TPI_EXPR_NUMBER,                \
        .fn = fn_##NAME, .usage = #NAME "(t, 'zone')", .help = HELP, .since = "0.1"                \
    }

static const struct function items[] = {
    { .name = "now",
      .aliases = "tstamp",
      .args = "",
      .result = TPI_EXPR_NUMBER,
      .needs = TPI_EXPR_NOW,
      .fn = fn_now,
      .usage = "now()",
      .help = "The clock's time.",
      .since = "0.1" },
    { .name = "event_time",
      .args = "",
      .result = TPI_EXPR_NUMBER,
      .needs = TPI_EXPR_EVENT,
      .fn = fn_event_time,
      .usage = "event_time()",
      .help = "The message's time: the same again when the log is read a second time.",
      .since = "0.1" },
    PART(year, "Year. Here and below: in UTC, or in the zone, as `'Europe/Berlin'` or `'+08:00'`, "
               "if it is given; it stands in quotes and is opened when the expression is saved."),
    PART(month, "Month, 1 to 12."),
    { .name = "day_of_month",
      .aliases = "day",
      .args = "nz",
      .min = 1,
      .max = 2,
      .result = TPI_EXPR_NUMBER,
      .fn = fn_day,
      .usage = "day_of_month(t, 'zone')",
      .help = "Day of the month, 1 to 31.",
      .since = "0.1" },
    PART(hour, "Hour, 0 to 23."),
    PART(minute, "Minute, 0 to 59."),
    PART(second, "Second, 0 to 59."),
    PART(day_of_week, "1 is Sunday, 7 Saturday."),
    PART(day_of_year, "1 to 366."),
    { .name = "day_name",
      .args = "nz",
      .min = 1,
      .max = 2,
      .result = TPI_EXPR_TEXT,
      .fn = fn_day_name,
      .usage = "day_name(t, 'zone')",
      .help = "\"Monday\".",
      .since = "0.1" },
    { .name = "month_name",
      .args = "nz",
      .min = 1,
      .max = 2,
      .result = TPI_EXPR_TEXT,
      .fn = fn_month_name,
      .usage = "month_name(t, 'zone')",
      .help = "\"January\".",
      .since = "0.1" },
    { .name = "format_time",
      .args = "ntz",
      .min = 2,
      .max = 3,
      .result = TPI_EXPR_TEXT,
      .fn = fn_format_time,
      .usage = "format_time(t, pattern, 'zone')",
      .help =
          "A time as text: `YYYY YY MMMM MMM MM M dd d EEEE EEE HH H hh h a mm m ss s SSS Z X`; "
          "what stands between single quotes, and every other character, stands for itself. A "
          "pattern has at most 128 bytes.",
      .since = "0.1" },
};

const struct function_group tpi_expr_time_functions = { "Times", items,
                                                        sizeof(items) / sizeof(items[0]) };
