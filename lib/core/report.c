/* Report strategies: where the core and its instances get theirs from, and the turn of a worker that
 * sends what is due. */
#include <string.h>

#include "core/report.h"

int tpi_report_take(struct tpc_core *core, const struct tpc_value *v, struct tpc_arena *arena,
                    struct tpc_error *err)
{
    return tpi_report_parse(v, arena, err, &core->report);
}

/* Instances come and go while devices, and messages on their way, still have their strategy: it
 * stays. */
struct tpi_report_kept {
    struct tpi_report report;
    struct tpi_report_kept *next;
};

static int keep(struct tpc_core *core, const struct tpi_report *report,
                const struct tpi_report **ret)
{
    pthread_mutex_lock(&core->part_lock);
    struct tpi_report_kept *k = core->reports;
    while (k != NULL && memcmp(&k->report, report, sizeof(*report)) != 0) {
        k = k->next;
    }
    if (k == NULL) {
        k = tpi_alloc_zero(core->env.alloc, sizeof(*k));
        if (k != NULL) {
            k->report = *report;
            k->next = core->reports;
            core->reports = k;
        }
    }
    pthread_mutex_unlock(&core->part_lock);
    *ret = k != NULL ? &k->report : NULL;
    return k != NULL ? 0 : TPC_ENOMEM;
}

void tpi_report_free_kept(struct tpc_core *core)
{
    while (core->reports != NULL) {
        struct tpi_report_kept *k = core->reports;
        core->reports = k->next;
        tpi_free(core->env.alloc, k, sizeof(*k));
    }
}

int tpi_report_take_option(struct tpi_part *p, struct tpc_value *options, struct tpc_error *err)
{
    struct tpc_member *kept = tpc_arena_take(p->arena, (options->len + 1) * sizeof(*kept));
    struct tpi_report report;
    size_t n = 0;
    int rc = 0;
    if (kept == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "core", "out of memory");
    }
    for (size_t i = 0; i < options->len && rc == 0; i++) {
        const struct tpc_member *m = &options->as.members[i];
        if (tpc_str_equal(m->key, TPC_STR("report")) == 0) {
            kept[n++] = *m;
        } else if ((rc = tpi_report_parse(&m->value, p->arena, err, &report)) != 0) {
            tpi_error_at(err, "report");
        } else if (report.mode != TPI_REPORT_NONE && keep(p->core, &report, &p->report) != 0) {
            rc = tpi_error_set(err, TPC_ENOMEM, "core", "out of memory");
        }
    }
    options->as.members = kept;
    options->len = n;
    return rc;
}

bool tpi_report_turn(struct tpi_worker *w)
{
    struct tpc_error err = { .size = sizeof(err) };
    if (w->uplink == NULL || !tpi_uplink_due(w->uplink) ||
        (w->stalled && tpi_mono_ms(&w->core->env) < w->retry_ms)) {
        return false;
    }
    bool was = atomic_exchange(&w->busy, true);
    int rc = tpi_uplink_repeat(w->uplink, tpi_unix_ms(&w->core->env), &err);
    if (rc == 0) {
        tpi_effects_run(w);
    } else {
        tpi_count(&w->core->counters.append_waits, 1);
    }
    tpi_uplink_clear(w->uplink);
    atomic_fetch_add(&w->batches, 1);
    atomic_store(&w->busy, was);
    return rc == 0;
}
