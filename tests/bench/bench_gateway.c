/*
 * tp-gateway as a process between simulated Modbus slaves and the ThingsBoard stand-in, with its
 * log in files: CPU (user and system) of its process for a data point, memory, latency, how fast it
 * drains after an outage, and its memory in one.
 * The other side of range, tags and loss is the Python gateway itself, in the same run, on the same
 * simulator and stand-in, if TB_GATEWAY_PYTHON names a Python that has it (bench_peer.h): "same
 * run". Else, and for the other parts, the figures of its 3.8.3 that were measured before, on
 * another machine, are taken: "published figure".
 * - range: theirs reads 16 registers at once, all that the package does. The published figure is of
 *   a state of its sources that read 120.
 * - tags: with it, both read 30 slaves instead of 100: that much it carries, reading tag by tag.
 * - "did not keep up": it delivered less than nine tenths of the load, as on a machine that does
 *   other work. Such a ratio is too good for ours: measure again.
 * - Its storage is memory there, which costs it least; ours is on files.
 * Arguments: the parts to run (range tags max latency drain outage loss); none = all but loss, which
 * takes three minutes. BENCH_GATEWAY_SECONDS: length of a measurement, BENCH_GATEWAY_OUTAGE: of the
 * outage.
 */
#include "../gateway/rig.h"
#include "bench.h"
#include "bench_peer.h"
#include "bench_util.h"

#include <inttypes.h>
#include <string.h>
#include <tk.h>

/* Percent of a core for 1,000 data points a second: 26 % for 10,000 with range reads, 33 % for 3,000
 * tag by tag; and its resident memory with 10,000. */
#define THEIRS_RANGE 2.6
#define THEIRS_TAGS 11.0
#define THEIRS_RSS_MB 60.0
#define THEIRS_MAX 21250.0 /* data points a second of a saturated core */
#define THEIRS_P95_MS 191.0
#define PUBLISHED "thingsboard-gateway 3.8.3, published figure"

#define THEIRS_LOSS 23.0 /* seconds, with sqlite */

enum { SETTLE_MS = 60000, HOUR_POINTS = 3600000, PEER_START_MS = 90000, PEER_WARM_MS = 8000 };
enum { PEER_TAGS_SLAVES = 30 };

struct result {
    double points_s; /* delivered in the window, a second */
    double cpu;      /* cores */
    double rss_mb;
    bool fell_short; /* of the load: idle time is spread over too few points, no ratio is fair */
    struct samples_total total;
};

static const struct rig_setup usual = { .slaves = 100,
                                        .tags = 100,
                                        .poll_ms = 1000,
                                        .model = true,
                                        .workers = 1,
                                        .sink_more = ", retry_min: 100ms",
                                        .target_more =
                                            ", batch: {count: 64, bytes: 256KiB, wait: 20ms}" };

static uint32_t seconds(void)
{
    return (uint32_t) util_number("BENCH_GATEWAY_SECONDS", 8);
}

/* A running gateway, warmed up, measured for some seconds, drained and checked for loss. */
static void measure(const struct rig_setup *setup, struct result *ret)
{
    struct rig r;
    struct rig_use before, after;
    struct samples_total a, b;
    rig_init(&r, setup);
    rig_start(&r);
    bench_must(tb_stub_wait_samples(r.stub, setup->slaves, 20000), "first samples");
    rig_run(&r, 3000);
    rig_use(&r, &before);
    tb_stub_total(r.stub, &a);
    tb_stub_forget_latency(r.stub);
    double begin = util_wall_ns();
    rig_run(&r, seconds() * 1000);
    rig_use(&r, &after);
    tb_stub_total(r.stub, &b);
    double wall = (util_wall_ns() - begin) / 1e9;
    ret->points_s = (double) (b.points - a.points) / wall;
    ret->cpu = (after.cpu_s - before.cpu_s) / wall;
    ret->rss_mb = (double) after.rss_kb / 1024;
    rig_slaves(&r, "fault all silent", NULL, 0);
    rig_run(&r, 100);
    uint64_t read = rig_read(&r);
    bool came = tb_stub_wait_samples(r.stub, read, SETTLE_MS);
    tb_stub_total(r.stub, &ret->total);
    ret->total.p50_ms = b.p50_ms;
    ret->total.p95_ms = b.p95_ms;
    ret->total.lost = read - ret->total.distinct;
    fprintf(stderr,
            "# %" PRIu32 " slaves x %" PRIu32 " tags at %" PRIu32 " ms: %.0f points/s delivered, "
            "%.1f %% of a core, %.1f MB (at most %.1f), p50 %" PRIu32 " ms, p95 %" PRIu32
            " ms, read %" PRIu64 ", lost %" PRIu64 ", doubled %" PRIu64 "\n",
            setup->slaves, setup->tags, setup->poll_ms, ret->points_s, ret->cpu * 100, ret->rss_mb,
            (double) after.most_kb / 1024, b.p50_ms, b.p95_ms, read, ret->total.lost,
            ret->total.doubled);
    if (!came) {
        rig_show_log(&r);
    }
    rig_stop(&r);
    rig_fini(&r);
}

