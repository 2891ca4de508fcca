/* A mosquitto in the server's place, with somebody who answers the question about limits. */
#include "bench.h"
#include "tb_suites.h"

#ifdef BROKER_KIT

#include "real_broker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 20000 };

static struct bench b;
static struct real_broker broker;
static struct broker ear;
static uint64_t asked, samples, attributes, connects;

static bool is(struct tpc_str topic, const char *name)
{
    return tpc_str_equal(topic, tpc_str_from(name)) != 0;
}

static uint64_t times(struct tpc_bytes payload, const char *text)
{
    uint64_t n = 0;
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= payload.len; i++) {
        n += memcmp(payload.ptr + i, text, len) == 0;
    }
    return n;
}

static void on_message(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    static const char limits[] = "{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,"
                                 "\"rateLimits\":{\"messages\":\"\"}}";
    (void) user;
    if (is(topic, "v1/devices/me/rpc/request/1")) {
        asked++;
        broker_publish(&ear, "v1/devices/me/rpc/response/1", limits, sizeof(limits) - 1, 0);
    }
    connects += is(topic, "v1/gateway/connect");
    samples += is(topic, "v1/gateway/telemetry") ? times(payload, "\"seq\"") : 0;
    attributes += is(topic, "v1/gateway/attributes") ? times(payload, "\"seq\"") : 0;
}

static void begin(void)
{
    asked = samples = attributes = connects = 0;
    real_broker_init(&broker);
    real_broker_start(&broker);
    device_connect(&ear, &broker, "ear", "v1/#", on_message, NULL);
    b.port = broker.port;
}

static void end(void)
{
    bench_end(&b);
    broker_fini(&ear);
    real_broker_kill(&broker);
    b.port = 0;
}

START_TEST(broker_with_a_responder_is_as_good_as_the_server)
{
    begin();
    bench_begin(&b, "", "{}");
    tk_ok(b.h.ops->send(b.h.self, b.target, bench_batch(&b, 0, 300, 7), 1));
    devices_run(&ear, 1, WAIT_MS, &samples, 300);
    ck_assert(fake_sink_wait(&b.h, 1));
    ck_assert_int_eq(b.h.sent[0].err.code, 0);
    ck_assert_uint_eq(samples, 300);
    ck_assert_uint_eq(asked, 1);
    ck_assert_uint_eq(connects, 7);
    bench_batch(&b, 300, 5, 5);
    for (int i = 0; i < 5; i++) {
        b.msgs[i].kind = TPC_MSG_ATTRIBUTES;
    }
    tk_ok(b.h.ops->send(b.h.self, b.target, &b.batch, 2));
    devices_run(&ear, 1, WAIT_MS, &attributes, 5);
    ck_assert(fake_sink_wait(&b.h, 2));
    ck_assert_uint_eq(attributes, 5);
    devices_run(&ear, 1, 50, NULL, 0);
    /* With MQTT 5 a broker without access rules does not tell it what it has said itself. */
    ck_assert_uint_eq(fake_sink_metric(&b.h, "down_refused"), 0);
    end();
}
END_TEST

/* How many batches ended. */
static uint32_t told(void)
{
    pthread_mutex_lock(&b.h.lock);
    uint32_t n = b.h.sent_count;
    pthread_mutex_unlock(&b.h.lock);
    return n;
}

START_TEST(broker_that_stands_still_and_dies_gets_the_batch_when_it_is_back)
{
    begin();
    bench_begin(&b, ",\"limits_wait\":0", "{}");
    bench_deliver(&b, bench_batch(&b, 0, 50, 5));
    real_broker_freeze(&broker, true);
    uint32_t before = told();
    tk_ok(b.h.ops->send(b.h.self, b.target, bench_batch(&b, 50, 50, 5), 9));
    ck_assert_uint_eq(told(), before); /* nobody acknowledged */
    real_broker_kill(&broker);
    ck_assert(fake_sink_wait(&b.h, before + 1));
    ck_assert_int_eq(b.h.sent[before].err.code, TPC_EOFFLINE);
    broker_fini(&ear);
    real_broker_start(&broker);
    device_connect(&ear, &broker, "ear", "v1/#", on_message, NULL);
    samples = 0;
    bench_deliver(&b, &b.batch);
    devices_run(&ear, 1, WAIT_MS, &samples, 50);
    ck_assert_uint_eq(samples, 50);
    end();
}
END_TEST

