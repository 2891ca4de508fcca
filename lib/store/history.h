/*
 * The history stage: keeps the newest samples of each device open in memory, encodes them into
 * chunks, stores chunks and marks in one transaction, and reads stored and open samples as one.
 *
 * Exactly once: the watermark of a partition is the lowest log offset that is not stored for good;
 * a device's off_end is one past the last offset inside its stored chunks. Both are written with
 * the chunks. After a restart the log is replayed from the watermark; records below their device's
 * off_end are passed over. Open chunks that have waited for checkpoint_ms are written as
 * provisional rows, replaced in place when the chunk fills, so that the watermark always moves.
 *
 * Threads: apply, commit, due and start are the pump's (one thread at a time). Queries,
 * tpi_history_property() and the counters are any-thread. No lock is held while a back end works.
 */
#ifndef TPI_STORE_HISTORY_H
#define TPI_STORE_HISTORY_H

#include "base/buf.h"
#include "base/env.h"
#include "base/metric.h"

#include <tpcore/error.h>
#include <tpcore/ext/history.h>
#include <tpcore/history.h>
#include <tpcore/msg.h>

enum { TPI_HISTORY_OPEN_BYTES = 256 << 20 };

struct tpi_history;
struct tpi_history_rows;

/* 0 in a member = its default. */
struct tpi_history_limits {
    size_t open_bytes;           /* 256 MiB: open samples of all devices; over it apply() refuses */
    uint32_t chunk_samples;      /* 120: a chunk is full with so many rows .. */
    uint32_t chunk_bytes;        /* 12,000: .. or so many open bytes (a bit less encoded) */
    uint64_t chunk_span_ms;      /* 31 days between its first and its last time */
    uint64_t checkpoint_ms;      /* 60 s: an open sample is stored after that; of a chunk that was
                                  * stored before when it has doubled, or after 16 times as long */
    uint64_t checkpoint_records; /* 500,000 log records above the watermark (about 64 MiB) */
    uint64_t commit_ms;          /* 60 s: full chunks wait at most so long .. */
    uint32_t commit_chunks;      /* 1,024: .. or until there are so many */
    uint32_t chunk_values;       /* 960: .. that hold so many samples, so that few properties make
                                  * longer chunks; with a chunk_samples of its own 0 */
};

struct tpi_history_counters {
    _Atomic uint64_t samples;     /* points taken */
    _Atomic uint64_t skipped;     /* records passed over: stored before */
    _Atomic uint64_t unusable;    /* points without property id and key, or of no known type */
    _Atomic uint64_t chunks;      /* full chunks stored */
    _Atomic uint64_t provisional; /* open chunks stored by checkpoints */
    _Atomic uint64_t bytes;       /* of chunks stored */
    _Atomic uint64_t commits;
    _Atomic uint64_t commit_errors;
    _Atomic uint64_t refused;     /* applies answered TPC_EAGAIN: open_bytes */
    _Atomic uint64_t deleted;     /* chunks, by retention */
    _Atomic uint64_t given_back;  /* bytes, to the operating system */
    _Atomic uint64_t open_bytes;  /* gauge */
    _Atomic uint64_t open_chunks; /* gauge */
};

extern const struct tpi_metric_def tpi_history_metrics[];
extern const uint32_t tpi_history_metric_count;

/* The built-in engine "memory": chunks and marks in this process, gone with it. */
extern const struct tpc_history_ops tpi_memory_history;

/* How a device is to be found after a restart. */
struct tpi_history_presence {
    bool online;
    bool by_session; /* of this process: nobody knows after its end */
    int64_t since_unix_ms;
    int64_t seen_unix_ms;   /* 0 = not known */
    int64_t active_unix_ms; /* when it was online first; 0 = never */
};

