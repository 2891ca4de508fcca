/* Reading of cron expressions. */
#include "calendar/cron.h"

#include "base/error.h"

#include <string.h>

enum field { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, YEAR, FIELDS };

struct field_def {
    const char *name;
    int32_t min;
    int32_t max;
    bool wraps; /* ranges may pass the end */
};

static const struct field_def defs[FIELDS] = {
    [SECOND] = { "second", 0, 59, true },
    [MINUTE] = { "minute", 0, 59, true },
    [HOUR] = { "hour", 0, 23, true },
    [DAY] = { "day of month", 1, 31, false },
    [MONTH] = { "month", 1, 12, true },
    [WEEKDAY] = { "day of week", 0, 7, true },
    [YEAR] = { "year", TPI_CRON_FIRST_YEAR, TPI_CRON_LAST_YEAR, false },
};

struct scan {
    const char *text;
    size_t len; /* end of the field that is read */
    size_t pos;
    enum field field;
    struct tpi_cron *cron;
    struct tpc_error *err;
};

static int fail_at(const struct scan *s, size_t pos, const char *expected)
{
    tpi_error_set(s->err, TPC_EINVAL, "cron", "%s: expected %s",
                  s->field < FIELDS ? defs[s->field].name : "cron", expected);
    if (s->err != NULL) {
        s->err->line = 1;
        s->err->column = (uint32_t) pos + 1;
    }
    return TPC_EINVAL;
}

static int fail_range(const struct scan *s, size_t pos)
{
    char text[64];
    static const char *const also[FIELDS] = {
        [DAY] = ", L, L-n, nW, LW or ?", [MONTH] = " or JAN-DEC", [WEEKDAY] = ", SUN-SAT or ?"
    };
    const struct field_def *d = &defs[s->field];
    struct tpc_error e;
    tpi_error_set(&e, TPC_EINVAL, "cron", "*, %d-%d%s", (int) d->min, (int) d->max,
                  also[s->field] != NULL ? also[s->field] : "");
    memcpy(text, e.text, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    return fail_at(s, pos, text);
}

static char peek(const struct scan *s)
{
    return s->pos < s->len ? s->text[s->pos] : '\0';
}

static bool accept(struct scan *s, char c)
{
    if (peek(s) == c && s->pos < s->len) {
        s->pos++;
        return true;
    }
    return false;
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char) (c - 'a' + 'A') : c;
}

