/* The service against a mosquitto that the test starts; somebody in the platform's place listens and asks. */
#include "tp_suites.h"

#ifdef BROKER_KIT

#include "fake_sink.h"
#include "inside.h"
#include "real_broker.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/command.h>
#include <tpcore/json.h>
#include <tpcore/modules.h>

#include "codec/codec.h"

enum { MESSAGES = 60, HEARD_MAX = 2048, COMMANDS_MAX = 32, WAIT_MS = 15000 };

static struct tk_env env;
static struct fake_sink h;
static void *target;
static struct real_broker broker;
static struct broker ear;

/* What the platform hears: the topic, the device of the envelope and what is inside. */
static struct {
    char topic[96], device[32], values[600];
} heard[HEARD_MAX];
static uint64_t heard_count;

/* What devices were told. */
static struct command {
    char device[32], service[32], params[128];
    tpc_command_fn *done;
    void *user;
} commands[COMMANDS_MAX];
static uint64_t command_count; /* under h.lock */
static int command_code;

static void put(char *to, size_t cap, struct tpc_str text)
{
    snprintf(to, cap, "%.*s", (int) text.len, text.len > 0 ? text.ptr : "");
}

static void on_message(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    struct tpc_arena *arena = NULL;
    struct tpc_str device = { NULL, 0 };
    struct tpc_bytes inside = payload;
    (void) user;
    ck_assert_uint_lt(heard_count, HEARD_MAX);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    if (payload.len > 1) {
        tk_ok(tpi_codec_unwrap(payload, arena, NULL, &device, &inside));
    }
    put(heard[heard_count].topic, 96, topic);
    put(heard[heard_count].device, 32, device);
    put(heard[heard_count].values, 600, (struct tpc_str){ (const char *) inside.ptr, inside.len });
    tpc_arena_destroy(arena);
    heard_count++;
}

static int on_command(void *ctx, const struct tpc_host_command *c, tpc_command_fn *done, void *user,
                      struct tpc_id *ret)
{
    (void) ctx;
    (void) ret;
    pthread_mutex_lock(&h.lock);
    int rc = command_code;
    if (rc == 0) {
        ck_assert_uint_lt(command_count, COMMANDS_MAX);
        struct command *k = &commands[command_count++];
        put(k->device, sizeof(k->device), c->device);
        put(k->service, sizeof(k->service), c->service);
        put(k->params, sizeof(k->params), c->params_json);
        k->done = done;
        k->user = user;
    }
    pthread_mutex_unlock(&h.lock);
    return rc;
}

static void end_command(uint32_t i, uint32_t state, int code, const char *reason)
{
    struct tpc_command c = { .size = sizeof(c), .state = state, .code = code };
    c.reason = tpc_str_from(reason);
    c.answered = code > 0;
    ck_assert(commands[i].done != NULL);
    commands[i].done(commands[i].user, &c);
}

/* ---- a directory: a concentrator with a meter behind it, and one that is gone ---- */

static const struct {
    const char *id, *number, *parent, *address;
} devices[] = {
    { "id-1", "M-17", "", "" },
    { "id-2", "M-17/1", "id-1", "1" },
    { "id-3", "G", "id-1", "g" },
    { "id-4", "M-18", "id-3", "1" },
};

static enum tp_known know(void *self, struct tpc_str id)
{
    (void) self;
    for (size_t i = 0; i < 4; i++) {
        if (tpc_str_equal(id, tpc_str_from(devices[i].id)) != 0) {
            return TP_KNOWN;
        }
    }
    return tpc_str_equal(id, TPC_STR("gone")) != 0 ? TP_GONE : TP_UNKNOWN;
}

static bool found(size_t i, struct tp_found *ret)
{
    snprintf(ret->id, sizeof(ret->id), "%s", devices[i].id);
    snprintf(ret->parent, sizeof(ret->parent), "%s", devices[i].parent);
    snprintf(ret->address, sizeof(ret->address), "%s", devices[i].address);
    return true;
}

