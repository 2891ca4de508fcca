/* Gateways' messages: every part on the bus as a message of its own device. The bytes are those of the
 * contract (thingspanel 1.6, 1.7). */
#include <stdio.h>
#include <string.h>

#include "flow.h"

enum { SUBS = 20 };

static const char panel[] = TPC_JSON({
    "key" : "panel",
    "codec" : "thingspanel",
    "model" : {
        "properties" : [
            { "id" : "t", "type" : "double" }, { "id" : "u", "type" : "int" },
            { "id" : "v", "type" : "text", "access" : "rw" }
        ],
        "events" : [ { "id" : "alarm", "output" : [ { "id" : "level", "type" : "int" } ] } ],
        "services" : [ { "id" : "go", "input" : [ { "id" : "x", "type" : "int" } ] } ]
    }
});

static void put(struct flow *f, const char *kind, const char *json)
{
    int rc = tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

static void put_sub(struct flow *f, const char *key, const char *gateway, const char *address)
{
    char json[200];
    snprintf(json, sizeof(json),
             "{\"key\":\"%s\",\"product\":\"panel\",\"gateway\":\"%s\",\"address\":\"%s\"}", key,
             gateway, address);
    put(f, "device", json);
}

/* gw with s1, s2 (addresses 1, 2), sub-gateway sg (address g) with deep (address 1); stranger. */
static void setup(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_probe_open(f);
    put(f, "product", panel);
    put(f, "device", "{\"key\":\"gw\",\"product\":\"panel\"}");
    put(f, "device", "{\"key\":\"stranger\",\"product\":\"panel\"}");
    put_sub(f, "s1", "gw", "1");
    put_sub(f, "s2", "gw", "2");
    put_sub(f, "sg", "gw", "g");
    put_sub(f, "deep", "sg", "1");
    flow_start(f);
}

static struct tpc_frame frame_of(uint16_t kind, const char *topic, const char *mid,
                                 const char *json)
{
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.kind = kind;
    frame.topic = tpc_str_from(topic);
    frame.correlation = tpc_str_from(mid);
    frame.payload = (struct tpc_bytes){ (const uint8_t *) json, strlen(json) };
    return frame;
}

static void say(struct flow *f, const char *device, uint16_t kind, const char *topic,
                const char *mid, const char *json)
{
    struct tpc_frame frame = frame_of(kind, topic, mid, json);
    struct tpc_device *d = flow_device(f, device);
    tk_ok(tpc_feed_frame(d, &frame, NULL, NULL));
    tpc_device_unref(d);
    flow_settle(f);
}

static void telemetry(struct flow *f, const char *json)
{
    say(f, "gw", TPC_MSG_TELEMETRY, "gateway/telemetry", "", json);
}

START_TEST(each_part_is_a_message_of_its_own_device)
{
    struct flow f;
    setup(&f);
    telemetry(&f, "{\"gateway_data\":{\"t\":1},\"sub_device_data\":{\"1\":{\"t\":2,\"u\":3},\"2\":{"
                  "\"u\":4}},\"sub_gateway_data\":{\"g\":{\"gateway_data\":{\"t\":5},"
                  "\"sub_device_data\":{\"1\":{\"t\":6}},\"sub_gateway_data\":null}}}");
    ck_assert_double_eq(flow_latest(&f, "gw", "t"), 1);
    ck_assert_double_eq(flow_latest(&f, "s1", "t"), 2);
    ck_assert_double_eq(flow_latest(&f, "s1", "u"), 3);
    ck_assert_double_eq(flow_latest(&f, "s2", "u"), 4);
    ck_assert_double_eq(flow_latest(&f, "sg", "t"), 5);
    ck_assert_double_eq(flow_latest(&f, "deep", "t"), 6);
    ck_assert_double_eq(flow_latest(&f, "stranger", "t"), -1e9);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 5);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_total"), 6);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_dead_letters_total"), 0);
    ck_assert_uint_eq(flow_stored(&f, "deep", "t"), 1);
    flow_fini(&f);
}
END_TEST

static int keep_why(void *user, const struct tpc_why *why)
{
    snprintf(user, 200, "%.*s", (int) why->reason.len, why->reason.ptr);
    return 0;
}

