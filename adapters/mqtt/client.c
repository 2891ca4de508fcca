#include "client_state.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void *take(struct mqtt_client *c, size_t size)
{
    const struct tpc_allocator *a = c->host->allocator;
    return a->resize(a->user, NULL, 0, size);
}

static void give(const struct tpc_host *host, void *p, size_t size)
{
    if (p != NULL) {
        host->allocator->resize(host->allocator->user, p, size, 0);
    }
}

static void give_text(struct mqtt_client *c, const char *text)
{
    if (text != NULL) {
        give(c->host, (void *) (uintptr_t) text, strlen(text) + 1);
    }
}

static size_t publish_size(const struct mqtt_publish *p)
{
    return sizeof(*p) + p->topic_len + 1 + p->payload_len;
}

/* ---- our thread ---- */

/* Waits for a change, at most ms (UINT32_MAX = for ever). Under the lock. */
static void wait_change(struct mqtt_client *c, uint32_t ms)
{
    struct timespec until;
    if (ms == UINT32_MAX) {
        pthread_cond_wait(&c->changed, &c->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long) (ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&c->changed, &c->lock, &until);
}

static int64_t mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Half of the pause up to all of it, so that many clients do not come back at once. */
static uint32_t jitter(struct mqtt_client *c, uint32_t pause_ms)
{
    uint32_t r = 0;
    if (c->host->random->fill(c->host->random->user, &r, sizeof(r)) != 0) {
        return pause_ms;
    }
    return pause_ms / 2 + r % (pause_ms / 2 + 1);
}

static int make_paho(struct mqtt_client *c)
{
    MQTTAsync_createOptions v4 = MQTTAsync_createOptions_initializer;
    MQTTAsync_createOptions v5 = MQTTAsync_createOptions_initializer5;
    MQTTAsync_createOptions *o = c->config.version == 5 ? &v5 : &v4;
    o->MQTTVersion = (int) c->config.version;
    /* paho counts what is in flight, too; our own queue is the buffer. */
    o->maxBufferedMessages = (int) c->config.max_inflight + 16;
    int rc = MQTTAsync_createWithOptions(&c->paho, c->url, c->config.client_id,
                                         MQTTCLIENT_PERSISTENCE_NONE, NULL, o);
    if (rc == MQTTASYNC_SUCCESS) {
        rc = MQTTAsync_setCallbacks(c->paho, c, mqtt_on_lost, mqtt_on_arrived, NULL);
        c->made = true;
    }
    if (rc == MQTTASYNC_SUCCESS && c->config.version == 5) {
        rc = MQTTAsync_setDisconnected(c->paho, c, mqtt_on_disconnected);
    }
    return rc;
}

static int begin_connect(struct mqtt_client *c)
{
    MQTTAsync_connectOptions v4 = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions v5 = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;
    MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperty expiry = { .identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL };
    bool is5 = c->config.version == 5;
    MQTTAsync_connectOptions *o = is5 ? &v5 : &v4;
    o->context = c;
    o->keepAliveInterval = (int) c->config.keep_alive_s;
    o->maxInflight = (int) c->config.max_inflight;
    o->connectTimeout = MQTT_CONNECT_TIMEOUT_S;
    o->username = c->config.user;
    o->password = c->config.password;
    if (is5) {
        o->onSuccess5 = mqtt_on_connect5;
        o->onFailure5 = mqtt_on_connect_failed5;
        o->cleanstart = c->config.clean_start;
        expiry.value.integer4 = c->config.session_expiry_s;
        MQTTProperties_add(&properties, &expiry);
        o->connectProperties = &properties;
    } else {
        o->MQTTVersion = MQTTVERSION_3_1_1;
        o->onSuccess = mqtt_on_connect;
        o->onFailure = mqtt_on_connect_failed;
        o->cleansession = c->config.clean_start;
    }
    if (strncmp(c->url, "ssl:", 4) == 0) {
        const char *ca = c->files != NULL ? c->files->path[TLS_CA] : c->config.ca;
        tls.trustStore = ca;
        tls.keyStore = c->files != NULL ? c->files->path[TLS_CERT] : c->config.cert;
        tls.privateKey = c->files != NULL ? c->files->path[TLS_KEY] : c->config.key;
        tls.enableServerCertAuth = c->config.verify;
        tls.verify = c->config.verify;
        tls.disableDefaultTrustStore = ca != NULL;
        tls.ssl_error_cb = mqtt_on_tls_error;
        tls.ssl_error_context = c;
        o->ssl = &tls;
    }
    int rc = MQTTAsync_connect(c->paho, o);
    MQTTProperties_free(&properties);
    return rc;
}

/* Asks for one filter. Without the lock. */
static void ask(struct mqtt_client *c, const char *filter, uint32_t qos)
{
    MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
    o.context = c;
    if (c->config.version == 5) {
        o.onSuccess5 = mqtt_on_subscribed5;
        o.onFailure5 = mqtt_on_subscribe_failed5;
        o.subscribeOptions.noLocal = (qos & MQTT_NO_LOCAL) != 0;
    } else {
        o.onSuccess = mqtt_on_subscribed;
        o.onFailure = mqtt_on_subscribe_failed;
    }
    int rc = MQTTAsync_subscribe(c->paho, filter, (int) (qos & 3), &o);
    if (rc != MQTTASYNC_SUCCESS && rc != MQTTASYNC_DISCONNECTED) {
        mqtt_subscribe_failed(c, rc);
    }
}

/* Asks for the filters that this connection does not have. Under the lock, which it leaves. */
static void ask_all(struct mqtt_client *c)
{
    c->unasked = false;
    for (uint32_t i = 0; i < c->subscription_count && !c->lost; i++) {
        struct mqtt_subscription s = c->subscriptions[i]; /* filters live until destroy */
        if (!s.asked) {
            c->subscriptions[i].asked = true;
            pthread_mutex_unlock(&c->lock);
            ask(c, s.filter, s.qos);
            pthread_mutex_lock(&c->lock);
        }
    }
}

/* Gives one publish to paho. Without the lock. */
static void hand_over(struct mqtt_client *c, struct mqtt_publish *p)
{
    MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
    struct mqtt_token *t = p->token; /* p may be gone before it returns */
    o.context = t;
    if (c->config.version == 5) {
        o.onSuccess5 = mqtt_on_published5;
        o.onFailure5 = mqtt_on_publish_failed5;
    } else {
        o.onSuccess = mqtt_on_published;
        o.onFailure = mqtt_on_publish_failed;
    }
    int rc = MQTTAsync_send(c->paho, p->bytes, (int) p->payload_len, p->bytes + p->topic_len + 1,
                            (int) p->qos, p->retain, &o);
    if (rc != MQTTASYNC_SUCCESS) {
        mqtt_note_ended(t, rc == MQTTASYNC_BAD_UTF8_STRING ? TPC_EINVAL : TPC_EOFFLINE, 0);
    }
}

static void publish_some(struct mqtt_client *c)
{
    while (c->first != NULL && c->inflight_count < c->inflight_max && !c->lost) {
        struct mqtt_publish *p = c->first;
        c->first = p->next;
        c->last = c->first == NULL ? NULL : c->last;
        c->queued--;
        c->queued_bytes -= publish_size(p);
        p->next = c->inflight;
        c->inflight = p;
        c->inflight_count++;
        pthread_mutex_unlock(&c->lock);
        hand_over(c, p);
        pthread_mutex_lock(&c->lock);
    }
}

/* Tells of publishes that ended and frees them. Under the lock, which it leaves. */
static void tell_ended(struct mqtt_client *c)
{
    struct mqtt_publish *list = c->ended;
    c->ended = NULL;
    pthread_mutex_unlock(&c->lock);
    mqtt_sockets_answer(&c->found);
    while (list != NULL) {
        struct mqtt_publish *p = list;
        struct tpc_error e = {
            .size = sizeof(e), .code = p->code, .native = p->native, .origin = "mqtt"
        };
        list = p->next;
        snprintf(e.text, sizeof(e.text), "%s",
                 p->code == TPC_EDENIED ? "the broker refuses the publish"
                                        : "the connection to the broker was lost");
        if (p->done != NULL) {
            p->done(p->user, p->code != 0 ? &e : NULL);
        }
        give(c->host, p->token, sizeof(*p->token)); /* it was never given to paho */
        give(c->host, p, publish_size(p));
    }
    pthread_mutex_lock(&c->lock);
}

/* Ends what waits in the queue. Under the lock. */
static void drop_queue(struct mqtt_client *c)
{
    while (c->first != NULL) {
        struct mqtt_publish *p = c->first;
        c->first = p->next;
        p->ended = true;
        p->code = TPC_EOFFLINE;
        mqtt_add_ended(c, p);
    }
    c->last = NULL;
    c->queued = 0;
    c->queued_bytes = 0;
}

static void went_up(struct mqtt_client *c)
{
    bool present = c->session_present;
    bool renewed = c->renewing;
    c->came_up = c->renewing = false;
    c->state = MQTT_UP;
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        c->subscriptions[i].asked = false;
    }
    c->unasked = true;
    pthread_mutex_unlock(&c->lock);
    struct mqtt_found found;
    mqtt_sockets_new(&c->before, c->port, &found);
    mqtt_sockets_hurry(&found);
    pthread_mutex_lock(&c->lock);
    c->found = found;
    pthread_mutex_unlock(&c->lock);
    c->host->log(c->ctx, TPC_LOG_INFO, "connected to %s%s", c->config.url,
                 present ? ", the session goes on" : "");
    if (!renewed) {
        c->config.on_up(c->config.user_data, present);
    }
    pthread_mutex_lock(&c->lock);
}

