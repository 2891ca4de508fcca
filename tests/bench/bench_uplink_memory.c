/*
 * uplink_memory: JSON bytes to decoded, checked, logged (in memory), latest value, history and one
 * scene; messages per CPU-second of the whole process, workers = 0, so on one core. The target is
 * 300,000. Allocations per message count what passes through the core's allocator once it is warm.
 */
#include "bench.h"

#include <string.h>
#include <tpcore/ext/host.h>
#include <tpcore/tpcore.h>

enum { DEVICES = 64, BATCH = 256, WARM = 200, ROUNDS = 5, BATCHES = 800 };

static const char product[] =
    TPC_JSON({
    "key": "thermo", "codec": "json",
    "model": { "properties": [
        { "id": "temperature", "type": "double", "min": -40, "max": 125 },
        { "id": "humidity", "type": "double", "min": 0, "max": 100 },
        { "id": "battery", "type": "int", "min": 0, "max": 100 },
        { "id": "rssi", "type": "int" },
        { "id": "state", "type": "text" },
        { "id": "on", "type": "bool", "access": "rw" },
        { "id": "counter", "type": "int" } ],
      "services": [] } });
static const char scene[] =
    TPC_JSON({
    "key": "hot",
    "when": { "product": "thermo", "expr": "temperature > 90 && humidity < 40" },
    "then": [{ "command": { "service": "set", "params": { "on": true } } }] });

static unsigned long allocations;

static void *count_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    const struct tpc_allocator *inner = user;
    allocations += new_size > old_size;
    return inner->resize(inner->user, ptr, old_size, new_size);
}

struct fixture {
    struct tpc_core *core;
    struct tpc_device *devices[DEVICES];
    uint64_t seq;
};

static void one_batch(struct fixture *f)
{
    char text[256];
    for (int i = 0; i < BATCH; i++) {
        uint64_t n = f->seq++;
        struct tpc_frame frame;
        memset(&frame, 0, sizeof(frame));
        frame.size = sizeof(frame);
        frame.unix_ms = 1795176000000 + (int64_t) (n / DEVICES) * 1000;
        int len =
            snprintf(text, sizeof(text),
                     "{\"temperature\": %d.%d, \"humidity\": 45.%d, \"battery\": 87, "
                     "\"rssi\": -%d, \"state\": \"running\", \"on\": false, \"counter\": %llu}",
                     (int) (n % 40) + 10, (int) (n % 10), (int) (n % 7), (int) (n % 30) + 40,
                     (unsigned long long) n);
        frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) len };
        bench_must(tpc_feed_frame(f->devices[n % DEVICES], &frame, NULL, NULL) == 0,
                   tpc_error_last()->text);
    }
    bench_must(tpc_core_step(f->core, 0, NULL) == 0, "step");
}

/* What making the texts costs is the benchmark's, not the library's. */
static double texts_ns(int batches)
{
    char text[256];
    unsigned long sum = 0;
    double begin = bench_cpu_ns();
    for (int n = 0; n < batches * BATCH; n++) {
        sum += (unsigned long) snprintf(
            text, sizeof(text),
            "{\"temperature\": %d.%d, \"humidity\": 45.%d, \"battery\": 87, "
            "\"rssi\": -%d, \"state\": \"running\", \"on\": false, \"counter\": %llu}",
            n % 40 + 10, n % 10, n % 7, n % 30 + 40, (unsigned long long) n);
    }
    bench_must(sum > 0, "texts");
    return bench_cpu_ns() - begin;
}

static int keep_metric(void *user, const struct tpc_metric *m)
{
    if (strcmp(m->name, "tpc_uplink_messages_total") == 0) {
        *(double *) user = m->value;
    }
    return 0;
}

static void open_core(struct fixture *f, const struct tpc_allocator *alloc)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    char device[64];
    o.allocator = alloc;
    bench_must(tpc_core_create(&o, &f->core) == 0, "create");
    bench_must(tpc_entity_put(f->core, NULL, "product", TPC_STR(product), TPC_ANY_REV, NULL) == 0,
               "product");
    bench_must(tpc_entity_put(f->core, NULL, "scene", TPC_STR(scene), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
    for (int i = 0; i < DEVICES; i++) {
        snprintf(device, sizeof(device), "{\"key\":\"t%d\",\"product\":\"thermo\"}", i);
        bench_must(
            tpc_entity_put(f->core, NULL, "device", tpc_str_from(device), TPC_ANY_REV, NULL) == 0,
            "device");
        snprintf(device, sizeof(device), "t%d", i);
        bench_must(tpc_device_open(f->core, tpc_str_from(device), &f->devices[i]) == 0, "open");
    }
    bench_must(tpc_core_start(f->core) == 0, tpc_error_last()->text);
}

int main(void)
{
    struct tpc_allocator counting = { count_resize, (void *) (uintptr_t) tpc_allocator_default() };
    struct fixture f = { .core = NULL };
    double best = 1e18;
    double seen = 0;
    open_core(&f, &counting);
    for (int i = 0; i < WARM; i++) {
        one_batch(&f);
    }
    allocations = 0;
    double texts = texts_ns(BATCHES);
    for (int r = 0; r < ROUNDS; r++) {
        double begin = bench_cpu_ns();
        for (int i = 0; i < BATCHES; i++) {
            one_batch(&f);
        }
        double ns = (bench_cpu_ns() - begin - texts) / (BATCHES * BATCH);
        best = ns < best ? ns : best;
    }
    double per_message = (double) allocations / (ROUNDS * BATCHES * BATCH);
    bench_must(tpc_core_stats(f.core, keep_metric, &seen) == 0 && seen == (double) f.seq,
               "every message counted");
    bench_line("uplink_memory", 1e9 / best, "msg/s", "target 300000", 1e9 / best / 300000);
    bench_line("uplink_memory_allocations", per_message, "1/msg", "none", per_message);
    for (int i = 0; i < DEVICES; i++) {
        tpc_device_unref(f.devices[i]);
    }
    return tpc_core_destroy(f.core);
}
