/*
 * Plugin of mosquitto 2.0 (interface version 5): devices of a platform log in at a stock broker with
 * their own credentials, use their own topics and nobody else's, and their messages and their coming
 * and going are published as ThingsPanel's broker does. See README.md for the options.
 *
 * Every function here runs in the broker's only thread: nothing waits (feed.h).
 */
#include "certificates.h"
#include "clients.h"
#include "feed.h"
#include "metrics.h"
#include "options.h"
#include "register.h"
#include "wrap.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* What the broker looks for is seen from outside, all else is not. */
#pragma GCC visibility push(default)
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#pragma GCC visibility pop

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/hash.h"

enum {
    CHECKED_A_TICK = 256, /* connections that are looked at again in one turn */
    REPORTS_A_TICK = 16,  /* of what was refused, in one turn */
    TOLD_A_TICK = 64,     /* status messages to somebody who just came, in one turn */
    REGISTER_S = 30,      /* that a registration may take */
    MAPPED_BYTES = 256,   /* of a mapped topic */
    ANSWERED_S = 2        /* that a registered device may stay to read the answer */
};

struct plugin {
    mosquitto_plugin_id_t *id;
    struct plugin_options options;
    struct feed feed;
    struct certificates certificates;
    struct clients clients;
    struct metrics metrics;
    uint64_t checked_changes; /* of the table, when the walk over the connections began */
    bool walking;
    time_t walked_s;
    uint32_t registering; /* connections that register a device */
    uint64_t written; /* hash of a topic that was allowed and of which no message came yet; or 0 */
};

static void count(struct plugin *p, enum metric metric)
{
    p->metrics.value[metric]++;
}

static struct tpc_str text_or_none(const char *text)
{
    return tpc_str_from(text != NULL ? text : "");
}

/* ---- logging in ---- */

/*
 * SHA-256 of a client's certificate as hex; "" = it has none, or the broker did not ask for it. The
 * broker gives it as an X509 of its own OpenSSL, whose functions are found in the process, so that the
 * plugin links no second one.
 */
static void fingerprint(const struct mosquitto *client, char ret[2 * TPI_SHA256_BYTES + 1])
{
    int (*i2d)(void *x509, unsigned char **out);
    void (*free_x509)(void *x509);
    uint8_t digest[TPI_SHA256_BYTES];
    const struct tpc_allocator *alloc = tpc_allocator_default();
    unsigned char *der = NULL;
    ret[0] = '\0';
    void *x509 = mosquitto_client_certificate(client);
    if (x509 == NULL) {
        return;
    }
    *(void **) &i2d = dlsym(RTLD_DEFAULT, "i2d_X509");
    *(void **) &free_x509 = dlsym(RTLD_DEFAULT, "X509_free");
    int len = i2d != NULL ? i2d(x509, NULL) : 0;
    if (len > 0 && (der = tpi_alloc(alloc, (size_t) len)) != NULL) {
        unsigned char *end = der;
        if (i2d(x509, &end) == len && tpi_sha256(der, (size_t) len, digest) == 0) {
            tpi_hex(digest, sizeof(digest), ret);
        }
    }
    tpi_free(alloc, der, der != NULL ? (size_t) len : 0);
    if (free_x509 != NULL) {
        free_x509(x509);
    }
}

/* To everybody (to NULL), or to one client whatever it subscribed to. */
static void publish_status(const struct plugin *p, const char *to, const struct tpc_identity *who,
                           bool online)
{
    char topic[sizeof("devices/status/") + TPC_AUTH_KEY_BYTES];
    if (!p->options.status || strpbrk(who->key, "+#/") != NULL) {
        return; /* its key is no level of a topic */
    }
    snprintf(topic, sizeof(topic), "devices/status/%s", who->key);
    int rc = mosquitto_broker_publish_copy(to, topic, 1, online ? "1" : "0", 1, false, NULL);
    if (rc != MOSQ_ERR_SUCCESS) {
        mosquitto_log_printf(MOSQ_LOG_WARNING, "tpcore: status of %s is not published (%d)",
                             who->key, rc);
    }
}

