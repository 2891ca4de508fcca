/*
 * Import and export of models. A definition is kept in its original form beside what it became,
 * unless the way there and back gives the same again; and the other way round.
 */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "data/json_read.h"
#include "model/form.h"

static const char origin[] = "model";
static const char tpcore[] = "tpcore"; /* what the other form cannot say */

enum { MOST_BYTES = 16 * 1024 * 1024, LISTS = 4 };

const char *tpc_model_format_name(uint32_t format)
{
    static const char *const names[] = { "any", "tpcore", "tsl", "thingspanel" };
    return format <= TPC_MODEL_THINGSPANEL ? names[format] : "?";
}

static int no_memory(struct tpc_error *err)
{
    return tpi_error_set(err, TPC_ENOMEM, origin, "out of memory");
}

static bool is_list(const struct tpi_form *f, struct tpc_str key, bool own)
{
    for (const struct tpi_form_list *l = f->lists; l->name != NULL; l++) {
        if (tpc_str_equal(key, tpc_str_from(own ? l->own : l->name)) != 0) {
            return true;
        }
    }
    return false;
}

static bool is_known(const struct tpi_form *f, struct tpc_str key)
{
    for (const char *const *k = f->known; *k != NULL; k++) {
        if (tpc_str_equal(key, tpc_str_from(*k)) != 0) {
            return true;
        }
    }
    return false;
}

/* A map without one member, and without those a form does not know if `f` is given. */
static int without(struct tpc_arena *arena, const struct tpc_value *map, const char *key,
                   const struct tpi_form *f, struct tpc_value *ret)
{
    struct tpi_tree t;
    tpi_tree_begin(&t, arena);
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        if (tpc_str_equal(m->key, tpc_str_from(key)) == 0 && (f == NULL || is_known(f, m->key))) {
            tpi_tree_put_key(&t, m->key, &m->value);
        }
    }
    return tpi_tree_end(&t, ret);
}

static int with(struct tpc_arena *arena, const struct tpc_value *map, const char *key,
                const struct tpc_value *v, struct tpc_value *ret)
{
    struct tpi_tree t;
    tpi_tree_begin(&t, arena);
    for (size_t i = 0; i < map->len; i++) {
        tpi_tree_put_key(&t, map->as.members[i].key, &map->as.members[i].value);
    }
    tpi_tree_put(&t, key, v);
    return tpi_tree_end(&t, ret);
}

/* ---- one definition ---- */

struct one {
    struct tpc_arena *arena;
    const struct tpi_form *form;
    enum tpi_what what;
};

/* What stands in member "tpcore" of a definition, if the rest says the same. 1, 0 = it does not, or
 * TPC_ENOMEM. */
static int from_own(const struct one *o, const struct tpc_value *other, struct tpc_value *ret)
{
    const struct tpc_value *own = tpc_value_get(other, TPC_STR("tpcore"));
    struct tpc_value check, said, rest;
    if (own == NULL || own->type != TPC_MAP ||
        tpc_value_get(own, tpc_str_from(o->form->name)) != NULL) {
        return 0;
    }
    int rc = o->form->from(o->arena, o->what, other, NULL, &check);
    if (rc != 0 || tpc_value_equal(&check, own) != 0) {
        return rc == TPC_ENOMEM ? rc : 0; /* it is no use */
    }
    rc = o->form->to(o->arena, o->what, own, &said);
    rc = rc != 0 ? rc : without(o->arena, other, tpcore, o->form, &rest);
    if (rc != 0) {
        return rc;
    }
    if (tpc_value_equal(&said, &rest) == 0) {
        return 0;
    }
    *ret = *own;
    rc = without(o->arena, other, tpcore, NULL, &check);
    if (rc == 0 && check.len != rest.len) {
        rc = with(o->arena, own, o->form->name, &check, ret);
    }
    return rc != 0 ? rc : 1;
}

static int import_one(struct tpc_arena *arena, const struct tpc_value *other, size_t index,
                      const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    const struct one *o = user;
    struct tpc_value own, again;
    (void) index;
    int rc = from_own(o, other, ret);
    if (rc != 0) {
        return rc == 1 ? 0 : no_memory(err);
    }
    rc = o->form->from(arena, o->what, other, err, &own);
    if (rc != 0) {
        return rc;
    }
    *ret = own;
    rc = o->form->to(arena, o->what, &own, &again);
    if (rc == 0 && tpc_value_equal(&again, other) == 0) {
        rc = with(arena, &own, o->form->name, other, ret);
    }
    return rc != 0 ? no_memory(err) : 0;
}

