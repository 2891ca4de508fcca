/* Functions in another language. */
#include "expr/cell.h"
#include "expr/functions.h"

/* The first argument is the script's number. */
static struct cell fn_lua(struct eval *r, const struct cell *a, uint32_t n)
{
    struct tpc_value args[TPI_EXPR_SCRIPT_ARGS];
    struct tpi_expr_scratch none = { NULL, 0, 0, 0 };
    struct tpc_value v;
    for (uint32_t i = 1; i < n; i++) {
        args[i - 1] = tpi_cell_value(&a[i]);
    }
    if (r->host->script == NULL || !r->host->script(r->user, r->e->scripts[a[0].as.i], args, n - 1,
                                                    r->scratch != NULL ? r->scratch : &none, &v)) {
        return cell_null();
    }
    return tpi_cell_from(&v);
}

static const struct function items[] = {
    { .name = "lua",
      .args = "?",
      .min = 1,
      .max = TPI_EXPR_SCRIPT_ARGS + 1,
      .flags = FUNCTION_NULLS,
      .needs = TPI_EXPR_SCRIPT,
      .special = SPECIAL_SCRIPT,
      .fn = fn_lua,
      .usage = "lua('code', x, ..)",
      .help = "What the code returns, a Lua function's body that finds x, .. in `...`; null if it "
              "fails. In scenes, data rules and schedules; needs the module lua.",
      .since = "0.1" },
};

const struct function_group tpi_expr_script_functions = { "Scripts", items,
                                                          sizeof(items) / sizeof(items[0]) };
