/*
 * A bus engine on a fake host, with records that say what they are: the body of every record begins
 * with its partition and its offset, so that a reader can check what it gets.
 */
#ifndef BUS_FIX_H
#define BUS_FIX_H

#include "bus/bus.h"
#include "tk_env.h"

#include <tpcore/value.h>

enum { BUS_MEMBERS = 16, BUS_BODY = 100 };

struct bus_fix {
    struct tk_env env;
    struct tpc_files quick; /* the system's files without syncs, below the kit's */
    struct tpc_host host;
    const struct tpc_bus_ops *ops;
    void *self;
    uint32_t partitions;
    char dir[512];
    struct tpc_member members[BUS_MEMBERS];
    struct tpc_value cfg;
    char fail_text[300];
    int fail_code;
    int log_level; /* of the last line */
};

/* A new folder and the settings in it; bus_set() changes them, bus_open() starts the engine. */
void bus_prepare(struct bus_fix *f, const struct tpc_bus_ops *ops, uint32_t partitions);
void bus_set(struct bus_fix *f, const char *name, int64_t value);
void bus_set_text(struct bus_fix *f, const char *name, const char *text);
int bus_open(struct bus_fix *f);
void bus_close(struct bus_fix *f);

/* As after kill -9: what is open is left behind; the kernel's part of it is done by the test. */
void bus_done(struct bus_fix *f);

/* Appends count records to one partition; 0 or the engine's code. */
int bus_put(struct bus_fix *f, uint32_t partition, uint32_t count, uint64_t *ret_sequence);
/* Appends one batch with count records in each of all partitions, mixed. */
int bus_put_mixed(struct bus_fix *f, uint32_t count);
uint64_t bus_flush(struct bus_fix *f, uint32_t flags);

/* A record's body for (partition, offset). */
struct tpc_bytes bus_body(uint8_t *room, uint32_t partition, uint64_t offset, size_t len);

/* Reads from `from` on, checks every record and the order; returns where to go on. */
struct bus_seen {
    uint64_t count;
    uint64_t first;
    uint64_t last;
    uint64_t jumps; /* offsets that were passed over, after the first */
    uint32_t partition;
    uint32_t stop_after; /* 0 = never */
};
uint64_t bus_read_all(struct bus_fix *f, uint32_t partition, uint64_t from, uint32_t step,
                      uint32_t flags, struct bus_seen *ret);
int bus_check_record(void *user, const struct tpc_record *record);

uint32_t bus_cursor(struct bus_fix *f, const char *name, uint32_t cursor_class);
uint64_t bus_position(struct bus_fix *f, uint32_t cursor, uint32_t partition);
struct tpc_cursor_info bus_cursor_info(struct bus_fix *f, const char *name);
struct tpc_bus_info bus_info(struct bus_fix *f);
uint32_t bus_segments(struct bus_fix *f);

Suite *bus_conform_suite(void);

#endif
