#include "modbus_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 64, EXTRA = SERVER_CONNECTIONS_MAX + SERVER_PORTS_MAX, OTHER_TRANSACTION = 77 };

uint64_t server_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

/* ---- connections ---- */

static int watch(struct server *s, int fd, uint32_t place, uint32_t events, int how)
{
    struct epoll_event e = { .events = events, .data.u32 = place };
    return epoll_ctl(s->epoll, how, fd, &e);
}

static void end(struct server *s, uint32_t place)
{
    close(s->connections[place]->fd);
    free(s->connections[place]);
    s->connections[place] = NULL;
    s->open--;
}

void server_drop(struct server *s)
{
    for (uint32_t i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        if (s->connections[i] != NULL) {
            end(s, i);
        }
    }
}

static void take(struct server *s, uint32_t port)
{
    int one = 1;
    uint32_t place = 0;
    int fd = accept4(s->listeners[port], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (place < SERVER_CONNECTIONS_MAX && s->connections[place] != NULL) {
        place++;
    }
    struct connection *c = fd >= 0 && place < SERVER_CONNECTIONS_MAX ? malloc(sizeof(*c)) : NULL;
    if (c == NULL || watch(s, fd, place, EPOLLIN, EPOLL_CTL_ADD) != 0) {
        free(c);
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->fd = fd;
    c->port = port;
    c->age = ++s->age;
    c->stuck = false;
    c->in_len = c->out_at = c->out_len = 0;
    s->connections[place] = c;
    s->open++;
    s->accepted++;
}

/* False: it has ended. */
static bool flush(struct server *s, uint32_t place)
{
    struct connection *c = s->connections[place];
    while (c->out_at < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            if (!c->stuck) {
                c->stuck = true;
                (void) watch(s, c->fd, place, EPOLLOUT, EPOLL_CTL_MOD);
            }
            return true;
        }
        if (n < 0) {
            end(s, place);
            return false;
        }
        c->out_at += (size_t) n;
    }
    c->out_at = c->out_len = 0;
    if (c->stuck) {
        c->stuck = false;
        (void) watch(s, c->fd, place, EPOLLIN, EPOLL_CTL_MOD);
    }
    return true;
}

/* ---- requests ---- */

/* As mb_tcp_peel(): a request in RTU frames. */
static int peel_rtu(const uint8_t *in, size_t len, struct mb_answer *ret)
{
    size_t need = 8;
    if (len < need) {
        return 0;
    }
    if (in[1] == MB_WRITE_COILS || in[1] == MB_WRITE_REGISTERS) {
        need = 9 + (size_t) in[6];
    } else if (in[1] == 0 || in[1] > MB_WRITE_REGISTER) {
        need = len; /* of a function that nobody knows: all there is */
    }
    if (need > MB_PDU_MAX + 3) {
        return -1;
    }
    if (len < need) {
        return 0;
    }
    uint16_t crc = mb_crc16(in, need - 2);
    if (in[need - 2] != (uint8_t) crc || in[need - 1] != (uint8_t) (crc >> 8)) {
        return -1;
    }
    *ret = (struct mb_answer){ .unit = in[0], .pdu = in + 1, .len = need - 3 };
    return (int) need;
}

static size_t wrap(const struct server *s, uint16_t transaction, uint8_t unit, const uint8_t *pdu,
                   size_t len, uint8_t *out)
{
    return s->rtu ? mb_rtu_wrap(unit, pdu, len, out)
                  : mb_tcp_wrap(transaction, unit, pdu, len, out);
}

static void keep_late(struct server *s, uint32_t place, const uint8_t *frame, size_t len,
                      uint64_t due_ms)
{
    if (s->late == NULL) {
        s->late = malloc(SERVER_LATE_MAX * sizeof(*s->late));
    }
    if (s->late == NULL || s->late_count == SERVER_LATE_MAX) {
        s->late_lost++;
        return;
    }
    struct late_answer *l = &s->late[s->late_count++];
    l->due_ms = due_ms;
    l->place = place;
    l->age = s->connections[place]->age;
    l->len = len;
    memcpy(l->bytes, frame, len);
}

/* The fault of a slave, done to its answer, which lies behind c->out_len. False: the connection ends. */
static bool spoil(struct server *s, uint32_t place, struct slave *v, size_t len, uint64_t now_ms)
{
    struct connection *c = s->connections[place];
    uint8_t *frame = c->out + c->out_len;
    s->slaves->faults[v->fault]++;
    switch (v->fault) {
    case FAULT_LATE:
        keep_late(s, place, frame, len, now_ms + v->fault_arg);
        return true;
    case FAULT_SILENT:
        return true;
    case FAULT_HALF:
        c->out_len += len / 2;
        return false;
    case FAULT_GARBAGE:
        memset(frame, 0xa5, len);
        c->out_len += len;
        return true;
    case FAULT_CLOSE:
        return false;
    default:
        c->out_len += len;
        return true;
    }
}

/* Unit 0 is all of them, and nobody answers (serial line guide, 2.1). */
static void tell_all(struct server *s, const struct connection *c, const struct mb_answer *r,
                     uint64_t now_ms)
{
    uint8_t ignored[MB_PDU_MAX];
    uint32_t i = c->port * SLAVES_UNITS;
    for (uint32_t end_at = i + SLAVES_UNITS; i < end_at && i < s->slaves->count; i++) {
        (void) slaves_answer(s->slaves, &s->slaves->all[i], r->pdu, r->len, now_ms, ignored);
    }
}

/* False: the connection ends, once what stands in out is sent. */
static bool answer(struct server *s, uint32_t place, const struct mb_answer *r, uint64_t now_ms)
{
    struct connection *c = s->connections[place];
    uint8_t pdu[MB_PDU_MAX];
    uint8_t *frame = c->out + c->out_len;
    uint32_t number = c->port * SLAVES_UNITS + r->unit - 1u;
    if (r->unit == 0) {
        tell_all(s, c, r, now_ms);
        return true;
    }
    if (r->unit > SLAVES_UNITS || number >= s->slaves->count) { /* as gateways do */
        pdu[0] = r->pdu[0] | 0x80;
        pdu[1] = MB_GATEWAY_TARGET;
        s->slaves->refused++;
        c->out_len += s->rtu ? 0 : wrap(s, r->transaction, r->unit, pdu, 2, frame);
        return true;
    }
    struct slave *v = &s->slaves->all[number];
    size_t len = slaves_answer(s->slaves, v, r->pdu, r->len, now_ms, pdu);
    uint16_t transaction =
        (uint16_t) (r->transaction + (v->fault == FAULT_TRANSACTION ? OTHER_TRANSACTION : 0));
    uint8_t unit = (uint8_t) (r->unit + (v->fault == FAULT_UNIT));
    len = wrap(s, transaction, unit, pdu, len, frame);
    if (v->fault == FAULT_NONE) {
        c->out_len += len;
        return true;
    }
    return spoil(s, place, v, len, now_ms);
}

/* Answers what is whole, as far as there is room for answers. False: the connection ends. */
static bool work(struct server *s, uint32_t place, uint64_t now_ms, bool *ret_full)
{
    struct connection *c = s->connections[place];
    size_t at = 0;
    bool good = true;
    *ret_full = false;
    while (good && at < c->in_len) {
        struct mb_answer r;
        if (SERVER_OUT_BYTES - c->out_len < MB_FRAME_MAX) {
            *ret_full = true;
            break;
        }
        int n = s->rtu ? peel_rtu(c->in + at, c->in_len - at, &r)
                       : mb_tcp_peel(c->in + at, c->in_len - at, &r);
        if (n == 0) {
            break;
        }
        if (n < 0) { /* on a serial line it would wait for silence */
            s->garbage++;
            at = c->in_len;
            good = s->rtu;
            break;
        }
        good = answer(s, place, &r, now_ms);
        at += (size_t) n;
    }
    c->in_len -= at;
    memmove(c->in, c->in + at, c->in_len);
    return good;
}

static void work_on(struct server *s, uint32_t place, uint64_t now_ms)
{
    struct connection *c = s->connections[place];
    bool full = true;
    while (full && !c->stuck) {
        bool good = work(s, place, now_ms, &full);
        if (!flush(s, place)) {
            return;
        }
        if (!good) {
            end(s, place);
            return;
        }
    }
}

static void receive(struct server *s, uint32_t place, uint64_t now_ms)
{
    struct connection *c = s->connections[place];
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        end(s, place);
        return;
    }
    c->in_len += n > 0 ? (size_t) n : 0;
    work_on(s, place, now_ms);
}

