#include "model/spec.h"

#include <float.h>
#include <string.h>
#include <tpcore/msg.h>

#include "base/error.h"
#include "base/hash.h"
#include "data/json_read.h"

static const char origin[] = "model";

bool tpi_number_from_text(struct tpc_str text, struct tpc_value *ret)
{
    struct tpi_json r;
    tpi_json_begin(&r, text);
    int event = tpi_json_next(&r);
    struct tpc_value v = { TPC_INT, 0, 0, { .i = r.i } };
    if (event == TPI_JSON_DOUBLE) {
        v = (struct tpc_value){ TPC_DOUBLE, 0, 0, { .d = r.d } };
    } else if (event != TPI_JSON_INT) {
        return false;
    }
    if (tpi_json_next(&r) != TPI_JSON_END) {
        return false;
    }
    *ret = v;
    return true;
}

static const char *type_name(const struct tpc_value *v)
{
    static const char *const names[] = { "null", "a bool",       "an int",   "a double",
                                         "text", "binary bytes", "an array", "an object" };
    return v->type <= TPC_MAP ? names[v->type] : "something unknown";
}

/* One check on its way. */
struct look {
    struct tpc_arena *arena;
    struct tpc_error *err;
    uint8_t enforce; /* enum tpi_enforce */
    uint16_t flags;  /* enum tpc_point_flags, of the limits passed so far */
};

/* Whether a value beyond a limit goes on: as it is, or as the nearest if it is to be clamped. */
static bool passes(struct look *l)
{
    if (l->enforce < TPI_ENFORCE_CLAMP) {
        return false;
    }
    l->flags |= l->enforce == TPI_ENFORCE_CLAMP ? TPC_POINT_CLAMPED : TPC_POINT_BEYOND;
    return true;
}

static int wrong_type(const struct tpi_spec *s, const struct tpc_value *in, struct look *l)
{
    return tpi_error_set(l->err, TPC_EMODEL, origin, "is %s, the model says %s", type_name(in),
                         tpi_data_type_name(s->data_type));
}

/* in as a number: itself, or what its text says. */
static const struct tpc_value *as_number(const struct tpc_value *in, struct tpc_value *room)
{
    if (in->type == TPC_INT || in->type == TPC_DOUBLE) {
        return in;
    }
    return in->type == TPC_TEXT && tpi_number_from_text(tpc_value_text(in), room) ? room : NULL;
}

static int check_int(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                     struct tpc_value *ret)
{
    struct tpc_value room;
    int64_t i, nearest;
    const struct tpc_value *number = as_number(in, &room);
    if (number == NULL || tpc_value_int(number, &i) != 0) {
        return number == NULL ? wrong_type(s, in, l)
                              : tpi_error_set(l->err, TPC_EMODEL, origin, "is not a whole number");
    }
    bool clamp = l->enforce == TPI_ENFORCE_CLAMP;
    if (i < s->int_min || i > s->int_max) {
        nearest = i < s->int_min ? s->int_min : s->int_max;
        if (!passes(l)) {
            return tpi_error_set(l->err, TPC_EMODEL, origin, "%lld is %s %lld", (long long) i,
                                 i < s->int_min ? "below" : "above", (long long) nearest);
        }
        i = clamp ? nearest : i;
    }
    if (s->stepped && i >= s->int_min && i <= s->int_max && tpi_step_int(s, i, &nearest)) {
        if (!passes(l)) {
            return tpi_error_set(l->err, TPC_EMODEL, origin, "%lld is no step of %lld, %lld is",
                                 (long long) i, (long long) s->step.i, (long long) nearest);
        }
        i = clamp ? nearest : i;
    }
    *ret = (struct tpc_value){ TPC_INT, 0, 0, { .i = i } };
    return 0;
}

