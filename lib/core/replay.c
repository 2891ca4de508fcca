/*
 * At start, from the log: open commands, states of rules, latest values and the keys of what came
 * lately. Runs on the thread that starts the core, which is every worker meanwhile.
 */
#include <stdio.h>
#include <string.h>

#include "core/core.h"
#include "core/rule_say.h"
#include "rules/group.h"

/* Commands before data, which fires new ones; what is in windows over several devices before the
 * messages that it was made of, so that those are known. */
enum pass { PASS_COMMANDS, PASS_INPUTS, PASS_DATA };

struct replay {
    struct tpc_core *core;
    struct tpi_worker *w;
    uint32_t partition;
    enum pass pass;
    uint64_t rules_from;
    uint64_t said_from; /* where what rules said may stand that comes again */
    int rc;
};

static int replay_command(struct replay *x, const struct tpc_record *r)
{
    struct tpc_msg m;
    struct tpc_device *d;
    if (r->kind != TPC_MSG_COMMAND && r->kind != TPC_MSG_COMMAND_STATE &&
        r->kind != TPC_MSG_COMMAND_CLOSED) {
        return 0;
    }
    tpc_arena_reset(x->w->arena);
    int rc = tpi_record_msg(x->core, r, x->w->arena, &m, &d);
    if (rc == 0) {
        rc = tpi_downlink_replay(x->w->downlink, d, &m);
        tpi_device_unref(d);
    }
    return rc == TPC_ENOMEM ? rc : 0;
}

/* Under the registry's read lock, in a batch of the rules: scenes look at what they have not seen for certain. What they did then
 * has the ids of what they do now. */
static void apply_rules(const struct replay *x, struct tpc_device *d, const struct tpc_msg *m)
{
    struct tpi_rules *rules = x->core->rules;
    const struct tpc_value *online = tpc_value_get(&m->params, TPC_STR("online"));
    bool presence = m->kind == TPC_MSG_PRESENCE;
    bool up = online != NULL && online->type == TPC_BOOL && online->as.b;
    if (m->offset >= x->rules_from && (m->flags & TPC_MSG_RETAINED) == 0) {
        if (presence && !tpi_device_has(d, TPI_DEVICE_SEEN)) {
            tpi_rules_seen(d, !up); /* the one before is not in what is replayed */
        }
        tpi_rules_message(rules, x->w->index, d, m);
    } else if (presence) {
        tpi_rules_seen(d, up);
    }
}

/* Values become the latest, unless newer ones are there; scenes look at what they have not seen. */
static void apply_data(struct replay *x, struct tpc_device *d, const struct tpc_msg *m)
{
    struct tpc_core *core = x->core;
    tpi_registry_read_lock(core->registry);
    tpi_rules_begin(core->rules, x->w->index);
    tpi_rules_before(core->rules, x->w->index, d, m);
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        int index = p->property != 0 ? tpi_model_find_id(d->product->model, p->property) : -1;
        if (index >= 0 &&
            tpi_model_property(d->product->model, (uint32_t) index)->value_type == p->value.type) {
            tpi_device_latest_begin(d);
            if (p->unix_ms == 0 && (m->flags & TPC_MSG_ESTIMATED_TIME) != 0) {
                (void) tpi_device_latest_arrive(d, (uint32_t) index, &p->value, m->unix_ms);
            } else {
                (void) tpi_device_latest_put(d, (uint32_t) index, &p->value,
                                             p->unix_ms != 0 ? p->unix_ms : m->unix_ms);
            }
            tpi_device_latest_end(d);
        }
    }
    apply_rules(x, d, m);
    tpi_rules_end(core->rules, x->w->index);
    tpi_registry_read_unlock(core->registry);
}

