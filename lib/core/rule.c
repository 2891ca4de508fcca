/* Rules as they run, for the program; and what commands set off. */
#include <string.h>
#include <tpcore/rule.h>

#include "core/core.h"
#include "data/msg.h"
#include "registry/device.h"
#include "rules/alert.h"

static bool is_kind(struct tpc_str kind)
{
    return tpc_str_equal(kind, TPC_STR("scene")) || tpc_str_equal(kind, TPC_STR("rule")) ||
           tpc_str_equal(kind, TPC_STR("schedule"));
}

static bool is_told(struct tpc_str kind)
{
    return is_kind(kind) || tpc_str_equal(kind, TPC_STR("alert"));
}

/* Configurations of alerts come last. */
static int tell(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                struct tpc_str key, tpc_rule_fn *fn, void *user)
{
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    if (!tpc_str_equal(kind, TPC_STR("alert"))) {
        rc = tpi_rules_info(core->rules, tenant, kind, key, fn, user);
    }
    return rc == 0 && !is_kind(kind) ? tpi_alerts_info(core->alerts, tenant, key, fn, user) : rc;
}

int tpc_rule_info(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                  struct tpc_str key, tpc_rule_fn *fn, void *user)
{
    if (core == NULL || fn == NULL || key.len == 0 || !is_told(kind)) {
        return tpi_fail(
            TPC_EINVAL, "rules",
            "it needs a core, a kind (scene, rule, schedule, alert), a key and a function");
    }
    int rc = tell(core, tenant.len > 0 ? tenant : TPC_STR("main"), kind, key, fn, user);
    return rc == TPC_ENOENT ? tpi_fail(rc, "rules", "no %.*s '%.*s'", (int) kind.len, kind.ptr,
                                       (int) key.len, key.ptr)
                            : rc;
}

int tpc_rule_list(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                  tpc_rule_fn *fn, void *user)
{
    if (core == NULL || fn == NULL || (kind.len > 0 && !is_told(kind))) {
        return tpi_fail(TPC_EINVAL, "rules",
                        "it needs a core and a function, and a kind is scene, rule, schedule or "
                        "alert");
    }
    return tell(core, tenant, kind, TPC_STR(""), fn, user);
}

/* ---- run and reset ---- */

struct call {
    struct tpi_rule_name name;
    struct tpi_scene_run run;
    struct tpc_error *err;
};

static int check(struct tpc_core *core, struct tpc_str tenant, struct tpc_str kind,
                 struct tpc_str key, struct tpi_rule_name *ret)
{
    if (core == NULL || key.len == 0 || !is_kind(kind) || tpc_str_equal(kind, TPC_STR("rule"))) {
        return tpi_fail(TPC_EINVAL, "rules", "it needs a core, a kind (scene, schedule) and a key");
    }
    if (!tpi_core_running(core) || tpi_worker_current(core) != NULL) {
        return tpi_fail(TPC_ESTATE, "rules", "the core is not started, or this is a worker");
    }
    ret->tenant = tenant.len > 0 ? tenant : TPC_STR("main");
    ret->kind = kind;
    ret->key = key;
    return 0;
}

static void log_who(struct tpc_core *core, const struct tpc_actor *actor,
                    const struct tpi_rule_name *name, const char *what)
{
    struct tpc_str who =
        actor != NULL && actor->name.len > 0 ? actor->name : TPC_STR("the program");
    tpi_log(&core->env, TPC_LOG_INFO, "rules", "%.*s '%.*s' %s by %.*s", (int) name->kind.len,
            name->kind.ptr, (int) name->key.len, name->key.ptr, what, (int) who.len, who.ptr);
}

static int run_now(struct tpi_worker *w, void *user)
{
    struct call *c = user;
    c->run.worker = w->index;
    int rc = tpi_rules_run(w->core->rules, &c->name, &c->run, c->err);
    tpi_effects_run(w);
    return rc;
}

