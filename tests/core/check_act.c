/* Actions of rules in a whole core: many devices, entities that are switched, delays, rows. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "flow.h"

struct told {
    atomic_uint notes;
    atomic_uint commands;
    atomic_uint rows;
    int32_t hops;    /* of the last row */
    char devices[8]; /* last character of the key of each that was sent a command */
    char last[200];  /* of a notification: "device handler origin" */
};

static void tell(struct told *t, const struct tpc_msg *m)
{
    if (m->kind == TPC_MSG_NOTIFY) {
        snprintf(t->last, sizeof(t->last), "%.*s %.*s %.*s", (int) m->device.len, m->device.ptr,
                 (int) m->name.len, m->name.ptr, (int) m->origin.len, m->origin.ptr);
        atomic_fetch_add(&t->notes, 1);
    } else if (m->kind == TPC_MSG_COMMAND) {
        unsigned n = atomic_fetch_add(&t->commands, 1);
        t->devices[n % sizeof(t->devices)] = m->device.ptr[m->device.len - 1];
    } else if (m->kind == TPC_MSG_EVENT) {
        t->hops = m->code;
        atomic_fetch_add(&t->rows, 1);
    }
}

static int on_batch(void *user, const struct tpc_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        tell(user, tpc_batch_msg(batch, i));
    }
    return 0;
}

/* All that the log holds and will hold. */
static struct tpc_sub *follow(struct flow *f, struct told *t)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    memset(t, 0, sizeof(*t));
    o.name = TPC_STR("all");
    o.filter = TPC_STR("main/#");
    tk_ok(tpc_consume(f->core, &o, on_batch, t, &sub));
    flow_settle(f);
    return sub;
}

static void put(struct flow *f, const char *kind, const char *json)
{
    int rc = tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

/* A scene that fires with each temperature of t1 above 30. */
static void hot(struct flow *f, const char *then)
{
    char json[600];
    snprintf(json, sizeof(json),
             "{\"key\":\"hot\",\"when\":{\"product\":\"thermo\",\"expr\":\"temperature > 30\","
             "\"fire\":\"each\"},\"then\":[%s]}",
             then);
    put(f, "scene", json);
}

static void begin(struct flow *f, uint32_t workers, int devices)
{
    flow_init(f, workers);
    flow_create(f);
    flow_devices(f, devices);
    flow_probe_open(f);
}

static void feed(struct flow *f, const char *device, const char *text)
{
    struct tpc_device *d = flow_device(f, device);
    tk_ok(flow_feed(d, text));
    tpc_device_unref(d);
    flow_settle(f);
}

static bool three_commands(void *user)
{
    return atomic_load(&((struct told *) user)->commands) >= 3;
}

START_TEST(an_action_reaches_all_of_a_group_of_labels_and_of_a_product)
{
    static const char *const targets[] = { "\"group\":\"attic\"", "\"select\":\"site=paris\"",
                                           "\"product\":\"fan\"",
                                           "\"product\":\"fan\",\"select\":\"!far\"" };
    struct flow f;
    struct told t;
    begin(&f, (uint32_t) _i % 3, 1);
    put(&f, "group", "{\"key\":\"house\"}");
    put(&f, "group", "{\"key\":\"attic\",\"parent\":\"house\"}");
    put(&f, "device",
        "{\"key\":\"fan-1\",\"product\":\"fan\",\"groups\":[\"attic\"],"
        "\"labels\":{\"site\":\"paris\"}}");
    put(&f, "device",
        "{\"key\":\"fan-2\",\"product\":\"fan\",\"groups\":[\"attic\"],"
        "\"labels\":{\"site\":\"paris\"}}");
    put(&f, "device",
        "{\"key\":\"fan-3\",\"product\":\"fan\",\"groups\":[\"attic\"],"
        "\"labels\":{\"site\":\"paris\"}}");
    put(&f, "device", "{\"key\":\"t9\",\"product\":\"thermo\",\"labels\":{\"far\":\"1\"}}");
    char then[200];
    snprintf(then, sizeof(then), "{\"set\":{%s,\"values\":{\"on\":true}}}", targets[_i / 3]);
    hot(&f, then);
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, &t);
    feed(&f, "t1", "{\"temperature\":31}");
    ck_assert(flow_until(&f, three_commands, &t));
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&t.commands), 3);
    ck_assert_ptr_nonnull(memchr(t.devices, '1', 3));
    ck_assert_ptr_nonnull(memchr(t.devices, '2', 3));
    ck_assert_ptr_nonnull(memchr(t.devices, '3', 3));
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