static void apply_state(const struct replay *x, struct tpc_device *d, const struct tpc_msg *m)
{
    const struct tpc_value *online = tpc_value_get(&m->params, TPC_STR("online"));
    const struct tpc_value *session = tpc_value_get(&m->params, TPC_STR("session"));
    bool ours = session != NULL || tpc_value_get(&m->params, TPC_STR("reason")) != NULL;
    if (m->kind == TPC_MSG_PRESENCE) {
        tpi_registry_read_lock(x->core->registry);
        (void) tpi_device_presence(d, online != NULL && online->type == TPC_BOOL && online->as.b,
                                   session != NULL && session->type == TPC_BOOL && session->as.b,
                                   m->unix_ms);
        tpi_registry_read_unlock(x->core->registry);
    }
    if ((m->kind != TPC_MSG_PRESENCE || !ours) &&
        m->received_unix_ms > atomic_load_explicit(&d->last_seen_unix_ms, memory_order_relaxed)) {
        atomic_store_explicit(&d->last_seen_unix_ms, m->received_unix_ms, memory_order_relaxed);
    }
}

/* What rules said, and what became of alerts. All that is read again is remembered: a message about a
 * device of another partition stands there, whatever that one's rules have seen. What is older than all
 * states tells schedules nothing: they know it, or were reset since. */
static int replay_said(struct replay *x, const struct tpc_record *r)
{
    struct tpc_msg m;
    struct tpc_device *d;
    bool alert = r->kind == TPC_MSG_ALERT;
    tpc_arena_reset(x->w->send_arena);
    int rc = tpi_record_msg(x->core, r, x->w->send_arena, &m, &d);
    if (rc == 0) {
        rc = tpi_effect_remember(x->core, &m);
        if (r->offset >= x->said_from) {
            tpi_rules_said(x->core->rules, &m);
        }
        rc = rc == 0 && alert ? tpi_alerts_replay(x->core->alerts, &m) : rc;
        tpi_device_unref(d);
    }
    return rc == TPC_ENOMEM ? rc : 0;
}

/* An event or values that a data rule made, and no device. */
static bool is_of_rule(const struct tpc_msg *m)
{
    static const char prefix[] = "rule:";
    size_t n = sizeof(prefix) - 1;
    return m->origin.len > n && memcmp(m->origin.ptr, prefix, n) == 0;
}

/* Scenes may look at it as at any event. */
static void apply_row(struct replay *x, struct tpc_device *d, const struct tpc_msg *m)
{
    if (d != NULL && d->partition == x->partition) {
        tpi_registry_read_lock(x->core->registry);
        tpi_rules_begin(x->core->rules, x->w->index);
        apply_rules(x, d, m);
        tpi_rules_end(x->core->rules, x->w->index);
        tpi_registry_read_unlock(x->core->registry);
    }
}

/* Commands and their ends, for scenes; and for schedules, which may be of another partition. */
static int replay_heard(struct replay *x, const struct tpc_record *r)
{
    struct tpc_msg m;
    struct tpc_device *d;
    bool heard = r->offset >= x->rules_from && tpi_rules_on_commands(x->core->rules);
    bool said = r->offset >= x->said_from && r->kind == TPC_MSG_COMMAND;
    if (r->device_id == 0 || (!heard && !said)) {
        return 0;
    }
    tpc_arena_reset(x->w->send_arena);
    int rc = tpi_record_msg(x->core, r, x->w->send_arena, &m, &d);
    if (rc == 0) {
        if (said) {
            tpi_rules_said(x->core->rules, &m);
        }
        if (heard) {
            apply_row(x, d, &m);
        }
        tpi_device_unref(d);
    }
    return rc == TPC_ENOMEM ? rc : 0;
}

