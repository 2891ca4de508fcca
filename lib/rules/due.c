#include "rules/due.h"

#include "base/alloc.h"

#include <tpcore/error.h>

enum { FIRST_CAP = 16, PRUNE_FROM = 64 };

void tpi_due_init(struct tpi_due *d, const struct tpc_allocator *alloc)
{
    *d = (struct tpi_due){ .alloc = alloc };
}

void tpi_due_fini(struct tpi_due *d)
{
    tpi_free(d->alloc, d->items, d->cap * sizeof(*d->items));
    tpi_due_init(d, d->alloc);
}

/* Room for one more is there. */
static void put(struct tpi_due *d, const struct tpi_due_item *item)
{
    size_t i = d->count++;
    while (i > 0 && d->items[(i - 1) / 2].at_unix_ms > item->at_unix_ms) {
        d->items[i] = d->items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    d->items[i] = *item;
}

int tpi_due_add(struct tpi_due *d, const struct tpi_due_item *item)
{
    if (d->count == d->cap) {
        size_t cap = d->cap == 0 ? FIRST_CAP : d->cap * 2;
        struct tpi_due_item *items =
            tpi_resize(d->alloc, d->items, d->cap * sizeof(*items), cap * sizeof(*items));
        if (items == NULL) {
            return TPC_ENOMEM;
        }
        d->items = items;
        d->cap = cap;
    }
    put(d, item);
    return 0;
}

/* Those that were sorted in stand before the one that is read. */
void tpi_due_prune(struct tpi_due *d, tpi_due_over_fn *over, void *user)
{
    size_t n = d->count;
    if (n < d->cap || n < PRUNE_FROM) {
        return;
    }
    d->count = 0;
    for (size_t i = 0; i < n; i++) {
        struct tpi_due_item item = d->items[i];
        if (!over(user, &item)) {
            put(d, &item);
        }
    }
}

const struct tpi_due_item *tpi_due_first(const struct tpi_due *d)
{
    return d->count > 0 ? &d->items[0] : NULL;
}

void tpi_due_pop(struct tpi_due *d)
{
    struct tpi_due_item last = d->items[--d->count];
    size_t i = 0;
    for (size_t child = 1; child < d->count; child = 2 * i + 1) {
        if (child + 1 < d->count && d->items[child + 1].at_unix_ms < d->items[child].at_unix_ms) {
            child++;
        }
        if (d->items[child].at_unix_ms >= last.at_unix_ms) {
            break;
        }
        d->items[i] = d->items[child];
        i = child;
    }
    if (d->count > 0) {
        d->items[i] = last;
    }
}
