#include "rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <tpcore/modules.h>
#include <unistd.h>

/* ---- device.access ---- */

static int end_login(struct rig *r, const char *name, uint32_t flags, tpc_access_done_fn *done,
                     void *user)
{
    struct tpc_access_grant g = { .size = sizeof(g), .flags = flags };
    g.device = tpc_str_from(name);
    g.answer = TPC_BYTES("hi\n");
    (void) r;
    done(user, NULL, &g);
    return 0;
}

static int refuse(tpc_access_done_fn *done, void *user, int code)
{
    struct tpc_access_grant g = { .size = sizeof(g) };
    struct tpc_error err = { .code = code, .text = "the voucher is not known" };
    g.answer = TPC_BYTES("no\n");
    done(user, &err, &g);
    return 0;
}

static int wait_login(struct rig *r, const char *name, tpc_access_done_fn *done, void *user,
                      uint64_t *ret_id)
{
    pthread_mutex_lock(&r->lock);
    bool room = r->waiting < RIG_LOGINS_MAX;
    if (room) {
        r->logins[r->waiting].done = done;
        r->logins[r->waiting].user = user;
        snprintf(r->logins[r->waiting].name, sizeof(r->logins[0].name), "%s", name);
        r->waiting++;
        *ret_id = (uintptr_t) user;
    }
    pthread_mutex_unlock(&r->lock);
    return room ? 0 : TPC_EAGAIN;
}

static int login(void *self, const struct tpc_access_request *q, tpc_access_done_fn *done,
                 void *user, uint64_t *ret_id)
{
    struct rig *r = self;
    char text[64];
    snprintf(text, sizeof(text), "%.*s", (int) q->frame.len, (const char *) q->frame.ptr);
    pthread_mutex_lock(&r->lock);
    snprintf(r->peer, sizeof(r->peer), "%.*s", (int) q->peer.len, q->peer.ptr);
    snprintf(r->fingerprint, sizeof(r->fingerprint), "%.*s", (int) q->fingerprint.len,
             q->fingerprint.ptr);
    pthread_mutex_unlock(&r->lock);
    if (strncmp(text, "id:", 3) == 0) {
        return end_login(r, text + 3, 0, done, user);
    }
    if (strncmp(text, "feed:", 5) == 0) {
        return end_login(r, text + 5, TPC_ACCESS_FEED, done, user);
    }
    if (strncmp(text, "slow:", 5) == 0) {
        return wait_login(r, text + 5, done, user, ret_id);
    }
    if (strcmp(text, "more") == 0) {
        struct tpc_access_grant g = { .size = sizeof(g), .verdict = TPC_ACCESS_MORE };
        g.answer = TPC_BYTES("more?\n");
        done(user, NULL, &g);
        return 0;
    }
    return refuse(done, user, strcmp(text, "again") == 0 ? TPC_EAGAIN : TPC_EDENIED);
}

static void cancel(void *self, uint64_t id)
{
    struct rig *r = self;
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->waiting; i++) {
        if ((uintptr_t) r->logins[i].user == id) {
            r->logins[i] = r->logins[--r->waiting];
            r->canceled++;
            break;
        }
    }
    pthread_mutex_unlock(&r->lock);
}

