/* Days from and to dates: Howard Hinnant, "chrono-compatible low-level date algorithms". */
#include "calendar/civil.h"

#include <string.h>
#include <tpcore/error.h>

int64_t tpi_floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b < 0 ? q - 1 : q;
}

int64_t tpi_days_from_civil(int64_t year, int32_t month, int32_t day)
{
    /* The year begins in March, so that a leap day is its last one. */
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = tpi_floor_div(y, 400);
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void tpi_civil_from_days(int64_t days, struct tpi_civil *ret)
{
    int64_t z = days + 719468;
    int64_t era = tpi_floor_div(z, 146097);
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    ret->day = (int32_t) (doy - (153 * mp + 2) / 5 + 1);
    ret->month = (int32_t) (mp < 10 ? mp + 3 : mp - 9);
    ret->year = (int32_t) (yoe + era * 400 + (ret->month <= 2 ? 1 : 0));
}

int32_t tpi_weekday(int64_t days)
{
    /* 1970-01-01 was a Thursday. */
    int64_t d = days + 4;
    return (int32_t) (d - tpi_floor_div(d, 7) * 7);
}

int32_t tpi_month_days(int64_t year, int32_t month)
{
    static const int8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

int64_t tpi_local_from_civil(const struct tpi_civil *civil)
{
    return tpi_days_from_civil(civil->year, civil->month, civil->day) * TPI_DAY_S +
           (int64_t) civil->hour * TPI_HOUR_S + (int64_t) civil->minute * TPI_MINUTE_S +
           civil->second;
}

void tpi_civil_from_local(int64_t local_s, struct tpi_civil *ret)
{
    int64_t days = tpi_floor_div(local_s, TPI_DAY_S);
    int32_t s = (int32_t) (local_s - days * TPI_DAY_S);
    tpi_civil_from_days(days, ret);
    ret->hour = s / TPI_HOUR_S;
    ret->minute = s / TPI_MINUTE_S % 60;
    ret->second = s % 60;
}

int32_t tpi_time_of_day(int64_t local_s)
{
    return (int32_t) (local_s - tpi_floor_div(local_s, TPI_DAY_S) * TPI_DAY_S);
}

/* Exactly n digits at p. Returns the number or -1. */
static int32_t digits(const char *p, size_t n)
{
    int32_t x = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return -1;
        }
        x = x * 10 + (p[i] - '0');
    }
    return x;
}

int tpi_civil_clock(struct tpc_str text, int32_t *ret_s)
{
    if ((text.len != 5 && text.len != 8) || text.ptr[2] != ':' ||
        (text.len == 8 && text.ptr[5] != ':')) {
        return TPC_EINVAL;
    }
    int32_t h = digits(text.ptr, 2);
    int32_t m = digits(text.ptr + 3, 2);
    int32_t s = text.len == 8 ? digits(text.ptr + 6, 2) : 0;
    if (h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59) {
        return TPC_EINVAL;
    }
    *ret_s = h * TPI_HOUR_S + m * TPI_MINUTE_S + s;
    return 0;
}

int tpi_civil_parse(struct tpc_str text, int64_t *ret_days)
{
    if (text.len != 10 || text.ptr[4] != '-' || text.ptr[7] != '-') {
        return TPC_EINVAL;
    }
    int32_t y = digits(text.ptr, 4);
    int32_t m = digits(text.ptr + 5, 2);
    int32_t d = digits(text.ptr + 8, 2);
    if (y < 1 || m < 1 || m > 12 || d < 1 || d > tpi_month_days(y, m)) {
        return TPC_EINVAL;
    }
    *ret_days = tpi_days_from_civil(y, m, d);
    return 0;
}

enum { SPAN_MAX_DIGITS = 15 };
#define SPAN_MAX_MS ((double) 1000 * 366 * 86400000)

/* A number with an optional fraction. Returns how many bytes it took, 0 = none. */
static size_t span_number(const char *p, size_t len, double *ret)
{
    double x = 0;
    double scale = 1;
    size_t i = 0;
    size_t count = 0;
    bool point = false;
    for (; i < len && ((p[i] >= '0' && p[i] <= '9') || (p[i] == '.' && !point)); i++) {
        if (p[i] == '.') {
            point = true;
            continue;
        }
        x = x * 10 + (p[i] - '0');
        scale = point ? scale * 10 : scale;
        if (++count > SPAN_MAX_DIGITS) {
            return 0;
        }
    }
    *ret = x / scale;
    return count > 0 ? i : 0;
}

static size_t span_unit(const char *p, size_t len, double *ret)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = { { "ms", 1 },      { "s", 1000 },     { "m", 60000 },
                  { "h", 3600000 }, { "d", 86400000 }, { "w", 604800000 } };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t n = strlen(units[i].name);
        if (len >= n && memcmp(p, units[i].name, n) == 0) {
            *ret = units[i].ms;
            return n;
        }
    }
    return 0;
}

int tpi_span_parse(struct tpc_str text, int64_t *ret_ms)
{
    size_t i = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+') ? 1 : 0;
    double sum = 0;
    if (i == text.len) {
        return TPC_EINVAL;
    }
    for (size_t first = i; i < text.len;) {
        double x;
        double unit = 1;
        size_t n = span_number(text.ptr + i, text.len - i, &x);
        if (n == 0) {
            return TPC_EINVAL;
        }
        size_t u = span_unit(text.ptr + i + n, text.len - i - n, &unit);
        /* Only a number that stands alone needs no unit. */
        if (u == 0 && (i != first || i + n != text.len)) {
            return TPC_EINVAL;
        }
        sum += x * unit;
        i += n + u;
        if (sum > SPAN_MAX_MS) {
            return TPC_EINVAL;
        }
    }
    int64_t ms = (int64_t) (sum + 0.5);
    *ret_ms = text.ptr[0] == '-' ? -ms : ms;
    return 0;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

int tpi_weekday_parse(struct tpc_str text)
{
    static const char *const names[7] = { "sunday",   "monday", "tuesday", "wednesday",
                                          "thursday", "friday", "saturday" };
    if (text.len == 1 && text.ptr[0] >= '0' && text.ptr[0] <= '7') {
        return (text.ptr[0] - '0') % 7;
    }
    for (int i = 0; i < 7; i++) {
        size_t n = strlen(names[i]);
        if (text.len != 3 && text.len != n) {
            continue;
        }
        size_t same = 0;
        while (same < text.len && lower(text.ptr[same]) == names[i][same]) {
            same++;
        }
        if (same == text.len) {
            return i;
        }
    }
    return TPC_EINVAL;
}
