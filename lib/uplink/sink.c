/* From what a decoder says to checked messages. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "data/msg.h"
#include "registry/why.h"
#include "uplink/private.h"

enum { WHY_MAX = 8 /* a second */ };

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static int check_unknown(const struct tpi_product *product, struct tpc_str key,
                         const struct tpc_value *value, struct tpc_error *err,
                         struct tpc_point *ret, uint32_t *ret_index)
{
    if (!product->keep_unknown) {
        return tpi_error_set(err, TPC_EMODEL, "model", "no property \"%.*s\"",
                             (int) (key.len < 64 ? key.len : 64), key.ptr);
    }
    int rc = tpi_model_open_check(key, value, err);
    if (rc == 0) {
        *ret = (struct tpc_point){ .key = key, .value = *value };
        *ret_index = TPI_MODEL_NO_INDEX;
    }
    return rc;
}

int up_check_point(const struct tpi_product *product, uint16_t flags, struct tpc_str key,
                   const struct tpc_value *value, struct tpc_arena *arena, uint32_t *hint,
                   struct tpc_error *err, struct tpc_point *ret, uint32_t *ret_index)
{
    const struct tpi_model *model = product->model;
    int index = tpi_model_find(model, key, hint);
    if (index < 0 && (flags & TPC_DECODED_ANY_CASE) != 0) {
        index = tpi_model_find_any_case(model, key);
    }
    if (index < 0) {
        return check_unknown(product, key, value, err, ret, ret_index);
    }
    uint16_t marks;
    int rc = tpi_model_take(model, (uint32_t) index, value, arena, err, &ret->value, &marks);
    if (rc != 0) {
        return rc;
    }
    const struct tpi_property *p = tpi_model_property(model, (uint32_t) index);
    ret->key = p->key;
    ret->property = p->id;
    ret->flags = (uint16_t) (marks | (p->attribute ? TPC_POINT_ATTRIBUTE : 0));
    ret->reserved = 0;
    *ret_index = (uint32_t) index;
    return 0;
}

/* The dialect's own message id, where it has one, with the payload: counters of dialects start
 * anew, so that the id alone would drop new messages. True: it came before. */
static bool came_before(struct tpi_uplink *u, uint32_t input, struct tpc_str correlation)
{
    struct up_state *s = &u->states[input];
    if (s->keyed) {
        return s->duplicate;
    }
    s->keyed = true;
    if (correlation.len == 0) {
        return false;
    }
    const struct tpi_up_input *in = &u->inputs[input];
    uint64_t key = tpi_hash(s->payload.ptr, s->payload.len,
                            in->device->id ^ tpi_hash(correlation.ptr, correlation.len, 1));
    if (tpi_dedup_seen(&u->dedup, key, u->now_ms)) {
        s->duplicate = true;
        return true;
    }
    s->dialect_key = key;
    if (tpi_dedup_add(&u->dedup, key, u->now_ms)) {
        u->keys_added++;
    }
    return false;
}

/* Codecs of older modules have a shorter head. */
static struct tpc_str answer_name(const struct tpc_decoded *head)
{
    bool has = head->size >= offsetof(struct tpc_decoded, answer) + sizeof(head->answer);
    return has && head->answer.len > 0 ? head->answer : head->name;
}

static int take_params(struct tpi_uplink *u, const struct tpc_decoded *head, struct tpc_msg *m)
{
    if (head->kind != TPC_MSG_EVENT) {
        m->params = head->params;
        return 0;
    }
    struct tpc_error err;
    int rc = tpi_model_event_check(u->product->model, head->name, &head->params, u->arena, &err,
                                   &m->params);
    if (rc == TPC_ENOMEM) {
        u->no_memory = true;
    } else if (rc != 0 && (head->flags & TPC_DECODED_PART) != 0) {
        err.code = TPC_EMODEL;
        up_scope_bad(u, &err);
        u->skip = true;
        u->again = false;
        return 0;
    } else if (rc != 0) {
        err.code = TPC_EMODEL;
        up_refuse(u, u->current, &err);
    }
    return rc;
}

static void put_keys(struct tpc_id *id, const struct up_state *s)
{
    tpi_put_u64(id->b, s->dialect_key);
    tpi_put_u64(id->b + 8, s->packet_key);
}

/* A device that sends the same once more has not got the answer: it gets another if the message is
 * one that is taken. */
