/* Indexed fields of a document: what the store finds it by. */
#include "entity/inside.h"

#include <string.h>

#include "base/error.h"

struct fields {
    struct tpc_arena *arena;
    struct tpc_field *list;
    uint32_t count;
    bool copy; /* the document does not live as long as the fields */
};

/* prefix, name and suffix as one text; NULL when out of memory. */
static const char *join(struct tpc_arena *arena, const char *prefix, struct tpc_str a, char dot,
                        struct tpc_str b, size_t *ret_len)
{
    size_t head = strlen(prefix);
    size_t len = head + a.len + 1 + b.len;
    char *text = tpc_arena_take(arena, len + 1);
    if (text == NULL) {
        return NULL;
    }
    memcpy(text, prefix, head);
    memcpy(text + head, a.ptr, a.len);
    text[head + a.len] = dot;
    if (b.len > 0) {
        memcpy(text + head + a.len + 1, b.ptr, b.len);
    }
    text[len] = 0;
    *ret_len = len;
    return text;
}

int tpi_field_name(struct tpc_arena *arena, const char *prefix, struct tpc_str member,
                   struct tpc_str item, struct tpc_str *ret)
{
    size_t len;
    const char *text = join(arena, prefix, member, '.', item, &len);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    *ret = (struct tpc_str){ text, len };
    return 0;
}

static int add(struct fields *f, struct tpc_str name, struct tpc_str value)
{
    if (f->count == TPI_ENTITY_ROW_FIELDS) {
        return TPC_ETOOBIG;
    }
    if (f->copy && value.len > 0) {
        char *text = tpc_arena_take(f->arena, value.len);
        if (text == NULL) {
            return TPC_ENOMEM;
        }
        memcpy(text, value.ptr, value.len);
        value.ptr = text;
    }
    f->list[f->count].name = name;
    f->list[f->count++].value = value;
    return 0;
}

/* A value as text: numbers in decimal. */
static int add_value(struct fields *f, struct tpc_str name, const struct tpc_value *v)
{
    struct tpc_str text = tpc_value_text(v);
    int rc = v->type == TPC_TEXT ? 0 : tpi_entity_json(v, f->arena, &text);
    return rc != 0 ? rc : add(f, name, text);
}

/* labels.site = paris, and has:labels.site, so that "any value" is found as fast. */
static int add_table(struct fields *f, struct tpc_str name, const struct tpc_value *v)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && v->type == TPC_MAP && i < v->len; i++) {
        const struct tpc_member *m = &v->as.members[i];
        struct tpc_str field, has;
        if (m->value.type != TPC_TEXT) {
            continue;
        }
        rc = tpi_field_name(f->arena, "", name, m->key, &field);
        rc = rc != 0 ? rc : tpi_field_name(f->arena, TPI_FIELD_HAS, name, m->key, &has);
        rc = rc != 0 ? rc : add(f, field, tpc_value_text(&m->value));
        rc = rc != 0 ? rc : add(f, has, TPC_STR(""));
    }
    return rc;
}

/* groups.attic; an item that comes twice is one field. */
static int add_list(struct fields *f, struct tpc_str name, const struct tpc_value *v)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && v->type == TPC_ARRAY && i < v->len; i++) {
        struct tpc_str item = tpc_value_text(&v->as.items[i]);
        struct tpc_str field;
        bool twice = item.len == 0;
        for (size_t k = 0; k < i && !twice; k++) {
            twice = tpc_str_equal(tpc_value_text(&v->as.items[k]), item) != 0;
        }
        if (!twice) {
            rc = tpi_field_name(f->arena, "", name, item, &field);
            rc = rc != 0 ? rc : add(f, field, TPC_STR(""));
        }
    }
    return rc;
}

static int add_member(struct fields *f, const struct tpc_option *o, const struct tpc_value *v)
{
    struct tpc_str name = tpc_str_from(o->name);
    return o->type == TPC_OPT_TABLE  ? add_table(f, name, v)
           : o->type == TPC_OPT_LIST ? add_list(f, name, v)
                                     : add_value(f, name, v);
}

int tpi_entity_fields(const struct tpc_list *schema, const struct tpc_value *doc, bool copy,
                      struct tpc_arena *arena, struct tpc_row *row, struct tpc_error *err)
{
    struct fields f = { arena, NULL, 0, copy };
    int rc = 0;
    f.list = tpc_arena_take(arena, TPI_ENTITY_ROW_FIELDS * sizeof(*f.list));
    if (f.list == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    for (uint32_t i = 0; rc == 0 && i < schema->count; i++) {
        const struct tpc_option *o = TPC_LIST_AT(struct tpc_option, *schema, i);
        const struct tpc_value *v = tpc_value_get(doc, tpc_str_from(o->name));
        if ((o->flags & TPC_OPT_INDEXED) != 0 && v != NULL && v->type != TPC_NULL) {
            rc = add_member(&f, o, v);
        }
    }
    if (rc != 0) {
        return tpi_error_set(err, rc, tpi_entity_origin,
                             rc == TPC_ETOOBIG ? "more than %d indexed values" : "out of memory",
                             TPI_ENTITY_ROW_FIELDS);
    }
    row->fields = f.list;
    row->field_count = f.count;
    row->field_size = sizeof(*f.list);
    return 0;
}

/* ---- selectors ---- */

struct selector {
    const char *p;
    const char *end;
    struct tpc_str member; /* "labels" */
    struct tpc_arena *arena;
    struct tpc_error *err;
};

static void spaces(struct selector *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t')) {
        s->p++;
    }
}

