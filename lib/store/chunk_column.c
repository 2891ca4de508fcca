/*
 * Bodies of columns: docs/format/history.md, "Columns".
 */
#include "store/chunk_column.h"

#include <math.h>

enum {

    DICTIONARY_VALUE_MOST = 1024, /* bytes of one */
    PATCH_SHARE = 4,              /* a decimal column has less than a quarter of exceptions */
    DECIMALS_MOST = 1 << 14,      /* distances below 2^49 whose sum stays within 64 bits */
    HEAD_BYTES = 8 * VARINT_BYTES
};

static void put_end(struct tpi_buf *b, const uint8_t *end)
{
    b->len = (size_t) (end - b->ptr);
}

static uint8_t *put_number(uint8_t *out, double x)
{
    tpi_put_u64(out, chunk_bits(x));
    return out + sizeof(x);
}

static int put_bitmap(struct tpi_buf *b, const struct chunk_column *c)
{
    size_t n = ((size_t) c->rows + 7) / 8;
    int rc = tpi_buf_reserve(b, n);
    if (rc != 0) {
        return rc;
    }
    uint8_t *p = b->ptr + b->len;
    memset(p, 0, n);
    for (uint32_t i = 0; i < c->count; i++) {
        p[c->row_of[i] / 8] |= (uint8_t) (1u << (c->row_of[i] % 8));
    }
    b->len += n;
    return 0;
}

/* ---- truth values ---- */

static int put_bools(struct tpi_buf *b, const struct chunk_column *c)
{
    size_t bits = ((size_t) c->count + 7) / 8;
    int rc = tpi_buf_reserve(b, 2 * bits + VARINT_BYTES + 1);
    if (rc != 0) {
        return rc;
    }
    uint8_t *begin = b->ptr + b->len;
    uint8_t *out = begin;
    uint64_t run = 0;
    *out++ = c->numbers[0] != 0 ? CODE_RUNS_TRUE : CODE_RUNS;
    for (uint32_t i = 0; i < c->count && (size_t) (out - begin) <= bits; i++) {
        run++;
        if (i + 1 == c->count || c->numbers[i + 1] != c->numbers[i]) {
            out = chunk_varint(out, run);
            run = 0;
        }
    }
    if (run != 0 || (size_t) (out - begin) > bits) {
        *begin = CODE_BITS;
        memset(begin + 1, 0, bits);
        for (uint32_t i = 0; i < c->count; i++) {
            begin[1 + i / 8] |= (uint8_t) ((c->numbers[i] != 0 ? 1u : 0u) << (i % 8));
        }
        out = begin + 1 + bits;
    }
    put_end(b, out);
    return 0;
}

/* ---- integers and decimals ---- */

struct totals {
    int64_t min;
    int64_t max;
    int64_t sum; /* of the distances from the first */
    bool fits;   /* sum is within 64 bits */
};

/* kinds NULL = all count; else those that are no exception. */
static struct totals add_up(const int64_t *v, const uint8_t *kinds, uint32_t count)
{
    struct totals t = { v[0], v[0], 0, true };
    for (uint32_t i = 0; i < count; i++) {
        int64_t d;
        if (kinds != NULL && kinds[i] == KIND_REAL) {
            continue;
        }
        t.min = v[i] < t.min ? v[i] : t.min;
        t.max = v[i] > t.max ? v[i] : t.max;
        if (__builtin_sub_overflow(v[i], v[0], &d) || __builtin_add_overflow(t.sum, d, &t.sum)) {
            t.fits = false;
        }
    }
    return t;
}

static double sum_ints(const int64_t *v, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (double) v[i];
    }
    return sum;
}

/* first [last low high], the last three as distances from the first */
static uint8_t *put_ends(uint8_t *out, const int64_t *v, uint32_t count, const struct totals *t)
{
    uint64_t first = (uint64_t) v[0];
    out = chunk_varint(out, chunk_zigzag(v[0]));
    if (count > 1) {
        out = chunk_varint(out, chunk_zigzag((int64_t) ((uint64_t) v[count - 1] - first)));
        out = chunk_varint(out, first - (uint64_t) t->min);
        out = chunk_varint(out, (uint64_t) t->max - first);
    }
    return out;
}

static int put_ints(struct tpi_buf *b, const struct chunk_column *c)
{
    int rc = tpi_buf_reserve(b, HEAD_BYTES + chunk_ints_bound(c->count));
    if (rc != 0) {
        return rc;
    }
    struct totals t = add_up(c->numbers, NULL, c->count);
    uint8_t *out = b->ptr + b->len;
    *out++ = t.fits ? CODE_INTS : CODE_INTS_WIDE;
    out = put_ends(out, c->numbers, c->count, &t);
    if (c->count > 1) {
        out = t.fits ? chunk_varint(out, chunk_zigzag(t.sum))
                     : put_number(out, sum_ints(c->numbers, c->count));
    }
    put_end(b, tpi_chunk_ints_put(out, c->numbers + 1, c->count - 1, c->numbers[0]));
    return 0;
}

