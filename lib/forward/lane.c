/* Batches of a target: how they are read from the log, and let go. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "forward/inside.h"

/* Kinds that targets of kind forward never get: a letter about what one refused would come back to
 * it, notifications are the handlers'. */
#define NOT_FORWARDED (1ull << TPC_MSG_DEAD_LETTER | 1ull << TPC_MSG_NOTIFY)

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

void fwd_note(struct fwd_target *t, const struct tpc_error *err)
{
    pthread_mutex_lock(&t->f->lock);
    t->last = *err;
    t->last_unix_ms = tpi_unix_ms(t->f->env);
    pthread_mutex_unlock(&t->f->lock);
}

void fwd_count(_Atomic uint64_t *own, _Atomic uint64_t *all, uint64_t n)
{
    atomic_fetch_add_explicit(own, n, memory_order_relaxed);
    atomic_fetch_add_explicit(all, n, memory_order_relaxed);
}

/* ---- life ---- */

/* As many as the target asks for, its sink takes and there are partitions. */
static uint32_t lane_count(const struct tpi_forward *f, const struct fwd_config *c)
{
    const struct tpc_sink_ops *ops = c->ops;
    uint32_t most = 1;
    if (ops != NULL && ops->iface.size >= offsetof(struct tpc_sink_ops, max_in_flight) +
                                              sizeof(ops->max_in_flight)) {
        most = ops->max_in_flight > 1 ? ops->max_in_flight : 1;
    }
    most = most < FWD_LANES ? most : FWD_LANES;
    most = most < f->host.partitions ? most : f->host.partitions;
    return c->window < most ? c->window : most;
}

static int lane_init(struct tpi_forward *f, struct fwd_config *c, struct fwd_lane *l)
{
    struct tpi_follow_options o = { .env = f->env,
                                    .registry = f->host.registry,
                                    .clock = f->host.clock,
                                    .hold = true,
                                    .filters = c->filters,
                                    .filter_count = c->filter_count,
                                    .notify_tenant = c->tenant,
                                    .notify_name =
                                        c->handler ? c->key : (struct tpc_str){ NULL, 0 },
                                    .no_kinds = c->handler ? 0 : NOT_FORWARDED,
                                    .batch = c->batch_count,
                                    .chunk = FWD_CHUNK,
                                    .bytes = (size_t) c->batch_bytes,
                                    .wanted =
                                        c->where != NULL || c->keep != NULL ? fwd_wanted : NULL,
                                    .wanted_user = c,
                                    .unreadable = &f->counters.unreadable };
    int rc = tpi_follow_create(&o, &l->follow);
    if (rc != 0 || c->shape == NULL) {
        return rc;
    }
    l->out = tpi_alloc_array(c->alloc, c->batch_count + FWD_LIST, sizeof(l->out[0]));
    return l->out == NULL ? TPC_ENOMEM : tpc_arena_create(c->alloc, FWD_ARENA_BYTES, &l->arena);
}

int fwd_lanes_create(struct tpi_forward *f, struct fwd_config *c)
{
    uint32_t n = lane_count(f, c);
    c->lanes = tpi_alloc_array(c->alloc, n, sizeof(c->lanes[0]));
    if (c->lanes == NULL) {
        return TPC_ENOMEM;
    }
    c->lane_count = n;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        c->lanes[i].number = i;
        rc = lane_init(f, c, &c->lanes[i]);
    }
    return rc;
}

void fwd_lanes_destroy(struct fwd_config *c)
{
    for (uint32_t i = 0; i < c->lane_count; i++) {
        struct fwd_lane *l = &c->lanes[i];
        tpi_follow_destroy(l->follow);
        tpc_arena_destroy(l->arena);
        if (l->out != NULL) {
            tpi_free(c->alloc, l->out, (c->batch_count + FWD_LIST) * sizeof(l->out[0]));
        }
    }
    if (c->lanes != NULL) {
        tpi_free(c->alloc, c->lanes, c->lane_count * sizeof(c->lanes[0]));
    }
}

bool fwd_in_flight(const struct fwd_target *t)
{
    bool any = false;
    for (uint32_t i = 0; t->config != NULL && i < t->config->lane_count; i++) {
        any |= t->config->lanes[i].in_flight;
    }
    return any;
}

/* ---- what it holds ---- */

