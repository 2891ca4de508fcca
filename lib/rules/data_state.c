/*
 * What is open in windows as bytes: count of rules; of each its id (varint), the hash of its statement
 * (u32), how many aggregates a pane has (varint), then the windows (window.c).
 */
#include "base/alloc.h"
#include "rules/data_rule.h"

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

static void drop_gone(struct tpi_rules *r, struct tpi_flow *f, struct tpi_open *o)
{
    size_t iter = 0;
    uint64_t device;
    void *pane;
    while (tpi_map64_next(&o->panes, &iter, &device, &pane)) {
        if (tpi_registry_by_id(r->host.registry, device) == NULL) {
            tpi_flow_drop_pane(f, o, device);
            iter--; /* a later one may stand there now */
        }
    }
}

void tpi_data_rules_expire(struct tpi_rules *r, uint32_t partition)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->partitions[partition].flows, &iter, NULL, &value)) {
        struct tpi_flow *f = value;
        for (struct tpi_open *o = f->first; o != NULL; o = o->next) {
            if (o->end_ms == INT64_MAX) {
                drop_gone(r, f, o);
            }
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
        rc = rc != 0 ? rc : tpi_flow_save(f, out);
    }
    return rc;
}

/* One rule's windows, kept if its statement is the same as when they were saved. */
static int read_flow(struct tpi_rules *r, struct tpi_reader *in, struct tpi_map64 *flows)
{
    uint64_t id = tpi_read_varint(in);
    uint32_t hash = tpi_read_u32(in);
    uint64_t aggregates = tpi_read_varint(in);
    if (in->bad || aggregates > TPI_SQL_MAX_AGGREGATES) {
        return TPC_ECORRUPT;
    }
    struct tpi_flow *f = tpi_alloc(r->env->alloc, sizeof(*f));
    if (f == NULL) {
        return TPC_ENOMEM;
    }
    tpi_flow_init(f, r->env->alloc, (uint32_t) aggregates);
    int rc = tpi_flow_read(f, in);
    const struct tpi_data_rule *d = tpi_map64_get(&r->data_rules, id);
    bool known = d != NULL && d->enabled && d->hash == hash && d->call_count == aggregates &&
                 tpi_map64_get(flows, id) == NULL;
    rc = rc == 0 && known ? tpi_map64_put(flows, id, f, NULL) : rc;
    if (rc != 0 || !known) {
        flow_free(f);
    }
    return rc;
}

int tpi_data_rules_read(struct tpi_rules *r, struct tpi_reader *in, struct tpi_map64 *flows)
{
    uint64_t n = tpi_read_varint(in);
    int rc = in->bad ? TPC_ECORRUPT : 0;
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        rc = read_flow(r, in, flows);
    }
    return rc;
}

/* When windows have to be looked at; sessions say there how long they still wait. */
static int wait_again(struct rule_worker *w, uint32_t partition, uint64_t rule,
                      const struct tpi_flow *f, bool session)
{
    int rc = 0;
    for (const struct tpi_open *o = f->first; rc == 0 && o != NULL; o = o->next) {
        size_t iter = 0;
        uint64_t device;
        void *pane;
        if (!session && o->end_ms != INT64_MAX) {
            struct tpi_due_item item = { o->end_ms, rule, 0, partition };
            rc = tpi_due_add(&w->due, &item);
        }
        while (rc == 0 && session && tpi_map64_next(&o->panes, &iter, &device, &pane)) {
            struct tpi_due_item item = { ((const struct tpi_pane *) pane)->last_ms, rule, device,
                                         partition };
            rc = tpi_due_add(&w->due, &item);
        }
    }
    return rc;
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
        rc = wait_again(w, partition, id, f, d->window.type == TPI_WINDOW_SESSION);
    }
    tpi_rules_due_changed(w);
    if (rc == 0) {
        tpi_flows_fini(&r->partitions[partition].flows);
        r->partitions[partition].flows = *flows;
    }
    return rc;
}
