/*
 * Taking over what other processes changed in a shared store. The store tells which entities were put
 * and deleted, in order; the rows are read as they are now, so what a row names may come only later in
 * the list: such a change is tried again after the others.
 */
#include "entity/inside.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

struct told {
    struct told *next;
    const struct tpi_kind_slot *slot;
    uint64_t tenant;
    struct tpc_str key; /* behind this struct */
    bool gone;
};

struct refresh {
    struct tpi_entities *e;
    struct tpi_loader *loader;
    struct tpc_arena *arena;
    struct told *first, **end;
    struct tpc_error *err;
    uint32_t count;
};

static int on_change(void *user, struct tpc_str kind, uint64_t tenant, struct tpc_str key, int gone)
{
    struct refresh *r = user;
    const struct tpi_kind_slot *slot = tpi_entity_kind(r->e, kind);
    if (slot == NULL || key.len > TPI_ENTITY_MAX_KEY) {
        return 0;
    }
    struct told *t = tpc_arena_take(r->arena, sizeof(*t) + key.len + 1);
    if (t == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(t + 1, key.ptr, key.len);
    *t = (struct told){ .slot = slot,
                        .tenant = tenant,
                        .key = { (const char *) (t + 1), key.len },
                        .gone = gone != 0 };
    *r->end = t;
    r->end = &t->next;
    return 0;
}

static const struct tpi_tenant_slot *tenant_by_id(const struct tpi_entities *e, uint64_t id)
{
    size_t iter = 0;
    void *value;
    while (tpi_map_next(&e->tenants, &iter, NULL, &value)) {
        const struct tpi_tenant_slot *t = value;
        if (t->id == id) {
            return t;
        }
    }
    return NULL;
}

/* Deletes in memory what another process deleted. Its number is the kind's to know. */
static int apply_gone(struct refresh *r, const struct told *t, const struct tpi_tenant_slot *tenant)
{
    const struct tpi_kind *kind = t->slot->kind;
    struct tpi_change change = { .kind = kind,
                                 .tenant = t->tenant,
                                 .tenant_key = tenant != NULL ? tenant->key : t->key,
                                 .key = t->key,
                                 .deleted = true,
                                 .loading = true,
                                 .arena = r->arena,
                                 .entities = r->e };
    int rc = kind->prepare != NULL ? kind->prepare(kind->user, &change, r->err) : 0;
    if (rc != 0) {
        return rc;
    }
    if (kind->apply != NULL) {
        kind->apply(kind->user, &change);
    }
    if (t->slot->tenants) {
        struct tpi_tenant_slot *slot = tpi_map_remove(&r->e->tenants, t->key.ptr, t->key.len);
        if (slot != NULL) {
            tpi_tenant_slot_free(r->e, slot);
        }
    }
    return 0;
}

static int apply_one(struct refresh *r, const struct told *t)
{
    const struct tpi_tenant_slot *tenant = NULL;
    if (!t->slot->tenants) {
        tenant = tenant_by_id(r->e, t->tenant);
        if (tenant == NULL) {
            return 0; /* gone with all that it had */
        }
    }
    if (t->gone) {
        return apply_gone(r, t, tenant);
    }
    bool there = false;
    int rc = tpi_loader_reload(r->loader, t->slot, tenant, t->key, &there);
    return there ? rc : rc == TPC_ENOENT ? 0 : rc; /* one that is not there comes as gone */
}

/* All in order, then what did not work again, until nothing does any more. */
static int apply_all(struct refresh *r)
{
    int rc = 0;
    bool progress = true;
    while (r->first != NULL && progress) {
        struct told *next = r->first;
        r->first = NULL;
        r->end = &r->first;
        progress = false;
        for (rc = 0; next != NULL;) {
            struct told *t = next;
            next = t->next;
            int code = apply_one(r, t);
            if (code == TPC_ENOMEM || code == TPC_EIO) {
                return code;
            }
            if (code == 0) {
                progress = true;
                r->count++;
            } else {
                rc = code;
                t->next = NULL;
                *r->end = t;
                r->end = &t->next;
            }
        }
    }
    return rc;
}

static int refresh(struct refresh *r)
{
    struct tpi_entities *e = r->e;
    uint64_t last = e->seen;
    r->end = &r->first;
    int rc = e->ops->changes(e->store, e->seen, on_change, r, &last);
    if (rc != 0) {
        return rc == TPC_EGAP ? tpi_error_set(r->err, rc, tpi_entity_origin,
                                              "more was changed in the store than it remembers")
                              : tpi_entity_store_failed(r->err, rc, "tell what was changed");
    }
    rc = apply_all(r);
    if (rc == 0) {
        e->seen = last;
    }
    return rc;
}

int tpi_entities_refresh(struct tpi_entities *e, struct tpc_error *err, uint32_t *ret_count)
{
    struct tpc_error mine = { .size = sizeof(mine) };
    struct refresh r = { .e = e, .err = err != NULL ? err : &mine };
    *ret_count = 0;
    if (!e->loaded) {
        return tpi_error_set(err, TPC_ESTATE, tpi_entity_origin, "entities are not loaded yet");
    }
    if (!TPC_HAS(e->ops, struct tpc_store_ops, changes)) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, tpi_entity_origin,
                             "the store does not tell what others change");
    }
    int rc = tpc_arena_create(e->env->alloc, 0, &r.arena);
    rc = rc != 0 ? tpi_error_set(err, rc, tpi_entity_origin, "out of memory")
                 : tpi_loader_make(e, r.err, &r.loader);
    if (rc == 0) {
        pthread_mutex_lock(&e->lock);
        rc = refresh(&r);
        pthread_mutex_unlock(&e->lock);
    }
    tpi_loader_free(r.loader);
    tpc_arena_destroy(r.arena);
    *ret_count = r.count;
    return rc;
}
