/*
 * The inside of a core, shared by the files of lib/core.
 *
 * Locks, in the order in which they may be taken; no callback and no function of a module runs
 * under any of them (the role of worker, which step() and calls of a program take in turn when
 * workers = 0, is no lock of data):
 *   step_lock          the role of worker when no thread has it
 *   setup_lock         making registry, entities and rules
 *   worker.lock        a worker's list of things to do
 *   sessions.lock      opening and closing sessions
 *   loop.lock          watches and timers of modules
 *   streams.lock       subscriptions
 *   flush.lock, pump.lock
 */
#ifndef TPI_CORE_CORE_H
#define TPI_CORE_CORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <tpcore/auth.h>
#include <tpcore/command.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/stream.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/env.h"
#include "base/map.h"
#include "base/ring.h"
#include "base/wheel.h"
#include "bus/clock.h"
#include "core/fail.h"
#include "core/module.h"
#include "downlink/downlink.h"
#include "entity/entity.h"
#include "forward/forward.h"
#include "registry/device.h"
#include "registry/presence.h"
#include "registry/registry.h"
#include "rules/alert.h"
#include "rules/rules.h"
#include "store/history.h"
#include "uplink/uplink.h"

enum {
    TPI_NAME_BYTES = 64,
    TPI_TOKEN_KEY_MIN = 32,
    TPI_TOKEN_KEY_MAX = 128,
    TPI_TENANT_BYTES = 128,   /* of a link session */
    TPI_PART_METRICS = 64,    /* counted by one instance */
    TPI_RUNNING_PARTS = 256,  /* adapters and sinks */
    TPI_SESSION_PAGE = 256,   /* sessions of one page */
    TPI_SESSION_PAGES = 4096, /* 1,048,576 sessions */
    TPI_MEMORY_HIGH_PCT = 80, /* of the limit less reserve: caches shrink, open chunks are stored */
    TPI_MEMORY_TIGHT_PCT = 95,  /* .. receive() says later */
    TPI_STALL_MS = 20,          /* until a log that said later is asked again */
    TPI_INPUTS_PENDING = 65536, /* for windows over several devices; then uplinks wait */
    TPI_FLUSH_RETRY_MS = 100,   /* until a log that failed is flushed again */
    TPI_FLUSH_POLL_MS = 2,      /* until a log that syncs now and then is asked again */
    TPI_READ_RECORDS = 512,     /* of one read of the log */
    TPI_REPLAY_RECORDS = 16384, /* of a partition's tail read at start for latest values */
    TPI_DESTROY_DRAIN_MS = 5000
};

enum tpi_core_state { TPI_CORE_IDLE = 0, TPI_CORE_RUNNING = 1, TPI_CORE_STOPPING = 2 };

enum tpi_stop { TPI_STOP_NOT = 0, TPI_STOP_EMPTY = 1, TPI_STOP_NOW = 2 };

struct tpi_worker;
struct tpi_join;
struct tpc_core;

/* Something that a worker shall do. Embedded in what it is about. */
struct tpi_node {
    struct tpi_node *next;
    void (*run)(struct tpi_worker *w, struct tpi_node *node);
    /* Instead of run, when the core goes; NULL = nothing to free. */
    void (*drop)(struct tpi_worker *w, struct tpi_node *node);
};

/* What a rule wants done after the batch, by the owner of a partition. */
struct tpi_effect {
    struct tpi_node node;
    uint32_t partition;
};

struct tpi_service {
    const char *name;
    const void *ops;
    void *self;
};

struct tpi_part_metric {
    const char *name;
    bool gauge; /* value is an int64_t that is set, not counted */
    atomic_uint_fast64_t value;
};

/* An opened interface of a module: the instance and its context. */
struct tpi_part {
    struct tpc_core *core;
    _Atomic(struct tpi_part *) next; /* in the order of opening */
    const struct tpi_module *module;
    const struct tpi_interface *interface;
    const union tpi_ops *ops; /* interface->ops */
    void *self;
    size_t self_bytes;
    struct tpc_arena *arena; /* holds cfg */
    struct tpc_value cfg;
    char name[TPI_NAME_BYTES];
    uint32_t kind;
    const struct tpi_report *report; /* option of every adapter; NULL = none; the core's */
    bool inited;
    bool started;        /* stop() is to be called */
    atomic_bool ready;   /* start() returned: takes frames without a session */
    atomic_bool stopped; /* no settled(), resume() or send() any more */
    atomic_bool closing; /* nothing new may name it */
    atomic_uint joins;   /* what waits for parts of its messages */
    struct tpi_service services[8];
    uint32_t service_count;
    struct {
        const struct tpi_part *part;
        const char *service;
    } used[8]; /* what need() gave, declared or not */
    uint32_t used_count;
    uint32_t place; /* in the order of starting */
    atomic_uint devices_made;
    atomic_uint metric_count;
    struct tpi_part_metric metrics[TPI_PART_METRICS];
};

