/*
 * string and table for scripts: patterns on our matcher, and every function that can run long
 * without a VM instruction pays for its work.
 */
#include "match.h"
#include "state.h"

#include <math.h>
#include <string.h>

enum { RANGE_MAX = 1000000 }; /* items that one call may name by numbers */

/* ---- patterns ---- */

struct search {
    struct match m;
    const char *src;
    size_t src_len;
    const char *pat;
    size_t pat_len;
};

static int charge_chunk(void *user)
{
    return slot_spend(user, MATCH_CHUNK);
}

static void search_init(lua_State *L, struct search *x)
{
    x->src = luaL_checklstring(L, 1, &x->src_len);
    x->pat = luaL_checklstring(L, 2, &x->pat_len);
}

static bool take_anchor(struct search *x)
{
    if (x->pat_len == 0 || x->pat[0] != '^') {
        return false;
    }
    x->pat++;
    x->pat_len--;
    return true;
}

static void search_start(lua_State *L, struct search *x)
{
    match_init(&x->m, x->src, x->src_len, x->pat, x->pat_len, charge_chunk, slot_of(L));
}

/* Raises what the matcher complains about. */
static void check(lua_State *L, const struct match *m)
{
    if (m->error == NULL) {
        return;
    }
    slot_reraise(L, LUA_OK);
    if (m->error_arg >= 0) {
        luaL_error(L, m->error, m->error_arg);
    }
    luaL_error(L, "%s", m->error);
}

/* Pays for the steps since the last whole chunk. */
static void settle(lua_State *L, const struct match *m)
{
    slot_work(L, (size_t) (MATCH_CHUNK - m->left) * 16);
}

static void push_capture(lua_State *L, struct search *x, int i, const char *s, const char *e)
{
    struct match_capture c;
    if (match_capture(&x->m, i, s, e, &c) != 0) {
        check(L, &x->m);
        return;
    }
    if (c.len == MATCH_POSITION) {
        lua_pushinteger(L, c.begin - x->src + 1);
    } else {
        lua_pushlstring(L, c.begin, (size_t) c.len);
    }
}

/* All captures; the whole match if there is none and s is not NULL. */
static int push_captures(lua_State *L, struct search *x, const char *s, const char *e)
{
    int n = x->m.level == 0 && s != NULL ? 1 : x->m.level;
    luaL_checkstack(L, n, "too many captures");
    for (int i = 0; i < n; i++) {
        push_capture(L, x, i, s, e);
    }
    return n;
}

/* Position of an argument, from 1, as manual 6.4 counts from the end. */
static size_t position(lua_Integer pos, size_t len)
{
    if (pos > 0) {
        return (size_t) pos;
    }
    if (pos == 0 || pos < -(lua_Integer) len) {
        return 1;
    }
    return len + (size_t) pos + 1;
}

static int find_plain(lua_State *L, const struct search *x, size_t init)
{
    slot_work(L, x->src_len - init);
    const char *at = x->pat_len == 0 ? x->src + init
                                     : memmem(x->src + init, x->src_len - init, x->pat, x->pat_len);
    if (at == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - x->src + 1);
    lua_pushinteger(L, at - x->src + (lua_Integer) x->pat_len);
    return 2;
}

static int find_or_match(lua_State *L, bool find)
{
    struct search x;
    search_init(L, &x);
    size_t init = position(luaL_optinteger(L, 3, 1), x.src_len) - 1;
    if (init > x.src_len) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || match_is_plain(x.pat, x.pat_len))) {
        return find_plain(L, &x, init);
    }
    bool anchor = take_anchor(&x);
    search_start(L, &x);
    const char *s = x.src + init;
    const char *e;
    do {
        e = match_at(&x.m, s, x.pat);
    } while (e == NULL && x.m.error == NULL && !anchor && ++s <= x.m.src_end);
    check(L, &x.m);
    settle(L, &x.m);
    if (e == NULL) {
        lua_pushnil(L);
        return 1;
    }
    if (!find) {
        return push_captures(L, &x, s, e);
    }
    lua_pushinteger(L, s - x.src + 1);
    lua_pushinteger(L, e - x.src);
    return push_captures(L, &x, NULL, NULL) + 2;
}

