/* Rules that are tried without effect, and followed as they run. */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/rule.h>

#include "flow.h"

#define START_MS INT64_C(1795000000000) /* 2026-11-18T11:06:40Z */

enum { TOLD = 16384, MESSAGES = 16 };

struct told {
    unsigned count;
    unsigned stop; /* that is answered with 7; 0 = none */
    char text[TOLD];
};
static struct told told;

static int tell(void *user, const struct tpc_rule_step *step)
{
    struct told *t = user;
    size_t n = strlen(t->text);
    int more = snprintf(t->text + n, sizeof(t->text) - n, "+%lld %s: %s\n",
                        (long long) ((step->unix_ms - START_MS) / 1000),
                        tpc_rule_step_name(step->what), step->text.ptr);
    ck_assert_uint_lt(n + (size_t) more, sizeof(t->text));
    return ++t->count == t->stop ? 7 : 0;
}

/* What comes in: device, seconds after the start, kind, JSON. */
struct line {
    const char *device;
    int at_s;
    uint16_t kind;
    const char *json;
};

static int try_for(struct flow *f, const char *kind, const char *document, const struct line *lines,
                   unsigned count, int seconds)
{
    struct tpc_rule_test_message messages[MESSAGES];
    struct tpc_rule_test_options o = TPC_RULE_TEST_OPTIONS_INIT;
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    for (unsigned i = 0; i < count; i++) {
        messages[i] = (struct tpc_rule_test_message){ .size = sizeof(messages[i]),
                                                      .kind = lines[i].kind,
                                                      .unix_ms = START_MS + lines[i].at_s * 1000,
                                                      .device = tpc_str_from(lines[i].device) };
        tk_ok(tpc_json_parse(arena, tpc_str_from(lines[i].json), 0, NULL, &messages[i].params));
    }
    o.from_unix_ms = START_MS;
    o.until_unix_ms = START_MS + seconds * 1000;
    memset(&told, 0, sizeof(told));
    int rc = tpc_rule_test(f->core, kind, tpc_str_from(document), messages, count, &o, tell, &told);
    tpc_arena_destroy(arena);
    return rc;
}

static void begin(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_devices(f, 2);
    flow_probe_open(f);
    flow_start(f);
}

static const char scene[] = TPC_JSON({
    "key": "s", "enabled": false,
    "when": { "product": "thermo", "devices": [ "t1" ], "expr": "temperature > 30", "for": "5m" },
    "then": [
        { "command": { "device": "fan-1", "service": "set", "params": { "on": true } } },
        { "command": { "device": "fan-1", "service": "spin",
                       "params": { "speed": "{{ temperature }}" } } },
        { "notify": { "handler": "ops", "params": { "text": "{{ device.key }}: {{ temperature }}" } } },
        { "alert": { "key": "hot", "severity": "major", "text": "it is {{ temperature }}" } }
    ] });

START_TEST(a_scene_is_played_step_by_step)
{
    struct flow f;
    static const struct line lines[] = { { "t1", 0, TPC_MSG_TELEMETRY,
                                           "{\"temperature\":31,\"nothing\":1}" },
                                         { "t2", 1, TPC_MSG_TELEMETRY, "{\"temperature\":50}" },
                                         { "t1", 2, TPC_MSG_EVENT, "{}" },
                                         { "t9", 3, TPC_MSG_TELEMETRY, "{\"temperature\":50}" },
                                         { "t1", 60, TPC_MSG_TELEMETRY, "{\"temperature\":32}" },
                                         { "t1", 400, TPC_MSG_TELEMETRY, "{\"temperature\":20}" } };
    begin(&f);
    int rc = try_for(&f, "scene", scene, lines, 6, 1000);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);

    ck_assert_str_eq(told.text,
                     "+0 input: telemetry of t1 {\"temperature\":31,\"nothing\":1}\n"
                     "+0 refused: nothing: no such property\n"
                     "+0 look: looked at: telemetry of t1\n"
                     "+0 condition: expr: temperature > 30 is true (temperature = 31.0)\n"
                     "+0 decision: became true: waits whether it stays so (2026-11-18T11:11:40Z)\n"
                     "+1 input: telemetry of t2 {\"temperature\":50}\n"
                     "+1 pass: not looked at: the device is not among its devices\n"
                     "+2 input: event of t1 {}\n"
                     "+2 pass: not looked at: it looks at properties alone\n"
                     "+3 input: telemetry of t9 {\"temperature\":50}\n"
                     "+3 refused: message: no such device\n"
                     "+60 input: telemetry of t1 {\"temperature\":32}\n"
                     "+60 look: looked at: telemetry of t1\n"
                     "+60 condition: expr: temperature > 30 is true (temperature = 32.0)\n"
                     "+60 decision: is still true: waits on (2026-11-18T11:11:40Z)\n"
                     "+300 decision: was true for long enough: fires\n"
                     "+300 action: command set to fan-1 {\"on\":true}\n"
                     "+300 refused: command spin to fan-1 {\"speed\":32.0}: 32 is above 9\n"
                     "+300 action: notify ops to t1 {\"text\":\"t1: 32\"}\n"
                     "+300 action: alert hot to t1 "
                     "{\"state\":\"raised\",\"severity\":\"major\",\"text\":\"it is "
                     "32\"}\n"
                     "+400 input: telemetry of t1 {\"temperature\":20}\n"
                     "+400 look: looked at: telemetry of t1\n"
                     "+400 condition: expr: temperature > 30 is false (temperature = 20.0)\n"
                     "+400 decision: is over: can fire again\n");
    flow_fini(&f);
}
END_TEST

