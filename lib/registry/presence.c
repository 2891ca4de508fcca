#include "registry/presence.h"

#include <string.h>

#include "base/alloc.h"
#include "registry/inside.h"

enum { FIRST_CAP = 64 };

struct tpi_presence_connection {
    uint64_t number;
};

/* ---- what is known of a device, and how many are like it ---- */

static void count(struct tpi_presence_count *c, int online, int active)
{
    atomic_fetch_add_explicit(&c->online, (uint64_t) (int64_t) online, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->active, (uint64_t) (int64_t) active, memory_order_relaxed);
}

static void count_all(struct tpc_device *d, int online, int active)
{
    if (!atomic_load_explicit(&d->deleted, memory_order_relaxed)) {
        count(&d->tenant->registry->presence, online, active);
        count(&d->tenant->presence, online, active);
        count(&d->product->name->presence, online, active);
    }
}

bool tpi_device_presence(struct tpc_device *d, bool online, bool by_session, int64_t unix_ms)
{
    tpi_device_bit(d, TPI_DEVICE_BY_SESSION, online && by_session);
    if (atomic_load_explicit(&d->online, memory_order_relaxed) == online) {
        return false;
    }
    atomic_store_explicit(&d->online, online, memory_order_relaxed);
    atomic_store_explicit(&d->presence_unix_ms, unix_ms, memory_order_relaxed);
    count_all(d, online ? 1 : -1, 0);
    if (online) {
        tpi_device_active(d, unix_ms);
    }
    return true;
}

void tpi_device_active(struct tpc_device *d, int64_t unix_ms)
{
    int64_t s = unix_ms / 1000;
    if (s > 0 && s <= UINT32_MAX &&
        atomic_load_explicit(&d->active_unix_s, memory_order_relaxed) == 0) {
        atomic_store_explicit(&d->active_unix_s, (uint32_t) s, memory_order_relaxed);
        count_all(d, 0, 1);
    }
}

static int is_online(const struct tpc_device *d)
{
    return atomic_load_explicit(&d->online, memory_order_relaxed);
}

static int is_active(const struct tpc_device *d)
{
    return atomic_load_explicit(&d->active_unix_s, memory_order_relaxed) != 0;
}

void tpi_presence_forget(struct tpc_device *d)
{
    count_all(d, -is_online(d), -is_active(d));
}

void tpi_presence_moved(struct tpc_device *d, struct tpi_name *from, struct tpi_name *to)
{
    count(&from->presence, -is_online(d), -is_active(d));
    count(&to->presence, is_online(d), is_active(d));
    /* All are arranged anew and get the whole time again: not for one who is not to be watched. */
    if (is_online(d) && d->product->silence_ms != 0) {
        atomic_fetch_add_explicit(&d->tenant->registry->presence_changes, 1, memory_order_relaxed);
    }
}

static void read_count(const struct tpi_presence_count *c, uint64_t devices,
                       struct tpi_presence_counts *ret)
{
    ret->devices = devices;
    ret->online = atomic_load_explicit(&c->online, memory_order_relaxed);
    ret->active = atomic_load_explicit(&c->active, memory_order_relaxed);
}

int tpi_registry_presence(struct tpi_registry *r, struct tpc_str tenant, struct tpc_str product,
                          struct tpi_presence_counts *ret)
{
    struct tpc_str name = tenant.len > 0 ? tenant : TPC_STR("main");
    int rc = 0;
    tpi_registry_read_lock(r);
    const struct tpi_tenant *t = tpi_map_get(&r->tenants, name.ptr, name.len);
    if (tenant.len == 0 && product.len == 0) {
        read_count(&r->presence, r->by_id.count, ret);
    } else if (t == NULL || !t->live) {
        rc = TPC_ENOENT;
    } else if (product.len == 0) {
        read_count(&t->presence, t->devices, ret);
    } else {
        const struct tpi_product_slot *slot = tpi_registry_product_slot(r, t->id, product);
        rc = slot != NULL && slot->current != NULL ? 0 : TPC_ENOENT;
        if (rc == 0) {
            read_count(&slot->current->name->presence, slot->device_count, ret);
        }
    }
    tpi_registry_read_unlock(r);
    return rc;
}

/* ---- the wheel ---- */

static const struct tpc_allocator *alloc_of(const struct tpi_presence *p)
{
    return p->registry->env->alloc;
}

void tpi_presence_init(struct tpi_presence *p, struct tpi_registry *registry, uint32_t worker,
                       uint32_t workers, uint64_t mono_ms, int64_t unix_ms)
{
    memset(p, 0, sizeof(*p));
    p->registry = registry;
    p->worker = worker;
    p->workers = workers;
    p->now_s = mono_ms / 1000;
    p->offset_ms = unix_ms - (int64_t) mono_ms;
    /* Devices that an earlier run left online: something has changed. */
    p->changes = atomic_load_explicit(&registry->presence_changes, memory_order_relaxed) - 1;
    tpi_map64_init(&p->connections, alloc_of(p));
}

