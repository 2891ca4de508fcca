/* Frames of a device to the core, and their answers once they are in the log. */
#include "inside.h"

#include <string.h>

#include "base/alloc.h"

enum { ANSWER_MAX = 65536 };

/* ---- answers that wait ---- */

static struct tcp_pending *hold(struct tcp_conn *c, struct tpc_bytes bytes)
{
    struct tcp *t = tcp_of(c);
    struct tcp_pending *p = tpi_alloc(t->host->allocator, sizeof(*p) + bytes.len);
    if (p == NULL) {
        return NULL;
    }
    memset(p, 0, sizeof(*p));
    memcpy(p->bytes, bytes.ptr, bytes.len);
    p->len = bytes.len;
    p->stream = net_stream_ref(c->stream);
    p->next = t->pendings;
    if (t->pendings != NULL) {
        t->pendings->prev = p;
    }
    t->pendings = p;
    return p;
}

void tcp_pending_drop(struct tcp *t, struct tcp_pending *p)
{
    *(p->prev != NULL ? &p->prev->next : &t->pendings) = p->next;
    if (p->next != NULL) {
        p->next->prev = p->prev;
    }
    if (p->stream != NULL) {
        net_stream_unref(p->stream);
    }
    tpi_free(t->host->allocator, p, sizeof(*p) + p->len);
}

static void run_settled(void *user)
{
    struct tcp *t = user;
    uint64_t lost = 0;
    pthread_mutex_lock(&t->lock);
    struct tcp_pending *p = t->settled_first;
    t->settled_first = t->settled_last = NULL;
    t->settled_posted = false;
    pthread_mutex_unlock(&t->lock);
    while (p != NULL) {
        struct tcp_pending *next = p->next_settled;
        lost += p->code != 0;
        /* Without a stream: of a run before this one. */
        if (p->code == 0 && p->stream != NULL && net_stream_is_open(p->stream)) {
            tcp_conn_answer(net_stream_data(p->stream), (struct tpc_bytes){ p->bytes, p->len });
        }
        tcp_pending_drop(t, p);
        p = next;
    }
    if (lost > 0) {
        t->host->count(t->ctx, "unanswered", lost);
    }
}

void tcp_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    struct tcp *t = self;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < count; i++) {
        struct tcp_pending *p = (struct tcp_pending *) (uintptr_t) tickets[i];
        if (p == NULL) {
            continue;
        }
        if (!t->up) {
            tcp_pending_drop(t, p);
            continue;
        }
        p->code = errors[i];
        p->next_settled = NULL;
        *(t->settled_first != NULL ? &t->settled_last->next_settled : &t->settled_first) = p;
        t->settled_last = p;
    }
    bool post = t->up && t->settled_first != NULL && !t->settled_posted;
    t->settled_posted = t->settled_posted || post;
    pthread_mutex_unlock(&t->lock);
    if (post) {
        t->settled_job = (struct net_job){ run_settled, t, NULL };
        (void) net_loop_post(t->loop, &t->settled_job);
    }
}

/* ---- frames ---- */

/* What the service answers to it: 0 with c->held or none; 1 = that was all; less than 0 = the connection
 * is closed. */
static int ask_answer(struct tcp_conn *c, struct tpc_bytes frame)
{
    struct tcp *t = tcp_of(c);
    uint8_t room[TCP_ANSWER_BYTES];
    struct tpc_buf out = { room, sizeof(room), 0 };
    struct tpc_str device = { c->key + c->device_at, c->key_len - c->device_at };
    uint8_t *more = NULL;
    int rc = t->access->answer(t->access_self, device, frame, &out);
    if (rc == TPC_ETOOBIG && out.need > sizeof(room) && out.need <= ANSWER_MAX) {
        size_t cap = out.need;
        more = tpi_alloc(t->host->allocator, cap);
        out = (struct tpc_buf){ more, cap, 0 };
        rc = more != NULL ? t->access->answer(t->access_self, device, frame, &out) : TPC_ENOMEM;
    }
    size_t cap = out.cap;
    if (rc == TPC_ACCESS_DONE) {
        tcp_count(t, "answered");
        tcp_conn_answer(c, (struct tpc_bytes){ out.ptr, out.need });
        rc = 1;
    } else if (rc == TPC_ACCESS_DATA && out.need > 0) {
        c->held = hold(c, (struct tpc_bytes){ out.ptr, out.need });
        rc = c->held != NULL ? 0 : TPC_ENOMEM;
    } else if (rc != TPC_ENOMEM) {
        rc = 0; /* its codec makes a dead letter of it */
    }
    if (more != NULL) {
        tpi_free(t->host->allocator, more, cap);
    }
    if (rc < 0) {
        net_stream_close(c->stream, NET_END_MEMORY);
    }
    return rc;
}

