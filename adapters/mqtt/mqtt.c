/*
 * Adapter "mqtt": devices behind a broker. A topic names the device (dialect.h); a device gets a
 * session with its first message. Messages of devices that the core does not know, and wrapped
 * ones, which name their device inside, go over one link session.
 *
 * Acknowledgement (option ack = appended): a message of QoS 1 is acknowledged to the broker when
 * the core has it in its log; until then paho's receive thread waits in on_message(). There is one
 * such thread in a process, so an instance never waits for more than one ticket, and not for ever: what
 * would make room in the log may need that thread, too. After option hold the connection is given up.
 */
#include "certs.h"
#include "client.h"
#include "dialect.h"
#include "enroll.h"
#include "options.h"
#include "peers.h"
#include "refused.h"
#include "thingsboard.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/ext/adapter.h>

#include "base/crypto.h"

enum { TB = MQTT_THINGSBOARD | MQTT_THINGSBOARD_MANY };
enum { LINK_SUBS_MAX = 64, LINK_WATCHES_MAX = 16, WAIT_MS = 50, RETRY_MS = 100 };

struct link_sub {
    char filter[MQTT_TOPIC_MAX];
    tpc_link_fn *fn;
    void *user;
};

struct mqtt {
    const struct tpc_host *host;
    void *ctx;
    struct mqtt_options options;
    struct mqtt_client *client;
    struct mqtt_certs certs;
    struct mqtt_peers peers;
    struct mqtt_tb tb;       /* all zero without the dialect */
    uint64_t link;           /* the link session */
    pthread_mutex_t opening; /* held while a session is opened or closed; never by a worker */
    int64_t
        begun_ms; /* monotonic: since when the message is worked on; the receive thread's, as is the next */
    bool dropped; /* its connection was given up */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t next_ticket;
    uint64_t waiting; /* ticket that on_message() waits for; 0 = none */
    bool settled, resumed;
    int code; /* of the settled ticket */
    struct link_sub subs[LINK_SUBS_MAX];
    atomic_uint sub_count;
    struct {
        tpc_link_state_fn *fn;
        void *user;
    } watches[LINK_WATCHES_MAX];
    uint32_t watch_count;
    bool up, locks_made, peers_made;
};

/* A frame to a device on its way. */
struct down {
    struct mqtt *m;
    uint64_t ticket;
    uint64_t session; /* of a set that nobody answers: it is done once it is out; else 0 */
    char id[MQTT_TB_ID_BYTES];
};

/* ---- up ---- */

/* Waits for settled() or resume(), at most ms. Under the lock. */
static void wait_change(struct mqtt *m, uint32_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long) ms * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&m->changed, &m->lock, &until);
}

/* Session of the device that a topic names; the link session if it names none, or one that the core
 * does not know. */
static uint64_t session_for(struct mqtt *m, const struct mqtt_address *a)
{
    uint64_t session;
    if (a->device.len == 0 || a->kind == TPC_MSG_PRESENCE) {
        return m->link;
    }
    struct mqtt_peer *p = mqtt_peers_find(&m->peers, a, &session);
    if (session != 0) {
        return session;
    }
    struct tpc_session_options o = { .size = sizeof(o), .tenant = m->options.tenant };
    o.flags = m->options.presence ? TPC_SESSION_PRESENCE : 0;
    o.product = a->product;
    o.device = a->device;
    o.peer = tpc_str_from(m->options.client.url);
    pthread_mutex_lock(&m->opening);
    if (p == NULL || (session = mqtt_peers_session(&m->peers, p)) == 0) {
        if (m->host->session_open(m->ctx, &o, &session) != 0) {
            session = 0;
        } else if (mqtt_peers_put(&m->peers, a, session) != 0) {
            /* Too many devices for the table: over the link, which looks each one up. */
            m->host->session_close(m->ctx, session);
            session = 0;
        }
    }
    pthread_mutex_unlock(&m->opening);
    return session != 0 ? session : m->link;
}

