/* The connection's life, and the sender's thread. */
#include "inside.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

uint64_t tb_mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* ---- messages of the session itself ---- */

int tb_publish(struct tb *s, const char *topic, const struct tpi_buf *payload)
{
    struct tpc_bytes bytes = { payload->ptr, payload->len };
    int rc = TPC_EOFFLINE;
    pthread_mutex_lock(&s->lock);
    if (s->client != NULL && !s->stopping) {
        rc = mqtt_client_publish(s->client, tpc_str_from(topic), bytes, 1, false, NULL, NULL);
    }
    if (rc == 0) {
        tb_bucket_take(&s->messages, 1);
        s->totals.messages++;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int tb_say(struct tb *s, const char *topic, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (n < 0 || (size_t) n >= sizeof(text)) {
        return TPC_ETOOBIG;
    }
    struct tpi_buf b = { .ptr = (uint8_t *) text, .len = (size_t) n };
    return tb_publish(s, topic, &b);
}

/* ---- limits ---- */

void tb_session_slow_down(struct tb *s)
{
    uint64_t now = tb_mono_ms();
    s->host->count(s->ctx, "slowed_down", 1);
    tb_bucket_empty(&s->messages, now);
    tb_bucket_empty(&s->telemetry, now);
    tb_bucket_empty(&s->points, now);
}

static void set_bucket(struct tb *s, struct tb_bucket *b, struct tpc_str own,
                       const struct tpc_str said[2], const char *known)
{
    struct tpc_str texts[4] = { own, { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
    uint64_t now = tb_mono_ms();
    if (said != NULL) {
        texts[1] = said[0];
        texts[2] = said[1];
    } else if (known != NULL) {
        texts[1] = tpc_str_from(known);
    }
    memset(b, 0, sizeof(*b));
    for (size_t i = 0; i < 4; i++) {
        if (tb_bucket_add(b, texts[i], s->config.percent, now) != 0) {
            s->host->log(s->ctx, TPC_LOG_WARN, "a rate limit is not understood: \"%.*s\"",
                         (int) (texts[i].len < 100 ? texts[i].len : 100), texts[i].ptr);
        }
    }
}

static uint32_t part_of(const struct tb *s, uint32_t n)
{
    uint32_t share = (uint32_t) ((uint64_t) n * s->config.percent / 100);
    return share < 1 ? 1 : share;
}

/* Payload and publishes on their way, by what the server said in one way or the other. */
static void set_sizes(struct tb *s)
{
    uint32_t payload = s->said_payload != 0 ? s->said_payload : TB_PAYLOAD_DEFAULT;
    uint32_t inflight = s->config.inflight_max;
    if (s->facts.packet_max > 256 && s->facts.packet_max - 128 < payload) {
        payload = s->facts.packet_max - 128; /* its topic and header */
    }
    payload = part_of(s, payload);
    if (s->config.payload_max != 0) {
        payload = s->config.payload_max;
    }
    uint32_t said[3] = { s->said_inflight, s->facts.receive_max, tb_bucket_most(&s->messages) };
    for (size_t i = 0; i < 3; i++) {
        uint32_t share = said[i] == 0 || said[i] == UINT32_MAX ? UINT32_MAX
                         : i == 2                              ? said[i]
                                                               : part_of(s, said[i]);
        inflight = share < inflight ? share : inflight;
    }
    s->payload_max = payload < 256 ? 256 : payload;
    s->inflight_max = inflight;
}

void tb_session_ready(struct tb *s, const struct tb_session_limits *l)
{
    bool cloud = l == NULL && tb_host_is_cloud(s->config.host);
    char text[TB_LIMIT_TEXT] = "-";
    if (l != NULL) {
        int at = 0;
        const struct tpc_str *all[3] = { l->messages, l->telemetry, l->points };
        for (size_t i = 0; i < 6 && at < TB_LIMIT_TEXT; i++) {
            const struct tpc_str t = all[i / 2][i % 2];
            at += snprintf(text + at, sizeof(text) - (size_t) at, "%.*s;", (int) t.len,
                           t.len > 0 ? t.ptr : "");
        }
    }
    if (strcmp(text, s->limit_text) != 0) {
        /* Else what was used up before a connection was lost stays used. */
        set_bucket(s, &s->messages, s->config.messages, l != NULL ? l->messages : NULL,
                   cloud ? "10:1,60:60" : NULL);
        set_bucket(s, &s->telemetry, s->config.telemetry, l != NULL ? l->telemetry : NULL, NULL);
        set_bucket(s, &s->points, s->config.points, l != NULL ? l->points : NULL,
                   cloud ? "10:1,300:60" : NULL);
        memcpy(s->limit_text, text, sizeof(text));
    }
    if (l != NULL) {
        s->said_payload = l->payload_max;
        s->said_inflight = l->inflight_max;
    }
    set_sizes(s);
    s->limits_known = true;
    if (s->state == TB_ASKING) {
        s->state = TB_READY;
        s->hello = true;
    }
    pthread_cond_signal(&s->changed);
}

/* ---- the connection ---- */

static void on_up(void *user, bool session_present)
{
    struct tb *s = user;
    (void) session_present;
    struct mqtt_client_facts facts;
    mqtt_client_facts(s->client, &facts);
    pthread_mutex_lock(&s->lock);
    s->facts = facts;
    s->epoch++;
    s->state = TB_ASKING;
    s->asked_ms = tb_mono_ms();
    for (struct tb_device *d = s->devices.first; d != NULL; d = d->next) {
        if (d->online) {
            d->synced = false;
            tb_wait_device(s, d);
        }
    }
    if (s->limits_known) {
        /* The answer may change them later; data need not wait for it again. */
        set_sizes(s);
        s->state = TB_READY;
        s->hello = true;
    }
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    (void) tb_say(s, TB_DEVICE "rpc/request/1",
                  "{\"method\":\"getSessionLimits\",\"params\":{\"timeout\":5000}}");
    if (TPC_HAS(s->host, struct tpc_host, gauge)) {
        s->host->gauge(s->ctx, "connected", 1);
    }
}

static void on_down(void *user)
{
    struct tb *s = user;
    struct mqtt_client_facts facts;
    mqtt_client_facts(s->client, &facts);
    pthread_mutex_lock(&s->lock);
    s->state = TB_OFF;
    if (facts.end_code == 0x96 || facts.end_code == 0x97) {
        tb_session_slow_down(s);
    }
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (TPC_HAS(s->host, struct tpc_host, gauge)) {
        s->host->gauge(s->ctx, "connected", 0);
    }
}

static int subscribe(const struct tb *s, struct mqtt_client *client)
{
    static const char *const device[] = { TB_DEVICE "rpc/request/+", TB_DEVICE "rpc/response/+",
                                          TB_DEVICE "attributes",
                                          TB_DEVICE "attributes/response/+" };
    static const char *const gateway[] = { TB_GATEWAY "rpc", TB_GATEWAY "attributes",
                                           TB_GATEWAY "attributes/response",
                                           TB_GATEWAY "disconnect" };
    int rc = 0;
    for (size_t i = 0; i < 4 && rc == 0; i++) {
        rc = mqtt_client_subscribe(client, device[i], 1 | MQTT_NO_LOCAL);
        if (rc == 0 && !s->config.device_mode) {
            rc = mqtt_client_subscribe(client, gateway[i], 1 | MQTT_NO_LOCAL);
        }
    }
    return rc;
}

static int connect_as(struct tb *s)
{
    struct mqtt_client_config *c = &s->config.client;
    c->user_data = s;
    c->on_message = tb_on_message;
    c->on_up = on_up;
    c->on_down = on_down;
    struct mqtt_client *client = NULL;
    int rc = mqtt_client_create(s->host, s->ctx, c, &client);
    if (rc == 0) {
        rc = subscribe(s, client);
        if (rc != 0) {
            s->host->fail(s->ctx, rc, "no memory for a subscription");
        }
    }
    pthread_mutex_lock(&s->lock);
    s->client = client; /* before its thread calls on_up() */
    pthread_mutex_unlock(&s->lock);
    rc = rc != 0 ? rc : mqtt_client_start(client);
    if (rc != 0) {
        pthread_mutex_lock(&s->lock);
        s->client = NULL;
        pthread_mutex_unlock(&s->lock);
        mqtt_client_destroy(client);
    }
    return rc;
}

/* ---- asking for credentials ---- */

static void on_enroller_up(void *user, bool session_present)
{
    struct tb *s = user;
    struct tpi_buf b;
    (void) session_present;
    tpi_buf_init(&b, s->host->allocator, 0);
    int rc = tb_state_ask(s, &b);
    struct tpc_bytes bytes = { b.ptr, b.len };
    rc = rc != 0 ? rc
                 : mqtt_client_publish(s->enroller, TPC_STR("/provision/request"), bytes, 1, false,
                                       NULL, NULL);
    if (rc != 0) {
        s->host->log(s->ctx, TPC_LOG_ERROR, "no credentials can be asked for: code %d", rc);
    }
    tpi_buf_fini(&b);
}

static void on_enroller_down(void *user)
{
    (void) user;
}

static int enroll(struct tb *s)
{
    struct mqtt_client_config c = s->config.client;
    c.user_data = s;
    c.user = "provision";
    c.password = NULL;
    c.cert = c.key = NULL;
    c.on_message = tb_on_message;
    c.on_up = on_enroller_up;
    c.on_down = on_enroller_down;
    int rc = mqtt_client_create(s->host, s->ctx, &c, &s->enroller);
    if (rc == 0) {
        rc = mqtt_client_subscribe(s->enroller, "/provision/response", 1);
        if (rc != 0) {
            s->host->fail(s->ctx, rc, "no memory for a subscription");
        }
    }
    rc = rc != 0 ? rc : mqtt_client_start(s->enroller);
    if (rc != 0) {
        s->enroller = mqtt_client_destroy(s->enroller);
    }
    return rc;
}

/* The session with the credentials that came. Under the lock, which it leaves; the sender's thread. */
static void go_on(struct tb *s)
{
    struct mqtt_client *enroller = s->enroller;
    s->enrolled = false;
    pthread_mutex_unlock(&s->lock);
    mqtt_client_stop(enroller);
    int rc = connect_as(s);
    pthread_mutex_lock(&s->lock);
    if (rc != 0) {
        s->host->log(s->ctx, TPC_LOG_ERROR, "no session with the new credentials: code %d", rc);
    }
}

/* ---- the sender ---- */

/* What is due beside batches. Under the lock, which it leaves. */
static void look_after(struct tb *s, uint64_t now, uint64_t *wait)
{
    if (s->enrolled) {
        go_on(s);
    }
    if (s->state == TB_ASKING) {
        uint64_t due = s->asked_ms + s->config.limits_wait_ms;
        if (now >= due) {
            s->host->log(s->ctx, TPC_LOG_WARN,
                         "the server does not say its limits: going on with %s",
                         tb_host_is_cloud(s->config.host) ? "those of its cloud" : "none");
            tb_session_ready(s, NULL);
        } else {
            *wait = due - now < *wait ? due - now : *wait;
        }
    }
    if (s->state == TB_READY && s->hello) {
        s->hello = false;
        pthread_mutex_unlock(&s->lock);
        tb_own_hello(s);
        pthread_mutex_lock(&s->lock);
    }
    if (s->config.stats_ms != 0 && s->state == TB_READY) {
        if (now >= s->stats_ms) {
            s->stats_ms = now + s->config.stats_ms;
            pthread_mutex_unlock(&s->lock);
            tb_own_stats(s, now);
            pthread_mutex_lock(&s->lock);
        }
        *wait = s->stats_ms - now < *wait ? s->stats_ms - now : *wait;
    }
    if (s->asks != NULL) {
        tb_ask_expire(s, now, false);
        *wait = *wait < 100 ? *wait : 100;
    }
}

static void wait_change(struct tb *s, uint64_t ms)
{
    struct timespec until;
    if (ms > 3600000) {
        pthread_cond_wait(&s->changed, &s->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t) (ms / 1000);
    until.tv_nsec += (long) (ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

static void *run_sender(void *user)
{
    struct tb *s = user;
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        uint64_t wait = UINT64_MAX;
        uint64_t now = tb_mono_ms();
        look_after(s, now, &wait);
        if (!s->stopping && !tb_send_step(s, now, &wait) && !s->stopping) {
            wait_change(s, wait);
        }
    }
    tb_send_end(s, TPC_ECANCELED, "the sink stops");
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- life ---- */

static int start_thread(struct tb *s, pthread_t *thread, void *(*run)(void *) )
{
    sigset_t all, before;
    /* Signals are the program's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? 0 : s->host->fail(s->ctx, TPC_EIO, "no thread: errno %d", rc);
}

int tb_session_start(struct tb *s)
{
    s->stopping = false;
    s->state = TB_OFF;
    s->limits_known = s->enrolled = s->hello = false;
    s->said_payload = s->said_inflight = 0;
    s->has_credentials = false;
    s->limit_text[0] = '\0';
    int rc = tb_state_load(s);
    rc = rc != 0 ? rc : start_thread(s, &s->worker, tb_worker);
    s->worker_runs = rc == 0;
    if (rc == 0) {
        rc = s->config.provision && !s->has_credentials ? enroll(s) : connect_as(s);
    }
    rc = rc != 0 ? rc : start_thread(s, &s->sender, run_sender);
    s->sender_runs = s->sender_runs || rc == 0;
    if (rc != 0) {
        tb_session_stop(s);
    }
    return rc;
}

static void join(bool *runs, pthread_t thread)
{
    if (*runs) {
        pthread_join(thread, NULL);
        *runs = false;
    }
}

void tb_session_stop(struct tb *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_cond_broadcast(&s->came);
    pthread_mutex_unlock(&s->lock);
    /* It gives back what it has; publishes on their way are the clients'. */
    join(&s->sender_runs, s->sender);
    if (s->enroller != NULL) {
        mqtt_client_stop(s->enroller);
    }
    if (s->client != NULL) {
        mqtt_client_stop(s->client); /* ends every publish */
    }
    join(&s->worker_runs, s->worker);
    pthread_mutex_lock(&s->lock);
    tb_ask_expire(s, 0, true);
    mqtt_notes_clear(&s->down, s->host->allocator);
    s->state = TB_OFF;
    struct mqtt_client *client = s->client;
    s->client = NULL;
    pthread_mutex_unlock(&s->lock);
    mqtt_client_destroy(client);
    s->enroller = mqtt_client_destroy(s->enroller);
}
