#include "fake_host.h"
#include "sink_suite.h"
#include "stand_in.h"
#include "webhook_suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/modules.h>

#include "base/crypto.h"

enum { MESSAGES = 8 };

static struct stand_in server;
static struct tk_env env;
static struct fake_host client; /* of http_client */
static struct fake_sink h;
static struct tpc_msg messages[MESSAGES];
static struct tpc_arena *arena; /* of the log's lines */

static void client_up(const char *options)
{
    int rc = fake_init(&client, &env, fake_adapter_of(tpc_module_http_client()), options);
    ck_assert_msg(rc == 0, "%s", client.last_fail);
    tk_ok(fake_start(&client));
}

static void begin(void)
{
    memset(&server, 0, sizeof(server));
    ck_assert(stand_in_start(&server, "http_server", NULL));
    tk_env_init(&env);
    client_up("{\"max_in_flight\":4}");
    tk_ok(fake_sink_init(&h, &env, tpc_module_webhook(), "{}"));
    h.service = client.offered;
    h.service_self = client.offered_self;
    tk_ok(fake_sink_start(&h));
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void end(void)
{
    fake_sink_stop(&h);
    fake_sink_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    fake_stop(&client);
    fake_fini(&client);
    tk_env_fini(&env);
    stand_in_stop(&server);
    arena = tpc_arena_destroy(arena);
}

/* A target at a path of the server; more: further members, with a comma before them. */
static int open_at(const char *path, const char *more, void **ret)
{
    char json[1024];
    snprintf(json, sizeof(json), "{\"url\":\"http://127.0.0.1:%d%s\"%s}", server.port, path, more);
    return fake_sink_open(&h, "main/forward/t", json, ret);
}

static void *target(const char *path, const char *more)
{
    void *t = NULL;
    int rc = open_at(path, more, &t);
    ck_assert_msg(rc == 0, "%s", h.last_fail);
    return t;
}

static void close_target(void *t)
{
    h.ops->target_close(h.self, t);
}

/* Messages first .. first + count of a log. */
static struct tpc_batch batch_of(uint32_t first, uint32_t count)
{
    static struct tpc_point points[MESSAGES];
    struct tpc_batch b = { .size = sizeof(b), .count = count, .msg_size = sizeof(messages[0]) };
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct tpc_msg *m = &messages[i];
        points[i].key = TPC_STR("n");
        points[i].value = (struct tpc_value){ .type = TPC_INT, .as.i = i };
        *m = (struct tpc_msg){ .size = sizeof(*m), .kind = TPC_MSG_TELEMETRY, .offset = i };
        m->id.b[0] = 7;
        m->id.b[15] = (uint8_t) i;
        m->tenant = TPC_STR("main");
        m->product = TPC_STR("p");
        m->device = TPC_STR("d");
        m->points = &points[i];
        m->point_count = 1;
        m->point_size = sizeof(points[i]);
    }
    b.msgs = &messages[first];
    return b;
}

/* Request n at the server, parsed. */
static struct tpc_value request(unsigned n)
{
    struct tpc_value v;
    char *line = stand_in_line(&server, n);
    tk_ok(tpc_json_parse(arena, tpc_str_from(line), TPC_JSON_COPY, NULL, &v));
    free(line);
    return v;
}

static const char *member(const struct tpc_value *v, const char *name)
{
    static char text[4][2048];
    static unsigned next;
    char *to = text[next++ % 4];
    struct tpc_str s = tpc_value_text(tpc_value_get(v, tpc_str_from(name)));
    snprintf(to, 2048, "%.*s", (int) s.len, s.len > 0 ? s.ptr : "");
    return to;
}

static const char *header(const struct tpc_value *v, const char *name)
{
    return member(tpc_value_get(v, TPC_STR("headers")), name);
}

/* The "n" of the message in request number i. */
static int number_in(unsigned i)
{
    struct tpc_value r = request(i);
    const char *at = strstr(member(&r, "body"), "\"n\":");
    ck_assert_ptr_nonnull(at);
    return (int) strtol(at + 4, NULL, 10);
}

