#include "variants.h"

#include <tpcore/ext/adapter.h>

struct variant {
    const struct tpc_host *host;
    void *ctx;
};

static const char *const link_service[] = { "v.link" };
static const char *const ring_a_service[] = { "v.a" };
static const char *const ring_b_service[] = { "v.b" };

static int v_init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct variant *v = self;
    int64_t port = 0;
    v->host = host;
    v->ctx = ctx;
    if (tpc_value_int(tpc_value_get(cfg, (struct tpc_str){ "port", 4 }), &port) != 0) {
        return host->fail(ctx, TPC_EINVAL, "no port");
    }
    if (port == 13) {
        return host->fail(ctx, TPC_EDENIED, "port %d is not for us", (int) port);
    }
    host->log(ctx, TPC_LOG_INFO, "init port=%d", (int) port);
    return 0;
}

static int v_offer(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    int rc = v_init(self, host, ctx, cfg);
    return rc != 0 ? rc : host->offer(ctx, "v.link", "the link", self);
}

static int v_start(void *self)
{
    struct variant *v = self;
    v->host->log(v->ctx, TPC_LOG_INFO, "start");
    return 0;
}

static int v_need(void *self)
{
    struct variant *v = self;
    const void *ops = NULL;
    void *other = NULL;
    int rc = v->host->need(v->ctx, "v.link", &ops, &other);
    v->host->log(v->ctx, TPC_LOG_INFO, "start with %s", rc == 0 ? (const char *) ops : "nothing");
    return rc;
}

static int v_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                  uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void v_stop(void *self)
{
    struct variant *v = self;
    v->host->log(v->ctx, TPC_LOG_INFO, "stop");
}

static void v_fini(void *self)
{
    struct variant *v = self;
    v->host->log(v->ctx, TPC_LOG_INFO, "fini");
}

static const struct tpc_option v_options[] = { { .name = "port",
                                                 .type = TPC_OPT_UINT,
                                                 .def = "7000",
                                                 .min = 1,
                                                 .max = 65535,
                                                 .since = "0.1",
                                                 .help = "a port" } };

#define OPS(...)                                                                                   \
    {                                                                                              \
        .iface = TPC_IFACE(struct tpc_adapter_ops, 1), .name = "variant",                          \
        .instance_size = sizeof(struct variant), .options = TPC_OPTIONS(v_options),                \
        .init = v_init, .start = v_start, .send = v_send, .stop = v_stop, .fini = v_fini,          \
        __VA_ARGS__                                                                                \
    }
#define MODULE(variant_name, major_, list, ...)                                                    \
    {                                                                                              \
        .iface = TPC_IFACE(struct tpc_module, major_), .name = #variant_name, .version = "1.2",    \
        .licence = "Apache-2.0", .interfaces = TPC_INTERFACES(list), __VA_ARGS__                   \
    }
#define DEFINE(variant_name, major_, list, ...)                                                    \
    const struct tpc_module *tpc_module_##variant_name(void)                                       \
    {                                                                                              \
        static const struct tpc_module module = MODULE(variant_name, major_, list, __VA_ARGS__);   \
        return &module;                                                                            \
    }

static const struct tpc_adapter_ops good_ops = OPS(.discover = NULL);
static const struct tpc_interface good[] = { { TPC_KIND_ADAPTER, &good_ops } };
DEFINE(v_good, 1, good, .flags = 0)
DEFINE(v_descriptor, 9, good, .flags = 0)
DEFINE(v_threads, 1, good, .flags = TPC_MOD_THREADS)

/* Older: what stands behind its end is not its own and must not be called. */
struct short_ops {
    struct tpc_iface iface;
    const char *name;
    size_t instance_size;
    struct tpc_list options;
    int (*init)(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg);
    int (*start)(void *self);
    int (*send)(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                uint64_t ticket);
    void (*settled)(void *self, const uint64_t *tickets, const int *errors, uint32_t count);
    void (*resume)(void *self, uint64_t session);
    void (*stop)(void *self);
    void (*fini)(void *self);
    const char *not_a_function;
};
static const struct short_ops short_table = {
    { (uint32_t) offsetof(struct short_ops, not_a_function), 1, 0 },
    "variant",
    sizeof(struct variant),
    TPC_OPTIONS(v_options),
    v_init,
    v_start,
    v_send,
    NULL,
    NULL,
    v_stop,
    v_fini,
    "behind the end",
};
static const struct tpc_interface short_list[] = { { TPC_KIND_ADAPTER, &short_table } };
DEFINE(v_short, 1, short_list, .flags = 0)

struct long_ops {
    struct tpc_adapter_ops known;
    int (*unknown[4])(void);
};
static int of_the_future(void)
{
    return 0;
}
static const struct long_ops long_table = { { .iface = TPC_IFACE(struct long_ops, 1),
                                              .name = "variant",
                                              .instance_size = sizeof(struct variant),
                                              .options = TPC_OPTIONS(v_options),
                                              .init = v_init,
                                              .start = v_start,
                                              .send = v_send,
                                              .stop = v_stop,
                                              .fini = v_fini },
                                            { of_the_future, of_the_future, of_the_future,
                                              of_the_future } };
