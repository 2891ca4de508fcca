/* Tables of the platform as options of the adapter modbus. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

#include "tables.h"
#include "tk.h"

Suite *tables_suite(void);

static char said[4000];

static void say(const char *device, const char *what)
{
    size_t n = strlen(said);
    snprintf(said + n, sizeof(said) - n, "%s: %s\n", device, what);
}

/* What becomes of a device with that configuration, and what is said about it. */
static char *slave_of(const char *config, const char *settings, const char *address)
{
    struct tpc_arena *arena;
    struct tpc_value c = { .type = TPC_NULL }, s = { .type = TPC_NULL };
    struct tpc_service_device d = { .size = sizeof(d), .config = &c, .settings = &s };
    said[0] = '\0';
    tk_ok(tpc_arena_create(tpc_allocator_default(), 16 << 20, &arena));
    if (config != NULL) {
        tk_ok(tpc_json_parse(arena, tpc_str_from(config), 0, NULL, &c));
    }
    if (settings != NULL) {
        tk_ok(tpc_json_parse(arena, tpc_str_from(settings), 0, NULL, &s));
    }
    d.device = TPC_STR("id-1");
    d.number = TPC_STR("n-1");
    d.address = tpc_str_from(address);
    char *text = tables_slave(&d, say);
    tpc_arena_destroy(arena);
    return text;
}

static void expect_text(const char *config, const char *settings, const char *address,
                        const char *text)
{
    char *got = slave_of(config, settings, address);
    ck_assert_msg(got != NULL, "%s", said);
    ck_assert_str_eq(got, text);
    ck_assert_str_eq(said, "");
    free(got);
}

/* A row that is left out, beside one that stays. */
static void refused(const char *row, const char *why)
{
    char config[4000];
    static const char good[] =
        "{\"FunctionCode\":3,\"Interval\":5,\"StartingAddress\":9,\"Quantity\":1,"
        "\"DataType\":\"int16\",\"DataIdentifierListStr\":\"good\"}";
    snprintf(config, sizeof(config), "{\"CommandRawList\":[%s,%s]}", good, row);
    char *got = slave_of(config, NULL, "1");
    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got, "{\"device\":\"id-1\",\"unit\":1,\"tags\":[{\"name\":\"good\",\"area\":"
                          "\"holding\",\"address\":9,\"poll\":\"5s\",\"type\":\"int16\"}]}");
    ck_assert_msg(strstr(said, "n-1: CommandRawList[1]: ") == said && strstr(said, why) != NULL,
                  "%s: %s", row, said);
    free(got);
}

static bool linear(const char *text, double a, double b)
{
    double got_a = 0, got_b = 0;
    return tables_linear(tpc_str_from(text), &got_a, &got_b) && got_a == a && got_b == b;
}

START_TEST(equations_with_one_name_become_a_factor_and_an_offset)
{
    ck_assert(linear("x", 1, 0) && linear("x*2", 2, 0) && linear("2 * temp_1", 2, 0));
    ck_assert(linear("temp*0.5+5", 0.5, 5) && linear("(x-32)/4", 0.25, -8));
    ck_assert(linear("-x+1", -1, 1) && linear("x+x*3-2", 4, -2) && linear("1-(2-x)*3", 3, -5));
    ck_assert(linear("\xe6\xb8\xa9*10", 10, 0));
    static const char *const bad[] = { "",    "5",  "x*x",     "1/x", "x/0",     "x*",
                                       "(x",  "x)", "x y",     "x+",  "sqrt(x)", "x^2",
                                       "x-x", "*x", "x*1e999", "x%2", "x,1",     "\"x\"" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        double a, b;
        ck_assert_msg(!tables_linear(tpc_str_from(bad[i]), &a, &b), "%s", bad[i]);
    }
}
END_TEST

START_TEST(deep_or_long_equations_are_refused)
{
    char text[300];
    double a, b;
    memset(text, '(', sizeof(text));
    ck_assert(!tables_linear((struct tpc_str){ text, 100 }, &a, &b));
    ck_assert(!tables_linear((struct tpc_str){ text, sizeof(text) }, &a, &b));
    memset(text, '-', sizeof(text));
    ck_assert(!tables_linear((struct tpc_str){ text, 120 }, &a, &b));
    ck_assert(!tables_linear((struct tpc_str){ "x\0y", 3 }, &a, &b) || (a == 1 && b == 0));
}
END_TEST

