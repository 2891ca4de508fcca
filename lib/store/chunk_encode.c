#include "store/chunk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/cbor.h>

#include "base/alloc.h"
#include "base/error.h"
#include "store/chunk_format.h"

enum {
    GROUP_SLOTS = 65536,
    FIRST_SAMPLES = 256,
    FIRST_ITEMS = 32,
    CBOR_FIRST_BYTES = 64,
    VARINT_BYTES = 10
};

struct tpi_chunk_sample {
    uint32_t row;
    uint32_t len; /* of text, blob, tree */
    uint16_t property;
    uint8_t type;
    const uint8_t *at; /* the value in the open bytes: grows with the order of the log */
    union {
        int64_t i;
        double d;
    } num;
};

struct tpi_chunk_group {
    uint16_t property;
    uint8_t types; /* bit for each type in it */
    uint32_t first;
    uint32_t count;
};

struct tpi_chunk_run {
    int64_t unix_ms;
    uint32_t index; /* as it came */
    uint32_t row;   /* of run number `index` of this array, once they are ranked */
};

/* ---- open samples ---- */

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
    uint64_t bits;
    int rc;
    switch (v->type) {
    case TPC_NULL:
        return 0;
    case TPC_BOOL:
        return tpi_buf_u8(out, v->as.b ? 1 : 0);
    case TPC_INT:
        return tpi_buf_zigzag(out, v->as.i);
    case TPC_DOUBLE:
        memcpy(&bits, &v->as.d, sizeof(bits));
        return tpi_buf_u64(out, bits);
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

/* ---- scratch ---- */

void tpi_chunk_encoder_init(struct tpi_chunk_encoder *e, const struct tpc_allocator *alloc)
{
    memset(e, 0, sizeof(*e));
    e->alloc = alloc;
    tpi_buf_init(&e->body, alloc, 0);
}

void tpi_chunk_encoder_fini(struct tpi_chunk_encoder *e)
{
    tpi_free(e->alloc, e->samples, e->sample_cap * sizeof(*e->samples));
    tpi_free(e->alloc, e->sorted, e->sample_cap * sizeof(*e->sorted));
    tpi_free(e->alloc, e->groups, e->group_cap * sizeof(*e->groups));
    tpi_free(e->alloc, e->runs, e->run_cap * sizeof(*e->runs));
    tpi_free(e->alloc, e->group_of, GROUP_SLOTS * sizeof(*e->group_of));
    tpi_buf_fini(&e->body);
    memset(e, 0, sizeof(*e));
}

/* The array with room for one element more behind `count`; NULL = out of memory, nothing changed.
 */
static void *grow(const struct tpc_allocator *alloc, void *array, size_t *cap, size_t count,
                  size_t size)
{
    if (count < *cap) {
        return array;
    }
    size_t next = *cap != 0 ? *cap * 2 : FIRST_ITEMS;
    void *p = tpi_resize(alloc, array, *cap * size, next * size);
    if (p != NULL) {
        *cap = next;
    }
    return p;
}

/* The two sample arrays have one capacity: the second follows when the first has grown. */
static int grow_samples(struct tpi_chunk_encoder *e, size_t count)
{
    if (count < e->sample_cap) {
        return 0;
    }
    size_t old = e->sample_cap * sizeof(*e->samples);
    size_t cap = e->sample_cap != 0 ? e->sample_cap * 2 : FIRST_SAMPLES;
    struct tpi_chunk_sample *sorted = tpi_alloc(e->alloc, cap * sizeof(*sorted));
    if (sorted == NULL) {
        return TPC_ENOMEM;
    }
    void *samples = tpi_resize(e->alloc, e->samples, old, cap * sizeof(*e->samples));
    if (samples == NULL) {
        tpi_free(e->alloc, sorted, cap * sizeof(*sorted));
        return TPC_ENOMEM;
    }
    tpi_free(e->alloc, e->sorted, old);
    e->samples = samples;
    e->sorted = sorted;
    e->sample_cap = cap;
    return 0;
}

/* ---- reading the open samples ---- */

struct totals {
    uint32_t samples;
    uint32_t runs;
    uint32_t groups;
    bool in_order; /* times grow strictly */
};

static void read_value(struct tpi_reader *in, struct tpi_chunk_sample *s)
{
    uint64_t bits;
    s->len = 0;
    s->num.i = 0;
    switch (s->type) {
    case TPC_NULL:
        s->at = in->p;
        return;
    case TPC_BOOL:
        s->at = in->p;
        s->num.i = tpi_read_u8(in);
        return;
    case TPC_INT:
        s->at = in->p;
        s->num.i = tpi_read_zigzag(in);
        return;
    case TPC_DOUBLE:
        s->at = in->p;
        bits = tpi_read_u64(in);
        memcpy(&s->num.d, &bits, sizeof(bits));
        return;
    default:
        bits = tpi_read_varint(in);
        if (bits > UINT32_MAX) {
            in->bad = true;
            return;
        }
        s->len = (uint32_t) bits;
        s->at = tpi_read_bytes(in, s->len);
        return;
    }
}

static int read_run(struct tpi_chunk_encoder *e, struct tpi_reader *in, struct totals *t)
{
    struct tpi_chunk_run *runs = grow(e->alloc, e->runs, &e->run_cap, t->runs, sizeof(*e->runs));
    if (runs == NULL) {
        return TPC_ENOMEM;
    }
    e->runs = runs;
    struct tpi_chunk_run *run = &e->runs[t->runs];
    run->unix_ms = (int64_t) tpi_read_u64(in);
    run->index = t->runs;
    run->row = t->runs;
    if (t->runs > 0 && run->unix_ms <= run[-1].unix_ms) {
        t->in_order = false;
    }
    t->runs++;
    return 0;
}

static int group_count(struct tpi_chunk_encoder *e, const struct tpi_chunk_sample *s,
                       struct totals *t)
{
    uint16_t *slot = &e->group_of[s->property];
    if (*slot == 0) {
        struct tpi_chunk_group *groups =
            grow(e->alloc, e->groups, &e->group_cap, t->groups, sizeof(*e->groups));
        if (groups == NULL) {
            return TPC_ENOMEM;
        }
        e->groups = groups;
        e->groups[t->groups] = (struct tpi_chunk_group){ .property = s->property };
        *slot = (uint16_t) ++t->groups;
    }
    struct tpi_chunk_group *g = &e->groups[*slot - 1];
    g->count++;
    g->types |= (uint8_t) (1u << s->type);
    return 0;
}

static int read_open(struct tpi_chunk_encoder *e, struct tpc_bytes open, struct totals *t)
{
    struct tpi_reader in;
    tpi_reader_init(&in, open.ptr, open.len);
    while (tpi_reader_left(&in) > 0) {
        if (t->samples == TPI_CHUNK_MAX_SAMPLES) {
            return TPC_ETOOBIG;
        }
        int rc = grow_samples(e, t->samples);
        uint8_t tag = tpi_read_u8(&in);
        if (rc == 0 && (tag & OPEN_TIME) != 0) {
            rc = read_run(e, &in, t);
        }
        if (rc != 0) {
            return rc;
        }
        struct tpi_chunk_sample *s = &e->samples[t->samples];
        s->type = tag & OPEN_TYPE_MASK;
        s->property = tpi_read_u16(&in);
        read_value(&in, s);
        if (in.bad || t->runs == 0 || s->property == 0) {
            return TPC_ECORRUPT;
        }
        s->row = t->runs - 1;
        rc = group_count(e, s, t);
        if (rc != 0) {
            return rc;
        }
        t->samples++;
    }
    return t->samples > 0 ? 0 : TPC_EINVAL;
}

/* ---- order ---- */

static int compare_runs(const void *a, const void *b)
{
    const struct tpi_chunk_run *x = a;
    const struct tpi_chunk_run *y = b;
    if (x->unix_ms != y->unix_ms) {
        return x->unix_ms < y->unix_ms ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static int compare_groups(const void *a, const void *b)
{
    const struct tpi_chunk_group *x = a;
    const struct tpi_chunk_group *y = b;
    return (int) x->property - (int) y->property;
}

static int compare_samples(const void *a, const void *b)
{
    const struct tpi_chunk_sample *x = a;
    const struct tpi_chunk_sample *y = b;
    if (x->row != y->row) {
        return x->row < y->row ? -1 : 1;
    }
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Ranks the runs by time; equal times share a row. Returns the number of rows, whose times then
 * stand at the start of runs[]. */
static uint32_t rank_runs(struct tpi_chunk_encoder *e, const struct totals *t)
{
    if (t->in_order) {
        return t->runs;
    }
    qsort(e->runs, t->runs, sizeof(*e->runs), compare_runs);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < t->runs; i++) {
        if (i > 0 && e->runs[i].unix_ms != e->runs[i - 1].unix_ms) {
            rows++;
        }
        e->runs[e->runs[i].index].row = rows;
    }
    for (uint32_t i = 0; i < t->samples; i++) {
        e->samples[i].row = e->runs[e->samples[i].row].row;
    }
    rows = 0;
    for (uint32_t i = 1; i < t->runs; i++) {
        if (e->runs[i].unix_ms != e->runs[rows].unix_ms) {
            e->runs[++rows].unix_ms = e->runs[i].unix_ms;
        }
    }
    return rows + 1;
}

/* Samples by property into sorted[], in a property by row, one for each row: the last. */
static void sort_samples(struct tpi_chunk_encoder *e, const struct totals *t)
{
    bool ascending = true;
    for (uint32_t i = 1; i < t->groups; i++) {
        ascending = ascending && e->groups[i - 1].property < e->groups[i].property;
    }
    if (!ascending) {
        qsort(e->groups, t->groups, sizeof(*e->groups), compare_groups);
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < t->groups; i++) {
        e->group_of[e->groups[i].property] = (uint16_t) (i + 1);
        e->groups[i].first = at;
        at += e->groups[i].count;
        e->groups[i].count = 0;
    }
    for (uint32_t i = 0; i < t->samples; i++) {
        struct tpi_chunk_group *g = &e->groups[e->group_of[e->samples[i].property] - 1];
        e->sorted[g->first + g->count++] = e->samples[i];
    }
    for (uint32_t i = 0; i < t->groups; i++) {
        struct tpi_chunk_group *g = &e->groups[i];
        struct tpi_chunk_sample *s = &e->sorted[g->first];
        bool rising = true;
        for (uint32_t k = 1; k < g->count && rising; k++) {
            rising = s[k - 1].row < s[k].row;
        }
        if (rising) {
            continue;
        }
        qsort(s, g->count, sizeof(*s), compare_samples);
        uint32_t kept = 0;
        for (uint32_t k = 1; k < g->count; k++) {
            kept += s[k].row != s[kept].row;
            s[kept] = s[k];
        }
        g->count = kept + 1;
    }
}

/* ---- writing ---- */

static int put_double(struct tpi_buf *b, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return tpi_buf_u64(b, bits);
}

struct column {
    const struct tpi_chunk_group *group;
    const struct tpi_chunk_sample *samples;
    uint32_t type;
    uint32_t count;
    uint32_t rows;
};

static int put_ints(struct tpi_buf *b, const struct column *c)
{
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    double sum = 0;
    for (uint32_t i = 0; i < c->group->count; i++) {
        const struct tpi_chunk_sample *s = &c->samples[i];
        if (s->type == TPC_INT) {
            min = s->num.i < min ? s->num.i : min;
            max = s->num.i > max ? s->num.i : max;
            sum += (double) s->num.i;
        }
    }
    int rc = tpi_buf_reserve(b, ((size_t) c->count + 4) * VARINT_BYTES);
    if (rc != 0) {
        return rc;
    }
    (void) tpi_buf_zigzag(b, min);
    (void) tpi_buf_varint(b, (uint64_t) max - (uint64_t) min);
    (void) put_double(b, sum);
    uint64_t before = 0;
    for (uint32_t i = 0; i < c->group->count; i++) {
        const struct tpi_chunk_sample *s = &c->samples[i];
        if (s->type == TPC_INT) {
            (void) tpi_buf_zigzag(b, (int64_t) ((uint64_t) s->num.i - before));
            before = (uint64_t) s->num.i;
        }
    }
    return 0;
}

static int put_doubles(struct tpi_buf *b, const struct column *c)
{
    double min = NAN;
    double max = NAN;
    double sum = 0;
    for (uint32_t i = 0; i < c->group->count; i++) {
        const struct tpi_chunk_sample *s = &c->samples[i];
        if (s->type == TPC_DOUBLE && !isnan(s->num.d)) {
            min = isnan(min) || s->num.d < min ? s->num.d : min;
            max = isnan(max) || s->num.d > max ? s->num.d : max;
            sum += s->num.d;
        }
    }
    int rc = tpi_buf_reserve(b, ((size_t) c->count + 3) * sizeof(double));
    if (rc != 0) {
        return rc;
    }
    (void) put_double(b, min);
    (void) put_double(b, max);
    (void) put_double(b, sum);
    for (uint32_t i = 0; i < c->group->count; i++) {
        if (c->samples[i].type == TPC_DOUBLE) {
            (void) put_double(b, c->samples[i].num.d);
        }
    }
    return 0;
}

/* Zeroed bytes for `bits` bits at the end of b; NULL when out of memory. */
static uint8_t *put_bits(struct tpi_buf *b, uint32_t bits, int *rc)
{
    size_t n = ((size_t) bits + 7) / 8;
    *rc = tpi_buf_reserve(b, n);
    if (*rc != 0) {
        return NULL;
    }
    uint8_t *p = b->ptr + b->len;
    memset(p, 0, n);
    b->len += n;
    return p;
}

static int put_bools(struct tpi_buf *b, const struct column *c)
{
    int rc;
    uint8_t *p = put_bits(b, c->count, &rc);
    uint32_t n = 0;
    for (uint32_t i = 0; p != NULL && i < c->group->count; i++) {
        if (c->samples[i].type == TPC_BOOL) {
            p[n / 8] |= (uint8_t) ((c->samples[i].num.i != 0 ? 1u : 0u) << (n % 8));
            n++;
        }
    }
    return rc;
}

static int put_lengths(struct tpi_buf *b, const struct column *c)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < c->group->count; i++) {
        const struct tpi_chunk_sample *s = &c->samples[i];
        if (s->type == c->type) {
            rc = tpi_buf_varint(b, s->len);
            rc = rc != 0 ? rc : tpi_buf_put(b, s->at, s->len);
        }
    }
    return rc;
}

static int put_body(struct tpi_buf *b, const struct column *c)
{
    if (c->count < c->rows) {
        int rc;
        uint8_t *p = put_bits(b, c->rows, &rc);
        for (uint32_t i = 0; p != NULL && i < c->group->count; i++) {
            const struct tpi_chunk_sample *s = &c->samples[i];
            if (s->type == c->type) {
                p[s->row / 8] |= (uint8_t) (1u << (s->row % 8));
            }
        }
        if (rc != 0) {
            return rc;
        }
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
        return put_lengths(b, c);
    }
}

static int put_column(struct tpi_chunk_encoder *e, const struct column *c, uint32_t *last_key,
                      struct tpi_buf *out)
{
    tpi_buf_clear(&e->body);
    int rc = put_body(&e->body, c);
    if (rc == 0) {
        rc = tpi_buf_reserve(out, e->body.len + 3 * VARINT_BYTES);
    }
    if (rc != 0) {
        return rc;
    }
    uint32_t key = (uint32_t) c->group->property << CHUNK_TYPE_BITS | c->type;
    (void) tpi_buf_varint(out, key - *last_key);
    (void) tpi_buf_varint(out, (uint64_t) c->count << 1 | (c->count == c->rows ? CHUNK_FULL : 0u));
    (void) tpi_buf_varint(out, e->body.len);
    (void) tpi_buf_put(out, e->body.ptr, e->body.len);
    *last_key = key;
    return 0;
}

/* Columns of one property: nearly always one, else one for each type. */
static int put_group(struct tpi_chunk_encoder *e, const struct tpi_chunk_group *g, uint32_t rows,
                     uint32_t *last_key, struct tpi_buf *out)
{
    int rc = 0;
    for (uint32_t type = 0; rc == 0 && type <= TPC_MAP; type++) {
        struct column c = { g, &e->sorted[g->first], type, 0, rows };
        for (uint32_t i = 0; (g->types & 1u << type) != 0 && i < g->count; i++) {
            c.count += c.samples[i].type == type;
        }
        if (c.count > 0) {
            rc = put_column(e, &c, last_key, out);
        }
    }
    return rc;
}

static uint32_t count_columns(const struct tpi_chunk_encoder *e, const struct totals *t)
{
    uint32_t columns = 0;
    for (uint32_t i = 0; i < t->groups; i++) {
        const struct tpi_chunk_group *g = &e->groups[i];
        uint32_t seen = 0; /* a type may be gone with the values that were replaced */
        for (uint32_t k = 0; k < g->count && seen != g->types; k++) {
            seen |= 1u << e->sorted[g->first + k].type;
        }
        columns += (uint32_t) __builtin_popcount(seen);
    }
    return columns;
}

static int put_head(const struct tpi_chunk_encoder *e, const struct tpi_chunk_span *span,
                    uint32_t columns, struct tpi_buf *out)
{
    int rc = tpi_buf_reserve(out, 2 + ((size_t) span->rows + 5) * VARINT_BYTES);
    if (rc != 0) {
        return rc;
    }
    (void) tpi_buf_u8(out, CHUNK_MAGIC);
    (void) tpi_buf_u8(out, TPI_CHUNK_VERSION);
    (void) tpi_buf_varint(out, span->rows);
    (void) tpi_buf_varint(out, columns);
    (void) tpi_buf_varint(out, span->first_offset);
    (void) tpi_buf_varint(out, span->last_offset - span->first_offset);
    (void) tpi_buf_zigzag(out, span->first_unix_ms);
    for (uint32_t i = 1; i < span->rows; i++) {
        (void) tpi_buf_varint(out,
                              (uint64_t) e->runs[i].unix_ms - (uint64_t) e->runs[i - 1].unix_ms);
    }
    return 0;
}

static int encode(struct tpi_chunk_encoder *e, struct tpc_bytes open, struct totals *t,
                  struct tpi_chunk_span *span, struct tpi_buf *out)
{
    int rc = read_open(e, open, t);
    if (rc != 0) {
        return rc;
    }
    span->rows = rank_runs(e, t);
    span->first_unix_ms = e->runs[0].unix_ms;
    span->last_unix_ms = e->runs[span->rows - 1].unix_ms;
    sort_samples(e, t);
    rc = put_head(e, span, count_columns(e, t), out);
    uint32_t last_key = 0;
    for (uint32_t i = 0; rc == 0 && i < t->groups; i++) {
        rc = put_group(e, &e->groups[i], span->rows, &last_key, out);
    }
    return rc;
}

int tpi_chunk_encode(struct tpi_chunk_encoder *e, struct tpc_bytes open, uint64_t first_offset,
                     uint64_t last_offset, struct tpi_buf *out, struct tpi_chunk_span *ret)
{
    if (last_offset < first_offset) {
        return TPC_EINVAL;
    }
    if (e->group_of == NULL) {
        e->group_of = tpi_alloc_zero(e->alloc, GROUP_SLOTS * sizeof(*e->group_of));
        if (e->group_of == NULL) {
            return TPC_ENOMEM;
        }
    }
    size_t before = out->len;
    struct totals t = { .in_order = true };
    struct tpi_chunk_span span = { .first_offset = first_offset, .last_offset = last_offset };
    int rc = encode(e, open, &t, &span, out);
    for (uint32_t i = 0; i < t.groups; i++) {
        e->group_of[e->groups[i].property] = 0;
    }
    if (rc != 0) {
        out->len = before;
        return rc;
    }
    *ret = span;
    return 0;
}
