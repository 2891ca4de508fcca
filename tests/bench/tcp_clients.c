#include "tcp_clients.h"
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNECT = 1, RUN = 2, PER_ADDRESS = 10000, AT_ONCE = 100 };

struct order {
    uint32_t what, first, count, answer_bytes;
    uint16_t port;
};

/* ---- the child ---- */

struct device {
    int fd;
    uint32_t said, heard; /* frames; bytes of the answer */
};

static struct device *devices;
static uint32_t device_count;
static int poller;

static void put_sum(uint8_t *frame, size_t len)
{
    unsigned int sum = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        sum += frame[i];
    }
    frame[len - 1] = (uint8_t) sum;
}

static void say(const struct device *d, uint32_t sequence)
{
    uint8_t f[CLIENTS_FRAME_BYTES] = { 0x68, 3, 0, CLIENTS_FRAME_BYTES - 5 };
    uint32_t n = htonl(sequence);
    memcpy(f + 4, &n, 4);
    f[8] = 1;
    memcpy(f + 10, &n, 4);
    f[15] = (uint8_t) sequence;
    f[16] = 9;
    f[17] = (uint8_t) (sequence & 15);
    put_sum(f, sizeof(f));
    bench_must(send(d->fd, f, sizeof(f), MSG_NOSIGNAL) == (ssize_t) sizeof(f), "saying");
}

static void hear(const struct device *d, uint32_t bytes)
{
    char got[64];
    while (bytes > 0) {
        ssize_t n = recv(d->fd, got, bytes < sizeof(got) ? bytes : sizeof(got), 0);
        bench_must(n > 0, "an answer");
        bytes -= (uint32_t) n;
    }
}

static void log_in(struct device *d, const struct order *o, uint32_t number)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    struct epoll_event e = { .events = EPOLLIN };
    uint8_t f[32] = { 0x68, 1, 0, 6 };
    int one = 1;
    d->fd = socket(AF_INET, SOCK_STREAM, 0);
    bench_must(d->fd >= 0, "a socket");
    a.sin_addr.s_addr = htonl(0x7f000002 + number / PER_ADDRESS);
    setsockopt(d->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    bench_must(bind(d->fd, (struct sockaddr *) &a, sizeof(a)) == 0, "an address");
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(o->port);
    bench_must(connect(d->fd, (struct sockaddr *) &a, sizeof(a)) == 0, "connecting");
    snprintf((char *) f + 4, 8, "m%05u", (unsigned) number);
    put_sum(f, CLIENTS_LOGIN_BYTES);
    bench_must(send(d->fd, f, CLIENTS_LOGIN_BYTES, MSG_NOSIGNAL) == CLIENTS_LOGIN_BYTES, "login");
    e.data.ptr = d;
    bench_must(epoll_ctl(poller, EPOLL_CTL_ADD, d->fd, &e) == 0, "epoll");
}

static void run(const struct order *o)
{
    struct epoll_event events[256];
    uint32_t done = 0;
    for (uint32_t i = 0; i < device_count; i++) {
        devices[i].heard = 0;
        devices[i].said = 1;
        say(&devices[i], 1);
    }
    while (done < device_count) {
        int n = epoll_wait(poller, events, 256, 20000);
        bench_must(n > 0 || errno == EINTR, "answers");
        for (int i = 0; i < n; i++) {
            struct device *d = events[i].data.ptr;
            char got[64];
            ssize_t k = recv(d->fd, got, o->answer_bytes - d->heard, 0);
            bench_must(k > 0, "an answer");
            d->heard += (uint32_t) k;
            if (d->heard < o->answer_bytes) {
                continue;
            }
            d->heard = 0;
            if (d->said == o->count) {
                done++;
            } else {
                say(d, ++d->said);
            }
        }
    }
}

static void child(int from, int to)
{
    struct order o;
    poller = epoll_create1(0);
    while (read(from, &o, sizeof(o)) == (ssize_t) sizeof(o)) {
        if (o.what == CONNECT) {
            devices = calloc(o.count, sizeof(*devices));
            bench_must(devices != NULL, "memory");
            device_count = o.count;
            for (uint32_t i = 0, heard = 0; i < o.count; i++) {
                log_in(&devices[i], &o, o.first + i);
                while (heard <= i && (i + 1 == o.count || i - heard >= AT_ONCE)) {
                    hear(&devices[heard++], o.answer_bytes);
                }
            }
        } else {
            run(&o);
        }
        bench_must(write(to, "k", 1) == 1, "telling");
    }
    _exit(0);
}

/* ---- the parent ---- */

void clients_begin(struct clients *c)
{
    int down[2], up[2];
    struct rlimit files;
    (void) getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void) setrlimit(RLIMIT_NOFILE, &files);
    bench_must(pipe(down) == 0 && pipe(up) == 0, "pipes");
    c->count = 0;
    c->pid = fork();
    bench_must(c->pid >= 0, "fork");
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(down[1]);
        close(up[0]);
        child(down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    c->to = down[1];
    c->from = up[0];
}

static void order(struct clients *c, const struct order *o)
{
    char ok;
    bench_must(write(c->to, o, sizeof(*o)) == (ssize_t) sizeof(*o), "an order");
    bench_must(read(c->from, &ok, 1) == 1, "the devices");
}

void clients_connect(struct clients *c, uint16_t port, uint32_t first, uint32_t count,
                     uint32_t answer_bytes)
{
    order(c, &(struct order){ CONNECT, first, count, answer_bytes, port });
    c->count = count;
}

void clients_run(struct clients *c, uint32_t frames, uint32_t answer_bytes)
{
    order(c, &(struct order){ RUN, 0, frames, answer_bytes, 0 });
}

void clients_end(struct clients *c)
{
    kill(c->pid, SIGKILL); /* another child may hold the other end */
    close(c->to);
    close(c->from);
    waitpid(c->pid, NULL, 0);
}

uint16_t clients_free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof(a);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bench_must(bind(fd, (struct sockaddr *) &a, sizeof(a)) == 0 &&
                   getsockname(fd, (struct sockaddr *) &a, &len) == 0,
               "a port");
    close(fd);
    return ntohs(a.sin_port);
}
