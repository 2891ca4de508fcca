#include "retry.h"
#include "syntax.h"
#include "http_suites.h"

#include <string.h>

static int url(const char *text, char origin[HTTP_ORIGIN_MAX])
{
    struct tpc_error err;
    return http_check_url(tpc_str_from(text), &err, origin);
}

START_TEST(origin_is_scheme_host_and_port)
{
    static const char *const pairs[][2] = {
        { "http://a", "http://a:80" },
        { "HTTPS://Example.ORG", "https://example.org:443" },
        { "http://127.0.0.1:8080/x?y=1#z", "http://127.0.0.1:8080" },
        { "https://[::1]:9/x", "https://[::1]:9" },
        { "https://[2001:db8::7]", "https://[2001:db8::7]:443" },
        { "http://my_host-1.lan?q=a@b", "http://my_host-1.lan:80" },
        { "http://h:65535", "http://h:65535" },
    };
    char origin[HTTP_ORIGIN_MAX];
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        tk_ok(url(pairs[i][0], origin));
        ck_assert_str_eq(origin, pairs[i][1]);
    }
}
END_TEST

START_TEST(what_is_no_url_of_the_web_is_refused)
{
    static const char *const bad[] = {
        "",
        "http",
        "http:/",
        "http://",
        "ftp://h/",
        "file:///x",
        "gopher://h",
        "http://u:p@h/",
        "http://@h",
        "http://h@evil/",
        "http://h:",
        "http://h:0",
        "http://h:65536",
        "http://h:1x",
        "http://h:123456",
        "http://[::",
        "http://[]",
        "http://[zz]/",
        "http://a b/",
        "http://h/\r\nX: y",
        "http://-h/",
        "http://h\\@e/",
        "http://h/\xc3\xa4",
        "//h/",
        " http://h",
        "http://%41",
        "http://[::1]x/",
        "http://h:80:80/",
        "javascript:1",
        "http://.h/",
    };
    char origin[HTTP_ORIGIN_MAX];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = url(bad[i], origin);
        ck_assert_msg(rc == TPC_EINVAL, "\"%s\" was taken", bad[i]);
    }
}
END_TEST

START_TEST(long_hosts_and_urls_are_refused)
{
    char text[HTTP_URL_MAX + 32], origin[HTTP_ORIGIN_MAX];
    memset(text, 'a', sizeof(text));
    memcpy(text, "https://", 8);
    text[8 + HTTP_HOST_MAX] = '\0';
    tk_ok(url(text, origin));
    text[8 + HTTP_HOST_MAX] = 'a';
    text[8 + HTTP_HOST_MAX + 1] = '\0';
    tk_fails(TPC_EINVAL, url(text, origin));
    text[8 + HTTP_HOST_MAX + 1] = 'a';
    text[10] = '/';
    text[HTTP_URL_MAX] = '\0';
    tk_ok(url(text, origin));
    text[HTTP_URL_MAX] = 'a';
    text[HTTP_URL_MAX + 1] = '\0';
    tk_fails(TPC_EINVAL, url(text, origin));
}
END_TEST

static int header(struct tpc_str name, struct tpc_str value)
{
    struct tpc_error err;
    struct tpc_http_header h = { name, value };
    return http_check_header(&h, &err);
}

START_TEST(header_that_would_end_its_line_or_frame_the_message_is_refused)
{
    tk_ok(header(TPC_STR("X-Key"), TPC_STR("a b\tc")));
    tk_ok(header(TPC_STR("Content-Type"), TPC_STR("text/plain; charset=\"x\"")));
    tk_ok(header(TPC_STR("X"), TPC_STR("")));
    tk_ok(header(TPC_STR("X"), TPC_STR("gr\xc3\xbc\xc3\x9f")));
    tk_fails(TPC_EINVAL, header(TPC_STR(""), TPC_STR("x")));
    tk_fails(TPC_EINVAL, header(TPC_STR("A B"), TPC_STR("x")));
    tk_fails(TPC_EINVAL, header(TPC_STR("A:"), TPC_STR("x")));
    tk_fails(TPC_EINVAL, header(TPC_STR("A\r\nB"), TPC_STR("x")));
    tk_fails(TPC_EINVAL, header(TPC_STR("A"), TPC_STR("x\r\nB: y")));
    tk_fails(TPC_EINVAL, header(TPC_STR("A"), TPC_STR("x\ny")));
    tk_fails(TPC_EINVAL, header(TPC_STR("A"), TPC_STR("x\0y")));
    tk_fails(TPC_EINVAL, header(TPC_STR("content-LENGTH"), TPC_STR("3")));
    tk_fails(TPC_EINVAL, header(TPC_STR("Transfer-Encoding"), TPC_STR("chunked")));
    tk_fails(TPC_EINVAL, header(TPC_STR("Connection"), TPC_STR("close")));
}
END_TEST

