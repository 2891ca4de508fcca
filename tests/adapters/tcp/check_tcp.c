/* What the adapter does for devices that behave. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <tpcore/modules.h>
#include <unistd.h>

#include "adapter_suite.h"
#include "rig.h"
#include "tcp_suites.h"

static struct rig r;
static const char lines[] = "{\"listen\":[\"tcp://127.0.0.1:%d\"]}";

static int log_in(const char *name)
{
    char text[64];
    int fd = dev_connect(r.port);
    snprintf(text, sizeof(text), "id:%s\n", name);
    dev_say(fd, text);
    ck_assert(dev_hears(fd, "hi\n"));
    return fd;
}

static int send_to(uint64_t session, const char *device, const char *text, uint64_t ticket)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    return fake_send(&r.h, session, "p", device, &f, ticket);
}

/* ---- logging in ---- */

START_TEST(device_that_logs_in_is_there_and_its_frames_come)
{
    rig_up(&r, lines);
    int fd = log_in("m1");
    dev_say(fd, "one\ntwo\nthr");
    dev_say(fd, "ee\n");
    ck_assert(fake_wait_frames(&r.h, 3));
    ck_assert_str_eq(r.h.sessions[0].device, "m1");
    ck_assert_uint_eq(r.h.sessions[0].flags, TPC_SESSION_PRESENCE);
    ck_assert_str_eq(r.h.frames[0].payload, "one");
    ck_assert_str_eq(r.h.frames[1].payload, "two");
    ck_assert_str_eq(r.h.frames[2].payload, "three");
    ck_assert_ptr_nonnull(strstr(r.peer, "127.0.0.1:"));
    ck_assert_str_eq(r.fingerprint, "");
    close(fd);
    ck_assert(rig_wait_sessions(&r, 0));
    rig_down(&r);
}
END_TEST

START_TEST(frame_that_logs_in_may_hold_data_and_more_frames_may_be_asked_for)
{
    rig_up(&r, lines);
    int fd = dev_connect(r.port);
    dev_say(fd, "more\nmore\nfeed:m1\ndata 1\n");
    ck_assert(dev_hears(fd, "more?\nmore?\nhi\n"));
    ck_assert(fake_wait_frames(&r.h, 2));
    ck_assert_str_eq(r.h.frames[0].payload, "feed:m1");
    ck_assert_str_eq(r.h.frames[1].payload, "data 1");
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(answer_to_a_login_may_come_later_and_what_was_sent_meanwhile_is_kept)
{
    rig_up(&r, lines);
    int fd = dev_connect(r.port);
    dev_say(fd, "slow:m1\none\ntwo\n");
    ck_assert(rig_wait_logins(&r, 1));
    ck_assert_uint_eq(r.h.frame_count, 0);
    ck_assert(rig_answer_login(&r, true));
    ck_assert(dev_hears(fd, "hi\n"));
    dev_say(fd, "three\n");
    ck_assert(fake_wait_frames(&r.h, 3));
    ck_assert_str_eq(r.h.frames[0].payload, "one");
    ck_assert_str_eq(r.h.frames[2].payload, "three");
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(question_about_a_connection_ends_with_it_and_with_the_stop)
{
    rig_up(&r, "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"login_timeout\":\"60s\"}");
    int fd = dev_connect(r.port);
    dev_say(fd, "slow:m1\n");
    ck_assert(rig_wait_logins(&r, 1));
    struct linger reset = { 1, 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    atomic_fetch_add(&r.ahead_ms, 61000); /* nothing is read meanwhile: it is seen by then */
    for (int i = 0; i < 5000 && fake_metric(&r.h, "connections") > 0; i++) {
        poll(NULL, 0, 1);
    }
    ck_assert_int_eq(fake_metric(&r.h, "closed_late"), 1);
    ck_assert_uint_eq(r.waiting, 0);
    ck_assert_uint_eq(r.canceled, 1);
    int other = dev_connect(r.port); /* one that waits when the adapter stops */
    dev_say(other, "slow:m2\n");
    ck_assert(rig_wait_logins(&r, 1));
    rig_down(&r);
    ck_assert_uint_eq(r.canceled, 2);
    close(other);
}
END_TEST

START_TEST(unknown_voucher_is_told_no_and_the_connection_ends)
{
    rig_up(&r, lines);
    int fd = dev_connect(r.port);
    dev_say(fd, "who am i\nand more\n");
    ck_assert(dev_hears(fd, "no\n"));
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "logins_refused"), 1);
    close(fd);
    fd = dev_connect(r.port);
    dev_say(fd, "again\n");
    ck_assert(dev_hears(fd, "no\n"));
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "logins_later"), 1);
    close(fd);
    fd = dev_connect(r.port);
    r.h.unknown = "m9";
    dev_say(fd, "id:m9\n");
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "logins_refused"), 2);
    close(fd);
    ck_assert_uint_eq(r.h.frame_count, 0);
    rig_down(&r);
}
END_TEST

