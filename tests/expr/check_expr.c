/* Expressions: what they mean, what is refused and where. */
#include "suites.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "expr/expr.h"

/* Names of the tests: number is the place in this table. */
static const struct var {
    const char *name;
    uint8_t type;
} vars[] = {
    { "temperature", TPI_EXPR_NUMBER }, { "humidity", TPI_EXPR_NUMBER }, { "on", TPI_EXPR_BOOL },
    { "mode", TPI_EXPR_TEXT },          { "n", TPI_EXPR_NUMBER },        { "any", TPI_EXPR_ANY },
    { "gone", TPI_EXPR_NUMBER },        { "off", TPI_EXPR_BOOL },        { "lost", TPI_EXPR_BOOL },
    { "x-y", TPI_EXPR_NUMBER },         { "tags", TPI_EXPR_ANY },        { "nan", TPI_EXPR_NUMBER },
};
enum { VARS = sizeof(vars) / sizeof(vars[0]) };

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    for (uint32_t i = 0; i < VARS; i++) {
        if (tpc_str_equal(name, tpc_str_from(vars[i].name))) {
            *ret_index = i;
            *ret_type = vars[i].type;
            return 0;
        }
    }
    return TPC_ENOENT;
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    uint32_t *loads = user;
    if (loads != NULL) {
        *loads += 1;
    }
    switch (index) {
    case 0:
        *ret = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = 31.5 };
        return true;
    case 1:
        *ret = (struct tpc_value){ .type = TPC_INT, .as.i = 40 };
        return true;
    case 2:
    case 7:
        *ret = (struct tpc_value){ .type = TPC_BOOL, .as.b = index == 2 };
        return true;
    case 3:
    case 5:
        *ret = (struct tpc_value){ .type = TPC_TEXT, .len = 4, .as.text = "auto" };
        return true;
    case 4:
    case 9:
        *ret = (struct tpc_value){ .type = TPC_INT, .as.i = 7 };
        return true;
    case 10:
        *ret = (struct tpc_value){ .type = TPC_ARRAY };
        return true;
    case 11:
        *ret = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = NAN };
        return true;
    default:
        return false;
    }
}

static const struct tpi_expr_scope scope = { .resolve = resolve };
static const struct tpi_expr_host host = { .load = load };

static struct tpi_expr *compile(const char *text, enum tpi_expr_type want)
{
    struct tpc_error err = { 0 };
    struct tpi_expr *e = NULL;
    int rc = tpi_expr_compile(NULL, tpc_str_from(text), &scope, want, &err, &e);
    ck_assert_msg(rc == 0, "%s: %u:%u %s", text, err.line, err.column, err.text);
    return e;
}

