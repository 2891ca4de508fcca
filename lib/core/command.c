/* Commands from the program and from rules, until they are in the log and in the downlink. */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "core/core.h"
#include "data/msg.h"
#include "data/utf8.h"
#include "downlink/command.h"
#include "registry/why.h"
#include "rules/chain.h"
#include "rules/follow.h"

enum { PARAMS_ARENA_BYTES = 16 << 20 };

/* A command on its way to the worker that owns its device; the record's body follows. */
struct outgoing {
    struct tpi_effect effect;
    struct tpc_device *device; /* counted */
    struct tpc_id id;
    int64_t unix_ms;
    bool of_rule;
    bool replayed;              /* of a message that scenes perhaps have seen before the start */
    struct tpi_chain_link link; /* of the chain of rules that it stands in */
    size_t body_len;
    uint64_t sequence; /* once appended */
};

/* Who wants to hear of a command's end. */
struct waiting {
    const struct tpi_part *part; /* NULL = the program */
    tpc_command_fn *fn;
    void *user;
};

/* ---- making ---- */

static void free_outgoing(struct tpc_core *core, struct outgoing *o)
{
    if (o != NULL) {
        if (o->of_rule) {
            atomic_fetch_sub(&core->rule_pending, 1);
        }
        tpi_device_unref(o->device);
        tpi_free(core->env.alloc, o, sizeof(*o) + o->body_len);
    }
}

static void drop_outgoing(struct tpi_worker *w, struct tpi_node *node)
{
    free_outgoing(w->core, (struct outgoing *) (void *) node);
}

static int make_outgoing(struct tpc_core *core, struct tpc_device *device, const struct tpc_id *id,
                         const struct tpi_command_spec *spec, struct tpc_str origin,
                         struct tpc_arena *arena, struct tpc_error *err, struct outgoing **ret)
{
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_COMMAND,
                         .id = *id,
                         .name = spec->service,
                         .origin = origin,
                         .point_size = sizeof(struct tpc_point) };
    struct tpi_buf body;
    tpi_buf_init(&body, core->env.alloc, core->options.frame_max_bytes + 4096);
    int rc = tpi_command_envelope(spec, arena, &m.params);
    rc = rc != 0 ? rc : tpi_msg_encode(&m, &body);
    struct outgoing *o = rc == 0 ? tpi_alloc(core->env.alloc, sizeof(*o) + body.len) : NULL;
    if (o == NULL) {
        tpi_buf_fini(&body);
        return tpi_error_set(err, rc != 0 ? rc : TPC_ENOMEM, "command",
                             "the command cannot be made");
    }
    memset(o, 0, sizeof(*o));
    o->effect.node.drop = drop_outgoing;
    o->effect.partition = device->partition;
    o->device = tpi_device_ref(device);
    o->id = *id;
    o->unix_ms = tpi_unix_ms(&core->env);
    o->body_len = body.len;
    memcpy(o + 1, body.ptr, body.len);
    tpi_buf_fini(&body);
    *ret = o;
    return 0;
}

/* ---- what the store knows of ended ones ---- */

struct stored {
    struct tpc_arena *arena;
    struct tpc_str json;
};

static int copy_row(void *user, const struct tpc_row *row)
{
    struct stored *s = user;
    char *copy = tpc_arena_take(s->arena, row->doc.len + 1);
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(copy, row->doc.ptr, row->doc.len);
    s->json = (struct tpc_str){ copy, row->doc.len };
    return 0;
}