/* The connection, or the try, is over. *told: the failure is in the log already. */
static void went_down(struct mqtt_client *c, bool *told)
{
    bool was_up = c->state == MQTT_UP || c->renewing;
    char reason[MQTT_REASON_MAX];
    memcpy(reason, c->reason, sizeof(reason));
    c->state = MQTT_DOWN;
    c->lost = c->came_up = c->renewing = false;
    drop_queue(c);
    pthread_mutex_unlock(&c->lock);
    if (was_up) {
        c->host->log(c->ctx, TPC_LOG_WARN, "connection to %s lost: %s", c->config.url, reason);
        c->host->count(c->ctx, "connection_lost", 1);
        c->config.on_down(c->config.user_data);
    } else if (!*told) {
        c->host->log(c->ctx, TPC_LOG_WARN, "cannot connect to %s: %s; trying again", c->config.url,
                     reason);
    }
    *told = true;
    pthread_mutex_lock(&c->lock);
}

/* Why the broker's certificate was refused. One that is not valid yet has a line of its own: it is
 * this machine's clock, and what may have been told before was something else. Under the lock. */
static void explain(struct mqtt_client *c, bool *told)
{
    char text[MQTT_VERIFY_TEXT] = "";
    const char *ca = c->files != NULL ? c->files->path[TLS_CA] : c->config.ca;
    pthread_mutex_unlock(&c->lock);
    enum mqtt_verdict verdict = mqtt_verify(c->url, ca, text);
    pthread_mutex_lock(&c->lock);
    if (verdict == MQTT_VERIFY_EARLY) {
        c->host->count(c->ctx, "tls_not_yet_valid", 1);
        *told = *told && c->early_told;
        c->early_told = true;
        snprintf(c->reason, sizeof(c->reason),
                 "the broker's certificate is not valid yet, by the clock of this machine");
    } else if (verdict == MQTT_VERIFY_BAD) {
        snprintf(c->reason, sizeof(c->reason), "the broker's certificate is refused: %s", text);
    }
}

