/*
 * Adapter "mqtt_connector": devices of a broker whose topics and messages the configuration describes, as
 * the ThingsBoard gateway's MQTT connector does. up.c has what comes in, down.c what goes out.
 */
#include "connector.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static void on_message(void *user, const struct mqtt_incoming *in)
{
    cn_message(user, in);
}

static void tell_connected(const struct connector *c, int64_t value)
{
    if (TPC_HAS(c->host, struct tpc_host, gauge)) {
        c->host->gauge(c->ctx, "connected", value);
    }
}

static void on_up(void *user, bool session_present)
{
    struct connector *c = user;
    (void) session_present;
    cn_up(c);
    tell_connected(c, 1);
}

static void on_down(void *user)
{
    struct connector *c = user;
    cn_down(c);
    tell_connected(c, 0);
}

/* ---- subscriptions ---- */

/* A filter and the greatest QoS it is wanted with; the same filter is asked for once. */
struct wish {
    struct tpc_str filter;
    uint32_t qos;
};

struct wishes {
    struct wish items[MQTT_SUBSCRIPTIONS_MAX];
    uint32_t count;
    bool full;
};

static void wish(struct wishes *w, struct tpc_str filter, uint32_t qos)
{
    uint32_t i = 0;
    while (i < w->count && !tpc_str_equal(w->items[i].filter, filter)) {
        i++;
    }
    if (i == MQTT_SUBSCRIPTIONS_MAX) {
        w->full = true;
        return;
    }
    w->count += i == w->count;
    w->items[i].filter = filter;
    w->items[i].qos = w->items[i].qos > qos ? w->items[i].qos : qos;
}

static void wish_all(const struct cn_config *c, struct wishes *w)
{
    for (uint32_t i = 0; i < c->mapping_count; i++) {
        wish(w, c->mappings[i].from.filter, c->mappings[i].from.qos);
    }
    for (uint32_t i = 0; i < c->connect_count; i++) {
        wish(w, c->connects[i].filter, c->connects[i].qos);
    }
    for (uint32_t i = 0; i < c->disconnect_count; i++) {
        wish(w, c->disconnects[i].filter, c->disconnects[i].qos);
    }
    for (uint32_t i = 0; i < c->request_count; i++) {
        wish(w, c->requests[i].from.filter, c->requests[i].from.qos);
    }
    for (uint32_t i = 0; i < c->rpc_count; i++) {
        if (c->rpcs[i].two_way) {
            wish(w, c->rpcs[i].filter, c->rpcs[i].answer_qos);
        }
    }
}

static int subscribe_all(struct connector *c)
{
    struct wishes w = { .count = 0 };
    char filter[CN_TOPIC_MAX + 1];
    wish_all(&c->config, &w);
    if (w.full) {
        return c->host->fail(c->ctx, TPC_ETOOBIG, "more than %d topic filters",
                             MQTT_SUBSCRIPTIONS_MAX);
    }
    for (uint32_t i = 0; i < w.count; i++) {
        snprintf(filter, sizeof(filter), "%.*s", (int) w.items[i].filter.len,
                 w.items[i].filter.ptr);
        int rc = mqtt_client_subscribe(c->client, filter, w.items[i].qos);
        if (rc != 0) {
            return c->host->fail(c->ctx, rc, "no room for the subscriptions");
        }
    }
    return 0;
}

/* ---- life ---- */

static int make_locks(struct connector *c)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int rc = pthread_mutex_init(&c->opening, NULL);
    rc = rc != 0 ? rc : pthread_mutex_init(&c->lock, NULL);
    rc = rc != 0 ? rc : pthread_cond_init(&c->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    c->locks_made = rc == 0;
    return rc == 0 ? 0 : c->host->fail(c->ctx, TPC_ENOMEM, "no mutex");
}

