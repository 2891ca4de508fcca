/* What rules tell to those who follow them, and the time that they take. */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "house.h"
#include "rules/follow.h"
#include "suites.h"

enum { TOLD = 16384 };

struct told {
    unsigned count;
    char text[TOLD]; /* "condition t1 expr: .." */
    struct tpc_arena *arena;
};

static int tell(void *user, const struct tpc_rule_step *step)
{
    struct told *t = user;
    struct tpc_value v;
    size_t n = strlen(t->text);
    ck_assert_uint_eq(step->size, sizeof(*step));
    tk_ok(tpc_json_parse(t->arena, step->json, 0, NULL, &v));
    ck_assert_uint_eq(v.type, TPC_MAP);
    ck_assert_uint_eq(strlen(step->text.ptr), step->text.len);
    int more =
        snprintf(t->text + n, sizeof(t->text) - n, "%s %s: %s\n", tpc_rule_step_name(step->what),
                 step->device.len > 0 ? step->device.ptr : "-", step->text.ptr);
    ck_assert_uint_lt(n + (size_t) more, sizeof(t->text));
    t->count++;
    return 0;
}

static struct tpi_trace *follow(struct house *h, const char *kind, const char *key, uint64_t looks)
{
    struct tpi_trace_options o = { .looks = looks };
    struct tpi_trace *t = NULL;
    tk_ok(tpi_trace_create(&h->env.env, &o, &t));
    tk_ok(tpi_rules_trace(h->rules, TPC_STR("main"), tpc_str_from(kind), tpc_str_from(key), t));
    return t;
}

/* What was told since, as one text. */
static void expect(struct tpi_trace *t, const char *want)
{
    static struct told told;
    told.count = 0;
    told.text[0] = '\0';
    tk_ok(tpc_arena_create(NULL, 0, &told.arena));
    tk_ok(tpi_trace_take(t, tell, &told));
    tpc_arena_destroy(told.arena);
    ck_assert_str_eq(told.text, want);
}

START_TEST(a_scene_tells_values_edges_waiting_and_actions)
{
    struct house *h = house_new();
    tk_clock_set_unix(&h->env.clock, 1795000000000);
    tk_ok(house_put(
        h, "scene",
        "{'key':'s','when':{'product':'thermo','expr':'temperature > 30 && humidity < 40',"
        "'for':'5m','until':'temperature < 28'},'then':["
        "{'command':{'device':'fan-1','service':'set','params':{'on':true}}},"
        "{'notify':{'handler':'ops','params':{'text':'{{ device.key }}: {{ temperature "
        "}}'}}},"
        "{'command':{'device':'fan-9','service':'set','params':{'on':true}}}]}"));
    house_temperature(h, "t1", 31); /* nobody follows yet */
    struct tpi_trace *t = follow(h, "scene", "s", 0);
    expect(t, "");
    house_temperature(h, "t1", 32);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "condition t1: expr: temperature > 30 && humidity < 40 is null (temperature = 32.0, "
              "humidity = null)\n");
    struct house_point p = { "humidity", 30 };
    house_say(h, "t1", &p, 1);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "condition t1: expr: temperature > 30 && humidity < 40 is true (temperature = 32.0, "
              "humidity = 30)\n"
              "decision t1: became true: waits whether it stays so (2026-11-18T11:11:40Z)\n");
    house_temperature(h, "t1", 29);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "condition t1: until: temperature < 28 is false (temperature = 29.0)\n"
              "decision t1: is still true: waits on (2026-11-18T11:11:40Z)\n");
    (void) house_wait(h, 300000);
    expect(t, "decision t1: was true for long enough: fires\n"
              "action t1: command set to fan-1 {\"on\":true}\n"
              "action t1: notify ops to t1 {\"text\":\"t1: 29\"}\n"
              "refused t1: command set to fan-9 {\"on\":true}: no such device\n");
    house_temperature(h, "t1", 27);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "condition t1: until: temperature < 28 is true (temperature = 27.0)\n"
              "decision t1: is over: can fire again\n");
    tpi_rules_untrace(h->rules, TPC_STR("main"), TPC_STR("scene"), TPC_STR("s"), t);
    house_temperature(h, "t1", 27);
    expect(t, "");
    tpi_trace_unref(t);
    house_free(h);
}
END_TEST