static int str_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int str_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* Upvalues: text, pattern, next offset, end of the last match (-1 = none). */
static int gmatch_next(lua_State *L)
{
    struct search x;
    x.src = lua_tolstring(L, lua_upvalueindex(1), &x.src_len);
    x.pat = lua_tolstring(L, lua_upvalueindex(2), &x.pat_len);
    const char *s = x.src + lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
    search_start(L, &x);
    for (; s <= x.m.src_end; s++) {
        const char *e = match_at(&x.m, s, x.pat);
        check(L, &x.m);
        if (e != NULL && e - x.src != last) {
            settle(L, &x.m);
            lua_pushinteger(L, e - x.src);
            lua_copy(L, -1, lua_upvalueindex(3));
            lua_replace(L, lua_upvalueindex(4));
            return push_captures(L, &x, s, e);
        }
    }
    settle(L, &x.m);
    return 0;
}

static int str_gmatch(lua_State *L)
{
    struct search x;
    search_init(L, &x);
    size_t init = position(luaL_optinteger(L, 3, 1), x.src_len) - 1;
    if (init > x.src_len) {
        init = x.src_len + 1;
    }
    lua_settop(L, 2);
    lua_pushinteger(L, (lua_Integer) init);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_next, 4);
    return 1;
}

/* Replacement text with its %0 to %9 and %%. */
static void add_text(lua_State *L, struct search *x, luaL_Buffer *b, const char *s, const char *e)
{
    size_t len;
    const char *r = lua_tolstring(L, 3, &len);
    const char *end = r + len;
    slot_work(L, len);
    while (r < end) {
        const char *p = memchr(r, '%', (size_t) (end - r));
        if (p == NULL) {
            p = end;
        }
        luaL_addlstring(b, r, (size_t) (p - r));
        if (p == end) {
            break;
        }
        p++;
        if (p < end && *p == '%') {
            luaL_addchar(b, '%');
        } else if (p < end && *p == '0') {
            luaL_addlstring(b, s, (size_t) (e - s));
        } else if (p < end && *p >= '1' && *p <= '9') {
            push_capture(L, x, *p - '1', s, e);
            luaL_tolstring(L, -1, NULL);
            lua_remove(L, -2);
            luaL_addvalue(b);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
        r = p + 1;
    }
}

/* Adds what stands for the match [s, e). Returns whether it differs from it. */
static bool add_replacement(lua_State *L, struct search *x, luaL_Buffer *b, const char *s,
                            const char *e)
{
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION:
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, x, s, e), 1);
        break;
    case LUA_TTABLE:
        push_capture(L, x, 0, s, e);
        lua_gettable(L, 3);
        break;
    default:
        add_text(L, x, b, s, e);
        return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, s, (size_t) (e - s));
        return false;
    }
    if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(b);
    return true;
}

static int str_gsub(lua_State *L)
{
    struct search x;
    search_init(L, &x);
    int type = lua_type(L, 3);
    luaL_argexpected(L,
                     type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                         type == LUA_TTABLE,
                     3, "string/function/table");
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer) x.src_len + 1);
    bool anchor = take_anchor(&x);
    bool changed = false;
    lua_Integer n = 0;
    const char *s = x.src;
    const char *last = NULL;
    luaL_Buffer b;
    search_start(L, &x);
    luaL_buffinit(L, &b);
    while (n < max) {
        const char *e = match_at(&x.m, s, x.pat);
        check(L, &x.m);
        if (e != NULL && e != last) {
            n++;
            changed |= add_replacement(L, &x, &b, s, e);
            s = last = e;
        } else if (s < x.m.src_end) {
            luaL_addchar(&b, *s++);
        } else {
            break;
        }
        if (anchor) {
            break;
        }
    }
    settle(L, &x.m);
    if (!changed) {
        lua_pushvalue(L, 1);
    } else {
        luaL_addlstring(&b, s, (size_t) (x.m.src_end - s));
        luaL_pushresult(&b);
    }
    lua_pushinteger(L, n);
    return 2;
}

