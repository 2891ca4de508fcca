/* The table of services that modules get; ctx is their struct tpi_part. */
#include <stdarg.h>
#include <string.h>

#include <tpcore/auth.h>
#include <tpcore/command.h>
#include <tpcore/device.h>
#include <tpcore/ext/api.h>
#include <tpcore/why.h>

#include "base/text.h"
#include "core/core.h"

static int host_session_open(void *ctx, const struct tpc_session_options *o, uint64_t *ret_session)
{
    return tpi_session_open(ctx, o, ret_session);
}

static void host_session_close(void *ctx, uint64_t session)
{
    tpi_session_close(ctx, session);
}

static int host_receive(void *ctx, uint64_t session, const struct tpc_frame *frame, uint64_t ticket)
{
    return tpi_session_receive(ctx, session, frame, ticket);
}

static void host_sent(void *ctx, uint64_t ticket, const struct tpc_error *err)
{
    struct tpi_part *p = ctx;
    if (p->kind == TPC_KIND_SINK) {
        tpi_forward_sent(p->core->forward, ticket, err);
    } else {
        tpi_down_sent(p, ticket, err);
    }
}

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    struct tpi_part *p = ctx;
    char text[sizeof(((struct tpc_error *) NULL)->text)];
    va_list args;
    va_start(args, fmt);
    tpi_text_format(text, sizeof(text), fmt, args);
    va_end(args);
    return tpi_fail(code, p->name, "%s", text);
}

static void host_log(void *ctx, int level, const char *fmt, ...)
{
    struct tpi_part *p = ctx;
    const struct tpi_env *env = &p->core->env;
    char text[512];
    if (env->log == NULL || level > env->log_level) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    tpi_text_format(text, sizeof(text), fmt, args);
    va_end(args);
    tpi_log(env, level, p->name, "%s", text);
}

static int host_watch(void *ctx, int fd, uint32_t events, tpc_watch_fn *fn, void *user)
{
    struct tpi_part *p = ctx;
    int rc = events != 0 && fn == NULL ? TPC_EINVAL : tpi_loop_watch(p, fd, events, fn, user);
    return rc == 0 ? 0 : tpi_fail(rc, p->name, "descriptor %d cannot be watched", fd);
}

static int host_timer_set(void *ctx, uint64_t delay_ms, tpc_timer_fn *fn, void *user,
                          uint64_t *ret_timer)
{
    struct tpi_part *p = ctx;
    uint64_t id = 0;
    int rc = fn == NULL ? TPC_EINVAL : tpi_loop_timer(p, delay_ms, fn, user, &id);
    if (rc != 0) {
        return tpi_fail(rc, p->name, "a timer cannot be set");
    }
    if (ret_timer != NULL) {
        *ret_timer = id;
    }
    return 0;
}

static void host_timer_clear(void *ctx, uint64_t timer)
{
    struct tpi_part *p = ctx;
    tpi_loop_clear(p->core, timer);
}

static int host_offer(void *ctx, const char *service, const void *ops, void *self)
{
    struct tpi_part *p = ctx;
    size_t max = sizeof(p->services) / sizeof(p->services[0]);
    if (service == NULL || ops == NULL || p->service_count == max) {
        return tpi_fail(TPC_EINVAL, p->name, "the service cannot be offered");
    }
    p->services[p->service_count++] = (struct tpi_service){ service, ops, self };
    return 0;
}

/* Remembers that p uses a service of a part, which can then not be closed before it. False: no room. */
static bool note_use(struct tpi_part *p, const struct tpi_part *used, const char *service)
{
    uint32_t i = 0;
    while (i < p->used_count && (p->used[i].part != used || p->used[i].service != service)) {
        i++;
    }
    if (i == sizeof(p->used) / sizeof(p->used[0])) {
        return false;
    }
    p->used[i].part = used;
    p->used[i].service = service;
    p->used_count += i == p->used_count;
    return true;
}

static int host_need(void *ctx, const char *service, const void **ret_ops, void **ret_self)
{
    struct tpi_part *p = ctx;
    for (struct tpi_part *o = p->core->parts; o != NULL; o = o->next) {
        for (uint32_t i = 0; o != p && i < o->service_count; i++) {
            if (strcmp(o->services[i].name, service) == 0) {
                if (!note_use(p, o, o->services[i].name)) {
                    return tpi_fail(TPC_ETOOBIG, p->name, "it needs services of too many parts");
                }
                *ret_ops = o->services[i].ops;
                *ret_self = o->services[i].self;
                return 0;
            }
        }
    }
    return tpi_fail(TPC_ENOENT, p->name, "nobody offers service %s", service);
}

static const char *host_name(void *ctx)
{
    return ((struct tpi_part *) ctx)->name;
}

