/* The house in which rules are tried: messages and time. */
#include <string.h>

#include "core/sandbox.h"
#include "rules/group.h"
#include "data/member.h"
#include "registry/derived.h"
#include "registry/device.h"
#include "rules/alert.h"

enum { SCRATCH_BYTES = 4096, TURNS_MAX = 1000 };

/* A message that becomes one of the log's. */
struct coming {
    struct tpi_sandbox *s;
    struct tpc_device *device;
    const struct tpi_model *model;
    struct tpc_point *points;
    uint32_t *indexes; /* of the points' properties */
    uint32_t count;
};

static void refuse(struct tpi_sandbox *s, struct tpc_str device, int code, const char *what,
                   const char *why)
{
    struct tpi_note n;
    tpi_note_begin(&n, s->trace, TPC_STEP_REFUSED, device, s->unix_ms);
    n.code = code;
    tpi_note_text(&n, "%s: %s", what, why);
    tpi_note_str(&n, "what", tpc_str_from(what));
    tpi_note_str(&n, "error", tpc_str_from(why));
    tpi_note_end(&n);
}

static void tell_input(struct tpi_sandbox *s, const struct tpc_rule_test_message *m)
{
    struct tpi_note n;
    const char *kind = tpc_kind_name(m->kind);
    tpi_note_begin(&n, s->trace, TPC_STEP_INPUT, m->device, s->unix_ms);
    tpi_note_text(&n, "%s of %.*s", kind, (int) m->device.len, m->device.ptr);
    tpi_note_str(&n, "kind", tpc_str_from(kind));
    if (m->name.len > 0) {
        tpi_note_text(&n, " %.*s", (int) m->name.len, m->name.ptr);
        tpi_note_str(&n, "name", m->name);
    }
    if (m->params.type != TPC_NULL) {
        tpi_note_text(&n, " ");
        tpi_note_say(&n, &m->params);
        tpi_note_value(&n, "params", &m->params);
    }
    tpi_note_end(&n);
}

/* ---- values ---- */

static int add_point(struct coming *c, struct tpc_str key, const struct tpc_value *value)
{
    struct tpc_error err = { .size = sizeof(err) };
    int index = tpi_model_find(c->model, key, NULL);
    struct tpc_point *p = &c->points[c->count];
    uint16_t marks = 0;
    bool kept = index < 0 && c->device->product->keep_unknown;
    int rc = kept        ? tpi_model_open_check(key, value, &err)
             : index < 0 ? tpi_error_set(&err, TPC_EMODEL, "model", "no such property")
                         : tpi_model_take(c->model, (uint32_t) index, value, c->s->room, &err,
                                          &p->value, &marks);
    if (rc != 0) {
        char what[128];
        size_t n = key.len < sizeof(what) ? key.len : sizeof(what) - 1;
        memcpy(what, key.ptr, n);
        what[n] = '\0';
        refuse(c->s, c->device->key, rc, what, err.text);
        return rc == TPC_ENOMEM ? rc : 0;
    }
    if (kept) {
        *p = (struct tpc_point){ .key = key, .value = *value };
        c->indexes[c->count++] = TPI_MODEL_NO_INDEX;
        return 0;
    }
    const struct tpi_property *q = tpi_model_property(c->model, (uint32_t) index);
    p->key = q->key;
    p->property = q->id;
    p->flags = (uint16_t) (marks | (q->attribute ? TPC_POINT_ATTRIBUTE : 0));
    p->reserved = 0;
    p->unix_ms = 0;
    c->indexes[c->count++] = (uint32_t) index;
    return 0;
}

static bool load_previous(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct coming *c = user;
    return tpi_device_latest_peek(c->device, index, ret, NULL) == 0;
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct coming *c = user;
    for (uint32_t i = c->count; i > 0; i--) {
        if (c->indexes[i - 1] == index) {
            *ret = c->points[i - 1].value;
            return true;
        }
    }
    return load_previous(user, index, ret);
}

