/* Scenes at work: life of the stage, and what a message sets off. */
#include "rules/rules.h"

#include "base/alloc.h"
#include "base/error.h"
#include "registry/device.h"
#include "rules/rules_state.h"

#include <string.h>

#define COUNTER(member, text)                                                                      \
    {                                                                                              \
        "rules_" #member "_total", text, 1, offsetof(struct tpi_rules_counters, member)            \
    }
#define GAUGE(member, text)                                                                        \
    {                                                                                              \
        "rules_" #member, text, 2, offsetof(struct tpi_rules_counters, member)                     \
    }

const struct tpi_metric_def tpi_rules_metrics[] = {
    GAUGE(scenes, "Scenes that are configured"),
    GAUGE(broken, "Scenes whose condition does not compile against the product's model"),
    COUNTER(evaluations, "Conditions evaluated"),
    COUNTER(fired, "Times that a scene fired"),
    COUNTER(commands, "Commands of rules that were taken"),
    COUNTER(messages, "Notifications and alerts of rules that were taken"),
    COUNTER(refused, "Actions that were refused"),
    COUNTER(missing_target, "Actions about a device that does not exist"),
    COUNTER(edges_full, "Scenes that did not fire for want of memory for their state"),
};
const uint32_t tpi_rules_metric_count = sizeof(tpi_rules_metrics) / sizeof(tpi_rules_metrics[0]);

enum { KIND_VERSION = 1 };

static int make_workers(struct tpi_rules *r)
{
    const struct tpc_allocator *alloc = r->env->alloc;
    for (uint32_t i = 0; i < r->host.workers; i++) {
        pthread_mutex_init(&r->workers[i].lock, NULL);
    }
    for (uint32_t i = 0; i < r->host.workers; i++) {
        r->workers[i].marks = tpi_alloc_array(alloc, TPI_RULES_MAX_SCENES, sizeof(uint32_t));
        if (r->workers[i].marks == NULL) {
            return TPC_ENOMEM;
        }
    }
    r->free_numbers = tpi_alloc_array(alloc, TPI_RULES_MAX_SCENES, sizeof(uint32_t));
    if (r->free_numbers == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < TPI_RULES_MAX_SCENES; i++) {
        r->free_numbers[r->free_count++] = TPI_RULES_MAX_SCENES - 1 - i;
    }
    return 0;
}

static size_t workers_bytes(const struct tpi_rules *r)
{
    return sizeof(struct rule_worker) * r->host.workers;
}

static int make(struct tpi_rules *r)
{
    const struct tpc_allocator *alloc = r->env->alloc;
    pthread_mutex_init(&r->changes, NULL);
    tpi_map64_init(&r->scenes, alloc);
    tpi_map64_init(&r->sets, alloc);
    r->partitions = tpi_alloc_array(alloc, r->host.partitions, sizeof(*r->partitions));
    r->workers = tpi_alloc_zero(alloc, workers_bytes(r));
    if (r->partitions == NULL || r->workers == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < r->host.partitions; i++) {
        tpi_edges_init(&r->partitions[i].edges, alloc);
    }
    return make_workers(r);
}

int tpi_rules_create(const struct tpi_env *env, const struct tpi_rules_host *host,
                     struct tpc_error *err, struct tpi_rules **ret)
{
    if (host->workers == 0 || host->partitions == 0 || host->command == NULL ||
        host->message == NULL || host->registry == NULL) {
        return tpi_error_set(err, TPC_EINVAL, "rules", "the host's table is not complete");
    }
    struct tpi_rules *r = tpi_alloc_zero(env->alloc, sizeof(*r));
    if (r == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "rules", "out of memory");
    }
    r->env = env;
    r->host = *host;
    r->kind = (struct tpi_kind){ .name = "scene",
                                 .version = KIND_VERSION,
                                 .schema = tpi_scene_schema,
                                 .prepare = tpi_rules_prepare,
                                 .apply = tpi_rules_apply,
                                 .discard = tpi_rules_discard,
                                 .user = r };
    int rc = make(r);
    if (rc != 0) {
        tpi_rules_destroy(r);
        return tpi_error_set(err, rc, "rules", "out of memory");
    }
    *ret = r;
    return 0;
}

static void destroy_workers(struct tpi_rules *r)
{
    for (uint32_t i = 0; r->workers != NULL && i < r->host.workers; i++) {
        pthread_mutex_destroy(&r->workers[i].lock);
        tpi_free(r->env->alloc, r->workers[i].marks, TPI_RULES_MAX_SCENES * sizeof(uint32_t));
    }
    tpi_free(r->env->alloc, r->workers, workers_bytes(r));
}

void tpi_rules_destroy(struct tpi_rules *r)
{
    if (r == NULL) {
        return;
    }
    size_t iter = 0;
    void *scene;
    while (tpi_map64_next(&r->scenes, &iter, NULL, &scene)) {
        tpi_scene_destroy(scene);
    }
    tpi_map64_fini(&r->scenes);
    tpi_rules_sets_fini(r);
    for (uint32_t i = 0; r->partitions != NULL && i < r->host.partitions; i++) {
        tpi_edges_fini(&r->partitions[i].edges);
    }
    tpi_free(r->env->alloc, r->partitions, r->host.partitions * sizeof(*r->partitions));
    destroy_workers(r);
    tpi_free(r->env->alloc, r->free_numbers, TPI_RULES_MAX_SCENES * sizeof(uint32_t));
    pthread_mutex_destroy(&r->changes);
    tpi_free(r->env->alloc, r, sizeof(*r));
}

const struct tpi_kind *tpi_rules_kind(struct tpi_rules *r)
{
    return &r->kind;
}

