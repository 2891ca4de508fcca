/*
 * What may wait for a target, where the log's own bounds do not say it: a number of records; what
 * comes is passed over (newest); samples are thinned out (thin). All of it is about positions in the
 * log, nothing is moved there, and nothing of it survives a restart: what waits is looked at anew.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/map.h"
#include "forward/inside.h"

enum {
    ROUNDS = 200,       /* of one look; the next goes on */
    HOLES = 16,         /* of a partition */
    LEVELS = 20,        /* one sample of 2^20 is left */
    ZONES = LEVELS + 2, /* each has a level of its own, and one that is being split */
    DEVICES = 1 << 16   /* whose samples are counted one by one */
};

/* Records from .. to are passed over; to = UINT64_MAX: what comes, too. */
struct hole {
    uint64_t from, to;
};

/* Records up to `to`, from the zone before on, are thinned to one of 2^level. Older zones come first
 * and have higher levels. */
struct zone {
    uint64_t to;
    uint32_t level;
};

struct part {
    uint64_t skip_to; /* of oldest: records below go */
    uint64_t pending; /* thinned out behind a message that is held: the cursor stands before them */
    bool held;        /* there is such a message */
    uint32_t holes_count, zones_count;
    struct hole holes[HOLES];
    struct zone zones[ZONES];
};

struct fwd_keep {
    bool closed;           /* what comes is passed over */
    uint64_t thinned;      /* not counted yet */
    struct tpi_map64 seen; /* device -> samples of it in zones, and one */
    uint32_t part_count;
    struct part *parts;
};

int fwd_keep_create(struct tpi_forward *f, struct fwd_config *c)
{
    if (c->drop == FWD_DROP_OLDEST && c->keep_records == 0) {
        return 0;
    }
    struct fwd_keep *k = tpi_alloc_zero(c->alloc, sizeof(*k));
    if (k == NULL) {
        return TPC_ENOMEM;
    }
    c->keep = k;
    tpi_map64_init(&k->seen, c->alloc);
    k->parts = tpi_alloc_array(c->alloc, f->host.partitions, sizeof(k->parts[0]));
    k->part_count = f->host.partitions;
    return k->parts != NULL ? 0 : TPC_ENOMEM;
}

void fwd_keep_destroy(struct fwd_config *c)
{
    struct fwd_keep *k = c->keep;
    if (k == NULL) {
        return;
    }
    tpi_map64_fini(&k->seen);
    if (k->parts != NULL) {
        tpi_free(c->alloc, k->parts, k->part_count * sizeof(k->parts[0]));
    }
    tpi_free(c->alloc, k, sizeof(*k));
}

static uint64_t end_of(const struct fwd_target *t, uint32_t partition)
{
    return t->f->host.end(t->f->host.user, partition);
}

/* Records that may wait; UINT64_MAX = not known yet. */
static uint64_t limit_of(const struct fwd_target *t)
{
    const struct fwd_config *c = t->config;
    uint64_t mean = atomic_load_explicit(&t->f->sample.mean_bytes, memory_order_relaxed);
    uint64_t limit = c->keep_records > 0 ? c->keep_records : UINT64_MAX;
    if (c->keep_bytes > 0 && mean > 0 && c->drop != FWD_DROP_OLDEST) {
        uint64_t fit = c->keep_bytes / mean;
        limit = fit < limit ? fit : limit;
    }
    return limit > 0 ? limit : 1;
}

/* ---- oldest, by number ---- */

static void look_oldest(struct fwd_target *t, struct fwd_keep *k, uint64_t limit)
{
    uint64_t waiting = 0;
    for (uint32_t i = 0; i < k->part_count; i++) {
        uint64_t end = end_of(t, i);
        waiting += end > t->read_to[i] ? end - t->read_to[i] : 0;
    }
    if (waiting <= limit) {
        return;
    }
    /* From each partition its share, so that what is left is of one age. */
    double share = (double) (waiting - limit) / (double) waiting;
    for (uint32_t i = 0; i < k->part_count; i++) {
        uint64_t end = end_of(t, i);
        if (end > t->read_to[i]) {
            k->parts[i].skip_to =
                t->read_to[i] + (uint64_t) ((double) (end - t->read_to[i]) * share);
        }
    }
}

/* ---- newest ---- */

static uint64_t outside_holes(struct part *p, uint64_t from, uint64_t end)
{
    uint64_t n = end > from ? end - from : 0;
    uint32_t gone = 0;
    while (gone < p->holes_count && p->holes[gone].to <= from) {
        gone++;
    }
    p->holes_count -= gone;
    memmove(p->holes, p->holes + gone, p->holes_count * sizeof(p->holes[0]));
    for (uint32_t i = 0; i < p->holes_count; i++) {
        uint64_t a = p->holes[i].from > from ? p->holes[i].from : from;
        uint64_t b = p->holes[i].to < end ? p->holes[i].to : end;
        n -= b > a ? b - a : 0;
    }
    return n;
}

