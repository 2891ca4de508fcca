#include "adapter_suite.h"
#include "mqtt_suites.h"
#include "real_broker.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tpcore/ext/link.h>
#include <tpcore/modules.h>

enum { WAIT_MS = 10000, QUIET_MS = 300 };

static struct tk_env env;
static struct fake_host h;
static struct real_broker broker;
static struct broker device;
static uint64_t acked, heard;
static struct fake_host other; /* a second instance in the process */
static bool begun, other_begun;
static char heard_topic[FAKE_TEXT], heard_payload[FAKE_TEXT];

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
             "{\"url\":\"mqtt://127.0.0.1:%u\",\"retry_min\":20,\"retry_max\":100%s}", broker.port,
             more);
    tk_env_init(&env);
    return fake_init(&h, &env, fake_adapter_of(tpc_module_mqtt()), options);
}

static void begin(const char *more)
{
    tk_ok(try_begin(more));
    begun = true;
    tk_ok(fake_start(&h));
}

static void end(void)
{
    begun = false;
    fake_stop(&h);
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
}

static bool wait_logged(const char *text, size_t least)
{
    for (int i = 0; i < WAIT_MS / 10 && tk_env_logged(&env, text) < least; i++) {
        poll(NULL, 0, 10);
    }
    return tk_env_logged(&env, text) >= least;
}

/* The adapter is connected and the broker has taken its subscriptions: they are asked for in a row, so
 * one that comes 100 ms after the others is none of them. */
static void wait_up(size_t times)
{
    ck_assert(wait_logged("connected to", times));
    int64_t last = 0;
    int quiet = 0;
    for (int i = 0; i < WAIT_MS / 10 && quiet < 10; i++) {
        poll(NULL, 0, 10);
        int64_t now = fake_metric(&h, "subscribed") + fake_metric(&h, "subscribe_refused");
        quiet = now == last && now > 0 ? quiet + 1 : 0;
        last = now;
    }
}

static void connect_device(const char *filter)
{
    acked = heard = 0;
    device_connect(&device, &broker, "device", filter, on_heard, NULL);
    device.on_acked = on_acked;
}

/* Publishes at QoS 1 and waits for the broker's acknowledgement. */
static void say(const char *topic, const char *text)
{
    uint64_t before = acked;
    ck_assert(broker_publish(&device, topic, text, strlen(text), 0));
    devices_run(&device, 1, WAIT_MS, &acked, before + 1);
    ck_assert_uint_eq(acked, before + 1);
}

static char subject_options[128]; /* of the conformance cases */

static void setup(void)
{
    if (broker.port == 0) {
        real_broker_init(&broker);
        snprintf(subject_options, sizeof(subject_options),
                 "{\"url\":\"mqtt://127.0.0.1:%u\",\"retry_min\":20}", broker.port);
    }
    real_broker_start(&broker);
}

static void end_other(void)
{
    if (other_begun) {
        other_begun = false;
        fake_stop(&other);
        fake_fini(&other);
    }
}

static void teardown(void)
{
    end_other();
    if (begun) { /* the test failed: its instance must not live on in the next one */
        begun = false;
        fake_stop(&h);
        fake_fini(&h);
    }
    real_broker_kill(&broker);
    broker.tls[0] = '\0';
}

/* Copies, for threads of the adapter may open sessions. */
static struct fake_session session_at(uint32_t i)
{
    pthread_mutex_lock(&h.lock);
    struct fake_session s = h.sessions[i];
    pthread_mutex_unlock(&h.lock);
    return s;
}

static uint32_t sessions(void)
{
    pthread_mutex_lock(&h.lock);
    uint32_t n = h.session_count;
    pthread_mutex_unlock(&h.lock);
    return n;
}

static const char *const versions[] = { ",\"version\":4", ",\"version\":5" };

