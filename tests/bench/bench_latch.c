/*
 * latch: how long a scene's command takes from the report to send() while every write of the log
 * hangs, against the same with a disk that works. Times on the wall: what people wait for.
 */
#include "bench.h"
#include "bench_util.h"

#include <string.h>
#include <tpcore/tpcore.h>

#include "probe.h"
#include "tk_files.h"

enum { COMMANDS = 1000, WARM = 50 };

static const char product[] =
    TPC_JSON({
    "key": "thermo", "codec": "json",
    "model": { "properties": [ { "id": "temperature", "type": "double" },
                               { "id": "on", "type": "bool", "access": "rw" } ] } });
static const char scene[] = TPC_JSON({
    "key": "hot",
    "when": { "product": "thermo", "devices": [ "t1" ], "expr": "temperature > 30", "fire": "each" },
    "then": [ { "command": { "device": "fan1", "service": "set", "params": { "on": true } } } ] });

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static void put(struct tpc_core *core, const char *kind, const char *json)
{
    bench_must(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL) == 0, json);
}

static void fire(uint64_t *ret_ns)
{
    static int value = 31;
    char text[60];
    int n = snprintf(text, sizeof(text), "{\"temperature\":%d}", value++);
    struct tpc_frame frame = { .size = sizeof(frame) };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) n };
    size_t before = probe_sent_count();
    uint64_t begin = now_ns();
    bench_must(probe_receive("t1", &frame, (uint64_t) value) == 0, "receive");
    bench_must(probe_wait_sent(before + 1), "a command within 20 s");
    *ret_ns = probe_sent(before).ns - begin;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a;
    uint64_t y = *(const uint64_t *) b;
    return x < y ? -1 : x > y;
}

static double p99_us(void)
{
    static uint64_t ns[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        fire(&ns[i]);
    }
    qsort(ns, COMMANDS, sizeof(ns[0]), compare);
    return (double) ns[COMMANDS * 99 / 100] / 1000;
}

int main(void)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    struct tk_files files;
    char dir[UTIL_PATH_BYTES];
    char options[300];
    uint64_t ns;
    util_folder(NULL, dir);
    tk_files_init(&files);
    o.workers = 2;
    o.files = &files.base;
    snprintf(options, sizeof(options), "{\"dir\":\"%s\",\"reserve\":0}", dir);
    bench_must(tpc_core_create(&o, &core) == 0, "create");
    bench_must(tpc_core_add_module(core, tpc_module_probe()) == 0, "probe");
    bench_must(tpc_core_open(core, "log", "file", tpc_str_from(options)) == 0, "log");
    bench_must(tpc_core_open(core, "probe", "probe", TPC_STR("{\"devices\":\"t1,fan1\"}")) == 0,
               "devices");
    put(core, "product", product);
    put(core, "device", "{\"key\":\"t1\",\"product\":\"thermo\"}");
    put(core, "device", "{\"key\":\"fan1\",\"product\":\"thermo\"}");
    put(core, "scene", scene);
    bench_must(tpc_core_start(core) == 0, "start");
    probe_mode(PROBE_REPLY);
    for (int i = 0; i < WARM; i++) {
        fire(&ns);
    }
    double open_us = p99_us();
    tk_files_latch(&files, TK_FILE_WRITE);
    double latched_us = p99_us();
    tk_files_unlatch(&files, TK_FILE_WRITE);
    bench_line("latch_command_p99", latched_us, "us", "a disk that works", open_us / latched_us);
    bench_must(tpc_core_destroy(core) == 0, "destroy");
    tk_files_fini(&files);
    util_remove(dir);
    return 0;
}
