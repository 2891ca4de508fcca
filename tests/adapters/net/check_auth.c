/* The built-in rules of who a connection is, over a host that knows one device. */
#include "auth.h"
#include "envelope.h"
#include "net_suites.h"

#include "tk.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/ext/api.h>

enum { TEXT = 1200 };

/* What done() was told last. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int count;
    int code;
    uint32_t verdict;
    char device[TEXT], product[TEXT], tenant[TEXT], answer[TEXT];
};

static struct told told = { .lock = PTHREAD_MUTEX_INITIALIZER,
                            .changed = PTHREAD_COND_INITIALIZER };

/* The host: dev01 of pk01 has the password "right", svc is a program, "slow" was wrong too often. */
static struct tpc_host host;
static struct tpc_api api;
static struct net_auth *rules;
static char seen_peer[TEXT], seen_client[TEXT], seen_sign[TEXT], seen_print[TEXT];
static int enroll_code, token_code, recheck_code;
static tpc_timer_fn *timer_fn;
static void *timer_user;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held = the disk is slow */

static void keep(char ret[TEXT], struct tpc_str s)
{
    snprintf(ret, TEXT, "%.*s", (int) s.len, s.len > 0 ? s.ptr : "");
}

static int auth_check(struct tpc_core *core, const struct tpc_auth_request *q,
                      struct tpc_identity *ret)
{
    char name[TEXT], password[TEXT];
    (void) core;
    keep(name, q->username);
    keep(password, (struct tpc_str){ (const char *) q->password.ptr, q->password.len });
    keep(seen_peer, q->peer);
    keep(seen_client, q->client_id);
    keep(seen_print, q->fingerprint);
    struct tpc_identity who = { .size = sizeof(who), .role = TPC_ROLE_DEVICE };
    snprintf(who.key, sizeof(who.key), "dev01");
    snprintf(who.product, sizeof(who.product), "pk01");
    if (strcmp(name, "slow") == 0) {
        return TPC_EAGAIN;
    }
    if (strcmp(name, "broken") == 0) {
        return TPC_EIO;
    }
    if (name[0] == '\0' && strcmp(password, "tok.en") == 0) {
        who.method = TPC_AUTH_JWT;
    } else if (strcmp(name, "dev02&pk01") == 0) {
        snprintf(who.key, sizeof(who.key), "dev02");
    } else if (name[0] == 'm') {
        snprintf(who.key, sizeof(who.key), "%.*s", (int) strcspn(name, "&"), name);
    } else if (strcmp(name, "svc") == 0) {
        who.role = TPC_ROLE_SERVICE;
    } else if (strcmp(name, "dev01&pk01") != 0 || strcmp(password, "right") != 0) {
        return TPC_EDENIED;
    }
    *ret = who;
    return 0;
}

static int auth_recheck(struct tpc_core *core, const struct tpc_identity *who)
{
    (void) core;
    (void) who;
    return recheck_code;
}

static int token_issue(struct tpc_core *core, struct tpc_str tenant, struct tpc_str device,
                       uint64_t ttl_ms, struct tpc_buf *buf)
{
    (void) core;
    ck_assert(tpc_str_equal(device, TPC_STR("dev01")));
    ck_assert(tpc_str_equal(tenant, TPC_STR("acme")));
    ck_assert_uint_eq(ttl_ms, 0);
    memcpy(buf->ptr, "tok.en", 6);
    buf->need = 6;
    return token_code;
}

static int enroll(void *ctx, const struct tpc_register_request *q, struct tpc_registration *ret)
{
    (void) ctx;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    keep(seen_sign, q->sign);
    keep(seen_peer, q->peer);
    if (enroll_code == 0) {
        memset(ret, 0, sizeof(*ret));
        snprintf(ret->product, sizeof(ret->product), "%.*s", (int) q->product.len, q->product.ptr);
        snprintf(ret->device, sizeof(ret->device), "%.*s", (int) q->device.len, q->device.ptr);
        snprintf(ret->secret, sizeof(ret->secret), "0123456789abcdef0123456789abcdef");
    }
    return enroll_code;
}

static void note_count(void *ctx, const char *metric, uint64_t n)
{
    (void) ctx;
    ck_assert_ptr_nonnull(metric);
    ck_assert_uint_eq(n, 1);
}

