/* Payloads as ThingsBoard's own documents and its Python gateway write them (contract thingsboard 1.2,
 * 1.3). */
#include "suites.h"

#include "codec/emit.h"

#include <stdio.h>
#include <tpcore/json.h>

static struct tpc_arena *arena;
static struct cs_sink sink;
static const struct tpc_codec_ops *const ops = &tpi_codec_thingsboard;

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    cs_sink_init(&sink, arena);
}

static void teardown(void)
{
    arena = tpc_arena_destroy(arena);
}

static const char *with_id(const char *topic, const char *correlation, const char *payload)
{
    struct tpc_frame f = { .size = sizeof(f), .payload = bytes_of(payload) };
    f.topic = tpc_str_from(topic);
    f.correlation = tpc_str_from(correlation);
    cs_sink_clear(&sink);
    tk_ok(ops->decode(NULL, 0, NULL, &f, 1, sizeof(f), &sink.base));
    return sink.trace;
}

static const char *on(const char *topic, const char *payload)
{
    return with_id(topic, "", payload);
}

START_TEST(telemetry_of_a_device_comes_in_four_shapes)
{
    static const char topic[] = "v1/devices/me/telemetry";
    ck_assert_str_eq(on(topic, "{\"t\":21.5,\"on\":true,\"s\":\"x\",\"o\":{\"a\":[1]}}"),
                     "0:telemetry{t=21.5,on=true,s=\"x\",o={\"a\":[1]}}");
    ck_assert_str_eq(on(topic, "[{\"a\":1},{\"b\":2}]"), "0:telemetry{a=1} 0:telemetry{b=2}");
    ck_assert_str_eq(on(topic, "{\"ts\":1700000000000,\"values\":{\"t\":1}}"),
                     "0:telemetry@1700000000000{t=1}");
    ck_assert_str_eq(on(topic, "[{\"ts\":5,\"values\":{\"t\":1}},{\"ts\":6,\"values\":{\"t\":2}}]"),
                     "0:telemetry@5{t=1} 0:telemetry@6{t=2}");
    ck_assert_str_eq(on(topic, "{\"values\":{\"t\":1}}"), "0:telemetry{t=1}");
    ck_assert_str_eq(on(topic, "{\"values\":{\"t\":1},\"u\":2}"),
                     "0:telemetry{values={\"t\":1},u=2}"); /* a key of that name */
    ck_assert_str_eq(on(topic, "{\"ts\":7}"), "0:telemetry{ts=7}");
    ck_assert_str_eq(on(topic, "{\"a\":null,\"b\":1}"), "0:telemetry{b=1}");
    ck_assert_str_eq(on(topic, "{}"), "");
    ck_assert_str_eq(on(topic, "[]"), "");
    ck_assert_str_eq(on("", "{\"t\":1}"), "0:telemetry{t=1}");
}
END_TEST

START_TEST(a_gateways_telemetry_is_split_by_device)
{
    static const char topic[] = "v1/gateway/telemetry";
    ck_assert_str_eq(
        on(topic, "{\"Pump 1\":[{\"ts\":5,\"values\":{\"t\":1}},{\"u\":2}],\"B\":[{\"v\":3}]}"),
        ">Pump 1 0:telemetry@5{t=1} 0:telemetry{u=2} < >B 0:telemetry{v=3} <");
    ck_assert_str_eq(on(topic, "{\"A\":[{\"ts\":5,\"values\":{\"t\":1},\"metadata\":{\"connector\":"
                               "\"m\",\"receivedTs\":5,\"publishedTs\":6}}]}"),
                     ">A 0:telemetry@5{t=1} <");
    ck_assert_str_eq(on(topic, "{\"A\":{\"t\":1}}"), ">A 0:telemetry{t=1} <");
    ck_assert_str_eq(on("v1/gateway/attributes", "{\"A\":{\"serial\":\"x\"},\"B\":{\"n\":1}}"),
                     ">A 0:attributes{serial=\"x\"} < >B 0:attributes{n=1} <");
}
END_TEST

