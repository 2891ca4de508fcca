/* A target at work: hands batches over, judges the answers. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "forward/inside.h"

/* ---- answers ---- */

static bool is_fix(int code)
{
    return tpc_error_class(code) == TPC_CLASS_FIX && code != TPC_EDENIED &&
           code != TPC_EUNSUPPORTED && code != TPC_ESTATE && code != TPC_ECANCELED;
}

/* Jitter: from half of it to all of it, so that targets do not come back together. */
static uint64_t jitter(const struct fwd_target *t, uint64_t delay)
{
    uint16_t r = 0;
    (void) tpi_random(t->f->env, &r, sizeof(r));
    delay = delay / 2 + (delay - delay / 2) * r / UINT16_MAX;
    return delay > 0 ? delay : 1;
}

/* The pause after a failure, in ms. */
static uint64_t pause_ms(const struct fwd_target *t, const struct tpc_error *err, uint32_t attempts)
{
    const struct fwd_config *c = t->config;
    uint64_t delay = c->retry_max_ms;
    if (tpc_error_class(err->code) == TPC_CLASS_RETRY) {
        uint64_t grown = c->retry_min_ms << (attempts < 30 ? attempts : 30);
        delay = grown < delay ? grown : delay;
    }
    return jitter(t, delay);
}

static void say_failing(struct fwd_target *t, const struct tpc_error *err)
{
    fwd_count(&t->counts.retried, &t->f->counters.retried, 1);
    if (!t->failing) {
        tpi_log(t->f->env, TPC_LOG_WARN, "forward", "%s: %s (%s); it is tried again",
                t->config->name.ptr, err->text, tpc_error_name(err->code));
    }
    t->failing = true;
}

static void pause_lane(struct fwd_lane *l, const struct tpc_error *err)
{
    struct fwd_target *t = l->t;
    uint64_t now = fwd_now_ms(t);
    l->due_ms = now + pause_ms(t, err, l->attempts++);
    l->soon_ms = 0;
    if (tpc_error_class(err->code) == TPC_CLASS_RETRY) {
        l->soon_ms = now + jitter(t, t->config->retry_min_ms);
    }
    say_failing(t, err);
}

/* The other side is there: what waits for it does so no longer than after a first failure. */
static void wake_others(struct fwd_target *t)
{
    for (uint32_t i = 0; i < t->config->lane_count; i++) {
        struct fwd_lane *l = &t->config->lanes[i];
        if (l->soon_ms > 0 && l->soon_ms < l->due_ms) {
            l->due_ms = l->soon_ms;
        }
    }
}

static void succeed(struct fwd_lane *l)
{
    struct fwd_target *t = l->t;
    if (t->failing) {
        tpi_log(t->f->env, TPC_LOG_INFO, "forward", "%s: delivers again", t->config->name.ptr);
    }
    t->failing = false;
    fwd_count(&t->counts.sent, &t->f->counters.sent, l->trying);
    atomic_fetch_add_explicit(&t->f->counters.batches, 1, memory_order_relaxed);
    fwd_lane_advance(l, l->trying);
    wake_others(t);
}

static void judge(struct fwd_lane *l, const struct tpc_error *err)
{
    struct fwd_target *t = l->t;
    if (err->code == 0) {
        succeed(l);
        return;
    }
    fwd_note(t, err);
    if (!is_fix(err->code)) {
        pause_lane(l, err);
        return;
    }
    fwd_count(&t->counts.refused, &t->f->counters.refused, 1);
    l->attempts = 0;
    if (l->trying == 1) {
        l->why = *err;
        fwd_lane_bury(l);
    } else {
        l->bad_end = l->at + l->trying;
    }
}

bool fwd_judge_answers(struct fwd_target *t)
{
    bool any = false;
    for (uint32_t i = 0; t->config != NULL && i < t->config->lane_count; i++) {
        struct fwd_lane *l = &t->config->lanes[i];
        if (!l->in_flight || !atomic_load_explicit(&l->answered, memory_order_acquire)) {
            continue;
        }
        pthread_mutex_lock(&t->f->lock);
        struct tpc_error answer = l->answer;
        l->ticket = 0;
        l->in_flight = false;
        atomic_store(&l->answered, false);
        pthread_mutex_unlock(&t->f->lock);
        judge(l, &answer);
        any = true;
    }
    return any;
}