static int64_t mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether the message is not to be waited for any more: the instance stops, or the core does not take it.
 * While it waits here nothing else moves through paho in this process: what would make room in the log by
 * delivering it over another connection could not. */
static bool given_up(struct mqtt *m)
{
    if (!m->dropped && mono_ms() - m->begun_ms >= m->options.hold_ms &&
        mqtt_client_drop(m->client)) {
        m->dropped = true;
        m->host->count(m->ctx, "held_back", 1);
    }
    return m->dropped || mqtt_client_is_cut(m->client);
}

/* Waits until the ticket is settled. Returns 0, what it was settled with, or TPC_ECANCELED after
 * the connection was cut. */
static int wait_settled(struct mqtt *m)
{
    int rc = TPC_ECANCELED;
    for (;;) {
        pthread_mutex_lock(&m->lock);
        if (!m->settled) {
            wait_change(m, WAIT_MS);
        }
        bool settled = m->settled;
        if (settled) {
            rc = m->code;
            m->waiting = 0;
        }
        pthread_mutex_unlock(&m->lock);
        if (settled || given_up(m)) {
            return rc;
        }
    }
}

static void wait_resumed(struct mqtt *m, uint32_t ms)
{
    pthread_mutex_lock(&m->lock);
    if (!m->resumed) {
        wait_change(m, ms);
    }
    m->resumed = false;
    pthread_mutex_unlock(&m->lock);
}

/* One try to hand a frame over. Returns what came of it; TPC_ECANCELED = cut. */
static int give(struct mqtt *m, const struct mqtt_address *a, const struct tpc_frame *frame,
                bool safely)
{
    uint64_t ticket = 0;
    uint64_t session = session_for(m, a);
    if (safely && m->options.ack_appended) {
        pthread_mutex_lock(&m->lock);
        ticket = m->waiting = ++m->next_ticket;
        m->settled = false;
        pthread_mutex_unlock(&m->lock);
    }
    int rc = m->host->receive(m->ctx, session, frame, ticket);
    if ((rc == TPC_ENOENT || rc == TPC_EINVAL) && session != m->link) {
        /* The device is gone, or came back under the same key: find it anew. */
        pthread_mutex_lock(&m->opening);
        if (mqtt_peers_forget(&m->peers, session)) {
            m->host->session_close(m->ctx, session);
        }
        pthread_mutex_unlock(&m->opening);
        session = session_for(m, a);
        rc = m->host->receive(m->ctx, session, frame, ticket);
    }
    return rc != 0 || ticket == 0 ? rc : wait_settled(m);
}

/* Hands a frame over until it is safe. */
static void deliver(struct mqtt *m, const struct mqtt_address *a, const struct tpc_frame *frame,
                    uint32_t qos)
{
    bool told = false;
    for (;;) {
        int rc = give(m, a, frame, qos > 0);
        int class = tpc_error_class(rc);
        if (rc == 0) {
            m->host->count(m->ctx, "messages", 1);
            return;
        }
        if (rc == TPC_ECANCELED || (qos > 0 && given_up(m))) {
            return; /* not acknowledged: the broker keeps it for the session */
        }
        if (qos == 0) {
            m->host->count(m->ctx, "dropped", 1);
            return;
        }
        if (class == TPC_CLASS_FIX && rc != TPC_ESTATE) {
            m->host->count(m->ctx, "refused", 1);
            return; /* it would be refused for ever */
        }
        if (!told) {
            m->host->count(m->ctx, "later", 1);
            told = true;
        }
        wait_resumed(m, RETRY_MS);
    }
}

static bool tell_links(struct mqtt *m, const struct mqtt_incoming *in)
{
    bool heard = false;
    uint32_t count = atomic_load(&m->sub_count);
    for (uint32_t i = 0; i < count; i++) {
        if (mqtt_filter_match(tpc_str_from(m->subs[i].filter), in->topic)) {
            m->subs[i].fn(m->subs[i].user, in->topic, in->payload, in->redelivered);
            heard = true;
        }
    }
    return heard;
}

