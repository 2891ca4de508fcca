/* See forms.h. */
#include "forms.h"

#include "base/error.h"
#include "data/member.h"
#include "data/utf8.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

static const char origin[] = "thingspanel";
static const char *const kind_names[] = { "CFG", "VCR", "VCRT", "SVCR" };
static const char *const element_types[] = { "input", "select", "table", "switch" };

enum element_type { TYPE_INPUT, TYPE_SELECT, TYPE_TABLE, TYPE_SWITCH };

enum { KINDS = 4, ELEMENT_TYPES = 4, TREE_BYTES = 8 << 20, NUMBER_TEXT = 64 };

/* ---- checking ---- */

/* A complaint about a member. */
static int wrong(struct tpc_error *err, const char *member, const char *text)
{
    tpi_error_set(err, TPC_EINVAL, origin, "%s", text);
    if (member != NULL) {
        tpi_error_at(err, member);
    }
    return TPC_EINVAL;
}

static int index_of(const char *const *names, int count, struct tpc_str text)
{
    for (int i = 0; i < count; i++) {
        if (tpc_str_equal(text, tpc_str_from(names[i]))) {
            return i;
        }
    }
    return -1;
}

/* What an object may have, and of which type; TPC_NULL = any. */
struct member_rule {
    const char *name;
    uint32_t type;
};

static int check_members(const struct tpc_value *map, const struct member_rule *rules, size_t count,
                         struct tpc_error *err)
{
    char name[TP_FORM_NAME + 1];
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        size_t at = 0;
        while (at < count && !tpc_str_equal(m->key, tpc_str_from(rules[at].name))) {
            at++;
        }
        snprintf(name, sizeof(name), "%.*s", (int) (m->key.len < 64 ? m->key.len : 64), m->key.ptr);
        if (at == count) {
            return wrong(err, name, "there is no such member");
        }
        if (m->value.type != TPC_NULL && rules[at].type != TPC_NULL &&
            m->value.type != rules[at].type) {
            return wrong(err, name, "is of a wrong type");
        }
    }
    return 0;
}

static int check_option(const struct tpc_value *option, struct tpc_error *err)
{
    static const struct member_rule rules[] = { { "label", TPC_TEXT }, { "value", TPC_NULL } };
    if (option->type != TPC_MAP) {
        return wrong(err, NULL, "is no object with label and value");
    }
    int rc = check_members(option, rules, 2, err);
    const struct tpc_value *value = tpi_member(option, "value");
    if (rc == 0 && (value == NULL || (value->type != TPC_TEXT && value->type != TPC_INT &&
                                      value->type != TPC_DOUBLE))) {
        rc = wrong(err, "value", "is neither a text nor a number");
    }
    return rc;
}

static int check_options(const struct tpc_value *element, struct tpc_error *err)
{
    const struct tpc_value *options = tpi_member(element, "options");
    if (options == NULL) {
        return wrong(err, "options", "a select has some");
    }
    if (options->len > TP_FORM_OPTIONS) {
        return wrong(err, "options", "are too many");
    }
    for (size_t i = 0; i < options->len; i++) {
        int rc = check_option(&options->as.items[i], err);
        if (rc != 0) {
            tpi_error_at_index(err, i);
            tpi_error_at(err, "options");
            return rc;
        }
    }
    return 0;
}

static int check_validate(const struct tpc_value *v, struct tpc_error *err)
{
    static const struct member_rule rules[] = { { "required", TPC_BOOL },
                                                { "type", TPC_TEXT },
                                                { "message", TPC_TEXT },
                                                { "rules", TPC_TEXT } };
    static const char *const types[] = { "string", "number", "boolean" };
    int rc = v != NULL ? check_members(v, rules, 4, err) : 0;
    if (v == NULL || rc != 0) {
        return rc;
    }
    if (tpi_member(v, "type") != NULL && index_of(types, 3, tpi_member_text(v, "type")) < 0) {
        return wrong(err, "type", "is none of string, number, boolean");
    }
    struct tpc_str rule = tpi_member_text(v, "rules");
    size_t slash = rule.len;
    while (slash > 1 && rule.ptr[slash - 1] != '/') {
        slash--;
    }
    if (rule.len > 0 && (rule.ptr[0] != '/' || slash < 2)) {
        return wrong(err, "rules", "is no pattern between slashes");
    }
    return 0;
}

