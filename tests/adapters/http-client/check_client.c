#include "asks.h"
#include "http_suites.h"
#include "stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/modules.h>

static struct stand_in server;
static struct asks a;

static void server_up(void)
{
    ck_assert(stand_in_start(&server, "http_server", NULL));
}

static void server_down(void)
{
    stand_in_stop(&server);
}

/* One request with the defaults; the answer in *k. */
static void get(struct ask *k, const char *path)
{
    ask_init(k, "GET", server.port, path, NULL);
    ask_whole(&a, k);
}

START_TEST(request_arrives_as_it_was_given_and_the_answer_comes_back)
{
    struct ask k;
    static const struct tpc_http_header headers[] = {
        { TPC_STR_INIT("X-Key"), TPC_STR_INIT("v 1") },
        { TPC_STR_INIT("X-Empty"), TPC_STR_INIT("") },
        { TPC_STR_INIT("Content-Type"), TPC_STR_INIT("application/json") },
    };
    asks_begin(&a, "{\"user_agent\":\"tester/1\"}");
    ask_init(&k, "PUT", server.port, "/echo?a=%20b", "{\"x\":\"\xc3\xa4\"}");
    k.q.headers = (struct tpc_list) TPC_LIST(headers);
    k.q.user = TPC_STR("joe");
    k.q.password = TPC_STR("s3:cret");
    ask_whole(&a, &k);
    ck_assert_msg(k.code == 0, "%s", k.text);
    ck_assert_uint_eq(k.status, 200);
    ck_assert_ptr_nonnull(strstr(k.body, "\"path\": \"/echo?a=%20b\""));
    ck_assert_ptr_nonnull(strstr(k.body, "\"method\": \"PUT\""));
    ck_assert_ptr_nonnull(strstr(k.body, "\"x-key\": \"v 1\""));
    ck_assert_ptr_nonnull(strstr(k.body, "\"x-empty\": \"\""));
    ck_assert_ptr_nonnull(strstr(k.body, "\"content-type\": \"application/json\""));
    ck_assert_ptr_nonnull(strstr(k.body, "\"user-agent\": \"tester/1\""));
    ck_assert_ptr_nonnull(strstr(k.body, "\"authorization\": \"Basic am9lOnMzOmNyZXQ=\""));
    ck_assert_ptr_nonnull(strstr(k.body, "\"body\": \"{\\\"x\\\":\\\"\\u00e4\\\"}\""));
    ck_assert_ptr_null(strstr(k.body, "expect"));
    ck_assert_str_eq(k.connection, "1");
    asks_end(&a);
}
END_TEST

START_TEST(method_follows_the_body_and_no_type_is_made_up)
{
    struct ask k;
    asks_begin(&a, "{}");
    ask_init(&k, "", server.port, "/echo", NULL);
    ask_whole(&a, &k);
    ck_assert_ptr_nonnull(strstr(k.body, "\"GET\""));
    ask_init(&k, "", server.port, "/echo", "x");
    ask_whole(&a, &k);
    ck_assert_ptr_nonnull(strstr(k.body, "\"POST\""));
    ck_assert_ptr_null(strstr(k.body, "content-type"));
    ask_init(&k, "POST", server.port, "/echo", NULL);
    ask_whole(&a, &k);
    ck_assert_ptr_nonnull(strstr(k.body, "\"content-length\": \"0\""));
    ask_init(&k, "DELETE", server.port, "/echo", NULL);
    ask_whole(&a, &k);
    ck_assert_ptr_nonnull(strstr(k.body, "\"DELETE\""));
    ask_init(&k, "HEAD", server.port, "/big", NULL);
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, 0);
    ck_assert_uint_eq(k.status, 200);
    ck_assert_uint_eq(k.len, 0);
    asks_end(&a);
}
END_TEST

START_TEST(one_connection_serves_requests_in_turn)
{
    struct ask k;
    asks_begin(&a, "{}");
    char first[32];
    get(&k, "/echo");
    memcpy(first, k.connection, sizeof(first));
    ck_assert_str_ne(first, "");
    for (int i = 0; i < 5; i++) {
        get(&k, "/echo");
        ck_assert_int_eq(k.code, 0);
        ck_assert_str_eq(k.connection, first);
    }
    asks_end(&a);
}
END_TEST

