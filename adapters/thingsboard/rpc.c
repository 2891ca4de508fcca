/* RPC and shared attributes of the server as commands to devices. */
#include "inside.h"

#include "../text/say.h"
#include "modbus_text.h"

#include <string.h>
#include <tpcore/command.h>
#include <tpcore/json.h>

#include "base/hash.h"
#include "data/member.h"

enum { REPLY_MAX = 1 << 20, TEXT_MAX = 200, CODE_TIMEOUT = 408, CODE_NOT_FOUND = 404 };

/* A call whose command is open. */
struct tb_rpc {
    struct tb_rpc *next;
    struct tb *s;
    int64_t id;
    bool own, get;
    uint64_t hash;      /* of method and parameters: a server that starts again counts from 1 */
    uint64_t closed_ms; /* 0 = open */
    char *reply;        /* NULL = it is not kept */
    size_t reply_len;
    size_t size;
    size_t name_len;
    char name[]; /* of the device, as the server calls it */
};

/* ---- answers ---- */

static void answer(struct tb *s, struct tpc_str device, int64_t id, bool own,
                   const struct tpi_buf *data)
{
    struct tpi_buf b;
    int rc = 0;
    char topic[64] = TB_GATEWAY "rpc";
    if (own) {
        struct tpi_buf t;
        tpi_buf_init(&t, s->host->allocator, 0);
        rc = tpi_buf_printf(&t, TB_DEVICE "rpc/response/%lld", (long long) id);
        if (rc == 0 && t.len < sizeof(topic)) {
            memcpy(topic, t.ptr, t.len);
            topic[t.len] = '\0';
        }
        tpi_buf_fini(&t);
    }
    tpi_buf_init(&b, s->host->allocator, 0);
    if (!own) {
        rc = tpi_buf_printf(&b, "{\"device\":");
        rc = rc != 0 ? rc : say_quoted(&b, device);
        rc = rc != 0 ? rc : tpi_buf_printf(&b, ",\"id\":%lld,\"data\":", (long long) id);
    }
    rc = rc != 0 ? rc : tpi_buf_put(&b, data->ptr, data->len);
    rc = rc != 0 || own ? rc : tpi_buf_put(&b, "}", 1);
    rc = rc != 0 ? rc : tb_publish(s, topic, &b);
    if (rc != 0) {
        s->host->count(s->ctx, "replies_lost", 1);
    }
    tpi_buf_fini(&b);
}

/* {"error":text,"code":code}, or {"result":{"error":text}} as connectors say it. */
static int say_refusal(struct tpi_buf *b, int code, struct tpc_str text)
{
    text.len = text.len < TEXT_MAX ? text.len : TEXT_MAX;
    int rc = tpi_buf_printf(b, code != 0 ? "{\"error\":" : "{\"result\":{\"error\":");
    rc = rc != 0 ? rc : say_quoted(b, text);
    if (rc == 0) {
        rc = code != 0 ? tpi_buf_printf(b, ",\"code\":%d}", code) : tpi_buf_put(b, "}}", 2);
    }
    return rc;
}

static void refuse(struct tb *s, const struct tb_down *d, bool own, int code, struct tpc_str text)
{
    struct tpi_buf b;
    tpi_buf_init(&b, s->host->allocator, 0);
    if (say_refusal(&b, code, text) == 0) {
        answer(s, d->device, d->id, own, &b);
    }
    tpi_buf_fini(&b);
}

/* The device's answer: {"value":x} and one value that was asked for stand in "result". */
static int say_reply(struct tpi_buf *b, const struct tpc_command *c, bool get,
                     struct tpc_arena *arena)
{
    struct tpc_value v = { .type = TPC_NULL };
    int rc = c->reply_json.len > 0
                 ? tpc_json_parse(arena, c->reply_json, TPC_JSON_ALLOW_DUPLICATES, NULL, &v)
                 : 0;
    if (rc != 0 || v.type == TPC_NULL || (v.type == TPC_MAP && v.len == 0)) {
        return tpi_buf_printf(b, "{\"success\":true}");
    }
    bool one = v.type == TPC_MAP && v.len == 1 &&
               (get || tpc_str_equal(v.as.members[0].key, TPC_STR("value")) != 0);
    if (one) {
        rc = tpi_buf_printf(b, "{\"result\":{\"value\":");
        rc = rc != 0 ? rc : say_value(b, &v.as.members[0].value);
        return rc != 0 ? rc : tpi_buf_put(b, "}}", 2);
    }
    return say_value(b, &v);
}

