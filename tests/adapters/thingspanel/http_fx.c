#include "http_fx.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

/* ---- the platform ---- */

static int submit(void *self, const struct tpc_http_request *q, struct tpc_error *err,
                  uint64_t *ret_id)
{
    struct fx *f = self;
    (void) err;
    if (f->submit_code != 0) {
        return f->submit_code;
    }
    ck_assert_uint_lt(f->call_count, FX_CALLS);
    struct fx_call *c = &f->calls[f->call_count++];
    snprintf(c->url, sizeof(c->url), "%.*s", (int) q->url.len, q->url.ptr);
    snprintf(c->body, sizeof(c->body), "%.*s", (int) q->body.len, (const char *) q->body.ptr);
    c->response_max = q->response_max_bytes;
    c->done = q->done;
    c->user = q->user_data;
    c->open = true;
    *ret_id = f->call_count;
    return 0;
}

static void end(struct fx_call *c, uint32_t status, const char *text, size_t len, int code)
{
    struct tpc_error err = { .size = sizeof(err), .code = code };
    const struct tpc_http_reply r = { .size = sizeof(r),
                                      .status = status,
                                      .body = { (const uint8_t *) text, len },
                                      .err = code != 0 ? &err : NULL };
    ck_assert(c->open);
    c->open = false;
    c->done(c->user, &r);
}

static int cancel(void *self, uint64_t id)
{
    struct fx *f = self;
    if (!f->calls[id - 1].open) {
        return TPC_ENOENT;
    }
    end(&f->calls[id - 1], 0, "", 0, TPC_ECANCELED);
    return 0;
}

struct fx_call *fx_open(struct fx *f, const char *path, const char *body)
{
    for (uint32_t i = 0; i < f->call_count; i++) {
        struct fx_call *c = &f->calls[i];
        size_t n = strlen(c->url), m = strlen(path);
        if (c->open && n >= m && strcmp(c->url + n - m, path) == 0 &&
            strstr(c->body, body) != NULL) {
            return c;
        }
    }
    return NULL;
}

uint32_t fx_calls(struct fx *f, const char *path)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->call_count; i++) {
        count += strstr(f->calls[i].url, path) != NULL;
    }
    return count;
}

void fx_answer_raw(struct fx *f, struct fx_call *c, uint32_t status, const char *text, size_t len)
{
    end(c, status, text, len, 0);
    fx_step(f);
}

void fx_answer(struct fx *f, const char *path, const char *body, const char *json)
{
    struct fx_call *c = fx_open(f, path, body);
    ck_assert_msg(c != NULL, "no call of %s with %s", path, body);
    fx_answer_raw(f, c, 200, json, strlen(json));
}

void fx_fail(struct fx *f, const char *path, const char *body, int code)
{
    struct fx_call *c = fx_open(f, path, body);
    ck_assert_msg(c != NULL, "no call of %s with %s", path, body);
    end(c, 0, "", 0, code);
    fx_step(f);
}

void fx_quiet_start(struct fx *f)
{
    fx_step(f);
    fx_answer(f, "/heartbeat", "meter", "{\"code\":200,\"message\":\"ok\",\"data\":{}}");
    for (int type = 1; type <= 2; type++) {
        fx_answer(f, "/plugin/devices", "", "{\"code\":200,\"data\":{\"total\":0,\"list\":null}}");
    }
}

/* ---- the server ---- */

static int add(void *self, const struct tpc_list *routes, void *user, struct tpc_error *err,
               uint64_t *ret_id)
{
    struct fx *f = self;
    (void) user;
    (void) err;
    ck_assert_uint_eq(routes->count, tp_callback_routes.count);
    f->routed = true;
    *ret_id = 1;
    return 0;
}

static void remove_routes(void *self, uint64_t id)
{
    struct fx *f = self;
    (void) id;
    f->routed = false;
}

static int reply(void *self, uint64_t call, const struct tpc_http_answer *a)
{
    struct fx *f = self;
    ck_assert_uint_lt(f->reply_count, FX_REPLIES);
    for (uint32_t i = 0; i < f->reply_count; i++) {
        ck_assert_msg(f->replies[i].call != call, "answered twice");
    }
    struct tpc_buf b = { (uint8_t *) f->replies[f->reply_count].text,
                         sizeof(f->replies[0].text) - 1, 0 };
    if (a->json != NULL) {
        tk_ok(tpc_json_write(a->json, 0, &b));
    } else {
        ck_assert_uint_lt(a->body.len, b.cap);
        memcpy(b.ptr, a->body.ptr, a->body.len);
        b.need = a->body.len;
    }
    b.ptr[b.need] = '\0';
    f->replies[f->reply_count].call = call;
    f->replies[f->reply_count++].status = a->status;
    return 0;
}

