#include "model/compile.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/map.h"
#include "data/msg.h"
#include "data/option.h"

static const char origin[] = "model";

static const char *const type_names[] = { "?",    "int",  "float", "double", "bool",
                                          "enum", "text", "date",  "struct", "array" };
static const uint8_t value_types[] = { TPC_NULL, TPC_INT,  TPC_DOUBLE, TPC_DOUBLE, TPC_BOOL,
                                       TPC_INT,  TPC_TEXT, TPC_INT,    TPC_MAP,    TPC_ARRAY };

const char *tpi_data_type_name(int data_type)
{
    return data_type >= TPI_DATA_INT && data_type <= TPI_DATA_ARRAY ? type_names[data_type] : "?";
}

int tpi_type_from_name(struct tpc_str name)
{
    for (int i = TPI_DATA_INT; i <= TPI_DATA_ARRAY; i++) {
        if (tpc_str_equal(name, tpc_str_from(type_names[i])) != 0) {
            return i;
        }
    }
    return 0;
}

const struct tpc_value *tpi_def_member(const struct tpc_value *map, const char *key)
{
    const struct tpc_value *v = tpc_value_get(map, tpc_str_from(key));
    return v == NULL || v->type == TPC_NULL ? NULL : v;
}

/* A fault of a member: path is the member's name. */
int tpi_def_bad(struct tpi_compiler *c, const char *key, int code, const char *text)
{
    tpi_error_set(c->err, code, origin, "%s", text);
    tpi_error_at(c->err, key);
    return code;
}

int tpi_def_no_memory(struct tpi_compiler *c)
{
    return tpi_error_set(c->err, TPC_ENOMEM, origin, "out of memory");
}

void *tpi_def_take(struct tpi_compiler *c, size_t count, size_t size)
{
    /* Counts are bounded by the limits of model.h, so the product fits. */
    void *p = tpc_arena_take(c->arena, count * size + 1);
    if (p != NULL) {
        memset(p, 0, count * size + 1);
    }
    return p;
}

int tpi_def_text(struct tpi_compiler *c, struct tpc_str in, struct tpc_str *ret)
{
    char *p = tpi_def_take(c, in.len, 1);
    if (p == NULL) {
        return tpi_def_no_memory(c);
    }
    if (in.len > 0) {
        memcpy(p, in.ptr, in.len);
    }
    *ret = (struct tpc_str){ p, in.len };
    return 0;
}

/* A key of a property, parameter, field, service or event. */
int tpi_def_key(struct tpi_compiler *c, const struct tpc_value *def, struct tpc_str *ret)
{
    if (def->type != TPC_MAP) {
        return tpi_error_set(c->err, TPC_EINVAL, origin, "is not an object");
    }
    const struct tpc_value *v = tpi_def_member(def, "id");
    if (v == NULL) {
        return tpi_def_bad(c, "id", TPC_EINVAL, "is missing");
    }
    if (v->type != TPC_TEXT || !tpi_key_valid(tpc_value_text(v))) {
        return tpi_def_bad(c, "id", TPC_EINVAL,
                           "is no text of 1 to 128 bytes without control bytes");
    }
    return tpi_def_text(c, tpc_value_text(v), ret);
}

/* Numbers may be written as text, as TSL does. */
static int read_number(struct tpi_compiler *c, const struct tpc_value *def, const char *key,
                       bool *ret_has, struct tpc_value *ret)
{
    const struct tpc_value *v = tpi_def_member(def, key);
    *ret_has = v != NULL;
    if (v == NULL) {
        return 0;
    }
    *ret = *v;
    if (v->type == TPC_TEXT && v->len == 0) {
        *ret_has = false;
        return 0;
    }
    if (v->type == TPC_TEXT && !tpi_number_from_text(tpc_value_text(v), ret)) {
        return tpi_def_bad(c, key, TPC_EINVAL, "is not a number");
    }
    if (ret->type != TPC_INT && ret->type != TPC_DOUBLE) {
        return tpi_def_bad(c, key, TPC_EINVAL, "is not a number");
    }
    return 0;
}

static int read_count(struct tpi_compiler *c, const struct tpc_value *def, const char *key,
                      uint32_t most, uint32_t normal, uint32_t *ret)
{
    struct tpc_value v;
    bool has;
    int64_t n = normal;
    int rc = read_number(c, def, key, &has, &v);
    if (rc != 0) {
        return rc;
    }
    if (has && (tpc_value_int(&v, &n) != 0 || n < 1 || n > (int64_t) most)) {
        tpi_error_set(c->err, TPC_EINVAL, origin, "is not a whole number from 1 to %u", most);
        tpi_error_at(c->err, key);
        return TPC_EINVAL;
    }
    *ret = (uint32_t) n;
    return 0;
}

