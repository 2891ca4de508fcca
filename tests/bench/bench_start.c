/*
 * start: opening a platform of 100,000 devices that ended without a stop, with 1,000,000 messages in
 * the log that the history does not have: until messages are taken, and until the last of the
 * replayed samples can be read. Wall-clock time.
 */
#include "bench_util.h"
#include "rig.h"

#include "core/core.h"

#include <sys/wait.h>
#include <unistd.h>

enum { DEVICES = 100000, KEYS = 8, MESSAGES = 1000000 };

/* A child whose history is in memory: it leaves the log, and ends as if it had been killed. */
static void fill(const struct rig_options *given, struct data_sum *ret)
{
    struct rig_options o = *given;
    int ends[2];
    bench_must(pipe(ends) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        o.history = "memory";
        rig_fill(&o, ret);
        _exit(write(ends[1], ret, sizeof(*ret)) == sizeof(*ret) ? 0 : 1);
    }
    int status = 1;
    bench_must(read(ends[0], ret, sizeof(*ret)) == sizeof(*ret), "filling the log");
    bench_must(waitpid(child, &status, 0) == child && status == 0, "filling the log");
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    char dir[UTIL_PATH_BYTES];
    struct rig_options o = { .devices = DEVICES, .keys = KEYS, .workers = 2 };
    struct data_sum stored, made;
    o.messages = util_number("BENCH_MESSAGES", MESSAGES);
    o.dir = util_folder(NULL, dir);
    fill(&o, &made);
    double wall = util_wall_ns(), cpu = bench_cpu_ns();
    struct tpc_core *core = rig_open(&o);
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    double started = util_wall_ns() - wall;
    bench_must(tpi_pump_catch_up(core), "catching up");
    double replayed = util_wall_ns() - wall;
    cpu = bench_cpu_ns() - cpu;
    double rss = util_rss_bytes();
    bench_must(rig_metric(core, "tpc_history_samples_total") == (double) (o.messages * KEYS),
               "every message is replayed");
    rig_read(core, &o, &stored);
    bench_must(data_sum_same(&made, &stored), "what was sent is in the history");
    bench_must(tpc_core_destroy(core) == 0, "closing");
    util_remove(dir);
    bench_line("start", replayed / 1e9, "s", "target 3", replayed / 3e9);
    bench_line("start_taking_messages", started / 1e9, "s", "target 3", started / 3e9);
    bench_line("start_cpu", cpu / 1e9, "s", "CPU of both cores", 0);
    bench_line("start_rss", rss / 1e6, "MB", "none", 0);
    return 0;
}
