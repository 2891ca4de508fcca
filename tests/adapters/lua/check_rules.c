/* Lua in the rules of a whole core. */
#include "flow.h"
#include "rules_suite.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/modules.h>

static struct flow f;

struct told {
    atomic_uint notes, alerts;
    char last[256]; /* params of the last one as JSON */
};

static int on_batch(void *user, const struct tpc_batch *batch)
{
    struct told *t = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        if (m->kind == TPC_MSG_NOTIFY || m->kind == TPC_MSG_ALERT) {
            struct tpc_buf out = { (uint8_t *) t->last, sizeof(t->last) - 1, 0 };
            memset(t->last, 0, sizeof(t->last));
            (void) tpc_json_write(&m->params, 0, &out);
            atomic_fetch_add(m->kind == TPC_MSG_NOTIFY ? &t->notes : &t->alerts, 1);
        }
    }
    return 0;
}

static struct told told;
static struct tpc_sub *sub;

static void create(uint32_t workers, bool with_lua)
{
    flow_init(&f, workers);
    flow_create(&f);
    if (with_lua) {
        tk_ok(tpc_core_add_module(f.core, tpc_module_lua()));
    }
    flow_devices(&f, 2);
    flow_probe_open(&f);
    atomic_store(&flow_probe.confirm, true);
    atomic_store(&flow_probe.answer, true);
}

static void start(void)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    memset(&told, 0, sizeof(told));
    flow_start(&f);
    (void) flow_session("fan-1", 0);
    o.name = TPC_STR("all");
    o.filter = TPC_STR("main/#");
    tk_ok(tpc_consume(f.core, &o, on_batch, &told, &sub));
    flow_settle(&f);
}

static void end(void)
{
    tpc_unsubscribe(sub);
    flow_fini(&f);
}

/* ' stands for ", ^ for the quote of an expression's text. */
static int put(const char *kind, const char *form)
{
    char text[2048];
    snprintf(text, sizeof(text), "%s", form);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p == '^' ? '\'' : *p;
    }
    return tpc_entity_put(f.core, NULL, kind, tpc_str_from(text), TPC_ANY_REV, NULL);
}

static void put_ok(const char *kind, const char *form)
{
    int rc = put(kind, form);
    ck_assert_msg(rc == 0, "%s: %s: %s", form, tpc_error_last()->path, tpc_error_last()->text);
}

static void feed(const char *device, const char *text)
{
    struct tpc_device *d = flow_device(&f, device);
    tk_ok(flow_feed(d, text));
    tpc_device_unref(d);
    flow_settle(&f);
}

START_TEST(condition_in_lua_decides)
{
    create((uint32_t) _i, true);
    put_ok("scene", "{'key':'s','when':{'product':'thermo','fire':'each',"
                    "'expr':'n > 0 && lua(^local t, n, gone = ... if n == 3 then return nil end "
                    "return t / n > 10 and gone == nil^, temperature, n, null)'},"
                    "'then':[{'notify':{'handler':'ops'}}]}");
    start();
    feed("t1", "{\"temperature\":21,\"n\":2}");
    ck_assert_uint_eq(atomic_load(&told.notes), 1);
    feed("t1", "{\"temperature\":19,\"n\":2}");
    feed("t1", "{\"temperature\":99,\"n\":3}");
    feed("t1", "{\"temperature\":99,\"n\":0}");
    ck_assert_uint_eq(atomic_load(&told.notes), 1);
    feed("t2", "{\"temperature\":99,\"n\":1}");
    ck_assert_uint_eq(atomic_load(&told.notes), 2);
    ck_assert_uint_eq((unsigned) flow_metric(&f, "tpc_rules_scripts_failed_total"), 0);
    end();
}
END_TEST

