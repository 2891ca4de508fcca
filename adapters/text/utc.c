#include "utc.h"

#include <stdbool.h>
#include <string.h>
#include <tpcore/error.h>

#define FIRST_MS INT64_C(-62135596800000) /* 0001-01-01 */
#define LAST_MS INT64_C(253402300799999)  /* end of 9999 */

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char days[] = "SunMonTueWedThuFriSat";

struct utc {
    int year, month, day, hour, minute, second, ms; /* month 1..12 */
    int weekday;                                    /* 0 = Sunday */
};

/* Days to a date and back as in Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": eras
 * of 400 years, years that begin in March. */
static void split(int64_t unix_ms, struct utc *ret)
{
    int64_t t = unix_ms < FIRST_MS ? FIRST_MS : unix_ms > LAST_MS ? LAST_MS : unix_ms;
    int64_t day = t / 86400000;
    int64_t ms = t % 86400000;
    if (ms < 0) {
        ms += 86400000;
        day--;
    }
    int64_t z = day + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    ret->day = (int) (doy - (153 * mp + 2) / 5 + 1);
    ret->month = (int) (mp < 10 ? mp + 3 : mp - 9);
    ret->year = (int) (yoe + era * 400 + (ret->month <= 2));
    ret->weekday = (int) (((day + 4) % 7 + 7) % 7);
    ret->hour = (int) (ms / 3600000);
    ret->minute = (int) (ms / 60000 % 60);
    ret->second = (int) (ms / 1000 % 60);
    ret->ms = (int) (ms % 1000);
}

static int64_t join(const struct utc *u)
{
    int64_t y = u->year - (u->month <= 2);
    int64_t era = y / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (u->month > 2 ? u->month - 3 : u->month + 9) + 2) / 5 + u->day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    int64_t day = era * 146097 + doe - 719468;
    return ((day * 24 + u->hour) * 60 + u->minute) * 60000 + u->second * 1000;
}

/* Writes a number with count digits. */
static char *digits(char *at, int number, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        at[i] = (char) ('0' + number % 10);
        number /= 10;
    }
    return at + count;
}

void utc_rfc3339(int64_t unix_ms, char ret[UTC_RFC3339_BYTES])
{
    struct utc u;
    split(unix_ms, &u);
    memcpy(ret, "0000-00-00T00:00:00.000Z", UTC_RFC3339_BYTES);
    digits(ret, u.year, 4);
    digits(ret + 5, u.month, 2);
    digits(ret + 8, u.day, 2);
    digits(ret + 11, u.hour, 2);
    digits(ret + 14, u.minute, 2);
    digits(ret + 17, u.second, 2);
    digits(ret + 20, u.ms, 3);
}

void utc_rfc5322(int64_t unix_ms, char ret[UTC_RFC5322_BYTES])
{
    struct utc u;
    split(unix_ms, &u);
    memcpy(ret, "Sun, 00 Jan 0000 00:00:00 +0000", UTC_RFC5322_BYTES);
    memcpy(ret, days + 3 * (size_t) u.weekday, 3);
    digits(ret + 5, u.day, 2);
    memcpy(ret + 8, months + 3 * (size_t) (u.month - 1), 3);
    digits(ret + 12, u.year, 4);
    digits(ret + 17, u.hour, 2);
    digits(ret + 20, u.minute, 2);
    digits(ret + 23, u.second, 2);
}

/* count digits at p; -1 if they are none. */
static int number(const char *p, int count)
{
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return -1;
        }
        n = n * 10 + (p[i] - '0');
    }
    return n;
}

/* Which of the names of three letters p is; -1 = none. */
static int name(const char *p, const char *names)
{
    for (int i = 0; names[3 * i] != '\0'; i++) {
        if (memcmp(p, names + 3 * (size_t) i, 3) == 0) {
            return i;
        }
    }
    return -1;
}

int utc_http_date(struct tpc_str text, int64_t *ret_unix_ms)
{
    static const char form[] = "Sun, 00 Jan 0000 00:00:00 GMT";
    if (text.len != sizeof(form) - 1) {
        return TPC_EDECODE;
    }
    const char *p = text.ptr;
    for (size_t i = 3; i < text.len; i++) {
        bool fixed = form[i] != '0' && (i < 8 || i > 10);
        if (fixed && p[i] != form[i]) {
            return TPC_EDECODE;
        }
    }
    struct utc back;
    struct utc u = { .year = number(p + 12, 4), .month = name(p + 8, months) + 1 };
    u.day = number(p + 5, 2);
    u.hour = number(p + 17, 2);
    u.minute = number(p + 20, 2);
    u.second = number(p + 23, 2);
    u.weekday = name(p, days);
    if (u.year < 1 || u.month < 1 || u.day < 1 || u.hour < 0 || u.hour > 23 || u.minute < 0 ||
        u.minute > 59 || u.second < 0 || u.second > 59 || u.weekday < 0) {
        return TPC_EDECODE;
    }
    int64_t ms = join(&u);
    split(ms, &back);
    if (back.day != u.day || back.month != u.month || back.weekday != u.weekday) {
        return TPC_EDECODE; /* no such day */
    }
    *ret_unix_ms = ms;
    return 0;
}
