#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/cbor.h>
#include <tpcore/json.h>

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

static const char *json(uint16_t kind, const char *payload)
{
    return cs_decode(&tpi_codec_json, NULL, NULL, &sink, kind, bytes_of(payload));
}

static const char *panel(uint16_t kind, const char *payload)
{
    return cs_decode(&tpi_codec_thingspanel, NULL, NULL, &sink, kind, bytes_of(payload));
}

/* A frame with topic and message id. */
static const char *panel_on(const char *topic, uint16_t kind, const char *mid, const char *payload)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = kind, .payload = bytes_of(payload) };
    f.topic = tpc_str_from(topic);
    f.correlation = tpc_str_from(mid);
    cs_sink_clear(&sink);
    tk_ok(tpi_codec_thingspanel.decode(NULL, 0, NULL, &f, 1, sizeof(f), &sink.base));
    return sink.trace;
}

START_TEST(flat_object_becomes_points)
{
    ck_assert_str_eq(json(0, " {\"t\":21.5,\"n\":-7,\"on\":true,\"s\":\"x\",\"z\":null} "),
                     "0:telemetry{t=21.5,n=-7,on=true,s=\"x\",z=null}");
    ck_assert_str_eq(json(TPC_MSG_ATTRIBUTES, "{\"a\":{\"b\":[1,2]}}"),
                     "0:attributes{a={\"b\":[1,2]}}");
    ck_assert_str_eq(json(0, "{}"), "0:telemetry{}");
    ck_assert_str_eq(json(0, "{\"a\\u0041\":\"\\n\"}"), "0:telemetry{aA=\"\\n\"}");
}
END_TEST

START_TEST(malformed_json_is_refused)
{
    static const char *const bad[] = { "",
                                       "{",
                                       "[1]",
                                       "1",
                                       "\"x\"",
                                       "{\"a\":}",
                                       "{\"a\":1,}",
                                       "{\"a\":1}x",
                                       "{a:1}",
                                       "{\"a\":\xff}",
                                       "{\"a\":\"\xc3(\"}",
                                       "{\"a\":1e999}",
                                       "nul" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void) json(0, bad[i]);
        ck_assert_msg(sink.refused == 1 && sink.messages == 0, "%s", bad[i]);
        ck_assert_int_eq(sink.err.code, TPC_EDECODE);
    }
}
END_TEST

START_TEST(too_deep_json_is_refused)
{
    char text[200] = "{\"a\":";
    memset(text + 5, '[', 100);
    (void) json(0, text);
    ck_assert_int_eq(sink.err.code, TPC_ETOOBIG);
}
END_TEST

START_TEST(event_needs_a_method)
{
    ck_assert_str_eq(json(TPC_MSG_EVENT, "{\"method\":\"door\",\"params\":{\"open\":true}}"),
                     "0:event name=door params={\"open\":true}{}");
    ck_assert_str_eq(json(TPC_MSG_EVENT, "{\"method\":\"door\"}"), "0:event name=door{}");
    ck_assert_str_eq(json(TPC_MSG_EVENT, "{\"params\":1}"), "0!TPC_EDECODE");
    ck_assert_str_eq(json(TPC_MSG_EVENT, "{\"method\":7}"), "0!TPC_EDECODE");
}
END_TEST

START_TEST(replies_of_both_shapes_are_read)
{
    ck_assert_str_eq(json(TPC_MSG_REPLY, "{\"result\":0,\"message\":\"ok\",\"ts\":1700000000}"),
                     "0:reply@1700000000000 msg=ok code=0{}");
    ck_assert_str_eq(json(TPC_MSG_REPLY, "{\"result\":1,\"errcode\":\"E7\"}"),
                     "0:reply msg=E7 code=1{}");
    ck_assert_str_eq(json(TPC_MSG_REPLY, "{\"id\":\"42\",\"code\":3,\"data\":{\"x\":1}}"),
                     "0:reply corr=42 code=3 params={\"x\":1}{}");
    ck_assert_str_eq(json(TPC_MSG_REPLY, "{\"id\":42}"), "0:reply corr=42 code=0{}");
    ck_assert_str_eq(json(TPC_MSG_REPLY, "{\"code\":99999999999}"), "0!TPC_EDECODE");
    ck_assert_str_eq(sink.err.path, "code");
    ck_assert_str_eq(json(TPC_MSG_REPLY, "{\"id\":[]}"), "0!TPC_EDECODE");
    ck_assert_str_eq(panel_on("devices/command/response/m7", TPC_MSG_REPLY, "m7",
                              "{\"id\":\"device-3\",\"result\":0,\"message\":\"ok\"}"),
                     "0:reply corr=m7 msg=ok code=0 "
                     "params={\"id\":\"device-3\",\"result\":0,\"message\":\"ok\"}{}");
}
END_TEST

