#include "model/keys.h"

#include <float.h>
#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/map.h"
#include "data/option.h"

static const char origin[] = "model";

static const char *const type_names[] = { "?",    "int",  "float", "double", "bool",
                                          "enum", "text", "date",  "struct", "array" };
static const uint8_t value_types[] = { TPC_NULL, TPC_INT,  TPC_DOUBLE, TPC_DOUBLE, TPC_BOOL,
                                       TPC_INT,  TPC_TEXT, TPC_INT,    TPC_MAP,    TPC_ARRAY };

struct compiler {
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena;
    struct tpc_error *err;
};

const char *tpi_data_type_name(int data_type)
{
    return data_type >= TPI_DATA_INT && data_type <= TPI_DATA_ARRAY ? type_names[data_type] : "?";
}

static int type_from_name(struct tpc_str name)
{
    for (int i = TPI_DATA_INT; i <= TPI_DATA_ARRAY; i++) {
        if (tpc_str_equal(name, tpc_str_from(type_names[i])) != 0) {
            return i;
        }
    }
    return 0;
}

static const struct tpc_value *member(const struct tpc_value *map, const char *key)
{
    const struct tpc_value *v = tpc_value_get(map, tpc_str_from(key));
    return v == NULL || v->type == TPC_NULL ? NULL : v;
}

/* A fault of a member: path is the member's name. */
static int bad(struct compiler *c, const char *key, int code, const char *text)
{
    tpi_error_set(c->err, code, origin, "%s", text);
    tpi_error_at(c->err, key);
    return code;
}

static int no_memory(struct compiler *c)
{
    return tpi_error_set(c->err, TPC_ENOMEM, origin, "out of memory");
}

static void *take(struct compiler *c, size_t count, size_t size)
{
    /* Counts are bounded by the limits of model.h, so the product fits. */
    void *p = tpc_arena_take(c->arena, count * size + 1);
    if (p != NULL) {
        memset(p, 0, count * size + 1);
    }
    return p;
}

static int copy_text(struct compiler *c, struct tpc_str in, struct tpc_str *ret)
{
    char *p = take(c, in.len, 1);
    if (p == NULL) {
        return no_memory(c);
    }
    if (in.len > 0) {
        memcpy(p, in.ptr, in.len);
    }
    *ret = (struct tpc_str){ p, in.len };
    return 0;
}

/* A key of a property, parameter, field, service or event. */
static int read_key(struct compiler *c, const struct tpc_value *def, struct tpc_str *ret)
{
    if (def->type != TPC_MAP) {
        return tpi_error_set(c->err, TPC_EINVAL, origin, "is not an object");
    }
    const struct tpc_value *v = member(def, "id");
    if (v == NULL) {
        return bad(c, "id", TPC_EINVAL, "is missing");
    }
    if (v->type != TPC_TEXT || !tpi_key_valid(tpc_value_text(v))) {
        return bad(c, "id", TPC_EINVAL, "is no text of 1 to 128 bytes without control bytes");
    }
    return copy_text(c, tpc_value_text(v), ret);
}

/* Numbers may be written as text, as TSL does. */
static int read_number(struct compiler *c, const struct tpc_value *def, const char *key,
                       bool *ret_has, struct tpc_value *ret)
{
    const struct tpc_value *v = member(def, key);
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
        return bad(c, key, TPC_EINVAL, "is not a number");
    }
    if (ret->type != TPC_INT && ret->type != TPC_DOUBLE) {
        return bad(c, key, TPC_EINVAL, "is not a number");
    }
    return 0;
}

