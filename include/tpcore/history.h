/*
 * History: what devices said, by device, property and time. A sample is unique by (device,
 * property, time); the last one appended wins.
 *
 * One query answers one of three questions about a list of devices and properties: the samples
 * themselves, aggregates over windows of time, or few points that stand for many. Whatever it is,
 * it is read the same way: tpc_rows_next() gives batches of rows, each with one array of times and
 * for each column one contiguous array of values of one type, ready to be summed up, plotted, or
 * handed on through <tpcore/arrow.h>.
 *
 *     struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
 *     q.devices = &device, q.device_count = 1;
 *     q.properties = &key, q.property_count = 1;
 *     tpc_history_query(core, &q, &rows);
 *     while (tpc_rows_next(rows, &b) > 0) {
 *         const struct tpc_column *c = &b->columns[0];
 *         for (uint32_t i = 0; c->doubles != NULL && i < b->count; i++) {
 *             use(b->unix_ms[i], c->doubles[i]);
 *         }
 *     }
 *     tpc_rows_close(rows);
 */
#ifndef TPCORE_HISTORY_H
#define TPCORE_HISTORY_H

#include <tpcore/arena.h>
#include <tpcore/device.h>

TPC_BEGIN

struct tpc_rows;

/*
 * What an aggregate says of the samples of one property in one window. Numbers are ints, doubles
 * and bools (0, 1); a not-a-number is left out of all but count, first and last. Where nothing is to be
 * told (no sample, no number) the row has no value, but the count is 0.
 */
enum tpc_aggregate_kind {
    TPC_AGG_COUNT = 1, /* samples, of whatever type; int */
    TPC_AGG_MIN = 2,   /* double, as the next ones: ints beyond 2^53 are rounded */
    TPC_AGG_MAX = 3,
    TPC_AGG_SUM = 4,
    TPC_AGG_AVG = 5,
    TPC_AGG_FIRST = 6,      /* the oldest sample, in its own type */
    TPC_AGG_LAST = 7,       /* the newest one */
    TPC_AGG_FIRST_TIME = 8, /* when that was: unix ms; int */
    TPC_AGG_LAST_TIME = 9,
    TPC_AGG_PERCENTILE = 10 /* of numbers, linear between neighbours: 50 = median; double */
};

/* Frozen for ever. */
struct tpc_aggregate {
    uint32_t kind;     /* enum tpc_aggregate_kind */
    uint32_t reserved; /* 0 */
    double percent;    /* of TPC_AGG_PERCENTILE: 0 to 100; else 0 */
};

/* How few points stand for many. Each column is thinned by itself; values that are no numbers, and
 * not-a-number, are left out; results are doubles. */
enum tpc_sample_method {
    TPC_SAMPLE_NONE = 0,
    /* Largest triangle three buckets (S. Steinarsson, Downsampling Time Series for Visual
     * Representation, 2013): picks samples so that the line keeps its look; the first and the last
     * sample are always there. */
    TPC_SAMPLE_LTTB = 1,
    /* Buckets of equally many samples; the average of their times and of their values. */
    TPC_SAMPLE_AVERAGE = 2
};

enum {
    TPC_HISTORY_MAX_COLUMNS = 65535,       /* properties x aggregates */
    TPC_HISTORY_MAX_POINTS = 100000,       /* sample_points */
    TPC_HISTORY_MAX_PERCENTILE = 16777216, /* numbers of one window that a percentile sorts */
    TPC_HISTORY_BATCH_ROWS = 4096          /* rows of a batch */
};

/*
 * A query. The answer of each device comes in rows, devices in the order of the query.
 *
 * Samples (no aggregates, sample 0): a row for each time at which one of the properties has a
 * sample; a column for each property.
 *
 * Aggregates: a row for each window with a sample of one of the properties; unix_ms is the
 * window's begin. Windows are window_ms long, one begins at origin_unix_ms (whole days of your time
 * zone: window_ms 86,400,000 and its midnight); the first and the last may be cut by the range.
 * window_ms 0: one row, for all of the range, and unix_ms is from_unix_ms. A column for each
 * property and aggregate: column p * aggregate_count + a.
 *
 * Downsampling (sample, sample_points): at most sample_points points for each column.
 *
 * Paging: rows of a device have distinct times, so the last time of a page is all that it takes to
 * go on: tpc_history_page().
 */
struct tpc_history_query {
    uint32_t size;
    uint32_t descending; /* 1 = newest first */
    struct tpc_device *const *devices;
    uint32_t device_count;
    uint32_t property_count;
    const struct tpc_str *properties;
    int64_t from_unix_ms; /* inclusive; INT64_MIN = all */
    int64_t to_unix_ms;   /* exclusive; INT64_MAX = all */
    uint64_t limit;       /* rows per device; 0 = no limit */
    const struct tpc_aggregate *aggregates;
    uint32_t aggregate_count;
    uint32_t sample;        /* enum tpc_sample_method; not with aggregates */
    uint64_t window_ms;     /* of aggregates */
    int64_t origin_unix_ms; /* of aggregates */
    uint32_t sample_points; /* LTTB: at least 3; average: at least 1 */
    uint32_t reserved;
};
#define TPC_HISTORY_QUERY_INIT                                                                     \
    {                                                                                              \
        sizeof(struct tpc_history_query), 0, 0, 0, 0, 0, INT64_MIN, INT64_MAX, 0, 0, 0, 0, 0, 0,   \
            0, 0                                                                                   \
    }