static void note_line(void *ctx, int level, const char *fmt, ...)
{
    (void) ctx;
    (void) level;
    ck_assert_ptr_null(strstr(fmt, "secret"));
}

static int set_timer(void *ctx, uint64_t delay_ms, tpc_timer_fn *fn, void *user, uint64_t *ret)
{
    (void) ctx;
    ck_assert_uint_eq(delay_ms, 1000);
    timer_fn = fn;
    timer_user = user;
    *ret = 5;
    return 0;
}

static void clear_timer(void *ctx, uint64_t timer)
{
    (void) ctx;
    ck_assert_uint_eq(timer, 5);
    timer_fn = NULL;
}

static int fill(void *user, void *p, size_t n)
{
    (void) user;
    memset(p, 7, n);
    return 0;
}

static const struct tpc_random numbers = { .size = sizeof(numbers), .fill = fill };

static const struct tpc_api *give_api(void *ctx, struct tpc_core **ret_core)
{
    *ret_core = NULL;
    return ctx != NULL ? &api : NULL;
}

static void done(void *user, const struct tpc_error *err, const struct tpc_access_grant *g)
{
    static const struct tpc_access_grant none;
    ck_assert_ptr_eq(user, &told);
    pthread_mutex_lock(&told.lock);
    told.code = err != NULL ? err->code : 0;
    g = g != NULL ? g : &none;
    told.verdict = g->verdict;
    keep(told.device, g->device);
    keep(told.product, g->product);
    keep(told.tenant, g->tenant);
    keep(told.answer, (struct tpc_str){ (const char *) g->answer.ptr, g->answer.len });
    told.count++;
    pthread_cond_broadcast(&told.changed);
    pthread_mutex_unlock(&told.lock);
}

static int wait_told(int count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&told.lock);
    while (told.count < count && pthread_cond_timedwait(&told.changed, &told.lock, &until) == 0) {
    }
    count = told.count;
    pthread_mutex_unlock(&told.lock);
    return count;
}

static void make_host(const struct tpc_allocator *alloc)
{
    host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                              .allocator = alloc,
                              .log = note_line,
                              .count = note_count,
                              .enroll = enroll,
                              .random = &numbers,
                              .timer_set = set_timer,
                              .timer_clear = clear_timer,
                              .api = give_api };
    api = (struct tpc_api){ .iface = TPC_IFACE(struct tpc_api, 1),
                            .auth_check = auth_check,
                            .auth_recheck = auth_recheck,
                            .token_issue = token_issue };
    enroll_code = token_code = recheck_code = 0;
    told.count = 0;
}

static struct tk_alloc memory;

static void begin(uint32_t flags)
{
    tk_alloc_init(&memory);
    make_host(&memory.base);
    tk_ok(net_auth_create(&host, &host, TPC_STR("acme"), flags, &rules));
    tk_ok(net_auth_start(rules));
}

static void end(void)
{
    net_auth_stop(rules);
    rules = net_auth_destroy(rules);
    tk_alloc_check(&memory);
}

static int say(const char *text, uint64_t *ret_id)
{
    struct tpc_access_request q = { .size = sizeof(q) };
    q.frame = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    q.peer = TPC_STR("192.0.2.7:40001");
    q.fingerprint = TPC_STR("ab12");
    return net_auth_ops.login(rules, &q, done, &told, ret_id);
}

static void expect(const char *text, int code, uint32_t verdict, const char *answer)
{
    uint64_t id;
    int before = told.count;
    tk_ok(say(text, &id));
    ck_assert_int_eq(wait_told(before + 1), before + 1);
    ck_assert_int_eq(told.code, code);
    ck_assert_uint_eq(told.verdict, verdict);
    ck_assert_str_eq(told.answer, answer);
}

#define LOGIN(user, password)                                                                      \
    "{\"requestId\":\"1\",\"method\":\"auth\",\"params\":{\"clientId\":\"pk01.dev01\","            \
    "\"username\":\"" user "\",\"password\":\"" password "\"}}"

