/* Actions beyond commands and messages: other scenes, delays, many devices, switches; and chains. */
#include "house.h"
#include "suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(h, member) TPI_METRIC_GET(tpi_rules_count((h)->rules)->member)

static unsigned commands(struct house *h)
{
    return atomic_load(&h->command_count);
}

/* A scene over product thermo that fires with each temperature above 30. */
static int hot(struct house *h, const char *key, const char *then)
{
    char json[2048];
    snprintf(json, sizeof(json),
             "{'key':'%s','when':{'product':'thermo','expr':'temperature > 30','fire':'each'},"
             "'then':[%s]}",
             key, then);
    return house_put(h, "scene", json);
}

/* One that nothing sets off but another one. */
static int fan(struct house *h, const char *key, const char *then)
{
    char json[2048];
    snprintf(json, sizeof(json),
             "{'key':'%s','when':{'product':'fan','expr':'level > 3','fire':'each'},"
             "'then':[%s]}",
             key, then);
    return house_put(h, "scene", json);
}

static int keep_error(void *user, const struct tpc_rule_info *info)
{
    snprintf(user, 200, "%.*s", (int) info->error.len, info->error.ptr);
    return 0;
}

static void error_of(struct house *h, const char *kind, const char *key, char ret[200])
{
    tk_ok(tpi_rules_info(h->rules, TPC_STR("main"), tpc_str_from(kind), tpc_str_from(key),
                         keep_error, ret));
}

START_TEST(a_scene_runs_another_one_for_the_same_device)
{
    struct house *h = house_new();
    tk_ok(fan(h, "b",
              "{'command':{'device':'fan-1','service':'set','params':{'on':true}}},"
              "{'notify':{'handler':'ops','params':{'text':'{{ device.key }} {{ level }}'}}}"));
    tk_ok(hot(h, "a", "{'run':{'scene':'b'}},{'run':{'scene':'b','device':'fan-1'}}"));
    struct house_point level = { "level", 2 };
    house_say(h, "fan-1", &level, 1);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 2);
    ck_assert_str_eq(h->commands[0].text, "t1 fan-1 set {\"on\":true}");
    ck_assert_str_eq(h->commands[1].text, "fan-1 fan-1 set {\"on\":true}");
    /* the two have ids of their own, and keep them when the message comes again */
    ck_assert_mem_ne(h->commands[0].id.b, h->commands[1].id.b, 16);
    ck_assert_str_eq(h->messages[0].text, "scene:b notify t1 ops {\"text\":\"t1 \"}");
    ck_assert_str_eq(h->messages[1].text, "scene:b notify fan-1 ops {\"text\":\"fan-1 2\"}");
    struct house_point p = { "temperature", 31 };
    struct tpc_device *d = NULL;
    tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), TPC_STR("t1"), NULL, &d));
    house_message(h, d, h->offset - 1, &p, 1);
    tpi_device_unref(d);
    ck_assert_mem_eq(h->commands[0].id.b, h->commands[2].id.b, 16);
    ck_assert_mem_eq(h->commands[1].id.b, h->commands[3].id.b, 16);
    house_free(h);
}
END_TEST

START_TEST(a_scene_that_is_run_is_asked_only_if_that_is_said)
{
    struct house *h = house_new();
    tk_ok(fan(h, "b", "{'command':{'device':'fan-1','service':'set','params':{'on':true}}}"));
    tk_ok(hot(h, "a", "{'run':{'scene':'b','device':'fan-1','ask':true}}"));
    struct house_point level = { "level", 2 };
    house_say(h, "fan-1", &level, 1);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 0);
    level.value = 5;
    house_say(h, "fan-1", &level, 1);
    ck_assert_uint_eq(commands(h), 1);
    house_temperature(h, "t1", 32);
    ck_assert_uint_eq(commands(h), 2);
    house_free(h);
}
END_TEST

