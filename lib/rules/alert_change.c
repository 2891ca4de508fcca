/* Changes of alerts: one append each, then the table. And what time changes. */
#include "base/alloc.h"
#include "rules/alert_state.h"
#include "rules/rules.h"

#include <string.h>

enum {
    ID_MARK = 0xA1E27 /* instead of a partition: ids of rules' actions have those below 4,096 */
};

/* Of message n of a change: 0 = the change itself, then the handlers. The same whenever it is tried. */
static int message_id(const struct tpi_alert *x, enum tpi_alert_what what, uint32_t n,
                      struct tpc_id *ret)
{
    uint64_t high, low;
    memcpy(&high, x->id.b, 8);
    memcpy(&low, x->id.b + 8, 8);
    return tpi_rules_action_id(high, low, ID_MARK, (uint64_t) x->change << 8 | (uint64_t) what, n,
                               ret);
}

void tpi_alert_step_init(struct tpi_alert_step *s, struct tpi_alert *alert,
                         enum tpi_alert_what what, const struct tpi_alert_config *config,
                         int64_t unix_ms)
{
    memset(s, 0, sizeof(*s));
    s->o = alert->owner;
    s->alert = alert;
    s->config = config;
    s->what = what;
    pthread_mutex_lock(&s->o->lock); /* whoever stores it writes its mark */
    s->next = *alert;
    pthread_mutex_unlock(&s->o->lock);
    s->next.change++;
    s->unix_ms = unix_ms;
    s->by = TPC_STR("core");
}

void tpi_alert_step_tell(struct tpi_alert_step *s, uint32_t on)
{
    const struct tpi_alert_config *c = s->config;
    s->next.flags &= (uint8_t) ~TPI_ALERT_HELD;
    if (c == NULL || (c->on & on) == 0) {
        return;
    }
    const struct tpi_alert_handlers *h =
        on == TPI_ALERT_ON_ESCALATE ? &c->escalate_handlers : &c->handlers;
    s->handlers = h->count > 0 ? h : NULL;
}

/* ---- its texts ---- */

static void free_text(const struct tpc_allocator *alloc, struct tpc_str s)
{
    if (s.ptr != NULL) {
        tpi_free(alloc, (void *) (uintptr_t) s.ptr, s.len + 1);
    }
}

static bool same(struct tpc_str a, struct tpc_str b)
{
    return a.ptr == b.ptr && a.len == b.len;
}

/* A copy where `from` is not what is there. Returns whether there was memory. */
static bool dup_text(const struct tpc_allocator *alloc, struct tpc_str old, struct tpc_str from,
                     struct tpc_str *ret)
{
    *ret = old;
    if (!same(old, from)) {
        ret->ptr = from.len > 0 ? tpi_str_dup(alloc, from) : NULL;
        ret->len = from.len;
    }
    return from.len == 0 || ret->ptr != NULL;
}

static void swap_text(const struct tpc_allocator *alloc, struct tpc_str *at, struct tpc_str text)
{
    if (!same(*at, text)) {
        free_text(alloc, *at);
        *at = text;
    }
}

static void undo_text(const struct tpc_allocator *alloc, struct tpc_str old, struct tpc_str text)
{
    if (!same(old, text)) {
        free_text(alloc, text);
    }
}

/* What a change needs, made before it. */
struct made {
    struct tpc_str text, by, acked_by;
    struct tpi_alert_note *note;
    struct tpi_alert_toggles *toggles;
};

static void unmake(const struct tpi_alert *x, struct made *m)
{
    const struct tpc_allocator *alloc = x->owner->alerts->env->alloc;
    undo_text(alloc, x->text, m->text);
    undo_text(alloc, x->by, m->by);
    undo_text(alloc, x->acked_by, m->acked_by);
    if (m->note != NULL) {
        tpi_free(alloc, m->note, sizeof(*m->note) + m->note->by.len + m->note->text.len + 2);
    }
    if (m->toggles != x->toggles) {
        tpi_free(alloc, m->toggles, sizeof(*m->toggles));
    }
}

