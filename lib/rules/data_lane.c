/*
 * Data rules where a device's messages are kept for a while: sliding windows, windows that overlap by
 * count, and all windows over event time.
 *
 * Event time: each device has a watermark, its newest event less the lateness. A message waits until the
 * watermark has come to it, then it is taken in as if it came only now: so windows see messages in the
 * order of their events, and end by the watermark. What is older than the watermark is late. Without
 * another message that is not late for the idle time, by receipt or the clock, all that is open ends, and
 * the device begins anew: a clock that was ahead once does no harm for ever.
 */
#include "registry/device.h"
#include "rules/data_run.h"
#include "rules/trace.h"

enum { CHAIN = TPI_SQL_MAX_OVERLAP };

static bool slides(const struct run *x)
{
    return x->d->window.type == TPI_WINDOW_SLIDING;
}

static int put(struct tpi_flow *f, struct tpi_recent *r, const struct tpi_moment *m,
               const uint8_t *values, bool by_time)
{
    return tpi_recent_put(r, f->alloc, m, values, by_time, TPI_FLOW_MAX_BYTES, &f->bytes);
}

static void lost(struct run *x, uint32_t n)
{
    if (n > 0) {
        TPI_METRIC_ADD(x->r->counters.values_lost, n);
    }
}

/* ---- windows of kept messages ---- */

/* The window of message t, which ends at t_at: what came in the time before it, and up to its delay. */
static void emit_sliding(struct run *x, struct tpi_flow *f, const struct tpi_lane *lane,
                         const struct tpi_moment *t, uint32_t t_at)
{
    const struct tpi_sql_window *w = &x->d->window;
    struct tpi_pane *p = tpi_flow_spare(f);
    struct tpi_moment m;
    const uint8_t *values;
    uint32_t at = 0;
    if (p == NULL) {
        tpi_run_full(x);
        return;
    }
    while (tpi_recent_next(&lane->past, &at, &m, &values)) {
        if (m.ms > t->ms - w->length_ms && (at <= t_at || m.ms < t->ms + w->step_ms)) {
            lost(x, tpi_flow_play(f, p, &m, values));
        }
    }
    p->mark = t->mark;
    tpi_run_emit(x, p, t->ms - w->length_ms, t->ms + w->step_ms);
    tpi_flow_clear(f, p);
}

/* Sliding windows that have ended by then. */
static uint32_t end_sliding(struct run *x, struct tpi_flow *f, struct tpi_lane *lane,
                            int64_t until_ms)
{
    struct tpi_moment m;
    const uint8_t *values;
    uint32_t at = 0;
    uint32_t n = 0;
    while (tpi_recent_next(&lane->past, &at, &m, &values)) {
        if ((m.flags & TPI_RECENT_WAITS) != 0 && m.ms + x->d->window.step_ms <= until_ms) {
            tpi_recent_done(&lane->past, at, &m);
            emit_sliding(x, f, lane, &m, at);
            n++;
        }
    }
    return n;
}

/* The first one goes to make room: its own window has to end now. */
static void drop_oldest(struct run *x, struct tpi_flow *f, struct tpi_lane *lane)
{
    struct tpi_moment m;
    const uint8_t *values;
    uint32_t at = 0;
    if (tpi_recent_next(&lane->past, &at, &m, &values) && (m.flags & TPI_RECENT_WAITS) != 0) {
        emit_sliding(x, f, lane, &m, at);
    }
    tpi_recent_pop(&lane->past);
    TPI_METRIC_ADD(x->r->counters.kept_full, 1);
}

/* What no window needs any more: neither those that wait nor one that ends at now or later. */
static void forget_past(const struct run *x, struct tpi_lane *lane, int64_t now_ms)
{
    struct tpi_moment m;
    const uint8_t *values;
    uint32_t at = 0;
    int64_t from = now_ms;
    while (tpi_recent_next(&lane->past, &at, &m, &values)) {
        if ((m.flags & TPI_RECENT_WAITS) != 0) {
            from = m.ms < from ? m.ms : from;
            break;
        }
    }
    from -= x->d->window.length_ms;
    for (at = 0; tpi_recent_next(&lane->past, &at, &m, &values); at = 0) {
        if (m.ms > from || (m.flags & TPI_RECENT_WAITS) != 0) {
            break;
        }
        tpi_recent_pop(&lane->past);
    }
}

static void take_sliding(struct run *x, struct tpi_flow *f, struct tpi_lane *lane,
                         const struct tpi_moment *m, const uint8_t *values)
{
    struct tpi_moment kept = *m;
    end_sliding(x, f, lane, m->ms);
    forget_past(x, lane, m->ms);
    if (lane->past.count == TPI_SQL_MAX_KEPT) {
        drop_oldest(x, f, lane);
    }
    kept.flags = x->d->window.step_ms > 0 ? TPI_RECENT_WAITS : 0;
    if (put(f, &lane->past, &kept, values, false) != 0) {
        tpi_run_full(x);
    } else if (kept.flags == 0) {
        emit_sliding(x, f, lane, &kept, lane->past.len);
    }
}

