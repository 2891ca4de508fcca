/* Codec "lua": scripts of products, one Lua state for each worker. */
#include "codec.h"

#include "base/alloc.h"
#include "base/error.h"

static const struct tpc_option options[] = {
    { .name = "memory_bytes",
      .type = TPC_OPT_SIZE,
      .def = "8MiB",
      .min = 512 * 1024,
      .max = 1024 * 1024 * 1024,
      .since = "0.1",
      .help = "Live memory of one worker's Lua state; its pool may hold as much again." },
    { .name = "steps",
      .type = TPC_OPT_UINT,
      .def = "10000000",
      .min = 1000,
      .max = 1000000000000,
      .since = "0.1",
      .help = "Instructions and steps of pattern matching of one call." },
    { .name = "deadline_ms",
      .type = TPC_OPT_DURATION,
      .def = "200ms",
      .min = 1,
      .max = 60000,
      .since = "0.1",
      .help = "Time that one call of decode() or encode() may take." },
    { .name = "inp_deadline_ms",
      .type = TPC_OPT_DURATION,
      .def = "3s",
      .min = 1,
      .max = 60000,
      .since = "0.1",
      .help = "Time that one call of encodeInp() may take." },
    { .name = "script_bytes",
      .type = TPC_OPT_SIZE,
      .def = "256KiB",
      .min = 1,
      .max = 16 * 1024 * 1024,
      .since = "0.1",
      .help = "Longest script." },
    { .name = "max_points",
      .type = TPC_OPT_UINT,
      .def = "4096",
      .min = 1,
      .max = 1000000,
      .since = "0.1",
      .help = "Points of one message." },
    { .name = "max_messages",
      .type = TPC_OPT_UINT,
      .def = "256",
      .min = 1,
      .max = 100000,
      .since = "0.1",
      .help = "Messages that one frame may become." },
};

static bool codec_nests(void *self, void *program)
{
    const struct program *p = program;
    (void) self;
    return atomic_load(&p->panel);
}

void codec_count(const struct codec *c, const char *metric, uint64_t n)
{
    if (TPC_HAS(c->host, struct tpc_host, count)) {
        c->host->count(c->ctx, metric, n);
    }
}

void codec_count_error(const struct codec *c, const struct slot *s)
{
    static const char *const metrics[] = { "errors", "step_limit_hits", "deadline_hits",
                                           "memory_limit_hits" };
    codec_count(c, metrics[s->trip], 1);
}

/* An option that was left out (a host that does not check) has its default. */
static uint64_t option(const struct tpc_value *cfg, const char *name, uint64_t fallback)
{
    int64_t i;
    if (tpc_value_int(tpc_value_get(cfg, tpc_str_from(name)), &i) != 0 || i <= 0) {
        return fallback;
    }
    return (uint64_t) i;
}

static void codec_fini(void *self)
{
    struct codec *c = self;
    for (uint32_t i = 0; i < c->slot_count && c->slots != NULL; i++) {
        slot_fini(&c->slots[i]);
        struct program *dead = atomic_exchange(&c->slots[i].dead, NULL);
        while (dead != NULL) {
            struct program *next = dead->loads[i].next_dead;
            program_unref(c, dead);
            dead = next;
        }
    }
    if (c->slots != NULL) {
        tpi_free(c->host->allocator, c->slots, c->slot_count * sizeof(*c->slots));
        c->slots = NULL;
    }
    if (c->locks) {
        pthread_mutex_destroy(&c->spare_lock);
        pthread_mutex_destroy(&c->lock);
        c->locks = false;
    }
}

static int codec_init(void *self, const struct tpc_host *host, void *ctx,
                      const struct tpc_value *cfg, uint32_t workers)
{
    struct codec *c = self;
    c->host = host;
    c->ctx = ctx;
    c->limits.memory_bytes = (size_t) option(cfg, "memory_bytes", 8 * 1024 * 1024);
    c->limits.steps = option(cfg, "steps", 10000000);
    c->limits.decode_ns = option(cfg, "deadline_ms", 200) * 1000000;
    c->limits.inp_ns = option(cfg, "inp_deadline_ms", 3000) * 1000000;
    c->limits.script_bytes = (size_t) option(cfg, "script_bytes", 256 * 1024);
    c->limits.points = (uint32_t) option(cfg, "max_points", 4096);
    c->limits.msgs = (uint32_t) option(cfg, "max_messages", 256);
    c->slot_count = workers + 1;
    c->slots = tpi_alloc_array(host->allocator, c->slot_count, sizeof(*c->slots));
    if (c->slots == NULL) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for %u Lua states", c->slot_count);
    }
    for (uint32_t i = 0; i < c->slot_count; i++) {
        slot_init(&c->slots[i], host, &c->limits);
    }
    if (pthread_mutex_init(&c->lock, NULL) != 0) {
        codec_fini(self);
        return host->fail(ctx, TPC_ENOMEM, "no lock");
    }
    if (pthread_mutex_init(&c->spare_lock, NULL) != 0) {
        pthread_mutex_destroy(&c->lock);
        codec_fini(self);
        return host->fail(ctx, TPC_ENOMEM, "no lock");
    }
    c->locks = true;
    return 0;
}

/* Programs that were released since the slot was last used. */
static void drop_dead(struct codec *c, struct slot *s, uint32_t index)
{
    if (atomic_load_explicit(&s->dead, memory_order_relaxed) == NULL) {
        return;
    }
    struct program *p = atomic_exchange(&s->dead, NULL);
    while (p != NULL) {
        struct program *next = p->loads[index].next_dead;
        program_unload(s, index, p);
        program_unref(c, p);
        p = next;
    }
}

struct slot *codec_enter(struct codec *c, uint32_t worker, struct tpc_error *err)
{
    if (worker >= c->slot_count) {
        tpi_error_set(err, TPC_EINVAL, "lua", "there is no worker %u", worker);
        return NULL;
    }
    if (worker + 1 == c->slot_count) {
        pthread_mutex_lock(&c->spare_lock);
    }
    struct slot *s = &c->slots[worker];
    drop_dead(c, s, worker);
    if (slot_open(s, err) != 0) {
        codec_leave(c, worker);
        return NULL;
    }
    return s;
}

void codec_leave(struct codec *c, uint32_t worker)
{
    if (worker + 1 == c->slot_count) {
        pthread_mutex_unlock(&c->spare_lock);
    }
}

static const struct tpc_codec_ops lua_codec = {
    .iface = TPC_IFACE(struct tpc_codec_ops, 1),
    .name = "lua",
    .instance_size = sizeof(struct codec),
    .options = TPC_OPTIONS(options),
    .init = codec_init,
    .fini = codec_fini,
    .compile = codec_compile,
    .release = codec_release,
    .decode = codec_decode,
    .encode = codec_encode,
    .nests = codec_nests,
};

static const struct tpc_interface interfaces[] = { { TPC_KIND_CODEC, &lua_codec } };

TPC_MODULE(lua, .version = "0.1.0", .licence = "Apache-2.0 AND MIT",
           .interfaces = TPC_INTERFACES(interfaces))
