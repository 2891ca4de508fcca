/*
 * Module "thingspanel_platform": existing ThingsPanel services plug into a platform made of this library. It
 * answers what they ask over HTTP, follows what is configured, and calls them; what they say over MQTT the
 * module mqtt takes.
 */
#include "inside.h"

#include <string.h>
#include <tpcore/version.h>

#include "base/alloc.h"
#include "data/member.h"

enum { TICK_MS = 1000 };

static const struct tpc_option allow_item = { .type = TPC_OPT_TEXT, .max = PANEL_ADDRESS_TEXT };

static const struct tpc_option options[] = {
    { .name = "tenant",
      .type = TPC_OPT_TEXT,
      .def = "main",
      .min = 1,
      .max = PANEL_KEY_BYTES,
      .since = "0.1",
      .help = "whose services, templates and devices are served" },
    { .name = "allow",
      .type = TPC_OPT_LIST,
      .max = PANEL_RANGES_MAX,
      .elem = &allow_item,
      .since = "0.1",
      .help = "ranges of addresses that may ask, \"10.0.0.0/8\"; absent = loopback, private and "
              "link-local ones" },
    { .name = "alive",
      .type = TPC_OPT_DURATION,
      .def = "60s",
      .min = 1000,
      .max = 3600000,
      .since = "0.1",
      .help = "how long a service counts as alive after a heartbeat" },
    { .name = "call_timeout",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = 100,
      .max = 300000,
      .since = "0.1",
      .help = "how long a service has for an answer" },
    { .name = "call_tries",
      .type = TPC_OPT_UINT,
      .def = "8",
      .min = 1,
      .max = 100,
      .since = "0.1",
      .help = "how often a service is told something, with pauses from 1 s to 60 s, before that is "
              "given up" },
    { .name = "gateway_register",
      .type = TPC_OPT_ENUM,
      .def = "off",
      .values = "off|new|reissue",
      .since = "0.1",
      .help = "gateway-register and gateway-sub-register, which ask for no secret: refused, for "
              "gateways "
              "that are not there, or known ones are given their credentials again" },
    { .name = "notification",
      .type = TPC_OPT_ENUM,
      .def = "auto",
      .values = "auto|plugin|event",
      .since = "0.1",
      .help = "path that a changed access point is told on: /api/v1/plugin/notification, "
              "/api/v1/notify/event, or the second where the first is answered 404" },
};

static int read_options(struct panel *p, const struct tpc_value *cfg)
{
    const struct tpc_value *allow = tpi_member(cfg, "allow");
    struct tpc_str path = tpi_member_text(cfg, "notification");
    p->alive_ms = (uint32_t) tpi_member_int(cfg, "alive", 60000);
    p->call_timeout_ms = (uint32_t) tpi_member_int(cfg, "call_timeout", 10000);
    p->call_tries = (uint32_t) tpi_member_int(cfg, "call_tries", 8);
    struct tpc_str gateways = tpi_member_text(cfg, "gateway_register");
    p->gateways = tpc_str_equal(gateways, TPC_STR("new"))       ? PANEL_GATEWAYS_NEW
                  : tpc_str_equal(gateways, TPC_STR("reissue")) ? PANEL_GATEWAYS_REISSUE
                                                                : PANEL_GATEWAYS_OFF;
    p->notification = tpc_str_equal(path, TPC_STR("plugin"))  ? PANEL_PATH_PLUGIN
                      : tpc_str_equal(path, TPC_STR("event")) ? PANEL_PATH_EVENT
                                                              : PANEL_PATH_AUTO;
    p->tenant = panel_copy(p->arena, tpi_member_text(cfg, "tenant"));
    if (p->tenant.ptr == NULL) {
        return p->host->fail(p->ctx, TPC_ENOMEM, "no memory for the options");
    }
    if (allow == NULL || allow->type != TPC_ARRAY) {
        panel_allow_private(&p->allow);
        return 0;
    }
    for (size_t i = 0; i < allow->len; i++) {
        struct tpc_str range = tpc_value_text(&allow->as.items[i]);
        int rc = panel_allow_add(&p->allow, range);
        if (rc != 0) {
            return p->host->fail(p->ctx, rc, "allow: \"%.*s\" is no range of addresses",
                                 (int) range.len, range.ptr);
        }
    }
    return 0;
}

