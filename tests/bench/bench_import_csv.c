/*
 * Import of 100,000 devices from a CSV file into a SQLite store, each with a name, two labels, a
 * place, a secret and a config; then what a selector over all of them costs. BENCH_DEVICES makes it
 * shorter.
 */
#include "bench.h"
#include "bench_util.h"

#include <string.h>
#include <tpcore/import.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>

enum { REACH_MS = 10000, PAGES = 200 };

static char dir[UTIL_PATH_BYTES];
static char csv_path[UTIL_PATH_BYTES + 16];
static uint32_t devices;
static size_t live_bytes;
static size_t most_bytes;

static void *count_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    const struct tpc_allocator *inner = tpc_allocator_default();
    (void) user;
    void *p = inner->resize(inner->user, ptr, old_size, new_size);
    if (p != NULL || new_size == 0) {
        size_t had = ptr != NULL ? old_size : 0;
        size_t now = __atomic_add_fetch(&live_bytes, new_size - had, __ATOMIC_RELAXED);
        most_bytes = now > most_bytes ? now : most_bytes;
    }
    return p;
}

static struct tpc_core *open_core(void)
{
    static const struct tpc_allocator counting = { count_resize, NULL };
    struct tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    char text[UTIL_PATH_BYTES + 64];
    options.allocator = &counting;
    bench_must(tpc_core_create(&options, &core) == 0, "create");
    bench_must(tpc_core_add_module(core, tpc_module_sqlite()) == 0, "module");
    snprintf(text, sizeof(text), "{\"dir\":\"%s\"}", dir);
    bench_must(tpc_core_open(core, "store", "sqlite", tpc_str_from(text)) == 0,
               tpc_error_last()->text);
    return core;
}

static void write_csv(void)
{
    snprintf(csv_path, sizeof(csv_path), "%s/devices.csv", dir);
    FILE *f = fopen(csv_path, "w");
    bench_must(f != NULL, "the file");
    fputs("key,product,name,labels.site,labels.floor,lat,lon,secret,config\n", f);
    for (uint32_t i = 0; i < devices; i++) {
        fprintf(f,
                "device-%07u,meter,\"Meter, %u\",site-%u,%u,%u.5,%u.25,%08x%08x%08x%08x,"
                "\"{\"\"interval\"\":%u}\"\n",
                (unsigned) i, (unsigned) i, (unsigned) (i % 100), (unsigned) (i % 7),
                (unsigned) (i % 80), (unsigned) (i % 170), i, i * 3u, i * 5u, i * 7u,
                (unsigned) (i % 60));
    }
    bench_must(fclose(f) == 0, "the file");
}

static int count_one(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    (void) info;
    (void) key;
    (void) json;
    ++*(uint32_t *) user;
    return 0;
}

static double select_ns(struct tpc_core *core, const char *select, uint32_t limit,
                        uint32_t *ret_rows)
{
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    q.kind = TPC_STR("device");
    q.select = tpc_str_from(select);
    q.limit = limit;
    double begin = bench_cpu_ns();
    for (uint32_t i = 0; i < PAGES; i++) {
        *ret_rows = 0;
        bench_must(tpc_entity_list(core, &q, count_one, ret_rows) == 0, tpc_error_last()->text);
    }
    return (bench_cpu_ns() - begin) / PAGES;
}

int main(void)
{
    struct tpc_import_result result;
    uint32_t rows = 0;
    devices = (uint32_t) util_number("BENCH_DEVICES", 100000);
    util_folder(NULL, dir);
    write_csv();
    struct tpc_core *core = open_core();
    bench_must(tpc_entity_put(core, NULL, "product",
                              TPC_STR("{\"key\":\"meter\",\"model\":{\"properties\":[]}}"),
                              TPC_NO_REV, NULL) == 0,
               tpc_error_last()->text);
    double before = (double) live_bytes;
    double wall = util_wall_ns();
    double cpu = bench_cpu_ns();
    bench_must(tpc_import_csv(core, NULL, csv_path, NULL, &result) == 0, tpc_error_last()->text);
    cpu = bench_cpu_ns() - cpu;
    wall = util_wall_ns() - wall;
    bench_must(result.created == devices && result.failed == 0, "rows");
    double heap = ((double) most_bytes - before) / devices;
    double reach_ns = (double) REACH_MS * 1e6 / 100000 * devices;
    bench_line("import_csv", wall / 1e9, "s wall", "reach 10 s for 100,000", wall / reach_ns);
    bench_line("import_csv_device", cpu / devices / 1e3, "us CPU/device", "-", 0);
    bench_line("import_csv_heap", heap, "B/device at most, the device itself included", "-", 0);
    double page = select_ns(core, "site=site-42, floor!=3", 100, &rows);
    bench_must(rows == 100 || devices < 100000, "a page");
    bench_line("select_page", page / 1e3, "us CPU/page of 100", "reach 1,000 us", page / 1e6);
    page = select_ns(core, "floor=3, site=site-42, has room", 100, &rows);
    bench_must(rows == 0, "nothing");
    bench_line("select_none", page / 1e3, "us CPU", "reach 1,000 us", page / 1e6);
    tpc_core_destroy(core);
    util_remove(dir);
    return 0;
}
