/* Commands: from the program or a scene to a device, its answer, the end. */
#include "flow.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct ended {
    atomic_uint count;
    uint32_t state;
    char reply[64];
};

static void on_end(void *user, const struct tpc_command *c)
{
    struct ended *e = user;
    e->state = c->state;
    snprintf(e->reply, sizeof(e->reply), "%.*s", (int) c->reply_json.len,
             c->reply_json.len > 0 ? c->reply_json.ptr : "");
    atomic_fetch_add(&e->count, 1);
}

static bool has_ended(void *user)
{
    return atomic_load(&((struct ended *) user)->count) > 0;
}

static int send_set(struct flow *f, const char *device, const char *params, struct ended *e,
                    struct tpc_id *id)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_device *d = flow_device(f, device);
    o.device = d;
    o.service = TPC_STR("set");
    o.params_json = tpc_str_from(params);
    o.timeout_ms = 1000;
    int rc = tpc_command_send(f->core, NULL, &o, e != NULL ? on_end : NULL, e, id);
    tpc_device_unref(d);
    return rc;
}

static void begin(struct flow *f, uint32_t workers)
{
    flow_init(f, workers);
    flow_create(f);
    flow_devices(f, 2);
    flow_probe_open(f);
    flow_start(f);
}

START_TEST(an_answered_command_succeeds_once)
{
    struct flow f;
    struct ended e;
    struct ended stored;
    struct tpc_id id;
    memset(&e, 0, sizeof(e));
    memset(&stored, 0, sizeof(stored));
    begin(&f, (uint32_t) _i);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    tk_ok(send_set(&f, "fan-1", "{\"on\":true}", &e, &id));
    ck_assert(flow_until(&f, has_ended, &e));
    flow_settle(&f);
    ck_assert_uint_eq(e.state, TPC_COMMAND_SUCCEEDED);
    ck_assert_uint_eq(atomic_load(&e.count), 1);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    ck_assert_str_eq(flow_probe.sent[0].payload, "{\"on\":true}");
    tk_ok(tpc_command_get(f.core, &id, on_end, &stored));
    ck_assert_uint_eq(stored.state, TPC_COMMAND_SUCCEEDED);
    tk_fails(TPC_ESTATE, tpc_command_cancel(f.core, &id));
    struct tpc_id other = id;
    other.b[15] ^= 1;
    tk_fails(TPC_ENOENT, tpc_command_get(f.core, &other, on_end, &stored));
    tk_fails(TPC_ENOENT, tpc_command_cancel(f.core, &other));
    flow_fini(&f);
}
END_TEST

/* ThingsPanel knows no response to a get: the report that follows is it (its contract, 1.5). */
START_TEST(a_thingspanel_report_ends_a_get)
{
    struct flow f;
    struct ended e;
    struct tpc_id id;
    struct tpc_frame report;
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    memset(&e, 0, sizeof(e));
    memset(&report, 0, sizeof(report));
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 0);
    tk_ok(tpc_entity_put(f.core, NULL, "product",
                         TPC_STR("{\"key\":\"box\",\"codec\":\"thingspanel\",\"model\":"
                                 "{\"properties\":[{\"id\":\"n\",\"type\":\"int\"}]}}"),
                         TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"b1\",\"product\":\"box\"}"),
                         TPC_ANY_REV, NULL));
    flow_probe_open(&f);
    flow_start(&f);
    flow_probe.confirm = true;
    uint64_t session = flow_session("b1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    o.device = flow_device(&f, "b1");
    o.service = TPC_STR("get");
    o.timeout_ms = 100000;
    tk_ok(tpc_command_send(f.core, NULL, &o, on_end, &e, &id));
    flow_settle(&f);
    ck_assert_str_eq(flow_probe.sent[0].payload, "{\"keys\":[]}");
    tk_ok(flow_receive(session, "{\"n\":1}", 1)); /* telemetry says nothing of it */
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&e.count), 0);
    report.size = sizeof(report);
    report.kind = TPC_MSG_ATTRIBUTES;
    report.correlation = TPC_STR("17");
    report.payload = TPC_BYTES("{\"n\":2}");
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &report, 2));
    flow_settle(&f);
    ck_assert_uint_eq(atomic_load(&e.count), 1);
    ck_assert_uint_eq(e.state, TPC_COMMAND_SUCCEEDED);
    tpc_device_unref(o.device);
    flow_fini(&f);
}
END_TEST