/* The same for the Python gateway. What it loses is loss()'s matter. */
static void measure_peer(const struct rig_setup *setup, bool range, struct result *ret)
{
    struct rig r;
    struct rig_use before, after;
    struct samples_total a, b;
    struct peer_setup peer = { .range = range, .storage = "memory" };
    uint64_t points = (uint64_t) setup->slaves * setup->tags;
    rig_init(&r, setup);
    peer_start(&r, &peer);
    if (!tb_stub_wait_points(r.stub, points, PEER_START_MS)) {
        peer_show_log(&r);
        bench_must(false, "the peer's first samples");
    }
    rig_run(&r, PEER_WARM_MS);
    rig_use(&r, &before);
    tb_stub_total(r.stub, &a);
    tb_stub_forget_latency(r.stub);
    double begin = util_wall_ns();
    rig_run(&r, seconds() * 1000);
    rig_use(&r, &after);
    tb_stub_total(r.stub, &b);
    double wall = (util_wall_ns() - begin) / 1e9;
    ret->points_s = (double) (b.points - a.points) / wall;
    ret->cpu = (after.cpu_s - before.cpu_s) / wall;
    ret->rss_mb = (double) after.rss_kb / 1024;
    ret->total = b;
    fprintf(stderr,
            "# thingsboard-gateway %s, %" PRIu32 " slaves x %" PRIu32 " tags at %" PRIu32
            " ms, %s: %.0f points/s delivered, %.1f %% of a core, %.1f MB (at most %.1f), p50 "
            "%" PRIu32 " ms, p95 %" PRIu32 " ms\n",
            peer_version(), setup->slaves, setup->tags, setup->poll_ms,
            range ? "ranges of 16" : "tag by tag", ret->points_s, ret->cpu * 100, ret->rss_mb,
            (double) after.most_kb / 1024, b.p50_ms, b.p95_ms);
    double wanted = (double) points / (setup->poll_ms / 1000.0);
    double slack = 1.5 * setup->poll_ms / 1000.0 / wall; /* a poll more or less, and seq */
    ret->fell_short = ret->points_s < 0.9 * wanted;
    /* Else it does other work than ours. */
    bench_must(ret->points_s < (1 + slack) * wanted, "the peer's configured tags, once a poll");
    rig_stop(&r);
    char fault[128];
    rig_run(&r, 500); /* what it had sent before */
    bool whole = peer_is_whole(&r, range, fault, sizeof(fault));
    bench_must(whole, whole ? "" : fault);
    rig_fini(&r);
}

static const char *same_run(bool fell_short)
{
    static char text[96];
    snprintf(text, sizeof(text), "thingsboard-gateway %s (same run%s)", peer_version(),
             fell_short ? ", did not keep up" : "");
    return text;
}

static double percent_of_1000(const struct result *x)
{
    return x->cpu * 100 / (x->points_s / 1000);
}

/* A row against what the peer took for its points in this run, or else the published figure. */
static void cost_line(const char *name, const struct result *x, const struct result *theirs,
                      double published)
{
    double ours = percent_of_1000(x);
    if (theirs == NULL) {
        bench_line(name, ours, "% of a core per 1000 points/s", PUBLISHED, published / ours);
        return;
    }
    fprintf(stderr, "# %s: theirs %.2f %% here, published %.2f %% (%.1f times ours)\n", name,
            percent_of_1000(theirs), published, published / ours);
    bench_line(name, ours, "% of a core per 1000 points/s", same_run(theirs->fell_short),
               percent_of_1000(theirs) / ours);
}

static void range(void)
{
    struct result x, theirs;
    bool peer = peer_version() != NULL;
    measure(&usual, &x);
    if (peer) {
        measure_peer(&usual, true, &theirs);
    }
    cost_line("gateway_range", &x, peer ? &theirs : NULL, THEIRS_RANGE);
    bench_line("gateway_range_memory", x.rss_mb, "MB",
               peer ? same_run(theirs.fell_short) : PUBLISHED,
               (peer ? theirs.rss_mb : THEIRS_RSS_MB) / x.rss_mb);
}

