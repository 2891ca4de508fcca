/* A gateway speaks for what stands behind it, also for devices of other workers: when it can be
 * reached, they can; what it answers may answer a command of theirs. */
#include <string.h>

#include "core/behind.h"
#include "core/core.h"
#include "data/msg.h"
#include "registry/topology.h"

enum { REPLY_ARENA_BYTES = 4 << 20 };

enum { NEWS_ONLINE = 1, NEWS_OFFLINE = 2, NEWS_REPLY = 3, NEWS_LEFT = 4, NEWS_SPOKE = 5 };

/* Told to another worker. A reply's body follows. */
struct notice {
    struct tpi_node node;
    int news;
    struct tpc_device *gateway; /* counted */
    size_t len;
};

static void free_notice(struct tpc_core *core, struct notice *n)
{
    tpi_device_unref(n->gateway);
    tpi_free(core->env.alloc, n, sizeof(*n) + n->len);
}

static void drop_notice(struct tpi_worker *w, struct tpi_node *node)
{
    free_notice(w->core, (struct notice *) (void *) node);
}

static void reply(struct tpi_worker *w, const struct notice *n)
{
    struct tpc_bytes body = { (const uint8_t *) (n + 1), n->len };
    struct tpc_arena *arena = NULL;
    struct tpc_msg m;
    memset(&m, 0, sizeof(m));
    if (tpc_arena_create(w->core->env.alloc, REPLY_ARENA_BYTES, &arena) == 0 &&
        tpi_msg_decode(body, arena, NULL, &m) == 0 &&
        tpi_downlink_answers(w->downlink, n->gateway, &m)) {
        (void) tpi_downlink_reply(w->downlink, n->gateway, &m);
    }
    tpc_arena_destroy(arena); /* without memory the command's timeout ends it */
}

/* ---- who goes with the gateway ---- */

struct leaving {
    struct tpi_worker *w;
    struct tpc_device **list; /* counted */
    uint32_t count, cap;
};

static int add_leaving(void *user, struct tpc_device *d, struct tpc_str address)
{
    struct leaving *l = user;
    const struct tpc_core *core = l->w->core;
    bool ours = d->partition % core->worker_count == l->w->index;
    bool follows = atomic_load(&d->online) && !tpi_device_has(d, TPI_DEVICE_BY_SESSION) &&
                   d->product->presence != TPI_PRESENCE_HEARTBEAT;
    (void) address;
    if (ours && follows && l->count == l->cap) {
        uint32_t cap = l->cap == 0 ? 64 : l->cap * 2;
        struct tpc_device **list =
            tpi_resize(core->env.alloc, l->list, l->cap * sizeof(*list), cap * sizeof(*list));
        if (list == NULL) {
            return TPC_ENOMEM;
        }
        l->list = list;
        l->cap = cap;
    }
    if (ours && follows) {
        l->list[l->count++] = tpi_device_ref(d);
    }
    return d->children > 0 ? tpi_topology_each(core->registry, d->id, add_leaving, l) : 0;
}

static void end_one(struct tpi_worker *w, struct tpc_device *d)
{
    if (d->partition % w->core->worker_count == w->index && atomic_load(&d->online) &&
        !tpi_device_has(d, TPI_DEVICE_BY_SESSION)) {
        tpi_presence_follow(w, &d, 1);
    }
}

/* Those behind the gateway that this worker owns. */
static void end_own(struct tpi_worker *w, struct tpc_device *gateway)
{
    struct leaving l = { .w = w };
    tpi_registry_read_lock(w->core->registry);
    int rc = tpi_topology_each(w->core->registry, gateway->id, add_leaving, &l);
    tpi_registry_read_unlock(w->core->registry);
    if (rc != 0) {
        tpi_log(&w->core->env, TPC_LOG_WARN, "core", "not all behind %s are offline: out of memory",
                gateway->key.ptr);
    }
    if (l.count > 0) {
        tpi_presence_follow(w, l.list, l.count);
    }
    for (uint32_t i = 0; i < l.count; i++) {
        tpi_device_unref(l.list[i]);
    }
    tpi_free(w->core->env.alloc, l.list, l.cap * sizeof(*l.list));
}

static void run_notice(struct tpi_worker *w, struct tpi_node *node)
{
    struct notice *n = (struct notice *) (void *) node;
    if (w->downlink != NULL && n->news == NEWS_REPLY) {
        reply(w, n);
    } else if (w->downlink != NULL && (n->news == NEWS_ONLINE || n->news == NEWS_SPOKE)) {
        tpi_downlink_online_behind(w->downlink, n->gateway,
                                   n->news == NEWS_SPOKE ? 0 : w->core->options.online_delay_ms);
    } else if (n->news == NEWS_OFFLINE) {
        end_own(w, n->gateway);
    } else if (n->news == NEWS_LEFT) {
        end_one(w, n->gateway);
    }
    free_notice(w->core, n);
}

static void tell_others(struct tpi_worker *w, struct tpc_device *gateway, int news,
                        struct tpc_bytes body)
{
    struct tpc_core *core = w->core;
    for (uint32_t i = 0; i < core->worker_count; i++) {
        struct notice *n =
            i == w->index ? NULL : tpi_alloc_zero(core->env.alloc, sizeof(*n) + body.len);
        if (n == NULL) {
            continue;
        }
        n->node.run = run_notice;
        n->node.drop = drop_notice;
        n->news = news;
        n->gateway = tpi_device_ref(gateway);
        n->len = body.len;
        if (body.len > 0) {
            memcpy(n + 1, body.ptr, body.len);
        }
        tpi_worker_post(&core->workers[i], &n->node);
    }
}

