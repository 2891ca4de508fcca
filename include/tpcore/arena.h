/*
 * Arena: memory that is taken piece by piece and given back all at once. Trees of values live in
 * one. An arena belongs to one thread at a time.
 */
#ifndef TPCORE_ARENA_H
#define TPCORE_ARENA_H

#include <tpcore/alloc.h>
#include <tpcore/bytes.h>

TPC_BEGIN

struct tpc_arena;

/*
 * Makes an arena. limit_bytes bounds what it may hold in total (0 = no limit); it starts without a
 * block and grows by doubling blocks from 4 KiB.
 *
 * Returns 0, TPC_EINVAL or TPC_ENOMEM.
 * Ownership: *ret is the caller's; end it with tpc_arena_destroy(). allocator NULL = the default.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_arena_create(const struct tpc_allocator *allocator, size_t limit_bytes,
                             struct tpc_arena **ret);

/*
 * Frees the arena and all that was taken from it; NULL is fine.
 *
 * Returns NULL, so that `a = tpc_arena_destroy(a)` clears the pointer.
 * Ownership: takes arena.
 * Thread: the arena's thread.
 * Since: 0.1
 */
TPC_API struct tpc_arena *tpc_arena_destroy(struct tpc_arena *arena);

/*
 * Takes `size` bytes, aligned for any type, not cleared.
 *
 * Returns the memory, or NULL when out of memory or over the limit.
 * Ownership: the arena's, until reset or destroy.
 * Thread: the arena's thread.
 * Since: 0.1
 */
TPC_API void *tpc_arena_take(struct tpc_arena *arena, size_t size);

/*
 * Gives back all that was taken; keeps the largest block for reuse, so a loop that resets an arena
 * allocates nothing once it is warm.
 *
 * Returns nothing.
 * Ownership: all earlier memory of the arena is invalid.
 * Thread: the arena's thread.
 * Since: 0.1
 */
TPC_API void tpc_arena_reset(struct tpc_arena *arena);

TPC_END

#endif
