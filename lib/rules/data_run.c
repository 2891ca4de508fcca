/* Data rules at work: messages come into windows, windows become rows. */
#include "base/alloc.h"
#include "base/hash.h"
#include "registry/device.h"
#include "rules/chain.h"
#include "rules/data_run.h"
#include "rules/data_trace.h"

#include <string.h>

/* For who follows the rule; only where somebody does. */
struct tpi_data_trace tpi_run_trace(const struct run *x)
{
    return (struct tpi_data_trace){ .trace = x->r->workers[x->worker].trace,
                                    .rule = x->d,
                                    .device = x->device,
                                    .unix_ms = x->msg != NULL ? x->msg->received_unix_ms
                                                              : tpi_unix_ms(x->r->env) };
}

static void tell_window(const struct run *x, enum tpi_window_step step, const struct tpi_pane *p,
                        int64_t start_ms, int64_t end_ms)
{
    if (x->r->workers[x->worker].trace != NULL) {
        struct tpi_data_trace at = tpi_run_trace(x);
        tpi_data_trace_window(&at, step, p, start_ms, end_ms);
    }
}

static bool holds(struct run *x, uint32_t part, const struct tpi_expr_host *host)
{
    struct rule_worker *w = &x->r->workers[x->worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    const struct tpi_expr *e = x->d->program.exprs[part];
    if (e != NULL && w->trace != NULL) {
        struct tpi_data_trace at = tpi_run_trace(x);
        return tpi_data_trace_test(&at, part, host, x, &scratch) == 1;
    }
    return e == NULL || tpi_expr_test(e, host, x, &scratch) == 1;
}

/* ---- rows ---- */

/* What one row needs; members has room for the columns and what is added. */
struct row {
    struct tpc_member *members;
    uint32_t count;
    uint32_t own;                 /* of them, those that the statement names */
    struct tpi_expr_scratch rest; /* of the worker's texts */
};

static void fill_columns(struct run *x, struct row *row)
{
    const struct tpi_expr_host *host =
        x->pane != NULL ? &tpi_run_window_host : &tpi_run_message_host;
    for (uint32_t i = 0; i < x->d->column_count; i++) {
        if (x->d->column_groups[i] < TPI_SQL_MAX_GROUPS) {
            row->members[row->count++] =
                (struct tpc_member){ x->d->columns[i], x->groups[x->d->column_groups[i]] };
            continue;
        }
        struct tpi_expr_scratch own = { row->rest.buf, row->rest.cap, 0, 0 };
        row->members[row->count++] =
            (struct tpc_member){ x->d->columns[i],
                                 tpi_expr_eval(tpi_data_rule_column(x->d, i), host, x, &own) };
        row->rest.buf += own.used;
        row->rest.cap -= own.used;
        if (own.overflows > 0) {
            TPI_METRIC_ADD(x->r->counters.texts_lost, own.overflows);
        }
    }
}

/* SELECT *: keys of properties that have been removed since are empty, and left out. */
static void fill_points(struct run *x, struct row *row)
{
    const struct tpi_model *model = x->device->product->model;
    for (uint32_t i = 0; i < x->msg->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(x->msg, i);
        struct tpc_str key = p->key;
        int index = key.len == 0 ? tpi_model_find_id(model, p->property) : -1;
        if (index >= 0) {
            key = tpi_model_property(model, (uint32_t) index)->key;
        }
        if (key.len > 0) {
            row->members[row->count++] = (struct tpc_member){ key, p->value };
        }
    }
}

static void add_member(struct row *row, struct tpc_str name, struct tpc_value value)
{
    for (uint32_t i = 0; i < row->count; i++) {
        if (tpc_str_equal(row->members[i].key, name)) {
            return;
        }
    }
    row->members[row->count++] = (struct tpc_member){ name, value };
}

static void add_extra(const struct run *x, struct row *row)
{
    struct tpc_value key;
    for (uint32_t i = 0; i < x->d->group_count; i++) {
        if (tpi_data_rule_adds_group(x->d, i)) {
            row->members[row->count++] = (struct tpc_member){ x->d->groups[i], x->groups[i] };
        }
    }
    if (x->device != NULL) {
        key = tpi_run_text(x->device->key);
        add_member(row, TPC_STR("device"), key);
    }
    if (x->pane != NULL) {
        add_member(row, TPC_STR("window_start_ms"),
                   (struct tpc_value){ .type = TPC_INT, .as.i = x->start_ms });
        add_member(row, TPC_STR("window_end_ms"),
                   (struct tpc_value){ .type = TPC_INT, .as.i = x->end_ms });
    }
}

/* Whom rows are about. false: the device that they name does not exist. */
static bool find_target(struct run *x)
{
    const struct tpi_data_rule *d = x->d;
    x->target = d->target.len == 0
                    ? x->device
                    : tpi_registry_find_in(x->r->host.registry, d->tenant_id, d->target);
    if (d->target.len == 0 || x->target != NULL) {
        return true;
    }
    TPI_METRIC_ADD(x->r->counters.missing_target, 1);
    tpi_tally_failed(&x->d->ledger.workers[x->worker], tpi_unix_ms(x->r->env),
                     TPI_LEDGER_EVENT | TPI_LEDGER_MISSING, TPC_ENOENT, 0);
    tpi_run_warn(x, "the device that its rows are about does not exist");
    return false;
}

static void give_row(struct run *x, struct row *row, uint64_t offset)
{
    const struct tpi_data_rule *d = x->d;
    struct tpc_value value = { .type = TPC_MAP, .len = row->count, .as.members = row->members };
    struct tpi_tally *tally = &d->ledger.workers[x->worker];
    struct tpi_act act = { .rules = x->r,
                           .tally = tally,
                           .worker = x->worker,
                           .tenant_id = d->tenant_id,
                           .tenant = d->tenant,
                           .rule = d->id,
                           .revision = d->revision,
                           .document = d->actions.document,
                           .by = d->by,
                           .device = x->target,
                           .partition = x->partition,
                           .offset = offset,
                           .unix_ms = x->msg != NULL ? x->msg->received_unix_ms : x->end_ms,
                           .again = x->pane != NULL, /* its messages came before a start, perhaps */
                           .row = &value,
                           .from = { &tpi_run_row_host, x, &row->rest } };
    act.hops = tpi_chain_before(x->r, x->device, x->msg, &act.origin);
    TPI_METRIC_ADD(x->r->counters.rows, 1);
    tally->fired++;
    tally->fired_ms = x->msg != NULL ? x->msg->received_unix_ms : x->end_ms;
    x->row = row->members;
    if (x->r->workers[x->worker].trace != NULL) {
        struct tpi_data_trace at = tpi_run_trace(x);
        tpi_data_trace_row(&at, &value);
    }
    if (d->event.len > 0 && x->target != NULL &&
        act.hops < TPI_RULES_HOPS) { /* else it is cut below */
        tpi_run_event(x, &act, &value);
    }
    if (d->values && x->target != NULL && act.hops < TPI_RULES_HOPS) {
        struct tpc_value own = { .type = TPC_MAP, .len = row->own, .as.members = row->members };
        tpi_run_values(x, &act, &own);
    }
    tpi_act(&act, &x->d->actions);
}

/* One row; offset: what its ids are made of. */
static void emit(struct run *x, uint64_t offset)
{
    struct tpc_member local[TPI_SQL_MAX_ITEMS + TPI_ROW_EXTRA];
    struct rule_worker *w = &x->r->workers[x->worker];
    struct row row = { local, 0, 0, { w->texts, sizeof(w->texts), 0, 0 } };
    /* A window of the clock's ended at its end, whoever looks at it when. */
    int64_t ms = x->pane != NULL && !x->d->by_event ? x->end_ms : x->caused_ms;
    if (ms < x->d->watch.fence_ms) {
        return; /* the rule before it did: fence.c */
    }
    if (!find_target(x)) {
        return;
    }
    size_t many = x->d->all ? x->msg->point_count + (size_t) TPI_ROW_EXTRA : 0;
    if (many > TPI_SQL_MAX_ITEMS) {
        row.members = tpi_alloc_array(x->r->env->alloc, many, sizeof(*local));
    }
    if (row.members == NULL) {
        TPI_METRIC_ADD(x->r->counters.refused, 1);
        return;
    }
    if (x->d->all) {
        fill_points(x, &row);
    } else {
        fill_columns(x, &row);
    }
    row.own = row.count;
    add_extra(x, &row);
    give_row(x, &row, offset);
    if (row.members != local) {
        tpi_free(x->r->env->alloc, row.members, many * sizeof(*local));
    }
}

/* Views into the flow. */
static void load_groups(struct run *x)
{
    const struct tpi_group *g = tpi_map64_get(&x->flow->groups, x->key);
    struct tpc_bytes bytes = { g != NULL ? g->bytes : NULL, g != NULL ? g->len : 0 };
    tpi_group_values(bytes, x->r->workers[x->worker].input_arena, x->d->group_count, x->groups);
}

static void emit_pane(struct run *x, const struct tpi_pane *p, int64_t start_ms, int64_t end_ms)
{
    struct tpc_value groups[TPI_SQL_MAX_GROUPS];
    x->pane = p;
    x->start_ms = start_ms;
    x->end_ms = end_ms;
    x->groups = groups;
    if (x->d->group_count > 0) {
        load_groups(x);
    }
    tell_window(x, TPI_WINDOW_ENDS, p, start_ms, end_ms);
    if (x->d->bags && tpc_arena_create(x->r->env->alloc, 0, &x->lists) != 0) {
        x->lists = NULL;
    }
    if (holds(x, TPI_PART_HAVING, &tpi_run_window_host)) {
        emit(x, tpi_hash64(x->key ^ tpi_hash64(p->mark)));
    }
    x->lists = tpc_arena_destroy(x->lists);
    x->groups = NULL;
    x->pane = NULL;
}

/* ---- windows that end for all devices at once ---- */

/* Of a pane that is emitted later. false: it is gone. */
static bool find_device(struct run *x)
{
    if (x->d->spread) {
        return true;
    }
    x->device = tpi_registry_by_id(x->r->host.registry, x->key);
    return x->device != NULL && x->device->product != NULL;
}

/* The first one of a flow; its panes become rows and are freed. */
static uint32_t close_first(const struct run *x, struct tpi_flow *f)
{
    struct tpi_open *o = f->first;
    struct run y = *x;
    size_t iter = 0;
    uint64_t id;
    void *pane;
    uint32_t n = 0;
    y.msg = NULL;
    while (tpi_map64_next(&o->panes, &iter, &id, &pane)) {
        y.key = id;
        if (x->d->program.good && find_device(&y)) {
            emit_pane(&y, pane, o->start_ms, o->end_ms);
            n++;
        }
    }
    f->done_ms = o->end_ms;
    tpi_flow_pop(f);
    return n;
}

static uint32_t close_until(const struct run *x, struct tpi_flow *f, int64_t unix_ms)
{
    uint32_t n = 0;
    while (f->first != NULL && f->first->end_ms <= unix_ms) {
        n += close_first(x, f);
    }
    return n;
}

static void warn_full(struct run *x)
{
    TPI_METRIC_ADD(x->r->counters.panes_full, 1);
    tpi_run_warn(x, "messages are not in a window: no memory for it");
}

static void wait_for(struct run *x, int64_t at_ms, uint64_t device, uint32_t tag)
{
    struct rule_worker *w = &x->r->workers[x->worker];
    struct tpi_due_item item = { at_ms, x->d->id, device, x->partition, tag };
    tpi_due_prune(&w->due, tpi_rules_is_over, x->r);
    if (tpi_due_add(&w->due, &item) != 0) {
        warn_full(x); /* it ends with the next message that is past its end */
    }
    tpi_rules_due_changed(w);
}

/* What an aggregate takes from the message; `count` of a message takes true. */
static struct tpc_value taken(struct run *x, uint32_t call, struct tpi_expr_scratch *scratch)
{
    const struct tpi_expr *arg = tpi_data_rule_arg(x->d, call);
    if (x->input != NULL) {
        return x->input->values[call];
    }
    return arg != NULL ? tpi_expr_eval(arg, &tpi_run_message_host, x, scratch)
                       : (struct tpc_value){ .type = TPC_BOOL, .as.b = true };
}

static void count_lost(struct run *x, uint32_t lost)
{
    if (lost > 0) {
        TPI_METRIC_ADD(x->r->counters.values_lost, lost);
    }
}

static void add(struct run *x, struct tpi_flow *f, struct tpi_pane *p)
{
    const struct tpi_data_rule *d = x->d;
    struct rule_worker *w = &x->r->workers[x->worker];
    if (x->moment != NULL) {
        count_lost(x, tpi_flow_play(f, p, x->moment, x->values));
        return;
    }
    for (uint32_t i = 0; i < d->call_count; i++) {
        struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
        struct tpc_value v = taken(x, i, &scratch);
        if (!tpi_aggregate_bags(d->functions[i])) {
            tpi_aggregate_add(d->functions[i], &p->aggregates[i], &v);
        } else {
            count_lost(x, tpi_flow_add(f, p, i, &v));
        }
    }
    p->count++;
}

static struct tpi_pane *pane_in(struct run *x, struct tpi_flow *f, int64_t start_ms, int64_t end_ms,
                                struct tpi_open **ret_open, bool *ret_new)
{
    bool fresh = false;
    struct tpi_open *o = tpi_flow_open(f, start_ms, end_ms, &fresh);
    if (o != NULL && fresh && end_ms != INT64_MAX) {
        wait_for(x, end_ms, 0, 0);
    }
    struct tpi_pane *p = o != NULL ? tpi_flow_pane(f, o, x->key, ret_new) : NULL;
    if (p == NULL) {
        warn_full(x);
    }
    *ret_open = o;
    return p;
}

/* A message that comes after the end of its window is in the next one: nothing is lost. */
static void collect_timed(struct run *x, struct tpi_flow *f, int64_t unix_ms)
{
    const struct tpi_sql_window *w = &x->d->window;
    close_until(x, f, unix_ms);
    if (f->done_ms > unix_ms && f->done_ms - w->length_ms > unix_ms) {
        f->done_ms = unix_ms; /* the clock was set back */
    }
    unix_ms = unix_ms < f->done_ms ? f->done_ms : unix_ms;
    int64_t start = tpi_window_start(unix_ms, w->step_ms);
    for (; start > unix_ms - w->length_ms; start -= w->step_ms) {
        struct tpi_open *o;
        bool fresh;
        struct tpi_pane *p = pane_in(x, f, start, start + w->length_ms, &o, &fresh);
        if (p != NULL) {
            p->mark = (uint64_t) start;
            add(x, f, p);
            tell_window(x, fresh ? TPI_WINDOW_OPENS : TPI_WINDOW_TAKES, p, start,
                        start + w->length_ms);
        }
    }
}

/* ---- windows of one device ---- */

static int64_t session_end(const struct tpi_data_rule *d, const struct tpi_pane *p)
{
    int64_t silent = p->is.last_ms + d->window.step_ms;
    int64_t longest = p->start_ms + d->window.length_ms;
    return silent < longest ? silent : longest;
}

static void finish(struct run *x, struct tpi_flow *f, int64_t end_ms)
{
    struct tpi_pane *p = tpi_map64_get(&f->first->panes, x->key);
    if (x->d->program.good) {
        emit_pane(x, p, p->start_ms, end_ms);
    }
    tpi_flow_drop_pane(f, f->first, x->key);
}

static struct tpi_pane *own_pane(struct run *x, struct tpi_flow *f)
{
    return f->first != NULL ? tpi_map64_get(&f->first->panes, x->key) : NULL;
}

/* A condition of a state window: of the message, or as it was when the message came. */
static bool fits(struct run *x, uint32_t part, uint32_t flag)
{
    if (x->moment != NULL) {
        return (x->moment->flags & flag) != 0;
    }
    return x->input != NULL ? (x->input->flags & flag) != 0 : holds(x, part, &tpi_run_message_host);
}

static void collect_own(struct run *x, struct tpi_flow *f, int64_t unix_ms)
{
    const struct tpi_data_rule *d = x->d;
    uint32_t type = d->window.type;
    struct tpi_open *o;
    bool fresh = false;
    struct tpi_pane *p = own_pane(x, f);
    if (type == TPI_WINDOW_SESSION && p != NULL && session_end(d, p) <= unix_ms) {
        finish(x, f, session_end(d, p));
        p = NULL;
    }
    if (type == TPI_WINDOW_STATE && p == NULL && !fits(x, TPI_PART_BEGIN, TPI_RECENT_BEGIN)) {
        return;
    }
    p = p != NULL ? p : pane_in(x, f, 0, INT64_MAX, &o, &fresh);
    if (p == NULL) {
        return;
    }
    if (fresh) {
        p->mark = x->moment != NULL ? x->moment->mark : x->msg->offset;
        p->start_ms = unix_ms;
    }
    p->is.last_ms = unix_ms;
    add(x, f, p);
    tell_window(x, fresh ? TPI_WINDOW_OPENS : TPI_WINDOW_TAKES, p, p->start_ms,
                type == TPI_WINDOW_SESSION ? session_end(d, p) : INT64_MAX);
    if (type == TPI_WINDOW_SESSION && fresh && !d->by_event) {
        wait_for(x, session_end(d, p), x->key, (uint32_t) p->mark);
    }
    if ((type == TPI_WINDOW_COUNT && p->count >= d->window.count) ||
        (type == TPI_WINDOW_STATE && fits(x, TPI_PART_EMIT, TPI_RECENT_EMIT))) {
        finish(x, f, unix_ms);
    }
}

/* ---- windows over several devices ---- */

/* What of a message its rule's owner needs. */
static int write_input(struct run *x, struct tpi_buf *out)
{
    const struct tpi_data_rule *d = x->d;
    struct rule_worker *w = &x->r->workers[x->worker];
    struct tpc_str origin;
    struct tpi_group_input in = { .rule = d->id,
                                  .hash = d->hash,
                                  .partition = x->msg->partition,
                                  .offset = x->msg->offset,
                                  .hops = tpi_chain_before(x->r, x->device, x->msg, &origin),
                                  .count = d->call_count };
    if (d->window.type == TPI_WINDOW_STATE) {
        in.flags |= holds(x, TPI_PART_BEGIN, &tpi_run_message_host) ? TPI_RECENT_BEGIN : 0U;
        in.flags |= holds(x, TPI_PART_EMIT, &tpi_run_message_host) ? TPI_RECENT_EMIT : 0U;
    }
    int rc = tpi_group_head(out, &in);
    for (uint32_t i = 0; rc == 0 && i < d->call_count; i++) {
        struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
        struct tpc_value v = taken(x, i, &scratch);
        rc = tpi_group_value(out, &v, false);
    }
    for (uint32_t i = 0; rc == 0 && i < d->group_count; i++) {
        struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
        struct tpc_value v =
            tpi_expr_eval(tpi_data_rule_group(d, i), &tpi_run_group_host, x, &scratch);
        rc = tpi_group_value(out, &v, true);
    }
    return rc;
}

/* To the owner. */
static void send_input(struct run *x)
{
    struct tpi_rules *r = x->r;
    struct tpi_buf *out = &r->workers[x->worker].input;
    struct tpi_rule_message m = { .partition = x->d->partition,
                                  .kind = TPI_MSG_RULE_INPUT,
                                  .by = x->d->by,
                                  .unix_ms = x->msg->unix_ms,
                                  .received_unix_ms = x->msg->received_unix_ms };
    tpi_buf_clear(out);
    int rc = write_input(x, out);
    m.raw = (struct tpc_bytes){ out->ptr, out->len };
    rc = rc != 0 ? rc : r->host.message(r->host.user, x->worker, &m);
    if (rc != 0 && rc != TPC_EEXIST) {
        warn_full(x);
    }
}

/* ---- messages and time ---- */

static struct tpi_flow *flow_of(struct run *x)
{
    struct tpi_map64 *flows = &x->r->partitions[x->partition].flows;
    struct tpi_flow *f = tpi_map64_get(flows, x->d->id);
    x->flow = f;
    if (f != NULL) {
        return f;
    }
    f = tpi_alloc(x->r->env->alloc, sizeof(*f));
    if (f != NULL) {
        tpi_flow_init(f, x->r->env->alloc, x->d->functions, x->d->call_count);
        f->chains = tpi_data_rule_chains(x->d);
    }
    if (f == NULL || (x->d->spread && tpi_flow_spread(f, x->r->host.partitions) != 0) ||
        tpi_map64_put(flows, x->d->id, f, NULL) != 0) {
        if (f != NULL) {
            tpi_flow_fini(f);
        }
        tpi_free(x->r->env->alloc, f, sizeof(*f));
        warn_full(x);
        return NULL;
    }
    x->flow = f;
    return f;
}

static void collect(struct run *x, struct tpi_flow *f)
{
    const struct tpi_data_rule *d = x->d;
    if (d->lanes) {
        tpi_run_lane(x, f);
    } else if (d->window.type == TPI_WINDOW_TUMBLING || d->window.type == TPI_WINDOW_HOPPING) {
        collect_timed(x, f, x->msg->received_unix_ms);
    } else {
        collect_own(x, f, x->msg->received_unix_ms);
    }
}

static void look(struct run *x)
{
    const struct tpi_data_rule *d = x->d;
    if (!holds(x, TPI_PART_WHERE, &tpi_run_message_host) ||
        !holds(x, TPI_PART_FILTER, &tpi_run_message_host)) {
        return;
    }
    d->ledger.workers[x->worker].matched++;
    if (d->window.type == TPI_WINDOW_NONE) {
        emit(x, x->msg->offset);
        return;
    }
    if (d->spread) {
        send_input(x);
        return;
    }
    struct tpi_flow *f = flow_of(x);
    if (f != NULL) {
        collect(x, f);
    }
}

/* Timed, or told. */
static void look_slowly(struct run *x, struct tpi_tally *tally)
{
    struct rule_worker *w = &x->r->workers[x->worker];
    w->trace = tpi_trace_look(tally, x->device->id);
    if (w->trace != NULL) {
        tpi_trace_message(w->trace, x->device->key, x->msg);
        look(x);
        tpi_trace_told(w->trace);
        w->trace = NULL;
        return;
    }
    uint64_t from = tpi_mono_ns(x->r->env);
    look(x);
    tpi_tally_timed(tally, from, tpi_mono_ns(x->r->env));
}

void tpi_data_rule_message(struct tpi_rules *r, uint32_t worker, struct tpi_data_rule *d,
                           struct tpc_device *device, const struct tpc_msg *msg)
{
    struct run x = { .r = r,
                     .worker = worker,
                     .partition = msg->partition,
                     .d = d,
                     .device = device,
                     .key = device->id,
                     .msg = msg,
                     .caused_ms = msg->received_unix_ms };
    struct tpi_tally *tally = &d->ledger.workers[worker];
    r->workers[worker].evaluations++;
    if ((tally->evaluated++ & tally->usual) == 0) {
        look_slowly(&x, tally);
    } else {
        look(&x);
    }
}

void tpi_data_rule_input(struct tpi_rules *r, uint32_t worker, struct tpi_data_rule *d,
                         const struct tpi_group_input *in)
{
    struct rule_worker *w = &r->workers[worker];
    struct tpc_msg head = { .size = sizeof(head),
                            .kind = TPC_MSG_TELEMETRY,
                            .partition = d->partition,
                            .offset = in->own_offset,
                            .origin = in->hops > 0 ? d->by : TPC_STR(""),
                            .code = (int32_t) in->hops,
                            .unix_ms = in->unix_ms,
                            .received_unix_ms = in->received_unix_ms };
    struct run x = { .r = r,
                     .worker = worker,
                     .partition = d->partition,
                     .d = d,
                     .key = in->key,
                     .input = in,
                     .msg = &head,
                     .caused_ms = in->received_unix_ms };
    struct tpi_flow *f = flow_of(&x);
    if (f == NULL || in->partition >= f->mark_count || in->offset < f->marks[in->partition]) {
        return;
    }
    f->marks[in->partition] = in->offset + 1;
    TPI_METRIC_ADD(r->counters.inputs, 1);
    if (tpi_flow_group(f, in->key, in->groups) != 0) {
        warn_full(&x);
        return;
    }
    w->trace = tpi_trace_look(&d->ledger.workers[worker], 0);
    collect(&x, f);
    tpi_trace_told(w->trace);
    w->trace = NULL;
}

static uint32_t session_due(struct run *x, struct tpi_flow *f, uint32_t tag, int64_t now_ms)
{
    struct tpi_pane *p = own_pane(x, f);
    if (p == NULL || (uint32_t) p->mark != tag) {
        return 0; /* of one that has ended */
    }
    int64_t end = session_end(x->d, p);
    if (end > now_ms) {
        wait_for(x, end, x->key, tag);
        return 0;
    }
    finish(x, f, end);
    return 1;
}

static uint32_t due(struct run *x, struct tpi_flow *f, const struct tpi_due_item *item,
                    int64_t now_ms)
{
    if (item->device == 0) {
        return close_until(x, f, now_ms);
    }
    x->key = item->device;
    if (!find_device(x)) {
        tpi_flow_drop_lane(f, item->device);
        if (f->first != NULL) {
            tpi_flow_drop_pane(f, f->first, item->device);
        }
        return 0;
    }
    return x->d->lanes ? tpi_run_lane_due(x, f, item->at_unix_ms, now_ms)
                       : session_due(x, f, item->tag, now_ms);
}

/* ---- for lanes ---- */

int tpi_run_pack(struct run *x, struct tpi_flow *f, int64_t ms, struct tpi_packed *ret)
{
    struct rule_worker *w = &x->r->workers[x->worker];
    int rc = 0;
    *ret = (struct tpi_packed){ .m = { .ms = ms, .mark = x->msg->offset }, .values = f->pack };
    tpi_buf_clear(&ret->values);
    for (uint32_t i = 0; rc == 0 && i < x->d->call_count; i++) {
        struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
        struct tpc_value v = taken(x, i, &scratch);
        rc = tpi_packed_add(ret, x->r->env->alloc, x->d->functions[i], &v);
    }
    if (x->d->window.type == TPI_WINDOW_STATE) {
        ret->m.flags |= fits(x, TPI_PART_BEGIN, TPI_RECENT_BEGIN) ? TPI_RECENT_BEGIN : 0U;
        ret->m.flags |= fits(x, TPI_PART_EMIT, TPI_RECENT_EMIT) ? TPI_RECENT_EMIT : 0U;
    }
    ret->m.bytes = (uint32_t) ret->values.len;
    f->pack = ret->values;
    count_lost(x, ret->lost);
    return rc;
}

void tpi_run_emit(struct run *x, const struct tpi_pane *p, int64_t start_ms, int64_t end_ms)
{
    if (x->d->program.good) {
        emit_pane(x, p, start_ms, end_ms);
    }
}

void tpi_run_add(struct run *x, struct tpi_flow *f, struct tpi_pane *p)
{
    add(x, f, p);
}

struct tpi_pane *tpi_run_pane(struct run *x, struct tpi_flow *f)
{
    return own_pane(x, f);
}

void tpi_run_collect(struct run *x, struct tpi_flow *f, int64_t unix_ms)
{
    collect_own(x, f, unix_ms);
}

uint32_t tpi_run_session(struct run *x, struct tpi_flow *f, int64_t unix_ms)
{
    const struct tpi_pane *p = own_pane(x, f);
    if (p == NULL || session_end(x->d, p) > unix_ms) {
        return 0;
    }
    finish(x, f, session_end(x->d, p));
    return 1;
}

void tpi_run_wait(struct run *x, int64_t at_ms)
{
    wait_for(x, at_ms, x->key, 0);
}

void tpi_run_full(struct run *x)
{
    warn_full(x);
}

uint32_t tpi_data_rule_due(struct tpi_rules *r, uint32_t worker, struct tpi_data_rule *d,
                           const struct tpi_due_item *item, int64_t now_ms)
{
    struct rule_worker *w = &r->workers[worker];
    struct tpi_tally *tally = &d->ledger.workers[worker];
    uint64_t from = tpi_mono_ns(r->env);
    w->trace = tpi_trace_look(tally, d->spread ? 0 : item->device);
    struct run x = {
        .r = r, .worker = worker, .partition = item->partition, .d = d, .caused_ms = now_ms
    };
    struct tpi_flow *f = tpi_map64_get(&r->partitions[item->partition].flows, d->id);
    x.flow = f;
    uint32_t n = f != NULL ? due(&x, f, item, now_ms) : 0;
    w->closed_ms = n > 0 ? now_ms : w->closed_ms;
    tpi_trace_told(w->trace);
    w->trace = NULL;
    tally->due_ns += tpi_mono_ns(r->env) - from;
    return n;
}