static void tags(void)
{
    struct result x, theirs;
    struct rig_setup s = usual;
    bool peer = peer_version() != NULL;
    s.gap = 1;
    s.slaves = peer ? PEER_TAGS_SLAVES : s.slaves;
    measure(&s, &x);
    if (peer) {
        measure_peer(&s, false, &theirs);
    }
    cost_line("gateway_tags", &x, peer ? &theirs : NULL, THEIRS_TAGS);
}

/* As much as the machine carries with simulator and stand-in on it; by the core it takes. */
static void most(void)
{
    struct result x;
    struct rig_setup s = usual;
    s.slaves = 240;
    s.tags = 120;
    s.poll_ms = (uint32_t) util_number("BENCH_GATEWAY_POLL", 50);
    s.buses = 4;
    measure(&s, &x);
    double by_core = x.total.lost == 0 ? x.points_s / x.cpu : 0;
    bench_line("gateway_max", by_core, "points/s of a core", PUBLISHED, by_core / THEIRS_MAX);
}

static void latency(void)
{
    struct result x;
    measure(&usual, &x);
    double p95 = x.total.p95_ms > 0 ? x.total.p95_ms : 1;
    bench_line("gateway_latency", x.total.p95_ms, "ms p95", PUBLISHED, THEIRS_P95_MS / p95);
}

/* What an hour at 1,000 points a second leaves in the log, filled faster. */
static void drain(void)
{
    struct rig r;
    struct rig_use before, after;
    struct samples_total t;
    struct rig_setup s = usual;
    s.poll_ms = 100;
    s.log_more = ", max_bytes: 1GiB";
    s.sink_more = ", retry_min: 100ms, retry_max: 200ms"; /* the time until it connects counts */
    s.buses = 2;
    rig_init(&r, &s);
    tb_stub_away(r.stub, true);
    rig_start(&r);
    for (int i = 0; i < 6000 && rig_read(&r) * (s.tags + 1) < HOUR_POINTS; i++) {
        rig_run(&r, 100);
    }
    rig_slaves(&r, "fault all silent", NULL, 0);
    rig_run(&r, 200);
    uint64_t read = rig_read(&r);
    rig_use(&r, &before);
    double begin = util_wall_ns();
    tb_stub_away(r.stub, false);
    bool came = tb_stub_wait_samples(r.stub, read, 600000);
    double wall = (util_wall_ns() - begin) / 1e9;
    rig_use(&r, &after);
    tb_stub_total(r.stub, &t);
    fprintf(stderr,
            "# drained %" PRIu64 " points in %.2f s, %.2f s of CPU, lost %" PRIu64
            ", doubled %" PRIu64 ", out of order %" PRIu64 "\n",
            t.points, wall, after.cpu_s - before.cpu_s, read - t.distinct, t.doubled,
            t.out_of_order);
    bench_must(came && t.out_of_order == 0, "all delivered in order");
    double faster = (double) t.points / 1000 / wall;
    bench_line("gateway_drain", faster, "x real time", "real time at 1000 points/s", faster);
    rig_stop(&r);
    rig_fini(&r);
}

/* 10,000 points a second while the broker is away, in 64 MiB: all that is kept goes to the log. */
static void outage(void)
{
    struct rig r;
    struct rig_use before, use;
    struct samples_total t;
    struct rig_setup s = usual;
    s.core_more = ", memory_limit: 64MiB";
    s.log_more = ", max_bytes: 1GiB";
    s.sink_more = ", retry_min: 100ms, retry_max: 200ms";
    uint32_t away_ms = (uint32_t) util_number("BENCH_GATEWAY_OUTAGE", 30) * 1000;
    rig_init(&r, &s);
    rig_start(&r);
    bench_must(tb_stub_wait_samples(r.stub, s.slaves, 20000), "first samples");
    rig_run(&r, 2000);
    rig_use(&r, &before);
    tb_stub_away(r.stub, true);
    uint64_t first = rig_read(&r);
    double begin = util_wall_ns();
    rig_run(&r, away_ms);
    double points_s =
        (double) ((rig_read(&r) - first) * (s.tags + 1)) / ((util_wall_ns() - begin) / 1e9);
    rig_use(&r, &use);
    double away_mb = (double) use.rss_kb / 1024;
    tb_stub_away(r.stub, false);
    rig_run(&r, 2000); /* it drains beside the load */
    rig_slaves(&r, "fault all silent", NULL, 0);
    rig_run(&r, 200);
    uint64_t read = rig_read(&r);
    bool came = tb_stub_wait_samples(r.stub, read, SETTLE_MS);
    tb_stub_total(r.stub, &t);
    rig_use(&r, &use);
    fprintf(stderr,
            "# %.0f points/s, away for %" PRIu32
            " s: %.1f MB before, %.1f at its end, at most %.1f; "
            "read %" PRIu64 ", lost %" PRIu64 ", doubled %" PRIu64 ", out of order %" PRIu64 "\n",
            points_s, away_ms / 1000, (double) before.rss_kb / 1024, away_mb,
            (double) use.most_kb / 1024, read, read - t.distinct, t.doubled, t.out_of_order);
    bench_must(came && t.out_of_order == 0, "all delivered in order");
    bench_must(points_s > 9000, "the load is what it should be");
    double most = (double) use.most_kb / 1024;
    bench_line("gateway_outage_memory", most, "MB", "64 MB under 10000 points/s", 64 / most);
    rig_stop(&r);
    rig_fini(&r);
}

