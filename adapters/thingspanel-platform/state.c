/* How the platform is: contract thingspanel 3.2 item 8 and 6.9. */
#include "inside.h"

#include <string.h>

#include "../text/utc.h"

#include "data/member.h"

enum { FAILURES = 5 };

void panel_health(struct panel *p, struct panel_job *job)
{
    struct panel_map m;
    (void) p;
    panel_map_begin(&m, job->arena, 1);
    panel_map_put(&m, "status", panel_text(TPC_STR("ok")));
    job->data = panel_map_end(&m);
}

void panel_systime(struct panel *p, struct panel_job *job)
{
    struct panel_map m;
    panel_map_begin(&m, job->arena, 1);
    panel_map_put(&m, "systime", panel_int(p->host->clock->unix_ms(p->host->clock->user) / 1000));
    job->data = panel_map_end(&m);
}

void panel_metrics(struct panel *p, struct panel_job *job)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    /* It may grow between the two. */
    (void) p->api->core_prometheus(p->core, &buf);
    buf.cap = buf.need + buf.need / 4 + 4096;
    buf.ptr = tpc_arena_take(job->arena, buf.cap);
    if (buf.ptr == NULL || p->api->core_prometheus(p->core, &buf) != 0) {
        panel_fail(job, PANEL_INTERNAL, NULL);
        return;
    }
    job->plain = (struct tpc_bytes){ buf.ptr, buf.need };
}

struct failures {
    struct tpc_arena *arena;
    struct tpc_value items[FAILURES];
    size_t count;
    uint64_t up; /* failures of what came up */
};

static int add_failure(void *user, const struct tpc_why *why)
{
    static const char *const stages[] = { "",          "adapter", "adapter", "processor",
                                          "processor", "storage", "encode",  "publish" };
    struct failures *f = user;
    char time[UTC_RFC3339_BYTES];
    struct panel_map m;
    bool down = why->stage == TPC_WHY_ENCODE || why->stage == TPC_WHY_SEND;
    f->up += down ? 0 : why->times;
    if (f->count == FAILURES || why->stage > TPC_WHY_SEND) {
        return 0;
    }
    utc_rfc3339(why->unix_ms, time);
    panel_map_begin(&m, f->arena, 4);
    panel_map_put(&m, "timestamp", panel_text(panel_copy(f->arena, tpc_str_from(time))));
    panel_map_put(&m, "direction", panel_text(down ? TPC_STR("downlink") : TPC_STR("uplink")));
    panel_map_put(&m, "stage", panel_text(tpc_str_from(stages[why->stage])));
    panel_map_put(&m, "error", panel_text(panel_copy(f->arena, why->reason)));
    f->items[f->count++] = panel_map_end(&m);
    return 0;
}

void panel_diagnostics(struct panel *p, struct panel_job *job)
{
    struct tpc_str key = tpi_member_text(&job->in, "device_id");
    struct tpc_device_info info = { .size = sizeof(info) };
    struct failures *f = tpc_arena_take(job->arena, sizeof(*f));
    struct tpc_device *d;
    struct panel_map m, stats, up;
    if (f == NULL || p->api->device_open(p->core, p->tenant, key, &d) != 0) {
        panel_fail(job, f == NULL ? PANEL_INTERNAL : PANEL_DATABASE, "record not found");
        return;
    }
    (void) p->api->device_info(d, &info);
    (void) p->api->device_unref(d);
    *f = (struct failures){ .arena = job->arena };
    (void) p->api->why(p->core, p->tenant, key, add_failure, f);
    uint64_t total = info.messages + f->up;
    double rate = total > 0 ? 100.0 * (double) info.messages / (double) total : 100.0;
    panel_map_begin(&up, job->arena, 3);
    panel_map_put(&up, "success_rate", (struct tpc_value){ TPC_DOUBLE, 0, 0, { .d = rate } });
    panel_map_put(&up, "total", panel_int((int64_t) total));
    panel_map_put(&up, "success", panel_int((int64_t) info.messages));
    panel_map_begin(&stats, job->arena, 1);
    panel_map_put(&stats, "uplink", panel_map_end(&up));
    panel_map_begin(&m, job->arena, 3);
    panel_map_put(&m, "device_id", panel_text(panel_copy(job->arena, key)));
    panel_map_put(&m, "stats", panel_map_end(&stats));
    panel_map_put(&m, "recent_failures",
                  (struct tpc_value){ TPC_ARRAY, 0, f->count, { .items = f->items } });
    job->data = panel_map_end(&m);
}
