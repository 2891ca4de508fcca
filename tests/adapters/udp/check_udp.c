/* The module with sockets on the loopback, over a host that knows dev01 and dev02. */
#include "udp_suites.h"

#include "adapter_suite.h"
#include "client.h"
#include "tk.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <tpcore/modules.h>
#include <unistd.h>

enum { TEXT = CLIENT_TEXT };

static char options[TEXT];
static uint16_t port;
static struct tk_env env;
static struct fake_host h;
static atomic_int void_tokens; /* 1 = they are not taken any more, 2 = those that were taken */
static atomic_int device_id;   /* that tokens prove */
static atomic_int enroll_code;
static atomic_uint checks;

/* ---- the host ---- */

static int auth_check(struct tpc_core *core, const struct tpc_auth_request *q,
                      struct tpc_identity *ret)
{
    char name[64], secret[128];
    struct tpc_identity who = { .size = sizeof(who), .role = TPC_ROLE_DEVICE };
    (void) core;
    atomic_fetch_add(&checks, 1);
    ck_assert(tpc_str_equal(q->peer, TPC_STR("127.0.0.1")) ||
              tpc_str_equal(q->peer, TPC_STR("::1")));
    snprintf(name, sizeof(name), "%.*s", (int) q->username.len,
             q->username.len > 0 ? q->username.ptr : "");
    snprintf(secret, sizeof(secret), "%.*s", (int) q->password.len,
             q->password.len > 0 ? (const char *) q->password.ptr : "");
    if (name[0] == '\0' && strncmp(secret, "tok-", 4) == 0 && atomic_load(&void_tokens) != 1) {
        who.method = TPC_AUTH_JWT;
        who.until_unix_ms = INT64_MAX;
        who.id = (uint64_t) atomic_load(&device_id);
        snprintf(who.key, sizeof(who.key), "%s", secret + 4);
    } else if (strncmp(name, "dev0", 4) == 0 && strcmp(secret, "right") == 0) {
        snprintf(who.key, sizeof(who.key), "%.5s", name);
    } else {
        return TPC_EDENIED;
    }
    snprintf(who.product, sizeof(who.product), "pk01");
    *ret = who;
    return 0;
}

static int auth_recheck(struct tpc_core *core, const struct tpc_identity *who)
{
    (void) core;
    ck_assert_uint_eq(who->method, TPC_AUTH_JWT);
    return atomic_load(&void_tokens) != 0 ? TPC_EDENIED : 0;
}

static int token_issue(struct tpc_core *core, struct tpc_str tenant, struct tpc_str device,
                       uint64_t ttl_ms, struct tpc_buf *buf)
{
    (void) core;
    (void) ttl_ms;
    ck_assert(tpc_str_equal(tenant, TPC_STR("main")));
    buf->need =
        (size_t) snprintf((char *) buf->ptr, buf->cap, "tok-%.*s", (int) device.len, device.ptr);
    return 0;
}

static int enroll(void *ctx, const struct tpc_register_request *q, struct tpc_registration *ret)
{
    (void) ctx;
    memset(ret, 0, sizeof(*ret));
    snprintf(ret->product, sizeof(ret->product), "%.*s", (int) q->product.len, q->product.ptr);
    snprintf(ret->device, sizeof(ret->device), "%.*s", (int) q->device.len, q->device.ptr);
    snprintf(ret->secret, sizeof(ret->secret), "s3cret");
    return atomic_load(&enroll_code);
}

static const struct tpc_api api = { .iface = TPC_IFACE(struct tpc_api, 1),
                                    .auth_check = auth_check,
                                    .auth_recheck = auth_recheck,
                                    .token_issue = token_issue };

/* ---- the device ---- */

static void expect(int fd, const char *text, const char *answer)
{
    client_say(fd, text);
    const char *got = client_hear(fd, CLIENT_ANSWER_MS);
    ck_assert_msg(got != NULL && strcmp(got, answer) == 0, "%s: %s", text,
                  got != NULL ? got : "no answer");
}

