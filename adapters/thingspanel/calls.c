/*
 * Commands of the platform to devices, and their answers (contract thingspanel 1.5, 1.6, 2). An answer is
 * kept until the broker has it.
 */
#include "../text/say.h"
#include "down.h"
#include "inside.h"
#include "wrap.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/command.h>

#include "base/error.h"
#include "base/hash.h"

enum { TEXT_MAX = 400, KEPT_MAX = 4096, LOG_EACH = 1000 };

/* A command whose end is not known, or that is remembered. */
struct tp_call {
    struct tp_call *next, *before;
    struct tp *s;
    enum tp_down_kind kind;
    bool keyed; /* in s->calls, by its key */
    bool closed;
    uint64_t closed_ms;
    struct tpc_str key, mid, method, device; /* in bytes */
    char *reply;                             /* NULL = it is not kept */
    size_t reply_len;
    size_t size;
    char bytes[];
};

struct tp_answer {
    struct tp_answer *next;
    struct tp *s;
    bool away;
    size_t topic_len, payload_len;
    char bytes[];
};

/* ---- answers ---- */

static size_t answer_size(const struct tp_answer *w)
{
    return sizeof(*w) + w->topic_len + w->payload_len;
}

/* Under the lock. */
static void drop_answer(struct tp *s, struct tp_answer *w)
{
    struct tp_answer **at = &s->answers, *before = NULL;
    while (*at != w) {
        before = *at;
        at = &(*at)->next;
    }
    *at = w->next;
    s->last_answer = s->last_answer == w ? before : s->last_answer;
    s->answer_count--;
    s->answer_bytes -= answer_size(w);
    s->host->allocator->resize(s->host->allocator->user, w, answer_size(w), 0);
}

static void on_answered(void *user, const struct tpc_error *err)
{
    struct tp_answer *w = user;
    struct tp *s = w->s;
    bool again = err != NULL && tpc_error_class(err->code) == TPC_CLASS_RETRY;
    pthread_mutex_lock(&s->lock);
    s->answers_away--;
    w->away = false;
    if (!again) {
        drop_answer(s, w);
    }
    pthread_cond_signal(&s->came);
    pthread_mutex_unlock(&s->lock);
    if (!again) {
        s->host->count(s->ctx, err == NULL ? "answers" : "answers_lost", 1);
    }
}

bool tp_answers_step(struct tp *s)
{
    struct tp_answer *w = s->answers;
    while (w != NULL && w->away) {
        w = w->next;
    }
    if (w == NULL || !s->up || s->stopping || s->answers_away >= TP_AWAY) {
        return false;
    }
    struct tpc_str topic = { w->bytes, w->topic_len };
    struct tpc_bytes payload = { (const uint8_t *) w->bytes + w->topic_len, w->payload_len };
    int rc = mqtt_client_publish(s->client, topic, payload, 1, false, on_answered, w);
    if (rc == TPC_EAGAIN || rc == TPC_EOFFLINE) {
        return false;
    }
    if (rc != 0) {
        drop_answer(s, w);
        s->host->count(s->ctx, "answers_lost", 1);
        return true;
    }
    w->away = true;
    s->answers_away++;
    return true;
}

/* Room for one more: the oldest go that are not on their way. Under the lock; returns how many. */
static uint32_t make_room(struct tp *s, size_t size)
{
    uint32_t dropped = 0;
    struct tp_answer *w = s->answers;
    while (w != NULL &&
           (s->answer_count >= s->config.answers_max || s->answer_bytes + size > TP_ANSWER_BYTES)) {
        struct tp_answer *next = w->next;
        if (!w->away) {
            drop_answer(s, w);
            dropped++;
        }
        w = next;
    }
    return dropped;
}

