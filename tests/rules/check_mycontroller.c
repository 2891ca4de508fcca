/* Documents of MyController as ours; those that are made are put, too. */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/mycontroller.h>

#include "house.h"
#include "suites.h"

struct import {
    struct tpc_arena *arena;
    struct tpc_value out;
    int rc;
};

/* Quotes may be written as '. */
static struct import import(const char *json, const struct tpc_mycontroller_options *options)
{
    struct import i = { .arena = NULL };
    struct tpc_value doc;
    struct tpc_error err = { .size = sizeof(err) };
    tk_ok(tpc_arena_create(NULL, 0, &i.arena));
    char *text = tpc_arena_take(i.arena, strlen(json) + 1); /* what comes out points into it */
    ck_assert_ptr_nonnull(text);
    for (size_t n = 0; n <= strlen(json); n++) {
        text[n] = json[n] == '\'' ? '"' : json[n];
    }
    int rc = tpc_json_parse(i.arena, tpc_str_from(text), 0, &err, &doc);
    ck_assert_msg(rc == 0, "%s at %u", err.text, err.column);
    i.rc = tpc_mycontroller_import(i.arena, &doc, options, NULL, &i.out);
    return i;
}

static struct tpc_value member(const struct import *i, const char *name)
{
    const struct tpc_value *v = tpc_value_get(&i->out, tpc_str_from(name));
    ck_assert_ptr_nonnull(v);
    return *v;
}

/* As JSON with ' for its quotes; apostrophes become ^. */
static void print(const struct tpc_value *v, char *out, size_t cap)
{
    struct tpc_buf b = { (uint8_t *) out, cap - 1, 0 };
    tk_ok(tpc_json_write(v, 0, &b));
    out[b.need] = '\0';
    for (char *p = out; *p != '\0'; p++) {
        *p = *p == '\'' ? '^' : *p == '"' ? '\'' : *p;
    }
}

static const struct tpc_mycontroller_options house_names = { .size = sizeof(house_names),
                                                             .product = TPC_STR_INIT("thermo"),
                                                             .device = TPC_STR_INIT("{node}"),
                                                             .property = TPC_STR_INIT("{field}"),
                                                             .zone =
                                                                 TPC_STR_INIT("Europe/Berlin") };

/* What comes of one document: entities and notes, compared as texts. */
static void expect(const char *json, const struct tpc_mycontroller_options *options,
                   const char *entities, const char *notes)
{
    char text[4000];
    struct import i = import(json, options);
    tk_ok(i.rc);
    struct tpc_value v = member(&i, "entities");
    print(&v, text, sizeof(text));
    ck_assert_str_eq(text, entities);
    v = member(&i, "notes");
    print(&v, text, sizeof(text));
    ck_assert_str_eq(text, notes);
    tpc_arena_destroy(i.arena);
}

#define TEMPERATURE                                                                                \
    "'t':{'type':'resource_by_quick_id','resourceType':'field','quickId':'g.t1.0.temperature',"    \
    "'keyPath':'current.value'}"
#define TELL                                                                                       \
    "'handlers':['phone'],'handlerParameters':{'p':{'type':'telegram','text':'{{ .t }} C'}}"
#define TOLD "'then':[{'notify':{'handler':'phone','params':{'text':'{{ t }} C'}}}]"

START_TEST(a_task_with_an_interval_becomes_a_schedule)
{
    expect("{'id':'hot','enabled':true,'ignoreDuplicate':true,'autoDisable':true,'reEnable':true,"
           "'reEnableDuration':'1h30m','variables':{" TEMPERATURE "},"
           "'dampening':{'type':'evaluation','occurrences':3,'evaluation':'5'},"
           "'triggerOnEvent':false,'executionInterval':'30s','evaluationType':'rule',"
           "'evaluationConfig':{'matchAll':true,'conditions':["
           "{'variable':'t','operator':'gt','value':'30'}]}," TELL "}",
           &house_names,
           "[{'kind':'schedule','key':'hot','type':'repeat','interval':30000,"
           "'vars':{'t':'device(^t1^).temperature'},'if':'t is not null and t > 30',"
           "'fire':'rising','dampen':{'type':'evaluation','occurrences':3,'evaluation':5},"
           "'auto_disable':true,'re_enable':5400000,'enabled':true," TOLD "}]",
           "[]");
}
END_TEST

