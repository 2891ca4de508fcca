/*
 * What is open in windows as bytes: count of rules; of each its id (varint), the hash of its statement
 * (u32), how many aggregates a pane has (varint), the function of each (u8; not before version 7, as the
 * next), whether it is over several devices (u8), then the windows (window_state.c), and of several
 * devices marks and groups (group.c).
 */
#include "base/alloc.h"
#include "rules/data_run.h"

#include <string.h>

enum { SWEEP = 4096 /* devices of a rule that are looked at, each time */ };

static void flow_free(struct tpi_flow *f)
{
    const struct tpc_allocator *alloc = f->alloc;
    tpi_flow_fini(f);
    tpi_free(alloc, f, sizeof(*f));
}

void tpi_flows_fini(struct tpi_map64 *flows)
{
    size_t iter = 0;
    void *f;
    while (tpi_map64_next(flows, &iter, NULL, &f)) {
        flow_free(f);
    }
    tpi_map64_fini(flows);
}

void tpi_data_rule_forget(struct tpi_rules *r, uint64_t rule)
{
    for (uint32_t i = 0; i < r->host.partitions; i++) {
        struct tpi_flow *f = tpi_map64_remove(&r->partitions[i].flows, rule);
        if (f != NULL) {
            flow_free(f);
        }
    }
}

/* A few at a time: states are saved often. own: panes that no time ends, or NULL. */
static void sweep(struct tpi_rules *r, struct tpi_flow *f, struct tpi_map64 *devices,
                  struct tpi_open *own, size_t *at)
{
    uint64_t device;
    for (int i = 0; i < SWEEP; i++) {
        if (!tpi_map64_next(devices, at, &device, NULL)) {
            *at = 0;
            return;
        }
        if (tpi_registry_by_id(r->host.registry, device) != NULL) {
            continue;
        }
        (*at)--; /* a later one may stand there now */
        tpi_flow_drop_lane(f, device);
        if (own != NULL) {
            tpi_flow_drop_pane(f, own, device);
        }
    }
}

void tpi_data_rules_expire(struct tpi_rules *r, uint32_t partition)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->partitions[partition].flows, &iter, NULL, &value)) {
        struct tpi_flow *f = value;
        struct tpi_open *own = f->first != NULL && f->first->end_ms == INT64_MAX ? f->first : NULL;
        if (f->spread) {
            tpi_flow_sweep_groups(f);
            continue;
        }
        sweep(r, f, &f->lanes, own, &f->sweep);
        if (own != NULL) { /* of a device that is silent, the lane may be gone and a pane not */
            sweep(r, f, &own->panes, own, &f->sweep_panes);
        }
    }
}

int tpi_data_rules_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out)
{
    const struct tpi_map64 *flows = &r->partitions[partition].flows;
    size_t iter = 0;
    uint64_t id;
    void *value;
    int rc = tpi_buf_varint(out, tpi_map64_count(flows));
    while (rc == 0 && tpi_map64_next(flows, &iter, &id, &value)) {
        const struct tpi_flow *f = value;
        const struct tpi_data_rule *d = tpi_map64_get(&r->data_rules, id);
        rc = tpi_buf_varint(out, id);
        rc = rc != 0 ? rc : tpi_buf_u32(out, d != NULL ? d->hash : 0);
        rc = rc != 0 ? rc : tpi_buf_varint(out, f->aggregates);
        rc = rc != 0 ? rc : tpi_buf_put(out, f->functions, f->aggregates);
        rc = rc != 0 ? rc : tpi_buf_u8(out, f->spread);
        rc = rc != 0 ? rc : tpi_flow_save(f, out);
        rc = rc == 0 && f->spread ? tpi_flow_save_groups(f, out) : rc;
    }
    return rc;
}

/* functions: of the aggregates, as they were saved. */
static int read_functions(struct tpi_reader *in, uint64_t count, uint8_t *functions)
{
    const uint8_t *p = tpi_read_bytes(in, count);
    for (uint64_t i = 0; p != NULL && i < count; i++) {
        functions[i] = p[i];
        if (p[i] >= TPI_SQL_FUNCTIONS) {
            return TPC_ECORRUPT;
        }
    }
    return p != NULL ? 0 : TPC_ECORRUPT;
}