static bool has_subs(struct tpi_worker *w, const struct tpc_device *d)
{
    tpi_registry_read_lock(w->core->registry);
    bool some = d->children > 0;
    tpi_registry_read_unlock(w->core->registry);
    return some;
}

void tpi_behind_online(struct tpi_worker *w, struct tpc_device *d, bool spoke)
{
    uint32_t delay_ms = spoke ? 0 : w->core->options.online_delay_ms;
    tpi_downlink_online(w->downlink, d, delay_ms);
    if (has_subs(w, d)) {
        tpi_downlink_online_behind(w->downlink, d, delay_ms);
        tell_others(w, d, spoke ? NEWS_SPOKE : NEWS_ONLINE, (struct tpc_bytes){ NULL, 0 });
    }
}

void tpi_behind_left(struct tpi_worker *w, struct tpc_device *d)
{
    struct tpc_bytes none = { NULL, 0 };
    end_one(w, d);
    tell_others(w, d, NEWS_LEFT, none);
    tpi_behind_offline(w, d);
}

void tpi_behind_offline(struct tpi_worker *w, struct tpc_device *d)
{
    if (has_subs(w, d)) {
        end_own(w, d);
        tell_others(w, d, NEWS_OFFLINE, (struct tpc_bytes){ NULL, 0 });
    }
}

void tpi_behind_reply(struct tpi_worker *w, const struct tpi_up_msg *um)
{
    bool elsewhere = w->core->worker_count > 1 &&
                     !tpi_downlink_answers(w->downlink, um->device, &um->msg) &&
                     has_subs(w, um->device);
    if (elsewhere) {
        tell_others(w, um->device, NEWS_REPLY, tpi_uplink_body(w->uplink, um));
    } else {
        (void) tpi_downlink_reply(w->downlink, um->device, &um->msg);
    }
}

/* ---- telling a gateway ---- */

/* On its way to the gateway's worker. */
struct change {
    struct tpi_node node;
    struct tpc_device *gateway; /* counted, both */
    struct tpc_device *device;
    bool removed;
};

static void free_change(struct tpc_core *core, struct change *c)
{
    tpi_device_unref(c->gateway);
    tpi_device_unref(c->device);
    tpi_free(core->env.alloc, c, sizeof(*c));
}

static void drop_change(struct tpi_worker *w, struct tpi_node *node)
{
    free_change(w->core, (struct change *) (void *) node);
}

static struct tpc_value text(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
}

/* {"status": 0 added | 1 removed, "subList": [identity]} (contract iot-module 5). A gateway that is not
 * there now asks with thing.topo.get when it is. */
static void send_change(struct tpi_worker *w, const struct change *c, struct tpc_str product)
{
    char id_text[TPC_ID_TEXT_BYTES + 1];
    struct tpc_id id;
    struct tpc_error err;
    if (tpi_id_make(&w->core->env, &id) != 0 || tpc_id_format(&id, id_text) != 0) {
        return;
    }
    const struct tpc_member identity[] = { { TPC_STR("productKey"), text(product) },
                                           { TPC_STR("deviceName"), text(c->device->key) } };
    const struct tpc_value item = { TPC_MAP, 0, 2, { .members = identity } };
    const struct tpc_member members[] = {
        { TPC_STR("status"), { .type = TPC_INT, .as.i = c->removed } },
        { TPC_STR("subList"), { TPC_ARRAY, 0, 1, { .items = &item } } }
    };
    struct tpc_encode e = { .size = sizeof(e),
                            .kind = TPC_MSG_COMMAND,
                            .id = id,
                            .name = TPC_STR("thing.topo.change"),
                            .correlation = { id_text, TPC_ID_TEXT_BYTES },
                            .params = { TPC_MAP, 0, 2, { .members = members } } };
    (void) tpi_send_frame(w, c->gateway, &e, 0, &err);
}

static void run_change(struct tpi_worker *w, struct tpi_node *node)
{
    struct change *c = (struct change *) (void *) node;
    tpi_registry_read_lock(w->core->registry);
    bool alink = strcmp(c->gateway->product->codec->name, "alink") == 0;
    struct tpi_product *p = tpi_product_ref(c->device->product);
    tpi_registry_read_unlock(w->core->registry);
    if (alink && w->uplink != NULL) {
        send_change(w, c, p->key);
    }
    tpi_product_unref(p);
    free_change(w->core, c);
}

void tpi_behind_changed(struct tpc_core *core, struct tpc_device *gateway, struct tpc_device *d,
                        bool removed)
{
    struct change *c = tpi_alloc_zero(core->env.alloc, sizeof(*c));
    if (c == NULL) {
        return; /* it asks itself, now and then */
    }
    c->node.run = run_change;
    c->node.drop = drop_change;
    c->gateway = tpi_device_ref(gateway);
    c->device = tpi_device_ref(d);
    c->removed = removed;
    tpi_worker_post(tpi_worker_of(core, gateway->partition), &c->node);
}
