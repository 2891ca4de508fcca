/*
 * Topics that a device may use: contract thingspanel.md 1.3 and 1.4, its own number in place of {n}
 * and every level checked; contract iot-module.md section 6.
 */
#include <string.h>
#include <tpcore/why.h>

#include "registry/auth.h"
#include "registry/inside.h"

/* Patterns of topic_map.h. */
#define N "{device_number}"

static const char *const publish[] = {
    "devices/telemetry",
    "devices/attributes/+",
    "devices/event/+",
    "devices/command/response/+",
    "devices/attributes/set/response/+",
    "ota/devices/progress",
    "gateway/telemetry",
    "gateway/attributes/+",
    "gateway/event/+",
    "gateway/command/response/+",
    "gateway/attributes/set/response/+",
    "devices/register",
    "devices/config/down",
    N "/up",
};

static const char *const subscribe[] = {
    "devices/telemetry/control/" N,
    "devices/telemetry/control/" N "/+",
    "devices/attributes/set/" N "/+",
    "devices/attributes/get/" N,
    "devices/command/" N "/+",
    "devices/attributes/response/" N "/+",
    "devices/event/response/" N "/+",
    "ota/devices/inform/" N,
    "gateway/telemetry/control/" N,
    "gateway/attributes/set/" N "/+",
    "gateway/attributes/get/" N,
    "gateway/command/" N "/+",
    "gateway/attributes/response/" N "/+",
    "gateway/event/response/" N "/+",
    N "/down",
    "devices/register/response/+",
    "devices/config/down/response/+",
};

/* Of devices whose product has codec thingsboard: contract thingsboard 1.2, 1.3. */
static const char *const tb_publish[] = {
    "v1/gateway/connect",
    "v1/gateway/disconnect",
    "v1/gateway/telemetry",
    "v1/gateway/attributes",
    "v1/gateway/attributes/request",
    "v1/gateway/rpc",
    "v1/gateway/claim",
    "v1/devices/me/telemetry",
    "v1/devices/me/attributes",
    "v1/devices/me/attributes/request/+",
    "v1/devices/me/rpc/request/+",
    "v1/devices/me/rpc/response/+",
    "v1/devices/me/claim",
};

static const char *const tb_subscribe[] = {
    "v1/gateway/attributes",       "v1/gateway/attributes/response",
    "v1/gateway/disconnect",       "v1/gateway/rpc",
    "v1/devices/me/attributes",    "v1/devices/me/attributes/response/+",
    "v1/devices/me/rpc/request/+", "v1/devices/me/rpc/response/+",
};

enum {
    TB_PUBLISH = sizeof(tb_publish) / sizeof(tb_publish[0]),
    TB_SUBSCRIBE = sizeof(tb_subscribe) / sizeof(tb_subscribe[0]),
    PUBLISH = sizeof(publish) / sizeof(publish[0]),
    SUBSCRIBE = sizeof(subscribe) / sizeof(subscribe[0])
};

static size_t level_len(const char *at, const char *end)
{
    const char *slash = memchr(at, '/', (size_t) (end - at));
    return (size_t) ((slash != NULL ? slash : end) - at);
}

/* A key that would be several levels, or a wildcard, stands in no topic. */
static bool is_level(struct tpc_str key)
{
    return key.len > 0 && memchr(key.ptr, '/', key.len) == NULL &&
           memchr(key.ptr, '+', key.len) == NULL && memchr(key.ptr, '#', key.len) == NULL;
}

/* "/sys/{product}/{device}/..." with something behind it. */
static bool alink_rest(const struct tpc_identity *who, struct tpc_str topic, struct tpc_str *ret)
{
    const struct tpc_str parts[] = { TPC_STR("/sys/"), tpc_str_from(who->product), TPC_STR("/"),
                                     tpc_str_from(who->key), TPC_STR("/") };
    if (!is_level(parts[1]) || !is_level(parts[3])) {
        return false;
    }
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (topic.len <= parts[i].len || memcmp(topic.ptr, parts[i].ptr, parts[i].len) != 0) {
            return false;
        }
        topic.ptr += parts[i].len;
        topic.len -= parts[i].len;
    }
    *ret = topic;
    return true;
}

