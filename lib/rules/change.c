/* Scenes are put, deleted, and compiled again when their product changes. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "rules/chain.h"
#include "rules/data_rule.h"
#include "rules/rules_state.h"

#include <assert.h>

void tpi_rules_lock_all(struct tpi_rules *r)
{
    for (uint32_t i = 0; i < r->host.workers; i++) {
        pthread_mutex_lock(&r->workers[i].lock);
    }
}

void tpi_rules_unlock_all(struct tpi_rules *r)
{
    for (uint32_t i = r->host.workers; i > 0; i--) {
        pthread_mutex_unlock(&r->workers[i - 1].lock);
    }
}

static void count_scenes(struct tpi_rules *r)
{
    size_t iter = 0;
    uint64_t broken = 0;
    void *value;
    while (tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        broken += !((const struct tpi_scene *) value)->condition.good;
    }
    TPI_METRIC_SET(r->counters.scenes, tpi_map64_count(&r->scenes));
    TPI_METRIC_SET(r->counters.broken, broken);
}

static void log_broken(struct tpi_rules *r, const struct tpi_scene *s, const struct tpc_error *err)
{
    tpi_log(r->env, TPC_LOG_ERROR, "rules",
            "scene '%.*s' does nothing: %s (%s, line %u, column %u)", (int) s->key.len, s->key.ptr,
            err->text, err->path, err->line, err->column);
}

static struct rule_places places_of(const struct tpi_scene *s, const struct tpi_condition *c,
                                    struct tpi_expr *exprs[2])
{
    exprs[0] = c->expr;
    exprs[1] = c->until;
    return (struct rule_places){ .product_id = c->product_id,
                                 .exprs = c->names != NULL ? c->names : exprs,
                                 .expr_count = c->names != NULL ? c->name_count : 2,
                                 .trigger = s->on };
}

/* Under all locks, as the next. */
static void enter_lists(struct tpi_rules *r, struct tpi_scene *s)
{
    struct tpi_expr *exprs[2];
    if (s->enabled && s->condition.good && s->on != TPI_ON_MANUAL) {
        struct rule_places places = places_of(s, &s->condition, exprs);
        tpi_rules_link(r, &s->watch, &places);
        atomic_fetch_add(&r->on_commands, s->on == TPI_ON_COMMAND ? 1U : 0U);
    }
}

static void leave_lists(struct tpi_rules *r, struct tpi_scene *s)
{
    struct tpi_expr *exprs[2];
    struct rule_places places = places_of(s, &s->condition, exprs);
    atomic_fetch_sub(&r->on_commands, s->watch.linked && s->on == TPI_ON_COMMAND ? 1U : 0U);
    tpi_rules_unlink(r, &s->watch, &places);
}

static int reserve(struct tpi_rules *r, const struct tpi_scene *s, const struct tpi_condition *c)
{
    struct tpi_expr *exprs[2];
    struct rule_places places = places_of(s, c, exprs);
    tpi_rules_lock_all(r);
    int rc = tpi_rules_reserve(r, &places);
    tpi_rules_unlock_all(r);
    return rc;
}

/* A stored scene that no longer fits must not keep the whole core from starting. */
static int compile(struct tpi_rules *r, struct tpi_scene *s, struct tpi_change *change,
                   struct tpc_error *err)
{
    struct tpc_error local = { .size = sizeof(local) };
    struct tpc_error *e = err != NULL ? err : &local;
    int rc = tpi_during_open(&s->during, r->env, r->host.zone_dir, e);
    if (rc != 0) {
        tpi_error_at(e, "when");
    }
    rc = rc != 0 ? rc : tpi_scene_compile(s, r->host.registry, e, &s->condition);
    rc = rc != 0 ? rc : tpi_scene_compile_actions(s, &s->condition, r->host.registry, e);
    if (rc == 0 && !change->loading) {
        rc = tpi_scene_check(s, r->host.registry, change->arena, e);
    }
    if (rc != 0 && rc != TPC_ENOMEM && change->loading) {
        log_broken(r, s, e);
        tpi_ledger_why(&s->ledger, s->alloc, e);
        tpi_condition_fini(&s->condition);
        return 0;
    }
    bool listed = s->condition.good && s->on != TPI_ON_MANUAL;
    return rc != 0 || !listed ? rc : reserve(r, s, &s->condition);
}

