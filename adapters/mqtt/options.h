/*
 * The adapter's option table, and a configuration checked against it as a struct.
 */
#ifndef MQTT_OPTIONS_H
#define MQTT_OPTIONS_H

#include "client.h"
#include "dialect.h"
#include "thingsboard.h"

#include <tpcore/arena.h>
#include <tpcore/ext/option.h>

enum { MQTT_OPTION_COUNT = 23 };
extern const struct tpc_option mqtt_option_table[MQTT_OPTION_COUNT];

struct mqtt_options {
    struct tpc_arena *arena; /* the texts' */
    struct mqtt_client_config client;
    uint32_t dialects; /* enum mqtt_dialect, or'ed */
    uint32_t qos;
    uint32_t max_devices;
    uint32_t hold_ms;   /* a message waits for the core */
    uint32_t reload_ms; /* of the files for TLS; 0 = never */
    bool ack_appended, presence;
    bool gateway_acks_both;
    const char *share; /* group; NULL = none */
    struct tpc_str tenant;
    struct mqtt_pattern patterns[MQTT_CUSTOM_MAX];
    uint32_t pattern_count;
    struct mqtt_tb_options tb;
};

/* 0, TPC_EINVAL or TPC_ENOMEM; the host has been told why. Free it in any case. */
int mqtt_options_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                      struct mqtt_options *ret);
void mqtt_options_free(struct mqtt_options *o);

#endif