/* Seconds of a device of which no sample came: slaves are read once a second, and each number that
 * is missing between the first and the last that came is one of them. The server stalls for 25 s,
 * dies, and is back after a second. */
static double lose(bool peer)
{
    struct rig r;
    struct samples_total t;
    struct rig_setup s = usual;
    struct peer_setup theirs = { .storage = "sqlite" };
    s.slaves = 5;
    s.tags = 10;
    s.gap = 1;
    rig_init(&r, &s);
    if (peer) {
        peer_start(&r, &theirs);
    } else {
        rig_start(&r);
    }
    bench_must(tb_stub_wait_samples(r.stub, s.slaves, PEER_START_MS), "first samples");
    rig_run(&r, 15000);
    uint64_t before = rig_read(&r);
    tb_stub_stall(r.stub, true);
    rig_run(&r, 25000);
    tb_stub_away(r.stub, true);
    tb_stub_stall(r.stub, false);
    rig_run(&r, 1000);
    uint64_t after = rig_read(&r);
    tb_stub_away(r.stub, false);
    rig_run(&r, 35000);
    rig_slaves(&r, "fault all silent", NULL, 0);
    rig_run(&r, 100);
    uint64_t read = rig_read(&r);
    (void) tb_stub_wait_samples(r.stub, read, 10000);
    tb_stub_total(r.stub, &t);
    fprintf(stderr,
            "# %s: %" PRIu64 " samples of %" PRIu32 " slaves read, %" PRIu64
            " of them in the 26 s without a server; %" PRIu64 " came, %" PRIu64
            " missing in between, %" PRIu64 " doubled, %" PRIu64 " out of order\n",
            peer ? same_run(false) : "tp-gateway", read, s.slaves, after - before, t.distinct,
            t.lost, t.doubled, t.out_of_order);
    rig_stop(&r);
    rig_fini(&r);
    return (double) t.lost / s.slaves;
}

static void loss(void)
{
    static const char unit[] = "s without a sample per device";
    bool peer = peer_version() != NULL;
    double ours = lose(false), theirs = peer ? lose(true) : THEIRS_LOSS;
    const char *vs = peer ? same_run(false) : PUBLISHED;
    bench_line("gateway_loss", ours, unit, vs, theirs > 0 ? ours / theirs : 0);
    bench_line("gateway_loss_theirs", theirs, unit, vs, 1);
}

struct part {
    const char *name;
    void (*run)(void);
    bool named; /* runs only if it is */
};
static const struct part parts[] = {
    { "range", range, false },     { "tags", tags, false },   { "max", most, false },
    { "latency", latency, false }, { "drain", drain, false }, { "outage", outage, false },
    { "loss", loss, true },
};

START_TEST(part)
{
    parts[_i].run();
}
END_TEST

/* The rig's checks need to be in a test. */
int main(int argc, char **argv)
{
    Suite *s = suite_create("gateway");
    TCase *c = tcase_create("gateway");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        bool wanted = argc < 2 && !parts[i].named;
        for (int k = 1; k < argc; k++) {
            wanted |= strcmp(argv[k], parts[i].name) == 0;
        }
        if (wanted) {
            tcase_add_loop_test(c, part, (int) i, (int) i + 1);
        }
    }
    suite_add_tcase(s, c);
    SRunner *runner = srunner_create(s);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    if (failed > 0) {
        srunner_print(runner, CK_NORMAL);
    }
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