static void answer_enroll(struct mqtt *m, struct tpc_str topic, const struct mqtt_enroll *e,
                          const struct tpc_registration *made, const char *message)
{
    char text[MQTT_ENROLL_BYTES], reply[MQTT_TOPIC_MAX];
    size_t len = mqtt_enroll_write(e, made, message, text);
    int n = snprintf(reply, sizeof(reply), "%.*s_reply", (int) topic.len, topic.ptr);
    struct tpc_bytes payload = { (const uint8_t *) text, len };
    if (len > 0 && n > 0 && (size_t) n < sizeof(reply) &&
        mqtt_client_publish(m->client, tpc_str_from(reply), payload, 1, false, NULL, NULL) != 0) {
        m->host->count(m->ctx, "dropped", 1); /* the device asks again */
    }
    tpi_wipe(text, sizeof(text));
}

/* A device asks to be registered: this thread waits for the disk. */
static void enroll(struct mqtt *m, struct tpc_str product, struct tpc_str device,
                   const struct mqtt_incoming *in)
{
    struct tpc_register_request q = TPC_REGISTER_REQUEST_INIT;
    struct tpc_registration made;
    struct tpc_arena *arena = NULL;
    struct mqtt_enroll e;
    if (tpc_arena_create(m->host->allocator, 0, &arena) != 0) {
        return;
    }
    int rc = mqtt_enroll_read(product, device, in->payload, arena, &e);
    if (rc == 0) {
        q.tenant = m->options.tenant;
        q.product = product;
        q.device = device;
        q.sign = e.sign;
        rc = m->host->enroll(m->ctx, &q, &made);
        answer_enroll(m, in->topic, &e, rc == 0 ? &made : NULL,
                      rc == 0            ? ""
                      : rc == TPC_EEXIST ? "the device is registered already"
                                         : "refused");
        tpi_wipe(&made, sizeof(made));
    }
    m->host->count(m->ctx, rc == 0 ? "registered" : "registrations_refused", 1);
    m->host->log(m->ctx, rc == 0 ? TPC_LOG_INFO : TPC_LOG_WARN, "registration of %.*s: %s",
                 (int) device.len, device.ptr, rc == 0 ? "done" : tpc_error_name(rc));
    tpc_arena_destroy(arena);
}

/* What the broker's plugin refused. One that the broker kept was told when it came. */
static void note_refused(struct mqtt *m, const struct mqtt_incoming *in)
{
    struct tpc_arena *arena = NULL;
    struct tpc_why why;
    if (in->retained || tpc_arena_create(m->host->allocator, 0, &arena) != 0) {
        return;
    }
    int rc = mqtt_refused_read(in->payload, arena, &why);
    if (rc == 0) {
        why.tenant = m->options.tenant;
        rc = m->host->why(m->ctx, &why);
    }
    m->host->count(m->ctx, rc == 0 ? "reports" : "reports_refused", 1);
    tpc_arena_destroy(arena);
}

/* Until the devices that it names are there: then it can be handed over. False: it is dealt with, or the
 * connection was cut. */
static bool prepare_tb(struct mqtt *m, const struct mqtt_incoming *in, struct mqtt_address *a)
{
    if (mqtt_tb_request(&m->tb, in, a)) {
        return false;
    }
    while (mqtt_tb_prepare(&m->tb, in, a) != 0) {
        if (in->qos == 0 || given_up(m)) {
            m->host->count(m->ctx, "dropped", in->qos == 0);
            return false;
        }
        wait_resumed(m, RETRY_MS);
    }
    return true;
}

