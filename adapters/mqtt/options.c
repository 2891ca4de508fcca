#include "options.h"
#include "connection.h"
#include "data/member.h"

#include <string.h>

enum { HOLD_MS = 2000 };

static const struct tpc_option tls_table[] = {
    { .name = "ca",
      .type = TPC_OPT_TEXT,
      .since = "0.1",
      .help = "PEM file of trusted authorities; absent = the system's" },
    { .name = "cert", .type = TPC_OPT_TEXT, .since = "0.1", .help = "PEM file of our certificate" },
    { .name = "key", .type = TPC_OPT_TEXT, .since = "0.1", .help = "PEM file of our private key" },
    { .name = "verify",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "check the broker's certificate and name" },
    { .name = "reload",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .max = 86400000,
      .since = "0.1",
      .help = "how often the files are looked at for a change; 0 = never" },
};

static const struct tpc_option custom_table[] = {
    { .name = "up",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = MQTT_TOPIC_MAX - 1,
      .since = "0.1",
      .help = "topic of messages; levels are text, +, {device} (once) or {id}" },
    { .name = "down",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = MQTT_TOPIC_MAX - 1,
      .since = "0.1",
      .help = "topic of commands; absent = none" },
    { .name = "product",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "key of the product the devices must be of; absent = any" },
    { .name = "kind",
      .type = TPC_OPT_ENUM,
      .def = "auto",
      .values = "auto|telemetry|attributes|event|reply|presence|raw",
      .since = "0.1",
      .help = "what the messages are; auto = the codec tells" },
};

static const struct tpc_option dialect_item = { .type = TPC_OPT_ENUM,
                                                .values = "alink|thingspanel|custom|thingsboard" };
static const struct tpc_option custom_item = { .type = TPC_OPT_TABLE,
                                               .sub = TPC_OPTIONS(custom_table) };

const struct tpc_option mqtt_option_table[MQTT_OPTION_COUNT] = {
    MQTT_URL_OPTION,
    { .name = "user", .type = TPC_OPT_TEXT, .since = "0.1", .help = "user name" },
    { .name = "password", .type = TPC_OPT_SECRET, .since = "0.1", .help = "password" },
    MQTT_CLIENT_ID_OPTION("absent = a new one with each start; needed without clean_start"),
    MQTT_VERSION_OPTION,
    MQTT_SESSION_OPTIONS,
    MQTT_KEEP_ALIVE_OPTION("60s"),
    { .name = "qos",
      .type = TPC_OPT_UINT,
      .def = "1",
      .max = 1,
      .since = "0.1",
      .help = "greatest QoS of what we get" },
    { .name = "share",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 100,
      .since = "0.1",
      .help = "group of a shared subscription ($share)" },
    { .name = "dialects",
      .type = TPC_OPT_LIST,
      .elem = &dialect_item,
      .max = 4,
      .since = "0.1",
      .help =
          "alink, thingspanel, custom, thingsboard; absent = custom if it is given, else alink" },
    { .name = "custom",
      .type = TPC_OPT_LIST,
      .elem = &custom_item,
      .max = MQTT_CUSTOM_MAX,
      .since = "0.1",
      .help = "topic patterns of dialect custom" },
    { .name = "thingsboard",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(mqtt_tb_option_table),
      .since = "0.1",
      .help = "the gateway of dialect thingsboard" },
    { .name = "ack",
      .type = TPC_OPT_ENUM,
      .def = "appended",
      .values = "appended|received",
      .since = "0.1",
      .help =
          "when a message of QoS 1 is acknowledged: once it is in the log, or once it is taken" },
    { .name = "hold",
      .type = TPC_OPT_DURATION,
      .min = 100,
      .max = 3600000,
      .since = "0.1",
      .help =
          "how long a message of QoS 1 waits for the core before the connection is given up, so "
          "that the broker keeps it; absent = 2s, with clean_start keep_alive" },
    { .name = "gateway_acks",
      .type = TPC_OPT_ENUM,
      .def = "gateway",
      .values = "gateway|both",
      .since = "0.1",
      .help = "thingspanel: where a gateway's report is answered: on gateway/.., or on devices/.. "
              "as well" },
    MQTT_INFLIGHT_OPTION("64", "publishes of ours without acknowledgement"),
    { .name = "presence",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "a device is online from its first message while we are connected" },
    { .name = "tenant",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "of the devices; absent = main" },
    MQTT_RETRY_OPTIONS("500ms"),
    { .name = "tls",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(tls_table),
      .since = "0.1",
      .help = "files for mqtts" },
    { .name = "max_devices",
      .type = TPC_OPT_UINT,
      .def = "100000",
      .min = 1,
      .max = 10000000,
      .since = "0.1",
      .help = "sessions kept open; more devices share the link session" },
};

enum { RELOAD_MS = 10000 }; /* where the whole table is absent */

static bool is(struct tpc_str s, const char *name)
{
    return tpc_str_equal(s, tpc_str_from(name)) != 0;
}

