/* The actions that are messages in the log: "notify", "alert", "clear". */
#include "rules/action_type.h"

#include "data/member.h"
#include "registry/device.h"
#include "rules/rules_state.h"

static int append(const struct tpi_act *act, const struct tpi_action *a,
                  const struct tpi_deed *deed, uint16_t kind, const struct tpc_value *params)
{
    struct tpi_rules *r = act->rules;
    struct tpi_rule_message message = { .id = deed->id,
                                        .device = deed->target,
                                        .partition = deed->target != NULL ? deed->target->partition
                                                                          : act->partition,
                                        .kind = kind,
                                        .name = a->name,
                                        .params = params,
                                        .by = act->by,
                                        .again = act->again,
                                        .has_source = act->device != NULL && !act->waited,
                                        .source_partition = act->partition,
                                        .source_offset = act->offset };
    int rc = r->host.message(r->host.user, act->worker, &message);
    if (rc == 0) {
        TPI_METRIC_ADD(r->counters.messages, 1);
    }
    return rc;
}

static int act_notify(const struct tpi_act *act, const struct tpi_action *a,
                      const struct tpi_deed *deed)
{
    const struct tpc_value *row = deed->params->type == TPC_NULL ? act->row : NULL;
    return append(act, a, deed, TPC_MSG_NOTIFY, row != NULL ? row : deed->params);
}

static int act_alert(const struct tpi_act *act, const struct tpi_action *a,
                     const struct tpi_deed *deed)
{
    return append(act, a, deed, TPC_MSG_ALERT, deed->params);
}

/* What the message says: the state, and of an alert its severity and text. */
static int say(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
               struct tpc_str state)
{
    static const char *const said[] = { "severity", "text" };
    struct tpc_member *m = tpc_arena_take(arena, 3 * sizeof(*m));
    if (m == NULL) {
        return TPC_ENOMEM;
    }
    uint32_t n = 0;
    m[n++] = (struct tpc_member){ TPC_STR("state"),
                                  { .type = TPC_TEXT, .len = state.len, .as.text = state.ptr } };
    for (size_t i = 0; i < 2; i++) {
        const struct tpc_value *v = tpi_member(doc, said[i]);
        if (v != NULL) {
            m[n++] = (struct tpc_member){ tpc_str_from(said[i]), *v };
        }
    }
    a->params = (struct tpc_value){ .type = TPC_MAP, .len = n, .as.members = m };
    return 0;
}

static int read_alert(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                      struct tpc_error *err)
{
    (void) err;
    return say(a, arena, doc, TPC_STR("raised"));
}

static int read_clear(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                      struct tpc_error *err)
{
    (void) err;
    return say(a, arena, doc, TPC_STR("cleared"));
}

const struct tpi_action_type tpi_action_notify = { .name = "notify",
                                                   .names = "handler",
                                                   .params = "params",
                                                   .device_optional = true,
                                                   .act = act_notify };
const struct tpi_action_type tpi_action_alert = {
    .name = "alert", .names = "key", .read = read_alert, .act = act_alert
};
const struct tpi_action_type tpi_action_clear = {
    .name = "clear", .names = "key", .read = read_clear, .act = act_alert
};