START_TEST(a_scene_that_cannot_be_run_is_a_failed_action)
{
    struct house *h = house_new();
    char error[200];
    tk_ok(hot(h, "a", "{'run':{'scene':'none'}},{'notify':{'handler':'ops'}}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(atomic_load(&h->message_count), 1); /* the others are done */
    ck_assert_uint_eq(COUNT(h, refused), 1);
    error_of(h, "scene", "a", error);
    ck_assert_str_eq(error, "'none' to 't1': TPC_ENOENT");
    tk_ok(house_put(h, "scene",
                    "{'key':'none','enabled':false,'when':{'product':'fan','expr':'level > 3'},"
                    "'then':[{'notify':{'handler':'ops'}}]}"));
    house_temperature(h, "t1", 31);
    error_of(h, "scene", "a", error);
    ck_assert_str_eq(error, "'none' to 't1': TPC_ESTATE");
    ck_assert_uint_eq(atomic_load(&h->message_count), 2);
    tk_ok(house_delete(h, "scene", "none"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(COUNT(h, refused), 3);
    house_free(h);
}
END_TEST

START_TEST(a_scene_that_triggers_itself_is_cut_and_says_so)
{
    struct house *h = house_new();
    char error[200];
    tk_ok(hot(h, "a", "{'notify':{'handler':'ops'}},{'run':{'scene':'a'}}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(atomic_load(&h->message_count), TPI_RULES_HOPS);
    ck_assert_uint_eq(COUNT(h, loops), 1);
    error_of(h, "scene", "a", error);
    ck_assert_str_eq(error, "cut after 16 links: .. > scene:a > scene:a > scene:a > scene:a");
    house_temperature(h, "t1", 32); /* the next message begins anew */
    ck_assert_uint_eq(atomic_load(&h->message_count), 2 * TPI_RULES_HOPS);
    ck_assert_uint_eq(COUNT(h, loops), 2);
    house_free(h);
}
END_TEST

START_TEST(a_scene_that_runs_itself_twice_comes_to_an_end)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a", "{'run':{'scene':'a'}},{'run':{'scene':'a'}}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_gt(COUNT(h, loops), 0);
    ck_assert_uint_le(COUNT(h, loops), 2 * TPI_RULES_MAX_RUNS);
    ck_assert_uint_gt(COUNT(h, refused), 0);
    tk_ok(fan(h, "b", "{'notify':{'handler':'ops'}}"));
    tk_ok(hot(h, "a", "{'run':{'scene':'b'}}"));
    house_temperature(h, "t1", 32); /* the next message begins anew */
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    house_free(h);
}
END_TEST

START_TEST(a_scene_that_runs_itself_for_all_devices_comes_to_an_end)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a", "{'run':{'scene':'a','product':'thermo'}}"));
    house_temperature(h, "t1", 31);
    house_settle(h);
    ck_assert_uint_gt(COUNT(h, loops), 0);
    ck_assert_uint_eq(h->fan_count, 0);
    house_free(h);
}
END_TEST

START_TEST(the_age_of_a_value_is_that_of_the_scene_s_product)
{
    struct house *h = house_new();
    tk_ok(fan(h, "b",
              "{'notify':{'handler':'ops','params':{'text':'{{ age(on) is null }} {{ age(level) is "
              "null }}'}}}"));
    tk_ok(hot(h, "a", "{'run':{'scene':'b'}},{'run':{'scene':'b','device':'fan-1'}}"));
    struct house_point level = { "level", 2 };
    house_say(h, "fan-1", &level, 1);
    house_temperature(h, "t1", 31);
    ck_assert_str_eq(h->messages[0].text, "scene:b notify t1 ops {\"text\":\"true true\"}");
    ck_assert_str_eq(h->messages[1].text, "scene:b notify fan-1 ops {\"text\":\"true false\"}");
    house_free(h);
}
END_TEST

START_TEST(two_scenes_that_run_each_other_are_cut)
{
    struct house *h = house_new();
    char error[200];
    tk_ok(hot(h, "a", "{'run':{'scene':'b'}}"));
    tk_ok(fan(h, "b", "{'run':{'scene':'a'}}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(COUNT(h, loops), 1);
    error_of(h, "scene", "a", error);
    ck_assert_str_eq(error, "cut after 16 links: .. > scene:b > scene:a > scene:b > scene:a");
    tk_ok(hot(h, "a", "{'notify':{'handler':'ops'}}"));
    error_of(h, "scene", "a", error);
    ck_assert_str_eq(error, "");
    house_free(h);
}
END_TEST

/* What each was told, each says again; returns how many commands were sent. */
static unsigned echo(struct house *h, unsigned times, uint64_t ms)
{
    for (unsigned i = 0, seen = 0; i < times && seen < commands(h); i++) {
        bool to_fan = strstr(h->commands[seen++].text, " fan-1 set") != NULL;
        struct house_point on = { "on", i };
        house_settle(h);
        tk_clock_advance(&h->env.clock, ms);
        house_say(h, to_fan ? "fan-1" : "t1", &on, 1);
    }
    return commands(h);
}

static void ping_pong(struct house *h)
{
    tk_ok(house_put(h, "scene",
                    "{'key':'ping','when':{'product':'thermo','expr':'on or not on','fire':'each'},"
                    "'then':[{'set':{'device':'fan-1','values':{'on':'{{ on }}'}}}]}"));
    tk_ok(house_put(h, "scene",
                    "{'key':'pong','when':{'product':'fan','expr':'on or not on','fire':'each'},"
                    "'then':[{'set':{'device':'t1','values':{'on':'{{ not on }}'}}}]}"));
    struct house_point on = { "on", 1 };
    house_say(h, "t1", &on, 1);
}

START_TEST(two_devices_that_set_each_other_are_cut)
{
    struct house *h = house_new();
    char error[200];
    ping_pong(h);
    ck_assert_uint_eq(echo(h, 100, 20), TPI_RULES_HOPS);
    ck_assert_uint_eq(COUNT(h, loops), 1);
    error_of(h, "scene", "ping", error);
    ck_assert_str_eq(error, "cut after 16 links: .. > scene:pong > scene:ping");
    /* what the device says of itself is no link of a chain */
    struct house_point on = { "on", 1 };
    tk_clock_advance(&h->env.clock, TPI_CHAIN_MS + 1);
    house_say(h, "t1", &on, 1);
    ck_assert_uint_eq(commands(h), TPI_RULES_HOPS + 1);
    house_free(h);
}
END_TEST

START_TEST(what_a_device_says_of_other_things_is_no_link_of_a_chain)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a", "{'set':{'values':{'on':true}}}"));
    for (int i = 0; i < 3 * TPI_RULES_HOPS; i++) {
        house_temperature(h, "t1", 31);
        house_settle(h);
    }
    ck_assert_uint_eq(commands(h), 3 * TPI_RULES_HOPS);
    ck_assert_uint_eq(COUNT(h, loops), 0);
    ck_assert_str_eq(h->commands[0].text, "t1 t1 set {\"on\":true}");
    house_free(h);
}
END_TEST

START_TEST(what_follows_a_delay_is_done_later_and_in_order)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a",
              "{'notify':{'handler':'one'}},{'delay':'10s'},"
              "{'notify':{'handler':'two','params':{'t':'{{ temperature }}'}}},{'delay':'5s'},"
              "{'notify':{'handler':'three'}}"));
    house_temperature(h, "t1", 31);
    house_temperature(h, "t2", 32);
    ck_assert_uint_eq(atomic_load(&h->message_count), 2);
    house_wait(h, 9000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 2);
    house_temperature(h, "t1", 5); /* it sees what is then */
    house_wait(h, 1000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 4);
    bool first = strstr(h->messages[2].text, " t1 two {\"t\":5") != NULL;
    ck_assert_ptr_nonnull(strstr(h->messages[first ? 2 : 3].text, " t1 two {\"t\":5"));
    ck_assert_ptr_nonnull(strstr(h->messages[first ? 3 : 2].text, " t2 two {\"t\":32"));
    house_wait(h, 5000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 6);
    ck_assert_uint_eq(COUNT(h, delays), 4);
    ck_assert_int_eq(tpi_rules_next_ms(h->rules, 0), INT64_MAX);
    ck_assert_int_eq(tpi_rules_next_ms(h->rules, 1), INT64_MAX);
    house_free(h);
}
END_TEST

static void restart(struct house *h)
{
    struct tpi_buf state[HOUSE_PARTITIONS];
    for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
        tpi_buf_init(&state[p], NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, p, &state[p]));
    }
    tk_ok(house_restart(h));
    for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
        uint64_t next;
        struct tpc_bytes bytes = { state[p].ptr, state[p].len };
        tk_ok(tpi_rules_state_load(h->rules, p, bytes, NULL, &next));
        for (size_t cut = 1; cut < bytes.len; cut++) { /* of what is not whole nothing is taken */
            struct tpc_bytes part = { bytes.ptr, bytes.len - cut };
            ck_assert_int_ne(tpi_rules_state_load(h->rules, p, part, NULL, &next), 0);
        }
        tpi_buf_fini(&state[p]);
    }
}