static struct tpc_str param(const struct tpc_list *list, struct tpc_str name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tpc_http_header *p = TPC_LIST_AT(struct tpc_http_header, *list, i);
        if (tpc_str_equal(p->name, name)) {
            return p->value;
        }
    }
    return (struct tpc_str){ NULL, 0 };
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes in place. */
static struct tpc_str decoded(char *text)
{
    size_t n = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
            text[n++] = (char) (hex(p[1]) * 16 + hex(p[2]));
            p += 2;
        } else {
            text[n++] = (char) (*p == '+' ? ' ' : *p);
        }
    }
    return (struct tpc_str){ text, n };
}

static uint32_t split(char *query, struct tpc_http_header *ret, uint32_t most)
{
    uint32_t count = 0;
    for (char *p = strtok_r(query, "&", &query); p != NULL && count < most;
         p = strtok_r(NULL, "&", &query)) {
        char *eq = strchr(p, '=');
        if (eq != NULL) {
            *eq = '\0';
            ret[count].name = decoded(p);
            ret[count++].value = decoded(eq + 1);
        }
    }
    return count;
}

const char *fx_request(struct fx *f, const char *method, const char *path, const char *query,
                       const char *body, const char *peer)
{
    struct tpc_http_header params[16];
    char copy[4096];
    snprintf(copy, sizeof(copy), "%s", query);
    struct tpc_http_call c = { .size = sizeof(c),
                               .id = ++f->next_call,
                               .method = tpc_str_from(method),
                               .path = tpc_str_from(path),
                               .raw_query = tpc_str_from(query),
                               .peer = tpc_str_from(peer),
                               .body = { (const uint8_t *) body, strlen(body) } };
    c.query = (struct tpc_list){ params, split(copy, params, 16), sizeof(params[0]) };
    for (uint32_t i = 0; i < tp_callback_routes.count; i++) {
        const struct tpc_http_route *r = TPC_LIST_AT(struct tpc_http_route, tp_callback_routes, i);
        if (strcmp(r->method, method) == 0 && strcmp(r->path, path) == 0) {
            r->fn(f->h, &c);
        }
    }
    for (uint32_t i = 0; i < f->reply_count; i++) {
        if (f->replies[i].call == c.id) {
            return f->replies[i].text;
        }
    }
    return NULL;
}

uint32_t fx_status(struct fx *f)
{
    return f->replies[f->reply_count - 1].status;
}

/* ---- the program ---- */

static void say(struct fx *f, const char *fmt, ...) TPC_PRINTF(2, 3);
static void say(struct fx *f, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->lines[f->line_count++ % FX_LINES], sizeof(f->lines[0]), fmt, args);
    va_end(args);
}

bool fx_heard(struct fx *f, const char *line)
{
    for (uint32_t i = 0; i < f->line_count && i < FX_LINES; i++) {
        if (f->lines[i][0] != '\0' && strncmp(f->lines[i], line, strlen(line)) == 0) {
            f->lines[i][0] = '\0';
            return true;
        }
    }
    return false;
}

bool fx_dropped(struct fx *f, const char *device)
{
    for (uint32_t i = 0; i < f->drop_count && i < FX_LINES; i++) {
        if (strcmp(f->dropped[i], device) == 0) {
            f->dropped[i][0] = '\0';
            return true;
        }
    }
    return false;
}

static void text_of(const struct tpc_value *v, char *ret, size_t cap)
{
    struct tpc_buf b = { (uint8_t *) ret, cap - 1, 0 };
    tk_ok(tpc_json_write(v, 0, &b));
    ret[b.need] = '\0';
}

