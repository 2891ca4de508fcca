/*
 * An adapter in one file, outside the tree of libtpcore. It listens on a TCP port of the loopback;
 * a device says its key in the first line, then every line is a message. Lines to the device are
 * commands.
 *
 * Copy this folder, rename acme, replace the protocol. See README.md beside it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <tpcore/ext/adapter.h>
#include <unistd.h>

enum { ACME_CONNECTIONS_MAX = 64, ACME_LINE_MAX = 4096 };

struct acme_connection {
    int fd; /* -1 = free */
    uint64_t session;
    int paused; /* receive() said "later": do not read until resume() */
    size_t len;
    char line[ACME_LINE_MAX];
};

struct acme {
    const struct tpc_host *host;
    void *ctx;
    uint16_t port;
    int listener;
    int wake; /* eventfd: stop, or a session resumed */
    int stopping;
    int running;
    pthread_t thread;
    pthread_mutex_t lock; /* over the connections' fd, session and paused */
    struct acme_connection *connections;
};

static const struct tpc_option acme_options[] = {
    { .name = "port",
      .type = TPC_OPT_UINT,
      .def = "7000",
      .min = 1,
      .max = 65535,
      .since = "0.1",
      .help = "TCP port on the loopback to listen on" },
};

static int acme_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    struct acme *a = self;
    int64_t port = 7000;
    a->host = host;
    a->ctx = ctx;
    a->listener = a->wake = -1;
    tpc_value_int(tpc_value_get(cfg, TPC_STR("port")), &port);
    a->port = (uint16_t) port;
    if (pthread_mutex_init(&a->lock, NULL) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no mutex");
    }
    size_t size = ACME_CONNECTIONS_MAX * sizeof(*a->connections);
    a->connections = host->allocator->resize(host->allocator->user, NULL, 0, size);
    if (a->connections == NULL) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for %d connections", ACME_CONNECTIONS_MAX);
    }
    for (int i = 0; i < ACME_CONNECTIONS_MAX; i++) {
        a->connections[i].fd = -1;
    }
    return 0;
}

static void acme_drop(struct acme *a, struct acme_connection *c)
{
    if (c->session != 0) {
        a->host->session_close(a->ctx, c->session);
    }
    pthread_mutex_lock(&a->lock);
    close(c->fd);
    c->fd = -1;
    c->session = 0;
    pthread_mutex_unlock(&a->lock);
}

/* One line: the key first, then messages. Returns 0, or TPC_EAGAIN to keep the line and stop
 * reading. */
static int acme_line(struct acme *a, struct acme_connection *c, const char *line, size_t len)
{
    if (c->session == 0) {
        struct tpc_session_options o = { .size = sizeof(o), .flags = TPC_SESSION_PRESENCE };
        o.device = (struct tpc_str){ line, len };
        return a->host->session_open(a->ctx, &o, &c->session);
    }
    struct tpc_frame frame = { .size = sizeof(frame) };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) line, len };
    return a->host->receive(a->ctx, c->session, &frame, 0);
}

static void acme_lines(struct acme *a, struct acme_connection *c)
{
    char *end;
    while ((end = memchr(c->line, '\n', c->len)) != NULL) {
        size_t used = (size_t) (end - c->line);
        int rc = acme_line(a, c, c->line, used);
        if (rc == TPC_EAGAIN) {
            c->paused = 1;
            return;
        }
        if (rc != 0) {
            a->host->log(a->ctx, TPC_LOG_WARN, "line refused: %s",
                         c->session != 0 ? "message" : "login");
            a->host->count(a->ctx, "refused", 1);
            if (c->session == 0) {
                acme_drop(a, c);
                return;
            }
        }
        c->len -= used + 1;
        memmove(c->line, end + 1, c->len);
    }
    if (c->len == ACME_LINE_MAX) {
        a->host->log(a->ctx, TPC_LOG_WARN, "a line is over %d bytes", ACME_LINE_MAX);
        acme_drop(a, c);
    }
}