/* The store holds no lock any more: fn may use it. */
static int tell_row(struct stored *s, const struct tpc_id *id, bool ended, tpc_command_fn *fn,
                    void *user)
{
    struct tpc_value doc;
    struct tpc_command c;
    int rc = tpc_json_parse(s->arena, s->json, 0, NULL, &doc);
    rc = rc == 0 ? tpi_command_read(&doc, s->arena, &c) : TPC_ECORRUPT;
    if (rc == 0 && ended && c.state < TPC_COMMAND_SUCCEEDED) {
        rc = TPC_ENOENT;
    }
    if (rc == 0 && fn != NULL) {
        c.id = *id;
        c.tenant = tpc_value_text(tpc_value_get(&doc, TPC_STR("tenant")));
        c.device = tpc_value_text(tpc_value_get(&doc, TPC_STR("device")));
        fn(user, &c);
    }
    return rc;
}

/* ended: no open ones, whose rows lag behind. */
static int find_row(struct tpc_core *core, const struct tpc_id *id, bool ended, tpc_command_fn *fn,
                    void *user)
{
    char text[TPC_ID_TEXT_BYTES + 1];
    struct stored s = { NULL, { NULL, 0 } };
    const struct tpi_part *p = core->entities_part;
    if (tpc_arena_create(core->env.alloc, PARAMS_ARENA_BYTES, &s.arena) != 0) {
        return TPC_ENOMEM;
    }
    tpc_id_format(id, text);
    int rc = p->ops->store.get(p->self, TPC_SPACE_RECORD, TPC_STR("command"), 0,
                               (struct tpc_str){ text, TPC_ID_TEXT_BYTES }, copy_row, &s);
    rc = rc != 0 ? rc : tell_row(&s, id, ended, fn, user);
    tpc_arena_destroy(s.arena);
    return rc;
}

static int find_stored(struct tpc_core *core, const struct tpc_id *id, tpc_command_fn *fn,
                       void *user)
{
    return find_row(core, id, true, fn, user);
}

/* ---- in the owner's hands ---- */

/* What the downlink needs of it is made before it is in the log: then nothing can fail any more. */
static int prepare_command(struct tpi_worker *w, struct outgoing *o, const struct tpc_record *r,
                           struct tpc_error *err)
{
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = r->kind,
                         .flags = r->flags,
                         .partition = r->partition,
                         .offset = atomic_load(&w->core->ends[r->partition]),
                         .device_id = r->device_id,
                         .unix_ms = r->unix_ms,
                         .received_unix_ms = r->received_unix_ms,
                         .point_size = sizeof(struct tpc_point) };
    tpc_arena_reset(w->arena);
    int rc = tpi_msg_decode(r->body, w->arena, NULL, &m);
    rc = rc != 0 ? rc : tpi_downlink_prepare(w->downlink, o->device, &m);
    return rc == 0 ? 0 : tpi_error_set(err, rc, "command", "the command cannot be taken");
}

static int append_command(struct tpi_worker *w, struct outgoing *o, struct tpc_error *err)
{
    struct tpc_device *d = o->device;
    if (atomic_load(&d->deleted)) {
        return tpi_error_set(err, TPC_ENOENT, "command", "device \"%s\" is deleted", d->key.ptr);
    }
    int rc = tpi_downlink_admit(w->downlink, d, &o->id, err);
    if (rc != 0) {
        return rc;
    }
    struct tpc_record r = {
        .size = sizeof(r),
        .kind = TPC_MSG_COMMAND,
        .flags = TPC_MSG_DOWN,
        .partition = d->partition,
        .device_id = d->id,
        .unix_ms = o->unix_ms,
        .received_unix_ms = o->unix_ms,
        .body = { (const uint8_t *) (o + 1), o->body_len },
    };
    rc = prepare_command(w, o, &r, err);
    if (rc != 0) {
        return rc;
    }
    atomic_store(&w->adding, true);
    /* Until a rule's command is in the log, the rules' cursor keeps the log: it must find room in a
     * full one. */
    bool busy = atomic_exchange(&w->busy, true); /* rules have not seen it yet */
    rc = tpi_log_append(w, &r, 1, o->of_rule ? TPC_APPEND_RESERVE : 0, err);
    if (rc == 0) {
        o->sequence = w->sequence;
        tpi_chain_sent(w->core->rules, w->index, &o->link);
        tpi_rule_command_record(w, d, &r);
        tpi_downlink_begin(w->downlink, d, &o->id, r.offset);
    } else {
        tpi_downlink_abandon(w->downlink, &o->id);
    }
    atomic_store(&w->busy, busy);
    atomic_store(&w->adding, false);
    if (rc == TPC_EAGAIN) { /* open chunks that hold the log are stored before their time */
        tpi_count(&w->core->counters.append_waits, 1);
        if (w->core->threads) {
            tpi_pump_kick(w->core);
        }
    }
    return rc;
}