/* The definition without what it keeps of the other form, in the other form. */
static int export_fresh(const struct one *o, const struct tpc_value *base,
                        const struct tpc_value *kept, struct tpc_value *ret)
{
    struct tpi_tree t;
    struct tpc_value fresh, again;
    int rc = o->form->to(o->arena, o->what, base, &fresh);
    if (rc != 0) {
        return rc;
    }
    rc = o->form->from(o->arena, o->what, &fresh, NULL, &again);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    bool same = rc == 0 && tpc_value_equal(&again, base) != 0;
    tpi_tree_begin(&t, o->arena);
    for (size_t i = 0; i < fresh.len; i++) {
        tpi_tree_put_key(&t, fresh.as.members[i].key, &fresh.as.members[i].value);
    }
    for (size_t i = 0; kept != NULL && i < kept->len; i++) {
        if (!is_known(o->form, kept->as.members[i].key)) {
            tpi_tree_put_key(&t, kept->as.members[i].key, &kept->as.members[i].value);
        }
    }
    tpi_tree_put(&t, tpcore, same ? NULL : base);
    return tpi_tree_end(&t, ret);
}

static int export_one(const struct one *o, const struct tpc_value *own, struct tpc_value *ret)
{
    const struct tpc_value *kept = tpc_value_get(own, tpc_str_from(o->form->name));
    struct tpc_value base, again;
    kept = kept != NULL && kept->type == TPC_MAP ? kept : NULL;
    int rc = kept == NULL ? 0 : without(o->arena, own, o->form->name, NULL, &base);
    if (rc != 0) {
        return rc;
    }
    if (kept != NULL) {
        rc = o->form->from(o->arena, o->what, kept, NULL, &again);
        if (rc == TPC_ENOMEM) {
            return rc;
        }
        if (rc == 0 && tpc_value_equal(&again, &base) != 0) {
            *ret = *kept;
            return 0;
        }
    }
    return export_fresh(o, kept == NULL ? own : &base, kept, ret);
}

/* ---- lists ---- */

/* One of our lists, from all lists of the other form that it is made of. */
static int import_list(struct tpc_arena *arena, const struct tpi_form *f, const char *own,
                       const struct tpc_value *doc, struct tpi_tree *out, struct tpc_error *err)
{
    struct tpc_value parts[LISTS];
    size_t count = 0;
    size_t total = 0;
    for (const struct tpi_form_list *l = f->lists; l->name != NULL; l++) {
        const struct tpc_value *list = tpi_form_member(doc, l->name);
        if (strcmp(l->own, own) != 0 || list == NULL) {
            continue;
        }
        struct one o = { arena, f, l->what };
        int rc = tpi_form_each(arena, list, l->name, import_one, &o, err, &parts[count]);
        if (rc != 0) {
            return rc;
        }
        total += parts[count++].len;
    }
    if (count == 0) {
        return 0;
    }
    struct tpc_value *all = tpc_arena_take(arena, (total + 1) * sizeof(*all));
    if (all == NULL) {
        return no_memory(err);
    }
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < parts[i].len; k++) {
            all[at++] = parts[i].as.items[k];
        }
    }
    tpi_tree_put(out, own, &(struct tpc_value){ .type = TPC_ARRAY, .len = total, .as.items = all });
    return 0;
}

static bool is_attribute(const struct tpc_value *def)
{
    return tpi_form_is(tpi_form_member(def, "role"), "attribute");
}

static int export_list(struct tpc_arena *arena, const struct tpi_form *f,
                       const struct tpi_form_list *l, const struct tpc_value *model,
                       struct tpi_tree *out)
{
    const struct tpc_value *list = tpi_form_member(model, l->own);
    bool split = f == &tpi_form_thingspanel && strcmp(l->own, "properties") == 0;
    struct one o = { arena, f, l->what };
    if (list == NULL) {
        return 0;
    }
    struct tpc_value *items = tpc_arena_take(arena, (list->len + 1) * sizeof(*items));
    size_t n = 0;
    if (items == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < list->len; i++) {
        const struct tpc_value *def = &list->as.items[i];
        if (split && is_attribute(def) != (l->what == TPI_WHAT_ATTRIBUTE)) {
            continue;
        }
        int rc = export_one(&o, def, &items[n++]);
        if (rc != 0) {
            return rc;
        }
    }
    tpi_tree_put(out, l->name,
                 &(struct tpc_value){ .type = TPC_ARRAY, .len = n, .as.items = items });
    return 0;
}