START_TEST(presence_and_raw_bytes_are_taken)
{
    ck_assert_str_eq(json(TPC_MSG_PRESENCE, "1"), "0:presence params={\"online\":true}{}");
    ck_assert_str_eq(panel(TPC_MSG_PRESENCE, "0"), "0:presence params={\"online\":false}{}");
    ck_assert_str_eq(json(TPC_MSG_PRESENCE, "{\"online\":true}"),
                     "0:presence params={\"online\":true}{}");
    ck_assert_str_eq(json(TPC_MSG_PRESENCE, "2"), "0!TPC_EDECODE");
    ck_assert_str_eq(json(TPC_MSG_RAW, "abc"), "0:raw params=<3 bytes>{}");
    ck_assert_str_eq(json(TPC_MSG_COMMAND, "{}"), "0!TPC_EUNSUPPORTED");
}
END_TEST

START_TEST(thingspanel_wraps_what_is_no_object)
{
    ck_assert_str_eq(panel(0, "[1,2]"), "0:telemetry{_raw=[1,2]}");
    ck_assert_str_eq(panel(0, "17"), "0:telemetry{_raw=17}");
    ck_assert_str_eq(panel(TPC_MSG_ATTRIBUTES, "hello"), "0:attributes{_raw=\"hello\"}");
    ck_assert_str_eq(panel(0, "\xff\x01"), "0:telemetry{_raw=<2 bytes>}");
    ck_assert_str_eq(panel(TPC_MSG_EVENT, "true"), "0:event name=_raw params={\"value\":true}{}");
    ck_assert_str_eq(panel(0, " {\"a\":1}"), "0:telemetry{a=1}");
    ck_assert_str_eq(panel(0, "{\"a\":"), "0:telemetry{ 0!TPC_EDECODE");
}
END_TEST

START_TEST(thingspanel_answers_reports_that_have_an_id)
{
    ck_assert_str_eq(panel_on("devices/attributes/77", TPC_MSG_ATTRIBUTES, "77", "{\"a\":1}"),
                     "0:attributes#ANSWER corr=77{a=1}");
    ck_assert_str_eq(panel_on("devices/event/8", TPC_MSG_EVENT, "8", "{\"method\":\"m\"}"),
                     "0:event#ANSWER name=m corr=8{}");
    ck_assert_str_eq(panel_on("devices/telemetry", TPC_MSG_TELEMETRY, "", "{\"a\":1}"),
                     "0:telemetry{a=1}");
}
END_TEST

START_TEST(unreadable_response_is_a_failure_of_the_device)
{
    ck_assert_str_eq(panel_on("devices/command/response/5", TPC_MSG_REPLY, "5", "what?"),
                     "0:reply corr=5 msg=what? code=1{}");
    ck_assert_str_eq(panel_on("devices/command/response/5", TPC_MSG_REPLY, "5", "[1]"),
                     "0:reply corr=5 msg=[1] code=1{}");
    ck_assert_str_eq(
        panel_on("devices/command/response/5", TPC_MSG_REPLY, "5", "{\"result\":\"x\"}"),
        "0:reply corr=5 msg={\"result\":\"x\"} code=1{}");
    ck_assert_str_eq(panel_on("devices/command/response/5", TPC_MSG_REPLY, "5", "\xff"),
                     "0:reply corr=5 msg=the response cannot be read code=1{}");
}
END_TEST

