/*
 * Module "thingspanel": a connectivity service at a ThingsPanel platform. A sink that publishes what its
 * devices say, and hands the platform's commands to them.
 */
#include "inside.h"

#include <string.h>
#include <tpcore/version.h>

static int tp_init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct tp *s = self;
    pthread_condattr_t monotonic;
    s->host = host;
    s->ctx = ctx;
    s->stopping = true;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->came, &monotonic);
    pthread_cond_init(&s->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    tpi_map_init(&s->calls, host->allocator);
    tpi_map_init(&s->status, host->allocator);
    s->made = true;
    if (tpc_arena_create(host->allocator, 0, &s->arena) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for the options");
    }
    int rc = tp_options_read(host, ctx, cfg, s->arena, &s->config);
    return rc != 0 ? rc : tp_serve_init(s);
}

static int tp_start(void *self)
{
    int rc = tp_serve_start(self);
    if (rc == 0) {
        rc = tp_session_start(self);
        if (rc != 0) {
            tp_serve_stop(self);
        }
    }
    return rc;
}

static void tp_stop(void *self)
{
    tp_session_stop(self);
    tp_serve_stop(self);
}

static void tp_fini(void *self)
{
    struct tp *s = self;
    if (!s->made) {
        return;
    }
    tp_calls_fini(s);
    tp_status_fini(s);
    tp_serve_fini(s);
    s->arena = tpc_arena_destroy(s->arena);
    pthread_cond_destroy(&s->came);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    s->made = false;
}

static int tp_target_open(void *self, struct tpc_str name, const struct tpc_value *cfg,
                          void **ret_target)
{
    struct tp_target *t = NULL;
    (void) name;
    int rc = tp_target_make(self, cfg, &t);
    if (rc == 0) {
        *ret_target = t;
    }
    return rc;
}

static void tp_target_close(void *self, void *target)
{
    (void) self;
    tp_target_free(target);
}

static int tp_send_batch(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    (void) self;
    return tp_send(target, batch, ticket);
}

static const struct tpc_sink_ops tp_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "thingspanel",
    .instance_size = sizeof(struct tp),
    .options = TPC_OPTIONS(tp_options),
    .target_options = TPC_OPTIONS(tp_target_options),
    .init = tp_init,
    .start = tp_start,
    .target_open = tp_target_open,
    .send = tp_send_batch,
    .target_close = tp_target_close,
    .stop = tp_stop,
    .fini = tp_fini,
    .max_in_flight = TP_IN_FLIGHT,
};

static const struct tpc_interface tp_interfaces[] = { { TPC_KIND_SINK, &tp_ops } };

static const char *const tp_offers[] = { "service.platform", "device.access" };

TPC_MODULE(thingspanel, .version = TPC_VERSION, .licence = "Apache-2.0 AND EPL-2.0",
           .flags = TPC_MOD_THREADS, .interfaces = TPC_INTERFACES(tp_interfaces),
           .offers = TPC_LIST(tp_offers))
