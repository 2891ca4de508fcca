/* Compiles any text as an expression and runs what compiles: no fault and no endless loop. The
 * first byte of a name says its type, so that every type is met, and its value, which may be of
 * another. */
#include "expr/expr.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    *ret_index = (uint8_t) name.ptr[0];
    *ret_type = (uint8_t) ((uint8_t) name.ptr[0] % 5);
    return name.ptr[0] == 'z' ? TPC_ENOENT : 0;
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct tpc_value *all = user;
    *ret = all[index % 8];
    return index % 7 != 0;
}

static const struct tpc_value values[8] = {
    { .type = TPC_INT, .as.i = INT64_MIN },
    { .type = TPC_DOUBLE, .as.d = -1.5 },
    { .type = TPC_TEXT, .len = 5, .as.text = "a%b_c" },
    { .type = TPC_BOOL, .as.b = true },
    { .type = TPC_ARRAY },
    { .type = TPC_INT, .as.i = -1 },
    { .type = TPC_TEXT },
    { .type = TPC_DOUBLE, .as.d = 9223372036854775808.0 },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_str text = { (const char *) data, size };
    for (int want = TPI_EXPR_ANY; want <= TPI_EXPR_BOOL; want += TPI_EXPR_BOOL) {
        struct tpc_error err = { 0 };
        struct tpi_expr *e = NULL;
        int rc = tpi_expr_compile(NULL, text, resolve, NULL, (enum tpi_expr_type) want, &err, &e);
        if (rc != 0) {
            if (size > 0 && rc == TPC_EINVAL && (err.line == 0 || err.column == 0)) {
                abort();
            }
            continue;
        }
        struct tpc_value v = tpi_expr_eval(e, load, (void *) (uintptr_t) values);
        if (v.type > TPC_TEXT) {
            abort();
        }
        int test = tpi_expr_test(e, load, (void *) (uintptr_t) values);
        if (test < -1 || test > 1) {
            abort();
        }
        tpi_expr_destroy(e);
    }
    return 0;
}
