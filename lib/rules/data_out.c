/* Where rows of data rules go to besides actions: events, and values of devices. */
#include "registry/device.h"
#include "rules/data_run.h"
#include "rules/data_trace.h"

void tpi_run_warn(struct run *x, const char *what)
{
    if (!atomic_exchange_explicit(&x->d->warned, true, memory_order_relaxed)) {
        tpi_log(x->r->env, TPC_LOG_WARN, "rules", "%.*s: %s", (int) x->d->by.len, x->d->by.ptr,
                what);
    }
}

/* rc: whether it has an id. */
static void append(struct run *x, const struct tpi_act *act, const struct tpi_rule_message *m,
                   int rc, const char *what)
{
    struct tpi_rules *r = x->r;
    rc = rc != 0 ? rc : r->host.message(r->host.user, x->worker, m);
    if (r->workers[x->worker].trace != NULL) {
        struct tpi_data_trace at = tpi_run_trace(x);
        struct tpi_trace_action told = { what, m->name, x->target->key, m->params, rc, NULL };
        tpi_trace_action(at.trace, tpi_data_trace_key(&at), at.unix_ms, &told);
    }
    if (rc == 0) {
        TPI_METRIC_ADD(r->counters.messages, 1);
    } else if (rc != TPC_EEXIST) {
        TPI_METRIC_ADD(r->counters.refused, 1);
        tpi_tally_failed(act->tally, tpi_unix_ms(r->env), TPI_LEDGER_EVENT, rc, x->target->id);
        tpi_run_warn(x, tpc_error_name(rc));
    }
}

void tpi_run_event(struct run *x, const struct tpi_act *act, const struct tpc_value *row)
{
    struct tpi_rule_message m = { .device = x->target,
                                  .partition = x->target->partition,
                                  .kind = TPC_MSG_EVENT,
                                  .name = x->d->event,
                                  .params = row,
                                  .by = x->d->by,
                                  .again = act->again,
                                  .hops = act->hops + 1 };
    int rc = tpi_rules_action_id(act->rule, act->revision, act->partition, act->offset,
                                 TPI_ACTIONS_MAX, &m.id);
    append(x, act, &m, rc, "event");
}

void tpi_run_values(struct run *x, const struct tpi_act *act, const struct tpc_value *row)
{
    struct tpc_member known[TPI_SQL_MAX_ITEMS];
    const struct tpi_model *model = x->target->product != NULL ? x->target->product->model : NULL;
    struct tpc_value values = { .type = TPC_MAP, .as.members = known };
    for (size_t i = 0; model != NULL && i < row->len && values.len < TPI_SQL_MAX_ITEMS; i++) {
        const struct tpc_member *m = &row->as.members[i];
        if (m->value.type != TPC_NULL && tpi_model_find(model, m->key, NULL) >= 0) {
            known[values.len++] = *m;
        }
    }
    if (values.len == 0) {
        return;
    }
    struct tpi_rule_message m = { .device = x->target,
                                  .partition = x->target->partition,
                                  .kind = TPC_MSG_TELEMETRY,
                                  .params = &values,
                                  .by = x->d->by,
                                  .hops = act->hops + 1,
                                  .unix_ms = x->msg != NULL ? x->msg->unix_ms : x->end_ms };
    int rc = tpi_rules_action_id(act->rule, act->revision, act->partition, act->offset,
                                 TPI_ACTIONS_MAX + 1, &m.id);
    append(x, act, &m, rc, "values");
}
