/*
 * What comes into windows over several devices: a record in the partition of the rule's owner, which
 * takes it once it is in the log. Those of one worker stay in order, also while the log cannot take
 * them: the owner knows by offsets what came before (rules/group.h).
 */
#include <string.h>

#include "core/rule_say.h"
#include "data/msg.h"
#include "registry/follow.h"
#include "rules/group.h"

/* The record's body follows. */
struct input {
    struct tpi_effect effect;
    int64_t unix_ms;
    int64_t received_unix_ms;
    size_t body_len;
};

static void free_input(struct tpc_core *core, struct input *in)
{
    atomic_fetch_sub(&core->rule_pending, 1);
    atomic_fetch_sub(&core->inputs_pending, 1);
    tpi_free(core->env.alloc, in, sizeof(*in) + in->body_len);
}

static void drop_input(struct tpi_worker *w, struct tpi_node *node)
{
    free_input(w->core, (struct input *) (void *) node);
}

int tpi_input_apply(struct tpi_worker *w, const struct tpc_record *r)
{
    struct tpc_core *core = w->core;
    struct tpc_msg msg;
    tpi_follow_head(r, &msg);
    tpc_arena_reset(w->send_arena);
    int rc = tpi_msg_decode(r->body, w->send_arena, NULL, &msg);
    if (rc != 0) {
        return rc;
    }
    tpi_registry_read_lock(core->registry);
    tpi_rules_begin(core->rules, w->index);
    tpi_rules_input(core->rules, w->index, &msg);
    tpi_rules_end(core->rules, w->index);
    tpi_registry_read_unlock(core->registry);
    return 0;
}

/* Whether it is over with it. */
static bool append(struct tpi_worker *w, struct input *in)
{
    struct tpc_core *core = w->core;
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_record r = { .size = sizeof(r),
                            .kind = TPI_MSG_RULE_INPUT,
                            .partition = in->effect.partition,
                            .unix_ms = in->unix_ms,
                            .received_unix_ms =
                                tpi_rules_received(core->rules, w->index, in->received_unix_ms),
                            .body = { (const uint8_t *) (in + 1), in->body_len } };
    int rc = tpi_log_append(w, &r, 1, TPC_APPEND_RESERVE, &err);
    if (rc == TPC_EAGAIN || rc == TPC_ENOSPC || rc == TPC_EIO || rc == TPC_ENOMEM) {
        tpi_count(&core->counters.append_waits, 1);
        return false;
    }
    rc = rc != 0 ? rc : tpi_input_apply(w, &r);
    if (rc != 0) {
        tpi_count(&core->counters.rule_messages_lost, 1);
        tpi_log(&core->env, TPC_LOG_WARN, "rules", "a message is in no window: %s",
                rc == err.code ? err.text : tpc_error_name(rc));
    }
    return true;
}

static void run_input(struct tpi_worker *w, struct tpi_node *node)
{
    struct input *in = (struct input *) (void *) node;
    /* Busy until the windows have it: then the states that the pump takes have all that is flushed. */
    bool was = atomic_exchange(&w->busy, true);
    bool over = w->held_first == NULL && append(w, in);
    atomic_store(&w->busy, was);
    if (!over) {
        tpi_effect_keep(w, &in->effect);
        return;
    }
    tpi_effects_run(w); /* rows, counted as pending before this one is over */
    free_input(w->core, in);
}

int tpi_input_say(struct tpc_core *core, uint32_t worker, const struct tpi_rule_message *m)
{
    struct tpc_msg msg = { .size = sizeof(msg),
                           .kind = m->kind,
                           .origin = m->by,
                           .raw = m->raw,
                           .point_size = sizeof(struct tpc_point) };
    if (core->replaying && tpi_rules_input_came(core->rules, m->partition, m->raw)) {
        return TPC_EEXIST;
    }
    struct tpi_buf body;
    tpi_buf_init(&body, core->env.alloc, core->options.frame_max_bytes + 4096);
    int rc = tpi_msg_encode(&msg, &body);
    struct input *in = rc == 0 ? tpi_alloc(core->env.alloc, sizeof(*in) + body.len) : NULL;
    if (in == NULL) {
        tpi_buf_fini(&body);
        return rc != 0 ? rc : TPC_ENOMEM;
    }
    *in = (struct input){ .effect = { .node = { .run = run_input, .drop = drop_input },
                                      .partition = m->partition },
                          .unix_ms = m->unix_ms,
                          .received_unix_ms = m->received_unix_ms,
                          .body_len = body.len };
    memcpy(in + 1, body.ptr, body.len);
    tpi_buf_fini(&body);
    atomic_fetch_add(&core->inputs_pending, 1);
    tpi_effect_queue(&core->workers[worker], &in->effect);
    return 0;
}
