/* See topology.h. Entries are made in prepare, not live, so that apply needs no memory and the
 * changes of one batch see one another. */
#include "registry/topology.h"

#include <string.h>

#include "base/alloc.h"
#include "data/number.h"
#include "registry/inside.h"

enum { KEY_BYTES = 8 + TPI_ADDRESS_BYTES };

static const char home_kind[] = "home";

struct tpi_link {
    struct tpc_device *device;
    struct tpc_device *gateway;
    struct tpi_link *next; /* behind the same gateway */
    struct tpi_link *prev;
    struct tpi_link *coming; /* replaces this one at apply */
    bool live;
    uint16_t len;
    char text[]; /* number of the gateway, address: its key in the table */
};

static size_t bytes_of(const struct tpi_link *l)
{
    return sizeof(*l) + l->len;
}

static size_t key_of(uint64_t gateway_id, struct tpc_str address, char out[KEY_BYTES])
{
    memcpy(out, &gateway_id, sizeof(gateway_id));
    memcpy(out + sizeof(gateway_id), address.ptr, address.len);
    return sizeof(gateway_id) + address.len;
}

/* ---- looking up ---- */

static struct tpi_link *link_at(const struct tpi_registry *r, uint64_t gateway_id,
                                struct tpc_str address)
{
    char key[KEY_BYTES];
    if (address.len == 0 || address.len > TPI_ADDRESS_BYTES) {
        return NULL;
    }
    return tpi_map_get(&r->addresses, key, key_of(gateway_id, address, key));
}

struct tpc_device *tpi_topology_find(const struct tpi_registry *r, uint64_t gateway_id,
                                     struct tpc_str address)
{
    const struct tpi_link *l = link_at(r, gateway_id, address);
    return l != NULL && l->live ? l->device : NULL;
}

struct tpc_str tpi_topology_address(const struct tpi_registry *r, const struct tpc_device *d)
{
    const struct tpi_link *l = d->gateway != NULL ? tpi_map64_get(&r->links, d->id) : NULL;
    if (l == NULL || !l->live) {
        return (struct tpc_str){ NULL, 0 };
    }
    return (struct tpc_str){ l->text + sizeof(uint64_t), l->len - sizeof(uint64_t) };
}

bool tpi_topology_behind(const struct tpc_device *d, const struct tpc_device *gateway)
{
    while (d->gateway != NULL && d->gateway != gateway) {
        d = d->gateway;
    }
    return d->gateway != NULL;
}

uint32_t tpi_topology_level(const struct tpc_device *d)
{
    uint32_t level = 0;
    for (; d->gateway != NULL; d = d->gateway) {
        level++;
    }
    return level;
}

int tpi_topology_each(const struct tpi_registry *r, uint64_t gateway_id,
                      int (*fn)(void *user, struct tpc_device *device, struct tpc_str address),
                      void *user)
{
    int rc = 0;
    for (struct tpi_link *l = tpi_map64_get(&r->subs, gateway_id); l != NULL && rc == 0;
         l = l->next) {
        struct tpc_str address = { l->text + sizeof(uint64_t), l->len - sizeof(uint64_t) };
        rc = l->live ? fn(user, l->device, address) : 0;
    }
    return rc;
}

/* ---- what would be: entries on their way count, and so do those that they replace ---- */

/* Whether `top` is d or stands above it. */
static bool is_above(const struct tpi_registry *r, const struct tpc_device *top,
                     const struct tpc_device *d)
{
    if (d == top) {
        return true;
    }
    for (const struct tpi_link *l = tpi_map64_get(&r->links, d->id); l != NULL; l = l->coming) {
        if (is_above(r, top, l->gateway)) {
            return true;
        }
    }
    return false;
}

/* Devices in a row from the uppermost gateway down to d. */
static uint32_t depth_of(const struct tpi_registry *r, const struct tpc_device *d)
{
    uint32_t above = 0;
    for (const struct tpi_link *l = tpi_map64_get(&r->links, d->id); l != NULL; l = l->coming) {
        uint32_t depth = depth_of(r, l->gateway);
        above = depth > above ? depth : above;
    }
    return above + 1;
}

