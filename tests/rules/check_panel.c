/* Automations of ThingsPanel: what becomes of each kind of condition and action. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/rule.h>

#include "data/member.h"
#include "house.h"
#include "suites.h"

static const char names[] =
    "{'devices':{'d-1':{'key':'t1','product':'thermo'},'d-2':{'key':'t2','product':'thermo'},"
    "'d-f':{'key':'fan-1','product':'fan'}},'products':{'c-1':'thermo','c-f':'fan'},"
    "'alerts':{'a-1':{'key':'hot','severity':'major'}},'scenes':{'s-1':'evening'}}";

/* Quotes as '. */
static char *with_quotes(const char *text)
{
    char *copy = strdup(text);
    for (char *p = copy; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p == '~' ? '\'' : *p;
    }
    return copy;
}

static int import(struct tpc_arena *arena, const char *json, struct tpc_error *err,
                  struct tpc_value *ret)
{
    char *in = with_quotes(json);
    char *known = with_quotes(names);
    int rc = tpc_rule_import_thingspanel(arena, tpc_str_from(in), tpc_str_from(known), err, ret);
    free(in);
    free(known);
    return rc;
}

static void check_json(const struct tpc_value *v, const char *expected)
{
    static char text[16384];
    struct tpc_buf buf = { (uint8_t *) text, sizeof(text) - 1, 0 };
    char *want = with_quotes(expected);
    tk_ok(tpc_json_write(v, 0, &buf));
    text[buf.need] = '\0';
    ck_assert_str_eq(text, want);
    free(want);
}

struct vector {
    const char *in;       /* groups and actions */
    const char *entities; /* without the brackets */
    const char *notes;    /* texts, each with a line feed */
};

static void check(const struct vector *v)
{
    char in[4096], entities[8192], notes[2048] = "";
    struct tpc_arena *arena;
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_value out;
    snprintf(in, sizeof(in), "{'id':'r','name':'R','enabled':'Y',%s}", v->in);
    snprintf(entities, sizeof(entities), "[%s]", v->entities);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(import(arena, in, &err, &out));
    check_json(tpi_member(&out, "entities"), entities);
    const struct tpc_value *list = tpi_member(&out, "notes");
    for (size_t i = 0; i < list->len; i++) {
        struct tpc_str path = tpi_member_text(&list->as.items[i], "path");
        struct tpc_str text = tpi_member_text(&list->as.items[i], "text");
        size_t n = strlen(notes);
        snprintf(notes + n, sizeof(notes) - n, "%.*s: %.*s\n", (int) path.len, path.ptr,
                 (int) text.len, text.ptr);
    }
    ck_assert_str_eq(notes, v->notes);
    tpc_arena_destroy(arena);
}

#define ON                                                                                         \
    "'actions':[{'action_type':'10','action_target':'d-f','action_param_type':'ATTR',"             \
    "'action_value':'{\\'on\\':true}'}]"
#define THEN "'then':[{'command':{'device':'fan-1','service':'set','params':{'on':true}}}]"
#define HOT                                                                                        \
    "{'trigger_conditions_type':'10','trigger_source':'d-1','trigger_param_type':'TEL',"           \
    "'trigger_param':'temperature','trigger_operator':'>','trigger_value':'30'}"
#define SCENE(WHEN) "{'kind':'scene','key':'r','when':{" WHEN "}," THEN "}"
#define OWN "'product':'thermo','devices':['t1'],"
#define EACH ",'fire':'each','every':'3s'"