static struct tpi_alert_note *make_note(const struct tpc_allocator *alloc, struct tpc_str by,
                                        struct tpc_str text, int64_t unix_ms)
{
    struct tpi_alert_note *n = tpi_alloc_zero(alloc, sizeof(*n) + by.len + text.len + 2);
    if (n != NULL) {
        char *p = (char *) (n + 1);
        n->unix_ms = unix_ms;
        n->by = (struct tpc_str){ p, by.len };
        n->text = (struct tpc_str){ p + by.len + 1, text.len };
        if (by.len > 0) {
            memcpy(p, by.ptr, by.len);
        }
        memcpy(p + by.len + 1, text.ptr, text.len);
    }
    return n;
}

static int make_texts(const struct tpi_alert *x, const struct tpi_alert *from, struct made *m)
{
    const struct tpc_allocator *alloc = x->owner->alerts->env->alloc;
    m->text = x->text;
    m->by = x->by;
    m->acked_by = x->acked_by;
    m->note = NULL;
    m->toggles = x->toggles;
    bool ok = dup_text(alloc, x->text, from->text, &m->text) &&
              dup_text(alloc, x->by, from->by, &m->by) &&
              dup_text(alloc, x->acked_by, from->acked_by, &m->acked_by);
    if (ok && from->toggles != NULL && x->toggles == NULL) {
        m->toggles = tpi_alloc_zero(alloc, sizeof(*m->toggles));
        ok = m->toggles != NULL;
    }
    if (!ok) {
        unmake(x, m);
    }
    return ok ? 0 : TPC_ENOMEM;
}

/* Under the lock. */
static void keep(struct tpi_alert *x, const struct tpi_alert *next, struct made *m)
{
    const struct tpc_allocator *alloc = x->owner->alerts->env->alloc;
    swap_text(alloc, &x->text, m->text);
    swap_text(alloc, &x->by, m->by);
    swap_text(alloc, &x->acked_by, m->acked_by);
    if (next->toggles != NULL && next->toggles != m->toggles) {
        *m->toggles = *next->toggles;
    }
    x->toggles = m->toggles;
    if (m->note != NULL) {
        *(x->notes != NULL ? &x->last_note->next : &x->notes) = m->note;
        x->last_note = m->note;
        x->note_count++;
    }
    x->count = next->count;
    x->change = next->change;
    x->nth = next->nth;
    x->raised_ms = next->raised_ms;
    x->last_ms = next->last_ms;
    x->acked_ms = next->acked_ms;
    x->cleared_ms = next->cleared_ms;
    x->severity = next->severity;
    x->flags = next->flags;
    x->has_source = next->has_source;
    x->source_partition = next->source_partition;
    x->source_offset = next->source_offset;
}

static void count_state(struct tpi_alert *x, bool was, bool is)
{
    struct tpi_alert_owner *o = x->owner;
    struct tpi_alerts_counters *c = &o->alerts->counters;
    o->open += (uint64_t) is - (uint64_t) was;
    atomic_fetch_add(&c->open, (uint64_t) is - (uint64_t) was);
}

/* ---- one change ---- */

static int write_messages(struct tpi_alert_step *s, struct tpi_alert_message *messages,
                          uint32_t *ret_count)
{
    struct tpi_alerts *a = s->o->alerts;
    struct tpi_alert_said said = { s->what, s->actor, s->comment };
    uint32_t n = 0;
    int rc = 0;
    tpc_arena_reset(s->o->arena);
    for (uint32_t i = 0; rc == 0 && s->handlers != NULL && i < s->handlers->count; i++) {
        struct tpi_alert_message *m = &messages[n];
        m->kind = TPC_MSG_NOTIFY;
        m->name = s->handlers->keys[i];
        rc = message_id(&s->next, s->what, i + 1, &m->id);
        rc = rc != 0 ? rc
                     : tpi_alert_tell(&s->next, s->config, s->what, s->unix_ms, s->o->arena,
                                      &m->params);
        /* One that is in the log already was appended before a crash, without its change. */
        n += rc == 0 && (a->host.said == NULL || !a->host.said(a->host.user, &m->id));
    }
    static const struct tpc_id none;
    struct tpi_alert_message *m = &messages[n];
    m->kind = TPC_MSG_ALERT;
    m->name = s->alert->key;
    m->id = s->id;
    if (rc == 0 && memcmp(&s->id, &none, sizeof(none)) == 0) {
        rc = message_id(&s->next, s->what, 0, &m->id);
    }
    rc = rc != 0 ? rc : tpi_alert_write(&s->next, &said, s->o->arena, &m->params);
    for (uint32_t i = 0; i <= n; i++) {
        messages[i].partition = s->alert->partition;
        messages[i].device_id = s->alert->device_id;
        messages[i].unix_ms = s->unix_ms;
        messages[i].by = s->by;
    }
    *ret_count = n + 1;
    return rc;
}

