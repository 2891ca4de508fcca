/*
 * Aggregates of a window: numbers in 24 bytes, lists and sets beside them. One thread at a time.
 */
#ifndef TPI_RULES_AGGREGATE_H
#define TPI_RULES_AGGREGATE_H

#include <tpcore/alloc.h>
#include <tpcore/arena.h>
#include <tpcore/value.h>

#include "base/buf.h"
#include "base/map.h"
#include "rules/sql.h"

enum {
    TPI_BAG_MAX_VALUES = 1000, /* of collect(x) */
    TPI_BAG_MAX_BYTES = 16384, /* of its values as they are kept */
    TPI_BAG_MAX_SET = 10000    /* of count(distinct x) */
};

/* What collect(x) and count(distinct x) keep. */
struct tpi_bag {
    uint32_t count;       /* of values */
    struct tpi_buf list;  /* of collect: each its length (u32) and its encoding */
    struct tpi_map64 set; /* of distinct: what tells values apart, to the bag itself */
};

/* State of an aggregate. n: how many values; what a and d hold depends on the function. */
struct tpi_aggregate {
    uint64_t n; /* of min, max, first, last: enum tpc_type of the value; 0 = none */
    union {
        int64_t i;
        double d;
        struct tpi_bag *bag; /* NULL = none yet */
    } a;
    double d;
};

/* Whether a function keeps a bag. */
static inline bool tpi_aggregate_bags(uint32_t function)
{
    return function == TPI_SQL_COLLECT || function == TPI_SQL_DISTINCT;
}

/* Functions without a bag. */
void tpi_aggregate_add(uint32_t function, struct tpi_aggregate *g, const struct tpc_value *v);
/* Null where there is no value, and where a sum is not finite. Of collect: tpi_bag_values(). */
struct tpc_value tpi_aggregate_value(uint32_t function, const struct tpi_aggregate *g);

/* Number that tells values apart, ints and doubles of the same number being one: equal values have
 * equal ones, others differ but for a chance of 2^-64. Lists and maps go by their encoding. */
uint64_t tpi_value_mark(const struct tpc_allocator *alloc, const struct tpc_value *v);

/*
 * Adds to a bag what is not null; of distinct its mark, of collect its encoding (no NULL). *bytes grows
 * by what it takes. Returns 0, TPC_ETOOBIG (a limit, or *bytes would pass max) or TPC_ENOMEM: the value
 * is not in it.
 */
int tpi_bag_mark(const struct tpc_allocator *alloc, struct tpi_aggregate *g, uint64_t mark,
                 size_t max, size_t *bytes);
int tpi_bag_put(const struct tpc_allocator *alloc, struct tpi_aggregate *g, struct tpc_bytes value,
                size_t max, size_t *bytes);
void tpi_bag_drop(const struct tpc_allocator *alloc, struct tpi_aggregate *g, size_t *bytes);

/* A list of the values of collect, views into the bag. Returns 0, TPC_ECORRUPT or TPC_ENOMEM. */
int tpi_bag_values(const struct tpi_aggregate *g, struct tpc_arena *arena, struct tpc_value *ret);

/* As bytes, in as few as its function needs. read fills a zeroed one. Return 0, TPC_ECORRUPT,
 * TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_aggregate_save(uint32_t function, const struct tpi_aggregate *g, struct tpi_buf *out);
int tpi_aggregate_read(const struct tpc_allocator *alloc, uint32_t function,
                       struct tpi_aggregate *g, struct tpi_reader *in, size_t max, size_t *bytes);

#endif
