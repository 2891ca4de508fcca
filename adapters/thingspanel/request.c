/* Calls to the platform. Their answers come on the client's thread and are read on ours. */
#include "platform.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

enum { URL_BYTES = 400 };

static const struct {
    const char *path, *calls; /* counted */
} kinds[TP_REQUESTS] = {
    [TP_REQUEST_HEARTBEAT] = { "/api/v1/plugin/heartbeat", "calls_heartbeat" },
    [TP_REQUEST_CONFIG] = { "/api/v1/plugin/device/config", "calls_config" },
    [TP_REQUEST_DEVICES] = { "/api/v1/plugin/devices", "calls_devices" },
    [TP_REQUEST_POINTS] = { "/api/v1/plugin/service/access/list", "calls_access" },
    [TP_REQUEST_POINT] = { "/api/v1/plugin/service/access", "calls_access" },
};

static void leave_away(struct tp_http *h, struct tp_request *r)
{
    *(r->prev_away != NULL ? &r->prev_away->next_away : &h->away) = r->next_away;
    if (r->next_away != NULL) {
        r->next_away->prev_away = r->prev_away;
    }
    h->away_count--;
}

static void join_away(struct tp_http *h, struct tp_request *r)
{
    r->next_away = h->away;
    if (h->away != NULL) {
        h->away->prev_away = r;
    }
    h->away = r;
    h->away_count++;
}

static void free_request(struct tp_http *h, struct tp_request *r)
{
    tpi_buf_fini(&r->body);
    tpi_free(h->host->allocator, r, sizeof(*r) + r->key_len);
}

static void on_done(void *user, const struct tpc_http_reply *reply)
{
    struct tp_request *r = user;
    struct tp_http *h = r->h;
    int failed = reply->err != NULL ? reply->err->code : 0;
    if (failed == 0) {
        failed = tpi_buf_put(&r->body, reply->body.ptr, reply->body.len);
    }
    pthread_mutex_lock(&h->lock);
    r->failed = failed;
    r->status = reply->status;
    leave_away(h, r);
    *(h->last_answered != NULL ? &h->last_answered->next : &h->answered) = r;
    h->last_answered = r;
    pthread_cond_broadcast(&h->quiet);
    tp_http_wake(h);
    pthread_mutex_unlock(&h->lock);
}

static int submit(struct tp_http *h, struct tp_request *r, const struct tpi_buf *body)
{
    static const struct tpc_http_header json = { { "Content-Type", 12 },
                                                 { "application/json", 16 } };
    const struct mqtt_client_config *tls = &h->config->client;
    char url[URL_BYTES];
    struct tpc_error err = { .size = sizeof(err) };
    snprintf(url, sizeof(url), "%s%s", h->config->api, kinds[r->kind].path);
    const struct tpc_http_request q = {
        .size = sizeof(q),
        .flags = tls->verify ? 0 : (uint32_t) TPC_HTTP_INSECURE,
        .url = tpc_str_from(url),
        .headers = { &json, 1, sizeof(json) },
        .body = { body->ptr, body->len },
        .connect_timeout_ms = h->config->request_timeout_ms,
        .timeout_ms = h->config->request_timeout_ms,
        .response_max_bytes = TP_REPLY_BYTES,
        .ca = tpc_str_from(tls->ca != NULL ? tls->ca : ""),
        .cert = tpc_str_from(tls->cert != NULL ? tls->cert : ""),
        .key = tpc_str_from(tls->key != NULL ? tls->key : ""),
        .done = on_done,
        .user_data = r,
    };
    uint64_t id = 0;
    int rc = h->client->submit(h->client_self, &q, &err, &id);
    if (rc == 0) {
        pthread_mutex_lock(&h->lock);
        r->id = id; /* it may be answered, but only we free it */
        pthread_mutex_unlock(&h->lock);
    } else if (rc == TPC_EINVAL && h->wrong_code[r->kind] != rc) {
        h->wrong_code[r->kind] = rc; /* said once: the option stays wrong */
        h->host->log(h->ctx, TPC_LOG_ERROR, "the platform cannot be asked at %s: %s", url,
                     err.text);
    }
    return rc;
}

int tp_request_send(struct tp_http *h, enum tp_request_kind kind, struct tp_ask *ask,
                    struct tpc_str key, const struct tpi_buf *body)
{
    struct tp_request *r = tpi_alloc_zero(h->host->allocator, sizeof(*r) + key.len);
    if (r == NULL) {
        return TPC_ENOMEM;
    }
    r->h = h;
    r->kind = kind;
    r->ask = ask;
    r->key_len = key.len;
    if (key.len > 0) {
        memcpy(r->key, key.ptr, key.len);
    }
    tpi_buf_init(&r->body, h->host->allocator, TP_REPLY_BYTES);
    pthread_mutex_lock(&h->lock);
    join_away(h, r);
    pthread_mutex_unlock(&h->lock);
    h->host->count(h->ctx, kinds[kind].calls, 1);
    int rc = submit(h, r, body);
    if (rc != 0) {
        pthread_mutex_lock(&h->lock);
        leave_away(h, r);
        pthread_mutex_unlock(&h->lock);
        free_request(h, r);
    }
    return rc;
}

/* ---- answers ---- */