/* {"device_id","values"} with the response object, to where the platform waits for it. */
static int make_answer(struct tp *s, enum tp_down_kind kind, struct tpc_str mid,
                       struct tpc_str device, const struct tpi_buf *response,
                       struct tp_answer **ret)
{
    const struct tpc_allocator *a = s->host->allocator;
    struct tpc_str topic = kind == TP_DOWN_COMMAND ? TPC_STR("devices/command/response/")
                                                   : TPC_STR("devices/attributes/set/response/");
    struct tpc_bytes values = { response->ptr, response->len };
    struct tp_answer *w = NULL;
    struct tpi_buf b;
    tpi_buf_init(&b, a, 0);
    int rc = tpi_buf_text(&b, topic);
    rc = rc != 0 ? rc : tpi_buf_text(&b, mid);
    size_t topic_len = b.len;
    rc = rc != 0 ? rc : tp_wrap(&b, device, values);
    if (rc == 0 && (w = a->resize(a->user, NULL, 0, sizeof(*w) + b.len)) != NULL) {
        *w = (struct tp_answer){ .s = s, .topic_len = topic_len, .payload_len = b.len - topic_len };
        memcpy(w->bytes, b.ptr, b.len);
    }
    rc = rc == 0 && w == NULL ? TPC_ENOMEM : rc;
    tpi_buf_fini(&b);
    if (rc == 0) {
        *ret = w;
    }
    return rc;
}

static void answer(struct tp *s, enum tp_down_kind kind, struct tpc_str mid, struct tpc_str device,
                   const struct tpi_buf *response)
{
    struct tp_answer *w = NULL;
    uint32_t lost = 0;
    if (make_answer(s, kind, mid, device, response, &w) != 0) {
        s->host->count(s->ctx, "answers_lost", 1);
        return;
    }
    pthread_mutex_lock(&s->lock);
    lost = make_room(s, answer_size(w));
    *(s->last_answer != NULL ? &s->last_answer->next : &s->answers) = w;
    s->last_answer = w;
    s->answer_count++;
    s->answer_bytes += answer_size(w);
    pthread_cond_signal(&s->came);
    pthread_mutex_unlock(&s->lock);
    if (lost > 0) {
        s->host->count(s->ctx, "answers_lost", lost);
    }
}

