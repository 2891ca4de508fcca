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

const char *tpi_command_state_name(uint32_t state)
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

int tpi_command_envelope(const struct tpi_command_spec *spec, struct tpc_arena *arena,
                         struct tpc_value *ret)
{
    struct tpi_command_spec s = *spec;
    s.timeout_ms = s.timeout_ms != 0 ? s.timeout_ms : TPI_COMMAND_TIMEOUT_MS;
    s.retry_delay_ms = s.retry_delay_ms != 0 ? s.retry_delay_ms : TPI_COMMAND_RETRY_DELAY_MS;
    s.expire_ms = s.expire_ms != 0 ? s.expire_ms : TPI_COMMAND_EXPIRE_MS;
    const struct tpc_member members[] = {
        { TPC_STR("service"), tpi_command_text(s.service) },
        { TPC_STR("params"), s.params },
        { TPC_STR("timeout_ms"), tpi_command_int(s.timeout_ms) },
        { TPC_STR("retries"), tpi_command_int(s.retries) },
        { TPC_STR("retry_delay_ms"), tpi_command_int(s.retry_delay_ms) },
        { TPC_STR("expire_ms"), tpi_command_int(s.expire_ms) },
        { TPC_STR("priority"), tpi_command_int(s.priority) },
        { TPC_STR("actor"), tpi_command_text(s.actor) },
    };
    struct tpc_member *copy = tpc_arena_take(arena, sizeof(members));
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(copy, members, sizeof(members));
    *ret = (struct tpc_value){ .type = TPC_MAP,
                               .len = sizeof(members) / sizeof(members[0]),
                               .as.members = copy };
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
    if (state < TPC_COMMAND_SUCCEEDED) {
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
    };
    int rc = tpi_command_json(tpc_value_get(record, TPC_STR("params")), arena, &c.params_json);
    rc = rc != 0 ? rc
                 : tpi_command_json(tpc_value_get(record, TPC_STR("reply")), arena, &c.reply_json);
    if (rc != 0) {
        return rc;
    }
    *ret = c;
    return 0;
}
