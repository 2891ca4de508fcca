/* Shared by memory.c and memory_dump.c. */
#ifndef TPI_STORE_MEMORY_INSIDE_H
#define TPI_STORE_MEMORY_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "store/memory.h"

enum { TPI_MEMORY_LEVELS = 16 };

/* A row with all that it points to, in one block; a node of the skip list. */
struct tpi_memory_row {
    struct tpc_row row;
    size_t bytes; /* of the block */
    uint32_t level;
    struct tpi_memory_row *next[]; /* level + 1 of them */
};

struct tpi_memory {
    const struct tpc_host *host;
    void *ctx;
    const struct tpc_allocator *alloc;
    pthread_rwlock_t lock;                          /* rows */
    struct tpi_memory_row *head[TPI_MEMORY_LEVELS]; /* in the order of space, kind, tenant, key */
    uint64_t count;
    bool ready; /* init came to its end */

    char *dump_dir; /* NULL = no dump */
    size_t dump_dir_bytes;
    uint64_t dump_interval_ms;
    bool dump_secrets;
    uint64_t timer;
    pthread_mutex_t dump_lock;      /* one dump at a time; guards generation */
    uint64_t generation;            /* of the last dump */
    atomic_bool dirty;              /* something was written after the last dump began */
    atomic_uint_fast64_t dumped_ms; /* monotonic */
};

/* A copy of a row that is not in the list yet. NULL when out of memory. */
struct tpi_memory_row *tpi_memory_row_make(struct tpi_memory *m, const struct tpc_row *row);
void tpi_memory_row_free(struct tpi_memory *m, struct tpi_memory_row *row);

/* Puts a row in its place; returns the one it replaces, or NULL. */
struct tpi_memory_row *tpi_memory_link(struct tpi_memory *m, struct tpi_memory_row *row);

/* Reads the dump of dump_dir, if there is one. Errors go through the host. */
int tpi_memory_load(struct tpi_memory *m);

/* Writes all rows to dump_dir. Returns 0, TPC_ENOMEM, TPC_ENOSPC, TPC_EIO. */
int tpi_memory_dump(struct tpi_memory *m);

#endif
