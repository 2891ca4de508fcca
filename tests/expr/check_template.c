/* Templates: texts with values, escaped for where they go. */
#include "suites.h"

#include <string.h>

#include "expr/template.h"
#include "names.h"

static struct tpi_template *compile(const char *text, enum tpi_template_target target)
{
    struct tpc_error err = { 0 };
    struct tpi_template *t = NULL;
    int rc = tpi_template_compile(NULL, tpc_str_from(text), &names_scope, target, &err, &t);
    ck_assert_msg(rc == 0, "%s: %u:%u %s", text, err.line, err.column, err.text);
    return t;
}

static void check(enum tpi_template_target target, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct tpi_template *t = compile(rows[i].text, target);
        char room[256];
        struct tpi_expr_scratch scratch = { room, sizeof(room), 0, 0 };
        struct tpi_buf out;
        tpi_buf_init(&out, NULL, 0);
        tk_ok(tpi_template_render(t, &names_host, NULL, &scratch, &out));
        ck_assert_msg(out.len == strlen(rows[i].result) &&
                          (out.len == 0 || memcmp(out.ptr, rows[i].result, out.len) == 0),
                      "%s = %.*s, not %s", rows[i].text, (int) out.len, (const char *) out.ptr,
                      rows[i].result);
        tpi_buf_fini(&out);
        tpi_template_destroy(t);
    }
}
#define CHECK(target, rows) check(target, rows, sizeof(rows) / sizeof((rows)[0]))

START_TEST(plain_texts)
{
    static const struct row rows[] = {
        { "", "" },
        { "no value", "no value" },
        { "{ } }} { { x }", "{ } }} { { x }" },
        { "{{ t }}", "31.5" },
        { "a{{t}}b{{ h }}c", "a31.5b40c" },
        { "{{ t | round }} degrees, {{ on }}", "32 degrees, true" },
        { "{{ 2.0 }}", "2" },
        { "{{ mode | upper | concat('-', t) }}", "AUTO-31.5" },
        { "{{ mode | substring(1, 3) }}", "ut" },
        { "{{ gone | coalesce(0) }}", "0" },
        { "[{{ gone }}]", "[]" },
        { "{{ list }}", "[5,2.5,null,7]" },
        { "{{ '{{' }} }} {{ '}}' }}", "{{ }} }}" },
        { "{{{ t }}}", "{31.5}" },
        { "{{ device('m-1').mode }} \"quoted\"", "auto \"quoted\"" },
        { "{{ now() | format_time('HH:mm') }}", "09:05" },
        { "{{ case when t > 30 then 'hot' else 'cold' end | upper }}", "HOT" },
        { "{{ t > 30 || false }}", "true" },
        { "{{ text | raw }}", " a,\xc3\xa4,B\",\xe2\x82\xac " },
    };
    CHECK(TPI_TEMPLATE_PLAIN, rows);
}
END_TEST

START_TEST(json_stays_json)
{
    static const struct row rows[] = {
        { "{\"t\": {{ t }}, \"h\": {{ h }}, \"on\": {{ on }}}",
          "{\"t\": 31.5, \"h\": 40, \"on\": true}" },
        { "{\"m\": {{ mode }}}", "{\"m\": \"auto\"}" },
        { "{\"m\": \"{{ mode }} at {{ t }}\"}", "{\"m\": \"auto at 31.5\"}" },
        { "{\"m\": \"{{ text }}\"}", "{\"m\": \" a,\xc3\xa4,B\\\",\xe2\x82\xac \"}" },
        { "{\"m\": {{ text }}}", "{\"m\": \" a,\xc3\xa4,B\\\",\xe2\x82\xac \"}" },
        { "{\"n\": {{ gone }}, \"m\": \"{{ gone }}\"}", "{\"n\": null, \"m\": \"\"}" },
        { "{\"l\": {{ list }}, \"s\": \"{{ list }}\"}",
          "{\"l\": [5,2.5,null,7], \"s\": \"[5,2.5,null,7]\"}" },
        { "{\"s\": \"{{ pos.in }}\"}", "{\"s\": \"{\\\"x\\\":\\\"in\\\"}\"}" },
        { "{\"q\": \"\\\"{{ mode }}\\\\\", \"x\": {{ mode }}}",
          "{\"q\": \"\\\"auto\\\\\", \"x\": \"auto\"}" },
        { "{\"a\":{{{ mode }}:1}}", "{\"a\":{\"auto\":1}}" },
        { "{{ to_json(pos.in) | raw }}", "{\"x\":\"in\"}" },
        { "{{ 21.0 }}", "21.0" },
    };
    CHECK(TPI_TEMPLATE_JSON, rows);
}
END_TEST

START_TEST(urls_are_encoded)
{
    static const struct row rows[] = {
        { "https://x/{{ mode }}?t={{ t }}", "https://x/auto?t=31.5" },
        { "?q={{ 'a b&c=d/%' }}", "?q=a%20b%26c%3Dd%2F%25" },
        { "?q={{ '\xc3\xa4-._~' }}", "?q=%C3%A4-._~" },
        { "?q={{ gone }}&l={{ list }}", "?q=&l=%5B5%2C2.5%2Cnull%2C7%5D" },
        { "{{ 'https://y/' | raw }}", "https://y/" },
    };
    CHECK(TPI_TEMPLATE_URL, rows);
}
END_TEST