/* 1.6, 6.5: no result is a success; a failure is told with errcode, else message, else all of it. */
START_TEST(a_response_is_read_as_thingspanel_does)
{
    static const struct {
        const char *text, *msg;
        int code;
    } cases[] = { { "{}", NULL, 0 },
                  { "{\"result\":null}", NULL, 0 },
                  { "{\"code\":7}", NULL, 0 },
                  { "{\"result\":0,\"message\":\"ok\",\"errcode\":\"E\"}", "ok", 0 },
                  { "{\"result\":1,\"message\":\"no\",\"errcode\":\"E7\"}", "E7", 1 },
                  { "{\"result\":1,\"message\":\"no\",\"errcode\":\"\"}", "no", 1 },
                  { "{\"result\":2,\"message\":\"no\"}", "no", 2 },
                  { "{\"result\":1}", "{\"result\":1}", 1 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char want[256];
        snprintf(want, sizeof(want), "0:reply corr=5%s%s code=%d params=%s{}",
                 cases[i].msg != NULL ? " msg=" : "", cases[i].msg != NULL ? cases[i].msg : "",
                 cases[i].code, cases[i].text);
        ck_assert_str_eq(panel_on("devices/command/response/5", TPC_MSG_REPLY, "5", cases[i].text),
                         want);
    }
}
END_TEST

/* The shapes of the contract (thingspanel 1.7), literally. */
START_TEST(a_gateways_tree_is_split_by_address)
{
    static const char tree[] =
        "{\"gateway_data\":{\"t\":1},\"sub_device_data\":{\"1\":{\"a\":1},\"2\":{\"b\":true}},"
        "\"sub_gateway_data\":{\"g\":{\"gateway_data\":{\"x\":2},\"sub_device_data\":{\"1\":{\"c\":"
        "\"s\"}},\"sub_gateway_data\":null}}}";
    ck_assert_str_eq(panel_on("gateway/telemetry", TPC_MSG_TELEMETRY, "", tree),
                     "0:telemetry{t=1} >1 0:telemetry{a=1} < >2 0:telemetry{b=true} < >g "
                     "0:telemetry{x=2} >1 0:telemetry{c=\"s\"} < <");
    ck_assert_str_eq(panel_on("gateway/attributes/9", TPC_MSG_ATTRIBUTES, "9",
                              "{\"sub_device_data\":{\"\\u0031\":{\"a\":[1]}}}"),
                     ">1 0:attributes#ANSWER corr=9{a=[1]} <");
    ck_assert_str_eq(
        panel_on("gateway/event/1", TPC_MSG_EVENT, "1",
                 "{\"gateway_data\":{\"method\":\"m\",\"params\":2},\"sub_device_data\":{"
                 "\"1\":{\"method\":\"n\",\"params\":{\"k\":1}},\"2\":{}}}"),
        "0:event#ANSWER name=m corr=1 params=2{} >1 0:event#ANSWER name=n corr=1 "
        "params={\"k\":1}{} < >2 <");
    ck_assert_str_eq(panel_on("gateway/command/response/5", TPC_MSG_REPLY, "5", "{\"result\":0}"),
                     "0:reply corr=5 code=0 params={\"result\":0}{}");
}
END_TEST

START_TEST(members_of_a_gateways_tree_are_optional_or_null)
{
    ck_assert_str_eq(panel_on("gateway/telemetry", TPC_MSG_TELEMETRY, "", "{}"), "");
    ck_assert_str_eq(panel_on("gateway/telemetry", TPC_MSG_TELEMETRY, "",
                              "{\"gateway_data\":null,\"sub_device_data\":null,"
                              "\"sub_gateway_data\":null,\"other\":[{}]}"),
                     "");
    ck_assert_str_eq(
        panel_on("gateway/telemetry", TPC_MSG_TELEMETRY, "",
                 "{\"sub_device_data\":{\"?x\":{\"a\":{\"b\":[1]}},\"2\":null,\"3\":{"
                 "\"a\":1}},\"sub_gateway_data\":{\"?g\":{\"gateway_data\":5},\"h\":null}}"),
        ">?x >3 0:telemetry{a=1} < >?g");
}
END_TEST

START_TEST(a_gateways_tree_of_another_shape_is_refused)
{
    static const char *const bad[] = { "[]",
                                       "5",
                                       "",
                                       "{\"gateway_data\":5}",
                                       "{\"sub_device_data\":[]}",
                                       "{\"sub_device_data\":{\"1\":5}}",
                                       "{\"sub_gateway_data\":{\"g\":true}}",
                                       "{\"sub_gateway_data\":\"x\"}",
                                       "{} {}" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void) panel_on("gateway/telemetry", TPC_MSG_TELEMETRY, "", bad[i]);
        ck_assert_msg(sink.refused == 1 && sink.err.code == TPC_EDECODE, "%s: %s", bad[i],
                      sink.trace);
    }
}
END_TEST

