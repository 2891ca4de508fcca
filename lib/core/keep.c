/*
 * Retention, hourly by the core's clock and on the pump's thread: a product's "history": {"keep"},
 * else the option history_keep_ms.
 */
#include "core/core.h"

enum {
    FIRST_MS = 60000,   /* from the start to the first round */
    ROUND_MS = 3600000, /* from one to the next */
    TURN_MS = 20        /* between two turns of a round: commits go between */
};

struct keeping {
    struct tpc_core *core;
    int64_t now_ms;
};

void tpi_keep_open(struct tpc_core *core)
{
    core->keep_next_ms = tpi_mono_ms(&core->env) + FIRST_MS;
    core->keep_running = false;
}

/* From when on a device's samples are kept; INT64_MIN = all of them. */
static int64_t keep_of(void *user, uint64_t device_id)
{
    const struct keeping *k = user;
    uint64_t keep = k->core->options.history_keep_ms;
    tpi_registry_read_lock(k->core->registry);
    const struct tpc_device *d = tpi_registry_by_id(k->core->registry, device_id);
    if (d != NULL && d->product->keep_ms >= 0) {
        keep = (uint64_t) d->product->keep_ms;
    }
    tpi_registry_read_unlock(k->core->registry);
    if (keep == 0 || keep > (uint64_t) INT64_MAX) {
        return INT64_MIN;
    }
    int64_t from;
    return __builtin_sub_overflow(k->now_ms, (int64_t) keep, &from) ? INT64_MIN : from;
}

void tpi_keep_turn(struct tpc_core *core)
{
    struct tpc_error err = { .size = sizeof(err) };
    uint64_t now = tpi_mono_ms(&core->env);
    if (now < core->keep_next_ms) {
        return;
    }
    if (!core->keep_running) {
        core->keep_running = true;
        tpi_history_keep_begin(core->history);
    }
    struct keeping k = { core, tpi_unix_ms(&core->env) };
    int rc = tpi_history_keep_turn(core->history, keep_of, &k, &err);
    if (rc < 0) {
        tpi_log(&core->env, TPC_LOG_WARN, "history", "retention goes on in the next round: %s",
                err.code == rc ? err.text : tpc_error_name(rc));
    }
    core->keep_running = rc > 0;
    core->keep_next_ms = now + (rc > 0 ? TURN_MS : ROUND_MS);
}

uint64_t tpi_keep_due_ms(struct tpc_core *core)
{
    uint64_t now = tpi_mono_ms(&core->env);
    return core->keep_next_ms > now ? core->keep_next_ms - now : 0;
}