struct row {
    const char *text;
    const char *result; /* JSON */
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct tpi_expr *e = compile(rows[i].text, TPI_EXPR_ANY);
        struct tpc_value v = tpi_expr_eval(e, &host, NULL, NULL);
        uint8_t out[128];
        struct tpc_buf buf = { out, sizeof(out), 0 };
        tk_ok(tpc_json_write(&v, 0, &buf));
        ck_assert_msg(
            buf.need == strlen(rows[i].result) && memcmp(out, rows[i].result, buf.need) == 0,
            "%s = %.*s, not %s", rows[i].text, (int) buf.need, (char *) out, rows[i].result);
        tpi_expr_destroy(e);
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

START_TEST(operators_mean_what_they_say)
{
    static const struct row rows[] = {
        { "1 + 2 * 3", "7" },
        { "(1 + 2) * 3", "9" },
        { "7 / 2", "3.5" },
        { "7 % 4", "3" },
        { "-7 % 4", "-3" },
        { "7.5 % 2", "1.5" },
        { "1 - -1", "2" },
        { "-(n) + 1", "-6" },
        { "10 - 3 - 2", "5" },
        { "1e3", "1000.0" },
        { "9223372036854775807 + 1", "9.223372036854776e18" },
        { "n == 7", "true" },
        { "n = 7.0", "true" },
        { "n <> 7", "false" },
        { "n != 8", "true" },
        { "temperature > 31.5", "false" },
        { "temperature >= 31.5", "true" },
        { "temperature < 40 && humidity <= 40", "true" },
        { "30 < temperature", "true" },
        { "humidity - n > temperature", "true" },
        { "9007199254740993 > 9007199254740992.0", "true" },
        { "on == true", "true" },
        { "on != off", "true" },
        { "!on", "false" },
        { "not on or on", "true" },
        { "not (n == 7)", "false" },
        { "not n == 8", "true" },
        { "mode == 'auto'", "true" },
        { "mode < 'b'", "true" },
        { "mode > 'aut'", "true" },
        { "mode in ('eco', \"auto\")", "true" },
        { "mode not in ('eco', 'dry')", "true" },
        { "n in (-7, 7.0)", "true" },
        { "n between 7 and 8", "true" },
        { "n not between 7 and 8", "false" },
        { "n between 8 and 9 or n between 1 and 7 and on", "true" },
        { "mode like 'a%'", "true" },
        { "mode like '%t_'", "true" },
        { "mode like 'aut'", "false" },
        { "mode not like '%x%'", "true" },
        { "'\xc3\xa4x' like '_x'", "true" },
        { "'abcabd' like '%ab_'", "true" },
        { "'' like '%'", "true" },
        { "'it\\'s' == \"it's\"", "true" },
        { "`x-y` == 7", "true" },
        { "any == 'auto'", "true" },
        { "TRUE AND NOT False", "true" },
        { "true || false && false", "true" },
        { "false && false || true", "true" },
        { "\n n\t==\r\n 7", "true" },
        { "'text'", "\"text\"" },
    };
    CHECK_ROWS(rows);
}
END_TEST

START_TEST(null_is_sql_null)
{
    static const struct row rows[] = {
        { "gone", "null" },
        { "gone > 1", "null" },
        { "gone + 1", "null" },
        { "-gone", "null" },
        { "!lost", "null" },
        { "gone == null", "null" },
        { "null = null", "null" },
        { "gone is null", "true" },
        { "gone is not null", "false" },
        { "n is null", "false" },
        { "tags is not null", "true" },
        { "tags == 1", "null" },
        { "tags", "[]" },
        { "nan is null", "true" },
        { "lost && false", "false" },
        { "false && lost", "false" },
        { "lost && true", "null" },
        { "true && lost", "null" },
        { "lost || true", "true" },
        { "true || lost", "true" },
        { "lost || false", "null" },
        { "gone in (1, 2)", "null" },
        { "n in (1, null)", "null" },
        { "n in (7, null)", "true" },
        { "n not in (1, null)", "null" },
        { "gone between 1 and 2", "null" },
        { "n between 8 and gone", "false" },
        { "n between 1 and gone", "null" },
        { "n not between 8 and gone", "true" },
        { "1 / 0", "null" },
        { "1 % 0", "null" },
        { "1.0 % 0", "null" },
        { "1e308 * 10", "null" },
        { "any > 5", "null" },
        { "any + 5", "null" },
        { "any && true", "null" },
        { "null like 'a'", "null" },
    };
    CHECK_ROWS(rows);
}
END_TEST

START_TEST(bad_expressions_are_refused_with_line_and_column)
{
    static const struct bad {
        const char *text;
        uint32_t line, column;
        const char *reason;
    } rows[] = {
        { "", 1, 1, "the expression is empty" },
        { "  ", 1, 1, "the expression is empty" },
        { "temperature >", 1, 14, "a value expected at the end" },
        { "temperature > > 3", 1, 15, "a value expected, not '>'" },
        { "temperature >\n  && 3", 2, 3, "a value expected, not '&&'" },
        { "(n == 7", 1, 8, "')' expected at the end" },
        { "n == 7)", 1, 7, "an operator expected, not ')'" },
        { "n 7", 1, 3, "an operator expected, not '7'" },
        { "temperatur > 3", 1, 1, "no property 'temperatur'" },
        { "on > 3", 1, 1, "'on' is bool, compared with a number" },
        { "n == 1 && on == 3", 1, 11, "'on' is bool, compared with a number" },
        { "3 == on", 1, 6, "'on' is bool, compared with a number" },
        { "mode == 3", 1, 1, "'mode' is text, compared with a number" },
        { "`x-y` == 'a'", 1, 2, "'x-y' is a number, compared with a text" },
        { "'a' == 1", 1, 1, "a text, compared with a number" },
        { "n in (1, 'a')", 1, 1, "'n' is a number, compared with a text" },
        { "n in ()", 1, 7, "a constant expected, not ')'" },
        { "n in (1 2)", 1, 9, "',' or ')' expected, not '2'" },
        { "n between 1 or 2", 1, 13, "'and' expected, not 'or'" },
        { "n between on and 2", 1, 1, "'n' is a number, compared with a bool" },
        { "on && n", 1, 7, "'n' is a number, && needs conditions" },
        { "n || on", 1, 1, "'n' is a number, || needs conditions" },
        { "not n", 1, 5, "'n' is a number, not needs a condition" },
        { "mode + 1 > 2", 1, 1, "'mode' is text, arithmetic needs numbers" },
        { "n like 'a'", 1, 1, "'n' is a number, like needs a text" },
        { "-mode", 1, 2, "'mode' is text, - needs a number" },
        { "temperature", 1, 1, "'temperature' is a number, a condition is needed" },
        { "on < off", 1, 4, "bools have no order: use == or !=" },
        { "1 < n < 3", 1, 7, "comparisons in a row: use && or parentheses" },
        { "n not 3", 1, 7, "in, between or like expected, not '3'" },
        { "n is 3", 1, 6, "'null' expected, not '3'" },
        { "n == 1.", 1, 6, "malformed number" },
        { "n == 1x", 1, 6, "malformed number" },
        { "n == 1e999", 1, 6, "number is too large" },
        { "mode == 'a", 1, 9, "no closing ' of a text" },
        { "mode == 'a\\q'", 1, 11, "unknown escape in a text" },
        { "`a", 1, 1, "no closing ` of a name" },
        { "``", 1, 1, "empty name" },
        { "n == 7 ; n", 1, 8, "unexpected ';'" },
        { "n & 7", 1, 3, "unexpected '&'" },
        { "n \x01", 1, 3, "unexpected byte 0x01" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tpc_error err = { 0 };
        struct tpi_expr *e = NULL;
        int rc =
            tpi_expr_compile(NULL, tpc_str_from(rows[i].text), &scope, TPI_EXPR_BOOL, &err, &e);
        ck_assert_msg(rc == TPC_EINVAL, "%s: %d", rows[i].text, rc);
        ck_assert_str_eq(err.text, rows[i].reason);
        ck_assert_msg(err.line == rows[i].line && err.column == rows[i].column, "%s: %u:%u",
                      rows[i].text, err.line, err.column);
        ck_assert_ptr_null(e);
    }
}
END_TEST

static struct tpc_error repeated_error;

static int compile_repeated(const char *head, const char *part, size_t count, const char *tail)
{
    static char text[3 << 16];
    size_t len = (size_t) snprintf(text, sizeof(text), "%s", head);
    for (size_t i = 0; i < count; i++) {
        len += (size_t) snprintf(text + len, sizeof(text) - len, "%s", part);
    }
    snprintf(text + len, sizeof(text) - len, "%s", tail);
    struct tpi_expr *e = NULL;
    repeated_error = (struct tpc_error){ 0 };
    int rc = tpi_expr_compile(NULL, tpc_str_from(text), &scope, TPI_EXPR_ANY, &repeated_error, &e);
    tpi_expr_destroy(e);
    return rc;
}

START_TEST(limits_are_refused_not_overrun)
{
    tk_fails(TPC_ETOOBIG, compile_repeated("", "(", 10000, "n"));
    ck_assert_str_eq(repeated_error.text, "too many operations inside one another");
    ck_assert_uint_eq(repeated_error.column, 65);
    tk_fails(TPC_ETOOBIG, compile_repeated("", "-", 100, "n"));
    tk_fails(TPC_ETOOBIG, compile_repeated("", "!", 100, "on"));
    tk_fails(TPC_ETOOBIG, compile_repeated("", "abs(", 100, "n"));
    tk_fails(TPC_ETOOBIG, compile_repeated("", "case when on then ", 100, "n"));
    tk_fails(TPC_ETOOBIG, compile_repeated("tags", "[tags", 100, "n"));
    tk_fails(TPC_ETOOBIG, compile_repeated("1", "+(2*3", 100, "n"));
    tk_fails(TPC_ETOOBIG, compile_repeated("n", " ", 65536, ""));
    ck_assert_str_eq(repeated_error.text, "an expression of more than 65536 bytes");
    tk_fails(TPC_ETOOBIG, compile_repeated("n", "-n", 20000, ""));
    tk_fails(TPC_ETOOBIG, compile_repeated("n in (1", ",1", 16384, ")"));
    tk_ok(compile_repeated("n", "-n", 8000, ""));
    tk_ok(compile_repeated("", "(", 20, "n))))))))))))))))))))"));
    tk_ok(compile_repeated("on", " && on", 5000, ""));
}
END_TEST

START_TEST(each_name_is_told_once_and_short_circuits_load_nothing)
{
    struct tpi_expr *e = compile("off && n > 1 && n < 3 && temperature > 3", TPI_EXPR_BOOL);
    ck_assert_uint_eq(tpi_expr_name_count(e), 3);
    ck_assert_uint_eq(tpi_expr_name_index(e, 0), 7);
    ck_assert_uint_eq(tpi_expr_name_index(e, 1), 4);
    ck_assert_uint_eq(tpi_expr_name_index(e, 2), 0);
    ck_assert_int_eq(tpi_expr_result(e), TPI_EXPR_BOOL);
    uint32_t loads = 0;
    ck_assert_int_eq(tpi_expr_test(e, &host, &loads, NULL), 0);
    ck_assert_uint_eq(loads, 1);
    tpi_expr_destroy(e);
}
END_TEST

static int compile_on(const struct tpc_allocator *a, void *user)
{
    (void) user;
    struct tpi_expr *e = NULL;
    int rc = tpi_expr_compile(a, tpc_str_from("n in (1,2) and mode like 'a%' or temperature > 3"),
                              &scope, TPI_EXPR_BOOL, NULL, &e);
    tpi_expr_destroy(e);
    return rc;
}

START_TEST(no_memory_is_an_error_and_leaks_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(compile_on, NULL), 3);
}
END_TEST

Suite *expr_suite(void)
{
    Suite *s = suite_create("expr");
    TCase *c = tcase_create("expr");
    tcase_add_test(c, operators_mean_what_they_say);
    tcase_add_test(c, null_is_sql_null);
    tcase_add_test(c, bad_expressions_are_refused_with_line_and_column);
    tcase_add_test(c, limits_are_refused_not_overrun);
    tcase_add_test(c, each_name_is_told_once_and_short_circuits_load_nothing);
    tcase_add_test(c, no_memory_is_an_error_and_leaks_nothing);
    suite_add_tcase(s, c);
    return s;
}
