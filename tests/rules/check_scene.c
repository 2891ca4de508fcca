/* Scenes as they fire, and how they are refused. */
#include "house.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "data/option.h"
#include "rules/scene.h"

#define COUNT(h, member) TPI_METRIC_GET(tpi_rules_count((h)->rules)->member)

static unsigned commands(struct house *h)
{
    return atomic_load(&h->command_count);
}

START_TEST(rising_fires_once_per_device_until_it_falls)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "fan-on", "temperature > 30", "rising"));
    static const double values[] = { 20, 31, 32, 33, 30, 31, 5 };
    static const unsigned fired[] = { 0, 1, 1, 1, 1, 2, 2 };
    for (size_t i = 0; i < sizeof(fired) / sizeof(fired[0]); i++) {
        house_temperature(h, "t1", values[i]);
        ck_assert_uint_eq(commands(h), fired[i]);
    }
    ck_assert_str_eq(h->commands[0].text, "t1 fan-1 set {\"on\":true}");
    house_temperature(h, "t2", 40); /* each device has an edge of its own */
    house_temperature(h, "t1", 40);
    ck_assert_uint_eq(commands(h), 4);
    ck_assert_str_eq(h->commands[2].text, "t2 fan-1 set {\"on\":true}");
    ck_assert_uint_eq(COUNT(h, fired), 4);
    ck_assert_uint_eq(COUNT(h, commands), 4);
    ck_assert_uint_eq(COUNT(h, evaluations), 9);
    house_free(h);
}
END_TEST

START_TEST(each_fires_with_every_message_while_true)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "alarm", "temperature > 30", "each"));
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 32);
    house_temperature(h, "t1", 3);
    ck_assert_uint_eq(commands(h), 2);
    house_free(h);
}
END_TEST

START_TEST(a_scene_is_looked_at_once_and_only_when_its_property_comes)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "a", "temperature > 30 && humidity < 40", "each"));
    tk_ok(house_scene(h, "b", "humidity < 40", "each"));
    tk_ok(house_scene(h, "c", "humidity < 50", "each"));
    const struct house_point on = { "on", 1 };
    house_say(h, "t1", &on, 1);
    ck_assert_uint_eq(COUNT(h, evaluations), 0);
    const struct house_point both[] = { { "humidity", 30 }, { "temperature", 31 } };
    house_say(h, "t1", both, 2);
    ck_assert_uint_eq(COUNT(h, evaluations), 3);
    ck_assert_uint_eq(commands(h), 3);
    house_temperature(h, "t1", 32);
    ck_assert_uint_eq(COUNT(h, evaluations), 4);
    const struct house_point fan = { "level", 3 };
    house_say(h, "fan-1", &fan, 1); /* the same property numbers, another product */
    ck_assert_uint_eq(COUNT(h, evaluations), 4);
    house_free(h);
}
END_TEST

START_TEST(the_condition_sees_latest_values_and_null_keeps_the_edge)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "a", "temperature > 30 && humidity < 40", "rising"));
    house_temperature(h, "t1", 31); /* humidity is not known */
    ck_assert_uint_eq(commands(h), 0);
    const struct house_point dry = { "humidity", 30 };
    house_say(h, "t1", &dry, 1);
    ck_assert_uint_eq(commands(h), 1);
    /* after a restart nothing is known, but the edge is still up */
    struct tpi_buf state;
    tpi_buf_init(&state, NULL, 0);
    struct tpc_device *t1 = NULL;
    tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), TPC_STR("t1"), NULL, &t1));
    uint32_t partition = t1->partition;
    tpi_device_unref(t1);
    tk_ok(tpi_rules_state_save(h->rules, partition, &state));
    tk_ok(house_restart(h));
    uint64_t next = 0;
    struct tpc_bytes bytes = { state.ptr, state.len };
    tk_ok(tpi_rules_state_load(h->rules, partition, bytes, NULL, &next));
    ck_assert_uint_eq(next, h->offset);
    house_temperature(h, "t1", 32);
    house_say(h, "t1", &dry, 1);
    ck_assert_uint_eq(commands(h), 1);
    const struct house_point wet = { "humidity", 60 };
    house_say(h, "t1", &wet, 1);
    house_say(h, "t1", &dry, 1);
    ck_assert_uint_eq(commands(h), 2);
    tpi_buf_fini(&state);
    house_free(h);
}
END_TEST