static int check_elements(const struct tpc_value *form, int depth, struct tpc_error *err);

static int check_element(const struct tpc_value *e, int depth, struct tpc_error *err)
{
    static const struct member_rule rules[] = {
        { "dataKey", TPC_TEXT },     { "label", TPC_TEXT },    { "placeholder", TPC_TEXT },
        { "type", TPC_TEXT },        { "options", TPC_ARRAY }, { "array", TPC_ARRAY },
        { "validate", TPC_MAP },     { "default", TPC_NULL },  { "inputType", TPC_TEXT },
        { "visibleWhen", TPC_NULL }, { "showWhen", TPC_NULL }
    };
    if (e->type != TPC_MAP) {
        return wrong(err, NULL, "is no object");
    }
    int rc = check_members(e, rules, sizeof(rules) / sizeof(rules[0]), err);
    if (rc != 0) {
        return rc;
    }
    struct tpc_str key = tpi_member_text(e, "dataKey");
    if (key.len == 0 || key.len > TP_FORM_NAME) {
        return wrong(err, "dataKey", "is the name of the value: 1 to 128 bytes");
    }
    int type = index_of(element_types, ELEMENT_TYPES, tpi_member_text(e, "type"));
    if (type < 0) {
        return wrong(err, "type", "is none of input, select, table, switch");
    }
    rc = check_validate(tpi_member(e, "validate"), err);
    if (rc != 0) {
        tpi_error_at(err, "validate");
        return rc;
    }
    if (type == TYPE_SELECT) {
        return check_options(e, err);
    }
    if (type == TYPE_TABLE) {
        const struct tpc_value *columns = tpi_member(e, "array");
        if (columns == NULL || columns->len == 0 || depth == TP_FORM_DEPTH) {
            return wrong(err, "array",
                         columns == NULL || columns->len == 0 ? "a table has columns"
                                                              : "tables stand too deep in tables");
        }
        rc = check_elements(columns, depth + 1, err);
        if (rc != 0) {
            tpi_error_at(err, "array");
        }
    }
    return rc;
}

static int check_elements(const struct tpc_value *form, int depth, struct tpc_error *err)
{
    if (form->len > TP_FORM_ELEMENTS) {
        return wrong(err, NULL, "has too many elements");
    }
    for (size_t i = 0; i < form->len; i++) {
        int rc = check_element(&form->as.items[i], depth, err);
        struct tpc_str key = tpi_member_text(&form->as.items[i], "dataKey");
        for (size_t k = 0; k < i && rc == 0; k++) {
            if (tpc_str_equal(key, tpi_member_text(&form->as.items[k], "dataKey"))) {
                rc = wrong(err, "dataKey", "is there twice");
            }
        }
        if (rc != 0) {
            tpi_error_at_index(err, i);
            return rc;
        }
    }
    return 0;
}

static int check_types(const struct tpc_value *form, struct tpc_error *err)
{
    if (form->len == 0 || form->len > TP_FORM_ELEMENTS) {
        return wrong(err, NULL, "has no kinds of vouchers, or too many");
    }
    for (size_t i = 0; i < form->len; i++) {
        const struct tpc_member *m = &form->as.members[i];
        if (m->key.len == 0 || m->value.type != TPC_TEXT || m->value.len == 0) {
            return wrong(err, NULL, "is no map of labels to keys");
        }
    }
    return 0;
}

