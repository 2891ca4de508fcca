/*
 * Why is this device silent? The last failures of each device by stage, and who knocks and is not
 * known. In bounded memory: 512 devices and 128 strangers with 6 failures each; the device that has
 * been well for the longest time makes room, counters tell of it. The same failure again counts up
 * instead of taking another place. A started core stores what changed within ten seconds, and when it
 * stops.
 */
#ifndef TPCORE_WHY_H
#define TPCORE_WHY_H

#include <tpcore/core.h>

TPC_BEGIN

enum tpc_why_stage {
    TPC_WHY_AUTH = 1,   /* who is it: unknown, wrong secret, disabled, of another product */
    TPC_WHY_ACL = 2,    /* a topic that is not its own; payload is the topic */
    TPC_WHY_DECODE = 3, /* bytes that its codec cannot read */
    TPC_WHY_MODEL = 4,  /* values or events that its thing model refuses */
    TPC_WHY_STORE = 5,  /* the log does not take the message */
    TPC_WHY_ENCODE = 6, /* a command that its codec cannot write */
    TPC_WHY_SEND = 7    /* a command that no adapter could send, or without the answer it needs */
};

/* Where a broker's plugin publishes what it refused; devices may neither publish nor hear there. */
#define TPC_WHY_TOPIC "tpcore/why"

enum {
    TPC_WHY_REASON_BYTES = 160, /* of a reason that are kept */
    TPC_WHY_PAYLOAD_BYTES = 64, /* of a payload */
    TPC_WHY_ORIGIN_BYTES = 48,  /* of an origin */
    TPC_WHY_KEY_BYTES = 128     /* of a tenant or device; a stranger's longer name is cut */
};

struct tpc_why {
    uint32_t size;
    uint32_t stage;  /* enum tpc_why_stage */
    int32_t code;    /* TPC_E* */
    uint32_t times;  /* that it came, one after the other; 0 to tpc_why_note() = once */
    int64_t unix_ms; /* the last of them; 0 to tpc_why_note() = now */
    uint32_t known;  /* 0: there is no such device */
    uint32_t reserved;
    struct tpc_str tenant; /* empty to tpc_why_note() = "main" */
    struct tpc_str device;
    struct tpc_str origin; /* an adapter's instance, an address */
    struct tpc_str reason;
    struct tpc_bytes payload; /* its first bytes */
    uint64_t payload_bytes;   /* all that it had; 0 to tpc_why_note() = payload.len */
};
#define TPC_WHY_INIT                                                                               \
    {                                                                                              \
        sizeof(struct tpc_why), 0, 0, 0, 0, 0, 0, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 },          \
            { 0, 0 }, 0                                                                            \
    }

/* One failure; views are valid during the call. A non-zero return ends the listing. */
typedef int tpc_why_fn(void *user, const struct tpc_why *why);

/*
 * The last failures of a device or stranger, newest first. Of a core that is not started: what the
 * one that owns the store has stored so far, and this one's own (those of a plugin in a broker, say).
 *
 * tenant: empty = "main". device: key, or what a stranger called himself.
 * Returns 0, TPC_ENOENT (nothing is known against it), TPC_EINVAL, what fn returned, or what the
 * store says.
 * Ownership: none.
 * Thread: any-thread; fn runs on the caller's, without locks. Reads the store.
 * Since: 0.1
 */
TPC_API int tpc_why(struct tpc_core *core, struct tpc_str tenant, struct tpc_str device,
                    tpc_why_fn *fn, void *user);

enum tpc_why_list_flags {
    TPC_WHY_DEVICES = 1,  /* devices that are known */
    TPC_WHY_STRANGERS = 2 /* those that are not */
};

/*
 * The last failure of each that has one, in no order. flags: enum tpc_why_list_flags. In a core that is
 * not started one may come twice: its own, and the stored one.
 *
 * Returns 0, TPC_EINVAL, what fn returned, or what the store says.
 * Ownership: none.
 * Thread: any-thread; as tpc_why().
 * Since: 0.1
 */
TPC_API int tpc_why_list(struct tpc_core *core, uint32_t flags, tpc_why_fn *fn, void *user);

/*
 * Notes a failure: for fronts and adapters of the program, of stages that the library does not see.
 * Whether the device is known is looked up. Longer texts and payloads are cut.
 *
 * Returns 0, TPC_EINVAL (stage or device missing), TPC_ENOMEM (it is lost, and counted), or what
 * opening the entities says.
 * Ownership: copies.
 * Thread: any-thread; does not block once the entities are loaded.
 * Since: 0.1
 */
TPC_API int tpc_why_note(struct tpc_core *core, const struct tpc_why *why);

/*
 * What was noted since the last call, each failure once: `times` is how often it came since then. For
 * fronts with a copy of the entities (TPC_CORE_OBSERVE) that tell the platform what they refused. At
 * most `max` failures, in no order; the rest waits for the next call, and what must make room before
 * it was taken is counted.
 *
 * ret_missed: such failures of this core so far; may be NULL.
 * Returns 0, TPC_EINVAL, what opening the entities says, or what fn returned (it ends the taking).
 * Ownership: none.
 * Thread: any-thread; fn runs on the caller's, without locks. Reads memory only.
 * Since: 0.1
 */
TPC_API int tpc_why_take(struct tpc_core *core, uint32_t max, tpc_why_fn *fn, void *user,
                         uint64_t *ret_missed);

/*
 * Name of a stage, "decode"; "?" if it is none.
 *
 * Returns static text.
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const char *tpc_why_stage_name(uint32_t stage);

TPC_END

#endif
