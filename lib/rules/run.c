/* Rules that somebody runs, or wants to forget what they remember. */
#include "base/error.h"
#include "registry/device.h"
#include "rules/rules_state.h"
#include "rules/schedule.h"

static struct tpi_scene *find_scene(struct tpi_rules *r, struct tpc_str tenant, struct tpc_str key)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        struct tpi_scene *s = value;
        if (tpc_str_equal(s->key, key) && tpc_str_equal(s->tenant, tenant)) {
            return s;
        }
    }
    return NULL;
}

static struct tpi_rule_schedule *find_schedule(struct tpi_rules *r, struct tpc_str tenant,
                                               struct tpc_str key)
{
    const size_t prefix = sizeof("schedule:") - 1;
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->schedules, &iter, NULL, &value)) {
        struct tpi_rule_schedule *s = value;
        struct tpc_str own = { s->by.ptr + prefix, s->by.len - prefix };
        if (s->live && tpc_str_equal(own, key) && tpc_str_equal(s->tenant, tenant)) {
            return s;
        }
    }
    return NULL;
}

static bool is_schedule(const struct tpi_rule_name *name)
{
    return tpc_str_equal(name->kind, TPC_STR("schedule"));
}

static int no_such(const struct tpi_rule_name *name, struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOENT, "rules", "no %.*s '%.*s'", (int) name->kind.len,
                         name->kind.ptr, (int) name->key.len, name->key.ptr);
}

int tpi_rules_partition(struct tpi_rules *r, const struct tpi_rule_name *name,
                        struct tpc_error *err, uint32_t *ret)
{
    pthread_mutex_lock(&r->changes);
    const struct tpi_rule_schedule *plan =
        is_schedule(name) ? find_schedule(r, name->tenant, name->key) : NULL;
    const struct tpi_scene *scene =
        is_schedule(name) ? NULL : find_scene(r, name->tenant, name->key);
    bool found = plan != NULL || scene != NULL;
    if (found) {
        *ret = plan != NULL ? plan->partition : (uint32_t) (scene->id % r->host.partitions);
    }
    pthread_mutex_unlock(&r->changes);
    return found ? 0 : no_such(name, err);
}

static int refuse(const struct tpi_rule_name *name, const char *why, struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ESTATE, "rules", "%.*s '%.*s' %s", (int) name->kind.len,
                         name->kind.ptr, (int) name->key.len, name->key.ptr, why);
}

static int run_schedule(struct tpi_rules *r, const struct tpi_rule_name *name,
                        const struct tpi_scene_run *run, struct tpc_error *err)
{
    struct tpi_rule_schedule *s = find_schedule(r, name->tenant, name->key);
    if (s == NULL || s->partition != run->partition) {
        return no_such(name, err);
    }
    if (!s->enabled || s->broken) {
        return refuse(name, s->enabled ? "does not work" : "is disabled", err);
    }
    tpi_schedule_run(r, run->worker, s, run->offset);
    return 0;
}

static int run_scene(struct tpi_rules *r, const struct tpi_rule_name *name,
                     const struct tpi_scene_run *run, struct tpc_error *err)
{
    struct tpi_scene *s = find_scene(r, name->tenant, name->key);
    const struct tpc_device *d = run->device;
    if (s == NULL) {
        return no_such(name, err);
    }
    if (!s->enabled || !s->condition.good) {
        return refuse(name, s->enabled ? "does not work" : "is disabled", err);
    }
    if (d != NULL && (d->tenant->id != s->tenant_id ||
                      (s->product.len > 0 && d->product->id != s->condition.product_id))) {
        return tpi_error_set(err, TPC_EINVAL, "rules", "device '%.*s' is none of its product",
                             (int) d->key.len, d->key.ptr);
    }
    (void) tpi_scene_run(r, s, run);
    return 0;
}

int tpi_rules_run(struct tpi_rules *r, const struct tpi_rule_name *name,
                  const struct tpi_scene_run *run, struct tpc_error *err)
{
    tpi_registry_read_lock(r->host.registry);
    tpi_rules_begin(r, run->worker);
    int rc = is_schedule(name) ? run_schedule(r, name, run, err) : run_scene(r, name, run, err);
    tpi_rules_end(r, run->worker);
    tpi_registry_read_unlock(r->host.registry);
    return rc;
}

/* Under all locks. What waits finds its pair gone. A scene that switched itself off is on again. */
static void forget(struct tpi_rules *r, struct tpi_scene *s, const struct tpc_device *device)
{
    for (uint32_t i = 0; i < r->host.partitions; i++) {
        struct rule_partition *p = &r->partitions[i];
        if (device != NULL) {
            tpi_edges_remove(&p->edges, s->id, device->id);
            tpi_edges_remove(&p->runs, s->id, device->id);
        } else {
            tpi_edges_forget(&p->edges, s->id);
            tpi_edges_forget(&p->runs, s->id);
        }
    }
    if (device == NULL) {
        atomic_store(&s->off_until_ms, 0);
    }
}

int tpi_rules_reset(struct tpi_rules *r, const struct tpi_rule_name *name,
                    const struct tpc_device *device, struct tpc_error *err)
{
    pthread_mutex_lock(&r->changes);
    struct tpi_scene *scene = is_schedule(name) ? NULL : find_scene(r, name->tenant, name->key);
    struct tpi_rule_schedule *plan =
        is_schedule(name) ? find_schedule(r, name->tenant, name->key) : NULL;
    uint32_t owner = plan != NULL ? plan->partition % r->host.workers : 0;
    tpi_rules_lock_all(r);
    if (scene != NULL) {
        forget(r, scene, device);
    }
    if (plan != NULL) {
        plan->judged = (struct tpi_judged){ .off_until_ms = 0 };
        plan->next_ms = 0;
        atomic_store(&r->workers[owner].schedule_next_ms, 0);
    }
    tpi_rules_unlock_all(r);
    pthread_mutex_unlock(&r->changes);
    if (plan != NULL && r->host.wake != NULL) {
        r->host.wake(r->host.user, owner);
    }
    return scene != NULL || plan != NULL ? 0 : no_such(name, err);
}
