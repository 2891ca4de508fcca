#include "entity/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/error.h"
#include "data/option.h"
#include "entity/audit.h"

enum { OWN_OPS = 3 /* entity, secrets, number */, NUMBER_BYTES = 24 };

int tpi_entities_create(const struct tpi_env *env, const struct tpc_store_ops *ops,
                        void *store_self, struct tpc_error *err, struct tpi_entities **ret)
{
    if (ops == NULL || !TPC_HAS(ops, struct tpc_store_ops, transact) ||
        !TPC_HAS(ops, struct tpc_store_ops, get) || !TPC_HAS(ops, struct tpc_store_ops, query)) {
        return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin,
                             "the store lacks transact, get or query");
    }
    struct tpi_entities *e = tpi_alloc_zero(env->alloc, sizeof(*e));
    if (e == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    if (pthread_mutex_init(&e->lock, NULL) != 0) {
        tpi_free(env->alloc, e, sizeof(*e));
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "cannot make a lock");
    }
    e->env = env;
    e->ops = ops;
    e->store = store_self;
    e->next_id = 1;
    tpi_map_init(&e->tenants, env->alloc);
    *ret = e;
    return 0;
}

void tpi_entities_destroy(struct tpi_entities *e)
{
    if (e == NULL) {
        return;
    }
    size_t iter = 0;
    void *slot;
    while (tpi_map_next(&e->tenants, &iter, NULL, &slot)) {
        tpi_tenant_slot_free(e, slot);
    }
    tpi_map_fini(&e->tenants);
    pthread_mutex_destroy(&e->lock);
    tpi_wipe(e->seal_key, sizeof(e->seal_key));
    tpi_free(e->env->alloc, e, sizeof(*e));
}

const struct tpi_kind_slot *tpi_entity_kind(const struct tpi_entities *e, struct tpc_str name)
{
    for (uint32_t i = 0; i < e->kind_count; i++) {
        if (tpc_str_equal(e->kinds[i].name, name) != 0) {
            return &e->kinds[i];
        }
    }
    return NULL;
}

static bool kind_name_valid(const char *name)
{
    size_t n = name == NULL ? 0 : strlen(name);
    for (size_t i = 0; i < n; i++) {
        char ch = name[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '_')) {
            return false;
        }
    }
    return n >= 1 && n <= 32;
}

/* Why a schema cannot be, or NULL. */
static const char *schema_fault(const struct tpc_list *schema)
{
    uint32_t indexed = 0;
    for (uint32_t i = 0; i < schema->count; i++) {
        const struct tpc_option *o = TPC_LIST_AT(struct tpc_option, *schema, i);
        if ((o->flags & TPC_OPT_INDEXED) == 0) {
            continue;
        }
        bool texts = o->type == TPC_OPT_LIST && o->elem != NULL && o->elem->type == TPC_OPT_TEXT;
        if (o->type != TPC_OPT_TEXT && o->type != TPC_OPT_ENUM && o->type != TPC_OPT_BOOL &&
            o->type != TPC_OPT_INT && o->type != TPC_OPT_UINT && o->type != TPC_OPT_TABLE &&
            !texts) {
            return "an indexed member is no text, enum, bool, int, uint, table or list of texts";
        }
        indexed++;
    }
    if (indexed > TPI_ENTITY_MAX_FIELDS) {
        return "more than 16 indexed members";
    }
    return tpi_secret_placed(schema, false) ? NULL : "a secret stands inside a list";
}

