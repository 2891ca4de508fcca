/* Which device stands behind which gateway: the program's functions. */
#include <stdlib.h>
#include <string.h>
#include <tpcore/topology.h>

#include "core/behind.h"
#include "core/core.h"
#include "registry/topology.h"

static struct tpc_value text_value(struct tpc_str s)
{
    return s.len > 0 ? (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr }
                     : (struct tpc_value){ .type = TPC_NULL };
}

/* Merges gateway and address (empty = none) into the device's document. */
static int patch(struct tpc_core *core, const struct tpc_actor *actor, struct tpc_device *d,
                 struct tpc_str gateway, struct tpc_str address)
{
    struct tpc_arena *arena;
    struct tpc_member members[] = { { TPC_STR("tenant"), text_value(tpi_device_tenant(d)) },
                                    { TPC_STR("key"), text_value(d->key) },
                                    { TPC_STR("gateway"), text_value(gateway) },
                                    { TPC_STR("address"), text_value(address) } };
    struct tpc_value doc = { .type = TPC_MAP, .len = 4, .as.members = members };
    struct tpi_put put = { .doc = &doc, .flags = TPI_PUT_PATCH | TPI_PUT_UPDATE };
    struct tpi_put_batch batch = { .actor = actor, .kind = "device", .puts = &put, .count = 1 };
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpc_arena_create(core->env.alloc, 0, &arena);
    if (rc != 0) {
        return tpi_fail(rc, "topology", "out of memory");
    }
    batch.arena = arena;
    rc = tpi_entities_put_batch(core->entities, &batch, err);
    if (rc == 0 && put.code != 0) {
        rc = put.code;
        if (put.err != NULL) {
            *err = *put.err;
        } else {
            tpi_error_set(err, rc, "topology", "out of memory");
        }
    }
    tpc_arena_destroy(arena);
    return tpi_fail_end(rc);
}

/* Whether it stands there already: 1; 0 = it may be bound; TPC_EEXIST = bound elsewhere. */
static int place(struct tpc_core *core, const struct tpc_device *d,
                 const struct tpc_device *gateway, struct tpc_str address)
{
    int rc = 0;
    tpi_registry_read_lock(core->registry);
    if (d->gateway != NULL) {
        bool same = d->gateway == gateway &&
                    tpc_str_equal(tpi_topology_address(core->registry, d), address) != 0;
        rc = same ? 1 : TPC_EEXIST;
    }
    tpi_registry_read_unlock(core->registry);
    return rc;
}

int tpi_topology_bind(struct tpc_core *core, const struct tpc_actor *actor,
                      struct tpc_device *device, struct tpc_device *gateway, struct tpc_str address,
                      uint32_t flags)
{
    if (core == NULL || device == NULL || gateway == NULL) {
        return tpi_fail(TPC_EINVAL, "topology", "core, device or gateway is NULL");
    }
    if (device->tenant != gateway->tenant) {
        struct tpc_error e = { .size = sizeof(e) };
        tpi_error_set(&e, TPC_EINVAL, "topology", "the gateway belongs to another tenant");
        tpi_error_at(&e, "gateway");
        return tpi_fail_copy(&e);
    }
    if (address.len > TPI_ADDRESS_BYTES) {
        return tpi_fail(TPC_ETOOBIG, "topology", "an address has at most %d bytes",
                        TPI_ADDRESS_BYTES);
    }
    int rc = place(core, device, gateway, address.len > 0 ? address : device->key);
    if (rc == 1) {
        return 0;
    }
    if (rc != 0 && (flags & TPC_BIND_MOVE) == 0) {
        struct tpc_error e = { .size = sizeof(e) };
        tpi_error_set(&e, TPC_EEXIST, "topology", "the device is bound already");
        tpi_error_at(&e, "gateway");
        return tpi_fail_copy(&e);
    }
    return patch(core, actor, device, gateway->key, address);
}

int tpi_topology_unbind(struct tpc_core *core, const struct tpc_actor *actor,
                        struct tpc_device *device)
{
    if (core == NULL || device == NULL) {
        return tpi_fail(TPC_EINVAL, "topology", "core or device is NULL");
    }
    tpi_registry_read_lock(core->registry);
    bool bound = device->gateway != NULL;
    tpi_registry_read_unlock(core->registry);
    if (!bound) {
        return tpi_fail(TPC_ESTATE, "topology", "the device is behind no gateway");
    }
    return patch(core, actor, device, (struct tpc_str){ NULL, 0 }, (struct tpc_str){ NULL, 0 });
}

/* The gateway that a device stands behind, counted; NULL. */
static struct tpc_device *gateway_of(struct tpc_core *core, struct tpc_device *d)
{
    struct tpc_device *gateway = NULL;
    tpi_registry_read_lock(core->registry);
    if (d->gateway != NULL) {
        gateway = tpi_device_ref(d->gateway);
    }
    tpi_registry_read_unlock(core->registry);
    return gateway;
}

