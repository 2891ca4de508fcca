/*
 * Devices: a counted handle on a resolved device, what it said last, and feeding it by hand.
 */
#ifndef TPCORE_DEVICE_H
#define TPCORE_DEVICE_H

#include <tpcore/core.h>
#include <tpcore/msg.h>

TPC_BEGIN

struct tpc_device;
struct tpc_frame;

/*
 * Resolves a device of tenant "main" by key.
 *
 * Returns 0, TPC_ENOENT.
 * Ownership: *ret is the caller's: tpc_device_unref().
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_device_open(struct tpc_core *core, struct tpc_str key, struct tpc_device **ret);

/*
 * The same in a given tenant.
 *
 * Returns 0, TPC_ENOENT (tenant or device).
 * Ownership: *ret is the caller's: tpc_device_unref().
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_device_open_in(struct tpc_core *core, struct tpc_str tenant, struct tpc_str key,
                               struct tpc_device **ret);

/*
 * Gives a handle back; NULL is fine. A deleted device stays valid, and refuses, until the last
 * handle is gone.
 *
 * Returns NULL.
 * Ownership: takes device.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API struct tpc_device *tpc_device_unref(struct tpc_device *device);

struct tpc_device_info {
    uint32_t size;
    uint32_t online; /* 1, 0 */
    uint64_t id;
    struct tpc_str key; /* valid as long as the handle */
    struct tpc_str product;
    uint32_t partition;
    uint32_t reserved;
    uint64_t messages;         /* accepted since start */
    int64_t last_seen_unix_ms; /* 0 = never */
    int64_t presence_unix_ms;  /* when `online` became what it is; 0 = never */
    int64_t active_unix_ms;    /* when it was online first, to the second; 0 = never */
};

/*
 * State of a device. `online` and both times outlive the process; a device that was online by a
 * session of a process that is gone (killed, or its power lost) is offline from the next start on,
 * which the log then says, too. One that is online because a message said so (a broker's, a
 * gateway's) stays that until a message says otherwise, or until it is silent for longer than its product
 * allows (docs/guide/presence.md), which begins anew with the start. last_seen of a device that sends no values
 * may be older after a restart than it was.
 *
 * Returns 0.
 * Ownership: views live as long as the handle.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_device_info(struct tpc_device *device, struct tpc_device_info *ret);

/*
 * A feed is done: error 0 = its message, or the dead letter that stands for it, is in the log as the
 * log's policy says (or it came before and was dropped as a duplicate); TPC_ECANCELED = the core
 * stopped before that was certain; else why the log will not take it, TPC_ETOOBIG mostly.
 * Thread: worker (control while the core stops).
 */
typedef void tpc_done_fn(void *user, int error);

/*
 * Feeds bytes as if the device had sent them: codec, model, log, rules. done may be NULL. What the
 * codec cannot read becomes a dead letter, which is no error here.
 *
 * Returns 0 (queued), TPC_EAGAIN (the ring is full, because of a full log, too, or memory is short:
 * step or wait, then again), TPC_ETOOBIG (over frame_max_bytes), TPC_ENOENT (device deleted),
 * TPC_ESTATE (not started), TPC_EINVAL.
 * Ownership: raw is copied.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_feed(struct tpc_device *device, struct tpc_bytes raw, tpc_done_fn *done,
                     void *user);

/*
 * The same with time, kind, topic and flags (struct tpc_frame is in tpcore/ext/host.h; its product
 * and device are ignored).
 *
 * Returns as tpc_feed(); TPC_ETOOBIG also for a topic, name or correlation over 4,096 bytes.
 * Ownership: the frame is copied.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_feed_frame(struct tpc_device *device, const struct tpc_frame *frame,
                           tpc_done_fn *done, void *user);

/* Points that are already typed. Each distinct unix_ms becomes a message. */
struct tpc_points {
    uint32_t size;
    uint32_t count;
    size_t point_size;              /* sizeof(struct tpc_point) */
    const struct tpc_point *points; /* by key or property id; unix_ms 0 = now */
    uint16_t kind;                  /* TPC_MSG_TELEMETRY (also 0) or TPC_MSG_ATTRIBUTES */
    uint16_t reserved;
    uint32_t reserved2;
};

/*
 * Feeds points without a codec; the model still checks them.
 *
 * Returns as tpc_feed(); TPC_EINVAL also for another kind or point_size; TPC_ETOOBIG: the points
 * take more than frame_max_bytes.
 * Ownership: the points are copied.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_feed_points(struct tpc_device *device, const struct tpc_points *points,
                            tpc_done_fn *done, void *user);

/*
 * Latest value of a property. Text and trees are copied into buf (NULL is fine for scalars).
 * *ret_unix_ms (may be NULL): when it was measured.
 *
 * Returns 0; TPC_ENOENT (no such property, or no value yet: the text says which); TPC_ETOOBIG with
 * buf->need set.
 * Ownership: *ret points into the caller's buffer.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_latest_get(struct tpc_device *device, struct tpc_str property, struct tpc_buf *buf,
                           struct tpc_value *ret, int64_t *ret_unix_ms);

TPC_END

#endif