START_TEST(five_levels_of_sub_gateways_are_read)
{
    char text[600] = "{\"gateway_data\":{\"t\":6}}", next[600];
    for (int i = 5; i >= 0; i--) {
        snprintf(next, sizeof(next),
                 "{\"gateway_data\":{\"t\":%d},\"sub_gateway_data\":{\"g\":%s}}", i, text);
        memcpy(text, next, sizeof(text));
    }
    ck_assert_str_eq(panel_on("gateway/telemetry", TPC_MSG_TELEMETRY, "", text),
                     "0:telemetry{t=0} >g 0:telemetry{t=1} >g 0:telemetry{t=2} >g 0:telemetry{t=3} "
                     ">g 0:telemetry{t=4} >g 0:telemetry{t=5} < < < < <");
}
END_TEST

START_TEST(cbor_map_becomes_points)
{
    static const uint8_t map[] = { 0xA2, 0x61, 't', 0xFB, 0x40, 0x35, 0x80, 0,
                                   0,    0,    0,   0,    0x61, 'n',  0x27 };
    static const uint8_t bomb[] = { 0x9A, 0xFF, 0xFF, 0xFF, 0xFF };
    static const uint8_t one[] = { 0x01 };
    ck_assert_str_eq(
        cs_decode(&tpi_codec_cbor, NULL, NULL, &sink, 0, (struct tpc_bytes){ map, sizeof(map) }),
        "0:telemetry{t=21.5,n=-8}");
    ck_assert_str_eq(
        cs_decode(&tpi_codec_cbor, NULL, NULL, &sink, 0, (struct tpc_bytes){ bomb, sizeof(bomb) }),
        "0!TPC_EDECODE");
    ck_assert_str_eq(
        cs_decode(&tpi_codec_cbor, NULL, NULL, &sink, 0, (struct tpc_bytes){ one, sizeof(one) }),
        "0!TPC_EDECODE");
    ck_assert_str_eq(cs_decode(&tpi_codec_cbor, NULL, NULL, &sink, TPC_MSG_PRESENCE,
                               (struct tpc_bytes){ one, sizeof(one) }),
                     "0:presence params={\"online\":true}{}");
}
END_TEST

START_TEST(builtin_codecs_keep_the_rules_of_the_interface)
{
    static const uint8_t map[] = { 0xA1, 0x61, 't', 0x01 };
    const struct cs_case cases[] = {
        { &tpi_codec_json, NULL, NULL, bytes_of("{\"a\":1,\"b\":2}"), bytes_of("{\"a\":1,") },
        { &tpi_codec_thingspanel, NULL, NULL, bytes_of("{\"a\":1,\"b\":2}"), bytes_of("{\"a\":1") },
        { &tpi_codec_alink, NULL, NULL,
          bytes_of("{\"id\":\"1\",\"method\":\"thing.property.post\",\"params\":{\"a\":1}}"),
          bytes_of("{\"method\":\"thing.property.post\"}") },
        { &tpi_codec_cbor, NULL, NULL, { map, 4 }, { map, 3 } },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cs_run(&cases[i]);
    }
}
END_TEST