static void count_change(struct tpi_alerts *a, const struct tpi_alert_step *s, uint32_t told)
{
    struct tpi_alerts_counters *c = &a->counters;
    TPI_METRIC_ADD(c->notifications, told);
    TPI_METRIC_ADD(c->raised, s->what == TPI_ALERT_RAISE);
    TPI_METRIC_ADD(c->cleared, s->what == TPI_ALERT_CLEAR);
    TPI_METRIC_ADD(c->escalated, s->what == TPI_ALERT_ESCALATE);
    bool was = s->what != TPI_ALERT_RAISE && (s->alert->flags & TPC_ALERT_FLAPPING) != 0;
    bool is = (s->next.flags & TPC_ALERT_FLAPPING) != 0;
    TPI_METRIC_ADD(c->flapping, is && !was);
    TPI_METRIC_ADD(c->suppressed,
                   s->what == TPI_ALERT_RAISE && (s->next.flags & TPC_ALERT_MUTED) != 0);
}

int tpi_alert_commit(struct tpi_alert_step *s)
{
    struct tpi_alert *x = s->alert;
    struct tpi_alerts *a = s->o->alerts;
    struct tpi_alert_message messages[TPI_ALERT_HANDLERS + 1];
    struct tpi_alert_toggles toggles = { 0 };
    struct made made;
    uint32_t n;
    memset(messages, 0, sizeof(messages));
    if (s->toggles) {
        toggles = s->next.toggles != NULL ? *s->next.toggles : toggles;
        tpi_alert_toggle(&toggles, s->unix_ms);
        s->next.toggles = &toggles;
    }
    int rc = write_messages(s, messages, &n);
    rc = rc != 0 ? rc : make_texts(x, &s->next, &made);
    if (rc == 0 && s->comment.len > 0 && x->note_count < TPC_ALERT_NOTES_MAX) {
        made.note = make_note(a->env->alloc, s->actor, s->comment, s->unix_ms);
        if (made.note == NULL) {
            unmake(x, &made);
            rc = TPC_ENOMEM;
        }
    }
    if (rc != 0) {
        return rc;
    }
    rc = a->host.append(a->host.user, s->o->index, messages, n);
    if (rc != 0) {
        unmake(x, &made);
        return rc;
    }
    bool was = x->change > 0 && tpi_alert_open(x);
    count_change(a, s, n - 1);
    pthread_mutex_lock(&s->o->lock);
    keep(x, &s->next, &made);
    count_state(x, was, tpi_alert_open(x));
    if (was && !tpi_alert_open(x)) {
        s->o->closed++;
        TPI_METRIC_ADD(a->counters.closed, 1);
    }
    tpi_alert_mark(x, true);
    pthread_mutex_unlock(&s->o->lock);
    tpi_alert_arm(x);
    return 0;
}

int tpi_alert_clear_now(struct tpi_alert *x, struct tpc_str by, struct tpc_str actor,
                        struct tpc_str comment, const struct tpc_id *id, int64_t unix_ms)
{
    struct tpi_alert_step s;
    struct tpi_alert_config *c = tpi_alert_config_get(x->owner->alerts, x->tenant_id, x->key);
    tpi_alert_step_init(&s, x, TPI_ALERT_CLEAR, c, unix_ms);
    s.by = by;
    s.actor = actor;
    s.comment = comment;
    s.toggles = c != NULL && c->flap_changes > 0 && (x->flags & TPC_ALERT_FLAPPING) == 0;
    if (id != NULL) {
        s.id = *id;
    }
    s.next.cleared_ms = unix_ms;
    s.next.flags &=
        (uint8_t) ~(TPC_ALERT_FLAPPING | TPC_ALERT_MUTED | TPI_ALERT_HELD | TPI_ALERT_WANT_CLEAR);
    if ((x->flags & TPI_ALERT_HELD) == 0) {
        tpi_alert_step_tell(&s, TPI_ALERT_ON_CLEAR); /* who was told of it hears of its end */
    }
    int rc = tpi_alert_commit(&s);
    tpi_alert_config_unref(c);
    return rc;
}

/* ---- time ---- */

