#include "tb_stub_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <tk.h>
#include <unistd.h>

enum { READ_BYTES = 65536, OUT_MAX = 64 << 20 };

void stub_must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "tb_stub: no %s\n", what);
        abort();
    }
}

int64_t stub_unix_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t stub_mono_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void copy_text(char *to, size_t size, const char *text)
{
    size_t len = strlen(text);
    ck_assert_uint_lt(len, size);
    memcpy(to, text, len + 1);
}

/* ---- sockets ---- */

static int listen_on(uint16_t *port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(*port) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    ck_assert_int_eq(bind(fd, (struct sockaddr *) &at, sizeof(at)), 0);
    ck_assert_int_eq(listen(fd, 64), 0);
    socklen_t size = sizeof(at);
    getsockname(fd, (struct sockaddr *) &at, &size);
    *port = ntohs(at.sin_port);
    return fd;
}

static void end_session(struct tb_stub *s, struct stub_session *x)
{
    s->counts.sessions -= x->up;
    close(x->fd);
    free(x->in.bytes);
    free(x->out.bytes);
    free(x->owed);
    memset(x, 0, sizeof(*x));
    x->fd = -1;
    pthread_cond_broadcast(&s->came);
}

static void accept_all(struct tb_stub *s)
{
    for (;;) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        struct stub_session *x = s->sessions;
        while (x < s->sessions + STUB_SESSIONS && x->fd >= 0) {
            x++;
        }
        if (x == s->sessions + STUB_SESSIONS) {
            close(fd);
            continue;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        memset(x, 0, sizeof(*x));
        x->fd = fd;
        x->owed = calloc(STUB_OWED, sizeof(*x->owed));
        x->in.bytes = malloc(STUB_PACKET_MAX * 2);
        x->in.cap = STUB_PACKET_MAX * 2;
        stub_must(x->owed != NULL && x->in.bytes != NULL, "memory");
    }
}

static void read_session(struct tb_stub *s, struct stub_session *x)
{
    bool was_up = x->up;
    size_t room = x->in.cap - x->in.len;
    ssize_t n = recv(x->fd, x->in.bytes + x->in.len, room < READ_BYTES ? room : READ_BYTES, 0);
    if (n <= 0) {
        x->closing |= n == 0 || (errno != EAGAIN && errno != EINTR);
        return;
    }
    x->in.len += (size_t) n;
    stub_packets(s, x);
    s->counts.sessions += x->up && !was_up;
    if (x->up && !was_up) {
        pthread_cond_broadcast(&s->came);
    }
}

static void write_session(struct stub_session *x)
{
    while (x->out_at < x->out.len) {
        ssize_t n = send(x->fd, x->out.bytes + x->out_at, x->out.len - x->out_at, MSG_NOSIGNAL);
        if (n < 0) {
            x->closing |= errno != EAGAIN && errno != EINTR;
            break;
        }
        x->out_at += (size_t) n;
    }
    if (x->out_at == x->out.len) {
        x->out_at = x->out.len = 0;
    }
    x->closing |= x->out.len > OUT_MAX;
}

/* One wait, and work on what it reported. */
static void turn(struct tb_stub *s)
{
    struct pollfd polls[STUB_SESSIONS + 2];
    int64_t now = stub_mono_ms();
    int wait = -1;
    polls[0] = (struct pollfd){ s->wake[0], POLLIN, 0 };
    polls[1] = (struct pollfd){ s->stall || s->away ? -1 : s->listener, POLLIN, 0 };
    for (int i = 0; i < STUB_SESSIONS; i++) {
        struct stub_session *x = &s->sessions[i];
        polls[i + 2] = (struct pollfd){ s->stall ? -1 : x->fd, POLLIN, 0 };
        if (s->stall || x->fd < 0) {
            continue;
        }
        int due = stub_pubacks(s, x, now);
        wait = due >= 0 && (wait < 0 || due < wait) ? due : wait;
        write_session(x);
        polls[i + 2].events |= x->out_at < x->out.len ? POLLOUT : 0;
    }
    pthread_mutex_unlock(&s->lock);
    poll(polls, STUB_SESSIONS + 2, wait);
    pthread_mutex_lock(&s->lock);
    if (polls[0].revents != 0) {
        char some[256];
        while (read(s->wake[0], some, sizeof(some)) == (ssize_t) sizeof(some)) {
        }
    }
    for (int i = 0; i < STUB_SESSIONS; i++) {
        struct stub_session *x = &s->sessions[i];
        bool same = x->fd >= 0 && x->fd == polls[i + 2].fd;
        if (same && !s->stall && !x->closing && polls[i + 2].revents != 0) {
            read_session(s, x);
        }
        if (x->fd >= 0 && x->closing && !s->stall) {
            if (s->puback_delay_ms == 0) {
                stub_pubacks(s, x, INT64_MAX);
            }
            write_session(x);
            end_session(s, x);
        }
    }
    if (!s->stall && s->listener >= 0 && s->listener == polls[1].fd && polls[1].revents != 0) {
        accept_all(s);
    }
}

