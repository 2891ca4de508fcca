/*
 * Aggregates over windows of time. Where a chunk lies in one window, overlaps no other chunk and its
 * head says all that is asked, nothing is decoded.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/msg.h"
#include "store/history_read.h"

enum { FIRST_NUMBERS = 1024, SELECT_TRIES = 64 };

/* One property in the window. */
struct sum {
    uint64_t count;   /* samples */
    uint64_t numbers; /* of them, without not-a-number */
    double min;
    double max;
    double sum;
    int64_t first_ms;
    int64_t last_ms;
    struct tpc_value first;
    struct tpc_value last;
    struct tpc_arena *first_kept; /* of text and trees; NULL until the first one */
    struct tpc_arena *last_kept;
    double *values; /* of numbers, if there is a percentile */
    size_t value_count;
    size_t value_cap;
};

/* A column of a chunk that is wanted. */
struct found {
    struct tpi_chunk_column column;
    uint32_t at; /* in the wanted ones */
};

struct tpi_aggregation {
    struct sum *sums;    /* one for each property */
    struct found *found; /* as many */
    bool percentile;
    bool ends;          /* the first or the last sample, or its time, is asked for */
    bool end_times;     /* its time is */
    bool one_is_enough; /* done as soon as every property had a sample: reading begins at its end */
    bool done;          /* that is the case */
    bool open;
    int64_t begin; /* of the window: [begin, end) */
    int64_t end;
};

static bool only(const struct tpi_history_query *q, uint32_t kind, uint32_t time_kind)
{
    bool all = q->window_ms == 0;
    for (uint32_t i = 0; i < q->aggregate_count; i++) {
        uint32_t k = q->aggregates[i].kind;
        all = all && (k == kind || k == time_kind);
    }
    return all;
}

int tpi_aggregate_open(struct tpi_history_rows *r)
{
    struct tpi_aggregation *a = tpi_alloc_zero(r->alloc, sizeof(*a));
    r->aggregation = a;
    if (a == NULL) {
        return TPC_ENOMEM;
    }
    a->sums = tpi_alloc_array(r->alloc, r->q.property_count, sizeof(*a->sums));
    a->found = tpi_alloc_array(r->alloc, r->q.property_count, sizeof(*a->found));
    if (a->sums == NULL || a->found == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < r->q.aggregate_count; i++) {
        uint32_t kind = r->q.aggregates[i].kind;
        a->percentile = a->percentile || kind == TPC_AGG_PERCENTILE;
        a->end_times = a->end_times || kind == TPC_AGG_FIRST_TIME || kind == TPC_AGG_LAST_TIME;
        a->ends = a->ends || a->end_times || kind == TPC_AGG_FIRST || kind == TPC_AGG_LAST;
    }
    bool newest = only(&r->q, TPC_AGG_LAST, TPC_AGG_LAST_TIME);
    a->one_is_enough = newest || only(&r->q, TPC_AGG_FIRST, TPC_AGG_FIRST_TIME);
    if (a->one_is_enough) {
        r->descending = newest;
        r->window_first = 1;
    }
    return 0;
}

void tpi_aggregate_close(struct tpi_history_rows *r)
{
    struct tpi_aggregation *a = r->aggregation;
    if (a == NULL) {
        return;
    }
    for (uint32_t i = 0; a->sums != NULL && i < r->q.property_count; i++) {
        struct sum *s = &a->sums[i];
        tpc_arena_destroy(s->first_kept);
        tpc_arena_destroy(s->last_kept);
        tpi_free(r->alloc, s->values, s->value_cap * sizeof(*s->values));
    }
    tpi_free(r->alloc, a->found, r->q.property_count * sizeof(*a->found));
    tpi_free(r->alloc, a->sums, r->q.property_count * sizeof(*a->sums));
    tpi_free(r->alloc, a, sizeof(*a));
    r->aggregation = NULL;
}

/* ---- percentiles ---- */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *) a;
    double y = *(const double *) b;
    return x < y ? -1 : x > y;
}