static void ready(struct server *s, uint32_t place, uint64_t now_ms)
{
    struct connection *c = s->connections[place];
    if (c == NULL) {
        return; /* it ended in this turn */
    }
    if (!c->stuck) {
        receive(s, place, now_ms);
    } else if (flush(s, place) && !c->stuck) {
        work_on(s, place, now_ms);
    }
}

/* ---- late answers ---- */

/* Sends those whose time has come. Returns in how many milliseconds the next one is due, at most wait_ms. */
static int send_late(struct server *s, int wait_ms)
{
    uint64_t now = server_now_ms();
    uint64_t wait = wait_ms < 0 ? UINT64_MAX : (uint64_t) wait_ms;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->late_count; i++) {
        struct late_answer *l = &s->late[i];
        struct connection *c = s->connections[l->place];
        bool there = c != NULL && c->age == l->age;
        if (there && l->due_ms > now) {
            wait = l->due_ms - now < wait ? l->due_ms - now : wait;
            s->late[kept++] = *l;
        } else if (there && SERVER_OUT_BYTES - c->out_len >= l->len) {
            memcpy(c->out + c->out_len, l->bytes, l->len);
            c->out_len += l->len;
            (void) flush(s, l->place);
        } else {
            s->late_lost++;
        }
    }
    s->late_count = kept;
    return wait > 3600000 ? (wait_ms < 0 ? -1 : 3600000) : (int) wait;
}

