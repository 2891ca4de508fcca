#include "dialect.h"

#include "codec/emit.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/why.h>

enum { PANEL_PREFIX_MAX = 256 };

/* Takes the next level of *rest; false at the end. */
static bool level(struct tpc_str *rest, bool *more, struct tpc_str *ret)
{
    if (!*more) {
        return false;
    }
    const char *slash = rest->len > 0 ? memchr(rest->ptr, '/', rest->len) : NULL;
    size_t len = slash != NULL ? (size_t) (slash - rest->ptr) : rest->len;
    *ret = (struct tpc_str){ rest->ptr, len };
    *more = slash != NULL;
    rest->ptr += len + (slash != NULL);
    rest->len -= len + (slash != NULL);
    return true;
}

static bool is(struct tpc_str s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

static bool starts(struct tpc_str *s, const char *prefix)
{
    size_t len = strlen(prefix);
    if (s->len < len || memcmp(s->ptr, prefix, len) != 0) {
        return false;
    }
    s->ptr += len;
    s->len -= len;
    return true;
}

static bool ends(struct tpc_str s, const char *suffix)
{
    size_t len = strlen(suffix);
    return s.len >= len && memcmp(s.ptr + s.len - len, suffix, len) == 0;
}

/* /sys/{pk}/{dn}/method...: the payload tells the method; our own downlinks on the same tree are
 * not ours to read. */
static bool alink_up(struct tpc_str topic, struct mqtt_address *a)
{
    static const char *const down[] = { "thing/property/set", "thing/service/invoke",
                                        "thing/config/push", "thing/topo/change",
                                        "thing/ota/upgrade" };
    bool more = true;
    if (!starts(&topic, "/sys/") || !level(&topic, &more, &a->product) ||
        !level(&topic, &more, &a->device) || a->product.len == 0 || a->device.len == 0 ||
        topic.len == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(down) / sizeof(down[0]); i++) {
        if (is(topic, down[i])) {
            return false;
        }
    }
    /* An answer to a report of the device ("..post_reply") is ours; to a set or a service, the
     * device's. */
    if (ends(topic, "_reply")) {
        struct tpc_str method = { topic.ptr, topic.len - 6 };
        bool ours = true;
        for (size_t i = 0; i < sizeof(down) / sizeof(down[0]); i++) {
            ours &= !is(method, down[i]);
        }
        if (ours) {
            return false;
        }
    }
    a->dialect = MQTT_ALINK;
    a->kind = TPC_MSG_UNKNOWN;
    return true;
}

struct panel_topic {
    const char *prefix; /* up to the message id or the device id */
    uint16_t kind;
    bool has_id;     /* one more level: the message id */
    bool has_device; /* one more level: the device id; the payload is bare */
    const char *name;
};

static const struct panel_topic panel_up[] = {
    { "devices/telemetry", TPC_MSG_TELEMETRY, false, false, "" },
    { "devices/attributes/set/response/", TPC_MSG_REPLY, true, false, "set" },
    { "devices/attributes/", TPC_MSG_ATTRIBUTES, true, false, "" },
    { "devices/event/", TPC_MSG_EVENT, true, false, "" },
    { "devices/command/response/", TPC_MSG_REPLY, true, false, "" },
    { "devices/status/", TPC_MSG_PRESENCE, false, true, "" },
    { "gateway/telemetry", TPC_MSG_TELEMETRY, false, false, "" },
    { "gateway/attributes/set/response/", TPC_MSG_REPLY, true, false, "set" },
    { "gateway/attributes/", TPC_MSG_ATTRIBUTES, true, false, "" },
    { "gateway/event/", TPC_MSG_EVENT, true, false, "" },
    { "gateway/command/response/", TPC_MSG_REPLY, true, false, "" },
};

static bool panel_up_parse(struct tpc_str topic, struct mqtt_address *a)
{
    for (size_t i = 0; i < sizeof(panel_up) / sizeof(panel_up[0]); i++) {
        const struct panel_topic *t = &panel_up[i];
        struct tpc_str rest = topic;
        if (!starts(&rest, t->prefix)) {
            continue;
        }
        bool one_level = rest.len > 0 && memchr(rest.ptr, '/', rest.len) == NULL;
        if (t->has_id || t->has_device ? !one_level : rest.len != 0) {
            continue;
        }
        a->dialect = MQTT_THINGSPANEL;
        a->kind = t->kind;
        a->name = tpc_str_from(t->name);
        if (t->has_device) {
            a->device = rest;
        } else {
            a->flags |= TPC_FRAME_WRAPPED;
            a->correlation = rest;
        }
        return true;
    }
    return false;
}

/* Who the gateway is, the configuration says; what it asks is no message. */
static bool tb_up(struct tpc_str topic, struct mqtt_address *a)
{
    static const char *const gateway[] = { "telemetry", "attributes", "attributes/request",
                                           "connect",   "disconnect", "rpc",
                                           "claim" };
    static const char *const device[] = { "telemetry", "attributes", "claim" };
    static const char *const numbered[] = { "rpc/request/", "rpc/response/",
                                            "attributes/request/" };
    bool ours = false, more = true;
    a->dialect = MQTT_THINGSBOARD;
    a->kind = TPC_MSG_UNKNOWN;
    if (starts(&topic, MQTT_THINGSBOARD_UP)) {
        a->dialect = MQTT_THINGSBOARD_MANY;
        if (!level(&topic, &more, &a->device) || a->device.len == 0) {
            return false;
        }
    }
    a->topic = topic;
    if (starts(&topic, "v1/gateway/")) {
        for (size_t i = 0; !ours && i < sizeof(gateway) / sizeof(gateway[0]); i++) {
            ours = is(topic, gateway[i]);
        }
        return ours;
    }
    if (!starts(&topic, "v1/devices/me/")) {
        return false;
    }
    for (size_t i = 0; i < sizeof(device) / sizeof(device[0]); i++) {
        ours |= is(topic, device[i]);
    }
    for (size_t i = 0; !ours && i < sizeof(numbered) / sizeof(numbered[0]); i++) {
        a->correlation = topic;
        ours = starts(&a->correlation, numbered[i]) && a->correlation.len > 0 &&
               memchr(a->correlation.ptr, '/', a->correlation.len) == NULL;
    }
    return ours;
}

bool mqtt_pattern_valid(struct tpc_str pattern)
{
    struct tpc_str l;
    bool more = true;
    int devices = 0;
    if (pattern.len == 0 || pattern.len >= MQTT_TOPIC_MAX) {
        return false;
    }
    while (level(&pattern, &more, &l)) {
        if (is(l, "{device}")) {
            devices++;
        } else if (!is(l, "{id}") && !is(l, "+") && l.len > 0 &&
                   (memchr(l.ptr, '{', l.len) != NULL || memchr(l.ptr, '+', l.len) != NULL ||
                    memchr(l.ptr, '#', l.len) != NULL || memchr(l.ptr, '\0', l.len) != NULL)) {
            return false;
        }
    }
    return devices == 1;
}

static bool custom_up(const struct mqtt_pattern *p, struct tpc_str topic, struct mqtt_address *a)
{
    struct tpc_str pattern = p->up, want, have;
    bool more_want = true, more_have = true;
    while (level(&pattern, &more_want, &want)) {
        if (!level(&topic, &more_have, &have)) {
            return false;
        }
        if (is(want, "{device}")) {
            a->device = have;
        } else if (is(want, "{id}")) {
            a->correlation = have;
        } else if (!is(want, "+") && !tpc_str_equal(want, have)) {
            return false;
        }
    }
    if (more_have || a->device.len == 0) {
        return false;
    }
    a->dialect = MQTT_CUSTOM;
    a->kind = p->kind;
    a->product = p->product;
    return true;
}

bool mqtt_address_parse(uint32_t set, const struct mqtt_pattern *patterns, uint32_t count,
                        struct tpc_str topic, struct mqtt_address *ret)
{
    for (uint32_t i = 0; (set & MQTT_CUSTOM) != 0 && i < count; i++) {
        *ret = (struct mqtt_address){ .custom = i };
        if (custom_up(&patterns[i], topic, ret)) {
            return true;
        }
    }
    *ret = (struct mqtt_address){ 0 };
    if ((set & MQTT_ALINK) != 0 && alink_up(topic, ret)) {
        return true;
    }
    *ret = (struct mqtt_address){ 0 };
    if ((set & (MQTT_THINGSBOARD | MQTT_THINGSBOARD_MANY)) != 0 && tb_up(topic, ret) &&
        (ret->dialect & set) != 0) {
        return true;
    }
    *ret = (struct mqtt_address){ 0 };
    return (set & MQTT_THINGSPANEL) != 0 && panel_up_parse(topic, ret);
}

/* Whether a text can stand as one level of a topic to publish on (MQTT 3.1.1 section 4.7). */
static bool level_safe(struct tpc_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '/' || s.ptr[i] == '+' || s.ptr[i] == '#' || s.ptr[i] == '\0') {
            return false;
        }
    }
    return s.len > 0;
}

