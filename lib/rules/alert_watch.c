/*
 * Devices that are offline for too long. No timer per device: those of a configuration wait in one
 * queue, in the order in which they went, for all wait for the same time; a device that comes back is
 * passed over when its turn comes.
 */
#include "base/alloc.h"
#include "registry/device.h"
#include "rules/alert_state.h"
#include "rules/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WATCH_BATCH = 256, /* devices of one turn */
    FIRST_CAP = 64,
    ID_MARK = 0xA1E28 /* instead of a partition, as in alert_change.c */
};

static const struct tpc_allocator *alloc_of(const struct tpi_alert_owner *o)
{
    return o->alerts->env->alloc;
}

static void free_watches(struct tpi_alert_owner *o, struct tpi_alert_watch *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        tpi_alert_config_unref(list[i].config);
        tpi_free(alloc_of(o), list[i].items, list[i].cap * sizeof(list[i].items[0]));
    }
    tpi_free(alloc_of(o), list, count * sizeof(list[0]));
}

void tpi_alert_watch_fini(struct tpi_alert_owner *o)
{
    free_watches(o, o->watches, o->watch_count);
    tpi_free(alloc_of(o), o->back, o->back_cap * sizeof(o->back[0]));
    o->watches = NULL;
    o->watch_count = 0;
    o->back = NULL;
    o->back_count = 0;
    o->back_cap = 0;
}

/* Out of memory: everything is looked at again. */
static void look_again(struct tpi_alert_owner *o)
{
    o->generation = atomic_load(&o->alerts->generation) - 1;
    o->retry_ms = tpi_mono_ms(o->alerts->env) + TPI_ALERT_RETRY_MS;
}

static int push_absent(struct tpi_alert_owner *o, struct tpi_alert_watch *w, uint64_t device_id,
                       int64_t since_ms)
{
    if (w->first > 0 && w->first >= w->cap / 2 && w->first + w->count == w->cap) {
        memmove(w->items, w->items + w->first, w->count * sizeof(w->items[0]));
        w->first = 0;
    }
    if (w->first + w->count == w->cap) {
        size_t cap = w->cap == 0 ? FIRST_CAP : w->cap * 2;
        void *items = tpi_resize(alloc_of(o), w->items, w->cap * sizeof(w->items[0]),
                                 cap * sizeof(w->items[0]));
        if (items == NULL) {
            return TPC_ENOMEM;
        }
        w->items = items;
        w->cap = cap;
    }
    w->items[w->first + w->count++] = (struct tpi_alert_absent){ device_id, since_ms, since_ms };
    return 0;
}

static void pop_absent(struct tpi_alert_owner *o, struct tpi_alert_watch *w)
{
    w->first++;
    if (--w->count == 0) {
        tpi_free(alloc_of(o), w->items, w->cap * sizeof(w->items[0]));
        w->items = NULL;
        w->first = 0;
        w->cap = 0;
    }
}

static int push_back(struct tpi_alert_owner *o, uint64_t device_id)
{
    if (o->back_count == o->back_cap) {
        size_t cap = o->back_cap == 0 ? FIRST_CAP : o->back_cap * 2;
        void *back = tpi_resize(alloc_of(o), o->back, o->back_cap * sizeof(o->back[0]),
                                cap * sizeof(o->back[0]));
        if (back == NULL) {
            return TPC_ENOMEM;
        }
        o->back = back;
        o->back_cap = cap;
    }
    o->back[o->back_count++] = device_id;
    return 0;
}

static bool any_open(struct tpi_alert_owner *o, uint64_t device_id)
{
    const struct tpi_alert *x = tpi_map64_get(&o->devices, device_id);
    while (x != NULL && (x->change == 0 || !tpi_alert_open(x))) {
        x = x->next;
    }
    return x != NULL;
}