static bool find(void *self, struct tpc_str x, struct tp_found *ret)
{
    (void) self;
    for (size_t i = 0; i < 4; i++) {
        if (tpc_str_equal(x, tpc_str_from(devices[i].id)) != 0 ||
            tpc_str_equal(x, tpc_str_from(devices[i].number)) != 0) {
            return found(i, ret);
        }
    }
    return false;
}

static bool child(void *self, struct tpc_str parent, struct tpc_str address, struct tp_found *ret)
{
    (void) self;
    for (size_t i = 0; i < 4; i++) {
        if (tpc_str_equal(parent, tpc_str_from(devices[i].parent)) != 0 &&
            tpc_str_equal(address, tpc_str_from(devices[i].address)) != 0) {
            return found(i, ret);
        }
    }
    return false;
}

static void link_is(void *self, bool up)
{
    (void) self;
    (void) up;
}

static const struct tp_directory_ops directory = { know, find, child, link_is };

/* ---- the bench ---- */

static void begin_with(const char *retry, const char *more)
{
    char json[512];
    if (broker.port == 0) {
        real_broker_init(&broker);
        real_broker_start(&broker);
    }
    heard_count = command_count = 0;
    command_code = 0;
    device_connect(&ear, &broker, "ear", "devices/#", on_message, NULL);
    snprintf(json, sizeof(json),
             "{\"mqtt\":\"mqtt://127.0.0.1:%u\",\"identifier\":\"meter\",\"retry_min\":\"%s\","
             "\"retry_max\":\"1s\"%s}",
             (unsigned) broker.port, retry, more);
    tk_env_init(&env);
    int rc = fake_sink_init(&h, &env, tpc_module_thingspanel(), json);
    ck_assert_msg(rc == 0, "%s", h.last_fail);
    h.base.command = on_command;
    ((struct tp *) h.self)->directory = &directory;
    tk_ok(fake_sink_start(&h));
    tk_ok(fake_sink_open(&h, "main/forward/platform", "{}", &target));
}

static void begin(const char *more)
{
    begin_with("20ms", more);
}

static void end(void)
{
    if (!h.stopped) {
        fake_sink_stop(&h);
    }
    h.ops->target_close(h.self, target);
    fake_sink_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
    broker_fini(&ear);
    real_broker_kill(&broker);
    broker.port = 0;
}

static void nap(void)
{
    struct timespec pause = { 0, 10000000 };
    nanosleep(&pause, NULL);
}

static void hear(uint64_t least)
{
    devices_run(&ear, 1, WAIT_MS, &heard_count, least);
    ck_assert_uint_ge(heard_count, least);
}

static struct tpc_batch batch_of(uint32_t first, uint32_t count, const char *device)
{
    static struct tpc_msg messages[MESSAGES];
    static struct tpc_point points[MESSAGES];
    struct tpc_batch b = { .size = sizeof(b), .count = count, .msg_size = sizeof(messages[0]) };
    for (uint32_t i = 0; i < count; i++) {
        struct tpc_msg *m = &messages[i];
        *m = (struct tpc_msg){ .size = sizeof(*m), .kind = TPC_MSG_TELEMETRY };
        points[i] = (struct tpc_point){ .key = TPC_STR("seq"), .value = { .type = TPC_INT } };
        points[i].value.as.i = first + i;
        m->id.b[14] = (uint8_t) ((first + i) >> 8);
        m->id.b[15] = (uint8_t) (first + i);
        m->device = tpc_str_from(device);
        m->product = TPC_STR("meter");
        m->tenant = TPC_STR("main");
        m->point_count = 1;
        m->point_size = sizeof(points[i]);
        m->points = &points[i];
    }
    b.msgs = messages;
    return b;
}

static struct tpc_batch presence_of(uint32_t n, const char *device, bool online)
{
    static struct tpc_member member = { .key = { "online", 6 } };
    struct tpc_batch b = batch_of(n, 1, device);
    struct tpc_msg *m = (struct tpc_msg *) (uintptr_t) b.msgs;
    member.value = (struct tpc_value){ .type = TPC_BOOL, .as.b = online };
    m->kind = TPC_MSG_PRESENCE;
    m->point_count = 0;
    m->params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &member };
    return b;
}

