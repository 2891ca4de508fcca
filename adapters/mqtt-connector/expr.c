#include "expr.h"

#include "cast.h"

#include <string.h>

#include "base/error.h"
#include "data/utf8.h"

/* ---- compiling ---- */

struct maker {
    struct tpc_arena *arena;
    struct tpc_str whole;
    struct tpc_error *err;
    struct expr_part parts[EXPR_PARTS_MAX];
    uint32_t count;
};

static int add(struct maker *m, const struct expr_part *part)
{
    if (m->count == EXPR_PARTS_MAX) {
        return tpi_error_set(m->err, TPC_ETOOBIG, "expression", "more than %d parts",
                             EXPR_PARTS_MAX);
    }
    m->parts[m->count++] = *part;
    return 0;
}

static int add_text(struct maker *m, const char *from, const char *to)
{
    struct expr_part part = { .kind = EXPR_CONSTANT, .text = { from, (size_t) (to - from) } };
    return to > from ? add(m, &part) : 0;
}

/* ${path} at p; *ret_end is behind it. */
static int add_path(struct maker *m, const char *p, const char **ret_end)
{
    const char *end = m->whole.ptr + m->whole.len;
    const char *inner = p + 2;
    const char *close = memchr(inner, '}', (size_t) (end - inner));
    struct expr_part part = { .kind = EXPR_JSON };
    if (close == NULL) {
        tpi_error_set(m->err, TPC_EINVAL, "expression", "no closing }");
        if (m->err != NULL) {
            m->err->column = (uint32_t) (p - m->whole.ptr) + 1;
        }
        return TPC_EINVAL;
    }
    struct tpc_str text = { inner, (size_t) (close - inner) };
    int rc = path_compile(m->arena, text, m->err, &part.path);
    if (rc != 0 && m->err != NULL && m->err->column > 0) {
        m->err->column += (uint32_t) (inner - m->whole.ptr);
    }
    *ret_end = close + 1;
    return rc != 0 ? rc : add(m, &part);
}

static int split(struct maker *m, enum expr_kind kind)
{
    const char *p = m->whole.ptr;
    const char *end = p + m->whole.len;
    const char *text = p;
    int rc = 0;
    while (rc == 0 && p < end) {
        struct expr_part part = { .kind = EXPR_BYTES };
        size_t len = 0;
        struct tpc_str rest = { p, (size_t) (end - p) };
        if (kind == EXPR_JSON && rest.len >= 2 && p[0] == '$' && p[1] == '{') {
            rc = add_text(m, text, p);
            rc = rc != 0 ? rc : add_path(m, p, &text);
            p = rc == 0 ? text : p;
        } else if (kind == EXPR_BYTES && slice_parse(rest, &part.slice, &len)) {
            rc = add_text(m, text, p);
            rc = rc != 0 ? rc : add(m, &part);
            p += len;
            text = p;
        } else {
            p++;
        }
    }
    return rc != 0 ? rc : add_text(m, text, end);
}

static int compile_parts(struct tpc_arena *arena, enum expr_kind kind, struct tpc_error *err,
                         struct expr *e)
{
    struct maker m = { .arena = arena, .whole = e->text, .err = err };
    int rc = split(&m, kind);
    if (rc != 0) {
        return rc;
    }
    struct expr_part *parts = tpc_arena_take(arena, (m.count + 1) * sizeof(*parts));
    if (parts == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "expression", "no memory for an expression");
    }
    memcpy(parts, m.parts, m.count * sizeof(*parts));
    e->parts = parts;
    e->part_count = m.count;
    if (m.count == 0 || (m.count == 1 && parts[0].kind == EXPR_CONSTANT)) {
        e->kind = EXPR_CONSTANT;
    }
    return 0;
}

int expr_compile(struct tpc_arena *arena, struct tpc_str text, enum expr_kind kind,
                 struct tpc_error *err, struct expr *ret)
{
    struct expr e = { .kind = kind, .text = text };
    int rc = 0;
    if (kind == EXPR_TOPIC) {
        rc = pick_compile(arena, text, err, &e.pick);
    } else if (kind != EXPR_CONSTANT) {
        rc = compile_parts(arena, kind, err, &e);
    }
    if (rc == 0) {
        *ret = e;
    }
    return rc;
}