/* Each `every` messages, the last `count` of them. */
static void take_overlapping(struct run *x, struct tpi_flow *f, struct tpi_lane *lane,
                             const struct tpi_moment *m, const uint8_t *values)
{
    const struct tpi_sql_window *w = &x->d->window;
    struct tpi_pane *p;
    struct tpi_moment each;
    int64_t start_ms = m->ms;
    const uint8_t *kept;
    uint32_t at = 0;
    while (lane->past.count >= w->count) {
        tpi_recent_pop(&lane->past);
    }
    if (put(f, &lane->past, m, values, false) != 0) {
        tpi_run_full(x);
        return;
    }
    if (++lane->since < w->every) {
        return;
    }
    lane->since = 0;
    if (lane->past.count < w->count || (p = tpi_flow_spare(f)) == NULL) {
        return;
    }
    while (tpi_recent_next(&lane->past, &at, &each, &kept)) {
        start_ms = p->count == 0 ? each.ms : start_ms;
        lost(x, tpi_flow_play(f, p, &each, kept));
    }
    p->mark = m->mark;
    tpi_run_emit(x, p, start_ms, m->ms);
    tpi_flow_clear(f, p);
}

/* ---- windows of a time, the device's own ---- */

static uint32_t end_chain(struct run *x, struct tpi_flow *f, int64_t until_ms)
{
    int64_t length = x->d->window.length_ms;
    struct tpi_pane *p;
    uint32_t n = 0;
    while ((p = tpi_run_pane(x, f)) != NULL && p->start_ms <= until_ms - length) {
        tpi_run_emit(x, p, p->start_ms, p->start_ms + length);
        tpi_flow_shift(f, f->first, x->key);
        n++;
    }
    return n;
}

static void take_timed(struct run *x, struct tpi_flow *f, const struct tpi_moment *m)
{
    const struct tpi_sql_window *w = &x->d->window;
    bool fresh = false;
    struct tpi_open *o = tpi_flow_open(f, 0, INT64_MAX, &fresh);
    uint32_t k = 0;
    end_chain(x, f, m->ms);
    for (int64_t start = tpi_window_start(m->ms, w->step_ms); start > m->ms - w->length_ms;
         start -= w->step_ms, k++) {
        struct tpi_pane *p = o != NULL ? tpi_flow_chain(f, o, x->key, start, &fresh) : NULL;
        if (p == NULL) {
            tpi_run_full(x);
            continue;
        }
        p->mark = fresh ? m->mark * CHAIN + k % CHAIN : p->mark;
        tpi_run_add(x, f, p);
    }
}

/* ---- one message, in order ---- */

static void take(struct run *x, struct tpi_flow *f, struct tpi_lane *lane,
                 const struct tpi_moment *m, const uint8_t *values)
{
    if (slides(x)) {
        take_sliding(x, f, lane, m, values);
        return;
    }
    if (x->d->window.type == TPI_WINDOW_COUNT && x->d->window.every < x->d->window.count) {
        take_overlapping(x, f, lane, m, values);
        return;
    }
    x->moment = m;
    x->values = values;
    if (tpi_data_rule_chains(x->d)) {
        take_timed(x, f, m);
    } else {
        tpi_run_collect(x, f, m->ms);
    }
    x->moment = NULL;
}

/* ---- event time ---- */

/* The device's time has come to this. Returns how many windows ended by it alone. */
static uint32_t pass(struct run *x, struct tpi_flow *f, struct tpi_lane *lane, int64_t until_ms)
{
    struct tpi_moment m;
    const uint8_t *values;
    uint32_t n = 0;
    for (uint32_t at = 0; tpi_recent_next(&lane->early, &at, &m, &values) && m.ms <= until_ms;
         at = 0) {
        take(x, f, lane, &m, values);
        tpi_recent_pop(&lane->early);
        n++;
    }
    if (slides(x)) {
        n += end_sliding(x, f, lane, until_ms);
    } else if (tpi_data_rule_chains(x->d)) {
        n += end_chain(x, f, until_ms);
    } else if (x->d->window.type == TPI_WINDOW_SESSION) {
        n += tpi_run_session(x, f, until_ms);
    }
    lane->done_ms = until_ms > lane->done_ms ? until_ms : lane->done_ms;
    return n;
}

/* One too many waits: the oldest, the new one perhaps, is taken in before its time. */
static void pass_oldest(struct run *x, struct tpi_flow *f, struct tpi_lane *lane)
{
    struct tpi_moment first;
    const uint8_t *values;
    uint32_t at = 0;
    (void) tpi_recent_next(&lane->early, &at, &first, &values);
    TPI_METRIC_ADD(x->r->counters.kept_full, 1);
    pass(x, f, lane, first.ms);
}

/* All that a time can end ends, and time begins anew. */
static uint32_t go_idle(struct run *x, struct tpi_flow *f, struct tpi_lane *lane)
{
    uint32_t n = pass(x, f, lane, INT64_MAX / 2);
    lane->high_ms = lane->done_ms = INT64_MIN;
    if (slides(x)) {
        tpi_recent_fini(&lane->past, f->alloc, &f->bytes);
    }
    return n;
}

