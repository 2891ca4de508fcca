#include "rules/window.h"

#include "base/alloc.h"

#include <math.h>
#include <string.h>
#include <tpcore/error.h>

/* ---- aggregates ---- */

/* Of sum and avg: some of the values were no ints, or their sum grew too large for one. */
#define HAS_DOUBLES (UINT64_C(1) << 63)

static bool number_of(const struct tpc_value *v, double *ret)
{
    switch (v->type) {
    case TPC_BOOL:
        *ret = v->as.b ? 1 : 0;
        return true;
    case TPC_INT:
        *ret = (double) v->as.i;
        return true;
    case TPC_DOUBLE:
        *ret = v->as.d;
        return isfinite(v->as.d);
    default:
        return false;
    }
}

static void add_sum(struct tpi_aggregate *g, const struct tpc_value *v)
{
    double d;
    if (!number_of(v, &d)) {
        return;
    }
    g->n++;
    int64_t i = v->type == TPC_INT ? v->as.i : v->type == TPC_BOOL ? (int64_t) v->as.b : 0;
    if (v->type == TPC_DOUBLE || __builtin_add_overflow(g->a.i, i, &i)) {
        g->n |= HAS_DOUBLES;
        g->d += d;
    } else {
        g->a.i = i;
    }
}

/* Welford, as in Knuth 4.2.2: a.d is the mean, d the sum of squares of differences. */
static void add_square(struct tpi_aggregate *g, const struct tpc_value *v)
{
    double d;
    if (number_of(v, &d)) {
        double off = d - g->a.d;
        g->n++;
        g->a.d += off / (double) g->n;
        g->d += off * (d - g->a.d);
    }
}

static void keep(struct tpi_aggregate *g, const struct tpc_value *v)
{
    double d;
    if (!number_of(v, &d)) {
        return;
    }
    g->n = v->type;
    if (v->type == TPC_DOUBLE) {
        g->a.d = d;
    } else {
        g->a.i = v->type == TPC_INT ? v->as.i : (int64_t) v->as.b;
    }
}

static double kept_number(const struct tpi_aggregate *g)
{
    return g->n == TPC_DOUBLE ? g->a.d : (double) g->a.i;
}

static bool is_beyond(uint32_t function, const struct tpi_aggregate *g, const struct tpc_value *v)
{
    double d;
    if (g->n == 0 || !number_of(v, &d)) {
        return true;
    }
    if (g->n == TPC_INT && v->type == TPC_INT) {
        return function == TPI_SQL_MIN ? v->as.i < g->a.i : v->as.i > g->a.i;
    }
    return function == TPI_SQL_MIN ? d < kept_number(g) : d > kept_number(g);
}

void tpi_aggregate_add(uint32_t function, struct tpi_aggregate *g, const struct tpc_value *v)
{
    switch (function) {
    case TPI_SQL_COUNT:
        g->n += v->type != TPC_NULL;
        break;
    case TPI_SQL_SUM:
    case TPI_SQL_AVG:
        add_sum(g, v);
        break;
    case TPI_SQL_MIN:
    case TPI_SQL_MAX:
        if (is_beyond(function, g, v)) {
            keep(g, v);
        }
        break;
    case TPI_SQL_FIRST:
        if (g->n == 0) {
            keep(g, v);
        }
        break;
    case TPI_SQL_LAST:
        keep(g, v);
        break;
    default:
        add_square(g, v);
        break;
    }
}

static struct tpc_value of_int(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = i };
}

static struct tpc_value of_double(double d)
{
    return isfinite(d) ? (struct tpc_value){ .type = TPC_DOUBLE, .as.d = d }
                       : (struct tpc_value){ .type = TPC_NULL };
}

static struct tpc_value kept(const struct tpi_aggregate *g)
{
    if (g->n == TPC_DOUBLE) {
        return of_double(g->a.d);
    }
    return g->n == TPC_BOOL ? (struct tpc_value){ .type = TPC_BOOL, .as.b = g->a.i != 0 }
                            : of_int(g->a.i);
}

