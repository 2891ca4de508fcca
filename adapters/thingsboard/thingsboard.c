/*
 * Module "thingsboard": a sink that is a gateway session at a ThingsBoard server, and hands the server's
 * RPC and shared attributes to the devices behind it.
 */
#include "inside.h"

#include <string.h>
#include <tpcore/version.h>

static int tb_init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct tb *s = self;
    struct mqtt_client *try = NULL;
    pthread_condattr_t monotonic;
    s->host = host;
    s->ctx = ctx;
    s->stopping = true;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_cond_init(&s->came, &monotonic);
    pthread_condattr_destroy(&monotonic);
    tb_pack_init(&s->pack, host->allocator);
    tb_devices_init(&s->devices, host->allocator, 0);
    s->made = true;
    if (tpc_arena_create(host->allocator, 0, &s->arena) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for the options");
    }
    int rc = tb_options_read(host, ctx, cfg, s->arena, &s->config);
    rc = rc != 0 ? rc : mqtt_client_create(host, ctx, &s->config.client, &try); /* checks the url */
    mqtt_client_destroy(try);
    s->devices.max = s->config.devices_max;
    return rc != 0 ? rc : host->offer(ctx, TB_ATTRIBUTES_SERVICE, &tb_attributes_ops, s);
}

static int tb_start(void *self)
{
    return tb_session_start(self);
}

static void tb_stop(void *self)
{
    tb_session_stop(self);
}

static void tb_fini(void *self)
{
    struct tb *s = self;
    if (!s->made) {
        return;
    }
    tb_rpc_fini(s);
    tb_pack_fini(&s->pack);
    tb_devices_fini(&s->devices);
    s->arena = tpc_arena_destroy(s->arena);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->came);
    pthread_mutex_destroy(&s->lock);
    s->made = false;
}

static int tb_target_open(void *self, struct tpc_str name, const struct tpc_value *cfg,
                          void **ret_target)
{
    struct tb *s = self;
    const struct tpc_allocator *a = s->host->allocator;
    struct tb_target *t = a->resize(a->user, NULL, 0, sizeof(*t));
    (void) name;
    if (t == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
    }
    memset(t, 0, sizeof(*t));
    t->s = s;
    tb_target_options_read(cfg, &t->config);
    tpi_map_init(&t->given, a);
    *ret_target = t;
    return 0;
}

static void tb_target_close(void *self, void *target)
{
    struct tb *s = self;
    struct tb_target *t = target;
    tpi_map_fini(&t->given);
    s->host->allocator->resize(s->host->allocator->user, t, sizeof(*t), 0);
}

static int tb_send_batch(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    (void) self;
    return tb_send(target, batch, ticket);
}

static const struct tpc_sink_ops tb_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "thingsboard",
    .instance_size = sizeof(struct tb),
    .options = TPC_OPTIONS(tb_options),
    .target_options = TPC_OPTIONS(tb_target_options),
    .init = tb_init,
    .start = tb_start,
    .target_open = tb_target_open,
    .send = tb_send_batch,
    .target_close = tb_target_close,
    .stop = tb_stop,
    .fini = tb_fini,
    .max_in_flight = TB_IN_FLIGHT,
};

static const struct tpc_interface tb_interfaces[] = { { TPC_KIND_SINK, &tb_ops } };
static const char *const tb_offers[] = { TB_ATTRIBUTES_SERVICE };

TPC_MODULE(thingsboard, .version = TPC_VERSION, .licence = "Apache-2.0 AND EPL-2.0",
           .flags = TPC_MOD_THREADS, .interfaces = TPC_INTERFACES(tb_interfaces),
           .offers = TPC_LIST(tb_offers))