static int check_double(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                        struct tpc_value *ret)
{
    struct tpc_value room;
    double d, nearest;
    double widest = s->data_type == TPI_DATA_FLOAT ? (double) FLT_MAX : DBL_MAX;
    const struct tpc_value *number = as_number(in, &room);
    if (number == NULL || tpc_value_double(number, &d) != 0) {
        return wrong_type(s, in, l);
    }
    if (d != d) {
        return tpi_error_set(l->err, TPC_EMODEL, origin, "is not a number");
    }
    bool clamp = l->enforce == TPI_ENFORCE_CLAMP;
    if (d < s->min || d > s->max) {
        nearest = d < s->min ? s->min : s->max;
        if (d < -widest || d > widest || !passes(l)) {
            return tpi_error_set(l->err, TPC_EMODEL, origin, "%.15g is %s %.15g", d,
                                 d < s->min ? "below" : "above", nearest);
        }
        d = clamp ? nearest : d;
    }
    if (s->stepped && d >= s->min && d <= s->max && tpi_step_double(s, d, &nearest)) {
        if (!passes(l)) {
            return tpi_error_set(l->err, TPC_EMODEL, origin, "%.15g is no step of %.15g, %.15g is",
                                 d, s->step.d, nearest);
        }
        d = clamp ? nearest : d;
    }
    *ret = (struct tpc_value){ TPC_DOUBLE, 0, 0, { .d = d } };
    return 0;
}

static int check_bool(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                      struct tpc_value *ret)
{
    bool b;
    int64_t i = 2;
    if (in->type == TPC_BOOL) {
        b = in->as.b;
    } else if (in->type == TPC_TEXT) {
        b = tpc_str_equal(tpc_value_text(in), TPC_STR("true")) != 0;
        if (!b && tpc_str_equal(tpc_value_text(in), TPC_STR("false")) == 0) {
            return wrong_type(s, in, l);
        }
    } else if (tpc_value_int(in, &i) == 0 && (i == 0 || i == 1)) {
        b = i == 1;
    } else {
        return wrong_type(s, in, l);
    }
    *ret = (struct tpc_value){ TPC_BOOL, 0, 0, { .b = b } };
    return 0;
}

static int check_enum(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                      struct tpc_value *ret)
{
    struct tpc_value room;
    int64_t value = 0;
    const struct tpc_value *number = as_number(in, &room);
    bool whole = number != NULL && tpc_value_int(number, &value) == 0;
    if (!whole && in->type != TPC_TEXT) {
        return wrong_type(s, in, l);
    }
    struct tpc_str name = tpc_value_text(in);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tpi_enum_item *item = &s->of.items[i];
        bool same = whole ? item->value == value : tpc_str_equal(item->name, name) != 0;
        /* "1" may be the name of an item with another value: a value that fits wins. */
        if (same) {
            *ret = (struct tpc_value){ TPC_INT, 0, 0, { .i = item->value } };
            return 0;
        }
    }
    for (uint32_t i = 0; i < s->count && whole && in->type == TPC_TEXT; i++) {
        if (tpc_str_equal(s->of.items[i].name, name) != 0) {
            *ret = (struct tpc_value){ TPC_INT, 0, 0, { .i = s->of.items[i].value } };
            return 0;
        }
    }
    /* Names mean something, numbers do not: none of them is the nearest. */
    if (whole && l->enforce == TPI_ENFORCE_KEEP && passes(l)) {
        *ret = (struct tpc_value){ TPC_INT, 0, 0, { .i = value } };
        return 0;
    }
    return tpi_error_set(l->err, TPC_EMODEL, origin, "is none of the enum's %u values", s->count);
}

/* The first bytes of a text, up to `most`, that are whole characters. */
static size_t whole_part(const char *text, size_t most)
{
    size_t n = most;
    while (n > 0 && ((unsigned char) text[n] & 0xC0) == 0x80) {
        n--;
    }
    return n;
}

static int check_text(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                      struct tpc_value *ret)
{
    if (in->type != TPC_TEXT) {
        return wrong_type(s, in, l);
    }
    size_t len = in->len;
    if (len > s->length) {
        if ((l->enforce == TPI_ENFORCE_KEEP && len > TPI_MODEL_MAX_TEXT) || !passes(l)) {
            return tpi_error_set(l->err, TPC_EMODEL, origin, "has %zu bytes, the model allows %u",
                                 len, s->length);
        }
        len = l->enforce == TPI_ENFORCE_CLAMP ? whole_part(in->as.text, s->length) : len;
    }
    *ret = *in;
    ret->len = len;
    return 0;
}

