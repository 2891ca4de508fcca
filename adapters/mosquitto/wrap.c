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

static const char up[] = "tpcore/thingsboard/up/";
static const char down[] = "tpcore/thingsboard/down/";

bool named_wanted(const char *topic)
{
    return strncmp(topic, "v1/gateway/", 11) == 0 || strncmp(topic, "v1/devices/me/", 14) == 0;
}

size_t named_bytes(struct tpc_str device, const char *topic)
{
    return sizeof(up) + device.len + 1 + strlen(topic);
}

void named_write(struct tpc_str device, const char *topic, char *ret)
{
    memcpy(ret, up, sizeof(up) - 1);
    ret += sizeof(up) - 1;
    memcpy(ret, device.ptr, device.len);
    ret[device.len] = '/';
    memcpy(ret + device.len + 1, topic, strlen(topic) + 1);
}

const char *named_read(const char *topic, struct tpc_str *ret_device)
{
    if (strncmp(topic, down, sizeof(down) - 1) != 0) {
        return NULL;
    }
    topic += sizeof(down) - 1;
    const char *slash = strchr(topic, '/');
    if (slash == NULL || slash == topic || !named_wanted(slash + 1)) {
        return NULL;
    }
    *ret_device = (struct tpc_str){ topic, (size_t) (slash - topic) };
    return slash + 1;
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
