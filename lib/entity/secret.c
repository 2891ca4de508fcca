#include "entity/inside.h"

#include <string.h>

#include "base/error.h"

static const struct tpc_option *option_at(const struct tpc_list *schema, uint32_t i)
{
    return TPC_LIST_AT(struct tpc_option, *schema, i);
}

static const struct tpc_option *option_named(const struct tpc_list *schema, struct tpc_str key)
{
    for (uint32_t i = 0; i < schema->count; i++) {
        if (tpc_str_equal(tpc_str_from(option_at(schema, i)->name), key) != 0) {
            return option_at(schema, i);
        }
    }
    return NULL;
}

const struct tpc_list *tpi_entity_schema(const struct tpi_kind_slot *slot,
                                         const struct tpc_value *doc, struct tpc_arena *arena)
{
    const struct tpi_kind *kind = slot->kind;
    return kind->schema_of != NULL ? kind->schema_of(kind->user, doc, arena) : &kind->schema;
}

bool tpi_secret_any(const struct tpc_list *schema)
{
    for (uint32_t i = 0; i < schema->count; i++) {
        const struct tpc_option *o = option_at(schema, i);
        if (o->type == TPC_OPT_SECRET || (o->type == TPC_OPT_TABLE && tpi_secret_any(&o->sub))) {
            return true;
        }
    }
    return false;
}

bool tpi_secret_placed(const struct tpc_list *schema, bool in_list)
{
    for (uint32_t i = 0; i < schema->count; i++) {
        const struct tpc_option *o = option_at(schema, i);
        if (o->type == TPC_OPT_SECRET && in_list) {
            return false;
        }
        if (o->type == TPC_OPT_TABLE && !tpi_secret_placed(&o->sub, in_list)) {
            return false;
        }
        if (o->type == TPC_OPT_LIST && o->elem != NULL &&
            (o->elem->type == TPC_OPT_SECRET ||
             (o->elem->type == TPC_OPT_TABLE && !tpi_secret_placed(&o->elem->sub, true)))) {
            return false;
        }
    }
    return true;
}

/* Whether a member is a table that may hold secrets. */
static bool table_with_secrets(const struct tpc_option *o, const struct tpc_value *v)
{
    return o != NULL && o->type == TPC_OPT_TABLE && v->type == TPC_MAP && tpi_secret_any(&o->sub);
}

int tpi_secret_strip(const struct tpc_list *schema, const struct tpc_value *doc,
                     struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpc_member *out = tpc_arena_take(arena, (doc->len + 1) * sizeof(*out));
    if (out == NULL) {
        return TPC_ENOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < doc->len; i++) {
        const struct tpc_member *in = &doc->as.members[i];
        const struct tpc_option *o = option_named(schema, in->key);
        if (o != NULL && o->type == TPC_OPT_SECRET) {
            continue;
        }
        out[n] = *in;
        if (table_with_secrets(o, &in->value) &&
            tpi_secret_strip(&o->sub, &in->value, arena, &out[n].value) != 0) {
            return TPC_ENOMEM;
        }
        n++;
    }
    *ret = (struct tpc_value){ TPC_MAP, 0, n, { .members = out } };
    return 0;
}

/* "broker" + "password" = "broker.password". */
static int join(struct tpc_arena *arena, struct tpc_str prefix, struct tpc_str key,
                struct tpc_str *ret)
{
    if (prefix.len == 0) {
        *ret = key;
        return 0;
    }
    char *p = tpc_arena_take(arena, prefix.len + 1 + key.len);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, prefix.ptr, prefix.len);
    p[prefix.len] = '.';
    memcpy(p + prefix.len + 1, key.ptr, key.len);
    *ret = (struct tpc_str){ p, prefix.len + 1 + key.len };
    return 0;
}

static int merge(const struct tpc_list *schema, const struct tpc_value *doc, struct tpc_str prefix,
                 const struct tpc_value *stored, struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpc_member *out = tpc_arena_take(arena, (doc->len + schema->count + 1) * sizeof(*out));
    struct tpc_str path;
    if (out == NULL) {
        return TPC_ENOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < doc->len; i++) {
        const struct tpc_member *in = &doc->as.members[i];
        const struct tpc_option *o = option_named(schema, in->key);
        if (o != NULL && o->type == TPC_OPT_SECRET && in->value.type == TPC_NULL) {
            continue;
        }
        out[n] = *in;
        if (table_with_secrets(o, &in->value) &&
            (join(arena, prefix, in->key, &path) != 0 ||
             merge(&o->sub, &in->value, path, stored, arena, &out[n].value) != 0)) {
            return TPC_ENOMEM;
        }
        n++;
    }
    for (uint32_t i = 0; i < schema->count; i++) {
        const struct tpc_option *o = option_at(schema, i);
        struct tpc_str key = tpc_str_from(o->name);
        if (o->type != TPC_OPT_SECRET || tpc_value_get(doc, key) != NULL) {
            continue;
        }
        if (join(arena, prefix, key, &path) != 0) {
            return TPC_ENOMEM;
        }
        const struct tpc_value *old = tpc_value_get(stored, path);
        if (old != NULL) {
            out[n].key = key;
            out[n++].value = *old;
        }
    }
    *ret = (struct tpc_value){ TPC_MAP, 0, n, { .members = out } };
    return 0;
}

