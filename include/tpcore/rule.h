/*
 * Rules as they run: what scenes, data rules and schedules did since this process knows them, and why
 * one of them does nothing. Rules are entities of kind "scene", "rule", "schedule" and "alert" (tpcore/entity.h);
 * docs/guide/scenes.md tells how they are written.
 */
#ifndef TPCORE_RULE_H
#define TPCORE_RULE_H

#include <tpcore/arena.h>
#include <tpcore/command.h>
#include <tpcore/core.h>
#include <tpcore/value.h>

TPC_BEGIN

enum tpc_rule_flags {
    TPC_RULE_ENABLED = 1, /* as its document says */
    TPC_RULE_BROKEN = 2,  /* it does nothing: `broken` says why */
    TPC_RULE_ENDED = 4,   /* a schedule that has no more planned times */
    TPC_RULE_OFF = 8      /* it switched itself off (auto_disable): `off_until_unix_ms` */
};

/* One rule; of an alert its configuration: wishes of rules and of silence are its looks, those that want it
 * raised match, alerts raised are its firings. Counts are since the process started or since the rule was
 * made; a changed document goes on with them, but for the failure, which was the old one's. */
struct tpc_rule_info {
    uint32_t size;
    uint32_t flags; /* enum tpc_rule_flags */
    struct tpc_str tenant;
    struct tpc_str kind; /* "scene", "rule", "schedule" or "alert" */
    struct tpc_str key;
    uint64_t revision;
    uint64_t evaluated;    /* times that it was looked at */
    uint64_t matched;      /* .. and its condition held, before dampening */
    uint64_t fired;        /* firings of a scene, rows of a data rule, planned times done */
    uint64_t failed;       /* actions that were refused or whose device does not exist */
    int64_t fired_unix_ms; /* last; of a schedule: the planned time; 0 = never */
    int64_t error_unix_ms; /* of the last action that failed; 0 = none */
    int32_t error_code;    /* enum tpc_code */
    uint32_t reserved;
    struct tpc_str error; /* "'set' to 'fan-1': no such device" */
    struct tpc_str
        broken; /* why it does not compile, with path, line and column; empty = it does */
    int64_t
        off_until_unix_ms; /* 0 = it is on; INT64_MAX = until its document is put again, or a reset */
    uint64_t ns; /* time that it took, with its actions: every 64th look at a message is timed and
                  * stands for the others; what the clock sets off is timed always */
};

/* Texts are valid during the call. A non-zero return ends the listing and is returned by it. */
typedef int tpc_rule_fn(void *user, const struct tpc_rule_info *info);

/*
 * Calls fn for one rule. kind: "scene", "rule", "schedule" or "alert"; tenant empty = main.
 *
 * Returns 0, TPC_EINVAL (core or fn is NULL, key is empty, no such kind), TPC_ENOENT, TPC_ENOMEM, what
 * fn returned, or what the store says.
 * Ownership: none.
 * Thread: any-thread, but for callbacks on a worker; fn runs on the caller's, without locks.
 * Since: 0.1
 */
TPC_API int tpc_rule_info(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                          struct tpc_str key, tpc_rule_fn *fn, void *user);

/*
 * Calls fn for all rules, by tenant, kind and key; then for configurations of alerts. tenant, kind: empty =
 * any. Waits for the batches that rules are looking at.
 *
 * Returns 0, TPC_EINVAL (core or fn is NULL, no such kind), TPC_ENOMEM, what fn returned, or what the
 * store says.
 * Ownership: none.
 * Thread: as tpc_rule_info().
 * Since: 0.1
 */
TPC_API int tpc_rule_list(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                          tpc_rule_fn *fn, void *user);

/*
 * Automations and scenes of ThingsPanel (one, a list, or as its interface answers) as documents of this
 * library; docs/guide/thingspanel-automations.md tells the mapping. names says which keys its ids have here,
 * and of which product a device is: {"devices": {"<id>": {"key": "t1", "product": "thermo"}}, "products":
 * {"<template id>": "thermo"}, "alerts": {"<id>": {"key": "hot", "severity": "major"}}, "scenes": {"<id>":
 * "evening"}, "handlers": {"<group id>": "ops"}}; empty = ids are keys. *ret: {"entities": [documents with
 * their kind], "notes": [{"path", "text"}]}: what found no place, nothing is dropped without a note.
 *
 * Returns 0, TPC_EINVAL or TPC_EDECODE (err has line and column of a text that is no JSON, or it is no
 * automation), TPC_ETOOBIG or TPC_ENOMEM.
 * Ownership: *ret lives as long as the arena, the texts are not kept.
 * Thread: any-thread, one for an arena.
 * Since: 0.1
 */
