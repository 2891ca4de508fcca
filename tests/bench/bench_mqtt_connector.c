/*
 * mqtt_connector: a JSON message of ten values by a mapping to a frame for its device, against parsing the
 * same message alone.
 */
#include "bench.h"

#include "convert.h"

#include <string.h>
#include <tpcore/json.h>

enum { TIMES = 20000, ROUNDS = 7, VALUES = 10 };

static const char message[] = "{\"serialNumber\":\"SN-0042\",\"ts\":1763744400123,\"env\":{"
                              "\"temperature\":21.5,\"humidity\":58,"
                              "\"pressure\":1013.25},\"power\":{\"voltage\":[230.1,229.8,231.0],"
                              "\"current\":4.25},\"relay\":true,"
                              "\"mode\":\"auto\",\"count\":123456,\"quality\":\"0.99\"}";

struct run {
    struct tpc_arena *setup, *arena;
    struct cn_mapping mapping;
    struct cn_entry entries[VALUES];
    uint64_t frames;
};

static int on_frame(void *user, const struct cn_frame *f)
{
    struct run *r = user;
    r->frames += f->payload.len > 0;
    return 0;
}

static int on_refused(void *user, struct tpc_str device, struct tpc_bytes payload, int code,
                      const char *why)
{
    (void) user;
    (void) device;
    (void) payload;
    (void) code;
    (void) why;
    return TPC_EDECODE;
}

static void on_count(void *user, const char *metric, uint64_t n)
{
    (void) user;
    (void) metric;
    (void) n;
}

static void make(struct run *r)
{
    static const struct {
        const char *key, *value, *type;
    } values[VALUES] = {
        { "temperature", "${env.temperature}", "double" },
        { "humidity", "${env.humidity}", "double" },
        { "pressure", "${env.pressure}", "double" },
        { "u1", "${power.voltage[0]}", "double" },
        { "u2", "${power.voltage[1]}", "double" },
        { "u3", "${power.voltage[2]}", "double" },
        { "current", "${power.current}", "double" },
        { "relay", "${relay}", "boolean" },
        { "count", "${count}", "integer" },
        { "quality", "${quality}", "double" },
    };
    bench_must(tpc_arena_create(NULL, 0, &r->setup) == 0, "setup");
    bench_must(tpc_arena_create(NULL, 0, &r->arena) == 0, "setup");
    bench_must(expr_compile(r->setup, TPC_STR("(?<=sensor/)(.*?)(?=/data)"), EXPR_TOPIC, NULL,
                            &r->mapping.from.device) == 0,
               "setup");
    bench_must(
        expr_compile(r->setup, TPC_STR("meter"), EXPR_CONSTANT, NULL, &r->mapping.from.type) == 0,
        "setup");
    for (int i = 0; i < VALUES; i++) {
        struct cn_entry *e = &r->entries[i];
        bench_must(expr_compile(r->setup, tpc_str_from(values[i].key), EXPR_JSON, NULL, &e->key) ==
                       0,
                   "setup");
        bench_must(
            expr_compile(r->setup, tpc_str_from(values[i].value), EXPR_JSON, NULL, &e->value) == 0,
            "setup");
        e->type = cast_of(tpc_str_from(values[i].type));
    }
    r->mapping.timeseries = (struct cn_entries){ r->entries, VALUES };
}

static void convert(void *user, uint32_t times)
{
    struct run *r = user;
    const struct cn_out out = { r, on_frame, on_refused, on_count };
    struct tpc_bytes payload = { (const uint8_t *) message, sizeof(message) - 1 };
    for (uint32_t i = 0; i < times; i++) {
        bench_must(cn_convert(&r->mapping, true, TPC_STR("sensor/box-0042/data"), payload, r->arena,
                              &out) == 0,
                   "conversion");
        tpc_arena_reset(r->arena);
    }
}

static void parse(void *user, uint32_t times)
{
    struct run *r = user;
    struct tpc_value v;
    for (uint32_t i = 0; i < times; i++) {
        bench_must(tpc_json_parse(r->arena, tpc_str_from(message), 0, NULL, &v) == 0, "parsing");
        tpc_arena_reset(r->arena);
    }
}

int main(void)
{
    static struct run r;
    make(&r);
    convert(&r, 1000);
    bench_must(r.frames == 1000, "a frame for each message");
    struct bench_pair best = bench_compare(convert, parse, &r, TIMES, ROUNDS);
    bench_line("mqtt_connector", best.ours, "ns/message", "parsing its JSON",
               best.ours / best.theirs);
    tpc_arena_destroy(r.arena);
    tpc_arena_destroy(r.setup);
    return 0;
}
