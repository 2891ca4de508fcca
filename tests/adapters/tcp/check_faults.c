/* Devices that do what they should not, and limits that bite. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "rig.h"
#include "tcp_suites.h"

static struct rig r;

static int log_in(const char *name)
{
    char text[64];
    int fd = dev_connect(r.port);
    snprintf(text, sizeof(text), "id:%s\n", name);
    dev_say(fd, text);
    ck_assert(dev_hears(fd, "hi\n"));
    return fd;
}

static void reset(int fd)
{
    struct linger hard = { 1, 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
}

/* ---- frames ---- */

START_TEST(frames_that_come_byte_by_byte_are_whole)
{
    static const char text[] = "id:m1\nfirst frame\nsecond\n";
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"]}");
    int fd = dev_connect(r.port);
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        dev_put(fd, text + i, 1);
        poll(NULL, 0, i % 5 == 0 ? 1 : 0);
    }
    ck_assert(fake_wait_frames(&r.h, 2));
    ck_assert_str_eq(r.h.frames[0].payload, "first frame");
    ck_assert_str_eq(r.h.frames[1].payload, "second");
    dev_say(fd, "half a fra");
    close(fd);
    ck_assert(rig_wait_sessions(&r, 0));
    ck_assert_uint_eq(r.h.frame_count, 2);
    rig_down(&r);
}
END_TEST

/* Length field of two bytes in front of the body. */
static const char length_field[] = "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"frame_max\":1000,"
                                   "\"framing\":{\"type\":\"length\",\"size\":2,"
                                   "\"adjustment\":-2,\"strip\":2}}";

START_TEST(length_that_cannot_be_ends_the_connection)
{
    static const struct {
        uint8_t bytes[2];
        const char *metric;
    } bad[] = { { { 0, 2 }, "bad_frames" }, /* a body of 0 */
                { { 0, 1 }, "bad_frames" }, /* .. of -1 */
                { { 0, 0 }, "bad_frames" }, /* .. of -2 */
                { { 3, 0xe9 }, "too_big" }, /* 1001 bytes in all */
                { { 0xff, 0xff }, "too_big" } };
    rig_up(&r, length_field);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t before = fake_metric(&r.h, bad[i].metric);
        int fd = dev_connect(r.port);
        dev_put(fd, bad[i].bytes, 2);
        ck_assert_msg(dev_gone(fd), "%zu", i);
        ck_assert_int_eq(fake_metric(&r.h, bad[i].metric), before + 1);
        close(fd);
    }
    int fd = dev_connect(r.port);
    dev_put(fd, "\0\007id:m1\0\004yo", 11); /* one that can be */
    ck_assert(dev_hears(fd, "hi\n"));
    ck_assert(fake_wait_frames(&r.h, 1));
    ck_assert_str_eq(r.h.frames[0].payload, "yo");
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(garbage_before_a_frame_is_passed_over_and_counted)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"framing\":{\"type\":\"length\","
               "\"offset\":1,\"size\":1,\"strip\":2,\"begin\":\"h\",\"garbage_max\":20}}");
    int fd = dev_connect(r.port);
    dev_put(fd, "noise..h\005id:m1..h\002yo", 20);
    ck_assert(dev_hears(fd, "hi\n"));
    ck_assert(fake_wait_frames(&r.h, 1));
    ck_assert_str_eq(r.h.frames[0].payload, "yo");
    ck_assert(rig_wait(&r, "garbage_bytes", 9));
    dev_say(fd, "more noise, more noise, more noise");
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "bad_frames"), 1);
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(line_without_an_end_is_too_long_once)
{
    char noise[2000];
    memset(noise, 'x', sizeof(noise));
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"frame_max\":1000}");
    int fd = dev_connect(r.port);
    dev_put(fd, noise, sizeof(noise));
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "too_big"), 1);
    close(fd);
    rig_down(&r);
}
END_TEST

/* ---- time ---- */

