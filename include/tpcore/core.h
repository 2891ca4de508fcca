/*
 * The core: owns everything. Create it, add modules, open parts, put entities, start, work, stop,
 * destroy. One process may have several; they share nothing.
 *
 * Threads. With workers = N the core runs N threads (at most one a partition) that own the
 * partitions, one that writes the log and one that commits to the stores. With workers = 0 it starts none: the caller runs
 * tpc_core_step() and is the worker. "any-thread" functions may be called from every thread at
 * once; "control" functions by one thread at a time.
 */
#ifndef TPCORE_CORE_H
#define TPCORE_CORE_H

#include <tpcore/alloc.h>
#include <tpcore/error.h>
#include <tpcore/platform.h>
#include <tpcore/value.h>

TPC_BEGIN

struct tpc_core;
struct tpc_module;

enum tpc_threads {
    TPC_THREADS_ALLOWED = 0,
    TPC_THREADS_NONE = 1 /* refuse modules that start threads, by name; needs workers = 0 */
};

enum tpc_core_flags {
    TPC_CORE_ACCEPT_GAP = 1, /* start although the log is not the one the history was made from */
    TPC_CORE_LOAD_ANY = 2,   /* allow tpc_core_load_module() */
    TPC_CORE_OBSERVE =
        4 /* entities are another process's: read, with tpc_entity_refresh(), and never
                              * changed; the core cannot be started */
};

/* Initialise with TPC_CORE_OPTIONS_INIT or tpc_core_options_init(). 0 = the default in brackets. */
struct tpc_core_options {
    uint32_t size;
    uint32_t flags;      /* enum tpc_core_flags */
    uint32_t workers;    /* threads that work on messages, 0..64; 0 = the caller steps */
    uint32_t threads;    /* enum tpc_threads */
    uint32_t partitions; /* 1..4,096, never fewer than the log has [16] */
    uint32_t reserved;
    const struct tpc_allocator *allocator; /* NULL = malloc */
    const struct tpc_clock *clock;         /* NULL = the system's */
    const struct tpc_random *random;
    const struct tpc_files *files;
    tpc_log_fn *on_log; /* NULL = no log */
    void *log_user;
    int32_t log_level;              /* enum tpc_log_level [TPC_LOG_INFO] */
    uint32_t frame_max_bytes;       /* payload of one frame, up to 64 MiB [262,144] */
    uint64_t memory_limit_bytes;    /* of all that is allocated through the core's allocator; a
                                     * sixteenth is only for storing what fills the rest; of the
                                     * rest from 80 % on caches shrink and open chunks are stored
                                     * early, from 95 % on frames are answered TPC_EAGAIN [none] */
    uint64_t ring_bytes;            /* frames waiting for one worker, up to 1 GiB; at least twice
                                     * the largest frame is taken [4 MiB] */
    uint32_t commands_max;          /* commands not closed, over all devices [100,000] */
    uint32_t device_queue_max;      /* commands not closed of one device [100] */
    uint64_t history_open_bytes;    /* open chunks [256 MiB, or a quarter of memory_limit_bytes if
                                     * that is less] */
    uint32_t history_checkpoint_ms; /* an open chunk is stored after that; again when it has
                                     * doubled, or after 16 times as long [60,000] */
    uint32_t audit_max_rows;        /* entries that the audit trail keeps [100,000; 1,000 where the
                              * entities are in memory] */
    uint64_t history_keep_ms; /* samples older than that are deleted, for products that do not say
                               * it themselves ("history": {"keep"}) [0 = kept for ever] */
    struct tpc_bytes
        secret_key; /* 32 bytes: secrets are stored sealed (AES-256-GCM); what was stored
                                  * before there was a key is sealed at the next start. Keep it: it
                                  * cannot be left out or changed afterwards [empty: as they are] */
    struct tpc_bytes token_key; /* 32..128 bytes: signs device tokens [empty: there are none] */
    /* From a device's connection to what waited for it: time to subscribe. Its first message ends it
     * [3,000; TPC_NO_DELAY = none] */
    uint32_t online_delay_ms;
    /* Records of commands kept of each device, for a while about an eighth more [1,000; 100 where the
     * entities are in memory] */
    uint32_t command_rows_max;
    uint64_t alert_keep_ms;    /* cleared alerts are listed for that long [30 days] */
    uint32_t alert_keep_rows;  /* .. and so many of them [100,000] */
    uint32_t made_devices_max; /* devices that one instance of a module may make [100,000] */
    /* JSON object: which values of devices go on where neither property, device, product nor the
     * adapter's instance says it, docs/guide/report.md [empty: all do] */
    struct tpc_str report;
    /* JSON object: whether the wall clock is trusted, and what becomes of data from before it is set:
     * docs/guide/clock.md [empty: as it finds; a `clock` of the program's own is trusted] */
    struct tpc_str clock_policy;
};
#define TPC_NO_DELAY UINT32_MAX