START_TEST(a_windowed_rule_is_played_with_its_rows)
{
    struct flow f;
    static const char rule[] =
        "{\"sql\":\"SELECT avg(temperature) AS mean, count(*) AS n FROM thermo WHERE "
        "temperature > 0 GROUP BY device, TUMBLINGWINDOW(ss, 10)\",\"to\":{\"event\":\"mean\"}}";
    static const struct line lines[] = { { "t1", 0, TPC_MSG_TELEMETRY, "{\"temperature\":20}" },
                                         { "t1", 3, TPC_MSG_TELEMETRY, "{\"temperature\":-1}" },
                                         { "t1", 5, TPC_MSG_TELEMETRY, "{\"temperature\":23}" },
                                         { "t1", 6, TPC_MSG_TELEMETRY, "{\"n\":23}" } };
    begin(&f);
    int rc = try_for(&f, "rule", rule, lines, 4, 60);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_str_eq(
        told.text,
        "+0 input: telemetry of t1 {\"temperature\":20}\n"
        "+0 look: looked at: telemetry of t1\n"
        "+0 condition: WHERE: temperature > 0 is true (temperature = 20.0)\n"
        "+0 window: window of t1 from 2026-11-18T11:06:40Z to 2026-11-18T11:06:50Z opens and takes "
        "the message: 1 in it\n"
        "+3 input: telemetry of t1 {\"temperature\":-1}\n"
        "+3 look: looked at: telemetry of t1\n"
        "+3 condition: WHERE: temperature > 0 is false (temperature = -1.0)\n"
        "+5 input: telemetry of t1 {\"temperature\":23}\n"
        "+5 look: looked at: telemetry of t1\n"
        "+5 condition: WHERE: temperature > 0 is true (temperature = 23.0)\n"
        "+5 window: window of t1 from 2026-11-18T11:06:40Z to 2026-11-18T11:06:50Z takes the "
        "message: 2 in it\n"
        "+6 input: telemetry of t1 {\"n\":23}\n"
        "+6 pass: not looked at: no property that its statement names is in the message\n"
        "+10 window: window of t1 from 2026-11-18T11:06:40Z to 2026-11-18T11:06:50Z ends: 2 in it\n"
        "+10 row: row "
        "{\"mean\":21.5,\"n\":2,\"device\":\"t1\",\"window_start_ms\":1795000000000,\"window_end_"
        "ms\":1795000010000}\n"
        "+10 action: event mean to t1 "
        "{\"mean\":21.5,\"n\":2,\"device\":\"t1\",\"window_start_ms\":1795000000000,\"window_end_"
        "ms\":1795000010000}\n");
    flow_fini(&f);
}
END_TEST

