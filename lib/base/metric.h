/*
 * Metrics of a stage: a struct of atomic counters and a const table that names them. The core lists
 * the tables of all stages; a stage just adds.
 */
#ifndef TPI_BASE_METRIC_H
#define TPI_BASE_METRIC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Describes one _Atomic uint64_t member of a stage's counters. */
struct tpi_metric_def {
    const char
        *name; /* "uplink_messages_total" (counters end in _total), without the tpc_ prefix */
    const char *help;
    uint32_t type;   /* enum tpc_metric_type: 1 counter, 2 gauge */
    uint32_t offset; /* offsetof(struct <stage>_counters, member) */
};

#define TPI_METRIC_ADD(counter, n) atomic_fetch_add_explicit(&(counter), (n), memory_order_relaxed)
#define TPI_METRIC_SET(gauge, v) atomic_store_explicit(&(gauge), (v), memory_order_relaxed)
#define TPI_METRIC_GET(counter) atomic_load_explicit(&(counter), memory_order_relaxed)

#endif
