/*
 * Topics that a device may use: contract thingspanel.md 1.3 and 1.4, its own number in place of {n}
 * and every level checked; contract iot-module.md section 6.
 */
#include <string.h>

#include "registry/auth.h"
#include "registry/inside.h"

/* '+' stands for one level that is not empty, '@' for the device's number. */
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
    "@/up",
};

static const char *const subscribe[] = {
    "devices/telemetry/control/@",
    "devices/telemetry/control/@/+",
    "devices/attributes/set/@/+",
    "devices/attributes/get/@",
    "devices/command/@/+",
    "devices/attributes/response/@/+",
    "devices/event/response/@/+",
    "ota/devices/inform/@",
    "gateway/telemetry/control/@",
    "gateway/attributes/set/@/+",
    "gateway/attributes/get/@",
    "gateway/command/@/+",
    "gateway/attributes/response/@/+",
    "gateway/event/response/@/+",
    "@/down",
    "devices/register/response/+",
    "devices/config/down/response/+",
};

enum {
    PUBLISH = sizeof(publish) / sizeof(publish[0]),
    SUBSCRIBE = sizeof(subscribe) / sizeof(subscribe[0])
};

/* One level of a topic against one of a pattern. */
static bool level_fits(const char *want, size_t want_len, const char *level, size_t len,
                       struct tpc_str key, int access)
{
    if (want_len == 1 && want[0] == '@') {
        return len == key.len && memcmp(level, key.ptr, len) == 0;
    }
    if (want_len == 1 && want[0] == '+') {
        bool plus = len == 1 && level[0] == '+';
        return len > 0 && (!plus || access == TPC_ACCESS_SUBSCRIBE);
    }
    return len == want_len && memcmp(level, want, len) == 0;
}

static size_t level_len(const char *at, const char *end)
{
    const char *slash = memchr(at, '/', (size_t) (end - at));
    return (size_t) ((slash != NULL ? slash : end) - at);
}

static bool fits(const char *pattern, struct tpc_str topic, struct tpc_str key, int access)
{
    const char *want = pattern;
    const char *want_end = pattern + strlen(pattern);
    const char *at = topic.ptr;
    const char *end = topic.ptr + topic.len;
    for (;;) {
        size_t want_len = level_len(want, want_end);
        size_t len = level_len(at, end);
        if (!level_fits(want, want_len, at, len, key, access)) {
            return false;
        }
        want += want_len;
        at += len;
        if (want == want_end || at == end) {
            return want == want_end && at == end;
        }
        want++;
        at++;
    }
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
        if (fits(list[i], topic, key, access)) {
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

static bool allows(const struct tpc_identity *who, int access, struct tpc_str topic)
{
    if (topic.len == 0 || topic.len > UINT16_MAX || memchr(topic.ptr, 0, topic.len) != NULL) {
        return false;
    }
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
    if (who->role != TPC_ROLE_DEVICE || topic.len == 0 || topic.len > UINT16_MAX ||
        !is_level(tpc_str_from(who->key)) || memchr(topic.ptr, '#', topic.len) != NULL) {
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
    if (who->role != TPC_ROLE_DEVICE || topic.len == 0 || topic.len > UINT16_MAX || topic.len < 6 ||
        memcmp(topic.ptr, "/sys/", 5) != 0 ||
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
    for (int i = 0; topic.len > 0 && i < SUBSCRIBE; i++) {
        const char *mark = strchr(subscribe[i], '@');
        const char *at = topic.ptr;
        const char *end = topic.ptr + topic.len;
        /* The level that stands where the number does. */
        for (const char *p = subscribe[i]; mark != NULL && at != NULL && p < mark; p++) {
            if (*p == '/') {
                at = memchr(at, '/', (size_t) (end - at));
                at = at != NULL ? at + 1 : NULL;
            }
        }
        if (mark == NULL || at == NULL) {
            continue;
        }
        struct tpc_str key = { at, level_len(at, end) };
        if (key.len > 0 && fits(subscribe[i], topic, key, TPC_ACCESS_RECEIVE)) {
            *ret = key;
            return true;
        }
    }
    return false;
}

int tpi_acl_check(struct tpi_registry *r, const struct tpc_identity *who, int access,
                  struct tpc_str topic, struct tpc_error *err)
{
    if (allows(who, access, topic) || product_allows(r, who, access, topic) ||
        behind_allows(r, who, access, topic)) {
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
