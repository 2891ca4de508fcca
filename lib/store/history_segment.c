#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "store/history_read.h"

/* ---- wanted columns ---- */

static int compare_wanted(const void *a, const void *b)
{
    const struct tpi_wanted *x = a;
    const struct tpi_wanted *y = b;
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    return x->column < y->column ? -1 : x->column > y->column;
}

void tpi_read_wanted(struct tpi_history_rows *r)
{
    const uint16_t *ids = r->q.devices[r->device].properties;
    r->wanted_count = 0;
    for (uint32_t i = 0; i < r->q.property_count; i++) {
        if (ids[i] != 0) {
            r->wanted[r->wanted_count++] = (struct tpi_wanted){ ids[i], (uint16_t) i };
        }
    }
    if (r->wanted_count > 1) {
        qsort(r->wanted, r->wanted_count, sizeof(*r->wanted), compare_wanted);
    }
}

int tpi_read_open_chunk(struct tpi_history_rows *r, const struct tpi_source *s,
                        struct tpi_chunk_reader *ret)
{
    int rc = tpi_chunk_open(ret, s->blob, r->err);
    if (rc == 0 && (ret->span.first_unix_ms != s->first_ms || ret->span.rows != s->rows)) {
        rc = tpi_error_set(r->err, TPC_ECORRUPT, "history", "a chunk is not the one of its row");
    }
    return rc;
}

int tpi_read_next_column(struct tpi_history_rows *r, struct tpi_chunk_reader *in, uint32_t *at,
                         struct tpi_chunk_column *ret)
{
    int rc = 0;
    while (*at < r->wanted_count) {
        rc = tpi_chunk_seek(in, r->wanted[*at].id, r->err);
        rc = rc != 0 ? rc : tpi_chunk_next(in, r->err, ret);
        if (rc != 1) {
            return rc;
        }
        while (*at < r->wanted_count && r->wanted[*at].id < ret->property) {
            ++*at;
        }
        if (*at < r->wanted_count && r->wanted[*at].id == ret->property) {
            return 1;
        }
    }
    return 0;
}

/* ---- room ---- */

void tpi_segment_fini(struct tpi_history_rows *r, struct tpi_segment *s)
{
    for (uint32_t i = 0; s->columns != NULL && i < r->q.property_count; i++) {
        tpi_vector_fini(r->alloc, &s->columns[i]);
    }
    tpi_free(r->alloc, s->columns, r->q.property_count * sizeof(*s->columns));
    tpi_free(r->alloc, s->times, (size_t) s->cap * sizeof(*s->times));
    memset(s, 0, sizeof(*s));
}

static int clear(struct tpi_history_rows *r, struct tpi_segment *s, uint32_t rows)
{
    if (rows > s->cap) {
        int64_t *times = tpi_alloc(r->alloc, (size_t) rows * sizeof(*times));
        if (times == NULL) {
            return TPC_ENOMEM;
        }
        tpi_free(r->alloc, s->times, (size_t) s->cap * sizeof(*s->times));
        s->times = times;
        s->cap = rows;
    }
    if (s->columns == NULL) {
        s->columns = tpi_alloc_array(r->alloc, r->q.property_count, sizeof(*s->columns));
        if (s->columns == NULL) {
            return TPC_ENOMEM;
        }
    }
    s->rows = rows;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < r->q.property_count; i++) {
        rc = tpi_vector_clear(r->alloc, &s->columns[i], rows);
    }
    return rc;
}

