/*
 * Hash tables: bytes or a 64-bit number to a pointer. Open addressing with linear probing; removal
 * shifts back, so a table never fills with tombstones. One thread at a time.
 */
#ifndef TPI_BASE_MAP_H
#define TPI_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/alloc.h>
#include <tpcore/bytes.h>

struct tpi_map_slot {
    uint8_t *key; /* our copy, NUL after it; NULL = free */
    size_t len;
    uint64_t hash;
    void *value;
};

struct tpi_map {
    const struct tpc_allocator *alloc;
    struct tpi_map_slot *slots;
    size_t cap; /* 0 or a power of two */
    size_t count;
    uint64_t seed; /* 0; a table with keys from outside sets it before the first put */
};

void tpi_map_init(struct tpi_map *m, const struct tpc_allocator *alloc);

/* Frees keys and table, not the values. */
void tpi_map_fini(struct tpi_map *m);

/* The value, or NULL if the key is not there. */
void *tpi_map_get(const struct tpi_map *m, const void *key, size_t len);

/* Puts or replaces. value is not NULL. *ret_old (if ret_old) = the value replaced or NULL. Returns
 * 0 or TPC_ENOMEM; replacing needs no memory. */
int tpi_map_put(struct tpi_map *m, const void *key, size_t len, void *value, void **ret_old);

/* Returns the value taken out, or NULL. */
void *tpi_map_remove(struct tpi_map *m, const void *key, size_t len);

size_t tpi_map_count(const struct tpi_map *m);

/* Walks the table in no order: *iter = 0 at first; false at the end. key is borrowed and NUL ends
 * it. Nothing may be put or removed on the way. key and value may be NULL. */
bool tpi_map_next(const struct tpi_map *m, size_t *iter, struct tpc_bytes *key, void **value);

struct tpi_map64_slot {
    uint64_t key;
    void *value; /* NULL = free */
};

struct tpi_map64 {
    const struct tpc_allocator *alloc;
    struct tpi_map64_slot *slots;
    size_t cap;
    size_t count;
};

/* The same verbs; every key is legal, 0 too. */
void tpi_map64_init(struct tpi_map64 *m, const struct tpc_allocator *alloc);
void tpi_map64_fini(struct tpi_map64 *m);
void *tpi_map64_get(const struct tpi_map64 *m, uint64_t key);
int tpi_map64_put(struct tpi_map64 *m, uint64_t key, void *value, void **ret_old);
void *tpi_map64_remove(struct tpi_map64 *m, uint64_t key);
size_t tpi_map64_count(const struct tpi_map64 *m);
bool tpi_map64_next(const struct tpi_map64 *m, size_t *iter, uint64_t *key, void **value);

#endif
