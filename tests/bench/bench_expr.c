/* A scene's condition over two properties, against the same condition written in C over the same
 * loading of values. */
#include "bench.h"

#include "expr/expr.h"

#include <string.h>

struct bench {
    struct tpi_expr *expr;
    struct tpc_value values[2];
    uint32_t hits;
};

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    *ret_index = name.ptr[0] == 'h';
    *ret_type = TPI_EXPR_NUMBER;
    return 0;
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct bench *b = user;
    *ret = b->values[index];
    return true;
}

static void compiled(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        b->values[0].as.d = 25.0 + (double) (i & 15);
        b->hits += tpi_expr_test(b->expr, load, b) == 1;
    }
}

static void by_hand(void *user, uint32_t times)
{
    struct bench *b = user;
    tpi_expr_load_fn *volatile fn = load;
    for (uint32_t i = 0; i < times; i++) {
        struct tpc_value t, h;
        b->values[0].as.d = 25.0 + (double) (i & 15);
        b->hits += fn(b, 0, &t) && t.type == TPC_DOUBLE && t.as.d > 30 && fn(b, 1, &h) &&
                   h.type == TPC_INT && h.as.i < 40;
    }
}

int main(void)
{
    static struct bench b = { .values = { { .type = TPC_DOUBLE },
                                          { .type = TPC_INT, .as.i = 35 } } };
    static const char text[] = "temperature > 30 && humidity < 40";
    bench_must(tpi_expr_compile(NULL, TPC_STR(text), resolve, NULL, TPI_EXPR_BOOL, NULL, &b.expr) ==
                   0,
               "compiling");
    struct bench_pair best = bench_compare(compiled, by_hand, &b, 1000000, 9);
    bench_must(b.hits > 0, "the condition");
    bench_line("expr_condition", best.ours, "ns", "c_code", best.ours / best.theirs);
    tpi_expr_destroy(b.expr);
    return 0;
}
