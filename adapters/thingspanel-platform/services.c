/* Services that are heard, and what others ask of them. */
#include "inside.h"

#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "data/member.h"

/* Notes a sign of life. Returns 0 or TPC_ENOMEM. */
static int heard(struct panel *p, struct tpc_str key, bool *ret_new)
{
    uint64_t now = panel_mono_ms(p);
    int rc = 0;
    pthread_mutex_lock(&p->lock);
    struct panel_service *s = tpi_map_get(&p->services, key.ptr, key.len);
    if (s == NULL) {
        s = tpi_alloc_zero(p->host->allocator, sizeof(*s));
        rc = s == NULL ? TPC_ENOMEM : tpi_map_put(&p->services, key.ptr, key.len, s, NULL);
        if (rc != 0) {
            tpi_free(p->host->allocator, s, sizeof(*s));
            s = NULL;
        } else {
            memcpy(s->key, key.ptr, key.len);
        }
    }
    if (s != NULL) {
        *ret_new = !s->alive;
        s->alive = true;
        s->beat_ms = now > 0 ? now : 1;
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void panel_heartbeat(struct panel *p, struct panel_job *job)
{
    static const struct tpc_value empty = { TPC_MAP, 0, 0, { .members = NULL } };
    struct tpc_str key = tpi_member_text(&job->in, "service_identifier");
    struct panel_doc d;
    bool fresh = false;
    if (key.len == 0) {
        panel_fail(job, PANEL_PARAMETER, "service_identifier");
        return;
    }
    int rc = panel_get(p, job->arena, "service", key, &d);
    rc = rc != 0 ? rc : heard(p, key, &fresh);
    if (rc != 0) {
        panel_fail(job, rc == TPC_ENOENT ? PANEL_DATABASE : PANEL_INTERNAL,
                   rc == TPC_ENOENT ? "record not found" : NULL);
        return;
    }
    p->host->count(p->ctx, "heartbeats", 1);
    if (fresh) {
        p->host->log(p->ctx, TPC_LOG_INFO, "service %.*s is alive", (int) key.len, key.ptr);
    }
    job->data = empty;
}

void panel_services_check(struct panel *p)
{
    char silent[PANEL_KEY_BYTES + 1] = "";
    uint64_t now = panel_mono_ms(p);
    do {
        size_t iter = 0;
        void *value;
        silent[0] = '\0';
        pthread_mutex_lock(&p->lock);
        while (silent[0] == '\0' && tpi_map_next(&p->services, &iter, NULL, &value)) {
            struct panel_service *s = value;
            if (s->alive && now - s->beat_ms >= p->alive_ms) {
                s->alive = false;
                (void) tpi_text_copy(silent, sizeof(silent), s->key);
            }
        }
        pthread_mutex_unlock(&p->lock);
        if (silent[0] != '\0') {
            p->host->log(p->ctx, TPC_LOG_WARN, "service %s is silent for %u s", silent,
                         (unsigned) (p->alive_ms / 1000));
        }
    } while (silent[0] != '\0');
}

void panel_services_tell(struct panel *p, tpc_tell_fn *fn, void *user)
{
    size_t iter = 0;
    void *value;
    pthread_mutex_lock(&p->lock);
    while (tpi_map_next(&p->services, &iter, NULL, &value)) {
        const struct panel_service *s = value;
        const struct tpc_label label = { TPC_STR("service"), tpc_str_from(s->key) };
        const struct tpc_tell t = { .size = sizeof(t),
                                    .gauge = 1,
                                    .metric = "service_alive",
                                    .help = "1 = the service gave a sign of life within the time",
                                    .labels = &label,
                                    .label_count = 1,
                                    .value = s->alive };
        fn(user, &t);
    }
    pthread_mutex_unlock(&p->lock);
}

void panel_services_fini(struct panel *p)
{
    size_t iter = 0;
    void *value;
    while (tpi_map_next(&p->services, &iter, NULL, &value)) {
        tpi_free(p->host->allocator, value, sizeof(struct panel_service));
    }
    tpi_map_fini(&p->services);
}

uint32_t panel_address(struct panel *p, struct tpc_arena *arena, struct tpc_str service,
                       struct tpc_str *ret)
{
    struct panel_doc d;
    int rc = panel_get(p, arena, "service", service, &d);
    if (rc != 0) {
        return rc == TPC_ENOENT ? PANEL_DATABASE : PANEL_INTERNAL;
    }
    *ret = tpi_member_text(&d.doc, "http_address");
    return ret->len > 0 ? PANEL_OK : PANEL_NO_ADDRESS;
}
