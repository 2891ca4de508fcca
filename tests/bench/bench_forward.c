/*
 * forward_path: from the log to a target's sink that takes everything at once, against a durable
 * consumer with the same filter over the same records. CPU time of the process, per message.
 *
 * forward_set, forward_lua: what a transform adds to that, by an expression and a renamed key, and by
 * code, against the same target without.
 *
 * forward_drain: a backlog to a sink that answers after some ms, over a window of 8, against a window
 * of 1. Wall time: waiting is what the window is for.
 */
#include "bench.h"
#include "bench_util.h"
#include "data.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/ext/sink.h>
#include <tpcore/tpcore.h>

#ifdef WITH_LUA
#include <tpcore/modules.h>
#endif

enum { DEVICES = 64, KEYS = 8, MESSAGES = 200000, ROUNDS = 5, WINDOW = 8, DELAY_MS = 4 };

static struct bench {
    struct tpc_core *core;
    const struct tpc_host *host;
    void *ctx;
    uint64_t consumed;
    uint64_t sent;
    uint64_t values; /* both sides look at each message */

    /* Of a sink that answers later. */
    atomic_bool later, stop;
    pthread_t answerer;
    pthread_mutex_t lock;
    uint64_t tickets[WINDOW];
    double due_ns[WINDOW];
    uint32_t held;
} b = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *answer_later(void *user)
{
    (void) user;
    while (!atomic_load(&b.stop)) {
        uint64_t ticket = 0;
        pthread_mutex_lock(&b.lock);
        if (b.held > 0 && b.due_ns[0] <= util_wall_ns()) {
            ticket = b.tickets[0];
            b.held--;
            memmove(b.tickets, b.tickets + 1, b.held * sizeof(b.tickets[0]));
            memmove(b.due_ns, b.due_ns + 1, b.held * sizeof(b.due_ns[0]));
        }
        pthread_mutex_unlock(&b.lock);
        if (ticket != 0) {
            b.host->sent(b.ctx, ticket, NULL);
        } else {
            (void) poll(NULL, 0, 1);
        }
    }
    return NULL;
}

static void look(const struct tpc_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        b.values += tpc_batch_msg(batch, i)->point_count;
    }
}

static int null_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    (void) self;
    (void) cfg;
    b.host = host;
    b.ctx = ctx;
    return 0;
}

static int null_start(void *self)
{
    (void) self;
    return 0;
}

static int null_open(void *self, struct tpc_str name, const struct tpc_value *cfg, void **ret)
{
    (void) name;
    (void) cfg;
    *ret = self;
    return 0;
}

static int null_send(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    (void) self;
    (void) target;
    look(batch);
    b.sent += batch->count;
    if (atomic_load(&b.later)) {
        pthread_mutex_lock(&b.lock);
        b.due_ns[b.held] = util_wall_ns() + DELAY_MS * 1e6;
        b.tickets[b.held++] = ticket;
        pthread_mutex_unlock(&b.lock);
    } else {
        b.host->sent(b.ctx, ticket, NULL);
    }
    return 0;
}

static void null_close(void *self, void *target)
{
    (void) self;
    (void) target;
}

static void null_stop(void *self)
{
    (void) self;
}

static const struct tpc_sink_ops null_ops = { .iface = TPC_IFACE(struct tpc_sink_ops, 1),
                                              .name = "null",
                                              .instance_size = 1,
                                              .init = null_init,
                                              .start = null_start,
                                              .target_open = null_open,
                                              .send = null_send,
                                              .target_close = null_close,
                                              .stop = null_stop,
                                              .fini = null_stop,
                                              .max_in_flight = WINDOW };
static const struct tpc_interface interfaces[] = { { TPC_KIND_SINK, &null_ops } };
static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                          .name = "null",
                                          .interfaces = TPC_INTERFACES(interfaces) };

static int on_batch(void *user, const struct tpc_batch *batch)
{
    (void) user;
    look(batch);
    b.consumed += batch->count;
    return 0;
}