uint32_t tpi_segment_find(const struct tpi_segment *s, uint32_t begin, uint32_t end,
                          int64_t unix_ms)
{
    if (begin < end && s->times[begin] >= unix_ms) {
        return begin;
    }
    if (begin < end && s->times[end - 1] < unix_ms) {
        return end;
    }
    while (begin < end) {
        uint32_t middle = begin + (end - begin) / 2;
        if (s->times[middle] < unix_ms) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    return begin;
}

static void clip(const struct tpi_history_rows *r, struct tpi_segment *s)
{
    s->begin = tpi_segment_find(s, 0, s->rows, r->window_low);
    s->end = tpi_segment_find(s, s->begin, s->rows, r->window_high);
}

/* ---- one chunk ---- */

static int need_dense(struct tpi_history_rows *r, size_t count)
{
    if (count > r->dense_cap) {
        uint64_t *p = tpi_resize(r->alloc, r->dense, r->dense_cap * sizeof(*p), count * sizeof(*p));
        if (p == NULL) {
            return TPC_ENOMEM;
        }
        r->dense = p;
        r->dense_cap = count;
    }
    return 0;
}

static int decode_plain(struct tpi_history_rows *r, const struct tpi_chunk_column *c, void *ret)
{
    return c->type == TPC_DOUBLE ? tpi_chunk_doubles(c, r->err, ret)
                                 : tpi_chunk_ints(c, r->err, ret);
}

/* Dense values to their rows. */
static void scatter(const struct tpi_history_rows *r, const struct tpi_chunk_column *c,
                    uint32_t rows, uint64_t *out)
{
    const uint64_t *in = r->dense;
    uint32_t at = 0;
    for (uint32_t row = 0; row < rows; row++) {
        bool has = (c->presence.ptr[row / 8] >> (row % 8) & 1) != 0;
        out[row] = has ? in[at] : 0;
        at += has;
    }
}

static int decode_number(struct tpi_history_rows *r, const struct tpi_chunk_column *c,
                         uint32_t rows, struct tpi_vector *v)
{
    int rc;
    v->type = c->type;
    if (c->presence.len == 0 && c->type != TPC_BOOL) {
        rc = decode_plain(r, c, v->data);
        memset(v->validity, 0xff, rows / 8);
        if (rows % 8 != 0) {
            v->validity[rows / 8] = (uint8_t) ((1u << (rows % 8)) - 1);
        }
        return rc;
    }
    rc = need_dense(r, c->count);
    rc = rc != 0 ? rc : decode_plain(r, c, r->dense);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t row = 0, at = 0; c->type == TPC_BOOL && row < rows; row++) {
        bool has = c->presence.len == 0 || (c->presence.ptr[row / 8] >> (row % 8) & 1) != 0;
        ((bool *) v->data)[row] = has && r->dense[at] != 0;
        v->validity[row / 8] |= (uint8_t) (has << (row % 8));
        at += has;
    }
    if (c->type != TPC_BOOL) {
        scatter(r, c, rows, v->data);
        memcpy(v->validity, c->presence.ptr, ((size_t) rows + 7) / 8);
    }
    return 0;
}

/* Into a vector with v->rows = rows, which is empty or has the property's values of another type. */
static int decode_column(struct tpi_history_rows *r, const struct tpi_chunk_column *c,
                         uint32_t rows, struct tpi_vector *v)
{
    bool number = c->type == TPC_BOOL || c->type == TPC_INT || c->type == TPC_DOUBLE;
    int rc = 0;
    if (v->type == TPI_VECTOR_EMPTY && number) {
        rc = decode_number(r, c, rows, v);
    } else if (v->type == TPI_VECTOR_EMPTY && c->type == TPC_NULL) {
        rc = need_dense(r, (size_t) rows * (sizeof(struct tpc_value) / sizeof(*r->dense)));
        v->type = TPC_NULL;
        rc = rc != 0 ? rc
                     : tpi_chunk_values(c, rows, r->window, r->err,
                                        (struct tpc_value *) (void *) r->dense, v->validity);
    } else {
        rc = tpi_vector_widen(r->alloc, v, c->type);
        rc = rc != 0 ? rc : tpi_chunk_values(c, rows, r->window, r->err, v->values, v->validity);
    }
    return rc;
}

static int decode(struct tpi_history_rows *r, const struct tpi_source *source,
                  struct tpi_segment *s)
{
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    uint32_t at = 0;
    int rc = tpi_read_open_chunk(r, source, &in);
    rc = rc != 0 ? rc : clear(r, s, in.span.rows);
    rc = rc != 0 ? rc : tpi_chunk_times(&in, r->err, s->times);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < r->q.property_count; i++) {
        s->columns[i].rows = s->rows;
    }
    while ((rc = tpi_read_next_column(r, &in, &at, &c)) == 1) {
        for (uint32_t k = at; k < r->wanted_count && r->wanted[k].id == c.property; k++) {
            int bad = decode_column(r, &c, s->rows, &s->columns[r->wanted[k].column]);
            if (bad != 0) {
                return bad;
            }
        }
    }
    for (uint32_t i = 0; rc == 0 && i < r->q.property_count; i++) {
        tpi_vector_count(&s->columns[i], s->rows);
    }
    clip(r, s);
    return rc;
}

