/* One connection: reading, writing, its deadlines and its end. */
#include "inside.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <tpcore/error.h>

#include "base/alloc.h"

enum { LINGER_MS = 1000, KEEPALIVE_S = 60 };

struct net_flying {
    uv_write_t request;
    const struct tpc_allocator *alloc;
    uint8_t *ptr;
    size_t cap, at, len;
};

/* Behind the struct, at the next border. */
enum { DATA_AT = (sizeof(struct net_stream) + 15) / 16 * 16 };

static void flush(struct net_stream *s);
static void close_handle(struct net_stream *s);

static struct net_stream *of_flush(struct net_flush *f)
{
    return (struct net_stream *) (void *) ((char *) f - offsetof(struct net_stream, flush));
}

void *net_stream_data(struct net_stream *s)
{
    return (char *) s + DATA_AT;
}

void *net_stream_user(const struct net_stream *s)
{
    return s->group->user;
}

size_t net_stream_peer(const struct net_stream *s, char ret[NET_PEER_BYTES])
{
    return net_peer_text(s->address, s->port, ret);
}

bool net_stream_is_open(const struct net_stream *s)
{
    return s->state == NET_OPEN;
}

bool net_stream_is_secure(const struct net_stream *s)
{
    return s->secure != NULL;
}

size_t net_stream_waiting(const struct net_stream *s)
{
    return s->out.len + (s->flying != NULL ? s->flying->len - s->flying->at : 0);
}

struct net_stream *net_stream_ref(struct net_stream *s)
{
    s->refs++;
    return s;
}

void net_stream_unref(struct net_stream *s)
{
    if (--s->refs == 0) {
        const struct tpc_allocator *a = s->group->loop->alloc;
        tpi_free(a, s->kept, s->kept_cap);
        tpi_buf_fini(&s->out);
        tpi_free(a, s, DATA_AT + s->group->data_bytes);
    }
}

/* ---- time ---- */

static uint64_t due_ms(const struct net_stream *s)
{
    uint64_t due = s->deadline_ms != 0 ? s->deadline_ms : UINT64_MAX;
    uint64_t idle = s->idle_ms != 0 && s->state == NET_OPEN && !s->paused ? s->heard_ms + s->idle_ms
                                                                          : UINT64_MAX;
    return due < idle ? due : idle;
}

static void set_timer(struct net_stream *s)
{
    uint64_t due = due_ms(s);
    if (due == UINT64_MAX) {
        tpi_wheel_cancel(&s->group->loop->wheel, &s->timer);
    } else if (!tpi_timer_pending(&s->timer) || s->timer.at_ms > due) {
        tpi_wheel_add(&s->group->loop->wheel, &s->timer, due);
    } /* else it comes early, and is set again then */
}

static void on_timer(void *user, uint64_t now_ms)
{
    struct net_stream *s = user;
    if (due_ms(s) > now_ms) {
        set_timer(s);
    } else if (s->state == NET_ENDING) {
        close_handle(s);
    } else {
        bool late = s->deadline_ms != 0 && s->deadline_ms <= now_ms;
        net_stream_close(s, late ? NET_END_LATE : NET_END_IDLE);
    }
}

void net_stream_deadline(struct net_stream *s, uint32_t after_ms)
{
    if (s->state != NET_CLOSED) {
        s->deadline_ms = after_ms > 0 ? net_loop_now_ms(s->group->loop) + after_ms : 0;
        set_timer(s);
    }
}

/* ---- reading ---- */

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct net_stream *s = handle->data;
    (void) suggested;
    *ret = uv_buf_init((char *) s->group->loop->read_buf, NET_READ_BYTES);
}

/* Keeps the last `rest` of n bytes at p, which are those of s->kept or others. */
static int keep(struct net_stream *s, const uint8_t *p, size_t n, size_t rest)
{
    const struct tpc_allocator *a = s->group->loop->alloc;
    if (rest == 0) {
        tpi_free(a, s->kept, s->kept_cap);
        s->kept = NULL;
        s->kept_cap = 0;
    } else if (p == s->kept && rest == n) {
        /* It is there: a long frame comes in many pieces. */
    } else if (p == s->kept) {
        memmove(s->kept, s->kept + n - rest, rest);
        uint8_t *less =
            s->kept_cap > 2 * rest + 256 ? tpi_resize(a, s->kept, s->kept_cap, rest) : NULL;
        s->kept_cap = less != NULL ? rest : s->kept_cap;
        s->kept = less != NULL ? less : s->kept;
    } else {
        s->kept = tpi_mem_dup(a, p + n - rest, rest);
        if (s->kept == NULL) {
            s->kept_len = 0;
            return TPC_ENOMEM;
        }
        s->kept_cap = rest;
    }
    s->kept_len = rest;
    return 0;
}