static int read_count(struct compiler *c, const struct tpc_value *def, const char *key,
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

static int read_flag(struct compiler *c, const struct tpc_value *def, const char *key, bool *ret)
{
    const struct tpc_value *v = member(def, key);
    if (v != NULL && v->type != TPC_BOOL) {
        return bad(c, key, TPC_EINVAL, "is neither true nor false");
    }
    *ret = v != NULL && v->as.b;
    return 0;
}

/* One of two words. */
static int read_word(struct compiler *c, const struct tpc_value *def, const char *key,
                     const char *normal, const char *other, bool *ret_other)
{
    const struct tpc_value *v = member(def, key);
    struct tpc_str text = tpc_value_text(v);
    *ret_other = false;
    if (v == NULL || tpc_str_equal(text, tpc_str_from(normal)) != 0) {
        return 0;
    }
    if (tpc_str_equal(text, tpc_str_from(other)) == 0) {
        tpi_error_set(c->err, TPC_EINVAL, origin, "is neither \"%s\" nor \"%s\"", normal, other);
        tpi_error_at(c->err, key);
        return TPC_EINVAL;
    }
    *ret_other = true;
    return 0;
}

static int read_list(struct compiler *c, const struct tpc_value *def, const char *key,
                     uint32_t most, const struct tpc_value **ret)
{
    const struct tpc_value *v = member(def, key);
    *ret = v;
    if (v == NULL) {
        return 0;
    }
    if (v->type != TPC_ARRAY) {
        return bad(c, key, TPC_EINVAL, "is not an array");
    }
    if (v->len > most) {
        tpi_error_set(c->err, TPC_ETOOBIG, origin, "has more than %u entries", most);
        tpi_error_at(c->err, key);
        return TPC_ETOOBIG;
    }
    return 0;
}

static int in_list(struct compiler *c, const char *key, size_t index, int rc)
{
    tpi_error_at_index(c->err, index);
    tpi_error_at(c->err, key);
    return rc;
}

static int compile_range(struct compiler *c, const struct tpc_value *def, struct tpi_spec *s)
{
    struct tpc_value min, max, step;
    bool has_min, has_max, has_step;
    double d = 1;
    int rc = read_number(c, def, "min", &has_min, &min);
    rc = rc != 0 ? rc : read_number(c, def, "max", &has_max, &max);
    rc = rc != 0 ? rc : read_number(c, def, "step", &has_step, &step);
    if (rc != 0) {
        return rc;
    }
    if (has_step && (tpc_value_double(&step, &d) != 0 || !(d >= 0))) {
        return bad(c, "step", TPC_EINVAL, "is negative");
    }
    if (s->data_type == TPI_DATA_INT) {
        if (has_min && tpc_value_int(&min, &s->int_min) != 0) {
            return bad(c, "min", TPC_EINVAL, "is not a whole number");
        }
        if (has_max && tpc_value_int(&max, &s->int_max) != 0) {
            return bad(c, "max", TPC_EINVAL, "is not a whole number");
        }
        return s->int_min > s->int_max ? bad(c, "min", TPC_EINVAL, "is above max") : 0;
    }
    double widest = s->max;
    if (has_min && (tpc_value_double(&min, &s->min) != 0 || !(s->min >= -widest))) {
        return bad(c, "min", TPC_EINVAL, "is beyond the type");
    }
    if (has_max && (tpc_value_double(&max, &s->max) != 0 || !(s->max <= widest))) {
        return bad(c, "max", TPC_EINVAL, "is beyond the type");
    }
    return s->min > s->max ? bad(c, "min", TPC_EINVAL, "is above max") : 0;
}

static int compile_enum_item(struct compiler *c, const struct tpc_value *def,
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
        return bad(c, "value", TPC_EINVAL, "is not a whole number");
    }
    const struct tpc_value *name = member(def, "name");
    if (name == NULL || name->type != TPC_TEXT || !tpi_key_valid(tpc_value_text(name))) {
        return bad(c, "name", TPC_EINVAL, "is no text of 1 to 128 bytes");
    }
    for (uint32_t k = 0; k < i; k++) {
        if (items[k].value == items[i].value) {
            return bad(c, "value", TPC_EINVAL, "stands twice");
        }
        if (tpc_str_equal(items[k].name, tpc_value_text(name)) != 0) {
            return bad(c, "name", TPC_EINVAL, "stands twice");
        }
    }
    return copy_text(c, tpc_value_text(name), &items[i].name);
}

static int compile_enum(struct compiler *c, const struct tpc_value *def, struct tpi_spec *s)
{
    const struct tpc_value *list;
    int rc = read_list(c, def, "values", TPI_MODEL_MAX_ENUM, &list);
    if (rc != 0) {
        return rc;
    }
    if (list == NULL || list->len == 0) {
        return bad(c, "values", TPC_EINVAL, "an enum needs values");
    }
    struct tpi_enum_item *items = take(c, list->len, sizeof(*items));
    if (items == NULL) {
        return no_memory(c);
    }
    for (uint32_t i = 0; i < list->len; i++) {
        rc = compile_enum_item(c, &list->as.items[i], items, i);
        if (rc != 0) {
            return in_list(c, "values", i, rc);
        }
    }
    s->of.items = items;
    s->count = (uint32_t) list->len;
    return 0;
}

