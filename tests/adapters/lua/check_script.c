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

static const char *run(const char *script)
{
    return lua_host_run(&h, script, 0, TPC_BYTES("\x01\x02\x00\xff"));
}

START_TEST(flat_table_becomes_points)
{
    ck_assert_str_eq(run("function decode(b) local x = string.unpack('>I2', b) return {v = x} end"),
                     "0:telemetry{v=258}");
    ck_assert_str_eq(run("function decode(b) return {v = 0.5} end"), "0:telemetry{v=0.5}");
    ck_assert_str_eq(run("function decode(b) return {v = #b > 3} end"), "0:telemetry{v=true}");
    ck_assert_str_eq(run("function decode(b) return {v = b:sub(1, 2)} end"),
                     "0:telemetry{v=\"\\u0001\\u0002\"}");
    ck_assert_str_eq(run("function decode(b) return {v = b} end"), "0:telemetry{v=<4 bytes>}");
    ck_assert_str_eq(run("function decode(b) return {v = {1, {a = 2}}} end"),
                     "0:telemetry{v=[1,{\"a\":2}]}");
    ck_assert_str_eq(run("function decode(b) return {} end"), "0:telemetry{}");
}
END_TEST

START_TEST(many_points_keep_their_values)
{
    (void) run(
        "function decode(b) local t = {} for i = 1, 500 do t['k' .. i] = i end return t end");
    ck_assert_uint_eq(h.sink.messages, 1);
    ck_assert_uint_eq(h.sink.points, 500);
    ck_assert_ptr_nonnull(strstr(h.sink.trace, "k499=499"));
    (void) run(
        "function decode(b) local t = {} for i = 1, 5000 do t['k' .. i] = i end return t end");
    ck_assert_ptr_nonnull(strstr(h.sink.err.text, "too many points"));
}
END_TEST

