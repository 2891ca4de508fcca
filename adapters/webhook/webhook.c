/*
 * Module "webhook": a sink that posts messages to a URL, over the client that another module offers
 * (http.client). One request of a target runs at a time, so that order is kept.
 *
 * Without `batch` a batch is posted message by message. What the server has taken is remembered until
 * its batch is through: when the rest fails and the batch comes again, it is not posted twice.
 */
#include "target.h"

#include <pthread.h>
#include <string.h>
#include <tpcore/version.h>

#include "base/error.h"

enum { SNIPPET_MAX = 120, GIVEN_MAX = 65536 };

struct target {
    struct webhook_target said; /* first */
    struct webhook *hook;
    struct target *next;    /* of those with a request; under the hook's lock */
    uint64_t request;       /* id of it; under the hook's lock */
    uint64_t not_before_ns; /* what Retry-After said */

    /* The send that runs. */
    const struct tpc_batch *batch;
    uint32_t at; /* message that is being posted */
    uint64_t ticket;

    struct tpc_id *given; /* messages that were taken out of batches that were not */
    size_t given_count, given_cap;
};

struct webhook {
    const struct tpc_host *host;
    void *ctx;
    const struct tpc_http_ops *http;
    void *client;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    struct target *busy;
    uint32_t busy_count; /* sends that are not told yet */
    bool stopping, locks_made;
};

/* ---- what was taken ---- */

static bool was_given(const struct target *t, const struct tpc_id *id)
{
    for (size_t i = 0; i < t->given_count; i++) {
        if (memcmp(&t->given[i], id, sizeof(*id)) == 0) {
            return true;
        }
    }
    return false;
}

/* Without memory the message may be posted twice, with the same Idempotency-Key. */
static void mark_given(struct target *t, const struct tpc_id *id)
{
    const struct tpc_allocator *a = t->hook->host->allocator;
    if (t->given_count == t->given_cap && t->given_cap < GIVEN_MAX) {
        size_t cap = t->given_cap == 0 ? 16 : t->given_cap * 2;
        struct tpc_id *p =
            a->resize(a->user, t->given, t->given_cap * sizeof(*p), cap * sizeof(*p));
        if (p != NULL) {
            t->given = p;
            t->given_cap = cap;
        }
    }
    if (t->given_count < t->given_cap) {
        t->given[t->given_count++] = *id;
    }
}

/* The batch is through: its messages do not come again. */
static void forget_batch(struct target *t)
{
    for (uint32_t i = 0; i < t->batch->count && t->given_count > 0; i++) {
        const struct tpc_id *id = &tpc_batch_msg(t->batch, i)->id;
        size_t at = 0;
        while (at < t->given_count && memcmp(&t->given[at], id, sizeof(*id)) != 0) {
            at++;
        }
        if (at < t->given_count) {
            memmove(&t->given[at], &t->given[at + 1],
                    (t->given_count - at - 1) * sizeof(t->given[0]));
            t->given_count--;
        }
    }
}

/* ---- posting ---- */

static void tell(struct target *t, const struct tpc_error *err)
{
    struct webhook *w = t->hook;
    if (err == NULL) {
        forget_batch(t);
    }
    t->batch = NULL;
    w->host->sent(w->ctx, t->ticket, err);
    pthread_mutex_lock(&w->lock);
    w->busy_count--;
    pthread_cond_broadcast(&w->idle);
    pthread_mutex_unlock(&w->lock);
}

static void on_reply(void *user, const struct tpc_http_reply *reply);

/* Posts what comes next of the batch. Returns 1 if nothing is left, 0 = posted, or a code with *err
 * filled. */
static int post_next(struct target *t, struct tpc_error *err)
{
    struct webhook *w = t->hook;
    uint32_t count = t->said.batch ? t->batch->count : 1;
    while (!t->said.batch && t->at < t->batch->count &&
           was_given(t, &tpc_batch_msg(t->batch, t->at)->id)) {
        t->at++;
    }
    if (t->at >= t->batch->count) {
        return 1;
    }
    int rc = webhook_target_make(&t->said, t->batch, t->at, count, err);
    if (rc != 0) {
        return rc;
    }
    t->said.request.done = on_reply;
    t->said.request.user_data = t;
    pthread_mutex_lock(&w->lock);
    if (w->stopping) {
        rc = tpi_error_set(err, TPC_ECANCELED, "webhook", "the sink stops");
    } else {
        rc = w->http->submit(w->client, &t->said.request, err, &t->request);
    }
    if (rc == 0) {
        t->next = w->busy;
        w->busy = t;
    }
    pthread_mutex_unlock(&w->lock);
    if (rc == TPC_ESTATE) {
        rc = err->code = TPC_EAGAIN; /* the client does not run yet, or not any more */
    }
    return rc;
}