static double middle_of(double a, double b, double c)
{
    double low = a < b ? a : b;
    double high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* Moves the k-th smallest to p[k], smaller ones before it, greater ones behind (C. A. R. Hoare's
 * FIND with a fat middle); a run that does not shrink is sorted. */
static void select_kth(double *p, size_t count, size_t k)
{
    size_t low = 0;
    size_t high = count;
    for (int tries = 0; high - low > 1; tries++) {
        if (tries == SELECT_TRIES) {
            qsort(p + low, high - low, sizeof(*p), compare_numbers);
            return;
        }
        double pivot = middle_of(p[low], p[low + (high - low) / 2], p[high - 1]);
        size_t less = low;
        size_t more = high;
        for (size_t i = low; i < more;) {
            double x = p[i];
            if (x < pivot) {
                p[i++] = p[less];
                p[less++] = x;
            } else if (x > pivot) {
                p[i] = p[--more];
                p[more] = x;
            } else {
                i++;
            }
        }
        if (k < less) {
            high = less;
        } else if (k >= more) {
            low = more;
        } else {
            return;
        }
    }
}

/* Linear between the two nearest ranks; count is not 0. */
static double percentile(double *p, size_t count, double percent)
{
    double rank = percent / 100 * (double) (count - 1);
    size_t k = (size_t) rank;
    double part = rank - (double) k;
    select_kth(p, count, k);
    double at = p[k];
    if (part <= 0 || k + 1 >= count) {
        return at;
    }
    double next = p[k + 1];
    for (size_t i = k + 2; i < count; i++) {
        next = p[i] < next ? p[i] : next;
    }
    return at == next ? at : at + (next - at) * part;
}

/* Room for so many numbers more. */
static int need_numbers(struct tpi_history_rows *r, struct sum *s, size_t more)
{
    if (s->value_count + more > TPC_HISTORY_MAX_PERCENTILE) {
        return tpi_error_set(r->err, TPC_ETOOBIG, "history",
                             "a percentile over more than %d numbers: ask for smaller windows",
                             TPC_HISTORY_MAX_PERCENTILE);
    }
    size_t cap = s->value_cap != 0 ? s->value_cap : FIRST_NUMBERS;
    while (cap < s->value_count + more) {
        cap *= 2;
    }
    if (cap != s->value_cap) {
        double *p = tpi_resize(r->alloc, s->values, s->value_cap * sizeof(*p), cap * sizeof(*p));
        if (p == NULL) {
            return TPC_ENOMEM;
        }
        s->values = p;
        s->value_cap = cap;
    }
    return 0;
}

/* ---- adding rows ---- */

static void add_number(struct sum *s, double x)
{
    if (isnan(x)) {
        return;
    }
    s->min = s->numbers == 0 || x < s->min ? x : s->min;
    s->max = s->numbers == 0 || x > s->max ? x : s->max;
    s->sum += x;
    s->numbers++;
}

/* Text and trees lie in the window of chunks, which ends before the window of time. */
static int keep(struct tpi_history_rows *r, struct tpc_arena **kept, const struct tpc_value *value,
                struct tpc_value *ret)
{
    if (value->type <= TPC_DOUBLE) {
        *ret = *value;
        return 0;
    }
    int rc = *kept == NULL ? tpc_arena_create(r->alloc, 0, kept) : 0;
    if (rc != 0) {
        return rc;
    }
    tpc_arena_reset(*kept);
    return tpi_value_copy(value, *kept, ret);
}

/* The ends of rows [begin, end), of which at least one has a value. count is of before. */
static int add_ends(struct tpi_history_rows *r, struct sum *s, const struct tpi_segment *g,
                    const struct tpi_vector *v, uint32_t begin, uint32_t end)
{
    int rc = 0;
    while (!tpi_vector_has(v, begin)) {
        begin++;
    }
    while (!tpi_vector_has(v, end - 1)) {
        end--;
    }
    if (s->count == 0 || g->times[begin] < s->first_ms) {
        struct tpc_value value = tpi_vector_get(v, begin);
        s->first_ms = g->times[begin];
        rc = keep(r, &s->first_kept, &value, &s->first);
    }
    if (rc == 0 && (s->count == 0 || g->times[end - 1] > s->last_ms)) {
        struct tpc_value value = tpi_vector_get(v, end - 1);
        s->last_ms = g->times[end - 1];
        rc = keep(r, &s->last_kept, &value, &s->last);
    }
    return rc;
}

static uint32_t count_values(const struct tpi_vector *v, uint32_t begin, uint32_t end)
{
    uint32_t n = 0;
    if (v->missing == 0) {
        return end - begin;
    }
    for (uint32_t row = begin; row < end; row++) {
        n += tpi_vector_has(v, row);
    }
    return n;
}

static int add_run(struct tpi_history_rows *r, struct sum *s, const struct tpi_segment *g,
                   const struct tpi_vector *v, uint32_t begin, uint32_t end)
{
    uint32_t count = v->type == TPI_VECTOR_EMPTY ? 0 : count_values(v, begin, end);
    bool percent = r->aggregation->percentile;
    if (count == 0) {
        return 0;
    }
    int rc = r->aggregation->ends ? add_ends(r, s, g, v, begin, end) : 0;
    rc = rc != 0 || !percent ? rc : need_numbers(r, s, count);
    if (rc != 0) {
        return rc;
    }
    s->count += count;
    for (uint32_t row = begin; row < end; row++) {
        double x;
        if ((v->missing == 0 || tpi_vector_has(v, row)) && tpi_vector_number(v, row, &x)) {
            add_number(s, x);
            if (percent && !isnan(x)) {
                s->values[s->value_count++] = x;
            }
        }
    }
    return 0;
}

/* ---- windows ---- */

/* The window of a time, cut to 64 bits. */
static void window_of(const struct tpi_history_query *q, int64_t unix_ms, int64_t *ret_begin,
                      int64_t *ret_end)
{
    if (q->window_ms == 0) {
        *ret_begin = q->from_unix_ms;
        *ret_end = q->to_unix_ms;
        return;
    }
    int64_t length = (int64_t) q->window_ms;
    uint64_t back; /* from unix_ms to the begin of its window */
    if (unix_ms >= q->origin_unix_ms) {
        back = ((uint64_t) unix_ms - (uint64_t) q->origin_unix_ms) % q->window_ms;
    } else {
        back = ((uint64_t) q->origin_unix_ms - (uint64_t) unix_ms) % q->window_ms;
        back = back == 0 ? 0 : q->window_ms - back;
    }
    bool below = unix_ms < INT64_MIN + (int64_t) back;
    int64_t begin = below ? INT64_MIN : unix_ms - (int64_t) back;
    int64_t rest = length - (int64_t) back; /* from unix_ms to the end: at least 1 */
    *ret_begin = begin;
    *ret_end = unix_ms > INT64_MAX - rest ? INT64_MAX : unix_ms + rest;
}

static int push_result(struct tpi_history_rows *r, struct sum *s, const struct tpc_aggregate *a,
                       struct tpi_vector *v)
{
    struct tpc_value x = { .type = TPC_DOUBLE };
    bool has = s->numbers > 0;
    switch (a->kind) {
    case TPC_AGG_COUNT:
        x = (struct tpc_value){ .type = TPC_INT, .as = { .i = (int64_t) s->count } };
        return tpi_vector_push(r->alloc, v, &x);
    case TPC_AGG_FIRST_TIME:
    case TPC_AGG_LAST_TIME:
        x.type = TPC_INT;
        x.as.i = a->kind == TPC_AGG_FIRST_TIME ? s->first_ms : s->last_ms;
        return tpi_vector_push(r->alloc, v, s->count > 0 ? &x : NULL);
    case TPC_AGG_FIRST:
    case TPC_AGG_LAST:
        if (s->count == 0) {
            return tpi_vector_push(r->alloc, v, NULL);
        }
        if (tpi_value_copy(a->kind == TPC_AGG_FIRST ? &s->first : &s->last, r->kept, &x) != 0) {
            return TPC_ENOMEM;
        }
        return tpi_vector_push(r->alloc, v, &x);
    case TPC_AGG_MIN:
        x.as.d = s->min;
        break;
    case TPC_AGG_MAX:
        x.as.d = s->max;
        break;
    case TPC_AGG_SUM:
        x.as.d = s->sum;
        break;
    case TPC_AGG_AVG:
        x.as.d = has ? s->sum / (double) s->numbers : 0;
        break;
    default:
        x.as.d = has ? percentile(s->values, s->value_count, a->percent) : 0;
        break;
    }
    return tpi_vector_push(r->alloc, v, has ? &x : NULL);
}

/* The open window becomes a row, if it has a sample. There is room in the batch. */
static int close_window(struct tpi_history_rows *r)
{
    struct tpi_aggregation *a = r->aggregation;
    uint64_t samples = 0;
    int rc = 0;
    a->open = false;
    for (uint32_t i = 0; i < r->q.property_count; i++) {
        samples += a->sums[i].count;
    }
    for (uint32_t i = 0; rc == 0 && samples > 0 && i < r->columns; i++) {
        rc = push_result(r, &a->sums[i / r->q.aggregate_count],
                         &r->q.aggregates[i % r->q.aggregate_count], &r->vectors[i]);
    }
    if (rc == 0 && samples > 0) {
        r->times[r->row++] = a->begin;
        r->emitted++;
    }
    return rc;
}

/* Goes to the window of a time; may close one. */
static int enter(struct tpi_history_rows *r, int64_t unix_ms)
{
    struct tpi_aggregation *a = r->aggregation;
    if (a->open && unix_ms >= a->begin && unix_ms < a->end) {
        return 0;
    }
    int rc = a->open ? close_window(r) : 0;
    window_of(&r->q, unix_ms, &a->begin, &a->end);
    for (uint32_t i = 0; i < r->q.property_count; i++) {
        struct sum *s = &a->sums[i];
        s->count = 0;
        s->numbers = 0;
        s->sum = 0;
        s->value_count = 0;
    }
    a->open = true;
    return rc;
}

/* ---- heads of chunks ---- */

/* Whether the head of a column says all that is asked. */
static bool head_is_enough(const struct tpi_aggregation *a, const struct tpi_chunk_column *c,
                           uint32_t rows)
{
    if (a->end_times && c->count != rows) {
        return false;
    }
    if (c->nan) {
        return false;
    }
    return !a->ends || c->type <= TPC_DOUBLE;
}

static void add_head(struct tpi_aggregation *a, const struct tpi_source *source,
                     const struct tpi_chunk_column *c, struct sum *s)
{
    bool number = c->type == TPC_BOOL || c->type == TPC_INT || c->type == TPC_DOUBLE;
    /* No other chunk has a time between this one's first and last. */
    if (a->ends && (s->count == 0 || source->first_ms < s->first_ms)) {
        s->first_ms = source->first_ms;
        s->first = c->first;
    }
    if (a->ends && (s->count == 0 || source->last_ms > s->last_ms)) {
        s->last_ms = source->last_ms;
        s->last = c->last;
    }
    s->count += c->count;
    if (number) {
        s->min = s->numbers == 0 || c->min < s->min ? c->min : s->min;
        s->max = s->numbers == 0 || c->max > s->max ? c->max : s->max;
        s->sum += c->sum;
        s->numbers += c->count;
    }
}

/* Adds what the heads of a chunk say. Returns 1, 0 if its rows are needed (nothing was added then),
 * or an error. */
static int use_heads(struct tpi_history_rows *r, const struct tpi_source *source)
{
    struct tpi_aggregation *a = r->aggregation;
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    uint32_t count = 0;
    uint32_t at = 0;
    int rc = tpi_read_open_chunk(r, source, &in);
    if (rc != 0) {
        return rc;
    }
    while ((rc = tpi_read_next_column(r, &in, &at, &c)) == 1) {
        /* two columns: a property in two types */
        bool again = count > 0 && a->found[count - 1].column.property == c.property;
        if (again || !head_is_enough(a, &c, source->rows)) {
            return 0;
        }
        a->found[count++] = (struct found){ c, at };
    }
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        const struct found *f = &a->found[i];
        for (uint32_t k = f->at; k < r->wanted_count; k++) {
            if (r->wanted[k].id != f->column.property) {
                break;
            }
            add_head(a, source, &f->column, &a->sums[r->wanted[k].column]);
        }
    }
    return rc < 0 ? rc : 1;
}

