/*
 * CBOR (RFC 8949) to values and back. Reading streams: a header that promises more items than bytes
 * remain is refused before anything is allocated. Tags are read over; indefinite lengths are
 * accepted; map keys must be text or integers (an integer key becomes its decimal text).
 */
#ifndef TPCORE_CBOR_H
#define TPCORE_CBOR_H

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

TPC_BEGIN

/*
 * Reads one CBOR item into a tree; bytes after it are an error. Definite text and blobs point into
 * `bytes`.
 *
 * Returns 0, TPC_EDECODE (err.column = offset + 1 of the fault), TPC_ETOOBIG (deeper than 32) or
 * TPC_ENOMEM.
 * Ownership: the tree is the arena's (and bytes'). err may be NULL.
 * Thread: the arena's thread.
 * Since: 0.1
 */
TPC_API int tpc_cbor_parse(struct tpc_arena *arena, struct tpc_bytes bytes, struct tpc_error *err,
                           struct tpc_value *ret);

/*
 * Writes a value as CBOR: definite lengths, shortest integers, doubles as float64.
 *
 * Returns 0, TPC_ETOOBIG with buf->need set, or TPC_EINVAL (deeper than 32, or of no known type).
 * Ownership: the caller's buffer.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_cbor_write(const struct tpc_value *v, struct tpc_buf *buf);

TPC_END

#endif
