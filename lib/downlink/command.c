/* Commands as records. */
#include "downlink/command.h"

#include <string.h>

static const struct {
    const char *name;
    uint32_t state;
} states[] = {
    { "queued", TPC_COMMAND_QUEUED },       { "sent", TPC_COMMAND_SENT },
    { "succeeded", TPC_COMMAND_SUCCEEDED }, { "failed", TPC_COMMAND_FAILED },
    { "timed_out", TPC_COMMAND_TIMED_OUT }, { "expired", TPC_COMMAND_EXPIRED },
    { "canceled", TPC_COMMAND_CANCELED },   { "unknown", TPC_COMMAND_UNKNOWN },
};
enum { STATES = sizeof(states) / sizeof(states[0]) };

const char *tpc_command_state_name(uint32_t state)
{
    for (size_t i = 0; i < STATES; i++) {
        if (states[i].state == state) {
            return states[i].name;
        }
    }
    return "unknown";
}

uint32_t tpi_command_state_find(struct tpc_str name)
{
    for (size_t i = 0; i < STATES; i++) {
        if (tpc_str_equal(name, tpc_str_from(states[i].name))) {
            return states[i].state;
        }
    }
    return 0;
}

struct tpc_value tpi_command_text(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
}

struct tpc_value tpi_command_int(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = i };
}

struct tpc_value tpi_command_bool(bool b)
{
    return (struct tpc_value){ .type = TPC_BOOL, .as.b = b };
}

uint16_t tpi_command_kind(struct tpc_str service, bool control)
{
    if (control) {
        return TPC_MSG_TELEMETRY_SET;
    }
    if (tpc_str_equal(service, TPC_STR("set"))) {
        return TPC_MSG_ATTRIBUTES_SET;
    }
    return tpc_str_equal(service, TPC_STR("get")) ? TPC_MSG_ATTRIBUTES_GET : TPC_MSG_COMMAND;
}

int tpi_command_envelope(const struct tpi_command_spec *spec, struct tpc_arena *arena,
                         struct tpc_value *ret)
{
    struct tpi_command_spec s = *spec;
    s.timeout_ms = s.timeout_ms != 0 ? s.timeout_ms : TPI_COMMAND_TIMEOUT_MS;
    s.retry_delay_ms = s.retry_delay_ms != 0 ? s.retry_delay_ms : TPI_COMMAND_RETRY_DELAY_MS;
    s.expire_ms = s.expire_ms != 0 ? s.expire_ms : TPI_COMMAND_EXPIRE_MS;
    struct tpc_member members[] = {
        { TPC_STR("service"), tpi_command_text(s.service) },
        { TPC_STR("params"), s.params },
        { TPC_STR("timeout_ms"), tpi_command_int(s.timeout_ms) },
        { TPC_STR("retries"), tpi_command_int(s.retries) },
        { TPC_STR("retry_delay_ms"), tpi_command_int(s.retry_delay_ms) },
        { TPC_STR("expire_ms"), tpi_command_int(s.expire_ms) },
        { TPC_STR("priority"), tpi_command_int(s.priority) },
        { TPC_STR("actor"), tpi_command_text(s.actor) },
        { { NULL, 0 }, { .type = TPC_NULL } }, /* room for those that most have not */
        { { NULL, 0 }, { .type = TPC_NULL } },
    };
    size_t n = sizeof(members) / sizeof(members[0]) - 2;
    if (s.label.len > 0) {
        members[n++] = (struct tpc_member){ TPC_STR("label"), tpi_command_text(s.label) };
    }
    if (s.control) {
        members[n++] = (struct tpc_member){ TPC_STR("control"), tpi_command_bool(true) };
    }
    struct tpc_member *copy = tpc_arena_take(arena, n * sizeof(members[0]));
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(copy, members, n * sizeof(members[0]));
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = n, .as.members = copy };
    return 0;
}

static struct tpc_str text_of(const struct tpc_value *map, struct tpc_str key)
{
    const struct tpc_value *v = tpc_value_get(map, key);
    return v != NULL ? tpc_value_text(v) : (struct tpc_str){ NULL, 0 };
}

static int64_t int_of(const struct tpc_value *map, struct tpc_str key, int64_t min, int64_t max,
                      int64_t def)
{
    int64_t i = 0;
    const struct tpc_value *v = tpc_value_get(map, key);
    if (v == NULL || tpc_value_int(v, &i) != 0 || i < min || i > max) {
        return def;
    }
    return i;
}

static bool bool_of(const struct tpc_value *map, struct tpc_str key)
{
    const struct tpc_value *v = tpc_value_get(map, key);
    return v != NULL && v->type == TPC_BOOL && v->as.b;
}

static uint32_t uint_of(const struct tpc_value *map, struct tpc_str key, uint32_t min, uint32_t max,
                        uint32_t def)
{
    return (uint32_t) int_of(map, key, min, max, def);
}

void tpi_command_spec_read(const struct tpc_value *envelope, struct tpi_command_spec *ret)
{
    const struct tpc_value *params = tpc_value_get(envelope, TPC_STR("params"));
    *ret = (struct tpi_command_spec){
        .service = text_of(envelope, TPC_STR("service")),
        .actor = text_of(envelope, TPC_STR("actor")),
        .label = text_of(envelope, TPC_STR("label")),
        .control = bool_of(envelope, TPC_STR("control")),
        .timeout_ms =
            uint_of(envelope, TPC_STR("timeout_ms"), 1, UINT32_MAX, TPI_COMMAND_TIMEOUT_MS),
        .retries = uint_of(envelope, TPC_STR("retries"), 0, UINT32_MAX, 0),
        .retry_delay_ms =
            uint_of(envelope, TPC_STR("retry_delay_ms"), 1, UINT32_MAX, TPI_COMMAND_RETRY_DELAY_MS),
        .expire_ms = uint_of(envelope, TPC_STR("expire_ms"), 1, UINT32_MAX, TPI_COMMAND_EXPIRE_MS),
        .priority = uint_of(envelope, TPC_STR("priority"), TPC_PRIORITY_LOW, TPC_PRIORITY_HIGH,
                            TPC_PRIORITY_NORMAL),
    };
    if (params != NULL) {
        ret->params = *params;
    }
}