/* ---- whole models ---- */

/* Members of a map that are no lists (of this form, or of ours) and not `other` (NULL = none), as a map. */
static int rest_of(struct tpc_arena *arena, const struct tpi_form *f, const struct tpc_value *map,
                   bool own, const char *other, struct tpc_value *ret)
{
    struct tpi_tree t;
    tpi_tree_begin(&t, arena);
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        bool empty = m->value.type == TPC_NULL && !own;
        if ((empty || !is_list(f, m->key, own)) &&
            (other == NULL || tpc_str_equal(m->key, tpc_str_from(other)) == 0)) {
            tpi_tree_put_key(&t, m->key, &m->value);
        }
    }
    return tpi_tree_end(&t, ret);
}

/* Member "tpcore" says what the form cannot, and nothing else: what stands in the form's own places
 * would be lost. What a model has under the form's name and is no object of its members says nothing
 * in the form. */
static int check_more(const struct tpi_form *f, const struct tpc_value *more,
                      const struct tpc_value *rest, struct tpc_error *err)
{
    if (more != NULL && more->type != TPC_MAP) {
        return tpi_form_expected(err, tpcore, "an object");
    }
    for (size_t i = 0; more != NULL && i < more->len; i++) {
        const struct tpc_member *m = &more->as.members[i];
        bool form = tpc_str_equal(m->key, tpc_str_from(f->name)) != 0;
        if (is_list(f, m->key, true) || (form && (m->value.type == TPC_MAP || rest->len > 0))) {
            return tpi_form_expected(err, tpcore, "no lists of definitions");
        }
    }
    return 0;
}

