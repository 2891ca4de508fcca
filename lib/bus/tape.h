/*
 * The newest part of a log in memory: frames as they stand in segments, in chunks, in order. Both
 * engines append here and readers that keep up read here; the file engine writes the chunks out as
 * they are. Every call is made under the engine's lock; only what a reader has pinned is read
 * without it. Frames do not carry their CRCs until the file engine sets them.
 */
#ifndef TPI_BUS_TAPE_H
#define TPI_BUS_TAPE_H

#include "bus/format.h"

enum {
    TPI_TAPE_HINTS = 4, /* per partition: where readers left off */
    TPI_TAPE_SPARES = 4 /* empty chunks kept */
};

struct tpi_chunk {
    struct tpi_chunk *newer;
    struct tpi_chunk *older;
    uint64_t id;           /* counting up */
    uint64_t start;        /* position of data[0] in the whole stream, segment headers included */
    uint64_t segment;      /* of the file engine */
    uint64_t segment_at;   /* where data[0] stands in that segment */
    uint64_t sequence;     /* of the first record */
    int64_t first_unix_ms; /* when it was begun, by the clock of appending */
    int64_t last_unix_ms;
    uint32_t len;
    uint32_t cap;
    uint32_t first_frame; /* where the first frame begins: after a segment's header */
    uint32_t pins;        /* readers in it */
    uint32_t dropped;     /* no longer in the tape: the last reader frees it */
    uint32_t partitions;
    uint8_t *data;
    uint64_t offsets[]; /* what each partition's next record was to get when it began */
};

struct tpi_tape_hint {
    uint64_t offset; /* the next record wanted */
    struct tpi_chunk *chunk;
    uint64_t chunk_id;
    uint32_t at;
};

/* Of one partition. */
struct tpi_tape_part {
    uint64_t next;  /* offset of the next record */
    uint64_t stamp; /* append that last touched it, and its run in that */
    uint32_t run;
    uint32_t next_hint;
    struct tpi_tape_hint hints[TPI_TAPE_HINTS];
};

struct tpi_tape_run {
    uint32_t partition;
    uint32_t count;
    uint32_t first; /* record, then along links; UINT32_MAX ends */
    uint32_t last;
};

struct tpi_tape {
    const struct tpc_allocator *alloc;
    struct tpi_tape_part *parts;
    uint32_t partitions;
    uint32_t chunk_bytes;
    struct tpi_chunk *oldest;
    struct tpi_chunk *newest;
    struct tpi_chunk *spares;
    uint32_t spare_count;
    uint64_t next_id;
    uint64_t stamp;
    uint64_t pos;      /* end of the stream */
    uint64_t sequence; /* of the last record */
    uint64_t bytes;    /* memory of the chunks' data that are in the tape */
    struct tpi_tape_run *runs;
    uint32_t *links;
    uint32_t link_cap;
};

/* Returns 0 or TPC_ENOMEM; fini is fine after a failure. */
int tpi_tape_init(struct tpi_tape *t, const struct tpc_allocator *alloc, uint32_t partitions,
                  uint32_t chunk_bytes);
void tpi_tape_fini(struct tpi_tape *t);

/* Checks records and says how much room they take at most. Without the lock. Returns 0, TPC_EINVAL
 * (partition) or TPC_ETOOBIG. */
int tpi_tape_measure(const struct tpi_tape *t, const struct tpc_record *records, uint32_t count,
                     size_t record_size, uint64_t record_max, struct tpc_error *err,
                     size_t *ret_bytes);

/* Makes the newest chunk one with room for n bytes; *ret_begun = whether it is a new one. Returns 0
 * or TPC_ENOMEM. */
int tpi_tape_room(struct tpi_tape *t, size_t n, int64_t now_ms, bool *ret_begun);

/* The next room is in a new chunk of at least n bytes. Returns 0 or TPC_ENOMEM. */
int tpi_tape_begin(struct tpi_tape *t, size_t n, int64_t now_ms);

/* Room for links of count records. Returns 0 or TPC_ENOMEM. */
int tpi_tape_links(struct tpi_tape *t, uint32_t count);

/* Appends one frame; the room was made before and count > 0. Sets the records' offsets. Returns the
 * frame's length. */
uint32_t tpi_tape_append(struct tpi_tape *t, struct tpc_record *records, uint32_t count,
                         size_t record_size, int64_t now_ms);

/* Frees the empty chunks that are kept for later. */
void tpi_tape_free_spares(struct tpi_tape *t);

/* Drops the oldest chunk, which is not the newest, or is after begin. */
void tpi_tape_drop(struct tpi_tape *t);

/* Offset from which a partition is in memory. */
uint64_t tpi_tape_first(const struct tpi_tape *t, uint32_t partition);

/* A piece of a chunk to read in, pinned. */
struct tpi_tape_view {
    struct tpi_chunk *chunk;
    uint32_t at;
    uint32_t end;
    uint64_t after; /* once it is read to its end: the reader's offset is at least this */
};

/* Finds where offset `from` of a partition stands; limit = stream position to stop at. Returns 1
 * with a view, 0 if there is nothing to read, TPC_EGAP if it is not in memory any more. */
int tpi_tape_seek(struct tpi_tape *t, uint32_t partition, uint64_t from, uint64_t limit,
                  struct tpi_tape_view *ret);

/* Ends a view; at = frame where a reader that wants `offset` goes on. */
void tpi_tape_leave(struct tpi_tape *t, uint32_t partition, const struct tpi_tape_view *view,
                    uint32_t at, uint64_t offset);

/* Reading within a view, without the lock: calls fn for up to *max_records records from *from on,
 * which both move. *ret_at = where to go on. Returns what fn returned. */
int tpi_tape_read(const struct tpi_tape_view *view, uint32_t partition, uint64_t *from,
                  uint32_t *max_records, tpc_record_fn *fn, void *user, uint32_t *ret_at);

/* The records of one partition in a frame, likewise; *ret_whole = the frame has no more of them. */
int tpi_frame_deliver(const struct tpi_frame *f, uint32_t partition, uint64_t *from,
                      uint32_t *max_records, tpc_record_fn *fn, void *user, bool *ret_whole);

#endif
