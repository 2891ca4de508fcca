/* A ThingsBoard gateway on a local broker that takes us for its platform: the messages are those that
 * its Python client sends, in that client's order (contract thingsboard 1.3, 1.4). */
#include "../../../adapters/thingsboard/attributes.h"
#include "codec/emit.h"
#include "thingsboard.h"
#include "fake_host.h"
#include "mqtt_suites.h"
#include "real_broker.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/modules.h>

enum { WAIT_MS = 10000, TEXT = 512 };

static struct tk_env env;
static struct fake_host h;
static struct real_broker broker;
static struct broker old; /* the gateway */
static uint64_t acked, heard;
static char heard_topic[TEXT], heard_payload[TEXT];
static bool begun;
static tb_attributes_fn *pending; /* a question that has no answer yet */
static void *pending_user;

static void on_acked(void *user, uint64_t tag)
{
    (void) user;
    (void) tag;
    acked++;
}

static void on_heard(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    (void) user;
    snprintf(heard_topic, sizeof(heard_topic), "%.*s", (int) topic.len, topic.ptr);
    snprintf(heard_payload, sizeof(heard_payload), "%.*s", (int) payload.len,
             (const char *) payload.ptr);
    heard++;
}

static int try_begin(const char *more)
{
    char options[1024];
    snprintf(options, sizeof(options),
             "{\"url\":\"mqtt://127.0.0.1:%u\",\"retry_min\":20,\"retry_max\":100,"
             "\"dialects\":[\"thingsboard\"]%s}",
             broker.port, more);
    tk_env_init(&env);
    return fake_init(&h, &env, fake_adapter_of(tpc_module_mqtt()), options);
}