START_TEST(unknown_addresses_are_passed_over_and_told)
{
    struct flow f;
    setup(&f);
    /* Not its own device, by key or by an address of another gateway; and one that is. */
    telemetry(&f, "{\"sub_device_data\":{\"stranger\":{\"t\":9},\"9\":{\"t\":9},\"1\":{\"t\":2}},"
                  "\"sub_gateway_data\":{\"1\":{\"sub_device_data\":{\"1\":{\"t\":9}}},\"x\":{}}}");
    ck_assert_double_eq(flow_latest(&f, "s1", "t"), 2);
    ck_assert_double_eq(flow_latest(&f, "stranger", "t"), -1e9);
    ck_assert_double_eq(flow_latest(&f, "deep", "t"), -1e9);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_parts_unknown_total"), 4);
    char why[200] = "";
    tk_ok(tpc_why(f.core, TPC_STR(""), TPC_STR("gw"), keep_why, why));
    ck_assert_str_eq(why, "reports for \"stranger\", which is not behind it");
    ck_assert_uint_eq(tk_env_logged(&f.e, "gateway gw reports for \"stranger\", which is not"), 1);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 1);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_dead_letters_total"), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(a_bad_part_leaves_the_others)
{
    struct flow f;
    setup(&f);
    telemetry(&f,
              "{\"gateway_data\":{\"t\":\"x\"},\"sub_device_data\":{\"1\":{\"nothing\":2},\"2\":{"
              "\"u\":4,\"t\":[]}}}");
    ck_assert_double_eq(flow_latest(&f, "s2", "u"), 4);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 1);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_refused_total"), 3);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_dead_letters_total"), 0);
    /* Nothing of it can be used. */
    telemetry(&f, "{\"gateway_data\":{\"t\":\"x\"},\"sub_device_data\":{\"1\":{\"nothing\":2}}}");
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_dead_letters_total"), 1);
    /* Cut off: nothing of it is taken. */
    telemetry(&f, "{\"sub_device_data\":{\"1\":{\"t\":7}},\"gateway_data\":{\"t\":");
    ck_assert_double_eq(flow_latest(&f, "s1", "t"), -1e9);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_dead_letters_total"), 2);
    flow_fini(&f);
}
END_TEST

START_TEST(a_report_with_an_id_is_answered_once_and_to_the_gateway)
{
    struct flow f;
    struct tpc_frame frame;
    setup(&f);
    uint64_t session = flow_session("gw", 0);
    frame = frame_of(TPC_MSG_ATTRIBUTES, "gateway/attributes/77", "77",
                     "{\"sub_device_data\":{\"1\":{\"v\":\"a\"},\"2\":{\"v\":\"b\"}}}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 1));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    ck_assert_str_eq(flow_probe.sent[0].device, "gw");
    ck_assert_str_eq(flow_probe.sent[0].correlation, "77");
    ck_assert_uint_eq(flow_probe.sent[0].flags, TPC_FRAME_GATEWAY);
    ck_assert_msg(strncmp(flow_probe.sent[0].payload,
                          "{\"result\":0,\"message\":\"success\",\"ts\":", 37) == 0,
                  "%s", flow_probe.sent[0].payload);
    frame =
        frame_of(TPC_MSG_EVENT, "gateway/event/78", "78",
                 "{\"gateway_data\":{\"method\":\"alarm\",\"params\":{\"level\":1}},\"sub_device_"
                 "data\":{\"1\":{\"method\":\"alarm\",\"params\":{\"level\":2}},\"2\":{\"method\":"
                 "\"nothing\"}}}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 2));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 2);
    ck_assert_ptr_nonnull(strstr(flow_probe.sent[1].payload, "\"method\":\"alarm\""));
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 4);
    /* A second delivery: nothing twice, but the answer once more. */
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 3));
    flow_settle(&f);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 4);
    ck_assert_uint_eq(flow_probe.sent_count, 3);
    ck_assert_uint_eq(flow_probe.settled_count, 3);
    flow_fini(&f);
}
END_TEST

/* ---- down ---- */

static struct tpc_id command(struct flow *f, const char *device, const char *service,
                             const char *params)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_id id;
    o.device = flow_device(f, device);
    o.service = tpc_str_from(service);
    o.params_json = tpc_str_from(params);
    int rc = tpc_command_send(f->core, NULL, &o, NULL, NULL, &id);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    tpc_device_unref(o.device);
    return id;
}

static void keep_state(void *user, const struct tpc_command *c)
{
    *(uint32_t *) user = c->state;
}

static uint32_t state_of(struct flow *f, const struct tpc_id *id)
{
    uint32_t state = 0;
    tk_ok(tpc_command_get(f->core, id, keep_state, &state));
    return state;
}