static uint64_t scene_hash(uint64_t tenant_id, struct tpc_str key)
{
    return tpi_hash(key.ptr, key.len, tenant_id);
}

static bool is_named(const struct tpi_scene *s, uint64_t tenant_id, struct tpc_str key)
{
    return s->tenant_id == tenant_id && tpc_str_equal(s->key, key);
}

struct tpi_scene *tpi_rules_scene(const struct tpi_rules *r, uint64_t tenant_id, struct tpc_str key)
{
    struct tpi_scene *s = tpi_map64_get(&r->scene_keys, scene_hash(tenant_id, key));
    if (s != NULL && is_named(s, tenant_id, key)) {
        return s;
    }
    size_t iter = 0;
    void *value;
    while (r->key_clash && tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        s = value;
        if (is_named(s, tenant_id, key)) {
            return s;
        }
    }
    return NULL;
}

/* Under all locks. Replacing needs no memory. */
static int name_scene(struct tpi_rules *r, struct tpi_scene *s)
{
    void *old = NULL;
    int rc = tpi_map64_put(&r->scene_keys, scene_hash(s->tenant_id, s->key), s, &old);
    if (rc == 0 && old != NULL && !is_named(old, s->tenant_id, s->key)) {
        r->key_clash = true;
    }
    return rc;
}

/* A place for a new scene, which nobody looks at before apply. */
static int enter(struct tpi_rules *r, struct tpi_scene *s, struct tpc_error *err)
{
    struct tpi_scene *old = tpi_map64_get(&r->scenes, s->id);
    if (old != NULL) {
        s->watch.number = old->watch.number;
        return 0;
    }
    if (r->free_count == 0) {
        return tpi_error_set(err, TPC_ETOOBIG, "rules", "more than %d scenes",
                             TPI_RULES_MAX_SCENES);
    }
    int rc = tpi_ledger_init(&s->ledger, s->alloc, r->host.workers);
    if (rc != 0) {
        return rc;
    }
    tpi_rules_lock_all(r);
    rc = tpi_map64_put(&r->scenes, s->id, s, NULL);
    if (rc == 0 && (rc = name_scene(r, s)) != 0) {
        tpi_map64_remove(&r->scenes, s->id);
    }
    tpi_rules_unlock_all(r);
    if (rc == 0) {
        s->watch.number = r->free_numbers[--r->free_count];
    }
    return rc;
}

int tpi_rules_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    struct tpi_rules *r = user;
    change->prepared = NULL;
    pthread_mutex_lock(&r->changes);
    if (change->deleted) {
        return 0;
    }
    struct tpi_scene *s = NULL;
    int rc = tpi_scene_create(r->env->alloc, change, err, &s);
    if (rc == 0) {
        s->env = r->env;
        s->zone_dir = r->host.zone_dir;
    }
    rc = rc != 0 ? rc : compile(r, s, change, err);
    rc = rc != 0 ? rc : enter(r, s, err);
    if (rc != 0) {
        if (rc == TPC_ENOMEM) {
            tpi_error_set(err, rc, "rules", "out of memory");
        }
        tpi_scene_destroy(s);
        pthread_mutex_unlock(&r->changes);
        return rc;
    }
    change->prepared = s;
    return 0;
}

/* Under all locks. */
static void forget_edges(struct tpi_rules *r, uint64_t scene)
{
    for (uint32_t i = 0; i < r->host.partitions; i++) {
        tpi_edges_forget(&r->partitions[i].edges, scene);
        tpi_edges_forget(&r->partitions[i].runs, scene);
    }
}

/* Under all locks. */
static void drop(struct tpi_rules *r, struct tpi_scene *s)
{
    uint64_t hash = scene_hash(s->tenant_id, s->key);
    if (tpi_map64_get(&r->scene_keys, hash) == s) {
        tpi_map64_remove(&r->scene_keys, hash);
    }
    tpi_map64_remove(&r->scenes, s->id);
    r->free_numbers[r->free_count++] = s->watch.number;
}