static int import_form(struct tpc_arena *arena, const struct tpi_form *f,
                       const struct tpc_value *doc, struct tpc_error *err, struct tpc_value *ret)
{
    static const char *const own_lists[] = { "properties", "services", "events" };
    struct tpi_tree out;
    struct tpc_value rest;
    const struct tpc_value *more = tpc_value_get(doc, TPC_STR("tpcore"));
    if (rest_of(arena, f, doc, false, tpcore, &rest) != 0) {
        return no_memory(err);
    }
    int rc = check_more(f, more, &rest, err);
    tpi_tree_begin(&out, arena);
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        rc = import_list(arena, f, own_lists[i], doc, &out, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (rest.len > 0) {
        tpi_tree_put(&out, f->name, &rest);
    }
    for (size_t i = 0; more != NULL && i < more->len; i++) {
        tpi_tree_put_key(&out, more->as.members[i].key, &more->as.members[i].value);
    }
    return tpi_tree_end(&out, ret) != 0 ? no_memory(err) : 0;
}

/* Whether the key is a list's, and the model has what it is made of: null comes back only as long
 * as there is nothing else to say. */
static bool is_made(const struct tpi_form *f, struct tpc_str key, const struct tpc_value *model)
{
    for (const struct tpi_form_list *l = f->lists; l->name != NULL; l++) {
        if (tpc_str_equal(key, tpc_str_from(l->name)) != 0) {
            return tpi_form_member(model, l->own) != NULL;
        }
    }
    return false;
}

static int export_form(struct tpc_arena *arena, const struct tpi_form *f,
                       const struct tpc_value *model, struct tpc_value *ret)
{
    struct tpi_tree out;
    struct tpc_value rest;
    const struct tpc_value *kept = tpc_value_get(model, tpc_str_from(f->name));
    bool has = kept != NULL && kept->type == TPC_MAP;
    tpi_tree_begin(&out, arena);
    for (size_t i = 0; has && i < kept->len; i++) {
        const struct tpc_member *m = &kept->as.members[i];
        if (!is_made(f, m->key, model)) {
            tpi_tree_put_key(&out, m->key, &m->value);
        }
    }
    for (const struct tpi_form_list *l = f->lists; l->name != NULL; l++) {
        int rc = export_list(arena, f, l, model, &out);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = rest_of(arena, f, model, true, has ? f->name : NULL, &rest);
    if (rc == 0 && rest.len > 0) {
        tpi_tree_put(&out, tpcore, &rest);
    }
    return rc != 0 ? rc : tpi_tree_end(&out, ret);
}

/* ---- places ---- */

/* One segment of a path without its index: up to '[', '.' or the end. */
static size_t name_length(const char *p)
{
    return strcspn(p, "[.");
}

static bool is_segment(const char *p, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(p, name, len) == 0;
}

/* "properties[5]" is "attributes[2]" where three are telemetry. Returns what follows in path. */
static const char *list_path(const struct tpi_form *f, const struct tpc_value *doc,
                             const char *path, char *out, size_t cap)
{
    size_t len = name_length(path);
    size_t index = 0;
    const char *p = path + len;
    if (*p != '[') {
        snprintf(out, cap, "%.*s", (int) len, path);
        return p;
    }
    for (p++; *p >= '0' && *p <= '9'; p++) {
        index = index * 10 + (size_t) (*p - '0');
    }
    for (const struct tpi_form_list *l = f->lists; l->name != NULL; l++) {
        const struct tpc_value *list = tpi_form_member(doc, l->name);
        if (!is_segment(path, len, l->own) || list == NULL) {
            continue;
        }
        if (index < list->len) {
            snprintf(out, cap, "%s[%zu]", l->name, index);
            return *p == ']' ? p + 1 : p;
        }
        index -= list->len;
    }
    snprintf(out, cap, "%.*s", (int) (p + 1 - path), path);
    return *p == ']' ? p + 1 : p;
}

static const char *other_segment(const struct tpi_form *f, const char *p, size_t len, bool inner)
{
    if (inner && is_segment(p, len, "type") && f == &tpi_form_tsl) {
        return "childDataType";
    }
    for (const struct tpi_form_segment *s = f->segments; s->own != NULL; s++) {
        if (is_segment(p, len, s->own)) {
            return s->name;
        }
    }
    return NULL;
}

/* A path of our form in the other's words. */
static void other_path(const struct tpi_form *f, const struct tpc_value *doc, const char *path,
                       char *out, size_t cap)
{
    bool inner = false;
    const char *p = list_path(f, doc, path, out, cap);
    size_t n = strlen(out);
    while (*p != '\0' && n + 1 < cap) {
        if (*p == '.') {
            p++;
        }
        size_t len = name_length(p);
        const char *name = other_segment(f, p, len, inner);
        inner = inner || is_segment(p, len, "fields") || is_segment(p, len, "items");
        size_t index = p[len] == '[' ? strcspn(p + len, ".") : 0;
        if (name != NULL) {
            n += (size_t) snprintf(out + n, cap - n, ".%s%.*s", name, (int) index, p + len);
        } else {
            n += (size_t) snprintf(out + n, cap - n, ".%.*s", (int) (len + index), p);
        }
        p += len + index;
    }
}

/* Moves on to the value of a member. False: there is none, the map has been read. */
static bool enter_member(struct tpi_json *r, const char *name, size_t len)
{
    int event;
    while ((event = tpi_json_next(r)) == TPI_JSON_KEY) {
        if (!r->escaped && r->text.len == len && memcmp(r->text.ptr, name, len) == 0) {
            return true;
        }
        if (tpi_json_skip(r, event) != 0) {
            return false;
        }
    }
    return false;
}

static bool enter_item(struct tpi_json *r, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        int event = tpi_json_next(r);
        if (event <= 0 || event == TPI_JSON_ARRAY_END || tpi_json_skip(r, event) != 0) {
            return false;
        }
    }
    return true;
}

/* Where the value of a path stands in a text that was read before: as deep as there is one. */
static const char *place_of(struct tpi_json *r, struct tpc_str text, const char *path)
{
    tpi_json_begin(r, text);
    for (;;) {
        const char *at = r->p;
        while (at < r->end && (*at == ',' || *at == ':' || (unsigned char) *at <= ' ')) {
            at++;
        }
        int event = *path == '\0' ? TPI_JSON_END : tpi_json_next(r);
        if (event == TPI_JSON_MAP && *path != '[') {
            path += *path == '.';
            size_t len = name_length(path);
            if (!enter_member(r, path, len)) {
                return at;
            }
            path += len;
        } else if (event == TPI_JSON_ARRAY && *path == '[') {
            size_t index = 0;
            for (path++; *path >= '0' && *path <= '9'; path++) {
                index = index * 10 + (size_t) (*path - '0');
            }
            path += *path == ']';
            if (!enter_item(r, index)) {
                return at;
            }
        } else {
            return at;
        }
    }
}

/* ---- in and out ---- */

static bool looks_like(const struct tpc_value *doc, const struct tpi_form *f, const char *member)
{
    for (const struct tpi_form_list *l = f->lists; l->name != NULL; l++) {
        const struct tpc_value *list = tpi_form_member(doc, l->name);
        if (list != NULL && list->type == TPC_ARRAY && list->len > 0 &&
            tpi_form_member(&list->as.items[0], member) != NULL) {
            return true;
        }
    }
    return false;
}

static uint32_t guess(const struct tpc_value *doc)
{
    if (looks_like(doc, &tpi_form_thingspanel, "data_identifier") ||
        tpi_form_member(doc, "telemetry") != NULL || tpi_form_member(doc, "attributes") != NULL ||
        tpi_form_member(doc, "commands") != NULL) {
        return TPC_MODEL_THINGSPANEL;
    }
    return looks_like(doc, &tpi_form_tsl, "identifier") ||
                   tpi_form_member(doc, "productKey") != NULL
               ? TPC_MODEL_TSL
               : TPC_MODEL_TPCORE;
}

static const struct tpi_form *form_of(uint32_t format)
{
    return format == TPC_MODEL_TSL           ? &tpi_form_tsl
           : format == TPC_MODEL_THINGSPANEL ? &tpi_form_thingspanel
                                             : NULL;
}

/* Compiles it, for what the compiler says. */
static int check_model(const struct tpc_value *model, struct tpc_error *err)
{
    struct tpi_model *m;
    int rc = tpi_model_compile(NULL, model, NULL, TPI_ENFORCE_USUAL, 1, err, &m);
    if (rc == 0) {
        tpi_model_unref(m);
    }
    return rc == 0 || rc == TPC_ENOMEM ? rc : TPC_EMODEL;
}

static int import_tree(struct tpc_arena *arena, struct tpc_str text, const struct tpc_value *doc,
                       uint32_t format, struct tpc_error *err, struct tpc_value *ret)
{
    const struct tpi_form *f = form_of(format);
    struct tpc_value model = *doc;
    char path[sizeof(err->path)] = "";
    struct tpi_json r;
    int rc = f != NULL && doc->type != TPC_MAP
                 ? tpi_error_set(err, TPC_EMODEL, origin, "expected an object")
                 : 0;
    rc = rc != 0 || f == NULL ? rc : import_form(arena, f, doc, err, &model);
    if (rc == 0) {
        rc = check_model(&model, err);
        if (rc == 0) {
            *ret = model;
            return 0;
        }
        if (f != NULL) {
            other_path(f, doc, err->path, path, sizeof(path));
            memcpy(err->path, path, sizeof(path));
        }
    }
    if (rc != TPC_ENOMEM) {
        struct tpc_error at;
        const char *place = place_of(&r, text, err->path);
        tpi_json_begin(&r, text);
        (void) tpi_json_fail_at(&r, place, rc, "", &at);
        err->line = at.line;
        err->column = at.column;
    }
    err->code = rc;
    return rc;
}

int tpc_model_import(struct tpc_arena *arena, struct tpc_str text, uint32_t format,
                     struct tpc_error *err, struct tpc_value *ret)
{
    struct tpc_error own = { .size = sizeof(own) };
    struct tpc_value doc;
    int rc = 0;
    if (format > TPC_MODEL_THINGSPANEL) {
        rc = tpi_error_set(&own, TPC_EINVAL, origin, "there is no form %u", format);
    } else if (text.len > MOST_BYTES) {
        rc = tpi_error_set(&own, TPC_ETOOBIG, origin, "has more than %d bytes", MOST_BYTES);
    } else {
        rc = tpc_json_parse(arena, text, TPC_JSON_COPY, &own, &doc);
    }
    if (rc == 0) {
        format = format != TPC_MODEL_ANY ? format : guess(&doc);
        rc = import_tree(arena, text, &doc, format, &own, ret);
    }
    if (rc != 0 && err != NULL) {
        *err = own;
    }
    return rc;
}

int tpc_model_export(struct tpc_arena *arena, const struct tpc_value *model, uint32_t format,
                     struct tpc_error *err, struct tpc_value *ret)
{
    const struct tpi_form *f = form_of(format);
    if (format == TPC_MODEL_ANY || format > TPC_MODEL_THINGSPANEL) {
        return tpi_error_set(err, TPC_EINVAL, origin, "there is no form %u", format);
    }
    int rc = check_model(model, err);
    if (rc != 0) {
        if (err != NULL) {
            err->code = rc;
        }
        return rc;
    }
    if (f == NULL) {
        *ret = *model;
        return 0;
    }
    return export_form(arena, f, model, ret) != 0 ? no_memory(err) : 0;
}