START_TEST(script_that_fails_or_does_not_end_is_null_and_counted)
{
    create(0, true);
    put_ok("scene", "{'key':'a','when':{'product':'thermo','fire':'each',"
                    "'expr':'lua(^error(\\'oh\\')^, n)  && n > 0'},"
                    "'then':[{'notify':{'handler':'ops'}}]}");
    put_ok("scene", "{'key':'b','when':{'product':'thermo','fire':'each',"
                    "'expr':'n > 0 && lua(^while true do end^)'},"
                    "'then':[{'notify':{'handler':'ops'}}]}");
    put_ok("scene", "{'key':'c','when':{'product':'thermo','fire':'each',"
                    "'expr':'n > 0 && lua(^return {}^)'},"
                    "'then':[{'notify':{'handler':'ops'}}]}");
    put_ok("scene", "{'key':'d','when':{'product':'thermo','fire':'each',"
                    "'expr':'n > 0 && lua(^return io == nil and os == nil and load == nil^)'},"
                    "'then':[{'notify':{'handler':'ops'}}]}");
    start();
    feed("t1", "{\"n\":1}");
    feed("t1", "{\"n\":1}");
    ck_assert_uint_eq(atomic_load(&told.notes), 2); /* d's */
    ck_assert_uint_eq((unsigned) flow_metric(&f, "tpc_rules_scripts_total"), 8);
    ck_assert_uint_eq((unsigned) flow_metric(&f, "tpc_rules_scripts_failed_total"), 4);
    ck_assert_uint_eq(tk_env_logged(&f.e, "a script failed"), 2);
    end();
}
END_TEST

START_TEST(actions_of_a_script_are_done)
{
    create((uint32_t) _i, true);
    put_ok(
        "scene",
        "{'key':'s','when':{'product':'thermo','expr':'temperature > 30'},'then':[{'lua':{"
        "'params':{'t':'{{ temperature }}'},"
        "'code':'for i = 1, 2 do rule.command(^fan-1^, ^spin^, {speed = i}) end\\n"
        "rule.alert(^hot^, ^major^, device.key .. ^ {{ n }} ^ .. params.t)\\n"
        "rule.notify(^ops^, {n = 1}, ^t2^)\\n"
        "return {{notify = {handler = ^ops^, params = {t = params.t + 1, of = device.product}}}}'"
        "}}]}");
    start();
    feed("t1", "{\"temperature\":31}");
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&told.alerts), 1);
    ck_assert_uint_eq(atomic_load(&told.notes), 2);
    ck_assert_str_eq(told.last, "{\"of\":\"thermo\",\"t\":32}");
    ck_assert_uint_eq((unsigned) flow_metric(&f, "tpc_rules_commands_total"), 2);
    feed("t1", "{\"temperature\":32}");
    ck_assert_uint_eq(atomic_load(&told.notes), 2);
    end();
}
END_TEST

START_TEST(script_that_returns_no_actions_fails_its_action_alone)
{
    static const char *const bad[] = { "return 5",
                                       "return {5}",
                                       "return {{emit = {}}}",
                                       "return {{command = {device = ^fan-1^}}}",
                                       "return {{lua = {code = ^return^}}}",
                                       "rule.command(^nobody^, ^spin^)",
                                       "error(^no^)",
                                       "for i = 1, 40 do rule.clear(^x^) end" };
    create(0, true);
    start();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[512], key[8];
        snprintf(key, sizeof(key), "s%zu", i);
        snprintf(text, sizeof(text),
                 "{'key':'%s','when':{'product':'thermo','fire':'each','expr':'n = %zu'},"
                 "'then':[{'lua':{'code':'%s'}},{'notify':{'handler':'ops'}}]}",
                 key, i, bad[i]);
        put_ok("scene", text);
        unsigned refused = (unsigned) flow_metric(&f, "tpc_rules_refused_total");
        snprintf(text, sizeof(text), "{\"n\":%zu}", i);
        feed("t1", text);
        ck_assert_msg(atomic_load(&told.notes) == i + 1, "%s", bad[i]);
        ck_assert_msg((unsigned) flow_metric(&f, "tpc_rules_refused_total") == refused + 1, "%s",
                      bad[i]);
    }
    end();
}
END_TEST

START_TEST(data_rules_and_schedules_run_scripts)
{
    create(0, true);
    put_ok("rule", "{'key':'r','sql':'SELECT lua(^return (...) * 2^, n) AS twice FROM thermo WHERE "
                   "lua(^return ... > 1^, n)','then':[{'lua':{'params':{'v':'{{ twice }}'},"
                   "'code':'return {{notify={handler=^ops^,params=params}}}'}}]}");
    put_ok("schedule", "{'key':'c','type':'cron','cron':'@every 1m','if':'lua(^return "
                       "true^)','then':[{'lua':{'code':"
                       "'return {{notify={handler=^ops^,params={by=1}}}}','device':'t2'}}]}");
    start();
    feed("t1", "{\"n\":1}");
    ck_assert_uint_eq(atomic_load(&told.notes), 0);
    feed("t1", "{\"n\":2}");
    ck_assert_uint_eq(atomic_load(&told.notes), 1);
    ck_assert_str_eq(told.last, "{\"v\":4}");
    tk_clock_advance(&f.e.clock, 61000);
    feed("t1", "{\"n\":1}");
    ck_assert_uint_eq(atomic_load(&told.notes), 2);
    end();
}
END_TEST