static int format(char ret[MQTT_TOPIC_MAX], const char *before, struct tpc_str device,
                  const char *after, struct tpc_str id)
{
    if (!level_safe(device) || (after[0] != '\0' && !level_safe(id))) {
        return TPC_EUNSUPPORTED;
    }
    int n =
        snprintf(ret, MQTT_TOPIC_MAX, "%s%.*s%s%.*s", before, (int) device.len,
                 device.len > 0 ? device.ptr : "", after, (int) id.len, id.len > 0 ? id.ptr : "");
    return n < 0 || n >= MQTT_TOPIC_MAX ? TPC_ETOOBIG : 0;
}

static int alink_down(struct tpc_str product, struct tpc_str device, const struct tpc_frame *f,
                      char ret[MQTT_TOPIC_MAX])
{
    char method[128];
    bool set = f->kind == TPC_MSG_ATTRIBUTES_SET || f->kind == TPC_MSG_TELEMETRY_SET ||
               (f->kind == TPC_MSG_COMMAND && is(f->name, "set"));
    bool method_named = f->kind == TPC_MSG_COMMAND && f->name.len > 0 &&
                        memchr(f->name.ptr, '.', f->name.len) != NULL; /* the platform's own */
    if (f->kind == TPC_MSG_REPLY && f->name.len == 0) {
        snprintf(method, sizeof(method), "thing/property/post");
    } else if (f->kind == TPC_MSG_REPLY ||
               method_named) { /* the answer to a report: name is its method */
        if (f->name.len >= sizeof(method) || memchr(f->name.ptr, '\0', f->name.len) != NULL) {
            return TPC_EUNSUPPORTED;
        }
        for (size_t i = 0; i < f->name.len; i++) {
            method[i] = f->name.ptr[i] == '.' ? '/' : f->name.ptr[i];
        }
        method[f->name.len] = '\0';
        if (memchr(method, '/', f->name.len) == NULL) { /* an event's identifier has no dot */
            snprintf(method, sizeof(method), "thing/event/post");
        }
    } else if (set) {
        snprintf(method, sizeof(method), "thing/property/set");
    } else if (f->kind == TPC_MSG_COMMAND) {
        snprintf(method, sizeof(method), "thing/service/invoke");
    } else {
        return TPC_EUNSUPPORTED;
    }
    if (!level_safe(product) || !level_safe(device)) {
        return TPC_EUNSUPPORTED;
    }
    int n =
        snprintf(ret, MQTT_TOPIC_MAX, "/sys/%.*s/%.*s/%s%s", (int) product.len, product.ptr,
                 (int) device.len, device.ptr, method, f->kind == TPC_MSG_REPLY ? "_reply" : "");
    return n < 0 || n >= MQTT_TOPIC_MAX ? TPC_ETOOBIG : 0;
}