static struct tpc_value spread(uint32_t function, const struct tpi_aggregate *g)
{
    bool sample = function == TPI_SQL_STDDEVS || function == TPI_SQL_VARS;
    bool root = function == TPI_SQL_STDDEV || function == TPI_SQL_STDDEVS;
    if (g->n <= (sample ? 1 : 0)) {
        return (struct tpc_value){ .type = TPC_NULL };
    }
    double var = g->d / (double) (g->n - (sample ? 1 : 0));
    return of_double(root ? sqrt(var) : var);
}

struct tpc_value tpi_aggregate_value(uint32_t function, const struct tpi_aggregate *g)
{
    uint64_t n = g->n & ~HAS_DOUBLES;
    if (function == TPI_SQL_COUNT) {
        return of_int((int64_t) n);
    }
    if (n == 0) {
        return (struct tpc_value){ .type = TPC_NULL };
    }
    switch (function) {
    case TPI_SQL_SUM:
        return (g->n & HAS_DOUBLES) != 0 ? of_double((double) g->a.i + g->d) : of_int(g->a.i);
    case TPI_SQL_AVG:
        return of_double(((double) g->a.i + g->d) / (double) n);
    case TPI_SQL_MIN:
    case TPI_SQL_MAX:
    case TPI_SQL_FIRST:
    case TPI_SQL_LAST:
        return kept(g);
    default:
        return spread(function, g);
    }
}

/* ---- windows ---- */

void tpi_flow_init(struct tpi_flow *f, const struct tpc_allocator *alloc, uint32_t aggregates)
{
    *f = (struct tpi_flow){ .alloc = alloc, .aggregates = aggregates, .done_ms = INT64_MIN };
}

static size_t pane_bytes(const struct tpi_flow *f)
{
    return sizeof(struct tpi_pane) + f->aggregates * sizeof(struct tpi_aggregate);
}

void tpi_flow_pop(struct tpi_flow *f)
{
    struct tpi_open *o = f->first;
    size_t iter = 0;
    void *pane;
    f->first = o->next;
    f->panes -= (uint32_t) tpi_map64_count(&o->panes);
    while (tpi_map64_next(&o->panes, &iter, NULL, &pane)) {
        tpi_free(f->alloc, pane, pane_bytes(f));
    }
    tpi_map64_fini(&o->panes);
    tpi_free(f->alloc, o, sizeof(*o));
}

void tpi_flow_fini(struct tpi_flow *f)
{
    while (f->first != NULL) {
        tpi_flow_pop(f);
    }
}

int64_t tpi_window_start(int64_t unix_ms, int64_t step_ms)
{
    int64_t rest = unix_ms % step_ms;
    return unix_ms - (rest < 0 ? rest + step_ms : rest);
}

struct tpi_open *tpi_flow_open(struct tpi_flow *f, int64_t start_ms, int64_t end_ms, bool *ret_new)
{
    struct tpi_open **at = &f->first;
    while (*at != NULL && (*at)->start_ms < start_ms) {
        at = &(*at)->next;
    }
    *ret_new = *at == NULL || (*at)->start_ms != start_ms;
    if (!*ret_new) {
        return *at;
    }
    struct tpi_open *o = tpi_alloc_zero(f->alloc, sizeof(*o));
    if (o != NULL) {
        o->start_ms = start_ms;
        o->end_ms = end_ms;
        o->next = *at;
        tpi_map64_init(&o->panes, f->alloc);
        *at = o;
    }
    return o;
}

struct tpi_pane *tpi_flow_pane(struct tpi_flow *f, struct tpi_open *o, uint64_t device,
                               bool *ret_new)
{
    struct tpi_pane *p = tpi_map64_get(&o->panes, device);
    *ret_new = p == NULL;
    if (p != NULL || f->panes == TPI_FLOW_MAX_PANES) {
        return p;
    }
    p = tpi_alloc_zero(f->alloc, pane_bytes(f));
    if (p == NULL || tpi_map64_put(&o->panes, device, p, NULL) != 0) {
        tpi_free(f->alloc, p, pane_bytes(f));
        return NULL;
    }
    f->panes++;
    return p;
}

void tpi_flow_drop_pane(struct tpi_flow *f, struct tpi_open *o, uint64_t device)
{
    struct tpi_pane *p = tpi_map64_remove(&o->panes, device);
    if (p != NULL) {
        tpi_free(f->alloc, p, pane_bytes(f));
        f->panes--;
    }
}