int tpi_entities_add_kind(struct tpi_entities *e, const struct tpi_kind *kind,
                          struct tpc_error *err)
{
    if (!kind_name_valid(kind->name) || kind->version == 0) {
        return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin,
                             "a kind needs a name and a version");
    }
    const char *fault = schema_fault(&kind->schema);
    if (fault != NULL) {
        return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin, "kind \"%s\": %s", kind->name,
                             fault);
    }
    bool tenants = strcmp(kind->name, "tenant") == 0;
    if (e->loaded || e->kind_count == TPI_ENTITY_MAX_KINDS || (e->kind_count == 0) != tenants) {
        return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin,
                             "kind \"%s\": too late, too many, or \"tenant\" is not the first",
                             kind->name);
    }
    struct tpc_str name = tpc_str_from(kind->name);
    if (tpi_entity_kind(e, name) != NULL) {
        return tpi_error_set(err, TPC_EEXIST, tpi_entity_origin, "kind \"%s\" is there already",
                             kind->name);
    }
    e->kinds[e->kind_count++] =
        (struct tpi_kind_slot){ kind, name,
                                tpi_secret_any(&kind->schema) || kind->schema_of != NULL, tenants };
    return 0;
}

int tpi_entities_on_change(struct tpi_entities *e, tpi_change_fn *fn, void *user)
{
    if (e->listener_count == TPI_ENTITY_LISTENERS) {
        return TPC_ETOOBIG;
    }
    e->listeners[e->listener_count].fn = fn;
    e->listeners[e->listener_count++].user = user;
    return 0;
}

const struct tpi_tenant_slot *tpi_entity_tenant(const struct tpi_entities *e, struct tpc_str key)
{
    return tpi_map_get(&e->tenants, key.ptr, key.len);
}

struct tpi_tenant_slot *tpi_tenant_slot_make(struct tpi_entities *e, struct tpc_str key,
                                             uint64_t id)
{
    struct tpi_tenant_slot *slot = tpi_alloc(e->env->alloc, sizeof(*slot) + key.len + 1);
    if (slot == NULL) {
        return NULL;
    }
    char *text = (char *) (slot + 1);
    memcpy(text, key.ptr, key.len);
    text[key.len] = 0;
    slot->id = id;
    slot->key = (struct tpc_str){ text, key.len };
    if (tpi_map_put(&e->tenants, key.ptr, key.len, slot, NULL) != 0) {
        tpi_tenant_slot_free(e, slot);
        return NULL;
    }
    return slot;
}

void tpi_tenant_slot_free(struct tpi_entities *e, struct tpi_tenant_slot *slot)
{
    tpi_free(e->env->alloc, slot, sizeof(*slot) + slot->key.len + 1);
}

static int no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
}

/* The tenant of a change; its key is copied, for the tenant may be deleted before the listeners are
 * done. */
static int set_tenant(struct tpi_entities *e, struct tpc_str key, struct tpi_change *change,
                      struct tpc_error *err)
{
    const struct tpi_tenant_slot *t = tpi_entity_tenant(e, key);
    if (t == NULL) {
        return tpi_error_set(err, TPC_ENOENT, tpi_entity_origin, "there is no tenant \"%.*s\"",
                             (int) (key.len > 128 ? 128 : key.len), key.ptr);
    }
    char *text = tpc_arena_take(change->arena, t->key.len + 1);
    if (text == NULL) {
        return no_memory(err);
    }
    memcpy(text, t->key.ptr, t->key.len);
    text[t->key.len] = 0;
    change->tenant = t->id;
    change->tenant_key = (struct tpc_str){ text, t->key.len };
    return 0;
}

static int bad_member(struct tpc_error *err, const char *member, const char *text)
{
    tpi_error_set(err, TPC_EINVAL, tpi_entity_origin, "%s", text);
    tpi_error_at(err, member);
    return TPC_EINVAL;
}

