#include "options.h"

#include "../mqtt/connection.h"
#include "../tls/options.h"
#include "limits.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/version.h>

#include "data/member.h"

static const struct tpc_option provision_options[] = {
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .since = "0.1",
      .help = "provisionDeviceKey of the device profile" },
    { .name = "secret",
      .type = TPC_OPT_SECRET,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .since = "0.1",
      .help = "provisionDeviceSecret" },
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "name of the new device; absent = the server makes one" },
    { .name = "type",
      .type = TPC_OPT_ENUM,
      .def = "token",
      .values = "token|basic|x509",
      .since = "0.1",
      .help = "credentials to ask for" },
};

static const struct tpc_option limit_options[] = {
    { .name = "messages",
      .type = TPC_OPT_TEXT,
      .max = 200,
      .since = "0.1",
      .help = "count:seconds[,count:seconds]" },
    { .name = "telemetry_messages",
      .type = TPC_OPT_TEXT,
      .max = 200,
      .since = "0.1",
      .help = "of payloads with telemetry" },
    { .name = "data_points",
      .type = TPC_OPT_TEXT,
      .max = 200,
      .since = "0.1",
      .help = "of values in them" },
    { .name = "percent",
      .type = TPC_OPT_UINT,
      .def = "80",
      .min = 1,
      .max = 100,
      .since = "0.1",
      .help = "how much of any limit is used" },
};

static const struct tpc_option firmware_options[] = {
    { .name = "title",
      .type = TPC_OPT_TEXT,
      .def = "tp-gateway",
      .min = 1,
      .since = "0.1",
      .help = "current_fw_title" },
    { .name = "version",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "current_fw_version; absent = libtpcore's" },
};

static const struct tpc_option connector_options[] = {
    { .name = "adapter",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .since = "0.1",
      .help = "name of the adapter that the devices come from" },
    { .name = "type",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .since = "0.1",
      .help = "connectorType, as \"modbus\"" },
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "connectorName; absent = the adapter's" },
};

static const struct tpc_option connector = { .type = TPC_OPT_TABLE,
                                             .sub = TPC_OPTIONS(connector_options) };

static const struct tpc_option sync_name = { .type = TPC_OPT_TEXT, .min = 1, .max = 255 };

