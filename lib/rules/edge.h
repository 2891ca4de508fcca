/*
 * Set of pairs (scene, device) of which something must be remembered: the condition is true now, or
 * the scene fired a short while ago. One per partition, one thread at a time.
 */
#ifndef TPI_RULES_EDGE_H
#define TPI_RULES_EDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/alloc.h>

enum tpi_edge_flags {
    TPI_EDGE_TRUE = 1,   /* the condition is true */
    TPI_EDGE_WAITS = 2,  /* .. and it fires at at_unix_ms if it stays so */
    TPI_EDGE_FIRED = 4,  /* it fired at at_unix_ms */
    TPI_EDGE_LOADED = 8, /* from before the start: what it does may have been done */
    TPI_EDGE_DONE = 16   /* it fired, and does not fire again before it is reset */
};

struct tpi_edge {
    uint64_t scene; /* 0 = free place */
    uint64_t device;
    uint32_t when;  /* short hash of the condition */
    uint32_t flags; /* enum tpi_edge_flags */
    int64_t at_unix_ms;
    /* Of the message with which it became true, or another number that is never used again:
     * tpi_rules_moment(). */
    uint64_t offset;
};

struct tpi_edges {
    const struct tpc_allocator *alloc;
    struct tpi_edge *slots;
    size_t cap; /* 0 or a power of two */
    size_t count;
};

void tpi_edges_init(struct tpi_edges *s, const struct tpc_allocator *alloc);
void tpi_edges_fini(struct tpi_edges *s);

/* NULL if there is none. Valid until the next add or remove. */
struct tpi_edge *tpi_edges_find(const struct tpi_edges *s, uint64_t scene, uint64_t device);

/* A pair that is not there. Returns 0, TPC_ENOMEM or TPC_ETOOBIG (TPI_RULES_MAX_EDGES). */
int tpi_edges_add(struct tpi_edges *s, const struct tpi_edge *edge);
void tpi_edges_remove(struct tpi_edges *s, uint64_t scene, uint64_t device);

/* All pairs of a scene go. */
void tpi_edges_forget(struct tpi_edges *s, uint64_t scene);

#endif
