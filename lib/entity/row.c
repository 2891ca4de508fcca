#include "entity/inside.h"

#include <stddef.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"

const char tpi_entity_origin[] = "entity";

struct copy {
    struct tpc_arena *arena;
    struct tpi_entity_row *rows;
    uint32_t count;
    uint32_t cap;
};

int tpi_entity_store_failed(struct tpc_error *err, int code, const char *what)
{
    return tpi_error_set(err, code, tpi_entity_origin, "the store could not %s (%s)", what,
                         tpc_error_name(code));
}

static int copy_row(void *user, const struct tpc_row *row)
{
    struct copy *c = user;
    if (c->count == c->cap) {
        return 0;
    }
    char *text = tpc_arena_take(c->arena, row->key.len + row->doc.len + 1);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(text, row->key.ptr, row->key.len);
    text[row->key.len] = 0;
    char *doc = text + row->key.len + 1;
    if (row->doc.len > 0) {
        memcpy(doc, row->doc.ptr, row->doc.len);
    }
    c->rows[c->count++] = (struct tpi_entity_row){
        .key = { text, row->key.len },
        .tenant = row->tenant,
        .id = row->id,
        .revision = row->revision,
        .created_unix_ms = row->created_unix_ms,
        .modified_unix_ms = row->modified_unix_ms,
        .doc = { (const uint8_t *) doc, row->doc.len },
    };
    return 0;
}

int tpi_entity_row_get(struct tpi_entities *e, uint32_t space, struct tpc_str kind, uint64_t tenant,
                       struct tpc_str key, struct tpc_arena *arena, struct tpc_error *err,
                       struct tpi_entity_row *ret)
{
    struct copy c = { arena, ret, 0, 1 };
    int rc = e->ops->get(e->store, space, kind, tenant, key, copy_row, &c);
    return rc == 0 || rc == TPC_ENOENT ? rc : tpi_entity_store_failed(err, rc, "read a row");
}

int tpi_entity_rows(struct tpi_entities *e, struct tpc_store_query *q, struct tpc_arena *arena,
                    struct tpc_error *err, const struct tpi_entity_row **ret, uint32_t *ret_count)
{
    struct copy c = { arena, NULL, 0, TPI_ENTITY_PAGE };
    if (q->limit == 0 || q->limit > TPI_ENTITY_PAGE) {
        q->limit = TPI_ENTITY_PAGE;
    }
    c.rows = tpc_arena_take(arena, TPI_ENTITY_PAGE * sizeof(*c.rows));
    if (c.rows == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    int rc = e->ops->query(e->store, q, copy_row, &c);
    if (rc != 0) {
        return tpi_entity_store_failed(err, rc, "list rows");
    }
    *ret = c.rows;
    *ret_count = c.count;
    return 0;
}

int tpi_entity_transact(struct tpi_entities *e, const struct tpc_store_op *ops, uint32_t count,
                        struct tpc_error *err)
{
    struct tpc_error mine = { .size = sizeof(mine) };
    if (e->observing) {
        return tpi_error_set(err, TPC_EDENIED, tpi_entity_origin,
                             "another process owns the entities: this one only reads them");
    }
    int rc = e->ops->transact(e->store, ops, count, sizeof(*ops), &mine);
    if (rc != 0 && mine.text[0] == 0) {
        return tpi_entity_store_failed(err, rc, "write");
    }
    if (rc != 0 && err != NULL) {
        *err = mine;
    }
    return rc;
}

int tpi_entity_json(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_str *ret)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    int rc = tpc_json_write(v, 0, &buf);
    if (rc != 0 && rc != TPC_ETOOBIG) {
        return rc;
    }
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap + 1);
    if (buf.ptr == NULL) {
        return TPC_ENOMEM;
    }
    rc = tpc_json_write(v, 0, &buf);
    *ret = (struct tpc_str){ (const char *) buf.ptr, buf.need };
    return rc;
}

int tpi_change_op(struct tpi_change *change, const struct tpc_store_op *op)
{
    if (change->op_count == TPI_CHANGE_MAX_OPS) {
        return TPC_ETOOBIG;
    }
    if (change->ops == NULL) {
        change->ops = tpc_arena_take(change->arena, TPI_CHANGE_MAX_OPS * sizeof(*change->ops));
        if (change->ops == NULL) {
            return TPC_ENOMEM;
        }
    }
    change->ops[change->op_count++] = *op;
    return 0;
}

int tpi_change_meta(struct tpi_change *change, struct tpc_str kind, struct tpc_str key,
                    struct tpc_error *err, struct tpc_bytes *ret)
{
    struct tpi_entity_row row;
    int rc = tpi_entity_row_get(change->entities, TPC_SPACE_META, kind, 0, key, change->arena, err,
                                &row);
    if (rc == 0) {
        *ret = row.doc;
    }
    return rc;
}

int tpi_entities_meta(struct tpi_entities *e, struct tpc_str kind, struct tpc_str key,
                      struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret)
{
    struct tpi_entity_row row;
    int rc = tpi_entity_row_get(e, TPC_SPACE_META, kind, 0, key, arena, err, &row);
    if (rc == 0) {
        *ret = row.doc;
    }
    return rc;
}