/* ---- doubles ---- */

static double double_of(int64_t number, uint8_t kind)
{
    return kind == KIND_REAL ? chunk_double((uint64_t) number)
                             : (double) number / chunk_powers[kind];
}

/* Brings the decimals of a column to one scale, as many as keep their bits. Returns the number of
 * exceptions. */
static uint32_t rescale(struct chunk_column *c, uint32_t scale)
{
    uint32_t exceptions = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        uint8_t kind = c->kinds[i];
        int64_t n;
        if (kind == scale) {
            continue;
        }
        if (chunk_decimal(double_of(c->numbers[i], kind), scale, &n)) {
            c->numbers[i] = n;
            c->kinds[i] = (uint8_t) scale;
        } else {
            c->numbers[i] = (int64_t) chunk_bits(double_of(c->numbers[i], kind));
            c->kinds[i] = KIND_REAL;
            exceptions++;
        }
    }
    return exceptions;
}

/* Exceptions of a decimal column; their places in it then repeat the first decimal. */
static uint8_t *put_patches(uint8_t *out, struct chunk_column *c, uint32_t exceptions)
{
    uint32_t from = 0;
    uint32_t usual = 0;
    while (c->kinds[usual] == KIND_REAL) {
        usual++;
    }
    out = chunk_varint(out, exceptions);
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->kinds[i] == KIND_REAL) {
            out = chunk_varint(out, i - from);
            tpi_put_u64(out, (uint64_t) c->numbers[i]);
            out += sizeof(uint64_t);
            from = i;
            c->numbers[i] = c->numbers[usual];
        }
    }
    return out;
}

static int put_decimals(struct tpi_buf *b, struct chunk_column *c, uint32_t scale,
                        uint32_t exceptions)
{
    int rc = tpi_buf_reserve(b, HEAD_BYTES + chunk_ints_bound(c->count) +
                                    exceptions * (VARINT_BYTES + sizeof(uint64_t)));
    if (rc != 0) {
        return rc;
    }
    uint8_t *out = b->ptr + b->len;
    *out++ = (uint8_t) (scale | (exceptions > 0 ? CODE_PATCHED : 0));
    if (exceptions > 0) {
        out = put_patches(out, c, exceptions);
    }
    struct totals t = add_up(c->numbers, exceptions > 0 ? c->kinds : NULL, c->count);
    out = put_ends(out, c->numbers, c->count, &t);
    if (c->count > 1) {
        out = chunk_varint(out, chunk_zigzag(t.sum));
    }
    put_end(b, tpi_chunk_ints_put(out, c->numbers + 1, c->count - 1, c->numbers[0]));
    return 0;
}

/* Turns numbers[] into ordered bits. Returns their shift. */
static uint32_t to_order(struct chunk_column *c)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        c->numbers[i] = (int64_t) chunk_bits(double_of(c->numbers[i], c->kinds[i]));
        all |= (uint64_t) c->numbers[i];
    }
    uint32_t shift = all == 0 ? 0 : (uint32_t) __builtin_ctzll(all);
    for (uint32_t i = 0; i < c->count; i++) {
        c->numbers[i] = chunk_order((uint64_t) c->numbers[i], shift);
    }
    return shift;
}

static int put_reals(struct tpi_buf *b, struct chunk_column *c)
{
    int rc = tpi_buf_reserve(b, HEAD_BYTES + chunk_ints_bound(c->count));
    if (rc != 0) {
        return rc;
    }
    uint32_t shift = to_order(c);
    uint8_t *out = b->ptr + b->len;
    bool odd = false;
    double sum = 0;
    int64_t *v = c->numbers;
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    for (uint32_t i = 0; i < c->count; i++) {
        double x = chunk_double(chunk_unorder(v[i], shift));
        if (isnan(x)) {
            odd = true;
            continue;
        }
        sum += x;
        min = v[i] < min ? v[i] : min;
        max = v[i] > max ? v[i] : max;
    }
    if (min > max) { /* no number at all */
        min = max = v[0];
    }
    uint64_t first = (uint64_t) v[0];
    *out++ = odd ? CODE_REAL_NAN : CODE_REAL;
    *out++ = (uint8_t) shift;
    out = put_number(out, chunk_double(chunk_unorder(v[0], shift)));
    if (c->count > 1) {
        out = chunk_varint(out, chunk_zigzag((int64_t) ((uint64_t) v[c->count - 1] - first)));
        out = chunk_varint(out, chunk_zigzag((int64_t) ((uint64_t) min - first)));
        out = chunk_varint(out, chunk_zigzag((int64_t) ((uint64_t) max - first)));
        out = put_number(out, sum);
    }
    put_end(b, tpi_chunk_ints_put(out, v + 1, c->count - 1, v[0]));
    return 0;
}