START_TEST(any_status_is_an_answer_and_early_ones_are_passed_over)
{
    struct ask k;
    asks_begin(&a, "{}");
    get(&k, "/status/503?after=7");
    ck_assert_int_eq(k.code, 0);
    ck_assert_uint_eq(k.status, 503);
    ck_assert_str_eq(k.after, "7");
    get(&k, "/early");
    ck_assert_int_eq(k.code, 0);
    ck_assert_uint_eq(k.status, 200);
    ck_assert_str_eq(k.hint, "");
    asks_end(&a);
}
END_TEST

START_TEST(broken_answers_are_errors_of_their_own)
{
    static const struct {
        const char *path;
        int code;
    } cases[] = {
        { "/reset", TPC_EOFFLINE }, { "/close", TPC_EOFFLINE }, { "/half", TPC_EOFFLINE },
        { "/garbage", TPC_EIO },    { "/heads", TPC_ETOOBIG },  { "/big", TPC_ETOOBIG },
        { "/chunks", TPC_ETOOBIG }, { "/hang", TPC_ETIMEOUT },  { "/slow", TPC_ETIMEOUT }
    };
    asks_begin(&a, "{}");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ask k;
        ask_init(&k, "GET", server.port, cases[i].path, NULL);
        k.q.timeout_ms = cases[i].code == TPC_ETIMEOUT ? 400 : 0;
        ask_whole(&a, &k);
        ck_assert_msg(k.code == cases[i].code, "%s: %s %s", cases[i].path, tpc_error_name(k.code),
                      k.text);
        ck_assert_str_ne(k.text, "");
        ck_assert_uint_le(k.len, 1 << 20);
    }
    asks_end(&a);
}
END_TEST

START_TEST(answer_over_its_limit_is_cut_where_that_is_asked_for)
{
    struct ask k;
    asks_begin(&a, "{}");
    ask_init(&k, "POST", server.port, "/chunks", "x");
    k.q.flags = TPC_HTTP_CUT;
    k.q.response_max_bytes = 1000;
    ask_whole(&a, &k);
    ck_assert_msg(k.code == 0, "%s", k.text);
    ck_assert_uint_eq(k.status, 200);
    ck_assert_uint_eq(k.len, 1000);
    ask_init(&k, "POST", server.port, "/echo", "x");
    k.q.response_max_bytes = 10;
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, TPC_ETOOBIG);
    asks_end(&a);
}
END_TEST

START_TEST(redirects_are_followed_only_on_demand_three_times_and_never_out_of_the_web)
{
    struct ask k;
    asks_begin(&a, "{}");
    get(&k, "/to");
    ck_assert_int_eq(k.code, 0);
    ck_assert_uint_eq(k.status, 302);
    ask_init(&k, "GET", server.port, "/to", NULL);
    k.q.flags = TPC_HTTP_REDIRECTS;
    ask_whole(&a, &k);
    ck_assert_uint_eq(k.status, 200);
    ck_assert_ptr_nonnull(strstr(k.body, "\"path\": \"/echo\""));
    ask_init(&k, "GET", server.port, "/loop", NULL);
    k.q.flags = TPC_HTTP_REDIRECTS;
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, TPC_EIO);
    ask_init(&k, "GET", server.port, "/tofile", NULL);
    k.q.flags = TPC_HTTP_REDIRECTS;
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, TPC_EIO);
    ck_assert_ptr_null(strstr(k.body, "root:"));
    asks_end(&a);
}
END_TEST

START_TEST(request_is_sent_again_where_it_says_so_and_that_does_no_harm)
{
    static const struct {
        const char *method, *path;
        uint32_t flags, retries, status;
        int64_t retried;
    } cases[] = {
        { "GET", "/fail/2/503/a", 0, 2, 200, 2 },
        { "GET", "/fail/2/503/b", 0, 1, 503, 1 },
        { "GET", "/fail/1/503/c", 0, 0, 503, 0 },
        { "GET", "/fail/1/500/d", 0, 3, 500, 0 },
        { "POST", "/fail/1/503/e", 0, 3, 503, 0 },
        { "POST", "/fail/1/502/f", TPC_HTTP_RETRY, 3, 200, 1 },
        { "DELETE", "/fail/1/429/g", 0, 3, 200, 1 },
        { "PUT", "/fail/1/504/h", 0, 3, 200, 1 },
    };
    int64_t retried = 0;
    asks_begin(&a, "{}");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ask k;
        ask_init(&k, cases[i].method, server.port, cases[i].path, NULL);
        k.q.flags = cases[i].flags;
        k.q.retries = cases[i].retries;
        k.q.retry_delay_ms = 10;
        ask_whole(&a, &k);
        ck_assert_msg(k.code == 0 && k.status == cases[i].status, "%s %s: %u %s", cases[i].method,
                      cases[i].path, k.status, k.text);
        retried += cases[i].retried;
        ck_assert_int_eq(fake_metric(&a.host, "retried"), retried);
    }
    ck_assert_int_eq(fake_metric(&a.host, "requests"), 8);
    asks_end(&a);
}
END_TEST

