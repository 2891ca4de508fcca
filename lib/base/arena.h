/* Of arenas (tpcore/arena.h), what the library keeps to itself. */
#ifndef TPI_BASE_ARENA_H
#define TPI_BASE_ARENA_H

#include <tpcore/arena.h>

/* Secrets go into it: what it gave is wiped when it is destroyed or next reset. */
void tpi_arena_secret(struct tpc_arena *arena);

/* Its first block is that large, for what there are thousands of: not 0. Before it gives anything. */
void tpi_arena_small(struct tpc_arena *arena, size_t first_bytes);

#endif
