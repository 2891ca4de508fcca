/*
 * Property test of reading: random samples (in order, late, twice, of several types) go through the
 * history stage with commits; rows, pages, aggregates and thinned series are compared with a plain
 * table and the plainest code that gives the same answer. TP_SEED=n runs one seed alone, TP_RUNS=n
 * that many.
 */
#include "history_suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/history.h"
#include "tk_env.h"

enum {
    DEVICES = 3,
    PROPERTIES = 5,
    SPAN = 6000, /* times that samples may have */
    RUNS = 10,
    STEPS = 60,
    AGGREGATES_MAX = 7,
    COLUMNS_MAX = 6
};

static const int64_t t0 = INT64_C(1790000000000);

struct cell {
    bool has;
    struct tpc_value value;
};

/* What the history must hold. */
struct table {
    struct cell cells[DEVICES][PROPERTIES][SPAN];
};

struct world {
    uint64_t random;
    struct tk_env env;
    void *self;
    struct tpi_history *history;
    struct table *table;
    uint64_t offset;
    int64_t clock; /* of ordered runs */
    bool ordered;
};

static uint64_t below(struct world *w, uint64_t n)
{
    return history_random(&w->random) % n;
}

/* ---- writing ---- */

static struct tpc_value number_value(struct world *w)
{
    static const double odd[] = { NAN, -0.0, 1e308, 4.9e-324, INFINITY, 0.1 };
    if (below(w, 40) == 0) {
        return (struct tpc_value){ .type = TPC_DOUBLE, .as = { .d = odd[below(w, 6)] } };
    }
    return (struct tpc_value){ .type = TPC_DOUBLE, .as = { .d = (double) below(w, 4000) / 8 } };
}

static struct tpc_value random_value(struct world *w, uint32_t property)
{
    static const char *const texts[] = { "", "on", "a longer text, to fill chunks sooner" };
    const char *text = texts[below(w, 3)];
    switch (property == 3 ? below(w, 6) : property) {
    case 0:
        return (struct tpc_value){ .type = TPC_INT, .as = { .i = (int64_t) below(w, 1000) } };
    case 1:
        return number_value(w);
    case 2:
        return (struct tpc_value){ .type = TPC_TEXT, .len = strlen(text), .as = { .text = text } };
    case 3:
        return (struct tpc_value){ .type = TPC_NULL };
    case 4:
        return (struct tpc_value){ .type = TPC_BOOL, .as = { .b = below(w, 2) == 1 } };
    default:
        return (struct tpc_value){ .type = TPC_INT,
                                   .as = { .i = (int64_t) (history_random(&w->random) >> 20) } };
    }
}

static int64_t random_time(struct world *w)
{
    if (w->ordered && below(w, 50) != 0 && w->clock < SPAN - 3) {
        w->clock += 1 + (int64_t) below(w, 3);
        return t0 + w->clock;
    }
    return t0 + (int64_t) below(w, SPAN);
}

static void append(struct world *w)
{
    struct tpc_point points[PROPERTIES];
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_TELEMETRY,
                         .offset = w->offset++,
                         .point_size = sizeof(points[0]),
                         .points = points };
    uint32_t device = (uint32_t) below(w, DEVICES);
    memset(points, 0, sizeof(points));
    m.device_id = device + 1;
    m.unix_ms = random_time(w);
    for (uint32_t p = 0; p < PROPERTIES; p++) {
        if (below(w, 10) < (p == 4 ? 1 : 8)) {
            struct cell *c = &w->table->cells[device][p][m.unix_ms - t0];
            points[m.point_count].property = (uint16_t) (p + 1);
            points[m.point_count].value = random_value(w, p);
            *c = (struct cell){ true, points[m.point_count++].value };
        }
    }
    tk_ok(tpi_history_apply(w->history, &m, 0));
}

