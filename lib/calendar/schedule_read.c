/* Reading of schedules' documents. */
#include "calendar/schedule.h"

#include "base/error.h"

#include <string.h>

static int fail(struct tpc_error *err, const char *member, const char *expected)
{
    tpi_error_set(err, TPC_EINVAL, "schedule", "expected %s", expected);
    tpi_error_at(err, member);
    return TPC_EINVAL;
}

/* NULL also for a member that is null. */
static const struct tpc_value *member(const struct tpc_value *map, const char *key)
{
    const struct tpc_value *v = tpc_value_get(map, tpc_str_from(key));
    return v != NULL && v->type != TPC_NULL ? v : NULL;
}

static struct tpc_str text_of(const struct tpc_value *map, const char *key)
{
    const struct tpc_value *v = member(map, key);
    return v != NULL ? tpc_value_text(v) : (struct tpc_str){ "", 0 };
}

static bool is(struct tpc_str text, const char *name)
{
    return tpc_str_equal(text, tpc_str_from(name)) != 0;
}

static int read_span(const struct tpc_value *doc, const char *key, int64_t min, int64_t max,
                     struct tpc_error *err, int64_t *ret_ms)
{
    const struct tpc_value *v = member(doc, key);
    int64_t ms = 0;
    int rc = v == NULL             ? TPC_EINVAL
             : v->type == TPC_TEXT ? tpi_span_parse(tpc_value_text(v), &ms)
                                   : tpc_value_int(v, &ms);
    if (rc != 0 || ms < min || ms > max) {
        return fail(err, key,
                    min < 0 ? "a span up to 12h, as -30m" : "a span of 1s or more, as 5m");
    }
    *ret_ms = ms;
    return 0;
}

static int read_repeat(struct tpi_schedule *s, const struct tpc_value *doc, struct tpc_error *err)
{
    const struct tpc_value *count = member(doc, "count");
    int64_t n = 0;
    int rc = read_span(doc, "interval", TPI_SCHEDULE_MIN_INTERVAL_MS,
                       (int64_t) 1000 * 366 * TPI_DAY_S, err, &s->interval_ms);
    if (rc == 0 && count != NULL && (tpc_value_int(count, &n) != 0 || n < 0)) {
        rc = fail(err, "count", "a number of runs, 0 = no end");
    }
    s->count = (uint64_t) n;
    s->type = TPI_SCHEDULE_REPEAT;
    return rc;
}

static int read_cron(struct tpi_schedule *s, const struct tpc_value *doc, struct tpc_error *err)
{
    struct tpc_str text = text_of(doc, "cron");
    s->type = TPI_SCHEDULE_CRON;
    int rc = tpi_cron_parse(text, err, &s->cron);
    if (rc != 0) {
        tpi_error_at(err, "cron");
        return rc;
    }
    if (s->cron.every_ms > 0) {
        s->type = TPI_SCHEDULE_REPEAT;
        s->interval_ms = s->cron.every_ms;
    }
    return 0;
}

/* A text of weekdays with commas between. */
static int read_weekday_text(struct tpc_str text, uint8_t *ret)
{
    if (is(text, "*")) {
        *ret = 0x7F;
        return 0;
    }
    for (size_t i = 0; i <= text.len;) {
        const char *comma = i < text.len ? memchr(text.ptr + i, ',', text.len - i) : NULL;
        size_t end = comma != NULL ? (size_t) (comma - text.ptr) : text.len;
        int day = tpi_weekday_parse((struct tpc_str){ text.ptr + i, end - i });
        if (day < 0) {
            return TPC_EINVAL;
        }
        *ret = (uint8_t) (*ret | 1U << day);
        i = end + 1;
    }
    return 0;
}

static int read_weekdays(const struct tpc_value *v, struct tpc_error *err, uint8_t *ret)
{
    int rc = 0;
    *ret = v == NULL ? 0x7F : 0;
    if (v != NULL && v->type == TPC_TEXT) {
        rc = read_weekday_text(tpc_value_text(v), ret);
    }
    for (size_t i = 0; v != NULL && v->type == TPC_ARRAY && i < v->len && rc == 0; i++) {
        const struct tpc_value *item = &v->as.items[i];
        int64_t n = -1;
        if (item->type == TPC_TEXT) {
            rc = read_weekday_text(tpc_value_text(item), ret);
        } else if (tpc_value_int(item, &n) != 0 || n < 0 || n > 7) {
            rc = TPC_EINVAL;
        } else {
            *ret = (uint8_t) (*ret | 1U << n % 7);
        }
    }
    return rc != 0 || *ret == 0 ? fail(err, "day_of_week", "days, as [\"mon\", \"thu\"]") : 0;
}

