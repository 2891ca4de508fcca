/* Entities: the registry, the rules and the store behind them, and what a change sets off. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/crypto.h"
#include "core/core.h"
#include "core/part.h"
#include "data/msg.h"

enum {
    FILE_BYTES_MAX = 64 << 20,
    FILE_ARENA_BYTES = 256 << 20,
    SECRET_BYTES_MAX = 4096,
    COMMAND_ROWS = 1000, /* of a device */
    COMMAND_MEMORY_ROWS = 100,
    AUDIT_MEMORY_ROWS = 1000 /* of a store in memory, which ends with the process */
};

/* An announcement on its way to the worker of its partition; the record's body follows. */
struct announcement {
    struct tpi_node node;
    uint32_t partition;
    int64_t unix_ms;
    struct tpc_device *gone; /* counted: a device that was deleted */
    uint32_t tries;
    size_t body_len;
};

static void free_announcement(struct tpc_core *core, struct announcement *a)
{
    tpi_device_unref(a->gone);
    tpi_free(core->env.alloc, a, sizeof(*a) + a->body_len);
}

static void drop_announcement(struct tpi_worker *w, struct tpi_node *node)
{
    free_announcement(w->core, (struct announcement *) (void *) node);
}

static void run_announcement(struct tpi_worker *w, struct tpi_node *node)
{
    struct announcement *a = (struct announcement *) (void *) node;
    struct tpc_record r = {
        .size = sizeof(r),
        .kind = TPC_MSG_ENTITY,
        .partition = a->partition,
        .unix_ms = a->unix_ms,
        .received_unix_ms = a->unix_ms,
        .body = { (const uint8_t *) (a + 1), a->body_len },
    };
    struct tpc_error err;
    bool lost = tpi_log_append(w, &r, 1, TPC_APPEND_RESERVE, &err) != 0;
    tpi_count(&w->core->counters.announcements_lost, lost);
    if (lost && !w->announcing_fails) {
        tpi_log(&w->core->env, TPC_LOG_WARN, "core", "changes of entities are not announced: %s",
                err.text);
    }
    w->announcing_fails = lost; /* one line until one is announced again */
    free_announcement(w->core, a);
}

static void run_gone(struct tpi_worker *w, struct tpi_node *node)
{
    struct announcement *a = (struct announcement *) (void *) node;
    if (w->downlink != NULL) {
        tpi_downlink_gone(w->downlink, a->gone);
        tpi_alert_gone(w, a->gone);
    }
    free_announcement(w->core, a);
}

static struct announcement *make_announcement(struct tpc_core *core, const struct tpi_buf *body)
{
    size_t len = body != NULL ? body->len : 0;
    struct announcement *a = tpi_alloc_zero(core->env.alloc, sizeof(*a) + len);
    if (a == NULL) {
        tpi_count(&core->counters.announcements_lost, 1);
        return NULL;
    }
    a->body_len = len;
    a->node.drop = drop_announcement;
    a->unix_ms = tpi_unix_ms(&core->env);
    if (len > 0) {
        memcpy(a + 1, body->ptr, len);
    }
    return a;
}

