/* A connection: its bytes to frames, whose it is, and its end. */
#include "inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

struct tcp *tcp_of(struct tcp_conn *c)
{
    return net_stream_user(c->stream);
}

void tcp_count(struct tcp *t, const char *metric)
{
    t->host->count(t->ctx, metric, 1);
}

void tcp_say(struct tcp *t, int level, const char *fmt, ...)
{
    char text[400];
    uint32_t hidden;
    va_list args;
    if (!net_quiet_may(&t->quiet, net_loop_now_ms(t->loop), &hidden)) {
        return;
    }
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (hidden > 0) {
        t->host->log(t->ctx, level, "%s (and %u lines that were left out)", text,
                     (unsigned) hidden);
    } else {
        t->host->log(t->ctx, level, "%s", text);
    }
}

/* ---- whose it is ---- */

static struct tpc_str device_of(const struct tcp_conn *c)
{
    return (struct tpc_str){ c->key + c->device_at, c->key_len - c->device_at };
}

static char *make_key(const struct tpc_allocator *a, struct tpc_str tenant, struct tpc_str device,
                      uint32_t *ret_len)
{
    size_t len = tenant.len + 1 + device.len;
    char *key = tpi_alloc(a, len + 1);
    if (key != NULL) {
        memcpy(key, tenant.ptr, tenant.len);
        key[tenant.len] = '\n';
        memcpy(key + tenant.len + 1, device.ptr, device.len);
        key[len] = '\0';
        *ret_len = (uint32_t) len;
    }
    return key;
}

static int note(struct tcp *t, struct tcp_conn *c, struct tcp_conn **ret_old)
{
    void *old = NULL;
    pthread_mutex_lock(&t->lock);
    int rc = tpi_map64_put(&t->sessions, c->session, c, NULL);
    t->binding = false;
    pthread_mutex_unlock(&t->lock);
    if (rc == 0) {
        rc = tpi_map_put(&t->devices, c->key, c->key_len, c, &old);
    }
    *ret_old = old;
    return rc;
}

/* The core may send over a session before session_open() has returned. */
static void set_binding(struct tcp *t, bool on)
{
    pthread_mutex_lock(&t->lock);
    t->binding = on;
    pthread_mutex_unlock(&t->lock);
}

/* The newer session is open before the older one closes: the device is not away in between. */
int tcp_conn_bind(struct tcp_conn *c, struct tpc_str tenant, struct tpc_str product,
                  struct tpc_str device)
{
    struct tcp *t = tcp_of(c);
    struct tpc_session_options o = { .size = sizeof(o), .flags = TPC_SESSION_PRESENCE };
    struct tcp_conn *old = NULL;
    char peer[NET_PEER_BYTES];
    o.tenant = tenant.len > 0 ? tenant : TPC_STR("main");
    o.product = product;
    o.device = device;
    o.peer = (struct tpc_str){ peer, net_stream_peer(c->stream, peer) };
    c->key = make_key(t->host->allocator, o.tenant, device, &c->key_len);
    if (c->key == NULL) {
        return TPC_ENOMEM;
    }
    c->device_at = (uint32_t) o.tenant.len + 1;
    set_binding(t, true);
    int rc = t->host->session_open(t->ctx, &o, &c->session);
    if (rc != 0) {
        set_binding(t, false);
        c->session = 0;
        return rc;
    }
    c->state = TCP_IN;
    rc = note(t, c, &old);
    if (old != NULL && old != c) {
        tcp_count(t, "takeovers");
        tcp_say(t, TPC_LOG_INFO, "device %.*s came again from %s: its other connection is closed",
                (int) device.len, device.ptr, peer);
        net_stream_end(old->stream, NET_END_OWN);
    }
    return rc;
}

static void forget(struct tcp *t, struct tcp_conn *c)
{
    if (c->session != 0) {
        pthread_mutex_lock(&t->lock);
        (void) tpi_map64_remove(&t->sessions, c->session);
        pthread_mutex_unlock(&t->lock);
        if (tpi_map_get(&t->devices, c->key, c->key_len) == c) {
            (void) tpi_map_remove(&t->devices, c->key, c->key_len);
        }
        t->host->session_close(t->ctx, c->session);
        c->session = 0;
    }
    if (c->key != NULL) {
        tpi_free(t->host->allocator, c->key, c->key_len + 1);
        c->key = NULL;
    }
}

struct drop {
    struct net_job job;
    struct tcp *t;
    char *key;
    uint32_t len;
};

static void run_drop(void *user)
{
    struct drop *d = user;
    struct tcp *t = d->t;
    struct tcp_conn *c = tpi_map_get(&t->devices, d->key, d->len);
    if (c != NULL) {
        struct tpc_str device = device_of(c);
        tcp_count(t, "dropped");
        tcp_say(t, TPC_LOG_INFO, "device %.*s: its connection is to be closed", (int) device.len,
                device.ptr);
        net_stream_end(c->stream, NET_END_OWN);
    }
    tpi_free(t->host->allocator, d->key, d->len + 1);
    tpi_free(t->host->allocator, d, sizeof(*d));
}

