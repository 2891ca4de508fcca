/* What rules did, copied out of their ledgers. */
#include "base/text.h"
#include "registry/device.h"
#include "rules/chain.h"
#include "rules/data_rule.h"
#include "rules/rules_state.h"
#include "rules/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What all kinds of rules have, and what their workers counted. */
struct face {
    const char *kind;
    struct tpc_str tenant;
    struct tpc_str by; /* "kind:key" */
    uint64_t id;
    uint64_t revision;
    uint32_t flags;
    uint32_t owner; /* worker of a schedule */
    const struct tpi_ledger *ledger;
    const struct tpi_actions *actions;
    const struct tpi_schedule_state *state; /* of a schedule */
    const int64_t *off_until;               /* of a schedule: under its worker's lock */
    int64_t off_until_ms;
    struct tpc_str event;
    struct tpi_tally sum; /* its failure is the last one of any worker */
};

/* Whose rules are wanted, and what was found. Texts stand in the arena. */
struct finding {
    struct tpi_rules *r;
    struct tpc_str tenant, kind, key; /* empty = any */
    struct tpc_arena *arena;
    struct face *faces;
    struct tpc_rule_info *items;
    size_t count;
};

static bool is_wanted(const struct finding *f, const struct face *x)
{
    size_t n = strlen(x->kind);
    struct tpc_str key = { x->by.ptr + n + 1, x->by.len - n - 1 };
    return (f->tenant.len == 0 || tpc_str_equal(f->tenant, x->tenant)) &&
           (f->kind.len == 0 || tpc_str_equal(f->kind, tpc_str_from(x->kind))) &&
           (f->key.len == 0 || tpc_str_equal(f->key, key));
}

/* ret is as it was where there is no memory. */
static int copy(const struct finding *f, struct tpc_str s, struct tpc_str *ret)
{
    char *p = tpc_arena_take(f->arena, s.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, s.len > 0 ? s.ptr : "", s.len);
    p[s.len] = '\0';
    *ret = (struct tpc_str){ p, s.len };
    return 0;
}

/* The registry's read lock is held. */
static int copy_error(const struct finding *f, const struct face *x, const struct tpi_tally *t,
                      struct tpc_str *ret)
{
    char text[TPI_ACTION_TEXT];
    char chain[TPI_CHAIN_TEXT];
    if ((t->error_action & TPI_LEDGER_LOOP) != 0 && tpi_chain_text(f->r, x->id, chain)) {
        return copy(f, tpc_str_from(chain), ret);
    }
    uint32_t number = t->error_action & 0xFFFF;
    const char *what = (t->error_action & TPI_LEDGER_MISSING) != 0 ? "no such device"
                                                                   : tpc_error_name(t->error_code);
    bool known = number < x->actions->count;
    struct tpc_str name = known ? x->actions->items[number].name : x->event;
    struct tpc_str device = known ? x->actions->items[number].device : TPC_STR("");
    if (device.len == 0 && t->error_device != 0) {
        const struct tpc_device *d = tpi_registry_by_id(f->r->host.registry, t->error_device);
        device = d != NULL ? d->key : device;
    }
    int n = snprintf(text, sizeof(text), "'%.*s'%s%.*s%s: %s", (int) name.len, name.ptr,
                     device.len > 0 ? " to '" : "", (int) device.len, device.ptr,
                     device.len > 0 ? "'" : "", what);
    size_t len = n > 0 ? (size_t) n : 0;
    len = len < sizeof(text) ? len : sizeof(text) - 1;
    return copy(f, (struct tpc_str){ text, len }, ret);
}

static void add(struct tpi_tally *sum, const struct tpi_tally *t)
{
    sum->evaluated += t->evaluated;
    sum->matched += t->matched;
    sum->fired += t->fired;
    sum->failed += t->failed;
    sum->due_ns += tpi_tally_ns(t);
    sum->fired_ms = t->fired_ms > sum->fired_ms ? t->fired_ms : sum->fired_ms;
    if (t->error_code != 0 && (sum->error_code == 0 || t->error_ms > sum->error_ms)) {
        sum->error_ms = t->error_ms;
        sum->error_code = t->error_code;
        sum->error_action = t->error_action;
        sum->error_device = t->error_device;
    }
}

/* Each worker is held up once, for as long as it takes to add its numbers. */
static void add_up(struct finding *f)
{
    for (uint32_t i = 0; i < f->r->host.workers; i++) {
        pthread_mutex_lock(&f->r->workers[i].lock);
        for (size_t n = 0; n < f->count; n++) {
            struct face *x = &f->faces[n];
            add(&x->sum, &x->ledger->workers[i]);
            if (x->state != NULL && x->owner == i && x->state->ended) {
                x->flags |= TPC_RULE_ENDED;
            }
            if (x->off_until != NULL && x->owner == i) {
                x->off_until_ms = *x->off_until;
            }
        }
        pthread_mutex_unlock(&f->r->workers[i].lock);
    }
}