/* And its list has longer elements, its descriptor more members. */
struct long_interface {
    struct tpc_interface known;
    uint64_t more;
};
static const struct long_interface long_list[] = { { { TPC_KIND_ADAPTER, &long_table }, 5 } };
struct long_module {
    struct tpc_module known;
    uint64_t more[8];
};
const struct tpc_module *tpc_module_v_long(void)
{
    static const struct long_module module = { { .iface = TPC_IFACE(struct long_module, 1),
                                                 .name = "v_long",
                                                 .version = "1.2",
                                                 .licence = "Apache-2.0",
                                                 .interfaces = TPC_INTERFACES(long_list) },
                                               { 1 } };
    return &module.known;
}

struct short_option {
    const char *name;
    uint32_t type;
    uint32_t flags;
    const char *def;
    int64_t min;
    int64_t max;
};
static const struct short_option short_options[] = {
    { "port", TPC_OPT_UINT, 0, "7000", 1, 65535 },
    { "host", TPC_OPT_TEXT, 0, "here", 0, 0 },
};
static const struct tpc_adapter_ops option_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "variant",
    .instance_size = sizeof(struct variant),
    .options = TPC_OPTIONS(short_options),
    .init = v_init,
    .start = v_start,
    .send = v_send,
    .stop = v_stop,
    .fini = v_fini,
};
static const struct tpc_interface option_list[] = { { TPC_KIND_ADAPTER, &option_ops } };
DEFINE(v_option, 1, option_list, .flags = 0)

static const struct tpc_adapter_ops major_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 7),
    .name = "variant",
    .instance_size = sizeof(struct variant),
};
static const struct tpc_interface major_list[] = { { TPC_KIND_ADAPTER, &major_ops } };
DEFINE(v_major, 1, major_list, .flags = 0)

static const struct tpc_adapter_ops lacks_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "variant",
    .instance_size = sizeof(struct variant),
    .init = v_init,
    .start = v_start,
    .stop = v_stop,
    .fini = v_fini,
};
static const struct tpc_interface lacks_list[] = { { TPC_KIND_ADAPTER, &lacks_ops } };
DEFINE(v_lacks, 1, lacks_list, .flags = 0)

static const struct tpc_adapter_ops cut_ops = {
    .iface = { (uint32_t) offsetof(struct tpc_adapter_ops, send), 1, 0 },
    .name = "variant",
    .instance_size = sizeof(struct variant),
    .init = v_init,
    .start = v_start,
    .send = v_send,
    .stop = v_stop,
    .fini = v_fini,
};
static const struct tpc_interface cut_list[] = { { TPC_KIND_ADAPTER, &cut_ops } };
DEFINE(v_cut, 1, cut_list, .flags = 0)

const struct tpc_module *tpc_module_v_other(void)
{
    static const struct tpc_module module = MODULE(v_good2, 1, good, .flags = 0);
    return &module;
}

const struct tpc_module *tpc_module_v_name(void)
{
    static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                              .name = "v-name",
                                              .interfaces = TPC_INTERFACES(good) };
    return &module;
}

const struct tpc_module *tpc_module_v_bare(void)
{
    static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                              .name = "v_bare" };
    return &module;
}

static const struct tpc_adapter_ops offer_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "variant",
    .instance_size = sizeof(struct variant),
    .options = TPC_OPTIONS(v_options),
    .init = v_offer,
    .start = v_start,
    .send = v_send,
    .stop = v_stop,
    .fini = v_fini,
};
static const struct tpc_interface offer_list[] = { { TPC_KIND_ADAPTER, &offer_ops } };
DEFINE(v_offers, 1, offer_list, .offers = TPC_LIST(link_service))

static const struct tpc_adapter_ops need_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "variant",
    .instance_size = sizeof(struct variant),
    .options = TPC_OPTIONS(v_options),
    .init = v_init,
    .start = v_need,
    .send = v_send,
    .stop = v_stop,
    .fini = v_fini,
};
static const struct tpc_interface need_list[] = { { TPC_KIND_ADAPTER, &need_ops } };
DEFINE(v_needs, 1, need_list, .needs = TPC_LIST(link_service))

DEFINE(v_ring_a, 1, good, .needs = TPC_LIST(ring_b_service), .offers = TPC_LIST(ring_a_service))
DEFINE(v_ring_b, 1, good, .needs = TPC_LIST(ring_a_service), .offers = TPC_LIST(ring_b_service))

static const struct tpc_interface future_list[] = { { 4711, &good_ops },
                                                    { TPC_KIND_ADAPTER, &good_ops } };
DEFINE(v_future, 1, future_list, .flags = 0)
