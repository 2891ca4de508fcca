/*
 * A condition over two properties: against the same in Lua 5.4, compiled before, and against the
 * same in C over the same loading of values. Lua twice: the condition as it stands, over globals
 * that are set before; and as a function whose arguments are the values.
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
    *ret_type = TPI_EXPR_NUMBER;
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
static void call_lua(struct bench *b, int args)
{
    bench_must(lua_pcall(b->lua, args, 1, 0) == LUA_OK, "lua");
    b->hits += (uint32_t) lua_toboolean(b->lua, -1);
    lua_pop(b->lua, 1);
}

/* The chunk is the condition as it stands; its names are globals, set before it runs. */
static void in_lua(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        b->values[0].as.d = 25.0 + (double) (i & 15);
        lua_pushnumber(b->lua, b->values[0].as.d);
        lua_setglobal(b->lua, "temperature");
        lua_pushinteger(b->lua, b->values[1].as.i);
        lua_setglobal(b->lua, "humidity");
        lua_pushvalue(b->lua, 1);
        call_lua(b, 0);
    }
}

/* Both values are arguments of a function around the condition: the least that Lua can do. */
static void in_lua_pushed(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        b->values[0].as.d = 25.0 + (double) (i & 15);
        lua_pushvalue(b->lua, 1);
        lua_pushnumber(b->lua, b->values[0].as.d);
        lua_pushinteger(b->lua, b->values[1].as.i);
        call_lua(b, 2);
    }
}

static void against_lua(struct bench *b, const char *source, bench_fn *fn, const char *bench,
                        const char *name)
{
    b->lua = luaL_newstate();
    bench_must(b->lua != NULL && luaL_loadstring(b->lua, source) == LUA_OK, "lua");
    if (fn == in_lua_pushed) {
        bench_must(lua_pcall(b->lua, 0, 1, 0) == LUA_OK, "lua");
    }
    struct bench_pair best = bench_compare(compiled, fn, b, 1000000, 9);
    bench_line(bench, best.ours, "ns", name, best.theirs / best.ours);
    lua_close(b->lua);
}
#endif

int main(void)
{
    static struct bench b = { .values = { { .type = TPC_DOUBLE },
                                          { .type = TPC_INT, .as.i = 35 } } };
    bench_must(tpi_expr_compile(NULL, TPC_STR(text), &scope, TPI_EXPR_BOOL, NULL, &b.expr) == 0,
               "compiling");
#ifdef BENCH_LUA
    against_lua(&b, "return temperature > 30 and humidity < 40", in_lua, "expr_eval", "lua54");
    against_lua(&b,
                "return function(temperature, humidity) "
                "return temperature > 30 and humidity < 40 end",
                in_lua_pushed, "expr_eval_arguments", "lua54_arguments");
#endif
    struct bench_pair best = bench_compare(compiled, by_hand, &b, 1000000, 9);
    bench_must(b.hits > 0, "the condition");
    bench_line("expr_eval_c", best.ours, "ns", "c_code", best.ours / best.theirs);
    tpi_expr_destroy(b.expr);
    return 0;
}