static int check_date(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                      struct tpc_value *ret)
{
    struct tpc_value room;
    int64_t ms;
    const struct tpc_value *number = as_number(in, &room);
    if (number != NULL) {
        if (tpc_value_int(number, &ms) != 0) {
            return tpi_error_set(l->err, TPC_EMODEL, origin, "is not a whole number of ms");
        }
    } else if (in->type != TPC_TEXT) {
        return wrong_type(s, in, l);
    } else if (tpi_date_parse(tpc_value_text(in), &ms) != 0) {
        return tpi_error_set(l->err, TPC_EMODEL, origin,
                             "is not a time such as 2026-11-20T12:00:00Z or 2026-11-20 12:00:00");
    }
    *ret = (struct tpc_value){ TPC_INT, 0, 0, { .i = ms } };
    return 0;
}

static int check_value(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                       struct tpc_value *ret);

static int no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, origin, "out of memory");
}

/* The fields that are there, in the model's order, and with `fill` the defaults of those that are
 * not. A member that is null counts as absent. */
static int check_fields(const struct tpi_field *fields, uint32_t count, const struct tpc_value *in,
                        bool fill, struct look *l, struct tpc_value *ret)
{
    struct tpc_member *out = tpc_arena_take(l->arena, (count + 1u) * sizeof(*out));
    if (out == NULL) {
        return no_memory(l->err);
    }
    size_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct tpi_field *f = &fields[i];
        const struct tpc_value *v = tpc_value_get(in, f->key);
        int rc = 0;
        if (v != NULL && v->type != TPC_NULL) {
            rc = check_value(&f->spec, v, l, &out[n].value);
        } else if (fill && f->normal != NULL) {
            out[n].value = *f->normal;
        } else {
            rc = f->required ? tpi_error_set(l->err, TPC_EMODEL, origin, "is missing") : 1;
        }
        if (rc < 0) {
            tpi_error_at(l->err, f->key.ptr);
            return rc;
        }
        if (rc == 0) {
            out[n++].key = f->key;
        }
    }
    *ret = (struct tpc_value){ TPC_MAP, 0, n, { .members = out } };
    return 0;
}

static int check_array(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                       struct tpc_value *ret)
{
    if (in->type != TPC_ARRAY) {
        return wrong_type(s, in, l);
    }
    size_t len = in->len;
    if (len > s->length) {
        if ((l->enforce == TPI_ENFORCE_KEEP && len > TPI_MODEL_MAX_ITEMS) || !passes(l)) {
            return tpi_error_set(l->err, TPC_EMODEL, origin, "has %zu items, the model allows %u",
                                 len, s->length);
        }
        len = l->enforce == TPI_ENFORCE_CLAMP ? s->length : len;
    }
    struct tpc_value *out = tpc_arena_take(l->arena, (len + 1) * sizeof(*out));
    if (out == NULL) {
        return no_memory(l->err);
    }
    for (size_t i = 0; i < len; i++) {
        int rc = check_value(s->of.elem, &in->as.items[i], l, &out[i]);
        if (rc != 0) {
            tpi_error_at_index(l->err, i);
            return rc;
        }
    }
    *ret = (struct tpc_value){ TPC_ARRAY, 0, len, { .items = out } };
    return 0;
}

static int check_value(const struct tpi_spec *s, const struct tpc_value *in, struct look *l,
                       struct tpc_value *ret)
{
    switch (s->data_type) {
    case TPI_DATA_INT:
        return check_int(s, in, l, ret);
    case TPI_DATA_FLOAT:
    case TPI_DATA_DOUBLE:
        return check_double(s, in, l, ret);
    case TPI_DATA_BOOL:
        return check_bool(s, in, l, ret);
    case TPI_DATA_ENUM:
        return check_enum(s, in, l, ret);
    case TPI_DATA_TEXT:
        return check_text(s, in, l, ret);
    case TPI_DATA_DATE:
        return check_date(s, in, l, ret);
    case TPI_DATA_STRUCT:
        return in->type != TPC_MAP ? wrong_type(s, in, l)
                                   : check_fields(s->of.fields, s->count, in, false, l, ret);
    default:
        return check_array(s, in, l, ret);
    }
}

