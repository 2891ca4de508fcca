/* What a message sets off, and what fires later because a condition stayed true. */
#include "registry/device.h"
#include "rules/chain.h"
#include "rules/damp.h"
#include "rules/data_rule.h"
#include "rules/firing.h"
#include "rules/rules_state.h"
#include "rules/schedule.h"
#include "rules/trace.h"

#include "base/hash.h"

#include <string.h>

enum { BACK_MS = 1000 /* that the clock may go back unseen */ };

static const char became[] = "became true: waits whether it stays so";

static struct tpi_trace *trace_of(const struct rule_firing *f)
{
    return f->r->workers[f->worker].trace;
}

static struct tpc_str key_of(const struct rule_firing *f)
{
    return f->device != NULL ? f->device->key : TPC_STR("");
}

static struct tpc_str name_of(void *user, uint32_t index)
{
    const struct rule_firing *f = user;
    const struct tpi_vars *vars = &f->scene->condition.vars;
    if (index >= TPI_NAME_VAR) {
        return index - TPI_NAME_VAR < vars->count ? vars->items[index - TPI_NAME_VAR].name
                                                  : TPC_STR("?");
    }
    if (index >= TPI_NAME_DEVICE) {
        return index == TPI_NAME_DEVICE   ? TPC_STR("device.key")
               : index == TPI_NAME_ONLINE ? TPC_STR("device.online")
                                          : TPC_STR("params");
    }
    return f->device == NULL ? TPC_STR("?")
                             : tpi_model_key_of(f->device->product->model, (uint16_t) index);
}

static int test_traced(const struct tpi_expr *e, struct rule_firing *f,
                       struct tpi_expr_scratch *scratch)
{
    bool until = e == f->scene->condition.until;
    struct tpi_trace_test x = { .trace = trace_of(f),
                                .device = key_of(f),
                                .unix_ms = f->unix_ms,
                                .part = until ? "until" : "expr",
                                .text = until ? f->scene->until : f->scene->text,
                                .name = name_of,
                                .name_user = f };
    return tpi_trace_test(&x, e, &tpi_firing_host, f, scratch);
}

/* What it decides, for who follows the scene. */
static void decide(const struct rule_firing *f, const char *word, int64_t at_ms, const char *text)
{
    if (trace_of(f) != NULL) {
        tpi_trace_decide(trace_of(f), key_of(f), f->unix_ms, word, at_ms, "%s", text);
    }
}

