/* Lua scripts of products that do what they should not: stopped, told with their line, and the
 * bytes kept. */
#include "suites.h"

#include <stdio.h>
#include <string.h>

struct bad {
    const char *script; /* JSON text: line ends are \n */
    int line;
    const char *says;
    bool limit; /* stopped by one: which, depends on the machine */
};

static const struct bad bad_scripts[] = {
    { "function decode(b)\\n while true do end\\nend", 2, "went over", true },
    { "function decode(b)\\n local t = {}\\n for i = 1, 1e9 do t[i] = {i} end\\nend", 0,
      "went over", true },
    { "function decode(b)\\n return string.rep('x', 1e9)\\nend", 2, "", false },
    { "function decode(b)\\n\\n os.exit(1)\\nend", 3, "os", false },
    { "function decode(b)\\n io.open('/etc/passwd')\\nend", 2, "io", false },
    { "function decode(b)\\n local x = 1\\n package.loadlib('a', 'b')\\nend", 3, "package", false },
    { "function decode(b)\\n while true do pcall(function() error('no') end) end\\nend", 2,
      "went over", true },
    { "function decode(b)\\n while true do pcall(function() while true do end end) end\\nend", 2,
      "went over", true },
    { "function decode(b)\\n return ('a'):rep(30):find(('a?'):rep(30) .. ('a'):rep(30))\\nend", 2,
      "went over", true },
    { "function decode(b)\\n return (('a'):rep(5000)):find(('.-'):rep(200) .. 'b')\\nend", 2, "",
      false },
    { "function decode(b)\\n error({ a = 1 })\\nend", 0, "", false },
    { "function decode(b)\\n error('a plain error')\\nend", 2, "a plain error", false },
    { "function decode(b)\\n local function f() return f() + 1 end\\n return f()\\nend", 0,
      "went over", true },
    { "function decode(b)\\n return 'a text'\\nend", 0, "", false },
    { "function decode(b)\\n setmetatable(_G, nil)\\n string.sub = nil\\n"
      " return ('x'):sub(1, 1) + {}\\nend",
      4, "", false },
};

static void put_script(struct fx *f, size_t i, const char *script)
{
    char json[700];
    snprintf(json, sizeof(json),
             "{\"key\":\"s%zu\",\"codec\":{\"type\":\"lua\",\"script\":\"%s\"},\"model\":{"
             "\"properties\":[{\"id\":\"seq\",\"type\":\"int\"}]}}",
             i, script);
    fx_put(f, "product", json);
    snprintf(json, sizeof(json), "{\"key\":\"d%zu\",\"product\":\"s%zu\"}", i, i);
    fx_put(f, "device", json);
}

static struct tpc_device *open_one(struct fx *f, size_t i)
{
    char key[20];
    struct tpc_device *d;
    snprintf(key, sizeof(key), "d%zu", i);
    tk_ok(tpc_device_open(f->core, tpc_str_from(key), &d));
    return d;
}