static int panel_down(struct tpc_str device, const struct tpc_frame *f, char ret[MQTT_TOPIC_MAX])
{
    static const struct tpc_str none = { "", 0 };
    char before[PANEL_PREFIX_MAX + 40];
    const char *tail;
    bool id = true;
    uint16_t kind = f->kind;
    if (kind == TPC_MSG_COMMAND && is(f->name, "set")) {
        kind = TPC_MSG_ATTRIBUTES_SET;
    } else if (kind == TPC_MSG_COMMAND && is(f->name, "get")) {
        kind = TPC_MSG_ATTRIBUTES_GET;
    }
    switch (kind) {
    case TPC_MSG_TELEMETRY_SET:
        tail = "telemetry/control/";
        id = false;
        break;
    case TPC_MSG_ATTRIBUTES_SET:
        tail = "attributes/set/";
        break;
    case TPC_MSG_ATTRIBUTES_GET:
        tail = "attributes/get/";
        id = false;
        break;
    case TPC_MSG_COMMAND:
        tail = "command/";
        break;
    case TPC_MSG_REPLY: /* "queued", contract 1.6: events name their method, attributes have none */
        tail = f->name.len > 0 ? "event/response/" : "attributes/response/";
        break;
    default:
        return TPC_EUNSUPPORTED;
    }
    if (f->topic.len > PANEL_PREFIX_MAX) {
        return TPC_ETOOBIG;
    }
    bool gateway = (f->flags & TPC_FRAME_GATEWAY) != 0;
    /* A service's devices (contract thingspanel 2): its prefix before them, and never gateway/. */
    snprintf(before, sizeof(before), "%.*s%s/%s", (int) f->topic.len,
             f->topic.len > 0 ? f->topic.ptr : "",
             gateway && f->topic.len == 0 ? "gateway" : "devices", tail);
    return format(ret, before, device, id ? "/" : "", id ? f->correlation : none);
}

