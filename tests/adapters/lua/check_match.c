/* Our matcher and our string.unpack against Lua's own, call by call. */
#include "host.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

static struct lua_host h;

static void setup(void)
{
    tk_ok(lua_host_open(&h, NULL, NULL, NULL));
}

static void teardown(void)
{
    lua_host_close(&h);
}

/* Lua code without json or tostring of floats: gives one text R. */
static const char *const cases[] = {
    "R = show(string.find('hello world', 'o w'))",
    "R = show(string.find('hello', 'l', 1, true))",
    "R = show(string.find('hello', '', 6))",
    "R = show(string.find('hello', '', 7))",
    "R = show(string.find('hello', 'xyz', -3))",
    "R = show(string.find('a.b', '.', 2, true))",
    "R = show(string.find('a\\0b', '\\0'))",
    "R = show(string.find('a\\0b', '[\\0]'))",
    "R = show(string.match('key = value', '^(%w+)%s*=%s*(%w+)$'))",
    "R = show(string.match('2026-11-20', '(%d+)-(%d+)-(%d+)'))",
    "R = show(string.match('  x  ', '^%s*(.-)%s*$'))",
    "R = show(string.match('hello', '()ll()'))",
    "R = show(string.match('hello', '.-(l+)(.*)'))",
    "R = show(string.match('aXb', '%u'))",
    "R = show(string.match('[[x]]', '%[(%[.-%])%]'))",
    "R = show(string.match('f(a(b)c)d', '%b()'))",
    "R = show(string.match('THE (quick) fox', '%f[%a]%a+%f[%A]'))",
    "R = show(string.match('abcabc', '(abc)%1'))",
    "R = show(string.match('x\"y\"z', '([\"\\'])(.-)%1'))",
    "R = show(string.match('a-b', '[a%-]+'))",
    "R = show(string.match('a]b', '[]]'))",
    "R = show(string.match('a^b', '[b^]+'))",
    "R = show(string.match('a-z', '[a-]+'))",
    "R = show(string.match('\\200\\201', '[\\200-\\210]+'))",
    "R = show(string.match('abc', '[^b]+'))",
    "R = show(string.match('abc', '%f[b]'))",
    "R = show(string.match('aaa', 'a?a?a?a?$'))",
    "R = show(string.match('aaab', 'a-b'))",
    "R = show(string.match('$x$', '%$(.)$'))",
    "R = show(string.match('x$y', 'x$y'))",
    "R = show(string.match('abc', 'b', 10))",
    "R = show(string.gsub('hello world', 'o', '0'))",
    "R = show(string.gsub('hello', '', '-'))",
    "R = show(string.gsub('abc', '%w', '%0%0'))",
    "R = show(string.find('a\\0b', '%z'))",
    "R = show(string.find('\\0\\0b', '%Z'))",
    "R = show(string.gsub('abc', '(b)', '<%1%%>'))",
    "R = show(string.gsub('abc', 'b*', 'x'))",
    "R = show(string.gsub('abc', '^a', 'x'))",
    "R = show(string.gsub('aaa', '^a', 'x'))",
    "R = show(string.gsub('aaa', 'a', 'x', 2))",
    "R = show(string.gsub('$name is $age', '%$(%w+)', {name = 'Bo', age = 7}))",
    "R = show(string.gsub('a b', '%w', function(c) if c == 'a' then return c:upper() end end))",
    "R = show(string.gsub('ab', '()', '%1'))",
    "R = show(pcall(string.gsub, 'a', 'a', '%2'))",
    "R = show(pcall(string.gsub, 'a', 'a', '%x'))",
    "R = show(pcall(string.gsub, 'a', 'a', function() return {} end))",
    "R = show(pcall(string.find, 'a', '['))",
    "R = show(pcall(string.find, 'a', '[%'))",
    "R = show(pcall(string.find, 'a', '%'))",
    "R = show(pcall(string.find, 'a', '(a'))",
    "R = show(pcall(string.find, 'a', 'a)'))",
    "R = show(pcall(string.find, 'a', '%1'))",
    "R = show(pcall(string.find, 'a', '%b'))",
    "R = show(pcall(string.find, 'a', '%f'))",
    "R = show(pcall(string.find, 'a', ('(a'):rep(40)))",
    "R = show(pcall(string.find, ('a'):rep(500), ('a?'):rep(500)))",
    "R = '' for k, v in string.gmatch('a=1, b=2', '(%w+)=(%w+)') do R = R .. k .. v end",
    "R = '' for w in string.gmatch('one two', '%a*') do R = R .. '[' .. w .. ']' end",
    "R = '' for p in string.gmatch('abc', '()') do R = R .. p end",
    "R = '' for w in string.gmatch('^a^a', '^a') do R = R .. w .. ';' end",
    "R = '' for w in string.gmatch('abc', '%w', 2) do R = R .. w .. ';' end",
    "R = '' for w in string.gmatch('abc', '%w', -1) do R = R .. w .. ';' end",
};

