/* All metrics in one list, and as Prometheus text (exposition format 0.0.4). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "core/part.h"
#include "registry/why.h"

#define CORE_COUNTER(member, text)                                                                 \
    {                                                                                              \
        "core_" #member "_total", text, TPC_METRIC_COUNTER,                                        \
            (uint32_t) offsetof(struct tpi_core_counters, member)                                  \
    }
#define CORE_GAUGE(member, text)                                                                   \
    {                                                                                              \
        "core_" #member, text, TPC_METRIC_GAUGE,                                                   \
            (uint32_t) offsetof(struct tpi_core_counters, member)                                  \
    }

static const struct tpi_metric_def core_metrics[] = {
    CORE_COUNTER(receive_later, "Frames answered with later: ring, log or memory full"),
    CORE_COUNTER(receive_too_big, "Frames over the limit of size"),
    CORE_COUNTER(memory_tight, "Frames answered with later because memory is short"),
    CORE_COUNTER(memory_high, "Times that caches shrank because memory was at 80 %"),
    CORE_GAUGE(sessions, "Sessions that are open"),
    CORE_COUNTER(takeovers, "Sessions that took the place of another one of the device"),
    CORE_COUNTER(presence_timeouts, "Devices offline because they were silent"),
    CORE_COUNTER(presence_passes, "Passes that looked for silent devices"),
    CORE_COUNTER(settled, "Tickets settled"),
    CORE_COUNTER(append_waits, "Appends that the log could not take at once"),
    CORE_COUNTER(answers, "Answers sent to devices that asked for one"),
    CORE_COUNTER(answers_failed, "Answers that could not be sent"),
    CORE_COUNTER(subs_created, "Devices made because their gateway reported for them"),
    CORE_COUNTER(subs_refused, "Devices that gateways reported for and that were not made"),
    CORE_COUNTER(devices_made, "Devices made by modules"),
    CORE_COUNTER(devices_refused, "Devices that a module had made too many before"),
    CORE_COUNTER(rule_switches_failed, "Entities that a rule could not switch on or off"),
    CORE_COUNTER(rule_commands_lost, "Commands without a waiting caller that were dropped"),
    CORE_COUNTER(rule_messages_lost, "Notifications and alerts of rules that were dropped"),
    CORE_COUNTER(rule_inputs_waits,
                 "Times that uplinks waited for windows over several devices to take what came"),
    CORE_COUNTER(announcements_lost, "Changes of entities that were not announced"),
    CORE_COUNTER(records_unreadable, "Records of the log that could not be read"),
    CORE_COUNTER(stream_retries, "Batches that a consumer refused"),
    CORE_COUNTER(stream_gaps, "Gaps in what followers of the log got"),
    CORE_COUNTER(command_rows_dropped,
                 "Records of commands that made room, or whose device is gone"),
};

struct telling {
    tpc_metric_fn *fn;
    void *user;
    int rc;
};

static void tell(struct telling *t, const char *name, const char *help, uint32_t type,
                 struct tpc_str labels, double value)
{
    char full[128];
    snprintf(full, sizeof(full), "tpc_%s", name);
    struct tpc_metric m = { .size = sizeof(m),
                            .type = type,
                            .name = full,
                            .help = help,
                            .labels = labels,
                            .value = value };
    if (t->rc == 0) {
        t->rc = t->fn(t->user, &m);
    }
}

static void tell_table(struct telling *t, const struct tpi_metric_def *defs, uint32_t count,
                       const void *counters)
{
    for (uint32_t i = 0; i < count; i++) {
        const _Atomic uint64_t *value =
            (const _Atomic uint64_t *) (const void *) ((const char *) counters + defs[i].offset);
        tell(t, defs[i].name, defs[i].help, defs[i].type, (struct tpc_str){ NULL, 0 },
             (double) atomic_load_explicit(value, memory_order_relaxed));
    }
}

static void gauge(struct telling *t, const char *name, const char *help, double value)
{
    tell(t, name, help, TPC_METRIC_GAUGE, (struct tpc_str){ NULL, 0 }, value);
}

static void counter(struct telling *t, const char *name, const char *help, double value)
{
    tell(t, name, help, TPC_METRIC_COUNTER, (struct tpc_str){ NULL, 0 }, value);
}

static void tell_rings(struct tpc_core *core, struct telling *t)
{
    for (uint32_t i = 0; i < core->worker_count; i++) {
        struct tpi_worker *w = &core->workers[i];
        char label[32];
        int len = snprintf(label, sizeof(label), "worker=\"%u\"", (unsigned) i);
        struct tpc_str labels = { label, (size_t) len };
        if (w->ring_made) {
            tell(t, "core_ring_bytes", "Bytes that wait for a worker", TPC_METRIC_GAUGE, labels,
                 (double) tpi_ring_used(&w->ring));
            tell(t, "core_ring_high_bytes", "Most bytes that ever waited", TPC_METRIC_GAUGE, labels,
                 (double) tpi_ring_high(&w->ring));
        }
    }
}

static void tell_log(struct tpc_core *core, struct telling *t)
{
    struct tpc_bus_info info;
    memset(&info, 0, sizeof(info));
    info.size = sizeof(info);
    if (core->bus == NULL || core->bus->info(core->bus_self, &info) != 0) {
        return;
    }
    gauge(t, "log_bytes", "Bytes kept in the log", (double) info.bytes);
    gauge(t, "log_pending_bytes", "Bytes appended and not flushed", (double) info.pending_bytes);
    counter(t, "log_appended_total", "Sequence of the last append",
            (double) info.appended_sequence);
    counter(t, "log_flushed_total", "Sequence that is flushed", (double) info.flushed_sequence);
    counter(t, "log_bad_frames_total", "Damaged frames skipped", (double) info.bad_frames);
    counter(t, "log_bad_bytes_total", "Damaged bytes skipped", (double) info.bad_bytes);
    counter(t, "log_torn_bytes_total", "Bytes cut off the end at start", (double) info.torn_bytes);
    counter(t, "log_refused_total", "Appends refused for want of room", (double) info.refused);
    counter(t, "log_trimmed_segments_total", "Segments dropped", (double) info.trimmed_segments);
    counter(t, "log_flush_failures_total", "Flushes that failed",
            (double) atomic_load(&core->flush.failures));
    counter(t, "store_commit_failures_total", "Commits to the stores that failed",
            (double) atomic_load(&core->pump.failures));
}

static void tell_clock(const struct tpi_clock *c, struct telling *t)
{
    gauge(t, "clock_unsure", "1 while the wall clock is not trusted", atomic_load(&c->unsure));
    gauge(t, "clock_held", "1 while history or targets wait for the clock", atomic_load(&c->held));
    counter(t, "clock_stamped_total", "Records made while the clock was not trusted",
            (double) atomic_load(&c->stamped));
    counter(t, "clock_retimed_total", "Times that such a record was read with the right times",
            (double) atomic_load(&c->retimed));
    counter(t, "clock_marked_total", "Times that such a record was read as it is",
            (double) atomic_load(&c->marked));
}

static void tell_presence(struct tpc_core *core, struct telling *t)
{
    struct tpi_presence_counts c;
    struct tpc_str all = { NULL, 0 };
    if (tpi_registry_presence(core->registry, all, all, &c) == 0) {
        gauge(t, "registry_devices_online", "Devices that are online", (double) c.online);
        gauge(t, "registry_devices_active", "Devices that were online once", (double) c.active);
    }
    const struct tpi_why *y = tpi_registry_why(core->registry);
    counter(t, "why_notes_total", "Failures of devices noted", (double) TPI_METRIC_GET(y->notes));
    counter(t, "why_lost_total", "Failures not noted for want of memory",
            (double) TPI_METRIC_GET(y->lost));
    if (core->entities != NULL) {
        uint64_t first;
        uint64_t next;
        tpi_entities_audit_range(core->entities, &first, &next);
        gauge(t, "audit_rows", "Entries of the audit trail", (double) (next - first));
        counter(t, "audit_written_total", "Entries ever written",
                (double) (next > 0 ? next - 1 : 0));
        counter(t, "audit_dropped_total", "Entries that made room",
                (double) (first > 0 ? first - 1 : 0));
    }
    counter(t, "why_evicted_total", "Devices and strangers whose failures made room",
            (double) TPI_METRIC_GET(y->evicted));
}

/* A key as the value of a label. */
static void put_label(char *out, size_t cap, struct tpc_str text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len && n + 3 < cap; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\') {
            out[n++] = '\\';
        }
        out[n++] = text.ptr[i] == '\n' ? ' ' : text.ptr[i];
    }
    out[n] = '\0';
}