static void open_holes(struct fwd_target *t, struct fwd_keep *k)
{
    for (uint32_t i = 0; i < k->part_count; i++) {
        struct part *p = &k->parts[i];
        if (p->holes_count < HOLES) { /* there are far fewer: see below */
            p->holes[p->holes_count++] = (struct hole){ end_of(t, i), UINT64_MAX };
        }
    }
    k->closed = true;
    tpi_log(t->f->env, TPC_LOG_WARN, "forward",
            "%s: as much waits as may: what comes is passed over", t->config->name.ptr);
}

static void close_holes(struct fwd_target *t, struct fwd_keep *k)
{
    for (uint32_t i = 0; i < k->part_count; i++) {
        struct part *p = &k->parts[i];
        struct hole *last = p->holes_count > 0 ? &p->holes[p->holes_count - 1] : NULL;
        if (last != NULL && last->to == UINT64_MAX) {
            last->to = end_of(t, i);
            p->holes_count -= last->to <= last->from ? 1 : 0;
        }
    }
    k->closed = false;
    tpi_log(t->f->env, TPC_LOG_INFO, "forward", "%s: what comes waits again", t->config->name.ptr);
}

/* An eighth must have gone before anything is taken again: so no more than eight holes or so are
 * before a reader at any time. */
static void look_newest(struct fwd_target *t, struct fwd_keep *k, uint64_t limit)
{
    uint64_t waiting = 0;
    for (uint32_t i = 0; i < k->part_count; i++) {
        waiting += outside_holes(&k->parts[i], fwd_committed(t, i), end_of(t, i));
    }
    if (!k->closed && waiting >= limit) {
        open_holes(t, k);
    } else if (k->closed && waiting < limit - limit / 8) {
        close_holes(t, k);
    }
}

/* ---- thin ---- */

/* Samples of a partition that are left, if all of it is samples. */
static uint64_t left_of(const struct part *p, uint64_t from, uint64_t end)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->zones_count; i++) {
        uint64_t to = p->zones[i].to;
        n += to > from ? (to - from) >> p->zones[i].level : 0;
        from = to > from ? to : from;
    }
    return n + (end > from ? end - from : 0);
}

static void drop_zones(struct part *p, uint64_t from)
{
    uint32_t gone = 0;
    while (gone < p->zones_count && p->zones[gone].to <= from) {
        gone++;
    }
    p->zones_count -= gone;
    memmove(p->zones, p->zones + gone, p->zones_count * sizeof(p->zones[0]));
}

/* Zones of one level become one. */
static void join(struct part *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->zones_count; i++) {
        if (n > 0 && p->zones[n - 1].level == p->zones[i].level) {
            p->zones[n - 1].to = p->zones[i].to;
        } else {
            p->zones[n++] = p->zones[i];
        }
    }
    p->zones_count = n;
}

/* What lies behind the zones is one of level 0. */
static struct zone zone_at(const struct part *p, uint32_t i, uint64_t end)
{
    return i < p->zones_count ? p->zones[i] : (struct zone){ end, 0 };
}

/* The zone with the most samples; zones_count = what lies behind them. */
static uint32_t fullest(const struct part *p, uint64_t from, uint64_t end, uint64_t *ret_from,
                        uint64_t *ret_left)
{
    uint32_t best = 0;
    *ret_left = 0;
    for (uint32_t i = 0; i <= p->zones_count; i++) {
        struct zone z = zone_at(p, i, end);
        uint64_t left = z.to > from ? (z.to - from) >> z.level : 0;
        if (left > *ret_left && z.level < LEVELS) {
            best = i;
            *ret_from = from;
            *ret_left = left;
        }
        from = z.to > from ? z.to : from;
    }
    return best;
}

/* The older half of the fullest zone is thinned once more: so zones are about as full as one another,
 * each reaches back as far as all younger ones together, and all of the time is covered. false:
 * there is nothing to thin. */
static bool raise(struct part *p, uint64_t from, uint64_t end)
{
    uint64_t begin = from;
    uint64_t left;
    uint32_t i = fullest(p, from, end, &begin, &left);
    if (left < 2 || p->zones_count == ZONES) {
        return false;
    }
    uint32_t level = zone_at(p, i, end).level;
    memmove(p->zones + i + 1, p->zones + i, (p->zones_count - i) * sizeof(p->zones[0]));
    p->zones[i] = (struct zone){ begin + (left / 2 << level), level + 1 };
    p->zones_count++;
    join(p);
    return true;
}