START_TEST(rows_become_tags_side_by_side)
{
    expect_text("{\"CommandRawList\":[{\"FunctionCode\":\"4\",\"Interval\":\"10\","
                "\"StartingAddress\":\"100\",\"Quantity\":\"6\",\"DataType\":\"float32\","
                "\"DataIdentifierListStr\":\" u1, u2 ,u3\",\"EquationListStr\":\"u1*0.5,,u3+1\","
                "\"DecimalPlacesListStr\":\"1,2,\",\"Endianess\":\"CDAB\"}]}",
                NULL, "17",
                "{\"device\":\"id-1\",\"unit\":17,\"tags\":[{\"name\":\"u1\",\"area\":\"input\","
                "\"address\":100,\"poll\":\"10s\",\"type\":\"float32\",\"word_order\":\"little\","
                "\"multiplier\":0.5,\"offset\":0,\"round\":1},{\"name\":\"u2\",\"area\":\"input\","
                "\"address\":102,\"poll\":\"10s\",\"type\":\"float32\",\"word_order\":\"little\","
                "\"round\":2},{\"name\":\"u3\",\"area\":\"input\",\"address\":104,\"poll\":\"10s\","
                "\"type\":\"float32\",\"word_order\":\"little\",\"multiplier\":1,\"offset\":1}]}");
    expect_text("{\"CommandRawList\":[{\"FunctionCode\":2,\"Interval\":1,\"StartingAddress\":8,"
                "\"Quantity\":2,\"DataType\":\"coil\",\"DataIdentifierListStr\":\"a,b\"}]}",
                "{\"SlaveID\":\"3\"}", "17",
                "{\"device\":\"id-1\",\"unit\":3,\"tags\":[{\"name\":\"a\",\"area\":\"discrete\","
                "\"address\":8,\"poll\":\"1s\"},{\"name\":\"b\",\"area\":\"discrete\","
                "\"address\":9,\"poll\":\"1s\"}]}");
}
END_TEST

START_TEST(table_of_the_device_goes_before_that_of_its_template)
{
    static const char row[] =
        "{\"CommandRawList\":[{\"FunctionCode\":3,\"Interval\":1,\"StartingAddress\":0,"
        "\"Quantity\":4,\"DataType\":\"int64\",\"DataIdentifierListStr\":\"%s\"}]}";
    char own[300], template[300], text[300];
    snprintf(own, sizeof(own), row, "own");
    snprintf(template, sizeof(template), row, "template");
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof(text),
                 "{\"device\":\"id-1\",\"unit\":1,\"tags\":[{\"name\":\"%s\",\"area\":\"holding\","
                 "\"address\":0,\"poll\":\"1s\",\"type\":\"int64\"}]}",
                 i == 0 ? "own" : "template");
        expect_text(i == 0 ? own : "{}", template, "1", text);
    }
}
END_TEST

#define ROW(members) "{\"Interval\":5,\"StartingAddress\":0," members "}"
#define NAMED(members) ROW("\"FunctionCode\":3,\"Quantity\":4,\"DataType\":\"int16\"," members)

START_TEST(rows_that_cannot_be_are_told_and_left_out)
{
    refused("7", "FunctionCode");
    refused("[]", "FunctionCode");
    refused("{}", "FunctionCode");
    refused(ROW("\"FunctionCode\":5"), "FunctionCode");
    refused(ROW("\"FunctionCode\":\"3x\""), "FunctionCode");
    refused("{\"FunctionCode\":3,\"Interval\":0}", "Interval");
    refused("{\"FunctionCode\":3,\"Interval\":5,\"StartingAddress\":65536}", "StartingAddress");
    refused(ROW("\"FunctionCode\":3,\"Quantity\":126"), "Quantity");
    refused(ROW("\"FunctionCode\":1,\"Quantity\":2001"), "Quantity");
    refused(ROW("\"FunctionCode\":3,\"Quantity\":1e9"), "Quantity");
    refused(ROW("\"FunctionCode\":3,\"Quantity\":2"), "DataType");
    refused(ROW("\"FunctionCode\":3,\"Quantity\":2,\"DataType\":\"int128\""), "DataType");
    refused(ROW("\"FunctionCode\":3,\"Quantity\":2,\"DataType\":\"coil\""), "go together");
    refused(ROW("\"FunctionCode\":1,\"Quantity\":2,\"DataType\":\"int16\""), "go together");
    refused(NAMED("\"Endianess\":\"MIDDLE\""), "Endianess");
    refused(NAMED("\"DataIdentifierListStr\":\"\""), "DataIdentifierListStr");
    refused(NAMED("\"DataIdentifierListStr\":[1]"), "DataIdentifierListStr");
    refused(NAMED("\"DataIdentifierListStr\":\"a,b,c,d,e\""), "Quantity");
    refused(NAMED("\"DataIdentifierListStr\":\"a,b\",\"EquationListStr\":\"a*2\""),
            "EquationListStr");
    refused(NAMED("\"DataIdentifierListStr\":\"a\",\"EquationListStr\":\"a*2,b\""),
            "EquationListStr");
    refused(NAMED("\"DataIdentifierListStr\":\"a,b\",\"DecimalPlacesListStr\":\"1\""),
            "DecimalPlacesListStr");
    refused(NAMED("\"DataIdentifierListStr\":\"a\",\"DecimalPlacesListStr\":\"-1\""), "decimals");
    refused(NAMED("\"DataIdentifierListStr\":\"a,b\",\"EquationListStr\":\"a,a*b*c\""),
            "not linear");
    refused(NAMED("\"DataIdentifierListStr\":\"a,,b\""), "identifier");
    refused(NAMED("\"DataIdentifierListStr\":\"a\\\"b\""), "quotation marks");
    refused(NAMED("\"DataIdentifierListStr\":\"a,a\""), "twice");
    refused(NAMED("\"DataIdentifierListStr\":\"a,good\""), "twice");
    refused("{\"FunctionCode\":3,\"Interval\":5,\"StartingAddress\":65535,\"Quantity\":2,"
            "\"DataType\":\"int32\",\"DataIdentifierListStr\":\"a\"}",
            "65535");
}
END_TEST

