/* TSL as get-tsl gives it: numbers of ranges are texts, lists of bool and enum repeat their type. */
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "model/form.h"
#include "model/spec.h"

/* Names of members of dataSpecs and of ours. */
struct pair {
    const char *tsl;
    const char *own;
};

static const struct pair number_specs[] = { { "max", "max" },
                                            { "min", "min" },
                                            { "step", "step" },
                                            { "precise", "precise" },
                                            { "defaultValue", "default" },
                                            { "unit", "unit" },
                                            { "unitName", "unit_name" } };
static const struct pair text_specs[] = { { "length", "length" }, { "defaultValue", "default" } };

enum { NUMBER_SPECS = 7, NUMBERS = 5, TEXT_SPECS = 2, DEFAULT_LENGTH = TPI_MODEL_TEXT_BYTES };

static bool is_number_type(const struct tpc_value *type)
{
    return tpi_form_is(type, "int") || tpi_form_is(type, "float") || tpi_form_is(type, "double");
}

static bool is_list_type(const struct tpc_value *type)
{
    return tpi_form_is(type, "bool") || tpi_form_is(type, "enum");
}

/* ---- from TSL ---- */

static int from_field(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                      const void *user, struct tpc_error *err, struct tpc_value *ret);

/* A text that is a number becomes one. */
static void put_number(struct tpi_tree *t, const char *key, const struct tpc_value *v)
{
    struct tpc_value number;
    if (v != NULL && v->type == TPC_TEXT && tpi_number_from_text(tpc_value_text(v), &number)) {
        v = &number;
    }
    tpi_tree_put(t, key, v);
}

/* Items of bool and enum: as they are, without the type that repeats. */
static int from_item(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                     const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    (void) index;
    (void) err;
    tpi_tree_begin(&t, arena);
    for (size_t i = 0; i < item->len; i++) {
        const struct tpc_member *m = &item->as.members[i];
        if (tpc_str_equal(m->key, TPC_STR("dataType")) == 0 || !tpc_value_equal(&m->value, user)) {
            tpi_tree_put_key(&t, m->key, &m->value);
        }
    }
    return tpi_tree_end(&t, ret);
}

static int from_list(struct tpi_tree *t, const struct tpc_value *def, const char *key,
                     const char *own, tpi_form_item_fn *fn, const struct tpc_value *user,
                     struct tpc_error *err)
{
    const struct tpc_value *list = tpi_form_member(def, key);
    struct tpc_value out;
    if (list == NULL) {
        return 0;
    }
    int rc = tpi_form_each(t->arena, list, key, fn, user, err, &out);
    if (rc == 0) {
        tpi_tree_put(t, own, &out);
    }
    return rc;
}

static int from_array(struct tpi_tree *t, const struct tpc_value *specs, struct tpc_error *err)
{
    struct tpi_tree items;
    struct tpc_value v;
    const struct tpc_value *child = NULL;
    put_number(t, "size", tpi_form_member(specs, "size"));
    int rc = tpi_form_text(specs, "childDataType", true, err, &child);
    tpi_tree_begin(&items, t->arena);
    tpi_tree_put(&items, "type", child);
    if (rc == 0 && tpi_form_is(child, "struct")) {
        rc = from_list(&items, specs, "dataSpecsList", "fields", from_field, NULL, err);
    }
    rc = rc != 0 ? rc : tpi_tree_end(&items, &v);
    if (rc == 0) {
        tpi_tree_put(t, "items", &v);
    } else {
        tpi_error_at(err, "dataSpecs");
    }
    return rc;
}