static int on_info(void *user, const struct tpc_rule_info *info)
{
    snprintf(user, 200, "%.*s", (int) info->error.len, info->error.ptr);
    return 0;
}

START_TEST(a_group_that_is_not_there_is_a_failed_action)
{
    struct flow f;
    char error[200];
    begin(&f, 0, 1);
    hot(&f, "{\"set\":{\"group\":\"none\",\"values\":{\"on\":true}}}");
    flow_start(&f);
    feed(&f, "t1", "{\"temperature\":31}");
    tk_ok(tpc_rule_info(f.core, TPC_STR(""), TPC_STR("scene"), TPC_STR("hot"), on_info, error));
    ck_assert_str_eq(error, "'set' to 't1': TPC_ENOENT");
    flow_fini(&f);
}
END_TEST

static int on_entry(void *user, const struct tpc_audit_entry *a)
{
    snprintf(user, 100, "%.*s %u %.*s", (int) a->key.len, a->key.ptr, (unsigned) a->actor_type,
             (int) a->actor.len, a->actor.ptr);
    return 1;
}

static int on_entity(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    (void) info;
    (void) key;
    snprintf(user, 400, "%.*s", (int) json.len, json.ptr);
    return 0;
}

static bool is_on(struct flow *f, const char *kind, const char *key)
{
    char json[400];
    tk_ok(tpc_entity_get(f->core, TPC_STR(""), kind, tpc_str_from(key), on_entity, json));
    return strstr(json, "\"enabled\":true") != NULL;
}

static bool scene_is_off(void *user)
{
    return !is_on(user, "scene", "hot");
}

START_TEST(a_scene_switches_itself_off_and_does_the_rest)
{
    struct flow f;
    struct told t;
    char who[100] = "";
    struct tpc_audit_query q = TPC_AUDIT_QUERY_INIT;
    begin(&f, (uint32_t) _i, 1);
    put(&f, "schedule",
        "{\"key\":\"night\",\"type\":\"cron\",\"cron\":\"0 22 * * *\","
        "\"enabled\":false,\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}");
    hot(&f, "{\"disable\":{\"kind\":\"scene\",\"key\":\"hot\"}},"
            "{\"enable\":{\"kind\":\"schedule\",\"key\":\"night\"}},"
            "{\"enable\":{\"kind\":\"schedule\",\"key\":\"none\"}},"
            "{\"set\":{\"product\":\"fan\",\"values\":{\"on\":true}}}");
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, &t);
    feed(&f, "t1", "{\"temperature\":31}");
    ck_assert(flow_until(&f, scene_is_off, &f));
    flow_settle(&f);
    ck_assert(is_on(&f, "schedule", "night"));
    ck_assert_uint_eq(atomic_load(&t.commands), 1);
    ck_assert(flow_metric(&f, "tpc_core_rule_switches_failed_total") == 1);
    feed(&f, "t1", "{\"temperature\":32}");
    ck_assert_uint_eq(atomic_load(&t.commands), 1);
    q.kind = TPC_STR("scene");
    q.key = TPC_STR("hot");
    ck_assert_int_eq(tpc_audit(f.core, &q, on_entry, who), 1);
    ck_assert_str_eq(who, "hot 3 scene:hot");
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

START_TEST(a_delay_is_over_once_over_restarts)
{
    struct told t;
    char dir[256], entities[320];
    int64_t now = 0;
    snprintf(dir, sizeof(dir), "%s/delay", tk_tmpdir());
    snprintf(entities, sizeof(entities), "{\"dump_dir\":\"%s/entities\"}", dir);
    for (int i = 0; i < 4; i++) {
        struct flow f;
        flow_init(&f, 0);
        now = i == 0 ? tpi_unix_ms(&f.e.env) : now + 200000;
        tk_clock_set_unix(&f.e.clock, now);
        f.o.flags = TPC_CORE_ACCEPT_GAP;
        flow_create(&f);
        flow_file_log(&f, dir, "");
        tk_ok(tpc_core_open(f.core, "entities", "memory", tpc_str_from(entities)));
        if (i == 0) {
            flow_devices(&f, 1);
            hot(&f, "{\"delay\":\"5m\"},{\"notify\":{\"handler\":\"ops\"}}");
        }
        flow_start(&f);
        if (i == 0) {
            feed(&f, "t1", "{\"temperature\":31}");
        }
        flow_settle(&f);
        struct tpc_sub *sub = follow(&f, &t);
        tpc_unsubscribe(sub);
        tk_ok(tpc_consumer_forget(f.core, TPC_STR("all")));
        ck_assert_uint_eq(atomic_load(&t.notes), (unsigned) (i > 1));
        flow_fini(&f);
    }
}
END_TEST