/* Under the lock. */
static void unlink_rpc(struct tb *s, const struct tb_rpc *r)
{
    struct tb_rpc **at = &s->rpcs;
    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    s->rpc_count--;
}

static void free_rpc(struct tb *s, struct tb_rpc *r)
{
    const struct tpc_allocator *a = s->host->allocator;
    if (r->reply != NULL) {
        a->resize(a->user, r->reply, r->reply_len, 0);
    }
    a->resize(a->user, r, r->size, 0);
}

/* ---- calls that come again ---- */

/* Forgets those that ended long ago, and the oldest if there are more than `most`. Under the lock. */
static void forget_done(struct tb *s, uint64_t now_ms, uint32_t most)
{
    while (s->done != NULL &&
           (s->done_count > most || now_ms >= s->done->closed_ms + s->config.rpc_again_ms)) {
        struct tb_rpc *r = s->done;
        s->done = r->next;
        s->last_done = s->done != NULL ? s->last_done : NULL;
        s->done_count--;
        free_rpc(s, r);
    }
}

/* An open call has ended: it is remembered for a while, as the server gives a call again whose end did
 * not reach it. */
static void close_rpc(struct tb *s, struct tb_rpc *r, const struct tpi_buf *reply)
{
    const struct tpc_allocator *a = s->host->allocator;
    uint64_t now = tb_mono_ms();
    if (s->config.rpc_again_ms > 0 && reply->len > 0 && reply->len <= TB_DONE_BYTES) {
        r->reply = a->resize(a->user, NULL, 0, reply->len);
        if (r->reply != NULL) {
            memcpy(r->reply, reply->ptr, reply->len);
            r->reply_len = reply->len;
        }
    }
    pthread_mutex_lock(&s->lock);
    unlink_rpc(s, r);
    r->closed_ms = now;
    r->next = NULL;
    *(s->last_done != NULL ? &s->last_done->next : &s->done) = r;
    s->last_done = r;
    s->done_count++;
    forget_done(s, now, TB_DONE_MAX);
    pthread_mutex_unlock(&s->lock);
}

static const struct tb_rpc *find(const struct tb_rpc *r, const struct tb_down *d, bool own,
                                 uint64_t hash)
{
    while (r != NULL && (r->id != d->id || r->hash != hash || r->own != own ||
                         tpc_str_equal((struct tpc_str){ r->name, r->name_len }, d->device) == 0)) {
        r = r->next;
    }
    return r;
}

/* Whether the call is open, or ended a short while ago: then its answer is given again. */
static bool came_again(struct tb *s, const struct tb_down *d, bool own, uint64_t hash)
{
    struct tpi_buf reply;
    tpi_buf_init(&reply, s->host->allocator, 0);
    pthread_mutex_lock(&s->lock);
    forget_done(s, tb_mono_ms(), TB_DONE_MAX);
    const struct tb_rpc *r = find(s->rpcs, d, own, hash);
    r = r != NULL ? r : find(s->done, d, own, hash);
    if (r != NULL && r->reply != NULL && r->closed_ms != 0) {
        (void) tpi_buf_put(&reply, r->reply, r->reply_len);
    }
    pthread_mutex_unlock(&s->lock);
    if (r != NULL) {
        s->host->count(s->ctx, "rpc_repeated", 1);
    }
    if (reply.len > 0) {
        answer(s, d->device, d->id, own, &reply);
    }
    tpi_buf_fini(&reply);
    return r != NULL;
}

/* On a worker of the core. */
static void on_closed(void *user, const struct tpc_command *c)
{
    struct tb_rpc *r = user;
    struct tb *s = r->s;
    struct tpc_arena *arena = NULL;
    struct tpi_buf b;
    int rc = 0;
    tpi_buf_init(&b, s->host->allocator, REPLY_MAX);
    if (c->state == TPC_COMMAND_TIMED_OUT || c->state == TPC_COMMAND_EXPIRED) {
        rc = say_refusal(&b, CODE_TIMEOUT, TPC_STR("no answer in time"));
    } else if (c->state != TPC_COMMAND_SUCCEEDED) {
        rc = say_refusal(&b, 0, c->reason.len > 0 ? c->reason : TPC_STR("the command failed"));
    } else {
        rc = tpc_arena_create(s->host->allocator, 0, &arena);
        rc = rc != 0 ? rc : say_reply(&b, c, r->get, arena);
        tpc_arena_destroy(arena);
    }
    if (rc == 0) {
        answer(s, (struct tpc_str){ r->name, r->name_len }, r->id, r->own, &b);
    } else {
        tpi_buf_clear(&b);
        s->host->count(s->ctx, "replies_lost", 1);
    }
    close_rpc(s, r, &b);
    tpi_buf_fini(&b);
}