START_TEST(request_that_waits_to_be_sent_again_ends_when_it_is_called_off)
{
    struct ask k, other;
    struct tpc_error err;
    asks_begin(&a, "{\"max_in_flight\":1}");
    ask_init(&k, "GET", server.port, "/reset", NULL);
    k.q.retries = 10;
    k.q.retry_delay_ms = 60000;
    tk_ok(ask_begin(&a, &k, &err));
    get(&other, "/echo"); /* it holds up nobody */
    ck_assert_int_eq(other.code, 0);
    tk_ok(a.ops->cancel(a.self, k.id));
    ask_wait(&k);
    ck_assert_int_eq(k.code, TPC_ECANCELED);
    memset(&k, 0, sizeof(k));
    ask_init(&k, "GET", server.port, "/reset", NULL);
    k.q.retries = 11;
    tk_fails(TPC_EINVAL, ask_begin(&a, &k, &err));
    k.q.retries = 3;
    k.q.retry_delay_ms = 60000;
    tk_ok(ask_begin(&a, &k, &err));
    k.q.size = offsetof(struct tpc_http_request, retries); /* an older caller's */
    tk_ok(a.ops->check(a.self, &k.q, &err));
    asks_end(&a); /* the stop does not wait for it */
    ask_wait(&k);
    ck_assert_int_eq(k.code, TPC_ECANCELED);
}
END_TEST

START_TEST(nobody_there_is_told_as_offline)
{
    struct ask k;
    struct stand_in gone = { 0 };
    ck_assert(stand_in_start(&gone, "http_server", NULL));
    stand_in_stop(&gone);
    asks_begin(&a, "{}");
    ask_init(&k, "GET", gone.port, "/", NULL);
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, TPC_EOFFLINE);
    ck_assert_uint_eq(k.status, 0);
    asks_end(&a);
}
END_TEST

START_TEST(certificate_that_nobody_vouches_for_is_refused)
{
    char cert[512], key[512], url[64];
    struct stand_in tls = { 0 };
    struct ask k;
    if (!stand_in_certificate(cert, key)) {
        tk_skip("https", "openssl is not installed");
        return;
    }
    const char *const more[] = { "--tls", cert, key, NULL };
    ck_assert(stand_in_start(&tls, "http_server", more));
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/echo", tls.port);
    asks_begin(&a, "{}");
    ask_init(&k, "GET", 1, "", NULL);
    k.q.url = tpc_str_from(url);
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, TPC_EDENIED);
    ck_assert_uint_eq(k.status, 0);
    ask_init(&k, "GET", 1, "", NULL);
    k.q.url = tpc_str_from(url);
    k.q.ca = tpc_str_from(cert);
    ask_whole(&a, &k);
    ck_assert_msg(k.code == 0, "%s", k.text);
    ck_assert_uint_eq(k.status, 200);
    /* The connection that the authority vouched for serves nobody who does not trust it. */
    ask_init(&k, "GET", 1, "", NULL);
    k.q.url = tpc_str_from(url);
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, TPC_EDENIED);
    ask_init(&k, "GET", 1, "", NULL);
    k.q.url = tpc_str_from(url);
    k.q.flags = TPC_HTTP_INSECURE;
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, 0);
    ask_init(&k, "GET", 1, "", NULL);
    k.q.url = tpc_str_from(url);
    k.q.ca = TPC_STR("/no/such/file.pem");
    ask_whole(&a, &k);
    ck_assert_int_eq(k.code, TPC_EDENIED);
    asks_end(&a);
    stand_in_stop(&tls);
}
END_TEST

