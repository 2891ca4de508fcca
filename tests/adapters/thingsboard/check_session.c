/* The session against a server that answers, fails and refuses. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/modules.h>

#include "bench.h"
#include "sink_suite.h"
#include "tb_suites.h"

static struct bench b;

static struct tb_stub_counts counts(void)
{
    struct tb_stub_counts c;
    tb_stub_counts(b.stub, &c);
    return c;
}

static struct samples_total total(void)
{
    struct samples_total t;
    tb_stub_total(b.stub, &t);
    return t;
}

START_TEST(batch_arrives_after_each_device_was_connected_with_its_type)
{
    char type[32];
    bench_begin(&b, "", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 100, 5));
    ck_assert(tb_stub_wait_samples(b.stub, 100, BENCH_WAIT_MS));
    ck_assert_uint_eq(total().lost, 0);
    ck_assert_uint_eq(total().doubled, 0);
    tb_stub_type(b.stub, "d3", type, sizeof(type));
    ck_assert_str_eq(type, "meter");
    ck_assert_uint_eq(counts().version, 5);
    ck_assert_uint_eq(counts().limits_asked, 1);
    ck_assert_uint_eq(fake_sink_metric(&b.h, "delivered"), 100);
    /* Two for the questions of the session, five to connect, one with all the telemetry. */
    ck_assert_uint_le(counts().publishes, 8);
    bench_end(&b);
}
END_TEST

START_TEST(devices_are_connected_again_on_a_new_connection)
{
    bench_begin(&b, "", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 10, 2));
    uint64_t mark = tb_stub_mark(b.stub);
    tb_stub_drop(b.stub);
    bench_hears(&b, mark, "v1/gateway/connect", "\"d0\"");
    bench_hears(&b, mark, "v1/gateway/connect", "\"d1\"");
    bench_deliver(&b, bench_batch(&b, 10, 10, 2));
    ck_assert(tb_stub_wait_samples(b.stub, 20, BENCH_WAIT_MS));
    ck_assert_uint_eq(total().doubled, 0);
    bench_end(&b);
}
END_TEST

START_TEST(attributes_name_the_connector_of_a_device_once)
{
    char heard[64];
    bench_begin(&b, ",\"connectors\":[{\"adapter\":\"bus\",\"type\":\"modbus\",\"name\":\"M1\"}]",
                "{}");
    bench_batch(&b, 0, 3, 3);
    b.msgs[2].origin = TPC_STR("other");
    bench_deliver(&b, &b.batch);
    ck_assert_str_eq(bench_heard(&b, 0, "v1/gateway/attributes", "\"d0\""),
                     "v1/gateway/attributes {\"d0\":{\"connectorType\":\"modbus\","
                     "\"connectorName\":\"M1\"}}");
    bench_hears(&b, 0, "v1/gateway/attributes", "\"d1\"");
    uint64_t mark = tb_stub_mark(b.stub);
    tb_stub_drop(b.stub);
    bench_batch(&b, 3, 3, 3);
    b.msgs[2].origin = TPC_STR("other");
    bench_deliver(&b, &b.batch);
    bench_hears(&b, mark, "v1/gateway/telemetry", "\"d2\"");
    ck_assert(!tb_stub_wait(b.stub, mark, "v1/gateway/attributes", "connectorType", 1, heard,
                            sizeof(heard)));
    ck_assert(!tb_stub_wait(b.stub, 0, "v1/gateway/attributes", "\"d2\"", 1, heard, sizeof(heard)));
    bench_end(&b);
}
END_TEST

START_TEST(device_that_goes_offline_is_disconnected)
{
    struct tpc_value no = { .type = TPC_BOOL, .as.b = false };
    struct tpc_member member = { TPC_STR_INIT("online"), no };
    bench_begin(&b, "", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 1, 1));
    uint64_t mark = tb_stub_mark(b.stub);
    bench_batch(&b, 1, 1, 1);
    b.msgs[0].kind = TPC_MSG_PRESENCE;
    b.msgs[0].point_count = 0;
    b.msgs[0].params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &member };
    bench_deliver(&b, &b.batch);
    bench_hears(&b, mark, "v1/gateway/disconnect", "\"d0\"");
    mark = tb_stub_mark(b.stub);
    bench_deliver(&b, bench_batch(&b, 2, 1, 1));
    bench_hears(&b, mark, "v1/gateway/connect", "\"d0\"");
    bench_end(&b);
}
END_TEST

START_TEST(without_an_answer_about_limits_data_go_after_a_while)
{
    b.stub = tb_stub_create();
    tb_stub_limits(b.stub, NULL);
    bench_begin(&b, ",\"limits_wait\":\"200ms\"", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 10, 2));
    ck_assert(tb_stub_wait_samples(b.stub, 10, BENCH_WAIT_MS));
    bench_end(&b);
}
END_TEST

