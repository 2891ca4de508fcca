/* What comes from the platform: noted on paho's thread, worked off by a thread that may wait. */
#include "down.h"
#include "inside.h"

#include <time.h>

#include "base/error.h"

enum { REFUSED_LOG = 1000, PAUSE_MS = 50 };

void tp_on_message(void *user, const struct mqtt_incoming *m)
{
    struct tp *s = user;
    const struct tpc_allocator *a = s->host->allocator;
    /* None of the topics is retained: an old command is not carried out. */
    struct mqtt_note *n = m->retained ? NULL : mqtt_note_make(a, m);
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    bool kept =
        n != NULL && !stopping && mqtt_notes_put(&s->down, n, s->config.down_max, TP_DOWN_BYTES);
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

static void read_note(struct tp *s, const struct mqtt_note *n, struct tpc_arena *arena)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tp_down d;
    struct tpc_str topic = mqtt_note_topic(n);
    struct tpc_bytes payload = mqtt_note_payload(n);
    int rc = tp_down_topic(tpc_str_from(s->prefix), topic, &d);
    if (rc == 0) {
        rc = tp_down_read(payload, arena, &err, &d);
        if (rc == 0) {
            tp_call(s, &d, topic, payload);
            return;
        }
        tp_call_refuse(s, &d, "payload", tpc_str_from(err.text));
    }
    s->host->count(s->ctx, "down_refused", 1);
    if (s->refused++ % REFUSED_LOG == 0) { /* one that goes wrong does so each time */
        s->host->log(s->ctx, TPC_LOG_WARN, "%.*s: %s", (int) (topic.len < 200 ? topic.len : 200),
                     topic.ptr, rc == TPC_ENOENT ? "not a topic of a service" : err.text);
    }
}

/* Under the lock, which it leaves. */
static void wait_a_while(struct tp *s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PAUSE_MS * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&s->came, &s->lock, &until);
}

void *tp_worker(void *user)
{
    struct tp *s = user;
    struct tpc_arena *arena = NULL;
    if (tpc_arena_create(s->host->allocator, 0, &arena) != 0) {
        s->host->log(s->ctx, TPC_LOG_ERROR, "no memory: what the platform says is not heard");
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        struct mqtt_note *n = mqtt_notes_take(&s->down);
        if (n != NULL) {
            pthread_mutex_unlock(&s->lock);
            read_note(s, n, arena);
            mqtt_note_free(s->host->allocator, n);
            tpc_arena_reset(arena);
            pthread_mutex_lock(&s->lock);
        } else if (!tp_answers_step(s) && !tp_status_step(s) && !s->stopping &&
                   s->down.count == 0) {
            if (s->up && (s->answers != NULL || s->again != NULL)) {
                wait_a_while(s); /* the queue is full: nobody says when it is not */
            } else {
                pthread_cond_wait(&s->came, &s->lock);
            }
        }
    }
    pthread_mutex_unlock(&s->lock);
    tpc_arena_destroy(arena);
    return NULL;
}
