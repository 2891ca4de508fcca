/* Regular expressions, with what Python's re.search() answers. */
#include "pick.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>

static struct tpc_arena *arena;

static const char *find(const char *pattern, const char *text, bool begin)
{
    static char ret[PICK_TEXT_MAX + 1];
    struct tpc_error err = { .size = sizeof(err) };
    struct pick p;
    struct tpc_str found;
    int rc = pick_compile(arena, tpc_str_from(pattern), &err, &p);
    ck_assert_msg(rc == 0, "%s: %s at %u", pattern, err.text, (unsigned) err.column);
    rc = pick_find(&p, tpc_str_from(text), begin, arena, &found);
    if (rc == TPC_ENOENT) {
        return "(none)";
    }
    ck_assert_int_eq(rc, 0);
    snprintf(ret, sizeof(ret), "%.*s", (int) found.len, found.ptr);
    return ret;
}

START_TEST(search_finds_what_python_finds)
{
    static const struct {
        const char *pattern, *text, *found;
    } cases[] = {
        { "(?<=sensor/)(.*?)(?=/data)", "sensor/box1/data", "box1" },
        { "(?<=sensor/)(.*?)(?=/data)", "sensor/a/b/data/data", "a/b" },
        { "(?<=sensor\\/)(.*?)(?=\\/connect)", "sensor/x/connect", "x" },
        { "(?<=sensor/)(.*)(?=/data)", "sensor/a/data/data", "a/data" },
        { "(?<=sensor/)(.*?)(?=/data)", "meter/x/data", "(none)" },
        { "Demo", "data/Demo/x", "Demo" },
        { "[^/]+$", "a/b/last", "last" },
        { "^[^/]+", "first/b", "first" },
        { "a|ab", "ab", "a" },
        { "ab|a", "ab", "ab" },
        { "(a|ab)(c|bcd)", "abcd", "abcd" },
        { "x*", "aaa", "" },
        { "a+?", "aaa", "a" },
        { "a{2}", "aaa", "aa" },
        { "a{2,}?", "aaaa", "aa" },
        { "a{1,3}", "aaaa", "aaa" },
        { "a{0,2}?b", "aab", "aab" },
        { "(a*)*b", "aaaac", "(none)" },
        { "(a|b)*?c", "abac", "abac" },
        { "\\d+", "dev-0042-x", "0042" },
        { "\\bdev\\w*", "xdev dev7", "dev7" },
        { "\\Bdev", "dev xdev", "dev" },
        { "(?<!a)b", "abb", "b" },
        { "a(?!b)", "abac", "a" },
        { "(?i)SENSOR/[a-c]+", "x/sEnSor/ABc", "sEnSor/ABc" },
        { "(?P<name>[a-z]+)/up", "dev/up", "dev/up" },
        { "(?<=\xc3\xa4)b",
          "a\xc3\xa4"
          "b",
          "b" },
        { ".", "\xc3\xa4x", "\xc3\xa4" },
        { "[\xc3\xa4-\xc3\xbc]+", "a\xc3\xb6\xc3\xa4z", "\xc3\xb6\xc3\xa4" },
        { "[]a]+", "x]a", "]a" },
        { "[\\w.-]+@", "me.you@", "me.you@" },
        { "a$", "a\n", "a" },
        { "a\\Z", "a\n", "(none)" },
        { "a.b", "a\nb", "(none)" },
        { "", "abc", "" },
        { "(?=.*b)a", "aab", "a" },
        { "(?<=ab|cd)x", "cdx", "x" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *found = find(cases[i].pattern, cases[i].text, false);
        ck_assert_msg(strcmp(found, cases[i].found) == 0, "%s in %s: %s, expected %s",
                      cases[i].pattern, cases[i].text, found, cases[i].found);
    }
}
END_TEST

START_TEST(search_from_the_begin_finds_nothing_further_on)
{
    ck_assert_str_eq(find("relay", "relay2", true), "relay");
    ck_assert_str_eq(find("relay", "myrelay", true), "(none)");
    ck_assert_str_eq(find(".*", "", true), "");
}
END_TEST

START_TEST(malformed_pattern_is_refused_with_its_column)
{
    static const struct {
        const char *pattern;
        uint32_t column;
    } cases[] = { { "a(b", 4 },   { "a)", 2 },    { "*a", 1 },       { "a{2", 4 },
                  { "[a", 3 },    { "[z-a]", 5 }, { "(?<=a*)b", 7 }, { "\\q", 2 },
                  { "(?#x)", 2 }, { "a\\", 3 },   { "a{300}", 7 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpc_error err = { .size = sizeof(err) };
        struct pick p;
        tk_fails(TPC_EINVAL, pick_compile(arena, tpc_str_from(cases[i].pattern), &err, &p));
        ck_assert_msg(err.column == cases[i].column, "%s: %u", cases[i].pattern,
                      (unsigned) err.column);
    }
}
END_TEST

START_TEST(pattern_beyond_the_limits_is_refused)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct pick p;
    tk_fails(TPC_ETOOBIG, pick_compile(arena, TPC_STR("(a{99}){99}"), &err, &p));
    tk_fails(TPC_ETOOBIG,
             pick_compile(arena, TPC_STR("((((((((((((((((((a))))))))))))))))))"), &err, &p));
    tk_fails(TPC_ETOOBIG, pick_compile(arena, TPC_STR("((((){99}){99}){99}){99}"), &err, &p));
    tk_fails(TPC_ETOOBIG, pick_compile(arena, TPC_STR("(?=(?=(?=(?=(?=a)))))"), &err, &p));
}
END_TEST

START_TEST(search_that_would_take_for_ever_ends)
{
    char text[PICK_TEXT_MAX + 2];
    memset(text, 'a', sizeof(text));
    text[PICK_TEXT_MAX] = '\0';
    ck_assert_str_eq(find("(a*)*(a*)*(a|aa)+b", text, false), "(none)");
    ck_assert_str_eq(find("(?=(?=a*b)|(?=.*c))x", text, false), "(none)");
    text[PICK_TEXT_MAX] = 'a';
    text[PICK_TEXT_MAX + 1] = '\0';
    ck_assert_str_eq(find("a", text, false), "(none)"); /* longer than it looks at */
}
END_TEST

START_TEST(text_without_operators_is_known_as_such)
{
    struct pick p;
    tk_ok(pick_compile(arena, TPC_STR("Demo Device/1-2"), NULL, &p));
    ck_assert(p.literal);
    tk_ok(pick_compile(arena, TPC_STR("Demo.Device"), NULL, &p));
    ck_assert(!p.literal);
}
END_TEST

static int without_memory(const struct tpc_allocator *a, void *user)
{
    struct tpc_arena *own = NULL;
    struct pick p;
    struct tpc_str found;
    (void) user;
    int rc = tpc_arena_create(a, 0, &own);
    rc = rc != 0 ? rc : pick_compile(own, TPC_STR("(a|b)*(?=c)"), NULL, &p);
    rc = rc != 0 ? rc : pick_find(&p, TPC_STR("ababababababababc"), false, own, &found);
    tpc_arena_destroy(own);
    return rc;
}

START_TEST(lack_of_memory_is_told)
{
    tk_each_alloc_fails(without_memory, NULL);
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

TCase *pick_case(void)
{
    TCase *c = tcase_create("pick");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, search_finds_what_python_finds);
    tcase_add_test(c, search_from_the_begin_finds_nothing_further_on);
    tcase_add_test(c, malformed_pattern_is_refused_with_its_column);
    tcase_add_test(c, pattern_beyond_the_limits_is_refused);
    tcase_add_test(c, search_that_would_take_for_ever_ends);
    tcase_add_test(c, text_without_operators_is_known_as_such);
    tcase_add_test(c, lack_of_memory_is_told);
    return c;
}
