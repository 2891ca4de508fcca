/*
 * The way up, for one worker: what was received becomes messages that the model has checked, the
 * messages become records of one append, and only then the devices' latest values change.
 *
 *   tpi_uplink_add() .. up to TPI_UPLINK_BATCH, tpi_uplink_run(), results and messages,
 *   tpi_uplink_clear()
 *
 * Bytes that cannot be used become a record TPC_MSG_DEAD_LETTER: raw, and params {"code", "reason",
 * "origin", "topic", "tenant", "product", "device", "line", "column", "path", "frame_kind",
 * "frame_flags", "name", "correlation", "unix_ms"}, absent ones left out.
 *
 * A message that can come twice carries its keys as its id: bytes 0..7 of its dialect's id and
 * payload, 8..15 of the protocol's packet and payload, little-endian; tpi_uplink_remember() reads
 * them back from the log at start.
 *
 * Nothing is allocated once buffers are warm. One thread: the owner of the devices.
 */
#ifndef TPI_UPLINK_UPLINK_H
#define TPI_UPLINK_UPLINK_H

#include <tpcore/codec.h>
#include <tpcore/ext/bus.h>
#include <tpcore/ext/codec.h>

#include "base/env.h"
#include "base/metric.h"
#include "base/wheel.h"
#include "data/report.h"
#include "registry/presence.h"

enum {
    TPI_UPLINK_BATCH = 256,
    TPI_UPLINK_ARENA_BYTES = 64 << 20, /* trees and texts of one batch */
    TPI_UPLINK_BODY_BYTES = 256 << 20, /* records of one batch */
    TPI_UPLINK_POINTS = 65536,         /* of one message */
    TPI_UPLINK_NEW = 64                /* devices of one batch that gateways' reports make */
};

struct tpi_uplink_counters {
    _Atomic uint64_t frames;
    _Atomic uint64_t bytes;
    _Atomic uint64_t messages;
    _Atomic uint64_t points;
    _Atomic uint64_t points_refused;
    _Atomic uint64_t points_clamped;
    _Atomic uint64_t points_beyond;
    _Atomic uint64_t points_held;      /* by report strategies */
    _Atomic uint64_t points_repeated;  /* that a period sent */
    _Atomic uint64_t points_untracked; /* that no state could be kept of */
    _Atomic uint64_t messages_held;    /* of which nothing was left */
    _Atomic uint64_t points_kept;      /* by key: their model does not know it */
    _Atomic uint64_t duplicates;
    _Atomic uint64_t dead_letters;
    _Atomic uint64_t empty;            /* frames that said nothing */
    _Atomic uint64_t refused;          /* settled with an error: neither message nor dead letter */
    _Atomic uint64_t presence_ignored; /* status messages that do not decide, or came late */
    _Atomic uint64_t batches;
    _Atomic uint64_t waits;         /* runs that the log answered "later" */
    _Atomic uint64_t parts_unknown; /* of gateways' messages: of devices that are not behind them */
    _Atomic uint64_t parts_handed;  /* ..: of devices that another worker owns */
    _Atomic uint64_t parts_lost;    /* ..: of these, without memory */
};
extern const struct tpi_metric_def tpi_uplink_metrics[];
extern const uint32_t tpi_uplink_metric_count;

struct tpi_uplink;

/*
 * append   As tpc_bus_ops.append.
 * unwrap   ThingsPanel's envelope: tpi_codec_unwrap().
 * before   Before the values of a message become the latest; NULL = nobody asks.
 * begin    Before the first message() of a run; message once for each message appended, in order,
 *          under the registry's read lock; end after the last.
 */
struct tpi_uplink_host {
    void *user;
    struct tpi_registry *registry;
    struct tpi_uplink_counters *counters; /* the core's, for all workers */
    struct tpi_presence *presence;        /* the worker's; NULL = every status counts */
    struct tpi_wheel *wheel;              /* the worker's; NULL = no report strategies */
    struct tpi_report report;             /* where nobody says another; mode 0 = all values go on */
    uint32_t worker;
    uint32_t workers; /* partition p belongs to worker p % workers; 0 = all to this one */
    int (*append)(void *user, struct tpc_record *records, uint32_t count, struct tpc_error *err);
    int (*unwrap)(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_error *err,
                  struct tpc_str *ret_device_id, struct tpc_bytes *ret_values);
    void (*begin)(void *user);
    void (*before)(void *user, struct tpc_device *device, const struct tpc_msg *msg);
    void (*message)(void *user, struct tpc_device *device, const struct tpc_msg *msg);
    void (*end)(void *user);
};

enum tpi_up_type {
    TPI_UP_FRAME = 0,
    TPI_UP_POINTS = 1, /* frame.payload is a record body (data/msg.h) with the points */
    TPI_UP_PART = 2, /* .. with a message of frame.kind that another worker took out of a gateway's;
                        * frame.code: enum tpc_decoded_flags */
    TPI_UP_REPEAT = 4, /* values that a period sends: of tpi_uplink_repeat() alone */
    TPI_UP_VALUES = 3  /* as points, with origin and code: a rule said it, and no sign of life */
};

/* What was received. Views and the device live until tpi_uplink_clear(). */
struct tpi_up_input {
    struct tpc_frame frame;
    struct tpc_device *device; /* NULL = unknown: becomes a dead letter with TPC_ENOENT */
    struct tpc_str tenant;
    struct tpc_str origin;
    int64_t received_unix_ms;
    uint32_t partition;              /* where it goes without a device */
    uint32_t type;                   /* enum tpi_up_type */
    const struct tpi_report *report; /* of the adapter's instance; NULL = none; lives on */
};

