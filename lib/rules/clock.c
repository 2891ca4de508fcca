/* What waits by the wall clock, when somebody sets it back. */
#include "rules/rules_state.h"

/* When a pair fires by the clock as it is now. */
static int64_t later(const struct tpi_scene *s, const struct tpi_edge *e, int64_t seen_ms,
                     int64_t now_ms)
{
    int64_t most = s->each && s->for_ms == 0 ? s->debounce_ms : s->for_ms;
    int64_t left = e->at_unix_ms - seen_ms;
    if (e->at_unix_ms - now_ms <= most) {
        return e->at_unix_ms;
    }
    if (tpi_rules_is_moment(e->offset)) {
        return tpi_during_next(&s->during, now_ms);
    }
    left = left < 0 ? 0 : left > most ? most : left;
    return now_ms + left;
}

/*
 * A pair that would have to wait longer than its condition has to be true was begun by the clock that
 * is gone: what was left of its time when that clock was last seen is left of it now. Under the
 * worker's lock; a pair for whose new place there is no memory keeps the old one.
 */
static void set_back_pair(struct tpi_rules *r, uint32_t worker, uint32_t partition,
                          struct tpi_edge *e, int64_t seen_ms, int64_t now_ms)
{
    const struct tpi_scene *s = tpi_map64_get(&r->scenes, e->scene);
    if ((e->flags & TPI_EDGE_WAITS) == 0 || s == NULL) {
        return;
    }
    int64_t at = later(s, e, seen_ms, now_ms);
    if (at >= e->at_unix_ms) {
        return;
    }
    struct tpi_due_item item = {
        .at_unix_ms = at, .scene = e->scene, .device = e->device, .partition = partition
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