START_TEST(script_that_does_not_compile_is_refused_with_its_line)
{
    create(0, true);
    ck_assert_int_ne(put("scene", "{'key':'s','when':{'product':'thermo','expr':'lua(^return =^)'},"
                                  "'then':[{'notify':{'handler':'ops'}}]}"),
                     0);
    ck_assert_str_eq(tpc_error_last()->path, "when.expr");
    ck_assert_uint_eq(tpc_error_last()->column, 5);
    ck_assert_int_ne(put("scene", "{'key':'s','when':{'product':'thermo','expr':'n > 1'},"
                                  "'then':[{'lua':{'code':'local x = 1\\nreturn return'}}]}"),
                     0);
    ck_assert_str_eq(tpc_error_last()->path, "then[0].lua.code");
    ck_assert_uint_eq(tpc_error_last()->line, 2);
    flow_fini(&f);
}
END_TEST

START_TEST(without_the_module_scripts_are_refused_with_a_reason)
{
    create(0, false);
    ck_assert_int_eq(put("scene", "{'key':'s','when':{'product':'thermo','expr':'lua(^return 1^)'},"
                                  "'then':[{'notify':{'handler':'ops'}}]}"),
                     TPC_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(tpc_error_last()->text, "needs the module lua"));
    ck_assert_int_eq(put("scene", "{'key':'s','when':{'product':'thermo','expr':'n > 1'},"
                                  "'then':[{'lua':{'code':'return'}}]}"),
                     TPC_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(tpc_error_last()->text, "needs the module lua"));
    flow_fini(&f);
}
END_TEST

START_TEST(scripts_are_changed_and_deleted_under_traffic)
{
    create(2, true);
    start();
    for (int i = 0; i < 200; i++) {
        char text[400];
        snprintf(text, sizeof(text),
                 "{'key':'s%d','when':{'product':'thermo','fire':'each',"
                 "'expr':'lua(^return ... > %d^, n)'},'then':[{'lua':{'code':'"
                 "rule.notify(^ops^, {i=%d})'}}]}",
                 i % 4, i, i);
        put_ok("scene", text);
        struct tpc_device *d = flow_device(&f, i % 2 == 0 ? "t1" : "t2");
        snprintf(text, sizeof(text), "{\"n\":%d}", i + 1);
        while (flow_feed(d, text) == TPC_EAGAIN) {
        }
        tpc_device_unref(d);
        if (i % 3 == 0) {
            snprintf(text, sizeof(text), "s%d", i % 4);
            tk_ok(tpc_entity_delete(f.core, NULL, TPC_STR("main"), "scene", tpc_str_from(text),
                                    TPC_ANY_REV));
        }
    }
    flow_settle(&f);
    ck_assert_uint_eq((unsigned) flow_metric(&f, "tpc_rules_scripts_failed_total"), 0);
    ck_assert_uint_gt(atomic_load(&told.notes), 0);
    end();
}
END_TEST

Suite *rules_suite(void)
{
    Suite *s = suite_create("rules");
    TCase *c = tcase_create("rules");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, condition_in_lua_decides, 0, 2);
    tcase_add_test(c, script_that_fails_or_does_not_end_is_null_and_counted);
    tcase_add_loop_test(c, actions_of_a_script_are_done, 0, 2);
    tcase_add_test(c, script_that_returns_no_actions_fails_its_action_alone);
    tcase_add_test(c, data_rules_and_schedules_run_scripts);
    tcase_add_test(c, script_that_does_not_compile_is_refused_with_its_line);
    tcase_add_test(c, without_the_module_scripts_are_refused_with_a_reason);
    tcase_add_test(c, scripts_are_changed_and_deleted_under_traffic);
    suite_add_tcase(s, c);
    return s;
}
