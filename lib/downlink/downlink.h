/*
 * Open commands of one worker's devices: queued per device by priority, sent one at a time, tried
 * again, answered, closed. Exactly one COMMAND_CLOSED record is appended for each command; only
 * then host.closed() is called and the command is gone.
 *
 *   queued -> sent -> (succeeded | failed)            by a reply
 *     |        |  ^-> waits -> sent again             no reply in timeout_ms, delay doubles
 *     |        +----> timed out                       all tries used
 *     |        +----> succeeded                       a "control", when the adapter has sent it
 *     +-> expired | canceled | failed                 never sent
 *
 * A device that is offline keeps its queue; tpi_downlink_online() goes on with it: at once, or after
 * a time in which the device can subscribe to its topics. If the log
 * cannot take the closing record now, the command stays closing and is tried again every 100 ms.
 *
 * Thread: the owner's (the worker), unless a comment says otherwise. Callbacks of the host come
 * from inside these calls, under no lock; they may call back into the same downlink.
 */
#ifndef TPI_DOWNLINK_DOWNLINK_H
#define TPI_DOWNLINK_DOWNLINK_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/command.h>
#include <tpcore/error.h>
#include <tpcore/ext/codec.h>
#include <tpcore/msg.h>

#include "base/env.h"
#include "base/metric.h"
#include "base/wheel.h"

struct tpi_downlink;
struct tpc_device;

enum {
    TPI_DOWNLINK_COMMANDS_MAX = 100000, /* defaults of the limits */
    TPI_DOWNLINK_DEVICE_MAX = 100,
    TPI_DOWNLINK_RECENT = 4096, /* closed ids that are still known */
    TPI_DOWNLINK_AGAIN_MS = 100 /* until a busy adapter or log is asked again */
};

/* No command is open: the cursor may move to the end. */
#define TPI_DOWNLINK_NONE UINT64_MAX

/* One for all downlinks of a core; the core owns it. */
struct tpi_downlink_counters {
    _Atomic uint64_t open; /* over all devices: what commands_max bounds */
    _Atomic uint64_t commands;
    _Atomic uint64_t sends;
    _Atomic uint64_t retries;
    _Atomic uint64_t succeeded;
    _Atomic uint64_t failed;
    _Atomic uint64_t timed_out;
    _Atomic uint64_t expired;
    _Atomic uint64_t canceled;
    _Atomic uint64_t unknown;
    _Atomic uint64_t duplicates;
    _Atomic uint64_t unmatched_replies;
    _Atomic uint64_t refused;      /* by commands_max or device_max */
    _Atomic uint64_t append_waits; /* the log could not take a record at once */
};

extern const struct tpi_metric_def tpi_downlink_metrics[];
extern const uint32_t tpi_downlink_metric_count;

struct tpi_downlink_host {
    void *user;
    struct tpi_registry *registry; /* knows who stands behind whom; NULL = nobody does */
    struct tpi_wheel *wheel;       /* monotonic ms of env */
    struct tpi_downlink_counters *counters;
    uint32_t worker;       /* goes into tickets */
    uint32_t partitions;   /* of the core */
    uint32_t commands_max; /* 0 = default */
    uint32_t device_max;   /* 0 = default */
    /* Appends a COMMAND_STATE or COMMAND_CLOSED record; msg has partition and device_id set. 0, or
     * an error: asked again later. device is NULL if it was deleted. */
    int (*append)(void *user, struct tpc_device *device, const struct tpc_msg *msg);
    /* Encodes and hands over; what->product and what->device are the host's to fill. 0:
     * tpi_downlink_sent(ticket) follows, or a reply. TPC_EOFFLINE: wait for online. TPC_EAGAIN,
     * TPC_ENOMEM: again later. Other codes fail the command; err (never NULL) tells why. */
    int (*send)(void *user, struct tpc_device *device, const struct tpc_encode *what,
                uint64_t ticket, struct tpc_error *err);
    /* After the COMMAND_CLOSED record was appended. Views are valid during the call. */
    void (*closed)(void *user, struct tpc_device *device, const struct tpc_command *command);
    /* Appends a COMMAND record anew and tells its offset. NULL = tpi_downlink_renew() does nothing.
     */
    int (*renew)(void *user, struct tpc_device *device, const struct tpc_msg *msg,
                 uint64_t *ret_offset);
};

int tpi_downlink_create(const struct tpi_env *env, const struct tpi_downlink_host *host,
                        struct tpc_error *err, struct tpi_downlink **ret);

/* Frees everything; open commands stay open in the log. NULL is fine. */
void tpi_downlink_destroy(struct tpi_downlink *d);

/* Before the COMMAND record is appended: whether one more may come. 0, TPC_EEXIST (known id),
 * TPC_EAGAIN (too many open). id zero is not looked up. */