/* One ticket or feed that waits for the log. */
struct tpi_ticket {
    uint64_t sequence;
    struct tpi_part *part; /* NULL = a feed */
    uint64_t ticket;
    tpc_done_fn *done;
    void *user;
    int error;
};

struct tpi_session {
    atomic_uint_fast64_t id; /* 0 = free */
    atomic_flag lock;        /* of device, tenant and the three at the end; held for copies only */
    struct tpi_part *part;
    struct tpc_device *device; /* counted; NULL on a link */
    uint64_t generation;
    uint64_t number; /* in the order of opening; under lock, as is `link` */
    bool link;
    uint32_t index;
    uint32_t flags;
    uint32_t worker; /* that hears of it */
    char *tenant;    /* of a link; NULL = "main" */
    size_t tenant_len;
    struct tpi_session *next_free; /* in the list of free ones, or of those that w->ended names */
    struct tpi_session *next_blocked;
    uint64_t ended_at; /* end of the ring when it was closed */
    struct tpi_node node;
    bool blocked; /* in the list of a worker: of a link's session of any */
    bool queued;  /* node is in its worker's list */
    bool closed;
};

struct tpi_sessions {
    pthread_mutex_t lock;
    _Atomic(struct tpi_session *) pages[TPI_SESSION_PAGES];
    uint32_t count;
    uint64_t opened; /* number of the last one */
    struct tpi_session *free;
};

struct tpi_worker {
    struct tpc_core *core;
    uint32_t index;
    bool threaded; /* thread is to be joined */
    pthread_t thread;
    atomic_uintptr_t who; /* pthread_self() of whoever is the worker now; 0 = nobody */
    int epoll;
    int event; /* eventfd */
    int timer; /* timerfd of worker 0 without threads; -1 = none */
    atomic_bool sleeping;
    atomic_bool poked; /* the log grew or was flushed since its turn began */
    _Atomic int64_t
        unix_ms; /* when its turn began, for what comes in meanwhile; 0 = ask the clock */

    pthread_mutex_t lock;
    struct tpi_node *first, *last;
    struct tpi_session *blocked;
    atomic_bool any_blocked;
    struct tpi_session *ended_first, *ended_last; /* the ring still has frames of theirs */

    struct tpi_ring ring;
    bool ring_made;
    struct tpi_uplink *uplink;
    struct tpi_downlink *downlink;
    struct tpi_wheel wheel;
    struct tpi_presence presence;
    struct tpc_arena *arena;      /* of one action */
    struct tpc_arena *send_arena; /* of one frame to a device */
    const struct tpi_up_item *items[TPI_UPLINK_BATCH];
    uint32_t batch_limit;
    uint32_t taken; /* frames since it slept last */
    bool stalled;
    bool announcing_fails; /* that was said */
    uint64_t retry_ms;
    struct tpi_node *held_first, *held_last;     /* effects that the log could not take */
    struct tpi_node *rule_first, *rule_last;     /* effects of the running batch */
    struct tpi_node *closed_first, *closed_last; /* ends of commands to tell */
    struct tpi_node *handed_first, *handed_last; /* parts that the ring could not take */
    uint32_t held_count;
    uint64_t held_retry_ms;
    uint32_t clock_moves;       /* of the core's, that its devices know */
    uint64_t sequence;          /* of its last append */
    atomic_uint batches;        /* that ended */
    atomic_bool busy;           /* between a batch's append and the last of its commands */
    bool reserve;               /* values of a rule are appended */
    atomic_bool renew;          /* its open commands keep a full log */
    atomic_bool adding;         /* a COMMAND is appended and not yet in the downlink */
    struct tpi_ticket *tickets; /* ring */
    size_t ticket_cap, ticket_first, ticket_count;
};

/* Watches and timers of modules: worker 0 runs them. */
struct tpi_loop {
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct tpi_map64 entries; /* id -> struct tpi_entry */
    struct tpi_wheel wheel;
    struct tpi_entry *due;
    uint64_t last_id;
    uint64_t running; /* id of the entry whose function runs; 0 = none */
    uintptr_t runner; /* its thread */
};

struct tpi_streams {
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct tpc_sub *first;
    atomic_uint count;
    uint32_t next_worker;
};

/* The log: appending, flushing, who waits for it. */
struct tpi_flush {
    pthread_mutex_t lock;
    pthread_cond_t work;    /* appended grew, or stop */
    pthread_cond_t reached; /* flushed grew, or an error */
    pthread_t thread;
    atomic_bool threaded;
    bool stop;
    atomic_bool failing;
    uint32_t waiters, hurried; /* parts that stop now */
    struct tpc_error error;    /* of the last flush while failing */
    atomic_uint_fast64_t appended;
    atomic_uint_fast64_t flushed;
    atomic_uint_fast64_t failures;
};

