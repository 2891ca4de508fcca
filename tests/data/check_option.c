#include "data_suites.h"

#include "data/option.h"

#include <stdlib.h>
#include <string.h>

static const struct tpc_option point_item = { .type = TPC_OPT_UINT, .max = 9 };

static const struct tpc_option inner[] = {
    { .name = "unit", .type = TPC_OPT_TEXT, .max = 4 },
    { .name = "every", .type = TPC_OPT_DURATION, .def = "10s", .min = 100, .max = 60000 },
    { .name = "ids", .type = TPC_OPT_LIST, .elem = &point_item, .max = 3 },
};

static const struct tpc_option inner_item = { .type = TPC_OPT_TABLE, .sub = TPC_OPTIONS(inner) };

static const struct tpc_option options[] = {
    { .name = "port", .type = TPC_OPT_UINT, .def = "1883", .min = 1, .max = 65535 },
    { .name = "offset", .type = TPC_OPT_INT, .min = -10, .max = 0 },
    { .name = "any_int", .type = TPC_OPT_INT },
    { .name = "ratio", .type = TPC_OPT_DOUBLE, .def = "0.5", .min = 0, .max = 1 },
    { .name = "on", .type = TPC_OPT_BOOL, .def = "true" },
    { .name = "mode", .type = TPC_OPT_ENUM, .values = "fast|safe|x", .def = "safe" },
    { .name = "size", .type = TPC_OPT_SIZE, .def = "64MiB" },
    { .name = "key", .type = TPC_OPT_TEXT, .flags = TPC_OPT_KEY },
    { .name = "pin", .type = TPC_OPT_SECRET, .min = 4, .max = 8 },
    { .name = "points", .type = TPC_OPT_LIST, .elem = &inner_item, .def = "[]" },
    { .name = "one", .type = TPC_OPT_TABLE, .sub = TPC_OPTIONS(inner), .def = "{}" },
    { .name = "open", .type = TPC_OPT_TABLE, .flags = TPC_OPT_OPEN, .sub = TPC_OPTIONS(inner) },
    { .name = "free", .type = TPC_OPT_ANY },
};

static const struct tpc_option strict[] = {
    { .name = "url", .type = TPC_OPT_TEXT, .flags = TPC_OPT_REQUIRED, .min = 1 },
};

static const struct tpc_list table = TPC_OPTIONS(options);
static const struct tpc_list strict_table = TPC_OPTIONS(strict);

static void gives(const struct tpc_list *t, const char *in, uint32_t flags, const char *expected)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v = data_json(arena, in);
    struct tpc_value got;
    struct tpc_error err = { .text = "" };
    int rc = tpi_option_check(t, &v, flags, arena, &err, &got);
    ck_assert_msg(rc == 0, "%s: %s: %s", in, err.path, err.text);
    ck_assert_str_eq(data_text(arena, &got, 0), expected);
    tpc_arena_destroy(arena);
}