static void begin_world(struct world *w, uint64_t seed)
{
    const struct history_engine *engine = history_suite_engine();
    static const struct tpc_id log_id = { { 1 } };
    memset(w, 0, sizeof(*w));
    w->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    w->table = calloc(1, sizeof(*w->table));
    tk_env_init(&w->env);
    struct tpi_history_limits limits = { .chunk_samples = 1 + (uint32_t) below(w, 60),
                                         .chunk_bytes = 200 + (uint32_t) below(w, 4000) };
    w->ordered = below(w, 3) != 0;
    w->self = history_engine_open(engine->ops, engine->fresh());
    tk_ok(tpi_history_create(&w->env.env, engine->ops, w->self, &limits, 1, NULL, &w->history));
    tk_ok(tpi_history_start(w->history, &log_id, t0, false, NULL));
}

static void end_world(struct world *w)
{
    tpi_history_destroy(w->history);
    history_engine_close(history_suite_engine()->ops, w->self);
    tk_env_fini(&w->env);
    free(w->table);
}

/* ---- questions ---- */

struct question {
    struct tpi_history_query q;
    struct tpi_history_device devices[DEVICES];
    struct tpc_str keys[COLUMNS_MAX];
    uint16_t ids[COLUMNS_MAX]; /* property + 1; 0 and 9: none such */
    struct tpc_aggregate aggregates[AGGREGATES_MAX];
    int64_t from; /* of the times that there are */
    int64_t to;
};

static void random_question(struct world *w, struct question *k)
{
    memset(k, 0, sizeof(*k));
    k->q = (struct tpi_history_query){ .devices = k->devices,
                                       .properties = k->keys,
                                       .aggregates = k->aggregates,
                                       .from_unix_ms = INT64_MIN,
                                       .to_unix_ms = INT64_MAX,
                                       .descending = below(w, 2) == 1,
                                       .limit = below(w, 3) == 0 ? 1 + below(w, 40) : 0 };
    k->q.property_count = 1 + (uint32_t) below(w, COLUMNS_MAX);
    for (uint32_t i = 0; i < k->q.property_count; i++) {
        k->ids[i] = below(w, 20) == 0 ? (uint16_t) (below(w, 2) * 9)
                                      : (uint16_t) (1 + below(w, PROPERTIES));
        k->keys[i] = TPC_STR("key");
    }
    for (uint64_t d = 1; d <= DEVICES; d++) {
        if (below(w, 2) == 0 || d == DEVICES) {
            k->devices[k->q.device_count++] =
                (struct tpi_history_device){ d, TPC_STR("key"), k->ids };
        }
    }
    if (below(w, 3) != 0) {
        k->q.from_unix_ms = t0 + (int64_t) below(w, SPAN) - 100;
        k->q.to_unix_ms = k->q.from_unix_ms + 1 + (int64_t) below(w, SPAN);
    }
    k->from = k->q.from_unix_ms < t0 ? t0 : k->q.from_unix_ms;
    k->to = k->q.to_unix_ms > t0 + SPAN ? t0 + SPAN : k->q.to_unix_ms;
}

static const struct cell *cell_at(const struct world *w, const struct question *k, uint32_t device,
                                  uint32_t column, int64_t unix_ms)
{
    static const struct cell none = { .has = false };
    uint16_t id = k->ids[column];
    if (id == 0 || id > PROPERTIES || unix_ms < k->from || unix_ms >= k->to) {
        return &none;
    }
    return &w->table->cells[k->devices[device].id - 1][id - 1][unix_ms - t0];
}

struct reading {
    struct tpi_history_rows *rows;
    const struct tpc_row_batch *batch;
    uint32_t row;
};

static bool next_row(struct reading *r)
{
    struct tpc_error err = { .size = sizeof(err) };
    if (r->batch != NULL && ++r->row < r->batch->count) {
        return true;
    }
    int rc = tpi_history_query_next(r->rows, &err, &r->batch);
    ck_assert_msg(rc >= 0, "%s: %s", tpc_error_name(rc), err.text);
    r->row = 0;
    return rc == 1;
}

static bool same_value(const struct tpc_value *a, const struct tpc_value *b)
{
    if (a->type != b->type) {
        return false;
    }
    return a->type == TPC_DOUBLE ? memcmp(&a->as.d, &b->as.d, sizeof(double)) == 0
                                 : tpc_value_equal(a, b) == 1;
}

