/* Of arenas (tpcore/arena.h), what the library keeps to itself. */
#ifndef TPI_BASE_ARENA_H
#define TPI_BASE_ARENA_H

#include <tpcore/arena.h>

/* Secrets go into it: what it gave is wiped when it is destroyed or next reset. */
void tpi_arena_secret(struct tpc_arena *arena);

/* For what there are thousands of: blocks are that large, or what is asked for if that is more, until it
 * holds a few kilobytes. Not 0. Before it gives anything. */
void tpi_arena_small(struct tpc_arena *arena, size_t block_bytes);

#endif
