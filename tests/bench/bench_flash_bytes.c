/*
 * flash_bytes: what the process makes the disk write for a point, log, WAL, checkpoints and marks
 * together, at 1,000 points a second; in the folder BENCH_DISK (or the present one), which must not
 * be in memory.
 */
#include "bench_util.h"
#include "rig.h"

#include <linux/magic.h>
#include <sys/vfs.h>

enum { DEVICES = 100, KEYS = 8, RATE = 125, SECONDS = 90 };

int main(void)
{
    char dir[UTIL_PATH_BYTES];
    const char *top = getenv("BENCH_DISK");
    struct statfs fs;
    struct rig_options o = { .devices = DEVICES, .keys = KEYS, .workers = 1, .rate = RATE };
    struct rig_result r;
    o.messages = util_number("BENCH_SECONDS", SECONDS) * RATE;
    o.dir = util_folder(top != NULL ? top : ".", dir);
    bench_must(statfs(dir, &fs) == 0, dir);
    if (fs.f_type == TMPFS_MAGIC) {
        util_remove(dir);
        fprintf(stderr, "bench: %s is in memory; set BENCH_DISK\n", dir);
        return 77;
    }
    rig_run(&o, &r);
    util_remove(dir);
    double bytes = (double) r.disk_bytes / (double) r.points;
    bench_line("flash_bytes", bytes, "B/point", "target 6", bytes / 6);
    bench_line("flash_bytes_day", bytes * 1000 * 86400 / 1e9, "GB/day", "1,000 points/s", 0);
    return 0;
}
