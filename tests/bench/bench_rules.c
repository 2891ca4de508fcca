/*
 * Data rules inside the path of a message, feed to history's door, one worker in steps over a log in
 * memory; CPU time. rule_match: what one of 100 rules that take the message into a window adds;
 * rule_index: 10,000 rules that name another property, against none; rule_window: what a tumbling
 * mean adds with 10,000 devices, and its memory; expr_other: what one of 100 scenes adds whose
 * condition looks at another device, against one that looks twice at its own; rule_memory
 * and scene_memory: what a rule or a scene adds to what is allocated, its document in the store in memory
 * counted; the audit trail, which has a limit, is kept short.
 */
#include "bench.h"

#include "rules/window.h"

#include <string.h>
#include <tpcore/tpcore.h>

enum { MESSAGES = 100000, ROUNDS = 5, FEW = 64, MANY = 10000, BATCH = 256 };

static uint64_t live;

static void *count_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    (void) user;
    live += new_size - old_size; /* wraps around where it shrinks */
    if (new_size == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, new_size);
}

static const struct tpc_allocator counting = { count_resize, NULL };

struct platform {
    struct tpc_core *core;
    struct tpc_device *devices[MANY];
    uint32_t device_count;
};

static void put(struct platform *b, const char *kind, const char *json)
{
    bench_must(tpc_entity_put(b->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
}

static void open_core(struct platform *b, uint32_t devices)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    char text[300];
    o.workers = 0;
    o.allocator = &counting;
    o.audit_max_rows = 8;
    bench_must(tpc_core_create(&o, &b->core) == 0 &&
                   tpc_core_open(b->core, "log", "memory", TPC_STR("{\"max_bytes\":\"64MiB\"}")) ==
                       0,
               "core");
    put(b, "product",
        "{\"key\":\"meter\",\"codec\":\"json\",\"model\":{\"properties\":["
        "{\"id\":\"temperature\",\"type\":\"double\"},"
        "{\"id\":\"other\",\"type\":\"double\"}]}}");
    b->device_count = devices;
    for (uint32_t i = 0; i < devices; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"d%u\",\"product\":\"meter\"}", i);
        put(b, "device", text);
        snprintf(text, sizeof(text), "d%u", i);
        bench_must(tpc_device_open(b->core, tpc_str_from(text), &b->devices[i]) == 0, "device");
    }
    bench_must(tpc_core_start(b->core) == 0, tpc_error_last()->text);
}

static void close_core(struct platform *b)
{
    for (uint32_t i = 0; i < b->device_count; i++) {
        tpc_device_unref(b->devices[i]);
    }
    (void) tpc_core_stop(b->core, 1000);
    (void) tpc_core_destroy(b->core);
}

static void put_rules(struct platform *b, uint32_t count, const char *sql)
{
    char text[400];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"r%u\",\"sql\":\"%s\",\"to\":{\"event\":\"e\"}}", i,
                 sql);
        put(b, "rule", text);
    }
}

static void put_scenes(struct platform *b, uint32_t count, const char *expr)
{
    char text[400];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof(text),
                 "{\"key\":\"s%u\",\"when\":{\"product\":\"meter\",\"expr\":\"%s\"},"
                 "\"then\":[{\"notify\":{\"handler\":\"ops\"}}]}",
                 i, expr);
        put(b, "scene", text);
    }
}

static void step(struct platform *b)
{
    bench_must(tpc_core_step(b->core, 0, NULL) == 0, "step");
}

/* Nanoseconds of a message. */
static void feed_all(void *user, uint32_t times)
{
    struct platform *b = user;
    char text[64];
    for (uint32_t i = 0; i < times; i++) {
        int n = snprintf(text, sizeof(text), "{\"temperature\":%u.5}", i % 100);
        struct tpc_bytes raw = { (const uint8_t *) text, (size_t) n };
        while (tpc_feed(b->devices[i % b->device_count], raw, NULL, NULL) == TPC_EAGAIN) {
            step(b);
        }
        if (i % BATCH == 0) {
            step(b);
        }
    }
    step(b);
}

typedef void put_fn(struct platform *b, uint32_t count, const char *text);