static int64_t last_toggle(const struct tpi_alert *x)
{
    return x->toggles != NULL && x->toggles->count > 0 ? x->toggles->unix_ms[x->toggles->count - 1]
                                                       : x->last_ms;
}

/* When an open alert is to be looked at next; INT64_MAX = never. */
static int64_t due_at(const struct tpi_alert *x, const struct tpi_alert_config *c, int64_t now)
{
    if (!tpi_alert_open(x)) {
        return INT64_MAX;
    }
    if ((x->flags & TPC_ALERT_FLAPPING) != 0) {
        return c != NULL && c->flap_changes > 0 ? last_toggle(x) + c->flap_within_ms : now;
    }
    if ((x->flags & TPC_ALERT_MUTED) != 0) {
        int64_t end = tpi_alert_windows_end(c, now);
        return end != 0 ? end : now;
    }
    bool escalates = c != NULL && c->escalate_after_ms > 0 && x->acked_ms == 0 &&
                     (x->flags & TPC_ALERT_ESCALATED) == 0;
    if (!escalates) {
        return INT64_MAX;
    }
    int64_t at = x->raised_ms + c->escalate_after_ms;
    int64_t end = at <= now ? tpi_alert_windows_end(c, now) : 0;
    return end != 0 ? end : at;
}

static void set_timer(struct tpi_alert *x, int64_t in_ms)
{
    struct tpi_alert_owner *o = x->owner;
    tpi_wheel_add(&o->wheel, &x->timer,
                  tpi_mono_ms(o->alerts->env) + (in_ms > 0 ? (uint64_t) in_ms : 0));
}

void tpi_alert_arm(struct tpi_alert *x)
{
    struct tpi_alert_owner *o = x->owner;
    struct tpi_alert_config *c = tpi_alert_config_get(o->alerts, x->tenant_id, x->key);
    int64_t now = tpi_unix_ms(o->alerts->env);
    int64_t at = due_at(x, c, now);
    if (at == INT64_MAX) {
        tpi_wheel_cancel(&o->wheel, &x->timer);
    } else {
        set_timer(x, at - now);
    }
    tpi_alert_config_unref(c);
}

/* It was quiet for long enough. */
static int calm(struct tpi_alert *x, const struct tpi_alert_config *c, int64_t now)
{
    struct tpi_alert_step s;
    if ((x->flags & TPI_ALERT_WANT_CLEAR) != 0) {
        return tpi_alert_clear_now(x, TPC_STR("core"), (struct tpc_str){ NULL, 0 },
                                   (struct tpc_str){ NULL, 0 }, NULL, now);
    }
    tpi_alert_step_init(&s, x, TPI_ALERT_CALM, c, now);
    s.next.flags &= (uint8_t) ~TPC_ALERT_FLAPPING;
    if ((x->flags & TPI_ALERT_HELD) != 0 && (x->flags & TPC_ALERT_MUTED) == 0) {
        tpi_alert_step_tell(&s, TPI_ALERT_ON_RAISE);
    }
    return tpi_alert_commit(&s);
}

static int unmute(struct tpi_alert *x, const struct tpi_alert_config *c, int64_t now)
{
    struct tpi_alert_step s;
    tpi_alert_step_init(&s, x, TPI_ALERT_UNMUTE, c, now);
    s.next.flags &= (uint8_t) ~TPC_ALERT_MUTED;
    if ((x->flags & TPI_ALERT_HELD) != 0) {
        tpi_alert_step_tell(&s, TPI_ALERT_ON_RAISE);
    }
    return tpi_alert_commit(&s);
}

static int escalate(struct tpi_alert *x, const struct tpi_alert_config *c, int64_t now)
{
    struct tpi_alert_step s;
    tpi_alert_step_init(&s, x, TPI_ALERT_ESCALATE, c, now);
    s.next.flags |= TPC_ALERT_ESCALATED;
    if (c->escalate_severity > 0) {
        s.next.severity = (uint8_t) c->escalate_severity;
    }
    tpi_alert_step_tell(&s, TPI_ALERT_ON_ESCALATE);
    return tpi_alert_commit(&s);
}

