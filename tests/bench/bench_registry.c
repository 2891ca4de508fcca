/*
 * A million registered devices, each with 8 latest values, in a real core on real files. One
 * process makes them; another one, which starts with what the first one left, is measured: all that
 * the library holds for a device once it runs, less what a core without devices holds. BENCH_DEVICES
 * makes it shorter.
 */
#include "bench.h"
#include "bench_util.h"
#include "data.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <tpcore/ext/host.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>

enum { KEYS = 8, SEED = 11, LOOKUPS = 4000000, ROUNDS = 3, SHUFFLE = 1 << 20, LOADED_MS = 600000 };

static struct shared {
    double register_ns;
    double start_ns;
    double heap[2]; /* without and with devices */
    double rss[2];
    double lookup_ns;
    double put_ns;
} * shared;

static char dir[UTIL_PATH_BYTES];
static uint32_t devices;
static size_t live_bytes;

static void *count_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    const struct tpc_allocator *inner = tpc_allocator_default();
    (void) user;
    void *p = inner->resize(inner->user, ptr, old_size, new_size);
    if (p != NULL || new_size == 0) {
        size_t had = ptr != NULL ? old_size : 0;
        __atomic_add_fetch(&live_bytes, new_size - had, __ATOMIC_RELAXED);
    }
    return p;
}

static void on_log(void *user, int level, const char *subject, const char *text)
{
    (void) user;
    (void) level;
    fprintf(stderr, "%s: %s\n", subject, text);
}

static struct tpc_core *open_core(void)
{
    static const struct tpc_allocator counting = { count_resize, NULL };
    struct tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    char text[UTIL_PATH_BYTES + 64];
    options.allocator = &counting;
    options.workers = 1;
    options.on_log = on_log;
    options.log_level = TPC_LOG_WARN;
    bench_must(tpc_core_create(&options, &core) == 0, "create");
    bench_must(tpc_core_add_module(core, tpc_module_sqlite()) == 0, "module");
    snprintf(text, sizeof(text), "{\"dir\":\"%s/log\"}", dir);
    bench_must(tpc_core_open(core, "log", "file", tpc_str_from(text)) == 0, tpc_error_last()->text);
    snprintf(text, sizeof(text), "{\"dir\":\"%s\"}", dir);
    bench_must(tpc_core_open(core, "store", "sqlite", tpc_str_from(text)) == 0,
               tpc_error_last()->text);
    return core;
}

static void put(struct tpc_core *core, const char *kind, const char *json)
{
    bench_must(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_NO_REV, NULL) == 0,
               tpc_error_last()->text);
}

static void put_product(struct tpc_core *core)
{
    char json[DATA_PRODUCT_BYTES];
    put(core, "product", data_product("json", KEYS, false, json));
}

static struct tpc_str device_key(uint32_t index, char out[32])
{
    int n = snprintf(out, 32, "device-%07u", (unsigned) index);
    return (struct tpc_str){ out, (size_t) n };
}

/* ---- the processes ---- */

static void feed(struct tpc_core *core, const struct data_message *m)
{
    struct tpc_device *d;
    char key[32];
    char json[DATA_JSON_BYTES];
    size_t len = data_json(m, json, sizeof(json));
    struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = m->unix_ms };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) json, len };
    bench_must(tpc_device_open(core, device_key(m->device, key), &d) == 0, "open");
    int rc;
    while ((rc = tpc_feed_frame(d, &frame, NULL, NULL)) == TPC_EAGAIN) {
        nanosleep(&(struct timespec){ 0, 100000 }, NULL);
    }
    bench_must(rc == 0, tpc_error_last()->text);
    tpc_device_unref(d);
}

static void make_devices(void)
{
    struct tpc_core *core = open_core();
    struct data data;
    struct data_message m;
    char key[32];
    char json[100];
    put_product(core);
    double begin = bench_cpu_ns();
    for (uint32_t i = 0; i < devices; i++) {
        snprintf(json, sizeof(json), "{\"key\":\"%s\",\"product\":\"meter\"}",
                 device_key(i, key).ptr);
        put(core, "device", json);
    }
    shared->register_ns = (bench_cpu_ns() - begin) / devices;
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    data_init(&data, SEED, devices, KEYS, false);
    for (uint32_t i = 0; i < devices; i++) {
        data_next(&data, &m);
        feed(core, &m);
    }
    data_fini(&data);
    bench_must(tpc_core_stop(core, LOADED_MS) == 0, tpc_error_last()->text);
    bench_must(tpc_core_destroy(core) == 0, "destroy");
}