START_TEST(message_is_posted_signed_and_with_its_key)
{
    begin();
    struct tpc_batch b = batch_of(3, 1);
    void *t =
        target("/hook", ",\"secret\":\"s3\",\"headers\":{\"X-Site\":\"a b\"},\"token\":\"tok\"");
    tk_ok(fake_sink_whole(&h, t, &b));
    struct tpc_value r = request(0);
    ck_assert_str_eq(member(&r, "method"), "POST");
    ck_assert_str_eq(header(&r, "x-site"), "a b");
    ck_assert_str_eq(header(&r, "authorization"), "Bearer tok");
    ck_assert_str_eq(header(&r, "content-type"), "application/json");
    ck_assert_str_eq(header(&r, "idempotency-key"), "07000000000000000000000000000003");
    const char *body = member(&r, "body");
    ck_assert_str_eq(body, "{\"id\":\"07000000000000000000000000000003\",\"tenant\":\"main\","
                           "\"product\":\"p\",\"device\":\"d\",\"kind\":\"telemetry\","
                           "\"time\":\"1970-01-01T00:00:00.000Z\",\"values\":{\"n\":3}}");
    uint8_t mac[32];
    char hex[65], want[80];
    tk_ok(tpi_hmac_sha256("s3", 2, body, strlen(body), mac));
    tpi_hex(mac, sizeof(mac), hex);
    snprintf(want, sizeof(want), "sha256=%s", hex);
    ck_assert_str_eq(header(&r, "x-signature-256"), want);
    close_target(t);
    end();
}
END_TEST

START_TEST(batch_goes_message_by_message_in_order_or_as_one_array)
{
    begin();
    struct tpc_batch b = batch_of(0, MESSAGES);
    void *one = target("/hook", "");
    void *array = target("/hook", ",\"batch\":true,\"method\":\"PUT\"");
    tk_ok(fake_sink_whole(&h, one, &b));
    ck_assert_uint_eq(stand_in_count(&server), MESSAGES);
    for (unsigned i = 0; i < MESSAGES; i++) {
        ck_assert_int_eq(number_in(i), (int) i);
    }
    tk_ok(fake_sink_whole(&h, array, &b));
    ck_assert_uint_eq(stand_in_count(&server), MESSAGES + 1);
    struct tpc_value r = request(MESSAGES), body;
    ck_assert_str_eq(member(&r, "method"), "PUT");
    ck_assert_str_eq(header(&r, "idempotency-key"), "07000000000000000000000000000000-8");
    tk_ok(tpc_json_parse(arena, tpc_str_from(member(&r, "body")), TPC_JSON_COPY, NULL, &body));
    ck_assert_uint_eq(body.type, TPC_ARRAY);
    ck_assert_uint_eq(body.len, MESSAGES);
    ck_assert_uint_eq(fake_sink_metric(&h, "delivered"), 2 * MESSAGES);
    close_target(one);
    close_target(array);
    end();
}
END_TEST

START_TEST(batch_without_messages_is_through_at_once)
{
    begin();
    struct tpc_batch b = batch_of(0, 0);
    b.gap_from = 5;
    b.gap_to = 9;
    void *t = target("/hook", "");
    tk_ok(fake_sink_whole(&h, t, &b));
    ck_assert_uint_eq(stand_in_count(&server), 0);
    ck_assert_uint_eq(fake_sink_metric(&h, "passed_over"), 4);
    close_target(t);
    end();
}
END_TEST