/* Time goes by, second for second. */
static void wait_for(struct flow *f, int64_t *now, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        *now += 1000;
        tk_clock_set_unix(&f->e.clock, *now);
        flow_settle(f);
    }
}

static int keep_fired(void *user, const struct tpc_rule_info *info)
{
    *(uint64_t *) user = info->fired;
    return 0;
}

static uint64_t fired(struct flow *f, const char *kind, const char *key)
{
    uint64_t n = 0;
    tk_ok(
        tpc_rule_info(f->core, TPC_STR(""), tpc_str_from(kind), tpc_str_from(key), keep_fired, &n));
    return n;
}

/* The log tells at a start what a schedule did, also from before it was reset. */
START_TEST(a_schedule_that_was_reset_stays_on_over_a_restart)
{
    char dir[256], entities[320];
    int64_t now = 0;
    snprintf(dir, sizeof(dir), "%s/reset", tk_tmpdir());
    snprintf(entities, sizeof(entities), "{\"dump_dir\":\"%s/entities\"}", dir);
    for (int i = 0; i < 2; i++) {
        struct flow f;
        flow_init(&f, 0);
        now = i == 0 ? tpi_unix_ms(&f.e.env) : now;
        tk_clock_set_unix(&f.e.clock, now);
        f.o.flags = TPC_CORE_ACCEPT_GAP;
        flow_create(&f);
        flow_file_log(&f, dir, "");
        tk_ok(tpc_core_open(f.core, "entities", "memory", tpc_str_from(entities)));
        if (i == 0) {
            put(&f, "schedule",
                "{\"key\":\"tick\",\"type\":\"repeat\",\"interval\":\"1m\",\"auto_disable\":true,"
                "\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}");
        }
        flow_start(&f);
        wait_for(&f, &now, 5);
        ck_assert_uint_eq(fired(&f, "schedule", "tick"), 0);
        wait_for(&f, &now, 150); /* it switches itself off */
        ck_assert_uint_eq(fired(&f, "schedule", "tick"), 1);
        tk_ok(
            tpc_rule_reset(f.core, NULL, TPC_STR(""), TPC_STR("schedule"), TPC_STR("tick"), NULL));
        flow_settle(&f);
        flow_fini(&f);
    }
}
END_TEST

static bool one_note(void *user)
{
    return atomic_load(&((struct told *) user)->notes) >= 1;
}

START_TEST(scenes_look_at_rows_of_data_rules)
{
    struct flow f;
    struct told t;
    begin(&f, (uint32_t) _i, 1);
    put(&f, "rule",
        "{\"key\":\"warm\",\"sql\":\"SELECT temperature AS t FROM thermo WHERE "
        "temperature > 30\",\"to\":{\"event\":\"warm\"}}");
    put(&f, "scene",
        "{\"key\":\"s\",\"when\":{\"product\":\"thermo\",\"on\":\"event\","
        "\"event\":\"warm\"},\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}");
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, &t);
    feed(&f, "t1", "{\"temperature\":31}");
    ck_assert(flow_until(&f, one_note, &t));
    ck_assert_uint_eq(atomic_load(&t.rows), 1);
    ck_assert_uint_eq(atomic_load(&t.notes), 1);
    ck_assert_str_eq(t.last, "t1 ops scene:s");
    ck_assert_int_eq(t.hops, 1);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