START_TEST(a_rule_over_a_topic_is_played_and_tells_what_is_not_of_it)
{
    struct flow f;
    static const char rule[] =
        "{\"sql\":\"SELECT temperature AS t FROM 'main/up/thermo/t1/telemetry'\","
        "\"to\":{\"event\":\"e\"}}";
    static const struct line lines[] = { { "t1", 0, TPC_MSG_TELEMETRY, "{\"temperature\":20}" },
                                         { "t2", 1, TPC_MSG_TELEMETRY, "{\"temperature\":21}" },
                                         { "t1", 2, TPC_MSG_ATTRIBUTES, "{\"temperature\":22}" } };
    begin(&f);
    int rc = try_for(&f, "rule", rule, lines, 3, 60);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_str_eq(told.text, "+0 input: telemetry of t1 {\"temperature\":20}\n"
                                "+0 look: looked at: telemetry of t1\n"
                                "+0 row: row {\"t\":20.0,\"device\":\"t1\"}\n"
                                "+0 action: event e to t1 {\"t\":20.0,\"device\":\"t1\"}\n"
                                "+1 input: telemetry of t2 {\"temperature\":21}\n"
                                "+1 pass: not looked at: the message is not of its topic\n"
                                "+2 input: attributes of t1 {\"temperature\":22}\n"
                                "+2 pass: not looked at: the message is not of its topic\n");
    flow_fini(&f);
}
END_TEST

START_TEST(a_schedule_is_played_until_its_end)
{
    struct flow f;
    static const char schedule[] = TPC_JSON({ "key": "p",
                   "type": "repeat",
                   "interval": "1h",
                   "count": 2,
                   "then": [ { "notify": { "handler": "ops", "params": { "at": "{{ planned }}" } } } ] });
    begin(&f);
    int rc = try_for(&f, "schedule", schedule, NULL, 0, 86400);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_str_eq(told.text, "+0 decision: is looked at again then (2026-11-18T12:06:40Z)\n"
                                "+3600 decision: fires (2026-11-18T12:06:40Z)\n"
                                "+3600 action: notify ops {\"at\":1795003600000}\n"
                                "+3600 decision: is looked at again then (2026-11-18T13:06:40Z)\n"
                                "+7200 decision: fires (2026-11-18T13:06:40Z)\n"
                                "+7200 action: notify ops {\"at\":1795007200000}\n"
                                "+7200 decision: nothing more is planned\n");
    flow_fini(&f);
}
END_TEST

START_TEST(an_alert_is_played_with_presence_and_wishes)
{
    struct flow f;
    static const char alert[] =
        TPC_JSON({
        "key": "lost", "severity": "warning", "notify": [ "ops" ],
        "offline": { "product": "thermo", "after": "5m" } });
    static const struct line lines[] = { { "t1", 0, TPC_MSG_PRESENCE, "{\"online\":true}" },
                                         { "t1", 10, TPC_MSG_PRESENCE, "{\"online\":false}" },
                                         { "t1", 600, TPC_MSG_PRESENCE, "{\"online\":true}" },
                                         { "t2", 700, TPC_MSG_ALERT,
                                           "{\"state\":\"raised\",\"text\":\"by hand\"}" },
                                         { "t2", 701, TPC_MSG_ALERT, "{\"state\":\"raised\"}" },
                                         { "t2", 702, TPC_MSG_ALERT, "{\"state\":\"cleared\"}" },
                                         { "t2", 703, TPC_MSG_ALERT, "{\"state\":\"cleared\"}" } };
    begin(&f);
    int rc = try_for(&f, "alert", alert, lines, 7, 1000);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_str_eq(told.text,
                     "+0 input: presence of t1 {\"online\":true}\n"
                     "+10 input: presence of t1 {\"online\":false}\n"
                     "+10 decision: waits (2026-11-18T11:11:50Z)\n"
                     "+310 action: raise: notify ops to t1 "
                     "{\"severity\":\"warning\",\"text\":\"offline for 300 s\",\"count\":1}\n"
                     "+310 action: raise lost to t1 {\"severity\":\"warning\",\"text\":\"offline "
                     "for 300 s\",\"count\":1}\n"
                     "+600 input: presence of t1 {\"online\":true}\n"
                     "+600 action: clear: notify ops to t1 "
                     "{\"severity\":\"warning\",\"text\":\"offline for 300 s\",\"count\":1}\n"
                     "+600 action: clear lost to t1 {\"severity\":\"warning\",\"text\":\"offline "
                     "for 300 s\",\"count\":1}\n"
                     "+700 input: alert of t2 {\"state\":\"raised\",\"text\":\"by hand\"}\n"
                     "+700 action: raise: notify ops to t2 {\"severity\":\"warning\",\"text\":\"by "
                     "hand\",\"count\":1}\n"
                     "+700 action: raise lost to t2 {\"severity\":\"warning\",\"text\":\"by "
                     "hand\",\"count\":1}\n"
                     "+701 input: alert of t2 {\"state\":\"raised\"}\n"
                     "+701 decision: is raised already, and counted\n"
                     "+702 input: alert of t2 {\"state\":\"cleared\"}\n"
                     "+702 action: clear: notify ops to t2 {\"severity\":\"warning\",\"text\":\"by "
                     "hand\",\"count\":2}\n"
                     "+702 action: clear lost to t2 {\"severity\":\"warning\",\"text\":\"by "
                     "hand\",\"count\":2}\n"
                     "+703 input: alert of t2 {\"state\":\"cleared\"}\n"
                     "+703 decision: nothing is raised\n");
    flow_fini(&f);
}
END_TEST

