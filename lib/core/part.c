/* Opened parts: instances of modules' interfaces, their roles, services and order. */
#include <stdio.h>
#include <string.h>

#include "codec/codec.h"
#include "core/core.h"
#include "core/part.h"
#include "core/report.h"
#include "core/service.h"
#include "data/msg.h"
#include "data/option.h"
#include <tpcore/json.h>

enum { PART_ARENA_BYTES = 256 << 20 }; /* of its options: a bus of many slaves has some */

static int call_init(struct tpi_part *p)
{
    struct tpc_core *core = p->core;
    const struct tpc_host *host = &core->host;
    switch (p->kind) {
    case TPC_KIND_ADAPTER:
        return p->ops->adapter.init(p->self, host, p, &p->cfg);
    case TPC_KIND_BUS:
        return p->ops->bus.init(p->self, host, p, &p->cfg, core->options.partitions);
    case TPC_KIND_CODEC:
        return p->ops->codec.init != NULL
                   ? p->ops->codec.init(p->self, host, p, &p->cfg, core->worker_count)
                   : 0;
    case TPC_KIND_STORE:
        return p->ops->store.init(p->self, host, p, &p->cfg);
    case TPC_KIND_SINK:
        return p->ops->sink.init(p->self, host, p, &p->cfg);
    default:
        return p->ops->history.init(p->self, host, p, &p->cfg);
    }
}

static void call_fini(struct tpi_part *p)
{
    switch (p->kind) {
    case TPC_KIND_ADAPTER:
        p->ops->adapter.fini(p->self);
        break;
    case TPC_KIND_BUS:
        p->ops->bus.fini(p->self);
        break;
    case TPC_KIND_CODEC:
        if (p->ops->codec.fini != NULL) {
            p->ops->codec.fini(p->self);
        }
        break;
    case TPC_KIND_STORE:
        p->ops->store.fini(p->self);
        break;
    case TPC_KIND_SINK:
        p->ops->sink.fini(p->self);
        break;
    default:
        p->ops->history.fini(p->self);
        break;
    }
}

void tpi_part_end(struct tpi_part *p)
{
    if (p->inited) {
        call_fini(p);
    }
    tpi_free(p->core->env.alloc, p->self, p->self_bytes);
    tpc_arena_destroy(p->arena);
    p->inited = false;
    p->self = NULL;
    p->self_bytes = 0;
    p->arena = NULL;
}

void tpi_part_close(struct tpi_part *p)
{
    if (p == NULL) {
        return;
    }
    tpi_part_end(p);
    tpi_free(p->core->env.alloc, p, sizeof(*p));
}

static int take_options(struct tpi_part *p, const struct tpc_value *options, struct tpc_error *err)
{
    const struct tpc_allocator *a = p->core->env.alloc;
    struct tpc_value copy = { .type = TPC_MAP };
    if (tpc_arena_create(a, PART_ARENA_BYTES, &p->arena) != 0) {
        return tpi_error_set(err, TPC_ENOMEM, "core", "out of memory");
    }
    if (options != NULL && options->type != TPC_NULL) {
        if (options->type != TPC_MAP) {
            return tpi_error_set(err, TPC_EINVAL, "core", "the options of %s must be an object",
                                 p->name);
        }
        int rc = tpi_value_copy(options, p->arena, &copy);
        if (rc != 0) {
            return tpi_error_set(err, rc, "core", "the options of %s cannot be copied", p->name);
        }
    }
    int rc = p->kind == TPC_KIND_ADAPTER ? tpi_report_take_option(p, &copy, err) : 0;
    rc = rc != 0 ? rc
                 : tpi_option_check(tpi_interface_options(p->interface), &copy, 0, p->arena, err,
                                    &p->cfg);
    if (rc != 0 && err != NULL) {
        tpi_error_at(err, p->name);
    }
    return rc;
}

