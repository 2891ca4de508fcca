/*
 * Few points for many. A device is read twice: heads of chunks say how many numbers each column has,
 * then the rows are cut into buckets by their index, so that no more than two buckets are held.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "store/history_read.h"

struct point {
    int64_t unix_ms;
    double value;
};

struct bucket {
    struct point *points;
    size_t count;
    size_t cap;
};

/* One column of the present device. */
struct thin {
    uint64_t total; /* numbers that it has; more may come meanwhile: they go into the last bucket */
    uint64_t index; /* of the next one */
    uint64_t bucket;
    struct bucket present;
    struct bucket next;    /* LTTB only */
    struct point selected; /* LTTB: the last one that was */
    struct point *out;     /* at most sample_points */
    uint32_t out_count;
    uint32_t at; /* of out, while rows are made */
};

struct tpi_sampling {
    struct thin *thins; /* one for each property */
};

int tpi_sample_open(struct tpi_history_rows *r)
{
    struct tpi_sampling *a = tpi_alloc_zero(r->alloc, sizeof(*a));
    r->sampling = a;
    if (a != NULL) {
        a->thins = tpi_alloc_array(r->alloc, r->q.property_count, sizeof(*a->thins));
    }
    return a != NULL && a->thins != NULL ? 0 : TPC_ENOMEM;
}

static void bucket_fini(struct tpi_history_rows *r, struct bucket *b)
{
    tpi_free(r->alloc, b->points, b->cap * sizeof(*b->points));
}

void tpi_sample_close(struct tpi_history_rows *r)
{
    struct tpi_sampling *a = r->sampling;
    if (a == NULL) {
        return;
    }
    for (uint32_t i = 0; a->thins != NULL && i < r->q.property_count; i++) {
        struct thin *t = &a->thins[i];
        bucket_fini(r, &t->present);
        bucket_fini(r, &t->next);
        tpi_free(r->alloc, t->out, r->q.sample_points * sizeof(*t->out));
    }
    tpi_free(r->alloc, a->thins, r->q.property_count * sizeof(*a->thins));
    tpi_free(r->alloc, a, sizeof(*a));
    r->sampling = NULL;
}

/* ---- counting ---- */

static bool number_at(const struct tpi_vector *v, uint32_t row, double *ret)
{
    return tpi_vector_has(v, row) && tpi_vector_number(v, row, ret) && !isnan(*ret);
}

/* Returns 1 if the chunk's heads were taken, 0 if its rows are needed, or an error. */
static int count_heads(struct tpi_history_rows *r, const struct tpi_source *source)
{
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    int rc = tpi_read_open_chunk(r, source, &in);
    if (rc != 0) {
        return rc;
    }
    struct tpi_chunk_reader again = in;
    uint32_t at = 0;
    while ((rc = tpi_read_next_column(r, &in, &at, &c)) == 1) {
        if (c.nan) {
            return 0;
        }
    }
    for (at = 0; rc == 0 && (rc = tpi_read_next_column(r, &again, &at, &c)) == 1; rc = 0) {
        bool number = c.type == TPC_BOOL || c.type == TPC_INT || c.type == TPC_DOUBLE;
        for (uint32_t k = at; number && k < r->wanted_count; k++) {
            if (r->wanted[k].id != c.property) {
                break;
            }
            r->sampling->thins[r->wanted[k].column].total += c.count;
        }
    }
    return rc < 0 ? rc : 1;
}

static int count_rows(struct tpi_history_rows *r, struct tpi_source *sources, size_t count)
{
    int rc = tpi_read_segment(r, sources, count, &r->segment);
    for (uint32_t i = 0; rc == 0 && i < r->q.property_count; i++) {
        double x;
        for (uint32_t row = r->segment->begin; row < r->segment->end; row++) {
            r->sampling->thins[i].total += number_at(&r->segment->columns[i], row, &x);
        }
    }
    return rc;
}