/* Nobody waits for its result: what the log cannot take now stays, what is refused is told. */
static void take_outgoing(struct tpi_worker *w, struct outgoing *o)
{
    struct tpc_core *core = w->core;
    struct tpc_error err = { .size = sizeof(err) };
    if (o->replayed && find_stored(core, &o->id, NULL, NULL) == 0) {
        free_outgoing(core, o); /* fired before the restart, and ended */
        return;
    }
    int rc = append_command(w, o, &err);
    bool queue_full = rc == TPC_EAGAIN && strcmp(err.origin, "log") != 0 &&
                      tpi_downlink_admit(w->downlink, o->device, &o->id, NULL) != 0;
    if (!queue_full && tpi_effect_hold(w, &o->effect, rc)) {
        return;
    }
    if (rc != 0 && rc != TPC_EEXIST) {
        tpi_count(&core->counters.rule_commands_lost, 1);
        tpi_log(&core->env, TPC_LOG_WARN, "command", "a command to %s is dropped: %s",
                o->device->key.ptr, err.text);
    }
    free_outgoing(core, o);
}

static void run_outgoing(struct tpi_worker *w, struct tpi_node *node)
{
    take_outgoing(w, (struct outgoing *) (void *) node);
}

/* ---- of rules ---- */

int tpi_command_of_rule(void *user, uint32_t worker, const struct tpi_rule_command *c)
{
    struct tpc_core *core = user;
    struct tpi_worker *w = &core->workers[worker];
    struct tpc_error err;
    struct tpi_command_spec spec = { .service = c->service,
                                     .timeout_ms = c->timeout_ms,
                                     .retries = c->retries,
                                     .retry_delay_ms = c->retry_delay_ms,
                                     .expire_ms = c->expire_ms,
                                     .priority = c->priority,
                                     .control = tpi_model_service_control(c->target->product->model,
                                                                          c->service) };
    char actor[256];
    size_t n = c->by.len < 200 ? c->by.len : 200;
    memcpy(actor, "rule ", 5);
    memcpy(actor + 5, c->by.ptr, n);
    spec.actor = (struct tpc_str){ actor, 5 + n };
    tpc_arena_reset(w->arena);
    int rc = tpi_model_service_check(c->target->product->model, c->service, c->params, w->arena,
                                     &err, &spec.params);
    if (rc == TPC_EMODEL || rc == TPC_ENOENT) {
        tpi_rules_reason(core->rules, worker, err.text);
    }
    if (rc != 0) {
        return rc;
    }
    struct outgoing *o;
    rc = make_outgoing(core, c->target, &c->id, &spec, spec.actor, w->arena, &err, &o);
    if (rc != 0) {
        return rc;
    }
    tpi_chain_of(c, &o->link);
    /* Under the registry's lock: it goes on after the batch. */
    o->of_rule = true;
    o->replayed = core->replaying || c->again;
    o->effect.node.run = run_outgoing;
    tpi_effect_queue(w, &o->effect);
    return 0;
}

/* ---- who waits for an end ---- */