/* Ends the connection while no callback runs: publishes on their way have settle_ms, but paho looks at
 * them every 3 s only. Without the lock. Returns whether it ended within wait_ms. */
static bool disconnect(struct mqtt_client *c, int settle_ms, int wait_ms)
{
    MQTTAsync_disconnectOptions v4 = MQTTAsync_disconnectOptions_initializer;
    MQTTAsync_disconnectOptions v5 = MQTTAsync_disconnectOptions_initializer5;
    MQTTAsync_disconnectOptions *o = c->config.version == 5 ? &v5 : &v4;
    o->timeout = settle_ms;
    MQTTAsync_disconnect(c->paho, o);
    bool up = MQTTAsync_isConnected(c->paho) != 0;
    for (int i = 0; i < wait_ms / 10 && up; i++) {
        struct timespec pause = { 0, 10000000 };
        nanosleep(&pause, NULL);
        up = MQTTAsync_isConnected(c->paho) != 0;
    }
    return !up;
}

/* Leaves a connection that is up for one with other files, once nothing is on its way. paho would wait
 * for a message that is worked on: not while one is, unless others ended within the last second. Under
 * the lock, which it leaves. Returns whether it is left. */
static bool leave(struct mqtt_client *c)
{
    int64_t now = mono_ms();
    if (c->leave_ms == 0) {
        c->leave_ms = now + MQTT_SETTLE_MS;
        c->leave_arrived = c->arrived;
    }
    bool late = now >= c->leave_ms;
    bool stuck = c->callbacks > 0 && (!late || c->arrived == c->leave_arrived);
    if (stuck || (c->inflight_count > 0 && !late)) {
        if (late) {
            c->leave_ms = 0;
        }
        wait_change(c, MQTT_LEAVE_STEP_MS);
        return false;
    }
    c->renewing = true;
    pthread_mutex_unlock(&c->lock);
    /* What is not acknowledged by now paho sends again on the next connection, if the session goes on;
     * while it waits for that it takes no other one. */
    if (!disconnect(c, 0, MQTT_LEAVE_MS)) {
        mqtt_sockets_cut(&c->found);
    }
    pthread_mutex_lock(&c->lock);
    return true;
}