static void put(const char *kind, const char *json)
{
    bench_must(tpc_entity_put(b.core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
}

static void step_until(const uint64_t *count)
{
    while (*count < MESSAGES) {
        bench_must(tpc_core_step(b.core, 0, NULL) == 0, "step");
    }
}

static double theirs(void)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    o.name = TPC_STR("bench");
    o.filter = TPC_STR("main/up/+/+/telemetry");
    b.consumed = 0;
    double begin = bench_cpu_ns();
    bench_must(tpc_consume(b.core, &o, on_batch, NULL, &sub) == 0, "consume");
    step_until(&b.consumed);
    double ns = (bench_cpu_ns() - begin) / MESSAGES;
    (void) tpc_unsubscribe(sub);
    bench_must(tpc_consumer_forget(b.core, o.name) == 0, "forget");
    return ns;
}

static void begin_target(const char *more)
{
    char json[512];
    b.sent = 0;
    (void) snprintf(json, sizeof(json),
                    "{\"key\":\"bench\",\"sink\":\"null\",\"start\":\"oldest\","
                    "\"filter\":[\"main/up/+/+/telemetry\"]%s}",
                    more);
    put("forward", json);
}

static void end_target(void)
{
    bench_must(tpc_entity_delete(b.core, NULL, TPC_STR("main"), "forward", TPC_STR("bench"),
                                 TPC_ANY_REV) == 0,
               "delete");
    (void) tpc_core_step(b.core, 0, NULL);
}

static double ours(const char *more)
{
    double begin = bench_cpu_ns();
    begin_target(more);
    step_until(&b.sent);
    double ns = (bench_cpu_ns() - begin) / MESSAGES;
    end_target();
    return ns;
}

/* Wall time until all of it was handed over. */
static double drain(const char *more)
{
    bench_must(pthread_create(&b.answerer, NULL, answer_later, NULL) == 0, "thread");
    atomic_store(&b.later, true);
    double begin = util_wall_ns();
    begin_target(more);
    while (b.sent < MESSAGES) {
        bench_must(tpc_core_step(b.core, 1, NULL) == 0, "step");
    }
    double ns = (util_wall_ns() - begin) / MESSAGES;
    atomic_store(&b.later, false);
    bool left = true;
    while (left) { /* what is on its way */
        (void) tpc_core_step(b.core, 1, NULL);
        pthread_mutex_lock(&b.lock);
        left = b.held > 0;
        pthread_mutex_unlock(&b.lock);
    }
    atomic_store(&b.stop, true);
    (void) pthread_join(b.answerer, NULL);
    atomic_store(&b.stop, false);
    end_target();
    return ns;
}

static void fill(void)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    char text[DATA_PRODUCT_BYTES];
    char key[DATA_KEY_BYTES];
    struct tpc_device *devices[DEVICES];
    o.workers = 0;
    bench_must(tpc_core_create(&o, &b.core) == 0 && tpc_core_add_module(b.core, &module) == 0 &&
#ifdef WITH_LUA
                   tpc_core_add_module(b.core, tpc_module_lua()) == 0 &&
#endif
                   tpc_core_open(b.core, "null", "null", TPC_STR("{}")) == 0 &&
                   tpc_core_open(b.core, "log", "memory", TPC_STR("{\"max_bytes\":\"512MiB\"}")) ==
                       0,
               "core");
    data_product("json", KEYS, false, text);
    put("product", text);
    for (uint32_t i = 0; i < DEVICES; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"%s\",\"product\":\"meter\"}", data_device(i, key));
        put("device", text);
        bench_must(tpc_device_open(b.core, tpc_str_from(key), &devices[i]) == 0, "device");
    }
    bench_must(tpc_core_start(b.core) == 0, tpc_error_last()->text);
    struct data data;
    struct data_message m;
    data_init(&data, 1, DEVICES, KEYS, false);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        data_next(&data, &m);
        struct tpc_bytes raw = { (const uint8_t *) text, data_json(&m, text, sizeof(text)) };
        while (tpc_feed(devices[m.device], raw, NULL, NULL) == TPC_EAGAIN) {
            bench_must(tpc_core_step(b.core, 0, NULL) == 0, "step");
        }
    }
    bench_must(tpc_core_step(b.core, 0, NULL) == 0, "step");
    data_fini(&data);
    for (uint32_t i = 0; i < DEVICES; i++) {
        tpc_device_unref(devices[i]);
    }
}

static double least(double (*run)(const char *), const char *more, uint32_t rounds)
{
    double best = 1e18;
    for (uint32_t i = 0; i < rounds; i++) {
        double ns = run(more);
        best = ns < best ? ns : best;
    }
    return best;
}

static const char lua[] =
    ",\"transform\":{\"lua\":\"function transform(m) m.values.extra = 1 return m end\"}";

int main(void)
{
    struct bench_pair best = { 1e18, 1e18 };
#ifdef WITH_LUA
    const bool has_lua = true;
#else
    const bool has_lua = false;
#endif
    fill();
    for (int i = 0; i < ROUNDS; i++) {
        double a = ours("");
        double c = theirs();
        best.ours = a < best.ours ? a : best.ours;
        best.theirs = c < best.theirs ? c : best.theirs;
    }
    bench_line("forward_path", best.ours, "ns/message", "tpc_consume with the same filter",
               best.ours / best.theirs);
    double set = least(ours,
                       ",\"transform\":{\"set\":{\"extra\":\"1 + 1\"},"
                       "\"rename\":{\"extra\":\"more\"}}",
                       ROUNDS);
    bench_line("forward_set", set - best.ours, "ns/message", "the same target without",
               set / best.ours);
    if (has_lua) {
        double code = least(ours, lua, 1);
        bench_line("forward_lua", code - best.ours, "ns/message", "the same target without",
                   code / best.ours);
    }
    double one = least(drain, ",\"batch\":{\"count\":1024}", 1);
    double eight = least(drain, ",\"batch\":{\"count\":1024},\"window\":8", 1);
    bench_line("forward_drain", eight, "ns/message", "a window of 1", eight / one);
    (void) tpc_core_stop(b.core, 1000);
    (void) tpc_core_destroy(b.core);
    return 0;
}