START_TEST(conditions_on_devices_become_scenes)
{
    static const struct vector rows[] = {
        { "'trigger_condition_groups':[[" HOT "]]," ON, SCENE(OWN "'expr':'temperature > 30'" EACH),
          "" },
        /* a class; values that are no text; all operators */
        { "'trigger_condition_groups':[[{'trigger_conditions_type':'11','trigger_source':'c-1',"
          "'trigger_param_type':'ATTRIBUTES','trigger_param':'mode','trigger_operator':'in',"
          "'trigger_value':'auto, it~s,3'},{'trigger_conditions_type':'11','trigger_source':'c-1',"
          "'trigger_param_type':'telemetry','trigger_param':'humidity',"
          "'trigger_operator':'between','trigger_value':'20-30.5'},{'trigger_conditions_type':'11',"
          "'trigger_source':'c-1','trigger_param_type':'telemetry','trigger_param':'on',"
          "'trigger_operator':'!=','trigger_value':true},{'trigger_conditions_type':'11',"
          "'trigger_source':'c-1','trigger_param_type':'TEL','trigger_param':'1-x',"
          "'trigger_operator':'<=','trigger_value':-4}]]," ON,
          SCENE(
              "'product':'thermo','expr':'mode in (~auto~, ~it\\\\~s~, 3) and humidity between 20 "
              "and 30.5 and on != true and `1-x` <= -4'" EACH),
          "" },
        /* either of two groups */
        { "'trigger_condition_groups':[[" HOT "],[{'trigger_conditions_type':'10',"
          "'trigger_source':'d-1','trigger_param_type':'TEL','trigger_param':'humidity',"
          "'trigger_operator':'<','trigger_value':'5'}]]," ON,
          SCENE(OWN "'expr':'(temperature > 30) or (humidity < 5)'" EACH), "" },
        /* two devices: each sets it off */
        { "'trigger_condition_groups':[[" HOT ",{'trigger_conditions_type':'10',"
          "'trigger_source':'d-2','trigger_param_type':'TEL','trigger_param':'temperature',"
          "'trigger_operator':'=','trigger_value':'x'}]]," ON,
          SCENE(OWN
                "'expr':'temperature > 30 and device(~t2~).temperature = ~x~'" EACH) ",{'kind':'"
                                                                                     "scene','key':"
                                                                                     "'r-2','when':"
                                                                                     "{'product':'"
                                                                                     "thermo','"
                                                                                     "devices':['"
                                                                                     "t2'],"
                                                                                     "'expr':'"
                                                                                     "device(~t1~)."
                                                                                     "temperature "
                                                                                     "> 30 and "
                                                                                     "temperature "
                                                                                     "= ~x~'" EACH
                                                                                     "}," THEN "}",
          ": one message may set off several of its scenes, there only one\n" },
        /* presence, alone and with a value */
        { "'trigger_condition_groups':[[{'trigger_conditions_type':'10','trigger_source':'d-1',"
          "'trigger_param_type':'STATUS','trigger_param':'ALL'}]]," ON,
          SCENE(OWN "'on':'online','every':'3s'") ",{'kind':'scene','key':'r-2','when':{" OWN
                                                  "'on':'offline','every':'3s'}," THEN "}",
          "" },
        { "'trigger_condition_groups':[[" HOT ",{'trigger_conditions_type':'10',"
          "'trigger_source':'d-1','trigger_param_type':'STATUS','trigger_param':'OFF-LINE'}]]," ON,
          SCENE(OWN
                "'expr':'temperature > 30 and not device.online'" EACH) ",{'kind':'scene','key':'r-"
                                                                        "2','when':{" OWN
                                                                        "'on':'offline','expr':'"
                                                                        "temperature > "
                                                                        "30','every':'3s'}," THEN
                                                                        "}",
          "" },
        /* only at some hours */
        { "'trigger_condition_groups':[[" HOT ",{'trigger_conditions_type':'22','trigger_value':"
          "'137|22:00:00+08:00|06:30:00+08:00'}]]," ON,
          SCENE(OWN "'expr':'temperature > 30'" EACH
                    ",'during':{'time':{'from':'22:00:00','to':'06:30:00'},"
                    "'days':['mon','wed','sun'],'zone':'+08:00'}"),
          "" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(&rows[i]);
    }
}
END_TEST

#define EVENT(VALUE)                                                                               \
    "'trigger_condition_groups':[[{'trigger_conditions_type':'10','trigger_source':'d-1',"         \
    "'trigger_param_type':'EVT','trigger_param':'smoke','trigger_value':" VALUE "}]]," ON
#define SMOKE(EXPR) SCENE(OWN "'on':'event','event':'smoke'," EXPR "'every':'3s'")

START_TEST(events_are_asked_for_their_params)
{
    static const struct vector rows[] = {
        { EVENT("''"), SMOKE(""), "" },
        { EVENT("'{\\'level\\':3,\\'where\\':\\'hall\\'}'"),
          SMOKE("'expr':'params.level = 3 and params.where = ~hall~',"), "" },
        { EVENT("{'match_mode':'field','conditions':[{'field':'a.b','operator':'>=','value':2},"
                "{'field':'c','operator':'exists'},{'field':'d','operator':'between',"
                "'value':[1,9]},{'field':'e','operator':'in','value':['x',4]}]}"),
          SMOKE("'expr':'params.a.b >= 2 and params.c is not null and params.d between 1 and 9 "
                "and params.e in (~x~, 4)',"),
          "" },
        { EVENT("'{nonsense'"), "",
          "trigger_condition_groups[0].trigger_value: no JSON\n"
          ": nothing of 'r' is imported\n" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(&rows[i]);
    }
}
END_TEST

#define PLAN(MEMBERS) "'trigger_condition_groups':[[{'trigger_conditions_type':" MEMBERS "}]]," ON
#define SCHEDULE(MEMBERS) "{'kind':'schedule','key':'r'," MEMBERS "," THEN "}"

START_TEST(times_become_schedules)
{
    static const struct vector rows[] = {
        { PLAN("'20','execution_time':'2026-12-24T18:30:00+08:00','expiration_time':5"),
          SCHEDULE("'type':'simple','frequency':'on_date','date':'2026-12-24','time':'18:30:00',"
                   "'zone':'+08:00','missed':'run_once'"),
          "trigger_condition_groups[0][0].expiration_time: a time missed while the program is away "
          "is done however late it is\n" },
        { PLAN("'21','task_type':'HOUR','params':'30'"),
          SCHEDULE("'type':'cron','cron':'0 30 * * * *'"), "" },
        { PLAN("'21','task_type':'HOUR','params':'15:05+05:30'"),
          SCHEDULE("'type':'cron','cron':'5 15 * * * *','zone':'+05:30'"), "" },
        { PLAN("'21','task_type':'DAY','params':'08:05:00+00:00'"),
          SCHEDULE("'type':'cron','cron':'0 5 8 * * *'"), "" },
        { PLAN("'21','task_type':'WEEK','params':'1357|08:05:09-03:00'"),
          SCHEDULE("'type':'cron','cron':'9 5 8 * * mon,wed,fri,sun','zone':'-03:00'"), "" },
        { PLAN("'21','task_type':'MONTH','params':'15T23:00:00+08:00'"),
          SCHEDULE("'type':'cron','cron':'0 0 23 15 * *','zone':'+08:00'"), "" },
        { PLAN("'21','task_type':'CRON','params':'0 0/5 * * * ?'"),
          SCHEDULE("'type':'cron','cron':'0 0/5 * * * ?'"), "" },
        { "'trigger_condition_groups':[[{'trigger_conditions_type':'21','task_type':'DAY',"
          "'params':'08:00:00Z'}," HOT "]]," ON,
          SCHEDULE("'type':'cron','cron':'0 0 8 * * *','if':'device(~t1~).temperature > 30'"), "" },
        { PLAN("'21','task_type':'YEAR','params':'x'"), "",
          "trigger_condition_groups[0][0].task_type: no time: 'YEAR'\n"
          "trigger_condition_groups[0]: the group is not imported\n"
          ": nothing of 'r' is imported\n" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(&rows[i]);
    }
}
END_TEST

#define ACTIONS(LIST) "'trigger_condition_groups':[[" HOT "]],'actions':[" LIST "]"
#define DOES(LIST)                                                                                 \
    "{'kind':'scene','key':'r','when':{" OWN "'expr':'temperature > 30'" EACH "},'then':[" LIST "]}"

START_TEST(actions_become_actions)
{
    static const struct vector rows[] = {
        { ACTIONS("{'action_type':'10','action_target':'d-f','action_param_type':'c_telemetry',"
                  "'action_param':'level','action_value':'3'}"),
          DOES("{'command':{'device':'fan-1','service':'control','params':{'level':3}}}"), "" },
        { ACTIONS("{'action_type':'11','action_target':'c-1','action_param_type':'CMD',"
                  "'action_value':'{\\'method\\':\\'boost\\',\\'params\\':{\\'level\\':4}}'}"),
          DOES("{'command':{'service':'boost','params':{'level':4}}}"), "" },
        { ACTIONS("{'action_type':'20','action_target':'s-1'}"),
          DOES("{'run':{'scene':'evening'}}"), "" },
        { ACTIONS("{'action_type':'40'},{'action_type':'99'}"), "",
          "actions[0].action_type: services are not imported\n"
          "actions[1].action_type: unknown: '99'\n: nothing of 'r' is imported\n" },
        /* an alarm ends when the group is false */
        { ACTIONS("{'action_type':'30','action_target':'a-1'}"),
          "{'kind':'scene','key':'r','when':{" OWN "'expr':'temperature > 30'},"
          "'then':[{'alert':{'key':'hot','severity':'major'}}]},"
          "{'kind':'scene','key':'r-2-clear','when':{" OWN "'expr':'not (temperature > 30)'},"
          "'then':[{'clear':{'key':'hot'}}]}",
          "" },
        /* nobody sets off what is planned: a class is all of it */
        { "'trigger_condition_groups':[[{'trigger_conditions_type':'21','task_type':'HOUR',"
          "'params':'00'}]],'actions':[{'action_type':'11','action_target':'c-f',"
          "'action_param_type':'ATTR','action_value':'{\\'on\\':true}'},"
          "{'action_type':'30','action_target':'a-1'}]",
          "{'kind':'schedule','key':'r','type':'cron','cron':'0 0 * * * *','then':[{'command':{"
          "'product':'fan','service':'set','params':{'on':true}}}]}",
          "trigger_condition_groups[0].actions[1]: an alarm that no device sets off is of "
          "nobody\n" },
        { ON, "{'kind':'scene','key':'r','when':{'on':'manual'}," THEN "}", "" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(&rows[i]);
    }
}
END_TEST

#define GROUP(C) "'trigger_condition_groups':[[" C "]]," ON
#define LOST                                                                                       \
    "trigger_condition_groups[0]: the group is not imported\n: nothing of 'r' is imported\n"

START_TEST(what_has_no_place_is_noted)
{
    static const struct vector rows[] = {
        { GROUP("{'trigger_conditions_type':'77'}"), "",
          "trigger_condition_groups[0][0].trigger_conditions_type: unknown: '77'\n" LOST },
        { GROUP("{'trigger_conditions_type':'10','trigger_source':'d-9','trigger_param_type':'TEL',"
                "'trigger_param':'t','trigger_operator':'>','trigger_value':'1'}"),
          "",
          "trigger_condition_groups[0]: of which product is device 'd-9'? names.devices has to "
          "tell "
          "it\n: nothing of 'r' is imported\n" },
        { GROUP("{'trigger_conditions_type':'22','trigger_value':'1|08:00:00Z|09:00:00Z'}"), "",
          "trigger_condition_groups[0]: nothing sets it off\n: nothing of 'r' is imported\n" },
        { GROUP(HOT ",{'trigger_conditions_type':'22','trigger_value':'8|x|y'}"), "",
          "trigger_condition_groups[0][1].trigger_value: no window as "
          "137|08:00:00+08:00|18:00:00+08:00: '8|x|y'\n" LOST },
        { GROUP("{'trigger_conditions_type':'10','trigger_source':'d-1','trigger_param_type':'TEL',"
                "'trigger_param':'t','trigger_operator':'like','trigger_value':'1'}"),
          "",
          "trigger_condition_groups[0].trigger_operator: unknown operator 'like'\n"
          ": nothing of 'r' is imported\n" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(&rows[i]);
    }
}
END_TEST

START_TEST(lists_and_answers_of_the_interface_are_understood)
{
    struct tpc_arena *arena;
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_value out;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(import(arena,
                 "{'code':200,'data':{'total':3,'list':[{'name':'x','enabled':'N'," ON
                 "},5,{'id':'a-1','name':'Hot','alarm_level':'H','enabled':'Y',"
                 "'notification_group_id':'g'}]}}",
                 &err, &out));
    check_json(&out,
               "{'entities':[{'kind':'scene','key':'x','enabled':false,'when':{'on':"
               "'manual'}," THEN "},{'kind':'alert','key':'hot','name':'Hot','severity':'critical',"
               "'notify':['g']}],'notes':[{'path':'[1]','text':'no automation: no list of "
               "actions'}]}");
    tk_fails(TPC_EINVAL, import(arena, "{'a':1}", &err, &out));
    ck_assert_int_ne(import(arena, "{'a':", &err, &out), 0);
    ck_assert_uint_eq(err.line, 1);
    tpc_arena_destroy(arena);
}
END_TEST

/* What is imported is what the entities take, and it fires. */
START_TEST(what_is_imported_works)
{
    struct house *h = house_new();
    struct tpc_arena *arena;
    struct tpc_value out;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(import(arena,
                 "[{'id':'a','trigger_condition_groups':[[" HOT "]]," ON
                 "},{'id':'b','trigger_condition_groups':[[{'trigger_conditions_type':'21',"
                 "'task_type':'WEEK','params':'135|08:00:00+08:00'}," HOT "]]," ON
                 "},{'id':'c','trigger_condition_groups':[[{'trigger_conditions_type':'11',"
                 "'trigger_source':'c-1','trigger_param_type':'EVT','trigger_param':'smoke',"
                 "'trigger_value':'{\\'online\\':true}'}]]," ON "}]",
                 &h->err, &out));
    const struct tpc_value *list = tpi_member(&out, "entities");
    ck_assert_uint_eq(list->len, 3);
    for (size_t i = 0; i < list->len; i++) {
        static char text[4096];
        struct tpc_buf buf = { (uint8_t *) text, sizeof(text), 0 };
        struct tpc_str kind = tpi_member_text(&list->as.items[i], "kind");
        tk_ok(tpc_json_write(&list->as.items[i], 0, &buf));
        ck_assert_msg(tpi_entities_put(h->entities, NULL, kind.ptr,
                                       (struct tpc_str){ text, buf.need }, TPC_ANY_REV, &h->err,
                                       NULL) == 0,
                      "%s: %s", h->err.path, h->err.text);
    }
    house_temperature(h, "t1", 31);
    ck_assert_uint_eq(atomic_load(&h->command_count), 1);
    house_tell(h, "t2", TPC_MSG_EVENT, "smoke", true);
    ck_assert_uint_eq(atomic_load(&h->command_count), 2);
    tpc_arena_destroy(arena);
    house_free(h);
}
END_TEST

START_TEST(long_lists_of_events_are_whole)
{
    char json[8192];
    static char text[16384];
    struct tpc_arena *arena;
    struct tpc_value out;
    struct tpc_buf buf = { (uint8_t *) text, sizeof(text) - 1, 0 };
    int n = snprintf(json, sizeof(json),
                     "{'id':'r','trigger_condition_groups':[[{'trigger_conditions_type':'10',"
                     "'trigger_source':'d-1','trigger_param_type':'EVT','trigger_param':'smoke',"
                     "'trigger_value':{'match_mode':'field','conditions':[{'field':'room',"
                     "'operator':'in','value':[");
    for (int i = 0; i < 200; i++) {
        n += snprintf(json + n, sizeof(json) - (size_t) n, "%s'room %d'", i > 0 ? "," : "", i);
    }
    snprintf(json + n, sizeof(json) - (size_t) n, "]}]}}]]," ON "}");
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(import(arena, json, NULL, &out));
    tk_ok(tpc_json_write(&out, 0, &buf));
    text[buf.need] = '\0';
    ck_assert_ptr_nonnull(strstr(text, "'room 0', "));
    ck_assert_ptr_nonnull(strstr(text, ", 'room 199')"));
    tpc_arena_destroy(arena);
}
END_TEST

static int import_once(const struct tpc_allocator *a, void *user)
{
    struct tpc_arena *arena;
    struct tpc_value out;
    (void) user;
    int rc = tpc_arena_create(a, 0, &arena);
    if (rc == 0) {
        rc = import(arena, "{'id':'r','trigger_condition_groups':[[" HOT "]]," ON "}", NULL, &out);
        tpc_arena_destroy(arena);
    }
    return rc;
}

START_TEST(without_memory_nothing_is_imported)
{
    ck_assert_uint_gt(tk_each_alloc_fails(import_once, NULL), 0);
}
END_TEST

Suite *panel_suite(void)
{
    Suite *s = suite_create("panel");
    TCase *c = tcase_create("panel");
    tcase_add_test(c, conditions_on_devices_become_scenes);
    tcase_add_test(c, events_are_asked_for_their_params);
    tcase_add_test(c, times_become_schedules);
    tcase_add_test(c, actions_become_actions);
    tcase_add_test(c, what_has_no_place_is_noted);
    tcase_add_test(c, lists_and_answers_of_the_interface_are_understood);
    tcase_add_test(c, what_is_imported_works);
    tcase_add_test(c, long_lists_of_events_are_whole);
    tcase_add_test(c, without_memory_nothing_is_imported);
    suite_add_tcase(s, c);
    return s;
}