struct tpc_msg *fwd_lane_msgs(struct fwd_lane *l, uint32_t *ret_count)
{
    if (l->out != NULL) {
        *ret_count = l->out_count;
        return l->out;
    }
    return tpi_follow_msgs(l->follow, ret_count);
}

bool fwd_lane_full(struct fwd_lane *l)
{
    return tpi_follow_full(l->follow) ||
           (l->out != NULL && l->out_count >= l->t->config->batch_count);
}

static void count_held(struct fwd_lane *l)
{
    struct fwd_target *t = l->t;
    size_t now = tpi_follow_bytes(l->follow);
    fwd_count(&t->counts.held_bytes, &t->f->counters.held_bytes, now - l->held_bytes);
    l->held_bytes = now; /* what was added wraps where it is less */
    if (now == 0) {
        atomic_store_explicit(&l->oldest_ms, 0, memory_order_relaxed);
    }
}

/* again: what it holds will be read once more. */
static void clear(struct fwd_lane *l, bool again)
{
    struct fwd_target *t = l->t;
    tpi_follow_clear(l->follow);
    if (l->arena != NULL) {
        tpc_arena_reset(l->arena);
    }
    l->out_count = 0;
    l->shaped = 0;
    l->at = 0;
    l->bad_end = 0;
    l->begun = false;
    l->burying = false;
    for (uint32_t i = 0; i < t->f->host.partitions; i++) {
        if (t->owner[i] == l->number + 1) {
            t->owner[i] = 0;
            fwd_keep_let_go(t->config, i, again);
        }
    }
    fwd_keep_count(t);
    count_held(l);
}

void fwd_drop_batches(struct fwd_target *t)
{
    struct fwd_config *c = t->config;
    for (uint32_t i = 0; i < c->lane_count; i++) {
        struct fwd_lane *l = &c->lanes[i];
        l->t = t;
        clear(l, true);
        l->attempts = 0;
        l->due_ms = 0;
        l->soon_ms = 0;
    }
    memset(t->owner, 0, t->f->host.partitions * sizeof(t->owner[0]));
    for (uint32_t i = 0; i < t->f->host.partitions; i++) {
        t->read_to[i] = fwd_committed(t, i);
        if (t->gaps[i].to > t->read_to[i]) {
            t->gaps[i].to = 0; /* it will be passed over again */
        }
    }
}

/* The cursor stands at what is not delivered; a partition without such messages at what was read. */
static void commit(struct fwd_lane *l)
{
    struct fwd_target *t = l->t;
    struct tpi_forward *f = t->f;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    uint32_t n, ready;
    const struct tpc_msg *msgs = tpi_follow_msgs(l->follow, &n);
    const struct tpc_msg *out = fwd_lane_msgs(l, &ready);
    memcpy(t->scratch, t->read_to, f->host.partitions * sizeof(t->scratch[0]));
    for (uint32_t i = n; l->out != NULL && i > l->shaped; i--) {
        t->scratch[msgs[i - 1].partition] = msgs[i - 1].offset;
    }
    for (uint32_t i = ready; i > l->at; i--) {
        t->scratch[out[i - 1].partition] = out[i - 1].offset;
    }
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        bool ours = t->owner[i] == 0 || t->owner[i] == l->number + 1;
        if (ours && t->scratch[i] > fwd_committed(t, i)) {
            atomic_store_explicit(&t->committed[i], t->scratch[i], memory_order_relaxed);
            (void) bus->commit(self, t->cursor, i, t->scratch[i], 0);
            f->moved = true;
        }
    }
}

void fwd_lane_advance(struct fwd_lane *l, uint32_t n)
{
    uint32_t ready, all;
    (void) tpi_follow_msgs(l->follow, &all);
    const struct tpc_msg *msgs = fwd_lane_msgs(l, &ready);
    if (n > 0) {
        l->t->gaps[msgs[l->at].partition].to = 0; /* it was told */
    }
    l->at += n;
    l->attempts = 0;
    l->due_ms = 0;
    l->soon_ms = 0;
    if (l->at >= l->bad_end) {
        l->bad_end = 0;
    }
    commit(l);
    if (l->at < ready) {
        return;
    }
    if (l->out == NULL || l->shaped == all) {
        clear(l, false);
        return;
    }
    l->at = 0; /* the rest of it is transformed next */
    l->bad_end = 0;
    l->out_count = 0;
    tpc_arena_reset(l->arena);
}

