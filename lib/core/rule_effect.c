/* What rules want done that needs the store: finding devices, and switching entities on and off. */
#include <string.h>
#include <tpcore/json.h>

#include "core/core.h"

enum { SWITCH_TRIES = 3, DOC_ARENA_BYTES = 4 << 20 };

/* ---- devices that have something in common ---- */

struct fan {
    struct tpi_effect effect;
    struct tpi_fan *fan;
};

struct found {
    uint64_t devices[TPI_RULES_MAX_TARGETS];
    uint32_t count;
    bool more;
};

static int on_device(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    struct found *f = user;
    (void) key;
    (void) json;
    if (f->count == TPI_RULES_MAX_TARGETS) {
        f->more = true;
        return 0;
    }
    f->devices[f->count++] = info->id;
    return 0;
}

static int last_key(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                    struct tpc_str json)
{
    struct tpi_buf *b = user;
    (void) info;
    (void) json;
    tpi_buf_clear(b);
    return tpi_buf_text(b, key);
}

struct keyed {
    struct found *found;
    struct tpi_buf key;
};

static int on_member(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    struct keyed *k = user;
    (void) on_device(k->found, info, key, json);
    return last_key(&k->key, info, key, json);
}

/* A group is told in pages. */
static int find_group(struct tpc_core *core, const struct tpi_fan *fan, struct found *ret)
{
    struct keyed k = { .found = ret };
    tpi_buf_init(&k.key, core->env.alloc, 0);
    int rc = tpc_group_list(core, fan->tenant, fan->group, (struct tpc_str){ NULL, 0 },
                            TPI_RULES_MAX_TARGETS, on_member, &k);
    if (rc == 0 && ret->count == TPI_RULES_MAX_TARGETS) {
        struct tpc_str after = { (const char *) k.key.ptr, k.key.len };
        struct tpi_buf copy;
        tpi_buf_init(&copy, core->env.alloc, 0);
        rc = tpi_buf_text(&copy, after);
        after.ptr = (const char *) copy.ptr;
        rc = rc != 0 ? rc : tpc_group_list(core, fan->tenant, fan->group, after, 1, on_member, &k);
        tpi_buf_fini(&copy);
    }
    tpi_buf_fini(&k.key);
    return rc;
}

static int find_devices(struct tpc_core *core, const struct tpi_fan *fan, struct found *ret)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    if (fan->group.len > 0) {
        return find_group(core, fan, ret);
    }
    q.tenant = fan->tenant;
    q.kind = TPC_STR("device");
    q.select = fan->select;
    q.limit = TPI_RULES_MAX_TARGETS + 1;
    if (fan->product.len > 0) {
        q.field = TPC_STR("product");
        q.value = fan->product;
    }
    return tpi_entities_list(core->entities, &q, &err, on_device, ret);
}

static void free_fan(struct tpc_core *core, struct fan *f)
{
    atomic_fetch_sub(&core->rule_pending, 1);
    tpi_free(core->env.alloc, f, sizeof(*f));
}

static void drop_fan(struct tpi_worker *w, struct tpi_node *node)
{
    struct fan *f = (struct fan *) (void *) node;
    tpi_fan_drop(w->core->rules, f->fan);
    free_fan(w->core, f);
}

static void run_fan(struct tpi_worker *w, struct tpi_node *node)
{
    struct fan *f = (struct fan *) (void *) node;
    struct tpc_core *core = w->core;
    struct found *found = tpi_alloc_zero(core->env.alloc, sizeof(*found));
    int rc = found != NULL ? find_devices(core, f->fan, found) : TPC_ENOMEM;
    if (rc != 0 && tpi_effect_hold(w, &f->effect, rc)) {
        tpi_free(core->env.alloc, found, sizeof(*found));
        return;
    }
    tpi_fan_done(core->rules, w->index, f->fan, rc, found != NULL ? found->devices : NULL,
                 found != NULL ? found->count : 0, found != NULL && found->more);
    tpi_free(core->env.alloc, found, sizeof(*found));
    free_fan(core, f);
    tpi_effects_run(w);
}

int tpi_effect_fan(void *user, uint32_t worker, struct tpi_fan *fan)
{
    struct tpc_core *core = user;
    struct fan *f = tpi_alloc(core->env.alloc, sizeof(*f));
    if (f == NULL) {
        return TPC_ENOMEM;
    }
    *f = (struct fan){ .effect = { .node = { .run = run_fan, .drop = drop_fan },
                                   .partition = fan->partition },
                       .fan = fan };
    tpi_effect_queue(&core->workers[worker], &f->effect);
    return 0;
}

/* ---- entities ---- */

/* Its texts follow. */
struct change {
    struct tpi_effect effect;
    size_t bytes;
    struct tpc_str tenant, kind, key, by;
    int64_t unix_ms;
    bool enabled;
    bool again;
};

static void free_change(struct tpc_core *core, struct change *c)
{
    atomic_fetch_sub(&core->rule_pending, 1);
    tpi_free(core->env.alloc, c, c->bytes);
}

static void drop_change(struct tpi_worker *w, struct tpi_node *node)
{
    free_change(w->core, (struct change *) (void *) node);
}

struct entity {
    struct tpc_arena *arena;
    struct tpc_str json;
    struct tpc_entity_info info;
};

static int copy_entity(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                       struct tpc_str json)
{
    struct entity *e = user;
    (void) key;
    char *text = tpc_arena_take(e->arena, json.len + 1);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(text, json.ptr, json.len);
    e->json = (struct tpc_str){ text, json.len };
    e->info = *info;
    return 0;
}