bool rig_answer_login(struct rig *r, bool good)
{
    pthread_mutex_lock(&r->lock);
    bool any = r->waiting > 0;
    if (any) {
        r->waiting--;
        tpc_access_done_fn *done = r->logins[r->waiting].done;
        void *user = r->logins[r->waiting].user;
        if (good) {
            (void) end_login(r, r->logins[r->waiting].name, 0, done, user);
        } else {
            (void) refuse(done, user, TPC_EDENIED);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return any;
}

static int answer(void *self, struct tpc_str device, struct tpc_bytes frame, struct tpc_buf *out)
{
    static const char big[2000] = { 0 };
    struct tpc_str say = { "", 0 };
    struct tpc_str text = { (const char *) frame.ptr, frame.len };
    (void) self;
    ck_assert_uint_gt(device.len, 0);
    bool done = tpc_str_equal(text, TPC_STR("hb"));
    if (done) {
        say = TPC_STR("ok\n");
    } else if (text.len >= 3 && memcmp(text.ptr, "big", 3) == 0) {
        say = (struct tpc_str){ big, sizeof(big) };
    } else if (text.len >= 4 && memcmp(text.ptr, "data", 4) == 0) {
        say = TPC_STR("ack\n");
    } else if (text.len >= 3 && memcmp(text.ptr, "bad", 3) == 0) {
        return TPC_EDECODE;
    }
    out->need = say.len;
    if (say.len > out->cap) {
        return TPC_ETOOBIG;
    }
    if (say.len > 0) {
        memcpy(out->ptr, say.ptr, say.len);
    }
    return done ? TPC_ACCESS_DONE : TPC_ACCESS_DATA;
}

/* A frame begins with its length as a digit; 'x' is garbage, 'q' ends it all. */
static int frame(void *self, struct tpc_bytes bytes, size_t *ret_bytes)
{
    (void) self;
    *ret_bytes = 0;
    if (bytes.len == 0) {
        return 0;
    }
    if (bytes.ptr[0] == 'x' || bytes.ptr[0] == 'q') {
        *ret_bytes = bytes.ptr[0] == 'x';
        return TPC_EDECODE;
    }
    *ret_bytes = (size_t) (bytes.ptr[0] - '0');
    return 0;
}

static int watch(void *self, tpc_access_drop_fn *fn, void *user)
{
    struct rig *r = self;
    r->drop = fn;
    r->drop_user = user;
    return 0;
}

#define ACCESS                                                                                     \
    .iface = TPC_IFACE(struct tpc_access_ops, 1), .login = login, .cancel = cancel,                \
    .answer = answer, .watch = watch
static const struct tpc_access_ops access_ops = { ACCESS };
static const struct tpc_access_ops framing_ops = { ACCESS, .frame = frame };

/* ---- the instance ---- */

static uint64_t mono_ns(void *user)
{
    struct rig *r = user;
    const struct tpc_clock *system = tpi_clock_system();
    return system->mono_ns(system->user) + atomic_load(&r->ahead_ms) * 1000000;
}

static int64_t unix_ms(void *user)
{
    const struct tpc_clock *system = tpi_clock_system();
    (void) user;
    return system->unix_ms(system->user);
}

int rig_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof(a);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

int rig_init(struct rig *r, const char *options, bool service)
{
    char text[2000];
    memset(r, 0, sizeof(*r));
    pthread_mutex_init(&r->lock, NULL);
    tk_env_init(&r->env);
    /* Sockets are not faked either. */
    r->env.clock.base = (struct tpc_clock){
        .size = sizeof(r->env.clock.base), .user = r, .unix_ms = unix_ms, .mono_ns = mono_ns
    };
    r->port = rig_port();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof(text), options, r->port);
#pragma GCC diagnostic pop
    int rc = fake_init(&r->h, &r->env, fake_adapter_of(tpc_module_tcp()), text);
    if (service) {
        r->h.service_name = "device.access";
        r->h.service = &access_ops;
        r->h.service_self = r;
    }
    return rc;
}

static void start(struct rig *r)
{
    int rc = fake_start(&r->h);
    ck_assert_msg(rc == 0, "%s", r->h.last_fail);
}

void rig_up(struct rig *r, const char *options)
{
    int rc = rig_init(r, options, true);
    ck_assert_msg(rc == 0, "%s", r->h.last_fail);
    start(r);
}

void rig_up_framing(struct rig *r, const char *options)
{
    int rc = rig_init(r, options, true);
    ck_assert_msg(rc == 0, "%s", r->h.last_fail);
    r->h.service = &framing_ops;
    start(r);
}

void rig_down(struct rig *r)
{
    fake_stop(&r->h);
    ck_assert_uint_eq(rig_open_sessions(r), 0);
    ck_assert_uint_eq(r->waiting, 0);
    ck_assert(r->drop == NULL);
    fake_fini(&r->h);
    ck_assert_uint_eq(r->h.calls_after_stop, 0);
    tk_env_fini(&r->env);
    pthread_mutex_destroy(&r->lock);
}

bool rig_wait(struct rig *r, const char *metric, int64_t value)
{
    for (int i = 0; i < 5000 && fake_metric(&r->h, metric) < value; i++) {
        poll(NULL, 0, 1);
    }
    return fake_metric(&r->h, metric) >= value;
}

bool rig_wait_logins(struct rig *r, uint32_t count)
{
    bool there = false;
    for (int i = 0; i < 5000 && !there; i++) {
        pthread_mutex_lock(&r->lock);
        there = r->waiting >= count;
        pthread_mutex_unlock(&r->lock);
        poll(NULL, 0, there ? 0 : 1);
    }
    return there;
}

uint32_t rig_open_sessions(struct rig *r)
{
    uint32_t open = 0;
    pthread_mutex_lock(&r->h.lock);
    for (uint32_t i = 0; i < r->h.session_count; i++) {
        open += r->h.sessions[i].open;
    }
    pthread_mutex_unlock(&r->h.lock);
    return open;
}

uint32_t rig_frames(struct rig *r)
{
    pthread_mutex_lock(&r->h.lock);
    uint32_t count = r->h.frame_count;
    pthread_mutex_unlock(&r->h.lock);
    return count;
}

bool rig_wait_sessions(struct rig *r, uint32_t count)
{
    for (int i = 0; i < 5000 && rig_open_sessions(r) != count; i++) {
        poll(NULL, 0, 1);
    }
    return rig_open_sessions(r) == count;
}

/* ---- a device ---- */

int dev_connect_from(int port, const char *address)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(inet_pton(AF_INET, address, &a.sin_addr), 1);
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t) port);
    ck_assert_int_eq(connect(fd, (struct sockaddr *) &a, sizeof(a)), 0);
    return fd;
}

int dev_connect(int port)
{
    return dev_connect_from(port, "127.0.0.1");
}

void dev_put(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = send(fd, at, n, MSG_NOSIGNAL);
        if (done < 0) {
            return; /* the test sees it by what it hears */
        }
        at += done;
        n -= (size_t) done;
    }
}

void dev_say(int fd, const char *text)
{
    dev_put(fd, text, strlen(text));
}

bool dev_hears(int fd, const char *text)
{
    char got[4096];
    size_t len = 0, want = strlen(text);
    while (len < want && want < sizeof(got)) {
        struct pollfd p = { fd, POLLIN, 0 };
        if (poll(&p, 1, 5000) <= 0) {
            break;
        }
        ssize_t n = recv(fd, got + len, want - len, 0);
        if (n <= 0) {
            break;
        }
        len += (size_t) n;
    }
    return len == want && memcmp(got, text, want) == 0;
}

bool dev_silent(int fd, int ms)
{
    struct pollfd p = { fd, POLLIN, 0 };
    return poll(&p, 1, ms) == 0;
}

bool dev_gone(int fd)
{
    char got[4096];
    for (;;) {
        struct pollfd p = { fd, POLLIN, 0 };
        if (poll(&p, 1, 5000) <= 0) {
            return false;
        }
        ssize_t n = recv(fd, got, sizeof(got), 0);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return true;
        }
    }
}
