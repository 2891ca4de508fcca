/* uplink_100k: uplink_memory with 100,000 devices, against the cost with 1,000. */
#include "bench_util.h"
#include "rig.h"

enum { DEVICES = 100000, FEW = 1000, KEYS = 8, MESSAGES = 5000000 };

int main(void)
{
    struct rig_options o = { .devices = FEW, .keys = KEYS, .workers = 1 };
    struct rig_result few, many;
    o.messages = util_number("BENCH_MESSAGES", MESSAGES);
    util_pin(1);
    rig_best(&o, &few);
    o.devices = DEVICES;
    rig_best(&o, &many);
    double a = rig_cost_ns(&o, &many), b = rig_cost_ns(&o, &few);
    bench_line("uplink_100k", a, "ns/msg", "1,000 devices", a / b);
    bench_line("uplink_100k_rss", many.rss_bytes / 1e6, "MB", "1,000 devices",
               many.rss_bytes / few.rss_bytes);
    bench_line("uplink_100k_skipped", many.skipped + few.skipped, "refused, dropped, deduplicated",
               "0", 0);
    double bytes = many.history_bytes / (double) many.points;
    bench_line("uplink_100k_bytes", bytes, "B/point", "1,000 devices",
               bytes / (few.history_bytes / (double) few.points));
    return 0;
}
