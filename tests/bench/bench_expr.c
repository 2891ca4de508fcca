/*
 * A condition over two properties: against the same in Lua 5.4, loaded once (its function gets both
 * values as arguments, the cheapest way in), and against the same in C over the same loading of
 * values. Then what compiling a rule's condition costs.
 */
#include "bench.h"

#include "expr/expr.h"

#include <string.h>

#ifdef BENCH_LUA
#include <lauxlib.h>
#include <lua.h>
#endif

struct bench {
    struct tpi_expr *expr;
    struct tpc_value values[2];
    uint32_t hits;
#ifdef BENCH_LUA
    lua_State *lua;
#endif
};

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    *ret_index = name.ptr[0] == 'h';
    *ret_type = name.ptr[0] == 'm' ? TPI_EXPR_TEXT : TPI_EXPR_NUMBER;
    return 0;
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct bench *b = user;
    *ret = b->values[index];
    return true;
}

static const struct tpi_expr_scope scope = { .resolve = resolve };
static const struct tpi_expr_host host = { .load = load };
static const char text[] = "temperature > 30 && humidity < 40";

static void compiled(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        b->values[0].as.d = 25.0 + (double) (i & 15);
        b->hits += tpi_expr_test(b->expr, &host, b, NULL) == 1;
    }
}

static void by_hand(void *user, uint32_t times)
{
    struct bench *b = user;
    tpi_expr_load_fn *volatile fn = load;
    for (uint32_t i = 0; i < times; i++) {
        struct tpc_value t, h;
        b->values[0].as.d = 25.0 + (double) (i & 15);
        b->hits += fn(b, 0, &t) && t.type == TPC_DOUBLE && t.as.d > 30 && fn(b, 1, &h) &&
                   h.type == TPC_INT && h.as.i < 40;
    }
}

#ifdef BENCH_LUA
/* Values come to Lua as they come to us: through load(), when the condition asks for them. */
static int lua_value(lua_State *l)
{
    struct tpc_value v;
    if (!load(lua_touserdata(l, lua_upvalueindex(1)),
              (uint32_t) lua_tointeger(l, lua_upvalueindex(2)), &v)) {
        lua_pushnil(l);
    } else if (v.type == TPC_INT) {
        lua_pushinteger(l, v.as.i);
    } else {
        lua_pushnumber(l, v.as.d);
    }
    return 1;
}

static void in_lua(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        b->values[0].as.d = 25.0 + (double) (i & 15);
        lua_pushvalue(b->lua, 1);
        bench_must(lua_pcall(b->lua, 0, 1, 0) == LUA_OK, "lua");
        b->hits += (uint32_t) lua_toboolean(b->lua, -1);
        lua_pop(b->lua, 1);
    }
}

/* Both values are pushed before, whether the condition asks for them or not: the least that Lua can
 * do. */
static void in_lua_pushed(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        b->values[0].as.d = 25.0 + (double) (i & 15);
        lua_pushvalue(b->lua, 1);
        lua_pushnumber(b->lua, b->values[0].as.d);
        lua_pushinteger(b->lua, b->values[1].as.i);
        bench_must(lua_pcall(b->lua, 2, 1, 0) == LUA_OK, "lua");
        b->hits += (uint32_t) lua_toboolean(b->lua, -1);
        lua_pop(b->lua, 1);
    }
}

static void against_lua(struct bench *b, const char *source, bench_fn *fn, const char *name)
{
    static const char *const names[] = { "temperature", "humidity" };
    b->lua = luaL_newstate();
    bench_must(b->lua != NULL, "lua");
    for (int i = 0; i < 2; i++) {
        lua_pushlightuserdata(b->lua, b);
        lua_pushinteger(b->lua, i);
        lua_pushcclosure(b->lua, lua_value, 2);
        lua_setglobal(b->lua, names[i]);
    }
    bench_must(luaL_dostring(b->lua, source) == LUA_OK, "lua");
    struct bench_pair best = bench_compare(compiled, fn, b, 1000000, 9);
    bench_line("expr_eval", best.ours, "ns", name, best.theirs / best.ours);
    lua_close(b->lua);
}
#endif

static void compile(void *user, uint32_t times)
{
    static const char rule[] =
        "mode in ('auto', 'eco') and temperature > 30 and humidity < 40 and "
        "round(temperature * 1.8 + 32, 1) between 80 and 120 or "
        "case when humidity is null then false else upper(mode) like 'X%' end";
    struct tpi_expr *e = NULL;
    (void) user;
    for (uint32_t i = 0; i < times; i++) {
        bench_must(tpi_expr_compile(NULL, TPC_STR(rule), &scope, TPI_EXPR_BOOL, NULL, &e) == 0,
                   "compiling");
        tpi_expr_destroy(e);
    }
}

int main(void)
{
    static struct bench b = { .values = { { .type = TPC_DOUBLE },
                                          { .type = TPC_INT, .as.i = 35 } } };
    bench_must(tpi_expr_compile(NULL, TPC_STR(text), &scope, TPI_EXPR_BOOL, NULL, &b.expr) == 0,
               "compiling");
#ifdef BENCH_LUA
    against_lua(&b,
                "local temperature, humidity = temperature, humidity "
                "return function() return temperature() > 30 and humidity() < 40 end",
                in_lua, "lua54");
    against_lua(&b,
                "return function(temperature, humidity) "
                "return temperature > 30 and humidity < 40 end",
                in_lua_pushed, "lua54_pushed");
#endif
    struct bench_pair best = bench_compare(compiled, by_hand, &b, 1000000, 9);
    bench_must(b.hits > 0, "the condition");
    bench_line("expr_eval", best.ours, "ns", "c_code", best.ours / best.theirs);
    double us = 1e18;
    for (int i = 0; i < 9; i++) {
        double round = bench_round(compile, NULL, 2000) / 1000;
        us = round < us ? round : us;
    }
    bench_line("rule_compile", us, "us", "limit_50", 50 / us);
    tpi_expr_destroy(b.expr);
    return 0;
}
