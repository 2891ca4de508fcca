/* Shared by the files of lib/forward. */
#ifndef TPI_FORWARD_INSIDE_H
#define TPI_FORWARD_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "expr/expr.h"
#include "forward/forward.h"
#include "registry/follow.h"

enum {
    FWD_CHUNK = 512,    /* records of one read */
    FWD_CHUNKS = 16,    /* reads of a target in one turn */
    FWD_SAVE_MS = 5000, /* cursors are on stable storage at the latest after this */
    FWD_LATER_MS = 200, /* until what the log could not do is tried again */
    FWD_TICKET_BITS = 8 /* of a ticket: the target's slot */
};

/* One revision of a target. Never changes once it is made but for `target`. */
struct fwd_config {
    const struct tpc_allocator *alloc;
    const struct tpi_env *env;
    struct tpc_arena *arena;
    uint64_t id;
    struct tpc_str tenant;
    struct tpc_str key;
    struct tpc_str name; /* "<tenant>/<kind>/<key>", NUL behind it */
    struct tpc_str sink;
    bool handler;
    bool enabled;
    bool resolved; /* the sink is open and its options are checked */
    bool newest;   /* a new cursor begins at the end */
    uint32_t batch_count;
    uint64_t batch_bytes;
    uint64_t wait_ms;
    uint64_t retry_min_ms, retry_max_ms;
    double limit; /* messages a second; 0 = none */
    uint64_t keep_bytes, keep_age_ms;
    struct tpc_str filters[TPI_FORWARD_FILTERS];
    uint32_t filter_count;
    struct tpi_expr *where; /* NULL = all */
    struct tpc_str *names;  /* that `where` looks up */
    uint32_t name_count;
    bool no_memory;           /* while it was compiled */
    struct tpc_value options; /* checked */
    const struct tpc_sink_ops *ops;
    void *self;
    void *target; /* what target_open made */
    bool opened;
    struct tpi_follow *follow;
    struct tpc_error why; /* of one that is not resolved */
};

struct fwd_counts {
    _Atomic uint64_t sent;
    _Atomic uint64_t retried;
    _Atomic uint64_t refused;
    _Atomic uint64_t dead;
    _Atomic uint64_t gap_records;
};

struct fwd_target {
    struct tpi_forward *f;
    uint64_t id;
    uint32_t slot;
    uint32_t kind; /* 0 forward, 1 handler */

    /* Under f->lock. */
    struct fwd_config *config;  /* the turn's thread alone replaces it: it reads without the lock */
    struct fwd_config *pending; /* replaces it once nothing is in flight */
    bool gone;
    uint64_t ticket; /* that is in flight */
    struct tpc_error answer;
    struct tpc_error last;
    int64_t last_unix_ms;
    atomic_bool answered;
    atomic_int state; /* enum tpc_forward_state */

    /* The turn's thread. */
    bool cursor_open;
    uint32_t cursor;
    _Atomic uint64_t *committed; /* by partition; others read it */
    uint64_t *read_to;
    uint64_t *scratch;
    uint32_t first;   /* partition that the next batch begins with */
    uint32_t at;      /* messages of the batch that are done */
    uint32_t trying;  /* how many are in flight */
    uint32_t bad_end; /* one of at .. bad_end is refused; 0 = not known */
    bool in_flight;
    bool burying; /* message `at` is to become a dead letter */
    bool stamped; /* the batch's messages have ids */
    bool failing; /* that was said */
    bool waiting_told;
    uint32_t attempts;
    uint64_t due_ms;    /* nothing before that */
    uint64_t filled_ms; /* when its first message was read */
    uint32_t gap_partition;
    uint64_t gap_from, gap_to;
    double tokens;
    uint64_t tokens_ms;
    uint64_t token_due_ms; /* 0 = it does not wait for the rate */
    struct tpc_batch batch;
    struct fwd_counts counts;
};

struct tpi_forward {
    const struct tpi_env *env;
    struct tpi_forward_host host;
    struct tpi_kind kinds[TPI_FORWARD_KINDS];
    struct fwd_kind_user {
        struct tpi_forward *f;
        uint32_t kind;
    } kind_users[TPI_FORWARD_KINDS];
    pthread_mutex_t changes;
    pthread_mutex_t lock;
    struct fwd_target *targets[TPI_FORWARD_TARGETS];
    uint32_t count; /* slots in use, holes too */
    struct fwd_target *turning[TPI_FORWARD_TARGETS];
    uint64_t tickets;
    atomic_bool running; /* changes under `changes` */
    bool id_known;
    struct tpc_id id_base;
    bool moved;        /* a cursor went on since they were saved; the turn's thread */
    uint64_t saved_ms; /* the same */
    struct tpi_forward_counters counters;
};

/* ---- config.c ---- */
extern const char *const fwd_kind_names[TPI_FORWARD_KINDS];
struct tpc_list fwd_schema(uint32_t kind);
const struct tpc_list *fwd_schema_of(void *user, const struct tpc_value *doc,
                                     struct tpc_arena *arena);
int fwd_config_create(struct tpi_forward *f, uint32_t kind, const struct tpi_change *change,
                      struct tpc_error *err, struct fwd_config **ret);
/* Closes its target, too. NULL is fine. */
void fwd_config_destroy(struct fwd_config *c);
/* Returns 0 or what target_open() said, with its text in err. */
int fwd_config_open(struct tpi_forward *f, struct fwd_config *c, struct tpc_error *err);

/* ---- change.c ---- */
int fwd_prepare(void *user, struct tpi_change *change, struct tpc_error *err);
void fwd_apply(void *user, struct tpi_change *change);
void fwd_discard(void *user, struct tpi_change *change);
struct fwd_target *fwd_find(struct tpi_forward *f, uint64_t id);
/* Takes over what was put or deleted, unless a batch is in flight. false: the target is gone. */
bool fwd_take_changes(struct fwd_target *t);
/* Without a thread that turns: closes nothing but memory and, if forget, the cursor. */
void fwd_target_destroy(struct fwd_target *t, bool forget);
/* Opens the cursor if the log is there. */
int fwd_cursor_open(struct fwd_target *t, const struct fwd_config *c, struct tpc_error *err);
void fwd_count_targets(struct tpi_forward *f);

/* ---- send.c ---- */
bool fwd_work(struct fwd_target *t);
uint64_t fwd_due_ms(const struct fwd_target *t, uint64_t now);
/* An answer that came; false = none. */
bool fwd_judge_answer(struct fwd_target *t);
void fwd_drop_batch(struct fwd_target *t);
void fwd_note(struct fwd_target *t, const struct tpc_error *err);

/* ---- letter.c ---- */
/* Message `m` becomes a dead letter of the target. Returns 0, TPC_ENOMEM or what the log said. */
int fwd_bury(struct fwd_target *t, const struct tpc_msg *m, const struct tpc_error *why,
             struct tpc_error *err);

/* ---- where.c ---- */
int fwd_where_compile(struct fwd_config *c, struct tpc_str text, struct tpc_error *err);
bool fwd_wanted(void *config, const struct tpc_msg *m);

#endif
