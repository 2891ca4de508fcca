#include "web.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/json.h>

struct web web = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

void web_reset(void)
{
    pthread_mutex_lock(&web.lock);
    memset(web.calls, 0, sizeof(web.calls));
    web.call_count = 0;
    web.later = false;
    web.error = 0;
    web.reply_status = 200;
    web.reply = "{\"code\":200,\"message\":\"success\"}";
    web.answered = 0;
    pthread_mutex_unlock(&web.lock);
}

/* ---- server ---- */

static int add(void *self, const struct tpc_list *routes, void *user, struct tpc_error *err,
               uint64_t *ret_id)
{
    (void) self;
    (void) err;
    web.routes = routes->items;
    web.route_count = routes->count;
    web.route_user = user;
    *ret_id = 1;
    return 0;
}

static void remove_routes(void *self, uint64_t id)
{
    (void) self;
    (void) id;
    web.route_count = 0;
}

static int reply(void *self, uint64_t call, const struct tpc_http_answer *a)
{
    (void) self;
    struct tpc_buf buf = { (uint8_t *) web.answer, sizeof(web.answer) - 1, 0 };
    pthread_mutex_lock(&web.lock);
    if (a->json != NULL) {
        (void) tpc_json_write(a->json, 0, &buf);
    } else {
        buf.need = a->body.len < buf.cap ? a->body.len : buf.cap - 1;
        memcpy(web.answer, a->body.ptr, buf.need);
    }
    web.answer[buf.need < buf.cap ? buf.need : 0] = '\0';
    web.status = a->status;
    web.answered = call;
    pthread_cond_broadcast(&web.changed);
    pthread_mutex_unlock(&web.lock);
    return 0;
}

static struct tpc_str param(const struct tpc_list *list, struct tpc_str name)
{
    static const struct tpc_str none = { "", 0 };
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tpc_http_header *h = TPC_LIST_AT(struct tpc_http_header, *list, i);
        if (tpc_str_equal(h->name, name)) {
            return h->value;
        }
    }
    return none;
}

static const struct tpc_http_server_ops server = { .iface =
                                                       TPC_IFACE(struct tpc_http_server_ops, 1),
                                                   .add = add,
                                                   .remove = remove_routes,
                                                   .reply = reply,
                                                   .param = param };

/* One {id} at most. */
static bool matches(const char *pattern, const char *path, struct tpc_http_header *ret)
{
    const char *name = strchr(pattern, '{');
    size_t head = name != NULL ? (size_t) (name - pattern) : strlen(pattern);
    *ret = (struct tpc_http_header){ .name = { "", 0 } };
    if (name == NULL || strncmp(pattern, path, head) != 0) {
        return strcmp(pattern, path) == 0;
    }
    const char *tail = strchr(name, '}') + 1;
    const char *end = strchr(path + head, '/');
    if (end == NULL || strcmp(end, tail) != 0) {
        return false;
    }
    ret->name = TPC_STR("id");
    ret->value = (struct tpc_str){ path + head, (size_t) (end - path) - head };
    return true;
}

uint32_t web_ask(const char *method, const char *path, const char *body, const char *peer)
{
    struct tpc_http_call c = { .size = sizeof(c), .id = ++web.next_id };
    struct timespec until;
    struct tpc_http_header id;
    uint32_t i = 0;
    c.method = tpc_str_from(method);
    c.path = tpc_str_from(path);
    c.peer = tpc_str_from(peer);
    c.body = (struct tpc_bytes){ (const uint8_t *) body, strlen(body) };
    while (i < web.route_count &&
           (!matches(web.routes[i].path, path, &id) || strcmp(web.routes[i].method, method) != 0)) {
        i++;
    }
    c.params = (struct tpc_list){ &id, id.name.len > 0, sizeof(id) };
    if (i == web.route_count) {
        return 404;
    }
    web.routes[i].fn(web.route_user, &c);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    pthread_mutex_lock(&web.lock);
    int rc = 0;
    while (web.answered != c.id && rc == 0) {
        rc = pthread_cond_timedwait(&web.changed, &web.lock, &until);
    }
    uint32_t status = web.answered == c.id ? web.status : 0;
    pthread_mutex_unlock(&web.lock);
    return status;
}

/* ---- client ---- */

static void end(tpc_http_done_fn *done, void *user, int error, uint32_t status, const char *text)
{
    struct tpc_error err = { .code = error };
    struct tpc_http_reply r = { .size = sizeof(r),
                                .status = error == 0 ? status : 0,
                                .err = error != 0 ? &err : NULL };
    r.body = (struct tpc_bytes){ (const uint8_t *) text, error == 0 ? strlen(text) : 0 };
    done(user, &r);
}