static void begin_with(const char *options, int subscriptions, const char *filter,
                       const struct tb_attributes_ops *service)
{
    tk_ok(try_begin(options));
    begun = true;
    h.service_name = service != NULL ? TB_ATTRIBUTES_SERVICE : NULL;
    h.service = service;
    tk_ok(fake_start(&h));
    for (int i = 0; i < WAIT_MS / 10 && fake_metric(&h, "subscribed") < subscriptions; i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_int_eq(fake_metric(&h, "subscribed"), subscriptions);
    acked = heard = 0;
    heard_topic[0] = '\0';
    device_connect(&old, &broker, "old", filter, on_heard, NULL);
    old.on_acked = on_acked;
}

/* filter: what the gateway hears. service: who knows attributes; NULL = nobody. */
static void begin(const char *filter, const struct tb_attributes_ops *service)
{
    begin_with(",\"ack\":\"received\",\"thingsboard\":{\"gateway\":\"old\","
               "\"messages\":\"10:1,60:60\"}",
               8, filter, service);
}

static void end(void)
{
    broker_fini(&old);
    begun = false;
    fake_stop(&h);
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    if (pending != NULL) {
        pending(pending_user, NULL, NULL, NULL); /* nobody is there any more */
        pending = NULL;
    }
    tk_env_fini(&env);
}

static void setup(void)
{
    if (broker.port == 0) {
        real_broker_init(&broker);
    }
    real_broker_start(&broker);
}

static void teardown(void)
{
    if (begun) {
        begun = false;
        fake_stop(&h);
        fake_fini(&h);
    }
    real_broker_kill(&broker);
}

static void say(const char *topic, const char *text)
{
    uint64_t before = acked;
    ck_assert(broker_publish(&old, topic, text, strlen(text), 0));
    devices_run(&old, 1, WAIT_MS, &acked, before + 1);
    ck_assert_uint_eq(acked, before + 1);
}

/* Until that is what it heard last. */
static void hears(const char *topic, const char *payload)
{
    for (int i = 0; i < WAIT_MS / 10; i++) {
        if (strcmp(heard_topic, topic) == 0 && strcmp(heard_payload, payload) == 0) {
            return;
        }
        devices_run(&old, 1, 10, &heard, heard + 1);
    }
    ck_assert_str_eq(heard_topic, topic);
    ck_assert_str_eq(heard_payload, payload);
}

static void counts(const char *metric, int64_t value)
{
    for (int i = 0; i < WAIT_MS / 10 && fake_metric(&h, metric) < value; i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_int_eq(fake_metric(&h, metric), value);
}

START_TEST(devices_are_made_before_what_is_said_of_them)
{
    begin("", NULL);
    say("v1/gateway/connect", "{\"device\":\"A \\\"1\\\"\",\"type\":\"thermo\"}");
    say("v1/gateway/telemetry",
        "{\"A \\\"1\\\"\":[{\"ts\":5,\"values\":{\"t\":1}}],\"B\":[{\"t\":2}]}");
    say("v1/gateway/attributes", "{\"B\":{\"x\":1},\"C\":{\"y\":1}}");
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_uint_eq(h.device_count, 4);
    ck_assert_str_eq(h.devices[0].device, "old");
    ck_assert_str_eq(h.devices[0].product, "thingsboard-gateway");
    ck_assert_ptr_nonnull(strstr(h.devices[0].product_document, "\"codec\":\"thingsboard\""));
    ck_assert_str_eq(h.devices[1].device, "A \"1\"");
    ck_assert_str_eq(h.devices[1].product, "thermo");
    ck_assert_str_eq(h.devices[1].document, "{\"gateway\":\"old\",\"address\":\"A \\\"1\\\"\"}");
    ck_assert_ptr_nonnull(strstr(h.devices[1].product_document, "\"unknown\":\"keep\""));
    ck_assert_str_eq(h.devices[2].device, "B");
    ck_assert_str_eq(h.devices[2].product, "default");
    ck_assert_str_eq(h.devices[3].device, "C");
    ck_assert_str_eq(h.sessions[1].device, "old");
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(h.frames[i].session, 2);
    }
    ck_assert_str_eq(h.frames[1].topic, "v1/gateway/telemetry");
    end();
}
END_TEST

START_TEST(what_is_said_waits_until_its_device_can_be_made)
{
    begin("", NULL);
    say("v1/gateway/connect", "{\"device\":\"A\"}");
    ck_assert(fake_wait_frames(&h, 1));
    pthread_mutex_lock(&h.lock);
    h.make_code = TPC_ENOSPC;
    pthread_mutex_unlock(&h.lock);
    ck_assert(broker_publish(&old, "v1/gateway/telemetry", "{\"B\":[{\"t\":1}]}", 16, 0));
    devices_run(&old, 1, 150, &acked, 99);
    ck_assert(!h.stopped && h.frame_count == 1 && h.device_count == 2);
    pthread_mutex_lock(&h.lock);
    h.make_code = 0;
    pthread_mutex_unlock(&h.lock);
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_str_eq(h.devices[2].device, "B");
    /* One that can never be made keeps nothing back. */
    pthread_mutex_lock(&h.lock);
    h.make_code = TPC_ETOOBIG;
    pthread_mutex_unlock(&h.lock);
    say("v1/gateway/telemetry", "{\"C\":[{\"t\":1}],\"B\":[{\"t\":2}]}");
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_int_eq(fake_metric(&h, "devices_refused"), 1);
    end();
}
END_TEST

START_TEST(the_limits_that_it_waits_for_are_told)
{
    static const char rates[] = "{\"messages\":\"10:1,60:60\",\"telemetryMessages\":\"\","
                                "\"telemetryDataPoints\":\"\"}";
    char want[TEXT];
    begin("v1/devices/me/rpc/response/+", NULL);
    say("v1/devices/me/rpc/request/1",
        "{\"method\":\"getSessionLimits\",\"params\":{\"timeout\":5000}}");
    snprintf(want, sizeof(want),
             "{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,\"rateLimits\":%s,"
             "\"gatewayRateLimits\":%s}",
             rates, rates);
    hears("v1/devices/me/rpc/response/1", want);
    say("v1/devices/me/rpc/request/2", "{\"method\":\"other\"}");
    hears("v1/devices/me/rpc/response/2", "{\"error\":\"no such method\"}");
    say("v1/devices/me/claim", "{}");
    say("v1/gateway/claim", "{}");
    ck_assert_uint_eq(h.frame_count, 0);
    counts("claims_dropped", 2);
    end();
}
END_TEST

static char asked[TEXT];

/* Of the device "late" it answers when the test says so. */
static int ask(void *self, struct tpc_str device, struct tpc_str client, struct tpc_str shared,
               tb_attributes_fn *fn, void *user)
{
    const struct tpc_member m[] = { { TPC_STR("k"), { .type = TPC_INT, .as.i = 7 } } };
    const struct tpc_value found = { TPC_MAP, 0, 1, { .members = m } };
    const struct tpc_value none = { .type = TPC_MAP };
    (void) self;
    snprintf(asked, sizeof(asked), "%.*s c=%.*s s=%.*s", (int) device.len, device.ptr,
             (int) client.len, client.len > 0 ? client.ptr : "", (int) shared.len,
             shared.len > 0 ? shared.ptr : "");
    if (tpc_str_equal(device, TPC_STR("late"))) {
        pending = fn;
        pending_user = user;
        return 0;
    }
    if (tpc_str_equal(device, TPC_STR("away"))) {
        return TPC_EOFFLINE;
    }
    fn(user, NULL, client.len > 0 ? &found : &none, shared.len > 0 ? &found : &none);
    return 0;
}

static const struct tb_attributes_ops knows = { .iface = TPC_IFACE(struct tb_attributes_ops, 1),
                                                .ask = ask };

START_TEST(attributes_are_asked_of_whoever_knows_them)
{
    static const char topic[] = "v1/gateway/attributes/request";
    static const char response[] = "v1/gateway/attributes/response";
    begin("#", &knows);
    say(topic, "{\"id\":1,\"device\":\"A\",\"client\":false,\"key\":\"k\"}");
    hears(response, "{\"id\":1,\"device\":\"A\",\"value\":7}");
    ck_assert_str_eq(asked, "A c= s=k");
    say(topic, "{\"id\":2,\"device\":\"A\",\"client\":true,\"keys\":[\"k\",\"l\"]}");
    hears(response, "{\"id\":2,\"device\":\"A\",\"values\":{\"k\":7}}");
    ck_assert_str_eq(asked, "A c=k,l s=");
    say(topic, "{\"id\":3,\"device\":\"A\",\"client\":true,\"keys\":[]}");
    hears(response, "{\"id\":3,\"device\":\"A\"}");
    say("v1/devices/me/attributes/request/4", "{\"clientKeys\":\"k\",\"sharedKeys\":\"k,m\"}");
    hears("v1/devices/me/attributes/response/4", "{\"client\":{\"k\":7},\"shared\":{\"k\":7}}");
    ck_assert_str_eq(asked, "old c=k s=k,m");
    say(topic, "{\"id\":5,\"device\":\"away\",\"key\":\"k\"}");
    say(topic, "{\"id\":6,\"device\":\"late\",\"key\":\"k\"}");
    say(topic, "{\"device\":\"A\",\"key\":\"k\"}");
    say(topic, "{\"id\":8,\"key\":\"k\"}");
    counts("refused", 2);
    ck_assert_int_eq(fake_metric(&h, "attributes_unanswered"), 1);
    ck_assert(pending != NULL);
    end();
}
END_TEST

START_TEST(without_one_who_knows_there_are_no_attributes)
{
    begin("v1/gateway/attributes/response", NULL);
    say("v1/gateway/attributes/request",
        "{\"id\":1,\"device\":\"A\",\"client\":false,\"key\":\"k\"}");
    hears("v1/gateway/attributes/response", "{\"id\":1,\"device\":\"A\"}");
    end();
}
END_TEST

static void send_down(uint16_t kind, uint16_t flags, const char *name, const char *id,
                      const char *payload, uint64_t ticket)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = kind, .flags = flags };
    f.name = tpc_str_from(name);
    f.correlation = tpc_str_from(id);
    f.payload = (struct tpc_bytes){ (const uint8_t *) payload, strlen(payload) };
    tk_ok(fake_send(&h, 2, "thingsboard-gateway", "old", &f, ticket));
}