enum { TARGET_COUNTERS = 7, TARGET_METRICS = 10 };

struct target_metric {
    struct telling *t;
    uint32_t which;
};

static int tell_target(void *user, const struct tpc_forward_info *i)
{
    static const char *const names[] = {
        "forward_target_sent_total",    "forward_target_retried_total",
        "forward_target_refused_total", "forward_target_dead_total",
        "forward_target_gap_total",     "forward_target_newest_total",
        "forward_target_thinned_total", "forward_target_behind",
        "forward_target_behind_bytes",  "forward_target_buffer_seconds"
    };
    static const char *const helps[] = { "Messages delivered",
                                         "Batches that come again after a pause",
                                         "Batches refused by the other side",
                                         "Messages that became dead letters",
                                         "Records passed over",
                                         "Records passed over as they came",
                                         "Samples left out of what waited",
                                         "Records of the log not delivered or looked at yet",
                                         "The same in bytes, by the mean size of records",
                                         "Until a bound of what may wait bites; absent = none" };
    const uint64_t values[] = { i->sent,         i->retried,        i->refused, i->dead,
                                i->gap_records,  i->newest_records, i->thinned, i->behind,
                                i->behind_bytes, i->buffer_seconds };
    struct target_metric *m = user;
    char tenant[2 * 129];
    char key[2 * 129];
    char label[640];
    put_label(tenant, sizeof(tenant), i->tenant);
    put_label(key, sizeof(key), i->key);
    int len = snprintf(label, sizeof(label), "tenant=\"%s\",kind=\"%s\",target=\"%s\"", tenant,
                       i->kind.ptr, key);
    uint32_t w = m->which;
    if (values[w] == UINT64_MAX) {
        return 0;
    }
    tell(m->t, names[w], helps[w], w >= TARGET_COUNTERS ? TPC_METRIC_GAUGE : TPC_METRIC_COUNTER,
         (struct tpc_str){ label, (size_t) len }, (double) values[w]);
    return m->t->rc;
}

