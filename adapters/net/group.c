/* Connections that come in: listening, and the limits that they share. */
#include "inside.h"

#include <string.h>
#include <sys/resource.h>
#include <tpcore/error.h>

#include "base/alloc.h"
#include "base/error.h"

enum { AGAIN_MS = 100, BURST_MS = 1000, SPARE_FILES = 16 };

struct net_listener {
    uv_tcp_t tcp;
    struct net_group *group;
    struct net_listener *next;
    struct net_tls *tls;
    struct tpi_timer timer;
    bool waiting, closed; /* a connection waits for the timer */
};

static void event(struct net_group *g, enum net_event what, const struct net_stream *s)
{
    char peer[NET_PEER_BYTES] = "";
    if (s != NULL) {
        (void) net_stream_peer(s, peer);
    }
    g->ops->event(g->user, what, peer);
}

/* Milliseconds until a connection may be accepted; 0 = it is, and was counted. A second's worth may
 * come at once. */
static uint64_t take_token(struct net_group *g)
{
    uint64_t now = net_loop_now_ms(g->loop) * 1000; /* in us, for rates over 1000 */
    uint64_t step = g->limits.accept_rate > 0 ? 1000000 / g->limits.accept_rate : 0;
    uint64_t begin = now > BURST_MS * 1000 ? now - BURST_MS * 1000 : 0;
    g->tokens_us = g->tokens_us > begin ? g->tokens_us : begin;
    if (step > 0 && g->tokens_us + step > now) {
        return (g->tokens_us + step - now) / 1000 + 1;
    }
    g->tokens_us += step;
    return 0;
}

/* libuv closes what comes when there are no more, and tells nobody; and the program needs files, too. */
static bool takes_last_files(const struct net_group *g, const struct net_stream *s)
{
    int fd;
    return uv_fileno((const uv_handle_t *) &s->tcp, &fd) == 0 && fd >= 0 &&
           (uint64_t) fd + SPARE_FILES >= g->files_max;
}

static bool count_in(struct net_group *g, struct net_stream *s)
{
    void *count = tpi_map_get(&g->addresses, s->address, sizeof(s->address));
    uintptr_t more = (uintptr_t) count + 1;
    if (g->count >= g->limits.max_connections) {
        event(g, NET_OVER_MAX, s);
        return false;
    }
    if (takes_last_files(g, s)) {
        event(g, NET_NOT_ACCEPTED, s);
        return false;
    }
    if (g->limits.max_per_address > 0 && more > g->limits.max_per_address) {
        event(g, NET_OVER_ADDRESS, s);
        return false;
    }
    if (tpi_map_put(&g->addresses, s->address, sizeof(s->address), (void *) more, NULL) != 0) {
        event(g, NET_NO_MEMORY, s);
        return false;
    }
    s->counted = true;
    g->count++;
    return true;
}

static void wait_for(struct net_listener *l, uint64_t ms)
{
    l->waiting = true;
    net_loop_timer(l->group->loop, &l->timer, ms);
}

static void accept_one(struct net_listener *l)
{
    struct net_group *g = l->group;
    struct sockaddr_storage peer;
    int len = sizeof(peer);
    uint64_t ms = take_token(g);
    if (ms > 0) {
        event(g, NET_DELAYED, NULL);
        wait_for(l, ms);
        return;
    }
    /* One that is closed at once needs no TLS. */
    bool full = g->count >= g->limits.max_connections;
    struct net_stream *s = net_stream_make(g, full ? NULL : l->tls, NULL);
    if (s == NULL) {
        event(g, NET_NO_MEMORY, NULL);
        wait_for(l, AGAIN_MS);
        return;
    }
    memset(&peer, 0, sizeof(peer));
    if (uv_accept((uv_stream_t *) &l->tcp, (uv_stream_t *) &s->tcp) != 0 ||
        uv_tcp_getpeername(&s->tcp, (struct sockaddr *) &peer, &len) != 0) {
        net_stream_drop(s); /* it is gone already */
        return;
    }
    net_address_key((const struct sockaddr *) &peer, s->address);
    s->port = net_peer_port((const struct sockaddr *) &peer);
    if (!count_in(g, s)) {
        net_stream_drop(s);
        return;
    }
    net_stream_begin(s, (const struct sockaddr *) &peer);
}

