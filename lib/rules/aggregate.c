#include "rules/aggregate.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "data/msg.h"

#include <math.h>
#include <string.h>
#include <tpcore/error.h>

/* ---- numbers ---- */

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
    case TPI_SQL_START:
    case TPI_SQL_END:
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
    if (function == TPI_SQL_DISTINCT) {
        return of_int(g->a.bag != NULL ? (int64_t) g->a.bag->count : 0);
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

/* ---- bags ---- */

static uint64_t number_mark(const struct tpc_value *v)
{
    double d = v->type == TPC_INT ? (double) v->as.i : v->as.d;
    bool same = v->type == TPC_DOUBLE || (fabs(d) < 0x1p62 && (int64_t) d == v->as.i);
    uint64_t bits;
    if (!same) {
        return tpi_hash64((uint64_t) v->as.i ^ UINT64_C(0x9E3779B97F4A7C15));
    }
    d = d == 0 ? 0 : d; /* -0 is 0 */
    memcpy(&bits, &d, sizeof(bits));
    return tpi_hash64(bits);
}

uint64_t tpi_value_mark(const struct tpc_allocator *alloc, const struct tpc_value *v)
{
    switch (v->type) {
    case TPC_BOOL:
        return tpi_hash("b", 1, v->as.b);
    case TPC_INT:
    case TPC_DOUBLE:
        return number_mark(v);
    case TPC_TEXT:
        return tpi_hash(v->len > 0 ? v->as.text : "", v->len, TPC_TEXT);
    default:
        break;
    }
    struct tpi_buf bytes;
    tpi_buf_init(&bytes, alloc, 0);
    uint64_t mark = tpi_value_encode(v, &bytes) == 0 ? tpi_hash(bytes.ptr, bytes.len, v->type) : 0;
    tpi_buf_fini(&bytes);
    return mark;
}

static size_t bag_bytes(const struct tpi_bag *bag)
{
    return sizeof(*bag) + bag->list.cap + bag->set.cap * sizeof(struct tpi_map64_slot);
}

static struct tpi_bag *bag_of(const struct tpc_allocator *alloc, struct tpi_aggregate *g,
                              size_t *bytes)
{
    if (g->a.bag == NULL) {
        g->a.bag = tpi_alloc_zero(alloc, sizeof(*g->a.bag));
        if (g->a.bag != NULL) {
            tpi_buf_init(&g->a.bag->list, alloc, TPI_BAG_MAX_BYTES);
            tpi_map64_init(&g->a.bag->set, alloc);
            *bytes += sizeof(*g->a.bag);
        }
    }
    return g->a.bag;
}

int tpi_bag_mark(const struct tpc_allocator *alloc, struct tpi_aggregate *g, uint64_t mark,
                 size_t max, size_t *bytes)
{
    struct tpi_bag *bag = bag_of(alloc, g, bytes);
    if (bag == NULL) {
        return TPC_ENOMEM;
    }
    if (tpi_map64_get(&bag->set, mark) != NULL) {
        return 0;
    }
    if (bag->count == TPI_BAG_MAX_SET || *bytes >= max) {
        return TPC_ETOOBIG;
    }
    size_t before = bag_bytes(bag);
    int rc = tpi_map64_put(&bag->set, mark, bag, NULL);
    *bytes += bag_bytes(bag) - before;
    bag->count += rc == 0;
    return rc;
}

int tpi_bag_put(const struct tpc_allocator *alloc, struct tpi_aggregate *g, struct tpc_bytes value,
                size_t max, size_t *bytes)
{
    struct tpi_bag *bag = bag_of(alloc, g, bytes);
    if (bag == NULL) {
        return TPC_ENOMEM;
    }
    if (bag->count == TPI_BAG_MAX_VALUES || *bytes >= max) {
        return TPC_ETOOBIG;
    }
    size_t before = bag_bytes(bag);
    int rc = tpi_buf_reserve(&bag->list, sizeof(uint32_t) + value.len);
    rc = rc != 0 ? rc : tpi_buf_u32(&bag->list, (uint32_t) value.len);
    rc = rc != 0 ? rc : tpi_buf_put(&bag->list, value.ptr, value.len);
    *bytes += bag_bytes(bag) - before;
    bag->count += rc == 0;
    return rc;
}

void tpi_bag_drop(const struct tpc_allocator *alloc, struct tpi_aggregate *g, size_t *bytes)
{
    struct tpi_bag *bag = g->a.bag;
    if (bag != NULL) {
        *bytes -= bag_bytes(bag);
        tpi_buf_fini(&bag->list);
        tpi_map64_fini(&bag->set);
        tpi_free(alloc, bag, sizeof(*bag));
        g->a.bag = NULL;
    }
}

int tpi_bag_values(const struct tpi_aggregate *g, struct tpc_arena *arena, struct tpc_value *ret)
{
    const struct tpi_bag *bag = g->a.bag;
    uint32_t count = bag != NULL ? bag->count : 0;
    struct tpc_value *items = tpc_arena_take(arena, (count + 1) * sizeof(*items));
    struct tpi_reader in;
    if (items == NULL) {
        return TPC_ENOMEM;
    }
    tpi_reader_init(&in, count > 0 ? bag->list.ptr : (const void *) items,
                    count > 0 ? bag->list.len : 0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t len = tpi_read_u32(&in);
        struct tpc_bytes value = { tpi_read_bytes(&in, len), len };
        int rc = in.bad ? TPC_ECORRUPT : tpi_value_decode(value, arena, NULL, &items[i]);
        if (rc != 0) {
            return rc;
        }
    }
    *ret = (struct tpc_value){ .type = TPC_ARRAY, .len = count, .as.items = items };
    return 0;
}

/* ---- state ---- */

static int save_bag(const struct tpi_bag *bag, struct tpi_buf *out)
{
    size_t iter = 0;
    uint64_t mark;
    int rc = tpi_buf_varint(out, bag != NULL ? bag->count : 0);
    if (rc != 0 || bag == NULL) {
        return rc;
    }
    if (bag->list.len > 0) {
        return tpi_buf_put(out, bag->list.ptr, bag->list.len);
    }
    while (rc == 0 && tpi_map64_next(&bag->set, &iter, &mark, NULL)) {
        rc = tpi_buf_u64(out, mark);
    }
    return rc;
}

/* count: its n. Sums, avg: n, the sum of ints, and of doubles if there are any. All others: n, and the
 * numbers if there is one. */
int tpi_aggregate_save(uint32_t function, const struct tpi_aggregate *g, struct tpi_buf *out)
{
    uint64_t d;
    memcpy(&d, &g->d, sizeof(d));
    if (tpi_aggregate_bags(function)) {
        return save_bag(g->a.bag, out);
    }
    bool sum = function == TPI_SQL_SUM || function == TPI_SQL_AVG;
    bool kept_one = function >= TPI_SQL_MIN && function <= TPI_SQL_LAST;
    uint64_t n = sum ? g->n << 1 | g->n >> 63 : g->n; /* HAS_DOUBLES comes lowest: a short varint */
    int rc = tpi_buf_varint(out, n);
    if (rc != 0 || n == 0 || function == TPI_SQL_COUNT) {
        return rc;
    }
    rc = sum ? tpi_buf_zigzag(out, g->a.i) : tpi_buf_u64(out, (uint64_t) g->a.i);
    bool more = sum ? (n & 1) != 0 : !kept_one;
    return rc != 0 || !more ? rc : tpi_buf_u64(out, d);
}

static int read_bag(const struct tpc_allocator *alloc, uint32_t function, struct tpi_aggregate *g,
                    struct tpi_reader *in, size_t max, size_t *bytes)
{
    uint64_t count = tpi_read_varint(in);
    int rc = in->bad || count > TPI_BAG_MAX_SET ? TPC_ECORRUPT : 0;
    for (uint64_t i = 0; rc == 0 && i < count; i++) {
        if (function == TPI_SQL_DISTINCT) {
            uint64_t mark = tpi_read_u64(in);
            rc = in->bad ? TPC_ECORRUPT : tpi_bag_mark(alloc, g, mark, max, bytes);
            continue;
        }
        uint32_t len = tpi_read_u32(in);
        struct tpc_bytes value = { tpi_read_bytes(in, len), len };
        rc = in->bad ? TPC_ECORRUPT : tpi_bag_put(alloc, g, value, max, bytes);
    }
    return rc;
}

int tpi_aggregate_read(const struct tpc_allocator *alloc, uint32_t function,
                       struct tpi_aggregate *g, struct tpi_reader *in, size_t max, size_t *bytes)
{
    if (tpi_aggregate_bags(function)) {
        return read_bag(alloc, function, g, in, max, bytes);
    }
    bool sum = function == TPI_SQL_SUM || function == TPI_SQL_AVG;
    bool kept_one = function >= TPI_SQL_MIN && function <= TPI_SQL_LAST;
    uint64_t n = tpi_read_varint(in);
    g->n = sum ? n >> 1 | n << 63 : n;
    if (n != 0 && function != TPI_SQL_COUNT) {
        g->a.i = sum ? tpi_read_zigzag(in) : (int64_t) tpi_read_u64(in);
        uint64_t d = (sum ? (n & 1) != 0 : !kept_one) ? tpi_read_u64(in) : 0;
        memcpy(&g->d, &d, sizeof(d));
    }
    return in->bad ? TPC_ECORRUPT : 0;
}
