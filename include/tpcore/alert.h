/*
 * Alerts: something is wrong with a device, until it is not any more. A device has one alert of each
 * key at a time: raising what is raised only counts. Rules raise and clear them (actions "alert" and
 * "clear"), entities of kind "alert" say what follows: severity, who is told, escalation, windows of
 * maintenance, flapping, offline devices. docs/guide/alerts.md tells all of it.
 *
 * Each change is a message TPC_MSG_ALERT in the log: name = key of the alert, device = whose, origin =
 * what did it; params = the alert as it is then, with "change" saying what happened.
 */
#ifndef TPCORE_ALERT_H
#define TPCORE_ALERT_H

#include <tpcore/core.h>
#include <tpcore/entity.h>

TPC_BEGIN

enum tpc_severity {
    TPC_SEVERITY_INFO = 1,
    TPC_SEVERITY_WARNING = 2,
    TPC_SEVERITY_MINOR = 3,
    TPC_SEVERITY_MAJOR = 4,
    TPC_SEVERITY_CRITICAL = 5
};

enum tpc_alert_state {
    TPC_ALERT_RAISED = 1, /* and nobody has said that he saw it */
    TPC_ALERT_ACKNOWLEDGED = 2,
    TPC_ALERT_CLEARED = 3
};

enum tpc_alert_flags {
    TPC_ALERT_FLAPPING = 1, /* it comes and goes: it stays raised until it is quiet */
    TPC_ALERT_MUTED = 2,    /* raised in a window of maintenance that has not ended */
    TPC_ALERT_ESCALATED = 4
};

enum {
    TPC_ALERT_TEXT_BYTES = 1024,  /* of a text or comment; longer ones are cut */
    TPC_ALERT_NOTES_MAX = 32,     /* comments of one alert */
    TPC_ALERT_LIST_DEFAULT = 100, /* of tpc_alert_query.limit */
    TPC_ALERT_LIST_MAX = 10000
};

struct tpc_alert_note {
    struct tpc_str by; /* "user alice" */
    struct tpc_str text;
    int64_t unix_ms;
};

/* One alert. Views are valid during the call. */
struct tpc_alert {
    uint32_t size;
    uint32_t state;    /* enum tpc_alert_state */
    uint32_t severity; /* enum tpc_severity */
    uint32_t flags;    /* enum tpc_alert_flags */
    struct tpc_id id;  /* of this one, from raise to clear */
    struct tpc_str key;
    struct tpc_str tenant;
    struct tpc_str device;
    struct tpc_str text;
    struct tpc_str by;       /* what raised it: "scene:hot", "user alice" */
    struct tpc_str acked_by; /* empty = nobody */
    uint64_t count;          /* times that it was raised */
    uint64_t changes;
    int64_t raised_unix_ms;  /* first */
    int64_t last_unix_ms;    /* raised last */
    int64_t acked_unix_ms;   /* 0 = not */
    int64_t cleared_unix_ms; /* 0 = open */
    uint32_t note_count;
    uint32_t note_size; /* sizeof(struct tpc_alert_note) */
    const struct tpc_alert_note *notes;
};

/* A non-zero return ends the listing and is returned by it. */
typedef int tpc_alert_fn(void *user, const struct tpc_alert *alert);

