/* Frames to devices: encoded by the product's codec, handed to the adapter that reaches them. */
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "registry/why.h"
#include "registry/topology.h"

struct sent_node {
    struct tpi_node node;
    uint64_t ticket;
    bool failed;
    struct tpc_error err;
};

int tpi_down_append(void *user, struct tpc_device *device, const struct tpc_msg *msg)
{
    struct tpi_worker *w = user;
    struct tpc_msg told = *msg;
    bool busy = atomic_exchange(&w->busy, true); /* rules have not seen it yet */
    /* An open command keeps the log: its end must find room in a full one. */
    int rc = tpi_log_append_msg(w, msg, TPC_APPEND_RESERVE, NULL, &told.offset);
    if (rc == 0 && msg->kind == TPC_MSG_COMMAND_CLOSED) {
        tpi_rule_command(w, device, &told);
    }
    atomic_store(&w->busy, busy);
    return rc;
}

int tpi_down_renew(void *user, struct tpc_device *device, const struct tpc_msg *msg,
                   uint64_t *ret_offset)
{
    (void) device;
    return tpi_log_append_msg(user, msg, TPC_APPEND_RESERVE, NULL, ret_offset);
}

void tpi_down_renew_all(struct tpi_worker *w)
{
    struct tpc_core *core = w->core;
    for (uint32_t i = w->index; i < core->options.partitions; i += core->worker_count) {
        uint64_t first;
        uint64_t end;
        if (core->bus->range(core->bus_self, i, &first, &end) == 0) {
            tpi_downlink_renew(w->downlink, i, first);
        }
    }
}

static int offer(struct tpi_part *p, uint64_t session, const struct tpc_device *d,
                 struct tpc_str product, const struct tpc_frame *frame, uint64_t ticket)
{
    struct tpc_peer peer = { .size = sizeof(peer),
                             .device_id = d->id,
                             .session = session,
                             .tenant = tpi_device_tenant(d),
                             .product = product,
                             .device = d->key };
    if (p->kind != TPC_KIND_ADAPTER || atomic_load(&p->stopped) ||
        (session == 0 && !atomic_load(&p->ready))) {
        return TPC_EOFFLINE;
    }
    return p->ops->adapter.send(p->self, &peer, frame, ticket);
}

/* How something gets to a device: over which product's codec, to whom, on which session. */
struct way {
    struct tpi_product *product; /* counted; of `to` */
    struct tpc_device *to;       /* counted: the device, or its top gateway */
    uint64_t session;            /* of the device, else of the nearest gateway that has one */
    struct tpi_part *part;
    uint32_t flags; /* enum tpc_encode_flags */
    uint32_t path_count;
    struct tpc_str path[TPI_REGISTRY_GATEWAY_DEPTH];
    struct tpc_str prefix; /* of topics: a service speaks the device's protocol; else empty */
};

static bool nests(const struct tpi_product *p)
{
    return TPC_HAS(p->codec, struct tpc_codec_ops, nests) &&
           p->codec->nests(p->codec_self, p->program);
}

static bool is_gateway(const struct tpc_device *d)
{
    return d->children > 0 || d->product->gateway;
}

/* Addresses from the top gateway down, copied: the topology may change meanwhile. Read lock. */
static int take_path(struct tpi_worker *w, const struct tpc_device *d, struct way *way)
{
    uint32_t n = tpi_topology_level(d);
    way->path_count = n;
    for (; n > 0; d = d->gateway) {
        struct tpc_str address = tpi_topology_address(w->core->registry, d);
        char *copy = tpc_arena_take(w->send_arena, address.len + 1);
        if (copy == NULL) {
            return TPC_ENOMEM;
        }
        memcpy(copy, address.ptr, address.len);
        way->path[--n] = (struct tpc_str){ copy, address.len };
    }
    return 0;
}

/* What the service of the device's protocol hears its commands under, copied. Read lock. */
static int take_prefix(struct tpi_worker *w, const struct tpc_device *d, struct way *way)
{
    struct tpc_str prefix = tpi_registry_topic_prefix(w->core->registry, d->product);
    char *copy = prefix.len > 0 ? tpc_arena_take(w->send_arena, prefix.len) : NULL;
    if (prefix.len == 0) {
        return 0;
    }
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(copy, prefix.ptr, prefix.len);
    way->prefix = (struct tpc_str){ copy, prefix.len };
    return 0;
}

