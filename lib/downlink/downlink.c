/* What the worker tells the downlink. */
#include "downlink/downlink.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "data/msg.h"
#include "downlink/open.h"
#include "registry/topology.h"

#include <stdio.h>
#include <string.h>

#define COUNTER(member, text)                                                                      \
    {                                                                                              \
        "downlink_" #member "_total", text, 1, offsetof(struct tpi_downlink_counters, member)      \
    }

const struct tpi_metric_def tpi_downlink_metrics[] = {
    { "downlink_open", "Commands that are not closed", 2,
      offsetof(struct tpi_downlink_counters, open) },
    COUNTER(commands, "Commands taken"),
    COUNTER(sends, "Tries handed to an adapter"),
    COUNTER(retries, "Tries after the first"),
    COUNTER(succeeded, "Commands that a device has carried out"),
    COUNTER(failed, "Commands that a device or the encoder refused"),
    COUNTER(timed_out, "Commands without a reply after all tries"),
    COUNTER(expired, "Commands never sent in time"),
    COUNTER(canceled, "Commands called off"),
    COUNTER(unknown, "Commands sent before a restart whose fate is not known"),
    COUNTER(duplicates, "Commands dropped because their id is known"),
    COUNTER(unmatched_replies, "Replies that nobody waits for"),
    COUNTER(refused, "Commands refused because too many are open"),
    COUNTER(append_waits, "Records that the log could not take at once"),
};
const uint32_t tpi_downlink_metric_count =
    sizeof(tpi_downlink_metrics) / sizeof(tpi_downlink_metrics[0]);

int tpi_downlink_create(const struct tpi_env *env, const struct tpi_downlink_host *host,
                        struct tpc_error *err, struct tpi_downlink **ret)
{
    if (host->wheel == NULL || host->counters == NULL || host->append == NULL ||
        host->send == NULL || host->partitions == 0) {
        return tpi_error_set(err, TPC_EINVAL, "downlink", "the host's table is not complete");
    }
    struct tpi_downlink *d = tpi_alloc_zero(env->alloc, sizeof(*d));
    if (d == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "downlink", "out of memory");
    }
    d->env = env;
    d->host = *host;
    d->host.commands_max = host->commands_max != 0 ? host->commands_max : TPI_DOWNLINK_COMMANDS_MAX;
    d->host.device_max = host->device_max != 0 ? host->device_max : TPI_DOWNLINK_DEVICE_MAX;
    pthread_mutex_init(&d->lock, NULL);
    tpi_map64_init(&d->devices, env->alloc);
    tpi_map64_init(&d->tickets, env->alloc);
    tpi_map_init(&d->ids, env->alloc);
    tpi_map_init(&d->recent_ids, env->alloc);
    d->recent = tpi_alloc_array(env->alloc, TPI_DOWNLINK_RECENT, sizeof(*d->recent));
    d->partitions = tpi_alloc_array(env->alloc, host->partitions, sizeof(*d->partitions));
    if (d->recent == NULL || d->partitions == NULL) {
        tpi_downlink_destroy(d);
        return tpi_error_set(err, TPC_ENOMEM, "downlink", "out of memory");
    }
    *ret = d;
    return 0;
}

static void drop_all(struct tpi_downlink *d)
{
    for (uint32_t i = 0; d->partitions != NULL && i < d->host.partitions; i++) {
        while (d->partitions[i].head != NULL) {
            struct open_device *v = d->partitions[i].head->device;
            tpi_open_hold(v);
            tpi_open_drop(d, d->partitions[i].head);
            tpi_open_release(v);
        }
    }
}

