#include "down.h"

#include <stdbool.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "data/member.h"

static const struct {
    const char *topic;
    enum tp_down_kind kind;
    bool mid; /* a level behind the device */
} topics[] = {
    { "devices/telemetry/control/", TP_DOWN_CONTROL, false },
    { "devices/attributes/set/", TP_DOWN_SET, true },
    { "devices/attributes/get/", TP_DOWN_GET, false },
    { "devices/command/", TP_DOWN_COMMAND, true },
};

static bool take_prefix(struct tpc_str *text, struct tpc_str prefix)
{
    if (text->len < prefix.len ||
        (prefix.len > 0 && memcmp(text->ptr, prefix.ptr, prefix.len) != 0)) {
        return false;
    }
    text->ptr += prefix.len;
    text->len -= prefix.len;
    return true;
}

/* A device's number may have a slash in it: what is behind the last one is the mid. */
static bool split_mid(struct tpc_str text, struct tp_down *d)
{
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] != '/') {
        at--;
    }
    if (at < 2 || at == text.len) {
        return false;
    }
    d->x = (struct tpc_str){ text.ptr, at - 1 };
    d->mid = (struct tpc_str){ text.ptr + at, text.len - at };
    return true;
}

int tp_down_topic(struct tpc_str prefix, struct tpc_str topic, struct tp_down *ret)
{
    struct tp_down d;
    memset(&d, 0, sizeof(d));
    if (topic.len == 0 || !take_prefix(&topic, prefix)) {
        return TPC_ENOENT;
    }
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        if (!take_prefix(&topic, tpc_str_from(topics[i].topic))) {
            continue;
        }
        d.kind = topics[i].kind;
        d.x = topic;
        if (topic.len == 0 || (topics[i].mid && !split_mid(topic, &d))) {
            return TPC_ENOENT;
        }
        *ret = d;
        return 0;
    }
    return TPC_ENOENT;
}

/* ---- nesting (contract 1.7) ---- */

static bool is_nested(const struct tpc_value *doc)
{
    uint32_t known = 0;
    if (doc->type != TPC_MAP) {
        return false;
    }
    for (size_t i = 0; i < doc->len; i++) {
        struct tpc_str key = doc->as.members[i].key;
        uint32_t type = doc->as.members[i].value.type;
        bool own = tpc_str_equal(key, TPC_STR("gateway_data")) != 0;
        bool sub = tpc_str_equal(key, TPC_STR("sub_device_data")) != 0 ||
                   tpc_str_equal(key, TPC_STR("sub_gateway_data")) != 0;
        if ((!own && !sub) ||
            (type != TPC_MAP && type != TPC_NULL && (!own || type != TPC_ARRAY))) {
            return false;
        }
        known++;
    }
    return known > 0;
}

/* What a level says: NULL if there is nothing. An empty object beside another one says nothing. */
static const struct tpc_value *said(const struct tpc_value *level, const char *name)
{
    const struct tpc_value *v = tpi_member(level, name);
    return v != NULL && (v->type == TPC_MAP || v->type == TPC_ARRAY) && v->len > 0 ? v : NULL;
}

static int fail(struct tpc_error *err, const char *text)
{
    return tpi_error_set(err, TPC_EDECODE, "thingspanel", "%s", text);
}

/* The one member of a map address -> content that says something. */
static int take_address(const struct tpc_value *map, struct tpc_error *err, struct tp_down *d,
                        const struct tpc_value **ret)
{
    const struct tpc_member *found = NULL;
    for (size_t i = 0; i < map->len; i++) {
        if (map->as.members[i].value.type == TPC_NULL) {
            continue;
        }
        if (found != NULL) {
            return fail(err, "the message is for several devices");
        }
        found = &map->as.members[i];
    }
    if (found == NULL || found->key.len == 0) {
        return fail(err, "the message is for no device");
    }
    d->path[d->depth++] = found->key;
    *ret = &found->value;
    return 0;
}

/* Goes down to the one device that the message is for. */
static int unwrap(const struct tpc_value *level, struct tpc_error *err, struct tp_down *d,
                  const struct tpc_value **ret)
{
    for (;;) {
        const struct tpc_value *own = tpi_member(level, "gateway_data");
        const struct tpc_value *device = said(level, "sub_device_data");
        const struct tpc_value *gateway = said(level, "sub_gateway_data");
        if (device == NULL && gateway == NULL) {
            *ret = own;
            return own != NULL ? 0 : fail(err, "the message is for no device");
        }
        if ((device != NULL && gateway != NULL) || said(level, "gateway_data") != NULL) {
            return fail(err, "the message is for several devices");
        }
        if (device != NULL) {
            return take_address(device, err, d, ret);
        }
        if (d->depth == TP_SUB_GATEWAYS_MAX) {
            return fail(err, "gateways are nested too deep");
        }
        int rc = take_address(gateway, err, d, &level);
        if (rc != 0) {
            return rc;
        }
        if (!is_nested(level)) {
            return fail(err, "a gateway's part is no object of the known members");
        }
    }
}

/* ---- what it says ---- */

static int read_keys(const struct tpc_value *v, struct tpc_error *err, struct tp_down *d)
{
    const struct tpc_value *keys = v != NULL && v->type == TPC_MAP ? tpi_member(v, "keys") : v;
    d->params = (struct tpc_value){ .type = TPC_ARRAY };
    if (keys == NULL || keys->type == TPC_NULL) {
        return 0;
    }
    if (keys->type != TPC_ARRAY) {
        return fail(err, "keys: is no list");
    }
    for (size_t i = 0; i < keys->len; i++) {
        if (keys->as.items[i].type != TPC_TEXT) {
            return fail(err, "keys: is no list of texts");
        }
    }
    d->params = *keys;
    return 0;
}

static int read_leaf(const struct tpc_value *v, struct tpc_error *err, struct tp_down *d)
{
    if (d->kind == TP_DOWN_GET) {
        return read_keys(v, err, d);
    }
    if (v->type != TPC_MAP) {
        return fail(err, "the message is no object");
    }
    if (d->kind != TP_DOWN_COMMAND) {
        d->params = *v;
        return 0;
    }
    const struct tpc_value *params = tpi_member(v, "params");
    d->method = tpi_member_text(v, "method");
    if (params != NULL) {
        d->params = *params;
    }
    return d->method.len > 0 ? 0 : fail(err, "the command has no method");
}

int tp_down_read(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_error *err,
                 struct tp_down *d)
{
    struct tpc_value doc = { .type = TPC_NULL };
    const struct tpc_value *leaf = &doc;
    struct tpc_str text = { (const char *) payload.ptr, payload.len };
    if (payload.len == 0 && d->kind == TP_DOWN_GET) {
        return read_leaf(leaf, err, d);
    }
    int rc = tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, err, &doc);
    if (rc != 0) {
        return rc == TPC_ETOOBIG ? fail(err, "the message is nested too deep") : rc;
    }
    if (is_nested(&doc)) {
        rc = unwrap(&doc, err, d, &leaf);
    }
    return rc != 0 ? rc : read_leaf(leaf, err, d);
}
