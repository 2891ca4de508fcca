/* What expressions of data rules see: of a message, of a window, of a row. */
#include "registry/device.h"
#include "rules/data_run.h"
#include "rules/script.h"

static bool give_text(struct tpc_str s, struct tpc_value *ret)
{
    *ret = (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
    return true;
}

/* Of the message alone. */
static bool load_message(void *user, uint32_t id, struct tpc_value *ret)
{
    const struct run *x = user;
    if (id == TPI_NAME_DEVICE) {
        return give_text(x->device->key, ret);
    }
    for (uint32_t i = x->msg->point_count; i > 0; i--) {
        const struct tpc_point *p = tpc_msg_point(x->msg, i - 1);
        if (p->property == id) {
            *ret = p->value;
            return true;
        }
    }
    return false;
}

static bool load_latest(const struct run *x, uint32_t id, struct tpc_value *ret)
{
    int index = tpi_model_find_id(x->device->product->model, (uint16_t) id);
    return index >= 0 && tpi_device_latest_peek(x->device, (uint32_t) index, ret, NULL) == 0;
}

/* Of a group: what the message does not say is as it was. */
static bool load_group(void *user, uint32_t id, struct tpc_value *ret)
{
    return load_message(user, id, ret) || load_latest(user, id, ret);
}

static struct tpc_value call_value(const struct run *x, uint32_t call)
{
    uint32_t function = x->d->functions[call];
    if (function == TPI_SQL_START || function == TPI_SQL_END) {
        return (struct tpc_value){ .type = TPC_INT,
                                   .as.i = function == TPI_SQL_START ? x->start_ms : x->end_ms };
    }
    const struct tpi_aggregate *g = &x->pane->aggregates[call];
    struct tpc_value list = { .type = TPC_NULL };
    if (function == TPI_SQL_COLLECT) {
        if (x->lists != NULL) {
            (void) tpi_bag_values(g, x->lists, &list); /* no memory: null */
        }
        return list;
    }
    return tpi_aggregate_value(function, g);
}

/* Of a window that is emitted. */
static bool load_window(void *user, uint32_t id, struct tpc_value *ret)
{
    const struct run *x = user;
    if (id >= TPI_NAME_GROUP) {
        *ret = x->groups[id - TPI_NAME_GROUP];
        return true;
    }
    if (id >= TPI_NAME_CALL) {
        *ret = call_value(x, id - TPI_NAME_CALL);
        return true;
    }
    return id == TPI_NAME_DEVICE ? give_text(x->device->key, ret) : load_latest(x, id, ret);
}

/* Of a row, in the texts of actions. */
static bool load_row(void *user, uint32_t id, struct tpc_value *ret)
{
    const struct run *x = user;
    const struct tpc_device *about = x->device != NULL ? x->device : x->target;
    if (id == TPI_NAME_DEVICE) {
        return about != NULL && give_text(about->key, ret);
    }
    *ret = x->row[id].value;
    return true;
}

static bool load_other(void *user, struct tpc_str device, struct tpc_str name,
                       struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct run *x = user;
    struct tpc_buf room = tpi_expr_rest(scratch);
    int rc = tpi_looks_latest(&x->r->workers[x->worker].looks, x->r->host.registry, x->d->tenant_id,
                              device, name, &room, ret);
    return tpi_expr_took(scratch, &room, rc);
}

static int64_t now(void *user)
{
    const struct run *x = user;
    return tpi_unix_ms(x->r->env);
}

static int64_t event_time(void *user)
{
    const struct run *x = user;
    return x->msg != NULL ? x->msg->unix_ms : x->end_ms;
}

static bool run_script(void *user, struct tpi_expr_script *script, const struct tpc_value *args,
                       uint32_t count, struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct run *x = user;
    return tpi_script_call(x->r, x->worker, script, args, count, scratch, ret);
}

const struct tpi_expr_host tpi_run_message_host = { .load = load_message,
                                                    .other = load_other,
                                                    .now = now,
                                                    .event_time = event_time,
                                                    .script = run_script };
const struct tpi_expr_host tpi_run_group_host = { .load = load_group,
                                                  .other = load_other,
                                                  .now = now,
                                                  .event_time = event_time,
                                                  .script = run_script };
const struct tpi_expr_host tpi_run_window_host = { .load = load_window,
                                                   .other = load_other,
                                                   .now = now,
                                                   .event_time = event_time,
                                                   .script = run_script };
const struct tpi_expr_host tpi_run_row_host = { .load = load_row,
                                                .other = load_other,
                                                .now = now,
                                                .event_time = event_time,
                                                .script = run_script };

struct tpc_value tpi_run_text(struct tpc_str s)
{
    struct tpc_value v;
    (void) give_text(s, &v);
    return v;
}