int tpi_command_json(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_str *ret)
{
    *ret = (struct tpc_str){ "", 0 };
    if (v == NULL || v->type == TPC_NULL) {
        return 0;
    }
    struct tpc_buf buf = { NULL, 0, 0 };
    int rc = tpc_json_write(v, 0, &buf);
    if (rc != 0 && rc != TPC_ETOOBIG) {
        return rc;
    }
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap);
    if (buf.ptr == NULL) {
        return TPC_ENOMEM;
    }
    rc = tpc_json_write(v, 0, &buf);
    *ret = (struct tpc_str){ (const char *) buf.ptr, buf.need };
    return rc;
}

int tpi_command_read(const struct tpc_value *record, struct tpc_arena *arena,
                     struct tpc_command *ret)
{
    uint32_t state = tpi_command_state_find(text_of(record, TPC_STR("state")));
    if (state == 0) {
        return TPC_ECORRUPT;
    }
    struct tpc_command c = {
        .size = sizeof(c),
        .state = state,
        .service = text_of(record, TPC_STR("service")),
        .actor = text_of(record, TPC_STR("actor")),
        .reason = text_of(record, TPC_STR("reason")),
        .code = (int32_t) int_of(record, TPC_STR("code"), INT32_MIN, INT32_MAX, 0),
        .tries = uint_of(record, TPC_STR("tries"), 0, UINT32_MAX, 0),
        .created_unix_ms = int_of(record, TPC_STR("created_unix_ms"), INT64_MIN, INT64_MAX, 0),
        .sent_unix_ms = int_of(record, TPC_STR("sent_unix_ms"), INT64_MIN, INT64_MAX, 0),
        .closed_unix_ms = int_of(record, TPC_STR("closed_unix_ms"), INT64_MIN, INT64_MAX, 0),
        .answered = bool_of(record, TPC_STR("answered")),
        .label = text_of(record, TPC_STR("label")),
        .expire_unix_ms = int_of(record, TPC_STR("expire_unix_ms"), INT64_MIN, INT64_MAX, 0),
    };
    c.kind = tpi_command_kind(c.service, bool_of(record, TPC_STR("control")));
    int rc = tpi_command_json(tpc_value_get(record, TPC_STR("params")), arena, &c.params_json);
    rc = rc != 0 ? rc
                 : tpi_command_json(tpc_value_get(record, TPC_STR("reply")), arena, &c.reply_json);
    if (rc != 0) {
        return rc;
    }
    *ret = c;
    return 0;
}

static int tree_of(struct tpc_str json, struct tpc_arena *arena, struct tpc_value *ret)
{
    *ret = (struct tpc_value){ .type = TPC_NULL };
    return json.len == 0 ? 0 : tpc_json_parse(arena, json, 0, NULL, ret);
}

int tpi_command_write(const struct tpc_command *c, struct tpc_arena *arena, struct tpc_value *ret)
{
    enum { MEMBERS = 18 };
    struct tpc_value params;
    struct tpc_value reply;
    char *id = tpc_arena_take(arena, TPC_ID_TEXT_BYTES + 1);
    struct tpc_member *m = tpc_arena_take(arena, MEMBERS * sizeof(*m));
    int rc = id != NULL && m != NULL ? tree_of(c->params_json, arena, &params) : TPC_ENOMEM;
    rc = rc != 0 ? rc : tree_of(c->reply_json, arena, &reply);
    if (rc != 0) {
        return TPC_ENOMEM; /* the texts were written by us */
    }
    tpc_id_format(&c->id, id);
    const struct tpc_member members[MEMBERS] = {
        { TPC_STR("id"), tpi_command_text(tpc_str_from(id)) },
        { TPC_STR("tenant"), tpi_command_text(c->tenant) },
        { TPC_STR("device"), tpi_command_text(c->device) },
        { TPC_STR("service"), tpi_command_text(c->service) },
        { TPC_STR("params"), params },
        { TPC_STR("actor"), tpi_command_text(c->actor) },
        { TPC_STR("state"), tpi_command_text(tpc_str_from(tpc_command_state_name(c->state))) },
        { TPC_STR("code"), tpi_command_int(c->code) },
        { TPC_STR("reason"), tpi_command_text(c->reason) },
        { TPC_STR("reply"), reply },
        { TPC_STR("tries"), tpi_command_int(c->tries) },
        { TPC_STR("created_unix_ms"), tpi_command_int(c->created_unix_ms) },
        { TPC_STR("sent_unix_ms"), tpi_command_int(c->sent_unix_ms) },
        { TPC_STR("closed_unix_ms"), tpi_command_int(c->closed_unix_ms) },
        { TPC_STR("expire_unix_ms"), tpi_command_int(c->expire_unix_ms) },
        { TPC_STR("label"), tpi_command_text(c->label) },
        { TPC_STR("answered"), tpi_command_bool(c->answered != 0) },
        { TPC_STR("control"), tpi_command_bool(c->kind == TPC_MSG_TELEMETRY_SET) },
    };
    memcpy(m, members, sizeof(members));
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = MEMBERS, .as.members = m };
    return 0;
}