START_TEST(a_task_on_events_becomes_a_scene)
{
    expect("{'id':'hot','enabled':true,'variables':{" TEMPERATURE "},"
           "'dampening':{'type':'active_duration','activeDuration':'1m'},"
           "'triggerOnEvent':true,'eventFilter':{'eventTypes':['updated'],'entityTypes':['field'],"
           "'filters':{}},'evaluationType':'rule','evaluationConfig':{'matchAll':false,"
           "'conditions':[{'variable':'t','operator':'range_in','value':'[30, 40]'},"
           "{'variable':'t','operator':'eq','value':'error'}]}," TELL "}",
           &house_names,
           "[{'kind':'scene','key':'hot','vars':{'t':'temperature'},"
           "'when':{'product':'thermo','devices':['t1'],"
           "'expr':'t is not null and (t between 30 and 40 or t = ^error^)','fire':'each',"
           "'dampen':{'type':'active_duration','active_duration':60000}},'enabled':true," TOLD "}]",
           "[]");
    expect("{'id':'hot','enabled':true,'variables':{" TEMPERATURE "},'triggerOnEvent':true," TELL
           "}",
           NULL, "[]",
           "[{'of':'task hot','at':'triggerOnEvent',"
           "'text':'a product is needed whose devices set it off: not made'}]");
}
END_TEST

START_TEST(what_has_no_counterpart_is_told_and_the_rule_is_off)
{
    expect("{'id':'x','enabled':true,'executionInterval':'1m','evaluationType':'javascript',"
           "'variables':{" TEMPERATURE ",'w':{'type':'webhook','server':'http://h'}}," TELL "}",
           &house_names,
           "[{'kind':'schedule','key':'x','type':'repeat','interval':60000,"
           "'vars':{'t':'device(^t1^).temperature'},'enabled':false," TOLD "}]",
           "[{'of':'task x','at':'evaluationType','text':"
           "'conditions are expressions, not javascript: write one and enable it'},"
           "{'of':'task x','at':'variables','text':"
           "'^w^: only the values of fields by their id, not webhook'}]");
    expect("[{'id':'b','type':'backup'},{'id':'?'},7]", NULL, "[]",
           "[{'of':'handler b','at':'type','text':'no counterpart: ^backup^'},"
           "{'of':'document ?','at':'','text':'no task, schedule, handler or forward payload'},"
           "{'of':'document ','at':'','text':'no task, schedule, handler or forward payload'}]");
    expect("{'id':'x','enabled':true,'executionInterval':'1m'}", NULL, "[]",
           "[{'of':'task x','at':'handlers','text':'it does nothing that we can do: not made'}]");
}
END_TEST

