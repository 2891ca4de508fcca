/* Shared by the files of lib/uplink alone. */
#ifndef TPI_UPLINK_PRIVATE_H
#define TPI_UPLINK_PRIVATE_H

#include <tpcore/why.h>

#include "base/buf.h"
#include "model/direct.h"
#include "registry/device.h"
#include "uplink/dedup.h"
#include "uplink/report.h"
#include "uplink/uplink.h"

/* How far an input has come in the present run. */
struct up_state {
    struct tpc_bytes payload; /* unwrapped */
    int result;
    bool refused; /* a dead letter stands for it */
    bool duplicate;
    bool keyed;       /* the dialect's id was looked at */
    bool any;         /* the decoder said something of it */
    bool again;       /* a duplicate whose answer is wanted again */
    bool again_part;  /* .. and it is a gateway's */
    bool answered;    /* one of its parts asks for the answer already */
    bool bad_part;    /* u->part_bad says why one of its parts is not taken */
    uint32_t first;   /* messages before it */
    uint32_t points;  /* points before it */
    uint32_t parts;   /* parts before it */
    uint32_t quiet;   /* messages of which nothing was left, before it */
    uint32_t touched; /* states of reports before it */
    size_t bodies;    /* body bytes before it */
    uint64_t packet_key;
    uint64_t dialect_key;
    struct tpc_str again_name, again_correlation;
};

struct tpi_uplink {
    const struct tpi_env *env;
    struct tpi_uplink_host host;
    struct tpc_arena *arena; /* of the batch */
    uint64_t now_ms;         /* monotonic, of the run */

    struct tpi_up_input inputs[TPI_UPLINK_BATCH];
    struct up_state states[TPI_UPLINK_BATCH];
    struct tpc_frame frame; /* the one being decoded: payload unwrapped */
    uint32_t input_count;

    struct tpi_up_msg *msgs;
    uint32_t msg_count, msg_cap;
    struct tpi_up_msg *parts; /* of devices of other workers */
    uint32_t part_count, part_cap;
    struct tpi_up_msg *quiet; /* of which report strategies left nothing */
    uint32_t quiet_count, quiet_cap;
    struct tpi_up_request *requests;
    uint32_t request_count, request_cap;
    struct tpi_up_new news[TPI_UPLINK_NEW];
    uint32_t new_count;
    struct tpc_point *points;
    uint32_t *indexes; /* of the points' properties */
    uint32_t point_count, point_cap;
    struct tpc_record *records;
    uint32_t record_cap;
    struct tpi_buf bodies;
    struct tpi_dedup dedup;
    struct tpi_reports reports;
    struct tpi_report_device *repeats[TPI_UPLINK_BATCH]; /* of inputs TPI_UP_REPEAT */
    uint32_t repeat_count;
    uint32_t repeat_most;                  /* 1 after a batch of them that needed too much memory */
    uint64_t points_held, points_repeated; /* of the run */
    size_t keys_added;

    /* While decoding. */
    struct tpi_product *product;
    uint32_t base;  /* input of frame 0 of the decoder's run */
    uint32_t count; /* frames of it */
    uint32_t current;
    uint32_t hint;
    uint64_t told_ms; /* when the count of log lines of dead letters began */
    uint64_t told;    /* dead letters since then */
    uint64_t why_ms;  /* the same for messages that were refused in part */
    uint64_t why_told;
    bool open;      /* between begin and end */
    bool skip;      /* the open message is a duplicate */
    uint16_t flags; /* of the open message's head */
    bool again;     /* which wants its answer, if any of its points is good */
    bool no_memory;
    bool scoped;           /* a frame of the batch has parts */
    bool held;             /* devices of parts are counted until clear */
    uint32_t bad_points;   /* of the open message */
    uint32_t clamped;      /* its points with TPC_POINT_CLAMPED */
    uint32_t beyond;       /* its points with TPC_POINT_BEYOND */
    uint32_t kept;         /* its points by key */
    struct up_cell *cells; /* of derive.c, by property index */
    uint32_t cell_count;
    uint32_t stamp;            /* of the message whose derived properties are computed */
    bool untold;               /* why the last of them is bad stands in direct, not yet in bad */
    struct tpc_error bad;      /* the last of them */
    struct tpc_error part_bad; /* the last part that was not taken */
    struct tpc_device *target; /* whose message begins: the input's, or one behind it */
    struct tpc_device *above[TPI_REGISTRY_GATEWAY_DEPTH];
    uint32_t level; /* of above */
    uint64_t parts_told_ms, parts_why_ms;
    char parts_text[TPC_WHY_REASON_BYTES +
                    140]; /* for the log, once no lock is held; "" = nothing */
    struct tpi_direct direct;
    struct tpi_guesses guesses;
};