static void on_message(void *user, const struct mqtt_incoming *in)
{
    struct mqtt *m = user;
    struct mqtt_address a;
    struct tpc_str product, device;
    m->begun_ms = mono_ms();
    m->dropped = false;
    bool heard = tell_links(m, in);
    if ((m->options.dialects & MQTT_ALINK) != 0 && TPC_HAS(m->host, struct tpc_host, enroll) &&
        mqtt_enroll_topic(in->topic, &product, &device)) {
        enroll(m, product, device, in);
        return;
    }
    if ((m->options.dialects & MQTT_THINGSPANEL) != 0 && TPC_HAS(m->host, struct tpc_host, why) &&
        tpc_str_equal(in->topic, TPC_STR(TPC_WHY_TOPIC))) {
        note_refused(m, in);
        return;
    }
    if (!mqtt_address_parse(m->options.dialects, m->options.patterns, m->options.pattern_count,
                            in->topic, &a)) {
        if (!heard) {
            m->host->count(m->ctx, "unknown_topic", 1);
        }
        return;
    }
    if ((a.dialect & TB) != 0 && !prepare_tb(m, in, &a)) {
        return;
    }
    struct tpc_frame f = { .size = sizeof(f), .kind = a.kind, .flags = a.flags };
    f.flags |= in->redelivered ? TPC_FRAME_REDELIVERED : 0;
    f.flags |= in->retained ? TPC_FRAME_RETAINED : 0;
    f.packet_id = in->packet_id;
    f.product = a.product;
    f.device = a.device;
    f.topic = a.topic.len > 0 ? a.topic : in->topic;
    f.name = a.name;
    f.correlation = a.correlation;
    f.payload = in->payload;
    deliver(m, &a, &f, in->qos);
}

/* ---- the connection ---- */

static void tell_watches(struct mqtt *m, bool up)
{
    pthread_mutex_lock(&m->lock);
    m->up = up;
    uint32_t count = m->watch_count;
    pthread_mutex_unlock(&m->lock);
    for (uint32_t i = 0; i < count; i++) {
        m->watches[i].fn(m->watches[i].user, up);
    }
}

static int reopen(void *user, struct mqtt_peer *p, uint64_t session)
{
    struct mqtt *m = user;
    struct tpc_session_options o = { .size = sizeof(o), .tenant = m->options.tenant };
    if (session == 0) {
        o.flags = TPC_SESSION_PRESENCE;
        o.product = mqtt_peer_product(p);
        o.device = mqtt_peer_device(p);
        o.peer = tpc_str_from(m->options.client.url);
        if (m->host->session_open(m->ctx, &o, &session) == 0 &&
            mqtt_peers_set(&m->peers, p, session) != 0) {
            m->host->session_close(m->ctx, session);
        }
    }
    return 0;
}

static int close_one(void *user, struct mqtt_peer *p, uint64_t session)
{
    struct mqtt *m = user;
    if (session != 0) {
        (void) mqtt_peers_set(&m->peers, p, 0);
        m->host->session_close(m->ctx, session);
    }
    return 0;
}

/* A device that was heard before the connection was lost is taken to be there again, so that what
 * waits for it leaves. */
static void on_up(void *user, bool session_present)
{
    struct mqtt *m = user;
    (void) session_present;
    if (m->options.presence) {
        pthread_mutex_lock(&m->opening);
        mqtt_peers_each(&m->peers, reopen, m);
        pthread_mutex_unlock(&m->opening);
    }
    tell_watches(m, true);
}

static void on_down(void *user)
{
    struct mqtt *m = user;
    if (m->options.presence) {
        pthread_mutex_lock(&m->opening);
        mqtt_peers_each(&m->peers, close_one, m);
        pthread_mutex_unlock(&m->opening);
    }
    tell_watches(m, false);
}

/* ---- down ---- */

/* ThingsBoard's gateways do not answer a set. */
static void confirm_set(struct mqtt *m, const struct down *d)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_REPLY };
    f.topic = TPC_STR("v1/devices/me/rpc/response/");
    f.correlation = tpc_str_from(d->id);
    f.payload = TPC_BYTES("{}");
    (void) m->host->receive(m->ctx, d->session, &f, 0); /* else its timeout ends it */
}

