/* Whose a connection is: by device.access, which may answer at once or from another thread. */
#include "inside.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

struct tcp_login {
    struct net_job job;
    struct tcp *t;
    struct tcp_conn *conn; /* NULL = it is gone */
    uint64_t id;
    bool calling; /* login() has not returned */
    bool done;
    int code; /* 0 = the rest holds */
    bool retry;
    uint32_t verdict, flags;
    size_t tenant_len, product_len, device_len, answer_len;
    uint8_t *texts; /* tenant, product, device, answer; one behind the other */
    char why[160];
};

static size_t texts_len(const struct tcp_login *l)
{
    return l->tenant_len + l->product_len + l->device_len + l->answer_len;
}

static void free_login(struct tcp_login *l)
{
    const struct tpc_allocator *a = l->t->host->allocator;
    if (l->texts != NULL) {
        tpi_free(a, l->texts, texts_len(l));
    }
    tpi_free(a, l, sizeof(*l));
}

/* ---- what came of it ---- */

/* After a login the frame that asked is passed over, unless it holds data, too. */
static void let_in(struct tcp_conn *c, const struct tcp_login *l, struct tpc_bytes answer)
{
    struct tcp *t = l->t;
    const char *at = (const char *) l->texts;
    struct tpc_str tenant = { at, l->tenant_len };
    struct tpc_str product = { at + l->tenant_len, l->product_len };
    struct tpc_str device = { at + l->tenant_len + l->product_len, l->device_len };
    int rc = device.len > 0 ? tcp_conn_bind(c, tenant, product, device) : TPC_EINVAL;
    if (rc != 0) {
        tcp_count(t, "logins_refused");
        tcp_say(t, TPC_LOG_WARN, "device %.*s is not let in: %s", (int) device.len,
                device.len > 0 ? device.ptr : "", tpc_error_name(rc));
        net_stream_end(c->stream, NET_END_OWN);
        return;
    }
    tcp_count(t, "logins");
    net_stream_deadline(c->stream, 0);
    c->skip = (l->flags & TPC_ACCESS_FEED) == 0;
    tcp_conn_answer(c, answer);
    tcp_lend(c);
}

static void refuse(struct tcp_conn *c, const struct tcp_login *l, struct tpc_bytes answer)
{
    struct tcp *t = l->t;
    char peer[NET_PEER_BYTES];
    (void) net_stream_peer(c->stream, peer);
    tcp_count(t, l->retry ? "logins_later" : "logins_refused");
    tcp_say(t, l->retry ? TPC_LOG_INFO : TPC_LOG_WARN, "%s: not let in: %s", peer, l->why);
    tcp_conn_answer(c, answer);
    net_stream_end(c->stream, NET_END_OWN);
}

static void apply(struct tcp_conn *c, struct tcp_login *l)
{
    struct tpc_bytes answer = { NULL, l->answer_len };
    c->login = NULL;
    c->state = TCP_STRANGE;
    if (l->answer_len > 0) {
        answer.ptr = l->texts + texts_len(l) - l->answer_len;
    }
    if (l->code != 0) {
        refuse(c, l, answer);
    } else if (l->verdict == TPC_ACCESS_MORE) {
        c->skip = true;
        tcp_conn_answer(c, answer);
    } else {
        let_in(c, l, answer);
    }
}

static void run_login(void *user)
{
    struct tcp_login *l = user;
    struct tcp_conn *c = l->conn;
    if (c != NULL) {
        struct net_stream *s = net_stream_ref(c->stream);
        apply(c, l);
        if (c->lent == 0) {
            net_stream_resume(s);
        }
        net_stream_unref(s);
    }
    free_login(l);
}

/* ---- asking ---- */

static void copy_grant(struct tcp_login *l, const struct tpc_access_grant *g)
{
    size_t len = g->tenant.len + g->product.len + g->device.len + g->answer.len;
    l->verdict = g->verdict;
    l->flags = g->flags;
    if (len == 0) {
        return;
    }
    uint8_t *at = l->texts = tpi_alloc(l->t->host->allocator, len);
    if (at == NULL) {
        l->code = TPC_ENOMEM;
        l->retry = true;
        snprintf(l->why, sizeof(l->why), "out of memory");
        return;
    }
    const struct tpc_bytes parts[] = {
        { (const uint8_t *) g->tenant.ptr, l->tenant_len = g->tenant.len },
        { (const uint8_t *) g->product.ptr, l->product_len = g->product.len },
        { (const uint8_t *) g->device.ptr, l->device_len = g->device.len },
        { g->answer.ptr, l->answer_len = g->answer.len },
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].len > 0) {
            memcpy(at, parts[i].ptr, parts[i].len);
            at += parts[i].len;
        }
    }
}

/* Any thread. */
static void on_done(void *user, const struct tpc_error *err, const struct tpc_access_grant *grant)
{
    struct tcp_login *l = user;
    struct tcp *t = l->t;
    if (err != NULL) {
        l->code = err->code != 0 ? err->code : TPC_EDENIED;
        l->retry = tpc_error_class(l->code) == TPC_CLASS_RETRY;
        snprintf(l->why, sizeof(l->why), "%.150s", err->text);
    }
    if (grant != NULL) {
        copy_grant(l, grant);
    }
    pthread_mutex_lock(&t->lock);
    l->done = true;
    bool post = !l->calling;
    pthread_mutex_unlock(&t->lock);
    if (post) {
        (void) net_loop_post(t->loop, &l->job);
    }
}

bool tcp_login(struct tcp_conn *c, struct tpc_bytes frame)
{
    struct tcp *t = tcp_of(c);
    char peer[NET_PEER_BYTES], fingerprint[65];
    struct tcp_login *l = tpi_alloc_zero(t->host->allocator, sizeof(*l));
    if (l == NULL) {
        net_stream_close(c->stream, NET_END_MEMORY);
        return false;
    }
    l->job = (struct net_job){ run_login, l, NULL };
    l->t = t;
    l->conn = c;
    l->calling = true;
    struct tpc_access_request q = { .size = sizeof(q), .frame = frame };
    q.peer = (struct tpc_str){ peer, net_stream_peer(c->stream, peer) };
    net_stream_fingerprint(c->stream, fingerprint);
    q.fingerprint = tpc_str_from(fingerprint);
    int rc = t->access->login(t->access_self, &q, on_done, l, &l->id);
    if (rc != 0) {
        l->code = rc;
        l->retry = true;
        snprintf(l->why, sizeof(l->why), "%s", tpc_error_name(rc));
    }
    pthread_mutex_lock(&t->lock);
    l->calling = false;
    bool done = l->done || rc != 0;
    pthread_mutex_unlock(&t->lock);
    if (done) {
        apply(c, l);
        free_login(l);
        bool feed = c->state == TCP_IN && !c->skip && net_stream_is_open(c->stream);
        c->skip = false;
        return feed ? tcp_receive(c, frame) : true;
    }
    c->login = l;
    c->state = TCP_ASKING;
    net_stream_pause(c->stream);
    return false;
}

void tcp_login_cancel(struct tcp_conn *c)
{
    struct tcp_login *l = c->login;
    if (l == NULL) {
        return;
    }
    struct tcp *t = l->t;
    c->login = NULL;
    t->access->cancel(t->access_self, l->id);
    pthread_mutex_lock(&t->lock);
    bool done = l->done;
    l->conn = NULL;
    pthread_mutex_unlock(&t->lock);
    if (!done) {
        free_login(l);
    } /* else its job does */
}