static void on_connection(uv_stream_t *handle, int status)
{
    struct net_listener *l = handle->data;
    if (status < 0) {
        l->group->ops->event(l->group->user, NET_NOT_ACCEPTED, uv_strerror(status));
    } else if (!l->waiting) {
        accept_one(l);
    }
}

static void on_turn(void *user, uint64_t now_ms)
{
    struct net_listener *l = user;
    (void) now_ms;
    l->waiting = false;
    accept_one(l);
}

/* ---- listening ---- */

static void on_listener_closed(uv_handle_t *handle)
{
    struct net_listener *l = handle->data;
    struct net_listener **at = &l->group->listeners;
    while (*at != NULL && *at != l) {
        at = &(*at)->next;
    }
    if (*at == l) {
        *at = l->next;
    }
    tpi_free(l->group->loop->alloc, l, sizeof(*l));
}

static int listen_at(struct net_listener *l, const struct sockaddr *address, uint16_t *ret_port)
{
    struct sockaddr_storage got;
    int len = sizeof(got);
    int rc = uv_tcp_bind(&l->tcp, address, 0);
    if (rc == 0) {
        rc = uv_listen((uv_stream_t *) &l->tcp, (int) l->group->limits.backlog, on_connection);
    }
    if (rc == 0) {
        rc = uv_tcp_getsockname(&l->tcp, (struct sockaddr *) &got, &len);
    }
    if (rc == 0 && ret_port != NULL) {
        *ret_port = net_peer_port((const struct sockaddr *) &got);
    }
    return rc == UV_EADDRINUSE ? TPC_EEXIST : rc != 0 ? tpi_error_from_errno(-rc) : 0;
}

int net_listen(struct net_group *g, const struct net_url *url, struct net_tls *tls,
               uint16_t *ret_port)
{
    struct sockaddr_storage address;
    if (net_url_numeric(url, &address) != 0) {
        return TPC_EINVAL;
    }
    struct net_listener *l = tpi_alloc_zero(g->loop->alloc, sizeof(*l));
    if (l == NULL || uv_tcp_init(&g->loop->uv, &l->tcp) != 0) {
        tpi_free(g->loop->alloc, l, sizeof(*l));
        return TPC_ENOMEM;
    }
    l->group = g;
    l->tls = tls;
    l->tcp.data = l;
    l->timer.fn = on_turn;
    l->timer.user = l;
    l->next = g->listeners;
    g->listeners = l;
    int rc = listen_at(l, (const struct sockaddr *) &address, ret_port);
    if (rc != 0) {
        l->closed = true;
        uv_close((uv_handle_t *) &l->tcp, on_listener_closed);
    }
    return rc;
}

/* ---- the group ---- */

int net_group_create(struct net_loop *l, const struct tpc_random *random,
                     const struct net_limits *limits, const struct net_stream_ops *ops, void *user,
                     size_t data_bytes, struct net_group **ret)
{
    struct net_group *g = tpi_alloc_zero(l->alloc, sizeof(*g));
    if (g == NULL) {
        return TPC_ENOMEM;
    }
    g->loop = l;
    g->random = random;
    g->limits = *limits;
    g->ops = ops;
    g->user = user;
    g->data_bytes = data_bytes;
    struct rlimit files;
    g->files_max = getrlimit(RLIMIT_NOFILE, &files) == 0 ? (uint64_t) files.rlim_cur : UINT64_MAX;
    tpi_map_init(&g->addresses, l->alloc);
    (void) random->fill(random->user, &g->addresses.seed, sizeof(g->addresses.seed));
    *ret = g;
    return 0;
}

struct net_group *net_group_destroy(struct net_group *g)
{
    if (g != NULL) {
        net_dials_free(g);
        tpi_map_fini(&g->addresses);
        tpi_free(g->loop->alloc, g, sizeof(*g));
    }
    return NULL;
}

void net_group_close(struct net_group *g)
{
    g->closing = true;
    for (struct net_listener *l = g->listeners; l != NULL; l = l->next) {
        if (!l->closed) {
            l->closed = true;
            net_loop_timer_end(g->loop, &l->timer);
            uv_close((uv_handle_t *) &l->tcp, on_listener_closed);
        }
    }
    net_dials_close(g);
    /* The list changes in a later turn alone, when handles have closed. */
    for (struct net_stream *s = g->streams; s != NULL; s = s->next) {
        net_stream_close(s, NET_END_OWN);
    }
}
