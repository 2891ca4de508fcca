#include "wrap.h"

#include <string.h>
#include <tpcore/json.h>
#include <tpcore/value.h>

#include "base/crypto.h"

static const char head[] = "{\"device_id\":";
static const char middle[] = ",\"values\":\"";
static const char tail[] = "\"}";

bool wrap_wanted(const char *topic)
{
    static const char *const prefixes[] = { "devices/", "gateway/", "ota/devices/" };
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(topic, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

size_t wrap_bytes(struct tpc_str device, size_t payload_len)
{
    /* A byte of a key is six as JSON at most (\u001f). */
    return sizeof(head) + 6 * device.len + 2 + sizeof(middle) + TPI_BASE64_BYTES(payload_len) +
           sizeof(tail);
}

size_t wrap_write(struct tpc_str device, struct tpc_bytes payload, char *ret)
{
    char *out = ret;
    struct tpc_value id = { .type = TPC_TEXT, .len = device.len, .as.text = device.ptr };
    memcpy(out, head, sizeof(head) - 1);
    out += sizeof(head) - 1;
    struct tpc_buf buf = { (uint8_t *) out, 6 * device.len + 2, 0 };
    if (tpc_json_write(&id, 0, &buf) != 0) {
        return 0;
    }
    out += buf.need;
    memcpy(out, middle, sizeof(middle) - 1);
    out += sizeof(middle) - 1;
    out += tpi_base64_encode(payload.ptr, payload.len, out);
    memcpy(out, tail, sizeof(tail)); /* with the NUL */
    return (size_t) (out + sizeof(tail) - 1 - ret);
}
