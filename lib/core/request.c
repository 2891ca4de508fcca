/*
 * What gateways ask for (contract iot-module 4 and 5): devices that they add to themselves, let go of,
 * list, or that shall be registered. A change of the topology is durable before it is answered; its
 * worker waits for that, for such requests are rare. Nothing of them is logged: they hold proofs.
 */
#include <string.h>
#include <tpcore/auth.h>
#include <tpcore/topology.h>

#include "core/behind.h"
#include "core/core.h"

enum { SUBS_MAX = 256 /* of one request */, SECRET_MAX = 257, ARENA_BYTES = 4 << 20 };

/* One request, and the list that answers it. */
struct asking {
    struct tpi_worker *w;
    struct tpc_device *gateway;
    struct tpc_arena *arena;
    struct tpc_value *items; /* identities; SUBS_MAX */
    size_t count;
    bool no_memory;
};

static const struct tpc_str *copy_text(struct asking *a, struct tpc_str in, struct tpc_str *ret)
{
    char *p = tpc_arena_take(a->arena, in.len + 1);
    if (p == NULL) {
        return NULL;
    }
    memcpy(p, in.ptr, in.len);
    *ret = (struct tpc_str){ p, in.len };
    return ret;
}

static struct tpc_member member(struct tpc_str key, struct tpc_str text)
{
    return (struct tpc_member){ key, { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
}

/* {"productKey", "deviceName", and "deviceSecret" unless that is NULL}. */
static void add_identity(struct asking *a, struct tpc_device *d, const char *secret)
{
    struct tpc_str product, key, text = { NULL, 0 };
    struct tpc_member *m = tpc_arena_take(a->arena, 3 * sizeof(*m));
    tpi_registry_read_lock(a->w->core->registry);
    bool ok = m != NULL && a->count < SUBS_MAX &&
              copy_text(a, tpi_device_product_key(d), &product) != NULL &&
              copy_text(a, d->key, &key) != NULL;
    tpi_registry_read_unlock(a->w->core->registry);
    ok = ok && (secret == NULL || copy_text(a, tpc_str_from(secret), &text) != NULL);
    if (!ok) {
        a->no_memory = true;
        return;
    }
    m[0] = member(TPC_STR("productKey"), product);
    m[1] = member(TPC_STR("deviceName"), key);
    m[2] = member(TPC_STR("deviceSecret"), text);
    a->items[a->count++] =
        (struct tpc_value){ TPC_MAP, 0, secret != NULL ? 3 : 2, { .members = m } };
}

static struct tpc_actor actor_of(const struct asking *a)
{
    return (struct tpc_actor){ .size = sizeof(struct tpc_actor),
                               .type = TPC_ACTOR_CONNECTOR,
                               .name = a->gateway->key,
                               .origin = TPC_STR("gateway") };
}

static bool bind(struct asking *a, struct tpc_device *d)
{
    struct tpc_actor actor = actor_of(a);
    struct tpc_str key = { NULL, 0 }; /* the address is the device's key */
    struct tpc_topology where;
    (void) tpc_topology_get(d, &where);
    tpc_device_unref(where.gateway);
    return where.gateway == a->gateway ||
           (where.gateway == NULL &&
            tpi_topology_bind(a->w->core, &actor, d, a->gateway, key, 0) == 0);
}

/* The device with an identity in the gateway's tenant, counted; NULL. */
static struct tpc_device *by_identity(struct asking *a, const struct tpc_value *identity)
{
    struct tpi_registry *r = a->w->core->registry;
    struct tpc_str product = tpc_value_text(tpc_value_get(identity, TPC_STR("productKey")));
    struct tpc_str key = tpc_value_text(tpc_value_get(identity, TPC_STR("deviceName")));
    tpi_registry_read_lock(r);
    struct tpc_device *d = tpi_registry_find_in(r, a->gateway->tenant->id, key);
    d = d != NULL && tpc_str_equal(d->product->key, product) ? tpi_device_ref(d) : NULL;
    tpi_registry_read_unlock(r);
    return d;
}

/* {clientId, username, password} that is a device's: it proves that the gateway may speak for it. */
static void add_one(struct asking *a, const struct tpc_value *sub)
{
    struct tpc_core *core = a->w->core;
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    struct tpc_identity who;
    struct tpc_str password = tpc_value_text(tpc_value_get(sub, TPC_STR("password")));
    q.tenant = tpi_device_tenant(a->gateway);
    q.client_id = tpc_value_text(tpc_value_get(sub, TPC_STR("clientId")));
    q.username = tpc_value_text(tpc_value_get(sub, TPC_STR("username")));
    q.password = (struct tpc_bytes){ (const uint8_t *) password.ptr, password.len };
    q.peer = a->gateway->key;
    if (tpc_auth_check(core, &q, &who) != 0 || who.role != TPC_ROLE_DEVICE) {
        return;
    }
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_by_id(core->registry, who.id);
    d = d != NULL ? tpi_device_ref(d) : NULL;
    tpi_registry_read_unlock(core->registry);
    if (d != NULL && bind(a, d)) {
        add_identity(a, d, NULL);
    }
    tpi_device_unref(d);
}

static void delete_one(struct asking *a, const struct tpc_value *sub)
{
    struct tpc_actor actor = actor_of(a);
    struct tpc_device *d = by_identity(a, sub);
    struct tpc_topology where = { .gateway = NULL };
    if (d != NULL) {
        (void) tpc_topology_get(d, &where);
        tpc_device_unref(where.gateway);
    }
    if (d != NULL && where.gateway == a->gateway &&
        tpi_topology_unbind(a->w->core, &actor, d) == 0) {
        tpi_behind_left(a->w, d);
        add_identity(a, d, NULL);
    }
    tpi_device_unref(d);
}

/* One that was registered before, of a product for sub-devices, and is bound nowhere else. */
static void register_one(struct asking *a, const struct tpc_value *sub)
{
    struct tpi_registry *r = a->w->core->registry;
    struct tpc_device *d = by_identity(a, sub);
    char secret[SECRET_MAX];
    bool may = false;
    if (d != NULL) {
        tpi_registry_read_lock(r);
        may = d->product->behind_gateway;
        tpi_registry_read_unlock(r);
    }
    if (may &&
        tpi_entities_secret(a->w->core->entities, d->tenant->id, "device", d->key,
                            TPC_STR("secret"), secret, sizeof(secret)) == 0 &&
        bind(a, d)) {
        add_identity(a, d, secret);
    }
    tpi_wipe(secret, sizeof(secret));
    tpi_device_unref(d);
}

static int list_one(void *user, struct tpc_device *device, struct tpc_str address)
{
    struct asking *a = user;
    (void) address;
    if (a->count < SUBS_MAX) {
        add_identity(a, device, NULL);
    }
    return 0;
}

static void each(struct asking *a, const struct tpc_value *list,
                 void (*one)(struct asking *a, const struct tpc_value *sub))
{
    size_t count = list != NULL && list->type == TPC_ARRAY ? list->len : 0;
    for (size_t i = 0; i < count && i < SUBS_MAX; i++) {
        one(a, &list->as.items[i]);
    }
}

/* Those that could not be served are left out, as the contract has it. */
static struct tpc_value serve(struct asking *a, const struct tpi_up_request *q)
{
    const struct tpc_value *subs = tpc_value_get(&q->params, TPC_STR("subDevices"));
    struct tpc_value list = { TPC_ARRAY, 0, 0, { .items = a->items } };
    bool get = tpc_str_equal(q->name, TPC_STR("thing.topo.get")) != 0;
    if (tpc_str_equal(q->name, TPC_STR("thing.topo.add"))) {
        each(a, subs, add_one);
    } else if (tpc_str_equal(q->name, TPC_STR("thing.topo.delete"))) {
        each(a, subs, delete_one);
    } else if (get) {
        (void) tpc_topology_list(a->gateway, list_one, a);
    } else {
        each(a, &q->params, register_one);
    }
    list.len = a->count;
    if (!get) {
        return list;
    }
    struct tpc_member *m = tpc_arena_take(a->arena, sizeof(*m));
    if (m == NULL) {
        a->no_memory = true;
        return list;
    }
    *m = (struct tpc_member){ TPC_STR("subDevices"), list };
    return (struct tpc_value){ TPC_MAP, 0, 1, { .members = m } };
}

static void answer(struct tpi_worker *w, const struct tpi_up_request *q)
{
    struct asking a = { .w = w, .gateway = q->device };
    struct tpc_value data = { .type = TPC_NULL };
    int code = TPC_ENOMEM;
    if (tpc_arena_create(w->core->env.alloc, ARENA_BYTES, &a.arena) == 0) {
        a.items = tpc_arena_take(a.arena, SUBS_MAX * sizeof(*a.items));
    }
    if (a.items != NULL) {
        data = serve(&a, q);
        code = a.no_memory ? TPC_ENOMEM : 0;
    }
    if (code != 0) {
        static const char text[] = "out of memory";
        data = (struct tpc_value){ TPC_TEXT, 0, sizeof(text) - 1, { .text = text } };
    }
    tpi_down_reply(w, q->device, q->name, q->correlation, code, &data);
    tpc_arena_destroy(a.arena);
}

void tpi_requests(struct tpi_worker *w)
{
    uint32_t count = tpi_uplink_request_count(w->uplink);
    for (uint32_t i = 0; i < count; i++) {
        answer(w, tpi_uplink_request(w->uplink, i));
    }
}