START_TEST(bad_templates_are_refused_with_line_and_column)
{
    static const struct {
        const char *text;
        uint32_t line, column;
        const char *reason;
    } rows[] = {
        { "a {{ x }}", 1, 6, "no property 'x'" },
        { "a\nb {{ t", 2, 7, "'}}' expected at the end" },
        { "{{ }}", 1, 3, "the expression is empty" },
        { "{{", 1, 3, "a value expected at the end" },
        { "{{ t | }}", 1, 8, "a function expected, not '}}'" },
        { "{{ t | nope }}", 1, 8, "no function 'nope'" },
        { "{{ t | upper }}", 1, 4, "a text expected in upper(), 't' is a number" },
        { "{{ t | now }}", 1, 8, "now() cannot stand behind |" },
        { "{{ t | last }}", 1, 8, "last() cannot stand behind |" },
        { "{{ mode | substring }}", 1, 21, "substring() takes 2 to 3 arguments, not 1" },
        { "{{ mode | substring() }}", 1, 21, "substring() takes 2 to 3 arguments, not 1" },
        { "{{ t | round(1, 2) }}", 1, 17, "round() takes 1 to 2 arguments, not 3 or more" },
        { "{{ t | raw | round }}", 1, 12, "'}}' expected, not '|'" },
        { "{{ t t }}", 1, 6, "'}}' expected, not 't'" },
        { "{{ 'a }}", 1, 4, "no closing ' of a text" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tpc_error err = { 0 };
        struct tpi_template *t = NULL;
        tk_fails(TPC_EINVAL, tpi_template_compile(NULL, tpc_str_from(rows[i].text), &names_scope,
                                                  TPI_TEMPLATE_PLAIN, &err, &t));
        ck_assert_str_eq(err.text, rows[i].reason);
        ck_assert_msg(err.line == rows[i].line && err.column == rows[i].column, "%s: %u:%u",
                      rows[i].text, err.line, err.column);
    }
}
END_TEST

START_TEST(limits_hold)
{
    static char text[70000];
    struct tpi_template *t = NULL;
    memset(text, 'a', sizeof(text));
    tk_fails(TPC_ETOOBIG, tpi_template_compile(NULL, (struct tpc_str){ text, 65537 }, &names_scope,
                                               TPI_TEMPLATE_PLAIN, NULL, &t));
    for (size_t i = 0; i + 5 <= sizeof(text); i += 5) {
        memcpy(text + i, "{{t}}", 5);
    }
    tk_fails(TPC_ETOOBIG, tpi_template_compile(NULL, (struct tpc_str){ text, 1025 * 5 },
                                               &names_scope, TPI_TEMPLATE_PLAIN, NULL, &t));
    /* The bound of what comes out: nothing stays of what did not fit. */
    t = compile("ab{{ mode }}{{ list }}", TPI_TEMPLATE_JSON);
    struct tpi_buf out;
    for (size_t limit = 3; limit < 24; limit++) {
        tpi_buf_init(&out, NULL, limit);
        tk_ok(tpi_buf_u8(&out, 'x'));
        int rc = tpi_template_render(t, &names_host, NULL, NULL, &out);
        ck_assert_int_eq(rc, limit < 23 ? TPC_ETOOBIG : 0);
        ck_assert_uint_eq(out.len, limit < 23 ? 1 : 23);
        tpi_buf_fini(&out);
    }
    ck_assert_uint_gt(tpi_template_bytes(t), 100);
    tpi_template_destroy(t);
    tpi_template_destroy(NULL);
}
END_TEST

static void name(void *user, uint32_t index)
{
    uint32_t *bits = user;
    *bits |= (uint32_t) 1 << index;
}

START_TEST(names_are_told)
{
    struct tpi_template *t = compile("{{ t }} {{ mode }} {{ last(t) }}", TPI_TEMPLATE_PLAIN);
    uint32_t bits = 0;
    tpi_template_names(t, name, &bits);
    ck_assert_uint_eq(bits, 1 | 1 << 4);
    tpi_template_destroy(t);
}
END_TEST

static int compile_on(const struct tpc_allocator *a, void *user)
{
    struct tpi_template *t = NULL;
    (void) user;
    int rc = tpi_template_compile(a, TPC_STR("a {{ t | round(1) }} b {{ mode | upper | raw }}"),
                                  &names_scope, TPI_TEMPLATE_JSON, NULL, &t);
    if (rc == 0) {
        char room[64];
        struct tpi_expr_scratch scratch = { room, sizeof(room), 0, 0 };
        struct tpi_buf out;
        tpi_buf_init(&out, a, 0);
        rc = tpi_template_render(t, &names_host, NULL, &scratch, &out);
        tpi_buf_fini(&out);
    }
    tpi_template_destroy(t);
    return rc;
}

START_TEST(no_memory_is_an_error_and_leaks_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(compile_on, NULL), 5);
}
END_TEST

Suite *template_suite(void)
{
    Suite *s = suite_create("template");
    TCase *c = tcase_create("template");
    tcase_add_test(c, plain_texts);
    tcase_add_test(c, json_stays_json);
    tcase_add_test(c, urls_are_encoded);
    tcase_add_test(c, bad_templates_are_refused_with_line_and_column);
    tcase_add_test(c, limits_hold);
    tcase_add_test(c, names_are_told);
    tcase_add_test(c, no_memory_is_an_error_and_leaks_nothing);
    suite_add_tcase(s, c);
    return s;
}
