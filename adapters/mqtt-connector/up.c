/*
 * What comes in. A message is acknowledged to the broker when every frame that was made of it is in the
 * log, or the dead letter that stands for it; until then paho's receive thread waits here. There is one
 * such thread in a process, so the instance works on one message at a time.
 */
#include "../mqtt/dialect.h"
#include "connector.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/why.h>

enum { WAIT_MS = 50, RETRY_MS = 100, NOT_SETTLED = 1, NUMBER_SHIFT = 16 };

/* ---- sessions ---- */

static struct mqtt_address address_of(struct tpc_str device)
{
    struct mqtt_address a = { .dialect = MQTT_CUSTOM, .device = device };
    return a;
}

static int open_session(struct connector *c, struct tpc_str device, struct tpc_str type,
                        uint64_t *ret)
{
    struct tpc_session_options o = { .size = sizeof(o), .tenant = c->config.tenant };
    o.flags = c->config.presence ? TPC_SESSION_PRESENCE : 0;
    o.product = type;
    o.device = device;
    o.peer = tpc_str_from(c->config.client.url);
    int rc = c->host->session_open(c->ctx, &o, ret);
    if (rc == TPC_EDENIED && type.len > 0) {
        /* It was made with another type: that stays. */
        o.product = (struct tpc_str){ NULL, 0 };
        rc = c->host->session_open(c->ctx, &o, ret);
    }
    return rc;
}

static int make_device(struct connector *c, struct tpc_str device, struct tpc_str type)
{
    struct tpc_host_device d = { .size = sizeof(d), .tenant = c->config.tenant };
    if (!c->config.make_devices || type.len == 0 ||
        !TPC_HAS(c->host, struct tpc_host, make_device)) {
        return TPC_ENOENT;
    }
    d.product = type;
    d.device = device;
    d.product_document = c->config.cbor
                             ? TPC_STR("{\"codec\":\"cbor\",\"unknown\":\"keep\",\"model\":{}}")
                             : TPC_STR("{\"codec\":\"json\",\"unknown\":\"keep\",\"model\":{}}");
    int rc = c->host->make_device(c->ctx, &d);
    c->host->count(c->ctx, rc == 0 ? "devices_made" : "devices_refused", 1);
    if (rc != 0 && !c->told_unmade) {
        c->told_unmade = true; /* each of its messages comes here */
        c->host->log(c->ctx, TPC_LOG_WARN, "device %.*s of type %.*s is not made: %s",
                     (int) device.len, device.ptr, (int) type.len, type.ptr, tpc_error_name(rc));
    }
    return rc == TPC_EDENIED ? 0 : rc;
}

/* Opens the session of a device that has none, making the device if need be. Under opening. */
static int open_anew(struct connector *c, struct tpc_str device, struct tpc_str type,
                     uint64_t *ret_session)
{
    struct mqtt_address a = address_of(device);
    uint64_t session = 0;
    int rc = open_session(c, device, type, &session);
    if (rc == TPC_ENOENT) {
        rc = make_device(c, device, type);
        rc = rc == 0 ? open_session(c, device, type, &session) : rc;
        bool later = rc == TPC_ENOMEM || rc == TPC_EIO || rc == TPC_ENOSPC;
        if (rc != 0) {
            return later ? rc : 0; /* over the link: a dead letter for want of the device */
        }
    }
    if (rc != 0) {
        return tpc_error_class(rc) == TPC_CLASS_RETRY ? rc : 0;
    }
    if (mqtt_peers_put(&c->peers, &a, session) != 0) {
        /* Too many devices for the table: over the link, which looks each one up. */
        c->host->session_close(c->ctx, session);
        session = 0;
    }
    *ret_session = session;
    return 0;
}

int cn_session(struct connector *c, struct tpc_str device, struct tpc_str type,
               uint64_t *ret_session)
{
    struct mqtt_address a = address_of(device);
    int rc = 0;
    struct mqtt_peer *p = mqtt_peers_find(&c->peers, &a, ret_session);
    if (*ret_session != 0) {
        return 0;
    }
    pthread_mutex_lock(&c->opening);
    (void) tpi_map_remove(&c->gone, device.ptr, device.len);
    if (p == NULL || (*ret_session = mqtt_peers_session(&c->peers, p)) == 0) {
        rc = open_anew(c, device, type, ret_session);
    }
    pthread_mutex_unlock(&c->opening);
    return rc;
}