/* Sends until it is delivered, as the core would. */
static void deliver(const struct tpc_batch *b)
{
    int rc = TPC_EOFFLINE;
    for (int i = 0; i < WAIT_MS / 10 && rc != 0; i++) {
        rc = fake_sink_whole(&h, target, b);
        if (rc != 0) {
            ck_assert_msg(tpc_error_class(rc) == TPC_CLASS_RETRY, "%d", rc);
            nap();
        }
    }
    ck_assert_int_eq(rc, 0);
}

static void ask(const char *topic, const char *payload)
{
    char full[160];
    snprintf(full, sizeof(full), "plugin/meter/devices/%s", topic);
    ck_assert(broker_publish(&ear, full, payload, strlen(payload), 0));
}

static void wait_metric(const char *name, uint64_t least)
{
    for (int i = 0; i < WAIT_MS / 10 && fake_sink_metric(&h, name) < least; i++) {
        devices_run(&ear, 1, 10, NULL, 0);
    }
    ck_assert_uint_ge(fake_sink_metric(&h, name), least);
}

/* The subscription stands once something comes through. */
static void wait_connected(void)
{
    struct tpc_batch b = batch_of(1, 1, "id-1");
    deliver(&b);
    for (int i = 0; i < WAIT_MS / 20 && fake_sink_metric(&h, "down_refused") == 0; i++) {
        ask("no/such", "{}");
        devices_run(&ear, 1, 20, NULL, 0);
    }
    hear(1);
    heard_count = 0;
}

static void wait_commands(uint64_t least)
{
    uint64_t n = 0;
    for (int i = 0; i < WAIT_MS / 10 && n < least; i++) {
        devices_run(&ear, 1, 10, NULL, 0);
        pthread_mutex_lock(&h.lock);
        n = command_count;
        pthread_mutex_unlock(&h.lock);
    }
    ck_assert_uint_eq(n, least);
}

static bool is_up(void)
{
    struct tp *tp = h.self;
    pthread_mutex_lock(&tp->lock);
    bool up = tp->up;
    pthread_mutex_unlock(&tp->lock);
    return up;
}

static bool said(uint64_t i, const char *topic, const char *device, const char *part)
{
    return strcmp(heard[i].topic, topic) == 0 && strcmp(heard[i].device, device) == 0 &&
           strstr(heard[i].values, part) != NULL;
}

/* ---- up ---- */

START_TEST(batch_arrives_wrapped_in_order_and_others_are_passed_over)
{
    begin("");
    struct tpc_batch b = batch_of(1, MESSAGES, "id-2");
    struct tpc_msg *m = (struct tpc_msg *) (uintptr_t) b.msgs;
    m[3].device = TPC_STR("gone");
    m[4].device = TPC_STR("unknown"); /* of the service by its product */
    m[5].device = TPC_STR("stranger");
    m[5].product = TPC_STR("lamp");
    m[6].tenant = TPC_STR("another");
    m[7].kind = TPC_MSG_REPLY;
    deliver(&b);
    hear(MESSAGES - 4);
    ck_assert_uint_eq(fake_sink_metric(&h, "passed_over"), 3);
    ck_assert_uint_eq(fake_sink_metric(&h, "delivered"), MESSAGES - 4);
    ck_assert(said(0, "devices/telemetry", "id-2", "{\"seq\":1}"));
    ck_assert(said(3, "devices/telemetry", "unknown", "{\"seq\":5}"));
    ck_assert(said(4, "devices/telemetry", "id-2", "{\"seq\":9}"));
    ck_assert(said(MESSAGES - 5, "devices/telemetry", "id-2", "{\"seq\":60}"));
    uint32_t ends = h.sent_count;
    b.count = 1;
    b.msgs = m + 7; /* nothing to publish: it ends all the same */
    tk_ok(fake_sink_whole(&h, target, &b));
    ck_assert_uint_eq(h.sent_count, ends + 1);
    end();
}
END_TEST

