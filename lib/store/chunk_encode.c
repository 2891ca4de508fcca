#include <stdlib.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "store/chunk_column.h"
#include "store/chunk_open.h"

enum {
    GROUP_SLOTS = 65536,
    FIRST_SAMPLES = 256,
    FIRST_ITEMS = 32,
    PLAIN_SCALE_MOST = 6, /* that is looked for in samples put one by one */
    PLACES = 128          /* columns of a matrix; more are sorted */
};

struct tpi_chunk_sample {
    int64_t number; /* as in numbers[] of a column */
    uint32_t row;
    uint32_t index; /* in the order of the log */
    uint16_t property;
    uint8_t type;
    uint8_t kind;
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

/* ---- scratch ---- */

void tpi_chunk_encoder_init(struct tpi_chunk_encoder *e, const struct tpc_allocator *alloc)
{
    memset(e, 0, sizeof(*e));
    e->alloc = alloc;
    tpi_buf_init(&e->columns, alloc, 0);
    tpi_buf_init(&e->body, alloc, 0);
}

static void free_samples(struct tpi_chunk_encoder *e)
{
    tpi_free(e->alloc, e->samples, e->sample_cap * sizeof(*e->samples));
    tpi_free(e->alloc, e->sorted, e->sample_cap * sizeof(*e->sorted));
    tpi_free(e->alloc, e->numbers, e->sample_cap * sizeof(*e->numbers));
    tpi_free(e->alloc, e->rows, e->sample_cap * sizeof(*e->rows));
    tpi_free(e->alloc, e->kinds, e->sample_cap * sizeof(*e->kinds));
}

void tpi_chunk_encoder_fini(struct tpi_chunk_encoder *e)
{
    free_samples(e);
    tpi_free(e->alloc, e->groups, e->group_cap * sizeof(*e->groups));
    tpi_free(e->alloc, e->runs, e->run_cap * sizeof(*e->runs));
    tpi_free(e->alloc, e->group_of, GROUP_SLOTS * sizeof(*e->group_of));
    tpi_chunk_shapes_fini(&e->shapes, e->alloc);
    tpi_buf_fini(&e->columns);
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

/* Room for `more` samples behind `count`: all arrays have one capacity, and only the samples hold
 * something while they are read. */
static int grow_samples(struct tpi_chunk_encoder *e, size_t count, size_t more)
{
    if (more <= e->sample_cap - count) {
        return 0;
    }
    struct tpi_chunk_encoder next = { .alloc = e->alloc, .sample_cap = FIRST_SAMPLES };
    while (next.sample_cap < count + more) {
        next.sample_cap *= 2;
    }
    next.samples = tpi_alloc(e->alloc, next.sample_cap * sizeof(*e->samples));
    next.sorted = tpi_alloc(e->alloc, next.sample_cap * sizeof(*e->sorted));
    next.numbers = tpi_alloc(e->alloc, next.sample_cap * sizeof(*e->numbers));
    next.rows = tpi_alloc(e->alloc, next.sample_cap * sizeof(*e->rows));
    next.kinds = tpi_alloc(e->alloc, next.sample_cap * sizeof(*e->kinds));
    if (next.samples == NULL || next.sorted == NULL || next.numbers == NULL || next.rows == NULL ||
        next.kinds == NULL) {
        free_samples(&next);
        return TPC_ENOMEM;
    }
    if (count > 0) {
        memcpy(next.samples, e->samples, count * sizeof(*e->samples));
    }
    free_samples(e);
    e->samples = next.samples;
    e->sorted = next.sorted;
    e->numbers = next.numbers;
    e->rows = next.rows;
    e->kinds = next.kinds;
    e->sample_cap = next.sample_cap;
    return 0;
}

/* ---- reading the open samples ---- */

struct totals {
    uint32_t samples;
    uint32_t runs;
    uint32_t groups;
    bool in_order; /* times grow strictly */
    bool uniform;  /* all of them are rows of the first shape */
    int64_t last_ms;
};

static int add_run(struct tpi_chunk_encoder *e, struct totals *t, int64_t unix_ms)
{
    struct tpi_chunk_run *runs = grow(e->alloc, e->runs, &e->run_cap, t->runs, sizeof(*e->runs));
    if (runs == NULL) {
        return TPC_ENOMEM;
    }
    e->runs = runs;
    e->runs[t->runs] = (struct tpi_chunk_run){ unix_ms, t->runs, t->runs };
    t->in_order = t->in_order && (t->runs == 0 || unix_ms > t->last_ms);
    t->last_ms = unix_ms;
    t->runs++;
    return 0;
}

/* Where a length and that many bytes stand. */
static int64_t skip_bytes(struct tpi_reader *in, const uint8_t *open)
{
    int64_t at = in->p - open;
    uint64_t len = tpi_read_varint(in);
    if (len > tpi_reader_left(in)) {
        in->bad = true;
    } else {
        in->p += len;
    }
    return at;
}

static void read_plain(struct tpi_reader *in, const uint8_t *open, struct tpi_chunk_sample *s)
{
    switch (s->type) {
    case TPC_NULL:
        s->number = 0;
        return;
    case TPC_BOOL:
        s->number = tpi_read_u8(in);
        return;
    case TPC_INT:
        s->number = tpi_read_zigzag(in);
        return;
    case TPC_DOUBLE:
        s->kind = KIND_REAL;
        s->number = (int64_t) tpi_read_u64(in);
        for (uint8_t scale = 0; scale <= PLAIN_SCALE_MOST && s->kind == KIND_REAL; scale++) {
            int64_t n;
            if (chunk_decimal(chunk_double((uint64_t) s->number), scale, &n)) {
                s->kind = scale;
                s->number = n;
            }
        }
        return;
    default:
        s->number = skip_bytes(in, open);
        return;
    }
}

static int read_sample(struct tpi_chunk_encoder *e, struct tpi_reader *in, struct tpc_bytes open,
                       uint8_t tag, struct totals *t)
{
    int rc = grow_samples(e, t->samples, 1);
    t->uniform = false;
    if (rc == 0 && (tag & OPEN_TIME) != 0) {
        rc = add_run(e, t, (int64_t) tpi_read_u64(in));
    }
    if (rc != 0) {
        return rc;
    }
    struct tpi_chunk_sample *s = &e->samples[t->samples];
    s->type = tag & OPEN_TYPE_MASK;
    s->property = tpi_read_u16(in);
    read_plain(in, open.ptr, s);
    if (in->bad || t->runs == 0 || s->property == 0) {
        return TPC_ECORRUPT;
    }
    s->row = t->runs - 1;
    s->index = t->samples++;
    return 0;
}

static int read_shape(struct tpi_chunk_encoder *e, struct tpi_reader *in, struct totals *t)
{
    struct tpi_chunk_shape_column *c;
    uint64_t count = tpi_read_varint(in);
    t->uniform = t->uniform && t->samples == 0;
    if (in->bad || count > CHUNK_SHAPE_COLUMNS) {
        return TPC_ECORRUPT;
    }
    int rc = tpi_chunk_shapes_add(&e->shapes, e->alloc, (uint32_t) count, &c);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : TPC_ECORRUPT;
    }
    for (uint32_t i = 0; i < count; i++) {
        c[i].property = tpi_read_u16(in);
        c[i].type = tpi_read_u8(in);
        if (c[i].property == 0 || c[i].type > TPC_MAP) {
            return TPC_ECORRUPT;
        }
    }
    return in->bad ? TPC_ECORRUPT : 0;
}

static void read_double(struct tpi_reader *in, struct tpi_chunk_shape_column *c,
                        struct tpi_chunk_sample *s)
{
    uint64_t code = chunk_read_varint(in);
    if ((code & 1) == 0) {
        c->last = (int64_t) ((uint64_t) c->last + (uint64_t) chunk_unzigzag(code >> 1));
    } else if (code == OPEN_REAL) {
        s->number = (int64_t) tpi_read_u64(in);
        s->kind = KIND_REAL;
        return;
    } else {
        in->bad = in->bad || code >> 2 > CHUNK_MAX_SCALE;
        c->scale = (uint8_t) (code >> 2 & CODE_SCALE_MASK);
        c->last = chunk_read_zigzag(in);
    }
    const int64_t limit = (int64_t) CHUNK_DECIMAL_LIMIT;
    in->bad = in->bad || c->last <= -limit || c->last >= limit;
    s->number = c->last;
    s->kind = c->scale;
}

static void read_in_row(struct tpi_reader *in, const uint8_t *open,
                        struct tpi_chunk_shape_column *c, struct tpi_chunk_sample *s)
{
    switch (c->type) {
    case TPC_NULL:
        s->number = 0;
        return;
    case TPC_BOOL:
        s->number = tpi_read_u8(in);
        return;
    case TPC_INT:
        c->last = (int64_t) ((uint64_t) c->last + (uint64_t) chunk_read_zigzag(in));
        s->number = c->last;
        return;
    case TPC_DOUBLE:
        read_double(in, c, s);
        return;
    default:
        s->number = skip_bytes(in, open);
        return;
    }
}

static int read_row(struct tpi_chunk_encoder *e, struct tpi_reader *in, struct tpc_bytes open,
                    uint32_t shape, struct totals *t)
{
    if (shape >= e->shapes.count) {
        return TPC_ECORRUPT;
    }
    uint32_t begin = shape == 0 ? 0 : e->shapes.end[shape - 1];
    uint32_t count = e->shapes.end[shape] - begin;
    struct tpi_chunk_shape_column *c = &e->shapes.columns[begin];
    if (count > TPI_CHUNK_MAX_SAMPLES - t->samples) {
        return TPC_ETOOBIG;
    }
    t->uniform = t->uniform && shape == 0;
    int rc = grow_samples(e, t->samples, count);
    if (rc == 0) {
        rc = add_run(e, t, (int64_t) ((uint64_t) t->last_ms + (uint64_t) chunk_read_zigzag(in)));
    }
    if (rc != 0) {
        return rc;
    }
    struct tpi_chunk_sample *s = &e->samples[t->samples];
    for (uint32_t i = 0; i < count; i++, s++) {
        s->row = t->runs - 1;
        s->index = t->samples + i;
        s->property = c[i].property;
        s->type = c[i].type;
        read_in_row(in, open.ptr, &c[i], s);
    }
    t->samples += count;
    return in->bad ? TPC_ECORRUPT : 0;
}

static int read_open(struct tpi_chunk_encoder *e, struct tpc_bytes open, struct totals *t)
{
    struct tpi_reader in;
    int rc = 0;
    tpi_reader_init(&in, open.ptr, open.len);
    e->shapes.count = 0;
    while (rc == 0 && tpi_reader_left(&in) > 0) {
        uint8_t tag = tpi_read_u8(&in);
        if (t->samples == TPI_CHUNK_MAX_SAMPLES) {
            return TPC_ETOOBIG;
        }
        if ((tag & ~OPEN_SHAPE_MASK) == OPEN_ROW) {
            rc = read_row(e, &in, open, tag & OPEN_SHAPE_MASK, t);
        } else if (tag < OPEN_ROW) {
            rc = read_sample(e, &in, open, tag, t);
        } else if (tag == OPEN_DEFINE) {
            rc = read_shape(e, &in, t);
        } else {
            rc = tag == OPEN_RESET ? 0 : TPC_ECORRUPT;
            e->shapes.count = 0;
            t->uniform = t->uniform && t->samples == 0;
        }
    }
    return rc != 0 ? rc : t->samples > 0 ? 0 : TPC_EINVAL;
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
    return x->index < y->index ? -1 : x->index > y->index;
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

/* Of samples with one row, the last one that came. */
static void keep_last(struct tpi_chunk_group *g, struct tpi_chunk_sample *s)
{
    qsort(s, g->count, sizeof(*s), compare_samples);
    uint32_t kept = 0;
    for (uint32_t k = 1; k < g->count; k++) {
        kept += s[k].row != s[kept].row;
        s[kept] = s[k];
    }
    g->count = kept + 1;
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
    e->groups[*slot - 1].count++;
    return 0;
}

static int count_groups(struct tpi_chunk_encoder *e, struct totals *t)
{
    if (e->group_of == NULL) {
        e->group_of = tpi_alloc_zero(e->alloc, GROUP_SLOTS * sizeof(*e->group_of));
        if (e->group_of == NULL) {
            return TPC_ENOMEM;
        }
    }
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < t->samples; i++) {
        rc = group_count(e, &e->samples[i], t);
    }
    return rc;
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
        if (!rising) {
            keep_last(g, s);
        }
        for (uint32_t k = 0; k < g->count; k++) {
            g->types |= (uint8_t) (1u << s[k].type);
        }
    }
}