static void forget(struct connector *c, uint64_t session)
{
    pthread_mutex_lock(&c->opening);
    if (mqtt_peers_forget(&c->peers, session)) {
        c->host->session_close(c->ctx, session);
    }
    pthread_mutex_unlock(&c->opening);
}

static void disconnect(struct connector *c, struct tpc_str device)
{
    struct mqtt_address a = address_of(device);
    uint64_t session = 0;
    (void) mqtt_peers_find(&c->peers, &a, &session);
    if (session == 0) {
        return;
    }
    pthread_mutex_lock(&c->opening);
    /* Without memory for it the device comes back with the next connection. */
    (void) tpi_map_put(&c->gone, device.ptr, device.len, c, NULL);
    if (mqtt_peers_forget(&c->peers, session)) {
        c->host->session_close(c->ctx, session);
    }
    pthread_mutex_unlock(&c->opening);
}

static int reopen(void *user, struct mqtt_peer *p, uint64_t session)
{
    struct connector *c = user;
    struct tpc_str device = mqtt_peer_device(p);
    if (session == 0 && tpi_map_get(&c->gone, device.ptr, device.len) == NULL &&
        open_session(c, device, (struct tpc_str){ NULL, 0 }, &session) == 0 &&
        mqtt_peers_set(&c->peers, p, session) != 0) {
        c->host->session_close(c->ctx, session);
    }
    return 0;
}

static int close_one(void *user, struct mqtt_peer *p, uint64_t session)
{
    struct connector *c = user;
    if (session != 0) {
        (void) mqtt_peers_set(&c->peers, p, 0);
        c->host->session_close(c->ctx, session);
    }
    return 0;
}

/* A device that was heard before the connection was lost is taken to be there again, so that what waits
 * for it leaves. */
void cn_up(struct connector *c)
{
    if (c->config.presence) {
        pthread_mutex_lock(&c->opening);
        mqtt_peers_each(&c->peers, reopen, c);
        pthread_mutex_unlock(&c->opening);
    }
}

void cn_close_all(struct connector *c)
{
    pthread_mutex_lock(&c->opening);
    mqtt_peers_each(&c->peers, close_one, c);
    pthread_mutex_unlock(&c->opening);
}

void cn_down(struct connector *c)
{
    if (c->config.presence) {
        cn_close_all(c);
    }
}

/* ---- parts of a message ---- */

/* Waits for settled() or resume(), at most ms. Under the lock. */
static void wait_change(struct connector *c, uint32_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long) ms * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&c->changed, &c->lock, &until);
}

static void wait_resumed(struct connector *c)
{
    pthread_mutex_lock(&c->lock);
    if (!c->resumed) {
        wait_change(c, RETRY_MS);
    }
    c->resumed = false;
    pthread_mutex_unlock(&c->lock);
}

