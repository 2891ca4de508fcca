/* What a schedule plans, and what of it is to be done now. */
#include "calendar/schedule.h"

#include "calendar/sun.h"

/* Days looked at for a sunrise: longer than any polar night. */
enum { SUN_DAYS = 400 };

void tpi_schedule_fini(struct tpi_schedule *s)
{
    tpi_zone_destroy(s->zone);
    s->zone = NULL;
}

void tpi_schedule_start(struct tpi_schedule_state *state, int64_t now_ms)
{
    *state = (struct tpi_schedule_state){ .since_ms = now_ms, .last_ms = now_ms };
}

static bool next_repeat(const struct tpi_schedule *s, int64_t since_ms, int64_t after_ms,
                        int64_t *ret_ms)
{
    int64_t n = after_ms < since_ms ? 0 : (after_ms - since_ms) / s->interval_ms;
    *ret_ms = since_ms + (n + 1) * s->interval_ms;
    return true;
}

/* The event whose local date is `date`. */
static bool sun_on(const struct tpi_schedule *s, int64_t date, int64_t *ret_s)
{
    bool rise = s->type == TPI_SCHEDULE_SUNRISE;
    /* The sun's day at a longitude may be another one than the zone's: Samoa lives a day ahead. */
    for (int64_t day = date - 1; day <= date + 1; day++) {
        int64_t at;
        if (tpi_sun_event(s->latitude, s->longitude, day, rise, &at) == TPI_SUN_RISES &&
            tpi_floor_div(tpi_zone_local(s->zone, at), TPI_DAY_S) == date) {
            *ret_s = at;
            return true;
        }
    }
    return false;
}

static bool next_sun(const struct tpi_schedule *s, int64_t after_ms, int64_t *ret_ms)
{
    int64_t after = after_ms - s->offset_ms;
    int64_t local = tpi_zone_local(s->zone, tpi_floor_div(after, 1000));
    int64_t date = tpi_floor_div(local, TPI_DAY_S);
    for (int i = 0; i < SUN_DAYS && tpi_cron_next_day(&s->cron, date, &date); i++, date++) {
        int64_t at;
        if (sun_on(s, date, &at) && at * 1000 > after) {
            *ret_ms = at * 1000 + s->offset_ms;
            return true;
        }
    }
    return false;
}

static bool next_planned(const struct tpi_schedule *s, int64_t since_ms, int64_t after_ms,
                         int64_t *ret_ms)
{
    switch (s->type) {
    case TPI_SCHEDULE_REPEAT:
        return next_repeat(s, since_ms, after_ms, ret_ms);
    case TPI_SCHEDULE_CRON:
        return tpi_cron_next(&s->cron, s->zone, after_ms, ret_ms);
    default:
        return next_sun(s, after_ms, ret_ms);
    }
}

enum verdict { VALID, LATER, OVER };

/* The moment before a local time. */
static int64_t before_local(const struct tpi_schedule *s, int64_t local_s)
{
    struct tpi_local_unix u;
    tpi_zone_unix(s->zone, local_s, &u);
    return u.first_s * 1000 - 1;
}

/* Whether a planned time lies in the validity; LATER: not before *ret_after_ms. */
static enum verdict check(const struct tpi_schedule *s, int64_t at_ms, int64_t *ret_after_ms)
{
    const struct tpi_validity *v = &s->validity;
    int64_t at = tpi_floor_div(at_ms, 1000);
    int64_t local = tpi_zone_local(s->zone, at);
    int64_t day = tpi_floor_div(local, TPI_DAY_S);
    bool joined = v->has_time && !v->every_day;
    int64_t from = v->from_day * TPI_DAY_S + (joined ? v->from_s : 0);
    int64_t to = v->to_day * TPI_DAY_S + (joined ? v->to_s : TPI_DAY_S - 1);
    if (v->has_to && local > to) {
        return OVER;
    }
    if (v->has_from && local < from) {
        *ret_after_ms = before_local(s, from);
        return LATER;
    }
    if (!v->has_time || !v->every_day ||
        tpi_window_contains(s->zone, v->from_s, v->to_s, 0x7F, at)) {
        return VALID;
    }
    bool today = tpi_time_of_day(local) < v->from_s;
    *ret_after_ms = before_local(s, (today ? day : day + 1) * TPI_DAY_S + v->from_s);
    return LATER;
}

bool tpi_schedule_next(const struct tpi_schedule *s, const struct tpi_schedule_state *state,
                       int64_t after_ms, int64_t *ret_ms)
{
    int64_t after = after_ms;
    if (s->count > 0 && state->fired >= s->count) {
        return false;
    }
    for (int i = 0; i < TPI_SCHEDULE_MAX_TRIES; i++) {
        int64_t at;
        int64_t skip = INT64_MIN;
        if (!next_planned(s, state->since_ms, after, &at) || at / 1000 > TPI_TIME_MAX_S) {
            return false;
        }
        enum verdict verdict = check(s, at, &skip);
        if (verdict == VALID) {
            *ret_ms = at;
            return true;
        }
        if (verdict == OVER) {
            return false;
        }
        after = skip > at ? skip : at;
    }
    return false;
}

/* The newest planned time up to now; `first` is one. What is planned rises, so it is found by
 * halving: after t, something is still planned until now, or not. */
static int64_t newest(const struct tpi_schedule *s, const struct tpi_schedule_state *state,
                      int64_t first, int64_t now_ms)
{
    int64_t found = first;
    int64_t low = first;
    int64_t high = now_ms;
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        int64_t at;
        if (tpi_schedule_next(s, state, mid, &at) && at <= now_ms) {
            found = at;
            low = at;
        } else {
            high = mid;
        }
    }
    return found;
}

/* How many are planned from first up to `last` without it. */
static uint64_t count_before(const struct tpi_schedule *s, const struct tpi_schedule_state *state,
                             int64_t first, int64_t last)
{
    uint64_t n = 0;
    for (int64_t at = first; at < last && n < TPI_SCHEDULE_MAX_MISSED; n++) {
        if (!tpi_schedule_next(s, state, at, &at)) {
            break;
        }
    }
    return n;
}

void tpi_schedule_step(const struct tpi_schedule *s, struct tpi_schedule_state *state,
                       int64_t now_ms, struct tpi_schedule_step *ret)
{
    int64_t first;
    *ret = (struct tpi_schedule_step){ .next_ms = INT64_MAX };
    if (state->last_ms > now_ms && state->last_ms - now_ms > TPI_SCHEDULE_BACK_MS) {
        state->last_ms = now_ms;
        state->since_ms = state->since_ms < now_ms ? state->since_ms : now_ms;
        state->ended = false; /* its end may have come by that error alone */
    }
    if (state->ended) {
        return;
    }
    if (tpi_schedule_next(s, state, state->last_ms, &first) && first <= now_ms) {
        int64_t at = newest(s, state, first, now_ms);
        ret->fire = now_ms - at <= TPI_SCHEDULE_LATE_MS || s->run_once;
        ret->fire_ms = at;
        ret->missed = count_before(s, state, first, at) + (ret->fire ? 0 : 1);
        state->last_ms = at;
        state->fired += ret->fire ? 1 : 0;
        state->missed += ret->missed;
    }
    if (!tpi_schedule_next(s, state, state->last_ms, &ret->next_ms)) {
        ret->next_ms = INT64_MAX;
        state->ended = true;
    }
}