void tpi_rules_apply(void *user, struct tpi_change *change)
{
    struct tpi_rules *r = user;
    struct tpi_scene *s = change->prepared;
    struct tpi_scene *old = tpi_map64_get(&r->scenes, change->id);
    old = old != s ? old : NULL;
    tpi_rules_lock_all(r);
    if (old != NULL) {
        leave_lists(r, old);
        if (s == NULL || !s->enabled || s->when != old->when) {
            forget_edges(r, old->id);
        }
    }
    if (s != NULL) {
        s->live = true;
        tpi_rules_fence(r, &s->watch, change);
        enter_lists(r, s);
    }
    if (s != NULL && old != NULL) {
        tpi_ledger_move(&s->ledger, &old->ledger);
    }
    if (s == NULL && old != NULL) {
        drop(r, old);
    } else if (s != NULL && old != NULL) {
        int rc = tpi_map64_put(&r->scenes, s->id, s, NULL); /* replaces: needs no memory */
        rc = rc != 0 ? rc : name_scene(r, s);
        assert(rc == 0);
        (void) rc;
    }
    tpi_rules_unlock_all(r);
    count_scenes(r);
    if (old != NULL) {
        tpi_chain_forget(r, old->id);
    }
    tpi_scene_destroy(old);
    pthread_mutex_unlock(&r->changes);
}

void tpi_rules_discard(void *user, struct tpi_change *change)
{
    struct tpi_rules *r = user;
    struct tpi_scene *s = change->prepared;
    if (s != NULL) {
        tpi_rules_lock_all(r);
        if (tpi_map64_get(&r->scenes, s->id) == s) {
            drop(r, s);
        }
        tpi_rules_unlock_all(r);
        tpi_scene_destroy(s);
        change->prepared = NULL;
    }
    pthread_mutex_unlock(&r->changes);
}

/* Out of memory: the old program stays. It names property ids, so it is never wrong, only blind to
 * what is new. */
static void recompile(struct tpi_rules *r, struct tpi_scene *s)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpi_condition fresh = { .good = false };
    /* a zone that could not be opened has kept it out of the lists: nobody reads it now */
    int rc = tpi_during_open(&s->during, r->env, r->host.zone_dir, &err);
    rc = rc != 0 ? rc : tpi_scene_compile(s, r->host.registry, &err, &fresh);
    if (rc == 0 && !s->condition.good) { /* it does nothing yet */
        tpi_actions_uncompile(&s->actions);
        rc = tpi_scene_compile_actions(s, &fresh, r->host.registry, &err);
    }
    rc = rc != 0 || s->on == TPI_ON_MANUAL ? rc : reserve(r, s, &fresh);
    if (rc == TPC_ENOMEM) {
        tpi_condition_fini(&fresh);
        tpi_log(r->env, TPC_LOG_ERROR, "rules", "scene '%.*s' is not compiled again: out of memory",
                (int) s->key.len, s->key.ptr);
        return;
    }
    if (rc != 0) {
        tpi_condition_fini(&fresh);
    }
    if (rc != 0 && s->condition.good) {
        log_broken(r, s, &err);
    }
    tpi_ledger_why(&s->ledger, s->alloc, rc != 0 ? &err : NULL);
    fresh.product_id = rc == 0 ? fresh.product_id : s->condition.product_id;
    tpi_rules_lock_all(r);
    leave_lists(r, s);
    struct tpi_condition old = s->condition;
    s->condition = fresh;
    enter_lists(r, s);
    tpi_rules_unlock_all(r);
    tpi_condition_fini(&old);
}

/* Whether a scene's product, by its key, is this one. */
static bool is_of_product(struct tpi_rules *r, const struct tpi_scene *s, uint64_t product_id)
{
    tpi_registry_read_lock(r->host.registry);
    const struct tpi_product *p = tpi_registry_product(r->host.registry, s->tenant, s->product);
    bool same = p != NULL && p->id == product_id;
    tpi_registry_read_unlock(r->host.registry);
    return same || s->condition.product_id == product_id;
}

void tpi_rules_product_changed(struct tpi_rules *r, uint64_t product_id)
{
    pthread_mutex_lock(&r->changes);
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        struct tpi_scene *s = value;
        if (is_of_product(r, s, product_id)) {
            recompile(r, s);
        }
    }
    count_scenes(r);
    tpi_data_rules_product_changed(r, product_id);
    pthread_mutex_unlock(&r->changes);
}