static int compile_fields(struct compiler *c, const struct tpc_value *def, const char *key,
                          int depth, const struct tpi_field **ret, uint32_t *ret_count,
                          bool *ret_absent);

static int compile_spec(struct compiler *c, const struct tpc_value *def, int depth,
                        struct tpi_spec *s)
{
    const struct tpc_value *type = member(def, "type");
    if (type == NULL) {
        return bad(c, "type", TPC_EINVAL, "is missing");
    }
    int number = type_from_name(tpc_value_text(type));
    if (number == 0) {
        return bad(c, "type", TPC_EINVAL,
                   "is none of int, float, double, bool, enum, text, date, struct, array");
    }
    s->data_type = (uint8_t) number;
    s->value_type = value_types[number];
    s->int_min = INT64_MIN;
    s->int_max = INT64_MAX;
    s->max = number == TPI_DATA_FLOAT ? (double) FLT_MAX : DBL_MAX;
    s->min = -s->max;
    if (number >= TPI_DATA_STRUCT && depth >= TPI_MODEL_MAX_DEPTH) {
        return bad(c, "type", TPC_ETOOBIG, "structs and arrays are more than 4 deep");
    }
    switch (number) {
    case TPI_DATA_INT:
    case TPI_DATA_FLOAT:
    case TPI_DATA_DOUBLE:
        return compile_range(c, def, s);
    case TPI_DATA_ENUM:
        return compile_enum(c, def, s);
    case TPI_DATA_TEXT:
        return read_count(c, def, "length", TPI_MODEL_MAX_TEXT, TPI_MODEL_TEXT_BYTES, &s->length);
    case TPI_DATA_STRUCT: {
        bool absent;
        int rc = compile_fields(c, def, "fields", depth + 1, &s->of.fields, &s->count, &absent);
        return rc == 0 && s->count == 0 ? bad(c, "fields", TPC_EINVAL, "a struct needs fields")
                                        : rc;
    }
    case TPI_DATA_ARRAY: {
        const struct tpc_value *items = member(def, "items");
        struct tpi_spec *elem = take(c, 1, sizeof(*elem));
        int rc = read_count(c, def, "size", TPI_MODEL_MAX_ITEMS, TPI_MODEL_ITEMS, &s->length);
        if (rc != 0) {
            return rc;
        }
        if (elem == NULL) {
            return no_memory(c);
        }
        if (items == NULL || items->type != TPC_MAP) {
            return bad(c, "items", TPC_EINVAL, "an array needs items, an object with a type");
        }
        s->of.elem = elem;
        rc = compile_spec(c, items, depth + 1, elem);
        if (rc != 0) {
            tpi_error_at(c->err, "items");
        }
        return rc;
    }
    default:
        return 0;
    }
}

static int compile_field(struct compiler *c, const struct tpc_value *def, int depth,
                         struct tpi_map *seen, struct tpi_field *f)
{
    int rc = read_key(c, def, &f->key);
    rc = rc != 0 ? rc : read_flag(c, def, "required", &f->required);
    if (rc != 0) {
        return rc;
    }
    if (tpi_map_get(seen, f->key.ptr, f->key.len) != NULL) {
        return bad(c, "id", TPC_EINVAL, "stands twice");
    }
    if (tpi_map_put(seen, f->key.ptr, f->key.len, f, NULL) != 0) {
        return no_memory(c);
    }
    return compile_spec(c, def, depth, &f->spec);
}

static int compile_fields(struct compiler *c, const struct tpc_value *def, const char *key,
                          int depth, const struct tpi_field **ret, uint32_t *ret_count,
                          bool *ret_absent)
{
    const struct tpc_value *list;
    int rc = read_list(c, def, key, TPI_MODEL_MAX_PROPERTIES, &list);
    *ret_absent = list == NULL;
    if (rc != 0 || list == NULL) {
        return rc;
    }
    struct tpi_field *fields = take(c, list->len, sizeof(*fields));
    if (fields == NULL) {
        return no_memory(c);
    }
    struct tpi_map seen;
    tpi_map_init(&seen, c->alloc);
    for (size_t i = 0; i < list->len && rc == 0; i++) {
        rc = compile_field(c, &list->as.items[i], depth, &seen, &fields[i]);
        if (rc != 0) {
            in_list(c, key, i, rc);
        }
    }
    tpi_map_fini(&seen);
    if (rc == 0) {
        *ret = fields;
        *ret_count = (uint32_t) list->len;
    }
    return rc;
}

