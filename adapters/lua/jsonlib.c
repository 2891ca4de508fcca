/*
 * require("json") as ThingsPanel's scripts know it (contract thingspanel 5): decode(text) and
 * encode(value) give nil and a message where they fail. Whole numbers become integers, so that ..
 * and %d write them as Lua 5.1 did.
 */
#include "convert.h"

#include <tpcore/json.h>

static struct tpc_arena *scratch(lua_State *L)
{
    struct slot *s = slot_of(L);
    if (s->scratch == NULL &&
        tpc_arena_create(s->alloc, 2 * s->limits->memory_bytes, &s->scratch) != 0) {
        convert_no_memory(L);
    }
    tpc_arena_reset(s->scratch);
    return s->scratch;
}

static int fail(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

static int json_decode(lua_State *L)
{
    struct tpc_str text;
    struct tpc_value v;
    struct tpc_error err;
    text.ptr = luaL_checklstring(L, 1, &text.len);
    slot_work(L, text.len * 4);
    int rc = tpc_json_parse(scratch(L), text, TPC_JSON_ALLOW_DUPLICATES, &err, &v);
    if (rc == TPC_ENOMEM) {
        slot_reraise(L, LUA_ERRMEM);
    }
    if (rc != 0) {
        return fail(L, err.text);
    }
    convert_push(L, &v);
    return 1;
}

static int json_encode(lua_State *L)
{
    struct tpc_value v;
    luaL_checkany(L, 1);
    struct tpc_arena *arena = scratch(L);
    const char *why = convert_value(L, 1, arena, CONVERT_JSON, &v);
    if (why != NULL) {
        return fail(L, why);
    }
    enum { FLAGS = TPC_JSON_HTML_SAFE | TPC_JSON_SORTED };
    struct tpc_buf buf = { NULL, 0, 0 };
    if (tpc_json_write(&v, FLAGS, &buf) != TPC_ETOOBIG) {
        return fail(L, "cannot encode this value to JSON");
    }
    slot_work(L, buf.need * 4);
    luaL_Buffer b;
    buf.cap = buf.need;
    buf.ptr = (uint8_t *) luaL_buffinitsize(L, &b, buf.need);
    if (tpc_json_write(&v, FLAGS, &buf) != 0) {
        return fail(L, "cannot encode this value to JSON");
    }
    luaL_pushresultsize(&b, buf.need);
    return 1;
}

void jsonlib_open(lua_State *L)
{
    static const luaL_Reg functions[] = { { "decode", json_decode },
                                          { "encode", json_encode },
                                          { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
}
