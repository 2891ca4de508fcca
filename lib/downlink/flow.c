/* What moves a command from state to state. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "data/msg.h"
#include "downlink/open.h"

#include <assert.h>
#include <string.h>

static void queue_add(struct command_queue *q, struct open_command *c, bool at_head)
{
    assert(!c->queued);
    c->queued = true;
    c->prev = at_head ? NULL : q->tail;
    c->next = at_head ? q->head : NULL;
    *(c->prev != NULL ? &c->prev->next : &q->head) = c;
    *(c->next != NULL ? &c->next->prev : &q->tail) = c;
}

/* Out of the queue or off the device's hands. */
static void detach(struct open_command *c)
{
    struct open_device *v = c->device;
    if (c->queued) {
        struct command_queue *q = &v->queues[c->priority];
        *(c->prev != NULL ? &c->prev->next : &q->head) = c->next;
        *(c->next != NULL ? &c->next->prev : &q->tail) = c->prev;
        c->queued = false;
        c->next = NULL;
        c->prev = NULL;
    }
    if (v->flight == c) {
        v->flight = NULL;
    }
    c->waits = false;
    if (c->ticket != 0) {
        tpi_map64_remove(&c->owner->tickets, c->ticket);
        c->ticket = 0;
    }
    tpi_wheel_cancel(c->owner->host.wheel, &c->timer);
}

static void set_sent(struct open_command *c, uint32_t state, uint32_t tries, int64_t sent_unix_ms)
{
    pthread_mutex_lock(&c->owner->lock);
    c->state = state;
    c->tries = tries;
    c->sent_unix_ms = sent_unix_ms;
    pthread_mutex_unlock(&c->owner->lock);
}

void tpi_flow_enqueue(struct open_command *c, bool at_head)
{
    struct tpi_downlink *d = c->owner;
    detach(c);
    set_sent(c, TPC_COMMAND_QUEUED, c->tries, c->sent_unix_ms);
    queue_add(&c->device->queues[c->priority], c, at_head);
    int64_t left = c->created_unix_ms + (int64_t) c->expire_ms - tpi_unix_ms(d->env);
    left = left < 0 ? 0 : left;
    tpi_wheel_add(d->host.wheel, &c->timer, tpi_mono_ms(d->env) + (uint64_t) left);
}

void tpi_flow_again(struct open_device *v, uint64_t delay_ms)
{
    struct tpi_downlink *d = v->owner;
    tpi_wheel_add(d->host.wheel, &v->again, tpi_mono_ms(d->env) + delay_ms);
}

/* A restart must know that it was sent: else it would be sent twice. */
void tpi_flow_tell(struct open_command *c)
{
    c->owed = tpi_record_state(c) != 0;
    if (c->owed) {
        TPI_METRIC_ADD(c->owner->host.counters->append_waits, 1);
        tpi_flow_again(c->device, TPI_DOWNLINK_AGAIN_MS);
    }
}

static struct open_command *first_queued(const struct open_device *v)
{
    for (int i = PRIORITIES; i > 0; i--) {
        if (v->queues[i - 1].head != NULL) {
            return v->queues[i - 1].head;
        }
    }
    return NULL;
}

static int hand_over(struct open_command *c, uint64_t ticket, struct tpc_error *err)
{
    struct tpi_downlink *d = c->owner;
    struct tpc_arena *arena = NULL;
    struct tpc_value params;
    int rc = tpc_arena_create(d->env->alloc, 0, &arena);
    rc = rc != 0 ? rc : tpi_value_decode(tpi_open_part(c, PART_PARAMS), arena, err, &params);
    if (rc == 0) {
        char id_text[TPC_ID_TEXT_BYTES + 1];
        tpc_id_format(&c->id, id_text);
        struct tpc_bytes service = tpi_open_part(c, PART_SERVICE);
        struct tpc_encode what = { .size = sizeof(what),
                                   .id = c->id,
                                   .name = { (const char *) service.ptr, service.len },
                                   .correlation = { id_text, TPC_ID_TEXT_BYTES },
                                   .params = params };
        what.kind = tpi_command_kind(what.name, c->control);
        rc = d->host.send(d->host.user, c->device->device, &what, ticket, err);
    }
    tpc_arena_destroy(arena);
    return rc;
}

/* The adapter did not take it. Everything is as before the try, or it has failed for good. */
static void send_failed(struct open_command *c, int rc, const struct tpc_error *err)
{
    struct open_device *v = c->device;
    if (rc == TPC_EOFFLINE) {
        v->offline = true;
    } else if (rc == TPC_EAGAIN || rc == TPC_ENOMEM) {
        v->busy = true;
        tpi_flow_again(v, TPI_DOWNLINK_AGAIN_MS);
    } else {
        tpi_flow_close(c, TPC_COMMAND_FAILED, rc,
                       err->text[0] != '\0' ? err->text : tpc_error_name(rc));
        return;
    }
    tpi_flow_enqueue(c, true);
}