/* Members that every kind has: fills tenant and key of the change. */
static int read_head(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                     const struct tpc_value *doc, struct tpi_change *change, struct tpc_error *err)
{
    const struct tpc_value *key = tpc_value_get(doc, TPC_STR("key"));
    const struct tpc_value *tenant = tpc_value_get(doc, TPC_STR("tenant"));
    const struct tpc_value *kind = tpc_value_get(doc, TPC_STR("kind"));
    if (kind != NULL && tpc_str_equal(tpc_value_text(kind), slot->name) == 0) {
        return bad_member(err, "kind", "is another kind than the one asked for");
    }
    if (key == NULL || key->type != TPC_TEXT || !tpi_key_valid(tpc_value_text(key))) {
        return bad_member(err, "key",
                          key == NULL ? "is missing"
                                      : "is no text of 1 to 128 bytes without control bytes");
    }
    change->key = tpc_value_text(key);
    if (slot->tenants) {
        change->tenant_key = change->key;
        return tenant == NULL ? 0 : bad_member(err, "tenant", "a tenant is in no tenant");
    }
    struct tpc_str name = TPC_STR("main");
    if (tenant != NULL && tenant->type != TPC_TEXT) {
        return bad_member(err, "tenant", "is not text");
    }
    if (tenant != NULL && tenant->len > 0) {
        name = tpc_value_text(tenant);
    }
    int rc = set_tenant(e, name, change, err);
    if (rc != 0) {
        tpi_error_at(err, "tenant");
    }
    return rc;
}

/* What is there now, and whether that is what the caller expects. */
static int read_old(struct tpi_entities *e, const struct tpi_kind_slot *slot, uint64_t expect_rev,
                    struct tpi_change *change, struct tpc_error *err, struct tpc_bytes *ret_doc)
{
    struct tpi_entity_row row = { .id = 0 };
    int rc = tpi_entity_row_get(e, TPC_SPACE_ENTITY, slot->name, change->tenant, change->key,
                                change->arena, err, &row);
    *ret_doc = row.doc;
    if (rc != 0 && rc != TPC_ENOENT) {
        return rc;
    }
    if (rc == 0) {
        change->id = row.id;
        change->old_revision = row.revision;
        change->created_unix_ms = row.created_unix_ms;
    }
    if (expect_rev != TPC_ANY_REV && expect_rev != change->old_revision) {
        return tpi_error_set(err, TPC_ECONFLICT, tpi_entity_origin,
                             "revision %" PRIu64 " is there, %" PRIu64 " was expected",
                             change->old_revision, expect_rev);
    }
    return 0;
}

int tpi_entity_check(const struct tpi_kind_slot *slot, const struct tpc_value *full,
                     struct tpi_change *change, struct tpc_error *err)
{
    struct tpc_value *doc = tpc_arena_take(change->arena, sizeof(*doc));
    const struct tpc_list *schema = tpi_entity_schema(slot, full, change->arena);
    if (doc == NULL || schema == NULL) {
        return no_memory(err);
    }
    int rc = tpi_option_check(schema, full, TPI_OPTION_KEEP_UNKNOWN, change->arena, err, doc);
    if (rc == 0) {
        change->doc = doc;
    }
    return rc;
}

/* Takes the secrets out of doc: change->json and *ret_secrets (a map); change->doc has them in. */
static int part_secrets(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                        const struct tpc_value *doc, struct tpi_change *change,
                        struct tpc_error *err, struct tpc_value *ret_stored,
                        struct tpc_value *ret_secrets)
{
    const struct tpc_list *schema = tpi_entity_schema(slot, doc, change->arena);
    struct tpc_value stored = { TPC_NULL, 0, 0, { .i = 0 } };
    struct tpc_value full, bare, given;
    int rc = change->old_revision == 0 ? 0 : tpi_secret_read(e, change, err, &stored);
    if (rc != 0 || schema == NULL) {
        return rc != 0 ? rc : no_memory(err);
    }
    *ret_stored = stored;
    if (tpi_secret_merge(schema, doc, stored.type == TPC_MAP ? &stored : NULL, change->arena,
                         &full) != 0) {
        return no_memory(err);
    }
    rc = tpi_entity_check(slot, &full, change, err);
    if (rc != 0) {
        return rc;
    }
    rc = tpi_secret_collect(schema, &full, change->arena, ret_secrets);
    if (rc != 0) {
        return tpi_error_set(err, rc, tpi_entity_origin, "too many secrets, or out of memory");
    }
    /* A document that holds no secret stays byte by byte as it is. */
    if (tpi_secret_collect(schema, doc, change->arena, &given) != 0) {
        return no_memory(err);
    }
    if (given.len == 0) {
        return 0;
    }
    if (tpi_secret_strip(schema, doc, change->arena, &bare) != 0) {
        return no_memory(err);
    }
    return tpi_entity_json(&bare, change->arena, &change->json) == 0 ? 0 : no_memory(err);
}