START_TEST(device_with_nothing_to_ask_is_no_slave)
{
    static const char *const bad[] = { "{}", "{\"CommandRawList\":\"x\"}",
                                       "{\"CommandRawList\":[]}", "{\"CommandRawList\":[{}]}" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_ptr_null(slave_of(bad[i], NULL, "1"));
    }
    ck_assert_ptr_null(slave_of("{\"CommandRawList\":[]}", NULL, "0"));
    ck_assert_ptr_nonnull(strstr(said, "SlaveID"));
    ck_assert_ptr_null(slave_of("{\"CommandRawList\":[]}", NULL, "256"));
    ck_assert_ptr_null(slave_of(NULL, NULL, ""));
}
END_TEST

/* Many rows of long names: what does not fit is left out, and the rest is whole. */
START_TEST(tables_that_are_too_long_end_at_a_row)
{
    static char config[2 << 20];
    size_t n = (size_t) snprintf(config, sizeof(config), "{\"CommandRawList\":[");
    for (int i = 0; i < 500; i++) {
        n += (size_t) snprintf(
            config + n, sizeof(config) - n,
            "%s{\"FunctionCode\":3,\"Interval\":5,\"StartingAddress\":0,"
            "\"Quantity\":125,\"DataType\":\"int16\",\"DataIdentifierListStr\":\"",
            i > 0 ? "," : "");
        for (int k = 0; k < 20; k++) {
            n += (size_t) snprintf(config + n, sizeof(config) - n, "%sname_%d_%080d",
                                   k > 0 ? "," : "", i, k);
        }
        n += (size_t) snprintf(config + n, sizeof(config) - n, "\"}");
    }
    snprintf(config + n, sizeof(config) - n, "]}");
    char *got = slave_of(config, NULL, "1");
    ck_assert_ptr_nonnull(got);
    ck_assert_ptr_nonnull(strstr(said, "too long"));
    struct tpc_arena *arena;
    struct tpc_value v;
    tk_ok(tpc_arena_create(tpc_allocator_default(), 32 << 20, &arena));
    tk_ok(tpc_json_parse(arena, tpc_str_from(got), 0, NULL, &v));
    ck_assert_uint_eq(tpc_value_get(&v, TPC_STR("tags"))->len % 20, 0);
    tpc_arena_destroy(arena);
    free(got);
}
END_TEST

Suite *tables_suite(void)
{
    Suite *s = suite_create("tables");
    TCase *c = tcase_create("tables");
    tcase_add_test(c, equations_with_one_name_become_a_factor_and_an_offset);
    tcase_add_test(c, deep_or_long_equations_are_refused);
    tcase_add_test(c, rows_become_tags_side_by_side);
    tcase_add_test(c, table_of_the_device_goes_before_that_of_its_template);
    tcase_add_test(c, rows_that_cannot_be_are_told_and_left_out);
    tcase_add_test(c, device_with_nothing_to_ask_is_no_slave);
    tcase_add_test(c, tables_that_are_too_long_end_at_a_row);
    suite_add_tcase(s, c);
    return s;
}
