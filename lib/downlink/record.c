/* Records of commands for the log, and the view for people. */
#include "data/msg.h"
#include "downlink/open.h"

#include <string.h>

static struct tpc_str part_text(const struct open_command *c, enum part part)
{
    struct tpc_bytes b = tpi_open_part(c, part);
    return (struct tpc_str){ (const char *) b.ptr, b.len };
}

static struct tpc_value map_of(const struct tpc_member *members, size_t count)
{
    return (struct tpc_value){ .type = TPC_MAP, .len = count, .as.members = members };
}

static int append(struct open_command *c, struct tpc_msg *msg)
{
    const struct tpi_downlink *d = c->owner;
    msg->size = sizeof(*msg);
    msg->flags = TPC_MSG_DOWN;
    msg->partition = c->partition;
    msg->device_id = c->device->id;
    msg->received_unix_ms = tpi_unix_ms(d->env);
    msg->unix_ms = msg->received_unix_ms;
    msg->id = c->id;
    return d->host.append(d->host.user, c->device->device, msg);
}

int tpi_record_state(struct open_command *c)
{
    const struct tpc_member members[] = {
        { TPC_STR("state"), tpi_command_text(tpc_str_from(tpc_command_state_name(c->state))) },
        { TPC_STR("tries"), tpi_command_int(c->tries) },
    };
    struct tpc_msg msg = { .kind = TPC_MSG_COMMAND_STATE,
                           .params = map_of(members, sizeof(members) / sizeof(members[0])) };
    return append(c, &msg);
}

static int decode_trees(const struct open_command *c, struct tpc_arena *arena,
                        struct tpc_value *ret_params, struct tpc_value *ret_reply)
{
    int rc = tpi_value_decode(tpi_open_part(c, PART_PARAMS), arena, NULL, ret_params);
    if (rc == 0 && c->reply != NULL) {
        struct tpc_bytes reply = { c->reply, c->reply_len };
        rc = tpi_value_decode(reply, arena, NULL, ret_reply);
    }
    return rc;
}

static int64_t expiry_of(const struct open_command *c)
{
    return c->created_unix_ms + (int64_t) c->expire_ms;
}

int tpi_record_closed(struct open_command *c, struct tpc_arena *arena)
{
    struct tpc_value params = { .type = TPC_NULL };
    struct tpc_value reply = { .type = TPC_NULL };
    int rc = decode_trees(c, arena, &params, &reply);
    if (rc != 0) {
        return rc;
    }
    const struct tpc_member members[] = {
        { TPC_STR("service"), tpi_command_text(part_text(c, PART_SERVICE)) },
        { TPC_STR("params"), params },
        { TPC_STR("actor"), tpi_command_text(part_text(c, PART_ACTOR)) },
        { TPC_STR("state"), tpi_command_text(tpc_str_from(tpc_command_state_name(c->state))) },
        { TPC_STR("code"), tpi_command_int(c->code) },
        { TPC_STR("reason"), tpi_command_text(tpc_str_from(c->reason)) },
        { TPC_STR("reply"), reply },
        { TPC_STR("tries"), tpi_command_int(c->tries) },
        { TPC_STR("created_unix_ms"), tpi_command_int(c->created_unix_ms) },
        { TPC_STR("sent_unix_ms"), tpi_command_int(c->sent_unix_ms) },
        { TPC_STR("closed_unix_ms"), tpi_command_int(c->closed_unix_ms) },
        { TPC_STR("expire_unix_ms"), tpi_command_int(expiry_of(c)) },
        { TPC_STR("label"), tpi_command_text(part_text(c, PART_LABEL)) },
        { TPC_STR("answered"), tpi_command_bool(c->answered) },
        { TPC_STR("control"), tpi_command_bool(c->control) },
    };
    struct tpc_msg msg = { .kind = TPC_MSG_COMMAND_CLOSED,
                           .name = part_text(c, PART_SERVICE),
                           .code = c->code,
                           .params = map_of(members, sizeof(members) / sizeof(members[0])) };
    return append(c, &msg);
}

/* Every text is copied: the view outlives the command. */
static int copy_text(struct tpc_arena *arena, struct tpc_str text, struct tpc_str *ret)
{
    char *p = tpc_arena_take(arena, text.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    if (text.len > 0) {
        memcpy(p, text.ptr, text.len);
    }
    p[text.len] = '\0';
    *ret = (struct tpc_str){ p, text.len };
    return 0;
}

int tpi_record_view(const struct open_command *c, struct tpc_arena *arena, struct tpc_command *ret)
{
    struct tpc_value params = { .type = TPC_NULL };
    struct tpc_value reply = { .type = TPC_NULL };
    struct tpc_command v = { .size = sizeof(v),
                             .state = c->state,
                             .id = c->id,
                             .code = c->code,
                             .tries = c->tries,
                             .created_unix_ms = c->created_unix_ms,
                             .sent_unix_ms = c->sent_unix_ms,
                             .closed_unix_ms = c->closed_unix_ms,
                             .kind = tpi_command_kind(part_text(c, PART_SERVICE), c->control),
                             .answered = c->answered,
                             .expire_unix_ms = expiry_of(c) };
    int rc = decode_trees(c, arena, &params, &reply);
    rc = rc != 0 ? rc : tpi_command_json(&params, arena, &v.params_json);
    rc = rc != 0 ? rc : tpi_command_json(&reply, arena, &v.reply_json);
    rc = rc != 0 ? rc : copy_text(arena, part_text(c, PART_TENANT), &v.tenant);
    rc = rc != 0 ? rc : copy_text(arena, part_text(c, PART_DEVICE), &v.device);
    rc = rc != 0 ? rc : copy_text(arena, part_text(c, PART_SERVICE), &v.service);
    rc = rc != 0 ? rc : copy_text(arena, part_text(c, PART_ACTOR), &v.actor);
    rc = rc != 0 ? rc : copy_text(arena, part_text(c, PART_LABEL), &v.label);
    rc = rc != 0 ? rc : copy_text(arena, tpc_str_from(c->reason), &v.reason);
    if (rc != 0) {
        return rc;
    }
    *ret = v;
    return 0;
}
