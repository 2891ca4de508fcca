#include "fake_sink.h"

#include "data/option.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tpcore/json.h>

enum { WAIT_S = 20 };

/* Every host call begins here. */
static struct fake_sink *enter(void *ctx)
{
    struct fake_sink *h = ctx;
    pthread_mutex_lock(&h->lock);
    h->calls_after_stop += h->stopped;
    return h;
}

static void leave(struct fake_sink *h)
{
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static void on_sent(void *ctx, uint64_t ticket, const struct tpc_error *err)
{
    struct fake_sink *h = enter(ctx);
    if (h->sent_count < FAKE_SENT_MAX) {
        struct fake_sent *s = &h->sent[h->sent_count++];
        memset(s, 0, sizeof(*s));
        s->ticket = ticket;
        if (err != NULL) {
            s->err = *err;
        }
    }
    leave(h);
}

static int refuse(void *ctx, int code, const char *fmt, ...)
{
    struct fake_sink *h = ctx;
    va_list args;
    pthread_mutex_lock(&h->lock);
    va_start(args, fmt);
    vsnprintf(h->last_fail, sizeof(h->last_fail), fmt, args);
    va_end(args);
    pthread_mutex_unlock(&h->lock);
    return code;
}

static void log_line(void *ctx, int level, const char *fmt, ...)
{
    struct fake_sink *h = enter(ctx);
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    h->env->env.log(h->env->env.log_user, level, h->ops->name, text);
    leave(h);
}

static int need(void *ctx, const char *service, const void **ret_ops, void **ret_self)
{
    struct fake_sink *h = ctx;
    if (h->service == NULL) {
        return refuse(ctx, TPC_ENOENT, "nobody offers service %s", service);
    }
    *ret_ops = h->service;
    *ret_self = h->service_self;
    return 0;
}

static int offer(void *ctx, const char *service, const void *ops, void *self)
{
    struct fake_sink *h = ctx;
    (void) service;
    h->offered = ops;
    h->offered_self = self;
    return 0;
}

static const char *name(void *ctx)
{
    (void) ctx;
    return "fake";
}

static void count(void *ctx, const char *metric, uint64_t n)
{
    struct fake_sink *h = enter(ctx);
    int i = 0;
    while (i < FAKE_SINK_METRICS && h->metrics[i].name != NULL &&
           strcmp(h->metrics[i].name, metric) != 0) {
        i++;
    }
    if (i < FAKE_SINK_METRICS) {
        h->metrics[i].name = metric;
        h->metrics[i].value += n;
    }
    leave(h);
}

uint64_t fake_sink_metric(struct fake_sink *h, const char *metric)
{
    uint64_t value = 0;
    pthread_mutex_lock(&h->lock);
    for (int i = 0; i < FAKE_SINK_METRICS && h->metrics[i].name != NULL; i++) {
        if (strcmp(h->metrics[i].name, metric) == 0) {
            value = h->metrics[i].value;
        }
    }
    pthread_mutex_unlock(&h->lock);
    return value;
}

static const struct tpc_sink_ops *sink_of(const struct tpc_module *module)
{
    for (uint32_t i = 0; i < module->interfaces.count; i++) {
        const struct tpc_interface *t = TPC_LIST_AT(struct tpc_interface, module->interfaces, i);
        if (t->kind == TPC_KIND_SINK) {
            return t->ops;
        }
    }
    return NULL;
}

/* Reads options as the core does. */
static int check(struct fake_sink *h, const struct tpc_list *table, const char *json,
                 const struct tpc_value **ret)
{
    struct tpc_value given;
    struct tpc_error err;
    struct tpc_value *kept = tpc_arena_take(h->arena, sizeof(*kept));
    ck_assert_ptr_nonnull(kept);
    tk_ok(tpc_json_parse(h->arena, tpc_str_from(json), TPC_JSON_COPY, NULL, &given));
    int rc = tpi_option_check(table, &given, 0, h->arena, &err, kept);
    if (rc != 0) {
        snprintf(h->last_fail, sizeof(h->last_fail), "%s: %.120s", err.path, err.text);
    }
    *ret = kept;
    return rc;
}

int fake_sink_init(struct fake_sink *h, struct tk_env *env, const struct tpc_module *module,
                   const char *options_json)
{
    const struct tpc_value *cfg;
    memset(h, 0, sizeof(*h));
    h->env = env;
    h->ops = sink_of(module);
    ck_assert_ptr_nonnull(h->ops);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    h->base = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                                 .allocator = &env->alloc.base,
                                 .clock = &env->clock.base,
                                 .random = &env->random,
                                 .files = &env->files.base,
                                 .sent = on_sent,
                                 .fail = refuse,
                                 .log = log_line,
                                 .offer = offer,
                                 .need = need,
                                 .name = name,
                                 .count = count };
    tk_ok(tpc_arena_create(NULL, 0, &h->arena));
    int rc = check(h, &h->ops->options, options_json, &cfg);
    if (rc != 0) {
        return rc;
    }
    h->self = calloc(1, h->ops->instance_size);
    ck_assert_ptr_nonnull(h->self);
    return h->ops->init(h->self, &h->base, h, cfg);
}

void fake_sink_fini(struct fake_sink *h)
{
    if (h->self != NULL) {
        h->ops->fini(h->self);
        free(h->self);
    }
    h->arena = tpc_arena_destroy(h->arena);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
}

int fake_sink_start(struct fake_sink *h)
{
    return h->ops->start(h->self);
}

void fake_sink_stop(struct fake_sink *h)
{
    h->ops->stop(h->self);
    pthread_mutex_lock(&h->lock);
    h->stopped = true;
    pthread_mutex_unlock(&h->lock);
}

int fake_sink_open(struct fake_sink *h, const char *target, const char *options_json, void **ret)
{
    const struct tpc_value *cfg;
    int rc = check(h, &h->ops->target_options, options_json, &cfg);
    return rc != 0 ? rc : h->ops->target_open(h->self, tpc_str_from(target), cfg, ret);
}

bool fake_sink_wait(struct fake_sink *h, uint32_t least)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&h->lock);
    int rc = 0;
    while (h->sent_count < least && rc == 0) {
        rc = pthread_cond_timedwait(&h->changed, &h->lock, &until);
    }
    bool enough = h->sent_count >= least;
    pthread_mutex_unlock(&h->lock);
    return enough;
}

int fake_sink_whole(struct fake_sink *h, void *target, const struct tpc_batch *batch)
{
    uint32_t before = h->sent_count;
    uint64_t ticket = 1000 + before;
    int rc = h->ops->send(h->self, target, batch, ticket);
    if (rc != 0) {
        return rc;
    }
    ck_assert(fake_sink_wait(h, before + 1));
    ck_assert_uint_eq(h->sent_count, before + 1);
    ck_assert_uint_eq(h->sent[before].ticket, ticket);
    return h->sent[before].err.code;
}
