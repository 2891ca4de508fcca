/* Module udp: devices that speak datagrams by the built-in rules (contract iot-module section 8). */
#include "inside.h"

#include "address.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/ext/module.h>

/* A message to a device on its way to the loop; its bytes follow it. */
struct sending {
    struct net_job job;
    struct udp *u;
    uint64_t session;
    uint64_t ticket;
    size_t len;
    uint8_t bytes[];
};

static const struct tpc_error *error_of(int code, struct tpc_error *ret)
{
    *ret = (struct tpc_error){ .size = sizeof(*ret), .code = code };
    snprintf(ret->origin, sizeof(ret->origin), "udp");
    snprintf(ret->text, sizeof(ret->text), "%s",
             code == TPC_EAGAIN ? "its session has ended, or the system does not take it now"
                                : "the message is too long for a datagram");
    return ret;
}

/* The loop's thread. Out of the system's hands nothing is known of a datagram: a device answers. */
static void on_send(void *user)
{
    struct sending *w = user;
    struct udp *u = w->u;
    struct udp_session *s = u->closed ? NULL : udp_by_id(&u->sessions, w->session);
    struct tpc_error err;
    int rc = TPC_EAGAIN; /* it may be back by now, with another session */
    if (s != NULL) {
        rc = net_socket_send(s->socket, (struct sockaddr *) &s->address,
                             (struct tpc_bytes){ w->bytes, w->len });
        rc = rc == 0 || rc == TPC_ETOOBIG ? rc : TPC_EAGAIN;
    }
    u->host->count(u->ctx, rc == 0 ? "sent" : "not_sent", 1);
    u->host->sent(u->ctx, w->ticket, rc == 0 ? NULL : error_of(rc, &err));
    tpi_free(u->host->allocator, w, sizeof(*w) + w->len);
    atomic_fetch_sub(&u->sends, 1);
}

static int udp_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                    uint64_t ticket)
{
    struct udp *u = self;
    size_t len = frame->payload.len;
    if (peer->session == 0) {
        return TPC_EOFFLINE;
    }
    if (len > NET_DATAGRAM_MAX) {
        return TPC_ETOOBIG;
    }
    if (atomic_fetch_add(&u->sends, 1) >= u->config.sends_max) {
        atomic_fetch_sub(&u->sends, 1);
        return TPC_EAGAIN;
    }
    struct sending *w = tpi_alloc(u->host->allocator, sizeof(*w) + len);
    if (w == NULL) {
        atomic_fetch_sub(&u->sends, 1);
        return TPC_EAGAIN;
    }
    *w = (struct sending){ { on_send, w, NULL }, u, peer->session, ticket, len };
    if (len > 0) {
        memcpy(w->bytes, frame->payload.ptr, len);
    }
    if (!net_loop_post(u->loop, &w->job)) {
        tpi_free(u->host->allocator, w, sizeof(*w) + len);
        atomic_fetch_sub(&u->sends, 1);
        return TPC_EOFFLINE;
    }
    return 0;
}

/* A device is not told: it hears the core's answer, or none. */
static void udp_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    struct udp *u = self;
    (void) tickets;
    for (uint32_t i = 0; i < count; i++) {
        if (errors[i] != 0) {
            u->host->count(u->ctx, "messages_lost", 1);
        }
    }
}

static void on_resume(void *user)
{
    struct udp *u = user;
    atomic_store(&u->resuming, false);
    udp_try_kept(u);
}

static void udp_resume(void *self, uint64_t session)
{
    struct udp *u = self;
    (void) session;
    if (!atomic_exchange(&u->resuming, true) && !net_loop_post(u->loop, &u->resume)) {
        atomic_store(&u->resuming, false);
    }
}

static void on_retry(void *user, uint64_t now_ms)
{
    (void) now_ms;
    udp_try_kept(user);
}

/* ---- life ---- */

static int udp_init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct udp *u = self;
    u->host = host;
    u->ctx = ctx;
    int rc = udp_config_read(host, ctx, cfg, &u->config);
    if (rc != 0) {
        return rc;
    }
    (void) host->random->fill(host->random->user, &u->seed, sizeof(u->seed));
    udp_sessions_init(&u->sessions, host->allocator, u->seed);
    u->sessions_made = true;
    u->closed = true;
    u->resume = (struct net_job){ on_resume, u, NULL };
    u->retry = (struct tpi_timer){ .fn = on_retry, .user = u };
    u->plain = tpi_alloc(host->allocator, u->config.message_max);
    u->kept = tpi_alloc(host->allocator, u->config.message_max);
    u->buckets = tpi_alloc_array(host->allocator, UDP_BUCKETS, sizeof(*u->buckets));
    rc = u->plain == NULL || u->kept == NULL || u->buckets == NULL ? TPC_ENOMEM : 0;
    rc = rc != 0 ? rc : net_auth_create(host, ctx, u->config.tenant, NET_AUTH_TOKEN, &u->auth);
    rc = rc != 0 ? rc : net_loop_create(host->allocator, host->clock, &u->loop);
    return rc == 0 ? 0 : host->fail(ctx, rc, "out of memory");
}

