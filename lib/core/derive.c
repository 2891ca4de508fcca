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
    case TPC_ARRAY:
        *ret_type = TPI_EXPR_LIST;
        break;
    case TPC_MAP:
        *ret_type = TPI_EXPR_MAP;
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
    struct tpi_expr_scope scope = { .resolve = resolve,
                                    .user = (void *) (uintptr_t) m,
                                    .features = TPI_EXPR_PREVIOUS | TPI_EXPR_OTHER | TPI_EXPR_NOW |
                                                TPI_EXPR_EVENT };
    int rc = tpi_expr_compile(alloc, text, &scope, TPI_EXPR_ANY, err, &e);
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

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct tpi_derived_view *view = user;
    return view->load(view->user, index, ret);
}

static bool previous(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct tpi_derived_view *view = user;
    return view->previous(view->user, index, ret);
}

static bool other(void *user, struct tpc_str device, struct tpc_str name,
                  struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct tpi_derived_view *view = user;
    struct tpc_buf room = tpi_expr_rest(scratch);
    int rc = tpi_registry_latest(view->registry, view->tenant_id, device, name, &room, ret);
    return tpi_expr_took(scratch, &room, rc);
}

static int64_t now(void *user)
{
    const struct tpi_derived_view *view = user;
    return tpi_unix_ms(view->env);
}

static int64_t event_time(void *user)
{
    const struct tpi_derived_view *view = user;
    return view->unix_ms;
}

/* Lists and maps stay where they are: they are no result. */
static struct tpc_value eval(const void *expr, struct tpi_derived_view *view)
{
    static const struct tpi_expr_host host = {
        .load = load, .previous = previous, .other = other, .now = now, .event_time = event_time
    };
    struct tpi_expr_scratch scratch = { view->scratch, view->scratch_bytes, 0, 0 };
    struct tpc_value v = tpi_expr_eval(expr, &host, view, &scratch);
    view->no_room = scratch.overflows > 0;
    return v.type <= TPC_TEXT ? v : (struct tpc_value){ .type = TPC_NULL };
}

const struct tpi_expr_ops tpi_core_expr_ops = {
    .compile = compile, .destroy = destroy, .name_count = name_count, .name = name, .eval = eval
};
