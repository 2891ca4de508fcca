#include "core/clock.h"
#include "core/core.h"
#include "core/part.h"
#include "core/report.h"
#include "core/service.h"

#include <string.h>
#include <tpcore/json.h>
#include <unistd.h>

#include "core/loader.h"
#include <tpcore/version.h>

enum {
    MAX_WORKERS = 64,
    MAX_PARTITIONS = 4096,
    DEFAULT_PARTITIONS = 16,
    DEFAULT_FRAME_BYTES = 262144,
    MAX_FRAME_BYTES = 64 << 20,
    REPORT_BYTES = 1 << 20, /* the trees of options in JSON */
    CLOCK_BYTES = 1 << 16,
    DEFAULT_RING_BYTES = 4 << 20,
    DEFAULT_CHECKPOINT_MS = 60000,
    DEFAULT_ONLINE_DELAY_MS = 3000 /* as ThingsPanel waits (its contract, 6.3) */
};

const char *tpc_version(void)
{
    return TPC_VERSION;
}

int tpc_core_options_init(struct tpc_core_options *options, size_t size)
{
    if (options == NULL || size < offsetof(struct tpc_core_options, partitions) ||
        size > UINT32_MAX) {
        return tpi_fail(TPC_EINVAL, "core", "no such size of options");
    }
    memset(options, 0, size);
    options->size = (uint32_t) size;
    return 0;
}

/* Copies what the caller's version has and fills in the defaults. */
static int take_options(const struct tpc_core_options *in, struct tpc_core_options *o)
{
    memset(o, 0, sizeof(*o));
    if (in != NULL) {
        if (in->size < offsetof(struct tpc_core_options, partitions)) {
            return tpi_fail(TPC_EINVAL, "core", "options: size is not set");
        }
        memcpy(o, in, in->size < sizeof(*o) ? in->size : sizeof(*o));
    }
    o->size = sizeof(*o);
    o->partitions = o->partitions != 0 ? o->partitions : DEFAULT_PARTITIONS;
    o->frame_max_bytes = o->frame_max_bytes != 0 ? o->frame_max_bytes : DEFAULT_FRAME_BYTES;
    o->ring_bytes = o->ring_bytes != 0 ? o->ring_bytes : DEFAULT_RING_BYTES;
    o->log_level = o->log_level != 0 ? o->log_level : TPC_LOG_INFO;
    o->history_checkpoint_ms =
        o->history_checkpoint_ms != 0 ? o->history_checkpoint_ms : DEFAULT_CHECKPOINT_MS;
    o->commands_max = o->commands_max != 0 ? o->commands_max : TPI_DOWNLINK_COMMANDS_MAX;
    o->online_delay_ms = o->online_delay_ms == 0              ? DEFAULT_ONLINE_DELAY_MS
                         : o->online_delay_ms == TPC_NO_DELAY ? 0
                                                              : o->online_delay_ms;
    o->device_queue_max = o->device_queue_max != 0 ? o->device_queue_max : TPI_DOWNLINK_DEVICE_MAX;
    if (o->workers > MAX_WORKERS || o->partitions > MAX_PARTITIONS ||
        o->threads > TPC_THREADS_NONE || o->frame_max_bytes > MAX_FRAME_BYTES) {
        return tpi_fail(TPC_EINVAL, "core", "options: a number is out of its range");
    }
    if (o->threads == TPC_THREADS_NONE && o->workers > 0) {
        return tpi_fail(TPC_EINVAL, "core", "options: workers without threads");
    }
    if ((o->secret_key.len != 0 && o->secret_key.len != TPI_SEAL_KEY_BYTES) ||
        (o->token_key.len != 0 &&
         (o->token_key.len < TPI_TOKEN_KEY_MIN || o->token_key.len > TPI_TOKEN_KEY_MAX))) {
        return tpi_fail(TPC_EINVAL, "core",
                        "options: secret_key has 32 bytes, token_key 32 to 128, or none");
    }
    /* A ring takes records of up to half its size. */
    uint64_t least = 2 * ((uint64_t) o->frame_max_bytes + 4096);
    o->ring_bytes = o->ring_bytes < least ? least : o->ring_bytes;
    if (o->ring_bytes > (1u << 30)) {
        return tpi_fail(TPC_EINVAL, "core", "options: ring_bytes is over 1 GiB");
    }
    return 0;
}