START_TEST(message_comes_on_the_session_of_its_device)
{
    begin(versions[_i]);
    h.settle = FAKE_SETTLE_INSIDE;
    wait_up(1);
    connect_device("");
    say("/sys/pk/dn/thing/property/post", "{\"a\":1}");
    say("/sys/pk/dn/thing/property/post", "{\"a\":2}");
    say("/sys/pk/d2/thing/property/post", "{\"a\":3}");
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_uint_eq(sessions(), 3); /* the link, dn, d2 */
    ck_assert_uint_eq(session_at(0).flags, TPC_SESSION_LINK);
    ck_assert_str_eq(session_at(1).product, "pk");
    ck_assert_str_eq(session_at(1).device, "dn");
    ck_assert_uint_eq(session_at(1).flags, TPC_SESSION_PRESENCE);
    ck_assert_uint_eq(h.frames[0].session, 2);
    ck_assert_uint_eq(h.frames[1].session, 2);
    ck_assert_uint_eq(h.frames[2].session, 3);
    ck_assert_str_eq(h.frames[1].payload, "{\"a\":2}");
    ck_assert_str_eq(h.frames[1].topic, "/sys/pk/dn/thing/property/post");
    ck_assert_uint_ne(h.frames[1].ticket, 0);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(what_was_not_appended_is_redelivered_to_the_session)
{
    static const char *const options[] = {
        ",\"version\":4,\"client_id\":\"p\",\"clean_start\":false",
        ",\"version\":5,\"client_id\":\"p\",\"clean_start\":false"
    };
    begin(options[_i]);
    wait_up(1);
    connect_device("");
    say("/sys/pk/dn/thing/property/post", "{\"a\":1}");
    say("/sys/pk/dn/thing/property/post", "{\"a\":2}");
    ck_assert(fake_wait_frames(&h, 1));
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(h.frame_count, 1); /* the second waits for the first to be safe */
    fake_settle(&h, 0, 0);
    ck_assert(fake_wait_frames(&h, 2));
    end(); /* the second is not settled */

    begin(options[_i]);
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_str_eq(h.frames[0].payload, "{\"a\":2}");
    ck_assert_uint_ne(h.frames[0].flags & TPC_FRAME_REDELIVERED, 0);
    fake_settle(&h, 0, 0);
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(h.frame_count, 1);
    end();

    begin(options[_i]);
    wait_up(1);
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(h.frame_count, 0);
    broker_fini(&device);
    end();
}
END_TEST

static bool wait_metric(const char *name, int64_t least)
{
    for (int i = 0; i < WAIT_MS / 10 && fake_metric(&h, name) < least; i++) {
        poll(NULL, 0, 10);
    }
    return fake_metric(&h, name) >= least;
}

static void begin_other(void)
{
    char options[300];
    snprintf(options, sizeof(options),
             "{\"url\":\"mqtt://127.0.0.1:%u\",\"retry_min\":20,\"dialects\":[\"thingspanel\"]}",
             broker.port);
    tk_ok(fake_init(&other, &env, fake_adapter_of(tpc_module_mqtt()), options));
    other.settle = FAKE_SETTLE_INSIDE;
    other_begun = true;
    tk_ok(fake_start(&other));
}

/* Whether a command of the other instance gets its acknowledgement. */
static bool other_publishes(void)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.correlation = TPC_STR("c9");
    f.name = TPC_STR("go");
    f.payload = TPC_BYTES("{}");
    uint32_t before = other.sent_count;
    return fake_send(&other, 1, "pk", "dn", &f, 7) == 0 && fake_wait_sent(&other, before + 1) &&
           other.sent_codes[before] == 0;
}

/* Where the message waits: in front of the core, or at the log. Two that connect in the same moment cannot
 * tell their sockets apart, and lose both. */
static const struct {
    int code;
    bool at_once;
} holding[] = { { TPC_EAGAIN, false }, { 0, false }, { TPC_EAGAIN, true } };

/* One thread of paho's serves both: what makes room in a log may have to leave through the other. */
START_TEST(message_that_a_full_core_holds_up_stays_at_the_broker)
{
    uint32_t given = holding[_i].code == 0 ? 1 : 0;
    begin(",\"client_id\":\"p\",\"clean_start\":false,\"hold\":\"300ms\"");
    if (!holding[_i].at_once) {
        wait_up(1);
    }
    begin_other();
    wait_up(2);
    connect_device("");
    fake_answer(&h, holding[_i].code);
    say("/sys/pk/dn/thing/property/post", "{\"a\":1}");
    ck_assert(given > 0 ? fake_wait_frames(&h, 1) : fake_wait_later(&h, 1));
    bool through = false;
    for (int i = 0; i < 100 && !through; i++) {
        through = other_publishes();
        poll(NULL, 0, through ? 0 : 50);
    }
    ck_assert(through);
    ck_assert(wait_metric("held_back", 1));
    ck_assert(wait_metric("connection_lost", 1));
    h.settle = FAKE_SETTLE_INSIDE;
    fake_answer(&h, 0);
    ck_assert(fake_wait_frames(&h, given + 1));
    ck_assert_str_eq(h.frames[given].payload, "{\"a\":1}");
    ck_assert_uint_ne(h.frames[given].flags & TPC_FRAME_REDELIVERED, 0);
    broker_fini(&device);
    end_other();
    end();
}
END_TEST