static int wait_for(struct tpc_core *core, const struct tpc_id *id, const struct waiting *who)
{
    struct waiting *wt = tpi_alloc(core->env.alloc, sizeof(*wt));
    if (wt == NULL) {
        return tpi_fail(TPC_ENOMEM, "command", "out of memory");
    }
    *wt = *who;
    void *old = NULL;
    pthread_mutex_lock(&core->done_lock);
    int rc = tpi_map_get(&core->done, id->b, sizeof(id->b)) != NULL ? TPC_EEXIST : 0;
    rc = rc != 0 ? rc : tpi_map_put(&core->done, id->b, sizeof(id->b), wt, &old);
    pthread_mutex_unlock(&core->done_lock);
    if (rc != 0) {
        tpi_free(core->env.alloc, wt, sizeof(*wt));
        return tpi_fail(rc, "command", "the command's id is known already");
    }
    return 0;
}

static bool take_waiting(struct tpc_core *core, const struct tpc_id *id, struct waiting *ret)
{
    pthread_mutex_lock(&core->done_lock);
    struct waiting *wt = tpi_map_remove(&core->done, id->b, sizeof(id->b));
    pthread_mutex_unlock(&core->done_lock);
    if (wt == NULL) {
        return false;
    }
    *ret = *wt;
    tpi_free(core->env.alloc, wt, sizeof(*wt));
    return true;
}

static void nothing(void *user, const struct tpc_command *command)
{
    (void) user;
    (void) command;
}

void tpi_command_leave(struct tpc_core *core, const struct tpi_part *part)
{
    size_t iter = 0;
    void *p;
    pthread_mutex_lock(&core->done_lock);
    while (tpi_map_next(&core->done, &iter, NULL, &p)) {
        struct waiting *wt = p;
        if (wt->part == part) {
            *wt = (struct waiting){ NULL, nothing, NULL };
        }
    }
    pthread_mutex_unlock(&core->done_lock);
}

void tpi_command_fini(struct tpc_core *core)
{
    size_t iter = 0;
    void *p;
    while (tpi_map_next(&core->done, &iter, NULL, &p)) {
        tpi_free(core->env.alloc, p, sizeof(struct waiting));
    }
    tpi_map_fini(&core->done);
}

/* ---- the program's ---- */

struct send_call {
    struct outgoing *o;
    struct tpc_error *err;
};

static int send_now(struct tpi_worker *w, void *user)
{
    struct send_call *c = user;
    return append_command(w, c->o, c->err);
}

static struct tpc_str actor_text(const struct tpc_actor *actor, struct tpc_arena *arena)
{
    static const char *const types[] = {
        "embedder", "user", "token", "rule", "connector", "import"
    };
    if (actor == NULL || actor->type >= sizeof(types) / sizeof(types[0])) {
        return TPC_STR("embedder");
    }
    size_t type = strlen(types[actor->type]);
    char *p = tpc_arena_take(arena, type + 1 + actor->name.len);
    if (p == NULL || actor->name.len == 0) {
        return tpc_str_from(types[actor->type]);
    }
    memcpy(p, types[actor->type], type);
    p[type] = ' ';
    memcpy(p + type + 1, actor->name.ptr, actor->name.len);
    return (struct tpc_str){ p, type + 1 + actor->name.len };
}

/* Checks against the model and makes what is to be appended. */
static int build(struct tpc_core *core, const struct tpc_actor *actor,
                 const struct tpc_command_options *o, const struct tpc_id *id,
                 struct tpc_arena *arena, struct tpc_error *err, struct outgoing **ret)
{
    struct tpc_value params = { .type = TPC_NULL };
    struct tpi_command_spec spec = { .service = o->service,
                                     .timeout_ms = o->timeout_ms,
                                     .retries = o->retries,
                                     .retry_delay_ms = o->retry_delay_ms,
                                     .expire_ms = o->expire_ms,
                                     .priority = o->priority,
                                     .label = o->label };
    if (o->params_json.len > 0) {
        int rc = tpc_json_parse(arena, o->params_json, 0, err, &params);
        if (rc != 0) {
            return rc;
        }
    }
    tpi_registry_read_lock(core->registry);
    int rc = tpi_model_service_check(o->device->product->model, o->service, &params, arena, err,
                                     &spec.params);
    spec.control = tpi_model_service_control(o->device->product->model, o->service);
    tpi_registry_read_unlock(core->registry);
    if (rc != 0) {
        return rc;
    }
    spec.actor = actor_text(actor, arena);
    return make_outgoing(core, o->device, id, &spec,
                         actor != NULL ? actor->origin : (struct tpc_str){ NULL, 0 }, arena, err,
                         ret);
}