/* As the nth thing that was sent: over the top gateway's session and topics. */
static void sent_over_gw(unsigned int n, uint64_t session, const char *payload)
{
    ck_assert_uint_gt(flow_probe.sent_count, n);
    ck_assert_str_eq(flow_probe.sent[n].device, "gw");
    ck_assert_str_eq(flow_probe.sent[n].payload, payload);
    ck_assert_uint_eq(flow_probe.sent[n].flags & TPC_FRAME_GATEWAY, TPC_FRAME_GATEWAY);
    ck_assert_uint_eq(flow_probe.sent[n].session, session);
}

static void answer(struct flow *f, uint64_t session, unsigned int n, const char *json)
{
    struct tpc_frame frame =
        frame_of(TPC_MSG_REPLY, "gateway/command/response/x", flow_probe.sent[n].correlation, json);
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 0));
    flow_settle(f);
}

START_TEST(commands_take_the_way_over_the_top_gateway)
{
    struct flow f;
    setup(&f);
    uint64_t session = flow_session("gw", 0);
    flow_settle(&f);
    struct tpc_id ids[4];
    ids[0] = command(&f, "gw", "go", "{\"x\":1}");
    ids[1] = command(&f, "s1", "go", "{\"x\":2}");
    ids[2] = command(&f, "sg", "set", "{\"v\":\"a\"}");
    ids[3] = command(&f, "deep", "go", "{\"x\":3}");
    flow_settle(&f);
    sent_over_gw(0, session, "{\"gateway_data\":{\"method\":\"go\",\"params\":{\"x\":1}}}");
    sent_over_gw(1, session,
                 "{\"sub_device_data\":{\"1\":{\"method\":\"go\",\"params\":{\"x\":2}}}}");
    sent_over_gw(2, session, "{\"sub_gateway_data\":{\"g\":{\"gateway_data\":{\"v\":\"a\"}}}}");
    sent_over_gw(3, session,
                 "{\"sub_gateway_data\":{\"g\":{\"sub_device_data\":{\"1\":{\"method\":\"go\","
                 "\"params\":{\"x\":3}}}}}}");
    answer(&f, session, 3, "{\"result\":0,\"message\":\"success\"}");
    answer(&f, session, 1, "{\"result\":1,\"message\":\"no\"}");
    ck_assert_uint_eq(state_of(&f, &ids[3]), TPC_COMMAND_SUCCEEDED);
    ck_assert_uint_eq(state_of(&f, &ids[1]), TPC_COMMAND_FAILED);
    ck_assert_uint_eq(state_of(&f, &ids[0]), TPC_COMMAND_SENT);
    /* A get ends with the report that has the part. */
    struct tpc_id get = command(&f, "s2", "get", "{\"keys\":[\"v\"]}");
    flow_settle(&f);
    sent_over_gw(4, session, "{\"sub_device_data\":{\"2\":[\"v\"]}}");
    say(&f, "gw", TPC_MSG_ATTRIBUTES, "gateway/attributes/5", "",
        "{\"sub_device_data\":{\"2\":{\"v\":\"z\"}}}");
    ck_assert_uint_eq(state_of(&f, &get), TPC_COMMAND_SUCCEEDED);
    flow_fini(&f);
}
END_TEST

START_TEST(commands_wait_for_the_gateway_and_nobody_else_answers_them)
{
    struct flow f;
    setup(&f);
    struct tpc_id id = command(&f, "deep", "go", "{\"x\":3}");
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 0);
    uint64_t other = flow_session("stranger", 0);
    uint64_t session = flow_session("gw", 0);
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    sent_over_gw(0, session,
                 "{\"sub_gateway_data\":{\"g\":{\"sub_device_data\":{\"1\":{\"method\":\"go\","
                 "\"params\":{\"x\":3}}}}}}");
    answer(&f, other, 0, "{\"result\":0,\"message\":\"success\"}");
    ck_assert_uint_eq(state_of(&f, &id), TPC_COMMAND_SENT);
    answer(&f, session, 0, "{\"result\":0,\"message\":\"success\"}");
    ck_assert_uint_eq(state_of(&f, &id), TPC_COMMAND_SUCCEEDED);
    /* One that speaks for itself is spoken to. */
    uint64_t own = flow_session("s1", 0);
    flow_settle(&f);
    (void) command(&f, "s1", "go", "{\"x\":4}");
    flow_settle(&f);
    ck_assert_str_eq(flow_probe.sent[1].device, "s1");
    ck_assert_uint_eq(flow_probe.sent[1].session, own);
    ck_assert_uint_eq(flow_probe.sent[1].flags, 0);
    ck_assert_str_eq(flow_probe.sent[1].payload, "{\"method\":\"go\",\"params\":{\"x\":4}}");
    flow_fini(&f);
}
END_TEST