void tpi_alerts_presence(struct tpi_alerts *a, uint32_t worker, const struct tpc_device *device,
                         bool online, int64_t unix_ms)
{
    struct tpi_alert_owner *o = &a->owners[worker];
    int rc = 0;
    if (atomic_load_explicit(&a->offline, memory_order_relaxed) == 0) {
        return;
    }
    if (online) {
        rc = any_open(o, device->id) ? push_back(o, device->id) : 0;
    }
    for (uint32_t i = 0; !online && rc == 0 && i < o->watch_count; i++) {
        if (o->watches[i].product_id == device->product->id) {
            rc = push_absent(o, &o->watches[i], device->id, unix_ms);
        }
    }
    if (rc != 0) {
        look_again(o);
    }
}

/* ---- beginning anew ---- */

struct scan {
    struct tpi_alert_owner *o;
    struct tpi_alert_watch *list;
    uint32_t count;
};

/* Configurations that watch a product. */
static int find_configs(struct scan *s)
{
    struct tpi_alerts *a = s->o->alerts;
    uint32_t most = atomic_load(&a->offline);
    size_t iter = 0;
    void *value;
    if (most == 0) {
        return 0;
    }
    struct tpi_alert_watch *list = tpi_alloc_array(alloc_of(s->o), most, sizeof(*list));
    if (list == NULL) {
        return TPC_ENOMEM;
    }
    pthread_mutex_lock(&a->config_lock);
    while (s->count < most && tpi_map_next(&a->configs, &iter, NULL, &value)) {
        struct tpi_alert_config *c = value != a ? value : NULL;
        if (c != NULL && c->enabled && c->offline_product.len > 0) {
            atomic_fetch_add(&c->refs, 1);
            list[s->count++].config = c;
        }
    }
    pthread_mutex_unlock(&a->config_lock);
    if (s->count < most) {
        struct tpi_alert_watch *fit =
            s->count > 0
                ? tpi_resize(alloc_of(s->o), list, most * sizeof(*list), s->count * sizeof(*list))
                : NULL;
        if (fit == NULL) {
            for (uint32_t i = 0; i < s->count; i++) {
                tpi_alert_config_unref(list[i].config);
            }
            tpi_free(alloc_of(s->o), list, most * sizeof(*list));
            int rc = s->count > 0 ? TPC_ENOMEM : 0;
            s->count = 0;
            return rc;
        }
        list = fit;
    }
    s->list = list;
    return 0;
}

static bool is_raised(struct tpi_alert_owner *o, uint64_t device_id, struct tpc_str key)
{
    const struct tpi_alert *x = tpi_alert_find(o, device_id, key);
    return x != NULL && tpi_alert_open(x);
}

static int scan_device(void *user, struct tpc_device *d)
{
    struct scan *s = user;
    int64_t since = atomic_load_explicit(&d->presence_unix_ms, memory_order_relaxed);
    int rc = 0;
    if (tpi_alert_owner_of(s->o->alerts, d->partition) != s->o || since == 0 ||
        atomic_load_explicit(&d->online, memory_order_relaxed)) {
        return 0; /* who was never there is not missed */
    }
    for (uint32_t i = 0; rc == 0 && i < s->count; i++) {
        struct tpi_alert_watch *w = &s->list[i];
        if (w->product_id == d->product->id && !is_raised(s->o, d->id, w->config->key)) {
            rc = push_absent(s->o, w, d->id, since);
        }
    }
    return rc;
}

static int by_since(const void *a, const void *b)
{
    int64_t x = ((const struct tpi_alert_absent *) a)->since_ms;
    int64_t y = ((const struct tpi_alert_absent *) b)->since_ms;
    return x < y ? -1 : x > y;
}