/* An older service wraps its form: {"data":{"config":[..]}}. */
static const struct tpc_value *unwrap(const struct tpc_value *doc)
{
    const struct tpc_value *data = doc->type == TPC_MAP ? tpi_member(doc, "data") : NULL;
    if (data != NULL && data->type == TPC_MAP && tpi_member(data, "config") != NULL) {
        data = tpi_member(data, "config");
    }
    return data != NULL && data->type == TPC_ARRAY ? data : doc;
}

static int read_form(struct tp_forms *f, const struct tpc_service_form *given, int kind,
                     struct tpc_error *err)
{
    struct tpc_str text = tpc_str_from(given->json);
    struct tp_form *form = &f->list[f->count];
    struct tpc_value doc;
    if (text.len > TP_FORM_BYTES) {
        return tpi_error_set(err, TPC_ETOOBIG, origin, "a form has more than %d bytes",
                             TP_FORM_BYTES);
    }
    int rc = tpc_json_parse(f->arena, text, TPC_JSON_COPY, err, &doc);
    if (rc != 0) {
        return rc;
    }
    form->kind = (enum tp_form_kind) kind;
    form->device_type = given->device_type != NULL ? given->device_type[0] : '\0';
    form->value = kind == TP_FORM_VCRT ? doc : *unwrap(&doc);
    if (form->value.type != (kind == TP_FORM_VCRT ? TPC_MAP : TPC_ARRAY)) {
        return wrong(err, NULL, kind == TP_FORM_VCRT ? "is no object" : "is no array");
    }
    return kind == TP_FORM_VCRT ? check_types(&form->value, err)
                                : check_elements(&form->value, 0, err);
}

static int add(struct tp_forms *f, const struct tpc_service_form *given, struct tpc_error *err)
{
    char segment[32];
    int kind = given->type != NULL ? index_of(kind_names, KINDS, tpc_str_from(given->type)) : -1;
    const char *type = given->device_type != NULL ? given->device_type : "";
    if (kind < 0 || given->json == NULL) {
        return wrong(err, "forms", "a form has a type, CFG, VCR, VCRT or SVCR, and a text");
    }
    snprintf(segment, sizeof(segment), "forms[%s%s%.1s]", kind_names[kind],
             type[0] != '\0' ? ":" : "", type);
    if (type[0] != '\0' && (type[0] < '1' || type[0] > '3' || type[1] != '\0')) {
        return wrong(err, segment, "a type of devices is 1, 2 or 3");
    }
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->list[i].kind == (enum tp_form_kind) kind && f->list[i].device_type == type[0]) {
            tpi_error_set(err, TPC_EEXIST, origin, "there are two of it");
            tpi_error_at(err, segment);
            return TPC_EEXIST;
        }
    }
    int rc = read_form(f, given, kind, err);
    if (rc != 0) {
        tpi_error_at(err, segment);
        return rc;
    }
    f->count++;
    return 0;
}

int tp_forms_read(struct tp_forms *f, const struct tpc_allocator *alloc,
                  const struct tpc_list *given, struct tpc_error *err)
{
    if (given->count > TP_FORMS_MAX) {
        return tpi_error_set(err, TPC_ETOOBIG, origin, "more than %d forms", TP_FORMS_MAX);
    }
    int rc = tpc_arena_create(alloc, TREE_BYTES, &f->arena);
    if (rc != 0) {
        return tpi_error_set(err, rc, origin, "no memory for the forms");
    }
    for (uint32_t i = 0; i < given->count && rc == 0; i++) {
        rc = add(f, TPC_LIST_AT(struct tpc_service_form, *given, i), err);
    }
    if (rc != 0) {
        tp_forms_fini(f);
    }
    return rc;
}

void tp_forms_fini(struct tp_forms *f)
{
    f->arena = tpc_arena_destroy(f->arena);
    f->count = 0;
}

