/* Variables, conditions at planned times, dampening, and rules that switch themselves off. */
#include <stdio.h>
#include <string.h>

#include "house.h"
#include "rules/vars.h"
#include "suites.h"

enum { MINUTE = 60000 };

/* Time goes by in steps of a minute; returns how often something fired. */
static unsigned minutes(struct house *h, unsigned count)
{
    unsigned fired = 0;
    for (unsigned i = 0; i < count; i++) {
        fired += house_wait(h, MINUTE);
    }
    return fired;
}

/* A schedule of every minute that asks for the temperature of t1. */
static int task(struct house *h, const char *members)
{
    char json[1024];
    snprintf(json, sizeof(json),
             "{'key':'s','type':'repeat','interval':'1m','vars':{'t':'device(\\u0027t1\\u0027)."
             "temperature',"
             "'text':'{{ t | round(1) }} degrees'},'if':'t > 30'%s,%s}",
             members, "'then':[{'notify':{'handler':'ops','params':{'text':'{{ text }}'}}}]");
    return house_put(h, "schedule", json);
}

static unsigned notes(struct house *h)
{
    return atomic_load(&h->message_count);
}

static void save(struct house *h, struct tpi_buf state[HOUSE_PARTITIONS])
{
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_init(&state[i], NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, i, &state[i]));
    }
}

/* A new process that knows what was saved. */
static void start_from(struct house *h, struct tpi_buf state[HOUSE_PARTITIONS])
{
    tk_ok(house_restart(h));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        uint64_t next;
        tk_ok(tpi_rules_state_load(h->rules, i, (struct tpc_bytes){ state[i].ptr, state[i].len },
                                   NULL, &next));
        tpi_buf_fini(&state[i]);
    }
}

static void restart(struct house *h)
{
    struct tpi_buf state[HOUSE_PARTITIONS];
    save(h, state);
    start_from(h, state);
}

struct told {
    struct tpc_rule_info info;
    char broken[200];
};

static int keep(void *user, const struct tpc_rule_info *info)
{
    struct told *t = user;
    t->info = *info;
    snprintf(t->broken, sizeof(t->broken), "%.*s", (int) info->broken.len, info->broken.ptr);
    return 0;
}

static struct tpc_rule_info told(struct house *h, const char *kind)
{
    struct told t;
    tk_ok(tpi_rules_info(h->rules, TPC_STR("main"), tpc_str_from(kind), TPC_STR("s"), keep, &t));
    return t.info;
}

START_TEST(a_condition_is_run_at_each_planned_time)
{
    struct house *h = house_new();
    tk_ok(task(h, ""));
    ck_assert_uint_eq(minutes(h, 2), 0); /* t1 has said nothing: null fires nothing */
    house_temperature(h, "t1", 30.5);
    ck_assert_uint_eq(minutes(h, 2), 2);
    ck_assert_str_eq(h->messages[0].text, "schedule:s notify - ops {\"text\":\"30.5 degrees\"}");
    house_temperature(h, "t1", 20);
    ck_assert_uint_eq(minutes(h, 2), 0);
    struct tpc_rule_info info = told(h, "schedule");
    ck_assert_uint_eq(info.evaluated, 6);
    ck_assert_uint_eq(info.matched, 2);
    ck_assert_uint_eq(info.fired, 2);
    house_free(h);
}
END_TEST