/* ---- writing ---- */

/* Columns as they are written: in groups of CHUNK_GROUP if there are more than that. */
struct writer {
    struct tpi_chunk_encoder *e;
    struct tpc_bytes open;
    struct tpi_buf *out;
    uint32_t columns; /* of the chunk */
    uint32_t rows;
    uint32_t done;
    uint32_t last_key;
    uint32_t group_key;     /* last one of the group before */
    uint8_t places[PLACES]; /* of a row's points, in the order of their properties */
};

static int end_group(struct writer *w)
{
    struct tpi_buf *columns = &w->e->columns;
    int rc = tpi_buf_reserve(w->out, columns->len + 2 * VARINT_BYTES);
    if (rc == 0) {
        (void) tpi_buf_varint(w->out, w->last_key - w->group_key);
        (void) tpi_buf_varint(w->out, columns->len);
        (void) tpi_buf_put(w->out, columns->ptr, columns->len);
        w->group_key = w->last_key;
        tpi_buf_clear(columns);
    }
    return rc;
}

static int put_column(struct writer *w, struct chunk_column *c)
{
    struct tpi_buf *body = &w->e->body;
    bool grouped = w->columns > CHUNK_GROUP;
    struct tpi_buf *out = grouped ? &w->e->columns : w->out;
    tpi_buf_clear(body);
    int rc = tpi_chunk_column_put(body, c);
    if (rc == 0) {
        rc = tpi_buf_reserve(out, body->len + 3 * VARINT_BYTES);
    }
    if (rc != 0) {
        return rc;
    }
    uint32_t key = (uint32_t) c->property << CHUNK_TYPE_BITS | c->type;
    (void) tpi_buf_varint(out, key - w->last_key);
    (void) tpi_buf_varint(out, (uint64_t) c->count << 1 | (c->count == c->rows ? CHUNK_FULL : 0u));
    (void) tpi_buf_varint(out, body->len);
    (void) tpi_buf_put(out, body->ptr, body->len);
    w->last_key = key;
    w->done++;
    if (grouped && (w->done % CHUNK_GROUP == 0 || w->done == w->columns)) {
        rc = end_group(w);
    }
    return rc;
}

