#include "expr/template.h"

#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/error.h"
#include "expr/cell.h"
#include "expr/parse.h"

enum how { HOW_LITERAL, HOW_PLAIN, HOW_JSON, HOW_JSON_TEXT /* inside "" */, HOW_URL };

struct part {
    struct tpi_expr *expr; /* NULL = literal */
    uint32_t start, len;   /* of a literal */
    uint32_t how;
};

/* One block: the struct, parts, text. */
struct tpi_template {
    const struct tpc_allocator *alloc;
    size_t bytes;
    const struct part *parts;
    const char *text;
    uint32_t count;
};

/* ---- compiling ---- */

struct maker {
    const struct tpc_allocator *alloc;
    struct tpc_str text;
    const struct tpi_expr_scope *scope;
    enum tpi_template_target target;
    struct tpc_error *err;
    struct tpi_buf parts;
    bool quoted; /* JSON: inside "" at this place */
};

static int add(struct maker *m, const struct part *part)
{
    if (m->parts.len / sizeof(*part) >= TPI_TEMPLATE_MAX_PARTS) {
        return tpi_error_set(m->err, TPC_ETOOBIG, "template", "more than %d values and texts",
                             TPI_TEMPLATE_MAX_PARTS);
    }
    int rc = tpi_buf_put(&m->parts, part, sizeof(*part));
    return rc != 0 ? tpi_error_set(m->err, rc, "template", "out of memory") : 0;
}

/* Keeps track of JSON's quotes. */
static void follow_quotes(struct maker *m, struct tpc_str literal)
{
    for (size_t i = 0; i < literal.len; i++) {
        if (literal.ptr[i] == '"') {
            m->quoted = !m->quoted;
        } else if (literal.ptr[i] == '\\' && m->quoted) {
            i++;
        }
    }
}

static int add_literal(struct maker *m, size_t start, size_t end)
{
    struct part part = { NULL, (uint32_t) start, (uint32_t) (end - start), HOW_LITERAL };
    follow_quotes(m, (struct tpc_str){ m->text.ptr + start, end - start });
    return start == end ? 0 : add(m, &part);
}

static uint32_t how_of(const struct maker *m)
{
    switch (m->target) {
    case TPI_TEMPLATE_JSON:
        return m->quoted ? HOW_JSON_TEXT : HOW_JSON;
    case TPI_TEMPLATE_URL:
        return HOW_URL;
    default:
        return HOW_PLAIN;
    }
}

static int add_value(struct maker *m, size_t *pos)
{
    struct part part = { .how = how_of(m) };
    bool raw = false;
    int rc = tpi_parse_part(m->alloc, m->text, pos, m->scope, m->err, &raw, &part.expr);
    if (rc != 0) {
        return rc;
    }
    part.how = raw ? HOW_PLAIN : part.how;
    rc = add(m, &part);
    if (rc != 0) {
        tpi_expr_destroy(part.expr);
    }
    return rc;
}

/* Where the next {{ stands from pos, or the text's end. Of more braces in a row the last two count:
 * {"a":{{{ x }}} is a map in JSON. */
static size_t find_open(struct tpc_str text, size_t pos)
{
    for (; pos + 1 < text.len; pos++) {
        const char *p = text.ptr + pos;
        if (p[0] == '{' && p[1] == '{' && (pos + 2 == text.len || p[2] != '{')) {
            return pos;
        }
    }
    return text.len;
}

static int make_parts(struct maker *m)
{
    size_t pos = 0;
    int rc = 0;
    while (rc == 0 && pos < m->text.len) {
        size_t open = find_open(m->text, pos);
        rc = add_literal(m, pos, open);
        pos = open;
        if (rc == 0 && pos < m->text.len) {
            pos += 2;
            rc = add_value(m, &pos);
        }
    }
    return rc;
}

static void drop_parts(const struct part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tpi_expr_destroy(parts[i].expr);
    }
}

static int finish(struct maker *m, struct tpi_template **ret)
{
    size_t bytes = sizeof(struct tpi_template) + m->parts.len + m->text.len;
    struct tpi_template *t = tpi_alloc(m->alloc, bytes);
    if (t == NULL) {
        return tpi_error_set(m->err, TPC_ENOMEM, "template", "out of memory");
    }
    uint8_t *parts = (uint8_t *) (t + 1);
    char *text = (char *) parts + m->parts.len;
    if (m->parts.len > 0) {
        memcpy(parts, m->parts.ptr, m->parts.len);
    }
    if (m->text.len > 0) {
        memcpy(text, m->text.ptr, m->text.len);
    }
    *t = (struct tpi_template){ .alloc = m->alloc,
                                .bytes = bytes,
                                .parts = (const struct part *) (void *) parts,
                                .text = text,
                                .count = (uint32_t) (m->parts.len / sizeof(struct part)) };
    *ret = t;
    return 0;
}

int tpi_template_compile(const struct tpc_allocator *alloc, struct tpc_str text,
                         const struct tpi_expr_scope *scope, enum tpi_template_target target,
                         struct tpc_error *err, struct tpi_template **ret)
{
    if (text.len > TPI_TEMPLATE_MAX_TEXT) {
        return tpi_error_set(err, TPC_ETOOBIG, "template", "a template of more than %d bytes",
                             TPI_TEMPLATE_MAX_TEXT);
    }
    struct maker m = { .alloc = alloc, .text = text, .scope = scope, .target = target, .err = err };
    tpi_buf_init(&m.parts, alloc, 0);
    int rc = make_parts(&m);
    rc = rc != 0 ? rc : finish(&m, ret);
    if (rc != 0) {
        drop_parts((const struct part *) (void *) m.parts.ptr, m.parts.len / sizeof(struct part));
    }
    tpi_buf_fini(&m.parts);
    return rc;
}