static int count_device(struct tpi_history_rows *r)
{
    struct tpi_source *sources;
    size_t count;
    int rc;
    while ((rc = tpi_read_cluster(r, &sources, &count)) == 1) {
        bool alone = count == 1 && tpi_read_inside(r, sources);
        rc = alone ? count_heads(r, sources) : 0;
        if (rc == 0) {
            rc = count_rows(r, sources, count);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return rc;
}

/* ---- buckets ---- */

static int bucket_add(struct tpi_history_rows *r, struct bucket *b, struct point p)
{
    if (b->count == b->cap) {
        size_t cap = b->cap != 0 ? b->cap * 2 : 64;
        struct point *points = tpi_resize(r->alloc, b->points, b->cap * sizeof(p), cap * sizeof(p));
        if (points == NULL) {
            return TPC_ENOMEM;
        }
        b->points = points;
        b->cap = cap;
    }
    b->points[b->count++] = p;
    return 0;
}

/* Times as distances: the average of unix ms would lose digits. */
static struct point average(const struct bucket *b)
{
    double time = 0;
    double value = 0;
    int64_t first = b->points[0].unix_ms;
    for (size_t i = 0; i < b->count; i++) {
        time += (double) ((uint64_t) b->points[i].unix_ms - (uint64_t) first);
        value += b->points[i].value;
    }
    double n = (double) b->count;
    return (struct point){ (int64_t) ((uint64_t) first + (uint64_t) (time / n)), value / n };
}

static void out(const struct tpi_history_rows *r, struct thin *t, struct point p)
{
    if (t->out_count < r->q.sample_points) {
        t->out[t->out_count++] = p;
    }
}

/* ---- LTTB ---- */

/* First index of bucket b, 1 to points - 2; bucket 0 is the first sample, points - 1 the last. */
static uint64_t lttb_begin(const struct tpi_history_rows *r, const struct thin *t, uint64_t b)
{
    if (b >= r->q.sample_points - 1) {
        return t->total - 1;
    }
    double every = (double) (t->total - 2) / (double) (r->q.sample_points - 2);
    return b == 0 ? 0 : (uint64_t) ((double) (b - 1) * every) + 1;
}

/* Of the present bucket the point that makes the largest triangle with the one selected before and
 * the average of the next bucket. */
static void lttb_select(const struct tpi_history_rows *r, struct thin *t)
{
    double time = 0;
    double value = 0;
    double n = (double) t->next.count;
    int64_t zero = t->selected.unix_ms;
    double most = -1;
    size_t best = 0;
    for (size_t i = 0; i < t->next.count; i++) {
        time += (double) ((uint64_t) t->next.points[i].unix_ms - (uint64_t) zero);
        value += t->next.points[i].value;
    }
    time /= n;
    value /= n;
    for (size_t i = 0; i < t->present.count; i++) {
        const struct point *p = &t->present.points[i];
        double at = (double) ((uint64_t) p->unix_ms - (uint64_t) zero);
        double area =
            fabs(time * (p->value - t->selected.value) - at * (value - t->selected.value));
        if (area > most) {
            most = area;
            best = i;
        }
    }
    t->selected = t->present.points[best];
    out(r, t, t->selected);
}

static void lttb_turn(const struct tpi_history_rows *r, struct thin *t)
{
    if (t->present.count > 0 && t->next.count > 0) {
        lttb_select(r, t);
    }
    struct bucket empty = t->present;
    t->present = t->next;
    t->next = empty;
    t->next.count = 0;
}

static int lttb_add(struct tpi_history_rows *r, struct thin *t, struct point p)
{
    uint64_t i = t->index++;
    if (t->total <= r->q.sample_points) {
        out(r, t, p);
        return 0;
    }
    if (i == 0) {
        t->selected = p;
        t->bucket = 1; /* what is collected: present is bucket 0, which is done */
        out(r, t, p);
        return 0;
    }
    while (t->bucket + 1 < r->q.sample_points && i >= lttb_begin(r, t, t->bucket + 1)) {
        lttb_turn(r, t);
        t->bucket++;
    }
    return bucket_add(r, &t->next, p);
}

static void lttb_end(const struct tpi_history_rows *r, struct thin *t)
{
    if (t->total <= r->q.sample_points || t->next.count == 0) {
        return;
    }
    if (t->present.count > 0) {
        lttb_select(r, t);
    }
    out(r, t, t->next.points[t->next.count - 1]);
}

/* ---- averages ---- */

static int average_add(struct tpi_history_rows *r, struct thin *t, struct point p)
{
    uint64_t points = r->q.sample_points;
    uint64_t i = t->index++;
    if (t->total <= points) {
        out(r, t, p);
        return 0;
    }
    while (t->bucket + 1 < points &&
           i >= (uint64_t) ((double) (t->bucket + 1) * ((double) t->total / (double) points))) {
        if (t->present.count > 0) {
            out(r, t, average(&t->present));
        }
        t->present.count = 0;
        t->bucket++;
    }
    return bucket_add(r, &t->present, p);
}

static void average_end(const struct tpi_history_rows *r, struct thin *t)
{
    if (t->present.count > 0) {
        out(r, t, average(&t->present));
    }
}

/* ---- reading ---- */

static int thin_rows(struct tpi_history_rows *r)
{
    const struct tpi_segment *s = r->segment;
    int rc = 0;
    for (uint32_t i = 0; i < r->q.property_count; i++) {
        struct thin *t = &r->sampling->thins[i];
        for (uint32_t row = s->begin; rc == 0 && row < s->end; row++) {
            struct point p = { .unix_ms = s->times[row] };
            if (number_at(&s->columns[i], row, &p.value)) {
                rc = r->q.sample == TPC_SAMPLE_LTTB ? lttb_add(r, t, p) : average_add(r, t, p);
            }
        }
    }
    return rc;
}

static int read_device(struct tpi_history_rows *r)
{
    struct tpi_source *sources;
    size_t count;
    int rc;
    tpi_read_rewind(r);
    while ((rc = tpi_read_cluster(r, &sources, &count)) == 1) {
        rc = tpi_read_segment(r, sources, count, &r->segment);
        rc = rc != 0 ? rc : thin_rows(r);
        if (rc != 0) {
            return rc;
        }
    }
    for (uint32_t i = 0; rc == 0 && i < r->q.property_count; i++) {
        struct thin *t = &r->sampling->thins[i];
        if (r->q.sample == TPC_SAMPLE_LTTB) {
            lttb_end(r, t);
        } else {
            average_end(r, t);
        }
        t->at = r->q.descending ? t->out_count : 0;
    }
    return rc;
}

static int begin_device(struct tpi_history_rows *r)
{
    for (uint32_t i = 0; i < r->q.property_count; i++) {
        struct thin *t = &r->sampling->thins[i];
        if (t->out == NULL) {
            t->out = tpi_alloc(r->alloc, r->q.sample_points * sizeof(*t->out));
        }
        if (t->out == NULL) {
            return TPC_ENOMEM;
        }
        t->total = 0;
        t->index = 0;
        t->bucket = 0;
        t->present.count = 0;
        t->next.count = 0;
        t->out_count = 0;
    }
    int rc = tpi_read_begin(r);
    rc = rc != 0 ? rc : count_device(r);
    rc = rc != 0 ? rc : read_device(r);
    r->begun = rc == 0;
    return rc;
}

/* ---- rows ---- */

static bool thin_left(const struct tpi_history_rows *r, const struct thin *t)
{
    return r->q.descending ? t->at > 0 : t->at < t->out_count;
}

static const struct point *thin_next(const struct tpi_history_rows *r, const struct thin *t)
{
    return &t->out[r->q.descending ? t->at - 1 : t->at];
}

/* The next time of any column; false at the end. */
static bool next_time(const struct tpi_history_rows *r, int64_t *ret)
{
    bool any = false;
    for (uint32_t i = 0; i < r->q.property_count; i++) {
        const struct thin *t = &r->sampling->thins[i];
        if (!thin_left(r, t)) {
            continue;
        }
        int64_t at = thin_next(r, t)->unix_ms;
        if (!any || (r->q.descending ? at > *ret : at < *ret)) {
            *ret = at;
        }
        any = true;
    }
    return any;
}

static int device_rows(struct tpi_history_rows *r)
{
    int64_t at = 0;
    while (r->row < r->batch_rows && (r->q.limit == 0 || r->emitted < r->q.limit) &&
           next_time(r, &at)) {
        for (uint32_t i = 0; i < r->q.property_count; i++) {
            struct thin *t = &r->sampling->thins[i];
            struct tpc_value x = { .type = TPC_DOUBLE };
            bool has = thin_left(r, t) && thin_next(r, t)->unix_ms == at;
            if (has) {
                x.as.d = thin_next(r, t)->value;
                t->at += r->q.descending ? (uint32_t) -1 : 1;
            }
            if (tpi_vector_push(r->alloc, &r->vectors[i], has ? &x : NULL) != 0) {
                return TPC_ENOMEM;
            }
        }
        r->times[r->row++] = at;
        r->emitted++;
    }
    return r->row > 0;
}

int tpi_sample_next(struct tpi_history_rows *r)
{
    for (; r->device < r->q.device_count; r->device++, r->begun = false) {
        int rc = r->begun ? 0 : begin_device(r);
        rc = rc != 0 ? rc : device_rows(r);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
