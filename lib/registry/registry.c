#include "registry/inside.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

const char tpi_registry_origin[] = "registry";

enum { KEY_BYTES = 8 + 128 }; /* of a product in its table */

const struct tpi_metric_def tpi_registry_metrics[] = {
    { "registry_tenants", "Tenants.", 2, offsetof(struct tpi_registry_counters, tenants) },
    { "registry_products", "Products.", 2, offsetof(struct tpi_registry_counters, products) },
    { "registry_devices", "Devices.", 2, offsetof(struct tpi_registry_counters, devices) },
    { "registry_changes_total", "Tenants, products and devices put or deleted.", 1,
      offsetof(struct tpi_registry_counters, changes) },
    { "registry_latest_stale_total", "Values older than the latest one of their property.", 1,
      offsetof(struct tpi_registry_counters, latest_stale) },
    { "auth_allowed_total", "Logins that were right.", 1,
      offsetof(struct tpi_registry_counters, auth_allowed) },
    { "auth_denied_total", "Logins and registrations that were refused.", 1,
      offsetof(struct tpi_registry_counters, auth_denied) },
    { "auth_limited_total", "Logins and registrations not looked at after too many failures.", 1,
      offsetof(struct tpi_registry_counters, auth_limited) },
    { "auth_limit_evicted_total", "Counts of failures that made room before their minute was over.",
      1, offsetof(struct tpi_registry_counters, auth_limit_evicted) },
    { "acl_denied_total", "Topics that were refused.", 1,
      offsetof(struct tpi_registry_counters, acl_denied) },
    { "registrations_total", "Devices that were allowed to register themselves.", 1,
      offsetof(struct tpi_registry_counters, registrations) },
};
const uint32_t tpi_registry_metric_count =
    sizeof(tpi_registry_metrics) / sizeof(tpi_registry_metrics[0]);

/* ---- products ---- */

static size_t product_key(uint64_t tenant_id, struct tpc_str key, char out[KEY_BYTES])
{
    size_t n = key.len < KEY_BYTES - 8 ? key.len : KEY_BYTES - 8;
    memcpy(out, &tenant_id, 8);
    memcpy(out + 8, key.ptr, n);
    return 8 + n;
}

struct tpi_product_slot *tpi_registry_product_slot(struct tpi_registry *r, uint64_t tenant_id,
                                                   struct tpc_str key)
{
    char text[KEY_BYTES];
    if (key.len == 0 || key.len > KEY_BYTES - 8) {
        return NULL;
    }
    return tpi_map_get(&r->products, text, product_key(tenant_id, key, text));
}

struct tpi_product_slot *tpi_registry_product_slot_make(struct tpi_registry *r, uint64_t tenant_id,
                                                        struct tpc_str key, uint64_t id)
{
    char text[KEY_BYTES];
    struct tpi_product_slot *slot = tpi_alloc_zero(r->env->alloc, sizeof(*slot));
    if (slot == NULL) {
        return NULL;
    }
    size_t n = product_key(tenant_id, key, text);
    if (tpi_map_put(&r->products, text, n, slot, NULL) != 0) {
        tpi_free(r->env->alloc, slot, sizeof(*slot));
        return NULL;
    }
    if (tpi_map64_put(&r->product_ids, id, slot, NULL) != 0) {
        tpi_map_remove(&r->products, text, n);
        tpi_free(r->env->alloc, slot, sizeof(*slot));
        return NULL;
    }
    return slot;
}

void tpi_registry_product_slot_drop(struct tpi_registry *r, uint64_t tenant_id, struct tpc_str key,
                                    uint64_t id)
{
    char text[KEY_BYTES];
    struct tpi_product_slot *slot =
        tpi_map_remove(&r->products, text, product_key(tenant_id, key, text));
    tpi_map64_remove(&r->product_ids, id);
    tpi_free(r->env->alloc, slot, sizeof(*slot));
}

/* ---- life ---- */