static void on_published(void *user, const struct tpc_error *err)
{
    struct down d = *(struct down *) user;
    struct mqtt *m = d.m;
    m->host->allocator->resize(m->host->allocator->user, user, sizeof(d), 0);
    if (err == NULL) {
        m->host->count(m->ctx, "published", 1);
    }
    m->host->sent(m->ctx, d.ticket, err);
    if (err == NULL && d.session != 0) {
        confirm_set(m, &d);
    }
}

/* A call that its answer will name by a number, or a set. */
static void note_tb(struct mqtt *m, const struct tpc_peer *peer, const struct tpc_frame *frame,
                    struct down *d)
{
    bool set = frame->kind == TPC_MSG_ATTRIBUTES_SET ||
               (frame->kind == TPC_MSG_COMMAND && tpc_str_equal(frame->name, TPC_STR("set")));
    if (!set) {
        mqtt_tb_remember(&m->tb, frame->correlation);
    } else if (frame->correlation.len < sizeof(d->id)) {
        d->session = peer->session;
        snprintf(d->id, sizeof(d->id), "%.*s", (int) frame->correlation.len,
                 frame->correlation.len > 0 ? frame->correlation.ptr : "");
    }
}

/* Which dialect a device is spoken to in: the one it spoke, else the first that fits its product.
 */
static enum mqtt_dialect dialect_of(struct mqtt *m, const struct tpc_peer *peer,
                                    const struct mqtt_pattern **ret)
{
    uint32_t custom = 0;
    enum mqtt_dialect d = mqtt_peers_dialect(&m->peers, peer->session, &custom);
    if (d == MQTT_CUSTOM) {
        *ret = &m->options.patterns[custom];
    }
    if (d != 0) {
        return d;
    }
    for (uint32_t i = 0; i < m->options.pattern_count; i++) {
        const struct mqtt_pattern *p = &m->options.patterns[i];
        if (p->down.len > 0 && (p->product.len == 0 || tpc_str_equal(p->product, peer->product))) {
            *ret = p;
            return MQTT_CUSTOM;
        }
    }
    return (m->options.dialects & MQTT_THINGSPANEL) != 0   ? MQTT_THINGSPANEL
           : (m->options.dialects & MQTT_THINGSBOARD) != 0 ? MQTT_THINGSBOARD
           : (m->options.dialects & TB) != 0               ? MQTT_THINGSBOARD_MANY
                                                           : MQTT_ALINK;
}

static int publish(struct mqtt *m, const struct tpc_peer *peer, const struct tpc_frame *frame,
                   uint64_t ticket)
{
    const struct tpc_allocator *a = m->host->allocator;
    const struct mqtt_pattern *pattern = NULL;
    char topic[MQTT_TOPIC_MAX];
    enum mqtt_dialect dialect = dialect_of(m, peer, &pattern);
    int rc = mqtt_topic_down(dialect, pattern, peer->product, peer->device, frame, topic);
    if (rc != 0) {
        return rc;
    }
    struct down *d = a->resize(a->user, NULL, 0, sizeof(*d));
    if (d == NULL) {
        return TPC_EAGAIN;
    }
    *d = (struct down){ .m = m, .ticket = ticket };
    if ((dialect & TB) != 0) {
        note_tb(m, peer, frame, d);
    }
    rc = mqtt_client_publish(m->client, tpc_str_from(topic), frame->payload, 1, false, on_published,
                             d);
    if (rc != 0) {
        a->resize(a->user, d, sizeof(*d), 0);
    }
    return rc;
}

static int mqtt_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                     uint64_t ticket)
{
    struct mqtt *m = self;
    if (peer->session == 0) {
        return TPC_EOFFLINE;
    }
    int rc = publish(m, peer, frame, ticket);
    bool answer = frame->kind == TPC_MSG_REPLY && (frame->flags & TPC_FRAME_GATEWAY) != 0;
    if (rc == 0 && answer && m->options.gateway_acks_both) {
        /* Where ThingsPanel's own platform answers gateways (contract thingspanel 1.6). */
        struct tpc_frame again = *frame;
        again.flags &= (uint16_t) ~TPC_FRAME_GATEWAY;
        (void) publish(m, peer, &again, 0);
    }
    return rc;
}

