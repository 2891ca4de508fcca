/* What the server asks of devices and of the gateway, and the service for attributes. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "attributes.h"
#include "bench.h"
#include "tb_suites.h"

static struct bench b;

static void begin(const char *more)
{
    bench_begin(&b, more, "{}");
    bench_deliver(&b, bench_batch(&b, 0, 2, 2)); /* it is ready, and devices are known */
}

START_TEST(rpc_becomes_a_command_and_its_end_the_reply)
{
    begin("");
    uint64_t mark = tb_stub_mark(b.stub);
    tb_stub_rpc(b.stub, "d0", 7, "reset", "{\"hard\":true}");
    const struct bench_command *c = bench_wait_command(&b, 1);
    ck_assert_str_eq(c->device, "d0");
    ck_assert_str_eq(c->service, "reset");
    ck_assert_str_eq(c->params, "{\"hard\":true}");
    ck_assert_uint_eq(c->timeout_ms, 5000);
    bench_end_command(&b, 1, TPC_COMMAND_SUCCEEDED, "{\"done\":1,\"left\":2}", "");
    ck_assert_str_eq(
        bench_heard(&b, mark, "v1/gateway/rpc", NULL),
        "v1/gateway/rpc {\"device\":\"d0\",\"id\":7,\"data\":{\"done\":1,\"left\":2}}");
    tb_stub_rpc(b.stub, "d1", 8, "reset", "{\"timeout\":2}");
    ck_assert_uint_eq(bench_wait_command(&b, 2)->timeout_ms, 2000);
    mark = tb_stub_mark(b.stub);
    bench_end_command(&b, 2, TPC_COMMAND_SUCCEEDED, "", "");
    ck_assert_str_eq(bench_heard(&b, mark, "v1/gateway/rpc", NULL),
                     "v1/gateway/rpc {\"device\":\"d1\",\"id\":8,\"data\":{\"success\":true}}");
    tb_stub_rpc(b.stub, "d1", 9, "reset", NULL);
    ck_assert_str_eq(bench_wait_command(&b, 3)->params, "");
    bench_end_command(&b, 3, TPC_COMMAND_TIMED_OUT, "", "");
    bench_hears(&b, mark, "v1/gateway/rpc",
                "\"id\":9,\"data\":{\"error\":\"no answer in time\",\"code\":408}");
    tb_stub_rpc(b.stub, "d1", 10, "reset", "5");
    ck_assert_str_eq(bench_wait_command(&b, 4)->params, "{\"value\":5}");
    bench_end_command(&b, 4, TPC_COMMAND_FAILED, "", "jammed");
    bench_hears(&b, mark, "v1/gateway/rpc",
                "\"id\":10,\"data\":{\"result\":{\"error\":\"jammed\"}}");
    bench_end(&b);
}
END_TEST

START_TEST(call_that_comes_again_is_carried_out_once)
{
    begin("");
    uint64_t mark = tb_stub_mark(b.stub);
    tb_stub_rpc(b.stub, "d0", 7, "reset", "{\"hard\":true}");
    tb_stub_rpc(b.stub, "d0", 7, "reset", "{\"hard\":true}"); /* the first one is open */
    tb_stub_rpc(b.stub, "d1", 7, "reset", "{\"hard\":true}"); /* of another device */
    ck_assert_str_eq(bench_wait_command(&b, 2)->device, "d1");
    bench_end_command(&b, 1, TPC_COMMAND_SUCCEEDED, "{\"done\":1,\"left\":2}", "");
    bench_hears(&b, mark, "v1/gateway/rpc", "\"d0\",\"id\":7,\"data\":{\"done\":1");
    mark = tb_stub_mark(b.stub);
    tb_stub_rpc(b.stub, "d0", 7, "reset", "{\"hard\":true}"); /* the answer was lost */
    bench_hears(&b, mark, "v1/gateway/rpc", "\"d0\",\"id\":7,\"data\":{\"done\":1");
    ck_assert_uint_eq(b.command_count, 2);
    ck_assert_uint_eq(fake_sink_metric(&b.h, "rpc_repeated"), 2);
    /* A server that started again has the same ids for other calls. */
    tb_stub_rpc(b.stub, "d0", 7, "reset", "{\"hard\":false}");
    ck_assert_str_eq(bench_wait_command(&b, 3)->params, "{\"hard\":false}");
    bench_end(&b);
}
END_TEST

