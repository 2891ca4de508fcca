/*
 * The envelope of messages on a connection (contract iot-module section 5), as far as the built-in
 * rules look into it: {"requestId", "method", "params"} up, {"requestId", "method", "data", "code",
 * "msg"} down. Pure.
 */
#ifndef NET_ENVELOPE_H
#define NET_ENVELOPE_H

#include <tpcore/arena.h>
#include <tpcore/bytes.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

enum {
    NET_ENVELOPE_MAX = 16 * 1024, /* bytes of a message that is looked into */
    NET_ENVELOPE_ID_MAX = 128     /* bytes of a requestId that is given back */
};

enum net_code { NET_CODE_DONE = 0, NET_CODE_UNKNOWN = 401, NET_CODE_FAILED = 500 };

struct net_envelope {
    struct tpc_value id; /* text or int; TPC_NULL = none */
    struct tpc_str method;
    const struct tpc_value *params; /* NULL = none */
};

/* Reads a message; zero bytes at its end (of a fixed frame) are passed over. A reply (with "code") is
 * none. Views live in the message or the arena. Returns 0, TPC_EDECODE (no object, no method, over
 * NET_ENVELOPE_MAX) or TPC_ENOMEM. */
int net_envelope_read(struct tpc_bytes message, struct tpc_arena *arena, struct net_envelope *ret);

/* The method alone, without a tree: whether it is `method`. For each message of a device. */
bool net_envelope_is(struct tpc_bytes message, struct tpc_str method);

/* The answer; data NULL = none. Returns 0 with out->need, or TPC_ETOOBIG. */
int net_envelope_write(const struct net_envelope *of, const struct tpc_value *data, int64_t code,
                       struct tpc_str msg, struct tpc_buf *out);

static inline struct tpc_value net_text(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as = { .text = s.ptr } };
}

#endif
