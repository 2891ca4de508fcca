#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/error.h>

#include "base/alloc.h"

enum { FIRST_BYTES = 64, VARINT_BYTES = 10 };

void tpi_buf_init(struct tpi_buf *b, const struct tpc_allocator *alloc, size_t limit)
{
    *b = (struct tpi_buf){ .alloc = alloc, .limit = limit };
}

void tpi_buf_fini(struct tpi_buf *b)
{
    tpi_free(b->alloc, b->ptr, b->cap);
    b->ptr = NULL;
    b->len = 0;
    b->cap = 0;
}

void tpi_buf_clear(struct tpi_buf *b)
{
    b->len = 0;
}

uint8_t *tpi_buf_steal(struct tpi_buf *b, size_t *ret_len, size_t *ret_cap)
{
    uint8_t *p = b->ptr;
    *ret_len = b->len;
    *ret_cap = b->cap;
    b->ptr = NULL;
    b->len = 0;
    b->cap = 0;
    return p;
}

int tpi_buf_reserve(struct tpi_buf *b, size_t n)
{
    size_t most = b->limit != 0 ? b->limit : SIZE_MAX / 2;
    if (b->len > most || n > most - b->len) {
        return TPC_ETOOBIG;
    }
    if (n <= b->cap - b->len) {
        return 0;
    }
    size_t need = b->len + n;
    size_t cap = b->cap != 0 ? b->cap : FIRST_BYTES < most ? FIRST_BYTES : most;
    while (cap < need) {
        cap = cap > most / 2 ? most : cap * 2;
    }
    uint8_t *p = tpi_resize(b->alloc, b->ptr, b->cap, cap);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    b->ptr = p;
    b->cap = cap;
    return 0;
}

int tpi_buf_put(struct tpi_buf *b, const void *p, size_t n)
{
    if (n == 0) {
        return 0;
    }
    int rc = tpi_buf_reserve(b, n);
    if (rc == 0) {
        memcpy(b->ptr + b->len, p, n);
        b->len += n;
    }
    return rc;
}

int tpi_buf_text(struct tpi_buf *b, struct tpc_str s)
{
    return tpi_buf_put(b, s.ptr, s.len);
}

int tpi_buf_u8(struct tpi_buf *b, uint8_t x)
{
    return tpi_buf_put(b, &x, 1);
}

int tpi_buf_u16(struct tpi_buf *b, uint16_t x)
{
    uint8_t p[2];
    tpi_put_u16(p, x);
    return tpi_buf_put(b, p, sizeof(p));
}

int tpi_buf_u32(struct tpi_buf *b, uint32_t x)
{
    uint8_t p[4];
    tpi_put_u32(p, x);
    return tpi_buf_put(b, p, sizeof(p));
}

int tpi_buf_u64(struct tpi_buf *b, uint64_t x)
{
    uint8_t p[8];
    tpi_put_u64(p, x);
    return tpi_buf_put(b, p, sizeof(p));
}

int tpi_buf_varint(struct tpi_buf *b, uint64_t x)
{
    uint8_t p[VARINT_BYTES];
    size_t n = 0;
    while (x >= 0x80) {
        p[n++] = (uint8_t) (x | 0x80);
        x >>= 7;
    }
    p[n++] = (uint8_t) x;
    return tpi_buf_put(b, p, n);
}

int tpi_buf_zigzag(struct tpi_buf *b, int64_t x)
{
    return tpi_buf_varint(b, ((uint64_t) x << 1) ^ (x < 0 ? UINT64_MAX : 0));
}

int tpi_buf_printf(struct tpi_buf *b, const char *fmt, ...)
{
    char small[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    if (n < 0) {
        return TPC_EINVAL;
    }
    size_t len = (size_t) n;
    if (len < sizeof(small)) {
        return tpi_buf_put(b, small, len);
    }
    if (b->limit != 0 && (b->len > b->limit || len > b->limit - b->len)) {
        return TPC_ETOOBIG;
    }
    /* The NUL needs a byte more than the content, also at the limit. */
    size_t limit = b->limit;
    b->limit = 0;
    int rc = tpi_buf_reserve(b, len + 1);
    b->limit = limit;
    if (rc == 0) {
        va_start(args, fmt);
        vsnprintf((char *) b->ptr + b->len, len + 1, fmt, args);
        va_end(args);
        b->len += len;
    }
    return rc;
}

size_t tpi_varint_size(uint64_t x)
{
    size_t n = 1;
    while (x >= 0x80) {
        x >>= 7;
        n++;
    }
    return n;
}

/* ---- reader ---- */

void tpi_reader_init(struct tpi_reader *r, const void *p, size_t n)
{
    static const uint8_t nothing;
    r->p = p != NULL ? p : &nothing;
    r->end = r->p + (p != NULL ? n : 0);
    r->bad = false;
}

size_t tpi_reader_left(const struct tpi_reader *r)
{
    return r->bad ? 0 : (size_t) (r->end - r->p);
}

const uint8_t *tpi_read_bytes(struct tpi_reader *r, uint64_t n)
{
    if (r->bad || n > (uint64_t) (r->end - r->p)) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += (size_t) n;
    return p;
}

uint8_t tpi_read_u8(struct tpi_reader *r)
{
    const uint8_t *p = tpi_read_bytes(r, 1);
    return p != NULL ? *p : 0;
}

uint16_t tpi_read_u16(struct tpi_reader *r)
{
    const uint8_t *p = tpi_read_bytes(r, 2);
    return p != NULL ? tpi_get_u16(p) : 0;
}

uint32_t tpi_read_u32(struct tpi_reader *r)
{
    const uint8_t *p = tpi_read_bytes(r, 4);
    return p != NULL ? tpi_get_u32(p) : 0;
}

uint64_t tpi_read_u64(struct tpi_reader *r)
{
    const uint8_t *p = tpi_read_bytes(r, 8);
    return p != NULL ? tpi_get_u64(p) : 0;
}

uint64_t tpi_read_varint(struct tpi_reader *r)
{
    uint64_t x = 0;
    for (unsigned int i = 0; i < VARINT_BYTES && !r->bad; i++) {
        uint8_t c = tpi_read_u8(r);
        if (i == VARINT_BYTES - 1 && c > 1) {
            break;
        }
        x |= (uint64_t) (c & 0x7f) << (7 * i);
        if (c < 0x80) {
            return r->bad ? 0 : x;
        }
    }
    r->bad = true;
    return 0;
}

int64_t tpi_read_zigzag(struct tpi_reader *r)
{
    uint64_t x = tpi_read_varint(r);
    return (int64_t) ((x >> 1) ^ (0 - (x & 1)));
}

/* ---- numbers at an address; compilers make one load or store of each ---- */

void tpi_put_u16(uint8_t *p, uint16_t x)
{
    p[0] = (uint8_t) x;
    p[1] = (uint8_t) (x >> 8);
}

void tpi_put_u32(uint8_t *p, uint32_t x)
{
    for (unsigned int i = 0; i < 4; i++) {
        p[i] = (uint8_t) (x >> (8 * i));
    }
}

void tpi_put_u64(uint8_t *p, uint64_t x)
{
    for (unsigned int i = 0; i < 8; i++) {
        p[i] = (uint8_t) (x >> (8 * i));
    }
}

uint16_t tpi_get_u16(const uint8_t *p)
{
    return (uint16_t) (p[0] | p[1] << 8);
}

uint32_t tpi_get_u32(const uint8_t *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

uint64_t tpi_get_u64(const uint8_t *p)
{
    return (uint64_t) tpi_get_u32(p) | (uint64_t) tpi_get_u32(p + 4) << 32;
}