/* ---- functions of string that are paid for ---- */

/* Upvalue 1: Lua's function, which has no upvalues itself. */
static int original(lua_State *L)
{
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int paid(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING) {
        slot_work(L, (size_t) lua_rawlen(L, 1));
    }
    return original(L);
}

void strings_pay(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, paid, 1);
    lua_setfield(L, -2, name);
}

static int str_rep(lua_State *L)
{
    size_t len;
    size_t sep = 0;
    (void) luaL_checklstring(L, 1, &len);
    lua_Integer n = luaL_checkinteger(L, 2);
    (void) luaL_optlstring(L, 3, "", &sep);
    size_t max = slot_of(L)->limits->memory_bytes;
    if (n <= 0 || len + sep == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (len + sep >= max || (uint64_t) n > max / (len + sep)) {
        return luaL_error(L, "resulting string too large");
    }
    slot_work(L, (len + sep) * (size_t) n);
    return original(L);
}

/* The conversion character of the next specification at *p; 0 at the end of the format. */
static char next_conversion(const char **p, const char *end)
{
    while (*p < end) {
        if (*(*p)++ != '%') {
            continue;
        }
        if (*p < end && **p == '%') {
            (*p)++;
            continue;
        }
        while (*p < end && strchr("-+ #0123456789.", **p) != NULL && **p != '\0') {
            (*p)++;
        }
        return *p < end ? *(*p)++ : '\0';
    }
    return '\0';
}

/* Floats without a fraction are written as Lua 5.1 wrote them, and %d takes any number. */
static int str_format(lua_State *L)
{
    size_t len;
    const char *p = luaL_checklstring(L, 1, &len);
    const char *end = p + len;
    size_t work = len;
    int top = lua_gettop(L);
    int arg = 2;
    for (char c = next_conversion(&p, end); c != '\0' && arg <= top; arg++) {
        if (lua_type(L, arg) == LUA_TSTRING) {
            work += (size_t) lua_rawlen(L, arg);
        } else if (lua_type(L, arg) == LUA_TNUMBER && !lua_isinteger(L, arg)) {
            double d = lua_tonumber(L, arg);
            bool integral = strchr("diuxXoc", c) != NULL;
            if (fabs(d) <= 9007199254740992.0 && (d == floor(d) || integral)) {
                lua_pushinteger(L, (lua_Integer) trunc(d));
                lua_replace(L, arg);
            }
        }
        c = next_conversion(&p, end);
    }
    slot_work(L, work);
    return original(L);
}

/* ---- table ---- */

/* A table whose length a script cannot lie about. */
static size_t table_length(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL) {
        luaL_error(L, "a table with a length of its own (__len) is not taken");
    }
    return (size_t) lua_rawlen(L, 1);
}

/* How many tables one read or write of the table at index may pass on its way over __index or
 * __newindex (manual 2.4): Lua follows them without an instruction. */
static size_t chain_length(lua_State *L, int index, const char *event)
{
    enum { CHAIN_MAX = 2000 }; /* where Lua ends it */
    size_t n = 1;
    int top = lua_gettop(L);
    luaL_checkstack(L, 3, NULL);
    lua_pushvalue(L, index);
    while (n < CHAIN_MAX && lua_istable(L, -1) && luaL_getmetafield(L, -1, event) != LUA_TNIL) {
        lua_replace(L, top + 1);
        n++;
    }
    lua_settop(L, top);
    return n;
}