START_TEST(answer_decides_what_happens_to_the_batch)
{
    static const struct {
        const char *path;
        int code;
        const char *text;
    } cases[] = { { "/status/500", TPC_EAGAIN, "HTTP 500: {\"error\":\"as asked\"}" },
                  { "/status/422", TPC_EINVAL, "HTTP 422" },
                  { "/status/401", TPC_EDENIED, "HTTP 401" },
                  { "/status/404", TPC_EUNSUPPORTED, "HTTP 404" },
                  { "/loop", TPC_EUNSUPPORTED, "redirects are not followed, it leads to /loop" },
                  { "/reset", TPC_EOFFLINE, "" },
                  { "/garbage", TPC_EIO, "" },
                  { "/hang", TPC_ETIMEOUT, "" },
                  { "/slow", TPC_ETIMEOUT, "" } };
    begin();
    struct tpc_batch b = batch_of(0, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool silent = cases[i].code == TPC_ETIMEOUT;
        void *t = target(cases[i].path, silent ? ",\"timeout\":\"300ms\"" : "");
        int rc = fake_sink_whole(&h, t, &b);
        const struct tpc_error *err = &h.sent[h.sent_count - 1].err;
        ck_assert_msg(rc == cases[i].code, "%s: %s %s", cases[i].path, tpc_error_name(rc),
                      err->text);
        ck_assert_msg(strstr(err->text, cases[i].text) != NULL, "%s: %s", cases[i].path, err->text);
        close_target(t);
    }
    /* 10 MB of answer do not matter: the server has it. */
    void *big = target("/big", "");
    void *chunks = target("/chunks", "");
    tk_ok(fake_sink_whole(&h, big, &b));
    tk_ok(fake_sink_whole(&h, chunks, &b));
    close_target(big);
    close_target(chunks);
    end();
}
END_TEST

START_TEST(server_that_names_a_time_is_left_alone_until_then)
{
    begin();
    struct tpc_batch b = batch_of(0, 1);
    void *t = target("/fail/1/503?after=90", "");
    void *told = target("/status/429?after=90", "");
    tk_fails(TPC_EAGAIN, fake_sink_whole(&h, t, &b));
    tk_ok(fake_sink_whole(&h, t, &b)); /* that 503 named none */
    tk_fails(TPC_EAGAIN, fake_sink_whole(&h, told, &b));
    ck_assert_ptr_nonnull(strstr(h.sent[h.sent_count - 1].err.text, "come again after 90 s"));
    uint32_t before = h.sent_count;
    tk_fails(TPC_EAGAIN, fake_sink_whole(&h, told, &b));
    ck_assert_uint_eq(h.sent_count, before); /* not taken */
    ck_assert_uint_eq(stand_in_count(&server), 3);
    tk_clock_advance(&env.clock, 90001);
    tk_fails(TPC_EAGAIN, fake_sink_whole(&h, told, &b));
    ck_assert_uint_eq(stand_in_count(&server), 4);
    ck_assert_uint_eq(fake_sink_metric(&h, "told_to_wait"), 2);
    close_target(t);
    close_target(told);
    end();
}
END_TEST

START_TEST(what_was_taken_is_not_posted_again_when_the_rest_comes_back)
{
    begin();
    struct tpc_batch all = batch_of(0, MESSAGES);
    struct tpc_batch left = batch_of(0, 4), right = batch_of(4, 4);
    void *t = target("/hook", "");
    void *bad = target("/status/422", "");
    /* A batch that is refused at its first message posts no other. */
    tk_fails(TPC_EINVAL, fake_sink_whole(&h, bad, &all));
    ck_assert_uint_eq(stand_in_count(&server), 1);
    close_target(bad);
    /* Every second request fails: each message arrives once. */
    void *flaky = target("/every", "");
    uint32_t n = 0;
    while (fake_sink_whole(&h, flaky, &all) != 0) {
        ck_assert_uint_lt(++n, 20);
    }
    ck_assert_uint_eq(n, MESSAGES);
    ck_assert_uint_eq(fake_sink_metric(&h, "delivered"), MESSAGES);
    /* In halves, as forward looks for a bad record. */
    tk_ok(fake_sink_whole(&h, t, &left));
    tk_ok(fake_sink_whole(&h, t, &right));
    ck_assert_uint_eq(fake_sink_metric(&h, "delivered"), 2 * MESSAGES);
    close_target(flaky);
    close_target(t);
    end();
}
END_TEST

