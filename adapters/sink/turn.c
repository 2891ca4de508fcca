#include "turn.h"

#include <string.h>

#include "base/error.h"

enum { GIVEN_MAX = 65536 };

/* ---- what was taken ---- */

/* Ids tell messages apart: one of zeros, which the contract rules out, is never taken for known. */
static bool was_given(const struct turn *t, const struct tpc_id *id)
{
    static const struct tpc_id none;
    if (memcmp(id, &none, sizeof(none)) == 0) {
        return false;
    }
    for (size_t i = 0; i < t->given_count; i++) {
        if (memcmp(&t->given[i], id, sizeof(*id)) == 0) {
            return true;
        }
    }
    return false;
}

/* Without memory the message may be sent twice, with the same id. */
static void mark_given(struct turn *t, const struct tpc_id *id)
{
    const struct tpc_allocator *a = t->all->host->allocator;
    if (t->given_count == t->given_cap && t->given_cap < GIVEN_MAX) {
        size_t cap = t->given_cap == 0 ? 16 : t->given_cap * 2;
        struct tpc_id *p =
            a->resize(a->user, t->given, t->given_cap * sizeof(*p), cap * sizeof(*p));
        if (p != NULL) {
            t->given = p;
            t->given_cap = cap;
        }
    }
    if (t->given_count < t->given_cap) {
        t->given[t->given_count++] = *id;
    }
}

/* The batch is through: its messages do not come again. */
static void forget_batch(struct turn *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->given_count; i++) {
        bool in_batch = false;
        for (uint32_t k = 0; k < t->batch->count && !in_batch; k++) {
            /* Mostly the same order: look at the same place first. */
            uint32_t at = (uint32_t) ((i + k) % t->batch->count);
            in_batch =
                memcmp(&t->given[i], &tpc_batch_msg(t->batch, at)->id, sizeof(t->given[i])) == 0;
        }
        if (!in_batch) {
            t->given[kept++] = t->given[i];
        }
    }
    t->given_count = kept;
}

bool turn_knows(const struct turn *t, const struct tpc_batch *batch)
{
    return batch->count > 0 && was_given(t, &tpc_batch_msg(batch, 0)->id);
}

bool turn_waits(const struct turn *t)
{
    return t->given_count > 0;
}

/* ---- sending ---- */

static void leave(struct turns *s)
{
    pthread_mutex_lock(&s->lock);
    s->busy_count--;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

static void tell(struct turn *t, const struct tpc_error *err)
{
    struct turns *s = t->all;
    if (err == NULL) {
        forget_batch(t);
    }
    uint64_t ticket = t->ticket;
    t->batch = NULL;
    atomic_store(&t->busy, false); /* from here on it may have the next batch */
    s->host->sent(s->ctx, ticket, err);
    leave(s);
}

/* Sends what comes next of the batch. Returns 1 if nothing is left, 0 = on its way, or a code with
 * *err filled. */
static int send_next(struct turn *t, struct tpc_error *err)
{
    struct turns *s = t->all;
    while (!t->whole && t->at < t->batch->count &&
           was_given(t, &tpc_batch_msg(t->batch, t->at)->id)) {
        t->at++;
    }
    if (t->at >= t->batch->count) {
        return 1;
    }
    int rc = s->make(t, t->batch, t->at, t->whole ? t->batch->count : 1, err);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&s->lock);
    rc = s->stopping ? tpi_error_set(err, TPC_ECANCELED, "sink", "the sink does not run")
                     : s->submit(t, err, &t->request);
    if (rc == 0) {
        t->next = s->busy;
        s->busy = t;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void turn_ended(struct turn *t, const struct tpc_error *err)
{
    struct turns *s = t->all;
    struct tpc_error own;
    pthread_mutex_lock(&s->lock);
    struct turn **at = &s->busy;
    while (*at != t) {
        at = &(*at)->next;
    }
    *at = t->next;
    pthread_mutex_unlock(&s->lock);
    if (err != NULL) {
        tell(t, err);
        return;
    }
    uint32_t count = t->whole ? t->batch->count : 1;
    s->host->count(s->ctx, "delivered", count);
    if (!t->whole) {
        mark_given(t, &tpc_batch_msg(t->batch, t->at)->id);
    }
    t->at += count;
    int rc = send_next(t, &own);
    if (rc != 0) {
        tell(t, rc == 1 ? NULL : &own);
    }
}

int turn_send(struct turn *t, const struct tpc_batch *batch, uint64_t ticket)
{
    struct turns *s = t->all;
    struct tpc_error err;
    if (batch->gap_to > batch->gap_from) {
        s->host->count(s->ctx, "passed_over", batch->gap_to - batch->gap_from);
    }
    atomic_store(&t->busy, true);
    t->batch = batch;
    t->at = 0;
    t->ticket = ticket;
    pthread_mutex_lock(&s->lock);
    s->busy_count++;
    pthread_mutex_unlock(&s->lock);
    int rc = send_next(t, &err);
    if (rc == 1) {
        tell(t, NULL);
    } else if (rc < 0) {
        t->batch = NULL;
        atomic_store(&t->busy, false);
        leave(s);
        return s->host->fail(s->ctx, rc, "%s", err.text);
    }
    return 0;
}

/* ---- life ---- */

void turns_init(struct turns *s)
{
    s->stopping = true;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    s->made = true;
}

void turns_start(struct turns *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = false;
    pthread_mutex_unlock(&s->lock);
}

void turns_stop(struct turns *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (struct turn *t = s->busy; t != NULL; t = t->next) {
        s->cancel(t, t->request); /* one that is over will be told in a moment */
    }
    while (s->busy_count > 0) {
        pthread_cond_wait(&s->idle, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

void turns_fini(struct turns *s)
{
    if (s->made) {
        pthread_mutex_destroy(&s->lock);
        pthread_cond_destroy(&s->idle);
        s->made = false;
    }
}

void turn_fini(struct turn *t)
{
    const struct tpc_allocator *a = t->all->host->allocator;
    if (t->given_cap > 0) {
        a->resize(a->user, t->given, t->given_cap * sizeof(t->given[0]), 0);
    }
    t->given = NULL;
    t->given_count = t->given_cap = 0;
}