static const char prelude[] =
    "local function show(...) local r = {} for i = 1, select('#', ...) do local v = select(i, ...)"
    " r[i] = type(v) .. ':' .. tostring(v) end return table.concat(r, ' ') end ";

/* What Lua's own library gives. */
static void stock(const char *code, char *out, size_t cap)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_pushstring(L, prelude);
    lua_pushstring(L, code);
    lua_concat(L, 2);
    ck_assert_msg(luaL_dostring(L, lua_tostring(L, -1)) == 0, "%s: %s", code, lua_tostring(L, -1));
    lua_getglobal(L, "R");
    snprintf(out, cap, "%s", lua_tostring(L, -1));
    lua_close(L);
}

static void check_same(const char *code)
{
    char want[1024];
    char script[2048];
    stock(code, want, sizeof(want));
    snprintf(script, sizeof(script),
             "%s\nfunction decode(want) %s return {same = R == want, r = R} end", prelude, code);
    const char *trace =
        lua_host_run(&h, script, 0, (struct tpc_bytes){ (const uint8_t *) want, strlen(want) });
    ck_assert_msg(strstr(trace, "same=true") != NULL, "%s gives %s, not %s (%s)", code, trace, want,
                  h.sink.err.text);
}

START_TEST(patterns_match_as_in_lua)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_same(cases[i]);
    }
}
END_TEST

/* Arguments of string.unpack after D, a text of 40 bytes. */
static const char *const unpacks[] = {
    "'b', D",
    "'B', D",
    "'bBbB', D",
    "'>hH<hH=hH', D",
    "'>iI<iI=iI', D",
    "'>lL<lL', D",
    "'>jJ<jJ', D",
    "'>f<f=f', D",
    "'>d<d', D",
    "'>n<n', D",
    "'>i1i2i3i4i5i6i7i8', D",
    "'<i1i2i3i4i5i6i7i8', D",
    "'>I1I2I3I4I5I6I7I8', D",
    "'<I1I2I3I4I5I6I7I8', D",
    "'>I2I2i4I4I2I2', D:sub(1, 16)",
    "'>I2I2i4I4I2I2', D:sub(1, 15)",
    "' > I2 < i3 ', D",
    "('B'):rep(40), D",
    "('B'):rep(41), D",
    "('<'):rep(70) .. 'I2', D",
    "'', D",
    "' ', ''",
    "'B', ''",
    "'j', D:sub(1, 7)",
    "'i9', D",
    "'I16', D",
    "'i0', D",
    "'i17', D",
    "'i12', D",
    "'b1', D",
    "'f4', D",
    "'w', D",
    "'I2w', D",
    "'I2\\0w', D",
    "'!4 b i4', D",
    "'b !8 i8', D",
    "'bXi4i4', D",
    "'bxb', D",
    "'>I2c3I2', D",
    "'s1', '\\3abc'",
    "'I2z', 'ab\\99c\\0'",
    "'T', D",
    "'I2', D, 5",
    "'I2', D, -1",
    "'I2', D, -2",
    "'I2', D, 99",
    "'I2', D, nil",
    "'I2'",
    "'I1', 12",
    "12, D",
    "nil, D",
    "'I1', {}",
};

START_TEST(numbers_unpack_as_in_lua)
{
    char code[1024];
    for (size_t i = 0; i < sizeof(unpacks) / sizeof(unpacks[0]); i++) {
        for (int seed = 0; seed < 4; seed++) {
            snprintf(
                code, sizeof(code),
                "local D = '' for i = 1, 40 do D = D .. string.char((i * %d + %d) %% 256) end "
                "local t = {pcall(string.unpack, %s)} "
                "if t[1] then for i = 2, #t do local v = t[i] if math.type(v) == 'float' then "
                "t[i] = 'f' .. string.gsub(string.pack('>d', v), '.', function(c) return "
                "c:byte() .. ',' end) end end else t[2] = t[2]:match('%%((.*)%%)$') or t[2] end "
                "R = show((table.unpack or unpack)(t))",
                seed * 50 + 1, seed * 85, unpacks[i]);
            check_same(code);
        }
    }
}
END_TEST

Suite *match_suite(void)
{
    Suite *suite = suite_create("match");
    TCase *tc = tcase_create("match");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, patterns_match_as_in_lua);
    tcase_add_test(tc, numbers_unpack_as_in_lua);
    suite_add_tcase(suite, tc);
    return suite;
}