/* init of a module reports through host->fail(), this thread's last error. */
static int run_init(struct tpi_part *p, struct tpc_error *err)
{
    struct tpc_error *last = tpi_fail_begin();
    p->inited = true; /* fini follows also if init fails */
    int rc = call_init(p);
    if (rc == 0) {
        return 0;
    }
    if (last->code != rc) {
        tpi_error_set(last, rc, p->name, "%s of module %s cannot be opened: %s", p->name,
                      p->module->desc.name, tpc_error_name(rc));
    }
    if (last->path[0] == '\0') {
        tpi_error_at(last, p->name);
    }
    if (err != NULL && err != last) {
        *err = *last;
    }
    return rc;
}

int tpi_part_open(struct tpc_core *core, const char *name, struct tpi_module *module, uint32_t kind,
                  const struct tpc_value *options, struct tpc_error *err, struct tpi_part **ret)
{
    const struct tpc_allocator *a = core->env.alloc;
    const struct tpi_interface *interface = tpi_module_find(module, kind);
    if (interface == NULL) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, "core", "module %s has no %s interface",
                             module->desc.name, tpi_interface_name(kind));
    }
    struct tpi_part *p = tpi_alloc_zero(a, sizeof(*p));
    if (p == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "core", "out of memory");
    }
    p->core = core;
    p->module = module;
    p->interface = interface;
    p->ops = &interface->ops;
    p->kind = kind;
    snprintf(p->name, sizeof(p->name), "%s", name);
    p->self_bytes = tpi_interface_bytes(interface);
    int rc = 0;
    if (p->self_bytes > 0) {
        p->self = tpi_alloc_zero(a, p->self_bytes);
        rc = p->self != NULL ? 0 : tpi_error_set(err, TPC_ENOMEM, "core", "out of memory");
    }
    rc = rc != 0 ? rc : take_options(p, options, err);
    rc = rc != 0 ? rc : run_init(p, err);
    if (rc != 0) {
        tpi_part_close(p);
        return rc;
    }
    *ret = p;
    return 0;
}

static void append_part(struct tpc_core *core, struct tpi_part *p)
{
    atomic_store(core->parts_end, p);
    core->parts_end = &p->next;
}

struct tpi_part *tpi_part_find(struct tpc_core *core, const char *name)
{
    for (struct tpi_part *p = core->parts; p != NULL; p = p->next) {
        if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}

static int open_role(struct tpc_core *core, const char *name, struct tpi_module *module,
                     uint32_t kind, const struct tpc_value *options, struct tpc_error *err,
                     struct tpi_part **role)
{
    if (*role != NULL) {
        return tpi_error_set(err, TPC_EEXIST, "core", "%s is open already (module %s)", name,
                             (*role)->module->desc.name);
    }
    struct tpi_part *p;
    int rc = tpi_part_open(core, name, module, kind, options, err, &p);
    if (rc == 0) {
        append_part(core, p);
        *role = p;
    }
    return rc;
}

static int open_log(struct tpc_core *core, struct tpi_module *module,
                    const struct tpc_value *options, struct tpc_error *err)
{
    int rc = open_role(core, "log", module, TPC_KIND_BUS, options, err, &core->log_part);
    if (rc == 0) {
        core->bus = &core->log_part->ops->bus;
        core->bus_self = core->log_part->self;
    }
    return rc;
}

/* Entities and history of one module: both or none. */
static int open_store(struct tpc_core *core, struct tpi_module *module,
                      const struct tpc_value *options, struct tpc_error *err)
{
    if (core->entities_part != NULL || core->history_part != NULL) {
        return tpi_error_set(err, TPC_EEXIST, "core", "%s is open already",
                             core->entities_part != NULL ? "entities" : "history");
    }
    struct tpi_part *entities;
    struct tpi_part *history;
    int rc = tpi_part_open(core, "store", module, TPC_KIND_STORE, options, err, &entities);
    if (rc != 0) {
        return rc;
    }
    rc = tpi_part_open(core, "store", module, TPC_KIND_HISTORY, options, err, &history);
    if (rc != 0) {
        tpi_part_close(entities);
        return rc;
    }
    append_part(core, entities);
    append_part(core, history);
    core->entities_part = entities;
    core->history_part = history;
    return 0;
}

int tpi_part_log(struct tpc_core *core, struct tpc_error *err)
{
    return core->log_part != NULL ? 0 : open_log(core, tpi_core_module(core, "memory"), NULL, err);
}

int tpi_part_entities(struct tpc_core *core, struct tpc_error *err)
{
    return core->entities_part != NULL
               ? 0
               : open_role(core, "entities", tpi_core_module(core, "memory"), TPC_KIND_STORE, NULL,
                           err, &core->entities_part);
}

int tpi_part_history(struct tpc_core *core, struct tpc_error *err)
{
    return core->history_part != NULL ? 0
                                      : open_role(core, "history", tpi_core_module(core, "memory"),
                                                  TPC_KIND_HISTORY, NULL, err, &core->history_part);
}

/* What a module's instance under a name of its own is. */
static uint32_t instance_kind(const struct tpi_module *module)
{
    static const uint32_t kinds[] = { TPC_KIND_ADAPTER, TPC_KIND_SINK, TPC_KIND_CODEC };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (tpi_module_find(module, kinds[i]) != NULL) {
            return kinds[i];
        }
    }
    return TPC_KIND_ADAPTER;
}

