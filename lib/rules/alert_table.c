/* The table of alerts: finding, listing, storing, throwing out. */
#include "base/alloc.h"
#include "rules/alert_state.h"

#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

struct tpi_alert_owner *tpi_alert_owner_of(struct tpi_alerts *a, uint32_t partition)
{
    return &a->owners[partition % a->host.workers];
}

struct tpi_alert *tpi_alert_find(struct tpi_alert_owner *o, uint64_t device_id, struct tpc_str key)
{
    struct tpi_alert *x = tpi_map64_get(&o->devices, device_id);
    while (x != NULL && (x->change == 0 || !tpc_str_equal(x->key, key))) {
        x = x->next;
    }
    return x;
}

static size_t alert_bytes(const struct tpi_alert *x)
{
    return sizeof(*x) + x->key.len + x->tenant.len + x->device.len + 3;
}

static struct tpc_str put_text(char **at, struct tpc_str text)
{
    struct tpc_str ret = { *at, text.len };
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
    }
    (*at)[text.len] = '\0';
    *at += text.len + 1;
    return ret;
}

/* Under the lock. Maps `x` is not in any more. */
static void take_out(struct tpi_alert *x)
{
    struct tpi_alert_owner *o = x->owner;
    (void) tpi_map_remove(&o->ids, x->id.b, sizeof(x->id.b));
    tpi_alert_supersede(x);
}

void tpi_alert_supersede(struct tpi_alert *x)
{
    struct tpi_alert_owner *o = x->owner;
    if (!x->latest) {
        return;
    }
    struct tpi_alert *first = tpi_map64_get(&o->devices, x->device_id);
    if (first != x) {
        while (first->next != x) {
            first = first->next;
        }
        first->next = x->next;
    } else if (x->next != NULL) {
        (void) tpi_map64_put(&o->devices, x->device_id, x->next, NULL); /* replaces: no memory */
    } else {
        (void) tpi_map64_remove(&o->devices, x->device_id);
    }
    x->next = NULL;
    x->latest = false;
}

static void free_text(const struct tpc_allocator *alloc, struct tpc_str s)
{
    if (s.ptr != NULL) {
        tpi_free(alloc, (void *) (uintptr_t) s.ptr, s.len + 1);
    }
}

/* Not in the maps, not in the list. */
static void free_alert(struct tpi_alert *x)
{
    const struct tpc_allocator *alloc = x->owner->alerts->env->alloc;
    tpi_wheel_cancel(&x->owner->wheel, &x->timer);
    free_text(alloc, x->text);
    free_text(alloc, x->by);
    free_text(alloc, x->acked_by);
    tpi_free(alloc, x->toggles, sizeof(*x->toggles));
    while (x->notes != NULL) {
        struct tpi_alert_note *n = x->notes;
        x->notes = n->next;
        tpi_free(alloc, n, sizeof(*n) + n->by.len + n->text.len + 2);
    }
    tpi_free(alloc, x, alert_bytes(x));
}

struct tpi_alert *tpi_alert_enter(struct tpi_alert_owner *o, const struct tpc_id *id,
                                  const struct tpi_alert *like)
{
    const struct tpc_allocator *alloc = o->alerts->env->alloc;
    struct tpi_alert *x = tpi_alloc_zero(alloc, alert_bytes(like));
    if (x == NULL) {
        return NULL;
    }
    char *at = (char *) (x + 1);
    x->owner = o;
    x->id = *id;
    x->tenant_id = like->tenant_id;
    x->device_id = like->device_id;
    x->partition = like->partition;
    x->key = put_text(&at, like->key);
    x->tenant = put_text(&at, like->tenant);
    x->device = put_text(&at, like->device);
    x->timer.fn = tpi_alert_due;
    x->timer.user = x;
    pthread_mutex_lock(&o->lock);
    int rc = tpi_map_put(&o->ids, id->b, sizeof(id->b), x, NULL);
    if (rc == 0) {
        x->next = tpi_map64_get(&o->devices, x->device_id);
        rc = tpi_map64_put(&o->devices, x->device_id, x, NULL);
        x->latest = rc == 0;
        if (rc != 0) {
            (void) tpi_map_remove(&o->ids, id->b, sizeof(id->b));
        }
    }
    pthread_mutex_unlock(&o->lock);
    if (rc != 0) {
        tpi_free(alloc, x, alert_bytes(x));
        return NULL;
    }
    return x;
}

void tpi_alert_leave(struct tpi_alert *x)
{
    struct tpi_alert_owner *o = x->owner;
    pthread_mutex_lock(&o->lock);
    take_out(x);
    x->dead = true;
    bool dirty = x->dirty;
    pthread_mutex_unlock(&o->lock);
    if (!dirty) {
        free_alert(x);
    } else {
        tpi_wheel_cancel(&o->wheel, &x->timer); /* whoever takes it frees it */
    }
}