/* MQTT 3.1.1 section 4.7.3. */
static bool is_topic(struct tpc_str topic)
{
    return topic.len > 0 && topic.len <= UINT16_MAX && memchr(topic.ptr, 0, topic.len) == NULL;
}

static bool has_wildcard(struct tpc_str topic)
{
    return memchr(topic.ptr, '+', topic.len) != NULL || memchr(topic.ptr, '#', topic.len) != NULL;
}

static bool device_allows(const struct tpc_identity *who, int access, struct tpc_str topic)
{
    struct tpc_str rest;
    struct tpc_str key = tpc_str_from(who->key);
    if (access != TPC_ACCESS_SUBSCRIBE && has_wildcard(topic)) {
        return false;
    }
    if (topic.ptr[0] == '/') {
        return alink_rest(who, topic, &rest);
    }
    if (!is_level(key) || memchr(topic.ptr, '#', topic.len) != NULL) {
        return false;
    }
    const char *const *list = access == TPC_ACCESS_PUBLISH ? publish : subscribe;
    int count = access == TPC_ACCESS_PUBLISH ? PUBLISH : SUBSCRIBE;
    for (int i = 0; i < count; i++) {
        if (tpi_topic_fits(tpc_str_from(list[i]), topic, key, access == TPC_ACCESS_SUBSCRIBE)) {
            return true;
        }
    }
    return false;
}

/* What a device that is not there yet may do: ask, and hear the answer. */
static bool register_allows(const struct tpc_identity *who, int access, struct tpc_str topic)
{
    struct tpc_str rest;
    return alink_rest(who, topic, &rest) &&
           tpc_str_equal(rest, access == TPC_ACCESS_PUBLISH ? TPC_STR("thing/auth/register")
                                                            : TPC_STR("thing/auth/register_reply"));
}

/* Between a broker's plugin and the platform, what it refused and whose words are whose: nothing for
 * devices, whatever topics their product has of its own. A filter may be wider than that. */
static bool is_reserved(const struct tpc_identity *who, struct tpc_str topic)
{
    static const char named[] = "tpcore/thingsboard/";
    return who->role != TPC_ROLE_SERVICE &&
           (tpc_str_equal(topic, TPC_STR(TPC_WHY_TOPIC)) ||
            (topic.len >= sizeof(named) - 1 && memcmp(topic.ptr, named, sizeof(named) - 1) == 0));
}

/* v1/gateway/.. is for gateways alone: it makes devices. */
static bool tb_allows(struct tpi_registry *r, const struct tpc_identity *who, int access,
                      struct tpc_str topic)
{
    bool up = access == TPC_ACCESS_PUBLISH;
    const char *const *list = up ? tb_publish : tb_subscribe;
    bool fits = false;
    if (who->role != TPC_ROLE_DEVICE || topic.len < 3 || memcmp(topic.ptr, "v1/", 3) != 0 ||
        memchr(topic.ptr, '#', topic.len) != NULL ||
        (access != TPC_ACCESS_SUBSCRIBE && has_wildcard(topic))) {
        return false;
    }
    for (int i = 0; i < (up ? (int) TB_PUBLISH : (int) TB_SUBSCRIBE) && !fits; i++) {
        fits = tpi_topic_fits(tpc_str_from(list[i]), topic, tpc_str_from(who->key),
                              access == TPC_ACCESS_SUBSCRIBE);
    }
    tpi_registry_read_lock(r);
    const struct tpc_device *d = fits ? tpi_registry_by_id(r, who->id) : NULL;
    fits = d != NULL && strcmp(d->product->codec->name, "thingsboard") == 0 &&
           (d->product->gateway || topic.ptr[3] != 'g');
    tpi_registry_read_unlock(r);
    return fits && is_level(tpc_str_from(who->key));
}