static int make_tables(struct connector *c)
{
    const struct tpc_allocator *a = c->host->allocator;
    uint64_t seed = 0;
    (void) c->host->random->fill(c->host->random->user, &seed, sizeof(seed));
    int rc = mqtt_peers_init(&c->peers, a, c->config.max_devices, seed);
    c->peers_made = rc == 0;
    tpi_map_init(&c->gone, a);
    c->gone.seed = seed;
    c->gone_made = true;
    rc = rc != 0 ? rc : tpc_arena_create(a, 0, &c->arena);
    c->parts = rc == 0 ? tpi_alloc_zero(a, CN_PARTS_MAX * sizeof(*c->parts)) : NULL;
    c->next_ticket = 1;
    return c->parts != NULL ? 0 : c->host->fail(c->ctx, TPC_ENOMEM, "no memory for its tables");
}

static int connector_init(void *self, const struct tpc_host *host, void *ctx,
                          const struct tpc_value *cfg)
{
    struct connector *c = self;
    c->host = host;
    c->ctx = ctx;
    int rc = cn_config_read(host, ctx, cfg, &c->config);
    rc = rc != 0 ? rc : make_locks(c);
    rc = rc != 0 ? rc : make_tables(c);
    if (rc != 0) {
        return rc;
    }
    c->config.client.user_data = c;
    c->config.client.on_message = on_message;
    c->config.client.on_up = on_up;
    c->config.client.on_down = on_down;
    rc = mqtt_client_create(host, ctx, &c->config.client, &c->client);
    if (rc == 0 && cn_asks_create(host, ctx, c->client, &c->asks) != 0) {
        rc = host->fail(ctx, TPC_ENOMEM, "no memory for its tables");
    }
    return rc != 0 ? rc : subscribe_all(c);
}

static int connector_start(void *self)
{
    struct connector *c = self;
    struct tpc_session_options o = { .size = sizeof(o), .flags = TPC_SESSION_LINK };
    o.tenant = c->config.tenant;
    o.peer = tpc_str_from(c->config.client.url);
    c->stopping = c->sweeping = c->told_refused = c->told_unmade =
        false; /* it may have run before */
    if (c->config.request_count > 0) {
        cn_asks_start(c->asks);
    }
    int rc = c->host->session_open(c->ctx, &o, &c->link);
    return rc != 0 ? rc : mqtt_client_start(c->client);
}

static int connector_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                          uint64_t ticket)
{
    return cn_send(self, peer, frame, ticket);
}

static void connector_settled(void *self, const uint64_t *tickets, const int *errors,
                              uint32_t count)
{
    cn_settled(self, tickets, errors, count);
}

static void connector_resume(void *self, uint64_t session)
{
    (void) session;
    cn_resume(self);
}

static void connector_stop(void *self)
{
    struct connector *c = self;
    if (c->asks != NULL) {
        cn_asks_stop(c->asks);
    }
    cn_end_sweeps(c);
    if (c->client != NULL) {
        mqtt_client_stop(c->client);
    }
    if (c->link != 0) {
        cn_close_all(c);
        c->host->session_close(c->ctx, c->link);
        c->link = 0;
    }
    cn_drop_jobs(c);
}

static void connector_fini(void *self)
{
    struct connector *c = self;
    c->asks = cn_asks_destroy(c->asks);
    c->client = mqtt_client_destroy(c->client);
    if (c->peers_made) {
        mqtt_peers_fini(&c->peers);
    }
    if (c->gone_made) {
        tpi_map_fini(&c->gone);
    }
    if (c->locks_made) {
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->lock);
        pthread_mutex_destroy(&c->opening);
    }
    if (c->parts != NULL) {
        tpi_free(c->host->allocator, c->parts, CN_PARTS_MAX * sizeof(*c->parts));
    }
    c->arena = tpc_arena_destroy(c->arena);
    cn_config_free(&c->config);
}

static const struct tpc_adapter_ops connector_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "mqtt_connector",
    .instance_size = sizeof(struct connector),
    .options = TPC_OPTIONS(connector_options),
    .init = connector_init,
    .start = connector_start,
    .send = connector_send,
    .settled = connector_settled,
    .resume = connector_resume,
    .stop = connector_stop,
    .fini = connector_fini,
};

static const struct tpc_interface connector_interfaces[] = { { TPC_KIND_ADAPTER, &connector_ops } };

TPC_MODULE(mqtt_connector, .version = "0.1.0", .licence = "Apache-2.0 AND EPL-2.0",
           .flags = TPC_MOD_THREADS, .interfaces = TPC_INTERFACES(connector_interfaces))