/* ---- sending ---- */

static uint64_t take_ticket(struct fwd_lane *l)
{
    struct tpi_forward *f = l->t->f;
    pthread_mutex_lock(&f->lock);
    uint64_t ticket = (++f->tickets << FWD_LANE_BITS | l->number) << FWD_SLOT_BITS | l->t->slot;
    l->ticket = ticket;
    l->in_flight = true;
    pthread_mutex_unlock(&f->lock);
    return ticket;
}

static void hand_over(struct fwd_lane *l, struct tpc_msg *msgs, uint32_t n)
{
    struct fwd_target *t = l->t;
    struct tpi_forward *f = t->f;
    const struct fwd_config *c = t->config;
    const struct fwd_gap *gap = &t->gaps[msgs[l->at].partition];
    l->trying = n;
    l->batch = (struct tpc_batch){ .size = sizeof(l->batch),
                                   .count = n,
                                   .msg_size = sizeof(msgs[0]),
                                   .msgs = msgs + l->at,
                                   .gap_from = gap->to > 0 ? gap->from : 0,
                                   .gap_to = gap->to };
    uint64_t ticket = take_ticket(l);
    const struct tpc_error *last = f->host.fail(f->host.user);
    int rc = c->ops->send(c->self, c->target, &l->batch, ticket);
    if (rc == 0) {
        return;
    }
    struct tpc_error err = *last;
    if (err.code != rc) {
        err = (struct tpc_error){ .size = sizeof(err) };
        tpi_error_set(&err, rc, "forward", "the sink does not take it now");
    }
    pthread_mutex_lock(&f->lock);
    l->ticket = 0;
    l->in_flight = false;
    atomic_store(&l->answered, false);
    pthread_mutex_unlock(&f->lock);
    judge(l, &err);
}

/* Ids are made once the batch is closed. */
static void stamp(struct fwd_lane *l, struct tpc_msg *msgs, uint32_t n)
{
    static const struct tpc_id none;
    for (uint32_t i = l->at; l->out == NULL && !l->begun && i < n; i++) {
        if (memcmp(&msgs[i].id, &none, sizeof(none)) == 0) {
            msgs[i].id = tpi_forward_msg_id(&l->t->f->id_base, msgs[i].partition, msgs[i].offset);
        }
    }
    l->begun = true;
}

/* A batch that is not full waits for more, but not for ever. */
static bool batch_due(struct fwd_lane *l, uint64_t now)
{
    const struct fwd_config *c = l->t->config;
    return c->wait_ms == 0 || l->begun || fwd_lane_full(l) || now - l->filled_ms >= c->wait_ms;
}

static bool try_send(struct fwd_lane *l)
{
    struct fwd_target *t = l->t;
    uint32_t n;
    if (l->burying) {
        fwd_lane_bury(l);
        return !l->burying;
    }
    if (fwd_lane_shape(l) != 0) {
        return false;
    }
    struct tpc_msg *msgs = fwd_lane_msgs(l, &n);
    uint64_t now = fwd_now_ms(t);
    if (n == l->at || !batch_due(l, now) || t->token_due_ms > now) {
        return false;
    }
    uint32_t want = n - l->at;
    if (l->bad_end > l->at) {
        want = (l->bad_end - l->at) / 2;
        want = want > 0 ? want : 1;
    }
    want = fwd_allowed(t, msgs + l->at, want);
    if (want == 0) {
        return false;
    }
    t->token_due_ms = 0;
    stamp(l, msgs, n);
    hand_over(l, msgs, want);
    return true;
}

/* ---- a target's turn ---- */

static bool open_target(struct fwd_target *t)
{
    struct tpi_forward *f = t->f;
    struct tpc_error err = { .size = sizeof(err) };
    int rc = fwd_cursor_open(t, t->config, &err);
    rc = rc != 0 ? rc : fwd_config_open(f, t->config, &err);
    if (rc == 0) {
        atomic_store(&t->state, TPC_FORWARD_READY);
        t->attempts = 0;
        fwd_count_targets(f);
        return true;
    }
    fwd_note(t, &err);
    t->due_ms = fwd_now_ms(t) + pause_ms(t, &err, t->attempts++);
    say_failing(t, &err);
    atomic_store(&t->state, TPC_FORWARD_WAITING);
    return false;
}