/* Begins a connection with the newest files. Under the lock, which it leaves. */
static int begin(struct mqtt_client *c)
{
    struct tls_copy *old = c->next_files != NULL ? c->files : NULL;
    if (c->next_files != NULL) {
        c->files = c->next_files;
        c->next_files = NULL;
    }
    c->state = MQTT_CONNECTING;
    c->lost = c->came_up = c->renew = false;
    c->leave_ms = 0;
    c->reason[0] = '\0';
    c->distrusted = false;
    c->inflight_max = c->config.max_inflight;
    c->facts = (struct mqtt_client_facts){ .version = c->config.version };
    c->found.count = 0;
    pthread_mutex_unlock(&c->lock);
    mqtt_sockets_list(c->port, &c->before);
    int rc = begin_connect(c);
    tls_copy_destroy(old); /* paho has the paths of the new ones */
    pthread_mutex_lock(&c->lock);
    return rc;
}

/* Life of one connection, or of one try. Under the lock. Returns whether it was up. */
static bool connection(struct mqtt_client *c, bool *told)
{
    bool was_up = false;
    bool left = false;
    int rc = begin(c);
    if (rc != MQTTASYNC_SUCCESS) {
        c->lost = true;
        snprintf(c->reason, sizeof(c->reason), "%s", MQTTAsync_strerror(rc));
    }
    while (!c->stopping && !c->lost && !left) {
        if (c->came_up) {
            was_up = true;
            *told = false;
            went_up(c);
        }
        if (c->state == MQTT_UP && !c->renew) {
            ask_all(c);
            publish_some(c);
        }
        if (c->ended != NULL) {
            tell_ended(c);
        } else if (c->state == MQTT_UP && c->renew) {
            left = leave(c);
        } else if (!c->stopping && !c->lost && !c->came_up &&
                   (c->state != MQTT_UP ||
                    (!c->unasked && (c->first == NULL || c->inflight_count >= c->inflight_max)))) {
            wait_change(c, UINT32_MAX);
        }
    }
    if (!c->stopping && !left) {
        if (c->distrusted && !was_up) {
            explain(c, told);
        }
        c->early_told = c->early_told && !was_up;
        went_down(c, told);
    }
    return was_up;
}

