/*
 * nested: a ThingsPanel gateway's message of 20 sub-devices with 5 values each, through a whole core
 * with its log in memory, in CPU time of a value; against the same values in flat messages, one of each
 * device. At most 2 times their cost.
 */
#include "bench.h"
#include "bench_util.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/ext/host.h>
#include <tpcore/tpcore.h>

enum { SUBS = 20, VALUES = 5, MESSAGES = 2000, ROUNDS = 5, TEXT_BYTES = 4096 };

static struct tpc_core *core;
static struct tpc_device *gateway;
static struct tpc_device *subs[SUBS];

static void put(const char *kind, const char *json)
{
    bench_must(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_NO_REV, NULL) == 0,
               tpc_error_last()->text);
}

static struct tpc_device *open_device(const char *key)
{
    struct tpc_device *d;
    bench_must(tpc_device_open(core, tpc_str_from(key), &d) == 0, "a device");
    return d;
}

static void set_up(void)
{
    struct tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    char json[160], key[16];
    options.workers = 0;
    bench_must(tpc_core_create(&options, &core) == 0, "create");
    put("product",
        "{\"key\":\"p\",\"codec\":\"thingspanel\",\"model\":{\"properties\":["
        "{\"id\":\"voltage\",\"type\":\"double\"},{\"id\":\"current\",\"type\":\"double\"},"
        "{\"id\":\"power\",\"type\":\"double\"},{\"id\":\"count\",\"type\":\"int\"},"
        "{\"id\":\"on\",\"type\":\"bool\"}]}}");
    put("device", "{\"key\":\"gw\",\"product\":\"p\"}");
    gateway = open_device("gw");
    for (int i = 0; i < SUBS; i++) {
        snprintf(json, sizeof(json),
                 "{\"key\":\"meter-%d\",\"product\":\"p\",\"gateway\":\"gw\",\"address\":\"%d\"}",
                 i, i);
        put("device", json);
        snprintf(key, sizeof(key), "meter-%d", i);
        subs[i] = open_device(key);
    }
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
}

static size_t write_values(char *out, uint32_t seed)
{
    return (size_t) snprintf(out, 200,
                             "{\"voltage\":%u.%u,\"current\":%u.25,\"power\":%u.5,\"count\":%u,"
                             "\"on\":%s}",
                             (unsigned) (220 + seed % 9), (unsigned) (seed % 10),
                             (unsigned) (seed % 16), (unsigned) (seed % 3500), (unsigned) seed,
                             seed % 2 == 0 ? "true" : "false");
}

static void feed(struct tpc_device *d, const char *topic, const char *text, size_t len)
{
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.kind = TPC_MSG_TELEMETRY;
    frame.topic = tpc_str_from(topic);
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, len };
    while (tpc_feed_frame(d, &frame, NULL, NULL) == TPC_EAGAIN) {
        (void) tpc_core_step(core, 0, NULL);
    }
}

/* One round: the texts are made before the clock runs. */
static double cost_ns(bool nested, uint32_t round)
{
    static char texts[64][TEXT_BYTES];
    static size_t at[64][SUBS + 1];
    double spent = 0;
    for (uint32_t done = 0; done < MESSAGES; done += 64) {
        for (uint32_t m = 0; m < 64; m++) {
            size_t n =
                nested ? (size_t) snprintf(texts[m], TEXT_BYTES, "{\"sub_device_data\":{") : 0;
            for (uint32_t i = 0; i < SUBS; i++) {
                if (nested) {
                    n += (size_t) snprintf(texts[m] + n, TEXT_BYTES - n,
                                           "%s\"%u\":", i > 0 ? "," : "", (unsigned) i);
                }
                at[m][i] = n;
                n += write_values(texts[m] + n, (round * MESSAGES + done + m) * SUBS + i);
            }
            at[m][SUBS] = n;
            if (nested) {
                memcpy(texts[m] + n, "}}", 2);
                at[m][SUBS] = n + 2;
            }
        }
        double from = bench_cpu_ns();
        for (uint32_t m = 0; m < 64; m++) {
            if (nested) {
                feed(gateway, "gateway/telemetry", texts[m], at[m][SUBS]);
            }
            for (uint32_t i = 0; i < SUBS && !nested; i++) {
                feed(subs[i], "devices/telemetry", texts[m] + at[m][i], at[m][i + 1] - at[m][i]);
            }
            (void) tpc_core_step(core, 0, NULL);
        }
        spent += bench_cpu_ns() - from;
    }
    return spent / ((MESSAGES + 63) / 64 * 64.0 * SUBS * VALUES);
}

static int on_metric(void *user, const struct tpc_metric *m)
{
    double *sum = user;
    sum[0] += strcmp(m->name, "tpc_uplink_points_total") == 0 ? m->value : 0;
    return 0;
}

int main(void)
{
    double best[2] = { 1e18, 1e18 };
    double points = 0;
    set_up();
    for (uint32_t r = 0; r < 2 * ROUNDS; r++) {
        double ns = cost_ns(r % 2 == 0, r);
        best[r % 2] = ns < best[r % 2] ? ns : best[r % 2];
    }
    bench_must(tpc_core_stats(core, on_metric, &points) == 0, "stats");
    bench_must(points == (MESSAGES + 63) / 64 * 64.0 * SUBS * VALUES * 2 * ROUNDS,
               "every value is taken");
    for (int i = 0; i < SUBS; i++) {
        tpc_device_unref(subs[i]);
    }
    tpc_device_unref(gateway);
    bench_must(tpc_core_destroy(core) == 0, "destroy");
    bench_line("nested", best[0], "ns/value", "flat messages", best[0] / best[1]);
    return 0;
}
