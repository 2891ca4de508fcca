#include "registry/derived.h"

#include "base/alloc.h"
#include "base/error.h"

static const char origin[] = "model";

static size_t bytes_of(uint32_t property_count)
{
    return sizeof(struct tpi_derived) + property_count * sizeof(uint64_t);
}

void tpi_derived_destroy(struct tpi_derived *d)
{
    if (d == NULL) {
        return;
    }
    for (uint32_t i = 0; i < d->count; i++) {
        d->ops->destroy(d->exprs[i]);
    }
    tpi_free(d->alloc, d, bytes_of(d->property_count));
}

/* Number of a derived property; d->count if it is none, or not one of those so far. */
static uint32_t number_of(const struct tpi_derived *d, uint32_t index)
{
    uint32_t n = 0;
    while (n < d->count && d->indexes[n] != index) {
        n++;
    }
    return n;
}

static int add(struct tpi_derived *d, const struct tpi_model *m, uint32_t index,
               struct tpc_error *err)
{
    void *expr;
    int rc = d->ops->compile(d->alloc, m, index, err, &expr);
    if (rc != 0) {
        return rc;
    }
    uint32_t number = d->count;
    d->exprs[number] = expr;
    d->indexes[number] = (uint16_t) index;
    for (uint32_t i = 0; i < d->ops->name_count(expr); i++) {
        uint32_t read = d->ops->name(expr, i);
        bool derived = tpi_model_property(m, read)->expr.len > 0;
        if (derived && number_of(d, read) == d->count) {
            d->ops->destroy(expr);
            return tpi_error_set(err, TPC_EINVAL, origin,
                                 "reads \"%s\", which is computed itself and not listed before it",
                                 tpi_model_property(m, read)->key.ptr);
        }
        d->readers[read] |= (uint64_t) 1 << number;
    }
    d->count++;
    return 0;
}

int tpi_derived_make(const struct tpc_allocator *alloc, const struct tpi_expr_ops *ops,
                     const struct tpi_model *m, struct tpc_error *err, struct tpi_derived **ret)
{
    uint32_t count = tpi_model_property_count(m);
    *ret = NULL;
    if (tpi_model_derived_count(m) == 0) {
        return 0;
    }
    if (ops == NULL) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, origin, "nothing here computes properties");
    }
    struct tpi_derived *d = tpi_alloc_zero(alloc, bytes_of(count));
    if (d == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "out of memory");
    }
    d->alloc = alloc;
    d->ops = ops;
    d->property_count = count;
    for (uint32_t i = 0; i < count; i++) {
        int rc = tpi_model_property(m, i)->expr.len > 0 ? add(d, m, i, err) : 0;
        if (rc != 0) {
            tpi_error_at(err, "expr");
            tpi_error_at_index(err, i);
            tpi_error_at(err, "properties");
            tpi_derived_destroy(d);
            return rc;
        }
    }
    *ret = d;
    return 0;
}
