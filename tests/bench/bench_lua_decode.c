/*
 * lua_decode: a 16-byte frame to 6 values through the codec with all its limits, against a bare
 * lua_pcall of the same function in a plain Lua state: once whose result nobody reads, once with the
 * six values taken out of the table by lua_next().
 */
#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <tpcore/modules.h>
#include <tpcore/ext/codec.h>

#include "base/env.h"

enum { BATCH = 256, TIMES = 200000, ROUNDS = 9 };

static const char script[] =
    "function decode(bytes, ctx)\n"
    "  local u, i, p, e, f, s = string.unpack('>I2I2i4I4I2I2', bytes)\n"
    "  return {voltage = u / 10, current = i / 1000, power = p, energy = e, frequency = f / 100,\n"
    "          status = s}\n"
    "end\n";

static const uint8_t payload[16] = { 0x08, 0xFC, 0x13, 0x88, 0x00, 0x00, 0x04, 0x4C,
                                     0x00, 0x01, 0xE2, 0x40, 0x13, 0x88, 0x00, 0x01 };

struct run {
    const struct tpc_codec_ops *ops;
    void *self;
    void *program;
    struct tpc_decode_sink sink;
    struct tpc_frame frames[BATCH];
    uint64_t points;
    lua_State *L;
    int decode;
};

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    (void) ctx;
    (void) fmt;
    return code;
}

static void host_count(void *ctx, const char *metric, uint64_t n)
{
    (void) ctx;
    (void) metric;
    (void) n;
}

static int on_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    (void) user;
    (void) frame;
    return head->kind == TPC_MSG_TELEMETRY ? 0 : TPC_EINVAL;
}

static int on_point(void *user, struct tpc_str key, const struct tpc_value *v, int64_t unix_ms)
{
    struct run *r = user;
    (void) unix_ms;
    r->points += key.len > 0 && v->type != TPC_NULL;
    return 0;
}

static int on_end(void *user)
{
    (void) user;
    return 0;
}

static void on_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    (void) user;
    (void) frame;
    fprintf(stderr, "refused: %s\n", err->text);
    exit(1);
}

static void ours(void *user, uint32_t times)
{
    struct run *r = user;
    for (uint32_t i = 0; i < times; i += BATCH) {
        (void) r->ops->decode(r->self, 0, r->program, r->frames, BATCH, sizeof(r->frames[0]),
                              &r->sink);
        tpc_arena_reset(r->sink.arena);
    }
}

static void bare(void *user, uint32_t times)
{
    struct run *r = user;
    uint32_t n = (times + BATCH - 1) / BATCH * BATCH;
    for (uint32_t i = 0; i < n; i++) {
        lua_rawgeti(r->L, LUA_REGISTRYINDEX, r->decode);
        lua_pushlstring(r->L, (const char *) payload, sizeof(payload));
        lua_pushnil(r->L);
        bench_must(lua_pcall(r->L, 2, 1, 0) == LUA_OK, "bare call");
        lua_settop(r->L, 0);
    }
}

static void bare_read(void *user, uint32_t times)
{
    struct run *r = user;
    uint32_t n = (times + BATCH - 1) / BATCH * BATCH;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        lua_rawgeti(r->L, LUA_REGISTRYINDEX, r->decode);
        lua_pushlstring(r->L, (const char *) payload, sizeof(payload));
        lua_pushnil(r->L);
        bench_must(lua_pcall(r->L, 2, 1, 0) == LUA_OK, "bare call");
        lua_pushnil(r->L);
        while (lua_next(r->L, 1) != 0) {
            r->points += lua_tostring(r->L, -2) != NULL;
            sum += lua_tonumber(r->L, -1);
            lua_pop(r->L, 1);
        }
        lua_settop(r->L, 0);
    }
    bench_must(sum > 0, "bare read");
}

static void open_bare(struct run *r)
{
    r->L = luaL_newstate();
    bench_must(r->L != NULL, "state");
    luaL_openlibs(r->L);
    bench_must(luaL_dostring(r->L, script) == LUA_OK, "script");
    lua_getglobal(r->L, "decode");
    r->decode = luaL_ref(r->L, LUA_REGISTRYINDEX);
}

static void open_ours(struct run *r, struct tpc_host *host)
{
    static const struct tpc_value none = { .type = TPC_MAP };
    static const struct tpc_member config[] = {
        { TPC_STR_INIT("script"), { TPC_TEXT, 0, sizeof(script) - 1, { .text = script } } }
    };
    struct tpc_codec_source source = { .size = sizeof(source), .product = TPC_STR("meter") };
    source.config = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as = { .members = config } };
    r->ops = TPC_LIST_AT(struct tpc_interface, tpc_module_lua()->interfaces, 0)->ops;
    r->self = calloc(1, r->ops->instance_size);
    bench_must(r->self != NULL && r->ops->init(r->self, host, NULL, &none, 1) == 0, "init");
    bench_must(r->ops->compile(r->self, &source, NULL, &r->program) == 0, "compile");
    r->sink = (struct tpc_decode_sink){ .size = sizeof(r->sink),
                                        .user = r,
                                        .begin = on_begin,
                                        .point = on_point,
                                        .end = on_end,
                                        .refuse = on_refuse };
    bench_must(tpc_arena_create(NULL, 0, &r->sink.arena) == 0, "arena");
    for (int i = 0; i < BATCH; i++) {
        r->frames[i].size = sizeof(r->frames[i]);
        r->frames[i].payload = (struct tpc_bytes){ payload, sizeof(payload) };
        r->frames[i].topic = TPC_STR("meters/m1/up");
    }
}

int main(void)
{
    static struct run r;
    struct tpc_host host = { .iface = TPC_IFACE(struct tpc_host, 1),
                             .allocator = tpc_allocator_default(),
                             .clock = tpi_clock_system(),
                             .files = tpi_files_system(),
                             .fail = host_fail,
                             .count = host_count };
    open_bare(&r);
    bare(&r, TIMES / 10); /* its heap has its final place before ours is laid beside it */
    open_ours(&r, &host);
    ours(&r, BATCH);
    bench_must(r.points == BATCH * 6, "decode");

    struct bench_pair best = bench_compare(ours, bare, &r, TIMES, ROUNDS);
    bench_line("lua_decode", best.ours, "ns/frame", "bare lua_pcall", best.ours / best.theirs);
    best = bench_compare(ours, bare_read, &r, TIMES, ROUNDS);
    bench_line("lua_decode_read", best.ours, "ns/frame", "bare lua_pcall and lua_next",
               best.ours / best.theirs);
    lua_close(r.L);
    r.ops->release(r.self, r.program);
    r.ops->fini(r.self);
    free(r.self);
    tpc_arena_destroy(r.sink.arena);
    return 0;
}