START_TEST(call_that_comes_again_later_is_a_new_one)
{
    begin(",\"rpc_again\":0");
    tb_stub_rpc(b.stub, "d0", 7, "reset", "{}");
    tb_stub_rpc(b.stub, "d0", 7, "reset", "{}");
    bench_wait_command(&b, 2);
    bench_end_command(&b, 1, TPC_COMMAND_SUCCEEDED, "", "");
    tb_stub_rpc(b.stub, "d0", 7, "reset", "{}");
    bench_wait_command(&b, 3);
    ck_assert_uint_eq(fake_sink_metric(&b.h, "rpc_repeated"), 0);
    bench_end(&b);
}
END_TEST

START_TEST(method_that_is_no_service_reads_or_writes_the_tag_of_that_name)
{
    begin("");
    uint64_t mark = tb_stub_mark(b.stub);
    b.command_code = TPC_ENOENT;
    tb_stub_rpc(b.stub, "d0", 1, "speed", "12");
    const struct bench_command *c = bench_wait_command(&b, 1);
    ck_assert_str_eq(c->service, "set");
    ck_assert_str_eq(c->params, "{\"speed\":12}");
    b.command_code = TPC_ENOENT;
    tb_stub_rpc(b.stub, "d0", 2, "speed", NULL);
    c = bench_wait_command(&b, 2);
    ck_assert_str_eq(c->service, "get");
    ck_assert_str_eq(c->params, "{\"keys\":[\"speed\"]}");
    bench_end_command(&b, 2, TPC_COMMAND_SUCCEEDED, "{\"speed\":12}", "");
    bench_hears(&b, mark, "v1/gateway/rpc", "\"id\":2,\"data\":{\"result\":{\"value\":12}}");
    tb_stub_rpc(b.stub, "d0", 3, "get", "[\"a\",\"b\"]");
    ck_assert_str_eq(bench_wait_command(&b, 3)->params, "{\"keys\":[\"a\",\"b\"]}");
    bench_end(&b);
}
END_TEST

START_TEST(text_of_get_and_set_is_a_request_of_modbus)
{
    begin("");
    uint64_t mark = tb_stub_mark(b.stub);
    tb_stub_rpc(b.stub, "d0", 1, "get", "\"type=16int;functionCode=3;objectsCount=1;address=2;\"");
    const struct bench_command *c = bench_wait_command(&b, 1);
    ck_assert_str_eq(c->service, "raw");
    ck_assert_str_eq(c->params, "{\"function\":3,\"address\":2,\"type\":\"int16\"}");
    bench_end_command(&b, 1, TPC_COMMAND_SUCCEEDED, "{\"value\":-7}", "");
    bench_hears(&b, mark, "v1/gateway/rpc", "\"id\":1,\"data\":{\"result\":{\"value\":-7}}");
    tb_stub_rpc(b.stub, "d0", 2, "set",
                "\"type=16int;functionCode=6;objectsCount=1;address=2;value=5;\"");
    c = bench_wait_command(&b, 2);
    ck_assert_str_eq(c->service, "raw");
    ck_assert_str_eq(c->params, "{\"function\":6,\"address\":2,\"type\":\"int16\",\"value\":5}");
    tb_stub_rpc(b.stub, "d0", 3, "set", "\"type=16int;functionCode=6;address=2;\"");
    bench_hears(&b, mark, "v1/gateway/rpc",
                "\"id\":3,\"data\":{\"result\":{\"error\":\"there is no value to write\"}}");
    bench_end(&b);
}
END_TEST