TPC_API int tpc_rule_import_thingspanel(struct tpc_arena *arena, struct tpc_str json,
                                        struct tpc_str names, struct tpc_error *err,
                                        struct tpc_value *ret);

/*
 * Runs a scene or a schedule now: what it does, without asking its condition; what it remembers and when it
 * is planned stays as it is. kind: "scene" or "schedule"; tenant empty = main; device: whom a scene is about,
 * of its product (any of the tenant's, if it has none); NULL = nobody, and actions without a device of their
 * own fail. A schedule is about no device. The log tells who ran it: actor, NULL = the program.
 *
 * Returns 0 (it ran; what of its actions failed, tpc_rule_info() tells), TPC_EINVAL (core is NULL, key is
 * empty, no such kind, a device of another product or tenant), TPC_ENOENT, TPC_ESTATE (it is disabled or
 * broken, the core is not started, or this is a worker's thread), TPC_ENOMEM or TPC_EIO.
 * Ownership: none.
 * Thread: any-thread, but for callbacks on a worker.
 * Since: 0.1
 */
TPC_API int tpc_rule_run(struct tpc_core *core, const struct tpc_actor *actor,
                         struct tpc_str tenant, struct tpc_str kind, struct tpc_str key,
                         struct tpc_device *device);

/*
 * Has a scene forget what it remembers of a device, NULL = of all: that it fired ("once"), that its condition
 * is true, what waits, its dampened runs. It may fire again with the next message. A schedule, or with device
 * NULL a scene, that switched itself off is on again. Stored when it returns, if nothing keeps the rules' state
 * from being stored now; else a moment later.
 *
 * Returns 0, TPC_EINVAL (core is NULL, key is empty, no such kind), TPC_ENOENT or TPC_ESTATE (the core is not
 * started, or this is a worker's thread).
 * Ownership: none.
 * Thread: as tpc_rule_run().
 * Since: 0.1
 */
TPC_API int tpc_rule_reset(struct tpc_core *core, const struct tpc_actor *actor,
                           struct tpc_str tenant, struct tpc_str kind, struct tpc_str key,
                           struct tpc_device *device);

/* ---- step by step ---- */

enum tpc_rule_step_what {
    TPC_STEP_INPUT = 1,     /* of a test: a message comes, or time goes by */
    TPC_STEP_LOOK = 2,      /* the rule looks at a message */
    TPC_STEP_PASS = 3,      /* of a test: it does not look at it, and why */
    TPC_STEP_CONDITION = 4, /* what a condition came to, with the values that it saw */
    TPC_STEP_DECISION = 5,  /* fires, waits, is held back, is over */
    TPC_STEP_WINDOW = 6,    /* a window opens, takes a message, ends */
    TPC_STEP_ROW = 7,       /* a row of a data rule */
    TPC_STEP_ACTION = 8,    /* what is done, with its texts filled in */
    TPC_STEP_REFUSED = 9, /* an action, or a value of a message, that is not taken; code says why */
    TPC_STEP_END = 10     /* of a test: it ended before its time, and why */
};

/* A step. Texts are valid during the call and end with a NUL. */
struct tpc_rule_step {
    uint32_t size;
    uint32_t what; /* enum tpc_rule_step_what */
    int64_t unix_ms;
    int32_t code; /* enum tpc_code; 0 = all is well */
    uint32_t reserved;
    struct tpc_str device; /* that it is about; empty = none */
    struct tpc_str text;   /* for people: "expr: temperature > 30 is true (temperature = 31)" */
    struct tpc_str json;   /* the same for programs: an object */
};

/* A non-zero return ends the telling and is returned by it. */
typedef int tpc_rule_step_fn(void *user, const struct tpc_rule_step *step);

/*
 * Name of a step: "condition".
 *
 * Returns static text; "?" for a number it does not know.
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const char *tpc_rule_step_name(uint32_t what);

/* ---- tried without effect ---- */

/* What comes in a test. */
struct tpc_rule_test_message {
    uint32_t size;
    uint16_t kind; /* TPC_MSG_TELEMETRY, _ATTRIBUTES, _EVENT, _PRESENCE, _COMMAND, _ALERT */
    uint16_t reserved;
    /* When it comes, up to the year 9999; what is not after the one before, or 0, comes with that. */
    int64_t unix_ms;
    int64_t event_unix_ms; /* when it happened, as the device says; 0 = when it comes */
    struct tpc_str device;
    struct tpc_str name; /* of an event, a command; of an alert its key, empty = the tested one's */
    /* {"temperature": 31}; what the event or command says; {"online": true}; {"state": "raised", "severity":
     * "major", "text": ".."} or {"state": "cleared"}, as a rule would wish it */
    struct tpc_value params;
};

