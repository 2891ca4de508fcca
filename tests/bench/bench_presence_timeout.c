/*
 * presence_timeout: 100,000 devices that were heard of ten times each and then time out within one
 * second: the wheel of presence, which no message touches and which passes once over all, against a
 * timer for each device in lib/base's wheel, which every message moves. Also what a device costs of
 * memory in each.
 */
#include "bench.h"

#include <string.h>
#include <tpcore/tpcore.h>

#include "base/wheel.h"
#include "core/core.h"

enum { DEVICES = 100000, MESSAGES = 10, TIMEOUT_MS = 60000, ROUNDS = 5 };

static struct tpc_device *devices[DEVICES];
static struct tpi_timer timers[DEVICES];
static uint64_t order[DEVICES];
static uint32_t fired;

static void put(struct tpc_core *core, const char *kind, const char *json)
{
    bench_must(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_NO_REV, NULL) == 0,
               tpc_error_last()->text);
}

static void open_devices(struct tpc_core *core)
{
    char json[100];
    put(core, "product",
        "{\"key\":\"p\",\"model\":{},\"presence\":{\"mode\":\"heartbeat\",\"timeout\":\"60s\"}}");
    for (uint32_t i = 0; i < DEVICES; i++) {
        int n = snprintf(json, sizeof(json), "{\"key\":\"d%u\",\"product\":\"p\"}", i);
        (void) n;
        put(core, "device", json);
        snprintf(json, sizeof(json), "d%u", i);
        bench_must(tpc_device_open(core, tpc_str_from(json), &devices[i]) == 0, "open");
    }
    uint64_t x = 88172645463325252u;
    for (uint32_t i = 0; i < DEVICES; i++) {
        order[i] = i;
    }
    for (uint32_t i = DEVICES - 1; i > 0; i--) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint32_t k = (uint32_t) (x % (i + 1));
        uint64_t swap = order[i];
        order[i] = order[k];
        order[k] = swap;
    }
}

/* Nanoseconds a device; *ret_bytes = memory of the wheel for one. */
static double by_pass(struct tpc_core *core, double *ret_bytes)
{
    struct tpc_device *gone[TPI_PRESENCE_BATCH];
    struct tpi_presence p;
    uint64_t now = 1000000;
    int64_t wall = 1795176000000;
    uint32_t n;
    uint32_t sum = 0;
    tpi_presence_init(&p, core->registry, 0, 1, now, wall);
    (void) tpi_presence_pass(&p, now, wall, gone);
    for (uint32_t i = 0; i < DEVICES; i++) {
        (void) tpi_device_presence(devices[i], true, false, wall);
    }
    double begin = bench_cpu_ns();
    for (uint32_t i = 0; i < DEVICES; i++) {
        tpi_presence_arm(&p, devices[order[i]], wall);
    }
    for (uint32_t m = 1; m < MESSAGES; m++) {
        for (uint32_t i = 0; i < DEVICES; i++) {
            tpi_device_seen(devices[order[i]], wall + m);
        }
    }
    *ret_bytes = 0;
    for (uint32_t i = 0; i < TPI_PRESENCE_SLOTS; i++) {
        *ret_bytes += (double) p.slots[i].cap * sizeof(p.slots[i].items[0]) / DEVICES;
    }
    now += TIMEOUT_MS + 1000;
    while ((n = tpi_presence_pass(&p, now, wall + TIMEOUT_MS + 1000, gone)) > 0) {
        for (uint32_t i = 0; i < n; i++) {
            (void) tpi_device_presence(gone[i], false, false, wall);
            tpi_device_unref(gone[i]);
        }
        sum += n;
    }
    double ns = (bench_cpu_ns() - begin) / DEVICES;
    bench_must(sum == DEVICES, "a time-out");
    tpi_presence_fini(&p);
    return ns;
}

static void fire(void *user, uint64_t now_ms)
{
    (void) now_ms;
    (void) tpi_device_presence(user, false, false, 1795176000000);
    fired++;
}

static double by_timers(void)
{
    static struct tpi_wheel w;
    uint64_t now = 1000000;
    int64_t wall = 1795176000000;
    fired = 0;
    tpi_wheel_init(&w, now);
    for (uint32_t i = 0; i < DEVICES; i++) {
        timers[i] = (struct tpi_timer){ .fn = fire, .user = devices[i] };
        (void) tpi_device_presence(devices[i], true, false, wall);
    }
    double begin = bench_cpu_ns();
    for (uint32_t m = 0; m < MESSAGES; m++) {
        for (uint32_t i = 0; i < DEVICES; i++) {
            tpi_device_seen(devices[order[i]], wall + m);
            tpi_wheel_add(&w, &timers[order[i]], now + m + TIMEOUT_MS + i % 1000);
        }
    }
    (void) tpi_wheel_run(&w, now + TIMEOUT_MS + 2000);
    double ns = (bench_cpu_ns() - begin) / DEVICES;
    bench_must(fired == DEVICES, "a timer");
    return ns;
}

int main(void)
{
    struct tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    double ours = 1e18;
    double theirs = 1e18;
    double bytes = 0;
    bench_must(tpc_core_create(&options, &core) == 0, "create");
    open_devices(core);
    for (int i = 0; i < ROUNDS; i++) {
        double a = by_pass(core, &bytes);
        double b = by_timers();
        ours = a < ours ? a : ours;
        theirs = b < theirs ? b : theirs;
    }
    for (uint32_t i = 0; i < DEVICES; i++) {
        tpc_device_unref(devices[i]);
    }
    bench_must(tpc_core_destroy(core) == 0, "destroy");
    bench_line("presence_timeout", ours, "ns/device", "a timer for each device", ours / theirs);
    bench_line("presence_timeout_memory", bytes, "B/device", "a timer for each device",
               bytes / sizeof(struct tpi_timer));
    return 0;
}
