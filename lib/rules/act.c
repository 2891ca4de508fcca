/* Actions at work. */
#include "rules/action_type.h"

#include "base/crypto.h"
#include "registry/device.h"
#include "rules/chain.h"
#include "rules/data_rule.h"
#include "rules/later.h"
#include "rules/ledger.h"
#include "rules/rules_state.h"
#include "rules/schedule.h"
#include "rules/trace.h"

#include <string.h>

int tpi_rules_action_id(uint64_t rule, uint64_t revision, uint32_t partition, uint64_t offset,
                        uint32_t action, struct tpc_id *ret)
{
    uint8_t in[32];
    uint8_t digest[TPI_SHA256_BYTES];
    tpi_put_u64(in, rule);
    tpi_put_u64(in + 8, revision);
    tpi_put_u64(in + 16, offset);
    tpi_put_u32(in + 24, partition);
    tpi_put_u32(in + 28, action);
    int rc = tpi_sha256(in, sizeof(in), digest);
    if (rc != 0) {
        return rc;
    }
    memcpy(ret->b, digest, sizeof(ret->b));
    ret->b[6] = (uint8_t) ((ret->b[6] & 0x0F) | 0x80);
    ret->b[8] = (uint8_t) ((ret->b[8] & 0x3F) | 0x80);
    return 0;
}

/* Of an action that another rule's action has set off, or that is done for many devices. */
static int mix_id(struct tpc_id *id, const struct tpc_id *cause, uint64_t device)
{
    uint8_t in[2 * sizeof(id->b) + 8];
    uint8_t digest[TPI_SHA256_BYTES];
    memcpy(in, id->b, sizeof(id->b));
    memcpy(in + sizeof(id->b), cause->b, sizeof(cause->b));
    tpi_put_u64(in + 2 * sizeof(id->b), device);
    int rc = tpi_sha256(in, sizeof(in), digest);
    if (rc != 0) {
        return rc;
    }
    memcpy(id->b, digest, sizeof(id->b));
    id->b[6] = (uint8_t) ((id->b[6] & 0x0F) | 0x80);
    id->b[8] = (uint8_t) ((id->b[8] & 0x3F) | 0x80);
    return 0;
}

static int make_id(const struct tpi_act *act, uint32_t number, struct tpc_id *ret)
{
    static const struct tpc_id none;
    int rc =
        tpi_rules_action_id(act->rule, act->revision, act->partition, act->offset, number, ret);
    if (rc == 0 && memcmp(&act->cause, &none, sizeof(none)) != 0) {
        rc = mix_id(ret, &act->cause, 0);
    }
    return rc;
}

int tpi_act_id_of(struct tpc_id *id, uint64_t device)
{
    static const struct tpc_id none;
    return mix_id(id, &none, device);
}

static void warn_once(const struct tpi_act *act, struct tpi_action *a, const char *what)
{
    if (!atomic_exchange_explicit(&a->warned, true, memory_order_relaxed)) {
        struct tpc_str device =
            a->device.len > 0 || act->device == NULL ? a->device : act->device->key;
        tpi_log(act->rules->env, TPC_LOG_WARN, "rules", "%.*s: '%.*s' to '%.*s': %s",
                (int) act->by.len, act->by.ptr, (int) a->name.len, a->name.ptr, (int) device.len,
                device.ptr, what);
    }
}

static void take_down(const struct tpi_act *act, uint32_t action, int code,
                      const struct tpc_device *target)
{
    const struct tpc_device *device = target != NULL ? target : act->device;
    tpi_tally_failed(act->tally, tpi_unix_ms(act->rules->env), action, code,
                     device != NULL ? device->id : 0);
}

/* Whom an action is about; NULL with false = somebody who does not exist. */
static bool find_target(const struct tpi_act *act, const struct tpi_action *a,
                        struct tpc_device **ret)
{
    *ret = a->device.len == 0
               ? act->device
               : tpi_registry_find_in(act->rules->host.registry, act->tenant_id, a->device);
    if (*ret == NULL) {
        return a->device.len == 0 && a->type->device_optional;
    }
    return !atomic_load_explicit(&(*ret)->deleted, memory_order_relaxed);
}