static void tell_state(struct fwd_target *t)
{
    bool retrying = false;
    for (uint32_t i = 0; i < t->config->lane_count; i++) {
        retrying |= t->config->lanes[i].attempts > 0;
    }
    int now = fwd_in_flight(t) ? TPC_FORWARD_SENDING
              : retrying       ? TPC_FORWARD_RETRYING
                               : TPC_FORWARD_READY;
    if (atomic_exchange(&t->state, now) < TPC_FORWARD_READY) {
        fwd_count_targets(t->f); /* it waited */
    }
}

/* Batches that were begun: the rest of them, or once more. */
static bool go_on(struct fwd_target *t)
{
    bool did = false;
    for (uint32_t i = 0; i < t->config->lane_count; i++) {
        struct fwd_lane *l = &t->config->lanes[i];
        if (!l->in_flight && l->begun && fwd_now_ms(t) >= l->due_ms) {
            did |= try_send(l);
        }
    }
    return did;
}

/* The lane that is being filled, else a free one; NULL = none. */
static struct fwd_lane *next_lane(struct fwd_target *t)
{
    struct fwd_lane *free_lane = NULL;
    bool busy = false;
    for (uint32_t i = 0; i < t->config->lane_count; i++) {
        struct fwd_lane *l = &t->config->lanes[i];
        if (!fwd_lane_busy(l)) {
            free_lane = free_lane != NULL ? free_lane : l;
        } else if (!l->begun) {
            return l;
        } else {
            busy = true;
        }
    }
    /* While the other side is down, no more is tried than was already. */
    return t->failing && busy ? NULL : free_lane;
}

static bool begin_batches(struct fwd_target *t)
{
    bool did = false;
    for (uint32_t i = 0; i < t->config->lane_count; i++) {
        struct fwd_lane *l = next_lane(t);
        if (l == NULL || fwd_now_ms(t) < l->due_ms) {
            break;
        }
        if (!fwd_lane_full(l)) {
            did |= fwd_lane_fill(l);
        }
        if (fwd_now_ms(t) < t->due_ms || !try_send(l)) {
            break;
        }
        did = true;
    }
    return did;
}

bool fwd_work(struct fwd_target *t)
{
    const struct fwd_config *c = t->config;
    if (t->draining || !c->enabled || !c->resolved || fwd_now_ms(t) < t->due_ms) {
        return false;
    }
    if (!c->opened || !t->cursor_open) {
        return open_target(t);
    }
    bool did = go_on(t);
    did |= begin_batches(t);
    tell_state(t);
    return did;
}

/* What was not due yet when the last turn began may be due by now. */
static uint64_t until(uint64_t at, uint64_t now)
{
    return at > now ? at - now : 0;
}

static uint64_t lane_due_ms(const struct fwd_target *t, struct fwd_lane *l, uint64_t now)
{
    uint64_t turned = t->f->turned_ms;
    uint32_t n, all;
    (void) fwd_lane_msgs(l, &n);
    (void) tpi_follow_msgs(l->follow, &all);
    if (l->in_flight || (n == l->at && !l->burying && (l->out == NULL || l->shaped == all))) {
        return UINT64_MAX;
    }
    if (l->due_ms > turned) {
        return until(l->due_ms, now);
    }
    if (t->token_due_ms > turned) {
        return until(t->token_due_ms, now);
    }
    return l->begun || fwd_lane_full(l) ? 0 : until(l->filled_ms + t->config->wait_ms, now);
}

uint64_t fwd_due_ms(const struct fwd_target *t, uint64_t now)
{
    const struct fwd_config *c = t->config;
    uint64_t next = UINT64_MAX;
    if (t->draining || !c->enabled || !c->resolved) {
        return next;
    }
    if (t->due_ms > t->f->turned_ms) {
        return until(t->due_ms, now);
    }
    for (uint32_t i = 0; i < c->lane_count; i++) {
        uint64_t due = lane_due_ms(t, &c->lanes[i], now);
        next = due < next ? due : next;
    }
    return next;
}
