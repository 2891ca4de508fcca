/*
 * rule_lua: one condition of a rule as lua('..', x, y), with all that the sandbox does, against the
 * same condition in the language of expressions.
 */
#include "bench.h"

#include <string.h>
#include <tpcore/modules.h>

#include "base/env.h"
#include "rules/rules_state.h"
#include "rules/script.h"

enum { TIMES = 50000, ROUNDS = 7 };

static const char script[] =
    "lua('local t, h = ... return t > 30 and h < 40', temperature, humidity)";
static const char plain[] = "temperature > 30 && humidity < 40";

struct bench {
    const struct tpc_codec_ops *ops;
    void *self;
    struct rule_worker worker;
    struct tpi_rules rules;
    struct tpi_expr *script, *plain;
    struct tpc_value values[2];
    uint32_t hits;
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

static int find_codec(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                      void **ret_self)
{
    struct bench *b = user;
    (void) name;
    *ret_ops = b->ops;
    *ret_self = b->self;
    return 0;
}

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

static bool run_script(void *user, struct tpi_expr_script *s, const struct tpc_value *args,
                       uint32_t count, struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    struct bench *b = user;
    return tpi_script_call(&b->rules, 0, s, args, count, scratch, ret);
}

static const struct tpi_expr_host host = { .load = load, .script = run_script };

static void test(struct bench *b, const struct tpi_expr *e, uint32_t times)
{
    struct tpi_expr_scratch scratch = { b->worker.texts, sizeof(b->worker.texts), 0, 0 };
    for (uint32_t i = 0; i < times; i++) {
        b->values[0].as.d = 25.0 + (double) (i & 15);
        b->hits += tpi_expr_test(e, &host, b, &scratch) == 1;
    }
}

static void in_lua(void *user, uint32_t times)
{
    struct bench *b = user;
    test(b, b->script, times);
}

static void in_ours(void *user, uint32_t times)
{
    struct bench *b = user;
    test(b, b->plain, times);
}

int main(void)
{
    static struct bench b;
    static struct tpi_env env;
    struct tpi_registry *registry = NULL;
    const struct tpc_interface *i =
        TPC_LIST_AT(struct tpc_interface, tpc_module_lua()->interfaces, 0);
    tpi_env_default(&env);
    const struct tpc_host codec_host = { .iface = TPC_IFACE(struct tpc_host, 1),
                                         .allocator = env.alloc,
                                         .clock = env.clock,
                                         .random = env.random,
                                         .files = env.files,
                                         .fail = host_fail,
                                         .count = host_count };
    const struct tpc_value none = { .type = TPC_NULL };
    b.ops = i->ops;
    b.self = calloc(1, b.ops->instance_size);
    bench_must(b.self != NULL && b.ops->init(b.self, &codec_host, NULL, &none, 1) == 0, "codec");
    struct tpi_registry_host rh = { .user = &b, .partitions = 1, .codec_find = find_codec };
    bench_must(tpi_registry_create(&env, &rh, NULL, &registry) == 0, "registry");
    b.rules.env = &env;
    b.rules.workers = &b.worker;
    bench_must(tpc_arena_create(env.alloc, 0, &b.worker.script_arena) == 0, "arena");
    b.values[0] = b.values[1] = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = 35 };
    struct tpi_expr_scope scope = { .resolve = resolve,
                                    .features = TPI_EXPR_SCRIPT,
                                    .script = tpi_script_open,
                                    .script_user = registry };
    bench_must(
        tpi_expr_compile(env.alloc, TPC_STR(script), &scope, TPI_EXPR_BOOL, NULL, &b.script) == 0,
        "script");
    bench_must(tpi_expr_compile(env.alloc, TPC_STR(plain), &scope, TPI_EXPR_BOOL, NULL, &b.plain) ==
                   0,
               "expression");
    in_lua(&b, 16);
    uint32_t hits = b.hits;
    in_ours(&b, 16);
    bench_must(hits == 10 && b.hits == 20, "both say the same");
    struct bench_pair p = bench_compare(in_lua, in_ours, &b, TIMES, ROUNDS);
    bench_line("rule_lua", p.ours, "ns", "expression", p.ours / p.theirs);
    tpi_expr_destroy(b.script);
    tpi_expr_destroy(b.plain);
    tpi_registry_destroy(registry);
    tpc_arena_destroy(b.worker.script_arena);
    b.ops->fini(b.self);
    free(b.self);
    return 0;
}