static void check_cell(const struct reading *r, uint32_t column, const struct cell *want)
{
    struct tpc_value got;
    int has = tpc_column_value(&r->batch->columns[column], r->row, &got);
    ck_assert_int_eq(has, want->has);
    if (want->has) {
        ck_assert_msg(same_value(&got, &want->value),
                      "column %u (aggregate %u) at %lld: type %u, %lld, not type %u, %lld", column,
                      r->batch->columns[column].aggregate, (long long) r->batch->unix_ms[r->row],
                      got.type, (long long) got.as.i, want->value.type,
                      (long long) want->value.as.i);
    }
}

/* ---- rows ---- */

static void check_rows(const struct world *w, const struct question *k, struct reading *r,
                       uint32_t device)
{
    uint64_t rows = 0;
    for (int64_t i = 0; i < k->to - k->from && (k->q.limit == 0 || rows < k->q.limit); i++) {
        int64_t at = k->q.descending ? k->to - 1 - i : k->from + i;
        bool any = false;
        for (uint32_t c = 0; c < k->q.property_count; c++) {
            any = any || cell_at(w, k, device, c, at)->has;
        }
        if (!any) {
            continue;
        }
        rows++;
        ck_assert_msg(next_row(r), "rows end too soon");
        ck_assert_uint_eq(r->batch->device_index, device);
        ck_assert_int_eq(r->batch->unix_ms[r->row], at);
        for (uint32_t c = 0; c < k->q.property_count; c++) {
            check_cell(r, c, cell_at(w, k, device, c, at));
        }
    }
}

/* Arrays, counters and types of a batch agree with one another. */
static void check_batch(const struct tpc_row_batch *b)
{
    for (uint32_t c = 0; c < b->column_count; c++) {
        const struct tpc_column *col = &b->columns[c];
        uint32_t missing = 0;
        for (uint32_t i = 0; i < b->count; i++) {
            struct tpc_value v;
            bool has = tpc_column_value(col, i, &v) == 1;
            missing += !has;
            ck_assert(!has || col->type == TPC_COLUMN_MIXED || v.type == col->type);
            ck_assert(has || col->ints == NULL || col->ints[i] == 0);
            ck_assert(has || col->doubles == NULL || col->doubles[i] == 0);
            ck_assert(has || col->bools == NULL || !col->bools[i]);
        }
        ck_assert_uint_eq(col->missing, missing);
        ck_assert_int_eq(col->ints != NULL, col->type == TPC_INT);
        ck_assert_int_eq(col->doubles != NULL, col->type == TPC_DOUBLE);
        ck_assert_int_eq(col->bools != NULL, col->type == TPC_BOOL);
        ck_assert_int_eq(col->values != NULL, col->type > TPC_DOUBLE);
    }
}

static void ask_rows(struct world *w)
{
    struct question k;
    struct reading r = { .row = 0 };
    random_question(w, &k);
    tk_ok(tpi_history_query_open(w->history, &k.q, NULL, &r.rows));
    for (uint32_t d = 0; d < k.q.device_count; d++) {
        check_rows(w, &k, &r, d);
    }
    ck_assert_msg(!next_row(&r), "more rows than expected");
    tpi_history_query_close(r.rows);
    tk_ok(tpi_history_query_open(w->history, &k.q, NULL, &r.rows));
    while (tpi_history_query_next(r.rows, NULL, &r.batch) == 1) {
        check_batch(r.batch);
    }
    tpi_history_query_close(r.rows);
}