START_TEST(batches_at_a_time_go_on_each_where_it_was)
{
    begin();
    struct tpc_batch halves[2] = { batch_of(0, MESSAGES / 2),
                                   batch_of(MESSAGES / 2, MESSAGES / 2) };
    void *flaky = target("/every", ""); /* every second request fails */
    bool done[2] = { false, false };
    uint32_t ends = 0;
    for (uint64_t round = 0; round < 20 && !(done[0] && done[1]); round++) {
        uint32_t from = ends;
        for (uint64_t i = 0; i < 2; i++) {
            if (!done[i]) {
                tk_ok(h.ops->send(h.self, flaky, &halves[i], 100 + round * 2 + i));
                ends++;
            }
        }
        ck_assert(fake_sink_wait(&h, ends));
        for (uint32_t i = from; i < ends; i++) {
            done[h.sent[i].ticket % 2] = h.sent[i].err.code == 0;
        }
    }
    ck_assert(done[0] && done[1]);
    ck_assert_uint_eq(fake_sink_metric(&h, "delivered"), MESSAGES);
    close_target(flaky);
    end();
}
END_TEST

START_TEST(outage_of_an_hour_loses_nothing_and_keeps_the_order)
{
    begin();
    struct tpc_batch b = batch_of(0, MESSAGES);
    void *t = target("/hook", "");
    stand_in_stop(&server);
    /* The part of forward: the same batch again, with pauses that double up to five minutes. */
    uint64_t pause_ms = 1000, gone_ms = 0;
    unsigned tries = 0;
    while (gone_ms < 3600000) {
        tk_fails(TPC_EOFFLINE, fake_sink_whole(&h, t, &b));
        tk_clock_advance(&env.clock, pause_ms);
        gone_ms += pause_ms;
        pause_ms = pause_ms * 2 < 300000 ? pause_ms * 2 : 300000;
        tries++;
    }
    ck_assert_uint_lt(tries, 30);
    ck_assert(stand_in_start(&server, "http_server", NULL));
    tk_ok(fake_sink_whole(&h, t, &b));
    ck_assert_uint_eq(stand_in_count(&server), MESSAGES);
    for (unsigned i = 0; i < MESSAGES; i++) {
        ck_assert_int_eq(number_in(i), (int) i);
    }
    close_target(t);
    end();
}
END_TEST

START_TEST(certificate_without_an_authority_is_refused_and_taken_with_it)
{
    char cert[512], key[512], json[1300];
    struct stand_in tls = { 0 };
    void *t = NULL;
    if (!stand_in_certificate(cert, key)) {
        tk_skip("https", "openssl is not installed");
        return;
    }
    const char *const more[] = { "--tls", cert, key, NULL };
    ck_assert(stand_in_start(&tls, "http_server", more));
    begin();
    struct tpc_batch b = batch_of(0, 1);
    static const char *const forms[] = {
        "{\"url\":\"https://127.0.0.1:%d/\"}%.0s",
        "{\"url\":\"https://127.0.0.1:%d/\",\"tls\":{\"ca\":\"%s\"}}",
        "{\"url\":\"https://127.0.0.1:%d/\",\"tls\":{\"verify\":false}}%.0s"
    };
    for (int i = 0; i < 3; i++) {
        snprintf(json, sizeof(json), forms[i], tls.port, cert);
        tk_ok(fake_sink_open(&h, "main/forward/t", json, &t));
        int rc = fake_sink_whole(&h, t, &b);
        ck_assert_int_eq(rc, i == 0 ? TPC_EDENIED : 0);
        close_target(t);
    }
    end();
    stand_in_stop(&tls);
}
END_TEST

