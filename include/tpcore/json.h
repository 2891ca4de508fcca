/*
 * JSON text (RFC 8259) to values and back. Strict: no comments, no trailing commas, no bare
 * control characters, no invalid UTF-8, no lone surrogates. int64 is kept exactly; other numbers
 * become the nearest double; a number beyond double is refused.
 */
#ifndef TPCORE_JSON_H
#define TPCORE_JSON_H

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

TPC_BEGIN

enum tpc_json_flags {
    TPC_JSON_COPY = 1,             /* copy every text into the arena: the tree outlives the input */
    TPC_JSON_ALLOW_DUPLICATES = 2, /* keep the last of two equal keys instead of refusing */
    TPC_JSON_PRETTY = 4,           /* writing: two blanks of indent and line ends */
    TPC_JSON_HTML_SAFE = 8,        /* writing: < > & as \u003c, as Go's encoder does */
    TPC_JSON_SORTED = 16           /* writing: members in the order of their keys' bytes */
};

enum { TPC_JSON_MAX_DEPTH = 32 }; /* arrays and maps inside one another */

/*
 * Reads one JSON text into a tree. flags: enum tpc_json_flags. Text without escapes is not copied
 * (unless TPC_JSON_COPY): the tree then points into `text`.
 *
 * Returns 0, TPC_EDECODE (err has line, column and, for a duplicate key, path), TPC_ETOOBIG (depth)
 * or TPC_ENOMEM.
 * Ownership: the tree is the arena's (and text's). err may be NULL.
 * Thread: the arena's thread.
 * Since: 0.1
 */
TPC_API int tpc_json_parse(struct tpc_arena *arena, struct tpc_str text, uint32_t flags,
                           struct tpc_error *err, struct tpc_value *ret);

/*
 * Writes a value as JSON text, without NUL. Doubles take the fewest of 15 to 17 digits that read
 * back the same; a whole double has no ".0" lost: 21.0 is written "21.0". Not-a-number and
 * infinity are written null. Blobs are written as base64.
 *
 * Returns 0, TPC_ETOOBIG with buf->need set (ptr NULL and cap 0 just measure), or TPC_EINVAL for a
 * value deeper than TPC_JSON_MAX_DEPTH or of no known type.
 * Ownership: the caller's buffer.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_json_write(const struct tpc_value *v, uint32_t flags, struct tpc_buf *buf);

TPC_END

#endif