void tpi_alert_mark(struct tpi_alert *x, bool hard)
{
    struct tpi_alert_owner *o = x->owner;
    if (!x->dirty) {
        x->dirty = true;
        x->next_dirty = o->dirty;
        o->dirty = x;
    }
    if (hard) {
        atomic_fetch_add(&o->alerts->changes, 1);
    }
}

void tpi_alert_toggle(struct tpi_alert_toggles *t, int64_t unix_ms)
{
    if (t->count == TPI_ALERT_TOGGLES) {
        memmove(t->unix_ms, t->unix_ms + 1, (TPI_ALERT_TOGGLES - 1) * sizeof(t->unix_ms[0]));
        t->count--;
    }
    t->unix_ms[t->count++] = unix_ms;
}

/* ---- end of keeping ---- */

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *) a;
    int64_t y = *(const int64_t *) b;
    return x < y ? -1 : x > y;
}

static uint64_t keep_rows(const struct tpi_alerts *a)
{
    return a->host.keep_rows > 0 ? a->host.keep_rows : TPI_ALERTS_KEEP_ROWS;
}

/* Between two turns that look at all of them. */
bool tpi_alert_overfull(const struct tpi_alert_owner *o)
{
    uint64_t most = keep_rows(o->alerts);
    return TPI_METRIC_GET(o->alerts->counters.closed) > most + most / 8;
}

/* How many of the closed ones have to go so that there are no more than may be: this owner's part. */
static size_t surplus(struct tpi_alert_owner *o)
{
    uint64_t all = TPI_METRIC_GET(o->alerts->counters.closed);
    uint64_t most = keep_rows(o->alerts);
    if (all <= most || o->closed == 0) {
        return 0;
    }
    uint64_t n = (all - most) * o->closed / all + 1;
    return (size_t) (n < o->closed ? n : o->closed);
}

static void evict(struct tpi_alert *x)
{
    struct tpi_alert_owner *o = x->owner;
    struct tpi_alert_row *row = tpi_alloc(o->alerts->env->alloc, sizeof(*row));
    if (row == NULL) {
        return; /* its row could not be deleted: the next turn */
    }
    row->id = x->id;
    pthread_mutex_lock(&o->lock);
    row->next = o->gone;
    o->gone = row;
    o->closed--;
    pthread_mutex_unlock(&o->lock);
    tpi_alert_leave(x);
    atomic_fetch_add(&o->alerts->changes, 1);
    TPI_METRIC_ADD(o->alerts->counters.trimmed, 1);
    atomic_fetch_sub_explicit(&o->alerts->counters.closed, 1, memory_order_relaxed);
}

void tpi_alert_trim(struct tpi_alert_owner *o)
{
    const struct tpc_allocator *alloc = o->alerts->env->alloc;
    uint64_t keep = o->alerts->host.keep_ms > 0 ? o->alerts->host.keep_ms : TPI_ALERTS_KEEP_MS;
    int64_t before = tpi_unix_ms(o->alerts->env) - (int64_t) keep;
    size_t count = (size_t) o->closed;
    size_t extra = surplus(o);
    size_t iter = 0;
    size_t n = 0;
    void *value;
    struct tpi_alert **all =
        count > 0 ? tpi_alloc(alloc, count * sizeof(struct tpi_alert *)) : NULL;
    int64_t *times = count > 0 ? tpi_alloc(alloc, count * sizeof(*times)) : NULL;
    while (all != NULL && times != NULL && n < count &&
           tpi_map_next(&o->ids, &iter, NULL, &value)) {
        struct tpi_alert *x = value;
        if (!tpi_alert_open(x) && x->change > 0) {
            times[n] = x->cleared_ms;
            all[n++] = x;
        }
    }
    if (n > 0 && extra > 0) {
        qsort(times, n, sizeof(*times), by_time);
        int64_t last = times[(extra < n ? extra : n) - 1];
        before = last + 1 > before ? last + 1 : before;
    }
    for (size_t i = 0; i < n; i++) {
        if (all[i]->cleared_ms < before) {
            evict(all[i]);
        }
    }
    tpi_free(alloc, all, count * sizeof(struct tpi_alert *));
    tpi_free(alloc, times, count * sizeof(*times));
}

/* ---- storing ---- */

bool tpi_alerts_dirty(const struct tpi_alerts *a)
{
    return atomic_load_explicit(&a->changes, memory_order_relaxed) > 0;
}

