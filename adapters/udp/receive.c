/* What comes in: limits, logins, messages of devices that are in. */
#include "inside.h"

#include "address.h"
#include "envelope.h"

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/hash.h"

#include <string.h>

enum { KEPT_RETRY_MS = 1000, COST = 1000 };

static void count(struct udp *u, const char *metric)
{
    u->host->count(u->ctx, metric, 1);
}

/* ---- limits ---- */

/* A bucket that holds a second's worth. */
static bool may_send(struct udp *u, const struct sockaddr *from)
{
    uint8_t key[NET_ADDRESS_BYTES];
    uint64_t most = (uint64_t) u->config.rate * COST;
    if (u->config.rate == 0) {
        return true;
    }
    net_address_key(from, key);
    struct udp_bucket *b = &u->buckets[tpi_hash(key, sizeof(key), u->seed) % UDP_BUCKETS];
    uint64_t now = net_loop_now_ms(u->loop) + 1;
    uint64_t since = b->at_ms != 0 && now >= b->at_ms ? now - b->at_ms : COST;
    since = since < COST ? since : COST;
    b->left = b->left + since * u->config.rate < most ? b->left + since * u->config.rate : most;
    b->at_ms = now;
    if (b->left < COST) {
        return false;
    }
    b->left -= COST;
    return true;
}

/* To somebody who has not proven who he is: the address may be another's. */
static void answer_stranger(struct udp *u, struct net_socket *s, const struct sockaddr *to,
                            size_t request_len, struct tpc_bytes answer)
{
    if (answer.len == 0) {
        return;
    }
    if (answer.len > request_len * u->config.amplify) {
        count(u, "answers_over_amplify_max");
        return;
    }
    if (net_socket_send(s, to, answer) != 0) {
        count(u, "answers_lost");
    }
}

/* ---- sessions ---- */

void udp_close_session(struct udp *u, struct udp_session *s)
{
    net_loop_timer_end(u->loop, &s->idle);
    u->host->session_close(u->ctx, s->id);
    udp_session_free(&u->sessions, s);
    u->host->gauge(u->ctx, "sessions", (int64_t) udp_sessions_count(&u->sessions));
}

static void on_idle(void *user, uint64_t now_ms)
{
    struct udp_session *s = user;
    struct udp *u = s->owner;
    (void) now_ms;
    if (u->kept_session != 0) {
        /* Nothing is read: that nothing is heard is not its silence. */
        net_loop_timer(u->loop, &s->idle, u->config.idle_ms);
        return;
    }
    count(u, "sessions_idle");
    udp_close_session(u, s);
}

static void heard(struct udp *u, struct udp_session *s, struct net_socket *socket,
                  const struct sockaddr *from)
{
    s->socket = socket;
    memcpy(&s->address, from, net_sockaddr_bytes(from));
    net_loop_timer(u->loop, &s->idle, u->config.idle_ms);
}

/* The session of a device that has proven who it is. Each login has a new one, and so has a device that
 * was deleted and made again; the older one ends behind it, so that the device is not away between. */
static int session_of(struct udp *u, const struct tpc_identity *who, struct net_socket *socket,
                      const struct sockaddr *from, struct udp_session **ret)
{
    struct udp_session *old = udp_by_device(&u->sessions, who->key), *s = old;
    if (s != NULL && who->id != 0 && (s->who.id == 0 || s->who.id == who->id)) {
        s->who = *who;
        heard(u, s, socket, from);
        *ret = s;
        return 0;
    }
    if (old == NULL && udp_sessions_count(&u->sessions) >= u->config.max_sessions) {
        count(u, "sessions_refused");
        return TPC_EAGAIN;
    }
    char peer[NET_PEER_BYTES];
    uint8_t key[NET_ADDRESS_BYTES];
    uint64_t id;
    struct tpc_session_options o = { .size = sizeof(o), .flags = TPC_SESSION_PRESENCE };
    net_address_key(from, key);
    o.tenant = u->config.tenant;
    o.product = tpc_str_from(who->product);
    o.device = tpc_str_from(who->key);
    o.peer = (struct tpc_str){ peer, net_peer_text(key, net_peer_port(from), peer) };
    int rc = u->host->session_open(u->ctx, &o, &id);
    if (rc != 0) {
        count(u, "sessions_refused");
        return rc;
    }
    rc = udp_session_add(&u->sessions, who, id, &s);
    if (rc != 0) {
        u->host->session_close(u->ctx, id);
        return rc;
    }
    s->owner = u;
    s->idle = (struct tpi_timer){ .fn = on_idle, .user = s };
    heard(u, s, socket, from);
    if (old != NULL) {
        udp_close_session(u, old);
    }
    u->host->gauge(u->ctx, "sessions", (int64_t) udp_sessions_count(&u->sessions));
    *ret = s;
    return 0;
}

