/* Answers that come later or never, peers that are slow, and the stop. */
#include "web.h"
#include "web_suites.h"

#include <poll.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct web w;
static char got[WEB_ROOM];

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static const struct tpc_http_answer done = { .size = sizeof(done),
                                             .status = 200,
                                             .body = { (const uint8_t *) "late", 4 } };

static int ask(const char *text)
{
    int fd = web_connect(&w);
    web_send(fd, text, strlen(text));
    return fd;
}

START_TEST(answer_comes_later_from_another_thread)
{
    web_begin(&w, "");
    int fd = ask(GET("/wait"));
    ck_assert(web_wait_held(&w, 1));
    tk_ok(w.ops->reply(w.self, w.held[0], &done));
    tk_fails(TPC_ENOENT, w.ops->reply(w.self, w.held[0], &done));
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    ck_assert_ptr_nonnull(strstr(got, "\r\n\r\nlate"));
    web_send(fd, GET("/echo"), strlen(GET("/echo"))); /* the connection goes on */
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    close(fd);
    web_end(&w);
}
END_TEST

START_TEST(answer_that_is_wrong_may_be_made_good)
{
    static const struct tpc_http_header split[] = { { TPC_STR_INIT("X-A"),
                                                      TPC_STR_INIT("1\r\nX-B: 2") } };
    static const struct tpc_http_header length[] = { { TPC_STR_INIT("content-length"),
                                                       TPC_STR_INIT("1") } };
    struct tpc_http_answer bad = done;
    web_begin(&w, "");
    int fd = ask(GET("/wait"));
    ck_assert(web_wait_held(&w, 1));
    bad.status = 100;
    tk_fails(TPC_EINVAL, w.ops->reply(w.self, w.held[0], &bad));
    bad.status = 200;
    bad.headers = (struct tpc_list) TPC_LIST(split);
    tk_fails(TPC_EINVAL, w.ops->reply(w.self, w.held[0], &bad));
    bad.headers = (struct tpc_list) TPC_LIST(length);
    tk_fails(TPC_EINVAL, w.ops->reply(w.self, w.held[0], &bad));
    tk_ok(w.ops->reply(w.self, w.held[0], &done));
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    close(fd);
    web_end(&w);
}
END_TEST

START_TEST(answer_that_does_not_come_is_504)
{
    web_begin(&w, "");
    int fd = ask(GET("/wait/short"));
    ck_assert(web_wait_metric(&w, "waiting", 1));
    tk_clock_advance(&w.env.clock, 300);
    ck_assert_int_eq(web_read(fd, got, NULL), 504);
    tk_fails(TPC_ENOENT, w.ops->reply(w.self, w.held[0], &done));
    tk_fails(TPC_ENOENT, w.ops->reply(w.self, w.held[0], &done));
    ck_assert_int_eq(fake_metric(&w.host, "late_answers"), 1);
    close(fd);
    web_end(&w);
}
END_TEST

START_TEST(answer_for_a_peer_that_is_gone_goes_nowhere)
{
    web_begin(&w, "");
    int fd = ask(GET("/wait/short"));
    ck_assert(web_wait_held(&w, 1));
    ck_assert(web_wait_metric(&w, "waiting", 1));
    close(fd);
    tk_clock_advance(&w.env.clock, 300);
    ck_assert(web_wait_metric(&w, "late_answers", 1));
    tk_fails(TPC_ENOENT, w.ops->reply(w.self, w.held[0], &done));
    web_end(&w);
}
END_TEST

START_TEST(answers_that_are_awaited_are_bounded)
{
    web_begin(&w, "\"max_pending\":2");
    int a = ask(GET("/wait"));
    int b = ask(GET("/wait"));
    ck_assert(web_wait_held(&w, 2));
    ck_assert_int_eq(web_ask(&w, GET("/wait"), got), 503);
    ck_assert_ptr_nonnull(strstr(got, "Retry-After: 1\r\n"));
    tk_ok(w.ops->reply(w.self, w.held[0], &done));
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    tk_ok(w.ops->reply(w.self, w.held[1], &done));
    close(a);
    close(b);
    web_end(&w);
}
END_TEST

