/*
 * History: what devices said, by device, property and time. A sample is unique by (device,
 * property, time); the last one appended wins.
 */
#ifndef TPCORE_HISTORY_H
#define TPCORE_HISTORY_H

#include <tpcore/device.h>

TPC_BEGIN

struct tpc_rows;

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
};
#define TPC_HISTORY_QUERY_INIT                                                                     \
    {                                                                                              \
        sizeof(struct tpc_history_query), 0, 0, 0, 0, 0, INT64_MIN, INT64_MAX, 0                   \
    }

/* One column of a batch: `count` values of one property. */
struct tpc_column {
    struct tpc_str property;
    const struct tpc_value *values;
    const uint8_t *validity; /* bit i (byte i / 8, bit i % 8) set = row i has a value */
};

/* A run of samples of one device in time order. */
struct tpc_row_batch {
    uint32_t size;
    uint32_t count;         /* rows */
    struct tpc_str device;  /* key */
    const int64_t *unix_ms; /* count times */
    const struct tpc_column *columns;
    uint32_t column_count; /* in the order of the query's properties */
    uint32_t column_size;  /* sizeof(struct tpc_column) */
};

/*
 * Opens a query over stored and open samples. Devices and properties are copied. A property that a
 * device's product does not have is no error: its column has no values for that device.
 *
 * Returns 0, TPC_EINVAL (no devices, no properties or more than 65,535, an empty range), TPC_ESTATE
 * (the core was never started), TPC_ENOMEM, TPC_EIO, TPC_ECORRUPT.
 * Ownership: *ret is the caller's: tpc_rows_close(), before the core is started again or destroyed.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_history_query(struct tpc_core *core, const struct tpc_history_query *query,
                              struct tpc_rows **ret);

/*
 * Next batch, up to 4,096 rows.
 *
 * Returns 1 with a batch, 0 at the end, or a negative code (TPC_EIO, TPC_ECORRUPT, TPC_ENOMEM).
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

TPC_END

#endif