/* A row sets off a scene, which tells the device what it says, which makes a row. */
START_TEST(rows_and_devices_that_set_each_other_off_are_cut)
{
    struct flow f;
    struct told t;
    char error[200];
    begin(&f, (uint32_t) _i, 1);
    put(&f, "rule",
        "{\"key\":\"seen\",\"sql\":\"SELECT on AS o FROM thermo\","
        "\"to\":{\"event\":\"seen\"}}");
    put(&f, "scene",
        "{\"key\":\"s\",\"when\":{\"product\":\"thermo\",\"on\":\"event\","
        "\"event\":\"seen\"},\"then\":[{\"set\":{\"values\":{\"on\":true}}}]}");
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, &t);
    for (int i = 0; i < 40; i++) {
        feed(&f, "t1", "{\"on\":true}");
    }
    /* each round is two links: the row and the command */
    ck_assert_int_ge((int) flow_metric(&f, "tpc_rules_loops_total"), 1);
    ck_assert_uint_lt(atomic_load(&t.commands), 40);
    tk_ok(tpc_rule_info(f.core, TPC_STR(""), TPC_STR("rule"), TPC_STR("seen"), on_info, error));
    ck_assert_str_eq(error, "cut after 16 links: .. > scene:s > rule:seen");
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

static bool one_loop(void *user)
{
    return flow_metric(user, "tpc_rules_loops_total") == 1;
}

/* Each hears of the command that the other one sends. */
START_TEST(two_scenes_whose_commands_set_each_other_off_are_cut)
{
    struct flow f;
    struct told t;
    char error[200];
    begin(&f, (uint32_t) _i, 1);
    put(&f, "scene",
        "{\"key\":\"a\",\"when\":{\"product\":\"thermo\",\"on\":\"command\"},"
        "\"then\":[{\"set\":{\"device\":\"fan-1\",\"values\":{\"on\":true}}}]}");
    put(&f, "scene",
        "{\"key\":\"b\",\"when\":{\"product\":\"fan\",\"on\":\"command\"},"
        "\"then\":[{\"set\":{\"device\":\"t1\",\"values\":{\"on\":true}}}]}");
    hot(&f, "{\"set\":{\"values\":{\"on\":true}}}");
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, &t);
    feed(&f, "t1", "{\"temperature\":31}");
    ck_assert(flow_until(&f, one_loop, &f)); /* the chain goes from worker to worker */
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&t.commands), 16);
    tk_ok(tpc_rule_info(f.core, TPC_STR(""), TPC_STR("scene"), TPC_STR("b"), on_info, error));
    ck_assert_str_eq(error, "cut after 16 links: .. > scene:a > scene:b");
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

/* Field to field: what one device says goes down to another, also if that one comes later. */
START_TEST(a_value_of_one_device_is_set_on_another_that_sleeps)
{
    struct flow f;
    begin(&f, (uint32_t) _i, 2);
    put(&f, "scene",
        "{\"key\":\"payload\",\"when\":{\"product\":\"thermo\",\"devices\":[\"t1\"],"
        "\"expr\":\"on or not on\",\"fire\":\"each\"},"
        "\"then\":[{\"set\":{\"device\":\"fan-1\",\"values\":{\"on\":\"{{ not on }}\"}}}]}");
    flow_start(&f);
    feed(&f, "t1", "{\"on\":false}");
    ck_assert_uint_eq(atomic_load(&flow_probe.sent_count), 0);
    (void) flow_session("fan-1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    tk_clock_advance(&f.e.clock, 5000); /* one that comes online is given a moment */
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&flow_probe.sent_count), 1);
    ck_assert_ptr_nonnull(strstr(flow_probe.sent[0].payload, "\"on\":true"));
    ck_assert_str_eq(flow_probe.sent[0].device, "fan-1");
    flow_fini(&f);
}
END_TEST

Suite *act_flow_suite(void)
{
    Suite *s = suite_create("act");
    TCase *t = tcase_create("act");
    tcase_add_loop_test(t, an_action_reaches_all_of_a_group_of_labels_and_of_a_product, 0, 12);
    tcase_add_test(t, a_group_that_is_not_there_is_a_failed_action);
    tcase_add_loop_test(t, a_scene_switches_itself_off_and_does_the_rest, 0, 3);
    tcase_add_test(t, a_delay_is_over_once_over_restarts);
    tcase_add_test(t, a_schedule_that_was_reset_stays_on_over_a_restart);
    tcase_add_loop_test(t, scenes_look_at_rows_of_data_rules, 0, 3);
    tcase_add_loop_test(t, rows_and_devices_that_set_each_other_off_are_cut, 0, 3);
    tcase_add_loop_test(t, two_scenes_whose_commands_set_each_other_off_are_cut, 0, 3);
    tcase_add_test(t, a_value_of_one_device_is_set_on_another_that_sleeps);
    suite_add_tcase(s, t);
    return s;
}
