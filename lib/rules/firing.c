/* Values of a scene's conditions and of the texts of its actions. */
#include "rules/firing.h"

#include "registry/device.h"
#include "rules/script.h"
#include "rules/trace.h"

/* As conditions saw the last message about it: the same again when the log is replayed. */
static bool is_device_online(const struct tpc_device *d)
{
    return tpi_device_has(d, TPI_DEVICE_SEEN) ? tpi_device_has(d, TPI_DEVICE_SEEN_ONLINE)
                                              : atomic_load(&d->online);
}

/* Names that are no properties. */
static bool load_name(const struct rule_firing *f, uint32_t id, struct tpc_value *ret)
{
    if (id == TPI_NAME_DEVICE) {
        *ret = (struct tpc_value){ .type = TPC_TEXT,
                                   .len = f->device->key.len,
                                   .as.text = f->device->key.ptr };
        return true;
    }
    if (id == TPI_NAME_ONLINE) {
        *ret = (struct tpc_value){ .type = TPC_BOOL, .as.b = is_device_online(f->device) };
        return true;
    }
    const struct tpc_value *params = f->msg != NULL ? &f->msg->params : NULL;
    if (params != NULL && f->msg->kind >= TPC_MSG_COMMAND) { /* what the device was told */
        params = tpc_value_get(params, TPC_STR("params"));
    }
    if (id != TPI_NAME_PARAMS || params == NULL) {
        return false;
    }
    *ret = *params;
    return true;
}

/* Of a device that another product has, or that another worker owns. */
static bool load_foreign(const struct rule_firing *f, uint32_t id, struct tpc_value *ret,
                         int64_t *ret_unix_ms)
{
    if (f->device->product->id != f->scene->condition.product_id) {
        return false;
    }
    int index = tpi_model_find_id(f->device->product->model, (uint16_t) id);
    struct tpc_buf rest = tpi_expr_rest(f->room);
    return index >= 0 && tpi_expr_took(f->room, &rest,
                                       tpi_device_latest_copy(f->device, (uint32_t) index, &rest,
                                                              ret, ret_unix_ms));
}

/* Values of a condition: the latest of the device, by property id. */
static bool load_latest(void *user, uint32_t id, struct tpc_value *ret)
{
    const struct rule_firing *f = user;
    if (id >= TPI_NAME_VAR) {
        return tpi_vars_load(&f->vars, id, ret);
    }
    if (f->device == NULL) {
        return false;
    }
    if (id >= TPI_NAME_DEVICE) {
        return load_name(f, id, ret);
    }
    if (f->room != NULL) {
        return load_foreign(f, id, ret, NULL);
    }
    int index = tpi_model_find_id(f->device->product->model, (uint16_t) id);
    return index >= 0 && tpi_device_latest_peek(f->device, (uint32_t) index, ret, NULL) == 0;
}

/* What is not in the message is as it was, and so is everything where there is none. */
static bool load_previous(void *user, uint32_t id, struct tpc_value *ret)
{
    const struct rule_firing *f = user;
    bool found = false;
    if (id >= TPI_NAME_VAR) {
        return false; /* nobody keeps them */
    }
    bool known = tpi_rules_value_before(&f->r->workers[f->worker], f->msg, id, &found, ret);
    return found ? known : load_latest(user, id, ret);
}

static bool load_other(void *user, struct tpc_str device, struct tpc_str name,
                       struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct rule_firing *f = user;
    struct tpc_buf room = tpi_expr_rest(scratch);
    int rc = tpi_looks_state(&f->r->workers[f->worker].looks, f->r->host.registry,
                             f->scene->tenant_id, device, name, &room, ret);
    return tpi_expr_took(scratch, &room, rc);
}

static int64_t now(void *user)
{
    const struct rule_firing *f = user;
    return tpi_unix_ms(f->r->env);
}

static int64_t event_time(void *user)
{
    const struct rule_firing *f = user;
    return f->msg != NULL ? f->msg->unix_ms : f->unix_ms;
}

static bool age(void *user, uint32_t id, int64_t *ret_ms)
{
    const struct rule_firing *f = user;
    struct tpc_value value;
    int64_t unix_ms = 0;
    if (f->device == NULL || id >= TPI_NAME_DEVICE) {
        return false;
    }
    int index = tpi_model_find_id(f->device->product->model, (uint16_t) id);
    bool known = f->room != NULL ? load_foreign(f, id, &value, &unix_ms)
                                 : index >= 0 && tpi_device_latest_peek(f->device, (uint32_t) index,
                                                                        &value, &unix_ms) == 0;
    if (!known) {
        return false;
    }
    *ret_ms = tpi_unix_ms(f->r->env) - unix_ms;
    return true;
}

static bool run_script(void *user, struct tpi_expr_script *script, const struct tpc_value *args,
                       uint32_t count, struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct rule_firing *f = user;
    return tpi_script_call(f->r, f->worker, script, args, count, scratch, ret);
}

const struct tpi_expr_host tpi_firing_host = { .load = load_latest,
                                               .previous = load_previous,
                                               .other = load_other,
                                               .now = now,
                                               .event_time = event_time,
                                               .age = age,
                                               .script = run_script };

static bool do_scene(struct tpi_act *act, struct tpi_scene *s, bool ask)
{
    struct rule_worker *w = &act->rules->workers[act->worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    if (act->from.scratch != NULL) { /* of the one that runs it: its beginning may be in use */
        scratch = *act->from.scratch;
        scratch.used = 0;
    }
    struct rule_firing f = { .r = act->rules,
                             .worker = act->worker,
                             .partition = act->partition,
                             .device = act->device,
                             .scene = s,
                             .offset = act->offset,
                             .unix_ms = act->unix_ms,
                             .again = act->again,
                             .asked = true,
                             .room = &scratch };
    if (act->from.scratch == NULL) {
        tpc_arena_reset(w->vars_arena);
    }
    f.has_vars = true;
    if (s->condition.vars.count > 0) {
        tpi_vars_eval(&s->condition.vars, &tpi_firing_host, &f, &scratch, w->vars_arena, &f.vars);
    }
    bool known = act->device != NULL && act->device->product->id == s->condition.product_id;
    if (ask && s->condition.expr != NULL) {
        w->evaluations++;
        if (!known || tpi_expr_test(s->condition.expr, &tpi_firing_host, &f, &scratch) != 1) {
            return false;
        }
    }
    act->from = (struct tpi_fill_source){ &tpi_firing_host, &f, &scratch };
    if (act->first == 0) {
        w->fired++;
        act->tally->fired++;
        act->tally->fired_ms = tpi_unix_ms(f.r->env);
    }
    (void) tpi_act(act, &s->actions);
    return true;
}

bool tpi_scene_act(struct tpi_act *act, struct tpi_scene *s, bool ask)
{
    struct tpi_trace **place = &act->rules->workers[act->worker].trace;
    struct tpc_str device = act->device != NULL ? act->device->key : TPC_STR("");
    bool entered = tpi_trace_enter(place, act->tally, act->device != NULL ? act->device->id : 0);
    if (entered) {
        tpi_trace_decide(*place, device, act->unix_ms, "fires", 0, "%s",
                         act->first > 0 ? "goes on after a delay" : "is run by another rule");
    }
    bool did = do_scene(act, s, ask);
    tpi_trace_leave(place, entered);
    return did;
}