const struct tpi_rules_counters *tpi_rules_count(const struct tpi_rules *r)
{
    return &r->counters;
}

void tpi_rules_begin(struct tpi_rules *r, uint32_t worker)
{
    pthread_mutex_lock(&r->workers[worker].lock);
}

void tpi_rules_end(struct tpi_rules *r, uint32_t worker)
{
    struct rule_worker *w = &r->workers[worker];
    if (w->evaluations > 0) {
        TPI_METRIC_ADD(r->counters.evaluations, w->evaluations);
        TPI_METRIC_ADD(r->counters.fired, w->fired);
        w->evaluations = 0;
        w->fired = 0;
    }
    pthread_mutex_unlock(&w->lock);
}

/* What happens to one message at one scene. */
struct firing {
    struct tpi_rules *r;
    uint32_t worker;
    struct tpc_device *device;
    const struct tpc_msg *msg;
    struct tpi_scene *scene;
};

/* Values of a condition: the latest of the device, by property id. */
static bool load_latest(void *user, uint32_t id, struct tpc_value *ret)
{
    const struct firing *f = user;
    int index = tpi_model_find_id(f->device->product->model, (uint16_t) id);
    return index >= 0 && tpi_device_latest_peek(f->device, (uint32_t) index, ret, NULL) == 0;
}

static bool load_other(void *user, struct tpc_str device, struct tpc_str name,
                       struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    const struct firing *f = user;
    char *rest = scratch->buf != NULL ? scratch->buf + scratch->used : NULL;
    struct tpc_buf room = { (uint8_t *) rest, scratch->cap - scratch->used, 0 };
    int rc =
        tpi_registry_latest(f->r->host.registry, f->scene->tenant_id, device, name, &room, ret);
    scratch->overflows += rc == TPC_ETOOBIG;
    scratch->used += rc == 0 ? room.need : 0;
    return rc == 0;
}

static int64_t now(void *user)
{
    const struct firing *f = user;
    return tpi_unix_ms(f->r->env);
}

static int64_t event_time(void *user)
{
    const struct firing *f = user;
    return f->msg->unix_ms;
}

static const struct tpi_expr_host expr_host = {
    .load = load_latest, .other = load_other, .now = now, .event_time = event_time
};

static void warn_full(struct firing *f)
{
    if (!atomic_exchange_explicit(&f->scene->warned, true, memory_order_relaxed)) {
        tpi_log(f->r->env, TPC_LOG_WARN, "rules",
                "%.*s does not fire: no memory for the state of its condition",
                (int) f->scene->by.len, f->scene->by.ptr);
    }
}

/* Whether the condition was false before. Remembers that it is true now. */
static bool is_rising(struct firing *f)
{
    struct tpi_edge edge = { f->scene->id, f->device->id, f->scene->when };
    int rc = tpi_edges_add(&f->r->partitions[f->msg->partition].edges, &edge);
    if (rc < 0) {
        TPI_METRIC_ADD(f->r->counters.edges_full, 1);
        warn_full(f);
    }
    return rc == 1;
}

static void look_at(struct firing *f)
{
    struct rule_worker *w = &f->r->workers[f->worker];
    struct tpi_scene *s = f->scene;
    if (s->devices.count > 0 &&
        tpi_map_get(&s->devices, f->device->key.ptr, f->device->key.len) == NULL) {
        return;
    }
    w->evaluations++;
    struct tpi_expr_scratch scratch = { w->texts, sizeof(w->texts), 0, 0 };
    int result = tpi_expr_test(s->expr, &expr_host, f, &scratch);
    if (result == 0 && !s->each) {
        tpi_edges_remove(&f->r->partitions[f->msg->partition].edges, s->id, f->device->id);
    }
    if (result != 1 || (!s->each && !is_rising(f))) {
        return;
    }
    w->fired++;
    struct tpi_act act = { .rules = f->r,
                           .worker = f->worker,
                           .tenant_id = s->tenant_id,
                           .rule = s->id,
                           .revision = s->revision,
                           .by = s->by,
                           .device = f->device,
                           .partition = f->msg->partition,
                           .offset = f->msg->offset };
    tpi_act(&act, &s->actions);
}

static uint32_t next_stamp(struct rule_worker *w)
{
    if (++w->stamp == 0) {
        memset(w->marks, 0, TPI_RULES_MAX_SCENES * sizeof(*w->marks));
        w->stamp = 1;
    }
    return w->stamp;
}

static void look_at_list(struct firing *f, const struct rule_list *list, uint32_t stamp)
{
    uint32_t *marks = f->r->workers[f->worker].marks;
    for (uint32_t i = 0; i < list->count; i++) {
        f->scene = list->items[i];
        if (marks[f->scene->number] != stamp) {
            marks[f->scene->number] = stamp;
            look_at(f);
        }
    }
}

void tpi_rules_message(struct tpi_rules *r, uint32_t worker, struct tpc_device *device,
                       const struct tpc_msg *msg)
{
    r->partitions[msg->partition].next = msg->offset + 1;
    if ((msg->kind != TPC_MSG_TELEMETRY && msg->kind != TPC_MSG_ATTRIBUTES) || device == NULL ||
        device->product == NULL) {
        return;
    }
    const struct rule_set *set = tpi_map64_get(&r->sets, device->product->id);
    if (set == NULL) {
        return;
    }
    struct firing f = { .r = r, .worker = worker, .device = device, .msg = msg };
    uint32_t stamp = next_stamp(&r->workers[worker]);
    for (uint32_t i = 0; i < msg->point_count; i++) {
        uint16_t id = tpc_msg_point(msg, i)->property;
        if (id < set->count && set->lists[id].count > 0) {
            look_at_list(&f, &set->lists[id], stamp);
        }
    }
}
