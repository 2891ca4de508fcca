/*
 * A gateway as a process between simulated Modbus slaves (another process) and the ThingsBoard
 * stand-in (in this one). Everything is on free ports of the loopback and in a folder of its own.
 */
#ifndef GATEWAY_RIG_H
#define GATEWAY_RIG_H

#include "tb_stub.h"

#include <sys/types.h>

enum { RIG_PORTS_MAX = 16, RIG_PATH_BYTES = 512 };

struct rig_setup {
    uint32_t slaves;
    uint32_t buses; /* of each simulator's port, which has up to 247 slaves; 0 = 1 */
    uint32_t tags;  /* of a slave, 16 bits each, beside seq */
    uint32_t gap;   /* registers between two tags */
    uint32_t poll_ms;
    uint32_t workers;
    bool memory_log; /* else file */
    bool model;      /* the product names the tags; else they are unknown keys that are kept */
    /* Members of a YAML flow that begin with ", "; NULL = none. */
    const char *core_more, *log_more, *bus_more, *sink_more, *target_more;
    const char *more;  /* further adapters, as lines indented by two; NULL = none */
    const char *url;   /* of the bus in place of the simulator's port */
    bool rtu;          /* the simulator speaks RTU over TCP */
    uint64_t file_max; /* bytes: RLIMIT_FSIZE of the gateway; 0 = as it is */
};

struct rig {
    struct rig_setup setup;
    char dir[RIG_PATH_BYTES];
    char config[RIG_PATH_BYTES];
    struct tb_stub *stub;
    pid_t sim, gateway;
    int sim_in, sim_out;
    uint16_t ports[RIG_PORTS_MAX];
    uint32_t port_count;
};

struct rig_use {
    double cpu_s; /* user and system time so far */
    uint64_t rss_kb, most_kb;
};

/* Starts simulator and stand-in, writes the configuration. Fails the test where it cannot. */
void rig_init(struct rig *r, const struct rig_setup *setup);
/* Ends what runs; prints the gateway's log if the test failed (keep). */
void rig_fini(struct rig *r);

void rig_write_config(struct rig *r);
void rig_start(struct rig *r);
/* With other arguments, up to 8. */
void rig_start_with(struct rig *r, const char *const *arguments);
/* Another process that ends with the rig's; its output goes to a file of the rig's folder. */
pid_t rig_spawn(struct rig *r, const char *const *argv);
/* SIGTERM, and its exit code; -1: it had to be killed after 20 s. */
int rig_stop(struct rig *r);
void rig_kill(struct rig *r);
/* It has ended by itself? */
bool rig_died(struct rig *r);
/* Starts nothing and waits; fails the test at once if the gateway dies. */
void rig_run(struct rig *r, uint32_t ms);

/* A line to the simulator, and its answer without the line's end (ret NULL: must be "ok"). */
void rig_slaves(struct rig *r, const char *line, char *ret, size_t size);
/* Reads that the slaves have answered and that have a number. */
uint64_t rig_read(struct rig *r);

/* Polling has to have ended: waits until every number that a slave gave has come, or has not for
 * quiet_ms. */
void rig_settle(struct rig *r, uint32_t timeout_ms);

void rig_use(const struct rig *r, struct rig_use *ret);
/* A value of the gateway's log file: does a line hold text? */
bool rig_logged(const struct rig *r, const char *text);
void rig_show_log(const struct rig *r);

#endif
