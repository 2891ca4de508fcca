/* Schedules at work: what is due, and the state that outlives a restart. */
#include "base/error.h"
#include "rules/action.h"
#include "rules/schedule.h"

const struct tpi_kind *tpi_rules_schedule_kind(struct tpi_rules *r)
{
    return &r->schedule_kind;
}

int64_t tpi_schedules_next_ms(const struct tpi_rules *r, uint32_t worker)
{
    return atomic_load_explicit(&r->workers[worker].schedule_next_ms, memory_order_relaxed);
}

/* Who fires, for the values in texts. */
struct planned {
    struct tpi_rules *r;
    const struct tpi_rule_schedule *s;
    int64_t at_ms;
};

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct planned *p = user;
    *ret = (struct tpc_value){ .type = TPC_INT, .as.i = p->at_ms };
    return index == TPI_NAME_PLANNED;
}

static bool load_other(void *user, struct tpc_str device, struct tpc_str name,
                       struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct planned *p = user;
    struct tpc_buf room = tpi_expr_rest(scratch);
    int rc = tpi_registry_latest(p->r->host.registry, p->s->tenant_id, device, name, &room, ret);
    return tpi_expr_took(scratch, &room, rc);
}

static int64_t now(void *user)
{
    const struct planned *p = user;
    return tpi_unix_ms(p->r->env);
}

static int64_t event_time(void *user)
{
    const struct planned *p = user;
    return p->at_ms;
}

static const struct tpi_expr_host expr_host = {
    .load = load, .other = load_other, .now = now, .event_time = event_time
};

static void fire(struct tpi_rules *r, uint32_t worker, struct tpi_rule_schedule *s, int64_t at_ms)
{
    struct rule_worker *w = &r->workers[worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    struct planned planned = { r, s, at_ms };
    struct tpi_tally *tally = &s->ledger.workers[worker];
    struct tpi_act act = { .rules = r,
                           .tally = tally,
                           .worker = worker,
                           .tenant_id = s->tenant_id,
                           .rule = s->id,
                           .revision = s->revision,
                           .by = s->by,
                           .partition = s->partition,
                           .offset = (uint64_t) at_ms,
                           .again = s->again,
                           .from = { &expr_host, &planned, &scratch } };
    TPI_METRIC_ADD(r->counters.schedules_fired, 1);
    tally->matched++;
    tally->fired++;
    tally->fired_ms = at_ms;
    if (tpi_act(&act, &s->actions) > 0) {
        TPI_METRIC_ADD(r->counters.schedules_failed, 1);
    }
}

static uint32_t look_at(struct tpi_rules *r, uint32_t worker, struct tpi_rule_schedule *s,
                        int64_t now_ms)
{
    struct tpi_schedule_step step;
    tpi_schedule_step(&s->schedule, &s->state, now_ms, &step);
    s->next_ms = step.next_ms;
    s->ledger.workers[worker].evaluated++;
    if (step.missed > 0) {
        TPI_METRIC_ADD(r->counters.schedules_missed, step.missed);
    }
    if (step.fire) {
        fire(r, worker, s, step.fire_ms);
    }
    s->again = false;
    return step.fire ? 1 : 0;
}

/* Under the worker's lock. all: the clock was set back so far that what was planned is planned anew. */
static uint32_t look_at_all(struct tpi_rules *r, uint32_t worker, int64_t now_ms, bool all)
{
    struct rule_worker *w = &r->workers[worker];
    int64_t next = INT64_MAX;
    uint32_t fired = 0;
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->schedules, &iter, NULL, &value)) {
        struct tpi_rule_schedule *s = value;
        if (s->partition % r->host.workers != worker || !s->live || !s->enabled || s->broken) {
            continue;
        }
        if (all || s->next_ms <= now_ms) {
            fired += look_at(r, worker, s, now_ms);
        }
        next = s->next_ms < next ? s->next_ms : next;
    }
    atomic_store_explicit(&w->schedule_next_ms, next, memory_order_relaxed);
    atomic_store_explicit(&w->schedule_seen_ms, now_ms, memory_order_relaxed);
    return fired;
}