struct tpi_fresh; /* a command whose state is to be stored */

struct tpi_pump {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    bool threaded;
    bool stop;
    bool kicked;
    bool failing;
    uint64_t turns;
    bool going; /* its last turn did something */
    pthread_cond_t turned;
    uint32_t opened; /* cursors */
    uint32_t cursor_history, cursor_rules, cursor_downlink;
    uint64_t *position; /* next offset to read, by partition */
    uint64_t *rules_next;
    uint64_t *downlink_next;
    struct tpc_arena *arena;
    struct tpi_node *rows_first, *rows_last; /* records of commands to store */
    uint32_t row_count;
    struct tpi_map fresh; /* struct tpi_fresh by id */
    struct tpi_fresh *fresh_first, *fresh_last;
    uint64_t sweep_after; /* device whose rows were looked at last */
    uint64_t sweep_next_ms;
    struct tpi_node *told_first, *told_last; /* commands on their way into the audit trail */
    uint32_t told_count;
    struct tpi_node *alert_first, *alert_last; /* rows of alerts to store */
    uint32_t alert_count;
    struct tpc_arena *alert_arena;
    uint64_t last_alert_ms;
    uint64_t retry_ms;
    uint64_t last_save_ms;
    uint64_t last_trim_ms;
    uint64_t last_pressed_ms;
    uint64_t last_shrink_ms;
    uint64_t waits_seen; /* append_waits when it was looked at last */
    bool moved;          /* a position went on since cursors were committed */
    atomic_uint_fast64_t failures;
};

/* Turns the targets, with workers. */
struct tpi_forwarder {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    atomic_bool threaded;
    bool stop;
    bool kicked;
};

struct tpi_core_counters {
    _Atomic uint64_t receive_later; /* receive() or feed answered TPC_EAGAIN */
    _Atomic uint64_t receive_too_big;
    _Atomic uint64_t memory_tight;
    _Atomic uint64_t memory_high;
    _Atomic uint64_t sessions; /* open */
    _Atomic uint64_t takeovers;
    _Atomic uint64_t presence_timeouts;
    _Atomic uint64_t presence_passes;
    _Atomic uint64_t settled;
    _Atomic uint64_t append_waits;
    _Atomic uint64_t answers;
    _Atomic uint64_t subs_created; /* by what gateways report */
    _Atomic uint64_t subs_refused;
    _Atomic uint64_t devices_made; /* by modules */
    _Atomic uint64_t devices_refused;
    _Atomic uint64_t answers_failed;
    _Atomic uint64_t rule_switches_failed;
    _Atomic uint64_t rule_commands_lost; /* too many open, or out of memory */
    _Atomic uint64_t rule_messages_lost;
    _Atomic uint64_t rule_inputs_waits; /* uplinks waited for owners of windows */
    _Atomic uint64_t announcements_lost;
    _Atomic uint64_t records_unreadable; /* of the log, by consumers */
    _Atomic uint64_t stream_retries;
    _Atomic uint64_t stream_gaps;
    _Atomic uint64_t command_rows_dropped; /* made room for newer ones of their device */
};

struct tpc_core {
    struct tpi_meter meter;
    const struct tpc_allocator *outer; /* the core itself comes from it */
    struct tpi_env env;                /* alloc = &meter.base */
    struct tpi_id_state ids;
    struct tpc_core_options options; /* defaults filled in, keys copied */
    struct tpi_report report;        /* of options */
    struct tpi_report_kept *reports; /* of instances, as long as the core; part_lock */
    uint32_t command_rows_max;       /* known when the store is */
    uint8_t secret_key[TPI_SEAL_KEY_BYTES];
    uint8_t token_key[TPI_TOKEN_KEY_MAX];
    struct tpc_host host;
    atomic_int state; /* enum tpi_core_state */
    bool was_started;

    struct tpi_module *modules, **modules_end;
    _Atomic(struct tpi_part *) parts,
        *parts_end;           /* changed by the control thread, under part_lock */
    atomic_uint part_readers; /* threads that are no workers and go through them */
    struct tpi_part *gone;    /* closed: tickets of theirs may still be about */
    struct tpi_part *log_part, *entities_part, *history_part;
    pthread_mutex_t part_lock;  /* codec instances made on demand, new metrics */
    pthread_mutex_t trial_lock; /* the codecs' place beside the workers */

    const struct tpc_bus_ops *bus;
    void *bus_self;
    atomic_uint_fast64_t *ends; /* next offset of each partition */