START_TEST(who_does_not_log_in_in_time_is_closed_however_much_it_drips)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"login_timeout\":\"150ms\"}");
    int drip = dev_connect(r.port);
    int still = dev_connect(r.port);
    int ask = dev_connect(r.port);
    int in = log_in("m1");
    dev_say(ask, "slow:m2\n"); /* nobody answers that */
    for (int i = 0; i < 60 && fake_metric(&r.h, "closed_late") < 3; i++) {
        dev_put(drip, "x", 1);
        poll(NULL, 0, 10);
    }
    ck_assert(dev_gone(drip));
    ck_assert(dev_gone(still));
    ck_assert(dev_gone(ask));
    ck_assert_int_eq(fake_metric(&r.h, "closed_late"), 3);
    dev_say(in, "x\n"); /* it may be silent for longer */
    ck_assert(fake_wait_frames(&r.h, 1));
    close(drip);
    close(still);
    close(ask);
    close(in);
    rig_down(&r);
}
END_TEST

START_TEST(device_that_says_nothing_is_closed_and_one_that_speaks_stays)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"idle_timeout\":\"150ms\"}");
    int silent = log_in("m1");
    int speaks = log_in("m2");
    for (int i = 0; i < 30; i++) {
        dev_say(speaks, "hb\n");
        ck_assert(dev_hears(speaks, "ok\n"));
        poll(NULL, 0, 10);
    }
    ck_assert(dev_gone(silent));
    ck_assert_int_eq(fake_metric(&r.h, "closed_idle"), 1);
    ck_assert(rig_wait_sessions(&r, 1));
    /* Whoever the core keeps waiting is not idle. */
    fake_answer(&r.h, TPC_EAGAIN);
    dev_say(speaks, "data\n");
    ck_assert(fake_wait_later(&r.h, 1));
    poll(NULL, 0, 300);
    ck_assert_uint_eq(rig_open_sessions(&r), 1);
    fake_answer(&r.h, 0);
    r.h.ops->resume(r.h.self, 2);
    ck_assert(fake_wait_frames(&r.h, 1));
    close(silent);
    close(speaks);
    rig_down(&r);
}
END_TEST

/* ---- limits ---- */

START_TEST(connections_over_a_limit_are_closed_at_once)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"max_connections\":4,\"max_per_address\":2}");
    int a1 = dev_connect_from(r.port, "127.0.0.2");
    int a2 = dev_connect_from(r.port, "127.0.0.2");
    int a3 = dev_connect_from(r.port, "127.0.0.2");
    ck_assert(dev_gone(a3));
    ck_assert_int_eq(fake_metric(&r.h, "over_address"), 1);
    int b1 = dev_connect_from(r.port, "127.0.0.3");
    int b2 = dev_connect_from(r.port, "127.0.0.3");
    ck_assert(rig_wait(&r, "connections", 4));
    int c1 = dev_connect_from(r.port, "127.0.0.4");
    ck_assert(dev_gone(c1));
    ck_assert_int_eq(fake_metric(&r.h, "over_max"), 1);
    close(a1);
    int64_t opened = fake_metric(&r.h, "opened");
    int a4 = -1;
    for (int i = 0; i < 100 && fake_metric(&r.h, "opened") == opened; i++) {
        if (a4 >= 0) {
            close(a4);
        }
        a4 = dev_connect_from(r.port, "127.0.0.2"); /* there is room again */
        poll(NULL, 0, 5);
    }
    ck_assert_int_eq(fake_metric(&r.h, "opened"), opened + 1);
    close(a2);
    close(a3);
    close(a4);
    close(b1);
    close(b2);
    close(c1);
    rig_down(&r);
}
END_TEST

/* Connects count devices that nobody knows, and hears that they are told so. */
static void storm(int count)
{
    static int fd[400];
    for (int i = 0; i < count; i++) {
        fd[i] = dev_connect(r.port);
        dev_say(fd[i], "nobody\n");
    }
    for (int i = 0; i < count; i++) {
        ck_assert(dev_hears(fd[i], "no\n"));
        close(fd[i]);
    }
}

START_TEST(storm_of_connections_writes_few_lines)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"accept_rate\":0}");
    for (int i = 0; i < 4; i++) {
        storm(400);
    }
    ck_assert_int_eq(fake_metric(&r.h, "opened"), 1600);
    ck_assert_int_eq(fake_metric(&r.h, "logins_refused"), 1600);
    ck_assert_uint_le(r.env.log_count, 100); /* ten a second */
    rig_down(&r);
}
END_TEST

