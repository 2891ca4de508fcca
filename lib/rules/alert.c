/* Alerts: life of the stage, and what is wished for. */
#include "rules/alert.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "registry/device.h"
#include "rules/alert_state.h"

#include <string.h>
#include <tpcore/json.h>

#define COUNTER(member, name, text)                                                                \
    {                                                                                              \
        "alerts_" name "_total", text, 1, offsetof(struct tpi_alerts_counters, member)             \
    }
#define GAUGE(member, text)                                                                        \
    {                                                                                              \
        "alerts_" #member, text, 2, offsetof(struct tpi_alerts_counters, member)                   \
    }

const struct tpi_metric_def tpi_alerts_metrics[] = {
    GAUGE(open, "Alerts that are raised"),
    GAUGE(closed, "Cleared alerts that are kept"),
    COUNTER(raised, "raised", "Alerts raised"),
    COUNTER(repeated, "repeated", "Times that a raised alert was raised again"),
    COUNTER(cleared, "cleared", "Alerts cleared"),
    COUNTER(suppressed, "suppressed", "Alerts raised in a window of maintenance"),
    COUNTER(flapping, "flapping", "Times that an alert began to flap"),
    COUNTER(escalated, "escalated", "Alerts that nobody looked at in time"),
    COUNTER(notifications, "notifications", "Notifications that alerts made"),
    COUNTER(trimmed, "trimmed", "Cleared alerts that are not kept any more"),
    COUNTER(full, "full", "Alerts not raised: too many are open"),
    COUNTER(disabled, "disabled", "Alerts not raised: their configuration is disabled"),
    COUNTER(delayed, "delayed", "Times that the log could not take what was due"),
};
const uint32_t tpi_alerts_metric_count = sizeof(tpi_alerts_metrics) / sizeof(tpi_alerts_metrics[0]);

enum { KIND_VERSION = 1, TRIM_MS = 60000 };

/* ---- life ---- */

static int make(struct tpi_alerts *a)
{
    const struct tpc_allocator *alloc = a->env->alloc;
    pthread_mutex_init(&a->config_lock, NULL);
    tpi_map_init(&a->configs, alloc);
    a->owners = tpi_alloc_zero(alloc, a->host.workers * sizeof(a->owners[0]));
    if (a->owners == NULL) {
        return TPC_ENOMEM;
    }
    int rc = 0;
    for (uint32_t i = 0; i < a->host.workers; i++) {
        struct tpi_alert_owner *o = &a->owners[i];
        o->alerts = a;
        o->index = i;
        pthread_mutex_init(&o->lock, NULL);
        tpi_map64_init(&o->devices, alloc);
        tpi_map_init(&o->ids, alloc);
        tpi_wheel_init(&o->wheel, tpi_mono_ms(a->env));
        rc = rc != 0 ? rc : tpc_arena_create(alloc, 0, &o->arena);
    }
    return rc;
}

int tpi_alerts_create(const struct tpi_env *env, const struct tpi_alerts_host *host,
                      struct tpc_error *err, struct tpi_alerts **ret)
{
    if (host->workers == 0 || host->append == NULL || host->registry == NULL) {
        return tpi_error_set(err, TPC_EINVAL, "alert", "the host's table is not complete");
    }
    struct tpi_alerts *a = tpi_alloc_zero(env->alloc, sizeof(*a));
    if (a == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "alert", "out of memory");
    }
    a->env = env;
    a->host = *host;
    a->kind = (struct tpi_kind){ .name = "alert",
                                 .version = KIND_VERSION,
                                 .schema = tpi_alert_schema,
                                 .prepare = tpi_alert_prepare,
                                 .apply = tpi_alert_apply,
                                 .discard = tpi_alert_discard,
                                 .user = a };
    atomic_init(&a->generation, 1);
    int rc = make(a);
    if (rc != 0) {
        tpi_alerts_destroy(a);
        return tpi_error_set(err, rc, "alert", "out of memory");
    }
    *ret = a;
    return 0;
}

