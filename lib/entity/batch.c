/* Many puts in few transactions, and merge patches. */
#include "entity/inside.h"

#include <string.h>

#include "base/error.h"

enum { PATCH_DEPTH = 64, BATCH_BYTES = 4 << 20 /* of documents in one transaction */ };

/* ---- RFC 7396 ---- */

int tpi_entity_patch(const struct tpc_value *target, const struct tpc_value *patch,
                     struct tpc_arena *arena, uint32_t depth, struct tpc_value *ret)
{
    if (patch->type != TPC_MAP || depth == PATCH_DEPTH) {
        *ret = *patch;
        return 0;
    }
    size_t old = target != NULL && target->type == TPC_MAP ? target->len : 0;
    struct tpc_member *m = tpc_arena_take(arena, (old + patch->len + 1) * sizeof(*m));
    size_t n = 0;
    if (m == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < old; i++) {
        const struct tpc_member *t = &target->as.members[i];
        const struct tpc_value *p = tpc_value_get(patch, t->key);
        if (p == NULL) {
            m[n++] = *t;
        } else if (p->type != TPC_NULL) {
            m[n].key = t->key;
            if (tpi_entity_patch(&t->value, p, arena, depth + 1, &m[n++].value) != 0) {
                return TPC_ENOMEM;
            }
        }
    }
    for (size_t i = 0; i < patch->len; i++) {
        const struct tpc_member *p = &patch->as.members[i];
        if (p->value.type == TPC_NULL || (old > 0 && tpc_value_get(target, p->key) != NULL)) {
            continue;
        }
        m[n].key = p->key;
        if (tpi_entity_patch(NULL, &p->value, arena, depth + 1, &m[n++].value) != 0) {
            return TPC_ENOMEM;
        }
    }
    *ret = (struct tpc_value){ TPC_MAP, 0, n, { .members = m } };
    return 0;
}

/* ---- batches ---- */

/* Puts [first, last) of `list` are staged; those before are done. */
struct run {
    struct tpi_entities *e;
    const struct tpi_kind_slot *slot;
    const struct tpi_put_batch *batch;
    struct tpc_arena *arena;
    struct tpi_staged *list;
    struct tpi_put **puts; /* of the entries of list */
    uint32_t first;
    uint32_t last;
    size_t bytes; /* of staged documents */
};

static void keep_error(struct run *r, struct tpi_put *put, int code, const struct tpc_error *err)
{
    put->code = code;
    put->err = tpc_arena_take(r->batch->arena, sizeof(*put->err));
    if (put->err != NULL) {
        *put->err = *err;
        put->err->code = code;
    }
}

static void discard_all(struct run *r)
{
    while (r->last > r->first) {
        tpi_entity_discard(r->e, &r->list[--r->last]);
    }
    r->bytes = 0;
}

