#include "store/chunk.h"

#include <math.h>
#include <string.h>
#include <tpcore/cbor.h>

#include "base/error.h"
#include "store/chunk_format.h"

static int corrupt(struct tpc_error *err, const char *what)
{
    return tpi_error_set(err, TPC_ECORRUPT, "chunk", "%s", what);
}

/* ---- head ---- */

int tpi_chunk_open(struct tpi_chunk_reader *r, struct tpc_bytes blob, struct tpc_error *err)
{
    struct tpi_reader *in = &r->in;
    memset(r, 0, sizeof(*r));
    tpi_reader_init(in, blob.ptr, blob.len);
    uint8_t magic = tpi_read_u8(in);
    uint8_t version = tpi_read_u8(in);
    if (in->bad || magic != CHUNK_MAGIC) {
        return corrupt(err, "these bytes are no chunk");
    }
    if (version == 0 || version > TPI_CHUNK_VERSION) {
        return tpi_error_set(err, TPC_EVERSION, "chunk",
                             "chunk has format %u, this library reads up to %d", version,
                             TPI_CHUNK_VERSION);
    }
    uint64_t rows = tpi_read_varint(in);
    uint64_t columns = tpi_read_varint(in);
    uint64_t first = tpi_read_varint(in);
    uint64_t span = tpi_read_varint(in);
    int64_t at = tpi_read_zigzag(in);
    /* every row but the first takes a byte, every column three */
    if (in->bad || rows == 0 || columns == 0 || span > UINT64_MAX - first ||
        rows - 1 > tpi_reader_left(in) || columns > tpi_reader_left(in) / 3) {
        return corrupt(err, "the head of the chunk does not hold");
    }
    r->span = (struct tpi_chunk_span){ .rows = (uint32_t) rows,
                                       .first_unix_ms = at,
                                       .first_offset = first,
                                       .last_offset = first + span };
    r->columns = (uint32_t) columns;
    r->times.ptr = in->p;
    for (uint64_t i = 1; i < rows; i++) {
        uint64_t delta = tpi_read_varint(in);
        if (in->bad || delta == 0 || delta > (uint64_t) INT64_MAX - (uint64_t) at) {
            return corrupt(err, "the times of the chunk do not rise");
        }
        at = (int64_t) ((uint64_t) at + delta);
    }
    r->times.len = (size_t) (in->p - r->times.ptr);
    r->span.last_unix_ms = at;
    return 0;
}

int tpi_chunk_times(const struct tpi_chunk_reader *r, struct tpc_error *err, int64_t *ret)
{
    struct tpi_reader in;
    tpi_reader_init(&in, r->times.ptr, r->times.len);
    uint64_t at = (uint64_t) r->span.first_unix_ms;
    ret[0] = r->span.first_unix_ms;
    for (uint32_t i = 1; i < r->span.rows; i++) {
        at += tpi_read_varint(&in);
        ret[i] = (int64_t) at;
    }
    return in.bad ? corrupt(err, "the times of the chunk are cut") : 0;
}

/* ---- columns ---- */

/* Number of bits set in the first `bits` bits, or UINT32_MAX if one after them is set. */
static uint32_t count_bits(const uint8_t *p, uint32_t bits)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bits / 8; i++) {
        count += (uint32_t) __builtin_popcount(p[i]);
    }
    if (bits % 8 != 0) {
        uint8_t last = p[bits / 8];
        if (last >> (bits % 8) != 0) {
            return UINT32_MAX;
        }
        count += (uint32_t) __builtin_popcount(last);
    }
    return count;
}

