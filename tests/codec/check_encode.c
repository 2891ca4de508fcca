#include "suites.h"

#include <tpcore/cbor.h>
#include <tpcore/json.h>

static struct tpc_arena *arena;

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void teardown(void)
{
    arena = tpc_arena_destroy(arena);
}

/* params: JSON text or NULL. */
static struct tpc_encode message(uint16_t kind, const char *name, const char *correlation,
                                 const char *params)
{
    struct tpc_encode e = { .size = sizeof(e), .kind = kind };
    e.name = tpc_str_from(name);
    e.correlation = tpc_str_from(correlation);
    if (params != NULL) {
        tk_ok(tpc_json_parse(arena, tpc_str_from(params), 0, NULL, &e.params));
    }
    return e;
}

static void expect(const struct tpc_codec_ops *ops, struct tpc_encode e, const char *text)
{
    struct tpc_bytes out;
    tk_ok(ops->encode(NULL, 0, NULL, &e, arena, NULL, &out));
    ck_assert_msg(out.len == strlen(text) && memcmp(out.ptr, text, out.len) == 0, "%.*s, not %s",
                  (int) out.len, (const char *) out.ptr, text);
}

START_TEST(json_writes_commands_sets_and_gets)
{
    expect(&tpi_codec_json, message(TPC_MSG_COMMAND, "open", "7", "{\"a\":1}"),
           "{\"id\":\"7\",\"method\":\"open\",\"params\":{\"a\":1}}");
    expect(&tpi_codec_json, message(TPC_MSG_COMMAND, "open", NULL, NULL), "{\"method\":\"open\"}");
    expect(&tpi_codec_json, message(TPC_MSG_COMMAND, "set", "7", "{\"on\":true}"), "{\"on\":true}");
    expect(&tpi_codec_json, message(TPC_MSG_COMMAND, "get", "7", "{\"keys\":[\"t\"]}"),
           "{\"keys\":[\"t\"]}");
    expect(&tpi_codec_json, message(TPC_MSG_ATTRIBUTES_GET, NULL, NULL, NULL), "{\"keys\":[]}");
    expect(&tpi_codec_json, message(TPC_MSG_TELEMETRY_SET, NULL, NULL, "{\"x\":2}"), "{\"x\":2}");
}
END_TEST

static struct tpc_encode over(struct tpc_encode e, const struct tpc_str *path, uint32_t count,
                              bool to_gateway)
{
    e.flags = TPC_ENCODE_GATEWAY | (to_gateway ? TPC_ENCODE_TO_GATEWAY : 0);
    e.path = path;
    e.path_count = count;
    return e;
}

/* The payloads of the contract (thingspanel 1.7), the whole way from the top gateway down. */
START_TEST(thingspanel_builds_the_tree_from_the_top_gateway_down)
{
    static const struct tpc_str path[] = { TPC_STR_INIT("a"), TPC_STR_INIT("b"),
                                           TPC_STR_INIT("c") };
    struct tpc_encode set = message(TPC_MSG_ATTRIBUTES_SET, "set", "7", "{\"x\":1}");
    struct tpc_encode go = message(TPC_MSG_COMMAND, "go", "7", "{\"k\":2}");
    struct tpc_encode get = message(TPC_MSG_ATTRIBUTES_GET, "get", "7", NULL);
    struct tpc_encode some = message(TPC_MSG_ATTRIBUTES_GET, "get", "7", "{\"keys\":[\"t\"]}");
    const struct tpc_codec_ops *ops = &tpi_codec_thingspanel;
    expect(ops, over(set, NULL, 0, true), "{\"gateway_data\":{\"x\":1}}");
    expect(ops, over(set, path, 1, false), "{\"sub_device_data\":{\"a\":{\"x\":1}}}");
    expect(ops, over(set, path, 1, true),
           "{\"sub_gateway_data\":{\"a\":{\"gateway_data\":{\"x\":1}}}}");
    expect(ops, over(set, path, 2, false),
           "{\"sub_gateway_data\":{\"a\":{\"sub_device_data\":{\"b\":{\"x\":1}}}}}");
    expect(ops, over(go, path, 3, false),
           "{\"sub_gateway_data\":{\"a\":{\"sub_gateway_data\":{\"b\":{\"sub_device_data\":{\"c\":{"
           "\"method\":\"go\",\"params\":{\"k\":2}}}}}}}}");
    expect(ops, over(get, NULL, 0, true), "{\"gateway_data\":[]}");
    expect(ops, over(get, path, 2, true),
           "{\"sub_gateway_data\":{\"a\":{\"sub_gateway_data\":{\"b\":{\"gateway_data\":[]}}}}}");
    expect(ops, over(some, path, 1, false), "{\"sub_device_data\":{\"a\":[\"t\"]}}");
    expect(ops, over(message(TPC_MSG_REPLY, "door", "7", NULL), path, 1, false),
           "{\"result\":0,\"message\":\"success\",\"method\":\"door\"}");
}
END_TEST