/* The document with its member "enabled" as it shall be; *ret_same: it is so already. */
static int switch_doc(struct entity *e, bool enabled, struct tpc_error *err, bool *ret_same,
                      struct tpc_str *ret)
{
    struct tpc_value doc;
    int rc = tpc_json_parse(e->arena, e->json, 0, err, &doc);
    if (rc != 0 || doc.type != TPC_MAP) {
        return rc != 0 ? rc : TPC_ECORRUPT;
    }
    const struct tpc_value *old = tpc_value_get(&doc, TPC_STR("enabled"));
    *ret_same = old != NULL && old->type == TPC_BOOL && old->as.b == enabled;
    struct tpc_member *m = tpc_arena_take(e->arena, (doc.len + 1) * sizeof(*m));
    if (m == NULL) {
        return TPC_ENOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < doc.len; i++) {
        if (!tpc_str_equal(doc.as.members[i].key, TPC_STR("enabled"))) {
            m[n++] = doc.as.members[i];
        }
    }
    m[n++] = (struct tpc_member){ TPC_STR("enabled"), { .type = TPC_BOOL, .as.b = enabled } };
    doc.as.members = m;
    doc.len = n;
    struct tpc_buf size = { NULL, 0, 0 };
    (void) tpc_json_write(&doc, 0, &size);
    uint8_t *text = tpc_arena_take(e->arena, size.need + 1);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    struct tpc_buf out = { text, size.need, 0 };
    *ret = (struct tpc_str){ (const char *) text, size.need };
    return tpc_json_write(&doc, 0, &out);
}

static int switch_once(struct tpc_core *core, const struct change *c, struct tpc_arena *arena,
                       struct tpc_error *err)
{
    struct entity e = { .arena = arena };
    struct tpc_str json;
    char kind[33];
    bool same = false;
    if (c->kind.len >= sizeof(kind)) {
        return TPC_EINVAL;
    }
    memcpy(kind, c->kind.ptr, c->kind.len);
    kind[c->kind.len] = '\0';
    int rc = tpi_entities_get(core->entities, c->tenant, kind, c->key, err, copy_entity, &e);
    if (rc != 0 || (c->again && e.info.modified_unix_ms >= c->unix_ms)) {
        return rc; /* it was done before the start, or somebody has decided since */
    }
    rc = switch_doc(&e, c->enabled, err, &same, &json);
    if (rc != 0 || same) {
        return rc;
    }
    struct tpc_actor actor = { .size = sizeof(actor), .type = TPC_ACTOR_RULE, .name = c->by };
    return tpi_entities_put(core->entities, &actor, kind, json, e.info.revision, err, NULL);
}

/* As any put of the program, but that nobody waits for it. */
static void run_change(struct tpi_worker *w, struct tpi_node *node)
{
    struct change *c = (struct change *) (void *) node;
    struct tpc_core *core = w->core;
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_arena *arena = NULL;
    int rc = TPC_ECONFLICT;
    for (int i = 0; i < SWITCH_TRIES && rc == TPC_ECONFLICT; i++) {
        arena = NULL;
        err = (struct tpc_error){ .size = sizeof(err) };
        rc = tpc_arena_create(core->env.alloc, DOC_ARENA_BYTES, &arena);
        rc = rc != 0 ? rc : switch_once(core, c, arena, &err);
        tpc_arena_destroy(arena);
    }
    if (rc != 0 && tpi_effect_hold(w, &c->effect, rc)) {
        return;
    }
    if (rc != 0) {
        tpi_count(&core->counters.rule_switches_failed, 1);
        tpi_log(&core->env, TPC_LOG_WARN, "rules", "%.*s: %.*s '%.*s' is not switched %s: %s",
                (int) c->by.len, c->by.ptr, (int) c->kind.len, c->kind.ptr, (int) c->key.len,
                c->key.ptr, c->enabled ? "on" : "off",
                err.text[0] != '\0' ? err.text : tpc_error_name(rc));
    }
    free_change(core, c);
}

/* After all that the batch has set off: a rule that switches itself off does the rest. */
static void post_change(struct tpi_worker *w, struct tpi_node *node)
{
    node->run = run_change;
    tpi_worker_post(w, node);
}

static struct tpc_str put(char **at, struct tpc_str s)
{
    struct tpc_str copy = { *at, s.len };
    memcpy(*at, s.len > 0 ? s.ptr : "", s.len);
    *at += s.len;
    return copy;
}

int tpi_effect_switch(void *user, uint32_t worker, const struct tpi_rule_switch *s)
{
    struct tpc_core *core = user;
    size_t bytes = sizeof(struct change) + s->tenant.len + s->kind.len + s->key.len + s->by.len;
    struct change *c = tpi_alloc(core->env.alloc, bytes);
    if (c == NULL) {
        return TPC_ENOMEM;
    }
    char *at = (char *) (c + 1);
    *c = (struct change){ .effect = { .node = { .run = post_change, .drop = drop_change },
                                      .partition = s->partition },
                          .bytes = bytes,
                          .unix_ms = s->unix_ms,
                          .enabled = s->enabled,
                          .again = core->replaying || s->again };
    c->tenant = put(&at, s->tenant);
    c->kind = put(&at, s->kind);
    c->key = put(&at, s->key);
    c->by = put(&at, s->by);
    tpi_effect_queue(&core->workers[worker], &c->effect);
    return 0;
}
