/* Scenes in a whole core: presence, time that goes by, restarts. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/rule.h>

#include "flow.h"

struct told {
    atomic_uint notes;
    char last[200]; /* "device handler origin" */
};

static int on_batch(void *user, const struct tpc_batch *batch)
{
    struct told *t = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        if (m->kind == TPC_MSG_NOTIFY) {
            snprintf(t->last, sizeof(t->last), "%.*s %.*s %.*s", (int) m->device.len, m->device.ptr,
                     (int) m->name.len, m->name.ptr, (int) m->origin.len, m->origin.ptr);
            atomic_fetch_add(&t->notes, 1);
        }
    }
    return 0;
}

/* All that the log holds and will hold. */
static struct tpc_sub *follow(struct flow *f, const char *name, struct told *t)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    memset(t, 0, sizeof(*t));
    o.name = tpc_str_from(name);
    o.filter = TPC_STR("main/#");
    tk_ok(tpc_consume(f->core, &o, on_batch, t, &sub));
    flow_settle(f);
    return sub;
}

static void put_scene(struct flow *f, const char *when)
{
    char json[400];
    snprintf(json, sizeof(json),
             "{\"key\":\"s\",\"when\":{\"product\":\"thermo\",%s},"
             "\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}",
             when);
    tk_ok(tpc_entity_put(f->core, NULL, "scene", tpc_str_from(json), TPC_ANY_REV, NULL));
}

static void begin(struct flow *f, uint32_t workers)
{
    flow_init(f, workers);
    flow_create(f);
    flow_devices(f, 2);
    flow_probe_open(f);
}

static bool two_notes(void *user)
{
    return atomic_load(&((struct told *) user)->notes) >= 2;
}

START_TEST(sessions_that_end_set_off_a_scene)
{
    struct flow f;
    struct told t;
    begin(&f, (uint32_t) _i);
    put_scene(&f, "\"on\":\"offline\"");
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, "all", &t);
    for (int i = 0; i < 2; i++) {
        uint64_t session = flow_session("t1", TPC_SESSION_PRESENCE);
        flow_settle(&f);
        ck_assert_uint_eq(atomic_load(&t.notes), (unsigned) i);
        flow_probe.host->session_close(flow_probe.ctx, session);
        flow_settle(&f);
        ck_assert(i == 0 || flow_until(&f, two_notes, &t));
    }
    ck_assert_uint_eq(atomic_load(&t.notes), 2);
    ck_assert_str_eq(t.last, "t1 ops scene:s");
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

START_TEST(a_condition_that_stays_true_fires_by_the_clock)
{
    struct flow f;
    struct told t;
    begin(&f, (uint32_t) _i);
    put_scene(&f, "\"expr\":\"temperature > 30\",\"for\":\"5m\"");
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, "all", &t);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    flow_settle(&f);
    tk_clock_advance(&f.e.clock, 299000);
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&t.notes), 0);
    tk_clock_advance(&f.e.clock, 1000);
    tk_ok(flow_feed(d, "{\"humidity\":1}")); /* wakes a worker, whose clock stands */
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&t.notes), 1);
    tpc_device_unref(d);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

START_TEST(what_waits_fires_once_over_restarts)
{
    struct told t;
    char dir[256], entities[320];
    int64_t now = 0;
    snprintf(dir, sizeof(dir), "%s/scene", tk_tmpdir());
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
            put_scene(&f, "\"expr\":\"temperature > 30\",\"for\":\"5m\"");
        }
        flow_start(&f);
        if (i == 0) {
            struct tpc_device *d = flow_device(&f, "t1");
            tk_ok(flow_feed(d, "{\"temperature\":31}"));
            tpc_device_unref(d);
        }
        flow_settle(&f);
        struct tpc_sub *sub = follow(&f, "all", &t);
        tpc_unsubscribe(sub);
        tk_ok(tpc_consumer_forget(f.core, TPC_STR("all")));
        ck_assert_uint_eq(atomic_load(&t.notes), (unsigned) (i > 1));
        flow_fini(&f);
    }
}
END_TEST

static int send_get(struct flow *f, struct tpc_device *d, struct tpc_id *ret)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    o.device = d;
    o.service = TPC_STR("get");
    return tpc_command_send(f->core, NULL, &o, NULL, NULL, ret);
}