/* ---- alink ---- */

static const char alink[] =
    TPC_JSON({
    "key" : "al",
    "codec" : "alink",
    "model" : {
        "properties" : [ { "id" : "t", "type" : "double" } ],
        "events" : [ { "id" : "alarm", "output" : [ { "id" : "level", "type" : "int" } ] } ],
        "services" : [ { "id" : "go" } ]
    }
});

START_TEST(an_alink_pack_reaches_its_devices_and_commands_go_back_over_the_gateway)
{
    struct flow f;
    setup(&f);
    put(&f, "product", alink);
    put(&f, "device", "{\"key\":\"ag\",\"product\":\"al\"}");
    put(&f, "device", "{\"key\":\"a1\",\"product\":\"al\",\"gateway\":\"ag\"}");
    put(&f, "device", "{\"key\":\"a2\",\"product\":\"al\"}");
    uint64_t session = flow_session("ag", 0);
    struct tpc_frame frame =
        frame_of(TPC_MSG_UNKNOWN, "", "",
                 "{\"requestId\":\"9\",\"method\":\"thing.event.property.pack.post\",\"params\":{"
                 "\"subDevices\":[{\"identity\":{\"productKey\":\"al\",\"deviceName\":\"a2\"},"
                 "\"properties\":{\"t\":5}},{\"identity\":{\"productKey\":\"al\",\"deviceName\":"
                 "\"a1\"},\"events\":{\"alarm\":{\"value\":{\"level\":1}}},\"properties\":{\"T\":7}"
                 "}]}}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 1));
    flow_settle(&f);
    ck_assert_double_eq(flow_latest(&f, "a1", "t"), 7);
    ck_assert_double_eq(flow_latest(&f, "a2", "t"), -1e9); /* not behind it */
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_parts_unknown_total"), 1);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 2);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    ck_assert_str_eq(flow_probe.sent[0].device, "ag");
    ck_assert_str_eq(
        flow_probe.sent[0].payload,
        "{\"requestId\":\"9\",\"method\":\"thing.event.property.pack.post\",\"code\":0,"
        "\"msg\":\"\"}");
    (void) command(&f, "a1", "go", "");
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 2);
    ck_assert_str_eq(flow_probe.sent[1].device, "a1"); /* its own topic */
    ck_assert_uint_eq(flow_probe.sent[1].session, session);
    flow_fini(&f);
}
END_TEST

/* ---- presence, requests ---- */

static int is_online(struct flow *f, const char *key)
{
    struct tpc_device_info info;
    struct tpc_device *d = flow_device(f, key);
    tk_ok(tpc_device_info(d, &info));
    tpc_device_unref(d);
    return (int) info.online;
}

/* What the gateway "ag" asks for; the answer. */
static const char *ask(struct flow *f, uint64_t session, const char *method, const char *params)
{
    char text[700];
    unsigned int n = flow_probe.sent_count;
    snprintf(text, sizeof(text), "{\"requestId\":\"q%u\",\"method\":\"%s\",\"params\":%s}", n,
             method, params);
    struct tpc_frame frame = frame_of(TPC_MSG_UNKNOWN, "", "", text);
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 0));
    flow_settle(f);
    ck_assert_uint_eq(flow_probe.sent_count, n + 1);
    ck_assert_str_eq(flow_probe.sent[n].device, "ag");
    char *data = strstr(flow_probe.sent[n].payload, "\"data\":");
    return data != NULL ? data : flow_probe.sent[n].payload;
}

static bool is_behind(struct flow *f, const char *gateway, const char *key)
{
    struct tpc_device *found, *g = flow_device(f, gateway);
    int rc = tpc_topology_find(g, tpc_str_from(key), &found);
    if (rc == 0) {
        tpc_device_unref(found);
    }
    tpc_device_unref(g);
    return rc == 0;
}

/* User name and password are the vectors of the contract (iot-module 3). */
#define DEV01 "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\""
#define NONE "\"data\":[],\"code\":0,\"msg\":\"\"}"