static int submit(void *self, const struct tpc_http_request *q, struct tpc_error *err,
                  uint64_t *ret_id)
{
    (void) self;
    (void) err;
    pthread_mutex_lock(&web.lock);
    uint32_t n = web.call_count;
    struct web_call *c = &web.calls[n % WEB_CALLS];
    snprintf(c->url, sizeof(c->url), "%.*s", (int) q->url.len, q->url.ptr);
    snprintf(c->body, sizeof(c->body), "%.*s", (int) q->body.len,
             q->body.len > 0 ? (const char *) q->body.ptr : "");
    c->done = q->done;
    c->user = q->user_data;
    c->open = web.later;
    web.call_count++;
    bool later = web.later;
    int error = web.error;
    uint32_t status = web.reply_status;
    const char *text = web.reply;
    pthread_mutex_unlock(&web.lock);
    if (!later) {
        end(q->done, q->user_data, error, status, text);
    }
    *ret_id = n + 1;
    return 0;
}

static struct web_call *take(uint64_t id)
{
    struct web_call *c = &web.calls[(id - 1) % WEB_CALLS];
    pthread_mutex_lock(&web.lock);
    bool open = c->open;
    c->open = false;
    pthread_mutex_unlock(&web.lock);
    return open ? c : NULL;
}

static int cancel(void *self, uint64_t id)
{
    (void) self;
    struct web_call *c = id > 0 ? take(id) : NULL;
    if (c != NULL) {
        end(c->done, c->user, TPC_ECANCELED, 0, "");
    }
    return c != NULL ? 0 : TPC_ENOENT;
}

void web_end(uint32_t n)
{
    struct web_call *c = take(n + 1);
    if (c != NULL) {
        end(c->done, c->user, web.error, web.reply_status, web.reply);
    }
}

uint32_t web_calls(void)
{
    pthread_mutex_lock(&web.lock);
    uint32_t n = web.call_count;
    pthread_mutex_unlock(&web.lock);
    return n;
}

static const struct tpc_http_ops client = { .iface = TPC_IFACE(struct tpc_http_ops, 1),
                                            .submit = submit,
                                            .cancel = cancel };

/* ---- module ---- */

struct instance {
    const struct tpc_host *host;
    void *ctx;
};

static int init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct instance *i = self;
    (void) cfg;
    i->host = host;
    i->ctx = ctx;
    int rc = host->offer(ctx, "http.server", &server, NULL);
    return rc != 0 ? rc : host->offer(ctx, "http.client", &client, NULL);
}

static int start(void *self)
{
    (void) self;
    return 0;
}

static int send_frame(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                      uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void nothing(void *self)
{
    (void) self;
}

static const struct tpc_adapter_ops ops = { .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
                                            .name = "web",
                                            .instance_size = sizeof(struct instance),
                                            .init = init,
                                            .start = start,
                                            .send = send_frame,
                                            .stop = nothing,
                                            .fini = nothing };
static const struct tpc_interface interfaces[] = { { TPC_KIND_ADAPTER, &ops } };
static const char *const offers[] = { "http.server", "http.client" };

/* A user of the service that the platform offers. */
static int user_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    struct instance *i = self;
    (void) cfg;
    i->host = host;
    i->ctx = ctx;
    return 0;
}

static int user_start(void *self)
{
    struct instance *i = self;
    const void *table;
    int rc = i->host->need(i->ctx, "thingspanel.services", &table, &web.panel_self);
    web.panel = rc == 0 ? table : NULL;
    return rc;
}

static const struct tpc_adapter_ops user_ops = { .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
                                                 .name = "user",
                                                 .instance_size = sizeof(struct instance),
                                                 .init = user_init,
                                                 .start = user_start,
                                                 .send = send_frame,
                                                 .stop = nothing,
                                                 .fini = nothing };
static const struct tpc_interface user_interfaces[] = { { TPC_KIND_ADAPTER, &user_ops } };
static const char *const user_needs[] = { "thingspanel.services" };

const struct tpc_module *web_module(void)
{
    static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                              .name = "web",
                                              .version = "1",
                                              .licence = "Apache-2.0",
                                              .interfaces = TPC_INTERFACES(interfaces),
                                              .offers = TPC_LIST(offers) };
    return &module;
}

const struct tpc_module *web_user(void)
{
    static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                              .name = "web_user",
                                              .version = "1",
                                              .licence = "Apache-2.0",
                                              .interfaces = TPC_INTERFACES(user_interfaces),
                                              .needs = TPC_LIST(user_needs) };
    return &module;
}