static void mqtt_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    struct mqtt *m = self;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < count; i++) {
        /* One that nobody waits for any more was given up when the connection was cut. */
        if (tickets[i] == m->waiting) {
            m->settled = true;
            m->code = errors[i];
            pthread_cond_broadcast(&m->changed);
        }
    }
    pthread_mutex_unlock(&m->lock);
}

static void mqtt_resume(void *self, uint64_t session)
{
    struct mqtt *m = self;
    (void) session;
    pthread_mutex_lock(&m->lock);
    m->resumed = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

/* ---- service mqtt.link ---- */

static int link_publish(void *self, struct tpc_str topic, struct tpc_bytes payload, uint32_t qos,
                        int retain, tpc_link_done_fn *done, void *user)
{
    struct mqtt *m = self;
    return mqtt_client_publish(m->client, topic, payload, qos, retain != 0, done, user);
}

static int link_subscribe(void *self, struct tpc_str filter, uint32_t qos, tpc_link_fn *fn,
                          void *user)
{
    struct mqtt *m = self;
    int rc = TPC_EAGAIN;
    if (filter.len == 0 || filter.len >= MQTT_TOPIC_MAX || qos > 1 || fn == NULL ||
        memchr(filter.ptr, '\0', filter.len) != NULL) {
        return TPC_EINVAL;
    }
    pthread_mutex_lock(&m->lock);
    uint32_t n = atomic_load(&m->sub_count);
    if (n < LINK_SUBS_MAX) {
        struct link_sub *s = &m->subs[n];
        memcpy(s->filter, filter.ptr, filter.len);
        s->filter[filter.len] = '\0';
        s->fn = fn;
        s->user = user;
        rc = mqtt_client_subscribe(m->client, s->filter, qos);
        if (rc == 0) {
            atomic_store(&m->sub_count, n + 1); /* from here on_message() sees it */
        }
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static int link_watch(void *self, tpc_link_state_fn *fn, void *user)
{
    struct mqtt *m = self;
    pthread_mutex_lock(&m->lock);
    bool room = m->watch_count < LINK_WATCHES_MAX;
    bool up = m->up;
    if (room) {
        m->watches[m->watch_count].fn = fn;
        m->watches[m->watch_count++].user = user;
    }
    pthread_mutex_unlock(&m->lock);
    if (room) {
        fn(user, up);
    }
    return room ? 0 : TPC_EAGAIN;
}

static const struct tpc_link_ops link_ops = { .iface = TPC_IFACE(struct tpc_link_ops, 1),
                                              .publish = link_publish,
                                              .subscribe = link_subscribe,
                                              .watch = link_watch };

/* ---- life ---- */

static int add_filter(void *user, const char *filter, bool both_ways)
{
    struct mqtt *m = user;
    char full[MQTT_TOPIC_MAX * 2];
    const char *group = m->options.share;
    snprintf(full, sizeof(full), "%s%s%s%s", group != NULL ? "$share/" : "",
             group != NULL ? group : "", group != NULL ? "/" : "", filter);
    return mqtt_client_subscribe(m->client, full, m->options.qos | (both_ways ? MQTT_NO_LOCAL : 0));
}

static int make_locks(struct mqtt *m)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int rc = pthread_mutex_init(&m->opening, NULL);
    rc = rc != 0 ? rc : pthread_mutex_init(&m->lock, NULL);
    rc = rc != 0 ? rc : pthread_cond_init(&m->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    m->locks_made = rc == 0;
    return rc == 0 ? 0 : m->host->fail(m->ctx, TPC_ENOMEM, "no mutex");
}

static int mqtt_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    struct mqtt *m = self;
    m->host = host;
    m->ctx = ctx;
    int rc = mqtt_options_read(host, ctx, cfg, &m->options);
    if (rc == 0) {
        rc = make_locks(m);
    }
    if (rc == 0) {
        uint64_t seed = 0;
        (void) host->random->fill(host->random->user, &seed, sizeof(seed));
        rc = mqtt_peers_init(&m->peers, host->allocator, m->options.max_devices, seed);
        m->peers_made = rc == 0;
    }
    if (rc != 0) {
        return rc;
    }
    m->options.client.user_data = m;
    m->options.client.on_message = on_message;
    m->options.client.on_up = on_up;
    m->options.client.on_down = on_down;
    rc = mqtt_client_create(host, ctx, &m->options.client, &m->client);
    if (rc == 0) {
        rc = mqtt_certs_init(&m->certs, host, ctx, &m->options.client, m->options.reload_ms,
                             m->client);
    }
    if (rc == 0 && (m->options.dialects & TB) != 0) {
        rc = mqtt_tb_init(&m->tb, host, ctx, m->client, &m->options.tb, m->options.tenant,
                          m->options.max_devices);
    }
    if (rc == 0) {
        rc = mqtt_filters(m->options.dialects, m->options.patterns, m->options.pattern_count,
                          add_filter, m);
        if (rc != 0) {
            return host->fail(ctx, rc, "no room for the subscriptions");
        }
    }
    return rc != 0 ? rc : host->offer(ctx, "mqtt.link", &link_ops, m);
}

static int mqtt_start(void *self)
{
    struct mqtt *m = self;
    struct tpc_session_options o = { .size = sizeof(o), .flags = TPC_SESSION_LINK };
    o.tenant = m->options.tenant;
    o.peer = tpc_str_from(m->options.client.url);
    int rc = m->host->session_open(m->ctx, &o, &m->link);
    if ((m->options.dialects & TB) != 0) {
        mqtt_tb_start(&m->tb);
    }
    rc = rc != 0 ? rc : mqtt_client_start(m->client);
    return rc != 0 ? rc : mqtt_certs_start(&m->certs);
}

static void mqtt_stop(void *self)
{
    struct mqtt *m = self;
    mqtt_certs_stop(&m->certs);
    mqtt_tb_stop(&m->tb);
    if (m->client != NULL) {
        mqtt_client_stop(m->client);
    }
    if (m->link != 0) {
        mqtt_peers_each(&m->peers, close_one, m);
        m->host->session_close(m->ctx, m->link);
        m->link = 0;
    }
}

static void mqtt_fini(void *self)
{
    struct mqtt *m = self;
    mqtt_tb_fini(&m->tb);
    m->client = mqtt_client_destroy(m->client);
    mqtt_certs_fini(&m->certs);
    if (m->peers_made) {
        mqtt_peers_fini(&m->peers);
    }
    if (m->locks_made) {
        pthread_cond_destroy(&m->changed);
        pthread_mutex_destroy(&m->lock);
        pthread_mutex_destroy(&m->opening);
    }
    mqtt_options_free(&m->options);
}

static const struct tpc_adapter_ops mqtt_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "mqtt",
    .instance_size = sizeof(struct mqtt),
    .options = TPC_OPTIONS(mqtt_option_table),
    .init = mqtt_init,
    .start = mqtt_start,
    .send = mqtt_send,
    .settled = mqtt_settled,
    .resume = mqtt_resume,
    .stop = mqtt_stop,
    .fini = mqtt_fini,
};

static const struct tpc_interface mqtt_interfaces[] = { { TPC_KIND_ADAPTER, &mqtt_ops } };
static const char *const mqtt_offers[] = { "mqtt.link" };

TPC_MODULE(mqtt, .version = "0.1.0", .licence = "Apache-2.0 AND EPL-2.0", .flags = TPC_MOD_THREADS,
           .interfaces = TPC_INTERFACES(mqtt_interfaces), .offers = TPC_LIST(mqtt_offers))