static int replay_data(struct replay *x, const struct tpc_record *r)
{
    struct tpc_msg m;
    struct tpc_device *d;
    if (r->kind == TPC_MSG_NOTIFY || r->kind == TPC_MSG_ALERT) {
        return replay_said(x, r);
    }
    if (r->kind == TPC_MSG_COMMAND || r->kind == TPC_MSG_COMMAND_CLOSED) {
        return replay_heard(x, r);
    }
    if (r->kind == 0 || r->kind > TPC_MSG_PRESENCE || r->device_id == 0) {
        return 0;
    }
    tpc_arena_reset(x->w->send_arena);
    int rc = tpi_record_msg(x->core, r, x->w->send_arena, &m, &d);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : 0;
    }
    if (m.kind == TPC_MSG_EVENT && is_of_rule(&m)) {
        rc = tpi_effect_remember(x->core, &m); /* its device may be of another partition */
        apply_row(x, d, &m);
        tpi_device_unref(d);
        return rc;
    }
    tpi_uplink_remember(x->w->uplink, &m);
    if (d != NULL && d->partition == x->partition) {
        if (!is_of_rule(&m)) {
            apply_state(x, d, &m);
        }
        if (m.kind == TPC_MSG_TELEMETRY || m.kind == TPC_MSG_ATTRIBUTES) {
            apply_data(x, d, &m);
        } else if (m.kind == TPC_MSG_EVENT || m.kind == TPC_MSG_PRESENCE) {
            tpi_registry_read_lock(x->core->registry);
            tpi_rules_begin(x->core->rules, x->w->index);
            apply_rules(x, d, &m);
            tpi_rules_end(x->core->rules, x->w->index);
            tpi_registry_read_unlock(x->core->registry);
        }
    }
    tpi_device_unref(d);
    return 0;
}

static int replay_input(const struct replay *x, const struct tpc_record *r)
{
    int rc = r->kind == TPI_MSG_RULE_INPUT ? tpi_input_apply(x->w, r) : 0;
    return rc == TPC_ENOMEM ? rc : 0;
}

static int replay_one(void *user, const struct tpc_record *r)
{
    struct replay *x = user;
    x->rc = x->pass == PASS_COMMANDS ? replay_command(x, r)
            : x->pass == PASS_INPUTS ? replay_input(x, r)
                                     : replay_data(x, r);
    return x->rc;
}

static int read_all(struct replay *x, uint64_t from, uint64_t end, struct tpc_error *err)
{
    struct tpc_core *core = x->core;
    while (from < end) {
        uint64_t next = from;
        int rc = core->bus->read(core->bus_self, x->partition, from, TPI_READ_RECORDS, 0,
                                 replay_one, x, &next);
        if (x->rc != 0) {
            return tpi_error_set(err, x->rc, "core", "the log cannot be replayed: %s",
                                 tpc_error_name(x->rc));
        }
        if (rc != 0 && rc != TPC_EGAP) {
            return tpi_error_set(err, rc, "log", "partition %u cannot be read: %s",
                                 (unsigned) x->partition, tpc_error_name(rc));
        }
        if (next <= from) {
            break;
        }
        from = next;
    }
    return 0;
}

struct state_row {
    struct tpc_arena *arena;
    struct tpc_bytes doc;
};