/* ---- several chunks ---- */

static int compare_ranks(const void *a, const void *b)
{
    const struct tpi_source *x = a;
    const struct tpi_source *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    return x->open < y->open ? -1 : x->open > y->open;
}

static int compare_entries(const void *a, const void *b)
{
    const struct tpi_entry *x = a;
    const struct tpi_entry *y = b;
    if (x->unix_ms != y->unix_ms) {
        return x->unix_ms < y->unix_ms ? -1 : 1;
    }
    return x->source < y->source ? -1 : x->source > y->source;
}

static int need_decoded(struct tpi_history_rows *r, size_t count)
{
    if (count > r->decoded_count) {
        struct tpi_segment *p =
            tpi_resize(r->alloc, r->decoded, r->decoded_count * sizeof(*p), count * sizeof(*p));
        if (p == NULL) {
            return TPC_ENOMEM;
        }
        memset(p + r->decoded_count, 0, (count - r->decoded_count) * sizeof(*p));
        r->decoded = p;
        r->decoded_count = count;
    }
    return 0;
}

static int add_entries(struct tpi_history_rows *r, uint32_t source)
{
    const struct tpi_segment *s = &r->decoded[source];
    for (uint32_t row = s->begin; row < s->end; row++) {
        struct tpi_entry *e = tpi_list_add(r->alloc, &r->entries);
        if (e == NULL) {
            return TPC_ENOMEM;
        }
        *e = (struct tpi_entry){ s->times[row], source, row };
    }
    return 0;
}

/* One time's rows, [e, end): of each column the last appended value counts. */
static int merge_row(struct tpi_history_rows *r, const struct tpi_entry *e,
                     const struct tpi_entry *end)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < r->q.property_count; i++) {
        struct tpc_value value = { .type = TPC_NULL };
        bool has = false;
        for (const struct tpi_entry *k = end; !has && k > e; k--) {
            const struct tpi_vector *v = &r->decoded[k[-1].source].columns[i];
            has = tpi_vector_has(v, k[-1].row);
            if (has) {
                value = tpi_vector_get(v, k[-1].row);
            }
        }
        rc = tpi_vector_push(r->alloc, &r->merged.columns[i], has ? &value : NULL);
    }
    return rc;
}

static int merge(struct tpi_history_rows *r)
{
    struct tpi_segment *m = &r->merged;
    struct tpi_entry *e = r->entries.items;
    size_t count = r->entries.count;
    if (count > UINT32_MAX / 2) {
        return tpi_error_set(r->err, TPC_ETOOBIG, "history", "too many chunks overlap");
    }
    if (count > 1) {
        qsort(e, count, sizeof(*e), compare_entries);
    }
    int rc = clear(r, m, (uint32_t) count);
    m->rows = 0;
    for (size_t first = 0; rc == 0 && first < count;) {
        size_t end = first + 1;
        while (end < count && e[end].unix_ms == e[first].unix_ms) {
            end++;
        }
        m->times[m->rows++] = e[first].unix_ms;
        rc = merge_row(r, e + first, e + end);
        first = end;
    }
    m->begin = 0;
    m->end = m->rows;
    return rc;
}

int tpi_read_segment(struct tpi_history_rows *r, struct tpi_source *sources, size_t count,
                     const struct tpi_segment **ret)
{
    int rc = need_decoded(r, count);
    if (rc == 0 && count > 1) {
        qsort(sources, count, sizeof(*sources), compare_ranks);
    }
    r->entries.count = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = decode(r, &sources[i], &r->decoded[i]);
        if (rc == 0 && count > 1) {
            rc = add_entries(r, i);
        }
    }
    if (rc == 0 && count > 1) {
        rc = merge(r);
    }
    if (rc == 0) {
        *ret = count > 1 ? &r->merged : &r->decoded[0];
    }
    return rc;
}
