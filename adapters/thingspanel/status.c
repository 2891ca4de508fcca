/* Whether devices are online: what was told last, and telling it again on a new connection. */
#include "inside.h"

#include <stdio.h>
#include <string.h>

struct tp_status {
    struct tp_status *next;
    bool online;
    size_t len;
    char device[]; /* with a NUL */
};

bool tp_status_note(struct tp *s, struct tpc_str device, bool online)
{
    const struct tpc_allocator *a = s->host->allocator;
    struct tp_status *t = tpi_map_get(&s->status, device.ptr, device.len);
    if (t == NULL) {
        size_t size = sizeof(*t) + device.len + 1;
        if (tpi_map_count(&s->status) >= s->config.devices_max ||
            (t = a->resize(a->user, NULL, 0, size)) == NULL) {
            return false;
        }
        t->next = NULL;
        t->len = device.len;
        memcpy(t->device, device.ptr, device.len);
        t->device[device.len] = '\0';
        if (tpi_map_put(&s->status, device.ptr, device.len, t, NULL) != 0) {
            a->resize(a->user, t, size, 0);
            return false;
        }
        *(s->last_status != NULL ? &s->last_status->next : &s->statuses) = t;
        s->last_status = t;
    }
    t->online = online;
    return true;
}

void tp_status_begin(struct tp *s)
{
    s->again = s->statuses;
}

static void on_told(void *user, const struct tpc_error *err)
{
    struct tp *s = user;
    pthread_mutex_lock(&s->lock);
    s->status_away--;
    pthread_cond_signal(&s->came);
    pthread_mutex_unlock(&s->lock);
    /* With a connection that was lost all of them go again. */
    if (err != NULL && tpc_error_class(err->code) != TPC_CLASS_RETRY) {
        s->host->count(s->ctx, "status_refused", 1);
    }
}

/* The lock is held from reading the state to queueing it: what a batch says later is queued later. */
static int tell(struct tp *s, const struct tp_status *t)
{
    char topic[sizeof("devices/status/") + TP_KEY_BYTES];
    struct tpc_bytes payload = { (const uint8_t *) (t->online ? "1" : "0"), 1 };
    int n = snprintf(topic, sizeof(topic), "devices/status/%s", t->device);
    if (n < 0 || (size_t) n >= sizeof(topic)) {
        return 0;
    }
    int rc = mqtt_client_publish(s->client, (struct tpc_str){ topic, (size_t) n }, payload, 1,
                                 false, on_told, s);
    s->status_away += rc == 0;
    return rc;
}

bool tp_status_step(struct tp *s)
{
    struct tp_status *t = s->again;
    if (t == NULL || !s->up || s->stopping || s->status_away >= TP_AWAY) {
        return false;
    }
    if (s->directory != NULL) {
        struct tpc_str device = { t->device, t->len };
        pthread_mutex_unlock(&s->lock);
        enum tp_known known = s->directory->know(s->directory_self, device);
        pthread_mutex_lock(&s->lock);
        if (s->again != t) {
            return true; /* another connection came meanwhile */
        }
        if (known == TP_GONE) {
            s->again = t->next;
            return true;
        }
    }
    int rc = s->up && !s->stopping ? tell(s, t) : TPC_EOFFLINE;
    if (rc == TPC_EAGAIN) {
        return false;
    }
    s->again = rc == TPC_EOFFLINE ? NULL : t->next;
    return true;
}

void tp_status_fini(struct tp *s)
{
    const struct tpc_allocator *a = s->host->allocator;
    for (struct tp_status *t = s->statuses, *next; t != NULL; t = next) {
        next = t->next;
        a->resize(a->user, t, sizeof(*t) + t->len + 1, 0);
    }
    tpi_map_fini(&s->status);
    tpi_map_init(&s->status, a);
    s->statuses = s->last_status = s->again = NULL;
    s->status_away = 0;
}