/* Type and specs of def, whose type stands in type_key. */
static int from_spec(struct tpi_tree *t, const struct tpc_value *def, const char *type_key,
                     struct tpc_error *err)
{
    const struct tpc_value *type = NULL;
    const struct tpc_value *specs = tpi_form_member(def, "dataSpecs");
    int rc = tpi_form_text(def, type_key, true, err, &type);
    if (rc != 0) {
        return rc;
    }
    if (specs != NULL && specs->type != TPC_MAP) {
        return tpi_form_expected(err, "dataSpecs", "an object");
    }
    tpi_tree_put(t, "type", type);
    if (is_number_type(type)) {
        for (size_t i = 0; i < NUMBER_SPECS; i++) {
            const struct tpc_value *v = tpi_form_member(specs, number_specs[i].tsl);
            if (i < NUMBERS) {
                put_number(t, number_specs[i].own, v);
            } else {
                tpi_tree_put(t, number_specs[i].own, v);
            }
        }
    } else if (tpi_form_is(type, "text") || tpi_form_is(type, "date")) {
        const struct tpc_value *length = tpi_form_member(specs, "length");
        int64_t n = 0;
        if (length == NULL || tpc_value_int(length, &n) != 0 || n != DEFAULT_LENGTH ||
            !tpi_form_is(type, "text")) {
            put_number(t, "length", length);
        }
        tpi_tree_put(t, "default", tpi_form_member(specs, "defaultValue"));
    } else if (is_list_type(type)) {
        return from_list(t, def, "dataSpecsList", "values", from_item, type, err);
    } else if (tpi_form_is(type, "struct")) {
        return from_list(t, def, "dataSpecsList", "fields", from_field, NULL, err);
    } else if (tpi_form_is(type, "array")) {
        return from_array(t, specs, err);
    } else {
        return tpi_form_expected(err, type_key,
                                 "int, float, double, text, date, bool, enum, struct or array");
    }
    return 0;
}

/* Members that all definitions have. */
static int from_head(struct tpi_tree *t, const struct tpc_value *def, struct tpc_error *err)
{
    return tpi_form_head(t, def, "identifier", "name", err);
}

/* A member whose usual value is left out. */
static void put_unless(struct tpi_tree *t, const char *own, const struct tpc_value *v,
                       const char *usual)
{
    if (v != NULL && !tpi_form_is(v, usual)) {
        tpi_tree_put(t, own, v);
    }
}

static void put_required(struct tpi_tree *t, const struct tpc_value *v)
{
    if (v != NULL && (v->type != TPC_BOOL || v->as.b)) {
        tpi_tree_put(t, "required", v);
    }
}

/* Property, or field of a struct. */
static int from_property(struct tpc_arena *arena, const struct tpc_value *def, const char *type_key,
                         struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    tpi_tree_begin(&t, arena);
    int rc = from_head(&t, def, err);
    put_unless(&t, "access", tpi_form_member(def, "accessMode"), "r");
    put_required(&t, tpi_form_member(def, "required"));
    rc = rc != 0 ? rc : from_spec(&t, def, type_key, err);
    return rc != 0 ? rc : tpi_tree_end(&t, ret);
}

static int from_field(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                      const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    (void) index;
    (void) user;
    return from_property(arena, item, "childDataType", err, ret);
}

static int from_param(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                      const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    (void) index;
    (void) user;
    tpi_tree_begin(&t, arena);
    int rc = from_head(&t, item, err);
    put_required(&t, tpi_form_member(item, "required"));
    rc = rc != 0 ? rc : from_spec(&t, item, "dataType", err);
    return rc != 0 ? rc : tpi_tree_end(&t, ret);
}

static int from_function(struct tpc_arena *arena, enum tpi_what what, const struct tpc_value *def,
                         struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    tpi_tree_begin(&t, arena);
    int rc = from_head(&t, def, err);
    if (what == TPI_WHAT_SERVICE) {
        put_unless(&t, "call", tpi_form_member(def, "callType"), "async");
        rc = rc != 0 ? rc : from_list(&t, def, "inputParams", "input", from_param, NULL, err);
    } else {
        put_unless(&t, "level", tpi_form_member(def, "type"), "info");
    }
    rc = rc != 0 ? rc : from_list(&t, def, "outputParams", "output", from_param, NULL, err);
    tpi_tree_put(&t, "method", tpi_form_member(def, "method"));
    return rc != 0 ? rc : tpi_tree_end(&t, ret);
}

static int tsl_from(struct tpc_arena *arena, enum tpi_what what, const struct tpc_value *other,
                    struct tpc_error *err, struct tpc_value *ret)
{
    return what == TPI_WHAT_PROPERTY ? from_property(arena, other, "dataType", err, ret)
                                     : from_function(arena, what, other, err, ret);
}