static void skip_begin(struct tpi_uplink *u, const struct tpc_decoded *head,
                       struct tpc_str correlation)
{
    struct up_state *s = &u->states[u->current];
    struct tpc_value params;
    u->again = false;
    if ((head->flags & TPC_DECODED_ANSWER) == 0 || s->again) {
        return;
    }
    s->again_part = (head->flags & TPC_DECODED_PART) != 0;
    s->again_name = answer_name(head);
    s->again_correlation = correlation;
    if (head->kind == TPC_MSG_TELEMETRY || head->kind == TPC_MSG_ATTRIBUTES) {
        u->again = true;
    } else if (head->kind == TPC_MSG_EVENT) {
        s->again = tpi_model_event_check(u->product->model, head->name, &head->params, u->arena,
                                         NULL, &params) == 0;
    }
}

static void skip_point(struct tpi_uplink *u, struct tpc_str key, const struct tpc_value *value)
{
    struct tpc_point point;
    uint32_t index;
    if (u->again && up_check_point(u->product, u->flags, key, value, u->arena, &u->hint, NULL,
                                   &point, &index) == 0) {
        u->states[u->current].again = true;
        u->again = false;
    }
}

/* A status that does not count: heartbeats decide, or a newer connection of the device is known. Only
 * what counts becomes a message, so that who follows the log is not misled. */
static bool ignores(const struct tpi_uplink *u, const struct tpi_up_input *in,
                    const struct tpc_decoded *head)
{
    int64_t connection = 0;
    if (u->product->presence == TPI_PRESENCE_HEARTBEAT) {
        return true;
    }
    return u->host.presence != NULL &&
           tpc_value_int(tpc_value_get(&head->params, TPC_STR("connection")), &connection) == 0 &&
           tpi_presence_late(u->host.presence, in->device, (uint64_t) connection);
}

static int sink_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    struct tpi_uplink *u = user;
    if (u->no_memory || frame >= u->count || u->open) {
        return u->no_memory ? TPC_ENOMEM : TPC_EINVAL;
    }
    u->current = u->base + frame;
    struct up_state *s = &u->states[u->current];
    const struct tpi_up_input *in = &u->inputs[u->current];
    s->any = true;
    if (s->refused) {
        return TPC_ECANCELED;
    }
    struct tpc_str correlation =
        head->correlation.len > 0 ? head->correlation : in->frame.correlation;
    u->open = true;
    u->flags = head->flags;
    u->bad_points = 0;
    u->clamped = 0;
    u->beyond = 0;
    u->kept = 0;
    u->untold = false;
    if (head->kind == TPC_MSG_PRESENCE && ignores(u, in, head)) {
        add(&u->host.counters->presence_ignored, 1);
        u->skip = true;
        u->again = false;
        return 0;
    }
    u->skip = head->kind != TPC_MSG_REPLY && came_before(u, u->current, correlation);
    if (u->skip) {
        skip_begin(u, head, correlation);
        return 0;
    }
    if (!up_room_msg(u)) {
        u->open = false;
        return TPC_ENOMEM;
    }
    struct tpi_up_msg *um = &u->msgs[u->msg_count];
    memset(um, 0, sizeof(*um));
    um->device = u->target;
    um->asked = in->device;
    um->input = u->current;
    um->answer = (head->flags & TPC_DECODED_ANSWER) != 0;
    um->answer_name = answer_name(head);
    um->part = (head->flags & TPC_DECODED_PART) != 0;
    um->got = (head->flags & TPC_DECODED_GOT) != 0;
    um->said = in->type == TPI_UP_VALUES || in->type == TPI_UP_REPEAT;
    um->first_point = u->point_count;
    struct tpc_msg *m = &um->msg;
    m->size = sizeof(*m);
    m->kind = head->kind;
    m->flags = (in->frame.flags & TPC_FRAME_REDELIVERED) != 0 ? TPC_MSG_REDELIVERED : 0;
    m->flags |= (in->frame.flags & TPC_FRAME_RETAINED) != 0 ? TPC_MSG_RETAINED : 0;
    m->unix_ms = head->unix_ms != 0 ? head->unix_ms : in->frame.unix_ms;
    if (m->unix_ms == 0) {
        /* The owner estimates, whoever that is. */
        m->unix_ms = up_scope_foreign(u) ? in->received_unix_ms
                                         : tpi_device_estimate(u->target, in->received_unix_ms);
        m->flags |= TPC_MSG_ESTIMATED_TIME;
    }
    m->received_unix_ms = in->received_unix_ms;
    m->partition = u->target->partition;
    m->device_id = u->target->id;
    m->model_revision = u->product->revision;
    m->name = head->kind == TPC_MSG_REPLY ? head->message : head->name;
    m->correlation = correlation;
    m->code = head->code;
    m->origin = in->origin;
    m->point_size = sizeof(struct tpc_point);
    put_keys(&m->id, s);
    int rc = take_params(u, head, m);
    if (rc != 0) {
        u->open = false;
    }
    return rc;
}