uint32_t tpi_schedules_turn(struct tpi_rules *r, uint32_t worker, int64_t now_ms)
{
    struct rule_worker *w = &r->workers[worker];
    int64_t next = tpi_schedules_next_ms(r, worker);
    int64_t seen = atomic_load_explicit(&w->schedule_seen_ms, memory_order_relaxed);
    bool all = seen > now_ms + TPI_SCHEDULE_BACK_MS;
    if (next > now_ms && !all) {
        return 0;
    }
    tpi_registry_read_lock(r->host.registry);
    tpi_rules_begin(r, worker);
    uint32_t fired = look_at_all(r, worker, now_ms, all);
    tpi_rules_end(r, worker);
    tpi_registry_read_unlock(r->host.registry);
    return fired;
}

/* ---- state: count, then id, plan, since, last, fired, missed, ended of each ---- */

static bool is_saved(const struct tpi_rule_schedule *s, uint32_t partition)
{
    return s->partition == partition && s->live && s->enabled && !s->broken;
}

static int save_one(const struct tpi_rule_schedule *s, struct tpi_buf *out)
{
    int rc = tpi_buf_varint(out, s->id);
    rc = rc != 0 ? rc : tpi_buf_u32(out, s->plan);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, s->state.since_ms);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, s->state.last_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, s->state.fired);
    rc = rc != 0 ? rc : tpi_buf_varint(out, s->state.missed);
    return rc != 0 ? rc : tpi_buf_u8(out, s->state.ended ? 1 : 0);
}

int tpi_schedules_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out)
{
    uint64_t n = 0;
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->schedules, &iter, NULL, &value)) {
        n += is_saved(value, partition) ? 1 : 0;
    }
    int rc = tpi_buf_varint(out, n);
    iter = 0;
    while (rc == 0 && tpi_map64_next(&r->schedules, &iter, NULL, &value)) {
        rc = is_saved(value, partition) ? save_one(value, out) : 0;
    }
    return rc;
}

/* Its document says the same as when it was saved. What was planned before it was put last is over:
 * the program ran then. */
static void take(struct tpi_rules *r, uint64_t id, uint32_t plan,
                 const struct tpi_schedule_state *state)
{
    struct tpi_rule_schedule *s = tpi_map64_get(&r->schedules, id);
    if (s == NULL || !s->enabled || s->plan != plan) {
        return;
    }
    s->state = *state;
    s->again = true;
    s->next_ms = INT64_MIN;
    if (s->state.last_ms < s->modified_ms) {
        s->state.last_ms = s->modified_ms;
    }
    atomic_store(&r->workers[s->partition % r->host.workers].schedule_next_ms, INT64_MIN);
}

static bool is_time(int64_t ms)
{
    return ms / 1000 > TPI_TIME_MIN_S && ms / 1000 < TPI_TIME_MAX_S;
}

int tpi_schedules_read(struct tpi_rules *r, struct tpi_reader *in, bool apply)
{
    uint64_t n = tpi_read_varint(in);
    for (uint64_t i = 0; i < n && !in->bad; i++) {
        struct tpi_schedule_state state;
        uint64_t id = tpi_read_varint(in);
        uint32_t plan = tpi_read_u32(in);
        state.since_ms = tpi_read_zigzag(in);
        state.last_ms = tpi_read_zigzag(in);
        state.fired = tpi_read_varint(in);
        state.missed = tpi_read_varint(in);
        state.ended = tpi_read_u8(in) == 1;
        if (!is_time(state.since_ms) || !is_time(state.last_ms)) {
            return TPC_ECORRUPT;
        }
        if (apply && !in->bad) {
            take(r, id, plan, &state);
        }
    }
    return in->bad ? TPC_ECORRUPT : 0;
}