START_TEST(schedules_keep_their_plan)
{
    static const struct {
        const char *plan, *ours;
    } cases[] = {
        { "'type':'repeat','spec':{'interval':'5m','repeatCount':3}",
          "'type':'repeat','interval':300000,'count':3" },
        { "'type':'cron','spec':{'cronExpression':'0 30 7 * * *'}",
          "'type':'cron','cron':'0 30 7 * * *'" },
        { "'type':'simple','spec':{'frequency':'weekly','dayOfWeek':'mon,thu','time':'07:30'}",
          "'type':'simple','frequency':'weekly','day_of_week':'mon,thu','time':'07:30'" },
        { "'type':'simple','spec':{'frequency':'daily','dayOfWeek':'*','time':'07:30:15'}",
          "'type':'simple','frequency':'daily','time':'07:30:15'" },
        { "'type':'simple','spec':{'frequency':'monthly','dateOfMonth':'5','time':'07:30'}",
          "'type':'simple','frequency':'monthly','date_of_month':5,'time':'07:30'" },
        { "'type':'simple','spec':{'frequency':'on_date','date':'2027-02-28','time':'07:30'}",
          "'type':'simple','frequency':'on_date','date':'2027-02-28','time':'07:30'" },
        { "'type':'sunset','spec':{'frequency':'daily','offset':'-30m'}",
          "'type':'sunset','frequency':'daily','offset':-1800000,'latitude':52.5,'longitude':13."
          "0" },
    };
    struct tpc_mycontroller_options o = house_names;
    o.latitude = TPC_STR("52.5");
    o.longitude = TPC_STR("13");
    struct house *h = house_new();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char in[1000];
        char out[1000];
        snprintf(in, sizeof(in),
                 "{'id':'s','enabled':true,%s,'validity':{'enabled':true,'date':{'from':"
                 "'2026-01-01','to':''},'time':{'from':'08:00:00','to':'20:00:00'},"
                 "'validateTimeEveryday':true},'variables':{" TEMPERATURE "}," TELL "}",
                 cases[i].plan);
        snprintf(out, sizeof(out),
                 "[{'kind':'schedule','key':'s',%s,'zone':'Europe/Berlin','validity':{'date':"
                 "{'from':'2026-01-01'},'time':{'from':'08:00:00','to':'20:00:00'},"
                 "'every_day':true},'vars':{'t':'device(^t1^).temperature'},'enabled':true," TOLD
                 "}]",
                 cases[i].ours);
        expect(in, &o, out, "[]");
        struct import made = import(in, &o);
        struct tpc_value list = member(&made, "entities");
        struct tpc_buf b = { (uint8_t *) out, sizeof(out) - 1, 0 };
        tk_ok(tpc_json_write(&list.as.items[0], 0, &b));
        out[b.need] = '\0';
        struct tpc_entity_info info = { .size = sizeof(info) };
        tk_ok(tpi_entities_put(h->entities, NULL, "schedule", tpc_str_from(out), TPC_ANY_REV,
                               &h->err, &info));
        tpc_arena_destroy(made.arena);
    }
    house_free(h);
}
END_TEST

START_TEST(handlers_become_handlers_of_our_sinks)
{
    expect("[{'id':'m','enabled':true,'type':'email','spec':{'host':'h','toEmails':['a@b.c']}},"
           "{'id':'w','enabled':true,'type':'webhook','spec':{'server':'https://h','api':'/x',"
           "'method':'PUT','headers':{'A':'b'},'queryParameters':{'k y':'a&b'},'insecure':true}},"
           "{'id':'p','enabled':'true','type':'telegram','spec':{'token':'1:a','chatIds':['-1','2']"
           "}},{'id':'r','enabled':true,'type':'resource'},"
           "{'id':'q','enabled':true,'type':'mqtt','spec':{'publish':'a/b','qos':2}}]",
           NULL,
           "[{'kind':'handler','key':'m','sink':'mail','enabled':true,'options':{'to':['a@b.c']}},"
           "{'kind':'handler','key':'w','sink':'hooks','enabled':true,'options':{"
           "'url':'https://h/x?k%20y=a%26b','method':'PUT','headers':{'A':'b'},"
           "'tls':{'verify':false}}},"
           "{'kind':'handler','key':'p','sink':'hooks','enabled':true,'options':{"
           "'format':'telegram','token':'1:a','chat_id':'-1'}},"
           "{'kind':'handler','key':'q','sink':'mqtt','enabled':true,'options':{"
           "'topic':'a/b','qos':1}}]",
           "[{'of':'handler m','at':'host','text':"
           "'server, port and password belong to the opened sink ^mail^'},"
           "{'of':'handler p','at':'chatIds','text':"
           "'a handler is for one chat: make another for each of the others'}]");
}
END_TEST

#define RESOURCE(type, id, payload)                                                                \
    "{'type':'resource_by_quick_id','resourceType':'" type "','quickId':'" id "','payload':"       \
    "'" payload "'}"

