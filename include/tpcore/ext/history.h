/*
 * History engine, blob shape: keeps encoded chunks of a device's samples and the marks that make
 * replay exact. Encoding, open chunks, merging and aggregates are done above it, once (lib/store).
 */
#ifndef TPCORE_EXT_HISTORY_H
#define TPCORE_EXT_HISTORY_H

#include <tpcore/ext/module.h>

TPC_BEGIN

enum tpc_history_shape { TPC_HISTORY_BLOB = 1 };

enum tpc_chunk_flags {
    TPC_CHUNK_PROVISIONAL = 1, /* an open chunk written by a checkpoint: replaced when it fills */
    /* It begins at or before the end of a chunk of the device that was put before it. Engines may
     * rely on it: chunks without it stand in one order by id, by begin and by end. */
    TPC_CHUNK_OVERLAP = 2
};

struct tpc_chunk {
    uint32_t size;
    uint32_t flags; /* enum tpc_chunk_flags */
    uint64_t id;    /* row; 0 in put_chunk = new; else replaces that row */
    uint64_t device_id;
    int64_t first_unix_ms;
    int64_t last_unix_ms;
    uint32_t samples;
    uint32_t reserved;
    struct tpc_bytes blob;
};

enum tpc_mark_type {
    TPC_MARK_WATERMARK = 1, /* key = partition: lowest log offset not yet stored for good */
    TPC_MARK_OFF_END = 2, /* key = device: one past the last log offset inside its stored chunks */
    TPC_MARK_LOG = 3, /* key 0, text = log id as 32 hex digits, value = its creation in unix ms */
    TPC_MARK_PROPERTY = 4, /* key = product id << 16 | property id; text = JSON {"key","type"} */
    TPC_MARK_LOG_DIR = 5,  /* key 0, text = folder of the log, relative to that of the history */
    TPC_MARK_PRESENCE = 6  /* key = device, value = since when, unix ms; text = what it is */
};

struct tpc_mark {
    uint32_t size;
    uint32_t type; /* enum tpc_mark_type */
    uint64_t key;
    uint64_t value;
    struct tpc_str text;
    struct tpc_bytes data; /* bytes; of OFF_END: the device's latest values */
};

struct tpc_scan {
    uint32_t size;
    uint32_t descending; /* 1 = newest first */
    uint64_t device_id;
    int64_t from_unix_ms; /* chunks with last >= from .. */
    int64_t to_unix_ms;   /* .. and first < to */
};

/* One chunk, valid during the call; a non-zero return ends the scan and is returned by it. */
typedef int tpc_chunk_fn(void *user, const struct tpc_chunk *chunk);
typedef int tpc_mark_fn(void *user, const struct tpc_mark *mark);

/*
 * begin, put_chunk, put_marks, commit | rollback
 *                One writer thread. commit returns when all of it is on stable storage; TPC_ENOSPC,
 *                TPC_EIO, TPC_EAGAIN: nothing of it is there and rollback was done.
 * scan, marks    Several threads at once, each sees the last commit.
 *                Ascending scans come by first time, descending ones by last time.
 * delete_before  The writer thread, inside a transaction (part of it, or at once) or outside. Device
 *                0 = all; whole chunks with last < unix_ms; *ret_count chunks are gone. An engine
 *                may stop after many: again until it says 0.
 * give_back      May be missing. The writer thread, outside a transaction: makes what deleting freed
 *                the operating system's again, about max_bytes at a time; *ret_bytes 0 = nothing
 *                is left.
 */
struct tpc_history_ops {
    struct tpc_iface iface; /* major 1 */
    const char *name;
    size_t instance_size;
    struct tpc_list options;
    uint32_t shape; /* enum tpc_history_shape */
    uint32_t reserved;
    int (*init)(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg);
    void (*fini)(void *self);
    int (*begin)(void *self, struct tpc_error *err);
    int (*put_chunk)(void *self, const struct tpc_chunk *chunk, struct tpc_error *err,
                     uint64_t *ret_id);
    int (*put_marks)(void *self, const struct tpc_mark *marks, uint32_t count, size_t mark_size,
                     struct tpc_error *err);
    int (*commit)(void *self, struct tpc_error *err);
    void (*rollback)(void *self);
    int (*scan)(void *self, const struct tpc_scan *q, tpc_chunk_fn *fn, void *user);
    int (*marks)(void *self, uint32_t type, tpc_mark_fn *fn, void *user);
    int (*delete_before)(void *self, uint64_t device_id, int64_t unix_ms, uint64_t *ret_count);
    int (*give_back)(void *self, uint64_t max_bytes, uint64_t *ret_bytes);
};

TPC_END

#endif
