#include "host.h"

#include <string.h>
#include <time.h>

static struct lua_host h;

static void setup(void)
{
    tk_ok(lua_host_open(&h, NULL, NULL, NULL));
}

static void teardown(void)
{
    lua_host_close(&h);
}

/* A busy machine must not make a test of memory one of time. */
static void reopen(const char *options)
{
    lua_host_close(&h);
    tk_ok(lua_host_open(&h, NULL, NULL, options));
}

static uint64_t now_ms(void)
{
    return tpi_clock_system()->mono_ns(NULL) / 1000000;
}

/* A body of decode() that must be stopped by a limit, in real time. */
static void stopped(const char *body)
{
    char script[1024];
    uint64_t begin;
    snprintf(script, sizeof(script), "function decode(b)\ndo %s\nend\nreturn {survived = 1} end",
             body);
    void *program = NULL;
    tk_ok(lua_host_compile(&h, script, NULL, &program));
    h.ops->release(h.self, h.program);
    h.program = program;
    begin = now_ms();
    (void) cs_decode(h.ops, h.self, program, &h.sink, 0, TPC_BYTES("x"));
    uint64_t took = now_ms() - begin;
    ck_assert_msg(h.sink.refused == 1 && h.sink.messages == 0, "%s: %s", body, h.sink.trace);
    ck_assert_msg(strstr(h.sink.err.text, "limit") != NULL || strstr(h.sink.err.text, "deadline") ||
                      strstr(h.sink.err.text, "too "),
                  "%s: %s", body, h.sink.err.text);
    ck_assert_int_eq(h.sink.err.code, TPC_ESCRIPT);
    ck_assert_msg(took < 8000, "%s took %u ms", body, (unsigned) took);
    /* The state is as good as before. */
    ck_assert_str_eq(lua_host_eval(&h, "1 + 1"), "0:telemetry{r=2}");
}

START_TEST(loops_are_stopped)
{
    stopped("while true do end");
    stopped("local function f() return f() end f()");
    stopped("for i = 1, 1e12 do local x = i end");
    stopped("goto a ::a:: ::b:: goto b");
    ck_assert_int_ge(h.counts[COUNT_STEPS] + h.counts[COUNT_DEADLINE], 4);
}
END_TEST

START_TEST(pcall_cannot_keep_the_error)
{
    stopped("while true do pcall(function() while true do end end) end");
    stopped("pcall(pcall, pcall, function() while true do end end) while true do end");
    stopped("xpcall(function() while true do end end, function() while true do end end)");
    stopped("while true do xpcall(error, function(e) while true do end end) end");
    stopped("pcall(string.gsub, ('a'):rep(1000), '.', function() while true do end end)");
}
END_TEST

START_TEST(coroutines_are_stopped)
{
    stopped("coroutine.wrap(function() while true do end end)()");
    stopped("while true do local c = coroutine.create(function() while true do end end)"
            " coroutine.resume(c) end");
    stopped("while true do coroutine.wrap(function() for i = 1, 50 do end end)() end");
    stopped("local c = coroutine.create(function() local x <close> = setmetatable({}, {__close ="
            " function() while true do end end}) coroutine.yield() end) coroutine.resume(c)"
            " coroutine.close(c)");
    stopped("local x <close> = setmetatable({}, {__close = function() while true do end end})"
            " error('x')");
    stopped("local function f() return coroutine.wrap(f)() end while true do pcall(f) end");
}
END_TEST

START_TEST(memory_is_bounded)
{
    reopen("{\"deadline_ms\":30000}");
    stopped("local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end");
    stopped("local s = 'x' while true do s = s .. s end");
    stopped("return ('x'):rep(1e9)");
    stopped("local t = {} for i = 1, 1e9 do t[i] = i end");
    stopped("leak = leak or {} while true do pcall(function() leak[#leak + 1] = ('y'):rep(1e5) "
            "end) end");
    stopped(
        "return table.concat({('x'):rep(1e6), ('x'):rep(1e6), ('x'):rep(1e6)}, ('y'):rep(2e6))");
    ck_assert_int_ge(h.counts[COUNT_MEMORY], 4);
}
END_TEST

START_TEST(a_script_that_fills_memory_is_loaded_anew)
{
    reopen("{\"deadline_ms\":30000}");
    void *program;
    tk_ok(lua_host_compile(
        &h,
        "n = 0 function decode(b) n = n + 1 keep = keep or {}"
        " if b == 'fill' then while true do keep[#keep + 1] = ('x'):rep(1e4) end end"
        " return {n = n} end",
        NULL, &program));
    ck_assert_str_eq(cs_decode(h.ops, h.self, program, &h.sink, 0, TPC_BYTES("a")),
                     "0:telemetry{n=1}");
    ck_assert_str_eq(cs_decode(h.ops, h.self, program, &h.sink, 0, TPC_BYTES("a")),
                     "0:telemetry{n=2}");
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(cs_decode(h.ops, h.self, program, &h.sink, 0, TPC_BYTES("fill")),
                         "0!TPC_ESCRIPT");
    }
    ck_assert_str_eq(cs_decode(h.ops, h.self, program, &h.sink, 0, TPC_BYTES("a")),
                     "0:telemetry{n=1}");
    h.ops->release(h.self, program);
}
END_TEST

START_TEST(pathological_patterns_are_stopped)
{
    stopped("return {r = ('a'):rep(28):find(('a?'):rep(28) .. ('a'):rep(28) .. 'b')}");
    stopped("return {r = ('a'):rep(200):match(('a*'):rep(20) .. 'b')}");
    stopped("return {r = ('a'):rep(200):gsub(('a-'):rep(20) .. 'b', '')}");
    stopped("for x in ('a'):rep(200):gmatch(('a*'):rep(20) .. 'b') do end");
    stopped("return {r = ('('):rep(1e6):match('%b()')}");
    stopped("return {r = pcall(string.find, ('a'):rep(200), ('a*'):rep(20) .. 'b')}");
}
END_TEST

