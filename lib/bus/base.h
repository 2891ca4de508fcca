/*
 * What both engines of the log begin with: the newest frames in memory, the cursors, one lock over
 * them. The functions that say `self` stand in the engines' tables as they are.
 */
#ifndef TPI_BUS_BASE_H
#define TPI_BUS_BASE_H

#include "bus/cursor.h"
#include "bus/tape.h"
#include <pthread.h>

/* First member of an engine. */
struct tpi_bus_base {
    pthread_mutex_t lock;
    struct tpi_tape tape;
    struct tpi_cursors cursors;
    uint64_t *ends; /* scratch under the lock: one for each partition */
};

/* First kept offset of a partition; under the lock. */
typedef uint64_t tpi_bus_first_fn(const struct tpi_bus_base *b, uint32_t partition);

int tpi_bus_cursor_open(struct tpi_bus_base *b, const struct tpc_cursor_options *o,
                        tpi_bus_first_fn *first, struct tpc_error *err, uint32_t *ret_cursor);
int tpi_bus_commit(struct tpi_bus_base *b, uint32_t cursor, uint32_t partition, uint64_t offset);

int tpi_bus_cursor_position(void *self, uint32_t cursor, uint32_t partition, uint64_t *ret_offset);
void tpi_bus_cursor_close(void *self, uint32_t cursor, int forget);
int tpi_bus_raise_end(void *self, uint32_t partition, uint64_t offset);
int tpi_bus_cursors(void *self, tpc_cursor_info_fn *fn, void *user);

#endif