void tpi_alerts_destroy(struct tpi_alerts *a)
{
    if (a == NULL) {
        return;
    }
    if (a->owners != NULL) {
        tpi_alerts_reset(a);
        for (uint32_t i = 0; i < a->host.workers; i++) {
            tpc_arena_destroy(a->owners[i].arena);
            pthread_mutex_destroy(&a->owners[i].lock);
        }
        tpi_free(a->env->alloc, a->owners, a->host.workers * sizeof(a->owners[0]));
    }
    size_t iter = 0;
    void *value;
    while (tpi_map_next(&a->configs, &iter, NULL, &value)) {
        tpi_alert_config_unref(value != a ? value : NULL);
    }
    tpi_map_fini(&a->configs);
    pthread_mutex_destroy(&a->config_lock);
    tpi_free(a->env->alloc, a, sizeof(*a));
}

const struct tpi_kind *tpi_alerts_kind(struct tpi_alerts *a)
{
    return &a->kind;
}

const struct tpi_alerts_counters *tpi_alerts_count(const struct tpi_alerts *a)
{
    return &a->counters;
}

void tpi_alerts_products_changed(struct tpi_alerts *a)
{
    if (atomic_load(&a->offline) > 0) {
        atomic_fetch_add(&a->generation, 1);
    }
}

/* ---- wishes ---- */

/* Whether it was granted, or made no difference, before a crash. What a message of the alert's last
 * source, or an earlier one, wished was answered then; one of a repeated raise may count twice if it
 * comes from another partition. */
static bool is_known(const struct tpi_alerts *a, const struct tpi_alert *x,
                     const struct tpi_alert_wish *wish)
{
    if (!wish->replayed) {
        return false;
    }
    return a->host.said(a->host.user, &wish->id) ||
           (x != NULL && x->has_source && wish->has_source &&
            x->source_partition == wish->source_partition &&
            wish->source_offset < x->source_offset);
}

static void take_source(struct tpi_alert *x, const struct tpi_alert_wish *wish)
{
    if (wish->has_source) {
        x->has_source = true;
        x->source_partition = wish->source_partition;
        x->source_offset = wish->source_offset;
    }
}

static struct tpc_str cut(struct tpc_str text)
{
    if (text.len > TPC_ALERT_TEXT_BYTES) {
        text.len = tpi_text_whole(text.ptr, TPC_ALERT_TEXT_BYTES);
    }
    return text;
}

/* Times of the last `within` among which this one would be; whether they are too many. */
static bool flaps(const struct tpi_alert_config *c, const struct tpi_alert_toggles *t, int64_t now)
{
    uint32_t n = 1;
    if (c == NULL || c->flap_changes == 0) {
        return false;
    }
    for (uint32_t i = 0; t != NULL && i < t->count; i++) {
        n += t->unix_ms[i] > now - c->flap_within_ms && t->unix_ms[i] <= now;
    }
    return n >= c->flap_changes;
}

/* Only counts: what is lost of that in a crash is wished again. */
static void repeat(struct tpi_alert *x, const struct tpi_alert_wish *wish)
{
    struct tpi_alert_owner *o = x->owner;
    pthread_mutex_lock(&o->lock);
    bool flapping = (x->flags & TPC_ALERT_FLAPPING) != 0;
    bool ended = (x->flags & TPI_ALERT_WANT_CLEAR) != 0;
    x->count += wish->raise;
    x->last_ms = wish->raise ? wish->unix_ms : x->last_ms;
    if (flapping && ended == wish->raise) {
        x->flags ^= TPI_ALERT_WANT_CLEAR;
        if (x->toggles != NULL) {
            tpi_alert_toggle(x->toggles, wish->unix_ms);
        }
    }
    take_source(x, wish);
    tpi_alert_mark(x, false);
    pthread_mutex_unlock(&o->lock);
    TPI_METRIC_ADD(o->alerts->counters.repeated, wish->raise);
    if (flapping) {
        tpi_alert_arm(x);
    }
}

static int worse(struct tpi_alert *x, const struct tpi_alert_config *c,
                 const struct tpi_alert_wish *wish, uint32_t severity)
{
    struct tpi_alert_step s;
    tpi_alert_step_init(&s, x, TPI_ALERT_WORSE, c, wish->unix_ms);
    s.id = wish->id;
    s.by = wish->by;
    s.actor = wish->actor;
    s.next.severity = (uint8_t) severity;
    s.next.count++;
    s.next.last_ms = wish->unix_ms;
    s.next.text = wish->text.len > 0 && (c == NULL || c->text.len == 0) ? cut(wish->text) : x->text;
    take_source(&s.next, wish);
    if ((x->flags & (TPC_ALERT_MUTED | TPI_ALERT_HELD)) == 0) {
        tpi_alert_step_tell(&s, TPI_ALERT_ON_RAISE);
    }
    return tpi_alert_commit(&s);
}

