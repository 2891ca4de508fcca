/*
 * Commands: validated against the model, kept until they end, ended exactly once. What is for a device
 * that is offline waits for it: there is no other queue for expected values.
 */
#ifndef TPCORE_COMMAND_H
#define TPCORE_COMMAND_H

#include <tpcore/entity.h>
#include <tpcore/msg.h>

TPC_BEGIN

enum tpc_priority { TPC_PRIORITY_LOW = 0, TPC_PRIORITY_NORMAL = 1, TPC_PRIORITY_HIGH = 2 };

enum tpc_command_state {
    TPC_COMMAND_QUEUED = 1,
    TPC_COMMAND_SENT = 2,
    TPC_COMMAND_SUCCEEDED = 3,
    TPC_COMMAND_FAILED = 4,    /* the device said no, or it cannot be encoded */
    TPC_COMMAND_TIMED_OUT = 5, /* sent, no reply after all tries */
    TPC_COMMAND_EXPIRED = 6,   /* never sent in time */
    TPC_COMMAND_CANCELED = 7,
    TPC_COMMAND_UNKNOWN = 8 /* sent before a restart, no reply, not marked idempotent */
};

enum { TPC_COMMAND_LABEL_BYTES = 255 };

struct tpc_command_options {
    uint32_t size;
    uint32_t priority; /* enum tpc_priority */
    struct tpc_device *device;
    /* A service of the model; "set" = set properties and hear whether that was done, "get" = read them,
     * "control" (unless the model has a service of that name) = set them and hear nothing: it ends as
     * soon as the adapter has confirmed that it is out. */
    struct tpc_str service;
    struct tpc_str params_json; /* an object; empty = none. Of a service that only the device knows
                                 * (product with "unknown": "keep") any JSON */
    uint32_t timeout_ms;        /* for a reply to one try [10,000] */
    uint32_t retries;           /* tries after the first [0] */
    uint32_t retry_delay_ms;    /* before the first retry, doubles [1,000] */
    uint32_t expire_ms;         /* in the queue, e.g. while the device is offline [24 h] */
    struct tpc_id id;           /* zero = a new one; a known one is dropped (TPC_EEXIST) */
    struct tpc_str label;       /* for people, up to TPC_COMMAND_LABEL_BYTES; may be empty */
};
#define TPC_COMMAND_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(struct tpc_command_options), TPC_PRIORITY_NORMAL, 0, { 0, 0 }, { 0, 0 }, 0, 0, 0,   \
            0, { { 0 } },                                                                          \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/* A command's record. Views are valid during the call. */
struct tpc_command {
    uint32_t size;
    uint32_t state; /* enum tpc_command_state */
    struct tpc_id id;
    struct tpc_str tenant;
    struct tpc_str device;
    struct tpc_str service;
    struct tpc_str params_json;
    struct tpc_str reply_json; /* what the device answered; empty if nothing */
    struct tpc_str reason;     /* of an end that is no success */
    struct tpc_str actor;      /* "rule scene:fan-on" */
    int32_t code;              /* of the device's reply, or the TPC_E* that ended it */
    uint32_t tries;
    int64_t created_unix_ms;
    int64_t sent_unix_ms;   /* last try; 0 = never */
    int64_t closed_unix_ms; /* 0 = open */
    uint32_t kind;          /* enum tpc_msg_kind: what the service became: a command, .. */
    uint32_t answered;      /* 1: it ended with the device's answer */
    struct tpc_str label;
    int64_t expire_unix_ms; /* if it was not sent by then; 0 = not known (of an older version) */
};

/*
 * A command's record. Of tpc_command_send(): it ended; called at most once, on a worker, and only in
 * this process: a core that stops does not call it. Of tpc_command_get(): on the caller's thread.
 */
typedef void tpc_command_fn(void *user, const struct tpc_command *command);