START_TEST(connections_are_accepted_as_fast_as_allowed)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"accept_rate\":100,\"backlog\":1024}");
    storm(130);
    ck_assert_int_eq(fake_metric(&r.h, "opened"), 130);
    ck_assert_int_ge(fake_metric(&r.h, "delayed"), 1);
    rig_down(&r);
}
END_TEST

/* ---- devices that do not read ---- */

START_TEST(commands_to_a_device_that_does_not_read_end_as_told)
{
    enum { COUNT = 300 };
    static char text[65536];
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    uint32_t good = 0, later = 0, gone = 0;
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"write_max\":\"128KiB\"}");
    int fd = log_in("m1");
    memset(text, 'x', sizeof(text));
    f.payload = (struct tpc_bytes){ (uint8_t *) text, sizeof(text) };
    for (uint32_t i = 0; i < COUNT; i++) {
        tk_ok(fake_send(&r.h, 1, "p", "m1", &f, i + 1));
        if (i % 8 == 0) {
            poll(NULL, 0, 1);
        }
    }
    ck_assert(fake_wait_sent(&r.h, COUNT - 2)); /* at most those are on their way */
    reset(fd);                                  /* in the middle of a write */
    ck_assert(fake_wait_sent(&r.h, COUNT));
    for (uint32_t i = 0; i < COUNT; i++) {
        good += r.h.sent_codes[i] == 0;
        later += r.h.sent_codes[i] == TPC_EAGAIN;
        gone += r.h.sent_codes[i] == TPC_EOFFLINE;
    }
    ck_assert_uint_eq(good + later + gone, COUNT);
    ck_assert_uint_gt(good, 0);
    ck_assert_uint_gt(later, 0);
    ck_assert(rig_wait_sessions(&r, 0));
    rig_down(&r);
}
END_TEST