/* Numbers heard, each once or more: whether 1..n came in this order, doubles aside. */
static bool complete(unsigned n)
{
    unsigned next = 1;
    for (uint64_t i = 0; i < heard_count; i++) {
        unsigned v = 0;
        if (sscanf(heard[i].values, "{\"seq\":%u}", &v) == 1) {
            if (v > next) {
                return false;
            }
            next += v == next;
        }
    }
    return next == n + 1;
}

START_TEST(broker_that_stops_and_starts_loses_nothing)
{
    enum { ROUNDS = 4 };
    begin("");
    for (unsigned r = 0; r < ROUNDS; r++) {
        uint64_t before = heard_count;
        struct tpc_batch b = batch_of(r * MESSAGES + 1, MESSAGES, "id-1");
        if (r % 2 == 1) {
            /* It takes nothing in, then it dies with the batch on its way. */
            real_broker_freeze(&broker, true);
            uint32_t ends = h.sent_count;
            int rc = h.ops->send(h.self, target, &b, 1000 + r);
            real_broker_kill(&broker);
            ck_assert(rc != 0 || fake_sink_wait(&h, ends + 1));
            broker_fini(&ear);
            real_broker_start(&broker);
            device_connect(&ear, &broker, "ear", "devices/#", on_message, NULL);
        }
        deliver(&b);
        hear(before + MESSAGES);
    }
    ck_assert(complete(ROUNDS * MESSAGES));
    end();
}
END_TEST

START_TEST(what_the_broker_takes_for_too_large_is_refused_and_the_rest_goes_on)
{
    static char text[1200];
    real_broker_init(&broker);
    snprintf(broker.more, sizeof(broker.more), "max_packet_size 1000\n");
    real_broker_start(&broker);
    begin("");
    struct tpc_batch b = batch_of(1, 1, "id-1");
    deliver(&b);
    b = batch_of(2, 1, "id-1");
    struct tpc_point *p = (struct tpc_point *) (uintptr_t) tpc_msg_point(tpc_batch_msg(&b, 0), 0);
    memset(text, 'x', sizeof(text));
    p->value = (struct tpc_value){ .type = TPC_TEXT, .len = sizeof(text), .as.text = text };
    ck_assert_int_eq(fake_sink_whole(&h, target, &b), TPC_ETOOBIG);
    b = batch_of(3, 1, "id-1");
    ck_assert_int_eq(fake_sink_whole(&h, target, &b), 0);
    hear(2);
    ck_assert_uint_eq(fake_sink_metric(&h, "connection_lost"), 0);
    end();
}
END_TEST

/* A session with the same id throws the service's connection out; then it comes back. */
static void throw_out(void)
{
    struct broker thief;
    device_connect(&thief, &broker, "svc", "nothing", on_message, NULL);
    broker_fini(&thief);
}

START_TEST(status_is_told_when_it_changes_and_of_all_after_a_reconnect)
{
    begin(",\"client_id\":\"svc\"");
    struct tpc_batch b = presence_of(1, "id-1", true);
    deliver(&b);
    b = presence_of(2, "id-2", true);
    deliver(&b);
    b = presence_of(3, "id-1", false);
    deliver(&b);
    hear(3);
    ck_assert(said(0, "devices/status/id-1", "", "1") && said(1, "devices/status/id-2", "", "1"));
    ck_assert(said(2, "devices/status/id-1", "", "0"));
    throw_out();
    hear(5);
    ck_assert(said(3, "devices/status/id-1", "", "0") && said(4, "devices/status/id-2", "", "1"));
    devices_run(&ear, 1, 100, NULL, 0);
    ck_assert_uint_eq(heard_count, 5);
    end();
}
END_TEST

START_TEST(stop_ends_what_a_silent_broker_has_not_acknowledged)
{
    begin("");
    struct tpc_batch b = batch_of(1, MESSAGES, "id-1");
    deliver(&b);
    real_broker_freeze(&broker, true);
    uint32_t ends = h.sent_count;
    b = batch_of(MESSAGES + 1, MESSAGES, "id-1");
    tk_ok(h.ops->send(h.self, target, &b, 77));
    fake_sink_stop(&h);
    ck_assert_uint_eq(h.sent_count, ends + 1);
    ck_assert_int_eq(h.sent[ends].err.code, TPC_ECANCELED);
    real_broker_freeze(&broker, false);
    end();
}
END_TEST

