/*
 * Streams: following the bus, live or from a durable cursor, and the dead letters.
 *
 * Topics: {tenant}/up/{product}/{device}/{kind}, {tenant}/down/{product}/{device}/{kind},
 * {tenant}/entity/{kind}/{key}/updated. Filters use MQTT wildcards (+ and a last #); '/', '+', '#',
 * '%' in a key are written %XX. A filter is matched once per device, never per message.
 */
#ifndef TPCORE_STREAM_H
#define TPCORE_STREAM_H

#include <tpcore/core.h>
#include <tpcore/msg.h>

TPC_BEGIN

struct tpc_sub;

/*
 * A batch of one partition, up to 256 messages. For tpc_consume(): 0 commits; else the same batch
 * comes again after a pause (100 ms, doubles up to 5 s). tpc_subscribe() does not look at it.
 * Thread: worker, never under a lock, never twice at once for one subscription.
 */
typedef int tpc_batch_fn(void *user, const struct tpc_batch *batch);

enum tpc_stream_flags {
    TPC_STREAM_SYSTEM = 1 /* the filter may start with + or # over all tenants */
};

struct tpc_subscribe_options {
    uint32_t size;
    uint32_t flags; /* enum tpc_stream_flags */
    struct tpc_str filter;
};
#define TPC_SUBSCRIBE_OPTIONS_INIT                                                                 \
    {                                                                                              \
        sizeof(struct tpc_subscribe_options), 0,                                                   \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/*
 * Live tail: what is appended from now on (before the start: from the start on), flushed or not. A
 * subscriber that falls behind by more than the log keeps gets a batch with its gap set.
 *
 * Returns 0, TPC_EINVAL (filter), TPC_ENOMEM, or what opening the entities' store says.
 * Ownership: *ret is the caller's: tpc_unsubscribe().
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_subscribe(struct tpc_core *core, const struct tpc_subscribe_options *options,
                          tpc_batch_fn *fn, void *user, struct tpc_sub **ret);

enum tpc_consume_flags { TPC_CONSUME_HOLD = 2 /* the log is kept for it, else it is bounded */ };

struct tpc_consume_options {
    uint32_t size;
    uint32_t flags; /* enum tpc_stream_flags | enum tpc_consume_flags */
    /* Of the cursor: 1-64 of a-z 0-9 - _ . ; not history, rules or downlink: the core's own. */
    struct tpc_str name;
    struct tpc_str filter;
    uint32_t start_newest; /* a new cursor: 0 = from the oldest record kept, 1 = from now on */
    uint32_t reserved;
    uint64_t max_bytes; /* of a bounded one: 0 = the log's bounds */
    uint64_t max_age_ms;
};
#define TPC_CONSUME_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(struct tpc_consume_options), 0, { 0, 0 }, { 0, 0 }, 0, 0, 0, 0                      \
    }

/*
 * Durable cursor: every matching message that is flushed, at least once, across restarts. Returning
 * 0 commits. Needs the log: before the start only once tpc_core_open() has opened it.
 *
 * Returns 0, TPC_EINVAL (filter, name), TPC_EEXIST (the cursor is open, or a name of the core's own),
 * TPC_ESTATE (no log is open), TPC_ENOMEM, or what the log says.
 *
 * Ownership: *ret is the caller's: tpc_unsubscribe() keeps the cursor, tpc_consumer_forget() ends
 * it.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_consume(struct tpc_core *core, const struct tpc_consume_options *options,
                        tpc_batch_fn *fn, void *user, struct tpc_sub **ret);

/*
 * Ends a subscription or consumer. fn is not running and will not be called once it returns, except
 * when called from within fn itself.
 *
 * Returns NULL.
 * Ownership: takes sub; NULL is fine.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API struct tpc_sub *tpc_unsubscribe(struct tpc_sub *sub);

/*
 * Forgets a durable cursor that is not open, so that the log is no longer kept for it.
 *
 * Returns 0, TPC_ENOENT, TPC_EINVAL (name), TPC_ESTATE (it is open, or the core's own, or no log is
 * open).
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_consumer_forget(struct tpc_core *core, struct tpc_str name);

/* A dead letter: bytes that could not be used. Views are valid during the call. */
struct tpc_dead_letter {
    uint32_t size;
    uint32_t partition;
    uint64_t offset; /* (partition, offset) names it */
    int64_t unix_ms;
    struct tpc_str device; /* as far as known */
    struct tpc_str origin; /* adapter instance */
    struct tpc_str topic;
    int32_t code; /* why: TPC_EDECODE, TPC_ESCRIPT, TPC_ENOENT ... */
    uint32_t reserved;
    struct tpc_str reason;
    struct tpc_bytes raw; /* the original bytes */
};
typedef int tpc_dead_letter_fn(void *user, const struct tpc_dead_letter *letter);

/*
 * Lists the dead letters that are kept, oldest first in each partition. A non-zero return of fn ends it.
 *
 * Returns 0, TPC_ESTATE (not started), TPC_ENOMEM, TPC_EIO or what fn returned.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_dead_letters(struct tpc_core *core, tpc_dead_letter_fn *fn, void *user);

/*
 * Gives one dead letter back to the uplink, as if it came again (not as a duplicate; to the device
 * that has its key now); once it is queued the letter is purged. What fails again is a new letter.
 *
 * Returns 0, TPC_ENOENT, TPC_EAGAIN (no room, or the log cannot be written now: it may have been
 * queued, and stays on the list), TPC_EUNSUPPORTED (a message that a target of forward could not
 * deliver), TPC_EIO, TPC_ESTATE (not started).
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_dead_letter_redrive(struct tpc_core *core, uint32_t partition, uint64_t offset);

/*
 * Takes one dead letter off the list; durable when it returns, unless called from a callback.
 *
 * Returns 0, TPC_ENOENT, TPC_EAGAIN (the log cannot be written now), TPC_EIO, TPC_ESTATE (not
 * started).
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_dead_letter_purge(struct tpc_core *core, uint32_t partition, uint64_t offset);

TPC_END

#endif