static bool is_full(struct tpi_alerts *a)
{
    uint32_t most = a->host.open_max > 0 ? a->host.open_max : TPI_ALERTS_MAX;
    if (TPI_METRIC_GET(a->counters.open) < most) {
        return false;
    }
    TPI_METRIC_ADD(a->counters.full, 1);
    if (!atomic_exchange(&a->full_said, true)) {
        tpi_log(a->env, TPC_LOG_ERROR, "alert", "%u alerts are open: no more are raised",
                (unsigned) most);
    }
    return true;
}

static int raise_new(struct tpi_alert_owner *o, struct tpi_alert *old,
                     const struct tpi_alert_config *c, const struct tpi_alert_wish *wish,
                     uint32_t severity)
{
    struct tpi_alert_step s;
    struct tpi_alert like = { .tenant_id = wish->device->tenant->id,
                              .device_id = wish->device->id,
                              .partition = wish->device->partition,
                              .key = wish->key,
                              .tenant = tpi_device_tenant(wish->device),
                              .device = wish->device->key };
    struct tpi_alert *x = tpi_alert_enter(o, &wish->id, &like);
    if (x == NULL) {
        return TPC_ENOMEM;
    }
    struct tpi_alert_toggles *before = old != NULL ? old->toggles : NULL;
    tpi_alert_step_init(&s, x, TPI_ALERT_RAISE, c, wish->unix_ms);
    s.id = wish->id;
    s.by = wish->by;
    s.actor = wish->actor;
    s.toggles = c != NULL && c->flap_changes > 0;
    s.next.severity = (uint8_t) severity;
    s.next.count = 1;
    s.next.nth = old != NULL ? old->nth + 1 : 1;
    s.next.raised_ms = wish->unix_ms;
    s.next.last_ms = wish->unix_ms;
    s.next.by = cut(wish->by);
    s.next.text = c != NULL && c->text.len > 0 ? c->text : cut(wish->text);
    s.next.toggles = s.toggles ? before : NULL;
    take_source(&s.next, wish);
    if (flaps(c, before, wish->unix_ms)) {
        s.next.flags |= TPC_ALERT_FLAPPING;
    }
    if (tpi_alert_windows_end(c, wish->unix_ms) != 0) {
        s.next.flags |= TPC_ALERT_MUTED;
    }
    if (s.next.flags == 0) {
        tpi_alert_step_tell(&s, TPI_ALERT_ON_RAISE);
    } else {
        s.next.flags |= TPI_ALERT_HELD;
    }
    int rc = tpi_alert_commit(&s);
    if (rc != 0) {
        tpi_alert_leave(x);
    } else if (old != NULL) {
        pthread_mutex_lock(&o->lock);
        tpi_alert_supersede(old);
        pthread_mutex_unlock(&o->lock);
    }
    return rc;
}

static int raise_alert(struct tpi_alert_owner *o, struct tpi_alert *x,
                       const struct tpi_alert_config *c, const struct tpi_alert_wish *wish)
{
    struct tpi_alerts *a = o->alerts;
    uint32_t severity = wish->severity > 0 ? wish->severity : TPC_SEVERITY_WARNING;
    severity = c != NULL && c->severity > 0 ? c->severity : severity;
    if (c != NULL && !c->enabled) {
        TPI_METRIC_ADD(a->counters.disabled, 1);
        return TPC_EDENIED;
    }
    if (x == NULL || !tpi_alert_open(x)) {
        return is_full(a) ? TPC_ETOOBIG : raise_new(o, x, c, wish, severity);
    }
    bool rises =
        severity > x->severity && (x->flags & (TPC_ALERT_FLAPPING | TPC_ALERT_ESCALATED)) == 0;
    if (rises) {
        return worse(x, c, wish, severity);
    }
    repeat(x, wish);
    return 0;
}

