/*
 * Chunks: a run of one device's samples as bytes, described in docs/format/history.md.
 *
 * Times are shared by all columns; a column holds the values of one property in one type. Encoding
 * takes samples in the order of the log and keeps, of samples with the same property and time, the
 * last one. Nothing here knows a back end; modules and tools may use it.
 */
#ifndef TPI_STORE_CHUNK_H
#define TPI_STORE_CHUNK_H

#include "base/buf.h"

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/msg.h>
#include <tpcore/value.h>

enum {
    TPI_CHUNK_VERSION = 2,
    TPI_CHUNK_MAX_SAMPLES = 1 << 22, /* one encoder call; a message's limit and a full chunk */
};

/* ---- open samples: the bytes that a device's unwritten samples stand in ---- */

enum {
    CHUNK_SHAPES = 4, /* of rows; a device whose rows have more puts the others sample by sample */
    CHUNK_SHAPE_COLUMNS = 1 << 14 /* of all shapes */
};

struct tpi_chunk_shape_column {
    int64_t last; /* integer, or decimal over 10^scale */
    uint16_t property;
    uint8_t type;
    uint8_t scale;
    uint8_t misses; /* doubles since the last one that was a decimal */
};

struct tpi_chunk_shapes {
    struct tpi_chunk_shape_column *columns;
    uint32_t cap;
    uint32_t count;             /* of shapes */
    uint32_t end[CHUNK_SHAPES]; /* in columns[] */
};

struct tpi_chunk_samples {
    struct tpi_buf bytes; /* for tpi_chunk_encode(); a copy of them stands by itself */
    struct tpi_chunk_shapes shapes;
    int64_t last_ms;
    uint32_t last_shape;
    bool stale; /* bytes were taken back: the shapes do not fit them */
};

/* Points of one time. */
struct tpi_chunk_row {
    int64_t unix_ms;
    const struct tpc_point *points; /* their unix_ms is not looked at */
    size_t stride;                  /* from one to the next */
    uint32_t count;
};

struct tpi_chunk_mark {
    size_t len;
    int64_t last_ms;
};

/* Allocates nothing. alloc NULL = the default. */
void tpi_chunk_samples_init(struct tpi_chunk_samples *s, const struct tpc_allocator *alloc);
void tpi_chunk_samples_fini(struct tpi_chunk_samples *s);

/* Memory that it holds. */
size_t tpi_chunk_samples_bytes(const struct tpi_chunk_samples *s);

/* Appends a row. Points without property, of no type or nested deeper than 32 are left out. Returns
 * the number of points taken, or TPC_ENOMEM or TPC_ETOOBIG; the samples are then as before. */
int tpi_chunk_samples_row(struct tpi_chunk_samples *s, const struct tpi_chunk_row *row);

/* Takes back all rows that were appended since the mark. */
struct tpi_chunk_mark tpi_chunk_samples_mark(const struct tpi_chunk_samples *s);
void tpi_chunk_samples_back(struct tpi_chunk_samples *s, struct tpi_chunk_mark to);

/* Appends one sample to a run. unix_ms NULL = the time of the sample before it; the first one of a
 * run has a time. property is not 0. Trees become CBOR. Returns 0, TPC_EINVAL (no such type, or
 * nested deeper than 32), TPC_ETOOBIG or TPC_ENOMEM; out is then as before. */
int tpi_chunk_sample_put(struct tpi_buf *out, const int64_t *unix_ms, uint16_t property,
                         const struct tpc_value *value);

/* ---- encoding ---- */

struct tpi_chunk_sample;
struct tpi_chunk_group;
struct tpi_chunk_run;

/* Scratch that is kept from chunk to chunk; one thread at a time. */
struct tpi_chunk_encoder {
    const struct tpc_allocator *alloc;
    struct tpi_chunk_sample *samples; /* in the order of the log */
    struct tpi_chunk_sample *sorted;  /* by property, in it in the order of the log */
    int64_t *numbers;                 /* of one column */
    uint32_t *rows;
    uint8_t *kinds; /* of its doubles */
    size_t sample_cap;
    struct tpi_chunk_group *groups; /* one for each property */
    size_t group_cap;
    struct tpi_chunk_run *runs; /* one for each time as it came */
    size_t run_cap;
    uint16_t *group_of; /* property -> group + 1; all 0 between two calls */
    struct tpi_chunk_shapes shapes;
    struct tpi_buf columns; /* of a group */
    struct tpi_buf body;    /* of a column */
};