#define TPC_CORE_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(struct tpc_core_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  \
            0, 0, { 0, 0 }, { 0, 0 }, 0, 0, 0, 0, 0, { 0, 0 },                                     \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/*
 * The same as TPC_CORE_OPTIONS_INIT for callers without macros; size = sizeof(*options).
 *
 * Returns 0 or TPC_EINVAL (NULL or a size of no version).
 * Ownership: the caller's.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_core_options_init(struct tpc_core_options *options, size_t size);

/*
 * Makes a core. options NULL: all defaults (log and stores in memory, workers = 0). The struct is
 * copied, keys, too; the tables that it points to (allocator, clock, random, files) must outlive the
 * core.
 *
 * Returns 0, TPC_EINVAL (a number out of its range; workers with TPC_THREADS_NONE), TPC_ENOMEM or
 * TPC_EIO (no more descriptors).
 * Ownership: *ret is the caller's; end it with tpc_core_destroy().
 * Thread: control.
 * Since: 0.1
 */
TPC_API int tpc_core_create(const struct tpc_core_options *options, struct tpc_core **ret);

/*
 * Stops the core if it runs (draining up to 5,000 ms) and frees it with everything in it. Devices,
 * subscriptions and queries still held by the caller are invalid after it. NULL is fine. Never from
 * a callback.
 *
 * Returns 0, or what tpc_core_stop() returned; the core is gone in any case.
 * Ownership: takes core.
 * Thread: control.
 * Since: 0.1
 */
TPC_API int tpc_core_destroy(struct tpc_core *core);

/*
 * Makes a module known, linked into the program: tpc_core_add_module(core, tpc_module_mqtt()).
 *
 * Returns 0; TPC_EINVAL (a required method is missing; the text names it); TPC_EVERSION (another
 * major; the text names both); TPC_EEXIST (a module of that name); TPC_EDENIED (it starts threads
 * and the options say TPC_THREADS_NONE); TPC_ESTATE (the core was started before).
 * Ownership: module is static.
 * Thread: control, before the first start.
 * Since: 0.1
 */
TPC_API int tpc_core_add_module(struct tpc_core *core, const struct tpc_module *module);

/*
 * Loads tpc_<name>.so and adds its module. A path without '/' is looked for in the module folder of
 * the installation. Needs TPC_CORE_LOAD_ANY. The object stays loaded until the core is destroyed.
 *
 * Returns 0; TPC_EDENIED (not allowed by the options); TPC_ENOENT; TPC_EINVAL (not a module; the
 * text says why); and as tpc_core_add_module().
 *
 * Ownership: none.
 * Thread: control, before the first start.
 * Since: 0.1
 */
TPC_API int tpc_core_load_module(struct tpc_core *core, const char *path);

/*
 * Opens a part: `name` "log", "store" (entities, records and history of one module), "entities" or
 * "history" takes that interface of the module. Any other name is an instance of the module's
 * adapter; of a module that has no adapter it is its codec, for a codec that shall have options
 * (one that is not opened has its defaults from the first product that names it). "memory" and
 * "file" are built in. options_json: a JSON object checked against the module's option table;
 * empty = all defaults.
 *
 * Returns 0; TPC_ENOENT (no such module); TPC_EUNSUPPORTED (the module has no such interface);
 * TPC_EEXIST (name taken); TPC_EINVAL (name: 1-63 letters, digits, - _ . ; options: err.path is
 * the part's name and the option); TPC_ESTATE (a role or a codec, and the core was started before;
 * from a callback); what the part's init says. An adapter or sink may be opened while the core runs:
 * then it is started at once, and TPC_ENOENT (a service that it needs), TPC_ETOOBIG or what its start
 * says leave everything as it was. Targets that waited for a sink of that name go on.
 *
 * Ownership: none.
 * Thread: control; not from a callback.
 * Since: 0.1
 */
TPC_API int tpc_core_open(struct tpc_core *core, const char *name, const char *module,
                          struct tpc_str options_json);

/*
 * The same with options that are already a tree (from YAML, say).
 *
 * Returns as tpc_core_open().
 * Ownership: options are copied.
 * Thread: control; not from a callback.
 * Since: 0.1
 */
TPC_API int tpc_core_open_value(struct tpc_core *core, const char *name, const char *module,
                                const struct tpc_value *options);

/*
 * Closes an adapter or a sink, also while the core runs: it stops, its sessions end, the instance is
 * freed; the name may be opened again. Commands to devices that only it reached wait for them;
 * targets of a sink wait, their places in the log stay, until a sink of that name is open. What the
 * adapter had received is worked on; up to drain_ms are spent waiting for that, and for answers to
 * batches on their way (other targets pause meanwhile). What a peer was not told to have arrived it
 * sends again.
 *
 * Returns 0; TPC_ENOENT (no such part); TPC_EUNSUPPORTED (log, stores and codecs stay open);
 * TPC_ESTATE (another part uses a service of it: err.path is its name; the core stops; from a
 * callback); TPC_EAGAIN (a sink is closed and the thread of the targets cannot be made again).
 *
 * Ownership: none.
 * Thread: control; not from a callback.
 * Since: 0.1
 */