START_TEST(request_that_cannot_be_sent_is_refused_at_once)
{
    struct tpc_error err;
    struct ask k;
    static const struct tpc_http_header smuggler[] = {
        { TPC_STR_INIT("Content-Length"), TPC_STR_INIT("5") },
    };
    asks_begin(&a, "{}");
    ask_init(&k, "GET", server.port, "/", NULL);
    k.q.url = TPC_STR("file:///etc/passwd");
    tk_fails(TPC_EINVAL, ask_begin(&a, &k, &err));
    ask_init(&k, "get", server.port, "/", NULL);
    tk_fails(TPC_EINVAL, ask_begin(&a, &k, &err));
    ask_init(&k, "GET", server.port, "/", "body");
    tk_fails(TPC_EINVAL, ask_begin(&a, &k, &err));
    ask_init(&k, "POST", server.port, "/", "body");
    k.q.flags = TPC_HTTP_REDIRECTS;
    tk_fails(TPC_EINVAL, ask_begin(&a, &k, NULL));
    ask_init(&k, "POST", server.port, "/", "body");
    k.q.headers = (struct tpc_list) TPC_LIST(smuggler);
    tk_fails(TPC_EINVAL, ask_begin(&a, &k, &err));
    ask_init(&k, "GET", server.port, "/", NULL);
    k.q.size = 8;
    tk_fails(TPC_EINVAL, ask_begin(&a, &k, &err));
    ask_init(&k, "GET", server.port, "/", NULL);
    k.q.user = TPC_STR("a\0b");
    tk_fails(TPC_EINVAL, ask_begin(&a, &k, &err));
    asks_end(&a);
}
END_TEST

START_TEST(queue_is_bounded_and_cancel_and_stop_end_what_runs_and_waits)
{
    static struct ask k[6];
    struct tpc_error err;
    asks_begin(&a, "{\"max_in_flight\":4,\"max_per_host\":1,\"queue\":3}");
    ask_init(&k[0], "GET", server.port, "/hang", NULL);
    tk_ok(ask_begin(&a, &k[0], &err));
    int taken = 1;
    int rc = 0;
    for (; taken < 6 && rc == 0; taken += rc == 0) {
        ask_init(&k[taken], "GET", server.port, "/echo", NULL);
        rc = ask_begin(&a, &k[taken], &err);
    }
    /* The first may still wait or run already. */
    ck_assert_int_eq(rc, TPC_EAGAIN);
    ck_assert(taken == 3 || taken == 4);
    tk_ok(a.ops->cancel(a.self, k[2].id));
    ask_wait(&k[2]);
    ck_assert_int_eq(k[2].code, TPC_ECANCELED);
    ck_assert(!k[1].over);
    tk_ok(a.ops->cancel(a.self, k[0].id));
    ask_wait(&k[0]);
    ck_assert_int_eq(k[0].code, TPC_ECANCELED);
    ask_wait(&k[1]);
    ck_assert_int_eq(k[1].code, 0);
    tk_fails(TPC_ENOENT, a.ops->cancel(a.self, k[1].id));
    static struct ask last;
    ask_init(&last, "GET", server.port, "/hang", NULL);
    while ((rc = ask_begin(&a, &last, &err)) == TPC_EAGAIN) {
    }
    tk_ok(rc);
    asks_end(&a);
    ck_assert(last.over);
    ck_assert_int_eq(last.code, TPC_ECANCELED);
}
END_TEST

START_TEST(hanging_host_holds_up_no_other)
{
    static struct ask hang[8];
    struct ask k;
    struct tpc_error err;
    struct stand_in other = { 0 };
    ck_assert(stand_in_start(&other, "http_server", NULL));
    asks_begin(&a, "{\"max_in_flight\":4,\"max_per_host\":2}");
    for (int i = 0; i < 8; i++) {
        ask_init(&hang[i], "GET", other.port, "/hang", NULL);
        tk_ok(ask_begin(&a, &hang[i], &err));
    }
    get(&k, "/echo");
    ck_assert_int_eq(k.code, 0);
    asks_end(&a);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(hang[i].code, TPC_ECANCELED);
        ck_assert_uint_eq(hang[i].times, 1);
    }
    stand_in_stop(&other);
}
END_TEST

START_TEST(client_that_does_not_run_takes_nothing_and_may_start_again)
{
    struct ask k;
    struct tpc_error err;
    asks_begin(&a, "{}");
    a.host.ops->stop(a.host.self);
    ask_init(&k, "GET", server.port, "/echo", NULL);
    tk_fails(TPC_ESTATE, ask_begin(&a, &k, &err));
    tk_ok(a.host.ops->start(a.host.self));
    get(&k, "/echo");
    ck_assert_int_eq(k.code, 0);
    asks_end(&a);
}
END_TEST

