/*
 * Targets: where data and notifications go to, and how far they are. A target is an entity of kind
 * `forward` (messages by topic) or `handler` (notifications by name) that names an opened sink.
 * docs/guide/forward.md tells how they are written.
 */
#ifndef TPCORE_FORWARD_H
#define TPCORE_FORWARD_H

#include <tpcore/core.h>

TPC_BEGIN

enum tpc_forward_state {
    TPC_FORWARD_DISABLED = 0, /* its cursor stands still, within keep */
    TPC_FORWARD_WAITING = 1,  /* its sink is not open or does not take it, or the core is stopped */
    TPC_FORWARD_READY = 2,    /* nothing is on its way */
    TPC_FORWARD_SENDING = 3,  /* a batch is */
    TPC_FORWARD_RETRYING = 4  /* the last one failed: a pause */
};

/* One target. Texts are valid during the call. */
struct tpc_forward_info {
    uint32_t size;
    uint32_t state; /* enum tpc_forward_state */
    struct tpc_str tenant;
    struct tpc_str kind; /* "forward" or "handler" */
    struct tpc_str key;
    struct tpc_str sink;  /* name of the instance */
    uint64_t sent;        /* messages that arrived, since the start of the process */
    uint64_t retried;     /* batches that come again after a pause */
    uint64_t refused;     /* batches that the other side will not have as they are */
    uint64_t dead;        /* messages that became dead letters */
    uint64_t gap_records; /* records passed over: out of keep, or not in the log any more */
    uint64_t behind;      /* records of the log that it has not looked at or not delivered yet */
    int32_t error_code;   /* of the last failure; 0 = none */
    uint32_t in_flight;   /* batches */
    int64_t error_unix_ms;
    struct tpc_str error;
    uint64_t newest_records; /* records passed over as they came: keep.drop newest */
    uint64_t thinned;        /* samples left out: keep.drop thin */
    uint64_t held_bytes;     /* of records in batches on their way or being filled */
    uint64_t behind_bytes;   /* of the log, by the mean size of its records */
    int64_t
        oldest_unix_ms; /* when the oldest came of what was read for it and is not delivered; 0 = nothing */
    /* Until the first bound bites (keep's, or the log's), at the rate at which records came of late
     * and if none goes; UINT64_MAX = no bound is in sight. */
    uint64_t buffer_seconds;
};

/* A non-zero return ends the list. */
typedef int tpc_forward_info_fn(void *user, const struct tpc_forward_info *info);

/*
 * Calls fn for targets: all, or those of a tenant, of a kind, of a key (empty = any).
 *
 * Returns 0, TPC_EINVAL (core or fn is NULL), TPC_ENOENT (a key is given and nobody has it), or what
 * fn returned.
 * Ownership: none.
 * Thread: any-thread; fn must not put or delete targets.
 * Since: 0.1
 */
TPC_API int tpc_forward_info(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                             struct tpc_str key, tpc_forward_info_fn *fn, void *user);

TPC_END

#endif