START_TEST(the_condition_knows_other_devices_the_product_and_the_time)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "a", "temperature > device(\\\"t2\\\").temperature + 5", "each"));
    tk_ok(house_scene(h, "b",
                      "temperature > 0 and product.key = \\\"thermo\\\" and "
                      "now() - event_time() between -1e15 and 1e15 and "
                      "concat(product.tenant, temperature) = \\\"main33\\\"",
                      "each"));
    house_temperature(h, "t1", 40); /* t2 said nothing yet */
    ck_assert_uint_eq(commands(h), 0);
    house_temperature(h, "t2", 35);
    house_temperature(h, "t1", 40);
    ck_assert_uint_eq(commands(h), 0);
    house_temperature(h, "t1", 41);
    ck_assert_uint_eq(commands(h), 1);
    house_temperature(h, "t2", 33);
    ck_assert_uint_eq(commands(h), 2);
    ck_assert_uint_eq(COUNT(h, texts_lost), 0);
    tk_ok(house_scene(h, "c", "length(lpad(product.key, temperature)) > 0", "each"));
    house_temperature(h, "t1", 5000);
    ck_assert_uint_eq(COUNT(h, texts_lost), 1);
    house_free(h);
}
END_TEST

START_TEST(the_condition_knows_what_was_before_the_message)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "a", "delta(temperature) > 5", "each"));
    static const double values[] = { 20, 25, 31, 31, 40, 30 };
    static const unsigned fired[] = { 0, 0, 1, 1, 2, 2 };
    for (size_t i = 0; i < sizeof(fired) / sizeof(fired[0]); i++) {
        house_temperature(h, "t1", values[i]);
        ck_assert_uint_eq(commands(h), fired[i]);
    }
    house_temperature(h, "t2", 40); /* its first: there was none before */
    ck_assert_uint_eq(commands(h), 2);
    /* what a message does not say is as it was */
    tk_ok(house_scene(h, "b", "changed(humidity) and temperature > 0", "each"));
    house_temperature(h, "t1", 30);
    ck_assert_uint_eq(commands(h), 2);
    const struct house_point wet = { "humidity", 60 };
    house_say(h, "t1", &wet, 1);
    ck_assert_uint_eq(commands(h), 3);
    house_say(h, "t1", &wet, 1);
    ck_assert_uint_eq(commands(h), 3);
    /* nobody asks any more: nothing is kept */
    tk_ok(house_delete(h, "scene", "a"));
    tk_ok(house_delete(h, "scene", "b"));
    house_temperature(h, "t1", 99);
    ck_assert_uint_eq(commands(h), 3);
    ck_assert_uint_eq(COUNT(h, texts_lost), 0);
    house_free(h);
}
END_TEST

START_TEST(only_named_devices_count)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "scene",
                    "{'key':'s','when':{'product':'thermo','devices':['t2','t3'],"
                    "'expr':'temperature > 30'},'then':[{'command':{'service':'set',"
                    "'params':{'on':true},'timeout':'3s','retries':2,'priority':'high'}}]}"));
    house_temperature(h, "t1", 40);
    house_temperature(h, "t3", 40);
    ck_assert_uint_eq(commands(h), 1);
    ck_assert_str_eq(h->commands[0].text, "t3 t3 set {\"on\":true}"); /* no device: itself */
    ck_assert_uint_eq(h->commands[0].timeout_ms, 3000);
    ck_assert_uint_eq(h->commands[0].retries, 2);
    ck_assert_uint_eq(h->commands[0].priority, TPC_PRIORITY_HIGH);
    house_free(h);
}
END_TEST

