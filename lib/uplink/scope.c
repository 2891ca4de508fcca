/* Parts of a gateway's message: each is a message of its own device. One whose device another worker
 * owns is checked here and handed over; all others are appended with the rest of the batch. */
#include "base/error.h"
#include "data/msg.h"
#include "registry/topology.h"
#include "registry/why.h"
#include "uplink/private.h"

#include <stdio.h>
#include <string.h>

enum { TELL_MS = 10000, WHY_MS = 1000 };

void up_scope_begin(struct tpi_uplink *u, struct tpc_device *device)
{
    u->target = device;
    u->product = device->product;
    u->level = 0;
}

/* One line in ten seconds, one note a second: a gateway says it again and again. */
static void tell_unknown(struct tpi_uplink *u, struct tpc_str device)
{
    char text[TPC_WHY_REASON_BYTES];
    atomic_fetch_add_explicit(&u->host.counters->parts_unknown, 1, memory_order_relaxed);
    if (u->parts_why_ms != 0 && u->now_ms - u->parts_why_ms < WHY_MS) {
        return;
    }
    u->parts_why_ms = u->now_ms > 0 ? u->now_ms : 1;
    snprintf(text, sizeof(text), "reports for \"%.*s\", which is not behind it",
             (int) (device.len < 64 ? device.len : 64), device.len > 0 ? device.ptr : "");
    tpi_why_device(u->target, TPC_WHY_ACL, TPC_EDENIED, tpc_str_from(text), TPC_STR("uplink"),
                   (struct tpc_bytes){ (const uint8_t *) device.ptr, device.len });
    if (u->parts_told_ms == 0 || u->now_ms - u->parts_told_ms >= TELL_MS) {
        u->parts_told_ms = u->parts_why_ms;
        snprintf(u->parts_text, sizeof(u->parts_text), "gateway %.128s %s", u->target->key.ptr,
                 text);
    }
}

void up_tell_parts(struct tpi_uplink *u)
{
    if (u->parts_text[0] != '\0') {
        tpi_log(u->env, TPC_LOG_WARN, "uplink", "%s", u->parts_text);
        u->parts_text[0] = '\0';
    }
}

/* Made after the batch, if the gateway's product allows. */
static void note_new(struct tpi_uplink *u, struct tpc_str product, struct tpc_str device)
{
    if (u->target->product->auto_subs == TPI_AUTO_OFF || device.len == 0 ||
        u->new_count == TPI_UPLINK_NEW) {
        return;
    }
    u->news[u->new_count++] = (struct tpi_up_new){ u->target, product, device };
}

int up_scope_enter(void *user, uint32_t frame, struct tpc_str product, struct tpc_str device)
{
    struct tpi_uplink *u = user;
    struct tpc_device *d;
    if (u->open || u->no_memory || frame >= u->count) {
        return TPC_ENOENT;
    }
    u->states[u->base + frame].any = true;
    u->scoped = true;
    if (product.len == 0) {
        d = tpi_topology_find(u->host.registry, u->target->id, device);
    } else {
        d = tpi_registry_find_in(u->host.registry, u->target->tenant->id, device);
        d = d != NULL && d->gateway == u->target && tpc_str_equal(d->product->key, product) ? d
                                                                                            : NULL;
    }
    if (d == NULL || u->level == TPI_REGISTRY_GATEWAY_DEPTH) {
        tell_unknown(u, device);
        note_new(u, product, device);
        return TPC_ENOENT;
    }
    u->above[u->level++] = u->target;
    u->target = d;
    u->product = d->product;
    return 0;
}

void up_scope_leave(void *user)
{
    struct tpi_uplink *u = user;
    if (u->level > 0) {
        u->target = u->above[--u->level];
        u->product = u->target->product;
    }
}

bool up_scope_foreign(const struct tpi_uplink *u)
{
    return u->level > 0 && u->host.workers > 1 &&
           u->target->partition % u->host.workers != u->host.worker;
}

