#include "date.h"

#include <stdbool.h>
#include <string.h>
#include <tpcore/error.h>

#include "calendar/civil.h"

enum { TEXT_MAX = 64, YEAR_MAX = 9999, MS_DIGITS_MIN = 9 };

#define DATE_MAX_MS INT64_C(253402300799999)

struct reader {
    const char *p, *end;
};

/* A run of digits. */
struct digits {
    int64_t value;
    uint32_t count; /* 0 = there is none */
};

static struct digits take_digits(struct reader *r, uint32_t most)
{
    struct digits d = { 0, 0 };
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && d.count < most) {
        d.value = d.value * 10 + (*r->p++ - '0');
        d.count++;
    }
    return d;
}

static bool pass(struct reader *r, const char *any)
{
    bool there = r->p < r->end && *r->p != '\0' && strchr(any, *r->p) != NULL;
    r->p += there;
    return there;
}

static void pass_blanks(struct reader *r)
{
    while (pass(r, " ,")) {
    }
}

static uint32_t letters(const struct reader *r)
{
    uint32_t n = 0;
    while (r->p + n < r->end &&
           ((r->p[n] >= 'a' && r->p[n] <= 'z') || (r->p[n] >= 'A' && r->p[n] <= 'Z'))) {
        n++;
    }
    return n;
}

/* Whether the next letters begin with the first three of name. */
static bool word_is(const struct reader *r, const char *name)
{
    for (int i = 0; i < 3; i++) {
        if ((r->p[i] | 0x20) != name[i]) {
            return false;
        }
    }
    return true;
}

/* 1..12, passed over; 0 = no name of a month. */
static int32_t take_month(struct reader *r)
{
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    uint32_t n = letters(r);
    for (int32_t i = 0; n >= 3 && i < 12; i++) {
        if (word_is(r, names + i * 3)) {
            r->p += n;
            (void) pass(r, ".");
            return i + 1;
        }
    }
    return 0;
}

/* A weekday in front of the date says nothing. */
static void pass_weekday(struct reader *r)
{
    static const char names[] = "monsuntuewedthufrisat";
    uint32_t n = letters(r);
    for (int i = 0; n >= 3 && i < 7; i++) {
        if (word_is(r, names + (size_t) i * 3)) {
            r->p += n;
            (void) pass(r, ".");
            pass_blanks(r);
            return;
        }
    }
}

static int32_t full_year(struct digits d)
{
    if (d.count > 2) {
        return (int32_t) d.value;
    }
    return (int32_t) (d.value >= 70 ? 1900 + d.value : 2000 + d.value);
}

/* Three numbers in the order of the flags. */
static int order(const struct digits d[3], uint32_t flags, struct tpi_civil *c)
{
    bool year = d[0].count > 2 || ((flags & DATE_YEAR_FIRST) != 0 && d[2].count <= 2);
    int at_year = year ? 0 : 2;
    int first = year ? 1 : 0; /* of month and day */
    bool day_first = !year && (flags & DATE_DAY_FIRST) != 0;
    if (d[first].value > 12) {
        day_first = true;
    } else if (d[first + 1].value > 12) {
        day_first = false;
    }
    c->year = full_year(d[at_year]);
    c->month = (int32_t) d[day_first ? first + 1 : first].value;
    c->day = (int32_t) d[day_first ? first : first + 1].value;
    return 0;
}

/* "21 Nov 2026", behind the day; "Nov 21, 2026". */
static int take_named(struct reader *r, struct digits day, struct tpi_civil *c)
{
    pass_blanks(r);
    (void) pass(r, "-");
    c->month = take_month(r);
    pass_blanks(r);
    (void) pass(r, "-");
    if (day.count == 0) {
        day = take_digits(r, 2);
        pass_blanks(r);
    }
    struct digits year = take_digits(r, 4);
    if (c->month == 0 || day.count == 0 || (year.count != 2 && year.count != 4)) {
        return TPC_EDECODE;
    }
    c->day = (int32_t) day.value;
    c->year = full_year(year);
    return 0;
}

static int take_date(struct reader *r, uint32_t flags, struct tpi_civil *c)
{
    struct digits d[3];
    pass_weekday(r);
    d[0] = take_digits(r, 8);
    if (d[0].count == 8) {
        *c = (struct tpi_civil){ .year = (int32_t) (d[0].value / 10000),
                                 .month = (int32_t) (d[0].value / 100 % 100),
                                 .day = (int32_t) (d[0].value % 100) };
        return 0;
    }
    if (d[0].count == 0 || (r->p < r->end && strchr("-/.", *r->p) == NULL) ||
        (r->end - r->p > 1 && letters(&(struct reader){ r->p + 1, r->end }) > 0)) {
        return take_named(r, d[0], c);
    }
    for (int i = 1; i < 3; i++) {
        if (!pass(r, "-/.")) {
            return TPC_EDECODE;
        }
        d[i] = take_digits(r, 4);
        if (d[i].count == 0 || (i == 1 && d[i].count > 2)) {
            return TPC_EDECODE;
        }
    }
    return d[0].count == 3 || d[2].count == 3 || (d[0].count > 2 && d[2].count > 2)
               ? TPC_EDECODE
               : order(d, flags, c);
}

