/* What comes from the platform: noted on paho's thread, worked off by a thread that may wait. */
#include "down.h"
#include "inside.h"

#include <string.h>
#include <time.h>

#include "base/error.h"

enum { REFUSED_LOG = 1000, PAUSE_MS = 50 };

struct tp_note {
    struct tp_note *next;
    size_t topic_len, payload_len;
    char bytes[];
};

static void free_note(const struct tp *s, struct tp_note *n)
{
    const struct tpc_allocator *a = s->host->allocator;
    a->resize(a->user, n, sizeof(*n) + n->topic_len + n->payload_len, 0);
}

void tp_on_message(void *user, const struct mqtt_incoming *m)
{
    struct tp *s = user;
    const struct tpc_allocator *a = s->host->allocator;
    size_t size = sizeof(struct tp_note) + m->topic.len + m->payload.len;
    /* None of the topics is retained: an old command is not carried out. */
    struct tp_note *n = m->retained ? NULL : a->resize(a->user, NULL, 0, size);
    bool kept = false;
    if (n != NULL) {
        n->next = NULL;
        n->topic_len = m->topic.len;
        n->payload_len = m->payload.len;
        memcpy(n->bytes, m->topic.ptr, m->topic.len);
        if (m->payload.len > 0) {
            memcpy(n->bytes + m->topic.len, m->payload.ptr, m->payload.len);
        }
    }
    pthread_mutex_lock(&s->lock);
    if (n != NULL && !s->stopping && s->down_count < s->config.down_max &&
        s->down_bytes + size <= TP_DOWN_BYTES + (s->down_count == 0 ? size : 0)) {
        *(s->last_down != NULL ? &s->last_down->next : &s->down) = n;
        s->last_down = n;
        s->down_count++;
        s->down_bytes += size;
        kept = true;
        pthread_cond_signal(&s->came);
    }
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    if (!kept && n != NULL) {
        free_note(s, n);
    }
    if (!kept && !stopping && !m->retained) {
        s->host->count(s->ctx, "down_dropped", 1);
    }
}

static struct tp_note *take_note(struct tp *s)
{
    struct tp_note *n = s->down;
    if (n != NULL) {
        s->down = n->next;
        s->last_down = s->down != NULL ? s->last_down : NULL;
        s->down_count--;
        s->down_bytes -= sizeof(*n) + n->topic_len + n->payload_len;
    }
    return n;
}

void tp_drop_notes(struct tp *s)
{
    struct tp_note *n;
    while ((n = take_note(s)) != NULL) {
        free_note(s, n);
    }
}

static void read_note(struct tp *s, const struct tp_note *n, struct tpc_arena *arena)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tp_down d;
    struct tpc_str topic = { n->bytes, n->topic_len };
    struct tpc_bytes payload = { (const uint8_t *) n->bytes + n->topic_len, n->payload_len };
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
        struct tp_note *n = take_note(s);
        if (n != NULL) {
            pthread_mutex_unlock(&s->lock);
            read_note(s, n, arena);
            free_note(s, n);
            tpc_arena_reset(arena);
            pthread_mutex_lock(&s->lock);
        } else if (!tp_answers_step(s) && !tp_status_step(s) && !s->stopping && s->down == NULL) {
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