START_TEST(an_alink_gateway_adds_lists_and_deletes_its_devices)
{
    static const char add[] =
        "{\"subDevices\":[{\"clientId\":\"x\",\"username\":\"dev01&pk01\",\"password\":"
        "\"%s\"}]}";
    static const char right[] = "5d4e1f404486b778af7b85414fdd14c9566566f6cd23fb2758bce85e82477460";
    char text[300];
    struct flow f;
    setup(&f);
    put(&f, "product", alink);
    put(&f, "product",
        "{\"key\":\"pk01\",\"codec\":\"alink\",\"type\":\"sub\",\"model\":{"
        "\"properties\":[{\"id\":\"t\",\"type\":\"int\"}]}}");
    put(&f, "device", "{\"key\":\"ag\",\"product\":\"al\"}");
    put(&f, "device",
        "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":"
        "\"0123456789abcdef0123456789abcdef\"}");
    uint64_t session = flow_session("ag", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    ck_assert_str_eq(ask(&f, session, "thing.topo.get", "{}"),
                     "\"data\":{\"subDevices\":[]},\"code\":0,\"msg\":\"\"}");
    snprintf(text, sizeof(text), add, "00");
    ck_assert_str_eq(ask(&f, session, "thing.topo.add", text), NONE);
    ck_assert(!is_behind(&f, "ag", "dev01"));
    snprintf(text, sizeof(text), add, right);
    ck_assert_str_eq(ask(&f, session, "thing.topo.add", text),
                     "\"data\":[" DEV01 "}],\"code\":0,\"msg\":\"\"}");
    ck_assert(is_behind(&f, "ag", "dev01"));
    ck_assert_str_eq(ask(&f, session, "thing.topo.get", "{}"),
                     "\"data\":{\"subDevices\":[" DEV01 "}]},\"code\":0,\"msg\":\"\"}");
    struct tpc_frame frame =
        frame_of(TPC_MSG_UNKNOWN, "", "",
                 "{\"method\":\"thing.event.property.pack.post\",\"params\":{\"subDevices\":[{"
                 "\"identity\":" DEV01 "},\"properties\":{\"t\":5}}]}}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 0));
    flow_settle(&f);
    ck_assert_int_eq(is_online(&f, "dev01"), 1);
    /* Not its own, of another product; then its own, which goes offline. */
    ck_assert_str_eq(ask(&f, session, "thing.topo.delete",
                         "{\"subDevices\":[{\"productKey\":\"panel\",\"deviceName\":\"s1\"},{"
                         "\"productKey\":\"al\",\"deviceName\":\"dev01\"}]}"),
                     NONE);
    ck_assert_str_eq(ask(&f, session, "thing.topo.delete", "{\"subDevices\":[" DEV01 "}]}"),
                     "\"data\":[" DEV01 "}],\"code\":0,\"msg\":\"\"}");
    ck_assert(!is_behind(&f, "ag", "dev01"));
    ck_assert(is_behind(&f, "gw", "1"));
    ck_assert_int_eq(is_online(&f, "dev01"), 0);
    ck_assert_str_eq(ask(&f, session, "thing.topo.delete", "{\"subDevices\":[" DEV01 "}]}"), NONE);
    /* Nothing of a request is logged. */
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_messages_total"), 1);
    flow_fini(&f);
}
END_TEST

START_TEST(an_alink_gateway_is_told_what_others_change)
{
    struct flow f;
    setup(&f);
    put(&f, "product", alink);
    put(&f, "device", "{\"key\":\"ag\",\"product\":\"al\"}");
    put(&f, "device", "{\"key\":\"a1\",\"product\":\"al\"}");
    (void) flow_session("ag", 0);
    flow_settle(&f);
    struct tpc_device *ag = flow_device(&f, "ag"), *a1 = flow_device(&f, "a1");
    struct tpc_device *gw = flow_device(&f, "gw");
    tk_ok(tpc_topology_bind(f.core, NULL, a1, ag, TPC_STR(""), 0));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    ck_assert_str_eq(flow_probe.sent[0].device, "ag");
    ck_assert_ptr_nonnull(strstr(flow_probe.sent[0].payload,
                                 "\"method\":\"thing.topo.change\",\"params\":{\"status\":0,"
                                 "\"subList\":[{\"productKey\":\"al\",\"deviceName\":\"a1\"}]}}"));
    tk_ok(tpc_topology_bind(f.core, NULL, a1, gw, TPC_STR("9"), TPC_BIND_MOVE));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 2); /* a ThingsPanel gateway has no such message */
    ck_assert_ptr_nonnull(strstr(flow_probe.sent[1].payload, "\"params\":{\"status\":1,"));
    tk_ok(tpc_topology_unbind(f.core, NULL, a1));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 2);
    tpc_device_unref(ag);
    tpc_device_unref(a1);
    tpc_device_unref(gw);
    flow_fini(&f);
}
END_TEST

