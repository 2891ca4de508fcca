/* Scene documents. */
#include "rules/scene.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "data/member.h"
#include "data/msg.h"
#include "registry/device.h"
#include "rules/rules.h"
#include "rules/script.h"

#include <string.h>

enum { ARENA_BYTES = 192 /* what most documents need */ };

static const struct tpc_option device_key = { .name = "device",
                                              .type = TPC_OPT_TEXT,
                                              .flags = TPC_OPT_KEY };

static const struct tpc_option when_options[] = {
    TPI_DURING_OPTION,
    { .name = "product",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_KEY,
      .since = "0.1",
      .help = "whose devices it watches; may be absent on manual" },
    { .name = "devices",
      .type = TPC_OPT_LIST,
      .min = 1,
      .max = TPI_RULES_MAX_DEVICES,
      .elem = &device_key,
      .since = "0.1",
      .help = "only these; absent = all of the product" },
    { .name = "on",
      .type = TPC_OPT_ENUM,
      .def = "data",
      .values = "data|event|online|offline|command|manual",
      .since = "0.1",
      .help = "what it looks at" },
    { .name = "event",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "on event: only this one" },
    { .name = "service",
      .type = TPC_OPT_TEXT,
      .max = 128,
      .since = "0.1",
      .help = "on command: only this one" },
    { .name = "state",
      .type = TPC_OPT_ENUM,
      .def = "sent",
      .values = "sent|done|failed",
      .since = "0.1",
      .help = "on command: when it is taken, when it succeeded, when it ended otherwise" },
    { .name = "expr",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = TPI_EXPR_MAX_TEXT,
      .since = "0.1",
      .help = "condition over the product's properties; may be absent unless it looks at data" },
    { .name = "for",
      .type = TPC_OPT_DURATION,
      .min = 1,
      .max = 2592000000,
      .since = "0.1",
      .help = "that it has to be true before it fires" },
    { .name = "until",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = TPI_EXPR_MAX_TEXT,
      .since = "0.1",
      .help = "condition that ends it; absent = that expr is false" },
    { .name = "every",
      .type = TPC_OPT_DURATION,
      .min = 1,
      .max = 2592000000,
      .since = "0.1",
      .help = "it fires at most once in this time for a device" },
    { .name = "fire",
      .type = TPC_OPT_ENUM,
      .def = "rising",
      .values = "rising|each|once",
      .since = "0.1",
      .help = "when it becomes true, with each message while it is, or the first time only" },
    { .name = "debounce",
      .type = TPC_OPT_DURATION,
      .min = 1,
      .max = 2592000000,
      .since = "0.1",
      .help = "of what fires with each message: it fires when no more came for that long" },
    TPI_GATE_DAMPEN_OPTION,
};

static const struct tpc_option scene_options[] = {
    { .name = "enabled",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false = it is kept, but does nothing" },
    { .name = "when",
      .type = TPC_OPT_TABLE,
      .flags = TPC_OPT_REQUIRED,
      .sub = TPC_OPTIONS(when_options),
      .since = "0.1",
      .help = "the condition" },
    TPI_VARS_OPTION,
    TPI_GATE_AUTO_DISABLE_OPTION,
    TPI_GATE_RE_ENABLE_OPTION,
    TPI_ACTIONS_OPTION,
};

const struct tpc_list tpi_scene_schema = TPC_OPTIONS(scene_options);

static uint32_t read_trigger(struct tpc_str name)
{
    static const char *const names[] = {
        "data", "event", "online", "offline", "command", "manual"
    };
    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (tpc_str_equal(name, tpc_str_from(names[i]))) {
            return i;
        }
    }
    return TPI_ON_DATA;
}

static uint32_t read_moment(struct tpc_str name)
{
    if (tpc_str_equal(name, TPC_STR("done"))) {
        return TPI_COMMAND_DONE;
    }
    return tpc_str_equal(name, TPC_STR("failed")) ? TPI_COMMAND_FAILED : TPI_COMMAND_SENT;
}

static int when_error(struct tpc_error *err, const char *name, const char *text)
{
    tpi_error_set(err, TPC_EINVAL, "rules", "%s", text);
    tpi_error_at(err, name);
    tpi_error_at(err, "when");
    return TPC_EINVAL;
}

