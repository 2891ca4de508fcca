/* Data rules are put, deleted, and compiled again when their product changes. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "registry/device.h"
#include "rules/data_rule.h"

#include <assert.h>
#include <string.h>

const struct tpi_kind *tpi_rules_data_kind(struct tpi_rules *r)
{
    return &r->data_kind;
}

static void count(struct tpi_rules *r)
{
    size_t iter = 0;
    uint64_t broken = 0;
    uint64_t spread = 0;
    void *value;
    while (tpi_map64_next(&r->data_rules, &iter, NULL, &value)) {
        spread += ((const struct tpi_data_rule *) value)->spread;
        broken += !((const struct tpi_data_rule *) value)->program.good;
    }
    TPI_METRIC_SET(r->counters.data_rules, tpi_map64_count(&r->data_rules));
    TPI_METRIC_SET(r->counters.data_rules_spread, spread);
    TPI_METRIC_SET(r->counters.data_rules_broken, broken);
}

static void log_broken(struct tpi_rules *r, const struct tpi_data_rule *d,
                       const struct tpc_error *err)
{
    tpi_log(r->env, TPC_LOG_ERROR, "rules", "%.*s does nothing: %s (%s, line %u, column %u)",
            (int) d->by.len, d->by.ptr, err->text, err->path, err->line, err->column);
}

/* What brings a message to it. It stands with all messages of the product where nothing that it needs
 * is named. */
static struct rule_places places_of(const struct tpi_data_rule *d, const struct tpi_program *p)
{
    bool windowed = d->window.type != TPI_WINDOW_NONE;
    bool filtered = p->exprs[TPI_PART_WHERE] != NULL || p->exprs[TPI_PART_FILTER] != NULL;
    struct rule_places places = { .product_id = p->product_id,
                                  .trigger = TPI_ON_DATA,
                                  .exprs = &p->exprs[TPI_PART_WHERE],
                                  .expr_count = TPI_PART_FIRST_ARG - TPI_PART_WHERE +
                                                d->call_count + (windowed ? 0 : d->column_count) };
    places.any = (d->all && !filtered) || tpi_rules_name_count(&places) == 0;
    for (uint32_t i = 0; i < d->call_count && !filtered; i++) {
        places.any |= d->functions[i] == TPI_SQL_COUNT && p->exprs[TPI_PART_FIRST_ARG + i] == NULL;
    }
    return places;
}

static int reserve(struct tpi_rules *r, const struct tpi_data_rule *d, const struct tpi_program *p)
{
    struct rule_places places = places_of(d, p);
    tpi_rules_lock_all(r);
    int rc = tpi_rules_reserve(r, &places);
    tpi_rules_unlock_all(r);
    return rc;
}

/* Under all locks. */
static void enter_lists(struct tpi_rules *r, struct tpi_data_rule *d)
{
    if (d->enabled && d->program.good) {
        struct rule_places places = places_of(d, &d->program);
        tpi_rules_link(r, &d->watch, &places);
    }
}

static void leave_lists(struct tpi_rules *r, struct tpi_data_rule *d)
{
    if (d->watch.linked) {
        struct rule_places places = places_of(d, &d->program);
        tpi_rules_unlink(r, &d->watch, &places);
    }
}

/* Product of the device that rows are about; empty = they are about none. */
static struct tpc_str product_of_rows(struct tpi_rules *r, const struct tpi_data_rule *d,
                                      struct tpc_arena *arena)
{
    struct tpc_str product = d->spread ? (struct tpc_str){ NULL, 0 } : d->product;
    if (d->target.len == 0) {
        return product;
    }
    tpi_registry_read_lock(r->host.registry);
    const struct tpc_device *t = tpi_registry_find_in(r->host.registry, d->tenant_id, d->target);
    product = t != NULL && t->product != NULL ? t->product->key : d->product;
    char *copy = tpc_arena_take(arena, product.len + 1);
    if (copy != NULL) {
        memcpy(copy, product.ptr, product.len);
        product.ptr = copy;
    } else {
        product = d->product;
    }
    tpi_registry_read_unlock(r->host.registry);
    return product;
}

static int check_actions(struct tpi_rules *r, const struct tpi_data_rule *d,
                         struct tpc_arena *arena, struct tpc_error *err)
{
    return tpi_actions_check(&d->actions, r->host.registry, d->tenant, d->tenant_id,
                             product_of_rows(r, d, arena), arena, err);
}

/* A stored rule that no longer fits must not keep the whole core from starting. */
static int compile(struct tpi_rules *r, struct tpi_data_rule *d, struct tpi_change *change,
                   struct tpc_error *err)
{
    struct tpc_error local = { .size = sizeof(local) };
    struct tpc_error *e = err != NULL ? err : &local;
    int rc = tpi_data_rule_compile(d, r->host.registry, e, &d->program);
    if (rc == 0 && !change->loading) {
        rc = check_actions(r, d, change->arena, e);
    }
    if (rc != 0 && rc != TPC_ENOMEM && change->loading) {
        log_broken(r, d, e);
        tpi_ledger_why(&d->ledger, d->alloc, e);
        return 0;
    }
    return rc != 0 ? rc : reserve(r, d, &d->program);
}

