#include "registry/inside.h"

#include <string.h>

#include "base/alloc.h"

static const struct tpc_option tenant_schema[] = {
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .max = 256,
      .since = "0.1",
      .help = "Name for people." },
};

void tpi_tenant_unref(struct tpi_tenant *t)
{
    if (t != NULL && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1) {
        tpi_free(t->registry->env->alloc, t, sizeof(*t) + t->key.len + 1);
    }
}

static struct tpi_tenant *make_tenant(struct tpi_registry *r, const struct tpi_change *change)
{
    struct tpi_tenant *t = tpi_alloc_zero(r->env->alloc, sizeof(*t) + change->key.len + 1);
    if (t != NULL) {
        char *key = (char *) (t + 1);
        atomic_init(&t->refs, 1);
        t->id = change->id;
        t->registry = r;
        memcpy(key, change->key.ptr, change->key.len);
        t->key = (struct tpc_str){ key, change->key.len };
    }
    return t;
}

/* An entry that nobody sees yet, so that apply needs no memory. */
static int tenant_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    struct tpi_registry *r = user;
    int rc = 0;
    if (change->deleted || tpi_map_get(&r->tenants, change->key.ptr, change->key.len) != NULL) {
        return 0;
    }
    struct tpi_tenant *t = make_tenant(r, change);
    if (t == NULL) {
        return tpi_registry_no_memory(err);
    }
    pthread_rwlock_wrlock(&r->lock);
    rc = tpi_map_put(&r->tenants, change->key.ptr, change->key.len, t, NULL);
    pthread_rwlock_unlock(&r->lock);
    if (rc != 0) {
        tpi_tenant_unref(t);
        return tpi_registry_no_memory(err);
    }
    change->prepared = t;
    return 0;
}

static void remove_tenant(struct tpi_registry *r, struct tpc_str key)
{
    pthread_rwlock_wrlock(&r->lock);
    void *t = tpi_map_remove(&r->tenants, key.ptr, key.len);
    pthread_rwlock_unlock(&r->lock);
    tpi_tenant_unref(t);
}

static void tenant_apply(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    struct tpi_tenant *t = change->prepared;
    TPI_METRIC_ADD(r->counters.changes, 1);
    if (change->deleted) {
        remove_tenant(r, change->key);
    } else if (t != NULL) {
        pthread_rwlock_wrlock(&r->lock);
        t->live = true;
        if (tpc_str_equal(change->key, TPC_STR("main")) != 0) {
            r->main_tenant = t->id;
        }
        pthread_rwlock_unlock(&r->lock);
    }
    TPI_METRIC_SET(r->counters.tenants, tpi_map_count(&r->tenants));
}

static void tenant_discard(void *user, struct tpi_change *change)
{
    if (change->prepared != NULL) {
        remove_tenant(user, change->key);
    }
}

void tpi_registry_tenant_kind(struct tpi_registry *r, struct tpi_kind *kind)
{
    *kind = (struct tpi_kind){ .name = "tenant",
                               .version = 1,
                               .schema = TPC_OPTIONS(tenant_schema),
                               .prepare = tenant_prepare,
                               .apply = tenant_apply,
                               .discard = tenant_discard,
                               .user = r };
}
