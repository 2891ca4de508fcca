#include "report.h"

#include <string.h>
#include <tpcore/json.h>
#include <tpcore/value.h>

#include "base/crypto.h"

static struct tpc_member text(const char *key, struct tpc_str s)
{
    return (struct tpc_member){ tpc_str_from(key),
                                { .type = TPC_TEXT, .len = s.len, .as.text = s.ptr } };
}

static struct tpc_member number(const char *key, int64_t i)
{
    return (struct tpc_member){ tpc_str_from(key), { .type = TPC_INT, .as.i = i } };
}

size_t report_write(const struct tpc_why *why, char ret[REPORT_BYTES])
{
    char hex[2 * TPC_WHY_PAYLOAD_BYTES + 1] = "";
    size_t kept =
        why->payload.len < TPC_WHY_PAYLOAD_BYTES ? why->payload.len : TPC_WHY_PAYLOAD_BYTES;
    if (kept > 0) {
        tpi_hex(why->payload.ptr, kept, hex);
    }
    const struct tpc_member members[] = {
        text("device", why->device),
        text("stage", tpc_str_from(tpc_why_stage_name(why->stage))),
        number("code", why->code),
        number("times", why->times),
        number("time", why->unix_ms),
        text("reason", why->reason),
        text("origin", why->origin),
        text("payload_hex", tpc_str_from(hex)),
        number("payload_bytes", (int64_t) why->payload_bytes),
    };
    const struct tpc_value doc = { .type = TPC_MAP,
                                   .len = sizeof(members) / sizeof(members[0]),
                                   .as.members = members };
    struct tpc_buf buf = { (uint8_t *) ret, REPORT_BYTES, 0 };
    return tpc_json_write(&doc, 0, &buf) == 0 ? buf.need : 0;
}