static bool allows(const struct tpc_identity *who, int access, struct tpc_str topic)
{
    switch (who->role) {
    case TPC_ROLE_SERVICE:
        return true;
    case TPC_ROLE_DEVICE:
        return device_allows(who, access, topic);
    case TPC_ROLE_REGISTER:
        return register_allows(who, access, topic);
    default:
        return false;
    }
}

/* A topic that its product names. */
static bool product_allows(struct tpi_registry *r, const struct tpc_identity *who, int access,
                           struct tpc_str topic)
{
    bool allowed = false;
    if (who->role != TPC_ROLE_DEVICE || !is_level(tpc_str_from(who->key)) ||
        memchr(topic.ptr, '#', topic.len) != NULL) {
        return false;
    }
    tpi_registry_read_lock(r);
    const struct tpc_device *d = tpi_registry_by_id(r, who->id);
    if (d != NULL && d->product->topics != NULL) {
        allowed = tpi_topic_map_allows(d->product->topics, access == TPC_ACCESS_PUBLISH, topic,
                                       d->key, access == TPC_ACCESS_SUBSCRIBE);
    }
    tpi_registry_read_unlock(r);
    return allowed;
}

/* Alink: the topics of a device that stands behind it ("/sys/{product}/{device}/.."). */
static bool behind_allows(struct tpi_registry *r, const struct tpc_identity *who, int access,
                          struct tpc_str topic)
{
    struct tpc_str names[2];
    struct tpc_str rest = topic;
    bool allowed = false;
    if (who->role != TPC_ROLE_DEVICE || topic.len < 6 || memcmp(topic.ptr, "/sys/", 5) != 0 ||
        (access != TPC_ACCESS_SUBSCRIBE && has_wildcard(topic))) {
        return false;
    }
    rest.ptr += 5;
    rest.len -= 5;
    for (int i = 0; i < 2; i++) {
        size_t len = level_len(rest.ptr, rest.ptr + rest.len);
        names[i] = (struct tpc_str){ rest.ptr, len };
        if (!is_level(names[i]) || len + 1 >= rest.len) {
            return false; /* a wildcard, or nothing behind it */
        }
        rest.ptr += len + 1;
        rest.len -= len + 1;
    }
    tpi_registry_read_lock(r);
    const struct tpc_device *d = tpi_registry_find_in(r, who->tenant, names[1]);
    if (d != NULL && tpc_str_equal(tpi_device_product_key(d), names[0]) != 0) {
        for (d = d->gateway; d != NULL && !allowed; d = d->gateway) {
            allowed = d->id == who->id;
        }
    }
    tpi_registry_read_unlock(r);
    return allowed;
}

bool tpi_acl_number(struct tpc_str topic, struct tpc_str *ret)
{
    const char *end = topic.ptr + topic.len;
    const char *at = topic.len > 0 ? topic.ptr : NULL;
    for (; at != NULL; at = at != end ? at + 1 : NULL) { /* each level may be the number */
        struct tpc_str key = { at, level_len(at, end) };
        for (int i = 0; is_level(key) && i < SUBSCRIBE; i++) {
            if (strstr(subscribe[i], N) != NULL &&
                tpi_topic_fits(tpc_str_from(subscribe[i]), topic, key, false)) {
                *ret = key;
                return true;
            }
        }
        at += key.len;
    }
    return false;
}

int tpi_acl_check(struct tpi_registry *r, const struct tpc_identity *who, int access,
                  struct tpc_str topic, struct tpc_error *err)
{
    if (is_topic(topic) && !is_reserved(who, topic) &&
        (allows(who, access, topic) || product_allows(r, who, access, topic) ||
         behind_allows(r, who, access, topic) || tb_allows(r, who, access, topic))) {
        return 0;
    }
    TPI_METRIC_ADD(r->counters.acl_denied, 1);
    return tpi_error_set(err, TPC_EDENIED, tpi_registry_origin,
                         "%s \"%.64s\" may not %s this topic",
                         who->role == TPC_ROLE_SERVICE ? "user" : "device", who->key,
                         access == TPC_ACCESS_PUBLISH     ? "publish to"
                         : access == TPC_ACCESS_SUBSCRIBE ? "subscribe to"
                                                          : "receive");
}