bool tpi_label_name_valid(struct tpc_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-' || c == '.' || c == '/')) {
            return false;
        }
    }
    return name.len >= 1 && name.len <= TPI_LABEL_NAME_BYTES;
}

static int bad(struct selector *s, const char *why)
{
    size_t left = (size_t) (s->end - s->p);
    return tpi_error_set(s->err, TPC_EINVAL, tpi_entity_origin, "selector: %s, at \"%.*s\"", why,
                         (int) (left > 40 ? 40 : left), s->p);
}

static struct tpc_str word(struct selector *s)
{
    const char *begin = s->p;
    while (s->p < s->end && tpi_label_name_valid((struct tpc_str){ s->p, 1 })) {
        s->p++;
    }
    return (struct tpc_str){ begin, (size_t) (s->p - begin) };
}

/* Up to the comma, without spaces at its end; or in quotes, where "" is one. */
static int value(struct selector *s, struct tpc_str *ret)
{
    spaces(s);
    if (s->p == s->end || *s->p != '"') {
        const char *begin = s->p;
        while (s->p < s->end && *s->p != ',') {
            s->p++;
        }
        size_t len = (size_t) (s->p - begin);
        while (len > 0 && (begin[len - 1] == ' ' || begin[len - 1] == '\t')) {
            len--;
        }
        *ret = (struct tpc_str){ begin, len };
        return 0;
    }
    char *text = tpc_arena_take(s->arena, (size_t) (s->end - s->p));
    size_t len = 0;
    if (text == NULL) {
        return tpi_error_set(s->err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    for (s->p++; s->p < s->end; s->p++) {
        if (*s->p == '"' && (s->p + 1 == s->end || *++s->p != '"')) {
            s->p += s->p + 1 == s->end && *s->p == '"';
            *ret = (struct tpc_str){ text, len };
            return 0;
        }
        text[len++] = *s->p;
    }
    return bad(s, "a quote that does not end");
}

static int term(struct selector *s, struct tpc_store_term *ret)
{
    struct tpc_str text = TPC_STR("");
    bool not = s->p < s->end && *s->p == '!';
    s->p += not ;
    spaces(s);
    struct tpc_str name = word(s);
    spaces(s);
    bool has = tpc_str_equal(name, TPC_STR("has")) != 0 && s->p < s->end && *s->p != '=' &&
               *s->p != '!' && *s->p != ',';
    if (has) {
        name = word(s);
        spaces(s);
    }
    if (!tpi_label_name_valid(name)) {
        return bad(s, "a name of letters, digits and _ - . / was expected");
    }
    bool bare = has || not ;
    if (!bare && (s->p == s->end || (*s->p != '=' && (*s->p != '!' || s->end - s->p < 2)))) {
        return bad(s, "= or != was expected");
    }
    int rc = 0;
    if (!bare) {
        not = *s->p == '!';
        if (not &&s->p[1] != '=') {
            return bad(s, "= or != was expected");
        }
        s->p += not || (s->end - s->p > 1 && s->p[1] == '=') ? 2 : 1;
        rc = value(s, &text);
    }
    spaces(s);
    if (rc == 0 && s->p < s->end && *s->p != ',') {
        rc = bad(s, "a comma was expected");
    }
    if (rc != 0) {
        return rc;
    }
    ret->type = not ? TPC_TERM_NOT_EQUAL : TPC_TERM_EQUAL;
    ret->field.value = text;
    rc = tpi_field_name(s->arena, bare ? TPI_FIELD_HAS : "", s->member, name, &ret->field.name);
    return rc == 0 ? 0 : tpi_error_set(s->err, rc, tpi_entity_origin, "out of memory");
}

int tpi_selector_parse(struct tpc_str text, struct tpc_str member, struct tpc_arena *arena,
                       struct tpc_error *err, struct tpc_store_term *terms, uint32_t *ret_count)
{
    struct selector s = { text.ptr, text.ptr + text.len, member, arena, err };
    uint32_t n = 0;
    if (text.len > TPI_SELECTOR_BYTES) {
        return tpi_error_set(err, TPC_ETOOBIG, tpi_entity_origin, "a selector of over %d bytes",
                             TPI_SELECTOR_BYTES);
    }
    spaces(&s);
    while (text.len > 0) {
        if (n == TPI_SELECTOR_TERMS) {
            return tpi_error_set(err, TPC_ETOOBIG, tpi_entity_origin, "a selector of over %d terms",
                                 TPI_SELECTOR_TERMS);
        }
        terms[n] = (struct tpc_store_term){ .type = 0 };
        int rc = term(&s, &terms[n]);
        if (rc != 0) {
            return rc;
        }
        n++;
        if (s.p == s.end) {
            break;
        }
        s.p++;
        spaces(&s);
    }
    *ret_count = n;
    return 0;
}