START_TEST(calls_and_sets_leave_and_answers_find_their_command)
{
    static const char id[] = "0123456789abcdef0123456789abcdef";
    uint16_t behind = TPC_FRAME_GATEWAY | TPC_FRAME_BEHIND;
    char text[TEXT];
    begin("#", NULL);
    say("v1/gateway/connect", "{\"device\":\"A\"}");
    ck_assert(fake_wait_frames(&h, 1));
    send_down(TPC_MSG_COMMAND, behind, "go", id, "{\"call\":1}", 71);
    hears("v1/gateway/rpc", "{\"call\":1}");
    snprintf(text, sizeof(text), "{\"device\":\"A\",\"id\":%u,\"data\":{}}",
             (unsigned) tpi_codec_number(tpc_str_from(id)));
    say("v1/gateway/rpc", text);
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_str_eq(h.frames[1].correlation, id);
    say("v1/gateway/rpc", "{\"device\":\"A\",\"id\":1,\"data\":{}}"); /* no command of ours */
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_str_eq(h.frames[2].correlation, "");

    send_down(TPC_MSG_COMMAND, TPC_FRAME_GATEWAY, "go", id, "{}", 72);
    snprintf(text, sizeof(text), "v1/devices/me/rpc/request/%u",
             (unsigned) tpi_codec_number(tpc_str_from(id)));
    hears(text, "{}");
    snprintf(text, sizeof(text), "v1/devices/me/rpc/response/%u",
             (unsigned) tpi_codec_number(tpc_str_from(id)));
    say(text, "{\"ok\":1}");
    ck_assert(fake_wait_frames(&h, 4));
    ck_assert_str_eq(h.frames[3].correlation, id);

    send_down(TPC_MSG_ATTRIBUTES_SET, behind, "set", id, "{\"set\":1}", 73);
    ck_assert(fake_wait_frames(&h, 5)); /* nobody answers it: it is done once it is out */
    ck_assert_uint_eq(h.frames[4].kind, TPC_MSG_REPLY);
    ck_assert_str_eq(h.frames[4].correlation, id);
    hears("v1/gateway/attributes", "{\"set\":1}");
    ck_assert(fake_wait_sent(&h, 3));
    poll(NULL, 0, 50);
    ck_assert_uint_eq(h.frame_count, 5); /* what we say ourselves does not come back */
    end();
}
END_TEST