START_TEST(rising_fires_once_while_it_stays_true_and_after_a_restart_not_again)
{
    struct house *h = house_new();
    tk_ok(task(h, ",'fire':'rising'"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(minutes(h, 3), 1);
    restart(h);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(minutes(h, 3), 0);
    house_temperature(h, "t1", 3);
    ck_assert_uint_eq(minutes(h, 1), 0);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(minutes(h, 3), 1);
    house_free(h);
}
END_TEST

/* One run for each digit, 1 = true; r = a restart. Says at which of them it fired. */
static void runs(struct house *h, const char *values, char *ret)
{
    for (; *values != '\0'; values++) {
        if (*values == 'r') {
            restart(h);
            continue;
        }
        house_temperature(h, "t1", *values == '1' ? 31 : 3);
        *ret++ = minutes(h, 1) > 0 ? '!' : '.';
    }
    *ret = '\0';
}

START_TEST(dampening_looks_at_the_newest_runs_also_over_a_restart)
{
    static const struct {
        const char *dampen, *values, *fires;
    } cases[] = {
        { "{'type':'none'}", "10r11", "!.!!" },
        { "{'type':'consecutive','occurrences':3}", "110111101111", ".....!!...!!" },
        { "{'type':'consecutive','occurrences':3}", "11r0111r1", ".....!!" },
        { "{'type':'evaluation','occurrences':3,'evaluation':5}", "11r0111r1", "...!!!!" },
        { "{'type':'evaluation','occurrences':2,'evaluation':3}", "1001000011", ".........!" },
        { "{'type':'active_duration','active_duration':'3m'}", "110111101111", "......!....!" },
        { "{'type':'active_duration','active_duration':'3m'}", "11r0111r1", "......!" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct house *h = house_new();
        char member[200];
        char fires[40];
        snprintf(member, sizeof(member), ",'dampen':%s", cases[i].dampen);
        tk_ok(task(h, member));
        runs(h, cases[i].values, fires);
        ck_assert_str_eq(fires, cases[i].fires);
        house_free(h);
    }
}
END_TEST

START_TEST(a_changed_condition_starts_without_memory_and_changed_actions_do_not)
{
    struct house *h = house_new();
    char fires[8];
    tk_ok(task(h, ",'dampen':{'type':'consecutive','occurrences':2}"));
    runs(h, "1", fires);
    tk_ok(task(h, ",'dampen':{'type':'consecutive','occurrences':2},'missed':'run_once'"));
    runs(h, "1", fires);
    ck_assert_str_eq(fires, "!");
    tk_ok(task(h, ",'dampen':{'type':'consecutive','occurrences':2},'fire':'rising'"));
    runs(h, "11", fires);
    ck_assert_str_eq(fires, ".!");
    house_free(h);
}
END_TEST

START_TEST(active_for_long_enough_is_seen_at_that_moment)
{
    struct house *h = house_new();
    tk_ok(task(h, ",'fire':'rising','dampen':{'type':'active_duration','active_duration':'90s'}"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(house_wait(h, MINUTE), 0); /* true from here on */
    ck_assert_uint_eq(house_wait(h, MINUTE), 0);
    ck_assert_uint_eq(house_wait(h, MINUTE / 2 - 1), 0);
    ck_assert_uint_eq(house_wait(h, 1), 1);
    ck_assert_uint_eq(minutes(h, 3), 0);
    house_temperature(h, "t1", 3);
    ck_assert_uint_eq(minutes(h, 1), 0);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(minutes(h, 2), 0);
    house_temperature(h, "t1", 3); /* it is false when the moment comes */
    ck_assert_uint_eq(minutes(h, 3), 0);
    house_free(h);
}
END_TEST

START_TEST(it_switches_itself_off_and_comes_back_after_a_while)
{
    struct house *h = house_new();
    tk_ok(task(h, ",'auto_disable':true,'re_enable':'5m'"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(minutes(h, 2), 1);
    struct tpc_rule_info info = told(h, "schedule");
    int64_t until = info.fired_unix_ms + 5 * MINUTE;
    ck_assert_uint_eq(info.flags, TPC_RULE_ENABLED | TPC_RULE_OFF);
    ck_assert_int_eq(info.off_until_unix_ms, until);
    restart(h);
    house_temperature(h, "t1", 31);
    info = told(h, "schedule");
    ck_assert_uint_eq(info.flags, TPC_RULE_ENABLED | TPC_RULE_OFF);
    ck_assert_uint_eq(minutes(h, 4), 0);
    ck_assert_uint_eq(minutes(h, 1), 1); /* the planned time after it came back */
    ck_assert_uint_eq(TPI_METRIC_GET(tpi_rules_count(h->rules)->schedules_missed), 0);
    house_free(h);
}
END_TEST

START_TEST(it_switches_itself_off_for_good_until_it_is_put_again)
{
    struct house *h = house_new();
    tk_ok(task(h, ",'auto_disable':true"));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(minutes(h, 3), 1);
    restart(h);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(minutes(h, 600), 0);
    ck_assert_int_eq(told(h, "schedule").off_until_unix_ms, INT64_MAX);
    tk_ok(task(h, ",'auto_disable':true"));
    ck_assert_uint_eq(told(h, "schedule").flags, TPC_RULE_ENABLED);
    ck_assert_uint_eq(minutes(h, 3), 1);
    ck_assert_uint_eq(notes(h), 2);
    house_free(h);
}
END_TEST

/* What the log says of the first notification, as the replay at start tells it. */
static void said(struct house *h, struct tpc_str origin)
{
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_NOTIFY,
                         .id = h->messages[0].id,
                         .origin = origin,
                         .unix_ms = tpi_unix_ms(&h->env.env) };
    tpi_rules_said(h->rules, &m);
}

START_TEST(after_a_kill_the_log_tells_that_it_switched_itself_off)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    tk_ok(task(h, ",'auto_disable':true,'re_enable':'5m'"));
    house_temperature(h, "t1", 31);
    save(h, state);
    ck_assert_uint_eq(minutes(h, 1), 1);
    start_from(h, state);
    house_temperature(h, "t1", 31);
    said(h, TPC_STR("scene:s"));
    said(h, TPC_STR("schedule:other"));
    ck_assert_uint_eq(told(h, "schedule").flags, TPC_RULE_ENABLED);
    said(h, TPC_STR("schedule:s"));
    ck_assert_uint_eq(told(h, "schedule").flags, TPC_RULE_ENABLED | TPC_RULE_OFF);
    ck_assert_uint_eq(minutes(h, 4), 0);
    ck_assert_uint_eq(notes(h), 2); /* it may have been cut short: the same once more */
    ck_assert_mem_eq(&h->messages[0].id, &h->messages[1].id, sizeof(struct tpc_id));
    ck_assert_uint_eq(minutes(h, 1), 0);
    ck_assert_uint_eq(minutes(h, 1), 1);
    house_free(h);
}
END_TEST

START_TEST(after_a_kill_the_log_tells_that_it_was_true)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    tk_ok(task(h, ",'fire':'rising'"));
    house_temperature(h, "t1", 31);
    save(h, state);
    ck_assert_uint_eq(minutes(h, 1), 1);
    start_from(h, state);
    house_temperature(h, "t1", 31);
    said(h, TPC_STR("rule schedule:s"));
    ck_assert_uint_eq(minutes(h, 3), 0);
    ck_assert_uint_eq(notes(h), 2);
    ck_assert_mem_eq(&h->messages[0].id, &h->messages[1].id, sizeof(struct tpc_id));
    house_free(h);
}
END_TEST

START_TEST(a_schedule_without_condition_switches_itself_off_too)
{
    struct house *h = house_new();
    tk_ok(house_put(h, "schedule",
                    "{'key':'s','type':'repeat','interval':'1m','auto_disable':true,"
                    "'re_enable':'150s','then':[{'notify':{'handler':'ops'}}]}"));
    ck_assert_uint_eq(minutes(h, 10), 4); /* 1, 4, 7, 10 */
    house_free(h);
}
END_TEST

START_TEST(faults_are_said_when_it_is_put)
{
    static const struct {
        const char *members, *path, *text;
    } cases[] = {
        { "'vars':[1]", "vars", "not a map" },
        { "'vars':{'a':'b + 1'}", "vars.a", "'b'" },
        { "'vars':{'a':'b','b':'1'}", "vars.a", "'b'" },
        { "'vars':{'a b':'1'}", "vars.a b", "cannot be the name" },
        { "'vars':{'and':'1'}", "vars.and", "cannot be the name" },
        { "'vars':{'a':'{{ 1 + }}'}", "vars.a", "" },
        { "'vars':{'a':1},'if':'a'", "if", "" },
        { "'if':'nothing > 1'", "if", "'nothing'" },
        { "'fire':'rising'", "fire", "if" },
        { "'dampen':{'type':'consecutive','occurrences':2}", "dampen", "if" },
        { "'if':'true','dampen':{'type':'consecutive'}", "dampen.occurrences", "missing" },
        { "'if':'true','dampen':{'type':'evaluation','occurrences':3}", "dampen.evaluation",
          "missing" },
        { "'if':'true','dampen':{'type':'evaluation','occurrences':3,'evaluation':2}",
          "dampen.evaluation", "below" },
        { "'if':'true','dampen':{'type':'consecutive','occurrences':65}", "dampen.occurrences",
          "" },
        { "'if':'true','dampen':{'type':'active_duration'}", "dampen.active_duration", "missing" },
        { "'re_enable':'5m'", "re_enable", "auto_disable" },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char json[600];
        snprintf(
            json, sizeof(json),
            "{'key':'s','type':'repeat','interval':'1m',%s,'then':[{'notify':{'handler':'o'}}]}",
            cases[i].members);
        ck_assert_int_eq(house_put(h, "schedule", json), TPC_EINVAL);
        ck_assert_str_eq(h->err.path, cases[i].path);
        ck_assert_msg(strstr(h->err.text, cases[i].text) != NULL, "%s", h->err.text);
    }
    char many[1000] = "{'key':'s','type':'repeat','interval':'1m','vars':{";
    for (int i = 0; i < TPI_VARS_MAX + 1; i++) {
        size_t n = strlen(many);
        snprintf(many + n, sizeof(many) - n, "%s'v%d':1", i > 0 ? "," : "", i);
    }
    size_t n = strlen(many);
    snprintf(many + n, sizeof(many) - n, "},'then':[{'notify':{'handler':'o'}}]}");
    ck_assert_int_eq(house_put(h, "schedule", many), TPC_ETOOBIG);
    house_free(h);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
    struct house *h = house_new();
    bool done = false;
    for (size_t n = 1; !done; n++) {
        h->env.alloc.fail_at = h->env.alloc.count + n;
        int rc = task(h, ",'auto_disable':true,'dampen':{'type':'consecutive','occurrences':2}");
        h->env.alloc.fail_at = 0;
        ck_assert(rc == 0 || rc == TPC_ENOMEM);
        done = rc == 0;
    }
    house_temperature(h, "t1", 31);
    (void) minutes(h, 1);
    h->env.alloc.fail_at = h->env.alloc.count + 1; /* a variable that finds no memory is null */
    (void) minutes(h, 1);
    h->env.alloc.fail_at = 0;
    ck_assert_uint_le(minutes(h, 1), 1);
    house_free(h);
}
END_TEST

/* ---- scenes ---- */

/* A scene over thermo with more members, which begin with a comma; when: members of "when". */
static int scene(struct house *h, const char *when, const char *members)
{
    char json[1024];
    snprintf(json, sizeof(json),
             "{'key':'s','when':{'product':'thermo'%s}%s,"
             "'then':[{'notify':{'handler':'ops','params':{'text':'{{ text }}'}}}]}",
             when, members);
    return house_put(h, "scene", json);
}

#define TEXT ",'vars':{'text':'{{ device.key }}'}"

START_TEST(variables_are_made_when_the_message_comes)
{
    struct house *h = house_new();
    tk_ok(scene(h, ",'expr':'warm and mean > 30','fire':'each'",
                ",'vars':{'low':20,'warm':'temperature > low','names':{'a':[1,2]},"
                "'mean':'(temperature + device(\\u0027t2\\u0027).temperature) / 2',"
                "'text':'{{ mean | round(1) }} of {{ humidity }} {{ names.a[1] }}'}"));
    house_temperature(h, "t1", 40); /* null: t2 has said nothing */
    ck_assert_uint_eq(notes(h), 0);
    house_temperature(h, "t2", 25.5);
    ck_assert_uint_eq(notes(h), 0);
    struct house_point wet = { "humidity", 61 };
    house_say(h, "t1", &wet, 1); /* only the texts of actions name it: it sets nothing off */
    ck_assert_uint_eq(notes(h), 0);
    house_temperature(h, "t1", 41);
    ck_assert_uint_eq(notes(h), 1);
    ck_assert_str_eq(h->messages[0].text, "scene:s notify t1 ops {\"text\":\"33.3 of 61 2\"}");
    house_free(h);
}
END_TEST

START_TEST(variables_are_made_anew_when_a_pair_fires_that_waited)
{
    struct house *h = house_new();
    tk_ok(scene(h, ",'expr':'temperature > 30','for':'5m'",
                ",'vars':{'text':'{{ temperature }} {{ device.key }}'}"));
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 35);
    ck_assert_uint_eq(house_wait(h, 5 * MINUTE), 1);
    ck_assert_str_eq(h->messages[0].text, "scene:s notify t1 ops {\"text\":\"35 t1\"}");
    house_free(h);
}
END_TEST

START_TEST(a_model_that_changes_keeps_variables_and_breaks_what_it_must)
{
    struct house *h = house_new();
    struct told t;
    tk_ok(scene(h, ",'expr':'hot','fire':'each'",
                ",'vars':{'hot':'temperature > 30','text':'{{ humidity }}'}"));
    tk_ok(house_put(h, "product",
                    "{'key':'thermo','model':{'properties':["
                    "{'id':'temperature','type':'double'}]}}"));
    tpi_rules_product_changed(h->rules, house_id(h, "product", "thermo"));
    tk_ok(tpi_rules_info(h->rules, TPC_STR("main"), TPC_STR("scene"), TPC_STR("s"), keep, &t));
    ck_assert_uint_eq(t.info.flags, TPC_RULE_ENABLED | TPC_RULE_BROKEN);
    ck_assert_msg(strstr(t.broken, "vars.text") != NULL, "%s", t.broken);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(notes(h), 0);
    house_free(h);
}
END_TEST

/* One message of t1 for each digit. */
static void says(struct house *h, const char *values, char *ret)
{
    for (; *values != '\0'; values++) {
        if (*values == 'r') {
            restart(h);
            continue;
        }
        unsigned before = notes(h);
        house_temperature(h, "t1", *values == '1' ? 31 : 3);
        *ret++ = notes(h) > before ? '!' : '.';
    }
    *ret = '\0';
}

START_TEST(dampening_of_a_scene_looks_at_the_newest_messages_of_each_device)
{
    static const struct {
        const char *when, *values, *fires;
    } cases[] = {
        { "'fire':'each','dampen':{'type':'none'}", "10r11", "!.!!" },
        { "'fire':'each','dampen':{'type':'consecutive','occurrences':3}", "110111101111",
          ".....!!...!!" },
        { "'dampen':{'type':'consecutive','occurrences':3}", "11r0111r1101111", ".....!.....!." },
        { "'fire':'each','dampen':{'type':'evaluation','occurrences':3,'evaluation':5}",
          "11r0111r1", "...!!!!" },
        { "'dampen':{'type':'evaluation','occurrences':2,'evaluation':3}", "1101r001000r011",
          ".!..........!" },
        { "'until':'temperature < 5','dampen':{'type':'consecutive','occurrences':2}", "11110111",
          ".!....!." },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct house *h = house_new();
        char when[200];
        char fires[40];
        snprintf(when, sizeof(when), ",'expr':'temperature > 30',%s", cases[i].when);
        tk_ok(scene(h, when, TEXT));
        house_temperature(h, "t2", 31); /* its runs are its own */
        unsigned first = notes(h);
        says(h, cases[i].values, fires);
        ck_assert_msg(strcmp(fires, cases[i].fires) == 0, "%zu: %s", i, fires);
        ck_assert_uint_le(first, i == 0 ? 1 : 0);
        house_free(h);
    }
}
END_TEST

START_TEST(active_for_so_long_fires_then_and_with_each_message_after)
{
    struct house *h = house_new();
    const char *dampen = ",'expr':'temperature > 30',%s'dampen':{'type':'active_duration',"
                         "'active_duration':'5m'}";
    for (int each = 0; each < 2; each++) {
        char when[200];
        snprintf(when, sizeof(when), dampen, each ? "'fire':'each'," : "");
        tk_ok(scene(h, when, TEXT));
        unsigned before = notes(h);
        house_temperature(h, "t1", 31);
        house_wait(h, 2 * MINUTE);
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(house_wait(h, 3 * MINUTE - 1), 0);
        ck_assert_uint_eq(house_wait(h, 1), 1);
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(notes(h) - before, each ? 2 : 1);
        restart(h);
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(notes(h) - before, each ? 3 : 1);
        house_temperature(h, "t1", 3);
        house_temperature(h, "t1", 31);
        ck_assert_uint_eq(house_wait(h, 2 * MINUTE), 0);
        house_temperature(h, "t1", 3);
        ck_assert_uint_eq(house_wait(h, 9 * MINUTE), 0);
        ck_assert_uint_eq(notes(h) - before, each ? 3 : 1);
    }
    house_free(h);
}
END_TEST

START_TEST(a_scene_switches_itself_off_for_all_devices)
{
    struct house *h = house_new();
    tk_ok(scene(h, ",'expr':'temperature > 30'", TEXT ",'auto_disable':true,'re_enable':'5m'"));
    house_temperature(h, "t2", 31);
    house_temperature(h, "t1", 31);
    house_temperature(h, "t3", 31);
    ck_assert_uint_eq(notes(h), 1);
    struct tpc_rule_info info = told(h, "scene");
    ck_assert_uint_eq(info.flags, TPC_RULE_ENABLED | TPC_RULE_OFF);
    ck_assert_int_eq(info.off_until_unix_ms, info.fired_unix_ms + 5 * MINUTE);
    ck_assert_uint_eq(info.evaluated, 1); /* nobody looks while it is off */
    restart(h);
    house_temperature(h, "t1", 31);
    house_wait(h, 5 * MINUTE - 1);
    house_temperature(h, "t1", 32);
    ck_assert_uint_eq(notes(h), 1);
    house_wait(h, 1);
    house_temperature(h, "t1", 32); /* it starts without memory */
    ck_assert_uint_eq(notes(h), 2);
    tk_ok(scene(h, ",'expr':'temperature > 30'", TEXT ",'auto_disable':true"));
    ck_assert_uint_eq(told(h, "scene").flags, TPC_RULE_ENABLED);
    house_temperature(h, "t1", 3);
    house_temperature(h, "t1", 32);
    house_wait(h, 500 * MINUTE);
    house_temperature(h, "t2", 3);
    house_temperature(h, "t2", 32);
    ck_assert_uint_eq(notes(h), 3);
    ck_assert_int_eq(told(h, "scene").off_until_unix_ms, INT64_MAX);
    house_free(h);
}
END_TEST

START_TEST(reset_forgets_runs_and_switches_on)
{
    struct house *h = house_new();
    static const struct tpi_rule_name name = { TPC_STR_INIT("main"), TPC_STR_INIT("scene"),
                                               TPC_STR_INIT("s") };
    tk_ok(scene(h,
                ",'expr':'temperature > 30','fire':'each','dampen':{'type':'consecutive',"
                "'occurrences':2}",
                TEXT ",'auto_disable':true"));
    house_temperature(h, "t1", 31);
    tk_ok(tpi_rules_reset(h->rules, &name, NULL, &h->err));
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(notes(h), 0);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(notes(h), 1);
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(notes(h), 1); /* off */
    tk_ok(tpi_rules_reset(h->rules, &name, NULL, &h->err));
    ck_assert_uint_eq(told(h, "scene").flags, TPC_RULE_ENABLED);
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(notes(h), 2);
    house_free(h);
}
END_TEST

START_TEST(what_waits_at_a_scene_that_switched_itself_off_is_over)
{
    struct house *h = house_new();
    tk_ok(scene(h, ",'expr':'temperature > 30','for':'5m'", TEXT ",'auto_disable':true"));
    house_temperature(h, "t1", 31);
    house_wait(h, MINUTE);
    house_temperature(h, "t2", 31);
    ck_assert_uint_eq(house_wait(h, 30 * MINUTE), 1);
    ck_assert_uint_eq(notes(h), 1);
    house_free(h);
}
END_TEST

START_TEST(damaged_state_of_dampened_scenes_is_refused)
{
    struct house *h = house_new();
    tk_ok(scene(h,
                ",'expr':'temperature > 30','fire':'each','dampen':{'type':'consecutive',"
                "'occurrences':2}",
                TEXT ",'auto_disable':true"));
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 31);
    house_temperature(h, "t2", 31);
    for (uint32_t p = 0; p < HOUSE_PARTITIONS; p++) {
        struct tpi_buf state;
        uint64_t next;
        tpi_buf_init(&state, NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, p, &state));
        for (size_t n = 0; n < state.len; n++) {
            ck_assert_int_eq(
                tpi_rules_state_load(h->rules, p, (struct tpc_bytes){ state.ptr, n }, NULL, &next),
                TPC_ECORRUPT);
        }
        tk_ok(tpi_rules_state_load(h->rules, p, (struct tpc_bytes){ state.ptr, state.len }, NULL,
                                   &next));
        tpi_buf_fini(&state);
    }
    house_free(h);
}
END_TEST

START_TEST(faults_of_scenes_are_said_when_they_are_put)
{
    static const struct {
        const char *when, *members, *path;
    } cases[] = {
        { ",'expr':'a > 1'", ",'vars':{'a':'nothing','text':1}", "vars.a" },
        { ",'expr':'a'", ",'vars':{'a':1,'text':1}", "when.expr" },
        { ",'expr':'true','dampen':{'type':'consecutive'}", TEXT, "when.dampen.occurrences" },
        { ",'expr':'true','for':'1m','dampen':{'type':'active_duration','active_duration':'1m'}",
          TEXT, "when.for" },
        { ",'on':'online','dampen':{'type':'consecutive','occurrences':2}", TEXT, "when.dampen" },
        { ",'on':'online'", TEXT ",'re_enable':'1m'", "re_enable" },
    };
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_int_eq(scene(h, cases[i].when, cases[i].members), TPC_EINVAL);
        ck_assert_str_eq(h->err.path, cases[i].path);
    }
    house_free(h);
}
END_TEST

