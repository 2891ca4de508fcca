#include "server.h"
#include "base/alloc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A still clock (a test's) or a wheel that is coarse: nobody sleeps longer while a time-out runs. */
enum {
    SLEEP_MS = 1000,
    LOOK_MS = 1000,
    SWEEP_MS = 10000,
    SWEEP_MORE_MS = 50,
    NAP_MS = 10,
    EVENTS = 16
};

uint64_t hs_now_ms(const struct hs_server *s)
{
    return s->host->clock->mono_ns(s->host->clock->user) / 1000000;
}

void hs_count(const struct hs_server *s, const char *metric, uint64_t n)
{
    s->host->count(s->ctx, metric, n);
}

void hs_wake(struct hs_server *s)
{
    uint64_t one = 1;
    ssize_t n = write(s->wake_fd, &one, sizeof(one));
    (void) n; /* it only fails while it is awake already */
}

void hs_stage_set(struct hs_conn *c, enum hs_stage stage, uint64_t ms)
{
    bool reads = stage == HS_HEAD || stage == HS_IDLE || stage == HS_BODY;
    uint64_t now_ms = hs_now_ms(c->server);
    c->stage = stage;
    c->end_ms = now_ms + ms;
    tpi_wheel_add(&c->server->wheel, &c->timer, now_ms + (reads && ms > LOOK_MS ? LOOK_MS : ms));
}

static void on_sweep(void *user, uint64_t now_ms)
{
    struct hs_server *s = user;
    bool more = hs_askers_sweep(&s->askers, now_ms);
    tpi_wheel_add(&s->wheel, &s->sweep, now_ms + (more ? SWEEP_MORE_MS : SWEEP_MS));
}

int hs_server_init(struct hs_server *s)
{
    int rc = pthread_mutex_init(&s->lock, NULL) == 0 ? 0 : TPC_ENOMEM;
    if (rc == 0 && pthread_cond_init(&s->quiet, NULL) != 0) {
        pthread_mutex_destroy(&s->lock);
        rc = TPC_ENOMEM;
    }
    s->locked_init = rc == 0;
    s->joins_lines = hs_joins_lines(MHD_get_version());
    s->wake_fd = -1;
    s->epoll_fd = -1;
    for (uint32_t i = 0; i < HS_LISTENERS_MAX; i++) {
        s->listeners[i].fd = -1;
        s->listeners[i].server = s;
    }
    uint64_t seed = 0;
    (void) s->host->random->fill(s->host->random->user, &seed, sizeof(seed));
    tpi_map64_init(&s->calls, s->host->allocator);
    hs_askers_init(&s->askers, s->host->allocator, s->limits.addresses_max, seed);
    tpi_wheel_init(&s->wheel, hs_now_ms(s));
    s->sweep.fn = on_sweep;
    s->sweep.user = s;
    return rc;
}

/* What other threads answered goes on. */
static void resume_ready(struct hs_server *s)
{
    bool some = false;
    pthread_mutex_lock(&s->lock);
    struct hs_request *r = s->ready;
    s->ready = NULL;
    while (r != NULL) {
        struct hs_request *next = r->next;
        r->next = NULL;
        if (r->conn != NULL && r->suspended) {
            r->suspended = false;
            s->waiting--;
            some = true;
            MHD_resume_connection(r->conn->mhd);
        }
        r = next;
    }
    pthread_mutex_unlock(&s->lock);
    if (some) {
        s->host->gauge(s->ctx, "waiting", s->waiting);
    }
}

static void run_daemons(struct hs_server *s)
{
    for (uint32_t i = 0; i < s->listener_count; i++) {
        if (s->listeners[i].daemon != NULL) {
            (void) MHD_run(s->listeners[i].daemon);
        }
    }
}

