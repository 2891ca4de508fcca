/* Life of the stage. What a message sets off: fire.c. */
#include "rules/rules.h"

#include "base/alloc.h"
#include "base/error.h"
#include "registry/device.h"
#include "rules/chain.h"
#include "rules/data_rule.h"
#include "rules/rules_state.h"
#include "rules/schedule.h"

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
    COUNTER(held_back, "Times that a scene did not fire, for it had fired a short while ago"),
    COUNTER(commands, "Commands of rules that were taken"),
    COUNTER(messages, "Notifications and alerts of rules that were taken"),
    COUNTER(refused, "Actions that were refused"),
    COUNTER(missing_target, "Actions about a device that does not exist"),
    COUNTER(edges_full, "Scenes that did not fire for want of memory for their state"),
    COUNTER(
        texts_lost,
        "Texts that a condition made, and values from before the message, that found no room: they "
        "were null"),
    GAUGE(data_rules, "Data rules that are configured"),
    GAUGE(data_rules_broken, "Data rules whose statement does not compile against the model"),
    GAUGE(data_rules_spread, "Data rules whose windows are over several devices"),
    COUNTER(inputs, "Messages that came into windows over several devices"),
    COUNTER(rows, "Rows of data rules"),
    COUNTER(panes_full, "Messages that are not in a window for want of memory"),
    COUNTER(values_lost, "Values that collect and count(distinct) had no room for"),
    COUNTER(kept_full,
            "Messages that left a sliding window, or the order of events, before their time"),
    COUNTER(late, "Messages that were too late for a rule over event time"),
    GAUGE(schedules, "Schedules that are configured"),
    GAUGE(schedules_broken, "Schedules whose time zone cannot be read"),
    COUNTER(schedules_fired, "Planned times of schedules that were done"),
    COUNTER(schedules_missed, "Planned times of schedules that passed and were not done"),
    COUNTER(schedules_failed, "Planned times of schedules at which an action failed"),
    COUNTER(loops, "Chains of rules that were cut, for they had too many links"),
    COUNTER(links_lost, "Commands of rules that are no links of a chain for want of memory"),
    COUNTER(delays, "Actions that waited for the end of a delay"),
    COUNTER(delays_full, "Actions that were not done, for too many wait"),
    COUNTER(delays_dropped, "Actions after a delay that were not done, for their rule has changed"),
    COUNTER(fans_full, "Actions about more devices than are allowed: the rest is left out"),
    COUNTER(fans_dropped,
            "Actions about many devices whose rule was changed before they were done"),
    COUNTER(scripts, "Scripts of rules that were run"),
    COUNTER(scripts_failed, "Scripts of rules that failed, or went over a limit"),
};
const uint32_t tpi_rules_metric_count = sizeof(tpi_rules_metrics) / sizeof(tpi_rules_metrics[0]);

enum {
    KIND_VERSION = 1,
    HAND_OVER_MS =
        10000, /* a clock that is set back by less is not told from a message that waited */
    SAY_BYTES = 1 << 20 /* what one action says */
};

static int make_workers(struct tpi_rules *r)
{
    const struct tpc_allocator *alloc = r->env->alloc;
    for (uint32_t i = 0; i < r->host.workers; i++) {
        pthread_mutex_init(&r->workers[i].lock, NULL);
        tpi_due_init(&r->workers[i].due, alloc);
        atomic_init(&r->workers[i].later_next_ms, INT64_MAX);
        tpi_buf_init(&r->workers[i].input, alloc, 0);
        atomic_store(&r->workers[i].next_unix_ms, INT64_MAX);
        atomic_init(&r->workers[i].schedule_next_ms, INT64_MAX);
    }
    for (uint32_t i = 0; i < r->host.workers; i++) {
        r->workers[i].marks = tpi_alloc_array(alloc, TPI_RULES_MAX_WATCHES, sizeof(uint32_t));
        if (r->workers[i].marks == NULL ||
            tpc_arena_create(alloc, SAY_BYTES, &r->workers[i].fan_arena) != 0 ||
            tpc_arena_create(alloc, SAY_BYTES, &r->workers[i].arena) != 0 ||
            tpc_arena_create(alloc, SAY_BYTES, &r->workers[i].vars_arena) != 0 ||
            tpc_arena_create(alloc, SAY_BYTES, &r->workers[i].input_arena) != 0 ||
            tpc_arena_create(alloc, SAY_BYTES, &r->workers[i].script_arena) != 0) {
            return TPC_ENOMEM;
        }
    }
    r->free_numbers = tpi_alloc_array(alloc, TPI_RULES_MAX_WATCHES, sizeof(uint32_t));
    if (r->free_numbers == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < TPI_RULES_MAX_WATCHES; i++) {
        r->free_numbers[r->free_count++] = TPI_RULES_MAX_WATCHES - 1 - i;
    }
    return 0;
}