static int test(const struct tpi_expr *e, struct rule_firing *f)
{
    struct rule_worker *w = &f->r->workers[f->worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    w->evaluations++;
    int result = w->trace == NULL ? tpi_expr_test(e, &tpi_firing_host, f, &scratch)
                                  : test_traced(e, f, &scratch);
    if (scratch.overflows > 0) {
        TPI_METRIC_ADD(f->r->counters.texts_lost, scratch.overflows);
    }
    return result;
}

static void warn_full(struct rule_firing *f)
{
    TPI_METRIC_ADD(f->r->counters.edges_full, 1);
    if (!atomic_exchange_explicit(&f->scene->warned, true, memory_order_relaxed)) {
        tpi_log(f->r->env, TPC_LOG_WARN, "rules",
                "%.*s does not fire: no memory for the state of its condition",
                (int) f->scene->by.len, f->scene->by.ptr);
    }
}

static struct tpi_tally *tally_of(const struct rule_firing *f)
{
    return &f->scene->ledger.workers[f->worker];
}

/* Once for a message, or when a pair that waited fires. */
static void make_vars(struct rule_firing *f)
{
    const struct tpi_vars *vars = &f->scene->condition.vars;
    struct rule_worker *w = &f->r->workers[f->worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    f->has_vars = true;
    f->vars = (struct tpi_var_values){ .count = 0 };
    if (vars->count > 0) {
        tpi_vars_eval(vars, &tpi_firing_host, f, &scratch, w->vars_arena, &f->vars);
    }
}

static void drop_pair(struct rule_firing *f);

/* Does nothing if another worker's firing has just switched it off. */
static void fire(struct rule_firing *f)
{
    const struct tpi_scene *s = f->scene;
    struct rule_worker *w = &f->r->workers[f->worker];
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    struct tpi_tally *tally = tally_of(f);
    struct tpi_act act = { .rules = f->r,
                           .tally = tally,
                           .worker = f->worker,
                           .tenant_id = s->tenant_id,
                           .tenant = s->tenant,
                           .rule = s->id,
                           .revision = s->revision,
                           .document = s->actions.document,
                           .by = s->by,
                           .device = f->device,
                           .partition = f->partition,
                           .offset = f->offset,
                           .unix_ms = f->unix_ms,
                           .again = f->again,
                           .waited = f->msg == NULL,
                           .from = { &tpi_firing_host, f, &scratch } };
    if (f->msg != NULL && f->msg->received_unix_ms < s->watch.fence_ms) {
        return; /* the one that was there before has done it */
    }
    if (!f->asked && !tpi_scene_take_turn(f->scene, f->partition, f->unix_ms)) {
        drop_pair(f);
        return;
    }
    if (!f->has_vars) {
        make_vars(f);
    }
    act.hops = tpi_chain_before(f->r, f->device, f->msg, &act.origin);
    w->fired++;
    tally->fired++;
    tally->fired_ms = f->unix_ms;
    decide(f, "fires", 0,
           f->asked         ? "is run: fires"
           : f->msg != NULL ? "fires"
                            : "was true for long enough: fires");
    tpi_act(&act, &f->scene->actions);
    if (s->gate->auto_disable && !f->asked) {
        drop_pair(f);
    }
}

/* ---- pairs ---- */

static struct tpi_edges *edges_of(struct rule_firing *f)
{
    return &f->r->partitions[f->partition].edges;
}

/* A scene that is off remembers nothing. */
static void drop_pair(struct rule_firing *f)
{
    tpi_edges_remove(edges_of(f), f->scene->id, f->device->id);
    tpi_rules_damp_forget(f->r, f->partition, f->scene, f->device->id);
}

/* Result of the condition after dampening: 1, 0, or -1 for null. */
static int judge(struct rule_firing *f)
{
    const struct tpi_scene *s = f->scene;
    int result = s->condition.expr != NULL ? test(s->condition.expr, f) : 1;
    if (result < 0 || s->gate->dampen.type == TPI_DAMPEN_NONE || s->for_ms > 0) {
        return result;
    }
    int damped = tpi_rules_damp(f->r, f->partition, s, f->device->id, result == 1);
    if (damped < 0) {
        warn_full(f);
    }
    tally_of(f)->matched += result == 1 && damped != 1; /* else the caller counts it */
    if (damped != result) {
        decide(f, damped == 1 ? "still" : "dampened", 0,
               damped == 1 ? "is true after dampening" : "is not believed yet: dampening");
    }
    return damped;
}

static int64_t add_ms(int64_t unix_ms, int64_t ms)
{
    return unix_ms > INT64_MAX - ms ? INT64_MAX : unix_ms + ms;
}

/* Whether it fired so lately that it is passed over. */
static bool held_back(struct rule_firing *f, const struct tpi_edge *e)
{
    if (e == NULL || (e->flags & TPI_EDGE_FIRED) == 0 || f->scene->every_ms == 0 ||
        f->unix_ms - e->at_unix_ms >= f->scene->every_ms || f->unix_ms < e->at_unix_ms) {
        return false;
    }
    TPI_METRIC_ADD(f->r->counters.held_back, 1);
    decide(f, "held", add_ms(e->at_unix_ms, f->scene->every_ms),
           "is held back: it fired within the time of \"every\"");
    return true;
}

/* The pair, made if it is not there. NULL: no memory. */
static struct tpi_edge *pair(struct rule_firing *f, struct tpi_edge *e)
{
    struct tpi_edge fresh = { .scene = f->scene->id,
                              .device = f->device->id,
                              .when = f->scene->when };
    if (e != NULL) {
        return e;
    }
    if (tpi_edges_add(edges_of(f), &fresh) != 0) {
        warn_full(f);
        return NULL;
    }
    return tpi_edges_find(edges_of(f), fresh.scene, fresh.device);
}

void tpi_rules_due_changed(struct rule_worker *w)
{
    const struct tpi_due_item *first = tpi_due_first(&w->due);
    atomic_store(&w->next_unix_ms, first != NULL ? first->at_unix_ms : INT64_MAX);
}

/* Whether an item is of a pair that does not wait for it any more. */
bool tpi_rules_is_over(void *user, const struct tpi_due_item *item)
{
    struct tpi_rules *r = user;
    if (tpi_map64_get(&r->data_rules, item->scene) != NULL) {
        return !tpi_data_rule_waits(r, item);
    }
    const struct tpi_edge *e =
        tpi_edges_find(&r->partitions[item->partition].edges, item->scene, item->device);
    return e == NULL || (e->flags & TPI_EDGE_WAITS) == 0 || e->at_unix_ms != item->at_unix_ms;
}

uint64_t tpi_rules_moment(uint64_t device, int64_t unix_ms)
{
    return tpi_hash64(tpi_hash64((uint64_t) unix_ms) ^ device) | (uint64_t) 1 << 63;
}

/* The pair fires at a time. offset: what its actions' ids are made of. */
static void wait_until(struct rule_firing *f, struct tpi_edge *e, int64_t at_unix_ms,
                       uint32_t flags, uint64_t offset, const char *why)
{
    struct rule_worker *w = &f->r->workers[f->worker];
    struct tpi_due_item item = { .at_unix_ms = at_unix_ms,
                                 .scene = f->scene->id,
                                 .device = f->device->id,
                                 .partition = f->partition };
    tpi_due_prune(&w->due, tpi_rules_is_over, f->r);
    if (tpi_due_add(&w->due, &item) != 0) {
        warn_full(f);
        tpi_edges_remove(edges_of(f), e->scene, e->device);
        return; /* its next message tries again */
    }
    bool again = atomic_load(&f->r->replaying); /* it may have fired before the start */
    e->flags = flags | TPI_EDGE_WAITS | (again ? (uint32_t) TPI_EDGE_LOADED : 0);
    e->at_unix_ms = item.at_unix_ms;
    e->offset = offset;
    decide(f, "waits", item.at_unix_ms, why);
    tpi_rules_due_changed(w);
}

/* What is true fires when the window opens, if it is to be so; else not before it is true anew. */
static void wait_for_start(struct rule_firing *f, struct tpi_edge *e)
{
    const struct tpi_during *d = &f->scene->during;
    int64_t at = d->at_start ? tpi_during_next(d, f->unix_ms) : INT64_MAX;
    if (at == INT64_MAX) {
        e->flags &= ~(uint32_t) TPI_EDGE_WAITS;
    } else {
        wait_until(f, e, at, TPI_EDGE_TRUE, tpi_rules_moment(f->device->id, at),
                   "waits for the start of its window");
    }
}

static void mark_fired(struct rule_firing *f, struct tpi_edge *e, uint32_t flags)
{
    e->flags = flags | TPI_EDGE_FIRED | (f->scene->once ? (uint32_t) TPI_EDGE_DONE : 0);
    e->at_unix_ms = f->unix_ms;
    e->offset = f->offset;
}

/* The condition is over. When it fired is still needed where there is a limit. */
static void fall(struct rule_firing *f, struct tpi_edge *e)
{
    if (f->scene->until.len > 0) {
        tpi_rules_damp_forget(f->r, f->partition, f->scene, f->device->id); /* they are old runs */
    }
    if (f->scene->every_ms > 0 && (e->flags & TPI_EDGE_FIRED) != 0) {
        e->flags = TPI_EDGE_FIRED;
    } else {
        tpi_edges_remove(edges_of(f), e->scene, e->device);
    }
}

/* It is true for long enough. Returns whether it fired: not while the window is closed. */
static bool fire_rise(struct rule_firing *f, struct tpi_edge *e)
{
    bool open = tpi_during_contains(&f->scene->during, f->unix_ms);
    if (open) {
        mark_fired(f, e, TPI_EDGE_TRUE);
        fire(f);
        e = tpi_edges_find(edges_of(f), f->scene->id, f->device->id);
        if (e == NULL) { /* it switched itself off */
            return true;
        }
    } else {
        decide(f, "closed", 0, "is true outside its window: does not fire");
    }
    e->flags |= TPI_EDGE_TRUE;
    if (f->scene->during.set && (e->flags & TPI_EDGE_DONE) == 0) {
        wait_for_start(f, e);
    }
    return open;
}

static void rise(struct rule_firing *f, struct tpi_edge *e)
{
    bool back = held_back(f, e);
    e = pair(f, e);
    if (e == NULL) {
        return;
    }
    if (back) {
        e->flags |= TPI_EDGE_TRUE;
    } else if (f->scene->for_ms > 0) {
        wait_until(f, e, add_ms(f->unix_ms, f->scene->for_ms), TPI_EDGE_TRUE, f->offset, became);
    } else {
        fire_rise(f, e);
    }
}

static void still(const struct rule_firing *f, const struct tpi_edge *e)
{
    if ((e->flags & TPI_EDGE_WAITS) != 0) {
        decide(f, "waits", e->at_unix_ms, "is still true: waits on");
    } else {
        decide(f, "still", 0, "is still true: fires only when it becomes so");
    }
}

static void look_for_edge(struct rule_firing *f)
{
    const struct tpi_condition *c = &f->scene->condition;
    struct tpi_edge *e = tpi_edges_find(edges_of(f), f->scene->id, f->device->id);
    if (e != NULL && (e->flags & TPI_EDGE_TRUE) != 0) {
        bool over = c->until != NULL ? test(c->until, f) == 1 : judge(f) == 0;
        if (over) {
            decide(f, "over", 0,
                   (e->flags & TPI_EDGE_WAITS) != 0 ? "is over: waits no more"
                                                    : "is over: can fire again");
            fall(f, e);
        } else {
            tally_of(f)->matched++;
            still(f, e);
        }
    } else if (judge(f) == 1) {
        tally_of(f)->matched++;
        rise(f, e);
    }
}

/* With each message once it has been true for long enough. */
static void look_at_long(struct rule_firing *f, int result)
{
    struct tpi_edge *e = tpi_edges_find(edges_of(f), f->scene->id, f->device->id);
    bool active = e != NULL && (e->flags & TPI_EDGE_TRUE) != 0;
    if (result == 0 && active) {
        decide(f, "over", 0, "is over");
        fall(f, e);
    } else if (result == 1 && !active) {
        e = pair(f, e);
        if (e != NULL) {
            wait_until(f, e, add_ms(f->unix_ms, f->scene->for_ms), TPI_EDGE_TRUE, f->offset,
                       became);
        }
    } else if (result == 1 && (e->flags & TPI_EDGE_WAITS) == 0 && !held_back(f, e) &&
               tpi_during_contains(&f->scene->during, f->unix_ms)) {
        mark_fired(f, e, TPI_EDGE_TRUE);
        fire(f);
    }
}

static void look_at_each(struct rule_firing *f)
{
    int result = judge(f);
    tally_of(f)->matched += result == 1;
    if (f->scene->for_ms > 0) {
        look_at_long(f, result);
        return;
    }
    if (result != 1) {
        return;
    }
    const struct tpi_scene *s = f->scene;
    if (!tpi_during_contains(&s->during, f->unix_ms)) {
        decide(f, "closed", 0, "is true outside its window: does not fire");
        return;
    }
    if (s->every_ms > 0 || s->debounce_ms > 0 || s->once) {
        struct tpi_edge *e = tpi_edges_find(edges_of(f), s->id, f->device->id);
        if (held_back(f, e) || (e = pair(f, e)) == NULL) {
            return;
        }
        if (s->debounce_ms > 0) {
            wait_until(f, e, add_ms(f->unix_ms, s->debounce_ms), 0, f->offset,
                       "waits whether it is quiet");
            return;
        }
        mark_fired(f, e, 0);
    }
    fire(f);
}

/* Whether it fired for this device, and does not again before it is reset. */
static bool is_done(struct rule_firing *f)
{
    const struct tpi_edge *e =
        f->scene->once ? tpi_edges_find(edges_of(f), f->scene->id, f->device->id) : NULL;
    bool done = e != NULL && (e->flags & TPI_EDGE_DONE) != 0;
    if (done) {
        decide(f, "done", 0, "has fired: does not before it is reset");
    }
    return done;
}

static void look(struct rule_firing *f)
{
    if (is_done(f)) {
        return;
    }
    f->has_vars = false;
    if (f->scene->condition.vars.count > 0) {
        tpc_arena_reset(f->r->workers[f->worker].vars_arena);
        make_vars(f);
    }
    if (f->scene->each) {
        look_at_each(f);
    } else {
        look_for_edge(f);
    }
}

/* Timed, or told. */
static void look_slowly(struct rule_firing *f, struct tpi_tally *tally)
{
    struct rule_worker *w = &f->r->workers[f->worker];
    w->trace = tpi_trace_look(tally, f->device->id);
    if (w->trace != NULL) {
        tpi_trace_message(w->trace, f->device->key, f->msg);
        look(f);
        tpi_trace_told(w->trace);
        w->trace = NULL;
        return;
    }
    uint64_t from = tpi_mono_ns(f->r->env);
    look(f);
    tpi_tally_timed(tally, from, tpi_mono_ns(f->r->env));
}

/* The message came before the rule: fence.c. */
static inline bool is_before(const struct rule_firing *f, const struct tpi_watch *w)
{
    return f->msg->received_unix_ms < w->fence_ms && w->fence_new;
}

static void look_at(struct rule_firing *f)
{
    if (is_before(f, &f->scene->watch)) {
        return;
    }
    const struct tpi_scene *s = f->scene;
    if (s->devices.count > 0 &&
        tpi_map_get(&s->devices, f->device->key.ptr, f->device->key.len) == NULL) {
        return;
    }
    if (s->gate->auto_disable && tpi_scene_is_off(s, f->unix_ms)) {
        drop_pair(f);
        return;
    }
    struct tpi_tally *tally = tally_of(f);
    if ((tally->evaluated++ & tally->usual) == 0) {
        look_slowly(f, tally);
    } else {
        look(f);
    }
}

/* ---- messages ---- */

static uint32_t next_stamp(struct rule_worker *w)
{
    if (++w->stamp == 0) {
        memset(w->marks, 0, TPI_RULES_MAX_WATCHES * sizeof(*w->marks));
        w->stamp = 1;
    }
    return w->stamp;
}

static void look_at_topic(struct rule_firing *f, struct tpi_data_rule *d)
{
    if (tpi_data_rule_takes(d, f->device, f->msg)) {
        tpi_data_rule_message(f->r, f->worker, d, f->device, f->msg);
    }
}

static void look_at_list(struct rule_firing *f, const struct rule_list *list, uint32_t stamp)
{
    uint32_t *marks = f->r->workers[f->worker].marks;
    for (uint32_t i = 0; i < list->count; i++) {
        struct tpi_watch *w = list->items[i];
        if (marks[w->number] == stamp) {
            continue;
        }
        marks[w->number] = stamp;
        if (w->kind == TPI_WATCH_DATA_RULE && !is_before(f, w)) {
            tpi_data_rule_message(f->r, f->worker, (struct tpi_data_rule *) (void *) w, f->device,
                                  f->msg);
        } else if (w->kind == TPI_WATCH_SCENE) {
            f->scene = (struct tpi_scene *) (void *) w;
            look_at(f);
        } else if (w->kind == TPI_WATCH_TOPIC_RULE && !is_before(f, w)) {
            look_at_topic(f, (struct tpi_data_rule *) (void *) w);
        }
    }
}

static void look_at_data(struct rule_firing *f, const struct rule_set *set)
{
    uint32_t stamp = next_stamp(&f->r->workers[f->worker]);
    for (uint32_t i = 0; i < f->msg->point_count; i++) {
        uint16_t id = tpc_msg_point(f->msg, i)->property;
        if (id < set->count && set->lists[id].count > 0) {
            look_at_list(f, &set->lists[id], stamp);
        }
    }
    look_at_list(f, &set->triggers[TPI_ON_DATA], stamp);
}

/* Whether the scene itself sent it. */
static bool is_own(const struct tpi_scene *s, const struct tpc_msg *msg)
{
    static const char prefix[] = "rule ";
    size_t n = sizeof(prefix) - 1;
    const struct tpc_value *actor = tpc_value_get(&msg->params, TPC_STR("actor"));
    struct tpc_str who = actor != NULL ? tpc_value_text(actor) : msg->origin;
    return who.len == n + s->by.len && memcmp(who.ptr, prefix, n) == 0 &&
           memcmp(who.ptr + n, s->by.ptr, s->by.len) == 0;
}

/* What became of a command. */
static uint32_t moment_of(const struct tpc_msg *msg)
{
    const struct tpc_value *state = tpc_value_get(&msg->params, TPC_STR("state"));
    if (msg->kind == TPC_MSG_COMMAND) {
        return TPI_COMMAND_SENT;
    }
    bool done = state != NULL && tpc_str_equal(tpc_value_text(state), TPC_STR("succeeded"));
    return done ? TPI_COMMAND_DONE : TPI_COMMAND_FAILED;
}

static void look_at_trigger(struct rule_firing *f, const struct rule_set *set, enum tpi_trigger on)
{
    const struct rule_list *list = &set->triggers[on];
    for (uint32_t i = 0; i < list->count; i++) {
        f->scene = (struct tpi_scene *) (void *) list->items[i]; /* only scenes have triggers */
        bool named = f->scene->event.len == 0 || tpc_str_equal(f->scene->event, f->msg->name);
        if (named && (on != TPI_ON_COMMAND ||
                      (f->scene->moment == moment_of(f->msg) && !is_own(f->scene, f->msg)))) {
            look_at(f);
        }
    }
}

static bool is_online(const struct tpc_msg *msg)
{
    const struct tpc_value *online = tpc_value_get(&msg->params, TPC_STR("online"));
    return online != NULL && online->type == TPC_BOOL && online->as.b;
}

/* Whether this message turned the device's state, and did not only repeat it. */
static bool turned(struct tpc_device *d, bool online)
{
    bool was = tpi_device_has(d, TPI_DEVICE_SEEN) ? tpi_device_has(d, TPI_DEVICE_SEEN_ONLINE)
                                                  : atomic_load(&d->online);
    tpi_rules_seen(d, online);
    return was != online;
}

void tpi_rules_seen(struct tpc_device *device, bool online)
{
    tpi_device_bit(device, TPI_DEVICE_SEEN, true);
    tpi_device_bit(device, TPI_DEVICE_SEEN_ONLINE, online);
}

bool tpi_scene_run(struct tpi_rules *r, struct tpi_scene *scene, const struct tpi_scene_run *run)
{
    struct rule_firing f = { .r = r,
                             .worker = run->worker,
                             .partition = run->partition,
                             .device = run->device,
                             .scene = scene,
                             .offset = run->offset,
                             .unix_ms = tpi_unix_ms(r->env),
                             .again = run->again,
                             .asked = true };
    const struct tpi_expr *expr = scene->condition.expr;
    struct rule_worker *w = &r->workers[run->worker];
    struct tpi_tally *tally = tally_of(&f);
    struct tpi_trace *outer = w->trace; /* of the rule that runs it */
    uint64_t from = tpi_mono_ns(r->env);
    w->trace = tpi_trace_look(tally, run->device != NULL ? run->device->id : 0);
    tpc_arena_reset(w->vars_arena);
    make_vars(&f);
    bool fires = !run->ask || expr == NULL || test(expr, &f) == 1;
    if (fires) {
        fire(&f);
    }
    tpi_trace_told(w->trace);
    w->trace = outer;
    tally->due_ns += tpi_mono_ns(r->env) - from;
    return fires;
}

bool tpi_rules_on_commands(const struct tpi_rules *r)
{
    return atomic_load_explicit(&r->on_commands, memory_order_relaxed) > 0;
}

static void look_at_message(struct tpi_rules *r, uint32_t worker, struct tpc_device *device,
                            const struct tpc_msg *msg)
{
    const struct rule_set *set = device != NULL && device->product != NULL
                                     ? tpi_map64_get(&r->sets, device->product->id)
                                     : NULL;
    if (set == NULL) {
        return;
    }
    struct rule_firing f = { .r = r,
                             .worker = worker,
                             .partition = msg->partition,
                             .device = device,
                             .msg = msg,
                             .offset = msg->offset,
                             .unix_ms = msg->received_unix_ms };
    if (msg->kind == TPC_MSG_TELEMETRY || msg->kind == TPC_MSG_ATTRIBUTES) {
        look_at_data(&f, set);
    } else if (msg->kind == TPC_MSG_EVENT) {
        look_at_trigger(&f, set, TPI_ON_EVENT);
    } else if (msg->kind == TPC_MSG_COMMAND || msg->kind == TPC_MSG_COMMAND_CLOSED) {
        look_at_trigger(&f, set, TPI_ON_COMMAND);
    } else if (msg->kind == TPC_MSG_PRESENCE && turned(device, is_online(msg))) {
        look_at_trigger(&f, set, is_online(msg) ? TPI_ON_ONLINE : TPI_ON_OFFLINE);
    }
}

void tpi_rules_message(struct tpi_rules *r, uint32_t worker, struct tpc_device *device,
                       const struct tpc_msg *msg)
{
    r->partitions[msg->partition].next = msg->offset + 1;
    look_at_message(r, worker, device, msg);
    r->workers[worker].before.msg = NULL;
}

/* ---- what waits ---- */

int64_t tpi_rules_next_ms(const struct tpi_rules *r, uint32_t worker)
{
    int64_t due = atomic_load(&r->workers[worker].next_unix_ms);
    int64_t planned = tpi_schedules_next_ms(r, worker);
    int64_t later = tpi_laters_next_ms(r, worker);
    due = later < due ? later : due;
    return planned < due ? planned : due;
}

/* Its time is over. Returns whether it fired. */
static bool fire_waited(struct rule_firing *f, struct tpi_edge *e)
{
    const struct tpi_scene *s = f->scene;
    if (!s->each || s->for_ms > 0) {
        return fire_rise(f, e);
    }
    bool open = tpi_during_contains(&s->during, f->unix_ms);
    if (s->once && open) {
        mark_fired(f, e, 0);
    } else { /* the quiet time is over, nothing is to be remembered */
        tpi_edges_remove(edges_of(f), e->scene, e->device);
    }
    if (open) {
        fire(f);
    }
    return open;
}

/* Whether the pair still waits for this moment; then it fires. */
static bool fire_due(struct tpi_rules *r, uint32_t worker, const struct tpi_due_item *item,
                     int64_t now)
{
    struct tpi_data_rule *rule = tpi_map64_get(&r->data_rules, item->scene);
    if (rule != NULL) {
        return tpi_data_rule_due(r, worker, rule, item, now) > 0;
    }
    struct tpi_edge *e =
        tpi_edges_find(&r->partitions[item->partition].edges, item->scene, item->device);
    struct tpi_scene *s = tpi_map64_get(&r->scenes, item->scene);
    if (e == NULL || (e->flags & TPI_EDGE_WAITS) == 0 || e->at_unix_ms != item->at_unix_ms ||
        s == NULL || !s->watch.linked) {
        return false;
    }
    struct tpc_device *d = tpi_registry_by_id(r->host.registry, item->device);
    if (d == NULL) {
        tpi_edges_remove(&r->partitions[item->partition].edges, item->scene, item->device);
        return false;
    }
    struct rule_firing f = { .r = r,
                             .worker = worker,
                             .partition = item->partition,
                             .device = d,
                             .scene = s,
                             .offset = e->offset,
                             .unix_ms = now,
                             .again = (e->flags & TPI_EDGE_LOADED) != 0 };
    if (tpi_scene_is_off(s, now)) {
        drop_pair(&f);
        return false;
    }
    tpc_arena_reset(r->workers[worker].vars_arena);
    struct rule_worker *w = &r->workers[worker];
    uint64_t from = tpi_mono_ns(r->env);
    w->trace = tpi_trace_look(tally_of(&f), d->id);
    bool fired = fire_waited(&f, e);
    tpi_trace_told(w->trace);
    w->trace = NULL;
    tally_of(&f)->due_ns += tpi_mono_ns(r->env) - from;
    return fired;
}

uint32_t tpi_rules_turn(struct tpi_rules *r, uint32_t worker)
{
    return tpi_rules_turn_at(r, worker, tpi_unix_ms(r->env));
}

uint32_t tpi_rules_turn_at(struct tpi_rules *r, uint32_t worker, int64_t now)
{
    struct rule_worker *w = &r->workers[worker];
    uint32_t fired = tpi_schedules_turn(r, worker, now);
    int64_t seen = w->turned_ms;
    fired += tpi_laters_turn(r, worker, seen > now + BACK_MS ? seen : now, now);
    bool back = seen > now + BACK_MS && atomic_load(&w->next_unix_ms) != INT64_MAX;
    w->turned_ms = now;
    if (atomic_load(&w->next_unix_ms) > now && !back) {
        return fired;
    }
    tpi_registry_read_lock(r->host.registry);
    tpi_rules_begin(r, worker);
    if (back) {
        tpi_rules_set_back(r, worker, seen, now);
    }
    const struct tpi_due_item *first;
    while ((first = tpi_due_first(&w->due)) != NULL && first->at_unix_ms <= now) {
        struct tpi_due_item item = *first;
        tpi_due_pop(&w->due);
        fired += fire_due(r, worker, &item, now);
    }
    tpi_rules_due_changed(w);
    tpi_rules_end(r, worker);
    tpi_registry_read_unlock(r->host.registry);
    return fired;
}