static void tell_forward(struct tpc_core *core, struct telling *t)
{
    struct tpc_str all = { NULL, 0 };
    if (core->forward == NULL) {
        return;
    }
    tell_table(t, tpi_forward_metrics, tpi_forward_metric_count, tpi_forward_count(core->forward));
    /* One metric after the other: HELP and TYPE stand once. */
    for (uint32_t i = 0; i < TARGET_METRICS; i++) {
        struct target_metric m = { t, i };
        (void) tpi_forward_info(core->forward, all, all, all, tell_target, &m);
    }
}

/* ---- modules ---- */

/* tpc_<module>_<metric>_total; a gauge without _total */
static void part_metric_name(const struct tpi_part *p, const char *metric, bool is_gauge, char *ret,
                             size_t cap)
{
    snprintf(ret, cap, "%s_%.60s%s", p->module->desc.name, metric, is_gauge ? "" : "_total");
}

static const struct tpi_part_metric *metric_named(const struct tpi_part *p, const char *name)
{
    uint32_t count = atomic_load_explicit(&p->metric_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(p->metrics[i].name, name) == 0) {
            return &p->metrics[i];
        }
    }
    return NULL;
}

static void tell_part_metric(const struct tpi_part *p, const struct tpi_part_metric *m,
                             struct telling *t)
{
    char name[112];
    char label[TPI_NAME_BYTES + 16];
    uint64_t value = atomic_load_explicit(&m->value, memory_order_relaxed);
    part_metric_name(p, m->name, m->gauge, name, sizeof(name));
    int len = snprintf(label, sizeof(label), "instance=\"%s\"", p->name);
    tell(t, name, m->gauge ? "Set by the module" : "Counted by the module",
         m->gauge ? TPC_METRIC_GAUGE : TPC_METRIC_COUNTER, (struct tpc_str){ label, (size_t) len },
         m->gauge ? (double) (int64_t) value : (double) value);
}