/* Any other name: the module's adapter, else its sink, else a codec that shall have options. */
static int open_instance(struct tpc_core *core, const char *name, struct tpi_module *module,
                         const struct tpc_value *options, struct tpc_error *err)
{
    if (tpi_part_find(core, name) != NULL) {
        return tpi_error_set(err, TPC_EEXIST, "core", "%s is open already", name);
    }
    uint32_t kind = instance_kind(module);
    bool running = tpi_core_running(core);
    if (core->was_started && kind == TPC_KIND_CODEC) {
        return tpi_error_set(err, TPC_ESTATE, "core", "codecs are opened before the start");
    }
    struct tpi_part *p;
    int rc = tpi_part_open(core, name, module, kind, options, err, &p);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&core->part_lock);
    append_part(core, p);
    pthread_mutex_unlock(&core->part_lock);
    return running && tpi_part_runs(p) ? tpi_part_attach(p, err) : 0;
}

static bool name_valid(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len < TPI_NAME_BYTES &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

static bool is_role(const char *name)
{
    return strcmp(name, "log") == 0 || strcmp(name, "store") == 0 ||
           strcmp(name, "entities") == 0 || strcmp(name, "history") == 0;
}

int tpc_core_open_value(struct tpc_core *core, const char *name, const char *module_name,
                        const struct tpc_value *options)
{
    if (core == NULL || name == NULL || module_name == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core, name or module is NULL");
    }
    if (!name_valid(name)) {
        return tpi_fail(TPC_EINVAL, "core",
                        "a part's name is 1 to %d letters, digits, dots, dashes and underscores",
                        TPI_NAME_BYTES - 1);
    }
    bool role = is_role(name);
    if (core->was_started && role) {
        return tpi_fail(TPC_ESTATE, "core", "%s is opened before the start", name);
    }
    if (atomic_load(&core->state) == TPI_CORE_STOPPING || tpi_worker_current(core) != NULL) {
        return tpi_fail(TPC_ESTATE, "core", "the core stops, or open() from a callback");
    }
    struct tpi_module *module = tpi_core_module(core, module_name);
    if (module == NULL) {
        return tpi_fail(TPC_ENOENT, "core", "no module %s", module_name);
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc;
    if (strcmp(name, "log") == 0) {
        rc = open_log(core, module, options, err);
    } else if (strcmp(name, "store") == 0) {
        rc = open_store(core, module, options, err);
    } else if (strcmp(name, "entities") == 0) {
        rc = open_role(core, name, module, TPC_KIND_STORE, options, err, &core->entities_part);
    } else if (strcmp(name, "history") == 0) {
        rc = open_role(core, name, module, TPC_KIND_HISTORY, options, err, &core->history_part);
    } else {
        rc = open_instance(core, name, module, options, err);
    }
    return tpi_fail_end(rc);
}

int tpc_core_open(struct tpc_core *core, const char *name, const char *module,
                  struct tpc_str options_json)
{
    if (core == NULL || options_json.len == 0) {
        return tpc_core_open_value(core, name, module, NULL);
    }
    struct tpc_arena *arena;
    struct tpc_value options;
    if (tpc_arena_create(core->env.alloc, PART_ARENA_BYTES, &arena) != 0) {
        return tpi_fail(TPC_ENOMEM, "core", "out of memory");
    }
    int rc = tpc_json_parse(arena, options_json, 0, tpi_fail_begin(), &options);
    if (rc == TPC_EDECODE) {
        /* To the caller the text is an option that is wrong. */
        struct tpc_error e = *tpc_error_last();
        e.code = TPC_EINVAL;
        rc = tpi_fail_copy(&e);
    }
    rc = rc != 0 ? tpi_fail_end(rc) : tpc_core_open_value(core, name, module, &options);
    tpc_arena_destroy(arena);
    return rc;
}

/* A codec of a module, instantiated with its defaults when the first product names it. */
static int module_codec(struct tpc_core *core, struct tpc_str name, struct tpi_part **ret)
{
    for (struct tpi_part *p = core->parts; p != NULL; p = p->next) {
        if (p->kind == TPC_KIND_CODEC &&
            tpc_str_equal(tpc_str_from(tpi_interface_label(p->interface)), name)) {
            *ret = p;
            return 0;
        }
    }
    for (struct tpi_module *m = core->modules; m != NULL; m = m->next) {
        const struct tpi_interface *i = tpi_module_find(m, TPC_KIND_CODEC);
        if (i == NULL || !tpc_str_equal(tpc_str_from(tpi_interface_label(i)), name)) {
            continue;
        }
        int rc = tpi_part_open(core, tpi_interface_label(i), m, TPC_KIND_CODEC, NULL, NULL, ret);
        if (rc == 0) {
            append_part(core, *ret);
        }
        return rc;
    }
    return TPC_ENOENT;
}

int tpi_part_codec(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                   void **ret_self)
{
    static const struct tpc_codec_ops unused = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                                 .name = "unused" };
    struct tpc_core *core = user;
    const struct tpc_codec_ops *built_in = tpi_codec_builtin(name);
    if (built_in != NULL) {
        *ret_ops = built_in;
        *ret_self = NULL;
        return 0;
    }
    pthread_mutex_lock(&core->part_lock);
    *ret_ops = tpi_own_codec(core, name, ret_self);
    pthread_mutex_unlock(&core->part_lock);
    if (*ret_ops != NULL) {
        return 0;
    }
    if ((core->options.flags & TPC_CORE_OBSERVE) != 0) {
        *ret_ops = &unused; /* nothing is decoded here: modules of codecs are not needed */
        *ret_self = NULL;
        return 0;
    }
    struct tpi_part *p = NULL;
    pthread_mutex_lock(&core->part_lock);
    int rc = module_codec(core, name, &p);
    pthread_mutex_unlock(&core->part_lock);
    if (rc == 0) {
        *ret_ops = &p->ops->codec;
        *ret_self = p->self;
    }
    return rc;
}

/* ---- services and the order of starting ---- */

static bool lists(const struct tpc_list *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(*TPC_LIST_AT(char *const, *names, i), name) == 0) {
            return true;
        }
    }
    return false;
}

