/*
 * What a script sees. Each program has its own tables: nothing that a script changes is seen by
 * another. Not there: io, os, debug, package, load, loadstring, loadfile, dofile, collectgarbage,
 * string.dump, finalizers.
 */
#include "state.h"

#include <lualib.h>
#include <math.h>
#include <string.h>

/* ---- protected calls that never keep a limit's error ---- */

static int finish_pcall(lua_State *L, int status, lua_KContext extra)
{
    if (status == LUA_OK || status == LUA_YIELD) {
        return lua_gettop(L) - (int) extra;
    }
    slot_reraise(L, status);
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

static int safe_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall);
    return finish_pcall(L, status, 0);
}

/* The handler runs after the call has ended: in a limit's hook it could not be stopped. */
static int finish_xpcall(lua_State *L, int status, lua_KContext extra)
{
    if (status == LUA_OK || status == LUA_YIELD) {
        return lua_gettop(L) - (int) extra;
    }
    slot_reraise(L, status);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    return 2;
}

static int safe_xpcall(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 1); /* handler, true, f, arguments */
    lua_copy(L, 2, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
    lua_insert(L, 2);
    int status = lua_pcallk(L, n - 2, LUA_MULTRET, 0, 1, finish_xpcall);
    return finish_xpcall(L, status, 1);
}

/* coroutine.resume and close, upvalue 1, give errors as values. */
static int safe_resume(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co != NULL, 1, "coroutine");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    if (lua_status(co) == LUA_ERRMEM || slot_of(L)->trip != TRIP_NONE) {
        slot_reraise(L, lua_status(co));
    }
    return lua_gettop(L);
}

/* ---- the rest of the basic functions that differ ---- */

static int safe_setmetatable(lua_State *L)
{
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L, "a finalizer (__gc) is not allowed");
        }
        lua_pop(L, 1);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* 3.0 is written "3", as Lua 5.1 did (contract thingspanel 5). */
static int plain_tostring(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TNUMBER && !lua_isinteger(L, 1)) {
        double d = lua_tonumber(L, 1);
        if (d == floor(d) && fabs(d) <= 9007199254740992.0) {
            lua_pushinteger(L, (lua_Integer) d);
            lua_replace(L, 1);
        }
    }
    luaL_checkany(L, 1);
    luaL_tolstring(L, 1, NULL);
    return 1;
}

static int quiet_print(lua_State *L)
{
    (void) L;
    return 0;
}

/* Upvalue 1: the program's modules. */
static int program_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    if (lua_getfield(L, lua_upvalueindex(1), name) == LUA_TNIL) {
        return luaL_error(L, "module '%s' is not there", name);
    }
    return 1;
}

static int math_mod(lua_State *L)
{
    double y = luaL_checknumber(L, 2);
    lua_pushnumber(L, fmod(luaL_checknumber(L, 1), y));
    return 1;
}

static int math_pow(lua_State *L)
{
    lua_pushnumber(L, pow(luaL_checknumber(L, 1), luaL_checknumber(L, 2)));
    return 1;
}

static int math_log10(lua_State *L)
{
    lua_pushnumber(L, log10(luaL_checknumber(L, 1)));
    return 1;
}

static int math_ldexp(lua_State *L)
{
    int e = (int) luaL_checkinteger(L, 2);
    lua_pushnumber(L, ldexp(luaL_checknumber(L, 1), e));
    return 1;
}

static int table_getn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushinteger(L, (lua_Integer) lua_rawlen(L, 1));
    return 1;
}

/* ---- making it ---- */

static const char *const kept[] = { "assert", "error",    "getmetatable", "ipairs",  "next",
                                    "pairs",  "rawequal", "rawget",       "rawlen",  "rawset",
                                    "select", "tonumber", "type",         "_VERSION" };

static const luaL_Reg own[] = { { "pcall", safe_pcall },
                                { "xpcall", safe_xpcall },
                                { "print", quiet_print },
                                { "tostring", plain_tostring } };

