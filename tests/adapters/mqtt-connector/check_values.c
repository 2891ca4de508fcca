/* Slices, types, dates, expressions and templates. */
#include "cast.h"
#include "date.h"
#include "expr.h"
#include "say.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

static struct tpc_arena *arena;

static struct tpc_value json_of(const char *text)
{
    struct tpc_value v;
    tk_ok(tpc_json_parse(arena, tpc_str_from(text), TPC_JSON_COPY, NULL, &v));
    return v;
}

static const char *text_of(const struct tpc_value *v)
{
    static char ret[512];
    struct tpc_buf buf = { (uint8_t *) ret, sizeof(ret) - 1, 0 };
    tk_ok(tpc_json_write(v, 0, &buf));
    ret[buf.need] = '\0';
    return ret;
}

/* ---- slices ---- */

START_TEST(slices_follow_pythons_rules)
{
    static const struct {
        const char *slice, *taken;
    } cases[] = {
        { "[0:4]", "abcd" }, { "[4:]", "efgh" }, { "[:2]", "ab" },   { "[:]", "abcdefgh" },
        { "[3]", "d" },      { "[-1]", "h" },    { "[-3:]", "fgh" }, { "[:-6]", "ab" },
        { "[-4:-2]", "ef" }, { "[2:2]", "" },    { "[5:2]", "" },    { "[6:99]", "gh" },
        { "[-99:2]", "ab" }, { "[99:]", "" },    { "[8]", NULL },    { "[-9]", NULL },
    };
    struct tpc_bytes bytes = { (const uint8_t *) "abcdefgh", 8 };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice s;
        size_t len = 0;
        struct tpc_bytes taken = { NULL, 0 };
        ck_assert(slice_parse(tpc_str_from(cases[i].slice), &s, &len));
        ck_assert_uint_eq(len, strlen(cases[i].slice));
        bool there = slice_take(&s, bytes, &taken);
        ck_assert_msg(there == (cases[i].taken != NULL), "%s", cases[i].slice);
        if (there) {
            ck_assert_msg(taken.len == strlen(cases[i].taken) &&
                              memcmp(taken.ptr, cases[i].taken, taken.len) == 0,
                          "%s: %.*s", cases[i].slice, (int) taken.len, (const char *) taken.ptr);
        }
    }
    static const char *const none[] = {
        "[]", "[a]", "[1", "[1:2:3]", "[-]", "[--1]", "1]", "[:-]"
    };
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct slice s;
        size_t len;
        ck_assert_msg(!slice_parse(tpc_str_from(none[i]), &s, &len), "%s", none[i]);
    }
    struct slice all;
    size_t len;
    struct tpc_bytes empty = { NULL, 0 };
    struct tpc_bytes taken;
    ck_assert(slice_parse(TPC_STR("[2:]"), &all, &len));
    ck_assert(slice_take(&all, empty, &taken));
    ck_assert_uint_eq(taken.len, 0);
}
END_TEST

/* ---- types ---- */