void tpi_alert_due(void *user, uint64_t mono_ms)
{
    struct tpi_alert *x = user;
    struct tpi_alerts *a = x->owner->alerts;
    struct tpi_alert_config *c = tpi_alert_config_get(a, x->tenant_id, x->key);
    int64_t now = tpi_unix_ms(a->env);
    int rc = 0;
    (void) mono_ms;
    if (due_at(x, c, now) > now) {
        tpi_alert_arm(x); /* the clock was set, or the configuration is another one */
    } else if ((x->flags & TPC_ALERT_FLAPPING) != 0) {
        rc = calm(x, c, now);
    } else if ((x->flags & TPC_ALERT_MUTED) != 0) {
        rc = unmute(x, c, now);
    } else {
        rc = escalate(x, c, now);
    }
    if (rc != 0) {
        TPI_METRIC_ADD(a->counters.delayed, 1);
        set_timer(x, TPI_ALERT_RETRY_MS);
    }
    tpi_alert_config_unref(c);
}

/* ---- start ---- */

static int restore_list(struct tpi_alert *x, const struct tpc_value *doc)
{
    const struct tpc_value *notes = tpc_value_get(doc, TPC_STR("comments"));
    const struct tpc_value *toggles = tpc_value_get(doc, TPC_STR("toggles"));
    const struct tpc_allocator *alloc = x->owner->alerts->env->alloc;
    int rc = 0;
    for (size_t i = 0; rc == 0 && notes != NULL && notes->type == TPC_ARRAY && i < notes->len;
         i++) {
        struct tpi_alert_note n;
        if (x->note_count < TPC_ALERT_NOTES_MAX &&
            tpi_alert_parse_note(&notes->as.items[i], &n) == 0) {
            rc = tpi_alert_add_note(x, n.by, n.text, n.unix_ms);
        }
    }
    if (rc == 0 && toggles != NULL && toggles->type == TPC_ARRAY) {
        x->toggles = x->toggles != NULL ? x->toggles : tpi_alloc_zero(alloc, sizeof(*x->toggles));
        for (size_t i = 0; x->toggles != NULL && i < toggles->len; i++) {
            int64_t t = 0;
            (void) tpc_value_int(&toggles->as.items[i], &t);
            x->toggles->count = i == 0 ? 0 : x->toggles->count;
            tpi_alert_toggle(x->toggles, t);
        }
        rc = x->toggles == NULL ? TPC_ENOMEM : 0;
    }
    return rc;
}

int tpi_alert_add_note(struct tpi_alert *x, struct tpc_str by, struct tpc_str text, int64_t unix_ms)
{
    struct tpi_alert_note *n = make_note(x->owner->alerts->env->alloc, by, text, unix_ms);
    if (n == NULL) {
        return TPC_ENOMEM;
    }
    *(x->notes != NULL ? &x->last_note->next : &x->notes) = n;
    x->last_note = n;
    x->note_count++;
    return 0;
}

int tpi_alert_restore(struct tpi_alert_owner *o, const struct tpc_value *doc,
                      const struct tpi_alert *as)
{
    struct tpi_alert *x = tpi_map_get(&o->ids, as->id.b, sizeof(as->id.b));
    struct made made;
    bool is_new = x == NULL;
    struct tpi_alert *old = is_new ? tpi_alert_find(o, as->device_id, as->key) : NULL;
    if (!is_new && x->change >= as->change) {
        return 0;
    }
    x = is_new ? tpi_alert_enter(o, &as->id, as) : x;
    int rc = x != NULL ? make_texts(x, as, &made) : TPC_ENOMEM;
    if (rc == 0) {
        rc = restore_list(x, doc);
        if (rc != 0) {
            made.toggles = x->toggles;
            unmake(x, &made);
        }
    }
    if (rc != 0) {
        if (x != NULL && is_new) {
            tpi_alert_leave(x);
        }
        return rc;
    }
    made.toggles = x->toggles;
    bool was = !is_new && tpi_alert_open(x);
    bool was_closed = !is_new && !was;
    pthread_mutex_lock(&o->lock);
    keep(x, as, &made);
    count_state(x, was, tpi_alert_open(x));
    bool closed = !tpi_alert_open(x);
    o->closed += (uint64_t) closed - (uint64_t) was_closed;
    atomic_fetch_add(&o->alerts->counters.closed, (uint64_t) closed - (uint64_t) was_closed);
    if (old != NULL) {
        tpi_alert_supersede(old->nth < x->nth ? old : x);
    }
    pthread_mutex_unlock(&o->lock);
    return 0;
}
