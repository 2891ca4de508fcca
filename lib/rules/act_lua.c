/* The action "lua": code that says what is done. */
#include "rules/action_type.h"

#include "base/error.h"
#include "data/member.h"
#include "data/option.h"
#include "registry/device.h"
#include "rules/rules_state.h"
#include "rules/script.h"

enum { NUMBER_SHIFT = 8 /* a script's actions have numbers above those of the rule's own */ };

struct lua {
    struct tpc_str code;
    struct tpi_expr_script *script; /* NULL = not compiled */
};

static int read(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                struct tpc_error *err)
{
    (void) err;
    struct lua *l = tpc_arena_take(arena, sizeof(*l));
    if (l == NULL) {
        return TPC_ENOMEM;
    }
    *l = (struct lua){ .code = tpi_member_text(doc, "code") };
    a->name = TPC_STR("lua");
    a->more = l;
    return 0;
}

static int compile(struct tpi_action *a, const struct tpi_expr_scope *scope, struct tpc_error *err)
{
    struct lua *l = a->more;
    if ((scope->features & TPI_EXPR_SCRIPT) == 0) {
        return tpi_error_set(err, TPC_EINVAL, "rules", "scripts cannot be used here");
    }
    int rc = tpi_script_open_action(scope->script_user, l->code, err, &l->script);
    if (rc != 0) {
        tpi_error_at(err, "code");
    }
    return rc;
}

static void uncompile(struct tpi_action *a)
{
    struct lua *l = a->more;
    if (l != NULL && l->script != NULL) {
        l->script->close(l->script);
        l->script = NULL;
    }
}

/* What a script may ask for: no script again, nothing that waits or changes rules. */
static bool may_be_made(const struct tpi_action_type *t)
{
    return t == &tpi_action_command || t == &tpi_action_set || t == &tpi_action_notify ||
           t == &tpi_action_alert || t == &tpi_action_clear;
}

/* The list as the documents of actions, checked like those of a rule. */
static int read_list(const struct tpc_value *list, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpi_actions *ret)
{
    if (list->type != TPC_ARRAY || list->len > TPI_ACTIONS_MAX) {
        return tpi_error_set(err, TPC_EINVAL, "rules", "not a list of up to %d actions",
                             TPI_ACTIONS_MAX);
    }
    struct tpc_value *items = tpc_arena_take(arena, (list->len + 1) * sizeof(*items));
    if (items == NULL) {
        return TPC_ENOMEM;
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < list->len; i++) {
        rc = list->as.items[i].type == TPC_MAP
                 ? tpi_option_check(&tpi_action_item.sub, &list->as.items[i], 0, arena, err,
                                    &items[i])
                 : tpi_error_set(err, TPC_EINVAL, "rules", "an action is a table");
    }
    struct tpc_value checked = { .type = TPC_ARRAY, .len = list->len, .as.items = items };
    rc = rc != 0 ? rc : tpi_actions_read(ret, arena, &checked, err);
    for (uint32_t i = 0; rc == 0 && i < ret->count; i++) {
        if (ret->items[i].many != NULL || !may_be_made(ret->items[i].type)) {
            rc = tpi_error_set(err, TPC_EINVAL, "rules", "a script makes no '%s'%s",
                               ret->items[i].type->name,
                               ret->items[i].many != NULL ? " about many devices" : "");
        }
    }
    return rc;
}

static int refused(const struct tpi_act *act, struct tpi_action *a, int rc,
                   const struct tpc_error *err)
{
    if (!atomic_load_explicit(&a->warned, memory_order_relaxed)) {
        tpi_log(act->rules->env, TPC_LOG_WARN, "rules", "%.*s: what its script returned: %s%s%s",
                (int) act->by.len, act->by.ptr, err->path, err->path[0] != '\0' ? ": " : "",
                err->text);
    }
    return rc;
}

static int act(const struct tpi_act *act, const struct tpi_action *a, const struct tpi_deed *deed)
{
    const struct lua *l = a->more;
    struct tpi_rules *r = act->rules;
    const struct tpc_device *d = deed->target;
    struct tpc_error err = { .text = "no memory" };
    struct tpi_actions made = { .items = NULL };
    struct tpc_value list;
    int rc = tpi_script_run(r, act->worker, l->script,
                            d != NULL && d->product != NULL ? d->product->key : TPC_STR(""),
                            d != NULL ? d->key : TPC_STR(""), deed->params, &list);
    if (rc != 0) {
        return rc;
    }
    rc = read_list(&list, r->workers[act->worker].script_arena, &err, &made);
    if (rc != 0) {
        return refused(act, (struct tpi_action *) (uintptr_t) a, rc, &err);
    }
    for (uint32_t i = 0; i < made.count; i++) {
        int one =
            tpi_act_made(act, &made.items[i], deed->number | (i + 1) << NUMBER_SHIFT, deed->target);
        rc = rc != 0 ? rc : one;
    }
    return rc;
}

const struct tpi_action_type tpi_action_lua = { .name = "lua",
                                                .params = "params",
                                                .device_optional = true,
                                                .read = read,
                                                .compile = compile,
                                                .uncompile = uncompile,
                                                .act = act };
