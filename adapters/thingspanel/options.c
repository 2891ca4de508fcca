#include "options.h"

#include "../mqtt/connection.h"
#include "../mqtt/url.h"
#include "../tls/options.h"

#include <string.h>

#include "data/member.h"

static const struct tpc_option allow_elem = { .type = TPC_OPT_TEXT, .min = 2, .max = 64 };

const struct tpc_option tp_options[TP_OPTIONS] = {
    { .name = "mqtt",
      .type = TPC_OPT_TEXT,
      .def = "mqtt://127.0.0.1:1883",
      .min = 8,
      .max = 300,
      .since = "0.1",
      .help = "the platform's broker: mqtt://host[:1883] or mqtts://host[:8883]" },
    { .name = "user",
      .type = TPC_OPT_TEXT,
      .def = "plugin",
      .min = 1,
      .since = "0.1",
      .help = "all services have the same" },
    { .name = "password", .type = TPC_OPT_SECRET, .since = "0.1", .help = "of user" },
    MQTT_CLIENT_ID_OPTION("absent = a new one with each start"),
    { .name = "tls",
      .type = TPC_OPT_TABLE,
      .sub = TLS_OPTION_SUB,
      .since = "0.1",
      .help = "of mqtts" },
    { .name = "version",
      .type = TPC_OPT_ENUM,
      .def = "auto",
      .values = "auto|5|4",
      .since = "0.1",
      .help = "auto = MQTT 5, or 3.1.1 if the broker has no 5; 4 = 3.1.1" },
    MQTT_KEEP_ALIVE_OPTION("30s"),
    MQTT_INFLIGHT_OPTION("64", "publishes without acknowledgement; the broker may allow fewer"),
    MQTT_RETRY_OPTIONS("500ms"),
    { .name = "identifier",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 100,
      .since = "0.1",
      .help = "service_identifier, also the product of its devices; absent = the program's" },
    { .name = "sub_topic_prefix",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 200,
      .since = "0.1",
      .help = "as the service is registered; absent = plugin/<identifier>/" },
    { .name = "tenant",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .def = "main",
      .since = "0.1",
      .help = "of the devices" },
    { .name = "payload_max",
      .type = TPC_OPT_SIZE,
      .def = "1MiB",
      .min = 256,
      .max = MQTT_QUEUE_BYTES_MAX / 2, /* with its topic it has to fit into the queue */
      .since = "0.1",
      .help = "largest payload, wrapped; what is larger is refused" },
    { .name = "down_max",
      .type = TPC_OPT_UINT,
      .def = "1000",
      .min = 1,
      .max = 100000,
      .since = "0.1",
      .help = "messages from the platform that wait to be worked on; more are dropped" },
    { .name = "answers_max",
      .type = TPC_OPT_UINT,
      .def = "1000",
      .min = 1,
      .max = 100000,
      .since = "0.1",
      .help = "answers that wait for the broker; more drop the oldest" },
    { .name = "refuse_unknown",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "a command for a device that is not known is answered; false where another service "
              "has the same sub_topic_prefix" },
    { .name = "command_timeout",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = 100,
      .max = 3600000,
      .since = "0.1",
      .help = "a device has that long to do a command and to answer it" },
    { .name = "down_again",
      .type = TPC_OPT_DURATION,
      .def = "10m",
      .max = 3600000,
      .since = "0.1",
      .help = "the same command within that time is not carried out again; 0 = it is" },
    { .name = "api",
      .type = TPC_OPT_TEXT,
      .def = "http://127.0.0.1:9999",
      .min = 8,
      .max = 300,
      .since = "0.1",
      .help = "the platform's HTTP interface: http://host:port or https://" },
    { .name = "state",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "file for the devices that are known; absent = not kept" },
    { .name = "allow",
      .type = TPC_OPT_LIST,
      .max = 64,
      .elem = &allow_elem,
      .since = "0.1",
      .help = "addresses that may call back, also as 10.0.0.0/8; absent = any" },
    { .name = "heartbeat",
      .type = TPC_OPT_DURATION,
      .def = "30s",
      .min = 100,
      .max = 60000, /* then the platform takes the service for dead */
      .since = "0.1",
      .help = "time between two" },
    { .name = "request_timeout",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = 10,
      .max = 600000,
      .since = "0.1",
      .help = "of a call to the platform" },
    { .name = "config_interval",
      .type = TPC_OPT_DURATION,
      .def = "3s",
      .max = 600000,
      .since = "0.1",
      .help = "between two questions for one voucher or number: the platform's limit" },
    { .name = "unknown_pause",
      .type = TPC_OPT_DURATION,
      .def = "3m",
      .max = 86400000,
      .since = "0.1",
      .help = "a voucher that was not known three times is not asked for so long" },
    { .name = "devices_max",
      .type = TPC_OPT_UINT,
      .def = "100000",
      .min = 1,
      .max = 10000000,
      .since = "0.1",
      .help = "devices that are known; more are refused" },
    { .name = "login_timeout",
      .type = TPC_OPT_DURATION,
      .def = "20s",
      .min = 10,
      .max = 600000,
      .since = "0.1",
      .help = "a connection waits so long for the platform to say whose it is" },
};

