#include "slave.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "frame.h"

enum { OPEN_MAX = 8 };

struct talk {
    int fd;
    size_t len;
    uint8_t in[1024];
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t) (p[0] << 8 | p[1]);
}

static uint16_t value(struct slave *s, uint8_t unit, uint16_t n)
{
    uint16_t written = n < SLAVE_REGISTERS ? atomic_load(&s->written[unit][n]) : 0;
    return written != 0 ? written : (uint16_t) (1000 * unit + n);
}

/* The PDU of the answer. */
static size_t answer(struct slave *s, uint8_t unit, const uint8_t *pdu, uint8_t *out)
{
    uint16_t address = get16(pdu + 1), count = get16(pdu + 3);
    int fault = atomic_load(&s->fault[unit]);
    bool hole = fault == SLAVE_HOLE && address < 20 && address + count > 10;
    out[0] = pdu[0];
    if (fault == SLAVE_EXCEPTION || hole) {
        out[0] |= 0x80;
        out[1] = hole ? 2 : 4;
        return 2;
    }
    if (pdu[0] == 3 || pdu[0] == 4) {
        out[1] = (uint8_t) (2 * count);
        for (uint16_t i = 0; i < count; i++) {
            uint16_t v = value(s, unit, (uint16_t) (address + i));
            out[2 + 2 * i] = (uint8_t) (v >> 8);
            out[3 + 2 * i] = (uint8_t) v;
        }
        return 2u + 2u * count;
    }
    if (pdu[0] <= 2) {
        out[1] = (uint8_t) ((count + 7) / 8);
        memset(out + 2, 0, out[1]);
        for (uint16_t i = 0; i < count; i++) {
            out[2 + i / 8] |= (uint8_t) (((address + i) % 2 == 0) << i % 8);
        }
        return 2u + out[1];
    }
    if (pdu[0] == 6 && address < SLAVE_REGISTERS) {
        atomic_store(&s->written[unit][address], count);
    }
    for (uint16_t i = 0; pdu[0] == 16 && i < count && address + i < SLAVE_REGISTERS; i++) {
        atomic_store(&s->written[unit][address + i], get16(pdu + 6 + 2 * i));
    }
    memcpy(out + 1, pdu + 1, 4);
    return 5;
}

static void wait_ms(struct slave *s, uint32_t ms)
{
    for (uint32_t i = 0; i < ms && !atomic_load(&s->stopping); i += 5) {
        poll(NULL, 0, 5);
    }
}

/* Returns false if the connection ends. */
static bool reply(struct slave *s, int fd, uint16_t transaction, uint8_t unit, const uint8_t *pdu)
{
    uint8_t body[MB_FRAME_MAX], out[MB_FRAME_MAX + 8];
    int fault = unit <= SLAVE_UNITS ? atomic_load(&s->fault[unit]) : SLAVE_SILENT;
    atomic_fetch_add(&s->requests, 1);
    if (fault == SLAVE_SILENT || fault == SLAVE_CLOSES) {
        return fault != SLAVE_CLOSES;
    }
    size_t len = answer(s, unit, pdu, body);
    uint8_t as = fault == SLAVE_OTHER_UNIT ? (uint8_t) (unit + 1) : unit;
    transaction = (uint16_t) (transaction + (fault == SLAVE_WRONG_TRANSACTION ? 77 : 0));
    len = s->rtu ? mb_rtu_wrap(as, body, len, out) : mb_tcp_wrap(transaction, as, body, len, out);
    if (fault == SLAVE_LATE) {
        wait_ms(s, atomic_load(&s->late_ms));
    }
    if (fault == SLAVE_GARBAGE) {
        memset(out, 0xa5, len);
    }
    out[len - 1] ^= fault == SLAVE_BAD_CRC;
    size_t send_len = fault == SLAVE_HALF ? len / 2 : len;
    ssize_t sent = s->line ? write(fd, out, send_len) : send(fd, out, send_len, MSG_NOSIGNAL);
    return sent == (ssize_t) send_len && fault != SLAVE_HALF;
}

static size_t rtu_request_len(const uint8_t *in, size_t len)
{
    if (len < 8) {
        return 0;
    }
    size_t need = in[1] >= 15 ? 9u + in[6] : 8;
    return len >= need ? need : 0;
}