/* ---- evaluating ---- */

static struct tpc_value text_value(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.len > 0 ? s.ptr : "" };
}

static int topic_text(const struct expr *e, const struct expr_message *m, struct tpc_arena *arena,
                      struct tpc_str *ret)
{
    int rc = pick_find(&e->pick, m->topic, false, arena, ret);
    if (rc == TPC_ENOENT && e->pick.literal) {
        *ret = e->text;
        return 0;
    }
    return rc;
}

static int slice_text(const struct slice *s, const struct expr_message *m, struct tpc_arena *arena,
                      struct tpc_str *ret)
{
    static const char digits[] = "0123456789abcdef";
    struct tpc_bytes b;
    if (!slice_take(s, m->bytes, &b)) {
        return TPC_ENOENT;
    }
    if (!m->hex) {
        *ret = (struct tpc_str){ (const char *) b.ptr, b.len };
        return b.len == 0 || tpi_utf8_valid((const char *) b.ptr, b.len) ? 0 : TPC_EDECODE;
    }
    char *text = tpc_arena_take(arena, b.len * 2 + 1);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < b.len; i++) {
        text[2 * i] = digits[b.ptr[i] >> 4];
        text[2 * i + 1] = digits[b.ptr[i] & 15];
    }
    *ret = (struct tpc_str){ text, b.len * 2 };
    return 0;
}

static int part_text(const struct expr_part *p, const struct expr_message *m,
                     struct tpc_arena *arena, struct tpc_str *ret)
{
    if (p->kind == EXPR_JSON) {
        const struct tpc_value *v = m->json != NULL ? path_find(&p->path, m->json) : NULL;
        return v == NULL || v->type == TPC_NULL ? TPC_ENOENT : cast_text(v, arena, ret);
    }
    if (p->kind == EXPR_BYTES) {
        return slice_text(&p->slice, m, arena, ret);
    }
    *ret = p->text;
    return 0;
}

static int join(const struct expr *e, const struct expr_message *m, struct tpc_arena *arena,
                struct tpc_str *ret)
{
    struct tpc_str texts[EXPR_PARTS_MAX];
    size_t len = 0;
    for (uint32_t i = 0; i < e->part_count; i++) {
        int rc = part_text(&e->parts[i], m, arena, &texts[i]);
        if (rc != 0) {
            return rc;
        }
        len += texts[i].len;
    }
    if (e->part_count == 1) {
        *ret = texts[0];
        return 0;
    }
    if (len > EXPR_TEXT_MAX) {
        return TPC_ETOOBIG;
    }
    char *text = tpc_arena_take(arena, len + 1);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    len = 0;
    for (uint32_t i = 0; i < e->part_count; i++) {
        if (texts[i].len > 0) {
            memcpy(text + len, texts[i].ptr, texts[i].len);
        }
        len += texts[i].len;
    }
    *ret = (struct tpc_str){ text, len };
    return 0;
}

int expr_text(const struct expr *e, const struct expr_message *m, struct tpc_arena *arena,
              struct tpc_str *ret)
{
    switch (e->kind) {
    case EXPR_TOPIC:
        return topic_text(e, m, arena, ret);
    case EXPR_JSON:
    case EXPR_BYTES:
        return join(e, m, arena, ret);
    case EXPR_CONSTANT:
    default:
        *ret = e->text;
        return 0;
    }
}

int expr_value(const struct expr *e, const struct expr_message *m, struct tpc_arena *arena,
               struct tpc_value *ret)
{
    struct tpc_str text;
    if (e->kind == EXPR_JSON && e->part_count == 1) {
        const struct tpc_value *v = m->json != NULL ? path_find(&e->parts[0].path, m->json) : NULL;
        if (v == NULL || v->type == TPC_NULL) {
            return TPC_ENOENT;
        }
        *ret = *v;
        return 0;
    }
    int rc = expr_text(e, m, arena, &text);
    if (rc == 0) {
        *ret = text_value(text);
    }
    return rc;
}
