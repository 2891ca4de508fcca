/*
 * What comes down from ThingsBoard, and the few documents about it that go up: topics and payloads only,
 * no state. Texts and values are views into topic, payload and arena.
 */
#ifndef THINGSBOARD_DOWN_H
#define THINGSBOARD_DOWN_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

#include "base/buf.h"

enum tb_down_kind {
    TB_DOWN_RPC = 1,             /* v1/gateway/rpc: device, id, method, params */
    TB_DOWN_ATTRIBUTES,          /* v1/gateway/attributes: device, values */
    TB_DOWN_ATTRIBUTES_RESPONSE, /* v1/gateway/attributes/response: device, id, values or value */
    TB_DOWN_DISCONNECT,          /* v1/gateway/disconnect: device, code = reason */
    TB_DOWN_OWN_RPC,             /* v1/devices/me/rpc/request/+: id, method, params */
    TB_DOWN_OWN_RPC_REPLY,       /* v1/devices/me/rpc/response/+: id, values */
    TB_DOWN_OWN_ATTRIBUTES,      /* v1/devices/me/attributes: values */
    TB_DOWN_OWN_RESPONSE,        /* v1/devices/me/attributes/response/+: id, client, shared */
    TB_DOWN_PROVISION            /* /provision/response: values */
};

struct tb_down {
    enum tb_down_kind kind;
    struct tpc_str device, method;
    int64_t id;
    int64_t code;
    bool has_value;          /* of a response: one key was asked, and value is its value */
    struct tpc_value params; /* TPC_NULL = none */
    struct tpc_value value;
    struct tpc_value values;         /* a map; TPC_NULL = none */
    struct tpc_value client, shared; /* maps; TPC_NULL = none */
};

/* Topics of the platform's side; the filters to subscribe to are these, with "+" for the id. */
#define TB_GATEWAY "v1/gateway/"
#define TB_DEVICE "v1/devices/me/"

/* Returns 0, TPC_ENOENT (a topic that is none of these), TPC_EDECODE (err says why) or TPC_ENOMEM. */
int tb_down_parse(struct tpc_str topic, struct tpc_bytes payload, struct tpc_arena *arena,
                  struct tpc_error *err, struct tb_down *ret);

/* Answer to getSessionLimits. Texts are empty where there is no limit. */
struct tb_session_limits {
    uint32_t payload_max;  /* bytes; 0 = not said */
    uint32_t inflight_max; /* publishes; 0 = not said */
    /* Of the session and of each device behind it: both hold for all, as servers and their documents do
     * not agree on which is which. */
    struct tpc_str messages[2], telemetry[2], points[2];
};

/* Returns 0 or TPC_EUNSUPPORTED (an error, or no such answer). */
int tb_down_limits(const struct tpc_value *values, struct tb_session_limits *ret);

/* What a provision response grants. */
struct tb_credentials {
    struct tpc_str type; /* ACCESS_TOKEN, MQTT_BASIC, X509_CERTIFICATE */
    struct tpc_str token, client_id, user, password;
};

/* Returns 0 or TPC_EDENIED: *ret_reason says why. */
int tb_down_credentials(const struct tpc_value *values, struct tb_credentials *ret,
                        struct tpc_str *ret_reason);

#endif