static struct chunk_column column_of(const struct writer *w, uint16_t property, uint32_t type)
{
    return (struct chunk_column){ .property = property,
                                  .type = (uint8_t) type,
                                  .rows = w->rows,
                                  .numbers = w->e->numbers,
                                  .kinds = w->e->kinds,
                                  .open = w->open.ptr,
                                  .open_end = w->open.ptr + w->open.len };
}

/* Columns of one property: nearly always one, else one for each type. */
static int put_group(struct writer *w, const struct tpi_chunk_group *g)
{
    struct tpi_chunk_encoder *e = w->e;
    const struct tpi_chunk_sample *s = &e->sorted[g->first];
    int rc = 0;
    for (uint32_t type = 0; rc == 0 && type <= TPC_MAP; type++) {
        if ((g->types & 1u << type) == 0) {
            continue;
        }
        struct chunk_column c = column_of(w, g->property, type);
        for (uint32_t i = 0; i < g->count; i++) {
            if (s[i].type == type) {
                e->numbers[c.count] = s[i].number;
                e->kinds[c.count] = s[i].kind;
                e->rows[c.count++] = s[i].row;
            }
        }
        c.row_of = c.count < c.rows ? e->rows : NULL;
        rc = put_column(w, &c);
    }
    return rc;
}

