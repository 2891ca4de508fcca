/*
 * The inside of the history stage, shared by its files.
 *
 * An open chunk with samples that are not stored yet is `dirty` and stands in its partition's list,
 * which is in the order of `dirty_offset` because offsets only grow: its head is the watermark. A
 * full chunk is `frozen`: nothing is added to it, it waits for the next commit. Only the pump's
 * thread changes chunks and lists, under `lock`; so it may read them without, and a query that
 * copies takes the lock.
 */
#ifndef TPI_STORE_HISTORY_OPEN_H
#define TPI_STORE_HISTORY_OPEN_H

#include <pthread.h>

#include "base/map.h"
#include "store/chunk.h"
#include "store/history.h"

struct open_device {
    uint64_t id;
    uint64_t off_end;        /* as of the last commit */
    uint32_t partition;      /* of off_end */
    bool has_stored;         /* chunks of an earlier run: stored_max_ms is not known yet */
    struct open_chunk *last; /* the open one, if it is not frozen */
    struct open_chunk *first;
    int64_t stored_max_ms; /* newest time in chunks of an earlier run; INT64_MIN = none */
    int64_t closed_max_ms; /* newest time in chunks of this run that are no longer open */
};

/* word: 0 = free; else the address of a struct open_device, or what is stored of one that is silent.
 */
struct open_slot {
    uint64_t id;
    uint64_t word;
};

struct open_table {
    struct open_slot *slots;
    size_t cap;
    size_t count;
};

struct open_chunk {
    struct tpi_chunk_samples samples; /* what each message touches stands first */
    int64_t min_ms;
    int64_t max_ms;
    uint64_t first_offset;
    uint64_t last_offset;
    uint32_t partition;
    uint32_t rows;
    uint32_t values;
    uint32_t stored_rows; /* in its provisional row */
    bool dirty;
    bool frozen;
    bool touched; /* since it was last looked at for eviction */
    bool chosen;
    bool evict; /* free it after the commit, though it is not full */
    struct open_device *device;
    struct open_chunk *next; /* of the device */
    struct open_chunk *dirty_prev;
    struct open_chunk *dirty_next;
    struct open_chunk *use_prev; /* as they were begun or passed over; not of frozen ones */
    struct open_chunk *use_next;
    struct open_chunk *full_next; /* frozen ones in order */
    struct open_chunk *chosen_next;
    uint64_t dirty_offset; /* lowest one not stored */
    uint64_t dirty_ms;     /* monotonic time when that came */
    int64_t prior_max_ms;  /* closed_max_ms when it began */
    uint64_t stored_id;    /* its provisional row; 0 = none */
    uint64_t written_id;   /* in the transaction that runs */
};

struct open_partition {
    struct open_chunk *dirty_first;
    struct open_chunk *dirty_last;
    _Atomic uint64_t applied;   /* next offset */
    _Atomic uint64_t watermark; /* stored */
    _Atomic uint64_t end;       /* stored: nothing marked lies at or above it */
};

struct open_property {
    struct open_property *next;
    uint64_t key;
    size_t len;
    char text[];
};

/* A device whose presence changed since the last commit. */
struct open_presence {
    struct open_presence *next;
    uint64_t device_id;
};

struct tpi_history {
    const struct tpi_env *env;
    const struct tpc_history_ops *ops;
    void *self;
    struct tpi_history_limits limits;
    uint32_t partition_count;
    struct open_partition *partitions;
    pthread_mutex_t lock;
    struct open_table devices;
    struct open_chunk *use_first;
    struct open_chunk *use_last;
    struct open_chunk *full_first;
    struct open_chunk *full_last;
    uint32_t full_count;
    uint64_t full_ms;  /* when the first of them became full */
    bool squeeze;      /* the next commit lets go of half of the open chunks */
    bool moved;        /* a partition was applied to since the last commit */
    uint64_t moved_ms; /* since when */
    size_t open_bytes;
    uint32_t open_count; /* of chunks that are not frozen */
    struct tpi_chunk_encoder encoder;
    struct tpi_buf blob;
    struct tpc_id log_id;
    int64_t log_created_ms;
    bool log_changed;
    pthread_mutex_t property_lock;
    struct open_property *property_first;
    struct open_property *property_last;
    uint32_t property_count;
    uint64_t property_ms;
    struct tpi_history_registry registry; /* user and functions NULL: none */
    struct open_presence *presence;
    struct tpi_map64 presence_known; /* the same by device */
    struct tpi_buf packed;           /* data of the marks on their way */
    struct tpi_map64 known;          /* property mark -> hash of its text, as a pointer */
    enum { KEEP_RESTING, KEEP_DELETING, KEEP_GIVING_BACK } keep_stage;
    size_t keep_iter;  /* in devices */
    size_t keep_first; /* where the turn that runs began */
    struct tpi_history_counters counters;
};

/* Sizes that count against open_bytes. */
size_t tpi_open_chunk_bytes(const struct open_chunk *c);

/* All under lock. */
void tpi_open_dirty_remove(struct tpi_history *h, struct open_chunk *c);
void tpi_open_use_add(struct tpi_history *h, struct open_chunk *c);
void tpi_open_use_remove(struct tpi_history *h, struct open_chunk *c);
/* Takes it out of every list and frees it. */
void tpi_open_chunk_drop(struct tpi_history *h, struct open_chunk *c);
void tpi_open_gauges(struct tpi_history *h);

/* ---- history_devices.c, under lock ---- */
/* NULL: not known, or nothing came of it since the start. */
struct open_device *tpi_open_device_get(const struct tpi_history *h, uint64_t id);
/* Known or not: 0 = nothing is stored. */
uint64_t tpi_open_device_off_end(const struct tpi_history *h, uint64_t id, uint32_t *ret_partition);
/* The one that is there, or a new one. Returns 0 or TPC_ENOMEM. */
int tpi_open_device_make(struct tpi_history *h, uint64_t id, struct open_device **ret);
/* At start: chunks of an earlier run. Returns 0 or TPC_ENOMEM. */
int tpi_open_device_rest(struct tpi_history *h, uint64_t id, uint64_t off_end, uint32_t partition);
/* Walks in no order, *iter = 0 at first; false at the end. */
bool tpi_open_device_next(const struct tpi_history *h, size_t *iter, uint64_t *ret_id);
void tpi_open_devices_free(struct tpi_history *h);

/* ---- history_latest.c: pump ---- */
/* Remembers that the device's presence changed. Returns 0 or TPC_ENOMEM. */
int tpi_open_presence_note(struct tpi_history *h, uint64_t device_id);
void tpi_open_presence_clear(struct tpi_history *h);
/* A mark of an earlier run to the registry. */
int tpi_open_presence_load(void *history, const struct tpc_mark *mark);
/* Text of a presence mark, "online 1795000000000 1794000000000": last seen, first online. */
enum { TPI_PRESENCE_TEXT = 64, TPI_PRESENCE_MAX = 65536 };
/* So many wait that a commit is due. */
bool tpi_open_presence_many(const struct tpi_history *h);
size_t tpi_open_presence_text(const struct tpi_history_presence *p, char *text);

#endif
