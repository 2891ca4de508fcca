#include "web.h"
#include "web_suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/modules.h>
#include <unistd.h>

static struct web w;
static char got[WEB_ROOM];

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

START_TEST(route_sees_the_request_and_its_answer_arrives)
{
    web_begin(&w, "");
    ck_assert_int_eq(web_ask(&w,
                             "POST /echo?a=1&b=%20 HTTP/1.1\r\nHost: a\r\nX-Key:  v 1\r\n"
                             "Content-Length: 3\r\n\r\nabc",
                             got),
                     200);
    ck_assert_ptr_nonnull(strstr(got, "\r\n\r\nhello"));
    ck_assert_ptr_nonnull(strstr(got, "Content-Type: text/plain\r\n"));
    ck_assert_ptr_nonnull(strstr(got, "X-Own: yes\r\n"));
    ck_assert_str_eq(w.seen, "POST /echo?a=1&b=%20||a=1&b= |Host=a&X-Key=v 1&Content-Length=3|abc");
    ck_assert_int_eq(web_ask(&w, GET("/things/a%2Fb/points/p%20q?x"), got), 200);
    ck_assert_ptr_nonnull(strstr(w.seen, "|id=a/b&point=p q|x=|"));
    ck_assert_int_eq(web_ask(&w, GET("/files/a/b/c"), got), 200);
    ck_assert_ptr_nonnull(strstr(w.seen, "|rest=a/b/c|"));
    web_end(&w);
}
END_TEST

START_TEST(address_of_the_peer_is_told)
{
    web_begin(&w, "");
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    ck_assert_str_eq(w.peer, "127.0.0.1");
    web_end(&w);
    if (access("/proc/net/if_inet6", R_OK) != 0) {
        tk_skip("peer by IPv6", "there is none");
        return;
    }
    web_begin_at(&w, "http://[::1]:0", "");
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    ck_assert_str_eq(w.peer, "::1");
    web_end(&w);
}
END_TEST

START_TEST(raw_braces_and_quotes_in_a_query_are_taken)
{
    web_begin(&w, "");
    ck_assert_int_eq(web_ask(&w, GET("/echo?voucher={\"k\":\"v\"}&page=1"), got), 200);
    ck_assert_ptr_nonnull(strstr(w.seen, "|voucher={\"k\":\"v\"}&page=1|"));
    ck_assert_int_eq(web_ask(&w, GET("/echo?voucher=%7B%22k%22%3A%22v%22%7D"), got), 200);
    ck_assert_ptr_nonnull(strstr(w.seen, "|voucher={\"k\":\"v\"}|"));
    web_end(&w);
}
END_TEST

START_TEST(connection_serves_requests_in_turn_also_pipelined)
{
    static const char two[] = GET("/echo") GET("/things/1");
    bool closed;
    web_begin(&w, "");
    int fd = web_connect(&w);
    for (int i = 0; i < 5; i++) {
        web_send(fd, GET("/echo"), strlen(GET("/echo")));
        ck_assert_int_eq(web_read(fd, got, NULL), 200);
    }
    close(fd);
    fd = web_connect(&w);
    web_send(fd, two, sizeof(two) - 1);
    web_send(fd, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 50);
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    while (strstr(got, "Connection: close") == NULL) {
        ck_assert_int_eq(web_read(fd, got, NULL), 200);
    }
    closed = web_closed(fd);
    ck_assert(closed);
    close(fd);
    ck_assert_uint_eq(w.calls, 8);
    ck_assert_int_eq(web_ask(&w, "GET /echo HTTP/1.0\r\n\r\n", got), 200);
    web_end(&w);
}
END_TEST

START_TEST(connection_goes_on_after_what_is_refused)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = { { GET("/nothing"), 404 },
                  { GET("/json"), 405 },
                  { GET("/a/../b"), 400 },
                  { "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{", 400 },
                  { "POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 404 },
                  { "POST /things/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\n0\r\n\r\n",
                    405 },
                  { GET("/echo"), 200 } };
    web_begin(&w, "");
    int fd = web_connect(&w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        web_send(fd, cases[i].text, strlen(cases[i].text));
        ck_assert_msg(web_read(fd, got, NULL) == cases[i].status, "%s-> %s", cases[i].text, got);
        ck_assert_msg(strstr(got, "Connection: close") == NULL, "%s-> %s", cases[i].text, got);
    }
    close(fd);
    web_end(&w);
}
END_TEST

