/*
 * Bus engine: an ordered log in partitions, with named cursors.
 *
 * append() orders records and makes them readable; flush() makes them survive, by the engine's
 * acknowledge policy. A sequence number grows with every append over all partitions: what is
 * acknowledged is compared with the sequence that flush() has reached. A partition is appended to
 * by one thread at a time; different partitions by several.
 */
#ifndef TPCORE_EXT_BUS_H
#define TPCORE_EXT_BUS_H

#include <tpcore/ext/module.h>

TPC_BEGIN

/* One record. Views are the caller's (append) or valid during the callback (read). */
struct tpc_record {
    uint32_t size;
    uint16_t kind;  /* enum tpc_kind; unknown ones are kept */
    uint16_t flags; /* enum tpc_msg_flags */
    uint32_t partition;
    uint32_t model_revision;
    uint64_t device_id;
    uint64_t offset; /* set by append: 0, 1, 2 .. in its partition */
    int64_t unix_ms;
    int64_t received_unix_ms;
    struct tpc_id trace;
    struct tpc_bytes body;
    /* With TPC_MSG_CLOCK_UNSURE: which run of the monotonic clock it was received in (zero = not
     * known), and when. */
    struct tpc_id boot;
    uint64_t mono_ms;
};

enum tpc_cursor_class {
    TPC_CURSOR_HOLD = 1,  /* the log is kept for it: at the limit append() answers TPC_EAGAIN */
    TPC_CURSOR_LOSSY = 2, /* bounded: past its bounds it is moved and the gap reported */
    TPC_CURSOR_TAIL = 3   /* nothing is kept for it; not stored */
};

enum tpc_cursor_start { TPC_START_OLDEST = 0, TPC_START_NEWEST = 1 };

struct tpc_cursor_options {
    uint32_t size;
    uint32_t cursor_class; /* enum tpc_cursor_class */
    uint32_t start;        /* enum tpc_cursor_start: for a cursor not seen before */
    uint32_t reserved;
    struct tpc_str name; /* 1-64 of a-z 0-9 - _ . : */
    uint64_t max_bytes;  /* of LOSSY: 0 = the log's own bounds */
    uint64_t max_age_ms;
};

struct tpc_cursor_info {
    uint32_t size;
    uint32_t cursor_class;
    struct tpc_str name;
    uint64_t lag_records; /* over all partitions */
    uint64_t gap_records; /* passed over so far */
};

struct tpc_segment_info {
    uint32_t size;
    uint32_t reserved;
    uint64_t number;
    uint64_t bytes;
    uint64_t records;
    int64_t first_unix_ms;
    int64_t last_unix_ms;
};

struct tpc_bus_info {
    uint32_t size;
    uint32_t partitions;
    struct tpc_id log_id;
    int64_t created_unix_ms;
    uint64_t appended_sequence;
    uint64_t flushed_sequence;
    uint64_t bytes;         /* kept */
    uint64_t pending_bytes; /* appended, not flushed */
    uint64_t bad_frames;    /* skipped while reading, since start */
    uint64_t bad_bytes;
    uint64_t torn_bytes; /* cut off the end at start */
    uint64_t refused;    /* appends answered TPC_EAGAIN or TPC_ENOSPC */
    uint64_t trimmed_segments;
    uint64_t max_bytes; /* what is kept by size and age; 0 = not told */
    uint64_t max_age_ms;
};

enum tpc_read_flags {
    TPC_READ_FLUSHED = 1 /* only what flush() has reached: for readers whose own state survives */
};

/* One record; a non-zero return ends the read after it. */
typedef int tpc_record_fn(void *user, const struct tpc_record *record);
typedef int tpc_cursor_info_fn(void *user, const struct tpc_cursor_info *info);
typedef int tpc_segment_info_fn(void *user, const struct tpc_segment_info *info);

enum tpc_flush_flags { TPC_FLUSH_SYNC = 1 /* to stable storage, whatever the policy */ };