START_TEST(a_gateways_devices_come_and_go)
{
    ck_assert_str_eq(on("v1/gateway/connect", "{\"device\":\"A\",\"type\":\"thermo\"}"),
                     ">A 0:presence params={\"online\":true}{} <");
    ck_assert_str_eq(on("v1/gateway/disconnect", "{\"device\":\"A\"}"),
                     ">A 0:presence params={\"online\":false}{} <");
    ck_assert_str_eq(cs_decode(ops, NULL, NULL, &sink, TPC_MSG_PRESENCE, bytes_of("1")),
                     "0:presence params={\"online\":true}{}"); /* a broker's plugin says so */
}
END_TEST

START_TEST(replies_carry_the_commands_id_and_say_what_failed)
{
    static const char topic[] = "v1/gateway/rpc";
    ck_assert_str_eq(
        with_id(topic, "c-1", "{\"device\":\"A\",\"id\":7,\"data\":{\"success\":true}}"),
        ">A 0:reply corr=c-1 code=0 params={\"success\":true}{} <");
    ck_assert_str_eq(on(topic, "{\"device\":\"A\",\"id\":7,\"data\":5}"),
                     ">A 0:reply corr=7 code=0 params=5{} <");
    ck_assert_str_eq(
        on(topic, "{\"device\":\"A\",\"id\":7,\"data\":{\"result\":{\"error\":\"no\"}}}"),
        ">A 0:reply corr=7 msg=no code=1 params={\"result\":{\"error\":\"no\"}}{} <");
    ck_assert_str_eq(on(topic, "{\"device\":\"A\",\"id\":7,\"data\":{\"success\":false}}"),
                     ">A 0:reply corr=7 code=1 params={\"success\":false}{} <");
    ck_assert_str_eq(
        on(topic, "{\"device\":\"A\",\"id\":7,\"data\":\"{\\\"error\\\": \\\"e\\\"}\"}"),
        ">A 0:reply corr=7 msg=e code=1 params=\"{\\\"error\\\": \\\"e\\\"}\"{} <");
    ck_assert_str_eq(on(topic, "{\"device\":\"A\",\"id\":null,\"data\":1}"), "");
    ck_assert_str_eq(on("v1/devices/me/rpc/response/12", "{\"x\":1}"),
                     "0:reply corr=12 code=0 params={\"x\":1}{}");
}
END_TEST

START_TEST(what_is_malformed_says_nothing)
{
    static const char *const bad[][2] = {
        { "v1/gateway/telemetry", "{\"A\":[{\"t\":1}],\"B\":7}" },
        { "v1/gateway/telemetry", "[1]" },
        { "v1/gateway/telemetry", "{\"A\":[{\"ts\":\"x\",\"values\":{}}]}" },
        { "v1/gateway/attributes", "{\"A\":[1]}" },
        { "v1/gateway/connect", "{\"type\":\"x\"}" },
        { "v1/gateway/connect", "7" },
        { "v1/gateway/rpc", "{\"device\":\"A\",\"id\":[],\"data\":1}" },
        { "v1/gateway/rpc", "{\"id\":1,\"data\":1}" },
        { "v1/gateway/claim", "{\"A\":{\"secretKey\":\"s\"}}" },
        { "v1/gateway/telemetry", "{" },
        { "v1/devices/me/telemetry", "7" },
        { "v1/devices/me/attributes", "[]" },
        { "v1/devices/me/rpc/response/", "{}" },
        { "v1/devices/me/rpc/request/1", "{}" },
        { "elsewhere", "{}" },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void) on(bad[i][0], bad[i][1]);
        ck_assert_msg(sink.refused == 1 && sink.messages == 0, "%s %s", bad[i][0], bad[i][1]);
    }
    (void) on(bad[0][0], bad[0][1]);
    ck_assert_str_eq(sink.err.path, "B");
}
END_TEST

static void expect(struct tpc_encode e, uint16_t kind, const char *name, const char *params,
                   const char *device, const char *json)
{
    struct tpc_str path = tpc_str_from(device != NULL ? device : "");
    struct tpc_bytes out;
    struct tpc_error err;
    e.kind = kind;
    e.name = tpc_str_from(name);
    e.correlation = TPC_STR("0192-c");
    e.path = &path;
    e.path_count = device != NULL;
    tk_ok(tpc_json_parse(arena, tpc_str_from(params), 0, NULL, &e.params));
    tk_ok(ops->encode(NULL, 0, NULL, &e, arena, &err, &out));
    ck_assert_msg(out.len == strlen(json) && memcmp(out.ptr, json, out.len) == 0, "%.*s",
                  (int) out.len, (const char *) out.ptr);
}