START_TEST(slow_head_is_cut)
{
    web_begin(&w, "\"header_timeout\":\"500ms\"");
    int fd = web_connect(&w);
    int idle = web_connect(&w); /* says nothing at all */
    ck_assert(web_wait_metric(&w, "connections", 2));
    static const char slow[] = "GET /echo HTTP/1.1\r\nX-A: ";
    for (size_t i = 0; i < sizeof(slow) - 1; i++) {
        web_send(fd, slow + i, 1);
        tk_clock_advance(&w.env.clock, 25);
    }
    ck_assert(web_closed(fd));
    ck_assert(web_closed(idle));
    ck_assert(web_wait_metric(&w, "slow_headers", 2));
    close(fd);
    close(idle);
    web_end(&w);
}
END_TEST

START_TEST(slow_body_is_cut)
{
    web_begin(&w, "\"body_timeout\":\"500ms\"");
    int fd = ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na");
    ck_assert(web_wait_metric(&w, "bytes_in", 1));
    for (int i = 0; i < 25; i++) {
        web_send(fd, "a", 1);
        tk_clock_advance(&w.env.clock, 25);
    }
    ck_assert(web_closed(fd));
    ck_assert(web_wait_metric(&w, "slow_bodies", 1));
    ck_assert_uint_eq(w.calls, 0);
    close(fd);
    web_end(&w);
}
END_TEST

START_TEST(peer_that_does_not_read_is_cut)
{
    web_begin(&w, "\"send_timeout\":\"2s\",\"header_timeout\":\"1h\",\"idle_timeout\":\"1h\"");
    int fd = ask(GET("/big"));
    ck_assert(web_wait_metric(&w, "requests", 1));
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    tk_clock_advance(&w.env.clock, 2001);
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    ck_assert(web_wait_metric(&w, "slow_readers", 1));
    ck_assert(web_wait_metric(&w, "broken", 1));
    close(fd);
    web_end(&w);
}
END_TEST

START_TEST(answers_that_nobody_takes_are_bounded)
{
    web_begin(&w, "\"answers_max\":20000000");
    int fd = ask(GET("/big"));
    ck_assert(web_wait_metric(&w, "requests", 1));
    ck_assert_int_eq(web_ask(&w, GET("/big"), got), 503);
    ck_assert_ptr_nonnull(strstr(got, "Retry-After: 1\r\n"));
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    ck_assert_int_eq(fake_metric(&w.host, "refused_answers"), 1);
    close(fd);
    ck_assert(web_wait_metric(&w, "broken", 1));
    ck_assert_int_eq(web_ask(&w, GET("/big"), got), 200);
    web_end(&w);
}
END_TEST

START_TEST(idle_connection_is_closed_in_its_time)
{
    web_begin(&w, "\"idle_timeout\":\"1s\"");
    int fd = ask(GET("/echo"));
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    ck_assert(web_wait_metric(&w, "status_2xx", 1));
    tk_clock_advance(&w.env.clock, 500);
    web_send(fd, GET("/echo"), strlen(GET("/echo")));
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    ck_assert(web_wait_metric(&w, "status_2xx", 2));
    tk_clock_advance(&w.env.clock, 1001);
    ck_assert(web_closed(fd));
    ck_assert(web_wait_metric(&w, "idle_closed", 1));
    close(fd);
    web_end(&w);
}
END_TEST

START_TEST(peer_that_ends_in_the_middle_is_let_go)
{
    static const char *const parts[] = {
        "GET /ec", "GET /echo HTTP/1.1\r\nHost: a\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", GET("/echo")
    };
    web_begin(&w, "");
    int fds[12];
    size_t left = sizeof(fds) / sizeof(fds[0]);
    for (size_t i = 0; i < left; i++) {
        fds[i] = ask(parts[i % 4]);
        shutdown(fds[i], SHUT_WR);
    }
    for (int rounds = 0; rounds < 90 && left > 0; rounds++) { /* less than the shortest time-out */
        while (left > 0 && web_closed_now(fds[left - 1])) {
            close(fds[--left]);
        }
        ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200); /* the server looks at its clock */
        tk_clock_advance(&w.env.clock, 100);
    }
    ck_assert_uint_eq(left, 0);
    ck_assert_int_eq(fake_metric(&w.host, "slow_bodies"), 0);
    ck_assert_int_eq(fake_metric(&w.host, "slow_headers"), 0);
    ck_assert_int_eq(fake_metric(&w.host, "idle_closed"), 0);
    web_end(&w);
}
END_TEST