static void look_thin(struct fwd_target *t, struct fwd_keep *k, uint64_t limit)
{
    uint32_t rounds = 0;
    bool more = true;
    while (more && rounds++ < ROUNDS) {
        uint64_t left = 0;
        uint32_t zones = 0;
        for (uint32_t i = 0; i < k->part_count; i++) {
            uint64_t at = fwd_committed(t, i);
            drop_zones(&k->parts[i], at);
            zones += k->parts[i].zones_count;
            left += left_of(&k->parts[i], at, end_of(t, i));
        }
        if (zones == 0 && tpi_map64_count(&k->seen) > 0) {
            tpi_map64_fini(&k->seen);
            tpi_map64_init(&k->seen, t->config->alloc);
        }
        more = false;
        for (uint32_t i = 0; left > limit && i < k->part_count; i++) {
            more |= raise(&k->parts[i], fwd_committed(t, i), end_of(t, i));
        }
    }
}

/* Which zone an offset is in: its level; 0 = it is in none. */
static uint32_t level_at(const struct part *p, uint64_t offset)
{
    uint32_t i = 0;
    while (i < p->zones_count && p->zones[i].to <= offset) {
        i++;
    }
    return i < p->zones_count ? p->zones[i].level : 0;
}

/* false: it is one of those that go. */
static bool sampled(struct fwd_keep *k, const struct part *p, const struct tpc_msg *m)
{
    uint32_t level = m->kind == TPC_MSG_TELEMETRY ? level_at(p, m->offset) : 0;
    if (level == 0) {
        return true;
    }
    uintptr_t n = (uintptr_t) tpi_map64_get(&k->seen, m->device_id);
    if (n == 0 && tpi_map64_count(&k->seen) >= DEVICES) {
        n = (uintptr_t) tpi_hash64(m->offset); /* by chance, then */
    } else {
        n = n > 0 ? n : 1;
        if (tpi_map64_put(&k->seen, m->device_id, (void *) (n + 1), NULL) != 0) {
            return true;
        }
    }
    return ((n - 1) & (((uintptr_t) 1 << level) - 1)) == 0;
}

bool fwd_keep_wants(struct fwd_config *c, const struct tpc_msg *m)
{
    struct fwd_keep *k = c->keep;
    struct part *p = &k->parts[m->partition];
    if (c->drop != FWD_DROP_THIN) {
        return true;
    }
    if (sampled(k, p, m)) {
        p->held = true;
        return true;
    }
    if (p->held) {
        p->pending++;
    } else {
        k->thinned++;
    }
    return false;
}

void fwd_keep_let_go(struct fwd_config *c, uint32_t partition, bool again)
{
    struct fwd_keep *k = c->keep;
    if (k == NULL) {
        return;
    }
    struct part *p = &k->parts[partition];
    k->thinned += again ? 0 : p->pending;
    p->pending = 0;
    p->held = false;
}

void fwd_keep_count(struct fwd_target *t)
{
    struct fwd_keep *k = t->config->keep;
    if (k != NULL && k->thinned > 0) {
        fwd_count(&t->counts.thinned, &t->f->counters.thinned, k->thinned);
        k->thinned = 0;
    }
}

/* ---- all ---- */

void fwd_keep_look(struct fwd_target *t)
{
    struct fwd_keep *k = t->config->keep;
    if (k == NULL || !t->cursor_open) {
        return;
    }
    uint64_t limit = limit_of(t);
    if (t->config->drop == FWD_DROP_NEWEST) {
        look_newest(t, k, limit);
    } else if (t->config->drop == FWD_DROP_THIN) {
        look_thin(t, k, limit);
    } else {
        look_oldest(t, k, limit);
    }
}

uint64_t fwd_keep_next(struct fwd_target *t, uint32_t partition, uint64_t *ret_bound,
                       bool *ret_newest)
{
    const struct fwd_keep *k = t->config->keep;
    uint64_t at = t->read_to[partition];
    *ret_bound = UINT64_MAX;
    *ret_newest = false;
    if (k == NULL) {
        return at;
    }
    const struct part *p = &k->parts[partition];
    uint64_t safe = t->f->safe.ends[partition];
    uint64_t to = p->skip_to;
    for (uint32_t i = 0; to <= at && i < p->holes_count; i++) {
        const struct hole *h = &p->holes[i];
        if (at < h->from) {
            *ret_bound = h->from;
            return at;
        }
        if (at < h->to) {
            *ret_newest = true;
            to = h->to;
        }
    }
    if (to > at) { /* what is to be passed over is not read, also if that has to wait */
        *ret_bound = at;
        to = to < safe ? to : safe;
    }
    return to > at ? to : at;
}
