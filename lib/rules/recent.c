/* A message is its moment as it stands in memory, then of each value a type (u8) and: of a truth value
 * one byte, of a number and of a mark eight, of what collect takes a length (u32) and an encoding. */
#include "rules/recent.h"

#include "base/alloc.h"
#include "data/msg.h"

#include <assert.h>
#include <string.h>
#include <tpcore/error.h>

enum { FIRST_CAP = 256 };

/* ---- packing ---- */

static int put_number(struct tpi_buf *out, uint32_t type, uint64_t bits)
{
    int rc = tpi_buf_u8(out, (uint8_t) type);
    return rc != 0 ? rc : tpi_buf_u64(out, bits);
}

static int put_any(struct tpi_packed *p, const struct tpc_value *v)
{
    struct tpi_buf *out = &p->values;
    size_t before = out->len;
    int rc = tpi_buf_u8(out, TPC_BLOB);
    rc = rc != 0 ? rc : tpi_buf_u32(out, 0);
    size_t from = out->len;
    rc = rc != 0 ? rc : tpi_value_encode(v, out);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0 || out->len - from > TPI_RECENT_MAX_VALUE) {
        out->len = before;
        p->lost++;
        return tpi_buf_u8(out, TPC_NULL);
    }
    tpi_put_u32(out->ptr + from - sizeof(uint32_t), (uint32_t) (out->len - from));
    return 0;
}

int tpi_packed_add(struct tpi_packed *p, const struct tpc_allocator *alloc, uint32_t function,
                   const struct tpc_value *v)
{
    struct tpi_buf *out = &p->values;
    uint64_t bits;
    if (tpi_sql_is_bound(function) || v->type == TPC_NULL) {
        return tpi_buf_u8(out, TPC_NULL);
    }
    if (function == TPI_SQL_DISTINCT) {
        return put_number(out, TPC_INT, tpi_value_mark(alloc, v));
    }
    if (function == TPI_SQL_COLLECT) {
        return put_any(p, v);
    }
    if (function == TPI_SQL_COUNT || v->type == TPC_BOOL) {
        int rc = tpi_buf_u8(out, TPC_BOOL);
        return rc != 0 ? rc : tpi_buf_u8(out, function == TPI_SQL_COUNT || v->as.b);
    }
    memcpy(&bits, &v->as.d, sizeof(bits));
    return v->type == TPC_INT || v->type == TPC_DOUBLE ? put_number(out, v->type, bits)
                                                       : tpi_buf_u8(out, TPC_NULL);
}

/* ---- places ---- */

static struct tpi_moment moment_at(const struct tpi_recent *r, uint32_t at)
{
    struct tpi_moment m;
    memcpy(&m, r->ptr + at, sizeof(m));
    return m;
}

bool tpi_recent_next(const struct tpi_recent *r, uint32_t *at, struct tpi_moment *ret,
                     const uint8_t **ret_values)
{
    if (*at == 0 && r->count > 0) {
        *at = r->head;
    }
    if (r->count == 0 || *at >= r->len) {
        return false;
    }
    *ret = moment_at(r, *at);
    *ret_values = r->ptr + *at + sizeof(*ret);
    *at += (uint32_t) sizeof(*ret) + ret->bytes;
    return true;
}

void tpi_recent_done(struct tpi_recent *r, uint32_t at, const struct tpi_moment *m)
{
    struct tpi_moment done = *m;
    done.flags &= ~(uint32_t) TPI_RECENT_WAITS;
    memcpy(r->ptr + at - sizeof(done) - m->bytes, &done, sizeof(done));
}

void tpi_recent_pop(struct tpi_recent *r)
{
    struct tpi_moment m = moment_at(r, r->head);
    r->head += (uint32_t) sizeof(m) + m.bytes;
    r->count--;
    if (r->count == 0) {
        r->head = r->len = 0;
    }
}

/* Room for more bytes at the end; what is gone makes room once it is half of all. */
static int make_room(struct tpi_recent *r, const struct tpc_allocator *alloc, uint32_t more,
                     size_t *bytes)
{
    if (r->head > 0 && r->head >= r->len / 2 && more > r->cap - r->len) {
        memmove(r->ptr, r->ptr + r->head, r->len - r->head);
        r->len -= r->head;
        r->head = 0;
    }
    if (more <= r->cap - r->len) {
        return 0;
    }
    size_t cap = r->cap > 0 ? r->cap : FIRST_CAP;
    while (cap - r->len < more) {
        cap *= 2;
    }
    if (cap > UINT32_MAX / 2) {
        return TPC_ETOOBIG;
    }
    uint8_t *p = tpi_resize(alloc, r->ptr, r->cap, cap);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    *bytes += cap - r->cap;
    r->ptr = p;
    r->cap = (uint32_t) cap;
    return 0;
}

