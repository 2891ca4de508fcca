/*
 * Dead letters: records of kind TPC_MSG_DEAD_LETTER in the log itself, body of data/msg.h with raw
 * and params {"code", "reason", "origin", "topic", "product", "device", "line"}, all optional.
 * (partition, offset) names one. A tombstone in the same partition takes one off the list.
 */
#ifndef TPI_BUS_DEAD_H
#define TPI_BUS_DEAD_H

#include "base/buf.h"
#include <tpcore/ext/bus.h>
#include <tpcore/stream.h>

enum {
    TPI_MSG_TOMBSTONE = 16, /* params {"partition", "offset"} */
    TPI_DEAD_ORIGIN_MAX = 256
};

/* What a dead letter is made of. Empty texts and a line of 0 are left out. */
struct tpi_dead {
    struct tpc_bytes raw;
    int32_t code;
    uint32_t line; /* of a script */
    struct tpc_str reason;
    struct tpc_str origin; /* adapter instance */
    struct tpc_str topic;
    struct tpc_str product;
    struct tpc_str device;
};

/* Appends the body of a DEAD_LETTER record. Returns 0, TPC_ENOMEM or TPC_ETOOBIG. */
int tpi_dead_encode(const struct tpi_dead *dead, struct tpi_buf *out);

/* Appends the body of a tombstone record. Returns 0, TPC_ENOMEM or TPC_ETOOBIG. */
int tpi_dead_encode_tombstone(uint32_t partition, uint64_t offset, struct tpi_buf *out);

/* Calls fn for every letter that is kept and has no tombstone, oldest first in each partition.
 * Reads the log twice; any thread. Returns 0, what fn returned, TPC_ENOMEM or what read() returned.
 */
int tpi_dead_list(const struct tpc_bus_ops *ops, void *self, const struct tpc_allocator *alloc,
                  uint32_t partitions, tpc_dead_letter_fn *fn, void *user);

/* Calls fn with one letter, its views valid meanwhile. Returns what fn returned, TPC_ENOENT (no
 * such letter, or it has a tombstone), TPC_ENOMEM or what read() returned. */
int tpi_dead_find(const struct tpc_bus_ops *ops, void *self, const struct tpc_allocator *alloc,
                  uint32_t partition, uint64_t offset, tpc_dead_letter_fn *fn, void *user);

/* Appends a tombstone; on the thread that appends to the partition. Returns 0, TPC_ENOENT, or what
 * append() returned. */
int tpi_dead_bury(const struct tpc_bus_ops *ops, void *self, const struct tpc_allocator *alloc,
                  uint32_t partition, uint64_t offset, int64_t unix_ms, struct tpc_error *err);

#endif