START_TEST(an_alink_gateway_registers_devices_that_are_there_and_free)
{
    struct flow f;
    setup(&f);
    put(&f, "product", alink);
    put(&f, "product", "{\"key\":\"pk01\",\"codec\":\"alink\",\"type\":\"sub\",\"model\":{}}");
    put(&f, "device", "{\"key\":\"ag\",\"product\":\"al\"}");
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"s3cret\"}");
    put(&f, "device",
        "{\"key\":\"dev02\",\"product\":\"pk01\",\"secret\":\"x\",\"gateway\":\"gw\"}");
    put(&f, "device", "{\"key\":\"dev03\",\"product\":\"al\",\"secret\":\"x\"}");
    uint64_t session = flow_session("ag", 0);
    flow_settle(&f);
    ck_assert_str_eq(
        ask(&f, session, "thing.auth.register.sub",
            "[{\"productKey\":\"pk01\",\"deviceName\":\"dev02\"}," DEV01
            "},{\"productKey\":\"al\",\"deviceName\":\"dev03\"},{\"productKey\":\"pk01\","
            "\"deviceName\":\"new\"},5]"),
        "\"data\":[" DEV01 ",\"deviceSecret\":\"s3cret\"}],\"code\":0,\"msg\":\"\"}");
    ck_assert(is_behind(&f, "ag", "dev01"));
    ck_assert(!is_behind(&f, "ag", "dev02"));
    ck_assert_str_eq(ask(&f, session, "thing.auth.register.sub", "{}"), NONE);
    flow_fini(&f);
}
END_TEST