/* A device that spoke itself is spoken to; another one over its gateways; one of a service by itself:
 * the service finds its gateway. Read lock. */
static int find_way(struct tpi_worker *w, struct tpc_device *d, bool answer, struct way *way)
{
    struct tpc_device *top = d;
    uint64_t session = atomic_load_explicit(&d->session, memory_order_relaxed);
    bool own = session != 0;
    int rc = take_prefix(w, d, way);
    bool away = tpi_device_has(d, TPI_DEVICE_AWAY);
    while (top->gateway != NULL && !own) {
        top = top->gateway;
        away |= tpi_device_has(top, TPI_DEVICE_AWAY);
        session =
            session != 0 ? session : atomic_load_explicit(&top->session, memory_order_relaxed);
    }
    if (away && !answer) {
        return TPC_EOFFLINE;
    }
    bool nested = !answer && way->prefix.len == 0 && top->gateway == NULL &&
                  (top != d || is_gateway(d)) && nests(top->product);
    way->to = nested ? top : d;
    way->session = session;
    if (rc == 0 && nested) {
        way->flags = TPC_ENCODE_GATEWAY | (is_gateway(d) ? TPC_ENCODE_TO_GATEWAY : 0);
        way->session = atomic_load_explicit(&top->session, memory_order_relaxed);
        rc = take_path(w, d, way);
    }
    way->part = tpi_session_part(w->core, way->session);
    if (rc == 0) {
        way->to = tpi_device_ref(way->to);
        way->product = tpi_product_ref(way->to->product);
    }
    return rc;
}

/* Over the session it spoke on last; a device that has not spoken yet, to the first adapter that
 * says that it reaches it. */
static int route(struct tpi_worker *w, const struct way *way, const struct tpc_frame *frame,
                 uint64_t ticket)
{
    struct tpc_str product = way->product->key;
    if (way->part != NULL) {
        return offer(way->part, way->session, way->to, product, frame, ticket);
    }
    int rc = TPC_EOFFLINE;
    for (struct tpi_part *p = w->core->parts; p != NULL && rc == TPC_EOFFLINE; p = p->next) {
        rc = offer(p, 0, way->to, product, frame, ticket);
    }
    return rc;
}

static void note_why(struct tpc_device *d, uint32_t stage, const struct tpc_encode *e,
                     const struct tpc_error *err, struct tpc_bytes payload)
{
    char text[TPC_WHY_REASON_BYTES];
    snprintf(text, sizeof(text), "%s %.*s: %s", tpc_kind_name(e->kind),
             (int) (e->name.len < 64 ? e->name.len : 64), e->name.len > 0 ? e->name.ptr : "",
             err->text);
    tpi_why_device(d, stage, err->code, tpc_str_from(text), TPC_STR("downlink"), payload);
}

/* device: for whom it is. */
static int send_way(struct tpi_worker *w, const struct way *way, struct tpc_device *device,
                    const struct tpc_encode *what, bool part, uint64_t ticket,
                    struct tpc_error *err)
{
    const struct tpi_product *p = way->product;
    struct tpc_encode e = *what;
    struct tpc_bytes payload;
    e.product = p->key;
    e.device = way->to->key;
    e.unix_ms = tpi_unix_ms(&w->core->env);
    e.flags = way->flags;
    e.path = way->path;
    e.path_count = way->path_count;
    int rc =
        p->codec->encode(p->codec_self, w->index, p->program, &e, w->send_arena, err, &payload);
    if (rc != 0) {
        note_why(device, TPC_WHY_ENCODE, &e, err, (struct tpc_bytes){ NULL, 0 });
        return rc;
    }
    bool gateway = way->prefix.len == 0 && (part || way->flags != 0);
    uint16_t flags = gateway ? TPC_FRAME_GATEWAY : 0;
    flags |= way->path_count > 0 ? TPC_FRAME_BEHIND : 0;
    struct tpc_frame frame = { .size = sizeof(frame),
                               .kind = e.kind,
                               .flags = flags,
                               .code = (uint32_t) e.code,
                               .product = p->key,
                               .device = way->to->key,
                               .topic = way->prefix,
                               .name = e.name,
                               .correlation = e.correlation,
                               .payload = payload };
    rc = route(w, way, &frame, ticket);
    if (rc != 0) {
        tpi_error_set(err, rc, "downlink", "no adapter takes it: %s", tpc_error_name(rc));
    }
    if (rc != 0 && rc != TPC_EOFFLINE && rc != TPC_EAGAIN) {
        note_why(device, TPC_WHY_SEND, &e, err, payload);
    }
    return rc;
}

