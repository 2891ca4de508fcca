#include "fake_host.h"

#include "data/option.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tpcore/json.h>
#include <tpcore/why.h>

enum { WAIT_S = 10 };

static void keep(char ret[FAKE_TEXT], struct tpc_str s)
{
    snprintf(ret, FAKE_TEXT, "%.*s", (int) s.len, s.len > 0 ? s.ptr : "");
}

/* Every host call begins here. */
static struct fake_host *enter(void *ctx)
{
    struct fake_host *h = ctx;
    pthread_mutex_lock(&h->lock);
    h->calls_after_stop += h->stopped;
    return h;
}

static void leave(struct fake_host *h)
{
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

/* Of a key; the free one behind the last if it was not made; NULL = there is no room. */
static struct fake_device *device_of(struct fake_host *h, struct tpc_str key)
{
    uint32_t i = 0;
    while (i < h->device_count && !tpc_str_equal(key, tpc_str_from(h->devices[i].device))) {
        i++;
    }
    return i < FAKE_DEVICES_MAX ? &h->devices[i] : NULL;
}

static int session_open(void *ctx, const struct tpc_session_options *o, uint64_t *ret)
{
    struct fake_host *h = enter(ctx);
    int rc = 0;
    size_t unknown = h->unknown != NULL ? strlen(h->unknown) : 0;
    if (unknown > 0 && o->device.len >= unknown &&
        memcmp(o->device.ptr, h->unknown, unknown) == 0 &&
        device_of(h, o->device) == &h->devices[h->device_count]) {
        rc = TPC_ENOENT;
    } else if (h->session_count == FAKE_SESSIONS_MAX) {
        rc = TPC_EAGAIN;
    } else {
        struct fake_session *s = &h->sessions[h->session_count++];
        s->open = true;
        s->flags = o->flags;
        keep(s->product, o->product);
        keep(s->device, o->device);
        *ret = h->session_count;
    }
    leave(h);
    return rc;
}

static void session_close(void *ctx, uint64_t session)
{
    struct fake_host *h = enter(ctx);
    if (session == 0 || session > h->session_count || !h->sessions[session - 1].open) {
        h->calls_after_stop++; /* closing what is not open is as wrong */
    } else {
        h->sessions[session - 1].open = false;
    }
    leave(h);
}

static void take(struct fake_host *h, uint64_t session, const struct tpc_frame *f, uint64_t ticket)
{
    struct fake_frame *k = &h->frames[h->frame_count++];
    k->session = session;
    k->ticket = ticket;
    k->kind = f->kind;
    k->flags = f->flags;
    k->packet_id = f->packet_id;
    keep(k->product, f->product);
    keep(k->device, f->device);
    keep(k->topic, f->topic);
    keep(k->name, f->name);
    keep(k->correlation, f->correlation);
    k->len = f->payload.len;
    k->payload = calloc(1, k->len + 1);
    ck_assert_ptr_nonnull(k->payload);
    if (k->len > 0) {
        memcpy(k->payload, f->payload.ptr, k->len);
    }
}

static int receive(void *ctx, uint64_t session, const struct tpc_frame *f, uint64_t ticket)
{
    struct fake_host *h = enter(ctx);
    int rc = session == 0 || session > h->session_count ? TPC_EINVAL : h->receive_code;
    bool inside = rc == 0 && ticket != 0 && h->settle == FAKE_SETTLE_INSIDE;
    if (rc == 0 && h->frame_count < FAKE_FRAMES_MAX) {
        take(h, session, f, ticket);
    }
    h->later_count += rc == TPC_EAGAIN;
    leave(h);
    if (inside) {
        int ok = 0;
        h->ops->settled(h->self, &ticket, &ok, 1);
    }
    return rc;
}

static void on_sent(void *ctx, uint64_t ticket, const struct tpc_error *err)
{
    struct fake_host *h = enter(ctx);
    if (h->sent_count < FAKE_FRAMES_MAX) {
        h->sent_codes[h->sent_count] = err != NULL ? err->code : 0;
        h->sent[h->sent_count++] = ticket;
    }
    leave(h);
}

static int refuse(void *ctx, int code, const char *fmt, ...)
{
    struct fake_host *h = enter(ctx);
    va_list args;
    va_start(args, fmt);
    vsnprintf(h->last_fail, sizeof(h->last_fail), fmt, args);
    va_end(args);
    leave(h);
    return code;
}

static void log_line(void *ctx, int level, const char *fmt, ...)
{
    struct fake_host *h = enter(ctx);
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    h->env->env.log(h->env->env.log_user, level, h->ops->name, text);
    leave(h);
}

static int watch(void *ctx, int fd, uint32_t events, tpc_watch_fn *fn, void *user)
{
    (void) ctx;
    (void) fd;
    (void) events;
    (void) fn;
    (void) user;
    return TPC_EUNSUPPORTED;
}

static int timer_set(void *ctx, uint64_t delay_ms, tpc_timer_fn *fn, void *user, uint64_t *ret)
{
    struct fake_host *h = enter(ctx);
    int rc = TPC_EAGAIN;
    for (int i = 0; i < FAKE_TIMERS_MAX; i++) {
        struct fake_timer *t = &h->timers[i];
        if (t->fn == NULL) {
            uint64_t now = h->base.clock->mono_ns(h->base.clock->user) / 1000000;
            *t = (struct fake_timer){ ++h->next_timer, now + delay_ms, fn, user };
            *ret = t->id;
            rc = 0;
            break;
        }
    }
    leave(h);
    return rc;
}

static void timer_clear(void *ctx, uint64_t timer)
{
    struct fake_host *h = enter(ctx);
    for (int i = 0; i < FAKE_TIMERS_MAX; i++) {
        if (h->timers[i].id == timer) {
            h->timers[i].fn = NULL;
        }
    }
    leave(h);
}

static int offer(void *ctx, const char *service, const void *ops, void *self)
{
    struct fake_host *h = enter(ctx);
    (void) service;
    h->offered = ops;
    h->offered_self = self;
    leave(h);
    return 0;
}

static int need(void *ctx, const char *service, const void **ret_ops, void **ret_self)
{
    const struct fake_host *h = ctx;
    if (h->service_name == NULL || strcmp(h->service_name, service) != 0) {
        return TPC_ENOENT;
    }
    *ret_ops = h->service;
    *ret_self = h->service_self;
    return 0;
}

static const char *name(void *ctx)
{
    (void) ctx;
    return "fake";
}

/* Of a metric; under the lock. */
static int64_t *metric_of(struct fake_host *h, const char *metric)
{
    uint32_t i = 0;
    while (i < FAKE_METRICS_MAX && h->metrics[i].name != NULL &&
           strcmp(h->metrics[i].name, metric) != 0) {
        i++;
    }
    ck_assert_uint_lt(i, FAKE_METRICS_MAX);
    h->metrics[i].name = metric;
    return &h->metrics[i].value;
}

static void count(void *ctx, const char *metric, uint64_t n)
{
    struct fake_host *h = enter(ctx);
    *metric_of(h, metric) += (int64_t) n;
    leave(h);
}

static int note_why(void *ctx, const struct tpc_why *w)
{
    struct fake_host *h = enter(ctx);
    snprintf(h->whys, sizeof(h->whys), "%.*s/%.*s %u %d x%u %.*s [%.*s]", (int) w->tenant.len,
             w->tenant.ptr, (int) w->device.len, w->device.ptr, (unsigned) w->stage, (int) w->code,
             (unsigned) w->times, (int) w->reason.len, w->reason.ptr, (int) w->payload.len,
             (const char *) w->payload.ptr);
    h->why_count++;
    leave(h);
    return 0;
}

static void gauge(void *ctx, const char *metric, int64_t value)
{
    struct fake_host *h = enter(ctx);
    *metric_of(h, metric) = value;
    leave(h);
}

static int command(void *ctx, const struct tpc_host_command *c, tpc_command_fn *done, void *user,
                   struct tpc_id *ret)
{
    static const struct tpc_id none;
    struct fake_host *h = enter(ctx);
    int rc = h->command_code;
    if (rc == 0 && h->command_count == FAKE_COMMANDS_MAX) {
        rc = TPC_EAGAIN;
    }
    if (rc == 0) {
        struct fake_command *k = &h->commands[h->command_count];
        keep(k->device, c->device);
        keep(k->service, c->service);
        keep(k->actor, c->actor);
        snprintf(k->params, sizeof(k->params), "%.*s", (int) c->params_json.len,
                 c->params_json.len > 0 ? c->params_json.ptr : "");
        k->timeout_ms = c->timeout_ms;
        k->expire_ms = c->expire_ms;
        k->id = c->id;
        k->done = done;
        k->user = user;
        if (memcmp(&k->id, &none, sizeof(none)) == 0) {
            k->id.b[0] = (uint8_t) (h->command_count + 1);
        }
        if (ret != NULL) {
            *ret = k->id;
        }
        h->command_count++;
    }
    leave(h);
    return rc;
}

static const struct tpc_api *api(void *ctx, struct tpc_core **ret_core)
{
    struct fake_host *h = ctx;
    *ret_core = h->core;
    return h->api;
}

static int make_device(void *ctx, const struct tpc_host_device *d)
{
    struct fake_host *h = enter(ctx);
    struct fake_device *k = device_of(h, d->device);
    int rc = h->make_code != 0 ? h->make_code : k == NULL ? TPC_ETOOBIG : 0;
    if (rc == 0 && k == &h->devices[h->device_count]) {
        keep(k->product, d->product);
        keep(k->device, d->device);
        keep(k->name, d->name);
        snprintf(k->document, sizeof(k->document), "%.*s", (int) d->document.len,
                 d->document.len > 0 ? d->document.ptr : "");
        snprintf(k->product_document, sizeof(k->product_document), "%.*s",
                 (int) d->product_document.len,
                 d->product_document.len > 0 ? d->product_document.ptr : "");
        h->device_count++;
    } else if (rc == 0 && !tpc_str_equal(d->product, tpc_str_from(k->product))) {
        rc = TPC_EDENIED;
    }
    leave(h);
    return rc;
}

int64_t fake_metric(struct fake_host *h, const char *name)
{
    pthread_mutex_lock(&h->lock);
    int64_t value = *metric_of(h, name);
    pthread_mutex_unlock(&h->lock);
    return value;
}

const struct tpc_adapter_ops *fake_adapter_of(const struct tpc_module *module)
{
    for (uint32_t i = 0; i < module->interfaces.count; i++) {
        const struct tpc_interface *t = TPC_LIST_AT(struct tpc_interface, module->interfaces, i);
        if (t->kind == TPC_KIND_ADAPTER) {
            return t->ops;
        }
    }
    return NULL;
}

int fake_init(struct fake_host *h, struct tk_env *env, const struct tpc_adapter_ops *ops,
              const char *options_json)
{
    struct tpc_value given, checked;
    struct tpc_error err;
    memset(h, 0, sizeof(*h));
    h->env = env;
    h->ops = ops;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    h->base = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                                 .allocator = &env->alloc.base,
                                 .clock = &env->clock.base,
                                 .random = &env->random,
                                 .files = &env->files.base,
                                 .session_open = session_open,
                                 .session_close = session_close,
                                 .receive = receive,
                                 .sent = on_sent,
                                 .fail = refuse,
                                 .log = log_line,
                                 .watch = watch,
                                 .timer_set = timer_set,
                                 .timer_clear = timer_clear,
                                 .offer = offer,
                                 .need = need,
                                 .name = name,
                                 .count = count,
                                 .why = note_why,
                                 .gauge = gauge,
                                 .command = command,
                                 .make_device = make_device,
                                 .api = api };
    tk_ok(tpc_arena_create(NULL, 0, &h->arena));
    tk_ok(tpc_json_parse(h->arena, tpc_str_from(options_json), TPC_JSON_COPY, NULL, &given));
    int rc = tpi_option_check(&ops->options, &given, 0, h->arena, &err, &checked);
    if (rc != 0) {
        snprintf(h->last_fail, sizeof(h->last_fail), "%.60s: %.90s", err.path, err.text);
        return rc;
    }
    h->self = calloc(1, ops->instance_size);
    ck_assert_ptr_nonnull(h->self);
    struct tpc_value *kept = tpc_arena_take(h->arena, sizeof(*kept));
    *kept = checked;
    return ops->init(h->self, &h->base, h, kept);
}

