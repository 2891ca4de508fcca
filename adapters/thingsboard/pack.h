/*
 * A batch of messages as ThingsBoard's payloads: by device, cut at the payload's limit and at the number
 * of data points. No I/O, no state beside the batch.
 *
 * The messages are put in the order of their devices, each device's in the order they came; a part is a
 * run of that order. Telemetry comes first, then attributes.
 */
#ifndef THINGSBOARD_PACK_H
#define THINGSBOARD_PACK_H

#include "devices.h"

#include <tpcore/error.h>
#include <tpcore/msg.h>

enum tb_stream { TB_TELEMETRY = 0, TB_ATTRIBUTES = 1, TB_STREAMS = 2 };

/* Of a message; kept until the batch is through. */
enum tb_mark {
    TB_MARK_STREAM = 1, /* << stream: has something for it */
    TB_MARK_OUT = 4,    /* << stream: all of that is in parts that were given out */
    TB_MARK_GIVEN = 16, /* the server had it before */
    TB_MARK_FAILED = 32 /* a part of it was not taken */
};

struct tb_pack_options {
    size_t payload_max;  /* of a payload */
    uint32_t points_max; /* of a payload: data points */
    bool device_mode;    /* everything is of the session's own device */
    bool metadata, alerts;
    struct tpc_str own; /* key of the session's own device; empty = none */
    int64_t now_unix_ms;
};

enum tb_presence { TB_PRESENCE_NONE = 0, TB_PRESENCE_ONLINE, TB_PRESENCE_OFFLINE };

struct tb_group {
    struct tb_device *device; /* NULL = over the limit of devices: its key is its name */
    struct tpc_str name, product, origin; /* origin: of its first message */
    uint32_t first, count;                /* in the order */
    bool own;
    bool data; /* has telemetry or attributes */
    enum tb_presence presence;
};

/* What a batch needs as long as it is on its way. */
struct tb_batch {
    const struct tpc_batch *batch;
    uint32_t *order;   /* index of a message by its place */
    uint16_t *pending; /* parts on their way, by index of the message */
    uint8_t *marks;    /* enum tb_mark, by index */
};

struct tb_part {
    struct tpc_str topic;
    struct tpc_bytes payload; /* until the next part */
    enum tb_stream stream;
    uint32_t from, to; /* places */
    uint32_t points;
};

struct tb_pack {
    const struct tpc_allocator *alloc;
    struct tb_pack_options o;
    struct tb_batch *b;
    struct tpi_buf out;
    struct tpi_buf groups; /* struct tb_group */
    struct tpi_buf which;  /* uint32_t: the group of a message, by index */
    uint64_t serial;

    enum tb_stream stream;
    uint32_t place; /* next message */
    uint32_t point; /* .. and its next point */

    /* Of the payload that is being written. */
    bool device_open, entry_open, own;
    uint32_t group;
    uint32_t points;
    uint32_t group_from; /* place at which the group began in this payload */
    int64_t entry_ms;
    const struct tpc_msg *entry_of;
};

void tb_pack_init(struct tb_pack *p, const struct tpc_allocator *alloc);
void tb_pack_fini(struct tb_pack *p);

int tb_batch_init(struct tb_batch *b, const struct tpc_allocator *alloc,
                  const struct tpc_batch *batch);
void tb_batch_fini(struct tb_batch *b, const struct tpc_allocator *alloc);

/* Begins with a batch, whose marks say what was given before. TPC_ENOMEM. */
int tb_pack_begin(struct tb_pack *p, struct tb_batch *b, struct tb_devices *devices,
                  const struct tb_pack_options *o);
uint32_t tb_pack_groups(const struct tb_pack *p);
struct tb_group *tb_pack_group(const struct tb_pack *p, uint32_t i);

/* Makes the next part. Returns 1, 0 = there is no more, TPC_ETOOBIG (a single value is over the limit),
 * TPC_EINVAL or TPC_ENOMEM. */
int tb_pack_next(struct tb_pack *p, struct tpc_error *err, struct tb_part *ret);

/* A part is on its way, and its end. */
void tb_batch_out(struct tb_batch *b, const struct tb_part *part);
void tb_batch_back(struct tb_batch *b, enum tb_stream stream, uint32_t from, uint32_t to, bool ok);
/* Whether the server has all of message i. */
bool tb_batch_has(const struct tb_batch *b, uint32_t i);

#endif
