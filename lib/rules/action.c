/* Documents of actions. */
#include "rules/action.h"

#include "base/error.h"
#include "data/member.h"
#include "registry/device.h"
#include "rules/rules.h"

static const struct tpc_option command_options[] = {
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "who is told; absent = the device that set it off" },
    { .name = "service",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = 128,
      .since = "0.1",
      .help = "a service of its model, set or get" },
    { .name = "params", .type = TPC_OPT_ANY, .since = "0.1", .help = "a map" },
    { .name = "timeout",
      .type = TPC_OPT_DURATION,
      .min = 1,
      .max = 86400000,
      .since = "0.1",
      .help = "for a reply to one try; absent = 10s" },
    { .name = "retries",
      .type = TPC_OPT_UINT,
      .min = 0,
      .max = 100,
      .since = "0.1",
      .help = "tries after the first; absent = 0" },
    { .name = "retry_delay",
      .type = TPC_OPT_DURATION,
      .min = 1,
      .max = 86400000,
      .since = "0.1",
      .help = "before the first retry, doubles; absent = 1s" },
    { .name = "expire",
      .type = TPC_OPT_DURATION,
      .min = 1,
      .max = 2592000000,
      .since = "0.1",
      .help = "in the queue; absent = 24h" },
    { .name = "priority",
      .type = TPC_OPT_ENUM,
      .def = "normal",
      .values = "low|normal|high",
      .since = "0.1",
      .help = "order in the device's queue" },
};

static const struct tpc_option notify_options[] = {
    { .name = "handler",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "who is told: an entity of kind handler" },
    { .name = "params", .type = TPC_OPT_ANY, .since = "0.1", .help = "a map" },
};

static const struct tpc_option alert_options[] = {
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "which alert; a device has one of each key" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "whose alert; absent = the device that set it off" },
    { .name = "severity",
      .type = TPC_OPT_ENUM,
      .def = "warning",
      .values = "info|warning|minor|major|critical",
      .since = "0.1",
      .help = "how bad it is" },
    { .name = "text",
      .type = TPC_OPT_TEXT,
      .max = TPI_ACTION_TEXT,
      .since = "0.1",
      .help = "for people" },
};

static const struct tpc_option clear_options[] = {
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "which alert" },
    { .name = "device",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "whose alert; absent = the device that set it off" },
};

static const struct tpc_option item_options[] = {
    { .name = "command",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(command_options),
      .since = "0.1",
      .help = "sends a command" },
    { .name = "notify",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(notify_options),
      .since = "0.1",
      .help = "tells somebody outside" },
    { .name = "alert",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(alert_options),
      .since = "0.1",
      .help = "raises an alert" },
    { .name = "clear",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(clear_options),
      .since = "0.1",
      .help = "ends an alert" },
};

const struct tpc_option tpi_action_item = { .name = "then",
                                            .type = TPC_OPT_TABLE,
                                            .sub = TPC_OPTIONS(item_options) };

/* ---- reading ---- */

static const char *const type_names[] = { NULL, "command", "notify", "alert", "clear" };
static const char *const name_members[] = { NULL, "service", "handler", "key", "key" };

static uint32_t read_priority(struct tpc_str name)
{
    if (tpc_str_equal(name, TPC_STR("high"))) {
        return TPC_PRIORITY_HIGH;
    }
    return tpc_str_equal(name, TPC_STR("low")) ? TPC_PRIORITY_LOW : TPC_PRIORITY_NORMAL;
}

/* Puts "then[i].type.name" before what is there. */
static int path_error(struct tpc_error *err, int code, size_t number, const char *type,
                      const char *name)
{
    if (name != NULL) {
        tpi_error_at(err, name);
    }
    if (type != NULL) {
        tpi_error_at(err, type);
    }
    tpi_error_at_index(err, number);
    tpi_error_at(err, "then");
    return code;
}

/* Type of the only member of an item, or 0. */
static uint32_t type_of(const struct tpc_value *item)
{
    uint32_t found = 0, count = 0;
    for (uint32_t t = TPI_ACTION_COMMAND; t <= TPI_ACTION_CLEAR; t++) {
        const struct tpc_value *v = tpi_member(item, type_names[t]);
        if (v != NULL && v->type == TPC_MAP) {
            found = t;
            count++;
        }
    }
    return count == 1 ? found : 0;
}

static int say(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *c)
{
    static const char *const said[] = { "severity", "text" };
    struct tpc_member *m = tpc_arena_take(arena, 3 * sizeof(*m));
    if (m == NULL) {
        return TPC_ENOMEM;
    }
    struct tpc_str state = a->type == TPI_ACTION_ALERT ? TPC_STR("raised") : TPC_STR("cleared");
    uint32_t n = 0;
    m[n++] = (struct tpc_member){ TPC_STR("state"),
                                  { .type = TPC_TEXT, .len = state.len, .as.text = state.ptr } };
    for (size_t i = 0; a->type == TPI_ACTION_ALERT && i < 2; i++) {
        const struct tpc_value *v = tpi_member(c, said[i]);
        if (v != NULL) {
            m[n++] = (struct tpc_member){ tpc_str_from(said[i]), *v };
        }
    }
    a->params = (struct tpc_value){ .type = TPC_MAP, .len = n, .as.members = m };
    return 0;
}

