/* Paths into JSON, as jsonpath-rw finds them. */
#include "path.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

static struct tpc_arena *arena;

static const char *find(const char *path, const char *json)
{
    static char ret[512];
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_value root;
    struct path p;
    tk_ok(tpc_json_parse(arena, tpc_str_from(json), 0, NULL, &root));
    int rc = path_compile(arena, tpc_str_from(path), &err, &p);
    ck_assert_msg(rc == 0, "%s: %s at %u", path, err.text, (unsigned) err.column);
    const struct tpc_value *v = path_find(&p, &root);
    if (v == NULL) {
        return "(none)";
    }
    struct tpc_buf buf = { (uint8_t *) ret, sizeof(ret) - 1, 0 };
    tk_ok(tpc_json_write(v, 0, &buf));
    ret[buf.need] = '\0';
    return ret;
}

START_TEST(paths_find_what_users_mean)
{
    static const char json[] =
        "{\"temp\":21.5,\"a\":{\"b\":[{\"c\":1},{\"c\":2,\"d\":\"x\"}],\"b c\":{\"e\":true}},"
        "\"a.b\":\"dotted\",\"my "
        "key\":5,\"list\":[10,20,30],\"n\":null,\"deep\":{\"x\":{\"find\":7}},"
        "\"rows\":[{\"k\":1},{\"v\":2},{\"v\":3}]}";
    static const struct {
        const char *path, *found;
    } cases[] = {
        { "temp", "21.5" },
        { " temp ", "21.5" },
        { "$.temp", "21.5" },
        { "$['temp']", "21.5" },
        { "$", NULL },
        { "a.b", "\"dotted\"" }, /* the whole text as a key comes first */
        { "$.a.b[0].c", "1" },
        { "a.b[1].c", "2" },
        { "a.b[-1].d", "\"x\"" },
        { "a.b[5].c", "(none)" },
        { "a.b[-3]", "(none)" },
        { "a.b[*].d", "\"x\"" },
        { "a.b[*].c", "1" },
        { "a['b c'].e", "true" },
        { "a.\"b c\".e", "true" },
        { "a.b c.e", "true" },
        { "my key", "5" },
        { "list[1]", "20" },
        { "list.[2]", "30" },
        { "list[*]", "10" },
        { "n", "null" },
        { "..find", "7" },
        { "$..find", "7" },
        { "deep..find", "7" },
        { "rows[*].v", "2" },
        { "rows..v", "2" },
        { "deep.*.find", "7" },
        { "nothing", "(none)" },
        { "temp.x", "(none)" },
        { "temp[0]", "(none)" },
        { "list.x", "(none)" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *found = find(cases[i].path, json);
        if (cases[i].found != NULL) {
            ck_assert_msg(strcmp(found, cases[i].found) == 0, "%s: %s, expected %s", cases[i].path,
                          found, cases[i].found);
        }
    }
    ck_assert_str_eq(find("$", "5"), "5");
    ck_assert_str_eq(find("[1]", "[1,2]"), "2");
    ck_assert_str_eq(find("$[0].a", "[{\"a\":1}]"), "1");
}
END_TEST

START_TEST(malformed_path_is_refused_with_its_column)
{
    static const struct {
        const char *path;
        uint32_t column;
    } cases[] = { { "", 1 },      { "a.", 3 },   { "a[", 3 },      { "a[0", 4 },
                  { "a['x]", 4 }, { "a[x]", 3 }, { "a..", 4 },     { "$.`parent`", 3 },
                  { "a[0]b", 5 }, { "a]", 2 },   { "  a..[?]", 7 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpc_error err = { .size = sizeof(err) };
        struct path p;
        tk_fails(TPC_EINVAL, path_compile(arena, tpc_str_from(cases[i].path), &err, &p));
        ck_assert_msg(err.column == cases[i].column, "%s: %u %s", cases[i].path,
                      (unsigned) err.column, err.text);
    }
}
END_TEST

START_TEST(path_beyond_the_limits_is_refused_and_a_long_search_ends)
{
    char path[200], json[300];
    size_t n = 0;
    struct path p;
    for (int i = 0; i <= PATH_STEPS_MAX; i++) {
        n += (size_t) snprintf(path + n, sizeof(path) - n, "%s", i == 0 ? "a" : ".a");
    }
    tk_fails(TPC_ETOOBIG, path_compile(arena, tpc_str_from(path), NULL, &p));
    n = 0;
    for (int i = 0; i < 61; i++) {
        n += (size_t) snprintf(json + n, sizeof(json) - n, "%s",
                               i < 30    ? "[[],"
                               : i == 30 ? "1"
                                         : "]");
    }
    ck_assert_str_eq(find("..*..*..*..*..*..*..x", json), "(none)");
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

TCase *path_case(void)
{
    TCase *c = tcase_create("path");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, paths_find_what_users_mean);
    tcase_add_test(c, malformed_path_is_refused_with_its_column);
    tcase_add_test(c, path_beyond_the_limits_is_refused_and_a_long_search_ends);
    return c;
}