START_TEST(right_password_is_let_in_with_the_contracts_answer)
{
    begin(0);
    expect(
        LOGIN("dev01&pk01", "right"), 0, TPC_ACCESS_IN,
        "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":\"认证成功\",\"code\":0,\"msg\":\"\"}");
    ck_assert_str_eq(told.device, "dev01");
    ck_assert_str_eq(told.product, "pk01");
    ck_assert_str_eq(told.tenant, "acme");
    ck_assert_str_eq(seen_peer, "192.0.2.7"); /* failures are counted by address, not by port */
    ck_assert_str_eq(seen_client, "pk01.dev01");
    ck_assert_str_eq(seen_print, "ab12");
    /* The client id is not needed, nor is a request id; one that is a number comes back as one. */
    expect("{\"id\":7,\"method\":\"auth\",\"params\":{\"username\":\"dev01&pk01\",\"password\":"
           "\"right\"}}",
           0, TPC_ACCESS_IN,
           "{\"requestId\":7,\"method\":\"auth\",\"data\":\"认证成功\",\"code\":0,\"msg\":\"\"}");
    end();
}
END_TEST

START_TEST(who_is_refused_may_try_again)
{
    begin(0);
    expect(LOGIN("dev01&pk01", "wrong"), 0, TPC_ACCESS_MORE,
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"refused\"}");
    expect(LOGIN("svc", "right"), 0, TPC_ACCESS_MORE,
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"refused\"}");
    expect("{\"method\":\"auth\"}", 0, TPC_ACCESS_MORE,
           "{\"method\":\"auth\",\"code\":401,\"msg\":\"refused\"}");
    expect(LOGIN("slow", "right"), 0, TPC_ACCESS_MORE,
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"too many failures, try "
           "again in a minute\"}");
    expect(LOGIN("broken", "x"), 0, TPC_ACCESS_MORE,
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":500,\"msg\":\"not now\"}");
    expect("{\"requestId\":\"2\",\"method\":\"thing.property.post\",\"params\":{\"t\":1}}", 0,
           TPC_ACCESS_MORE,
           "{\"requestId\":\"2\",\"method\":\"thing.property.post\",\"code\":401,\"msg\":\"log in "
           "first\"}");
    expect(
        LOGIN("dev01&pk01", "right"), 0, TPC_ACCESS_IN,
        "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":\"认证成功\",\"code\":0,\"msg\":\"\"}");
    end();
}
END_TEST

START_TEST(first_message_that_is_none_closes_the_connection)
{
    static const char *const bad[] = { "",
                                       "GET / HTTP/1.1",
                                       "[]",
                                       "{}",
                                       "{\"method\":1}",
                                       "{\"method\":\"\"}",
                                       "{\"method\":\"auth\",\"code\":0}",
                                       "{\"method\":\"auth\"} x" };
    char big[NET_ENVELOPE_MAX + 64];
    begin(0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect(bad[i], TPC_EDECODE, 0, "");
    }
    memset(big, ' ', sizeof(big));
    memcpy(big, "{\"method\":\"auth\"}", 17);
    big[sizeof(big) - 1] = '\0';
    expect(big, TPC_EDECODE, 0, "");
    end();
}
END_TEST

START_TEST(zeros_of_a_fixed_frame_are_no_fault)
{
    char frame[256] = LOGIN("dev01&pk01", "right");
    struct tpc_access_request q = { .size = sizeof(q) };
    uint64_t id;
    begin(0);
    q.frame = (struct tpc_bytes){ (const uint8_t *) frame, sizeof(frame) };
    tk_ok(net_auth_ops.login(rules, &q, done, &told, &id));
    ck_assert_uint_eq(told.verdict, TPC_ACCESS_IN);
    ck_assert_str_eq(told.device, "dev01");
    ck_assert_str_eq(seen_peer, "");
    end();
}
END_TEST

#define REGISTER                                                                                   \
    "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"params\":{\"productKey\":"          \
    "\"pk01\",\"deviceName\":\"dev09\",\"sign\":\"5167\"}}"