/* A codec may use the memory of a key again. */
static bool own_key(struct tpi_uplink *u, struct tpc_point *p)
{
    char *copy = tpc_arena_take(u->arena, p->key.len);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, p->key.ptr, p->key.len);
    p->key.ptr = copy;
    p->flags = u->msgs[u->msg_count].msg.kind == TPC_MSG_ATTRIBUTES ? TPC_POINT_ATTRIBUTE : 0;
    u->kept++;
    return true;
}

static int sink_point(void *user, struct tpc_str key, const struct tpc_value *value,
                      int64_t unix_ms)
{
    struct tpi_uplink *u = user;
    if (!u->open || u->no_memory) {
        return u->no_memory ? TPC_ENOMEM : TPC_EINVAL;
    }
    if (u->skip) {
        skip_point(u, key, value);
        return 0;
    }
    if (!up_room_point(u)) {
        return TPC_ENOMEM;
    }
    if (u->point_count - u->msgs[u->msg_count].first_point >= TPI_UPLINK_POINTS) {
        return TPC_ETOOBIG;
    }
    struct tpc_point *p = &u->points[u->point_count];
    int rc = up_check_point(u->product, u->flags, key, value, u->arena, &u->hint, &u->bad, p,
                            &u->indexes[u->point_count]);
    if (rc == TPC_ENOMEM) {
        u->no_memory = true;
        return rc;
    }
    if (rc != 0) {
        u->bad_points++;
        return 0;
    }
    if (u->indexes[u->point_count] == TPI_MODEL_NO_INDEX && !own_key(u, p)) {
        u->no_memory = true;
        return TPC_ENOMEM;
    }
    p->unix_ms = unix_ms;
    u->clamped += (p->flags & TPC_POINT_CLAMPED) != 0;
    u->beyond += (p->flags & TPC_POINT_BEYOND) != 0;
    u->point_count++;
    return 0;
}

/* Why the last value of a message that came directly was refused: by the same check once more, for
 * a reason takes longer to write than to find, and most are never read. */
static void explain_bad(struct tpi_uplink *u)
{
    struct tpc_point point;
    uint32_t index;
    if (u->untold) {
        u->untold = false;
        (void) up_check_point(u->product, u->flags, u->direct.bad_key, &u->direct.bad_value,
                              u->arena, NULL, &u->bad, &point, &index);
    }
}

/* Messages of which only a part is refused: a few a second, for many devices always say something
 * that their model does not know, and a good message is not to pay for that. */
static void note_bad(struct tpi_uplink *u, struct tpi_up_msg *um)
{
    if (u->now_ms - u->why_ms >= 1000) {
        u->why_ms = u->now_ms;
        u->why_told = 0;
    }
    if (u->why_told++ < WHY_MAX && u->host.registry != NULL) {
        char text[sizeof(u->bad.text) + sizeof(u->bad.path) + 2];
        explain_bad(u);
        snprintf(text, sizeof(text), "%s%s%s", u->bad.path, u->bad.path[0] != '\0' ? ": " : "",
                 u->bad.text);
        tpi_why_device(um->device, TPC_WHY_MODEL, u->bad.code, tpc_str_from(text), um->msg.origin,
                       u->inputs[u->current].frame.payload);
    }
}

static void log_bad(struct tpi_uplink *u, const struct tpi_up_msg *um)
{
    if (u->env->log == NULL || u->env->log_level < TPC_LOG_DEBUG) {
        return;
    }
    explain_bad(u);
    tpi_log(u->env, TPC_LOG_DEBUG, "model", "device %s: %u values refused, the last: %s%s%s",
            um->device->key.ptr, (unsigned) u->bad_points, u->bad.path,
            u->bad.path[0] != '\0' ? ": " : "", u->bad.text);
}

