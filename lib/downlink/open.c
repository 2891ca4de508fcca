/* Open commands and their devices: made, found, freed. */
#include "downlink/open.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/msg.h"

#include <assert.h>
#include <string.h>

static void on_command_timer(void *user, uint64_t now_ms);
static void on_device_timer(void *user, uint64_t now_ms);

struct open_command *tpi_open_find(struct tpi_downlink *d, const struct tpc_id *id)
{
    return tpi_map_get(&d->ids, id->b, sizeof(id->b));
}

bool tpi_open_recent(struct tpi_downlink *d, const struct tpc_id *id)
{
    return tpi_map_get(&d->recent_ids, id->b, sizeof(id->b)) != NULL;
}

/* Without memory it is just not known any more: the store still has it. */
void tpi_open_remember(struct tpi_downlink *d, const struct tpc_id *id)
{
    static const struct tpc_id none;
    struct tpc_id *place = &d->recent[d->recent_at];
    if (tpi_open_recent(d, id)) {
        return;
    }
    if (memcmp(place, &none, sizeof(none)) != 0) {
        tpi_map_remove(&d->recent_ids, place->b, sizeof(place->b));
        *place = none;
    }
    if (tpi_map_put(&d->recent_ids, id->b, sizeof(id->b), d, NULL) == 0) {
        *place = *id;
        d->recent_at = (d->recent_at + 1) % TPI_DOWNLINK_RECENT;
    }
}

struct tpc_bytes tpi_open_part(const struct open_command *c, enum part part)
{
    const uint8_t *first = (const uint8_t *) (c + 1);
    size_t from = part == 0 ? 0 : c->ends[part - 1];
    return (struct tpc_bytes){ first + from, c->ends[part] - from };
}

static int find_device(struct tpi_downlink *d, uint64_t id, struct tpc_device *device,
                       struct open_device **ret)
{
    struct open_device *v = tpi_map64_get(&d->devices, id);
    if (v == NULL) {
        v = tpi_alloc_zero(d->env->alloc, sizeof(*v));
        if (v == NULL) {
            return TPC_ENOMEM;
        }
        pthread_mutex_lock(&d->lock);
        int rc = tpi_map64_put(&d->devices, id, v, NULL);
        pthread_mutex_unlock(&d->lock);
        if (rc != 0) {
            tpi_free(d->env->alloc, v, sizeof(*v));
            return TPC_ENOMEM;
        }
        v->owner = d;
        v->id = id;
        v->again.fn = on_device_timer;
        v->again.user = v;
    }
    if (v->device == NULL && device != NULL) {
        v->device = tpi_device_ref(device);
    }
    *ret = v;
    return 0;
}

void tpi_open_hold(struct open_device *v)
{
    v->holds++;
}

void tpi_open_undelay(struct open_device *v)
{
    v->owner->delayed -= v->delayed;
    v->delayed = false;
}

void tpi_open_release(struct open_device *v)
{
    assert(v->holds > 0);
    if (--v->holds > 0 || v->open > 0) {
        return;
    }
    struct tpi_downlink *d = v->owner;
    tpi_open_undelay(v);
    tpi_wheel_cancel(d->host.wheel, &v->again);
    pthread_mutex_lock(&d->lock);
    tpi_map64_remove(&d->devices, v->id);
    pthread_mutex_unlock(&d->lock);
    tpi_device_unref(v->device);
    tpi_free(d->env->alloc, v, sizeof(*v));
}

/* Offsets of a partition come in order, but for a replay that overlaps. */
static void partition_insert(struct command_queue *q, struct open_command *c)
{
    struct open_command *after = q->tail;
    while (after != NULL && after->offset > c->offset) {
        after = after->earlier;
    }
    c->earlier = after;
    c->later = after != NULL ? after->later : q->head;
    *(c->earlier != NULL ? &c->earlier->later : &q->head) = c;
    *(c->later != NULL ? &c->later->earlier : &q->tail) = c;
}

static void partition_remove(struct command_queue *q, struct open_command *c)
{
    *(c->earlier != NULL ? &c->earlier->later : &q->head) = c->later;
    *(c->later != NULL ? &c->later->earlier : &q->tail) = c->earlier;
}

void tpi_open_move(struct open_command *c, uint64_t offset)
{
    struct tpi_downlink *d = c->owner;
    struct command_queue *q = &d->partitions[c->partition];
    pthread_mutex_lock(&d->lock);
    partition_remove(q, c);
    c->offset = offset;
    partition_insert(q, c);
    pthread_mutex_unlock(&d->lock);
}

static int make_block(struct tpi_downlink *d, const struct tpc_device *device,
                      const struct tpi_command_spec *spec, const struct tpi_buf *params,
                      struct open_command **ret)
{
    const struct tpc_str none = { "", 0 };
    const struct tpc_str parts[PARTS] = {
        [PART_TENANT] = device != NULL ? tpi_device_tenant(device) : none,
        [PART_DEVICE] = device != NULL ? device->key : none,
        [PART_SERVICE] = spec->service,
        [PART_ACTOR] = spec->actor,
        [PART_LABEL] = spec->label,
        [PART_PARAMS] = { (const char *) params->ptr, params->len },
    };
    size_t bytes = sizeof(struct open_command);
    for (int i = 0; i < PARTS; i++) {
        bytes += parts[i].len;
    }
    struct open_command *c = tpi_alloc(d->env->alloc, bytes);
    if (c == NULL) {
        return TPC_ENOMEM;
    }
    *c = (struct open_command){ .owner = d,
                                .timer = { .fn = on_command_timer, .user = c },
                                .state = TPC_COMMAND_QUEUED,
                                .timeout_ms = spec->timeout_ms,
                                .retries = spec->retries,
                                .retry_delay_ms = spec->retry_delay_ms,
                                .expire_ms = spec->expire_ms,
                                .priority = spec->priority,
                                .control = spec->control,
                                .bytes = bytes };
    char *at = (char *) (c + 1);
    for (int i = 0; i < PARTS; i++) {
        if (parts[i].len > 0) {
            memcpy(at, parts[i].ptr, parts[i].len);
        }
        at += parts[i].len;
        c->ends[i] = (size_t) (at - (char *) (c + 1));
    }
    *ret = c;
    return 0;
}