static unsigned count_lines(const char *word)
{
    unsigned n = 0;
    for (const char *p = told.text; (p = strstr(p, word)) != NULL; p++) {
        n++;
    }
    return n;
}

START_TEST(scenes_of_each_trigger_say_what_they_pass_over)
{
    struct flow f;
    static const struct line lines[] = { { "t1", 0, TPC_MSG_TELEMETRY, "{\"temperature\":31}" },
                                         { "t1", 1, TPC_MSG_EVENT, "{}" },
                                         { "t1", 2, TPC_MSG_PRESENCE, "{\"online\":true}" },
                                         { "t1", 3, TPC_MSG_PRESENCE, "{\"online\":true}" },
                                         { "t1", 4, TPC_MSG_PRESENCE, "{\"online\":false}" },
                                         { "t1", 5, TPC_MSG_COMMAND, "{\"speed\":3}" },
                                         { "fan-1", 6, TPC_MSG_EVENT, "{}" } };
    static const struct {
        const char *on, *fires_at;
        unsigned passes;
    } cases[] = { { "data", "+0 decision: fires", 6 },    { "event", "+1 decision: fires", 6 },
                  { "online", "+2 decision: fires", 6 },  { "offline", "+4 decision: fires", 6 },
                  { "command", "+5 decision: fires", 6 }, { "manual", NULL, 7 } };
    begin(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char doc[300];
        bool data = strcmp(cases[i].on, "data") == 0;
        snprintf(doc, sizeof(doc),
                 "{\"when\":{\"product\":\"thermo\",\"on\":\"%s\"%s},"
                 "\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}",
                 cases[i].on, data ? ",\"expr\":\"temperature > 30\"" : "");
        int rc = try_for(&f, "scene", doc, lines, 7, 60);
        ck_assert_msg(rc == 0, "%s: %s", cases[i].on, tpc_error_last()->text);
        ck_assert_msg(count_lines("pass: not looked at: ") == cases[i].passes, "%s: %s",
                      cases[i].on, told.text);
        ck_assert_msg(count_lines("decision: fires") == (cases[i].fires_at != NULL), "%s",
                      told.text);
        ck_assert(cases[i].fires_at == NULL || strstr(told.text, cases[i].fires_at) != NULL);
    }
    flow_fini(&f);
}
END_TEST

START_TEST(computed_properties_come_by_themselves)
{
    struct flow f;
    static const char product[] =
        TPC_JSON({
        "key": "meter", "codec": "json", "model": { "properties": [
            { "id": "u", "type": "double" }, { "id": "i", "type": "double" },
            { "id": "p", "type": "double", "expr": "u * i" },
            { "id": "kw", "type": "double", "expr": "p / 1000" } ] } });
    static const char power[] = TPC_JSON({
        "when": { "product": "meter", "expr": "kw > 1" },
        "then": [ { "notify": { "handler": "ops", "params": { "kw": "{{ kw }}" } } } ] });
    static const struct line lines[] = { { "m1", 0, TPC_MSG_TELEMETRY, "{\"u\":230}" },
                                         { "m1", 1, TPC_MSG_TELEMETRY, "{\"i\":5}" } };
    begin(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"m1\",\"product\":\"meter\"}"),
                         TPC_ANY_REV, NULL));
    int rc = try_for(&f, "scene", power, lines, 2, 10);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_str_eq(told.text,
                     "+0 input: telemetry of m1 {\"u\":230}\n"
                     "+0 pass: not looked at: no property that its condition names is in the "
                     "message\n"
                     "+1 input: telemetry of m1 {\"i\":5}\n"
                     "+1 look: looked at: telemetry of m1\n"
                     "+1 condition: expr: kw > 1 is true (kw = 1.15)\n"
                     "+1 decision: fires\n"
                     "+1 action: notify ops to m1 {\"kw\":1.15}\n");
    flow_fini(&f);
}
END_TEST