/* A place for a new rule, which nobody looks at before apply. */
static int enter(struct tpi_rules *r, struct tpi_data_rule *d, struct tpc_error *err)
{
    const struct tpi_data_rule *old = tpi_map64_get(&r->data_rules, d->id);
    if (old != NULL) {
        d->watch.number = old->watch.number;
        return 0;
    }
    if (r->free_count == 0 || tpi_map64_count(&r->data_rules) >= TPI_RULES_MAX_DATA_RULES) {
        return tpi_error_set(err, TPC_ETOOBIG, "rules", "more than %d rules",
                             TPI_RULES_MAX_DATA_RULES);
    }
    int rc = tpi_ledger_init(&d->ledger, d->alloc, r->host.workers);
    if (rc != 0) {
        return rc;
    }
    tpi_rules_lock_all(r);
    rc = tpi_map64_put(&r->data_rules, d->id, d, NULL);
    tpi_rules_unlock_all(r);
    if (rc == 0) {
        d->watch.number = r->free_numbers[--r->free_count];
    }
    return rc;
}

int tpi_data_rules_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    struct tpi_rules *r = user;
    change->prepared = NULL;
    pthread_mutex_lock(&r->changes);
    if (change->deleted) {
        return 0;
    }
    struct tpi_data_rule *d = NULL;
    int rc = tpi_data_rule_create(r->env->alloc, r->host.registry, change, err, &d);
    if (rc == 0) {
        d->env = r->env;
        d->zone_dir = r->host.zone_dir;
        d->partition = (uint32_t) (tpi_hash64(d->id) % r->host.partitions);
    }
    rc = rc != 0 ? rc : compile(r, d, change, err);
    rc = rc != 0 ? rc : enter(r, d, err);
    if (rc != 0) {
        if (rc == TPC_ENOMEM) {
            tpi_error_set(err, rc, "rules", "out of memory");
        }
        tpi_data_rule_destroy(d);
        pthread_mutex_unlock(&r->changes);
        return rc;
    }
    change->prepared = d;
    return 0;
}

/* Under all locks. */
static void drop(struct tpi_rules *r, struct tpi_data_rule *d)
{
    tpi_map64_remove(&r->data_rules, d->id);
    r->free_numbers[r->free_count++] = d->watch.number;
}

void tpi_data_rules_apply(void *user, struct tpi_change *change)
{
    struct tpi_rules *r = user;
    struct tpi_data_rule *d = change->prepared;
    struct tpi_data_rule *old = tpi_map64_get(&r->data_rules, change->id);
    old = old != d ? old : NULL;
    tpi_rules_lock_all(r);
    if (old != NULL) {
        leave_lists(r, old);
        if (d == NULL || !d->enabled || d->hash != old->hash) {
            tpi_data_rule_forget(r, old->id);
        }
    }
    if (d != NULL) {
        tpi_rules_fence(r, &d->watch, change);
        enter_lists(r, d);
    }
    if (d != NULL && old != NULL) {
        tpi_ledger_move(&d->ledger, &old->ledger);
    }
    if (d == NULL && old != NULL) {
        drop(r, old);
    } else if (d != NULL && old != NULL) {
        int rc = tpi_map64_put(&r->data_rules, d->id, d, NULL); /* replaces: needs no memory */
        assert(rc == 0);
        (void) rc;
    }
    tpi_rules_unlock_all(r);
    count(r);
    tpi_data_rule_destroy(old);
    pthread_mutex_unlock(&r->changes);
}

void tpi_data_rules_discard(void *user, struct tpi_change *change)
{
    struct tpi_rules *r = user;
    struct tpi_data_rule *d = change->prepared;
    if (d != NULL) {
        tpi_rules_lock_all(r);
        if (tpi_map64_get(&r->data_rules, d->id) == d) {
            drop(r, d);
        }
        tpi_rules_unlock_all(r);
        tpi_data_rule_destroy(d);
        change->prepared = NULL;
    }
    pthread_mutex_unlock(&r->changes);
}

/* Out of memory: the old program stays. It names property ids, so it is never wrong. */
static void recompile(struct tpi_rules *r, struct tpi_data_rule *d)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpi_program fresh = { .good = false };
    int rc = tpi_data_rule_compile(d, r->host.registry, &err, &fresh);
    rc = rc != 0 ? rc : reserve(r, d, &fresh);
    if (rc == TPC_ENOMEM) {
        tpi_program_fini(d, &fresh);
        tpi_log(r->env, TPC_LOG_ERROR, "rules", "%.*s is not compiled again: out of memory",
                (int) d->by.len, d->by.ptr);
        return;
    }
    if (rc != 0 && d->program.good) {
        log_broken(r, d, &err);
    }
    tpi_ledger_why(&d->ledger, d->alloc, rc != 0 ? &err : NULL);
    fresh.product_id = rc == 0 ? fresh.product_id : d->program.product_id;
    tpi_rules_lock_all(r);
    leave_lists(r, d);
    struct tpi_program old = d->program;
    d->program = fresh;
    enter_lists(r, d);
    tpi_rules_unlock_all(r);
    tpi_program_fini(d, &old);
}

static bool is_of_product(struct tpi_rules *r, const struct tpi_data_rule *d, uint64_t product_id)
{
    tpi_registry_read_lock(r->host.registry);
    const struct tpi_product *p = tpi_registry_product(r->host.registry, d->tenant, d->product);
    bool same = p != NULL && p->id == product_id;
    tpi_registry_read_unlock(r->host.registry);
    return same || d->program.product_id == product_id;
}

void tpi_data_rules_product_changed(struct tpi_rules *r, uint64_t product_id)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->data_rules, &iter, NULL, &value)) {
        struct tpi_data_rule *d = value;
        if (is_of_product(r, d, product_id)) {
            recompile(r, d);
        }
    }
    count(r);
}

void tpi_data_rules_fini(struct tpi_rules *r)
{
    size_t iter = 0;
    void *d;
    while (tpi_map64_next(&r->data_rules, &iter, NULL, &d)) {
        tpi_data_rule_destroy(d);
    }
    tpi_map64_fini(&r->data_rules);
}
