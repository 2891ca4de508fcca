/*
 * Open samples: docs/format/history.md, "Open samples". A message's points of one time are a row;
 * rows with the same properties and types in the same order share a shape, whose columns remember
 * what they held last: so a number that moved a little takes one byte, and no row names its
 * properties again.
 */
#include <tpcore/cbor.h>

#include "base/alloc.h"
#include "store/chunk_open.h"

enum { CBOR_FIRST_BYTES = 64, VALUE_BYTES = 12, MANY_MISSES = 4, MISS_MASK = 15 };

/* ---- single samples ---- */

static bool too_deep(const struct tpc_value *v, uint32_t depth)
{
    if (v->type != TPC_ARRAY && v->type != TPC_MAP) {
        return v->type > TPC_MAP;
    }
    if (depth == CHUNK_MAX_DEPTH) {
        return true;
    }
    for (size_t i = 0; i < v->len; i++) {
        const struct tpc_value *item =
            v->type == TPC_ARRAY ? &v->as.items[i] : &v->as.members[i].value;
        if (too_deep(item, depth + 1)) {
            return true;
        }
    }
    return false;
}

static int put_tree(struct tpi_buf *out, const struct tpc_value *v)
{
    if (too_deep(v, 0)) {
        return TPC_EINVAL;
    }
    size_t need = CBOR_FIRST_BYTES;
    for (;;) {
        int rc = tpi_buf_reserve(out, need + VARINT_BYTES);
        if (rc != 0) {
            return rc;
        }
        struct tpc_buf room = { out->ptr + out->len + VARINT_BYTES, need, 0 };
        rc = tpc_cbor_write(v, &room);
        if (rc == 0) {
            uint8_t *written = room.ptr;
            (void) tpi_buf_varint(out, room.need);
            memmove(out->ptr + out->len, written, room.need);
            out->len += room.need;
            return 0;
        }
        if (rc != TPC_ETOOBIG || room.need <= need) {
            return rc;
        }
        need = room.need;
    }
}

static int put_value(struct tpi_buf *out, const struct tpc_value *v)
{
    int rc;
    switch (v->type) {
    case TPC_NULL:
        return 0;
    case TPC_BOOL:
        return tpi_buf_u8(out, v->as.b ? 1 : 0);
    case TPC_INT:
        return tpi_buf_zigzag(out, v->as.i);
    case TPC_DOUBLE:
        return tpi_buf_u64(out, chunk_bits(v->as.d));
    case TPC_TEXT:
    case TPC_BLOB:
        if (v->len > UINT32_MAX) {
            return TPC_ETOOBIG;
        }
        rc = tpi_buf_varint(out, v->len);
        return rc != 0 ? rc : tpi_buf_put(out, v->as.blob, v->len);
    case TPC_ARRAY:
    case TPC_MAP:
        return put_tree(out, v);
    default:
        return TPC_EINVAL;
    }
}

int tpi_chunk_sample_put(struct tpi_buf *out, const int64_t *unix_ms, uint16_t property,
                         const struct tpc_value *value)
{
    size_t before = out->len;
    if (value->type > TPC_MAP) {
        return TPC_EINVAL;
    }
    int rc = tpi_buf_reserve(out, 24);
    if (rc != 0) {
        return rc;
    }
    (void) tpi_buf_u8(out, (uint8_t) (value->type | (unix_ms != NULL ? OPEN_TIME : 0u)));
    if (unix_ms != NULL) {
        (void) tpi_buf_u64(out, (uint64_t) *unix_ms);
    }
    (void) tpi_buf_u16(out, property);
    rc = put_value(out, value);
    if (rc != 0) {
        out->len = before;
    }
    return rc;
}

/* ---- shapes ---- */

void tpi_chunk_shapes_fini(struct tpi_chunk_shapes *s, const struct tpc_allocator *alloc)
{
    tpi_free(alloc, s->columns, s->cap * sizeof(*s->columns));
    memset(s, 0, sizeof(*s));
}

int tpi_chunk_shapes_add(struct tpi_chunk_shapes *s, const struct tpc_allocator *alloc,
                         uint32_t count, struct tpi_chunk_shape_column **ret)
{
    uint32_t used = s->count == 0 ? 0 : s->end[s->count - 1];
    if (s->count == CHUNK_SHAPES || count == 0 || count > CHUNK_SHAPE_COLUMNS - used) {
        return TPC_ETOOBIG;
    }
    if (used + count > s->cap) {
        uint32_t cap = used + count;
        void *p =
            tpi_resize(alloc, s->columns, s->cap * sizeof(*s->columns), cap * sizeof(*s->columns));
        if (p == NULL) {
            return TPC_ENOMEM;
        }
        s->columns = p;
        s->cap = cap;
    }
    s->end[s->count++] = used + count;
    memset(&s->columns[used], 0, count * sizeof(*s->columns));
    *ret = &s->columns[used];
    return 0;
}