static void free_slot(struct tpi_presence *p, uint32_t at)
{
    struct tpi_presence_slot *s = &p->slots[at];
    tpi_free(alloc_of(p), s->items, s->cap * sizeof(s->items[0]));
    memset(s, 0, sizeof(*s));
    p->busy[at / 64] &= ~(1ull << at % 64);
}

static void forget_connections(struct tpi_presence *p)
{
    size_t iter = 0;
    uint64_t key;
    void *value;
    while (tpi_map64_next(&p->connections, &iter, &key, &value)) {
        tpi_free(alloc_of(p), value, sizeof(struct tpi_presence_connection));
    }
    tpi_map64_fini(&p->connections);
}

void tpi_presence_fini(struct tpi_presence *p)
{
    if (p->registry == NULL) {
        return;
    }
    for (uint32_t i = 0; p->slots != NULL && i < TPI_PRESENCE_SLOTS; i++) {
        free_slot(p, i);
    }
    tpi_free(alloc_of(p), p->slots, TPI_PRESENCE_SLOTS * sizeof(p->slots[0]));
    forget_connections(p);
    memset(p, 0, sizeof(*p));
}

static bool grow(struct tpi_presence *p, struct tpi_presence_slot *s)
{
    uint32_t cap = s->cap == 0 ? FIRST_CAP : s->cap * 2;
    void *items =
        tpi_resize(alloc_of(p), s->items, s->cap * sizeof(s->items[0]), cap * sizeof(s->items[0]));
    if (items == NULL) {
        return false;
    }
    s->items = items;
    s->cap = cap;
    return true;
}

static void put(struct tpi_presence *p, struct tpc_device *d, uint64_t at_s)
{
    if (p->slots == NULL) {
        p->slots = tpi_alloc_array(alloc_of(p), TPI_PRESENCE_SLOTS, sizeof(p->slots[0]));
    }
    uint64_t first = p->now_s + 1;
    uint64_t place = at_s < first ? first : at_s;
    /* Not the slot that a pass stands on: its second is now_s + 1, and it comes round after SLOTS. */
    place = place - first > TPI_PRESENCE_SLOTS - 2 ? first + TPI_PRESENCE_SLOTS - 2 : place;
    uint32_t at = (uint32_t) (place % TPI_PRESENCE_SLOTS);
    struct tpi_presence_slot *s = p->slots != NULL ? &p->slots[at] : NULL;
    if (s == NULL || (s->count == s->cap && !grow(p, s))) {
        p->again = true;
        tpi_device_bit(d, TPI_DEVICE_TIMED, false);
        return;
    }
    s->items[s->count++] = (struct tpi_presence_due){ d->id, at_s };
    p->busy[at / 64] |= 1ull << at % 64;
    p->count++;
    tpi_device_bit(d, TPI_DEVICE_TIMED, true);
}

/* The first second in which a device seen then has been silent for longer than its product says;
 * 0 = there is no such time. */
static uint64_t due_s(const struct tpi_presence *p, const struct tpc_device *d, int64_t unix_ms)
{
    uint32_t silence_ms = d->product->silence_ms;
    int64_t mono = unix_ms - p->offset_ms + silence_ms;
    return silence_ms == 0 ? 0 : mono <= 0 ? 1 : (uint64_t) mono / 1000 + 1;
}

void tpi_presence_arm(struct tpi_presence *p, struct tpc_device *d, int64_t unix_ms)
{
    uint64_t at = due_s(p, d, unix_ms);
    if (at != 0 && !tpi_device_has(d, TPI_DEVICE_TIMED) && is_online(d)) {
        put(p, d, at);
    }
}

void tpi_presence_retry(struct tpi_presence *p, struct tpc_device *d, uint64_t mono_ms)
{
    put(p, d, mono_ms / 1000 + 1);
}

/* Everyone who is online gets the whole time again, from now on. */
static void arrange_product(struct tpi_presence *p, struct tpc_device *d)
{
    for (; d != NULL; d = d->next) {
        if (d->partition % p->workers == p->worker) {
            tpi_device_bit(d, TPI_DEVICE_TIMED, false);
            tpi_presence_arm(p, d, p->offset_ms + (int64_t) (p->now_s * 1000));
        }
    }
}

static void arrange(struct tpi_presence *p, uint64_t mono_ms, int64_t unix_ms)
{
    for (uint32_t i = 0; p->slots != NULL && i < TPI_PRESENCE_SLOTS; i++) {
        free_slot(p, i);
    }
    p->count = 0;
    p->again = false;
    p->changes = atomic_load_explicit(&p->registry->presence_changes, memory_order_relaxed);
    p->now_s = mono_ms / 1000;
    p->offset_ms = unix_ms - (int64_t) mono_ms;
    size_t iter = 0;
    void *value;
    while (tpi_map_next(&p->registry->products, &iter, NULL, &value)) {
        struct tpi_product_slot *slot = value;
        if (slot->current != NULL && slot->current->silence_ms != 0) {
            arrange_product(p, slot->devices);
        }
    }
}

