/*
 * Pairs (scene, device) that fire later, the earliest first: a binary heap (Knuth 5.2.3). What stands in
 * it may be over by then: whoever takes one looks at the pair itself. One thread at a time.
 */
#ifndef TPI_RULES_DUE_H
#define TPI_RULES_DUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/alloc.h>

struct tpi_due_item {
    int64_t at_unix_ms;
    uint64_t scene;
    uint64_t device;
    uint32_t partition;
    uint32_t tag; /* which of several, one after the other; whoever adds it says what it means */
};

struct tpi_due {
    const struct tpc_allocator *alloc;
    struct tpi_due_item *items;
    size_t count;
    size_t cap;
};

void tpi_due_init(struct tpi_due *d, const struct tpc_allocator *alloc);
void tpi_due_fini(struct tpi_due *d);

/* Returns 0 or TPC_ENOMEM. */
int tpi_due_add(struct tpi_due *d, const struct tpi_due_item *item);

/* Drops what is over, if the next one would need more memory: then it grows with what waits, not with
 * what waited. */
typedef bool tpi_due_over_fn(void *user, const struct tpi_due_item *item);
void tpi_due_prune(struct tpi_due *d, tpi_due_over_fn *over, void *user);

/* The earliest, or NULL. */
const struct tpi_due_item *tpi_due_first(const struct tpi_due *d);
void tpi_due_pop(struct tpi_due *d);

#endif
