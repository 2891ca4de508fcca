#include "registry/inside.h"

#include <string.h>

#include "base/alloc.h"

struct tpc_device *tpi_device_ref(struct tpc_device *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

/* The table's reference goes with the entity, so only a deleted device gets here. */
static void last_reference(struct tpc_device *d)
{
    struct tpi_registry *r = d->tenant->registry;
    pthread_mutex_lock(&r->gone_lock);
    if (d->prev != NULL) {
        d->prev->next = d->next;
    } else {
        r->gone = d->next;
    }
    if (d->next != NULL) {
        d->next->prev = d->prev;
    }
    pthread_mutex_unlock(&r->gone_lock);
    tpi_device_free(d);
}

struct tpc_device *tpi_device_unref(struct tpc_device *d)
{
    while (d != NULL && atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1) {
        struct tpc_device *gateway = d->gateway;
        last_reference(d);
        d = gateway; /* its reference goes too: gateways behind gateways without recursion */
    }
    return NULL;
}

void *tpi_device_owner(const struct tpc_device *d)
{
    return d->tenant->registry->host.user;
}

void tpi_device_info(struct tpc_device *d, struct tpc_device_info *ret)
{
    tpi_registry_read_lock(d->tenant->registry);
    *ret = (struct tpc_device_info){
        .size = sizeof(*ret),
        .online = atomic_load_explicit(&d->online, memory_order_relaxed) ? 1 : 0,
        .id = d->id,
        .key = d->key,
        .product = tpi_device_product_key(d),
        .partition = d->partition,
        .messages = atomic_load_explicit(&d->messages, memory_order_relaxed),
        .last_seen_unix_ms = atomic_load_explicit(&d->last_seen_unix_ms, memory_order_relaxed),
        .presence_unix_ms = atomic_load_explicit(&d->presence_unix_ms, memory_order_relaxed),
        .active_unix_ms =
            (int64_t) atomic_load_explicit(&d->active_unix_s, memory_order_relaxed) * 1000,
    };
    tpi_registry_read_unlock(d->tenant->registry);
}

uint64_t tpi_device_root(const struct tpc_device *d)
{
    while (d->gateway != NULL) {
        d = d->gateway;
    }
    return d->id;
}

struct tpc_device *tpi_device_make(const struct tpi_change *change, struct tpi_tenant *tenant,
                                   struct tpi_product *product, struct tpc_device *gateway)
{
    struct tpi_registry *r = tenant->registry;
    struct tpc_device *d = tpi_alloc_zero(r->env->alloc, sizeof(*d) + change->key.len + 1);
    if (d == NULL) {
        return NULL;
    }
    atomic_init(&d->refs, 1);
    d->id = change->id;
    d->gateway = gateway == NULL ? NULL : tpi_device_ref(gateway);
    d->partition = (uint16_t) tpi_topology_partition(r, d->id, gateway);
    d->product = tpi_product_ref(product);
    d->tenant = tenant;
    atomic_fetch_add_explicit(&tenant->refs, 1, memory_order_relaxed);
    atomic_flag_clear(&d->latest_lock);
    char *key = (char *) (d + 1);
    memcpy(key, change->key.ptr, change->key.len);
    d->key = (struct tpc_str){ key, change->key.len };
    return d;
}

void tpi_device_free(struct tpc_device *d)
{
    struct tpi_tenant *tenant = d->tenant;
    struct tpi_registry *r = tenant->registry;
    const struct tpc_allocator *alloc = r->env->alloc;
    if (r->host.device_gone != NULL) {
        r->host.device_gone(r->host.user, d);
    }
    tpi_latest_free(alloc, atomic_load(&d->latest), d->product->model);
    while (d->names != NULL) {
        struct tpi_old_name *old = d->names;
        d->names = old->next;
        tpi_name_unref(alloc, old->name);
        tpi_free(alloc, old, sizeof(*old));
    }
    tpi_product_unref(d->product);
    tpi_logins_free(r, d->logins); /* only when all goes: a deletion took them out before */
    tpi_free(alloc, d, sizeof(*d) + d->key.len + 1);
    tpi_tenant_unref(tenant);
}

void tpi_device_list_add(struct tpi_product_slot *slot, struct tpc_device *d)
{
    d->prev = NULL;
    d->next = slot->devices;
    if (d->next != NULL) {
        d->next->prev = d;
    }
    slot->devices = d;
    slot->device_count++;
}

void tpi_device_list_remove(struct tpi_product_slot *slot, struct tpc_device *d)
{
    if (d->prev != NULL) {
        d->prev->next = d->next;
    } else {
        slot->devices = d->next;
    }
    if (d->next != NULL) {
        d->next->prev = d->prev;
    }
    slot->device_count--;
}