/* Gateways hear of what others change (contract iot-module 5): thing.topo.change. */
static void tell_gateway(struct tpc_core *core, struct tpc_device *gateway, struct tpc_device *d,
                         bool removed)
{
    if (gateway != NULL && tpi_core_enter(core) == 0) {
        tpi_behind_changed(core, gateway, d, removed);
        tpi_core_leave(core);
    }
}

int tpc_topology_bind(struct tpc_core *core, const struct tpc_actor *actor,
                      struct tpc_device *device, struct tpc_device *gateway, struct tpc_str address,
                      uint32_t flags)
{
    struct tpc_device *before = core != NULL && device != NULL ? gateway_of(core, device) : NULL;
    int rc = tpi_topology_bind(core, actor, device, gateway, address, flags);
    if (rc == 0 && before != gateway) {
        tell_gateway(core, before, device, true);
        tell_gateway(core, gateway, device, false);
    }
    tpi_device_unref(before);
    return rc;
}

int tpc_topology_unbind(struct tpc_core *core, const struct tpc_actor *actor,
                        struct tpc_device *device)
{
    struct tpc_device *before = core != NULL && device != NULL ? gateway_of(core, device) : NULL;
    int rc = tpi_topology_unbind(core, actor, device);
    if (rc == 0) {
        tell_gateway(core, before, device, true);
    }
    tpi_device_unref(before);
    return rc;
}
int tpc_topology_find(struct tpc_device *gateway, struct tpc_str address, struct tpc_device **ret)
{
    if (gateway == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "topology", "gateway or ret is NULL");
    }
    struct tpc_core *core = tpi_device_owner(gateway);
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_topology_find(core->registry, gateway->id, address);
    if (d != NULL) {
        *ret = tpi_device_ref(d);
    }
    tpi_registry_read_unlock(core->registry);
    return d != NULL
               ? 0
               : tpi_fail(TPC_ENOENT, "topology", "nothing behind \"%.*s\" has address \"%.*s\"",
                          (int) gateway->key.len, gateway->key.ptr,
                          (int) (address.len < 64 ? address.len : 64), address.ptr);
}

int tpc_topology_get(struct tpc_device *device, struct tpc_topology *ret)
{
    if (device == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "topology", "device or ret is NULL");
    }
    struct tpc_core *core = tpi_device_owner(device);
    memset(ret, 0, sizeof(*ret));
    ret->size = sizeof(*ret);
    tpi_registry_read_lock(core->registry);
    struct tpc_str address = tpi_topology_address(core->registry, device);
    ret->level = tpi_topology_level(device);
    ret->subs = device->children;
    ret->gateway = device->gateway != NULL ? tpi_device_ref(device->gateway) : NULL;
    if (address.len > 0) {
        memcpy(ret->address, address.ptr, address.len);
    }
    tpi_registry_read_unlock(core->registry);
    return 0;
}

/* ---- listing ---- */

struct sub {
    struct tpc_device *device; /* counted */
    size_t len;
    char address[TPC_ADDRESS_BYTES];
};

struct subs {
    struct sub *list;
    uint32_t count;
};

static int add_sub(void *user, struct tpc_device *device, struct tpc_str address)
{
    struct subs *s = user;
    struct sub *sub = &s->list[s->count++];
    sub->device = tpi_device_ref(device);
    sub->len = address.len;
    memcpy(sub->address, address.ptr, address.len);
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct sub *x = a;
    const struct sub *y = b;
    int order = memcmp(x->address, y->address, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

int tpc_topology_list(struct tpc_device *gateway, tpc_sub_fn *fn, void *user)
{
    if (gateway == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "topology", "gateway or fn is NULL");
    }
    struct tpc_core *core = tpi_device_owner(gateway);
    struct subs s = { NULL, 0 };
    int rc = 0;
    tpi_registry_read_lock(core->registry);
    size_t cap = gateway->children;
    s.list = cap > 0 ? tpi_alloc_array(core->env.alloc, cap, sizeof(*s.list)) : NULL;
    if (s.list != NULL) {
        (void) tpi_topology_each(core->registry, gateway->id, add_sub, &s);
    }
    tpi_registry_read_unlock(core->registry);
    if (cap > 0 && s.list == NULL) {
        return tpi_fail(TPC_ENOMEM, "topology", "out of memory");
    }
    if (s.count > 1) {
        qsort(s.list, s.count, sizeof(*s.list), compare);
    }
    for (uint32_t i = 0; i < s.count; i++) {
        struct tpc_str address = { s.list[i].address, s.list[i].len };
        rc = rc != 0 ? rc : fn(user, s.list[i].device, address);
        tpi_device_unref(s.list[i].device);
    }
    tpi_free(core->env.alloc, s.list, cap * sizeof(*s.list));
    return rc;
}
