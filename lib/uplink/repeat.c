/* Report strategies with a period: the last values of devices whose time has come are messages. */
#include "base/error.h"
#include "uplink/private.h"

enum { RETRY_MS = 50 };

bool tpi_uplink_due(const struct tpi_uplink *u)
{
    return u->reports.due != NULL;
}

void tpi_uplink_shift_times(struct tpi_uplink *u, int64_t from_ms, int64_t to_ms, int64_t by_ms)
{
    tpi_reports_shift_times(&u->reports, from_ms, to_ms, by_ms);
}

static bool is_ours(const struct tpi_uplink *u, const struct tpc_device *d,
                    const struct tpi_report_device *s)
{
    return d != NULL && !atomic_load_explicit(&d->deleted, memory_order_relaxed) &&
           d->product->id == s->product_id &&
           (u->host.workers <= 1 || d->partition % u->host.workers == u->host.worker);
}

/* Whether an entry is due; *ret_index: of its property. */
static bool is_due(struct tpi_uplink *u, const struct tpc_device *d, struct tpi_report_device *s,
                   struct tpi_report_entry *e, uint64_t now_ms, uint32_t *ret_index,
                   const struct tpi_report **ret_rule)
{
    const struct tpi_model *m = d->product->model;
    const struct tpi_report *rule = up_report_level(u, d, s->part);
    int index = e->property != TPC_PROPERTY_NONE ? tpi_model_find_id(m, e->property) : -1;
    bool gone = e->property != TPC_PROPERTY_NONE ? index < 0 : !d->product->keep_unknown;
    *ret_index = index >= 0 ? (uint32_t) index : TPI_MODEL_NO_INDEX;
    rule = gone ? NULL : up_report_rule(m, *ret_index, rule);
    *ret_rule = rule;
    return tpi_report_is_due(&u->reports, e, rule, now_ms);
}

/* Whether any entry is due. One of which nothing is known any more is dropped. */
static bool look(struct tpi_uplink *u, const struct tpc_device *d, struct tpi_report_device *s,
                 uint64_t now_ms)
{
    bool any = false;
    bool known = false;
    uint32_t index;
    const struct tpi_report *rule;
    for (uint32_t i = 0; i < s->count; i++) {
        any |= is_due(u, d, s, &s->entries[i], now_ms, &index, &rule);
        known |= s->entries[i].known;
    }
    if (!known) {
        tpi_reports_drop(&u->reports, s);
    } else if (!any) {
        tpi_reports_tidy(&u->reports, s);
        tpi_report_arm(s, now_ms, now_ms + 1);
    }
    return any;
}

static void gather(struct tpi_uplink *u, int64_t unix_ms, uint64_t now_ms)
{
    struct tpi_report_device *s;
    while (u->input_count < u->repeat_most && (s = tpi_reports_next(&u->reports)) != NULL) {
        struct tpc_device *d = tpi_registry_by_id(u->host.registry, s->id);
        if (!is_ours(u, d, s)) {
            tpi_reports_drop(&u->reports, s);
            continue;
        }
        if (!look(u, d, s, now_ms)) {
            continue;
        }
        u->repeats[u->input_count] = s;
        u->inputs[u->input_count++] =
            (struct tpi_up_input){ .frame = { .size = sizeof(u->frame), .unix_ms = unix_ms },
                                   .device = tpi_device_ref(d),
                                   .origin = TPC_STR("report"),
                                   .received_unix_ms = unix_ms,
                                   .partition = d->partition,
                                   .type = TPI_UP_REPEAT };
        u->repeat_count = u->input_count;
    }
}

int tpi_uplink_repeat(struct tpi_uplink *u, int64_t unix_ms, struct tpc_error *err)
{
    uint64_t now_ms = tpi_mono_ms(u->env);
    tpi_registry_read_lock(u->host.registry);
    gather(u, unix_ms, now_ms);
    tpi_registry_read_unlock(u->host.registry);
    int rc = u->input_count > 0 ? tpi_uplink_run(u, err) : 0;
    bool alone = u->repeat_most == 1;
    u->repeat_most = rc == TPC_ENOMEM ? 1 : TPI_UPLINK_BATCH;
    for (uint32_t i = 0; rc != 0 && i < u->repeat_count; i++) {
        if (rc == TPC_ENOMEM && alone) { /* one alone needs more than there is: not for ever */
            atomic_fetch_add_explicit(&u->host.counters->points_untracked, u->repeats[i]->count,
                                      memory_order_relaxed);
            tpi_reports_drop(&u->reports, u->repeats[i]);
        } else {
            tpi_report_arm(u->repeats[i], now_ms, now_ms + RETRY_MS);
        }
    }
    return rc;
}

static int put_point(struct tpi_uplink *u, const struct tpi_report_entry *e, uint32_t index,
                     const struct tpi_report *rule)
{
    if (!up_room_point(u)) {
        return TPC_ENOMEM;
    }
    struct tpc_point *p = &u->points[u->point_count];
    int rc = tpi_report_value(e, u->arena, &p->value);
    if (rc != 0) {
        return rc;
    }
    p->key = index != TPI_MODEL_NO_INDEX ? tpi_model_property(u->product->model, index)->key
                                         : (struct tpc_str){ e->key, e->key_len };
    p->property = e->property;
    p->flags = e->point_flags;
    p->reserved = 0;
    p->unix_ms = e->fresh && !rule->stamp_send ? e->sample_ms : 0;
    u->indexes[u->point_count++] = index;
    return 0;
}

/* A message of each kind. */
int up_take_repeat(struct tpi_uplink *u, uint32_t input)
{
    struct tpi_report_device *s = u->repeats[input];
    const struct tpc_device *d = u->inputs[input].device;
    struct tpc_decode_sink sink;
    uint32_t index;
    const struct tpi_report *rule;
    up_sink(u, &sink);
    for (uint8_t attributes = 0; attributes < 2 && is_ours(u, d, s); attributes++) {
        struct tpc_decoded head = { .size = sizeof(head),
                                    .kind = attributes ? TPC_MSG_ATTRIBUTES : TPC_MSG_TELEMETRY };
        uint32_t before = u->point_count;
        int rc = sink.begin(u, 0, &head);
        for (uint32_t i = 0; i < s->count && rc == 0; i++) {
            struct tpi_report_entry *e = &s->entries[i];
            if (e->attributes == attributes && is_due(u, d, s, e, u->now_ms, &index, &rule)) {
                rc = put_point(u, e, index, rule);
            }
        }
        u->points_repeated += u->point_count - before;
        rc = rc != 0 ? rc : sink.end(u);
        if (rc != 0) {
            u->open = false;
            u->no_memory = true;
            return rc;
        }
    }
    return 0;
}

void up_repeats_sent(struct tpi_uplink *u)
{
    uint32_t index;
    const struct tpi_report *rule;
    for (uint32_t i = 0; i < u->repeat_count; i++) {
        struct tpi_report_device *s = u->repeats[i];
        const struct tpc_device *d = u->inputs[i].device;
        for (uint32_t k = 0; k < s->count && is_ours(u, d, s); k++) {
            if (is_due(u, d, s, &s->entries[k], u->now_ms, &index, &rule)) {
                tpi_report_sent(&s->entries[k], rule, u->now_ms);
            }
        }
        tpi_report_arm(s, u->now_ms, u->now_ms + 1);
    }
}