/* Behind what is kept. */
static int keep_more(struct net_stream *s, const uint8_t *p, size_t n)
{
    if (s->kept_len + n > s->kept_cap) {
        size_t cap = s->kept_cap * 2 > s->kept_len + n ? s->kept_cap * 2 : s->kept_len + n;
        uint8_t *more = tpi_resize(s->group->loop->alloc, s->kept, s->kept_cap, cap);
        if (more == NULL) {
            return TPC_ENOMEM;
        }
        s->kept = more;
        s->kept_cap = cap;
    }
    memcpy(s->kept + s->kept_len, p, n);
    s->kept_len += n;
    return 0;
}

void net_stream_deliver(struct net_stream *s, const uint8_t *p, size_t n)
{
    int rc = 0;
    if (s->state != NET_OPEN) {
        return;
    }
    if (s->kept_len > 0) {
        rc = n > 0 ? keep_more(s, p, n) : 0;
        p = s->kept;
        n = s->kept_len;
    }
    if (rc == 0 && n > 0 && !s->paused) {
        (void) net_stream_ref(s);
        size_t taken = s->group->ops->read(s, (struct tpc_bytes){ p, n });
        if (s->state == NET_OPEN) {
            rc = keep(s, p, n, n - taken);
        }
        net_stream_unref(s);
    } else if (rc == 0 && n > 0 && p != s->kept) {
        rc = keep(s, p, n, n);
    }
    if (rc != 0) {
        net_stream_close(s, NET_END_MEMORY);
    }
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct net_stream *s = handle->data;
    if (n == 0 || s->state == NET_CLOSED) {
        return;
    }
    if (n < 0) {
        s->eof = true;
        if (s->state == NET_ENDING) {
            close_handle(s);
        } else if (n == UV_EOF && s->state == NET_OPEN) {
            net_stream_end(s, NET_END_PEER);
        } else {
            net_stream_close(s, n == UV_EOF ? NET_END_PEER : NET_END_RESET);
        }
        return;
    }
    s->heard_ms = net_loop_now_ms(s->group->loop);
    if (s->state == NET_ENDING) {
        return;
    }
    if (s->secure != NULL) {
        net_secure_read(s, (const uint8_t *) buf->base, (size_t) n);
    } else {
        net_stream_deliver(s, (const uint8_t *) buf->base, (size_t) n);
    }
}

static void read_on(struct net_stream *s)
{
    if (!s->reading && s->state != NET_CLOSED && !s->eof) {
        s->reading = uv_read_start((uv_stream_t *) &s->tcp, on_room, on_read) == 0;
        if (!s->reading) {
            net_stream_close(s, NET_END_RESET);
        }
    }
}

void net_stream_pause(struct net_stream *s)
{
    s->paused = true;
    s->resuming = false;
    if (s->reading) {
        s->reading = false;
        (void) uv_read_stop((uv_stream_t *) &s->tcp);
    }
}

void net_stream_resume(struct net_stream *s)
{
    if (s->paused && !s->resuming && s->state == NET_OPEN) {
        s->resuming = true;
        net_flush_later(s->group->loop, &s->flush);
    }
}

static void go_on(struct net_stream *s)
{
    s->paused = s->resuming = false;
    s->heard_ms = net_loop_now_ms(s->group->loop);
    set_timer(s);
    net_stream_deliver(s, NULL, 0);
    if (!s->paused && s->state == NET_OPEN && s->secure != NULL) {
        net_secure_read(s, NULL, 0);
    }
    if (!s->paused && s->state == NET_OPEN) {
        read_on(s);
    }
}

/* ---- writing ---- */

/* The caller of those that have left, and with an end of all. */
static void tell_written(struct net_stream *s, int rc)
{
    while (s->written_first != NULL && (rc != 0 || s->written_first->at <= s->left)) {
        struct net_written *w = s->written_first;
        s->written_first = w->next;
        w->fn(w->user, rc);
    }
}

static void free_flying(struct net_flying *f)
{
    tpi_free(f->alloc, f->ptr, f->cap);
    tpi_free(f->alloc, f, sizeof(*f));
}

static void on_written(uv_write_t *request, int status)
{
    struct net_flying *f = request->data;
    struct net_stream *s = request->handle->data;
    s->flying = NULL;
    s->left += f->len - f->at;
    free_flying(f);
    if (status < 0) {
        net_stream_close(s, NET_END_RESET);
        return;
    }
    tell_written(s, 0);
    flush(s);
}