static bool offered(struct tpi_part *const *parts, uint32_t count, const char *service)
{
    for (uint32_t i = 0; i < count; i++) {
        if (lists(&parts[i]->module->desc.offers, service)) {
            return true;
        }
    }
    return false;
}

/* The first service that a part needs and none of the given parts offers; NULL = it may start. */
static const char *lacks(const struct tpi_part *p, struct tpi_part *const *parts, uint32_t count)
{
    const struct tpc_list *needs = &p->module->desc.needs;
    for (uint32_t i = 0; i < needs->count; i++) {
        const char *service = *TPC_LIST_AT(char *const, *needs, i);
        if (!offered(parts, count, service)) {
            return service;
        }
    }
    return NULL;
}

const char *tpi_part_lacks(struct tpc_core *core, const struct tpi_part *p)
{
    struct tpi_part *started[TPI_RUNNING_PARTS];
    uint32_t count = 0;
    for (struct tpi_part *o = core->parts; o != NULL && count < TPI_RUNNING_PARTS; o = o->next) {
        if (o != p && o->started) {
            started[count++] = o;
        }
    }
    return lacks(p, started, count);
}

const struct tpi_part *tpi_part_needed(struct tpc_core *core, const struct tpi_part *p,
                                       const char **ret_service)
{
    const struct tpc_list *offers = &p->module->desc.offers;
    for (struct tpi_part *o = core->parts; o != NULL; o = o->next) {
        for (uint32_t i = 0; o != p && i < o->used_count; i++) {
            if (o->used[i].part == p) { /* also what it does without where nobody offers it */
                *ret_service = o->used[i].service;
                return o;
            }
        }
    }
    for (struct tpi_part *o = core->parts; o != NULL; o = o->next) {
        for (uint32_t i = 0; o != p && tpi_part_runs(o) && i < offers->count; i++) {
            const char *service = *TPC_LIST_AT(char *const, *offers, i);
            if (lists(&o->module->desc.needs, service)) {
                *ret_service = service;
                return o;
            }
        }
    }
    return NULL;
}

