#include "model/spec.h"

/* Reads exactly n digits. */
static bool digits(const char **p, const char *end, int n, int *ret)
{
    int x = 0;
    if (end - *p < n) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        char ch = (*p)[i];
        if (ch < '0' || ch > '9') {
            return false;
        }
        x = x * 10 + (ch - '0');
    }
    *p += n;
    *ret = x;
    return true;
}

static bool one_of(const char **p, const char *end, char a, char b)
{
    if (*p == end || (**p != a && **p != b)) {
        return false;
    }
    (*p)++;
    return true;
}

static int days_of_month(int year, int month)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* Days since 1970-01-01 of a date of the Gregorian calendar
 * (howardhinnant.github.io/date_algorithms, days_from_civil); year 0..9999. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

/* ".250" and more digits: ms, the rest is cut. */
static bool fraction(const char **p, const char *end, int *ret_ms)
{
    *ret_ms = 0;
    if (*p == end || (**p != '.' && **p != ',')) {
        return true;
    }
    (*p)++;
    int count = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++, count++) {
        if (count < 3) {
            *ret_ms = *ret_ms * 10 + (**p - '0');
        }
    }
    for (int i = count; i < 3; i++) {
        *ret_ms *= 10;
    }
    return count > 0 && count <= 9;
}

/* "Z", "+01:00", "+0100" or nothing: minutes east. */
static bool zone(const char **p, const char *end, int *ret_minutes)
{
    *ret_minutes = 0;
    if (*p == end || one_of(p, end, 'Z', 'z')) {
        return true;
    }
    bool west = **p == '-';
    int hour, minute;
    if (!one_of(p, end, '+', '-') || !digits(p, end, 2, &hour)) {
        return false;
    }
    one_of(p, end, ':', ':');
    if (!digits(p, end, 2, &minute) || hour > 23 || minute > 59) {
        return false;
    }
    *ret_minutes = (west ? -1 : 1) * (hour * 60 + minute);
    return true;
}

/* RFC 3339 section 5.6, with a blank for the T and the zone left out as people write it. */
int tpi_date_parse(struct tpc_str text, int64_t *ret_unix_ms)
{
    if (text.len < 19 || text.len > 40) {
        return TPC_EDECODE;
    }
    const char *p = text.ptr;
    const char *end = p + text.len;
    int year, month, day, hour, minute, second, ms, offset;
    bool ok = digits(&p, end, 4, &year) && one_of(&p, end, '-', '-') &&
              digits(&p, end, 2, &month) && one_of(&p, end, '-', '-') && digits(&p, end, 2, &day) &&
              one_of(&p, end, 'T', ' ') && digits(&p, end, 2, &hour) && one_of(&p, end, ':', ':') &&
              digits(&p, end, 2, &minute) && one_of(&p, end, ':', ':') &&
              digits(&p, end, 2, &second) && fraction(&p, end, &ms) && zone(&p, end, &offset) &&
              p == end;
    /* Second 60 is a leap second, which unix time does not know: it is the next minute's first. */
    if (!ok || month < 1 || month > 12 || day < 1 || day > days_of_month(year, month) ||
        hour > 23 || minute > 59 || second > 60) {
        return TPC_EDECODE;
    }
    int64_t s = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *ret_unix_ms = (s - (int64_t) offset * 60) * 1000 + ms;
    return 0;
}
