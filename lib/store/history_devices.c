/*
 * Devices of the history: a table from number to what is known. One that only has stored chunks
 * takes 16 bytes in it, for there may be a million that say nothing; one that speaks gets a struct
 * of its own and keeps it. Open addressing, nothing is ever removed.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "store/history_open.h"

enum {
    FIRST_CAP = 64,
    AT_REST = 1,         /* bit of a word that is no pointer .. */
    PARTITION_SHIFT = 1, /* .. but a partition .. */
    PARTITION_BITS = 12,
    OFF_END_SHIFT = PARTITION_SHIFT + PARTITION_BITS /* .. and an off_end */
};
#define OFF_END_MAX (UINT64_MAX >> OFF_END_SHIFT)

static size_t home(const struct open_table *t, uint64_t id)
{
    return (size_t) ((tpi_hash64(id) >> 32) * t->cap >> 32);
}

/* The slot of a device, or the free one where it would be. The table is not full. */
static struct open_slot *find(const struct open_table *t, uint64_t id)
{
    size_t at = home(t, id);
    while (t->slots[at].word != 0 && t->slots[at].id != id) {
        at = at + 1 == t->cap ? 0 : at + 1;
    }
    return &t->slots[at];
}

/* Grows by a quarter: between 64 and 80 % of it is in use. */
static int reserve(struct tpi_history *h)
{
    struct open_table *t = &h->devices;
    struct open_table next = { NULL, t->cap == 0 ? FIRST_CAP : t->cap + t->cap / 4, t->count };
    if ((t->count + 1) * 5 <= t->cap * 4) {
        return 0;
    }
    next.slots = next.cap > UINT32_MAX
                     ? NULL
                     : tpi_alloc_array(h->env->alloc, next.cap, sizeof(struct open_slot));
    if (next.slots == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < t->cap; i++) {
        if (t->slots[i].word != 0) {
            *find(&next, t->slots[i].id) = t->slots[i];
        }
    }
    tpi_free(h->env->alloc, t->slots, t->cap * sizeof(struct open_slot));
    *t = next;
    return 0;
}

static struct open_device *as_device(uint64_t word)
{
    return (word & AT_REST) == 0 ? (struct open_device *) (uintptr_t) word : NULL;
}

static struct open_slot known(const struct tpi_history *h, uint64_t id)
{
    return h->devices.cap == 0 ? (struct open_slot){ id, 0 } : *find(&h->devices, id);
}

struct open_device *tpi_open_device_get(const struct tpi_history *h, uint64_t id)
{
    return as_device(known(h, id).word);
}

uint64_t tpi_open_device_off_end(const struct tpi_history *h, uint64_t id, uint32_t *ret_partition)
{
    uint64_t word = known(h, id).word;
    const struct open_device *d = as_device(word);
    if (d != NULL || word == 0) {
        *ret_partition = d != NULL ? d->partition : 0;
        return d != NULL ? d->off_end : 0;
    }
    *ret_partition = (uint32_t) (word >> PARTITION_SHIFT) & ((1u << PARTITION_BITS) - 1);
    return word >> OFF_END_SHIFT;
}

int tpi_open_device_make(struct tpi_history *h, uint64_t id, struct open_device **ret)
{
    int rc = reserve(h);
    if (rc != 0) {
        return rc;
    }
    struct open_slot *s = find(&h->devices, id);
    struct open_device *d = as_device(s->word);
    if (d == NULL) {
        d = tpi_alloc_zero(h->env->alloc, sizeof(*d));
        if (d == NULL) {
            return TPC_ENOMEM;
        }
        d->id = id;
        d->stored_max_ms = INT64_MIN;
        d->closed_max_ms = INT64_MIN;
        d->has_stored = s->word != 0;
        d->off_end = tpi_open_device_off_end(h, id, &d->partition);
        h->devices.count += s->word == 0;
        *s = (struct open_slot){ id, (uintptr_t) d };
    }
    *ret = d;
    return 0;
}

int tpi_open_device_rest(struct tpi_history *h, uint64_t id, uint64_t off_end, uint32_t partition)
{
    struct open_device *d = tpi_open_device_get(h, id);
    if (d != NULL || off_end > OFF_END_MAX || partition >> PARTITION_BITS != 0) {
        int rc = tpi_open_device_make(h, id, &d);
        if (rc == 0) {
            d->off_end = off_end;
            d->partition = partition;
            d->has_stored = true;
        }
        return rc;
    }
    int rc = reserve(h);
    if (rc == 0) {
        struct open_slot *s = find(&h->devices, id);
        h->devices.count += s->word == 0;
        *s = (struct open_slot){ id, off_end << OFF_END_SHIFT |
                                         (uint64_t) partition << PARTITION_SHIFT | AT_REST };
    }
    return rc;
}

bool tpi_open_device_next(const struct tpi_history *h, size_t *iter, uint64_t *ret_id)
{
    const struct open_table *t = &h->devices;
    while (*iter < t->cap) {
        const struct open_slot *s = &t->slots[(*iter)++];
        if (s->word != 0) {
            *ret_id = s->id;
            return true;
        }
    }
    return false;
}

void tpi_open_devices_free(struct tpi_history *h)
{
    struct open_table *t = &h->devices;
    for (size_t i = 0; i < t->cap; i++) {
        struct open_device *d = as_device(t->slots[i].word);
        while (d != NULL && d->first != NULL) {
            tpi_open_chunk_drop(h, d->first);
        }
        tpi_free(h->env->alloc, d, sizeof(*d));
    }
    tpi_free(h->env->alloc, t->slots, t->cap * sizeof(struct open_slot));
    *t = (struct open_table){ NULL, 0, 0 };
}
