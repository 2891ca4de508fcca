/*
 * handoff: from receive() on an adapter's thread to the worker that takes batches, both sides and
 * their wake-ups, against the same bytes through a queue under a mutex whose reader waits on a
 * condition and takes one at a time. CPU time of the process. The worker's place is taken by a thread
 * that only takes the items: what it would do with them is not measured.
 */
#include "bench.h"
#include "bench_util.h"
#include "data.h"

#include "core/core.h"
#include "registry/device.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <tpcore/ext/adapter.h>

enum { DEVICES = 64, KEYS = 8, DIFFERENT = 4096, MESSAGES = 1000000, ROUNDS = 5, QUEUE = 4096 };

static struct bench {
    const struct tpc_host *host;
    void *ctx;
    struct tpc_core *core;
    uint64_t sessions[DEVICES];
    struct {
        uint32_t device;
        uint32_t len;
        char text[512];
    } messages[DIFFERENT];

    pthread_mutex_t lock;
    pthread_cond_t more, less;
    struct tpc_frame queue[QUEUE];
    uint32_t first, count;
} b = { .lock = PTHREAD_MUTEX_INITIALIZER,
        .more = PTHREAD_COND_INITIALIZER,
        .less = PTHREAD_COND_INITIALIZER };

static int feed_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    (void) self;
    (void) cfg;
    b.host = host;
    b.ctx = ctx;
    return 0;
}

static int feed_start(void *self)
{
    (void) self;
    return 0;
}

static void feed_stop(void *self)
{
    (void) self;
}

static int feed_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                     uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static const struct tpc_adapter_ops feed_ops = { .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
                                                 .name = "feed",
                                                 .instance_size = 1,
                                                 .init = feed_init,
                                                 .start = feed_start,
                                                 .send = feed_send,
                                                 .stop = feed_stop,
                                                 .fini = feed_stop };
static const struct tpc_interface interfaces[] = { { TPC_KIND_ADAPTER, &feed_ops } };
static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                          .name = "feed",
                                          .interfaces = TPC_INTERFACES(interfaces) };

static struct tpc_frame frame_of(uint32_t i)
{
    struct tpc_frame f = { .size = sizeof(f), .unix_ms = DATA_BEGIN_MS + i };
    f.topic = TPC_STR("devices/telemetry");
    f.payload = (struct tpc_bytes){ (const uint8_t *) b.messages[i % DIFFERENT].text,
                                    b.messages[i % DIFFERENT].len };
    return f;
}

/* ---- ours ---- */

/* As a worker takes its batches and goes to sleep. */
static void *take_batches(void *user)
{
    struct tpi_worker *w = user;
    struct tpi_up_input input;
    const struct tpi_up_item *items[TPI_UPLINK_BATCH];
    uint32_t taken = 0;
    while (taken < MESSAGES) {
        uint32_t n = 0;
        size_t len;
        while (n < TPI_UPLINK_BATCH && (items[n] = tpi_ring_peek(&w->ring, &len)) != NULL) {
            tpi_feed_input(items[n++], &input);
        }
        for (uint32_t i = 0; i < n; i++) {
            tpi_feed_done(items[i]);
        }
        tpi_ring_release(&w->ring);
        taken += n;
        w->taken += n;
        if (n == 0 && !tpi_worker_nap(w)) {
            tpi_worker_drowse(w);
            (void) tpi_loop_wait(w, tpi_ring_used(&w->ring) > 0 ? 0 : -1);
            atomic_store(&w->sleeping, false);
        }
        atomic_store(&w->unix_ms, tpi_unix_ms(&w->core->env)); /* as a turn begins */
    }
    return NULL;
}