/* As lib/uplink/derive.c. */
static int derive(struct coming *c)
{
    const struct tpi_derived *d = c->device->product->derived;
    uint64_t wanted = 0;
    for (uint32_t i = 0; d != NULL && i < c->count; i++) {
        wanted |= c->indexes[i] != TPI_MODEL_NO_INDEX ? d->readers[c->indexes[i]] : 0;
    }
    for (uint32_t i = 0; d != NULL && i < d->count; i++) {
        char scratch[SCRATCH_BYTES];
        struct tpi_derived_view view = { .user = c,
                                         .load = load,
                                         .previous = load_previous,
                                         .registry = c->s->registry,
                                         .env = &c->s->env,
                                         .tenant_id = c->device->product->tenant_id,
                                         .unix_ms = c->s->unix_ms,
                                         .scratch = scratch,
                                         .scratch_bytes = sizeof(scratch) };
        if ((wanted >> i & 1) == 0) {
            continue;
        }
        struct tpc_value v = d->ops->eval(d->exprs[i], &view);
        if (v.type == TPC_TEXT) {
            char *text = tpc_arena_take(c->s->room, v.len + 1);
            if (text == NULL) {
                return TPC_ENOMEM;
            }
            memcpy(text, v.as.text, v.len);
            v.as.text = text;
        }
        struct tpc_point *p = &c->points[c->count];
        const struct tpi_property *q = tpi_model_property(c->model, d->indexes[i]);
        uint16_t marks = 0;
        if (v.type == TPC_NULL || tpi_model_derive(c->model, d->indexes[i], &v, c->s->room, NULL,
                                                   &p->value, &marks) != 0) {
            continue;
        }
        p->key = q->key;
        p->property = q->id;
        p->flags = marks;
        p->reserved = 0;
        p->unix_ms = 0;
        c->indexes[c->count++] = d->indexes[i];
        wanted |= d->readers[d->indexes[i]];
    }
    return 0;
}

static int make_points(struct coming *c, const struct tpc_value *params)
{
    size_t most = params->len + TPI_MODEL_MAX_DERIVED;
    if (params->type != TPC_MAP) {
        return 0;
    }
    c->points = tpc_arena_take(c->s->room, most * sizeof(*c->points));
    c->indexes = tpc_arena_take(c->s->room, most * sizeof(*c->indexes));
    int rc = c->points != NULL && c->indexes != NULL ? 0 : TPC_ENOMEM;
    for (size_t i = 0; rc == 0 && i < params->len; i++) {
        rc = add_point(c, params->as.members[i].key, &params->as.members[i].value);
    }
    return rc != 0 ? rc : derive(c);
}

static int take_latest(const struct coming *c)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < c->count; i++) {
        if (c->indexes[i] != TPI_MODEL_NO_INDEX) {
            rc =
                tpi_device_latest_set(c->device, c->indexes[i], &c->points[i].value, c->s->unix_ms);
        }
    }
    return rc;
}

/* ---- messages ---- */

/* A message gives at most one to each rule, so their order is no matter. */
static void into_windows(struct tpi_sandbox *s)
{
    const struct tpi_sandbox_input *list = s->inputs;
    s->inputs = NULL;
    for (const struct tpi_sandbox_input *in = list; in != NULL; in = in->next) {
        struct tpc_msg msg = { .size = sizeof(msg),
                               .kind = TPI_MSG_RULE_INPUT,
                               .offset = s->number++,
                               .unix_ms = in->unix_ms,
                               .received_unix_ms = s->unix_ms,
                               .raw = { (const uint8_t *) (in + 1), in->len } };
        tpi_rules_input(s->rules, 0, &msg);
    }
}

/* Under the registry's read lock. */
static int rules_see(struct coming *c, const struct tpc_rule_test_message *m)
{
    struct tpi_sandbox *s = c->s;
    bool data = m->kind == TPC_MSG_TELEMETRY || m->kind == TPC_MSG_ATTRIBUTES;
    struct tpc_member said = { TPC_STR("params"), m->params };
    int rc = data ? make_points(c, &m->params) : 0;
    struct tpc_msg msg = { .size = sizeof(msg),
                           .kind = m->kind,
                           .offset = s->number++,
                           .device_id = c->device->id,
                           .unix_ms = m->event_unix_ms != 0 ? m->event_unix_ms : s->unix_ms,
                           .received_unix_ms = s->unix_ms,
                           .name = m->name,
                           .point_count = c->count,
                           .point_size = sizeof(struct tpc_point),
                           .points = c->points };
    if (m->kind == TPC_MSG_COMMAND) {
        msg.params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &said };
    } else if (!data) {
        msg.params = m->params;
    }
    if (rc != 0 || (data && c->count == 0)) {
        return rc; /* nothing of it is taken */
    }
    uint64_t told = tpi_trace_count(s->trace);
    tpi_rules_begin(s->rules, 0);
    tpi_rules_before(s->rules, 0, c->device, &msg);
    rc = take_latest(c);
    tpi_rules_message(s->rules, 0, c->device, &msg);
    into_windows(s);
    tpi_rules_end(s->rules, 0);
    if (tpi_trace_count(s->trace) == told) {
        tpi_rules_pass(s->rules, s->trace, c->device, &msg);
    }
    return rc;
}