START_TEST(notifications_go_out_in_the_forms_of_thingspanel_and_telegram)
{
    begin();
    static const struct tpc_member text = { TPC_STR_INIT("text"),
                                            { .type = TPC_TEXT, .len = 3, .as.text = "hot" } };
    struct tpc_batch b = batch_of(0, 1);
    char more[256];
    messages[0].kind = TPC_MSG_NOTIFY;
    messages[0].params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &text };
    void *panel = target("/panel", ",\"format\":\"thingspanel\",\"secret\":\"k\"");
    snprintf(more, sizeof(more),
             ",\"format\":\"telegram\",\"token\":\"12:ab_c\",\"chat_id\":\"-5\"");
    void *telegram = target("/", more);
    tk_ok(fake_sink_whole(&h, panel, &b));
    tk_ok(fake_sink_whole(&h, telegram, &b));
    struct tpc_value r = request(0);
    ck_assert_ptr_nonnull(strstr(member(&r, "body"), "\"content\":\"hot\""));
    ck_assert_uint_eq(strlen(header(&r, "x-signature-256")), 71);
    r = request(1);
    ck_assert_str_eq(member(&r, "path"), "/bot12:ab_c/sendMessage");
    ck_assert_str_eq(header(&r, "authorization"), "");
    ck_assert_str_eq(member(&r, "body"),
                     "{\"chat_id\":\"-5\",\"disable_web_page_preview\":true,\"text\":\"hot\"}");
    close_target(panel);
    close_target(telegram);
    end();
}
END_TEST

START_TEST(wrong_options_of_a_target_are_refused_with_a_reason)
{
    static const char *const bad[] = {
        "{}",
        "{\"url\":\"ftp://h/\"}",
        "{\"url\":\"http://u:p@h/\"}",
        "{\"url\":\"http://h/\",\"method\":\"GET\"}",
        "{\"url\":\"http://h/\",\"headers\":{\"A\":5}}",
        "{\"url\":\"http://h/\",\"headers\":{\"A\":\"x\\r\\nB: y\"}}",
        "{\"url\":\"http://h/\",\"headers\":{\"A B\":\"x\"}}",
        "{\"url\":\"http://h/\",\"headers\":{\"Content-Length\":\"1\"}}",
        "{\"url\":\"http://h/\",\"headers\":{\"idempotency-KEY\":\"1\"}}",
        "{\"url\":\"http://h/\",\"token\":\"a\\nb\"}",
        "{\"url\":\"http://h/\",\"token\":\"a\",\"user\":\"u\"}",
        "{\"url\":\"http://h/\",\"format\":\"thingspanel\",\"batch\":true}",
        "{\"format\":\"telegram\"}",
        "{\"format\":\"telegram\",\"token\":\"a/b\",\"chat_id\":\"1\"}",
        "{\"url\":\"http://h/\",\"no_such_option\":1}",
    };
    begin();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        void *t = NULL;
        int rc = fake_sink_open(&h, "main/forward/t", bad[i], &t);
        ck_assert_msg(rc == TPC_EINVAL, "%s: %s", bad[i], tpc_error_name(rc));
        ck_assert_str_ne(h.last_fail, "");
        h.last_fail[0] = '\0';
    }
    end();
}
END_TEST

START_TEST(body_over_its_limit_is_the_messages_fault)
{
    begin();
    struct tpc_batch b = batch_of(0, MESSAGES);
    void *t = target("/hook", ",\"batch\":true,\"body_max\":256");
    tk_fails(TPC_ETOOBIG, fake_sink_whole(&h, t, &b));
    b.count = 1;
    tk_ok(fake_sink_whole(&h, t, &b));
    close_target(t);
    end();
}
END_TEST

START_TEST(stop_tells_sends_that_hang_and_a_restart_goes_on)
{
    begin();
    struct tpc_batch b = batch_of(0, 2);
    void *hang = target("/hang", "");
    void *t = target("/hook", "");
    tk_ok(h.ops->send(h.self, hang, &b, 77));
    while (stand_in_count(&server) == 0) {
    }
    h.ops->stop(h.self);
    ck_assert_uint_eq(h.sent_count, 1);
    ck_assert_uint_eq(h.sent[0].ticket, 77);
    ck_assert_int_eq(h.sent[0].err.code, TPC_ECANCELED);
    tk_fails(TPC_ECANCELED, h.ops->send(h.self, t, &b, 78));
    tk_ok(h.ops->start(h.self));
    tk_ok(fake_sink_whole(&h, t, &b));
    close_target(hang);
    close_target(t);
    end();
}
END_TEST

