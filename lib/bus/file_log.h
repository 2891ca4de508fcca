/*
 * Engine "file", shared by its files. One lock guards everything in struct tpi_file_log; it is
 * never held over a file operation. Two roles are taken under it and kept over file operations:
 * `leading` (who writes segments) and `saving` (who writes cursors).
 *
 * Positions count bytes of the stream of segments since the engine was opened, as the tape does:
 * synced_pos <= written_pos <= tape.pos. What lies below flushed_pos is acknowledged, and may leave
 * memory.
 */
#ifndef TPI_BUS_FILE_LOG_H
#define TPI_BUS_FILE_LOG_H

#include "base/env.h"
#include "bus/bus.h"
#include "bus/base.h"

#include <pthread.h>

enum {
    TPI_LOG_PATH_MAX = 1024,
    TPI_LOG_CHUNK_BYTES = 256 << 10,
    TPI_LOG_INDEX_BYTES = 256 << 10, /* at least so far apart are the entries of an index */
    TPI_LOG_READERS = 8,             /* kept open for readers that lag */
    TPI_LOG_PARTS = 64               /* of one write */
};

/* Where frames of a segment begin, with the offsets that each partition had reached: each entry is
 * the file position and partitions offsets. */
struct tpi_log_index {
    uint64_t *entries;
    uint32_t count;
    uint32_t cap;
    uint64_t last; /* file position of the last entry */
    bool whole;    /* covers all of the segment that is there */
};

struct tpi_log_segment {
    uint64_t number;
    uint64_t bytes; /* with what is pending */
    uint64_t first_sequence;
    int64_t first_unix_ms;
    int64_t last_unix_ms;
    uint32_t header_bytes;
    bool bad_told;   /* a bad place was logged */
    uint64_t bad_at; /* bad places before this were counted */
    struct tpi_log_index index;
    uint64_t offsets[]; /* partitions: where it begins */
};

/* A reader that is kept for the next read that goes on where the last one ended. */
struct tpi_log_seat {
    struct tpi_segment_reader reader;
    uint64_t segment; /* 0 = empty */
    uint32_t partition;
    uint64_t offset;
    bool taken;
    uint64_t used; /* for the choice of the one to give up */
};

struct tpi_file_log {
    struct tpi_bus_base base;
    const struct tpc_host *host;
    void *ctx;
    struct tpi_env env;
    pthread_cond_t changed; /* leading or saving ended */
    bool locks;             /* lock and changed were made */
    void *lock_file;

    /* options */
    char *dir;
    size_t dir_len;
    bool synced;
    uint64_t sync_interval_ms;
    uint64_t segment_bytes;
    uint64_t pending_bytes;
    uint64_t cache_bytes;
    uint64_t max_bytes;
    uint64_t max_age_ms;
    uint64_t reserve_bytes;
    uint64_t record_max;
    uint64_t cursor_interval_ms;

    struct tpc_id log_id;
    int64_t created_unix_ms;
    struct tpi_log_segment **segments; /* oldest first; the last one is appended to */
    uint32_t segment_count;
    uint32_t segment_cap;
    uint64_t bytes; /* of all segments */

    /* who leads writes these; written_pos under the lock */
    bool leading;
    void *file;
    uint64_t file_segment;
    uint64_t written_pos;
    uint64_t synced_pos;
    uint64_t flushed_pos;
    uint64_t written_sequence;
    uint64_t synced_sequence;
    uint64_t flushed_sequence;
    uint64_t last_sync_ns;

    bool saving;
    bool save_wanted; /* trimming waits for it */
    uint64_t generation;
    uint64_t last_save_ns;

    bool reserve_held; /* the file is there */
    bool low;          /* no space: only appends with RESERVE */
    uint64_t low_checked_ns;

    struct tpi_log_seat seats[TPI_LOG_READERS];
    uint64_t seat_clock;

    uint64_t bad_frames;
    uint64_t bad_bytes;
    uint64_t torn_bytes;
    uint64_t refused;
    uint64_t trimmed;
};

/* dir/name; ret has TPI_LOG_PATH_MAX bytes. */
void tpi_log_path(const struct tpi_file_log *log, const char *name, char *ret);
void tpi_log_segment_path(const struct tpi_file_log *log, uint64_t number, char *ret);

/* file_open.c: reads the folder, cuts a torn tail, or makes a new log. Fails through host->fail. */
int tpi_log_open(struct tpi_file_log *log, uint32_t partitions);

/* file_segment.c: the list, under the lock. */
struct tpi_log_segment *tpi_log_segment_add(struct tpi_file_log *log, uint64_t number);
void tpi_log_segment_free(struct tpi_file_log *log, struct tpi_log_segment *s);
struct tpi_log_segment *tpi_log_segment_last(const struct tpi_file_log *log);

/* An index entry for the frame at file position `at`, if the last one is far enough away; offsets =
 * what each partition has reached before it. Out of memory only makes the index thinner. */
void tpi_log_index_note(const struct tpi_file_log *log, struct tpi_log_index *index, uint64_t at,
                        const uint64_t *offsets);
/* The same with the tape's present offsets. */
void tpi_log_index_append(struct tpi_file_log *log, struct tpi_log_segment *s, uint64_t at);
void tpi_log_index_free(const struct tpi_file_log *log, struct tpi_log_index *index);

/* File position to begin at for a partition's offset; 0 = the first frame. */
uint64_t tpi_log_index_find(const struct tpi_file_log *log, const struct tpi_log_index *index,
                            uint32_t partition, uint64_t offset);

/* Whether append() may not take `more` bytes because a hold cursor keeps what should go. */
bool tpi_log_is_held(const struct tpi_file_log *log, uint64_t more);

/* Asks for the cursors to be saved soon if that lets the oldest segment go. Under the lock. */
void tpi_log_want_save(struct tpi_file_log *log);

/* Moves lossy cursors, takes segments that may go off the list and removes their files. Called
 * without the lock. */
void tpi_log_trim(struct tpi_file_log *log);

/* file_flush.c. Both without the lock. */
int tpi_log_flush(struct tpi_file_log *log, uint32_t flags, struct tpc_error *err,
                  uint64_t *ret_sequence);

/* file_space.c: making the reserve, giving it up after TPC_ENOSPC (true: it is worth trying again),
 * looking whether space is back. Without the lock. */
void tpi_log_reserve_make(struct tpi_file_log *log);
bool tpi_log_reserve_give(struct tpi_file_log *log);
void tpi_log_space_check(struct tpi_file_log *log, bool may_write);

/* file_cursor.c. Without the lock. */
int tpi_log_cursors_load(struct tpi_file_log *log);
int tpi_log_cursors_save(struct tpi_file_log *log);

/* file_read.c */
int tpi_log_read(void *self, uint32_t partition, uint64_t from, uint32_t max_records,
                 uint32_t flags, tpc_record_fn *fn, void *user, uint64_t *ret_next);
/* Drops what is written and only kept for readers that follow closely. */
void tpi_log_shrink(void *self);
void tpi_log_readers_close(struct tpi_file_log *log);

#endif