static struct tpc_row make_row(const struct tpi_change *change, const struct tpi_kind_slot *slot,
                               uint32_t space, struct tpc_str doc)
{
    return (struct tpc_row){ .size = sizeof(struct tpc_row),
                             .space = space,
                             .kind = slot->name,
                             .tenant = change->tenant,
                             .key = change->key,
                             .id = change->id,
                             .revision = change->revision,
                             .created_unix_ms = change->created_unix_ms,
                             .modified_unix_ms = change->modified_unix_ms,
                             .doc = { (const uint8_t *) doc.ptr, doc.len } };
}

static struct tpc_store_op make_op(uint32_t type, uint64_t expect, struct tpc_row row)
{
    return (struct tpc_store_op){
        .size = sizeof(struct tpc_store_op), .type = type, .expect = expect, .row = row
    };
}

/* Row with the last number given out. */
static struct tpc_store_op number_op(const struct tpi_change *change, char *text)
{
    snprintf(text, NUMBER_BYTES, "%" PRIu64, change->id);
    struct tpc_row row = { .size = sizeof(row),
                           .space = TPC_SPACE_META,
                           .kind = TPC_STR("counter"),
                           .key = TPC_STR("entity_id"),
                           .id = change->id,
                           .revision = change->id,
                           .created_unix_ms = change->modified_unix_ms,
                           .modified_unix_ms = change->modified_unix_ms,
                           .doc = { (const uint8_t *) text, strlen(text) } };
    return make_op(TPC_STORE_PUT, TPC_ANY_REV, row);
}

/* The rows that a prepared change comes to. */
static int make_ops(const struct tpi_audit_change *what, struct tpi_staged *s,
                    struct tpc_error *err)
{
    const struct tpc_value *secrets = what->new_secrets;
    struct tpi_change *change = &s->change;
    const struct tpi_kind_slot *slot = s->slot;
    char *number = tpc_arena_take(change->arena, NUMBER_BYTES);
    struct tpc_row row = make_row(change, slot, TPC_SPACE_ENTITY, change->json);
    s->ops = tpc_arena_take(change->arena,
                            (OWN_OPS + TPI_AUDIT_OPS + change->op_count) * sizeof(*s->ops));
    if (number == NULL || s->ops == NULL) {
        return no_memory(err);
    }
    int rc = tpi_entity_fields(&slot->kind->schema, change->doc, false, change->arena, &row, err);
    if (rc != 0) {
        return rc;
    }
    uint32_t n = 0;
    s->ops[n++] = make_op(TPC_STORE_PUT, change->old_revision, row);
    if (slot->secrets && secrets->len > 0) {
        struct tpc_str text;
        if (tpi_entity_json(secrets, change->arena, &text) != 0) {
            return no_memory(err);
        }
        struct tpc_row secret = make_row(change, slot, TPC_SPACE_SECRET, text);
        rc = tpi_secret_bytes(change->entities, &secret, text, change->arena, err, &secret.doc);
        if (rc != 0) {
            return rc;
        }
        s->ops[n++] = make_op(TPC_STORE_PUT, TPC_ANY_REV, secret);
    } else if (slot->secrets && change->old_revision != 0) {
        s->ops[n++] =
            make_op(TPC_STORE_DELETE, TPC_ANY_REV,
                    make_row(change, slot, TPC_SPACE_SECRET, (struct tpc_str){ NULL, 0 }));
    }
    if (change->old_revision == 0) {
        s->ops[n++] = number_op(change, number);
    }
    for (uint32_t i = 0; i < change->op_count; i++) {
        s->ops[n++] = change->ops[i];
    }
    rc = tpi_audit_stage(change->entities, change, what, &s->ops[n], &s->audit_ops, err);
    s->op_count = n + s->audit_ops;
    return rc;
}