START_TEST(values_become_what_their_type_says)
{
    static const struct {
        const char *type, *in, *out; /* NULL = it cannot be */
    } cases[] = {
        { "raw", "[1,\"x\"]", "[1,\"x\"]" },
        { "string", "\"x\"", "\"x\"" },
        { "string", "21", "\"21\"" },
        { "string", "21.5", "\"21.5\"" },
        { "string", "true", "\"true\"" },
        { "string", "{\"a\":1}", "\"{\\\"a\\\":1}\"" },
        { "integer", "5", "5" },
        { "integer", "5.9", "5" },
        { "integer", "-5.9", "-5" },
        { "integer", "\"42\"", "42" },
        { "integer", "\" 0042.7 \"", "42" },
        { "integer", "\"-3\"", "-3" },
        { "integer", "\"+3\"", "3" },
        { "integer", "true", "1" },
        { "integer", "\"x\"", NULL },
        { "integer", "\"\"", NULL },
        { "integer", "\"1 2\"", NULL },
        { "integer", "\"nan\"", NULL },
        { "integer", "1e30", NULL },
        { "integer", "[1]", NULL },
        { "long", "\"9007199254740993\"", "9007199254740993" },
        { "double", "5", "5.0" },
        { "double", "\"5.25\"", "5.25" },
        { "float", "\"1e3\"", "1000.0" },
        { "double", "false", "0.0" },
        { "double", "\"5,25\"", NULL },
        { "double", "{}", NULL },
        { "boolean", "true", "true" },
        { "boolean", "0", "false" },
        { "boolean", "0.5", "true" },
        { "boolean", "\"ON\"", "true" },
        { "boolean", "\"False\"", "false" },
        { "boolean", "\"\"", "false" },
        { "boolean", "\"2\"", "true" },
        { "boolean", "\"maybe\"", NULL },
        { "boolean", "[]", NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpc_value in = json_of(cases[i].in);
        struct tpc_value out;
        int rc = cast_value(cast_of(tpc_str_from(cases[i].type)), &in, arena, &out);
        ck_assert_msg(rc == (cases[i].out != NULL ? 0 : TPC_EDECODE), "%s %s: %d", cases[i].type,
                      cases[i].in, rc);
        if (rc == 0) {
            const char *text = text_of(&out);
            ck_assert_msg(strcmp(text, cases[i].out) == 0, "%s %s: %s", cases[i].type, cases[i].in,
                          text);
        }
    }
}
END_TEST

/* ---- dates ---- */

START_TEST(dates_are_read_in_all_their_forms)
{
    static const struct {
        const char *text;
        uint32_t flags;
        int64_t ms;
    } cases[] = {
        { "1763744400123", 0, 1763744400123 },
        { "2025-11-21T17:00:00.123Z", 0, 1763744400123 },
        { "2025-11-21T17:00:00.123456Z", 0, 1763744400123 },
        { "2025-11-21 17:00", 0, 1763744400000 },
        { "2025-11-21T18:00:00+01:00", 0, 1763744400000 },
        { "2025-11-21T18:00:00 +0100", 0, 1763744400000 },
        { "2025-11-21T09:30:00-07:30", 0, 1763744400000 },
        { "20251121T170000Z", 0, 1763744400000 },
        { "20251121 1700", 0, 1763744400000 },
        { "2025/11/21", 0, 1763683200000 },
        { "2025.11.21 17:00:00", 0, 1763744400000 },
        { "11/21/2025 5:00 PM", 0, 1763744400000 },
        { "11/21/2025 5PM", 0, 1763744400000 },
        { "21/11/2025 17:00", 0, 1763744400000 },
        { "21/11/2025 17:00", DATE_DAY_FIRST, 1763744400000 },
        { "01/02/2025", 0, 1735776000000 },
        { "01/02/2025", DATE_DAY_FIRST, 1738368000000 },
        { "21.11.25 17:00:00", DATE_DAY_FIRST, 1763744400000 },
        { "25-11-21", DATE_YEAR_FIRST, 1763683200000 },
        { "21 Nov 2025 17:00:00", 0, 1763744400000 },
        { "21-Nov-2025 17:00:00", 0, 1763744400000 },
        { "Nov 21, 2025, 5:00:00 PM", 0, 1763744400000 },
        { "Fri, 21 Nov 2025 18:00:00 +0100", 0, 1763744400000 },
        { "Friday 21 November 2025 17:00 GMT", 0, 1763744400000 },
        { "2025-21-11", 0, 1763683200000 },
        { "12/31/69", 0, 3155673600000 },
        { "2024-02-29", 0, 1709164800000 },
        { "1970-01-01T00:00:00Z", 0, 0 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ms = -1;
        int rc = date_parse(tpc_str_from(cases[i].text), cases[i].flags, &ms);
        ck_assert_msg(rc == 0 && ms == cases[i].ms, "%s: %d %lld", cases[i].text, rc,
                      (long long) ms);
    }
}
END_TEST

START_TEST(what_is_no_date_is_refused)
{
    static const char *const none[] = { "",
                                        "x",
                                        "12",
                                        "2025",
                                        "2025-02-30",
                                        "2025-11-21T24:00",
                                        "2025-11-21T17:60",
                                        "2025-11-21T17:00:61",
                                        "2025-11-21 5:00 XM",
                                        "2025-11-21 13:00 PM",
                                        "2025-11-21T17:00 CEST",
                                        "2025-11-21T17:00+99:00",
                                        "21 Foo 2025",
                                        "2025-11-21T17:00:00Z and more",
                                        "1969-12-31",
                                        "2025-11",
                                        "2025--11-21",
                                        "9999999999999999",
                                        "1-2-3-4",
                                        "2025-11-2021",
                                        "2025-11-21T17:",
                                        "2025-11-21T17:00:00.",
                                        "+5",
                                        "T",
                                        "2025-11-21 -",
                                        "99:99" };
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        int64_t ms;
        ck_assert_msg(date_parse(tpc_str_from(none[i]), 0, &ms) == TPC_EDECODE, "%s", none[i]);
    }
}
END_TEST

/* ---- expressions ---- */

static const char *eval(const char *text, enum expr_kind kind, const struct expr_message *m)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct expr e;
    struct tpc_value v;
    int rc = expr_compile(arena, tpc_str_from(text), kind, &err, &e);
    ck_assert_msg(rc == 0, "%s: %s at %u", text, err.text, (unsigned) err.column);
    rc = expr_value(&e, m, arena, &v);
    if (rc == TPC_ENOENT || rc == TPC_EDECODE) {
        return rc == TPC_ENOENT ? "(none)" : "(unfit)";
    }
    ck_assert_int_eq(rc, 0);
    return text_of(&v);
}