int tpi_downlink_admit(struct tpi_downlink *d, const struct tpc_device *device,
                       const struct tpc_id *id, struct tpc_error *err);

/* Before the COMMAND record is appended: makes all that it needs here, so that nothing can fail once
 * it is in the log (msg->partition, id, params = envelope; offset = where it will stand, as far as
 * known). Limits do not apply. Returns 0, TPC_EEXIST (known id) or TPC_ENOMEM. One of the next two
 * follows. */
int tpi_downlink_prepare(struct tpi_downlink *d, struct tpc_device *device,
                         const struct tpc_msg *msg);

/* The record could not be appended. */
void tpi_downlink_abandon(struct tpi_downlink *d, const struct tpc_id *id);

/* It was appended: the command is sent if it is its turn. */
void tpi_downlink_begin(struct tpi_downlink *d, struct tpc_device *device, const struct tpc_id *id,
                        uint64_t offset);

/* Both for a command whose record is in the log already. */
int tpi_downlink_command(struct tpi_downlink *d, struct tpc_device *device,
                         const struct tpc_msg *msg);

/* A reply of a device: correlation = text of the command's id, or msg->id; with neither it answers
 * the command that is in flight. code 0 = done; name = the device's words, params = its answer.
 * Returns 0, or TPC_ENOENT: nobody waits for it (counted). */
int tpi_downlink_reply(struct tpi_downlink *d, struct tpc_device *device,
                       const struct tpc_msg *reply);
/* Whether a command of this worker waits for the reply; a gateway also answers for what is behind it. */
bool tpi_downlink_answers(struct tpi_downlink *d, const struct tpc_device *device,
                          const struct tpc_msg *reply);

/* The device reported values, which in its dialect is the answer to a "get" under way. */
void tpi_downlink_got(struct tpi_downlink *d, struct tpc_device *device);

/* The device can be reached: its queue goes on, after a while if delay_ms is not 0. The first delay
 * counts, and 0 ends it. */
void tpi_downlink_online(struct tpi_downlink *d, struct tpc_device *device, uint32_t delay_ms);
/* The same for all that stand behind a gateway. */
void tpi_downlink_online_behind(struct tpi_downlink *d, struct tpc_device *gateway,
                                uint32_t delay_ms);
/* A message came from it: if its queue waits for such a delay, it goes on. Costs next to nothing where
 * none does. */
void tpi_downlink_spoke(struct tpi_downlink *d, struct tpc_device *device);

/* The device was deleted: its commands fail with TPC_ENOENT. */
void tpi_downlink_gone(struct tpi_downlink *d, struct tpc_device *device);

/* The adapter's word on a send: err NULL = out. Unknown and old tickets are passed over. */
void tpi_downlink_sent(struct tpi_downlink *d, uint64_t ticket, const struct tpc_error *err);

/* Which worker's downlink gave out a ticket. Any thread. */
uint32_t tpi_downlink_ticket_worker(uint64_t ticket);

/* 0, TPC_ENOENT, TPC_ESTATE (closed or closing). */
int tpi_downlink_cancel(struct tpi_downlink *d, const struct tpc_id *id);

/* At start, in the order of the log: COMMAND, COMMAND_STATE and COMMAND_CLOSED from the cursor on
 * (other kinds are passed over). device NULL = deleted. Nothing is sent. Returns 0 or TPC_ENOMEM.
 */
int tpi_downlink_replay(struct tpi_downlink *d, struct tpc_device *device,
                        const struct tpc_msg *msg);

/* The log is read (under the registry's read lock): queued commands go on with the next run of the
 * wheel; sent ones are sent again if their service is idempotent,
 * else they close as unknown; those of deleted devices fail. */
void tpi_downlink_replayed(struct tpi_downlink *d);

/* Appends the records of a partition's open commands anew, so that the log can give up the old ones.
 * first = first offset that the log keeps: one is not renewed again before that has moved, so
 * that a log which something else keeps does not fill up with it. */
void tpi_downlink_renew(struct tpi_downlink *d, uint32_t partition, uint64_t first);

/* Lowest offset of an open command's record in a partition, or TPI_DOWNLINK_NONE. Any thread. */
uint64_t tpi_downlink_low_offset(struct tpi_downlink *d, uint32_t partition);

/* Reads an open command. fn is called once, under no lock. Returns 0, TPC_ENOENT or TPC_ENOMEM. Any
 * thread. */
int tpi_downlink_find(struct tpi_downlink *d, const struct tpc_id *id, tpc_command_fn *fn,
                      void *user);

/* Ids of a device's open commands, in no order, up to cap of them. Returns how many there are. Any
 * thread. */
uint32_t tpi_downlink_ids(struct tpi_downlink *d, uint64_t device_id, struct tpc_id *ids,
                          uint32_t cap);

/* Commands that are open here. Any thread. */
uint32_t tpi_downlink_open_count(struct tpi_downlink *d);

#endif