/* Ends the connection for good. Under the lock, which it leaves. What is being worked on has
 * MQTT_SETTLE_MS to become safe; then the socket is shut down before the callback may return, so
 * that paho's acknowledgement reaches nobody. */
static void cut(struct mqtt_client *c)
{
    for (int i = 0; i < MQTT_SETTLE_MS / 50 && c->callbacks > 0; i++) {
        wait_change(c, 50);
    }
    if (c->callbacks > 0) {
        mqtt_sockets_cut(&c->found);
    }
    c->cut = true;
    pthread_cond_broadcast(&c->changed);
    while (c->callbacks > 0) {
        wait_change(c, UINT32_MAX);
    }
    pthread_mutex_unlock(&c->lock);
    if (c->made) {
        /* Both take paho's lock, which it holds until it is done with a message. */
        (void) disconnect(c, MQTT_DISCONNECT_MS, MQTT_DISCONNECT_MS);
        MQTTAsync_destroy(&c->paho);
        c->made = false;
    }
    pthread_mutex_lock(&c->lock);
}

static void free_forgotten(struct mqtt_client *c)
{
    for (struct mqtt_token *t = c->forgotten, *next; t != NULL; t = next) {
        next = t->next;
        give(c->host, t, sizeof(*t));
    }
    c->forgotten = NULL;
}

/* A new client of paho, while there is no connection. Under the lock, which it leaves. */
static int remake_paho(struct mqtt_client *c)
{
    pthread_mutex_unlock(&c->lock);
    if (c->made) {
        MQTTAsync_destroy(&c->paho);
        c->made = false;
    }
    int rc = make_paho(c);
    pthread_mutex_lock(&c->lock);
    free_forgotten(c);
    return rc;
}

/* The broker has no MQTT 5: a client of paho speaks one version. Under the lock, which it leaves. */
static int speak_3(struct mqtt_client *c)
{
    c->no_version_5 = false;
    c->config.version = 4;
    pthread_mutex_unlock(&c->lock);
    c->host->log(c->ctx, TPC_LOG_INFO, "the broker has no MQTT 5: going on with 3.1.1");
    pthread_mutex_lock(&c->lock);
    return remake_paho(c);
}

static void *run(void *user)
{
    struct mqtt_client *c = user;
    uint32_t pause = c->config.retry_min_ms;
    bool told = false;
    int rc = make_paho(c);
    pthread_mutex_lock(&c->lock);
    if (rc != MQTTASYNC_SUCCESS) {
        c->host->log(c->ctx, TPC_LOG_ERROR, "no MQTT client: %s", MQTTAsync_strerror(rc));
    }
    while (!c->stopping) {
        rc = rc != MQTTASYNC_SUCCESS ? remake_paho(c) : rc; /* memory was short */
        if (rc == MQTTASYNC_SUCCESS && connection(c, &told)) {
            pause = c->config.retry_min_ms;
        }
        if (c->config.clean_start && !c->renewing && !c->stopping) {
            mqtt_end_forgotten(c); /* else they may go on with the session */
        }
        tell_ended(c);
        if (c->renewing) {
            continue;
        }
        if (c->forgotten != NULL && c->config.start_over && !c->stopping) {
            rc = remake_paho(c); /* it sends what it was given too late on the next connection */
        }
        if (c->no_version_5 && c->config.fall_back && c->config.version == 5 && !c->stopping) {
            rc = speak_3(c);
            continue;
        }
        int64_t until =
            mono_ms() + jitter(c, c->apart && pause < MQTT_APART_MS ? MQTT_APART_MS : pause);
        c->apart = false;
        for (int64_t now = mono_ms(); !c->stopping && !(c->renew && c->made) && now < until;
             now = mono_ms()) {
            wait_change(c, (uint32_t) (until - now));
        }
        pause = pause * 2 < c->config.retry_max_ms ? pause * 2 : c->config.retry_max_ms;
    }
    bool was_up = c->state == MQTT_UP || c->renewing;
    c->state = MQTT_DOWN;
    c->renewing = false;
    cut(c);
    drop_queue(c);
    mqtt_end_forgotten(c);
    tell_ended(c);
    free_forgotten(c); /* paho is gone */
    pthread_mutex_unlock(&c->lock);
    if (was_up) {
        c->config.on_down(c->config.user_data);
    }
    return NULL;
}