START_TEST(connections_are_bounded_in_all_and_by_address)
{
    web_begin(&w, "\"max_connections\":3");
    int a = ask(GET("/echo")), b = ask(GET("/echo")), c = ask(GET("/echo"));
    ck_assert_int_eq(web_read(a, got, NULL), 200);
    ck_assert_int_eq(web_read(b, got, NULL), 200);
    ck_assert_int_eq(web_read(c, got, NULL), 200);
    int d = web_connect(&w);
    ck_assert(web_closed(d));
    ck_assert_int_eq(fake_metric(&w.host, "refused_connections"), 1);
    ck_assert_int_eq(fake_metric(&w.host, "connections"), 3);
    close(a);
    close(b);
    close(c);
    close(d);
    web_end(&w);
    web_begin(&w, "\"max_per_address\":1");
    a = ask(GET("/echo"));
    ck_assert_int_eq(web_read(a, got, NULL), 200);
    b = web_connect(&w);
    ck_assert(web_closed(b));
    ck_assert_int_eq(fake_metric(&w.host, "refused_address"), 1);
    close(a);
    close(b);
    web_end(&w);
}
END_TEST

START_TEST(rate_of_an_address_is_bounded_in_all_and_by_route)
{
    web_begin(&w, "\"rate\":5");
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(web_ask(&w, GET("/rare"), got), 200);
    }
    ck_assert_int_eq(web_ask(&w, GET("/rare"), got), 429);
    ck_assert_ptr_nonnull(strstr(got, "Retry-After: 1\r\n"));
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 429);
    tk_clock_advance(&w.env.clock, 200);
    ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
    ck_assert_int_eq(fake_metric(&w.host, "refused_rate"), 2);
    web_end(&w);
}
END_TEST

START_TEST(removed_route_answers_503_to_who_waits)
{
    web_begin(&w, "");
    int fd = ask(GET("/wait"));
    ck_assert(web_wait_held(&w, 1));
    w.ops->remove(w.self, w.set);
    ck_assert_int_eq(web_read(fd, got, NULL), 503);
    tk_fails(TPC_ENOENT, w.ops->reply(w.self, w.held[0], &done));
    close(fd);
    web_end(&w);
}
END_TEST

static void *answer_soon(void *user)
{
    (void) user;
    poll(NULL, 0, 50);
    tk_ok(w.ops->reply(w.self, w.held[0], &done));
    return NULL;
}

START_TEST(stop_lets_answers_out_and_ends_the_rest)
{
    pthread_t thread;
    bool closed;
    web_begin(&w, "\"stop_timeout\":\"5s\"");
    int fd = ask(GET("/wait"));
    int idle = ask(GET("/echo"));
    ck_assert_int_eq(web_read(idle, got, NULL), 200);
    ck_assert(web_wait_held(&w, 1));
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_soon, NULL), 0);
    fake_stop(&w.host);
    pthread_join(thread, NULL);
    ck_assert_int_eq(web_read(fd, got, &closed), 200);
    ck_assert_ptr_nonnull(strstr(got, "Connection: close"));
    ck_assert(closed);
    ck_assert(web_closed(idle));
    ck_assert_uint_eq(w.ops->port(w.self, 0), 0);
    w.ops->remove(w.self, w.set); /* after the stop it is fine, too */
    close(fd);
    close(idle);
    web_end(&w);
}
END_TEST

START_TEST(after_a_stop_it_starts_again)
{
    web_begin(&w, "");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(web_ask(&w, GET("/echo"), got), 200);
        fake_stop(&w.host);
        ck_assert_uint_eq(w.host.calls_after_stop, 0);
        tk_ok(fake_start(&w.host));
        w.port = w.ops->port(w.self, 0);
    }
    web_end(&w);
}
END_TEST

static atomic_bool over;

static void *move_clock(void *user)
{
    (void) user;
    while (!atomic_load(&over)) {
        tk_clock_advance(&w.env.clock, 100);
        poll(NULL, 0, 5);
    }
    return NULL;
}