int tpi_secret_merge(const struct tpc_list *schema, const struct tpc_value *doc,
                     const struct tpc_value *stored, struct tpc_arena *arena, struct tpc_value *ret)
{
    return merge(schema, doc, (struct tpc_str){ "", 0 }, stored, arena, ret);
}

static int collect(const struct tpc_list *schema, const struct tpc_value *doc,
                   struct tpc_str prefix, struct tpc_arena *arena, struct tpc_member *out,
                   size_t *n)
{
    for (uint32_t i = 0; i < schema->count; i++) {
        const struct tpc_option *o = option_at(schema, i);
        struct tpc_str key = tpc_str_from(o->name);
        const struct tpc_value *v = tpc_value_get(doc, key);
        struct tpc_str path;
        if (v == NULL || (o->type != TPC_OPT_SECRET && !table_with_secrets(o, v))) {
            continue;
        }
        if (join(arena, prefix, key, &path) != 0) {
            return TPC_ENOMEM;
        }
        if (o->type == TPC_OPT_TABLE) {
            int rc = collect(&o->sub, v, path, arena, out, n);
            if (rc != 0) {
                return rc;
            }
            continue;
        }
        if (*n == TPI_ENTITY_SECRETS) {
            return TPC_ETOOBIG;
        }
        out[*n].key = path;
        out[(*n)++].value = *v;
    }
    return 0;
}

int tpi_secret_collect(const struct tpc_list *schema, const struct tpc_value *doc,
                       struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpc_member *out = tpc_arena_take(arena, TPI_ENTITY_SECRETS * sizeof(*out));
    size_t n = 0;
    if (out == NULL) {
        return TPC_ENOMEM;
    }
    int rc = collect(schema, doc, (struct tpc_str){ "", 0 }, arena, out, &n);
    if (rc == 0) {
        *ret = (struct tpc_value){ TPC_MAP, 0, n, { .members = out } };
    }
    return rc;
}

int tpi_secret_read(struct tpi_entities *e, const struct tpi_change *change, struct tpc_error *err,
                    struct tpc_value *ret)
{
    struct tpi_entity_row row;
    *ret = (struct tpc_value){ TPC_NULL, 0, 0, { .i = 0 } };
    int rc = tpi_entity_row_get(e, TPC_SPACE_SECRET, tpc_str_from(change->kind->name),
                                change->tenant, change->key, change->arena, err, &row);
    if (rc != 0) {
        return rc == TPC_ENOENT ? 0 : rc;
    }
    return tpi_secret_parse(e, change, row.doc, change->arena, err, ret);
}

int tpi_entities_secret(struct tpi_entities *e, uint64_t tenant, const char *kind,
                        struct tpc_str key, struct tpc_str path, char *ret, size_t cap)
{
    struct tpi_change change = { .tenant = tenant, .key = key };
    struct tpc_value all;
    pthread_mutex_lock(&e->lock);
    const struct tpi_kind_slot *slot = tpi_entity_kind(e, tpc_str_from(kind));
    int rc = slot == NULL ? TPC_ENOENT : tpc_arena_create(e->env->alloc, 0, &change.arena);
    if (rc == 0) {
        change.kind = slot->kind;
        rc = tpi_secret_read(e, &change, NULL, &all);
        struct tpc_str text =
            rc == 0 ? tpc_value_text(tpc_value_get(&all, path)) : (struct tpc_str){ NULL, 0 };
        rc = rc != 0 ? rc : text.len == 0 ? TPC_ENOENT : text.len >= cap ? TPC_ETOOBIG : 0;
        if (rc == 0) {
            memcpy(ret, text.ptr, text.len);
            ret[text.len] = '\0';
        }
    }
    tpc_arena_destroy(change.arena);
    pthread_mutex_unlock(&e->lock);
    return rc;
}