void fwd_lane_bury(struct fwd_lane *l)
{
    struct fwd_target *t = l->t;
    struct tpc_error err = { .size = sizeof(err) };
    uint32_t n;
    const struct tpc_msg *m = fwd_lane_msgs(l, &n) + l->at;
    uint32_t partition = m->partition;
    l->burying = fwd_bury(t, m, &l->why, &err) != 0;
    if (l->burying) { /* the letter first: nothing may be lost */
        l->due_ms = fwd_now_ms(t) + FWD_LATER_MS;
        return;
    }
    l->bad_end = 0; /* the rest may be good: one try tells */
    struct fwd_gap untold = t->gaps[partition];
    fwd_lane_advance(l, 1);
    t->gaps[partition] = untold;
}

/* ---- transforming ---- */

/* One message of those that were read. Returns 0 or a code: later. */
static int shape_one(struct fwd_lane *l, const struct tpc_msg *m)
{
    struct fwd_target *t = l->t;
    struct tpc_error why = { .size = sizeof(why) };
    struct tpc_error err = { .size = sizeof(err) };
    uint32_t made = 0;
    int rc = fwd_shape_run(t->config, m, l->arena, &why, l->out + l->out_count, &made);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0) {
        why.code = rc;
        fwd_note(t, &why);
        rc = fwd_bury(t, m, &why, &err);
        return rc;
    }
    static const struct tpc_id none;
    for (uint32_t i = 0; i < made; i++) {
        struct tpc_msg *o = &l->out[l->out_count + i];
        if (memcmp(&o->id, &none, sizeof(none)) == 0) {
            o->id = tpi_forward_msg_id(&t->f->id_base, m->partition, m->offset);
        }
        o->id.b[7] ^= (uint8_t) i; /* those of one message differ; offsets stand elsewhere */
    }
    l->out_count += made;
    return 0;
}

int fwd_lane_shape(struct fwd_lane *l)
{
    uint32_t n;
    const struct tpc_msg *msgs = tpi_follow_msgs(l->follow, &n);
    if (l->out == NULL || l->shaped == n || (l->begun && l->at < l->out_count)) {
        return 0;
    }
    while (l->shaped < n && l->out_count < l->t->config->batch_count) {
        int rc = shape_one(l, &msgs[l->shaped]);
        if (rc != 0) {
            l->due_ms = l->out_count > l->at ? 0 : fwd_now_ms(l->t) + FWD_LATER_MS;
            return l->out_count > l->at ? 0 : rc;
        }
        l->shaped++;
    }
    if (l->at >= l->out_count) { /* nothing of it is to be sent */
        fwd_lane_advance(l, 0);
    }
    return 0;
}

/* ---- reading ---- */

/* While it lasts a line a minute, with what came together since. */
static void tell_passed(struct fwd_target *t, uint64_t n)
{
    uint64_t now = fwd_now_ms(t);
    t->passed_untold += n;
    if (t->passed_said && now - t->passed_ms < FWD_PASSED_SAY_MS) {
        return;
    }
    tpi_log(t->f->env, TPC_LOG_WARN, "forward", "%s: %llu records were passed over",
            t->config->name.ptr, (unsigned long long) t->passed_untold);
    t->passed_said = true;
    t->passed_ms = now;
    t->passed_untold = 0;
}

static void pass_over(struct fwd_lane *l, uint32_t partition, uint64_t to, bool newest)
{
    struct fwd_target *t = l->t;
    struct tpi_forward *f = t->f;
    uint64_t n = to - t->read_to[partition];
    struct fwd_gap *gap = &t->gaps[partition];
    gap->from = gap->to == 0 ? t->read_to[partition] : gap->from;
    gap->to = to;
    t->read_to[partition] = to;
    if (newest) {
        fwd_count(&t->counts.newest_records, &f->counters.newest_records, n);
        return; /* that it begins was said */
    }
    fwd_count(&t->counts.gap_records, &f->counters.gap_records, n);
    tell_passed(t, n);
}

