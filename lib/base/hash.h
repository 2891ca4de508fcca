/*
 * Hashes for tables and partitions: the same value on every machine and in every version.
 * Not for secrets: see base/crypto.h.
 */
#ifndef TPI_BASE_HASH_H
#define TPI_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* XXH64 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). */
uint64_t tpi_hash(const void *p, size_t n, uint64_t seed);

/* Mixes one number (the finalizer of splitmix64): a bijection. */
uint64_t tpi_hash64(uint64_t x);

#endif
