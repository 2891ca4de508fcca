#include "refused.h"

#include <tpcore/error.h>
#include <tpcore/json.h>
#include <tpcore/value.h>

#include "base/crypto.h"

static uint32_t stage_of(struct tpc_str name)
{
    static const char *const names[] = {
        "auth", "acl", "decode", "model", "store", "encode", "send"
    };
    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (tpc_str_equal(name, tpc_str_from(names[i]))) {
            return i + 1;
        }
    }
    return 0;
}

/* A whole number of a member within bounds, else what stands instead. */
static int64_t number(const struct tpc_value *v, struct tpc_str key, int64_t min, int64_t max,
                      int64_t instead)
{
    int64_t i;
    return tpc_value_int(tpc_value_get(v, key), &i) == 0 && i >= min && i <= max ? i : instead;
}

static int read_payload(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_why *why)
{
    struct tpc_str hex = tpc_value_text(tpc_value_get(v, TPC_STR("payload_hex")));
    if (hex.len == 0 || hex.len > 2 * (size_t) TPC_WHY_PAYLOAD_BYTES) {
        return hex.len == 0 ? 0 : TPC_EDECODE;
    }
    uint8_t *bytes = tpc_arena_take(arena, hex.len / 2 + 1);
    if (bytes == NULL) {
        return TPC_ENOMEM;
    }
    if (tpi_unhex(hex.ptr, hex.len, bytes) != 0) {
        return TPC_EDECODE;
    }
    why->payload = (struct tpc_bytes){ bytes, hex.len / 2 };
    return 0;
}

int mqtt_refused_read(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_why *ret)
{
    struct tpc_value v;
    struct tpc_why why = TPC_WHY_INIT;
    struct tpc_str json = { (const char *) payload.ptr, payload.len };
    int rc = tpc_json_parse(arena, json, 0, NULL, &v);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : TPC_EDECODE;
    }
    why.stage = stage_of(tpc_value_text(tpc_value_get(&v, TPC_STR("stage"))));
    why.device = tpc_value_text(tpc_value_get(&v, TPC_STR("device")));
    why.reason = tpc_value_text(tpc_value_get(&v, TPC_STR("reason")));
    why.origin = tpc_value_text(tpc_value_get(&v, TPC_STR("origin")));
    why.code = (int32_t) number(&v, TPC_STR("code"), INT32_MIN, -1, TPC_EDENIED);
    why.times = (uint32_t) number(&v, TPC_STR("times"), 1, UINT32_MAX, 1);
    why.unix_ms = number(&v, TPC_STR("time"), 1, INT64_MAX, 0);
    why.payload_bytes = (uint64_t) number(&v, TPC_STR("payload_bytes"), 0, INT64_MAX, 0);
    rc = read_payload(&v, arena, &why);
    if (rc != 0 || why.stage == 0 || why.device.len == 0) {
        return rc != 0 ? rc : TPC_EDECODE;
    }
    *ret = why;
    return 0;
}