START_TEST(shared_attributes_are_set)
{
    begin("");
    tb_stub_publish(b.stub, "v1/gateway/attributes",
                    "{\"device\":\"d0\",\"data\":{\"goal\":21.5}}");
    const struct bench_command *c = bench_wait_command(&b, 1);
    ck_assert_str_eq(c->device, "d0");
    ck_assert_str_eq(c->service, "set");
    ck_assert_str_eq(c->params, "{\"goal\":21.5}");
    tb_stub_publish(b.stub, "v1/gateway/attributes",
                    "{\"device\":\"d0\",\"data\":{\"deleted\":[\"goal\"]}}");
    tb_stub_publish(b.stub, "v1/gateway/attributes", "garbage");
    tb_stub_publish(b.stub, "v1/gateway/attributes", "{\"device\":\"d1\",\"data\":{\"goal\":1}}");
    ck_assert_str_eq(bench_wait_command(&b, 2)->device, "d1");
    ck_assert_uint_eq(fake_sink_metric(&b.h, "attributes_deleted"), 1);
    ck_assert_uint_eq(fake_sink_metric(&b.h, "down_refused"), 1);
    bench_end(&b);
}
END_TEST

static void own_call(int id, const char *method, const char *params, const char *want)
{
    char topic[64], payload[256];
    uint64_t mark = tb_stub_mark(b.stub);
    snprintf(topic, sizeof(topic), "v1/devices/me/rpc/request/%d", id);
    snprintf(payload, sizeof(payload), "{\"method\":\"%s\",\"params\":%s}", method, params);
    tb_stub_publish(b.stub, topic, payload);
    snprintf(topic, sizeof(topic), "v1/devices/me/rpc/response/%d", id);
    bench_hears(&b, mark, topic, want);
}

START_TEST(gateway_answers_what_it_is_asked_itself)
{
    begin("");
    own_call(2, "gateway_ping", "{}", "{\"code\":200,\"resp\":\"pong\"}");
    own_call(3, "gateway_stats", "{}", "\"eventsSent\":");
    own_call(4, "gateway_devices", "{}", "\"d1\":\"meter\"");
    own_call(5, "gateway_version", "{}", "\"code\":200");
    own_call(6, "gateway_restart", "60", "\"code\":403");
    own_call(7, "gateway_nothing", "{}", "{\"error\":\"Method not found\",\"code\":404}");
    own_call(8, "sendCommand", "{\"command\":\"id\"}", "\"code\":404");
    ck_assert_uint_eq(b.command_count, 0);
    bench_end(&b);
}
END_TEST

START_TEST(renames_and_deletions_at_the_server_hold_over_a_restart)
{
    char more[300];
    snprintf(more, sizeof(more), ",\"state\":\"%s/names.json\",\"deleted\":\"drop\"", tk_tmpdir());
    begin(more);
    own_call(2, "gateway_device_renamed", "{\"d0\":\"Pump\"}", "{\"success\":true}");
    own_call(3, "gateway_device_deleted", "\"d1\"", "{\"success\":true}");
    own_call(4, "gateway_device_renamed", "\"x\"", "\"success\":false");
    uint64_t mark = tb_stub_mark(b.stub);
    bench_deliver(&b, bench_batch(&b, 2, 2, 2));
    bench_hears(&b, mark, "v1/gateway/connect", "\"Pump\"");
    ck_assert_ptr_null(strstr(bench_heard(&b, mark, "v1/gateway/telemetry", "Pump"), "\"d1\""));
    tb_stub_rpc(b.stub, "Pump", 7, "reset", "{}");
    ck_assert_str_eq(bench_wait_command(&b, 1)->device, "d0");
    ck_assert_uint_eq(fake_sink_metric(&b.h, "state_failed"), 0);
    bench_again(&b, more, "{}");
    mark = tb_stub_mark(b.stub);
    bench_deliver(&b, bench_batch(&b, 4, 2, 2));
    bench_hears(&b, mark, "v1/gateway/telemetry", "\"Pump\"");
    bench_end(&b);
}
END_TEST

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t count;
    int code;
    char client[128], shared[128];
};

static struct answer got;

static void say(char *ret, size_t size, const struct tpc_value *map)
{
    size_t at = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        at += (size_t) snprintf(ret + at, size - at, "%.*s=%lld ", (int) m->key.len, m->key.ptr,
                                (long long) m->value.as.i);
    }
}