/*
 * The registry, of which the marks keep what a restart needs. Called by commit():
 *   settle         First of all. When it returns, the registry knows all that was applied.
 *   latest_pack    Appends a device's latest values; nothing if it has none.
 *   presence_get   Fills in; false = no such device.
 *   before_commit  All is written: the log must now be on stable storage as far as the registry
 *                  knows it.
 * presence_load is called by start(), latest_load by tpi_history_latest(), once for each device; both
 * return 0 or a code that ends it.
 */
struct tpi_history_registry {
    void *user;
    void (*settle)(void *user);
    int (*latest_pack)(void *user, uint64_t device_id, struct tpi_buf *out);
    bool (*presence_get)(void *user, uint64_t device_id, struct tpi_history_presence *ret);
    int (*before_commit)(void *user, struct tpc_error *err);
    int (*latest_load)(void *user, uint64_t device_id, struct tpc_bytes data);
    int (*presence_load)(void *user, uint64_t device_id,
                         const struct tpi_history_presence *presence);
};

/*
 * Makes the stage over an initialised back end (self stays the caller's and must outlive it).
 * limits NULL = defaults. env stays in use.
 *
 * Returns 0, TPC_EINVAL (a shape or a table that it cannot use, partitions 0) or TPC_ENOMEM.
 */
int tpi_history_create(const struct tpi_env *env, const struct tpc_history_ops *ops, void *self,
                       const struct tpi_history_limits *limits, uint32_t partitions,
                       struct tpc_error *err, struct tpi_history **ret);

/* Before start. All functions are there; registry is copied. Without it marks keep no values. */
void tpi_history_attach(struct tpi_history *h, const struct tpi_history_registry *registry);

/* What was not committed is forgotten (it is in the log). All queries are closed. NULL is fine. */
void tpi_history_destroy(struct tpi_history *h);

/*
 * Reads the marks and compares the log's id with the one that they belong to; a new or an accepted
 * id is stored at once.
 *
 * Returns 0, TPC_EGAP (another log, both named with their creation times) unless accept_gap, or
 * what the back end says.
 */
int tpi_history_start(struct tpi_history *h, const struct tpc_id *log_id, int64_t log_created_ms,
                      bool accept_gap, struct tpc_error *err);

/* Gives the latest values that the marks keep to the registry. Not beside a commit. Returns 0 or
 * what latest_load or the back end says. */
int tpi_history_latest(struct tpi_history *h, struct tpc_error *err);

/* Offset from which the log is to be read: lowest one not stored for good, as of the last commit.
 */
uint64_t tpi_history_watermark(const struct tpi_history *h, uint32_t partition);

/* One past the highest offset that any stored mark of the partition speaks of: a log must not give
 * offsets below it again (bus->raise_end). */
uint64_t tpi_history_max_offset(const struct tpi_history *h, uint32_t partition);

/* One past the last offset inside the device's stored chunks; 0 = none. */
uint64_t tpi_history_off_end(struct tpi_history *h, uint64_t device_id);

/* One past the last offset that was applied: what the next commit(all) moves the watermark to. */
uint64_t tpi_history_applied(const struct tpi_history *h, uint32_t partition);

/*
 * Takes one record of a partition, in the order of its offsets; to be called for each record of
 * whatever kind, so that the watermark moves. Points of TELEMETRY and ATTRIBUTES that have a
 * property id are kept; a record seen before is passed over and counted.
 *
 * Returns 0; TPC_EAGAIN (open_bytes is reached: commit, then apply it again) or TPC_ENOMEM (the
 * same); nothing of the record is then taken. TPC_EINVAL for a partition that is not there.
 */
int tpi_history_apply(struct tpi_history *h, const struct tpc_msg *msg, uint32_t partition);

/* Memory is short outside of this stage: a commit is due now, and the next one stores and lets go of
 * the least recently touched open chunks, half of all. Pump thread. */
void tpi_history_squeeze(struct tpi_history *h);

/*
 * The same for records that follow one another. What they need of memory is fetched for all of them
 * before it is used: with many devices that is most of the cost.
 *
 * Returns 0 or the code of the first one that was not taken; *ret_done = how many were before it.
 */