START_TEST(expressions_take_values_whole_or_mix_them_with_text)
{
    struct tpc_value json = json_of(
        "{\"serialNumber\":\"SN-001\",\"temp\":42,\"a\":{\"b\":[{\"c\":true}]},\"n\":null}");
    struct expr_message m = { .topic = TPC_STR("sensor/box1/data"), .json = &json };
    ck_assert_str_eq(eval("${temp}", EXPR_JSON, &m), "42");
    ck_assert_str_eq(eval("${a.b[0].c}", EXPR_JSON, &m), "true");
    ck_assert_str_eq(eval("${a.b[0]}", EXPR_JSON, &m), "{\"c\":true}");
    ck_assert_str_eq(eval("dev-${serialNumber}", EXPR_JSON, &m), "\"dev-SN-001\"");
    ck_assert_str_eq(eval("${serialNumber}/${temp} C", EXPR_JSON, &m), "\"SN-001/42 C\"");
    ck_assert_str_eq(eval("${temp}${a.b[*].c}", EXPR_JSON, &m), "\"42true\"");
    ck_assert_str_eq(eval("Demo Device", EXPR_JSON, &m), "\"Demo Device\"");
    ck_assert_str_eq(eval("$5 and {x}", EXPR_JSON, &m), "\"$5 and {x}\"");
    ck_assert_str_eq(eval("${nothing}", EXPR_JSON, &m), "(none)");
    ck_assert_str_eq(eval("x${nothing}", EXPR_JSON, &m), "(none)");
    ck_assert_str_eq(eval("${n}", EXPR_JSON, &m), "(none)");
    ck_assert_str_eq(eval("${temp}", EXPR_CONSTANT, &m), "\"${temp}\"");
    ck_assert_str_eq(eval("(?<=sensor/)(.*?)(?=/data)", EXPR_TOPIC, &m), "\"box1\"");
    ck_assert_str_eq(eval("Demo Device", EXPR_TOPIC, &m), "\"Demo Device\"");
    ck_assert_str_eq(eval("(?<=meter/).*", EXPR_TOPIC, &m), "(none)");
}
END_TEST

START_TEST(slices_stand_in_text_as_text_or_hexadecimal_digits)
{
    struct expr_message m = { .bytes = { (const uint8_t *) "AM12\xff\x01", 6 } };
    ck_assert_str_eq(eval("[0:2]-[2:4]", EXPR_BYTES, &m), "\"AM-12\"");
    ck_assert_str_eq(eval("[:]", EXPR_BYTES, &m), "(unfit)");
    ck_assert_str_eq(eval("[9]", EXPR_BYTES, &m), "(none)");
    ck_assert_str_eq(eval("text [x]", EXPR_BYTES, &m), "\"text [x]\"");
    m.hex = true;
    ck_assert_str_eq(eval("[:]", EXPR_BYTES, &m), "\"414d3132ff01\"");
    ck_assert_str_eq(eval("0x[-2:]", EXPR_BYTES, &m), "\"0xff01\"");
}
END_TEST

START_TEST(malformed_expression_is_refused_with_its_column)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct expr e;
    tk_fails(TPC_EINVAL, expr_compile(arena, TPC_STR("abc${x"), EXPR_JSON, &err, &e));
    ck_assert_uint_eq(err.column, 4);
    tk_fails(TPC_EINVAL, expr_compile(arena, TPC_STR("ab${x[}"), EXPR_JSON, &err, &e));
    ck_assert_uint_eq(err.column, 7);
    tk_fails(TPC_EINVAL, expr_compile(arena, TPC_STR("a(b"), EXPR_TOPIC, &err, &e));
}
END_TEST

/* ---- templates ---- */

