/*
 * Numbers of the chunk format that its writer and its reader share: docs/format/history.md.
 */
#ifndef TPI_STORE_CHUNK_FORMAT_H
#define TPI_STORE_CHUNK_FORMAT_H

enum {
    CHUNK_MAGIC = 0xC7,
    CHUNK_TYPE_BITS = 3, /* column key = property << 3 | type */
    CHUNK_TYPE_MASK = 7,
    CHUNK_FULL = 1, /* count << 1 | 1: every row has a value, no bitmap */
    CHUNK_MAX_DEPTH = 32,
    /* tag byte of an open sample */
    OPEN_TYPE_MASK = 7,
    OPEN_TIME = 8 /* 8 bytes of time follow the tag */
};

#endif
