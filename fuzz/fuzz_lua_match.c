/*
 * Our pattern matcher against Lua's own: input is a pattern, a newline and a text. Where ours ends
 * within its budget, Lua's is asked too and both must agree.
 */
#include "fuzz.h"

#include "../adapters/lua/match.c" /* so that it is instrumented */

#include <lauxlib.h>
#include <lualib.h>

enum { CHUNKS = 20, SIZE_MAX_BYTES = 400 };

static int charge(void *user)
{
    int *left = user;
    return --*left <= 0;
}

static void need(int ok)
{
    if (!ok) {
        abort();
    }
}

/* Ours, as string.find(text, pattern) searches. */
static const char *search(struct match *m, const char *text, size_t len, const char *pat,
                          size_t pat_len, int *budget, const char **ret_begin)
{
    int anchor = pat_len > 0 && pat[0] == '^';
    const char *s = text;
    const char *e;
    pat += anchor;
    match_init(m, text, len, pat, pat_len - (size_t) anchor, charge, budget);
    do {
        e = match_at(m, s, pat);
    } while (e == NULL && m->error == NULL && !anchor && ++s <= m->src_end);
    *ret_begin = s;
    return e;
}

/* Lua's results stand from index 4 on. */
static void compare_captures(lua_State *L, struct match *m, const char *s, const char *e, int got)
{
    int n = m->level == 0 ? 1 : m->level;
    need(got == n);
    for (int i = 0; i < n; i++) {
        struct match_capture c;
        need(match_capture(m, i, s, e, &c) == 0);
        if (c.len == MATCH_POSITION) {
            need(lua_tointeger(L, i + 4) == c.begin - m->src + 1);
        } else {
            size_t len;
            const char *p = lua_tolstring(L, i + 4, &len);
            need(p != NULL && len == (size_t) c.len && memcmp(p, c.begin, len) == 0);
        }
    }
}

static int match_all(struct match *m, const char *s, const char *e)
{
    struct match_capture c;
    for (int i = 0; i < (m->level == 0 ? 1 : m->level); i++) {
        if (match_capture(m, i, s, e, &c) != 0) {
            return -1;
        }
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    const uint8_t *line = memchr(data, '\n', size);
    struct match m;
    const char *s;
    int budget = CHUNKS;
    if (line == NULL || size > SIZE_MAX_BYTES) {
        return 0;
    }
    /* Lua reads the NUL behind a pattern, so both work on Lua's copies. */
    if (L == NULL) {
        L = luaL_newstate();
        luaL_requiref(L, "string", luaopen_string, 1);
        lua_settop(L, 0);
    }
    size_t pat_len = (size_t) (line - data);
    size_t len = size - pat_len - 1;
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "match");
    lua_replace(L, 1);
    const char *text = lua_pushlstring(L, (const char *) line + 1, len);
    const char *pat = lua_pushlstring(L, (const char *) data, pat_len);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    const char *e = search(&m, text, len, pat, pat_len, &budget, &s);
    if (budget > 0) {
        lua_pushvalue(L, 1);
        lua_insert(L, 4);
        int status = lua_pcall(L, 2, LUA_MULTRET, 0);
        int got = lua_gettop(L) - 3;
        if (m.error != NULL || (e != NULL && match_all(&m, s, e) != 0)) {
            need(status != LUA_OK);
        } else if (e == NULL) {
            need(status == LUA_OK && lua_isnil(L, 4));
        } else {
            need(status == LUA_OK);
            compare_captures(L, &m, s, e, got);
        }
    }
    lua_settop(L, 0);
    return 0;
}