static void acme_read(struct acme *a, struct acme_connection *c)
{
    ssize_t n = recv(c->fd, c->line + c->len, ACME_LINE_MAX - c->len, MSG_DONTWAIT);
    if (n > 0) {
        c->len += (size_t) n;
        acme_lines(a, c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        acme_drop(a, c);
    }
}

static void acme_accept(struct acme *a)
{
    int fd = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (int i = 0; fd >= 0 && i < ACME_CONNECTIONS_MAX; i++) {
        struct acme_connection *c = &a->connections[i];
        if (c->fd < 0) {
            c->session = 0;
            c->len = 0;
            c->paused = 0;
            pthread_mutex_lock(&a->lock);
            c->fd = fd;
            pthread_mutex_unlock(&a->lock);
            return;
        }
    }
    if (fd >= 0) {
        a->host->count(a->ctx, "connections_refused", 1);
        close(fd);
    }
}

static void *acme_run(void *arg)
{
    struct acme *a = arg;
    struct pollfd polls[ACME_CONNECTIONS_MAX + 2];
    for (;;) {
        polls[0] = (struct pollfd){ .fd = a->wake, .events = POLLIN };
        polls[1] = (struct pollfd){ .fd = a->listener, .events = POLLIN };
        pthread_mutex_lock(&a->lock);
        int stopping = a->stopping;
        for (int i = 0; i < ACME_CONNECTIONS_MAX; i++) {
            struct acme_connection *c = &a->connections[i];
            polls[i + 2] = (struct pollfd){ .fd = c->paused ? -1 : c->fd, .events = POLLIN };
        }
        pthread_mutex_unlock(&a->lock);
        if (stopping) {
            return NULL;
        }
        if (poll(polls, ACME_CONNECTIONS_MAX + 2, -1) < 0) {
            continue;
        }
        if (polls[0].revents != 0) {
            uint64_t ignored;
            if (read(a->wake, &ignored, sizeof(ignored)) < 0) {
                continue;
            }
            for (int i = 0; i < ACME_CONNECTIONS_MAX; i++) {
                if (a->connections[i].fd >= 0 && !a->connections[i].paused &&
                    a->connections[i].len > 0) {
                    acme_lines(a, &a->connections[i]);
                }
            }
        }
        if (polls[1].revents != 0) {
            acme_accept(a);
        }
        for (int i = 0; i < ACME_CONNECTIONS_MAX; i++) {
            if (polls[i + 2].revents != 0 && a->connections[i].fd == polls[i + 2].fd) {
                acme_read(a, &a->connections[i]);
            }
        }
    }
}

static int acme_start(void *self)
{
    struct acme *a = self;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(a->port) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (a->wake < 0 || a->listener < 0) {
        return a->host->fail(a->ctx, TPC_EIO, "no socket: errno %d", errno);
    }
    setsockopt(a->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(a->listener, (struct sockaddr *) &at, sizeof(at)) != 0 ||
        listen(a->listener, 64) != 0) {
        return a->host->fail(a->ctx, TPC_EIO, "port %u: errno %d", (unsigned int) a->port, errno);
    }
    if (pthread_create(&a->thread, NULL, acme_run, a) != 0) {
        return a->host->fail(a->ctx, TPC_EIO, "no thread");
    }
    a->running = 1;
    return 0;
}

static int acme_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                     uint64_t ticket)
{
    struct acme *a = self;
    int rc = TPC_EOFFLINE;
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < ACME_CONNECTIONS_MAX; i++) {
        struct acme_connection *c = &a->connections[i];
        if (c->fd >= 0 && c->session == peer->session && peer->session != 0) {
            struct iovec parts[2] = { { (void *) (uintptr_t) frame->payload.ptr,
                                        frame->payload.len },
                                      { (void *) (uintptr_t) "\n", 1 } };
            struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
            ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            rc = n == (ssize_t) (frame->payload.len + 1) ? 0 : TPC_EAGAIN;
            break;
        }
    }
    pthread_mutex_unlock(&a->lock);
    if (rc == 0) {
        a->host->sent(a->ctx, ticket, NULL);
    }
    return rc;
}

static void acme_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    (void) self; /* the protocol has no acknowledgement: every frame was given ticket 0 */
    (void) tickets;
    (void) errors;
    (void) count;
}

static void acme_wake(struct acme *a)
{
    uint64_t one = 1;
    if (write(a->wake, &one, sizeof(one)) < 0) {
        a->host->count(a->ctx, "wake_failed", 1);
    }
}

static void acme_resume(void *self, uint64_t session)
{
    struct acme *a = self;
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < ACME_CONNECTIONS_MAX; i++) {
        if (a->connections[i].session == session) {
            a->connections[i].paused = 0;
        }
    }
    pthread_mutex_unlock(&a->lock);
    acme_wake(a);
}

static void acme_stop(void *self)
{
    struct acme *a = self;
    if (a->running) {
        pthread_mutex_lock(&a->lock);
        a->stopping = 1;
        pthread_mutex_unlock(&a->lock);
        acme_wake(a);
        pthread_join(a->thread, NULL);
        a->running = 0;
    }
    for (int i = 0; i < ACME_CONNECTIONS_MAX; i++) {
        if (a->connections[i].fd >= 0) {
            acme_drop(a, &a->connections[i]);
        }
    }
}

static void acme_fini(void *self)
{
    struct acme *a = self;
    if (a->listener >= 0) {
        close(a->listener);
    }
    if (a->wake >= 0) {
        close(a->wake);
    }
    if (a->connections != NULL) {
        a->host->allocator->resize(a->host->allocator->user, a->connections,
                                   ACME_CONNECTIONS_MAX * sizeof(*a->connections), 0);
    }
    pthread_mutex_destroy(&a->lock);
}

static const struct tpc_adapter_ops acme_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "acme",
    .instance_size = sizeof(struct acme),
    .options = TPC_OPTIONS(acme_options),
    .init = acme_init,
    .start = acme_start,
    .send = acme_send,
    .settled = acme_settled,
    .resume = acme_resume,
    .stop = acme_stop,
    .fini = acme_fini,
};

static const struct tpc_interface acme_interfaces[] = { { TPC_KIND_ADAPTER, &acme_ops } };

TPC_MODULE(acme, .version = "0.1.0", .licence = "Apache-2.0", .flags = TPC_MOD_THREADS,
           .interfaces = TPC_INTERFACES(acme_interfaces))
