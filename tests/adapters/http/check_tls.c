/* Listeners with TLS, asked by libcurl. */
#include "web.h"
#include "web_suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/modules.h>
#include <unistd.h>

#ifdef HAVE_CURL
#include <curl/curl.h>

static struct web w;

static void on_get(void *user, const struct tpc_http_call *c)
{
    struct tpc_http_answer a = { .size = sizeof(a), .status = 200 };
    (void) user;
    a.body = (struct tpc_bytes){ (const uint8_t *) "safe", 4 };
    tk_ok(w.ops->reply(w.self, c->id, &a));
}

static const struct tpc_http_route routes[] = { { .method = "GET", .path = "/", .fn = on_get } };

static void tls_up(void)
{
    const struct tpc_list list = TPC_LIST(routes);
    memset(&w, 0, sizeof(w));
    tk_env_init(&w.env);
    /* The files are the system's here, not the kit's. */
    w.env.files.base = *tpi_files_system();
    int rc = fake_init(
        &w.host, &w.env, fake_adapter_of(tpc_module_http()),
        "{\"listen\":[\"https://127.0.0.1:0\",\"http://127.0.0.1:0\"],\"tls\":{\"cert\":\"" PEM_DIR
        "/server.pem\",\"key\":\"" PEM_DIR "/server.key\"}}");
    ck_assert_msg(rc == 0, "%s", w.host.last_fail);
    w.ops = w.host.offered;
    w.self = w.host.offered_self;
    tk_ok(w.ops->add(w.self, &list, NULL, NULL, &w.set));
    tk_ok(fake_start(&w.host));
}

static void tls_down(void)
{
    fake_stop(&w.host);
    fake_fini(&w.host);
    tk_env_fini(&w.env);
}

static size_t keep(char *p, size_t one, size_t n, void *user)
{
    char *body = user;
    size_t used = strlen(body);
    (void) one;
    if (used + n < 64) {
        memcpy(body + used, p, n);
        body[used + n] = '\0';
    }
    return n;
}

/* Returns libcurl's code. */
static CURLcode get(uint32_t listener, const char *ca, long versions, char body[64])
{
    char url[64];
    CURL *easy = curl_easy_init();
    ck_assert_ptr_nonnull(easy);
    (void) snprintf(url, sizeof(url), "https://127.0.0.1:%u/", w.ops->port(w.self, listener));
    body[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CAINFO, ca);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, versions);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 5000L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_cleanup(easy);
    return code;
}

START_TEST(tls_is_spoken_from_1_2_on_and_beside_plain_http)
{
    char body[64];
    tls_up();
    ck_assert_int_eq(get(0, PEM_DIR "/ca.pem", CURL_SSLVERSION_TLSv1_2, body), CURLE_OK);
    ck_assert_str_eq(body, "safe");
    ck_assert_int_eq(
        get(0, PEM_DIR "/ca.pem", CURL_SSLVERSION_TLSv1_2 | CURL_SSLVERSION_MAX_TLSv1_2, body),
        CURLE_OK);
    ck_assert_str_eq(body, "safe");
    ck_assert_int_ne(
        get(0, PEM_DIR "/ca.pem", CURL_SSLVERSION_TLSv1_0 | CURL_SSLVERSION_MAX_TLSv1_1, body),
        CURLE_OK);
    ck_assert_int_eq(get(0, PEM_DIR "/ca2.pem", CURL_SSLVERSION_TLSv1_2, body),
                     CURLE_PEER_FAILED_VERIFICATION);
    ck_assert_int_ne(get(1, PEM_DIR "/ca.pem", CURL_SSLVERSION_TLSv1_2, body), CURLE_OK);
    tls_down();
}
END_TEST

START_TEST(peer_that_does_not_shake_hands_is_cut)
{
    tls_up();
    w.port = w.ops->port(w.self, 0);
    int fd = web_connect(&w);
    ck_assert(web_wait_metric(&w, "connections", 1));
    web_send(fd, "\x16", 1);
    tk_clock_advance(&w.env.clock, 10001);
    ck_assert(web_closed(fd));
    close(fd);
    tls_down();
}
END_TEST

START_TEST(key_of_another_certificate_fails_the_start)
{
    memset(&w, 0, sizeof(w));
    tk_env_init(&w.env);
    w.env.files.base = *tpi_files_system();
    tk_ok(fake_init(&w.host, &w.env, fake_adapter_of(tpc_module_http()),
                    "{\"listen\":[\"https://127.0.0.1:0\"],\"tls\":{\"cert\":\"" PEM_DIR
                    "/server.pem\",\"key\":\"" PEM_DIR "/a.key\"}}"));
    tk_fails(TPC_EINVAL, fake_start(&w.host));
    tls_down();
}
END_TEST
#endif

Suite *tls_suite(void)
{
    Suite *s = suite_create("tls");
    TCase *t = tcase_create("tls");
    tcase_set_timeout(t, 60);
#ifdef HAVE_CURL
    tcase_add_test(t, tls_is_spoken_from_1_2_on_and_beside_plain_http);
    tcase_add_test(t, peer_that_does_not_shake_hands_is_cut);
    tcase_add_test(t, key_of_another_certificate_fails_the_start);
#else
    tk_skip("tls", "libcurl is not installed");
#endif
    suite_add_tcase(s, t);
    return s;
}