/* ---- down ---- */

START_TEST(command_finds_its_device_by_id_number_and_nesting)
{
    static const struct {
        const char *topic, *payload, *device, *service, *params;
    } cases[] = {
        { "command/id-1/1", "{\"method\":\"relay\",\"params\":{\"on\":true}}", "id-1", "relay",
          "{\"on\":true}" },
        { "command/M-17/2", "{\"method\":\"relay\"}", "id-1", "relay", "" },
        { "command/M-17/1/3", "{\"method\":\"relay\"}", "id-2", "relay", "" },
        { "command/id-2/4", "{\"sub_device_data\":{\"1\":{\"method\":\"relay\"}}}", "id-2", "relay",
          "" },
        { "command/id-1/5", "{\"sub_device_data\":{\"1\":{\"method\":\"relay\"}}}", "id-2", "relay",
          "" },
        { "command/id-1/6", "{\"gateway_data\":{\"method\":\"relay\"}}", "id-1", "relay", "" },
        { "command/id-4/7",
          "{\"sub_gateway_data\":{\"g\":{\"sub_device_data\":{\"1\":{\"method\":\"a\"}}}}}", "id-4",
          "a", "" },
        { "command/id-1/8",
          "{\"sub_gateway_data\":{\"g\":{\"sub_device_data\":{\"1\":{\"method\":\"a\"}}}}}", "id-4",
          "a", "" },
        { "attributes/set/M-18/9", "{\"interval\":5}", "id-4", "set", "{\"interval\":5}" },
        { "attributes/get/M-18", "{\"keys\":[\"a\"]}", "id-4", "get", "{\"keys\":[\"a\"]}" },
        { "attributes/get/id-3", "", "id-3", "get", "{\"keys\":[]}" },
        { "telemetry/control/id-1", "{\"on\":1}", "id-1", "control", "{\"on\":1}" },
    };
    enum { CASES = sizeof(cases) / sizeof(cases[0]) };
    begin("");
    wait_connected();
    for (uint64_t i = 0; i < CASES; i++) {
        ask(cases[i].topic, cases[i].payload);
        wait_commands(i + 1);
        const struct command *c = &commands[i];
        ck_assert_msg(strcmp(c->device, cases[i].device) == 0, "%s: %s", cases[i].topic, c->device);
        ck_assert_str_eq(c->service, cases[i].service);
        ck_assert_str_eq(c->params, cases[i].params);
        ck_assert_int_eq(c->done != NULL, i < 9);
        if (c->done != NULL) {
            end_command((uint32_t) i, TPC_COMMAND_SUCCEEDED, 0, "");
        }
    }
    hear(9);
    ck_assert(said(0, "devices/command/response/1", "id-1",
                   "{\"result\":0,\"message\":\"success\",\"ts\":"));
    ck_assert(said(0, "devices/command/response/1", "id-1", "\"method\":\"relay\"}"));
    ck_assert(said(2, "devices/command/response/3", "id-2", "\"result\":0"));
    ck_assert(said(8, "devices/attributes/set/response/9", "id-4", "\"result\":0"));
    ck_assert_ptr_null(strstr(heard[8].values, "method"));
    end();
}
END_TEST