static int platform_init(void *self, const struct tpc_host *host, void *ctx,
                         const struct tpc_value *cfg)
{
    struct panel *p = self;
    p->host = host;
    p->ctx = ctx;
    p->api = TPC_HAS(host, struct tpc_host, api) ? host->api(ctx, &p->core) : NULL;
    if (p->api == NULL || !TPC_HAS(p->api, struct tpc_api, why)) {
        return host->fail(ctx, TPC_EVERSION, "the library is too old for this module");
    }
    tpi_map_init(&p->devices, host->allocator);
    tpi_map_init(&p->products, host->allocator);
    tpi_map_init(&p->points, host->allocator);
    tpi_map_init(&p->services, host->allocator);
    tpi_map_init(&p->call_keys, host->allocator);
    (void) host->random->fill(host->random->user, &p->rate.seed, sizeof(p->rate.seed));
    p->devices.seed = p->services.seed = p->call_keys.seed = p->rate.seed;
    if (pthread_mutex_init(&p->lock, NULL) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no mutex");
    }
    if (pthread_cond_init(&p->came, NULL) != 0) {
        pthread_mutex_destroy(&p->lock);
        return host->fail(ctx, TPC_ENOMEM, "no condition");
    }
    p->made = true;
    int rc = tpc_arena_create(host->allocator, 0, &p->arena);
    rc = rc != 0 ? host->fail(ctx, rc, "out of memory") : read_options(p, cfg);
    return rc != 0 ? rc : host->offer(ctx, "thingspanel.services", &panel_ops, p);
}

static void on_tick(void *user)
{
    struct panel *p = user;
    pthread_mutex_lock(&p->lock);
    p->tick = true;
    pthread_cond_broadcast(&p->came);
    bool stopping = p->stopping;
    pthread_mutex_unlock(&p->lock);
    uint64_t timer = 0;
    if (!stopping && p->host->timer_set(p->ctx, TICK_MS, on_tick, p, &timer) == 0) {
        atomic_store(&p->timer, timer);
    }
}

/* The first one waits for a tick that runs and sets another one. */
static void stop_ticks(struct panel *p)
{
    p->host->timer_clear(p->ctx, atomic_load(&p->timer));
    p->host->timer_clear(p->ctx, atomic_load(&p->timer));
}

static void platform_stop(void *self)
{
    struct panel *p = self;
    if (!p->made) {
        return;
    }
    if (p->routes != 0) {
        p->server->remove(p->server_self, p->routes);
        p->routes = 0;
    }
    panel_follow_stop(p);
    panel_work_stop(p);
    stop_ticks(p);
    panel_calls_stop(p);
}

static int platform_start(void *self)
{
    struct panel *p = self;
    const void *server, *client;
    int rc = p->host->need(p->ctx, "http.server", &server, &p->server_self);
    rc = rc != 0 ? rc : p->host->need(p->ctx, "http.client", &client, &p->client_self);
    if (rc != 0) {
        return rc;
    }
    p->server = server;
    p->client = client;
    p->stopping = false;
    rc = panel_follow_start(p);
    rc = rc != 0 ? rc : panel_work_start(p);
    rc = rc != 0 ? rc : panel_routes_add(p);
    uint64_t timer = 0;
    rc = rc != 0 ? rc : p->host->timer_set(p->ctx, TICK_MS, on_tick, p, &timer);
    atomic_store(&p->timer, timer);
    if (rc != 0) {
        platform_stop(p);
    }
    return rc;
}

/* No device is behind it. */
static int platform_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                         uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void platform_fini(void *self)
{
    struct panel *p = self;
    if (p->made) {
        panel_follow_fini(p);
        panel_services_fini(p);
        tpi_map_fini(&p->call_keys);
        pthread_cond_destroy(&p->came);
        pthread_mutex_destroy(&p->lock);
    }
    p->arena = tpc_arena_destroy(p->arena);
}

static void platform_tell(void *self, tpc_tell_fn *fn, void *user)
{
    struct panel *p = self;
    if (p->made) {
        panel_services_tell(p, fn, user);
    }
}

static const struct tpc_adapter_ops platform_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "thingspanel_platform",
    .instance_size = sizeof(struct panel),
    .options = TPC_OPTIONS(options),
    .init = platform_init,
    .start = platform_start,
    .send = platform_send,
    .stop = platform_stop,
    .fini = platform_fini,
    .tell = platform_tell,
};

static const struct tpc_interface interfaces[] = { { TPC_KIND_ADAPTER, &platform_ops } };
static const char *const needs[] = { "http.server", "http.client" };
static const char *const offers[] = { "thingspanel.services" };

TPC_MODULE(thingspanel_platform, .version = TPC_VERSION, .licence = "Apache-2.0",
           .flags = TPC_MOD_THREADS, .interfaces = TPC_INTERFACES(interfaces),
           .needs = TPC_LIST(needs), .offers = TPC_LIST(offers))