static const char *fill(const char *text, const struct say_values *v)
{
    static char ret[512];
    struct tpc_error err = { .size = sizeof(err) };
    struct say s;
    struct tpi_buf b;
    int rc = say_compile(arena, tpc_str_from(text), &err, &s);
    ck_assert_msg(rc == 0, "%s: %s at %u", text, err.text, (unsigned) err.column);
    tpi_buf_init(&b, NULL, sizeof(ret) - 1);
    tk_ok(say_fill(&s, v, arena, &b));
    snprintf(ret, sizeof(ret), "%.*s", (int) b.len, b.len > 0 ? (const char *) b.ptr : "");
    tpi_buf_fini(&b);
    return ret;
}

START_TEST(templates_are_filled_with_what_is_known)
{
    struct tpc_value params = json_of("{\"x\":{\"y\":[5,\"z\"]},\"on\":true}");
    struct tpc_value value = json_of("21.5");
    struct say_values v = { .device = TPC_STR("box1"),
                            .type = TPC_STR("Thermometer"),
                            .key = TPC_STR("relay"),
                            .method = TPC_STR("getRelay"),
                            .request = TPC_STR("7"),
                            .value = &value,
                            .params = &params };
    ck_assert_str_eq(fill("sensor/${deviceName}/request/${methodName}/${requestId}", &v),
                     "sensor/box1/request/getRelay/7");
    ck_assert_str_eq(fill("{\"${attributeKey}\":\"${attributeValue}\"}", &v),
                     "{\"relay\":\"21.5\"}");
    ck_assert_str_eq(fill("${params}", &v), "{\"x\":{\"y\":[5,\"z\"]},\"on\":true}");
    ck_assert_str_eq(fill("${params.x.y[1]} ${params.on} ${x.y[0]}", &v), "z true 5");
    ck_assert_str_eq(fill("a${params.none}b${deviceType}", &v), "abThermometer");
    v.quote = true;
    ck_assert_str_eq(fill("${deviceName} ${params.x.y[1]} ${params.on}", &v), "box1 \"z\" true");
    v.quote = false;
    value = json_of("null");
    ck_assert_str_eq(fill("${attributeValue}", &v), "null");
    struct tpc_value one = json_of("{\"value\":true}");
    v.params = &one;
    ck_assert_str_eq(fill("${params} ${params.value}", &v), "true true");
    one = json_of("{\"value\":{\"a\":1}}");
    ck_assert_str_eq(fill("${params}", &v), "{\"value\":{\"a\":1}}");
    v.params = NULL;
    ck_assert_str_eq(fill("a${params}${params.x}b", &v), "ab");
    ck_assert_str_eq(fill("$ {x} $", &v), "$ {x} $");
    struct tpc_error err = { .size = sizeof(err) };
    struct say s;
    tk_fails(TPC_EINVAL, say_compile(arena, TPC_STR("ab${deviceName"), &err, &s));
    ck_assert_uint_eq(err.column, 3);
    tk_fails(TPC_EINVAL, say_compile(arena, TPC_STR("ab${params.x[}"), &err, &s));
}
END_TEST

START_TEST(filter_fits_all_topics_of_a_template)
{
    static const struct {
        const char *text, *filter;
    } cases[] = { { "sensor/${deviceName}/response/${methodName}/${requestId}",
                    "sensor/+/response/+/+" },
                  { "a/b${deviceName}c/d", "a/+/d" },
                  { "${deviceName}", "+" },
                  { "a/${deviceName}${requestId}", "a/+" },
                  { "a/b", "a/b" } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct say s;
        struct tpi_buf b;
        tpi_buf_init(&b, NULL, 0);
        tk_ok(say_compile(arena, tpc_str_from(cases[i].text), NULL, &s));
        tk_ok(say_filter(&s, &b));
        ck_assert_msg(b.len == strlen(cases[i].filter) &&
                          memcmp(b.ptr, cases[i].filter, b.len) == 0,
                      "%s: %.*s", cases[i].text, (int) b.len, (const char *) b.ptr);
        tpi_buf_fini(&b);
    }
}
END_TEST

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void teardown(void)
{
    arena = tpc_arena_destroy(arena);
}

TCase *values_case(void)
{
    TCase *c = tcase_create("values");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, slices_follow_pythons_rules);
    tcase_add_test(c, values_become_what_their_type_says);
    tcase_add_test(c, dates_are_read_in_all_their_forms);
    tcase_add_test(c, what_is_no_date_is_refused);
    tcase_add_test(c, expressions_take_values_whole_or_mix_them_with_text);
    tcase_add_test(c, slices_stand_in_text_as_text_or_hexadecimal_digits);
    tcase_add_test(c, malformed_expression_is_refused_with_its_column);
    tcase_add_test(c, templates_are_filled_with_what_is_known);
    tcase_add_test(c, filter_fits_all_topics_of_a_template);
    return c;
}