START_TEST(changes_of_scenes_are_seen_by_the_next_message)
{
    struct house *h = house_new();
    static const char off[] = "{'key':'s','enabled':false,'when':{'product':'thermo',"
                              "'expr':'temperature > 30'},'then':[{'command':{'service':'get'}}]}";
    tk_ok(house_scene(h, "s", "temperature > 30", "rising"));
    house_temperature(h, "t1", 31);
    tk_ok(house_scene(h, "s", "temperature > 30", "rising")); /* same condition: the edge stays */
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 1);
    tk_ok(house_put(h, "scene", off));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 1);
    tk_ok(house_scene(h, "s", "temperature > 30", "rising")); /* on again: fires again */
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 2);
    tk_ok(house_scene(h, "s", "temperature > 29", "rising")); /* another condition: so, too */
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 3);
    ck_assert_uint_eq(COUNT(h, scenes), 1);
    tk_ok(house_delete(h, "scene", "s"));
    house_temperature(h, "t1", 20);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 3);
    ck_assert_uint_eq(COUNT(h, scenes), 0);
    house_free(h);
}
END_TEST

START_TEST(scenes_notify_and_raise_and_clear_alerts)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "scene",
                    "{'key':'hot','when':{'product':'thermo','expr':'temperature > 30',"
                    "'fire':'each'},'then':["
                    "{'notify':{'handler':'ops','params':{'a':1}}},"
                    "{'alert':{'key':'heat','severity':'major','text':'too hot'}},"
                    "{'clear':{'key':'cold','device':'fan-1'}},"
                    "{'alert':{'key':'plain'}}]}"));
    house_temperature(h, "t1", 31);
    static const char *const expected[] = {
        "scene:hot notify t1 ops {\"a\":1}",
        "scene:hot alert t1 heat {\"state\":\"raised\",\"severity\":\"major\",\"text\":\"too "
        "hot\"}",
        "scene:hot alert fan-1 cold {\"state\":\"cleared\"}",
        "scene:hot alert t1 plain {\"state\":\"raised\",\"severity\":\"warning\"}",
    };
    unsigned n = sizeof(expected) / sizeof(expected[0]);
    ck_assert_uint_eq(atomic_load(&h->message_count), n);
    for (unsigned i = 0; i < n; i++) {
        ck_assert_str_eq(h->messages[i].text, expected[i]);
        for (unsigned k = 0; k < i; k++) {
            ck_assert_mem_ne(&h->messages[i].id, &h->messages[k].id, sizeof(struct tpc_id));
        }
    }
    ck_assert_uint_eq(COUNT(h, messages), n);
    /* About a device of another partition: it is said there. */
    ck_assert_uint_eq(h->messages[2].partition,
                      tpi_registry_find_in(h->registry, 1, TPC_STR("fan-1"))->partition);
    house_free(h);
}
END_TEST

START_TEST(texts_of_actions_have_values_in_them)
{
    struct house *h = house_new();
    tk_ok(house_put(
        h, "scene",
        "{'key':'hot','when':{'product':'thermo','expr':'temperature > 30',"
        "'fire':'each'},'then':["
        "{'notify':{'handler':'ops','params':{'text':'{{ device.key }} is at "
        "{{ temperature | round(1) }}','t':'{{ temperature }}','list':[1,'{{ humidity }}'],"
        "'plain':'}}'}}},"
        "{'alert':{'key':'heat','text':'{{ temperature }} in {{ product.key }}'}},"
        "{'command':{'device':'fan-1','service':'set','params':{'on':"
        "'{{ temperature > 40 }}'}}}]}"));
    house_temperature(h, "t1", 31.25);
    house_temperature(h, "t2", 41);
    ck_assert_str_eq(h->messages[0].text, "scene:hot notify t1 ops {\"text\":\"t1 is at 31.3\","
                                          "\"t\":31.25,\"list\":[1,null],\"plain\":\"}}\"}");
    ck_assert_str_eq(h->messages[3].text,
                     "scene:hot alert t2 heat {\"state\":\"raised\",\"severity\":\"warning\","
                     "\"text\":\"41 in thermo\"}");
    ck_assert_str_eq(h->commands[0].text, "t1 fan-1 set {\"on\":false}");
    ck_assert_str_eq(h->commands[1].text, "t2 fan-1 set {\"on\":true}");
    tk_fails(TPC_EINVAL,
             house_put(h, "scene",
                       "{'key':'bad','when':{'product':'thermo','expr':'on'},'then':[{'notify':"
                       "{'handler':'ops','params':{'a':['x','at {{ pressure }}']}}}]}"));
    ck_assert_str_eq(h->err.path, "then[0].notify.params.a[1]");
    ck_assert_uint_eq(h->err.column, 7);
    tk_fails(TPC_EINVAL,
             house_put(h, "scene",
                       "{'key':'bad','when':{'product':'thermo','expr':'on'},'then':[{'alert':"
                       "{'key':'k','text':'{{ temperature '}}]}"));
    ck_assert_str_eq(h->err.path, "then[0].alert.text");
    house_free(h);
}
END_TEST