void tpi_downlink_destroy(struct tpi_downlink *d)
{
    if (d == NULL) {
        return;
    }
    drop_all(d);
    tpi_map64_fini(&d->devices);
    tpi_map64_fini(&d->tickets);
    tpi_map_fini(&d->ids);
    tpi_map_fini(&d->recent_ids);
    tpi_free(d->env->alloc, d->recent, TPI_DOWNLINK_RECENT * sizeof(*d->recent));
    tpi_free(d->env->alloc, d->partitions, d->host.partitions * sizeof(*d->partitions));
    pthread_mutex_destroy(&d->lock);
    tpi_free(d->env->alloc, d, sizeof(*d));
}

static bool is_zero(const struct tpc_id *id)
{
    static const struct tpc_id none;
    return memcmp(id, &none, sizeof(none)) == 0;
}

static bool is_known(struct tpi_downlink *d, const struct tpc_id *id)
{
    return !is_zero(id) && (tpi_open_find(d, id) != NULL || tpi_open_recent(d, id));
}

int tpi_downlink_admit(struct tpi_downlink *d, const struct tpc_device *device,
                       const struct tpc_id *id, struct tpc_error *err)
{
    struct tpi_downlink_counters *n = d->host.counters;
    if (is_known(d, id)) {
        TPI_METRIC_ADD(n->duplicates, 1);
        return tpi_error_set(err, TPC_EEXIST, "downlink", "a command of that id is known");
    }
    if (TPI_METRIC_GET(n->open) >= d->host.commands_max) {
        TPI_METRIC_ADD(n->refused, 1);
        return tpi_error_set(err, TPC_EAGAIN, "downlink", "%u commands are open",
                             d->host.commands_max);
    }
    const struct open_device *v = tpi_map64_get(&d->devices, device->id);
    if (v != NULL && v->open >= d->host.device_max) {
        TPI_METRIC_ADD(n->refused, 1);
        return tpi_error_set(err, TPC_EAGAIN, "downlink", "%u commands wait for this device",
                             d->host.device_max);
    }
    return 0;
}

int tpi_downlink_prepare(struct tpi_downlink *d, struct tpc_device *device,
                         const struct tpc_msg *msg)
{
    struct open_command *c;
    if (is_known(d, &msg->id)) {
        TPI_METRIC_ADD(d->host.counters->duplicates, 1);
        return TPC_EEXIST;
    }
    return tpi_open_take(d, device, msg, &c);
}

void tpi_downlink_abandon(struct tpi_downlink *d, const struct tpc_id *id)
{
    struct open_command *c = tpi_open_find(d, id);
    struct open_device *v = c->device;
    tpi_open_hold(v);
    tpi_open_drop(d, c);
    tpi_open_release(v);
}

void tpi_downlink_begin(struct tpi_downlink *d, struct tpc_device *device, const struct tpc_id *id,
                        uint64_t offset)
{
    struct open_command *c = tpi_open_find(d, id);
    struct open_device *v = c->device;
    if (c->offset != offset) {
        tpi_open_move(c, offset);
    }
    TPI_METRIC_ADD(d->host.counters->commands, 1);
    tpi_open_hold(v);
    if (atomic_load_explicit(&device->deleted, memory_order_relaxed)) {
        tpi_flow_close(c, TPC_COMMAND_FAILED, TPC_ENOENT, "the device was deleted");
    } else {
        tpi_flow_enqueue(c, false);
        tpi_flow_pump(v);
    }
    tpi_open_release(v);
}

int tpi_downlink_command(struct tpi_downlink *d, struct tpc_device *device,
                         const struct tpc_msg *msg)
{
    int rc = tpi_downlink_prepare(d, device, msg);
    if (rc == 0) {
        tpi_downlink_begin(d, device, &msg->id, msg->offset);
    }
    return rc;
}

/* Whether a device speaks for the one that a command is for: it is that one, or a gateway above. */
static bool speaks_for(struct tpi_registry *r, const struct tpc_device *device,
                       const struct open_device *v)
{
    if (v->id == device->id || v->device == NULL || r == NULL) {
        return v->id == device->id;
    }
    tpi_registry_read_lock(r);
    bool behind = tpi_topology_behind(v->device, device);
    tpi_registry_read_unlock(r);
    return behind;
}

