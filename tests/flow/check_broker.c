/*
 * The whole path over a real broker: it is absent at start, it is killed in mid-traffic, it keeps
 * messages for a platform that is away, and commands wait for it.
 */
#include "broker_suites.h"

#include "fx.h"
#include "real_broker.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 15000, NUMBERS = 40 };

static struct real_broker broker;
static struct broker device;
static struct fx f;
static uint64_t acked, heard;
static char heard_topic[200], heard_payload[400];

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

static void setup(void)
{
    real_broker_init(&broker);
    acked = heard = 0;
}

static void teardown(void)
{
    real_broker_kill(&broker);
}

static void open_platform(bool first)
{
    char options[800];
    snprintf(options, sizeof(options),
             "{\"url\":\"mqtt://127.0.0.1:%u\",\"client_id\":\"platform\",\"clean_start\":false,"
             "\"retry_min\":20,\"retry_max\":50,\"dialects\":[\"custom\"],\"custom\":["
             "{\"up\":\"d/{device}/up\",\"down\":\"d/{device}/down/{id}\"},"
             "{\"up\":\"d/{device}/reply/{id}\",\"down\":\"d/{device}/down/{id}\","
             "\"kind\":\"reply\"}]}",
             broker.port);
    fx_open(&f);
    fx_ok(tpc_core_open(f.core, "broker", "mqtt", tpc_str_from(options)), "mqtt");
    if (first) {
        fx_entities(&f);
    }
    fx_start(&f);
}

static void begin(void)
{
    fx_init(&f, 1, FX_FILE_LOG | FX_SQLITE);
    open_platform(true);
}

static void wait_logged(const char *text, size_t times)
{
    for (int i = 0; i < WAIT_MS / 10 && tk_env_logged(&f.e, text) < times; i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_uint_ge(tk_env_logged(&f.e, text), times);
}

/* The platform is connected `times` times by now, and its subscriptions have reached the broker. */
static void wait_connected(size_t times)
{
    wait_logged("connected to mqtt", times);
    poll(NULL, 0, 150);
}

static void say_seq(int seq)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "{\"seq\":%d}", seq);
    ck_assert(broker_publish(&device, "d/t1/up", text, (size_t) n, (uint64_t) seq));
}

static void run_until_acked(uint64_t least)
{
    devices_run(&device, 1, WAIT_MS, &acked, least);
    ck_assert_uint_ge(acked, least);
}

/* seq 1..last of t1 are in the history, each once, in order. */
static void wait_history(int last)
{
    struct fx_rows rows = { 0 };
    for (int i = 0; i < WAIT_MS / 50 && rows.count < (size_t) last; i++) {
        poll(NULL, 0, 50);
        rows = fx_history(&f, "t1", "seq");
    }
    ck_assert_uint_eq(rows.count, (size_t) last);
    ck_assert(rows.ordered);
    ck_assert_double_eq(rows.sum, last * (last + 1) / 2.0);
}

static void connect_device(const char *filter)
{
    device_connect(&device, &broker, "t1", filter, on_heard, NULL);
    device.on_acked = on_acked;
}

START_TEST(platform_starts_without_a_broker_and_works_when_it_comes)
{
    begin();
    fx_ok(fx_feed(&f, "t2", "{\"seq\":1}"), "feed");
    fx_settle(&f);
    wait_logged("cannot connect", 1);
    real_broker_start(&broker);
    wait_connected(1);
    connect_device("");
    say_seq(1);
    run_until_acked(1);
    wait_history(1);
    broker_fini(&device);
    fx_fini(&f);
}
END_TEST

START_TEST(broker_killed_in_mid_traffic_comes_back_and_nothing_is_missing)
{
    real_broker_start(&broker);
    begin();
    wait_connected(1);
    connect_device("");
    for (int i = 1; i <= NUMBERS; i++) {
        say_seq(i);
    }
    run_until_acked(NUMBERS);
    wait_history(NUMBERS);
    for (size_t round = 1; round <= 2; round++) {
        real_broker_kill(&broker);
        for (int i = 1; i <= NUMBERS; i++) {
            say_seq((int) round * NUMBERS + i); /* the device keeps them */
        }
        devices_run(&device, 1, 50, NULL, 0);
        real_broker_start(&broker);
        wait_connected(1 +
                       round); /* who subscribes late misses what a broker without memory gets */
        run_until_acked((round + 1) * NUMBERS);
        wait_history((int) (round + 1) * NUMBERS);
    }
    broker_fini(&device);
    fx_fini(&f);
}
END_TEST

