#include "suites.h"

#include <stdio.h>

static struct tpc_arena *arena;
static struct cs_sink sink;

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    cs_sink_init(&sink, arena);
}

static void teardown(void)
{
    arena = tpc_arena_destroy(arena);
}

static const char *alink(const char *payload)
{
    return cs_decode(&tpi_codec_alink, NULL, NULL, &sink, 0, bytes_of(payload));
}

START_TEST(property_post_becomes_points)
{
    ck_assert_str_eq(alink("{\"requestId\":\"1\",\"method\":\"thing.property.post\",\"params\":{"
                           "\"t\":21,\"h\":4.5}}"),
                     "0:telemetry#ANSWER name=thing.property.post corr=1{t=21,h=4.5}");
    /* Members in any order, others passed over, id where there is no requestId. */
    ck_assert_str_eq(
        alink("{\"params\":{\"t\":1},\"version\":\"1.0\",\"sys\":{\"ack\":0},\"id\":12,"
              "\"method\":\"thing.property.post\"}"),
        "0:telemetry#ANSWER name=thing.property.post corr=12{t=1}");
    ck_assert_str_eq(alink("{\"id\":\"a\",\"requestId\":\"b\",\"method\":\"thing.property.post\","
                           "\"code\":null,\"params\":{}}"),
                     "0:telemetry#ANSWER name=thing.property.post corr=b{}");
}
END_TEST

START_TEST(event_post_keeps_its_own_time)
{
    ck_assert_str_eq(
        alink("{\"requestId\":\"1\",\"method\":\"thing.event.post\",\"params\":"
              "{\"identifier\":\"alarm\",\"value\":{\"l\":3},\"time\":1700000000123}}"),
        "0:event#ANSWER@1700000000123 name=alarm corr=1 params={\"l\":3}{}");
    ck_assert_str_eq(alink("{\"method\":\"thing.event.post\",\"params\":{\"value\":1}}"),
                     "0!TPC_EDECODE");
    ck_assert_str_eq(sink.err.path, "params.identifier");
}
END_TEST

START_TEST(id_stands_in_for_an_empty_request_id)
{
    static const char *const texts[] = { "\"id\":\"7\"", "\"id\":\"7\",\"requestId\":\"\"",
                                         "\"requestId\":\"\",\"id\":7",
                                         "\"id\":\"8\",\"requestId\":\"7\"" };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[160];
        snprintf(text, sizeof(text), "{%s,\"method\":\"thing.property.post\",\"params\":{\"t\":1}}",
                 texts[i]);
        ck_assert_str_eq(alink(text), "0:telemetry#ANSWER name=thing.property.post corr=7{t=1}");
    }
}
END_TEST

/* As the contract writes it (iot-module 5). */
START_TEST(pack_of_a_gateway_is_split_by_identity)
{
    ck_assert_str_eq(
        alink("{\"requestId\":\"9\",\"method\":\"thing.event.property.pack.post\",\"params\":{"
              "\"properties\":{\"t\":1},\"subDevices\":[{\"identity\":{\"productKey\":\"pk\","
              "\"deviceName\":\"d1\"},\"properties\":{\"a\":2},\"events\":{\"e\":{\"value\":3,"
              "\"time\":7}}},{\"identity\":{\"productKey\":\"pk\",\"deviceName\":\"?\"},"
              "\"properties\":{\"a\":4}}]}}"),
        "0:telemetry#ANSWER name=thing.event.property.pack.post corr=9{t=1} >pk.d1 "
        "0:telemetry#ANSWER name=thing.event.property.pack.post corr=9{a=2} "
        "0:event#ANSWER@7 name=e corr=9 params=3{} < >pk.?");
}
END_TEST

START_TEST(pack_is_split_and_answered_once)
{
    ck_assert_str_eq(alink("{\"requestId\":\"9\",\"method\":\"thing.event.property.pack.post\","
                           "\"params\":{\"properties\":{\"t\":1},\"events\":{\"a\":{\"value\":2,"
                           "\"time\":5},\"b\":{\"value\":3}},\"subDevices\":[]}}"),
                     "0:telemetry#ANSWER name=thing.event.property.pack.post corr=9{t=1} "
                     "0:event@5 name=a corr=9 params=2{} 0:event name=b corr=9 params=3{}");
    ck_assert_str_eq(alink("{\"requestId\":\"9\",\"method\":\"thing.event.property.pack.post\","
                           "\"params\":{\"events\":{\"a\":{\"value\":2},\"b\":{\"value\":3}}}}"),
                     "0:event#ANSWER name=a corr=9 params=2{} 0:event name=b corr=9 params=3{}");
    ck_assert_str_eq(
        alink("{\"method\":\"thing.event.property.pack.post\",\"params\":{\"properties\":"
              "{\"t\":1},\"subDevices\":[{\"identity\":{}}]}}"),
        "0!TPC_EDECODE");
    ck_assert_str_eq(sink.err.path, "params.subDevices");
    ck_assert_str_eq(
        alink("{\"method\":\"thing.event.property.pack.post\",\"params\":{\"properties\":"
              "{\"t\":1},\"events\":{\"a\":7}}}"),
        "0!TPC_EDECODE");
    ck_assert_str_eq(
        alink("{\"method\":\"thing.event.property.pack.post\",\"params\":{\"properties\":"
              "{\"t\":1},\"events\":{\"\":{\"value\":2}}}}"),
        "0!TPC_EDECODE");
}
END_TEST