/* ---- reading ---- */

/* Returns 1 if the chunk's heads were taken, 0 if its rows are needed, or an error. */
static int take_heads(struct tpi_history_rows *r, const struct tpi_source *source)
{
    struct tpi_aggregation *a = r->aggregation;
    int64_t begin;
    int64_t end;
    if (a->percentile || !tpi_read_inside(r, source)) {
        return 0;
    }
    window_of(&r->q, source->first_ms, &begin, &end);
    if (source->last_ms >= end) {
        return 0;
    }
    int rc = enter(r, source->first_ms);
    return rc != 0 ? rc : use_heads(r, source);
}

/* One run of rows of the segment that lie in one window. */
static int take_run(struct tpi_history_rows *r)
{
    struct tpi_aggregation *a = r->aggregation;
    const struct tpi_segment *g = r->segment;
    int rc = enter(r, g->times[r->descending ? r->end - 1 : r->at]);
    uint32_t begin = r->at;
    uint32_t end = r->end;
    if (r->descending) {
        begin = tpi_segment_find(g, r->at, r->end, a->begin);
        r->end = begin;
    } else {
        end = tpi_segment_find(g, r->at, r->end, a->end);
        r->at = end;
    }
    for (uint32_t i = 0; rc == 0 && i < r->q.property_count; i++) {
        rc = add_run(r, &a->sums[i], g, &g->columns[i], begin, end);
    }
    return rc;
}

