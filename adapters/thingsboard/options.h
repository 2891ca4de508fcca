/* Options of an instance and of a target. */
#ifndef THINGSBOARD_OPTIONS_H
#define THINGSBOARD_OPTIONS_H

#include "../mqtt/client.h"

#include <tpcore/arena.h>
#include <tpcore/ext/option.h>

enum { TB_OPTIONS = 31, TB_TARGET_OPTIONS = 3 };

extern const struct tpc_option tb_options[TB_OPTIONS];
extern const struct tpc_option tb_target_options[TB_TARGET_OPTIONS];

/* What was read of them; texts live as long as the arena. */
struct tb_config {
    struct mqtt_client_config client;
    struct tpc_str host; /* name in the url */
    bool device_mode, metadata, stay_away;
    bool provision;
    struct tpc_str own, tenant;
    const char *state;                          /* NULL = none */
    struct tpc_str messages, telemetry, points; /* limits beside the server's */
    uint32_t limits_wait_ms, percent;
    uint32_t payload_max, inflight_max;
    uint32_t hold_ms, rpc_timeout_ms, ask_timeout_ms, stats_ms, rpc_again_ms;
    uint32_t down_max, devices_max;
    const struct tpc_value *sync;       /* list of names; NULL = none */
    const struct tpc_value *connectors; /* list of maps; NULL = none */
    struct tpc_str fw_title, fw_version;
    struct tpc_str provision_key, provision_secret, provision_name, provision_type;
};

struct tb_target_config {
    uint32_t qos;
    bool alerts, presence;
};

/* 0 or a code that the host has been told of. */
int tb_options_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                    struct tpc_arena *arena, struct tb_config *ret);
void tb_target_options_read(const struct tpc_value *cfg, struct tb_target_config *ret);

#endif
