/* Actions about many devices: the host finds them after the batch, then each gets its own. */
#include "rules/action_type.h"

#include "base/alloc.h"
#include "data/msg.h"
#include "registry/device.h"
#include "rules/rules_state.h"
#include "rules/trace.h"

#include <string.h>

/* On its way to the host and back. Texts and the values that the action has follow. */
struct fan {
    struct tpi_fan head;
    struct tpi_act_kept kept;
    struct tpc_id id;
    size_t bytes;
    const uint8_t *params;
    size_t params_len;
};

static struct tpc_str put(char **at, struct tpc_str s)
{
    struct tpc_str copy = { *at, s.len };
    memcpy(*at, s.len > 0 ? s.ptr : "", s.len);
    *at += s.len;
    return copy;
}

int tpi_fan_ask(const struct tpi_act *act, const struct tpi_action *a, const struct tpi_deed *deed)
{
    struct tpi_rules *r = act->rules;
    struct tpi_buf params;
    if (r->host.fan == NULL) {
        return TPC_EUNSUPPORTED;
    }
    tpi_buf_init(&params, r->env->alloc, 0);
    int rc = tpi_value_encode(deed->params, &params);
    size_t bytes = sizeof(struct fan) + act->tenant.len + a->many->product.len +
                   a->many->select.len + a->many->group.len + params.len;
    struct fan *f = rc == 0 ? tpi_alloc(r->env->alloc, bytes) : NULL;
    if (f == NULL) {
        tpi_buf_fini(&params);
        return rc != 0 ? rc : TPC_ENOMEM;
    }
    char *at = (char *) (f + 1);
    *f = (struct fan){ .id = deed->id, .bytes = bytes, .params_len = params.len };
    f->head.partition = act->partition;
    f->head.tenant = put(&at, act->tenant);
    f->head.product = put(&at, a->many->product);
    f->head.select = put(&at, a->many->select);
    f->head.group = put(&at, a->many->group);
    f->params =
        (const uint8_t *) put(&at, (struct tpc_str){ (const char *) params.ptr, params.len }).ptr;
    tpi_buf_fini(&params);
    tpi_act_keep(act, deed->number, &f->kept);
    rc = r->host.fan(r->host.user, act->worker, &f->head);
    if (rc != 0) {
        tpi_fan_drop(r, &f->head);
    }
    return rc;
}

void tpi_fan_drop(struct tpi_rules *r, struct tpi_fan *fan)
{
    struct fan *f = (struct fan *) (void *) fan;
    if (f != NULL) {
        tpi_free(r->env->alloc, f, f->bytes);
    }
}

/* Chains branch here: so that their ends are not too many, each doubling is a link. */
static uint32_t links_of(uint32_t count)
{
    uint32_t n = 0;
    while (n < 32 && (uint64_t) 1 << n < count) {
        n++;
    }
    return n;
}

/* Each has an id of its own; a failure is that of the action. */
static void do_all(struct tpi_act *act, struct tpi_action *a, const struct fan *f,
                   const uint64_t *devices, uint32_t count)
{
    struct tpi_rules *r = act->rules;
    struct tpc_value params = { .type = TPC_NULL };
    struct tpi_deed deed = { .number = f->kept.action, .params = &params };
    struct tpc_bytes bytes = { f->params, f->params_len };
    struct tpc_arena *arena = r->workers[act->worker].fan_arena;
    tpc_arena_reset(arena);
    int rc = tpi_value_decode(bytes, arena, NULL, &params);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        deed.target = tpi_registry_by_id(r->host.registry, devices[i]);
        if (deed.target == NULL ||
            atomic_load_explicit(&deed.target->deleted, memory_order_relaxed)) {
            continue; /* it went since it was found */
        }
        deed.id = f->id;
        tpc_arena_reset(r->workers[act->worker].vars_arena);
        rc = tpi_act_id_of(&deed.id, devices[i]);
        if (rc == 0) {
            (void) tpi_act_do(act, a, &deed);
        }
    }
    if (rc != 0) {
        tpi_act_failed(act, a, f->kept.action, rc, false, NULL);
    }
}

void tpi_fan_done(struct tpi_rules *r, uint32_t worker, struct tpi_fan *fan, int code,
                  const uint64_t *devices, uint32_t count, bool more)
{
    struct fan *f = (struct fan *) (void *) fan;
    struct rule_worker *w = &r->workers[worker];
    struct tpi_act act;
    tpi_registry_read_lock(r->host.registry);
    tpi_rules_begin(r, worker);
    struct tpi_actions *actions = tpi_act_find(r, worker, &f->kept, &act);
    if (actions == NULL) {
        TPI_METRIC_ADD(r->counters.fans_dropped, 1);
    } else {
        struct tpi_action *a = &actions->items[f->kept.action];
        struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
        act.from.scratch = &scratch;
        bool entered = tpi_trace_enter(&w->trace, act.tally, 0);
        if (entered) {
            tpi_trace_decide(w->trace, TPC_STR(""), act.unix_ms, "found", 0,
                             "%u devices are found%s", (unsigned) count,
                             more ? ", and there are more" : "");
        }
        if (more) {
            TPI_METRIC_ADD(r->counters.fans_full, 1);
            tpi_act_failed(&act, a, f->kept.action, TPC_ETOOBIG, false, NULL);
        }
        if (code != 0) {
            tpi_act_failed(&act, a, f->kept.action, code, false, NULL);
        } else {
            act.hops += links_of(count);
            do_all(&act, a, f, devices, count);
        }
        tpi_trace_leave(&w->trace, entered);
    }
    tpi_rules_end(r, worker);
    tpi_registry_read_unlock(r->host.registry);
    tpi_fan_drop(r, fan);
}
