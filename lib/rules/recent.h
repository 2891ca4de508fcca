/*
 * Messages of one device that a window still needs: of each its time, and what the aggregates take from
 * it. The oldest first; where it is bounded, whoever puts one in makes room before. One thread at a time.
 */
#ifndef TPI_RULES_RECENT_H
#define TPI_RULES_RECENT_H

#include "rules/aggregate.h"

enum {
    TPI_RECENT_WAITS = 1, /* its own window has not ended */
    TPI_RECENT_BEGIN = 2, /* conditions of a state window */
    TPI_RECENT_EMIT = 4,
    TPI_RECENT_FLAGS = 7,
    TPI_RECENT_MAX_VALUE = 1024 /* bytes of one value of collect */
};

/* What stands in front of the values of a message. */
struct tpi_moment {
    int64_t ms;
    uint64_t mark;  /* offset of the message */
    uint32_t flags; /* TPI_RECENT_WAITS | .. */
    uint32_t bytes; /* of the values */
};

struct tpi_recent {
    uint8_t *ptr;
    uint32_t len; /* end of the last one */
    uint32_t cap;
    uint32_t head; /* start of the first one */
    uint32_t count;
};

/* What aggregates take from one message, as it is kept. */
struct tpi_packed {
    struct tpi_moment m;
    struct tpi_buf values;
    uint32_t lost; /* values that were too long: null */
};

/* Packs a value for a function, in the order of the calls. Returns 0 or TPC_ENOMEM. */
int tpi_packed_add(struct tpi_packed *p, const struct tpc_allocator *alloc, uint32_t function,
                   const struct tpc_value *v);

/* Puts one in: at the end, or by time behind those of the same time. *bytes grows by what it takes.
 * Returns 0, TPC_ETOOBIG (*bytes is max or more) or TPC_ENOMEM. */
int tpi_recent_put(struct tpi_recent *r, const struct tpc_allocator *alloc,
                   const struct tpi_moment *m, const uint8_t *values, bool by_time, size_t max,
                   size_t *bytes);
void tpi_recent_fini(struct tpi_recent *r, const struct tpc_allocator *alloc, size_t *bytes);

/* Drops the first one. There is one. */
void tpi_recent_pop(struct tpi_recent *r);

/* Walks: *at = 0 at first; false at the end. *ret_values is valid until the next change. *at is then for
 * tpi_recent_done(). */
bool tpi_recent_next(const struct tpi_recent *r, uint32_t *at, struct tpi_moment *ret,
                     const uint8_t **ret_values);
/* Its own window has ended: of the one that tpi_recent_next() gave last. */
void tpi_recent_done(struct tpi_recent *r, uint32_t at, const struct tpi_moment *m);

/* Adds the values of a message to aggregates. Returns how many found no room. */
uint32_t tpi_recent_play(const struct tpc_allocator *alloc, const uint8_t *functions,
                         uint32_t count, const struct tpi_moment *m, const uint8_t *values,
                         struct tpi_aggregate *aggregates, size_t max, size_t *bytes);

/* Whether values are as tpi_packed_add() makes them. */
bool tpi_recent_is_good(const uint8_t *functions, uint32_t count, const struct tpi_moment *m,
                        const uint8_t *values);

#endif