/* ---- rows ---- */

static const struct tpc_point *point_at(const struct tpi_chunk_row *r, uint32_t i)
{
    return (const struct tpc_point *) (const void *) ((const char *) r->points + i * r->stride);
}

static bool fits(const struct tpi_chunk_shape_column *c, const struct tpi_chunk_row *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        const struct tpc_point *p = point_at(r, i);
        if (c[i].property != p->property || c[i].type != p->value.type) {
            return false;
        }
    }
    return true;
}

/* The shape of a row, the one that was used last being tried first; UINT32_MAX = none. */
static uint32_t find_shape(const struct tpi_chunk_samples *s, const struct tpi_chunk_row *r)
{
    const struct tpi_chunk_shapes *shapes = &s->shapes;
    for (uint32_t i = 0; i < shapes->count; i++) {
        uint32_t k = (s->last_shape + i) % shapes->count;
        uint32_t begin = k == 0 ? 0 : shapes->end[k - 1];
        if (shapes->end[k] - begin == r->count && fits(&shapes->columns[begin], r)) {
            return k;
        }
    }
    return UINT32_MAX;
}

/* Bytes of a row at most, or 0 if it has to be put sample by sample. */
static size_t row_bytes(const struct tpi_chunk_row *r)
{
    size_t need = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct tpc_point *p = point_at(r, i);
        const struct tpc_value *v = &p->value;
        if (p->property == TPC_PROPERTY_NONE || v->type > TPC_MAP) {
            return 0;
        }
        need += VALUE_BYTES;
        if (v->type == TPC_TEXT || v->type == TPC_BLOB) {
            if (v->len > UINT32_MAX) {
                return 0;
            }
            need += v->len;
        } else if (v->type >= TPC_ARRAY) {
            struct tpc_buf none = { NULL, 0, 0 };
            if (too_deep(v, 0) || tpc_cbor_write(v, &none) != TPC_ETOOBIG) {
                return 0;
            }
            need += none.need;
        }
    }
    return need;
}

/* The least scale that the number has, if it is a decimal at all. */
static bool search_scale(struct tpi_chunk_shape_column *c, double x, int64_t *ret)
{
    if (c->misses >= MANY_MISSES && (c->misses & MISS_MASK) != 0) {
        return false;
    }
    for (uint32_t scale = c->scale + 1u; scale <= CHUNK_MAX_SCALE; scale++) {
        if (chunk_decimal(x, scale, ret)) {
            c->scale = (uint8_t) scale;
            return true;
        }
    }
    return false;
}

static uint8_t *put_double(uint8_t *out, struct tpi_chunk_shape_column *c, double x)
{
    int64_t n;
    if (chunk_decimal(x, c->scale, &n)) {
        out = chunk_varint(out, chunk_zigzag(n - c->last) << 1);
        c->last = n;
        return out;
    }
    if (search_scale(c, x, &n)) {
        *out++ = (uint8_t) (c->scale << 2 | 1);
        c->last = n;
        c->misses = 0;
        return chunk_varint(out, chunk_zigzag(n));
    }
    c->misses = c->misses == UINT8_MAX ? MISS_MASK + 2 : (uint8_t) (c->misses + 1);
    *out++ = OPEN_REAL;
    tpi_put_u64(out, chunk_bits(x));
    return out + sizeof(x);
}

static uint8_t *put_in_row(uint8_t *out, struct tpi_chunk_shape_column *c,
                           const struct tpc_value *v)
{
    switch (v->type) {
    case TPC_NULL:
        return out;
    case TPC_BOOL:
        *out = v->as.b ? 1 : 0;
        return out + 1;
    case TPC_INT:
        out = chunk_varint(out, chunk_zigzag((int64_t) ((uint64_t) v->as.i - (uint64_t) c->last)));
        c->last = v->as.i;
        return out;
    case TPC_DOUBLE:
        return put_double(out, c, v->as.d);
    case TPC_TEXT:
    case TPC_BLOB:
        out = chunk_varint(out, v->len);
        if (v->len > 0) {
            memcpy(out, v->as.blob, v->len);
        }
        return out + v->len;
    default: {
        struct tpc_buf room = { NULL, 0, 0 };
        (void) tpc_cbor_write(v, &room);
        out = chunk_varint(out, room.need);
        room = (struct tpc_buf){ out, room.need, 0 };
        (void) tpc_cbor_write(v, &room);
        return out + room.need;
    }
    }
}