static int scan_devices(struct scan *s)
{
    struct tpi_registry *r = s->o->alerts->host.registry;
    tpi_registry_read_lock(r);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tpi_alert_config *c = s->list[i].config;
        const struct tpi_product *p = tpi_registry_product(r, c->tenant, c->offline_product);
        s->list[i].product_id = p != NULL ? p->id : 0;
    }
    int rc = s->count > 0 ? tpi_registry_each_device(r, scan_device, s) : 0;
    tpi_registry_read_unlock(r);
    for (uint32_t i = 0; rc == 0 && i < s->count; i++) {
        if (s->list[i].count > 0) {
            qsort(s->list[i].items, s->list[i].count, sizeof(s->list[i].items[0]), by_since);
        }
    }
    return rc;
}

/* Timers as the configurations are; devices are looked at that have come back or gone meanwhile. */
static int scan_alerts(struct tpi_alert_owner *o)
{
    struct tpi_registry *r = o->alerts->host.registry;
    size_t iter = 0;
    void *value;
    int rc = 0;
    while (rc == 0 && tpi_map_next(&o->ids, &iter, NULL, &value)) {
        struct tpi_alert *x = value;
        if (x->change == 0 || !tpi_alert_open(x)) {
            continue;
        }
        tpi_alert_arm(x);
        tpi_registry_read_lock(r);
        const struct tpc_device *d = tpi_registry_by_id(r, x->device_id);
        bool back = d == NULL || atomic_load_explicit(&d->online, memory_order_relaxed);
        tpi_registry_read_unlock(r);
        rc = back ? push_back(o, x->device_id) : 0;
    }
    return rc;
}

bool tpi_alert_rescan(struct tpi_alert_owner *o)
{
    unsigned generation = atomic_load(&o->alerts->generation);
    struct scan s = { .o = o };
    uint64_t now = tpi_mono_ms(o->alerts->env);
    if (o->retry_ms > now) {
        return false;
    }
    o->back_count = 0;
    int rc = find_configs(&s);
    rc = rc != 0 ? rc : scan_devices(&s);
    rc = rc != 0 ? rc : scan_alerts(o);
    if (rc != 0) {
        free_watches(o, s.list, s.count);
        look_again(o);
        return false;
    }
    free_watches(o, o->watches, o->watch_count);
    o->watches = s.list;
    o->watch_count = s.count;
    o->generation = generation;
    return true;
}

/* ---- turns ---- */

/* Whether an alert says no more than that its device is offline. */
static bool is_offline(struct tpi_alert *x)
{
    struct tpi_alert_config *c = tpi_alert_config_get(x->owner->alerts, x->tenant_id, x->key);
    bool offline = c != NULL && c->offline_product.len > 0;
    tpi_alert_config_unref(c);
    return offline;
}

static int clear_back(struct tpi_alert_owner *o, uint64_t device_id)
{
    struct tpi_registry *r = o->alerts->host.registry;
    struct tpc_str none = { NULL, 0 };
    int rc = 0;
    tpi_registry_read_lock(r);
    const struct tpc_device *d = tpi_registry_by_id(r, device_id);
    bool gone = d == NULL;
    bool online = !gone && atomic_load_explicit(&d->online, memory_order_relaxed);
    tpi_registry_read_unlock(r);
    struct tpi_alert *x = gone || online ? tpi_map64_get(&o->devices, device_id) : NULL;
    for (; rc == 0 && x != NULL; x = x->next) {
        if (x->change > 0 && tpi_alert_open(x) && (gone || is_offline(x))) {
            rc = tpi_alert_clear_now(x, TPC_STR("core"), none, none, NULL,
                                     tpi_unix_ms(o->alerts->env));
        }
    }
    return rc;
}

/* The device, counted, if it has been offline since then; NULL = it has not. */
static struct tpc_device *still_absent(struct tpi_alert_owner *o, const struct tpi_alert_watch *w,
                                       const struct tpi_alert_absent *m)
{
    struct tpi_registry *r = o->alerts->host.registry;
    tpi_registry_read_lock(r);
    struct tpc_device *d = tpi_registry_by_id(r, m->device_id);
    bool absent = d != NULL && !atomic_load_explicit(&d->online, memory_order_relaxed) &&
                  d->product->id == w->product_id &&
                  atomic_load_explicit(&d->presence_unix_ms, memory_order_relaxed) <= m->said_ms;
    d = absent ? tpi_device_ref(d) : NULL;
    tpi_registry_read_unlock(r);
    return d;
}