START_TEST(state_update_is_presence_and_never_answered)
{
    ck_assert_str_eq(alink("{\"method\":\"thing.state.update\",\"params\":{\"state\":1}}"),
                     "0:presence params={\"online\":true}{}");
    ck_assert_str_eq(alink("{\"method\":\"thing.state.update\",\"params\":{\"state\":2}}"),
                     "0:presence params={\"online\":false}{}");
    ck_assert_str_eq(alink("{\"method\":\"thing.state.update\",\"params\":{\"state\":0}}"),
                     "0!TPC_EDECODE");
}
END_TEST

/* What a broker says of the connection is no Alink message. */
START_TEST(presence_of_the_transport_is_taken)
{
    ck_assert_str_eq(
        cs_decode(&tpi_codec_alink, NULL, NULL, &sink, TPC_MSG_PRESENCE, bytes_of("1")),
        "0:presence params={\"online\":true}{}");
    ck_assert_str_eq(
        cs_decode(&tpi_codec_alink, NULL, NULL, &sink, TPC_MSG_PRESENCE, bytes_of("x")),
        "0!TPC_EDECODE");
}
END_TEST

START_TEST(a_code_or_the_suffix_makes_a_reply)
{
    ck_assert_str_eq(alink("{\"requestId\":\"c1\",\"method\":\"thing.service.invoke\",\"code\":0,"
                           "\"data\":{\"x\":1},\"msg\":\"\"}"),
                     "0:reply name=thing.service.invoke corr=c1 code=0 params={\"x\":1}{}");
    ck_assert_str_eq(alink("{\"requestId\":\"c1\",\"method\":\"thing.property.set_reply\"}"),
                     "0:reply name=thing.property.set corr=c1 code=0{}");
    ck_assert_str_eq(alink("{\"id\":\"c1\",\"code\":500,\"msg\":\"no\"}"),
                     "0:reply corr=c1 msg=no code=500{}");
    ck_assert_str_eq(alink("{\"id\":\"c1\",\"code\":\"0\"}"), "0!TPC_EDECODE");
}
END_TEST

START_TEST(unknown_methods_and_bad_envelopes_are_refused)
{
    ck_assert_str_eq(alink("{\"method\":\"thing.topo.add\",\"params\":{}}"), "0!TPC_EUNSUPPORTED");
    ck_assert_ptr_nonnull(strstr(sink.err.text, "thing.topo.add"));
    ck_assert_str_eq(alink("{\"params\":{}}"), "0!TPC_EDECODE");
    ck_assert_str_eq(alink("[]"), "0!TPC_EDECODE");
    ck_assert_str_eq(alink("{\"method\":\"thing.property.post\",\"params\":[1]}"), "0!TPC_EDECODE");
    ck_assert_str_eq(sink.err.path, "params");
    ck_assert_str_eq(alink("{\"method\":\"thing.property.post\"}"), "0!TPC_EDECODE");
    ck_assert_str_eq(alink("{\"method\":\"thing.property.post\",\"params\":{\"a\":1}} x"),
                     "0!TPC_EDECODE");
}
END_TEST

START_TEST(ota_progress_is_an_event_without_an_answer)
{
    ck_assert_str_eq(alink("{\"method\":\"thing.ota.progress\",\"params\":{\"progress\":5}}"),
                     "0:event name=thing.ota.progress params={\"progress\":5}{}");
}
END_TEST

Suite *alink_suite(void)
{
    Suite *suite = suite_create("alink");
    TCase *tc = tcase_create("alink");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, property_post_becomes_points);
    tcase_add_test(tc, event_post_keeps_its_own_time);
    tcase_add_test(tc, id_stands_in_for_an_empty_request_id);
    tcase_add_test(tc, pack_is_split_and_answered_once);
    tcase_add_test(tc, pack_of_a_gateway_is_split_by_identity);
    tcase_add_test(tc, state_update_is_presence_and_never_answered);
    tcase_add_test(tc, presence_of_the_transport_is_taken);
    tcase_add_test(tc, a_code_or_the_suffix_makes_a_reply);
    tcase_add_test(tc, unknown_methods_and_bad_envelopes_are_refused);
    tcase_add_test(tc, ota_progress_is_an_event_without_an_answer);
    suite_add_tcase(suite, tc);
    return suite;
}