/* ---- state: done, then count of windows; of each start, end, count of panes; of each device, mark,
 * start, last, count and the aggregates' three numbers ---- */

static int save_pane(const struct tpi_flow *f, uint64_t device, const struct tpi_pane *p,
                     struct tpi_buf *out)
{
    int rc = tpi_buf_varint(out, device);
    rc = rc != 0 ? rc : tpi_buf_varint(out, p->mark);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, p->start_ms);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, p->last_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, p->count);
    for (uint32_t i = 0; rc == 0 && i < f->aggregates; i++) {
        const struct tpi_aggregate *g = &p->aggregates[i];
        uint64_t d;
        memcpy(&d, &g->d, sizeof(d));
        rc = tpi_buf_u64(out, g->n);
        rc = rc != 0 ? rc : tpi_buf_u64(out, (uint64_t) g->a.i);
        rc = rc != 0 ? rc : tpi_buf_u64(out, d);
    }
    return rc;
}

static int save_open(const struct tpi_flow *f, const struct tpi_open *o, struct tpi_buf *out)
{
    size_t iter = 0;
    uint64_t device;
    void *pane;
    int rc = tpi_buf_zigzag(out, o->start_ms);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, o->end_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, tpi_map64_count(&o->panes));
    while (rc == 0 && tpi_map64_next(&o->panes, &iter, &device, &pane)) {
        rc = save_pane(f, device, pane, out);
    }
    return rc;
}

int tpi_flow_save(const struct tpi_flow *f, struct tpi_buf *out)
{
    uint64_t n = 0;
    for (const struct tpi_open *o = f->first; o != NULL; o = o->next) {
        n++;
    }
    int rc = tpi_buf_zigzag(out, f->done_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, n);
    for (const struct tpi_open *o = f->first; rc == 0 && o != NULL; o = o->next) {
        rc = save_open(f, o, out);
    }
    return rc;
}

/* Sums of times and lengths must not overflow. */
static bool is_time(int64_t unix_ms)
{
    return unix_ms > INT64_MIN / 4 && unix_ms < INT64_MAX / 4;
}

static int read_pane(struct tpi_flow *f, struct tpi_open *o, struct tpi_reader *in)
{
    bool fresh;
    struct tpi_pane *p = tpi_flow_pane(f, o, tpi_read_varint(in), &fresh);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    p->mark = tpi_read_varint(in);
    p->start_ms = tpi_read_zigzag(in);
    p->last_ms = tpi_read_zigzag(in);
    p->count = (uint32_t) tpi_read_varint(in);
    if (!is_time(p->start_ms) || !is_time(p->last_ms)) {
        return TPC_ECORRUPT;
    }
    for (uint32_t i = 0; i < f->aggregates; i++) {
        struct tpi_aggregate *g = &p->aggregates[i];
        g->n = tpi_read_u64(in);
        g->a.i = (int64_t) tpi_read_u64(in);
        uint64_t d = tpi_read_u64(in);
        memcpy(&g->d, &d, sizeof(d));
    }
    return in->bad ? TPC_ECORRUPT : 0;
}

int tpi_flow_read(struct tpi_flow *f, struct tpi_reader *in)
{
    f->done_ms = tpi_read_zigzag(in);
    uint64_t windows = tpi_read_varint(in);
    int rc = in->bad ? TPC_ECORRUPT : 0;
    for (uint64_t i = 0; rc == 0 && i < windows; i++) {
        bool fresh;
        int64_t start = tpi_read_zigzag(in);
        int64_t end = tpi_read_zigzag(in);
        uint64_t panes = tpi_read_varint(in);
        struct tpi_open *o = in->bad || end <= start || !is_time(start)
                                 ? NULL
                                 : tpi_flow_open(f, start, end, &fresh);
        rc = in->bad || end <= start || !is_time(start) ? TPC_ECORRUPT : o == NULL ? TPC_ENOMEM : 0;
        for (uint64_t k = 0; rc == 0 && k < panes; k++) {
            rc = read_pane(f, o, in);
        }
    }
    return rc;
}
