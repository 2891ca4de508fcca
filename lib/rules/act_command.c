/* The actions "command" and "set". */
#include "rules/action_type.h"

#include "base/error.h"
#include "data/member.h"
#include "registry/device.h"
#include "rules/rules_state.h"

struct command {
    uint32_t timeout_ms; /* 0 = default, as the three below */
    uint32_t retries;
    uint32_t retry_delay_ms;
    uint32_t expire_ms;
    uint32_t priority;
};

static uint32_t read_priority(struct tpc_str name)
{
    if (tpc_str_equal(name, TPC_STR("high"))) {
        return TPC_PRIORITY_HIGH;
    }
    return tpc_str_equal(name, TPC_STR("low")) ? TPC_PRIORITY_LOW : TPC_PRIORITY_NORMAL;
}

static int read(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                struct tpc_error *err)
{
    (void) err;
    struct command *c = tpc_arena_take(arena, sizeof(*c));
    if (c == NULL) {
        return TPC_ENOMEM;
    }
    *c = (struct command){ .timeout_ms = (uint32_t) tpi_member_int(doc, "timeout", 0),
                           .retries = (uint32_t) tpi_member_int(doc, "retries", 0),
                           .retry_delay_ms = (uint32_t) tpi_member_int(doc, "retry_delay", 0),
                           .expire_ms = (uint32_t) tpi_member_int(doc, "expire", 0),
                           .priority = read_priority(tpi_member_text(doc, "priority")) };
    a->more = c;
    return 0;
}

static int read_set(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                    struct tpc_error *err)
{
    a->name = TPC_STR("set");
    return read(a, arena, doc, err);
}

/* Under the read lock. The target's model; NULL if it is not known now. */
static struct tpi_model *target_model(const struct tpi_action_scope *scope,
                                      const struct tpi_action *a)
{
    if (a->many != NULL || a->device.len == 0) {
        struct tpc_str key = a->many != NULL ? a->many->product : scope->product;
        struct tpi_product *p = tpi_registry_product(scope->registry, scope->tenant, key);
        return p != NULL ? p->model : NULL;
    }
    struct tpc_device *d = tpi_registry_find_in(scope->registry, scope->tenant_id, a->device);
    return d != NULL && d->product != NULL ? d->product->model : NULL;
}

/* Against the model, where that is known and all that it says, too. */
static int check(const struct tpi_action *a, const struct tpi_action_scope *scope,
                 struct tpc_error *err)
{
    if (tpi_fills_any(&a->params)) {
        return 0; /* what it says is known when it fires */
    }
    tpi_registry_read_lock(scope->registry);
    struct tpi_model *model = target_model(scope, a);
    model = model != NULL ? tpi_model_ref(model) : NULL;
    tpi_registry_read_unlock(scope->registry);
    if (model == NULL) {
        return 0;
    }
    struct tpc_value checked;
    int rc = tpi_model_service_check(model, a->name, &a->params, scope->arena, err, &checked);
    tpi_model_unref(model);
    if (rc != 0) {
        tpi_error_at(err,
                     rc == TPC_ENOENT && a->type->names != NULL ? a->type->names : a->type->params);
    }
    return rc;
}

static int act(const struct tpi_act *act, const struct tpi_action *a, const struct tpi_deed *deed)
{
    struct tpi_rules *r = act->rules;
    const struct command *c = a->more;
    struct tpi_rule_command command = { .id = deed->id,
                                        .source = act->device,
                                        .target = deed->target,
                                        .service = a->name,
                                        .params = deed->params,
                                        .by = act->by,
                                        .timeout_ms = c->timeout_ms,
                                        .retries = c->retries,
                                        .retry_delay_ms = c->retry_delay_ms,
                                        .expire_ms = c->expire_ms,
                                        .priority = c->priority,
                                        .again = act->again,
                                        .hops = act->hops + 1 };
    int rc = r->host.command(r->host.user, act->worker, &command);
    if (rc == 0) {
        TPI_METRIC_ADD(r->counters.commands, 1);
    }
    return rc;
}

const struct tpi_action_type tpi_action_command = { .name = "command",
                                                    .names = "service",
                                                    .params = "params",
                                                    .read = read,
                                                    .check = check,
                                                    .act = act };

const struct tpi_action_type tpi_action_set = {
    .name = "set", .params = "values", .read = read_set, .check = check, .act = act
};