/* Members that do not go with what it looks at. */
static int check_trigger(const struct tpi_scene *s, const struct tpc_value *when,
                         struct tpc_error *err)
{
    if (s->on == TPI_ON_DATA && s->text.len == 0) {
        return when_error(err, "expr", "missing: it looks at data");
    }
    if (s->on != TPI_ON_MANUAL && s->product.len == 0) {
        return when_error(err, "product", "missing: only what is run by hand needs none");
    }
    if (s->on != TPI_ON_EVENT && tpi_member(when, "event") != NULL) {
        return when_error(err, "event", "it does not look at events");
    }
    if (s->on != TPI_ON_COMMAND && tpi_member(when, "service") != NULL) {
        return when_error(err, "service", "it does not look at commands");
    }
    static const char *const others[] = { "expr", "devices", "every", "debounce", "during" };
    for (size_t i = 0; s->on == TPI_ON_MANUAL && i < sizeof(others) / sizeof(others[0]); i++) {
        if (tpi_member(when, others[i]) != NULL) {
            return when_error(err, others[i], "of what is run by hand nothing is asked");
        }
    }
    if (s->gate->dampen.type != TPI_DAMPEN_NONE && s->text.len == 0) {
        return when_error(err, "dampen", "only with a condition: expr");
    }
    if (s->gate->dampen.type == TPI_DAMPEN_ACTIVE && s->for_ms > 0) {
        return when_error(err, "for", "says the same as dampen");
    }
    return 0;
}

/* Most have none. */
static int read_gate(struct tpi_scene *s, const struct tpc_value *doc, const struct tpc_value *when,
                     struct tpc_error *err)
{
    static const struct tpi_gate none = { .auto_disable = false };
    struct tpi_gate gate;
    int rc = tpi_gate_read(&gate, doc, tpi_member(when, "dampen"), err);
    if (rc != 0 && err != NULL && strncmp(err->path, "dampen", 6) == 0) {
        tpi_error_at(err, "when");
    }
    s->gate = &none;
    if (rc != 0 || (gate.dampen.type == TPI_DAMPEN_NONE && !gate.auto_disable)) {
        return rc;
    }
    struct tpi_gate *own = tpc_arena_take(s->arena, sizeof(*own));
    if (own == NULL) {
        return TPC_ENOMEM;
    }
    *own = gate;
    s->gate = own;
    return 0;
}

/* Members that do not go together. */
static int check_when(const struct tpi_scene *s, const struct tpc_value *when,
                      struct tpc_error *err)
{
    static const char only_rising[] = "only of what fires once when it becomes true";
    if (s->each && s->for_ms > 0) {
        return when_error(err, "for", only_rising);
    }
    if (s->each && s->until.len > 0) {
        return when_error(err, "until", only_rising);
    }
    if (s->each && s->during.at_start) {
        return when_error(err, "during.at_start", only_rising);
    }
    if (s->during.at_start && s->every_ms > 0) {
        return when_error(err, "every", "not with during.at_start");
    }
    if (s->debounce_ms > 0 && !s->each) {
        return when_error(err, "debounce", "only of what fires with each message; use 'for'");
    }
    if (s->debounce_ms > 0 && s->every_ms > 0) {
        return when_error(err, "every", "not with debounce");
    }
    if (s->debounce_ms > 0 && s->gate->dampen.type == TPI_DAMPEN_ACTIVE) {
        return when_error(err, "debounce", "not with this dampening");
    }
    return check_trigger(s, when, err);
}