/* As the core does: the device is online before rules look at the message that says so. */
static int presence(struct coming *c, const struct tpc_rule_test_message *m)
{
    struct tpi_sandbox *s = c->s;
    bool online = tpi_member_bool(&m->params, "online", false);
    tpi_rules_seen(c->device, atomic_load(&c->device->online));
    bool turned = tpi_device_presence(c->device, online, true, s->unix_ms);
    int rc = rules_see(c, m);
    if (rc == 0 && turned) {
        tpi_alerts_presence(s->alerts, 0, c->device, online, s->unix_ms);
    }
    uint64_t next = tpi_alerts_next_ms(s->alerts, 0);
    if (next > 0 && next < (uint64_t) (INT64_MAX - s->unix_ms)) {
        tpi_trace_decide(s->trace, c->device->key, s->unix_ms, "waits", s->unix_ms + (int64_t) next,
                         "waits");
    }
    return rc;
}

static int wish(struct coming *c, const struct tpc_rule_test_message *m, struct tpc_str alert)
{
    struct tpi_sandbox *s = c->s;
    struct tpi_alert_wish w = {
        .device = c->device,
        .raise = !tpc_str_equal(tpi_member_text(&m->params, "state"), TPC_STR("cleared")),
        .severity = tpi_severity_of(tpi_member_text(&m->params, "severity")),
        .key = m->name.len > 0 ? m->name : alert,
        .text = tpi_member_text(&m->params, "text"),
        .by = TPC_STR("test"),
        .unix_ms = s->unix_ms
    };
    int rc = tpi_id_make(&s->env, &w.id);
    uint64_t told = tpi_trace_count(s->trace);
    rc = rc != 0 ? rc : tpi_alerts_wish(s->alerts, 0, &w, NULL);
    if (rc != 0 && rc != TPC_ENOMEM) {
        refuse(s, c->device->key, rc, w.raise ? "raise" : "clear",
               rc == TPC_EDENIED ? "it is disabled" : tpc_error_name(rc));
        rc = 0;
    } else if (rc == 0 && tpi_trace_count(s->trace) == told) {
        tpi_trace_decide(s->trace, c->device->key, s->unix_ms, "nothing", 0,
                         w.raise ? "is raised already, and counted" : "nothing is raised");
    }
    return rc;
}

int tpi_sandbox_message(struct tpi_sandbox *s, const struct tpc_rule_test_message *m,
                        struct tpc_str alert)
{
    int rc = 0;
    tpc_arena_reset(s->room);
    tell_input(s, m);
    pthread_mutex_lock(&s->core->trial_lock); /* of scripts in rules */
    tpi_registry_read_lock(s->registry);
    struct coming c = { .s = s, .device = tpi_registry_find(s->registry, s->tenant, m->device) };
    if (c.device == NULL || c.device->product == NULL) {
        refuse(s, m->device, TPC_ENOENT, "message", "no such device");
    } else if (m->kind == TPC_MSG_ALERT) {
        rc = wish(&c, m, alert);
    } else {
        c.model = c.device->product->model;
        rc = m->kind == TPC_MSG_PRESENCE ? presence(&c, m) : rules_see(&c, m);
    }
    tpi_registry_read_unlock(s->registry);
    (void) tpi_sandbox_fans(s);
    pthread_mutex_unlock(&s->core->trial_lock);
    return rc;
}

/* ---- time ---- */

int64_t tpi_sandbox_next_ms(struct tpi_sandbox *s)
{
    int64_t next = tpi_rules_next_ms(s->rules, 0);
    uint64_t alert = tpi_alerts_next_ms(s->alerts, 0);
    if (alert < (uint64_t) (INT64_MAX - s->unix_ms)) {
        int64_t at = s->unix_ms + (int64_t) alert;
        next = at < next ? at : next;
    }
    return next;
}

bool tpi_sandbox_turn(struct tpi_sandbox *s)
{
    pthread_mutex_lock(&s->core->trial_lock); /* as above */
    bool did = tpi_rules_turn(s->rules, 0) > 0;
    did |= tpi_sandbox_fans(s);
    for (int i = 0; i < TURNS_MAX && tpi_alerts_turn(s->alerts, 0); i++) {
        did = true;
    }
    pthread_mutex_unlock(&s->core->trial_lock);
    return did;
}