START_TEST(a_scene_tells_what_it_saw_of_others_and_of_before)
{
    struct house *h = house_new();
    tk_ok(house_put(
        h, "scene",
        "{'key':'s','when':{'product':'thermo','expr':'temperature > "
        "device(\\u0027t2\\u0027).temperature && changed(temperature)','fire':'each','every':'1h'},"
        "'then':[{'notify':{'handler':'ops'}}]}"));
    house_temperature(h, "t1", 31);
    struct tpi_trace *t = follow(h, "scene", "s", 0);
    house_temperature(h, "t2", 20);
    house_temperature(h, "t1", 32);
    house_temperature(h, "t1", 33);
    expect(t, "look t2: looked at: telemetry of t2\n"
              "condition t2: expr: temperature > device('t2').temperature && changed(temperature) "
              "is false (temperature = 20.0, device('t2').temperature = 20.0)\n"
              "look t1: looked at: telemetry of t1\n"
              "condition t1: expr: temperature > device('t2').temperature && changed(temperature) "
              "is true (temperature = 32.0, device('t2').temperature = 20.0, last(temperature) = "
              "31.0)\n"
              "decision t1: fires\n"
              "action t1: notify ops to t1\n"
              "look t1: looked at: telemetry of t1\n"
              "condition t1: expr: temperature > device('t2').temperature && changed(temperature) "
              "is true (temperature = 33.0, device('t2').temperature = 20.0, last(temperature) = "
              "32.0)\n"
              "decision t1: is held back: it fired within the time of \"every\" "
              "(2026-11-20T13:00:00Z)\n");
    tpi_trace_unref(t);
    house_free(h);
}
END_TEST

START_TEST(a_data_rule_tells_windows_and_rows)
{
    struct house *h = house_new();
    tk_clock_set_unix(&h->env.clock, 1795000000000);
    tk_ok(
        house_put(h, "rule",
                  "{'key':'r','sql':'SELECT avg(temperature) AS mean FROM thermo WHERE temperature "
                  "> 0 GROUP BY device, TUMBLINGWINDOW(ss, 10) HAVING count(*) > 1','to':{'event':"
                  "'mean'}}"));
    struct tpi_trace *t = follow(h, "rule", "r", 0);
    house_temperature(h, "t1", -1);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "condition t1: WHERE: temperature > 0 is false (temperature = -1.0)\n");
    house_temperature(h, "t1", 20);
    house_temperature(h, "t1", 24);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "condition t1: WHERE: temperature > 0 is true (temperature = 20.0)\n"
              "window t1: window of t1 from 2026-11-18T11:06:40Z to 2026-11-18T11:06:50Z opens and "
              "takes the message: 1 in it\n"
              "look t1: looked at: telemetry of t1\n"
              "condition t1: WHERE: temperature > 0 is true (temperature = 24.0)\n"
              "window t1: window of t1 from 2026-11-18T11:06:40Z to 2026-11-18T11:06:50Z takes the "
              "message: 2 in it\n");
    (void) house_wait(h, 10000);
    expect(t,
           "window t1: window of t1 from 2026-11-18T11:06:40Z to 2026-11-18T11:06:50Z ends: 2 in "
           "it\n"
           "condition t1: HAVING: count(*) > 1 is true (count(*) = 2)\n"
           "row t1: row {\"mean\":22.0,\"device\":\"t1\",\"window_start_ms\":1795000000000,"
           "\"window_end_ms\":1795000010000}\n"
           "action t1: event mean to t1 {\"mean\":22.0,\"device\":\"t1\",\"window_start_ms\":"
           "1795000000000,\"window_end_ms\":1795000010000}\n");
    tpi_trace_unref(t);
    house_free(h);
}
END_TEST

