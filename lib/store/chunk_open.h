/*
 * Shapes of rows: what the writer of open samples and the encoder, who reads them, both keep.
 */
#ifndef TPI_STORE_CHUNK_OPEN_H
#define TPI_STORE_CHUNK_OPEN_H

#include "store/chunk_format.h"

enum { OPEN_REAL = 3 }; /* code of a double of which all bits follow */

/* Forgets all shapes and frees their memory. */
void tpi_chunk_shapes_fini(struct tpi_chunk_shapes *s, const struct tpc_allocator *alloc);

/* A new shape of `count` columns, zeroed. Returns 0, TPC_ETOOBIG or TPC_ENOMEM. */
int tpi_chunk_shapes_add(struct tpi_chunk_shapes *s, const struct tpc_allocator *alloc,
                         uint32_t count, struct tpi_chunk_shape_column **ret);

#endif