/* Type of a column whose values have several types: see `values`. */
#define TPC_COLUMN_MIXED 255u

/*
 * One column of a batch: `count` (of the batch) values, one for each row, in the array that its type
 * says; the others are NULL. Where a row has no value the array holds 0. A property of one type
 * according to its model has that type in every batch, or TPC_NULL in one without a value.
 */
struct tpc_column {
    struct tpc_str property;        /* key, as in the query */
    uint32_t type;                  /* enum tpc_type of all values, or TPC_COLUMN_MIXED */
    uint32_t missing;               /* rows without a value */
    const uint8_t *validity;        /* bit i (byte i / 8, bit i % 8) set = row i has a value */
    const int64_t *ints;            /* TPC_INT */
    const double *doubles;          /* TPC_DOUBLE */
    const bool *bools;              /* TPC_BOOL */
    const struct tpc_value *values; /* text, blob, array, map and mixed; NULL for TPC_NULL */
    uint32_t aggregate;             /* enum tpc_aggregate_kind; 0 = samples */
    uint32_t reserved;
    double percent; /* of TPC_AGG_PERCENTILE */
};

/* A run of rows of one device in time order. */
struct tpc_row_batch {
    uint32_t size;
    uint32_t count;         /* rows, 1 to TPC_HISTORY_BATCH_ROWS */
    struct tpc_str device;  /* key */
    const int64_t *unix_ms; /* count times */
    const struct tpc_column *columns;
    uint32_t column_count;
    uint32_t column_size;  /* sizeof(struct tpc_column) */
    uint32_t device_index; /* in the query's devices */
    uint32_t reserved;
};

/*
 * Opens a query over stored and open samples: all that was stored by the time of the call is in it;
 * what comes later may be. Devices, properties and aggregates are copied. A property that a device's product
 * does not have is no error: its column has no values for that device.
 *
 * Returns 0, TPC_EINVAL (no devices, no properties or too many columns, an empty range, an unknown
 * aggregate or method: the text says which), TPC_ESTATE (the core was never started), TPC_ENOMEM,
 * TPC_EIO, TPC_ECORRUPT.
 * Ownership: *ret is the caller's: tpc_rows_close(), before the core is started again or destroyed.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_history_query(struct tpc_core *core, const struct tpc_history_query *query,
                              struct tpc_rows **ret);

/*
 * Next batch, up to TPC_HISTORY_BATCH_ROWS rows (fewer with very many columns).
 *
 * Returns 1 with a batch, 0 at the end, or a negative code (TPC_EIO, TPC_ECORRUPT, TPC_ENOMEM,
 * TPC_ETOOBIG: a percentile over too many numbers).
 * Ownership: *ret is valid until the next call or close.
 * Thread: one at a time per query.
 * Since: 0.1
 */
TPC_API int tpc_rows_next(struct tpc_rows *rows, const struct tpc_row_batch **ret);

/*
 * Ends a query; NULL is fine.
 *
 * Returns NULL.
 * Ownership: takes rows.
 * Thread: one at a time per query.
 * Since: 0.1
 */
TPC_API struct tpc_rows *tpc_rows_close(struct tpc_rows *rows);

/*
 * Value of one row, whatever the type of the column.
 *
 * Returns 1 with *ret, or 0 if the row has none; *ret is then null.
 * Ownership: text and trees are valid as long as the batch.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_column_value(const struct tpc_column *column, uint32_t row, struct tpc_value *ret);

/*
 * Moves the range of a query of one device behind its last batch, in the query's direction: opened
 * again it gives the next page. Not for downsampling, whose points are chosen from all of the range.
 *
 * Returns 1; 0 if nothing is left of the range (the query is then as before); TPC_EINVAL.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_history_page(struct tpc_history_query *query, const struct tpc_row_batch *last);

/*
 * The last sample of a property at or before a time, from the history; tpc_latest_get() is faster
 * for the present. Text and trees are copied into arena (NULL is fine for scalars). ret_unix_ms may
 * be NULL: when it was measured.
 *
 * Returns 0; TPC_ENOENT (no such property, or no sample so early); TPC_EINVAL (also text or a tree
 * without an arena); or as tpc_history_query().
 * Ownership: *ret points into the arena.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_history_latest(struct tpc_device *device, struct tpc_str property,
                               int64_t at_unix_ms, struct tpc_arena *arena, struct tpc_value *ret,
                               int64_t *ret_unix_ms);

TPC_END

#endif
