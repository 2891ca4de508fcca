/* What configurations of alerts did, copied out of them. */
#include "base/text.h"
#include "rules/alert.h"
#include "rules/alert_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 64 /* one wish in so many is timed */ };

uint64_t tpi_alert_tally_begin(const struct tpi_env *env, struct tpi_alert_config *c, bool raise)
{
    if (c == NULL) {
        return 0;
    }
    TPI_METRIC_ADD(c->tally.raises, raise);
    return TPI_METRIC_ADD(c->tally.wished, 1) % SAMPLE == 0 ? tpi_mono_ns(env) : 0;
}

void tpi_alert_tally_end(const struct tpi_env *env, struct tpi_alert_config *c, uint64_t from_ns,
                         int code, bool fired)
{
    if (c == NULL) {
        return;
    }
    if (from_ns != 0) {
        TPI_METRIC_ADD(c->tally.timed_ns, tpi_mono_ns(env) - from_ns);
        TPI_METRIC_ADD(c->tally.timed, 1);
    }
    if (fired) {
        TPI_METRIC_ADD(c->tally.fired, 1);
        atomic_store(&c->tally.fired_ms, tpi_unix_ms(env));
    }
    if (code != 0 && c->enabled) {
        TPI_METRIC_ADD(c->tally.failed, 1);
        atomic_store(&c->tally.error_ms, tpi_unix_ms(env));
        atomic_store(&c->tally.error_code, code);
    }
}

/* What a worker still adds to the old one is not counted. */
void tpi_alert_tally_move(struct tpi_alert_tally *to, const struct tpi_alert_tally *from)
{
    atomic_store(&to->wished, atomic_load(&from->wished));
    atomic_store(&to->raises, atomic_load(&from->raises));
    atomic_store(&to->fired, atomic_load(&from->fired));
    atomic_store(&to->failed, atomic_load(&from->failed));
    atomic_store(&to->timed, atomic_load(&from->timed));
    atomic_store(&to->timed_ns, atomic_load(&from->timed_ns));
    atomic_store(&to->fired_ms, atomic_load(&from->fired_ms));
}

static uint64_t spent_ns(const struct tpi_alert_tally *t)
{
    uint64_t timed = atomic_load(&t->timed);
    double each = timed > 0 ? (double) atomic_load(&t->timed_ns) / (double) timed : 0;
    return (uint64_t) (each * (double) atomic_load(&t->wished));
}

static int copy(struct tpc_arena *arena, struct tpc_str s, struct tpc_str *ret)
{
    char *p = tpc_arena_take(arena, s.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, s.len > 0 ? s.ptr : "", s.len);
    p[s.len] = '\0';
    *ret = (struct tpc_str){ p, s.len };
    return 0;
}

static int describe(struct tpc_arena *arena, const struct tpi_alert_config *c,
                    struct tpc_rule_info *ret)
{
    const struct tpi_alert_tally *t = &c->tally;
    char text[200];
    *ret = (struct tpc_rule_info){ .size = sizeof(*ret),
                                   .flags = c->enabled ? TPC_RULE_ENABLED : 0,
                                   .kind = TPC_STR("alert"),
                                   .revision = c->revision,
                                   .evaluated = atomic_load(&t->wished),
                                   .matched = atomic_load(&t->raises),
                                   .fired = atomic_load(&t->fired),
                                   .failed = atomic_load(&t->failed),
                                   .fired_unix_ms = atomic_load(&t->fired_ms),
                                   .error_unix_ms = atomic_load(&t->error_ms),
                                   .error_code = atomic_load(&t->error_code),
                                   .error = TPC_STR(""),
                                   .broken = TPC_STR(""),
                                   .ns = spent_ns(t) };
    int rc = copy(arena, c->tenant, &ret->tenant);
    rc = rc != 0 ? rc : copy(arena, c->key, &ret->key);
    if (rc == 0 && ret->error_code != 0) {
        int n = snprintf(text, sizeof(text), "'%.*s': %s", (int) c->key.len, c->key.ptr,
                         tpc_error_name(ret->error_code));
        rc = copy(arena, (struct tpc_str){ text, n > 0 ? (size_t) n : 0 }, &ret->error);
    }
    return rc;
}

static int compare(const void *a, const void *b)
{
    const struct tpc_rule_info *x = a;
    const struct tpc_rule_info *y = b;
    int c = tpi_text_order(x->tenant, y->tenant);
    return c != 0 ? c : tpi_text_order(x->key, y->key);
}

int tpi_alerts_info(struct tpi_alerts *a, struct tpc_str tenant, struct tpc_str key,
                    tpc_rule_fn *fn, void *user)
{
    struct tpc_arena *arena;
    size_t iter = 0, count = 0;
    void *value;
    int rc = tpc_arena_create(a->env->alloc, 0, &arena);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&a->config_lock);
    struct tpc_rule_info *items =
        tpc_arena_take(arena, (tpi_map_count(&a->configs) + 1) * sizeof(*items));
    rc = items != NULL ? 0 : TPC_ENOMEM;
    while (rc == 0 && tpi_map_next(&a->configs, &iter, NULL, &value)) {
        const struct tpi_alert_config *c = value != a ? value : NULL;
        if (c != NULL && (tenant.len == 0 || tpc_str_equal(tenant, c->tenant)) &&
            (key.len == 0 || tpc_str_equal(key, c->key))) {
            rc = describe(arena, c, &items[count++]);
        }
    }
    pthread_mutex_unlock(&a->config_lock);
    if (rc == 0 && count == 0 && key.len > 0) {
        rc = TPC_ENOENT;
    }
    if (rc == 0) {
        qsort(items, count, sizeof(*items), compare);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = fn(user, &items[i]);
    }
    tpc_arena_destroy(arena);
    return rc;
}