    pthread_mutex_t setup_lock;
    struct tpi_registry *registry;
    struct tpi_rules *rules;
    struct tpi_forward *forward; /* NULL = not made, or only observing */
    struct tpi_alerts *alerts;
    bool alerts_mine; /* it was started: its table is not the store's; setup_lock */
    struct tpi_entities *entities;
    atomic_bool entities_made; /* and stay so */
    struct tpi_history *history;
    int64_t latest_before_ms;    /* at start: values that came before it are loaded */
    struct tpi_missing *missing; /* at start: values and sessions to look after */
    uint64_t keep_next_ms;       /* next turn of retention: pump */
    bool keep_running;           /* a round has begun */
    atomic_bool why_loaded;      /* failures of an earlier run are in memory: start */
    uint64_t why_saved;          /* notes that the store has: pump */
    uint64_t why_next_ms;        /* pump */
    struct tpi_map done;         /* command id -> struct done: see command.c */
    pthread_mutex_t done_lock;

    struct tpi_worker *workers;
    uint32_t worker_count; /* at least 1 */
    uint32_t worker_cap;
    bool threads;            /* workers run on threads of their own */
    atomic_int stop_workers; /* enum tpi_stop */
    atomic_uint workers_gone;
    atomic_uint rule_pending;   /* commands and messages of rules that are not in the log yet */
    atomic_uint inputs_pending; /* of them, what comes into windows over several devices */
    atomic_size_t handed;       /* bytes of parts that are in no ring yet: up to about one ring's */
    bool replaying;
    struct tpi_map said; /* ids of messages of rules that the last replay found in the log */
    atomic_uint inside;  /* calls of the program that use what a stop takes away */
    pthread_mutex_t step_lock;

    struct tpi_sessions sessions;
    struct tpi_loop loop;
    struct tpi_own_codec *codecs; /* of the program; under part_lock */
    struct tpi_serving *serving;  /* NULL = no service */
    struct tpi_streams streams;
    struct tpi_flush flush;
    struct tpi_pump pump;
    struct tpi_forwarder forwarder;
    struct tpi_clock clock;
    atomic_uint clock_moves; /* times that this boot's clock became known */

    struct tpi_core_counters counters;
    struct tpi_uplink_counters uplink_counters;
    struct tpi_downlink_counters downlink_counters;
};

/* A received thing in a worker's ring; texts and payload follow in this order. */
struct tpi_up_item {
    struct tpc_device *device;       /* counted, unless borrowed; NULL = unknown */
    struct tpi_part *part;           /* NULL = fed by the program */
    const struct tpi_report *report; /* of the instance that it came by; NULL = none */
    uint64_t session;
    uint64_t ticket;
    tpc_done_fn *done;
    void *user;
    int64_t unix_ms;
    int64_t received_unix_ms;
    uint32_t packet_id;
    uint32_t code;
    uint32_t partition;
    uint32_t payload_len;
    uint16_t kind;
    uint16_t flags;
    uint8_t type;  /* enum tpi_up_type */
    bool borrowed; /* its session counts the device */
    uint16_t tenant_len;
    uint16_t product_len;
    uint16_t device_len;
    uint16_t topic_len;
    uint16_t name_len;
    uint16_t correlation_len;
};

static inline void tpi_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline struct tpi_worker *tpi_worker_of(struct tpc_core *core, uint32_t partition)
{
    return &core->workers[partition % core->worker_count];
}

static inline bool tpi_core_running(struct tpc_core *core)
{
    return atomic_load_explicit(&core->state, memory_order_acquire) == TPI_CORE_RUNNING;
}

/* A call of the program that uses workers, their rings or downlinks: while it is inside, a stop does
 * not free them. Returns 0, or TPC_ESTATE: the core is not running, and it is not inside. */
static inline int tpi_core_enter(struct tpc_core *core)
{
    atomic_fetch_add(&core->inside, 1);
    if (atomic_load(&core->state) == TPI_CORE_RUNNING) {
        return 0;
    }
    atomic_fetch_sub(&core->inside, 1);
    return TPC_ESTATE;
}

static inline void tpi_core_leave(struct tpc_core *core)
{
    atomic_fetch_sub(&core->inside, 1);
}

/* ---- host.c, session.c ---- */
void tpi_host_init(struct tpc_core *core);
int tpi_session_open(struct tpi_part *part, const struct tpc_session_options *o, uint64_t *ret);
void tpi_session_close(struct tpi_part *part, uint64_t session);
/* Closes all of a part that has stopped. */
void tpi_sessions_end(struct tpi_part *part);
bool tpi_session_is_open(struct tpc_core *core, uint64_t session);
/* Whose session it is; NULL = closed. */
struct tpi_part *tpi_session_part(struct tpc_core *core, uint64_t session);
/* Both are open and of one device each, not links, and `a` was opened later. */
bool tpi_session_newer(struct tpc_core *core, uint64_t a, uint64_t b);
int tpi_session_receive(struct tpi_part *part, uint64_t session, const struct tpc_frame *frame,
                        uint64_t ticket);