START_TEST(command_that_can_never_wait_fails_for_good)
{
    static char text[2000];
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"write_max\":\"1KiB\"}");
    int fd = log_in("m1");
    f.payload = (struct tpc_bytes){ (uint8_t *) text, sizeof(text) };
    tk_ok(fake_send(&r.h, 1, "p", "m1", &f, 1));
    ck_assert(fake_wait_sent(&r.h, 1));
    ck_assert_int_eq(r.h.sent_codes[0], TPC_ETOOBIG); /* and is not tried again */
    dev_say(fd, "hb\n");
    ck_assert(dev_hears(fd, "ok\n"));
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(device_that_reads_none_of_its_answers_is_closed)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"write_max\":\"1KiB\"}");
    int small = 1;
    int fd = dev_connect(r.port);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    dev_say(fd, "id:m1\n");
    ck_assert(dev_hears(fd, "hi\n"));
    for (int i = 0; i < 3000 && fake_metric(&r.h, "slow") == 0; i++) {
        static const char many[] =
            "hb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\n"
            "hb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\nhb\n";
        if (send(fd, many, sizeof(many) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN) {
            break;
        }
        for (int k = 0; k < 16; k++) {
            (void) send(fd, many, sizeof(many) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
    ck_assert(rig_wait(&r, "slow", 1));
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(stop_ends_connections_in_every_state)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"]}");
    int strange = dev_connect(r.port);
    int asks = dev_connect(r.port);
    int in = log_in("m1");
    int full = log_in("m2");
    int leaves = dev_connect(r.port);
    dev_say(asks, "slow:m3\n");
    ck_assert(rig_wait_logins(&r, 1));
    dev_say(in, "data 1\ndata 2\nhalf");
    ck_assert(fake_wait_frames(&r.h, 2));
    fake_answer(&r.h, TPC_EAGAIN);
    dev_say(full, "data 3\ndata 4\n");
    ck_assert(fake_wait_later(&r.h, 1));
    dev_say(leaves, "nobody\n"); /* it is being closed, and does not read */
    ck_assert(rig_wait(&r, "logins_refused", 1));
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.payload = TPC_BYTES("go\n");
    tk_ok(fake_send(&r.h, 1, "p", "m1", &f, 1));
    fake_stop(&r.h);
    ck_assert_uint_eq(r.h.sent_count, 1);
    ck_assert_int_eq(fake_send(&r.h, 1, "p", "m1", &f, 2), TPC_EOFFLINE);
    ck_assert(dev_gone(strange) && dev_gone(asks) && dev_gone(in) && dev_gone(full));
    tk_ok(fake_start(&r.h)); /* and it comes back */
    fake_answer(&r.h, 0);
    int again = log_in("m1");
    rig_down(&r);
    close(strange);
    close(asks);
    close(in);
    close(full);
    close(leaves);
    close(again);
}
END_TEST

START_TEST(memory_that_runs_out_costs_a_connection_at_most)
{
    for (size_t i = 2; i <= 40; i++) {
        struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
        f.payload = TPC_BYTES("go\n");
        rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"]}");
        r.env.alloc.fail_at = r.env.alloc.count + i;
        void *seen = tpi_alloc(&r.env.alloc.base, 1); /* under its lock: the loop sees it */
        tpi_free(&r.env.alloc.base, seen, 1);
        int fd = dev_connect(r.port);
        dev_say(fd, "id:m1\ndata 1\nda");
        struct pollfd p = { fd, POLLIN, 0 };
        ck_assert_int_eq(poll(&p, 1, 5000), 1); /* let in, or closed */
        dev_say(fd, "ta 2\nhb\n");
        for (int k = 0; k < 100 && rig_frames(&r) < 2 && rig_open_sessions(&r) == 1; k++) {
            poll(NULL, 0, 1);
        }
        fake_settle(&r.h, 0, 0);
        (void) fake_send(&r.h, 1, "p", "m1", &f, 1);
        r.drop(r.drop_user, TPC_STR(""), TPC_STR("m1"));
        ck_assert(dev_gone(fd)); /* however little memory there is, who shall go goes */
        close(fd);
        fake_stop(&r.h);
        r.env.alloc.fail_at = 0;
        rig_down(&r);
    }
}
END_TEST

START_TEST(drops_without_memory_do_not_lose_what_others_asked_for)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.payload = TPC_BYTES("go\n");
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"]}");
    int fd = log_in("m1");
    int other = dev_connect(r.port);
    pthread_mutex_lock(&r.lock); /* the loop waits in login() */
    dev_say(other, "id:m2\n");
    poll(NULL, 0, 50);
    tk_alloc_fail(&r.env.alloc, 1);
    r.drop(r.drop_user, TPC_STR(""), TPC_STR("nobody"));
    tk_ok(fake_send(&r.h, 1, "p", "m1", &f, 1));
    tk_alloc_fail(&r.env.alloc, 1);
    r.drop(r.drop_user, TPC_STR(""), TPC_STR("nobody"));
    pthread_mutex_unlock(&r.lock);
    ck_assert(fake_wait_sent(&r.h, 1));
    ck_assert(dev_gone(fd));
    close(fd);
    close(other);
    rig_down(&r);
}
END_TEST

/* Other parts of the program need files, too. */
START_TEST(connections_that_take_the_last_descriptors_are_closed_and_counted)
{
    enum { DEVICES = 12, ROOM = 4, SPARE = 16 };
    struct sockaddr_in a = { .sin_family = AF_INET };
    struct rlimit before, less;
    int fd[DEVICES];
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"]}");
    fake_stop(&r.h);
    for (int i = 0; i < DEVICES; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM, 0);
    }
    int next = dup(fd[0]);
    close(next);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    less = before;
    less.rlim_cur = (rlim_t) next + 20 + ROOM + SPARE; /* the loop has some, too */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &less), 0);
    tk_ok(fake_start(&r.h));
    next = dup(fd[0]);
    close(next);
    int ballast[64], more = 0;
    while (next + more + ROOM + SPARE < (int) less.rlim_cur) {
        ballast[more++] = dup(fd[0]);
    }
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t) r.port);
    for (int i = 0; i < DEVICES; i++) {
        ck_assert_int_eq(connect(fd[i], (struct sockaddr *) &a, sizeof(a)), 0);
    }
    bool counted = rig_wait(&r, "not_accepted", DEVICES - ROOM);
    (void) setrlimit(RLIMIT_NOFILE, &before);
    ck_assert(counted);
    ck_assert_int_eq(fake_metric(&r.h, "opened"), ROOM);
    ck_assert(dev_gone(fd[DEVICES - 1]));
    while (more > 0) {
        close(ballast[--more]);
    }
    for (int i = 0; i < DEVICES; i++) {
        close(fd[i]);
    }
    rig_down(&r);
}
END_TEST