START_TEST(a_scene_that_fits_again_says_its_values)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "scene",
                    "{'key':'s','when':{'product':'thermo','expr':'humidity > 30'},'then':["
                    "{'notify':{'handler':'ops','params':{'h':'{{ humidity }}'}}}]}"));
    tk_ok(house_put(
        h, "product",
        "{'key':'thermo','model':{'properties':[{'id':'temperature','type':'double'}]}}"));
    tk_ok(house_restart(h));
    ck_assert_uint_eq(COUNT(h, broken), 1);
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':[{'id':'temperature','type':'double'},"
                    "{'id':'humidity','type':'int'}]}}"));
    ck_assert_uint_eq(COUNT(h, broken), 0);
    struct house_point wet = { "humidity", 40 };
    house_say(h, "t1", &wet, 1);
    ck_assert_str_eq(h->messages[0].text, "scene:s notify t1 ops {\"h\":40}");
    house_free(h);
}
END_TEST

struct bad {
    const char *when; /* the expression */
    const char *command;
    int code;
    const char *path;
    const char *text; /* part of it */
    uint32_t line, column;
};

START_TEST(bad_scenes_are_refused_where_they_are_wrong)
{
    static const char good[] = "{'device':'fan-1','service':'set','params':{'on':true}}";
    static const struct bad rows[] = {
        { "temperature >", good, TPC_EINVAL, "when.expr", "a value expected", 1, 14 },
        { "temperature > 3\\n  && on > 1", good, TPC_EINVAL, "when.expr",
          "'on' is bool, compared with a number", 2, 6 },
        { "abs(on) > 3", good, TPC_EINVAL, "when.expr", "a number expected in abs(), 'on' is bool",
          1, 5 },
        { "speed > 3", good, TPC_EINVAL, "when.expr", "no property 'speed'", 1, 1 },
        { "temperature", good, TPC_EINVAL, "when.expr", "a condition is needed", 1, 1 },
        { "on", "{'service':'dance'}", TPC_ENOENT, "then[0].command.service", "dance", 0, 0 },
        { "on", "{'device':'fan-1','service':'boost','params':{'level':9}}", TPC_EMODEL,
          "then[0].command.params", "", 0, 0 },
        { "on", "{'service':'set','params':3}", TPC_EINVAL, "then[0].command.params", "map", 0, 0 },
        { "on", "{'params':{}}", TPC_EINVAL, "then[0].command.service", "", 0, 0 },
        { "on", "{'service':'set','priority':'urgent'}", TPC_EINVAL, "then[0].command.priority", "",
          0, 0 },
        { "on", "{'service':'set','timeout':'soon'}", TPC_EINVAL, "then[0].command.timeout", "", 0,
          0 },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct bad *r = &rows[i];
        char json[1024];
        snprintf(json, sizeof(json),
                 "{'key':'bad','when':{'product':'thermo','expr':'%s'},'then':[{'command':%s}]}",
                 r->when, r->command);
        int rc = house_put(h, "scene", json);
        ck_assert_msg(rc == r->code, "%s: %s %s", r->when, tpc_error_name(rc), h->err.text);
        ck_assert_msg(strncmp(h->err.path, r->path, strlen(r->path)) == 0, "%s", h->err.path);
        ck_assert_msg(strstr(h->err.text, r->text) != NULL, "%s", h->err.text);
        ck_assert_uint_eq(h->err.line, r->line);
        ck_assert_uint_eq(h->err.column, r->column);
    }
    static const char *const items[] = {
        "{}",
        "{'command':{'service':'set'},'notify':{'handler':'ops'}}",
        "{'notify':null}",
        "{'alert':{}}",
        "{'alert':{'key':'k','severity':'bad'}}",
        "{'notify':{}}",
        "{'notify':{'handler':'ops','params':[]}}",
        "{'dance':{}}",
    };
    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        char json[256];
        snprintf(json, sizeof(json),
                 "{'key':'bad','when':{'product':'thermo','expr':'on'},'then':[%s]}", items[i]);
        tk_fails(TPC_EINVAL, house_put(h, "scene", json));
        ck_assert_msg(strncmp(h->err.path, "then[0]", 7) == 0, "%s: %s", items[i], h->err.path);
    }
    tk_fails(TPC_ENOENT, house_put(h, "scene",
                                   "{'key':'bad','when':{'product':'none','expr':'on'},"
                                   "'then':[{'command':{'service':'set'}}]}"));
    ck_assert_str_eq(h->err.path, "when.product");
    tk_fails(
        TPC_EINVAL,
        house_put(h, "scene", "{'key':'bad','when':{'product':'thermo','expr':'on'},'then':[]}"));
    ck_assert_uint_eq(COUNT(h, scenes), 0);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(COUNT(h, evaluations), 0);
    house_free(h);
}
END_TEST