static int compile_function(struct compiler *c, const struct tpc_value *def, const char *params,
                            struct tpi_map *seen, struct tpi_function *f)
{
    static const char *const levels[] = { "info", "alert", "error" };
    int rc = read_key(c, def, &f->key);
    rc = rc != 0 ? rc : read_flag(c, def, "idempotent", &f->idempotent);
    if (rc != 0) {
        return rc;
    }
    if (tpi_map_get(seen, f->key.ptr, f->key.len) != NULL) {
        return bad(c, "id", TPC_EINVAL, "stands twice");
    }
    if (tpi_map_put(seen, f->key.ptr, f->key.len, f, NULL) != 0) {
        return no_memory(c);
    }
    const struct tpc_value *level = member(def, "level");
    bool known = level == NULL || strcmp(params, "input") == 0;
    for (size_t i = 0; i < 3 && !known; i++) {
        known = tpc_str_equal(tpc_value_text(level), tpc_str_from(levels[i])) != 0;
    }
    if (!known) {
        return bad(c, "level", TPC_EINVAL, "is none of info, alert, error");
    }
    if (strcmp(params, "input") == 0) {
        /* What a service answers is not used here, but a bad description is refused all the same.
         */
        const struct tpi_field *output;
        uint32_t count;
        bool absent;
        rc = compile_fields(c, def, "output", 0, &output, &count, &absent);
    }
    return rc != 0 ? rc : compile_fields(c, def, params, 0, &f->fields, &f->count, &f->open);
}

static int compile_functions(struct compiler *c, const struct tpc_value *def, const char *key,
                             const char *params, struct tpi_function **ret, uint32_t *ret_count)
{
    const struct tpc_value *list;
    int rc = read_list(c, def, key, TPI_MODEL_MAX_PROPERTIES, &list);
    if (rc != 0 || list == NULL) {
        return rc;
    }
    struct tpi_function *all = take(c, list->len, sizeof(*all));
    if (all == NULL) {
        return no_memory(c);
    }
    struct tpi_map seen;
    tpi_map_init(&seen, c->alloc);
    for (size_t i = 0; i < list->len && rc == 0; i++) {
        rc = compile_function(c, &list->as.items[i], params, &seen, &all[i]);
        if (rc != 0) {
            in_list(c, key, i, rc);
        }
    }
    tpi_map_fini(&seen);
    *ret = all;
    *ret_count = (uint32_t) list->len;
    return rc;
}

static int compile_property(struct compiler *c, const struct tpc_value *def, struct tpi_property *p)
{
    struct tpi_spec *spec = take(c, 1, sizeof(*spec));
    if (spec == NULL) {
        return no_memory(c);
    }
    int rc = read_key(c, def, &p->key);
    rc = rc != 0 ? rc : read_word(c, def, "access", "r", "rw", &p->writable);
    rc = rc != 0 ? rc : read_word(c, def, "role", "telemetry", "attribute", &p->attribute);
    rc = rc != 0 ? rc : compile_spec(c, def, 0, spec);
    p->spec = spec;
    p->data_type = spec->data_type;
    p->value_type = spec->value_type;
    return rc;
}

/* Puts a property into the hash; -1 if its key is there. */
static int hash_put(struct tpi_model *m, uint32_t index)
{
    struct tpc_str key = m->properties[index].key;
    uint32_t at = (uint32_t) tpi_hash(key.ptr, key.len, 0) & m->mask;
    while (m->hash[at] != 0) {
        if (tpc_str_equal(m->properties[m->hash[at] - 1].key, key) != 0) {
            return -1;
        }
        at = (at + 1) & m->mask;
    }
    m->hash[at] = index + 1;
    return 0;
}