/* The store is locked meanwhile: rules must not wait for their changes in here. */
static int copy_state(void *user, const struct tpc_row *row)
{
    struct state_row *s = user;
    uint8_t *p = tpc_arena_take(s->arena, row->doc.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    if (row->doc.len > 0) {
        memcpy(p, row->doc.ptr, row->doc.len);
    }
    s->doc = (struct tpc_bytes){ p, row->doc.len };
    return 0;
}

static int load_state(struct replay *x, struct tpc_bytes doc, struct tpc_error *err)
{
    uint64_t next = 0;
    int rc = tpi_rules_state_load(x->core->rules, x->partition, doc, err, &next);
    /* States are not saved while there are no scenes, the cursor goes on: an old state must not make
     * new scenes fire for messages from before them. */
    if (rc == 0 && next > x->rules_from) {
        x->rules_from = next;
    }
    return rc;
}

/* Without a state scenes see again all since the rules' cursor: their commands have the same ids as
 * before and are known. A damaged one costs the memory of what was true, not the start. */
static int find_state(struct replay *x, uint64_t end, struct tpc_error *err)
{
    struct tpi_part *p = x->core->entities_part;
    struct state_row s = { .arena = x->w->send_arena };
    char key[16];
    int len = snprintf(key, sizeof(key), "%u", (unsigned) x->partition);
    int rc = x->core->bus->cursor_position(x->core->bus_self, x->core->pump.cursor_rules,
                                           x->partition, &x->rules_from);
    if (rc != 0) {
        return tpi_error_set(err, rc, "log", "cursor rules has no position");
    }
    /* States are taken one after the other: what one partition's rules said of another's device
     * meanwhile is in front of that one's state, but not of the cursor. */
    x->said_from = x->rules_from;
    tpc_arena_reset(s.arena);
    rc = p->ops->store.get(p->self, TPC_SPACE_RECORD, TPC_STR("rules"), 0,
                           (struct tpc_str){ key, (size_t) len }, copy_state, &s);
    rc = rc != 0 ? rc : load_state(x, s.doc, err);
    if (rc == TPC_ECORRUPT || rc == TPC_EVERSION) {
        tpi_log(&x->core->env, TPC_LOG_WARN, "rules", "partition %u starts anew: %s",
                (unsigned) x->partition, err->text);
        x->rules_from = end;
        return 0;
    }
    return rc == TPC_ENOENT ? 0 : rc;
}

static int take_time(void *user, const struct tpc_record *r)
{
    int64_t *first = user;
    *first = r->received_unix_ms < *first ? r->received_unix_ms : *first;
    return 0;
}

/* Which rules the states are of. Without it what came before a rule was put is not for it. */
static int load_known(struct tpc_core *core, struct tpc_error *err)
{
    struct tpi_part *p = core->entities_part;
    struct state_row s = { .arena = core->workers[0].send_arena };
    tpc_arena_reset(s.arena);
    int rc = p->ops->store.get(p->self, TPC_SPACE_RECORD, TPC_STR("rules"), 0, TPC_STR("known"),
                               copy_state, &s);
    rc = rc != 0 ? rc : tpi_rules_known_load(core->rules, s.doc, err);
    if (rc == TPC_ECORRUPT || rc == TPC_EVERSION) {
        tpi_log(&core->env, TPC_LOG_WARN, "rules", "%s", err->text);
    }
    return rc == TPC_ENOENT || rc == TPC_ECORRUPT || rc == TPC_EVERSION ? 0 : rc;
}

/* What is read again of a partition. */
struct again {
    uint64_t rules_from; /* what its state does not contain */
    uint64_t said_from;
};

/* Of messages that the log has lost rules know nothing: others come with their offsets. */
static int end_inputs(struct tpc_core *core)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < core->options.partitions; i++) {
        uint64_t first;
        uint64_t end = 0;
        rc = core->bus->range(core->bus_self, i, &first, &end);
        if (rc == 0) {
            tpi_rules_inputs_end(core->rules, i, end);
        }
    }
    return rc;
}

/* Loads the states of the rules. */
static int load_states(struct tpc_core *core, struct tpc_error *err, struct again *ret)
{
    int rc = load_known(core, err);
    for (uint32_t i = 0; rc == 0 && i < core->options.partitions; i++) {
        struct replay x = { .core = core, .w = tpi_worker_of(core, i), .partition = i };
        uint64_t first;
        uint64_t end = 0;
        rc = core->bus->range(core->bus_self, i, &first, &end);
        rc = rc != 0 ? rc : find_state(&x, end, err);
        ret[i] = (struct again){ x.rules_from, x.said_from };
    }
    return rc != 0 ? rc : end_inputs(core);
}

/* When the first record came that rules have not seen for certain; INT64_MAX = there is none. */
static int64_t unseen_since(struct tpc_core *core, const struct again *again)
{
    int64_t since = INT64_MAX;
    for (uint32_t i = 0; i < core->options.partitions; i++) {
        uint64_t first = 0;
        uint64_t end = 0;
        uint64_t next;
        (void) core->bus->range(core->bus_self, i, &first, &end);
        first = again[i].rules_from > first ? again[i].rules_from : first;
        if (first < end) {
            (void) core->bus->read(core->bus_self, i, first, 1, 0, take_time, &since, &next);
        }
    }
    return since;
}

