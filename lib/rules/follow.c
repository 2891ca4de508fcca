/* Who follows a rule, and why a rule does not look at a message. */
#include "base/error.h"
#include "base/text.h"
#include "registry/device.h"
#include "rules/damp.h"
#include "rules/data_rule.h"
#include "rules/follow.h"
#include "rules/rules_state.h"
#include "rules/schedule.h"

#include <string.h>

/* Whether it is the rule: by is "kind:key". */
static bool is_rule(struct tpc_str tenant, struct tpc_str by, struct tpc_str wanted_tenant,
                    struct tpc_str kind, struct tpc_str key)
{
    return tpc_str_equal(tenant, wanted_tenant) && by.len == kind.len + 1 + key.len &&
           memcmp(by.ptr, kind.ptr, kind.len) == 0 &&
           memcmp(by.ptr + kind.len + 1, key.ptr, key.len) == 0;
}

/* Under the lock of changes; NULL = there is none. */
static struct tpi_ledger *find(struct tpi_rules *r, struct tpc_str tenant, struct tpc_str kind,
                               struct tpc_str key)
{
    size_t iter = 0;
    void *value;
    while (tpc_str_equal(kind, TPC_STR("scene")) &&
           tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        struct tpi_scene *s = value;
        if (is_rule(s->tenant, s->by, tenant, kind, key)) {
            return &s->ledger;
        }
    }
    iter = 0;
    while (tpc_str_equal(kind, TPC_STR("rule")) &&
           tpi_map64_next(&r->data_rules, &iter, NULL, &value)) {
        struct tpi_data_rule *d = value;
        if (is_rule(d->tenant, d->by, tenant, kind, key)) {
            return &d->ledger;
        }
    }
    iter = 0;
    while (tpc_str_equal(kind, TPC_STR("schedule")) &&
           tpi_map64_next(&r->schedules, &iter, NULL, &value)) {
        struct tpi_rule_schedule *s = value;
        if (is_rule(s->tenant, s->by, tenant, kind, key)) {
            return &s->ledger;
        }
    }
    return NULL;
}

int tpi_rules_trace(struct tpi_rules *r, struct tpc_str tenant, struct tpc_str kind,
                    struct tpc_str key, struct tpi_trace *trace)
{
    pthread_mutex_lock(&r->changes);
    struct tpi_ledger *l = find(r, tenant, kind, key);
    if (l != NULL && l->workers != NULL) {
        tpi_rules_lock_all(r);
        tpi_ledger_trace(l, trace);
        tpi_rules_unlock_all(r);
    }
    pthread_mutex_unlock(&r->changes);
    return l != NULL ? 0 : TPC_ENOENT;
}

void tpi_rules_untrace(struct tpi_rules *r, struct tpc_str tenant, struct tpc_str kind,
                       struct tpc_str key, const struct tpi_trace *trace)
{
    pthread_mutex_lock(&r->changes);
    struct tpi_ledger *l = find(r, tenant, kind, key);
    if (l != NULL && l->workers != NULL) {
        tpi_rules_lock_all(r);
        tpi_ledger_untrace(l, trace);
        tpi_rules_unlock_all(r);
    }
    pthread_mutex_unlock(&r->changes);
}

void tpi_rules_reason(struct tpi_rules *r, uint32_t worker, const char *text)
{
    struct rule_worker *w = &r->workers[worker];
    if (w->trace != NULL) {
        (void) tpi_text_copy(w->reason, sizeof(w->reason), text);
    }
}

/* ---- not looked at ---- */

static bool names_point(const struct tpi_expr *e, const struct tpc_msg *msg)
{
    for (uint32_t i = 0; e != NULL && i < tpi_expr_name_count(e); i++) {
        for (uint32_t n = 0; n < msg->point_count; n++) {
            if (tpi_expr_name_index(e, i) == tpc_msg_point(msg, n)->property) {
                return true;
            }
        }
    }
    return false;
}

static bool is_data(const struct tpc_msg *msg)
{
    return msg->kind == TPC_MSG_TELEMETRY || msg->kind == TPC_MSG_ATTRIBUTES;
}

static const char *why_scene(const struct tpi_scene *s, const struct tpc_device *d,
                             const struct tpc_msg *msg)
{
    static const char *const other[] = { "it looks at properties alone",
                                         "it looks at events alone",
                                         "it looks at devices that come online alone",
                                         "it looks at devices that go offline alone",
                                         "it looks at commands alone",
                                         "it is only run" };
    if (s->on != TPI_ON_MANUAL && s->condition.product_id != d->product->id) {
        return "the device is of another product";
    }
    if (s->devices.count > 0 && tpi_map_get(&s->devices, d->key.ptr, d->key.len) == NULL) {
        return "the device is not among its devices";
    }
    if (tpi_scene_is_off(s, msg->received_unix_ms)) {
        return "it has switched itself off";
    }
    if (s->on == TPI_ON_DATA && is_data(msg)) {
        bool named = names_point(s->condition.expr, msg) || names_point(s->condition.until, msg);
        for (uint32_t i = 0; s->condition.names != NULL && i < s->condition.name_count; i++) {
            named |= names_point(s->condition.names[i], msg);
        }
        return named ? NULL : "no property that its condition names is in the message";
    }
    if (s->on == TPI_ON_EVENT && msg->kind == TPC_MSG_EVENT) {
        return "it looks at another event";
    }
    bool presence = s->on == TPI_ON_ONLINE || s->on == TPI_ON_OFFLINE;
    if (presence && msg->kind == TPC_MSG_PRESENCE) {
        return "the device's state did not turn to the one it looks for";
    }
    if (s->on == TPI_ON_COMMAND && msg->kind == TPC_MSG_COMMAND) {
        return "it looks at other commands";
    }
    return s->on < sizeof(other) / sizeof(other[0]) ? other[s->on] : "it looks at something else";
}

static const char *why_data_rule(const struct tpi_data_rule *d, const struct tpc_device *device,
                                 const struct tpc_msg *msg)
{
    if (d->program.product_id != device->product->id) {
        return "the device is of another product";
    }
    if (d->watch.kind == TPI_WATCH_TOPIC_RULE && is_data(msg) &&
        !tpi_data_rule_takes(d, device, msg)) {
        return "the message is not of its topic";
    }
    return is_data(msg) ? "no property that its statement names is in the message"
                        : "it looks at properties alone";
}

static bool is_followed(const struct tpi_ledger *l, const struct tpi_trace *trace)
{
    return l->workers != NULL && l->workers[0].trace == trace;
}

void tpi_rules_pass(struct tpi_rules *r, struct tpi_trace *trace, const struct tpc_device *device,
                    const struct tpc_msg *msg)
{
    size_t iter = 0;
    void *value;
    const char *why = NULL;
    while (tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        const struct tpi_scene *s = value;
        why = is_followed(&s->ledger, trace) ? why_scene(s, device, msg) : why;
    }
    iter = 0;
    while (tpi_map64_next(&r->data_rules, &iter, NULL, &value)) {
        const struct tpi_data_rule *d = value;
        why = is_followed(&d->ledger, trace) ? why_data_rule(d, device, msg) : why;
    }
    if (why != NULL) {
        struct tpi_note n;
        tpi_note_begin(&n, trace, TPC_STEP_PASS, device->key, msg->received_unix_ms);
        tpi_note_text(&n, "not looked at: %s", why);
        tpi_note_str(&n, "why", tpc_str_from(why));
        tpi_note_end(&n);
    }
}
