#include "base/map.h"

#include <assert.h>
#include <string.h>
#include <tpcore/error.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { FIRST_CAP = 16 };

/* Full at three quarters: about 2.5 probes for a key that is there, 8 for one that is not. */
static bool must_grow(size_t count, size_t cap)
{
    return count >= cap - cap / 4;
}

/* Whether the entry whose place is `home` may move from `from` to the hole: the hole lies on its
 * way from home. All modulo cap. */
static bool may_fill(size_t home, size_t hole, size_t from, size_t mask)
{
    return ((from - home) & mask) >= ((from - hole) & mask);
}

void tpi_map_init(struct tpi_map *m, const struct tpc_allocator *alloc)
{
    *m = (struct tpi_map){ .alloc = alloc };
}

void tpi_map_fini(struct tpi_map *m)
{
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].key != NULL) {
            tpi_free(m->alloc, m->slots[i].key, m->slots[i].len + 1);
        }
    }
    tpi_free(m->alloc, m->slots, m->cap * sizeof(*m->slots));
    m->slots = NULL;
    m->cap = 0;
    m->count = 0;
}

/* The key's slot, or the free one where it would go; cap > 0. */
static struct tpi_map_slot *find(const struct tpi_map *m, const void *key, size_t len,
                                 uint64_t hash)
{
    size_t mask = m->cap - 1;
    for (size_t i = (size_t) hash & mask;; i = (i + 1) & mask) {
        struct tpi_map_slot *s = &m->slots[i];
        if (s->key == NULL ||
            (s->hash == hash && s->len == len && (len == 0 || memcmp(s->key, key, len) == 0))) {
            return s;
        }
    }
}

static int grow(struct tpi_map *m)
{
    size_t cap = m->cap == 0 ? FIRST_CAP : m->cap * 2;
    struct tpi_map_slot *slots = tpi_alloc_array(m->alloc, cap, sizeof(*slots));
    if (slots == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].key != NULL) {
            size_t at = (size_t) m->slots[i].hash & (cap - 1);
            while (slots[at].key != NULL) {
                at = (at + 1) & (cap - 1);
            }
            slots[at] = m->slots[i];
        }
    }
    tpi_free(m->alloc, m->slots, m->cap * sizeof(*slots));
    m->slots = slots;
    m->cap = cap;
    return 0;
}

void *tpi_map_get(const struct tpi_map *m, const void *key, size_t len)
{
    return m->count == 0 ? NULL : find(m, key, len, tpi_hash(key, len, m->seed))->value;
}

int tpi_map_put(struct tpi_map *m, const void *key, size_t len, void *value, void **ret_old)
{
    assert(value != NULL);
    uint64_t hash = tpi_hash(key, len, m->seed);
    struct tpi_map_slot *s = m->cap == 0 ? NULL : find(m, key, len, hash);
    void *old = NULL;
    if (s != NULL && s->key != NULL) {
        old = s->value;
        s->value = value;
    } else {
        char *copy = tpi_str_dup(m->alloc, (struct tpc_str){ key, len });
        if (copy == NULL) {
            return TPC_ENOMEM;
        }
        if (must_grow(m->count, m->cap)) {
            if (grow(m) != 0) {
                tpi_free(m->alloc, copy, len + 1);
                return TPC_ENOMEM;
            }
            s = find(m, key, len, hash);
        }
        *s = (struct tpi_map_slot){ (uint8_t *) copy, len, hash, value };
        m->count++;
    }
    if (ret_old != NULL) {
        *ret_old = old;
    }
    return 0;
}