START_TEST(a_bad_change_leaves_the_scene_as_it_was)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "each"));
    tk_fails(TPC_EINVAL, house_scene(h, "s", "temperature > > 30", "each"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 1);
    house_free(h);
}
END_TEST

START_TEST(a_missing_target_is_counted_and_logged_once)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "scene",
                    "{'key':'s','when':{'product':'thermo','expr':'temperature > 30',"
                    "'fire':'each'},'then':["
                    "{'command':{'device':'fan-9','service':'set','params':{'on':true}}},"
                    "{'command':{'device':'fan-1','service':'set','params':{'on':true}}}]}"));
    for (int i = 0; i < 5; i++) {
        house_temperature(h, "t1", 31);
    }
    ck_assert_uint_eq(COUNT(h, missing_target), 5);
    ck_assert_uint_eq(tk_env_logged(&h->env, "fan-9"), 1);
    ck_assert_uint_eq(commands(h), 5); /* the other action is done */
    tk_ok(house_put(h, "device", "{'key':'fan-9','product':'fan'}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 7);
    tk_ok(house_delete(h, "device", "fan-9"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(COUNT(h, missing_target), 6);
    house_free(h);
}
END_TEST

START_TEST(refused_commands_are_counted_and_known_ones_are_not)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "each"));
    h->command_code = TPC_EAGAIN;
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(COUNT(h, refused), 2);
    ck_assert_uint_eq(tk_env_logged(&h->env, "TPC_EAGAIN"), 1);
    h->command_code = TPC_EEXIST;
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(COUNT(h, refused), 2);
    ck_assert_uint_eq(COUNT(h, commands), 0);
    house_free(h);
}
END_TEST

