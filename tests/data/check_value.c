#include "data_suites.h"

#include "data/utf8.h"

#include <math.h>
#include <string.h>

START_TEST(member_is_found_by_key)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value map = data_json(arena, "{\"a\":1,\"b\":{\"c\":\"x\"},\"\":3}");
    int64_t i;
    tk_ok(tpc_value_int(tpc_value_get(&map, TPC_STR("a")), &i));
    ck_assert_int_eq(i, 1);
    ck_assert_ptr_nonnull(tpc_value_get(&map, TPC_STR("")));
    ck_assert_ptr_null(tpc_value_get(&map, TPC_STR("ab")));
    ck_assert_ptr_null(tpc_value_get(NULL, TPC_STR("a")));
    ck_assert_ptr_null(tpc_value_get(tpc_value_get(&map, TPC_STR("a")), TPC_STR("a")));
    const struct tpc_value *c = tpc_value_get(tpc_value_get(&map, TPC_STR("b")), TPC_STR("c"));
    ck_assert(tpc_str_equal(tpc_value_text(c), TPC_STR("x")));
    ck_assert_uint_eq(tpc_value_text(NULL).len, 0);
    ck_assert_uint_eq(tpc_value_text(&map).len, 0);
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(number_is_taken_only_where_exact)
{
    static const struct {
        double d;
        int rc;
        int64_t i;
    } table[] = {
        { 3.0, 0, 3 },
        { -0.0, 0, 0 },
        { 0.5, TPC_EINVAL, 0 },
        { 9223372036854775808.0, TPC_EINVAL, 0 },
        { -9223372036854775808.0, 0, INT64_MIN },
        { (double) NAN, TPC_EINVAL, 0 },
        { (double) INFINITY, TPC_EINVAL, 0 },
        { 1e300, TPC_EINVAL, 0 },
    };
    for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++) {
        struct tpc_value v = { .type = TPC_DOUBLE, .as.d = table[n].d };
        int64_t i = 77;
        tk_fails(table[n].rc, tpc_value_int(&v, &i));
        ck_assert_int_eq(i, table[n].rc == 0 ? table[n].i : 77);
    }
    struct tpc_value yes = { .type = TPC_BOOL, .as.b = true };
    struct tpc_value text = { .type = TPC_TEXT, .len = 1, .as.text = "1" };
    int64_t i;
    double d;
    tk_ok(tpc_value_int(&yes, &i));
    ck_assert_int_eq(i, 1);
    tk_ok(tpc_value_double(&yes, &d));
    ck_assert(d == 1.0);
    tk_fails(TPC_EINVAL, tpc_value_int(&text, &i));
    tk_fails(TPC_EINVAL, tpc_value_double(&text, &d));
    tk_fails(TPC_EINVAL, tpc_value_int(NULL, &i));
}
END_TEST

START_TEST(trees_are_equal_whatever_the_order_of_members)
{
    static const struct {
        const char *a;
        const char *b;
        int equal;
    } table[] = {
        { "{\"a\":1,\"b\":[1,2,{\"c\":null}]}", "{\"b\":[1,2.0,{\"c\":null}],\"a\":1.0}", 1 },
        { "[1,2]", "[2,1]", 0 },
        { "{\"a\":1}", "{\"a\":1,\"b\":2}", 0 },
        { "{\"a\":1}", "{\"b\":1}", 0 },
        { "9007199254740993", "9007199254740992.0", 0 },
        { "\"x\"", "\"y\"", 0 },
        { "\"\"", "\"\"", 1 },
        { "null", "false", 0 },
        { "[]", "{}", 0 },
        { "true", "1", 0 },
        { "0.5", "0", 0 },
    };
    struct tpc_arena *arena = data_arena();
    for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++) {
        struct tpc_value a = data_json(arena, table[n].a);
        struct tpc_value b = data_json(arena, table[n].b);
        ck_assert_msg(tpc_value_equal(&a, &b) == table[n].equal, "%s, %s", table[n].a, table[n].b);
        ck_assert_msg(tpc_value_equal(&b, &a) == table[n].equal, "%s, %s", table[n].b, table[n].a);
        ck_assert(tpc_value_equal(&a, &a));
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(utf8_is_what_the_standard_says)
{
    static const struct {
        const char *text;
        bool valid;
    } table[] = {
        { "plain ascii, longer than eight", true },
        { "\xC2\x80", true },
        { "\xDF\xBF", true },
        { "\xE0\xA0\x80", true },
        { "\xED\x9F\xBF", true },
        { "\xEE\x80\x80", true },
        { "\xEF\xBF\xBF", true },
        { "\xF0\x90\x80\x80", true },
        { "\xF4\x8F\xBF\xBF", true },
        { "\x80", false },
        { "\xBF", false },
        { "\xC0\x80", false },
        { "\xC1\xBF", false },
        { "\xC2", false },
        { "\xC2\x41", false },
        { "\xE0\x9F\xBF", false },
        { "\xE2\x82", false },
        { "\xE2\x82\x41", false },
        { "\xED\xA0\x80", false },
        { "\xED\xBF\xBF", false },
        { "\xF0\x8F\xBF\xBF", false },
        { "\xF0\x9F\x98", false },
        { "\xF4\x90\x80\x80", false },
        { "\xF5\x80\x80\x80", false },
        { "\xFE", false },
        { "\xFF", false },
    };
    struct tpc_arena *arena = data_arena();
    for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++) {
        char quoted[64];
        struct tpc_value v;
        size_t len = strlen(table[n].text);
        ck_assert_msg(tpi_utf8_valid(table[n].text, len) == table[n].valid, "row %zu", n);
        /* The same verdict in a JSON text, and behind text that the fast path takes. */
        for (size_t before = 0; before < 20; before++) {
            memset(quoted, 'x', sizeof(quoted));
            quoted[0] = '"';
            memcpy(quoted + 1 + before, table[n].text, len);
            quoted[1 + before + len] = '"';
            struct tpc_str text = { quoted, before + len + 2 };
            tk_fails(table[n].valid ? 0 : TPC_EDECODE, tpc_json_parse(arena, text, 0, NULL, &v));
        }
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(every_code_point_is_written_and_read_alike)
{
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        char text[4];
        if (code >= 0xD800 && code <= 0xDFFF) {
            continue;
        }
        size_t n = tpi_utf8_put(code, text);
        /* check writes at each assertion: millions of them take a minute. */
        if (!tpi_utf8_valid(text, n) || (code >= 0x80 && tpi_utf8_step(text, text + n) != n)) {
            ck_abort_msg("U+%04X", code);
        }
    }
}
END_TEST

Suite *value_suite(void)
{
    Suite *s = suite_create("value");
    TCase *t = tcase_create("value");
    tcase_add_test(t, member_is_found_by_key);
    tcase_add_test(t, number_is_taken_only_where_exact);
    tcase_add_test(t, trees_are_equal_whatever_the_order_of_members);
    tcase_add_test(t, utf8_is_what_the_standard_says);
    tcase_add_test(t, every_code_point_is_written_and_read_alike);
    suite_add_tcase(s, t);
    return s;
}