/* Prepared and stored: what cannot fail any more. */
static void apply(const struct tpi_kind *kind, struct tpi_change *change)
{
    if (kind->apply != NULL) {
        kind->apply(kind->user, change);
    }
}

static void discard(const struct tpi_kind *kind, struct tpi_change *change)
{
    if (kind->discard != NULL) {
        kind->discard(kind->user, change);
    }
}

void tpi_entity_apply(struct tpi_entities *e, struct tpi_staged *s)
{
    (void) e;
    apply(s->slot->kind, &s->change);
}

void tpi_entity_discard(struct tpi_entities *e, struct tpi_staged *s)
{
    discard(s->slot->kind, &s->change);
    tpi_audit_undo(e, s->audit_ops);
    s->audit_ops = 0;
    if (s->tenant != NULL) {
        tpi_map_remove(&e->tenants, s->change.key.ptr, s->change.key.len);
        tpi_tenant_slot_free(e, s->tenant);
    }
    e->next_id -= s->change.old_revision == 0;
}

/* A checked change: prepared, and its rows made. */
static int prepare_put(struct tpi_entities *e, const struct tpi_audit_change *what,
                       struct tpi_staged *s, struct tpc_error *err)
{
    const struct tpi_kind *kind = s->slot->kind;
    struct tpi_change *change = &s->change;
    bool fresh = change->old_revision == 0;
    int rc = kind->prepare == NULL ? 0 : kind->prepare(kind->user, change, err);
    if (rc != 0) {
        return rc;
    }
    e->next_id += fresh ? 1 : 0;
    if (s->slot->tenants && fresh) {
        s->tenant = tpi_tenant_slot_make(e, change->key, change->id);
        rc = s->tenant == NULL ? no_memory(err) : 0;
    }
    rc = rc != 0 ? rc : make_ops(what, s, err);
    if (rc != 0) {
        tpi_entity_discard(e, s);
    }
    return rc;
}

/* What is there, changed by a merge patch, as a document of its own. */
static int patch_old(struct tpc_bytes old, struct tpi_change *change, struct tpc_error *err,
                     const struct tpc_value **doc)
{
    struct tpc_value *merged = tpc_arena_take(change->arena, sizeof(*merged));
    struct tpc_value before = { TPC_MAP, 0, 0, { .members = NULL } };
    int rc = 0;
    if (change->old_revision != 0) {
        struct tpc_str json = { (const char *) old.ptr, old.len };
        rc = tpc_json_parse(change->arena, json, 0, err, &before);
    }
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc
                                : tpi_error_set(err, TPC_ECORRUPT, tpi_entity_origin,
                                                "the stored document is damaged");
    }
    if (merged == NULL || tpi_entity_patch(&before, *doc, change->arena, 0, merged) != 0 ||
        tpi_entity_json(merged, change->arena, &change->json) != 0) {
        return no_memory(err);
    }
    *doc = merged;
    return 0;
}

static int check_there(const struct tpi_change *change, uint32_t flags, struct tpc_error *err)
{
    bool there = change->old_revision != 0;
    if (there && (flags & TPI_PUT_CREATE) != 0) {
        return tpi_error_set(err, TPC_EEXIST, tpi_entity_origin, "it is there already");
    }
    if (!there && (flags & TPI_PUT_UPDATE) != 0) {
        return tpi_error_set(err, TPC_ENOENT, tpi_entity_origin, "it is not there");
    }
    return 0;
}

/* What was stored, for the audit trail; one that is damaged counts as empty. */
static int parse_old(struct tpc_bytes old, struct tpi_change *change, struct tpc_error *err,
                     struct tpc_value *ret)
{
    struct tpc_str json = { (const char *) old.ptr, old.len };
    *ret = (struct tpc_value){ .type = TPC_NULL };
    if (change->old_revision == 0 || json.len == 0) {
        return 0;
    }
    int rc = tpc_json_parse(change->arena, json, 0, NULL, ret);
    return rc == TPC_ENOMEM ? no_memory(err) : 0;
}

