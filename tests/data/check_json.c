#include "data_suites.h"

#include "data/json_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

#define STR(literal)                                                                               \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

/* Texts with a NUL in them need their length: hence views. */
static const struct tpc_str accepted[] = {
    STR("[]"),
    STR("{}"),
    STR(" [ ] "),
    STR("\t\r\n{ \"a\" : 1 } "),
    STR("null"),
    STR("true"),
    STR("false"),
    STR("0"),
    STR("-1"),
    STR("1.5"),
    STR("1e5"),
    STR("1E-5"),
    STR("1.25e+3"),
    STR("\"\""),
    STR("[1,2,3]"),
    STR("[[[]]]"),
    STR("[{}]"),
    STR("{\"\":0}"),
    STR("{\"a\":{\"b\":[{\"c\":null}]}}"),
    STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    STR("\"\\u0000\""),
    STR("\"\\u00e9\\u20AC\""),
    STR("\"\\uD83D\\uDE00\""),
    STR("\"\x7F\""),
    STR("\"\xC3\xA9\""),
    STR("{\"a\":1,\"A\":2}"),
    STR("[0,-0,0.0,-0.0]"),
    STR("\"// no comment\""),
};

static const struct tpc_str refused[] = {
    STR(""),
    STR(" "),
    STR("["),
    STR("]"),
    STR("{"),
    STR("}"),
    STR("[1,]"),
    STR("[,1]"),
    STR("[1 2]"),
    STR("[1,,2]"),
    STR("{\"a\":1,}"),
    STR("{,}"),
    STR("{\"a\"}"),
    STR("{\"a\" 1}"),
    STR("{\"a\":}"),
    STR("{a:1}"),
    STR("{'a':1}"),
    STR("{1:1}"),
    STR("{\"a\":1 \"b\":2}"),
    STR("[1}"),
    STR("{\"a\":1]"),
    STR("[] []"),
    STR("1 2"),
    STR("nul"),
    STR("nulll"),
    STR("True"),
    STR("NaN"),
    STR("Infinity"),
    STR("-Infinity"),
    STR("+1"),
    STR("01"),
    STR("-01"),
    STR("-"),
    STR("--1"),
    STR("1."),
    STR(".5"),
    STR("-.5"),
    STR("1.e5"),
    STR("1e"),
    STR("1e+"),
    STR("1.5e"),
    STR("0x10"),
    STR("1_000"),
    STR("1,5"),
    STR("12345678a"),
    STR("\""),
    STR("\"abc"),
    STR("\"a\nb\""),
    STR("\"a\tb\""),
    STR("\"a\0b\""),
    STR("\"\x1F\""),
    STR("\"\\x41\""),
    STR("\"\\'\""),
    STR("\"\\"),
    STR("\"\\u"),
    STR("\"\\u12\""),
    STR("\"\\u12G4\""),
    STR("\"\\uD800\""),
    STR("\"\\uD800x\""),
    STR("\"\\uD800\\n\""),
    STR("\"\\uD800\\u0041\""),
    STR("\"\\uDC00\""),
    STR("\"\\uD800\\uD800\""),
    STR("\"\xED\xA0\x80\""),
    STR("\"\xC0\xAF\""),
    STR("\"\xFF\""),
    STR("\xEF\xBB\xBF{}"),
    STR("[1]/*c*/"),
    STR("[1]//c"),
    STR("[1]\0"),
    STR("\0"),
    STR("\x0C[]"),
    STR("\xC2\xA0[]"),
    STR("{\"a\":1,\"a\":2}"),
    STR("{\"a\":1,\"\\u0061\":2}"),
    STR("{\"\":1,\"\":2}"),
};

/* The end of the event reader on a text: its last event. */
static int last_event(struct tpc_str text)
{
    struct tpi_json r;
    int event;
    tpi_json_begin(&r, text);
    do {
        event = tpi_json_next(&r);
    } while (event > TPI_JSON_END);
    ck_assert_int_eq(tpi_json_next(&r), event);
    return event;
}

