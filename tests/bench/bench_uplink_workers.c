/*
 * uplink_workers: messages per second of wall-clock time with two workers on two cores, the threads
 * that write log and history included, against one worker on one core. The devices send from the
 * workers.
 */
#include "bench_util.h"
#include "rig.h"

enum { DEVICES = 1000, KEYS = 8, MESSAGES = 5000000 };

static double per_second(uint32_t workers, int cores, uint64_t messages)
{
    struct rig_options o = { .devices = DEVICES, .keys = KEYS, .workers = workers };
    struct rig_result r;
    double best = 0;
    o.messages = messages;
    util_pin(cores);
    for (uint64_t i = 0; i < util_number("BENCH_ROUNDS", 2); i++) {
        char dir[UTIL_PATH_BYTES];
        o.dir = util_folder(NULL, dir);
        rig_run(&o, &r);
        util_remove(dir);
        double rate = (double) messages * 1e9 / r.wall_ns;
        best = rate > best ? rate : best;
    }
    return best;
}

int main(void)
{
    uint64_t messages = util_number("BENCH_MESSAGES", MESSAGES);
    double two = per_second(2, 2, messages);
    double one = per_second(1, 1, messages);
    bench_line("uplink_workers", two, "msg/s", "1 worker on 1 core", two / one);
    return 0;
}