/* The command that a reply answers, or NULL. */
static struct open_command *find_answered(struct tpi_downlink *d, const struct tpc_device *device,
                                          const struct tpc_msg *reply)
{
    struct open_command *c = NULL;
    struct tpc_id id;
    if (reply->correlation.len > 0) {
        c = tpc_id_parse(reply->correlation, &id) == 0 ? tpi_open_find(d, &id) : NULL;
    } else if (!is_zero(&reply->id)) {
        c = tpi_open_find(d, &reply->id);
    } else {
        const struct open_device *v = tpi_map64_get(&d->devices, device->id);
        c = v != NULL ? v->flight : NULL;
    }
    bool waits = c != NULL && c->tries > 0 && c->state < TPC_COMMAND_SUCCEEDED &&
                 speaks_for(d->host.registry, device, c->device);
    return waits ? c : NULL;
}

bool tpi_downlink_answers(struct tpi_downlink *d, const struct tpc_device *device,
                          const struct tpc_msg *reply)
{
    return find_answered(d, device, reply) != NULL;
}

/*
 * Without memory the end counts more than the words. Others look at the reply only when the command
 * has ended, and its end is set under the lock.
 */
static void keep_reply(struct tpi_downlink *d, struct open_command *c, const struct tpc_value *v)
{
    struct tpi_buf buf;
    tpi_buf_init(&buf, d->env->alloc, 0);
    if (v->type == TPC_NULL || tpi_value_encode(v, &buf) != 0) {
        tpi_buf_fini(&buf);
        return;
    }
    c->reply = tpi_mem_dup(d->env->alloc, buf.ptr, buf.len);
    c->reply_len = c->reply != NULL ? buf.len : 0;
    tpi_buf_fini(&buf);
}

int tpi_downlink_reply(struct tpi_downlink *d, struct tpc_device *device,
                       const struct tpc_msg *reply)
{
    struct open_command *c = find_answered(d, device, reply);
    if (c == NULL) {
        TPI_METRIC_ADD(d->host.counters->unmatched_replies, 1);
        return TPC_ENOENT;
    }
    keep_reply(d, c, &reply->params);
    pthread_mutex_lock(&d->lock);
    c->answered = true;
    pthread_mutex_unlock(&d->lock);
    if (reply->code == 0) {
        tpi_flow_close(c, TPC_COMMAND_SUCCEEDED, 0, "");
        return 0;
    }
    char reason[REASON_BYTES];
    int len = reply->name.len < REASON_BYTES ? (int) reply->name.len : REASON_BYTES - 1;
    snprintf(reason, sizeof(reason), "%.*s", len, len > 0 ? reply->name.ptr : "");
    tpi_flow_close(c, TPC_COMMAND_FAILED, reply->code, len > 0 ? reason : "refused by the device");
    return 0;
}

void tpi_downlink_got(struct tpi_downlink *d, struct tpc_device *device)
{
    struct open_device *v = tpi_map64_get(&d->devices, device->id);
    struct open_command *c = v != NULL ? v->flight : NULL;
    if (c == NULL || c->tries == 0 || c->state >= TPC_COMMAND_SUCCEEDED) {
        return;
    }
    struct tpc_bytes service = tpi_open_part(c, PART_SERVICE);
    if (service.len == 3 && memcmp(service.ptr, "get", 3) == 0) {
        pthread_mutex_lock(&d->lock);
        c->answered = true;
        pthread_mutex_unlock(&d->lock);
        tpi_flow_close(c, TPC_COMMAND_SUCCEEDED, 0, "");
    }
}