static void on_attributes(void *user, const struct tpc_error *err, const struct tpc_value *client,
                          const struct tpc_value *shared)
{
    (void) user;
    pthread_mutex_lock(&got.lock);
    got.code = err != NULL ? err->code : 0;
    say(got.client, sizeof(got.client), client);
    say(got.shared, sizeof(got.shared), shared);
    got.count++;
    pthread_cond_signal(&got.changed);
    pthread_mutex_unlock(&got.lock);
}

static void ask(const char *device, const char *client, const char *shared, uint32_t count)
{
    const struct tb_attributes_ops *ops = b.h.offered;
    tk_ok(ops->ask(b.h.offered_self, tpc_str_from(device), tpc_str_from(client),
                   tpc_str_from(shared), on_attributes, NULL));
    pthread_mutex_lock(&got.lock);
    while (got.count < count) {
        pthread_cond_wait(&got.changed, &got.lock);
    }
    pthread_mutex_unlock(&got.lock);
}

START_TEST(attributes_of_the_server_are_asked_for_on_a_device_s_behalf)
{
    memset(&got, 0, sizeof(got));
    pthread_mutex_init(&got.lock, NULL);
    pthread_cond_init(&got.changed, NULL);
    begin(",\"attributes_timeout\":\"300ms\"");
    tb_stub_attributes(b.stub, "{\"a\":1,\"b\":2}");
    uint64_t mark = tb_stub_mark(b.stub);
    ask("d0", "a", "a,b", 1);
    ck_assert_int_eq(got.code, 0);
    ck_assert_int_eq(strncmp(got.client, "a=1 ", 4), 0);
    ck_assert_str_eq(got.shared, "a=1 b=2 ");
    bench_hears(&b, mark, "v1/gateway/attributes/request", "\"client\":true,\"key\":\"a\"");
    bench_hears(&b, mark, "v1/gateway/attributes/request",
                "\"client\":false,\"keys\":[\"a\",\"b\"]");
    tb_stub_stall(b.stub, true);
    ask("d0", "", "a", 2);
    ck_assert_int_eq(got.code, TPC_ETIMEOUT);
    tb_stub_stall(b.stub, false);
    const struct tb_attributes_ops *ops = b.h.offered;
    ck_assert_int_eq(
        ops->ask(b.h.offered_self, TPC_STR("d0"), TPC_STR(""), TPC_STR(""), on_attributes, NULL),
        TPC_EINVAL);
    bench_end(&b);
}
END_TEST

START_TEST(shared_attributes_are_asked_for_when_a_device_is_connected)
{
    b.stub = tb_stub_create();
    tb_stub_attributes(b.stub, "{\"goal\":4}");
    begin(",\"sync_attributes\":[\"goal\"]");
    const struct bench_command *c = bench_wait_command(&b, 2);
    ck_assert_str_eq(c->service, "set");
    ck_assert_str_eq(c->params, "{\"goal\":4}");
    bench_end(&b);
}
END_TEST

Suite *rpc_suite(void)
{
    Suite *s = suite_create("rpc");
    TCase *c = tcase_create("rpc");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, rpc_becomes_a_command_and_its_end_the_reply);
    tcase_add_test(c, call_that_comes_again_is_carried_out_once);
    tcase_add_test(c, call_that_comes_again_later_is_a_new_one);
    tcase_add_test(c, method_that_is_no_service_reads_or_writes_the_tag_of_that_name);
    tcase_add_test(c, text_of_get_and_set_is_a_request_of_modbus);
    tcase_add_test(c, shared_attributes_are_set);
    tcase_add_test(c, gateway_answers_what_it_is_asked_itself);
    tcase_add_test(c, renames_and_deletions_at_the_server_hold_over_a_restart);
    tcase_add_test(c, attributes_of_the_server_are_asked_for_on_a_device_s_behalf);
    tcase_add_test(c, shared_attributes_are_asked_for_when_a_device_is_connected);
    suite_add_tcase(s, c);
    return s;
}
