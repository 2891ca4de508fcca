/*
 * Adapter "tcp": devices over TCP and TLS, those that connect to us and those that we connect to. A
 * connection's bytes become frames (adapters/net/framing.h, or the callback of device.access); the
 * first ones say whose it is (device.access, or the built-in rules); the rest are received. All of it
 * runs on the loop's thread (adapters/net/loop.h).
 */
#include "inside.h"

#include <string.h>
#include <sys/resource.h>
#include <tpcore/version.h>

#include "base/alloc.h"

static int tcp_init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct tcp *t = self;
    t->host = host;
    t->ctx = ctx;
    tpi_map_init(&t->devices, host->allocator);
    tpi_map_init(&t->takers, host->allocator);
    tpi_map64_init(&t->sessions, host->allocator);
    if (pthread_mutex_init(&t->lock, NULL) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for a lock");
    }
    t->locks_made = true;
    int rc = tcp_options_read(t, cfg);
    if (rc == 0) {
        rc = net_loop_create(host->allocator, host->clock, &t->loop);
        rc = rc == 0 ? net_auth_create(host, ctx, t->tenant, 0, &t->auth) : rc;
        rc = rc == 0 ? 0 : host->fail(ctx, rc, "no memory for the loop");
    }
    if (rc == 0 && t->handover) {
        rc = host->offer(ctx, "stream.handover", &tcp_handover_ops, t);
    }
    (void) host->random->fill(host->random->user, &t->devices.seed, sizeof(t->devices.seed));
    return rc;
}

/* Who says whose a connection is. */
static int find_access(struct tcp *t)
{
    const void *ops = NULL;
    void *access_self = NULL;
    const struct tpc_access_ops *found;
    t->access = &net_auth_ops;
    t->access_self = t->auth;
    t->rules = true;
    if (t->access_mode != TCP_ACCESS_RULES) {
        int rc = t->host->need(t->ctx, "device.access", &ops, &access_self);
        found = ops;
        if (rc == 0 && TPC_HAS(found, struct tpc_access_ops, login)) {
            t->access = found;
            t->access_self = access_self;
            t->rules = false;
        } else if (rc != 0 && rc != TPC_ENOENT) {
            return rc;
        } else if (t->access_mode == TCP_ACCESS_SERVICE) {
            return t->host->fail(t->ctx, TPC_ENOENT, "access: no part offers device.access");
        }
    }
    if (t->framing.automatic) { /* another service may be there than at the last start */
        t->framing.type = t->access->frame != NULL ? NET_FRAMING_SERVICE : NET_FRAMING_LINE;
    }
    if (t->framing.type == NET_FRAMING_SERVICE && t->access->frame == NULL) {
        return t->host->fail(t->ctx, TPC_EINVAL,
                             "framing.type: there is no service that says where a frame ends");
    }
    return 0;
}

static int look_at_tls(struct tcp *t, struct net_tls *tls)
{
    int news = TLS_SAME;
    int rc = tls != NULL ? net_tls_look(tls, &news) : 0;
    return rc == 0 ? 0 : t->host->fail(t->ctx, rc, "tls: %s", net_tls_text(tls));
}

static void on_tls_timer(void *user, uint64_t now_ms)
{
    struct tcp *t = user;
    struct net_tls *const both[] = { t->tls_in, t->tls_out };
    (void) now_ms;
    for (size_t i = 0; i < 2; i++) {
        int news = TLS_SAME;
        if (both[i] != NULL && net_tls_look(both[i], &news) == 0 && news != TLS_SAME) {
            tcp_count(t, news == TLS_NEW ? "certificates_new" : "certificates_refused");
            t->host->log(t->ctx, news == TLS_NEW ? TPC_LOG_INFO : TPC_LOG_WARN, "tls: %s",
                         news == TLS_NEW ? "certificates were read anew" : net_tls_text(both[i]));
        }
    }
    net_loop_timer(t->loop, &t->tls_timer, NET_TLS_LOOK_MS);
}

/* Loop's thread. */
static void open_all(void *user)
{
    struct tcp *t = user;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < t->listen_count; i++) {
        const struct net_url *u = &t->listen[i];
        rc = net_listen(t->group, u, strcmp(u->scheme, "tls") == 0 ? t->tls_in : NULL, NULL);
        t->failed_at = rc != 0 ? u : NULL;
    }
    for (uint32_t i = 0; rc == 0 && i < t->dial_count; i++) {
        struct tcp_dial *d = &t->dials[i];
        rc = net_dial(t->group, &d->url, strcmp(d->url.scheme, "tls") == 0 ? t->tls_out : NULL, d);
        t->failed_at = rc != 0 ? &d->url : NULL;
    }
    if (rc == 0 && (t->tls_in != NULL || t->tls_out != NULL)) {
        t->tls_timer = (struct tpi_timer){ .fn = on_tls_timer, .user = t };
        net_loop_timer(t->loop, &t->tls_timer, NET_TLS_LOOK_MS);
    }
    t->start_code = rc;
}

static void close_all(void *user)
{
    struct tcp *t = user;
    net_loop_timer_end(t->loop, &t->tls_timer);
    net_group_close(t->group);
}