const struct tpc_option tp_target_options[TP_TARGET_OPTIONS] = {
    { .name = "status",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "whether devices are online is told" },
};

/* A text with a NUL; NULL if it is absent or empty. */
static const char *text_of(struct mqtt_reading *r, const struct tpc_value *cfg, const char *name)
{
    return mqtt_reading_filled(mqtt_reading_text(r, cfg, name));
}

static void read_client(struct mqtt_reading *r, const struct tpc_value *cfg,
                        struct mqtt_client_config *m)
{
    struct tpc_str version = tpi_member_text(cfg, "version");
    char address[MQTT_URL_MAX];
    uint16_t port;
    mqtt_connection_read(r, cfg, m);
    m->url = text_of(r, cfg, "mqtt");
    if (r->rc == 0 && (m->url == NULL || mqtt_url(m->url, address, &port) != 0)) {
        r->rc = r->host->fail(r->ctx, TPC_EINVAL,
                              "mqtt: is not mqtt://host[:port] or mqtts://host[:port]");
    }
    m->password = mqtt_reading_filled(m->password);
    m->start_over = true; /* what is not acknowledged comes again from the log */
    m->version = tpc_str_equal(version, TPC_STR("4")) != 0 ? 4 : 5;
    m->fall_back = tpc_str_equal(version, TPC_STR("auto")) != 0;
}

/* Without a slash at the end. */
static const char *api_of(struct mqtt_reading *r, const struct tpc_value *cfg)
{
    struct tpc_str text = tpi_member_text(cfg, "api");
    struct tpc_value trimmed = { .type = TPC_TEXT };
    struct tpc_member member = { .key = TPC_STR("api") };
    bool http = text.len > 7 && memcmp(text.ptr, "http://", 7) == 0;
    bool https = text.len > 8 && memcmp(text.ptr, "https://", 8) == 0;
    if (r->rc == 0 && !http && !https) {
        r->rc = r->host->fail(r->ctx, TPC_EINVAL, "api: begins with http:// or https://");
        return NULL;
    }
    while (text.len > 0 && text.ptr[text.len - 1] == '/') {
        text.len--;
    }
    trimmed.len = text.len;
    trimmed.as.text = text.ptr;
    member.value = trimmed;
    struct tpc_value map = { .type = TPC_MAP, .len = 1, .as.members = &member };
    return text_of(r, &map, "api");
}

static void read_http(struct mqtt_reading *r, const struct tpc_value *cfg, struct tp_config *c)
{
    c->api = api_of(r, cfg);
    c->state = text_of(r, cfg, "state");
    c->allow = tpi_member(cfg, "allow");
    c->heartbeat_ms = (uint32_t) tpi_member_int(cfg, "heartbeat", 30000);
    c->request_timeout_ms = (uint32_t) tpi_member_int(cfg, "request_timeout", 10000);
    c->config_interval_ms = (uint32_t) tpi_member_int(cfg, "config_interval", 3000);
    c->unknown_pause_ms = (uint32_t) tpi_member_int(cfg, "unknown_pause", 180000);
    c->devices_max = (uint32_t) tpi_member_int(cfg, "devices_max", 100000);
    c->login_timeout_ms = (uint32_t) tpi_member_int(cfg, "login_timeout", 20000);
}

bool tp_topic_text(struct tpc_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t) text.ptr[i];
        if (c < ' ' || c == 0x7f || c == '+' || c == '#') {
            return false;
        }
    }
    return true;
}

static struct tpc_str topic_text(struct mqtt_reading *r, const struct tpc_value *cfg,
                                 const char *name)
{
    struct tpc_str text = tpi_member_text(cfg, name);
    if (r->rc == 0 && !tp_topic_text(text)) {
        r->rc = r->host->fail(r->ctx, TPC_EINVAL, "%s: cannot stand in a topic", name);
    }
    return text;
}

int tp_options_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                    struct tpc_arena *arena, struct tp_config *ret)
{
    struct mqtt_reading r = { host, ctx, arena, 0 };
    struct tp_config c;
    memset(&c, 0, sizeof(c));
    read_client(&r, cfg, &c.client);
    read_http(&r, cfg, &c);
    c.identifier = topic_text(&r, cfg, "identifier");
    c.prefix = topic_text(&r, cfg, "sub_topic_prefix");
    c.tenant = tpi_member_text(cfg, "tenant");
    c.payload_max = (uint32_t) tpi_member_int(cfg, "payload_max", 1 << 20);
    c.refuse_unknown = tpi_member_bool(cfg, "refuse_unknown", true);
    c.down_max = (uint32_t) tpi_member_int(cfg, "down_max", 1000);
    c.answers_max = (uint32_t) tpi_member_int(cfg, "answers_max", 1000);
    c.command_timeout_ms = (uint32_t) tpi_member_int(cfg, "command_timeout", 10000);
    c.down_again_ms = (uint32_t) tpi_member_int(cfg, "down_again", 600000);
    if (r.rc == 0) {
        *ret = c;
    }
    return r.rc;
}
