/* The house in which rules are tried: its life, and what is copied into it. */
#include "core/sandbox.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "data/member.h"
#include "registry/derived.h"
#include "registry/device.h"
#include "rules/alert.h"
#include "rules/group.h"
#include "store/memory.h"
#include "core/part.h"

enum { MONO_START_S = 1000, VALUE_BYTES = 4096 };

/* ---- its outside ---- */

static int64_t unix_ms(void *user)
{
    const struct tpi_sandbox *s = user;
    return s->unix_ms;
}

static uint64_t mono_ns(void *user)
{
    const struct tpi_sandbox *s = user;
    return (uint64_t) (s->unix_ms - s->begin_ms + MONO_START_S * 1000) * 1000000;
}

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    (void) ctx;
    (void) fmt;
    return code;
}

static int find_codec(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                      void **ret_self)
{
    static const struct tpc_codec_ops none = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                               .name = "none" };
    struct tpi_sandbox *s = user;
    if (tpc_str_equal(name, TPC_STR("lua"))) {
        return tpi_part_codec(s->core, name, ret_ops, ret_self); /* of scripts in rules */
    }
    *ret_ops = &none;
    *ret_self = NULL;
    return 0;
}

/* What the core would check; the rule itself tells the action. */
static int on_command(void *user, uint32_t worker, const struct tpi_rule_command *c)
{
    struct tpi_sandbox *s = user;
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_value checked;
    tpc_arena_reset(s->room);
    int rc = tpi_model_service_check(c->target->product->model, c->service, c->params, s->room,
                                     &err, &checked);
    if (rc != 0) {
        tpi_rules_reason(s->rules, worker, err.text);
    }
    return rc;
}

static int on_message(void *user, uint32_t worker, const struct tpi_rule_message *m)
{
    struct tpi_sandbox *s = user;
    (void) worker;
    if (m->kind != TPI_MSG_RULE_INPUT) {
        return 0;
    }
    struct tpi_sandbox_input *in = tpc_arena_take(s->arena, sizeof(*in) + m->raw.len);
    if (in == NULL) {
        return TPC_ENOMEM;
    }
    *in = (struct tpi_sandbox_input){ s->inputs, m->unix_ms, m->raw.len };
    memcpy(in + 1, m->raw.ptr, m->raw.len);
    s->inputs = in;
    return 0;
}

/* The rule tells that, too. */
static int on_change(void *user, uint32_t worker, const struct tpi_rule_switch *change)
{
    (void) user;
    (void) worker;
    (void) change;
    return 0;
}

/* What people do not ask for: ids, times, and what the step says already. */
static bool is_noise(struct tpc_str key)
{
    static const char *const noise[] = { "id",     "number",    "nth",  "tenant", "tenant_id",
                                         "device", "device_id", "key",  "alert",  "name",
                                         "by",     "change",    "state" };
    static const struct tpc_str unix_ms_of = { "unix_ms", 7 };
    for (size_t i = 0; i < sizeof(noise) / sizeof(noise[0]); i++) {
        if (tpc_str_equal(key, tpc_str_from(noise[i]))) {
            return true;
        }
    }
    return key.len >= unix_ms_of.len &&
           memcmp(key.ptr + key.len - unix_ms_of.len, unix_ms_of.ptr, unix_ms_of.len) == 0;
}

static int tell_alert(struct tpi_sandbox *s, const struct tpi_alert_message *m)
{
    const struct tpc_device *d = tpi_registry_by_id(s->registry, m->device_id);
    struct tpc_str device = d != NULL ? d->key : TPC_STR("");
    struct tpc_str change = tpi_member_text(&m->params, "change");
    struct tpc_member *members = tpc_arena_take(s->arena, (m->params.len + 1) * sizeof(*members));
    struct tpc_value params = { .type = TPC_MAP, .as.members = members };
    char type[64];
    if (members == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < m->params.len; i++) {
        if (!is_noise(m->params.as.members[i].key)) {
            members[params.len++] = m->params.as.members[i];
        }
    }
    (void) snprintf(type, sizeof(type), m->kind == TPC_MSG_ALERT ? "%.*s" : "%.*s: notify",
                    (int) change.len, change.len > 0 ? change.ptr : "");
    struct tpi_trace_action told = { type, m->name, device, &params, 0, NULL };
    tpi_trace_action(s->trace, device, m->unix_ms, &told);
    return 0;
}

