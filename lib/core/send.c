/* Frames to devices: encoded by the product's codec, handed to the adapter that reaches them. */
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "registry/why.h"

struct sent_node {
    struct tpi_node node;
    uint64_t ticket;
    bool failed;
    struct tpc_error err;
};

int tpi_down_append(void *user, struct tpc_device *device, const struct tpc_msg *msg)
{
    (void) device;
    /* An open command keeps the log: its end must find room in a full one. */
    return tpi_log_append_msg(user, msg, TPC_APPEND_RESERVE, NULL, NULL);
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

static int offer(struct tpi_part *p, uint64_t session, struct tpc_device *d, struct tpc_str product,
                 const struct tpc_frame *frame, uint64_t ticket)
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

/* Over the session it spoke on last; a device that has not spoken yet, to the first adapter that
 * says that it reaches it. */
static int route(struct tpi_worker *w, struct tpc_device *d, struct tpc_str product,
                 const struct tpc_frame *frame, uint64_t ticket)
{
    uint64_t session = atomic_load_explicit(&d->session, memory_order_relaxed);
    if (session != 0 && d->adapter != NULL) {
        return offer(d->adapter, session, d, product, frame, ticket);
    }
    int rc = TPC_EOFFLINE;
    for (struct tpi_part *p = w->core->parts; p != NULL && rc == TPC_EOFFLINE; p = p->next) {
        rc = offer(p, 0, d, product, frame, ticket);
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

int tpi_send_frame(struct tpi_worker *w, struct tpc_device *device, const struct tpc_encode *what,
                   uint64_t ticket, struct tpc_error *err)
{
    struct tpi_registry *r = w->core->registry;
    struct tpc_encode e = *what;
    struct tpc_bytes payload;
    tpi_registry_read_lock(r);
    struct tpi_product *p = tpi_product_ref(device->product);
    tpi_registry_read_unlock(r);
    e.product = p->key;
    e.device = device->key;
    e.unix_ms = tpi_unix_ms(&w->core->env);
    tpc_arena_reset(w->send_arena);
    int rc =
        p->codec->encode(p->codec_self, w->index, p->program, &e, w->send_arena, err, &payload);
    if (rc == 0) {
        struct tpc_frame frame = { .size = sizeof(frame),
                                   .kind = e.kind,
                                   .code = (uint32_t) e.code,
                                   .product = p->key,
                                   .device = device->key,
                                   .name = e.name,
                                   .correlation = e.correlation,
                                   .payload = payload };
        rc = route(w, device, p->key, &frame, ticket);
        if (rc != 0) {
            tpi_error_set(err, rc, "downlink", "no adapter takes it: %s", tpc_error_name(rc));
        }
        if (rc != 0 && rc != TPC_EOFFLINE && rc != TPC_EAGAIN) {
            note_why(device, TPC_WHY_SEND, &e, err, payload);
        }
    } else {
        note_why(device, TPC_WHY_ENCODE, &e, err, (struct tpc_bytes){ NULL, 0 });
    }
    tpi_product_unref(p);
    return rc;
}

int tpi_down_send(void *user, struct tpc_device *device, const struct tpc_encode *what,
                  uint64_t ticket, struct tpc_error *err)
{
    return tpi_send_frame(user, device, what, ticket, err);
}

void tpi_down_answer(struct tpi_worker *w, struct tpc_device *device, struct tpc_str name,
                     struct tpc_str correlation)
{
    struct tpc_encode e = {
        .size = sizeof(e), .kind = TPC_MSG_REPLY, .name = name, .correlation = correlation
    };
    struct tpc_error err;
    if (tpi_send_frame(w, device, &e, 0, &err) == 0) {
        tpi_count(&w->core->counters.answers, 1);
    } else {
        tpi_count(&w->core->counters.answers_failed, 1);
    }
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