START_TEST(commands_are_calls_and_sets_are_attributes)
{
    struct tpc_encode e = { .size = sizeof(e), .flags = TPC_ENCODE_GATEWAY };
    struct tpc_bytes out;
    struct tpc_error err;
    char call[128];
    unsigned id = (unsigned) tpi_codec_number(TPC_STR("0192-c"));
    snprintf(call, sizeof(call),
             "{\"device\":\"A\",\"data\":{\"id\":%u,\"method\":\"spin\",\"params\":true}}", id);
    expect(e, TPC_MSG_COMMAND, "spin", "true", "A", call);
    expect(e, TPC_MSG_COMMAND, "spin", "{\"value\":true}", "A", call);
    snprintf(call, sizeof(call),
             "{\"device\":\"A\",\"data\":{\"id\":%u,\"method\":\"get\",\"params\":{}}}", id);
    expect(e, TPC_MSG_ATTRIBUTES_GET, "get", "null", "A", call);
    expect(e, TPC_MSG_ATTRIBUTES_SET, "set", "{\"x\":1}", "A",
           "{\"device\":\"A\",\"data\":{\"x\":1}}");
    expect(e, TPC_MSG_COMMAND, "go", "{\"x\":1}", NULL, "{\"method\":\"go\",\"params\":{\"x\":1}}");
    expect(e, TPC_MSG_ATTRIBUTES_SET, "set", "{\"x\":1}", NULL, "{\"x\":1}");
    ck_assert(ops->nests(NULL, NULL));
    e.kind = TPC_MSG_REPLY;
    tk_fails(TPC_EUNSUPPORTED, ops->encode(NULL, 0, NULL, &e, arena, &err, &out));
    struct tpc_str path[2] = { TPC_STR("g"), TPC_STR("a") };
    e.kind = TPC_MSG_COMMAND;
    e.path = path;
    e.path_count = 2;
    tk_fails(TPC_EUNSUPPORTED, ops->encode(NULL, 0, NULL, &e, arena, &err, &out));
    ck_assert_uint_ne(tpi_codec_number(TPC_STR("")), 0);
}
END_TEST

static int without_memory(const struct tpc_allocator *alloc, void *user)
{
    struct tpc_arena *a = NULL;
    struct cs_sink s;
    (void) user;
    if (tpc_arena_create(alloc, 0, &a) != 0) {
        return TPC_ENOMEM;
    }
    cs_sink_init(&s, a);
    struct tpc_frame f = { .size = sizeof(f) };
    f.topic = TPC_STR("v1/gateway/telemetry");
    f.payload = bytes_of("{\"A\":[{\"ts\":5,\"values\":{\"t\":[1,2,{\"x\":\"\\n\"}]}},{\"u\":2}]}");
    tk_ok(ops->decode(NULL, 0, NULL, &f, 1, sizeof(f), &s.base));
    int rc = s.refused > 0 ? s.err.code : 0;
    tpc_arena_destroy(a);
    return rc;
}

START_TEST(without_memory_a_frame_is_refused)
{
    ck_assert_uint_gt(tk_each_alloc_fails(without_memory, NULL), 1);
}
END_TEST

Suite *thingsboard_suite(void)
{
    Suite *s = suite_create("thingsboard");
    TCase *tc = tcase_create("thingsboard");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, telemetry_of_a_device_comes_in_four_shapes);
    tcase_add_test(tc, a_gateways_telemetry_is_split_by_device);
    tcase_add_test(tc, a_gateways_devices_come_and_go);
    tcase_add_test(tc, replies_carry_the_commands_id_and_say_what_failed);
    tcase_add_test(tc, what_is_malformed_says_nothing);
    tcase_add_test(tc, commands_are_calls_and_sets_are_attributes);
    tcase_add_test(tc, without_memory_a_frame_is_refused);
    suite_add_tcase(s, tc);
    return s;
}