static int compile_properties(struct compiler *c, const struct tpc_value *def, struct tpi_model *m)
{
    const struct tpc_value *list;
    int rc = read_list(c, def, "properties", TPI_MODEL_MAX_PROPERTIES, &list);
    if (rc != 0) {
        return rc;
    }
    size_t count = list == NULL ? 0 : list->len;
    uint32_t size = 8;
    while (size < 2 * count) {
        size *= 2;
    }
    m->properties = take(c, count, sizeof(*m->properties));
    m->hash = take(c, size, sizeof(*m->hash));
    if (m->properties == NULL || m->hash == NULL) {
        return no_memory(c);
    }
    m->mask = size - 1;
    for (uint32_t i = 0; i < count; i++) {
        rc = compile_property(c, &list->as.items[i], &m->properties[i]);
        if (rc == 0 && hash_put(m, i) != 0) {
            rc = bad(c, "id", TPC_EINVAL, "stands twice");
        }
        if (rc != 0) {
            return in_list(c, "properties", i, rc);
        }
        m->count = i + 1;
    }
    return 0;
}

static int corrupt_ids(struct compiler *c)
{
    return tpi_error_set(c->err, TPC_ECORRUPT, origin, "the stored property ids are not in order");
}

static int read_given(struct compiler *c, const struct tpc_value *v, uint32_t next,
                      struct tpi_given_id *g)
{
    if (v->type != TPC_ARRAY || v->len != 3 || v->as.items[0].type != TPC_TEXT) {
        return corrupt_ids(c);
    }
    int64_t id;
    int type = type_from_name(tpc_value_text(&v->as.items[1]));
    if (type == 0 || tpc_value_int(&v->as.items[2], &id) != 0 || id < 1 || id >= (int64_t) next) {
        return corrupt_ids(c);
    }
    g->data_type = (uint16_t) type;
    g->id = (uint16_t) id;
    return copy_text(c, tpc_value_text(&v->as.items[0]), &g->key);
}

/* The ids given so far, with room for those that this revision's properties may need. */
static int read_ids(struct compiler *c, const struct tpc_value *ids, struct tpi_model *m)
{
    const struct tpc_value *list = NULL;
    int64_t next = 1;
    if (ids != NULL) {
        list = member(ids, "ids");
        if (list == NULL || list->type != TPC_ARRAY || list->len > TPI_MODEL_MAX_IDS ||
            tpc_value_int(member(ids, "next"), &next) != 0 || next < 1 ||
            next > TPI_MODEL_MAX_IDS + 1) {
            return corrupt_ids(c);
        }
    }
    size_t count = list == NULL ? 0 : list->len;
    m->next_id = (uint32_t) next;
    m->given = take(c, count + m->count, sizeof(*m->given));
    if (m->given == NULL) {
        return no_memory(c);
    }
    for (size_t i = 0; i < count; i++) {
        int rc = read_given(c, &list->as.items[i], m->next_id, &m->given[i]);
        if (rc != 0) {
            return rc;
        }
        m->given_count++;
    }
    return 0;
}

/* Key bytes of (key, type) in the table below. */
static size_t given_key(struct tpc_str key, int type, char *out)
{
    memcpy(out, key.ptr, key.len);
    out[key.len] = (char) type;
    return key.len + 1;
}

static int give_ids(struct compiler *c, struct tpi_model *m, struct tpi_map *table)
{
    char text[TPI_MODEL_MAX_KEY + 1];
    for (uint32_t i = 0; i < m->given_count; i++) {
        if (m->given[i].key.len > TPI_MODEL_MAX_KEY) {
            return corrupt_ids(c);
        }
        size_t n = given_key(m->given[i].key, m->given[i].data_type, text);
        if (tpi_map_put(table, text, n, &m->given[i], NULL) != 0) {
            return no_memory(c);
        }
    }
    for (uint32_t i = 0; i < m->count; i++) {
        struct tpi_property *p = &m->properties[i];
        size_t n = given_key(p->key, p->data_type, text);
        const struct tpi_given_id *old = tpi_map_get(table, text, n);
        if (old != NULL) {
            p->id = old->id;
            continue;
        }
        if (m->next_id > TPI_MODEL_MAX_IDS) {
            return tpi_error_set(c->err, TPC_ETOOBIG, origin,
                                 "the product has used up its %d property ids", TPI_MODEL_MAX_IDS);
        }
        p->id = (uint16_t) m->next_id++;
        m->given[m->given_count++] = (struct tpi_given_id){ p->key, p->data_type, p->id };
    }
    return 0;
}