/* Columns of samples that are a matrix: the column at `place` of a row. */
static int put_place(struct writer *w, uint32_t place, uint32_t step)
{
    struct tpi_chunk_encoder *e = w->e;
    const struct tpi_chunk_sample *s = &e->samples[place];
    struct chunk_column c = column_of(w, s->property, s->type);
    for (uint32_t i = 0; i < w->rows; i++, s += step) {
        e->numbers[i] = s->number;
        e->kinds[i] = s->kind;
    }
    c.count = w->rows;
    return put_column(w, &c);
}

/* Places of a row in the order of their keys; false if a property is there twice. */
static bool order_places(const struct tpi_chunk_sample *s, uint32_t count, uint8_t *ret)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = i;
        for (; k > 0 && s[ret[k - 1]].property > s[i].property; k--) {
            ret[k] = ret[k - 1];
        }
        if (k > 0 && s[ret[k - 1]].property == s[i].property) {
            return false;
        }
        ret[k] = (uint8_t) i;
    }
    return true;
}

static int put_head(const struct tpi_chunk_encoder *e, const struct tpi_chunk_span *span,
                    uint32_t columns, struct tpi_buf *out)
{
    uint32_t rows = span->rows;
    size_t bound = chunk_ints_bound(rows);
    int rc = tpi_buf_reserve(out, CHUNK_HEAD_BYTES + 8 * VARINT_BYTES + 2 * bound);
    if (rc != 0) {
        return rc;
    }
    (void) tpi_buf_u8(out, CHUNK_MAGIC);
    (void) tpi_buf_u8(out, TPI_CHUNK_VERSION);
    (void) tpi_buf_u32(out, 0); /* see seal() */
    (void) tpi_buf_varint(out, rows);
    (void) tpi_buf_varint(out, columns);
    (void) tpi_buf_varint(out, span->first_offset);
    (void) tpi_buf_varint(out, span->last_offset - span->first_offset);
    (void) tpi_buf_zigzag(out, span->first_unix_ms);
    if (rows == 1) {
        return 0;
    }
    uint64_t first = (uint64_t) span->first_unix_ms;
    uint64_t length = (uint64_t) span->last_unix_ms - first;
    uint64_t step = length / (rows - 1) + (length % (rows - 1) > (rows - 1) / 2);
    for (uint32_t i = 1; i < rows; i++) {
        e->numbers[i] = (int64_t) ((uint64_t) e->runs[i].unix_ms - first - i * step);
    }
    uint8_t *times = out->ptr + out->len + 3 * VARINT_BYTES + bound;
    size_t bytes = (size_t) (tpi_chunk_ints_put(times, e->numbers + 1, rows - 1, 0) - times);
    (void) tpi_buf_varint(out, length);
    (void) tpi_buf_varint(out, step);
    (void) tpi_buf_varint(out, bytes);
    (void) tpi_buf_put(out, times, bytes);
    return 0;
}