/* "AM" and "PM" */
static int take_half(struct reader *r, struct tpi_civil *c)
{
    pass_blanks(r);
    if (letters(r) != 2 || (r->p[1] | 0x20) != 'm') {
        return 0;
    }
    char half = (char) (r->p[0] | 0x20);
    if ((half != 'a' && half != 'p') || c->hour < 1 || c->hour > 12) {
        return TPC_EDECODE;
    }
    c->hour = c->hour % 12 + (half == 'p' ? 12 : 0);
    r->p += 2;
    return 0;
}

static int take_fraction(struct reader *r, int32_t *ret_ms)
{
    if (!pass(r, ".,")) {
        return 0;
    }
    struct digits d = take_digits(r, 3);
    if (d.count == 0) {
        return TPC_EDECODE;
    }
    *ret_ms = (int32_t) (d.value * (d.count == 1 ? 100 : d.count == 2 ? 10 : 1));
    (void) take_digits(r, TEXT_MAX); /* what is finer than a millisecond */
    return 0;
}

/* "17:00", "17:00:30.25", "170030" */
static int take_time(struct reader *r, struct tpi_civil *c, int32_t *ret_ms)
{
    struct digits hour = take_digits(r, 6);
    struct digits minute = { 0, 0 };
    struct digits second = { 0, 0 };
    if (hour.count == 4 || hour.count == 6) {
        second.value = hour.count == 6 ? hour.value % 100 : 0;
        hour.value /= hour.count == 6 ? 100 : 1;
        minute.value = hour.value % 100;
        hour.value /= 100;
        c->second = (int32_t) second.value;
    } else if (hour.count > 2 || hour.count == 0) {
        return TPC_EDECODE;
    } else if (pass(r, ":")) {
        minute = take_digits(r, 2);
        if (minute.count == 0) {
            return TPC_EDECODE;
        }
        if (pass(r, ":")) {
            second = take_digits(r, 2);
            if (second.count == 0) {
                return TPC_EDECODE;
            }
        }
    }
    c->hour = (int32_t) hour.value;
    c->minute = (int32_t) minute.value;
    c->second = (int32_t) second.value;
    int rc = take_fraction(r, ret_ms);
    return rc != 0 ? rc : take_half(r, c);
}

/* "Z", "UTC", "GMT", "+01:00", "+0100", "+01" as seconds east. */
static int take_zone(struct reader *r, int32_t *ret_s)
{
    pass_blanks(r);
    *ret_s = 0;
    uint32_t n = letters(r);
    if (n > 0) {
        bool known = (n == 1 && (r->p[0] | 0x20) == 'z') ||
                     (n == 3 && (word_is(r, "utc") || word_is(r, "gmt")));
        r->p += n;
        return known ? 0 : TPC_EDECODE;
    }
    if (r->p == r->end) {
        return 0;
    }
    bool west = *r->p == '-';
    if (!pass(r, "+-")) {
        return TPC_EDECODE;
    }
    struct digits d = take_digits(r, 4);
    if (d.count == 2) {
        (void) pass(r, ":");
        struct digits minutes = take_digits(r, 2);
        d.value = d.value * 100 + minutes.value;
        d.count = 4;
    }
    if (d.count != 4 || d.value % 100 > 59 || d.value > 1500) {
        return TPC_EDECODE;
    }
    int32_t s = (int32_t) (d.value / 100 * TPI_HOUR_S + d.value % 100 * TPI_MINUTE_S);
    *ret_s = west ? -s : s;
    return 0;
}

static bool valid(const struct tpi_civil *c)
{
    return c->year >= 1970 && c->year <= YEAR_MAX && c->month >= 1 && c->month <= 12 &&
           c->day >= 1 && c->day <= tpi_month_days(c->year, c->month) && c->hour <= 23 &&
           c->minute <= 59 && c->second <= 59;
}

int date_parse(struct tpc_str text, uint32_t flags, int64_t *ret_unix_ms)
{
    char copy[TEXT_MAX + 4]; /* readers look at two bytes behind a letter */
    struct tpi_civil c = { 0 };
    int32_t ms = 0;
    int32_t zone = 0;
    while (text.len > 0 && text.ptr[text.len - 1] == ' ') {
        text.len--;
    }
    if (text.len == 0 || text.len > TEXT_MAX) {
        return TPC_EDECODE;
    }
    memset(copy, 0, sizeof(copy));
    memcpy(copy, text.ptr, text.len);
    struct reader r = { copy, copy + text.len };
    pass_blanks(&r);
    struct reader number = r;
    struct digits whole = take_digits(&number, 18);
    if (number.p == number.end && whole.count >= MS_DIGITS_MIN) {
        *ret_unix_ms = whole.value;
        return whole.value <= DATE_MAX_MS ? 0 : TPC_EDECODE;
    }
    int rc = take_date(&r, flags, &c);
    pass_blanks(&r);
    (void) pass(&r, "T");
    if (rc == 0 && r.p < r.end) {
        rc = take_time(&r, &c, &ms);
    }
    rc = rc != 0 ? rc : take_zone(&r, &zone);
    if (rc != 0 || r.p != r.end || !valid(&c)) {
        return TPC_EDECODE;
    }
    int64_t unix_ms = (tpi_local_from_civil(&c) - zone) * 1000 + ms;
    if (unix_ms < 0 || unix_ms > DATE_MAX_MS) {
        return TPC_EDECODE;
    }
    *ret_unix_ms = unix_ms;
    return 0;
}