START_TEST(limits_of_the_server_are_kept)
{
    b.stub = tb_stub_create();
    tb_stub_limits(b.stub, "{\"maxPayloadSize\":1000,\"maxInflightMessages\":5,\"rateLimits\":{"
                           "\"messages\":\"50:1\",\"telemetryMessages\":\"\","
                           "\"telemetryDataPoints\":\"100:1\"}}");
    bench_begin(&b, "", "{}");
    tb_stub_puback_delay(b.stub, 20);
    bench_deliver(&b, bench_batch(&b, 0, 120, 1));
    ck_assert(tb_stub_wait_samples(b.stub, 120, BENCH_WAIT_MS));
    ck_assert_uint_le(counts().largest, 800);
    ck_assert_uint_le(counts().in_flight, 5); /* four, and a question of the session's own */
    tb_stub_puback_delay(b.stub, 0);
    tb_stub_limits(b.stub, NULL); /* on the next connection it says nothing: what it said holds */
    tb_stub_drop(b.stub);
    bench_deliver(&b, bench_batch(&b, 120, 60, 1));
    ck_assert(tb_stub_wait_samples(b.stub, 180, BENCH_WAIT_MS));
    ck_assert_uint_le(counts().largest, 800);
    bench_end(&b);
}
END_TEST

START_TEST(payload_over_the_broker_s_packet_is_not_sent)
{
    b.stub = tb_stub_create();
    tb_stub_limits(b.stub, NULL);
    tb_stub_maxima(b.stub, 2, 1000);
    bench_begin(&b, ",\"limits_wait\":0", "{}");
    tb_stub_puback_delay(b.stub, 5);
    bench_deliver(&b, bench_batch(&b, 0, 200, 1));
    ck_assert(tb_stub_wait_samples(b.stub, 200, BENCH_WAIT_MS));
    ck_assert_uint_le(counts().largest, 1000);
    bench_end(&b);
}
END_TEST

START_TEST(server_without_mqtt_5_is_spoken_to_in_3)
{
    b.stub = tb_stub_create();
    tb_stub_only_v3(b.stub, true);
    bench_begin(&b, "", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 10, 2));
    ck_assert(tb_stub_wait_samples(b.stub, 10, BENCH_WAIT_MS));
    ck_assert_uint_eq(counts().version, 4);
    tb_stub_drop(b.stub);
    bench_deliver(&b, bench_batch(&b, 10, 10, 2));
    ck_assert(tb_stub_wait_samples(b.stub, 20, BENCH_WAIT_MS));
    ck_assert_uint_eq(counts().refused, 1); /* it is remembered */
    bench_end(&b);
}
END_TEST

START_TEST(one_message_that_is_refused_is_found_and_the_rest_arrives_once)
{
    bench_begin(&b, "", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 1, 1));
    bench_batch(&b, 1, 64, 1);
    b.points[40].key = TPC_STR("poison");
    tb_stub_refuse(b.stub, "poison", 0x99, 0);
    ck_assert_uint_eq(bench_deliver_or_bury(&b, &b.batch), 1);
    ck_assert(tb_stub_wait_samples(b.stub, 64, BENCH_WAIT_MS));
    ck_assert_uint_eq(total().doubled, 0);
    bench_end(&b);
}
END_TEST

START_TEST(over_mqtt_3_a_closed_connection_is_found_out_to_be_a_refusal)
{
    b.stub = tb_stub_create();
    tb_stub_only_v3(b.stub, true);
    bench_begin(&b, "", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 1, 1));
    bench_batch(&b, 1, 1, 1);
    b.points[0].key = TPC_STR("poison");
    tb_stub_refuse(b.stub, "poison", 0x99, 0);
    ck_assert_uint_eq(bench_deliver_or_bury(&b, &b.batch), 1);
    bench_deliver(&b, bench_batch(&b, 2, 5, 1));
    bench_end(&b);
}
END_TEST