/*
 * init             partitions: how many the core uses. TPC_ECORRUPT, TPC_EVERSION, TPC_EAGAIN (in
 *                  use by another process). control thread.
 * fini             Frees. Accepts a half-initialised self. control thread.
 * append           All or nothing. Sets records[i].offset; *ret_sequence = sequence of the last one.
 *                  Never waits for the disk. TPC_EAGAIN: pending buffer full or a hold cursor at the
 *                  limit; TPC_ENOSPC: the reserve is reached; TPC_ETOOBIG: a record over the limit.
 *                  flags TPC_APPEND_RESERVE: may use the reserve (entities, ends of commands,
 *                  shutdown).
 * flush            Writes what is pending (and syncs, by policy or flag); *ret_sequence = reached.
 *                  On failure what was pending stays pending and is tried again by the next flush.
 *                  One thread leads, others wait for it. TPC_ENOSPC, TPC_EIO.
 * read             Calls fn for records of a partition from offset `from` on, at most max_records;
 *                  *ret_next = where to go on. TPC_EGAP: `from` is below what is kept: *ret_next =
 *                  first kept, nothing was read. Reading at the end reads 0 records and returns 0.
 *                  Several threads at once. Bad frames are skipped and counted (the offsets tell the
 *                  gap).
 * range            First kept offset and end (next to be appended) of a partition.
 * cursor_open      Finds or makes a cursor; *ret_cursor is small and stable until cursor_close.
 * cursor_position  Committed offset of a cursor in a partition.
 * commit           Moves the cursor: everything below offset is done. With TPC_FLUSH_SYNC the
 *                  position is on stable storage when it returns. The log is trimmed only below
 *                  synced positions; positions not yet synced are written by later flushes.
 * cursor_close     forget = 1: the cursor's name dies, too.
 * raise_end        Makes the next offset of a partition at least `offset` (after a loss of power the
 *                  history may know more than the log). Before the first append.
 * trim             Optional: drops whole segments that no cursor needs and retention does not ask
 *                  for.
 * info             Counters and sizes. Any thread.
 * cursors, segments  Optional: calls fn for each. Any thread.
 * shrink           Optional: memory is short: lets go of what it only keeps to be faster. Any
 *                  thread.
 */
struct tpc_bus_ops {
    struct tpc_iface iface; /* major 1 */
    const char *name;
    size_t instance_size;
    struct tpc_list options;
    int (*init)(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                uint32_t partitions);
    void (*fini)(void *self);
    int (*append)(void *self, struct tpc_record *records, uint32_t count, size_t record_size,
                  uint32_t flags, struct tpc_error *err, uint64_t *ret_sequence);
    int (*flush)(void *self, uint32_t flags, struct tpc_error *err, uint64_t *ret_sequence);
    int (*read)(void *self, uint32_t partition, uint64_t from, uint32_t max_records, uint32_t flags,
                tpc_record_fn *fn, void *user, uint64_t *ret_next);
    int (*range)(void *self, uint32_t partition, uint64_t *ret_first, uint64_t *ret_end);
    int (*cursor_open)(void *self, const struct tpc_cursor_options *o, struct tpc_error *err,
                       uint32_t *ret_cursor);
    int (*cursor_position)(void *self, uint32_t cursor, uint32_t partition, uint64_t *ret_offset);
    int (*commit)(void *self, uint32_t cursor, uint32_t partition, uint64_t offset, uint32_t flags);
    void (*cursor_close)(void *self, uint32_t cursor, int forget);
    int (*raise_end)(void *self, uint32_t partition, uint64_t offset);
    int (*trim)(void *self);
    int (*info)(void *self, struct tpc_bus_info *ret);
    int (*cursors)(void *self, tpc_cursor_info_fn *fn, void *user);
    int (*segments)(void *self, tpc_segment_info_fn *fn, void *user);
    void (*shrink)(void *self);
};

enum { TPC_APPEND_RESERVE = 1 };

TPC_END

#endif
