/* Rates: what a target may send, and what comes into the log. */
#include <string.h>

#include "forward/inside.h"

enum { WAIT_MAX_MS = 3600000 }; /* then the rate is looked at again */

/* ---- what a target may send ---- */

static double capacity(double limit)
{
    return limit < 1 ? 1 : limit;
}

static void refill(struct fwd_bucket *b, double limit, uint64_t now)
{
    double most = capacity(limit);
    double more = b->at_ms == 0 ? most : (double) (now - b->at_ms) * limit / 1000;
    b->tokens = b->tokens + more < most ? b->tokens + more : most;
    b->at_ms = now;
}

/* A message without points counts as one. */
static double points_of(const struct tpc_msg *m)
{
    return m->point_count > 0 ? m->point_count : 1;
}

/* How many messages from the first on have together no more points than fit; at least one. */
static uint32_t by_points(const struct tpc_msg *msgs, uint32_t n, double most, double *ret_sum)
{
    double sum = points_of(&msgs[0]);
    uint32_t i = 1;
    while (i < n && sum + points_of(&msgs[i]) <= most) {
        sum += points_of(&msgs[i++]);
    }
    *ret_sum = sum;
    return i;
}

/* Until there are as many, in ms; 0 = now. */
static double wait_for(const struct fwd_bucket *b, double limit, double want)
{
    double most = capacity(limit);
    want = want < most ? want : most; /* what is larger than a second's worth goes into debt */
    return b->tokens + 1e-9 < want ? (want - b->tokens) * 1000 / limit : 0;
}

uint32_t fwd_allowed(struct fwd_target *t, const struct tpc_msg *msgs, uint32_t n)
{
    const struct fwd_config *c = t->config;
    uint64_t now = fwd_now_ms(t);
    double points = 0;
    double wait = 0;
    if (c->limit <= 0 && c->limit_points <= 0) {
        return n;
    }
    if (c->limit > 0) {
        refill(&t->messages, c->limit, now);
        n = (double) n > capacity(c->limit) ? (uint32_t) capacity(c->limit) : n;
    }
    if (c->limit_points > 0) {
        refill(&t->points, c->limit_points, now);
        n = by_points(msgs, n, capacity(c->limit_points), &points);
        wait = wait_for(&t->points, c->limit_points, points);
    }
    if (c->limit > 0) {
        double other = wait_for(&t->messages, c->limit, n);
        wait = other > wait ? other : wait;
    }
    if (wait > 0) {
        wait = wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS; /* a limit may be next to nothing */
        t->token_due_ms = now + (uint64_t) wait + 1;
        return 0;
    }
    t->messages.tokens -= c->limit > 0 ? (double) n : 0;
    t->points.tokens -= points;
    return n;
}

/* ---- what comes into the log ---- */

static void sample_size(struct tpi_forward *f, const struct tpc_bus_ops *bus, void *self)
{
    struct fwd_sample *s = &f->sample;
    struct tpc_bus_info info;
    uint64_t records = 0;
    memset(&info, 0, sizeof(info));
    info.size = sizeof(info);
    if (bus->info(self, &info) != 0) {
        return;
    }
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        uint64_t first, end;
        records += bus->range(self, i, &first, &end) == 0 ? end - first : 0;
    }
    if (records > 0) {
        uint64_t mean = info.bytes / records;
        atomic_store_explicit(&s->mean_bytes, mean > 0 ? mean : 1, memory_order_relaxed);
    }
    atomic_store_explicit(&s->log_bytes, info.max_bytes, memory_order_relaxed);
    atomic_store_explicit(&s->log_age_ms, info.max_age_ms, memory_order_relaxed);
}

void fwd_sample(struct tpi_forward *f)
{
    struct fwd_sample *s = &f->sample;
    uint64_t now = tpi_mono_ms(f->env);
    void *self;
    if (s->at_ms != 0 && now - s->at_ms < FWD_SAMPLE_MS) {
        return;
    }
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    uint64_t ends = 0;
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        ends += f->host.end(f->host.user, i);
    }
    if (s->at_ms != 0) {
        /* Means of about half a minute: an hour's estimate must not jump with each batch. */
        double ms = (double) (now - s->at_ms);
        double rate = (double) (ends - s->ends) * 1e6 / ms;
        double old = (double) atomic_load_explicit(&s->milli_rate, memory_order_relaxed);
        double part = ms / (ms + 30000);
        rate = old <= 0 ? rate : old + (rate - old) * part;
        atomic_store_explicit(&s->milli_rate, (uint64_t) rate, memory_order_relaxed);
    }
    s->at_ms = now;
    s->ends = ends;
    if (bus != NULL) {
        sample_size(f, bus, self);
    }
}

/* ---- what of it survives ---- */

void fwd_look_safe(struct tpi_forward *f)
{
    struct fwd_safe *s = &f->safe;
    size_t bytes = f->host.partitions * sizeof(s->ends[0]);
    struct tpc_bus_info info;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    memset(&info, 0, sizeof(info));
    info.size = sizeof(info);
    if (bus == NULL || bus->info(self, &info) != 0) {
        return;
    }
    if (s->waits && info.flushed_sequence >= s->sequence) {
        memcpy(s->ends, s->next, bytes);
        s->waits = false;
    }
    if (s->waits) {
        return;
    }
    /* The ends first: what they count has no sequence beyond the one that is read behind them. */
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        s->next[i] = f->host.end(f->host.user, i);
    }
    if (bus->info(self, &info) != 0) {
        return;
    }
    s->sequence = info.appended_sequence;
    s->waits = info.flushed_sequence < s->sequence;
    if (!s->waits) {
        memcpy(s->ends, s->next, bytes);
    }
}