int tpi_history_apply_some(struct tpi_history *h, const struct tpc_msg *msgs, uint32_t count,
                           uint32_t partition, uint32_t *ret_done);

/* Milliseconds until a commit is due: 0 = now, UINT64_MAX = nothing waits. */
uint64_t tpi_history_due_ms(struct tpi_history *h);
bool tpi_history_due(struct tpi_history *h);

/*
 * One transaction: full chunks, open chunks whose checkpoint is due (all: every one that has
 * samples not stored yet), off_end marks, watermarks and queued properties. The log must be on
 * stable storage up to tpi_history_applied() before. Nothing to do is 0 without a transaction.
 *
 * Returns 0 or what the back end says (TPC_ENOSPC, TPC_EIO, TPC_EAGAIN, TPC_ENOMEM): nothing has
 * changed then, and the same is tried again by the next commit.
 */
int tpi_history_commit(struct tpi_history *h, bool all, struct tpc_error *err);

/*
 * Queues the name and type of a property for the next transaction; what is stored already is not
 * written again. type is the model's word ("int", "double", ..). Any thread.
 *
 * Returns 0, TPC_EINVAL or TPC_ENOMEM.
 */
int tpi_history_property(struct tpi_history *h, uint64_t product_id, uint16_t property_id,
                         struct tpc_str key, struct tpc_str type);

/* Samples of a device older than that are no longer kept; INT64_MIN = all are. No lock is held. */
typedef int64_t tpi_history_keep_fn(void *user, uint64_t device_id);

/* A round of retention begins anew. Pump thread, like the turns. */
void tpi_history_keep_begin(struct tpi_history *h);

/*
 * A piece of the round, small enough for a commit to wait for it: deletes chunks of which all
 * samples are too old, then gives the space back. Never while a commit runs.
 *
 * Returns 1 if there is more to do, 0 when the round is at its end, or what the back end says: the
 * same piece is then tried again by the next turn.
 */
int tpi_history_keep_turn(struct tpi_history *h, tpi_history_keep_fn *keep, void *user,
                          struct tpc_error *err);

struct tpi_history_counters *tpi_history_counters(struct tpi_history *h);

/* ---- queries: any thread; each by one thread at a time ---- */

struct tpi_history_device {
    uint64_t id;
    struct tpc_str key;         /* goes into the batches */
    const uint16_t *properties; /* ids in the query's order; 0 = the device has no such property */
};

struct tpi_history_query {
    const struct tpi_history_device *devices;
    uint32_t device_count;
    uint32_t property_count;
    const struct tpc_str *properties; /* keys, for the batches */
    int64_t from_unix_ms;             /* inclusive */
    int64_t to_unix_ms;               /* exclusive; INT64_MAX = all */
    uint64_t limit;                   /* rows per device; 0 = no limit */
    const struct tpc_aggregate *aggregates;
    uint32_t aggregate_count;
    uint32_t sample; /* enum tpc_sample_method */
    uint32_t sample_points;
    uint64_t window_ms;
    int64_t origin_unix_ms;
    bool descending;
};

/* All of the query is copied; what its members mean stands in <tpcore/history.h>. Returns 0,
 * TPC_EINVAL (the text says what) or TPC_ENOMEM. */
int tpi_history_query_open(struct tpi_history *h, const struct tpi_history_query *q,
                           struct tpc_error *err, struct tpi_history_rows **ret);

/*
 * Next batch: devices in the query's order, rows in time order. Valid until the next call.
 *
 * Returns 1, 0 at the end, or TPC_ECORRUPT, TPC_ENOMEM, TPC_EIO, TPC_ETOOBIG.
 */
int tpi_history_query_next(struct tpi_history_rows *rows, struct tpc_error *err,
                           const struct tpc_row_batch **ret);

/* NULL is fine. Returns NULL. */
struct tpi_history_rows *tpi_history_query_close(struct tpi_history_rows *rows);

#endif
