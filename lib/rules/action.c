/* Lists of actions: reading, compiling and checking them. What each type is: rules/action_type.h. */
#include "rules/action.h"

#include "base/error.h"
#include "base/hash.h"
#include "data/member.h"
#include "rules/action_type.h"

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

/* ---- reading ---- */

/* Type of the only member of an item; NULL if there is another number of them. */
static const struct tpi_action_type *type_of(const struct tpc_value *item)
{
    const struct tpi_action_type *found = NULL;
    uint32_t count = 0;
    for (size_t i = 0; tpi_action_types[i] != NULL; i++) {
        if (tpi_member(item, tpi_action_types[i]->name) != NULL) {
            found = tpi_action_types[i];
            count++;
        }
    }
    return count == 1 ? found : NULL;
}

/* Devices that have something in common. Returns 0, TPC_EINVAL or TPC_ENOMEM. */
static int read_many(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                     struct tpc_error *err)
{
    struct tpi_action_many many = { tpi_member_text(doc, "product"), tpi_member_text(doc, "select"),
                                    tpi_member_text(doc, "group") };
    bool common = many.product.len > 0 || many.select.len > 0;
    if (!common && many.group.len == 0) {
        return 0;
    }
    if (a->device.len > 0 || (common && many.group.len > 0)) {
        return tpi_error_set(err, TPC_EINVAL, "rules",
                             "it is about a device, or about a group, or about all of a product "
                             "and with labels");
    }
    struct tpi_action_many *copy = tpc_arena_take(arena, sizeof(*copy));
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    *copy = many;
    a->many = copy;
    return 0;
}

static int read_action(struct tpi_action *a, struct tpc_arena *arena, size_t number,
                       const struct tpc_value *item, struct tpc_error *err)
{
    *a = (struct tpi_action){ .type = type_of(item) };
    if (a->type == NULL) {
        tpi_error_set(err, TPC_EINVAL, "rules", "an action is one of: " TPI_ACTION_NAMES);
        return path_error(err, TPC_EINVAL, number, NULL, NULL);
    }
    const struct tpi_action_type *t = a->type;
    const struct tpc_value *doc = tpi_member(item, t->name);
    const struct tpc_value *params = t->params != NULL ? tpi_member(doc, t->params) : NULL;
    if (params != NULL && params->type != TPC_MAP) {
        tpi_error_set(err, TPC_EINVAL, "rules", "not a map");
        return path_error(err, TPC_EINVAL, number, t->name, t->params);
    }
    a->device = tpi_member_text(doc, "device");
    a->name = t->names != NULL ? tpi_member_text(doc, t->names) : a->name;
    a->params = params != NULL ? *params : (struct tpc_value){ .type = TPC_NULL };
    atomic_init(&a->warned, false);
    int rc = read_many(a, arena, doc, err);
    rc = rc == 0 && t->read != NULL ? t->read(a, arena, doc, err) : rc;
    return rc == 0 ? 0 : path_error(err, rc, number, t->name, NULL);
}

/* Of a tree whose texts and numbers are the same in the same order. */
static uint64_t hash_tree(const struct tpc_value *v, uint64_t h)
{
    h = tpi_hash64(h ^ v->type ^ ((uint64_t) v->len << 8));
    switch (v->type) {
    case TPC_BOOL:
        return tpi_hash64(h ^ v->as.b);
    case TPC_INT:
        return tpi_hash64(h ^ (uint64_t) v->as.i);
    case TPC_DOUBLE:
        return tpi_hash(&v->as.d, sizeof(v->as.d), h);
    case TPC_TEXT:
        return tpi_hash(v->as.text, v->len, h);
    case TPC_ARRAY:
        for (size_t i = 0; i < v->len; i++) {
            h = hash_tree(&v->as.items[i], h);
        }
        return h;
    case TPC_MAP:
        for (size_t i = 0; i < v->len; i++) {
            struct tpc_str key = v->as.members[i].key;
            h = hash_tree(&v->as.members[i].value, tpi_hash(key.ptr, key.len, h));
        }
        return h;
    default:
        return h;
    }
}

uint64_t tpi_actions_hash(const struct tpc_value *doc)
{
    return hash_tree(doc, 0) | 1;
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

bool tpi_actions_wait(const struct tpi_actions *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->items[i].type->waits) {
            return true;
        }
    }
    return false;
}

/* ---- values in texts ---- */

int tpi_actions_compile(struct tpi_actions *actions, const struct tpc_allocator *alloc,
                        const struct tpi_expr_scope *scope, struct tpc_error *err)
{
    for (uint32_t i = 0; i < actions->count; i++) {
        struct tpi_action *a = &actions->items[i];
        int rc = tpi_fills_compile(alloc, &a->params, scope, err, &a->fills);
        if (rc != 0) {
            return path_error(err, rc, i, a->type->name, a->type->params);
        }
        rc = a->type->compile != NULL ? a->type->compile(a, scope, err) : 0;
        if (rc != 0) {
            return path_error(err, rc, i, a->type->name, NULL);
        }
    }
    return 0;
}

void tpi_actions_uncompile(struct tpi_actions *actions)
{
    for (uint32_t i = 0; i < actions->count; i++) {
        struct tpi_action *a = &actions->items[i];
        tpi_fills_fini(&a->fills);
        if (a->type->uncompile != NULL) {
            a->type->uncompile(a);
        }
    }
}

void tpi_actions_fini(struct tpi_actions *actions)
{
    tpi_actions_uncompile(actions);
    for (uint32_t i = 0; i < actions->count; i++) {
        struct tpi_action *a = &actions->items[i];
        if (a->type->fini != NULL) {
            a->type->fini(a);
        }
    }
    actions->count = 0;
}

/* ---- checking ---- */

int tpi_actions_check(const struct tpi_actions *actions, struct tpi_registry *registry,
                      struct tpc_str tenant, uint64_t tenant_id, struct tpc_str product,
                      struct tpc_arena *arena, struct tpc_error *err)
{
    struct tpi_action_scope scope = { registry, tenant, tenant_id, product, arena };
    for (uint32_t i = 0; i < actions->count; i++) {
        const struct tpi_action *a = &actions->items[i];
        const struct tpi_action_type *t = a->type;
        if (product.len == 0 && !t->device_optional && a->device.len == 0 && a->many == NULL) {
            tpi_error_set(err, TPC_EINVAL, "rules", "no device set it off: it has to be named");
            return path_error(err, TPC_EINVAL, i, t->name, "device");
        }
        int rc = t->check != NULL ? t->check(a, &scope, err) : 0;
        if (rc != 0) {
            return path_error(err, rc, i, t->name, NULL);
        }
    }
    return 0;
}