enum tpc_rule_test_flags {
    TPC_RULE_TEST_EMPTY = 1 /* devices begin without latest values and offline */
};

struct tpc_rule_test_options {
    uint32_t size;
    uint32_t flags;       /* enum tpc_rule_test_flags */
    uint32_t steps;       /* it ends after so many; 0 = 1,000 */
    uint32_t reserved;    /* 0 */
    int64_t from_unix_ms; /* when it begins; 0 = with the first message, or now */
    /* Time goes on until then; 0 = one hour after the last message, of a schedule a day. */
    int64_t until_unix_ms;
    struct tpc_str tenant; /* empty = main */
    struct tpc_str key;    /* of a stored rule, where no document is given */
};

#define TPC_RULE_TEST_OPTIONS_INIT                                                                 \
    {                                                                                              \
        sizeof(struct tpc_rule_test_options), 0, 0, 0, 0, 0, { 0, 0 },                             \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/*
 * What a rule would do, step by step, when these messages come: fn is called for each step, in order.
 * The rule looks at copies of the devices that it or a message names, in a house of its own whose clock
 * follows the messages; between them, and after the last one, what waits falls due. Nothing is sent,
 * stored or changed. kind: "scene", "rule", "schedule" or "alert". document: JSON as it would be put,
 * stored or not; `enabled` does not matter. options may be NULL if there is a document.
 *
 * Returns 0; TPC_EINVAL, TPC_EDECODE (document), TPC_ENOENT (tenant, product, stored rule), TPC_EMODEL
 * and whatever else tpc_entity_put() says of the document; TPC_ETOOBIG (it names more than 1,000
 * devices and products), TPC_ENOMEM, what fn returned, or what the store says.
 * Ownership: none.
 * Thread: any-thread, but for callbacks on a worker; fn runs on the caller's, without locks.
 * Since: 0.1
 */
TPC_API int tpc_rule_test(struct tpc_core *core, const char *kind, struct tpc_str document,
                          const struct tpc_rule_test_message *messages, uint32_t count,
                          const struct tpc_rule_test_options *options, tpc_rule_step_fn *fn,
                          void *user);

/* ---- followed as it runs ---- */

/* Follows a running rule. */
struct tpc_rule_trace;

struct tpc_rule_trace_options {
    uint32_t size;
    uint32_t looks; /* it ends after so many looks at a message; 0 = 100 */
    uint32_t ms;    /* .. or after this time, whatever is first; 0 = a minute */
    uint32_t reserved;
    struct tpc_str tenant; /* empty = main */
    struct tpc_str kind;   /* "scene", "rule" or "schedule" */
    struct tpc_str key;
    struct tpc_str device; /* only looks at this one; empty = any */
};

#define TPC_RULE_TRACE_OPTIONS_INIT                                                                \
    {                                                                                              \
        sizeof(struct tpc_rule_trace_options), 0, 0, 0, { 0, 0 }, { 0, 0 }, { 0, 0 },              \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/*
 * Begins to follow a rule: what it decides from now on waits to be taken, 10,000 steps at most. A rule
 * that nobody follows pays nothing. One follower at a time: a second one takes the first one's place.
 *
 * Returns 0, TPC_EINVAL, TPC_ENOENT (rule or device), TPC_ENOMEM, or what the store says.
 * Ownership: *ret is the caller's: tpc_rule_trace_close(), before the core is destroyed.
 * Thread: as tpc_rule_info().
 * Since: 0.1
 */
TPC_API int tpc_rule_trace_open(struct tpc_core *core, const struct tpc_rule_trace_options *options,
                                struct tpc_rule_trace **ret);

/*
 * Calls fn for the steps that came since the last call; does not wait. *ret_lost (may be NULL): steps
 * for which there was no room, so far.
 *
 * Returns 0; 1 when it is over and all is told; TPC_EINVAL, or what fn returned.
 * Ownership: none.
 * Thread: any-thread, one at a time; fn runs on the caller's, without locks.
 * Since: 0.1
 */
TPC_API int tpc_rule_trace_take(struct tpc_rule_trace *trace, tpc_rule_step_fn *fn, void *user,
                                uint64_t *ret_lost);

/*
 * Follows it no more. NULL is fine.
 *
 * Returns nothing.
 * Ownership: takes trace.
 * Thread: any-thread, but for callbacks on a worker.
 * Since: 0.1
 */
TPC_API void tpc_rule_trace_close(struct tpc_rule_trace *trace);

TPC_END

#endif
