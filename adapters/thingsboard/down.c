#include "down.h"

#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "data/member.h"

static bool ends_with_id(struct tpc_str topic, const char *before, int64_t *ret_id)
{
    size_t n = strlen(before);
    int64_t id = 0;
    if (topic.len <= n || topic.len - n > 18 || memcmp(topic.ptr, before, n) != 0) {
        return false;
    }
    for (size_t i = n; i < topic.len; i++) {
        if (topic.ptr[i] < '0' || topic.ptr[i] > '9') {
            return false;
        }
        id = id * 10 + (topic.ptr[i] - '0');
    }
    *ret_id = id;
    return true;
}

static const struct {
    const char *topic;
    enum tb_down_kind kind;
    bool id; /* stands behind it */
} topics[] = {
    { TB_GATEWAY "rpc", TB_DOWN_RPC, false },
    { TB_GATEWAY "attributes", TB_DOWN_ATTRIBUTES, false },
    { TB_GATEWAY "attributes/response", TB_DOWN_ATTRIBUTES_RESPONSE, false },
    { TB_GATEWAY "disconnect", TB_DOWN_DISCONNECT, false },
    { TB_DEVICE "rpc/request/", TB_DOWN_OWN_RPC, true },
    { TB_DEVICE "rpc/response/", TB_DOWN_OWN_RPC_REPLY, true },
    { TB_DEVICE "attributes", TB_DOWN_OWN_ATTRIBUTES, false },
    { TB_DEVICE "attributes/response/", TB_DOWN_OWN_RESPONSE, true },
    { "/provision/response", TB_DOWN_PROVISION, false },
};

static bool kind_of(struct tpc_str topic, struct tb_down *ret)
{
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        bool is = topics[i].id ? ends_with_id(topic, topics[i].topic, &ret->id)
                               : tpc_str_equal(topic, tpc_str_from(topics[i].topic)) != 0;
        if (is) {
            ret->kind = topics[i].kind;
            return true;
        }
    }
    return false;
}

static void take_map(const struct tpc_value *from, const char *name, struct tpc_value *ret)
{
    const struct tpc_value *v = tpi_member(from, name);
    if (v != NULL && v->type == TPC_MAP) {
        *ret = *v;
    }
}

static int take_call(const struct tpc_value *doc, struct tb_down *ret, struct tpc_error *err)
{
    const struct tpc_value *params = tpi_member(doc, "params");
    ret->method = tpi_member_text(doc, "method");
    if (params != NULL) {
        ret->params = *params;
    }
    return ret->method.len > 0
               ? 0
               : tpi_error_set(err, TPC_EDECODE, "thingsboard", "rpc: has no method");
}

static int take_device(const struct tpc_value *doc, struct tb_down *ret, struct tpc_error *err)
{
    ret->device = tpi_member_text(doc, "device");
    return ret->device.len > 0
               ? 0
               : tpi_error_set(err, TPC_EDECODE, "thingsboard", "the message has no device");
}

static int take_rpc(const struct tpc_value *doc, struct tb_down *ret, struct tpc_error *err)
{
    const struct tpc_value *data = tpi_member(doc, "data");
    int rc = take_device(doc, ret, err);
    if (rc == 0 && (data == NULL || data->type != TPC_MAP)) {
        rc = tpi_error_set(err, TPC_EDECODE, "thingsboard", "rpc: has no data");
    }
    if (rc == 0 &&
        (tpi_member(data, "id") == NULL || tpc_value_int(tpi_member(data, "id"), &ret->id) != 0)) {
        rc = tpi_error_set(err, TPC_EDECODE, "thingsboard", "rpc: has no id");
    }
    return rc != 0 ? rc : take_call(data, ret, err);
}

static int take_response(const struct tpc_value *doc, struct tb_down *ret, struct tpc_error *err)
{
    const struct tpc_value *value = tpc_value_get(doc, TPC_STR("value"));
    if (tpi_member(doc, "id") == NULL || tpc_value_int(tpi_member(doc, "id"), &ret->id) != 0) {
        return tpi_error_set(err, TPC_EDECODE, "thingsboard", "attributes: the response has no id");
    }
    ret->device = tpi_member_text(doc, "device");
    take_map(doc, "values", &ret->values);
    if (value != NULL) {
        ret->has_value = true;
        ret->value = *value;
    }
    return 0;
}

