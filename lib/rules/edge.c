/* Open addressing with linear probing; removal shifts back (Knuth 6.4, algorithm R). */
#include "rules/edge.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "rules/rules.h"

#include <assert.h>

enum { FIRST_CAP = 16 };

static size_t home(const struct tpi_edges *s, const struct tpi_edge *e)
{
    return (size_t) tpi_hash64(tpi_hash64(e->scene) ^ e->device) & (s->cap - 1);
}

/* Place of a pair, or the free place where it would go. cap > count. */
static size_t place(const struct tpi_edges *s, const struct tpi_edge *e)
{
    size_t i = home(s, e);
    while (s->slots[i].scene != 0 &&
           (s->slots[i].scene != e->scene || s->slots[i].device != e->device)) {
        i = (i + 1) & (s->cap - 1);
    }
    return i;
}

void tpi_edges_init(struct tpi_edges *s, const struct tpc_allocator *alloc)
{
    *s = (struct tpi_edges){ .alloc = alloc };
}

void tpi_edges_fini(struct tpi_edges *s)
{
    tpi_free(s->alloc, s->slots, s->cap * sizeof(*s->slots));
    tpi_edges_init(s, s->alloc);
}

static int grow(struct tpi_edges *s)
{
    struct tpi_edges bigger = { .alloc = s->alloc, .cap = s->cap == 0 ? FIRST_CAP : s->cap * 2 };
    bigger.slots = tpi_alloc_array(s->alloc, bigger.cap, sizeof(*bigger.slots));
    if (bigger.slots == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < s->cap; i++) {
        if (s->slots[i].scene != 0) {
            bigger.slots[place(&bigger, &s->slots[i])] = s->slots[i];
        }
    }
    bigger.count = s->count;
    tpi_edges_fini(s);
    *s = bigger;
    return 0;
}

struct tpi_edge *tpi_edges_find(const struct tpi_edges *s, uint64_t scene, uint64_t device)
{
    struct tpi_edge e = { .scene = scene, .device = device };
    size_t i = s->count > 0 ? place(s, &e) : 0;
    return s->count > 0 && s->slots[i].scene != 0 ? &s->slots[i] : NULL;
}

int tpi_edges_add(struct tpi_edges *s, const struct tpi_edge *edge)
{
    assert(edge->scene != 0);
    if (s->count >= TPI_RULES_MAX_EDGES) {
        return TPC_ETOOBIG;
    }
    if (s->count + 1 > s->cap / 4 * 3 && grow(s) != 0) {
        return TPC_ENOMEM;
    }
    s->slots[place(s, edge)] = *edge;
    s->count++;
    return 0;
}

static void remove_at(struct tpi_edges *s, size_t hole)
{
    size_t mask = s->cap - 1;
    for (size_t i = (hole + 1) & mask; s->slots[i].scene != 0; i = (i + 1) & mask) {
        size_t h = home(s, &s->slots[i]);
        if (((i - h) & mask) >= ((i - hole) & mask)) {
            s->slots[hole] = s->slots[i];
            hole = i;
        }
    }
    s->slots[hole].scene = 0;
    s->count--;
}

void tpi_edges_remove(struct tpi_edges *s, uint64_t scene, uint64_t device)
{
    const struct tpi_edge *e = tpi_edges_find(s, scene, device);
    if (e != NULL) {
        remove_at(s, (size_t) (e - s->slots));
    }
}

void tpi_edges_forget(struct tpi_edges *s, uint64_t scene)
{
    /* a removal may move a later pair to this place: look at it again */
    for (size_t i = 0; s->count > 0 && i < s->cap;) {
        if (s->slots[i].scene == scene) {
            remove_at(s, i);
        } else {
            i++;
        }
    }
}
