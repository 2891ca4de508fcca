/* The actions "enable" and "disable": an entity's document is put again, after the batch. */
#include "rules/action_type.h"

#include "data/member.h"
#include "rules/rules_state.h"

static int read(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                struct tpc_error *err)
{
    (void) err;
    struct tpc_str *kind = tpc_arena_take(arena, sizeof(*kind));
    if (kind == NULL) {
        return TPC_ENOMEM;
    }
    *kind = tpi_member_text(doc, "kind");
    a->more = kind;
    a->flag = a->type == &tpi_action_enable;
    return 0;
}

static int act(const struct tpi_act *act, const struct tpi_action *a, const struct tpi_deed *deed)
{
    struct tpi_rules *r = act->rules;
    const struct tpc_str *kind = a->more;
    struct tpi_rule_switch change = { .partition = act->partition,
                                      .tenant = act->tenant,
                                      .kind = *kind,
                                      .key = a->name,
                                      .enabled = a->flag,
                                      .by = act->by,
                                      .unix_ms = act->unix_ms,
                                      .again = act->again };
    (void) deed;
    return r->host.change != NULL ? r->host.change(r->host.user, act->worker, &change)
                                  : TPC_EUNSUPPORTED;
}

const struct tpi_action_type tpi_action_enable = {
    .name = "enable", .names = "key", .device_optional = true, .read = read, .act = act
};
const struct tpi_action_type tpi_action_disable = {
    .name = "disable", .names = "key", .device_optional = true, .read = read, .act = act
};