/* ---- to TSL ---- */

static int to_field(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                    const void *user, struct tpc_error *err, struct tpc_value *ret);

/* A number as text, as TSL has it. */
static void put_as_text(struct tpi_tree *t, const char *key, const struct tpc_value *v)
{
    if (v == NULL || (v->type != TPC_INT && v->type != TPC_DOUBLE)) {
        tpi_tree_put(t, key, v);
        return;
    }
    struct tpc_buf buf = { tpc_arena_take(t->arena, 40), 40, 0 };
    if (buf.ptr == NULL || tpc_json_write(v, 0, &buf) != 0) {
        t->failed = true;
        return;
    }
    tpi_tree_put(t, key,
                 &(struct tpc_value){
                     .type = TPC_TEXT, .len = buf.need, .as.text = (const char *) buf.ptr });
}

static int to_item(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                   const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    (void) index;
    (void) err;
    tpi_tree_begin(&t, arena);
    if (tpi_form_member(item, "dataType") == NULL) {
        tpi_tree_put(&t, "dataType", user);
    }
    for (size_t i = 0; i < item->len; i++) {
        tpi_tree_put_key(&t, item->as.members[i].key, &item->as.members[i].value);
    }
    return tpi_tree_end(&t, ret);
}

static void to_list(struct tpi_tree *t, const struct tpc_value *def, const char *own,
                    const char *key, tpi_form_item_fn *fn, const void *user)
{
    const struct tpc_value *list = tpi_form_member(def, own);
    struct tpc_value out;
    if (list == NULL) {
        return;
    }
    int rc = tpi_form_each(t->arena, list, key, fn, user, NULL, &out);
    t->failed = t->failed || rc == TPC_ENOMEM;
    tpi_tree_put(t, key, rc == 0 ? &out : NULL);
}

static void put_specs(struct tpi_tree *t, struct tpi_tree *specs)
{
    struct tpc_value v;
    if (tpi_tree_end(specs, &v) != 0) {
        t->failed = true;
    } else if (v.len > 0) {
        tpi_tree_put(t, "dataSpecs", &v);
    }
}

static void to_spec(struct tpi_tree *t, const struct tpc_value *def, const char *type_key)
{
    const struct tpc_value *type = tpi_form_member(def, "type");
    struct tpi_tree specs;
    tpi_tree_begin(&specs, t->arena);
    tpi_tree_put(t, type_key, type);
    if (is_number_type(type)) {
        for (size_t i = 0; i < NUMBER_SPECS; i++) {
            put_as_text(&specs, number_specs[i].tsl, tpi_form_member(def, number_specs[i].own));
        }
    } else if (tpi_form_is(type, "text") || tpi_form_is(type, "date")) {
        for (size_t i = 0; i < TEXT_SPECS; i++) {
            tpi_tree_put(&specs, text_specs[i].tsl, tpi_form_member(def, text_specs[i].own));
        }
        if (tpi_form_is(type, "text") && tpi_form_member(def, "length") == NULL) {
            tpi_tree_int(&specs, "length", DEFAULT_LENGTH);
        }
    } else if (is_list_type(type)) {
        to_list(t, def, "values", "dataSpecsList", to_item, type);
    } else if (tpi_form_is(type, "struct")) {
        to_list(t, def, "fields", "dataSpecsList", to_field, NULL);
    } else {
        const struct tpc_value *items = tpi_form_member(def, "items");
        tpi_tree_put(&specs, "size", tpi_form_member(def, "size"));
        tpi_tree_put(&specs, "childDataType", tpi_form_member(items, "type"));
        to_list(&specs, items, "fields", "dataSpecsList", to_field, NULL);
        t->failed = t->failed || specs.failed;
    }
    put_specs(t, &specs);
}

static void to_head(struct tpi_tree *t, const struct tpc_value *def)
{
    const struct tpc_value *id = tpi_form_member(def, "id");
    const struct tpc_value *name = tpi_form_member(def, "name");
    tpi_tree_put(t, "identifier", id);
    tpi_tree_put(t, "name", name != NULL ? name : id);
    tpi_tree_put(t, "description", tpi_form_member(def, "description"));
}

