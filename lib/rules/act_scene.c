/* The action "run": what another scene does is done inside the same batch. */
#include "rules/action_type.h"

#include "data/member.h"
#include "rules/rules_state.h"

static int read(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                struct tpc_error *err)
{
    (void) arena;
    (void) err;
    a->flag = tpi_member_bool(doc, "ask", false);
    return 0;
}

static int act(const struct tpi_act *act, const struct tpi_action *a, const struct tpi_deed *deed)
{
    struct tpi_rules *r = act->rules;
    struct tpi_scene *s = tpi_rules_scene(r, act->tenant_id, a->name);
    uint32_t *runs = &r->workers[act->worker].runs;
    if (s == NULL || !s->live) {
        return TPC_ENOENT;
    }
    if (!s->enabled || !s->condition.good) {
        return TPC_ESTATE;
    }
    if (act->parent == NULL) {
        *runs = 0;
    }
    if (*runs == TPI_RULES_MAX_RUNS) { /* each may run many: links alone are no limit */
        return TPC_ETOOBIG;
    }
    ++*runs;
    struct tpi_act inner = *act;
    inner.rule = s->id;
    inner.revision = s->revision;
    inner.document = s->actions.document;
    inner.by = s->by;
    inner.device = deed->target;
    inner.tally = &s->ledger.workers[act->worker];
    inner.row = NULL;
    inner.hops = act->hops + 1;
    inner.parent = act;
    inner.cause = deed->id;
    inner.first = 0;
    tpi_scene_act(&inner, s, a->flag);
    return 0;
}

const struct tpi_action_type tpi_action_run = {
    .name = "run", .names = "scene", .device_optional = true, .read = read, .act = act
};