START_TEST(codec_member_names_a_builtin)
{
    struct tpc_value v;
    struct tpc_str name;
    struct tpc_error err;
    void *program = NULL;
    tk_ok(tpc_json_parse(arena, TPC_STR("{\"type\":\"alink\"}"), 0, NULL, &v));
    tk_ok(tpi_codec_name(&v, NULL, &name));
    ck_assert_ptr_eq(tpi_codec_builtin(name), &tpi_codec_alink);
    ck_assert_ptr_null(tpi_codec_builtin(TPC_STR("lua")));
    struct tpc_codec_source source = { .size = sizeof(source), .config = v };
    tk_ok(tpi_codec_alink.compile(NULL, &source, &err, &program));
    ck_assert_ptr_nonnull(program);
    tpi_codec_alink.release(NULL, program);
    tk_ok(tpc_json_parse(arena, TPC_STR("{\"type\":\"json\",\"x\":1}"), 0, NULL, &source.config));
    tk_fails(TPC_EINVAL, tpi_codec_json.compile(NULL, &source, &err, &program));
    tk_ok(tpc_json_parse(arena, TPC_STR("{\"type\":3}"), 0, NULL, &v));
    tk_fails(TPC_EINVAL, tpi_codec_name(&v, &err, &name));
    ck_assert_str_eq(err.path, "type");
}
END_TEST

/* Every allocation of a batch can fail: the frame is refused, nothing else happens. */
static int decode_all(const struct tpc_allocator *a, void *user)
{
    static const char *const payloads[] = {
        "{\"a\":{\"b\":[1,\"\\n\"]},\"k\\n\":2}",
        "{\"requestId\":7,\"method\":\"thing.event.post\",\"params\":{\"identifier\":\"e\"}}"
    };
    struct tpc_arena *own;
    (void) user;
    if (tpc_arena_create(a, 0, &own) != 0) {
        return TPC_ENOMEM;
    }
    static struct cs_sink s;
    cs_sink_init(&s, own);
    (void) cs_decode(&tpi_codec_json, NULL, NULL, &s, 0, bytes_of(payloads[0]));
    int rc = s.refused > 0 ? s.err.code : 0;
    (void) cs_decode(&tpi_codec_alink, NULL, NULL, &s, 0, bytes_of(payloads[1]));
    rc = s.refused > 0 ? s.err.code : rc;
    tpc_arena_destroy(own);
    return rc;
}

START_TEST(out_of_memory_refuses_the_frame)
{
    ck_assert_uint_gt(tk_each_alloc_fails(decode_all, NULL), 0);
}
END_TEST

Suite *json_suite(void)
{
    Suite *suite = suite_create("json");
    TCase *tc = tcase_create("json");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, flat_object_becomes_points);
    tcase_add_test(tc, malformed_json_is_refused);
    tcase_add_test(tc, too_deep_json_is_refused);
    tcase_add_test(tc, event_needs_a_method);
    tcase_add_test(tc, replies_of_both_shapes_are_read);
    tcase_add_test(tc, presence_and_raw_bytes_are_taken);
    tcase_add_test(tc, thingspanel_wraps_what_is_no_object);
    tcase_add_test(tc, thingspanel_answers_reports_that_have_an_id);
    tcase_add_test(tc, unreadable_response_is_a_failure_of_the_device);
    tcase_add_test(tc, a_response_is_read_as_thingspanel_does);
    tcase_add_test(tc, a_gateways_tree_is_split_by_address);
    tcase_add_test(tc, members_of_a_gateways_tree_are_optional_or_null);
    tcase_add_test(tc, a_gateways_tree_of_another_shape_is_refused);
    tcase_add_test(tc, five_levels_of_sub_gateways_are_read);
    tcase_add_test(tc, cbor_map_becomes_points);
    tcase_add_test(tc, builtin_codecs_keep_the_rules_of_the_interface);
    tcase_add_test(tc, codec_member_names_a_builtin);
    tcase_add_test(tc, out_of_memory_refuses_the_frame);
    suite_add_tcase(suite, tc);
    return suite;
}