START_TEST(an_offline_device_keeps_its_command)
{
    struct flow f;
    struct ended e;
    struct ended open;
    struct tpc_id id;
    memset(&e, 0, sizeof(e));
    memset(&open, 0, sizeof(open));
    begin(&f, (uint32_t) _i);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    flow_probe.send_code = TPC_EOFFLINE;
    tk_ok(send_set(&f, "fan-1", "{\"on\":true}", &e, &id));
    flow_settle(&f);
    tk_ok(tpc_command_get(f.core, &id, on_end, &open));
    ck_assert_uint_eq(open.state, TPC_COMMAND_QUEUED);
    ck_assert_uint_eq(atomic_load(&e.count), 0);
    flow_probe.send_code = 0;
    uint64_t s = flow_session("fan-1", 0);
    tk_ok(flow_receive(s, "{\"on\":false}", 0)); /* it speaks: it can be reached */
    ck_assert(flow_until(&f, has_ended, &e));
    ck_assert_uint_eq(e.state, TPC_COMMAND_SUCCEEDED);
    flow_fini(&f);
}
END_TEST

START_TEST(silence_ends_a_command)
{
    struct flow f;
    struct ended e;
    memset(&e, 0, sizeof(e));
    begin(&f, 0);
    flow_probe.confirm = true;
    (void) flow_session("fan-1", 0);
    tk_ok(send_set(&f, "fan-1", "{\"on\":true}", &e, NULL));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    for (int i = 0; i < 30 && !has_ended(&e); i++) {
        tk_clock_advance(&f.e.clock, 100);
        tk_ok(tpc_core_step(f.core, 0, NULL));
    }
    ck_assert_uint_eq(e.state, TPC_COMMAND_TIMED_OUT);
    flow_fini(&f);
}
END_TEST

START_TEST(the_model_refuses_at_once)
{
    struct flow f;
    begin(&f, 0);
    tk_fails(TPC_EMODEL, send_set(&f, "fan-1", "{\"on\":\"perhaps\"}", NULL, NULL));
    tk_fails(TPC_EMODEL, send_set(&f, "fan-1", "{\"off\":1}", NULL, NULL));
    tk_fails(TPC_EDECODE, send_set(&f, "fan-1", "{\"on\":", NULL, NULL));
    tk_fails(TPC_EMODEL, send_set(&f, "t1", "{\"temperature\":1}", NULL, NULL)); /* read only */
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_device *d = flow_device(&f, "fan-1");
    o.device = d;
    o.service = TPC_STR("explode");
    tk_fails(TPC_ENOENT, tpc_command_send(f.core, NULL, &o, NULL, NULL, NULL));
    tpc_device_unref(d);
    ck_assert_double_eq(flow_metric(&f, "tpc_downlink_open"), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(a_command_is_called_off)
{
    struct flow f;
    struct ended e;
    struct tpc_id id;
    memset(&e, 0, sizeof(e));
    begin(&f, (uint32_t) _i);
    flow_probe.send_code = TPC_EOFFLINE;
    tk_ok(send_set(&f, "fan-1", "{\"on\":true}", &e, &id));
    tk_ok(tpc_command_cancel(f.core, &id));
    ck_assert(flow_until(&f, has_ended, &e));
    ck_assert_uint_eq(e.state, TPC_COMMAND_CANCELED);
    flow_fini(&f);
}
END_TEST

static const char scene[] = TPC_JSON({
    "key": "fan-on",
    "when": { "product": "thermo", "expr": "temperature > 30" },
    "then": [{ "command": { "device": "fan-1", "service": "set", "params": { "on": true } } }] });

static bool one_sent(void *user)
{
    (void) user;
    return flow_probe.sent_count > 0;
}

START_TEST(a_scene_sends_a_command_at_the_rising_edge)
{
    struct flow f;
    begin(&f, (uint32_t) _i);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(scene), TPC_ANY_REV, NULL));
    (void) flow_session("fan-1", 0);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "{\"temperature\":29}"));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 0);
    tk_ok(flow_feed(d, "{\"temperature\":31}"));
    tk_ok(flow_feed(d, "{\"temperature\":32}"));
    ck_assert(flow_until(&f, one_sent, NULL));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    ck_assert_str_eq(flow_probe.sent[0].device, "fan-1");
    ck_assert_double_eq(flow_metric(&f, "tpc_rules_fired_total"), 1);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

