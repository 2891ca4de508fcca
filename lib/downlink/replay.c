/* Commands that were open when the process ended. */
#include "downlink/open.h"

#include "model/model.h"

static int replay_command(struct tpi_downlink *d, struct tpc_device *device,
                          const struct tpc_msg *msg)
{
    if (tpi_open_find(d, &msg->id) != NULL || tpi_open_recent(d, &msg->id)) {
        return 0;
    }
    struct open_command *c;
    return tpi_open_take(d, device, msg, &c);
}

static void replay_state(struct tpi_downlink *d, const struct tpc_msg *msg)
{
    struct open_command *c = tpi_open_find(d, &msg->id);
    const struct tpc_value *state = tpc_value_get(&msg->params, TPC_STR("state"));
    int64_t tries = 0;
    if (c == NULL || state == NULL ||
        tpc_value_int(tpc_value_get(&msg->params, TPC_STR("tries")), &tries) != 0) {
        return;
    }
    uint32_t number = tpi_command_state_find(tpc_value_text(state));
    if (number != TPC_COMMAND_QUEUED && number != TPC_COMMAND_SENT) {
        return;
    }
    pthread_mutex_lock(&d->lock);
    c->state = number;
    c->tries = tries < 0 || tries > UINT32_MAX ? 0 : (uint32_t) tries;
    c->sent_unix_ms = number == TPC_COMMAND_SENT ? msg->unix_ms : c->sent_unix_ms;
    pthread_mutex_unlock(&d->lock);
}

static void replay_closed(struct tpi_downlink *d, const struct tpc_msg *msg)
{
    struct open_command *c = tpi_open_find(d, &msg->id);
    if (c != NULL) {
        struct open_device *v = c->device;
        tpi_open_hold(v);
        tpi_open_drop(d, c);
        tpi_open_release(v);
    }
    tpi_open_remember(d, &msg->id);
}

int tpi_downlink_replay(struct tpi_downlink *d, struct tpc_device *device,
                        const struct tpc_msg *msg)
{
    switch (msg->kind) {
    case TPC_MSG_COMMAND:
        return replay_command(d, device, msg);
    case TPC_MSG_COMMAND_STATE:
        replay_state(d, msg);
        return 0;
    case TPC_MSG_COMMAND_CLOSED:
        replay_closed(d, msg);
        return 0;
    default:
        return 0;
    }
}

static bool may_repeat(const struct open_command *c)
{
    const struct tpi_product *product = c->device->device->product;
    struct tpc_bytes service = tpi_open_part(c, PART_SERVICE);
    struct tpc_str name = { (const char *) service.ptr, service.len };
    return c->control || /* as a "set" */
           (product != NULL && tpi_model_service_idempotent(product->model, name));
}

/* Goes on, or ends; true if it ended and its record is to be written. */
static bool resume(struct open_command *c)
{
    const struct tpc_device *device = c->device->device;
    if (c->state >= TPC_COMMAND_SUCCEEDED || c->queued) {
        return false;
    }
    if (device == NULL || atomic_load_explicit(&device->deleted, memory_order_relaxed)) {
        tpi_flow_end(c, TPC_COMMAND_FAILED, TPC_ENOENT, "the device was deleted");
        return true;
    }
    if (c->state == TPC_COMMAND_SENT && !may_repeat(c)) {
        tpi_flow_end(c, TPC_COMMAND_UNKNOWN, TPC_ETIMEOUT, "sent before a restart, no reply");
        return true;
    }
    tpi_flow_enqueue(c, false);
    tpi_flow_again(c->device, 0);
    return false;
}

void tpi_downlink_replayed(struct tpi_downlink *d)
{
    /* first the states, then the callbacks: these may change the lists */
    struct command_queue ended = { NULL, NULL };
    for (uint32_t i = 0; i < d->host.partitions; i++) {
        for (struct open_command *c = d->partitions[i].head; c != NULL; c = c->later) {
            if (resume(c)) {
                *(ended.tail != NULL ? &ended.tail->next : &ended.head) = c;
                ended.tail = c;
            }
        }
    }
    while (ended.head != NULL) {
        struct open_command *c = ended.head;
        ended.head = c->next;
        c->next = NULL;
        tpi_flow_finish(c);
    }
}
