/* ThingsPanel's scripts (contract thingspanel 5). */
#include "host.h"

#include <string.h>
#include <tpcore/json.h>

static struct lua_host h;

static void setup(void)
{
    tk_ok(lua_host_open(&h, NULL, NULL, NULL));
}

static void teardown(void)
{
    lua_host_close(&h);
}

static const char *panel(const char *body, uint16_t kind, const char *payload)
{
    char script[2048];
    snprintf(script, sizeof(script),
             "local json = require(\"json\")\nfunction encodeInp(msg, topic)\n%s\nend", body);
    return lua_host_run(&h, script, kind,
                        (struct tpc_bytes){ (const uint8_t *) payload, strlen(payload) });
}

/* What json.encode makes of a Lua expression. */
static const char *encoded(const char *expr)
{
    char body[1024];
    snprintf(body, sizeof(body), "local r, e = json.encode(%s) return json.encode({r = r or e})",
             expr);
    return panel(body, 0, "");
}

START_TEST(result_goes_on_as_json)
{
    ck_assert_str_eq(panel("local t = json.decode(msg) t.temp = t.temp / 10 return json.encode(t)",
                           0, "{\"temp\":215,\"n\":3}"),
                     "0:telemetry{n=3,temp=21.5}");
    ck_assert_str_eq(panel("return '{\"a\":' .. msg:byte(1) .. '}'", TPC_MSG_ATTRIBUTES, "A"),
                     "0:attributes{a=65}");
    ck_assert_str_eq(panel("return '{\"method\":\"m\",\"params\":{}}'", TPC_MSG_EVENT, "x"),
                     "0:event name=m params={}{}");
    ck_assert_str_eq(panel("return msg", 0, "plain"), "0:telemetry{_raw=\"plain\"}");
    ck_assert_str_eq(panel("return '[1]'", TPC_MSG_EVENT, "x"),
                     "0:event name=_raw params={\"value\":[1]}{}");
    ck_assert_str_eq(panel("return msg", TPC_MSG_REPLY, "{\"result\":1,\"message\":\"no\"}"),
                     "0:reply msg=no code=1 params={\"result\":1,\"message\":\"no\"}{}");
}
END_TEST

/* Of a gateway's message there is one call; its result is the tree (contract 1.7). */
START_TEST(a_gateways_script_runs_once_on_the_whole_message)
{
    static const char tree[] = "{\"gateway_data\":{\"t\":10},\"sub_device_data\":{\"7\":{\"t\":20},"
                               "\"?\":{\"t\":1}}}";
    (void) panel("calls = (calls or 0) + 1 local g = json.decode(msg) "
                 "g.gateway_data.t = g.gateway_data.t / 10 g.sub_device_data['7'].t = calls "
                 "return json.encode(g)",
                 0, "{\"gateway_data\":{\"t\":1},\"sub_device_data\":{\"7\":{\"t\":1}}}");
    struct tpc_frame frame = { .size = sizeof(frame),
                               .kind = TPC_MSG_TELEMETRY,
                               .topic = TPC_STR("gateway/telemetry"),
                               .payload = { (const uint8_t *) tree, sizeof(tree) - 1 } };
    cs_sink_clear(&h.sink);
    tk_ok(h.ops->decode(h.self, 0, h.program, &frame, 1, sizeof(frame), &h.sink.base));
    ck_assert_ptr_nonnull(strstr(h.sink.trace, "0:telemetry{t=1}"));
    ck_assert_ptr_nonnull(strstr(h.sink.trace, ">7 0:telemetry{t=2} <"));
    ck_assert_ptr_nonnull(strstr(h.sink.trace, ">?"));
    ck_assert_uint_eq(h.sink.messages, 2);
}
END_TEST

/* A script for telemetry cannot read them: it is not asked (contract thingspanel 5). */
START_TEST(responses_and_status_pass_the_script)
{
    const char *body = "return json.encode({v = json.decode(msg).v / 10})";
    ck_assert_str_eq(panel(body, 0, "{\"v\":25}"), "0:telemetry{v=2.5}");
    ck_assert_str_eq(panel(body, TPC_MSG_REPLY, "{\"result\":0,\"message\":\"ok\"}"),
                     "0:reply msg=ok code=0 params={\"result\":0,\"message\":\"ok\"}{}");
    ck_assert_str_eq(panel(body, TPC_MSG_PRESENCE, "1"), "0:presence params={\"online\":true}{}");
    ck_assert_str_eq(panel(body, TPC_MSG_PRESENCE, "x"), "0!TPC_EDECODE");
}
END_TEST

