/*
 * Messages: everything that happens is one, in the order of the log.
 *
 * A message that a callback receives is a view into an immutable batch: it is valid until the
 * callback returns. tpc_msg_dup() makes a copy of one's own. Lists that cross the interface carry
 * their count and the size of an element, so that both sides may grow.
 */
#ifndef TPCORE_MSG_H
#define TPCORE_MSG_H

#include <tpcore/alloc.h>
#include <tpcore/value.h>

TPC_BEGIN

/* What a message is. Numbers are written to logs and never change; unknown ones are legal. */
enum tpc_kind {
    TPC_MSG_UNKNOWN = 0,         /* on a frame: the codec tells */
    TPC_MSG_TELEMETRY = 1,       /* up: points */
    TPC_MSG_ATTRIBUTES = 2,      /* up: points */
    TPC_MSG_EVENT = 3,           /* up: name, params */
    TPC_MSG_PRESENCE = 4,        /* up: params {"online": bool}; "session": true = by a session */
    TPC_MSG_REPLY = 5,           /* up: answer to a command, id or correlation, code, params */
    TPC_MSG_COMMAND = 6,         /* down: name, params */
    TPC_MSG_ATTRIBUTES_SET = 7,  /* down: params */
    TPC_MSG_ATTRIBUTES_GET = 8,  /* down: params {"keys": [..]} */
    TPC_MSG_TELEMETRY_SET = 9,   /* down: params, no answer expected */
    TPC_MSG_COMMAND_STATE = 10,  /* a command's record went on: sent, queued again */
    TPC_MSG_COMMAND_CLOSED = 11, /* a command ended: exactly one for each command */
    TPC_MSG_DEAD_LETTER = 12,    /* raw bytes that could not be used, with the reason in params */
    TPC_MSG_ENTITY = 13,         /* an entity was put or deleted: params {kind, key, revision} */
    TPC_MSG_RAW = 14,            /* bytes for other consumers, kept as they are */
    TPC_MSG_ALERT = 15,          /* a change of an alert: tpcore/alert.h */
    /* 16, 18 and 19 = the log's own: a dead letter that was taken off the list; what comes into a
     * window of a rule over several devices; the clock of a boot became known */
    TPC_MSG_NOTIFY =
        17 /* for a handler: name = its key, params = what shall be told; if it is about
                         * no device, params.tenant = key of the tenant, absent = "main" */
};

enum tpc_msg_flags {
    TPC_MSG_CLOCK_UNSURE = 1,   /* the host's clock was not set when it came */
    TPC_MSG_REDELIVERED = 2,    /* the protocol said so */
    TPC_MSG_DOWN = 4,           /* towards the device */
    TPC_MSG_ESTIMATED_TIME = 8, /* unix_ms is the receipt time: the device gave none */
    TPC_MSG_RETAINED = 16       /* an old value that a broker kept: fires no rule */
};

enum tpc_point_flags {
    TPC_POINT_CLAMPED =
        1, /* the device said something beyond the model's limits, the nearest stands */
    TPC_POINT_ATTRIBUTE = 2,
    TPC_POINT_BEYOND = 4 /* the value is beyond the model's limits and was kept */
};

enum { TPC_PROPERTY_NONE = 0 }; /* property ids start at 1 */

/* One value of one property. Frozen for ever. */
struct tpc_point {
    struct tpc_str key; /* property's key; may be empty inside the log where the id is known */
    uint16_t property;  /* id in the product's model; TPC_PROPERTY_NONE = by key */
    uint16_t flags;     /* enum tpc_point_flags */
    uint32_t reserved;
    int64_t unix_ms; /* 0 = the message's time */
    struct tpc_value value;
};

struct tpc_msg {
    uint32_t size;
    uint16_t kind;  /* enum tpc_kind */
    uint16_t flags; /* enum tpc_msg_flags */
    uint32_t partition;
    uint32_t model_revision; /* of the product's model that checked it; 0 = none */
    uint64_t offset;         /* in its partition; set when appended */
    uint64_t device_id;      /* 0 = no device */
    int64_t unix_ms;         /* when it happened, as the device says, else the receipt time */
    int64_t received_unix_ms;
    struct tpc_id id;      /* message or command id; zero = none */
    struct tpc_id trace;   /* zero = none */
    struct tpc_str tenant; /* text keys: empty inside the log, filled for callbacks */
    struct tpc_str product;
    struct tpc_str device;
    struct tpc_str name;        /* event, service or entity kind */
    struct tpc_str origin;      /* adapter instance, rule, connector or API user it came from */
    struct tpc_str correlation; /* the protocol's own message id */
    int32_t code; /* of a reply: 0 = done; of a row of a data rule: links of its chain */
    uint32_t point_count;
    size_t point_size; /* sizeof(struct tpc_point) of the producer */
    const struct tpc_point *points;
    struct tpc_value params; /* TPC_NULL if none */
    struct tpc_bytes raw;
};

/* A run of messages of one partition, in order. */
struct tpc_batch {
    uint32_t size;
    uint32_t count;
    size_t msg_size; /* bytes from one message to the next: use tpc_batch_msg() */
    const struct tpc_msg *msgs;
    /* gap_to > gap_from: offsets [gap_from, gap_to) were passed over before this; count may be 0. */
    uint64_t gap_from;
    uint64_t gap_to;
};

/*
 * Message i of a batch, i < batch->count.
 *
 * Returns the message.
 * Ownership: borrowed, as long as the batch.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const struct tpc_msg *tpc_batch_msg(const struct tpc_batch *batch, uint32_t i);

/*
 * Point i of a message, i < msg->point_count.
 *
 * Returns the point.
 * Ownership: borrowed, as long as the message.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const struct tpc_point *tpc_msg_point(const struct tpc_msg *msg, uint32_t i);

/*
 * Copy of a message with everything that it points to, in one block.
 *
 * Returns 0, TPC_EINVAL (size 0, a value deeper than 32 or of no known type) or TPC_ENOMEM.
 * Ownership: *ret is the caller's: tpc_msg_free() with the same allocator (NULL = default).
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_msg_dup(const struct tpc_msg *msg, const struct tpc_allocator *allocator,
                        struct tpc_msg **ret);

/*
 * Frees a copy made by tpc_msg_dup(); NULL is fine.
 *
 * Returns nothing.
 * Ownership: takes msg.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API void tpc_msg_free(struct tpc_msg *msg, const struct tpc_allocator *allocator);

/*
 * Name of a message kind as it stands in topics ("telemetry", "command").
 *
 * Returns static text; "unknown" for a number it does not know.
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const char *tpc_kind_name(uint16_t kind);

TPC_END

#endif