bool tpi_presence_due(const struct tpi_presence *p, uint64_t mono_ms)
{
    bool late = mono_ms / 1000 > p->now_s;
    return p->changes !=
               atomic_load_explicit(&p->registry->presence_changes, memory_order_relaxed) ||
           (late && (p->count > 0 || p->again));
}

uint64_t tpi_presence_next_ms(const struct tpi_presence *p, uint64_t mono_ms)
{
    if (p->registry == NULL) {
        return UINT64_MAX; /* not prepared yet */
    }
    if (tpi_presence_due(p, mono_ms)) {
        return 0;
    }
    uint64_t s = p->now_s + 1;
    if (!p->again) {
        if (p->count == 0) {
            return UINT64_MAX;
        }
        while ((p->busy[s % TPI_PRESENCE_SLOTS / 64] >> s % 64 & 1) == 0) {
            s++; /* count > 0: one of them is set */
        }
    }
    return s * 1000 > mono_ms ? s * 1000 - mono_ms : 0;
}

/* Whether the device has gone; if not it stands where it will be looked at next, or nowhere. */
static bool look(struct tpi_presence *p, const struct tpi_presence_due *due, uint64_t now_s,
                 int64_t unix_ms, struct tpc_device **ret)
{
    struct tpc_device *d = tpi_registry_by_id(p->registry, due->id);
    if (d == NULL) {
        return false;
    }
    tpi_device_bit(d, TPI_DEVICE_TIMED, false);
    int64_t seen = atomic_load_explicit(&d->last_seen_unix_ms, memory_order_relaxed);
    int64_t since = atomic_load_explicit(&d->presence_unix_ms, memory_order_relaxed);
    /* A time to come: the clock was set back, or a message said so of itself. */
    seen = seen <= unix_ms ? seen : 0;
    since = since <= unix_ms ? since : 0;
    uint64_t at = due_s(p, d, seen > since ? seen : since);
    if (at == 0 || !is_online(d)) {
        return false;
    }
    at = at > due->at_s ? at : due->at_s; /* a start gave it more */
    if (at > now_s) {
        put(p, d, at);
        return false;
    }
    *ret = d;
    return true;
}

uint32_t tpi_presence_pass(struct tpi_presence *p, uint64_t mono_ms, int64_t unix_ms,
                           struct tpc_device **ret)
{
    uint64_t now_s = mono_ms / 1000;
    uint32_t n = 0;
    int64_t jump = unix_ms - (int64_t) mono_ms - p->offset_ms;
    uint32_t changes = atomic_load_explicit(&p->registry->presence_changes, memory_order_relaxed);
    if (p->again || changes != p->changes || jump > TPI_PRESENCE_JUMP_MS ||
        jump < -TPI_PRESENCE_JUMP_MS) {
        arrange(p, mono_ms, unix_ms);
        return 0;
    }
    p->offset_ms += jump;
    if (now_s - p->now_s > TPI_PRESENCE_SLOTS) {
        p->now_s = now_s - TPI_PRESENCE_SLOTS; /* once round is all there is */
    }
    while (p->now_s < now_s && p->count > 0) {
        uint32_t at = (uint32_t) ((p->now_s + 1) % TPI_PRESENCE_SLOTS);
        struct tpi_presence_slot *s = &p->slots[at];
        while (s->count > 0 && n < TPI_PRESENCE_BATCH) {
            struct tpi_presence_due due = s->items[--s->count];
            p->count--;
            n += look(p, &due, now_s, unix_ms, &ret[n]);
        }
        if (s->count > 0) {
            break;
        }
        free_slot(p, at);
        p->now_s++;
    }
    if (p->count == 0 && n < TPI_PRESENCE_BATCH) {
        p->now_s = now_s;
    }
    for (uint32_t i = 0; i < n; i++) {
        (void) tpi_device_ref(ret[i]);
    }
    return n;
}

/* ---- connections that are numbered ---- */

bool tpi_presence_late(struct tpi_presence *p, const struct tpc_device *d, uint64_t connection)
{
    struct tpi_presence_connection *c = tpi_map64_get(&p->connections, d->id);
    if (c == NULL) {
        bool room = tpi_map64_count(&p->connections) < TPI_PRESENCE_CONNECTIONS;
        c = room ? tpi_alloc_zero(alloc_of(p), sizeof(*c)) : NULL;
        if (c == NULL || tpi_map64_put(&p->connections, d->id, c, NULL) != 0) {
            tpi_free(alloc_of(p), c, sizeof(*c));
            return false;
        }
    }
    if (connection < c->number) {
        return true;
    }
    c->number = connection;
    return false;
}