/* Reads one chunk. Returns 0, TPC_EGAP (first goes what it holds), or an error; *ret_more = go on. */
static int read_chunk(struct fwd_lane *l, const struct tpc_bus_ops *bus, void *self,
                      uint32_t partition, bool *ret_more)
{
    struct fwd_target *t = l->t;
    uint64_t bound;
    bool newest = false;
    uint64_t next = fwd_keep_next(t, partition, &bound, &newest);
    int rc = TPC_EGAP;
    *ret_more = false;
    if (t->gaps[partition].to > 0 && l->t->owner[partition] == 0 && fwd_lane_busy(l)) {
        return rc; /* a batch has to begin behind a gap to tell of it */
    }
    if (next == t->read_to[partition]) {
        newest = false;
        tpi_follow_bound(l->follow, bound);
        rc = tpi_follow_read(l->follow, bus, self, partition, next, TPC_READ_FLUSHED, &next);
    }
    if (rc == TPC_EGAP) {
        if (fwd_lane_busy(l)) {
            return rc;
        }
        pass_over(l, partition, next, newest);
        *ret_more = true;
        return 0;
    }
    /* Also what it handed over before it failed is read. */
    *ret_more = next != t->read_to[partition];
    t->read_to[partition] = next;
    return rc;
}

/* Reads on in one partition. *budget: reads that may follow. Returns 0 or an error. */
static int fill_from(struct fwd_lane *l, uint32_t partition, uint32_t *budget, bool *did)
{
    struct fwd_target *t = l->t;
    struct tpi_forward *f = t->f;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    while (*budget > 0 && !tpi_follow_full(l->follow) &&
           t->read_to[partition] < f->host.end(f->host.user, partition)) {
        bool more;
        int rc = read_chunk(l, bus, self, partition, &more);
        *did |= more;
        *budget -= more ? 1 : 0;
        if (rc != 0 || !more) {
            return rc;
        }
    }
    return 0;
}

static bool may_read(const struct fwd_lane *l, uint32_t partition)
{
    uint8_t owner = l->t->owner[partition];
    return owner == 0 || owner == l->number + 1;
}

/* The log keeps less than the cursor's bounds let wait: it was moved. */
static void look_for_lift(struct fwd_lane *l)
{
    struct fwd_target *t = l->t;
    struct tpi_forward *f = t->f;
    void *self;
    const struct tpc_bus_ops *bus = f->host.bus(f->host.user, &self);
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        uint64_t at = 0;
        if (may_read(l, i) && t->read_to[i] < f->host.end(f->host.user, i) &&
            bus->cursor_position(self, t->cursor, i, &at) == 0 && at > t->read_to[i]) {
            pass_over(l, i, at, false);
        }
    }
}

/* After a read: what it holds is its own. */
static void own(struct fwd_lane *l, uint32_t before, uint32_t after)
{
    struct fwd_target *t = l->t;
    uint32_t n;
    const struct tpc_msg *msgs = tpi_follow_msgs(l->follow, &n);
    int64_t oldest = atomic_load_explicit(&l->oldest_ms, memory_order_relaxed);
    for (uint32_t i = before; i < after; i++) {
        int64_t came = msgs[i].received_unix_ms;
        t->owner[msgs[i].partition] = (uint8_t) (l->number + 1);
        oldest = oldest == 0 || came < oldest ? came : oldest;
    }
    atomic_store_explicit(&l->oldest_ms, oldest, memory_order_relaxed);
    if (before == 0 && after > 0) {
        l->filled_ms = fwd_now_ms(t);
        t->first = (msgs[after - 1].partition + 1) % t->f->host.partitions;
    }
    count_held(l);
}

bool fwd_lane_fill(struct fwd_lane *l)
{
    struct fwd_target *t = l->t;
    struct tpi_forward *f = t->f;
    uint32_t budget = FWD_CHUNKS;
    uint32_t before, after;
    bool did = false;
    int rc = 0;
    int bad = 0;
    (void) tpi_follow_msgs(l->follow, &before);
    if (before == 0) {
        look_for_lift(l);
    }
    for (uint32_t i = 0; rc == 0 && i < f->host.partitions; i++) {
        uint32_t p = (t->first + i) % f->host.partitions;
        rc = may_read(l, p) ? fill_from(l, p, &budget, &did) : 0;
        if (rc != 0 && rc != TPC_EGAP && rc != TPC_ENOMEM) {
            bad = rc; /* of this partition: others go on */
            rc = 0;
        }
    }
    rc = rc != 0 ? rc : bad;
    fwd_keep_count(t);
    (void) tpi_follow_msgs(l->follow, &after);
    own(l, before, after);
    if (rc != 0 && rc != TPC_EGAP && after == 0) {
        t->due_ms = fwd_now_ms(t) + FWD_LATER_MS;
        did = false;
    }
    if (did) {
        commit(l);
    }
    return did;
}