static int read_on_date(struct tpi_cron *c, const struct tpc_value *doc, struct tpc_error *err)
{
    int64_t day = 0;
    struct tpi_civil d = { 0 };
    if (tpi_civil_parse(text_of(doc, "date"), &day) == 0) {
        tpi_civil_from_days(day, &d);
    }
    if (d.year < TPI_CRON_FIRST_YEAR || d.year > TPI_CRON_LAST_YEAR) {
        return fail(err, "date", "a date YYYY-MM-DD, 1970 to 2199");
    }
    int32_t n = d.year - TPI_CRON_FIRST_YEAR;
    c->any_year = false;
    c->years[n / 64] = (uint64_t) 1 << n % 64;
    c->months = (uint16_t) (1U << d.month);
    c->days.days = 1U << d.day;
    return 0;
}

/* The days of "simple" and of the sun. */
static int read_days(struct tpi_cron *c, const struct tpc_value *doc, struct tpc_error *err)
{
    struct tpc_str frequency = text_of(doc, "frequency");
    int64_t n = 0;
    int rc = 0;
    memset(c, 0, sizeof(*c));
    c->any_year = true;
    c->months = 0x1FFE;
    c->days = (struct tpi_cron_days){
        .days = UINT32_MAX - 1, .weekdays = 0x7F, .any_day = true, .any_weekday = true
    };
    if (frequency.len == 0 || is(frequency, "daily")) {
        return read_weekdays(member(doc, "day_of_week"), err, &c->days.weekdays);
    }
    if (is(frequency, "weekly")) {
        const struct tpc_value *days = member(doc, "day_of_week");
        return days != NULL ? read_weekdays(days, err, &c->days.weekdays)
                            : fail(err, "day_of_week", "days, as [\"mon\", \"thu\"]");
    }
    if (is(frequency, "monthly")) {
        rc = tpc_value_int(member(doc, "date_of_month"), &n);
        if (rc != 0 || n < 1 || n > 31) {
            return fail(err, "date_of_month", "a day of the month, 1-31");
        }
        c->days.days = 1U << n;
        return 0;
    }
    return is(frequency, "on_date") ? read_on_date(c, doc, err)
                                    : fail(err, "frequency", "daily, weekly, monthly or on_date");
}

static int read_simple(struct tpi_schedule *s, const struct tpc_value *doc, struct tpc_error *err)
{
    int32_t time = 0;
    s->type = TPI_SCHEDULE_CRON;
    int rc = read_days(&s->cron, doc, err);
    if (rc == 0 && tpi_civil_clock(text_of(doc, "time"), &time) != 0) {
        rc = fail(err, "time", "a time HH:MM or HH:MM:SS");
    }
    s->cron.hours = 1U << time / TPI_HOUR_S;
    s->cron.minutes = (uint64_t) 1 << time / TPI_MINUTE_S % 60;
    s->cron.seconds = (uint64_t) 1 << time % 60;
    return rc;
}

static int read_degrees(const struct tpc_value *doc, const char *key, double max,
                        const char *expected, struct tpc_error *err, double *ret)
{
    const struct tpc_value *v = member(doc, key);
    if (v == NULL || tpc_value_double(v, ret) != 0 || !(*ret >= -max && *ret <= max)) {
        return fail(err, key, expected);
    }
    return 0;
}

static int read_sun(struct tpi_schedule *s, const struct tpc_value *doc, struct tpc_error *err)
{
    int rc = read_days(&s->cron, doc, err);
    if (rc == 0 && member(doc, "offset") != NULL) {
        rc = read_span(doc, "offset", -TPI_SCHEDULE_MAX_OFFSET_MS, TPI_SCHEDULE_MAX_OFFSET_MS, err,
                       &s->offset_ms);
    }
    rc = rc != 0 ? rc
                 : read_degrees(doc, "latitude", 90, "degrees north, -90..90", err, &s->latitude);
    return rc != 0
               ? rc
               : read_degrees(doc, "longitude", 180, "degrees east, -180..180", err, &s->longitude);
}