int64_t tpi_rules_received(const struct tpi_rules *r, uint32_t worker, int64_t received_unix_ms)
{
    int64_t closed = r->workers[worker].closed_ms;
    if (received_unix_ms >= closed) {
        return received_unix_ms;
    }
    /* It may have waited for long, for a log that was full; the clock tells that from one set back. */
    bool between = closed - received_unix_ms < HAND_OVER_MS || tpi_unix_ms(r->env) >= closed;
    return between ? closed : received_unix_ms;
}

static size_t workers_bytes(const struct tpi_rules *r)
{
    return sizeof(struct rule_worker) * r->host.workers;
}

static int make(struct tpi_rules *r)
{
    const struct tpc_allocator *alloc = r->env->alloc;
    pthread_mutex_init(&r->changes, NULL);
    tpi_chain_init(r);
    tpi_map64_init(&r->scene_keys, alloc);
    tpi_map64_init(&r->scenes, alloc);
    tpi_map64_init(&r->sets, alloc);
    tpi_map64_init(&r->schedules, alloc);
    tpi_map64_init(&r->data_rules, alloc);
    r->partitions = tpi_alloc_array(alloc, r->host.partitions, sizeof(*r->partitions));
    r->workers = tpi_alloc_zero(alloc, workers_bytes(r));
    if (r->partitions == NULL || r->workers == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < r->host.partitions; i++) {
        tpi_edges_init(&r->partitions[i].edges, alloc);
        tpi_edges_init(&r->partitions[i].runs, alloc);
        tpi_map64_init(&r->partitions[i].flows, alloc);
        tpi_map64_init(&r->partitions[i].links, alloc);
        tpi_laters_init(&r->partitions[i].laters, alloc);
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
    r->schedule_kind = (struct tpi_kind){ .name = "schedule",
                                          .version = KIND_VERSION,
                                          .schema = tpi_schedule_schema,
                                          .prepare = tpi_schedules_prepare,
                                          .apply = tpi_schedules_apply,
                                          .discard = tpi_schedules_discard,
                                          .user = r };
    r->data_kind = (struct tpi_kind){ .name = "rule",
                                      .version = KIND_VERSION,
                                      .schema = tpi_data_rule_schema,
                                      .prepare = tpi_data_rules_prepare,
                                      .apply = tpi_data_rules_apply,
                                      .discard = tpi_data_rules_discard,
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
        tpi_due_fini(&r->workers[i].due);
        tpc_arena_destroy(r->workers[i].arena);
        tpc_arena_destroy(r->workers[i].fan_arena);
        tpc_arena_destroy(r->workers[i].vars_arena);
        tpc_arena_destroy(r->workers[i].input_arena);
        tpi_buf_fini(&r->workers[i].input);
        tpc_arena_destroy(r->workers[i].script_arena);
        tpi_free(r->env->alloc, r->workers[i].marks, TPI_RULES_MAX_WATCHES * sizeof(uint32_t));
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
    tpi_map64_fini(&r->scene_keys);
    tpi_rules_sets_fini(r);
    tpi_chain_fini(r);
    tpi_schedules_fini(r);
    tpi_data_rules_fini(r);
    for (uint32_t i = 0; r->partitions != NULL && i < r->host.partitions; i++) {
        tpi_edges_fini(&r->partitions[i].edges);
        tpi_edges_fini(&r->partitions[i].runs);
        tpi_laters_fini(&r->partitions[i].laters);
        tpi_flows_fini(&r->partitions[i].flows);
    }
    tpi_free(r->env->alloc, r->partitions, r->host.partitions * sizeof(*r->partitions));
    destroy_workers(r);
    tpi_free(r->env->alloc, r->free_numbers, TPI_RULES_MAX_WATCHES * sizeof(uint32_t));
    pthread_mutex_destroy(&r->changes);
    tpi_free(r->env->alloc, r, sizeof(*r));
}

const struct tpi_kind *tpi_rules_kind(struct tpi_rules *r)
{
    return &r->kind;
}

void tpi_rules_replaying(struct tpi_rules *r, bool on)
{
    atomic_store(&r->replaying, on);
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
    w->before.msg = NULL;
    pthread_mutex_unlock(&w->lock);
}