int tpi_spec_check(const struct tpi_spec *s, const struct tpc_value *in, struct tpc_arena *arena,
                   struct tpc_error *err, struct tpc_value *ret)
{
    return check_value(s, in, &(struct look){ .arena = arena, .err = err }, ret);
}

static int check_property(const struct tpi_model *m, uint32_t index, const struct tpc_value *in,
                          struct look *l, struct tpc_value *ret)
{
    const struct tpi_property *p = &m->properties[index];
    const struct tpi_spec *s = p->spec;
    if (in->type == TPC_DOUBLE && s->value_type == TPC_DOUBLE && in->as.d >= s->min &&
        in->as.d <= s->max && !s->stepped) {
        *ret = *in;
        return 0;
    }
    int rc = check_value(s, in, l, ret);
    if (rc != 0) {
        tpi_error_at(l->err, p->key.ptr);
    }
    return rc;
}

int tpi_model_check(const struct tpi_model *m, uint32_t index, const struct tpc_value *in,
                    struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret)
{
    return check_property(m, index, in, &(struct look){ .arena = arena, .err = err }, ret);
}

int tpi_model_take(const struct tpi_model *m, uint32_t index, const struct tpc_value *in,
                   struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret,
                   uint16_t *ret_flags)
{
    if (m->properties[index].expr.len > 0) {
        tpi_error_set(err, TPC_EMODEL, origin, "is computed here, not reported");
        tpi_error_at(err, m->properties[index].key.ptr);
        return TPC_EMODEL;
    }
    return tpi_model_derive(m, index, in, arena, err, ret, ret_flags);
}

int tpi_model_derive(const struct tpi_model *m, uint32_t index, const struct tpc_value *in,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret,
                     uint16_t *ret_flags)
{
    struct look l = { .arena = arena, .err = err, .enforce = m->enforce };
    int rc = check_property(m, index, in, &l, ret);
    if (rc == 0) {
        *ret_flags = l.flags;
    }
    return rc;
}

uint32_t tpi_model_revision(const struct tpi_model *m)
{
    return m->revision;
}

uint32_t tpi_model_property_count(const struct tpi_model *m)
{
    return m->count;
}

uint32_t tpi_model_derived_count(const struct tpi_model *m)
{
    return m->derived_count;
}

uint32_t tpi_model_report_count(const struct tpi_model *m)
{
    return m->report_count;
}

const struct tpi_property *tpi_model_property(const struct tpi_model *m, uint32_t index)
{
    return &m->properties[index];
}

static bool is_key(const struct tpi_model *m, uint32_t index, struct tpc_str key)
{
    struct tpc_str k =
        index < m->count ? m->properties[index].key : m->aliases[index - m->count].key;
    return k.len == key.len && memcmp(k.ptr, key.ptr, key.len) == 0;
}

int tpi_model_find(const struct tpi_model *m, struct tpc_str key, uint32_t *hint)
{
    if (hint != NULL && *hint < m->count && is_key(m, *hint, key)) {
        return (int) (*hint)++;
    }
    if (key.len == 0) {
        return -1;
    }
    uint32_t at = (uint32_t) tpi_hash(key.ptr, key.len, 0) & m->mask;
    for (; m->hash[at] != 0; at = (at + 1) & m->mask) {
        uint32_t index = m->hash[at] - 1;
        if (is_key(m, index, key)) {
            index = index < m->count ? index : m->aliases[index - m->count].index;
            if (hint != NULL) {
                *hint = index + 1;
            }
            return (int) index;
        }
    }
    return -1;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

static bool same_any_case(struct tpc_str a, struct tpc_str b)
{
    size_t n = 0;
    while (a.len == b.len && n < a.len && lower(a.ptr[n]) == lower(b.ptr[n])) {
        n++;
    }
    return a.len == b.len && n == a.len;
}

int tpi_model_find_any_case(const struct tpi_model *m, struct tpc_str key)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (same_any_case(m->properties[i].key, key)) {
            return (int) i;
        }
    }
    for (uint32_t i = 0; i < m->alias_count; i++) {
        if (same_any_case(m->aliases[i].key, key)) {
            return (int) m->aliases[i].index;
        }
    }
    return -1;
}