/* The registry's read lock is held. */
static int tell(const struct finding *f, const struct face *x, struct tpc_rule_info *ret)
{
    size_t n = strlen(x->kind) + 1;
    bool off = x->off_until_ms > tpi_unix_ms(f->r->env);
    *ret = (struct tpc_rule_info){ .size = sizeof(*ret),
                                   .flags = x->flags | (off ? (uint32_t) TPC_RULE_OFF : 0),
                                   .off_until_unix_ms = off ? x->off_until_ms : 0,
                                   .kind = tpc_str_from(x->kind),
                                   .revision = x->revision,
                                   .evaluated = x->sum.evaluated,
                                   .matched = x->sum.matched,
                                   .fired = x->sum.fired,
                                   .failed = x->sum.failed,
                                   .fired_unix_ms = x->sum.fired_ms,
                                   .error_unix_ms = x->sum.error_ms,
                                   .error_code = x->sum.error_code,
                                   .ns = x->sum.due_ns };
    int rc = copy(f, x->tenant, &ret->tenant);
    rc = rc != 0 ? rc : copy(f, (struct tpc_str){ x->by.ptr + n, x->by.len - n }, &ret->key);
    if (rc == 0 && x->sum.error_code != 0) {
        rc = copy_error(f, x, &x->sum, &ret->error);
    }
    if (rc == 0 && (x->flags & TPC_RULE_BROKEN) != 0) {
        const char *why = x->ledger->why != NULL ? x->ledger->why : "out of memory";
        rc = copy(f, tpc_str_from(why), &ret->broken);
    }
    return rc;
}

static void take(struct finding *f, const struct face *x)
{
    if (is_wanted(f, x)) {
        f->faces[f->count++] = *x;
    }
}

static uint32_t flags_of(bool enabled, bool broken)
{
    return (enabled ? (uint32_t) TPC_RULE_ENABLED : 0) | (broken ? (uint32_t) TPC_RULE_BROKEN : 0);
}

static void take_scenes(struct finding *f)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&f->r->scenes, &iter, NULL, &value)) {
        const struct tpi_scene *s = value;
        struct face x = { .kind = "scene",
                          .tenant = s->tenant,
                          .by = s->by,
                          .id = s->id,
                          .revision = s->revision,
                          .flags = flags_of(s->enabled, !s->condition.good),
                          .ledger = &s->ledger,
                          .actions = &s->actions,
                          .off_until_ms = atomic_load(&s->off_until_ms) };
        take(f, &x);
    }
}

static void take_data_rules(struct finding *f)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&f->r->data_rules, &iter, NULL, &value)) {
        const struct tpi_data_rule *d = value;
        struct face x = { .kind = "rule",
                          .tenant = d->tenant,
                          .by = d->by,
                          .id = d->id,
                          .revision = d->revision,
                          .flags = flags_of(d->enabled, !d->program.good),
                          .ledger = &d->ledger,
                          .actions = &d->actions,
                          .event = d->event };
        take(f, &x);
    }
}

static void take_schedules(struct finding *f)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&f->r->schedules, &iter, NULL, &value)) {
        const struct tpi_rule_schedule *s = value;
        struct face x = { .kind = "schedule",
                          .tenant = s->tenant,
                          .by = s->by,
                          .id = s->id,
                          .revision = s->revision,
                          .flags = flags_of(s->enabled, s->broken),
                          .owner = s->partition % f->r->host.workers,
                          .ledger = &s->ledger,
                          .actions = &s->actions,
                          .state = &s->state,
                          .off_until = &s->judged.off_until_ms };
        take(f, &x);
    }
}

static int compare(const void *a, const void *b)
{
    const struct tpc_rule_info *x = a;
    const struct tpc_rule_info *y = b;
    int c = tpi_text_order(x->tenant, y->tenant);
    c = c != 0 ? c : tpi_text_order(x->kind, y->kind);
    return c != 0 ? c : tpi_text_order(x->key, y->key);
}

static int take_all(struct finding *f)
{
    struct tpi_rules *r = f->r;
    size_t most = tpi_map64_count(&r->scenes) + tpi_map64_count(&r->data_rules) +
                  tpi_map64_count(&r->schedules);
    f->faces = tpc_arena_take(f->arena, (most + 1) * sizeof(*f->faces));
    if (f->faces == NULL) {
        return TPC_ENOMEM;
    }
    take_scenes(f);
    take_data_rules(f);
    take_schedules(f);
    add_up(f);
    f->items = tpc_arena_take(f->arena, (f->count + 1) * sizeof(*f->items));
    int rc = f->items != NULL ? 0 : TPC_ENOMEM;
    tpi_registry_read_lock(r->host.registry);
    for (size_t i = 0; rc == 0 && i < f->count; i++) {
        rc = tell(f, &f->faces[i], &f->items[i]);
    }
    tpi_registry_read_unlock(r->host.registry);
    return rc;
}

int tpi_rules_info(struct tpi_rules *r, struct tpc_str tenant, struct tpc_str kind,
                   struct tpc_str key, tpc_rule_fn *fn, void *user)
{
    struct finding f = { .r = r, .tenant = tenant, .kind = kind, .key = key };
    int rc = tpc_arena_create(r->env->alloc, 0, &f.arena);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&r->changes); /* no rule comes or goes meanwhile */
    rc = take_all(&f);
    pthread_mutex_unlock(&r->changes);
    if (rc == 0 && f.count == 0 && key.len > 0) {
        rc = TPC_ENOENT;
    }
    if (rc == 0) {
        qsort(f.items, f.count, sizeof(*f.items), compare);
    }
    for (size_t i = 0; rc == 0 && i < f.count; i++) {
        rc = fn(user, &f.items[i]);
    }
    tpc_arena_destroy(f.arena);
    return rc;
}