struct asked {
    struct tpc_core *core;
    struct tpc_id id;
};

static bool is_queued(void *user)
{
    struct asked *a = user;
    struct ended e;
    memset(&e, 0, sizeof(e));
    return tpc_command_get(a->core, &a->id, on_end, &e) == 0 && e.state == TPC_COMMAND_QUEUED;
}

START_TEST(a_command_survives_a_restart)
{
    struct flow f;
    struct ended open;
    struct tpc_id id;
    char dir[256];
    char text[320];
    snprintf(dir, sizeof(dir), "%s/command%d", tk_tmpdir(), _i);
    snprintf(text, sizeof(text), "{\"dump_dir\":\"%s/entities\"}", dir);
    for (int round = 0; round < 2; round++) {
        memset(&open, 0, sizeof(open));
        flow_init(&f, (uint32_t) _i);
        f.o.flags = TPC_CORE_ACCEPT_GAP;
        flow_create(&f);
        flow_file_log(&f, dir, "");
        tk_ok(tpc_core_open(f.core, "entities", "memory", tpc_str_from(text)));
        if (round == 0) {
            flow_devices(&f, 1);
        }
        flow_probe_open(&f);
        flow_probe.send_code = round == 0 ? TPC_EOFFLINE : 0;
        flow_probe.confirm = true;
        flow_probe.answer = true;
        flow_start(&f);
        if (round == 0) {
            tk_ok(send_set(&f, "fan-1", "{\"on\":true}", NULL, &id));
        } else {
            struct asked asked = { f.core, id };
            ck_assert(flow_until(&f, is_queued, &asked)); /* not for a moment in between */
            (void) flow_session("fan-1", 0);
            ck_assert(flow_until(&f, one_sent, NULL));
            flow_settle(&f);
            flow_settle(&f);
            tk_ok(tpc_command_get(f.core, &id, on_end, &open));
            ck_assert_uint_eq(open.state, TPC_COMMAND_SUCCEEDED);
        }
        flow_fini(&f);
    }
}
END_TEST

START_TEST(commands_of_a_deleted_device_fail)
{
    struct flow f;
    struct ended e;
    memset(&e, 0, sizeof(e));
    begin(&f, (uint32_t) _i);
    flow_probe.send_code = TPC_EOFFLINE;
    tk_ok(send_set(&f, "fan-1", "{\"on\":true}", &e, NULL));
    struct tpc_device *d = flow_device(&f, "fan-1");
    tk_ok(tpc_entity_delete(f.core, NULL, (struct tpc_str){ NULL, 0 }, "device", TPC_STR("fan-1"),
                            TPC_ANY_REV));
    ck_assert(flow_until(&f, has_ended, &e));
    ck_assert_uint_eq(e.state, TPC_COMMAND_FAILED);
    tk_fails(TPC_ENOENT, flow_feed(d, "{\"on\":true}"));
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

Suite *command_flow_suite(void)
{
    Suite *s = suite_create("command flow");
    TCase *t = tcase_create("command flow");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, an_answered_command_succeeds_once, 0, 3);
    tcase_add_test(t, a_thingspanel_report_ends_a_get);
    tcase_add_loop_test(t, an_offline_device_keeps_its_command, 0, 3);
    tcase_add_test(t, silence_ends_a_command);
    tcase_add_test(t, the_model_refuses_at_once);
    tcase_add_loop_test(t, a_command_is_called_off, 0, 3);
    tcase_add_loop_test(t, a_scene_sends_a_command_at_the_rising_edge, 0, 3);
    tcase_add_loop_test(t, a_command_survives_a_restart, 0, 2);
    tcase_add_loop_test(t, commands_of_a_deleted_device_fail, 0, 3);
    suite_add_tcase(s, t);
    return s;
}