START_TEST(command_that_fails_is_answered_with_why)
{
    static const char relay[] = "{\"method\":\"relay\"}";
    begin("");
    wait_connected();
    ask("command/nobody/1", relay);
    hear(1);
    ck_assert(said(0, "devices/command/response/1", "nobody",
                   "{\"result\":1,\"errcode\":\"device\",\"message\":\"the service has no"));
    ask("command/id-1/2", "{\"sub_device_data\":{\"77\":{\"method\":\"relay\"}}}");
    hear(2);
    ck_assert(said(1, "devices/command/response/2", "id-1", "\"errcode\":\"device\""));
    ask("command/id-1/3", "{");
    hear(3);
    ck_assert(said(2, "devices/command/response/3", "id-1", "\"errcode\":\"payload\""));
    command_code = TPC_EMODEL;
    ask("command/id-1/4", relay);
    hear(4);
    ck_assert(said(3, "devices/command/response/4", "id-1",
                   "\"errcode\":\"params\",\"message\":\"the command is refused\""));
    pthread_mutex_lock(&h.lock);
    command_code = 0;
    pthread_mutex_unlock(&h.lock);
    for (unsigned i = 0; i < 4; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "command/id-1/x%u", i);
        ask(topic, relay);
    }
    wait_commands(4);
    end_command(0, TPC_COMMAND_TIMED_OUT, TPC_ETIMEOUT, "");
    end_command(1, TPC_COMMAND_EXPIRED, TPC_ETIMEOUT, "");
    end_command(2, TPC_COMMAND_FAILED, 7, "no \"relay\"");
    end_command(3, TPC_COMMAND_FAILED, TPC_EUNSUPPORTED, "");
    hear(8);
    ck_assert(said(4, "devices/command/response/x0", "id-1", "\"errcode\":\"timeout\""));
    ck_assert(said(5, "devices/command/response/x1", "id-1", "\"errcode\":\"offline\""));
    ck_assert(said(6, "devices/command/response/x2", "id-1",
                   "\"errcode\":\"7\",\"message\":\"no \\\"relay\\\"\""));
    ck_assert(said(7, "devices/command/response/x3", "id-1", "\"errcode\":\"failed\""));
    /* What is too long ends behind a whole character. */
    for (unsigned i = 0; i < 2; i++) {
        char topic[32], reason[420];
        memset(reason, 'x', sizeof(reason));
        memcpy(reason + 397 + i, "\u20ac", i == 0 ? 4 : 3);
        reason[sizeof(reason) - 1] = '\0';
        snprintf(topic, sizeof(topic), "command/id-1/y%u", i);
        ask(topic, relay);
        wait_commands(5 + i);
        end_command(4 + i, TPC_COMMAND_FAILED, 7, reason);
        hear(9 + i);
        ck_assert(said(8 + i,
                       i == 0 ? "devices/command/response/y0" : "devices/command/response/y1",
                       "id-1", i == 0 ? "xx\u20ac\",\"ts" : "xx\",\"ts"));
    }
    end();
}
END_TEST

START_TEST(unknown_device_is_somebody_elses_where_the_prefix_is_shared)
{
    begin(",\"refuse_unknown\":false");
    wait_connected();
    ask("command/nobody/1", "{\"method\":\"relay\"}");
    ask("command/nobody/2", "{");
    wait_metric("down_unknown", 1);
    ask("command/id-1/3", "{");
    hear(1);
    ck_assert(said(0, "devices/command/response/3", "id-1", "\"result\":1"));
    end();
}
END_TEST

START_TEST(command_that_comes_again_is_carried_out_once_and_answered_again)
{
    begin(",\"down_again\":\"1m\"");
    wait_connected();
    ask("command/id-1/1", "{\"method\":\"relay\"}");
    ask("command/id-1/1", "{\"method\":\"relay\"}");
    wait_metric("down_repeated", 1);
    wait_commands(1);
    end_command(0, TPC_COMMAND_SUCCEEDED, 0, "");
    hear(1);
    ask("command/id-1/1", "{\"method\":\"relay\"}");
    hear(2);
    ck_assert_str_eq(heard[1].values, heard[0].values);
    ck_assert_str_eq(heard[1].topic, heard[0].topic);
    /* Another command with the same number, as of platforms that count in seconds. */
    ask("command/id-1/1", "{\"method\":\"other\"}");
    wait_commands(2);
    tk_clock_advance(&env.clock, 61000);
    ask("command/id-1/1", "{\"method\":\"relay\"}");
    wait_commands(3);
    end_command(1, TPC_COMMAND_SUCCEEDED, 0, "");
    end();
}
END_TEST

