/* The ThingsBoard stand-in itself, with the simulator's small MQTT client as its gateway. */
#include "broker.h"
#include "tb_stub.h"
#include "gateway_suites.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tk.h>

struct gateway {
    struct broker mqtt;
    uint64_t acked, messages;
    char last[512];
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void on_message(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    struct gateway *g = user;
    g->messages++;
    snprintf(g->last, sizeof(g->last), "%.*s %.*s", (int) topic.len, topic.ptr, (int) payload.len,
             (const char *) payload.ptr);
}

static void on_acked(void *user, uint64_t tag)
{
    (void) tag;
    ((struct gateway *) user)->acked++;
}

/* Until *what reaches least, or ms are over. */
static bool turn(struct gateway *g, const uint64_t *what, uint64_t least, int64_t ms)
{
    for (int64_t end = now_ms() + ms; now_ms() < end && *what < least;) {
        struct pollfd p = { .events = broker_tick(&g->mqtt, now_ms()) };
        p.fd = g->mqtt.fd;
        poll(&p, 1, 5);
        broker_ready(&g->mqtt, p.revents, now_ms());
    }
    return *what >= least;
}

static void open_gateway(struct gateway *g, struct tb_stub *s, const char *filter)
{
    memset(g, 0, sizeof(*g));
    ck_assert_int_eq(broker_init(&g->mqtt, "127.0.0.1", tb_stub_port(s), "gw"), 0);
    snprintf(g->mqtt.filter, sizeof(g->mqtt.filter), "%s", filter);
    g->mqtt.user_name = "token";
    g->mqtt.on_message = on_message;
    g->mqtt.on_acked = on_acked;
    g->mqtt.user = g;
    ck_assert(turn(g, &g->mqtt.connects, 1, 5000));
}

static void say(struct gateway *g, const char *topic, const char *payload)
{
    ck_assert(broker_publish(&g->mqtt, topic, payload, strlen(payload), 0));
}

START_TEST(missing_doubled_and_swapped_numbers_are_found)
{
    struct samples *s = samples_create();
    static const char *const payloads[] = {
        "{\"A\":[{\"ts\":1000,\"values\":{\"seq\":5,\"x\":1.5}},{\"values\":{\"seq\":6},\"ts\":"
        "1000}]}",
        "{\"A\":[{\"ts\":1000,\"values\":{\"seq\":6}},{\"seq\":9,\"t\":[1,{\"a\":\"]\\\"\"}]}],"
        " \"B\":[{\"ts\":990,\"values\":{\"seq\":1}}]}",
        "{\"A\":[{\"ts\":1000,\"values\":{\"seq\":8}}]}",
    };
    for (size_t i = 0; i < 3; i++) {
        ck_assert(
            samples_add(s, "v1/gateway/telemetry", 20, payloads[i], strlen(payloads[i]), 1010));
    }
    ck_assert(!samples_add(s, "v1/gateway/telemetry", 20, "{\"A\":{\"x\":1}}", 13, 0));
    ck_assert(!samples_add(s, "v1/gateway/telemetry", 20, "{\"A\":[{\"ts\":1}]}", 16, 0));
    struct samples_total t;
    samples_total(s, &t);
    ck_assert_uint_eq(t.numbered, 6);
    ck_assert_uint_eq(t.distinct, 5);
    ck_assert_uint_eq(t.doubled, 1);
    ck_assert_uint_eq(t.out_of_order, 1);
    ck_assert_uint_eq(t.lost, 1);
    ck_assert_uint_eq(t.devices, 2);
    ck_assert_uint_eq(t.malformed, 2);
    ck_assert_uint_eq(t.p95_ms, 20);
    ck_assert_uint_eq(samples_key(s, "A", "seq"), 5);
    ck_assert_uint_eq(samples_key(s, "A", "t"), 1);
    ck_assert(samples_device(s, "B", &t) && t.distinct == 1);
    samples_destroy(s);
}
END_TEST

START_TEST(the_stand_in_acknowledges_counts_and_answers)
{
    struct tb_stub *s = tb_stub_create();
    struct gateway g;
    open_gateway(&g, s, "v1/#");
    ck_assert(tb_stub_wait_sessions(s, 1, 5000));
    say(&g, "v1/gateway/connect", "{\"device\":\"A\",\"type\":\"meter\"}");
    say(&g, "v1/gateway/telemetry", "{\"A\":[{\"ts\":1,\"values\":{\"seq\":1,\"k\":2}}]}");
    ck_assert(turn(&g, &g.acked, 2, 5000));
    ck_assert(tb_stub_wait_samples(s, 1, 0) && tb_stub_wait_points(s, 2, 0));
    char type[32];
    tb_stub_type(s, "A", type, sizeof(type));
    ck_assert_str_eq(type, "meter");
    say(&g, "v1/devices/me/rpc/request/7", "{\"method\":\"getSessionLimits\",\"params\":{}}");
    ck_assert(turn(&g, &g.messages, 1, 5000));
    ck_assert_ptr_nonnull(strstr(g.last, "v1/devices/me/rpc/response/7 {\"maxPayloadSize\":65536"));
    tb_stub_attributes(s, "{\"limit\":5}");
    say(&g, "v1/gateway/attributes/request", "{\"id\":3,\"device\":\"A\",\"client\":false}");
    ck_assert(turn(&g, &g.messages, 2, 5000));
    ck_assert_str_eq(g.last, "v1/gateway/attributes/response "
                             "{\"id\":3,\"device\":\"A\",\"values\":{\"limit\":5}}");
    ck_assert_int_eq(tb_stub_rpc(s, "A", 9, "on", "{\"a\":1}"), 1);
    ck_assert(turn(&g, &g.messages, 3, 5000));
    ck_assert_str_eq(g.last,
                     "v1/gateway/rpc {\"device\":\"A\",\"data\":{\"id\":9,\"method\":\"on\","
                     "\"params\":{\"a\":1}}}");
    uint64_t mark = tb_stub_mark(s);
    char got[128];
    ck_assert(!tb_stub_wait(s, mark, "v1/gateway/rpc", NULL, 1, got, sizeof(got)));
    say(&g, "v1/gateway/rpc", "{\"device\":\"A\",\"id\":9,\"data\":true}");
    ck_assert(turn(&g, &g.acked, 5, 5000));
    ck_assert(tb_stub_wait(s, mark, "v1/gateway/*", "\"id\":9", 1000, got, sizeof(got)));
    broker_fini(&g.mqtt);
    ck_assert(tb_stub_wait_sessions(s, 0, 5000));
    tb_stub_destroy(s);
}
END_TEST

START_TEST(the_stand_in_fails_as_it_is_told)
{
    struct tb_stub *s = tb_stub_create();
    struct gateway g;
    struct tb_stub_counts c;
    open_gateway(&g, s, "");
    tb_stub_stall(s, true);
    say(&g, "v1/gateway/telemetry", "{\"A\":[{\"seq\":1}]}");
    ck_assert(!turn(&g, &g.acked, 1, 100));
    tb_stub_stall(s, false);
    ck_assert(turn(&g, &g.acked, 1, 5000));

    tb_stub_puback_delay(s, 150);
    int64_t begin = now_ms();
    say(&g, "v1/gateway/telemetry", "{\"A\":[{\"seq\":2}]}");
    ck_assert(turn(&g, &g.acked, 2, 5000));
    ck_assert_int_ge(now_ms() - begin, 140);
    tb_stub_puback_delay(s, 0);

    tb_stub_drop_every(s, 1);
    say(&g, "v1/gateway/telemetry", "{\"A\":[{\"seq\":3}]}");
    ck_assert(turn(&g, &g.mqtt.connects, 2, 5000));
    tb_stub_drop_every(s, 0);
    ck_assert(turn(&g, &g.acked, 3, 5000)); /* sent again after the reconnect */

    tb_stub_away(s, true);
    ck_assert(tb_stub_wait_sessions(s, 0, 5000));
    say(&g, "v1/gateway/telemetry", "{\"A\":[{\"seq\":4}]}");
    ck_assert(!turn(&g, &g.acked, 4, 100));
    tb_stub_away(s, false);
    ck_assert(turn(&g, &g.acked, 4, 10000));

    tb_stub_refuse(s, "poison", 0x99, 1);
    uint64_t connects = g.mqtt.connects;
    say(&g, "v1/gateway/telemetry", "{\"A\":[{\"poison\":4}]}");
    ck_assert(turn(&g, &g.mqtt.connects, connects + 1, 5000));
    ck_assert(turn(&g, &g.acked, 5, 5000));
    tb_stub_counts(s, &c);
    ck_assert_uint_ge(c.dropped, 3);
    struct samples_total t;
    tb_stub_total(s, &t);
    ck_assert_uint_ge(t.doubled, 1);
    ck_assert_uint_eq(t.distinct, 4);
    ck_assert_uint_eq(t.lost, 0);
    broker_fini(&g.mqtt);
    tb_stub_destroy(s);
}
END_TEST

Suite *stub_suite(void)
{
    Suite *s = suite_create("stub");
    TCase *c = tcase_create("stub");
    tcase_add_test(c, missing_doubled_and_swapped_numbers_are_found);
    tcase_add_test(c, the_stand_in_acknowledges_counts_and_answers);
    tcase_add_test(c, the_stand_in_fails_as_it_is_told);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    return s;
}