START_TEST(actions_about_many_devices_other_scenes_and_later_are_played)
{
    struct flow f;
    static const char other[] = TPC_JSON({
        "key": "other", "when": { "product": "thermo", "expr": "temperature > 90" },
        "then": [ { "command": { "device": "fan-1", "service": "set", "params": { "on": true } } } ] });
    static const char much[] = TPC_JSON({
        "when": { "product": "thermo", "expr": "temperature > 30" },
        "then": [ { "command": { "product": "fan", "service": "spin", "params": { "speed": 3 } } },
                  { "run": { "scene": "other" } },
                  { "disable": { "kind": "scene", "key": "other" } },
                  { "delay": "10s" },
                  { "notify": { "handler": "ops" } } ] });
    static const struct line lines[] = { { "t1", 0, TPC_MSG_TELEMETRY, "{\"temperature\":31}" } };
    begin(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(other), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"fan-2\",\"product\":\"fan\"}"),
                         TPC_ANY_REV, NULL));
    int rc = try_for(&f, "scene", much, lines, 1, 60);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_str_eq(told.text,
                     "+0 input: telemetry of t1 {\"temperature\":31}\n"
                     "+0 look: looked at: telemetry of t1\n"
                     "+0 condition: expr: temperature > 30 is true (temperature = 31.0)\n"
                     "+0 decision: fires\n"
                     "+0 decision: looks for the devices that the action is about\n"
                     "+0 action: command set to fan-1 {\"on\":true}\n"
                     "+0 action: run other to t1\n"
                     "+0 action: disable other to t1\n"
                     "+0 decision: waits: the rest comes then (2026-11-18T11:06:50Z)\n"
                     "+0 decision: 2 devices are found\n"
                     "+0 action: command spin to fan-1 {\"speed\":3}\n"
                     "+0 action: command spin to fan-2 {\"speed\":3}\n"
                     "+10 decision: goes on after a delay\n"
                     "+10 action: notify ops to t1\n");
    flow_fini(&f);
}
END_TEST

START_TEST(scenes_that_run_each_other_in_a_ring_are_tried_until_it_is_cut)
{
    struct flow f;
    static const char ping[] =
        TPC_JSON({ "key": "ping",
                                          "when": { "product": "thermo", "expr": "temperature > 30" },
                                          "then": [ { "run": { "scene": "pong" } } ] });
    static const char pong[] =
        TPC_JSON({ "key": "pong", "when": { "product": "thermo", "on": "manual" },
                                          "then": [ { "run": { "scene": "ping" } } ] });
    static const struct line lines[] = { { "t1", 0, TPC_MSG_TELEMETRY, "{\"temperature\":31}" } };
    begin(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(ping), TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(pong), TPC_ANY_REV, NULL));
    int rc = try_for(&f, "scene", ping, lines, 1, 1);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_uint_eq(count_lines("action: run pong to t1"), 8);
    ck_assert_uint_eq(count_lines("action: run ping to t1"), 8);
    ck_assert_uint_eq(count_lines("decision: does nothing: the chain of rules is too long"), 1);
    flow_fini(&f);
}
END_TEST

START_TEST(a_stored_rule_is_tried_with_what_its_devices_say_last)
{
    struct flow f;
    struct tpc_rule_test_options o = TPC_RULE_TEST_OPTIONS_INIT;
    static const char compare[] =
        TPC_JSON({
        "key": "c", "when": { "product": "thermo", "expr": "temperature > device('t2').temperature" },
        "then": [ { "notify": { "handler": "ops" } } ] });
    begin(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(compare), TPC_ANY_REV, NULL));
    struct tpc_device *d = flow_device(&f, "t2");
    tk_ok(flow_feed(d, "{\"temperature\":21.5}"));
    flow_settle(&f);
    struct tpc_member value = { TPC_STR("temperature"), { .type = TPC_INT, .as.i = 22 } };
    struct tpc_rule_test_message m = { .size = sizeof(m),
                                       .kind = TPC_MSG_TELEMETRY,
                                       .device = TPC_STR("t1"),
                                       .params = {
                                           .type = TPC_MAP, .len = 1, .as.members = &value } };
    o.key = TPC_STR("c");
    memset(&told, 0, sizeof(told));
    tk_ok(tpc_rule_test(f.core, "scene", TPC_STR(""), &m, 1, &o, tell, &told));
    ck_assert_ptr_nonnull(strstr(told.text,
                                 "is true (temperature = 22.0, device('t2').temperature = "
                                 "21.5)"));
    ck_assert_uint_eq(count_lines("action: notify ops to t1"), 1);
    o.flags = TPC_RULE_TEST_EMPTY;
    memset(&told, 0, sizeof(told));
    tk_ok(tpc_rule_test(f.core, "scene", TPC_STR(""), &m, 1, &o, tell, &told));
    ck_assert_ptr_nonnull(strstr(told.text, "is null (temperature = 22.0, device('t2').temperature "
                                            "= null)"));
    o.key = TPC_STR("x");
    tk_fails(TPC_ENOENT, tpc_rule_test(f.core, "scene", TPC_STR(""), &m, 1, &o, tell, &told));
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