START_TEST(device_that_comes_twice_keeps_the_newer_connection_and_is_never_away)
{
    rig_up(&r, lines);
    int old = log_in("m1");
    int new = log_in("m1");
    ck_assert(dev_gone(old));
    ck_assert(rig_wait_sessions(&r, 1));
    ck_assert(!r.h.sessions[0].open);
    ck_assert(r.h.sessions[1].open);
    ck_assert_int_eq(fake_metric(&r.h, "takeovers"), 1);
    dev_say(new, "still here\n");
    ck_assert(fake_wait_frames(&r.h, 1));
    ck_assert_uint_eq(r.h.frames[0].session, 2);
    ck_assert_int_eq(send_to(1, "m1", "x", 1), TPC_EOFFLINE);
    close(old);
    close(new);
    rig_down(&r);
}
END_TEST

START_TEST(device_that_shall_go_is_closed)
{
    rig_up(&r, lines);
    int gone = log_in("m1");
    int stays = log_in("m2");
    r.drop(r.drop_user, TPC_STR(""), TPC_STR("m1"));
    r.drop(r.drop_user, TPC_STR("main"), TPC_STR("nobody"));
    ck_assert(dev_gone(gone));
    dev_say(stays, "x\n");
    ck_assert(fake_wait_frames(&r.h, 1));
    ck_assert_int_eq(fake_metric(&r.h, "dropped"), 1);
    close(gone);
    close(stays);
    rig_down(&r);
}
END_TEST

/* ---- answers ---- */

START_TEST(heartbeat_is_answered_at_once_and_data_once_it_is_in_the_log)
{
    rig_up(&r, lines);
    int fd = log_in("m1");
    dev_say(fd, "data 1\ndata 2\nhb\n");
    ck_assert(dev_hears(fd, "ok\n"));
    ck_assert(fake_wait_frames(&r.h, 2));
    ck_assert(dev_silent(fd, 50));
    fake_settle(&r.h, 0, 0);
    ck_assert(dev_hears(fd, "ack\nack\n"));
    dev_say(fd, "data 3\n");
    ck_assert(fake_wait_frames(&r.h, 3));
    fake_settle(&r.h, 2, TPC_ENOSPC); /* it did not get there: the device will say it again */
    ck_assert(rig_wait(&r, "unanswered", 1));
    ck_assert(dev_silent(fd, 20));
    dev_say(fd, "plain\nbad\nbig\n");
    ck_assert(fake_wait_frames(&r.h, 6));
    ck_assert_uint_eq(r.h.frames[3].ticket, 0);
    ck_assert_uint_eq(r.h.frames[4].ticket, 0);
    ck_assert_uint_ne(r.h.frames[5].ticket, 0); /* of an answer that does not fit the first room */
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(answer_that_is_settled_before_receive_returns_leaves)
{
    rig_up(&r, lines);
    r.h.settle = FAKE_SETTLE_INSIDE;
    int fd = log_in("m1");
    for (int i = 0; i < 100; i++) {
        dev_say(fd, "data\n");
    }
    for (int i = 0; i < 100; i++) {
        ck_assert(dev_hears(fd, "ack\n"));
    }
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(answer_for_a_connection_that_is_gone_is_dropped_also_after_the_stop)
{
    rig_up(&r, lines);
    int fd = log_in("m1");
    int other = log_in("m2");
    dev_say(fd, "data 1\n");
    ck_assert(fake_wait_frames(&r.h, 1));
    close(fd);
    ck_assert(rig_wait_sessions(&r, 1));
    fake_settle(&r.h, 0, 0);
    dev_say(other, "data 2\ndata 3\n");
    ck_assert(fake_wait_frames(&r.h, 3));
    fake_stop(&r.h);
    int error = TPC_ECANCELED;
    r.h.ops->settled(r.h.self, &r.h.frames[1].ticket, &error, 1); /* the other one never comes */
    rig_down(&r);
    close(other);
}
END_TEST

/* ---- back-pressure ---- */

START_TEST(core_that_is_full_stops_the_reading_and_no_frame_is_lost)
{
    enum { COUNT = 500 };
    char text[32];
    rig_up(&r, lines);
    int fd = log_in("m1");
    fake_answer(&r.h, TPC_EAGAIN);
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "data %d\n", i);
        dev_say(fd, text);
    }
    ck_assert(fake_wait_later(&r.h, 1));
    poll(NULL, 0, 20);
    ck_assert_uint_eq(r.h.frame_count, 0);
    ck_assert_uint_eq(r.h.later_count, 1); /* it was left alone */
    r.h.ops->resume(r.h.self, 1);
    ck_assert(fake_wait_later(&r.h, 2)); /* still full */
    fake_answer(&r.h, 0);
    r.h.ops->resume(r.h.self, 1);
    ck_assert(fake_wait_frames(&r.h, COUNT));
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "data %d", i);
        ck_assert_str_eq(r.h.frames[i].payload, text);
    }
    fake_settle(&r.h, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        ck_assert(dev_hears(fd, "ack\n"));
    }
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(frame_over_the_cores_limit_is_counted_and_answered)
{
    rig_up(&r, lines);
    int fd = log_in("m1");
    fake_answer(&r.h, TPC_ETOOBIG);
    dev_say(fd, "data\n");
    ck_assert(dev_hears(fd, "ack\n"));
    ck_assert_int_eq(fake_metric(&r.h, "too_big"), 1);
    fake_answer(&r.h, TPC_ENOENT); /* the device is not there any more */
    dev_say(fd, "data\n");
    ck_assert(dev_gone(fd));
    close(fd);
    rig_down(&r);
}
END_TEST