START_TEST(message_whose_append_failed_is_given_again)
{
    begin("");
    wait_up(1);
    connect_device("");
    say("/sys/pk/dn/thing/property/post", "{}");
    ck_assert(fake_wait_frames(&h, 1));
    fake_settle(&h, 0, TPC_EIO);
    ck_assert(fake_wait_frames(&h, 2));
    fake_settle(&h, 1, TPC_EMODEL); /* that one will never do */
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(h.frame_count, 2);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(unknown_device_goes_over_the_link_with_its_names)
{
    begin(",\"ack\":\"received\"");
    h.unknown = "stranger";
    wait_up(1);
    connect_device("");
    say("/sys/pk/stranger/thing/property/post", "{}");
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_uint_eq(h.frames[0].session, 1);
    ck_assert_str_eq(h.frames[0].product, "pk");
    ck_assert_str_eq(h.frames[0].device, "stranger");
    ck_assert_uint_eq(h.frames[0].ticket, 0);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(wrapped_messages_and_presence_go_over_the_link)
{
    begin(",\"ack\":\"received\",\"dialects\":[\"thingspanel\"]");
    wait_up(1);
    connect_device("");
    say("devices/telemetry", "{\"device_id\":\"d\",\"values\":\"e30=\"}");
    say("devices/status/d", "1");
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_uint_eq(h.frames[0].session, 1);
    ck_assert_uint_eq(h.frames[0].flags, TPC_FRAME_WRAPPED);
    ck_assert_uint_eq(h.frames[1].kind, TPC_MSG_PRESENCE);
    ck_assert_str_eq(h.frames[1].device, "d");
    ck_assert_str_eq(h.frames[1].payload, "1");
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(what_the_brokers_plugin_refused_is_noted)
{
    begin(",\"dialects\":[\"thingspanel\"],\"tenant\":\"north\"");
    wait_up(1);
    connect_device("");
    say("tpcore/why", "{\"device\":\"d1\",\"stage\":\"auth\"");
    say("tpcore/why",
        "{\"device\":\"d1\",\"stage\":\"acl\",\"code\":-1,\"times\":3,\"reason\":\"no\","
        "\"payload_hex\":\"612f62\",\"tenant\":\"south\"}");
    ck_assert(fake_wait_whys(&h, 1));
    pthread_mutex_lock(&h.lock);
    ck_assert_str_eq(h.whys, "north/d1 2 -1 x3 no [a/b]");
    ck_assert_uint_eq(h.frame_count, 0);
    pthread_mutex_unlock(&h.lock);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(shared_subscription_gets_the_messages)
{
    begin(",\"ack\":\"received\",\"share\":\"tp\"");
    wait_up(1);
    connect_device("");
    say("/sys/pk/dn/thing/property/post", "{}");
    ck_assert(fake_wait_frames(&h, 1));
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(frame_leaves_in_the_dialect_of_its_device_and_is_acknowledged)
{
    char options[400];
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    snprintf(options, sizeof(options),
             "%s,\"ack\":\"received\",\"dialects\":[\"alink\",\"custom\"],\"custom\":[{\"up\":"
             "\"m/{device}/up\",\"down\":\"m/{device}/down/{id}\",\"product\":\"meter\"}]",
             versions[_i]);
    begin(options);
    wait_up(1);
    connect_device("#");
    say("m/m1/up", "x");
    ck_assert(fake_wait_frames(&h, 1));
    devices_run(&device, 1, WAIT_MS, &heard, 1); /* its own */
    f.correlation = TPC_STR("c9");
    f.payload = TPC_BYTES("go");
    tk_ok(fake_send(&h, h.frames[0].session, "meter", "m1", &f, 77));
    devices_run(&device, 1, WAIT_MS, &heard, 2);
    ck_assert_str_eq(heard_topic, "m/m1/down/c9");
    ck_assert_str_eq(heard_payload, "go");
    ck_assert(fake_wait_sent(&h, 1));
    ck_assert_uint_eq(h.sent[0], 77);
    ck_assert_int_eq(h.sent_codes[0], 0);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(many_frames_leave_through_a_small_window)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    begin(",\"ack\":\"received\",\"max_inflight\":4");
    wait_up(1);
    connect_device("/sys/pk/dn/thing/service/invoke");
    say("/sys/pk/dn/thing/property/post", "{}");
    ck_assert(fake_wait_frames(&h, 1));
    f.name = TPC_STR("go");
    f.payload = TPC_BYTES("{}");
    for (uint64_t i = 1; i <= 500; i++) {
        tk_ok(fake_send(&h, h.frames[0].session, "pk", "dn", &f, i));
    }
    devices_run(&device, 1, WAIT_MS, &heard, 500);
    ck_assert_uint_eq(heard, 500);
    ck_assert(fake_wait_sent(&h, 500));
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(broker_that_is_absent_is_waited_for)
{
    real_broker_kill(&broker);
    begin("");
    ck_assert(wait_logged("cannot connect to", 1));
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(tk_env_logged(&env, "cannot connect to"), 1); /* one line, many tries */
    real_broker_start(&broker);
    wait_up(1);
    end();
}
END_TEST

START_TEST(restart_of_the_broker_is_survived)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    begin(",\"ack\":\"received\"");
    wait_up(1);
    connect_device("");
    say("/sys/pk/dn/thing/property/post", "1");
    ck_assert(fake_wait_frames(&h, 1));
    real_broker_kill(&broker);
    ck_assert(wait_logged("lost", 1));
    f.payload = TPC_BYTES("{}");
    tk_fails(TPC_EOFFLINE, fake_send(&h, h.frames[0].session, "pk", "dn", &f, 1));
    poll(NULL, 0, 50);
    ck_assert(!session_at(1).open); /* the device is offline */
    real_broker_start(&broker);
    wait_up(2);
    ck_assert_uint_eq(sessions(), 3); /* and online again before it speaks */
    ck_assert_str_eq(session_at(2).device, "dn");
    devices_run(&device, 1, WAIT_MS, &device.connects, 2);
    say("/sys/pk/dn/thing/property/post", "2");
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_uint_eq(h.frames[1].session, 3);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(publish_that_the_broker_never_acknowledges_ends_with_the_connection)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    begin(",\"ack\":\"received\"");
    wait_up(1);
    connect_device("");
    say("/sys/pk/dn/thing/property/post", "1");
    ck_assert(fake_wait_frames(&h, 1));
    real_broker_freeze(&broker, true);
    f.payload = TPC_BYTES("{}");
    f.name = TPC_STR("go");
    tk_ok(fake_send(&h, h.frames[0].session, "pk", "dn", &f, 5));
    poll(NULL, 0, 50);
    real_broker_kill(&broker);
    ck_assert(fake_wait_sent(&h, 1));
    ck_assert_int_eq(h.sent_codes[0], TPC_EOFFLINE);
    broker_fini(&device);
    end();
}
END_TEST

static void link_heard(void *user, struct tpc_str topic, struct tpc_bytes payload, int redelivered)
{
    (void) redelivered;
    ck_assert_uint_eq(payload.len, 2);
    ck_assert(tpc_str_equal(topic, TPC_STR("other/x")));
    __atomic_add_fetch((uint64_t *) user, 1, __ATOMIC_SEQ_CST);
}

static void link_done(void *user, const struct tpc_error *err)
{
    ck_assert_ptr_null(err);
    __atomic_add_fetch((uint64_t *) user, 1, __ATOMIC_SEQ_CST);
}

static void link_state(void *user, int up)
{
    __atomic_store_n((int *) user, up, __ATOMIC_SEQ_CST);
}

START_TEST(link_service_publishes_subscribes_and_watches)
{
    uint64_t links = 0, dones = 0;
    int up = -1;
    begin("");
    const struct tpc_link_ops *link = h.offered;
    ck_assert_ptr_nonnull(link);
    tk_ok(link->watch(h.offered_self, link_state, &up));
    ck_assert_int_ge(up, 0);
    tk_ok(link->subscribe(h.offered_self, TPC_STR("other/+"), 1, link_heard, &links));
    wait_up(1);
    ck_assert_int_eq(__atomic_load_n(&up, __ATOMIC_SEQ_CST), 1);
    tk_ok(link->publish(h.offered_self, TPC_STR("other/x"), TPC_BYTES("hi"), 1, 0, link_done,
                        &dones));
    for (int i = 0; i < WAIT_MS / 10 && (__atomic_load_n(&links, __ATOMIC_SEQ_CST) == 0 ||
                                         __atomic_load_n(&dones, __ATOMIC_SEQ_CST) == 0);
         i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_uint_eq(links, 1);
    ck_assert_uint_eq(dones, 1);
    ck_assert_uint_eq(h.frame_count, 0);
    tk_fails(TPC_EINVAL,
             link->publish(h.offered_self, TPC_STR(""), TPC_BYTES("hi"), 1, 0, NULL, NULL));
    tk_fails(TPC_EINVAL, /* the broker would end the connection for it, again and again */
             link->publish(h.offered_self, TPC_STR("a/#"), TPC_BYTES("hi"), 1, 0, NULL, NULL));
    tk_fails(TPC_EINVAL,
             link->publish(h.offered_self, TPC_STR("+/a"), TPC_BYTES("hi"), 1, 0, NULL, NULL));
    end();
}
END_TEST

/* A client over TLS, with the authority or without. */
static void begin_tls(const char *ca)
{
    char options[600];
    snprintf(
        options, sizeof(options),
        "{\"url\":\"mqtts://localhost:%u\",\"retry_min\":20,\"retry_max\":100,\"tls\":{%s%s%s}}",
        broker.port, ca != NULL ? "\"ca\":\"" : "", ca != NULL ? ca : "", ca != NULL ? "\"" : "");
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_mqtt()), options));
    begun = true;
    tk_ok(fake_start(&h));
}

START_TEST(tls_connects_only_to_a_certificate_of_the_authority)
{
    char ca[300];
    const char *dir = tk_tmpdir();
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    snprintf(ca, sizeof(ca), "%.250s/ca.crt", dir);
    if (!real_broker_make_tls(dir)) {
        tk_skip("mqtts", "openssl is not installed");
        return;
    }
    real_broker_kill(&broker);
    snprintf(broker.tls, sizeof(broker.tls), "%.250s", dir);
    real_broker_start(&broker);
    begin_tls(NULL); /* the system's authorities do not know it */
    ck_assert(wait_logged("cannot connect to", 1));
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(tk_env_logged(&env, "connected to"), 0);
    end();
    begin_tls(ca);
    wait_up(1);
    const struct tpc_link_ops *link = h.offered;
    uint64_t dones = 0;
    tk_ok(link->publish(h.offered_self, TPC_STR("x"), TPC_BYTES("hi"), 1, 0, link_done, &dones));
    for (int i = 0; i < WAIT_MS / 10 && __atomic_load_n(&dones, __ATOMIC_SEQ_CST) == 0; i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_uint_eq(__atomic_load_n(&dones, __ATOMIC_SEQ_CST), 1);
    end();
    broker.tls[0] = '\0';
}
END_TEST

/* The clock is wrong, or the certificate is from the future: the same to us. It is tried again. */
START_TEST(certificate_that_is_not_valid_yet_is_told_and_tried_again)
{
    char ca[500];
    const char *dir = tk_tmpdir();
    (void) mkdir(dir, 0700);
    snprintf(ca, sizeof(ca), "%.250s/ca.crt", dir);
    if (!real_broker_make_tls(dir)) {
        tk_skip("mqtts", "openssl is not installed");
        return;
    }
    ck_assert(real_broker_make_early(dir));
    real_broker_kill(&broker);
    snprintf(broker.tls, sizeof(broker.tls), "%.250s", dir);
    real_broker_start(&broker);
    begin_tls(ca);
    ck_assert(wait_logged("not valid yet, by the clock of this machine", 1));
    for (int i = 0; i < WAIT_MS / 10 && fake_metric(&h, "tls_not_yet_valid") < 3; i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_int_ge(fake_metric(&h, "tls_not_yet_valid"), 3);
    ck_assert_uint_eq(tk_env_logged(&env, "not valid yet"), 1); /* told once */
    real_broker_kill(&broker);
    snprintf(ca, sizeof(ca), "mv '%.200s/right.crt' '%.200s/server.crt'", dir, dir);
    ck_assert_int_eq(system(ca), 0); /* as if the clock were right now */
    real_broker_start(&broker);
    wait_up(1);
    end();
    broker.tls[0] = '\0';
}
END_TEST

START_TEST(bad_options_are_refused_with_their_name)
{
    static const char *const bad[][2] = {
        { ",\"clean_start\":false", "client_id" },
        { ",\"dialects\":[\"custom\"]", "custom" },
        { ",\"custom\":[{\"up\":\"a/b\"}]", "custom[0].up" },
        { ",\"custom\":[{\"up\":\"a/{device}\",\"down\":\"x\"}]", "custom[0].down" },
        { ",\"share\":\"a/b\"", "share" },
        { ",\"version\":3", "version" },
        { ",\"qos\":2", "qos" },
        { ",\"url\":\"http://x\"", "url" },
        { ",\"retry_max\":1", "retry_max" },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char options[400];
        tk_env_init(&env);
        snprintf(options, sizeof(options), "{%s%s}",
                 strstr(bad[i][0], "url") != NULL ? "" : "\"url\":\"mqtt://127.0.0.1\"",
                 bad[i][0] + (strstr(bad[i][0], "url") != NULL));
        tk_fails(TPC_EINVAL, fake_init(&h, &env, fake_adapter_of(tpc_module_mqtt()), options));
        ck_assert_msg(strstr(h.last_fail, bad[i][1]) != NULL, "%s: %s", bad[i][0], h.last_fail);
        fake_fini(&h);
        tk_env_fini(&env);
    }
}
END_TEST

/* ---- conformance ---- */

/* The connection of the n-th start. */
static void provoke(struct fake_host *host, uint32_t n)
{
    for (int i = 0; i < WAIT_MS / 10 && tk_env_logged(host->env, "connected to") < n; i++) {
        poll(NULL, 0, 10);
    }
    poll(NULL, 0, 100);
    connect_device("");
    say("/sys/pk/dn/thing/property/post", "{}");
    broker_fini(&device);
}

Suite *mqtt_suite(void)
{
    static struct adapter_subject subject = { tpc_module_mqtt, subject_options, provoke };
    Suite *s = suite_create("mqtt");
    TCase *c = tcase_create("mqtt");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, message_comes_on_the_session_of_its_device, 0, 2);
    tcase_add_loop_test(c, what_was_not_appended_is_redelivered_to_the_session, 0, 2);
    tcase_add_loop_test(c, message_that_a_full_core_holds_up_stays_at_the_broker, 0, 3);
    tcase_add_test(c, message_whose_append_failed_is_given_again);
    tcase_add_test(c, unknown_device_goes_over_the_link_with_its_names);
    tcase_add_test(c, wrapped_messages_and_presence_go_over_the_link);
    tcase_add_test(c, what_the_brokers_plugin_refused_is_noted);
    tcase_add_test(c, shared_subscription_gets_the_messages);
    tcase_add_loop_test(c, frame_leaves_in_the_dialect_of_its_device_and_is_acknowledged, 0, 2);
    tcase_add_test(c, many_frames_leave_through_a_small_window);
    tcase_add_test(c, broker_that_is_absent_is_waited_for);
    tcase_add_test(c, restart_of_the_broker_is_survived);
    tcase_add_test(c, publish_that_the_broker_never_acknowledges_ends_with_the_connection);
    tcase_add_test(c, link_service_publishes_subscribes_and_watches);
    tcase_add_test(c, tls_connects_only_to_a_certificate_of_the_authority);
    tcase_add_test(c, certificate_that_is_not_valid_yet_is_told_and_tried_again);
    tcase_add_test(c, bad_options_are_refused_with_their_name);
    suite_add_tcase(s, c);
    TCase *conformance = adapter_suite(&subject);
    tcase_add_checked_fixture(conformance, setup, teardown);
    suite_add_tcase(s, conformance);
    return s;
}
