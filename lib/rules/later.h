/*
 * Actions after a delay: each partition keeps a heap (Knuth 5.2.3) of what is done when. It is part of
 * the partition's state, so a kill loses nothing; what comes twice after one has the same ids. An
 * action of a rule that was changed, deleted or switched off meanwhile is dropped and counted.
 */
#ifndef TPI_RULES_LATER_H
#define TPI_RULES_LATER_H

#include "base/buf.h"
#include "rules/action.h"

struct tpi_later {
    int64_t at_unix_ms;
    uint64_t number; /* of those with one time the first comes first */
    struct tpi_act_kept kept;
};

struct tpi_laters {
    const struct tpc_allocator *alloc;
    struct tpi_later *items;
    size_t count;
    size_t cap;
    uint64_t next_number;
};

void tpi_laters_init(struct tpi_laters *l, const struct tpc_allocator *alloc);
void tpi_laters_fini(struct tpi_laters *l);

/* What follows the delay, action number `action`, waits. Inside a batch. Returns 0, TPC_ETOOBIG
 * (TPI_RULES_MAX_LATERS) or TPC_ENOMEM. */
int tpi_later_add(const struct tpi_act *act, uint32_t action, int64_t delay_ms);

/* When a worker does the next; INT64_MAX = nothing waits. Any thread. */
int64_t tpi_laters_next_ms(const struct tpi_rules *r, uint32_t worker);

/* Does what is due; seen_ms: the clock at the turn before, or more than now_ms if it was set back. Takes the registry's read lock; no batch is open. Returns how many were done. */
uint32_t tpi_laters_turn(struct tpi_rules *r, uint32_t worker, int64_t seen_ms, int64_t now_ms);

/* Count, then of each: time (zigzag), rule and revision (varints), hash of the
 * document (u64), device and offset (varints), time of the cause
 * (zigzag), hops and action (varints), cause (16 bytes). Under the owner's lock. read: into a fresh
 * list; take: the partition's from now on. Return 0, TPC_ECORRUPT, TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_laters_save(const struct tpi_laters *l, struct tpi_buf *out);
int tpi_laters_read(struct tpi_reader *in, uint32_t partition, struct tpi_laters *ret);
void tpi_laters_take(struct tpi_rules *r, uint32_t partition, struct tpi_laters *l);

#endif