/* A message that was appended. */
struct tpi_up_msg {
    struct tpc_msg msg;
    struct tpc_device *device;  /* NULL = none */
    uint32_t input;             /* which one it came from */
    bool answer;                /* the dialect wants an answer: see tpc_decoded */
    struct tpc_str answer_name; /* of the answer */
    bool part;                  /* of a gateway's message */
    bool got;                   /* answers a get under way */
    bool said;                  /* a rule said it, or a period repeats it: no sign of life */
    bool wakes;                 /* its device is offline, or not watched, and its product minds */
    struct tpc_device
        *asked;           /* who gets the answer: the device, or the gateway that spoke for it */
    uint32_t first_point; /* private */
    size_t body_at;
    size_t body_len;
};

int tpi_uplink_create(const struct tpi_env *env, const struct tpi_uplink_host *host,
                      struct tpc_error *err, struct tpi_uplink **ret);
void tpi_uplink_destroy(struct tpi_uplink *u);

/* false: the batch is full. */
bool tpi_uplink_add(struct tpi_uplink *u, const struct tpi_up_input *input);

/*
 * Decodes, checks, appends, applies. Takes the registry's read lock.
 *
 * Returns 0; TPC_EAGAIN, TPC_ENOSPC, TPC_EIO, TPC_ENOMEM: nothing happened, the same batch (or a
 * smaller one) may be run again.
 */
int tpi_uplink_run(struct tpi_uplink *u, struct tpc_error *err);

/* Result of an input after a run that returned 0: 0, or why it was refused. */
int tpi_uplink_result(const struct tpi_uplink *u, uint32_t input);

/* Messages of the run, dead letters included. */
uint32_t tpi_uplink_count(const struct tpi_uplink *u);
const struct tpi_up_msg *tpi_uplink_msg(const struct tpi_uplink *u, uint32_t i);

/* Messages of which report strategies left nothing: not in the log, but signs of life. */
uint32_t tpi_uplink_quiet_count(const struct tpi_uplink *u);
const struct tpi_up_msg *tpi_uplink_quiet(const struct tpi_uplink *u, uint32_t i);

/* Whether values are due that a period sends. */
bool tpi_uplink_due(const struct tpi_uplink *u);

/*
 * Runs a batch of those that are due; no other batch is open, tpi_uplink_clear() follows. Returns as
 * tpi_uplink_run(); after a failure they are due again a little later.
 */
int tpi_uplink_repeat(struct tpi_uplink *u, int64_t unix_ms, struct tpc_error *err);

/* Times of values that wait for their period move along with the clock. No batch is open. */
void tpi_uplink_shift_times(struct tpi_uplink *u, int64_t from_ms, int64_t to_ms, int64_t by_ms);

/* What a device asked for. Views and params are valid until tpi_uplink_clear(). */
struct tpi_up_request {
    struct tpc_device *device;
    uint32_t input;
    struct tpc_str name;
    struct tpc_str correlation;
    struct tpc_value params;
};
/* A device that a gateway reported for, is not there, and may be made: see enum tpi_auto_subs. Views
 * are valid until tpi_uplink_clear(). */
struct tpi_up_new {
    struct tpc_device *gateway;
    struct tpc_str product; /* empty: device is an address */
    struct tpc_str device;
};
uint32_t tpi_uplink_new_count(const struct tpi_uplink *u);
const struct tpi_up_new *tpi_uplink_new(const struct tpi_uplink *u, uint32_t i);

uint32_t tpi_uplink_request_count(const struct tpi_uplink *u);
const struct tpi_up_request *tpi_uplink_request(const struct tpi_uplink *u, uint32_t i);

/* Messages of devices that other workers own, out of gateways' messages: checked, not appended. Their
 * bodies are valid until tpi_uplink_clear(). Its worker gets it as TPI_UP_PART. */
uint32_t tpi_uplink_part_count(const struct tpi_uplink *u);
const struct tpi_up_msg *tpi_uplink_part(const struct tpi_uplink *u, uint32_t i);
struct tpc_bytes tpi_uplink_body(const struct tpi_uplink *u, const struct tpi_up_msg *part);

/* Whether an input was a second delivery of what a device wants an answer to; the answer's name and
 * correlation, valid until tpi_uplink_clear(), and whether it is a gateway's. */
bool tpi_uplink_again(const struct tpi_uplink *u, uint32_t input, struct tpc_str *ret_name,
                      struct tpc_str *ret_correlation, bool *ret_part);

/* An input that was not taken in full: when it comes again it is no duplicate. */
void tpi_uplink_forget(struct tpi_uplink *u, uint32_t input);

void tpi_uplink_clear(struct tpi_uplink *u);

/* At start: an older message of the log, so that its second delivery is known. */
void tpi_uplink_remember(struct tpi_uplink *u, const struct tpc_msg *msg);

/*
 * Decodes and checks like a run; appends and changes nothing. fn is called for each message with
 * its accepted points and the verdicts of all, or once with the error. Takes no lock: the caller
 * holds a reference of the product.
 *
 * Returns 0, TPC_ENOMEM or what fn returned.
 */
int tpi_uplink_try(const struct tpi_env *env, const struct tpi_product *product, uint32_t worker,
                   const struct tpc_frame *frame, tpc_codec_test_fn *fn, void *user);

#endif
