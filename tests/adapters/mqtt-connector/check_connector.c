/* Against a mosquitto that the test starts; a device of the simulator speaks and listens. */
#include "adapter_suite.h"
#include "real_broker.h"
#include "suites.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/modules.h>

#include "../../../adapters/thingsboard/attributes.h"

enum { WAIT_MS = 10000, QUIET_MS = 100 };

static struct tk_env env;
static struct fake_host h;
static struct real_broker broker;
static struct broker device;
static uint64_t acked, heard;
static bool begun;
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

#define SENSOR                                                                                     \
    "\"mappings\":[{\"topic\":\"sensor/+/data\",\"device\":\"(?<=sensor/)(.*?)(?=/data)\","        \
    "\"device_source\":\"topic\",\"type\":\"Thermometer\","                                        \
    "\"attributes\":[{\"key\":\"model\",\"value\":\"${model}\"}],"                                 \
    "\"timeseries\":[{\"key\":\"temperature\",\"value\":\"${temp}\",\"type\":\"double\"}]},"       \
    "{\"topic\":\"all\",\"device\":\"${id}\",\"timeseries\":[{\"key\":\"v\",\"value\":\"${v}\"}]}" \
    "]"

/* asks: who answers for attributes; NULL = nobody. */
static void begin_with(const char *more, const struct tb_attributes_ops *asks)
{
    char options[2048];
    snprintf(options, sizeof(options),
             "{\"url\":\"mqtt://127.0.0.1:%u\",\"retry_min\":20,\"retry_max\":100,%s}",
             (unsigned) broker.port, more);
    tk_env_init(&env);
    int rc = fake_init(&h, &env, fake_adapter_of(tpc_module_mqtt_connector()), options);
    ck_assert_msg(rc == 0, "%s", h.last_fail);
    begun = true;
    h.service_name = asks != NULL ? TB_ATTRIBUTES_SERVICE : NULL;
    h.service = asks;
    tk_ok(fake_start(&h));
}

static void begin(const char *more)
{
    begin_with(more, NULL);
}

static void end(void)
{
    begun = false;
    fake_stop(&h);
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
}

