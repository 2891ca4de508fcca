/* Derived properties are computed by the expressions of the rules: names are keys of the model. */
#include "core/core.h"
#include "registry/derived.h"
#include "expr/expr.h"

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    const struct tpi_model *m = user;
    int index = tpi_model_find(m, name, NULL);
    if (index < 0) {
        return TPC_ENOENT;
    }
    *ret_index = (uint32_t) index;
    switch (tpi_model_property(m, (uint32_t) index)->value_type) {
    case TPC_INT:
    case TPC_DOUBLE:
        *ret_type = TPI_EXPR_NUMBER;
        break;
    case TPC_BOOL:
        *ret_type = TPI_EXPR_BOOL;
        break;
    case TPC_TEXT:
        *ret_type = TPI_EXPR_TEXT;
        break;
    default:
        *ret_type = TPI_EXPR_ANY;
    }
    return 0;
}

static int compile(const struct tpc_allocator *alloc, const struct tpi_model *m, uint32_t index,
                   struct tpc_error *err, void **ret)
{
    struct tpi_expr *e;
    struct tpc_str text = tpi_model_property(m, index)->expr;
    int rc = tpi_expr_compile(alloc, text, resolve, (void *) (uintptr_t) m, TPI_EXPR_ANY, err, &e);
    if (rc == 0) {
        *ret = e;
    }
    return rc;
}

static void destroy(void *expr)
{
    tpi_expr_destroy(expr);
}

static uint32_t name_count(const void *expr)
{
    return tpi_expr_name_count(expr);
}

static uint32_t name(const void *expr, uint32_t i)
{
    return tpi_expr_name_index(expr, i);
}

static struct tpc_value eval(const void *expr, tpi_derived_load_fn *load, void *user)
{
    return tpi_expr_eval(expr, load, user);
}

const struct tpi_expr_ops tpi_core_expr_ops = {
    .compile = compile, .destroy = destroy, .name_count = name_count, .name = name, .eval = eval
};