/* Devices in a row from d down to the lowest. */
static uint32_t height_of(const struct tpi_registry *r, const struct tpc_device *d)
{
    uint32_t below = 0;
    for (const struct tpi_link *l = tpi_map64_get(&r->subs, d->id); l != NULL; l = l->next) {
        uint32_t height = height_of(r, l->device);
        below = height > below ? height : below;
    }
    return below + 1;
}

static int refuse(struct tpc_error *err, int code, const char *member, const char *text,
                  struct tpc_str key)
{
    tpi_error_set(err, code, tpi_registry_origin, text, (int) (key.len > 64 ? 64 : key.len),
                  key.ptr);
    tpi_error_at(err, member);
    return code;
}

int tpi_topology_check(const struct tpi_registry *r, const struct tpi_change *change,
                       const struct tpc_device *d, const struct tpc_device *gateway,
                       struct tpc_error *err)
{
    if (gateway == NULL) {
        return 0;
    }
    if (d != NULL && is_above(r, d, gateway)) {
        /* Who reads a move of many later may see it half. */
        return refuse(err, change->loading ? TPC_EAGAIN : TPC_EINVAL, "gateway",
                      "cycle: \"%.*s\" would stand behind itself", change->key);
    }
    uint32_t height = d != NULL ? height_of(r, d) : 1;
    if (!change->loading && depth_of(r, gateway) + height > TPI_REGISTRY_GATEWAY_DEPTH) {
        return refuse(err, TPC_ETOOBIG, "gateway",
                      "behind \"%.*s\" there would be more than 5 levels of sub-gateways",
                      gateway->key);
    }
    return 0;
}

/* ---- entries ---- */

static struct tpi_link *link_make(struct tpi_registry *r, struct tpc_device *d,
                                  struct tpc_device *gateway, struct tpc_str address)
{
    size_t len = sizeof(uint64_t) + address.len;
    struct tpi_link *l = tpi_alloc_zero(r->env->alloc, sizeof(*l) + len);
    if (l != NULL) {
        l->device = d;
        l->gateway = gateway;
        l->len = (uint16_t) key_of(gateway->id, address, l->text);
    }
    return l;
}

/* Into the table of addresses and before its siblings. */
static int link_add(struct tpi_registry *r, struct tpi_link *l)
{
    struct tpi_link *first = tpi_map64_get(&r->subs, l->gateway->id);
    if (tpi_map_put(&r->addresses, l->text, l->len, l, NULL) != 0) {
        return TPC_ENOMEM;
    }
    if (tpi_map64_put(&r->subs, l->gateway->id, l, NULL) != 0) {
        tpi_map_remove(&r->addresses, l->text, l->len);
        return TPC_ENOMEM;
    }
    l->next = first;
    if (first != NULL) {
        first->prev = l;
    }
    return 0;
}

static void link_drop(struct tpi_registry *r, struct tpi_link *l)
{
    tpi_map_remove(&r->addresses, l->text, l->len);
    if (l->next != NULL) {
        l->next->prev = l->prev;
    }
    if (l->prev != NULL) {
        l->prev->next = l->next;
    } else if (l->next != NULL) {
        (void) tpi_map64_put(&r->subs, l->gateway->id, l->next, NULL);
    } else {
        tpi_map64_remove(&r->subs, l->gateway->id);
    }
    tpi_free(r->env->alloc, l, bytes_of(l));
}

/* Makes the fresh entry. Write lock. */
static int link_prepare(struct tpi_registry *r, struct tpc_device *d, struct tpc_str address,
                        struct tpi_topology_change *c)
{
    c->fresh = link_make(r, d, c->gateway, address);
    if (c->fresh == NULL) {
        return TPC_ENOMEM;
    }
    if (link_add(r, c->fresh) != 0) {
        tpi_free(r->env->alloc, c->fresh, bytes_of(c->fresh));
        c->fresh = NULL;
        return TPC_ENOMEM;
    }
    if (c->old != NULL) {
        c->old->coming = c->fresh;
    } else if (tpi_map64_put(&r->links, d->id, c->fresh, NULL) != 0) {
        link_drop(r, c->fresh);
        c->fresh = NULL;
        return TPC_ENOMEM;
    }
    return 0;
}

/* ---- homes: whose number gives the partition, where that is not what the topology says ---- */