/*
 * Sends a command. Refused at once if the model says no.
 *
 * Returns 0 once the record is durable; TPC_EMODEL (err.path names the parameter), TPC_EDECODE
 * (params_json; line, column), TPC_ENOENT (no such service; device deleted), TPC_EAGAIN (commands_max
 * or device_queue_max are open, or the log is full), TPC_EEXIST (that id is known), TPC_EINVAL,
 * TPC_ESTATE (not started), TPC_ENOSPC, TPC_EIO, TPC_ENOMEM.
 * From a callback it does not wait for the disk: 0 = taken. If the device belongs to another worker,
 * what that one refuses is logged and counted (tpc_core_rule_commands_lost_total), done is not
 * called.
 *
 * Ownership: options are copied; done (may be NULL) is called with user when it ends. ret may be
 * NULL.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_command_send(struct tpc_core *core, const struct tpc_actor *actor,
                             const struct tpc_command_options *options, tpc_command_fn *done,
                             void *user, struct tpc_id *ret);

/*
 * Reads a command's record, open or closed.
 *
 * Returns 0, TPC_ENOENT, TPC_ESTATE (not started) or what the store says.
 * Ownership: fn is called once; its views are valid during the call.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_command_get(struct tpc_core *core, const struct tpc_id *id, tpc_command_fn *fn,
                            void *user);

/*
 * Calls a command off. One that was sent may still be carried out by the device.
 *
 * Returns 0, TPC_ENOENT, TPC_ESTATE (already closed, not started, or called from a callback on
 * another worker than the device's).
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_command_cancel(struct tpc_core *core, const struct tpc_id *id);

/* Which of a device's commands. Initialise with TPC_COMMAND_FILTER_INIT. */
struct tpc_command_filter {
    uint32_t size;
    uint32_t limit;         /* records; 0 = 100, at most 10,000 */
    struct tpc_str tenant;  /* empty = "main" */
    struct tpc_str device;  /* its key */
    struct tpc_str service; /* empty = any */
    uint32_t state;         /* enum tpc_command_state; 0 = any */
    uint32_t reserved;
    int64_t from_unix_ms; /* sent off by the program not before that */
    int64_t to_unix_ms;   /* .. and before that; 0 = any */
    struct tpc_id before; /* go on after this one, the last of the page before; zero = the newest */
};
#define TPC_COMMAND_FILTER_INIT                                                                    \
    {                                                                                              \
        sizeof(struct tpc_command_filter), 0, { 0, 0 }, { 0, 0 }, { 0, 0 }, 0, 0, 0, 0,            \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

/* One record, valid during the call. A non-zero return ends the listing and is returned by it. */
typedef int tpc_command_list_fn(void *user, const struct tpc_command *command);

/*
 * A device's commands, open and ended, the newest first: in falling order of their ids, which is that of
 * time unless the program made ids of its own. Of ended ones the newest command_rows_max (an option of the
 * core) of each device are kept. A core that is not started, or observes another one's store, tells what
 * is stored: an open command is there when it is a second old, and follows its state within a second.
 *
 * Returns 0, TPC_ENOENT (no such device), TPC_EINVAL, TPC_ENOMEM, what fn returned, or what the store says.
 * Ownership: none.
 * Thread: any-thread; fn runs on the caller's, without locks. Reads the store.
 * Since: 0.1
 */
TPC_API int tpc_command_list(struct tpc_core *core, const struct tpc_command_filter *filter,
                             tpc_command_list_fn *fn, void *user);

/*
 * Name of a state, "queued", "timed_out"; "unknown" also for a number that is none.
 *
 * Returns static text.
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const char *tpc_command_state_name(uint32_t state);

/* The status of ThingsPanel's logs of commands, attributes and telemetry sets (its contract, 6.5). */
enum tpc_panel_status {
    TPC_PANEL_PENDING = 0,
    TPC_PANEL_SENT = 1,
    TPC_PANEL_SEND_FAILED = 2, /* never sent: expired, called off, refused by codec or adapter */
    TPC_PANEL_SUCCEEDED = 3,   /* the device says so */
    TPC_PANEL_FAILED = 4,      /* the device says so: reason is ThingsPanel's error_message */
    TPC_PANEL_NO_ANSWER = 5    /* ours, for ThingsPanel waits for ever: timed out, or not known */
};

/*
 * A record's status as ThingsPanel counts. A "control" ends at TPC_PANEL_SENT.
 *
 * Returns an enum tpc_panel_status.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API uint32_t tpc_command_panel_status(const struct tpc_command *command);

/*
 * ThingsPanel's operation_type (contract 6.5): who sent it.
 *
 * Returns 2 (automatic: a rule did) or 1 (manual).
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API uint32_t tpc_command_operation_type(const struct tpc_command *command);

/*
 * ThingsPanel's status of expected data (contract 6.4): what became of the wait, not of the answer.
 *
 * Returns "pending", "sent", or "expired" (also if it can never be sent).
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const char *tpc_command_expected_status(const struct tpc_command *command);

TPC_END

#endif
