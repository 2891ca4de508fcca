/*
 * Module "webhook": a sink that posts messages to a URL, over the client that another module offers
 * (http.client).
 */
#include "target.h"

#include "../sink/turn.h"

#include <stdatomic.h>
#include <string.h>
#include <tpcore/version.h>

#include "base/error.h"

enum { SNIPPET_MAX = 120 };

enum { WAYS = 16 /* batches of a target at a time */ };

struct target;

/* One batch, and what is made of it: the first is there from the beginning, others when they are
 * needed. */
struct way {
    struct turn turn; /* first */
    struct target *target;
    bool made;
    struct webhook_target said;
};

struct target {
    struct webhook *hook;
    const struct tpc_value *cfg;
    _Atomic uint64_t not_before_ns; /* what Retry-After said */
    struct way *ways[WAYS];
};

struct webhook {
    struct turns turns; /* first */
    const struct tpc_host *host;
    void *ctx;
    const struct tpc_http_ops *http;
    void *client;
};

static struct way *way_of(struct turn *t)
{
    return (struct way *) t;
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
    struct way *way = user;
    const struct webhook *w = way->target->hook;
    struct tpc_error err;
    int rc = judge(way->target, reply, &err);
    if (rc != 0) {
        const char *name = rc == TPC_ECANCELED                      ? "canceled"
                           : tpc_error_class(rc) == TPC_CLASS_RETRY ? "failed"
                           : rc == TPC_EINVAL || rc == TPC_ETOOBIG  ? "refused"
                                                                    : "denied";
        w->host->count(w->ctx, name, 1);
    }
    turn_ended(&way->turn, rc == 0 ? NULL : &err);
}

static int make(struct turn *turn, const struct tpc_batch *batch, uint32_t first, uint32_t count,
                struct tpc_error *err)
{
    return webhook_target_make(&way_of(turn)->said, batch, first, count, err);
}

static int submit(struct turn *turn, struct tpc_error *err, uint64_t *ret_id)
{
    struct way *way = way_of(turn);
    const struct webhook *w = way->target->hook;
    way->said.request.done = on_reply;
    way->said.request.user_data = way;
    int rc = w->http->submit(w->client, &way->said.request, err, ret_id);
    if (rc == TPC_ESTATE) {
        rc = err->code = TPC_EAGAIN; /* the client does not run yet, or not any more */
    }
    return rc;
}

static void cancel(struct turn *turn, uint64_t id)
{
    const struct webhook *w = way_of(turn)->target->hook;
    (void) w->http->cancel(w->client, id);
}

/* ---- the sink ---- */

static void way_destroy(struct webhook *w, struct way *way)
{
    const struct tpc_allocator *a = w->host->allocator;
    if (way != NULL) {
        turn_fini(&way->turn);
        webhook_target_fini(&way->said);
        a->resize(a->user, way, sizeof(*way), 0);
    }
}

static int way_create(struct target *t, struct tpc_str name, struct tpc_error *err,
                      struct way **ret)
{
    struct webhook *w = t->hook;
    const struct tpc_allocator *a = w->host->allocator;
    struct way *way = a->resize(a->user, NULL, 0, sizeof(*way));
    if (way == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "webhook", "no memory for a target");
    }
    memset(way, 0, sizeof(*way));
    way->turn.all = &w->turns;
    way->target = t;
    int rc = webhook_target_init(&way->said, a, name, t->cfg, err);
    way->turn.whole = way->said.batch;
    if (rc == 0) {
        rc = w->http->check(w->client, &way->said.request, err);
    }
    if (rc != 0) {
        way_destroy(w, way);
        return rc;
    }
    *ret = way;
    return 0;
}

/* A free one: that which a batch was with before, if it comes again, so that nothing is sent twice. */
static int choose(struct target *t, const struct tpc_batch *batch, struct tpc_error *err,
                  struct way **ret)
{
    struct way *found = NULL;
    uint32_t i = 0;
    for (; i < WAYS && t->ways[i] != NULL; i++) {
        struct way *way = t->ways[i];
        if (turn_busy(&way->turn)) {
            continue;
        }
        if (turn_knows(&way->turn, batch)) {
            *ret = way;
            return 0;
        }
        if (found == NULL || (turn_waits(&found->turn) && !turn_waits(&way->turn))) {
            found = way;
        }
    }
    if (found == NULL && i < WAYS) {
        int rc = way_create(t, tpc_str_from(t->ways[0]->said.name), err, &t->ways[i]);
        if (rc != 0) {
            return rc;
        }
        found = t->ways[i];
    }
    *ret = found;
    return found != NULL ? 0
                         : tpi_error_set(err, TPC_EAGAIN, "webhook", "too many batches at a time");
}

static int webhook_send(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    struct webhook *w = self;
    struct target *t = target;
    const struct tpc_clock *clock = w->host->clock;
    struct tpc_error err;
    struct way *way = NULL;
    if (clock->mono_ns(clock->user) < atomic_load(&t->not_before_ns)) {
        return w->host->fail(w->ctx, TPC_EAGAIN, "the server asked to be left alone for a while");
    }
    int rc = choose(t, batch, &err, &way);
    if (rc != 0) {
        return w->host->fail(w->ctx, rc, "%s", err.text);
    }
    return turn_send(&way->turn, batch, ticket);
}

static void webhook_target_close(void *self, void *target)
{
    struct webhook *w = self;
    const struct tpc_allocator *a = w->host->allocator;
    struct target *t = target;
    for (uint32_t i = 0; i < WAYS; i++) {
        way_destroy(w, t->ways[i]);
    }
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
    t->cfg = cfg;
    int rc = way_create(t, name, &err, &t->ways[0]);
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
    w->turns.host = host;
    w->turns.ctx = ctx;
    w->turns.make = make;
    w->turns.submit = submit;
    w->turns.cancel = cancel;
    turns_init(&w->turns);
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
    w->http = http;
    w->client = client;
    turns_start(&w->turns);
    return 0;
}

static void webhook_stop(void *self)
{
    turns_stop(&((struct webhook *) self)->turns);
}

static void webhook_fini(void *self)
{
    turns_fini(&((struct webhook *) self)->turns);
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
    .max_in_flight = WAYS,
};

static const struct tpc_interface webhook_interfaces[] = { { TPC_KIND_SINK, &webhook_ops } };
static const char *const webhook_needs[] = { "http.client" };

TPC_MODULE(webhook, .version = TPC_VERSION, .licence = "Apache-2.0",
           .interfaces = TPC_INTERFACES(webhook_interfaces), .needs = TPC_LIST(webhook_needs))
