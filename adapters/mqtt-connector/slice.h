/*
 * Slices of bytes as Python takes them: [a:b] [a:] [:b] [:] [i], negative numbers from the end. A range
 * beyond the bytes is cut to them; an index beyond them is none.
 */
#ifndef CONNECTOR_SLICE_H
#define CONNECTOR_SLICE_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>

struct slice {
    bool has_from, has_to, single; /* single: the byte at `from` */
    int64_t from, to;
};

/* The slice that stands at the begin of text; *ret_len = its length. False: there is none, it is text. */
bool slice_parse(struct tpc_str text, struct slice *ret, size_t *ret_len);

/* The bytes of it, a view. False: an index beyond the end. */
bool slice_take(const struct slice *s, struct tpc_bytes bytes, struct tpc_bytes *ret);

#endif