bool tp_form_kind_known(struct tpc_str kind)
{
    return index_of(kind_names, KINDS, kind) >= 0;
}

const struct tpc_value *tp_forms_find(const struct tp_forms *f, struct tpc_str kind,
                                      struct tpc_str device_type)
{
    const struct tpc_value *all = NULL;
    int k = index_of(kind_names, KINDS, kind);
    for (uint32_t i = 0; i < f->count; i++) {
        const struct tp_form *form = &f->list[i];
        if ((int) form->kind != k) {
            continue;
        }
        if (form->device_type == '\0') {
            all = &form->value;
        } else if (device_type.len == 1 && device_type.ptr[0] == form->device_type) {
            return &form->value;
        }
    }
    return all;
}

/* ---- vouchers ---- */

static int put_member(struct tpi_buf *out, const struct tpc_value *v, bool *first)
{
    struct tpc_buf text = { NULL, 0, 0 };
    int rc = *first ? 0 : tpi_buf_u8(out, ',');
    *first = false;
    if (rc == 0 && (rc = tpc_json_write(v, 0, &text)) != TPC_ETOOBIG) {
        return rc;
    }
    rc = tpi_buf_reserve(out, text.need);
    if (rc != 0) {
        return rc;
    }
    text = (struct tpc_buf){ out->ptr + out->len, text.need, 0 };
    rc = tpc_json_write(v, 0, &text);
    out->len += rc == 0 ? text.need : 0;
    return rc;
}

/* "key":value as JSON, by way of the text of the key. */
static int put_pair(struct tpi_buf *out, const struct tpc_member *m, bool *first)
{
    const struct tpc_value key = { TPC_TEXT, 0, m->key.len, { .text = m->key.ptr } };
    bool value_first = true;
    int rc = put_member(out, &key, first);
    rc = rc != 0 ? rc : tpi_buf_u8(out, ':');
    return rc != 0 ? rc : put_member(out, &m->value, &value_first);
}

static bool in_form(const struct tpc_value *form, struct tpc_str key)
{
    for (size_t i = 0; i < form->len; i++) {
        if (tpc_str_equal(tpi_member_text(&form->as.items[i], "dataKey"), key)) {
            return true;
        }
    }
    return false;
}

static const struct tpc_value *form_of(const struct tp_forms *f, const struct tpc_value *doc)
{
    for (uint32_t i = 0; i < f->count; i++) {
        size_t k = 0;
        while (f->list[i].kind == TP_FORM_VCR && k < doc->len &&
               in_form(&f->list[i].value, doc->as.members[k].key)) {
            k++;
        }
        if (f->list[i].kind == TP_FORM_VCR && k == doc->len) {
            return &f->list[i].value;
        }
    }
    return NULL;
}

static int put_in_order(const struct tpc_value *form, const struct tpc_value *doc,
                        struct tpi_buf *out)
{
    bool first = true;
    int rc = 0;
    for (size_t i = 0; i < form->len && rc == 0; i++) {
        struct tpc_member m = { tpi_member_text(&form->as.items[i], "dataKey"), { 0 } };
        const struct tpc_value *v = tpc_value_get(doc, m.key);
        if (v != NULL) {
            m.value = *v;
            rc = put_pair(out, &m, &first);
        }
    }
    return rc;
}

int tp_form_voucher(const struct tp_forms *f, struct tpc_str text, struct tpc_arena *arena,
                    struct tpi_buf *out)
{
    struct tpc_value doc;
    bool first = true;
    if (text.len > TP_VOUCHER_BYTES) {
        return TPC_ETOOBIG;
    }
    int rc = tpc_json_parse(arena, text, TPC_JSON_COPY, NULL, &doc);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : TPC_EDECODE;
    }
    if (doc.type != TPC_MAP) {
        return TPC_EDECODE;
    }
    const struct tpc_value *form = form_of(f, &doc);
    rc = tpi_buf_u8(out, '{');
    if (form != NULL) {
        rc = rc != 0 ? rc : put_in_order(form, &doc, out);
    }
    for (size_t i = 0; form == NULL && i < doc.len && rc == 0; i++) {
        rc = put_pair(out, &doc.as.members[i], &first);
    }
    return rc != 0 ? rc : tpi_buf_u8(out, '}');
}

