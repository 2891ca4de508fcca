/*
 * Growing byte buffer, and a reader that remembers that it ran over the end. Numbers are
 * little-endian; varint is LEB128 of 64 bits, at most ten bytes.
 */
#ifndef TPI_BASE_BUF_H
#define TPI_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/alloc.h>
#include <tpcore/bytes.h>
#include <tpcore/export.h>

struct tpi_buf {
    const struct tpc_allocator *alloc;
    uint8_t *ptr;
    size_t len;
    size_t cap;
    size_t limit; /* 0 = none; len never passes it */
};

/* alloc NULL = the default. Allocates nothing yet. */
void tpi_buf_init(struct tpi_buf *b, const struct tpc_allocator *alloc, size_t limit);
void tpi_buf_fini(struct tpi_buf *b);

/* len = 0, the memory stays. */
void tpi_buf_clear(struct tpi_buf *b);

/* The content moves to the caller, who frees *ret_cap bytes; the buffer is empty again. NULL if
 * nothing was ever put. */
uint8_t *tpi_buf_steal(struct tpi_buf *b, size_t *ret_len, size_t *ret_cap);

/* All below return 0, TPC_ENOMEM or TPC_ETOOBIG (over limit); on failure the content stays. */

/* Room for n more bytes at ptr + len. */
int tpi_buf_reserve(struct tpi_buf *b, size_t n);
int tpi_buf_put(struct tpi_buf *b, const void *p, size_t n);
int tpi_buf_text(struct tpi_buf *b, struct tpc_str s);
int tpi_buf_u8(struct tpi_buf *b, uint8_t x);
int tpi_buf_u16(struct tpi_buf *b, uint16_t x);
int tpi_buf_u32(struct tpi_buf *b, uint32_t x);
int tpi_buf_u64(struct tpi_buf *b, uint64_t x);
int tpi_buf_varint(struct tpi_buf *b, uint64_t x);
/* Signed: zigzag, then varint. */
int tpi_buf_zigzag(struct tpi_buf *b, int64_t x);
/* Without the NUL. */
int tpi_buf_printf(struct tpi_buf *b, const char *fmt, ...) TPC_PRINTF(2, 3);

/* Number of bytes that tpi_buf_varint() would put: 1..10. */
size_t tpi_varint_size(uint64_t x);

struct tpi_reader {
    const uint8_t *p;
    const uint8_t *end;
    bool bad; /* a read passed the end or a varint was over 64 bits; all later reads give 0 */
};

void tpi_reader_init(struct tpi_reader *r, const void *p, size_t n);
size_t tpi_reader_left(const struct tpi_reader *r);
uint8_t tpi_read_u8(struct tpi_reader *r);
uint16_t tpi_read_u16(struct tpi_reader *r);
uint32_t tpi_read_u32(struct tpi_reader *r);
uint64_t tpi_read_u64(struct tpi_reader *r);
uint64_t tpi_read_varint(struct tpi_reader *r);
int64_t tpi_read_zigzag(struct tpi_reader *r);
/* n bytes, borrowed; NULL if there are fewer. n = 0 gives a pointer that is not NULL.
 * n as it was read: more than a size_t holds is more than there is. */
const uint8_t *tpi_read_bytes(struct tpi_reader *r, uint64_t n);

/* Numbers at an address without a buffer. */
void tpi_put_u16(uint8_t *p, uint16_t x);
void tpi_put_u32(uint8_t *p, uint32_t x);
void tpi_put_u64(uint8_t *p, uint64_t x);
uint16_t tpi_get_u16(const uint8_t *p);
uint32_t tpi_get_u32(const uint8_t *p);
uint64_t tpi_get_u64(const uint8_t *p);

#endif