static int read_devices(struct tpi_scene *s, const struct tpc_value *devices)
{
    for (size_t i = 0; devices != NULL && i < devices->len; i++) {
        struct tpc_str key = tpc_value_text(&devices->as.items[i]);
        int rc = tpi_map_put(&s->devices, key.ptr, key.len, s, NULL);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* A changed condition starts without memory of what was true. */
static uint32_t hash_when(const struct tpi_scene *s, const struct tpc_value *devices)
{
    uint64_t h = tpi_hash(s->text.ptr, s->text.len, s->each);
    h = tpi_hash(s->product.ptr, s->product.len, h);
    if (s->on != TPI_ON_DATA || s->until.len > 0 || s->for_ms > 0 || s->every_ms > 0) {
        h = tpi_hash(s->until.ptr, s->until.len, h + s->on);
        h = tpi_hash(s->event.ptr, s->event.len, h);
        h = tpi_hash64(h ^ (uint64_t) s->for_ms) ^ (uint64_t) s->every_ms;
    }
    if (s->once || s->debounce_ms > 0 || s->moment != TPI_COMMAND_SENT) {
        h = tpi_hash64(h ^ (uint64_t) s->debounce_ms << 3 ^ s->moment << 1 ^ (s->once ? 1U : 0U));
    }
    h = tpi_during_hash(&s->during, h);
    for (size_t i = 0; devices != NULL && i < devices->len; i++) {
        struct tpc_str key = tpc_value_text(&devices->as.items[i]);
        h = tpi_hash(key.ptr, key.len, h);
    }
    if (s->vars != NULL) {
        h = tpi_vars_hash(s->vars, h);
    }
    if (s->gate->dampen.type != TPI_DAMPEN_NONE) {
        h = tpi_hash64(h ^ s->gate->dampen.type) ^ s->gate->dampen.count;
        h = tpi_hash64(h ^ s->gate->dampen.window);
    }
    return (uint32_t) h;
}

static int copy_text(struct tpi_scene *s, struct tpc_str text, struct tpc_str *ret)
{
    char *p = tpc_arena_take(s->arena, text.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, text.ptr, text.len);
    p[text.len] = '\0';
    *ret = (struct tpc_str){ p, text.len };
    return 0;
}

static int name_scene(struct tpi_scene *s)
{
    static const char prefix[] = "scene:";
    size_t n = sizeof(prefix) - 1;
    char *p = tpc_arena_take(s->arena, n + s->key.len);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, prefix, n);
    memcpy(p + n, s->key.ptr, s->key.len);
    s->by = (struct tpc_str){ p, n + s->key.len };
    return 0;
}

static int fill(struct tpi_scene *s, const struct tpi_change *change, struct tpc_error *err)
{
    struct tpc_value doc;
    int rc = tpi_value_copy(change->doc, s->arena, &doc);
    rc = rc != 0 ? rc : copy_text(s, change->tenant_key, &s->tenant);
    rc = rc != 0 ? rc : copy_text(s, change->key, &s->key);
    if (rc != 0) {
        return rc;
    }
    const struct tpc_value *when = tpi_member(&doc, "when");
    const struct tpc_value *devices = tpi_member(when, "devices");
    s->id = change->id;
    s->revision = change->revision;
    s->tenant_id = change->tenant;
    s->enabled = tpi_member_bool(&doc, "enabled", true);
    s->product = tpi_member_text(when, "product");
    s->text = tpi_member_text(when, "expr");
    s->until = tpi_member_text(when, "until");
    s->event = tpi_member_text(when, "event");
    s->event = s->event.len > 0 ? s->event : tpi_member_text(when, "service");
    s->debounce_ms = tpi_member_int(when, "debounce", 0);
    s->moment = read_moment(tpi_member_text(when, "state"));
    s->once = tpc_str_equal(tpi_member_text(when, "fire"), TPC_STR("once"));
    s->for_ms = tpi_member_int(when, "for", 0);
    s->every_ms = tpi_member_int(when, "every", 0);
    s->on = read_trigger(tpi_member_text(when, "on"));
    s->each = s->on != TPI_ON_DATA || tpc_str_equal(tpi_member_text(when, "fire"), TPC_STR("each"));
    s->vars = tpi_member(&doc, "vars");
    rc = tpi_during_read(&s->during, tpi_member(when, "during"), err);
    if (rc != 0) {
        tpi_error_at(err, "when");
        return rc;
    }
    rc = read_gate(s, &doc, when, err);
    rc = rc != 0 ? rc : check_when(s, when, err);
    if (rc != 0) {
        return rc;
    }
    if (s->gate->dampen.type == TPI_DAMPEN_ACTIVE) {
        s->for_ms = s->gate->dampen.active_ms;
    }
    s->when = hash_when(s, devices);
    rc = read_devices(s, devices);
    rc = rc != 0 ? rc : name_scene(s);
    s->actions.document = tpi_actions_hash(&doc);
    return rc != 0 ? rc : tpi_actions_read(&s->actions, s->arena, tpi_member(&doc, "then"), err);
}

int tpi_scene_create(const struct tpc_allocator *alloc, const struct tpi_change *change,
                     struct tpc_error *err, struct tpi_scene **ret)
{
    struct tpi_scene *s = tpi_alloc_zero(alloc, sizeof(*s));
    if (s == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "rules", "out of memory");
    }
    s->alloc = alloc;
    tpi_map_init(&s->devices, alloc);
    int rc = tpc_arena_create(alloc, 0, &s->arena);
    if (rc == 0) {
        tpi_arena_small(s->arena, ARENA_BYTES);
        rc = fill(s, change, err);
    }
    if (rc != 0) {
        if (rc == TPC_ENOMEM) {
            tpi_error_set(err, rc, "rules", "out of memory");
        }
        tpi_scene_destroy(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void tpi_scene_destroy(struct tpi_scene *s)
{
    if (s == NULL) {
        return;
    }
    tpi_condition_fini(&s->condition);
    tpi_actions_fini(&s->actions);
    tpi_ledger_fini(&s->ledger, s->alloc);
    tpi_during_fini(&s->during);
    tpi_map_fini(&s->devices);
    tpc_arena_destroy(s->arena);
    tpi_free(s->alloc, s, sizeof(*s));
}

static uint8_t expr_type(uint8_t data_type)
{
    switch (data_type) {
    case TPI_DATA_INT:
    case TPI_DATA_FLOAT:
    case TPI_DATA_DOUBLE:
    case TPI_DATA_ENUM:
    case TPI_DATA_DATE:
        return TPI_EXPR_NUMBER;
    case TPI_DATA_BOOL:
        return TPI_EXPR_BOOL;
    case TPI_DATA_TEXT:
        return TPI_EXPR_TEXT;
    case TPI_DATA_ARRAY:
        return TPI_EXPR_LIST;
    case TPI_DATA_STRUCT:
        return TPI_EXPR_MAP;
    default:
        return TPI_EXPR_ANY;
    }
}

int tpi_scene_resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    const struct tpi_product *product = user;
    int index = product != NULL ? tpi_model_find(product->model, name, NULL) : -1;
    if (index < 0) {
        return TPC_ENOENT;
    }
    const struct tpi_property *p = tpi_model_property(product->model, (uint32_t) index);
    *ret_index = p->id;
    *ret_type = expr_type(p->data_type);
    return 0;
}

/* What is the same for all devices of a product. */
int tpi_scene_constant(void *user, struct tpc_str name, struct tpc_value *ret)
{
    const struct tpi_product *product = user;
    if (product == NULL) {
        return TPC_ENOENT;
    }
    struct tpc_str text = tpc_str_equal(name, TPC_STR("product.key"))      ? product->key
                          : tpc_str_equal(name, TPC_STR("product.tenant")) ? product->tenant
                                                                           : TPC_STR("");
    if (text.len == 0) {
        return TPC_ENOENT;
    }
    *ret = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
    return 0;
}

/* What is known of a scene's device and of what set it off, beside its properties. */
static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    static const struct {
        struct tpc_str name;
        uint32_t index;
        uint8_t type;
    } others[] = {
        { TPC_STR_INIT("device.key"), TPI_NAME_DEVICE, TPI_EXPR_TEXT },
        { TPC_STR_INIT("device.online"), TPI_NAME_ONLINE, TPI_EXPR_BOOL },
        { TPC_STR_INIT("params"), TPI_NAME_PARAMS, TPI_EXPR_MAP },
    };
    int rc = tpi_scene_resolve(user, name, ret_index, ret_type);
    for (size_t i = 0; rc != 0 && i < sizeof(others) / sizeof(others[0]); i++) {
        if (tpc_str_equal(name, others[i].name)) {
            *ret_index = others[i].index;
            *ret_type = others[i].type;
            rc = 0;
        }
    }
    return rc;
}

static struct tpi_expr_scope scope_of(const struct tpi_scene *s, struct tpi_product *product,
                                      struct tpi_registry *registry)
{
    return (struct tpi_expr_scope){ .resolve = resolve,
                                    .constant = tpi_scene_constant,
                                    .user = product,
                                    .features = TPI_EXPR_OTHER | TPI_EXPR_NOW | TPI_EXPR_EVENT |
                                                TPI_EXPR_AGE | TPI_EXPR_SCRIPT,
                                    .env = s->env,
                                    .zone_dir = s->zone_dir,
                                    .script = tpi_script_open,
                                    .script_user = registry };
}

static int compile_text(const struct tpi_scene *s, struct tpc_str text, const char *name,
                        const struct tpi_expr_scope *scope, struct tpc_error *err,
                        struct tpi_expr **ret)
{
    int rc = text.len == 0 ? 0 : tpi_expr_compile(s->alloc, text, scope, TPI_EXPR_BOOL, err, ret);
    if (rc != 0) {
        tpi_error_at(err, name);
    }
    return rc;
}

/* Counted; NULL if the scene has none. Returns 0 or TPC_ENOENT. */
static int product_of(const struct tpi_scene *s, struct tpi_registry *registry,
                      struct tpc_error *err, struct tpi_product **ret)
{
    *ret = NULL;
    if (s->product.len == 0) {
        return 0;
    }
    tpi_registry_read_lock(registry);
    struct tpi_product *product = tpi_registry_product(registry, s->tenant, s->product);
    product = product != NULL ? tpi_product_ref(product) : NULL;
    tpi_registry_read_unlock(registry);
    if (product == NULL) {
        tpi_error_set(err, TPC_ENOENT, "rules", "no product '%.*s'", (int) s->product.len,
                      s->product.ptr);
        tpi_error_at(err, "when.product");
    }
    *ret = product;
    return product != NULL ? 0 : TPC_ENOENT;
}

/* What of the variables the condition uses makes it be looked at, too. */
static int gather_names(const struct tpi_scene *s, struct tpi_condition *c, struct tpc_error *err)
{
    if (c->vars.count == 0) {
        return 0;
    }
    struct tpi_expr *own[2] = { c->expr, c->until };
    uint32_t n = tpi_vars_used(&c->vars, own, 2, NULL);
    c->names = tpi_alloc_array(s->alloc, n + 2, sizeof(struct tpi_expr *));
    if (c->names == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "rules", "out of memory");
    }
    c->name_count = n + 2;
    c->names[0] = c->expr;
    c->names[1] = c->until;
    (void) tpi_vars_used(&c->vars, own, 2, c->names + 2);
    return 0;
}