static int sink_end(void *user)
{
    struct tpi_uplink *u = user;
    if (!u->open || u->no_memory) {
        return u->no_memory ? TPC_ENOMEM : TPC_EINVAL;
    }
    u->open = false;
    if (u->skip) {
        return 0;
    }
    /* The worker that owns the device computes. */
    bool foreign = up_scope_foreign(u);
    bool repeat = u->inputs[u->current].type == TPI_UP_REPEAT;
    if (u->product->derived != NULL && !foreign && !repeat && up_derive(u) != 0) {
        return TPC_ENOMEM;
    }
    struct tpi_up_msg *um = &u->msgs[u->msg_count];
    um->msg.point_count = u->point_count - um->first_point;
    if (u->bad_points > 0) {
        add(&u->host.counters->points_refused, u->bad_points);
        log_bad(u, um);
    }
    if ((u->clamped | u->beyond | u->kept) != 0) {
        add(&u->host.counters->points_kept, u->kept);
        add(&u->host.counters->points_clamped, u->clamped);
        add(&u->host.counters->points_beyond, u->beyond);
    }
    bool data = um->msg.kind == TPC_MSG_TELEMETRY || um->msg.kind == TPC_MSG_ATTRIBUTES;
    if (data && um->msg.point_count == 0) {
        if (u->bad_points > 0) {
            explain_bad(u);
            if ((u->flags & TPC_DECODED_PART) != 0) {
                up_scope_bad(u, &u->bad);
                note_bad(u, um);
            } else {
                up_refuse(u, u->current, &u->bad);
            }
        }
        return 0;
    }
    if (um->answer && (u->flags & TPC_DECODED_PART) != 0) {
        um->answer = !u->states[u->current].answered;
        u->states[u->current].answered = true;
    }
    if (u->bad_points > 0) {
        note_bad(u, um);
    }
    if (data && !foreign) {
        up_filter(u, um);
        if (um->msg.point_count == 0) {
            return up_quiet(u) ? 0 : TPC_ENOMEM;
        }
    }
    int rc = up_encode(u, um);
    if (rc == 0 && foreign && !up_scope_hand(u)) {
        return TPC_ENOMEM;
    }
    if (rc != 0 && rc != TPC_ENOMEM) {
        struct tpc_error err;
        tpi_error_set(&err, rc, "uplink", "the message cannot be logged");
        up_refuse(u, u->current, &err);
        return 0;
    }
    return rc;
}

static void sink_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    struct tpi_uplink *u = user;
    if (frame >= u->count) {
        return;
    }
    if (err->code == TPC_ENOMEM) {
        u->no_memory = true;
        return;
    }
    u->open = false;
    up_refuse(u, u->base + frame, err);
}

/* Not of a message, so that nothing of it gets into the log. One that came before is answered again: what
 * it asks for is the same. */
static int sink_request(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    struct tpi_uplink *u = user;
    if (u->open || u->no_memory || frame >= u->count) {
        return u->no_memory ? TPC_ENOMEM : TPC_EINVAL;
    }
    if (u->request_count == u->request_cap) {
        void *p = u->requests;
        bool ok = up_grow(u, &p, &u->request_cap, sizeof(u->requests[0]));
        u->requests = p;
        if (!ok) {
            return TPC_ENOMEM;
        }
    }
    u->states[u->base + frame].any = true;
    u->requests[u->request_count++] = (struct tpi_up_request){ .device = u->target,
                                                               .input = u->base + frame,
                                                               .name = head->name,
                                                               .correlation = head->correlation,
                                                               .params = head->params };
    return 0;
}

/* ---- straight to points ---- */

static void direct_room(struct tpi_uplink *u)
{
    u->direct.points = u->points + u->point_count;
    u->direct.indexes = u->indexes + u->point_count;
    u->direct.cap = u->point_cap - u->point_count;
}

static void direct_start(struct tpi_direct *d)
{
    struct tpi_uplink *u = d->user;
    const struct tpi_model *m = u->product->model;
    if (d->model != m || d->guess == NULL) {
        d->model = m;
        d->guess = tpi_guess_of(&u->guesses, m);
    }
    d->count = 0;
    d->clamped = 0;
    d->beyond = 0;
    d->kept = 0;
    d->bad = 0;
    d->keep = u->product->keep_unknown;
    if (u->point_cap > 0) {
        direct_room(u);
    } else {
        d->cap = 0;
    }
}

