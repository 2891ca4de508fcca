/*
 * State of a partition as bytes: version (u8), offset of the next message (varint), count of pairs
 * (varint), then for each pair scene and device (varints), the hash of the condition (u32), flags
 * (varint), unix time (varint, zigzag) and offset (varint). Version 1 had neither of the last three: all
 * had fired. From version 3 on the
 * schedules follow: schedule_run.c; from version 4 on what is open in windows: data_state.c; version 5 tells more of schedules; from version 6 on
 * what damp.h says; version 7 tells more of windows; from version 8 on
 * what waits for the end of a delay: later.h.
 */
#include "base/error.h"
#include "rules/damp.h"
#include "rules/data_rule.h"
#include "rules/rules_state.h"
#include "rules/schedule.h"

enum {
    STATE_VERSION = 8,
    STATE_OLD = 1,
    STATE_SCHEDULES = 3,
    STATE_WINDOWS = 4,
    STATE_JUDGED = 5, /* of schedules with a condition */
    STATE_DAMPED = 6,
    STATE_LANES = 7, /* of windows */
    STATE_LATERS = 8
};

static struct rule_worker *owner(struct tpi_rules *r, uint32_t partition)
{
    return &r->workers[partition % r->host.workers];
}

static int save(const struct rule_partition *p, struct tpi_buf *out)
{
    int rc = tpi_buf_u8(out, STATE_VERSION);
    rc = rc != 0 ? rc : tpi_buf_varint(out, p->next);
    rc = rc != 0 ? rc : tpi_buf_varint(out, p->edges.count);
    for (size_t i = 0; rc == 0 && i < p->edges.cap; i++) {
        const struct tpi_edge *e = &p->edges.slots[i];
        if (e->scene != 0) {
            rc = tpi_buf_varint(out, e->scene);
            rc = rc != 0 ? rc : tpi_buf_varint(out, e->device);
            rc = rc != 0 ? rc : tpi_buf_u32(out, e->when);
            rc = rc != 0 ? rc : tpi_buf_varint(out, e->flags & ~(uint32_t) TPI_EDGE_LOADED);
            rc = rc != 0 ? rc : tpi_buf_zigzag(out, e->at_unix_ms);
            rc = rc != 0 ? rc : tpi_buf_varint(out, e->offset);
        }
    }
    return rc;
}

/* Whether it only says when a scene fired, and no limit needs that any more. */
static bool is_over(struct tpi_rules *r, const struct tpi_edge *e, int64_t now)
{
    const struct tpi_scene *s = (e->flags & (TPI_EDGE_TRUE | TPI_EDGE_WAITS)) == 0
                                    ? tpi_map64_get(&r->scenes, e->scene)
                                    : NULL;
    return s != NULL && (e->flags & TPI_EDGE_DONE) == 0 && now - e->at_unix_ms >= s->every_ms;
}

/* Pairs that nothing needs any more, also of devices that are gone. Under the registry's read lock. */
static void expire(struct tpi_rules *r, struct tpi_edges *edges)
{
    int64_t now = tpi_unix_ms(r->env);
    for (size_t i = 0; edges->count > 0 && i < edges->cap;) {
        const struct tpi_edge *e = &edges->slots[i];
        if (e->scene != 0 &&
            (is_over(r, e, now) || tpi_registry_by_id(r->host.registry, e->device) == NULL)) {
            tpi_edges_remove(edges, e->scene, e->device); /* a later one may stand here now */
        } else {
            i++;
        }
    }
}

int tpi_rules_state_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out)
{
    size_t before = out->len;
    struct rule_worker *w = owner(r, partition);
    tpi_registry_read_lock(r->host.registry); /* before the worker's, as batches do */
    pthread_mutex_lock(&w->lock);
    tpi_data_rules_expire(r, partition);
    expire(r, &r->partitions[partition].edges);
    tpi_rules_damp_expire(r, partition);
    int rc = save(&r->partitions[partition], out);
    rc = rc != 0 ? rc : tpi_schedules_save(r, partition, out);
    rc = rc != 0 ? rc : tpi_data_rules_save(r, partition, out);
    rc = rc != 0 ? rc : tpi_rules_damp_save(r, partition, out);
    rc = rc != 0 ? rc : tpi_laters_save(&r->partitions[partition].laters, out);
    pthread_mutex_unlock(&w->lock);
    tpi_registry_read_unlock(r->host.registry);
    if (rc != 0) {
        out->len = before;
    }
    return rc;
}

/* Pairs of a condition that is the same as when it was saved. */
static bool is_known(struct tpi_rules *r, const struct tpi_edge *e)
{
    const struct tpi_scene *s = tpi_map64_get(&r->scenes, e->scene);
    bool keeps = s != NULL &&
                 (!s->each || s->every_ms > 0 || s->for_ms > 0 || s->debounce_ms > 0 || s->once);
    return keeps && s->enabled && s->when == e->when;
}

static struct tpi_edge read_edge(struct tpi_reader *in, uint8_t version)
{
    struct tpi_edge e = { .scene = tpi_read_varint(in) };
    e.device = tpi_read_varint(in);
    e.when = tpi_read_u32(in);
    e.flags = TPI_EDGE_TRUE | TPI_EDGE_FIRED;
    if (version > STATE_OLD) {
        e.flags = (uint32_t) tpi_read_varint(in) &
                  (TPI_EDGE_TRUE | TPI_EDGE_WAITS | TPI_EDGE_FIRED | TPI_EDGE_DONE);
        e.at_unix_ms = tpi_read_zigzag(in);
        e.offset = tpi_read_varint(in);
    }
    e.flags |= TPI_EDGE_LOADED;
    return e;
}