START_TEST(results_that_are_no_string_are_refused)
{
    ck_assert_str_eq(panel("return nil", 0, "x"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(panel("return {}", 0, "x"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(panel("return json.decode('{')", 0, "x"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(panel("return 5", 0, "x"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(panel("local x = nil .. 1", 0, "x"), "0!TPC_ESCRIPT");
    ck_assert_uint_eq(h.sink.err.line, 3);
}
END_TEST

START_TEST(json_encodes_as_thingspanel_does)
{
    ck_assert_str_eq(encoded("{}"), "0:telemetry{r=\"[]\"}");
    ck_assert_str_eq(encoded("{b=1, a={1, 2.5, true}}"),
                     "0:telemetry{r=\"{\\\"a\\\":[1,2.5,true],\\\"b\\\":1}\"}");
    ck_assert_str_eq(encoded("{x=3.0, y=2^53, z=10/4}"),
                     "0:telemetry{r=\"{\\\"x\\\":3,\\\"y\\\":9007199254740992,\\\"z\\\":2.5}\"}");
    ck_assert_str_eq(encoded("'<a&b>'"),
                     "0:telemetry{r=\"\\\"\\\\u003ca\\\\u0026b\\\\u003e\\\"\"}");
    ck_assert_ptr_nonnull(strstr(encoded("{1, nil, 3}"), "sparse array"));
    ck_assert_ptr_nonnull(strstr(encoded("{1, a=2}"), "mixed"));
    ck_assert_ptr_nonnull(
        strstr(encoded("(function() local t = {1} return {a=t, b=t} end)()"), "recursive"));
    ck_assert_ptr_nonnull(strstr(encoded("{f=print}"), "function"));
    ck_assert_ptr_nonnull(strstr(encoded("0/0"), "finite"));
    ck_assert_ptr_nonnull(strstr(encoded("'\\255'"), "\xEF\xBF\xBD"));
}
END_TEST

START_TEST(json_decodes_with_nil_and_an_error)
{
    ck_assert_str_eq(panel("local v, e = json.decode('{x}') return json.encode({a = v == nil,"
                           " b = type(e), c = json.decode('null') == nil,"
                           " d = json.decode('[1,2,3]')[3]})",
                           0, "x"),
                     "0:telemetry{a=true,b=\"string\",c=true,d=3}");
}
END_TEST

START_TEST(numbers_print_as_in_lua_51)
{
    ck_assert_str_eq(
        panel("local t = json.decode(msg) return json.encode({a = t.n .. '', b ="
              " string.format('%d', t.n), c = tostring(6 / 2), d = string.format('%d', 7.9),"
              " e = string.format('%s', 4 / 2), f = string.format('%5.2f|%x', 1, 255.0)})",
              0, "{\"n\":12}"),
        "0:telemetry{a=\"12\",b=\"12\",c=\"3\",d=\"7\",e=\"2\",f=\" 1.00|ff\"}");
}
END_TEST

START_TEST(names_of_lua_51_are_there)
{
    ck_assert_str_eq(
        panel("local n = 0 for w in string.gfind('a b c', '%a') do n = n + 1 end"
              " return json.encode({a = select('#', unpack({1, 2})), b = table.getn({1, 2}),"
              " c = math.pow(2, 3), d = math.mod(7, 4), e = n, f = math.fmod(9, 4)})",
              0, "x"),
        "0:telemetry{a=2,b=2,c=8,d=3,e=3,f=1}");
}
END_TEST

START_TEST(bytes_pass_untouched)
{
    ck_assert_str_eq(
        panel("return '{\"n\":' .. #msg .. ',\"l\":' .. msg:byte(-1) .. '}'", 0, "\xff\x80\xfe"),
        "0:telemetry{n=3,l=254}");
}
END_TEST

START_TEST(globals_stay_between_calls)
{
    (void) panel("count = (count or 0) + 1 return json.encode({c = count})", 0, "x");
    ck_assert_str_eq(cs_decode(h.ops, h.self, h.program, &h.sink, 0, TPC_BYTES("x")),
                     "0:telemetry{c=2}");
}
END_TEST

static void send(const char *script, const char *down, const char *text)
{
    struct tpc_encode what = { .size = sizeof(what), .kind = TPC_MSG_COMMAND };
    struct tpc_bytes out;
    void *program;
    what.name = TPC_STR("open");
    what.correlation = TPC_STR("7");
    tk_ok(tpc_json_parse(h.arena, TPC_STR("{\"a\":1}"), 0, NULL, &what.params));
    tk_ok(lua_host_compile(&h, script, down, &program));
    tk_ok(h.ops->encode(h.self, 0, program, &what, h.arena, NULL, &out));
    ck_assert_msg(out.len == strlen(text) && memcmp(out.ptr, text, out.len) == 0, "%.*s",
                  (int) out.len, (const char *) out.ptr);
    h.ops->release(h.self, program);
}

START_TEST(way_down_has_its_own_script_or_passes_json)
{
    const char *up = "function encodeInp(msg, topic) return msg end";
    send(up, NULL, "{\"method\":\"open\",\"params\":{\"a\":1}}");
    send(up,
         "function encodeInp(msg, topic) local c = require('json').decode(msg)"
         " return c.method .. c.params.a end",
         "open1");
    void *program;
    struct tpc_encode answer = { .size = sizeof(answer), .kind = TPC_MSG_REPLY };
    struct tpc_bytes out;
    tk_ok(lua_host_compile(&h, up, "function encodeInp(msg, topic) error('no command') end",
                           &program));
    tk_ok(h.ops->encode(h.self, 0, program, &answer, h.arena, NULL, &out));
    ck_assert(out.len > 0 && out.ptr[0] == '{');
    h.ops->release(h.self, program);
    tk_fails(TPC_ESCRIPT, lua_host_compile(&h, up, "x = 1", &program));
    tk_fails(TPC_ESCRIPT, lua_host_compile(&h, up, "x = = 1", &program));
    ck_assert_uint_eq(h.err.line, 1);
}
END_TEST

Suite *panel_suite(void)
{
    Suite *suite = suite_create("panel");
    TCase *tc = tcase_create("panel");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, result_goes_on_as_json);
    tcase_add_test(tc, a_gateways_script_runs_once_on_the_whole_message);
    tcase_add_test(tc, responses_and_status_pass_the_script);
    tcase_add_test(tc, results_that_are_no_string_are_refused);
    tcase_add_test(tc, json_encodes_as_thingspanel_does);
    tcase_add_test(tc, json_decodes_with_nil_and_an_error);
    tcase_add_test(tc, numbers_print_as_in_lua_51);
    tcase_add_test(tc, names_of_lua_51_are_there);
    tcase_add_test(tc, bytes_pass_untouched);
    tcase_add_test(tc, globals_stay_between_calls);
    tcase_add_test(tc, way_down_has_its_own_script_or_passes_json);
    suite_add_tcase(suite, tc);
    return suite;
}
