/*
 * Keys of messages that came lately, so that a second delivery is known: a set with a queue beside
 * it that tells which key leaves first. A key stays for ten minutes, or until TPI_DEDUP_MAX newer
 * ones came. One thread.
 */
#ifndef TPI_UPLINK_DEDUP_H
#define TPI_UPLINK_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/alloc.h>

enum { TPI_DEDUP_MAX = 1 << 18, TPI_DEDUP_KEEP_S = 600 };

struct tpi_dedup_entry {
    uint64_t key;
    uint32_t second; /* of the monotonic clock */
};

struct tpi_dedup {
    const struct tpc_allocator *alloc;
    uint64_t *set; /* open addressing, 0 = free */
    size_t set_cap;
    struct tpi_dedup_entry *queue; /* ring, oldest at first */
    size_t queue_cap;
    size_t first;
    size_t count;
    uint64_t early; /* keys that left before their time */
};

void tpi_dedup_init(struct tpi_dedup *d, const struct tpc_allocator *alloc);
void tpi_dedup_fini(struct tpi_dedup *d);

/* Forgets what is too old, then tells whether the key is there. */
bool tpi_dedup_seen(struct tpi_dedup *d, uint64_t key, uint64_t mono_ms);

/* Adds a key that is not there. false: no memory, the key is not kept. */
bool tpi_dedup_add(struct tpi_dedup *d, uint64_t key, uint64_t mono_ms);

/* Takes one key out again, wherever it stands. 0 is none. */
void tpi_dedup_forget(struct tpi_dedup *d, uint64_t key);

/* Takes the newest n keys out again. */
void tpi_dedup_undo(struct tpi_dedup *d, size_t n);

#endif