/* Whether lengths may be added to it, too. */
static bool is_time(int64_t unix_ms)
{
    return unix_ms > INT64_MIN / 4 && unix_ms < INT64_MAX / 4;
}

/* For who follows the rule. */
static void decide(const struct run *x, int64_t now_ms, const char *word, const char *text)
{
    struct tpi_trace *trace = x->r->workers[x->worker].trace;
    if (trace != NULL) { /* a group has no device */
        struct tpc_str key = x->device != NULL ? x->device->key : TPC_STR("");
        tpi_trace_decide(trace, key, now_ms, word, 0, "%s", text);
    }
}

static void event_message(struct run *x, struct tpi_flow *f, struct tpi_lane *lane,
                          struct tpi_packed *p)
{
    int64_t now = x->msg->received_unix_ms;
    const struct tpc_msg *msg = x->msg;
    x->msg = NULL; /* kept ones come first */
    if (lane->high_ms != INT64_MIN && now - lane->seen_ms >= x->d->idle_ms) {
        go_idle(x, f, lane);
    }
    if (!is_time(p->m.ms) || p->m.ms < lane->done_ms) {
        TPI_METRIC_ADD(x->r->counters.late, 1);
        decide(x, now, "late", "is too late: in no window");
    } else {
        if (put(f, &lane->early, &p->m, p->values.ptr, true) != 0) {
            tpi_run_full(x);
        }
        if (lane->early.count > TPI_SQL_MAX_KEPT) {
            pass_oldest(x, f, lane);
        }
        lane->high_ms = p->m.ms > lane->high_ms ? p->m.ms : lane->high_ms;
        lane->seen_ms = now;
        decide(x, now, "kept", "is kept until no earlier one is expected");
        pass(x, f, lane, lane->high_ms - x->d->lateness_ms);
    }
    x->msg = msg;
}

/* ---- messages and time ---- */

int64_t tpi_lane_next_ms(const struct tpi_data_rule *d, const struct tpi_lane *lane)
{
    struct tpi_moment m;
    const uint8_t *values;
    uint32_t at = 0;
    if (d->by_event) {
        return lane->seen_ms + d->idle_ms;
    }
    if (d->window.type != TPI_WINDOW_SLIDING) {
        return INT64_MAX;
    }
    while (d->window.step_ms > 0 && tpi_recent_next(&lane->past, &at, &m, &values)) {
        if ((m.flags & TPI_RECENT_WAITS) != 0) {
            return m.ms + d->window.step_ms;
        }
    }
    return lane->seen_ms + d->window.length_ms;
}

/* An item stands in the list from the first message on: the next ones need none before it, unless the clock
 * was set back. */
static void wait_for(struct run *x, struct tpi_lane *lane)
{
    int64_t at = tpi_lane_next_ms(x->d, lane);
    if (at < lane->due_ms) {
        lane->due_ms = at;
        tpi_run_wait(x, at);
    }
}

void tpi_run_lane(struct run *x, struct tpi_flow *f)
{
    bool fresh;
    int64_t ms = x->d->by_event ? x->msg->unix_ms : x->msg->received_unix_ms;
    struct tpi_lane *lane = tpi_flow_lane(f, x->key, &fresh);
    struct tpi_packed p;
    if (lane == NULL || tpi_run_pack(x, f, ms, &p) != 0) {
        tpi_run_full(x);
        return;
    }
    if (x->d->by_event) {
        event_message(x, f, lane, &p);
    } else {
        if (lane->past.count > 0 && slides(x) && lane->seen_ms - x->d->window.length_ms > ms) {
            end_sliding(x, f, lane, INT64_MAX / 2); /* the clock was set back */
            tpi_recent_fini(&lane->past, f->alloc, &f->bytes);
        }
        lane->seen_ms = ms;
        take(x, f, lane, &p.m, p.values.ptr);
    }
    wait_for(x, lane);
}

uint32_t tpi_run_lane_due(struct run *x, struct tpi_flow *f, int64_t at_ms, int64_t now_ms)
{
    struct tpi_lane *lane = tpi_map64_get(&f->lanes, x->key);
    uint32_t n = 0;
    if (lane == NULL || lane->due_ms != at_ms) {
        return 0;
    }
    lane->due_ms = INT64_MAX;
    bool over;
    if (x->d->by_event) {
        over = lane->seen_ms + x->d->idle_ms <= now_ms;
        n = over ? go_idle(x, f, lane) : 0;
        over = over && lane->past.count == 0;
    } else {
        n = end_sliding(x, f, lane, now_ms);
        over = tpi_lane_next_ms(x->d, lane) <= now_ms;
    }
    if (over) {
        tpi_flow_drop_lane(f, x->key);
    } else if (!x->d->by_event || lane->high_ms != INT64_MIN) {
        wait_for(x, lane);
    }
    return n;
}
