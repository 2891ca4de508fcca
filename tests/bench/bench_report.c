/*
 * report: what a report strategy costs and saves, through a whole core with its log in memory, in CPU
 * time of a value: all values held, all values changed; against the same messages without one.
 */
#include "bench.h"
#include "bench_util.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/tpcore.h>

enum { DEVICES = 200, VALUES = 100, SENDS = 100, ROUNDS = 5, TEXT_BYTES = 4096, TURN = 50 };

static struct tpc_core *core;
static struct tpc_device *devices[DEVICES];

static void put(const char *kind, const char *json)
{
    bench_must(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_NO_REV, NULL) == 0,
               tpc_error_last()->text);
}

static void set_up(const char *report)
{
    struct tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    char json[VALUES * 48 + 100], key[16];
    options.report = tpc_str_from(report);
    bench_must(tpc_core_create(&options, &core) == 0, tpc_error_last()->text);
    int n = snprintf(json, sizeof(json), "{\"key\":\"p\",\"model\":{\"properties\":[");
    for (int i = 0; i < VALUES; i++) {
        n += snprintf(json + n, sizeof(json) - (size_t) n,
                      "%s{\"id\":\"tag%d\",\"type\":\"double\"}", i > 0 ? "," : "", i);
    }
    snprintf(json + n, sizeof(json) - (size_t) n, "]}}");
    put("product", json);
    for (int i = 0; i < DEVICES; i++) {
        snprintf(json, sizeof(json), "{\"key\":\"d%d\",\"product\":\"p\"}", i);
        put("device", json);
        snprintf(key, sizeof(key), "d%d", i);
        bench_must(tpc_device_open(core, tpc_str_from(key), &devices[i]) == 0, "a device");
    }
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
}

static void tear_down(void)
{
    for (int i = 0; i < DEVICES; i++) {
        tpc_device_unref(devices[i]);
    }
    bench_must(tpc_core_destroy(core) == 0, "destroy");
}

/* Two texts that differ in all values. */
static double cost_ns(const char *report, bool changes)
{
    static char texts[2][TEXT_BYTES];
    size_t len[2];
    double best = 0;
    for (int t = 0; t < 2; t++) {
        size_t n = (size_t) snprintf(texts[t], TEXT_BYTES, "{");
        for (int i = 0; i < VALUES; i++) {
            n += (size_t) snprintf(texts[t] + n, TEXT_BYTES - n, "%s\"tag%d\":%d.%d",
                                   i > 0 ? "," : "", i, 20 + i, t + 1);
        }
        len[t] = n + (size_t) snprintf(texts[t] + n, TEXT_BYTES - n, "}");
    }
    set_up(report);
    for (int round = -1; round < ROUNDS; round++) {
        double from = bench_cpu_ns();
        for (int s = 0; s < SENDS; s++) {
            int t = changes ? s % 2 : 0;
            for (int i = 0; i < DEVICES; i++) {
                struct tpc_bytes b = { (const uint8_t *) texts[t], len[t] };
                while (tpc_feed(devices[i], b, NULL, NULL) == TPC_EAGAIN) {
                    (void) tpc_core_step(core, 0, NULL);
                }
                if (i % TURN == TURN - 1) {
                    (void) tpc_core_step(core, 0, NULL);
                }
            }
        }
        (void) tpc_core_step(core, 0, NULL);
        double spent = (bench_cpu_ns() - from) / ((double) SENDS * DEVICES * VALUES);
        best = round == 0 || (round > 0 && spent < best) ? spent : best;
    }
    tear_down();
    return best;
}

int main(void)
{
    static const char change[] = "{\"mode\":\"change\"}";
    util_pin(1);
    double all = cost_ns("", true);
    double held = cost_ns(change, false);
    double changed = cost_ns(change, true);
    bench_line("report_held", held, "ns/point", "without a strategy", held / all);
    bench_line("report_changed", changed, "ns/point", "without a strategy", changed / all);
    return 0;
}
