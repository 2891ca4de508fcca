/*
 * Windows of one rule over the devices of one partition: what is open, a pane per device in each, and
 * the states of aggregates. No clock: whoever calls says when. One thread at a time.
 *
 * A pane is freed when its window is emitted, so a device that never sends again costs nothing.
 */
#ifndef TPI_RULES_WINDOW_H
#define TPI_RULES_WINDOW_H

#include "rules/recent.h"

enum {
    TPI_FLOW_MAX_PANES = 1 << 20, /* of one rule in one partition; and as many lanes */
    TPI_FLOW_MAX_BYTES =
        64 << 20 /* of one rule in one partition: lists, sets, kept messages, groups */
};

struct tpi_pane {
    uint64_t mark; /* never used again by this rule and device: stands in the ids of rows */
    int64_t start_ms;
    union {
        int64_t last_ms;       /* of the last message */
        struct tpi_pane *next; /* in a flow of chains: starts later */
    } is;
    uint32_t count; /* messages in it */
    struct tpi_aggregate aggregates[];
};

/* What a device has between its windows: messages that sliding and overlapping ones still need, and the
 * order of events. */
struct tpi_lane {
    struct tpi_recent past;
    struct tpi_recent early; /* an older one may still come */
    int64_t high_ms;         /* the newest event */
    int64_t done_ms;         /* events before it are late */
    int64_t seen_ms;         /* receipt of the last message that was not late */
    int64_t due_ms;          /* when it is looked at; INT64_MAX = never */
    uint32_t since;          /* messages since a window ended */
};

/* Windows of a time; the only one of a rule whose windows are the device's own. */
struct tpi_open {
    struct tpi_open *next; /* starts later */
    int64_t start_ms;
    int64_t end_ms;         /* INT64_MAX = ends otherwise */
    struct tpi_map64 panes; /* by device id */
};

/* Values of groups as bytes: rules/group.h. */
struct tpi_group {
    uint32_t len;
    uint8_t bytes[];
};

struct tpi_flow {
    const struct tpc_allocator *alloc;
    struct tpi_open *first; /* the earliest */
    int64_t done_ms;        /* windows up to this end are emitted */
    uint32_t aggregates;    /* of a pane */
    uint32_t panes;
    bool bags;   /* one of the functions keeps one */
    bool chains; /* of a device, panes of its own stand one behind the other */
    uint8_t functions[TPI_SQL_MAX_AGGREGATES];
    struct tpi_map64 lanes; /* by device id */
    struct tpi_buf pack;    /* one message as it is kept */
    struct tpi_pane *spare; /* of a window that is made of kept messages; NULL = none yet */
    size_t bytes;           /* of TPI_FLOW_MAX_BYTES */
    size_t sweep;           /* where the next look for devices that are gone begins: lanes, */
    size_t sweep_panes;     /* and panes that no time ends */
    /* Over several devices: panes and lanes stand by the hash of their groups instead of by device. */
    bool spread;
    uint32_t mark_count;     /* partitions */
    uint64_t *marks;         /* offset behind the last message of each that came into it */
    struct tpi_map64 groups; /* struct tpi_group by that hash */
};

/* functions: enum tpi_sql_function of each aggregate. */
void tpi_flow_init(struct tpi_flow *f, const struct tpc_allocator *alloc, const uint8_t *functions,
                   uint32_t aggregates);
void tpi_flow_fini(struct tpi_flow *f);

/* group.c: makes a fresh flow one over several devices; frees what it has as such; keeps a group. Return
 * 0, TPC_ENOMEM, or TPC_ETOOBIG (TPI_FLOW_MAX_PANES, _BYTES). */
int tpi_flow_spread(struct tpi_flow *f, uint32_t partitions);
void tpi_flow_spread_fini(struct tpi_flow *f);
int tpi_flow_group(struct tpi_flow *f, uint64_t key, struct tpc_bytes group);
/* Frees groups that have no window and no message. */
void tpi_flow_sweep_groups(struct tpi_flow *f);
/* Marks and groups as bytes. */
int tpi_flow_save_groups(const struct tpi_flow *f, struct tpi_buf *out);
int tpi_flow_read_groups(struct tpi_flow *f, struct tpi_reader *in);

/* The window of this time, made if it is not open; NULL = no memory. */
struct tpi_open *tpi_flow_open(struct tpi_flow *f, int64_t start_ms, int64_t end_ms, bool *ret_new);

/* The device's pane, made if it is not there; NULL = no memory, or TPI_FLOW_MAX_PANES. */
struct tpi_pane *tpi_flow_pane(struct tpi_flow *f, struct tpi_open *o, uint64_t device,
                               bool *ret_new);
/* With those that follow it. */
void tpi_flow_drop_pane(struct tpi_flow *f, struct tpi_open *o, uint64_t device);

/* In a flow of chains, among the device's own windows: the one that starts then, made if it is not there; NULL as
 * above. shift drops the earliest. */
struct tpi_pane *tpi_flow_chain(struct tpi_flow *f, struct tpi_open *o, uint64_t device,
                                int64_t start_ms, bool *ret_new);
void tpi_flow_shift(struct tpi_flow *f, struct tpi_open *o, uint64_t device);

/* The device's lane, made if it is not there; NULL = no memory, or TPI_FLOW_MAX_PANES. */
struct tpi_lane *tpi_flow_lane(struct tpi_flow *f, uint64_t device, bool *ret_new);
void tpi_flow_drop_lane(struct tpi_flow *f, uint64_t device);

/* The spare pane, empty; NULL = no memory. Who fills it empties it: tpi_flow_clear(). */
struct tpi_pane *tpi_flow_spare(struct tpi_flow *f);
void tpi_flow_clear(struct tpi_flow *f, struct tpi_pane *p);

/* Adds a value to a pane, or what a message was packed to. Returns how many values found no room. */
uint32_t tpi_flow_add(struct tpi_flow *f, struct tpi_pane *p, uint32_t aggregate,
                      const struct tpc_value *v);
uint32_t tpi_flow_play(struct tpi_flow *f, struct tpi_pane *p, const struct tpi_moment *m,
                       const uint8_t *values);

/* Frees the first window with its panes. */
void tpi_flow_pop(struct tpi_flow *f);

/* Start of the window that ts is in: the latest multiple of step. */
int64_t tpi_window_start(int64_t unix_ms, int64_t step_ms);

/* Windows as bytes. read fills a fresh flow; old: as states of version 4 have it. Returns 0, TPC_ECORRUPT
 * or TPC_ENOMEM. */
int tpi_flow_save(const struct tpi_flow *f, struct tpi_buf *out);
int tpi_flow_read(struct tpi_flow *f, struct tpi_reader *in, bool old);

#endif
