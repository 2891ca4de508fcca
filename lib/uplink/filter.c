/* Report strategies on the way up: what of a message goes on. */
#include <string.h>

#include "uplink/private.h"

static bool filters(const struct tpi_report *rule)
{
    return rule != NULL && rule->mode > TPI_REPORT_RECEIVED;
}

const struct tpi_report *up_report_level(const struct tpi_uplink *u, const struct tpc_device *d,
                                         const struct tpi_report *part)
{
    const struct tpi_report *own = tpi_device_report(d);
    return own != NULL                                  ? own
           : d->product->report.mode != TPI_REPORT_NONE ? &d->product->report
           : part != NULL                               ? part
                                                        : &u->host.report;
}

const struct tpi_report *up_report_rule(const struct tpi_model *m, uint32_t index,
                                        const struct tpi_report *level)
{
    const struct tpi_report *own =
        index != TPI_MODEL_NO_INDEX ? tpi_model_property(m, index)->report : NULL;
    return own != NULL ? own : level;
}

/* Whether the point at `at` goes on. *d: NULL until a state is needed. */
static bool goes(struct tpi_uplink *u, const struct tpi_up_msg *um, uint32_t at,
                 const struct tpi_report *level, struct tpi_report_device **d)
{
    const struct tpi_up_input *in = &u->inputs[um->input];
    const struct tpc_point *point = &u->points[at];
    struct tpi_report_point p = { .point = point,
                                  .rule = up_report_rule(u->product->model, u->indexes[at], level),
                                  .unix_ms = point->unix_ms != 0 ? point->unix_ms : um->msg.unix_ms,
                                  .received_unix_ms = um->msg.received_unix_ms,
                                  .now_ms = u->now_ms,
                                  .attributes = um->msg.kind == TPC_MSG_ATTRIBUTES };
    if (!filters(p.rule)) {
        return true;
    }
    if (*d == NULL) {
        *d = tpi_reports_device(&u->reports, um->device->id, u->product->id, u->now_ms);
        if (*d == NULL) {
            u->reports.untracked++;
            return true;
        }
        (*d)->part = in->report;
        (*d)->hint = 0;
    }
    return tpi_report_goes(&u->reports, *d, &p);
}

static bool is_free(const struct tpi_uplink *u, const struct tpi_up_msg *um)
{
    const struct tpi_up_input *in = &u->inputs[um->input];
    return u->host.wheel == NULL || in->type == TPI_UP_VALUES || in->type == TPI_UP_REPEAT ||
           um->got || (um->msg.flags & TPC_MSG_RETAINED) != 0 ||
           (um->msg.kind != TPC_MSG_TELEMETRY && um->msg.kind != TPC_MSG_ATTRIBUTES);
}

void up_filter(struct tpi_uplink *u, struct tpi_up_msg *um)
{
    const struct tpi_report *level = up_report_level(u, um->device, u->inputs[um->input].report);
    struct tpi_report_device *d = NULL;
    uint32_t to = um->first_point;
    if ((!filters(level) && tpi_model_report_count(u->product->model) == 0) || is_free(u, um)) {
        return;
    }
    for (uint32_t i = um->first_point; i < u->point_count; i++) {
        if (goes(u, um, i, level, &d)) {
            if (to != i) {
                u->points[to] = u->points[i];
                u->indexes[to] = u->indexes[i];
            }
            to++;
        }
    }
    u->points_held += u->point_count - to;
    u->point_count = to;
    um->msg.point_count = to - um->first_point;
}

bool up_quiet(struct tpi_uplink *u)
{
    if (u->quiet_count == u->quiet_cap) {
        void *p = u->quiet;
        bool ok = up_grow(u, &p, &u->quiet_cap, sizeof(u->quiet[0]));
        u->quiet = p;
        if (!ok) {
            return false;
        }
    }
    u->quiet[u->quiet_count++] = u->msgs[u->msg_count];
    return true;
}