static int read_action(struct tpi_action *a, struct tpc_arena *arena, size_t number,
                       const struct tpc_value *item, struct tpc_error *err)
{
    a->type = type_of(item);
    if (a->type == 0) {
        tpi_error_set(err, TPC_EINVAL, "rules",
                      "an action is one of: command, notify, alert, clear");
        return path_error(err, TPC_EINVAL, number, NULL, NULL);
    }
    const struct tpc_value *c = tpi_member(item, type_names[a->type]);
    const struct tpc_value *params = tpi_member(c, "params");
    if (params != NULL && params->type != TPC_MAP && params->type != TPC_NULL) {
        tpi_error_set(err, TPC_EINVAL, "rules", "not a map");
        return path_error(err, TPC_EINVAL, number, type_names[a->type], "params");
    }
    a->device = tpi_member_text(c, "device");
    a->name = tpi_member_text(c, name_members[a->type]);
    a->params = params != NULL ? *params : (struct tpc_value){ .type = TPC_NULL };
    a->timeout_ms = (uint32_t) tpi_member_int(c, "timeout", 0);
    a->retries = (uint32_t) tpi_member_int(c, "retries", 0);
    a->retry_delay_ms = (uint32_t) tpi_member_int(c, "retry_delay", 0);
    a->expire_ms = (uint32_t) tpi_member_int(c, "expire", 0);
    a->priority = read_priority(tpi_member_text(c, "priority"));
    a->fills = (struct tpi_fills){ .count = 0 };
    atomic_init(&a->warned, false);
    return a->type == TPI_ACTION_ALERT || a->type == TPI_ACTION_CLEAR ? say(a, arena, c) : 0;
}

int tpi_actions_read(struct tpi_actions *a, struct tpc_arena *arena, const struct tpc_value *then,
                     struct tpc_error *err)
{
    a->count = 0;
    a->items = tpc_arena_take(arena, then->len * sizeof(*a->items));
    if (a->items == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < then->len; i++) {
        int rc = read_action(&a->items[i], arena, i, &then->as.items[i], err);
        if (rc != 0) {
            return rc;
        }
        a->count++;
    }
    return 0;
}

/* ---- values in texts ---- */

int tpi_actions_compile(struct tpi_actions *actions, const struct tpc_allocator *alloc,
                        const struct tpi_expr_scope *scope, struct tpc_error *err)
{
    for (uint32_t i = 0; i < actions->count; i++) {
        struct tpi_action *a = &actions->items[i];
        bool alert = a->type == TPI_ACTION_ALERT || a->type == TPI_ACTION_CLEAR;
        int rc = tpi_fills_compile(alloc, &a->params, scope, err, &a->fills);
        if (rc != 0) {
            return path_error(err, rc, i, type_names[a->type], alert ? NULL : "params");
        }
    }
    return 0;
}

void tpi_actions_fini(struct tpi_actions *actions)
{
    for (uint32_t i = 0; i < actions->count; i++) {
        tpi_fills_fini(&actions->items[i].fills);
    }
}

/* ---- checking ---- */

/* Under the read lock. The target's model; NULL if it is not known now. */
static struct tpi_model *target_model(struct tpi_registry *registry, struct tpc_str tenant,
                                      uint64_t tenant_id, struct tpc_str product,
                                      const struct tpi_action *a)
{
    if (a->device.len == 0) {
        struct tpi_product *p = tpi_registry_product(registry, tenant, product);
        return p != NULL ? p->model : NULL;
    }
    struct tpc_device *d = tpi_registry_find_in(registry, tenant_id, a->device);
    return d != NULL && d->product != NULL ? d->product->model : NULL;
}

/* Whether somebody is meant, by name or as the one that sets it off. */
static bool needs_device(const struct tpi_action *a)
{
    return a->type != TPI_ACTION_NOTIFY && a->device.len == 0;
}

int tpi_actions_check(const struct tpi_actions *actions, struct tpi_registry *registry,
                      struct tpc_str tenant, uint64_t tenant_id, struct tpc_str product,
                      struct tpc_arena *arena, struct tpc_error *err)
{
    for (uint32_t i = 0; i < actions->count; i++) {
        const struct tpi_action *a = &actions->items[i];
        if (product.len == 0 && needs_device(a)) {
            tpi_error_set(err, TPC_EINVAL, "rules", "no device set it off: it has to be named");
            return path_error(err, TPC_EINVAL, i, type_names[a->type], "device");
        }
        if (a->type != TPI_ACTION_COMMAND || tpi_fills_any(&a->params)) {
            continue; /* what it says is known when it fires */
        }
        tpi_registry_read_lock(registry);
        struct tpi_model *model = target_model(registry, tenant, tenant_id, product, a);
        model = model != NULL ? tpi_model_ref(model) : NULL;
        tpi_registry_read_unlock(registry);
        if (model == NULL) {
            continue;
        }
        struct tpc_value checked;
        int rc = tpi_model_service_check(model, a->name, &a->params, arena, err, &checked);
        tpi_model_unref(model);
        if (rc != 0) {
            return path_error(err, rc, i, "command", rc == TPC_ENOENT ? "service" : "params");
        }
    }
    return 0;
}
