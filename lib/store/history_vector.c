#include <string.h>

#include "base/alloc.h"
#include "store/history_read.h"

static bool is_plain(uint32_t type)
{
    return type == TPC_BOOL || type == TPC_INT || type == TPC_DOUBLE;
}

void tpi_vector_fini(const struct tpc_allocator *alloc, struct tpi_vector *v)
{
    tpi_free(alloc, v->data, (size_t) v->cap * sizeof(uint64_t));
    tpi_free(alloc, v->values, (size_t) v->cap * sizeof(*v->values));
    tpi_free(alloc, v->validity, v->cap / 8);
    memset(v, 0, sizeof(*v));
}

int tpi_vector_clear(const struct tpc_allocator *alloc, struct tpi_vector *v, uint32_t cap)
{
    if (cap > v->cap || v->cap == 0) {
        tpi_vector_fini(alloc, v);
        cap = cap < 8 ? 8 : (cap + 7) & ~7u;
        void *data = tpi_alloc(alloc, (size_t) cap * sizeof(uint64_t));
        uint8_t *validity = tpi_alloc(alloc, cap / 8);
        if (data == NULL || validity == NULL) {
            tpi_free(alloc, data, (size_t) cap * sizeof(uint64_t));
            tpi_free(alloc, validity, cap / 8);
            return TPC_ENOMEM;
        }
        v->data = data;
        v->validity = validity;
        v->cap = cap;
    }
    v->type = TPI_VECTOR_EMPTY;
    v->rows = 0;
    v->missing = 0;
    memset(v->validity, 0, v->cap / 8);
    return 0;
}

bool tpi_vector_has(const struct tpi_vector *v, uint32_t row)
{
    return (v->validity[row / 8] >> (row % 8) & 1) != 0;
}

struct tpc_value tpi_vector_get(const struct tpi_vector *v, uint32_t row)
{
    struct tpc_value out = { .type = v->type };
    switch (v->type) {
    case TPC_BOOL:
        out.as.b = ((const bool *) v->data)[row];
        return out;
    case TPC_INT:
        out.as.i = ((const int64_t *) v->data)[row];
        return out;
    case TPC_DOUBLE:
        out.as.d = ((const double *) v->data)[row];
        return out;
    case TPC_NULL:
        return out;
    default:
        return v->values[row];
    }
}

bool tpi_vector_number(const struct tpi_vector *v, uint32_t row, double *ret)
{
    switch (v->type) {
    case TPC_BOOL:
        *ret = ((const bool *) v->data)[row];
        return true;
    case TPC_INT:
        *ret = (double) ((const int64_t *) v->data)[row];
        return true;
    case TPC_DOUBLE:
        *ret = ((const double *) v->data)[row];
        return true;
    case TPC_COLUMN_MIXED:
        return tpc_value_double(&v->values[row], ret) == 0;
    default:
        return false;
    }
}

/* ---- types ---- */

static size_t plain_size(uint32_t type)
{
    return type == TPC_BOOL ? sizeof(bool) : sizeof(uint64_t);
}

static int need_values(const struct tpc_allocator *alloc, struct tpi_vector *v)
{
    if (v->values == NULL) {
        v->values = tpi_alloc(alloc, (size_t) v->cap * sizeof(*v->values));
    }
    return v->values != NULL ? 0 : TPC_ENOMEM;
}

int tpi_vector_widen(const struct tpc_allocator *alloc, struct tpi_vector *v, uint32_t type)
{
    static const struct tpc_value none = { .type = TPC_NULL };
    if (v->type == type || v->type == TPC_COLUMN_MIXED || type == TPI_VECTOR_EMPTY) {
        return 0;
    }
    if (v->type == TPI_VECTOR_EMPTY && (is_plain(type) || type == TPC_NULL)) {
        if (type != TPC_NULL) {
            memset(v->data, 0, v->rows * plain_size(type));
        }
        v->type = type;
        return 0;
    }
    if (need_values(alloc, v) != 0) {
        return TPC_ENOMEM;
    }
    bool held = v->type <= TPC_DOUBLE; /* not in values so far */
    for (uint32_t i = 0; i < v->rows && (held || v->type == TPI_VECTOR_EMPTY); i++) {
        v->values[i] = held && tpi_vector_has(v, i) ? tpi_vector_get(v, i) : none;
    }
    v->type = v->type == TPI_VECTOR_EMPTY ? type : TPC_COLUMN_MIXED;
    return 0;
}

void tpi_vector_count(struct tpi_vector *v, uint32_t rows)
{
    uint32_t set = 0;
    for (uint32_t i = 0; i < (rows + 7) / 8; i++) {
        set += (uint32_t) __builtin_popcount(v->validity[i]);
    }
    v->rows = rows;
    v->missing = rows - set;
}

/* ---- rows ---- */

/* Sets count bits from `first` on. */
static void set_bits(uint8_t *bits, uint32_t first, uint32_t count)
{
    uint32_t end = first + count;
    while (first < end && first % 8 != 0) {
        bits[first / 8] |= (uint8_t) (1u << (first % 8));
        first++;
    }
    memset(bits + first / 8, 0xff, (end - first) / 8);
    for (first += (end - first) / 8 * 8; first < end; first++) {
        bits[first / 8] |= (uint8_t) (1u << (first % 8));
    }
}