static int bare(const struct tpi_kind_slot *slot, const struct tpc_value *doc,
                struct tpi_change *change, struct tpc_error *err, struct tpc_value *ret)
{
    *ret = *doc;
    if (!slot->secrets) {
        return 0;
    }
    const struct tpc_list *schema = tpi_entity_schema(slot, doc, change->arena);
    return schema == NULL || tpi_secret_strip(schema, doc, change->arena, ret) != 0 ? no_memory(err)
                                                                                    : 0;
}

int tpi_entity_stage(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                     const struct tpc_value *doc, struct tpc_str json, uint64_t expect_rev,
                     uint32_t flags, struct tpi_staged *s, struct tpc_error *err)
{
    struct tpc_value secrets = { TPC_MAP, 0, 0, { .members = NULL } };
    struct tpi_change *change = &s->change;
    struct tpc_bytes old;
    s->slot = slot;
    s->tenant = NULL;
    s->audit_ops = 0;
    change->kind = slot->kind;
    change->entities = e;
    change->json = json;
    int rc = read_head(e, slot, doc, change, err);
    rc = rc != 0 ? rc : read_old(e, slot, expect_rev, change, err, &old);
    rc = rc != 0 ? rc : check_there(change, flags, err);
    if (rc == 0 && (flags & TPI_PUT_PATCH) != 0) {
        rc = patch_old(old, change, err, &doc);
    }
    if (rc != 0) {
        return rc;
    }
    if (change->json.len > TPI_ENTITY_MAX_BYTES) {
        return tpi_error_set(err, TPC_ETOOBIG, tpi_entity_origin, "the document has over %d bytes",
                             TPI_ENTITY_MAX_BYTES);
    }
    int64_t now = tpi_unix_ms(e->env);
    change->modified_unix_ms = now;
    change->revision = change->old_revision + 1;
    if (change->old_revision == 0) {
        change->id = e->next_id;
        change->created_unix_ms = now;
    }
    struct tpc_value stored = { .type = TPC_NULL };
    rc = slot->secrets ? part_secrets(e, slot, doc, change, err, &stored, &secrets)
                       : tpi_entity_check(slot, doc, change, err);
    struct tpc_value before, after;
    struct tpi_audit_change what = {
        .old_doc = &before, .new_doc = &after, .old_secrets = &stored, .new_secrets = &secrets
    };
    rc = rc != 0 ? rc : parse_old(old, change, err, &before);
    rc = rc != 0 ? rc : bare(slot, doc, change, err, &after);
    return rc != 0 ? rc : prepare_put(e, &what, s, err);
}

int tpi_entity_put_locked(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                          const struct tpc_value *doc, struct tpc_str json, uint64_t expect_rev,
                          struct tpi_staged *s, struct tpc_error *err)
{
    int rc = tpi_entity_stage(e, slot, doc, json, expect_rev, 0, s, err);
    if (rc != 0) {
        return rc;
    }
    rc = tpi_entity_transact(e, s->ops, s->op_count, err);
    if (rc != 0) {
        tpi_entity_discard(e, s);
        return rc;
    }
    tpi_entity_apply(e, s);
    return 0;
}

void tpi_entity_announce(struct tpi_entities *e, const struct tpc_actor *actor,
                         const struct tpi_change *change)
{
    for (uint32_t i = 0; i < e->listener_count; i++) {
        e->listeners[i].fn(e->listeners[i].user, actor, change);
    }
}

static void fill_info(const struct tpi_change *change, struct tpc_entity_info *ret)
{
    *ret = (struct tpc_entity_info){ .size = sizeof(*ret),
                                     .id = change->id,
                                     .revision = change->revision,
                                     .created_unix_ms = change->created_unix_ms,
                                     .modified_unix_ms = change->modified_unix_ms };
}

static int unknown_kind(const struct tpi_entities *e, const char *kind, struct tpc_error *err)
{
    if (!e->loaded) {
        return tpi_error_set(err, TPC_ESTATE, tpi_entity_origin, "entities are not loaded yet");
    }
    return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin, "there is no kind \"%.64s\"",
                         kind == NULL ? "" : kind);
}