/* Tells adapters whose session was refused that there is room again. Worker. */
bool tpi_session_resume(struct tpi_worker *w);
/* Frees sessions that were closed, once the ring has none of their frames; all = it has no frames at
 * all any more. Worker. */
void tpi_session_sweep(struct tpi_worker *w, bool all);
void tpi_sessions_fini(struct tpc_core *core);

/* ---- presence.c: the device's worker, no lock is held ---- */
/* A session of this process says so; a product whose devices only heartbeats tell of ignores it. */
void tpi_presence_session(struct tpi_worker *w, struct tpc_device *d, const char *origin,
                          bool online);
/* A session that an earlier run did not close. */
void tpi_presence_ended(struct tpi_worker *w, struct tpc_device *d);
/* A status message that is in the log. */
void tpi_presence_said(struct tpi_worker *w, struct tpc_device *d, bool online, int64_t unix_ms);
/* A message of a device that is offline or not watched yet. */
void tpi_presence_woke(struct tpi_worker *w, struct tpc_device *d);
/* Devices of this worker whose gateway has gone. */
void tpi_presence_follow(struct tpi_worker *w, struct tpc_device **gone, uint32_t n);
/* Devices that were silent for too long go offline. */
bool tpi_presence_turn(struct tpi_worker *w);

/* ---- feed.c ---- */
struct tpi_feed {
    struct tpc_device *device; /* counted by put when it succeeds, unless borrowed */
    struct tpi_part *part;
    const struct tpi_report *report; /* NULL = the part's */
    uint64_t session;
    uint64_t ticket;
    tpc_done_fn *done;
    void *user;
    struct tpc_str tenant; /* without a device */
    uint32_t partition;
    uint8_t type;
    bool borrowed; /* the session counts the device as long as the ring has this */
};
/* Copies into the owner's ring. 0, TPC_EAGAIN, TPC_ETOOBIG. */
int tpi_feed_put(struct tpc_core *core, const struct tpi_feed *feed, const struct tpc_frame *frame);
/* The views of an item, and its end. */
void tpi_feed_input(const struct tpi_up_item *item, struct tpi_up_input *ret);
void tpi_feed_done(const struct tpi_up_item *item);
bool tpi_core_memory_tight(struct tpc_core *core);
bool tpi_core_memory_high(struct tpc_core *core);

/* ---- worker.c ---- */
int tpi_worker_init(struct tpc_core *core, struct tpi_worker *w, uint32_t index);
void tpi_worker_fini(struct tpi_worker *w);
int tpi_worker_prepare(struct tpi_worker *w, struct tpc_error *err); /* at start */
void tpi_worker_release(struct tpi_worker *w);                       /* at stop */
void tpi_worker_forget(struct tpi_worker *w); /* what is still posted, at destroy */
int tpi_worker_start(struct tpi_worker *w);
void tpi_worker_wake(struct tpi_worker *w);
/* Wakes it for something that is not in its ring or list: a turn will begin after this. */
void tpi_worker_poke(struct tpi_worker *w);
/* Work that came since its last turn began. */
bool tpi_worker_has_work(struct tpi_worker *w);
/* Gives a node to a worker. */
void tpi_worker_post(struct tpi_worker *w, struct tpi_node *node);
/* The worker that the calling thread is now, or NULL. */
struct tpi_worker *tpi_worker_current(struct tpc_core *core);
/* Runs fn as the worker and waits for it: at once if the caller is that worker. TPC_ESTATE if it is
 * another one, or nobody will run it. */
int tpi_worker_call(struct tpi_worker *w, int (*fn)(struct tpi_worker *w, void *user), void *user);
bool tpi_worker_turn(struct tpi_worker *w);
/* Before it sleeps. A worker that was busy and waits for nothing naps for a moment, so that producers
 * find it awake and wake it once for many frames: true = it did. */
bool tpi_worker_nap(struct tpi_worker *w);
/* From here on producers wake it; it looks for work once more, then it waits. */
void tpi_worker_drowse(struct tpi_worker *w);
/* Nothing is received, queued or waiting for the log. */
bool tpi_worker_empty(struct tpi_worker *w);
uint64_t tpi_worker_next_ms(struct tpi_worker *w);

/* ---- settle.c ---- */
int tpi_tickets_reserve(struct tpi_worker *w, size_t n);
/* With a join, that waits instead of the item. */
void tpi_ticket_put(struct tpi_worker *w, const struct tpi_up_item *item, struct tpi_join *join,
                    int error);
bool tpi_tickets_settle(struct tpi_worker *w, uint64_t flushed);