START_TEST(sink_without_a_client_says_so)
{
    begin();
    struct fake_sink lone;
    void *t = NULL;
    tk_ok(fake_sink_init(&lone, &env, tpc_module_webhook(), "{}"));
    tk_fails(TPC_EAGAIN, fake_sink_open(&lone, "x", "{\"url\":\"http://h/\"}", &t));
    tk_fails(TPC_ENOENT, fake_sink_start(&lone));
    fake_sink_stop(&lone);
    fake_sink_fini(&lone);
    end();
}
END_TEST

static int whole_once(const struct tpc_allocator *alloc, void *user)
{
    struct tk_env mine;
    struct fake_sink s;
    struct tpc_batch b = batch_of(0, 3);
    char json[256];
    void *t = NULL;
    (void) user;
    tk_env_init(&mine);
    mine.alloc.base = *alloc;
    int rc = fake_sink_init(&s, &mine, tpc_module_webhook(), "{}");
    s.service = client.offered;
    s.service_self = client.offered_self;
    if (rc == 0 && (rc = fake_sink_start(&s)) == 0) {
        snprintf(json, sizeof(json),
                 "{\"url\":\"http://127.0.0.1:%d/hook\",\"secret\":\"s\",\"token\":\"t\"}",
                 server.port);
        rc = fake_sink_open(&s, "main/forward/t", json, &t);
        if (rc == 0) {
            rc = fake_sink_whole(&s, t, &b);
            s.ops->target_close(s.self, t);
        }
        fake_sink_stop(&s);
    }
    fake_sink_fini(&s);
    tk_env_fini(&mine);
    return rc;
}

START_TEST(each_allocation_may_fail)
{
    begin();
    tk_each_alloc_fails(whole_once, NULL);
    end();
}
END_TEST

static bool subject_begun;

static void subject_begin(struct fake_sink *s)
{
    tk_env_init(&env);
    client_up("{}");
    s->service = client.offered;
    s->service_self = client.offered_self;
    subject_begun = true;
}

static void subject_end(struct fake_sink *s)
{
    (void) s;
    if (!subject_begun) {
        return;
    }
    subject_begun = false;
    fake_stop(&client);
    fake_fini(&client);
    tk_env_fini(&env);
}

/* Nobody is there: what every sink must do, it must do then, too. */
static const struct sink_subject subject = { .module = tpc_module_webhook,
                                             .options = "{}",
                                             .target = "{\"url\":\"http://127.0.0.1:9/\"}",
                                             .bad_target = "{\"url\":\"ftp://h/\"}",
                                             .begin = subject_begin,
                                             .end = subject_end };

Suite *hook_suite(void)
{
    Suite *s = suite_create("webhook");
    TCase *t = tcase_create("webhook");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, message_is_posted_signed_and_with_its_key);
    tcase_add_test(t, batch_goes_message_by_message_in_order_or_as_one_array);
    tcase_add_test(t, batch_without_messages_is_through_at_once);
    tcase_add_test(t, answer_decides_what_happens_to_the_batch);
    tcase_add_test(t, server_that_names_a_time_is_left_alone_until_then);
    tcase_add_test(t, what_was_taken_is_not_posted_again_when_the_rest_comes_back);
    tcase_add_test(t, outage_of_an_hour_loses_nothing_and_keeps_the_order);
    tcase_add_test(t, batches_at_a_time_go_on_each_where_it_was);
    tcase_add_test(t, certificate_without_an_authority_is_refused_and_taken_with_it);
    tcase_add_test(t, notifications_go_out_in_the_forms_of_thingspanel_and_telegram);
    tcase_add_test(t, wrong_options_of_a_target_are_refused_with_a_reason);
    tcase_add_test(t, body_over_its_limit_is_the_messages_fault);
    tcase_add_test(t, stop_tells_sends_that_hang_and_a_restart_goes_on);
    tcase_add_test(t, sink_without_a_client_says_so);
    tcase_add_test(t, each_allocation_may_fail);
    suite_add_tcase(s, t);
    suite_add_tcase(s, sink_suite(&subject));
    return s;
}
