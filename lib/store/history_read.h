/*
 * The inside of queries, shared by their files.
 *
 * From the store to the batch:
 *
 *     history_source.c     chunks of a device, stored and open ones, in windows of time; chunks that
 *                          overlap one another make a cluster, nearly all stand alone
 *     history_segment.c    a cluster as rows in time order: one chunk decoded, or several merged
 *     history_query.c      rows into batches
 *     history_aggregate.c  heads of chunks, or rows, into aggregates
 *     history_sample.c     rows into few points
 *     history_vector.c     columns of values of one type, which all of them fill
 */
#ifndef TPI_STORE_HISTORY_READ_H
#define TPI_STORE_HISTORY_READ_H

#include <tpcore/arena.h>

#include "store/history_open.h"

/* ---- vectors ---- */

enum { TPI_VECTOR_EMPTY = 254 }; /* type of a vector without a value */

/* Values of one column. Where a row has none the array holds 0. */
struct tpi_vector {
    uint32_t type; /* enum tpc_type, TPC_COLUMN_MIXED or TPI_VECTOR_EMPTY */
    uint32_t rows;
    uint32_t missing;         /* rows without a value */
    uint32_t cap;             /* places: a multiple of 8 */
    void *data;               /* cap int64_t, double or bool: of TPC_INT, TPC_DOUBLE, TPC_BOOL */
    struct tpc_value *values; /* cap: of the other types; NULL until the first of them */
    uint8_t *validity;        /* cap / 8 bytes, 0 behind the last row */
};

void tpi_vector_fini(const struct tpc_allocator *alloc, struct tpi_vector *v);

/* No rows, and room for as many. Returns 0 or TPC_ENOMEM. */
int tpi_vector_clear(const struct tpc_allocator *alloc, struct tpi_vector *v, uint32_t cap);

/* Rows are added behind the last one; there is room for them. Each returns 0 or TPC_ENOMEM. */
int tpi_vector_run(const struct tpc_allocator *alloc, struct tpi_vector *v,
                   const struct tpi_vector *from, uint32_t first, uint32_t count);
int tpi_vector_pick(const struct tpc_allocator *alloc, struct tpi_vector *v,
                    const struct tpi_vector *from, const uint32_t *rows, uint32_t count);
/* value NULL = none. */
int tpi_vector_push(const struct tpc_allocator *alloc, struct tpi_vector *v,
                    const struct tpc_value *value);

/* Makes the vector hold `type` (TPC_COLUMN_MIXED where it holds another one already). */
int tpi_vector_widen(const struct tpc_allocator *alloc, struct tpi_vector *v, uint32_t type);

/* Sets the type of a vector with values and counts what is missing, after its arrays were filled
 * from outside. */
void tpi_vector_count(struct tpi_vector *v, uint32_t rows);

bool tpi_vector_has(const struct tpi_vector *v, uint32_t row);
/* The row has a value. */
struct tpc_value tpi_vector_get(const struct tpi_vector *v, uint32_t row);
/* The number of a row that has a value; false if it is none. Not-a-number is one here. */
bool tpi_vector_number(const struct tpi_vector *v, uint32_t row, double *ret);

/* ---- lists ---- */

struct tpi_list {
    void *items;
    size_t count;
    size_t cap;
    size_t size; /* of one */
};

/* A place that is cleared, or NULL. */
void *tpi_list_add(const struct tpc_allocator *alloc, struct tpi_list *l);
void tpi_list_fini(const struct tpc_allocator *alloc, struct tpi_list *l);

/* ---- sources ---- */

/* A chunk of the window: from the store, or open samples of the device. */
struct tpi_source {
    uint64_t rank; /* later appended = greater; two states of one chunk have the same */
    struct tpc_bytes blob;
    int64_t first_ms;
    int64_t last_ms;
    uint32_t rows;
    bool open; /* not from the store */
};

struct tpi_cluster {
    size_t first; /* in the sources */
    size_t count;
};

/* Open samples as they were copied, encoded. */
struct tpi_part {
    size_t begin; /* in raw, then in blobs */
    size_t len;
    uint64_t first_offset;
    uint64_t last_offset;
    uint64_t stored_id;
    struct tpi_chunk_span span;
};

/* ---- segments ---- */

/* Rows in time order with all wanted columns. */
struct tpi_segment {
    uint32_t rows;
    uint32_t cap;
    uint32_t begin; /* [begin, end) lies in the query's range */
    uint32_t end;
    int64_t *times;
    struct tpi_vector *columns;
};

/* A row of a segment that is merged. */
struct tpi_entry {
    int64_t unix_ms;
    uint32_t source; /* in the order of rank */
    uint32_t row;
};