/* What the system did not take waits for it. */
static int fly(struct net_stream *s, size_t at)
{
    struct net_flying *f = tpi_alloc_zero(s->group->loop->alloc, sizeof(*f));
    if (f == NULL) {
        return TPC_ENOMEM;
    }
    f->alloc = s->group->loop->alloc;
    f->at = at;
    f->ptr = tpi_buf_steal(&s->out, &f->len, &f->cap);
    f->request.data = f;
    uv_buf_t buf = uv_buf_init((char *) f->ptr + at, (unsigned) (f->len - at));
    if (uv_write(&f->request, (uv_stream_t *) &s->tcp, &buf, 1, on_written) != 0) {
        free_flying(f);
        return TPC_EIO;
    }
    s->flying = f;
    return 0;
}

/* All has left: the other side is told that nothing follows. */
static void shut_down(struct net_stream *s)
{
    int fd;
    if (s->eof || uv_fileno((uv_handle_t *) &s->tcp, &fd) != 0 || shutdown(fd, SHUT_WR) != 0) {
        close_handle(s);
    }
}

static void flush(struct net_stream *s)
{
    if (s->state != NET_CLOSED && s->flying == NULL && s->out.len > 0) {
        uv_buf_t buf = uv_buf_init((char *) s->out.ptr, (unsigned) s->out.len);
        int n = uv_try_write((uv_stream_t *) &s->tcp, &buf, 1);
        size_t done = n > 0 ? (size_t) n : 0;
        if (n < 0 && n != UV_EAGAIN) {
            net_stream_close(s, NET_END_RESET);
            return;
        }
        s->left += done;
        if (done == s->out.len) {
            tpi_buf_fini(&s->out);
        } else if (fly(s, done) != 0) {
            net_stream_close(s, NET_END_MEMORY);
            return;
        }
    }
    tell_written(s, 0); /* also of no bytes at all */
    if (s->state == NET_ENDING && s->flying == NULL && s->out.len == 0) {
        shut_down(s);
    }
}

static void on_flush(struct net_flush *f)
{
    struct net_stream *s = of_flush(f);
    (void) net_stream_ref(s);
    if (s->resuming && s->state == NET_OPEN) {
        go_on(s);
    }
    flush(s);
    net_stream_unref(s);
}

int net_stream_share(struct net_stream *s)
{
    int fd;
    if (s->state == NET_OPEN && s->secure == NULL) {
        flush(s);
    }
    bool good = s->state == NET_OPEN && s->secure == NULL && net_stream_waiting(s) == 0 &&
                uv_fileno((uv_handle_t *) &s->tcp, &fd) == 0;
    return good ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
}

int net_stream_put(struct net_stream *s, const uint8_t *p, size_t n)
{
    int rc = n > 0 ? tpi_buf_put(&s->out, p, n) : 0;
    if (rc == 0) {
        s->put += n;
        net_flush_later(s->group->loop, &s->flush);
    }
    return rc;
}

int net_stream_write(struct net_stream *s, struct tpc_bytes bytes, struct net_written *w)
{
    if (s->state != NET_OPEN) {
        return TPC_EOFFLINE;
    }
    if (bytes.len > s->group->limits.write_max) {
        return TPC_ETOOBIG;
    }
    if (net_stream_waiting(s) + bytes.len > s->group->limits.write_max) {
        return TPC_EAGAIN;
    }
    int rc = s->secure != NULL ? net_secure_write(s, bytes.ptr, bytes.len)
                               : net_stream_put(s, bytes.ptr, bytes.len);
    if (rc == 0 && w != NULL) {
        w->at = s->put;
        w->next = NULL;
        *(s->written_first != NULL ? &s->written_last->next : &s->written_first) = w;
        s->written_last = w;
        net_flush_later(s->group->loop, &s->flush);
    }
    return rc;
}

/* ---- from the beginning to the end ---- */