static const struct line hot[] = { { "t1", 0, TPC_MSG_TELEMETRY, "{\"temperature\":31}" },
                                   { "t1", 1, TPC_MSG_PRESENCE, "{\"online\":true}" } };

START_TEST(values_that_are_there_keep_their_age_and_presence_is_set_before_rules_look)
{
    struct flow f;
    static const char old[] =
        TPC_JSON({
        "when": { "product": "thermo", "on": "online",
                  "expr": "device('t1').online and age(temperature) < 86400000" },
        "then": [ { "notify": { "handler": "ops" } } ] });
    static const struct line lines[] = { { "t1", 0, TPC_MSG_PRESENCE, "{\"online\":false}" },
                                         { "t1", 1, TPC_MSG_PRESENCE, "{\"online\":true}" } };
    begin(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    flow_settle(&f);
    int rc = try_for(&f, "scene", old, lines, 2, 10);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    ck_assert_msg(count_lines("decision: fires") == 1, "%s", told.text);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(nothing_of_it_reaches_the_core)
{
    struct flow f;
    static const char *const metrics[] = { "rules_scenes",         "rules_evaluations_total",
                                           "rules_fired_total",    "rules_commands_total",
                                           "rules_messages_total", "registry_devices" };
    double before[6];
    struct told live = { .count = 0 };
    begin(&f);
    for (int i = 0; i < 6; i++) {
        before[i] = flow_metric(&f, metrics[i]);
    }
    tk_ok(try_for(&f, "scene", scene, hot, 2, 1000));
    ck_assert_uint_eq(count_lines("action: "), 3);
    flow_settle(&f);
    for (int i = 0; i < 6; i++) {
        ck_assert(flow_metric(&f, metrics[i]) == before[i]);
    }
    ck_assert_uint_eq(flow_probe.sent_count, 0);
    struct tpc_device *d = flow_device(&f, "t1");
    struct tpc_device_info info = { .size = sizeof(info) };
    tk_ok(tpc_device_info(d, &info));
    ck_assert_uint_eq(info.messages, 0);
    ck_assert(!info.online);
    ck_assert_uint_eq(flow_stored(&f, "t1", "temperature"), 0);
    (void) live;
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(what_cannot_be_tried_is_said_as_when_it_is_put)
{
    struct flow f;
    struct tpc_rule_test_message m = { .size = sizeof(m), .kind = TPC_MSG_TELEMETRY };
    begin(&f);
    tk_fails(TPC_EINVAL, try_for(&f, "scene",
                                 "{\"when\":{\"product\":\"thermo\",\"expr\":\"tempo > 3\"},"
                                 "\"then\":[{\"notify\":{\"handler\":\"x\"}}]}",
                                 NULL, 0, 1));
    ck_assert_str_eq(tpc_error_last()->path, "when.expr");
    tk_fails(TPC_EDECODE, try_for(&f, "scene", "{", NULL, 0, 1));
    tk_fails(TPC_EINVAL, try_for(&f, "scene", "[]", NULL, 0, 1));
    tk_fails(TPC_EINVAL, try_for(&f, "device", scene, NULL, 0, 1));
    tk_fails(TPC_EINVAL, tpc_rule_test(f.core, "scene", TPC_STR(scene), &m, 1, NULL, tell, &told));
    m.device = TPC_STR("t1");
    m.unix_ms = INT64_MAX;
    tk_fails(TPC_EINVAL, tpc_rule_test(f.core, "scene", TPC_STR(scene), &m, 1, NULL, tell, &told));
    m.unix_ms = -1;
    tk_fails(TPC_EINVAL, tpc_rule_test(f.core, "scene", TPC_STR(scene), &m, 1, NULL, tell, &told));
    tk_fails(TPC_EINVAL, tpc_rule_test(f.core, "scene", TPC_STR(""), NULL, 0, NULL, tell, &told));
    tk_fails(TPC_EINVAL, tpc_rule_test(f.core, "scene", TPC_STR(scene), NULL, 0, NULL, NULL, NULL));
    ck_assert_uint_eq(told.count, 0);
    flow_fini(&f);
}
END_TEST

START_TEST(it_ends_where_it_is_told_to)
{
    struct flow f;
    struct tpc_rule_test_options o = TPC_RULE_TEST_OPTIONS_INIT;
    static const char often[] = TPC_JSON({ "type": "repeat", "interval": "1s",
                                           "then": [ { "notify": { "handler": "ops" } } ] });
    begin(&f);
    o.from_unix_ms = START_MS;
    o.steps = 20;
    memset(&told, 0, sizeof(told));
    tk_ok(tpc_rule_test(f.core, "schedule", TPC_STR(often), NULL, 0, &o, tell, &told));
    ck_assert_uint_eq(told.count, 21);
    ck_assert_uint_eq(count_lines("end: ends here"), 1);
    memset(&told, 0, sizeof(told));
    told.stop = 5;
    ck_assert_int_eq(tpc_rule_test(f.core, "schedule", TPC_STR(often), NULL, 0, &o, tell, &told),
                     7);
    ck_assert_uint_eq(told.count, 5);
    flow_fini(&f);
}
END_TEST

START_TEST(each_allocation_may_fail)
{
    struct flow f;
    static char all[TOLD];
    size_t n = 1, refused = 0;
    bool failed = true;
    begin(&f);
    tk_ok(try_for(&f, "scene", scene, hot, 2, 1000)); /* what the core makes once is there */
    memcpy(all, told.text, sizeof(all));
    size_t live = f.e.alloc.live_blocks;
    for (; failed; n += 1 + n / 16) {
        size_t before = f.e.alloc.failed;
        f.e.alloc.fail_at = f.e.alloc.count + n;
        int rc = try_for(&f, "scene", scene, hot, 2, 1000);
        f.e.alloc.fail_at = 0;
        failed = f.e.alloc.failed > before;
        ck_assert_msg(rc == TPC_ENOMEM || (rc == 0 && strcmp(told.text, all) == 0),
                      "allocation %zu: %d %s", n, rc, told.text);
        ck_assert_uint_eq(f.e.alloc.live_blocks, live);
        refused += rc != 0;
    }
    ck_assert_uint_gt(refused, 30);
    flow_fini(&f);
}
END_TEST

START_TEST(a_running_rule_is_followed_until_its_looks_are_done)
{
    struct flow f;
    uint64_t lost = 1;
    struct tpc_rule_trace_options o = TPC_RULE_TRACE_OPTIONS_INIT;
    struct tpc_rule_trace *trace;
    static const char simple[] = TPC_JSON({
        "key": "s", "when": { "product": "thermo", "expr": "temperature > 30", "fire": "each" },
        "then": [ { "notify": { "handler": "ops" } } ] });
    begin(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(simple), TPC_ANY_REV, NULL));
    o.kind = TPC_STR("scene");
    o.key = TPC_STR("s");
    o.device = TPC_STR("t1");
    o.looks = 2;
    tk_ok(tpc_rule_trace_open(f.core, &o, &trace));
    memset(&told, 0, sizeof(told));
    tk_ok(tpc_rule_trace_take(trace, tell, &told, NULL));
    for (int i = 0; i < 3; i++) {
        for (int n = 1; n <= 2; n++) {
            struct tpc_device *d = flow_device(&f, n == 1 ? "t1" : "t2");
            tk_ok(flow_feed(d, "{\"temperature\":31}"));
            flow_settle(&f);
            tpc_device_unref(d);
        }
    }
    ck_assert_int_eq(tpc_rule_trace_take(trace, tell, &told, &lost), 1);
    ck_assert_uint_eq(lost, 0);
    ck_assert_uint_eq(count_lines("look: looked at: telemetry of t1"), 2);
    ck_assert_uint_eq(count_lines("action: notify ops to t1"), 2);
    ck_assert_uint_eq(count_lines("t2"), 0);
    tpc_rule_trace_close(trace);
    tpc_rule_trace_close(NULL);
    tk_ok(tpc_rule_trace_open(f.core, &o, &trace)); /* time ends it, too */
    tk_clock_advance(&f.e.clock, 60000);
    ck_assert_int_eq(tpc_rule_trace_take(trace, tell, &told, NULL), 1);
    tk_ok(tpc_entity_delete(f.core, NULL, TPC_STR("main"), "scene", TPC_STR("s"), TPC_ANY_REV));
    tpc_rule_trace_close(trace);
    tk_fails(TPC_ENOENT, tpc_rule_trace_open(f.core, &o, &trace));
    o.device = TPC_STR("t9");
    tk_fails(TPC_ENOENT, tpc_rule_trace_open(f.core, &o, &trace));
    o.key = TPC_STR("");
    tk_fails(TPC_EINVAL, tpc_rule_trace_open(f.core, &o, &trace));
    flow_fini(&f);
}
END_TEST

static int count_step(void *user, const struct tpc_rule_step *step)
{
    (void) step;
    ++*(unsigned *) user;
    return 0;
}

static bool has_steps(void *user)
{
    void **x = user; /* the trace, the number */
    tk_ok(tpc_rule_trace_take(x[0], count_step, x[1], NULL));
    return *(unsigned *) x[1] >= 20;
}

START_TEST(rules_are_followed_and_tried_while_workers_run)
{
    struct flow f;
    struct tpc_rule_trace_options o = TPC_RULE_TRACE_OPTIONS_INIT;
    static const char each[] = TPC_JSON({
        "key": "s", "when": { "product": "thermo", "expr": "temperature > 30", "fire": "each" },
        "then": [ { "command": { "device": "fan-1", "service": "spin", "params": { "speed": "{{ n }}" } } } ] });
    flow_init(&f, 2);
    flow_create(&f);
    flow_devices(&f, 8);
    flow_probe_open(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(each), TPC_ANY_REV, NULL));
    flow_start(&f);
    o.kind = TPC_STR("scene");
    o.key = TPC_STR("s");
    o.looks = 1000;
    for (int round = 0; round < 5; round++) {
        struct tpc_rule_trace *trace;
        unsigned steps = 0;
        void *x[2] = { NULL, &steps };
        tk_ok(tpc_rule_trace_open(f.core, &o, &trace));
        x[0] = trace;
        for (int i = 0; i < 80; i++) {
            char key[8];
            snprintf(key, sizeof(key), "t%d", i % 8 + 1);
            struct tpc_device *d = flow_device(&f, key);
            tk_ok(flow_feed(d, i % 2 == 0 ? "{\"temperature\":31,\"n\":12}"
                                          : "{\"temperature\":31,\"n\":2}"));
            tpc_device_unref(d);
        }
        tk_ok(try_for(&f, "scene", scene, hot, 2, 10));
        tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(each), TPC_ANY_REV, NULL));
        ck_assert(flow_until(&f, has_steps, x));
        tpc_rule_trace_close(trace);
    }
    flow_fini(&f);
}
END_TEST

