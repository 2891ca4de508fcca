/* A target at work: fills a batch from the log, hands it over, judges the answer. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "forward/inside.h"

struct tpc_id tpi_forward_msg_id(const struct tpc_id *base, uint32_t partition, uint64_t offset)
{
    struct tpc_id id = *base;
    /* Turns bits over, so ids of one log differ; of other logs they do by the base. Bytes 6 and 8
     * hold version and variant: offsets stay below 2^56, the partition stands before them. */
    for (int i = 0; i < 4; i++) {
        id.b[i] ^= (uint8_t) (partition >> (24 - 8 * i));
    }
    for (int i = 0; i < 7; i++) {
        id.b[9 + i] ^= (uint8_t) (offset >> (48 - 8 * i));
    }
    id.b[6] = (uint8_t) ((id.b[6] & 0x0F) | 0x80);
    id.b[8] = (uint8_t) ((id.b[8] & 0x3F) | 0x80);
    return id;
}

static uint64_t now_ms(const struct fwd_target *t)
{
    return tpi_mono_ms(t->f->env);
}

static uint64_t committed(const struct fwd_target *t, uint32_t partition)
{
    return atomic_load_explicit(&t->committed[partition], memory_order_relaxed);
}

void fwd_note(struct fwd_target *t, const struct tpc_error *err)
{
    pthread_mutex_lock(&t->f->lock);
    t->last = *err;
    t->last_unix_ms = tpi_unix_ms(t->f->env);
    pthread_mutex_unlock(&t->f->lock);
}

static void count(_Atomic uint64_t *own, _Atomic uint64_t *all, uint64_t n)
{
    atomic_fetch_add_explicit(own, n, memory_order_relaxed);
    atomic_fetch_add_explicit(all, n, memory_order_relaxed);
}

void fwd_drop_batch(struct fwd_target *t)
{
    if (t->config->follow != NULL) {
        tpi_follow_clear(t->config->follow);
    }
    for (uint32_t i = 0; i < t->f->host.partitions; i++) {
        t->read_to[i] = committed(t, i);
    }
    t->at = 0;
    t->bad_end = 0;
    t->burying = false;
    t->stamped = false;
    t->gap_from = 0;
    t->gap_to = 0;
}

/* ---- reading ---- */

/* The cursor stands at what is not delivered; a partition without such messages at what was read. */
static void commit(struct fwd_target *t)
{
    struct tpi_forward *f = t->f;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    uint32_t n;
    const struct tpc_msg *msgs = tpi_follow_msgs(t->config->follow, &n);
    memcpy(t->scratch, t->read_to, f->host.partitions * sizeof(t->scratch[0]));
    for (uint32_t i = n; i > t->at; i--) {
        t->scratch[msgs[i - 1].partition] = msgs[i - 1].offset;
    }
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        if (t->scratch[i] > committed(t, i)) {
            atomic_store_explicit(&t->committed[i], t->scratch[i], memory_order_relaxed);
            (void) bus->commit(self, t->cursor, i, t->scratch[i], 0);
            f->moved = true;
        }
    }
}

static void pass_over(struct fwd_target *t, uint32_t partition, uint64_t to)
{
    uint64_t n = to - t->read_to[partition];
    if (t->gap_to ==
        0) { /* a later one in the same turn is counted, the batch tells of the first */
        t->gap_partition = partition;
        t->gap_from = t->read_to[partition];
        t->gap_to = to;
        t->first = partition;
    }
    t->read_to[partition] = to;
    count(&t->counts.gap_records, &t->f->counters.gap_records, n);
    tpi_log(t->f->env, TPC_LOG_WARN, "forward", "%s: %llu records were passed over (partition %u)",
            t->config->name.ptr, (unsigned long long) n, (unsigned) partition);
}