/* A copy that ends where its memory ends, so that the address sanitizer sees a byte too far. */
static int parse_exactly(struct tpc_str text, struct tpc_error *err)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v;
    char *copy = malloc(text.len > 0 ? text.len : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text.ptr, text.len);
    int rc = tpc_json_parse(arena, (struct tpc_str){ copy, text.len }, 0, err, &v);
    free(copy);
    tpc_arena_destroy(arena);
    return rc;
}

START_TEST(well_formed_texts_are_accepted)
{
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        struct tpc_error err = { .text = "" };
        int rc = parse_exactly(accepted[i], &err);
        ck_assert_msg(rc == 0, "%s: %s", accepted[i].ptr, err.text);
        ck_assert_int_eq(last_event(accepted[i]), TPI_JSON_END);
    }
}
END_TEST

START_TEST(malformed_texts_are_refused)
{
    size_t count = sizeof(refused) / sizeof(refused[0]);
    for (size_t i = 0; i < count; i++) {
        struct tpc_error err = { .text = "" };
        ck_assert_msg(parse_exactly(refused[i], &err) == TPC_EDECODE, "%s", refused[i].ptr);
        ck_assert_msg(err.code == TPC_EDECODE && err.line >= 1 && err.column >= 1, "%s",
                      refused[i].ptr);
        ck_assert_str_eq(err.origin, "json");
        /* Equal keys, the last three, are the tree's business. */
        ck_assert_msg(last_event(refused[i]) == (i + 3 < count ? TPI_JSON_ERROR : TPI_JSON_END),
                      "%s", refused[i].ptr);
    }
}
END_TEST

START_TEST(every_cut_of_a_text_is_refused)
{
    static const char text[] =
        "{\"a\":[1.5e3,true,null,\"x\\u00e9\\n\xE2\x82\xAC\"],\"b\":{\"c\":-12}}";
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        tk_fails(TPC_EDECODE, parse_exactly((struct tpc_str){ text, n }, NULL));
    }
    tk_ok(parse_exactly(TPC_STR(text), NULL));
}
END_TEST

START_TEST(errors_say_where)
{
    static const struct {
        const char *text;
        uint32_t line;
        uint32_t column;
        const char *path;
    } table[] = {
        { "{\n  \"a\": 1,\n  \"b\" 2\n}", 3, 7, "" },
        { "[1,\n2,\n  x]", 3, 3, "" },
        { "\"abc", 1, 5, "" },
        { "[1.5, 1e999]", 1, 7, "" },
        { "{\"values\":{\"temp\":1,\n\"x\":2,\"temp\":3}}", 2, 7, "values.temp" },
        { "{\"l\":[0,{\"k\":1,\"k\":2}]}", 1, 16, "l[1].k" },
        { "[[{\"\\u006b\":1,\"k\":2}]]", 1, 15, "[0][0].k" },
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tpc_error err;
        tk_fails(TPC_EDECODE, parse_exactly(tpc_str_from(table[i].text), &err));
        ck_assert_msg(err.line == table[i].line && err.column == table[i].column, "%s: %u:%u: %s",
                      table[i].text, err.line, err.column, err.text);
        ck_assert_str_eq(err.path, table[i].path);
    }
}
END_TEST

/* A map of n keys "k0".., the last one again if twice; enough for the set of keys to grow. */
static struct tpc_str many_keys(struct tpc_arena *arena, size_t n, bool twice)
{
    char *text = tpc_arena_take(arena, n * 24 + 64);
    size_t at = 1;
    text[0] = '{';
    for (size_t i = 0; i < n + twice; i++) {
        at += (size_t) snprintf(text + at, 24, "\"k%zu\":%zu%c", i == n ? n / 2 : i, i,
                                i + 1 == n + twice ? '}' : ',');
    }
    return (struct tpc_str){ text, at };
}