static int send_frame(struct tpi_worker *w, struct tpc_device *device,
                      const struct tpc_encode *what, bool part, uint64_t ticket,
                      struct tpc_error *err)
{
    struct tpi_registry *r = w->core->registry;
    struct way way = { .to = NULL };
    tpc_arena_reset(w->send_arena);
    tpi_registry_read_lock(r);
    int rc = find_way(w, device, what->kind == TPC_MSG_REPLY, &way);
    tpi_registry_read_unlock(r);
    if (rc != 0) {
        return tpi_error_set(err, rc, "downlink",
                             rc == TPC_EOFFLINE ? "the device is offline" : "out of memory");
    }
    rc = send_way(w, &way, device, what, part, ticket, err);
    tpi_product_unref(way.product);
    tpi_device_unref(way.to);
    return rc;
}

int tpi_send_frame(struct tpi_worker *w, struct tpc_device *device, const struct tpc_encode *what,
                   uint64_t ticket, struct tpc_error *err)
{
    return send_frame(w, device, what, false, ticket, err);
}

int tpi_down_send(void *user, struct tpc_device *device, const struct tpc_encode *what,
                  uint64_t ticket, struct tpc_error *err)
{
    return tpi_send_frame(user, device, what, ticket, err);
}

void tpi_down_answer(struct tpi_worker *w, struct tpc_device *device, struct tpc_str name,
                     struct tpc_str correlation, bool part)
{
    struct tpc_encode e = {
        .size = sizeof(e), .kind = TPC_MSG_REPLY, .name = name, .correlation = correlation
    };
    struct tpc_error err;
    if (send_frame(w, device, &e, part, 0, &err) == 0) {
        tpi_count(&w->core->counters.answers, 1);
    } else {
        tpi_count(&w->core->counters.answers_failed, 1);
    }
}

void tpi_down_reply(struct tpi_worker *w, struct tpc_device *device, struct tpc_str name,
                    struct tpc_str correlation, int code, const struct tpc_value *data)
{
    struct tpc_encode e = { .size = sizeof(e),
                            .kind = TPC_MSG_REPLY,
                            .code = code,
                            .name = name,
                            .correlation = correlation,
                            .params = *data };
    struct tpc_error err;
    bool sent = send_frame(w, device, &e, false, 0, &err) == 0;
    tpi_count(sent ? &w->core->counters.answers : &w->core->counters.answers_failed, 1);
}

static void run_sent(struct tpi_worker *w, struct tpi_node *node)
{
    struct sent_node *s = (struct sent_node *) (void *) node;
    if (w->downlink != NULL) {
        tpi_downlink_sent(w->downlink, s->ticket, s->failed ? &s->err : NULL);
    }
    tpi_free(w->core->env.alloc, s, sizeof(*s));
}

static void drop_sent(struct tpi_worker *w, struct tpi_node *node)
{
    tpi_free(w->core->env.alloc, node, sizeof(struct sent_node));
}

void tpi_down_sent(struct tpi_part *part, uint64_t ticket, const struct tpc_error *err)
{
    struct tpc_core *core = part->core;
    uint32_t worker = tpi_downlink_ticket_worker(ticket);
    if (ticket == 0 || worker >= core->worker_count) {
        return; /* an answer: nobody waits */
    }
    struct sent_node *s = tpi_alloc_zero(core->env.alloc, sizeof(*s));
    if (s == NULL) {
        /* The command's timeout ends what this would have ended. */
        tpi_log(&core->env, TPC_LOG_WARN, part->name, "a sent() is lost: out of memory");
        return;
    }
    s->node.run = run_sent;
    s->node.drop = drop_sent;
    s->ticket = ticket;
    s->failed = err != NULL;
    if (err != NULL) {
        s->err = *err;
    }
    tpi_worker_post(&core->workers[worker], &s->node);
}