static int read_edges(struct tpi_rules *r, struct tpi_reader *in, uint8_t version,
                      struct tpi_edges *ret)
{
    uint64_t count = tpi_read_varint(in);
    for (uint64_t i = 0; i < count; i++) {
        struct tpi_edge e = read_edge(in, version);
        if (in->bad || e.scene == 0 || e.at_unix_ms < INT64_MIN / 4) { /* what is since then fits */
            return TPC_ECORRUPT;
        }
        bool twice = tpi_edges_find(ret, e.scene, e.device) != NULL;
        int rc = !twice && is_known(r, &e) ? tpi_edges_add(ret, &e) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    return in->bad ? TPC_ECORRUPT : 0;
}

/* What is read of a state before any of it is taken over. */
struct loading {
    uint32_t partition;
    struct tpi_edges edges;
    struct tpi_edges runs;
    struct tpi_map64 flows;
    struct tpi_laters laters;
    struct tpi_reader
        schedules; /* where they stand: a second reading takes them over, as the next */
    struct tpi_reader off;
};

static int read_state(struct tpi_rules *r, struct tpi_reader *in, uint8_t version,
                      struct loading *l)
{
    if (version < STATE_OLD) {
        return TPC_ECORRUPT;
    }
    int rc = read_edges(r, in, version, &l->edges);
    l->schedules = *in;
    if (rc == 0 && version >= STATE_SCHEDULES) {
        rc = tpi_schedules_read(r, in, version >= STATE_JUDGED, false);
    }
    if (rc == 0 && version >= STATE_WINDOWS) {
        rc = tpi_data_rules_read(r, in, version < STATE_LANES, &l->flows);
    }
    if (rc == 0 && version >= STATE_DAMPED) {
        rc = tpi_rules_damp_read(r, in, &l->runs);
        l->off = *in;
        rc = rc != 0 ? rc : tpi_rules_off_read(r, in, 0, false);
    }
    if (rc == 0 && version >= STATE_LATERS) {
        rc = tpi_laters_read(in, l->partition, &l->laters);
    }
    return rc == 0 && tpi_reader_left(in) > 0 ? TPC_ECORRUPT : rc;
}

/* Under the worker's lock: what waits in a partition stands in its owner's list. */
static int wait_again(struct rule_worker *w, uint32_t partition, const struct tpi_edges *edges)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < edges->cap; i++) {
        const struct tpi_edge *e = &edges->slots[i];
        if (e->scene != 0 && (e->flags & TPI_EDGE_WAITS) != 0) {
            struct tpi_due_item item = { e->at_unix_ms, e->scene, e->device, partition, 0 };
            rc = tpi_due_add(&w->due, &item);
        }
    }
    tpi_rules_due_changed(w);
    return rc;
}

static void loading_init(struct loading *l, uint32_t partition, const struct tpc_allocator *alloc)
{
    l->partition = partition;
    tpi_laters_init(&l->laters, alloc);
    tpi_edges_init(&l->edges, alloc);
    tpi_edges_init(&l->runs, alloc);
    tpi_map64_init(&l->flows, alloc);
}

static void loading_fini(struct loading *l)
{
    tpi_edges_fini(&l->edges);
    tpi_edges_fini(&l->runs);
    tpi_flows_fini(&l->flows);
    tpi_laters_fini(&l->laters);
}

/* Under all that guards a partition. Cannot fail. */
static void take_over(struct tpi_rules *r, uint32_t partition, uint8_t version, struct loading *l)
{
    struct rule_partition *p = &r->partitions[partition];
    tpi_edges_fini(&p->edges);
    tpi_edges_fini(&p->runs);
    p->edges = l->edges;
    p->runs = l->runs;
    tpi_laters_take(r, partition, &l->laters);
    if (version >= STATE_SCHEDULES) {
        (void) tpi_schedules_read(r, &l->schedules, version >= STATE_JUDGED, true);
    }
    if (version >= STATE_DAMPED) {
        (void) tpi_rules_off_read(r, &l->off, partition, true);
    }
}

int tpi_rules_state_load(struct tpi_rules *r, uint32_t partition, struct tpc_bytes bytes,
                         struct tpc_error *err, uint64_t *ret_next)
{
    struct tpi_reader in;
    tpi_reader_init(&in, bytes.ptr, bytes.len);
    uint8_t version = tpi_read_u8(&in);
    if (!in.bad && version > STATE_VERSION) {
        return tpi_error_set(err, TPC_EVERSION, "rules", "state of version %u", version);
    }
    uint64_t next = tpi_read_varint(&in);
    struct loading l;
    loading_init(&l, partition, r->env->alloc);
    pthread_mutex_lock(&r->changes);
    int rc = read_state(r, &in, version, &l);
    struct rule_worker *w = owner(r, partition);
    pthread_mutex_lock(&w->lock);
    rc = rc != 0 ? rc : wait_again(w, partition, &l.edges); /* some too many: they are looked at */
    rc = rc != 0 ? rc : tpi_data_rules_take(r, partition, &l.flows);
    if (rc == 0) {
        take_over(r, partition, version, &l);
        r->partitions[partition].next = next;
    }
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_unlock(&r->changes);
    if (rc != 0) {
        loading_fini(&l);
        return tpi_error_set(err, rc, "rules", "state of partition %u cannot be read", partition);
    }
    *ret_next = next;
    return 0;
}