START_TEST(stop_does_not_wait_for_ever)
{
    pthread_t thread;
    web_begin(&w, "\"stop_timeout\":\"300ms\"");
    int fd = ask(GET("/wait"));
    int slow = ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na");
    ck_assert(web_wait_held(&w, 1));
    ck_assert(web_wait_metric(&w, "bytes_in", 1));
    atomic_store(&over, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, move_clock, NULL), 0);
    fake_stop(&w.host);
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    ck_assert_int_eq(web_read(fd, got, NULL), 503);
    ck_assert(web_closed(slow));
    tk_fails(TPC_ENOENT, w.ops->reply(w.self, w.held[0], &done));
    close(fd);
    close(slow);
    web_end(&w);
}
END_TEST

static int64_t cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

START_TEST(connection_for_which_no_descriptor_is_left_waits_without_burning_time)
{
    struct rlimit before, now;
    web_begin(&w, "");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(w.port) };
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int next = dup(fd);
    close(next);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t) next; /* the lowest number that is free may not be used */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    int64_t begun = cpu_ms();
    int rc = connect(fd, (const struct sockaddr *) &in, sizeof(in));
    web_send(fd, GET("/echo"), strlen(GET("/echo")));
    poll(NULL, 0, 300);
    int64_t used = cpu_ms() - begun;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    ck_assert_int_lt(used, 100);
    close(fd);
    web_end(&w);
}
END_TEST

enum { THREADS = 4, EACH = 50 };

static void *ask_many(void *user)
{
    static _Thread_local char mine[WEB_ROOM];
    uint32_t *good = user;
    int fd = web_connect(&w);
    for (int i = 0; i < EACH; i++) {
        const char *text = i % 5 == 4 ? GET("/wait") : GET("/echo");
        web_send(fd, text, strlen(text));
        *good += web_read(fd, mine, NULL) == 200;
    }
    close(fd);
    return NULL;
}

static void *answer_all(void *user)
{
    uint32_t at = 0;
    (void) user;
    while (!atomic_load(&over)) {
        pthread_mutex_lock(&w.lock);
        uint64_t id = at < w.held_count ? w.held[at++] : 0;
        pthread_mutex_unlock(&w.lock);
        if (id != 0) {
            tk_ok(w.ops->reply(w.self, id, &done));
        } else {
            poll(NULL, 0, 1);
        }
    }
    return NULL;
}

START_TEST(many_connections_and_answers_at_once)
{
    pthread_t threads[THREADS], replier;
    uint32_t good[THREADS] = { 0 };
    web_begin(&w, "");
    atomic_store(&over, false);
    ck_assert_int_eq(pthread_create(&replier, NULL, answer_all, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_many, &good[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_uint_eq(good[i], EACH);
    }
    atomic_store(&over, true);
    pthread_join(replier, NULL);
    web_end(&w);
}
END_TEST

Suite *wait_suite(void)
{
    Suite *s = suite_create("wait");
    TCase *t = tcase_create("wait");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, answer_comes_later_from_another_thread);
    tcase_add_test(t, answer_that_is_wrong_may_be_made_good);
    tcase_add_test(t, answer_that_does_not_come_is_504);
    tcase_add_test(t, answer_for_a_peer_that_is_gone_goes_nowhere);
    tcase_add_test(t, answers_that_are_awaited_are_bounded);
    tcase_add_test(t, slow_head_is_cut);
    tcase_add_test(t, slow_body_is_cut);
    tcase_add_test(t, peer_that_does_not_read_is_cut);
    tcase_add_test(t, answers_that_nobody_takes_are_bounded);
    tcase_add_test(t, idle_connection_is_closed_in_its_time);
    tcase_add_test(t, peer_that_ends_in_the_middle_is_let_go);
    tcase_add_test(t, connections_are_bounded_in_all_and_by_address);
    tcase_add_test(t, rate_of_an_address_is_bounded_in_all_and_by_route);
    tcase_add_test(t, removed_route_answers_503_to_who_waits);
    tcase_add_test(t, stop_lets_answers_out_and_ends_the_rest);
    tcase_add_test(t, after_a_stop_it_starts_again);
    tcase_add_test(t, stop_does_not_wait_for_ever);
    tcase_add_test(t, connection_for_which_no_descriptor_is_left_waits_without_burning_time);
    tcase_add_test(t, many_connections_and_answers_at_once);
    suite_add_tcase(s, t);
    return s;
}