const struct tpc_option tb_options[TB_OPTIONS] = {
    MQTT_URL_OPTION,
    { .name = "mode",
      .type = TPC_OPT_ENUM,
      .def = "gateway",
      .values = "gateway|device",
      .since = "0.1",
      .help = "gateway = many devices over v1/gateway; device = one, over v1/devices/me" },
    { .name = "token",
      .type = TPC_OPT_SECRET,
      .since = "0.1",
      .help = "access token of the gateway, or of the device" },
    { .name = "user",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "MQTT Basic credentials instead of a token" },
    { .name = "password", .type = TPC_OPT_SECRET, .since = "0.1", .help = "of user" },
    MQTT_CLIENT_ID_OPTION("absent = a new one with each start"),
    { .name = "tls",
      .type = TPC_OPT_TABLE,
      .sub = TLS_OPTION_SUB,
      .since = "0.1",
      .help = "of mqtts; with cert and key = X.509 credentials" },
    { .name = "provision",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(provision_options),
      .since = "0.1",
      .help = "ask for credentials once; they are kept in the file state" },
    { .name = "version",
      .type = TPC_OPT_ENUM,
      .def = "auto",
      .values = "auto|5|4",
      .since = "0.1",
      .help = "auto = MQTT 5, or 3.1.1 if the server has no 5; 4 = 3.1.1" },
    MQTT_KEEP_ALIVE_OPTION("30s"),
    MQTT_INFLIGHT_OPTION("80", "publishes without acknowledgement; the server may allow fewer"),
    MQTT_RETRY_OPTIONS("1s"),
    { .name = "hold",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .max = 600000,
      .since = "0.1",
      .help = "a batch waits so long for the connection before it is given back" },
    { .name = "payload_max",
      .type = TPC_OPT_SIZE,
      .min = 256,
      .max = 4 << 20,
      .since = "0.1",
      .help = "largest payload; absent = 80 % of what the server says, or of 64 KiB" },
    { .name = "limits",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(limit_options),
      .since = "0.1",
      .help = "rate limits beside those that the server says" },
    { .name = "limits_wait",
      .type = TPC_OPT_DURATION,
      .def = "5s",
      .max = 60000,
      .since = "0.1",
      .help = "for the server's answer about limits; then without, or the cloud's known ones" },
    { .name = "own_device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "key of the gateway's own device: what it says goes to v1/devices/me" },
    { .name = "tenant",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .def = "main",
      .since = "0.1",
      .help = "whose devices RPC and shared attributes are for" },
    { .name = "state",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help =
          "file for renamed and deleted devices and provisioned credentials; absent = not kept" },
    { .name = "deleted",
      .type = TPC_OPT_ENUM,
      .def = "recreate",
      .values = "recreate|drop",
      .since = "0.1",
      .help =
          "of a device deleted at the server: what it says next makes it again, or is dropped" },
    { .name = "sync_attributes",
      .type = TPC_OPT_LIST,
      .max = 256,
      .elem = &sync_name,
      .since = "0.1",
      .help = "shared attributes that are asked for, and set, when a device is connected" },
    { .name = "connectors",
      .type = TPC_OPT_LIST,
      .max = 256,
      .elem = &connector,
      .since = "0.1",
      .help = "their devices get the attributes connectorType and connectorName with their first "
              "data" },
    { .name = "metadata",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "adds connector, receivedTs and publishedTs to telemetry" },
    { .name = "rpc_timeout",
      .type = TPC_OPT_DURATION,
      .def = "5s",
      .min = 100,
      .max = 3600000,
      .since = "0.1",
      .help = "for an RPC without params.timeout" },
    { .name = "rpc_again",
      .type = TPC_OPT_DURATION,
      .def = "60s",
      .max = 3600000,
      .since = "0.1",
      .help = "the same RPC within that time is not carried out again; 0 = it is" },
    { .name = "attributes_timeout",
      .type = TPC_OPT_DURATION,
      .def = "5s",
      .min = 100,
      .max = 600000,
      .since = "0.1",
      .help = "for the answer to a request for attributes" },
    { .name = "stats_period",
      .type = TPC_OPT_DURATION,
      .def = "0",
      .max = 86400000,
      .since = "0.1",
      .help = "own statistics as telemetry; 0 = none" },
    { .name = "firmware",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(firmware_options),
      .since = "0.1",
      .help = "what this gateway reports as its firmware" },
    { .name = "down_max",
      .type = TPC_OPT_UINT,
      .def = "1000",
      .min = 1,
      .max = 100000,
      .since = "0.1",
      .help = "messages from the server that wait to be worked on; more are dropped" },
    { .name = "devices_max",
      .type = TPC_OPT_UINT,
      .def = "100000",
      .min = 1,
      .max = 10000000,
      .since = "0.1",
      .help = "devices that are remembered; more are connected without a type" },
};

const struct tpc_option tb_target_options[TB_TARGET_OPTIONS] = {
    { .name = "qos",
      .type = TPC_OPT_UINT,
      .def = "1",
      .max = 1,
      .since = "0.1",
      .help = "0 = sent is delivered, 1 = acknowledged is" },
    { .name = "alerts",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "changes of alerts go as telemetry, by the alert's name" },
    { .name = "presence",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "devices that go offline are disconnected" },
};

/* Name of the host: between "//" and a port or the end. */
static struct tpc_str host_of(const char *url)
{
    const char *from = url != NULL ? strstr(url, "//") : NULL;
    if (from == NULL) {
        return (struct tpc_str){ NULL, 0 };
    }
    from += 2;
    return (struct tpc_str){ from, strcspn(from, ":/") };
}

static void read_client(struct mqtt_reading *r, const struct tpc_value *cfg, struct tb_config *c)
{
    struct tpc_str version = tpi_member_text(cfg, "version");
    const char *token = mqtt_reading_filled(mqtt_reading_text(r, cfg, "token"));
    struct mqtt_client_config *m = &c->client;
    mqtt_connection_read(r, cfg, m);
    m->password = token == NULL ? mqtt_reading_filled(m->password) : NULL;
    m->user = token == NULL ? m->user : token;
    m->start_over = true; /* what is not acknowledged comes again from the log */
    m->version = tpc_str_equal(version, TPC_STR("4")) != 0 ? 4 : 5;
    m->fall_back = tpc_str_equal(version, TPC_STR("auto")) != 0;
    c->host = host_of(m->url);
}

static void read_limits(struct mqtt_reading *r, const struct tpc_value *cfg, struct tb_config *c)
{
    static const char *const names[] = { "messages", "telemetry_messages", "data_points" };
    const struct tpc_value *limits = tpi_member(cfg, "limits");
    c->percent = (uint32_t) tpi_member_int(limits, "percent", 80);
    c->messages = tpi_member_text(limits, names[0]);
    c->telemetry = tpi_member_text(limits, names[1]);
    c->points = tpi_member_text(limits, names[2]);
    for (size_t i = 0; i < 3 && r->rc == 0; i++) {
        struct tb_bucket try = { .count = 0 };
        if (tb_bucket_add(&try, tpi_member_text(limits, names[i]), 100, 0) != 0) {
            r->rc = r->host->fail(r->ctx, TPC_EINVAL, "limits.%s: is not count:seconds[,...]",
                                  names[i]);
        }
    }
    c->payload_max = (uint32_t) tpi_member_int(cfg, "payload_max", 0);
    c->inflight_max = c->client.max_inflight;
}

static void read_provision(struct mqtt_reading *r, const struct tpc_value *cfg, struct tb_config *c)
{
    const struct tpc_value *p = tpi_member(cfg, "provision");
    if (p == NULL || r->rc != 0) {
        return;
    }
    c->provision = true;
    c->provision_key = tpi_member_text(p, "key");
    c->provision_secret = tpi_member_text(p, "secret");
    c->provision_name = tpi_member_text(p, "name");
    c->provision_type = tpi_member_text(p, "type");
    if (c->client.user != NULL) {
        r->rc =
            r->host->fail(r->ctx, TPC_EINVAL, "provision: needs no token and no user beside it");
    } else if (c->state == NULL) {
        r->rc = r->host->fail(r->ctx, TPC_EINVAL, "provision: needs state, to keep what it gets");
    }
}

int tb_options_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                    struct tpc_arena *arena, struct tb_config *ret)
{
    struct mqtt_reading r = { host, ctx, arena, 0 };
    struct tb_config c;
    const struct tpc_value *firmware = tpi_member(cfg, "firmware");
    memset(&c, 0, sizeof(c));
    read_client(&r, cfg, &c);
    read_limits(&r, cfg, &c);
    c.device_mode = tpc_str_equal(tpi_member_text(cfg, "mode"), TPC_STR("device")) != 0;
    c.stay_away = tpc_str_equal(tpi_member_text(cfg, "deleted"), TPC_STR("drop")) != 0;
    c.metadata = tpi_member_bool(cfg, "metadata", false);
    c.own = tpi_member_text(cfg, "own_device");
    c.tenant = tpi_member_text(cfg, "tenant");
    c.state = mqtt_reading_text(&r, cfg, "state");
    c.limits_wait_ms = (uint32_t) tpi_member_int(cfg, "limits_wait", 5000);
    c.hold_ms = (uint32_t) tpi_member_int(cfg, "hold", 10000);
    c.rpc_timeout_ms = (uint32_t) tpi_member_int(cfg, "rpc_timeout", 5000);
    c.rpc_again_ms = (uint32_t) tpi_member_int(cfg, "rpc_again", 60000);
    c.ask_timeout_ms = (uint32_t) tpi_member_int(cfg, "attributes_timeout", 5000);
    c.stats_ms = (uint32_t) tpi_member_int(cfg, "stats_period", 0);
    c.down_max = (uint32_t) tpi_member_int(cfg, "down_max", 1000);
    c.devices_max = (uint32_t) tpi_member_int(cfg, "devices_max", 100000);
    c.sync = tpi_member(cfg, "sync_attributes");
    c.connectors = tpi_member(cfg, "connectors");
    c.fw_title = tpi_member_text(firmware, "title");
    c.fw_version = tpi_member_text(firmware, "version");
    if (firmware != NULL && c.fw_version.len == 0) {
        c.fw_version = tpc_str_from(TPC_VERSION);
    }
    read_provision(&r, cfg, &c);
    if (r.rc == 0) {
        *ret = c;
    }
    return r.rc;
}

void tb_target_options_read(const struct tpc_value *cfg, struct tb_target_config *ret)
{
    ret->qos = (uint32_t) tpi_member_int(cfg, "qos", 1);
    ret->alerts = tpi_member_bool(cfg, "alerts", false);
    ret->presence = tpi_member_bool(cfg, "presence", true);
}