/* Pages one after the other are the whole. */
static void ask_pages(struct world *w)
{
    struct question k;
    struct reading whole = { .row = 0 };
    random_question(w, &k);
    k.q.device_count = 1;
    k.q.limit = 0;
    tk_ok(tpi_history_query_open(w->history, &k.q, NULL, &whole.rows));
    struct tpc_history_query page = TPC_HISTORY_QUERY_INIT;
    page.descending = k.q.descending;
    page.device_count = 1;
    page.from_unix_ms = k.q.from_unix_ms;
    page.to_unix_ms = k.q.to_unix_ms;
    int more = 1;
    for (k.q.limit = 1 + below(w, 500); more == 1;) {
        struct reading r = { .row = 0 };
        struct tpc_row_batch last = { .count = 0 };
        int64_t last_ms = 0;
        k.q.from_unix_ms = page.from_unix_ms;
        k.q.to_unix_ms = page.to_unix_ms;
        tk_ok(tpi_history_query_open(w->history, &k.q, NULL, &r.rows));
        while (next_row(&r)) {
            ck_assert(next_row(&whole));
            last_ms = r.batch->unix_ms[r.row];
            ck_assert_int_eq(last_ms, whole.batch->unix_ms[whole.row]);
            last.count = 1;
        }
        tpi_history_query_close(r.rows);
        last.unix_ms = &last_ms;
        more = last.count == 0 ? 0 : tpc_history_page(&page, &last);
        ck_assert_int_ge(more, 0);
    }
    ck_assert_msg(!next_row(&whole), "the pages end too soon");
    tpi_history_query_close(whole.rows);
}

/* ---- aggregates ---- */

struct plain {
    uint64_t count, numbers;
    double min, max, sum, abs;
    int64_t first_ms, last_ms;
    struct tpc_value first, last;
    double *sorted;
};

static int by_number(const void *a, const void *b)
{
    double x = *(const double *) a;
    double y = *(const double *) b;
    return x < y ? -1 : x > y;
}

static void plain_window(const struct world *w, const struct question *k, uint32_t device,
                         uint32_t column, int64_t begin, int64_t end, struct plain *s)
{
    memset(s, 0, sizeof(*s));
    s->sorted = calloc(SPAN, sizeof(double));
    for (int64_t at = begin; at < end; at++) {
        const struct cell *c = cell_at(w, k, device, column, at);
        double x;
        if (!c->has) {
            continue;
        }
        if (s->count++ == 0) {
            s->first = c->value;
            s->first_ms = at;
        }
        s->last = c->value;
        s->last_ms = at;
        if (tpc_value_double(&c->value, &x) == 0 && !isnan(x)) {
            s->min = s->numbers == 0 || x < s->min ? x : s->min;
            s->max = s->numbers == 0 || x > s->max ? x : s->max;
            s->sum += x;
            s->abs += fabs(x);
            s->sorted[s->numbers++] = x;
        }
    }
    qsort(s->sorted, (size_t) s->numbers, sizeof(double), by_number);
}

static double plain_percentile(const struct plain *s, double percent)
{
    double rank = percent / 100 * (double) (s->numbers - 1);
    size_t k = (size_t) rank;
    if (k + 1 >= s->numbers || rank == (double) k || s->sorted[k] == s->sorted[k + 1]) {
        return s->sorted[k];
    }
    return s->sorted[k] + (s->sorted[k + 1] - s->sorted[k]) * (rank - (double) k);
}

static void check_double(const struct reading *r, uint32_t column, const struct plain *s,
                         double want, double slack)
{
    struct tpc_value got;
    int has = tpc_column_value(&r->batch->columns[column], r->row, &got);
    ck_assert_int_eq(has, s->numbers > 0);
    if (has == 1) {
        ck_assert_uint_eq(got.type, TPC_DOUBLE);
        bool same = got.as.d == want || (isnan(got.as.d) && isnan(want));
        ck_assert_msg(same || fabs(got.as.d - want) <= slack, "kind %u: %.17g, not %.17g",
                      r->batch->columns[column].aggregate, got.as.d, want);
    }
}