/* Milliseconds to sleep, -1 = until something comes. */
static int sleep_ms(struct hs_server *s)
{
    for (uint32_t i = 0; i < s->listener_count; i++) {
        MHD_UNSIGNED_LONG_LONG ms;
        if (s->listeners[i].daemon != NULL &&
            MHD_get_timeout(s->listeners[i].daemon, &ms) == MHD_YES && ms == 0) {
            return 0;
        }
    }
    uint64_t ms = tpi_wheel_next_ms(&s->wheel, hs_now_ms(s));
    if (s->drain_end_ms != 0 || s->conn_count > 0) {
        return (int) (ms < SLEEP_MS ? ms : SLEEP_MS);
    }
    return ms == TPI_WHEEL_NONE ? -1 : (int) ms;
}

void hs_look(struct hs_conn *c)
{
    char byte;
    if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
        shutdown(c->fd, SHUT_RDWR);
    }
}

/* No connection is taken any more; where no request is whole yet it is closed, what runs may end. */
static void begin_drain(struct hs_server *s)
{
    s->drain_end_ms = hs_now_ms(s) + s->limits.drain_ms + 1;
    for (uint32_t i = 0; i < s->listener_count; i++) {
        MHD_socket fd = s->listeners[i].daemon != NULL ? MHD_quiesce_daemon(s->listeners[i].daemon)
                                                       : MHD_INVALID_SOCKET;
        if (fd != MHD_INVALID_SOCKET) {
            close(fd);
        }
    }
    for (struct hs_conn *c = s->conns; c != NULL; c = c->next) {
        if (c->stage == HS_IDLE || c->stage == HS_HEAD) {
            shutdown(c->fd, SHUT_RDWR);
        } else if (c->stage == HS_BODY) {
            hs_look(c);
        }
    }
}

/* The time for the last answers is over. */
static void end_drain(struct hs_server *s)
{
    s->cut = true;
    s->drain_end_ms = hs_now_ms(s) + HS_LINGER_MS;
    for (struct hs_conn *c = s->conns; c != NULL; c = c->next) {
        if (c->stage != HS_WAIT && c->stage != HS_SEND) {
            shutdown(c->fd, SHUT_RDWR);
            continue;
        }
        pthread_mutex_lock(&s->lock);
        if (c->stage == HS_WAIT && c->request != NULL) {
            hs_give_up(c->request, 503, "the server stops");
        }
        pthread_mutex_unlock(&s->lock);
    }
    resume_ready(s);
}

/* Whether the thread may end. */
static bool drained(struct hs_server *s)
{
    if (!atomic_load(&s->stopping)) {
        return false;
    }
    if (s->drain_end_ms == 0) {
        begin_drain(s);
    } else if (hs_now_ms(s) >= s->drain_end_ms) {
        if (s->cut) {
            return true;
        }
        end_drain(s);
    }
    return s->conn_count == 0;
}

/* Sleeps until there is something to do. Returns whether a daemon has it. */
static bool await(struct hs_server *s)
{
    struct epoll_event events[EVENTS];
    bool some = false;
    int n = epoll_wait(s->epoll_fd, events, EVENTS, sleep_ms(s));
    for (int i = 0; i < n; i++) {
        uint64_t count;
        if (events[i].data.fd == s->wake_fd) {
            ssize_t got = read(s->wake_fd, &count, sizeof(count));
            (void) got;
        } else {
            some = true;
        }
    }
    return some;
}

static void *run(void *user)
{
    struct hs_server *s = user;
    tpi_wheel_add(&s->wheel, &s->sweep, hs_now_ms(s) + SWEEP_MS);
    while (!drained(s)) {
        bool some = await(s);
        (void) tpi_wheel_run(&s->wheel, hs_now_ms(s));
        resume_ready(s);
        bool none = s->conn_count == 0;
        run_daemons(s);
        if (some && none && s->conn_count == 0) {
            /* Someone waits for whom no descriptor is left, and the library would try again at once. */
            struct pollfd wake = { .fd = s->wake_fd, .events = POLLIN };
            (void) poll(&wake, 1, NAP_MS);
        }
    }
    return NULL;
}

static int watch(struct hs_server *s, int fd)
{
    struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : TPC_EIO;
}

