/* Frames to devices. */
#include "inside.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

struct down {
    struct net_job job;
    struct net_written written;
    struct tcp *t;
    uint64_t session, ticket;
    size_t len;
    uint8_t bytes[];
};

static void end(struct down *d, int rc)
{
    struct tcp *t = d->t;
    struct tpc_error err;
    if (rc == 0) {
        tcp_count(t, "sent");
        t->host->sent(t->ctx, d->ticket, NULL);
    } else {
        /* The device may be back by now, over another connection: it is tried again at once, and not
         * once it comes back. */
        bool gone = rc == TPC_EOFFLINE;
        rc = gone ? TPC_EAGAIN : rc;
        tcp_count(t, "not_sent");
        (void) tpi_error_set(&err, rc, "tcp", "%s",
                             gone               ? "its connection is gone"
                             : rc == TPC_EAGAIN ? "it does not read: write_max bytes wait"
                                                : tpc_error_name(rc));
        t->host->sent(t->ctx, d->ticket, &err);
    }
    tpi_free(t->host->allocator, d, sizeof(*d) + d->len);
}

static void on_written(void *user, int rc)
{
    end(user, rc);
}

static void run_down(void *user)
{
    struct down *d = user;
    struct tcp *t = d->t;
    pthread_mutex_lock(&t->lock);
    struct tcp_conn *c = tpi_map64_get(&t->sessions, d->session);
    pthread_mutex_unlock(&t->lock);
    d->written = (struct net_written){ on_written, d, NULL, 0 };
    int rc = c != NULL
                 ? tcp_conn_write(c, (struct tpc_bytes){ d->bytes, d->len }, !t->rules, &d->written)
                 : TPC_EOFFLINE;
    if (rc != 0) {
        end(d, rc);
    }
}

int tcp_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
             uint64_t ticket)
{
    struct tcp *t = self;
    pthread_mutex_lock(&t->lock);
    bool there = t->up && peer->session != 0 &&
                 (t->binding || tpi_map64_get(&t->sessions, peer->session) != NULL);
    pthread_mutex_unlock(&t->lock);
    if (!there) {
        return TPC_EOFFLINE;
    }
    struct down *d = tpi_alloc(t->host->allocator, sizeof(*d) + frame->payload.len);
    if (d == NULL) {
        return TPC_EAGAIN;
    }
    memset(d, 0, sizeof(*d));
    d->job = (struct net_job){ run_down, d, NULL };
    d->t = t;
    d->session = peer->session;
    d->ticket = ticket;
    d->len = frame->payload.len;
    if (d->len > 0) {
        memcpy(d->bytes, frame->payload.ptr, d->len);
    }
    if (!net_loop_post(t->loop, &d->job)) {
        tpi_free(t->host->allocator, d, sizeof(*d) + d->len);
        return TPC_EOFFLINE;
    }
    return 0;
}