START_TEST(the_same_record_gives_the_same_ids_and_no_other_does)
{
    struct tpc_id ids[6];
    struct tpc_id again;
    tk_ok(tpi_rules_action_id(7, 2, 3, 100, 0, &ids[0]));
    tk_ok(tpi_rules_action_id(7, 2, 3, 100, 0, &again));
    ck_assert_mem_eq(&ids[0], &again, sizeof(again));
    tk_ok(tpi_rules_action_id(8, 2, 3, 100, 0, &ids[1]));
    tk_ok(tpi_rules_action_id(7, 3, 3, 100, 0, &ids[2]));
    tk_ok(tpi_rules_action_id(7, 2, 4, 100, 0, &ids[3]));
    tk_ok(tpi_rules_action_id(7, 2, 3, 101, 0, &ids[4]));
    tk_ok(tpi_rules_action_id(7, 2, 3, 100, 1, &ids[5]));
    for (int i = 0; i < 6; i++) {
        ck_assert_uint_eq(ids[i].b[6] >> 4, 8);
        ck_assert_uint_eq(ids[i].b[8] >> 6, 2);
        for (int j = 0; j < i; j++) {
            ck_assert_mem_ne(&ids[i], &ids[j], sizeof(ids[i]));
        }
    }
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "each"));
    house_temperature(h, "t1", 31);
    h->offset = 0; /* the record is read again */
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 31);
    ck_assert_mem_eq(&h->commands[0].id, &h->commands[1].id, sizeof(h->commands[0].id));
    ck_assert_mem_ne(&h->commands[1].id, &h->commands[2].id, sizeof(h->commands[0].id));
    house_free(h);
}
END_TEST

START_TEST(a_changed_model_has_its_scenes_compiled_again)
{
    struct house *h = house_new();
    tk_ok(house_scene(h, "s", "temperature > 30", "each"));
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':["
                    "{'id':'humidity','type':'int','access':'r'},"
                    "{'id':'temperature','type':'double','access':'r'}]}}"));
    house_temperature(h, "t1", 31); /* another place in the model, the same property */
    ck_assert_uint_eq(commands(h), 1);
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':["
                    "{'id':'humidity','type':'int','access':'r'}]}}"));
    ck_assert_uint_eq(COUNT(h, broken), 1);
    ck_assert_uint_eq(tk_env_logged(&h->env, "no property 'temperature'"), 1);
    const struct house_point dry = { "humidity", 30 };
    house_say(h, "t1", &dry, 1);
    ck_assert_uint_eq(commands(h), 1);
    tk_ok(house_restart(h)); /* a broken scene does not stop the start */
    ck_assert_uint_eq(COUNT(h, broken), 1);
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':["
                    "{'id':'humidity','type':'int','access':'r'},"
                    "{'id':'temperature','type':'int','access':'r'}]}}"));
    ck_assert_uint_eq(COUNT(h, broken), 0);
    house_temperature(h, "t1", 32);
    ck_assert_uint_eq(commands(h), 2);
    house_free(h);
}
END_TEST

struct oom {
    struct house *h;
    struct tpi_change change;
    struct tpc_device *device;
};

static int ignore_command(void *user, uint32_t worker, const struct tpi_rule_command *c)
{
    (void) user;
    (void) worker;
    (void) c;
    return 0;
}

static int ignore_message(void *user, uint32_t worker, const struct tpi_rule_message *m)
{
    (void) user;
    (void) worker;
    (void) m;
    return 0;
}

static int put_and_fire(const struct tpc_allocator *a, void *user)
{
    struct oom *o = user;
    struct tpi_env env = o->h->env.env;
    env.alloc = a;
    struct tpi_rules_host host = { .registry = o->h->registry,
                                   .workers = 1,
                                   .partitions = HOUSE_PARTITIONS,
                                   .command = ignore_command,
                                   .message = ignore_message };
    struct tpi_rules *rules = NULL;
    int rc = tpi_rules_create(&env, &host, NULL, &rules);
    if (rc != 0) {
        return rc;
    }
    const struct tpi_kind *kind = tpi_rules_kind(rules);
    rc = kind->prepare(kind->user, &o->change, NULL);
    if (rc == 0) {
        kind->apply(kind->user, &o->change);
        rc = kind->prepare(kind->user, &o->change, NULL); /* and once more: an update */
    }
    if (rc == 0) {
        kind->discard(kind->user, &o->change);
        struct tpc_point point = { .property = 1 };
        struct tpc_msg m = { .size = sizeof(m),
                             .kind = TPC_MSG_TELEMETRY,
                             .partition = o->device->partition,
                             .point_count = 1,
                             .point_size = sizeof(point),
                             .points = &point };
        tpi_registry_read_lock(o->h->registry);
        tpi_rules_begin(rules, 0);
        tpi_rules_message(rules, 0, o->device, &m);
        tpi_rules_end(rules, 0);
        tpi_registry_read_unlock(o->h->registry);
        const struct tpi_rules_counters *n = tpi_rules_count(rules);
        ck_assert_uint_eq(TPI_METRIC_GET(n->fired) + TPI_METRIC_GET(n->edges_full), 1);
        tpi_rules_product_changed(rules, o->device->product->id);
    }
    tpi_rules_destroy(rules);
    return rc;
}