static double read_double(struct tpi_reader *in)
{
    uint64_t bits = tpi_read_u64(in);
    double x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static int read_stats(struct tpi_reader *in, struct tpi_chunk_column *c, struct tpc_error *err)
{
    if (c->type == TPC_INT) {
        int64_t min = tpi_read_zigzag(in);
        uint64_t range = tpi_read_varint(in);
        if (range > (uint64_t) INT64_MAX - (uint64_t) min) {
            return corrupt(err, "a column's greatest value passes 64 bits");
        }
        c->min = (double) min;
        c->max = (double) (int64_t) ((uint64_t) min + range);
        c->sum = read_double(in);
    } else if (c->type == TPC_DOUBLE) {
        c->min = read_double(in);
        c->max = read_double(in);
        c->sum = read_double(in);
    } else if (c->type == TPC_BOOL) {
        size_t need = ((size_t) c->count + 7) / 8;
        uint32_t set = tpi_reader_left(in) == need ? count_bits(in->p, c->count) : UINT32_MAX;
        if (set == UINT32_MAX) {
            return corrupt(err, "a column of truth values has another length than its count");
        }
        c->min = set == c->count;
        c->max = set > 0;
        c->sum = set;
    }
    return 0;
}

static bool read_bit(const uint8_t *p, uint32_t i)
{
    return (p[i / 8] >> (i % 8) & 1) != 0;
}

/* First and last value of what read_stats() left in c->values. */
static void read_ends(struct tpi_chunk_column *c)
{
    struct tpi_reader in;
    tpi_reader_init(&in, c->values.ptr, c->values.len);
    if (c->type == TPC_INT) {
        uint64_t x = (uint64_t) tpi_read_zigzag(&in);
        c->first = (struct tpc_value){ .type = TPC_INT, .as.i = (int64_t) x };
        for (uint32_t i = 1; i < c->count; i++) {
            x += (uint64_t) tpi_read_zigzag(&in);
        }
        c->last = (struct tpc_value){ .type = TPC_INT, .as.i = (int64_t) x };
    } else if (c->type == TPC_DOUBLE && c->values.len == c->count * sizeof(double)) {
        c->first = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = read_double(&in) };
        in.p = in.end - sizeof(double);
        c->last = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = read_double(&in) };
    } else if (c->type == TPC_BOOL) {
        c->first = (struct tpc_value){ .type = TPC_BOOL, .as.b = read_bit(in.p, 0) };
        c->last = (struct tpc_value){ .type = TPC_BOOL, .as.b = read_bit(in.p, c->count - 1) };
    }
}

/* Splits a body into bitmap, statistics and values. */
static int read_body(struct tpc_bytes body, uint32_t rows, bool full, struct tpc_error *err,
                     struct tpi_chunk_column *c)
{
    struct tpi_reader in;
    tpi_reader_init(&in, body.ptr, body.len);
    if (!full) {
        c->presence.len = ((size_t) rows + 7) / 8;
        c->presence.ptr = tpi_read_bytes(&in, c->presence.len);
        if (c->presence.ptr == NULL || count_bits(c->presence.ptr, rows) != c->count) {
            return corrupt(err, "a column's bitmap does not fit its count");
        }
    }
    int rc = read_stats(&in, c, err);
    if (rc != 0) {
        return rc;
    }
    if (in.bad) {
        return corrupt(err, "a column is cut");
    }
    c->values = (struct tpc_bytes){ in.p, tpi_reader_left(&in) };
    read_ends(c);
    return 0;
}

int tpi_chunk_next(struct tpi_chunk_reader *r, struct tpc_error *err, struct tpi_chunk_column *ret)
{
    struct tpi_reader *in = &r->in;
    if (r->column == r->columns) {
        return tpi_reader_left(in) == 0 ? 0 : corrupt(err, "bytes follow the last column");
    }
    uint64_t delta = tpi_read_varint(in);
    uint64_t count = tpi_read_varint(in);
    uint64_t len = tpi_read_varint(in);
    const uint8_t *body = len <= tpi_reader_left(in) ? tpi_read_bytes(in, (size_t) len) : NULL;
    bool full = (count & CHUNK_FULL) != 0;
    count >>= 1;
    uint64_t most = (uint64_t) UINT16_MAX << CHUNK_TYPE_BITS | CHUNK_TYPE_MASK;
    uint64_t key = delta <= most ? r->last_key + delta : UINT64_MAX;
    if (in->bad || body == NULL || delta == 0 || key > most || key >> CHUNK_TYPE_BITS == 0) {
        return corrupt(err, "the head of a column does not hold");
    }
    if (count == 0 || count > r->span.rows || full != (count == r->span.rows)) {
        return corrupt(err, "a column's count does not fit the chunk");
    }
    struct tpi_chunk_column c = { .property = (uint16_t) (key >> CHUNK_TYPE_BITS),
                                  .type = (uint8_t) (key & CHUNK_TYPE_MASK),
                                  .count = (uint32_t) count };
    int rc = read_body((struct tpc_bytes){ body, (size_t) len }, r->span.rows, full, err, &c);
    if (rc != 0) {
        return rc;
    }
    r->last_key = (uint32_t) key;
    r->column++;
    *ret = c;
    return 1;
}

/* ---- values ---- */