static int clear_alert(struct tpi_alert *x, const struct tpi_alert_config *c,
                       const struct tpi_alert_wish *wish)
{
    struct tpi_alert_step s;
    if (x == NULL || !tpi_alert_open(x)) {
        return 0;
    }
    if ((x->flags & TPC_ALERT_FLAPPING) != 0) {
        repeat(x, wish);
        return 0;
    }
    if (flaps(c, x->toggles, wish->unix_ms)) {
        tpi_alert_step_init(&s, x, TPI_ALERT_FLAP, c, wish->unix_ms);
        s.id = wish->id;
        s.by = wish->by;
        s.toggles = true;
        s.next.flags |= TPC_ALERT_FLAPPING | TPI_ALERT_WANT_CLEAR;
        take_source(&s.next, wish);
        return tpi_alert_commit(&s);
    }
    /* Before the change: it is part of it. */
    pthread_mutex_lock(&x->owner->lock);
    take_source(x, wish);
    pthread_mutex_unlock(&x->owner->lock);
    return tpi_alert_clear_now(x, wish->by, wish->actor, (struct tpc_str){ NULL, 0 }, &wish->id,
                               wish->unix_ms);
}

int tpi_alerts_wish(struct tpi_alerts *a, uint32_t worker, const struct tpi_alert_wish *wish,
                    struct tpc_id *ret_id)
{
    struct tpi_alert_owner *o = &a->owners[worker];
    struct tpi_alert *x = tpi_alert_find(o, wish->device->id, wish->key);
    int rc = 0;
    if (!is_known(a, x, wish)) {
        struct tpi_alert_config *c = tpi_alert_config_get(a, wish->device->tenant->id, wish->key);
        bool open = x != NULL && tpi_alert_open(x);
        uint64_t from = tpi_alert_tally_begin(a->env, c, wish->raise);
        rc = wish->raise ? raise_alert(o, x, c, wish) : clear_alert(x, c, wish);
        tpi_alert_tally_end(a->env, c, from, rc, rc == 0 && wish->raise && !open);
        tpi_alert_config_unref(c);
    }
    if (rc == 0 && ret_id != NULL) {
        x = tpi_alert_find(o, wish->device->id, wish->key);
        *ret_id = x != NULL ? x->id : wish->id;
    }
    return rc;
}

int tpi_alerts_do(struct tpi_alerts *a, uint32_t worker, enum tpi_alert_deed deed,
                  const struct tpc_id *id, struct tpc_str by, struct tpc_str comment)
{
    struct tpi_alert_owner *o = &a->owners[worker];
    struct tpi_alert *x = tpi_map_get(&o->ids, id->b, sizeof(id->b));
    struct tpi_alert_step s;
    int64_t now = tpi_unix_ms(a->env);
    comment = cut(comment);
    if (x == NULL || x->change == 0) {
        return TPC_ENOENT;
    }
    if (deed != TPI_ALERT_DO_COMMENT && !tpi_alert_open(x)) {
        return TPC_ESTATE;
    }
    if (deed == TPI_ALERT_DO_COMMENT && x->note_count >= TPC_ALERT_NOTES_MAX) {
        return TPC_ETOOBIG;
    }
    if (deed == TPI_ALERT_DO_CLEAR) {
        return tpi_alert_clear_now(x, by, by, comment, NULL, now);
    }
    tpi_alert_step_init(&s, x, deed == TPI_ALERT_DO_ACK ? TPI_ALERT_ACK : TPI_ALERT_COMMENT, NULL,
                        now);
    s.by = by;
    s.actor = by;
    s.comment = comment;
    if (deed == TPI_ALERT_DO_ACK) {
        s.next.acked_ms = now;
        s.next.acked_by = by;
    }
    return tpi_alert_commit(&s);
}

int tpi_alerts_gone(struct tpi_alerts *a, uint32_t worker, const struct tpc_device *device)
{
    struct tpi_alert_owner *o = &a->owners[worker];
    int rc = 0;
    for (struct tpi_alert *x = tpi_map64_get(&o->devices, device->id); rc == 0 && x != NULL;
         x = x->next) {
        struct tpc_str none = { NULL, 0 };
        rc = tpi_alert_open(x)
                 ? tpi_alert_clear_now(x, TPC_STR("core"), none, none, NULL, tpi_unix_ms(a->env))
                 : 0;
    }
    return rc;
}

/* ---- start ---- */

/* The partition of its device, as it is now: there may be more partitions than there were. */
static struct tpi_alert_owner *owner_now(struct tpi_alerts *a, struct tpi_alert *x)
{
    tpi_registry_read_lock(a->host.registry);
    const struct tpc_device *d = tpi_registry_by_id(a->host.registry, x->device_id);
    x->partition = d != NULL ? d->partition : x->partition;
    tpi_registry_read_unlock(a->host.registry);
    return tpi_alert_owner_of(a, x->partition);
}