static void put_usual(struct tpi_tree *t, const char *key, const struct tpc_value *v,
                      const char *usual)
{
    if (v != NULL) {
        tpi_tree_put(t, key, v);
    } else {
        tpi_tree_text(t, key, usual);
    }
}

static int to_property(struct tpc_arena *arena, const struct tpc_value *def, const char *type_key,
                       struct tpc_value *ret)
{
    struct tpi_tree t;
    const struct tpc_value *required = tpi_form_member(def, "required");
    tpi_tree_begin(&t, arena);
    to_head(&t, def);
    put_usual(&t, "accessMode", tpi_form_member(def, "access"), "r");
    tpi_tree_bool(&t, "required", required != NULL && required->type == TPC_BOOL && required->as.b);
    to_spec(&t, def, type_key);
    return tpi_tree_end(&t, ret);
}

static int to_field(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                    const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    (void) index;
    (void) user;
    (void) err;
    return to_property(arena, item, "childDataType", ret);
}

/* user: "input" or "output". */
static int to_param(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                    const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    (void) err;
    tpi_tree_begin(&t, arena);
    to_head(&t, item);
    tpi_tree_text(&t, "direction", user);
    tpi_tree_int(&t, "paraOrder", (int64_t) index);
    tpi_tree_put(&t, "required", tpi_form_member(item, "required"));
    to_spec(&t, item, "dataType");
    return tpi_tree_end(&t, ret);
}

static int tsl_to(struct tpc_arena *arena, enum tpi_what what, const struct tpc_value *own,
                  struct tpc_value *ret)
{
    if (what == TPI_WHAT_PROPERTY) {
        return to_property(arena, own, "dataType", ret);
    }
    struct tpi_tree t;
    tpi_tree_begin(&t, arena);
    to_head(&t, own);
    if (what == TPI_WHAT_SERVICE) {
        put_usual(&t, "callType", tpi_form_member(own, "call"), "async");
        to_list(&t, own, "input", "inputParams", to_param, "input");
    } else {
        put_usual(&t, "type", tpi_form_member(own, "level"), "info");
    }
    to_list(&t, own, "output", "outputParams", to_param, "output");
    tpi_tree_put(&t, "method", tpi_form_member(own, "method"));
    return tpi_tree_end(&t, ret);
}

static const struct tpi_form_list lists[] = { { "properties", "properties", TPI_WHAT_PROPERTY },
                                              { "services", "services", TPI_WHAT_SERVICE },
                                              { "events", "events", TPI_WHAT_EVENT },
                                              { NULL, NULL, TPI_WHAT_PROPERTY } };

static const struct tpi_form_segment segments[] = { { "id", "identifier" },
                                                    { "access", "accessMode" },
                                                    { "type", "dataType" },
                                                    { "min", "dataSpecs.min" },
                                                    { "max", "dataSpecs.max" },
                                                    { "step", "dataSpecs.step" },
                                                    { "default", "dataSpecs.defaultValue" },
                                                    { "unit", "dataSpecs.unit" },
                                                    { "length", "dataSpecs.length" },
                                                    { "size", "dataSpecs.size" },
                                                    { "items", "dataSpecs" },
                                                    { "values", "dataSpecsList" },
                                                    { "fields", "dataSpecsList" },
                                                    { "input", "inputParams" },
                                                    { "output", "outputParams" },
                                                    { "call", "callType" },
                                                    { "level", "type" },
                                                    { NULL, NULL } };

static const char *const known[] = { "identifier", "name",          "description",
                                     "accessMode", "required",      "dataType",
                                     "dataSpecs",  "dataSpecsList", "inputParams",
                                     "callType",   "outputParams",  "type",
                                     "method",     "tpcore",        NULL };

const struct tpi_form tpi_form_tsl = { .name = "tsl",
                                       .lists = lists,
                                       .segments = segments,
                                       .known = known,
                                       .from = tsl_from,
                                       .to = tsl_to };