void fake_fini(struct fake_host *h)
{
    if (h->self != NULL) {
        h->ops->fini(h->self);
        free(h->self);
    }
    for (uint32_t i = 0; i < h->frame_count; i++) {
        free(h->frames[i].payload);
    }
    h->arena = tpc_arena_destroy(h->arena);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
}

int fake_start(struct fake_host *h)
{
    pthread_mutex_lock(&h->lock);
    h->stopped = false;
    pthread_mutex_unlock(&h->lock);
    return h->ops->start(h->self);
}

void fake_stop(struct fake_host *h)
{
    h->ops->stop(h->self);
    pthread_mutex_lock(&h->lock);
    h->stopped = true;
    pthread_mutex_unlock(&h->lock);
}

static bool take_due(struct fake_host *h, struct fake_timer *ret)
{
    bool found = false;
    pthread_mutex_lock(&h->lock);
    uint64_t now = h->base.clock->mono_ns(h->base.clock->user) / 1000000;
    for (int i = 0; i < FAKE_TIMERS_MAX && !found; i++) {
        if (h->timers[i].fn != NULL && h->timers[i].at_ms <= now) {
            *ret = h->timers[i];
            h->timers[i].fn = NULL;
            found = true;
        }
    }
    pthread_mutex_unlock(&h->lock);
    return found;
}