START_TEST(equal_keys_are_refused_in_maps_of_any_size)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v;
    struct tpc_error err;
    for (size_t n = 1; n < 3000; n += n < 80 ? 1 : 397) {
        tpc_arena_reset(arena);
        tk_ok(tpc_json_parse(arena, many_keys(arena, n, false), 0, &err, &v));
        ck_assert_uint_eq(v.len, n);
        struct tpc_str twice = many_keys(arena, n, true);
        tk_fails(TPC_EDECODE, tpc_json_parse(arena, twice, 0, &err, &v));
        tk_ok(tpc_json_parse(arena, twice, TPC_JSON_ALLOW_DUPLICATES, &err, &v));
        ck_assert_uint_eq(v.len, n);
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(the_last_of_equal_keys_is_kept_where_allowed)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v;
    tk_ok(tpc_json_parse(arena, TPC_STR("{\"a\":1,\"b\":{\"x\":1,\"x\":[2]},\"a\":{\"y\":3}}"),
                         TPC_JSON_ALLOW_DUPLICATES, NULL, &v));
    ck_assert_str_eq(data_text(arena, &v, 0), "{\"a\":{\"y\":3},\"b\":{\"x\":[2]}}");
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(thirty_two_levels_are_read_and_no_more)
{
    char text[80];
    struct tpc_arena *arena = data_arena();
    struct tpc_value v;
    struct tpc_error err;
    memset(text, '[', 33);
    memset(text + 33, ']', 33);
    tk_ok(tpc_json_parse(arena, (struct tpc_str){ text + 1, 64 }, 0, &err, &v));
    tk_fails(TPC_ETOOBIG, tpc_json_parse(arena, (struct tpc_str){ text, 66 }, 0, &err, &v));
    ck_assert_uint_eq(err.column, 33);
    char *deep = malloc(1000000);
    memset(deep, '[', 1000000);
    tk_fails(TPC_ETOOBIG, tpc_json_parse(arena, (struct tpc_str){ deep, 1000000 }, 0, &err, &v));
    free(deep);
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(texts_are_views_unless_copies_are_asked_for)
{
    struct tpc_arena *arena = data_arena();
    char text[] = "{\"key\":\"value\",\"e\":\"a\\tb\"}";
    struct tpc_value v;
    tk_ok(tpc_json_parse(arena, TPC_STR(text), 0, NULL, &v));
    ck_assert_ptr_eq(v.as.members[0].key.ptr, text + 2);
    ck_assert_ptr_eq(v.as.members[0].value.as.text, text + 8);
    ck_assert_uint_eq(v.as.members[1].value.len, 3);
    tk_ok(tpc_json_parse(arena, TPC_STR(text), TPC_JSON_COPY, NULL, &v));
    memset(text, 'x', sizeof(text));
    ck_assert_str_eq(data_text(arena, &v, 0), "{\"key\":\"value\",\"e\":\"a\\tb\"}");
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(events_give_keys_and_values_in_order)
{
    static const int expected[] = { TPI_JSON_MAP,       TPI_JSON_KEY,     TPI_JSON_INT,
                                    TPI_JSON_KEY,       TPI_JSON_ARRAY,   TPI_JSON_TEXT,
                                    TPI_JSON_DOUBLE,    TPI_JSON_BOOL,    TPI_JSON_NULL,
                                    TPI_JSON_ARRAY_END, TPI_JSON_KEY,     TPI_JSON_MAP,
                                    TPI_JSON_MAP_END,   TPI_JSON_MAP_END, TPI_JSON_END };
    struct tpc_arena *arena = data_arena();
    struct tpi_json r;
    struct tpc_str text;
    tpi_json_begin(&r, TPC_STR("{\"a\":7,\"b\":[\"x\\ty\",2.5,true,null],\"c\":{}}"));
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        int event = tpi_json_next(&r);
        ck_assert_int_eq(event, expected[i]);
        if (event == TPI_JSON_INT) {
            ck_assert_int_eq(r.i, 7);
        } else if (event == TPI_JSON_TEXT) {
            ck_assert(r.escaped);
            tk_ok(tpi_json_unescape(&r, arena, &text));
            ck_assert(tpc_str_equal(text, TPC_STR("x\ty")));
        }
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(a_value_can_be_skipped_or_taken_as_a_tree)
{
    struct tpc_arena *arena = data_arena();
    struct tpi_json r;
    struct tpc_value v;
    struct tpc_error err;
    tpi_json_begin(&r, TPC_STR("{\"skip\":{\"a\":[1,{\"b\":2}]},\"take\":{\"x\":[1,2]},\"n\":5}"));
    ck_assert_int_eq(tpi_json_next(&r), TPI_JSON_MAP);
    ck_assert_int_eq(tpi_json_next(&r), TPI_JSON_KEY);
    tk_ok(tpi_json_skip(&r, TPI_JSON_KEY));
    ck_assert_int_eq(tpi_json_next(&r), TPI_JSON_KEY);
    tk_ok(tpi_json_tree(&r, TPI_JSON_KEY, arena, 0, &err, &v));
    ck_assert_str_eq(data_text(arena, &v, 0), "{\"x\":[1,2]}");
    ck_assert_int_eq(tpi_json_next(&r), TPI_JSON_KEY);
    ck_assert_int_eq(tpi_json_next(&r), TPI_JSON_INT);
    tk_ok(tpi_json_tree(&r, TPI_JSON_INT, arena, 0, &err, &v));
    ck_assert_int_eq(v.as.i, 5);
    ck_assert_int_eq(tpi_json_next(&r), TPI_JSON_MAP_END);
    ck_assert_int_eq(tpi_json_next(&r), TPI_JSON_END);
    tpi_json_begin(&r, TPC_STR("{\"skip\":[1,}"));
    tpi_json_next(&r);
    tpi_json_next(&r);
    ck_assert_int_eq(tpi_json_skip(&r, TPI_JSON_KEY), TPI_JSON_ERROR);
    tk_fails(TPC_EDECODE, tpi_json_fail(&r, &err));
    ck_assert_uint_eq(err.column, 12);
    tpc_arena_destroy(arena);
}
END_TEST

static const char telemetry[] =
    "{\"device_id\":\"d0f3a1c2\",\"values\":{\"temperature\":23.75,\"s\":\"a\\nb\",\"l\":[1,2,3]}}";

static int parse_all(const struct tpc_allocator *a, void *user)
{
    struct tpc_arena *arena = NULL;
    struct tpc_arena *texts = user;
    struct tpc_value v = { .type = TPC_INT, .as.i = 99 };
    tpc_arena_reset(texts);
    int rc = tpc_arena_create(a, 0, &arena);
    if (rc == 0) {
        rc = tpc_json_parse(arena, many_keys(texts, 700, false), 0, NULL, &v);
        ck_assert(rc == 0 || v.as.i == 99);
    }
    if (rc == 0) {
        rc = tpc_json_parse(arena, TPC_STR(telemetry), TPC_JSON_COPY, NULL, &v);
    }
    if (rc == 0) {
        struct tpc_str twice = many_keys(texts, 2000, true);
        rc = tpc_json_parse(arena, twice, TPC_JSON_ALLOW_DUPLICATES, NULL, &v);
    }
    tpc_arena_destroy(arena);
    return rc;
}

START_TEST(running_out_of_memory_leaves_nothing_behind)
{
    struct tpc_arena *texts = data_arena();
    ck_assert_uint_ge(tk_each_alloc_fails(parse_all, texts), 3);
    tpc_arena_destroy(texts);
}
END_TEST

START_TEST(a_warm_arena_allocates_nothing)
{
    struct tk_alloc a;
    struct tpc_arena *arena;
    struct tpc_value v;
    tk_alloc_init(&a);
    tk_ok(tpc_arena_create(&a.base, 0, &arena));
    tk_ok(tpc_json_parse(arena, TPC_STR(telemetry), 0, NULL, &v));
    size_t count = a.count;
    for (int i = 0; i < 1000; i++) {
        tpc_arena_reset(arena);
        tk_ok(tpc_json_parse(arena, TPC_STR(telemetry), 0, NULL, &v));
    }
    ck_assert_uint_eq(a.count, count);
    tpc_arena_destroy(arena);
    tk_alloc_check(&a);
}
END_TEST

#ifdef HAVE_JANSSON

static bool same_as_jansson(const struct tpc_value *v, json_t *j)
{
    const char *key;
    json_t *member;
    size_t i;
    switch (v->type) {
    case TPC_NULL:
        return json_is_null(j);
    case TPC_BOOL:
        return json_is_boolean(j) && json_is_true(j) == v->as.b;
    case TPC_INT:
        return json_is_integer(j) && json_integer_value(j) == v->as.i;
    case TPC_DOUBLE:
        return json_is_real(j) && json_real_value(j) == v->as.d;
    case TPC_TEXT:
        return json_is_string(j) && json_string_length(j) == v->len &&
               memcmp(json_string_value(j), v->as.text, v->len) == 0;
    case TPC_ARRAY:
        for (i = 0; json_is_array(j) && i < v->len; i++) {
            if (!same_as_jansson(&v->as.items[i], json_array_get(j, i))) {
                return false;
            }
        }
        return json_is_array(j) && json_array_size(j) == v->len;
    default:
        json_object_foreach(j, key, member)
        {
            const struct tpc_value *ours = tpc_value_get(v, tpc_str_from(key));
            if (ours == NULL || !same_as_jansson(ours, member)) {
                return false;
            }
        }
        return json_is_object(j) && json_object_size(j) == v->len;
    }
}

/* Random documents, half of them with one byte changed: the same verdict and the same tree. */
START_TEST(jansson_reads_the_same)
{
    struct tpc_arena *arena = data_arena();
    uint64_t state = 20261120;
    int both = 0;
    for (int round = 0; round < 4000; round++) {
        tpc_arena_reset(arena);
        struct tpc_value made = data_random_tree(arena, &state, 4);
        char *text = strdup(data_text(arena, &made, round % 3 == 0 ? TPC_JSON_PRETTY : 0));
        size_t len = strlen(text);
        if (round % 2 == 1) {
            text[data_random(&state) % len] = "{}[],:\"\\0e.-x \x80"[data_random(&state) % 15];
        }
        struct tpc_value v;
        json_error_t error;
        int rc = tpc_json_parse(arena, (struct tpc_str){ text, len }, 0, NULL, &v);
        json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL,
                               &error);
        if (j == NULL) {
            /* It refuses integers beyond int64, and NUL in keys; we read the first as double. */
            bool known = strstr(error.text, "big") != NULL || strstr(error.text, "NUL") != NULL;
            ck_assert_msg(rc != 0 || known, "%s: %s", error.text, text);
        } else {
            ck_assert_msg(rc == 0 && same_as_jansson(&v, j), "%s", text);
            both++;
        }
        json_decref(j);
        free(text);
    }
    ck_assert_int_gt(both, 2000);
    tpc_arena_destroy(arena);
}
END_TEST

#else

START_TEST(jansson_reads_the_same)
{
    tk_skip("data/jansson", "jansson was not found when this was built");
}
END_TEST

#endif

Suite *json_suite(void)
{
    Suite *s = suite_create("json");
    TCase *t = tcase_create("json");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, well_formed_texts_are_accepted);
    tcase_add_test(t, malformed_texts_are_refused);
    tcase_add_test(t, every_cut_of_a_text_is_refused);
    tcase_add_test(t, errors_say_where);
    tcase_add_test(t, equal_keys_are_refused_in_maps_of_any_size);
    tcase_add_test(t, the_last_of_equal_keys_is_kept_where_allowed);
    tcase_add_test(t, thirty_two_levels_are_read_and_no_more);
    tcase_add_test(t, texts_are_views_unless_copies_are_asked_for);
    tcase_add_test(t, events_give_keys_and_values_in_order);
    tcase_add_test(t, a_value_can_be_skipped_or_taken_as_a_tree);
    tcase_add_test(t, running_out_of_memory_leaves_nothing_behind);
    tcase_add_test(t, a_warm_arena_allocates_nothing);
    tcase_add_test(t, jansson_reads_the_same);
    suite_add_tcase(s, t);
    return s;
}