static struct tpc_member text_member(const char *key, struct tpc_str text)
{
    struct tpc_member m = { tpc_str_from(key),
                            { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
    return m;
}

static void announce(struct tpc_core *core, const struct tpc_actor *actor,
                     const struct tpi_change *c)
{
    static const char *const types[] = {
        "embedder", "user", "token", "rule", "connector", "import"
    };
    uint32_t type = actor != NULL && actor->type < 6 ? actor->type : 0;
    struct tpc_member members[] = {
        text_member("kind", tpc_str_from(c->kind->name)),
        text_member("key", c->key),
        { TPC_STR("revision"), { .type = TPC_INT, .as.i = (int64_t) c->revision } },
        { TPC_STR("deleted"), { .type = TPC_BOOL, .as.b = c->deleted } },
        text_member("tenant", c->tenant_key.len > 0 ? c->tenant_key : c->key),
        text_member("actor_type", tpc_str_from(types[type])),
        text_member("actor", actor != NULL ? actor->name : (struct tpc_str){ NULL, 0 }),
    };
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_ENTITY,
                         .name = tpc_str_from(c->kind->name),
                         .origin = actor != NULL ? actor->origin : (struct tpc_str){ NULL, 0 },
                         .point_size = sizeof(struct tpc_point),
                         .params = { .type = TPC_MAP,
                                     .len = sizeof(members) / sizeof(members[0]),
                                     .as.members = members } };
    struct tpi_buf body;
    tpi_buf_init(&body, core->env.alloc, 0);
    struct announcement *a = tpi_msg_encode(&m, &body) == 0 ? make_announcement(core, &body) : NULL;
    tpi_buf_fini(&body);
    if (a != NULL) {
        a->partition = tpi_registry_partition(core->registry, c->tenant != 0 ? c->tenant : c->id);
        a->node.run = run_announcement;
        tpi_worker_post(tpi_worker_of(core, a->partition), &a->node);
    }
    tpi_log(&core->env, TPC_LOG_INFO, "entity", "%s \"%.*s\" %s, revision %llu, by %s %.*s",
            c->kind->name, (int) c->key.len, c->key.ptr, c->deleted ? "deleted" : "put",
            (unsigned long long) c->revision, types[type],
            actor != NULL ? (int) actor->name.len : 0, actor != NULL ? actor->name.ptr : "");
}

/* Names of a product's properties to the history. */
static int name_properties(void *user, struct tpi_product *p)
{
    struct tpc_core *core = user;
    for (uint32_t i = 0; i < tpi_model_property_count(p->model); i++) {
        const struct tpi_property *q = tpi_model_property(p->model, i);
        (void) tpi_history_property(core->history, p->id, q->id, q->key,
                                    tpc_str_from(tpi_data_type_name(q->data_type)));
    }
    return 0;
}

void tpi_core_properties(struct tpc_core *core)
{
    tpi_registry_read_lock(core->registry);
    (void) tpi_registry_each_product(core->registry, name_properties, core);
    tpi_registry_read_unlock(core->registry);
}

static void product_changed(struct tpc_core *core, const struct tpi_change *c)
{
    if (core->history != NULL && !c->deleted) {
        tpi_registry_read_lock(core->registry);
        struct tpi_product *p = tpi_registry_product(core->registry, c->tenant_key, c->key);
        if (p != NULL) {
            (void) name_properties(core, p);
        }
        tpi_registry_read_unlock(core->registry);
    }
    tpi_rules_product_changed(core->rules, c->id);
    tpi_alerts_products_changed(core->alerts);
}

/* A deleted device's commands end. Takes the reference. */
static void device_gone(struct tpc_core *core, struct tpc_device *d)
{
    struct announcement *a = make_announcement(core, NULL);
    if (a == NULL) {
        tpi_device_unref(d); /* its commands expire */
        return;
    }
    a->gone = d;
    a->node.run = run_gone;
    tpi_worker_post(tpi_worker_of(core, d->partition), &a->node);
}

static void on_change(void *user, const struct tpc_actor *actor, const struct tpi_change *c)
{
    struct tpc_core *core = user;
    if (strcmp(c->kind->name, "product") == 0) {
        product_changed(core, c);
    }
    announce(core, actor, c);
}

/* A schedule has come or changed: its worker looks when it is due. */
static void wake_worker(void *user, uint32_t worker)
{
    struct tpc_core *core = user;
    if (tpi_core_running(core)) {
        tpi_worker_poke(&core->workers[worker]);
    }
}

/* ---- making ---- */

static int make(struct tpc_core *core, struct tpc_error *err, struct tpi_entities **ret)
{
    struct tpi_registry_host registry = { .user = core,
                                          .login_key = core->options.secret_key,
                                          .partitions = core->options.partitions,
                                          .codec_find = tpi_part_codec,
                                          .expr = &tpi_core_expr_ops };
    int rc = tpi_part_entities(core, err);
    if (rc == 0 && core->registry == NULL) {
        rc = tpi_registry_create(&core->env, &registry, err, &core->registry);
    }
    struct tpi_rules_host rules = { .user = core,
                                    .registry = core->registry,
                                    .workers = core->worker_count,
                                    .partitions = core->options.partitions,
                                    .command = tpi_command_of_rule,
                                    .wake = wake_worker,
                                    .message = tpi_effect_say,
                                    .fan = tpi_effect_fan,
                                    .change = tpi_effect_switch };
    if (rc == 0 && core->rules == NULL) {
        rc = tpi_rules_create(&core->env, &rules, err, &core->rules);
    }
    if (rc == 0 && core->forward == NULL && (core->options.flags & TPC_CORE_OBSERVE) == 0) {
        rc = tpi_core_forward(core, err);
    }
    rc = rc != 0 ? rc : tpi_core_alerts(core, err);
    struct tpi_entities *e = NULL;
    if (rc == 0) {
        rc = tpi_entities_create(&core->env, &core->entities_part->ops->store,
                                 core->entities_part->self, err, &e);
    }
    bool observing = (core->options.flags & TPC_CORE_OBSERVE) != 0;
    if (rc == 0 && observing) {
        tpi_entities_observe(e);
    }
    if (rc == 0) {
        bool memory = strcmp(core->entities_part->module->desc.name, "memory") == 0;
        uint32_t rows = core->options.audit_max_rows;
        core->command_rows_max = core->options.command_rows_max != 0
                                     ? core->options.command_rows_max
                                 : memory ? COMMAND_MEMORY_ROWS
                                          : COMMAND_ROWS;
        tpi_entities_audit_max(e, rows == 0 && memory ? AUDIT_MEMORY_ROWS : rows);
    }
    if (rc == 0 && core->options.secret_key.len > 0) {
        rc = tpi_entities_set_key(e, core->options.secret_key);
    }
    for (uint32_t i = 0; rc == 0 && i < TPI_REGISTRY_KINDS; i++) {
        rc = tpi_entities_add_kind(e, &tpi_registry_kinds(core->registry)[i], err);
    }
    if (rc == 0 && !observing) {
        rc = tpi_entities_add_kind(e, tpi_rules_kind(core->rules), err);
        for (uint32_t i = 0; rc == 0 && i < TPI_FORWARD_KINDS; i++) {
            rc = tpi_entities_add_kind(e, &tpi_forward_kinds(core->forward)[i], err);
        }
        rc = rc != 0 ? rc : tpi_entities_add_kind(e, tpi_rules_schedule_kind(core->rules), err);
        rc = rc != 0 ? rc : tpi_entities_add_kind(e, tpi_rules_data_kind(core->rules), err);
        rc = rc != 0 ? rc : tpi_entities_add_kind(e, tpi_alerts_kind(core->alerts), err);
        rc = rc != 0 ? rc : tpi_entities_on_change(e, on_change, core);
    }
    rc = rc != 0 ? rc : tpi_entities_load(e, err);
    if (rc != 0) {
        tpi_entities_destroy(e);
        return rc;
    }
    *ret = e;
    return 0;
}

int tpi_core_entities(struct tpc_core *core, struct tpc_error *err)
{
    int rc = 0;
    if (atomic_load_explicit(&core->entities_made, memory_order_acquire)) {
        return 0; /* a look-up of a device takes no lock of the core */
    }
    pthread_mutex_lock(&core->setup_lock);
    if (core->entities == NULL) {
        struct tpi_entities *e = NULL;
        rc = make(core, err, &e);
        if (rc != 0) {
            /* Half-loaded: the next try begins with empty tables. */
            tpi_forward_destroy(core->forward);
            tpi_alerts_destroy(core->alerts);
            tpi_rules_destroy(core->rules);
            core->forward = NULL;
            tpi_registry_destroy(core->registry);
            core->alerts = NULL;
            core->rules = NULL;
            core->registry = NULL;
        }
        core->entities = e;
        atomic_store_explicit(&core->entities_made, rc == 0, memory_order_release);
    }
    pthread_mutex_unlock(&core->setup_lock);
    return rc;
}

/* ---- the program's ---- */

int tpc_entity_put(struct tpc_core *core, const struct tpc_actor *actor, const char *kind,
                   struct tpc_str json, uint64_t expect_rev, struct tpc_entity_info *ret)
{
    if (core == NULL || kind == NULL || json.ptr == NULL) {
        return tpi_fail(TPC_EINVAL, "entity", "core, kind or json is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_entities_put(core->entities, actor, kind, json, expect_rev, err, ret);
    return tpi_fail_end(rc);
}

int tpc_entity_get(struct tpc_core *core, struct tpc_str tenant, const char *kind,
                   struct tpc_str key, tpc_entity_fn *fn, void *user)
{
    if (core == NULL || kind == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "entity", "core, kind or fn is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_entities_get(core->entities, tenant, kind, key, err, fn, user);
    return rc == err->code ? tpi_fail_end(rc) : rc;
}

int tpc_entity_list(struct tpc_core *core, const struct tpc_entity_query *query, tpc_entity_fn *fn,
                    void *user)
{
    if (core == NULL || query == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "entity", "core, query or fn is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_entities_list(core->entities, query, err, fn, user);
    return rc == err->code ? tpi_fail_end(rc) : rc;
}

int tpc_entity_secret(struct tpc_core *core, struct tpc_str tenant, const char *kind,
                      struct tpc_str key, struct tpc_str path, struct tpc_buf *buf)
{
    char text[SECRET_BYTES_MAX + 1];
    if (core == NULL || kind == NULL || buf == NULL) {
        return tpi_fail(TPC_EINVAL, "entity", "core, kind or buf is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    tpi_registry_read_lock(core->registry);
    uint64_t number = tpi_registry_tenant(core->registry, tenant);
    tpi_registry_read_unlock(core->registry);
    rc = number == 0
             ? TPC_ENOENT
             : tpi_entities_secret(core->entities, number, kind, key, path, text, sizeof(text));
    if (rc != 0) {
        return tpi_fail(rc, "entity", "there is no such secret, or it cannot be read");
    }
    buf->need = strlen(text);
    rc = buf->need <= buf->cap ? 0 : TPC_ETOOBIG;
    if (rc == 0 && buf->need > 0) {
        memcpy(buf->ptr, text, buf->need);
    }
    tpi_wipe(text, sizeof(text));
    return rc == 0 ? 0 : tpi_fail(rc, "entity", "the buffer has no room for the secret");
}

int tpc_entity_delete(struct tpc_core *core, const struct tpc_actor *actor, struct tpc_str tenant,
                      const char *kind, struct tpc_str key, uint64_t expect_rev)
{
    if (core == NULL || kind == NULL) {
        return tpi_fail(TPC_EINVAL, "entity", "core or kind is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    struct tpc_device *d = NULL;
    int rc = tpi_core_entities(core, err);
    if (rc == 0 && strcmp(kind, "device") == 0) {
        (void) tpi_registry_open(core->registry, tenant, key, NULL, &d);
    }
    rc = rc != 0 ? rc
                 : tpi_entities_delete(core->entities, actor, tenant, kind, key, expect_rev, err);
    if (rc == 0 && d != NULL) {
        device_gone(core, d);
    } else {
        tpi_device_unref(d);
    }
    return tpi_fail_end(rc);
}

int tpc_entity_refresh(struct tpc_core *core, uint32_t *ret_count)
{
    uint32_t count = 0;
    if (core == NULL) {
        return tpi_fail(TPC_EINVAL, "entity", "core is NULL");
    }
    if ((core->options.flags & TPC_CORE_OBSERVE) == 0) {
        return tpi_fail(TPC_ESTATE, "entity",
                        "the core owns its entities: nobody else changes them");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_entities_refresh(core->entities, err, &count);
    if (ret_count != NULL) {
        *ret_count = count;
    }
    return tpi_fail_end(rc);
}

/* ---- files ---- */

static int read_file(struct tpc_core *core, const char *path, struct tpi_buf *out)
{
    const struct tpc_files *f = core->env.files;
    void *file;
    int native = 0;
    int rc = f->open(f->user, path, TPC_FILE_READ, &file, &native);
    if (rc != 0) {
        return tpi_fail(rc, "entity", "%s: cannot be opened", path);
    }
    int64_t len = f->length(f->user, file, &native);
    rc = len < 0 ? (int) len : len > FILE_BYTES_MAX ? TPC_ETOOBIG : 0;
    rc = rc != 0 ? rc : tpi_buf_reserve(out, (size_t) len + 1);
    while (rc == 0 && out->len < (size_t) len) {
        int64_t got = f->read_at(f->user, file, out->ptr + out->len, (size_t) len - out->len,
                                 out->len, &native);
        if (got <= 0) {
            rc = got < 0 ? (int) got : TPC_EIO;
            break;
        }
        out->len += (size_t) got;
    }
    f->close(f->user, file);
    return rc == 0 ? 0 : tpi_fail(rc, "entity", "%s: cannot be read", path);
}

/* Puts the file's name before an error's text. */
static void name_file(struct tpc_error *err, const char *path)
{
    char why[sizeof(err->text)];
    snprintf(why, sizeof(why), "%.100s: %.150s", path, err->text);
    memcpy(err->text, why, sizeof(why));
}

/* One document; its text is written anew: it may be part of an array. */
static int put_document(struct tpc_core *core, const struct tpc_actor *actor, const char *path,
                        const struct tpc_value *doc, uint32_t index)
{
    struct tpc_str kind = tpc_value_text(tpc_value_get(doc, TPC_STR("kind")));
    struct tpc_str key = tpc_value_text(tpc_value_get(doc, TPC_STR("key")));
    char name[33];
    struct tpi_buf text;
    if (doc->type != TPC_MAP || kind.len == 0 || kind.len >= sizeof(name)) {
        return tpi_fail(TPC_EINVAL, "entity", "%s: entity %u has no kind", path, (unsigned) index);
    }
    memcpy(name, kind.ptr, kind.len);
    name[kind.len] = '\0';
    tpi_buf_init(&text, core->env.alloc, 0);
    struct tpc_buf size = { NULL, 0, 0 };
    (void) tpc_json_write(doc, 0, &size);
    int rc = tpi_buf_reserve(&text, size.need + 1);
    if (rc == 0) {
        struct tpc_buf out = { text.ptr, size.need, 0 };
        (void) tpc_json_write(doc, 0, &out);
        rc = tpc_entity_put(core, actor, name,
                            (struct tpc_str){ (const char *) text.ptr, size.need }, TPC_ANY_REV,
                            NULL);
    }
    tpi_buf_fini(&text);
    if (rc != 0) {
        struct tpc_error e = *tpc_error_last();
        char why[sizeof(e.text)];
        snprintf(why, sizeof(why), "%.60s: %s %.*s: %.120s", path, name,
                 (int) (key.len < 60 ? key.len : 60), key.len > 0 ? key.ptr : "", e.text);
        memcpy(e.text, why, sizeof(why));
        e.code = rc;
        (void) tpi_fail_copy(&e);
    }
    return rc;
}

int tpc_entity_load_file(struct tpc_core *core, const struct tpc_actor *actor, const char *path,
                         uint32_t *ret_count)
{
    if (core == NULL || path == NULL) {
        return tpi_fail(TPC_EINVAL, "entity", "core or path is NULL");
    }
    struct tpi_buf text;
    struct tpc_arena *arena = NULL;
    struct tpc_value all;
    uint32_t count = 0;
    tpi_buf_init(&text, core->env.alloc, 0);
    int rc = read_file(core, path, &text);
    if (rc == 0) {
        rc = tpc_arena_create(core->env.alloc, FILE_ARENA_BYTES, &arena);
        struct tpc_str s = { (const char *) text.ptr, text.len };
        struct tpc_error *err = tpi_fail_begin();
        rc = rc != 0 ? rc : tpc_json_parse(arena, s, 0, err, &all);
        if (rc == TPC_EDECODE || rc == TPC_ETOOBIG) {
            name_file(err, path);
        }
        rc = tpi_fail_end(rc);
    }
    if (rc == 0) {
        uint32_t n = all.type == TPC_ARRAY ? (uint32_t) all.len : 1;
        const struct tpc_value *items = all.type == TPC_ARRAY ? all.as.items : &all;
        for (; rc == 0 && count < n; count += rc == 0) {
            rc = put_document(core, actor, path, &items[count], count);
        }
    }
    tpc_arena_destroy(arena);
    tpi_buf_fini(&text);
    if (ret_count != NULL) {
        *ret_count = count;
    }
    return rc;
}
