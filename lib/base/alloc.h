/*
 * Allocating through struct tpc_allocator, and a meter that counts and bounds what passes through.
 * An allocator argument of NULL means the default one.
 */
#ifndef TPI_BASE_ALLOC_H
#define TPI_BASE_ALLOC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/alloc.h>
#include <tpcore/bytes.h>

/* All return NULL when out of memory. n must not be 0. */
void *tpi_alloc(const struct tpc_allocator *a, size_t n);
void *tpi_alloc_zero(const struct tpc_allocator *a, size_t n);

/* count * size bytes, cleared; NULL also if the product does not fit size_t. */
void *tpi_alloc_array(const struct tpc_allocator *a, size_t count, size_t size);

/* p NULL allocates (old_size 0). On failure p stays as it is. */
void *tpi_resize(const struct tpc_allocator *a, void *p, size_t old_size, size_t new_size);

/* n is the size asked for; p NULL is fine. */
void tpi_free(const struct tpc_allocator *a, void *p, size_t n);

/* Copy with a NUL at its end: takes s.len + 1 bytes, free with tpi_free(a, p, s.len + 1). */
char *tpi_str_dup(const struct tpc_allocator *a, struct tpc_str s);

/* Copy of n bytes, n > 0. */
void *tpi_mem_dup(const struct tpc_allocator *a, const void *p, size_t n);

/*
 * Counts what is live and refuses what would go over the limit. Any thread. A part of the limit is
 * kept back for those who need memory to give memory back: a commit that stores open chunks must not
 * fail because memory is full of them. What one of the two allocators gave the other may free.
 */
struct tpi_meter {
    struct tpc_allocator base;    /* pass &m->base */
    struct tpc_allocator reserve; /* for those: up to the whole limit */
    const struct tpc_allocator *inner;
    size_t limit_bytes;   /* 0 = none; fixed at init */
    size_t reserve_bytes; /* of it */
    atomic_size_t used_bytes;
    atomic_size_t peak_bytes;
    atomic_uint_fast64_t refused; /* by the limit or by inner */
};

/* inner NULL = the default allocator; m must not move afterwards. */
void tpi_meter_init(struct tpi_meter *m, const struct tpc_allocator *inner, size_t limit_bytes);
size_t tpi_meter_used(const struct tpi_meter *m);
size_t tpi_meter_peak(const struct tpi_meter *m);
/* Without the reserve; 0 = none. */
size_t tpi_meter_limit(const struct tpi_meter *m);
uint64_t tpi_meter_refused(const struct tpi_meter *m);

#endif
