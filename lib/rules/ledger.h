/*
 * What a rule did, for people who ask why it does nothing. A worker counts in a line of its own, without
 * atomics, under the lock that it holds during a batch; who reads takes that lock.
 */
#ifndef TPI_RULES_LEDGER_H
#define TPI_RULES_LEDGER_H

#include <stdint.h>
#include <tpcore/alloc.h>
#include <tpcore/error.h>

struct tpi_trace;

enum {
    TPI_LEDGER_LINE = 64,         /* bytes: workers do not share a cache line */
    TPI_LEDGER_SAMPLE = 64,       /* one look in so many is timed; a power of two */
    TPI_LEDGER_EVENT = 0xFFFF,    /* as the number of an action: the event of a row */
    TPI_LEDGER_MISSING = 1 << 16, /* flag of its number: no such device */
    TPI_LEDGER_LOOP = 1 << 17     /* in place of it: a chain was cut, rules/chain.h */
};

/* One worker's part: two lines, of which a look touches the first. */
struct tpi_tally {
    uint64_t evaluated;
    uint64_t matched;
    uint64_t fired;
    int64_t fired_ms; /* 0 = never */
    uint32_t
        usual; /* bits of `evaluated`: a look with one of them set is neither timed nor traced */
    uint32_t timed; /* looks that were timed */
    uint64_t timed_ns;
    struct tpi_trace *trace; /* counted; NULL = nobody follows the rule */
    uint64_t due_ns;         /* of what time set off: all of it is timed */

    uint64_t failed;
    int64_t error_ms; /* of the last action that failed; 0 = none */
    uint64_t error_device;
    int32_t error_code;
    uint32_t error_action; /* its number */
    uint64_t unused[4];
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

/* A look was timed. */
static inline void tpi_tally_timed(struct tpi_tally *t, uint64_t from_ns, uint64_t to_ns)
{
    if (t->timed == UINT32_MAX) { /* the mean stays */
        t->timed /= 2;
        t->timed_ns /= 2;
    }
    t->timed++;
    t->timed_ns += to_ns - from_ns;
}

/* Time spent, as far as the samples tell. */
uint64_t tpi_tally_ns(const struct tpi_tally *t);

/* Everybody's looks are traced from now on; NULL ends it. Under all locks. */
void tpi_ledger_trace(struct tpi_ledger *l, struct tpi_trace *trace);

/* The same where this one is it that traces. */
void tpi_ledger_untrace(struct tpi_ledger *l, const struct tpi_trace *trace);

/* An action failed. device: its id; 0 = none. */
void tpi_tally_failed(struct tpi_tally *t, int64_t unix_ms, uint32_t action, int code,
                      uint64_t device);

/* Takes down why a rule is broken; err NULL = it is not. */
void tpi_ledger_why(struct tpi_ledger *l, const struct tpc_allocator *alloc,
                    const struct tpc_error *err);

#endif