START_TEST(environment_sets_no_proxy)
{
    struct ask k;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    asks_begin(&a, "{}");
    get(&k, "/echo");
    ck_assert_msg(k.code == 0, "%s", k.text);
    asks_end(&a);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    asks_begin(&a, "{\"proxy\":\"http://127.0.0.1:1\"}");
    get(&k, "/echo");
    ck_assert_int_eq(k.code, TPC_EOFFLINE);
    asks_end(&a);
}
END_TEST

static int whole_once(const struct tpc_allocator *alloc, void *user)
{
    const struct tpc_adapter_ops *ops = fake_adapter_of(tpc_module_http_client());
    struct tk_env env;
    struct fake_host h;
    struct ask k;
    (void) user;
    tk_env_init(&env);
    env.alloc.base = *alloc;
    int rc = fake_init(&h, &env, ops, "{}");
    if (rc == 0) {
        tk_ok(fake_start(&h));
        a.ops = h.offered;
        a.self = h.offered_self;
        ask_init(&k, "POST", server.port, "/echo", "0123456789");
        rc = ask_begin(&a, &k, NULL);
        if (rc == 0) {
            ask_wait(&k);
            rc = k.code;
        }
        fake_stop(&h);
    }
    fake_fini(&h);
    tk_env_fini(&env);
    return rc;
}

START_TEST(each_allocation_may_fail)
{
    struct ask k;
    asks_begin(&a, "{}"); /* sets up the helpers */
    get(&k, "/echo");
    asks_end(&a);
    tk_each_alloc_fails(whole_once, NULL);
}
END_TEST

static int refused(const char *options)
{
    struct tk_env env;
    struct fake_host h;
    tk_env_init(&env);
    int rc = fake_init(&h, &env, fake_adapter_of(tpc_module_http_client()), options);
    fake_fini(&h);
    tk_env_fini(&env);
    return rc;
}

START_TEST(options_are_checked_and_an_instance_may_end_unstarted)
{
    tk_ok(refused("{}"));
    tk_fails(TPC_EINVAL, refused("{\"no_such_option\":1}"));
    tk_fails(TPC_EINVAL, refused("{\"queue\":0}"));
    tk_fails(TPC_EINVAL, refused("{\"user_agent\":\"a\\r\\nX: y\"}"));
    tk_fails(TPC_EINVAL, refused("{\"ca\":\"a\\u0000b\"}"));
}
END_TEST

Suite *client_suite(void)
{
    Suite *s = suite_create("http client");
    TCase *t = tcase_create("client");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, server_up, server_down);
    tcase_add_test(t, request_arrives_as_it_was_given_and_the_answer_comes_back);
    tcase_add_test(t, method_follows_the_body_and_no_type_is_made_up);
    tcase_add_test(t, one_connection_serves_requests_in_turn);
    tcase_add_test(t, any_status_is_an_answer_and_early_ones_are_passed_over);
    tcase_add_test(t, broken_answers_are_errors_of_their_own);
    tcase_add_test(t, answer_over_its_limit_is_cut_where_that_is_asked_for);
    tcase_add_test(t, redirects_are_followed_only_on_demand_three_times_and_never_out_of_the_web);
    tcase_add_test(t, request_is_sent_again_where_it_says_so_and_that_does_no_harm);
    tcase_add_test(t, request_that_waits_to_be_sent_again_ends_when_it_is_called_off);
    tcase_add_test(t, nobody_there_is_told_as_offline);
    tcase_add_test(t, certificate_that_nobody_vouches_for_is_refused);
    tcase_add_test(t, request_that_cannot_be_sent_is_refused_at_once);
    tcase_add_test(t, queue_is_bounded_and_cancel_and_stop_end_what_runs_and_waits);
    tcase_add_test(t, hanging_host_holds_up_no_other);
    tcase_add_test(t, client_that_does_not_run_takes_nothing_and_may_start_again);
    tcase_add_test(t, environment_sets_no_proxy);
    tcase_add_test(t, each_allocation_may_fail);
    tcase_add_test(t, options_are_checked_and_an_instance_may_end_unstarted);
    suite_add_tcase(s, t);
    return s;
}