/* ---- login ---- */

/* One that is answered before login() returns. */
struct attempt {
    struct udp *u;
    struct net_socket *socket;
    const struct sockaddr *from;
    struct tpc_bytes request;
};

static void refuse(struct udp *u, struct net_socket *socket, const struct sockaddr *from,
                   struct tpc_bytes request, int64_t code, struct tpc_str text)
{
    struct tpc_arena *arena;
    struct net_envelope e;
    uint8_t room[NET_AUTH_ANSWER_BYTES];
    struct tpc_buf out = { room, sizeof(room), 0 };
    if (tpc_arena_create(u->host->allocator, 0, &arena) != 0) {
        return;
    }
    if (net_envelope_read(request, arena, &e) == 0 &&
        net_envelope_write(&e, NULL, code, text, &out) == 0) {
        answer_stranger(u, socket, from, request.len, (struct tpc_bytes){ room, out.need });
    }
    tpc_arena_destroy(arena);
}

/* Who logs in is online from then on; who cannot be is told so instead of a token. */
static void on_login(void *user, const struct tpc_error *err, const struct tpc_access_grant *g)
{
    struct attempt *a = user;
    struct udp *u = a->u;
    struct udp_session *s;
    if (err != NULL || g == NULL) {
        count(u, "malformed");
        return;
    }
    if (g->verdict == TPC_ACCESS_IN) {
        struct tpc_identity who = { .size = sizeof(who), .role = TPC_ROLE_DEVICE };
        if (g->device.len >= sizeof(who.key) || g->product.len >= sizeof(who.product)) {
            return;
        }
        memcpy(who.key, g->device.ptr, g->device.len);
        memcpy(who.product, g->product.ptr, g->product.len);
        if (session_of(u, &who, a->socket, a->from, &s) != 0) {
            refuse(u, a->socket, a->from, a->request, NET_CODE_FAILED, TPC_STR("not now"));
            return;
        }
        if (g->answer.len > 0 && net_socket_send(a->socket, a->from, g->answer) != 0) {
            count(u, "answers_lost");
        }
        return;
    }
    answer_stranger(u, a->socket, a->from, a->request.len, g->answer);
}

static void unlink_asked(struct udp *u, struct udp_asked *k)
{
    *(k->prev != NULL ? &k->prev->next : &u->asked) = k->next;
    if (k->next != NULL) {
        k->next->prev = k->prev;
    }
    tpi_wipe(k->answer, sizeof(k->answer));
    tpi_free(u->host->allocator, k, sizeof(*k));
}

/* The loop's thread again. */
static void on_answer(void *user)
{
    struct udp_asked *k = user;
    struct udp *u = k->u;
    if (!u->closed) {
        answer_stranger(u, k->socket, (struct sockaddr *) &k->from, k->request_len,
                        (struct tpc_bytes){ k->answer, k->answer_len });
    }
    unlink_asked(u, k);
}

/* A thread of the rules, or this one. */
static void on_registered(void *user, const struct tpc_error *err, const struct tpc_access_grant *g)
{
    struct udp_asked *k = user;
    if (err == NULL && g != NULL && g->answer.len <= sizeof(k->answer)) {
        k->answer_len = g->answer.len;
        memcpy(k->answer, g->answer.ptr, g->answer.len);
    }
    k->job = (struct net_job){ on_answer, k, NULL };
    (void) net_loop_post(k->u->loop, &k->job); /* if it ended, stop frees it */
}

static void register_device(struct udp *u, struct net_socket *socket, const struct sockaddr *from,
                            const struct tpc_access_request *q)
{
    struct udp_asked *k = tpi_alloc_zero(u->host->allocator, sizeof(*k));
    uint64_t id;
    if (k == NULL) {
        return;
    }
    k->u = u;
    k->socket = socket;
    k->request_len = q->frame.len;
    memcpy(&k->from, from, net_sockaddr_bytes(from));
    k->next = u->asked;
    if (k->next != NULL) {
        k->next->prev = k;
    }
    u->asked = k;
    if (net_auth_ops.login(u->auth, q, on_registered, k, &id) != 0) {
        unlink_asked(u, k);
    }
}

static void log_in(struct udp *u, struct net_socket *socket, const struct sockaddr *from,
                   struct tpc_bytes datagram, bool registers)
{
    char peer[NET_PEER_BYTES];
    uint8_t key[NET_ADDRESS_BYTES];
    uint64_t id;
    struct attempt a = { u, socket, from, datagram };
    struct tpc_access_request q = { .size = sizeof(q), .frame = datagram };
    net_address_key(from, key);
    q.peer = (struct tpc_str){ peer, net_peer_text(key, net_peer_port(from), peer) };
    if (registers) {
        register_device(u, socket, from, &q);
    } else {
        (void) net_auth_ops.login(u->auth, &q, on_login, &a, &id);
    }
}

