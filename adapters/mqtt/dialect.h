/*
 * Dialects: what an MQTT topic says of a message, and the topic of a message to a device. Pure
 * text, no sockets.
 *
 *   alink        /sys/{productKey}/{deviceName}/{method with slashes}     contract iot-module 6
 *   thingspanel  devices/... with wrapped payloads             contract thingspanel 1.2-1.6
 *   thingsboard  v1/gateway/.. and v1/devices/me/..            contract thingsboard 1.2, 1.3
 *   custom       patterns of the configuration with {device} and {id}
 */
#ifndef MQTT_DIALECT_H
#define MQTT_DIALECT_H

#include <stdbool.h>
#include <tpcore/ext/host.h>

enum mqtt_dialect {
    MQTT_ALINK = 1,
    MQTT_THINGSPANEL = 2,
    MQTT_CUSTOM = 4,
    MQTT_THINGSBOARD = 8,      /* one, on a stock broker: who it is, the configuration says */
    MQTT_THINGSBOARD_MANY = 16 /* whose broker's plugin puts their key before their topics */
};
#define MQTT_THINGSBOARD_UP "tpcore/thingsboard/up/"
#define MQTT_THINGSBOARD_DOWN "tpcore/thingsboard/down/"

enum { MQTT_TOPIC_MAX = 512, MQTT_CUSTOM_MAX = 16 };

/* What an uplink topic says. Views into the topic or the configuration. */
struct mqtt_address {
    enum mqtt_dialect dialect;
    uint16_t kind;          /* enum tpc_kind */
    uint16_t flags;         /* enum tpc_frame_flags */
    struct tpc_str product; /* empty = not said */
    struct tpc_str device;  /* empty = inside the payload (wrapped) */
    struct tpc_str correlation;
    struct tpc_str name;
    struct tpc_str topic; /* as the codec knows it; empty = the whole */
    uint32_t custom;      /* index of the pattern */
};

/* A pattern of the configuration: "meters/{device}/up"; {id} = the command's id, + = any level. */
struct mqtt_pattern {
    struct tpc_str up;   /* with exactly one {device} level */
    struct tpc_str down; /* empty = no commands */
    struct tpc_str product;
    uint16_t kind; /* of what comes up */
};

/* Whether a pattern is well formed: levels are text, +, {device} or {id}, and {device} stands once.
 */
bool mqtt_pattern_valid(struct tpc_str pattern);

/* Matches a topic against the dialects in `set`. false = no dialect knows it (or it is a downlink).
 */
bool mqtt_address_parse(uint32_t set, const struct mqtt_pattern *patterns, uint32_t count,
                        struct tpc_str topic, struct mqtt_address *ret);

/* Topic for a frame to a device, with a NUL. 0, TPC_EUNSUPPORTED (the dialect has no such message)
 * or TPC_ETOOBIG. */
int mqtt_topic_down(enum mqtt_dialect dialect, const struct mqtt_pattern *pattern,
                    struct tpc_str product, struct tpc_str device, const struct tpc_frame *frame,
                    char ret[MQTT_TOPIC_MAX]);

/* Whether a topic matches a filter (MQTT 3.1.1 section 4.7); "$share/group/" is not part of it. */
bool mqtt_filter_match(struct tpc_str filter, struct tpc_str topic);

/* Subscription filters of the dialects: calls fn for each, in a stable order. both_ways: we publish on
 * topics that match it, too. */
typedef int mqtt_filter_fn(void *user, const char *filter, bool both_ways);
int mqtt_filters(uint32_t set, const struct mqtt_pattern *patterns, uint32_t count,
                 mqtt_filter_fn *fn, void *user);

#endif