START_TEST(what_comes_while_the_platform_is_away_is_there_once_when_it_is_back)
{
    real_broker_start(&broker);
    begin();
    wait_connected(1);
    connect_device("");
    for (int i = 1; i <= NUMBERS; i++) {
        say_seq(i);
    }
    /* Stopped in the middle of them: some are not acknowledged to the broker and come again. */
    devices_run(&device, 1, 20, NULL, 0);
    fx_close(&f);
    run_until_acked(NUMBERS);
    for (int i = NUMBERS + 1; i <= 2 * NUMBERS; i++) {
        say_seq(i);
    }
    run_until_acked(2 * NUMBERS);
    open_platform(false);
    wait_history(2 * NUMBERS);
    wait_logged("the session goes on", 1);
    broker_fini(&device);
    fx_fini(&f);
}
END_TEST

/* Publishes the answer to the command that was heard last. */
static void answer(void)
{
    static const char text[] = "{\"code\":0}";
    char topic[200];
    const char *id = strrchr(heard_topic, '/');
    ck_assert_ptr_nonnull(id);
    snprintf(topic, sizeof(topic), "d/t1/reply%s", id);
    uint64_t before = acked;
    ck_assert(broker_publish(&device, topic, text, strlen(text), 0));
    run_until_acked(before + 1);
}

static void on_command(void *user, const struct tpc_command *c)
{
    *(uint32_t *) user = c->state;
}

static uint32_t wait_state(const struct tpc_id *id, uint32_t state)
{
    uint32_t now = 0;
    for (int i = 0; i < WAIT_MS / 20 && now != state; i++) {
        poll(NULL, 0, 20);
        tk_ok(tpc_command_get(f.core, id, on_command, &now));
    }
    return now;
}

static struct tpc_id command(void)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_id id;
    o.device = fx_device(&f, "t1");
    o.service = TPC_STR("set");
    o.params_json = TPC_STR("{\"on\":true}");
    o.timeout_ms = 2000; /* a first try may come before the device listens again */
    o.retries = 5;
    fx_ok(tpc_command_send(f.core, NULL, &o, NULL, NULL, &id), "command");
    return id;
}

START_TEST(command_goes_to_the_device_and_its_answer_closes_it)
{
    real_broker_start(&broker);
    begin();
    wait_connected(1);
    connect_device("d/t1/down/+");
    say_seq(1);
    run_until_acked(1);
    wait_history(1);
    struct tpc_id id = command();
    devices_run(&device, 1, WAIT_MS, &heard, 1);
    ck_assert_str_eq(heard_payload, "{\"on\":true}");
    ck_assert_uint_eq(wait_state(&id, TPC_COMMAND_SENT), TPC_COMMAND_SENT);
    answer();
    ck_assert_uint_eq(wait_state(&id, TPC_COMMAND_SUCCEEDED), TPC_COMMAND_SUCCEEDED);
    broker_fini(&device);
    fx_fini(&f);
}
END_TEST

START_TEST(command_given_while_the_broker_is_away_leaves_when_it_is_back)
{
    real_broker_start(&broker);
    begin();
    wait_connected(1);
    connect_device("d/t1/down/+");
    say_seq(1);
    run_until_acked(1);
    wait_history(1);
    real_broker_kill(&broker);
    wait_logged("lost", 1);
    struct tpc_id id = command();
    ck_assert_uint_eq(wait_state(&id, TPC_COMMAND_QUEUED), TPC_COMMAND_QUEUED);
    real_broker_start(&broker);
    devices_run(&device, 1, WAIT_MS, &heard, 1);
    ck_assert_uint_ge(heard, 1);
    answer();
    ck_assert_uint_eq(wait_state(&id, TPC_COMMAND_SUCCEEDED), TPC_COMMAND_SUCCEEDED);
    broker_fini(&device);
    fx_fini(&f);
}
END_TEST

Suite *broker_suite(void)
{
    Suite *s = suite_create("broker");
    TCase *c = tcase_create("broker");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, platform_starts_without_a_broker_and_works_when_it_comes);
    tcase_add_test(c, broker_killed_in_mid_traffic_comes_back_and_nothing_is_missing);
    tcase_add_test(c, what_comes_while_the_platform_is_away_is_there_once_when_it_is_back);
    tcase_add_test(c, command_goes_to_the_device_and_its_answer_closes_it);
    tcase_add_test(c, command_given_while_the_broker_is_away_leaves_when_it_is_back);
    suite_add_tcase(s, c);
    return s;
}