static int init_locks(struct tpi_registry *r)
{
    pthread_rwlockattr_t attr;
    if (pthread_rwlockattr_init(&attr) != 0) {
        return TPC_ENOMEM;
    }
    /* Workers hold it nearly all the time: without this a change would never get in. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    int rc = pthread_rwlock_init(&r->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    if (rc != 0) {
        return TPC_ENOMEM;
    }
    if (pthread_mutex_init(&r->gone_lock, NULL) != 0) {
        pthread_rwlock_destroy(&r->lock);
        return TPC_ENOMEM;
    }
    return 0;
}

int tpi_registry_codec(struct tpi_registry *r, struct tpc_str name,
                       const struct tpc_codec_ops **ret_ops, void **ret_self)
{
    return r->host.codec_find(r->host.user, name, ret_ops, ret_self);
}

const struct tpc_allocator *tpi_registry_allocator(const struct tpi_registry *r)
{
    return r->env->alloc;
}

int tpi_registry_create(const struct tpi_env *env, const struct tpi_registry_host *host,
                        struct tpc_error *err, struct tpi_registry **ret)
{
    if (host->partitions == 0 || host->codec_find == NULL) {
        return tpi_error_set(err, TPC_EINVAL, tpi_registry_origin,
                             "the host has no partitions or no codec_find");
    }
    struct tpi_registry *r = tpi_alloc_zero(env->alloc, sizeof(*r));
    if (r == NULL) {
        return tpi_registry_no_memory(err);
    }
    if (init_locks(r) != 0) {
        tpi_free(env->alloc, r, sizeof(*r));
        return tpi_registry_no_memory(err);
    }
    r->env = env;
    r->host = *host;
    r->generation = 1;
    if (tpi_why_init(&r->why, env) != 0) {
        pthread_mutex_destroy(&r->gone_lock);
        pthread_rwlock_destroy(&r->lock);
        tpi_free(env->alloc, r, sizeof(*r));
        return tpi_registry_no_memory(err);
    }
    if (tpi_login_table_init(&r->logins, env, host->login_key) != 0 ||
        tpi_limit_init(&r->limit, env) != 0) {
        tpi_why_fini(&r->why);
        pthread_mutex_destroy(&r->gone_lock);
        pthread_rwlock_destroy(&r->lock);
        tpi_free(env->alloc, r, sizeof(*r));
        return tpi_error_set(err, TPC_EIO, tpi_registry_origin, "there is no randomness");
    }
    (void) tpi_random(env, &r->seed, sizeof(r->seed)); /* a seed of 0 still works */
    tpi_map_init(&r->tenants, env->alloc);
    tpi_map_init(&r->products, env->alloc);
    tpi_map64_init(&r->product_ids, env->alloc);
    tpi_map_init(&r->groups, env->alloc);
    tpi_map_init(&r->serials, env->alloc);
    tpi_map_init(&r->users, env->alloc);
    tpi_map64_init(&r->serial_ids, env->alloc);
    tpi_topology_init(r);
    tpi_tables_init(r);
    tpi_registry_tenant_kind(r, &r->kinds[0]);
    tpi_registry_product_kind(r, &r->kinds[1]);
    tpi_registry_group_kind(r, &r->kinds[2]);
    tpi_registry_panel_kinds(r, &r->kinds[3], &r->kinds[4]);
    tpi_registry_device_kind(r, &r->kinds[5]);
    tpi_registry_service_kind(r, &r->kinds[6]);
    *ret = r;
    return 0;
}

static void free_devices(struct tpi_registry *r)
{
    for (size_t i = 0; i < r->by_id.cap; i++) {
        if (r->by_id.slots[i] != NULL) {
            tpi_device_free(r->by_id.slots[i]);
        }
    }
    while (r->gone != NULL) {
        struct tpc_device *d = r->gone;
        r->gone = d->next;
        tpi_device_free(d);
    }
    tpi_table_fini(r, &r->by_id);
    tpi_table_fini(r, &r->by_key);
}

void tpi_registry_destroy(struct tpi_registry *r)
{
    size_t iter = 0;
    void *value;
    if (r == NULL) {
        return;
    }
    free_devices(r);
    while (tpi_map_next(&r->products, &iter, NULL, &value)) {
        struct tpi_product_slot *slot = value;
        tpi_product_unref(slot->current);
        tpi_free(r->env->alloc, slot, sizeof(*slot));
    }
    iter = 0;
    while (tpi_map_next(&r->tenants, &iter, NULL, &value)) {
        tpi_tenant_unref(value);
    }
    tpi_map_fini(&r->products);
    tpi_map_fini(&r->tenants);
    tpi_map64_fini(&r->product_ids);
    tpi_registry_free_groups(r);
    tpi_serial_fini(r);
    tpi_registry_free_users(r);
    tpi_registry_free_panel(r);
    tpi_login_table_fini(&r->logins);
    tpi_limit_fini(&r->limit, r->env);
    tpi_topology_fini(r);
    tpi_report_fini(r);
    tpi_why_fini(&r->why);
    pthread_mutex_destroy(&r->gone_lock);
    pthread_rwlock_destroy(&r->lock);
    tpi_free(r->env->alloc, r, sizeof(*r));
}