void fake_run(struct fake_host *h, uint64_t ms, uint64_t step_ms)
{
    struct fake_timer t;
    for (uint64_t done = 0; done <= ms; done += step_ms) {
        for (int i = 0; i < 10000 && take_due(h, &t); i++) {
            t.fn(t.user);
        }
        tk_clock_advance(&h->env->clock, done + step_ms <= ms ? step_ms : 0);
    }
}

static bool wait_for(struct fake_host *h, const uint32_t *what, uint32_t least)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&h->lock);
    int rc = 0;
    while (*what < least && rc == 0) {
        rc = pthread_cond_timedwait(&h->changed, &h->lock, &until);
    }
    bool enough = *what >= least;
    pthread_mutex_unlock(&h->lock);
    return enough;
}

bool fake_wait_frames(struct fake_host *h, uint32_t least)
{
    return wait_for(h, &h->frame_count, least);
}

bool fake_wait_sent(struct fake_host *h, uint32_t least)
{
    return wait_for(h, &h->sent_count, least);
}

bool fake_wait_whys(struct fake_host *h, uint32_t least)
{
    return wait_for(h, &h->why_count, least);
}

bool fake_wait_later(struct fake_host *h, uint32_t least)
{
    return wait_for(h, &h->later_count, least);
}

bool fake_wait_commands(struct fake_host *h, uint32_t least)
{
    return wait_for(h, &h->command_count, least);
}