static uint64_t home_of(const struct tpi_registry *r, const struct tpc_device *d)
{
    for (; d->gateway != NULL; d = d->gateway) {
        uintptr_t home = (uintptr_t) tpi_map64_get(&r->homes, d->id);
        if (home != 0) {
            return home;
        }
    }
    uintptr_t home = (uintptr_t) tpi_map64_get(&r->homes, d->id);
    return home != 0 ? home : d->id;
}

/* Digits of a number above 0. */
static uint64_t number_of(const char *text, size_t len)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || n > (UINT64_MAX - 9) / 10) {
            return 0;
        }
        n = n * 10 + (uint64_t) (text[i] - '0');
    }
    return n;
}

static int on_home(void *user, struct tpc_str key, struct tpc_bytes doc)
{
    struct tpi_registry *r = user;
    uint64_t id = number_of(key.ptr, key.len);
    uint64_t home = number_of((const char *) doc.ptr, doc.len);
    if (id == 0 || home == 0) {
        return TPC_ECORRUPT;
    }
    return tpi_map64_put(&r->homes, id, (void *) (uintptr_t) home, NULL);
}

int tpi_topology_load(struct tpi_registry *r, struct tpi_change *change, struct tpc_error *err)
{
    if (!change->loading || r->homes_loaded) {
        return 0;
    }
    int rc = tpi_change_metas(change, TPC_STR(home_kind), err, on_home, r);
    r->homes_loaded = rc == 0;
    return rc;
}

uint32_t tpi_topology_partition(const struct tpi_registry *r, uint64_t id,
                                const struct tpc_device *gateway)
{
    uintptr_t home = (uintptr_t) tpi_map64_get(&r->homes, id);
    if (home == 0 && gateway != NULL) {
        return gateway->partition;
    }
    return tpi_registry_partition(r, home != 0 ? home : id);
}

static int home_op(struct tpi_change *change, uint32_t type, uint64_t home, struct tpc_error *err)
{
    char *key = tpc_arena_take(change->arena, 2 * (size_t) TPI_NUMBER_TEXT_BYTES);
    if (key == NULL) {
        return tpi_registry_no_memory(err);
    }
    char *doc = key + TPI_NUMBER_TEXT_BYTES;
    size_t key_len = tpi_number_print_int((int64_t) change->id, key);
    size_t doc_len = tpi_number_print_int((int64_t) home, doc);
    struct tpc_store_op op = { .size = sizeof(op), .type = type, .expect = TPC_ANY_REV };
    op.row = (struct tpc_row){ .size = sizeof(op.row),
                               .space = TPC_SPACE_META,
                               .kind = TPC_STR(home_kind),
                               .key = { key, key_len },
                               .id = change->id,
                               .revision = 1,
                               .created_unix_ms = change->created_unix_ms,
                               .modified_unix_ms = change->modified_unix_ms,
                               .doc = { (const uint8_t *) doc, doc_len } };
    int rc = tpi_change_op(change, &op);
    return rc == 0 ? 0 : tpi_registry_no_memory(err);
}

/* Its log stays where it is, wherever it goes: that is stored if the new place would say
 * otherwise. */
static int home_prepare(struct tpi_registry *r, struct tpi_change *change,
                        const struct tpc_device *d, struct tpi_topology_change *c,
                        struct tpc_error *err)
{
    bool has = tpi_map64_get(&r->homes, d->id) != NULL;
    uint32_t there = c->gateway != NULL ? c->gateway->partition : tpi_registry_partition(r, d->id);
    if (change->loading || has == (there != d->partition)) {
        return 0;
    }
    if (has) {
        c->home = TPI_HOME_GOES;
        return home_op(change, TPC_STORE_DELETE, 0, err);
    }
    uint64_t home = home_of(r, d);
    if (tpi_map64_put(&r->homes, d->id, (void *) (uintptr_t) home, NULL) != 0) {
        return tpi_registry_no_memory(err);
    }
    c->home = TPI_HOME_COMES;
    return home_op(change, TPC_STORE_PUT, home, err);
}

/* ---- the change of a device ---- */

static bool address_same(const struct tpi_link *l, struct tpc_str address)
{
    return l->len == sizeof(uint64_t) + address.len &&
           memcmp(l->text + sizeof(uint64_t), address.ptr, address.len) == 0;
}

