/* The configuration, compiled. */
#ifndef CONNECTOR_CONFIG_H
#define CONNECTOR_CONFIG_H

#include "../mqtt/client.h"
#include "cast.h"
#include "expr.h"
#include "options.h"
#include "say.h"

enum cn_converter { CN_JSON, CN_BYTES, CN_RAW };

struct cn_entry {
    struct expr key;
    bool all; /* key is "*": all members of the message */
    struct expr value;
    enum cast type;
    bool has_time;
    struct expr time;
    uint32_t date_flags;
};

struct cn_entries {
    struct cn_entry *items;
    uint32_t count;
};

/* What is subscribed to, and of which device it is. */
struct cn_from {
    struct tpc_str filter;
    uint32_t qos;
    struct expr device, type; /* type: of mappings and connect */
};

struct cn_mapping {
    struct cn_from from;
    enum cn_converter converter;
    bool hex, received_time;
    struct cn_entries attributes, timeseries;
};

struct cn_request {
    struct cn_from from;
    struct expr name;
    bool client; /* else shared ones */
    struct say topic, answer;
    bool retain;
};

struct cn_update {
    struct pick devices, attributes;
    struct say topic, value;
    uint32_t qos;
    bool retain;
};

struct cn_rpc {
    struct pick devices, methods;
    struct say topic, value;
    bool two_way;
    struct say answer;     /* of two_way */
    struct tpc_str filter; /* all that answer can make */
    uint32_t answer_qos, timeout_ms;
    uint32_t qos;
    bool retain;
};

struct cn_config {
    struct tpc_arena *arena;
    struct mqtt_client_config client;
    struct tpc_str tenant;
    bool cbor, ack_appended, presence, make_devices;
    uint32_t max_devices, hold_ms;
    struct cn_mapping *mappings;
    struct cn_from *connects, *disconnects;
    struct cn_request *requests;
    struct cn_update *updates;
    struct cn_rpc *rpcs;
    uint32_t mapping_count, connect_count, disconnect_count, request_count, update_count, rpc_count;
};

/* 0, TPC_EINVAL, TPC_ETOOBIG or TPC_ENOMEM; the host has been told why. Free it in any case. cfg lives as
 * long as it. */
int cn_config_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                   struct cn_config *ret);
void cn_config_free(struct cn_config *c);

/* Whether a topic filter is well formed (MQTT 3.1.1 section 4.7). */
bool cn_filter_valid(struct tpc_str filter);

#endif