/* ---- down ---- */

START_TEST(frames_to_a_device_leave_as_the_service_made_them)
{
    rig_up(&r, lines);
    int fd = log_in("m1");
    tk_ok(send_to(1, "m1", "h\x01no line end", 7));
    ck_assert(dev_hears(fd, "h\x01no line end"));
    ck_assert(fake_wait_sent(&r.h, 1));
    ck_assert_uint_eq(r.h.sent[0], 7);
    ck_assert_int_eq(r.h.sent_codes[0], 0);
    ck_assert_int_eq(send_to(9, "m9", "x", 8), TPC_EOFFLINE);
    tk_ok(send_to(1, "m1", "", 9)); /* no bytes are sent at once */
    ck_assert(fake_wait_sent(&r.h, 2));
    ck_assert_int_eq(r.h.sent_codes[1], 0);
    close(fd);
    rig_down(&r);
}
END_TEST

/* ---- devices that we connect to ---- */

static int listener;

/* Without checks: a suite is made before tests run. */
static int listen_here(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof(a);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    bool good = bind(listener, (struct sockaddr *) &a, sizeof(a)) == 0 &&
                listen(listener, 5) == 0 &&
                getsockname(listener, (struct sockaddr *) &a, &len) == 0;
    return good ? ntohs(a.sin_port) : 0;
}

static int accept_here(void)
{
    struct pollfd p = { listener, POLLIN, 0 };
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    return accept(listener, NULL, NULL);
}

START_TEST(device_that_we_connect_to_is_connected_to_again)
{
    char options[400];
    snprintf(options, sizeof(options),
             "{\"connect\":[{\"url\":\"tcp://127.0.0.1:%d\",\"device\":\"m1\"},"
             "{\"url\":\"tcp://localhost:%d\",\"device\":\"m2\"}],\"retry\":\"100ms\","
             "\"access\":\"rules\"}",
             listen_here(), rig_port());
    tk_ok(rig_init(&r, options, false));
    tk_ok(fake_start(&r.h));
    int fd = accept_here();
    dev_say(fd, "hello\n");
    ck_assert(fake_wait_frames(&r.h, 1));
    ck_assert_str_eq(r.h.sessions[0].device, "m1");
    tk_ok(send_to(1, "m1", "do", 1));
    ck_assert(dev_hears(fd, "do\n")); /* framed: no service made a frame of it */
    close(fd);
    fd = accept_here();
    ck_assert(rig_wait_sessions(&r, 1));
    dev_say(fd, "again\n");
    ck_assert(fake_wait_frames(&r.h, 2));
    ck_assert_uint_eq(r.h.frames[1].session, 2);
    ck_assert(rig_wait(&r, "not_reached", 2)); /* m2 */
    rig_down(&r);
    close(fd);
    close(listener);
}
END_TEST