static int put(struct tpi_entities *e, const struct tpi_kind_slot *slot, struct tpc_str json,
               uint64_t expect_rev, struct tpi_staged *s, struct tpc_error *err)
{
    struct tpc_value doc;
    int rc = tpc_json_parse(s->change.arena, json, 0, err, &doc);
    if (rc != 0) {
        return rc;
    }
    if (doc.type != TPC_MAP) {
        return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin, "the document is not an object");
    }
    pthread_mutex_lock(&e->lock);
    rc = tpi_entity_put_locked(e, slot, &doc, json, expect_rev, s, err);
    pthread_mutex_unlock(&e->lock);
    return rc;
}

int tpi_entities_put(struct tpi_entities *e, const struct tpc_actor *actor, const char *kind,
                     struct tpc_str json, uint64_t expect_rev, struct tpc_error *err,
                     struct tpc_entity_info *ret)
{
    const struct tpi_kind_slot *slot = e->loaded ? tpi_entity_kind(e, tpc_str_from(kind)) : NULL;
    struct tpi_staged s = { .slot = NULL };
    if (slot == NULL) {
        return unknown_kind(e, kind, err);
    }
    if (json.len > TPI_ENTITY_MAX_BYTES) {
        return tpi_error_set(err, TPC_ETOOBIG, tpi_entity_origin, "the document has over %d bytes",
                             TPI_ENTITY_MAX_BYTES);
    }
    if (tpc_arena_create(e->env->alloc, 0, &s.change.arena) != 0) {
        return no_memory(err);
    }
    s.change.actor = actor;
    int rc = put(e, slot, json, expect_rev, &s, err);
    if (rc == 0) {
        tpi_entity_announce(e, actor, &s.change);
        if (ret != NULL) {
            fill_info(&s.change, ret);
        }
    }
    tpc_arena_destroy(s.change.arena);
    return rc;
}

static int probe(void *user, const struct tpc_row *row)
{
    (void) row;
    *(bool *) user = true;
    return 0;
}

/* A tenant that has anything, and "main", stay. */
static int tenant_free(struct tpi_entities *e, const struct tpi_change *change,
                       struct tpc_error *err)
{
    if (tpc_str_equal(change->key, TPC_STR("main")) != 0) {
        return tpi_error_set(err, TPC_ESTATE, tpi_entity_origin, "tenant \"main\" always exists");
    }
    for (uint32_t i = 1; i < e->kind_count; i++) {
        bool found = false;
        struct tpc_store_query q = { .size = sizeof(q),
                                     .space = TPC_SPACE_ENTITY,
                                     .kind = e->kinds[i].name,
                                     .tenant = change->id,
                                     .limit = 1 };
        int rc = e->ops->query(e->store, &q, probe, &found);
        if (rc != 0) {
            return tpi_entity_store_failed(err, rc, "list rows");
        }
        if (found) {
            return tpi_error_set(err, TPC_ESTATE, tpi_entity_origin,
                                 "the tenant still has entities of kind \"%s\"",
                                 e->kinds[i].kind->name);
        }
    }
    return 0;
}

static int store_delete(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                        struct tpc_bytes old, struct tpi_change *change, struct tpc_error *err)
{
    struct tpc_store_op ops[OWN_OPS + TPI_AUDIT_OPS + TPI_CHANGE_MAX_OPS];
    struct tpc_value before;
    struct tpi_audit_change what = { .old_doc = &before };
    uint32_t audit = 0;
    struct tpc_str none = { NULL, 0 };
    uint32_t n = 0;
    ops[n++] = make_op(TPC_STORE_DELETE, change->old_revision,
                       make_row(change, slot, TPC_SPACE_ENTITY, none));
    if (slot->secrets) {
        ops[n++] =
            make_op(TPC_STORE_DELETE, TPC_ANY_REV, make_row(change, slot, TPC_SPACE_SECRET, none));
    }
    for (uint32_t i = 0; i < change->op_count; i++) {
        ops[n++] = change->ops[i];
    }
    int rc = parse_old(old, change, err, &before);
    rc = rc != 0 ? rc : tpi_audit_stage(e, change, &what, &ops[n], &audit, err);
    rc = rc != 0 ? rc : tpi_entity_transact(e, ops, n + audit, err);
    if (rc != 0) {
        tpi_audit_undo(e, audit);
    }
    return rc;
}