static uint16_t kind_of(struct tpc_str name)
{
    static const struct {
        const char *name;
        uint16_t kind;
    } kinds[] = { { "telemetry", TPC_MSG_TELEMETRY }, { "attributes", TPC_MSG_ATTRIBUTES },
                  { "event", TPC_MSG_EVENT },         { "reply", TPC_MSG_REPLY },
                  { "presence", TPC_MSG_PRESENCE },   { "raw", TPC_MSG_RAW } };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (is(name, kinds[i].name)) {
            return kinds[i].kind;
        }
    }
    return TPC_MSG_UNKNOWN;
}

static int read_patterns(const struct tpc_host *host, void *ctx, const struct tpc_value *list,
                         struct mqtt_options *o)
{
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        const struct tpc_value *item = &list->as.items[i];
        struct mqtt_pattern *p = &o->patterns[o->pattern_count++];
        p->up = tpc_value_text(tpc_value_get(item, TPC_STR("up")));
        p->down = tpc_value_text(tpc_value_get(item, TPC_STR("down")));
        p->product = tpc_value_text(tpc_value_get(item, TPC_STR("product")));
        p->kind = kind_of(tpc_value_text(tpc_value_get(item, TPC_STR("kind"))));
        if (!mqtt_pattern_valid(p->up) || (p->down.len > 0 && !mqtt_pattern_valid(p->down))) {
            bool up = !mqtt_pattern_valid(p->up);
            struct tpc_str bad = up ? p->up : p->down;
            return host->fail(ctx, TPC_EINVAL,
                              "custom[%zu].%s: \"%.*s\" must have {device} as exactly one of its "
                              "levels; others are text, + or {id}",
                              i, up ? "up" : "down", (int) bad.len, bad.ptr);
        }
    }
    return 0;
}

static int read_dialects(const struct tpc_host *host, void *ctx, const struct tpc_value *list,
                         struct mqtt_options *o)
{
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        struct tpc_str name = tpc_value_text(&list->as.items[i]);
        o->dialects |= is(name, "alink")         ? MQTT_ALINK
                       : is(name, "thingspanel") ? MQTT_THINGSPANEL
                       : is(name, "thingsboard") ? MQTT_THINGSBOARD
                                                 : MQTT_CUSTOM;
    }
    if (o->dialects == 0) {
        o->dialects = o->pattern_count > 0 ? MQTT_CUSTOM : MQTT_ALINK;
    }
    if ((o->dialects & MQTT_CUSTOM) != 0 && o->pattern_count == 0) {
        return host->fail(ctx, TPC_EINVAL, "dialect custom needs patterns in \"custom\"");
    }
    if ((o->dialects & MQTT_THINGSBOARD) != 0 && o->tb.gateway.len == 0) {
        o->dialects ^= MQTT_THINGSBOARD | MQTT_THINGSBOARD_MANY;
    }
    /* It publishes on topics that it hears on. */
    if ((o->dialects & MQTT_THINGSBOARD) != 0 && (o->client.version != 5 || o->share != NULL)) {
        return host->fail(ctx, TPC_EINVAL,
                          "dialect thingsboard with a gateway needs version 5 and no share");
    }
    return 0;
}

int mqtt_options_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                      struct mqtt_options *ret)
{
    struct mqtt_options *o = ret;
    memset(o, 0, sizeof(*o));
    int rc = tpc_arena_create(host->allocator, 0, &o->arena);
    if (rc != 0) {
        return host->fail(ctx, rc, "no memory for the options");
    }
    struct mqtt_reading r = { host, ctx, o->arena, 0 };
    o->share = mqtt_reading_text(&r, cfg, "share");
    if (o->share != NULL && strpbrk(o->share, "/+#") != NULL) {
        return host->fail(ctx, TPC_EINVAL, "share: a group has no /, + or #");
    }
    o->qos = (uint32_t) tpi_member_int(cfg, "qos", 0);
    o->presence = tpi_member_int(cfg, "presence", 0) != 0;
    o->max_devices = (uint32_t) tpi_member_int(cfg, "max_devices", 0);
    const struct tpc_value *tls = tpc_value_get(cfg, TPC_STR("tls"));
    o->reload_ms = tpc_value_get(tls, TPC_STR("reload")) != NULL
                       ? (uint32_t) tpi_member_int(tls, "reload", 0)
                       : RELOAD_MS;
    o->tenant = tpc_value_text(tpc_value_get(cfg, TPC_STR("tenant")));
    o->ack_appended = is(tpc_value_text(tpc_value_get(cfg, TPC_STR("ack"))), "appended");
    o->gateway_acks_both = is(tpc_value_text(tpc_value_get(cfg, TPC_STR("gateway_acks"))), "both");
    mqtt_connection_read(&r, cfg, &o->client);
    o->hold_ms = (uint32_t) tpi_member_int(
        cfg, "hold", o->client.clean_start ? (int64_t) o->client.keep_alive_s * 1000 : HOLD_MS);
    rc = r.rc;
    if (rc == 0) {
        rc = read_patterns(host, ctx, tpc_value_get(cfg, TPC_STR("custom")), o);
    }
    if (rc == 0) {
        rc = mqtt_tb_options_read(host, ctx, cfg, &o->tb);
    }
    return rc != 0 ? rc : read_dialects(host, ctx, tpc_value_get(cfg, TPC_STR("dialects")), o);
}

void mqtt_options_free(struct mqtt_options *o)
{
    o->arena = tpc_arena_destroy(o->arena);
}