/* The CRC of all bytes but its own. */
static void seal(uint8_t *chunk, size_t len)
{
    uint32_t crc = tpi_crc32c(0, chunk, 2);
    crc = tpi_crc32c(crc, chunk + CHUNK_HEAD_BYTES, len - CHUNK_HEAD_BYTES);
    tpi_put_u32(chunk + 2, crc);
}

static void begin(struct writer *w, struct tpi_chunk_span *span)
{
    const struct tpi_chunk_run *runs = w->e->runs;
    span->rows = w->rows;
    span->first_unix_ms = runs[0].unix_ms;
    span->last_unix_ms = runs[w->rows - 1].unix_ms;
    tpi_buf_clear(&w->e->columns);
}

/* The usual case: rows of one shape in the order of time are turned over, nothing is sorted. */
static int put_matrix(struct writer *w, const struct totals *t, struct tpi_chunk_span *span)
{
    w->rows = t->runs;
    w->columns = t->samples / t->runs;
    begin(w, span);
    int rc = put_head(w->e, span, w->columns, w->out);
    for (uint32_t i = 0; rc == 0 && i < w->columns; i++) {
        rc = put_place(w, w->places[i], w->columns);
    }
    return rc;
}

static int put_sorted(struct writer *w, struct totals *t, struct tpi_chunk_span *span)
{
    struct tpi_chunk_encoder *e = w->e;
    int rc = count_groups(e, t);
    if (rc != 0) {
        return rc;
    }
    w->rows = rank_runs(e, t);
    begin(w, span);
    sort_samples(e, t);
    for (uint32_t i = 0; i < t->groups; i++) {
        w->columns += (uint32_t) __builtin_popcount(e->groups[i].types);
    }
    rc = put_head(e, span, w->columns, w->out);
    for (uint32_t i = 0; rc == 0 && i < t->groups; i++) {
        rc = put_group(w, &e->groups[i]);
    }
    return rc;
}

int tpi_chunk_encode(struct tpi_chunk_encoder *e, struct tpc_bytes open, uint64_t first_offset,
                     uint64_t last_offset, struct tpi_buf *out, struct tpi_chunk_span *ret)
{
    if (last_offset < first_offset) {
        return TPC_EINVAL;
    }
    size_t before = out->len;
    struct totals t = { .in_order = true, .uniform = true };
    struct writer w = { .e = e, .open = open, .out = out };
    struct tpi_chunk_span span = { .first_offset = first_offset, .last_offset = last_offset };
    int rc = read_open(e, open, &t);
    if (rc == 0) {
        bool matrix = t.uniform && t.in_order && t.samples / t.runs <= PLACES &&
                      order_places(e->samples, t.samples / t.runs, w.places);
        rc = matrix ? put_matrix(&w, &t, &span) : put_sorted(&w, &t, &span);
    }
    for (uint32_t i = 0; i < t.groups; i++) {
        e->group_of[e->groups[i].property] = 0;
    }
    if (rc != 0) {
        out->len = before;
        return rc;
    }
    seal(out->ptr + before, out->len - before);
    *ret = span;
    return 0;
}
