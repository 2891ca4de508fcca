#include "registry/inside.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { FIRST_CAP = 64, SLOT_BYTES = sizeof(struct tpc_device *) + sizeof(uint32_t) };

static uint32_t tag_of_key(const struct tpi_registry *r, uint64_t tenant_id, struct tpc_str key)
{
    return (uint32_t) (tpi_hash(key.ptr, key.len, r->seed ^ tenant_id) >> 32);
}

static uint32_t tag_of_id(uint64_t id)
{
    return (uint32_t) (tpi_hash64(id) >> 32);
}

static uint32_t tag_by_key(const struct tpc_device *d)
{
    return tag_of_key(d->tenant->registry, d->tenant->id, d->key);
}

static uint32_t tag_by_id(const struct tpc_device *d)
{
    return tag_of_id(d->id);
}

void tpi_tables_init(struct tpi_registry *r)
{
    r->by_key.tag = tag_by_key;
    r->by_id.tag = tag_by_id;
}

void tpi_table_fini(struct tpi_registry *r, struct tpi_device_table *t)
{
    tpi_free(r->env->alloc, t->slots, t->cap * SLOT_BYTES);
}

/* A tag's place in a table of any size: the tag as a fraction of 2^32 (D. Lemire, "Fast random
 * integer generation in an interval", 2019). */
static size_t home(const struct tpi_device_table *t, uint32_t tag)
{
    return (size_t) ((uint64_t) tag * t->cap >> 32);
}

static size_t after(const struct tpi_device_table *t, size_t at)
{
    return at + 1 == t->cap ? 0 : at + 1;
}

static void put_tagged(struct tpi_device_table *t, struct tpc_device *d, uint32_t tag)
{
    size_t at = home(t, tag);
    while (t->slots[at] != NULL) {
        at = after(t, at);
    }
    t->slots[at] = d;
    t->tags[at] = tag;
    t->count++;
}

/* Grows by a quarter: between 64 and 80 % of it is in use, so a device takes 15 to 19 bytes. */
int tpi_table_reserve(struct tpi_registry *r, struct tpi_device_table *t)
{
    if ((t->count + r->coming + 1) * 5 <= t->cap * 4) {
        return 0;
    }
    struct tpi_device_table next = *t;
    next.cap = t->cap == 0 ? FIRST_CAP : t->cap + t->cap / 4;
    next.count = 0;
    next.slots =
        next.cap > UINT32_MAX ? NULL : tpi_alloc_array(r->env->alloc, next.cap, SLOT_BYTES);
    if (next.slots == NULL) {
        return TPC_ENOMEM;
    }
    next.tags = (uint32_t *) (void *) (next.slots + next.cap);
    for (size_t i = 0; i < t->cap; i++) {
        if (t->slots[i] != NULL) {
            put_tagged(&next, t->slots[i], t->tags[i]);
        }
    }
    tpi_table_fini(r, t);
    *t = next;
    return 0;
}

void tpi_table_put(struct tpi_device_table *t, struct tpc_device *d)
{
    put_tagged(t, d, t->tag(d));
}

void tpi_table_remove(struct tpi_device_table *t, struct tpc_device *d)
{
    size_t hole = home(t, t->tag(d));
    while (t->slots[hole] != d) {
        hole = after(t, hole);
    }
    /* Whoever stands behind the hole and would rather stand before it moves up (Knuth 6.4, R). */
    for (size_t at = after(t, hole); t->slots[at] != NULL; at = after(t, at)) {
        size_t wish = home(t, t->tags[at]);
        size_t from_wish = at >= wish ? at - wish : at + t->cap - wish;
        size_t from_hole = at >= hole ? at - hole : at + t->cap - hole;
        if (from_wish >= from_hole) {
            t->slots[hole] = t->slots[at];
            t->tags[hole] = t->tags[at];
            hole = at;
        }
    }
    t->slots[hole] = NULL;
    t->count--;
}

struct tpc_device *tpi_table_find_key(const struct tpi_registry *r, uint64_t tenant_id,
                                      struct tpc_str key)
{
    const struct tpi_device_table *t = &r->by_key;
    if (t->cap == 0 || key.len == 0) {
        return NULL;
    }
    uint32_t tag = tag_of_key(r, tenant_id, key);
    size_t at = home(t, tag);
    __builtin_prefetch(&t->slots[at]); /* three misses, of which two come at once */
    __builtin_prefetch(&t->tags[at]);
    for (; t->slots[at] != NULL; at = after(t, at)) {
        if (t->tags[at] != tag) {
            continue;
        }
        struct tpc_device *d = t->slots[at];
        __builtin_prefetch(&d->refs, 1);
        __builtin_prefetch((const char *) (d + 1) + key.len, 0);
        if (d->key.len == key.len && d->tenant->id == tenant_id &&
            memcmp(d->key.ptr, key.ptr, key.len) == 0) {
            return d;
        }
    }
    return NULL;
}

struct tpc_device *tpi_registry_by_id(struct tpi_registry *r, uint64_t id)
{
    const struct tpi_device_table *t = &r->by_id;
    if (t->cap == 0) {
        return NULL;
    }
    uint32_t tag = tag_of_id(id);
    for (size_t at = home(t, tag); t->slots[at] != NULL; at = after(t, at)) {
        if (t->tags[at] == tag && t->slots[at]->id == id) {
            return t->slots[at];
        }
    }
    return NULL;
}