bool up_scope_hand(struct tpi_uplink *u)
{
    if (u->part_count == u->part_cap) {
        void *p = u->parts;
        bool ok = up_grow(u, &p, &u->part_cap, sizeof(u->parts[0]));
        u->parts = p;
        if (!ok) {
            return false;
        }
    }
    u->parts[u->part_count++] = u->msgs[--u->msg_count];
    return true;
}

void up_scope_bad(struct tpi_uplink *u, const struct tpc_error *why)
{
    u->states[u->current].bad_part = true;
    u->part_bad = *why;
}

/* Parts go to other workers: the answer waits for them, and what stays here goes without the keys of
 * the frame, for after a crash these would say that all of it came before. */
static void share(struct tpi_uplink *u, const struct up_state *s)
{
    struct tpi_up_msg *first = &u->parts[s->parts];
    const struct tpi_up_msg *asking = NULL;
    uint32_t end = u->msg_count;
    for (uint32_t i = s->first; i < end && !u->no_memory; i++) {
        struct tpi_up_msg *um = &u->msgs[i];
        asking = um->answer ? um : asking;
        um->answer = false;
        memset(&um->msg.id, 0, sizeof(um->msg.id));
        if (up_encode(u, um) != 0) { /* it was encoded before: there is no room for both */
            u->no_memory = true;
        }
    }
    u->msg_count = end;
    for (uint32_t i = s->quiet; i < u->quiet_count; i++) {
        asking = u->quiet[i].answer ? &u->quiet[i] : asking;
        u->quiet[i].answer = false;
    }
    for (uint32_t i = s->parts; i < u->part_count; i++) {
        asking = u->parts[i].answer ? &u->parts[i] : asking;
        u->parts[i].answer = false;
    }
    if (asking != NULL) {
        first->answer = true;
        first->answer_name = asking->answer_name;
    }
}

void up_scope_end(struct tpi_uplink *u, uint32_t input)
{
    const struct up_state *s = &u->states[input];
    if (u->part_count > s->parts) {
        share(u, s);
    }
    if (s->bad_part && !s->refused && u->msg_count == s->first && u->part_count == s->parts &&
        u->quiet_count == s->quiet) {
        up_refuse(u, input, &u->part_bad);
    }
}

int up_take_part(struct tpi_uplink *u, uint32_t input, struct tpc_error *err)
{
    const struct tpi_up_input *in = &u->inputs[input];
    struct tpc_decode_sink sink;
    struct tpc_msg part;
    memset(&part, 0, sizeof(part));
    int rc = tpi_msg_decode(in->frame.payload, u->arena, err, &part);
    if (rc != 0) {
        u->no_memory = rc == TPC_ENOMEM;
        return rc;
    }
    u->inputs[input].origin = part.origin;
    up_sink(u, &sink);
    struct tpc_decoded head = { .size = sizeof(head),
                                .kind = in->frame.kind,
                                .flags = (uint16_t) in->frame.code,
                                .code = part.code,
                                .name = part.name,
                                .correlation = part.correlation,
                                .params = part.params };
    rc = sink.begin(u, 0, &head);
    for (uint32_t i = 0; rc == 0 && i < part.point_count; i++) {
        const struct tpc_point *p = &part.points[i];
        int index = tpi_model_find_id(u->product->model, p->property);
        /* Else it went from the model in between, or came by key. */
        struct tpc_str key =
            index >= 0 ? tpi_model_property(u->product->model, (uint32_t) index)->key : p->key;
        if (index >= 0 || p->property == TPC_PROPERTY_NONE) {
            uint32_t at = u->point_count;
            rc = sink.point(u, key, &p->value, p->unix_ms);
            if (u->point_count > at) { /* it was brought within its limits before */
                u->points[at].flags |= p->flags & TPC_POINT_CLAMPED;
            }
        }
    }
    rc = rc != 0 ? rc : sink.end(u);
    return u->states[input].refused ? 0 : rc;
}