/* Alerts are not followed: what they append is what they do. */
static int on_alert(void *user, uint32_t worker, const struct tpi_alert_message *messages,
                    uint32_t count)
{
    int rc = 0;
    (void) worker;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = tell_alert(user, &messages[i]);
    }
    return rc;
}

static bool on_said(void *user, const struct tpc_id *id)
{
    (void) user;
    (void) id;
    return false;
}

/* ---- life ---- */

static void make_env(struct tpi_sandbox *s)
{
    s->begin_ms = s->unix_ms;
    s->clock = (struct tpc_clock){
        .size = sizeof(s->clock), .user = s, .unix_ms = unix_ms, .mono_ns = mono_ns
    };
    s->env = s->core->env;
    s->env.clock = &s->clock;
    s->env.log = NULL;
    s->env.ids = &s->ids;
    s->host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                                 .allocator = s->env.alloc,
                                 .clock = &s->clock,
                                 .random = s->env.random,
                                 .files = s->env.files,
                                 .fail = host_fail };
}

static int make_store(struct tpi_sandbox *s)
{
    s->store = tpi_alloc_zero(s->env.alloc, tpi_store_memory.instance_size);
    int rc = s->store != NULL ? tpi_store_memory.init(s->store, &s->host, NULL, NULL) : TPC_ENOMEM;
    if (rc != 0) {
        tpi_free(s->env.alloc, s->store, tpi_store_memory.instance_size);
        s->store = NULL;
    }
    return rc;
}

static int make_stages(struct tpi_sandbox *s, struct tpc_error *err)
{
    struct tpi_registry_host registry = {
        .user = s, .partitions = 1, .codec_find = find_codec, .expr = &tpi_core_expr_ops
    };
    int rc = tpi_registry_create(&s->env, &registry, err, &s->registry);
    struct tpi_rules_host rules = { .user = s,
                                    .registry = s->registry,
                                    .workers = 1,
                                    .partitions = 1,
                                    .command = on_command,
                                    .message = on_message,
                                    .fan = tpi_sandbox_fan,
                                    .change = on_change,
                                    .script_place = s->core->worker_count };
    rc = rc != 0 ? rc : tpi_rules_create(&s->env, &rules, err, &s->rules);
    struct tpi_alerts_host alerts = {
        .user = s, .registry = s->registry, .workers = 1, .append = on_alert, .said = on_said
    };
    return rc != 0 ? rc : tpi_alerts_create(&s->env, &alerts, err, &s->alerts);
}

static int make_entities(struct tpi_sandbox *s, struct tpc_error *err)
{
    int rc = tpi_entities_create(&s->env, &tpi_store_memory, s->store, err, &s->entities);
    for (uint32_t i = 0; rc == 0 && i < TPI_REGISTRY_KINDS; i++) {
        rc = tpi_entities_add_kind(s->entities, &tpi_registry_kinds(s->registry)[i], err);
    }
    rc = rc != 0 ? rc : tpi_entities_add_kind(s->entities, tpi_rules_kind(s->rules), err);
    rc = rc != 0 ? rc : tpi_entities_add_kind(s->entities, tpi_rules_schedule_kind(s->rules), err);
    rc = rc != 0 ? rc : tpi_entities_add_kind(s->entities, tpi_rules_data_kind(s->rules), err);
    rc = rc != 0 ? rc : tpi_entities_add_kind(s->entities, tpi_alerts_kind(s->alerts), err);
    return rc != 0 ? rc : tpi_entities_load(s->entities, err);
}