/* A metric of a part; NULL = there are too many. Seldom more than a look: the first use makes it. */
static struct tpi_part_metric *metric_of(struct tpi_part *p, const char *metric, bool gauge)
{
    uint32_t count = atomic_load_explicit(&p->metric_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        if (p->metrics[i].name == metric || strcmp(p->metrics[i].name, metric) == 0) {
            return &p->metrics[i];
        }
    }
    pthread_mutex_lock(&p->core->part_lock);
    count = atomic_load_explicit(&p->metric_count, memory_order_relaxed);
    uint32_t i = 0;
    while (i < count && strcmp(p->metrics[i].name, metric) != 0) {
        i++;
    }
    if (i == count && count < TPI_PART_METRICS) {
        p->metrics[i].name = metric;
        p->metrics[i].gauge = gauge;
        atomic_store_explicit(&p->metric_count, count + 1, memory_order_release);
    }
    pthread_mutex_unlock(&p->core->part_lock);
    return i < TPI_PART_METRICS ? &p->metrics[i] : NULL;
}

static void host_count(void *ctx, const char *metric, uint64_t n)
{
    struct tpi_part_metric *m = metric_of(ctx, metric, false);
    if (m != NULL) {
        atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
    }
}

static void host_gauge(void *ctx, const char *metric, int64_t value)
{
    struct tpi_part_metric *m = metric_of(ctx, metric, true);
    if (m != NULL) {
        atomic_store_explicit(&m->value, (uint64_t) value, memory_order_relaxed);
    }
}

static int host_enroll(void *ctx, const struct tpc_register_request *request,
                       struct tpc_registration *ret)
{
    return tpc_auth_register(((struct tpi_part *) ctx)->core, request, ret);
}

static int host_why(void *ctx, const struct tpc_why *why)
{
    return tpc_why_note(((struct tpi_part *) ctx)->core, why);
}

static int host_command(void *ctx, const struct tpc_host_command *c, tpc_command_fn *done,
                        void *user, struct tpc_id *ret)
{
    struct tpi_part *p = ctx;
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_host_command h;
    if (c == NULL || c->size < offsetof(struct tpc_host_command, actor)) {
        return tpi_fail(TPC_EINVAL, p->name, "a command without its size");
    }
    memset(&h, 0, sizeof(h));
    memcpy(&h, c, c->size < sizeof(h) ? c->size : sizeof(h));
    struct tpc_actor actor = { .size = sizeof(actor),
                               .type = TPC_ACTOR_CONNECTOR,
                               .name = h.actor.len > 0 ? h.actor : tpc_str_from(p->name),
                               .origin = tpc_str_from(p->name) };
    o.service = h.service;
    o.params_json = h.params_json;
    o.timeout_ms = h.timeout_ms;
    o.expire_ms = h.expire_ms;
    o.id = h.id;
    int rc = tpc_device_open_in(p->core, h.tenant.len > 0 ? h.tenant : TPC_STR("main"), h.device,
                                &o.device);
    if (rc == 0) {
        rc = tpi_command_send(p->core, p, &actor, &o, done, user, ret);
        tpc_device_unref(o.device);
    }
    return rc;
}

static int host_make_device(void *ctx, const struct tpc_host_device *d)
{
    return tpi_make_device(ctx, d);
}

static const struct tpc_api *host_api(void *ctx, struct tpc_core **ret_core)
{
    static const struct tpc_api api = {
        .iface = TPC_IFACE(struct tpc_api, 1),
        .error_last = tpc_error_last,
        .entity_put = tpc_entity_put,
        .entity_get = tpc_entity_get,
        .entity_list = tpc_entity_list,
        .entity_delete = tpc_entity_delete,
        .auth_check = tpc_auth_check,
        .auth_recheck = tpc_auth_recheck,
        .auth_register = tpc_auth_register,
        .token_issue = tpc_token_issue,
        .device_open = tpc_device_open_in,
        .device_unref = tpc_device_unref,
        .device_info = tpc_device_info,
        .latest_get = tpc_latest_get,
        .subscribe = tpc_subscribe,
        .consume = tpc_consume,
        .unsubscribe = tpc_unsubscribe,
        .command_send = tpc_command_send,
        .entity_secret = tpc_entity_secret,
        .core_prometheus = tpc_core_prometheus,
        .why = tpc_why,
    };
    *ret_core = ((struct tpi_part *) ctx)->core;
    return &api;
}

void tpi_host_init(struct tpc_core *core)
{
    core->host = (struct tpc_host){
        .iface = TPC_IFACE(struct tpc_host, 1),
        .allocator = core->env.alloc,
        .clock = core->env.clock,
        .random = core->env.random,
        .files = core->env.files,
        .session_open = host_session_open,
        .session_close = host_session_close,
        .receive = host_receive,
        .sent = host_sent,
        .fail = host_fail,
        .log = host_log,
        .watch = host_watch,
        .timer_set = host_timer_set,
        .timer_clear = host_timer_clear,
        .offer = host_offer,
        .need = host_need,
        .name = host_name,
        .count = host_count,
        .enroll = host_enroll,
        .why = host_why,
        .gauge = host_gauge,
        .command = host_command,
        .make_device = host_make_device,
        .api = host_api,
    };
}
