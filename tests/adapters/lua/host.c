#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

static int on_fail(void *ctx, int code, const char *fmt, ...) TPC_PRINTF(3, 4);

static int on_fail(void *ctx, int code, const char *fmt, ...)
{
    struct lua_host *h = ctx;
    (void) fmt;
    h->fail_code = code;
    return code;
}

static void on_count(void *ctx, const char *metric, uint64_t n)
{
    static const char *const names[] = { "errors", "step_limit_hits", "deadline_hits",
                                         "memory_limit_hits" };
    struct lua_host *h = ctx;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(metric, names[i]) == 0) {
            h->counts[i] += (int64_t) n;
        }
    }
}

int lua_host_open(struct lua_host *h, const struct tpc_allocator *a, const struct tpc_clock *clock,
                  const char *options)
{
    const struct tpc_module *module = tpc_module_lua();
    struct tpc_value cfg = { .type = TPC_MAP };
    memset(h, 0, sizeof(*h));
    tk_clock_init(&h->still, 1700000000000);
    h->base.iface.size = sizeof(h->base);
    h->base.allocator = a != NULL ? a : tpc_allocator_default();
    h->base.clock = clock != NULL ? clock : tpi_clock_system();
    h->base.files = tpi_files_system();
    h->base.fail = on_fail;
    h->base.count = on_count;
    tk_ok(tpc_arena_create(NULL, 0, &h->arena));
    cs_sink_init(&h->sink, h->arena);
    if (options != NULL) {
        tk_ok(tpc_json_parse(h->arena, tpc_str_from(options), 0, NULL, &cfg));
    }
    ck_assert_uint_eq(module->interfaces.count, 1);
    h->ops = TPC_LIST_AT(struct tpc_interface, module->interfaces, 0)->ops;
    h->self = calloc(1, h->ops->instance_size);
    ck_assert_ptr_nonnull(h->self);
    int rc = h->ops->init(h->self, &h->base, h, &cfg, 1);
    if (rc != 0) {
        free(h->self);
        h->self = NULL;
        h->arena = tpc_arena_destroy(h->arena);
    }
    return rc;
}

void lua_host_close(struct lua_host *h)
{
    if (h->self != NULL) {
        h->ops->release(h->self, h->program);
        h->ops->fini(h->self);
        free(h->self);
        h->self = NULL;
    }
    h->arena = tpc_arena_destroy(h->arena);
}

int lua_host_compile(struct lua_host *h, const char *script, const char *down, void **ret)
{
    struct tpc_member m[3] = {
        { TPC_STR_INIT("type"), { TPC_TEXT, 0, 3, { .text = "lua" } } },
        { TPC_STR_INIT("script"), { TPC_TEXT, 0, strlen(script), { .text = script } } },
        { TPC_STR_INIT("down"),
          { TPC_TEXT, 0, down != NULL ? strlen(down) : 0, { .text = down } } },
    };
    struct tpc_codec_source source = { .size = sizeof(source), .product = TPC_STR("thermo") };
    source.config.type = TPC_MAP;
    source.config.len = down != NULL ? 3 : 2;
    source.config.as.members = m;
    return h->ops->compile(h->self, &source, &h->err, ret);
}

const char *lua_host_run(struct lua_host *h, const char *script, uint16_t kind,
                         struct tpc_bytes payload)
{
    void *program = NULL;
    int rc = lua_host_compile(h, script, NULL, &program);
    ck_assert_msg(rc == 0, "%s line %u: %s", h->err.path, h->err.line, h->err.text);
    h->ops->release(h->self, h->program);
    h->program = program;
    return cs_decode(h->ops, h->self, program, &h->sink, kind, payload);
}

const char *lua_host_eval(struct lua_host *h, const char *expr)
{
    char script[4096];
    snprintf(script, sizeof(script), "function decode(b, ctx) return {r = %s} end", expr);
    return lua_host_run(h, script, 0, TPC_BYTES("key=value, n=17"));
}
