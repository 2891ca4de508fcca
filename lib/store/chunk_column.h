/*
 * One column on its way into a chunk.
 */
#ifndef TPI_STORE_CHUNK_COLUMN_H
#define TPI_STORE_CHUNK_COLUMN_H

#include "store/chunk_format.h"

enum { KIND_REAL = 255 }; /* of a double: numbers[] holds its bits; else scale of its integer */

struct chunk_column {
    uint16_t property;
    uint8_t type;
    uint32_t count;
    uint32_t rows;
    const uint32_t *row_of; /* NULL = every row has a value */
    int64_t *numbers;       /* bool, int; double by kinds[]; others: where in the open bytes */
    uint8_t *kinds;         /* scratch for all types */
    const uint8_t *open;    /* text and the like: length:varint bytes */
    const uint8_t *open_end;
};

/* Appends the body of a column to b. Changes numbers[] and kinds[]. Returns 0 or TPC_ENOMEM,
 * TPC_ETOOBIG. */
int tpi_chunk_column_put(struct tpi_buf *b, struct chunk_column *c);

#endif
