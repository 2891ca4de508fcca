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

Suite *gateway_flow_suite(void)
{
    Suite *s = suite_create("gateway");
    TCase *tc = tcase_create("gateway");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, each_part_is_a_message_of_its_own_device);
    tcase_add_test(tc, unknown_addresses_are_passed_over_and_told);
    tcase_add_test(tc, a_bad_part_leaves_the_others);
    tcase_add_test(tc, a_report_with_an_id_is_answered_once_and_to_the_gateway);
    tcase_add_test(tc, parts_reach_devices_of_other_workers_before_the_ticket_settles);
    suite_add_tcase(s, tc);
    return s;
}