TPC_API int tpc_core_close(struct tpc_core *core, const char *name, uint32_t drain_ms);

/*
 * Starts: reads entities, replays the log, starts workers and adapters. All or nothing: on failure
 * the core is as before and err.path names the part. Roles that were not opened are "memory". A
 * core that was stopped can be started again.
 *
 * Returns 0; TPC_ESTATE (running); TPC_ECORRUPT, TPC_EVERSION, TPC_EGAP (log and history are of
 * different times; the text names both), TPC_ENOENT (a needed service), TPC_EINVAL (services in a
 * cycle; fewer partitions than before), TPC_ETOOBIG (more than 256 adapters), or what a part said.
 * Ownership: none.
 * Thread: control.
 * Since: 0.1
 */
TPC_API int tpc_core_start(struct tpc_core *core);

/*
 * Stops: adapters first, once targets' batches that are on their way are answered, then what was received is worked on, logged and stored, up to drain_ms.
 * Nothing acknowledged is lost either way: what is not stored yet is replayed at the next start.
 *
 * Returns 0; TPC_ETIMEOUT (stopped, but not drained, or the last flush or commit failed);
 * TPC_ESTATE (not running, or called from a callback).
 * Ownership: none.
 * Thread: control; not from a callback.
 * Since: 0.1
 */
TPC_API int tpc_core_stop(struct tpc_core *core, uint32_t drain_ms);

/*
 * With workers = 0: does all work that is ready at entry, in batches of 256, to the end (appends,
 * flush, callbacks, commits). With nothing ready it waits up to max_wait_ms (0 = not at all).
 * *ret_next_ms (may be NULL): ms until the next timer, UINT32_MAX = none.
 *
 * Returns 0; TPC_ESTATE (not started, or workers > 0, or called from a callback); TPC_EIO,
 * TPC_ENOSPC (the log cannot be written now: what is pending is kept and tried again).
 *
 * Ownership: none.
 * Thread: any-thread; it is the worker while it runs, a second caller waits for the first.
 * Since: 0.1
 */
TPC_API int tpc_core_step(struct tpc_core *core, uint32_t max_wait_ms, uint32_t *ret_next_ms);

/*
 * With workers = 0: a descriptor that is readable when tpc_core_step() has work, timers included.
 * It is an epoll fd: watch it level-triggered in any loop; do not read it or close it.
 *
 * Returns the descriptor, or TPC_ESTATE (workers > 0).
 * Ownership: the core's.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_core_fd(struct tpc_core *core);

/*
 * Says that the wall clock is right, where the core cannot know or is told to wait for it: the option
 * clock_policy, docs/guide/clock.md. What was received since the boot then gets the right times.
 *
 * Returns 0 or TPC_EINVAL (core is NULL).
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_core_clock_valid(struct tpc_core *core);

/* One metric, as Prometheus knows them. Views are valid during the call. */
enum tpc_metric_type { TPC_METRIC_COUNTER = 1, TPC_METRIC_GAUGE = 2 };
struct tpc_metric {
    uint32_t size;
    uint32_t type;    /* enum tpc_metric_type */
    const char *name; /* "tpc_uplink_messages_total" */
    const char *help;
    struct tpc_str labels; /* `instance="mqtt"`, or empty */
    double value;
};
typedef int tpc_metric_fn(void *user, const struct tpc_metric *metric);

/*
 * Calls fn for every metric of the core, its stages and modules. A non-zero return of fn ends it.
 *
 * Returns 0 or what fn returned.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_core_stats(struct tpc_core *core, tpc_metric_fn *fn, void *user);

/*
 * All metrics as Prometheus text (exposition format 0.0.4), without NUL.
 *
 * Returns 0, or TPC_ETOOBIG with buf->need set.
 * Ownership: the caller's buffer.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_core_prometheus(struct tpc_core *core, struct tpc_buf *buf);

/* A module that is known to the core. Views are static. */
struct tpc_module_info {
    uint32_t size;
    uint32_t loaded; /* 1 = from a shared object */
    const char *name;
    const char *version;
    const char *licence;
    const char *interfaces; /* "adapter codec" */
};
typedef int tpc_module_info_fn(void *user, const struct tpc_module_info *info);

/*
 * Calls fn for every module of the core, in the order they were added.
 *
 * Returns 0 or what fn returned.
 * Ownership: none.
 * Thread: control.
 * Since: 0.1
 */
TPC_API int tpc_core_modules(struct tpc_core *core, tpc_module_info_fn *fn, void *user);

TPC_END

#endif