/* What p counts, and with each metric all later instances of its module: a metric's lines stand together. */
static void tell_part(const struct tpi_part *p, struct telling *t)
{
    uint32_t count = atomic_load_explicit(&p->metric_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = p->metrics[i].name;
        bool told = false;
        for (const struct tpi_part *o = p->core->parts; o != NULL && o != p && !told; o = o->next) {
            told = o->module == p->module && metric_named(o, name) != NULL;
        }
        for (const struct tpi_part *o = p; o != NULL && !told; o = o->next) {
            const struct tpi_part_metric *m = o->module == p->module ? metric_named(o, name) : NULL;
            if (m != NULL) {
                tell_part_metric(o, m, t);
            }
        }
    }
}

/* Numbers with labels of their own. */
enum { LABELLED_MAX = 16 }; /* metrics of a module */

struct labelled {
    struct telling *t;
    const struct tpi_part *part;
    const char *want; /* NULL = only the names are noted */
    const char *names[LABELLED_MAX];
    uint32_t name_count;
};

static void note_name(struct labelled *l, const char *metric)
{
    for (uint32_t i = 0; i < l->name_count; i++) {
        if (strcmp(l->names[i], metric) == 0) {
            return;
        }
    }
    if (l->name_count < LABELLED_MAX) {
        l->names[l->name_count++] = metric;
    }
}

static void tell_labelled(void *user, const struct tpc_tell *n)
{
    struct labelled *l = user;
    char name[112];
    char label[TPI_NAME_BYTES + 700], value[2 * 129];
    if (l->want == NULL) {
        note_name(l, n->metric);
        return;
    }
    if (strcmp(l->want, n->metric) != 0) {
        return;
    }
    part_metric_name(l->part, n->metric, n->gauge != 0, name, sizeof(name));
    size_t len = (size_t) snprintf(label, sizeof(label), "instance=\"%s\"", l->part->name);
    for (uint32_t i = 0; i < n->label_count; i++) {
        put_label(value, sizeof(value), n->labels[i].value);
        int more = snprintf(label + len, sizeof(label) - len, ",%.*s=\"%s\"",
                            (int) n->labels[i].name.len, n->labels[i].name.ptr, value);
        if ((size_t) more >= sizeof(label) - len) {
            break; /* a label that does not fit is left out whole */
        }
        len += (size_t) more;
    }
    tell(l->t, name, n->help, n->gauge != 0 ? TPC_METRIC_GAUGE : TPC_METRIC_COUNTER,
         (struct tpc_str){ label, len }, n->value);
}

static bool has_labelled(const struct tpi_part *p, const struct tpi_module *module)
{
    return p->module == module && p->kind == TPC_KIND_ADAPTER &&
           TPC_HAS(&p->ops->adapter, struct tpc_adapter_ops, tell);
}

/* Those of the module whose first instance p is. */
static void tell_labels(struct tpi_part *p, struct telling *t)
{
    struct labelled l = { .t = t, .part = p };
    for (const struct tpi_part *o = p->core->parts; o != NULL && o != p; o = o->next) {
        if (has_labelled(o, p->module)) {
            return;
        }
    }
    if (!has_labelled(p, p->module)) {
        return;
    }
    p->ops->adapter.tell(p->self, tell_labelled, &l);
    for (uint32_t i = 0; i < l.name_count; i++) {
        l.want = l.names[i];
        for (struct tpi_part *o = p; o != NULL; o = o->next) {
            if (has_labelled(o, p->module)) {
                l.part = o;
                o->ops->adapter.tell(o->self, tell_labelled, &l);
            }
        }
    }
}