/* What it says, the values in its texts filled in. */
static int fill_in(const struct tpi_act *act, const struct tpi_action *a, struct tpc_value *ret)
{
    *ret = a->params;
    if (a->fills.count == 0) {
        return 0;
    }
    struct tpc_arena *arena = act->rules->workers[act->worker].arena;
    tpc_arena_reset(arena);
    return tpi_fills_apply(&a->fills, &a->params, &act->from, arena, ret);
}

/* What it came to, for who follows the rule. */
static void trace(const struct tpi_act *act, const struct tpi_action *a,
                  const struct tpc_value *params, const struct tpc_device *target, int code,
                  const char *what)
{
    struct rule_worker *w = &act->rules->workers[act->worker];
    if (params->type == TPC_NULL && act->row != NULL && a->type == &tpi_action_notify) {
        params = act->row; /* as the action does */
    }
    struct tpi_trace_action told = { .type = a->type->name,
                                     .name = a->name,
                                     .target = target != NULL ? target->key : a->device,
                                     .params = params,
                                     .code = code,
                                     .what =
                                         what == NULL && w->reason[0] != '\0' ? w->reason : what };
    tpi_trace_action(w->trace, act->device != NULL ? act->device->key : TPC_STR(""),
                     tpi_unix_ms(act->rules->env), &told);
    w->reason[0] = '\0';
}

static bool is_traced(const struct tpi_act *act)
{
    return act->rules->workers[act->worker].trace != NULL;
}

static void decide(const struct tpi_act *act, const char *word, int64_t at_ms, const char *text)
{
    if (is_traced(act)) {
        tpi_trace_decide(act->rules->workers[act->worker].trace,
                         act->device != NULL ? act->device->key : TPC_STR(""),
                         tpi_unix_ms(act->rules->env), word, at_ms, "%s", text);
    }
}

void tpi_act_failed(const struct tpi_act *act, struct tpi_action *a, uint32_t number, int code,
                    bool missing, const struct tpc_device *target)
{
    struct tpi_rules *r = act->rules;
    if (missing) {
        TPI_METRIC_ADD(r->counters.missing_target, 1);
        take_down(act, number | TPI_LEDGER_MISSING, code, NULL);
        warn_once(act, a, "no such device");
        if (is_traced(act)) {
            trace(act, a, &a->params, NULL, code, "no such device");
        }
    } else {
        TPI_METRIC_ADD(r->counters.refused, 1);
        take_down(act, number, code, target);
        warn_once(act, a, tpc_error_name(code));
    }
}

bool tpi_act_do(const struct tpi_act *act, struct tpi_action *a, struct tpi_deed *deed)
{
    int rc = a->type->act(act, a, deed);
    if (is_traced(act)) {
        trace(act, a, deed->params, deed->target, rc, NULL);
    }
    if (rc == 0 || rc == TPC_EEXIST) {
        return false;
    }
    tpi_act_failed(act, a, deed->number, rc, false, deed->target);
    return true;
}

/* Whether it failed. */
static bool act_one(const struct tpi_act *act, struct tpi_action *a, uint32_t number)
{
    struct tpi_deed deed = { .number = number };
    if (a->many == NULL && !find_target(act, a, &deed.target)) {
        tpi_act_failed(act, a, number, TPC_ENOENT, true, NULL);
        return true;
    }
    struct tpc_value params;
    deed.params = &params;
    int rc = make_id(act, number, &deed.id);
    rc = rc != 0 ? rc : fill_in(act, a, &params);
    if (rc == 0 && a->many != NULL) {
        rc = tpi_fan_ask(act, a, &deed);
    }
    if (rc != 0 && is_traced(act)) {
        trace(act, a, &a->params, deed.target, rc, NULL);
    } else if (a->many != NULL) {
        decide(act, "asked", 0, "looks for the devices that the action is about");
    }
    if (rc != 0) {
        tpi_act_failed(act, a, number, rc, false, deed.target);
        return true;
    }
    return a->many == NULL && tpi_act_do(act, a, &deed);
}

int tpi_act_made(const struct tpi_act *act, const struct tpi_action *a, uint32_t number,
                 struct tpc_device *about)
{
    struct tpi_deed deed = { .number = number, .target = about, .params = &a->params };
    int rc = 0;
    if (a->device.len > 0 ? !find_target(act, a, &deed.target) : about == NULL) {
        rc = TPC_ENOENT;
    }
    rc = rc != 0 ? rc : make_id(act, number, &deed.id);
    rc = rc != 0 ? rc : a->type->act(act, a, &deed);
    if (is_traced(act)) {
        trace(act, a, &a->params, deed.target, rc, rc == TPC_ENOENT ? "no such device" : NULL);
    }
    return rc == TPC_EEXIST ? 0 : rc;
}