START_TEST(head_is_answered_by_the_route_of_get)
{
    web_begin(&w, "");
    int fd = web_connect(&w);
    web_send(fd, "HEAD /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 51);
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    ck_assert_ptr_nonnull(strstr(got, "Content-Length: 5"));
    ck_assert_ptr_null(strstr(got, "hello"));
    close(fd);
    web_end(&w);
}
END_TEST

START_TEST(what_is_not_there_and_what_is_not_allowed)
{
    web_begin(&w, "");
    ck_assert_int_eq(web_ask(&w, GET("/nothing"), got), 404);
    ck_assert_ptr_nonnull(strstr(got, "{\"status\":404,\"error\":\"nothing is here\"}"));
    ck_assert_int_eq(web_ask(&w, GET("/echo/"), got), 404);
    ck_assert_int_eq(web_ask(&w, "DELETE /echo HTTP/1.1\r\nHost: a\r\n\r\n", got), 405);
    ck_assert_ptr_nonnull(strstr(got, "Allow: GET, HEAD, POST, PUT\r\n"));
    ck_assert_int_eq(web_ask(&w, GET("/json"), got), 405);
    ck_assert_ptr_nonnull(strstr(got, "Allow: POST\r\n"));
    ck_assert_int_eq(web_ask(&w, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", got), 400);
    ck_assert_uint_eq(w.calls, 0);
    ck_assert_int_eq(fake_metric(&w.host, "requests"), 5);
    web_end(&w);
}
END_TEST

START_TEST(paths_that_lead_elsewhere_are_refused)
{
    static const char *const bad[] = { GET("/files/../etc"), GET("/files/%2e%2e/etc"),
                                       GET("/files/a%00b"),  GET("/files/%c0%ae%c0%ae/x"),
                                       GET("/files/%zz"),    GET("files"),
                                       GET("/echo?a=%00") };
    web_begin(&w, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(web_ask(&w, bad[i], got) == 400, "%s%s", bad[i], got);
    }
    ck_assert_uint_eq(w.calls, 0);
    web_end(&w);
}
END_TEST

START_TEST(json_is_read_and_written)
{
    web_begin(&w, "");
    ck_assert_int_eq(web_ask(&w,
                             "POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: application/json; "
                             "charset=utf-8\r\nContent-Length: 18\r\n\r\n{\"a\": [1, 2.5, {}]}",
                             got),
                     400); /* one byte short */
    ck_assert_ptr_nonnull(strstr(got, "line 1, column 19"));
    ck_assert_int_eq(web_ask(&w,
                             "POST /json HTTP/1.1\r\nHost: a\r\n"
                             "Content-Length: 19\r\n\r\n{\"a\": [1, 2.5, {}]}",
                             got),
                     201);
    ck_assert_ptr_nonnull(strstr(got, "\r\n\r\n{\"a\":[1,2.5,{}]}"));
    ck_assert_ptr_nonnull(strstr(got, "Content-Type: application/json\r\n"));
    ck_assert_int_eq(
        web_ask(&w, "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", got), 201);
    ck_assert_ptr_nonnull(strstr(got, "\r\n\r\nnull"));
    ck_assert_int_eq(web_ask(&w,
                             "POST /json HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
                             "Content-Length: 2\r\n\r\n{}",
                             got),
                     415);
    ck_assert_int_eq(web_ask(&w,
                             "POST /json HTTP/1.1\r\nHost: a\r\n"
                             "Content-Length: 9\r\n\r\n{\"a\":\n\"}\x01",
                             got),
                     400);
    ck_assert_ptr_nonnull(strstr(got, "line 2"));
    web_end(&w);
}
END_TEST

START_TEST(large_json_goes_both_ways)
{
    enum { ITEMS = 20000 };
    static char body[2 * ITEMS + 2], text[sizeof(body) + 200];
    for (int i = 0; i < ITEMS; i++) {
        body[1 + 2 * i] = '1';
        body[2 + 2 * i] = ',';
    }
    body[0] = '[';
    body[2 * ITEMS] = ']';
    web_begin(&w, "");
    int n = snprintf(text, sizeof(text),
                     "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s",
                     2 * ITEMS + 1, body);
    ck_assert_int_eq(web_ask_bytes(&w, text, (size_t) n, got), 201);
    char said[64];
    (void) snprintf(said, sizeof(said), "Content-Length: %d\r\n", 2 * ITEMS + 1);
    ck_assert_ptr_nonnull(strstr(got, said));
    web_end(&w);
    web_begin(&w, "\"json_max\":65536");
    ck_assert_int_eq(web_ask_bytes(&w, text, (size_t) n, got), 413);
    web_end(&w);
}
END_TEST

START_TEST(route_is_added_once_and_wholly_or_not_at_all)
{
    static const struct tpc_http_route good[] = {
        { .method = "GET", .path = "/new/{x}", .fn = (tpc_http_route_fn *) NULL },
        { .method = "GET", .path = "/things/{other}", .fn = (tpc_http_route_fn *) NULL },
    };
    struct tpc_http_route two[2];
    struct tpc_list list = { two, 2, sizeof(two[0]) };
    struct tpc_error err;
    uint64_t id = 77;
    web_begin(&w, "");
    memcpy(two, good, sizeof(two));
    tk_fails(TPC_EINVAL, w.ops->add(w.self, &list, NULL, &err, &id));
    ck_assert_ptr_nonnull(strstr(err.text, "no function"));
    two[0].fn = (tpc_http_route_fn *) (uintptr_t) 16;
    two[1].fn = two[0].fn;
    tk_fails(TPC_EEXIST, w.ops->add(w.self, &list, NULL, &err, &id));
    ck_assert_ptr_nonnull(strstr(err.text, "/things/{other}"));
    two[1].path = "/bad/{";
    tk_fails(TPC_EINVAL, w.ops->add(w.self, &list, NULL, &err, &id));
    two[1].path = "/fine";
    two[1].method = "get";
    tk_fails(TPC_EINVAL, w.ops->add(w.self, &list, NULL, &err, &id));
    ck_assert_uint_eq(id, 77);
    ck_assert_int_eq(web_ask(&w, GET("/new/1"), got), 404);
    w.ops->remove(w.self, w.set);
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 404);
    web_end(&w);
}
END_TEST

static void count_tell(void *user, const struct tpc_tell *t)
{
    double *sum = user;
    *sum += strcmp(t->metric, "route_requests") == 0 ? t->value : 0;
}

START_TEST(what_happens_is_counted)
{
    double told = 0;
    web_begin(&w, "");
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    ck_assert_int_eq(web_ask(&w, GET("/none?voucher=secret"), got), 404);
    ck_assert(web_wait_metric(&w, "status_2xx", 1));
    ck_assert(web_wait_metric(&w, "status_4xx", 1));
    ck_assert_int_eq(fake_metric(&w.host, "bytes_out"), 5);
    w.host.ops->tell(w.host.self, count_tell, &told);
    ck_assert(told > 0.9 && told < 1.1);
    fake_stop(&w.host); /* all lines are written */
    ck_assert_uint_eq(tk_env_logged(&w.env, "127.0.0.1 GET /echo: 200, 5 bytes"), 1);
    ck_assert_uint_eq(tk_env_logged(&w.env, "127.0.0.1 GET /none: 404, "), 1);
    ck_assert_uint_eq(tk_env_logged(&w.env, "secret"), 0);
    web_end(&w);
}
END_TEST

START_TEST(option_that_is_wrong_is_named)
{
    static const char *const bad[] = {
        "{\"listen\":[\"ftp://127.0.0.1:1\"]}",
        "{\"listen\":[\"http://127.0.0.1\"]}",
        "{\"listen\":[\"http://127.0.0.1:70000\"]}",
        "{\"listen\":[\"http://name:80\"]}",
        "{\"listen\":[\"https://127.0.0.1:0\"]}",
        "{\"listen\":[\"https://127.0.0.1:0\"],\"tls\":{\"cert\":\"/nowhere\",\"key\":\"/"
        "nowhere\"}}",
        "{\"listen\":[]}",
        "{}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tk_env env;
        struct fake_host host;
        tk_env_init(&env);
        ck_assert_msg(fake_init(&host, &env, fake_adapter_of(tpc_module_http()), bad[i]) ==
                          TPC_EINVAL,
                      "%s", bad[i]);
        fake_fini(&host);
        tk_env_fini(&env);
    }
}
END_TEST

START_TEST(port_that_is_taken_fails_the_start)
{
    struct tk_env env;
    struct fake_host host;
    char json[100];
    web_begin(&w, "");
    tk_env_init(&env);
    (void) snprintf(json, sizeof(json), "{\"listen\":[\"http://[::1]:0\",\"http://127.0.0.1:%u\"]}",
                    w.port);
    tk_ok(fake_init(&host, &env, fake_adapter_of(tpc_module_http()), json));
    tk_fails(TPC_EIO, fake_start(&host));
    fake_stop(&host);
    fake_fini(&host);
    tk_env_fini(&env);
    web_end(&w);
}
END_TEST

Suite *server_suite(void)
{
    Suite *s = suite_create("server");
    TCase *t = tcase_create("server");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, route_sees_the_request_and_its_answer_arrives);
    tcase_add_test(t, address_of_the_peer_is_told);
    tcase_add_test(t, raw_braces_and_quotes_in_a_query_are_taken);
    tcase_add_test(t, connection_serves_requests_in_turn_also_pipelined);
    tcase_add_test(t, connection_goes_on_after_what_is_refused);
    tcase_add_test(t, head_is_answered_by_the_route_of_get);
    tcase_add_test(t, what_is_not_there_and_what_is_not_allowed);
    tcase_add_test(t, paths_that_lead_elsewhere_are_refused);
    tcase_add_test(t, json_is_read_and_written);
    tcase_add_test(t, large_json_goes_both_ways);
    tcase_add_test(t, route_is_added_once_and_wholly_or_not_at_all);
    tcase_add_test(t, what_happens_is_counted);
    tcase_add_test(t, option_that_is_wrong_is_named);
    tcase_add_test(t, port_that_is_taken_fails_the_start);
    suite_add_tcase(s, t);
    return s;
}
