/*
 * The body of a log record: what of a message the record's own header does not carry. Its bytes are
 * described in docs/format/record.md.
 */
#ifndef TPI_DATA_MSG_H
#define TPI_DATA_MSG_H

#include "base/buf.h"

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/msg.h>

enum {
    TPI_MSG_MAX_DEPTH = 32,      /* arrays and maps inside one another */
    TPI_MSG_MAX_POINTS = 1 << 20 /* of one message */
};

/*
 * Appends the body of a message to out. The header's fields (kind, flags, partition, model
 * revision, offset, device id, both times, trace) and tenant, product, device are not part of it.
 *
 * Returns 0, TPC_EINVAL (a value of no known type, or nested deeper than 32), TPC_ETOOBIG (points,
 * or out's limit) or TPC_ENOMEM; out then has its old content.
 */
int tpi_msg_encode(const struct tpc_msg *m, struct tpi_buf *out);

/*
 * Reads a body into *ret, whose header fields the caller has set before: points' own times are
 * relative to ret->unix_ms. Sets id, name, origin, correlation, code, points, params and raw,
 * absent ones to empty. Text, blobs and raw point into body; points and trees are the arena's.
 *
 * Returns 0, TPC_ECORRUPT, TPC_EVERSION (parts that a newer version wrote) or TPC_ENOMEM; *ret is
 * then as before.
 */
int tpi_msg_decode(struct tpc_bytes body, struct tpc_arena *arena, struct tpc_error *err,
                   struct tpc_msg *ret);

/* The value of that name: a point's, else a member's of params. false: there is none. */
bool tpi_msg_value(const struct tpc_msg *m, struct tpc_str name, struct tpc_value *ret);

/* The encoding of one value alone, tag byte first; codes as above. */
int tpi_value_encode(const struct tpc_value *v, struct tpi_buf *out);
int tpi_value_decode(struct tpc_bytes bytes, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpc_value *ret);

/* Copy of a value with all it points to in the arena. Returns 0, TPC_EINVAL (deeper than 32 or of
 * no known type) or TPC_ENOMEM. */
int tpi_value_copy(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_value *ret);

#endif