/* Its product's secret is right: the platform makes the device and answers (contract iot-module.md
 * sections 4 and 8). */
static int ask_platform(struct plugin *p, const struct mosquitto *client,
                        const struct tpc_identity *who, const char *sign)
{
    char topic[REGISTER_TOPIC_BYTES], payload[REGISTER_BYTES];
    struct client *c = clients_find(&p->clients, client);
    size_t len = register_write(who, sign, topic, payload);
    if (c == NULL || len == 0) {
        return MOSQ_ERR_AUTH;
    }
    c->until_s = time(NULL) + REGISTER_S;
    count(p, METRIC_REGISTRATIONS);
    return mosquitto_broker_publish_copy(NULL, topic, (int) len, payload, 1, false, NULL);
}

/* What the plugin refuses by itself, with the checks' own failures. */
static void note(struct plugin *p, const struct mosquitto *client, const struct tpc_identity *who,
                 uint32_t stage, const char *reason, const char *topic)
{
    struct tpc_why why = TPC_WHY_INIT;
    struct tpc_core *core = feed_take_any(&p->feed);
    if (core == NULL) {
        return;
    }
    why.stage = stage;
    why.code = TPC_EDENIED;
    why.tenant = tpc_str_from(p->options.tenant);
    why.device = text_or_none(who->key);
    why.origin = text_or_none(mosquitto_client_address(client));
    why.reason = text_or_none(reason);
    why.payload = (struct tpc_bytes){ (const uint8_t *) topic, strlen(topic) };
    (void) tpc_why_note(core, &why);
    feed_give(&p->feed);
}

static int enter(struct plugin *p, const struct mosquitto *client, const struct tpc_identity *who)
{
    bool first = false;
    const char *id = mosquitto_client_id(client);
    if (who->role != TPC_ROLE_SERVICE && id != NULL && clients_id_held(&p->clients, id)) {
        /* It would send the platform away and take its session. */
        count(p, METRIC_REFUSED_AUTH);
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "tpcore: refused: %s has a service user's client id",
                             who->key);
        note(p, client, who, TPC_WHY_AUTH, "its client id is that of a service user", "");
        return MOSQ_ERR_AUTH;
    }
    if (clients_add(&p->clients, client, who, &first) != 0) {
        return MOSQ_ERR_NOMEM;
    }
    if (who->role == TPC_ROLE_SERVICE && id != NULL) {
        (void) clients_hold_id(&p->clients, clients_find(&p->clients, client), id);
    }
    p->registering += who->role == TPC_ROLE_REGISTER;
    if (first) {
        publish_status(p, NULL, who, true);
    }
    return MOSQ_ERR_SUCCESS;
}

/* When the broker reads its configuration anew it asks of everybody who is there: nobody came. */
static bool is_again(const struct plugin *p, const struct mosquitto *client,
                     const struct tpc_identity *who)
{
    struct client *c = clients_find(&p->clients, client);
    if (c == NULL || c->who.role != who->role || c->who.id != who->id ||
        strcmp(c->who.key, who->key) != 0) {
        return false;
    }
    c->who = *who;
    return true;
}

static int on_auth(int event, void *event_data, void *userdata)
{
    struct plugin *p = userdata;
    const struct mosquitto_evt_basic_auth *ed = event_data;
    char digest[2 * TPI_SHA256_BYTES + 1];
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    struct tpc_identity who;
    (void) event;
    p->written = 0;
    struct tpc_core *core = feed_take(&p->feed);
    if (core == NULL) {
        count(p, METRIC_REFUSED_AUTH);
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "tpcore: refused, for there is no current table");
        return MOSQ_ERR_AUTH;
    }
    fingerprint(ed->client, digest);
    q.tenant = tpc_str_from(p->options.tenant);
    q.client_id = text_or_none(mosquitto_client_id(ed->client));
    q.username = text_or_none(ed->username);
    struct tpc_str password = text_or_none(ed->password);
    q.password = (struct tpc_bytes){ (const uint8_t *) password.ptr, password.len };
    q.fingerprint = tpc_str_from(digest);
    if (clients_find(&p->clients, ed->client) == NULL) {
        q.peer = text_or_none(mosquitto_client_address(ed->client));
    } /* else it is asked about anew: what others guessed at its address shall not send it away */
    int rc = tpc_auth_check(core, &q, &who);
    feed_give(&p->feed);
    if (rc != 0) {
        count(p, METRIC_REFUSED_AUTH);
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "tpcore: refused: %s", tpc_error_last()->text);
        return MOSQ_ERR_AUTH;
    }
    if (is_again(p, ed->client, &who)) {
        return MOSQ_ERR_SUCCESS;
    }
    rc = enter(p, ed->client, &who);
    return rc == MOSQ_ERR_SUCCESS && who.role == TPC_ROLE_REGISTER
               ? ask_platform(p, ed->client, &who, ed->password)
               : rc;
}

