/*
 * What goes up to ThingsPanel: messages of the log as publishes, each payload in the envelope
 * {"device_id","values"} with its JSON as base64. No state of a connection.
 */
#ifndef THINGSPANEL_WRAP_H
#define THINGSPANEL_WRAP_H

#include <stdbool.h>
#include <tpcore/error.h>
#include <tpcore/msg.h>

#include "base/buf.h"

/* One publish; offsets in tp_pack.said. */
struct tp_part {
    struct tpc_id id; /* of its message */
    size_t topic, topic_len;
    size_t payload, payload_len;
    bool last; /* of its message */
};

struct tp_pack {
    struct tpi_buf said;  /* topics and payloads */
    struct tpi_buf parts; /* struct tp_part */
    struct tpi_buf json;  /* of the payload that is made */
    size_t payload_max;
};

void tp_pack_init(struct tp_pack *p, const struct tpc_allocator *a);
void tp_pack_fini(struct tp_pack *p);
void tp_pack_clear(struct tp_pack *p);

static inline uint32_t tp_pack_count(const struct tp_pack *p)
{
    return (uint32_t) (p->parts.len / sizeof(struct tp_part));
}

static inline const struct tp_part *tp_pack_part(const struct tp_pack *p, uint32_t i)
{
    return (const struct tp_part *) (const void *) p->parts.ptr + i;
}

/* Whether messages of a kind become publishes. */
static inline bool tp_pack_takes(uint16_t kind)
{
    return kind == TPC_MSG_TELEMETRY || kind == TPC_MSG_ATTRIBUTES || kind == TPC_MSG_EVENT ||
           kind == TPC_MSG_PRESENCE;
}

/*
 * Adds what a message becomes: telemetry and attributes one publish each, an event one, presence the
 * status (contract 1.3, 2). ThingsPanel takes the time when it hears a value: a message with several values
 * of one key becomes one publish for each, in their order. What is none of these becomes nothing.
 *
 * Returns 0 with the publishes in *ret_parts; TPC_ETOOBIG (payload_max), TPC_EINVAL (a value that is no
 * JSON), TPC_ENOMEM: what was added before stays whole.
 */
int tp_pack_message(struct tp_pack *p, const struct tpc_msg *m, struct tpc_error *err,
                    uint32_t *ret_parts);

/* {"device_id":"..","values":"<base64>"} behind what b holds. 0, TPC_ENOMEM, TPC_ETOOBIG, TPC_EINVAL
 * (the id is no UTF-8). */
int tp_wrap(struct tpi_buf *b, struct tpc_str device, struct tpc_bytes values);

#endif