/* A property of the present device, in the order of ids. */
struct tpi_wanted {
    uint16_t id;
    uint16_t column;
};

struct tpi_aggregation;
struct tpi_sampling;

struct tpi_history_rows {
    struct tpi_history *h;
    const struct tpc_allocator *alloc;
    struct tpc_error *err;   /* of the call that runs */
    struct tpc_arena *texts; /* the query's copy */
    struct tpi_history_query q;
    uint32_t columns; /* of a batch */
    uint32_t device;  /* present one */
    bool begun;       /* its open part was copied */
    uint64_t emitted; /* its rows so far */

    /* sources */
    bool descending; /* how it is read */
    bool ended;      /* nothing is left of the device but the window */
    int64_t low;     /* [low, high) is still to be read */
    int64_t high;
    int64_t window_low; /* the window */
    int64_t window_high;
    uint64_t window_rows; /* so many are wanted in one */
    uint64_t window_first;
    uint64_t window_most;
    struct tpc_arena *window;
    struct tpi_chunk_encoder encoder;
    struct tpi_buf raw;
    struct tpi_buf blobs;
    struct tpi_list parts;
    struct tpi_list sources;  /* of the window, by first_ms */
    struct tpi_list clusters; /* of the window */
    size_t cluster;           /* ascending: next; descending: one past the next */

    /* segments */
    struct tpi_wanted *wanted;
    uint32_t wanted_count;
    struct tpi_segment *decoded; /* one for each chunk of a cluster */
    size_t decoded_count;
    struct tpi_segment merged;
    struct tpi_list entries;
    uint64_t *dense; /* scratch: dense_cap values */
    size_t dense_cap;

    /* rows */
    const struct tpi_segment *segment;
    uint32_t *picked; /* rows of it that are given out; NULL where all of a run are */
    size_t picked_cap;
    bool all;
    uint32_t at;
    uint32_t end;

    /* the batch */
    uint32_t batch_rows; /* places */
    uint32_t row;        /* next one */
    int64_t *times;
    struct tpi_vector *vectors;
    struct tpc_column *heads;
    struct tpc_arena *kept; /* text and trees of the batch that no window holds */
    struct tpc_row_batch batch;

    struct tpi_aggregation *aggregation;
    struct tpi_sampling *sampling;
};

/* Returns rc with some text in the query's error if there is none yet. */
int tpi_read_fail(struct tpi_history_rows *r, int rc);

/* ---- history_source.c ---- */

/* Copies the open part of the present device and goes to its begin. */
int tpi_read_begin(struct tpi_history_rows *r);
/* Once more from the begin, over the same open part. */
void tpi_read_rewind(struct tpi_history_rows *r);
/* Next chunk, or chunks that overlap one another. Returns 1, 0 at the end of the device, or an error.
 */
int tpi_read_cluster(struct tpi_history_rows *r, struct tpi_source **ret, size_t *ret_count);
/* Whether the next cluster is of the same window: chunks of the present one stay valid. */
bool tpi_read_window_left(const struct tpi_history_rows *r);
/* Whether all of a chunk lies in the query's range. */
bool tpi_read_inside(const struct tpi_history_rows *r, const struct tpi_source *s);

/* ---- history_segment.c ---- */

/* The device's properties in the order of their ids. */
void tpi_read_wanted(struct tpi_history_rows *r);
int tpi_read_open_chunk(struct tpi_history_rows *r, const struct tpi_source *s,
                        struct tpi_chunk_reader *ret);
/* The chunk's next wanted column; *at counts through the wanted ones, 0 at first. A property that
 * was asked for twice comes twice. Returns 1, 0 or an error. */
int tpi_read_next_column(struct tpi_history_rows *r, struct tpi_chunk_reader *in, uint32_t *at,
                         struct tpi_chunk_column *ret);
/* Rows of a cluster; valid until the next call. */
int tpi_read_segment(struct tpi_history_rows *r, struct tpi_source *sources, size_t count,
                     const struct tpi_segment **ret);
void tpi_segment_fini(struct tpi_history_rows *r, struct tpi_segment *s);
/* First row in [begin, end) of the segment at or after a time; end if there is none. */
uint32_t tpi_segment_find(const struct tpi_segment *s, uint32_t begin, uint32_t end,
                          int64_t unix_ms);

/* ---- the three answers: each returns 1 with rows in the batch, 0 at the end, or an error ---- */

int tpi_aggregate_open(struct tpi_history_rows *r);
void tpi_aggregate_close(struct tpi_history_rows *r);
int tpi_aggregate_next(struct tpi_history_rows *r);

int tpi_sample_open(struct tpi_history_rows *r);
void tpi_sample_close(struct tpi_history_rows *r);
int tpi_sample_next(struct tpi_history_rows *r);

#endif