static bool is_enough(const struct tpi_history_rows *r)
{
    bool enough = r->aggregation->one_is_enough && r->aggregation->open;
    for (uint32_t i = 0; enough && i < r->wanted_count; i++) {
        enough = r->aggregation->sums[r->wanted[i].column].count > 0;
    }
    return enough;
}

/* Returns 1 if there is more of the device, 0 at its end, or an error. */
static int take_cluster(struct tpi_history_rows *r)
{
    struct tpi_source *sources;
    size_t count;
    r->aggregation->done = r->aggregation->done || is_enough(r);
    int rc = r->aggregation->done ? 0 : tpi_read_cluster(r, &sources, &count);
    if (rc <= 0) {
        return rc;
    }
    rc = count == 1 ? take_heads(r, sources) : 0;
    if (rc != 0) {
        return rc;
    }
    rc = tpi_read_segment(r, sources, count, &r->segment);
    if (rc != 0) {
        return rc;
    }
    r->at = r->segment->begin;
    r->end = r->segment->end;
    return 1;
}

static int device_rows(struct tpi_history_rows *r)
{
    while (r->row < r->batch_rows && (r->q.limit == 0 || r->emitted < r->q.limit)) {
        int rc = 1;
        if (r->segment != NULL && r->at < r->end) {
            rc = take_run(r);
            rc = rc != 0 ? rc : 1;
        } else {
            r->segment = NULL;
            rc = take_cluster(r);
        }
        if (rc == 0) {
            rc = r->aggregation->open ? close_window(r) : 0;
            return rc != 0 ? rc : r->row > 0;
        }
        if (rc < 0) {
            return rc;
        }
    }
    return r->row > 0;
}

int tpi_aggregate_next(struct tpi_history_rows *r)
{
    for (; r->device < r->q.device_count; r->device++, r->begun = false) {
        if (!r->begun) {
            r->aggregation->open = false;
            r->aggregation->done = false;
        }
        int rc = r->begun ? 0 : tpi_read_begin(r);
        rc = rc != 0 ? rc : device_rows(r);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