#define LOGIN(dev, password)                                                                       \
    "{\"requestId\":\"1\",\"method\":\"auth\",\"params\":{\"clientId\":\"pk01." dev                \
    "\",\"username\":\"" dev "&pk01\",\"password\":\"" password "\"}}"
#define LOGGED_IN(dev)                                                                             \
    "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":{\"token\":\"tok-" dev                      \
    "\"},\"code\":0,\"msg\":\"\"}"
#define POST(dev, body)                                                                            \
    "{\"requestId\":\"2\",\"method\":\"thing.property.post\",\"params\":{\"token\":\"tok-" dev     \
    "\",\"body\":" body "}}"
#define PLAIN(body) "{\"requestId\":\"2\",\"method\":\"thing.property.post\",\"params\":" body "}"
#define STRANGER                                                                                   \
    "{\"requestId\":\"2\",\"method\":\"thing.property.post\",\"code\":401,\"msg\":\"log in "       \
    "first\"}"

#define REGISTER                                                                                   \
    "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"params\":{\"productKey\":"          \
    "\"pk01\",\"deviceName\":\"dev09\",\"sign\":\"5167\"}}"

static void set_options(const char *more)
{
    port = client_port();
    snprintf(options, sizeof(options), "{\"listen\":[\"udp://127.0.0.1:%u\"]%s}", (unsigned) port,
             more);
}

static void begin(const char *more)
{
    tk_env_init(&env);
    set_options(more);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_udp()), options));
    h.api = &api;
    h.base.enroll = enroll;
    atomic_store(&void_tokens, 0);
    atomic_store(&device_id, 7);
    atomic_store(&enroll_code, 0);
    atomic_store(&checks, 0);
    tk_ok(fake_start(&h));
}

static void end(void)
{
    fake_stop(&h);
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    for (uint32_t i = 0; i < h.session_count; i++) {
        ck_assert(!h.sessions[i].open);
    }
    tk_env_fini(&env);
}

/* Waits for a number, which other threads count. */
static void wait_metric(const char *name, int64_t value)
{
    for (int i = 0; i < CLIENT_ANSWER_MS && fake_metric(&h, name) != value; i++) {
        (void) poll(NULL, 0, 1);
    }
    ck_assert_int_eq(fake_metric(&h, name), value);
}

static void down(uint64_t session, const char *text, uint64_t ticket, int expected)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    uint32_t sent = h.sent_count;
    tk_ok(fake_send(&h, session, "pk01", "dev01", &f, ticket));
    ck_assert(fake_wait_sent(&h, sent + 1));
    ck_assert_int_eq(h.sent_codes[h.sent_count - 1], expected);
    ck_assert_uint_eq(h.sent[h.sent_count - 1], ticket);
}