START_TEST(what_waits_survives_a_restart_with_the_same_ids)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a",
              "{'delay':'10s'},{'command':{'device':'fan-1','service':'set',"
              "'params':{'on':true}}}"));
    house_temperature(h, "t1", 31);
    restart(h);
    house_wait(h, 9000);
    ck_assert_uint_eq(commands(h), 0);
    restart(h);
    house_wait(h, 1000);
    ck_assert_uint_eq(commands(h), 1);
    ck_assert(h->commands[0].again); /* it may be done already */
    restart(h);
    house_wait(h, 100000);
    ck_assert_uint_eq(commands(h), 1);
    /* a message that comes again after a kill makes it wait again: the id is the same */
    struct house_point p = { "temperature", 31 };
    struct tpc_device *d = NULL;
    tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), TPC_STR("t1"), NULL, &d));
    tpi_rules_replaying(h->rules, true);
    house_message(h, d, h->offset - 1, &p, 1);
    tpi_rules_replaying(h->rules, false);
    tpi_device_unref(d);
    house_wait(h, 10000);
    ck_assert_uint_eq(commands(h), 2);
    ck_assert(h->commands[1].again);
    ck_assert_mem_eq(h->commands[0].id.b, h->commands[1].id.b, 16);
    house_free(h);
}
END_TEST