void tpi_template_destroy(struct tpi_template *t)
{
    if (t != NULL) {
        drop_parts(t->parts, t->count);
        tpi_free(t->alloc, t, t->bytes);
    }
}

size_t tpi_template_bytes(const struct tpi_template *t)
{
    size_t bytes = t->bytes;
    for (uint32_t i = 0; i < t->count; i++) {
        bytes += t->parts[i].expr != NULL ? tpi_expr_bytes(t->parts[i].expr) : 0;
    }
    return bytes;
}

void tpi_template_names(const struct tpi_template *t, void (*fn)(void *user, uint32_t index),
                        void *user)
{
    for (uint32_t i = 0; i < t->count; i++) {
        const struct tpi_expr *e = t->parts[i].expr;
        for (uint32_t k = 0; e != NULL && k < tpi_expr_name_count(e); k++) {
            fn(user, tpi_expr_name_index(e, k));
        }
    }
}

/* ---- rendering ---- */

static bool is_tree(const struct tpc_value *v)
{
    return v->type == TPC_ARRAY || v->type == TPC_MAP;
}

static int put_json(struct tpi_buf *out, const struct tpc_value *v)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    int rc = tpc_json_write(v, 0, &buf);
    if (rc != 0 && rc != TPC_ETOOBIG) {
        return rc;
    }
    rc = tpi_buf_reserve(out, buf.need);
    if (rc == 0) {
        buf.ptr = out->ptr + out->len;
        buf.cap = buf.need;
        rc = tpc_json_write(v, 0, &buf);
    }
    out->len += rc == 0 ? buf.need : 0;
    return rc;
}

static int put_url(struct tpi_buf *out, struct tpc_str s)
{
    static const char hex[] = "0123456789ABCDEF";
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s.len; i++) {
        unsigned char c = (unsigned char) s.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        char escape[3] = { '%', hex[c >> 4], hex[c & 15] };
        rc = plain ? tpi_buf_u8(out, c) : tpi_buf_put(out, escape, sizeof(escape));
    }
    return rc;
}

/* The inside of a JSON text. */
static int put_json_text(struct tpi_buf *out, struct tpc_str s)
{
    size_t start = out->len;
    struct tpc_value v = { .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
    int rc = put_json(out, &v);
    if (rc == 0) {
        out->len -= 2;
        memmove(out->ptr + start, out->ptr + start + 1, out->len - start);
    }
    return rc;
}

/* A tree as JSON in what is left of the scratch; empty if that is too small. */
static struct tpc_str tree_text(const struct tpc_value *v, struct tpi_expr_scratch *scratch)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    if (scratch == NULL || scratch->buf == NULL) {
        return TPC_STR("");
    }
    buf.ptr = (uint8_t *) scratch->buf + scratch->used;
    buf.cap = scratch->cap - scratch->used;
    if (tpc_json_write(v, 0, &buf) != 0 || buf.need > buf.cap) {
        scratch->overflows++;
        return TPC_STR("");
    }
    return (struct tpc_str){ (const char *) buf.ptr, buf.need };
}

static int put_value(struct tpi_buf *out, const struct tpc_value *v, uint32_t how,
                     struct tpi_expr_scratch *scratch)
{
    char number[TPI_NUMBER_TEXT_BYTES];
    if (how == HOW_JSON || (how == HOW_PLAIN && is_tree(v))) {
        return put_json(out, v);
    }
    struct cell c = tpi_cell_from(v);
    struct tpc_str s = is_tree(v) ? tree_text(v, scratch) : tpi_cell_print(&c, number);
    switch (how) {
    case HOW_JSON_TEXT:
        return put_json_text(out, s);
    case HOW_URL:
        return put_url(out, s);
    default:
        return tpi_buf_text(out, s);
    }
}

bool tpi_template_value(const struct tpi_template *t, const struct tpi_expr_host *host, void *user,
                        struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    if (t->count != 1 || t->parts[0].expr == NULL) {
        return false;
    }
    *ret = tpi_expr_eval(t->parts[0].expr, host, user, scratch);
    return true;
}

int tpi_template_render(const struct tpi_template *t, const struct tpi_expr_host *host, void *user,
                        struct tpi_expr_scratch *scratch, struct tpi_buf *out)
{
    size_t before = out->len;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < t->count; i++) {
        const struct part *p = &t->parts[i];
        if (p->expr == NULL) {
            rc = tpi_buf_put(out, t->text + p->start, p->len);
            continue;
        }
        struct tpc_value v = tpi_expr_eval(p->expr, host, user, scratch);
        rc = put_value(out, &v, p->how, scratch);
    }
    if (rc != 0) {
        out->len = before;
    }
    return rc;
}

uint32_t tpi_template_parts(const struct tpi_template *t)
{
    return t->count;
}

struct tpi_expr *tpi_template_expr(const struct tpi_template *t, uint32_t part)
{
    return t->parts[part].expr;
}
