/* What compiling the condition of a rule costs when it is saved or its model changes. */
#include "bench.h"

#include "expr/expr.h"

#include <string.h>

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    *ret_index = (uint32_t) name.len;
    *ret_type = name.ptr[0] == 'm' ? TPI_EXPR_TEXT : TPI_EXPR_NUMBER;
    return 0;
}

static void compile(void *user, uint32_t times)
{
    static const struct tpi_expr_scope scope = { .resolve = resolve };
    static const char text[] =
        "mode in ('auto', 'eco') and temperature > 30 and humidity < 40 and "
        "round(temperature * 1.8 + 32, 1) between 80 and 120 or "
        "case when humidity is null then false else upper(mode) like 'X%' end";
    struct tpi_expr *e = NULL;
    (void) user;
    for (uint32_t i = 0; i < times; i++) {
        bench_must(tpi_expr_compile(NULL, TPC_STR(text), &scope, TPI_EXPR_BOOL, NULL, &e) == 0,
                   "compiling");
        tpi_expr_destroy(e);
    }
}

int main(void)
{
    double us = 1e18;
    for (int i = 0; i < 9; i++) {
        double round = bench_round(compile, NULL, 5000) / 1000;
        us = round < us ? round : us;
    }
    bench_line("rule_compile", us, "us", "limit_50_us", 50 / us);
    return 0;
}
