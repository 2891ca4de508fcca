/* The documents of all types of actions, and the list of the types. */
#include "rules/action_type.h"

#include "entity/entity.h"
#include "rules/rules.h"
#include "rules/script.h"

/* Devices that have something in common, in place of one. */
#define TARGETS                                                                                    \
    { .name = "product",                                                                           \
      .type = TPC_OPT_TEXT,                                                                        \
      .flags = TPC_OPT_KEY,                                                                        \
      .since = "0.1",                                                                              \
      .help = "all devices of a product" },                                                        \
        { .name = "select",                                                                        \
          .type = TPC_OPT_TEXT,                                                                    \
          .min = 1,                                                                                \
          .max = TPI_SELECTOR_BYTES,                                                               \
          .since = "0.1",                                                                          \
          .help = "those with these labels: site=paris, floor!=2" },                               \
    {                                                                                              \
        .name = "group", .type = TPC_OPT_TEXT, .flags = TPC_OPT_KEY, .since = "0.1",               \
        .help = "all that are in a group"                                                          \
    }

/* For how a command is sent. */
#define SENDING                                                                                    \
    { .name = "timeout",                                                                           \
      .type = TPC_OPT_DURATION,                                                                    \
      .min = 1,                                                                                    \
      .max = 86400000,                                                                             \
      .since = "0.1",                                                                              \
      .help = "for a reply to one try; absent = 10s" },                                            \
        { .name = "retries",                                                                       \
          .type = TPC_OPT_UINT,                                                                    \
          .min = 0,                                                                                \
          .max = 100,                                                                              \
          .since = "0.1",                                                                          \
          .help = "tries after the first; absent = 0" },                                           \
        { .name = "retry_delay",                                                                   \
          .type = TPC_OPT_DURATION,                                                                \
          .min = 1,                                                                                \
          .max = 86400000,                                                                         \
          .since = "0.1",                                                                          \
          .help = "before the first retry, doubles; absent = 1s" },                                \
        { .name = "expire",                                                                        \
          .type = TPC_OPT_DURATION,                                                                \
          .min = 1,                                                                                \
          .max = 2592000000,                                                                       \
          .since = "0.1",                                                                          \
          .help = "in the queue; absent = 24h" },                                                  \
    {                                                                                              \
        .name = "priority", .type = TPC_OPT_ENUM, .def = "normal", .values = "low|normal|high",    \
        .since = "0.1", .help = "order in the device's queue"                                      \
    }

static const struct tpc_option command_options[] = {
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "who is told; absent = the device that set it off" },
    TARGETS,
    { .name = "service",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = 128,
      .since = "0.1",
      .help = "a service of its model, set or get" },
    { .name = "params", .type = TPC_OPT_ANY, .since = "0.1", .help = "a map" },
    SENDING,
};

static const struct tpc_option set_options[] = {
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "whose properties; absent = of the device that set it off" },
    TARGETS,
    { .name = "values",
      .type = TPC_OPT_ANY,
      .flags = TPC_OPT_REQUIRED,
      .since = "0.1",
      .help = "a map: property, and what it shall be" },
    SENDING,
};

static const struct tpc_option notify_options[] = {
    { .name = "handler",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "who is told: an entity of kind handler" },
    { .name = "params", .type = TPC_OPT_ANY, .since = "0.1", .help = "a map" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "whom it is about; absent = the device that set it off" },
};

static const struct tpc_option alert_options[] = {
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "which alert; a device has one of each key" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "whose alert; absent = the device that set it off" },
    TARGETS,
    { .name = "severity",
      .type = TPC_OPT_ENUM,
      .def = "warning",
      .values = "info|warning|minor|major|critical",
      .since = "0.1",
      .help = "how bad it is" },
    { .name = "text",
      .type = TPC_OPT_TEXT,
      .max = TPI_ACTION_TEXT,
      .since = "0.1",
      .help = "for people" },
};

static const struct tpc_option clear_options[] = {
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "which alert" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "whose alert; absent = the device that set it off" },
    TARGETS,
};

static const struct tpc_option run_options[] = {
    { .name = "scene",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "whose actions are done" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "for which device; absent = the one that set it off" },
    TARGETS,
    { .name = "ask",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "only if the scene's condition is true for the device" },
};

static const struct tpc_option switch_options[] = {
    { .name = "kind",
      .type = TPC_OPT_ENUM,
      .flags = TPC_OPT_REQUIRED,
      .values = "scene|schedule|rule|alert|handler|forward|device",
      .since = "0.1",
      .help = "kind of the entity" },
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "its key" },
};

static const struct tpc_option lua_options[] = {
    { .name = "code",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = TPI_SCRIPT_CODE_BYTES,
      .since = "0.1",
      .help = "a function's body: params and device in, a list of actions out" },
    { .name = "params", .type = TPC_OPT_ANY, .since = "0.1", .help = "a map" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "whom it is about; absent = the device that set it off" },
};

static const struct tpc_option item_options[] = {
    { .name = "command",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(command_options),
      .since = "0.1",
      .help = "sends a command" },
    { .name = "notify",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(notify_options),
      .since = "0.1",
      .help = "tells somebody outside" },
    { .name = "alert",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(alert_options),
      .since = "0.1",
      .help = "raises an alert" },
    { .name = "clear",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(clear_options),
      .since = "0.1",
      .help = "ends an alert" },
    { .name = "set",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(set_options),
      .since = "0.1",
      .help = "sets properties of a device" },
    { .name = "run",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(run_options),
      .since = "0.1",
      .help = "does what another scene does" },
    { .name = "enable",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(switch_options),
      .since = "0.1",
      .help = "switches an entity on" },
    { .name = "disable",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(switch_options),
      .since = "0.1",
      .help = "switches an entity off" },
    { .name = "delay",
      .type = TPC_OPT_DURATION,
      .min = 1,
      .max = 2592000000,
      .since = "0.1",
      .help = "what follows is done after this time" },
    { .name = "lua",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(lua_options),
      .since = "0.1",
      .help = "does what a script says" },
};

const struct tpc_option tpi_action_item = { .name = "then",
                                            .type = TPC_OPT_TABLE,
                                            .sub = TPC_OPTIONS(item_options) };

const struct tpi_action_type *const tpi_action_types[] = {
    &tpi_action_command,
    &tpi_action_set,
    &tpi_action_notify,
    &tpi_action_alert,
    &tpi_action_clear,
    &tpi_action_run,
    &tpi_action_enable,
    &tpi_action_disable,
    &tpi_action_delay,
    &tpi_action_lua,
    NULL,
};
