/*
 * Windows of one rule over the devices of one partition: what is open, a pane per device in each, and
 * the states of aggregates. No clock: whoever calls says when. One thread at a time.
 *
 * A pane is freed when its window is emitted, so a device that never sends again costs nothing.
 */
#ifndef TPI_RULES_WINDOW_H
#define TPI_RULES_WINDOW_H

#include <tpcore/value.h>

#include "base/buf.h"
#include "base/map.h"
#include "rules/sql.h"

enum {
    TPI_FLOW_MAX_PANES = 1 << 20 /* of one rule in one partition */
};

/* State of an aggregate. n: how many values; what a and d hold depends on the function. */
struct tpi_aggregate {
    uint64_t n; /* of min, max, first, last: enum tpc_type of the value; 0 = none */
    union {
        int64_t i;
        double d;
    } a;
    double d;
};

void tpi_aggregate_add(uint32_t function, struct tpi_aggregate *g, const struct tpc_value *v);
/* Null where there is no value, and where a sum is not finite. */
struct tpc_value tpi_aggregate_value(uint32_t function, const struct tpi_aggregate *g);

struct tpi_pane {
    uint64_t mark; /* never used again by this rule and device: stands in the ids of rows */
    int64_t start_ms;
    int64_t last_ms; /* of the last message */
    uint32_t count;  /* messages in it */
    struct tpi_aggregate aggregates[];
};

/* Windows of a time; the only one of a rule whose windows are the device's own. */
struct tpi_open {
    struct tpi_open *next; /* starts later */
    int64_t start_ms;
    int64_t end_ms;         /* INT64_MAX = ends otherwise */
    struct tpi_map64 panes; /* by device id */
};

struct tpi_flow {
    const struct tpc_allocator *alloc;
    struct tpi_open *first; /* the earliest */
    int64_t done_ms;        /* windows up to this end are emitted */
    uint32_t aggregates;    /* of a pane */
    uint32_t panes;
};

void tpi_flow_init(struct tpi_flow *f, const struct tpc_allocator *alloc, uint32_t aggregates);
void tpi_flow_fini(struct tpi_flow *f);

/* The window of this time, made if it is not open; NULL = no memory. */
struct tpi_open *tpi_flow_open(struct tpi_flow *f, int64_t start_ms, int64_t end_ms, bool *ret_new);

/* The device's pane, made if it is not there; NULL = no memory, or TPI_FLOW_MAX_PANES. */
struct tpi_pane *tpi_flow_pane(struct tpi_flow *f, struct tpi_open *o, uint64_t device,
                               bool *ret_new);
void tpi_flow_drop_pane(struct tpi_flow *f, struct tpi_open *o, uint64_t device);

/* Frees the first window with its panes. */
void tpi_flow_pop(struct tpi_flow *f);

/* Start of the window that ts is in: the latest multiple of step. */
int64_t tpi_window_start(int64_t unix_ms, int64_t step_ms);

/* Windows as bytes. read fills a fresh flow. Returns 0, TPC_ECORRUPT or TPC_ENOMEM. */
int tpi_flow_save(const struct tpi_flow *f, struct tpi_buf *out);
int tpi_flow_read(struct tpi_flow *f, struct tpi_reader *in);

#endif