/* ---- the interface ---- */

static int copy_text(struct mqtt_client *c, const char **text)
{
    if (*text != NULL) {
        size_t size = strlen(*text) + 1;
        char *copy = take(c, size);
        if (copy != NULL) {
            memcpy(copy, *text, size);
        }
        *text = copy;
        return copy != NULL ? 0 : TPC_ENOMEM;
    }
    return 0;
}

static const char **texts_of(struct mqtt_client *c, size_t i)
{
    const char **texts[] = { &c->config.url,       &c->config.user, &c->config.password,
                             &c->config.client_id, &c->config.ca,   &c->config.cert,
                             &c->config.key };
    return i < sizeof(texts) / sizeof(texts[0]) ? texts[i] : NULL;
}

int mqtt_client_create(const struct tpc_host *host, void *ctx,
                       const struct mqtt_client_config *config, struct mqtt_client **ret)
{
    pthread_condattr_t monotonic;
    const struct tpc_allocator *a = host->allocator;
    struct mqtt_client *c = a->resize(a->user, NULL, 0, sizeof(*c));
    if (c == NULL) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for a client");
    }
    memset(c, 0, sizeof(*c));
    c->host = host;
    c->ctx = ctx;
    c->config = *config;
    int rc = 0;
    for (size_t i = 0; texts_of(c, i) != NULL; i++) {
        /* After a failure the rest is cleared, so that destroy frees only what is ours. */
        if (rc == 0) {
            rc = copy_text(c, texts_of(c, i));
        } else {
            *texts_of(c, i) = NULL;
        }
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (rc != 0) {
        host->fail(ctx, rc, "no memory for a client");
    } else if (mqtt_url(c->config.url, c->url, &c->port) != 0) {
        rc = host->fail(ctx, TPC_EINVAL, "url: \"%s\" is not mqtt://host[:port] or mqtts://...",
                        c->config.url);
    }
    if (rc != 0) {
        mqtt_client_destroy(c);
        return rc;
    }
    *ret = c;
    return 0;
}