static void *run(void *user)
{
    struct tb_stub *s = user;
    pthread_mutex_lock(&s->lock);
    while (!s->ending) {
        turn(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- life ---- */

static void unlock_and_wake(struct tb_stub *s)
{
    pthread_mutex_unlock(&s->lock);
    (void) !write(s->wake[1], "", 1);
}

struct tb_stub *tb_stub_create(void)
{
    struct tb_stub *s = calloc(1, sizeof(*s));
    ck_assert_ptr_nonnull(s);
    s->samples = samples_create();
    ck_assert_ptr_nonnull(s->samples);
    for (int i = 0; i < STUB_SESSIONS; i++) {
        s->sessions[i].fd = -1;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->came, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->any_user = s->any_password = true;
    copy_text(s->limits, sizeof(s->limits),
              "{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,"
              "\"rateLimits\":{\"messages\":\"\",\"telemetryMessages\":\"\","
              "\"telemetryDataPoints\":\"\"},"
              "\"gatewayRateLimits\":{\"messages\":\"\",\"telemetryMessages\":\"\","
              "\"telemetryDataPoints\":\"\"}}");
    copy_text(s->attributes, sizeof(s->attributes), "{}");
    tb_stub_provision(s, NULL);
    ck_assert_int_eq(pipe2(s->wake, O_NONBLOCK | O_CLOEXEC), 0);
    s->listener = listen_on(&s->port);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, run, s), 0);
    return s;
}

void tb_stub_destroy(struct tb_stub *s)
{
    if (s == NULL) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    unlock_and_wake(s);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < STUB_SESSIONS; i++) {
        if (s->sessions[i].fd >= 0) {
            end_session(s, &s->sessions[i]);
        }
    }
    for (int i = 0; i < STUB_KEPT; i++) {
        free(s->kept[i].topic);
        free(s->kept[i].payload);
    }
    for (int i = 0; i < STUB_KEPT_DATA; i++) {
        free(s->kept_data[i].topic);
        free(s->kept_data[i].payload);
    }
    if (s->listener >= 0) {
        close(s->listener);
    }
    close(s->wake[0]);
    close(s->wake[1]);
    samples_destroy(s->samples);
    pthread_cond_destroy(&s->came);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

uint16_t tb_stub_port(const struct tb_stub *s)
{
    return s->port;
}

/* ---- settings ---- */

void tb_stub_limits(struct tb_stub *s, const char *json)
{
    pthread_mutex_lock(&s->lock);
    s->no_limits = json == NULL;
    if (json != NULL) {
        copy_text(s->limits, sizeof(s->limits), json);
    }
    unlock_and_wake(s);
}

void tb_stub_credentials(struct tb_stub *s, const char *user_name, const char *password)
{
    pthread_mutex_lock(&s->lock);
    s->any_user = user_name == NULL;
    s->any_password = password == NULL;
    copy_text(s->user_name, sizeof(s->user_name), user_name != NULL ? user_name : "");
    copy_text(s->password, sizeof(s->password), password != NULL ? password : "");
    unlock_and_wake(s);
}

void tb_stub_refuse_connect(struct tb_stub *s, uint8_t v3_code, uint8_t v5_reason)
{
    pthread_mutex_lock(&s->lock);
    s->refuse_v3 = v3_code;
    s->refuse_v5 = v5_reason;
    unlock_and_wake(s);
}

void tb_stub_only_v3(struct tb_stub *s, bool on)
{
    pthread_mutex_lock(&s->lock);
    s->only_v3 = on;
    unlock_and_wake(s);
}

void tb_stub_maxima(struct tb_stub *s, uint16_t receive, uint32_t packet_bytes)
{
    pthread_mutex_lock(&s->lock);
    s->receive_maximum = receive;
    s->packet_maximum = packet_bytes;
    unlock_and_wake(s);
}

void tb_stub_provision(struct tb_stub *s, const char *json)
{
    pthread_mutex_lock(&s->lock);
    copy_text(s->provision, sizeof(s->provision),
              json != NULL ? json
                           : "{\"status\":\"SUCCESS\",\"credentialsType\":\"ACCESS_TOKEN\","
                             "\"credentialsValue\":\"provisioned\"}");
    unlock_and_wake(s);
}

void tb_stub_attributes(struct tb_stub *s, const char *values_json)
{
    pthread_mutex_lock(&s->lock);
    copy_text(s->attributes, sizeof(s->attributes), values_json);
    unlock_and_wake(s);
}

void tb_stub_stall(struct tb_stub *s, bool on)
{
    pthread_mutex_lock(&s->lock);
    s->stall = on;
    unlock_and_wake(s);
}

void tb_stub_drop(struct tb_stub *s)
{
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < STUB_SESSIONS; i++) {
        s->counts.dropped += s->sessions[i].fd >= 0;
        s->sessions[i].closing = s->sessions[i].fd >= 0;
    }
    unlock_and_wake(s);
}

void tb_stub_drop_every(struct tb_stub *s, uint32_t n)
{
    pthread_mutex_lock(&s->lock);
    s->drop_every = n;
    s->since_drop = 0;
    unlock_and_wake(s);
}

void tb_stub_away(struct tb_stub *s, bool on)
{
    pthread_mutex_lock(&s->lock);
    if (on != s->away) {
        s->away = on;
        if (on) {
            close(s->listener);
            s->listener = -1;
        } else {
            s->listener = listen_on(&s->port);
        }
    }
    unlock_and_wake(s);
    if (on) {
        tb_stub_drop(s);
    }
}

void tb_stub_puback_delay(struct tb_stub *s, uint32_t ms)
{
    pthread_mutex_lock(&s->lock);
    s->puback_delay_ms = ms;
    unlock_and_wake(s);
}

void tb_stub_refuse(struct tb_stub *s, const char *text, uint8_t reason, uint32_t times)
{
    pthread_mutex_lock(&s->lock);
    copy_text(s->refuse_text, sizeof(s->refuse_text), text != NULL ? text : "");
    s->refuse_reason = reason;
    s->refuse_times = times;
    unlock_and_wake(s);
}
