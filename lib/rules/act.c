/* Actions at work. */
#include "rules/action_type.h"

#include "base/crypto.h"
#include "registry/device.h"
#include "rules/ledger.h"
#include "rules/rules_state.h"
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
    struct tpi_trace_action told = { .type = a->type->name,
                                     .name = a->name,
                                     .target = target != NULL ? target->key : a->device,
                                     .params = params,
                                     .code = code,
                                     .what = what };
    tpi_trace_action(act->rules->workers[act->worker].trace,
                     act->device != NULL ? act->device->key : TPC_STR(""),
                     tpi_unix_ms(act->rules->env), &told);
}

static bool is_traced(const struct tpi_act *act)
{
    return act->rules->workers[act->worker].trace != NULL;
}

/* Whether it failed. */
static bool act_one(const struct tpi_act *act, struct tpi_action *a, uint32_t number)
{
    struct tpi_rules *r = act->rules;
    struct tpi_deed deed = { .number = number };
    if (!find_target(act, a, &deed.target)) {
        TPI_METRIC_ADD(r->counters.missing_target, 1);
        take_down(act, number | TPI_LEDGER_MISSING, TPC_ENOENT, NULL);
        if (is_traced(act)) {
            trace(act, a, &a->params, NULL, TPC_ENOENT, "no such device");
        }
        warn_once(act, a, "no such device");
        return true;
    }
    struct tpc_value params;
    deed.params = &params;
    int rc = tpi_rules_action_id(act->rule, act->revision, act->partition, act->offset, number,
                                 &deed.id);
    rc = rc != 0 ? rc : fill_in(act, a, &params);
    if (rc == 0) {
        rc = a->type->act(act, a, &deed);
        if (is_traced(act)) {
            trace(act, a, &params, deed.target, rc, NULL);
        }
    } else if (is_traced(act)) {
        trace(act, a, &a->params, deed.target, rc, NULL);
    }
    if (rc == 0 || rc == TPC_EEXIST) {
        return false;
    }
    TPI_METRIC_ADD(r->counters.refused, 1);
    take_down(act, number, rc, deed.target);
    warn_once(act, a, tpc_error_name(rc));
    return true;
}

uint32_t tpi_act(const struct tpi_act *act, struct tpi_actions *actions)
{
    uint32_t failed = 0;
    for (uint32_t i = 0; i < actions->count; i++) {
        failed += act_one(act, &actions->items[i], i) ? 1 : 0;
    }
    return failed;
}