/* There was no memory to say which: whoever may come comes again. */
static void run_drop_all(void *user)
{
    struct tcp *t = user;
    size_t iter = 0;
    void *c;
    pthread_mutex_lock(&t->lock);
    t->drop_all_posted = false;
    pthread_mutex_unlock(&t->lock);
    while (tpi_map_next(&t->devices, &iter, NULL, &c)) {
        net_stream_end(((struct tcp_conn *) c)->stream, NET_END_OWN);
        iter = 0; /* the table has changed */
    }
}

void tcp_drop(void *user, struct tpc_str tenant, struct tpc_str device)
{
    struct tcp *t = user;
    struct drop *d = tpi_alloc_zero(t->host->allocator, sizeof(*d));
    if (d != NULL) {
        d->t = t;
        d->job = (struct net_job){ run_drop, d, NULL };
        d->key = make_key(t->host->allocator, tenant.len > 0 ? tenant : TPC_STR("main"), device,
                          &d->len);
    }
    if (d != NULL && d->key != NULL) {
        if (!net_loop_post(t->loop, &d->job)) {
            tpi_free(t->host->allocator, d->key, d->len + 1);
            tpi_free(t->host->allocator, d, sizeof(*d));
        }
        return;
    }
    tpi_free(t->host->allocator, d, sizeof(*d));
    pthread_mutex_lock(&t->lock);
    bool post = !t->drop_all_posted;
    t->drop_all_posted = true;
    if (post) { /* else it is in the loop's list */
        t->drop_all_job = (struct net_job){ run_drop_all, t, NULL };
    }
    pthread_mutex_unlock(&t->lock);
    if (post) {
        (void) net_loop_post(t->loop, &t->drop_all_job);
    }
}

/* ---- frames ---- */

int tcp_conn_write(struct tcp_conn *c, struct tpc_bytes bytes, bool whole, struct net_written *w)
{
    struct tcp *t = tcp_of(c);
    struct tpc_buf out = { NULL, 0, 0 };
    if (whole || t->framing.type == NET_FRAMING_SERVICE) {
        return net_stream_write(c->stream, bytes, w);
    }
    int rc = net_framing_encode(&t->framing, bytes, &out);
    if (rc != TPC_ETOOBIG || out.need == 0) {
        return rc != 0 ? rc : TPC_EINVAL;
    }
    out.cap = out.need;
    out.ptr = tpi_alloc(t->host->allocator, out.cap);
    if (out.ptr == NULL) {
        return TPC_ENOMEM;
    }
    rc = net_framing_encode(&t->framing, bytes, &out);
    if (rc == 0) {
        rc = net_stream_write(c->stream, (struct tpc_bytes){ out.ptr, out.need }, w);
    }
    tpi_free(t->host->allocator, out.ptr, out.cap);
    return rc;
}

void tcp_conn_answer(struct tcp_conn *c, struct tpc_bytes bytes)
{
    int rc = bytes.len > 0 ? tcp_conn_write(c, bytes, !tcp_of(c)->rules, NULL) : 0;
    if (rc == TPC_EAGAIN || rc == TPC_ENOMEM) {
        net_stream_close(c->stream, rc == TPC_EAGAIN ? NET_END_SLOW : NET_END_MEMORY);
    } else if (rc != 0 && rc != TPC_EOFFLINE) {
        struct tcp *t = tcp_of(c);
        char peer[NET_PEER_BYTES];
        (void) net_stream_peer(c->stream, peer);
        tcp_count(t, "bad_answers");
        tcp_say(t, TPC_LOG_WARN, "%s: closed: an answer of %zu bytes %s", peer, bytes.len,
                rc == TPC_EINVAL ? "holds what ends a frame" : "is over frame_max or write_max");
        net_stream_end(c->stream, NET_END_OWN);
    }
}

/* By the service's callback. */
static int next_of_service(struct tcp *t, struct net_framing_state *s, struct tpc_bytes in,
                           struct net_frame *ret)
{
    size_t n = 0;
    memset(ret, 0, sizeof(*ret));
    int rc = t->access->frame(t->access_self, in, &n);
    if (rc == 0 && n > 0 && n <= in.len && n <= t->framing.frame_max) {
        s->garbage = 0;
        ret->take = n;
        ret->whole = ret->body = (struct tpc_bytes){ in.ptr, n };
        return 0;
    }
    if (rc == 0) {
        return n > t->framing.frame_max || in.len >= t->framing.frame_max ? TPC_ETOOBIG
                                                                          : TPC_EAGAIN;
    }
    n = n < in.len ? n : in.len;
    s->garbage += (uint32_t) n;
    if (rc != TPC_EDECODE || n == 0 || s->garbage > t->framing.garbage_max) {
        return TPC_EDECODE;
    }
    ret->take = ret->garbage = n;
    return TPC_EAGAIN;
}