/* ---- life ---- */

static int listen_at(struct server *s, const char *host, uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
    socklen_t len = sizeof(at);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    s->listeners[s->port_count] = fd;
    if (inet_pton(AF_INET, host, &at.sin_addr) != 1) {
        errno = EINVAL;
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *) &at, len) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *) &at, &len) != 0 ||
        watch(s, fd, SERVER_CONNECTIONS_MAX + s->port_count, EPOLLIN, EPOLL_CTL_ADD) != 0) {
        return -1;
    }
    s->ports[s->port_count++] = ntohs(at.sin_port);
    return 0;
}

int server_open(struct server *s, struct slaves *slaves, const char *host, uint16_t port, bool rtu)
{
    uint32_t ports = (slaves->count + SLAVES_UNITS - 1) / SLAVES_UNITS;
    *s = (struct server){ .slaves = slaves, .rtu = rtu };
    for (uint32_t i = 0; i < SERVER_PORTS_MAX; i++) {
        s->listeners[i] = -1;
    }
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < ports; i++) {
        if (listen_at(s, host, port != 0 ? (uint16_t) (port + i) : 0) != 0) {
            return -1;
        }
    }
    return 0;
}

void server_close(struct server *s)
{
    server_drop(s);
    for (uint32_t i = 0; i < SERVER_PORTS_MAX; i++) {
        if (s->listeners[i] >= 0) {
            close(s->listeners[i]);
        }
    }
    if (s->epoll >= 0) {
        close(s->epoll);
    }
    free(s->late);
}

bool server_watch(struct server *s, int fd, bool on)
{
    return watch(s, fd, EXTRA, EPOLLIN, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL) == 0;
}

bool server_turn(struct server *s, int wait_ms)
{
    struct epoll_event events[EVENTS];
    bool more = false;
    if (s->late_count > 0) {
        wait_ms = send_late(s, wait_ms);
    }
    int n = epoll_wait(s->epoll, events, EVENTS, wait_ms);
    uint64_t now = server_now_ms();
    for (int i = 0; i < n; i++) {
        uint32_t place = events[i].data.u32;
        if (place == EXTRA) {
            more = true;
        } else if (place >= SERVER_CONNECTIONS_MAX) {
            take(s, place - SERVER_CONNECTIONS_MAX);
        } else {
            ready(s, place, now);
        }
    }
    return more;
}
