/* Connections of ours, made again when they are lost. */
#include "inside.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/error.h>

#include "base/alloc.h"

struct net_dial {
    struct net_group *group;
    struct net_dial *next;
    struct net_url url;
    struct net_tls *tls;
    void *tag;
    struct tpi_timer timer;
    uint32_t retry_ms;
    uint32_t turn; /* which of a name's addresses is tried */
    bool resolving, reached;
    uv_getaddrinfo_t lookup;
    uv_connect_t connect;
};

void *net_stream_tag(const struct net_stream *s)
{
    return s->dial != NULL ? s->dial->tag : NULL;
}

const char *net_dial_host(const struct net_dial *d)
{
    return d->url.host;
}

/* Three quarters to five quarters of it, so that many do not come at once. */
static uint64_t spread(struct net_group *g, uint32_t ms)
{
    uint32_t r = 0;
    (void) g->random->fill(g->random->user, &r, sizeof(r));
    return ms - ms / 4 + r % (ms / 2 + 1);
}

static void later(struct net_dial *d)
{
    struct net_group *g = d->group;
    if (!g->closing) {
        net_loop_timer(g->loop, &d->timer, spread(g, d->retry_ms));
        uint32_t twice = d->retry_ms * 2;
        d->retry_ms = twice < g->limits.retry_max_ms ? twice : g->limits.retry_max_ms;
    }
}

static void not_reached(struct net_dial *d, const char *why)
{
    char text[NET_HOST_BYTES + 128];
    snprintf(text, sizeof(text), "%s:%u: %s", d->url.host, (unsigned) d->url.port, why);
    d->group->ops->event(d->group->user, NET_NOT_REACHED, text);
}

void net_dial_lost(struct net_dial *d)
{
    d->turn += !d->reached;
    d->reached = false;
    later(d);
}

void net_dial_reached(struct net_dial *d)
{
    d->retry_ms = d->group->limits.retry_min_ms;
    d->reached = true;
}

static void on_connect(uv_connect_t *request, int status)
{
    struct net_dial *d = request->data;
    struct net_stream *s = request->handle->data;
    struct sockaddr_storage peer;
    int len = sizeof(peer);
    if (s->state == NET_CLOSED) {
        return;
    }
    if (status == 0) {
        status = uv_tcp_getpeername(&s->tcp, (struct sockaddr *) &peer, &len);
    }
    if (status < 0) {
        not_reached(d, uv_strerror(status));
        net_stream_drop(s);
        return;
    }
    net_stream_deadline(s, 0);
    net_stream_begin(s, (const struct sockaddr *) &peer);
}

static void connect_to(struct net_dial *d, const struct sockaddr *address)
{
    struct net_stream *s = net_stream_make(d->group, d->tls, d);
    if (s == NULL) {
        not_reached(d, "out of memory");
        later(d);
        return;
    }
    d->connect.data = d;
    net_address_key(address, s->address);
    s->port = net_peer_port(address);
    int rc = uv_tcp_connect(&d->connect, &s->tcp, address, on_connect);
    if (rc != 0) {
        not_reached(d, uv_strerror(rc));
        net_stream_drop(s);
        return;
    }
    net_stream_deadline(s, d->group->limits.handshake_ms);
}

/* In the system's order, the next one once one was not reached: a name may have an address of IPv6 where
 * the device listens on that of IPv4 alone. */
static const struct addrinfo *pick(const struct net_dial *d, const struct addrinfo *found)
{
    uint32_t count = 0;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        count++;
    }
    for (uint32_t i = d->turn % count; i > 0; i--) {
        found = found->ai_next;
    }
    return found;
}

static void on_lookup(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct net_dial *d = request->data;
    d->resolving = false;
    if (d->group->closing) {
        uv_freeaddrinfo(found);
        return;
    }
    if (status < 0 || found == NULL) {
        not_reached(d, status < 0 ? uv_strerror(status) : "no address");
        later(d);
    } else {
        connect_to(d, pick(d, found)->ai_addr);
    }
    uv_freeaddrinfo(found);
}

static void dial(void *user, uint64_t now_ms)
{
    struct net_dial *d = user;
    struct sockaddr_storage address;
    char port[8];
    (void) now_ms;
    if (net_url_numeric(&d->url, &address) == 0) {
        connect_to(d, (const struct sockaddr *) &address);
        return;
    }
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    snprintf(port, sizeof(port), "%u", (unsigned) d->url.port);
    d->lookup.data = d;
    int rc = uv_getaddrinfo(&d->group->loop->uv, &d->lookup, on_lookup, d->url.host, port, &hints);
    d->resolving = rc == 0;
    if (rc != 0) {
        not_reached(d, uv_strerror(rc));
        later(d);
    }
}

int net_dial(struct net_group *g, const struct net_url *url, struct net_tls *tls, void *tag)
{
    struct net_dial *d = tpi_alloc_zero(g->loop->alloc, sizeof(*d));
    if (d == NULL) {
        return TPC_ENOMEM;
    }
    d->group = g;
    d->url = *url;
    d->tls = tls;
    d->tag = tag;
    d->timer.fn = dial;
    d->timer.user = d;
    d->retry_ms = g->limits.retry_min_ms;
    d->next = g->dials;
    g->dials = d;
    dial(d, 0);
    return 0;
}

void net_dials_close(struct net_group *g)
{
    for (struct net_dial *d = g->dials; d != NULL; d = d->next) {
        net_loop_timer_end(g->loop, &d->timer);
        if (d->resolving) {
            (void) uv_cancel((uv_req_t *) &d->lookup);
        }
    }
}

void net_dials_free(struct net_group *g)
{
    while (g->dials != NULL) {
        struct net_dial *d = g->dials;
        g->dials = d->next;
        tpi_free(g->loop->alloc, d, sizeof(*d));
    }
}
