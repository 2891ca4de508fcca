/* Shared by the files of lib/forward. */
#ifndef TPI_FORWARD_INSIDE_H
#define TPI_FORWARD_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "expr/expr.h"
#include "forward/forward.h"
#include "registry/follow.h"

enum {
    FWD_CHUNK = 512,           /* records of one read */
    FWD_CHUNKS = 16,           /* reads of a target in one turn */
    FWD_SAVE_MS = 5000,        /* cursors are on stable storage at the latest after this */
    FWD_PASSED_SAY_MS = 60000, /* between two lines about what was passed over */
    FWD_LATER_MS = 200,        /* until what the log could not do is tried again */
    FWD_SLOT_BITS = 8,         /* of a ticket: the target's slot */
    FWD_LANE_BITS = 4,         /* of a ticket: the lane */
    FWD_LANES = 16,            /* batches of a target in flight at most */
    FWD_LIST = 64,             /* messages that a transform may make of one */
    FWD_SET = 64,              /* members of transform.set, .rename; keys of .select, .drop */
    FWD_SAMPLE_MS = 1000,      /* between two looks at the log's size and rate */
    FWD_ARENA_BYTES = 64 << 20 /* of what a lane's transform makes */
};

/* What goes when more waits than may: keep.drop. */
enum fwd_drop { FWD_DROP_OLDEST = 0, FWD_DROP_NEWEST = 1, FWD_DROP_THIN = 2 };

struct fwd_keep;
struct fwd_lane;
struct fwd_shape;

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
    double limit;        /* messages a second; 0 = none */
    double limit_points; /* points a second; 0 = none */
    uint32_t window;     /* as it was asked for */
    uint64_t keep_bytes, keep_age_ms, keep_records;
    enum fwd_drop drop;
    struct fwd_keep *keep; /* NULL = the log does it alone */
    struct tpc_str filters[TPI_FORWARD_FILTERS];
    uint32_t filter_count;
    struct tpi_expr *where;  /* NULL = all */
    struct fwd_shape *shape; /* NULL = messages go as they are */
    struct tpc_str *names;   /* that `where` and transform.set look up */
    uint32_t name_count;
    bool no_memory;           /* while it was compiled */
    struct tpc_value options; /* checked */
    const struct tpc_sink_ops *ops;
    void *self;
    void *target; /* what target_open made */
    bool opened;
    struct fwd_lane *lanes;
    uint32_t lane_count;
    struct tpc_error why; /* of one that is not resolved */
};

struct fwd_counts {
    _Atomic uint64_t sent;
    _Atomic uint64_t retried;
    _Atomic uint64_t refused;
    _Atomic uint64_t dead;
    _Atomic uint64_t gap_records;
    _Atomic uint64_t newest_records;
    _Atomic uint64_t thinned;
    _Atomic uint64_t held_bytes;
};

/*
 * One batch of a target, from the reading to its end. A lane owns the partitions of which it holds
 * messages: no other lane reads there until it has let go, so messages of a device go one after the
 * other however many batches are in flight. At most one lane that was not sent yet holds messages.
 */
struct fwd_lane {
    struct fwd_target *t; /* NULL until the config is the target's */
    uint32_t number;
    struct tpi_follow *follow;

    /* Under f->lock; in_flight is changed by the turn's thread alone, which reads it without. */
    uint64_t ticket;
    struct tpc_error answer;
    atomic_bool answered;
    bool in_flight;

    /* The turn's thread. */
    struct tpc_arena *arena; /* of what the transform made; NULL = there is no transform */
    struct tpc_msg *out;     /* the same */
    uint32_t out_count;
    uint32_t shaped;      /* messages of `follow` that were transformed */
    uint32_t at;          /* messages of the batch that are done */
    uint32_t trying;      /* how many are in flight */
    uint32_t bad_end;     /* one of at .. bad_end is refused; 0 = not known */
    bool begun;           /* it was sent, and comes again as it was */
    bool burying;         /* message `at` is to become a dead letter */
    struct tpc_error why; /* of that */
    uint32_t attempts;
    uint64_t due_ms;           /* nothing before that */
    uint64_t soon_ms;          /* a success of another lane makes it due then; 0 = it does not */
    uint64_t filled_ms;        /* when its first message was read */
    size_t held_bytes;         /* as counted for the target */
    _Atomic int64_t oldest_ms; /* of what it holds; 0 = nothing; others read it */
    struct tpc_batch batch;
};

