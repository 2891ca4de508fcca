/*
 * Rows that become values of a device: they take the way of what it sends, on its own worker, so that the
 * model checks them, and history, latest values and rules have them. The id of the row is their
 * correlation: what comes again after a crash is known as a message that is sent twice.
 */
#include <stdio.h>
#include <string.h>

#include "core/rule_say.h"
#include "data/msg.h"

enum { ID_TEXT = 33 };

/* The record's body follows. */
struct values {
    struct tpi_effect effect;
    struct tpc_core *core;
    uint64_t device_id;
    int64_t unix_ms;
    char id[ID_TEXT];
    size_t body_len;
};

static void free_values(struct values *v)
{
    struct tpc_core *core = v->core;
    atomic_fetch_sub(&core->rule_pending, 1);
    tpi_free(core->env.alloc, v, sizeof(*v) + v->body_len);
}

static void drop_values(struct tpi_worker *w, struct tpi_node *node)
{
    (void) w;
    free_values((struct values *) (void *) node);
}

static void lost(const struct values *v, int rc)
{
    tpi_count(&v->core->counters.rule_messages_lost, 1);
    tpi_log(&v->core->env, TPC_LOG_WARN, "rules", "values of a rule are dropped: %s",
            tpc_error_name(rc));
}

/* A batch of their own, which may use the log's reserve: states of rules, and with them the log's room, wait
 * for it. Returns what the log said. */
static int take_in(struct tpi_worker *w, const struct values *v, struct tpc_device *d)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpi_up_input in = { .device = d,
                               .received_unix_ms = tpi_unix_ms(&w->core->env),
                               .partition = d->partition,
                               .type = TPI_UP_VALUES,
                               .frame = { .size = sizeof(in.frame),
                                          .kind = TPC_MSG_TELEMETRY,
                                          .unix_ms = v->unix_ms,
                                          .correlation = tpc_str_from(v->id),
                                          .payload = { (const uint8_t *) (v + 1), v->body_len } } };
    (void) tpi_uplink_add(w->uplink, &in);
    bool was = atomic_exchange(&w->busy, true);
    w->reserve = true;
    int rc = tpi_uplink_run(w->uplink, &err);
    w->reserve = false;
    if (rc == 0) {
        tpi_effects_run(w); /* what they set off, counted as pending before they are over */
    }
    tpi_uplink_clear(w->uplink);
    atomic_store(&w->busy, was);
    return rc;
}

/* No batch is open. */
static void run_values(struct tpi_worker *w, struct tpi_node *node)
{
    struct values *v = (struct values *) (void *) node;
    struct tpc_core *core = w->core;
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_by_id(core->registry, v->device_id);
    d = d != NULL && d->partition == v->effect.partition ? tpi_device_ref(d) : NULL;
    tpi_registry_read_unlock(core->registry);
    int rc = d != NULL ? take_in(w, v, d) : 0;
    tpi_device_unref(d);
    if (rc != 0 && tpi_effect_hold(w, &v->effect, rc)) {
        tpi_count(&core->counters.append_waits, 1);
        return;
    }
    if (rc != 0) {
        lost(v, rc);
    }
    free_values(v);
}

/* Effects are done while the batch that set them off is open. */
static void defer(struct tpi_worker *w, struct tpi_node *node)
{
    node->run = run_values;
    tpi_worker_post(w, node);
}

/* The body of the record that they would be. */
static int encode(const struct tpi_rule_message *m, const struct tpc_allocator *alloc,
                  struct tpi_buf *out)
{
    uint32_t count = (uint32_t) m->params->len;
    struct tpc_point *points = tpi_alloc_array(alloc, count + (size_t) 1, sizeof(*points));
    if (points == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct tpc_member *member = &m->params->as.members[i];
        points[i] = (struct tpc_point){ .key = member->key, .value = member->value };
    }
    struct tpc_msg msg = { .size = sizeof(msg),
                           .kind = m->kind,
                           .origin = m->by,
                           .code = (int32_t) m->hops,
                           .point_size = sizeof(points[0]),
                           .point_count = count,
                           .points = points };
    int rc = tpi_msg_encode(&msg, out);
    tpi_free(alloc, points, (count + (size_t) 1) * sizeof(*points));
    return rc;
}

int tpi_values_say(struct tpc_core *core, uint32_t worker, const struct tpi_rule_message *m)
{
    struct tpi_buf body;
    tpi_buf_init(&body, core->env.alloc, core->options.frame_max_bytes);
    int rc = encode(m, core->env.alloc, &body);
    struct values *v = rc == 0 ? tpi_alloc(core->env.alloc, sizeof(*v) + body.len) : NULL;
    if (v == NULL) {
        tpi_buf_fini(&body);
        return rc != 0 ? rc : TPC_ENOMEM;
    }
    *v = (struct values){ .effect = { .node = { .run = defer, .drop = drop_values },
                                      .partition = m->partition },
                          .core = core,
                          .device_id = m->device->id,
                          .unix_ms = m->unix_ms,
                          .body_len = body.len };
    for (size_t i = 0; i < sizeof(m->id.b); i++) {
        snprintf(v->id + 2 * i, 3, "%02x", m->id.b[i]);
    }
    memcpy(v + 1, body.ptr, body.len);
    tpi_buf_fini(&body);
    tpi_effect_queue(&core->workers[worker], &v->effect);
    return 0;
}