START_TEST(registration_gives_the_triple_and_the_login_comes_after_it)
{
    begin(0);
    expect(
        REGISTER, 0, TPC_ACCESS_MORE,
        "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"data\":{\"productKey\":"
        "\"pk01\",\"deviceName\":\"dev09\",\"deviceSecret\":\"0123456789abcdef0123456789abcdef\"}"
        ",\"code\":0,\"msg\":\"\"}");
    ck_assert_str_eq(seen_sign, "5167");
    ck_assert_str_eq(seen_peer, "192.0.2.7");
    enroll_code = TPC_EEXIST;
    expect(REGISTER, 0, TPC_ACCESS_MORE,
           "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"code\":500,\"msg\":\"the "
           "device is registered already\"}");
    enroll_code = TPC_EDENIED;
    expect(REGISTER, 0, TPC_ACCESS_MORE,
           "{\"requestId\":\"9\",\"method\":\"thing.auth.register\",\"code\":500,\"msg\":"
           "\"refused\"}");
    expect("{\"method\":\"thing.auth.register\",\"params\":{\"productKey\":\"pk01\"}}", 0,
           TPC_ACCESS_MORE,
           "{\"method\":\"thing.auth.register\",\"code\":500,\"msg\":\"refused\"}");
    end();
}
END_TEST

START_TEST(registrations_wait_in_a_queue_with_a_limit)
{
    uint64_t ids[NET_AUTH_WAITING_MAX + 2];
    begin(0);
    pthread_mutex_lock(&gate);
    /* One may be at the disk already. */
    int n = 0;
    while (n < NET_AUTH_WAITING_MAX + 2 && told.count == 0) {
        tk_ok(say(REGISTER, &ids[n++]));
    }
    ck_assert_int_ge(n, NET_AUTH_WAITING_MAX + 1);
    ck_assert_str_eq(told.answer, "{\"requestId\":\"9\",\"method\":\"thing.auth.register\","
                                  "\"code\":500,\"msg\":\"not now\"}");
    /* The connections of three are gone: of the first, one in the middle and the last. */
    net_auth_ops.cancel(rules, ids[0]);
    net_auth_ops.cancel(rules, ids[5]);
    net_auth_ops.cancel(rules, ids[n - 2]);
    net_auth_ops.cancel(rules, 0);
    pthread_mutex_unlock(&gate);
    ck_assert_int_eq(wait_told(n - 3), n - 3); /* and the one that heard at once */
    end();
    ck_assert_int_eq(told.count, n - 3);
}
END_TEST

static void *stop_rules(void *user)
{
    net_auth_stop(user);
    return NULL;
}

START_TEST(stop_waits_for_the_disk_and_tells_nobody_any_more)
{
    uint64_t id;
    pthread_t stopper;
    begin(0);
    pthread_mutex_lock(&gate);
    tk_ok(say(REGISTER, &id));
    tk_ok(say(REGISTER, &id));
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_rules, rules), 0);
    while (say(REGISTER, &id) == 0) { /* until it stops; those over the limit hear "not now" */
        sched_yield();
    }
    pthread_mutex_unlock(&gate);
    pthread_join(stopper, NULL);
    net_auth_stop(rules);
    tk_fails(TPC_ESTATE, say(REGISTER, &id));
    ck_assert(told.count == 0 || strstr(told.answer, "not now") != NULL);
    end();
}
END_TEST

static const char *answer_to(const char *device, const char *text, int expected)
{
    static char room[TEXT];
    struct tpc_buf out = { (uint8_t *) room, sizeof(room) - 1, 99 };
    struct tpc_bytes frame = { (const uint8_t *) text, strlen(text) };
    ck_assert_int_eq(net_auth_ops.answer(rules, tpc_str_from(device), frame, &out), expected);
    room[out.need] = '\0';
    return room;
}

START_TEST(second_login_on_a_connection_is_answered_at_once)
{
    begin(0);
    ck_assert_str_eq(answer_to("dev01", LOGIN("dev01&pk01", "right"), TPC_ACCESS_DONE),
                     "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":\"认证成功\",\"code\":0,"
                     "\"msg\":\"\"}");
    ck_assert_str_eq(answer_to("dev01", LOGIN("dev01&pk01", "wrong"), TPC_ACCESS_DONE),
                     "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"refused\"}");
    ck_assert_str_eq(answer_to("dev01", LOGIN("dev02&pk01", "right"), TPC_ACCESS_DONE),
                     "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":401,\"msg\":\"the "
                     "connection is another device's\"}");
    ck_assert_str_eq(
        answer_to("dev01", "{\"method\":\"thing.property.post\",\"params\":{}}", TPC_ACCESS_DATA),
        "");
    ck_assert_str_eq(answer_to("dev01", "{\"params\":{\"method\":\"auth\"}}", TPC_ACCESS_DATA), "");
    ck_assert_str_eq(answer_to("dev01", "not JSON", TPC_ACCESS_DATA), "");
    ck_assert_str_eq(answer_to("dev01", "", TPC_ACCESS_DATA), "");
    end();
}
END_TEST

