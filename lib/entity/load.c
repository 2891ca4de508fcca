#include "entity/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"

/* A row that names something which is not loaded yet. */
struct late {
    struct late *next;
    struct tpc_str key;
};

/* The secrets of a kind in a tenant, in the order of their keys as its entities are: read along with
 * them, page by page, not one by one. */
struct secrets {
    bool along; /* rows come in order now */
    bool last;  /* there is no page after this one */
    uint32_t at;
    uint32_t count;
    const struct tpi_entity_row *rows;
    struct tpc_arena *page;
    size_t after_len;
    char after[TPI_ENTITY_MAX_KEY];
};

struct tpi_loader {
    struct tpi_entities *e;
    const struct tpi_kind_slot *slot;
    struct tpc_str tenant_key;
    uint64_t tenant;
    struct tpc_arena *page;  /* rows of a page */
    struct tpc_arena *row;   /* one change */
    struct tpc_arena *extra; /* late rows, upgraded documents */
    struct secrets secrets;
    struct late *late;
    struct tpc_error *err;
};

static int no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
}

/* "product/thermo" in front of the path. */
static int at_entity(struct tpi_loader *l, struct tpc_str key, int rc)
{
    char text[TPI_ENTITY_MAX_KEY + 40];
    snprintf(text, sizeof(text), "%s/%.*s", l->slot->kind->name, (int) key.len, key.ptr);
    tpi_error_at(l->err, text);
    return rc;
}

static int parse_row(const struct tpi_entity_row *row, struct tpc_arena *arena,
                     struct tpc_error *err, struct tpc_value *ret)
{
    struct tpc_str json = { (const char *) row->doc.ptr, row->doc.len };
    int rc = tpc_json_parse(arena, json, 0, err, ret);
    if (rc == TPC_ENOMEM || (rc == 0 && ret->type == TPC_MAP)) {
        return rc;
    }
    return tpi_error_set(err, TPC_ECORRUPT, tpi_entity_origin, "the stored document is damaged");
}

static void row_to_change(const struct tpi_loader *l, const struct tpi_entity_row *row,
                          struct tpi_change *change)
{
    *change = (struct tpi_change){ .kind = l->slot->kind,
                                   .tenant = l->tenant,
                                   .tenant_key = l->slot->tenants ? row->key : l->tenant_key,
                                   .key = row->key,
                                   .id = row->id,
                                   .revision = row->revision,
                                   .created_unix_ms = row->created_unix_ms,
                                   .modified_unix_ms = row->modified_unix_ms,
                                   .json = { (const char *) row->doc.ptr, row->doc.len },
                                   .loading = true,
                                   .arena = l->row,
                                   .entities = l->e };
}

static int next_secrets(struct tpi_loader *l)
{
    struct secrets *s = &l->secrets;
    struct tpc_store_query q = { .size = sizeof(q),
                                 .space = TPC_SPACE_SECRET,
                                 .kind = l->slot->name,
                                 .tenant = l->tenant,
                                 .after_key = { s->after, s->after_len } };
    tpc_arena_reset(s->page);
    int rc = tpi_entity_rows(l->e, &q, s->page, l->err, &s->rows, &s->count);
    if (rc != 0) {
        return rc;
    }
    s->at = 0;
    s->last = s->count < TPI_ENTITY_PAGE;
    if (s->count > 0) {
        struct tpc_str key = s->rows[s->count - 1].key;
        if (key.len > sizeof(s->after)) {
            return tpi_error_set(l->err, TPC_ECORRUPT, tpi_entity_origin,
                                 "the stored secrets are damaged");
        }
        memcpy(s->after, key.ptr, key.len);
        s->after_len = key.len;
    }
    return 0;
}

/* As tpi_secret_read(). */
static int find_secrets(struct tpi_loader *l, const struct tpi_entity_row *row,
                        const struct tpi_change *change, struct tpc_value *ret)
{
    struct secrets *s = &l->secrets;
    int compared = -1;
    if (!s->along) {
        return tpi_secret_read(l->e, change, l->err, ret);
    }
    *ret = (struct tpc_value){ TPC_NULL, 0, 0, { .i = 0 } };
    while (compared < 0) {
        int rc = s->at == s->count && !s->last ? next_secrets(l) : 0;
        if (rc != 0 || s->at == s->count) {
            return rc;
        }
        compared = tpi_text_order(s->rows[s->at].key, row->key);
        s->at += compared < 0;
    }
    return compared > 0 ? 0
                        : tpi_secret_parse(l->e, change, s->rows[s->at].doc, l->row, l->err, ret);
}