int tpi_def_flag(struct tpi_compiler *c, const struct tpc_value *def, const char *key, bool *ret)
{
    const struct tpc_value *v = tpi_def_member(def, key);
    if (v != NULL && v->type != TPC_BOOL) {
        return tpi_def_bad(c, key, TPC_EINVAL, "is neither true nor false");
    }
    *ret = v != NULL && v->as.b;
    return 0;
}

int tpi_def_people(struct tpi_compiler *c, const struct tpc_value *def)
{
    static const char *const keys[] = { "name", "description", "unit" };
    for (size_t i = 0; i < 3; i++) {
        const struct tpc_value *v = tpi_def_member(def, keys[i]);
        if (v != NULL && v->type != TPC_TEXT) {
            return tpi_def_bad(c, keys[i], TPC_EINVAL, "is not a text");
        }
    }
    return 0;
}

int tpi_def_word(struct tpi_compiler *c, const struct tpc_value *def, const char *key,
                 const char *const *words, size_t count, size_t *ret)
{
    const struct tpc_value *v = tpi_def_member(def, key);
    char list[64] = "";
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if (v != NULL && tpc_str_equal(tpc_value_text(v), tpc_str_from(words[i])) != 0) {
            *ret = i;
            return 0;
        }
        len +=
            (size_t) snprintf(list + len, sizeof(list) - len, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    if (v == NULL) {
        return 0;
    }
    tpi_error_set(c->err, TPC_EINVAL, origin, "is none of %s", list);
    tpi_error_at(c->err, key);
    return TPC_EINVAL;
}

int tpi_def_list(struct tpi_compiler *c, const struct tpc_value *def, const char *key,
                 uint32_t most, const struct tpc_value **ret)
{
    const struct tpc_value *v = tpi_def_member(def, key);
    *ret = v;
    if (v == NULL) {
        return 0;
    }
    if (v->type != TPC_ARRAY) {
        return tpi_def_bad(c, key, TPC_EINVAL, "is not an array");
    }
    if (v->len > most) {
        tpi_error_set(c->err, TPC_ETOOBIG, origin, "has more than %u entries", most);
        tpi_error_at(c->err, key);
        return TPC_ETOOBIG;
    }
    return 0;
}

int tpi_def_in_list(struct tpi_compiler *c, const char *key, size_t index, int rc)
{
    tpi_error_at_index(c->err, index);
    tpi_error_at(c->err, key);
    return rc;
}

static int compile_range(struct tpi_compiler *c, const struct tpc_value *def, struct tpi_spec *s)
{
    struct tpc_value min, max;
    bool has_min, has_max;
    int rc = read_number(c, def, "min", &has_min, &min);
    rc = rc != 0 ? rc : read_number(c, def, "max", &has_max, &max);
    if (rc != 0) {
        return rc;
    }
    if (s->data_type == TPI_DATA_INT) {
        if (has_min && tpc_value_int(&min, &s->int_min) != 0) {
            return tpi_def_bad(c, "min", TPC_EINVAL, "is not a whole number");
        }
        if (has_max && tpc_value_int(&max, &s->int_max) != 0) {
            return tpi_def_bad(c, "max", TPC_EINVAL, "is not a whole number");
        }
        return s->int_min > s->int_max ? tpi_def_bad(c, "min", TPC_EINVAL, "is above max") : 0;
    }
    double widest = s->max;
    if (has_min && (tpc_value_double(&min, &s->min) != 0 || !(s->min >= -widest))) {
        return tpi_def_bad(c, "min", TPC_EINVAL, "is beyond the type");
    }
    if (has_max && (tpc_value_double(&max, &s->max) != 0 || !(s->max <= widest))) {
        return tpi_def_bad(c, "max", TPC_EINVAL, "is beyond the type");
    }
    return s->min > s->max ? tpi_def_bad(c, "min", TPC_EINVAL, "is above max") : 0;
}

/* After the range. A step of 0 is none; where steps are hints they need only be numbers. */
static int compile_step(struct tpi_compiler *c, const struct tpc_value *def, struct tpi_spec *s)
{
    struct tpc_value step;
    bool has;
    double d = 0;
    int rc = read_number(c, def, "step", &has, &step);
    if (rc != 0) {
        return rc;
    }
    if (has && (tpc_value_double(&step, &d) != 0 || !(d >= 0 && d <= DBL_MAX))) {
        return tpi_def_bad(c, "step", TPC_EINVAL, "is negative");
    }
    if (c->enforce == TPI_ENFORCE_USUAL || !(d > 0)) {
        return 0;
    }
    s->stepped = true;
    s->step.d = d;
    if (s->data_type == TPI_DATA_INT && tpc_value_int(&step, &s->step.i) != 0) {
        return tpi_def_bad(c, "step", TPC_EINVAL, "is not a whole number, as steps of an int are");
    }
    return 0;
}

static int compile_enum_item(struct tpi_compiler *c, const struct tpc_value *def,
                             struct tpi_enum_item *items, uint32_t i)
{
    if (def->type != TPC_MAP) {
        return tpi_error_set(c->err, TPC_EINVAL, origin, "is not an object");
    }
    struct tpc_value number;
    bool has;
    int rc = read_number(c, def, "value", &has, &number);
    if (rc != 0) {
        return rc;
    }
    if (!has || tpc_value_int(&number, &items[i].value) != 0) {
        return tpi_def_bad(c, "value", TPC_EINVAL, "is not a whole number");
    }
    const struct tpc_value *name = tpi_def_member(def, "name");
    if (name == NULL || name->type != TPC_TEXT || !tpi_key_valid(tpc_value_text(name))) {
        return tpi_def_bad(c, "name", TPC_EINVAL, "is no text of 1 to 128 bytes");
    }
    for (uint32_t k = 0; k < i; k++) {
        if (items[k].value == items[i].value) {
            return tpi_def_bad(c, "value", TPC_EINVAL, "stands twice");
        }
        if (tpc_str_equal(items[k].name, tpc_value_text(name)) != 0) {
            return tpi_def_bad(c, "name", TPC_EINVAL, "stands twice");
        }
    }
    return tpi_def_text(c, tpc_value_text(name), &items[i].name);
}

static int compile_enum(struct tpi_compiler *c, const struct tpc_value *def, struct tpi_spec *s)
{
    const struct tpc_value *list;
    int rc = tpi_def_list(c, def, "values", TPI_MODEL_MAX_ENUM, &list);
    if (rc != 0) {
        return rc;
    }
    if (s->data_type == TPI_DATA_BOOL && list == NULL) {
        return 0;
    }
    if (list == NULL || list->len == 0) {
        return tpi_def_bad(c, "values", TPC_EINVAL, "an enum needs values");
    }
    struct tpi_enum_item *items = tpi_def_take(c, list->len, sizeof(*items));
    if (items == NULL) {
        return tpi_def_no_memory(c);
    }
    for (uint32_t i = 0; i < list->len; i++) {
        rc = compile_enum_item(c, &list->as.items[i], items, i);
        if (rc != 0) {
            return tpi_def_in_list(c, "values", i, rc);
        }
        if (s->data_type == TPI_DATA_BOOL && (items[i].value < 0 || items[i].value > 1)) {
            rc = tpi_def_bad(c, "value", TPC_EINVAL, "is neither 0 nor 1");
            return tpi_def_in_list(c, "values", i, rc);
        }
    }
    s->of.items = items;
    s->count = (uint32_t) list->len;
    return 0;
}

int tpi_def_spec(struct tpi_compiler *c, const struct tpc_value *def, int depth, struct tpi_spec *s)
{
    const struct tpc_value *type = tpi_def_member(def, "type");
    if (type == NULL) {
        return tpi_def_bad(c, "type", TPC_EINVAL, "is missing");
    }
    int number = tpi_type_from_name(tpc_value_text(type));
    if (number == 0) {
        return tpi_def_bad(c, "type", TPC_EINVAL,
                           "is none of int, float, double, bool, enum, text, date, struct, array");
    }
    s->data_type = (uint8_t) number;
    s->value_type = value_types[number];
    s->int_min = INT64_MIN;
    s->int_max = INT64_MAX;
    s->max = number == TPI_DATA_FLOAT ? (double) FLT_MAX : DBL_MAX;
    s->min = -s->max;
    if (number >= TPI_DATA_STRUCT && depth >= TPI_MODEL_MAX_DEPTH) {
        return tpi_def_bad(c, "type", TPC_ETOOBIG, "structs and arrays are more than 4 deep");
    }
    switch (number) {
    case TPI_DATA_INT:
    case TPI_DATA_FLOAT:
    case TPI_DATA_DOUBLE: {
        int rc = compile_range(c, def, s);
        return rc != 0 ? rc : compile_step(c, def, s);
    }
    case TPI_DATA_BOOL: /* names of true and false, for people */
    case TPI_DATA_ENUM:
        return compile_enum(c, def, s);
    case TPI_DATA_TEXT:
        return read_count(c, def, "length", TPI_MODEL_MAX_TEXT, TPI_MODEL_TEXT_BYTES, &s->length);
    case TPI_DATA_STRUCT: {
        bool absent;
        int rc = tpi_def_fields(c, def, "fields", depth + 1, &s->of.fields, &s->count, &absent);
        return rc == 0 && s->count == 0
                   ? tpi_def_bad(c, "fields", TPC_EINVAL, "a struct needs fields")
                   : rc;
    }
    case TPI_DATA_ARRAY: {
        const struct tpc_value *items = tpi_def_member(def, "items");
        struct tpi_spec *elem = tpi_def_take(c, 1, sizeof(*elem));
        int rc = read_count(c, def, "size", TPI_MODEL_MAX_ITEMS, TPI_MODEL_ITEMS, &s->length);
        if (rc != 0) {
            return rc;
        }
        if (elem == NULL) {
            return tpi_def_no_memory(c);
        }
        if (items == NULL || items->type != TPC_MAP) {
            return tpi_def_bad(c, "items", TPC_EINVAL,
                               "an array needs items, an object with a type");
        }
        s->of.elem = elem;
        rc = tpi_def_spec(c, items, depth + 1, elem);
        if (rc != 0) {
            tpi_error_at(c->err, "items");
        }
        return rc;
    }
    default:
        return 0;
    }
}

int tpi_def_default(struct tpi_compiler *c, const struct tpc_value *def, const struct tpi_spec *s,
                    const struct tpc_value **ret)
{
    const struct tpc_value *v = tpi_def_member(def, "default");
    struct tpc_value checked;
    *ret = NULL;
    if (v == NULL || (v->type == TPC_TEXT && v->len == 0 && s->data_type != TPI_DATA_TEXT)) {
        return 0; /* TSL writes "" where there is none */
    }
    struct tpc_value *out = tpi_def_take(c, 1, sizeof(*out));
    int rc = out == NULL ? tpi_def_no_memory(c) : tpi_spec_check(s, v, c->arena, c->err, &checked);
    if (rc == 0 && tpi_value_copy(&checked, c->arena, out) != 0) {
        return tpi_def_no_memory(c);
    }
    if (rc != 0) {
        rc = rc == TPC_EMODEL ? TPC_EINVAL : rc;
        if (c->err != NULL) {
            c->err->code = rc;
        }
        tpi_error_at(c->err, "default");
        return rc;
    }
    *ret = out;
    return 0;
}

static int compile_field(struct tpi_compiler *c, const struct tpc_value *def, int depth,
                         struct tpi_map *seen, struct tpi_field *f)
{
    int rc = tpi_def_key(c, def, &f->key);
    rc = rc != 0 ? rc : tpi_def_people(c, def);
    rc = rc != 0 ? rc : tpi_def_flag(c, def, "required", &f->required);
    if (rc != 0) {
        return rc;
    }
    if (tpi_map_get(seen, f->key.ptr, f->key.len) != NULL) {
        return tpi_def_bad(c, "id", TPC_EINVAL, "stands twice");
    }
    if (tpi_map_put(seen, f->key.ptr, f->key.len, f, NULL) != 0) {
        return tpi_def_no_memory(c);
    }
    rc = tpi_def_spec(c, def, depth, &f->spec);
    return rc != 0 ? rc : tpi_def_default(c, def, &f->spec, &f->normal);
}

int tpi_def_fields(struct tpi_compiler *c, const struct tpc_value *def, const char *key, int depth,
                   const struct tpi_field **ret, uint32_t *ret_count, bool *ret_absent)
{
    const struct tpc_value *list;
    int rc = tpi_def_list(c, def, key, TPI_MODEL_MAX_PROPERTIES, &list);
    *ret_absent = list == NULL;
    if (rc != 0 || list == NULL) {
        return rc;
    }
    struct tpi_field *fields = tpi_def_take(c, list->len, sizeof(*fields));
    if (fields == NULL) {
        return tpi_def_no_memory(c);
    }
    struct tpi_map seen;
    tpi_map_init(&seen, c->alloc);
    for (size_t i = 0; i < list->len && rc == 0; i++) {
        rc = compile_field(c, &list->as.items[i], depth, &seen, &fields[i]);
        if (rc != 0) {
            tpi_def_in_list(c, key, i, rc);
        }
    }
    tpi_map_fini(&seen);
    if (rc == 0) {
        *ret = fields;
        *ret_count = (uint32_t) list->len;
    }
    return rc;
}