/* The sink of a decoder; see sink.c. */
void up_sink(struct tpi_uplink *u, struct tpc_decode_sink *ret);

/* Points of a TPI_UP_POINTS input through the same checks. */
int up_take_points(struct tpi_uplink *u, uint32_t input, struct tpc_error *err);

/* What was taken of an input goes, and a dead letter takes its place. */
void up_refuse(struct tpi_uplink *u, uint32_t input, const struct tpc_error *why);

/* ---- scope.c: parts of a gateway's message ---- */
void up_scope_begin(struct tpi_uplink *u, struct tpc_device *device);
int up_scope_enter(void *user, uint32_t frame, struct tpc_str product, struct tpc_str device);
void up_scope_leave(void *user);
/* Whether another worker owns the present device. */
bool up_scope_foreign(const struct tpi_uplink *u);
/* The newest message goes to the parts. False: out of memory. */
bool up_scope_hand(struct tpi_uplink *u);
/* A part that is not taken. */
/* The log's line about what was not behind a gateway. No lock is held. */
void up_tell_parts(struct tpi_uplink *u);
void up_scope_bad(struct tpi_uplink *u, const struct tpc_error *why);
/* Nothing of the input was taken, and a part of it was bad: a dead letter. */
void up_scope_end(struct tpi_uplink *u, uint32_t input);

/* A TPI_UP_PART input. */
int up_take_part(struct tpi_uplink *u, uint32_t input, struct tpc_error *err);

/* ---- filter.c, repeat.c: report strategies ---- */
/* The strategy for all properties of a device that have none of their own. part: the instance's. */
const struct tpi_report *up_report_level(const struct tpi_uplink *u, const struct tpc_device *d,
                                         const struct tpi_report *part);
const struct tpi_report *up_report_rule(const struct tpi_model *m, uint32_t index,
                                        const struct tpi_report *level);
/* Takes the points that do not go on out of the newest message. */
void up_filter(struct tpi_uplink *u, struct tpi_up_msg *um);
/* The newest message is quiet. False: out of memory. */
bool up_quiet(struct tpi_uplink *u);
/* A TPI_UP_REPEAT input. */
int up_take_repeat(struct tpi_uplink *u, uint32_t input);
/* They are in the log. Read lock. */
void up_repeats_sent(struct tpi_uplink *u);

/* Adds the derived properties of the open message, whose product has some. Returns 0 or TPC_ENOMEM
 * (u->no_memory is set). */
int up_derive(struct tpi_uplink *u);
void up_derive_fini(struct tpi_uplink *u);

/* Room for one more; false: out of memory (u->no_memory is set). */
bool up_room_msg(struct tpi_uplink *u);
bool up_room_point(struct tpi_uplink *u);
/* Doubles an array. False: out of memory. */
bool up_grow(struct tpi_uplink *u, void **array, uint32_t *cap, size_t item);

/* Encodes the newest message. 0 or an error; TPC_ENOMEM sets u->no_memory. */
int up_encode(struct tpi_uplink *u, struct tpi_up_msg *m);

/* Params of a dead letter. */
int up_dead_params(struct tpi_uplink *u, const struct tpi_up_input *in, const struct tpc_error *why,
                   struct tpc_value *ret);

/* Log lines for the dead letters of the run. No lock is held. */
void up_tell_dead(struct tpi_uplink *u);

/* Key, check and conversion of one point. flags: of the message's head. *ret_index is
 * TPI_MODEL_NO_INDEX for one by key, whose key is then the caller's. */
int up_check_point(const struct tpi_product *product, uint16_t flags, struct tpc_str key,
                   const struct tpc_value *value, struct tpc_arena *arena, uint32_t *hint,
                   struct tpc_error *err, struct tpc_point *ret, uint32_t *ret_index);

#endif