bool fake_wait_devices(struct fake_host *h, uint32_t least)
{
    return wait_for(h, &h->device_count, least);
}

void fake_command_end(struct fake_host *h, uint32_t i, uint32_t state, int code,
                      const char *reply_json, const char *reason)
{
    pthread_mutex_lock(&h->lock);
    ck_assert_uint_lt(i, h->command_count);
    struct fake_command k = h->commands[i];
    pthread_mutex_unlock(&h->lock);
    struct tpc_command c = { .size = sizeof(c), .state = state, .id = k.id, .code = code };
    c.tenant = TPC_STR("main");
    c.device = tpc_str_from(k.device);
    c.service = tpc_str_from(k.service);
    c.params_json = tpc_str_from(k.params);
    c.actor = tpc_str_from(k.actor);
    c.reply_json = tpc_str_from(reply_json != NULL ? reply_json : "");
    c.reason = tpc_str_from(reason != NULL ? reason : "");
    c.answered = reply_json != NULL;
    if (k.done != NULL) {
        k.done(k.user, &c);
    }
}

void fake_settle(struct fake_host *h, uint32_t from, int error)
{
    pthread_mutex_lock(&h->lock);
    uint32_t count = h->frame_count; /* what comes for that is not settled */
    pthread_mutex_unlock(&h->lock);
    for (; from < count; from++) {
        pthread_mutex_lock(&h->lock);
        uint64_t ticket = h->frames[from].ticket;
        pthread_mutex_unlock(&h->lock);
        if (ticket != 0) {
            h->ops->settled(h->self, &ticket, &error, 1);
        }
    }
}

void fake_answer(struct fake_host *h, int receive_code)
{
    pthread_mutex_lock(&h->lock);
    h->receive_code = receive_code;
    uint32_t sessions = h->session_count;
    pthread_mutex_unlock(&h->lock);
    for (uint32_t i = 0; receive_code == 0 && i < sessions; i++) {
        h->ops->resume(h->self, i + 1);
    }
}

int fake_send(struct fake_host *h, uint64_t session, const char *product, const char *device,
              const struct tpc_frame *frame, uint64_t ticket)
{
    struct tpc_peer peer = { .size = sizeof(peer), .device_id = 1, .session = session };
    peer.tenant = TPC_STR("main");
    peer.product = tpc_str_from(product);
    peer.device = tpc_str_from(device);
    return h->ops->send(h->self, &peer, frame, ticket);
}
