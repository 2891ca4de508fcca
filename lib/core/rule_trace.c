/* A running rule is followed. */
#include <string.h>

#include "core/core.h"
#include "registry/device.h"
#include "rules/follow.h"

enum { LOOKS = 100, MS = 60000 };

struct tpc_rule_trace {
    struct tpc_core *core;
    struct tpi_trace *trace;
    struct tpc_str tenant, kind, key; /* behind this struct */
    size_t bytes;
};

const char *tpc_rule_step_name(uint32_t what)
{
    static const char *const names[] = { "?",         "input",    "look",   "pass",
                                         "condition", "decision", "window", "row",
                                         "action",    "refused",  "end" };
    return names[what < sizeof(names) / sizeof(names[0]) ? what : 0];
}

static struct tpc_str keep(char **p, struct tpc_str s)
{
    struct tpc_str ret = { *p, s.len };
    memcpy(*p, s.len > 0 ? s.ptr : "", s.len);
    *p += s.len;
    return ret;
}

static struct tpc_rule_trace *make(struct tpc_core *core, struct tpi_trace *trace,
                                   const struct tpc_rule_trace_options *o)
{
    size_t bytes = o->tenant.len + o->kind.len + o->key.len;
    struct tpc_rule_trace *t = tpi_alloc(core->env.alloc, sizeof(*t) + bytes);
    if (t == NULL) {
        return NULL;
    }
    char *p = (char *) (t + 1);
    *t = (struct tpc_rule_trace){ .core = core, .trace = trace, .bytes = bytes };
    t->tenant = keep(&p, o->tenant);
    t->kind = keep(&p, o->kind);
    t->key = keep(&p, o->key);
    return t;
}

static int find_device(struct tpc_core *core, const struct tpc_rule_trace_options *o,
                       uint64_t *ret_id)
{
    int rc = 0;
    if (o->device.len > 0) {
        tpi_registry_read_lock(core->registry);
        const struct tpc_device *d = tpi_registry_find(core->registry, o->tenant, o->device);
        *ret_id = d != NULL ? d->id : 0;
        rc = d != NULL ? 0 : TPC_ENOENT;
        tpi_registry_read_unlock(core->registry);
    }
    return rc;
}

static int begin(struct tpc_core *core, const struct tpc_rule_trace_options *o,
                 struct tpc_rule_trace **ret)
{
    struct tpi_trace_options options = { .looks = o->looks > 0 ? o->looks : LOOKS,
                                         .ms = o->ms > 0 ? o->ms : MS };
    struct tpi_trace *trace = NULL;
    int rc = find_device(core, o, &options.device);
    if (rc != 0) {
        return tpi_fail(rc, "rules", "no device '%.*s'", (int) o->device.len, o->device.ptr);
    }
    rc = tpi_trace_create(&core->env, &options, &trace);
    struct tpc_rule_trace *t = rc == 0 ? make(core, trace, o) : NULL;
    if (t == NULL) {
        tpi_trace_unref(trace);
        return tpi_fail(TPC_ENOMEM, "rules", "out of memory");
    }
    rc = tpi_rules_trace(core->rules, o->tenant, o->kind, o->key, trace);
    if (rc != 0) {
        tpi_trace_unref(trace);
        tpi_free(core->env.alloc, t, sizeof(*t) + t->bytes);
        return tpi_fail(rc, "rules", "no %.*s '%.*s'", (int) o->kind.len, o->kind.ptr,
                        (int) o->key.len, o->key.ptr);
    }
    *ret = t;
    return 0;
}

int tpc_rule_trace_open(struct tpc_core *core, const struct tpc_rule_trace_options *options,
                        struct tpc_rule_trace **ret)
{
    if (core == NULL || options == NULL || options->size < sizeof(*options) || ret == NULL ||
        options->kind.len == 0 || options->key.len == 0) {
        return tpi_fail(TPC_EINVAL, "rules", "it needs a core, a kind and a key");
    }
    struct tpc_rule_trace_options o = *options;
    o.tenant = o.tenant.len > 0 ? o.tenant : TPC_STR("main");
    int rc = tpi_fail_end(tpi_core_entities(core, tpi_fail_begin()));
    return rc != 0 ? rc : begin(core, &o, ret);
}

int tpc_rule_trace_take(struct tpc_rule_trace *t, tpc_rule_step_fn *fn, void *user,
                        uint64_t *ret_lost)
{
    if (t == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "rules", "it needs a trace and a function");
    }
    bool over = tpi_trace_over(t->trace); /* before: what is told last is taken */
    int rc = tpi_trace_take(t->trace, fn, user);
    if (ret_lost != NULL) {
        *ret_lost = tpi_trace_lost(t->trace);
    }
    return rc == 0 && over ? 1 : rc;
}

void tpc_rule_trace_close(struct tpc_rule_trace *t)
{
    if (t == NULL) {
        return;
    }
    struct tpc_core *core = t->core;
    tpi_trace_end(t->trace);
    tpi_rules_untrace(core->rules, t->tenant, t->kind, t->key, t->trace);
    tpi_trace_unref(t->trace);
    tpi_free(core->env.alloc, t, sizeof(*t) + t->bytes);
}