/* A session over TLS; cert NULL = it has none. */
static void begin_tls(uint16_t port, const char *cert)
{
    char more[1400], pair[900] = "";
    if (cert != NULL) {
        snprintf(pair, sizeof(pair), ",\"cert\":\"%.400s/%s.pem\",\"key\":\"%.400s/%s.key\"",
                 PEM_DIR, cert, PEM_DIR, cert);
    }
    snprintf(more, sizeof(more),
             ",\"url\":\"mqtts://localhost:%u\",\"hold\":\"300ms\",\"limits_wait\":0,"
             "\"tls\":{\"ca\":\"%.400s/ca.pem\"%s}",
             port, PEM_DIR, pair);
    bench_begin(&b, more, "{}");
}

START_TEST(certificate_is_what_the_gateway_is_known_by)
{
    struct real_broker tls;
    char line[200], text[64] = "";
    asked = samples = attributes = connects = 0;
    real_broker_init(&broker);
    real_broker_init(&tls); /* a port only */
    snprintf(broker.log, sizeof(broker.log), "%.240s.log", tk_tmpdir());
    snprintf(broker.more, sizeof(broker.more),
             "log_type all\nlistener %u 127.0.0.1\ncafile %s/ca.pem\ncertfile %s/server.pem\n"
             "keyfile %s/server.key\nrequire_certificate true\nuse_identity_as_username true\n",
             tls.port, PEM_DIR, PEM_DIR, PEM_DIR);
    real_broker_start(&broker);
    device_connect(&ear, &broker, "ear", "v1/#", on_message, NULL);
    b.port = broker.port;
    begin_tls(tls.port, NULL);
    ck_assert_int_eq(fake_sink_whole(&b.h, b.target, bench_batch(&b, 0, 5, 1)), TPC_EOFFLINE);
    bench_end(&b);
    begin_tls(tls.port, "a");
    bench_deliver(&b, bench_batch(&b, 0, 5, 1));
    devices_run(&ear, 1, WAIT_MS, &samples, 5);
    ck_assert_uint_eq(samples, 5);
    FILE *log = fopen(broker.log, "r");
    ck_assert_ptr_nonnull(log);
    while (fgets(line, sizeof(line), log) != NULL) {
        const char *user = strstr(line, "as tpcore-");
        user = user != NULL ? strstr(user, "u'") : NULL;
        if (user != NULL) {
            snprintf(text, sizeof(text), "%.20s", user + 2);
        }
    }
    fclose(log);
    ck_assert_int_eq(strncmp(text, "client-a", 8), 0);
    end();
    unlink(broker.log);
    broker.log[0] = broker.more[0] = '\0';
}
END_TEST

Suite *broker_suite(void)
{
    Suite *s = suite_create("broker");
    TCase *c = tcase_create("broker");
    tcase_set_timeout(c, 120);
    if (real_broker_there()) {
        tcase_add_test(c, broker_with_a_responder_is_as_good_as_the_server);
        tcase_add_test(c, certificate_is_what_the_gateway_is_known_by);
        tcase_add_test(c, broker_that_stands_still_and_dies_gets_the_batch_when_it_is_back);
    } else {
        tk_skip("thingsboard broker", "mosquitto is not installed");
    }
    suite_add_tcase(s, c);
    return s;
}

#else

Suite *broker_suite(void)
{
    Suite *s = suite_create("broker");
    tk_skip("thingsboard broker", "the module mqtt is not built");
    suite_add_tcase(s, tcase_create("broker"));
    return s;
}

#endif