static int report_unordered(struct tpc_core *core, struct tpi_part *const *all, uint32_t count,
                            struct tpc_error *err)
{
    const struct tpi_part *in_cycle = NULL;
    const char *cycle = NULL;
    for (struct tpi_part *p = core->parts; p != NULL; p = p->next) {
        if (!tpi_part_runs(p) || p->place != 0) {
            continue;
        }
        const char *service = lacks(p, all, count);
        if (service != NULL) {
            tpi_error_set(err, TPC_ENOENT, "core", "%s needs service %s and no part offers it",
                          p->name, service);
            tpi_error_at(err, p->name);
            return TPC_ENOENT;
        }
        if (in_cycle == NULL) {
            in_cycle = p;
            cycle = *TPC_LIST_AT(char *const, p->module->desc.needs, 0);
        }
    }
    tpi_error_set(err, TPC_EINVAL, "core", "services in a cycle: %s needs %s, which needs %s",
                  in_cycle->name, cycle, in_cycle->name);
    tpi_error_at(err, in_cycle->name);
    return TPC_EINVAL;
}

int tpi_part_order(struct tpc_core *core, struct tpc_error *err, struct tpi_part **ret,
                   uint32_t *ret_count)
{
    uint32_t total = 0;
    uint32_t placed = 0;
    for (struct tpi_part *p = core->parts; p != NULL; p = p->next) {
        p->place = 0;
        total += tpi_part_runs(p);
    }
    bool progress = true;
    while (placed < total && progress) {
        progress = false;
        for (struct tpi_part *p = core->parts; p != NULL; p = p->next) {
            if (!tpi_part_runs(p) || p->place != 0 || lacks(p, ret, placed) != NULL) {
                continue;
            }
            ret[placed++] = p;
            p->place = placed;
            progress = true;
        }
    }
    if (placed == total) {
        *ret_count = placed;
        return 0;
    }
    uint32_t all = placed;
    for (struct tpi_part *p = core->parts; p != NULL; p = p->next) {
        if (tpi_part_runs(p) && p->place == 0) {
            ret[all++] = p;
        }
    }
    return report_unordered(core, ret, all, err);
}