/* ---- hand.c: parts of a gateway's message whose devices other workers own ---- */
/* Hands those of an input over, from part *at on. Returns what waits for all of them instead of the
 * item, NULL if nothing waits or there are none. *error: becomes TPC_ENOMEM if one is lost. */
struct tpi_join *tpi_hand_parts(struct tpi_worker *w, uint32_t input, uint32_t *at, int *error);
void tpi_join_done(void *join, int error);
/* Whether so many parts wait for workers that no more frames are taken. */
static inline bool tpi_hand_full(struct tpc_core *core)
{
    return atomic_load_explicit(&core->handed, memory_order_relaxed) > core->options.ring_bytes;
}
/* Parts that waited for room in the ring; whether one got in. */
bool tpi_hand_again(struct tpi_worker *w);
void tpi_hand_drop(struct tpi_worker *w);

/* ---- loop.c ---- */
int tpi_loop_init(struct tpc_core *core);
void tpi_loop_fini(struct tpc_core *core);
int tpi_loop_watch(struct tpi_part *part, int fd, uint32_t events, tpc_watch_fn *fn, void *user);
int tpi_loop_timer(struct tpi_part *part, uint64_t delay_ms, tpc_timer_fn *fn, void *user,
                   uint64_t *ret);
/* Clears what a part that has stopped left: it sets nothing new. */
void tpi_loop_forget(struct tpi_part *part);
void tpi_loop_clear(struct tpc_core *core, uint64_t id);
bool tpi_loop_run_timers(struct tpc_core *core);
/* Waits for the worker's descriptors and calls the watches that are ready. True: one was. */
bool tpi_loop_wait(struct tpi_worker *w, int timeout_ms);
uint64_t tpi_loop_next_ms(struct tpc_core *core);

/* ---- flush.c ---- */
int tpi_flush_init(struct tpc_core *core);
void tpi_flush_fini(struct tpc_core *core);
int tpi_flush_start(struct tpc_core *core);
void tpi_flush_stop(struct tpc_core *core);
/* Appends as the owner of the partitions. */
int tpi_log_append(struct tpi_worker *w, struct tpc_record *records, uint32_t count, uint32_t flags,
                   struct tpc_error *err);
/* One record with the body of a message; *ret_offset may be NULL. */
int tpi_log_append_msg(struct tpi_worker *w, const struct tpc_msg *msg, uint32_t flags,
                       struct tpc_error *err, uint64_t *ret_offset);
/* Flushes here and now. *ret_did: something was flushed. */
int tpi_flush_now(struct tpc_core *core, uint32_t flags, struct tpc_error *err, bool *ret_did);
/* Waits until a sequence is flushed. TPC_ESTATE: the core stops; a part stops: why the log fails. */
int tpi_flush_wait(struct tpc_core *core, uint64_t sequence, struct tpc_error *err);
void tpi_flush_hurry(struct tpc_core *core, bool on); /* around a part's stop() */

/* ---- pump.c, replay.c ---- */
int tpi_pump_init(struct tpc_core *core);
void tpi_pump_fini(struct tpc_core *core);
int tpi_pump_open(struct tpc_core *core, struct tpc_error *err);
void tpi_pump_close(struct tpc_core *core);
int tpi_pump_start(struct tpc_core *core);
void tpi_pump_stop(struct tpc_core *core);
bool tpi_pump_turn(struct tpc_core *core);
int tpi_pump_finish(struct tpc_core *core);
void tpi_pump_kick(struct tpc_core *core);
/* Waits until what is in the log now is stored. false: it cannot be waited for here. */
bool tpi_pump_catch_up(struct tpc_core *core);
uint64_t tpi_pump_next_ms(struct tpc_core *core);

/* Retention (keep.c): all by the pump. A turn is a small piece of work, if it is time for one. */
void tpi_keep_open(struct tpc_core *core);
void tpi_keep_turn(struct tpc_core *core);
uint64_t tpi_keep_due_ms(struct tpc_core *core);
int tpi_replay(struct tpc_core *core, struct tpc_error *err);
/* A record as message: body decoded, keys of its device filled in (*ret_device counted or NULL). */
int tpi_record_msg(struct tpc_core *core, const struct tpc_record *record, struct tpc_arena *arena,
                   struct tpc_msg *ret, struct tpc_device **ret_device);

/* ---- effect.c ---- */
/* Inside a batch. */
void tpi_effect_queue(struct tpi_worker *w, struct tpi_effect *effect);
/* After it: each runs on its owner. */
void tpi_effects_run(struct tpi_worker *w);
/* Scenes look at a command that was appended, or at its end; what they want done stays in the worker's list
 * until its next turn. The owner, outside a batch and without the registry's lock. record: of a command, its
 * message is decoded if any scene listens. device may be NULL. */
