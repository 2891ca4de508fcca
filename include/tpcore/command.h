/*
 * Commands: validated against the model, kept until they end, ended exactly once.
 */
#ifndef TPCORE_COMMAND_H
#define TPCORE_COMMAND_H

#include <tpcore/entity.h>

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

struct tpc_command_options {
    uint32_t size;
    uint32_t priority; /* enum tpc_priority */
    struct tpc_device *device;
    struct tpc_str service; /* a service of the model; "set" = set properties, "get" = read them */
    struct tpc_str params_json; /* an object; empty = none */
    uint32_t timeout_ms;        /* for a reply to one try [10,000] */
    uint32_t retries;           /* tries after the first [0] */
    uint32_t retry_delay_ms;    /* before the first retry, doubles [1,000] */
    uint32_t expire_ms;         /* in the queue, e.g. while the device is offline [24 h] */
    struct tpc_id id;           /* zero = a new one; a known one is dropped (TPC_EEXIST) */
};
#define TPC_COMMAND_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(struct tpc_command_options), TPC_PRIORITY_NORMAL, 0, { 0, 0 }, { 0, 0 }, 0, 0, 0,   \
            0,                                                                                     \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
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

TPC_END

#endif
