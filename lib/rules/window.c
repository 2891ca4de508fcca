#include "rules/window.h"

#include "base/alloc.h"

#include <string.h>
#include <tpcore/error.h>

void tpi_flow_init(struct tpi_flow *f, const struct tpc_allocator *alloc, const uint8_t *functions,
                   uint32_t aggregates)
{
    *f = (struct tpi_flow){ .alloc = alloc, .aggregates = aggregates, .done_ms = INT64_MIN };
    tpi_map64_init(&f->lanes, alloc);
    tpi_map64_init(&f->groups, alloc);
    tpi_buf_init(&f->pack, alloc, 0);
    for (uint32_t i = 0; i < aggregates; i++) {
        f->functions[i] = functions[i];
        f->bags |= tpi_aggregate_bags(functions[i]);
    }
}

static size_t pane_bytes(const struct tpi_flow *f)
{
    return sizeof(struct tpi_pane) + f->aggregates * sizeof(struct tpi_aggregate);
}

void tpi_flow_clear(struct tpi_flow *f, struct tpi_pane *p)
{
    for (uint32_t i = 0; f->bags && i < f->aggregates; i++) {
        if (tpi_aggregate_bags(f->functions[i])) {
            tpi_bag_drop(f->alloc, &p->aggregates[i], &f->bytes);
        }
    }
}

/* One pane; *ret_next: the one behind it. */
static struct tpi_pane *pane_free(struct tpi_flow *f, struct tpi_pane *p)
{
    struct tpi_pane *next = f->chains ? p->is.next : NULL;
    tpi_flow_clear(f, p);
    tpi_free(f->alloc, p, pane_bytes(f));
    f->panes--;
    return next;
}

void tpi_flow_pop(struct tpi_flow *f)
{
    struct tpi_open *o = f->first;
    size_t iter = 0;
    void *pane;
    f->first = o->next;
    while (tpi_map64_next(&o->panes, &iter, NULL, &pane)) {
        for (struct tpi_pane *p = pane; p != NULL;) {
            p = pane_free(f, p);
        }
    }
    tpi_map64_fini(&o->panes);
    tpi_free(f->alloc, o, sizeof(*o));
}

static void lane_free(struct tpi_flow *f, struct tpi_lane *lane)
{
    tpi_recent_fini(&lane->past, f->alloc, &f->bytes);
    tpi_recent_fini(&lane->early, f->alloc, &f->bytes);
    tpi_free(f->alloc, lane, sizeof(*lane));
}

void tpi_flow_fini(struct tpi_flow *f)
{
    size_t iter = 0;
    void *lane;
    while (f->first != NULL) {
        tpi_flow_pop(f);
    }
    while (tpi_map64_next(&f->lanes, &iter, NULL, &lane)) {
        lane_free(f, lane);
    }
    tpi_map64_fini(&f->lanes);
    tpi_flow_spread_fini(f);
    tpi_buf_fini(&f->pack);
    if (f->spare != NULL) {
        tpi_flow_clear(f, f->spare);
        tpi_free(f->alloc, f->spare, pane_bytes(f));
    }
}

int64_t tpi_window_start(int64_t unix_ms, int64_t step_ms)
{
    int64_t rest = unix_ms % step_ms;
    return unix_ms - (rest < 0 ? rest + step_ms : rest);
}

struct tpi_open *tpi_flow_open(struct tpi_flow *f, int64_t start_ms, int64_t end_ms, bool *ret_new)
{
    struct tpi_open **at = &f->first;
    while (*at != NULL && (*at)->start_ms < start_ms) {
        at = &(*at)->next;
    }
    *ret_new = *at == NULL || (*at)->start_ms != start_ms;
    if (!*ret_new) {
        return *at;
    }
    struct tpi_open *o = tpi_alloc_zero(f->alloc, sizeof(*o));
    if (o != NULL) {
        o->start_ms = start_ms;
        o->end_ms = end_ms;
        o->next = *at;
        tpi_map64_init(&o->panes, f->alloc);
        *at = o;
    }
    return o;
}

/* ---- panes ---- */

static struct tpi_pane *pane_new(struct tpi_flow *f)
{
    struct tpi_pane *p =
        f->panes < TPI_FLOW_MAX_PANES ? tpi_alloc_zero(f->alloc, pane_bytes(f)) : NULL;
    if (p != NULL) {
        f->panes++;
    }
    return p;
}

static struct tpi_pane *pane_enter(struct tpi_flow *f, struct tpi_open *o, uint64_t device,
                                   struct tpi_pane *p)
{
    if (p != NULL && tpi_map64_put(&o->panes, device, p, NULL) != 0) {
        pane_free(f, p);
        return NULL;
    }
    return p;
}

struct tpi_pane *tpi_flow_pane(struct tpi_flow *f, struct tpi_open *o, uint64_t device,
                               bool *ret_new)
{
    struct tpi_pane *p = tpi_map64_get(&o->panes, device);
    *ret_new = p == NULL;
    return p != NULL ? p : pane_enter(f, o, device, pane_new(f));
}