static int replay_partition(struct tpc_core *core, uint32_t partition, enum pass pass,
                            struct again again, struct tpc_error *err)
{
    struct replay x = { .core = core,
                        .w = tpi_worker_of(core, partition),
                        .partition = partition,
                        .pass = pass,
                        .rules_from = again.rules_from,
                        .said_from = again.said_from };
    uint64_t first;
    uint64_t end;
    uint64_t from = 0;
    int rc = core->bus->range(core->bus_self, partition, &first, &end);
    if (rc != 0) {
        return tpi_error_set(err, rc, "log", "partition %u has no range", (unsigned) partition);
    }
    atomic_store(&core->ends[partition], end);
    if (pass == PASS_COMMANDS) {
        rc = core->bus->cursor_position(core->bus_self, core->pump.cursor_downlink, partition,
                                        &from);
    } else if (pass == PASS_INPUTS) {
        from = x.rules_from;
    } else {
        from = end > TPI_REPLAY_RECORDS ? end - TPI_REPLAY_RECORDS : 0;
        from = x.rules_from < from ? x.rules_from : from;
        from = x.said_from < from ? x.said_from : from;
        /* below it, the history's marks have told latest values and presence */
        uint64_t told = tpi_history_watermark(core->history, partition);
        from = told < from ? told : from;
    }
    return rc != 0 ? rc : read_all(&x, from > first ? from : first, end, err);
}

static int replay_all_data(struct tpc_core *core, struct tpc_error *err)
{
    size_t n = core->options.partitions;
    struct again *again = tpi_alloc_array(core->env.alloc, n, sizeof(*again));
    if (again == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "core", "no memory to replay the log");
    }
    int rc = load_states(core, err, again);
    const struct tpi_rules_counters *rules = tpi_rules_count(core->rules);
    if (rc == 0 && atomic_load(&rules->scenes) + atomic_load(&rules->data_rules) > 0) {
        rc = tpi_latest_load_before(core, unseen_since(core, again), err);
    }
    bool spread = TPI_METRIC_GET(rules->data_rules_spread) > 0;
    for (uint32_t i = 0; rc == 0 && spread && i < n; i++) {
        rc = replay_partition(core, i, PASS_INPUTS, again[i], err);
    }
    /* They may be of messages that the log has lost since. */
    rc = rc == 0 && spread ? end_inputs(core) : rc;
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        rc = replay_partition(core, i, PASS_DATA, again[i], err);
    }
    tpi_free(core->env.alloc, again, n * sizeof(*again));
    return rc != 0 ? rc : tpi_latest_load_all(core, err);
}

int tpi_replay(struct tpc_core *core, struct tpc_error *err)
{
    int rc = 0;
    tpi_map_fini(&core->said); /* of an earlier start */
    tpi_map_init(&core->said, core->env.alloc);
    core->replaying = true;
    tpi_rules_replaying(core->rules, true);
    for (uint32_t i = 0; i < core->worker_count; i++) {
        atomic_store(&core->workers[i].who, (uintptr_t) pthread_self());
    }
    for (uint32_t i = 0; rc == 0 && i < core->options.partitions; i++) {
        rc = replay_partition(core, i, PASS_COMMANDS, (struct again){ .rules_from = 0 }, err);
    }
    rc = rc != 0 ? rc : replay_all_data(core, err);
    rc = rc != 0 ? rc : tpi_latest_end_sessions(core, err);
    for (uint32_t i = 0; rc == 0 && i < core->worker_count; i++) {
        tpi_downlink_replayed(core->workers[i].downlink);
        tpi_effects_run(&core->workers[i]);
    }
    tpi_rules_replayed(core->rules);
    for (uint32_t i = 0; i < core->worker_count; i++) {
        atomic_store(&core->workers[i].who, 0);
    }
    core->replaying = false;
    tpi_rules_replaying(core->rules, false);
    return rc;
}
