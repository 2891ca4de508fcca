/*
 * The allocator: one function, as in Lua. It enters at tpc_core_create() and everything that the
 * core and its modules allocate comes from it, so a product can give the library a fixed pool.
 * Running out of memory is an error code (TPC_ENOMEM), never an abort.
 */
#ifndef TPCORE_ALLOC_H
#define TPCORE_ALLOC_H

#include <stddef.h>
#include <tpcore/export.h>

TPC_BEGIN

/*
 * resize(user, ptr, old_size, new_size):
 *   ptr NULL       allocate new_size bytes
 *   new_size 0     free ptr, return NULL
 *   otherwise      resize; on failure return NULL and leave ptr as it is
 * Memory is aligned to max_align_t. old_size is the size that was asked for before. Called from any
 * thread at once. Frozen for ever: this struct never grows.
 */
struct tpc_allocator {
    void *(*resize)(void *user, void *ptr, size_t old_size, size_t new_size);
    void *user;
};

/*
 * The allocator over malloc/realloc/free that a core uses when none is given.
 *
 * Returns a pointer that is never NULL.
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const struct tpc_allocator *tpc_allocator_default(void);

TPC_END

#endif