static void check_aggregate(const struct reading *r, uint32_t column, const struct tpc_aggregate *a,
                            const struct plain *s)
{
    struct cell want = { s->count > 0, { .type = TPC_INT } };
    double slack = isfinite(s->abs) ? s->abs * 1e-12 : 0;
    ck_assert_uint_eq(r->batch->columns[column].aggregate, a->kind);
    switch (a->kind) {
    case TPC_AGG_COUNT:
        want.has = true;
        want.value.as.i = (int64_t) s->count;
        check_cell(r, column, &want);
        break;
    case TPC_AGG_FIRST:
    case TPC_AGG_LAST:
        want.value = a->kind == TPC_AGG_FIRST ? s->first : s->last;
        check_cell(r, column, &want);
        break;
    case TPC_AGG_FIRST_TIME:
    case TPC_AGG_LAST_TIME:
        want.value.as.i = a->kind == TPC_AGG_FIRST_TIME ? s->first_ms : s->last_ms;
        check_cell(r, column, &want);
        break;
    case TPC_AGG_MIN:
        check_double(r, column, s, s->min, 0);
        break;
    case TPC_AGG_MAX:
        check_double(r, column, s, s->max, 0);
        break;
    case TPC_AGG_SUM:
        check_double(r, column, s, s->sum, slack);
        break;
    case TPC_AGG_AVG:
        check_double(r, column, s, s->sum / (double) s->numbers, slack);
        break;
    default:
        check_double(r, column, s, s->numbers > 0 ? plain_percentile(s, a->percent) : 0, 0);
        break;
    }
}

static int64_t plain_begin(const struct question *k, int64_t at)
{
    int64_t length = (int64_t) k->q.window_ms;
    int64_t back = (at - k->q.origin_unix_ms) % length;
    return at - (back < 0 ? back + length : back);
}

/* One window; false if it has no sample. */
static bool check_window(const struct world *w, const struct question *k, struct reading *r,
                         uint32_t device, int64_t begin, int64_t end)
{
    struct plain plain[COLUMNS_MAX];
    uint64_t samples = 0;
    uint32_t each = k->q.aggregate_count;
    for (uint32_t c = 0; c < k->q.property_count; c++) {
        plain_window(w, k, device, c, begin, end, &plain[c]);
        samples += plain[c].count;
    }
    if (samples > 0) {
        ck_assert_msg(next_row(r), "windows end too soon");
        ck_assert_int_eq(r->batch->unix_ms[r->row],
                         k->q.window_ms == 0 ? k->q.from_unix_ms : plain_begin(k, begin));
    }
    for (uint32_t c = 0; c < k->q.property_count; c++) {
        for (uint32_t i = 0; samples > 0 && i < each; i++) {
            check_aggregate(r, c * each + i, &k->aggregates[i], &plain[c]);
        }
        free(plain[c].sorted);
    }
    return samples > 0;
}

static void check_windows(const struct world *w, const struct question *k, struct reading *r,
                          uint32_t device)
{
    uint64_t rows = 0;
    int64_t low = k->from;
    int64_t high = k->to;
    while (low < high && (k->q.limit == 0 || rows < k->q.limit)) {
        int64_t begin = low;
        int64_t end = high;
        if (k->q.window_ms != 0 && k->q.descending) {
            begin = plain_begin(k, high - 1);
            begin = begin < low ? low : begin;
        } else if (k->q.window_ms != 0) {
            end = plain_begin(k, low) + (int64_t) k->q.window_ms;
            end = end > high ? high : end;
        }
        rows += check_window(w, k, r, device, begin, end);
        *(k->q.descending ? &high : &low) = k->q.descending ? begin : end;
    }
}

static void random_aggregates(struct world *w, struct question *k)
{
    bool heads = below(w, 2) == 0; /* none that needs all values */
    bool ends = below(w, 4) == 0;  /* only the newest or the oldest */
    k->q.aggregate_count = 1 + (uint32_t) below(w, ends ? 2 : AGGREGATES_MAX);
    for (uint32_t i = 0; i < k->q.aggregate_count; i++) {
        k->aggregates[i].kind = 1 + (uint32_t) below(w, heads ? 9 : 10);
        if (ends) {
            k->aggregates[i].kind = TPC_AGG_LAST + 2 * i - (k->q.descending ? 1 : 0);
        }
        if (k->aggregates[i].kind == TPC_AGG_PERCENTILE) {
            k->aggregates[i].percent = below(w, 3) == 0 ? 100 : (double) below(w, 1000) / 10;
        }
    }
    uint64_t window = 1 + below(w, below(w, 2) == 0 ? 50 : 2 * SPAN);
    k->q.window_ms = below(w, 3) == 0 ? 0 : window;
    k->q.origin_unix_ms = below(w, 2) * (uint64_t) (t0 + (int64_t) below(w, SPAN));
}

