/*
 * Whether the wall clock can be trusted, and what becomes of records that were made while it could
 * not: docs/guide/clock.md. A record made then carries the boot and the monotonic time of its
 * receipt; once it is known how far a boot's wall clock is from its monotonic one, whoever reads such
 * a record gets it with the right times. Any thread; the lock is a leaf.
 */
#ifndef TPI_BUS_CLOCK_H
#define TPI_BUS_CLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/ext/bus.h>
#include <tpcore/msg.h>

#include "base/env.h"

enum {
    TPI_MSG_CLOCK = 19,        /* kind: the log's own; docs/format/record.md */
    TPI_CLOCK_BOOTS = 64,      /* whose offsets are kept; the oldest goes */
    TPI_CLOCK_OURS_MS = 60000, /* a time said so little before the receipt is of our clock */
    TPI_CLOCK_AHEAD_MS = 1000, /* .. or so little after it */
    TPI_CLOCK_BOOT_BYTES = 24, /* one boot of tpi_clock_pack() */
    TPI_CLOCK_PACK_BYTES = 1 + TPI_CLOCK_BOOTS * TPI_CLOCK_BOOT_BYTES,
    TPI_CLOCK_HOLD_MS = 600000 /* default of hold_max */
};

enum tpi_clock_trust { TPI_CLOCK_AUTO = 0, TPI_CLOCK_ALWAYS = 1, TPI_CLOCK_PROGRAM = 2 };
enum tpi_clock_policy { TPI_CLOCK_HOLD = 0, TPI_CLOCK_MARK = 1, TPI_CLOCK_SEND = 2 };

struct tpi_clock_options {
    enum tpi_clock_trust trust;
    enum tpi_clock_policy policy;
    int64_t floor_ms; /* 0 = the release's and what the log knows */
    uint64_t hold_ms;
};

/* A boot whose wall clock is known: unix - monotonic, in ms. */
struct tpi_clock_boot {
    struct tpc_id id;
    int64_t offset_ms;
};

/* Where this boot's own offset is on its way into the log. */
enum tpi_clock_step { TPI_CLOCK_QUIET, TPI_CLOCK_ASKED, TPI_CLOCK_APPENDED };

struct tpi_clock {
    const struct tpi_env *env;
    struct tpi_clock_options o;
    void (*wake)(void *user); /* an offset is wanted; NULL = nobody */
    void *wake_user;
    pthread_mutex_t lock;
    struct tpc_id boot;
    bool begun;
    bool said;         /* the program: it is valid */
    bool let_go;       /* the log is full: nothing is held any more, until the clock is valid */
    bool dirty;        /* boots are not stored */
    int64_t offset_ms; /* when it was looked at last */
    int64_t before_ms; /* before its last jump */
    int64_t sure_ms;   /* this boot's offset, once it is sure */
    uint64_t sure_mono_ms;
    enum tpi_clock_step step;
    uint64_t sequence; /* of the record, when appended */
    struct tpi_clock_boot boots[TPI_CLOCK_BOOTS];
    uint32_t boot_count;
    atomic_bool unsure;
    atomic_bool stamping; /* unsure, or so lately that what came before is still on its way */
    atomic_bool busy;     /* the worker has to look */
    atomic_bool held;     /* somebody waits */
    _Atomic uint64_t stamped;
    _Atomic uint64_t retimed;
    _Atomic uint64_t marked;
};

void tpi_clock_init(struct tpi_clock *c, const struct tpi_env *env);
void tpi_clock_fini(struct tpi_clock *c);

/* At start: newest_ms = newest time of the log. What was decided before stays. Returns 0 or TPC_EIO. */
int tpi_clock_begin(struct tpi_clock *c, int64_t newest_ms);

/* Notices that the wall clock was set. True: it has become valid with this call. */
bool tpi_clock_look(struct tpi_clock *c);

/* The program says so. */
void tpi_clock_valid(struct tpi_clock *c);

/* A record that is to be appended: marked if its receipt was while the clock was unsure. */
void tpi_clock_stamp(struct tpi_clock *c, struct tpc_record *r);

/* The record with this boot's offset. take: true = it is to be appended now, *ret_ms is what it says.
 * appended: it was. published: true once, when `flushed` has reached it: then readers know it. */
bool tpi_clock_take(struct tpi_clock *c, int64_t *ret_ms);
void tpi_clock_appended(struct tpi_clock *c, uint64_t sequence);
bool tpi_clock_published(struct tpi_clock *c, uint64_t flushed);
/* How far what was received in this boot while it was unsure, from *ret_from on, moved. */
int64_t tpi_clock_moved(struct tpi_clock *c, int64_t *ret_from, int64_t *ret_to);

/* An offset of an earlier boot, from the log. */
void tpi_clock_know(struct tpi_clock *c, const struct tpc_id *boot, int64_t offset_ms);
/* All offsets as bytes for a restart, if they are not stored: length, 0 = they are. */
size_t tpi_clock_pack(struct tpi_clock *c, uint8_t *ret);
void tpi_clock_unpacked(struct tpi_clock *c); /* they could not be stored */
int tpi_clock_unpack(struct tpi_clock *c, struct tpc_bytes data);

/* Whether a reader that waits for right times stops before this record. */
bool tpi_clock_holds(struct tpi_clock *c, const struct tpc_record *r);
/* Nothing is held any more. */
void tpi_clock_let_go(struct tpi_clock *c);

/* What became of a record's times. */
struct tpi_retimed {
    int64_t received_ms; /* before */
    int64_t shift_ms;    /* 0 = nothing */
    bool moved;          /* the message's time went along */
};

/* A record as its readers see it: with the right times and without the flag if its boot's offset is
 * known. */
void tpi_clock_retime(struct tpi_clock *c, struct tpc_record *r, struct tpi_retimed *ret);
/* Times of its points, once it is decoded: those that devices said stay. Returns 0 or TPC_ENOMEM. */
int tpi_clock_points(const struct tpi_retimed *t, struct tpc_arena *arena, struct tpc_msg *m);

#endif
