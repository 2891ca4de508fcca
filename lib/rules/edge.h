/*
 * Set of pairs (scene, device) whose condition is true now. One per partition, one thread at a
 * time.
 */
#ifndef TPI_RULES_EDGE_H
#define TPI_RULES_EDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/alloc.h>

struct tpi_edge {
    uint64_t scene; /* 0 = free place */
    uint64_t device;
    uint32_t when; /* short hash of the condition */
};

struct tpi_edges {
    const struct tpc_allocator *alloc;
    struct tpi_edge *slots;
    size_t cap; /* 0 or a power of two */
    size_t count;
};

void tpi_edges_init(struct tpi_edges *s, const struct tpc_allocator *alloc);
void tpi_edges_fini(struct tpi_edges *s);

/* Returns 1 if it is new, 0 if it was there, TPC_ENOMEM or TPC_ETOOBIG (TPI_RULES_MAX_EDGES). */
int tpi_edges_add(struct tpi_edges *s, const struct tpi_edge *edge);
void tpi_edges_remove(struct tpi_edges *s, uint64_t scene, uint64_t device);

/* All pairs of a scene go. */
void tpi_edges_forget(struct tpi_edges *s, uint64_t scene);

#endif