static double ours(void)
{
    struct tpi_worker *w = &b.core->workers[0];
    pthread_t thread;
    double begin = bench_cpu_ns();
    bench_must(pthread_create(&thread, NULL, take_batches, w) == 0, "thread");
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct tpc_frame f = frame_of(i);
        while (b.host->receive(b.ctx, b.sessions[b.messages[i % DIFFERENT].device], &f, i + 1) ==
               TPC_EAGAIN) {
            sched_yield();
        }
    }
    pthread_join(thread, NULL);
    double ns = (bench_cpu_ns() - begin) / MESSAGES;
    (void) tpi_session_resume(w); /* nobody is blocked for the next round */
    return ns;
}

/* ---- theirs ---- */

static void *take_singly(void *user)
{
    (void) user;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        pthread_mutex_lock(&b.lock);
        while (b.count == 0) {
            pthread_cond_wait(&b.more, &b.lock);
        }
        struct tpc_frame f = b.queue[b.first];
        b.first = (b.first + 1) % QUEUE;
        b.count--;
        pthread_cond_signal(&b.less);
        pthread_mutex_unlock(&b.lock);
        free((void *) (uintptr_t) f.payload.ptr);
    }
    return NULL;
}

static double theirs(void)
{
    pthread_t thread;
    double begin = bench_cpu_ns();
    bench_must(pthread_create(&thread, NULL, take_singly, NULL) == 0, "thread");
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct tpc_frame f = frame_of(i);
        uint8_t *copy = malloc(f.payload.len);
        bench_must(copy != NULL, "memory");
        memcpy(copy, f.payload.ptr, f.payload.len);
        f.payload.ptr = copy;
        pthread_mutex_lock(&b.lock);
        while (b.count == QUEUE) {
            pthread_cond_wait(&b.less, &b.lock);
        }
        b.queue[(b.first + b.count++) % QUEUE] = f;
        pthread_cond_signal(&b.more);
        pthread_mutex_unlock(&b.lock);
    }
    pthread_join(thread, NULL);
    return (bench_cpu_ns() - begin) / MESSAGES;
}

static void open_core(void)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    char text[DATA_PRODUCT_BYTES], key[DATA_KEY_BYTES];
    bench_must(tpc_core_create(&o, &b.core) == 0 && tpc_core_add_module(b.core, &module) == 0 &&
                   tpc_core_open(b.core, "feed", "feed", TPC_STR("{}")) == 0,
               "core");
    data_product("json", KEYS, false, text);
    bench_must(tpc_entity_put(b.core, NULL, "product", tpc_str_from(text), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
    for (uint32_t i = 0; i < DEVICES; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"%s\",\"product\":\"meter\"}", data_device(i, key));
        bench_must(tpc_entity_put(b.core, NULL, "device", tpc_str_from(text), TPC_ANY_REV, NULL) ==
                       0,
                   tpc_error_last()->text);
    }
    bench_must(tpc_core_start(b.core) == 0, tpc_error_last()->text);
    for (uint32_t i = 0; i < DEVICES; i++) {
        struct tpc_session_options s = { .size = sizeof(s) };
        s.device = tpc_str_from(data_device(i, key));
        bench_must(b.host->session_open(b.ctx, &s, &b.sessions[i]) == 0, key);
    }
    bench_must(tpc_core_step(b.core, 0, NULL) == 0, "step");
}

int main(void)
{
    struct data d;
    struct data_message m;
    struct bench_pair best = { 1e18, 1e18 };
    data_init(&d, 1, DEVICES, KEYS, false);
    for (uint32_t i = 0; i < DIFFERENT; i++) {
        data_next(&d, &m);
        b.messages[i].device = m.device;
        b.messages[i].len =
            (uint32_t) data_json(&m, b.messages[i].text, sizeof(b.messages[i].text));
    }
    data_fini(&d);
    open_core();
    for (int r = 0; r < ROUNDS; r++) {
        double a = ours(), t = theirs();
        best.ours = a < best.ours ? a : best.ours;
        best.theirs = t < best.theirs ? t : best.theirs;
    }
    bench_line("handoff", best.ours, "ns/msg", "mutex and condition, one by one",
               best.ours / best.theirs);
    return tpc_core_destroy(b.core);
}