static void configured(void *user, const struct tpc_service_device *d, int gone)
{
    char config[64], settings[64];
    text_of(d->config, config, sizeof(config));
    text_of(d->settings, settings, sizeof(settings));
    say(user, "%s %.*s number=%.*s parent=%.*s address=%.*s config=%s settings=%s point=%.*s",
        gone ? "gone" : "device", (int) d->device.len, d->device.ptr, (int) d->number.len,
        d->number.ptr, (int) d->parent.len, d->parent.ptr, (int) d->address.len, d->address.ptr,
        config, settings, (int) d->access_point.len, d->access_point.ptr);
}

static void access_changed(void *user, const struct tpc_service_access *a, int gone)
{
    say(user, "%s %.*s name=%.*s voucher=%.*s", gone ? "nopoint" : "point", (int) a->id.len,
        a->id.ptr, (int) a->name.len, a->name.ptr, (int) a->voucher.len, a->voucher.ptr);
}

static int put_text(struct tpc_buf *b, const char *fmt, ...) TPC_PRINTF(2, 3);
static int put_text(struct tpc_buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    b->need = (size_t) vsnprintf((char *) b->ptr, b->cap, fmt, args);
    va_end(args);
    return b->need >= b->cap ? TPC_ETOOBIG : 0;
}

static int login(void *user, struct tpc_bytes frame, struct tpc_service_login *ret)
{
    char text[64];
    (void) user;
    snprintf(text, sizeof(text), "%.*s", (int) frame.len, (const char *) frame.ptr);
    if (strcmp(text, "MORE") == 0) {
        (void) put_text(&ret->answer, "who?");
        return TPC_EAGAIN;
    }
    (void) put_text(&ret->answer, "welcome");
    (void) put_text(&ret->refusal, "go away");
    ret->flags = TPC_ACCESS_FEED;
    return text[0] == 'V' ? put_text(&ret->voucher, "{ \"serial\": \"%s\" }", text + 1)
                          : TPC_EDECODE;
}

static int discover(void *user, struct tpc_str voucher, uint32_t page, uint32_t page_size,
                    tpc_service_found_fn *fn, void *fn_user, uint32_t *ret_total)
{
    struct fx *f = user;
    say(f, "discover %.*s page=%u size=%u", (int) voucher.len, voucher.ptr, page, page_size);
    for (uint32_t i = 0; i < 3; i++) {
        const struct tpc_service_found found = { .size = sizeof(found),
                                                 .number = TPC_STR("n\"1"),
                                                 .name = TPC_STR("one"),
                                                 .description = TPC_STR("d") };
        int rc = fn(fn_user, &found);
        if (rc != 0) {
            return rc;
        }
    }
    *ret_total = 12;
    return f->discover_code;
}

/* ---- connections ---- */

static void on_drop(void *user, struct tpc_str tenant, struct tpc_str device)
{
    struct fx *f = user;
    ck_assert(tpc_str_equal(tenant, TPC_STR("main")));
    snprintf(f->dropped[f->drop_count++ % FX_LINES], sizeof(f->dropped[0]), "%.*s",
             (int) device.len, device.ptr);
}

static void on_login(void *user, const struct tpc_error *err, const struct tpc_access_grant *g)
{
    struct fx_end *e = user;
    ck_assert(!e->told);
    e->told = true;
    e->code = err != NULL ? err->code : 0;
    if (g != NULL) {
        e->verdict = g->verdict;
        e->flags = g->flags;
        snprintf(e->device, sizeof(e->device), "%.*s", (int) g->device.len,
                 g->device.len > 0 ? g->device.ptr : "");
        snprintf(e->product, sizeof(e->product), "%.*s", (int) g->product.len,
                 g->product.len > 0 ? g->product.ptr : "");
        snprintf(e->answer, sizeof(e->answer), "%.*s", (int) g->answer.len,
                 g->answer.len > 0 ? (const char *) g->answer.ptr : "");
    }
}

int fx_login(struct fx *f, uint32_t i, const char *frame, uint64_t *ret_id)
{
    uint64_t id = 0;
    const struct tpc_access_request r = { .size = sizeof(r),
                                          .frame = { (const uint8_t *) frame, strlen(frame) } };
    memset(&f->ends[i], 0, sizeof(f->ends[i]));
    int rc = tp_http_access(f->h)->login(f->h, &r, on_login, &f->ends[i], &id);
    if (ret_id != NULL) {
        *ret_id = id;
    }
    fx_step(f);
    return rc;
}

/* ---- life ---- */

static const char cfg_form[] =
    "[{\"dataKey\":\"interval\",\"type\":\"input\",\"validate\":{\"type\":\"number\"}}]";