/* As the owner where that is possible, else posted to it. */
static int deliver(struct tpc_core *core, struct outgoing *o, struct tpc_error *err)
{
    struct tpi_worker *owner = tpi_worker_of(core, o->device->partition);
    struct tpi_worker *current = tpi_worker_current(core);
    if (current != NULL && current != owner) {
        o->effect.node.run = run_outgoing;
        tpi_worker_post(owner, &o->effect.node);
        return 0;
    }
    struct tpc_error e = { .size = sizeof(e) };
    struct send_call call = { o, &e };
    int rc = tpi_worker_call(owner, send_now, &call);
    if (rc == 0 && current == NULL) {
        rc = tpi_flush_wait(core, o->sequence, &e);
    }
    if (rc != 0) {
        *err = e;
        if (err->code != rc) {
            tpi_error_set(err, rc, "command", "the command is not taken: %s", tpc_error_name(rc));
        }
    }
    free_outgoing(core, o);
    return rc;
}

int tpc_command_send(struct tpc_core *core, const struct tpc_actor *actor,
                     const struct tpc_command_options *given, tpc_command_fn *done, void *user,
                     struct tpc_id *ret)
{
    return tpi_command_send(core, NULL, actor, given, done, user, ret);
}

int tpi_command_send(struct tpc_core *core, struct tpi_part *part, const struct tpc_actor *actor,
                     const struct tpc_command_options *given, tpc_command_fn *done, void *user,
                     struct tpc_id *ret)
{
    struct tpc_command_options o;
    if (core == NULL || given == NULL || given->size < offsetof(struct tpc_command_options, id) ||
        given->device == NULL) {
        return tpi_fail(TPC_EINVAL, "command", "options without size or device");
    }
    memset(&o, 0, sizeof(o));
    memcpy(&o, given, given->size < sizeof(o) ? given->size : sizeof(o));
    if (o.priority > TPC_PRIORITY_HIGH) {
        return tpi_fail(TPC_EINVAL, "command", "no priority %u", (unsigned) o.priority);
    }
    if (o.label.len > TPC_COMMAND_LABEL_BYTES || !tpi_utf8_valid(o.label.ptr, o.label.len)) {
        return tpi_fail(TPC_EINVAL, "command", "a label is UTF-8 of up to %d bytes",
                        TPC_COMMAND_LABEL_BYTES);
    }
    if (!tpi_core_running(core)) {
        return tpi_fail(TPC_ESTATE, "command", "the core is not started");
    }
    if (atomic_load(&o.device->deleted)) {
        return tpi_fail(TPC_ENOENT, "command", "device \"%s\" is deleted", o.device->key.ptr);
    }
    static const struct tpc_id none;
    struct tpc_id id = o.id;
    struct tpc_error *err = tpi_fail_begin();
    int rc = 0;
    if (memcmp(&id, &none, sizeof(id)) == 0) {
        rc = tpi_id_make(&core->env, &id);
    } else if (find_stored(core, &id, NULL, NULL) == 0) {
        return tpi_fail(TPC_EEXIST, "command", "a command of this id has ended before");
    }
    struct tpc_arena *arena = NULL;
    rc = rc != 0 ? rc : tpc_arena_create(core->env.alloc, PARAMS_ARENA_BYTES, &arena);
    struct outgoing *out = NULL;
    rc = rc != 0 ? rc : build(core, actor, &o, &id, arena, err, &out);
    tpc_arena_destroy(arena);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    if (done != NULL) {
        rc = wait_for(core, &id, &(struct waiting){ part, done, user });
        if (rc != 0) {
            free_outgoing(core, out);
            return rc;
        }
    }
    rc = deliver(core, out, err);
    if (rc != 0) {
        struct waiting wt;
        if (done == NULL || take_waiting(core, &id, &wt)) {
            return tpi_fail_end(rc);
        }
        /* It has ended meanwhile, and done is told of that: it was taken. */
    }
    if (ret != NULL) {
        *ret = id;
    }
    return 0;
}

