/* Scripts in expressions, as a host brings them: here the code is "sum", "text", "null" or "bad". */
#include "suites.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "expr/expr.h"

static int open_count;

struct fake {
    struct tpi_expr_script base;
    const struct tpc_allocator *alloc;
    char what;
};

static void close_fake(struct tpi_expr_script *s)
{
    struct fake *f = (struct fake *) (void *) s;
    tpi_free(f->alloc, f, sizeof(*f));
    open_count--;
}

static int open_fake(void *user, struct tpc_str code, struct tpc_error *err,
                     struct tpi_expr_script **ret)
{
    const struct tpc_allocator *a = user;
    if (tpc_str_equal(code, TPC_STR("bad"))) {
        return tpi_error_set(err, TPC_ESCRIPT, "fake", "script:1: it is bad");
    }
    struct fake *f = tpi_alloc(a, sizeof(*f));
    if (f == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "fake", "no memory");
    }
    *f = (struct fake){ { close_fake }, a, code.ptr[0] };
    *ret = &f->base;
    open_count++;
    return 0;
}

static bool run_fake(void *user, struct tpi_expr_script *s, const struct tpc_value *args,
                     uint32_t count, struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct fake *f = (const struct fake *) (const void *) s;
    int64_t sum = 0;
    (void) user;
    (void) scratch;
    for (uint32_t i = 0; i < count; i++) {
        sum += args[i].type == TPC_INT ? args[i].as.i : 1000;
    }
    *ret = f->what == 't' ? (struct tpc_value){ .type = TPC_TEXT, .len = 2, .as.text = "hi" }
                          : (struct tpc_value){ .type = TPC_INT, .as.i = sum };
    return f->what != 'n';
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    (void) user;
    *ret = (struct tpc_value){ .type = TPC_INT, .as.i = index };
    return index != 0;
}

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    *ret_index = name.ptr[0] == 'a' ? 7 : 0;
    *ret_type = TPI_EXPR_ANY;
    return 0;
}

static struct tpi_expr_scope scope_of(const struct tpc_allocator *a)
{
    return (struct tpi_expr_scope){ .resolve = resolve,
                                    .features = TPI_EXPR_SCRIPT,
                                    .script = open_fake,
                                    .script_user = (void *) (uintptr_t) a };
}

static struct tpc_value value_of(const char *text)
{
    static const struct tpi_expr_host host = { .load = load, .script = run_fake };
    struct tpi_expr_scope scope = scope_of(NULL);
    struct tpc_error err;
    struct tpi_expr *e;
    int rc = tpi_expr_compile(NULL, tpc_str_from(text), &scope, TPI_EXPR_ANY, &err, &e);
    ck_assert_msg(rc == 0, "%s: %s", text, err.text);
    struct tpc_value v = tpi_expr_eval(e, &host, NULL, NULL);
    tpi_expr_destroy(e);
    return v;
}

START_TEST(script_gets_its_arguments_and_its_result_goes_on)
{
    ck_assert_int_eq(value_of("lua('sum', 1, a, 2 * 3) + 1").as.i, 15);
    ck_assert_int_eq(value_of("lua('sum')").as.i, 0);
    ck_assert_int_eq(value_of("lua('sum', gone, null)").as.i, 2000);
    ck_assert_int_eq(value_of("lua('sum', lua('sum', 1), 2)").as.i, 3);
    ck_assert_int_eq(value_of("lua('null')").type, TPC_NULL);
    ck_assert_int_eq(value_of("upper(lua('text')) = 'HI'").type, TPC_NULL); /* no scratch */
    ck_assert(value_of("lua('text') = 'hi'").as.b);
    ck_assert_int_eq(open_count, 0);
}
END_TEST

START_TEST(script_that_cannot_be_is_told_with_its_place)
{
    static const struct {
        const char *text;
        uint32_t column;
        const char *reason;
    } cases[] = {
        { "1 + lua('bad')", 9, "script:1: it is bad" },
        { "lua(a)", 5, "the code as a text" },
        { "lua()", 5, "the code as a text" },
        { "lua('sum', )", 12, "" },
        { "lua('sum' 1)", 11, "')'" },
        { "a | lua('sum')", 3, "" },
        { "lua('s',1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)", 0, "lua" },
        { "lua('s')+lua('s')+lua('s')+lua('s')+lua('s')+lua('s')+lua('s')+lua('s')+lua('s')", 0,
          "scripts" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpi_expr_scope scope = scope_of(NULL);
        struct tpc_error err = { .text = "" };
        struct tpi_expr *e;
        int rc =
            tpi_expr_compile(NULL, tpc_str_from(cases[i].text), &scope, TPI_EXPR_ANY, &err, &e);
        ck_assert_msg(rc != 0, "%s", cases[i].text);
        ck_assert_msg(cases[i].column == 0 || err.column == cases[i].column, "%s: column %u: %s",
                      cases[i].text, (unsigned) err.column, err.text);
        ck_assert_msg(strstr(err.text, cases[i].reason) != NULL, "%s: %s", cases[i].text, err.text);
        scope.features = 0;
        tk_fails(TPC_EINVAL,
                 tpi_expr_compile(NULL, TPC_STR("lua('sum')"), &scope, TPI_EXPR_ANY, &err, &e));
    }
    ck_assert_int_eq(open_count, 0);
}
END_TEST

static int with_memory_of(const struct tpc_allocator *a, void *user)
{
    struct tpi_expr_scope scope = scope_of(a);
    struct tpc_error err;
    struct tpi_expr *e;
    (void) user;
    int rc = tpi_expr_compile(a, TPC_STR("lua('sum', 1) > lua('text', a, 'x')"), &scope,
                              TPI_EXPR_ANY, &err, &e);
    if (rc == 0) {
        tpi_expr_destroy(e);
    }
    ck_assert_int_eq(open_count, 0);
    return rc;
}

START_TEST(scripts_are_closed_when_memory_ends)
{
    tk_each_alloc_fails(with_memory_of, NULL);
}
END_TEST

Suite *script_suite(void)
{
    Suite *s = suite_create("script");
    TCase *c = tcase_create("script");
    tcase_add_test(c, script_gets_its_arguments_and_its_result_goes_on);
    tcase_add_test(c, script_that_cannot_be_is_told_with_its_place);
    tcase_add_test(c, scripts_are_closed_when_memory_ends);
    suite_add_tcase(s, c);
    return s;
}
