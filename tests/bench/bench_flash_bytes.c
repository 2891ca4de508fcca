/*
 * flash_bytes: what the process makes the disk write for a point, log, WAL, checkpoints and marks
 * together: as fast as it goes, and at 1,000 points a second, one message a second of each device. In
 * the folder BENCH_DISK (or the present one), which must not be in memory.
 */
#include "bench_util.h"
#include "rig.h"

#include <linux/magic.h>
#include <sys/vfs.h>

enum { DEVICES = 1000, FEW = 125, KEYS = 8, MESSAGES = 2000000, RATE = 125, SECONDS = 150 };

static double bytes_a_point(struct rig_options *o, const char *top)
{
    char dir[UTIL_PATH_BYTES];
    struct rig_result r;
    o->dir = util_folder(top, dir);
    rig_run(o, &r);
    util_remove(dir);
    return (double) r.disk_bytes / (double) r.points;
}

int main(void)
{
    const char *top = getenv("BENCH_DISK") != NULL ? getenv("BENCH_DISK") : ".";
    struct statfs fs;
    struct rig_options o = { .devices = DEVICES, .keys = KEYS, .workers = 1 };
    bench_must(statfs(top, &fs) == 0, top);
    if (fs.f_type == TMPFS_MAGIC) {
        fprintf(stderr, "bench: %s is in memory; set BENCH_DISK\n", top);
        return 77;
    }
    o.messages = util_number("BENCH_MESSAGES", MESSAGES);
    double fast = bytes_a_point(&o, top);
    o.devices = FEW;
    o.rate = RATE;
    o.messages = util_number("BENCH_SECONDS", SECONDS) * RATE;
    double slow = bytes_a_point(&o, top);
    bench_line("flash_bytes", fast, "B/point", "-", 0);
    bench_line("flash_bytes_slow", slow, "B/point", "-", 0);
    bench_line("flash_bytes_day", slow * 1000 * 86400 / 1e9, "GB/day", "1,000 points/s", 0);
    return 0;
}