struct cursor {
    struct tpi_reader in;
    uint64_t before; /* integer before */
    uint32_t index;  /* of the value in the column */
    struct tpc_arena *arena;
    struct tpc_error *err;
};

static int read_tree(struct cursor *k, uint8_t type, struct tpc_bytes bytes, struct tpc_value *ret)
{
    struct tpc_value v;
    int rc = tpc_cbor_parse(k->arena, bytes, k->err, &v);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0 || v.type != type) {
        return corrupt(k->err, "a value is not the CBOR that it should be");
    }
    *ret = v;
    return 0;
}

static int read_value(struct cursor *k, uint8_t type, struct tpc_value *ret)
{
    struct tpc_value v = { .type = type };
    uint64_t len;
    switch (type) {
    case TPC_NULL:
        break;
    case TPC_BOOL:
        v.as.b = (k->in.p[k->index / 8] >> (k->index % 8) & 1) != 0;
        break;
    case TPC_INT:
        k->before += (uint64_t) tpi_read_zigzag(&k->in);
        v.as.i = (int64_t) k->before;
        break;
    case TPC_DOUBLE:
        v.as.d = read_double(&k->in);
        break;
    default:
        len = tpi_read_varint(&k->in);
        if (len > tpi_reader_left(&k->in)) {
            k->in.bad = true;
            break;
        }
        v.len = (size_t) len;
        v.as.blob = tpi_read_bytes(&k->in, v.len);
        if (type == TPC_ARRAY || type == TPC_MAP) {
            return read_tree(k, type, (struct tpc_bytes){ v.as.blob, v.len }, ret);
        }
        break;
    }
    k->index++;
    if (k->in.bad) {
        return corrupt(k->err, "the values of a column are cut");
    }
    *ret = v;
    return 0;
}

int tpi_chunk_values(const struct tpi_chunk_column *c, uint32_t rows, struct tpc_arena *arena,
                     struct tpc_error *err, struct tpc_value *ret, uint8_t *ret_validity)
{
    struct cursor k = { .arena = arena, .err = err };
    tpi_reader_init(&k.in, c->values.ptr, c->values.len);
    for (uint32_t row = 0; row < rows; row++) {
        if (c->presence.len != 0 && (c->presence.ptr[row / 8] >> (row % 8) & 1) == 0) {
            continue;
        }
        int rc = read_value(&k, c->type, &ret[row]);
        if (rc != 0) {
            return rc;
        }
        ret_validity[row / 8] |= (uint8_t) (1u << (row % 8));
    }
    if (c->type != TPC_BOOL && tpi_reader_left(&k.in) != 0) {
        return corrupt(err, "bytes follow the values of a column");
    }
    return 0;
}

int tpi_chunk_ints(const struct tpi_chunk_column *c, struct tpc_error *err, int64_t *ret)
{
    struct tpi_reader in;
    uint64_t x = 0;
    if (c->type != TPC_INT && c->type != TPC_BOOL) {
        return tpi_error_set(err, TPC_EINVAL, "chunk", "the column holds no integers");
    }
    tpi_reader_init(&in, c->values.ptr, c->values.len);
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->type == TPC_BOOL) {
            ret[i] = read_bit(c->values.ptr, i);
            continue;
        }
        x += (uint64_t) tpi_read_zigzag(&in);
        ret[i] = (int64_t) x;
    }
    if (c->type == TPC_INT && (in.bad || tpi_reader_left(&in) != 0)) {
        return corrupt(err, "the values of a column are not as many as its count");
    }
    return 0;
}

int tpi_chunk_doubles(const struct tpi_chunk_column *c, struct tpc_error *err, double *ret)
{
    struct tpi_reader in;
    if (c->type != TPC_DOUBLE) {
        int64_t *ints = (int64_t *) (void *) ret;
        int rc = tpi_chunk_ints(c, err, ints);
        for (uint32_t i = 0; rc == 0 && i < c->count; i++) {
            int64_t x;
            memcpy(&x, &ints[i], sizeof(x));
            double d = (double) x;
            memcpy(&ret[i], &d, sizeof(d));
        }
        return rc;
    }
    if (c->values.len != c->count * sizeof(double)) {
        return corrupt(err, "the values of a column are not as many as its count");
    }
    tpi_reader_init(&in, c->values.ptr, c->values.len);
    for (uint32_t i = 0; i < c->count; i++) {
        ret[i] = read_double(&in);
    }
    return 0;
}