void tpi_rule_command(struct tpi_worker *w, struct tpc_device *device, const struct tpc_msg *msg);
void tpi_rule_command_record(struct tpi_worker *w, struct tpc_device *device,
                             const struct tpc_record *record);
/* Keeps one that failed with rc until the log may work again; false: it cannot be kept. */
bool tpi_effect_hold(struct tpi_worker *w, struct tpi_effect *effect, int rc);
/* The same, whatever is kept already: the log holds back those that make more of them. */
void tpi_effect_keep(struct tpi_worker *w, struct tpi_effect *effect);
void tpi_effects_held(struct tpi_worker *w);
void tpi_effects_drop(struct tpi_worker *w);
/* Queues a message of a rule. */
int tpi_effect_say(void *core, uint32_t worker, const struct tpi_rule_message *message);
/* At start: a message of a rule that is in the log. Returns 0 or TPC_ENOMEM. */
int tpi_effect_remember(struct tpc_core *core, const struct tpc_msg *msg);

/* A time of CLOCK_MONOTONIC that is so far away. */
void tpi_deadline(struct timespec *ret, uint64_t ms);

/* ---- forward.c ---- */
int tpi_core_forward(struct tpc_core *core, struct tpc_error *err); /* makes the stage */
int tpi_forwarder_init(struct tpc_core *core);
void tpi_forwarder_fini(struct tpc_core *core);
/* Before anything is appended, after the adapters' start, before their stop, after it. */
int tpi_forwarder_open(struct tpc_core *core, struct tpc_error *err);
int tpi_forwarder_start(struct tpc_core *core, struct tpc_error *err);
void tpi_forwarder_halt(struct tpc_core *core);
/* Targets of sinks that were opened since are loaded again. */
int tpi_forwarder_again(struct tpc_core *core);
/* Waits for the answers to what is on its way, half of the time at most. Returns what is left of drain_ms. */
uint32_t tpi_forwarder_drain(struct tpc_core *core, uint32_t drain_ms);
void tpi_forwarder_finish(struct tpc_core *core);
void tpi_forwarder_kick(struct tpc_core *core);
void tpi_forwarder_log(struct tpc_core *core); /* the log was flushed */

/* ---- alert.c ---- */
int tpi_core_alerts(struct tpc_core *core, struct tpc_error *err); /* makes the stage */
/* What a rule says of an alert, as tpi_effect_say(). */
int tpi_alert_say(struct tpc_core *core, uint32_t worker, const struct tpi_rule_message *message);
bool tpi_alert_turn(struct tpi_worker *w);
uint64_t tpi_alert_next_ms(struct tpi_worker *w);
void tpi_alert_gone(struct tpi_worker *w, const struct tpc_device *device);
/* At start, before the replay. */
int tpi_alert_load(struct tpc_core *core, struct tpc_error *err);
/* Of a core that was never started: as the store is now. */
int tpi_alert_refresh(struct tpc_core *core, struct tpc_error *err);
/* The pump: take before the log is synced, store after it. Returns 0, TPC_EAGAIN (more than fits) or
 * TPC_ENOMEM: then cursors stay where they are. */
int tpi_alert_take(struct tpc_core *core);
int tpi_alert_store(struct tpc_core *core, struct tpc_error *err);
void tpi_alert_drop_rows(struct tpc_core *core);
uint64_t tpi_alert_store_due_ms(struct tpc_core *core);

/* ---- command.c ---- */
/* A command's record, open or closed; not running: as it is stored. Returns 0, TPC_ENOENT, TPC_ESTATE or
 * what the store says. */
int tpi_command_find(struct tpc_core *core, const struct tpc_id *id, bool running,
                     tpc_command_fn *fn, void *user);
/* lib/core/rule_effect.c: hosts' functions of the rules. */
int tpi_effect_fan(void *core, uint32_t worker, struct tpi_fan *fan);
int tpi_effect_switch(void *core, uint32_t worker, const struct tpi_rule_switch *s);
int tpi_command_of_rule(void *core, uint32_t worker, const struct tpi_rule_command *command);
bool tpi_command_told(struct tpi_worker *w); /* calls done functions */
/* A part that has stopped is told of no end any more: of those that it waits for, and on its worker of
 * those that are on their way to it. */
void tpi_command_leave(struct tpc_core *core, const struct tpi_part *part);
void tpi_command_untell(struct tpi_worker *w, const struct tpi_part *part);
int tpi_down_append(void *worker, struct tpc_device *device, const struct tpc_msg *msg);
int tpi_down_renew(void *worker, struct tpc_device *device, const struct tpc_msg *msg,
                   uint64_t *ret_offset);
void tpi_down_renew_all(struct tpi_worker *w);
int tpi_down_send(void *worker, struct tpc_device *device, const struct tpc_encode *what,
                  uint64_t ticket, struct tpc_error *err);