/* {"result","errcode","message","ts","method"}; code NULL = it is done. */
static int say_response(struct tp *s, struct tpi_buf *b, const char *code, struct tpc_str text,
                        struct tpc_str method)
{
    int64_t now_s = s->host->clock->unix_ms(s->host->clock->user) / 1000;
    if (text.len > TEXT_MAX) {
        text.len = TEXT_MAX;
        while (text.len > 0 && ((uint8_t) text.ptr[text.len] & 0xc0) == 0x80) {
            text.len--; /* not in the middle of a character */
        }
    }
    int rc = tpi_buf_printf(b, "{\"result\":%d", code == NULL ? 0 : 1);
    if (rc == 0 && code != NULL) {
        rc = tpi_buf_text(b, TPC_STR(",\"errcode\":"));
        rc = rc != 0 ? rc : say_quoted(b, tpc_str_from(code));
    }
    rc = rc != 0 ? rc : tpi_buf_text(b, TPC_STR(",\"message\":"));
    rc = rc != 0 ? rc : say_quoted(b, text);
    rc = rc != 0 ? rc : tpi_buf_printf(b, ",\"ts\":%lld", (long long) now_s);
    if (method.len > 0) {
        rc = rc != 0 ? rc : tpi_buf_text(b, TPC_STR(",\"method\":"));
        rc = rc != 0 ? rc : say_quoted(b, method);
    }
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

static bool is_answered(enum tp_down_kind kind)
{
    return kind == TP_DOWN_COMMAND || kind == TP_DOWN_SET;
}

static void refuse_for(struct tp *s, const struct tp_down *d, struct tpc_str device,
                       const char *code, struct tpc_str text)
{
    struct tpi_buf b;
    if (!is_answered(d->kind)) {
        return;
    }
    tpi_buf_init(&b, s->host->allocator, 0);
    if (say_response(s, &b, code, text, d->method) == 0) {
        answer(s, d->kind, d->mid, device, &b);
    } else {
        s->host->count(s->ctx, "answers_lost", 1);
    }
    tpi_buf_fini(&b);
}

void tp_call_refuse(struct tp *s, const struct tp_down *d, const char *code, struct tpc_str text)
{
    struct tp_found found;
    struct tpc_str device = d->x;
    bool known = s->directory == NULL || s->directory->find(s->directory_self, d->x, &found);
    if (known && s->directory != NULL) {
        device = tpc_str_from(found.id);
    }
    if (known || s->config.refuse_unknown) {
        refuse_for(s, d, device, code, text);
    }
}

/* ---- commands that come again ---- */

static void free_call(struct tp *s, struct tp_call *c)
{
    const struct tpc_allocator *a = s->host->allocator;
    if (c->reply != NULL) {
        a->resize(a->user, c->reply, c->reply_len, 0);
    }
    a->resize(a->user, c, c->size, 0);
}

/* Under the lock. */
static void forget(struct tp *s, struct tp_call *c)
{
    if (c->keyed && tpi_map_get(&s->calls, c->key.ptr, c->key.len) == c) {
        (void) tpi_map_remove(&s->calls, c->key.ptr, c->key.len);
    }
    free_call(s, c);
}

/* Those that ended long ago, and the oldest if there are too many. Under the lock. */
static void forget_done(struct tp *s, uint64_t now_ms, uint32_t most)
{
    while (s->done != NULL &&
           (s->done_count > most || now_ms >= s->done->closed_ms + s->config.down_again_ms)) {
        struct tp_call *c = s->done;
        s->done = c->next;
        s->last_done = s->done != NULL ? s->last_done : NULL;
        s->done_count--;
        forget(s, c);
    }
}

/* Topic and what it says: older platforms count a mid in seconds, so two commands may have one. */
static int say_key(struct tpi_buf *b, struct tpc_str topic, struct tpc_bytes payload)
{
    uint64_t hash = payload.len > 0 ? tpi_hash(payload.ptr, payload.len, 0) : 0;
    int rc = tpi_buf_text(b, topic);
    return rc != 0 ? rc : tpi_buf_u64(b, hash);
}

/* Whether it is open or ended a short while ago: then its answer is given again. */
static bool came_again(struct tp *s, const struct tp_down *d, const struct tpi_buf *key)
{
    struct tpi_buf reply;
    bool known = false;
    uint64_t now = tp_mono_ms(s);
    tpi_buf_init(&reply, s->host->allocator, 0);
    char device[TP_KEY_BYTES + 1] = "";
    size_t device_len = 0;
    pthread_mutex_lock(&s->lock);
    forget_done(s, now, TP_DONE_MAX);
    const struct tp_call *c = tpi_map_get(&s->calls, key->ptr, key->len);
    known = c != NULL;
    if (c != NULL && c->closed && c->reply != NULL && c->device.len <= TP_KEY_BYTES) {
        (void) tpi_buf_put(&reply, c->reply, c->reply_len);
        device_len = c->device.len;
        memcpy(device, c->device.ptr, device_len);
    }
    pthread_mutex_unlock(&s->lock);
    if (known) {
        s->host->count(s->ctx, "down_repeated", 1);
    }
    if (reply.len > 0) {
        answer(s, d->kind, d->mid, (struct tpc_str){ device, device_len }, &reply);
    }
    tpi_buf_fini(&reply);
    return known;
}

/* ---- the life of a command ---- */

static struct tpc_str keep(struct tp_call *c, size_t *at, struct tpc_str text)
{
    struct tpc_str kept = { c->bytes + *at, text.len };
    if (text.len > 0) {
        memcpy(c->bytes + *at, text.ptr, text.len);
    }
    *at += text.len;
    return kept;
}

static struct tp_call *make_call(struct tp *s, const struct tp_down *d, struct tpc_str device,
                                 const struct tpi_buf *key)
{
    const struct tpc_allocator *a = s->host->allocator;
    struct tpc_str k = { (const char *) key->ptr, key->len };
    size_t size = sizeof(struct tp_call) + k.len + d->mid.len + d->method.len + device.len;
    size_t at = 0;
    pthread_mutex_lock(&s->lock);
    struct tp_call *c = s->call_count < TP_CALLS_MAX ? a->resize(a->user, NULL, 0, size) : NULL;
    if (c != NULL) {
        *c = (struct tp_call){ .s = s, .kind = d->kind, .size = size, .next = s->open };
        c->key = keep(c, &at, k);
        c->mid = keep(c, &at, d->mid);
        c->method = keep(c, &at, d->method);
        c->device = keep(c, &at, device);
        /* Without memory for that it is carried out again if it comes again. */
        c->keyed = k.len > 0 && tpi_map_put(&s->calls, k.ptr, k.len, c, NULL) == 0;
        if (s->open != NULL) {
            s->open->before = c;
        }
        s->open = c;
        s->call_count++;
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

/* Under the lock. */
static void unlink_open(struct tp *s, struct tp_call *c)
{
    *(c->before != NULL ? &c->before->next : &s->open) = c->next;
    if (c->next != NULL) {
        c->next->before = c->before;
    }
    c->next = c->before = NULL;
    s->call_count--;
}

static void close_call(struct tp *s, struct tp_call *c, const struct tpi_buf *reply)
{
    const struct tpc_allocator *a = s->host->allocator;
    uint64_t now = tp_mono_ms(s);
    pthread_mutex_lock(&s->lock);
    unlink_open(s, c);
    if (!c->keyed) {
        free_call(s, c);
    } else {
        if (reply->len > 0 && reply->len <= KEPT_MAX &&
            (c->reply = a->resize(a->user, NULL, 0, reply->len)) != NULL) {
            memcpy(c->reply, reply->ptr, reply->len);
            c->reply_len = reply->len;
        }
        c->closed = true;
        c->closed_ms = now;
        *(s->last_done != NULL ? &s->last_done->next : &s->done) = c;
        s->last_done = c;
        s->done_count++;
        forget_done(s, now, TP_DONE_MAX);
    }
    pthread_mutex_unlock(&s->lock);
}

/* On a worker of the core. */
static void on_closed(void *user, const struct tpc_command *command)
{
    struct tp_call *c = user;
    struct tp *s = c->s;
    struct tpi_buf b;
    char code[16];
    int rc = 0;
    tpi_buf_init(&b, s->host->allocator, 0);
    snprintf(code, sizeof(code), "%d", (int) command->code);
    if (command->state == TPC_COMMAND_SUCCEEDED) {
        rc = say_response(s, &b, NULL, TPC_STR("success"), c->method);
    } else if (command->state == TPC_COMMAND_TIMED_OUT) {
        rc = say_response(s, &b, "timeout", TPC_STR("the device does not answer"), c->method);
    } else if (command->state == TPC_COMMAND_EXPIRED) {
        rc = say_response(s, &b, "offline", TPC_STR("the device is offline"), c->method);
    } else {
        rc = say_response(s, &b, command->answered != 0 ? code : "failed",
                          command->reason.len > 0 ? command->reason : TPC_STR("the command failed"),
                          c->method);
    }
    if (rc == 0) {
        answer(s, c->kind, c->mid, c->device, &b);
    } else {
        tpi_buf_clear(&b);
        s->host->count(s->ctx, "answers_lost", 1);
    }
    close_call(s, c, &b);
    tpi_buf_fini(&b);
}

/* ---- whom it is for ---- */

static bool walk(const struct tp *s, const struct tp_down *d, struct tp_found *at)
{
    for (uint32_t i = 0; i < d->depth; i++) {
        struct tp_found next;
        if (!s->directory->child(s->directory_self, tpc_str_from(at->id), d->path[i], &next)) {
            return false;
        }
        *at = next;
    }
    return true;
}

/*
 * The topic names the device, though a nested payload has its addresses from the gateway on beside that
 * (contract 2). Platforms before have named the gateway; some say the addresses in another order.
 */
static bool find_device(const struct tp *s, const struct tp_down *d, struct tp_found *ret)
{
    if (s->directory == NULL) {
        if (d->x.len > TP_KEY_BYTES || d->depth > 0) {
            return false;
        }
        memset(ret, 0, sizeof(*ret));
        memcpy(ret->id, d->x.ptr, d->x.len);
        return true;
    }
    if (!s->directory->find(s->directory_self, d->x, ret)) {
        return false;
    }
    for (uint32_t i = 0; i < d->depth && ret->parent[0] != '\0'; i++) {
        if (tpc_str_equal(d->path[i], tpc_str_from(ret->address)) != 0) {
            return true;
        }
    }
    return walk(s, d, ret);
}

/* ---- carrying out ---- */

/* {"keys":[..]}, or what stands in the message. */
static int say_params(struct tpi_buf *b, const struct tp_down *d)
{
    if (d->kind != TP_DOWN_GET) {
        return d->params.type == TPC_NULL ? 0 : say_value(b, &d->params);
    }
    int rc = tpi_buf_text(b, TPC_STR("{\"keys\":"));
    rc = rc != 0 ? rc : say_value(b, &d->params);
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

static struct tpc_str service_of(const struct tp_down *d)
{
    return d->kind == TP_DOWN_COMMAND ? d->method
           : d->kind == TP_DOWN_SET   ? TPC_STR("set")
           : d->kind == TP_DOWN_GET   ? TPC_STR("get")
                                      : TPC_STR("control");
}

static int give(struct tp *s, const struct tp_down *d, struct tpc_str device,
                const struct tpi_buf *key)
{
    struct tpi_buf params;
    struct tp_call *c = NULL;
    tpi_buf_init(&params, s->host->allocator, 0);
    int rc = say_params(&params, d);
    if (rc == 0 && is_answered(d->kind) && (c = make_call(s, d, device, key)) == NULL) {
        rc = TPC_EAGAIN;
    }
    if (rc == 0) {
        struct tpc_host_command h = {
            .size = sizeof(h),
            .tenant = s->config.tenant,
            .device = device,
            .service = service_of(d),
            .params_json = { (const char *) params.ptr, params.len },
            .timeout_ms = s->config.command_timeout_ms,
            .expire_ms = s->config.command_timeout_ms,
            .actor = TPC_STR("thingspanel"),
        };
        rc = s->host->command(s->ctx, &h, c != NULL ? on_closed : NULL, c, NULL);
        if (rc != 0 && c != NULL) {
            pthread_mutex_lock(&s->lock);
            unlink_open(s, c);
            forget(s, c);
            pthread_mutex_unlock(&s->lock);
        }
    }
    tpi_buf_fini(&params);
    return rc;
}

/* What went wrong, in b; text that is there without memory. */
static struct tpc_str why(int rc, struct tpi_buf *b)
{
    const struct tpc_error *last = tpc_error_last();
    if (rc == TPC_EAGAIN) {
        return TPC_STR("too many commands are open");
    }
    if (last->code == rc && last->text[0] != '\0') {
        bool path = last->path[0] != '\0';
        int said =
            tpi_buf_printf(b, "%s%s%s", path ? last->path : "", path ? ": " : "", last->text);
        return said == 0 ? (struct tpc_str){ (const char *) b->ptr, b->len }
                         : TPC_STR("the command is refused");
    }
    return rc == TPC_ENOENT ? TPC_STR("the device has no such service")
                            : TPC_STR("the command is refused");
}

/* It was not taken. */
static void not_given(struct tp *s, const struct tp_down *d, struct tpc_str device,
                      struct tpc_str topic, int rc)
{
    struct tpi_buf b;
    tpi_buf_init(&b, s->host->allocator, 0);
    struct tpc_str text = why(rc, &b);
    refuse_for(s, d, device,
               rc == TPC_ENOENT   ? "service"
               : rc == TPC_EMODEL ? "params"
                                  : "failed",
               text);
    if (!is_answered(d->kind) && s->refused++ % LOG_EACH == 0) {
        s->host->log(s->ctx, TPC_LOG_WARN, "%.*s: %.*s", (int) (topic.len < 200 ? topic.len : 200),
                     topic.ptr, (int) text.len, text.ptr);
    }
    tpi_buf_fini(&b);
}

void tp_call(struct tp *s, const struct tp_down *d, struct tpc_str topic, struct tpc_bytes payload)
{
    struct tp_found found;
    struct tpi_buf key;
    int rc = TPC_EUNSUPPORTED;
    if (!find_device(s, d, &found)) {
        s->host->count(s->ctx, "down_unknown", 1);
        tp_call_refuse(s, d, "device", TPC_STR("the service has no such device"));
        return;
    }
    tpi_buf_init(&key, s->host->allocator, 0);
    bool keyed = is_answered(d->kind) && s->config.down_again_ms > 0;
    if (keyed && say_key(&key, topic, payload) != 0) {
        tpi_buf_clear(&key);
    }
    if (key.len > 0 && came_again(s, d, &key)) {
        tpi_buf_fini(&key);
        return;
    }
    if (TPC_HAS(s->host, struct tpc_host, command)) {
        rc = give(s, d, tpc_str_from(found.id), &key);
    }
    s->host->count(s->ctx, rc == 0 ? "down" : "down_refused", 1);
    if (rc != 0) {
        not_given(s, d, tpc_str_from(found.id), topic, rc);
    }
    tpi_buf_fini(&key);
}

void tp_calls_fini(struct tp *s)
{
    for (struct tp_call *c = s->open, *next; c != NULL; c = next) {
        next = c->next;
        free_call(s, c);
    }
    for (struct tp_call *c = s->done, *next; c != NULL; c = next) {
        next = c->next;
        free_call(s, c);
    }
    while (s->answers != NULL) {
        drop_answer(s, s->answers);
    }
    tpi_map_fini(&s->calls);
    tpi_map_init(&s->calls, s->host->allocator);
    s->open = s->done = s->last_done = NULL;
    s->call_count = s->done_count = s->answers_away = 0;
}