/* ---- ends ---- */

/* A copy of a record on its way to whoever waits for it. */
struct told {
    struct tpi_node node;
    struct waiting to;
    struct tpc_command command;
    size_t bytes;
};

static struct tpc_str move(char **at, struct tpc_str s)
{
    struct tpc_str copy = { *at, s.len };
    if (s.len > 0) {
        memcpy(*at, s.ptr, s.len);
    }
    *at += s.len;
    return copy;
}

static struct told *copy_command(struct tpc_core *core, const struct tpc_command *c)
{
    size_t bytes = sizeof(struct told) + c->tenant.len + c->device.len + c->service.len +
                   c->params_json.len + c->reply_json.len + c->reason.len + c->actor.len +
                   c->label.len;
    struct told *t = tpi_alloc_zero(core->env.alloc, bytes);
    if (t == NULL) {
        return NULL;
    }
    char *at = (char *) (t + 1);
    t->bytes = bytes;
    t->command = *c;
    t->command.tenant = move(&at, c->tenant);
    t->command.device = move(&at, c->device);
    t->command.service = move(&at, c->service);
    t->command.params_json = move(&at, c->params_json);
    t->command.reply_json = move(&at, c->reply_json);
    t->command.reason = move(&at, c->reason);
    t->command.actor = move(&at, c->actor);
    t->command.label = move(&at, c->label);
    return t;
}

/* A command that the device should have had, or answered. What cannot be encoded was noted then. */
static void note_why(struct tpc_device *d, const struct tpc_command *c)
{
    char text[TPC_WHY_REASON_BYTES];
    bool lost = c->state == TPC_COMMAND_TIMED_OUT || c->state == TPC_COMMAND_UNKNOWN;
    if (d == NULL || (!lost && (c->state != TPC_COMMAND_FAILED || c->sent_unix_ms == 0))) {
        return;
    }
    snprintf(
        text, sizeof(text), "command %.*s: %s%.*s",
        (int) (c->service.len < 64 ? c->service.len : 64), c->service.len > 0 ? c->service.ptr : "",
        c->reason.len > 0 ? ""
        : lost            ? "no answer"
                          : "the device says no",
        (int) (c->reason.len < 100 ? c->reason.len : 100), c->reason.len > 0 ? c->reason.ptr : "");
    struct tpc_bytes params = { (const uint8_t *) c->params_json.ptr, c->params_json.len };
    tpi_why_device(d, TPC_WHY_SEND, c->code != 0 ? c->code : TPC_ETIMEOUT, tpc_str_from(text),
                   TPC_STR("downlink"), params);
}

void tpi_down_closed(void *user, struct tpc_device *device, const struct tpc_command *command)
{
    struct tpi_worker *w = user;
    struct waiting to;
    note_why(device, command);
    if (!take_waiting(w->core, &command->id, &to)) {
        return;
    }
    struct told *t = copy_command(w->core, command);
    if (t == NULL) {
        tpi_log(&w->core->env, TPC_LOG_WARN, "command", "an end is not told: out of memory");
        return;
    }
    t->to = to;
    if (w->closed_last != NULL) {
        w->closed_last->next = &t->node;
    } else {
        w->closed_first = &t->node;
    }
    w->closed_last = &t->node;
}