static int take(const struct tpc_value *doc, struct tb_down *ret, struct tpc_error *err)
{
    int rc = 0;
    switch (ret->kind) {
    case TB_DOWN_RPC:
        return take_rpc(doc, ret, err);
    case TB_DOWN_OWN_RPC:
        return take_call(doc, ret, err);
    case TB_DOWN_ATTRIBUTES:
        rc = take_device(doc, ret, err);
        take_map(doc, "data", &ret->values);
        return rc != 0 || ret->values.type == TPC_MAP
                   ? rc
                   : tpi_error_set(err, TPC_EDECODE, "thingsboard", "attributes: have no data");
    case TB_DOWN_ATTRIBUTES_RESPONSE:
        return take_response(doc, ret, err);
    case TB_DOWN_DISCONNECT:
        ret->code = tpi_member_int(doc, "reason", 0);
        return take_device(doc, ret, err);
    case TB_DOWN_OWN_RESPONSE:
        take_map(doc, "client", &ret->client);
        take_map(doc, "shared", &ret->shared);
        return 0;
    case TB_DOWN_OWN_RPC_REPLY:
    case TB_DOWN_OWN_ATTRIBUTES:
    case TB_DOWN_PROVISION:
    default:
        ret->values = *doc;
        return 0;
    }
}

int tb_down_parse(struct tpc_str topic, struct tpc_bytes payload, struct tpc_arena *arena,
                  struct tpc_error *err, struct tb_down *ret)
{
    struct tb_down d;
    struct tpc_value doc;
    memset(&d, 0, sizeof(d));
    if (!kind_of(topic, &d)) {
        return TPC_ENOENT;
    }
    struct tpc_str text = { (const char *) payload.ptr, payload.len };
    int rc = tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, err, &doc);
    if (rc == TPC_ETOOBIG) {
        rc = tpi_error_set(err, TPC_EDECODE, "thingsboard", "the message is nested too deep");
    }
    if (rc == 0 && doc.type != TPC_MAP) {
        /* A reply of a call to the server may be anything. */
        if (d.kind != TB_DOWN_OWN_RPC_REPLY) {
            return tpi_error_set(err, TPC_EDECODE, "thingsboard", "the message is no object");
        }
    }
    if (rc == 0) {
        rc = take(&doc, &d, err);
    }
    if (rc == 0) {
        *ret = d;
    }
    return rc;
}

static uint32_t count_of(const struct tpc_value *map, const char *name)
{
    int64_t n = tpi_member_int(map, name, 0);
    return n > 0 && n <= INT32_MAX ? (uint32_t) n : 0;
}

int tb_down_limits(const struct tpc_value *values, struct tb_session_limits *ret)
{
    static const char *const blocks[] = { "rateLimits", "gatewayRateLimits" };
    struct tb_session_limits l;
    memset(&l, 0, sizeof(l));
    if (values->type != TPC_MAP ||
        (tpi_member(values, "maxPayloadSize") == NULL && tpi_member(values, "rateLimits") == NULL &&
         tpi_member(values, "maxInflightMessages") == NULL)) {
        return TPC_EUNSUPPORTED;
    }
    l.payload_max = count_of(values, "maxPayloadSize");
    l.inflight_max = count_of(values, "maxInflightMessages");
    for (size_t i = 0; i < 2; i++) {
        const struct tpc_value *b = tpi_member(values, blocks[i]);
        if (b != NULL && b->type == TPC_MAP) {
            l.messages[i] = tpi_member_text(b, "messages");
            l.telemetry[i] = tpi_member_text(b, "telemetryMessages");
            l.points[i] = tpi_member_text(b, "telemetryDataPoints");
        }
    }
    *ret = l;
    return 0;
}

int tb_down_credentials(const struct tpc_value *values, struct tb_credentials *ret,
                        struct tpc_str *ret_reason)
{
    struct tb_credentials c;
    struct tpc_str status = tpi_member_text(values, "status");
    const struct tpc_value *value = tpi_member(values, "credentialsValue");
    memset(&c, 0, sizeof(c));
    c.type = tpi_member_text(values, "credentialsType");
    if (value != NULL && value->type == TPC_MAP) {
        c.client_id = tpi_member_text(value, "clientId");
        c.user = tpi_member_text(value, "userName");
        c.password = tpi_member_text(value, "password");
    }
    bool x509 = tpc_str_equal(c.type, TPC_STR("X509_CERTIFICATE")) != 0;
    if (value != NULL && !x509) { /* a certificate's value is its hash */
        c.token = tpc_value_text(value);
    }
    if (tpc_str_equal(status, TPC_STR("SUCCESS")) != 0 &&
        (x509 || c.token.len > 0 || c.user.len > 0 || c.client_id.len > 0)) {
        *ret = c;
        return 0;
    }
    *ret_reason = tpi_member_text(values, "errorMsg");
    if (ret_reason->len == 0) {
        *ret_reason = status.len > 0 ? status : TPC_STR("no credentials in the answer");
    }
    return TPC_EDENIED;
}