START_TEST(devices_behind_a_gateway_go_offline_with_it)
{
    struct flow f;
    setup(&f);
    uint64_t session = flow_session("gw", TPC_SESSION_PRESENCE);
    uint64_t own = flow_session("s2", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    ck_assert_int_eq(is_online(&f, "gw"), 1);
    ck_assert_int_eq(is_online(&f, "s1"), 0); /* nothing was heard of it */
    telemetry(&f,
              "{\"sub_device_data\":{\"1\":{\"t\":1},\"2\":{\"t\":1}},\"sub_gateway_data\":{\"g\":"
              "{\"sub_device_data\":{\"1\":{\"t\":6}}}}}");
    ck_assert_int_eq(is_online(&f, "s1"), 1);
    ck_assert_int_eq(is_online(&f, "sg"), 0); /* only what was behind it */
    ck_assert_int_eq(is_online(&f, "deep"), 1);
    flow_probe.host->session_close(flow_probe.ctx, session);
    flow_settle(&f);
    ck_assert_int_eq(is_online(&f, "gw"), 0);
    ck_assert_int_eq(is_online(&f, "s1"), 0);
    ck_assert_int_eq(is_online(&f, "deep"), 0);
    ck_assert_int_eq(is_online(&f, "s2"), 1); /* has a connection of its own */
    flow_probe.host->session_close(flow_probe.ctx, own);
    flow_settle(&f);
    ck_assert_int_eq(is_online(&f, "s2"), 0);
    /* The same by the word of a broker. */
    say(&f, "gw", TPC_MSG_PRESENCE, "devices/status/gw", "", "1");
    telemetry(&f, "{\"sub_device_data\":{\"1\":{\"t\":2}}}");
    ck_assert_int_eq(is_online(&f, "s1"), 1);
    say(&f, "gw", TPC_MSG_PRESENCE, "devices/status/gw", "", "0");
    ck_assert_int_eq(is_online(&f, "s1"), 0);
    flow_fini(&f);
}
END_TEST

/* ---- devices that are not there ---- */

START_TEST(a_report_makes_devices_as_the_policy_says)
{
    static const char *const policies[] = { "off", "product", "on" };
    char json[400];
    for (int i = 0; i < 3; i++) {
        struct flow f;
        setup(&f);
        snprintf(json, sizeof(json),
                 "{\"key\":\"gp\",\"codec\":\"thingspanel\",\"type\":\"gateway\",\"model\":{},"
                 "\"auto_subs\":\"%s\",\"sub_product\":\"panel\"}",
                 policies[i]);
        put(&f, "product", json);
        snprintf(json, sizeof(json),
                 "{\"key\":\"ap\",\"codec\":\"alink\",\"model\":{},\"auto_subs\":\"%s\"}",
                 policies[i]);
        put(&f, "product", json);
        put(&f, "product",
            "{\"key\":\"meter\",\"type\":\"sub\",\"auto_register\":true,\"model\":{"
            "\"properties\":[{\"id\":\"t\",\"type\":\"int\"}]}}");
        put(&f, "device", "{\"key\":\"g2\",\"product\":\"gp\"}");
        put(&f, "device", "{\"key\":\"a3\",\"product\":\"ap\"}");
        for (int twice = 0; twice < 2; twice++) {
            say(&f, "g2", TPC_MSG_TELEMETRY, "gateway/telemetry", "",
                twice ? "{\"sub_device_data\":{\"5\":{\"t\":8}}}"
                      : "{\"sub_device_data\":{\"5\":{\"t\":7}}}");
            /* One that is somewhere else already, and one of a product that is open. */
            say(&f, "a3", TPC_MSG_UNKNOWN, "", "",
                "{\"method\":\"thing.event.property.pack.post\",\"params\":{\"subDevices\":["
                "{\"identity\":{\"productKey\":\"panel\",\"deviceName\":\"s1\"},\"properties\":{"
                "\"t\":1}},{\"identity\":{\"productKey\":\"meter\",\"deviceName\":\"m1\"},"
                "\"properties\":{\"t\":9}}]}}");
        }
        bool made = is_behind(&f, "g2", "5");
        ck_assert_int_eq(made, i == 2);
        ck_assert_int_eq(is_behind(&f, "a3", "m1"), i >= 1);
        ck_assert(is_behind(&f, "gw", "1"));
        ck_assert(!is_behind(&f, "a3", "s1"));
        ck_assert_double_eq(flow_metric(&f, "tpc_core_subs_created_total"), i);
        if (made) {
            ck_assert_double_eq(flow_latest(&f, "g2-5", "t"), 8);
        }
        if (i >= 1) {
            ck_assert_double_eq(flow_latest(&f, "m1", "t"), 9);
        }
        flow_fini(&f);
    }
}
END_TEST

/* ---- several workers ---- */

static bool all_settled(void *user)
{
    return flow_probe.settled_count >= *(unsigned int *) user;
}

static void put_many(struct flow *f)
{
    char key[16];
    put(f, "product", panel);
    put(f, "device", "{\"key\":\"gw\",\"product\":\"panel\"}");
    for (int i = 0; i < SUBS; i++) { /* devices that stood alone: any partition */
        struct tpc_device *gw = flow_device(f, "gw");
        char json[64];
        snprintf(key, sizeof(key), "s%d", i);
        snprintf(json, sizeof(json), "{\"key\":\"%s\",\"product\":\"panel\"}", key);
        put(f, "device", json);
        struct tpc_device *d = flow_device(f, key);
        tk_ok(tpc_topology_bind(f->core, NULL, d, gw, tpc_str_from(key + 1), 0));
        tpc_device_unref(d);
        tpc_device_unref(gw);
    }
}

START_TEST(parts_reach_devices_of_other_workers_before_the_ticket_settles)
{
    struct flow f;
    char text[2000], key[8];
    unsigned int messages = 50;
    flow_init(&f, 3);
    flow_create(&f);
    flow_probe_open(&f);
    put_many(&f);
    flow_start(&f);
    uint64_t session = flow_session("gw", 0);
    for (unsigned int k = 1; k <= messages; k++) {
        size_t n = (size_t) snprintf(text, sizeof(text), "{\"sub_device_data\":{");
        for (int i = 0; i < SUBS; i++) {
            n += (size_t) snprintf(text + n, sizeof(text) - n, "%s\"%d\":{\"t\":%d,\"u\":%u}",
                                   i > 0 ? "," : "", i, 100 * i, k);
        }
        snprintf(text + n, sizeof(text) - n, "}}");
        struct tpc_frame frame = frame_of(TPC_MSG_TELEMETRY, "gateway/telemetry", "", text);
        tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, k));
    }
    ck_assert(flow_until(&f, all_settled, &messages));
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_total"), 2.0 * SUBS * messages);
    for (int i = 0; i < SUBS; i++) {
        snprintf(key, sizeof(key), "s%d", i);
        ck_assert_double_eq(flow_latest(&f, key, "t"), 100 * i);
        ck_assert_double_eq(flow_latest(&f, key, "u"), messages);
    }
    for (unsigned int k = 0; k < messages; k++) {
        ck_assert_int_eq(flow_probe.errors[k], 0);
    }
    ck_assert_double_gt(flow_metric(&f, "tpc_uplink_parts_handed_total"), 0);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_parts_lost_total"), 0);
    ck_assert_uint_eq(flow_probe.settled_count, messages);
    flow_fini(&f);
}
END_TEST

