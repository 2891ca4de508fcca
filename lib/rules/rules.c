/* Scenes at work: life of the stage, and what a message sets off. */
#include "rules/rules.h"

#include "base/alloc.h"
#include "base/crypto.h"
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
    COUNTER(commands, "Commands of scenes that were taken"),
    COUNTER(refused, "Commands of scenes that were refused"),
    COUNTER(missing_target, "Commands of scenes whose device does not exist"),
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
        host->registry == NULL) {
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

int tpi_rules_action_id(uint64_t scene, uint64_t revision, uint32_t partition, uint64_t offset,
                        uint32_t action, struct tpc_id *ret)
{
    uint8_t in[32];
    uint8_t digest[TPI_SHA256_BYTES];
    tpi_put_u64(in, scene);
    tpi_put_u64(in + 8, revision);
    tpi_put_u64(in + 16, offset);
    tpi_put_u32(in + 24, partition);
    tpi_put_u32(in + 28, action);
    int rc = tpi_sha256(in, sizeof(in), digest);
    if (rc != 0) {
        return rc;
    }
    memcpy(ret->b, digest, sizeof(ret->b));
    ret->b[6] = (uint8_t) ((ret->b[6] & 0x0F) | 0x80);
    ret->b[8] = (uint8_t) ((ret->b[8] & 0x3F) | 0x80);
    return 0;
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

/* Values of a condition: the latest of the device, by property id. */
static bool load_latest(void *user, uint32_t id, struct tpc_value *ret)
{
    const struct tpc_device *device = user;
    int index = tpi_model_find_id(device->product->model, (uint16_t) id);
    return index >= 0 && tpi_device_latest_peek(device, (uint32_t) index, ret, NULL) == 0;
}

/* What happens to one message at one scene. */
struct firing {
    struct tpi_rules *r;
    uint32_t worker;
    struct tpc_device *device;
    const struct tpc_msg *msg;
    struct tpi_scene *scene;
};

static void warn_once(struct firing *f, struct tpi_action *a, const char *what)
{
    if (!atomic_exchange_explicit(&a->warned, true, memory_order_relaxed)) {
        struct tpc_str device = a->device.len > 0 ? a->device : f->device->key;
        tpi_log(f->r->env, TPC_LOG_WARN, "rules", "scene '%.*s': command '%.*s' to '%.*s': %s",
                (int) f->scene->key.len, f->scene->key.ptr, (int) a->service.len, a->service.ptr,
                (int) device.len, device.ptr, what);
    }
}

static void act(struct firing *f, uint32_t number)
{
    struct tpi_rules *r = f->r;
    struct tpi_action *a = &f->scene->actions[number];
    struct tpc_device *target =
        a->device.len == 0 ? f->device
                           : tpi_registry_find_in(r->host.registry, f->scene->tenant_id, a->device);
    if (target == NULL || atomic_load_explicit(&target->deleted, memory_order_relaxed)) {
        TPI_METRIC_ADD(r->counters.missing_target, 1);
        warn_once(f, a, "no such device");
        return;
    }
    struct tpi_rule_command command = { .source = f->device,
                                        .target = target,
                                        .service = a->service,
                                        .params = &a->params,
                                        .scene = f->scene->key,
                                        .timeout_ms = a->timeout_ms,
                                        .retries = a->retries,
                                        .retry_delay_ms = a->retry_delay_ms,
                                        .expire_ms = a->expire_ms,
                                        .priority = a->priority };
    int rc = tpi_rules_action_id(f->scene->id, f->scene->revision, f->msg->partition,
                                 f->msg->offset, number, &command.id);
    rc = rc != 0 ? rc : r->host.command(r->host.user, f->worker, &command);
    if (rc == 0) {
        TPI_METRIC_ADD(r->counters.commands, 1);
    } else if (rc != TPC_EEXIST) {
        TPI_METRIC_ADD(r->counters.refused, 1);
        warn_once(f, a, tpc_error_name(rc));
    }
}

/* Whether the condition was false before. Remembers that it is true now. */
static bool is_rising(struct firing *f)
{
    struct tpi_edge edge = { f->scene->id, f->device->id, f->scene->when };
    int rc = tpi_edges_add(&f->r->partitions[f->msg->partition].edges, &edge);
    if (rc < 0) {
        TPI_METRIC_ADD(f->r->counters.edges_full, 1);
        warn_once(f, &f->scene->actions[0], "no memory for the state of its condition");
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
    int result = tpi_expr_test(s->expr, load_latest, f->device);
    if (result == 0 && !s->each) {
        tpi_edges_remove(&f->r->partitions[f->msg->partition].edges, s->id, f->device->id);
    }
    if (result != 1 || (!s->each && !is_rising(f))) {
        return;
    }
    w->fired++;
    for (uint32_t i = 0; i < s->action_count; i++) {
        act(f, i);
    }
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
