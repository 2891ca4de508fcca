/* The MQTT adapter's dialects and addresses: input is a byte of dialects, pattern, NUL, topic, NUL,
 * correlation. */
#include "fuzz.h"

#include "dialect.h"
#include "url.h"

static int check_filter(void *user, const char *filter, bool both_ways)
{
    (void) both_ways;
    FUZZ_MUST(strlen(filter) < MQTT_TOPIC_MAX);
    FUZZ_MUST(user != NULL);
    return 0;
}

static struct tpc_str next_part(struct tpc_str *rest)
{
    const char *nul = rest->len > 0 ? memchr(rest->ptr, 0, rest->len) : NULL;
    struct tpc_str part = { rest->ptr, nul != NULL ? (size_t) (nul - rest->ptr) : rest->len };
    size_t used = part.len + (nul != NULL);
    rest->ptr += used;
    rest->len -= used;
    return part;
}

static bool inside(struct tpc_str part, struct tpc_str of)
{
    return part.len == 0 || (part.ptr >= of.ptr && part.ptr + part.len <= of.ptr + of.len);
}

/* Down to the device that spoke: the topic has no wildcard, and a custom one with a pattern for
 * both ways comes back as the same device. */
static void check_down(const struct mqtt_pattern *pattern, const struct mqtt_address *a,
                       struct tpc_str correlation)
{
    static const uint16_t kinds[] = { TPC_MSG_COMMAND,        TPC_MSG_ATTRIBUTES_SET,
                                      TPC_MSG_ATTRIBUTES_GET, TPC_MSG_TELEMETRY_SET,
                                      TPC_MSG_REPLY,          TPC_MSG_RAW };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct tpc_frame f = { .size = sizeof(f), .kind = kinds[i], .name = correlation };
        char topic[MQTT_TOPIC_MAX];
        f.correlation = correlation;
        if (mqtt_topic_down(a->dialect, pattern, a->product, a->device, &f, topic) != 0) {
            continue;
        }
        FUZZ_MUST(strlen(topic) > 0 && strlen(topic) < MQTT_TOPIC_MAX);
        if (a->dialect == MQTT_CUSTOM) {
            struct mqtt_pattern back = { .up = pattern->down };
            struct mqtt_address again;
            FUZZ_MUST(mqtt_address_parse(MQTT_CUSTOM, &back, 1, tpc_str_from(topic), &again));
            FUZZ_MUST(tpc_str_equal(again.device, a->device));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    uint32_t set = data[0] & 15;
    struct tpc_str rest = { (const char *) data + 1, size - 1 };
    struct tpc_str first = next_part(&rest), topic = next_part(&rest), correlation = rest;
    struct mqtt_pattern pattern = { .kind = TPC_MSG_UNKNOWN };
    struct mqtt_address a;
    char url[MQTT_URL_MAX + 8], out[MQTT_URL_MAX];
    uint16_t port;

    size_t len = first.len < sizeof(url) - 1 ? first.len : sizeof(url) - 1;
    if (len > 0) {
        memcpy(url, first.ptr, len);
    }
    url[len] = '\0';
    if (mqtt_url(url, out, &port) == 0) {
        FUZZ_MUST(port > 0 && strlen(out) < sizeof(out));
    }
    (void) mqtt_filter_match(first, topic);
    bool valid = mqtt_pattern_valid(first);
    pattern.up = valid ? first : TPC_STR("a/{device}/{id}");
    pattern.down = pattern.up;
    FUZZ_MUST(mqtt_filters(set, &pattern, 1, check_filter, &pattern) == 0);
    if (mqtt_address_parse(set, &pattern, 1, topic, &a)) {
        FUZZ_MUST((a.dialect & set) != 0);
        FUZZ_MUST(inside(a.device, topic) && inside(a.correlation, topic));
        FUZZ_MUST(a.dialect == MQTT_CUSTOM || inside(a.product, topic));
        check_down(&pattern, &a, correlation);
    }
    return 0;
}