int tpi_scene_compile(const struct tpi_scene *s, struct tpi_registry *registry,
                      struct tpc_error *err, struct tpi_condition *ret)
{
    struct tpi_condition c = { .good = true };
    struct tpi_product *product;
    int rc = product_of(s, registry, err, &product);
    if (rc != 0) {
        return rc;
    }
    c.product_id = product != NULL ? product->id : 0;
    struct tpi_expr_scope below = scope_of(s, product, registry);
    below.features |= TPI_EXPR_PREVIOUS;
    struct tpi_vars_scope known = { &c.vars, &below };
    struct tpi_expr_scope scope = tpi_vars_scope(&known);
    rc = tpi_vars_make(s->alloc, s->vars, &below, err, &c.vars);
    rc = rc != 0 ? rc : compile_text(s, s->text, "when.expr", &scope, err, &c.expr);
    rc = rc != 0 ? rc : compile_text(s, s->until, "when.until", &scope, err, &c.until);
    rc = rc != 0 ? rc : gather_names(s, &c, err);
    if (product != NULL) {
        tpi_product_unref(product);
    }
    if (rc != 0) {
        tpi_condition_fini(&c);
        return rc;
    }
    *ret = c;
    return 0;
}

int tpi_scene_compile_actions(struct tpi_scene *s, const struct tpi_condition *c,
                              struct tpi_registry *registry, struct tpc_error *err)
{
    struct tpi_product *product;
    int rc = product_of(s, registry, err, &product);
    if (rc != 0) {
        return rc;
    }
    struct tpi_expr_scope below = scope_of(s, product, registry);
    struct tpi_vars_scope known = { &c->vars, &below };
    struct tpi_expr_scope scope = tpi_vars_scope(&known);
    rc = tpi_actions_compile(&s->actions, s->alloc, &scope, err);
    if (product != NULL) {
        tpi_product_unref(product);
    }
    return rc;
}

void tpi_condition_fini(struct tpi_condition *c)
{
    tpi_expr_destroy(c->expr);
    tpi_expr_destroy(c->until);
    if (c->names != NULL) {
        tpi_free(c->vars.alloc, c->names, c->name_count * sizeof(struct tpi_expr *));
    }
    tpi_vars_fini(&c->vars);
    *c = (struct tpi_condition){ .good = false };
}

int tpi_scene_check(const struct tpi_scene *s, struct tpi_registry *registry,
                    struct tpc_arena *arena, struct tpc_error *err)
{
    return tpi_actions_check(&s->actions, registry, s->tenant, s->tenant_id, s->product, arena,
                             err);
}
