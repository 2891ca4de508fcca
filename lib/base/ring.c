#include "base/ring.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <tpcore/error.h>

#include "base/alloc.h"

#define MAX_RING_BYTES ((size_t) 1 << 30)

/*
 * Before each record stands a header. Free memory is all zero: the consumer clears what it gives
 * back, before it moves head. So a header reads as WRITING from the moment of its reservation, also
 * before its producer has touched it, and the consumer never needs to look at tail.
 */
enum state { WRITING = 0, READY = 1, SKIP = 2 };

struct header {
    uint32_t len;           /* payload; of a skip the padding after the header */
    _Atomic uint32_t state; /* enum state */
};

static_assert(sizeof(struct header) == TPI_RING_HEADER_BYTES, "header");

static size_t record_bytes(size_t len)
{
    return (sizeof(struct header) + len + 7) & ~(size_t) 7;
}

static struct header *header_at(const struct tpi_ring *r, uint64_t position)
{
    return (struct header *) (void *) (r->data + ((size_t) position & (r->cap - 1)));
}

int tpi_ring_init(struct tpi_ring *r, const struct tpc_allocator *alloc, size_t bytes)
{
    if (bytes > MAX_RING_BYTES) {
        return TPC_EINVAL;
    }
    size_t cap = TPI_RING_MIN_BYTES;
    while (cap < bytes) {
        cap *= 2;
    }
    uint8_t *data = tpi_alloc_zero(alloc, cap);
    if (data == NULL) {
        return TPC_ENOMEM;
    }
    r->alloc = alloc;
    r->data = data;
    r->cap = cap;
    r->read = 0;
    atomic_init(&r->tail, 0);
    atomic_init(&r->head_seen, 0);
    atomic_init(&r->high_bytes, 0);
    atomic_init(&r->refused, 0);
    atomic_init(&r->head, 0);
    return 0;
}

void tpi_ring_fini(struct tpi_ring *r)
{
    tpi_free(r->alloc, r->data, r->cap);
    r->data = NULL;
    r->cap = 0;
}

size_t tpi_ring_max(const struct tpi_ring *r)
{
    return r->cap / 2 - sizeof(struct header);
}

/* Whether the ring has room for everything before position `end`. Acquire: the consumer's clearing
 * of that room happens before the producer writes there. A head beyond end means that the caller's
 * tail is out of date: yes, and its exchange will fail. */
static bool has_room(struct tpi_ring *r, uint64_t end)
{
    uint64_t head = atomic_load_explicit(&r->head_seen, memory_order_acquire);
    if (head > end || end - head <= r->cap) {
        return true;
    }
    head = atomic_load_explicit(&r->head, memory_order_acquire);
    /* Another producer may overwrite this with an older head: that costs a look, no more. */
    atomic_store_explicit(&r->head_seen, head, memory_order_release);
    return head > end || end - head <= r->cap;
}

static void note_high(struct tpi_ring *r, uint64_t end)
{
    uint64_t high = atomic_load_explicit(&r->high_bytes, memory_order_relaxed);
    /* head_seen is never newer than head: a first test that spares the consumer's line. */
    if (end - atomic_load_explicit(&r->head_seen, memory_order_relaxed) <= high) {
        return;
    }
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head >= end) {
        return;
    }
    uint64_t used = end - head;
    while (used > high &&
           !atomic_compare_exchange_weak_explicit(&r->high_bytes, &high, used, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}

void *tpi_ring_reserve(struct tpi_ring *r, size_t len, size_t *ret_ticket)
{
    if (len > tpi_ring_max(r)) {
        return NULL;
    }
    size_t size = record_bytes(len);
    size_t pad;
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    do {
        size_t to_end = r->cap - ((size_t) tail & (r->cap - 1));
        pad = size > to_end ? to_end : 0;
        if (!has_room(r, tail + pad + size)) {
            atomic_fetch_add_explicit(&r->refused, 1, memory_order_relaxed);
            return NULL;
        }
    } while (!atomic_compare_exchange_weak_explicit(&r->tail, &tail, tail + pad + size,
                                                    memory_order_relaxed, memory_order_relaxed));
    if (pad != 0) {
        struct header *skip = header_at(r, tail);
        skip->len = (uint32_t) (pad - sizeof(*skip));
        atomic_store_explicit(&skip->state, SKIP, memory_order_release);
    }
    note_high(r, tail + pad + size);
    struct header *h = header_at(r, tail + pad);
    h->len = (uint32_t) len;
    *ret_ticket = (size_t) (tail + pad) & (r->cap - 1);
    return h + 1;
}

void tpi_ring_publish(struct tpi_ring *r, size_t ticket)
{
    atomic_store_explicit(&header_at(r, ticket)->state, READY, memory_order_release);
}

void tpi_ring_discard(struct tpi_ring *r, size_t ticket)
{
    atomic_store_explicit(&header_at(r, ticket)->state, SKIP, memory_order_release);
}

const void *tpi_ring_peek(struct tpi_ring *r, size_t *ret_len)
{
    /* A full ring that was peeked through: the next header is that of the first record again. */
    while (r->read - atomic_load_explicit(&r->head, memory_order_relaxed) < r->cap) {
        struct header *h = header_at(r, r->read);
        uint32_t state = atomic_load_explicit(&h->state, memory_order_acquire);
        if (state == WRITING) {
            return NULL;
        }
        r->read += record_bytes(h->len);
        if (state == READY) {
            *ret_len = h->len;
            return h + 1;
        }
    }
    return NULL;
}

void tpi_ring_release(struct tpi_ring *r)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (r->read == head) {
        return;
    }
    size_t from = (size_t) head & (r->cap - 1);
    size_t n = (size_t) (r->read - head);
    size_t first = n < r->cap - from ? n : r->cap - from;
    memset(r->data + from, 0, first);
    memset(r->data, 0, n - first);
    atomic_store_explicit(&r->head, r->read, memory_order_release);
}

void tpi_ring_rewind(struct tpi_ring *r)
{
    r->read = atomic_load_explicit(&r->head, memory_order_relaxed);
}

size_t tpi_ring_used(const struct tpi_ring *r)
{
    /* head first: read the other way round, the difference could be negative. */
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    size_t used = (size_t) (tail - head);
    return used < r->cap ? used : r->cap;
}

size_t tpi_ring_high(const struct tpi_ring *r)
{
    return (size_t) atomic_load_explicit(&r->high_bytes, memory_order_relaxed);
}

uint64_t tpi_ring_refused(const struct tpi_ring *r)
{
    return atomic_load_explicit(&r->refused, memory_order_relaxed);
}