/* Some words of an answer's body, for people. */
static void snippet(struct tpc_bytes body, char ret[SNIPPET_MAX + 1])
{
    size_t n = body.len < SNIPPET_MAX ? body.len : SNIPPET_MAX;
    for (size_t i = 0; i < n; i++) {
        ret[i] = body.ptr[i] >= 0x20 && body.ptr[i] < 0x7f ? (char) body.ptr[i] : ' ';
    }
    ret[n] = '\0';
}

/* The server asks to be left alone for a while. */
static uint64_t obey(struct target *t, const struct tpc_http_reply *reply)
{
    const struct webhook *w = t->hook;
    struct tpc_str after = w->http->header(reply, TPC_STR("Retry-After"));
    const struct tpc_clock *clock = w->host->clock;
    uint64_t ms = webhook_retry_after(after, clock->unix_ms(clock->user));
    if (ms > 0) {
        t->not_before_ns = clock->mono_ns(clock->user) + ms * 1000000;
        w->host->count(w->ctx, "told_to_wait", 1);
    }
    return ms;
}

/* What came of a request. Returns 0, or a code with *err filled. */
static int judge(struct target *t, const struct tpc_http_reply *reply, struct tpc_error *err)
{
    char words[SNIPPET_MAX + 1];
    int code = reply->status != 0 ? webhook_code(reply->status) : 0;
    bool answered = reply->err == NULL || (reply->status != 0 && reply->err->code == TPC_ETOOBIG);
    if (!answered) {
        *err = *reply->err;
        if (err->code == TPC_EINVAL || err->code == TPC_ETOOBIG) {
            err->code = TPC_EUNSUPPORTED; /* never the message's fault */
        }
        return err->code;
    }
    if (code == 0) {
        return 0;
    }
    if (reply->status < 400) {
        struct tpc_str to = t->hook->http->header(reply, TPC_STR("Location"));
        return tpi_error_native(err, code, (int) reply->status, "webhook",
                                "HTTP %u: redirects are not followed, it leads to %.*s",
                                (unsigned) reply->status, (int) (to.len < 160 ? to.len : 160),
                                to.len > 0 ? to.ptr : "");
    }
    snippet(reply->body, words);
    uint64_t wait_ms = tpc_error_class(code) == TPC_CLASS_RETRY ? obey(t, reply) : 0;
    if (wait_ms > 0) {
        return tpi_error_native(err, code, (int) reply->status, "webhook",
                                "HTTP %u, come again after %llu s: %s", (unsigned) reply->status,
                                (unsigned long long) (wait_ms + 999) / 1000, words);
    }
    return tpi_error_native(err, code, (int) reply->status, "webhook", "HTTP %u: %s",
                            (unsigned) reply->status, words);
}

static void on_reply(void *user, const struct tpc_http_reply *reply)
{
    struct target *t = user;
    struct webhook *w = t->hook;
    struct tpc_error err;
    pthread_mutex_lock(&w->lock);
    struct target **at = &w->busy;
    while (*at != t) {
        at = &(*at)->next;
    }
    *at = t->next;
    t->request = 0;
    pthread_mutex_unlock(&w->lock);
    int rc = judge(t, reply, &err);
    if (rc == 0) {
        uint32_t count = t->said.batch ? t->batch->count : 1;
        w->host->count(w->ctx, "delivered", count);
        if (!t->said.batch) {
            mark_given(t, &tpc_batch_msg(t->batch, t->at)->id);
        }
        t->at += count;
        rc = post_next(t, &err);
    } else {
        const char *name = rc == TPC_ECANCELED                      ? "canceled"
                           : tpc_error_class(rc) == TPC_CLASS_RETRY ? "failed"
                           : rc == TPC_EINVAL || rc == TPC_ETOOBIG  ? "refused"
                                                                    : "denied";
        w->host->count(w->ctx, name, 1);
    }
    if (rc != 0) {
        tell(t, rc == 1 ? NULL : &err);
    }
}

/* ---- the sink ---- */

