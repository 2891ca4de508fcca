#include "data_suites.h"

#include <math.h>
#include <string.h>

static void is_written(const char *text, uint32_t flags, const char *expected)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v = data_json(arena, text);
    ck_assert_str_eq(data_text(arena, &v, flags), expected);
    tpc_arena_destroy(arena);
}

START_TEST(values_are_written_compactly)
{
    is_written(" { \"a\" : [ 1 , 2.50 , true , null , \"x\" ] , \"b\" : { } , \"c\" : [ ] } ", 0,
               "{\"a\":[1,2.5,true,null,\"x\"],\"b\":{},\"c\":[]}");
    is_written("-9223372036854775808", 0, "-9223372036854775808");
    is_written("21.0", 0, "21.0");
    is_written("1e3", 0, "1000.0");
    is_written("\"\\u0001\\u001f\\b\\f\\n\\r\\t\\\"\\\\\\/\\u00e9\\u0000\"", 0,
               "\"\\u0001\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\xC3\xA9\\u0000\"");
    is_written("\"<a&b>\\u2028\"", 0, "\"<a&b>\xE2\x80\xA8\"");
}
END_TEST

START_TEST(flags_change_the_form)
{
    is_written("{\"a\":[1,{\"b\":[]}],\"c\":{}}", TPC_JSON_PRETTY,
               "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}");
    is_written("\"<a&b>\\u2028\\u2029\\u20ac\"", TPC_JSON_HTML_SAFE,
               "\"\\u003ca\\u0026b\\u003e\\u2028\\u2029\xE2\x82\xAC\"");
    is_written("{\"b\":1,\"a\":{\"z\":1,\"y\":2},\"\":3,\"ab\":4,\"B\":5}", TPC_JSON_SORTED,
               "{\"\":3,\"B\":5,\"a\":{\"y\":2,\"z\":1},\"ab\":4,\"b\":1}");
}
END_TEST

START_TEST(what_json_cannot_say_is_written_as_stated)
{
    struct tpc_arena *arena = data_arena();
    static const char *const base64[] = { "\"\"",         "\"Zg==\"",     "\"Zm8=\"",    "\"Zm9v\"",
                                          "\"Zm9vYg==\"", "\"Zm9vYmE=\"", "\"Zm9vYmFy\"" };
    for (size_t n = 0; n <= 6; n++) {
        struct tpc_value v = { .type = TPC_BLOB, .len = n };
        v.as.blob = (const uint8_t *) "foobar";
        ck_assert_str_eq(data_text(arena, &v, 0), base64[n]);
    }
    struct tpc_value nan = { .type = TPC_DOUBLE, .as.d = (double) NAN };
    ck_assert_str_eq(data_text(arena, &nan, 0), "null");
    struct tpc_value infinite = { .type = TPC_DOUBLE, .as.d = -(double) INFINITY };
    ck_assert_str_eq(data_text(arena, &infinite, 0), "null");
    struct tpc_value text = { .type = TPC_TEXT, .len = 4, .as.text = "a\xFF\xC3z" };
    ck_assert_str_eq(data_text(arena, &text, 0), "\"a\\ufffd\\ufffdz\"");
    struct tpc_value odd = { .type = 77 };
    struct tpc_buf buf = { NULL, 0, 0 };
    tk_fails(TPC_EINVAL, tpc_json_write(&odd, 0, &buf));
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(a_tree_deeper_than_readers_accept_is_not_written)
{
    struct tpc_value v[34] = { { .type = TPC_NULL } };
    struct tpc_buf buf = { NULL, 0, 0 };
    for (int i = 1; i < 34; i++) {
        v[i] = (struct tpc_value){ .type = TPC_ARRAY, .len = 1, .as.items = &v[i - 1] };
    }
    tk_fails(TPC_ETOOBIG, tpc_json_write(&v[32], 0, &buf));
    tk_fails(TPC_EINVAL, tpc_json_write(&v[33], 0, &buf));
}
END_TEST

START_TEST(a_short_buffer_is_never_overrun)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v = data_json(arena, "{\"key\":[1.5,\"text\\n\",true,-7]}");
    size_t need = strlen(data_text(arena, &v, TPC_JSON_PRETTY));
    for (size_t cap = 0; cap < need; cap++) {
        uint8_t bytes[100];
        memset(bytes, 0xEE, sizeof(bytes));
        struct tpc_buf buf = { bytes, cap, 0 };
        tk_fails(TPC_ETOOBIG, tpc_json_write(&v, TPC_JSON_PRETTY, &buf));
        ck_assert_uint_eq(buf.need, need);
        ck_assert_uint_eq(bytes[cap], 0xEE);
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(random_documents_go_round)
{
    static const uint32_t flags[] = { 0, TPC_JSON_PRETTY, TPC_JSON_HTML_SAFE, TPC_JSON_SORTED };
    struct tpc_arena *arena = data_arena();
    uint64_t state = 5;
    for (uint32_t i = 0; i < 4000; i++) {
        struct tpc_value back;
        tpc_arena_reset(arena);
        struct tpc_value v = data_random_tree(arena, &state, 5);
        struct tpc_str text = tpc_str_from(data_text(arena, &v, flags[i % 4]));
        tk_ok(tpc_json_parse(arena, text, 0, NULL, &back));
        ck_assert_msg(tpc_value_equal(&v, &back), "%s", text.ptr);
    }
    tpc_arena_destroy(arena);
}
END_TEST

Suite *json_text_suite(void)
{
    Suite *s = suite_create("json_text");
    TCase *t = tcase_create("json_text");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, values_are_written_compactly);
    tcase_add_test(t, flags_change_the_form);
    tcase_add_test(t, what_json_cannot_say_is_written_as_stated);
    tcase_add_test(t, a_tree_deeper_than_readers_accept_is_not_written);
    tcase_add_test(t, a_short_buffer_is_never_overrun);
    tcase_add_test(t, random_documents_go_round);
    suite_add_tcase(s, t);
    return s;
}