START_TEST(commands_and_their_ends_set_off_a_scene)
{
    struct flow f;
    struct told t;
    struct tpc_id id;
    begin(&f, (uint32_t) _i);
    put_scene(&f, "\"on\":\"command\",\"service\":\"get\"");
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, "all", &t);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(send_get(&f, d, &id)); /* it is offline: it waits */
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&t.notes), 1);
    ck_assert_str_eq(t.last, "t1 ops scene:s");
    put_scene(&f, "\"on\":\"command\",\"service\":\"get\",\"state\":\"failed\"");
    tk_ok(tpc_command_cancel(f.core, &id));
    flow_settle(&f);
    ck_assert(flow_until(&f, two_notes, &t));
    ck_assert_uint_eq(atomic_load(&t.notes), 2);
    tpc_device_unref(d);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

START_TEST(two_scenes_that_set_off_each_other_by_commands_do_not_hang)
{
    struct flow f;
    static const char *const doc =
        "{\"key\":\"%s\",\"when\":{\"product\":\"thermo\",\"on\":\"command\",\"devices\":[\"%s\"]},"
        "\"then\":[{\"command\":{\"device\":\"%s\",\"service\":\"get\"}}]}";
    char json[400];
    struct tpc_id id;
    begin(&f, (uint32_t) _i);
    snprintf(json, sizeof(json), doc, "a", "t1", "t2");
    tk_ok(tpc_entity_put(f.core, NULL, "scene", tpc_str_from(json), TPC_ANY_REV, NULL));
    snprintf(json, sizeof(json), doc, "b", "t2", "t1");
    tk_ok(tpc_entity_put(f.core, NULL, "scene", tpc_str_from(json), TPC_ANY_REV, NULL));
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(send_get(&f, d, &id));
    flow_settle(&f); /* a device's queue is bounded, whatever else is not */
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

static int run(struct flow *f, struct tpc_device *d)
{
    return tpc_rule_run(f->core, NULL, TPC_STR(""), TPC_STR("scene"), TPC_STR("s"), d);
}

START_TEST(it_is_run_and_reset_by_the_program)
{
    struct flow f;
    struct told t;
    struct tpc_str none = TPC_STR("");
    begin(&f, (uint32_t) _i);
    put_scene(&f, "\"expr\":\"temperature > 30\",\"fire\":\"once\"");
    struct tpc_device *d = flow_device(&f, "t1");
    tk_fails(TPC_ESTATE, run(&f, d));
    flow_start(&f);
    struct tpc_sub *sub = follow(&f, "all", &t);
    for (unsigned i = 0; i < 2; i++) {
        tk_ok(flow_feed(d, "{\"temperature\":31}"));
        tk_ok(flow_feed(d, "{\"temperature\":3}"));
        tk_ok(flow_feed(d, "{\"temperature\":31}"));
        flow_settle(&f);
        ck_assert_uint_eq(atomic_load(&t.notes), i + 1);
        tk_ok(
            tpc_rule_reset(f.core, NULL, none, TPC_STR("scene"), TPC_STR("s"), i == 0 ? d : NULL));
    }
    struct tpc_actor alice = { .size = sizeof(alice), .type = 1, .name = TPC_STR("alice") };
    tk_ok(run(&f, d));
    tk_ok(tpc_rule_run(f.core, &alice, none, TPC_STR("scene"), TPC_STR("s"), d));
    tk_ok(run(&f, NULL)); /* about nobody */
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&t.notes), 4);
    tk_fails(TPC_ENOENT, tpc_rule_run(f.core, NULL, none, TPC_STR("schedule"), TPC_STR("s"), NULL));
    tk_fails(TPC_ENOENT, tpc_rule_reset(f.core, NULL, none, TPC_STR("scene"), TPC_STR("x"), NULL));
    tk_fails(TPC_EINVAL, tpc_rule_run(f.core, NULL, none, TPC_STR("rule"), TPC_STR("s"), NULL));
    tk_fails(TPC_EINVAL, tpc_rule_reset(NULL, NULL, none, TPC_STR("scene"), none, NULL));
    tpc_device_unref(d);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

Suite *scene_flow_suite(void)
{
    Suite *s = suite_create("scene");
    TCase *t = tcase_create("scene");
    tcase_add_loop_test(t, sessions_that_end_set_off_a_scene, 0, 3);
    tcase_add_loop_test(t, a_condition_that_stays_true_fires_by_the_clock, 0, 3);
    tcase_add_test(t, what_waits_fires_once_over_restarts);
    tcase_add_loop_test(t, commands_and_their_ends_set_off_a_scene, 0, 3);
    tcase_add_loop_test(t, two_scenes_that_set_off_each_other_by_commands_do_not_hang, 0, 3);
    tcase_add_loop_test(t, it_is_run_and_reset_by_the_program, 0, 3);
    suite_add_tcase(s, t);
    return s;
}