static int tb_down(struct tpc_str device, bool many, const struct tpc_frame *f,
                   char ret[MQTT_TOPIC_MAX])
{
    char before[MQTT_TOPIC_MAX] = "";
    bool behind = (f->flags & TPC_FRAME_BEHIND) != 0;
    bool set = f->kind == TPC_MSG_ATTRIBUTES_SET || f->kind == TPC_MSG_TELEMETRY_SET ||
               (f->kind == TPC_MSG_COMMAND && is(f->name, "set"));
    if (!set && f->kind != TPC_MSG_COMMAND && f->kind != TPC_MSG_ATTRIBUTES_GET) {
        return TPC_EUNSUPPORTED;
    }
    if (many && !level_safe(device)) {
        return TPC_EUNSUPPORTED;
    }
    if (many) {
        snprintf(before, sizeof(before), MQTT_THINGSBOARD_DOWN "%.*s/", (int) device.len,
                 device.ptr);
    }
    int n;
    if (behind || set) {
        n = snprintf(ret, MQTT_TOPIC_MAX, "%sv1/%s/%s", before, behind ? "gateway" : "devices/me",
                     set ? "attributes" : "rpc");
    } else {
        n = snprintf(ret, MQTT_TOPIC_MAX, "%sv1/devices/me/rpc/request/%u", before,
                     (unsigned) tpi_codec_number(f->correlation));
    }
    return n < 0 || n >= MQTT_TOPIC_MAX ? TPC_ETOOBIG : 0;
}

static int custom_down(const struct mqtt_pattern *p, struct tpc_str device,
                       const struct tpc_frame *f, char ret[MQTT_TOPIC_MAX])
{
    struct tpc_str pattern = p != NULL ? p->down : (struct tpc_str){ 0 }, l;
    bool more = pattern.len > 0;
    size_t used = 0;
    if (!more) {
        return TPC_EUNSUPPORTED;
    }
    while (level(&pattern, &more, &l)) {
        bool ours = is(l, "{device}") || is(l, "{id}");
        l = is(l, "{device}") ? device : is(l, "{id}") ? f->correlation : l;
        if (ours ? !level_safe(l) : is(l, "+")) {
            return TPC_EUNSUPPORTED;
        }
        if (used + l.len + 2 > MQTT_TOPIC_MAX) {
            return TPC_ETOOBIG;
        }
        if (l.len > 0) {
            memcpy(ret + used, l.ptr, l.len);
        }
        used += l.len;
        ret[used++] = '/';
    }
    ret[used - 1] = '\0';
    return 0;
}

