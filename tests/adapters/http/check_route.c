#include "route.h"
#include "web_suites.h"

#include <string.h>
#include <tpcore/error.h>

/* Decodes; "" = refused. */
static const char *path_of(const char *raw)
{
    static char room[512];
    struct hs_path path;
    if (hs_path_read(tpc_str_from(raw), room, &path) != 0) {
        return "";
    }
    room[path.text.len] = '\0';
    return room;
}

START_TEST(path_is_decoded_level_by_level)
{
    char room[100];
    struct hs_path p;
    ck_assert_str_eq(path_of("/"), "/");
    ck_assert_str_eq(path_of("/a/b"), "/a/b");
    ck_assert_str_eq(path_of("/a%20b/%C3%A4"), "/a b/\xc3\xa4");
    tk_ok(hs_path_read(TPC_STR("/a%2Fb/c/"), room, &p));
    ck_assert_uint_eq(p.count, 3);
    ck_assert(tpc_str_equal(p.levels[0], TPC_STR("a/b")));
    ck_assert(tpc_str_equal(p.levels[2], TPC_STR("")));
}
END_TEST

START_TEST(path_that_leads_elsewhere_is_refused)
{
    static const char *const bad[] = {
        "",           "a",       "*",      "/..",   "/a/../b",         "/.",
        "/%2e%2e/a",  "/%2E%2e", "/.%2e",  "/%00",  "/a%00.json",      "/a%0ab",
        "/%7f",       "/%",      "/%4",    "/%zz",  "/%c0%af",         "/%c0%ae",
        "/%ed%a0%80", "/%ff",    "/a\x01", "/\xc3", "/%f8%88%80%80%af"
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(path_of(bad[i])[0] == '\0', "%s is read as %s", bad[i], path_of(bad[i]));
    }
    char deep[2 * HS_LEVELS_MAX + 3] = "";
    for (int i = 0; i <= HS_LEVELS_MAX; i++) {
        strncat(deep, "/a", sizeof(deep) - strlen(deep) - 1);
    }
    ck_assert_str_eq(path_of(deep), "");
    ck_assert_str_eq(path_of("/..a/..."), "/..a/...");
}
END_TEST

START_TEST(target_gives_path_and_query)
{
    static const struct {
        const char *target, *path, *query;
    } cases[] = { { "/a", "/a", "" },
                  { "/a?", "/a", "" },
                  { "/a?b=c?d", "/a", "b=c?d" },
                  { "http://host:80/a/b?c", "/a/b", "c" },
                  { "https://host/a", "/a", "" },
                  { "http://host?x", "", "x" },
                  { "*", "*", "" } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpc_str path, query;
        hs_target_split(tpc_str_from(cases[i].target), &path, &query);
        ck_assert(tpc_str_equal(path, tpc_str_from(cases[i].path)));
        ck_assert(tpc_str_equal(query, tpc_str_from(cases[i].query)));
    }
}
END_TEST

START_TEST(query_takes_raw_json_and_escapes)
{
    static const char raw[] = "voucher={\"k\":\"v=1\"}&page=%31&&x=a+b&flag&bad=100%&%41=";
    char room[sizeof(raw)];
    struct tpc_http_header q[HS_QUERY_MAX];
    uint32_t n;
    tk_ok(hs_query_read(TPC_STR(raw), room, q, &n));
    ck_assert_uint_eq(n, 6);
    ck_assert(tpc_str_equal(q[0].value, TPC_STR("{\"k\":\"v=1\"}")));
    ck_assert(tpc_str_equal(q[1].value, TPC_STR("1")));
    ck_assert(tpc_str_equal(q[2].value, TPC_STR("a b")));
    ck_assert(tpc_str_equal(q[3].name, TPC_STR("flag")) && q[3].value.len == 0);
    ck_assert(tpc_str_equal(q[4].value, TPC_STR("100%")));
    ck_assert(tpc_str_equal(q[5].name, TPC_STR("A")));
    tk_fails(TPC_EINVAL, hs_query_read(TPC_STR("a=%00"), room, q, &n));
    tk_fails(TPC_EINVAL, hs_query_read(TPC_STR("a=%c0%80"), room, q, &n));
    char many[2 * HS_QUERY_MAX + 3] = "", out[sizeof(many)];
    for (int i = 0; i <= HS_QUERY_MAX; i++) {
        strncat(many, "a&", sizeof(many) - strlen(many) - 1);
    }
    tk_fails(TPC_EINVAL, hs_query_read(tpc_str_from(many), out, q, &n));
}
END_TEST