int mqtt_client_start(struct mqtt_client *c)
{
    sigset_t all, before;
    c->stopping = c->cut = c->lost = c->came_up = false; /* it may have run before */
    /* Signals are the program's: no thread of ours, or of paho's, takes one. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return c->host->fail(c->ctx, TPC_EIO, "no thread: errno %d", rc);
    }
    c->running = true;
    return 0;
}

void mqtt_client_stop(struct mqtt_client *c)
{
    if (c->running) {
        pthread_mutex_lock(&c->lock);
        c->stopping = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
        c->running = false;
    }
}

struct mqtt_client *mqtt_client_destroy(struct mqtt_client *c)
{
    if (c == NULL) {
        return NULL;
    }
    mqtt_client_stop(c);
    for (size_t i = 0; texts_of(c, i) != NULL; i++) {
        give_text(c, *texts_of(c, i));
    }
    for (uint32_t i = 0; i < c->subscription_count; i++) {
        give_text(c, c->subscriptions[i].filter);
    }
    tls_copy_destroy(c->files);
    tls_copy_destroy(c->next_files);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    give(c->host, c, sizeof(*c));
    return NULL;
}

int mqtt_client_publish(struct mqtt_client *c, struct tpc_str topic, struct tpc_bytes payload,
                        uint32_t qos, bool retain, tpc_link_done_fn *done, void *user)
{
    size_t size = sizeof(struct mqtt_publish) + topic.len + 1 + payload.len;
    if (topic.len == 0 || topic.len > UINT16_MAX || payload.len > (256u << 20) ||
        memchr(topic.ptr, '\0', topic.len) != NULL || memchr(topic.ptr, '+', topic.len) != NULL ||
        memchr(topic.ptr, '#', topic.len) != NULL || qos > 1) {
        return TPC_EINVAL; /* for a wildcard a broker ends the connection, each time it is sent */
    }
    pthread_mutex_lock(&c->lock);
    bool up = (c->state == MQTT_UP && !c->lost) || c->renewing;
    int rc = !up || c->stopping ? TPC_EOFFLINE
             : c->queued == MQTT_QUEUE_MAX || c->queued_bytes + size > MQTT_QUEUE_BYTES_MAX
                 ? TPC_EAGAIN
                 : 0;
    struct mqtt_publish *p = rc == 0 ? take(c, size) : NULL;
    struct mqtt_token *t = p != NULL ? take(c, sizeof(*t)) : NULL;
    if (t != NULL) {
        *p = (struct mqtt_publish){ .client = c, .done = done, .user = user, .qos = qos };
        *t = (struct mqtt_token){ .client = c, .publish = p };
        p->token = t;
        p->retain = retain;
        p->topic_len = topic.len;
        p->payload_len = payload.len;
        memcpy(p->bytes, topic.ptr, topic.len);
        p->bytes[topic.len] = '\0';
        if (payload.len > 0) {
            memcpy(p->bytes + topic.len + 1, payload.ptr, payload.len);
        }
        *(c->last != NULL ? &c->last->next : &c->first) = p;
        c->last = p;
        c->queued++;
        c->queued_bytes += size;
        pthread_cond_broadcast(&c->changed);
    } else if (rc == 0) {
        give(c->host, p, size);
        rc = TPC_EAGAIN;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int mqtt_client_subscribe(struct mqtt_client *c, const char *filter, uint32_t qos)
{
    size_t size = strlen(filter) + 1;
    int rc = 0;
    pthread_mutex_lock(&c->lock);
    char *copy = NULL;
    if (c->subscription_count == MQTT_SUBSCRIPTIONS_MAX || size > UINT16_MAX) {
        rc = TPC_EAGAIN;
    } else if ((copy = take(c, size)) == NULL) {
        rc = TPC_ENOMEM;
    } else {
        memcpy(copy, filter, size);
        c->subscriptions[c->subscription_count++] = (struct mqtt_subscription){ copy, qos, false };
        c->unasked = true;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

void mqtt_client_renew(struct mqtt_client *c, struct tls_copy *files)
{
    pthread_mutex_lock(&c->lock);
    struct tls_copy *unused = c->next_files;
    c->next_files = files;
    c->renew = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    tls_copy_destroy(unused);
}

void mqtt_client_facts(struct mqtt_client *c, struct mqtt_client_facts *ret)
{
    pthread_mutex_lock(&c->lock);
    *ret = c->facts;
    pthread_mutex_unlock(&c->lock);
}

bool mqtt_client_drop(struct mqtt_client *c)
{
    pthread_mutex_lock(&c->lock);
    bool known = c->found.count > 0;
    c->apart = c->apart || c->found.count > 1;
    mqtt_sockets_cut(&c->found);
    pthread_mutex_unlock(&c->lock);
    return known;
}

bool mqtt_client_is_cut(struct mqtt_client *c)
{
    pthread_mutex_lock(&c->lock);
    bool is_cut = c->cut;
    pthread_mutex_unlock(&c->lock);
    return is_cut;
}