/* The bad one goes first: the other one meets a connection that is about to end. */
START_TEST(over_mqtt_3_a_refusal_is_found_while_others_are_delivered)
{
    const int bad = 0;
    int code = TPC_EOFFLINE;
    b.stub = tb_stub_create();
    tb_stub_only_v3(b.stub, true);
    bench_begin(&b, "", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 1, 1));
    bench_batch(&b, 1, 2, 2);
    b.points[bad].key = TPC_STR("poison");
    tb_stub_refuse(b.stub, "poison", 0x99, 0);
    for (int round = 1; tpc_error_class(code) != TPC_CLASS_FIX; round++) {
        struct tpc_batch batches[2] = { b.batch, b.batch };
        ck_assert_int_lt(round, 16);
        b.h.sent_count = 0;
        b.msgs[1 - bad].id.b[12] = (uint8_t) round; /* there is always another good one */
        for (int i = 0; i < 2; i++) {
            batches[i].msgs = &b.msgs[i];
            batches[i].count = 1;
            tk_ok(b.h.ops->send(b.h.self, b.target, &batches[i], (uint64_t) (100 + i)));
        }
        ck_assert(fake_sink_wait(&b.h, 2));
        for (int i = 0; i < 2; i++) {
            int end = b.h.sent[i].err.code;
            if (b.h.sent[i].ticket == (uint64_t) (100 + bad)) {
                ck_assert_int_ne(end, 0);
                code = end;
            } else {
                ck_assert_int_ne(tpc_error_class(end), TPC_CLASS_FIX);
            }
        }
    }
    bench_end(&b);
}
END_TEST

START_TEST(quota_is_a_reason_to_wait_not_to_give_up)
{
    b.stub = tb_stub_create();
    tb_stub_limits(b.stub, "{\"maxPayloadSize\":65536,\"rateLimits\":{\"messages\":\"100:1\"}}");
    bench_begin(&b, "", "{}");
    tb_stub_refuse(b.stub, "seq", 0x97, 2);
    bench_deliver(&b, bench_batch(&b, 0, 10, 1));
    ck_assert(tb_stub_wait_samples(b.stub, 10, BENCH_WAIT_MS));
    ck_assert_uint_ge(fake_sink_metric(&b.h, "slowed_down"), 1);
    bench_end(&b);
}
END_TEST

START_TEST(connections_that_are_cut_lose_nothing)
{
    bench_begin(&b, ",\"payload_max\":500", "{}");
    tb_stub_drop_every(b.stub, 17);
    bench_deliver(&b, bench_batch(&b, 0, 100, 5));
    tb_stub_drop_every(b.stub, 0);
    bench_deliver(&b, bench_batch(&b, 100, 100, 5));
    ck_assert(tb_stub_wait_samples(b.stub, 200, BENCH_WAIT_MS));
    ck_assert_uint_eq(total().lost, 0);
    bench_end(&b);
}
END_TEST

START_TEST(batch_waits_for_a_server_that_is_away_and_then_goes_back)
{
    b.stub = tb_stub_create();
    tb_stub_away(b.stub, true);
    bench_begin(&b, ",\"hold\":\"50ms\"", "{}");
    ck_assert_int_eq(fake_sink_whole(&b.h, b.target, bench_batch(&b, 0, 5, 1)), TPC_EOFFLINE);
    tb_stub_away(b.stub, false);
    bench_deliver(&b, &b.batch);
    bench_end(&b);
}
END_TEST

START_TEST(stop_ends_what_a_silent_server_has_not_acknowledged)
{
    bench_begin(&b, "", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 5, 1));
    tb_stub_stall(b.stub, true);
    b.h.sent_count = 0;
    tk_ok(b.h.ops->send(b.h.self, b.target, bench_batch(&b, 5, 5, 1), 77));
    fake_sink_stop(&b.h);
    ck_assert_uint_eq(b.h.sent_count, 1);
    ck_assert_int_eq(b.h.sent[0].err.code, TPC_ECANCELED);
    tb_stub_stall(b.stub, false);
    bench_end(&b);
}
END_TEST

START_TEST(own_device_statistics_and_firmware_go_to_the_gateway_s_own_topics)
{
    b.stub = tb_stub_create();
    bench_begin(&b,
                ",\"own_device\":\"d0\",\"stats_period\":\"100ms\","
                "\"firmware\":{\"title\":\"gw\",\"version\":\"1\"}",
                "{}");
    uint64_t mark = 0;
    bench_hears(&b, mark, "v1/devices/me/telemetry", "\"current_fw_version\":\"1\"");
    bench_hears(&b, mark, "v1/devices/me/attributes/request/*", "fw_version");
    bench_deliver(&b, bench_batch(&b, 0, 4, 2));
    bench_hears(&b, mark, "v1/devices/me/telemetry", "\"seq\":0");
    bench_hears(&b, mark, "v1/gateway/telemetry", "\"d1\"");
    bench_hears(&b, mark, "v1/devices/me/telemetry", "platformTsProduced");
    tb_stub_publish(b.stub, "v1/devices/me/attributes",
                    "{\"fw_title\":\"gw\",\"fw_version\":\"2\"}");
    bench_hears(&b, mark, "v1/devices/me/telemetry", "\"fw_state\":\"FAILED\"");
    tb_stub_publish(b.stub, "v1/devices/me/attributes",
                    "{\"fw_title\":\"gw\",\"fw_version\":\"1\"}");
    bench_hears(&b, mark, "v1/devices/me/telemetry", "\"fw_state\":\"UPDATED\"");
    ck_assert_uint_eq(fake_sink_metric(&b.h, "firmware_notices"), 1);
    bench_end(&b);
}
END_TEST