/* The loop has ended: nobody writes answers any more. */
static void let_go(struct tcp *t)
{
    pthread_mutex_lock(&t->lock);
    t->up = false;
    while (t->settled_first != NULL) {
        struct tcp_pending *p = t->settled_first;
        t->settled_first = p->next_settled;
        tcp_pending_drop(t, p);
    }
    t->settled_last = NULL;
    t->settled_posted = t->drop_all_posted = t->resume_all_posted = false;
    for (struct tcp_pending *p = t->pendings; p != NULL; p = p->next) {
        if (p->stream != NULL) {
            net_stream_unref(p->stream);
            p->stream = NULL;
        }
    }
    pthread_mutex_unlock(&t->lock);
    t->group = net_group_destroy(t->group);
}

static void tcp_stop(void *self)
{
    struct tcp *t = self;
    if (t->watching) {
        t->watching = false;
        (void) t->access->watch(t->access_self, NULL, t);
    }
    if (t->group == NULL) {
        return;
    }
    (void) net_loop_call(t->loop, close_all, t);
    net_auth_stop(t->auth);
    net_loop_stop(t->loop);
    let_go(t);
}

static int begin(struct tcp *t)
{
    int rc = net_group_create(t->loop, t->host->random, &t->limits, &tcp_stream_ops, t,
                              sizeof(struct tcp_conn), &t->group);
    if (rc == 0) {
        rc = net_loop_start(t->loop);
    }
    if (rc != 0) {
        t->group = net_group_destroy(t->group);
        return t->host->fail(t->ctx, rc, "a thread could not be started");
    }
    pthread_mutex_lock(&t->lock);
    t->up = true;
    pthread_mutex_unlock(&t->lock);
    rc = t->rules ? net_auth_start(t->auth) : 0;
    if (rc != 0) {
        return t->host->fail(t->ctx, rc, "a thread could not be started");
    }
    if (TPC_HAS(t->access, struct tpc_access_ops, watch) && t->access->watch != NULL) {
        rc = t->access->watch(t->access_self, tcp_drop, t);
        t->watching = rc == 0;
        if (rc != 0) {
            return t->host->fail(t->ctx, rc, "device.access cannot be watched");
        }
    }
    if (!net_loop_call(t->loop, open_all, t) || t->start_code != 0) {
        rc = t->start_code != 0 ? t->start_code : TPC_ESTATE;
        return t->host->fail(t->ctx, rc, "%s:%u: %s",
                             t->failed_at != NULL ? t->failed_at->host : "",
                             t->failed_at != NULL ? (unsigned) t->failed_at->port : 0,
                             rc == TPC_EEXIST ? "the address is in use" : tpc_error_name(rc));
    }
    return 0;
}

/* Whoever set max_connections may not know of that limit. */
static void look_at_descriptors(struct tcp *t)
{
    struct rlimit files;
    if (t->listen_count > 0 && getrlimit(RLIMIT_NOFILE, &files) == 0 &&
        files.rlim_cur < t->limits.max_connections) {
        t->host->log(t->ctx, TPC_LOG_INFO,
                     "the system allows %llu descriptors, max_connections is %u",
                     (unsigned long long) files.rlim_cur, (unsigned) t->limits.max_connections);
    }
}

static int tcp_start(void *self)
{
    struct tcp *t = self;
    look_at_descriptors(t);
    int rc = find_access(t);
    if (rc == 0) {
        rc = look_at_tls(t, t->tls_in);
    }
    if (rc == 0) {
        rc = look_at_tls(t, t->tls_out);
    }
    if (rc != 0) {
        return rc;
    }
    rc = begin(t);
    if (rc != 0) {
        tcp_stop(t);
    }
    return rc;
}

static void tcp_fini(void *self)
{
    struct tcp *t = self;
    while (t->pendings != NULL) {
        tcp_pending_drop(t, t->pendings);
    }
    t->auth = net_auth_destroy(t->auth);
    t->loop = net_loop_destroy(t->loop);
    t->tls_in = net_tls_destroy(t->tls_in);
    t->tls_out = net_tls_destroy(t->tls_out);
    if (t->dials != NULL) {
        tpi_free(t->host->allocator, t->dials, t->dial_count * sizeof(*t->dials));
    }
    if (t->locks_made) {
        tcp_takers_free(t);
        tpi_map_fini(&t->devices);
        tpi_map64_fini(&t->sessions);
        pthread_mutex_destroy(&t->lock);
    }
}

static const struct tpc_adapter_ops tcp_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "tcp",
    .instance_size = sizeof(struct tcp),
    .options = TPC_OPTIONS(tcp_options),
    .init = tcp_init,
    .start = tcp_start,
    .send = tcp_send,
    .settled = tcp_settled,
    .resume = tcp_resume,
    .stop = tcp_stop,
    .fini = tcp_fini,
};

static const char *const tcp_offers[] = { "stream.handover" };

static const struct tpc_interface tcp_interfaces[] = { { TPC_KIND_ADAPTER, &tcp_ops } };

TPC_MODULE(tcp, .version = TPC_VERSION, .licence = "Apache-2.0 AND MIT", .flags = TPC_MOD_THREADS,
           .interfaces = TPC_INTERFACES(tcp_interfaces), .offers = TPC_LIST(tcp_offers))