static size_t both_chains(lua_State *L)
{
    return chain_length(L, 1, "__index") + chain_length(L, 1, "__newindex") - 1;
}

/* insert and remove at the end are cheap. */
static int tab_insert(lua_State *L)
{
    size_t n = table_length(L);
    slot_work(L, lua_gettop(L) >= 3 ? n * both_chains(L) : 1);
    return original(L);
}

static int tab_remove(lua_State *L)
{
    size_t n = table_length(L);
    slot_work(L, lua_gettop(L) >= 2 ? n * both_chains(L) : 1);
    return original(L);
}

static int tab_sort(lua_State *L)
{
    size_t n = table_length(L);
    size_t work = 0;
    for (size_t i = n; i > 0; i /= 2) {
        work += n;
    }
    slot_work(L, work * 2 * both_chains(L));
    return original(L);
}

/* Pays for the items first..last of the arguments, each of which passes `chain` tables. */
static void check_range(lua_State *L, int first_arg, int last_arg, lua_Integer last_default,
                        size_t chain)
{
    lua_Integer first = luaL_optinteger(L, first_arg, 1);
    lua_Integer last = luaL_optinteger(L, last_arg, last_default);
    if (last >= first) {
        uint64_t n = (uint64_t) last - (uint64_t) first;
        if (n >= RANGE_MAX) {
            luaL_error(L, "too many elements");
        }
        slot_work(L, ((size_t) n + 1) * chain);
    }
}

static int tab_move(lua_State *L)
{
    (void) table_length(L);
    int to = lua_isnoneornil(L, 5) ? 1 : 5;
    check_range(L, 2, 3, 0, chain_length(L, 1, "__index") + chain_length(L, to, "__newindex") - 1);
    return original(L);
}

static int tab_concat(lua_State *L)
{
    size_t n = table_length(L);
    check_range(L, 3, 4, (lua_Integer) n, chain_length(L, 1, "__index"));
    return original(L);
}

static int tab_unpack(lua_State *L)
{
    size_t n = table_length(L);
    lua_settop(L, 3);
    check_range(L, 2, 3, (lua_Integer) n, chain_length(L, 1, "__index"));
    return original(L);
}

/* ---- installing ---- */

static const luaL_Reg string_wraps[] = { { "rep", str_rep },   { "format", str_format },
                                         { "byte", paid },     { "sub", paid },
                                         { "lower", paid },    { "upper", paid },
                                         { "reverse", paid },  { "pack", paid },
                                         { "packsize", paid }, { NULL, NULL } };

static const luaL_Reg string_own[] = {
    { "find", str_find },    { "match", str_match }, { "gmatch", str_gmatch },
    { "gfind", str_gmatch }, { "gsub", str_gsub },   { "unpack", unpack_string },
    { NULL, NULL }
};

static const luaL_Reg table_wraps[] = { { "concat", tab_concat },
                                        { "insert", tab_insert },
                                        { "remove", tab_remove },
                                        { "sort", tab_sort },
                                        { "move", tab_move },
                                        { "unpack", tab_unpack },
                                        { NULL, NULL } };

/* Members of the table at index become our functions with Lua's as upvalue. */
static void wrap_all(lua_State *L, int index, const luaL_Reg *wraps)
{
    for (; wraps->name != NULL; wraps++) {
        lua_getfield(L, index, wraps->name);
        lua_pushcclosure(L, wraps->func, 1);
        lua_setfield(L, index, wraps->name);
    }
}

void strings_open(lua_State *L)
{
    int string = lua_gettop(L) - 1;
    int table = lua_gettop(L);
    lua_getfield(L, string, "unpack");
    slot_of(L)->unpack = lua_tocfunction(L, -1);
    lua_pop(L, 1);
    wrap_all(L, string, string_wraps);
    wrap_all(L, table, table_wraps);
    lua_pushvalue(L, string);
    luaL_setfuncs(L, string_own, 0);
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_setfield(L, string, "dump");
}