static void open_sockets(void *user)
{
    struct udp *u = user;
    int rc = 0;
    uint32_t i = 0;
    while (i < u->config.listen_count && rc == 0) {
        rc = net_socket_open(u->loop, (struct sockaddr *) &u->config.listen[i], udp_on_datagram, u,
                             &u->ports[i], &u->sockets[i]);
        i += rc == 0;
    }
    u->open_rc = rc;
    u->closed = rc != 0;
    for (uint32_t k = 0; k < i && rc != 0; k++) {
        net_socket_close(u->sockets[k]);
        u->sockets[k] = NULL;
    }
}

static void close_all(void *user)
{
    struct udp *u = user;
    struct udp_session *s;
    u->closed = true;
    net_loop_timer_end(u->loop, &u->retry);
    while ((s = udp_any(&u->sessions)) != NULL) {
        udp_close_session(u, s);
    }
    if (u->kept_session != 0) {
        u->host->count(u->ctx, "messages_refused", 1);
        u->kept_session = 0;
    }
    for (uint32_t i = 0; i < u->config.listen_count; i++) {
        net_socket_close(u->sockets[i]);
        u->sockets[i] = NULL;
    }
}

static void udp_stop(void *self)
{
    struct udp *u = self;
    if (u->loop == NULL || u->auth == NULL) {
        return;
    }
    net_auth_stop(u->auth);
    (void) net_loop_call(u->loop, close_all, u);
    net_loop_stop(u->loop);
    while (u->asked != NULL) {
        struct udp_asked *k = u->asked;
        u->asked = k->next;
        tpi_free(u->host->allocator, k, sizeof(*k));
    }
    atomic_store(&u->resuming, false);
}

static int udp_start(void *self)
{
    struct udp *u = self;
    int rc = net_loop_start(u->loop);
    rc = rc != 0 ? rc : net_auth_start(u->auth);
    if (rc != 0) {
        udp_stop(u);
        return u->host->fail(u->ctx, rc, "no thread");
    }
    (void) net_loop_call(u->loop, open_sockets, u);
    if (u->open_rc != 0) {
        rc = u->open_rc;
        udp_stop(u);
        return u->host->fail(u->ctx, rc, "cannot listen: %s",
                             rc == TPC_EEXIST ? "the address is in use" : tpc_error_name(rc));
    }
    for (uint32_t i = 0; i < u->config.listen_count; i++) {
        u->host->log(u->ctx, TPC_LOG_INFO, "listens on port %u of UDP", (unsigned) u->ports[i]);
    }
    return 0;
}

static void udp_fini(void *self)
{
    struct udp *u = self;
    const struct tpc_allocator *alloc = u->host->allocator;
    u->loop = net_loop_destroy(u->loop);
    u->auth = net_auth_destroy(u->auth);
    if (u->sessions_made) {
        udp_sessions_fini(&u->sessions);
    }
    tpi_free(alloc, u->plain, u->config.message_max);
    tpi_free(alloc, u->kept, u->config.message_max);
    tpi_free(alloc, u->buckets, UDP_BUCKETS * sizeof(*u->buckets));
}

static const struct tpc_adapter_ops udp_ops = { .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
                                                .name = "udp",
                                                .instance_size = sizeof(struct udp),
                                                .options = TPC_OPTIONS(udp_option_table),
                                                .init = udp_init,
                                                .start = udp_start,
                                                .send = udp_send,
                                                .settled = udp_settled,
                                                .resume = udp_resume,
                                                .stop = udp_stop,
                                                .fini = udp_fini };

static const struct tpc_interface udp_interfaces[] = { { TPC_KIND_ADAPTER, &udp_ops } };

TPC_MODULE(udp, .version = "0.1.0", .licence = "Apache-2.0 AND MIT", .flags = TPC_MOD_THREADS,
           .interfaces = TPC_INTERFACES(udp_interfaces))