/* The core will not take it, whenever it comes. */
static bool refused(struct tcp_conn *c, struct tcp_pending *p, int rc)
{
    struct tcp *t = tcp_of(c);
    if (rc == TPC_ETOOBIG) {
        tcp_count(t, "too_big");
        if (p != NULL) {
            tcp_conn_answer(c, (struct tpc_bytes){ p->bytes, p->len }); /* or it comes for ever */
        }
    }
    if (p != NULL) {
        tcp_pending_drop(t, p);
    }
    if (rc != TPC_ETOOBIG) {
        tcp_say(t, TPC_LOG_WARN, "device %s: the core says %s: closed", c->key + c->device_at,
                tpc_error_name(rc));
        net_stream_end(c->stream, NET_END_OWN);
    }
    return true;
}

bool tcp_receive(struct tcp_conn *c, struct tpc_bytes frame)
{
    struct tcp *t = tcp_of(c);
    if (!c->again && TPC_HAS(t->access, struct tpc_access_ops, answer) &&
        t->access->answer != NULL) {
        int rc = ask_answer(c, frame);
        if (rc != 0) {
            return true;
        }
    }
    struct tcp_pending *p = c->held;
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_UNKNOWN, .payload = frame };
    c->held = NULL; /* settled() may free it before receive() returns */
    c->again = false;
    int rc = t->host->receive(t->ctx, c->session, &f, (uint64_t) (uintptr_t) p);
    if (rc == 0) {
        t->frames++;
        return true;
    }
    if (rc == TPC_EAGAIN || rc == TPC_ESTATE) {
        c->held = p;
        c->again = true;
        tcp_count(t, "later");
        net_stream_pause(c->stream);
        return false;
    }
    return refused(c, p, rc);
}

/* ---- going on ---- */

struct resume {
    struct net_job job;
    struct tcp *t;
    uint64_t session;
};

static void run_resume(void *user)
{
    struct resume *r = user;
    struct tcp *t = r->t;
    pthread_mutex_lock(&t->lock);
    struct tcp_conn *c = tpi_map64_get(&t->sessions, r->session);
    pthread_mutex_unlock(&t->lock);
    if (c != NULL && c->again) {
        net_stream_resume(c->stream);
    }
    tpi_free(t->host->allocator, r, sizeof(*r));
}

/* There was no memory to say which. */
static void run_resume_all(void *user)
{
    struct tcp *t = user;
    size_t iter = 0;
    void *value;
    pthread_mutex_lock(&t->lock);
    t->resume_all_posted = false;
    pthread_mutex_unlock(&t->lock);
    while (tpi_map_next(&t->devices, &iter, NULL, &value)) {
        struct tcp_conn *c = value;
        if (c->again && c->lent == 0) {
            net_stream_resume(c->stream);
        }
    }
}

void tcp_resume(void *self, uint64_t session)
{
    struct tcp *t = self;
    struct resume *r = tpi_alloc_zero(t->host->allocator, sizeof(*r));
    if (r != NULL) {
        *r = (struct resume){ { run_resume, r, NULL }, t, session };
        if (!net_loop_post(t->loop, &r->job)) {
            tpi_free(t->host->allocator, r, sizeof(*r));
        }
        return;
    }
    pthread_mutex_lock(&t->lock);
    bool post = t->up && !t->resume_all_posted;
    t->resume_all_posted = t->resume_all_posted || post;
    if (post) {
        t->resume_all_job = (struct net_job){ run_resume_all, t, NULL };
    }
    pthread_mutex_unlock(&t->lock);
    if (post) {
        (void) net_loop_post(t->loop, &t->resume_all_job);
    }
}