/* Document with its secrets, checked. */
static int check_row(struct tpi_loader *l, const struct tpi_entity_row *row,
                     struct tpi_change *change)
{
    struct tpc_value doc, full, stored;
    int rc = parse_row(row, l->row, l->err, &doc);
    if (rc != 0 || !l->slot->secrets) {
        return rc != 0 ? rc : tpi_entity_check(l->slot, &doc, change, l->err);
    }
    rc = find_secrets(l, row, change, &stored);
    if (rc != 0) {
        return rc;
    }
    const struct tpc_list *schema = tpi_entity_schema(l->slot, &doc, l->row);
    if (schema == NULL || tpi_secret_merge(schema, &doc, stored.type == TPC_MAP ? &stored : NULL,
                                           l->row, &full) != 0) {
        return no_memory(l->err);
    }
    return tpi_entity_check(l->slot, &full, change, l->err);
}

static int load_row(struct tpi_loader *l, const struct tpi_entity_row *row)
{
    const struct tpi_kind *kind = l->slot->kind;
    struct tpi_change change;
    if (l->err != NULL) {
        l->err->path[0] = 0; /* of a row that was put off */
    }
    tpc_arena_reset(l->row);
    row_to_change(l, row, &change);
    int rc = check_row(l, row, &change);
    if (rc != 0) {
        return at_entity(l, row->key, rc);
    }
    if (kind->prepare != NULL) {
        rc = kind->prepare(kind->user, &change, l->err);
        if (rc != 0) {
            return at_entity(l, row->key, rc);
        }
    }
    bool fresh_tenant = l->slot->tenants && tpi_entity_tenant(l->e, row->key) == NULL;
    if (fresh_tenant && tpi_tenant_slot_make(l->e, row->key, row->id) == NULL) {
        if (kind->discard != NULL) {
            kind->discard(kind->user, &change);
        }
        return no_memory(l->err);
    }
    if (kind->apply != NULL) {
        kind->apply(kind->user, &change);
    }
    if (row->id >= l->e->next_id) {
        l->e->next_id = row->id + 1;
    }
    return 0;
}

static int postpone(struct tpi_loader *l, struct tpc_str key)
{
    struct late *late = tpc_arena_take(l->extra, sizeof(*late) + key.len);
    if (late == NULL) {
        return no_memory(l->err);
    }
    memcpy(late + 1, key.ptr, key.len);
    late->key = (struct tpc_str){ (const char *) (late + 1), key.len };
    late->next = l->late;
    l->late = late;
    return 0;
}

/* Tries the rows that were put off again until none is left, or none could be loaded in a round. */
static int load_late(struct tpi_loader *l)
{
    bool progress = true;
    while (l->late != NULL && progress) {
        struct late *next = l->late;
        l->late = NULL;
        progress = false;
        while (next != NULL) {
            struct late *now = next;
            struct tpi_entity_row row;
            next = now->next;
            tpc_arena_reset(l->page);
            int rc = tpi_entity_row_get(l->e, TPC_SPACE_ENTITY, l->slot->name, l->tenant, now->key,
                                        l->page, l->err, &row);
            rc = rc != 0 ? rc : load_row(l, &row);
            if (rc == TPC_EAGAIN) {
                now->next = l->late;
                l->late = now;
            } else if (rc != 0) {
                return rc;
            } else {
                progress = true;
            }
        }
    }
    return l->late == NULL ? 0 : TPC_ECORRUPT;
}

/* fn for each row of the kind in the tenant. */
static int each_row(struct tpi_loader *l,
                    int (*fn)(struct tpi_loader *l, const struct tpi_entity_row *row))
{
    char after[TPI_ENTITY_MAX_KEY];
    struct tpc_store_query q = {
        .size = sizeof(q), .space = TPC_SPACE_ENTITY, .kind = l->slot->name, .tenant = l->tenant
    };
    uint32_t count = TPI_ENTITY_PAGE;
    while (count == TPI_ENTITY_PAGE) {
        const struct tpi_entity_row *rows;
        tpc_arena_reset(l->page);
        q.limit = 0;
        int rc = tpi_entity_rows(l->e, &q, l->page, l->err, &rows, &count);
        for (uint32_t i = 0; rc == 0 && i < count; i++) {
            rc = rows[i].key.len > TPI_ENTITY_MAX_KEY ? TPC_ECORRUPT : fn(l, &rows[i]);
        }
        if (rc != 0) {
            return rc;
        }
        if (count > 0) {
            memcpy(after, rows[count - 1].key.ptr, rows[count - 1].key.len);
            q.after_key = (struct tpc_str){ after, rows[count - 1].key.len };
        }
    }
    return 0;
}