int tpc_core_stats(struct tpc_core *core, tpc_metric_fn *fn, void *user)
{
    if (core == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or fn is NULL");
    }
    struct telling t = { fn, user, 0 };
    gauge(&t, "core_memory_bytes", "Memory in use through the core's allocator",
          (double) tpi_meter_used(&core->meter));
    gauge(&t, "core_memory_peak_bytes", "Most memory that ever was in use",
          (double) tpi_meter_peak(&core->meter));
    counter(&t, "core_memory_refused_total", "Allocations refused",
            (double) tpi_meter_refused(&core->meter));
    tell_table(&t, core_metrics, sizeof(core_metrics) / sizeof(core_metrics[0]), &core->counters);
    tell_rings(core, &t);
    tell_log(core, &t);
    tell_clock(&core->clock, &t);
    tell_table(&t, tpi_uplink_metrics, tpi_uplink_metric_count, &core->uplink_counters);
    tell_table(&t, tpi_downlink_metrics, tpi_downlink_metric_count, &core->downlink_counters);
    if (core->entities != NULL) {
        tell_table(&t, tpi_registry_metrics, tpi_registry_metric_count,
                   tpi_registry_counters(core->registry));
        tell_presence(core, &t);
        tell_table(&t, tpi_rules_metrics, tpi_rules_metric_count, tpi_rules_count(core->rules));
        tell_forward(core, &t);
        tell_table(&t, tpi_alerts_metrics, tpi_alerts_metric_count, tpi_alerts_count(core->alerts));
    }
    if (core->history != NULL) {
        tell_table(&t, tpi_history_metrics, tpi_history_metric_count,
                   tpi_history_counters(core->history));
    }
    for (struct tpi_part *p = tpi_parts_enter(core); p != NULL; p = p->next) {
        tell_part(p, &t);
        tell_labels(p, &t);
    }
    tpi_parts_leave(core);
    return t.rc;
}

/* ---- as text ---- */

struct text {
    struct tpc_buf *buf;
    char last[128]; /* name whose HELP and TYPE stand already */
};

static void put(struct text *t, const char *s, size_t len)
{
    if (t->buf->need + len <= t->buf->cap) {
        memcpy(t->buf->ptr + t->buf->need, s, len);
    }
    t->buf->need += len;
}

static void put_value(struct text *t, double v)
{
    char number[40];
    int len = fabs(v) < 9e15 && v == trunc(v)
                  ? snprintf(number, sizeof(number), " %" PRId64 "\n", (int64_t) v)
                  : snprintf(number, sizeof(number), " %.17g\n", v);
    put(t, number, (size_t) len);
}

static int put_metric(void *user, const struct tpc_metric *m)
{
    struct text *t = user;
    char head[512];
    if (strcmp(t->last, m->name) != 0) {
        snprintf(t->last, sizeof(t->last), "%s", m->name);
        int len = snprintf(head, sizeof(head), "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help,
                           m->name, m->type == TPC_METRIC_COUNTER ? "counter" : "gauge");
        put(t, head, (size_t) len < sizeof(head) ? (size_t) len : sizeof(head) - 1);
    }
    put(t, m->name, strlen(m->name));
    if (m->labels.len > 0) {
        put(t, "{", 1);
        put(t, m->labels.ptr, m->labels.len);
        put(t, "}", 1);
    }
    put_value(t, m->value);
    return 0;
}

int tpc_core_prometheus(struct tpc_core *core, struct tpc_buf *buf)
{
    if (core == NULL || buf == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or buf is NULL");
    }
    struct text t = { .buf = buf };
    buf->need = 0;
    int rc = tpc_core_stats(core, put_metric, &t);
    if (rc == 0 && buf->need > buf->cap) {
        return tpi_fail(TPC_ETOOBIG, "core", "the text takes %zu bytes", buf->need);
    }
    return rc;
}