START_TEST(no_memory_refuses_the_scene_and_leaks_nothing)
{
    static const char json[] = TPC_JSON({
            "key" : "s",
            "when" : { "product" : "thermo", "devices" : ["t1"], "expr" : "temperature > 30",
                       "during" : { "zone" : "+01:00" } },
            "then" : [ { "command" : { "service" : "set", "params" : { "on" : true } } },
                       { "notify" : { "handler" : "ops", "params" : { "t" : "{{ temperature }} at {{ device.key }}" } } } ]
        });
    struct oom o = { .h = house_new() };
    house_temperature(o.h, "t1", 31);
    struct tpc_value doc;
    tk_ok(tpc_arena_create(NULL, 0, &o.change.arena));
    tk_ok(tpc_json_parse(o.change.arena, TPC_STR(json), 0, NULL, &doc));
    tk_ok(tpi_option_check(&tpi_scene_schema, &doc, TPI_OPTION_KEEP_UNKNOWN, o.change.arena, NULL,
                           &doc));
    tk_ok(tpi_registry_open(o.h->registry, TPC_STR("main"), TPC_STR("t1"), NULL, &o.device));
    o.change.doc = &doc;
    o.change.id = 77;
    o.change.revision = 1;
    o.change.tenant = o.device->tenant->id;
    o.change.tenant_key = TPC_STR("main");
    o.change.key = TPC_STR("s");
    ck_assert_uint_gt(tk_each_alloc_fails(put_and_fire, &o), 20);
    tpi_device_unref(o.device);
    tpc_arena_destroy(o.change.arena);
    house_free(o.h);
}
END_TEST

Suite *scene_suite(void)
{
    Suite *s = suite_create("scene");
    TCase *c = tcase_create("scene");
    tcase_add_test(c, scenes_notify_and_raise_and_clear_alerts);
    tcase_add_test(c, texts_of_actions_have_values_in_them);
    tcase_add_test(c, a_scene_that_fits_again_says_its_values);
    tcase_add_test(c, rising_fires_once_per_device_until_it_falls);
    tcase_add_test(c, each_fires_with_every_message_while_true);
    tcase_add_test(c, a_scene_is_looked_at_once_and_only_when_its_property_comes);
    tcase_add_test(c, the_condition_sees_latest_values_and_null_keeps_the_edge);
    tcase_add_test(c, the_condition_knows_other_devices_the_product_and_the_time);
    tcase_add_test(c, the_condition_knows_what_was_before_the_message);
    tcase_add_test(c, only_named_devices_count);
    tcase_add_test(c, changes_of_scenes_are_seen_by_the_next_message);
    tcase_add_test(c, bad_scenes_are_refused_where_they_are_wrong);
    tcase_add_test(c, a_bad_change_leaves_the_scene_as_it_was);
    tcase_add_test(c, a_missing_target_is_counted_and_logged_once);
    tcase_add_test(c, refused_commands_are_counted_and_known_ones_are_not);
    tcase_add_test(c, the_same_record_gives_the_same_ids_and_no_other_does);
    tcase_add_test(c, a_changed_model_has_its_scenes_compiled_again);
    tcase_add_test(c, no_memory_refuses_the_scene_and_leaks_nothing);
    suite_add_tcase(s, c);
    return s;
}