static const luaL_Reg math_shims[] = { { "mod", math_mod },
                                       { "pow", math_pow },
                                       { "log10", math_log10 },
                                       { "ldexp", math_ldexp },
                                       { NULL, NULL } };

static const char *const libraries[] = { "string", "table", "math", "coroutine", "utf8", "json" };

/* Field `name` of the table on top becomes fn with its old value as upvalue. */
static void wrap(lua_State *L, const char *name, lua_CFunction fn)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, fn, 1);
    lua_setfield(L, -2, name);
}

/* Opens one library of Lua's and leaves it on the stack. */
static void open_library(lua_State *L, lua_CFunction open)
{
    lua_pushcfunction(L, open);
    lua_call(L, 0, 1);
}

/* Basic functions: stack: libs -> libs. */
static void open_base(lua_State *L)
{
    lua_newtable(L);
    open_library(L, luaopen_base);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        lua_getfield(L, -1, kept[i]);
        lua_setfield(L, -3, kept[i]);
    }
    lua_getfield(L, -1, "setmetatable");
    lua_pushcclosure(L, safe_setmetatable, 1);
    lua_setfield(L, -3, "setmetatable");
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        lua_pushcfunction(L, own[i].func);
        lua_setfield(L, -2, own[i].name);
    }
    lua_setfield(L, -2, "base");
}

void sandbox_open(lua_State *L)
{
    lua_newtable(L);
    open_base(L);

    open_library(L, luaopen_string); /* sets the metatable of strings too */
    open_library(L, luaopen_table);
    strings_open(L); /* stack: libs, string, table */
    lua_pushcfunction(L, table_getn);
    lua_setfield(L, -2, "getn");
    lua_getfield(L, -1, "unpack");
    lua_getfield(L, -4, "base");
    lua_insert(L, -2);
    lua_setfield(L, -2, "unpack");
    lua_pop(L, 1);
    lua_setfield(L, -3, "table");
    lua_setfield(L, -2, "string");

    open_library(L, luaopen_math);
    luaL_setfuncs(L, math_shims, 0);
    lua_setfield(L, -2, "math");
    open_library(L, luaopen_utf8);
    strings_pay(L, "len");
    strings_pay(L, "codepoint");
    strings_pay(L, "offset");
    lua_setfield(L, -2, "utf8");
    open_library(L, luaopen_coroutine);
    wrap(L, "resume", safe_resume);
    wrap(L, "close", safe_resume);
    lua_setfield(L, -2, "coroutine");
    lua_newtable(L);
    jsonlib_open(L);
    lua_setfield(L, -2, "json");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &slot_registry[REG_LIBS]);

    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

/* Copies the members of table `from` (absolute index) into the table on top. */
static void copy_into(lua_State *L, int from)
{
    lua_pushnil(L);
    while (lua_next(L, from) != 0) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
}

void sandbox_env(lua_State *L)
{
    luaL_checkstack(L, 12, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &slot_registry[REG_LIBS]);
    int libs = lua_gettop(L);
    lua_newtable(L); /* the environment */
    int env = libs + 1;
    lua_getfield(L, libs, "base");
    lua_pushvalue(L, env);
    copy_into(L, env + 1);
    lua_settop(L, env);
    lua_newtable(L); /* what require() knows */
    for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
        lua_getfield(L, libs, libraries[i]);
        lua_newtable(L);
        copy_into(L, env + 2);
        if (strcmp(libraries[i], "json") != 0) {
            lua_pushvalue(L, -1);
            lua_setfield(L, env, libraries[i]);
        }
        lua_setfield(L, env + 1, libraries[i]);
        lua_settop(L, env + 1);
    }
    lua_pushcclosure(L, program_require, 1);
    lua_setfield(L, env, "require");
    lua_pushvalue(L, env);
    lua_setfield(L, env, "_G");
    lua_remove(L, libs);
}