START_TEST(login_gives_a_token_where_one_is_shown_with_each_message)
{
    struct tpc_identity who;
    begin(NET_AUTH_TOKEN);
    expect(LOGIN("dev01&pk01", "right"), 0, TPC_ACCESS_IN,
           "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":{\"token\":\"tok.en\"},\"code\":0,"
           "\"msg\":\"\"}");
    tk_ok(net_auth_token(rules, TPC_STR("tok.en"), TPC_STR("[2001:db8::1]:7"), &who));
    ck_assert_str_eq(who.key, "dev01");
    ck_assert_str_eq(seen_peer, "2001:db8::1");
    tk_fails(TPC_EDENIED, net_auth_token(rules, TPC_STR("tok"), TPC_STR(""), &who));
    tk_fails(TPC_EDENIED, net_auth_token(rules, TPC_STR(""), TPC_STR(""), &who));
    tk_ok(net_auth_stays(rules, &who));
    recheck_code = TPC_EDENIED;
    tk_fails(TPC_EDENIED, net_auth_stays(rules, &who));
    token_code = TPC_ESTATE;
    expect(LOGIN("dev01&pk01", "right"), 0, TPC_ACCESS_MORE,
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":500,\"msg\":\"no tokens are made "
           "here\"}");
    end();
}
END_TEST

static void on_drop(void *user, struct tpc_str tenant, struct tpc_str device)
{
    char *text = user;
    size_t n = strlen(text);
    snprintf(text + n, TEXT - n, "%.*s/%.*s;", (int) tenant.len, tenant.ptr, (int) device.len,
             device.ptr);
}

START_TEST(device_that_may_not_stay_is_told_of_once)
{
    char gone[TEXT] = "";
    begin(0);
    expect(
        LOGIN("dev02&pk01", "x"), 0, TPC_ACCESS_IN,
        "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":\"认证成功\",\"code\":0,\"msg\":\"\"}");
    tk_ok(net_auth_ops.watch(rules, on_drop, gone)); /* those from before are not known */
    expect(
        LOGIN("dev01&pk01", "right"), 0, TPC_ACCESS_IN,
        "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":\"认证成功\",\"code\":0,\"msg\":\"\"}");
    (void) answer_to("dev01", LOGIN("dev01&pk01", "right"), TPC_ACCESS_DONE);
    timer_fn(timer_user);
    ck_assert_str_eq(gone, "");
    recheck_code = TPC_EAGAIN; /* no answer is no no */
    timer_fn(timer_user);
    timer_fn(timer_user);
    ck_assert_str_eq(gone, "");
    recheck_code = TPC_EDENIED;
    timer_fn(timer_user); /* the end of a walk through all, or the walk */
    timer_fn(timer_user);
    timer_fn(timer_user);
    ck_assert_str_eq(gone, "acme/dev01;");
    expect(
        LOGIN("dev01&pk01", "right"), 0, TPC_ACCESS_IN,
        "{\"requestId\":\"1\",\"method\":\"auth\",\"data\":\"认证成功\",\"code\":0,\"msg\":\"\"}");
    tk_ok(net_auth_ops.watch(rules, NULL, NULL));
    ck_assert_ptr_null((void *) (uintptr_t) timer_fn);
    end();
}
END_TEST

static void count_drop(void *user, struct tpc_str tenant, struct tpc_str device)
{
    uint32_t *count = user;
    (void) tenant;
    (void) device;
    (*count)++;
}

/* A walk through all begins anew where a table changed: two of ten seconds each. */
START_TEST(thousands_that_may_not_stay_are_sent_away_at_once)
{
    enum { MANY = 3000 };
    char text[TEXT];
    uint32_t gone = 0;
    uint64_t id;
    begin(0);
    tk_ok(net_auth_ops.watch(rules, count_drop, &gone));
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "{\"method\":\"auth\",\"params\":{\"username\":\"m%d&pk01\"}}",
                 i);
        tk_ok(say(text, &id));
    }
    recheck_code = TPC_EDENIED;
    for (int i = 0; i < 10; i++) {
        timer_fn(timer_user);
    }
    ck_assert_uint_ge(gone, MANY * 9 / 10);
    for (int i = 0; i < 10; i++) {
        timer_fn(timer_user);
    }
    ck_assert_uint_eq(gone, MANY);
    tk_ok(net_auth_ops.watch(rules, NULL, NULL));
    end();
}
END_TEST