static int open_all(struct hs_server *s)
{
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->epoll_fd < 0 || s->wake_fd < 0 || watch(s, s->wake_fd) != 0) {
        return s->host->fail(s->ctx, TPC_EIO, "no descriptors are left");
    }
    for (uint32_t i = 0; i < s->listener_count; i++) {
        int rc = hs_listener_open(&s->listeners[i]);
        if (rc != 0) {
            return rc;
        }
    }
    for (uint32_t i = 0; i < s->listener_count; i++) {
        int rc = hs_listener_daemon(&s->listeners[i]);
        const union MHD_DaemonInfo *info =
            rc == 0 ? MHD_get_daemon_info(s->listeners[i].daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (rc == 0 && (info == NULL || watch(s, info->epoll_fd) != 0)) {
            rc = s->host->fail(s->ctx, TPC_EIO, "the listener cannot be watched");
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static void close_all(struct hs_server *s)
{
    for (uint32_t i = 0; i < s->listener_count; i++) {
        struct hs_listener *l = &s->listeners[i];
        if (l->daemon != NULL) {
            MHD_stop_daemon(l->daemon); /* closes the socket unless it was taken out */
            l->daemon = NULL;
        } else if (l->fd >= 0) {
            close(l->fd);
        }
        l->fd = -1;
    }
    if (s->wake_fd >= 0) {
        close(s->wake_fd);
    }
    if (s->epoll_fd >= 0) {
        close(s->epoll_fd);
    }
    s->wake_fd = -1;
    s->epoll_fd = -1;
}

static void set_running(struct hs_server *s, bool running)
{
    pthread_mutex_lock(&s->lock);
    s->running = running;
    pthread_mutex_unlock(&s->lock);
}

int hs_server_start(struct hs_server *s)
{
    sigset_t all, before;
    atomic_store(&s->stopping, false);
    s->drain_end_ms = 0;
    s->cut = false;
    s->waiting = 0;
    int rc = open_all(s);
    if (rc == 0) {
        set_running(s, true);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = pthread_create(&s->thread, NULL, run, s);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (rc != 0) {
            set_running(s, false);
            rc = s->host->fail(s->ctx, TPC_EIO, "a thread could not be started");
        }
    }
    if (rc != 0) {
        close_all(s);
    }
    return rc;
}

/* The library does not end with a connection suspended: what nobody answered is closed. */
static void let_go(struct hs_server *s)
{
    for (struct hs_conn *c = s->conns; c != NULL; c = c->next) {
        pthread_mutex_lock(&s->lock);
        if (c->request != NULL && c->request->suspended) {
            c->request->suspended = false;
            c->request->over = true;
            MHD_resume_connection(c->mhd);
        }
        pthread_mutex_unlock(&s->lock);
    }
    run_daemons(s);
}

void hs_server_stop(struct hs_server *s)
{
    if (!s->running) {
        return;
    }
    atomic_store(&s->stopping, true);
    hs_wake(s);
    pthread_join(s->thread, NULL);
    tpi_wheel_cancel(&s->wheel, &s->sweep);
    set_running(s, false); /* nothing becomes ready any more */
    resume_ready(s);       /* what did until then: its connection is not to go while it is listed */
    let_go(s);
    close_all(s);
}

void hs_server_fini(struct hs_server *s)
{
    if (!s->locked_init) {
        return;
    }
    size_t at = 0;
    uint64_t id;
    void *value;
    while (tpi_map64_next(&s->calls, &at, &id, &value)) {
        struct hs_request *r = value; /* its route never answered */
        r->next = s->ready;
        s->ready = r;
    }
    tpi_map64_fini(&s->calls);
    while (s->ready != NULL) {
        struct hs_request *r = s->ready;
        s->ready = r->next;
        hs_recycle(r);
    }
    while (s->free != NULL) {
        struct hs_request *r = s->free;
        s->free = r->next;
        hs_request_free(r);
    }
    hs_table_fini(s);
    hs_askers_fini(&s->askers);
    tpi_free(s->host->allocator, s->tls_cert, s->tls_cert_size);
    if (s->tls_key != NULL) {
        explicit_bzero(s->tls_key, s->tls_key_size);
        tpi_free(s->host->allocator, s->tls_key, s->tls_key_size);
    }
    pthread_cond_destroy(&s->quiet);
    pthread_mutex_destroy(&s->lock);
}