START_TEST(resources_become_actions)
{
    expect(
        "{'tasks':[{'id':'x','enabled':true,'executionInterval':'1m','handlers':['r','w'],"
        "'handlerParameters':{"
        "'a':{'type':'resource_by_quick_id','resourceType':'field','quickId':'g.t1.0.on',"
        "'payload':'toggle','preDelay':'1m'},"
        "'b':" RESOURCE(
            "field", "g.t1.0.level",
            "5") ","
                 "'c':" RESOURCE(
                     "schedule", "s",
                     "disable") ","
                                "'d':" RESOURCE(
                                    "task", "x",
                                    "true") ","
                                            "'e':{'type':'webhook','data':{'v':'{{ .task.id }}'}},"
                                            "'f':{'type':'email','body':'x'},'g':{'type':'email','"
                                            "disabled':'true'}}}],"
                                            "'handlers':[{'id':'r','type':'resource'},{'id':'w','"
                                            "type':'webhook',"
                                            "'enabled':true,'spec':{'server':'http://h'}}]}",
        &house_names,
        "[{'kind':'schedule','key':'x','type':'repeat','interval':60000,'enabled':true,'then':["
        "{'command':{'device':'t1','service':'set','params':{'level':5}}},"
        "{'disable':{'kind':'schedule','key':'s'}},"
        "{'enable':{'kind':'schedule','key':'x'}},"
        "{'notify':{'handler':'w','params':{'data':{'v':'{{ ^x^ }}'}}}},"
        "{'delay':60000},"
        "{'command':{'device':'t1','service':'set','params':{"
        "'on':'{{ not device(^t1^).on }}'}}}]},"
        "{'kind':'handler','key':'w','sink':'hooks','enabled':true,'options':{"
        "'url':'http://h'}}]",
        "[{'of':'task x','at':'handlerParameters','text':"
        "'^f^: none of its handlers takes this type'}]");
}
END_TEST

START_TEST(forward_payloads_become_scenes)
{
    expect("{'id':'f','enabled':true,'srcFieldId':'field:g.t1.0.temperature',"
           "'dstFieldId':'field:g.t2.1.humidity'}",
           &house_names,
           "[{'kind':'scene','key':'f','when':{'product':'thermo','devices':['t1'],"
           "'expr':'temperature is not null','fire':'each'},'enabled':true,'then':[{'command':{"
           "'device':'t2','service':'set','params':{'humidity':'{{ temperature }}'}}}]}]",
           "[]");
}
END_TEST

START_TEST(templates_keep_their_meaning_or_are_told)
{
    static const struct {
        const char *in, *out;
        bool told;
    } cases[] = {
        { "plain", "plain", false },
        { "{{ .t }} and {{.t}}", "{{ t }} and {{ t }}", false },
        { "{{- .t -}}", "{{ t }}", false },
        { "{{ toJson .o }} {{ .o | marshal }}", "{{ to_json(o) }} {{ to_json(o) }}", false },
        { "{{ keyPath .o \\\"a.0.b\\\" }}", "{{ o[^a^][0][^b^] }}", false },
        { "{{ .o.a.b }}", "{{ o[^a^][^b^] }}", false },
        { "{{ ternary .t \\\"yes\\\" `it's` }}", "{{ case when t then ^yes^ else ^it\\\\^s^ end }}",
          false },
        { "{{ now }}", "{{ now() }}", false },
        { "{{ if .t }}a{{ end }}", "{{ ^{{^ }} if .t }}a{{ ^{{^ }} end }}", true },
        { "{{ .unknown }}", "{{ ^{{^ }} .unknown }}", true },
        { "{{ open", "{{ ^{{^ }} open", true },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char in[1000];
        char text[4000];
        char want[300];
        char quoted[300] = "";
        for (const char *p = cases[i].in; *p != '\0'; p++) { /* ' is a quote to import() */
            size_t n = strlen(quoted);
            snprintf(quoted + n, sizeof(quoted) - n, *p == '\'' ? "\\u0027" : "%c", *p);
        }
        snprintf(in, sizeof(in),
                 "{'id':'x','enabled':true,'executionInterval':'1m','variables':{" TEMPERATURE
                 ",'o':{'a':[{'b':1}]}},'handlers':['p'],"
                 "'handlerParameters':{'p':{'type':'telegram','text':'%s'}}}",
                 quoted);
        struct import made = import(in, &house_names);
        tk_ok(made.rc);
        struct tpc_value v = member(&made, "entities");
        print(&v, text, sizeof(text));
        snprintf(want, sizeof(want), "'params':{'text':'%s'}", cases[i].out);
        ck_assert_msg(strstr(text, want) != NULL, "%s: %s", want, text);
        ck_assert_int_eq(member(&made, "notes").len > 0, cases[i].told);
        tpc_arena_destroy(made.arena);
    }
}
END_TEST