/* What the broker's plugin makes of the topics of several gateways and devices. */
START_TEST(behind_the_plugin_many_speak_and_each_hears_its_own)
{
    static const char id[] = "0123456789abcdef0123456789abcdef";
    char text[TEXT];
    begin_with(",\"ack\":\"received\"", 1, "tpcore/thingsboard/down/#", &knows);
    say("tpcore/thingsboard/up/g1/v1/gateway/telemetry", "{\"A\":[{\"t\":1}]}");
    say("tpcore/thingsboard/up/g2/v1/gateway/telemetry", "{\"A\":[{\"t\":1}],\"B\":[{\"t\":2}]}");
    say("tpcore/thingsboard/up/d1/v1/devices/me/telemetry", "{\"t\":3}");
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_uint_eq(h.device_count, 2); /* those that speak are there: they have logged in */
    ck_assert_str_eq(h.devices[0].document, "{\"gateway\":\"g1\",\"address\":\"A\"}");
    ck_assert_str_eq(h.sessions[1].device, "g1");
    ck_assert_str_eq(h.sessions[2].device, "g2");
    ck_assert_str_eq(h.sessions[3].device, "d1");
    ck_assert_str_eq(h.frames[2].topic, "v1/devices/me/telemetry");
    say("tpcore/thingsboard/up/d1/v1/devices/me/rpc/request/5", "{\"method\":\"x\"}");
    hears("tpcore/thingsboard/down/d1/v1/devices/me/rpc/response/5",
          "{\"error\":\"no such method\"}");
    say("tpcore/thingsboard/up/g2/v1/gateway/attributes/request",
        "{\"id\":1,\"device\":\"A\",\"client\":false,\"key\":\"k\"}");
    hears("tpcore/thingsboard/down/g2/v1/gateway/attributes/response",
          "{\"id\":1,\"device\":\"A\",\"value\":7}");
    say("tpcore/thingsboard/up/d1/v1/devices/me/attributes/request/4", "{\"sharedKeys\":\"k\"}");
    hears("tpcore/thingsboard/down/d1/v1/devices/me/attributes/response/4",
          "{\"shared\":{\"k\":7}}");
    ck_assert_str_eq(asked, "d1 c= s=k");
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.flags = TPC_FRAME_GATEWAY | TPC_FRAME_BEHIND;
    f.correlation = tpc_str_from(id);
    f.payload = TPC_BYTES("{}");
    tk_ok(fake_send(&h, 3, "p", "g2", &f, 7));
    hears("tpcore/thingsboard/down/g2/v1/gateway/rpc", "{}");
    snprintf(text, sizeof(text), "{\"device\":\"A\",\"id\":%u,\"data\":{}}",
             (unsigned) tpi_codec_number(tpc_str_from(id)));
    say("tpcore/thingsboard/up/g2/v1/gateway/rpc", text);
    ck_assert(fake_wait_frames(&h, 4));
    ck_assert_str_eq(h.frames[3].correlation, id);
    end();
}
END_TEST

