/* Schedules at work: what is due, and the state that outlives a restart. */
#include "base/error.h"
#include "rules/action.h"
#include "rules/schedule.h"
#include "rules/script.h"
#include "rules/trace.h"

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
    uint32_t worker;
    const struct tpi_rule_schedule *s;
    int64_t at_ms;
    struct tpi_var_values vars;
};

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct planned *p = user;
    if (index >= TPI_NAME_VAR) {
        return tpi_vars_load(&p->vars, index, ret);
    }
    *ret = (struct tpc_value){ .type = TPC_INT, .as.i = p->at_ms };
    return index == TPI_NAME_PLANNED;
}

static bool load_other(void *user, struct tpc_str device, struct tpc_str name,
                       struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct planned *p = user;
    struct tpc_buf room = tpi_expr_rest(scratch);
    int rc = tpi_looks_latest(&p->r->workers[p->worker].looks, p->r->host.registry, p->s->tenant_id,
                              device, name, &room, ret);
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

static bool run_script(void *user, struct tpi_expr_script *script, const struct tpc_value *args,
                       uint32_t count, struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct planned *p = user;
    return tpi_script_call(p->r, p->worker, script, args, count, scratch, ret);
}

static const struct tpi_expr_host expr_host = {
    .load = load, .other = load_other, .now = now, .event_time = event_time, .script = run_script
};

static void fire(struct planned *p, uint32_t worker, struct tpi_rule_schedule *s, uint64_t offset)
{
    struct tpi_rules *r = p->r;
    struct rule_worker *w = &r->workers[worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    struct tpi_tally *tally = &s->ledger.workers[worker];
    struct tpi_act act = { .rules = r,
                           .tally = tally,
                           .worker = worker,
                           .tenant_id = s->tenant_id,
                           .tenant = s->tenant,
                           .rule = s->id,
                           .revision = s->revision,
                           .document = s->actions.document,
                           .by = s->by,
                           .partition = s->partition,
                           .offset = offset,
                           .unix_ms = p->at_ms,
                           .again = s->again,
                           .from = { &expr_host, p, &scratch } };
    TPI_METRIC_ADD(r->counters.schedules_fired, 1);
    tally->fired++;
    tally->fired_ms = p->at_ms;
    if (tpi_act(&act, &s->actions) > 0) {
        TPI_METRIC_ADD(r->counters.schedules_failed, 1);
    }
}

/* For who follows the schedule. */
static void decide(const struct rule_worker *w, int64_t unix_ms, const char *word, int64_t at_ms,
                   const char *text)
{
    if (w->trace != NULL) {
        tpi_trace_decide(w->trace, TPC_STR(""), unix_ms, word, at_ms, "%s", text);
    }
}

/* Names in its condition. */
static struct tpc_str name_of(void *user, uint32_t index)
{
    const struct tpi_rule_schedule *s = user;
    return index >= TPI_NAME_VAR && index - TPI_NAME_VAR < s->vars.count
               ? s->vars.items[index - TPI_NAME_VAR].name
               : TPC_STR("planned");
}

static int test_traced(const struct planned *p, struct rule_worker *w,
                       struct tpi_expr_scratch *scratch)
{
    struct tpi_trace_test x = { .trace = w->trace,
                                .unix_ms = p->at_ms,
                                .part = "condition",
                                .name = name_of,
                                .name_user = (void *) (uintptr_t) p->s };
    return tpi_trace_test(&x, p->s->condition, &expr_host, (void *) (uintptr_t) p, scratch);
}

static void do_schedule(struct tpi_act *act, struct tpi_rule_schedule *s)
{
    struct tpi_rules *r = act->rules;
    struct rule_worker *w = &r->workers[act->worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    struct planned p = { .r = r, .worker = act->worker, .s = s, .at_ms = act->unix_ms };
    if (!tpi_rules_is_moment(act->offset)) {
        p.at_ms = (int64_t) act->offset;
    }
    if (s->vars.count > 0) {
        tpc_arena_reset(w->vars_arena);
        tpi_vars_eval(&s->vars, &expr_host, &p, &scratch, w->vars_arena, &p.vars);
    }
    act->from = (struct tpi_fill_source){ &expr_host, &p, &scratch };
    (void) tpi_act(act, &s->actions);
}

void tpi_schedule_act(struct tpi_act *act, struct tpi_rule_schedule *s)
{
    struct tpi_trace **place = &act->rules->workers[act->worker].trace;
    bool entered = tpi_trace_enter(place, act->tally, 0);
    if (entered) {
        tpi_trace_decide(*place, TPC_STR(""), act->unix_ms, "fires", 0, "goes on after a delay");
    }
    do_schedule(act, s);
    tpi_trace_leave(place, entered);
}

/* Result of the condition: 1, 0, or -1 for null. */
static int test(const struct planned *p, uint32_t worker)
{
    struct rule_worker *w = &p->r->workers[worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    if (p->s->condition == NULL) {
        return 1;
    }
    w->evaluations++;
    int result = w->trace != NULL
                     ? test_traced(p, w, &scratch)
                     : tpi_expr_test(p->s->condition, &expr_host, (void *) (uintptr_t) p, &scratch);
    if (scratch.overflows > 0) {
        TPI_METRIC_ADD(p->r->counters.texts_lost, scratch.overflows);
    }
    return result;
}

static void eval_vars(struct planned *p, uint32_t worker)
{
    struct rule_worker *w = &p->r->workers[worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    if (p->s->vars.count > 0) {
        tpc_arena_reset(w->vars_arena);
        tpi_vars_eval(&p->s->vars, &expr_host, p, &scratch, w->vars_arena, &p->vars);
    }
}

/* One run at a planned time, or when the condition may have been true for long enough. Returns whether it fired. */
static bool run(struct tpi_rules *r, uint32_t worker, struct tpi_rule_schedule *s, int64_t at_ms)
{
    const struct rule_worker *w = &r->workers[worker];
    struct planned p = { .r = r, .worker = worker, .s = s, .at_ms = at_ms };
    eval_vars(&p, worker);
    s->ledger.workers[worker].evaluated++;
    int result = test(&p, worker);
    s->judged.run_ms = at_ms;
    if (result < 0) {
        decide(w, at_ms, "null", 0, "a value is missing: nothing changes");
        return false;
    }
    s->ledger.workers[worker].matched += result == 1;
    bool held = s->judged.held;
    s->judged.held = tpi_dampen_run(&s->gate.dampen, &s->judged.dampen, result == 1, at_ms);
    if (!s->judged.held || (s->rising && held)) {
        bool still = s->judged.held;
        decide(w, at_ms,
               still         ? "still"
               : result == 1 ? "dampened"
                             : "rests",
               0,
               still         ? "is still true: fires only when it becomes so"
               : result == 1 ? "is true, but not for long enough to fire"
                             : "does not fire");
        return false;
    }
    decide(w, at_ms, "fires", at_ms, "fires");
    fire(&p, worker, s, (uint64_t) at_ms);
    if (s->gate.auto_disable) {
        s->judged = (struct tpi_judged){ .off_until_ms = tpi_gate_off_until(&s->gate, at_ms) };
    }
    return true;
}

void tpi_schedule_run(struct tpi_rules *r, uint32_t worker, struct tpi_rule_schedule *s,
                      uint64_t offset)
{
    struct planned p = { .r = r, .worker = worker, .s = s, .at_ms = tpi_unix_ms(r->env) };
    struct rule_worker *w = &r->workers[worker];
    struct tpi_tally *tally = &s->ledger.workers[worker];
    struct tpi_trace *outer = w->trace; /* of the rule that runs it */
    uint64_t from = tpi_mono_ns(r->env);
    w->trace = tpi_trace_look(tally, 0);
    decide(w, p.at_ms, "fires", 0, "is run: fires");
    eval_vars(&p, worker);
    fire(&p, worker, s, offset);
    tpi_trace_told(w->trace);
    w->trace = outer;
    tally->due_ns += tpi_mono_ns(r->env) - from;
}

/* What is in the log is dropped by its id; what a kill kept from it is done. */
static void redo(struct tpi_rules *r, uint32_t worker, struct tpi_rule_schedule *s)
{
    struct planned p = { .r = r, .worker = worker, .s = s, .at_ms = s->judged.redo_ms };
    s->judged.redo_ms = 0;
    if (s->judged.off_until_ms == 0) {
        s->judged.run_ms = p.at_ms;
    }
    if (s->state.last_ms < p.at_ms) {
        s->state.last_ms = p.at_ms;
    }
    s->again = true;
    eval_vars(&p, worker);
    fire(&p, worker, s, (uint64_t) p.at_ms);
}

/* Whether it switched itself off and still is. Planned times up to when it is on again are passed over. */
static bool is_off(struct tpi_rule_schedule *s, int64_t now_ms)
{
    int64_t until = s->judged.off_until_ms;
    if (until > now_ms) {
        s->next_ms = until;
        return true;
    }
    if (until != 0 && s->state.last_ms < until) {
        s->state.last_ms = until;
    }
    s->judged.off_until_ms = 0;
    return false;
}

/* When the condition will have been true for long enough, if it was not run since; INT64_MAX = that is no
 * question of time. */
static int64_t run_again_ms(const struct tpi_rule_schedule *s)
{
    int64_t due = tpi_dampen_due(&s->gate.dampen, &s->judged.dampen);
    return due > s->judged.run_ms ? due : INT64_MAX;
}

static void decide_next(const struct rule_worker *w, int64_t now_ms,
                        const struct tpi_rule_schedule *s)
{
    if (s->next_ms == INT64_MAX) {
        decide(w, now_ms, "ended", 0, "nothing more is planned");
    } else {
        decide(w, now_ms, "planned", s->next_ms, "is looked at again then");
    }
}

static uint32_t look_at(struct tpi_rules *r, uint32_t worker, struct tpi_rule_schedule *s,
                        int64_t now_ms)
{
    struct tpi_schedule_step step;
    uint32_t fired = 0;
    struct rule_worker *w = &r->workers[worker];
    struct tpi_tally *tally = &s->ledger.workers[worker];
    if (s->judged.redo_ms != 0) {
        redo(r, worker, s);
    }
    if (is_off(s, now_ms)) {
        return 0;
    }
    uint64_t from = tpi_mono_ns(r->env);
    w->trace = tpi_trace_look(tally, 0);
    int64_t again_ms = run_again_ms(s);
    tpi_schedule_step(&s->schedule, &s->state, now_ms, &step);
    if (step.missed > 0) {
        TPI_METRIC_ADD(r->counters.schedules_missed, step.missed);
        decide(w, now_ms, "missed", 0, "planned times passed and are not done");
    }
    if (again_ms <= now_ms && (!step.fire || again_ms < step.fire_ms)) {
        fired += run(r, worker, s, again_ms);
    }
    if (step.fire && s->judged.off_until_ms <= step.fire_ms) {
        s->judged.off_until_ms = 0;
        fired += run(r, worker, s, step.fire_ms);
    }
    int64_t next = s->judged.off_until_ms != 0 ? s->judged.off_until_ms : run_again_ms(s);
    s->next_ms = next < step.next_ms || s->judged.off_until_ms != 0 ? next : step.next_ms;
    decide_next(w, now_ms, s);
    tpi_trace_told(w->trace);
    w->trace = NULL;
    tally->due_ns += tpi_mono_ns(r->env) - from;
    s->again = false;
    return fired;
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

/*
 * ---- state: count, then id, plan, since, last, fired, missed, ended of each; then from version 5 on whether
 * something is known of its condition, and if so judge, revision, held and dampen.active, runs, since, run and
 * off_until ----
 */

static bool is_saved(const struct tpi_rule_schedule *s, uint32_t partition)
{
    return s->partition == partition && s->live && s->enabled && !s->broken;
}

static int save_judged(const struct tpi_rule_schedule *s, struct tpi_buf *out)
{
    const struct tpi_judged *j = &s->judged;
    bool known = (s->condition != NULL && j->run_ms != 0) || j->off_until_ms != 0;
    int rc = tpi_buf_u8(out, known ? 1 : 0);
    if (rc != 0 || !known) {
        return rc;
    }
    rc = tpi_buf_u32(out, s->judge);
    rc = rc != 0 ? rc : tpi_buf_varint(out, s->revision);
    rc = rc != 0 ? rc : tpi_buf_u8(out, (uint8_t) (j->held | j->dampen.active << 1));
    rc = rc != 0 ? rc : tpi_buf_varint(out, j->dampen.runs);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, j->dampen.since_ms);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, j->run_ms);
    return rc != 0 ? rc : tpi_buf_zigzag(out, j->off_until_ms);
}

static int save_one(const struct tpi_rule_schedule *s, struct tpi_buf *out)
{
    int rc = tpi_buf_varint(out, s->id);
    rc = rc != 0 ? rc : tpi_buf_u32(out, s->plan);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, s->state.since_ms);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, s->state.last_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, s->state.fired);
    rc = rc != 0 ? rc : tpi_buf_varint(out, s->state.missed);
    rc = rc != 0 ? rc : tpi_buf_u8(out, s->state.ended ? 1 : 0);
    return rc != 0 ? rc : save_judged(s, out);
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

/* One as it was saved. */
struct saved {
    uint64_t id;
    uint64_t revision; /* judge and judged are its */
    uint32_t plan;
    uint32_t judge;
    struct tpi_schedule_state state;
    struct tpi_judged judged;
};

/* Its document says the same as when it was saved. What was planned before it was put last is over:
 * the program ran then. */
static void take(struct tpi_rules *r, const struct saved *saved)
{
    struct tpi_rule_schedule *s = tpi_map64_get(&r->schedules, saved->id);
    if (s == NULL || !s->enabled || s->plan != saved->plan) {
        return;
    }
    s->state = saved->state;
    if (s->judge == saved->judge) {
        s->judged = saved->judged;
    }
    if (s->revision != saved->revision) {
        s->judged.off_until_ms = 0;
    }
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

static bool read_judged(struct tpi_reader *in, struct saved *s)
{
    if (tpi_read_u8(in) == 0) {
        return true;
    }
    s->judge = tpi_read_u32(in);
    s->revision = tpi_read_varint(in);
    uint8_t flags = tpi_read_u8(in);
    s->judged.held = (flags & 1) != 0;
    s->judged.dampen.active = (flags & 2) != 0;
    s->judged.dampen.runs = tpi_read_varint(in);
    s->judged.dampen.since_ms = tpi_read_zigzag(in);
    s->judged.run_ms = tpi_read_zigzag(in);
    s->judged.off_until_ms = tpi_read_zigzag(in);
    return is_time(s->judged.dampen.since_ms) && is_time(s->judged.run_ms) &&
           (s->judged.off_until_ms == TPI_GATE_NEVER || is_time(s->judged.off_until_ms));
}

int tpi_schedules_read(struct tpi_rules *r, struct tpi_reader *in, bool judged, bool apply)
{
    uint64_t n = tpi_read_varint(in);
    for (uint64_t i = 0; i < n && !in->bad; i++) {
        struct saved s = { .id = tpi_read_varint(in) };
        s.plan = tpi_read_u32(in);
        s.state.since_ms = tpi_read_zigzag(in);
        s.state.last_ms = tpi_read_zigzag(in);
        s.state.fired = tpi_read_varint(in);
        s.state.missed = tpi_read_varint(in);
        s.state.ended = tpi_read_u8(in) == 1;
        if (!is_time(s.state.since_ms) || !is_time(s.state.last_ms) ||
            (judged && !read_judged(in, &s))) {
            return TPC_ECORRUPT;
        }
        if (apply && !in->bad) {
            take(r, &s);
        }
    }
    return in->bad ? TPC_ECORRUPT : 0;
}