/* ---- values that people filled in ---- */

static struct tpc_str trim(struct tpc_str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

/* A number as people write it: "+7", "007" and " 7 " are 7. */
static bool number_of(struct tpc_str text, struct tpc_arena *arena, struct tpc_value *ret)
{
    char copy[NUMBER_TEXT];
    size_t n = 0;
    struct tpc_value v;
    struct tpc_str s = trim(text);
    if (s.len > 0 && (s.ptr[0] == '+' || s.ptr[0] == '-')) {
        if (s.ptr[0] == '-') {
            copy[n++] = '-';
        }
        s.ptr++;
        s.len--;
    }
    while (s.len > 1 && s.ptr[0] == '0' && s.ptr[1] >= '0' && s.ptr[1] <= '9') {
        s.ptr++;
        s.len--;
    }
    if (s.len == 0 || s.len + n > sizeof(copy) || s.ptr[0] < '0' || s.ptr[0] > '9') {
        return false;
    }
    memcpy(copy + n, s.ptr, s.len);
    if (tpc_json_parse(arena, (struct tpc_str){ copy, s.len + n }, 0, NULL, &v) != 0 ||
        (v.type != TPC_INT && v.type != TPC_DOUBLE)) {
        return false;
    }
    *ret = v;
    return true;
}

static void to_number(struct tpc_arena *arena, struct tpc_value *v)
{
    if (v->type == TPC_TEXT) {
        (void) number_of(tpc_value_text(v), arena, v);
    }
}

static void to_bool(struct tpc_value *v)
{
    static const char *const words[] = { "false", "true", "0", "1", "off", "on" };
    int at = -1;
    double d = 0;
    if (v->type == TPC_TEXT) {
        at = index_of(words, 6, trim(tpc_value_text(v)));
    } else if (v->type != TPC_BOOL && tpc_value_double(v, &d) == 0 && (d == 0 || d == 1)) {
        at = d == 1;
    }
    if (at >= 0) {
        *v = (struct tpc_value){ TPC_BOOL, 0, 0, { .b = at % 2 == 1 } };
    }
}

static int to_text(struct tpc_arena *arena, struct tpc_value *v)
{
    char text[NUMBER_TEXT];
    if (v->type != TPC_INT && v->type != TPC_DOUBLE && v->type != TPC_BOOL) {
        return 0;
    }
    struct tpc_buf b = { (uint8_t *) text, sizeof(text), 0 };
    if (tpc_json_write(v, 0, &b) != 0) {
        return 0;
    }
    char *copy = tpc_arena_take(arena, b.need + 1);
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(copy, text, b.need);
    *v = (struct tpc_value){ TPC_TEXT, 0, b.need, { .text = copy } };
    return 0;
}

/* As the options of a select have it. */
static int to_option(const struct tpc_value *element, struct tpc_arena *arena, struct tpc_value *v)
{
    const struct tpc_value *options = tpi_member(element, "options");
    struct tpc_value number = *v, text = *v;
    to_number(arena, &number);
    int rc = to_text(arena, &text);
    for (size_t i = 0; options != NULL && i < options->len && rc == 0; i++) {
        const struct tpc_value *value = tpi_member(&options->as.items[i], "value");
        if (value != NULL && (tpc_value_equal(value, &number) || tpc_value_equal(value, &text))) {
            *v = *value;
            break;
        }
    }
    return rc;
}

/* An array or a map that came as text. */
static int open_text(struct tpc_arena *arena, uint32_t type, struct tpc_value *v)
{
    struct tpc_value inside;
    if (v->type != TPC_TEXT || v->len < 2) {
        return 0;
    }
    int rc = tpc_json_parse(arena, tpc_value_text(v), TPC_JSON_ALLOW_DUPLICATES, NULL, &inside);
    if (rc == 0 && inside.type == type) {
        *v = inside;
    }
    return rc == TPC_ENOMEM ? rc : 0;
}

static int coerce_map(const struct tpc_value *form, const struct tpc_value *in, int depth,
                      struct tpc_arena *arena, struct tpc_value *ret);

static int coerce_table(const struct tpc_value *element, int depth, struct tpc_arena *arena,
                        struct tpc_value *v)
{
    const struct tpc_value *columns = tpi_member(element, "array");
    int rc = open_text(arena, TPC_ARRAY, v);
    if (rc != 0 || v->type != TPC_ARRAY || v->len == 0 || columns == NULL ||
        depth == TP_FORM_DEPTH) {
        return rc;
    }
    struct tpc_value *rows = tpc_arena_take(arena, v->len * sizeof(*rows));
    if (rows == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < v->len && rc == 0; i++) {
        rows[i] = v->as.items[i];
        if (rows[i].type == TPC_MAP) {
            rc = coerce_map(columns, &v->as.items[i], depth + 1, arena, &rows[i]);
        }
    }
    if (rc == 0) {
        *v = (struct tpc_value){ TPC_ARRAY, 0, v->len, { .items = rows } };
    }
    return rc;
}

static int coerce_value(const struct tpc_value *element, int depth, struct tpc_arena *arena,
                        struct tpc_value *v)
{
    struct tpc_str as = tpi_member_text(tpi_member(element, "validate"), "type");
    int type = index_of(element_types, ELEMENT_TYPES, tpi_member_text(element, "type"));
    if (type == TYPE_TABLE) {
        return coerce_table(element, depth, arena, v);
    }
    if (type == TYPE_SELECT) {
        return to_option(element, arena, v);
    }
    if (tpc_str_equal(as, TPC_STR("number"))) {
        to_number(arena, v);
    } else if (tpc_str_equal(as, TPC_STR("boolean")) || (as.len == 0 && type == TYPE_SWITCH)) {
        to_bool(v);
    } else if (tpc_str_equal(as, TPC_STR("string"))) {
        return to_text(arena, v);
    }
    return 0;
}

static int coerce_map(const struct tpc_value *form, const struct tpc_value *in, int depth,
                      struct tpc_arena *arena, struct tpc_value *ret)
{
    if (in->len == 0) {
        *ret = *in;
        return 0;
    }
    struct tpc_member *members = tpc_arena_take(arena, in->len * sizeof(*members));
    if (members == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(members, in->as.members, in->len * sizeof(*members));
    int rc = 0;
    for (size_t i = 0; i < form->len && rc == 0; i++) {
        const struct tpc_value *e = &form->as.items[i];
        struct tpc_str key = tpi_member_text(e, "dataKey");
        for (size_t k = 0; k < in->len && rc == 0; k++) {
            if (tpc_str_equal(members[k].key, key)) {
                rc = coerce_value(e, depth, arena, &members[k].value);
            }
        }
    }
    if (rc == 0) {
        *ret = (struct tpc_value){ TPC_MAP, 0, in->len, { .members = members } };
    }
    return rc;
}

int tp_form_coerce(const struct tpc_value *form, const struct tpc_value *in,
                   struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpc_value v = *in;
    int rc = open_text(arena, TPC_MAP, &v);
    if (rc != 0) {
        return rc;
    }
    if (v.type != TPC_MAP) {
        *ret = (struct tpc_value){ .type = TPC_NULL };
        return 0;
    }
    if (form == NULL || form->type != TPC_ARRAY) {
        *ret = v;
        return 0;
    }
    return coerce_map(form, &v, 0, arena, ret);
}
