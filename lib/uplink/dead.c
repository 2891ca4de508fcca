/* Dead letters: what could not be used, with the reason and all that a second try needs. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "registry/why.h"
#include "uplink/private.h"

enum { MEMBERS = 16, TOLD_MAX = 8 };

struct params {
    struct tpc_member *items;
    size_t count;
};

static void put_text(struct params *p, const char *key, struct tpc_str text)
{
    if (text.len > 0) {
        struct tpc_member *m = &p->items[p->count++];
        m->key = tpc_str_from(key);
        m->value = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
    }
}

static void put_int(struct params *p, const char *key, int64_t i)
{
    if (i != 0) {
        struct tpc_member *m = &p->items[p->count++];
        m->key = tpc_str_from(key);
        m->value = (struct tpc_value){ .type = TPC_INT, .as.i = i };
    }
}

/* Copy in the arena: the error is the decoder's, on its stack. */
static struct tpc_str keep(struct tpc_arena *arena, const char *text)
{
    size_t len = strlen(text);
    char *copy = len > 0 ? tpc_arena_take(arena, len) : NULL;
    if (copy == NULL) {
        return (struct tpc_str){ NULL, 0 };
    }
    memcpy(copy, text, len);
    return (struct tpc_str){ copy, len };
}

int up_dead_params(struct tpi_uplink *u, const struct tpi_up_input *in, const struct tpc_error *why,
                   struct tpc_value *ret)
{
    const struct tpc_frame *f = &in->frame;
    struct params p = { tpc_arena_take(u->arena, MEMBERS * sizeof(struct tpc_member)), 0 };
    if (p.items == NULL) {
        return TPC_ENOMEM;
    }
    memset(p.items, 0, MEMBERS * sizeof(struct tpc_member));
    put_int(&p, "code", why->code);
    put_text(&p, "reason", keep(u->arena, why->text));
    put_text(&p, "origin", in->origin);
    put_text(&p, "topic", f->topic);
    put_text(&p, "tenant", in->device != NULL ? tpi_device_tenant(in->device) : in->tenant);
    put_text(&p, "product", in->device != NULL ? tpi_device_product_key(in->device) : f->product);
    put_text(&p, "device", in->device != NULL ? in->device->key : f->device);
    put_int(&p, "line", why->line);
    put_int(&p, "column", why->column);
    put_text(&p, "path", keep(u->arena, why->path));
    put_int(&p, "frame_kind", f->kind);
    put_int(&p, "frame_flags", f->flags);
    put_text(&p, "name", f->name);
    put_text(&p, "correlation", f->correlation);
    put_int(&p, "unix_ms", f->unix_ms);
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = p.count, .as.members = p.items };
    return 0;
}

void up_refuse(struct tpi_uplink *u, uint32_t input, const struct tpc_error *why)
{
    struct up_state *s = &u->states[input];
    const struct tpi_up_input *in = &u->inputs[input];
    if (s->refused || s->duplicate) {
        return;
    }
    s->refused = true;
    s->any = true;
    u->msg_count = s->first;
    u->point_count = s->points;
    u->part_count = s->parts;
    u->quiet_count = s->quiet;
    tpi_reports_forget(&u->reports, s->touched);
    u->bodies.len = s->bodies;
    if (!up_room_msg(u)) {
        return;
    }
    struct tpi_up_msg *um = &u->msgs[u->msg_count];
    memset(um, 0, sizeof(*um));
    um->device = in->device;
    um->input = input;
    um->first_point = u->point_count;
    struct tpc_msg *m = &um->msg;
    m->size = sizeof(*m);
    m->kind = TPC_MSG_DEAD_LETTER;
    m->partition = in->device != NULL ? in->device->partition : in->partition;
    m->device_id = in->device != NULL ? in->device->id : 0;
    m->unix_ms = in->received_unix_ms;
    m->received_unix_ms = in->received_unix_ms;
    m->origin = in->origin;
    m->code = why->code;
    m->point_size = sizeof(struct tpc_point);
    m->raw = in->frame.payload;
    if (up_dead_params(u, in, why, &m->params) != 0 || up_encode(u, um) != 0) {
        u->no_memory = true;
    }
}

static struct tpc_str text_of(const struct tpc_value *params, struct tpc_str key)
{
    return tpc_value_text(tpc_value_get(params, key));
}

static void tell_one(struct tpi_uplink *u, const struct tpc_msg *m)
{
    struct tpc_str device = text_of(&m->params, TPC_STR("device"));
    struct tpc_str product = text_of(&m->params, TPC_STR("product"));
    struct tpc_str reason = text_of(&m->params, TPC_STR("reason"));
    int64_t line = 0;
    char place[40] = "";
    if (tpc_value_int(tpc_value_get(&m->params, TPC_STR("line")), &line) == 0) {
        snprintf(place, sizeof(place), "line %d: ", (int) line);
    }
    tpi_log(u->env, TPC_LOG_WARN, "uplink", "dead letter of %.*s (product %.*s): %s: %s%.*s",
            (int) device.len, device.len > 0 ? device.ptr : "", (int) product.len,
            product.len > 0 ? product.ptr : "", tpc_error_name(m->code), place, (int) reason.len,
            reason.len > 0 ? reason.ptr : "");
}

static void note_why(const struct tpi_uplink *u, const struct tpi_up_msg *um)
{
    const struct tpc_msg *m = &um->msg;
    bool stranger = um->device == NULL || atomic_load(&um->device->deleted);
    struct tpc_why why = {
        .size = sizeof(why),
        .stage = stranger || m->code == TPC_EDENIED ? TPC_WHY_AUTH
                 : m->code == TPC_EMODEL            ? TPC_WHY_MODEL
                                                    : TPC_WHY_DECODE,
        .code = m->code,
        .unix_ms = m->received_unix_ms,
        .known = !stranger,
        .tenant = text_of(&m->params, TPC_STR("tenant")),
        .device = text_of(&m->params, TPC_STR("device")),
        .origin = m->origin,
        .reason = text_of(&m->params, TPC_STR("reason")),
        .payload = m->raw,
    };
    if (why.device.len == 0) {
        why.device = TPC_STR("(unnamed)");
    }
    (void) tpi_why_note(tpi_registry_why(u->host.registry), &why);
}

/* One line each, but a flood of bad frames is no flood of lines. */
void up_tell_dead(struct tpi_uplink *u)
{
    for (uint32_t i = 0; i < u->msg_count; i++) {
        if (u->msgs[i].msg.kind != TPC_MSG_DEAD_LETTER) {
            continue;
        }
        note_why(u, &u->msgs[i]);
        if (u->now_ms - u->told_ms >= 1000) {
            if (u->told > TOLD_MAX) {
                tpi_log(u->env, TPC_LOG_WARN, "uplink", "and %llu more dead letters",
                        (unsigned long long) (u->told - TOLD_MAX));
            }
            u->told_ms = u->now_ms;
            u->told = 0;
        }
        if (u->told++ < TOLD_MAX) {
            tell_one(u, &u->msgs[i].msg);
        }
    }
}