/* The host may answer from inside send(): the command's ticket tells whether it is still under way.
 */
static void try_send(struct open_command *c)
{
    struct tpi_downlink *d = c->owner;
    struct open_device *v = c->device;
    uint32_t tries = c->tries;
    int64_t sent_unix_ms = c->sent_unix_ms;
    uint64_t ticket = (uint64_t) d->host.worker << 56 | (++d->last_ticket & (UINT64_MAX >> 8));
    detach(c);
    struct tpc_error err = { .size = sizeof(err) };
    int rc = tpi_map64_put(&d->tickets, ticket, c, NULL);
    if (rc == 0) {
        c->ticket = ticket;
        v->flight = c;
        set_sent(c, TPC_COMMAND_SENT, tries + 1, tpi_unix_ms(d->env));
        rc = hand_over(c, ticket, &err);
        if (tpi_map64_get(&d->tickets, ticket) != c) {
            return;
        }
    }
    if (rc != 0) {
        set_sent(c, TPC_COMMAND_QUEUED, tries, sent_unix_ms);
        send_failed(c, rc, &err);
        return;
    }
    TPI_METRIC_ADD(d->host.counters->sends, 1);
    tpi_wheel_add(d->host.wheel, &c->timer, tpi_mono_ms(d->env) + c->timeout_ms);
    tpi_flow_tell(c);
}

void tpi_flow_pump(struct open_device *v)
{
    if (v->pumping || v->device == NULL) {
        return;
    }
    v->pumping = true;
    struct open_command *c = first_queued(v);
    while (c != NULL && v->flight == NULL && !v->offline && !v->busy) {
        try_send(c);
        c = first_queued(v);
    }
    v->pumping = false;
}

void tpi_flow_requeue(struct open_command *c)
{
    set_sent(c, c->state, c->tries > 0 ? c->tries - 1 : 0, c->sent_unix_ms);
    tpi_flow_enqueue(c, true);
    tpi_flow_tell(c);
}

void tpi_flow_end(struct open_command *c, uint32_t state, int32_t code, const char *reason)
{
    assert(c->state < TPC_COMMAND_SUCCEEDED && state >= TPC_COMMAND_SUCCEEDED);
    detach(c);
    pthread_mutex_lock(&c->owner->lock);
    c->state = state;
    c->code = code;
    tpi_text_copy(c->reason, sizeof(c->reason), reason);
    c->closed_unix_ms = tpi_unix_ms(c->owner->env);
    pthread_mutex_unlock(&c->owner->lock);
}

static void count_end(struct tpi_downlink_counters *n, uint32_t state)
{
    switch (state) {
    case TPC_COMMAND_SUCCEEDED:
        TPI_METRIC_ADD(n->succeeded, 1);
        break;
    case TPC_COMMAND_FAILED:
        TPI_METRIC_ADD(n->failed, 1);
        break;
    case TPC_COMMAND_TIMED_OUT:
        TPI_METRIC_ADD(n->timed_out, 1);
        break;
    case TPC_COMMAND_EXPIRED:
        TPI_METRIC_ADD(n->expired, 1);
        break;
    case TPC_COMMAND_CANCELED:
        TPI_METRIC_ADD(n->canceled, 1);
        break;
    default:
        TPI_METRIC_ADD(n->unknown, 1);
        break;
    }
}

/* The view is made before the record: once that is appended nothing may fail any more. */
static int close_record(struct open_command *c, struct tpc_arena *arena, struct tpc_command *ret)
{
    int rc = tpi_record_view(c, arena, ret);
    return rc != 0 ? rc : tpi_record_closed(c, arena);
}

void tpi_flow_finish(struct open_command *c)
{
    struct tpi_downlink *d = c->owner;
    struct open_device *v = c->device;
    struct tpc_arena *arena = NULL;
    struct tpc_command view;
    int rc = tpc_arena_create(d->env->alloc, 0, &arena);
    rc = rc != 0 ? rc : close_record(c, arena, &view);
    if (rc != 0) {
        TPI_METRIC_ADD(d->host.counters->append_waits, 1);
        tpi_wheel_add(d->host.wheel, &c->timer, tpi_mono_ms(d->env) + TPI_DOWNLINK_AGAIN_MS);
        tpc_arena_destroy(arena);
        return;
    }
    count_end(d->host.counters, c->state);
    tpi_open_hold(v);
    tpi_open_remember(d, &c->id);
    tpi_open_drop(d, c);
    if (d->host.closed != NULL) {
        d->host.closed(d->host.user, v->device, &view);
    }
    tpc_arena_destroy(arena);
    tpi_open_release(v);
}

void tpi_flow_close(struct open_command *c, uint32_t state, int32_t code, const char *reason)
{
    struct open_device *v = c->device;
    tpi_open_hold(v);
    tpi_flow_end(c, state, code, reason);
    tpi_flow_finish(c);
    tpi_flow_pump(v);
    tpi_open_release(v);
}
