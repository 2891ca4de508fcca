/*
 * What a rule did, for people who ask why it does nothing. A worker counts in a line of its own, without
 * atomics, under the lock that it holds during a batch; who reads takes that lock.
 */
#ifndef TPI_RULES_LEDGER_H
#define TPI_RULES_LEDGER_H

#include <stdint.h>
#include <tpcore/alloc.h>
#include <tpcore/error.h>

enum {
    TPI_LEDGER_LINE = 64,        /* bytes: workers do not share a cache line */
    TPI_LEDGER_EVENT = 0xFFFF,   /* as the number of an action: the event of a row */
    TPI_LEDGER_MISSING = 1 << 16 /* flag of its number: no such device */
};

/* One worker's part. */
struct tpi_tally {
    uint64_t evaluated;
    uint64_t matched;
    uint64_t fired;
    uint64_t failed;
    int64_t fired_ms; /* 0 = never */
    int64_t error_ms; /* of the last action that failed; 0 = none */
    uint64_t error_device;
    int32_t error_code;
    uint32_t error_action; /* its number */
};

struct tpi_ledger {
    struct tpi_tally *workers; /* NULL = not made */
    void *memory;              /* in which they stand */
    uint32_t count;
    char *why; /* it does nothing; NULL = it works, or no memory to say it */
};

/* Returns 0 or TPC_ENOMEM. */
int tpi_ledger_init(struct tpi_ledger *l, const struct tpc_allocator *alloc, uint32_t workers);
void tpi_ledger_fini(struct tpi_ledger *l, const struct tpc_allocator *alloc);

/* A changed rule goes on counting where the old one ends; failures were the old one's. */
void tpi_ledger_move(struct tpi_ledger *to, struct tpi_ledger *from);

/* An action failed. device: its id; 0 = none. */
void tpi_tally_failed(struct tpi_tally *t, int64_t unix_ms, uint32_t action, int code,
                      uint64_t device);

/* Takes down why a rule is broken; err NULL = it is not. */
void tpi_ledger_why(struct tpi_ledger *l, const struct tpc_allocator *alloc,
                    const struct tpc_error *err);

#endif