struct tpi_chunk_span {
    int64_t first_unix_ms;
    int64_t last_unix_ms;
    uint32_t rows; /* distinct times */
    uint64_t first_offset;
    uint64_t last_offset;
};

/* Allocates nothing. alloc NULL = the default. */
void tpi_chunk_encoder_init(struct tpi_chunk_encoder *e, const struct tpc_allocator *alloc);
void tpi_chunk_encoder_fini(struct tpi_chunk_encoder *e);

/*
 * Encodes samples that were put as above, first_offset and last_offset being those of the
 * log records that they came in, and appends the chunk to out.
 *
 * Returns 0, TPC_EINVAL (no sample), TPC_ECORRUPT (open bytes are damaged), TPC_ETOOBIG or
 * TPC_ENOMEM; out is then as before.
 */
int tpi_chunk_encode(struct tpi_chunk_encoder *e, struct tpc_bytes open, uint64_t first_offset,
                     uint64_t last_offset, struct tpi_buf *out, struct tpi_chunk_span *ret);

/* ---- decoding ---- */

struct tpi_chunk_reader {
    struct tpi_reader in; /* at the next column */
    struct tpc_bytes times;
    uint64_t step; /* of the times */
    struct tpi_chunk_span span;
    uint32_t columns;
    uint32_t column; /* next one */
    uint32_t last_key;
    uint32_t group_key;       /* last one of this group */
    const uint8_t *group_end; /* NULL = columns are not in groups */
    uint8_t version;
};

struct tpi_chunk_column {
    uint16_t property;
    uint8_t type;              /* enum tpc_type */
    uint8_t coding;            /* of the format, as all below `last` */
    uint32_t count;            /* values in it */
    struct tpc_bytes presence; /* bitmap of rows; empty = every row has one */
    double min;                /* of TPC_INT, TPC_DOUBLE (NaN left out) and TPC_BOOL; else 0 */
    double max;
    double sum;
    struct tpc_value first; /* of the same types; else null */
    struct tpc_value last;
    bool nan; /* some of its doubles are no number (version 1: may be none) */
    struct tpc_bytes values;
    struct tpc_bytes patches;
    int64_t base; /* first number */
    uint32_t patch_count;
    uint8_t shift;
};

/* Reads the head. blob stays in use. Returns 0, TPC_ECORRUPT or TPC_EVERSION. */
int tpi_chunk_open(struct tpi_chunk_reader *r, struct tpc_bytes blob, struct tpc_error *err);

/* Times of all rows, ascending: ret has span.rows places. Returns 0 or TPC_ECORRUPT. */
int tpi_chunk_times(const struct tpi_chunk_reader *r, struct tpc_error *err, int64_t *ret);

/* The next column, in the order of (property, type). Returns 1, 0 at the end, or TPC_ECORRUPT. */
int tpi_chunk_next(struct tpi_chunk_reader *r, struct tpc_error *err, struct tpi_chunk_column *ret);

/* Steps over columns of properties below this one, 64 at a time where there are many. Returns 0 or
 * TPC_ECORRUPT. */
int tpi_chunk_seek(struct tpi_chunk_reader *r, uint16_t property, struct tpc_error *err);

/*
 * Values of a column: ret[row] is set for every row that has one, and bit `row` of
 * ret_validity; others are left alone. Text and blobs point into the chunk, trees are the arena's.
 *
 * Returns 0, TPC_ECORRUPT or TPC_ENOMEM.
 */
int tpi_chunk_values(const struct tpi_chunk_column *c, uint32_t rows, struct tpc_arena *arena,
                     struct tpc_error *err, struct tpc_value *ret, uint8_t *ret_validity);

/*
 * Values of a column side by side: ret has c->count places, and place k is the value of the k-th
 * row that has one. tpi_chunk_ints() reads TPC_INT and TPC_BOOL (0, 1), tpi_chunk_doubles() those,
 * converted, and TPC_DOUBLE.
 *
 * Returns 0, TPC_EINVAL (column of another type) or TPC_ECORRUPT; ret is then undefined.
 */
int tpi_chunk_ints(const struct tpi_chunk_column *c, struct tpc_error *err, int64_t *ret);
int tpi_chunk_doubles(const struct tpi_chunk_column *c, struct tpc_error *err, double *ret);

#endif
