#include "convert.h"

#include "data/utf8.h"

#include <math.h>
#include <string.h>
#include <tpcore/json.h>

static const char no_memory[] = "out of memory";

struct walk {
    struct tpc_arena *arena;
    int flags;
    int visited; /* index of a table of the tables met; 0 = none kept */
    int depth;
};

static const char *walk_value(lua_State *L, int index, struct walk *w, struct tpc_value *ret);

void convert_no_memory(lua_State *L)
{
    slot_of(L)->host_refused = true;
    slot_reraise(L, LUA_ERRMEM);
}

static void *take(struct walk *w, size_t count, size_t size)
{
    return tpc_arena_take(w->arena, count > 0 ? count * size : 1);
}

/* Go's encoder writes U+FFFD for each byte that is no UTF-8. */
static const char *replace_bad(const char *p, size_t n, struct walk *w, struct tpc_value *ret)
{
    char *out = take(w, n, 3);
    size_t len = 0;
    if (out == NULL) {
        return no_memory;
    }
    for (const char *end = p + n; p < end;) {
        size_t step = (unsigned char) *p < 0x80 ? 1 : tpi_utf8_step(p, end);
        if (step == 0) {
            memcpy(out + len, "\xEF\xBF\xBD", 3);
            len += 3;
            p++;
        } else {
            memcpy(out + len, p, step);
            len += step;
            p += step;
        }
    }
    *ret = (struct tpc_value){ .type = TPC_TEXT, .len = len, .as = { .text = out } };
    return NULL;
}

static const char *walk_string(lua_State *L, int index, struct walk *w, struct tpc_value *ret)
{
    size_t n;
    const char *p = lua_tolstring(L, index, &n);
    bool text = tpi_utf8_valid(p, n);
    if (!text && (w->flags & CONVERT_JSON) != 0) {
        return replace_bad(p, n, w, ret);
    }
    char *copy = take(w, n, 1);
    if (copy == NULL) {
        return no_memory;
    }
    memcpy(copy, p, n);
    *ret = (struct tpc_value){ .type = text ? TPC_TEXT : TPC_BLOB, .len = n };
    if (text) {
        ret->as.text = copy;
    } else {
        ret->as.blob = (const uint8_t *) copy;
    }
    return NULL;
}

static const char *walk_number(lua_State *L, int index, struct walk *w, struct tpc_value *ret)
{
    *ret = (struct tpc_value){ .type = TPC_INT };
    if (lua_isinteger(L, index)) {
        ret->as.i = lua_tointeger(L, index);
        return NULL;
    }
    double d = lua_tonumber(L, index);
    if ((w->flags & CONVERT_JSON) != 0) {
        if (!isfinite(d)) {
            return "cannot encode a number that is not finite to JSON";
        }
        if (d == floor(d) && fabs(d) <= 9007199254740992.0) {
            ret->as.i = (int64_t) d;
            return NULL;
        }
    }
    ret->type = TPC_DOUBLE;
    ret->as.d = d;
    return NULL;
}

/* Keys of a table: all texts, or all numbers, or a mixture. */
enum keys { KEYS_NONE, KEYS_TEXT, KEYS_NUMBER, KEYS_MIXED };

static enum keys look_at_keys(lua_State *L, int index, size_t *ret_count)
{
    enum keys keys = KEYS_NONE;
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        int type = lua_type(L, -1);
        enum keys one = type == LUA_TSTRING   ? KEYS_TEXT
                        : type == LUA_TNUMBER ? KEYS_NUMBER
                                              : KEYS_MIXED;
        if (keys != KEYS_NONE && keys != one) {
            one = KEYS_MIXED;
        }
        keys = one;
        count++;
        if (keys == KEYS_MIXED) {
            lua_pop(L, 1);
            break;
        }
    }
    slot_work(L, count * 16);
    *ret_count = count;
    return keys;
}

static const char *walk_array(lua_State *L, int index, size_t count, struct walk *w,
                              struct tpc_value *ret)
{
    struct tpc_value *items = take(w, count, sizeof(*items));
    if (items == NULL) {
        return no_memory;
    }
    for (size_t i = 0; i < count; i++) {
        if (lua_rawgeti(L, index, (lua_Integer) i + 1) == LUA_TNIL) {
            lua_pop(L, 1);
            return "cannot encode sparse array";
        }
        const char *why = walk_value(L, lua_gettop(L), w, &items[i]);
        lua_pop(L, 1);
        if (why != NULL) {
            return why;
        }
    }
    *ret = (struct tpc_value){ .type = TPC_ARRAY, .len = count, .as = { .items = items } };
    return NULL;
}