/* ---- calls ---- */

static struct tb_rpc *make_rpc(struct tb *s, const struct tb_down *d, bool own, uint64_t hash)
{
    const struct tpc_allocator *a = s->host->allocator;
    size_t size = sizeof(struct tb_rpc) + d->device.len;
    struct tb_rpc *r = NULL;
    pthread_mutex_lock(&s->lock);
    if (s->rpc_count < TB_RPCS_MAX && (r = a->resize(a->user, NULL, 0, size)) != NULL) {
        memset(r, 0, sizeof(*r));
        r->s = s;
        r->id = d->id;
        r->own = own;
        r->hash = hash;
        r->size = size;
        r->name_len = d->device.len;
        if (d->device.len > 0) {
            memcpy(r->name, d->device.ptr, d->device.len);
        }
        r->next = s->rpcs;
        s->rpcs = r;
        s->rpc_count++;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

static uint32_t timeout_of(const struct tb *s, const struct tb_down *d)
{
    double t = 0;
    const struct tpc_value *v = tpi_member(&d->params, "timeout");
    if (d->params.type != TPC_MAP || v == NULL || tpc_value_double(v, &t) != 0 || !(t > 0)) {
        return s->config.rpc_timeout_ms;
    }
    t = t < 1000 ? t * 1000 : t; /* seconds, or milliseconds from a thousand on */
    return t < 100 ? 100 : t > 3600000 ? 3600000 : (uint32_t) t;
}

/* {"name":value} */
static int say_member(struct tpi_buf *b, struct tpc_str name, const struct tpc_value *v)
{
    int rc = tpi_buf_put(b, "{", 1);
    rc = rc != 0 ? rc : say_quoted(b, name);
    rc = rc != 0 ? rc : tpi_buf_put(b, ":", 1);
    rc = rc != 0 ? rc : say_value(b, v);
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

/* What a call becomes. */
struct call {
    struct tpc_str device; /* key */
    struct tpc_str service;
    bool get;
    const char *why; /* it becomes none; NULL = the error of this thread tells */
    struct tpi_buf params;
};

/* A text of get and set is a request to a Modbus slave: its service raw. */
static int as_raw(struct tb *s, const struct tb_down *d, bool set, struct call *c)
{
    struct tpc_str text = tpc_value_text(&d->params);
    struct tpc_arena *arena;
    struct tpc_value v;
    c->service = TPC_STR("raw");
    int rc = tpc_arena_create(s->host->allocator, 0, &arena);
    if (rc != 0) {
        return TPC_EAGAIN;
    }
    rc = tb_modbus_text(arena, text, set, &v, &c->why);
    if (rc == 0) {
        rc = say_value(&c->params, &v);
    }
    tpc_arena_destroy(arena);
    return rc;
}

static int as_service(struct tb *s, const struct tb_down *d, struct call *c)
{
    const struct tpc_value *p = &d->params;
    struct tpi_buf *b = &c->params;
    bool set = tpc_str_equal(d->method, TPC_STR("set")) != 0;
    c->get = tpc_str_equal(d->method, TPC_STR("get")) != 0;
    c->service = d->method;
    tpi_buf_clear(b);
    if ((set || c->get) && p->type == TPC_TEXT) {
        return as_raw(s, d, set, c);
    }
    if (c->get && p->type == TPC_ARRAY) {
        return say_member(b, TPC_STR("keys"), p);
    }
    if (p->type == TPC_MAP) {
        return say_value(b, p);
    }
    return p->type == TPC_NULL ? 0 : say_member(b, TPC_STR("value"), p);
}

/* A method that is no service is a tag: with a value it is written, else read. */
static int as_tag(const struct tb_down *d, struct call *c)
{
    struct tpc_value key = { .type = TPC_TEXT, .len = d->method.len, .as.text = d->method.ptr };
    struct tpc_value keys = { .type = TPC_ARRAY, .len = 1, .as.items = &key };
    const struct tpc_value *value = d->params.type == TPC_MAP    ? tpi_member(&d->params, "value")
                                    : d->params.type != TPC_NULL ? &d->params
                                                                 : NULL;
    tpi_buf_clear(&c->params);
    if (value != NULL) {
        c->service = TPC_STR("set");
        return say_member(&c->params, d->method, value);
    }
    c->service = TPC_STR("get");
    c->get = true;
    return say_member(&c->params, TPC_STR("keys"), &keys);
}

static int give_command(struct tb *s, const struct tb_down *d, const struct call *c, bool own,
                        uint64_t hash)
{
    uint32_t ms = timeout_of(s, d);
    struct tpc_host_command h = {
        .size = sizeof(h),
        .tenant = s->config.tenant,
        .device = c->device,
        .service = c->service,
        .params_json = { (const char *) c->params.ptr, c->params.len },
        .timeout_ms = ms,
        .expire_ms = ms,
        .actor = TPC_STR("thingsboard"),
    };
    struct tb_rpc *r = make_rpc(s, d, own, hash);
    if (r == NULL) {
        return TPC_EAGAIN;
    }
    r->get = c->get;
    int rc = s->host->command(s->ctx, &h, on_closed, r, NULL);
    if (rc != 0) {
        pthread_mutex_lock(&s->lock);
        unlink_rpc(s, r);
        pthread_mutex_unlock(&s->lock);
        free_rpc(s, r);
    }
    return rc;
}

void tb_rpc(struct tb *s, const struct tb_down *d, bool own)
{
    struct call c = { .device = s->config.own };
    uint64_t hash = 0;
    int rc = TPC_EUNSUPPORTED;
    if (!own) {
        pthread_mutex_lock(&s->lock);
        c.device = tb_devices_key(&s->devices, d->device);
        pthread_mutex_unlock(&s->lock);
    }
    s->host->count(s->ctx, "rpc", 1);
    tpi_buf_init(&c.params, s->host->allocator, 0);
    if (TPC_HAS(s->host, struct tpc_host, command)) {
        rc = as_service(s, d, &c);
        hash = tpi_hash(d->method.ptr, d->method.len, 0);
        hash = c.params.len > 0 ? tpi_hash(c.params.ptr, c.params.len, hash) : hash;
        if (rc == 0 && s->config.rpc_again_ms > 0 && came_again(s, d, own, hash)) {
            tpi_buf_fini(&c.params);
            return;
        }
        rc = rc != 0 ? rc : give_command(s, d, &c, own, hash);
    }
    if (rc == TPC_ENOENT) {
        int again = as_tag(d, &c);
        again = again != 0 ? again : give_command(s, d, &c, own, hash);
        rc = again == 0 ? 0 : again == TPC_EMODEL ? TPC_ENOENT : again;
    }
    tpi_buf_fini(&c.params);
    if (rc == TPC_ENOENT) {
        refuse(s, d, own, CODE_NOT_FOUND, TPC_STR("Method not found"));
    } else if (rc != 0) {
        refuse(s, d, own, 0,
               rc == TPC_EAGAIN ? TPC_STR("too many commands are open")
                                : tpc_str_from(c.why != NULL ? c.why : tpc_error_last()->text));
    }
    if (rc != 0) {
        s->host->count(s->ctx, "rpc_refused", 1);
    }
}

void tb_set(struct tb *s, struct tpc_str device, const struct tpc_value *values)
{
    struct tpi_buf b;
    const struct tpc_value *deleted = tpi_member(values, "deleted");
    if ((deleted != NULL && deleted->type == TPC_ARRAY && values->len == 1) || values->len == 0) {
        s->host->count(s->ctx, "attributes_deleted", 1);
        return; /* a device has no way to forget one */
    }
    tpi_buf_init(&b, s->host->allocator, 0);
    int rc = say_value(&b, values);
    if (rc == 0 && TPC_HAS(s->host, struct tpc_host, command)) {
        struct tpc_host_command h = {
            .size = sizeof(h),
            .tenant = s->config.tenant,
            .device = device,
            .service = TPC_STR("set"),
            .params_json = { (const char *) b.ptr, b.len },
            .actor = TPC_STR("thingsboard"),
        };
        rc = s->host->command(s->ctx, &h, NULL, NULL, NULL);
    }
    tpi_buf_fini(&b);
    s->host->count(s->ctx, rc == 0 ? "attributes_set" : "attributes_refused", 1);
    if (rc != 0) {
        s->host->log(s->ctx, TPC_LOG_WARN, "shared attributes of \"%.*s\" are not set: %s",
                     (int) device.len, device.ptr, tpc_error_last()->text);
    }
}

void tb_rpc_fini(struct tb *s)
{
    for (struct tb_rpc *r = s->rpcs, *next; r != NULL; r = next) {
        next = r->next;
        free_rpc(s, r);
    }
    s->rpcs = NULL;
    s->rpc_count = 0;
    forget_done(s, 0, 0);
}