void cn_resume(struct connector *c)
{
    pthread_mutex_lock(&c->lock);
    c->resumed = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void cn_settled(struct connector *c, const uint64_t *tickets, const int *errors, uint32_t count)
{
    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < count; i++) {
        /* One that nobody waits for any more was given up when the connection was cut. */
        uint64_t at = tickets[i] - c->first_ticket;
        if (c->first_ticket != 0 && tickets[i] >= c->first_ticket && at < c->part_count &&
            c->parts[at].code == NOT_SETTLED) {
            c->parts[at].code = errors[i];
            c->left--;
        }
    }
    if (c->left == 0) {
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
}

static void fill_frame(const struct connector *c, uint32_t i, struct tpc_frame *f)
{
    const struct cn_part *p = &c->parts[i];
    const struct mqtt_incoming *in = c->incoming;
    *f = (struct tpc_frame){ .size = sizeof(*f), .kind = p->frame.kind };
    f->flags = (uint16_t) ((in->redelivered || c->again ? TPC_FRAME_REDELIVERED : 0) |
                           (in->retained ? TPC_FRAME_RETAINED : 0));
    f->packet_id = in->packet_id | (c->part_number + i) << NUMBER_SHIFT;
    f->unix_ms = p->frame.unix_ms;
    f->topic = in->topic;
    f->payload = p->frame.payload;
    if (p->dead) {
        f->name = tpc_str_from(p->why);
    } else {
        f->device = p->frame.device;
        f->product = p->frame.type;
    }
}

/* One try to hand a part over. */
static int give(struct connector *c, uint32_t i, uint64_t ticket)
{
    struct cn_part *p = &c->parts[i];
    struct tpc_frame f;
    uint64_t session = 0;
    fill_frame(c, i, &f);
    int rc = p->dead ? 0 : cn_session(c, p->frame.device, p->frame.type, &session);
    if (rc != 0) {
        return rc;
    }
    rc = c->host->receive(c->ctx, session != 0 ? session : c->link, &f, ticket);
    if ((rc == TPC_ENOENT || rc == TPC_EINVAL) && session != 0) {
        /* The device is gone, or came back under the same key: find it anew. */
        forget(c, session);
        session = 0;
        rc = cn_session(c, p->frame.device, p->frame.type, &session);
        if (rc == 0) {
            rc = c->host->receive(c->ctx, session != 0 ? session : c->link, &f, ticket);
        }
    }
    return rc;
}

/* What came of a part: whether it is done. */
static bool done(struct connector *c, const struct cn_part *p, int rc, bool safely)
{
    if (rc == 0) {
        c->host->count(c->ctx, p->dead ? "dead_letters" : "frames", 1);
        return true;
    }
    bool fix = tpc_error_class(rc) == TPC_CLASS_FIX && rc != TPC_ESTATE && rc != TPC_ECANCELED;
    if (!safely || fix) {
        c->host->count(c->ctx, fix ? "refused" : "dropped", 1); /* it would be refused for ever */
        return true;
    }
    return false;
}

/* Gives what is not done, up to what must wait for resume(). */
static void give_all(struct connector *c, uint64_t first, bool tickets, bool safely)
{
    bool later = false;
    for (uint32_t i = 0; i < c->part_count && !later; i++) {
        struct cn_part *p = &c->parts[i];
        if (p->done) {
            continue;
        }
        if (tickets) {
            pthread_mutex_lock(&c->lock);
            p->code = NOT_SETTLED;
            c->left++;
            pthread_mutex_unlock(&c->lock);
        }
        int rc = give(c, i, tickets ? first + i : 0);
        p->given = rc == 0;
        if (rc != 0 && tickets) {
            pthread_mutex_lock(&c->lock);
            p->code = 0;
            c->left--;
            pthread_mutex_unlock(&c->lock);
        }
        if (rc != 0 || !tickets) {
            p->done = done(c, p, rc, safely);
            later = !p->done;
        }
    }
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
static bool given_up(struct connector *c)
{
    if (!c->dropped && mono_ms() - c->begun_ms >= c->config.hold_ms &&
        mqtt_client_drop(c->client)) {
        c->dropped = true;
        c->host->count(c->ctx, "held_back", 1);
    }
    return c->dropped || mqtt_client_is_cut(c->client);
}

/* Waits until what was given is settled. Returns whether it was; false = the connection was cut. */
static bool wait_settled(struct connector *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->left > 0) {
        wait_change(c, WAIT_MS);
        pthread_mutex_unlock(&c->lock);
        bool cut = given_up(c);
        pthread_mutex_lock(&c->lock);
        if (cut && c->left > 0) {
            break;
        }
    }
    bool all = c->left == 0;
    pthread_mutex_unlock(&c->lock);
    for (uint32_t i = 0; all && i < c->part_count; i++) {
        struct cn_part *p = &c->parts[i];
        if (p->given && !p->done) {
            p->given = false;
            p->done = done(c, p, p->code, true);
        }
    }
    return all;
}

static bool all_done(const struct connector *c)
{
    for (uint32_t i = 0; i < c->part_count; i++) {
        if (!c->parts[i].done) {
            return false;
        }
    }
    return true;
}

/* Hands the parts over until they are safe. Returns 0, or TPC_ECANCELED once the connection is cut. */
static int deliver(struct connector *c)
{
    bool safely = c->incoming->qos > 0;
    bool ticketed = safely && c->config.ack_appended;
    int rc = 0;
    bool told = false;
    while (rc == 0 && !all_done(c)) {
        uint64_t first = c->next_ticket;
        c->next_ticket += CN_PARTS_MAX;
        pthread_mutex_lock(&c->lock);
        c->first_ticket = ticketed ? first : 0;
        c->left = 0;
        pthread_mutex_unlock(&c->lock);
        give_all(c, first, ticketed, safely);
        if (ticketed && !wait_settled(c)) {
            rc = TPC_ECANCELED;
        } else if (!all_done(c)) {
            if (!told) {
                c->host->count(c->ctx, "later", 1);
                told = true;
            }
            wait_resumed(c); /* also for what the log failed to take: it may fail at once */
            rc = given_up(c) ? TPC_ECANCELED : 0;
        }
    }
    /* The log goes on: a message of many parts would else never be taken whole. */
    c->begun_ms = rc == 0 ? mono_ms() : c->begun_ms;
    pthread_mutex_lock(&c->lock);
    c->first_ticket = 0;
    c->part_number += c->part_count;
    c->part_count = 0;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int add_part(struct connector *c, const struct cn_frame *f, const char *why)
{
    int rc = c->part_count == CN_PARTS_MAX ? deliver(c) : 0;
    if (rc == 0) {
        c->parts[c->part_count++] =
            (struct cn_part){ .frame = *f, .dead = why != NULL, .why = why };
    }
    return rc;
}

/* ---- what the conversion says ---- */

static int on_frame(void *user, const struct cn_frame *f)
{
    return add_part(user, f, NULL);
}

static int on_refused(void *user, struct tpc_str device, struct tpc_bytes payload, int code,
                      const char *why)
{
    struct connector *c = user;
    struct cn_frame f = { .kind = TPC_MSG_UNKNOWN, .payload = payload };
    struct tpc_str topic = c->incoming->topic;
    c->host->count(c->ctx, "unread", 1);
    if (!c->told_refused) {
        c->told_refused = true; /* the dead letters have all of them */
        c->host->log(c->ctx, TPC_LOG_WARN, "a message on %.*s cannot be read: %s", (int) topic.len,
                     topic.ptr, why);
    }
    if (device.len > 0 && TPC_HAS(c->host, struct tpc_host, why)) {
        struct tpc_why w = TPC_WHY_INIT;
        w.stage = TPC_WHY_DECODE;
        w.code = code;
        w.tenant = c->config.tenant;
        w.device = device;
        w.origin = topic;
        w.reason = tpc_str_from(why);
        w.payload = payload;
        (void) c->host->why(c->ctx, &w);
    }
    return add_part(c, &f, why);
}

static void on_count(void *user, const char *metric, uint64_t n)
{
    struct connector *c = user;
    c->host->count(c->ctx, metric, n);
}

/* ---- messages ---- */

static bool is_for(const struct cn_from *f, struct tpc_str topic)
{
    static const struct tpc_str share = TPC_STR_INIT("$share/");
    struct tpc_str filter = f->filter;
    if (filter.len > share.len && memcmp(filter.ptr, share.ptr, share.len) == 0) {
        const char *slash = memchr(filter.ptr + share.len, '/', filter.len - share.len);
        if (slash != NULL) {
            filter.len -= (size_t) (slash + 1 - filter.ptr);
            filter.ptr = slash + 1;
        }
    }
    return mqtt_filter_match(filter, topic);
}

/* Whose request it is; false: nobody's. */
static bool who(struct connector *c, const struct cn_from *f, const struct expr_message *m,
                struct tpc_str *ret_device, struct tpc_str *ret_type)
{
    const char *why = "no memory";
    int rc = cn_who(f, m, c->arena, ret_device, ret_type, &why);
    if (rc != 0) {
        (void) on_refused(c, (struct tpc_str){ NULL, 0 }, m->bytes, rc, why);
    }
    return rc == 0;
}

/* 0, or why it must be tried again. */
static int connect_one(struct connector *c, const struct cn_from *f, const struct expr_message *m)
{
    struct tpc_str device, type;
    uint64_t session = 0;
    if (!who(c, f, m, &device, &type)) {
        return 0;
    }
    int rc = cn_session(c, device, type, &session);
    if (rc == 0) {
        c->host->count(c->ctx, "connects", 1);
    }
    return rc;
}

static void disconnect_one(struct connector *c, const struct cn_from *f,
                           const struct expr_message *m)
{
    struct tpc_str device;
    if (who(c, f, m, &device, NULL)) {
        disconnect(c, device);
        c->host->count(c->ctx, "disconnects", 1);
    }
}

static void ask_one(struct connector *c, const struct cn_request *q, const struct expr_message *m)
{
    struct tpc_str device;
    if (!who(c, &q->from, m, &device, NULL)) {
        return;
    }
    int rc = cn_ask(c->asks, q, m, device, c->arena);
    if (rc != 0) {
        (void) on_refused(c, device, m->bytes, rc,
                          rc == TPC_ENOMEM ? "no memory" : "it names no attribute");
    }
}

/* What a message asks of the connector itself; *heard: it was for it. 0, or why it must be tried
 * again: connects come first, so nothing is asked twice then. */
static int requests(struct connector *c, bool *heard)
{
    const struct mqtt_incoming *in = c->incoming;
    const struct cn_config *g = &c->config;
    struct expr_message m = { .topic = in->topic, .bytes = in->payload };
    struct tpc_value json;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < g->connect_count + g->disconnect_count + g->request_count;
         i++) {
        uint32_t k = i - g->connect_count;
        uint32_t n = k - g->disconnect_count;
        const struct cn_from *f = i < g->connect_count      ? &g->connects[i]
                                  : k < g->disconnect_count ? &g->disconnects[k]
                                                            : &g->requests[n].from;
        if (!is_for(f, in->topic)) {
            continue;
        }
        if (!*heard && cn_json(in->payload, c->arena, &json)) {
            m.json = &json;
        }
        *heard = true;
        if (i < g->connect_count) {
            rc = connect_one(c, f, &m);
        } else if (k < g->disconnect_count) {
            disconnect_one(c, f, &m);
        } else {
            ask_one(c, &g->requests[n], &m);
        }
    }
    return rc;
}

static int convert(struct connector *c, bool *heard)
{
    const struct cn_out out = { c, on_frame, on_refused, on_count };
    const struct mqtt_incoming *in = c->incoming;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < c->config.mapping_count; i++) {
        const struct cn_mapping *m = &c->config.mappings[i];
        if (is_for(&m->from, in->topic)) {
            *heard = true;
            rc = cn_convert(m, c->config.cbor, in->topic, in->payload, c->arena, &out);
        }
    }
    return rc;
}

/* Without memory nothing is acknowledged: it is tried until there is some. */
void cn_message(struct connector *c, const struct mqtt_incoming *in)
{
    int rc;
    c->incoming = in;
    c->again = c->dropped = false;
    c->begun_ms = mono_ms();
    if (cn_answered(c, in)) {
        return;
    }
    do {
        c->part_number = 0;
        bool heard = false;
        rc = requests(c, &heard);
        rc = rc != 0 ? rc : convert(c, &heard);
        rc = rc != 0 && rc != TPC_ECANCELED ? rc : c->part_count > 0 ? deliver(c) : 0;
        if (!heard) {
            c->host->count(c->ctx, "unknown_topic", 1);
        }
        if (rc != 0 && rc != TPC_ECANCELED) {
            c->part_count = 0;
            c->again = true; /* parts that were given already are known by their numbers */
            c->host->count(c->ctx, "later", 1);
            wait_resumed(c);
        }
        tpc_arena_reset(c->arena);
    } while (rc != 0 && rc != TPC_ECANCELED && in->qos > 0 && !given_up(c));
}