/* What to list: empty, 0 = any. Initialise with TPC_ALERT_QUERY_INIT. */
struct tpc_alert_query {
    uint32_t size;
    uint32_t limit;        /* 0 = 100, at most 10,000 */
    uint32_t state;        /* 1 << enum tpc_alert_state, several may be set; 0 = any */
    uint32_t severity;     /* this one and worse */
    struct tpc_str tenant; /* empty = all */
    struct tpc_str device;
    struct tpc_str key;
    int64_t from_unix_ms; /* raised not before that */
    int64_t to_unix_ms;   /* .. and before that; 0 = no end */
    struct tpc_id after;  /* paging: id of the last one that was told */
};
#define TPC_ALERT_QUERY_INIT                                                                       \
    {                                                                                              \
        sizeof(struct tpc_alert_query), 0, 0, 0, { 0, 0 }, { 0, 0 }, { 0, 0 }, 0, 0,               \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

/*
 * Lists alerts, those that were raised last first: the open ones, and closed ones as long as they are
 * kept (options alert_keep_ms and alert_keep_rows of the core). query NULL = the last 100. Of a core
 * that is not started: what the one that owns the store has stored so far.
 *
 * Returns 0, TPC_EINVAL, TPC_ENOENT (`after` is not there any more), TPC_ENOMEM, what fn returned, or
 * what the store says.
 * Ownership: none.
 * Thread: any-thread; fn runs on the caller's, without locks.
 * Since: 0.1
 */
TPC_API int tpc_alert_list(struct tpc_core *core, const struct tpc_alert_query *query,
                           tpc_alert_fn *fn, void *user);

/* What tpc_alert_raise() raises. Initialise with TPC_ALERT_RAISE_INIT. */
struct tpc_alert_raise {
    uint32_t size;
    uint32_t severity; /* enum tpc_severity; 0 = warning, or as the alert's configuration says */
    struct tpc_str key;
    struct tpc_str text;
};
#define TPC_ALERT_RAISE_INIT                                                                       \
    {                                                                                              \
        sizeof(struct tpc_alert_raise), 0, { 0, 0 },                                               \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

struct tpc_device;

/*
 * Raises an alert of a device, as a rule would. ret_id (may be NULL): of the alert, which may have
 * been raised before.
 *
 * Returns 0; TPC_EINVAL (key: 1-128 bytes); TPC_EDENIED (its configuration is disabled); TPC_ETOOBIG
 * (1,000,000 are open); TPC_ESTATE (the core is not running, or called by a worker that does not own
 * the device); TPC_EAGAIN, TPC_ENOSPC, TPC_EIO (the log); TPC_ENOMEM.
 * Ownership: nothing is kept of the arguments.
 * Thread: any-thread; waits for the device's worker. Durable with the log's next flush.
 * Since: 0.1
 */
TPC_API int tpc_alert_raise(struct tpc_device *device, const struct tpc_actor *actor,
                            const struct tpc_alert_raise *raise, struct tpc_id *ret_id);

/*
 * Somebody has seen it: it does not escalate any more. comment may be empty.
 *
 * Returns 0; TPC_ENOENT; TPC_ESTATE (it is cleared, or as above); and as tpc_alert_raise().
 * Ownership: none.
 * Thread: as tpc_alert_raise().
 * Since: 0.1
 */
TPC_API int tpc_alert_ack(struct tpc_core *core, const struct tpc_actor *actor,
                          const struct tpc_id *id, struct tpc_str comment);

/*
 * Adds a comment, to a closed one, too. The first 32 are kept.
 *
 * Returns 0; TPC_ENOENT; TPC_ETOOBIG (it has 32); TPC_EINVAL (empty); and as tpc_alert_raise().
 * Ownership: none.
 * Thread: as tpc_alert_raise().
 * Since: 0.1
 */
TPC_API int tpc_alert_comment(struct tpc_core *core, const struct tpc_actor *actor,
                              const struct tpc_id *id, struct tpc_str comment);

/*
 * Clears it by hand, also one that flaps. comment may be empty.
 *
 * Returns 0; TPC_ENOENT; TPC_ESTATE (it is cleared, or as above); and as tpc_alert_raise().
 * Ownership: none.
 * Thread: as tpc_alert_raise().
 * Since: 0.1
 */
TPC_API int tpc_alert_clear(struct tpc_core *core, const struct tpc_actor *actor,
                            const struct tpc_id *id, struct tpc_str comment);

/*
 * "info", "warning", "minor", "major", "critical"; "?" for a number that is none.
 *
 * Returns static text.
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const char *tpc_severity_name(uint32_t severity);

TPC_END

#endif
