/*
 * The table of an engine's named cursors. Every call is made under the engine's lock. Positions
 * never go back; `saved` is what would survive: the log is trimmed only below it.
 */
#ifndef TPI_BUS_CURSOR_H
#define TPI_BUS_CURSOR_H

#include "base/buf.h"
#include <stdbool.h>
#include <tpcore/error.h>
#include <tpcore/ext/bus.h>

enum { TPI_CURSORS_MAX = 256, TPI_CURSOR_NAME_MAX = 64, TPI_CURSOR_FIXED_BYTES = 48 };

struct tpi_cursor {
    char name[TPI_CURSOR_NAME_MAX + 1];
    uint32_t cursor_class;
    uint32_t opened; /* how often; 0 = known from before only */
    uint64_t max_bytes;
    uint64_t max_age_ms;
    uint64_t gap_records;
    uint64_t *offsets;
    uint64_t *saved;
    uint64_t *writing; /* what a save that is on its way writes */
};

struct tpi_cursors {
    const struct tpc_allocator *alloc;
    uint32_t partitions;
    bool instant;   /* nothing is saved later: saved follows at once */
    bool dirty;     /* something has not been saved */
    uint32_t count; /* slots in use, holes too */
    struct tpi_cursor *list[TPI_CURSORS_MAX];
};

void tpi_cursors_init(struct tpi_cursors *cs, const struct tpc_allocator *alloc,
                      uint32_t partitions, bool instant);
void tpi_cursors_fini(struct tpi_cursors *cs);

/* NULL if there is no such cursor. */
struct tpi_cursor *tpi_cursors_get(const struct tpi_cursors *cs, uint32_t index);

/* Finds or makes; a new one stands at 0 everywhere and *ret_fresh is set: the engine places it.
 * Returns 0, TPC_EINVAL (name, class), TPC_ETOOBIG (number of cursors) or TPC_ENOMEM. */
int tpi_cursors_open(struct tpi_cursors *cs, const struct tpc_cursor_options *o,
                     struct tpc_error *err, uint32_t *ret_index, bool *ret_fresh);

/* Sets where a fresh cursor stands. */
void tpi_cursors_place(struct tpi_cursors *cs, struct tpi_cursor *c, uint32_t partition,
                       uint64_t offset);

/* Moves forward; going back changes nothing. */
void tpi_cursors_commit(struct tpi_cursors *cs, struct tpi_cursor *c, uint32_t partition,
                        uint64_t offset);
void tpi_cursors_close(struct tpi_cursors *cs, uint32_t index, bool forget);

/* Whether a hold cursor needs something below ends[partition]: by what is saved, or by where the
 * cursors stand. */
bool tpi_cursors_hold(const struct tpi_cursors *cs, const uint64_t *ends, bool saved);

/* Moves a cursor that stands below firsts[partition], counting the gap. */
void tpi_cursors_lift(struct tpi_cursors *cs, struct tpi_cursor *c, const uint64_t *firsts);

/* Calls fn for all; nexts: the log's end by partition. */
int tpi_cursors_list(const struct tpi_cursors *cs, const uint64_t *nexts, tpc_cursor_info_fn *fn,
                     void *user);

/* The content of a cursor file (docs/format/log.md), and what has been read from one. encode also
 * remembers what it wrote for saved(). decode: TPC_EDECODE (not a cursor file), TPC_EVERSION,
 * TPC_ECONFLICT (of another log), TPC_ENOMEM. */
int tpi_cursors_encode(struct tpi_cursors *cs, const struct tpc_id *log_id, uint64_t generation,
                       struct tpi_buf *out);
int tpi_cursors_decode(struct tpi_cursors *cs, struct tpc_bytes bytes, const struct tpc_id *log_id);

/* Generation of a cursor file, 0 if it is not a good one. */
uint64_t tpi_cursors_generation(struct tpc_bytes bytes);

/* What the last encode() wrote is on stable storage. */
void tpi_cursors_saved(struct tpi_cursors *cs);

#endif
