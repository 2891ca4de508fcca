/*
 * A downlink between a log that keeps records as bytes and an adapter that does as it is told.
 */
#ifndef DOWNLINK_BENCH_H
#define DOWNLINK_BENCH_H

#include "base/buf.h"
#include "base/wheel.h"
#include "downlink/command.h"
#include "downlink/downlink.h"
#include "registry/device.h"
#include "tk_env.h"

enum { BENCH_DEVICES = 3, BENCH_PARTITIONS = 2, BENCH_RECORDS = 20000, BENCH_SENDS = 4096 };

struct bench_record {
    uint16_t kind;
    uint32_t partition;
    uint64_t offset;
    uint64_t device_id;
    int64_t unix_ms;
    struct tpc_id id;
    struct tpi_buf body;
};

struct bench_send {
    uint64_t device_id;
    uint64_t ticket;
    struct tpc_id id;
    uint16_t kind;
    char name[32];
    char correlation[40];
};

struct bench {
    struct tk_env env;
    struct tpi_wheel wheel;
    struct tpi_downlink_counters counters;
    struct tpi_downlink_host host;
    struct tpi_downlink *d;
    struct tpi_model *model;
    struct tpi_product product;
    struct tpi_tenant tenant;
    struct tpc_device devices[BENCH_DEVICES];
    struct bench_record *records;
    size_t record_count;
    uint64_t next_offset[BENCH_PARTITIONS];
    uint64_t next_id;
    struct bench_send sends[BENCH_SENDS]; /* the last ones, in a ring */
    size_t send_count;
    int send_code;   /* what the adapter answers */
    bool send_now;   /* it answers with a reply from inside send() */
    int append_code; /* what the log answers */
    size_t closed_count;
    struct tpc_id closed_id;
    uint32_t closed_state;
    int32_t closed_code;
    uint32_t closed_tries;
    uint32_t closed_panel;
    char closed_label[32];
    char closed_text[400];    /* "service params reply reason actor tenant device" */
    bool command_when_closed; /* the callback sends another command */
};

struct bench *bench_new(void);
/* Checks that nothing is left of it. */
void bench_free(struct bench *b);

/* The process ends and starts again: only the records stay. Replays the first `count` of them. */
void bench_restart(struct bench *b, size_t count);

/* Admits, appends and takes a command of device `device`. spec's zero members are defaults. Returns
 * what admit() said. *ret_id may be NULL. */
int bench_command(struct bench *b, int device, const struct tpi_command_spec *spec,
                  struct tpc_id *ret_id);

/* A "set" with defaults; fails the test if it is refused. */
struct tpc_id bench_set(struct bench *b, int device);

int bench_reply(struct bench *b, int device, const struct tpc_id *id, int32_t code);
const struct bench_send *bench_last_send(const struct bench *b);
/* Time goes on in steps, timers fire. */
void bench_advance(struct bench *b, uint64_t ms);
/* How many records of a kind a command has (id NULL: of all). */
size_t bench_records(const struct bench *b, uint16_t kind, const struct tpc_id *id);
uint32_t bench_state(struct bench *b, const struct tpc_id *id); /* 0 = not open */

#endif