START_TEST(a_changed_rule_drops_what_waits)
{
    struct house *h = house_new();
    const char *then = "{'delay':'10s'},{'notify':{'handler':'ops'}}";
    tk_ok(hot(h, "a", then));
    tk_ok(hot(h, "b", then));
    tk_ok(hot(h, "c", then));
    house_temperature(h, "t1", 31);
    tk_ok(hot(h, "a", "{'delay':'10s'},{'notify':{'handler':'other'}}"));
    tk_ok(house_delete(h, "scene", "b"));
    tk_ok(hot(h, "c", then)); /* it says the same: as at the start of a platform with files */
    house_wait(h, 10000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    ck_assert_str_eq(h->messages[0].text, "scene:c notify t1 ops null");
    ck_assert_uint_eq(COUNT(h, delays_dropped), 2);
    house_temperature(h, "t2", 31);
    tk_ok(house_delete(h, "device", "t2"));
    house_wait(h, 10000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    ck_assert_uint_eq(COUNT(h, delays_dropped), 4);
    house_free(h);
}
END_TEST

START_TEST(a_clock_that_is_set_back_does_not_stop_what_waits)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a", "{'delay':'10s'},{'notify':{'handler':'ops'}}"));
    house_temperature(h, "t1", 31);
    house_wait(h, 4000);
    tk_clock_set_unix(&h->env.clock, tpi_unix_ms(&h->env.env) - 86400000);
    house_wait(h, 0);
    house_wait(h, 5000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 0);
    house_wait(h, 1000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    house_free(h);
}
END_TEST

START_TEST(only_so_many_wait)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a",
              "{'delay':'10s'},{'command':{'device':'fan-1','service':'set',"
              "'params':{'on':true}}}"));
    h->count_only = true;
    for (int i = 0; i < TPI_RULES_MAX_LATERS + 10; i++) {
        house_temperature(h, "t1", 31);
    }
    ck_assert_uint_eq(COUNT(h, delays_full), 10);
    ck_assert_uint_eq(COUNT(h, refused), 10);
    house_wait(h, 10000);
    ck_assert_uint_eq(commands(h), TPI_RULES_MAX_LATERS);
    house_free(h);
}
END_TEST