static int on_disconnect(int event, void *event_data, void *userdata)
{
    struct plugin *p = userdata;
    const struct mosquitto_evt_disconnect *ed = event_data;
    struct tpc_identity who;
    bool last = false;
    (void) event;
    p->written = 0;
    if (!clients_remove(&p->clients, ed->client, &who, &last)) {
        return MOSQ_ERR_SUCCESS;
    }
    p->registering -= who.role == TPC_ROLE_REGISTER && p->registering > 0;
    if (last) {
        publish_status(p, NULL, &who, false);
    }
    return MOSQ_ERR_SUCCESS;
}

/* ---- topics ---- */

/* What a service user subscribes to: the coming and going of devices, which it is told, or by its very
 * name what was refused, which waits until somebody hears it. */
static void note_filter(struct plugin *p, struct client *c, const char *filter)
{
    bool matches = false;
    if (strncmp(filter, "$share/", 7) == 0) {
        filter = strchr(filter + 7, '/');
        filter = filter != NULL ? filter + 1 : "";
    }
    if (mosquitto_topic_matches_sub(filter, "devices/status/x", &matches) == MOSQ_ERR_SUCCESS &&
        matches) {
        clients_want_status(&p->clients, c);
    }
    if (strcmp(filter, TPC_WHY_TOPIC) == 0) {
        clients_hear_why(&p->clients, c);
    }
}

/* Of a session whose connection is gone the broker asks what it shall keep for it. */
static int may_wait(struct plugin *p, const struct mosquitto_evt_acl_check *ed)
{
    struct tpc_identity who;
    const char *username = mosquitto_client_username(ed->client);
    struct tpc_core *core = username != NULL ? feed_take_any(&p->feed) : NULL;
    if (core == NULL) {
        return MOSQ_ERR_ACL_DENIED;
    }
    int rc = tpc_auth_resolve(core, tpc_str_from(p->options.tenant), tpc_str_from(username), &who);
    rc = rc != 0 ? rc : tpc_acl_check(core, &who, TPC_ACCESS_RECEIVE, tpc_str_from(ed->topic));
    feed_give(&p->feed);
    return rc == 0 ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

static uint64_t topic_hash(const char *topic)
{
    return tpi_hash(topic, strlen(topic), 0) | 1;
}

/*
 * The broker publishes the will of a device without showing it to on_message(), so it is not wrapped and
 * could name any device. It asks for the topic, and then, with no message in between, who may receive:
 * nobody. Nor is it kept: what a device wants to be retained on such a topic is refused, for here a will
 * looks like any other message.
 */
static bool is_will(const struct plugin *p, const char *topic)
{
    return p->written != 0 && topic_hash(topic) == p->written;
}

/* A device may publish here; whether it does it now. */
static int note_written(struct plugin *p, struct client *c,
                        const struct mosquitto_evt_acl_check *ed)
{
    if (!named_wanted(ed->topic) && (!p->options.wrap || !wrap_wanted(ed->topic))) {
        return MOSQ_ERR_SUCCESS;
    }
    if (!ed->retain) {
        p->written = topic_hash(ed->topic);
        return MOSQ_ERR_SUCCESS;
    }
    count(p, METRIC_REFUSED_ACL);
    note(p, ed->client, &c->who, TPC_WHY_ACL, "a retained message", ed->topic);
    if (!c->told_retain) {
        c->told_retain = true;
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "tpcore: %s: retained messages are refused",
                             c->who.key);
    }
    return MOSQ_ERR_ACL_DENIED;
}

