/* What comes from the server: noted on paho's thread, worked off by a thread that may wait. */
#include "inside.h"

#include <string.h>

#include "base/error.h"

enum { REFUSED_LOG = 1000 };

void tb_on_message(void *user, const struct mqtt_incoming *m)
{
    struct tb *s = user;
    const struct tpc_allocator *a = s->host->allocator;
    struct mqtt_note *n = m->retained ? NULL : mqtt_note_make(a, m);
    pthread_mutex_lock(&s->lock);
    s->totals.received++;
    bool stopping = s->stopping;
    bool kept =
        n != NULL && !stopping && mqtt_notes_put(&s->down, n, s->config.down_max, TB_DOWN_BYTES);
    if (kept) {
        pthread_cond_signal(&s->came);
    }
    pthread_mutex_unlock(&s->lock);
    if (!kept) {
        mqtt_note_free(a, n);
    }
    if (!kept && !stopping && !m->retained) {
        s->host->count(s->ctx, "down_dropped", 1);
    }
}

static void reply_to_own(struct tb *s, const struct tb_down *d)
{
    if (d->id != 1) {
        return;
    }
    struct tb_session_limits limits;
    bool said = tb_down_limits(&d->values, &limits) == 0;
    pthread_mutex_lock(&s->lock);
    if (said || !s->limits_known) { /* else what it said before holds */
        tb_session_ready(s, said ? &limits : NULL);
    }
    pthread_mutex_unlock(&s->lock);
}

static void dropped(struct tb *s, const struct tb_down *d)
{
    pthread_mutex_lock(&s->lock);
    struct tb_device *device = tb_devices_get(&s->devices, tb_devices_key(&s->devices, d->device));
    if (device != NULL) {
        device->epoch = 0;
    }
    if (d->code == 150) {
        tb_session_slow_down(s);
    }
    pthread_mutex_unlock(&s->lock);
    s->host->log(s->ctx, TPC_LOG_WARN, "the server disconnects device \"%.*s\"%s",
                 (int) d->device.len, d->device.ptr, d->code == 150 ? ": over its rate limit" : "");
}

static void work(struct tb *s, const struct tb_down *d)
{
    struct tpc_str key = d->device;
    switch (d->kind) {
    case TB_DOWN_RPC:
        tb_rpc(s, d, false);
        break;
    case TB_DOWN_OWN_RPC:
        tb_own_rpc(s, d);
        break;
    case TB_DOWN_ATTRIBUTES:
        pthread_mutex_lock(&s->lock);
        key = tb_devices_key(&s->devices, d->device);
        pthread_mutex_unlock(&s->lock);
        tb_set(s, key, &d->values);
        break;
    case TB_DOWN_OWN_ATTRIBUTES:
        tb_own_attributes(s, &d->values);
        break;
    case TB_DOWN_ATTRIBUTES_RESPONSE:
    case TB_DOWN_OWN_RESPONSE:
        tb_ask_answer(s, d);
        break;
    case TB_DOWN_DISCONNECT:
        dropped(s, d);
        break;
    case TB_DOWN_OWN_RPC_REPLY:
        reply_to_own(s, d);
        break;
    case TB_DOWN_PROVISION:
    default:
        tb_state_provisioned(s, &d->values);
        break;
    }
}

static void read_note(struct tb *s, const struct mqtt_note *n, struct tpc_arena *arena)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tb_down d;
    struct tpc_str topic = mqtt_note_topic(n);
    int rc = tb_down_parse(topic, mqtt_note_payload(n), arena, &err, &d);
    if (rc == 0) {
        work(s, &d);
    } else {
        s->host->count(s->ctx, "down_refused", 1);
        if (s->refused++ % REFUSED_LOG != 0) {
            return; /* one that goes wrong does so each time */
        }
        s->host->log(s->ctx, TPC_LOG_WARN, "%.*s: %s", (int) (topic.len < 100 ? topic.len : 100),
                     topic.ptr, rc == TPC_ENOENT ? "not a topic of ThingsBoard" : err.text);
    }
}

void *tb_worker(void *user)
{
    struct tb *s = user;
    struct tpc_arena *arena = NULL;
    if (tpc_arena_create(s->host->allocator, 0, &arena) != 0) {
        s->host->log(s->ctx, TPC_LOG_ERROR, "no memory: what the server says is not heard");
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        struct mqtt_note *n = mqtt_notes_take(&s->down);
        if (n == NULL) {
            pthread_cond_wait(&s->came, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        read_note(s, n, arena);
        mqtt_note_free(s->host->allocator, n);
        tpc_arena_reset(arena);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    tpc_arena_destroy(arena);
    return NULL;
}
