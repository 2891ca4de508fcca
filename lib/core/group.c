/* Members of a group: its own, those of the groups in it, and whatever has the labels that they
 * select. */
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

#include "core/core.h"

enum { PAGE = 100, PAGE_MAX = 1000, GROUPS_MAX = 256 };

struct listing {
    struct tpc_core *core;
    struct tpc_str tenant;
    struct tpc_arena *arena;
    struct tpc_error *err;
    struct tpc_str groups[GROUPS_MAX]; /* keys */
    struct tpc_str selects[GROUPS_MAX];
    uint32_t count;
    struct tpc_str *keys; /* of devices, from all sources */
    size_t key_count, key_cap;
};

static int no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, "group", "out of memory");
}

static int copy(struct listing *l, struct tpc_str in, struct tpc_str *ret)
{
    char *text = tpc_arena_take(l->arena, in.len + 1);
    if (text == NULL) {
        return no_memory(l->err);
    }
    memcpy(text, in.ptr, in.len);
    *ret = (struct tpc_str){ text, in.len };
    return 0;
}

static int on_group(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                    struct tpc_str json)
{
    struct listing *l = user;
    struct tpc_value doc;
    struct tpc_str text;
    (void) info;
    if (l->count == GROUPS_MAX) {
        return tpi_error_set(l->err, TPC_ETOOBIG, "group", "over %d groups in one", GROUPS_MAX);
    }
    /* The tree points into the text. */
    int rc = copy(l, json, &text);
    rc = rc != 0 ? rc : tpc_json_parse(l->arena, text, 0, l->err, &doc);
    rc = rc != 0 ? rc : copy(l, key, &l->groups[l->count]);
    if (rc == 0) {
        l->selects[l->count++] = tpc_value_text(tpc_value_get(&doc, TPC_STR("select")));
    }
    return rc;
}

/* The group and all that stand in it. */
static int read_groups(struct listing *l, struct tpc_str group)
{
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    int rc = tpi_entities_get(l->core->entities, l->tenant, "group", group, l->err, on_group, l);
    q.tenant = l->tenant;
    q.kind = TPC_STR("group");
    q.field = TPC_STR("parent");
    q.limit = GROUPS_MAX + 1;
    for (uint32_t i = 0; rc == 0 && i < l->count; i++) {
        q.value = l->groups[i];
        rc = tpi_entities_list(l->core->entities, &q, l->err, on_group, l);
    }
    return rc;
}

static int on_device(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    struct listing *l = user;
    (void) info;
    (void) json;
    if (l->key_count == l->key_cap) {
        size_t cap = l->key_cap == 0 ? 1024 : l->key_cap * 2;
        struct tpc_str *keys = tpc_arena_take(l->arena, cap * sizeof(*keys));
        if (keys == NULL) {
            return no_memory(l->err);
        }
        if (l->key_count > 0) {
            memcpy(keys, l->keys, l->key_count * sizeof(*keys));
        }
        l->keys = keys;
        l->key_cap = cap;
    }
    int rc = copy(l, key, &l->keys[l->key_count]);
    l->key_count += rc == 0;
    return rc;
}

/* The first `limit` of each source hold the first `limit` of all. */
static int read_keys(struct listing *l, struct tpc_str after_key, uint32_t limit)
{
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    int rc = 0;
    q.tenant = l->tenant;
    q.kind = TPC_STR("device");
    q.after_key = after_key;
    q.limit = limit;
    for (uint32_t i = 0; rc == 0 && i < l->count; i++) {
        q.field = TPC_STR("groups");
        q.value = l->groups[i];
        q.select = (struct tpc_str){ NULL, 0 };
        rc = tpi_entities_list(l->core->entities, &q, l->err, on_device, l);
        if (rc == 0 && l->selects[i].len > 0) {
            q.field = (struct tpc_str){ NULL, 0 };
            q.select = l->selects[i];
            rc = tpi_entities_list(l->core->entities, &q, l->err, on_device, l);
        }
    }
    return rc;
}

static int compare(const void *a, const void *b)
{
    const struct tpc_str *x = a, *y = b;
    int c = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static int tell(struct listing *l, uint32_t limit, tpc_entity_fn *fn, void *user)
{
    int rc = 0;
    if (l->key_count > 0) {
        qsort(l->keys, l->key_count, sizeof(*l->keys), compare);
    }
    for (size_t i = 0; rc == 0 && limit > 0 && i < l->key_count; i++) {
        if (i > 0 && compare(&l->keys[i], &l->keys[i - 1]) == 0) {
            continue;
        }
        rc = tpi_entities_get(l->core->entities, l->tenant, "device", l->keys[i], l->err, fn, user);
        if (rc == TPC_ENOENT && l->err->code == TPC_ENOENT) {
            *l->err = (struct tpc_error){ .size = sizeof(*l->err) };
            rc = 0; /* it was deleted meanwhile */
            continue;
        }
        limit--;
    }
    return rc;
}

int tpc_group_list(struct tpc_core *core, struct tpc_str tenant, struct tpc_str group,
                   struct tpc_str after_key, uint32_t limit, tpc_entity_fn *fn, void *user)
{
    if (core == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "group", "core or fn is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    struct tpc_arena *arena = NULL;
    limit = limit == 0 ? PAGE : limit > PAGE_MAX ? PAGE_MAX : limit;
    int rc = tpi_core_entities(core, err);
    if (rc == 0 && tpc_arena_create(core->env.alloc, 0, &arena) != 0) {
        rc = no_memory(err);
    }
    struct listing *l = rc == 0 ? tpc_arena_take(arena, sizeof(*l)) : NULL;
    if (rc == 0 && l == NULL) {
        rc = no_memory(err);
    }
    if (rc == 0) {
        *l = (struct listing){ .core = core, .tenant = tenant, .arena = arena, .err = err };
        rc = read_groups(l, group);
        rc = rc != 0 ? rc : read_keys(l, after_key, limit);
        rc = rc != 0 ? rc : tell(l, limit, fn, user);
    }
    tpc_arena_destroy(arena);
    return rc == err->code ? tpi_fail_end(rc) : rc;
}