/* The system's, but for one name, whose first address nobody listens at. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &symbol, sizeof(real));
    if (node == NULL || strcmp(node, "two.invalid") != 0) {
        return real(node, service, hints, ret);
    }
    int rc = real("127.0.0.2", service, hints, ret);
    return rc != 0 ? rc : real("127.0.0.1", service, hints, &(*ret)->ai_next);
}

START_TEST(name_is_reached_whichever_of_its_addresses_the_device_listens_at)
{
    char options[200];
    snprintf(options, sizeof(options),
             "{\"connect\":[{\"url\":\"tcp://two.invalid:%d\",\"device\":\"m1\"}],"
             "\"retry\":\"100ms\",\"access\":\"rules\"}",
             listen_here());
    tk_ok(rig_init(&r, options, false));
    tk_ok(fake_start(&r.h));
    int fd = accept_here();
    ck_assert_int_eq(fake_metric(&r.h, "not_reached"), 1);
    ck_assert(rig_wait_sessions(&r, 1));
    close(fd);
    fd = accept_here(); /* and there first from then on */
    ck_assert(rig_wait(&r, "opened", 2));
    ck_assert_int_eq(fake_metric(&r.h, "not_reached"), 1);
    rig_down(&r);
    close(fd);
    close(listener);
}
END_TEST

/* ---- the built-in rules ---- */

START_TEST(without_a_service_the_built_in_rules_ask_for_a_login)
{
    tk_ok(rig_init(&r, lines, false));
    tk_ok(fake_start(&r.h));
    int fd = dev_connect(r.port);
    dev_say(fd, "{\"id\":\"1\",\"requestId\":\"1\",\"method\":\"thing.property.post\","
                "\"params\":{}}\n");
    struct pollfd p = { fd, POLLIN, 0 };
    char text[300] = "";
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, 0), 0);
    ck_assert_msg(strstr(text, "401") != NULL && text[strlen(text) - 1] == '\n', "%s", text);
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(answer_that_cannot_be_framed_ends_the_connection_and_is_counted)
{
    tk_ok(rig_init(&r,
                   "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"framing\":{\"type\":\"delimiter\","
                   "\"delimiter\":\",\"}}",
                   false));
    tk_ok(fake_start(&r.h));
    int fd = dev_connect(r.port);
    dev_say(fd, "{\"method\":\"what\"},"); /* the answer has the mark inside */
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "bad_answers"), 1);
    ck_assert_int_eq(fake_metric(&r.h, "no_memory"), 0);
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(service_says_where_a_frame_ends)
{
    /* Where nothing else is said the callback is what counts. */
    rig_up_framing(&r, _i == 0 ? "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"framing\":{\"type\":"
                                 "\"service\",\"garbage_max\":10},\"frame_max\":16}"
                               : "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"framing\":{"
                                 "\"garbage_max\":10},\"frame_max\":16}");
    int fd = dev_connect(r.port);
    dev_say(fd, "5");
    dev_say(fd, "more");
    ck_assert(dev_gone(fd)); /* "5more" is nobody */
    close(fd);
    fd = dev_connect(r.port);
    dev_say(fd, "xxxxxxxxxxxxx"); /* more garbage than may be */
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "bad_frames"), 1);
    close(fd);
    fd = dev_connect(r.port);
    dev_say(fd, "q");
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "bad_frames"), 2);
    close(fd);
    fd = dev_connect(r.port);
    dev_say(fd, "Y"); /* 41 bytes, it says */
    ck_assert(dev_gone(fd));
    ck_assert_int_eq(fake_metric(&r.h, "too_big"), 1);
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(frames_end_at_lines_again_once_the_service_is_gone)
{
    rig_up_framing(&r, lines);
    fake_stop(&r.h);
    r.h.service_name = NULL;
    tk_ok(fake_start(&r.h));
    int fd = dev_connect(r.port);
    dev_say(fd, "{\"method\":\"what\"}\n");
    ck_assert(dev_hears(fd, "{"));
    close(fd);
    rig_down(&r);
}
END_TEST

