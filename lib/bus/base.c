#include "bus/base.h"

int tpi_bus_cursor_open(struct tpi_bus_base *b, const struct tpc_cursor_options *o,
                        tpi_bus_first_fn *first, struct tpc_error *err, uint32_t *ret_cursor)
{
    uint32_t index, p;
    bool fresh;
    int rc;

    pthread_mutex_lock(&b->lock);
    rc = tpi_cursors_open(&b->cursors, o, err, &index, &fresh);
    for (p = 0; rc == 0 && fresh && p < b->tape.partitions; p++) {
        tpi_cursors_place(&b->cursors, b->cursors.list[index], p,
                          o->start == TPC_START_NEWEST ? b->tape.parts[p].next : first(b, p));
    }
    pthread_mutex_unlock(&b->lock);
    if (rc == 0) {
        *ret_cursor = index;
    }
    return rc;
}

int tpi_bus_cursor_position(void *self, uint32_t cursor, uint32_t partition, uint64_t *ret_offset)
{
    struct tpi_bus_base *b = self;
    const struct tpi_cursor *c;
    int rc = 0;

    pthread_mutex_lock(&b->lock);
    c = tpi_cursors_get(&b->cursors, cursor);
    if (c == NULL || partition >= b->tape.partitions) {
        rc = TPC_EINVAL;
    } else {
        *ret_offset = c->offsets[partition];
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

int tpi_bus_commit(struct tpi_bus_base *b, uint32_t cursor, uint32_t partition, uint64_t offset)
{
    struct tpi_cursor *c;
    int rc = 0;

    pthread_mutex_lock(&b->lock);
    c = tpi_cursors_get(&b->cursors, cursor);
    if (c == NULL || partition >= b->tape.partitions || offset > b->tape.parts[partition].next) {
        rc = TPC_EINVAL;
    } else {
        tpi_cursors_commit(&b->cursors, c, partition, offset);
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

void tpi_bus_cursor_close(void *self, uint32_t cursor, int forget)
{
    struct tpi_bus_base *b = self;

    pthread_mutex_lock(&b->lock);
    tpi_cursors_close(&b->cursors, cursor, forget != 0);
    pthread_mutex_unlock(&b->lock);
}

int tpi_bus_raise_end(void *self, uint32_t partition, uint64_t offset)
{
    struct tpi_bus_base *b = self;

    if (partition >= b->tape.partitions) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&b->lock);
    if (b->tape.parts[partition].next < offset) {
        b->tape.parts[partition].next = offset;
    }
    pthread_mutex_unlock(&b->lock);
    return 0;
}

int tpi_bus_cursors(void *self, tpc_cursor_info_fn *fn, void *user)
{
    struct tpi_bus_base *b = self;
    uint32_t p;
    int rc;

    pthread_mutex_lock(&b->lock);
    for (p = 0; p < b->tape.partitions; p++) {
        b->ends[p] = b->tape.parts[p].next;
    }
    rc = tpi_cursors_list(&b->cursors, b->ends, fn, user);
    pthread_mutex_unlock(&b->lock);
    return rc;
}