int mqtt_topic_down(enum mqtt_dialect dialect, const struct mqtt_pattern *pattern,
                    struct tpc_str product, struct tpc_str device, const struct tpc_frame *frame,
                    char ret[MQTT_TOPIC_MAX])
{
    switch (dialect) {
    case MQTT_ALINK:
        return alink_down(product, device, frame, ret);
    case MQTT_THINGSPANEL:
        return panel_down(device, frame, ret);
    case MQTT_THINGSBOARD:
    case MQTT_THINGSBOARD_MANY:
        return tb_down(device, dialect == MQTT_THINGSBOARD_MANY, frame, ret);
    case MQTT_CUSTOM:
        return custom_down(pattern, device, frame, ret);
    }
    return TPC_EUNSUPPORTED;
}

/* The pattern with each {..} as +. */
static int pattern_filter(struct tpc_str pattern, mqtt_filter_fn *fn, void *user)
{
    char filter[MQTT_TOPIC_MAX];
    struct tpc_str l;
    bool more = true;
    size_t used = 0;
    while (level(&pattern, &more, &l)) {
        l = l.len > 0 && l.ptr[0] == '{' ? TPC_STR("+") : l;
        if (used + l.len + 2 > sizeof(filter)) {
            return TPC_ETOOBIG;
        }
        memcpy(filter + used, l.ptr, l.len);
        used += l.len;
        filter[used++] = '/';
    }
    filter[used - 1] = '\0';
    return fn(user, filter, false);
}

int mqtt_filters(uint32_t set, const struct mqtt_pattern *patterns, uint32_t count,
                 mqtt_filter_fn *fn, void *user)
{
    static const char *const panel[] = { "devices/telemetry",
                                         "devices/attributes/+",
                                         "devices/event/+",
                                         "devices/command/response/+",
                                         "devices/attributes/set/response/+",
                                         "devices/status/+",
                                         "gateway/telemetry",
                                         "gateway/attributes/+",
                                         "gateway/event/+",
                                         "gateway/command/response/+",
                                         "gateway/attributes/set/response/+",
                                         TPC_WHY_TOPIC };
    static const char *const tb[] = { "v1/gateway/+",
                                      "v1/gateway/attributes/request",
                                      "v1/devices/me/telemetry",
                                      "v1/devices/me/attributes",
                                      "v1/devices/me/claim",
                                      "v1/devices/me/attributes/request/+",
                                      "v1/devices/me/rpc/request/+",
                                      "v1/devices/me/rpc/response/+" };
    int rc = 0;
    if ((set & MQTT_ALINK) != 0) {
        rc = fn(user, "/sys/+/+/#", false);
    }
    for (size_t i = 0;
         rc == 0 && (set & MQTT_THINGSPANEL) != 0 && i < sizeof(panel) / sizeof(panel[0]); i++) {
        rc = fn(user, panel[i], false);
    }
    for (size_t i = 0; rc == 0 && (set & MQTT_THINGSBOARD) != 0 && i < sizeof(tb) / sizeof(tb[0]);
         i++) {
        rc = fn(user, tb[i], true);
    }
    if (rc == 0 && (set & MQTT_THINGSBOARD_MANY) != 0) {
        rc = fn(user, MQTT_THINGSBOARD_UP "+/v1/#", false);
    }
    for (uint32_t i = 0; rc == 0 && (set & MQTT_CUSTOM) != 0 && i < count; i++) {
        rc = pattern_filter(patterns[i].up, fn, user);
    }
    return rc;
}

bool mqtt_filter_match(struct tpc_str filter, struct tpc_str topic)
{
    struct tpc_str want, have;
    bool more_want = true, more_have = true;
    if (topic.len > 0 && topic.ptr[0] == '$' &&
        (filter.len == 0 || filter.ptr[0] == '+' || filter.ptr[0] == '#')) {
        return false;
    }
    while (level(&filter, &more_want, &want)) {
        if (is(want, "#")) {
            return true;
        }
        if (!level(&topic, &more_have, &have) || (!is(want, "+") && !tpc_str_equal(want, have))) {
            return false;
        }
    }
    return !more_have;
}