static void ask_aggregates(struct world *w)
{
    struct question k;
    struct reading r = { .row = 0 };
    random_question(w, &k);
    random_aggregates(w, &k);
    tk_ok(tpi_history_query_open(w->history, &k.q, NULL, &r.rows));
    for (uint32_t d = 0; d < k.q.device_count; d++) {
        check_windows(w, &k, &r, d);
    }
    ck_assert_msg(!next_row(&r), "more windows than expected");
    tpi_history_query_close(r.rows);
}

/* ---- few points ---- */

struct series {
    int64_t unix_ms[SPAN];
    double value[SPAN];
    size_t count;
};

static void plain_series(const struct world *w, const struct question *k, uint32_t device,
                         uint32_t column, struct series *s)
{
    s->count = 0;
    for (int64_t at = k->from; at < k->to; at++) {
        const struct cell *c = cell_at(w, k, device, column, at);
        double x;
        if (c->has && tpc_value_double(&c->value, &x) == 0 && !isnan(x)) {
            s->unix_ms[s->count] = at;
            s->value[s->count++] = x;
        }
    }
}

/* As printed in the thesis: all points at hand, buckets by index. */
static void plain_lttb(const struct series *in, size_t points, struct series *out)
{
    double every = (double) (in->count - 2) / (double) (points - 2);
    size_t a = 0;
    out->count = 0;
    out->unix_ms[0] = in->unix_ms[0];
    out->value[out->count++] = in->value[0];
    for (size_t i = 0; i < points - 2; i++) {
        size_t begin = (size_t) ((double) i * every) + 1;
        size_t end = (size_t) ((double) (i + 1) * every) + 1;
        size_t stop = i + 3 == points ? in->count : (size_t) ((double) (i + 2) * every) + 1;
        end = i + 3 == points ? in->count - 1 : end;
        double time = 0;
        double value = 0;
        for (size_t j = end; j < stop; j++) {
            time += (double) (in->unix_ms[j] - in->unix_ms[a]);
            value += in->value[j];
        }
        time /= (double) (stop - end);
        value /= (double) (stop - end);
        double most = -1;
        size_t best = begin;
        for (size_t j = begin; j < end; j++) {
            double area = fabs(time * (in->value[j] - in->value[a]) -
                               (double) (in->unix_ms[j] - in->unix_ms[a]) * (value - in->value[a]));
            if (area > most) {
                most = area;
                best = j;
            }
        }
        a = best;
        out->unix_ms[out->count] = in->unix_ms[a];
        out->value[out->count++] = in->value[a];
    }
    out->unix_ms[out->count] = in->unix_ms[in->count - 1];
    out->value[out->count++] = in->value[in->count - 1];
}

static void plain_average(const struct series *in, size_t points, struct series *out)
{
    double every = (double) in->count / (double) points;
    out->count = 0;
    for (size_t i = 0; i < points; i++) {
        size_t begin = (size_t) ((double) i * every);
        size_t end = i + 1 == points ? in->count : (size_t) ((double) (i + 1) * every);
        double time = 0;
        double value = 0;
        for (size_t j = begin; j < end; j++) {
            time += (double) (in->unix_ms[j] - in->unix_ms[begin]);
            value += in->value[j];
        }
        double n = (double) (end - begin);
        out->unix_ms[out->count] = in->unix_ms[begin] + (int64_t) (time / n);
        out->value[out->count++] = value / n;
    }
}