static bool is_letter(char c)
{
    return upper(c) >= 'A' && upper(c) <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A name of three letters; -1 = none is here. */
static int32_t read_name(struct scan *s)
{
    static const char months[] = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC";
    static const char weekdays[] = "SUNMONTUEWEDTHUFRISAT";
    const char *names = s->field == MONTH ? months : s->field == WEEKDAY ? weekdays : "";
    for (int32_t i = 0; names[3 * i] != '\0'; i++) {
        size_t n = 0;
        while (n < 3 && s->pos + n < s->len && upper(s->text[s->pos + n]) == names[3 * i + n]) {
            n++;
        }
        if (n == 3) {
            s->pos += 3;
            return i + defs[s->field].min;
        }
    }
    return -1;
}

static int read_digits(struct scan *s, int32_t min, int32_t max, const char *expected, int32_t *ret)
{
    size_t first = s->pos;
    int32_t x = 0;
    while (is_digit(peek(s)) && s->pos - first < 6) {
        x = x * 10 + (s->text[s->pos++] - '0');
    }
    if (s->pos == first || is_digit(peek(s)) || x < min || x > max) {
        return expected != NULL ? fail_at(s, first, expected) : fail_range(s, first);
    }
    *ret = x;
    return 0;
}

/* A number or a name of the field. */
static int read_value(struct scan *s, int32_t *ret)
{
    int32_t named = is_letter(peek(s)) ? read_name(s) : -1;
    if (named >= 0) {
        *ret = named;
        return 0;
    }
    return read_digits(s, defs[s->field].min, defs[s->field].max, NULL, ret);
}

static void set(struct tpi_cron *c, enum field field, int32_t x)
{
    switch (field) {
    case SECOND:
        c->seconds |= (uint64_t) 1 << x;
        break;
    case MINUTE:
        c->minutes |= (uint64_t) 1 << x;
        break;
    case HOUR:
        c->hours |= (uint32_t) 1 << x;
        break;
    case DAY:
        c->days.days |= (uint32_t) 1 << x;
        break;
    case MONTH:
        c->months = (uint16_t) (c->months | 1U << x);
        break;
    case WEEKDAY:
        c->days.weekdays = (uint8_t) (c->days.weekdays | 1U << x % 7);
        break;
    default:
        x -= TPI_CRON_FIRST_YEAR;
        c->years[x / 64] |= (uint64_t) 1 << x % 64;
        break;
    }
}

static int read_step(struct scan *s, int32_t *ret)
{
    *ret = 1;
    if (!accept(s, '/')) {
        return 0;
    }
    return read_digits(s, 1, 9999, "a step of 1 or more", ret);
}

/* Of weekdays, 7 is 0 again: what passes the end counts modulo 7. */
static int32_t span_of(const struct field_def *d)
{
    return d->max == 7 ? 7 : d->max - d->min + 1;
}

static void set_range(struct scan *s, int32_t from, int32_t to, int32_t step)
{
    const struct field_def *d = &defs[s->field];
    int32_t span = span_of(d);
    int32_t end = to < from ? to + span : to;
    for (int32_t x = from; x <= end; x += step) {
        set(s->cron, s->field, x > d->max ? x - span : x);
    }
}

/* What stands after a number in the day fields. Returns 1 if it took it. */
static int read_day_mark(struct scan *s, int32_t x)
{
    struct tpi_cron_days *d = &s->cron->days;
    int32_t k = 0;
    if (s->field == DAY && accept(s, 'W')) {
        d->near |= (uint32_t) 1 << x;
        return 1;
    }
    if (s->field == WEEKDAY && accept(s, 'L')) {
        d->last = (uint8_t) (d->last | 1U << x % 7);
        return 1;
    }
    if (s->field == WEEKDAY && accept(s, '#')) {
        int rc = read_digits(s, 1, 5, "which one of the month, 1-5", &k);
        if (rc != 0) {
            return rc;
        }
        d->nth[k - 1] = (uint8_t) (d->nth[k - 1] | 1U << x % 7);
        return 1;
    }
    return 0;
}

/* L, L-n, LW of the day field. */
static int read_last(struct scan *s)
{
    struct tpi_cron_days *d = &s->cron->days;
    int32_t before = 0;
    if (accept(s, 'W')) {
        d->last_weekday = true;
        return 0;
    }
    if (accept(s, '-')) {
        int rc = read_digits(s, 0, 30, "days before the last one, 0-30", &before);
        if (rc != 0) {
            return rc;
        }
    }
    d->before_last |= (uint32_t) 1 << before;
    return 0;
}

static int read_star(struct scan *s)
{
    const struct field_def *d = &defs[s->field];
    int32_t step;
    int rc = read_step(s, &step);
    if (rc == 0) {
        set_range(s, d->min, s->field == WEEKDAY ? 6 : d->max, step);
    }
    return rc;
}

static int read_item(struct scan *s)
{
    int32_t from = 0;
    int32_t to = 0;
    int32_t step = 1;
    if (accept(s, '*')) {
        return read_star(s);
    }
    if (s->field == DAY && accept(s, 'L')) {
        return read_last(s);
    }
    size_t first = s->pos;
    int rc = read_value(s, &from);
    if (rc != 0) {
        return rc;
    }
    rc = read_day_mark(s, from);
    if (rc != 0) {
        return rc > 0 ? 0 : rc;
    }
    to = from;
    bool range = accept(s, '-');
    if (range) {
        rc = read_value(s, &to);
        if (rc == 0 && to < from && !defs[s->field].wraps) {
            rc = fail_at(s, first, "a range that rises");
        }
    }
    bool steps = peek(s) == '/';
    rc = rc != 0 ? rc : read_step(s, &step);
    if (rc != 0) {
        return rc;
    }
    if (steps && !range) {
        to = s->field == WEEKDAY ? 6 : defs[s->field].max;
        from = s->field == WEEKDAY ? from % 7 : from;
    }
    set_range(s, from, to, step);
    return 0;
}

/* A field that begins with * or ? leaves the choice of days to the other one. */
static void mark_free(struct scan *s)
{
    bool is_free = peek(s) == '*' || peek(s) == '?';
    if (s->field == DAY) {
        s->cron->days.any_day = is_free;
    } else if (s->field == WEEKDAY) {
        s->cron->days.any_weekday = is_free;
    }
}

static int read_field(struct scan *s, size_t end)
{
    s->len = end;
    mark_free(s);
    if ((s->field == DAY || s->field == WEEKDAY) && end - s->pos == 1 && accept(s, '?')) {
        set_range(s, defs[s->field].min, s->field == DAY ? 31 : 6, 1);
        return 0;
    }
    do {
        int rc = read_item(s);
        if (rc != 0) {
            return rc;
        }
    } while (accept(s, ','));
    return s->pos < end ? fail_at(s, s->pos, "',' or the end of the field") : 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

struct piece {
    size_t from;
    size_t to;
};

/* Returns how many fields there are, at most FIELDS + 1. */
static int split(struct tpc_str text, struct piece pieces[FIELDS + 1])
{
    int count = 0;
    size_t i = 0;
    while (count <= FIELDS) {
        while (i < text.len && is_space(text.ptr[i])) {
            i++;
        }
        if (i == text.len) {
            break;
        }
        pieces[count].from = i;
        while (i < text.len && !is_space(text.ptr[i])) {
            i++;
        }
        pieces[count++].to = i;
    }
    return count;
}

static int read_fields(struct scan *s, struct tpc_str text)
{
    struct piece pieces[FIELDS + 1];
    int count = split(text, pieces);
    s->field = FIELDS;
    if (count < 5 || count > FIELDS) {
        return fail_at(s, count > FIELDS ? pieces[FIELDS].from : text.len,
                       "5 fields (minute hour day month weekday), 6 (second first) or 7 (year "
                       "last)");
    }
    int first = count == 5 ? MINUTE : SECOND;
    if (count == 5) {
        s->cron->seconds = 1;
    }
    s->cron->any_year = count < FIELDS;
    for (int i = 0; i < count; i++) {
        s->field = (enum field)(first + i);
        s->pos = pieces[i].from;
        if (s->field == YEAR && pieces[i].to - s->pos == 1 && s->text[s->pos] == '*') {
            s->cron->any_year = true;
            continue;
        }
        int rc = read_field(s, pieces[i].to);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int read_macro(struct scan *s, struct tpc_str text)
{
    static const struct {
        struct tpc_str name;
        struct tpc_str fields;
    } macros[] = {
        { TPC_STR_INIT("@hourly"), TPC_STR_INIT("0 * * * *") },
        { TPC_STR_INIT("@daily"), TPC_STR_INIT("0 0 * * *") },
        { TPC_STR_INIT("@midnight"), TPC_STR_INIT("0 0 * * *") },
        { TPC_STR_INIT("@weekly"), TPC_STR_INIT("0 0 * * 0") },
        { TPC_STR_INIT("@monthly"), TPC_STR_INIT("0 0 1 * *") },
        { TPC_STR_INIT("@yearly"), TPC_STR_INIT("0 0 1 1 *") },
        { TPC_STR_INIT("@annually"), TPC_STR_INIT("0 0 1 1 *") },
    };
    for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++) {
        if (tpc_str_equal(text, macros[i].name)) {
            s->text = macros[i].fields.ptr;
            return read_fields(s, macros[i].fields);
        }
    }
    if (text.len > 7 && memcmp(text.ptr, "@every ", 7) == 0) {
        struct tpc_str span = { text.ptr + 7, text.len - 7 };
        int64_t ms = 0;
        if (tpi_span_parse(span, &ms) != 0 || ms < TPI_CRON_MIN_EVERY_MS) {
            return fail_at(s, 7, "a span of 1s or more, as 5m or 1h30m");
        }
        s->cron->every_ms = ms;
        return 0;
    }
    return fail_at(s, 0, "@every 5m, @hourly, @daily, @weekly, @monthly or @yearly");
}

int tpi_cron_parse(struct tpc_str text, struct tpc_error *err, struct tpi_cron *ret)
{
    struct tpi_cron cron;
    memset(&cron, 0, sizeof(cron));
    struct scan s = { .text = text.ptr, .field = FIELDS, .cron = &cron, .err = err };
    if (text.len > TPI_CRON_MAX_TEXT) {
        return fail_at(&s, TPI_CRON_MAX_TEXT, "at most 256 bytes");
    }
    size_t from = 0;
    while (from < text.len && is_space(text.ptr[from])) {
        from++;
    }
    int rc = from < text.len && text.ptr[from] == '@'
                 ? read_macro(&s, (struct tpc_str){ text.ptr + from, text.len - from })
                 : read_fields(&s, text);
    if (rc == 0) {
        *ret = cron;
    }
    return rc;
}
