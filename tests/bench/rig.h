/*
 * The whole platform as a benchmark drives it: file log, SQLite stores, one product, one scene, n
 * devices with a session each, and an adapter whose "devices" send what data.h generates. They send
 * on the workers themselves: each settled ticket lets the next message in. Nothing is left out that
 * tp-platform has on.
 */
#ifndef BENCH_RIG_H
#define BENCH_RIG_H

#include "bench.h"
#include "data.h"

#include <tpcore/tpcore.h>

struct rig_options {
    uint32_t devices;
    uint32_t keys;
    uint32_t workers;
    uint64_t messages;
    uint32_t rate;       /* messages a second of wall-clock time; 0 = as fast as they are taken */
    const char *extra;   /* more members of the log's options, ",\"ack\":\"synced\""; NULL = none */
    const char *dir;     /* of the files */
    const char *history; /* module of the history; NULL = sqlite */
    bool noisy;          /* doubles of full precision instead of decimals */
};

struct rig_result {
    double cpu_ns;        /* of the process, from the first message until all files are closed */
    double generator_ns;  /* of that, for making the messages */
    double wall_ns;       /* of the same time */
    double payload_bytes; /* of a message, on average */
    double rss_bytes;     /* once the last message is settled */
    double history_bytes; /* of history.db, once it is closed */
    uint64_t points;
    double skipped;       /* refused, dropped, deduplicated, passed over: 0, or the run has ended */
    uint64_t allocations; /* that passed through the core's allocator */
    uint64_t disk_bytes;  /* write_bytes of /proc/self/io */
};

/*
 * Sends the messages, stops and closes the platform, opens it again and compares what the history
 * gives with what was generated. The process ends if anything is missing, was refused or dropped.
 */
void rig_run(const struct rig_options *o, struct rig_result *ret);

/* The best of some rounds, each in a new folder. */
void rig_best(const struct rig_options *o, struct rig_result *ret);

/* Cost of a message without making it, in ns. */
double rig_cost_ns(const struct rig_options *o, const struct rig_result *r);

/* An open core on o->dir that is not started; its devices are made if there are none. on_metric is
 * for tpc_core_stats(): rig_metric() gives one. */
struct tpc_core *rig_open(const struct rig_options *o);
double rig_metric(struct tpc_core *core, const char *name);

/* Sends the messages and returns once the log has them, the core still running. *ret = what was
 * sent. */
void rig_fill(const struct rig_options *o, struct data_sum *ret);
/* All that the history of a started core gives for the devices. */
void rig_read(struct tpc_core *core, const struct rig_options *o, struct data_sum *ret);

#endif
