/* Listing alerts: the best of all, found in one pass, then told one by one without a lock. */
#include "base/alloc.h"
#include "data/msg.h"
#include "rules/alert_state.h"

#include <stdlib.h>
#include <string.h>

/* One that shall be told. */
struct place {
    int64_t raised_ms;
    struct tpc_id id;
    uint32_t owner;
};

struct listing {
    struct tpi_alerts *a;
    const struct tpc_alert_query *q;
    struct place *heap; /* the worst of the best on top */
    uint32_t count, limit;
    bool after; /* only what comes after this: */
    struct place last;
};

/* Negative: p is told before q. */
static int order(const void *p, const void *q)
{
    const struct place *x = p;
    const struct place *y = q;
    if (x->raised_ms != y->raised_ms) {
        return x->raised_ms > y->raised_ms ? -1 : 1;
    }
    return -memcmp(x->id.b, y->id.b, sizeof(x->id.b));
}

static void sift_down(struct listing *l)
{
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < l->count && order(&l->heap[child + 1], &l->heap[child]) > 0) {
            child++;
        }
        if (child >= l->count || order(&l->heap[at], &l->heap[child]) >= 0) {
            return;
        }
        struct place p = l->heap[at];
        l->heap[at] = l->heap[child];
        l->heap[child] = p;
        at = child;
    }
}

static void push(struct listing *l, const struct place *p)
{
    if (l->count == l->limit) {
        if (order(p, &l->heap[0]) < 0) {
            l->heap[0] = *p;
            sift_down(l);
        }
        return;
    }
    uint32_t at = l->count++;
    l->heap[at] = *p;
    while (at > 0 && order(&l->heap[at], &l->heap[(at - 1) / 2]) > 0) {
        struct place up = l->heap[(at - 1) / 2];
        l->heap[(at - 1) / 2] = l->heap[at];
        l->heap[at] = up;
        at = (at - 1) / 2;
    }
}

static uint32_t state_of(const struct tpi_alert *x)
{
    return !tpi_alert_open(x) ? TPC_ALERT_CLEARED
           : x->acked_ms != 0 ? TPC_ALERT_ACKNOWLEDGED
                              : TPC_ALERT_RAISED;
}

static bool same(struct tpc_str wanted, struct tpc_str text)
{
    return wanted.len == 0 || tpc_str_equal(wanted, text);
}

static bool matches(const struct tpc_alert_query *q, const struct tpi_alert *x)
{
    return x->change > 0 && x->severity >= q->severity &&
           (q->state == 0 || (q->state >> state_of(x) & 1) != 0) && same(q->tenant, x->tenant) &&
           same(q->device, x->device) && same(q->key, x->key) && x->raised_ms >= q->from_unix_ms &&
           (q->to_unix_ms == 0 || x->raised_ms < q->to_unix_ms);
}

static void look_at(struct listing *l, uint32_t index)
{
    struct tpi_alert_owner *o = &l->a->owners[index];
    size_t iter = 0;
    void *value;
    pthread_mutex_lock(&o->lock);
    while (tpi_map_next(&o->ids, &iter, NULL, &value)) {
        const struct tpi_alert *x = value;
        struct place p = { x->raised_ms, x->id, index };
        if (matches(l->q, x) && (!l->after || order(&l->last, &p) < 0)) {
            push(l, &p);
        }
    }
    pthread_mutex_unlock(&o->lock);
}

static bool copy(struct tpc_arena *arena, struct tpc_str in, struct tpc_str *ret)
{
    char *p = tpc_arena_take(arena, in.len + 1);
    if (p != NULL) {
        if (in.len > 0) {
            memcpy(p, in.ptr, in.len);
        }
        p[in.len] = '\0';
        *ret = (struct tpc_str){ p, in.len };
    }
    return p != NULL;
}