uint32_t tpi_act(const struct tpi_act *act, struct tpi_actions *actions)
{
    uint32_t failed = 0;
    if (act->hops >= TPI_RULES_HOPS) {
        tpi_chain_cut(act);
        decide(act, "cut", 0, "does nothing: the chain of rules is too long");
        return 1;
    }
    for (uint32_t i = act->first; i < actions->count; i++) {
        struct tpi_action *a = &actions->items[i];
        if (a->type->waits) {
            int rc = tpi_later_add(act, i, a->number);
            if (rc == 0) {
                decide(act, "delayed", tpi_unix_ms(act->rules->env) + a->number,
                       "waits: the rest comes then");
            } else {
                tpi_act_failed(act, a, i, rc, false, act->device);
            }
            return failed + (rc != 0 ? 1 : 0);
        }
        failed += act_one(act, a, i) ? 1 : 0;
    }
    return failed;
}

/* ---- when the batch is over ---- */

void tpi_act_keep(const struct tpi_act *act, uint32_t action, struct tpi_act_kept *ret)
{
    *ret = (struct tpi_act_kept){ .rule = act->rule,
                                  .revision = act->revision,
                                  .document = act->document,
                                  .device = act->device != NULL ? act->device->id : 0,
                                  .offset = act->offset,
                                  .unix_ms = act->unix_ms,
                                  .partition = act->partition,
                                  .hops = act->hops,
                                  .action = action,
                                  .again = act->again || atomic_load(&act->rules->replaying),
                                  .cause = act->cause };
}

/* The rule as it is now; NULL if it does nothing. */
static struct tpi_actions *find_rule(struct tpi_rules *r, uint64_t id, struct tpi_act *ret,
                                     struct tpi_ledger **ret_ledger)
{
    struct tpi_scene *s = tpi_map64_get(&r->scenes, id);
    struct tpi_data_rule *d = tpi_map64_get(&r->data_rules, id);
    struct tpi_rule_schedule *p = tpi_map64_get(&r->schedules, id);
    if (s != NULL && s->live && s->enabled && s->condition.good) {
        ret->revision = s->revision;
        ret->tenant_id = s->tenant_id;
        ret->tenant = s->tenant;
        ret->by = s->by;
        *ret_ledger = &s->ledger;
        return &s->actions;
    }
    if (d != NULL && d->enabled && d->program.good) {
        ret->revision = d->revision;
        ret->tenant_id = d->tenant_id;
        ret->tenant = d->tenant;
        ret->by = d->by;
        *ret_ledger = &d->ledger;
        return &d->actions;
    }
    if (p != NULL && p->live && p->enabled && !p->broken) {
        ret->revision = p->revision;
        ret->tenant_id = p->tenant_id;
        ret->tenant = p->tenant;
        ret->by = p->by;
        *ret_ledger = &p->ledger;
        return &p->actions;
    }
    return NULL;
}

struct tpi_actions *tpi_act_find(struct tpi_rules *r, uint32_t worker,
                                 const struct tpi_act_kept *kept, struct tpi_act *ret)
{
    struct tpi_ledger *ledger;
    *ret = (struct tpi_act){ .rules = r,
                             .worker = worker,
                             .rule = kept->rule,
                             .partition = kept->partition,
                             .offset = kept->offset,
                             .unix_ms = kept->unix_ms,
                             .again = kept->again,
                             .waited = true,
                             .hops = kept->hops,
                             .cause = kept->cause,
                             .first = kept->action };
    struct tpi_actions *actions = find_rule(r, kept->rule, ret, &ledger);
    ret->revision = kept->revision;
    ret->document = kept->document;
    if (actions == NULL || actions->document != kept->document || kept->action >= actions->count) {
        return NULL;
    }
    if (kept->device != 0) {
        ret->device = tpi_registry_by_id(r->host.registry, kept->device);
        if (ret->device == NULL ||
            atomic_load_explicit(&ret->device->deleted, memory_order_relaxed)) {
            return NULL;
        }
    }
    ret->tally = &ledger->workers[worker];
    return actions;
}