Suite *rule_test_flow_suite(void)
{
    Suite *s = suite_create("rule test");
    TCase *c = tcase_create("rule test");
    tcase_add_test(c, a_scene_is_played_step_by_step);
    tcase_add_test(c, a_windowed_rule_is_played_with_its_rows);
    tcase_add_test(c, a_rule_over_a_topic_is_played_and_tells_what_is_not_of_it);
    tcase_add_test(c, a_schedule_is_played_until_its_end);
    tcase_add_test(c, an_alert_is_played_with_presence_and_wishes);
    tcase_add_test(c, scenes_of_each_trigger_say_what_they_pass_over);
    tcase_add_test(c, computed_properties_come_by_themselves);
    tcase_add_test(c, actions_about_many_devices_other_scenes_and_later_are_played);
    tcase_add_test(c, scenes_that_run_each_other_in_a_ring_are_tried_until_it_is_cut);
    tcase_add_test(c, a_stored_rule_is_tried_with_what_its_devices_say_last);
    tcase_add_test(c, values_that_are_there_keep_their_age_and_presence_is_set_before_rules_look);
    tcase_add_test(c, nothing_of_it_reaches_the_core);
    tcase_add_test(c, what_cannot_be_tried_is_said_as_when_it_is_put);
    tcase_add_test(c, it_ends_where_it_is_told_to);
    tcase_add_test(c, each_allocation_may_fail);
    tcase_add_test(c, a_running_rule_is_followed_until_its_looks_are_done);
    tcase_add_test(c, rules_are_followed_and_tried_while_workers_run);
    suite_add_tcase(s, c);
    return s;
}