START_TEST(conditions_keep_their_meaning_or_are_told)
{
    static const struct {
        const char *in, *out; /* NULL = none */
    } cases[] = {
        { "'operator':'eq','value':'true'", "t = true" },
        { "'value':'on'", "t = ^on^" },
        { "'operator':'ne','value':-3.5", "t != -3.5" },
        { "'operator':'lte','value':'{{ .t }}'", "t <= t" },
        { "'operator':'in','value':['a',1]", "t in (^a^, 1)" },
        { "'operator':'nin','value':'[1,2]'", "t not in (1, 2)" },
        { "'operator':'range_not_in','value':[1,2]", "t not between 1 and 2" },
        { "'operator':'exists'", "t is not null" },
        { "'operator':'regex','value':'^ab\\\\d'", "regexp_matches(t, ^^[aA][bB]\\\\\\\\d^)" },
        { "'operator':'regex','value':'[a-f]'", NULL },
        { "'operator':'gt','value':'{{ .t }}0'", NULL },
        { "'operator':'range_in','value':[1]", NULL },
        { "'operator':'like','value':'x'", NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char in[1000];
        char text[4000];
        char want[300];
        snprintf(in, sizeof(in),
                 "{'id':'x','enabled':true,'executionInterval':'1m','variables':{" TEMPERATURE
                 "},'evaluationConfig':{'conditions':[{'variable':'t',%s}]}," TELL "}",
                 cases[i].in);
        struct import made = import(in, &house_names);
        tk_ok(made.rc);
        struct tpc_value v = member(&made, "entities");
        print(&v, text, sizeof(text));
        snprintf(want, sizeof(want), "'if':'t is not null and %s'",
                 cases[i].out != NULL ? cases[i].out : "");
        ck_assert_msg((strstr(text, want) != NULL) == (cases[i].out != NULL), "%s: %s", want, text);
        ck_assert_int_eq(member(&made, "notes").len > 0, cases[i].out == NULL);
        ck_assert((strstr(text, "'enabled':true") != NULL) == (cases[i].out != NULL));
        tpc_arena_destroy(made.arena);
    }
}
END_TEST

/* Of a task with so many variables and parameters. */
static struct import import_many(int vars, int params)
{
    char json[8192];
    int n = snprintf(json, sizeof(json),
                     "{'id':'x','enabled':true,'executionInterval':'1m',"
                     "'variables':{");
    for (int i = 0; i < vars; i++) {
        n += snprintf(json + n, sizeof(json) - (size_t) n, "%s'v%d':'a'", i > 0 ? "," : "", i);
    }
    n += snprintf(json + n, sizeof(json) - (size_t) n,
                  "},'handlers':['phone'],'handlerParameters':{'p':{'type':'webhook'");
    for (int i = 0; i < params; i++) {
        n += snprintf(json + n, sizeof(json) - (size_t) n, ",'p%d':%d", i, i);
    }
    snprintf(json + n, sizeof(json) - (size_t) n, "}}}");
    return import(json, &house_names);
}

START_TEST(nothing_is_dropped_for_want_of_room_without_a_word)
{
    char text[8000];
    struct import i = import_many(32, 32);
    struct tpc_value v = member(&i, "entities");
    print(&v, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "'v31':"));
    ck_assert_ptr_nonnull(strstr(text, "'p31':"));
    ck_assert_uint_eq(member(&i, "notes").len, 0);
    tpc_arena_destroy(i.arena);
    i = import_many(1, 33);
    v = member(&i, "notes");
    print(&v, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "more than 32 members"));
    tpc_arena_destroy(i.arena);
}
END_TEST

START_TEST(a_task_that_gives_way_to_a_schedule_of_its_id_is_switched_by_its_new_key)
{
    char text[4000];
    struct import i = import(
        "[{'id':'x','type':'repeat','enabled':true,'spec':{'interval':'1m'},'handlers':['r'],"
        "'handlerParameters':{'p':{'type':'resource_by_quick_id','resourceType':'task',"
        "'quickId':'x','payload':'disable'}}},"
        "{'id':'x','enabled':true,'executionInterval':'1m'," TELL "},"
        "{'id':'r','type':'resource'}]",
        &house_names);
    tk_ok(i.rc);
    struct tpc_value v = member(&i, "entities");
    print(&v, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "{'disable':{'kind':'schedule','key':'task-x'}}"));
    ck_assert_ptr_nonnull(strstr(text, "'kind':'schedule','key':'task-x'"));
    tpc_arena_destroy(i.arena);
}
END_TEST

