/*
 * Batches of a history query for other programs' data frames: the Arrow C data interface
 * (https://arrow.apache.org/docs/format/CDataInterface.html), a stable ABI of two structs that
 * pandas, Polars, DuckDB, R and others take without a copy. Nothing of Arrow is needed to build
 * or run this.
 *
 *     struct ArrowSchema schema;
 *     struct ArrowArray array;
 *     while (tpc_rows_next(rows, &b) > 0 && tpc_arrow_export(b, NULL, &schema, &array) == 0) {
 *         take(&schema, &array);       // Python: pyarrow.RecordBatch._import_from_c(array, schema)
 *     }
 */
#ifndef TPCORE_ARROW_H
#define TPCORE_ARROW_H

#include <tpcore/alloc.h>
#include <tpcore/history.h>

TPC_BEGIN

/* As the specification prints them, under its guard: other headers may bring the same. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

#endif

/*
 * Copies a batch into a struct array, which is a record batch to Arrow: its first child is "device"
 * (text, dictionary of one), the second "unix_ms" (milliseconds since 1970, UTC), then one for each
 * column, named by the property; aggregates as "temperature.avg", "temperature.p99.9".
 *
 * | column | Arrow |
 * |---|---|
 * | bool, int, double | bool, int64, double |
 * | text, blob | utf8, binary |
 * | no value | null |
 * | mixed, only numbers | double |
 * | arrays, maps, other mixtures | utf8: JSON |
 *
 * allocator NULL = the default; it must outlive what is exported.
 *
 * Returns 0, TPC_EINVAL, TPC_ENOMEM or TPC_ETOOBIG (over 2 GiB of text in a column); the structs are
 * then not touched.
 * Ownership: the caller's, until their release callbacks are called; independent of batch and query.
 * Thread: any-thread; what is exported goes to whatever thread.
 * Since: 0.1
 */
TPC_API int tpc_arrow_export(const struct tpc_row_batch *batch,
                             const struct tpc_allocator *allocator, struct ArrowSchema *ret_schema,
                             struct ArrowArray *ret_array);

TPC_END

#endif