START_TEST(options_that_cannot_be_are_refused)
{
    static const char *const bad[] = {
        "{}",
        "{\"listen\":[\"udp://127.0.0.1:%d\"]}",
        "{\"listen\":[\"tcp://127.0.0.1\"]}",
        "{\"listen\":[\"tcp://127.0.0.1:70000\"]}",
        "{\"listen\":[\"tcp://localhost:%d\"]}",
        "{\"listen\":[\"tls://127.0.0.1:%d\"]}",
        "{\"connect\":[{\"url\":\"tcp://a b:1\",\"device\":\"x\"}]}",
        "{\"connect\":[{\"url\":\"tcp://a:0\",\"device\":\"x\"}]}",
        "{\"connect\":[{\"url\":\"tcp://a:1\",\"device\":\"x\"},"
        "{\"url\":\"tcp://b:1\",\"device\":\"x\"}]}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(rig_init(&r, bad[i], false) == TPC_EINVAL, "%s", bad[i]);
        fake_fini(&r.h);
        tk_env_fini(&r.env);
    }
    /* And those that are known at the start alone. */
    static const char *const late[] = {
        "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"access\":\"service\"}",
        "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"framing\":{\"type\":\"service\"}}",
        "{\"listen\":[\"tcp://192.0.2.1:%d\"]}",
    };
    for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
        tk_ok(rig_init(&r, late[i], false));
        ck_assert_msg(fake_start(&r.h) != 0, "%s", late[i]);
        fake_stop(&r.h);
        fake_fini(&r.h);
        tk_env_fini(&r.env);
    }
}
END_TEST

/* ---- conformance: a device that we connect to ---- */

static int lasting; /* where it listens */

static void provoke(struct fake_host *h, uint32_t n)
{
    char text[32];
    (void) h;
    listener = lasting;
    int fd = accept_here();
    snprintf(text, sizeof(text), "frame %u\n", (unsigned) n);
    dev_say(fd, text);
    shutdown(fd, SHUT_WR);
    /* The other end closes once it has taken it; until then the descriptor stays. */
}

static const struct adapter_subject *subject(void)
{
    static char options[200];
    static const struct adapter_subject s = { tpc_module_tcp, options, provoke };
    snprintf(options, sizeof(options),
             "{\"connect\":[{\"url\":\"tcp://127.0.0.1:%d\",\"device\":\"m1\"}],"
             "\"access\":\"rules\"}",
             listen_here());
    lasting = listener;
    return &s;
}

Suite *tcp_suite(void)
{
    Suite *s = suite_create("tcp");
    TCase *c = tcase_create("devices");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, device_that_logs_in_is_there_and_its_frames_come);
    tcase_add_test(c, frame_that_logs_in_may_hold_data_and_more_frames_may_be_asked_for);
    tcase_add_test(c, answer_to_a_login_may_come_later_and_what_was_sent_meanwhile_is_kept);
    tcase_add_test(c, question_about_a_connection_ends_with_it_and_with_the_stop);
    tcase_add_test(c, unknown_voucher_is_told_no_and_the_connection_ends);
    tcase_add_test(c, device_that_comes_twice_keeps_the_newer_connection_and_is_never_away);
    tcase_add_test(c, device_that_shall_go_is_closed);
    tcase_add_test(c, heartbeat_is_answered_at_once_and_data_once_it_is_in_the_log);
    tcase_add_test(c, answer_that_is_settled_before_receive_returns_leaves);
    tcase_add_test(c, answer_for_a_connection_that_is_gone_is_dropped_also_after_the_stop);
    tcase_add_test(c, core_that_is_full_stops_the_reading_and_no_frame_is_lost);
    tcase_add_test(c, frame_over_the_cores_limit_is_counted_and_answered);
    tcase_add_test(c, frames_to_a_device_leave_as_the_service_made_them);
    tcase_add_test(c, device_that_we_connect_to_is_connected_to_again);
    tcase_add_test(c, name_is_reached_whichever_of_its_addresses_the_device_listens_at);
    tcase_add_test(c, without_a_service_the_built_in_rules_ask_for_a_login);
    tcase_add_test(c, answer_that_cannot_be_framed_ends_the_connection_and_is_counted);
    tcase_add_loop_test(c, service_says_where_a_frame_ends, 0, 2);
    tcase_add_test(c, frames_end_at_lines_again_once_the_service_is_gone);
    tcase_add_test(c, options_that_cannot_be_are_refused);
    suite_add_tcase(s, c);
    suite_add_tcase(s, adapter_suite(subject()));
    return s;
}