static void check_series(struct reading *r, const struct question *k, const struct series *all)
{
    size_t at[COLUMNS_MAX] = { 0 };
    uint64_t rows = 0;
    for (;; rows++) {
        bool any = false;
        int64_t time = 0;
        for (uint32_t c = 0; c < k->q.property_count; c++) {
            const struct series *s = &all[c];
            if (at[c] == s->count) {
                continue;
            }
            int64_t t = s->unix_ms[k->q.descending ? s->count - 1 - at[c] : at[c]];
            time = !any || (k->q.descending ? t > time : t < time) ? t : time;
            any = true;
        }
        if (!any || (k->q.limit != 0 && rows == k->q.limit)) {
            return;
        }
        ck_assert_msg(next_row(r), "points end too soon");
        ck_assert_int_eq(r->batch->unix_ms[r->row], time);
        for (uint32_t c = 0; c < k->q.property_count; c++) {
            const struct series *s = &all[c];
            size_t i = k->q.descending ? s->count - 1 - at[c] : at[c];
            bool has = at[c] < s->count && s->unix_ms[i] == time;
            struct cell want = { has, { .type = TPC_DOUBLE } };
            want.value.as.d = has ? s->value[i] : 0;
            check_cell(r, c, &want);
            at[c] += has;
        }
    }
}

static void ask_points(struct world *w)
{
    static struct series in;
    static struct series out[COLUMNS_MAX];
    struct question k;
    struct reading r = { .row = 0 };
    random_question(w, &k);
    k.q.sample = below(w, 2) == 0 ? TPC_SAMPLE_LTTB : TPC_SAMPLE_AVERAGE;
    k.q.sample_points = (k.q.sample == TPC_SAMPLE_LTTB ? 3 : 1) + (uint32_t) below(w, 200);
    tk_ok(tpi_history_query_open(w->history, &k.q, NULL, &r.rows));
    for (uint32_t d = 0; d < k.q.device_count; d++) {
        for (uint32_t c = 0; c < k.q.property_count; c++) {
            plain_series(w, &k, d, c, &in);
            if (in.count <= k.q.sample_points) {
                out[c] = in;
            } else if (k.q.sample == TPC_SAMPLE_LTTB) {
                plain_lttb(&in, k.q.sample_points, &out[c]);
            } else {
                plain_average(&in, k.q.sample_points, &out[c]);
            }
        }
        check_series(&r, &k, out);
    }
    ck_assert_msg(!next_row(&r), "more points than expected");
    tpi_history_query_close(r.rows);
}

/* ---- runs ---- */

static void step(struct world *w)
{
    uint64_t what = below(w, 100);
    if (what < 45) {
        for (uint64_t n = below(w, 150); n > 0; n--) {
            append(w);
        }
    } else if (what < 60) {
        tk_ok(tpi_history_commit(w->history, below(w, 3) == 0, NULL));
    } else if (what < 70) {
        ask_rows(w);
    } else if (what < 75) {
        ask_pages(w);
    } else if (what < 90) {
        ask_aggregates(w);
    } else {
        ask_points(w);
    }
}

static unsigned long number_env(const char *name, unsigned long fallback)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : fallback;
}

START_TEST(answers_are_those_of_a_plain_table)
{
    unsigned long first = number_env("TP_SEED", 1);
    unsigned long runs = number_env("TP_RUNS", getenv("TP_SEED") != NULL ? 1 : RUNS);
    for (unsigned long seed = first; seed < first + runs; seed++) {
        static struct world w;
        begin_world(&w, seed);
        if (getenv("TP_VERBOSE") != NULL) {
            fprintf(stderr, "seed %lu\n", seed);
        }
        for (int i = 0; i < STEPS; i++) {
            step(&w);
        }
        tk_ok(tpi_history_commit(w.history, true, NULL));
        for (int i = 0; i < 10; i++) {
            ask_aggregates(&w);
            ask_points(&w);
        }
        ask_rows(&w);
        end_world(&w);
    }
}
END_TEST

Suite *history_read_suite(void)
{
    Suite *s = suite_create("history read");
    TCase *c = tcase_create("random");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, answers_are_those_of_a_plain_table);
    suite_add_tcase(s, c);
    return s;
}