/* Where one of this time has to stand. */
static uint32_t place_of(const struct tpi_recent *r, int64_t ms)
{
    uint32_t at = 0;
    uint32_t before = r->head;
    struct tpi_moment m;
    const uint8_t *values;
    while (tpi_recent_next(r, &at, &m, &values) && m.ms <= ms) {
        before = at;
    }
    return before;
}

int tpi_recent_put(struct tpi_recent *r, const struct tpc_allocator *alloc,
                   const struct tpi_moment *m, const uint8_t *values, bool by_time, size_t max,
                   size_t *bytes)
{
    uint32_t need = (uint32_t) sizeof(*m) + m->bytes;
    int rc = *bytes >= max ? TPC_ETOOBIG : make_room(r, alloc, need, bytes);
    if (rc != 0) {
        return rc;
    }
    uint32_t at = by_time ? place_of(r, m->ms) : r->len;
    memmove(r->ptr + at + need, r->ptr + at, r->len - at);
    memcpy(r->ptr + at, m, sizeof(*m));
    memcpy(r->ptr + at + sizeof(*m), values, m->bytes);
    r->len += need;
    r->count++;
    return 0;
}

void tpi_recent_fini(struct tpi_recent *r, const struct tpc_allocator *alloc, size_t *bytes)
{
    *bytes -= r->cap;
    tpi_free(alloc, r->ptr, r->cap);
    *r = (struct tpi_recent){ .count = 0 };
}

/* ---- values ---- */

/* The next value. Of collect: as it is encoded. */
static struct tpc_value read_value(struct tpi_reader *in)
{
    struct tpc_value v = { .type = tpi_read_u8(in) };
    uint64_t bits;
    switch (v.type) {
    case TPC_BOOL:
        v.as.b = tpi_read_u8(in) != 0;
        break;
    case TPC_INT:
    case TPC_DOUBLE:
        bits = tpi_read_u64(in);
        memcpy(&v.as.d, &bits, sizeof(bits));
        break;
    case TPC_BLOB:
        v.len = tpi_read_u32(in);
        v.as.blob = tpi_read_bytes(in, v.len);
        break;
    default:
        break;
    }
    return v;
}

uint32_t tpi_recent_play(const struct tpc_allocator *alloc, const uint8_t *functions,
                         uint32_t count, const struct tpi_moment *m, const uint8_t *values,
                         struct tpi_aggregate *aggregates, size_t max, size_t *bytes)
{
    struct tpi_reader in;
    uint32_t lost = 0;
    tpi_reader_init(&in, values, m->bytes);
    for (uint32_t i = 0; i < count; i++) {
        struct tpc_value v = read_value(&in);
        if (!tpi_aggregate_bags(functions[i])) {
            tpi_aggregate_add(functions[i], &aggregates[i], &v);
        } else if (v.type == TPC_BLOB) {
            struct tpc_bytes one = { v.as.blob, v.len };
            lost += tpi_bag_put(alloc, &aggregates[i], one, max, bytes) != 0;
        } else if (v.type == TPC_INT) {
            uint64_t mark = (uint64_t) v.as.i;
            lost += tpi_bag_mark(alloc, &aggregates[i], mark, max, bytes) != 0;
        }
    }
    assert(!in.bad);
    return lost;
}

bool tpi_recent_is_good(const uint8_t *functions, uint32_t count, const struct tpi_moment *m,
                        const uint8_t *values)
{
    struct tpi_reader in;
    tpi_reader_init(&in, values, m->bytes);
    for (uint32_t i = 0; i < count; i++) {
        struct tpc_value v = read_value(&in);
        bool good = v.type <= TPC_DOUBLE;
        if (functions[i] == TPI_SQL_COLLECT) {
            good = v.type == TPC_NULL || (v.type == TPC_BLOB && v.len <= TPI_RECENT_MAX_VALUE);
        } else if (functions[i] == TPI_SQL_DISTINCT) {
            good = v.type == TPC_NULL || v.type == TPC_INT;
        }
        if (!good) {
            return false;
        }
    }
    return !in.bad && tpi_reader_left(&in) == 0;
}
