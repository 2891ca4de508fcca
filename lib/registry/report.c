/* Report strategies of devices. Most have none, the others few different ones: each is kept once, a
 * device has its number. */
#include <string.h>

#include "base/alloc.h"
#include "registry/inside.h"

enum { FIRST_REPORTS = 8, MAX_REPORTS = 4096 };

int tpi_report_read_in(const struct tpi_change *change, struct tpi_report *ret,
                       struct tpc_error *err)
{
    int rc =
        tpi_report_parse(tpc_value_get(change->doc, TPC_STR("report")), change->arena, err, ret);
    if (rc != 0) {
        tpi_error_at(err, "report");
    }
    return rc;
}

int tpi_report_number(struct tpi_registry *r, const struct tpi_report *report,
                      struct tpc_error *err, uint16_t *ret)
{
    uint32_t i = 0;
    *ret = 0;
    if (report->mode == TPI_REPORT_NONE) {
        return 0;
    }
    /* Changes run one at a time, and nobody else writes. */
    while (i < r->report_count && memcmp(&r->reports[i], report, sizeof(*report)) != 0) {
        i++;
    }
    if (i == MAX_REPORTS) {
        return tpi_error_set(err, TPC_ETOOBIG, tpi_registry_origin,
                             "devices have %d different report strategies already", MAX_REPORTS);
    }
    if (i == r->report_cap) {
        uint32_t cap = r->report_cap == 0 ? FIRST_REPORTS : 2 * r->report_cap;
        pthread_rwlock_wrlock(&r->lock);
        void *p = tpi_resize(r->env->alloc, r->reports, r->report_cap * sizeof(r->reports[0]),
                             cap * sizeof(r->reports[0]));
        if (p != NULL) {
            r->reports = p;
            r->report_cap = cap;
        }
        pthread_rwlock_unlock(&r->lock);
        if (p == NULL) {
            return tpi_registry_no_memory(err);
        }
    }
    if (i == r->report_count) {
        r->reports[r->report_count++] = *report; /* no device has this number yet */
    }
    *ret = (uint16_t) (i + 1);
    return 0;
}

void tpi_report_fini(struct tpi_registry *r)
{
    tpi_free(r->env->alloc, r->reports, r->report_cap * sizeof(r->reports[0]));
}

const struct tpi_report *tpi_device_report(const struct tpc_device *d)
{
    return d->report == 0 ? NULL : &d->tenant->registry->reports[d->report - 1];
}