static int raise_absent(struct tpi_alert_owner *o, const struct tpi_alert_watch *w,
                        const struct tpi_alert_absent *m)
{
    char by[160];
    char text[64];
    const struct tpi_alert_config *c = w->config;
    struct tpc_device *d = still_absent(o, w, m);
    if (d == NULL || is_raised(o, m->device_id, c->key)) {
        tpi_device_unref(d);
        return 0;
    }
    int len = snprintf(by, sizeof(by), "alert:%.*s", (int) c->key.len, c->key.ptr);
    int text_len = snprintf(text, sizeof(text), "offline for %lld s",
                            (long long) (c->offline_after_ms / 1000));
    struct tpi_alert_wish wish = { .device = d,
                                   .raise = true,
                                   .key = c->key,
                                   .text = { text, (size_t) text_len },
                                   .by = { by, (size_t) len },
                                   .unix_ms = tpi_unix_ms(o->alerts->env) };
    int rc = tpi_rules_action_id(c->id, m->device_id, ID_MARK, (uint64_t) m->since_ms, 0, &wish.id);
    rc = rc != 0 ? rc : tpi_alerts_wish(o->alerts, o->index, &wish, NULL);
    tpi_device_unref(d);
    return rc == TPC_EDENIED || rc == TPC_ETOOBIG ? 0 : rc;
}

static int watch_one(struct tpi_alert_owner *o, struct tpi_alert_watch *w, uint32_t *done)
{
    int64_t now = tpi_unix_ms(o->alerts->env);
    int rc = 0;
    while (rc == 0 && w->count > 0 && *done < WATCH_BATCH) {
        struct tpi_alert_absent *m = &w->items[w->first];
        m->since_ms = m->since_ms > now ? now : m->since_ms; /* the clock was set back */
        if (m->since_ms + w->config->offline_after_ms > now) {
            break;
        }
        rc = raise_absent(o, w, m);
        if (rc == 0) {
            pop_absent(o, w);
            (*done)++;
        }
    }
    return rc;
}

bool tpi_alert_watch_turn(struct tpi_alert_owner *o)
{
    uint64_t now = tpi_mono_ms(o->alerts->env);
    uint32_t done = 0;
    int rc = 0;
    if (o->retry_ms > now) {
        return false;
    }
    while (rc == 0 && o->back_count > 0 && done < WATCH_BATCH) {
        rc = clear_back(o, o->back[o->back_count - 1]);
        if (rc == 0) {
            o->back_count--;
            done++;
        }
    }
    for (uint32_t i = 0; rc == 0 && i < o->watch_count; i++) {
        rc = watch_one(o, &o->watches[i], &done);
    }
    if (rc != 0) {
        TPI_METRIC_ADD(o->alerts->counters.delayed, 1);
        o->retry_ms = now + TPI_ALERT_RETRY_MS;
    }
    return done > 0;
}

uint64_t tpi_alert_watch_next_ms(struct tpi_alert_owner *o)
{
    uint64_t mono = tpi_mono_ms(o->alerts->env);
    int64_t now = tpi_unix_ms(o->alerts->env);
    uint64_t next = o->back_count > 0 ? 0 : UINT64_MAX;
    for (uint32_t i = 0; i < o->watch_count; i++) {
        const struct tpi_alert_watch *w = &o->watches[i];
        if (w->count > 0) {
            int64_t at = w->items[w->first].since_ms + w->config->offline_after_ms;
            uint64_t wait = at > now ? (uint64_t) (at - now) : 0;
            next = wait < next ? wait : next;
        }
    }
    uint64_t retry = o->retry_ms > mono ? o->retry_ms - mono : 0;
    return next < retry ? retry : next;
}