START_TEST(message_table_sets_the_head)
{
    ck_assert_str_eq(run("function decode(b) return {kind='event', name='door', time=1700000000000,"
                         " params={open=true}} end"),
                     "0:event@1700000000000 name=door params={\"open\":true}{}");
    ck_assert_str_eq(run("function decode(b) return {points={a=1}, time=5.0} end"),
                     "0:telemetry@5{a=1}");
    ck_assert_str_eq(run("function decode(b) return {kind='attributes', points={a=1}} end"),
                     "0:attributes{a=1}");
    ck_assert_str_eq(run("function decode(b) return {kind='reply', code=3, correlation=77,"
                         " message='no'} end"),
                     "0:reply corr=77 msg=no code=3{}");
    ck_assert_str_eq(run("function decode(b) return {kind='nonsense'} end"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(run("function decode(b) return {kind='event'} end"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(run("function decode(b) return {points=7} end"), "0!TPC_ESCRIPT");
}
END_TEST

START_TEST(list_becomes_several_messages_or_none)
{
    ck_assert_str_eq(run("function decode(b) return {{a=1}, {kind='event', name='e'},"
                         " {points={b=2}, time=9}} end"),
                     "0:telemetry{a=1} 0:event name=e{} 0:telemetry@9{b=2}");
    ck_assert_str_eq(run("function decode(b) return {{a=1}, 7} end"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(run("function decode(b) return {{a=1}, {kind='x'}} end"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(
        run("function decode(b) local t = {} for i=1,300 do t[i]={a=i} end return t end"),
        "0!TPC_ESCRIPT");
}
END_TEST

START_TEST(results_that_are_no_messages_are_refused)
{
    ck_assert_str_eq(run("function decode(b) return nil end"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(run("function decode(b) return nil, 'short frame' end"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(h.sink.err.text, "short frame");
    ck_assert_str_eq(run("function decode(b) return 'x' end"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(run("function decode(b) return {1, 2} end"), "0!TPC_ESCRIPT");
    ck_assert_str_eq(run("function decode(b) return {f = print} end"), "0!TPC_ESCRIPT");
    ck_assert_ptr_nonnull(strstr(h.sink.err.text, "f: "));
    ck_assert_str_eq(run("function decode(b) local t = {} t.t = t return t end"), "0!TPC_ESCRIPT");
}
END_TEST

START_TEST(shape_follows_the_frames_kind)
{
    const char *event = "function decode(b) return {method='m', params={1}} end";
    const char *reply = "function decode(b) return {id='7', code=0} end";
    ck_assert_str_eq(lua_host_run(&h, event, TPC_MSG_EVENT, TPC_BYTES("x")),
                     "0:event name=m params=[1]{}");
    ck_assert_str_eq(lua_host_run(&h, reply, TPC_MSG_REPLY, TPC_BYTES("x")),
                     "0:reply corr=7 code=0{}");
    ck_assert_str_eq(lua_host_run(&h, "function decode(b) return {online=true} end",
                                  TPC_MSG_PRESENCE, TPC_BYTES("x")),
                     "0:presence params={\"online\":true}{}");
    ck_assert_str_eq(
        lua_host_run(&h, "function decode(b) return {a=1} end", TPC_MSG_ATTRIBUTES, TPC_BYTES("x")),
        "0:attributes{a=1}");
}
END_TEST

/* What a broker says of the connection is for no script. */
START_TEST(a_status_of_the_transport_passes_the_script)
{
    static const char script[] = "function decode(b) return {v = string.unpack('>I4', b)} end";
    ck_assert_str_eq(lua_host_run(&h, script, TPC_MSG_PRESENCE, TPC_BYTES("1")),
                     "0:presence params={\"online\":true}{}");
    ck_assert_str_eq(lua_host_run(&h, script, TPC_MSG_PRESENCE, TPC_BYTES("0")),
                     "0:presence params={\"online\":false}{}");
}
END_TEST

START_TEST(ctx_tells_about_the_frame)
{
    void *program;
    tk_ok(lua_host_compile(&h,
                           "function decode(b, ctx) keep = ctx return {p=ctx.product, d=ctx.device,"
                           " t=ctx.topic, k=ctx.kind, x=tostring(ctx.nothing)} end",
                           NULL, &program));
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_TELEMETRY };
    f.device = TPC_STR("t1");
    f.topic = TPC_STR("a/b");
    cs_sink_clear(&h.sink);
    tk_ok(h.ops->decode(h.self, 0, program, &f, 1, sizeof(f), &h.sink.base));
    ck_assert_ptr_nonnull(strstr(h.sink.trace, "p=\"thermo\""));
    ck_assert_ptr_nonnull(strstr(h.sink.trace, "d=\"t1\""));
    ck_assert_ptr_nonnull(strstr(h.sink.trace, "t=\"a/b\""));
    ck_assert_ptr_nonnull(strstr(h.sink.trace, "k=\"telemetry\""));
    ck_assert_ptr_nonnull(strstr(h.sink.trace, "x=\"nil\""));
    h.ops->release(h.self, program);
}
END_TEST

START_TEST(errors_name_product_line_and_message)
{
    void *program = NULL;
    (void) run("function decode(b)\n  local t = nil\n  return t.x\nend");
    ck_assert_int_eq(h.sink.err.code, TPC_ESCRIPT);
    ck_assert_uint_eq(h.sink.err.line, 3);
    ck_assert_str_eq(h.sink.err.path, "thermo");
    ck_assert_str_eq(h.sink.err.origin, "lua");
    ck_assert_ptr_nonnull(strstr(h.sink.err.text, "attempt to index a nil value"));
    (void) run("function decode(b) error({code = 1}) end");
    ck_assert_str_eq(h.sink.err.text, "the error is no text");
    ck_assert_int_eq(h.counts[COUNT_ERRORS], 2);

    tk_fails(TPC_ESCRIPT,
             lua_host_compile(&h, "function decode(b)\n  return {\nend", NULL, &program));
    ck_assert_uint_eq(h.err.line, 3);
    ck_assert_str_eq(h.err.path, "thermo");
    tk_fails(TPC_ESCRIPT, lua_host_compile(&h, "x = 1", NULL, &program));
    tk_fails(TPC_ESCRIPT, lua_host_compile(&h, "", NULL, &program));
    tk_fails(TPC_ESCRIPT, lua_host_compile(&h, "error('at load')", NULL, &program));
    ck_assert_str_eq(h.err.text, "at load");
    tk_fails(TPC_ESCRIPT, lua_host_compile(&h, "\x1bLua", NULL, &program));
    ck_assert_ptr_null(program);
}
END_TEST

START_TEST(configuration_mistakes_are_told)
{
    static const char *const bad[] = { "{\"type\":\"lua\"}", "\"lua\"",
                                       "{\"type\":\"lua\",\"script\":1}",
                                       "{\"type\":\"lua\",\"script\":\"x\",\"file\":\"y\"}",
                                       "{\"type\":\"lua\",\"script\":\"x\",\"speed\":9}" };
    struct tpc_codec_source source = { .size = sizeof(source) };
    void *program;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tk_ok(tpc_json_parse(h.arena, tpc_str_from(bad[i]), 0, NULL, &source.config));
        tk_fails(TPC_EINVAL, h.ops->compile(h.self, &source, &h.err, &program));
    }
    tk_ok(tpc_json_parse(h.arena, TPC_STR("{\"type\":\"lua\",\"file\":\"/nowhere/x.lua\"}"), 0,
                         NULL, &source.config));
    tk_fails(TPC_ENOENT, h.ops->compile(h.self, &source, &h.err, &program));
}
END_TEST

START_TEST(script_is_read_from_a_file)
{
    char text[600];
    char path[500];
    struct tpc_codec_source source = { .size = sizeof(source) };
    void *program;
    snprintf(path, sizeof(path), "%s", tk_tmpdir());
    ck_assert_int_eq(tpi_files_system()->make_dir(NULL, path, NULL), 0);
    snprintf(path + strlen(path), 20, "/meter.lua");
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("function decode(b) return {n = #b} end", f);
    fclose(f);
    snprintf(text, sizeof(text), "{\"type\":\"lua\",\"file\":\"%s\"}", path);
    tk_ok(tpc_json_parse(h.arena, tpc_str_from(text), 0, NULL, &source.config));
    tk_ok(h.ops->compile(h.self, &source, &h.err, &program));
    ck_assert_str_eq(cs_decode(h.ops, h.self, program, &h.sink, 0, TPC_BYTES("abc")),
                     "0:telemetry{n=3}");
    h.ops->release(h.self, program);
}
END_TEST

START_TEST(programs_do_not_see_each_other)
{
    void *a;
    void *b;
    tk_ok(
        lua_host_compile(&h,
                         "secret = 42 string.len = nil function string.twice(s) return s .. s end\n"
                         "table.insert = nil rawset(_G, 'g', 1)\n"
                         "function decode(b) n = (n or 0) + 1 return {n = n, t = b:twice()} end",
                         NULL, &a));
    tk_ok(lua_host_compile(&h,
                           "function decode(b) return {s = tostring(secret), g = tostring(g),"
                           " l = b:len(), t = tostring(b.twice), i = type(table.insert)} end",
                           NULL, &b));
    ck_assert_ptr_nonnull(
        strstr(cs_decode(h.ops, h.self, a, &h.sink, 0, TPC_BYTES("x")), "t=\"xx\""));
    const char *trace = cs_decode(h.ops, h.self, b, &h.sink, 0, TPC_BYTES("x"));
    ck_assert_ptr_nonnull(strstr(trace, "s=\"nil\""));
    ck_assert_ptr_nonnull(strstr(trace, "g=\"nil\""));
    ck_assert_ptr_nonnull(strstr(trace, "l=1"));
    ck_assert_ptr_nonnull(strstr(trace, "t=\"nil\""));
    ck_assert_ptr_nonnull(strstr(trace, "i=\"function\""));
    ck_assert_ptr_nonnull(strstr(cs_decode(h.ops, h.self, a, &h.sink, 0, TPC_BYTES("y")), "n=2"));
    h.ops->release(h.self, a);
    ck_assert_ptr_nonnull(strstr(cs_decode(h.ops, h.self, b, &h.sink, 0, TPC_BYTES("x")), "l=1"));
    h.ops->release(h.self, b);
}
END_TEST

/* Also the statements outside of functions call the program's own methods of strings. */
START_TEST(a_loading_script_has_its_own_string_methods)
{
    void *bad = NULL;
    void *good = NULL;
    tk_ok(lua_host_compile(&h,
                           "string.rep = function() return 'stolen' end"
                           " function decode(b) return {v = ('a'):rep(2)} end",
                           NULL, &bad));
    ck_assert_str_eq(cs_decode(h.ops, h.self, bad, &h.sink, 0, TPC_BYTES("x")),
                     "0:telemetry{v=\"stolen\"}");
    tk_ok(lua_host_compile(&h,
                           "local v = ('a'):rep(2) string.upper = function() return 'mine' end"
                           " v = v .. ('b'):upper() function decode(b) return {v = v} end",
                           NULL, &good));
    ck_assert_str_eq(cs_decode(h.ops, h.self, good, &h.sink, 0, TPC_BYTES("x")),
                     "0:telemetry{v=\"aamine\"}");
    ck_assert_str_eq(cs_decode(h.ops, h.self, bad, &h.sink, 0, TPC_BYTES("x")),
                     "0:telemetry{v=\"stolen\"}");
    h.ops->release(h.self, bad);
    h.ops->release(h.self, good);
}
END_TEST

START_TEST(dangerous_names_are_not_there)
{
    static const char *const names[] = { "io",
                                         "os",
                                         "debug",
                                         "package",
                                         "load",
                                         "loadstring",
                                         "loadfile",
                                         "dofile",
                                         "string.dump",
                                         "collectgarbage",
                                         "getmetatable('').__index" };
    char expr[200];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) - 1; i++) {
        snprintf(expr, sizeof(expr), "tostring(%s)", names[i]);
        ck_assert_msg(strcmp(lua_host_eval(&h, expr), "0:telemetry{r=\"nil\"}") == 0, "%s",
                      names[i]);
    }
    ck_assert_str_eq(lua_host_eval(&h, "getmetatable('')"), "0:telemetry{r=false}");
    ck_assert_str_eq(lua_host_eval(&h, "pcall(setmetatable, {}, {__gc = print})"),
                     "0:telemetry{r=false}");
    (void) run("function decode(b) os.exit(1) end");
    ck_assert_ptr_nonnull(strstr(h.sink.err.text, "os"));
    ck_assert_str_eq(lua_host_eval(&h, "pcall(require, 'os')"), "0:telemetry{r=false}");
    ck_assert_str_eq(lua_host_eval(&h, "('x').rep == string.rep"), "0:telemetry{r=true}");
}
END_TEST

START_TEST(protected_calls_and_coroutines_work)
{
    ck_assert_str_eq(lua_host_eval(&h, "select(2, pcall(function() return 5 end))"),
                     "0:telemetry{r=5}");
    ck_assert_str_eq(lua_host_eval(&h, "select(2, xpcall(function(a) return a end, print, 6))"),
                     "0:telemetry{r=6}");
    ck_assert_str_eq(
        lua_host_eval(&h, "select(2, xpcall(error, function(e) return e .. '!' end, 'x'))"),
        "0:telemetry{r=\"x!\"}");
    ck_assert_str_eq(lua_host_eval(&h, "(function() local c = coroutine.wrap(function(a)"
                                       " local b = coroutine.yield(a) pcall(coroutine.yield, b + 1)"
                                       " return 9 end) return {c(1), c(2), c()} end)()"),
                     "0:telemetry{r=[1,3,9]}");
    ck_assert_str_eq(lua_host_eval(&h, "select('#', coroutine.resume(coroutine.create(error)))"),
                     "0:telemetry{r=2}");
    ck_assert_str_eq(lua_host_eval(&h, "require('string').upper('a')"), "0:telemetry{r=\"A\"}");
}
END_TEST

START_TEST(encode_makes_bytes)
{
    void *program;
    struct tpc_bytes out;
    struct tpc_error err;
    struct tpc_encode what = { .size = sizeof(what), .kind = TPC_MSG_COMMAND };
    what.name = TPC_STR("spin");
    what.device = TPC_STR("fan-1");
    what.correlation = TPC_STR("77");
    tk_ok(tpc_json_parse(h.arena, TPC_STR("{\"rpm\":258}"), 0, NULL, &what.params));
    tk_ok(lua_host_compile(&h,
                           "function decode(b) return {} end function encode(c, ctx)"
                           " return string.pack('>I2', c.params.rpm) .. c.name .. c.correlation"
                           " .. ctx.device .. c.kind end",
                           NULL, &program));
    tk_ok(h.ops->encode(h.self, 1, program, &what, h.arena, NULL, &out));
    ck_assert_uint_eq(out.len, 2 + 4 + 2 + 5 + 7);
    ck_assert_mem_eq(out.ptr, "\x01\x02spin77fan-1command", out.len);
    what.params.type = TPC_NULL;
    tk_fails(TPC_ESCRIPT, h.ops->encode(h.self, 0, program, &what, h.arena, &err, &out));
    ck_assert_uint_eq(err.line, 1);
    ck_assert_str_eq(err.path, "thermo");
    h.ops->release(h.self, program);
    tk_ok(lua_host_compile(&h, "function decode(b) return {} end", NULL, &program));
    tk_fails(TPC_EUNSUPPORTED, h.ops->encode(h.self, 0, program, &what, h.arena, &err, &out));
    tk_fails(TPC_EINVAL, h.ops->encode(h.self, 7, program, &what, h.arena, &err, &out));
    h.ops->release(h.self, program);
}
END_TEST

START_TEST(codec_keeps_the_rules_of_the_interface)
{
    void *program;
    tk_ok(lua_host_compile(&h,
                           "function decode(b) if b == 'bad' then error('no') end"
                           " return {{a=1, b='x'}, {c=2}} end",
                           NULL, &program));
    const struct cs_case c = { h.ops, h.self, program, TPC_BYTES("good"), TPC_BYTES("bad") };
    cs_run(&c);
    h.ops->release(h.self, program);
}
END_TEST

/* Everything from init to fini with allocations that fail. */
static int whole_life(const struct tpc_allocator *a, void *user)
{
    static struct lua_host own;
    void *program = NULL;
    (void) user;
    int rc = lua_host_open(&own, a, &own.still.base, NULL);
    if (rc != 0) {
        return rc;
    }
    rc = lua_host_compile(&own, "function decode(b) return {n = #b, s = b .. 'x'} end", NULL,
                          &program);
    if (rc == 0) {
        (void) cs_decode(own.ops, own.self, program, &own.sink, 0, TPC_BYTES("abc"));
        rc = own.sink.refused > 0 ? own.sink.err.code : 0;
        own.ops->release(own.self, program);
    }
    lua_host_close(&own);
    return rc;
}

START_TEST(out_of_memory_is_told_and_nothing_leaks)
{
    ck_assert_uint_gt(tk_each_alloc_fails(whole_life, NULL), 5);
}
END_TEST

Suite *script_suite(void)
{
    Suite *suite = suite_create("script");
    TCase *tc = tcase_create("script");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, flat_table_becomes_points);
    tcase_add_test(tc, many_points_keep_their_values);
    tcase_add_test(tc, message_table_sets_the_head);
    tcase_add_test(tc, list_becomes_several_messages_or_none);
    tcase_add_test(tc, results_that_are_no_messages_are_refused);
    tcase_add_test(tc, shape_follows_the_frames_kind);
    tcase_add_test(tc, a_status_of_the_transport_passes_the_script);
    tcase_add_test(tc, ctx_tells_about_the_frame);
    tcase_add_test(tc, errors_name_product_line_and_message);
    tcase_add_test(tc, configuration_mistakes_are_told);
    tcase_add_test(tc, script_is_read_from_a_file);
    tcase_add_test(tc, programs_do_not_see_each_other);
    tcase_add_test(tc, a_loading_script_has_its_own_string_methods);
    tcase_add_test(tc, dangerous_names_are_not_there);
    tcase_add_test(tc, protected_calls_and_coroutines_work);
    tcase_add_test(tc, encode_makes_bytes);
    tcase_add_test(tc, codec_keeps_the_rules_of_the_interface);
    tcase_add_test(tc, out_of_memory_is_told_and_nothing_leaks);
    suite_add_tcase(suite, tc);
    return suite;
}
