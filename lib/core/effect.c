/*
 * What rules want done: queued inside the batch, under the registry's lock, and done after it by
 * whoever owns the partition; kept while the log cannot take it.
 */
#include <string.h>

#include "core/core.h"
#include "core/rule_say.h"
#include "data/msg.h"
#include "rules/group.h"
#include "registry/about.h"

/* ---- the lists ---- */

static void push(struct tpi_node **first, struct tpi_node **last, struct tpi_node *node)
{
    node->next = NULL;
    *(*first != NULL ? &(*last)->next : first) = node;
    *last = node;
}

void tpi_effect_queue(struct tpi_worker *w, struct tpi_effect *e)
{
    atomic_fetch_add(&w->core->rule_pending, 1);
    push(&w->rule_first, &w->rule_last, &e->node);
}

void tpi_effects_run(struct tpi_worker *w)
{
    struct tpi_node *list = w->rule_first;
    w->rule_first = NULL;
    w->rule_last = NULL;
    while (list != NULL) {
        const struct tpi_effect *e = (const struct tpi_effect *) (const void *) list;
        struct tpi_worker *owner = tpi_worker_of(w->core, e->partition);
        struct tpi_node *node = list;
        list = list->next;
        if (owner == w) {
            node->run(w, node);
        } else {
            tpi_worker_post(owner, node);
        }
    }
}

void tpi_effect_keep(struct tpi_worker *w, struct tpi_effect *e)
{
    push(&w->held_first, &w->held_last, &e->node);
    w->held_count++;
    w->held_retry_ms = tpi_mono_ms(&w->core->env) + TPI_STALL_MS;
}

bool tpi_effect_hold(struct tpi_worker *w, struct tpi_effect *e, int rc)
{
    bool later = rc == TPC_EAGAIN || rc == TPC_ENOSPC || rc == TPC_EIO || rc == TPC_ENOMEM;
    if (!later || w->held_count >= w->core->options.commands_max) {
        return false;
    }
    tpi_effect_keep(w, e);
    return true;
}

void tpi_effects_held(struct tpi_worker *w)
{
    if (tpi_mono_ms(&w->core->env) < w->held_retry_ms) {
        return;
    }
    struct tpi_node *list = w->held_first;
    w->held_first = NULL;
    w->held_last = NULL;
    w->held_count = 0;
    while (list != NULL) {
        struct tpi_node *node = list;
        list = list->next;
        node->run(w, node);
    }
}

static void drop_list(struct tpi_worker *w, struct tpi_node **first, struct tpi_node **last)
{
    while (*first != NULL) {
        struct tpi_node *node = *first;
        *first = node->next;
        node->drop(w, node);
    }
    *last = NULL;
}

void tpi_effects_drop(struct tpi_worker *w)
{
    drop_list(w, &w->held_first, &w->held_last);
    drop_list(w, &w->rule_first, &w->rule_last);
    w->held_count = 0;
}

/* ---- messages: notifications; alerts go their own way ---- */

/* The record's body follows. */
struct said {
    struct tpi_effect effect;
    struct tpc_id id;
    uint64_t device_id; /* 0 = none */
    int64_t unix_ms;
    uint16_t kind;
    bool replayed; /* of a message that rules perhaps have seen before the start */
    size_t body_len;
};

static void free_said(struct tpc_core *core, struct said *s)
{
    atomic_fetch_sub(&core->rule_pending, 1);
    tpi_free(core->env.alloc, s, sizeof(*s) + s->body_len);
}

static void drop_said(struct tpi_worker *w, struct tpi_node *node)
{
    free_said(w->core, (struct said *) (void *) node);
}

/* Scenes and data rules look at a row as at any event. Its body is the record's. */
static void look_at_row(struct tpi_worker *w, const struct tpc_record *r)
{
    struct tpc_core *core = w->core;
    struct tpc_msg m;
    struct tpc_device *d;
    tpc_arena_reset(w->send_arena); /* the other one is used by what it sets off */
    if (tpi_record_msg(core, r, w->send_arena, &m, &d) != 0) {
        tpi_count(&core->counters.rule_messages_lost, 1); /* out of memory: it is in the log */
        return;
    }
    if (d != NULL) {
        tpi_registry_read_lock(core->registry);
        tpi_rules_begin(core->rules, w->index);
        tpi_rules_message(core->rules, w->index, d, &m);
        tpi_rules_end(core->rules, w->index);
        tpi_registry_read_unlock(core->registry);
    }
    tpi_device_unref(d);
    tpi_effects_run(w);
}