/* A frame that cannot be. */
static void bad_frame(struct tcp_conn *c, int rc)
{
    struct tcp *t = tcp_of(c);
    char peer[NET_PEER_BYTES];
    (void) net_stream_peer(c->stream, peer);
    tcp_count(t, rc == TPC_ETOOBIG ? "too_big" : "bad_frames");
    tcp_say(t, TPC_LOG_WARN, "%s: %s: the connection is closed", peer,
            rc == TPC_ETOOBIG ? "a frame is longer than frame_max" : "the bytes are no frame");
    net_stream_end(c->stream, NET_END_OWN);
}

static int next_frame(struct tcp_conn *c, struct tpc_bytes in, struct net_frame *ret)
{
    struct tcp *t = tcp_of(c);
    bool service = t->framing.type == NET_FRAMING_SERVICE;
    return service ? next_of_service(t, &c->framing, in, ret)
                   : net_framing_next(&t->framing, &c->framing, in, ret);
}

static bool take(struct tcp_conn *c, struct tpc_bytes frame)
{
    if (c->skip) {
        c->skip = false;
        return true;
    }
    return c->state == TCP_IN ? tcp_receive(c, frame) : tcp_login(c, frame);
}

static size_t on_read(struct net_stream *s, struct tpc_bytes bytes)
{
    struct tcp_conn *c = net_stream_data(s);
    struct tcp *t = tcp_of(c);
    size_t taken = 0, garbage = 0;
    while (taken < bytes.len && net_stream_is_open(s) && c->state != TCP_ASKING && c->lent == 0) {
        struct net_frame f;
        struct net_framing_state before = c->framing;
        struct tpc_bytes rest = { bytes.ptr + taken, bytes.len - taken };
        int rc = next_frame(c, rest, &f);
        if (rc != 0 && rc != TPC_EAGAIN) {
            bad_frame(c, rc);
            break;
        }
        if (rc == 0 && !take(c, f.body)) {
            c->framing = before;
            break;
        }
        taken += f.take;
        garbage += f.garbage;
        if (rc == TPC_EAGAIN && f.take == 0) {
            break;
        }
    }
    if (garbage > 0) {
        t->host->count(t->ctx, "garbage_bytes", garbage);
    }
    if (t->frames > 0) {
        t->host->count(t->ctx, "frames", t->frames);
        t->frames = 0;
    }
    return taken;
}

/* ---- beginning and end ---- */

static void on_opened(void *user, struct net_stream *s)
{
    struct tcp *t = user;
    struct tcp_conn *c = net_stream_data(s);
    const struct tcp_dial *d = net_stream_tag(s);
    c->stream = s;
    tcp_count(t, "opened");
    t->host->gauge(t->ctx, "connections", ++t->open);
    if (d == NULL) {
        net_stream_deadline(s, t->login_ms);
        return;
    }
    int rc = tcp_conn_bind(c, d->tenant, d->product, d->device);
    if (rc != 0) {
        tcp_say(t, TPC_LOG_WARN, "%s: device %.*s: %s", d->url.host, (int) d->device.len,
                d->device.ptr, tpc_error_name(rc));
        net_stream_end(s, NET_END_OWN);
        return;
    }
    tcp_lend(c);
}

static void on_closed(struct net_stream *s, enum net_end why)
{
    static const struct {
        const char *metric, *words;
    } ends[NET_END_REASONS] = {
        [NET_END_IDLE] = { "closed_idle", "idle_timeout" },
        [NET_END_LATE] = { "closed_late", "login_timeout" },
        [NET_END_TLS] = { "tls_failed", "the bytes are no TLS" },
        [NET_END_SLOW] = { "slow", "write_max" },
        [NET_END_MEMORY] = { "no_memory", "out of memory" },
    };
    struct tcp_conn *c = net_stream_data(s);
    struct tcp *t = tcp_of(c);
    if (ends[why].metric != NULL) {
        char peer[NET_PEER_BYTES];
        (void) net_stream_peer(s, peer);
        tcp_count(t, ends[why].metric);
        tcp_say(t, TPC_LOG_INFO, "%s: closed: %s", peer, ends[why].words);
    }
    tcp_login_cancel(c);
    tcp_lent_closed(c);
    if (c->held != NULL) {
        tcp_pending_drop(t, c->held);
        c->held = NULL;
    }
    forget(t, c);
    t->host->gauge(t->ctx, "connections", --t->open);
}

static void on_event(void *user, enum net_event what, const char *text)
{
    static const struct {
        const char *metric, *words;
    } events[NET_EVENTS] = {
        { "over_max", "max_connections: closed at once" },
        { "over_address", "max_per_address: closed at once" },
        { "delayed", NULL },
        { "no_memory", "out of memory" },
        { "not_accepted", "not accepted: descriptors are short" },
        { "tls_failed", "the TLS handshake failed" },
        { "not_reached", "not reached" },
    };
    struct tcp *t = user;
    tcp_count(t, events[what].metric);
    if (events[what].words != NULL) {
        tcp_say(t, TPC_LOG_WARN, "%s: %s", text, events[what].words);
    }
}

const struct net_stream_ops tcp_stream_ops = { on_opened, on_read, on_closed, on_event };
