/* Compiles any text as an expression and runs what compiles: no fault and no endless loop. The
 * first byte of a name says its type, so that every type is met, and its value, which may be of
 * another. Results are read whole: they may be views of the scratch. */
#include "expr/expr.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    *ret_index = (uint8_t) name.ptr[0];
    *ret_type = (uint8_t) ((uint8_t) name.ptr[0] % 7);
    return name.ptr[0] == 'z' || name.len > 3 ? TPC_ENOENT : 0;
}

static int constant(void *user, struct tpc_str name, struct tpc_value *ret)
{
    (void) user;
    *ret = (struct tpc_value){ .type = TPC_TEXT, .len = name.len, .as.text = name.ptr };
    return name.len == 3 && name.ptr[1] == '.' ? 0 : TPC_ENOENT;
}

static const struct tpc_value items[3] = {
    { .type = TPC_INT, .as.i = 5 },
    { .type = TPC_TEXT, .len = 2, .as.text = "ab" },
    { .type = TPC_DOUBLE, .as.d = NAN },
};

static const struct tpc_member members[2] = {
    { { "x", 1 }, { .type = TPC_DOUBLE, .as.d = 1.25 } },
    { { "y", 1 }, { .type = TPC_ARRAY, .len = 3, .as.items = items } },
};

static const struct tpc_value values[10] = {
    { .type = TPC_INT, .as.i = INT64_MIN },
    { .type = TPC_DOUBLE, .as.d = -1.5 },
    { .type = TPC_TEXT, .len = 5, .as.text = "a%b_c" },
    { .type = TPC_BOOL, .as.b = true },
    { .type = TPC_ARRAY, .len = 3, .as.items = items },
    { .type = TPC_INT, .as.i = -1 },
    { .type = TPC_TEXT },
    { .type = TPC_DOUBLE, .as.d = 9223372036854775808.0 },
    { .type = TPC_MAP, .len = 2, .as.members = members },
    { .type = TPC_BLOB, .len = 1, .as.blob = (const uint8_t *) "b" },
};

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    (void) user;
    *ret = values[index % 10];
    return index % 7 != 0;
}

static bool previous(void *user, uint32_t index, struct tpc_value *ret)
{
    return load(user, index + 1, ret);
}

static bool other(void *user, struct tpc_str device, struct tpc_str name,
                  struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    (void) scratch;
    return load(user, (uint32_t) (device.len + name.len), ret);
}

static int64_t now(void *user)
{
    (void) user;
    return INT64_C(1766000000123);
}

static void close_script(struct tpi_expr_script *script)
{
    (void) script;
}

static int open_script(void *user, struct tpc_str code, struct tpc_error *err,
                       struct tpi_expr_script **ret)
{
    static struct tpi_expr_script one = { close_script };
    (void) user;
    if (code.len > 8) {
        err->text[0] = 0;
        return TPC_EUNSUPPORTED;
    }
    *ret = &one;
    return 0;
}

static const struct tpi_expr_scope scope = { .resolve = resolve,
                                             .constant = constant,
                                             .features = TPI_EXPR_PREVIOUS | TPI_EXPR_OTHER |
                                                         TPI_EXPR_NOW | TPI_EXPR_EVENT |
                                                         TPI_EXPR_AGE | TPI_EXPR_SCRIPT,
                                             .script = open_script };

static bool age(void *user, uint32_t index, int64_t *ret_ms)
{
    *ret_ms = now(user);
    return index != 0;
}

/* A script gives its first argument. */
static bool run_script(void *user, struct tpi_expr_script *script, const struct tpc_value *args,
                       uint32_t count, struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    (void) user;
    (void) script;
    (void) scratch;
    *ret = count > 0 ? args[0] : (struct tpc_value){ .type = TPC_NULL };
    return count > 0;
}

static const struct tpi_expr_host host = { .load = load,
                                           .previous = previous,
                                           .other = other,
                                           .now = now,
                                           .event_time = now,
                                           .age = age,
                                           .script = run_script };

/* Reads every byte; the members' NAN is data, not a result. */
static void check_result(const struct tpc_value *v)
{
    uint8_t out[512];
    struct tpc_buf buf = { out, sizeof(out), 0 };
    if (v->type == TPC_BLOB || (v->type == TPC_DOUBLE && !isfinite(v->as.d))) {
        abort();
    }
    tpc_json_write(v, 0, &buf);
}

/* Behind jumps and inside parentheses it gives the same. */
static void check_wrapped(struct tpc_str text, const struct tpc_value *expected)
{
    char longer[2048];
    char room[200];
    struct tpi_expr *e = NULL;
    int n = snprintf(longer, sizeof(longer), "case 7 when 8 then null when 7 then (%.*s) end",
                     (int) text.len, text.ptr);
    if (memchr(text.ptr, 0, text.len) != NULL || n >= (int) sizeof(longer) ||
        tpi_expr_compile(NULL, (struct tpc_str){ longer, (size_t) n }, &scope, TPI_EXPR_ANY, NULL,
                         &e) != 0) {
        return; /* it may be too deep now */
    }
    struct tpi_expr_scratch scratch = { room, sizeof(room), 0, 0 };
    struct tpc_value v = tpi_expr_eval(e, &host, NULL, &scratch);
    bool same = v.type == expected->type;
    if (v.type == TPC_TEXT) {
        same = same && tpc_value_equal(&v, expected);
    } else if (v.type <= TPC_DOUBLE) {
        same = same && memcmp(&v.as, &expected->as, v.type == TPC_BOOL ? 1 : 8) == 0;
    }
    if (!same) {
        abort();
    }
    tpi_expr_destroy(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char room[200];
    struct tpc_str text = { (const char *) data, size };
    for (int want = TPI_EXPR_ANY; want <= TPI_EXPR_BOOL; want += TPI_EXPR_BOOL) {
        struct tpc_error err = { 0 };
        struct tpi_expr *e = NULL;
        int rc = tpi_expr_compile(NULL, text, &scope, (enum tpi_expr_type) want, &err, &e);
        if (rc != 0) {
            if (size > 0 && rc == TPC_EINVAL && (err.line == 0 || err.column == 0)) {
                abort();
            }
            continue;
        }
        struct tpi_expr_scratch scratch = { room, sizeof(room), 0, 0 };
        struct tpc_value v = tpi_expr_eval(e, &host, NULL, &scratch);
        check_result(&v);
        if (size < 1900) {
            check_wrapped(text, &v);
        }
        v = tpi_expr_eval(e, &host, NULL, NULL);
        check_result(&v);
        int test = tpi_expr_test(e, &host, NULL, &scratch);
        if (test < -1 || test > 1 || scratch.used > scratch.cap) {
            abort();
        }
        tpi_expr_destroy(e);
    }
    return 0;
}