START_TEST(thingspanel_keeps_the_id_out_and_answers_in_its_shape)
{
    struct tpc_encode failed = message(TPC_MSG_REPLY, "door", "7", "\"no such key\"");
    failed.code = TPC_EMODEL;
    expect(&tpi_codec_thingspanel, message(TPC_MSG_COMMAND, "open", "7", "{\"a\":1}"),
           "{\"method\":\"open\",\"params\":{\"a\":1}}");
    expect(&tpi_codec_thingspanel, message(TPC_MSG_REPLY, "door", "7", NULL),
           "{\"result\":0,\"message\":\"success\",\"method\":\"door\"}");
    expect(&tpi_codec_thingspanel, failed,
           "{\"result\":1,\"errcode\":\"000\",\"message\":\"no such key\"}");
    struct tpc_encode timed = message(TPC_MSG_REPLY, "door", "7", NULL);
    timed.unix_ms = failed.unix_ms = 1700000000999;
    expect(&tpi_codec_thingspanel, timed,
           "{\"result\":0,\"message\":\"success\",\"ts\":1700000000,\"method\":\"door\"}");
    expect(&tpi_codec_thingspanel, failed,
           "{\"result\":1,\"errcode\":\"000\",\"message\":\"no such key\",\"ts\":1700000000}");
}
END_TEST

START_TEST(alink_writes_the_envelope)
{
    struct tpc_encode failed = message(TPC_MSG_REPLY, "thing.property.post", "7", "\"bad\"");
    failed.code = 500;
    expect(&tpi_codec_alink, message(TPC_MSG_COMMAND, "set", "7", "{\"on\":true}"),
           "{\"requestId\":\"7\",\"method\":\"thing.property.set\",\"params\":{\"on\":true}}");
    expect(&tpi_codec_alink, message(TPC_MSG_COMMAND, "spin", "8", "{\"rpm\":5}"),
           "{\"requestId\":\"8\",\"method\":\"thing.service.invoke\",\"params\":{\"identifier\":"
           "\"spin\",\"inputParams\":{\"rpm\":5}}}");
    expect(&tpi_codec_alink, message(TPC_MSG_REPLY, "thing.property.post", "7", NULL),
           "{\"requestId\":\"7\",\"method\":\"thing.property.post\",\"code\":0,\"msg\":\"\"}");
    expect(&tpi_codec_alink, message(TPC_MSG_REPLY, "alarm", "7", NULL),
           "{\"requestId\":\"7\",\"method\":\"thing.event.post\",\"code\":0,\"msg\":\"\"}");
    expect(&tpi_codec_alink, failed,
           "{\"requestId\":\"7\",\"method\":\"thing.property.post\",\"code\":500,\"msg\":\"bad\"}");
}
END_TEST

START_TEST(what_has_no_encoding_is_refused)
{
    struct tpc_bytes out;
    struct tpc_encode event = message(TPC_MSG_EVENT, "x", NULL, NULL);
    struct tpc_encode nameless = message(TPC_MSG_COMMAND, NULL, NULL, NULL);
    struct tpc_encode get = message(TPC_MSG_COMMAND, "get", NULL, NULL);
    tk_fails(TPC_EUNSUPPORTED, tpi_codec_json.encode(NULL, 0, NULL, &event, arena, NULL, &out));
    tk_fails(TPC_EUNSUPPORTED, tpi_codec_alink.encode(NULL, 0, NULL, &get, arena, NULL, &out));
    tk_fails(TPC_EINVAL, tpi_codec_json.encode(NULL, 0, NULL, &nameless, arena, NULL, &out));
}
END_TEST

START_TEST(long_params_and_cbor_come_back_whole)
{
    struct tpc_value back;
    struct tpc_bytes out;
    char text[2000] = "{\"s\":\"";
    memset(text + 6, 'x', 1900);
    memcpy(text + 1906, "\"}", 3);
    struct tpc_encode e = message(TPC_MSG_COMMAND, "set", NULL, text);
    expect(&tpi_codec_json, e, text);
    tk_ok(tpi_codec_cbor.encode(NULL, 0, NULL, &e, arena, NULL, &out));
    tk_ok(tpc_cbor_parse(arena, out, NULL, &back));
    ck_assert(tpc_value_equal(&back, &e.params));
}
END_TEST

Suite *encode_suite(void)
{
    Suite *suite = suite_create("encode");
    TCase *tc = tcase_create("encode");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, json_writes_commands_sets_and_gets);
    tcase_add_test(tc, thingspanel_builds_the_tree_from_the_top_gateway_down);
    tcase_add_test(tc, thingspanel_keeps_the_id_out_and_answers_in_its_shape);
    tcase_add_test(tc, alink_writes_the_envelope);
    tcase_add_test(tc, what_has_no_encoding_is_refused);
    tcase_add_test(tc, long_params_and_cbor_come_back_whole);
    suite_add_tcase(suite, tc);
    return suite;
}