START_TEST(a_scene_without_memory_is_not_put)
{
    struct house *h = house_new();
    bool done = false;
    for (size_t n = 1; !done; n++) {
        h->env.alloc.fail_at = h->env.alloc.count + n;
        int rc = scene(h, ",'expr':'a > 1','dampen':{'type':'consecutive','occurrences':2}",
                       ",'vars':{'a':'temperature','text':'{{ a }} C'},'auto_disable':true");
        h->env.alloc.fail_at = 0;
        ck_assert(rc == 0 || rc == TPC_ENOMEM);
        done = rc == 0;
    }
    house_temperature(h, "t1", 3);
    h->env.alloc.fail_at = h->env.alloc.count + 1; /* no memory for its runs: it does not fire */
    house_temperature(h, "t1", 31);
    h->env.alloc.fail_at = 0;
    house_temperature(h, "t1", 31);
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(notes(h), 1);
    house_free(h);
}
END_TEST

Suite *task_suite(void)
{
    Suite *s = suite_create("task");
    TCase *t = tcase_create("task");
    tcase_add_test(t, a_condition_is_run_at_each_planned_time);
    tcase_add_test(t, rising_fires_once_while_it_stays_true_and_after_a_restart_not_again);
    tcase_add_test(t, dampening_looks_at_the_newest_runs_also_over_a_restart);
    tcase_add_test(t, a_changed_condition_starts_without_memory_and_changed_actions_do_not);
    tcase_add_test(t, active_for_long_enough_is_seen_at_that_moment);
    tcase_add_test(t, it_switches_itself_off_and_comes_back_after_a_while);
    tcase_add_test(t, it_switches_itself_off_for_good_until_it_is_put_again);
    tcase_add_test(t, after_a_kill_the_log_tells_that_it_switched_itself_off);
    tcase_add_test(t, after_a_kill_the_log_tells_that_it_was_true);
    tcase_add_test(t, a_schedule_without_condition_switches_itself_off_too);
    tcase_add_test(t, faults_are_said_when_it_is_put);
    tcase_add_test(t, without_memory_nothing_changes);
    tcase_add_test(t, variables_are_made_when_the_message_comes);
    tcase_add_test(t, variables_are_made_anew_when_a_pair_fires_that_waited);
    tcase_add_test(t, a_model_that_changes_keeps_variables_and_breaks_what_it_must);
    tcase_add_test(t, dampening_of_a_scene_looks_at_the_newest_messages_of_each_device);
    tcase_add_test(t, active_for_so_long_fires_then_and_with_each_message_after);
    tcase_add_test(t, a_scene_switches_itself_off_for_all_devices);
    tcase_add_test(t, reset_forgets_runs_and_switches_on);
    tcase_add_test(t, what_waits_at_a_scene_that_switched_itself_off_is_over);
    tcase_add_test(t, damaged_state_of_dampened_scenes_is_refused);
    tcase_add_test(t, faults_of_scenes_are_said_when_they_are_put);
    tcase_add_test(t, a_scene_without_memory_is_not_put);
    suite_add_tcase(s, t);
    return s;
}