/* The dialect alone, on a host that has no memory now and then. */
static int prepare_with(const struct tpc_allocator *alloc, void *user)
{
    static const char telemetry[] = "{\"A \\u0041\":[{\"t\":1}],\"B\":[{\"t\":2}]}";
    static const struct mqtt_tb_options options = { .gateway = TPC_STR_INIT("old"),
                                                    .product = TPC_STR_INIT("p"),
                                                    .default_type = TPC_STR_INIT("default") };
    struct tpc_host host = *(const struct tpc_host *) user;
    struct mqtt_incoming in = { .topic = TPC_STR("v1/gateway/telemetry"), .qos = 1 };
    struct mqtt_address a = { .dialect = MQTT_THINGSBOARD, .topic = in.topic };
    struct mqtt_tb tb;
    host.allocator = alloc;
    in.payload = TPC_BYTES(telemetry);
    int rc = mqtt_tb_init(&tb, &host, &h, NULL, &options, TPC_STR("main"), 100);
    rc = rc != 0 ? rc : mqtt_tb_prepare(&tb, &in, &a);
    in.topic = a.topic = TPC_STR("v1/gateway/rpc");
    in.payload = TPC_BYTES("{\"device\":\"A\",\"id\":7,\"data\":{}}");
    rc = rc != 0 ? rc : mqtt_tb_prepare(&tb, &in, &a);
    mqtt_tb_fini(&tb);
    return rc;
}

START_TEST(without_memory_a_message_waits)
{
    tk_ok(try_begin(",\"thingsboard\":{\"gateway\":\"old\"}"));
    ck_assert_uint_gt(tk_each_alloc_fails(prepare_with, &h.base), 4);
    ck_assert_uint_eq(h.device_count, 3);
    fake_fini(&h);
    tk_env_fini(&env);
}
END_TEST

START_TEST(options_that_cannot_be_are_refused)
{
    static const char *const bad[] = {
        ",\"version\":4,\"thingsboard\":{\"gateway\":\"old\"}",
        ",\"share\":\"g\",\"thingsboard\":{\"gateway\":\"old\"}",
        ",\"thingsboard\":{\"gateway\":\"old\",\"messages\":\"ten\"}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tk_fails(TPC_EINVAL, try_begin(bad[i]));
        ck_assert_msg(strstr(h.last_fail, "thingsboard") != NULL, "%s", h.last_fail);
        fake_fini(&h);
        tk_env_fini(&env);
    }
}
END_TEST

Suite *tb_suite(void)
{
    Suite *s = suite_create("thingsboard");
    TCase *tc = tcase_create("thingsboard");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, devices_are_made_before_what_is_said_of_them);
    tcase_add_test(tc, what_is_said_waits_until_its_device_can_be_made);
    tcase_add_test(tc, the_limits_that_it_waits_for_are_told);
    tcase_add_test(tc, attributes_are_asked_of_whoever_knows_them);
    tcase_add_test(tc, without_one_who_knows_there_are_no_attributes);
    tcase_add_test(tc, calls_and_sets_leave_and_answers_find_their_command);
    tcase_add_test(tc, behind_the_plugin_many_speak_and_each_hears_its_own);
    tcase_add_test(tc, without_memory_a_message_waits);
    tcase_add_test(tc, options_that_cannot_be_are_refused);
    suite_add_tcase(s, tc);
    return s;
}
