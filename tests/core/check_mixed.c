/* An old ThingsBoard gateway that keeps some devices: what it says of them is theirs, what is sent to
 * them goes through it. */
#include <stdio.h>
#include <string.h>

#include "codec/emit.h"
#include "flow.h"

struct mixed {
    struct flow f;
    uint64_t session;
    struct {
        atomic_uint count;
        uint32_t state;
        char reply[96], reason[64];
    } end;
};

static void put(struct mixed *m, const char *kind, const char *json)
{
    int rc = tpc_entity_put(m->f.core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

static void begin(struct mixed *m, uint32_t workers)
{
    memset(m, 0, sizeof(*m));
    flow_init(&m->f, workers);
    flow_create(&m->f);
    put(m, "product",
        "{\"key\":\"old\",\"type\":\"gateway\",\"codec\":\"thingsboard\","
        "\"unknown\":\"keep\",\"model\":{\"properties\":[]}}");
    put(m, "product",
        "{\"key\":\"thermo\",\"unknown\":\"keep\",\"model\":{\"properties\":["
        "{\"id\":\"t\",\"type\":\"double\"},"
        "{\"id\":\"serial\",\"type\":\"text\",\"role\":\"attribute\"}]}}");
    put(m, "device", "{\"key\":\"gw\",\"product\":\"old\"}");
    put(m, "device", "{\"key\":\"A\",\"product\":\"thermo\",\"gateway\":\"gw\",\"address\":\"A\"}");
    put(m, "device", "{\"key\":\"B\",\"product\":\"thermo\",\"gateway\":\"gw\",\"address\":\"B\"}");
    flow_probe_open(&m->f);
    flow_start(&m->f);
    flow_probe.confirm = true;
    m->session = flow_session("gw", TPC_SESSION_PRESENCE);
    flow_settle(&m->f);
}

static void say(struct mixed *m, const char *topic, const char *correlation, const char *payload)
{
    struct tpc_frame f;
    int rc = TPC_EAGAIN;
    memset(&f, 0, sizeof(f));
    f.size = sizeof(f);
    f.topic = tpc_str_from(topic);
    f.correlation = tpc_str_from(correlation);
    f.payload = (struct tpc_bytes){ (const uint8_t *) payload, strlen(payload) };
    for (int i = 0; i < 1000 && rc == TPC_EAGAIN; i++) {
        rc = flow_probe.host->receive(flow_probe.ctx, m->session, &f, 1);
        flow_settle(&m->f);
    }
    tk_ok(rc);
}

static bool online(struct mixed *m, const char *key)
{
    struct tpc_device *d = flow_device(&m->f, key);
    struct tpc_device_info p = { .size = sizeof(p) };
    tk_ok(tpc_device_info(d, &p));
    tpc_device_unref(d);
    return p.online != 0;
}

static void on_end(void *user, const struct tpc_command *c)
{
    struct mixed *m = user;
    m->end.state = c->state;
    snprintf(m->end.reply, sizeof(m->end.reply), "%.*s", (int) c->reply_json.len,
             c->reply_json.len > 0 ? c->reply_json.ptr : "");
    snprintf(m->end.reason, sizeof(m->end.reason), "%.*s", (int) c->reason.len,
             c->reason.len > 0 ? c->reason.ptr : "");
    atomic_fetch_add(&m->end.count, 1);
}

static bool has_ended(void *user)
{
    return atomic_load(&((struct mixed *) user)->end.count) > 0;
}

static bool was_sent(void *user)
{
    (void) user;
    return atomic_load(&flow_probe.sent_count) > 0;
}

static int command(struct mixed *m, const char *device, const char *service, const char *params)
{
    struct tpc_host_command c = { .size = sizeof(c), .timeout_ms = 1000 };
    c.device = tpc_str_from(device);
    c.service = tpc_str_from(service);
    c.params_json = tpc_str_from(params);
    atomic_store(&m->end.count, 0);
    pthread_mutex_lock(&flow_probe.lock);
    flow_probe.sent_count = 0;
    pthread_mutex_unlock(&flow_probe.lock);
    return flow_probe.host->command(flow_probe.ctx, &c, on_end, m, NULL);
}

static bool two_settled(void *user)
{
    const uint32_t *before = user;
    return atomic_load(&flow_probe.settled_count) >= *before + 2;
}

START_TEST(what_an_old_gateway_says_is_its_devices)
{
    struct mixed m;
    begin(&m, (uint32_t) _i);
    say(&m, "v1/gateway/connect", "", "{\"device\":\"A\",\"type\":\"thermo\"}");
    ck_assert(online(&m, "A"));
    ck_assert(!online(&m, "B"));
    say(&m, "v1/gateway/telemetry", "",
        "{\"A\":[{\"ts\":1700000000000,\"values\":{\"t\":1.5}},{\"ts\":1700000001000,\"values\":"
        "{\"t\":2.5,\"other\":1}}],\"B\":[{\"t\":7}]}");
    say(&m, "v1/gateway/attributes", "", "{\"A\":{\"serial\":\"s-1\",\"free\":true}}");
    say(&m, "v1/devices/me/telemetry", "", "{\"cpu\":3}");
    ck_assert_double_eq(flow_latest(&m.f, "A", "t"), 2.5);
    ck_assert_double_eq(flow_latest(&m.f, "B", "t"), 7);
    ck_assert_uint_eq(flow_stored(&m.f, "A", "t"), 2);
    ck_assert_double_eq(flow_metric(&m.f, "tpc_uplink_points_kept_total"), 3);
    ck_assert(online(&m, "B"));
    uint32_t settled = atomic_load(&flow_probe.settled_count);
    say(&m, "v1/gateway/telemetry", "", "{\"A\":[]}"); /* nothing, and that is no failure */
    say(&m, "v1/gateway/rpc", "", "{\"device\":\"A\",\"id\":null,\"data\":1}");
    ck_assert(flow_until(&m.f, two_settled, &settled));
    ck_assert_double_eq(flow_metric(&m.f, "tpc_uplink_dead_letters_total"), 0);
    say(&m, "v1/gateway/disconnect", "", "{\"device\":\"A\"}");
    ck_assert(!online(&m, "A"));
    ck_assert(online(&m, "B"));
    flow_fini(&m.f);
}
END_TEST

START_TEST(a_call_goes_through_the_old_gateway_and_its_answer_comes_back)
{
    struct mixed m;
    begin(&m, (uint32_t) _i);
    say(&m, "v1/gateway/connect", "", "{\"device\":\"A\",\"type\":\"thermo\"}");
    say(&m, "v1/gateway/connect", "", "{\"device\":\"B\",\"type\":\"thermo\"}");
    for (int i = 0; i < 2; i++) {
        const char *device = i == 0 ? "A" : "B";
        char text[160], id[64];
        tk_ok(command(&m, device, "setState", "true")); /* no object, no service of the model */
        ck_assert(flow_until(&m.f, was_sent, &m));
        snprintf(id, sizeof(id), "%s", flow_probe.sent[0].correlation);
        snprintf(text, sizeof(text),
                 "{\"device\":\"%s\",\"data\":{\"id\":%u,\"method\":\"setState\",\"params\":true}}",
                 device, (unsigned) tpi_codec_number(tpc_str_from(id)));
        ck_assert_str_eq(flow_probe.sent[0].payload, text);
        ck_assert_str_eq(flow_probe.sent[0].device, "gw");
        ck_assert_uint_eq(flow_probe.sent[0].flags, TPC_FRAME_GATEWAY | TPC_FRAME_BEHIND);
        snprintf(text, sizeof(text), "{\"device\":\"%s\",\"id\":9,\"data\":{\"value\":%d}}", device,
                 i);
        say(&m, "v1/gateway/rpc", id, text);
        ck_assert(flow_until(&m.f, has_ended, &m));
        snprintf(text, sizeof(text), "{\"value\":%d}", i);
        ck_assert_str_eq(m.end.reply, text);
        ck_assert_uint_eq(m.end.state, TPC_COMMAND_SUCCEEDED);
    }
    tk_ok(command(&m, "A", "set", "{\"limit\":5}"));
    ck_assert(flow_until(&m.f, was_sent, &m));
    ck_assert_str_eq(flow_probe.sent[0].payload, "{\"device\":\"A\",\"data\":{\"limit\":5}}");
    flow_fini(&m.f);
}
END_TEST

START_TEST(an_open_product_takes_services_that_its_model_does_not_know)
{
    struct mixed m;
    begin(&m, 0);
    put(&m, "product",
        "{\"key\":\"closed\",\"model\":{\"properties\":[{\"id\":\"x\",\"type\":"
        "\"int\",\"access\":\"rw\"}]}}");
    put(&m, "product",
        "{\"key\":\"half\",\"unknown\":\"keep\",\"model\":{\"properties\":[{\"id\":"
        "\"x\",\"type\":\"int\",\"access\":\"rw\"}],\"services\":[{\"id\":\"go\","
        "\"input\":[{\"id\":\"n\",\"type\":\"int\",\"max\":9}]}]}}");
    put(&m, "device", "{\"key\":\"c\",\"product\":\"closed\"}");
    put(&m, "device", "{\"key\":\"h\",\"product\":\"half\"}");
    tk_fails(TPC_ENOENT, command(&m, "c", "dance", "{}"));
    tk_fails(TPC_EMODEL, command(&m, "c", "set", "{\"y\":1}"));
    tk_ok(command(&m, "h", "dance", "[1,2]"));
    tk_ok(command(&m, "h", "set", "{\"y\":1,\"x\":2}"));
    tk_ok(command(&m, "h", "get", "{\"keys\":[\"y\"]}"));
    tk_fails(TPC_EMODEL, command(&m, "h", "set", "{\"x\":\"no\"}"));
    tk_fails(TPC_EMODEL, command(&m, "h", "set", "{\"y\":null}"));
    tk_fails(TPC_EMODEL, command(&m, "h", "go", "{\"n\":10}"));
    tk_fails(TPC_EMODEL, command(&m, "h", "get", "{\"keys\":[7]}"));
    flow_fini(&m.f);
}
END_TEST

Suite *mixed_flow_suite(void)
{
    Suite *s = suite_create("mixed");
    TCase *t = tcase_create("mixed");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, what_an_old_gateway_says_is_its_devices, 0, 3);
    tcase_add_loop_test(t, a_call_goes_through_the_old_gateway_and_its_answer_comes_back, 0, 3);
    tcase_add_test(t, an_open_product_takes_services_that_its_model_does_not_know);
    suite_add_tcase(s, t);
    return s;
}
