/* The connection's life, and the worker's. */
#include "inside.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static void tell_connected(const struct tp *s, int64_t value)
{
    if (TPC_HAS(s->host, struct tpc_host, gauge)) {
        s->host->gauge(s->ctx, "connected", value);
    }
}

/* For a packet that is too large a broker ends the connection, each time it comes. */
static size_t payload_max(const struct tp *s)
{
    struct mqtt_client_facts facts;
    size_t most = s->config.payload_max;
    mqtt_client_facts(s->client, &facts);
    if (facts.packet_max > TP_HEADER_BYTES && facts.packet_max - TP_HEADER_BYTES < most) {
        most = facts.packet_max - TP_HEADER_BYTES;
    }
    return most;
}

static void on_up(void *user, bool session_present)
{
    struct tp *s = user;
    size_t most = payload_max(s);
    (void) session_present;
    pthread_mutex_lock(&s->lock);
    s->up = true;
    s->payload_max = most;
    tp_status_begin(s);
    pthread_cond_signal(&s->came);
    pthread_mutex_unlock(&s->lock);
    tell_connected(s, 1);
    if (s->directory != NULL && s->directory->link != NULL) {
        s->directory->link(s->directory_self, true);
    }
}

static void on_down(void *user)
{
    struct tp *s = user;
    pthread_mutex_lock(&s->lock);
    s->up = false;
    pthread_mutex_unlock(&s->lock);
    tell_connected(s, 0);
    if (s->directory != NULL && s->directory->link != NULL) {
        s->directory->link(s->directory_self, false);
    }
}

/* What the service is called, and the topics that are for it. */
static int name_service(struct tp *s)
{
    struct tpc_str own = s->config.identifier;
    struct tpc_str served =
        s->ops != NULL ? tpc_str_from(s->ops->identifier) : (struct tpc_str){ NULL, 0 };
    struct tpc_str id = served.len > 0 ? served : own;
    if (id.len == 0) {
        return s->host->fail(s->ctx, TPC_EINVAL,
                             "identifier: is not set, and no service is served");
    }
    if (own.len > 0 && tpc_str_equal(own, id) == 0) {
        return s->host->fail(s->ctx, TPC_EINVAL, "identifier: the service that is served is %.*s",
                             (int) id.len, id.ptr);
    }
    if (!tp_topic_text(id) || id.len > TP_KEY_BYTES) {
        return s->host->fail(s->ctx, TPC_EINVAL, "identifier: cannot stand in a topic");
    }
    snprintf(s->identifier, sizeof(s->identifier), "%.*s", (int) id.len, id.ptr);
    if (s->config.prefix.len > 0) {
        snprintf(s->prefix, sizeof(s->prefix), "%.*s", (int) s->config.prefix.len,
                 s->config.prefix.ptr);
    } else {
        snprintf(s->prefix, sizeof(s->prefix), "plugin/%s/", s->identifier);
    }
    return 0;
}

static int connect_to(struct tp *s)
{
    struct mqtt_client_config *c = &s->config.client;
    char filter[sizeof(s->prefix) + 16];
    size_t n = strlen(s->prefix);
    c->user_data = s;
    c->on_message = tp_on_message;
    c->on_up = on_up;
    c->on_down = on_down;
    /* A prefix is put before "devices/.." as it is, with a slash at its end or not. */
    snprintf(filter, sizeof(filter), "%s%s", s->prefix,
             n > 0 && s->prefix[n - 1] == '/' ? "#" : "devices/#");
    int rc = mqtt_client_create(s->host, s->ctx, c, &s->client);
    if (rc == 0 && (rc = mqtt_client_subscribe(s->client, filter, 1)) != 0) {
        s->host->fail(s->ctx, rc, "no memory for a subscription");
    }
    rc = rc != 0 ? rc : mqtt_client_start(s->client);
    if (rc != 0) {
        s->client = mqtt_client_destroy(s->client);
    }
    return rc;
}

static int start_worker(struct tp *s)
{
    sigset_t all, before;
    /* Signals are the program's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&s->worker, NULL, tp_worker, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->worker_runs = rc == 0;
    return rc == 0 ? 0 : s->host->fail(s->ctx, TPC_EIO, "no thread: errno %d", rc);
}

int tp_session_start(struct tp *s)
{
    int rc = name_service(s);
    if (rc != 0) {
        return rc;
    }
    tp_calls_fini(s); /* what was open before a stop does not end any more */
    pthread_mutex_lock(&s->lock);
    s->stopping = s->up = false;
    pthread_mutex_unlock(&s->lock);
    /* Batches come once the core's start is through, the worker publishes once there is a connection. */
    rc = connect_to(s);
    rc = rc != 0 ? rc : start_worker(s);
    if (rc != 0) {
        tp_session_stop(s);
    }
    return rc;
}

void tp_session_stop(struct tp *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->came);
    pthread_mutex_unlock(&s->lock);
    if (s->client != NULL) {
        mqtt_client_stop(s->client); /* ends every publish */
    }
    if (s->worker_runs) {
        pthread_join(s->worker, NULL);
        s->worker_runs = false;
    }
    pthread_mutex_lock(&s->lock);
    while (s->busy > 0) {
        pthread_cond_wait(&s->idle, &s->lock);
    }
    s->up = false;
    mqtt_notes_clear(&s->down, s->host->allocator);
    pthread_mutex_unlock(&s->lock);
    s->client = mqtt_client_destroy(s->client);
}