START_TEST(defaults_are_filled_in)
{
    gives(&table, "{}", 0,
          "{\"port\":1883,\"ratio\":0.5,\"on\":true,\"mode\":\"safe\",\"size\":67108864,"
          "\"points\":[],\"one\":{\"every\":10000}}");
    gives(&table, "{\"port\":null}", TPI_OPTION_NO_DEFAULTS, "{}");
    struct tpc_arena *arena = data_arena();
    struct tpc_value got;
    tk_ok(tpi_option_check(&table, NULL, 0, arena, NULL, &got));
    ck_assert_uint_eq(got.len, 7);
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(values_take_the_form_of_their_type)
{
    gives(&table,
          "{\"free\":{\"z\":[1]},\"port\":80.0,\"ratio\":1,\"size\":\"10k\",\"on\":false,"
          "\"one\":{\"every\":250,\"ids\":[1,9]},\"points\":[{\"unit\":\"C\"},{\"every\":\"1m\"}],"
          "\"key\":\"d/1\",\"offset\":-10,\"any_int\":-9223372036854775808,\"mode\":\"x\"}",
          TPI_OPTION_NO_DEFAULTS,
          "{\"port\":80,\"offset\":-10,\"any_int\":-9223372036854775808,\"ratio\":1.0,"
          "\"on\":false,\"mode\":\"x\",\"size\":10240,\"key\":\"d/1\","
          "\"points\":[{\"unit\":\"C\"},{\"every\":60000}],"
          "\"one\":{\"every\":250,\"ids\":[1,9]},\"free\":{\"z\":[1]}}");
}
END_TEST

START_TEST(unknown_members_are_kept_only_where_allowed)
{
    gives(&table, "{\"new\":1,\"open\":{\"more\":[2],\"unit\":\"F\"}}",
          TPI_OPTION_KEEP_UNKNOWN | TPI_OPTION_NO_DEFAULTS,
          "{\"open\":{\"unit\":\"F\",\"more\":[2]},\"new\":1}");
}
END_TEST

START_TEST(errors_name_the_member_and_the_fault)
{
    static const struct {
        const char *in;
        const char *path;
        const char *text;
    } rows[] = {
        { "{\"port\":70000}", "port", "70000 is above 65535" },
        { "{\"port\":0}", "port", "0 is below 1" },
        { "{\"port\":-1}", "port", "-1 is below 0" },
        { "{\"port\":\"80\"}", "port", "an integer was expected, not a text" },
        { "{\"port\":1.5}", "port", "an integer was expected, not a number" },
        { "{\"port\":true}", "port", "an integer was expected, not a bool" },
        { "{\"offset\":1}", "offset", "1 is above 0" },
        { "{\"offset\":-11}", "offset", "-11 is below -10" },
        { "{\"ratio\":1.5}", "ratio", "1.5 is above 1" },
        { "{\"ratio\":-0.5}", "ratio", "-0.5 is below 0" },
        { "{\"ratio\":\"x\"}", "ratio", "a number was expected, not a text" },
        { "{\"on\":1}", "on", "a bool was expected, not an integer" },
        { "{\"mode\":\"fas\"}", "mode", "'fas' is none of fast|safe|x" },
        { "{\"mode\":\"\"}", "mode", "'' is none of fast|safe|x" },
        { "{\"mode\":\"fast|safe\"}", "mode", "'fast|safe' is none of fast|safe|x" },
        { "{\"size\":\"10q\"}", "size", "'10q' is no size such as 4096, 10k, 64MiB or 1GB" },
        { "{\"size\":-1}", "size", "-1 is below 0" },
        { "{\"key\":\"\"}", "key", "a key has 1 to 128 bytes of UTF-8 without control bytes" },
        { "{\"key\":\"a\\n\"}", "key", "a key has 1 to 128 bytes of UTF-8 without control bytes" },
        { "{\"pin\":\"123\"}", "pin", "a text of 3 bytes; 4 to 8 are allowed" },
        { "{\"pin\":1234}", "pin", "a text was expected, not an integer" },
        { "{\"points\":{}}", "points", "a list was expected, not a table" },
        { "{\"points\":[{},{\"unit\":\"meter\"}]}", "points[1].unit",
          "a text of 5 bytes; 0 to 4 are allowed" },
        { "{\"points\":[{\"ids\":[1,2,10]}]}", "points[0].ids[2]", "10 is above 9" },
        { "{\"points\":[{\"ids\":[1,2,3,4]}]}", "points[0].ids",
          "a list of 4 items; 0 to 3 are allowed" },
        { "{\"one\":{\"every\":\"2m\"}}", "one.every", "120000 is above 60000" },
        { "{\"one\":{\"every\":\"fast\"}}", "one.every",
          "'fast' is no duration such as 250ms, 10s, 5m, 1h or 7d" },
        { "{\"one\":{\"what\":1}}", "one.what", "there is no such option" },
        { "{\"one\":[]}", "one", "a table was expected, not a list" },
        { "{\"ports\":1}", "ports", "there is no such option" },
        { "[]", "", "a table was expected, not a list" },
    };
    struct tpc_arena *arena = data_arena();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tpc_error err;
        struct tpc_value v = data_json(arena, rows[i].in);
        struct tpc_value got = { .type = TPC_INT };
        tk_fails(TPC_EINVAL, tpi_option_check(&table, &v, 0, arena, &err, &got));
        ck_assert_str_eq(err.path, rows[i].path);
        ck_assert_str_eq(err.text, rows[i].text);
        ck_assert_uint_eq(got.type, TPC_INT);
        tk_fails(TPC_EINVAL, tpi_option_check(&table, &v, 0, arena, NULL, &got));
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(required_members_are_asked_for)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_error err;
    struct tpc_value got;
    tk_fails(TPC_EINVAL, tpi_option_check(&strict_table, NULL, 0, arena, &err, &got));
    ck_assert_str_eq(err.path, "url");
    ck_assert_str_eq(err.text, "it is required");
    gives(&strict_table, "{\"url\":\"x\"}", 0, "{\"url\":\"x\"}");
    tpc_arena_destroy(arena);
}
END_TEST

/* Modules are compiled against other versions of struct tpc_option. */
START_TEST(records_of_other_sizes_are_read)
{
    struct long_option {
        struct tpc_option option;
        const char *newer;
    } longer[2] = { { .option = { .name = "a", .type = TPC_OPT_INT, .def = "1" }, .newer = "x" },
                    { .option = { .name = "b", .type = TPC_OPT_INT, .def = "2" }, .newer = "y" } };
    struct tpc_list list = { longer, 2, sizeof(longer[0]) };
    gives(&list, "{}", 0, "{\"a\":1,\"b\":2}");
    char shorter[2 * offsetof(struct tpc_option, sub)];
    memcpy(shorter, &longer[0].option, sizeof(shorter) / 2);
    memcpy(shorter + sizeof(shorter) / 2, &longer[1].option, sizeof(shorter) / 2);
    char *exact = malloc(sizeof(shorter));
    memcpy(exact, shorter, sizeof(shorter));
    list = (struct tpc_list){ exact, 2, sizeof(shorter) / 2 };
    gives(&list, "{\"b\":5}", 0, "{\"a\":1,\"b\":5}");
    free(exact);
}
END_TEST

START_TEST(tables_that_nest_without_end_are_refused)
{
    struct tpc_option self = { .name = "t", .type = TPC_OPT_TABLE };
    self.sub = (struct tpc_list){ &self, 1, sizeof(self) };
    struct tpc_list list = { &self, 1, sizeof(self) };
    struct tpc_arena *arena = data_arena();
    struct tpc_error err;
    struct tpc_value got;
    struct tpc_value v = data_json(
        arena,
        "{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":"
        "{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{\"t\":{}}}}}}}}}}}}}}}}}}}");
    tk_fails(TPC_ETOOBIG, tpi_option_check(&list, &v, 0, arena, &err, &got));
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(durations_and_sizes_are_exact)
{
    static const struct {
        const char *text;
        int64_t ms;
        int64_t bytes;
    } rows[] = {
        { "0", 0, 0 },
        { "1500", 1500, 1500 },
        { "250ms", 250, -1 },
        { "10s", 10000, -1 },
        { "1.5h", 5400000, -1 },
        { "7d", 604800000, -1 },
        { "0.25s", 250, -1 },
        { "5m", 300000, -1 },
        { "64MiB", -1, 67108864 },
        { "1.5k", -1, 1536 },
        { "1GB", -1, 1000000000 },
        { "2G", -1, 2147483648 },
        { "1TiB", -1, 1099511627776 },
        { "512B", -1, 512 },
        { "3kB", -1, 3000 },
        { "", -1, -1 },
        { "s", -1, -1 },
        { "-1s", -1, -1 },
        { "1 s", -1, -1 },
        { "1.", -1, -1 },
        { ".5s", -1, -1 },
        { "1.5", -1, -1 },
        { "1.2.3s", -1, -1 },
        { "10S", -1, -1 },
        { "0.0001s", -1, -1 },
        { "999999999999999999d", -1, -1 },
        { "9999999999999999999", -1, -1 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t x = -1;
        struct tpc_str text = tpc_str_from(rows[i].text);
        ck_assert_msg(tpi_duration_parse(text, &x) == (rows[i].ms < 0 ? TPC_EINVAL : 0), "%s",
                      rows[i].text);
        ck_assert_msg(x == rows[i].ms, "%s", rows[i].text);
        x = -1;
        ck_assert_msg(tpi_size_parse(text, &x) == (rows[i].bytes < 0 ? TPC_EINVAL : 0), "%s",
                      rows[i].text);
        ck_assert_msg(x == rows[i].bytes, "%s", rows[i].text);
    }
}
END_TEST

static int check_all(const struct tpc_allocator *a, void *user)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value got;
    int rc = tpc_arena_create(a, 0, &arena);
    /* Each turn takes more, so that blocks of the arena run out at different places. */
    for (int i = 0; rc == 0 && i < 20; i++) {
        rc = tpi_option_check(&table, user, 0, arena, NULL, &got);
    }
    tpc_arena_destroy(arena);
    return rc;
}

START_TEST(running_out_of_memory_leaves_nothing_behind)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v = data_json(arena, "{\"points\":[{\"ids\":[1,2]},{},{}]}");
    ck_assert_uint_ge(tk_each_alloc_fails(check_all, &v), 3);
    tpc_arena_destroy(arena);
}
END_TEST

Suite *option_suite(void)
{
    Suite *s = suite_create("option");
    TCase *t = tcase_create("option");
    tcase_add_test(t, defaults_are_filled_in);
    tcase_add_test(t, values_take_the_form_of_their_type);
    tcase_add_test(t, unknown_members_are_kept_only_where_allowed);
    tcase_add_test(t, errors_name_the_member_and_the_fault);
    tcase_add_test(t, required_members_are_asked_for);
    tcase_add_test(t, records_of_other_sizes_are_read);
    tcase_add_test(t, tables_that_nest_without_end_are_refused);
    tcase_add_test(t, durations_and_sizes_are_exact);
    tcase_add_test(t, running_out_of_memory_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return s;
}