static void on_done(void *user, int error)
{
    struct fx *f = user;
    pthread_mutex_lock(&f->lock);
    f->done++;
    f->failed += error != 0;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

struct sum {
    bool limit;
    double value;
};

static int add_counter(void *user, const struct tpc_metric *m)
{
    struct sum *s = user;
    if (s->limit ? strncmp(m->name, "tpc_lua_", 8) == 0 && strstr(m->name, "_hits_total") != NULL
                 : strcmp(m->name, "tpc_lua_errors_total") == 0) {
        s->value += m->value;
    }
    return 0;
}

static double counters(struct fx *f, bool limit)
{
    struct sum s = { limit, 0 };
    tk_ok(tpc_core_stats(f->core, add_counter, &s));
    return s.value;
}

static void check_script(struct fx *f, size_t i)
{
    static const uint8_t bytes[] = { 1, 2, 3, 0, 255 };
    const struct bad *b = &bad_scripts[i];
    char line[40];
    struct fx_letter l;
    double counted = counters(f, b->limit);
    struct tpc_device *d = open_one(f, i);
    size_t letters = fx_letters(f, NULL);
    size_t logged = tk_env_logged(&f->e, "dead letter of d");
    tk_ok(tpc_feed(d, (struct tpc_bytes){ bytes, sizeof(bytes) }, on_done, f));
    f->fed++;
    fx_settle(f);
    tpc_device_unref(d);
    ck_assert_uint_eq(f->failed, 0);
    ck_assert_uint_eq(fx_letters(f, &l), letters + 1);
    ck_assert_msg(l.code == TPC_ESCRIPT || b->line == 0, "script %zu: %s (%s)", i,
                  tpc_error_name(l.code), l.reason);
    ck_assert_msg(strstr(l.reason, b->says) != NULL, "script %zu: \"%s\"", i, l.reason);
    ck_assert_uint_eq(l.len, sizeof(bytes));
    ck_assert_int_eq(memcmp(l.raw, bytes, sizeof(bytes)), 0);
    ck_assert_msg(counters(f, b->limit) == counted + 1, "script %zu: %s", i, l.reason);
    if (logged < 8) {
        ck_assert_uint_eq(tk_env_logged(&f->e, "dead letter of d"), logged + 1);
    }
    if (b->line != 0) {
        snprintf(line, sizeof(line), "line %d", b->line);
        ck_assert_msg(logged >= 8 || tk_env_logged(&f->e, line) > 0, "script %zu: no %s (%s)", i,
                      line, l.reason);
    }
    tk_ok(tpc_dead_letter_purge(f->core, l.partition, l.offset));
}

static void scripts(uint32_t workers)
{
    struct fx f;
    if (!fx_has_lua()) {
        tk_skip("bad scripts", "the module lua is not built");
        return;
    }
    fx_init(&f, workers, FX_LUA);
    f.o.clock = NULL; /* deadlines of scripts are real */
    fx_open(&f);
    fx_entities(&f);
    for (size_t i = 0; i < sizeof(bad_scripts) / sizeof(bad_scripts[0]); i++) {
        put_script(&f, i, bad_scripts[i].script);
    }
    put_script(&f, 99, "function decode(b) return { seq = #b } end");
    fx_start(&f);
    for (size_t i = 0; i < sizeof(bad_scripts) / sizeof(bad_scripts[0]); i++) {
        check_script(&f, i);
        fx_still_works(&f);
        tk_ok(fx_feed(&f, "d99", "good"));
        fx_settle(&f);
        ck_assert_double_eq(fx_latest(&f, "d99", "seq"), 4);
    }
    fx_fini(&f);
}

START_TEST(bad_scripts_are_stopped_and_their_bytes_kept)
{
    scripts(0);
}
END_TEST

START_TEST(bad_scripts_are_stopped_on_workers)
{
    scripts(2);
}
END_TEST

START_TEST(scripts_that_do_not_compile_are_refused_with_their_line)
{
    static const struct {
        const char *script;
        uint32_t line;
    } bad[] = {
        { "function decode(b)\\n return {\\nend", 3 },
        { "x = = 1", 1 },
        { "\\u001bLua binary", 0 },
        { "while true do end", 1 },
        { "x = 1", 0 },
    };
    struct fx f;
    if (!fx_has_lua()) {
        tk_skip("scripts that do not compile", "the module lua is not built");
        return;
    }
    fx_init(&f, 0, FX_LUA);
    f.o.clock = NULL;
    fx_run(&f);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char json[400];
        snprintf(json, sizeof(json),
                 "{\"key\":\"bad\",\"codec\":{\"type\":\"lua\",\"script\":\"%s\"},\"model\":{"
                 "\"properties\":[{\"id\":\"seq\",\"type\":\"int\"}]}}",
                 bad[i].script);
        int rc = tpc_entity_put(f.core, NULL, "product", tpc_str_from(json), TPC_ANY_REV, NULL);
        ck_assert_msg(rc == TPC_ESCRIPT || rc == TPC_EINVAL, "%s: %s", bad[i].script,
                      tpc_error_name(rc));
        ck_assert_msg(bad[i].line == 0 || tpc_error_last()->line == bad[i].line, "%s: line %u: %s",
                      bad[i].script, tpc_error_last()->line, tpc_error_last()->text);
    }
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

Suite *script_suite(void)
{
    Suite *s = suite_create("script");
    TCase *t = tcase_create("script");
    tcase_add_test(t, bad_scripts_are_stopped_and_their_bytes_kept);
    tcase_add_test(t, bad_scripts_are_stopped_on_workers);
    tcase_add_test(t, scripts_that_do_not_compile_are_refused_with_their_line);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