struct fwd_bucket {
    double tokens;
    uint64_t at_ms; /* 0 = full */
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
    struct tpc_error last;
    int64_t last_unix_ms;
    atomic_int state; /* enum tpc_forward_state */

    /* The turn's thread. */
    bool passed_said; /* that records were passed over, at passed_ms */
    uint64_t passed_ms, passed_untold;
    bool draining; /* a change waits for what is in flight: nothing is sent */
    bool cursor_open;
    uint32_t cursor;
    _Atomic uint64_t *committed; /* by partition; others read it */
    uint64_t *read_to;
    uint64_t *scratch;
    struct fwd_gap {
        uint64_t from, to; /* to = 0: none */
    } * gaps;       /* by partition: what is to be told with the next batch that begins there */
    uint8_t *owner; /* by partition: number of the lane and 1; 0 = nobody */
    uint32_t first; /* partition that the next batch begins with */
    bool failing;   /* that was said */
    bool waiting_told;
    uint32_t attempts; /* to open it */
    uint64_t due_ms;   /* nothing before that */
    struct fwd_bucket messages, points;
    uint64_t token_due_ms; /* 0 = it does not wait for the rate */
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
    struct fwd_sample { /* of the log; written by the turn's thread */
        uint64_t at_ms;
        uint64_t ends;                          /* of all partitions */
        _Atomic uint64_t milli_rate;            /* records a second, times 1,000 */
        _Atomic uint64_t mean_bytes;            /* of a record; 0 = not known yet */
        _Atomic uint64_t log_bytes, log_age_ms; /* what the log keeps; 0 = not known */
    } sample;
    struct fwd_safe {   /* what survives; the turn's thread */
        uint64_t *ends; /* by partition: at least so far */
        uint64_t *next; /* ends as they were when `sequence` was the last that was appended */
        uint64_t sequence;
        bool waits; /* for that */
    } safe;
    bool moved;         /* a cursor went on since they were saved; the turn's thread */
    uint64_t saved_ms;  /* the same */
    uint64_t turned_ms; /* when the last turn began; the same */
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
/* Takes over what was put or deleted, unless something is in flight. false: the target is gone. */
bool fwd_take_changes(struct fwd_target *t);
/* Without a thread that turns: closes nothing but memory and, if forget, the cursor. */
void fwd_target_destroy(struct fwd_target *t, bool forget);
/* Opens the cursor if the log is there. */
int fwd_cursor_open(struct fwd_target *t, const struct fwd_config *c, struct tpc_error *err);
void fwd_count_targets(struct tpi_forward *f);

/* ---- lane.c ---- */
int fwd_lanes_create(struct tpi_forward *f, struct fwd_config *c);
void fwd_lanes_destroy(struct fwd_config *c);
static inline bool fwd_lane_busy(const struct fwd_lane *l)
{
    uint32_t n;
    (void) tpi_follow_msgs(l->follow, &n);
    return n > 0;
}
/* Messages that are ready to go. */
struct tpc_msg *fwd_lane_msgs(struct fwd_lane *l, uint32_t *ret_count);
bool fwd_lane_full(struct fwd_lane *l);
/* Reads into it and transforms what it read. true: something was done. */
bool fwd_lane_fill(struct fwd_lane *l);
/* Transforms what waits for that. Returns 0, or a code: it is tried again later. */
int fwd_lane_shape(struct fwd_lane *l);
/* n messages are done. */
void fwd_lane_advance(struct fwd_lane *l, uint32_t n);
/* Message `at` becomes a dead letter; l->why says why. */
void fwd_lane_bury(struct fwd_lane *l);
bool fwd_in_flight(const struct fwd_target *t);
/* What the target holds is given back, and read again. */
void fwd_drop_batches(struct fwd_target *t);
void fwd_note(struct fwd_target *t, const struct tpc_error *err);
void fwd_count(_Atomic uint64_t *own, _Atomic uint64_t *all, uint64_t n);
static inline uint64_t fwd_now_ms(const struct fwd_target *t)
{
    return tpi_mono_ms(t->f->env);
}
static inline uint64_t fwd_committed(const struct fwd_target *t, uint32_t partition)
{
    return atomic_load_explicit(&t->committed[partition], memory_order_relaxed);
}

/* ---- send.c ---- */
bool fwd_work(struct fwd_target *t);
uint64_t fwd_due_ms(const struct fwd_target *t, uint64_t now);
/* Answers that came; false = none. */
bool fwd_judge_answers(struct fwd_target *t);

/* ---- rate.c ---- */
/* How many of n messages the rates let go now; 0: token_due_ms says when. */
uint32_t fwd_allowed(struct fwd_target *t, const struct tpc_msg *msgs, uint32_t n);
/* Looks at the log's size and rate, now and then. */
void fwd_sample(struct tpi_forward *f);
/* Looks how far the log survives: a cursor never goes on over what may not, or what comes in its place
 * after a loss of power would be passed over. Offsets below safe.ends do. */
void fwd_look_safe(struct tpi_forward *f);

/* ---- keep.c ---- */
int fwd_keep_create(struct tpi_forward *f, struct fwd_config *c);
void fwd_keep_destroy(struct fwd_config *c);
/* What waits is compared with what may. */
void fwd_keep_look(struct fwd_target *t);
/* Where reading goes on in a partition: read_to, or behind what is passed over; *ret_bound = where it
 * is to end, *ret_counts = which of the target's counters the records between belong to. */
uint64_t fwd_keep_next(struct fwd_target *t, uint32_t partition, uint64_t *ret_bound,
                       bool *ret_newest);
/* false: the message is thinned out. */
bool fwd_keep_wants(struct fwd_config *c, const struct tpc_msg *m);
/* Nothing of a partition is held any more; again: it will be read once more. */
void fwd_keep_let_go(struct fwd_config *c, uint32_t partition, bool again);
void fwd_keep_count(struct fwd_target *t);

/* ---- letter.c ---- */
/* A message as a tree for people and scripts; its texts are the message's. whole: with tenant,
 * product and device. */
int fwd_msg_tree(const struct tpc_msg *m, bool whole, struct tpc_arena *arena,
                 struct tpc_value *ret);
/* Message `m` becomes a dead letter of the target. Returns 0, TPC_ENOMEM or what the log said. */
int fwd_bury(struct fwd_target *t, const struct tpc_msg *m, const struct tpc_error *why,
             struct tpc_error *err);

/* ---- where.c ---- */
/* want: enum tpi_expr_type. */
int fwd_expr_compile(struct fwd_config *c, struct tpc_str text, uint32_t want,
                     struct tpc_error *err, struct tpi_expr **ret);
struct tpc_value fwd_expr_eval(const struct fwd_config *c, const struct tpi_expr *e,
                               const struct tpc_msg *m, struct tpi_expr_scratch *scratch);
bool fwd_wanted(void *config, const struct tpc_msg *m);

/* ---- shape.c ---- */
enum { FWD_TRANSFORM_OPTIONS = 5 };
extern const struct tpc_option fwd_transform_options[FWD_TRANSFORM_OPTIONS];
/* doc: the member `transform`, or NULL. */
int fwd_shape_create(struct tpi_forward *f, struct fwd_config *c, const struct tpc_value *doc,
                     struct tpc_error *err);
void fwd_shape_destroy(struct fwd_config *c);
/* Makes messages of one: up to FWD_LIST at out, *ret_count of them. Returns 0, TPC_ENOMEM, or a code
 * with *err: the message is a dead letter. */
int fwd_shape_run(const struct fwd_config *c, const struct tpc_msg *m, struct tpc_arena *arena,
                  struct tpc_error *err, struct tpc_msg *out, uint32_t *ret_count);

/* ---- script.c ---- */
struct fwd_script;
int fwd_script_open(struct tpi_forward *f, struct tpc_str code, struct tpc_error *err,
                    struct fwd_script **ret);
void fwd_script_close(struct fwd_script *s); /* NULL is fine */
/* As fwd_shape_run(). */
int fwd_script_run(const struct fwd_script *s, const struct tpc_msg *m, struct tpc_arena *arena,
                   struct tpc_error *err, struct tpc_msg *out, uint32_t *ret_count);

#endif