START_TEST(methods_are_capital_letters)
{
    ck_assert(http_method_valid(TPC_STR("PATCH")));
    ck_assert(!http_method_valid(TPC_STR("")));
    ck_assert(!http_method_valid(TPC_STR("get")));
    ck_assert(!http_method_valid(TPC_STR("GET /x")));
    ck_assert(!http_method_valid(TPC_STR("ABCDEFGHIJKLMNOPQ")));
}
END_TEST

START_TEST(head_gives_its_headers_and_passes_over_the_rest)
{
    struct tpc_str head =
        TPC_STR("HTTP/1.1 200 OK\r\nA:1\r\nb :2\r\n folded: x\r\nC:  3 \t\r\nD:\nno\r\n"
                "E: a:b\r\n\r\nF: last");
    static const char *const want[][2] = {
        { "A", "1" }, { "C", "3" }, { "D", "" }, { "E", "a:b" }, { "F", "last" }
    };
    struct tpc_http_header h;
    size_t pos = 0, n = 0;
    while (http_head_next(head, &pos, &h)) {
        ck_assert_uint_lt(n, 5);
        ck_assert(tpc_str_equal(h.name, tpc_str_from(want[n][0])));
        ck_assert(tpc_str_equal(h.value, tpc_str_from(want[n][1])));
        n++;
    }
    ck_assert_uint_eq(n, 5);
}
END_TEST

START_TEST(wait_before_the_next_try_doubles_and_heeds_the_server)
{
    static const struct {
        uint32_t tries, base_ms;
        const char *after;
        uint32_t chance;
        uint64_t ms; /* 0 = no more tries */
    } cases[] = {
        { 1, 0, "", 0, 500 },
        { 1, 0, "", 250, 250 },
        { 1, 0, "", 251, 500 },
        { 3, 100, "", 0, 400 },
        { 10, 1000, "", 0, 60000 },
        { 10, UINT32_MAX, "", 0, 60000 },
        { 1, 100, "2", 0, 2000 },
        { 1, 5000, "2", 0, 5000 },
        { 1, 100, "60", 0, 60000 },
        { 1, 100, "61", 0, 0 },
        { 1, 100, "99999999999999999999", 0, 0 },
        { 1, 100, "Sat, 21 Nov 2026 20:24:39 GMT", 0, 100 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ms = 0;
        bool more = http_retry_delay(cases[i].tries, cases[i].base_ms, tpc_str_from(cases[i].after),
                                     cases[i].chance, &ms);
        ck_assert_msg(more == (cases[i].ms != 0) && ms == cases[i].ms, "case %zu: %d %llu", i, more,
                      (unsigned long long) ms);
    }
    ck_assert(http_retry_wanted(TPC_EOFFLINE, 0) && http_retry_wanted(TPC_ETIMEOUT, 0));
    ck_assert(!http_retry_wanted(TPC_EDENIED, 0) && !http_retry_wanted(TPC_EIO, 503));
    ck_assert(http_retry_wanted(0, 429) && http_retry_wanted(0, 504));
    ck_assert(!http_retry_wanted(0, 200) && !http_retry_wanted(0, 500) &&
              !http_retry_wanted(0, 505));
}
END_TEST

Suite *syntax_suite(void)
{
    Suite *s = suite_create("http syntax");
    TCase *t = tcase_create("syntax");
    tcase_add_test(t, origin_is_scheme_host_and_port);
    tcase_add_test(t, what_is_no_url_of_the_web_is_refused);
    tcase_add_test(t, long_hosts_and_urls_are_refused);
    tcase_add_test(t, header_that_would_end_its_line_or_frame_the_message_is_refused);
    tcase_add_test(t, methods_are_capital_letters);
    tcase_add_test(t, head_gives_its_headers_and_passes_over_the_rest);
    tcase_add_test(t, wait_before_the_next_try_doubles_and_heeds_the_server);
    suite_add_tcase(s, t);
    return s;
}