const struct tpi_kind *tpi_registry_kinds(struct tpi_registry *r)
{
    return r->kinds;
}

const struct tpi_registry_counters *tpi_registry_counters(const struct tpi_registry *r)
{
    return &r->counters;
}

void tpi_registry_read_lock(struct tpi_registry *r)
{
    pthread_rwlock_rdlock(&r->lock);
}

void tpi_registry_read_unlock(struct tpi_registry *r)
{
    pthread_rwlock_unlock(&r->lock);
}

/* ---- looking up ---- */

uint64_t tpi_registry_tenant(struct tpi_registry *r, struct tpc_str tenant)
{
    if (tenant.len == 0 || (tenant.len == 4 && memcmp(tenant.ptr, "main", 4) == 0)) {
        return r->main_tenant;
    }
    const struct tpi_tenant *t = tpi_map_get(&r->tenants, tenant.ptr, tenant.len);
    return t == NULL || !t->live ? 0 : t->id;
}

struct tpc_device *tpi_registry_find_in(struct tpi_registry *r, uint64_t tenant_id,
                                        struct tpc_str key)
{
    return tenant_id == 0 ? NULL : tpi_table_find_key(r, tenant_id, key);
}

int tpi_registry_latest(struct tpi_registry *r, uint64_t tenant_id, struct tpc_str device,
                        struct tpc_str property, struct tpc_buf *buf, struct tpc_value *ret)
{
    struct tpc_device *d = tpi_registry_find_in(r, tenant_id, device);
    if (d == NULL || d->product == NULL ||
        atomic_load_explicit(&d->deleted, memory_order_relaxed)) {
        return TPC_ENOENT;
    }
    int index = tpi_model_find(d->product->model, property, NULL);
    return index < 0 ? TPC_ENOENT : tpi_device_latest_copy(d, (uint32_t) index, buf, ret, NULL);
}

struct tpc_device *tpi_registry_find(struct tpi_registry *r, struct tpc_str tenant,
                                     struct tpc_str key)
{
    return tpi_registry_find_in(r, tpi_registry_tenant(r, tenant), key);
}

struct tpi_product *tpi_registry_product(struct tpi_registry *r, struct tpc_str tenant,
                                         struct tpc_str key)
{
    uint64_t id = tpi_registry_tenant(r, tenant);
    const struct tpi_product_slot *slot = id == 0 ? NULL : tpi_registry_product_slot(r, id, key);
    return slot == NULL ? NULL : slot->current;
}

int tpi_registry_open(struct tpi_registry *r, struct tpc_str tenant, struct tpc_str key,
                      struct tpc_error *err, struct tpc_device **ret)
{
    tpi_registry_read_lock(r);
    uint64_t id = tpi_registry_tenant(r, tenant);
    struct tpc_device *d = tpi_registry_find_in(r, id, key);
    if (d != NULL) {
        *ret = tpi_device_ref(d);
    }
    tpi_registry_read_unlock(r);
    if (d != NULL) {
        return 0;
    }
    struct tpc_str missing = id == 0 ? tenant : key;
    return tpi_error_set(err, TPC_ENOENT, tpi_registry_origin, "there is no %s \"%.*s\"",
                         id == 0 ? "tenant" : "device",
                         (int) (missing.len > 128 ? 128 : missing.len), missing.ptr);
}

int tpi_registry_each_device(struct tpi_registry *r,
                             int (*fn)(void *user, struct tpc_device *device), void *user)
{
    int rc = 0;
    for (size_t i = 0; i < r->by_id.cap && rc == 0; i++) {
        rc = r->by_id.slots[i] == NULL ? 0 : fn(user, r->by_id.slots[i]);
    }
    return rc;
}

int tpi_registry_each_product(struct tpi_registry *r,
                              int (*fn)(void *user, struct tpi_product *product), void *user)
{
    size_t iter = 0;
    void *value;
    int rc = 0;
    while (rc == 0 && tpi_map64_next(&r->product_ids, &iter, NULL, &value)) {
        struct tpi_product *current = ((struct tpi_product_slot *) value)->current;
        rc = current == NULL ? 0 : fn(user, current);
    }
    return rc;
}

uint32_t tpi_registry_partition(const struct tpi_registry *r, uint64_t id)
{
    return (uint32_t) (tpi_hash64(id) % TPI_REGISTRY_SLOTS) % r->host.partitions;
}