struct net_stream *net_stream_make(struct net_group *g, struct net_tls *tls, struct net_dial *dial)
{
    struct net_stream *s = tpi_alloc_zero(g->loop->alloc, DATA_AT + g->data_bytes);
    if (s == NULL) {
        return NULL;
    }
    s->group = g;
    s->dial = dial;
    s->refs = 1;
    s->flush.fn = on_flush;
    s->timer.fn = on_timer;
    s->timer.user = s;
    s->idle_ms = g->limits.idle_ms;
    s->heard_ms = net_loop_now_ms(g->loop);
    tpi_buf_init(&s->out, g->loop->alloc, 0);
    int rc = tls != NULL ? net_secure_create(tls, s, &s->secure) : 0;
    if (rc == 0 && uv_tcp_init(&g->loop->uv, &s->tcp) != 0) {
        rc = TPC_ENOMEM;
    }
    if (rc != 0) {
        s->secure = net_secure_destroy(s->secure);
        net_stream_unref(s);
        return NULL;
    }
    s->tcp.data = s;
    s->next = g->streams;
    if (g->streams != NULL) {
        g->streams->prev = s;
    }
    g->streams = s;
    return s;
}

void net_stream_drop(struct net_stream *s)
{
    if (s->state != NET_CLOSED) {
        close_handle(s);
    }
}

void net_stream_opened(struct net_stream *s)
{
    s->state = NET_OPEN;
    s->told = true;
    s->deadline_ms = 0;
    s->heard_ms = net_loop_now_ms(s->group->loop);
    if (s->dial != NULL) {
        net_dial_reached(s->dial);
    }
    set_timer(s);
    s->group->ops->opened(s->group->user, s);
}

void net_stream_begin(struct net_stream *s, const struct sockaddr *peer)
{
    net_address_key(peer, s->address);
    s->port = net_peer_port(peer);
    (void) uv_tcp_nodelay(&s->tcp, 1);
    (void) uv_tcp_keepalive(&s->tcp, 1, KEEPALIVE_S);
    if (s->secure == NULL) {
        net_stream_opened(s);
    } else {
        net_stream_deadline(s, s->group->limits.handshake_ms);
        net_secure_read(s, NULL, 0); /* who connects speaks first */
    }
    if (!s->paused) {
        read_on(s);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct net_stream *s = handle->data;
    struct net_group *g = s->group;
    *(s->prev != NULL ? &s->prev->next : &g->streams) = s->next;
    if (s->next != NULL) {
        s->next->prev = s->prev;
    }
    net_stream_unref(s);
}

/* The limits count a connection until here. */
static void close_handle(struct net_stream *s)
{
    struct net_group *g = s->group;
    s->state = NET_CLOSED;
    s->reading = false;
    net_flush_drop(g->loop, &s->flush);
    tpi_wheel_cancel(&g->loop->wheel, &s->timer);
    s->secure = net_secure_destroy(s->secure);
    tell_written(s, TPC_EOFFLINE);
    if (s->counted) {
        void *count = tpi_map_get(&g->addresses, s->address, sizeof(s->address));
        g->count--;
        if ((uintptr_t) count > 1) {
            (void) tpi_map_put(&g->addresses, s->address, sizeof(s->address),
                               (void *) ((uintptr_t) count - 1), NULL);
        } else {
            (void) tpi_map_remove(&g->addresses, s->address, sizeof(s->address));
        }
        s->counted = false;
    }
    if (s->dial != NULL) {
        net_dial_lost(s->dial);
    }
    uv_close((uv_handle_t *) &s->tcp, on_closed);
}

static void tell_closed(struct net_stream *s, enum net_end why)
{
    struct net_group *g = s->group;
    bool told = s->told;
    s->told = false;
    if (told) {
        g->ops->closed(s, why);
    } else if (why != NET_END_OWN) {
        char peer[NET_PEER_BYTES];
        (void) net_stream_peer(s, peer);
        g->ops->event(g->user, s->secure != NULL ? NET_TLS_FAILED : NET_NOT_REACHED, peer);
    }
}

void net_stream_close(struct net_stream *s, enum net_end why)
{
    if (s->state == NET_CLOSED) {
        return;
    }
    bool ending = s->state == NET_ENDING;
    (void) net_stream_ref(s);
    s->state = NET_ENDING; /* so that its owner does not come here again */
    if (!ending) {
        tell_closed(s, why);
    }
    if (s->state != NET_CLOSED) {
        close_handle(s);
    }
    net_stream_unref(s);
}

void net_stream_end(struct net_stream *s, enum net_end why)
{
    if (s->state == NET_CLOSED || s->state == NET_ENDING) {
        return;
    }
    if (s->secure != NULL && s->state == NET_OPEN) {
        net_secure_bye(s);
    }
    s->state = NET_ENDING;
    s->resuming = false;
    s->idle_ms = 0;
    s->paused = false;
    tell_closed(s, why);
    if (s->state != NET_ENDING) {
        return;
    }
    net_stream_deadline(s, LINGER_MS);
    net_flush_later(s->group->loop, &s->flush);
    read_on(s);
}