/* The adapter is connected and the broker has taken so many subscriptions. */
static void wait_up(int64_t subscriptions)
{
    for (int i = 0; i < WAIT_MS / 10 && fake_metric(&h, "subscribed") < subscriptions; i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_int_eq(fake_metric(&h, "subscribed"), subscriptions);
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

static void hear(void)
{
    devices_run(&device, 1, WAIT_MS, &heard, heard + 1);
}

static char subject_options[1024]; /* of the conformance cases */

static void setup(void)
{
    if (broker.port == 0) {
        real_broker_init(&broker);
        snprintf(subject_options, sizeof(subject_options),
                 "{\"url\":\"mqtt://127.0.0.1:%u\",\"retry_min\":20," SENSOR "}",
                 (unsigned) broker.port);
    }
    real_broker_start(&broker);
}

static void teardown(void)
{
    if (begun) { /* the test failed: its instance must not live on in the next one */
        begun = false;
        fake_stop(&h);
        fake_fini(&h);
    }
    real_broker_kill(&broker);
}

static bool wait_metric(const char *name, int64_t least)
{
    for (int i = 0; i < WAIT_MS / 10 && fake_metric(&h, name) < least; i++) {
        poll(NULL, 0, 10);
    }
    return fake_metric(&h, name) >= least;
}

/* Session of a device that is open; 0 = there is none. */
static uint64_t session_of(const char *name)
{
    uint64_t session = 0;
    pthread_mutex_lock(&h.lock);
    for (uint32_t i = 0; i < h.session_count; i++) {
        if (h.sessions[i].open && strcmp(h.sessions[i].device, name) == 0) {
            session = i + 1;
        }
    }
    pthread_mutex_unlock(&h.lock);
    return session;
}

/* ---- up ---- */

START_TEST(message_becomes_frames_of_a_device_that_is_made)
{
    static const char *const versions[] = { "\"version\":4," SENSOR, "\"version\":5," SENSOR };
    begin(versions[_i]);
    h.settle = FAKE_SETTLE_INSIDE;
    h.unknown = "box";
    wait_up(2);
    connect_device("");
    say("sensor/box1/data", "{\"model\":\"T1\",\"temp\":\"21.5\"}");
    say("sensor/box1/data", "{\"temp\":22}");
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_uint_eq(h.device_count, 1);
    ck_assert_str_eq(h.devices[0].device, "box1");
    ck_assert_str_eq(h.devices[0].product, "Thermometer");
    ck_assert_str_eq(h.devices[0].product_document,
                     "{\"codec\":\"json\",\"unknown\":\"keep\",\"model\":{}}");
    ck_assert_uint_eq(h.sessions[1].flags, TPC_SESSION_PRESENCE);
    ck_assert_uint_eq(h.frames[0].session, session_of("box1"));
    ck_assert_uint_eq(h.frames[0].kind, TPC_MSG_ATTRIBUTES);
    ck_assert_str_eq(h.frames[0].payload, "{\"model\":\"T1\"}");
    ck_assert_uint_eq(h.frames[1].kind, TPC_MSG_TELEMETRY);
    ck_assert_str_eq(h.frames[1].payload, "{\"temperature\":21.5}");
    ck_assert_str_eq(h.frames[1].topic, "sensor/box1/data");
    ck_assert_uint_ne(h.frames[0].packet_id, h.frames[1].packet_id);
    ck_assert_str_eq(h.frames[2].payload, "{\"temperature\":22.0}");
    ck_assert(wait_metric("frames", 3));
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(message_is_acknowledged_when_all_of_it_is_in_the_log)
{
    static const char options[] = "\"client_id\":\"p\",\"clean_start\":false," SENSOR;
    begin(options);
    wait_up(2);
    connect_device("");
    say("all", "[{\"id\":\"a\",\"v\":1},{\"id\":\"b\",\"v\":2},{\"v\":3}]");
    say("all", "{\"id\":\"c\",\"v\":4}");
    ck_assert(fake_wait_frames(&h, 3));
    uint64_t first = h.frames[0].ticket;
    int ok = 0;
    h.ops->settled(h.self, &first, &ok, 1);
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(h.frame_count, 3); /* two of three are not safe */
    end();

    begin(options); /* the whole message comes again, and says so */
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_uint_ne(h.frames[0].flags & TPC_FRAME_REDELIVERED, 0);
    fake_settle(&h, 0, 0);
    ck_assert(fake_wait_frames(&h, 4));
    ck_assert_str_eq(h.frames[3].payload, "{\"v\":4}");
    fake_settle(&h, 3, 0);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(only_what_the_log_did_not_take_is_given_again)
{
    begin(SENSOR);
    wait_up(2);
    connect_device("");
    say("all", "[{\"id\":\"a\",\"v\":1},{\"id\":\"b\",\"v\":2}]");
    ck_assert(fake_wait_frames(&h, 2));
    uint64_t tickets[] = { h.frames[0].ticket, h.frames[1].ticket };
    int codes[] = { 0, TPC_EIO };
    h.ops->settled(h.self, tickets, codes, 2);
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_str_eq(h.frames[2].payload, "{\"v\":2}");
    fake_settle(&h, 2, TPC_EMODEL); /* that one will never do */
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(h.frame_count, 3);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(what_cannot_be_read_becomes_a_dead_letter_with_its_reason)
{
    begin(SENSOR);
    h.settle = FAKE_SETTLE_INSIDE;
    wait_up(2);
    connect_device("");
    say("sensor/box1/data", "warm");
    say("sensor/box1/data", "{\"other\":1}");
    say("all", "[{\"id\":\"a\",\"v\":1},{\"id\":7},{\"id\":\"\",\"v\":1}]");
    ck_assert(fake_wait_frames(&h, 5));
    ck_assert_uint_eq(h.frames[0].session, 1); /* the link */
    ck_assert_str_eq(h.frames[0].payload, "warm");
    ck_assert_str_eq(h.frames[0].name, "it is no JSON");
    ck_assert_str_eq(h.frames[0].device, "");
    ck_assert_str_eq(h.frames[1].name, "no value was found in it");
    ck_assert_str_eq(h.frames[1].payload, "{\"other\":1}");
    ck_assert_str_eq(h.frames[2].payload, "{\"v\":1}");
    ck_assert_str_eq(h.frames[3].payload, "{\"id\":7}");
    ck_assert_ptr_nonnull(strstr(h.frames[4].name, "the name of the device"));
    ck_assert_uint_eq(h.why_count, 2);
    ck_assert_ptr_nonnull(strstr(h.whys, "no value was found in it"));
    ck_assert(wait_metric("dead_letters", 4));
    ck_assert_uint_eq(tk_env_logged(&env, "cannot be read"), 1);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(device_that_may_not_be_made_goes_over_the_link_with_its_name)
{
    begin(SENSOR);
    h.settle = FAKE_SETTLE_INSIDE;
    h.unknown = "box";
    h.make_code = TPC_EAGAIN; /* too many */
    wait_up(2);
    connect_device("");
    say("sensor/box1/data", "{\"temp\":1}");
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_uint_eq(h.frames[0].session, 1);
    ck_assert_str_eq(h.frames[0].device, "box1");
    ck_assert_str_eq(h.frames[0].product, "Thermometer");
    h.make_code = TPC_EIO; /* the disk: it is waited for */
    say("sensor/box2/data", "{\"temp\":2}");
    ck_assert(wait_metric("later", 1));
    h.make_code = 0;
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_uint_eq(h.frames[1].session, session_of("box2"));
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(full_core_is_waited_for)
{
    begin(SENSOR);
    h.settle = FAKE_SETTLE_INSIDE;
    wait_up(2);
    connect_device("");
    fake_answer(&h, TPC_EAGAIN);
    say("all", "[{\"id\":\"a\",\"v\":1},{\"id\":\"b\",\"v\":2}]");
    ck_assert(fake_wait_later(&h, 2));
    ck_assert_uint_eq(h.frame_count, 0);
    fake_answer(&h, 0);
    ck_assert(fake_wait_frames(&h, 2));
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(message_that_a_full_core_holds_up_stays_at_the_broker)
{
    begin("\"client_id\":\"p\",\"clean_start\":false,\"hold\":\"300ms\"," SENSOR);
    h.settle = FAKE_SETTLE_INSIDE;
    wait_up(2);
    connect_device("");
    fake_answer(&h, TPC_EAGAIN);
    say("all", "{\"id\":\"a\",\"v\":1}");
    ck_assert(wait_metric("held_back", 1));
    ck_assert(wait_metric("connection_lost", 1));
    ck_assert_uint_eq(h.frame_count, 0);
    fake_answer(&h, 0);
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_str_eq(h.frames[0].payload, "{\"v\":1}");
    ck_assert_uint_ne(h.frames[0].flags & TPC_FRAME_REDELIVERED, 0);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(device_comes_and_goes_by_messages)
{
    begin(
        "\"connect\":[{\"topic\":\"+/hello\",\"device\":\"^[^/]+\",\"device_source\":\"topic\"},"
        "{\"topic\":\"hello\",\"device\":\"${name}\",\"type\":\"${kind}\"}],"
        "\"disconnect\":[{\"topic\":\"+/bye\",\"device\":\"^[^/]+\",\"device_source\":\"topic\"}]");
    wait_up(3);
    h.unknown = "d";
    connect_device("");
    say("d1/hello", "");
    say("hello", "{\"name\":\"d2\",\"kind\":\"meter\"}");
    ck_assert(wait_metric("connects", 2));
    ck_assert(session_of("d1") != 0 && session_of("d2") != 0);
    ck_assert_str_eq(h.devices[0].product, "default");
    ck_assert_str_eq(h.devices[1].product, "meter");
    say("d1/bye", "");
    ck_assert(wait_metric("disconnects", 1));
    ck_assert(session_of("d1") == 0);
    broker_fini(&device);
    real_broker_kill(&broker); /* with the broker all go; d1 does not come back */
    for (int i = 0; i < WAIT_MS / 10 && session_of("d2") != 0; i++) {
        poll(NULL, 0, 10);
    }
    real_broker_start(&broker);
    wait_up(6);
    ck_assert(session_of("d1") == 0 && session_of("d2") != 0);
    end();
}
END_TEST

/* ---- down ---- */

static struct tpc_frame command(const char *name, const char *payload)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.name = tpc_str_from(name);
    f.correlation = TPC_STR("c1");
    f.payload = (struct tpc_bytes){ (const uint8_t *) payload, strlen(payload) };
    return f;
}

/* A device that is there, with a session; its filter is "down/#". */
static uint64_t begin_down(const char *more)
{
    char options[1600];
    snprintf(options, sizeof(options), "\"connect\":[{\"topic\":\"hello\",\"device\":\"box1\"}],%s",
             more);
    begin(options);
    wait_up(strstr(more, "answer_topic") != NULL ? 2 : 1);
    connect_device("down/#");
    devices_run(&device, 1, 50, NULL, 0);
    say("hello", "");
    ck_assert(wait_metric("connects", 1));
    return session_of("box1");
}

START_TEST(attribute_that_is_set_is_published_and_answered)
{
    uint64_t s = begin_down("\"attribute_updates\":[{\"devices\":\"box\",\"attributes\":\"relay\","
                            "\"topic\":\"down/${deviceName}/${attributeKey}\","
                            "\"value\":\"{\\\"v\\\":${attributeValue}}\"}]");
    struct tpc_frame f = command("set", "{\"relay\":true,\"other\":1}");
    tk_ok(fake_send(&h, s, "default", "box1", &f, 5));
    hear();
    ck_assert_str_eq(heard_topic, "down/box1/relay");
    ck_assert_str_eq(heard_payload, "{\"v\":true}");
    ck_assert(fake_wait_sent(&h, 1));
    ck_assert_int_eq(h.sent_codes[0], 0);
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_uint_eq(h.frames[0].kind, TPC_MSG_REPLY);
    ck_assert_uint_eq(h.frames[0].session, s);
    ck_assert_str_eq(h.frames[0].correlation, "c1");
    ck_assert_str_eq(h.frames[0].payload,
                     "{\"id\":\"c1\",\"code\":0,\"message\":\"\",\"data\":{\"success\":true}}");
    f = command("set", "{\"other\":1}");
    tk_fails(TPC_EUNSUPPORTED, fake_send(&h, s, "default", "box1", &f, 6));
    ck_assert_ptr_nonnull(strstr(h.last_fail, "attribute_updates"));
    f = command("set", "not a map");
    tk_fails(TPC_EUNSUPPORTED, fake_send(&h, s, "default", "box1", &f, 7));
    tk_fails(TPC_EOFFLINE, fake_send(&h, 0, "default", "box1", &f, 7));
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(service_without_an_answer_is_published_and_succeeds)
{
    uint64_t s = begin_down("\"rpc\":[{\"methods\":\"setRelay\",\"topic\":\"down/${methodName}\","
                            "\"value\":\"${params}\"},"
                            "{\"methods\":\"bad\",\"topic\":\"down/${params}\"}]");
    struct tpc_frame f = command("setRelay", "{\"id\":\"c1\",\"method\":\"setRelay\",\"params\":{"
                                             "\"on\":true}}");
    tk_ok(fake_send(&h, s, "default", "box1", &f, 5));
    hear();
    ck_assert_str_eq(heard_topic, "down/setRelay");
    ck_assert_str_eq(heard_payload, "{\"on\":true}");
    ck_assert(fake_wait_frames(&h, 1));
    f = command("bad", "{\"method\":\"bad\",\"params\":\"#\"}");
    tk_fails(TPC_EUNSUPPORTED, fake_send(&h, s, "default", "box1", &f, 6));
    f = command("setRelay", "\x01\x02 by a script"); /* what the codec made goes out as it is */
    tk_ok(fake_send(&h, s, "default", "box1", &f, 8));
    hear();
    ck_assert_str_eq(heard_payload, "\x01\x02 by a script");
    f = command("unheard", "{\"method\":\"unheard\"}");
    tk_fails(TPC_EUNSUPPORTED, fake_send(&h, s, "default", "box1", &f, 7));
    broker_fini(&device);
    end();
}
END_TEST

#define TWO_WAY                                                                                    \
    "\"rpc\":[{\"methods\":\"get.*\",\"topic\":\"down/${deviceName}/${methodName}/${requestId}\"," \
    "\"value\":\"${params.key}\",\"answer_topic\":\"up/${deviceName}/${requestId}\","              \
    "\"timeout\":\"2s\"}]"

START_TEST(answer_of_the_device_ends_its_command)
{
    uint64_t s = begin_down(TWO_WAY);
    struct tpc_frame f =
        command("getRelay", "{\"method\":\"getRelay\",\"params\":{\"key\":\"k\"}}");
    tk_ok(fake_send(&h, s, "default", "box1", &f, 5));
    hear();
    ck_assert_str_eq(heard_topic, "down/box1/getRelay/1");
    ck_assert_str_eq(heard_payload, "\"k\"");
    ck_assert(fake_wait_sent(&h, 1));
    ck_assert_uint_eq(h.frame_count, 0);
    say("up/box1/2", "{\"other\":1}"); /* nobody asked */
    say("up/box1/1", "{\"value\":5}");
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_str_eq(h.frames[0].payload,
                     "{\"id\":\"c1\",\"code\":0,\"message\":\"\",\"data\":{\"value\":5}}");
    tk_ok(fake_send(&h, s, "default", "box1", &f, 6));
    hear();
    say("up/box1/2", "on");
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_ptr_nonnull(strstr(h.frames[1].payload, "\"data\":\"on\""));
    fake_run(&h, 5000, 100);
    ck_assert_uint_eq(h.frame_count, 2);
    tk_fails(TPC_EUNSUPPORTED, fake_send(&h, s, "default", "a/b", &f, 7));
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(answers_on_one_topic_end_commands_in_their_order)
{
    uint64_t s = begin_down("\"rpc\":[{\"topic\":\"down/${deviceName}\",\"value\":\"${params}\","
                            "\"answer_topic\":\"up/${deviceName}\",\"timeout\":\"2s\"}]");
    struct tpc_frame f = command("get", "{\"key\":\"k\"}");
    tk_ok(fake_send(&h, s, "default", "box1", &f, 5));
    f.correlation = TPC_STR("c2");
    tk_ok(fake_send(&h, s, "default", "box1", &f, 6));
    ck_assert(fake_wait_sent(&h, 2));
    say("up/box1", "1");
    say("up/box1", "2");
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_str_eq(h.frames[0].correlation, "c1");
    ck_assert_str_eq(h.frames[1].correlation, "c2");
    ck_assert_ptr_nonnull(strstr(h.frames[1].payload, "\"data\":2"));
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(command_without_an_answer_fails_after_its_time)
{
    uint64_t s = begin_down(TWO_WAY);
    struct tpc_frame f = command("getRelay", "{\"method\":\"getRelay\"}");
    tk_ok(fake_send(&h, s, "default", "box1", &f, 5));
    ck_assert(fake_wait_sent(&h, 1));
    fake_run(&h, 1500, 100);
    ck_assert_uint_eq(h.frame_count, 0);
    fake_answer(&h, TPC_EAGAIN); /* the core has no room for the reply: it comes later */
    fake_run(&h, 1000, 100);
    ck_assert_uint_eq(h.frame_count, 0);
    fake_answer(&h, 0);
    fake_run(&h, 1000, 100);
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_str_eq(h.frames[0].payload,
                     "{\"id\":\"c1\",\"code\":1,\"message\":\"no answer within 2000 ms\"}");
    ck_assert_int_eq(fake_metric(&h, "rpc_timeouts"), 1);
    tk_ok(fake_send(&h, s, "default", "box1", &f, 6)); /* open when all ends */
    ck_assert(fake_wait_sent(&h, 2));
    broker_fini(&device);
    end();
}
END_TEST

/* ---- attributes that a device asks for ---- */

static char asked[FAKE_TEXT];
static int ask_code;
static tb_attributes_fn *ask_fn;
static void *ask_user;

static int ask(void *self, struct tpc_str name, struct tpc_str client, struct tpc_str shared,
               tb_attributes_fn *fn, void *user)
{
    (void) self;
    pthread_mutex_lock(&h.lock);
    snprintf(asked, sizeof(asked), "%.*s c=%.*s s=%.*s", (int) name.len, name.ptr, (int) client.len,
             client.len > 0 ? client.ptr : "", (int) shared.len, shared.len > 0 ? shared.ptr : "");
    int rc = ask_code;
    ask_fn = rc == 0 ? fn : ask_fn;
    ask_user = rc == 0 ? user : ask_user;
    pthread_mutex_unlock(&h.lock);
    return rc;
}

static void answer(int code, const char *json)
{
    struct tpc_error err = { .size = sizeof(err), .code = code };
    struct tpc_arena *arena = NULL;
    struct tpc_value map, none = { .type = TPC_MAP };
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, tpc_str_from(json), 0, NULL, &map));
    ask_fn(ask_user, code != 0 ? &err : NULL, &none, &map);
    tpc_arena_destroy(arena);
}

static bool wait_asked(const char *text)
{
    bool same = false;
    for (int i = 0; i < WAIT_MS / 10 && !same; i++) {
        pthread_mutex_lock(&h.lock);
        same = strcmp(asked, text) == 0;
        pthread_mutex_unlock(&h.lock);
        poll(NULL, 0, same ? 0 : 10);
    }
    return same;
}

static const struct tb_attributes_ops ask_ops = { .iface = TPC_IFACE(struct tb_attributes_ops, 1),
                                                  .ask = ask };

#define ASKS                                                                                       \
    "\"attribute_requests\":[{\"topic\":\"+/ask\",\"device\":\"^[^/"                               \
    "]+\",\"device_source\":\"topic\","                                                            \
    "\"name\":\"${keys}\",\"answer_topic\":\"down/${deviceName}/${attributeKey}\","                \
    "\"answer\":\"{\\\"v\\\":${attributeValue}}\"}]"

START_TEST(attributes_that_a_device_asks_for_are_published_to_it)
{
    begin_with(ASKS, &ask_ops);
    wait_up(1);
    connect_device("down/#");
    devices_run(&device, 1, 50, NULL, 0);
    say("d1/ask", "{\"keys\":\"relay\"}");
    ck_assert(wait_asked("d1 c= s=relay"));
    answer(0, "{\"relay\":true}");
    hear();
    ck_assert_str_eq(heard_topic, "down/d1/relay");
    ck_assert_str_eq(heard_payload, "{\"v\":true}");
    say("d2/ask", "{\"keys\":[\"a\",\"b\"]}");
    ck_assert(wait_asked("d2 c= s=a,b"));
    answer(TPC_ETIMEOUT, "{}");
    ck_assert(wait_metric("attributes_unanswered", 1));
    ask_code = TPC_EOFFLINE;
    say("d3/ask", "{\"keys\":\"c\"}");
    ck_assert(wait_metric("attributes_unanswered", 2));
    ask_code = 0;
    h.settle = FAKE_SETTLE_INSIDE;
    say("d4/ask", "{}"); /* asks for nothing: a dead letter */
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_str_eq(h.frames[0].name, "it names no attribute");
    say("d5/ask", "{\"keys\":\"e\"}");
    ck_assert(wait_asked("d5 c= s=e"));
    broker_fini(&device);
    fake_stop(&h);
    answer(0, "{\"e\":1}"); /* comes when all is over */
    begun = false;
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
}
END_TEST

START_TEST(asking_without_somebody_who_answers_is_told_once)
{
    begin(ASKS);
    wait_up(1);
    connect_device("");
    say("d1/ask", "{\"keys\":\"relay\"}");
    say("d1/ask", "{\"keys\":\"relay\"}");
    ck_assert(wait_metric("attributes_unanswered", 2));
    ck_assert_uint_eq(tk_env_logged(&env, "nobody answers for attributes"), 1);
    broker_fini(&device);
    end();
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
    say("all", "{\"id\":\"a\",\"v\":1}");
    broker_fini(&device);
}

Suite *connector_suite(void)
{
    static struct adapter_subject subject = { tpc_module_mqtt_connector, subject_options, provoke };
    Suite *s = suite_create("mqtt_connector");
    suite_add_tcase(s, pick_case());
    suite_add_tcase(s, path_case());
    suite_add_tcase(s, values_case());
    suite_add_tcase(s, convert_case());
    if (!real_broker_there()) {
        tk_skip("mqtt_connector against a broker", "mosquitto is not installed");
        return s;
    }
    TCase *c = tcase_create("connector");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, message_becomes_frames_of_a_device_that_is_made, 0, 2);
    tcase_add_test(c, message_is_acknowledged_when_all_of_it_is_in_the_log);
    tcase_add_test(c, only_what_the_log_did_not_take_is_given_again);
    tcase_add_test(c, what_cannot_be_read_becomes_a_dead_letter_with_its_reason);
    tcase_add_test(c, device_that_may_not_be_made_goes_over_the_link_with_its_name);
    tcase_add_test(c, full_core_is_waited_for);
    tcase_add_test(c, message_that_a_full_core_holds_up_stays_at_the_broker);
    tcase_add_test(c, device_comes_and_goes_by_messages);
    tcase_add_test(c, attribute_that_is_set_is_published_and_answered);
    tcase_add_test(c, service_without_an_answer_is_published_and_succeeds);
    tcase_add_test(c, answer_of_the_device_ends_its_command);
    tcase_add_test(c, answers_on_one_topic_end_commands_in_their_order);
    tcase_add_test(c, command_without_an_answer_fails_after_its_time);
    tcase_add_test(c, attributes_that_a_device_asks_for_are_published_to_it);
    tcase_add_test(c, asking_without_somebody_who_answers_is_told_once);
    suite_add_tcase(s, c);
    suite_add_tcase(s, core_case());
    TCase *conformance = adapter_suite(&subject);
    tcase_add_checked_fixture(conformance, setup, teardown);
    suite_add_tcase(s, conformance);
    return s;
}