static int put_doubles(struct tpi_buf *b, struct chunk_column *c)
{
    uint32_t scale = 0;
    uint32_t reals = 0;
    bool even = true;
    for (uint32_t i = 0; i < c->count; i++) {
        uint8_t kind = c->kinds[i];
        even = even && kind == c->kinds[0];
        reals += kind == KIND_REAL;
        scale = kind != KIND_REAL && kind > scale ? kind : scale;
    }
    bool decimal = reals < c->count && c->count < DECIMALS_MOST;
    uint32_t exceptions = decimal && !even ? rescale(c, scale) : 0;
    if (decimal && (exceptions == 0 || exceptions < c->count / PATCH_SHARE)) {
        return put_decimals(b, c, scale, exceptions);
    }
    return put_reals(b, c);
}

/* ---- text, bytes, trees ---- */

static struct tpc_bytes value_at(const struct chunk_column *c, int64_t at)
{
    struct tpi_reader in;
    const uint8_t *p = c->open + at;
    tpi_reader_init(&in, p, (size_t) (c->open_end - p));
    size_t len = (size_t) tpi_read_varint(&in);
    return (struct tpc_bytes){ in.p, len };
}

static bool same(struct tpc_bytes a, struct tpc_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

struct dictionary {
    struct tpc_bytes values[DICTIONARY_MOST];
    uint32_t count;
    size_t bytes;       /* of its values */
    size_t plain_bytes; /* of the column without it */
};

/* Finds the different values; the place of each one goes to kinds[]. Returns false if there are too
 * many of them, or one is too long. */
static bool collect(struct dictionary *d, const struct chunk_column *c)
{
    uint32_t k = 0;
    d->count = 0;
    d->bytes = 0;
    d->plain_bytes = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct tpc_bytes v = value_at(c, c->numbers[i]);
        if (v.len > DICTIONARY_VALUE_MOST) {
            return false;
        }
        if (d->count == 0 || !same(d->values[k], v)) {
            for (k = 0; k < d->count && !same(d->values[k], v); k++) {
            }
        }
        if (k == DICTIONARY_MOST) {
            return false;
        }
        d->plain_bytes += tpi_varint_size(v.len) + v.len;
        if (k == d->count) {
            d->values[d->count++] = v;
            d->bytes += tpi_varint_size(v.len) + v.len;
        }
        c->kinds[i] = (uint8_t) k;
    }
    return true;
}

static int put_dictionary(struct tpi_buf *b, const struct chunk_column *c,
                          const struct dictionary *d)
{
    int rc = tpi_buf_reserve(b, HEAD_BYTES + d->bytes + chunk_ints_bound(c->count));
    if (rc != 0) {
        return rc;
    }
    uint8_t *out = b->ptr + b->len;
    *out++ = CODE_DICTIONARY;
    out = chunk_varint(out, d->count);
    for (uint32_t i = 0; i < d->count; i++) {
        out = chunk_varint(out, d->values[i].len);
        if (d->values[i].len > 0) {
            memcpy(out, d->values[i].ptr, d->values[i].len);
        }
        out += d->values[i].len;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        c->numbers[i] = c->kinds[i];
    }
    put_end(b, tpi_chunk_ints_put(out, c->numbers, c->count, 0));
    return 0;
}

static int put_bytes(struct tpi_buf *b, const struct chunk_column *c)
{
    struct dictionary d;
    /* a block of 16 places takes 13 bytes at most: six bits each and a head */
    if (collect(&d, c) && d.bytes + c->count < d.plain_bytes) {
        return put_dictionary(b, c, &d);
    }
    int rc = tpi_buf_u8(b, CODE_PLAIN);
    for (uint32_t i = 0; rc == 0 && i < c->count; i++) {
        struct tpc_bytes v = value_at(c, c->numbers[i]);
        rc = tpi_buf_varint(b, v.len);
        rc = rc != 0 ? rc : tpi_buf_put(b, v.ptr, v.len);
    }
    return rc;
}

int tpi_chunk_column_put(struct tpi_buf *b, struct chunk_column *c)
{
    int rc = c->row_of != NULL ? put_bitmap(b, c) : 0;
    if (rc != 0) {
        return rc;
    }
    switch (c->type) {
    case TPC_NULL:
        return 0;
    case TPC_BOOL:
        return put_bools(b, c);
    case TPC_INT:
        return put_ints(b, c);
    case TPC_DOUBLE:
        return put_doubles(b, c);
    default:
        return put_bytes(b, c);
    }
}