static int load_or_postpone(struct tpi_loader *l, const struct tpi_entity_row *row)
{
    int rc = load_row(l, row);
    return rc == TPC_EAGAIN ? postpone(l, row->key) : rc;
}

/* fn for the one (0) or every tenant that the kind's rows may be in. */
static int each_tenant(struct tpi_loader *l, int (*fn)(struct tpi_loader *l))
{
    size_t iter = 0;
    void *value;
    if (l->slot->tenants) {
        l->tenant = 0;
        return fn(l);
    }
    while (tpi_map_next(&l->e->tenants, &iter, NULL, &value)) {
        const struct tpi_tenant_slot *t = value;
        l->tenant = t->id;
        l->tenant_key = t->key;
        int rc = fn(l);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int load_tenant(struct tpi_loader *l)
{
    tpc_arena_reset(l->extra);
    l->late = NULL;
    l->secrets.along = true;
    l->secrets.last = false;
    l->secrets.at = 0;
    l->secrets.count = 0;
    l->secrets.after_len = 0;
    l->e->unsealed = 0;
    int rc = each_row(l, load_or_postpone);
    l->secrets.along = false;
    rc = rc != 0 ? rc : load_late(l);
    if (rc != 0 || l->e->unsealed == 0 || l->e->observing) {
        return rc;
    }
    return tpi_secret_seal_stored(l->e, l->slot->name, l->tenant, l->page, l->err);
}

/* ---- upgrading documents of an older version ---- */

struct upgrade {
    struct tpi_loader l; /* first: the row function gets it */
    uint32_t from;
    struct tpc_store_op *ops;
    uint32_t count;
    uint32_t cap;
};

static int upgrade_op(struct upgrade *u, const struct tpc_store_op *op)
{
    if (u->count == u->cap) {
        uint32_t cap = u->cap == 0 ? 64 : u->cap * 2;
        void *p = tpi_resize(u->l.e->env->alloc, u->ops, u->cap * sizeof(*op), cap * sizeof(*op));
        if (p == NULL) {
            return no_memory(u->l.err);
        }
        u->ops = p;
        u->cap = cap;
    }
    u->ops[u->count++] = *op;
    return 0;
}

static int copy_text(struct tpc_arena *arena, struct tpc_str in, struct tpc_str *ret)
{
    char *p = tpc_arena_take(arena, in.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, in.ptr, in.len);
    *ret = (struct tpc_str){ p, in.len };
    return 0;
}

static int upgrade_row(struct tpi_loader *l, const struct tpi_entity_row *row)
{
    struct upgrade *u = (struct upgrade *) l;
    const struct tpi_kind *kind = l->slot->kind;
    struct tpc_value doc, next;
    tpc_arena_reset(l->row);
    int rc = parse_row(row, l->row, l->err, &doc);
    rc = rc != 0 ? rc : kind->upgrade(kind->user, u->from, &doc, l->row, l->err, &next);
    if (rc != 0) {
        return at_entity(l, row->key, rc);
    }
    struct tpc_store_op op = { .size = sizeof(op), .type = TPC_STORE_PUT, .expect = row->revision };
    struct tpc_str json;
    op.row = (struct tpc_row){ .size = sizeof(op.row),
                               .space = TPC_SPACE_ENTITY,
                               .kind = l->slot->name,
                               .tenant = l->tenant,
                               .id = row->id,
                               .revision = row->revision + 1,
                               .created_unix_ms = row->created_unix_ms,
                               .modified_unix_ms = tpi_unix_ms(l->e->env) };
    if (copy_text(l->extra, row->key, &op.row.key) != 0 ||
        tpi_entity_json(&next, l->extra, &json) != 0) {
        return no_memory(l->err);
    }
    /* What no field can be made of is left to the check of the next put. */
    rc = tpi_entity_fields(&kind->schema, &next, true, l->extra, &op.row, l->err);
    if (rc != 0) {
        return at_entity(l, row->key, rc);
    }
    op.row.doc = (struct tpc_bytes){ (const uint8_t *) json.ptr, json.len };
    return upgrade_op(u, &op);
}

static int upgrade_tenant(struct tpi_loader *l)
{
    return each_row(l, upgrade_row);
}

static struct tpc_store_op version_op(const struct tpi_loader *l)
{
    int64_t now = tpi_unix_ms(l->e->env);
    struct tpc_store_op op = { .size = sizeof(op), .type = TPC_STORE_PUT, .expect = TPC_ANY_REV };
    op.row = (struct tpc_row){ .size = sizeof(op.row),
                               .space = TPC_SPACE_META,
                               .kind = TPC_STR("kind_version"),
                               .key = l->slot->name,
                               .id = l->slot->kind->version,
                               .revision = l->slot->kind->version,
                               .created_unix_ms = now,
                               .modified_unix_ms = now };
    return op;
}

/* All documents of the kind and its version change in one transaction. */
static int upgrade_kind(struct tpi_loader *l, uint32_t from)
{
    struct upgrade u = { .l = *l, .from = from };
    tpc_arena_reset(l->extra);
    int rc = l->slot->kind->upgrade == NULL ? 0 : each_tenant(&u.l, upgrade_tenant);
    struct tpc_store_op op = version_op(l);
    rc = rc != 0 ? rc : upgrade_op(&u, &op);
    rc = rc != 0 ? rc : tpi_entity_transact(l->e, u.ops, u.count, l->err);
    tpi_free(l->e->env->alloc, u.ops, u.cap * sizeof(*u.ops));
    return rc;
}

static int check_version(struct tpi_loader *l)
{
    const struct tpi_kind *kind = l->slot->kind;
    struct tpi_entity_row row;
    tpc_arena_reset(l->page);
    int rc = tpi_entity_row_get(l->e, TPC_SPACE_META, TPC_STR("kind_version"), 0, l->slot->name,
                                l->page, l->err, &row);
    if (rc != 0 && rc != TPC_ENOENT) {
        return rc;
    }
    if (l->e->observing && (rc == TPC_ENOENT || row.id < kind->version)) {
        return rc == TPC_ENOENT ? 0
                                : tpi_error_set(l->err, TPC_EVERSION, tpi_entity_origin,
                                                "stored entities of kind \"%s\" are of an older "
                                                "version: start the program that owns them once",
                                                kind->name);
    }
    if (rc == TPC_ENOENT) {
        struct tpc_store_op op = version_op(l);
        return tpi_entity_transact(l->e, &op, 1, l->err);
    }
    if (row.id > kind->version) {
        return tpi_error_set(l->err, TPC_EVERSION, tpi_entity_origin,
                             "stored entities of kind \"%s\" are of version %" PRIu64
                             ", this library knows up to %u",
                             kind->name, row.id, kind->version);
    }
    return row.id < kind->version ? upgrade_kind(l, (uint32_t) row.id) : 0;
}

static int load_number(struct tpi_loader *l)
{
    struct tpi_entity_row row;
    int rc = tpi_entity_row_get(l->e, TPC_SPACE_META, TPC_STR("counter"), 0, TPC_STR("entity_id"),
                                l->page, l->err, &row);
    if (rc == 0) {
        l->e->next_id = row.id + 1;
    }
    return rc == TPC_ENOENT ? 0 : rc;
}

static int make_main(struct tpi_loader *l)
{
    static const char json[] = "{\"key\":\"main\"}";
    struct tpc_value doc;
    struct tpi_staged s = { .change = { .arena = l->row } };
    if (tpi_entity_tenant(l->e, TPC_STR("main")) != NULL) {
        return 0;
    }
    if (l->e->observing) {
        return tpi_error_set(l->err, TPC_ENOENT, tpi_entity_origin,
                             "the store is new: start the program that owns it once");
    }
    tpc_arena_reset(l->row);
    int rc = tpc_json_parse(l->row, TPC_STR(json), 0, l->err, &doc);
    return rc != 0
               ? rc
               : tpi_entity_put_locked(l->e, l->slot, &doc, TPC_STR(json), TPC_NO_REV, &s, l->err);
}

static int load(struct tpi_loader *l)
{
    int rc = load_number(l);
    for (uint32_t i = 0; rc == 0 && i < l->e->kind_count; i++) {
        l->slot = &l->e->kinds[i];
        rc = check_version(l);
        rc = rc != 0 ? rc : each_tenant(l, load_tenant);
        if (rc == 0 && l->slot->tenants) {
            rc = make_main(l);
        }
    }
    return rc;
}

int tpi_loader_make(struct tpi_entities *e, struct tpc_error *err, struct tpi_loader **ret)
{
    const struct tpc_allocator *alloc = e->env->alloc;
    struct tpi_loader *l = tpi_alloc_zero(alloc, sizeof(*l));
    if (l == NULL) {
        return no_memory(err);
    }
    l->e = e;
    l->err = err;
    if (tpc_arena_create(alloc, 0, &l->page) != 0 || tpc_arena_create(alloc, 0, &l->row) != 0 ||
        tpc_arena_create(alloc, 0, &l->extra) != 0 ||
        tpc_arena_create(alloc, 0, &l->secrets.page) != 0) {
        tpi_loader_free(l);
        return no_memory(err);
    }
    *ret = l;
    return 0;
}

void tpi_loader_free(struct tpi_loader *l)
{
    if (l != NULL) {
        tpc_arena_destroy(l->page);
        tpc_arena_destroy(l->row);
        tpc_arena_destroy(l->extra);
        tpc_arena_destroy(l->secrets.page);
        tpi_free(l->e->env->alloc, l, sizeof(*l));
    }
}

int tpi_loader_reload(struct tpi_loader *l, const struct tpi_kind_slot *slot,
                      const struct tpi_tenant_slot *tenant, struct tpc_str key, bool *ret_there)
{
    struct tpi_entity_row row;
    l->slot = slot;
    l->tenant = tenant != NULL ? tenant->id : 0;
    l->tenant_key = tenant != NULL ? tenant->key : key;
    tpc_arena_reset(l->page);
    int rc = tpi_entity_row_get(l->e, TPC_SPACE_ENTITY, slot->name, l->tenant, key, l->page, l->err,
                                &row);
    *ret_there = rc == 0;
    return rc != 0 ? rc : load_row(l, &row);
}

int tpi_entities_reload(struct tpi_entities *e, struct tpc_str tenant, const char *kind,
                        struct tpc_str key, struct tpc_error *err)
{
    struct tpi_loader *l = NULL;
    struct tpc_error mine = { .size = sizeof(mine) };
    struct tpc_error *into = err != NULL ? err : &mine;
    const struct tpi_kind_slot *slot = tpi_entity_kind(e, tpc_str_from(kind));
    if (!e->loaded || slot == NULL) {
        return tpi_error_set(into, TPC_ESTATE, tpi_entity_origin, "entities are not loaded yet");
    }
    int rc = tpi_loader_make(e, into, &l);
    if (rc != 0) {
        return rc;
    }
    bool there;
    pthread_mutex_lock(&e->lock);
    const struct tpi_tenant_slot *t = tpi_entity_tenant(e, tenant);
    rc = t != NULL ? tpi_loader_reload(l, slot, t, key, &there) : TPC_ENOENT;
    pthread_mutex_unlock(&e->lock);
    tpi_loader_free(l);
    return rc;
}

void tpi_entities_observe(struct tpi_entities *e)
{
    e->observing = true;
}

int tpi_entities_load(struct tpi_entities *e, struct tpc_error *err)
{
    struct tpi_loader *l = NULL;
    if (e->loaded || e->kind_count == 0) {
        return tpi_error_set(err, TPC_ESTATE, tpi_entity_origin, "loaded already, or no kinds");
    }
    int rc = tpi_loader_make(e, err, &l);
    if (rc != 0) {
        return rc;
    }
    pthread_mutex_lock(&e->lock);
    /* What changes from here on comes with the first refresh, if it was not read already. */
    if (TPC_HAS(e->ops, struct tpc_store_ops, changes)) {
        rc = e->ops->changes(e->store, UINT64_MAX, NULL, NULL, &e->seen);
        rc = rc != 0 ? tpi_entity_store_failed(err, rc, "tell what was changed") : 0;
    }
    rc = rc != 0 || e->observing ? rc : tpi_audit_load(e, err);
    rc = rc != 0 ? rc : load(l);
    e->loaded = rc == 0;
    pthread_mutex_unlock(&e->lock);
    tpi_loader_free(l);
    return rc;
}