static struct tp_request *take_answered(struct tp_http *h)
{
    pthread_mutex_lock(&h->lock);
    struct tp_request *r = h->answered;
    if (r != NULL) {
        h->answered = r->next;
        h->last_answered = h->answered != NULL ? h->last_answered : NULL;
    }
    pthread_mutex_unlock(&h->lock);
    return r;
}

static void count_verdict(struct tp_http *h, const struct tp_reply *r)
{
    static const char *const names[] = { [TP_REPLY_OK] = "replies",
                                         [TP_REPLY_NO] = "replies_no",
                                         [TP_REPLY_LATER] = "replies_failed",
                                         [TP_REPLY_LIMITED] = "replies_limited",
                                         [TP_REPLY_OPERATOR] = "replies_wrong" };
    h->host->count(h->ctx, names[r->verdict], 1);
}

static int short_len(struct tpc_str text)
{
    return (int) (text.len < 200 ? text.len : 200);
}

/* Somebody has to set something right: said once of a call, until the platform is back. */
static void say_wrong(struct tp_http *h, enum tp_request_kind kind, const struct tp_reply *r)
{
    if (h->wrong_code[kind] != r->code) {
        h->wrong_code[kind] = r->code;
        h->host->log(h->ctx, TPC_LOG_WARN, "the platform at %s%s: %d %.*s", h->config->api,
                     kinds[kind].path, r->code, short_len(r->message),
                     r->message.len > 0 ? r->message.ptr : "");
    }
}

void tp_platform_said(struct tp_http *h, enum tp_request_kind kind, const struct tp_reply *r)
{
    bool alive = r->verdict == TP_REPLY_OK || r->verdict == TP_REPLY_LIMITED;
    int code = alive ? 0 : r->code;
    if (kind != TP_REQUEST_HEARTBEAT) {
        /* It answered, whatever it said; whether it lives is for the heartbeat. */
        if (r->verdict == TP_REPLY_OPERATOR) {
            say_wrong(h, kind, r);
        }
        return;
    }
    if (h->said && h->alive == alive && h->said_code == code) {
        return;
    }
    bool again = h->said && !h->alive && alive;
    h->said = true;
    h->alive = alive;
    h->said_code = code;
    if (alive) {
        h->host->log(h->ctx, TPC_LOG_INFO, "the platform at %s answers", h->config->api);
    } else if (r->verdict == TP_REPLY_NO) {
        h->host->log(h->ctx, TPC_LOG_ERROR,
                     "the platform does not know the service \"%s\": register it there (%d %.*s)",
                     h->identifier, r->code, short_len(r->message),
                     r->message.len > 0 ? r->message.ptr : "");
    } else {
        say_wrong(h, kind, r);
    }
    if (TPC_HAS(h->host, struct tpc_host, gauge)) {
        h->host->gauge(h->ctx, "platform_up", alive);
    }
    if (again) {
        memset(h->wrong_code, 0, sizeof(h->wrong_code));
        tp_lists_due(h); /* what changed meanwhile was not told */
        tp_lists_hurry(h);
        tp_asks_hurry(h);
    }
}

static void read_one(struct tp_http *h, struct tp_request *r)
{
    struct tp_reply reply;
    const struct tpc_bytes body = { r->body.ptr, r->body.len };
    tp_reply_read(r->failed, r->status, body, h->arena, &reply);
    count_verdict(h, &reply);
    tp_platform_said(h, r->kind, &reply);
    switch (r->kind) {
    case TP_REQUEST_HEARTBEAT:
        h->beat_away = false;
        break;
    case TP_REQUEST_CONFIG:
        tp_ask_reply(h, r->ask, &reply);
        break;
    case TP_REQUEST_DEVICES:
        tp_list_reply(h, &reply);
        break;
    case TP_REQUEST_POINTS:
        tp_points_reply(h, &reply);
        break;
    default:
        tp_point_reply(h, (struct tpc_str){ r->key, r->key_len }, &reply);
        break;
    }
    tpc_arena_reset(h->arena);
}

void tp_requests_read(struct tp_http *h)
{
    struct tp_request *r;
    while ((r = take_answered(h)) != NULL) {
        read_one(h, r);
        free_request(h, r);
    }
}

/* ---- the end ---- */

/* One that was not called off; *ret_id is the client's. */
static bool next_to_end(struct tp_http *h, uint64_t *ret_id)
{
    struct tp_request *r = h->away;
    while (r != NULL && (r->called_off || r->id == 0)) {
        r = r->next_away;
    }
    if (r != NULL) {
        r->called_off = true;
        *ret_id = r->id;
    }
    return r != NULL;
}

void tp_requests_end(struct tp_http *h)
{
    struct tp_request *r;
    uint64_t id;
    pthread_mutex_lock(&h->lock);
    while (next_to_end(h, &id)) {
        pthread_mutex_unlock(&h->lock);
        (void) h->client->cancel(h->client_self, id);
        pthread_mutex_lock(&h->lock);
    }
    while (h->away_count > 0) {
        pthread_cond_wait(&h->quiet, &h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    while ((r = take_answered(h)) != NULL) {
        free_request(h, r);
    }
    h->asks_away = 0;
    h->beat_away = false;
}