/* A number that no message and no other run has. */
static int make_offset(struct tpc_core *core, uint64_t *ret)
{
    struct tpc_id id;
    int rc = tpi_id_make(&core->env, &id);
    if (rc == 0) {
        uint64_t n;
        memcpy(&n, id.b + sizeof(id.b) - sizeof(n), sizeof(n));
        *ret = n | (uint64_t) 1 << 63;
    }
    return rc;
}

int tpc_rule_run(struct tpc_core *core, const struct tpc_actor *actor, struct tpc_str tenant,
                 struct tpc_str kind, struct tpc_str key, struct tpc_device *device)
{
    struct call c = { .run = { .device = device } };
    int rc = check(core, tenant, kind, key, &c.name);
    if (rc != 0) {
        return rc;
    }
    if (device != NULL && atomic_load(&device->deleted)) {
        return tpi_fail(TPC_ENOENT, "rules", "the device is deleted");
    }
    struct tpc_error *err = tpi_fail_begin();
    struct tpc_error e = { .size = sizeof(e) };
    rc = tpi_rules_partition(core->rules, &c.name, err, &c.run.partition);
    if (device != NULL && !tpc_str_equal(kind, TPC_STR("schedule"))) {
        c.run.partition = device->partition;
    }
    rc = rc != 0 ? rc : make_offset(core, &c.run.offset);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    c.err = &e;
    log_who(core, actor, &c.name, "is run");
    rc = tpi_worker_call(tpi_worker_of(core, c.run.partition), run_now, &c);
    rc = rc != 0 ? rc : tpi_flush_wait(core, atomic_load(&core->flush.appended), &e);
    return rc == 0        ? 0
           : e.code != rc ? tpi_fail(rc, "rules", "it is not run: %s", tpc_error_name(rc))
                          : tpi_fail(rc, "rules", "%s", e.text);
}

int tpc_rule_reset(struct tpc_core *core, const struct tpc_actor *actor, struct tpc_str tenant,
                   struct tpc_str kind, struct tpc_str key, struct tpc_device *device)
{
    struct tpi_rule_name name;
    int rc = check(core, tenant, kind, key, &name);
    if (rc != 0) {
        return rc;
    }
    rc = tpi_rules_reset(core->rules, &name, device, tpi_fail_begin());
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    log_who(core, actor, &name, "is reset");
    (void) tpi_pump_catch_up(core); /* its turn stores the state */
    return 0;
}

/* ---- commands ---- */

void tpi_rule_command(struct tpi_worker *w, struct tpc_device *device, const struct tpc_msg *msg)
{
    struct tpc_core *core = w->core;
    if (device != NULL && tpi_rules_on_commands(core->rules)) {
        tpi_registry_read_lock(core->registry);
        tpi_rules_begin(core->rules, w->index);
        tpi_rules_message(core->rules, w->index, device, msg);
        tpi_rules_end(core->rules, w->index);
        tpi_registry_read_unlock(core->registry);
    }
}

void tpi_rule_command_record(struct tpi_worker *w, struct tpc_device *device,
                             const struct tpc_record *r)
{
    struct tpc_arena *arena = NULL;
    if (!tpi_rules_on_commands(w->core->rules)) {
        return;
    }
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = r->kind,
                         .flags = r->flags,
                         .partition = r->partition,
                         .offset = r->offset,
                         .device_id = r->device_id,
                         .unix_ms = r->unix_ms,
                         .received_unix_ms = r->received_unix_ms,
                         .point_size = sizeof(struct tpc_point) };
    int rc = tpc_arena_create(w->core->env.alloc, 0, &arena);
    rc = rc != 0 ? rc : tpi_msg_decode(r->body, arena, NULL, &m);
    if (rc == 0) {
        tpi_rule_command(w, device, &m);
    } else {
        tpi_log(&w->core->env, TPC_LOG_WARN, "rules", "a command sets no scene off: %s",
                tpc_error_name(rc));
    }
    tpc_arena_destroy(arena);
}