START_TEST(library_functions_pay_for_their_work)
{
    stopped("local s = ('x'):rep(1e6) while true do local r = s:reverse() end");
    stopped("local s = ('x'):rep(1e6) while true do string.format('%s', s) end");
    stopped("(''):rep(1e18) while true do end");
    stopped("table.move({}, 1, 1e15, 2)");
    stopped("table.concat(setmetatable({}, {__index = function() return '' end}), '', 1, 1e15)");
    stopped("local t = {} for i = 1, 1e5 do t[i] = i end while true do table.insert(t, 1, 0)"
            " table.remove(t, 1) end");
    stopped("local t = {} for i = 1, 1e4 do t[i] = -i end while true do table.sort(t) end");
    stopped("return {r = table.unpack({}, 1, 1e7)}");
    const char *chain = "local t = {} for i = 1, 1900 do t = setmetatable({}, {__index = t,"
                        " __newindex = t}) end ";
    const char *const walks[] = { "table.move(t, 1, 999999, 1, {})",
                                  "table.move({}, 1, 999999, 1, t)", "table.unpack(t, 1, 2e5)",
                                  "unpack(t, 1, 2e5)" };
    for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
        char body[512];
        snprintf(body, sizeof(body), "%s%s", chain, walks[i]);
        uint64_t begin = now_ms();
        stopped(body);
        ck_assert_uint_lt(now_ms() - begin, 1000);
    }
    ck_assert_str_eq(lua_host_eval(&h, "pcall(table.unpack, 'x', 1, 2)"), "0:telemetry{r=false}");
    stopped("local s = ('x'):rep(1e6) while true do s:find('y', 1, true) end");
    stopped("local s = '[' .. ('1,'):rep(1e5) .. '1]' while true do require('json').decode(s) end");
    stopped("local s = ('x'):rep(1e6) while true do utf8.len(s) end");
}
END_TEST

START_TEST(deadline_is_that_of_the_clock)
{
    static struct lua_host own;
    const char *trace;
    /* A clock that stands still: the steps stop the loop. */
    tk_ok(lua_host_open(&own, NULL, &own.still.base, "{\"steps\":1000000}"));
    trace = lua_host_run(&own, "function decode(b) while true do end end", 0, TPC_BYTES("x"));
    ck_assert_str_eq(trace, "0!TPC_ESCRIPT");
    ck_assert_int_eq(own.counts[COUNT_STEPS], 1);
    lua_host_close(&own);
    /* Steps without end: the clock does. */
    tk_ok(lua_host_open(&own, NULL, NULL, "{\"steps\":1000000000000,\"deadline_ms\":30}"));
    uint64_t begin = now_ms();
    trace = lua_host_run(&own, "function decode(b) while true do end end", 0, TPC_BYTES("x"));
    ck_assert_str_eq(trace, "0!TPC_ESCRIPT");
    ck_assert_int_eq(own.counts[COUNT_DEADLINE], 1);
    ck_assert_uint_lt(now_ms() - begin, 1000);
    lua_host_close(&own);
}
END_TEST

START_TEST(loading_is_limited_too)
{
    void *program = NULL;
    static struct lua_host own;
    tk_ok(lua_host_open(&own, NULL, NULL, "{\"inp_deadline_ms\":50,\"script_bytes\":100}"));
    tk_fails(TPC_ESCRIPT, lua_host_compile(&own, "while true do end", NULL, &program));
    tk_fails(TPC_ETOOBIG,
             lua_host_compile(&own,
                              "-- 0123456789 0123456789 0123456789 0123456789 0123456789"
                              " 0123456789 0123456789 0123456789 0123456789 012345678",
                              NULL, &program));
    lua_host_close(&own);
}
END_TEST

START_TEST(honest_scripts_are_not_disturbed)
{
    ck_assert_str_eq(lua_host_eval(&h, "b:match('(%w+)=(%w+)')"), "0:telemetry{r=\"key\"}");
    ck_assert_str_eq(lua_host_eval(&h, "(function() local s = 0 for i = 1, 1e6 do s = s + i end"
                                       " return s end)()"),
                     "0:telemetry{r=500000500000}");
    ck_assert_str_eq(lua_host_eval(&h, "#('ab'):rep(1000, ',')"), "0:telemetry{r=2999}");
    ck_assert_str_eq(lua_host_eval(&h, "(function() local t = {3, 1, 2} table.sort(t)"
                                       " table.insert(t, 4) table.insert(t, 1, 0)"
                                       " return {table.concat(t, '-'), table.remove(t),"
                                       " select('#', table.unpack(t))} end)()"),
                     "0:telemetry{r=[\"0-1-2-3-4\",4,4]}");
}
END_TEST

Suite *limit_suite(void)
{
    Suite *suite = suite_create("limits");
    TCase *tc = tcase_create("limits");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, loops_are_stopped);
    tcase_add_test(tc, pcall_cannot_keep_the_error);
    tcase_add_test(tc, coroutines_are_stopped);
    tcase_add_test(tc, memory_is_bounded);
    tcase_add_test(tc, a_script_that_fills_memory_is_loaded_anew);
    tcase_add_test(tc, pathological_patterns_are_stopped);
    tcase_add_test(tc, library_functions_pay_for_their_work);
    tcase_add_test(tc, deadline_is_that_of_the_clock);
    tcase_add_test(tc, loading_is_limited_too);
    tcase_add_test(tc, honest_scripts_are_not_disturbed);
    suite_add_tcase(suite, tc);
    return suite;
}