START_TEST(host_without_devices_lets_nobody_in)
{
    struct tpc_identity who;
    tk_alloc_init(&memory);
    make_host(&memory.base);
    tk_ok(net_auth_create(&host, NULL, TPC_STR(""), 0, &rules));
    expect(LOGIN("dev01&pk01", "right"), 0, TPC_ACCESS_MORE,
           "{\"requestId\":\"1\",\"method\":\"auth\",\"code\":500,\"msg\":\"nobody knows devices "
           "here\"}");
    tk_fails(TPC_EDENIED, net_auth_token(rules, TPC_STR("tok.en"), TPC_STR(""), &who));
    tk_fails(TPC_EDENIED, net_auth_stays(rules, &who));
    end();
}
END_TEST

static int attempt(const struct tpc_allocator *alloc, void *user)
{
    struct net_auth *a = NULL;
    uint64_t id;
    (void) user;
    make_host(alloc);
    int rc = net_auth_create(&host, &host, TPC_STR("acme"), NET_AUTH_TOKEN, &a);
    if (rc == 0) {
        rules = a;
        rc = net_auth_start(a);
        rc = rc != 0 ? rc : say(LOGIN("dev01&pk01", "right"), &id);
        if (rc == 0 && (told.code != 0 || told.verdict != TPC_ACCESS_IN)) {
            ck_abort_msg("memory that is short says that somebody is not who he is");
        }
        rc = rc != 0 ? rc : say(REGISTER, &id);
        net_auth_stop(a);
        net_auth_destroy(a);
    }
    return rc;
}

START_TEST(short_memory_is_told_and_leaves_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(attempt, NULL), 3);
}
END_TEST

START_TEST(address_is_without_its_port)
{
    static const char *const pairs[][2] = {
        { "192.0.2.1:7000", "192.0.2.1" },
        { "[2001:db8::1]:7000", "2001:db8::1" },
        { "192.0.2.1", "192.0.2.1" },
        { "2001:db8::1", "2001:db8::1" },
        { "[::1]", "::1" },
        { "[", "[" },
        { "", "" },
        { ":1", "" },
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct tpc_str got = net_auth_address(tpc_str_from(pairs[i][0]));
        ck_assert_msg(tpc_str_equal(got, tpc_str_from(pairs[i][1])), "%s", pairs[i][0]);
    }
}
END_TEST

Suite *auth_suite(void)
{
    Suite *s = suite_create("auth");
    TCase *t = tcase_create("auth");
    tcase_add_test(t, right_password_is_let_in_with_the_contracts_answer);
    tcase_add_test(t, who_is_refused_may_try_again);
    tcase_add_test(t, first_message_that_is_none_closes_the_connection);
    tcase_add_test(t, zeros_of_a_fixed_frame_are_no_fault);
    tcase_add_test(t, registration_gives_the_triple_and_the_login_comes_after_it);
    tcase_add_test(t, registrations_wait_in_a_queue_with_a_limit);
    tcase_add_test(t, stop_waits_for_the_disk_and_tells_nobody_any_more);
    tcase_add_test(t, second_login_on_a_connection_is_answered_at_once);
    tcase_add_test(t, login_gives_a_token_where_one_is_shown_with_each_message);
    tcase_add_test(t, device_that_may_not_stay_is_told_of_once);
    tcase_add_test(t, thousands_that_may_not_stay_are_sent_away_at_once);
    tcase_add_test(t, host_without_devices_lets_nobody_in);
    tcase_add_test(t, short_memory_is_told_and_leaves_nothing);
    tcase_add_test(t, address_is_without_its_port);
    suite_add_tcase(s, t);
    return s;
}