static int take_gone(struct tpi_alert_owner *o, tpi_alert_row_fn *fn, void *user)
{
    int rc = 0;
    while (rc == 0 && o->gone != NULL) {
        struct tpi_alert_row *row = o->gone;
        char key[TPC_ID_TEXT_BYTES + 1];
        tpc_id_format(&row->id, key);
        rc =
            fn(user, tpc_str_from(key), (struct tpc_str){ NULL, 0 }, (struct tpc_bytes){ NULL, 0 });
        if (rc == 0) {
            o->gone = row->next;
            tpi_free(o->alerts->env->alloc, row, sizeof(*row));
        }
    }
    return rc;
}

static int take_one(const struct tpi_alert *x, struct tpc_arena *arena, tpi_alert_row_fn *fn,
                    void *user)
{
    struct tpi_alert_said row = { 0 };
    struct tpc_value doc;
    struct tpc_buf size = { NULL, 0, 0 };
    char key[TPC_ID_TEXT_BYTES + 1];
    tpc_arena_reset(arena);
    int rc = tpi_alert_write(x, &row, arena, &doc);
    if (rc == 0) {
        (void) tpc_json_write(&doc, 0, &size);
        uint8_t *json = tpc_arena_take(arena, size.need + 1);
        struct tpc_buf text = { json, size.need, 0 };
        rc = json == NULL ? TPC_ENOMEM : tpc_json_write(&doc, 0, &text);
        tpc_id_format(&x->id, key);
        rc = rc != 0
                 ? rc
                 : fn(user, tpc_str_from(key), x->device, (struct tpc_bytes){ json, text.need });
    }
    return rc;
}

static int take_dirty(struct tpi_alert_owner *o, struct tpc_arena *arena, tpi_alert_row_fn *fn,
                      void *user)
{
    int rc = 0;
    while (rc == 0 && o->dirty != NULL) {
        struct tpi_alert *x = o->dirty;
        rc = x->dead ? 0 : take_one(x, arena, fn, user);
        if (rc == 0) {
            o->dirty = x->next_dirty;
            x->dirty = false;
        }
        if (rc == 0 && x->dead) {
            free_alert(x);
        }
    }
    return rc;
}

int tpi_alerts_take(struct tpi_alerts *a, struct tpc_arena *arena, tpi_alert_row_fn *fn, void *user)
{
    unsigned seen = atomic_load(&a->changes);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < a->host.workers; i++) {
        struct tpi_alert_owner *o = &a->owners[i];
        pthread_mutex_lock(&o->lock);
        rc = take_dirty(o, arena, fn, user);
        rc = rc != 0 ? rc : take_gone(o, fn, user);
        pthread_mutex_unlock(&o->lock);
    }
    if (rc == 0) {
        atomic_fetch_sub(&a->changes, seen);
    }
    return rc;
}

/* Nobody else uses it. */
void tpi_alerts_reset(struct tpi_alerts *a)
{
    for (uint32_t i = 0; i < a->host.workers; i++) {
        struct tpi_alert_owner *o = &a->owners[i];
        size_t iter = 0;
        void *value;
        pthread_mutex_lock(&o->lock);
        while (o->dirty != NULL) {
            struct tpi_alert *x = o->dirty;
            o->dirty = x->next_dirty;
            x->dirty = false;
            if (x->dead) {
                free_alert(x);
            }
        }
        while (o->gone != NULL) {
            struct tpi_alert_row *row = o->gone;
            o->gone = row->next;
            tpi_free(a->env->alloc, row, sizeof(*row));
        }
        while (tpi_map_next(&o->ids, &iter, NULL, &value)) {
            free_alert(value);
        }
        tpi_map_fini(&o->ids);
        tpi_map64_fini(&o->devices);
        tpi_map_init(&o->ids, a->env->alloc);
        tpi_map64_init(&o->devices, a->env->alloc);
        o->open = 0;
        o->closed = 0;
        pthread_mutex_unlock(&o->lock);
        tpi_alert_watch_fini(o);
    }
    atomic_store(&a->changes, 0);
    TPI_METRIC_SET(a->counters.open, 0);
    TPI_METRIC_SET(a->counters.closed, 0);
    atomic_fetch_add(&a->generation, 1);
}

int tpi_alerts_owner(struct tpi_alerts *a, const struct tpc_id *id, uint32_t *ret_worker)
{
    for (uint32_t i = 0; i < a->host.workers; i++) {
        struct tpi_alert_owner *o = &a->owners[i];
        pthread_mutex_lock(&o->lock);
        const struct tpi_alert *x = tpi_map_get(&o->ids, id->b, sizeof(id->b));
        bool found = x != NULL && x->change > 0;
        pthread_mutex_unlock(&o->lock);
        if (found) {
            *ret_worker = i;
            return 0;
        }
    }
    return TPC_ENOENT;
}