static const char vcr_form[] = "[{\"dataKey\":\"serial\",\"type\":\"input\"}]";
static const struct tpc_service_form forms[] = {
    { "CFG", NULL, cfg_form },
    { "VCR", NULL, vcr_form },
    { "VCRT", NULL, "{\"by serial\":\"SERIAL\"}" },
    { "SVCR", NULL, "[{\"dataKey\":\"token\",\"type\":\"input\"}]" },
};

static struct fx *making; /* init() has no other way to it */

static int host_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    (void) cfg;
    return tp_http_create(host, ctx, &making->config, self);
}

static int host_start(void *self)
{
    struct tp_http **h = self;
    return tp_http_begin(*h);
}

static void host_stop(void *self)
{
    struct tp_http **h = self;
    tp_http_end(*h);
}

static void host_fini(void *self)
{
    struct tp_http **h = self;
    *h = tp_http_destroy(*h);
}

static const struct tpc_adapter_ops host_ops = { .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
                                                 .name = "thingspanel",
                                                 .instance_size = sizeof(struct tp_http *),
                                                 .init = host_init,
                                                 .start = host_start,
                                                 .stop = host_stop,
                                                 .fini = host_fini };

static void begin(struct fx *f)
{
    making = f;
    tk_ok(fake_init(&f->host, &f->env, &host_ops, "{}"));
    f->h = *(struct tp_http **) f->host.self;
    f->h->client = &f->client;
    f->h->client_self = f;
    f->h->server = &f->server;
    f->h->server_self = f;
    if (f->ops.identifier != NULL) {
        struct tpc_error err = { .size = sizeof(err) };
        ck_assert_msg(tp_http_serve(f->h, &f->ops, f, &err) == 0, "%s: %s", err.path, err.text);
    }
    tk_ok(f->h->access.watch(f->h, on_drop, f));
    tk_ok(fake_start(&f->host));
}

static void finish(struct fx *f)
{
    tk_ok(f->h->access.watch(f->h, NULL, f));
    fake_stop(&f->host);
    ck_assert(!f->routed);
    ck_assert_uint_eq(f->host.calls_after_stop, 0);
    fake_fini(&f->host);
}

void fx_init(struct fx *f, uint32_t type, const char *state)
{
    memset(f, 0, sizeof(*f));
    tk_env_init(&f->env);
    f->client = (struct tpc_http_ops){ .iface = TPC_IFACE(struct tpc_http_ops, 1),
                                       .submit = submit,
                                       .cancel = cancel };
    f->server = (struct tpc_http_server_ops){ .iface = TPC_IFACE(struct tpc_http_server_ops, 1),
                                              .add = add,
                                              .remove = remove_routes,
                                              .reply = reply,
                                              .param = param };
    f->config = (struct tp_config){ .tenant = TPC_STR("main"),
                                    .api = "http://127.0.0.1:9",
                                    .state = state,
                                    .heartbeat_ms = 30000,
                                    .request_timeout_ms = 10000,
                                    .config_interval_ms = 3000,
                                    .unknown_pause_ms = 180000,
                                    .devices_max = 1000,
                                    .login_timeout_ms = 20000 };
    f->config.client.verify = true;
    if (type != 0) {
        f->ops = (struct tpc_service_ops){ .iface = TPC_IFACE(struct tpc_service_ops, 1),
                                           .identifier = "meter",
                                           .type = type,
                                           .forms = TPC_LIST(forms),
                                           .login = login,
                                           .configured = configured,
                                           .discover = discover,
                                           .access = access_changed };
    } else {
        f->config.identifier = TPC_STR("meter");
    }
    begin(f);
}

void fx_restart(struct fx *f)
{
    finish(f);
    f->call_count = f->line_count = f->drop_count = f->reply_count = 0;
    memset(f->lines, 0, sizeof(f->lines));
    memset(f->calls, 0, sizeof(f->calls));
    begin(f);
}

void fx_fini(struct fx *f)
{
    finish(f);
    tk_env_fini(&f->env);
}

void fx_step(struct fx *f)
{
    for (int i = 0; i < 50 && tp_http_step(f->h) == 0; i++) {
    }
}

void fx_pass(struct fx *f, uint64_t ms)
{
    tk_clock_advance(&f->env.clock, ms);
    fx_step(f);
}