START_TEST(a_schedule_delays_too)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "schedule",
                    "{'key':'s','type':'cron','cron':'@every 1h','then':[{'delay':'1m'},"
                    "{'notify':{'handler':'ops','params':{'at':'{{ planned }}'}}}]}"));
    house_wait(h, 3600000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 0);
    house_wait(h, 60000);
    ck_assert_uint_eq(atomic_load(&h->message_count), 1);
    ck_assert_ptr_nonnull(strstr(h->messages[0].text, "schedule:s notify - ops {\"at\":1"));
    house_free(h);
}
END_TEST

START_TEST(an_action_is_done_for_all_that_are_meant)
{
    struct house *h = house_new();
    char error[200];
    tk_ok(hot(h, "a",
              "{'set':{'product':'thermo','values':{'mode':'{{ device.key }}'}}},"
              "{'alert':{'group':'attic','key':'hot','text':'{{ temperature }}'}},"
              "{'run':{'scene':'b','select':'site=paris'}}"));
    tk_ok(fan(h, "b", "{'notify':{'handler':'ops'}}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(commands(h), 0); /* not inside the batch */
    ck_assert_uint_eq(h->fan_count, 3);
    ck_assert_uint_eq(h->fans[1].fan->group.len, 5);
    ck_assert_uint_eq(h->fans[2].fan->select.len, 10);
    house_settle(h);
    ck_assert_uint_eq(commands(h), 3);
    unsigned seen = 0;
    for (int i = 0; i < 3; i++) {
        char text[64];
        int n = 0;
        for (char c = '1'; c <= '3'; c++) {
            snprintf(text, sizeof(text), "t1 t%c set {\"mode\":\"t1\"}", c);
            n += strcmp(h->commands[i].text, text) == 0 ? c - '0' : 0;
        }
        ck_assert_int_ne(n, 0);
        seen |= 1U << n;
    }
    ck_assert_uint_eq(seen, 14);
    ck_assert_mem_ne(h->commands[0].id.b, h->commands[1].id.b, 16);
    ck_assert_uint_eq(atomic_load(&h->message_count), 4); /* two alerts, two runs */
    tk_ok(hot(h, "a", "{'clear':{'group':'nobody','key':'hot'}}"));
    house_temperature(h, "t1", 31);
    house_settle(h);
    error_of(h, "scene", "a", error);
    ck_assert_str_eq(error, "'hot' to 't1': TPC_ENOENT");
    house_free(h);
}
END_TEST

START_TEST(a_fan_of_a_rule_that_was_changed_is_dropped)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a", "{'set':{'product':'thermo','values':{'on':true}}}"));
    house_temperature(h, "t1", 31);
    tk_ok(house_delete(h, "scene", "a"));
    house_settle(h);
    ck_assert_uint_eq(commands(h), 0);
    ck_assert_uint_eq(COUNT(h, fans_dropped), 1);
    house_free(h);
}
END_TEST

START_TEST(more_devices_than_allowed_are_left_out_and_counted)
{
    struct house *h = house_new();
    char json[120];
    for (int i = 0; i < TPI_RULES_MAX_TARGETS + 1; i++) {
        snprintf(json, sizeof(json), "{'key':'x%d','product':'fan'}", i);
        tk_ok(house_put(h, "device", json));
    }
    tk_ok(hot(h, "a", "{'set':{'product':'fan','values':{'on':true}}}"));
    h->count_only = true;
    house_temperature(h, "t1", 31);
    house_settle(h);
    ck_assert_uint_eq(commands(h), TPI_RULES_MAX_TARGETS);
    ck_assert_uint_eq(COUNT(h, fans_full), 1);
    house_free(h);
}
END_TEST

START_TEST(a_value_of_one_device_is_set_on_another)
{
    struct house *h = house_new();
    tk_ok(house_put(
        h, "scene",
        "{'key':'follow','when':{'product':'thermo','devices':['t1'],"
        "'expr':'temperature is not null','fire':'each'},'then':[{'set':{"
        "'device':'fan-1','values':{'level':'{{ round((21 - temperature) * 10) }}'}}}]}"));
    house_temperature(h, "t1", 20.8);
    ck_assert_uint_eq(commands(h), 1);
    ck_assert_str_eq(h->commands[0].text, "t1 fan-1 set {\"level\":2}");
    house_temperature(h, "t2", 20.8);
    ck_assert_uint_eq(commands(h), 1);
    house_free(h);
}
END_TEST

START_TEST(entities_are_switched)
{
    struct house *h = house_new();
    tk_ok(hot(h, "a",
              "{'disable':{'kind':'scene','key':'a'}},{'enable':{'kind':'schedule','key':'n'}}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(h->switch_count, 2);
    ck_assert_str_eq(h->switches[0], "scene:a scene a off");
    ck_assert_str_eq(h->switches[1], "scene:a schedule n on");
    house_free(h);
}
END_TEST

START_TEST(bad_actions_are_refused_where_they_are_wrong)
{
    static const struct {
        const char *then, *path, *text;
        int code;
    } bad[] = {
        { "{'set':{'device':'t1','group':'g','values':{}}}", "then[0].set", "it is about a device",
          TPC_EINVAL },
        { "{'set':{'product':'fan','group':'g','values':{}}}", "then[0].set",
          "it is about a device", TPC_EINVAL },
        { "{'set':{'product':'fan','values':{'level':9}}}", "then[0].set.values.level", "",
          TPC_EMODEL },
        { "{'set':{'device':'fan-1','values':7}}", "then[0].set.values", "not a map", TPC_EINVAL },
        { "{'set':{'device':'fan-1'}}", "then[0].set.values", "", TPC_EINVAL },
        { "{'delay':'10s'},{'delay':'x'}", "then[1].delay", "", TPC_EINVAL },
        { "{'delay':0}", "then[0].delay", "", TPC_EINVAL },
        { "{'run':{}}", "then[0].run.scene", "", TPC_EINVAL },
        { "{'enable':{'kind':'tenant','key':'main'}}", "then[0].enable.kind", "", TPC_EINVAL },
        { "{'delay':'1s','run':{'scene':'b'}}", "then[0]", "an action is one of", TPC_EINVAL },
        { "{}", "then[0]", "an action is one of", TPC_EINVAL },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = hot(h, "a", bad[i].then);
        ck_assert_msg(rc == bad[i].code && strcmp(h->err.path, bad[i].path) == 0 &&
                          strstr(h->err.text, bad[i].text) != NULL,
                      "%s: %d %s: %s", bad[i].then, rc, h->err.path, h->err.text);
    }
    tk_fails(TPC_EINVAL, house_put(h, "rule",
                                   "{'key':'r','sql':'SELECT temperature FROM thermo',"
                                   "'then':[{'delay':'1s'},{'notify':{'handler':'ops'}}]}"));
    ck_assert_str_eq(h->err.path, "then");
    house_free(h);
}
END_TEST

struct oom {
    struct house *h;
    struct tpc_device *device;
};

/* Under an allocator that fails, actions fail and nothing else. */
static int fire_all(const struct tpc_allocator *alloc, void *user)
{
    struct oom *o = user;
    struct house *h = o->h;
    const struct tpc_allocator *old = h->env.env.alloc;
    struct house_point p = { "temperature", 31 };
    uint64_t refused = COUNT(h, refused), lost = COUNT(h, links_lost);
    atomic_store(&h->command_count, 0);
    atomic_store(&h->message_count, 0);
    h->env.env.alloc = alloc;
    house_message(h, o->device, h->offset++, &p, 1);
    house_settle(h);
    h->env.env.alloc = old;
    return COUNT(h, refused) > refused || COUNT(h, links_lost) > lost ? TPC_ENOMEM : 0;
}

START_TEST(no_memory_for_an_action_is_a_failed_action)
{
    struct oom o = { .h = house_new() };
    tk_ok(fan(o.h, "b", "{'notify':{'handler':'ops'}}"));
    tk_ok(hot(o.h, "a",
              "{'run':{'scene':'b'}},"
              "{'set':{'product':'thermo','values':{'on':true}}}"));
    tk_ok(tpi_registry_open(o.h->registry, TPC_STR("main"), TPC_STR("t1"), NULL, &o.device));
    house_message(o.h, o.device, o.h->offset++, &(struct house_point){ "temperature", 31 }, 1);
    house_settle(o.h);
    ck_assert_uint_gt(tk_each_alloc_fails(fire_all, &o), 1);
    tpi_device_unref(o.device);
    house_free(o.h);
}
END_TEST

Suite *act_suite(void)
{
    Suite *s = suite_create("act");
    TCase *c = tcase_create("act");
    tcase_add_test(c, a_scene_runs_another_one_for_the_same_device);
    tcase_add_test(c, a_scene_that_is_run_is_asked_only_if_that_is_said);
    tcase_add_test(c, a_scene_that_cannot_be_run_is_a_failed_action);
    tcase_add_test(c, a_scene_that_triggers_itself_is_cut_and_says_so);
    tcase_add_test(c, a_scene_that_runs_itself_twice_comes_to_an_end);
    tcase_add_test(c, a_scene_that_runs_itself_for_all_devices_comes_to_an_end);
    tcase_add_test(c, the_age_of_a_value_is_that_of_the_scene_s_product);
    tcase_add_test(c, two_scenes_that_run_each_other_are_cut);
    tcase_add_test(c, two_devices_that_set_each_other_are_cut);
    tcase_add_test(c, what_a_device_says_of_other_things_is_no_link_of_a_chain);
    tcase_add_test(c, what_follows_a_delay_is_done_later_and_in_order);
    tcase_add_test(c, what_waits_survives_a_restart_with_the_same_ids);
    tcase_add_test(c, a_changed_rule_drops_what_waits);
    tcase_add_test(c, a_clock_that_is_set_back_does_not_stop_what_waits);
    tcase_add_test(c, only_so_many_wait);
    tcase_add_test(c, a_schedule_delays_too);
    tcase_add_test(c, an_action_is_done_for_all_that_are_meant);
    tcase_add_test(c, a_fan_of_a_rule_that_was_changed_is_dropped);
    tcase_add_test(c, more_devices_than_allowed_are_left_out_and_counted);
    tcase_add_test(c, a_value_of_one_device_is_set_on_another);
    tcase_add_test(c, entities_are_switched);
    tcase_add_test(c, bad_actions_are_refused_where_they_are_wrong);
    tcase_add_test(c, no_memory_for_an_action_is_a_failed_action);
    suite_add_tcase(s, c);
    return s;
}