static int on_acl(int event, void *event_data, void *userdata)
{
    struct plugin *p = userdata;
    const struct mosquitto_evt_acl_check *ed = event_data;
    struct client *c = clients_find(&p->clients, ed->client);
    (void) event;
    int access = ed->access == MOSQ_ACL_WRITE       ? TPC_ACCESS_PUBLISH
                 : ed->access == MOSQ_ACL_SUBSCRIBE ? TPC_ACCESS_SUBSCRIBE
                                                    : TPC_ACCESS_RECEIVE;
    if (ed->topic == NULL || (c == NULL && ed->access != MOSQ_ACL_READ)) {
        return MOSQ_ERR_ACL_DENIED;
    }
    if (ed->access == MOSQ_ACL_UNSUBSCRIBE) {
        return MOSQ_ERR_SUCCESS;
    }
    if (access == TPC_ACCESS_RECEIVE && is_will(p, ed->topic)) {
        return MOSQ_ERR_ACL_DENIED;
    }
    if (c == NULL) {
        return may_wait(p, ed);
    }
    p->written = access == TPC_ACCESS_RECEIVE ? p->written : 0;
    struct tpc_core *core = feed_take_any(&p->feed);
    if (core == NULL) {
        return MOSQ_ERR_ACL_DENIED;
    }
    int rc = tpc_acl_check(core, &c->who, access, tpc_str_from(ed->topic));
    feed_give(&p->feed);
    if (rc != 0 && access != TPC_ACCESS_RECEIVE) {
        count(p, METRIC_REFUSED_ACL);
    }
    if (rc == 0 && access == TPC_ACCESS_SUBSCRIBE && c->who.role == TPC_ROLE_SERVICE) {
        note_filter(p, c, ed->topic);
    }
    if (rc == 0 && access == TPC_ACCESS_PUBLISH && c->who.role == TPC_ROLE_DEVICE) {
        return note_written(p, c, ed);
    }
    return rc == 0 ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

/* The platform's answer goes to the device that asked, whether it subscribed or not. */
static void pass_answer(struct plugin *p, const struct mosquitto_evt_message *ed)
{
    struct tpc_str product, device;
    if (!register_answer(ed->topic, &product, &device)) {
        return;
    }
    struct client *c = clients_registering(&p->clients, product, device);
    if (c == NULL) {
        return;
    }
    c->until_s = time(NULL) + ANSWERED_S;
    const char *id = mosquitto_client_id(c->handle);
    if (id != NULL && mosquitto_client_sub_count(c->handle) == 0) {
        (void) mosquitto_broker_publish_copy(id, ed->topic, (int) ed->payloadlen, ed->payload, 1,
                                             false, NULL);
    }
}

/* A copy of what goes to a device, on its product's own topic. */
static void publish_copy(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    char text[2 * MAPPED_BYTES + 1];
    if (topic.len < sizeof(text)) {
        memcpy(text, topic.ptr, topic.len);
        text[topic.len] = '\0';
        (void) mosquitto_broker_publish_copy(NULL, text, (int) payload.len,
                                             (void *) (uintptr_t) payload.ptr, 1, false, NULL);
        count(user, METRIC_MAPPED);
    }
}

/* To the connections of one device, on a topic where others of its kind hear what is for them. */
static void pass_named(struct plugin *p, const struct mosquitto_evt_message *ed)
{
    struct tpc_str key;
    const char *topic = named_read(ed->topic, &key);
    for (const struct client *c = topic != NULL ? p->clients.first : NULL; c != NULL; c = c->next) {
        const char *id =
            c->who.role == TPC_ROLE_DEVICE && tpc_str_equal(key, tpc_str_from(c->who.key)) != 0
                ? mosquitto_client_id(c->handle)
                : NULL;
        if (id != NULL) {
            (void) mosquitto_broker_publish_copy(id, topic, (int) ed->payloadlen, ed->payload, 1,
                                                 false, NULL);
            count(p, METRIC_MAPPED);
        }
    }
}

/* A service's message: an answer to a registration, or one to a device that hears it elsewhere. */
static void pass_down(struct plugin *p, const struct mosquitto_evt_message *ed)
{
    struct tpc_bytes payload = { ed->payload, ed->payload != NULL ? ed->payloadlen : 0 };
    pass_named(p, ed);
    if (p->registering > 0) {
        pass_answer(p, ed);
    }
    struct tpc_core *core = feed_take_any(&p->feed);
    if (core != NULL) {
        (void) tpc_topic_down(core, tpc_str_from(p->options.tenant), tpc_str_from(ed->topic),
                              payload, publish_copy, p);
        feed_give(&p->feed);
    }
}

/* A device's message on a topic of its product goes on as one on the standard topic. */
static int map_up(struct plugin *p, const struct client *c, struct mosquitto_evt_message *ed)
{
    char target[MAPPED_BYTES + 1];
    struct tpc_buf buf = { (uint8_t *) target, MAPPED_BYTES, 0 };
    struct tpc_core *core = feed_take_any(&p->feed);
    if (core == NULL) {
        return MOSQ_ERR_ACL_DENIED;
    }
    int rc = tpc_topic_up(core, &c->who, tpc_str_from(ed->topic), &buf);
    feed_give(&p->feed);
    if (rc != 0) {
        return MOSQ_ERR_SUCCESS;
    }
    target[buf.need] = '\0';
    if (strncmp(target, "tpcore/", 7) == 0) {
        count(p, METRIC_REFUSED_ACL);
        return MOSQ_ERR_ACL_DENIED; /* a rule with that target: there only we speak */
    }
    char *topic = mosquitto_strdup(target);
    if (topic == NULL) {
        return MOSQ_ERR_NOMEM;
    }
    ed->topic = topic; /* the broker frees both */
    count(p, METRIC_MAPPED);
    return MOSQ_ERR_SUCCESS;
}

/* All of its kind use the same topics: the platform hears who it was, the others hear nothing. */
static int name_device(struct plugin *p, const struct client *c, struct mosquitto_evt_message *ed,
                       const char *before)
{
    struct tpc_str key = tpc_str_from(c->who.key);
    char *topic = mosquitto_malloc(named_bytes(key, ed->topic));
    if (topic == NULL) {
        return MOSQ_ERR_NOMEM;
    }
    named_write(key, ed->topic, topic);
    if (ed->topic != before) {
        mosquitto_free(ed->topic); /* map_up()'s */
    }
    ed->topic = topic; /* the broker frees both */
    count(p, METRIC_MAPPED);
    return MOSQ_ERR_SUCCESS;
}

static int on_message(int event, void *event_data, void *userdata)
{
    struct plugin *p = userdata;
    struct mosquitto_evt_message *ed = event_data;
    const struct client *c = clients_find(&p->clients, ed->client);
    (void) event;
    p->written = 0;
    if (c != NULL && c->who.role == TPC_ROLE_SERVICE) {
        pass_down(p, ed);
    }
    if (c == NULL || c->who.role != TPC_ROLE_DEVICE) {
        return MOSQ_ERR_SUCCESS;
    }
    const char *before = ed->topic;
    int rc = map_up(p, c, ed);
    if (rc == MOSQ_ERR_SUCCESS && named_wanted(ed->topic)) {
        return name_device(p, c, ed, before);
    }
    if (rc != MOSQ_ERR_SUCCESS || !p->options.wrap || !wrap_wanted(ed->topic)) {
        return rc;
    }
    struct tpc_str key = tpc_str_from(c->who.key);
    char *wrapped = mosquitto_malloc(wrap_bytes(key, ed->payloadlen));
    if (wrapped == NULL) {
        return MOSQ_ERR_NOMEM;
    }
    struct tpc_bytes payload = { ed->payload, ed->payload != NULL ? ed->payloadlen : 0 };
    size_t len = wrap_write(key, payload, wrapped);
    if (len == 0 || len > UINT32_MAX) {
        mosquitto_free(wrapped);
        return MOSQ_ERR_ACL_DENIED;
    }
    count(p, METRIC_WRAPPED);
    ed->payload = wrapped; /* the broker frees both */
    ed->payloadlen = (uint32_t) len;
    return MOSQ_ERR_SUCCESS;
}

/* ---- now and then ---- */

/* A few connections: who may not stay is sent away. */
static void check_some(struct plugin *p, struct tpc_core *core)
{
    for (int i = 0; i < CHECKED_A_TICK; i++) {
        struct client *c = clients_next(&p->clients, WALK_CHECK);
        if (c == NULL) {
            p->walking = false;
            return;
        }
        bool over = c->until_s != 0 && time(NULL) >= c->until_s;
        if (over || tpc_auth_recheck(core, &c->who) != 0) {
            const char *id = mosquitto_client_id(c->handle);
            mosquitto_log_printf(MOSQ_LOG_NOTICE, "tpcore: %s is sent away: %s",
                                 id != NULL ? id : "?",
                                 over ? "its registration is over" : tpc_error_last()->text);
            if (id != NULL) {
                (void) mosquitto_kick_client_by_clientid(id, true);
            }
        }
    }
}

/* A platform that just came does not know who is there: it is told, a few in each turn. */
static void tell_some(struct plugin *p)
{
    struct client *to = clients_wanting(&p->clients);
    for (int i = 0; to != NULL && i < TOLD_A_TICK; i++) {
        const struct client *c = clients_next(&p->clients, WALK_STATUS);
        const char *id = mosquitto_client_id(to->handle);
        if (c == NULL || id == NULL) {
            clients_told(&p->clients, to);
            return;
        }
        if (c->who.role == TPC_ROLE_DEVICE) {
            publish_status(p, id, &c->who, true);
        }
    }
}

/* What was refused, for the platform. */
static void report_some(struct plugin *p)
{
    struct feed_report r;
    bool heard = p->clients.hearing > 0;
    atomic_store(&p->feed.heard, heard);
    for (int i = 0; heard && i < REPORTS_A_TICK && feed_report(&p->feed, &r); i++) {
        if (mosquitto_broker_publish_copy(NULL, TPC_WHY_TOPIC, (int) r.len, r.json, 1, false,
                                          NULL) == MOSQ_ERR_SUCCESS) {
            count(p, METRIC_REPORTS);
        } else {
            atomic_fetch_add(&p->feed.missed, 1);
        }
    }
}

static void tell_metrics(struct plugin *p, time_t now)
{
    int64_t *value = p->metrics.value;
    if (!metrics_due(&p->metrics, now)) {
        return;
    }
    value[METRIC_CONNECTED] = (int64_t) tpi_map64_count(&p->clients.by_handle);
    value[METRIC_ONLINE] = (int64_t) tpi_map64_count(&p->clients.devices);
    value[METRIC_REPORTS_DROPPED] = (int64_t) atomic_load(&p->feed.missed);
    value[METRIC_TABLE_AGE_MS] = feed_age_ms(&p->feed);
    value[METRIC_TABLE_PRODUCTS] = (int64_t) atomic_load(&p->feed.products);
    value[METRIC_TABLE_DEVICES] = (int64_t) atomic_load(&p->feed.devices);
    metrics_tell(&p->metrics, now);
}

static int on_tick(int event, void *event_data, void *userdata)
{
    struct plugin *p = userdata;
    char news[FEED_TEXT_BYTES];
    (void) event;
    (void) event_data;
    p->written = 0;
    if (feed_news(&p->feed, news)) {
        mosquitto_log_printf(MOSQ_LOG_NOTICE, "tpcore: %s", news);
    }
    /* A reload asks who everybody is: not while nobody can be told. */
    struct tpc_core *current = feed_take(&p->feed);
    certificates_tick(&p->certificates, current != NULL);
    if (current != NULL) {
        feed_give(&p->feed);
    }
    tell_some(p);
    report_some(p);
    /* After each change of the table, and once a second for tokens that end. */
    uint64_t changes = atomic_load(&p->feed.changes);
    time_t now = time(NULL);
    tell_metrics(p, now);
    if (!p->walking && (changes != p->checked_changes || now != p->walked_s)) {
        p->walking = true;
        p->checked_changes = changes;
        p->walked_s = now;
    }
    struct tpc_core *core = p->walking ? feed_take(&p->feed) : NULL;
    if (core != NULL) {
        check_some(p, core);
        feed_give(&p->feed);
    }
    return MOSQ_ERR_SUCCESS;
}

/* ---- life ---- */

static const struct {
    int event;
    MOSQ_FUNC_generic_callback fn;
} callbacks[] = {
    { MOSQ_EVT_BASIC_AUTH, on_auth },       { MOSQ_EVT_ACL_CHECK, on_acl },
    { MOSQ_EVT_MESSAGE, on_message },       { MOSQ_EVT_TICK, on_tick },
    { MOSQ_EVT_DISCONNECT, on_disconnect },
};

enum { CALLBACKS = sizeof(callbacks) / sizeof(callbacks[0]) };

mosq_plugin_EXPORT int mosquitto_plugin_version(int count, const int *versions)
{
    for (int i = 0; i < count; i++) {
        if (versions[i] == 5) {
            return 5;
        }
    }
    return -1;
}

static int start(struct plugin *p)
{
    const struct plugin_options *o = &p->options;
    snprintf(p->feed.dir, sizeof(p->feed.dir), "%s", o->store_dir);
    memcpy(p->feed.secret_key, o->secret_key, o->secret_key_len);
    p->feed.secret_key_len = o->secret_key_len;
    memcpy(p->feed.token_key, o->token_key, o->token_key_len);
    p->feed.token_key_len = o->token_key_len;
    p->feed.refresh_ms = o->refresh_ms;
    clients_init(&p->clients);
    if (feed_start(&p->feed) != 0 || certificates_start(&p->certificates, &o->certificates) != 0) {
        mosquitto_log_printf(MOSQ_LOG_ERR, "tpcore: no thread can be started");
        return MOSQ_ERR_UNKNOWN;
    }
    for (int i = 0; i < CALLBACKS; i++) {
        int rc = mosquitto_callback_register(p->id, callbacks[i].event, callbacks[i].fn, NULL, p);
        if (rc != MOSQ_ERR_SUCCESS) {
            mosquitto_log_printf(MOSQ_LOG_ERR, "tpcore: the broker takes no callback (%d)", rc);
            return rc;
        }
    }
    return MOSQ_ERR_SUCCESS;
}

mosq_plugin_EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata,
                                             struct mosquitto_opt *options, int option_count)
{
    char why[OPTIONS_TEXT_BYTES];
    struct plugin *p = tpi_alloc_zero(tpc_allocator_default(), sizeof(*p));
    if (p == NULL) {
        return MOSQ_ERR_NOMEM;
    }
    p->id = identifier;
    *userdata = p;
    if (plugin_options_read(&p->options, options, option_count, why) != 0) {
        mosquitto_log_printf(MOSQ_LOG_ERR, "tpcore: %s", why);
        tpi_free(tpc_allocator_default(), p, sizeof(*p));
        *userdata = NULL;
        return MOSQ_ERR_INVAL;
    }
    return start(p);
}

mosq_plugin_EXPORT int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options,
                                                int option_count)
{
    struct plugin *p = userdata;
    (void) options;
    (void) option_count;
    if (p != NULL) {
        for (int i = 0; i < CALLBACKS; i++) {
            (void) mosquitto_callback_unregister(p->id, callbacks[i].event, callbacks[i].fn, NULL);
        }
        certificates_stop(&p->certificates);
        feed_stop(&p->feed);
        clients_fini(&p->clients);
        tpi_wipe(p, sizeof(*p));
        tpi_free(tpc_allocator_default(), p, sizeof(*p));
    }
    return MOSQ_ERR_SUCCESS;
}