/* ---- messages ---- */

void udp_deliver(struct udp *u, struct udp_session *s, struct tpc_bytes message)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_UNKNOWN, .payload = message };
    f.product = tpc_str_from(s->who.product);
    f.device = tpc_str_from(s->who.key);
    int rc = u->host->receive(u->ctx, s->id, &f, 1); /* one ticket for all: see settled */
    if (rc == TPC_EAGAIN && u->kept_session == 0) {
        if (message.ptr != u->kept) { /* not the one that was kept before */
            memcpy(u->kept, message.ptr, message.len);
        }
        u->kept_len = message.len;
        u->kept_session = s->id;
        for (uint32_t i = 0; i < u->config.listen_count; i++) {
            net_socket_pause(u->sockets[i]);
        }
        net_loop_timer(u->loop, &u->retry, KEPT_RETRY_MS);
        count(u, "paused");
    } else if (rc != 0) {
        count(u, "messages_refused");
    } else {
        count(u, "messages");
    }
}

void udp_try_kept(struct udp *u)
{
    uint64_t id = u->kept_session;
    struct udp_session *s = udp_by_id(&u->sessions, id);
    if (id == 0 || u->closed) {
        return;
    }
    u->kept_session = 0;
    if (s != NULL) {
        udp_deliver(u, s, (struct tpc_bytes){ u->kept, u->kept_len });
    } else {
        count(u, "messages_refused");
    }
    if (u->kept_session == 0) {
        net_loop_timer_end(u->loop, &u->retry);
        for (uint32_t i = 0; i < u->config.listen_count; i++) {
            net_socket_resume(u->sockets[i]);
        }
    }
}

/* Who shows this token. Returns 0; TPC_EDENIED: nobody, or he may not stay; else it is not known now. */
static int who_shows(struct udp *u, struct tpc_str token, struct net_socket *socket,
                     const struct sockaddr *from, struct udp_session **ret)
{
    struct udp_session *s = udp_by_token(&u->sessions, token);
    int64_t now = u->host->clock->unix_ms(u->host->clock->user);
    if (s != NULL && s->who.until_unix_ms > now && net_auth_stays(u->auth, &s->who) == 0) {
        heard(u, s, socket, from);
        *ret = s;
        return 0;
    }
    char peer[NET_PEER_BYTES];
    uint8_t key[NET_ADDRESS_BYTES];
    struct tpc_identity who;
    net_address_key(from, key);
    size_t len = net_peer_text(key, net_peer_port(from), peer);
    int rc = net_auth_token(u->auth, token, (struct tpc_str){ peer, len }, &who);
    if (rc != 0) {
        if (s != NULL && rc == TPC_EDENIED) {
            udp_close_session(u, s); /* it was let in by this token, which is void now */
        }
        return rc;
    }
    rc = session_of(u, &who, socket, from, &s);
    if (rc == 0) {
        udp_session_token(&u->sessions, s, token);
        *ret = s;
    }
    return rc;
}

void udp_on_datagram(void *user, struct net_socket *socket, const struct sockaddr *from,
                     struct tpc_bytes datagram)
{
    struct udp *u = user;
    struct udp_message m;
    if (net_sockaddr_bytes(from) == 0 || net_peer_port(from) == 0) {
        return;
    }
    if (!may_send(u, from)) {
        count(u, "limited");
        return;
    }
    if (datagram.len > u->config.message_max) {
        count(u, "too_long");
        return;
    }
    if (!udp_unwrap(datagram, &m)) {
        count(u, "malformed");
        return;
    }
    bool registers = tpc_str_equal(m.method, TPC_STR("thing.auth.register"));
    if (registers || tpc_str_equal(m.method, TPC_STR("auth"))) {
        log_in(u, socket, from, datagram, registers);
        return;
    }
    struct udp_session *s;
    int rc = m.token.len > 0 ? who_shows(u, m.token, socket, from, &s) : TPC_EDENIED;
    if (rc != 0 && rc != TPC_EDENIED) {
        /* Another login would not help. */
        count(u, "messages_refused");
        refuse(u, socket, from, datagram, NET_CODE_FAILED, TPC_STR("not now"));
        return;
    }
    if (rc != 0) {
        count(u, "strangers");
        refuse(u, socket, from, datagram, NET_CODE_UNKNOWN, TPC_STR("log in first"));
        return;
    }
    udp_deliver(u, s, (struct tpc_bytes){ u->plain, udp_plain(&m, u->plain) });
}