int tpi_change_metas(struct tpi_change *change, struct tpc_str kind, struct tpc_error *err,
                     int (*fn)(void *user, struct tpc_str key, struct tpc_bytes doc), void *user)
{
    struct tpi_entities *e = change->entities;
    struct tpc_store_query q = { .size = sizeof(q), .space = TPC_SPACE_META, .kind = kind };
    const struct tpi_entity_row *rows;
    char after[TPI_ENTITY_MAX_KEY];
    struct tpc_arena *page = NULL;
    uint32_t count = TPI_ENTITY_PAGE;
    int rc = tpc_arena_create(e->env->alloc, 0, &page);
    if (rc != 0) {
        return tpi_error_set(err, rc, tpi_entity_origin, "out of memory");
    }
    while (rc == 0 && count == TPI_ENTITY_PAGE) {
        tpc_arena_reset(page);
        rc = tpi_entity_rows(e, &q, page, err, &rows, &count);
        for (uint32_t i = 0; rc == 0 && i < count; i++) {
            rc = fn(user, rows[i].key, rows[i].doc);
            if (rc != 0) {
                tpi_error_set(err, rc, tpi_entity_origin, "row \"%.*s\" of \"%.*s\" is unreadable",
                              (int) rows[i].key.len, rows[i].key.ptr, (int) kind.len, kind.ptr);
            }
        }
        if (rc == 0 && count > 0) {
            size_t len = rows[count - 1].key.len;
            memcpy(after, rows[count - 1].key.ptr, len < sizeof(after) ? len : sizeof(after));
            q.after_key = (struct tpc_str){ after, len };
        }
    }
    tpc_arena_destroy(page);
    return rc;
}

static int found(void *user, const struct tpc_row *row)
{
    (void) row;
    *(bool *) user = true;
    return 0;
}

int tpi_change_find(struct tpi_change *change, struct tpc_str kind, struct tpc_field field,
                    bool *ret)
{
    struct tpi_entities *e = change->entities;
    struct tpc_store_query q = { .size = sizeof(q),
                                 .space = TPC_SPACE_ENTITY,
                                 .kind = kind,
                                 .tenant = change->tenant,
                                 .field = field,
                                 .limit = 1 };
    *ret = false;
    return e->ops->query(e->store, &q, found, ret);
}

bool tpi_change_promised(const struct tpi_change *change, struct tpc_str key)
{
    const struct tpi_put_batch *b = change->batch;
    return b != NULL && b->promised != NULL && b->promised(b->user, key);
}

/* A row for the callers of get and list. */
static int tell(const struct tpi_entity_row *row, tpc_entity_fn *fn, void *user)
{
    struct tpc_entity_info info = { .size = sizeof(info),
                                    .id = row->id,
                                    .revision = row->revision,
                                    .created_unix_ms = row->created_unix_ms,
                                    .modified_unix_ms = row->modified_unix_ms };
    struct tpc_str json = { (const char *) row->doc.ptr, row->doc.len };
    return fn(user, &info, row->key, json);
}

/* Kind and tenant of a question. */
static int resolve(struct tpi_entities *e, struct tpc_str kind, struct tpc_str tenant,
                   struct tpc_error *err, const struct tpi_kind_slot **ret_kind,
                   uint64_t *ret_tenant)
{
    if (!e->loaded) {
        return tpi_error_set(err, TPC_ESTATE, tpi_entity_origin, "entities are not loaded yet");
    }
    const struct tpi_kind_slot *slot = tpi_entity_kind(e, kind);
    if (slot == NULL) {
        return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin, "there is no kind \"%.*s\"",
                             (int) (kind.len > 64 ? 64 : kind.len), kind.ptr);
    }
    *ret_kind = slot;
    *ret_tenant = 0;
    if (slot->tenants) {
        return 0;
    }
    pthread_mutex_lock(&e->lock);
    const struct tpi_tenant_slot *t =
        tpi_entity_tenant(e, tenant.len == 0 ? TPC_STR("main") : tenant);
    *ret_tenant = t == NULL ? 0 : t->id;
    pthread_mutex_unlock(&e->lock);
    return t != NULL
               ? 0
               : tpi_error_set(err, TPC_ENOENT, tpi_entity_origin, "there is no tenant \"%.*s\"",
                               (int) (tenant.len > 128 ? 128 : tenant.len), tenant.ptr);
}