static int webhook_send(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    struct webhook *w = self;
    struct target *t = target;
    const struct tpc_clock *clock = w->host->clock;
    struct tpc_error err;
    if (batch->gap_to > batch->gap_from) {
        w->host->count(w->ctx, "passed_over", batch->gap_to - batch->gap_from);
    }
    if (clock->mono_ns(clock->user) < t->not_before_ns) {
        return w->host->fail(w->ctx, TPC_EAGAIN, "the server asked to be left alone for a while");
    }
    t->batch = batch;
    t->at = 0;
    t->ticket = ticket;
    pthread_mutex_lock(&w->lock);
    w->busy_count++;
    pthread_mutex_unlock(&w->lock);
    int rc = post_next(t, &err);
    if (rc == 1) {
        tell(t, NULL);
    } else if (rc < 0) {
        t->batch = NULL;
        pthread_mutex_lock(&w->lock);
        w->busy_count--;
        pthread_cond_broadcast(&w->idle);
        pthread_mutex_unlock(&w->lock);
        return w->host->fail(w->ctx, err.code, "%s", err.text);
    }
    return 0;
}

static void webhook_target_close(void *self, void *target)
{
    struct webhook *w = self;
    const struct tpc_allocator *a = w->host->allocator;
    struct target *t = target;
    if (t->given_cap > 0) {
        a->resize(a->user, t->given, t->given_cap * sizeof(t->given[0]), 0);
    }
    webhook_target_fini(&t->said);
    a->resize(a->user, t, sizeof(*t), 0);
}

static int webhook_target_open(void *self, struct tpc_str name, const struct tpc_value *cfg,
                               void **ret_target)
{
    struct webhook *w = self;
    const struct tpc_allocator *a = w->host->allocator;
    struct tpc_error err;
    if (w->http == NULL) {
        return w->host->fail(w->ctx, TPC_EAGAIN, "the sink is not started");
    }
    struct target *t = a->resize(a->user, NULL, 0, sizeof(*t));
    if (t == NULL) {
        return w->host->fail(w->ctx, TPC_ENOMEM, "no memory for a target");
    }
    memset(t, 0, sizeof(*t));
    t->hook = w;
    int rc = webhook_target_init(&t->said, a, name, cfg, &err);
    if (rc == 0) {
        rc = w->http->check(w->client, &t->said.request, &err);
    }
    if (rc != 0) {
        webhook_target_close(w, t);
        return w->host->fail(w->ctx, rc, "%s", err.text);
    }
    *ret_target = t;
    return 0;
}

static int webhook_init(void *self, const struct tpc_host *host, void *ctx,
                        const struct tpc_value *cfg)
{
    struct webhook *w = self;
    (void) cfg;
    w->host = host;
    w->ctx = ctx;
    w->stopping = true;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->idle, NULL);
    w->locks_made = true;
    return 0;
}

static int webhook_start(void *self)
{
    struct webhook *w = self;
    const void *ops = NULL;
    void *client = NULL;
    int rc = w->host->need(w->ctx, "http.client", &ops, &client);
    if (rc != 0) {
        return rc;
    }
    const struct tpc_http_ops *http = ops;
    if (!TPC_HAS(http, struct tpc_http_ops, header)) {
        return w->host->fail(w->ctx, TPC_EVERSION, "the service http.client lacks functions");
    }
    pthread_mutex_lock(&w->lock);
    w->http = http;
    w->client = client;
    w->stopping = false;
    pthread_mutex_unlock(&w->lock);
    return 0;
}

static void webhook_stop(void *self)
{
    struct webhook *w = self;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    for (struct target *t = w->busy; t != NULL; t = t->next) {
        (void) w->http->cancel(w->client, t->request); /* over: its reply is on the way */
    }
    while (w->busy_count > 0) {
        pthread_cond_wait(&w->idle, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
}

static void webhook_fini(void *self)
{
    struct webhook *w = self;
    if (w->locks_made) {
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->idle);
    }
}

static const struct tpc_sink_ops webhook_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "webhook",
    .instance_size = sizeof(struct webhook),
    .target_options = TPC_OPTIONS(webhook_target_options),
    .init = webhook_init,
    .start = webhook_start,
    .target_open = webhook_target_open,
    .send = webhook_send,
    .target_close = webhook_target_close,
    .stop = webhook_stop,
    .fini = webhook_fini,
};

static const struct tpc_interface webhook_interfaces[] = { { TPC_KIND_SINK, &webhook_ops } };
static const char *const webhook_needs[] = { "http.client" };

TPC_MODULE(webhook, .version = TPC_VERSION, .licence = "Apache-2.0",
           .interfaces = TPC_INTERFACES(webhook_interfaces), .needs = TPC_LIST(webhook_needs))
