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

static struct tpi_report_point point_of(const struct tpi_uplink *u, const struct tpi_up_msg *um,
                                        uint32_t at)
{
    const struct tpc_point *point = &u->points[at];
    return (struct tpi_report_point){ .point = point,
                                      .unix_ms =
                                          point->unix_ms != 0 ? point->unix_ms : um->msg.unix_ms,
                                      .received_unix_ms = um->msg.received_unix_ms,
                                      .now_ms = u->now_ms,
                                      .attributes = um->msg.kind == TPC_MSG_ATTRIBUTES };
}

/* Whether the point at `at` goes on. *d: the device's state, NULL until one is needed. */
static bool goes(struct tpi_uplink *u, const struct tpi_up_msg *um, uint32_t at,
                 const struct tpi_report *level, struct tpi_report_device **d)
{
    struct tpi_report_point p = point_of(u, um, at);
    p.rule = up_report_rule(u->product->model, u->indexes[at], level);
    if (!filters(p.rule)) {
        if (*d != NULL) {
            tpi_report_passed(*d, &p);
        }
        return true;
    }
    if (*d == NULL) {
        *d = tpi_reports_device(&u->reports, um->device->id, u->product->id, u->now_ms);
        if (*d == NULL) {
            u->reports.untracked++;
            return true;
        }
    }
    (*d)->part = u->inputs[um->input].report;
    return tpi_report_goes(&u->reports, *d, &p);
}

/* Messages that no strategy holds. */
static bool is_free(const struct tpi_uplink *u, const struct tpi_up_msg *um)
{
    const struct tpi_up_input *in = &u->inputs[um->input];
    return in->type == TPI_UP_VALUES || um->got || (um->msg.flags & TPC_MSG_RETAINED) != 0;
}

void up_filter(struct tpi_uplink *u, struct tpi_up_msg *um)
{
    const struct tpi_report *level = up_report_level(u, um->device, u->inputs[um->input].report);
    bool none =
        (!filters(level) && tpi_model_report_count(u->product->model) == 0) || is_free(u, um);
    uint32_t to = um->first_point;
    if (u->host.wheel == NULL || u->inputs[um->input].type == TPI_UP_REPEAT) {
        return;
    }
    struct tpi_report_device *d = tpi_reports_find(&u->reports, um->device->id, u->product->id);
    if (d != NULL) {
        d->hint = 0;
    }
    for (uint32_t i = to; none && d != NULL && i < u->point_count; i++) {
        struct tpi_report_point p = point_of(u, um, i);
        tpi_report_passed(d, &p);
    }
    if (none) {
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