/* Reads on in one partition. *budget: reads that may follow. Returns 0 or an error. */
static int fill_from(struct fwd_target *t, uint32_t partition, uint32_t *budget, bool *did)
{
    struct tpi_forward *f = t->f;
    struct tpi_follow *follow = t->config->follow;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    while (*budget > 0 && !tpi_follow_full(follow) &&
           t->read_to[partition] < f->host.end(f->host.user, partition)) {
        uint64_t next = t->read_to[partition];
        uint32_t held;
        (void) tpi_follow_msgs(follow, &held);
        int rc = tpi_follow_read(follow, bus, self, partition, next, TPC_READ_FLUSHED, &next);
        if (rc == TPC_EGAP && held > 0) {
            return rc; /* first goes what it holds */
        }
        if (rc == TPC_EGAP) {
            pass_over(t, partition, next);
        } else if (rc != 0 && rc != TPC_ENOMEM) {
            return rc;
        } else if (next == t->read_to[partition]) {
            return rc;
        }
        t->read_to[partition] = next;
        *did = true;
        *budget -= 1;
        if (rc == TPC_ENOMEM) {
            return rc;
        }
    }
    return 0;
}

/* The log keeps less than the cursor's bounds let wait: it was moved. */
static void look_for_lift(struct fwd_target *t)
{
    struct tpi_forward *f = t->f;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        uint64_t at = 0;
        if (t->read_to[i] < f->host.end(f->host.user, i) &&
            bus->cursor_position(self, t->cursor, i, &at) == 0 && at > t->read_to[i]) {
            pass_over(t, i, at);
        }
    }
}

static bool fill(struct fwd_target *t)
{
    struct tpi_forward *f = t->f;
    uint32_t budget = FWD_CHUNKS;
    uint32_t before;
    uint32_t after;
    bool did = false;
    int rc = 0;
    const struct tpc_msg *msgs = tpi_follow_msgs(t->config->follow, &before);
    if (before == 0) {
        look_for_lift(t);
    }
    for (uint32_t i = 0; rc == 0 && i < f->host.partitions; i++) {
        rc = fill_from(t, (t->first + i) % f->host.partitions, &budget, &did);
    }
    (void) tpi_follow_msgs(t->config->follow, &after);
    if (after > before) {
        t->stamped = false;
    }
    if (before == 0 && after > 0) {
        t->filled_ms = now_ms(t);
        t->first = (msgs[after - 1].partition + 1) % f->host.partitions;
    }
    if (after == 0) {
        t->gap_to = 0; /* nobody was to have what was passed over, or it comes without a word */
    }
    if (rc != 0 && rc != TPC_EGAP && after == 0) {
        t->due_ms = now_ms(t) + FWD_LATER_MS;
        did = false;
    }
    if (did) {
        commit(t);
    }
    return did;
}

static void stamp(struct fwd_target *t, struct tpc_msg *msgs, uint32_t n)
{
    static const struct tpc_id none;
    for (uint32_t i = 0; !t->stamped && i < n; i++) {
        if (memcmp(&msgs[i].id, &none, sizeof(none)) == 0) {
            msgs[i].id = tpi_forward_msg_id(&t->f->id_base, msgs[i].partition, msgs[i].offset);
        }
    }
    t->stamped = true;
}

/* ---- answers ---- */

static bool is_fix(int code)
{
    return tpc_error_class(code) == TPC_CLASS_FIX && code != TPC_EDENIED &&
           code != TPC_EUNSUPPORTED && code != TPC_ESTATE && code != TPC_ECANCELED;
}

static void pause_target(struct fwd_target *t, const struct tpc_error *err)
{
    const struct fwd_config *c = t->config;
    uint64_t delay = c->retry_max_ms;
    uint16_t r = 0;
    if (tpc_error_class(err->code) == TPC_CLASS_RETRY) {
        uint32_t shift = t->attempts < 30 ? t->attempts : 30;
        uint64_t grown = c->retry_min_ms << shift;
        delay = grown < delay ? grown : delay;
    }
    /* Jitter: from half of it to all of it, so that targets do not come back together. */
    (void) tpi_random(t->f->env, &r, sizeof(r));
    delay = delay / 2 + (delay - delay / 2) * r / UINT16_MAX;
    t->attempts++;
    t->due_ms = now_ms(t) + (delay > 0 ? delay : 1);
    atomic_store(&t->state, TPC_FORWARD_RETRYING);
    count(&t->counts.retried, &t->f->counters.retried, 1);
    if (!t->failing) {
        tpi_log(t->f->env, TPC_LOG_WARN, "forward", "%s: %s (%s); it is tried again", c->name.ptr,
                err->text, tpc_error_name(err->code));
    }
    t->failing = true;
}

