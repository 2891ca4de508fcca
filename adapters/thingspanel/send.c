/*
 * Batches on their way to the platform. A batch is published at once, in order; it is delivered when the
 * broker has acknowledged all of it. What was acknowledged in a row when the connection was lost is not
 * published again.
 */
#include "inside.h"
#include "wrap.h"

#include <string.h>

#include "base/error.h"
#include "data/member.h"

/* One batch and what is made of it. */
struct way {
    struct tp_target *target;
    struct tp_pack pack;
    struct tpc_id acked; /* last message of those acknowledged in a row, of a batch that failed */
    bool busy;           /* under the instance's lock; changes to true on forward's thread alone */
    uint64_t ticket;
    uint64_t passed, gone; /* what is counted once the batch is through */

    pthread_mutex_t lock; /* over those below: no publish is told before all are queued */
    uint32_t next;        /* part whose end comes next if all goes well */
    uint32_t left;        /* that are not told */
    bool broken;          /* one was not acknowledged */
    struct tpc_error err; /* code 0 = none failed, and all were queued */
};

struct tp_target {
    struct tp *s;
    bool status;
    struct way ways[TP_IN_FLIGHT];
};

int tp_target_make(struct tp *s, const struct tpc_value *cfg, struct tp_target **ret)
{
    const struct tpc_allocator *a = s->host->allocator;
    struct tp_target *t = a->resize(a->user, NULL, 0, sizeof(*t));
    if (t == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
    }
    memset(t, 0, sizeof(*t));
    t->s = s;
    t->status = tpi_member_bool(cfg, "status", true);
    for (uint32_t i = 0; i < TP_IN_FLIGHT; i++) {
        struct way *w = &t->ways[i];
        w->target = t;
        pthread_mutex_init(&w->lock, NULL);
        tp_pack_init(&w->pack, a);
    }
    *ret = t;
    return 0;
}

void tp_target_free(struct tp_target *t)
{
    const struct tpc_allocator *a = t->s->host->allocator;
    for (uint32_t i = 0; i < TP_IN_FLIGHT; i++) {
        tp_pack_fini(&t->ways[i].pack);
        pthread_mutex_destroy(&t->ways[i].lock);
    }
    a->resize(a->user, t, sizeof(*t), 0);
}

/* ---- what of a batch is published ---- */

static bool is_ours(const struct tp *s, const struct tpc_msg *m)
{
    if (m->device.len == 0 ||
        (m->tenant.len > 0 && tpc_str_equal(m->tenant, s->config.tenant) == 0)) {
        return false;
    }
    enum tp_known known =
        s->directory != NULL ? s->directory->know(s->directory_self, m->device) : TP_UNKNOWN;
    /* After a restart the log may speak of devices that the platform has not told of yet. */
    return known == TP_KNOWN ||
           (known == TP_UNKNOWN && tpc_str_equal(m->product, tpc_str_from(s->identifier)) != 0);
}

/* Behind the last message that was acknowledged when the batch, or one that begins as it does, came
 * before. */
static uint32_t resume(const struct way *w, const struct tpc_batch *batch)
{
    static const struct tpc_id none;
    for (uint32_t i = 0; memcmp(&w->acked, &none, sizeof(none)) != 0 && i < batch->count; i++) {
        if (memcmp(&tpc_batch_msg(batch, i)->id, &w->acked, sizeof(none)) == 0) {
            return i + 1;
        }
    }
    return 0;
}

static int make(struct way *w, const struct tpc_batch *batch, struct tpc_error *err)
{
    struct tp *s = w->target->s;
    int rc = 0;
    w->passed = 0;
    w->gone = batch->gap_to > batch->gap_from ? batch->gap_to - batch->gap_from : 0;
    tp_pack_clear(&w->pack);
    for (uint32_t i = resume(w, batch); rc == 0 && i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        uint32_t parts = 0;
        bool status = m->kind == TPC_MSG_PRESENCE;
        if ((!status || w->target->status) && is_ours(s, m)) {
            rc = tp_pack_message(&w->pack, m, err, &parts);
        }
        w->passed += rc == 0 && parts == 0 && tp_pack_takes(m->kind);
        if (parts > 0 && status) {
            pthread_mutex_lock(&s->lock);
            bool kept = tp_status_note(s, m->device, tpi_member_bool(&m->params, "online", false));
            pthread_mutex_unlock(&s->lock);
            if (!kept) {
                s->host->count(s->ctx, "status_not_kept", 1);
            }
        }
    }
    return rc;
}

/* ---- the end of a batch ---- */

static void release(struct way *w)
{
    struct tp *s = w->target->s;
    pthread_mutex_lock(&s->lock);
    w->busy = false;
    pthread_mutex_unlock(&s->lock);
}

static void no_more(struct tp *s)
{
    pthread_mutex_lock(&s->lock);
    if (--s->busy == 0) {
        pthread_cond_broadcast(&s->idle);
    }
    pthread_mutex_unlock(&s->lock);
}

static void count(struct tp *s, const char *metric, uint64_t n)
{
    if (n > 0) {
        s->host->count(s->ctx, metric, n);
    }
}

