/* What waits by the wall clock, when somebody sets it back. */
#include "rules/rules_state.h"

/*
 * A pair that would have to wait longer than its condition has to be true was begun by the clock that
 * is gone: what was left of its time when that clock was last seen is left of it now. Under the
 * worker's lock; a pair for whose new place there is no memory keeps the old one.
 */
static void set_back_pair(struct tpi_rules *r, uint32_t worker, uint32_t partition,
                          struct tpi_edge *e, int64_t seen_ms, int64_t now_ms)
{
    const struct tpi_scene *s = tpi_map64_get(&r->scenes, e->scene);
    if ((e->flags & TPI_EDGE_WAITS) == 0 || s == NULL || e->at_unix_ms - now_ms <= s->for_ms) {
        return;
    }
    int64_t left = e->at_unix_ms - seen_ms;
    left = left < 0 ? 0 : left > s->for_ms ? s->for_ms : left;
    struct tpi_due_item item = {
        .at_unix_ms = now_ms + left, .scene = e->scene, .device = e->device, .partition = partition
    };
    if (tpi_due_add(&r->workers[worker].due, &item) == 0) {
        e->at_unix_ms = item.at_unix_ms;
    }
}

void tpi_rules_set_back(struct tpi_rules *r, uint32_t worker, int64_t seen_ms, int64_t now_ms)
{
    for (uint32_t p = worker; p < r->host.partitions; p += r->host.workers) {
        struct tpi_edges *edges = &r->partitions[p].edges;
        for (size_t i = 0; i < edges->cap; i++) {
            if (edges->slots[i].scene != 0) {
                set_back_pair(r, worker, p, &edges->slots[i], seen_ms, now_ms);
            }
        }
    }
    tpi_rules_due_changed(&r->workers[worker]);
}