/* Puts a map of members into the house. */
static int put(struct tpi_sandbox *s, const char *kind, const struct tpc_member *members,
               size_t count, struct tpc_error *err)
{
    struct tpc_value doc = { .type = TPC_MAP, .len = count, .as.members = members };
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(&doc, 0, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(s->arena, buf.need);
    int rc = buf.ptr != NULL ? tpc_json_write(&doc, 0, &buf) : TPC_ENOMEM;
    struct tpc_str json = { (const char *) buf.ptr, buf.need };
    return rc != 0 ? rc : tpi_entities_put(s->entities, NULL, kind, json, TPC_ANY_REV, err, NULL);
}

static struct tpc_member text_member(const char *key, struct tpc_str text)
{
    return (struct tpc_member){ tpc_str_from(key),
                                { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
}

int tpi_sandbox_init(struct tpi_sandbox *s, struct tpc_error *err)
{
    struct tpi_trace_options follow = { 0 };
    make_env(s);
    int rc = tpc_arena_create(s->env.alloc, TPI_SANDBOX_BYTES, &s->arena);
    rc = rc != 0 ? rc : tpc_arena_create(s->env.alloc, 0, &s->room);
    rc = rc != 0 ? rc : tpi_trace_create(&s->env, &follow, &s->trace);
    rc = rc != 0 ? rc : make_store(s);
    rc = rc != 0 ? rc : make_stages(s, err);
    rc = rc != 0 ? rc : make_entities(s, err);
    if (rc == 0 && !tpc_str_equal(s->tenant, TPC_STR("main"))) {
        struct tpc_member key = text_member("key", s->tenant);
        rc = put(s, "tenant", &key, 1, err);
    }
    return rc;
}

void tpi_sandbox_fini(struct tpi_sandbox *s)
{
    tpi_sandbox_fans_drop(s);
    tpi_entities_destroy(s->entities);
    tpi_alerts_destroy(s->alerts);
    tpi_rules_destroy(s->rules);
    tpi_registry_destroy(s->registry);
    if (s->store != NULL) {
        tpi_store_memory.fini(s->store);
        tpi_free(s->env.alloc, s->store, tpi_store_memory.instance_size);
    }
    tpi_trace_unref(s->trace);
    tpc_arena_destroy(s->room);
    tpc_arena_destroy(s->arena);
}

/* ---- copies ---- */

static int keep(struct tpi_sandbox *s, struct tpc_str text, struct tpc_str *ret)
{
    char *p = tpc_arena_take(s->arena, text.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, text.len > 0 ? text.ptr : "", text.len);
    p[text.len] = '\0';
    *ret = (struct tpc_str){ p, text.len };
    return 0;
}

struct wanted {
    struct tpi_sandbox *s;
    struct tpc_str json;
};

static int keep_doc(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                    struct tpc_str json)
{
    struct wanted *w = user;
    (void) info;
    (void) key;
    return keep(w->s, json, &w->json);
}

static int take_place(struct tpi_sandbox *s, struct tpc_error *err)
{
    if (s->copies == TPI_SANDBOX_COPIES) {
        return tpi_error_set(err, TPC_ETOOBIG, "rules",
                             "it names more than %d devices and products", TPI_SANDBOX_COPIES);
    }
    s->copies++;
    return 0;
}

/* Its model, without codec and secrets. */
static int copy_product(struct tpi_sandbox *s, struct tpc_str key, struct tpc_error *err)
{
    struct wanted w = { .s = s };
    struct tpc_value doc;
    struct tpc_member members[5];
    tpi_registry_read_lock(s->registry);
    bool there = tpi_registry_product(s->registry, s->tenant, key) != NULL;
    tpi_registry_read_unlock(s->registry);
    if (there) {
        return 0;
    }
    int rc = take_place(s, err);
    rc = rc != 0
             ? rc
             : tpi_entities_get(s->core->entities, s->tenant, "product", key, err, keep_doc, &w);
    rc = rc != 0 ? rc : tpc_json_parse(s->arena, w.json, 0, err, &doc);
    if (rc != 0) {
        return rc == TPC_ENOENT ? 0 : rc;
    }
    size_t n = 0;
    members[n++] = text_member("key", key);
    members[n++] = text_member("tenant", s->tenant);
    static const char *const kept[] = { "model", "enforce", "unknown" };
    for (size_t i = 0; i < 3; i++) {
        const struct tpc_value *v = tpi_member(&doc, kept[i]);
        if (v != NULL) {
            members[n++] = (struct tpc_member){ tpc_str_from(kept[i]), *v };
        }
    }
    return put(s, "product", members, n, err);
}

/* What is known of a device of the core. */
struct known {
    struct tpc_str product;
    bool online;
    int64_t since_ms;
    struct tpc_member *values;
    int64_t *times; /* of the values */
    size_t count;
};

static int copy_value(struct tpi_sandbox *s, struct tpc_device *d, uint32_t index,
                      struct tpc_value *ret, int64_t *ret_unix_ms)
{
    uint8_t small[VALUE_BYTES];
    struct tpc_buf buf = { small, sizeof(small), 0 };
    int rc = tpi_device_latest_copy(d, index, &buf, ret, ret_unix_ms);
    if (rc == TPC_ENOENT || (rc == 0 && ret->type < TPC_TEXT)) {
        return rc;
    }
    /* Again, to where it stays. Room for one that grew meanwhile is not needed: it is left out. */
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(s->arena, buf.need + 1);
    return buf.ptr != NULL ? tpi_device_latest_copy(d, index, &buf, ret, ret_unix_ms) : TPC_ENOMEM;
}

/* Under the core's registry's read lock. */
static int know(struct tpi_sandbox *s, struct tpc_device *d, struct known *k)
{
    const struct tpi_model *m = d->product->model;
    uint32_t count = tpi_model_property_count(m);
    *k = (struct known){ .online = atomic_load(&d->online),
                         .since_ms = atomic_load(&d->presence_unix_ms) };
    k->values = tpc_arena_take(s->arena, (count + 1) * sizeof(*k->values));
    k->times = tpc_arena_take(s->arena, (count + 1) * sizeof(*k->times));
    int rc =
        k->values != NULL && k->times != NULL ? keep(s, d->product->key, &k->product) : TPC_ENOMEM;
    for (uint32_t i = 0; rc == 0 && !s->empty && i < count; i++) {
        struct tpc_value v;
        rc = copy_value(s, d, i, &v, &k->times[k->count]);
        if (rc == 0) {
            k->values[k->count].value = v;
            rc = keep(s, tpi_model_property(m, i)->key, &k->values[k->count++].key);
        }
        rc = rc == TPC_ENOMEM ? rc : 0;
    }
    return rc;
}

/* Values come with a time before the trial, so that those of the trial replace them. */
static int give(struct tpi_sandbox *s, struct tpc_str key, const struct known *k)
{
    int rc = 0;
    tpi_registry_read_lock(s->registry);
    struct tpc_device *d = tpi_registry_find(s->registry, s->tenant, key);
    for (size_t i = 0; d != NULL && rc == 0 && i < k->count; i++) {
        int index = tpi_model_find(d->product->model, k->values[i].key, NULL);
        if (index >= 0) {
            int64_t at = k->times[i] < s->begin_ms ? k->times[i] : s->begin_ms - 1;
            rc = tpi_device_latest_set(d, (uint32_t) index, &k->values[i].value, at);
            rc = rc == TPC_ENOMEM ? rc : 0;
        }
    }
    if (d != NULL && !s->empty && k->online) {
        (void) tpi_device_presence(d, true, true, k->since_ms);
    }
    tpi_registry_read_unlock(s->registry);
    return rc;
}

int tpi_sandbox_device(struct tpi_sandbox *s, struct tpc_str key, struct tpc_error *err)
{
    struct known k = { .count = 0 };
    tpi_registry_read_lock(s->registry);
    bool there = tpi_registry_find(s->registry, s->tenant, key) != NULL;
    tpi_registry_read_unlock(s->registry);
    if (there) {
        return 0;
    }
    tpi_registry_read_lock(s->core->registry);
    struct tpc_device *d = tpi_registry_find(s->core->registry, s->tenant, key);
    int rc = d != NULL ? know(s, d, &k) : 0;
    tpi_registry_read_unlock(s->core->registry);
    if (d == NULL || rc != 0) {
        return rc;
    }
    rc = take_place(s, err);
    rc = rc != 0 ? rc : copy_product(s, k.product, err);
    struct tpc_member members[] = { text_member("key", key), text_member("tenant", s->tenant),
                                    text_member("product", k.product) };
    rc = rc != 0 ? rc : put(s, "device", members, 3, err);
    return rc != 0 ? rc : give(s, key, &k);
}

static int name(struct tpi_sandbox *s, struct tpc_str text, struct tpc_error *err)
{
    if (text.len == 0 || text.len > 255) {
        return 0;
    }
    tpi_registry_read_lock(s->core->registry);
    bool device = tpi_registry_find(s->core->registry, s->tenant, text) != NULL;
    bool product = tpi_registry_product(s->core->registry, s->tenant, text) != NULL;
    tpi_registry_read_unlock(s->core->registry);
    int rc = product ? copy_product(s, text, err) : 0;
    return rc == 0 && device ? tpi_sandbox_device(s, text, err) : rc;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':' || (unsigned char) c >= 0x80;
}

/* The whole text, what stands in quotes, and its words: a device may be named in each of these ways. */
static int names_in(struct tpi_sandbox *s, struct tpc_str text, struct tpc_error *err)
{
    int rc = name(s, text, err);
    size_t word = 0;
    for (size_t i = 0; rc == 0 && i <= text.len; i++) {
        if (i < text.len && is_word(text.ptr[i])) {
            continue;
        }
        rc = name(s, (struct tpc_str){ text.ptr + word, i - word }, err);
        word = i + 1;
    }
    for (size_t i = 0; rc == 0 && i < text.len; i++) {
        if (text.ptr[i] != '\'' && text.ptr[i] != '"') {
            continue;
        }
        const char *from = text.ptr + i + 1;
        const char *to = memchr(from, text.ptr[i], text.len - i - 1);
        if (to == NULL) {
            break;
        }
        rc = name(s, (struct tpc_str){ from, (size_t) (to - from) }, err);
    }
    return rc;
}

int tpi_sandbox_scene(struct tpi_sandbox *s, struct tpc_str key, bool *ret_new)
{
    struct tpi_sandbox_scene *one = s->scenes;
    while (one != NULL && !tpc_str_equal(one->key, key)) {
        one = one->next;
    }
    *ret_new = one == NULL;
    if (one != NULL) {
        return 0;
    }
    one = tpc_arena_take(s->arena, sizeof(*one));
    if (one == NULL) {
        return TPC_ENOMEM;
    }
    *one = (struct tpi_sandbox_scene){ s->scenes, key };
    s->scenes = one;
    return 0;
}

/* A scene that the rule runs, with what that one names. */
static int copy_scene(struct tpi_sandbox *s, struct tpc_str key, struct tpc_error *err)
{
    struct wanted w = { .s = s };
    struct tpc_value doc;
    bool fresh = false;
    int rc = tpi_sandbox_scene(s, key, &fresh);
    if (rc != 0 || !fresh || (s->core->options.flags & TPC_CORE_OBSERVE) != 0) {
        return rc; /* it is there, or on its way; or nobody knows it */
    }
    rc = tpi_entities_get(s->core->entities, s->tenant, "scene", key, err, keep_doc, &w);
    rc = rc != 0 ? rc : take_place(s, err);
    rc = rc != 0 ? rc : tpc_json_parse(s->arena, w.json, 0, err, &doc);
    /* those that it runs come before it */
    rc = rc != 0 ? rc : tpi_sandbox_named(s, &doc, err);
    rc =
        rc != 0 ? rc : tpi_entities_put(s->entities, NULL, "scene", w.json, TPC_ANY_REV, err, NULL);
    return rc == TPC_ENOENT || rc == TPC_EINVAL ? 0 : rc;
}

int tpi_sandbox_named(struct tpi_sandbox *s, const struct tpc_value *doc, struct tpc_error *err)
{
    int rc = doc->type == TPC_TEXT ? names_in(s, tpc_value_text(doc), err) : 0;
    for (size_t i = 0; rc == 0 && doc->type == TPC_ARRAY && i < doc->len; i++) {
        rc = tpi_sandbox_named(s, &doc->as.items[i], err);
    }
    for (size_t i = 0; rc == 0 && doc->type == TPC_MAP && i < doc->len; i++) {
        const struct tpc_member *m = &doc->as.members[i];
        bool scene = tpc_str_equal(m->key, TPC_STR("scene")) && m->value.type == TPC_TEXT;
        rc = scene ? copy_scene(s, tpc_value_text(&m->value), err)
                   : tpi_sandbox_named(s, &m->value, err);
    }
    return rc;
}