/* The target may be gone when it returns. */
static void end_batch(struct way *w, const struct tpc_error *err)
{
    struct tp *s = w->target->s;
    uint64_t ticket = w->ticket;
    if (err == NULL) {
        memset(&w->acked, 0, sizeof(w->acked));
        count(s, "passed_over", w->passed);
        count(s, "gone_from_log", w->gone);
    } else {
        s->host->count(s->ctx,
                       err->code == TPC_ECANCELED                      ? "canceled"
                       : tpc_error_class(err->code) == TPC_CLASS_RETRY ? "failed"
                                                                       : "denied",
                       1);
    }
    release(w);
    s->host->sent(s->ctx, ticket, err);
    no_more(s);
}

/* Publishes end in their order, unless the connection is lost. */
static void on_published(void *user, const struct tpc_error *err)
{
    struct way *w = user;
    struct tp *s = w->target->s;
    struct tpc_error own;
    uint32_t delivered = 0;
    pthread_mutex_lock(&w->lock);
    if (err != NULL && !w->broken) {
        w->broken = true;
        w->err = *err;
        if (err->code == TPC_EOFFLINE) {
            pthread_mutex_lock(&s->lock);
            w->err.code = s->stopping ? TPC_ECANCELED : TPC_EOFFLINE;
            pthread_mutex_unlock(&s->lock);
        }
    } else if (err == NULL && !w->broken && w->next < tp_pack_count(&w->pack)) {
        const struct tp_part *p = tp_pack_part(&w->pack, w->next++);
        if (p->last) {
            w->acked = p->id;
            delivered = 1;
        }
    }
    bool over = --w->left == 0;
    own = w->err;
    pthread_mutex_unlock(&w->lock);
    count(s, "delivered", delivered);
    if (over) {
        end_batch(w, own.code != 0 ? &own : NULL);
    }
}

static int publish(const struct way *w, const struct tp_part *p)
{
    struct tpc_str topic = { (const char *) w->pack.said.ptr + p->topic, p->topic_len };
    struct tpc_bytes payload = { w->pack.said.ptr + p->payload, p->payload_len };
    void *user = (void *) (uintptr_t) w;
    return mqtt_client_publish(w->target->s->client, topic, payload, 1, false, on_published, user);
}

/* Codes of a send. */
static int submit(struct way *w)
{
    uint32_t count = tp_pack_count(&w->pack), done = 0;
    int rc = 0;
    pthread_mutex_lock(&w->lock);
    w->next = 0;
    w->broken = false;
    memset(&w->err, 0, sizeof(w->err));
    while (done < count && (rc = publish(w, tp_pack_part(&w->pack, done))) == 0) {
        done++;
    }
    w->left = done;
    if (rc != 0) {
        tpi_error_set(&w->err, rc, "thingspanel", "%s",
                      rc == TPC_EOFFLINE ? "no connection to the broker"
                      : rc == TPC_EINVAL ? "the topic is none to publish to"
                                         : "the publish does not fit into the queue");
    }
    pthread_mutex_unlock(&w->lock);
    return done > 0 ? 0 : rc;
}

/* ---- the sink's send ---- */

/* A free one: that which the batch was with before, if it comes again, so that nothing is published
 * twice. Under the instance's lock. */
static struct way *choose(struct tp_target *t, const struct tpc_batch *batch)
{
    static const struct tpc_id none;
    struct way *found = NULL;
    bool clean = false;
    for (uint32_t i = 0; i < TP_IN_FLIGHT; i++) {
        struct way *w = &t->ways[i];
        if (w->busy) {
            continue;
        }
        if (resume(w, batch) > 0) {
            return w;
        }
        bool fresh = memcmp(&w->acked, &none, sizeof(none)) == 0;
        if (found == NULL || (fresh && !clean)) {
            found = w;
            clean = fresh;
        }
    }
    return found;
}

static int not_taken(struct way *w, int code, const char *text)
{
    struct tp *s = w->target->s;
    release(w);
    no_more(s);
    return s->host->fail(s->ctx, code, "%s", text);
}

int tp_send(struct tp_target *t, const struct tpc_batch *batch, uint64_t ticket)
{
    struct tp *s = t->s;
    struct tpc_error err = { .size = sizeof(err) };
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping, up = s->up;
    struct way *w = stopping || !up ? NULL : choose(t, batch);
    if (w != NULL) {
        w->busy = true;
        w->pack.payload_max = s->payload_max;
        s->busy++;
    }
    pthread_mutex_unlock(&s->lock);
    if (w == NULL) {
        return stopping ? s->host->fail(s->ctx, TPC_ECANCELED, "the sink does not run")
               : !up    ? s->host->fail(s->ctx, TPC_EOFFLINE, "no connection to the broker")
                        : s->host->fail(s->ctx, TPC_EAGAIN, "too many batches at a time");
    }
    w->ticket = ticket;
    int rc = make(w, batch, &err);
    if (rc != 0) {
        return not_taken(w, rc, err.text);
    }
    if (tp_pack_count(&w->pack) == 0) {
        end_batch(w, NULL);
        return 0;
    }
    rc = submit(w);
    return rc == 0 ? 0
                   : not_taken(w, rc,
                               rc == TPC_EOFFLINE ? "no connection to the broker"
                               : rc == TPC_EINVAL ? "the topic is none to publish to"
                                                  : "the publishes do not fit into the queue");
}