bool tpi_command_told(struct tpi_worker *w)
{
    bool did = false;
    while (w->closed_first != NULL) {
        struct told *t = (struct told *) (void *) w->closed_first;
        w->closed_first = t->node.next;
        w->closed_last = w->closed_first != NULL ? w->closed_last : NULL;
        if (t->to.part == NULL || !atomic_load(&t->to.part->stopped)) {
            t->to.fn(t->to.user, &t->command);
        }
        tpi_free(w->core->env.alloc, t, t->bytes);
        did = true;
    }
    return did;
}

void tpi_command_untell(struct tpi_worker *w, const struct tpi_part *part)
{
    for (struct tpi_node *n = w->closed_first; n != NULL; n = n->next) {
        struct told *t = (struct told *) (void *) n;
        if (t->to.part == part) {
            t->to = (struct waiting){ NULL, nothing, NULL };
        }
    }
}

/* ---- asking and calling off ---- */

static int find_open(struct tpc_core *core, const struct tpc_id *id, tpc_command_fn *fn, void *user,
                     struct tpi_worker **ret)
{
    int rc = tpi_core_enter(core);
    if (rc != 0) {
        return rc;
    }
    rc = TPC_ENOENT;
    for (uint32_t i = 0; i < core->worker_count && rc == TPC_ENOENT; i++) {
        rc = tpi_downlink_find(core->workers[i].downlink, id, fn, user);
        *ret = &core->workers[i];
    }
    tpi_core_leave(core);
    return rc;
}

/* A command that was closed is in the log at once and in the store a moment later. */
static int find_closed(struct tpc_core *core, const struct tpc_id *id, tpc_command_fn *fn,
                       void *user)
{
    int rc = find_stored(core, id, fn, user);
    if (rc == TPC_ENOENT && tpi_pump_catch_up(core)) {
        rc = find_stored(core, id, fn, user);
    }
    return rc;
}

int tpc_command_get(struct tpc_core *core, const struct tpc_id *id, tpc_command_fn *fn, void *user)
{
    struct tpi_worker *w;
    if (core == NULL || id == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "command", "core, id or fn is NULL");
    }
    if (!tpi_core_running(core)) {
        return tpi_fail(TPC_ESTATE, "command", "the core is not started");
    }
    int rc = find_open(core, id, fn, user, &w);
    rc = rc == TPC_ENOENT ? find_closed(core, id, fn, user) : rc;
    return rc == 0 ? 0 : tpi_fail(rc, "command", "no such command");
}

int tpi_command_find(struct tpc_core *core, const struct tpc_id *id, bool running,
                     tpc_command_fn *fn, void *user)
{
    struct tpi_worker *w;
    int rc = running ? find_open(core, id, fn, user, &w) : TPC_ENOENT;
    rc = rc == TPC_ENOENT && running ? find_closed(core, id, fn, user) : rc;
    /* One that nobody has open and nobody has ended: the log that knew is gone. */
    return rc == TPC_ENOENT ? find_row(core, id, false, fn, user) : rc;
}

static int cancel_now(struct tpi_worker *w, void *user)
{
    return tpi_downlink_cancel(w->downlink, user);
}

int tpc_command_cancel(struct tpc_core *core, const struct tpc_id *id)
{
    struct tpi_worker *w;
    if (core == NULL || id == NULL) {
        return tpi_fail(TPC_EINVAL, "command", "core or id is NULL");
    }
    if (!tpi_core_running(core)) {
        return tpi_fail(TPC_ESTATE, "command", "the core is not started");
    }
    struct tpc_id copy = *id;
    int rc = find_open(core, id, nothing, NULL, &w);
    rc = rc == 0 ? tpi_worker_call(w, cancel_now, &copy) : rc;
    if (rc == TPC_ENOENT && find_closed(core, id, NULL, NULL) == 0) {
        rc = TPC_ESTATE;
    }
    if (rc != 0) {
        return tpi_fail(rc, "command",
                        rc == TPC_ESTATE ? "the command is closed" : "no such command");
    }
    return 0;
}