static bool direct_more(struct tpi_direct *d)
{
    struct tpi_uplink *u = d->user;
    uint32_t taken = u->point_count;
    if (d->count >= d->most || u->no_memory) {
        return false;
    }
    u->point_count = taken + d->count; /* what was read moves along */
    bool ok = up_room_point(u);
    u->point_count = taken;
    if (ok) {
        direct_room(u);
    }
    return ok;
}

/* Points by key are what their message is. */
static void mark_kept(struct tpi_uplink *u, uint32_t count)
{
    for (uint32_t i = u->point_count - count; i < u->point_count; i++) {
        if (u->indexes[i] == TPI_MODEL_NO_INDEX) {
            u->points[i].flags |= TPC_POINT_ATTRIBUTE;
        }
    }
}

static int direct_message(struct tpi_direct *d, uint32_t frame, const struct tpc_decoded *head)
{
    struct tpi_uplink *u = d->user;
    int rc = sink_begin(u, frame, head);
    if (rc != 0) {
        return rc;
    }
    if (u->skip) {
        if (u->again && d->count > 0) {
            u->states[u->current].again = true;
            u->again = false;
        }
    } else {
        u->point_count += d->count;
        u->bad_points = d->bad;
        u->clamped = d->clamped;
        u->beyond = d->beyond;
        u->kept = d->kept;
        if (d->kept > 0 && head->kind == TPC_MSG_ATTRIBUTES) {
            mark_kept(u, d->count);
        }
        u->untold = d->bad > 0;
    }
    return sink_end(u);
}

void up_sink(struct tpi_uplink *u, struct tpc_decode_sink *ret)
{
    tpi_direct_init(&u->direct);
    *ret = (struct tpc_decode_sink){
        .size = sizeof(*ret),
        .user = u,
        .arena = u->arena,
        .begin = sink_begin,
        .point = sink_point,
        .end = sink_end,
        .refuse = sink_refuse,
        .direct = &u->direct,
        .enter = up_scope_enter,
        .leave = up_scope_leave,
        .request = sink_request,
    };
    u->direct.user = u;
    u->direct.arena = u->arena;
    u->direct.most = TPI_UPLINK_POINTS;
    u->direct.start = direct_start;
    u->direct.more = direct_more;
    u->direct.message = direct_message;
}

/* One message for each distinct time, in the order in which the times appear. */
int up_take_points(struct tpi_uplink *u, uint32_t input, struct tpc_error *err)
{
    const struct tpi_up_input *in = &u->inputs[input];
    struct tpc_msg fed;
    memset(&fed, 0, sizeof(fed));
    int rc = tpi_msg_decode(in->frame.payload, u->arena, err, &fed);
    uint8_t *taken = rc == 0 ? tpc_arena_take(u->arena, fed.point_count + 1) : NULL;
    if (taken == NULL) {
        u->no_memory = rc == 0 || rc == TPC_ENOMEM;
        return rc != 0 ? rc : TPC_ENOMEM;
    }
    memset(taken, 0, fed.point_count + 1);
    if (in->type == TPI_UP_VALUES) {
        u->inputs[input].origin = fed.origin;
    }
    for (uint32_t i = 0; rc == 0 && i < fed.point_count; i++) {
        if (taken[i]) {
            continue;
        }
        struct tpc_decoded head = { .size = sizeof(head),
                                    .kind = in->frame.kind,
                                    .code = fed.code,
                                    .unix_ms = fed.points[i].unix_ms };
        rc = sink_begin(u, 0, &head);
        for (uint32_t k = i; rc == 0 && k < fed.point_count; k++) {
            const struct tpc_point *p = &fed.points[k];
            if (taken[k] || p->unix_ms != head.unix_ms) {
                continue;
            }
            taken[k] = 1;
            int index = p->property != 0 ? tpi_model_find_id(u->product->model, p->property) : -1;
            struct tpc_str key =
                index >= 0 ? tpi_model_property(u->product->model, (uint32_t) index)->key : p->key;
            rc = sink_point(u, key, &p->value, 0);
        }
        rc = rc != 0 ? rc : sink_end(u);
    }
    return u->states[input].refused ? 0 : rc;
}