START_TEST(plans_and_addresses_lose_nothing_without_a_word)
{
    char text[4000];
    struct import i =
        import("[{'id':'x','type':'repeat','enabled':true,'spec':{}," TELL "},"
               "{'id':'y','type':'sunset','enabled':true,'spec':{'offset':'early'}," TELL "},"
               "{'id':'h','type':'webhook','enabled':true,'spec':{'server':'http://h/',"
               "'queryParameters':{'n':5,'b':true,'t':'a b'}}}]",
               &house_names);
    tk_ok(i.rc);
    struct tpc_value v = member(&i, "entities");
    print(&v, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "http://h/?n=5&b=true&t=a%20b"));
    v = member(&i, "notes");
    print(&v, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "{'of':'schedule x','at':'interval'"));
    ck_assert_ptr_nonnull(strstr(text, "{'of':'schedule y','at':'offset'"));
    tpc_arena_destroy(i.arena);
}
END_TEST

START_TEST(nonsense_is_refused_and_memory_may_end)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value doc = { .type = TPC_INT };
    struct tpc_value out;
    struct tpc_mycontroller_options o = { .size = sizeof(o), .flags = 1 };
    ck_assert_int_eq(tpc_mycontroller_import(NULL, &doc, NULL, NULL, &out), TPC_EINVAL);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    ck_assert_int_eq(tpc_mycontroller_import(arena, &doc, NULL, NULL, &out), TPC_EINVAL);
    doc = (struct tpc_value){ .type = TPC_MAP };
    ck_assert_int_eq(tpc_mycontroller_import(arena, &doc, &o, NULL, &out), TPC_EINVAL);
    static const char text[] =
        "{\"id\":\"x\",\"executionInterval\":\"1m\",\"handlers\":[\"p\"],\"variables\":"
        "{\"a\":\"{{ .b }}\"},\"handlerParameters\":{\"p\":{\"type\":\"a\",\"data\":{\"x\":"
        "[\"{{ .a }}\"]}}}}";
    tk_ok(tpc_json_parse(arena, tpc_str_from(text), 0, NULL, &doc));
    int rc = TPC_ENOMEM;
    for (size_t limit = 4096; rc == TPC_ENOMEM; limit += 64) {
        struct tpc_arena *small;
        tk_ok(tpc_arena_create(NULL, limit, &small));
        rc = tpc_mycontroller_import(small, &doc, NULL, NULL, &out);
        ck_assert(rc == 0 || rc == TPC_ENOMEM);
        tpc_arena_destroy(small);
    }
    tpc_arena_destroy(arena);
}
END_TEST

Suite *mycontroller_suite(void)
{
    Suite *s = suite_create("mycontroller");
    TCase *t = tcase_create("mycontroller");
    tcase_add_test(t, a_task_with_an_interval_becomes_a_schedule);
    tcase_add_test(t, a_task_on_events_becomes_a_scene);
    tcase_add_test(t, what_has_no_counterpart_is_told_and_the_rule_is_off);
    tcase_add_test(t, schedules_keep_their_plan);
    tcase_add_test(t, handlers_become_handlers_of_our_sinks);
    tcase_add_test(t, resources_become_actions);
    tcase_add_test(t, forward_payloads_become_scenes);
    tcase_add_test(t, templates_keep_their_meaning_or_are_told);
    tcase_add_test(t, conditions_keep_their_meaning_or_are_told);
    tcase_add_test(t, nothing_is_dropped_for_want_of_room_without_a_word);
    tcase_add_test(t, a_task_that_gives_way_to_a_schedule_of_its_id_is_switched_by_its_new_key);
    tcase_add_test(t, plans_and_addresses_lose_nothing_without_a_word);
    tcase_add_test(t, nonsense_is_refused_and_memory_may_end);
    suite_add_tcase(s, t);
    return s;
}
