/*
 * Commands that wait for long. Their records would keep the whole log from turning over, so they are
 * appended anew at its end, with the state that they are in.
 */
#include "data/msg.h"
#include "downlink/open.h"

static struct tpc_str part_text(const struct open_command *c, enum part part)
{
    struct tpc_bytes b = tpi_open_part(c, part);
    return (struct tpc_str){ (const char *) b.ptr, b.len };
}

static int make_record(const struct open_command *c, struct tpc_arena *arena, struct tpc_msg *ret)
{
    struct tpi_command_spec spec = { .service = part_text(c, PART_SERVICE),
                                     .actor = part_text(c, PART_ACTOR),
                                     .label = part_text(c, PART_LABEL),
                                     .control = c->control,
                                     .timeout_ms = c->timeout_ms,
                                     .retries = c->retries,
                                     .retry_delay_ms = c->retry_delay_ms,
                                     .expire_ms = c->expire_ms,
                                     .priority = c->priority };
    int rc = tpi_value_decode(tpi_open_part(c, PART_PARAMS), arena, NULL, &spec.params);
    *ret = (struct tpc_msg){ .size = sizeof(*ret),
                             .kind = TPC_MSG_COMMAND,
                             .flags = TPC_MSG_DOWN | TPC_MSG_REDELIVERED,
                             .partition = c->partition,
                             .device_id = c->device->id,
                             .unix_ms = c->created_unix_ms,
                             .received_unix_ms = c->created_unix_ms,
                             .id = c->id,
                             .name = spec.service,
                             .point_size = sizeof(struct tpc_point) };
    return rc != 0 ? rc : tpi_command_envelope(&spec, arena, &ret->params);
}

/* The place of the old record is given up last: a crash in between replays that one. */
static int renew_one(struct open_command *c, uint64_t first)
{
    struct tpi_downlink *d = c->owner;
    struct tpc_arena *arena = NULL;
    struct tpc_msg msg;
    uint64_t offset = 0;
    int rc = tpc_arena_create(d->env->alloc, 0, &arena);
    rc = rc != 0 ? rc : make_record(c, arena, &msg);
    rc = rc != 0 ? rc : d->host.renew(d->host.user, c->device->device, &msg, &offset);
    if (rc == 0 && c->tries > 0) {
        rc = tpi_record_state(c);
        c->owed = c->owed && rc != 0;
    }
    tpc_arena_destroy(arena);
    if (rc == 0) {
        tpi_open_move(c, offset);
        c->renewed = first + 1;
    }
    return rc;
}

void tpi_downlink_renew(struct tpi_downlink *d, uint32_t partition, uint64_t first)
{
    const struct open_command *last = d->partitions[partition].tail;
    struct open_command *c = d->partitions[partition].head;
    int rc = 0;
    while (c != NULL && rc == 0 && d->host.renew != NULL) {
        struct open_command *next = c != last ? c->later : NULL;
        if (c->state < TPC_COMMAND_SUCCEEDED && c->renewed != first + 1) {
            rc = renew_one(c, first);
        }
        c = next;
    }
}