static bool match(const char *pattern, const char *path, struct tpc_http_header *values)
{
    static char room[256];
    struct hs_pattern p;
    struct hs_path at;
    const char *why;
    tk_ok(hs_pattern_read(pattern, &p, &why));
    tk_ok(hs_path_read(tpc_str_from(path), room, &at));
    return hs_pattern_match(&p, &at, values);
}

START_TEST(names_match_one_level_and_the_rest_what_remains)
{
    struct tpc_http_header v[HS_PATTERN_MAX];
    ck_assert(match("/", "/", v));
    ck_assert(match("/a/{id}/b", "/a/x%2Fy/b", v));
    ck_assert(tpc_str_equal(v[0].name, TPC_STR("id")));
    ck_assert(tpc_str_equal(v[0].value, TPC_STR("x/y")));
    ck_assert(!match("/a/{id}", "/a/", v));
    ck_assert(!match("/a/{id}", "/a", v));
    ck_assert(!match("/a/{id}", "/a/b/c", v));
    ck_assert(!match("/a", "/a/", v));
    ck_assert(!match("/a", "//a", v));
    ck_assert(match("/f/{rest...}", "/f/a/b", v));
    ck_assert(tpc_str_equal(v[0].value, TPC_STR("a/b")));
    ck_assert(match("/f/{rest...}", "/f/", v));
    ck_assert_uint_eq(v[0].value.len, 0);
    ck_assert(!match("/f/{rest...}", "/f", v));
}
END_TEST

START_TEST(pattern_that_is_wrong_says_why)
{
    static const char *const bad[] = { "",        "a",     "/{}",    "/{a",    "/a}",
                                       "/x{a}",   "/{a}x", "/{a b}", "/{...}", "/{r...}/a",
                                       "/a/../b", "/%41",  "/{a-b}" };
    struct hs_pattern p;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *why = NULL;
        ck_assert_msg(hs_pattern_read(bad[i], &p, &why) == TPC_EINVAL, "%s", bad[i]);
        ck_assert_ptr_nonnull(why);
    }
}
END_TEST

START_TEST(pattern_that_says_more_comes_first)
{
    static const char *const sorted[] = { "/api/v1/things/count",
                                          "/api/v1/things/{id}/points",
                                          "/api/v1/things/{id}",
                                          "/api/v1/things/{rest...}",
                                          "/api/{rest...}",
                                          "/{a}",
                                          "/{a...}" };
    struct hs_pattern a, b;
    const char *why;
    for (size_t i = 0; i + 1 < sizeof(sorted) / sizeof(sorted[0]); i++) {
        tk_ok(hs_pattern_read(sorted[i], &a, &why));
        tk_ok(hs_pattern_read(sorted[i + 1], &b, &why));
        ck_assert_int_lt(hs_pattern_order(&a, &b), 0);
        ck_assert_int_gt(hs_pattern_order(&b, &a), 0);
        ck_assert(!hs_pattern_same(&a, &b));
    }
    tk_ok(hs_pattern_read("/a/{x}", &a, &why));
    tk_ok(hs_pattern_read("/a/{y}", &b, &why));
    ck_assert(hs_pattern_same(&a, &b));
}
END_TEST

Suite *route_suite(void)
{
    Suite *s = suite_create("route");
    TCase *t = tcase_create("route");
    tcase_add_test(t, path_is_decoded_level_by_level);
    tcase_add_test(t, path_that_leads_elsewhere_is_refused);
    tcase_add_test(t, target_gives_path_and_query);
    tcase_add_test(t, query_takes_raw_json_and_escapes);
    tcase_add_test(t, names_match_one_level_and_the_rest_what_remains);
    tcase_add_test(t, pattern_that_is_wrong_says_why);
    tcase_add_test(t, pattern_that_says_more_comes_first);
    suite_add_tcase(s, t);
    return s;
}