static void make_env(struct tpc_core *core)
{
    const struct tpc_core_options *o = &core->options;
    tpi_env_default(&core->env);
    core->env.alloc = &core->meter.base;
    core->env.reserve = &core->meter.reserve;
    core->env.ids = &core->ids;
    core->env.clock = o->clock != NULL ? o->clock : core->env.clock;
    core->env.random = o->random != NULL ? o->random : core->env.random;
    core->env.files = o->files != NULL ? o->files : core->env.files;
    core->env.log = o->on_log;
    core->env.log_user = o->log_user;
    core->env.log_level = o->log_level;
}

static void take_keys(struct tpc_core *core)
{
    struct tpc_core_options *o = &core->options;
    if (o->secret_key.len > 0) {
        memcpy(core->secret_key, o->secret_key.ptr, o->secret_key.len);
        o->secret_key.ptr = core->secret_key;
    }
    if (o->token_key.len > 0) {
        memcpy(core->token_key, o->token_key.ptr, o->token_key.len);
        o->token_key.ptr = core->token_key;
    }
}

static int make_workers(struct tpc_core *core)
{
    uint32_t n = core->options.workers;
    n = n > core->options.partitions ? core->options.partitions : n;
    core->threads = n > 0;
    n = n > 0 ? n : 1;
    core->workers = tpi_alloc_array(core->env.alloc, n, sizeof(core->workers[0]));
    core->worker_cap = n;
    core->ends = tpi_alloc_array(core->env.alloc, core->options.partitions, sizeof(core->ends[0]));
    if (core->workers == NULL || core->ends == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        core->worker_count = i + 1; /* a half-made one is freed, too */
        int rc = tpi_worker_init(core, &core->workers[i], i);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

typedef int take_fn(struct tpc_core *core, const struct tpc_value *v, struct tpc_arena *arena,
                    struct tpc_error *err);

/* An option in JSON, whose tree takes up to limit_bytes. */
static int take_option(struct tpc_core *core, const char *name, struct tpc_str json,
                       size_t limit_bytes, take_fn *take, struct tpc_error *err)
{
    struct tpc_arena *arena;
    struct tpc_value v;
    if (json.len == 0) {
        return 0;
    }
    if (tpc_arena_create(core->env.alloc, limit_bytes, &arena) != 0) {
        return tpi_error_set(err, TPC_ENOMEM, "core", "out of memory");
    }
    int rc = tpc_json_parse(arena, json, 0, err, &v);
    rc = rc != 0 ? rc : take(core, &v, arena, err);
    rc = rc == TPC_EDECODE ? TPC_EINVAL : rc; /* it is an option that is wrong */
    if (rc != 0 && err != NULL) {
        err->code = rc;
        tpi_error_at(err, name);
    }
    tpc_arena_destroy(arena);
    return rc;
}

static int fill_core(struct tpc_core *core, struct tpc_error *err)
{
    pthread_mutex_init(&core->part_lock, NULL);
    pthread_mutex_init(&core->trial_lock, NULL);
    pthread_mutex_init(&core->setup_lock, NULL);
    pthread_mutex_init(&core->done_lock, NULL);
    pthread_mutex_init(&core->step_lock, NULL);
    pthread_mutex_init(&core->sessions.lock, NULL);
    tpi_map_init(&core->done, core->env.alloc);
    tpi_map_init(&core->said, core->env.alloc);
    core->modules_end = &core->modules;
    core->parts_end = &core->parts;
    tpi_host_init(core);
    int rc = take_option(core, "report", core->options.report, REPORT_BYTES, tpi_report_take, err);
    core->options.report = (struct tpc_str){ NULL, 0 }; /* the caller's */
    tpi_core_clock_init(core);
    rc = rc != 0 ? rc
                 : take_option(core, "clock", core->options.clock_policy, CLOCK_BYTES,
                               tpi_core_clock_take, err);
    core->options.clock_policy = (struct tpc_str){ NULL, 0 };
    rc = rc != 0 ? rc : tpi_flush_init(core);
    rc = rc != 0 ? rc : tpi_streams_init(core);
    rc = rc != 0 ? rc : tpi_loop_init(core);
    rc = rc != 0 ? rc : tpi_pump_init(core);
    rc = rc != 0 ? rc : tpi_forwarder_init(core);
    rc = rc != 0 ? rc : make_workers(core);
    const struct tpc_module *const *m = tpi_module_built_in();
    for (; rc == 0 && *m != NULL; m++) {
        rc = tpi_core_add(core, *m, NULL, true, err);
    }
    return rc;
}

static void free_core(struct tpc_core *core)
{
    const struct tpc_allocator *outer = core->outer;
    /* Codecs outlive the products that use them, stores the entities. */
    tpi_streams_fini(core);
    tpi_pump_close(core);
    if (core->workers != NULL) {
        for (uint32_t i = 0; i < core->worker_count; i++) {
            tpi_worker_forget(&core->workers[i]);
            tpi_worker_release(&core->workers[i]);
        }
    }
    tpi_sessions_fini(core);
    tpi_history_destroy(core->history);
    tpi_entities_destroy(core->entities);
    tpi_forward_destroy(core->forward);
    tpi_alerts_destroy(core->alerts);
    tpi_rules_destroy(core->rules);
    tpi_registry_destroy(core->registry);
    for (struct tpi_part *p = core->parts; p != NULL;) {
        struct tpi_part *next = p->next;
        tpi_part_close(p);
        p = next;
    }
    for (struct tpi_part *p = core->gone; p != NULL;) {
        struct tpi_part *next = p->next;
        tpi_part_close(p);
        p = next;
    }
    tpi_own_codecs_free(core);
    tpi_serving_free(core);
    if (core->workers != NULL) {
        for (uint32_t i = 0; i < core->worker_count; i++) {
            tpi_worker_fini(&core->workers[i]);
        }
    }
    tpi_free(core->env.alloc, core->workers, core->worker_cap * sizeof(core->workers[0]));
    tpi_free(core->env.alloc, core->ends, core->options.partitions * sizeof(core->ends[0]));
    tpi_command_fini(core);
    tpi_map_fini(&core->said);
    tpi_pump_fini(core);
    tpi_forwarder_fini(core);
    tpi_loop_fini(core);
    tpi_flush_fini(core);
    for (struct tpi_module *m = core->modules; m != NULL;) {
        struct tpi_module *next = m->next;
        void *object = m->object;
        tpi_module_free(m);
        tpi_loader_close(object);
        m = next;
    }
    tpi_report_free_kept(core);
    pthread_mutex_destroy(&core->part_lock);
    pthread_mutex_destroy(&core->trial_lock);
    pthread_mutex_destroy(&core->setup_lock);
    pthread_mutex_destroy(&core->done_lock);
    pthread_mutex_destroy(&core->step_lock);
    pthread_mutex_destroy(&core->sessions.lock);
    tpi_clock_fini(&core->clock);
    tpi_wipe(core->secret_key, sizeof(core->secret_key));
    tpi_wipe(core->token_key, sizeof(core->token_key));
    tpi_free(outer, core, sizeof(*core));
}

int tpc_core_create(const struct tpc_core_options *options, struct tpc_core **ret)
{
    struct tpc_core_options o;
    if (ret == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "ret is NULL");
    }
    int rc = take_options(options, &o);
    if (rc != 0) {
        return rc;
    }
    const struct tpc_allocator *outer = o.allocator != NULL ? o.allocator : tpc_allocator_default();
    struct tpc_core *core = tpi_alloc_zero(outer, sizeof(*core));
    if (core == NULL) {
        return tpi_fail(TPC_ENOMEM, "core", "out of memory");
    }
    core->outer = outer;
    core->options = o;
    take_keys(core);
    tpi_meter_init(&core->meter, outer, (size_t) o.memory_limit_bytes);
    make_env(core);
    struct tpc_error *err = tpi_fail_begin();
    rc = fill_core(core, err);
    if (rc != 0) {
        free_core(core);
        return tpi_fail_end(rc);
    }
    *ret = core;
    return 0;
}

int tpc_core_destroy(struct tpc_core *core)
{
    if (core == NULL) {
        return 0;
    }
    int rc = 0;
    if (tpi_core_running(core)) {
        rc = tpc_core_stop(core, TPI_DESTROY_DRAIN_MS);
    }
    free_core(core);
    return rc;
}

struct tpi_module *tpi_core_module(struct tpc_core *core, const char *name)
{
    for (struct tpi_module *m = core->modules; m != NULL; m = m->next) {
        if (strcmp(m->desc.name, name) == 0) {
            return m;
        }
    }
    return NULL;
}

int tpi_core_add(struct tpc_core *core, const struct tpc_module *module, void *object,
                 bool built_in, struct tpc_error *err)
{
    struct tpi_module *m;
    int rc = tpi_module_make(core->env.alloc, module, err, &m);
    if (rc != 0) {
        return rc;
    }
    if (tpi_core_module(core, m->desc.name) != NULL) {
        rc = tpi_error_set(err, TPC_EEXIST, "core", "module %s is known already", m->desc.name);
    } else if ((m->desc.flags & TPC_MOD_THREADS) != 0 &&
               core->options.threads == TPC_THREADS_NONE) {
        rc = tpi_error_set(err, TPC_EDENIED, "core",
                           "module %s starts threads and the options allow none", m->desc.name);
    }
    if (rc != 0) {
        tpi_module_free(m);
        return rc;
    }
    m->object = object;
    m->built_in = built_in;
    *core->modules_end = m;
    core->modules_end = &m->next;
    return 0;
}

int tpc_core_add_module(struct tpc_core *core, const struct tpc_module *module)
{
    if (core == NULL || module == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or module is NULL");
    }
    if (core->was_started) {
        return tpi_fail(TPC_ESTATE, "core", "modules are added before the start");
    }
    return tpi_fail_end(tpi_core_add(core, module, NULL, false, tpi_fail_begin()));
}

int tpc_core_load_module(struct tpc_core *core, const char *path)
{
    if (core == NULL || path == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or path is NULL");
    }
    if ((core->options.flags & TPC_CORE_LOAD_ANY) == 0) {
        return tpi_fail(TPC_EDENIED, "core", "loading modules needs TPC_CORE_LOAD_ANY");
    }
    if (core->was_started) {
        return tpi_fail(TPC_ESTATE, "core", "modules are loaded before the start");
    }
    struct tpc_error *err = tpi_fail_begin();
    void *object;
    const struct tpc_module *module;
    int rc = tpi_loader_open(path, err, &object, &module);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    rc = tpi_core_add(core, module, object, false, err);
    if (rc != 0) {
        tpi_loader_close(object);
    }
    return tpi_fail_end(rc);
}

int tpc_core_modules(struct tpc_core *core, tpc_module_info_fn *fn, void *user)
{
    if (core == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or fn is NULL");
    }
    for (struct tpi_module *m = core->modules; m != NULL; m = m->next) {
        struct tpc_module_info info = {
            .size = sizeof(info),
            .loaded = m->object != NULL,
            .name = m->desc.name,
            .version = m->desc.version != NULL ? m->desc.version : "",
            .licence = m->desc.licence != NULL ? m->desc.licence : "",
            .interfaces = m->kinds,
        };
        int rc = fn(user, &info);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int tpc_core_fd(struct tpc_core *core)
{
    if (core == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core is NULL");
    }
    if (core->threads) {
        return tpi_fail(TPC_ESTATE, "core", "with workers there is nothing to step");
    }
    return core->workers[0].epoll;
}