static int read_date(const struct tpc_value *map, const char *key, struct tpc_error *err,
                     bool *ret_has, int64_t *ret_day)
{
    if (member(map, key) == NULL) {
        return 0;
    }
    *ret_has = true;
    if (tpi_civil_parse(text_of(map, key), ret_day) != 0) {
        fail(err, key, "a date YYYY-MM-DD");
        tpi_error_at(err, "date");
        return TPC_EINVAL;
    }
    return 0;
}

static int read_clock(const struct tpc_value *map, const char *key, struct tpc_error *err,
                      int32_t *ret_s)
{
    if (member(map, key) == NULL) {
        return 0;
    }
    if (tpi_civil_clock(text_of(map, key), ret_s) != 0) {
        fail(err, key, "a time HH:MM or HH:MM:SS");
        tpi_error_at(err, "time");
        return TPC_EINVAL;
    }
    return 0;
}

static int read_validity(struct tpi_validity *v, const struct tpc_value *doc, struct tpc_error *err)
{
    const struct tpc_value *date = member(doc, "date");
    const struct tpc_value *time = member(doc, "time");
    const struct tpc_value *every = member(doc, "every_day");
    *v = (struct tpi_validity){ .every_day = true, .from_s = 0, .to_s = TPI_DAY_S - 1 };
    v->has_time = member(time, "from") != NULL || member(time, "to") != NULL;
    int rc = read_date(date, "from", err, &v->has_from, &v->from_day);
    rc = rc != 0 ? rc : read_date(date, "to", err, &v->has_to, &v->to_day);
    rc = rc != 0 ? rc : read_clock(time, "from", err, &v->from_s);
    rc = rc != 0 ? rc : read_clock(time, "to", err, &v->to_s);
    if (rc == 0 && v->has_from && v->has_to && v->from_day > v->to_day) {
        rc = fail(err, "date", "a date 'to' that is not before 'from'");
    }
    if (rc == 0 && every != NULL) {
        v->every_day = every->type == TPC_BOOL && every->as.b;
        rc = every->type != TPC_BOOL ? fail(err, "every_day", "true or false") : 0;
    }
    return rc;
}

static int read_type(struct tpi_schedule *s, const struct tpc_value *doc, struct tpc_error *err)
{
    struct tpc_str type = text_of(doc, "type");
    if (is(type, "repeat")) {
        return read_repeat(s, doc, err);
    }
    if (is(type, "cron")) {
        return read_cron(s, doc, err);
    }
    if (is(type, "simple")) {
        return read_simple(s, doc, err);
    }
    if (is(type, "sunrise") || is(type, "sunset")) {
        s->type = is(type, "sunrise") ? TPI_SCHEDULE_SUNRISE : TPI_SCHEDULE_SUNSET;
        return read_sun(s, doc, err);
    }
    return fail(err, "type", "repeat, cron, simple, sunrise or sunset");
}

int tpi_schedule_init(struct tpi_schedule *s, const struct tpi_env *env, const char *zone_dir,
                      const struct tpc_value *doc, struct tpc_error *err)
{
    struct tpi_schedule made;
    struct tpc_str missed = text_of(doc, "missed");
    memset(&made, 0, sizeof(made));
    int rc = read_type(&made, doc, err);
    if (rc == 0 && missed.len > 0 && !is(missed, "skip") && !is(missed, "run_once")) {
        rc = fail(err, "missed", "skip or run_once");
    }
    made.run_once = is(missed, "run_once");
    if (rc == 0) {
        rc = read_validity(&made.validity, member(doc, "validity"), err);
        if (rc != 0) {
            tpi_error_at(err, "validity");
        }
    }
    if (rc == 0 && member(doc, "zone") != NULL) {
        rc = tpi_zone_open(env, zone_dir, text_of(doc, "zone"), err, &made.zone);
        if (rc != 0) {
            tpi_error_at(err, "zone");
        }
    }
    if (rc == 0) {
        *s = made;
    }
    return rc;
}