struct tpi_pane *tpi_flow_chain(struct tpi_flow *f, struct tpi_open *o, uint64_t device,
                                int64_t start_ms, bool *ret_new)
{
    struct tpi_pane *first = tpi_map64_get(&o->panes, device);
    struct tpi_pane *before = NULL;
    struct tpi_pane *p = first;
    while (p != NULL && p->start_ms < start_ms) {
        before = p;
        p = p->is.next;
    }
    *ret_new = p == NULL || p->start_ms != start_ms;
    if (!*ret_new) {
        return p;
    }
    struct tpi_pane *fresh = pane_new(f);
    if (fresh == NULL) {
        return NULL;
    }
    fresh->start_ms = start_ms;
    if (before != NULL) {
        fresh->is.next = p;
        before->is.next = fresh;
        return fresh;
    }
    fresh = pane_enter(f, o, device, fresh);
    if (fresh != NULL) {
        fresh->is.next = first;
    }
    return fresh;
}

void tpi_flow_shift(struct tpi_flow *f, struct tpi_open *o, uint64_t device)
{
    struct tpi_pane *p = tpi_map64_get(&o->panes, device);
    if (p == NULL || !f->chains || p->is.next == NULL) {
        tpi_flow_drop_pane(f, o, device);
        return;
    }
    (void) tpi_map64_put(&o->panes, device, p->is.next, NULL); /* replaces: needs no memory */
    pane_free(f, p);
}

void tpi_flow_drop_pane(struct tpi_flow *f, struct tpi_open *o, uint64_t device)
{
    for (struct tpi_pane *p = tpi_map64_remove(&o->panes, device); p != NULL;) {
        p = pane_free(f, p);
    }
}

struct tpi_pane *tpi_flow_spare(struct tpi_flow *f)
{
    if (f->spare == NULL) {
        f->spare = tpi_alloc(f->alloc, pane_bytes(f));
    }
    if (f->spare != NULL) {
        memset(f->spare, 0, pane_bytes(f));
    }
    return f->spare;
}

/* ---- lanes ---- */

struct tpi_lane *tpi_flow_lane(struct tpi_flow *f, uint64_t device, bool *ret_new)
{
    struct tpi_lane *lane = tpi_map64_get(&f->lanes, device);
    *ret_new = lane == NULL;
    if (lane != NULL || tpi_map64_count(&f->lanes) == TPI_FLOW_MAX_PANES) {
        return lane;
    }
    lane = tpi_alloc_zero(f->alloc, sizeof(*lane));
    if (lane == NULL || tpi_map64_put(&f->lanes, device, lane, NULL) != 0) {
        tpi_free(f->alloc, lane, sizeof(*lane));
        return NULL;
    }
    lane->high_ms = lane->done_ms = INT64_MIN;
    lane->due_ms = INT64_MAX;
    return lane;
}

void tpi_flow_drop_lane(struct tpi_flow *f, uint64_t device)
{
    struct tpi_lane *lane = tpi_map64_remove(&f->lanes, device);
    if (lane != NULL) {
        lane_free(f, lane);
    }
}

/* ---- values ---- */

static int add_any(struct tpi_flow *f, struct tpi_aggregate *g, const struct tpc_value *v)
{
    struct tpi_packed one = { .lost = 0 };
    tpi_buf_init(&one.values, f->alloc, 0);
    int rc = tpi_packed_add(&one, f->alloc, TPI_SQL_COLLECT, v);
    if (rc == 0) {
        const uint8_t functions[] = { TPI_SQL_COLLECT };
        struct tpi_moment m = { .bytes = (uint32_t) one.values.len };
        one.lost += tpi_recent_play(f->alloc, functions, 1, &m, one.values.ptr, g,
                                    TPI_FLOW_MAX_BYTES, &f->bytes);
    }
    tpi_buf_fini(&one.values);
    return rc != 0 || one.lost > 0;
}

uint32_t tpi_flow_add(struct tpi_flow *f, struct tpi_pane *p, uint32_t aggregate,
                      const struct tpc_value *v)
{
    uint32_t function = f->functions[aggregate];
    struct tpi_aggregate *g = &p->aggregates[aggregate];
    if (!tpi_aggregate_bags(function)) {
        tpi_aggregate_add(function, g, v);
        return 0;
    }
    if (v->type == TPC_NULL) {
        return 0;
    }
    int rc = function == TPI_SQL_DISTINCT ? tpi_bag_mark(f->alloc, g, tpi_value_mark(f->alloc, v),
                                                         TPI_FLOW_MAX_BYTES, &f->bytes)
                                          : add_any(f, g, v);
    return rc != 0;
}

uint32_t tpi_flow_play(struct tpi_flow *f, struct tpi_pane *p, const struct tpi_moment *m,
                       const uint8_t *values)
{
    p->count++;
    return tpi_recent_play(f->alloc, f->functions, f->aggregates, m, values, p->aggregates,
                           TPI_FLOW_MAX_BYTES, &f->bytes);
}