static int make_command(struct tpi_downlink *d, struct tpc_device *device,
                        const struct tpc_msg *msg, struct open_command **ret)
{
    struct tpi_command_spec spec;
    tpi_command_spec_read(&msg->params, &spec);
    spec.service = spec.service.len > 0 ? spec.service : msg->name;
    struct tpi_buf params;
    tpi_buf_init(&params, d->env->alloc, 0);
    int rc = tpi_value_encode(&spec.params, &params);
    rc = rc != 0 ? rc : make_block(d, device, &spec, &params, ret);
    tpi_buf_fini(&params);
    if (rc == 0) {
        (*ret)->id = msg->id;
        (*ret)->offset = msg->offset;
        (*ret)->partition = msg->partition;
        (*ret)->created_unix_ms = msg->received_unix_ms != 0 ? msg->received_unix_ms : msg->unix_ms;
    }
    return rc;
}

int tpi_open_take(struct tpi_downlink *d, struct tpc_device *device, const struct tpc_msg *msg,
                  struct open_command **ret)
{
    struct open_command *c = NULL;
    struct open_device *v = NULL;
    int rc = make_command(d, device, msg, &c);
    if (rc != 0) {
        return rc;
    }
    rc = find_device(d, device != NULL ? device->id : msg->device_id, device, &v);
    if (rc == 0) {
        c->device = v;
        v->open++;
        pthread_mutex_lock(&d->lock);
        rc = tpi_map_put(&d->ids, c->id.b, sizeof(c->id.b), c, NULL);
        if (rc == 0) {
            partition_insert(&d->partitions[c->partition], c);
            c->kin = v->first;
            v->first = c;
        }
        pthread_mutex_unlock(&d->lock);
        if (rc != 0) {
            v->open--;
            tpi_open_hold(v);
            tpi_open_release(v);
        }
    }
    if (rc != 0) {
        tpi_free(d->env->alloc, c, c->bytes);
        return TPC_ENOMEM;
    }
    TPI_METRIC_ADD(d->host.counters->open, 1);
    *ret = c;
    return 0;
}

void tpi_open_drop(struct tpi_downlink *d, struct open_command *c)
{
    pthread_mutex_lock(&d->lock);
    tpi_map_remove(&d->ids, c->id.b, sizeof(c->id.b));
    partition_remove(&d->partitions[c->partition], c);
    struct open_command **at = &c->device->first; /* device_max of them */
    while (*at != c) {
        at = &(*at)->kin;
    }
    *at = c->kin;
    pthread_mutex_unlock(&d->lock);
    tpi_wheel_cancel(d->host.wheel, &c->timer);
    if (c->ticket != 0) {
        tpi_map64_remove(&d->tickets, c->ticket);
    }
    c->device->open--;
    TPI_METRIC_ADD(d->host.counters->open, UINT64_MAX); /* minus one */
    tpi_free(d->env->alloc, c->reply, c->reply_len);
    tpi_free(d->env->alloc, c, c->bytes);
}

/* A try without a reply: another one after a while, or the end. */
static void on_timeout(struct open_command *c, uint64_t now_ms)
{
    if (c->tries > c->retries) {
        tpi_flow_close(c, TPC_COMMAND_TIMED_OUT, TPC_ETIMEOUT,
                       c->control ? "the adapter has not confirmed it" : "no reply");
        return;
    }
    uint32_t doublings = c->tries - 1 < 31 ? c->tries - 1 : 31;
    uint64_t delay = (uint64_t) c->retry_delay_ms << doublings;
    delay = delay < TPI_COMMAND_MAX_DELAY_MS ? delay : TPI_COMMAND_MAX_DELAY_MS;
    tpi_map64_remove(&c->owner->tickets, c->ticket);
    c->ticket = 0;
    c->waits = true;
    tpi_wheel_add(c->owner->host.wheel, &c->timer, now_ms + delay);
}

static void on_expiry(struct open_command *c)
{
    if (c->tries > 0) {
        tpi_flow_close(c, TPC_COMMAND_TIMED_OUT, TPC_ETIMEOUT, "no reply, then not reachable");
    } else {
        tpi_flow_close(c, TPC_COMMAND_EXPIRED, TPC_EOFFLINE, "not sent in time");
    }
}

static void on_command_timer(void *user, uint64_t now_ms)
{
    struct open_command *c = user;
    struct open_device *v = c->device;
    tpi_open_hold(v);
    if (c->state >= TPC_COMMAND_SUCCEEDED) {
        tpi_flow_finish(c);
    } else if (c->queued) {
        on_expiry(c);
    } else if (!c->waits) {
        on_timeout(c, now_ms);
    } else {
        TPI_METRIC_ADD(c->owner->host.counters->retries, 1);
        tpi_flow_enqueue(c, true);
        tpi_flow_pump(v);
    }
    tpi_open_release(v);
}

static void on_device_timer(void *user, uint64_t now_ms)
{
    (void) now_ms;
    struct open_device *v = user;
    tpi_open_hold(v);
    v->busy = false;
    tpi_open_undelay(v);
    if (v->flight != NULL && v->flight->owed) {
        tpi_flow_tell(v->flight);
    }
    tpi_flow_pump(v);
    tpi_open_release(v);
}
