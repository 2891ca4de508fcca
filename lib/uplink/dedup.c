#include "uplink/dedup.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { FIRST_CAP = 256 };

void tpi_dedup_init(struct tpi_dedup *d, const struct tpc_allocator *alloc)
{
    memset(d, 0, sizeof(*d));
    d->alloc = alloc;
}

void tpi_dedup_fini(struct tpi_dedup *d)
{
    tpi_free(d->alloc, d->set, d->set_cap * sizeof(d->set[0]));
    tpi_free(d->alloc, d->queue, d->queue_cap * sizeof(d->queue[0]));
    tpi_dedup_init(d, d->alloc);
}

/* 0 marks a free slot. */
static uint64_t real_key(uint64_t key)
{
    return key != 0 ? key : 1;
}

static size_t place(const uint64_t *set, size_t cap, uint64_t key)
{
    size_t i = (size_t) tpi_hash64(key) & (cap - 1);
    while (set[i] != 0 && set[i] != key) {
        i = (i + 1) & (cap - 1);
    }
    return i;
}

/* Linear probing without tombstones: what follows the hole moves back where it may. */
static void set_remove(struct tpi_dedup *d, uint64_t key)
{
    size_t mask = d->set_cap - 1;
    size_t hole = place(d->set, d->set_cap, key);
    if (d->set[hole] == 0) {
        return;
    }
    for (size_t i = (hole + 1) & mask; d->set[i] != 0; i = (i + 1) & mask) {
        size_t home = (size_t) tpi_hash64(d->set[i]) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            d->set[hole] = d->set[i];
            hole = i;
        }
    }
    d->set[hole] = 0;
}

static void drop_oldest(struct tpi_dedup *d)
{
    set_remove(d, d->queue[d->first].key);
    d->first = (d->first + 1) & (d->queue_cap - 1);
    d->count--;
}

static bool grow(struct tpi_dedup *d)
{
    size_t cap = d->queue_cap == 0 ? FIRST_CAP : d->queue_cap * 2;
    struct tpi_dedup_entry *queue = tpi_alloc(d->alloc, cap * sizeof(queue[0]));
    uint64_t *set = tpi_alloc_zero(d->alloc, 2 * cap * sizeof(set[0]));
    if (queue == NULL || set == NULL) {
        tpi_free(d->alloc, queue, cap * sizeof(queue[0]));
        tpi_free(d->alloc, set, 2 * cap * sizeof(set[0]));
        return false;
    }
    for (size_t i = 0; i < d->count; i++) {
        queue[i] = d->queue[(d->first + i) & (d->queue_cap - 1)];
        set[place(set, 2 * cap, queue[i].key)] = queue[i].key;
    }
    tpi_free(d->alloc, d->set, d->set_cap * sizeof(d->set[0]));
    tpi_free(d->alloc, d->queue, d->queue_cap * sizeof(d->queue[0]));
    d->set = set;
    d->set_cap = 2 * cap;
    d->queue = queue;
    d->queue_cap = cap;
    d->first = 0;
    return true;
}

bool tpi_dedup_seen(struct tpi_dedup *d, uint64_t key, uint64_t mono_ms)
{
    uint32_t now = (uint32_t) (mono_ms / 1000);
    while (d->count > 0 && now - d->queue[d->first].second > TPI_DEDUP_KEEP_S) {
        drop_oldest(d);
    }
    key = real_key(key);
    return d->count > 0 && d->set[place(d->set, d->set_cap, key)] == key;
}

bool tpi_dedup_add(struct tpi_dedup *d, uint64_t key, uint64_t mono_ms)
{
    key = real_key(key);
    if (d->count == d->queue_cap && (d->queue_cap == TPI_DEDUP_MAX || !grow(d))) {
        if (d->count == 0) {
            return false;
        }
        drop_oldest(d);
        d->early++;
    }
    size_t i = (d->first + d->count) & (d->queue_cap - 1);
    d->queue[i].key = key;
    d->queue[i].second = (uint32_t) (mono_ms / 1000);
    d->count++;
    d->set[place(d->set, d->set_cap, key)] = key;
    return true;
}

void tpi_dedup_forget(struct tpi_dedup *d, uint64_t key)
{
    if (key == 0) {
        return;
    }
    for (size_t i = d->count; i > 0; i--) {
        struct tpi_dedup_entry *e = &d->queue[(d->first + i - 1) & (d->queue_cap - 1)];
        if (e->key == key) {
            set_remove(d, key);
            e->key = 0; /* is in no set: drop_oldest() and grow() pass over it */
            return;
        }
    }
}

void tpi_dedup_undo(struct tpi_dedup *d, size_t n)
{
    for (; n > 0 && d->count > 0; n--) {
        d->count--;
        set_remove(d, d->queue[(d->first + d->count) & (d->queue_cap - 1)].key);
    }
}