START_TEST(answers_wait_for_the_connection_and_the_oldest_go_when_there_are_too_many)
{
    begin_with("1s", ",\"answers_max\":2");
    wait_connected();
    for (unsigned i = 0; i < 3; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "command/id-1/%u", i);
        ask(topic, "{\"method\":\"relay\"}");
    }
    wait_commands(3);
    broker_fini(&ear);
    real_broker_kill(&broker);
    while (is_up()) {
        nap();
    }
    for (unsigned i = 0; i < 3; i++) {
        end_command(i, TPC_COMMAND_SUCCEEDED, 0, "");
    }
    ck_assert_uint_eq(fake_sink_metric(&h, "answers_lost"), 1);
    real_broker_start(&broker);
    device_connect(&ear, &broker, "ear", "devices/#", on_message, NULL);
    hear(2);
    ck_assert(said(0, "devices/command/response/1", "id-1", "\"result\":0"));
    ck_assert(said(1, "devices/command/response/2", "id-1", "\"result\":0"));
    wait_metric("answers", 2);
    end();
}
END_TEST

START_TEST(service_without_a_name_does_not_start)
{
    tk_env_init(&env);
    tk_ok(fake_sink_init(&h, &env, tpc_module_thingspanel(), "{}"));
    tk_fails(TPC_EINVAL, fake_sink_start(&h));
    fake_sink_fini(&h);
    tk_fails(TPC_EINVAL, fake_sink_init(&h, &env, tpc_module_thingspanel(),
                                        "{\"sub_topic_prefix\":\"plugin/+/\"}"));
    fake_sink_fini(&h);
    tk_fails(TPC_EINVAL, fake_sink_init(&h, &env, tpc_module_thingspanel(),
                                        "{\"mqtt\":\"http://127.0.0.1:1883\"}"));
    ck_assert_ptr_nonnull(strstr(h.last_fail, "mqtt: is not mqtt://"));
    fake_sink_fini(&h);
    tk_env_fini(&env);
}
END_TEST

START_TEST(prefix_without_a_slash_at_its_end_is_heard)
{
    begin(",\"sub_topic_prefix\":\"service-meter\"");
    struct tpc_batch b = batch_of(1, 1, "id-1");
    deliver(&b);
    hear(1);
    for (int i = 0; i < 200 && fake_sink_metric(&h, "down_repeated") == 0; i++) {
        static const char topic[] = "service-meterdevices/command/id-1/7";
        ck_assert(broker_publish(&ear, topic, "{\"method\":\"a\"}", 14, 0));
        devices_run(&ear, 1, 20, NULL, 0);
    }
    wait_commands(1);
    end();
}
END_TEST

Suite *broker_suite(void)
{
    Suite *s = suite_create("thingspanel_broker");
    TCase *c = tcase_create("broker");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, service_without_a_name_does_not_start);
    if (real_broker_there()) {
        tcase_add_test(c, batch_arrives_wrapped_in_order_and_others_are_passed_over);
        tcase_add_test(c, broker_that_stops_and_starts_loses_nothing);
        tcase_add_test(c, what_the_broker_takes_for_too_large_is_refused_and_the_rest_goes_on);
        tcase_add_test(c, status_is_told_when_it_changes_and_of_all_after_a_reconnect);
        tcase_add_test(c, stop_ends_what_a_silent_broker_has_not_acknowledged);
        tcase_add_test(c, prefix_without_a_slash_at_its_end_is_heard);
        tcase_add_test(c, command_finds_its_device_by_id_number_and_nesting);
        tcase_add_test(c, command_that_fails_is_answered_with_why);
        tcase_add_test(c, unknown_device_is_somebody_elses_where_the_prefix_is_shared);
        tcase_add_test(c, command_that_comes_again_is_carried_out_once_and_answered_again);
        tcase_add_test(c,
                       answers_wait_for_the_connection_and_the_oldest_go_when_there_are_too_many);
    }
    suite_add_tcase(s, c);
    return s;
}

#else

Suite *broker_suite(void)
{
    return suite_create("thingspanel_broker");
}

#endif