/* Under the lock. */
static int view(const struct tpi_alert *x, struct tpc_arena *arena, struct tpc_alert *ret)
{
    struct tpc_alert_note *notes =
        tpc_arena_take(arena, (x->note_count + 1) * sizeof(struct tpc_alert_note));
    *ret = (struct tpc_alert){ .size = sizeof(*ret),
                               .state = state_of(x),
                               .severity = x->severity,
                               .flags = x->flags & (TPC_ALERT_FLAPPING | TPC_ALERT_MUTED |
                                                    TPC_ALERT_ESCALATED),
                               .id = x->id,
                               .count = x->count,
                               .changes = x->change,
                               .raised_unix_ms = x->raised_ms,
                               .last_unix_ms = x->last_ms,
                               .acked_unix_ms = x->acked_ms,
                               .cleared_unix_ms = x->cleared_ms,
                               .note_size = sizeof(struct tpc_alert_note),
                               .notes = notes };
    bool ok = notes != NULL && copy(arena, x->key, &ret->key) &&
              copy(arena, x->tenant, &ret->tenant) && copy(arena, x->device, &ret->device) &&
              copy(arena, x->text, &ret->text) && copy(arena, x->by, &ret->by) &&
              copy(arena, x->acked_by, &ret->acked_by);
    for (const struct tpi_alert_note *n = x->notes; ok && n != NULL; n = n->next) {
        struct tpc_alert_note *out = &notes[ret->note_count++];
        out->unix_ms = n->unix_ms;
        ok = copy(arena, n->by, &out->by) && copy(arena, n->text, &out->text);
    }
    return ok ? 0 : TPC_ENOMEM;
}

static int tell(struct listing *l, struct tpc_arena *arena, tpc_alert_fn *fn, void *user)
{
    int rc = 0;
    qsort(l->heap, l->count, sizeof(l->heap[0]), order);
    for (uint32_t i = 0; rc == 0 && i < l->count; i++) {
        struct tpi_alert_owner *o = &l->a->owners[l->heap[i].owner];
        struct tpc_alert alert;
        tpc_arena_reset(arena);
        pthread_mutex_lock(&o->lock);
        const struct tpi_alert *x = tpi_map_get(&o->ids, l->heap[i].id.b, sizeof(x->id.b));
        bool there = x != NULL;
        rc = there ? view(x, arena, &alert) : 0;
        pthread_mutex_unlock(&o->lock);
        rc = rc == 0 && there ? fn(user, &alert) : rc;
    }
    return rc;
}

static int find_last(struct listing *l)
{
    static const struct tpc_id none;
    if (memcmp(&l->q->after, &none, sizeof(none)) == 0) {
        return 0;
    }
    for (uint32_t i = 0; !l->after && i < l->a->host.workers; i++) {
        struct tpi_alert_owner *o = &l->a->owners[i];
        pthread_mutex_lock(&o->lock);
        const struct tpi_alert *x = tpi_map_get(&o->ids, l->q->after.b, sizeof(x->id.b));
        if (x != NULL) {
            l->last = (struct place){ x->raised_ms, x->id, i };
            l->after = true;
        }
        pthread_mutex_unlock(&o->lock);
    }
    return l->after ? 0 : TPC_ENOENT;
}

int tpi_alerts_list(struct tpi_alerts *a, const struct tpc_alert_query *query, tpc_alert_fn *fn,
                    void *user)
{
    struct listing l = { .a = a, .q = query, .limit = query->limit };
    struct tpc_arena *arena = NULL;
    int rc = find_last(&l);
    if (rc != 0) {
        return rc;
    }
    l.heap = tpi_alloc(a->env->alloc, l.limit * sizeof(l.heap[0]));
    rc = l.heap != NULL ? tpc_arena_create(a->env->alloc, 0, &arena) : TPC_ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < a->host.workers; i++) {
        look_at(&l, i);
    }
    rc = rc != 0 ? rc : tell(&l, arena, fn, user);
    tpc_arena_destroy(arena);
    tpi_free(a->env->alloc, l.heap, l.limit * sizeof(l.heap[0]));
    return rc;
}