/* Requests in what was received; false = the connection ends. */
static bool requests(struct slave *s, struct talk *t)
{
    for (;;) {
        size_t n;
        bool go_on;
        if (s->rtu) {
            n = rtu_request_len(t->in, t->len);
            go_on = n == 0 || reply(s, t->fd, 0, t->in[0], t->in + 1);
        } else {
            n = t->len >= 6 && t->len >= 6u + get16(t->in + 4) ? 6u + get16(t->in + 4) : 0;
            go_on = n == 0 || reply(s, t->fd, get16(t->in), t->in[6], t->in + 7);
        }
        if (n == 0 || !go_on) {
            return go_on;
        }
        t->len -= n;
        memmove(t->in, t->in + n, t->len);
    }
}

static void take(struct slave *s, struct talk *talks)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    unsigned open = 0;
    for (int i = 0; i < OPEN_MAX; i++) {
        if (talks[i].fd < 0 && fd >= 0) {
            talks[i] = (struct talk){ .fd = fd };
            fd = -1;
            atomic_fetch_add(&s->connections, 1);
        }
        open += talks[i].fd >= 0;
    }
    if (open > atomic_load(&s->most_open)) {
        atomic_store(&s->most_open, open);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void *run(void *arg)
{
    struct slave *s = arg;
    static _Thread_local struct talk talks[OPEN_MAX];
    for (int i = 0; i < OPEN_MAX; i++) {
        talks[i].fd = -1;
    }
    while (!atomic_load(&s->stopping)) {
        struct pollfd polls[OPEN_MAX + 1];
        for (int i = 0; i < OPEN_MAX; i++) {
            polls[i] = (struct pollfd){ .fd = talks[i].fd, .events = POLLIN };
        }
        polls[OPEN_MAX] = (struct pollfd){ .fd = s->listener, .events = POLLIN };
        poll(polls, OPEN_MAX + 1, 20);
        if (polls[OPEN_MAX].revents != 0) {
            take(s, talks);
        }
        for (int i = 0; i < OPEN_MAX; i++) {
            struct talk *t = &talks[i];
            if (polls[i].revents == 0 || t->fd != polls[i].fd) {
                continue;
            }
            ssize_t n = recv(t->fd, t->in + t->len, sizeof(t->in) - t->len, 0);
            t->len += n > 0 ? (size_t) n : 0;
            if (n == 0 || (n < 0 && errno != EAGAIN) || !requests(s, t)) {
                close(t->fd);
                t->fd = -1;
            }
        }
    }
    for (int i = 0; i < OPEN_MAX; i++) {
        if (talks[i].fd >= 0) {
            close(talks[i].fd);
        }
    }
    return NULL;
}

static void *run_line(void *arg)
{
    struct slave *s = arg;
    static _Thread_local struct talk t;
    t.fd = s->listener;
    while (!atomic_load(&s->stopping)) {
        struct pollfd p = { .fd = t.fd, .events = POLLIN };
        if (poll(&p, 1, 20) > 0) {
            ssize_t n = read(t.fd, t.in + t.len, sizeof(t.in) - t.len);
            t.len += n > 0 ? (size_t) n : 0;
            if (n <= 0) {
                poll(NULL, 0, 5); /* the adapter has not opened its end */
            } else if (!requests(s, &t)) {
                t.len = 0;
            }
        }
    }
    return NULL;
}

bool slave_start_line(struct slave *s, const char *path)
{
    char name[64];
    struct termios raw;
    memset(s, 0, sizeof(*s));
    s->rtu = s->line = true;
    s->listener = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (s->listener < 0 || grantpt(s->listener) != 0 || unlockpt(s->listener) != 0 ||
        ptsname_r(s->listener, name, sizeof(name)) != 0 || tcgetattr(s->listener, &raw) != 0) {
        return false;
    }
    cfmakeraw(&raw);
    (void) unlink(path);
    return tcsetattr(s->listener, TCSANOW, &raw) == 0 && symlink(name, path) == 0 &&
           pthread_create(&s->thread, NULL, run_line, s) == 0;
}

bool slave_start(struct slave *s, bool rtu)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof(at);
    uint16_t port = s->port;
    int one = 1;
    memset(s, 0, sizeof(*s));
    s->rtu = rtu;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *) &at, len) != 0 ||
        listen(s->listener, 16) != 0 ||
        getsockname(s->listener, (struct sockaddr *) &at, &len) != 0) {
        return false;
    }
    s->port = ntohs(at.sin_port);
    return pthread_create(&s->thread, NULL, run, s) == 0;
}

void slave_stop(struct slave *s)
{
    atomic_store(&s->stopping, true);
    pthread_join(s->thread, NULL);
    close(s->listener);
}