START_TEST(basic_credentials_are_user_password_and_client_id)
{
    b.stub = tb_stub_create();
    tb_stub_credentials(b.stub, "gate", "secret");
    bench_begin(&b, ",\"user\":\"gate\",\"password\":\"secret\",\"client_id\":\"id\"", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 5, 1));
    bench_again(&b, ",\"user\":\"gate\",\"password\":\"other\",\"hold\":\"50ms\"", "{}");
    ck_assert_int_eq(fake_sink_whole(&b.h, b.target, bench_batch(&b, 5, 5, 1)), TPC_EOFFLINE);
    for (int i = 0; i < BENCH_WAIT_MS / 10 && counts().refused == 0; i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_uint_ge(counts().refused, 1);
    ck_assert_uint_eq(counts().connects, 1);
    bench_end(&b);
}
END_TEST

START_TEST(credentials_are_asked_for_once_and_kept)
{
    char more[512];
    const char *dir = tk_tmpdir();
    snprintf(more, sizeof(more),
             ",\"state\":\"%s/tb.json\",\"provision\":{\"key\":\"k\",\"secret\":\"s\"}", dir);
    b.stub = tb_stub_create();
    tb_stub_credentials(b.stub, "provisioned", NULL);
    bench_begin(&b, more, "{}");
    bench_deliver(&b, bench_batch(&b, 0, 5, 1));
    bench_again(&b, more, "{}"); /* with what it has got */
    bench_deliver(&b, bench_batch(&b, 5, 5, 1));
    ck_assert(tb_stub_wait_samples(b.stub, 10, BENCH_WAIT_MS));
    ck_assert_uint_eq(counts().connects, 3); /* one to ask, two as itself */
    uint64_t mark = tb_stub_mark(b.stub);
    tb_stub_publish(b.stub, "v1/devices/me/rpc/request/5",
                    "{\"method\":\"gateway_remove_provisioned_credentials\"}");
    bench_hears(&b, mark, "v1/devices/me/rpc/response/5", "true");
    bench_again(&b, more, "{}");
    bench_hears(&b, mark, "/provision/request", "\"provisionDeviceKey\":\"k\"");
    bench_end(&b);
}
END_TEST

static const struct sink_subject subject = {
    .module = tpc_module_thingsboard,
    .options = "{\"url\":\"mqtt://127.0.0.1:1\",\"token\":\"x\",\"hold\":\"20ms\"}",
    .target = "{}",
    .bad_target = NULL,
};

Suite *session_suite(void)
{
    Suite *s = suite_create("session");
    TCase *c = tcase_create("session");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, batch_arrives_after_each_device_was_connected_with_its_type);
    tcase_add_test(c, devices_are_connected_again_on_a_new_connection);
    tcase_add_test(c, attributes_name_the_connector_of_a_device_once);
    tcase_add_test(c, device_that_goes_offline_is_disconnected);
    tcase_add_test(c, without_an_answer_about_limits_data_go_after_a_while);
    tcase_add_test(c, limits_of_the_server_are_kept);
    tcase_add_test(c, payload_over_the_broker_s_packet_is_not_sent);
    tcase_add_test(c, server_without_mqtt_5_is_spoken_to_in_3);
    tcase_add_test(c, one_message_that_is_refused_is_found_and_the_rest_arrives_once);
    tcase_add_test(c, over_mqtt_3_a_closed_connection_is_found_out_to_be_a_refusal);
    tcase_add_test(c, over_mqtt_3_a_refusal_is_found_while_others_are_delivered);
    tcase_add_test(c, quota_is_a_reason_to_wait_not_to_give_up);
    tcase_add_test(c, connections_that_are_cut_lose_nothing);
    tcase_add_test(c, batch_waits_for_a_server_that_is_away_and_then_goes_back);
    tcase_add_test(c, stop_ends_what_a_silent_server_has_not_acknowledged);
    tcase_add_test(c, own_device_statistics_and_firmware_go_to_the_gateway_s_own_topics);
    tcase_add_test(c, basic_credentials_are_user_password_and_client_id);
    tcase_add_test(c, credentials_are_asked_for_once_and_kept);
    suite_add_tcase(s, c);
    suite_add_tcase(s, sink_suite(&subject));
    return s;
}