static void advance(struct fwd_target *t, uint32_t n)
{
    uint32_t all;
    (void) tpi_follow_msgs(t->config->follow, &all);
    t->at += n;
    t->gap_to = 0;
    t->attempts = 0;
    t->due_ms = 0;
    if (t->at >= t->bad_end) {
        t->bad_end = 0;
    }
    commit(t);
    if (t->at >= all) {
        tpi_follow_clear(t->config->follow);
        t->at = 0;
        t->bad_end = 0;
    }
}

/* One message that the other side refuses, and will refuse again. */
static void bury(struct fwd_target *t, const struct tpc_error *why)
{
    struct tpc_error err = { .size = sizeof(err) };
    uint32_t n;
    const struct tpc_msg *msgs = tpi_follow_msgs(t->config->follow, &n);
    t->burying = fwd_bury(t, &msgs[t->at], why, &err) != 0;
    if (t->burying) { /* the letter first: nothing may be lost */
        t->due_ms = now_ms(t) + FWD_LATER_MS;
        return;
    }
    count(&t->counts.dead, &t->f->counters.dead, 1);
    tpi_log(t->f->env, TPC_LOG_WARN, "forward", "%s: a message of %.*s is a dead letter: %s (%s)",
            t->config->name.ptr, (int) msgs[t->at].device.len,
            msgs[t->at].device.len > 0 ? msgs[t->at].device.ptr : "", why->text,
            tpc_error_name(why->code));
    t->bad_end = 0; /* the rest may be good: one try tells */
    advance(t, 1);
}

static void judge(struct fwd_target *t, const struct tpc_error *err)
{
    atomic_store(&t->state, TPC_FORWARD_READY);
    if (err->code == 0) {
        if (t->failing) {
            tpi_log(t->f->env, TPC_LOG_INFO, "forward", "%s: delivers again", t->config->name.ptr);
        }
        t->failing = false;
        count(&t->counts.sent, &t->f->counters.sent, t->trying);
        atomic_fetch_add_explicit(&t->f->counters.batches, 1, memory_order_relaxed);
        advance(t, t->trying);
        return;
    }
    fwd_note(t, err);
    if (!is_fix(err->code)) {
        pause_target(t, err);
        return;
    }
    count(&t->counts.refused, &t->f->counters.refused, 1);
    t->attempts = 0;
    if (t->trying == 1) {
        bury(t, err);
    } else {
        t->bad_end = t->at + t->trying;
    }
}

bool fwd_judge_answer(struct fwd_target *t)
{
    if (!t->in_flight || !atomic_load_explicit(&t->answered, memory_order_acquire)) {
        return false;
    }
    pthread_mutex_lock(&t->f->lock);
    struct tpc_error answer = t->answer;
    t->ticket = 0;
    t->in_flight = false;
    atomic_store(&t->answered, false);
    pthread_mutex_unlock(&t->f->lock);
    judge(t, &answer);
    return true;
}

/* ---- sending ---- */

static double capacity(const struct fwd_config *c)
{
    return c->limit < 1 ? 1 : c->limit;
}

/* How many of n messages the rate lets go now; 0: token_due_ms says when. */
static uint32_t allowed(struct fwd_target *t, uint32_t n)
{
    const struct fwd_config *c = t->config;
    uint64_t now = now_ms(t);
    if (c->limit <= 0) {
        return n;
    }
    double most = capacity(c);
    double more = t->tokens_ms == 0 ? most : (double) (now - t->tokens_ms) * c->limit / 1000;
    t->tokens = t->tokens + more < most ? t->tokens + more : most;
    t->tokens_ms = now;
    n = (double) n > most ? (uint32_t) most : n;
    if (t->tokens + 1e-9 < (double) n) {
        double wait = ((double) n - t->tokens) * 1000 / c->limit;
        t->token_due_ms = now + (uint64_t) wait + 1;
        return 0;
    }
    t->tokens -= (double) n;
    return n;
}

