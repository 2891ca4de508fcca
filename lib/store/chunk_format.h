/*
 * What the files of the chunk format share: docs/format/history.md.
 */
#ifndef TPI_STORE_CHUNK_FORMAT_H
#define TPI_STORE_CHUNK_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "store/chunk.h"

enum {
    CHUNK_MAGIC_1 = 0xC7, /* version 1 */
    CHUNK_MAGIC = 0xC8,   /* later ones */
    CHUNK_HEAD_BYTES = 6, /* magic, version, CRC */
    CHUNK_TYPE_BITS = 3,  /* column key = property << 3 | type */
    CHUNK_TYPE_MASK = 7,
    CHUNK_FULL = 1, /* count << 1 | 1: every row has a value, no bitmap */
    CHUNK_GROUP = 64,
    CHUNK_MAX_DEPTH = 32,
    CHUNK_MAX_SCALE = 18,
    VARINT_BYTES = 10,
    /* coding byte of a column */
    CODE_BITS = 0, /* bool: one bit each; or runs, the first one of false, of true */
    CODE_RUNS = 1,
    CODE_RUNS_TRUE = 2,
    CODE_INTS = 0, /* int: sum as an integer, or as a double */
    CODE_INTS_WIDE = 1,
    CODE_PLAIN = 0, /* text, blob, trees */
    CODE_DICTIONARY = 1,
    DICTIONARY_MOST = 64, /* different values; more are seldom a dictionary */
    CODE_SCALE_MASK = 31, /* double: integers over 10^scale, */
    CODE_PATCHED = 32,    /* with exceptions, */
    CODE_REAL = 64,       /* or ordered bits, */
    CODE_REAL_NAN = 65,   /* some of which are no number */
    /* tag byte of an open sample */
    OPEN_TYPE_MASK = 7,
    OPEN_TIME = 8, /* 8 bytes of time follow the tag */
    OPEN_ROW = 16, /* a row of shape number tag & 3 */
    OPEN_SHAPE_MASK = 3,
    OPEN_DEFINE = 32, /* a shape */
    OPEN_RESET = 33,  /* no shape is known from here on */
};

/* ---- streams of integers (chunk_ints.c) ---- */

enum { INTS_BLOCK = 16, INTS_SLACK = 8 };

/* Bytes that tpi_chunk_ints_put() may take, its scratch at the end included. */
static inline size_t chunk_ints_bound(size_t count)
{
    return (count / INTS_BLOCK + 1) * (1 + VARINT_BYTES + INTS_BLOCK * sizeof(int64_t)) +
           INTS_SLACK;
}

/* before: what stands in front of v[0]; 0 or the first value of the column. Returns the end. */
uint8_t *tpi_chunk_ints_put(uint8_t *out, const int64_t *v, uint32_t count, int64_t before);

struct chunk_ints {
    struct tpi_reader in;
    uint32_t left;
    uint32_t run; /* values of a run that are still to come */
    int64_t before;
};

/* Reading: bytes hold `count` integers and nothing else. */
void tpi_chunk_ints_init(struct chunk_ints *s, struct tpc_bytes bytes, uint32_t count,
                         int64_t before);
/* The next block: its number of integers, INTS_BLOCK at most; 0 if it runs over the end or is none
 * of the format. Not to be called with left == 0. */
uint32_t tpi_chunk_ints_next(struct chunk_ints *s, int64_t *ret);
/* Whether all of them were read, and all bytes. */
bool tpi_chunk_ints_done(const struct chunk_ints *s);

/* ---- decimals and ordered bits ---- */

static const double chunk_powers[CHUNK_MAX_SCALE + 1] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,
                                                          1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13,
                                                          1e14, 1e15, 1e16, 1e17, 1e18 };

static inline uint64_t chunk_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static inline double chunk_double(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* 2^48: beyond, nearly every double is some integer over a power of ten, by chance. */
#define CHUNK_DECIMAL_LIMIT 281474976710656.0

/*
 * The integer n for which (double) n / 10^scale is x, bit for bit; false if there is none. Adding
 * and taking away 1.5 * 2^52 rounds to the next integer; whether that was right, the quotient says.
 */
static inline bool chunk_decimal(double x, uint32_t scale, int64_t *ret)
{
    const double round = 6755399441055744.0;
    double scaled = x * chunk_powers[scale];
    if (!(scaled > -CHUNK_DECIMAL_LIMIT && scaled < CHUNK_DECIMAL_LIMIT)) {
        return false;
    }
    double whole = (scaled + round) - round;
    if (chunk_bits(whole / chunk_powers[scale]) != chunk_bits(x)) {
        return false;
    }
    *ret = (int64_t) whole;
    return true;
}

/* Bits of a double, without `shift` zeros at their end, as an integer that has the order of the
 * doubles; and back. */
static inline int64_t chunk_order(uint64_t bits, uint32_t shift)
{
    int64_t x = (int64_t) bits >> shift;
    return x < 0 ? x ^ (INT64_MAX >> shift) : x;
}

static inline uint64_t chunk_unorder(int64_t x, uint32_t shift)
{
    return (uint64_t) (x < 0 ? x ^ (INT64_MAX >> shift) : x) << shift;
}

static inline uint64_t chunk_zigzag(int64_t x)
{
    return (uint64_t) x << 1 ^ (uint64_t) (x >> 63);
}

static inline int64_t chunk_unzigzag(uint64_t x)
{
    return (int64_t) (x >> 1 ^ (0 - (x & 1)));
}

/* Puts where room for VARINT_BYTES is. Returns the end. */
static inline uint8_t *chunk_varint(uint8_t *out, uint64_t x)
{
    while (x >= 0x80) {
        *out++ = (uint8_t) (x | 0x80);
        x >>= 7;
    }
    *out++ = (uint8_t) x;
    return out;
}

/* tpi_read_varint() for numbers that mostly take one byte. */
static inline uint64_t chunk_read_varint(struct tpi_reader *in)
{
    if (in->p < in->end && *in->p < 0x80 && !in->bad) {
        return *in->p++;
    }
    if (in->end - in->p >= 2 && in->p[1] < 0x80 && !in->bad) {
        uint64_t x = (uint64_t) (in->p[0] & 0x7f) | (uint64_t) in->p[1] << 7;
        in->p += 2;
        return x;
    }
    return tpi_read_varint(in);
}

static inline int64_t chunk_read_zigzag(struct tpi_reader *in)
{
    return chunk_unzigzag(chunk_read_varint(in));
}

static inline bool chunk_bit(const uint8_t *p, uint32_t i)
{
    return (p[i / 8] >> (i % 8) & 1) != 0;
}

static inline double chunk_read_double(struct tpi_reader *in)
{
    return chunk_double(tpi_read_u64(in));
}

/* ---- version 1 (chunk_old.c) ---- */

enum { CODE_OLD = 255 }; /* integers and doubles as version 1 has them */

/* The times: in stands behind the first one, and then behind the last. */
int tpi_chunk_old_skip_times(struct tpi_chunk_reader *r, struct tpc_error *err);
int tpi_chunk_old_times(const struct tpi_chunk_reader *r, struct tpc_error *err, int64_t *ret);
/* The statistics of a column; in then stands at its values. */
int tpi_chunk_old_column(struct tpi_reader *in, struct tpc_error *err, struct tpi_chunk_column *c);

#endif