/* Several devices share the window: nobody is named. */
START_TEST(a_window_over_event_time_and_several_devices_tells_what_is_kept_and_late)
{
    struct house *h = house_new();
    tk_clock_set_unix(&h->env.clock, 1795000000000);
    tk_ok(house_put(h, "rule",
                    "{'key':'r','time':'event','to':{'event':'row','device':'fan-1'},"
                    "'sql':'SELECT count(*) AS n FROM thermo GROUP BY TUMBLINGWINDOW(ss, 10)'}"));
    struct tpi_trace *t = follow(h, "rule", "r", 0);
    house_temperature(h, "t1", 1);
    tk_clock_set_unix(&h->env.clock, 1794999990000);
    house_temperature(h, "t2", 2);
    struct told told = { .count = 0 };
    tk_ok(tpc_arena_create(NULL, 0, &told.arena));
    tk_ok(tpi_trace_take(t, tell, &told));
    tpc_arena_destroy(told.arena);
    ck_assert_ptr_nonnull(strstr(told.text, " -: is kept until no earlier one is expected\n"));
    ck_assert_ptr_nonnull(strstr(told.text, " -: is too late: in no window\n"));
    tpi_trace_unref(t);
    house_free(h);
}
END_TEST

START_TEST(a_notification_without_params_is_told_with_its_row)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "rule",
                    "{'key':'r','sql':'SELECT temperature AS t FROM thermo','then':["
                    "{'notify':{'handler':'ops'}},"
                    "{'set':{'device':'fan-1','values':{'on':true}}}]}"));
    struct tpi_trace *t = follow(h, "rule", "r", 0);
    house_temperature(h, "t1", 31);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "row t1: row {\"t\":31.0,\"device\":\"t1\"}\n"
              "action t1: notify ops to t1 {\"t\":31.0,\"device\":\"t1\"}\n"
              "action t1: set to fan-1 {\"on\":true}\n");
    tpi_trace_unref(t);
    house_free(h);
}
END_TEST

START_TEST(a_scene_tells_ages_apart_from_values)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "scene",
                    "{'key':'s','when':{'product':'thermo','expr':'temperature > 30 && "
                    "age(humidity) > 1000 && age(temperature) < 1000'},"
                    "'then':[{'notify':{'handler':'ops'}}]}"));
    struct tpi_trace *t = follow(h, "scene", "s", 0);
    house_temperature(h, "t1", 31);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "condition t1: expr: temperature > 30 && age(humidity) > 1000 && age(temperature) < "
              "1000 is false (temperature = 31.0, age(humidity) = null, age(temperature) = "
              "1795175999000)\n");
    tpi_trace_unref(t);
    house_free(h);
}
END_TEST

START_TEST(a_trace_ends_after_its_looks_and_goes_with_a_changed_rule_but_not_a_deleted_one)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "each"));
    struct tpi_trace *t = follow(h, "scene", "s", 2);
    house_temperature(h, "t1", 1);
    tk_ok(house_scene(h, "s", "temperature > 40", "each"));
    ck_assert(!tpi_trace_over(t));
    house_temperature(h, "t1", 2);
    ck_assert(tpi_trace_over(t));
    house_temperature(h, "t1", 3);
    expect(t, "look t1: looked at: telemetry of t1\n"
              "condition t1: expr: temperature > 30 is false (temperature = 1.0)\n"
              "look t1: looked at: telemetry of t1\n"
              "condition t1: expr: temperature > 40 is false (temperature = 2.0)\n");
    tpi_trace_unref(t);
    t = follow(h, "scene", "s", 0);
    tk_ok(house_delete(h, "scene", "s"));
    expect(t, "");
    tpi_trace_unref(t);
    ck_assert_int_eq(
        tpi_rules_trace(h->rules, TPC_STR("main"), TPC_STR("scene"), TPC_STR("s"), NULL),
        TPC_ENOENT);
    house_free(h);
}
END_TEST

START_TEST(what_nobody_takes_is_counted_as_lost)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "each"));
    struct tpi_trace *t = follow(h, "scene", "s", 0);
    for (int i = 0; i < TPI_TRACE_STEPS / 2 + 5; i++) {
        house_temperature(h, "t1", 1);
    }
    ck_assert_uint_eq(tpi_trace_count(t), TPI_TRACE_STEPS + 10);
    ck_assert_uint_eq(tpi_trace_lost(t), 10);
    tpi_trace_unref(t);
    house_free(h);
}
END_TEST