void tpi_downlink_online(struct tpi_downlink *d, struct tpc_device *device, uint32_t delay_ms)
{
    struct open_device *v = tpi_map64_get(&d->devices, device->id);
    if (v == NULL || (v->delayed && delay_ms > 0)) {
        return;
    }
    tpi_open_hold(v);
    v->offline = false;
    v->busy = delay_ms > 0;
    tpi_open_undelay(v);
    if (delay_ms > 0) {
        v->delayed = true;
        d->delayed++;
        tpi_flow_again(v, delay_ms);
    }
    tpi_flow_pump(v);
    tpi_open_release(v);
}

void tpi_downlink_spoke(struct tpi_downlink *d, struct tpc_device *device)
{
    const struct open_device *v = d->delayed > 0 ? tpi_map64_get(&d->devices, device->id) : NULL;
    if (v != NULL && v->delayed) {
        tpi_downlink_online(d, device, 0);
    }
}

void tpi_downlink_online_behind(struct tpi_downlink *d, struct tpc_device *gateway,
                                uint32_t delay_ms)
{
    size_t cap = tpi_map64_count(&d->devices);
    uint64_t *ids = cap > 0 ? tpi_alloc_array(d->env->alloc, cap, sizeof(*ids)) : NULL;
    size_t count = 0;
    size_t iter = 0;
    void *value;
    while (ids != NULL && tpi_map64_next(&d->devices, &iter, &ids[count], &value)) {
        const struct open_device *v = value;
        count += v->id != gateway->id && speaks_for(d->host.registry, gateway, v);
        if (count == cap) {
            break;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct open_device *v = tpi_map64_get(&d->devices, ids[i]);
        if (v != NULL && v->device != NULL) {
            tpi_downlink_online(d, v->device, delay_ms);
        }
    }
    tpi_free(d->env->alloc, ids, cap * sizeof(*ids));
}

static struct open_command *any_command(const struct open_device *v)
{
    struct open_command *c = v->flight;
    for (int i = 0; c == NULL && i < PRIORITIES; i++) {
        c = v->queues[i].head;
    }
    return c;
}

void tpi_downlink_gone(struct tpi_downlink *d, struct tpc_device *device)
{
    struct open_device *v = tpi_map64_get(&d->devices, device->id);
    if (v == NULL) {
        return;
    }
    tpi_open_hold(v);
    bool pumping = v->pumping;
    v->pumping = true; /* nothing leaves any more */
    for (struct open_command *c = any_command(v); c != NULL; c = any_command(v)) {
        tpi_flow_close(c, TPC_COMMAND_FAILED, TPC_ENOENT, "the device was deleted");
    }
    v->pumping = pumping;
    tpi_open_release(v);
}

void tpi_downlink_sent(struct tpi_downlink *d, uint64_t ticket, const struct tpc_error *err)
{
    struct open_command *c = tpi_map64_get(&d->tickets, ticket);
    if (c != NULL && err == NULL && c->control) {
        tpi_flow_close(c, TPC_COMMAND_SUCCEEDED, 0, ""); /* nobody answers it */
        return;
    }
    if (c == NULL || err == NULL) {
        return;
    }
    struct open_device *v = c->device;
    tpi_open_hold(v);
    if (tpc_error_class(err->code) != TPC_CLASS_RETRY && err->code != TPC_EIO) {
        tpi_flow_close(c, TPC_COMMAND_FAILED, err->code,
                       err->text[0] != '\0' ? err->text : tpc_error_name(err->code));
    } else {
        v->offline = v->offline || err->code == TPC_EOFFLINE;
        v->busy = true;
        tpi_flow_again(v, TPI_DOWNLINK_AGAIN_MS);
        tpi_flow_requeue(c);
    }
    tpi_open_release(v);
}

uint32_t tpi_downlink_ticket_worker(uint64_t ticket)
{
    return (uint32_t) (ticket >> 56);
}

int tpi_downlink_cancel(struct tpi_downlink *d, const struct tpc_id *id)
{
    struct open_command *c = tpi_open_find(d, id);
    if (c == NULL) {
        return tpi_open_recent(d, id) ? TPC_ESTATE : TPC_ENOENT;
    }
    if (c->state >= TPC_COMMAND_SUCCEEDED) {
        return TPC_ESTATE;
    }
    tpi_flow_close(c, TPC_COMMAND_CANCELED, TPC_ECANCELED, "called off");
    return 0;
}

uint64_t tpi_downlink_low_offset(struct tpi_downlink *d, uint32_t partition)
{
    pthread_mutex_lock(&d->lock);
    const struct open_command *c = d->partitions[partition].head;
    uint64_t low = c != NULL ? c->offset : TPI_DOWNLINK_NONE;
    pthread_mutex_unlock(&d->lock);
    return low;
}

uint32_t tpi_downlink_open_count(struct tpi_downlink *d)
{
    pthread_mutex_lock(&d->lock);
    size_t count = tpi_map_count(&d->ids);
    pthread_mutex_unlock(&d->lock);
    return (uint32_t) count;
}

/* Under the lock: a copy of what it guards and of what never changes, for the view. */
static int copy_command(const struct tpi_downlink *d, const struct open_command *c,
                        struct open_command **ret)
{
    struct open_command *copy = tpi_alloc(d->env->alloc, c->bytes);
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    *copy = (struct open_command){ .id = c->id,
                                   .state = c->state,
                                   .tries = c->tries,
                                   .code = c->code,
                                   .created_unix_ms = c->created_unix_ms,
                                   .sent_unix_ms = c->sent_unix_ms,
                                   .closed_unix_ms = c->closed_unix_ms,
                                   .expire_ms = c->expire_ms,
                                   .control = c->control,
                                   .answered = c->answered,
                                   .bytes = c->bytes };
    memcpy(copy->reason, c->reason, sizeof(c->reason));
    memcpy(copy->ends, c->ends, sizeof(c->ends));
    memcpy(copy + 1, c + 1, c->bytes - sizeof(*c));
    if (c->state >= TPC_COMMAND_SUCCEEDED && c->reply != NULL) {
        copy->reply_len = c->reply_len;
        copy->reply = tpi_mem_dup(d->env->alloc, c->reply, c->reply_len);
        if (copy->reply == NULL) {
            tpi_free(d->env->alloc, copy, copy->bytes);
            return TPC_ENOMEM;
        }
    }
    *ret = copy;
    return 0;
}

uint32_t tpi_downlink_ids(struct tpi_downlink *d, uint64_t device_id, struct tpc_id *ids,
                          uint32_t cap)
{
    uint32_t n = 0;
    pthread_mutex_lock(&d->lock);
    const struct open_device *v = tpi_map64_get(&d->devices, device_id);
    for (const struct open_command *c = v != NULL ? v->first : NULL; c != NULL; c = c->kin) {
        if (n < cap) {
            ids[n] = c->id;
        }
        n++;
    }
    pthread_mutex_unlock(&d->lock);
    return n;
}

int tpi_downlink_find(struct tpi_downlink *d, const struct tpc_id *id, tpc_command_fn *fn,
                      void *user)
{
    struct open_command *copy = NULL;
    pthread_mutex_lock(&d->lock);
    const struct open_command *c = tpi_open_find(d, id);
    int rc = c != NULL ? copy_command(d, c, &copy) : TPC_ENOENT;
    pthread_mutex_unlock(&d->lock);
    if (rc != 0) {
        return rc;
    }
    struct tpc_arena *arena = NULL;
    struct tpc_command view;
    rc = tpc_arena_create(d->env->alloc, 0, &arena);
    rc = rc != 0 ? rc : tpi_record_view(copy, arena, &view);
    if (rc == 0) {
        fn(user, &view);
    }
    tpc_arena_destroy(arena);
    tpi_free(d->env->alloc, copy->reply, copy->reply_len);
    tpi_free(d->env->alloc, copy, copy->bytes);
    return rc;
}
