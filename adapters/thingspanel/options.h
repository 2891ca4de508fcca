/* Options of an instance and of a target. */
#ifndef THINGSPANEL_OPTIONS_H
#define THINGSPANEL_OPTIONS_H

#include "../mqtt/client.h"

#include <tpcore/arena.h>
#include <tpcore/ext/option.h>

enum { TP_OPTIONS = 28, TP_TARGET_OPTIONS = 1 };

extern const struct tpc_option tp_options[TP_OPTIONS];
extern const struct tpc_option tp_target_options[TP_TARGET_OPTIONS];

/* What was read of them; texts live as long as the arena. */
struct tp_config {
    struct mqtt_client_config client;
    struct tpc_str identifier; /* empty = that of the service which is served */
    struct tpc_str prefix;     /* empty = "plugin/<identifier>/" */
    struct tpc_str tenant;
    uint32_t payload_max;
    bool refuse_unknown;
    uint32_t down_max, answers_max, command_timeout_ms, down_again_ms;

    /* Of the platform's HTTP interface. */
    const char *api;               /* without a slash at the end */
    const char *state;             /* NULL = none */
    const struct tpc_value *allow; /* list of texts; NULL = any */
    uint32_t heartbeat_ms, request_timeout_ms, config_interval_ms;
    uint32_t
        unknown_pause_ms; /* a voucher that was not known three times is not asked for so long */
    uint32_t devices_max, login_timeout_ms;
};

/* 0 or a code that the host has been told of. */
int tp_options_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                    struct tpc_arena *arena, struct tp_config *ret);

/* Whether a text can be a part of topics that are published and subscribed. */
bool tp_topic_text(struct tpc_str text);

#endif
