/*
 * What a schedule did after its state was saved last, told by the log: without it a killed process would do it
 * again that had switched itself off, or found its condition still true. Ids tell at which planned time that was.
 */
#include "rules/schedule.h"

#include <string.h>

enum { BACK_MS = 2 * TPI_SCHEDULE_LATE_MS, CANDIDATES = 64 };

/* "rule schedule:key" ends with "schedule:key". */
static bool is_by(const struct tpi_rule_schedule *s, struct tpc_str origin)
{
    return origin.len >= s->by.len &&
           memcmp(origin.ptr + origin.len - s->by.len, s->by.ptr, s->by.len) == 0;
}

static bool is_its(const struct tpi_rule_schedule *s, const struct tpc_msg *m, int64_t at_ms)
{
    struct tpc_id id;
    for (uint32_t i = 0; i < s->actions.count; i++) {
        if (tpi_rules_action_id(s->id, s->revision, s->partition, (uint64_t) at_ms, i, &id) == 0 &&
            memcmp(&id, &m->id, sizeof(id)) == 0) {
            return true;
        }
    }
    return false;
}

/* The planned time at which it said this. */
static bool find_time(const struct tpi_rule_schedule *s, const struct tpc_msg *m, int64_t *ret_ms)
{
    int64_t at = m->unix_ms - BACK_MS;
    for (int i = 0; i < CANDIDATES; i++) {
        if (!tpi_schedule_next(&s->schedule, &s->state, at, &at) || at > m->unix_ms) {
            return false;
        }
        if (is_its(s, m, at)) {
            *ret_ms = at;
            return true;
        }
    }
    return false;
}

static void take(struct tpi_rules *r, struct tpi_rule_schedule *s, int64_t at_ms)
{
    struct tpi_judged *j = &s->judged;
    if (at_ms <= j->run_ms || at_ms <= j->redo_ms) {
        return;
    }
    if (s->gate.auto_disable) {
        *j = (struct tpi_judged){ .off_until_ms = tpi_gate_off_until(&s->gate, at_ms) };
    }
    j->held = !s->gate.auto_disable;
    j->redo_ms = at_ms;
    s->next_ms = INT64_MIN;
    atomic_store(&r->workers[s->partition % r->host.workers].schedule_next_ms, INT64_MIN);
}

void tpi_rules_said(struct tpi_rules *r, const struct tpc_msg *m)
{
    static const char word[] = "schedule:";
    size_t iter = 0;
    void *value;
    if (m->origin.len < sizeof(word) - 1 ||
        memmem(m->origin.ptr, m->origin.len, word, sizeof(word) - 1) == NULL) {
        return;
    }
    pthread_mutex_lock(&r->changes);
    while (tpi_map64_next(&r->schedules, &iter, NULL, &value)) {
        struct tpi_rule_schedule *s = value;
        int64_t at_ms;
        bool kept = s->condition != NULL || s->gate.auto_disable;
        if (!kept || !s->live || !s->enabled || s->broken || !is_by(s, m->origin)) {
            continue;
        }
        struct rule_worker *w = &r->workers[s->partition % r->host.workers];
        pthread_mutex_lock(&w->lock);
        if (find_time(s, m, &at_ms)) {
            take(r, s, at_ms);
        }
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_unlock(&r->changes);
}