/* One of a device's or the platform's possible acts. */
static void act(int *fd, unsigned int *seed)
{
    static const char *const says[] = { "id:m1\n",   "id:m2\nda", "ta\n",
                                        "hb\nhb\n",  "slow:m1\n", "more\n",
                                        "feed:m3\n", "what\n",    "data\ndata\nda" };
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    int what = rand_r(seed) % 16;
    f.payload = TPC_BYTES("go\n");
    if (*fd < 0 && what < 12) {
        *fd = dev_connect(r.port);
    } else if (what < 10) {
        const char *text = says[(size_t) rand_r(seed) % (sizeof(says) / sizeof(says[0]))];
        (void) send(*fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    } else if (what == 10 && *fd >= 0) {
        reset(*fd);
        *fd = -1;
    } else if (what == 11) {
        close(*fd);
        *fd = -1;
    } else if (what == 12) {
        fake_answer(&r.h, rand_r(seed) % 4 == 0 ? TPC_EAGAIN : 0);
    } else if (what == 13) {
        uint64_t session = 1 + (uint64_t) rand_r(seed) % 200;
        (void) fake_send(&r.h, session, "p", "m1", &f, 1);
        r.h.ops->resume(r.h.self, session);
    } else if (what == 14) {
        r.drop(r.drop_user, TPC_STR(""), TPC_STR("m2"));
    } else {
        (void) rig_answer_login(&r, rand_r(seed) % 2 == 0);
    }
}

START_TEST(all_at_once_in_any_order_leaves_nothing_behind)
{
    enum { DEVICES = 6, STEPS = 3000 };
    unsigned int seed = 20261121;
    for (int round = 0; round < 3; round++) {
        int fd[DEVICES] = { -1, -1, -1, -1, -1, -1 };
        rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"accept_rate\":0,"
                   "\"max_connections\":5,\"write_max\":\"1KiB\"}");
        r.h.settle = FAKE_SETTLE_INSIDE;
        for (int i = 0; i < STEPS; i++) {
            act(&fd[rand_r(&seed) % DEVICES], &seed);
        }
        rig_down(&r);
        for (int i = 0; i < DEVICES; i++) {
            if (fd[i] >= 0) {
                close(fd[i]);
            }
        }
    }
}
END_TEST

Suite *tcp_faults_suite(void)
{
    Suite *s = suite_create("tcp faults");
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, frames_that_come_byte_by_byte_are_whole);
    tcase_add_test(c, length_that_cannot_be_ends_the_connection);
    tcase_add_test(c, garbage_before_a_frame_is_passed_over_and_counted);
    tcase_add_test(c, line_without_an_end_is_too_long_once);
    tcase_add_test(c, who_does_not_log_in_in_time_is_closed_however_much_it_drips);
    tcase_add_test(c, device_that_says_nothing_is_closed_and_one_that_speaks_stays);
    tcase_add_test(c, connections_over_a_limit_are_closed_at_once);
    tcase_add_test(c, storm_of_connections_writes_few_lines);
    tcase_add_test(c, connections_are_accepted_as_fast_as_allowed);
    tcase_add_test(c, commands_to_a_device_that_does_not_read_end_as_told);
    tcase_add_test(c, command_that_can_never_wait_fails_for_good);
    tcase_add_test(c, drops_without_memory_do_not_lose_what_others_asked_for);
    tcase_add_test(c, connections_that_take_the_last_descriptors_are_closed_and_counted);
    tcase_add_test(c, device_that_reads_none_of_its_answers_is_closed);
    tcase_add_test(c, stop_ends_connections_in_every_state);
    tcase_add_test(c, all_at_once_in_any_order_leaves_nothing_behind);
    tcase_add_test(c, memory_that_runs_out_costs_a_connection_at_most);
    suite_add_tcase(s, c);
    return s;
}