static int assign_ids(struct compiler *c, const struct tpc_value *ids, struct tpi_model *m)
{
    int rc = read_ids(c, ids, m);
    if (rc != 0) {
        return rc;
    }
    struct tpi_map table;
    tpi_map_init(&table, c->alloc);
    rc = give_ids(c, m, &table);
    tpi_map_fini(&table);
    if (rc != 0) {
        return rc;
    }
    m->by_id = take(c, m->next_id, sizeof(*m->by_id));
    if (m->by_id == NULL) {
        return no_memory(c);
    }
    for (uint32_t i = 0; i < m->count; i++) {
        uint16_t id = m->properties[i].id;
        if (m->by_id[id] != 0) {
            return corrupt_ids(c);
        }
        m->by_id[id] = (uint16_t) (i + 1);
    }
    return 0;
}

static int compile(struct compiler *c, const struct tpc_value *def, const struct tpc_value *ids,
                   struct tpi_model *m)
{
    if (def == NULL || def->type != TPC_MAP) {
        return tpi_error_set(c->err, TPC_EINVAL, origin, "is not an object");
    }
    int rc = compile_properties(c, def, m);
    rc = rc != 0 ? rc
                 : compile_functions(c, def, "services", "input", &m->services, &m->service_count);
    rc = rc != 0 ? rc : compile_functions(c, def, "events", "output", &m->events, &m->event_count);
    rc = rc != 0 ? rc : assign_ids(c, ids, m);
    return rc == 0 && tpi_keys_make(m) != 0 ? no_memory(c) : rc;
}

int tpi_model_compile(const struct tpc_allocator *alloc, const struct tpc_value *model,
                      const struct tpc_value *ids, uint32_t revision, struct tpc_error *err,
                      struct tpi_model **ret)
{
    struct compiler c = { alloc, NULL, err };
    if (tpc_arena_create(alloc, 0, &c.arena) != 0) {
        return no_memory(&c);
    }
    struct tpi_model *m = take(&c, 1, sizeof(*m));
    if (m != NULL) {
        m->alloc = alloc;
        m->arena = c.arena;
    }
    int rc = m == NULL ? no_memory(&c) : compile(&c, model, ids, m);
    if (rc != 0) {
        tpc_arena_destroy(c.arena);
        return rc;
    }
    m->revision = revision;
    atomic_init(&m->refs, 1);
    *ret = m;
    return 0;
}

struct tpi_model *tpi_model_ref(struct tpi_model *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

struct tpi_model *tpi_model_unref(struct tpi_model *m)
{
    if (m != NULL && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) {
        tpc_arena_destroy(m->arena);
    }
    return NULL;
}

int tpi_model_ids(const struct tpi_model *m, struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpc_member *top = tpc_arena_take(arena, 2 * sizeof(*top));
    struct tpc_value *list = tpc_arena_take(arena, (m->given_count + 1u) * sizeof(*list));
    struct tpc_value *cells = tpc_arena_take(arena, (m->given_count + 1u) * 3 * sizeof(*cells));
    if (top == NULL || list == NULL || cells == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < m->given_count; i++) {
        const struct tpi_given_id *g = &m->given[i];
        const char *type = type_names[g->data_type];
        struct tpc_value *cell = cells + 3 * (size_t) i;
        cell[0] = (struct tpc_value){ TPC_TEXT, 0, g->key.len, { .text = g->key.ptr } };
        cell[1] = (struct tpc_value){ TPC_TEXT, 0, strlen(type), { .text = type } };
        cell[2] = (struct tpc_value){ TPC_INT, 0, 0, { .i = g->id } };
        list[i] = (struct tpc_value){ TPC_ARRAY, 0, 3, { .items = cell } };
    }
    top[0].key = TPC_STR("next");
    top[0].value = (struct tpc_value){ TPC_INT, 0, 0, { .i = m->next_id } };
    top[1].key = TPC_STR("ids");
    top[1].value = (struct tpc_value){ TPC_ARRAY, 0, m->given_count, { .items = list } };
    *ret = (struct tpc_value){ TPC_MAP, 0, 2, { .members = top } };
    return 0;
}