static uint8_t *put_shape(uint8_t *out, struct tpi_chunk_shape_column *c,
                          const struct tpi_chunk_row *r)
{
    *out++ = OPEN_DEFINE;
    out = chunk_varint(out, r->count);
    for (uint32_t i = 0; i < r->count; i++) {
        const struct tpc_point *p = point_at(r, i);
        c[i].property = p->property;
        c[i].type = (uint8_t) p->value.type;
        tpi_put_u16(out, p->property);
        out[2] = c[i].type;
        out += 3;
    }
    return out;
}

/* Returns the number of samples taken, or an error. */
static int put_singly(struct tpi_chunk_samples *s, const struct tpi_chunk_row *r)
{
    size_t before = s->bytes.len;
    bool timed = false;
    int taken = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct tpc_point *p = point_at(r, i);
        if (p->property == TPC_PROPERTY_NONE) {
            continue;
        }
        int rc =
            tpi_chunk_sample_put(&s->bytes, timed ? NULL : &r->unix_ms, p->property, &p->value);
        if (rc == TPC_ENOMEM) {
            s->bytes.len = before;
            return rc;
        }
        timed = timed || rc == 0;
        taken += rc == 0;
    }
    if (taken > 0) {
        s->last_ms = r->unix_ms;
    }
    return taken;
}

void tpi_chunk_samples_init(struct tpi_chunk_samples *s, const struct tpc_allocator *alloc)
{
    memset(s, 0, sizeof(*s));
    tpi_buf_init(&s->bytes, alloc, 0);
}

void tpi_chunk_samples_fini(struct tpi_chunk_samples *s)
{
    tpi_chunk_shapes_fini(&s->shapes, s->bytes.alloc);
    tpi_buf_fini(&s->bytes);
}

size_t tpi_chunk_samples_bytes(const struct tpi_chunk_samples *s)
{
    return s->bytes.cap + s->shapes.cap * sizeof(*s->shapes.columns);
}

int tpi_chunk_samples_row(struct tpi_chunk_samples *s, const struct tpi_chunk_row *row)
{
    size_t need = row_bytes(row);
    if (need == 0) {
        return put_singly(s, row);
    }
    need += 2 + 2 * VARINT_BYTES + (size_t) row->count * 3;
    int rc = tpi_buf_reserve(&s->bytes, need);
    if (rc != 0) {
        return rc;
    }
    uint8_t *out = s->bytes.ptr + s->bytes.len;
    if (s->stale) {
        *out++ = OPEN_RESET;
        s->shapes.count = 0;
        s->last_shape = 0;
    }
    uint32_t shape = find_shape(s, row);
    if (shape == UINT32_MAX) {
        struct tpi_chunk_shape_column *c;
        rc = tpi_chunk_shapes_add(&s->shapes, s->bytes.alloc, row->count, &c);
        if (rc == TPC_ETOOBIG) {
            s->bytes.len = (size_t) (out - s->bytes.ptr);
            s->stale = false;
            return put_singly(s, row);
        }
        if (rc != 0) {
            return rc;
        }
        out = put_shape(out, c, row);
        shape = s->shapes.count - 1;
    }
    *out++ = (uint8_t) (OPEN_ROW | shape);
    out = chunk_varint(out,
                       chunk_zigzag((int64_t) ((uint64_t) row->unix_ms - (uint64_t) s->last_ms)));
    struct tpi_chunk_shape_column *c =
        &s->shapes.columns[shape == 0 ? 0 : s->shapes.end[shape - 1]];
    for (uint32_t i = 0; i < row->count; i++) {
        out = put_in_row(out, &c[i], &point_at(row, i)->value);
    }
    s->bytes.len = (size_t) (out - s->bytes.ptr);
    s->last_shape = shape;
    s->last_ms = row->unix_ms;
    s->stale = false;
    return (int) row->count;
}

struct tpi_chunk_mark tpi_chunk_samples_mark(const struct tpi_chunk_samples *s)
{
    return (struct tpi_chunk_mark){ s->bytes.len, s->last_ms };
}

void tpi_chunk_samples_back(struct tpi_chunk_samples *s, struct tpi_chunk_mark to)
{
    if (to.len < s->bytes.len) {
        s->bytes.len = to.len;
        s->last_ms = to.last_ms;
        s->stale = true;
    }
}
