/* POSIX TZ texts: std offset [dst [offset] [, start [/time], end [/time]]]. */
#include "calendar/zone_posix.h"

#include "base/error.h"

#include <string.h>

struct scan {
    const char *text;
    size_t len;
    size_t pos;
    struct tpc_error *err;
};

static int fail(const struct scan *s, const char *expected)
{
    tpi_error_set(s->err, TPC_EDECODE, "zone", "expected %s", expected);
    if (s->err != NULL) {
        s->err->line = 1;
        s->err->column = (uint32_t) s->pos + 1;
    }
    return TPC_EDECODE;
}

static char peek(const struct scan *s)
{
    return s->pos < s->len ? s->text[s->pos] : '\0';
}

static bool accept(struct scan *s, char c)
{
    if (s->pos < s->len && s->text[s->pos] == c) {
        s->pos++;
        return true;
    }
    return false;
}

static bool is_alpha(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int read_number(struct scan *s, int32_t min, int32_t max, const char *expected, int32_t *ret)
{
    size_t first = s->pos;
    int32_t x = 0;
    while (is_digit(peek(s)) && s->pos - first < 4) {
        x = x * 10 + (s->text[s->pos++] - '0');
    }
    if (s->pos == first || is_digit(peek(s)) || x < min || x > max) {
        s->pos = first;
        return fail(s, expected);
    }
    *ret = x;
    return 0;
}

static int read_abbr(struct scan *s, char *ret)
{
    bool quoted = accept(s, '<');
    size_t first = s->pos;
    while (is_alpha(peek(s)) ||
           (quoted && (is_digit(peek(s)) || peek(s) == '+' || peek(s) == '-'))) {
        s->pos++;
    }
    size_t n = s->pos - first;
    if (n < 3) {
        s->pos = first;
        return fail(s, "a name of three letters or more");
    }
    if (quoted && !accept(s, '>')) {
        return fail(s, "'>'");
    }
    n = n < TPI_ZONE_MAX_ABBR ? n : TPI_ZONE_MAX_ABBR - 1;
    memcpy(ret, s->text + first, n);
    ret[n] = '\0';
    return 0;
}

/* [+-]hh[:mm[:ss]] */
static int read_time(struct scan *s, int32_t max_hours, int32_t *ret)
{
    int32_t sign = accept(s, '-') ? -1 : 1;
    if (sign == 1) {
        accept(s, '+');
    }
    int32_t h = 0;
    int32_t m = 0;
    int32_t sec = 0;
    int rc = read_number(s, 0, max_hours, max_hours > 24 ? "hours 0-167" : "hours 0-24", &h);
    if (rc == 0 && accept(s, ':')) {
        rc = read_number(s, 0, 59, "minutes 0-59", &m);
        if (rc == 0 && accept(s, ':')) {
            rc = read_number(s, 0, 59, "seconds 0-59", &sec);
        }
    }
    *ret = sign * (h * TPI_HOUR_S + m * TPI_MINUTE_S + sec);
    return rc;
}

static int read_month_day(struct scan *s, struct tpi_rule_date *ret)
{
    int32_t month = 0;
    int32_t week = 0;
    int32_t wday = 0;
    int rc = read_number(s, 1, 12, "a month 1-12", &month);
    if (rc == 0 && !accept(s, '.')) {
        rc = fail(s, "'.'");
    }
    rc = rc != 0 ? rc : read_number(s, 1, 5, "a week 1-5", &week);
    if (rc == 0 && !accept(s, '.')) {
        rc = fail(s, "'.'");
    }
    rc = rc != 0 ? rc : read_number(s, 0, 6, "a weekday 0-6", &wday);
    ret->form = TPI_RULE_MONTH;
    ret->month = (uint8_t) month;
    ret->week = (uint8_t) week;
    ret->wday = (uint8_t) wday;
    return rc;
}

static int read_date(struct scan *s, struct tpi_rule_date *ret)
{
    int32_t day = 0;
    int rc;
    *ret = (struct tpi_rule_date){ .time_s = 2 * TPI_HOUR_S };
    if (!accept(s, ',')) {
        return fail(s, "','");
    }
    if (accept(s, 'M')) {
        rc = read_month_day(s, ret);
    } else if (accept(s, 'J')) {
        ret->form = TPI_RULE_JULIAN;
        rc = read_number(s, 1, 365, "a day 1-365", &day);
    } else {
        ret->form = TPI_RULE_DAY;
        rc = read_number(s, 0, 365, "a day: Mm.w.d, Jn or n", &day);
    }
    ret->day = (uint16_t) day;
    if (rc == 0 && accept(s, '/')) {
        rc = read_time(s, 167, &ret->time_s);
    }
    return rc;
}

static int read_summer(struct scan *s, struct tpi_rule *rule)
{
    int32_t west = 0;
    int rc = read_abbr(s, rule->dst_abbr);
    rule->has_dst = true;
    rule->dst_offset_s = rule->std_offset_s + TPI_HOUR_S;
    if (rc == 0 && s->pos < s->len && peek(s) != ',') {
        rc = read_time(s, 24, &west);
        rule->dst_offset_s = -west;
    }
    if (rc == 0 && s->pos == s->len) {
        rule->start = (struct tpi_rule_date){ TPI_RULE_MONTH, 3, 2, 0, 0, 2 * TPI_HOUR_S };
        rule->end = (struct tpi_rule_date){ TPI_RULE_MONTH, 11, 1, 0, 0, 2 * TPI_HOUR_S };
        return 0;
    }
    rc = rc != 0 ? rc : read_date(s, &rule->start);
    return rc != 0 ? rc : read_date(s, &rule->end);
}

int tpi_rule_parse(struct tpc_str text, struct tpc_error *err, struct tpi_rule *ret)
{
    struct scan s = { .text = text.ptr, .len = text.len, .err = err };
    struct tpi_rule rule = { 0 };
    int32_t west = 0;
    int rc = read_abbr(&s, rule.std_abbr);
    rc = rc != 0 ? rc : read_time(&s, 24, &west);
    rule.std_offset_s = -west;
    if (rc == 0 && s.pos < s.len) {
        rc = read_summer(&s, &rule);
    }
    if (rc == 0 && s.pos < s.len) {
        rc = fail(&s, "the end of the text");
    }
    if (rc == 0) {
        *ret = rule;
    }
    return rc;
}

/* The day of a rule in a year. */
static int64_t rule_day(const struct tpi_rule_date *d, int64_t year)
{
    int64_t first = tpi_days_from_civil(year, 1, 1);
    if (d->form == TPI_RULE_DAY) {
        return first + d->day;
    }
    if (d->form == TPI_RULE_JULIAN) {
        bool after_leap = tpi_month_days(year, 2) == 29 && d->day >= 60;
        return first + d->day - (after_leap ? 0 : 1);
    }
    int64_t month = tpi_days_from_civil(year, d->month, 1);
    int32_t day = 1 + (d->wday - tpi_weekday(month) + 7) % 7 + (d->week - 1) * 7;
    while (day > tpi_month_days(year, d->month)) {
        day -= 7;
    }
    return month + day - 1;
}

/* A change of the clock. */
struct turn {
    int64_t at_s;
    bool dst; /* what begins */
};

enum { TURN_YEARS = 5, TURNS = TURN_YEARS * 2 };

/* Changes of five years around a year, by time; of two at one moment the later year's is last: a
 * summer time that lasts all year ends where it begins again (RFC 9636 3.3.2). */
static void make_turns(const struct tpi_rule *rule, int64_t year, struct turn *turns)
{
    for (int i = 0; i < TURN_YEARS; i++) {
        int64_t y = year - 2 + i;
        turns[2 * i] = (struct turn){
            rule_day(&rule->start, y) * TPI_DAY_S + rule->start.time_s - rule->std_offset_s, true
        };
        turns[2 * i + 1] = (struct turn){
            rule_day(&rule->end, y) * TPI_DAY_S + rule->end.time_s - rule->dst_offset_s, false
        };
    }
    for (int i = 1; i < TURNS; i++) {
        for (int j = i; j > 0 && turns[j - 1].at_s > turns[j].at_s; j--) {
            struct turn t = turns[j];
            turns[j] = turns[j - 1];
            turns[j - 1] = t;
        }
    }
}

void tpi_rule_span(const struct tpi_rule *rule, int64_t unix_s, struct tpi_zone_span *ret)
{
    *ret =
        (struct tpi_zone_span){ INT64_MIN, INT64_MAX, rule->std_offset_s, false, rule->std_abbr };
    if (!rule->has_dst) {
        return;
    }
    struct tpi_civil c;
    struct turn turns[TURNS];
    tpi_civil_from_days(tpi_floor_div(unix_s + rule->std_offset_s, TPI_DAY_S), &c);
    make_turns(rule, c.year, turns);
    int last = 0;
    while (last + 1 < TURNS && turns[last + 1].at_s <= unix_s) {
        last++;
    }
    /* Two years ahead there is a change in any case. */
    int next = last + 1 < TURNS ? last + 1 : last;
    ret->from_s = turns[last].at_s;
    ret->to_s = turns[next].at_s;
    if (turns[last].dst) {
        ret->offset_s = rule->dst_offset_s;
        ret->dst = true;
        ret->abbr = rule->dst_abbr;
    }
}