/* A clock that goes on by 10 ns whenever somebody looks at it. */
struct slow {
    struct tpc_clock base;
    const struct tpc_clock *still;
    uint64_t ns;
};

static int64_t slow_unix(void *user)
{
    const struct slow *s = user;
    return s->still->unix_ms(s->still->user);
}

static uint64_t slow_ns(void *user)
{
    struct slow *s = user;
    return s->ns += 10;
}

static int keep_ns(void *user, const struct tpc_rule_info *info)
{
    *(uint64_t *) user = info->ns;
    return 0;
}

static uint64_t ns_of(struct house *h, const char *kind, const char *key)
{
    uint64_t ns = 0;
    tk_ok(tpi_rules_info(h->rules, TPC_STR("main"), tpc_str_from(kind), tpc_str_from(key), keep_ns,
                         &ns));
    return ns;
}

START_TEST(time_spent_is_sampled_and_stands_for_all_looks)
{
    struct house *h = house_new();
    struct slow slow = { .still = h->env.env.clock };
    slow.base = (struct tpc_clock){
        .size = sizeof(slow.base), .user = &slow, .unix_ms = slow_unix, .mono_ns = slow_ns
    };
    tk_ok(house_put(h, "scene",
                    "{'key':'s','when':{'product':'thermo','expr':'temperature > 30','for':'1s'},"
                    "'then':[{'notify':{'handler':'ops'}}]}"));
    tk_ok(house_put(h, "rule",
                    "{'key':'r','sql':'SELECT temperature AS t FROM thermo','to':{'event':'x'}}"));
    tk_ok(house_put(h, "schedule",
                    "{'key':'p','type':'repeat','interval':'1s','then':[{'notify':{'handler':"
                    "'ops'}}]}"));
    h->count_only = true;
    h->env.env.clock = &slow.base;
    for (int i = 0; i < 60; i++) {
        house_temperature(h, "t1", 1);
    }
    ck_assert_uint_eq(ns_of(h, "scene", "s"), 600);
    ck_assert_uint_eq(ns_of(h, "rule", "r"), 600);
    ck_assert_uint_eq(ns_of(h, "schedule", "p"), 0);
    house_temperature(h, "t1", 31);
    (void) house_wait(h, 1000); /* what the clock sets off is timed each time */
    ck_assert_uint_eq(ns_of(h, "scene", "s"), 620);
    ck_assert_uint_ge(ns_of(h, "schedule", "p"), 10);
    h->env.env.clock = slow.still;
    house_free(h);
}
END_TEST

START_TEST(without_memory_steps_are_lost_and_rules_go_on)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "each"));
    house_temperature(h, "t1", 31);
    struct tpi_trace *t = follow(h, "scene", "s", 0);
    h->env.alloc.fail_at = h->env.alloc.count + 1;
    h->env.alloc.sticky = true;
    house_temperature(h, "t1", 32);
    h->env.alloc.fail_at = 0;
    ck_assert_uint_eq(atomic_load(&h->command_count), 2);
    ck_assert_uint_eq(tpi_trace_lost(t), 4);
    expect(t, "");
    tpi_trace_unref(t);
    house_free(h);
}
END_TEST

Suite *trace_suite(void)
{
    Suite *s = suite_create("trace");
    TCase *c = tcase_create("trace");
    tcase_add_test(c, a_notification_without_params_is_told_with_its_row);
    tcase_add_test(c, a_scene_tells_ages_apart_from_values);
    tcase_add_test(c, a_scene_tells_values_edges_waiting_and_actions);
    tcase_add_test(c, a_scene_tells_what_it_saw_of_others_and_of_before);
    tcase_add_test(c, a_data_rule_tells_windows_and_rows);
    tcase_add_test(c, a_window_over_event_time_and_several_devices_tells_what_is_kept_and_late);
    tcase_add_test(c,
                   a_trace_ends_after_its_looks_and_goes_with_a_changed_rule_but_not_a_deleted_one);
    tcase_add_test(c, what_nobody_takes_is_counted_as_lost);
    tcase_add_test(c, time_spent_is_sampled_and_stands_for_all_looks);
    tcase_add_test(c, without_memory_steps_are_lost_and_rules_go_on);
    suite_add_tcase(s, c);
    return s;
}