static bool none_online(void *user)
{
    struct tpc_presence_counts c;
    struct flow *f = user;
    tk_ok(tpc_presence_count(f->core, TPC_STR(""), TPC_STR("panel"), &c));
    return c.online == 0;
}

static bool all_online(void *user)
{
    struct tpc_presence_counts c;
    struct flow *f = user;
    tk_ok(tpc_presence_count(f->core, TPC_STR(""), TPC_STR("panel"), &c));
    return c.online == SUBS + 1;
}

START_TEST(devices_of_other_workers_go_offline_with_their_gateway)
{
    struct flow f;
    char text[1000];
    flow_init(&f, 3);
    flow_create(&f);
    flow_probe_open(&f);
    put_many(&f);
    flow_start(&f);
    uint64_t session = flow_session("gw", TPC_SESSION_PRESENCE);
    size_t n = (size_t) snprintf(text, sizeof(text), "{\"sub_device_data\":{");
    for (int i = 0; i < SUBS; i++) {
        n += (size_t) snprintf(text + n, sizeof(text) - n, "%s\"%d\":{\"t\":1}", i > 0 ? "," : "",
                               i);
    }
    snprintf(text + n, sizeof(text) - n, "}}");
    struct tpc_frame frame = frame_of(TPC_MSG_TELEMETRY, "gateway/telemetry", "", text);
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 1));
    ck_assert(flow_until(&f, all_online, &f));
    flow_probe.host->session_close(flow_probe.ctx, session);
    ck_assert(flow_until(&f, none_online, &f));
    flow_fini(&f);
}
END_TEST

struct closed {
    struct flow *f;
    struct tpc_id ids[SUBS];
};

static bool all_sent(void *user)
{
    return flow_probe.sent_count >= *(unsigned int *) user;
}

static bool all_closed(void *user)
{
    struct closed *c = user;
    return flow_metric(c->f, "tpc_downlink_succeeded_total") == SUBS;
}

START_TEST(commands_of_other_workers_wait_for_the_gateway_and_are_answered)
{
    struct flow f;
    struct closed c = { .f = &f };
    unsigned int all = SUBS;
    char key[8];
    flow_init(&f, 3);
    flow_create(&f);
    flow_probe_open(&f);
    put_many(&f);
    flow_start(&f);
    for (int i = 0; i < SUBS; i++) {
        snprintf(key, sizeof(key), "s%d", i);
        c.ids[i] = command(&f, key, "go", "{\"x\":1}");
    }
    uint64_t session = flow_session("gw", 0);
    ck_assert(flow_until(&f, all_sent, &all));
    for (unsigned int i = 0; i < SUBS; i++) {
        ck_assert_str_eq(flow_probe.sent[i].device, "gw");
        struct tpc_frame frame = frame_of(TPC_MSG_REPLY, "gateway/command/response/x",
                                          flow_probe.sent[i].correlation, "{\"result\":0}");
        tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 0));
    }
    ck_assert(flow_until(&f, all_closed, &c));
    ck_assert_uint_eq(flow_probe.sent_count, SUBS);
    flow_fini(&f);
}
END_TEST

Suite *gateway_flow_suite(void)
{
    Suite *s = suite_create("gateway");
    TCase *tc = tcase_create("gateway");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, each_part_is_a_message_of_its_own_device);
    tcase_add_test(tc, unknown_addresses_are_passed_over_and_told);
    tcase_add_test(tc, a_bad_part_leaves_the_others);
    tcase_add_test(tc, a_report_with_an_id_is_answered_once_and_to_the_gateway);
    tcase_add_test(tc, commands_take_the_way_over_the_top_gateway);
    tcase_add_test(tc, commands_wait_for_the_gateway_and_nobody_else_answers_them);
    tcase_add_test(tc, commands_of_other_workers_wait_for_the_gateway_and_are_answered);
    tcase_add_test(tc, an_alink_pack_reaches_its_devices_and_commands_go_back_over_the_gateway);
    tcase_add_test(tc, an_alink_gateway_adds_lists_and_deletes_its_devices);
    tcase_add_test(tc, an_alink_gateway_is_told_what_others_change);
    tcase_add_test(tc, an_alink_gateway_registers_devices_that_are_there_and_free);
    tcase_add_test(tc, a_report_makes_devices_as_the_policy_says);
    tcase_add_test(tc, devices_behind_a_gateway_go_offline_with_it);
    tcase_add_test(tc, devices_of_other_workers_go_offline_with_their_gateway);
    tcase_add_test(tc, parts_reach_devices_of_other_workers_before_the_ticket_settles);
    suite_add_tcase(s, tc);
    return s;
}