static void no_value(struct tpi_vector *v, uint32_t row)
{
    v->missing++;
    if (v->type == TPC_BOOL) {
        ((bool *) v->data)[row] = false;
    } else if (is_plain(v->type)) {
        ((uint64_t *) v->data)[row] = 0;
    } else if (v->type != TPI_VECTOR_EMPTY && v->type != TPC_NULL) {
        v->values[row] = (struct tpc_value){ .type = TPC_NULL };
    }
}

static void put(struct tpi_vector *v, uint32_t row, const struct tpc_value *value)
{
    v->validity[row / 8] |= (uint8_t) (1u << (row % 8));
    if (v->type == TPC_BOOL) {
        ((bool *) v->data)[row] = value->as.b;
    } else if (v->type == TPC_INT) {
        ((int64_t *) v->data)[row] = value->as.i;
    } else if (v->type == TPC_DOUBLE) {
        ((double *) v->data)[row] = value->as.d;
    } else if (v->type != TPC_NULL) {
        v->values[row] = *value;
    }
}

int tpi_vector_push(const struct tpc_allocator *alloc, struct tpi_vector *v,
                    const struct tpc_value *value)
{
    if (value == NULL) {
        no_value(v, v->rows++);
        return 0;
    }
    if (value->type != v->type && tpi_vector_widen(alloc, v, value->type) != 0) {
        return TPC_ENOMEM;
    }
    put(v, v->rows++, value);
    return 0;
}

static int run_one_by_one(const struct tpc_allocator *alloc, struct tpi_vector *v,
                          const struct tpi_vector *from, uint32_t first, uint32_t count)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        struct tpc_value value = { .type = TPC_NULL };
        bool has = tpi_vector_has(from, first + i);
        if (has) {
            value = tpi_vector_get(from, first + i);
        }
        rc = tpi_vector_push(alloc, v, has ? &value : NULL);
    }
    return rc;
}

int tpi_vector_run(const struct tpc_allocator *alloc, struct tpi_vector *v,
                   const struct tpi_vector *from, uint32_t first, uint32_t count)
{
    if (from->type == TPI_VECTOR_EMPTY) {
        for (uint32_t i = 0; i < count; i++) {
            no_value(v, v->rows++);
        }
        return 0;
    }
    if (!is_plain(from->type) || (v->type != from->type && v->type != TPI_VECTOR_EMPTY)) {
        return run_one_by_one(alloc, v, from, first, count);
    }
    (void) tpi_vector_widen(alloc, v, from->type); /* to a plain type: allocates nothing */
    size_t size = plain_size(from->type);
    memcpy((char *) v->data + v->rows * size, (const char *) from->data + first * size,
           count * size);
    if (from->missing == 0) {
        set_bits(v->validity, v->rows, count);
        v->rows += count;
        return 0;
    }
    for (uint32_t i = 0; i < count; i++, v->rows++) {
        bool has = tpi_vector_has(from, first + i);
        v->validity[v->rows / 8] |= (uint8_t) (has << (v->rows % 8));
        v->missing += !has;
    }
    return 0;
}

static void pick_words(struct tpi_vector *v, const struct tpi_vector *from, const uint32_t *rows,
                       uint32_t count)
{
    const uint64_t *in = from->data;
    uint64_t *out = (uint64_t *) v->data + v->rows;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = in[rows[i]];
    }
}

int tpi_vector_pick(const struct tpc_allocator *alloc, struct tpi_vector *v,
                    const struct tpi_vector *from, const uint32_t *rows, uint32_t count)
{
    int rc = 0;
    bool words = from->type == TPC_INT || from->type == TPC_DOUBLE;
    if (!words || (v->type != from->type && v->type != TPI_VECTOR_EMPTY)) {
        for (uint32_t i = 0; rc == 0 && i < count; i++) {
            rc = tpi_vector_run(alloc, v, from, rows[i], 1);
        }
        return rc;
    }
    (void) tpi_vector_widen(alloc, v, from->type);
    pick_words(v, from, rows, count);
    if (from->missing == 0) {
        set_bits(v->validity, v->rows, count);
        v->rows += count;
        return 0;
    }
    for (uint32_t i = 0; i < count; i++, v->rows++) {
        bool has = tpi_vector_has(from, rows[i]);
        v->validity[v->rows / 8] |= (uint8_t) (has << (v->rows % 8));
        v->missing += !has;
    }
    return 0;
}

/* ---- lists ---- */

enum { FIRST_ITEMS = 16 };

void *tpi_list_add(const struct tpc_allocator *alloc, struct tpi_list *l)
{
    if (l->count == l->cap) {
        size_t cap = l->cap != 0 ? l->cap * 2 : FIRST_ITEMS;
        void *p = tpi_resize(alloc, l->items, l->cap * l->size, cap * l->size);
        if (p == NULL) {
            return NULL;
        }
        l->items = p;
        l->cap = cap;
    }
    void *item = (char *) l->items + l->count++ * l->size;
    memset(item, 0, l->size);
    return item;
}

void tpi_list_fini(const struct tpc_allocator *alloc, struct tpi_list *l)
{
    tpi_free(alloc, l->items, l->cap * l->size);
    l->items = NULL;
    l->count = 0;
    l->cap = 0;
}