/* A platform with rules or scenes against one without, turn by turn. */
static struct bench_pair compare(uint32_t devices, put_fn *put_them, uint32_t rules,
                                 const char *text)
{
    static struct platform with, without;
    struct bench_pair best = { 1e18, 1e18 };
    open_core(&with, devices);
    open_core(&without, devices);
    put_them(&with, rules, text);
    for (int i = 0; i < ROUNDS; i++) {
        double theirs = bench_round(feed_all, &without, MESSAGES);
        double ours = bench_round(feed_all, &with, MESSAGES);
        best.theirs = theirs < best.theirs ? theirs : best.theirs;
        best.ours = ours < best.ours ? ours : best.ours;
    }
    close_core(&with);
    close_core(&without);
    return best;
}

/* A pane with its place in the table, as one window of one rule has it. */
static double pane_bytes(void)
{
    struct tpi_flow f;
    bool fresh;
    uint64_t before = live;
    const uint8_t functions[] = { TPI_SQL_AVG };
    tpi_flow_init(&f, &counting, functions, 1);
    struct tpi_open *o = tpi_flow_open(&f, 0, 1000, &fresh);
    for (uint64_t i = 1; o != NULL && i <= MANY; i++) {
        bench_must(tpi_flow_pane(&f, o, i, &fresh) != NULL, "pane");
    }
    double bytes = (double) (live - before) / MANY;
    tpi_flow_fini(&f);
    return bytes;
}

static double rule_bytes(const char *kind, const char *json)
{
    static struct platform platform;
    struct platform *b = &platform;
    char text[400];
    open_core(b, 1);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), json, i + 1000);
        put(b, kind, text);
        step(b);
    }
    uint64_t before = live;
    for (int i = 1; i <= 1000; i++) {
        snprintf(text, sizeof(text), json, i);
        put(b, kind, text);
        step(b); /* those who follow changes have been told */
    }
    double bytes = (double) (live - before) / 1000;
    close_core(b);
    return bytes;
}

/* Devices by name are looked for in a table of MANY. */
static void bench_other(void)
{
    struct bench_pair other =
        compare(MANY, put_scenes, 100, "temperature > -1 && device('d77').temperature > 1000");
    struct bench_pair own =
        compare(MANY, put_scenes, 100, "temperature > -1 && temperature > 1000");
    double ns = (other.ours - other.theirs) / 100;
    bench_line("expr_other", ns, "ns/scene", "own property", ns / ((own.ours - own.theirs) / 100));
}

int main(void)
{
    struct bench_pair match =
        compare(FEW, put_rules, 100,
                "SELECT avg(temperature) AS mean FROM meter WHERE temperature > -1 "
                "GROUP BY device, COUNTWINDOW(1000000)");
    double ns = (match.ours - match.theirs) / 100;
    bench_line("rule_match", ns, "ns/rule", "80 ns", 80 / ns);
    struct bench_pair index =
        compare(FEW, put_rules, MANY, "SELECT other FROM meter WHERE other > 3");
    bench_line("rule_index", index.ours, "ns/message", "no rules", index.ours / index.theirs);
    struct bench_pair window =
        compare(MANY, put_rules, 1,
                "SELECT avg(temperature) AS mean FROM meter GROUP BY device, "
                "TUMBLINGWINDOW(dd, 1)");
    ns = window.ours - window.theirs;
    bench_line("rule_window", ns, "ns/message", "150 ns", 150 / ns);
    bench_other();
    double bytes = pane_bytes();
    bench_line("rule_window_memory", bytes, "B/device", "200 B", 200 / bytes);
    double rule =
        rule_bytes("rule", "{\"key\":\"m%d\",\"sql\":\"SELECT temperature FROM meter WHERE "
                           "temperature > 30 and other < 40\",\"then\":[{\"notify\":"
                           "{\"handler\":\"ops\"}}]}");
    bench_line("rule_memory", rule, "B/rule", "2 KiB", 2048 / rule);
    double scene = rule_bytes("scene", "{\"key\":\"m%d\",\"when\":{\"product\":\"meter\",\"expr\":"
                                       "\"temperature > 30 and other < 40\"},\"then\":[{\"notify\":"
                                       "{\"handler\":\"ops\"}}]}");
    bench_line("scene_memory", scene, "B/scene", "2 KiB", 2048 / scene);
    return 0;
}