static int delete_locked(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                         struct tpc_str tenant, uint64_t expect_rev, struct tpi_change *change,
                         struct tpc_error *err)
{
    const struct tpi_kind *kind = slot->kind;
    int rc = 0;
    change->tenant_key = change->key;
    if (!slot->tenants) {
        rc = set_tenant(e, tenant, change, err);
    }
    struct tpc_bytes old;
    rc = rc != 0 ? rc : read_old(e, slot, TPC_ANY_REV, change, err, &old);
    if (rc != 0) {
        return rc;
    }
    if (change->old_revision == 0) {
        return tpi_error_set(err, TPC_ENOENT, tpi_entity_origin, "there is no %s \"%.*s\"",
                             kind->name, (int) (change->key.len > 128 ? 128 : change->key.len),
                             change->key.ptr);
    }
    if (expect_rev != TPC_ANY_REV && expect_rev != change->old_revision) {
        return tpi_error_set(err, TPC_ECONFLICT, tpi_entity_origin,
                             "revision %" PRIu64 " is there, %" PRIu64 " was expected",
                             change->old_revision, expect_rev);
    }
    change->revision = change->old_revision;
    change->modified_unix_ms = tpi_unix_ms(e->env);
    rc = slot->tenants ? tenant_free(e, change, err) : 0;
    if (rc == 0 && kind->prepare != NULL) {
        rc = kind->prepare(kind->user, change, err);
    }
    if (rc != 0) {
        return rc;
    }
    rc = store_delete(e, slot, old, change, err);
    if (rc != 0) {
        discard(kind, change);
        return rc;
    }
    apply(kind, change);
    if (slot->tenants) {
        tpi_tenant_slot_free(e, tpi_map_remove(&e->tenants, change->key.ptr, change->key.len));
    }
    return 0;
}

static int delete_once(struct tpi_entities *e, const struct tpi_kind_slot *slot,
                       const struct tpc_actor *actor, struct tpc_str tenant, struct tpc_str key,
                       uint64_t expect_rev, struct tpc_error *err)
{
    struct tpi_change change = {
        .kind = slot->kind, .key = key, .deleted = true, .entities = e, .actor = actor
    };
    if (tpc_arena_create(e->env->alloc, 0, &change.arena) != 0) {
        return no_memory(err);
    }
    pthread_mutex_lock(&e->lock);
    int rc = delete_locked(e, slot, tenant, expect_rev, &change, err);
    pthread_mutex_unlock(&e->lock);
    if (rc == 0) {
        tpi_entity_announce(e, actor, &change);
    }
    tpc_arena_destroy(change.arena);
    return rc;
}

static bool shed(struct tpi_entities *e)
{
    pthread_mutex_lock(&e->lock);
    bool some = tpi_audit_shed(e);
    pthread_mutex_unlock(&e->lock);
    return some;
}

int tpi_entities_delete(struct tpi_entities *e, const struct tpc_actor *actor,
                        struct tpc_str tenant, const char *kind, struct tpc_str key,
                        uint64_t expect_rev, struct tpc_error *err)
{
    const struct tpi_kind_slot *slot = e->loaded ? tpi_entity_kind(e, tpc_str_from(kind)) : NULL;
    if (slot == NULL) {
        return unknown_kind(e, kind, err);
    }
    tenant = tenant.len == 0 ? TPC_STR("main") : tenant;
    int rc = delete_once(e, slot, actor, tenant, key, expect_rev, err);
    /* What gives memory back must work when there is none left. */
    while (rc == TPC_ENOMEM && shed(e)) {
        rc = delete_once(e, slot, actor, tenant, key, expect_rev, err);
    }
    return rc;
}