/* One rule's windows, kept if its statement is the same as when they were saved. */
static int read_flow(struct tpi_rules *r, struct tpi_reader *in, bool old, struct tpi_map64 *flows)
{
    uint64_t id = tpi_read_varint(in);
    uint32_t hash = tpi_read_u32(in);
    uint64_t aggregates = tpi_read_varint(in);
    const struct tpi_data_rule *d = tpi_map64_get(&r->data_rules, id);
    uint8_t functions[TPI_SQL_MAX_AGGREGATES] = { TPI_SQL_COUNT };
    if (in->bad || aggregates > TPI_SQL_MAX_AGGREGATES) {
        return TPC_ECORRUPT;
    }
    bool known = d != NULL && d->enabled && d->hash == hash && d->call_count == aggregates &&
                 tpi_map64_get(flows, id) == NULL;
    int rc = 0;
    if (!old) {
        rc = read_functions(in, aggregates, functions);
        known = known && memcmp(functions, d->functions, (size_t) aggregates) == 0;
    } else if (known) {
        memcpy(functions, d->functions, (size_t) aggregates);
    }
    bool spread = rc == 0 && !old && tpi_read_u8(in) != 0;
    known = known && d->spread == spread;
    struct tpi_flow *f = rc == 0 ? tpi_alloc(r->env->alloc, sizeof(*f)) : NULL;
    if (f == NULL) {
        return rc != 0 ? rc : TPC_ENOMEM;
    }
    tpi_flow_init(f, r->env->alloc, functions, (uint32_t) aggregates);
    rc = spread ? tpi_flow_spread(f, r->host.partitions) : 0;
    rc = rc != 0 ? rc : tpi_flow_read(f, in, old);
    rc = rc == 0 && spread ? tpi_flow_read_groups(f, in) : rc;
    known = known && f->chains == tpi_data_rule_chains(d);
    rc = rc == 0 && known ? tpi_map64_put(flows, id, f, NULL) : rc;
    if (rc != 0 || !known) {
        flow_free(f);
    }
    return rc;
}

int tpi_data_rules_read(struct tpi_rules *r, struct tpi_reader *in, bool old,
                        struct tpi_map64 *flows)
{
    uint64_t n = tpi_read_varint(in);
    int rc = in->bad ? TPC_ECORRUPT : 0;
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        rc = read_flow(r, in, old, flows);
    }
    return rc;
}

/* When windows that end for all devices at once have to be looked at. */
static int windows_wait(struct rule_worker *w, uint32_t partition, uint64_t rule,
                        const struct tpi_flow *f)
{
    int rc = 0;
    for (const struct tpi_open *o = f->first; rc == 0 && o != NULL; o = o->next) {
        struct tpi_due_item item = { o->end_ms, rule, 0, partition, 0 };
        rc = o->end_ms != INT64_MAX ? tpi_due_add(&w->due, &item) : 0;
    }
    return rc;
}

/* Sessions say there how long they still wait. */
static int sessions_wait(struct rule_worker *w, uint32_t partition, uint64_t rule,
                         const struct tpi_flow *f)
{
    size_t iter = 0;
    uint64_t device;
    void *value;
    int rc = 0;
    while (rc == 0 && f->first != NULL &&
           tpi_map64_next(&f->first->panes, &iter, &device, &value)) {
        const struct tpi_pane *p = value;
        struct tpi_due_item item = { p->is.last_ms, rule, device, partition, (uint32_t) p->mark };
        rc = tpi_due_add(&w->due, &item);
    }
    return rc;
}

static int lanes_wait(struct rule_worker *w, uint32_t partition, const struct tpi_data_rule *d,
                      const struct tpi_flow *f)
{
    size_t iter = 0;
    uint64_t device;
    void *value;
    int rc = 0;
    while (rc == 0 && tpi_map64_next(&f->lanes, &iter, &device, &value)) {
        struct tpi_lane *lane = value;
        struct tpi_due_item item = { tpi_lane_next_ms(d, lane), d->id, device, partition, 0 };
        if (item.at_unix_ms != INT64_MAX) {
            lane->due_ms = item.at_unix_ms;
            rc = tpi_due_add(&w->due, &item);
        }
    }
    return rc;
}

static int wait_again(struct rule_worker *w, uint32_t partition, const struct tpi_data_rule *d,
                      const struct tpi_flow *f)
{
    if (d->lanes) {
        return lanes_wait(w, partition, d, f);
    }
    return d->window.type == TPI_WINDOW_SESSION ? sessions_wait(w, partition, d->id, f)
                                                : windows_wait(w, partition, d->id, f);
}

bool tpi_data_rule_waits(struct tpi_rules *r, const struct tpi_due_item *item)
{
    const struct tpi_flow *f = tpi_map64_get(&r->partitions[item->partition].flows, item->scene);
    if (f == NULL || item->device == 0) {
        return f != NULL && item->at_unix_ms > f->done_ms;
    }
    const struct tpi_lane *lane = tpi_map64_get(&f->lanes, item->device);
    const struct tpi_pane *p =
        f->first != NULL ? tpi_map64_get(&f->first->panes, item->device) : NULL;
    return (lane != NULL && lane->due_ms == item->at_unix_ms) ||
           (p != NULL && (uint32_t) p->mark == item->tag);
}

int tpi_data_rules_take(struct tpi_rules *r, uint32_t partition, struct tpi_map64 *flows)
{
    struct rule_worker *w = &r->workers[partition % r->host.workers];
    size_t iter = 0;
    uint64_t id;
    void *f;
    int rc = 0;
    while (rc == 0 && tpi_map64_next(flows, &iter, &id, &f)) {
        const struct tpi_data_rule *d = tpi_map64_get(&r->data_rules, id);
        rc = wait_again(w, partition, d, f);
    }
    tpi_rules_due_changed(w);
    if (rc == 0) {
        tpi_flows_fini(&r->partitions[partition].flows);
        r->partitions[partition].flows = *flows;
    }
    return rc;
}