static void send(struct fwd_target *t, struct tpc_msg *msgs, uint32_t n)
{
    struct tpi_forward *f = t->f;
    const struct fwd_config *c = t->config;
    bool gap = t->gap_to > 0 && msgs[t->at].partition == t->gap_partition;
    t->trying = n;
    t->batch = (struct tpc_batch){ .size = sizeof(t->batch),
                                   .count = n,
                                   .msg_size = sizeof(msgs[0]),
                                   .msgs = msgs + t->at,
                                   .gap_from = gap ? t->gap_from : 0,
                                   .gap_to = gap ? t->gap_to : 0 };
    pthread_mutex_lock(&f->lock);
    uint64_t ticket = ++f->tickets << FWD_TICKET_BITS | t->slot;
    t->ticket = ticket;
    t->in_flight = true;
    pthread_mutex_unlock(&f->lock);
    atomic_store(&t->state, TPC_FORWARD_SENDING);
    const struct tpc_error *last = f->host.fail(f->host.user);
    int rc = c->ops->send(c->self, c->target, &t->batch, ticket);
    if (rc == 0) {
        return;
    }
    struct tpc_error err = *last;
    if (err.code != rc) {
        err = (struct tpc_error){ .size = sizeof(err) };
        tpi_error_set(&err, rc, "forward", "the sink does not take it now");
    }
    pthread_mutex_lock(&f->lock);
    t->ticket = 0;
    t->in_flight = false;
    atomic_store(&t->answered, false);
    pthread_mutex_unlock(&f->lock);
    judge(t, &err);
}

/* A batch that is not full waits for more, but not for ever. */
static bool batch_due(const struct fwd_target *t, uint64_t now)
{
    const struct fwd_config *c = t->config;
    return c->wait_ms == 0 || t->at > 0 || t->bad_end > 0 || t->gap_to > 0 ||
           tpi_follow_full(c->follow) || now - t->filled_ms >= c->wait_ms;
}

static bool try_send(struct fwd_target *t)
{
    uint32_t n;
    struct tpc_msg *msgs = tpi_follow_msgs(t->config->follow, &n);
    uint64_t now = now_ms(t);
    if (t->burying) {
        pthread_mutex_lock(&t->f->lock);
        struct tpc_error why = t->last;
        pthread_mutex_unlock(&t->f->lock);
        bury(t, &why);
        return !t->burying;
    }
    if (n == t->at || !batch_due(t, now) || (t->token_due_ms > now)) {
        return false;
    }
    uint32_t want = n - t->at;
    if (t->bad_end > t->at) {
        want = (t->bad_end - t->at) / 2;
        want = want > 0 ? want : 1;
    }
    want = allowed(t, want);
    if (want == 0) {
        return false;
    }
    t->token_due_ms = 0;
    stamp(t, msgs, n);
    send(t, msgs, want);
    return true;
}

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
    pause_target(t, &err);
    atomic_store(&t->state, TPC_FORWARD_WAITING);
    return false;
}

bool fwd_work(struct fwd_target *t)
{
    struct fwd_config *c = t->config;
    uint32_t held;
    bool did = fwd_judge_answer(t);
    if (t->in_flight || !c->enabled || !c->resolved || now_ms(t) < t->due_ms) {
        return did;
    }
    if (!c->opened || !t->cursor_open) {
        return open_target(t) || did;
    }
    if (atomic_load(&t->state) != TPC_FORWARD_READY) {
        atomic_store(&t->state, TPC_FORWARD_READY);
        fwd_count_targets(t->f);
    }
    /* A batch that was sent comes again as it was. */
    (void) tpi_follow_msgs(c->follow, &held);
    if (t->at == 0 && t->bad_end == 0 && (held == 0 || !t->stamped) && !t->burying &&
        !tpi_follow_full(c->follow)) {
        did |= fill(t);
    }
    if (now_ms(t) < t->due_ms) {
        return did;
    }
    return try_send(t) || did;
}

uint64_t fwd_due_ms(const struct fwd_target *t, uint64_t now)
{
    const struct fwd_config *c = t->config;
    uint32_t n = 0;
    if (t->in_flight || !c->enabled || !c->resolved) {
        return UINT64_MAX;
    }
    if (t->due_ms > now) {
        return t->due_ms - now;
    }
    if (c->follow != NULL) {
        (void) tpi_follow_msgs(c->follow, &n);
    }
    if (n == t->at) {
        return UINT64_MAX;
    }
    if (t->token_due_ms > now) {
        return t->token_due_ms - now;
    }
    uint64_t due = t->filled_ms + c->wait_ms;
    return due > now ? due - now : 0;
}
