/* Trees being made, and the members of definitions. */
#include <string.h>

#include "base/error.h"
#include "model/form.h"

static const char origin[] = "model";

void tpi_tree_begin(struct tpi_tree *t, struct tpc_arena *arena)
{
    *t = (struct tpi_tree){ .arena = arena };
}

void tpi_tree_put_key(struct tpi_tree *t, struct tpc_str key, const struct tpc_value *v)
{
    if (v == NULL || t->failed) {
        return;
    }
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 12 : 2 * t->cap;
        struct tpc_member *more = tpc_arena_take(t->arena, cap * sizeof(*more));
        if (more == NULL) {
            t->failed = true;
            return;
        }
        if (t->count > 0) {
            memcpy(more, t->members, t->count * sizeof(*more));
        }
        t->members = more;
        t->cap = cap;
    }
    t->members[t->count++] = (struct tpc_member){ key, *v };
}

void tpi_tree_put(struct tpi_tree *t, const char *key, const struct tpc_value *v)
{
    tpi_tree_put_key(t, tpc_str_from(key), v);
}

void tpi_tree_text(struct tpi_tree *t, const char *key, const char *text)
{
    tpi_tree_put(t, key,
                 &(struct tpc_value){ .type = TPC_TEXT, .len = strlen(text), .as.text = text });
}

void tpi_tree_bool(struct tpi_tree *t, const char *key, bool b)
{
    tpi_tree_put(t, key, &(struct tpc_value){ .type = TPC_BOOL, .as.b = b });
}

void tpi_tree_int(struct tpi_tree *t, const char *key, int64_t i)
{
    tpi_tree_put(t, key, &(struct tpc_value){ .type = TPC_INT, .as.i = i });
}

int tpi_tree_end(struct tpi_tree *t, struct tpc_value *ret)
{
    if (t->failed) {
        return TPC_ENOMEM;
    }
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = t->count, .as.members = t->members };
    return 0;
}

const struct tpc_value *tpi_form_member(const struct tpc_value *map, const char *key)
{
    const struct tpc_value *v = tpc_value_get(map, tpc_str_from(key));
    return v == NULL || v->type == TPC_NULL ? NULL : v;
}

bool tpi_form_is(const struct tpc_value *v, const char *text)
{
    return v != NULL && v->type == TPC_TEXT &&
           tpc_str_equal(tpc_value_text(v), tpc_str_from(text)) != 0;
}

int tpi_form_expected(struct tpc_error *err, const char *key, const char *what)
{
    tpi_error_set(err, TPC_EMODEL, origin, "expected %s", what);
    tpi_error_at(err, key);
    return TPC_EMODEL;
}

int tpi_form_text(const struct tpc_value *map, const char *key, bool needed, struct tpc_error *err,
                  const struct tpc_value **ret)
{
    const struct tpc_value *v = tpi_form_member(map, key);
    if ((v == NULL && needed) || (v != NULL && v->type != TPC_TEXT)) {
        return tpi_form_expected(err, key, "a text");
    }
    *ret = v;
    return 0;
}

int tpi_form_head(struct tpi_tree *t, const struct tpc_value *def, const char *id_key,
                  const char *name_key, struct tpc_error *err)
{
    const struct tpc_value *id = NULL;
    const struct tpc_value *name = NULL;
    int rc = tpi_form_text(def, id_key, true, err, &id);
    rc = rc != 0 ? rc : tpi_form_text(def, name_key, false, err, &name);
    if (rc != 0) {
        return rc;
    }
    tpi_tree_put(t, "id", id);
    if (name != NULL && !tpc_value_equal(name, id)) {
        tpi_tree_put(t, "name", name);
    }
    tpi_tree_put(t, "description", tpi_form_member(def, "description"));
    return 0;
}

int tpi_form_each(struct tpc_arena *arena, const struct tpc_value *list, const char *key,
                  tpi_form_item_fn *fn, const void *user, struct tpc_error *err,
                  struct tpc_value *ret)
{
    if (list->type != TPC_ARRAY) {
        return tpi_form_expected(err, key, "an array");
    }
    struct tpc_value *out = tpc_arena_take(arena, (list->len + 1) * sizeof(*out));
    int rc = out == NULL ? tpi_error_set(err, TPC_ENOMEM, origin, "out of memory") : 0;
    for (size_t i = 0; i < list->len && rc == 0; i++) {
        const struct tpc_value *item = &list->as.items[i];
        rc = item->type != TPC_MAP ? tpi_error_set(err, TPC_EMODEL, origin, "expected an object")
                                   : fn(arena, item, i, user, err, &out[i]);
        if (rc != 0) {
            tpi_error_at_index(err, i);
            tpi_error_at(err, key);
        }
    }
    if (rc == 0) {
        *ret = (struct tpc_value){ .type = TPC_ARRAY, .len = list->len, .as.items = out };
    }
    return rc;
}