int tpi_entities_get(struct tpi_entities *e, struct tpc_str tenant, const char *kind,
                     struct tpc_str key, struct tpc_error *err, tpc_entity_fn *fn, void *user)
{
    const struct tpi_kind_slot *slot = NULL;
    struct tpc_arena *arena;
    struct tpi_entity_row row;
    uint64_t number;
    int rc = resolve(e, tpc_str_from(kind), tenant, err, &slot, &number);
    if (rc != 0) {
        return rc;
    }
    if (tpc_arena_create(e->env->alloc, 0, &arena) != 0) {
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    rc = tpi_entity_row_get(e, TPC_SPACE_ENTITY, slot->name, number, key, arena, err, &row);
    if (rc == 0) {
        rc = tell(&row, fn, user);
    } else if (rc == TPC_ENOENT) {
        tpi_error_set(err, rc, tpi_entity_origin, "there is no %s \"%.*s\"", kind,
                      (int) (key.len > 128 ? 128 : key.len), key.ptr);
    }
    tpc_arena_destroy(arena);
    return rc;
}

static const struct tpc_option *indexed(const struct tpi_kind_slot *slot, struct tpc_str field)
{
    const struct tpc_list *schema = &slot->kind->schema;
    for (uint32_t i = 0; i < schema->count; i++) {
        const struct tpc_option *o = TPC_LIST_AT(struct tpc_option, *schema, i);
        if ((o->flags & TPC_OPT_INDEXED) != 0 && tpc_str_equal(tpc_str_from(o->name), field) != 0) {
            return o;
        }
    }
    return NULL;
}

static int not_indexed(const struct tpi_kind_slot *slot, struct tpc_str field,
                       struct tpc_error *err)
{
    return tpi_error_set(err, TPC_EINVAL, tpi_entity_origin, "\"%.*s\" of %s is not indexed",
                         (int) (field.len > 64 ? 64 : field.len), field.ptr, slot->kind->name);
}

/* Conditions of a listing: a field's value, and a selector. */
static int read_conditions(const struct tpc_entity_query *query, const struct tpi_kind_slot *slot,
                           struct tpc_arena *arena, struct tpc_error *err,
                           struct tpc_store_term *terms, struct tpc_store_query *q)
{
    static const struct tpc_str labels = { "labels", 6 };
    const struct tpc_option *o = indexed(slot, query->field);
    struct tpc_str select = { NULL, 0 };
    if (query->field.len > 0 && o == NULL) {
        return not_indexed(slot, query->field, err);
    }
    q->field = (struct tpc_field){ query->field, query->value };
    if (query->field.len > 0 && o->type == TPC_OPT_LIST) {
        q->field.value = TPC_STR("");
        if (tpi_field_name(arena, "", query->field, query->value, &q->field.name) != 0) {
            return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
        }
    }
    if (query->size >= offsetof(struct tpc_entity_query, select) + sizeof(query->select)) {
        select = query->select;
    }
    if (select.len == 0) {
        return 0;
    }
    o = indexed(slot, labels);
    if (o == NULL || o->type != TPC_OPT_TABLE) {
        return not_indexed(slot, labels, err);
    }
    q->terms = terms;
    return tpi_selector_parse(select, labels, arena, err, terms, &q->term_count);
}

/* Page after page; the arena of the conditions stays. */
static int list_pages(struct tpi_entities *e, struct tpc_store_query *q, uint32_t left,
                      struct tpc_arena *arena, struct tpc_error *err, tpc_entity_fn *fn, void *user)
{
    char after[TPI_ENTITY_MAX_KEY];
    uint32_t count = TPI_ENTITY_PAGE;
    int rc = 0;
    while (rc == 0 && left > 0 && count == TPI_ENTITY_PAGE) {
        const struct tpi_entity_row *rows;
        tpc_arena_reset(arena);
        q->limit = left;
        rc = tpi_entity_rows(e, q, arena, err, &rows, &count);
        for (uint32_t i = 0; rc == 0 && i < count; i++) {
            rc = tell(&rows[i], fn, user);
        }
        if (rc == 0 && count > 0) {
            left -= count;
            memcpy(after, rows[count - 1].key.ptr, rows[count - 1].key.len);
            q->after_key = (struct tpc_str){ after, rows[count - 1].key.len };
        }
    }
    return rc;
}

int tpi_entities_list(struct tpi_entities *e, const struct tpc_entity_query *query,
                      struct tpc_error *err, tpc_entity_fn *fn, void *user)
{
    const struct tpi_kind_slot *slot = NULL;
    struct tpc_arena *arena = NULL;
    struct tpc_arena *page = NULL;
    struct tpc_store_term terms[TPI_SELECTOR_TERMS];
    struct tpc_store_query q = { .size = sizeof(q), .space = TPC_SPACE_ENTITY };
    int rc = resolve(e, query->kind, query->tenant, err, &slot, &q.tenant);
    if (rc != 0) {
        return rc;
    }
    uint32_t left = query->limit == 0 ? 1000 : query->limit;
    left = left > TPI_ENTITY_MAX_LIST ? TPI_ENTITY_MAX_LIST : left;
    q.kind = slot->name;
    q.after_key = query->after_key;
    if (tpc_arena_create(e->env->alloc, 0, &arena) != 0 ||
        tpc_arena_create(e->env->alloc, 0, &page) != 0) {
        rc = tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    rc = rc != 0 ? rc : read_conditions(query, slot, arena, err, terms, &q);
    rc = rc != 0 ? rc : list_pages(e, &q, left, page, err, fn, user);
    tpc_arena_destroy(arena);
    tpc_arena_destroy(page);
    return rc;
}