static int transact_all(struct run *r, struct tpc_error *err)
{
    size_t count = 0;
    for (uint32_t i = r->first; i < r->last; i++) {
        count += r->list[i].op_count;
    }
    struct tpc_store_op *ops = tpc_arena_take(r->arena, count * sizeof(*ops));
    if (ops == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    count = 0;
    for (uint32_t i = r->first; i < r->last; i++) {
        memcpy(&ops[count], r->list[i].ops, r->list[i].op_count * sizeof(*ops));
        count += r->list[i].op_count;
    }
    return tpi_entity_transact(r->e, ops, (uint32_t) count, err);
}

/* Stores what is staged. */
static int flush(struct run *r, struct tpc_error *err)
{
    if (r->first == r->last) {
        return 0;
    }
    int rc = transact_all(r, err);
    if (rc != 0) {
        for (uint32_t i = r->first; i < r->last; i++) {
            keep_error(r, r->puts[i], rc, err);
        }
        discard_all(r);
        return rc;
    }
    for (uint32_t i = r->first; i < r->last; i++) {
        tpi_entity_apply(r->e, &r->list[i]);
    }
    r->first = r->last;
    r->bytes = 0;
    return 0;
}

static int stage(struct run *r, struct tpi_put *put, struct tpc_error *err)
{
    struct tpi_staged *s = &r->list[r->last];
    struct tpc_str json = { "", 0 };
    *s = (struct tpi_staged){ .slot = NULL };
    *err = (struct tpc_error){ .size = sizeof(*err) };
    s->change.arena = r->arena;
    s->change.batch = r->batch;
    s->change.actor = r->batch->actor;
    int rc = tpi_entity_stage(r->e, r->slot, put->doc, json, TPC_ANY_REV,
                              put->flags | TPI_PUT_PATCH, s, err);
    if (rc == 0) {
        put->created = s->change.old_revision == 0;
        r->puts[r->last++] = put;
        r->bytes += s->change.json.len;
    }
    return rc;
}

/* One put: what it names may be staged only, so that is stored first. */
static int put_one(struct run *r, struct tpi_put *put, struct tpc_error *err)
{
    struct tpc_error why;
    int rc = stage(r, put, &why);
    if (rc == TPC_EAGAIN && r->batch->dry) {
        put->created = true;
        return 0;
    }
    if (rc == TPC_EAGAIN && r->last > r->first) {
        rc = flush(r, err);
        if (rc != 0) {
            put->code = rc;
            return rc;
        }
        rc = stage(r, put, &why);
    }
    if (rc != 0) {
        keep_error(r, put, rc == TPC_EAGAIN ? TPC_ENOENT : rc, &why);
    }
    if (rc == TPC_ENOMEM || rc == TPC_EIO || rc == TPC_ECORRUPT) {
        *err = why;
        return rc;
    }
    return r->bytes > BATCH_BYTES && !r->batch->dry ? flush(r, err) : 0;
}

static int run_all(struct run *r, struct tpc_error *err)
{
    uint32_t i = 0;
    int rc = 0;
    for (; rc == 0 && i < r->batch->count; i++) {
        rc = put_one(r, &r->batch->puts[i], err);
    }
    if (rc == 0 && !r->batch->dry) {
        rc = flush(r, err);
    } else if (rc != 0) {
        for (uint32_t k = r->first; k < r->last; k++) {
            keep_error(r, r->puts[k], rc, err);
        }
    }
    for (; i < r->batch->count; i++) {
        keep_error(r, &r->batch->puts[i], rc, err);
    }
    discard_all(r);
    return rc;
}

int tpi_entities_put_batch(struct tpi_entities *e, const struct tpi_put_batch *batch,
                           struct tpc_error *err)
{
    struct tpc_error mine = { .size = sizeof(mine) };
    struct run r = { .e = e, .batch = batch };
    r.slot = e->loaded ? tpi_entity_kind(e, tpc_str_from(batch->kind)) : NULL;
    err = err == NULL ? &mine : err;
    if (r.slot == NULL || (r.slot->kind->flags & TPI_KIND_BATCH) == 0 ||
        batch->count > TPI_ENTITY_MAX_BATCH) {
        return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin,
                             "not loaded, no such kind, or too many puts");
    }
    int rc = tpc_arena_create(e->env->alloc, 0, &r.arena);
    if (rc == 0) {
        r.list = tpc_arena_take(r.arena, (batch->count + 1) * sizeof(*r.list));
        r.puts = tpc_arena_take(r.arena, (batch->count + 1) * sizeof(struct tpi_put *));
    }
    if (rc != 0 || r.list == NULL || r.puts == NULL) {
        tpc_arena_destroy(r.arena);
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    pthread_mutex_lock(&e->lock);
    rc = run_all(&r, err);
    pthread_mutex_unlock(&e->lock);
    for (uint32_t i = 0; i < r.first; i++) {
        tpi_entity_announce(e, batch->actor, &r.list[i].change);
    }
    tpc_arena_destroy(r.arena);
    return rc;
}