void *tpi_map_remove(struct tpi_map *m, const void *key, size_t len)
{
    if (m->count == 0) {
        return NULL;
    }
    struct tpi_map_slot *s = find(m, key, len, tpi_hash(key, len, m->seed));
    if (s->key == NULL) {
        return NULL;
    }
    void *value = s->value;
    tpi_free(m->alloc, s->key, s->len + 1);
    size_t mask = m->cap - 1;
    size_t hole = (size_t) (s - m->slots);
    for (size_t i = (hole + 1) & mask; m->slots[i].key != NULL; i = (i + 1) & mask) {
        if (may_fill((size_t) m->slots[i].hash & mask, hole, i, mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct tpi_map_slot){ 0 };
    m->count--;
    return value;
}

size_t tpi_map_count(const struct tpi_map *m)
{
    return m->count;
}

bool tpi_map_next(const struct tpi_map *m, size_t *iter, struct tpc_bytes *key, void **value)
{
    while (*iter < m->cap) {
        const struct tpi_map_slot *s = &m->slots[(*iter)++];
        if (s->key == NULL) {
            continue;
        }
        if (key != NULL) {
            *key = (struct tpc_bytes){ s->key, s->len };
        }
        if (value != NULL) {
            *value = s->value;
        }
        return true;
    }
    return false;
}

/* ---- numbers ---- */

void tpi_map64_init(struct tpi_map64 *m, const struct tpc_allocator *alloc)
{
    *m = (struct tpi_map64){ .alloc = alloc };
}

void tpi_map64_fini(struct tpi_map64 *m)
{
    tpi_free(m->alloc, m->slots, m->cap * sizeof(*m->slots));
    m->slots = NULL;
    m->cap = 0;
    m->count = 0;
}

static struct tpi_map64_slot *find64(struct tpi_map64_slot *slots, size_t cap, uint64_t key)
{
    size_t mask = cap - 1;
    for (size_t i = (size_t) tpi_hash64(key) & mask;; i = (i + 1) & mask) {
        if (slots[i].value == NULL || slots[i].key == key) {
            return &slots[i];
        }
    }
}

static int grow64(struct tpi_map64 *m)
{
    size_t cap = m->cap == 0 ? FIRST_CAP : m->cap * 2;
    struct tpi_map64_slot *slots = tpi_alloc_array(m->alloc, cap, sizeof(*slots));
    if (slots == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].value != NULL) {
            *find64(slots, cap, m->slots[i].key) = m->slots[i];
        }
    }
    tpi_free(m->alloc, m->slots, m->cap * sizeof(*slots));
    m->slots = slots;
    m->cap = cap;
    return 0;
}

void *tpi_map64_get(const struct tpi_map64 *m, uint64_t key)
{
    return m->count == 0 ? NULL : find64(m->slots, m->cap, key)->value;
}

int tpi_map64_put(struct tpi_map64 *m, uint64_t key, void *value, void **ret_old)
{
    assert(value != NULL);
    struct tpi_map64_slot *s = m->cap == 0 ? NULL : find64(m->slots, m->cap, key);
    void *old = NULL;
    if (s != NULL && s->value != NULL) {
        old = s->value;
        s->value = value;
    } else {
        if (must_grow(m->count, m->cap)) {
            if (grow64(m) != 0) {
                return TPC_ENOMEM;
            }
            s = find64(m->slots, m->cap, key);
        }
        *s = (struct tpi_map64_slot){ key, value };
        m->count++;
    }
    if (ret_old != NULL) {
        *ret_old = old;
    }
    return 0;
}

void *tpi_map64_remove(struct tpi_map64 *m, uint64_t key)
{
    if (m->count == 0) {
        return NULL;
    }
    struct tpi_map64_slot *s = find64(m->slots, m->cap, key);
    void *value = s->value;
    if (value == NULL) {
        return NULL;
    }
    size_t mask = m->cap - 1;
    size_t hole = (size_t) (s - m->slots);
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
        if (may_fill((size_t) tpi_hash64(m->slots[i].key) & mask, hole, i, mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct tpi_map64_slot){ 0 };
    m->count--;
    return value;
}

size_t tpi_map64_count(const struct tpi_map64 *m)
{
    return m->count;
}

bool tpi_map64_next(const struct tpi_map64 *m, size_t *iter, uint64_t *key, void **value)
{
    while (*iter < m->cap) {
        const struct tpi_map64_slot *s = &m->slots[(*iter)++];
        if (s->value == NULL) {
            continue;
        }
        if (key != NULL) {
            *key = s->key;
        }
        if (value != NULL) {
            *value = s->value;
        }
        return true;
    }
    return false;
}
