/* What every module that connects to a broker has: options of its connection, and their reading. */
#ifndef MQTT_CONNECTION_H
#define MQTT_CONNECTION_H

#include "client.h"

#include <tpcore/arena.h>
#include <tpcore/ext/option.h>

/* Runs of a table of options. `of` is a default, `what` a help text. */
#define MQTT_URL_OPTION                                                                            \
    {                                                                                              \
        .name = "url", .type = TPC_OPT_TEXT, .flags = TPC_OPT_REQUIRED, .min = 8, .max = 300,      \
        .since = "0.1", .help = "mqtt://host[:1883] or mqtts://host[:8883]"                        \
    }

#define MQTT_CLIENT_ID_OPTION(what)                                                                \
    {                                                                                              \
        .name = "client_id", .type = TPC_OPT_TEXT, .min = 1, .max = 200, .since = "0.1",           \
        .help = (what)                                                                             \
    }

#define MQTT_VERSION_OPTION                                                                        \
    {                                                                                              \
        .name = "version", .type = TPC_OPT_UINT, .def = "5", .min = 4, .max = 5, .since = "0.1",   \
        .help = "4 = MQTT 3.1.1, 5 = MQTT 5"                                                       \
    }

#define MQTT_SESSION_OPTIONS                                                                       \
    { .name = "clean_start",                                                                       \
      .type = TPC_OPT_BOOL,                                                                        \
      .def = "true",                                                                               \
      .since = "0.1",                                                                              \
      .help = "false: the broker keeps the session, and messages for it, while we are away" },     \
    {                                                                                              \
        .name = "session_expiry", .type = TPC_OPT_DURATION, .def = "1h",                           \
        .max = INT64_C(4294967294000), .since = "0.1",                                             \
        .help = "MQTT 5: how long the broker keeps the session"                                    \
    }

#define MQTT_KEEP_ALIVE_OPTION(of)                                                                 \
    {                                                                                              \
        .name = "keep_alive", .type = TPC_OPT_DURATION, .def = (of), .min = 1000, .max = 65535000, \
        .since = "0.1", .help = "time between two signs of life"                                   \
    }

#define MQTT_INFLIGHT_OPTION(of, what)                                                             \
    {                                                                                              \
        .name = "max_inflight", .type = TPC_OPT_UINT, .def = (of), .min = 1,                       \
        .max = MQTT_INFLIGHT_LIMIT, .since = "0.1", .help = (what)                                 \
    }

#define MQTT_RETRY_OPTIONS(of)                                                                     \
    { .name = "retry_min",                                                                         \
      .type = TPC_OPT_DURATION,                                                                    \
      .def = (of),                                                                                 \
      .min = 10,                                                                                   \
      .max = 3600000,                                                                              \
      .since = "0.1",                                                                              \
      .help = "first pause before connecting again; doubles, with jitter" },                       \
    {                                                                                              \
        .name = "retry_max", .type = TPC_OPT_DURATION, .def = "30s", .min = 10, .max = 3600000,    \
        .since = "0.1", .help = "longest such pause"                                               \
    }

struct mqtt_reading {
    const struct tpc_host *host;
    void *ctx;
    struct tpc_arena *arena; /* the texts' */
    int rc;                  /* of the first failure; the host was told */
};

/* A text of the options with a NUL; NULL if it is absent, or r->rc is set. */
const char *mqtt_reading_text(struct mqtt_reading *r, const struct tpc_value *map,
                              const char *name);
/* NULL for an empty text as well. */
const char *mqtt_reading_filled(const char *text);

/* Reads what the table has filled in. Without clean_start in the table there is a clean start, and without
 * a client_id a new one is made. Leaves alone what no option above says, and the callbacks. */
void mqtt_connection_read(struct mqtt_reading *r, const struct tpc_value *cfg,
                          struct mqtt_client_config *ret);

#endif