int tpi_model_find_id(const struct tpi_model *m, uint16_t id)
{
    return id < m->next_id ? (int) m->by_id[id] - 1 : -1;
}

struct tpc_str tpi_model_key_of(const struct tpi_model *m, uint16_t id)
{
    int index = tpi_model_find_id(m, id);
    if (index >= 0) {
        return m->properties[index].key;
    }
    for (uint32_t i = m->given_count; i > 0; i--) {
        if (m->given[i - 1].id == id) {
            return m->given[i - 1].key;
        }
    }
    return (struct tpc_str){ NULL, 0 };
}

static const struct tpi_function *find_function(const struct tpi_function *all, uint32_t count,
                                                struct tpc_str key)
{
    for (uint32_t i = 0; i < count; i++) {
        if (tpc_str_equal(all[i].key, key) != 0) {
            return &all[i];
        }
    }
    return NULL;
}

static int not_there(const char *what, struct tpc_str key, struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOENT, origin, "the model has no %s \"%.*s\"", what,
                         (int) (key.len > 128 ? 128 : key.len), key.ptr);
}

/* Text of a key that may be too long or hold NUL: for the path of an error. */
static void at_key(struct tpc_error *err, struct tpc_str key)
{
    char text[TPI_MODEL_MAX_KEY + 1];
    size_t n = key.len < sizeof(text) ? key.len : sizeof(text) - 1;
    memcpy(text, key.ptr, n);
    text[n] = 0;
    tpi_error_at(err, text);
}

static int check_set(const struct tpi_model *m, const struct tpc_value *params,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpc_member *out = tpc_arena_take(arena, (params->len + 1) * sizeof(*out));
    if (out == NULL) {
        return no_memory(err);
    }
    uint32_t hint = 0;
    for (size_t i = 0; i < params->len; i++) {
        const struct tpc_member *in = &params->as.members[i];
        int index = tpi_model_find(m, in->key, &hint);
        if (index < 0 && m->open) {
            out[i] = *in;
            int bad = tpi_model_open_check(in->key, &in->value, err);
            if (bad != 0) {
                return bad;
            }
            continue;
        }
        if (index < 0 || !m->properties[index].writable) {
            tpi_error_set(err, TPC_EMODEL, origin,
                          index < 0 ? "is not a property of the model" : "is read only");
            at_key(err, in->key);
            return TPC_EMODEL;
        }
        int rc = tpi_model_check(m, (uint32_t) index, &in->value, arena, err, &out[i].value);
        if (rc != 0) {
            return rc;
        }
        out[i].key = m->properties[index].key;
    }
    if (params->len == 0) {
        return tpi_error_set(err, TPC_EMODEL, origin, "there is nothing to set");
    }
    *ret = (struct tpc_value){ TPC_MAP, 0, params->len, { .members = out } };
    return 0;
}

static int check_get(const struct tpi_model *m, const struct tpc_value *params,
                     struct tpc_error *err, struct tpc_value *ret)
{
    const struct tpc_value *keys = tpc_value_get(params, TPC_STR("keys"));
    if (params->len != (keys == NULL ? 0u : 1u) || (keys != NULL && keys->type != TPC_ARRAY)) {
        tpi_error_set(err, TPC_EMODEL, origin, "wants an array \"keys\" and nothing else");
        tpi_error_at(err, "keys");
        return TPC_EMODEL;
    }
    for (size_t i = 0; keys != NULL && i < keys->len; i++) {
        int index = tpi_model_find(m, tpc_value_text(&keys->as.items[i]), NULL);
        if (index < 0 && m->open && keys->as.items[i].type == TPC_TEXT) {
            continue;
        }
        if (index < 0 || !m->properties[index].readable) {
            tpi_error_set(err, TPC_EMODEL, origin,
                          index < 0 ? "is not a property of the model" : "is write only");
            tpi_error_at_index(err, i);
            tpi_error_at(err, "keys");
            return TPC_EMODEL;
        }
    }
    *ret = *params;
    return 0;
}