START_TEST(login_gives_a_token_and_messages_come_without_their_wrapping)
{
    begin("");
    int fd = client_open(port);
    expect(fd, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    ck_assert_uint_eq(h.session_count, 1);
    ck_assert_uint_eq(h.sessions[0].flags, TPC_SESSION_PRESENCE);
    ck_assert_str_eq(h.sessions[0].device, "dev01");
    ck_assert_str_eq(h.sessions[0].product, "pk01");
    client_say(fd, POST("dev01", "{\"t\":21.5}"));
    client_say(fd, POST("dev01", "{\"t\":22}"));
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_str_eq(h.frames[0].payload, PLAIN("{\"t\":21.5}"));
    ck_assert_str_eq(h.frames[1].payload, PLAIN("{\"t\":22}"));
    ck_assert_str_eq(h.frames[1].device, "dev01");
    ck_assert_uint_eq(h.frames[1].session, 1);
    ck_assert_uint_eq(h.session_count, 1);
    ck_assert_uint_eq(atomic_load(&checks), 2); /* a token that is known is not checked anew */
    close(fd);
    end();
}
END_TEST

START_TEST(token_of_a_former_session_opens_a_new_one)
{
    begin("");
    int fd = client_open(port);
    client_say(fd, POST("dev02", "{\"t\":1}"));
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_str_eq(h.sessions[0].device, "dev02");
    close(fd);
    end();
}
END_TEST

START_TEST(command_goes_to_where_the_device_spoke_from_last)
{
    begin("");
    int first = client_open(port), second = client_open(port);
    expect(first, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    down(1, "{\"a\":1}", 7, 0);
    ck_assert_str_eq(client_hear(first, CLIENT_ANSWER_MS), "{\"a\":1}");
    client_say(second, POST("dev01", "{\"t\":1}"));
    ck_assert(fake_wait_frames(&h, 1));
    down(1, "{\"a\":2}", 8, 0);
    ck_assert_str_eq(client_hear(second, CLIENT_ANSWER_MS), "{\"a\":2}");
    ck_assert_ptr_null(client_hear(first, CLIENT_SILENCE_MS));
    down(99, "{\"a\":3}", 9, TPC_EAGAIN);
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    static uint8_t big[65508];
    f.payload = (struct tpc_bytes){ big, sizeof(big) };
    tk_fails(TPC_ETOOBIG, fake_send(&h, 1, "pk01", "dev01", &f, 10));
    close(first);
    close(second);
    end();
}
END_TEST

/* A socket of IPv6 that is connected to to, or bound to a port of its own that *ret_port tells. */
static int v6_socket(uint16_t to, uint16_t *ret_port)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    a.sin6_port = htons(to);
    int rc =
        to != 0 ? connect(fd, (struct sockaddr *) &a, len) : bind(fd, (struct sockaddr *) &a, len);
    if (rc == 0 && to == 0) {
        rc = getsockname(fd, (struct sockaddr *) &a, &len);
        *ret_port = ntohs(a.sin6_port);
    }
    if (rc != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

START_TEST(device_may_change_between_addresses_that_we_listen_on)
{
    uint16_t six = 0;
    int probe = v6_socket(0, &six);
    if (probe < 0) {
        tk_skip("udp over IPv6", "there is no [::1]");
        return;
    }
    close(probe);
    tk_env_init(&env);
    port = client_port();
    snprintf(options, sizeof(options), "{\"listen\":[\"udp://127.0.0.1:%u\",\"udp://[::1]:%u\"]}",
             (unsigned) port, (unsigned) six);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_udp()), options));
    h.api = &api;
    tk_ok(fake_start(&h));
    int old = client_open(port), new = v6_socket(six, NULL);
    expect(old, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    client_say(new, POST("dev01", "{\"t\":1}"));
    ck_assert(fake_wait_frames(&h, 1));
    down(1, "{\"a\":1}", 7, 0);
    ck_assert_str_eq(client_hear(new, CLIENT_ANSWER_MS), "{\"a\":1}");
    expect(new, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    close(old);
    close(new);
    end();
}
END_TEST

START_TEST(stranger_is_told_to_log_in)
{
    begin("");
    int fd = client_open(port);
    expect(fd, "{\"requestId\":\"2\",\"method\":\"thing.property.post\",\"params\":{\"t\":1}}",
           STRANGER);
    expect(fd, LOGIN("dev01", "wrong"),
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"refused\"}");
    atomic_store(&void_tokens, 1);
    expect(fd, POST("dev01", "{\"t\":1}"), STRANGER);
    ck_assert_uint_eq(h.session_count, 0);
    ck_assert_uint_eq(h.frame_count, 0);
    ck_assert_int_eq(fake_metric(&h, "strangers"), 2);
    close(fd);
    end();
}
END_TEST

START_TEST(device_whose_token_is_void_is_out)
{
    begin("");
    int fd = client_open(port);
    client_say(fd, POST("dev01", "{\"t\":1}"));
    ck_assert(fake_wait_frames(&h, 1));
    atomic_store(&void_tokens, 1);
    expect(fd, POST("dev01", "{\"t\":2}"), STRANGER);
    ck_assert(!h.sessions[0].open);
    ck_assert_uint_eq(h.frame_count, 1);
    close(fd);
    end();
}
END_TEST

START_TEST(device_that_was_made_again_has_a_session_of_its_own)
{
    begin("");
    int fd = client_open(port);
    expect(fd, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    client_say(fd, POST("dev01", "{\"t\":1}"));
    ck_assert(fake_wait_frames(&h, 1));
    ck_assert_uint_eq(h.session_count, 1);
    atomic_store(&void_tokens, 2); /* of the one before */
    atomic_store(&device_id, 8);
    client_say(fd, POST("dev01", "{\"t\":2}"));
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_uint_eq(h.frames[1].session, 2);
    ck_assert(!h.sessions[0].open);
    ck_assert(h.sessions[1].open);
    /* So has one that logs in anew. */
    atomic_store(&void_tokens, 0);
    expect(fd, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    client_say(fd, POST("dev01", "{\"t\":3}"));
    ck_assert(fake_wait_frames(&h, 3));
    ck_assert_uint_eq(h.frames[2].session, 3);
    ck_assert(!h.sessions[1].open);
    ck_assert_int_eq(fake_metric(&h, "sessions"), 1);
    close(fd);
    end();
}
END_TEST

START_TEST(short_memory_loses_a_message_and_nothing_else)
{
    begin(",\"rate_per_address\":0");
    int fd = client_open(port);
    for (size_t n = 1; n < 12; n++) {
        tk_alloc_fail(&env.alloc, n);
        client_say(fd, POST("dev01", "{\"t\":1}"));
        client_say(fd, LOGIN("dev01", "right"));
        client_say(fd, REGISTER);
        (void) client_hear(fd, CLIENT_SILENCE_MS);
        tk_alloc_fail(&env.alloc, 0);
        while (client_hear(fd, 10) != NULL) {
        }
    }
    expect(fd, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    uint32_t before = h.frame_count;
    client_say(fd, POST("dev01", "{\"t\":1}"));
    ck_assert(fake_wait_frames(&h, before + 1));
    close(fd);
    end();
}
END_TEST

START_TEST(what_is_no_message_is_counted_and_not_answered)
{
    begin(",\"message_max\":300");
    char big[400];
    int fd = client_open(port);
    memset(big, ' ', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    memcpy(big, "{}", 2);
    client_say(fd, "");
    client_say(fd, "GET / HTTP/1.1");
    client_say(fd,
               "{\"method\":\"m\",\"params\":{\"token\":\"tok-dev01\",\"token\":\"tok-dev02\"}}");
    client_say(fd, big);
    wait_metric("too_long", 1);
    ck_assert_int_eq(fake_metric(&h, "malformed"), 3);
    /* An answer may be sent to who said nothing that it could be an answer to: no. */
    client_say(fd, "{\"method\":\"auth\",\"code\":1}");
    wait_metric("malformed", 4);
    ck_assert_ptr_null(client_hear(fd, CLIENT_SILENCE_MS));
    close(fd);
    end();
}
END_TEST

START_TEST(answer_before_the_login_is_bounded_by_the_request)
{
    begin(",\"amplify_max\":1");
    int fd = client_open(port);
    client_say(fd, "{\"method\":\"x\"}");
    wait_metric("answers_over_amplify_max", 1);
    ck_assert_ptr_null(client_hear(fd, CLIENT_SILENCE_MS));
    /* Who has proven who he is gets his token, however long. */
    expect(
        fd,
        "{\"id\":1,\"method\":\"auth\",\"params\":{\"username\":\"dev01\",\"password\":\"right\"}}",
        "{\"requestId\":1,\"method\":\"auth\",\"data\":{\"token\":\"tok-dev01\"},\"code\":0,"
        "\"msg\":\"\"}");
    /* With blanks enough it is answered. */
    expect(fd, "{\"method\":\"x\"}                                        ",
           "{\"method\":\"x\",\"code\":401,\"msg\":\"log in first\"}");
    close(fd);
    end();
}
END_TEST

START_TEST(address_that_sends_too_much_is_passed_over)
{
    begin(",\"rate_per_address\":3");
    int fd = client_open(port);
    client_say(fd, POST("dev01", "{\"t\":1}"));
    client_say(fd, POST("dev01", "{\"t\":2}"));
    client_say(fd, POST("dev01", "{\"t\":3}"));
    client_say(fd, POST("dev01", "{\"t\":4}"));
    wait_metric("limited", 1);
    ck_assert_uint_eq(h.frame_count, 3);
    tk_clock_advance(&env.clock, 400);
    client_say(fd, POST("dev01", "{\"t\":5}"));
    client_say(fd, POST("dev01", "{\"t\":6}"));
    wait_metric("limited", 2);
    ck_assert_uint_eq(h.frame_count, 4);
    close(fd);
    end();
}
END_TEST

START_TEST(silent_device_is_offline_and_its_next_message_brings_it_back)
{
    begin(",\"session_idle\":\"2s\"");
    int fd = client_open(port);
    client_say(fd, POST("dev01", "{\"t\":1}"));
    ck_assert(fake_wait_frames(&h, 1));
    tk_clock_advance(&env.clock, 2100);
    wait_metric("sessions_idle", 1);
    ck_assert(!h.sessions[0].open);
    ck_assert_int_eq(fake_metric(&h, "sessions"), 0);
    down(1, "{\"a\":1}", 7, TPC_EAGAIN);
    client_say(fd, POST("dev01", "{\"t\":2}"));
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_uint_eq(h.session_count, 2);
    close(fd);
    end();
}
END_TEST

START_TEST(nobody_falls_silent_while_nothing_is_read)
{
    begin(",\"session_idle\":\"2s\"");
    int fd = client_open(port);
    client_say(fd, POST("dev01", "{\"t\":1}"));
    ck_assert(fake_wait_frames(&h, 1));
    pthread_mutex_lock(&h.lock);
    h.receive_code = TPC_EAGAIN;
    pthread_mutex_unlock(&h.lock);
    client_say(fd, POST("dev01", "{\"t\":2}"));
    wait_metric("paused", 1);
    tk_clock_advance(&env.clock, 2100);
    ck_assert(fake_wait_later(&h, 2)); /* it is tried again, and idle timers were due */
    pthread_mutex_lock(&h.lock);
    h.receive_code = 0;
    pthread_mutex_unlock(&h.lock);
    h.ops->resume(h.self, 1);
    ck_assert(fake_wait_frames(&h, 2));
    ck_assert_str_eq(h.frames[1].payload, PLAIN("{\"t\":2}"));
    ck_assert(h.sessions[0].open);
    ck_assert_int_eq(fake_metric(&h, "sessions_idle"), 0);
    close(fd);
    end();
}
END_TEST

START_TEST(more_devices_than_allowed_are_refused)
{
    begin(",\"max_sessions\":1");
    int fd = client_open(port);
    expect(fd, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    expect(fd, LOGIN("dev02", "right"),
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":500,\"msg\":\"not now\"}");
    expect(fd, POST("dev02", "{\"t\":1}"),
           "{\"requestId\":\"2\",\"method\":\"thing.property.post\",\"code\":500,\"msg\":"
           "\"not now\"}"); /* its token is good: it need not log in */
    expect(fd, LOGIN("dev01", "right"), LOGGED_IN("dev01"));
    ck_assert_int_eq(fake_metric(&h, "sessions"), 1);
    ck_assert_int_eq(fake_metric(&h, "sessions_refused"), 2);
    close(fd);
    end();
}
END_TEST

START_TEST(registration_is_answered_once_the_disk_has_it)
{
    begin("");
    int fd = client_open(port);
    expect(fd, REGISTER,
           "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"data\":{\"productKey\":"
           "\"pk01\",\"deviceName\":\"dev09\",\"deviceSecret\":\"s3cret\"},\"code\":0,\"msg\":"
           "\"\"}");
    atomic_store(&enroll_code, TPC_EEXIST);
    expect(fd, REGISTER,
           "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"code\":500,\"msg\":\"the "
           "device is registered already\"}");
    ck_assert_uint_eq(h.session_count, 0);
    for (int i = 0; i < 20; i++) { /* some are under way when it stops */
        client_say(fd, REGISTER);
    }
    close(fd);
    end();
}
END_TEST

START_TEST(many_devices_at_once_lose_nothing_that_came)
{
    enum { DEVICES = 20, EACH = 20 };
    int fds[DEVICES];
    char text[TEXT];
    begin(",\"rate_per_address\":0");
    for (int i = 0; i < DEVICES; i++) {
        fds[i] = client_open(port);
    }
    for (int k = 0; k < EACH; k++) {
        for (int i = 0; i < DEVICES; i++) {
            snprintf(text, sizeof(text),
                     "{\"method\":\"thing.property.post\",\"params\":{\"token\":\"tok-d%d\","
                     "\"body\":{\"n\":%d}}}",
                     i, k);
            client_say(fds[i], text);
        }
        ck_assert(fake_wait_frames(&h, (uint32_t) ((k + 1) * DEVICES)));
    }
    ck_assert_uint_eq(h.session_count, DEVICES);
    for (int i = 0; i < DEVICES; i++) {
        close(fds[i]);
    }
    end();
}
END_TEST

START_TEST(address_that_is_none_is_refused)
{
    static const char *const bad[] = { "tcp://127.0.0.1:1", "udp://example.org:1",
                                       "udp://127.0.0.1", "127.0.0.1:8093" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tk_env_init(&env);
        snprintf(options, sizeof(options), "{\"listen\":[\"%s\"]}", bad[i]);
        tk_fails(TPC_EINVAL, fake_init(&h, &env, fake_adapter_of(tpc_module_udp()), options));
        ck_assert_ptr_nonnull(strstr(h.last_fail, "listen[0]"));
        fake_fini(&h);
        tk_env_fini(&env);
    }
}
END_TEST

START_TEST(address_in_use_is_said_and_may_be_free_later)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    tk_env_init(&env);
    set_options("");
    a.sin_port = htons(port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_udp()), options));
    tk_fails(TPC_EEXIST, fake_start(&h));
    ck_assert_str_eq(h.last_fail, "cannot listen: the address is in use");
    close(fd);
    tk_ok(fake_start(&h));
    end();
}
END_TEST

/* Number n of dev01. A host that pauses it still hears the login. */
static void provoke(struct fake_host *host, uint32_t n)
{
    char text[TEXT];
    int fd = client_open(port);
    host->api = &api;
    snprintf(text, sizeof(text),
             "{\"method\":\"thing.property.post\",\"params\":{\"token\":\"tok-dev01\",\"body\":{"
             "\"n\":%u}}}",
             (unsigned) n);
    client_say(fd, text);
    close(fd);
}

Suite *udp_suite(void)
{
    static struct adapter_subject subject = { tpc_module_udp, options, provoke };
    Suite *s = suite_create("udp");
    TCase *t = tcase_create("udp");
    set_options("");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, login_gives_a_token_and_messages_come_without_their_wrapping);
    tcase_add_test(t, token_of_a_former_session_opens_a_new_one);
    tcase_add_test(t, command_goes_to_where_the_device_spoke_from_last);
    tcase_add_test(t, device_may_change_between_addresses_that_we_listen_on);
    tcase_add_test(t, stranger_is_told_to_log_in);
    tcase_add_test(t, device_whose_token_is_void_is_out);
    tcase_add_test(t, device_that_was_made_again_has_a_session_of_its_own);
    tcase_add_test(t, short_memory_loses_a_message_and_nothing_else);
    tcase_add_test(t, what_is_no_message_is_counted_and_not_answered);
    tcase_add_test(t, answer_before_the_login_is_bounded_by_the_request);
    tcase_add_test(t, address_that_sends_too_much_is_passed_over);
    tcase_add_test(t, silent_device_is_offline_and_its_next_message_brings_it_back);
    tcase_add_test(t, nobody_falls_silent_while_nothing_is_read);
    tcase_add_test(t, more_devices_than_allowed_are_refused);
    tcase_add_test(t, registration_is_answered_once_the_disk_has_it);
    tcase_add_test(t, many_devices_at_once_lose_nothing_that_came);
    tcase_add_test(t, address_that_is_none_is_refused);
    tcase_add_test(t, address_in_use_is_said_and_may_be_free_later);
    suite_add_tcase(s, t);
    suite_add_tcase(s, adapter_suite(&subject));
    return s;
}