void tpi_down_closed(void *worker, struct tpc_device *device, const struct tpc_command *command);
void tpi_down_sent(struct tpi_part *part, uint64_t ticket, const struct tpc_error *err);
/* part: of a gateway's message, on the gateway's topics. */
void tpi_down_answer(struct tpi_worker *w, struct tpc_device *device, struct tpc_str name,
                     struct tpc_str correlation, bool part);

/* ---- topology.c: as tpc_topology_bind() and _unbind(), but the gateway is not told ---- */
int tpi_topology_bind(struct tpc_core *core, const struct tpc_actor *actor,
                      struct tpc_device *device, struct tpc_device *gateway, struct tpc_str address,
                      uint32_t flags);
int tpi_topology_unbind(struct tpc_core *core, const struct tpc_actor *actor,
                        struct tpc_device *device);

/* ---- request.c: what gateways ask for, after a batch ---- */
void tpi_requests(struct tpi_worker *w);
/* An answer with data, or a failure: code and text. */
void tpi_down_reply(struct tpi_worker *w, struct tpc_device *device, struct tpc_str name,
                    struct tpc_str correlation, int code, const struct tpc_value *data);

/* ---- create.c: devices that gateways' reports make, after a batch ---- */
void tpi_create_subs(struct tpi_worker *w);

/* ---- make.c: as tpc_host's make_device ---- */
int tpi_make_device(struct tpi_part *p, const struct tpc_host_device *given);

void tpi_command_fini(struct tpc_core *core);
/* As tpc_command_send(); done is not called once `part`, unless NULL, has stopped. */
int tpi_command_send(struct tpc_core *core, struct tpi_part *part, const struct tpc_actor *actor,
                     const struct tpc_command_options *options, tpc_command_fn *done, void *user,
                     struct tpc_id *ret);
int tpi_send_frame(struct tpi_worker *w, struct tpc_device *device, const struct tpc_encode *what,
                   uint64_t ticket, struct tpc_error *err);

/* ---- latest.c ---- */
/* Between making the history stage and starting it. */
void tpi_latest_attach(struct tpc_core *core);
/* After the history's start: values of its marks that came before a time. */
int tpi_latest_load_before(struct tpc_core *core, int64_t before_ms, struct tpc_error *err);
/* All, unless newer ones are there; those that the marks only name are looked up. */
int tpi_latest_load_all(struct tpc_core *core, struct tpc_error *err);
void tpi_latest_forget_missing(struct tpc_core *core);
/* After the replay, as the workers: who was online by a session of an earlier run is not. */
int tpi_latest_end_sessions(struct tpc_core *core, struct tpc_error *err);

/* ---- derive.c ---- */
extern const struct tpi_expr_ops tpi_core_expr_ops;

/* ---- entity.c ---- */
int tpi_core_entities(struct tpc_core *core, struct tpc_error *err);
void tpi_core_properties(struct tpc_core *core); /* names of all properties to the history */

/* ---- audit.c: the pump ---- */
/* A command that was sent: told with the next store. Returns 0, TPC_EAGAIN (store first) or TPC_ENOMEM. */
int tpi_audit_command(struct tpc_core *core, const struct tpc_msg *msg);
/* Something that somebody did with an alert: as above. Others are passed over. */
int tpi_audit_alert(struct tpc_core *core, const struct tpc_msg *msg);
int tpi_audit_store(struct tpc_core *core, struct tpc_error *err);
void tpi_audit_drop(struct tpc_core *core);

/* ---- why.c ---- */
/* At start: what an earlier run stored. */
int tpi_why_load(struct tpc_core *core);
/* Who was refused: login, topic, registration. A user name may be a secret: it is never kept unless
 * it is a device's key. */
void tpi_why_login(struct tpc_core *core, const struct tpc_auth_request *q,
                   const struct tpc_error *err);
void tpi_why_topic(struct tpc_core *core, const struct tpc_identity *who, struct tpc_str topic,
                   const struct tpc_error *err);
void tpi_why_registration(struct tpc_core *core, const struct tpc_register_request *q,
                          const struct tpc_error *err);
/* The pump: stores what changed, if it is time or all = now. */
void tpi_why_turn(struct tpc_core *core, bool all);
uint64_t tpi_why_due_ms(struct tpc_core *core);

/* ---- place.c ---- */
void tpi_core_place(struct tpc_core *core); /* notes the log's folder in the history */

/* ---- stream.c ---- */
int tpi_streams_init(struct tpc_core *core);
void tpi_streams_fini(struct tpc_core *core);
bool tpi_streams_turn(struct tpi_worker *w);
void tpi_streams_wake(struct tpc_core *core);
/* Tails begin at the end of the log as it is now. */
void tpi_streams_start(struct tpc_core *core);
uint64_t tpi_streams_next_ms(struct tpi_worker *w);

#endif
