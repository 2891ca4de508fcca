/* Connections that another part speaks over: service "stream.handover". */
#include "inside.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

/* Lives until its job has run after `ended`; freed on the loop's thread, or without one. */
struct tcp_taker {
    struct net_job job;
    struct tcp *t;
    tpc_handover_fn *fn;
    void *user;
    uint64_t has;  /* connection that it was given last; 0 = none */
    uint64_t over; /* .. to be closed; 0 = none */
    bool posted, ended;
    uint32_t key_len;
    char key[];
};

static void free_taker(struct tcp_taker *k)
{
    tpi_free(k->t->host->allocator, k, sizeof(*k) + k->key_len);
}

static struct tcp_taker *taker_of(struct tcp *t, const struct tcp_conn *c)
{
    pthread_mutex_lock(&t->lock);
    struct tcp_taker *k = tpi_map_get(&t->takers, c->key, c->key_len);
    pthread_mutex_unlock(&t->lock);
    return k;
}

/* Under the lock fn cannot be called any more once end() has returned. */
static bool give(struct tcp *t, struct tcp_taker *k, struct tcp_conn *c, int fd)
{
    pthread_mutex_lock(&t->lock);
    bool wanted = !k->ended;
    if (wanted) {
        c->lent = k->has = ++t->lent;
        (void) tpi_map64_remove(&t->sessions, c->session); /* frames for it would come between */
        k->fn(k->user, fd, c->lent);
    }
    pthread_mutex_unlock(&t->lock);
    return wanted;
}

void tcp_lend(struct tcp_conn *c)
{
    struct tcp *t = tcp_of(c);
    struct tcp_taker *k = c->lent == 0 ? taker_of(t, c) : NULL;
    if (k == NULL) {
        return;
    }
    if (net_stream_is_secure(c->stream)) {
        tcp_say(t, TPC_LOG_WARN, "device %s: a connection with TLS is not handed over",
                c->key + c->device_at);
        return;
    }
    int fd = net_stream_share(c->stream);
    if (fd < 0) {
        net_stream_end(c->stream, NET_END_OWN);
        return;
    }
    net_stream_pause(c->stream);
    if (give(t, k, c, fd)) {
        tcp_count(t, "handed_over");
    } else {
        close(fd);
        net_stream_resume(c->stream);
    }
}

void tcp_lent_closed(struct tcp_conn *c)
{
    struct tcp *t = tcp_of(c);
    if (c->lent == 0) {
        return;
    }
    pthread_mutex_lock(&t->lock);
    struct tcp_taker *k = tpi_map_get(&t->takers, c->key, c->key_len);
    if (k != NULL && !k->ended && k->has == c->lent) {
        k->fn(k->user, -1, c->lent);
    }
    pthread_mutex_unlock(&t->lock);
    c->lent = 0;
}

static void reclaim(struct tcp *t, struct tcp_conn *c)
{
    pthread_mutex_lock(&t->lock);
    int rc = tpi_map64_put(&t->sessions, c->session, c, NULL);
    pthread_mutex_unlock(&t->lock);
    c->lent = 0;
    if (rc != 0) {
        net_stream_close(c->stream, NET_END_MEMORY);
    } else {
        net_stream_resume(c->stream);
    }
}

static void run_taker(void *user)
{
    struct tcp_taker *k = user;
    struct tcp *t = k->t;
    struct tcp_conn *c = tpi_map_get(&t->devices, k->key, k->key_len);
    pthread_mutex_lock(&t->lock);
    uint64_t over = k->over;
    uint64_t has = k->has;
    bool ended = k->ended;
    k->over = 0;
    k->posted = false;
    pthread_mutex_unlock(&t->lock);
    if (c != NULL && over != 0 && c->lent == over) {
        net_stream_end(c->stream, NET_END_OWN);
    } else if (c != NULL && ended && c->lent != 0 && c->lent == has) {
        reclaim(t, c); /* who has asked since has a job that comes after this one */
    } else if (c != NULL && !ended) {
        tcp_lend(c);
    }
    if (ended) {
        free_taker(k);
    }
}

/* Under the lock. False: there is no loop, and so no connection. */
static bool post(struct tcp *t, struct tcp_taker *k)
{
    if (!k->posted) { /* else it is in the loop's list */
        k->job = (struct net_job){ run_taker, k, NULL };
        k->posted = net_loop_post(t->loop, &k->job);
    }
    return k->posted;
}

static int take(void *self, struct tpc_str tenant, struct tpc_str device, tpc_handover_fn *fn,
                void *user, uint64_t *ret_id)
{
    struct tcp *t = self;
    struct tpc_str owner = tenant.len > 0 ? tenant : TPC_STR("main");
    size_t len = owner.len + 1 + device.len;
    struct tcp_taker *k = tpi_alloc_zero(t->host->allocator, sizeof(*k) + len);
    if (k == NULL) {
        return TPC_ENOMEM;
    }
    k->t = t;
    k->fn = fn;
    k->user = user;
    k->key_len = (uint32_t) len;
    memcpy(k->key, owner.ptr, owner.len);
    k->key[owner.len] = '\n';
    if (device.len > 0) {
        memcpy(k->key + owner.len + 1, device.ptr, device.len);
    }
    pthread_mutex_lock(&t->lock);
    int rc = tpi_map_get(&t->takers, k->key, len) != NULL
                 ? TPC_EEXIST
                 : tpi_map_put(&t->takers, k->key, len, k, NULL);
    if (rc == 0) {
        (void) post(t, k);
        *ret_id = (uint64_t) (uintptr_t) k;
    }
    pthread_mutex_unlock(&t->lock);
    if (rc != 0) {
        free_taker(k);
    }
    return rc;
}

static void over(void *self, uint64_t id, uint64_t connection)
{
    struct tcp *t = self;
    struct tcp_taker *k = (struct tcp_taker *) (uintptr_t) id;
    pthread_mutex_lock(&t->lock);
    k->over = connection;
    (void) post(t, k);
    pthread_mutex_unlock(&t->lock);
}

static void end(void *self, uint64_t id)
{
    struct tcp *t = self;
    struct tcp_taker *k = (struct tcp_taker *) (uintptr_t) id;
    if (k == NULL) {
        return;
    }
    pthread_mutex_lock(&t->lock);
    (void) tpi_map_remove(&t->takers, k->key, k->key_len);
    k->ended = true;
    bool later = post(t, k);
    pthread_mutex_unlock(&t->lock);
    if (!later) {
        free_taker(k);
    }
}

void tcp_takers_free(struct tcp *t)
{
    size_t iter = 0;
    void *k;
    while (tpi_map_next(&t->takers, &iter, NULL, &k)) {
        free_taker(k);
    }
    tpi_map_fini(&t->takers);
}

const struct tpc_handover_ops tcp_handover_ops = {
    .iface = TPC_IFACE(struct tpc_handover_ops, 1),
    .take = take,
    .over = over,
    .end = end,
};