static const char *walk_map(lua_State *L, int index, size_t count, struct walk *w,
                            struct tpc_value *ret)
{
    struct tpc_member *members = take(w, count, sizeof(*members));
    size_t n = 0;
    if (members == NULL) {
        return no_memory;
    }
    lua_pushnil(L);
    while (n < count && lua_next(L, index) != 0) {
        struct tpc_value key;
        const char *why = walk_string(L, lua_gettop(L) - 1, w, &key);
        if (why == NULL) {
            members[n].key = (struct tpc_str){ key.as.text, key.len };
            why = walk_value(L, lua_gettop(L), w, &members[n].value);
        }
        if (why != NULL) {
            lua_pop(L, 2);
            return why;
        }
        n++;
        lua_pop(L, 1);
    }
    if (n == count) {
        lua_pop(L, 1); /* the last key */
    }
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = n, .as = { .members = members } };
    return NULL;
}

/* Remembers a table. Returns false if it was met before. */
static bool remember(lua_State *L, int index, const struct walk *w)
{
    if (w->visited == 0) {
        return true;
    }
    lua_pushvalue(L, index);
    lua_pushvalue(L, index);
    if (lua_rawget(L, w->visited) != LUA_TNIL) {
        lua_pop(L, 2);
        return false;
    }
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
    lua_rawset(L, w->visited);
    return true;
}

static const char *walk_table(lua_State *L, int index, struct walk *w, struct tpc_value *ret)
{
    size_t count;
    if (!remember(L, index, w)) {
        return "cannot encode recursively nested tables to JSON";
    }
    if (w->depth >= TPC_JSON_MAX_DEPTH) {
        return "tables are nested too deep";
    }
    luaL_checkstack(L, 8, NULL);
    w->depth++;
    const char *why;
    switch (look_at_keys(L, index, &count)) {
    case KEYS_NONE:
    case KEYS_NUMBER:
        why = walk_array(L, index, count, w, ret);
        break;
    case KEYS_TEXT:
        why = walk_map(L, index, count, w, ret);
        break;
    default:
        why = "cannot encode mixed or invalid key types";
        break;
    }
    w->depth--;
    return why;
}

static const char *walk_value(lua_State *L, int index, struct walk *w, struct tpc_value *ret)
{
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        *ret = (struct tpc_value){ .type = TPC_NULL };
        return NULL;
    case LUA_TBOOLEAN:
        *ret = (struct tpc_value){ .type = TPC_BOOL, .as = { .b = lua_toboolean(L, index) != 0 } };
        return NULL;
    case LUA_TNUMBER:
        return walk_number(L, index, w, ret);
    case LUA_TSTRING:
        return walk_string(L, index, w, ret);
    case LUA_TTABLE:
        return walk_table(L, index, w, ret);
    case LUA_TFUNCTION:
        return "cannot encode function to JSON";
    default:
        return "cannot encode a value of this type";
    }
}

const char *convert_value(lua_State *L, int index, struct tpc_arena *arena, int flags,
                          struct tpc_value *ret)
{
    struct walk w = { .arena = arena, .flags = flags };
    index = lua_absindex(L, index);
    if (lua_type(L, index) != LUA_TTABLE) {
        return walk_value(L, index, &w, ret);
    }
    int top = lua_gettop(L);
    luaL_checkstack(L, 8, NULL);
    if ((flags & CONVERT_JSON) != 0) {
        lua_newtable(L);
        w.visited = top + 1;
    }
    const char *why = walk_value(L, index, &w, ret);
    lua_settop(L, top);
    if (why == no_memory) {
        convert_no_memory(L);
    }
    return why;
}

void convert_push(lua_State *L, const struct tpc_value *v)
{
    switch (v->type) {
    case TPC_BOOL:
        lua_pushboolean(L, v->as.b);
        return;
    case TPC_INT:
        lua_pushinteger(L, v->as.i);
        return;
    case TPC_DOUBLE:
        lua_pushnumber(L, v->as.d);
        return;
    case TPC_TEXT:
        lua_pushlstring(L, v->as.text, v->len);
        return;
    case TPC_BLOB:
        lua_pushlstring(L, (const char *) v->as.blob, v->len);
        return;
    case TPC_ARRAY:
        luaL_checkstack(L, 4, NULL);
        lua_createtable(L, (int) v->len, 0);
        for (size_t i = 0; i < v->len; i++) {
            convert_push(L, &v->as.items[i]);
            lua_rawseti(L, -2, (lua_Integer) i + 1);
        }
        return;
    case TPC_MAP:
        luaL_checkstack(L, 4, NULL);
        lua_createtable(L, 0, (int) v->len);
        for (size_t i = 0; i < v->len; i++) {
            lua_pushlstring(L, v->as.members[i].key.ptr, v->as.members[i].key.len);
            convert_push(L, &v->as.members[i].value);
            lua_rawset(L, -3);
        }
        return;
    default:
        lua_pushnil(L);
    }
}
