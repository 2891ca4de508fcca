/*
 * Bounded ring of records of any size: many producers, one consumer, no lock.
 *
 *   producer: p = tpi_ring_reserve(r, len, &ticket); fill p; tpi_ring_publish(r, ticket);
 *   consumer: while ((p = tpi_ring_peek(r, &len)) != NULL) { use p }  tpi_ring_release(r);
 *
 * Records are contiguous, aligned to 8 and come out in the order of their reservation: one that is
 * reserved and not published holds up those behind it, so fill it without waiting for anything.
 */
#ifndef TPI_BASE_RING_H
#define TPI_BASE_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/alloc.h>

enum { TPI_RING_MIN_BYTES = 256, TPI_RING_HEADER_BYTES = 8 };

struct tpi_ring {
    const struct tpc_allocator *alloc;
    uint8_t *data;
    size_t cap; /* a power of two */
    /* Producers' line. Positions count up for ever; position & (cap - 1) is the place. */
    char gap_before_tail[64];
    atomic_uint_fast64_t tail;
    atomic_uint_fast64_t head_seen; /* an old value of head: spares producers the consumer's line */
    atomic_uint_fast64_t high_bytes;
    atomic_uint_fast64_t refused;
    /* Consumer's line. */
    char gap_before_head[64];
    atomic_uint_fast64_t head; /* all before it is free again */
    uint64_t read;             /* all before it was peeked */
};

/* bytes is rounded up to a power of two, at least TPI_RING_MIN_BYTES. Returns 0, TPC_EINVAL (over
 * 1 GiB) or TPC_ENOMEM. alloc NULL = the default. */
int tpi_ring_init(struct tpi_ring *r, const struct tpc_allocator *alloc, size_t bytes);
void tpi_ring_fini(struct tpi_ring *r);

/* Longest record that can ever be reserved: half the ring less the header. */
size_t tpi_ring_max(const struct tpi_ring *r);

/* Any thread. len may be 0. NULL = no room now (counted in refused), or len > tpi_ring_max(). */
void *tpi_ring_reserve(struct tpi_ring *r, size_t len, size_t *ret_ticket);

/* The record may be read. The pointer is not the producer's any more. */
void tpi_ring_publish(struct tpi_ring *r, size_t ticket);

/* Instead of publish: the consumer passes over the record. */
void tpi_ring_discard(struct tpi_ring *r, size_t ticket);

/* Consumer: the next record after those peeked already, NULL if there is none (yet). Valid until
 * tpi_ring_release(). */
const void *tpi_ring_peek(struct tpi_ring *r, size_t *ret_len);

/* Consumer: frees all records peeked so far. */
void tpi_ring_release(struct tpi_ring *r);

/* Consumer: the records peeked and not released will be peeked again. */
void tpi_ring_rewind(struct tpi_ring *r);

/* Any thread: bytes reserved and not released, headers included; the highest so far; how many
 * reservations found no room. */
size_t tpi_ring_used(const struct tpi_ring *r);
size_t tpi_ring_high(const struct tpi_ring *r);
uint64_t tpi_ring_refused(const struct tpi_ring *r);

#endif