int tpi_alerts_load(struct tpi_alerts *a, struct tpc_bytes doc, struct tpc_arena *arena)
{
    struct tpc_value v;
    struct tpi_alert x;
    tpc_arena_reset(arena);
    int rc =
        tpc_json_parse(arena, (struct tpc_str){ (const char *) doc.ptr, doc.len }, 0, NULL, &v);
    rc = rc != 0 ? rc : tpi_alert_parse(&v, &x);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : TPC_ECORRUPT;
    }
    return tpi_alert_restore(owner_now(a, &x), &v, &x);
}

int tpi_alerts_replay(struct tpi_alerts *a, const struct tpc_msg *msg)
{
    struct tpi_alert x;
    struct tpc_str comment = tpc_value_text(tpc_value_get(&msg->params, TPC_STR("comment")));
    if (tpi_alert_parse(&msg->params, &x) != 0) {
        return 0; /* of another making */
    }
    struct tpi_alert_owner *o = owner_now(a, &x);
    struct tpi_alert *there = tpi_map_get(&o->ids, x.id.b, sizeof(x.id.b));
    if (there != NULL && there->change >= x.change) {
        return 0;
    }
    int rc = tpi_alert_restore(o, &msg->params, &x);
    there = rc == 0 ? tpi_map_get(&o->ids, x.id.b, sizeof(x.id.b)) : NULL;
    if (there != NULL) {
        pthread_mutex_lock(&o->lock);
        tpi_alert_mark(there, true);
        pthread_mutex_unlock(&o->lock);
    }
    if (there != NULL && comment.len > 0 && there->note_count < TPC_ALERT_NOTES_MAX) {
        rc =
            tpi_alert_add_note(there, tpc_value_text(tpc_value_get(&msg->params, TPC_STR("actor"))),
                               comment, msg->unix_ms);
    }
    return rc;
}

/* ---- turns ---- */

static bool trims(const struct tpi_alert_owner *o, uint64_t now)
{
    return o->closed > 0 && (now >= o->trim_ms || tpi_alert_overfull(o));
}

/* Nothing to look after: no clock is asked. */
static bool is_idle(const struct tpi_alerts *a, const struct tpi_alert_owner *o)
{
    return o->generation == atomic_load_explicit(&a->generation, memory_order_relaxed) &&
           tpi_wheel_count(&o->wheel) == 0 && o->watch_count == 0 && o->back_count == 0 &&
           o->closed == 0;
}

bool tpi_alerts_due(struct tpi_alerts *a, uint32_t worker)
{
    return !is_idle(a, &a->owners[worker]) &&
           (tpi_alerts_next_ms(a, worker) == 0 || trims(&a->owners[worker], tpi_mono_ms(a->env)));
}

bool tpi_alerts_turn(struct tpi_alerts *a, uint32_t worker)
{
    struct tpi_alert_owner *o = &a->owners[worker];
    uint64_t now = tpi_mono_ms(a->env);
    bool did = false;
    if (o->generation != atomic_load_explicit(&a->generation, memory_order_relaxed)) {
        did = tpi_alert_rescan(o);
    }
    if (tpi_wheel_count(&o->wheel) > 0) {
        did |= tpi_wheel_run(&o->wheel, now) > 0;
    }
    if (o->watch_count > 0 || o->back_count > 0) {
        did |= tpi_alert_watch_turn(o);
    }
    if (trims(o, now)) {
        o->trim_ms = now + TRIM_MS;
        tpi_alert_trim(o);
    }
    return did;
}

uint64_t tpi_alerts_next_ms(struct tpi_alerts *a, uint32_t worker)
{
    struct tpi_alert_owner *o = &a->owners[worker];
    if (is_idle(a, o)) {
        return UINT64_MAX;
    }
    uint64_t now = tpi_mono_ms(a->env);
    if (o->generation != atomic_load_explicit(&a->generation, memory_order_relaxed)) {
        uint64_t wait = o->retry_ms > now ? o->retry_ms - now : 0;
        return wait;
    }
    uint64_t next = tpi_wheel_next_ms(&o->wheel, now);
    next = next >= TPI_WHEEL_NONE ? UINT64_MAX : next;
    if (o->watch_count > 0 || o->back_count > 0) {
        uint64_t watch = tpi_alert_watch_next_ms(o);
        next = watch < next ? watch : next;
    }
    return next;
}