int tpi_topology_prepare(struct tpi_registry *r, struct tpi_change *change, struct tpc_device *d,
                         struct tpc_device *gateway, struct tpi_topology_change *c,
                         struct tpc_error *err)
{
    struct tpc_str address = tpc_value_text(tpc_value_get(change->doc, TPC_STR("address")));
    address = address.len > 0 ? address : change->key;
    *c = (struct tpi_topology_change){ .gateway = gateway, .old = tpi_map64_get(&r->links, d->id) };
    if (gateway == NULL && c->old == NULL) {
        return 0;
    }
    if (c->old != NULL && c->old->gateway == gateway && address_same(c->old, address)) {
        return 0;
    }
    if (gateway != NULL && link_at(r, gateway->id, address) != NULL) {
        return refuse(err, change->loading ? TPC_EAGAIN : TPC_EEXIST, "address",
                      "another device behind the gateway has the address \"%.*s\"", address);
    }
    pthread_rwlock_wrlock(&r->lock);
    int rc = gateway != NULL ? link_prepare(r, d, address, c) : 0;
    pthread_rwlock_unlock(&r->lock);
    c->changed = rc == 0;
    if (rc != 0) {
        return tpi_registry_no_memory(err);
    }
    bool moves = c->old != NULL ? c->old->gateway != gateway : d->gateway != gateway;
    rc = moves ? home_prepare(r, change, d, c, err) : 0;
    if (rc != 0) {
        tpi_topology_discard(r, d, c);
    }
    return rc;
}

int tpi_topology_prepare_delete(struct tpi_registry *r, struct tpi_change *change,
                                const struct tpc_device *d, struct tpi_topology_change *c,
                                struct tpc_error *err)
{
    *c = (struct tpi_topology_change){ .old = tpi_map64_get(&r->links, d->id), .changed = true };
    if (tpi_map64_get(&r->homes, d->id) == NULL) {
        return 0;
    }
    c->home = TPI_HOME_GOES;
    return home_op(change, TPC_STORE_DELETE, 0, err);
}

struct tpc_device *tpi_topology_apply(struct tpi_registry *r, struct tpc_device *d,
                                      const struct tpi_topology_change *c)
{
    struct tpc_device *before = NULL;
    if (!c->changed) {
        return NULL;
    }
    if (c->fresh != NULL) {
        c->fresh->live = true;
        (void) tpi_map64_put(&r->links, d->id, c->fresh, NULL); /* replaces */
    } else {
        tpi_map64_remove(&r->links, d->id);
    }
    if (c->old != NULL) {
        link_drop(r, c->old);
    }
    if (!atomic_load(&d->deleted) && d->gateway != c->gateway) {
        before = d->gateway;
        if (before != NULL) {
            before->children--;
        }
        d->gateway = c->gateway != NULL ? tpi_device_ref(c->gateway) : NULL;
        if (d->gateway != NULL) {
            d->gateway->children++;
        }
    }
    if (c->home == TPI_HOME_GOES) {
        tpi_map64_remove(&r->homes, d->id);
    }
    return before;
}

void tpi_topology_discard(struct tpi_registry *r, const struct tpc_device *d,
                          const struct tpi_topology_change *c)
{
    if (c->home == TPI_HOME_COMES) {
        tpi_map64_remove(&r->homes, d->id);
    }
    if (c->fresh == NULL) {
        return;
    }
    pthread_rwlock_wrlock(&r->lock);
    if (c->old != NULL) {
        c->old->coming = NULL;
    } else {
        tpi_map64_remove(&r->links, d->id);
    }
    link_drop(r, c->fresh);
    pthread_rwlock_unlock(&r->lock);
}

void tpi_topology_init(struct tpi_registry *r)
{
    tpi_map_init(&r->addresses, r->env->alloc);
    r->addresses.seed = r->seed;
    tpi_map64_init(&r->links, r->env->alloc);
    tpi_map64_init(&r->subs, r->env->alloc);
    tpi_map64_init(&r->homes, r->env->alloc);
}

void tpi_topology_fini(struct tpi_registry *r)
{
    size_t iter = 0;
    void *l;
    while (tpi_map_next(&r->addresses, &iter, NULL, &l)) {
        tpi_free(r->env->alloc, l, bytes_of(l));
    }
    tpi_map_fini(&r->addresses);
    tpi_map64_fini(&r->links);
    tpi_map64_fini(&r->subs);
    tpi_map64_fini(&r->homes);
}