static void measure_memory(int which, double heap, double rss)
{
    shared->heap[which] = (double) __atomic_load_n(&live_bytes, __ATOMIC_RELAXED) - heap;
    shared->rss[which] = util_rss_bytes() - rss;
}

static void run_empty(void)
{
    double rss = util_rss_bytes();
    struct tpc_core *core = open_core();
    put_product(core);
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    measure_memory(0, 0, rss);
    bench_must(tpc_core_destroy(core) == 0, "destroy");
}

/* Every device has what was sent, with its time. */
static void check_values(struct tpc_core *core)
{
    struct data data;
    struct data_message m;
    data_init(&data, SEED, devices, KEYS, false);
    for (uint32_t i = 0; i < devices; i++) {
        struct tpc_device *d;
        struct tpc_value v;
        char key[32];
        int64_t ms;
        double x;
        data_next(&data, &m);
        bench_must(tpc_device_open(core, device_key(m.device, key), &d) == 0, "open");
        for (uint32_t k = 0; k < KEYS; k++) {
            bench_must(tpc_latest_get(d, tpc_str_from(data_key(k)), NULL, &v, &ms) == 0 &&
                           ms == m.unix_ms && tpc_value_double(&v, &x) == 0 && x == m.values[k],
                       "a latest value");
        }
        tpc_device_unref(d);
    }
    data_fini(&data);
}

/* What an adapter does: a handle by the key, and back. The keys are made before. */
static double look_up(struct tpc_core *core)
{
    char(*keys)[16] = malloc(SHUFFLE * sizeof(*keys));
    uint64_t x = 88172645463325252u;
    double best = 1e18;
    bench_must(keys != NULL, "memory");
    for (int round = 0; round < ROUNDS; round++) {
        double sum = 0;
        for (uint32_t done = 0; done < LOOKUPS; done += SHUFFLE) {
            for (uint32_t i = 0; i < SHUFFLE; i++) {
                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                snprintf(keys[i], sizeof(keys[i]), "device-%07u", (unsigned) (x % devices));
            }
            double begin = bench_cpu_ns();
            for (uint32_t i = 0; i < SHUFFLE; i++) {
                struct tpc_device *d;
                bench_must(tpc_device_open(core, (struct tpc_str){ keys[i], 14 }, &d) == 0, "open");
                tpc_device_unref(d);
            }
            sum += bench_cpu_ns() - begin;
        }
        sum /= (LOOKUPS + SHUFFLE - 1) / SHUFFLE * (double) SHUFFLE;
        best = sum < best ? sum : best;
    }
    free(keys);
    return best;
}

static void run_full(void)
{
    double rss = util_rss_bytes();
    double begin = bench_cpu_ns();
    struct tpc_core *core = open_core();
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    shared->start_ns = bench_cpu_ns() - begin;
    measure_memory(1, 0, rss);
    shared->lookup_ns = look_up(core);
    check_values(core);
    bench_must(tpc_core_destroy(core) == 0, "destroy");
}

static void in_child(void (*fn)(void))
{
    int status = -1;
    pid_t pid = fork();
    bench_must(pid >= 0, "fork");
    if (pid == 0) {
        fn();
        _exit(0);
    }
    bench_must(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0,
               "a child");
}

int main(void)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench_must(shared != MAP_FAILED, "memory");
    devices = (uint32_t) util_number("BENCH_DEVICES", 1000000);
    util_folder(NULL, dir);
    in_child(run_empty);
    util_remove(dir);
    util_folder(NULL, dir);
    in_child(make_devices);
    in_child(run_full);
    util_remove(dir);
    double heap = (shared->heap[1] - shared->heap[0]) / devices;
    double rss = (shared->rss[1] - shared->rss[0]) / devices;
    bench_line("registry", heap, "B/device", "reach 400 B", heap / 400);
    bench_line("registry_rss", rss, "B/device", "reach 400 B", rss / 400);
    bench_line("registry_lookup", shared->lookup_ns, "ns", "reach 150 ns", shared->lookup_ns / 150);
    bench_line("registry_register", shared->register_ns, "ns CPU/device", "-", 0);
    bench_line("registry_start", shared->start_ns / 1e9, "s CPU", "-", 0);
    return 0;
}