static void run_said(struct tpi_worker *w, struct tpi_node *node)
{
    struct said *s = (struct said *) (void *) node;
    struct tpc_core *core = w->core;
    struct tpc_error err = { .size = sizeof(err) };
    if (s->replayed && tpi_map_get(&core->said, s->id.b, sizeof(s->id.b)) != NULL) {
        free_said(core, s); /* it is in the log already */
        return;
    }
    struct tpc_record r = { .size = sizeof(r),
                            .kind = s->kind,
                            .partition = s->effect.partition,
                            .device_id = s->device_id,
                            .unix_ms = s->unix_ms,
                            .received_unix_ms = s->unix_ms,
                            .body = { (const uint8_t *) (s + 1), s->body_len } };
    bool busy = atomic_exchange(&w->busy, true); /* until rules have seen it */
    int rc = tpi_log_append(w, &r, 1, TPC_APPEND_RESERVE, &err);
    if (rc == 0 && r.kind == TPC_MSG_EVENT) {
        look_at_row(w, &r);
    }
    atomic_store(&w->busy, busy);
    if (rc != 0 && tpi_effect_hold(w, &s->effect, rc)) {
        tpi_count(&core->counters.append_waits, 1);
        return;
    }
    if (rc != 0) {
        tpi_count(&core->counters.rule_messages_lost, 1);
        tpi_log(&core->env, TPC_LOG_WARN, "rules", "a message of a rule is dropped: %s", err.text);
    }
    free_said(core, s);
}

int tpi_effect_say(void *user, uint32_t worker, const struct tpi_rule_message *m)
{
    struct tpc_core *core = user;
    struct tpi_worker *w = &core->workers[worker];
    if (m->kind == TPC_MSG_ALERT) {
        return tpi_alert_say(core, worker, m);
    }
    if (m->kind == TPC_MSG_TELEMETRY) {
        return tpi_values_say(core, worker, m);
    }
    if (m->kind == TPI_MSG_RULE_INPUT) {
        return tpi_input_say(core, worker, m);
    }
    struct tpc_msg msg = { .size = sizeof(msg),
                           .kind = m->kind,
                           .id = m->id,
                           .name = m->name,
                           .origin = m->by,
                           .code = m->kind == TPC_MSG_EVENT ? (int32_t) m->hops : 0,
                           .params = *m->params,
                           .point_size = sizeof(struct tpc_point) };
    struct tpi_buf body;
    char about[TPI_ABOUT_BYTES];
    if (m->kind == TPC_MSG_NOTIFY && m->device != NULL) {
        msg.correlation = tpi_about_write(about, tpi_device_tenant(m->device),
                                          tpi_device_product_key(m->device), m->device->key);
    }
    tpi_buf_init(&body, core->env.alloc, core->options.frame_max_bytes + 4096);
    int rc = tpi_msg_encode(&msg, &body);
    struct said *s = rc == 0 ? tpi_alloc(core->env.alloc, sizeof(*s) + body.len) : NULL;
    if (s == NULL) {
        tpi_buf_fini(&body);
        return rc != 0 ? rc : TPC_ENOMEM;
    }
    *s = (struct said){ .effect = { .node = { .run = run_said, .drop = drop_said },
                                    .partition = m->partition },
                        .id = m->id,
                        .device_id = m->device != NULL ? m->device->id : 0,
                        .unix_ms = tpi_unix_ms(&core->env),
                        .kind = m->kind,
                        .replayed = core->replaying || m->again,
                        .body_len = body.len };
    memcpy(s + 1, body.ptr, body.len);
    tpi_buf_fini(&body);
    tpi_effect_queue(w, &s->effect);
    return 0;
}

int tpi_effect_remember(struct tpc_core *core, const struct tpc_msg *m)
{
    return tpi_map_put(&core->said, m->id.b, sizeof(m->id.b), core, NULL);
}