static bool named(const struct tpi_function *f, struct tpc_str key)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (tpc_str_equal(f->fields[i].key, key) != 0) {
            return true;
        }
    }
    return false;
}

static int check_function(const struct tpi_function *f, const struct tpc_value *params, bool strict,
                          struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret)
{
    if (f->open) {
        *ret = *params;
        return 0;
    }
    for (size_t i = 0; strict && i < params->len; i++) {
        if (!named(f, params->as.members[i].key)) {
            tpi_error_set(err, TPC_EMODEL, origin, "is not a parameter of \"%s\"", f->key.ptr);
            at_key(err, params->as.members[i].key);
            return TPC_EMODEL;
        }
    }
    struct look l = { .arena = arena, .err = err };
    return check_fields(f->fields, f->count, params, strict, &l, ret);
}

/* Absent params are an empty map; anything else must be one. */
static int params_map(const struct tpc_value **params, struct tpc_error *err)
{
    static const struct tpc_value none = { TPC_MAP, 0, 0, { .members = NULL } };
    if (*params == NULL || (*params)->type == TPC_NULL) {
        *params = &none;
    }
    return (*params)->type == TPC_MAP
               ? 0
               : tpi_error_set(err, TPC_EMODEL, origin, "parameters are %s, not an object",
                               type_name(*params));
}

/* A service that only the device knows. */
static bool is_any(const struct tpi_model *m, struct tpc_str service)
{
    static const char *const ours[] = { "set", "get", "control" };
    bool any =
        m->open && service.len > 0 && find_function(m->services, m->service_count, service) == NULL;
    for (size_t i = 0; any && i < sizeof(ours) / sizeof(ours[0]); i++) {
        any = tpc_str_equal(service, tpc_str_from(ours[i])) == 0;
    }
    return any;
}

int tpi_model_service_check(const struct tpi_model *m, struct tpc_str service,
                            const struct tpc_value *params, struct tpc_arena *arena,
                            struct tpc_error *err, struct tpc_value *ret)
{
    if (is_any(m, service)) {
        *ret = params != NULL ? *params : (struct tpc_value){ .type = TPC_NULL };
        return 0;
    }
    int rc = params_map(&params, err);
    if (rc != 0) {
        return rc;
    }
    /* TSL exports list "set" and "get" among the services: they mean the same as ours. */
    if (tpc_str_equal(service, TPC_STR("set")) != 0) {
        return check_set(m, params, arena, err, ret);
    }
    if (tpc_str_equal(service, TPC_STR("get")) != 0) {
        return check_get(m, params, err, ret);
    }
    const struct tpi_function *f = find_function(m->services, m->service_count, service);
    if (f == NULL && tpc_str_equal(service, TPC_STR("control")) != 0) {
        return check_set(m, params, arena, err, ret);
    }
    return f == NULL ? not_there("service", service, err)
                     : check_function(f, params, true, arena, err, ret);
}

bool tpi_model_service_control(const struct tpi_model *m, struct tpc_str service)
{
    return tpc_str_equal(service, TPC_STR("control")) != 0 &&
           find_function(m->services, m->service_count, service) == NULL;
}

bool tpi_model_service_idempotent(const struct tpi_model *m, struct tpc_str service)
{
    if (tpc_str_equal(service, TPC_STR("set")) != 0 ||
        tpc_str_equal(service, TPC_STR("get")) != 0) {
        return true;
    }
    const struct tpi_function *f = find_function(m->services, m->service_count, service);
    return f != NULL && f->idempotent;
}

int tpi_model_event_check(const struct tpi_model *m, struct tpc_str event,
                          const struct tpc_value *params, struct tpc_arena *arena,
                          struct tpc_error *err, struct tpc_value *ret)
{
    int rc = params_map(&params, err);
    if (rc != 0) {
        return rc;
    }
    const struct tpi_function *f = find_function(m->events, m->event_count, event);
    if (f == NULL && m->open) {
        rc = tpi_model_open_check(event, params, err); /* a name is bound as a key is */
        *ret = *params;
        return rc;
    }
    return f == NULL ? not_there("event", event, err)
                     : check_function(f, params, false, arena, err, ret);
}
