/* Names, quick ids and templates of MyController as ours. */
#include <string.h>

#include "migrate/mycontroller.h"

static void put_c(struct tpi_mc *m, struct tpi_buf *b, const char *s)
{
    tpi_mc_write(m, b, tpc_str_from(s));
}

static struct tpc_str after(struct tpc_str s, size_t n)
{
    return (struct tpc_str){ s.ptr + n, s.len - n };
}

/* Where c stands, or the length. */
static size_t find(struct tpc_str s, char c)
{
    const char *p = s.len > 0 ? memchr(s.ptr, c, s.len) : NULL;
    return p != NULL ? (size_t) (p - s.ptr) : s.len;
}

/* ---- ids ---- */

bool tpi_mc_read_id(struct tpc_str text, struct tpi_mc_id *ret)
{
    *ret = (struct tpi_mc_id){ .parts = 0 };
    size_t colon = find(text, ':');
    if (colon < text.len && colon < find(text, '.')) {
        text = after(text, colon + 1);
    }
    while (text.len > 0 && ret->parts < 4) {
        size_t n = find(text, '.');
        if (n == 0) {
            return false;
        }
        ret->part[ret->parts++] = (struct tpc_str){ text.ptr, n };
        text = n < text.len ? after(text, n + 1) : TPC_STR("");
    }
    ret->path = text;
    return ret->parts > 0;
}

static struct tpc_str expand(struct tpi_mc *m, struct tpc_str pattern, const struct tpi_mc_id *id)
{
    static const struct tpc_str names[] = { TPC_STR_INIT("{gateway}"), TPC_STR_INIT("{node}"),
                                            TPC_STR_INIT("{source}"), TPC_STR_INIT("{field}") };
    struct tpi_buf b;
    tpi_mc_buf(&b);
    while (pattern.len > 0) {
        size_t i = 0;
        while (i < 4 && (pattern.len < names[i].len ||
                         memcmp(pattern.ptr, names[i].ptr, names[i].len) != 0)) {
            i++;
        }
        tpi_mc_write(m, &b, i < 4 ? id->part[i] : (struct tpc_str){ pattern.ptr, 1 });
        pattern = after(pattern, i < 4 ? names[i].len : 1);
    }
    return tpi_mc_take(m, &b);
}

struct tpc_str tpi_mc_device(struct tpi_mc *m, const struct tpi_mc_id *id)
{
    struct tpc_str own = m->options->device;
    return expand(m, own.len > 0 ? own : TPC_STR("{gateway}.{node}"), id);
}

struct tpc_str tpi_mc_property(struct tpi_mc *m, const struct tpi_mc_id *id)
{
    struct tpc_str own = m->options->property;
    return tpi_mc_name(m, expand(m, own.len > 0 ? own : TPC_STR("{source}_{field}"), id));
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

struct tpc_str tpi_mc_name(struct tpi_mc *m, struct tpc_str text)
{
    struct tpi_buf b;
    tpi_mc_buf(&b);
    if (text.len == 0 || is_digit(text.ptr[0])) {
        put_c(m, &b, "_");
    }
    for (size_t i = 0; i < text.len; i++) {
        bool good = is_letter(text.ptr[i]) || is_digit(text.ptr[i]);
        tpi_mc_write(m, &b, good ? (struct tpc_str){ text.ptr + i, 1 } : TPC_STR("_"));
    }
    return tpi_mc_take(m, &b);
}

void tpi_mc_quote(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str text)
{
    put_c(m, b, "'");
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\n' || c == '\t') {
            put_c(m, b, c == '\n' ? "\\n" : "\\t");
            continue;
        }
        if (c == '\'' || c == '\\') {
            put_c(m, b, "\\");
        }
        tpi_mc_write(m, b, (struct tpc_str){ &c, 1 });
    }
    put_c(m, b, "'");
}

struct tpc_str tpi_mc_field(struct tpi_mc *m, const struct tpi_mc_id *id)
{
    struct tpc_str device = tpi_mc_device(m, id);
    struct tpc_str property = tpi_mc_property(m, id);
    struct tpi_buf b;
    tpi_mc_buf(&b);
    if (m->own_device.len == 0 || !tpc_str_equal(m->own_device, device)) {
        put_c(m, &b, "device(");
        tpi_mc_quote(m, &b, device);
        put_c(m, &b, ").");
    }
    tpi_mc_write(m, &b, property);
    return tpi_mc_take(m, &b);
}

/* ---- paths ---- */

static void put_path(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str path)
{
    while (path.len > 0) {
        size_t n = find(path, '.');
        struct tpc_str key = { path.ptr, n };
        bool number = n > 0 && n < 10;
        for (size_t i = 0; i < n; i++) {
            number = number && is_digit(key.ptr[i]);
        }
        put_c(m, b, "[");
        if (number) {
            tpi_mc_write(m, b, key);
        } else {
            tpi_mc_quote(m, b, key);
        }
        put_c(m, b, "]");
        path = n < path.len ? after(path, n + 1) : TPC_STR("");
    }
}

static struct tpc_str of_task(struct tpi_mc *m, struct tpc_str rest)
{
    struct tpi_buf b;
    tpi_mc_buf(&b);
    if (tpc_str_equal(rest, TPC_STR("id"))) {
        tpi_mc_quote(m, &b, m->id);
    }
    return tpi_mc_take(m, &b);
}

static const struct tpi_mc_var *find_var(const struct tpi_mc *m, struct tpc_str name)
{
    for (uint32_t i = 0; i < m->var_count; i++) {
        if (tpc_str_equal(m->vars[i].name, name)) {
            return &m->vars[i];
        }
    }
    return NULL;
}

struct tpc_str tpi_mc_operand(struct tpi_mc *m, struct tpc_str path)
{
    size_t n = find(path, '.');
    struct tpc_str name = { path.ptr, n };
    struct tpc_str rest = n < path.len ? after(path, n + 1) : TPC_STR("");
    const struct tpi_mc_var *v = find_var(m, name);
    if (v == NULL) {
        bool task =
            tpc_str_equal(name, TPC_STR("task")) || tpc_str_equal(name, TPC_STR("schedule"));
        return task ? of_task(m, rest) : TPC_STR("");
    }
    if (v->is_field) {
        bool value =
            rest.len == 0 || (!v->has_path && tpc_str_equal(rest, TPC_STR("current.value")));
        return value ? v->ours : TPC_STR("");
    }
    struct tpi_buf b;
    tpi_mc_buf(&b);
    tpi_mc_write(m, &b, v->ours);
    put_path(m, &b, rest);
    return tpi_mc_take(m, &b);
}

/* ---- templates: pipelines of .path, "text", numbers and the functions of the contract's section 9 ---- */

enum { ARGS = 4, STEPS = 8 };

struct parse {
    struct tpi_mc *m;
    struct tpc_str text;
    bool bad;
};

static void skip_space(struct parse *p)
{
    while (p->text.len > 0 && (p->text.ptr[0] == ' ' || p->text.ptr[0] == '\t' ||
                               p->text.ptr[0] == '\n' || p->text.ptr[0] == '\r')) {
        p->text = after(p->text, 1);
    }
}

/* Up to a space or |. */
static struct tpc_str word(struct parse *p)
{
    size_t n = 0;
    while (n < p->text.len && strchr(" \t\r\n|()", p->text.ptr[n]) == NULL) {
        n++;
    }
    struct tpc_str w = { p->text.ptr, n };
    p->text = after(p->text, n);
    return w;
}

/* "text" or `text`, without escapes; as one of ours. raw: without quotes. */
static struct tpc_str quoted(struct parse *p, struct tpc_str *ret_raw)
{
    char quote = p->text.ptr[0];
    struct tpc_str rest = after(p->text, 1);
    size_t n = find(rest, quote);
    struct tpi_buf b;
    tpi_mc_buf(&b);
    if (n == rest.len || memchr(rest.ptr, '\\', n) != NULL) {
        p->bad = true;
        return tpi_mc_take(p->m, &b);
    }
    *ret_raw = (struct tpc_str){ rest.ptr, n };
    tpi_mc_quote(p->m, &b, *ret_raw);
    p->text = after(rest, n + 1);
    return tpi_mc_take(p->m, &b);
}

static bool is_number(struct tpc_str s)
{
    size_t digits = 0;
    for (size_t i = 0; i < s.len; i++) {
        bool sign = i == 0 && s.ptr[i] == '-';
        digits += is_digit(s.ptr[i]);
        if (!is_digit(s.ptr[i]) && !sign && s.ptr[i] != '.') {
            return false;
        }
    }
    return digits > 0 && is_digit(s.ptr[s.len - 1]);
}

struct arg {
    struct tpc_str expr; /* ours */
    struct tpc_str raw;  /* of a text: what it says */
};

static struct arg argument(struct parse *p)
{
    struct arg a = { .expr = { "", 0 } };
    char c = p->text.len > 0 ? p->text.ptr[0] : '\0';
    if (c == '"' || c == '`') {
        a.expr = quoted(p, &a.raw);
        return a;
    }
    struct tpc_str w = word(p);
    if (c == '.' && w.len > 1) {
        a.expr = tpi_mc_operand(p->m, after(w, 1));
    } else if (is_number(w) || tpc_str_equal(w, TPC_STR("true")) ||
               tpc_str_equal(w, TPC_STR("false"))) {
        a.expr = w;
    }
    p->bad = p->bad || a.expr.len == 0;
    return a;
}

static struct tpc_str call(struct parse *p, struct tpc_str name, const struct arg *args, size_t n)
{
    struct tpi_buf b;
    struct tpi_mc *m = p->m;
    tpi_mc_buf(&b);
    bool json = tpc_str_equal(name, TPC_STR("toJson")) || tpc_str_equal(name, TPC_STR("marshal"));
    if (json && n == 1) {
        put_c(m, &b, "to_json(");
        tpi_mc_write(m, &b, args[0].expr);
        put_c(m, &b, ")");
    } else if (tpc_str_equal(name, TPC_STR("now")) && n == 0) {
        put_c(m, &b, "now()");
    } else if (tpc_str_equal(name, TPC_STR("keyPath")) && n == 2 && args[1].raw.len > 0) {
        tpi_mc_write(m, &b, args[0].expr);
        put_path(m, &b, args[1].raw);
    } else if (tpc_str_equal(name, TPC_STR("ternary")) && n == 3) {
        put_c(m, &b, "case when ");
        tpi_mc_write(m, &b, args[0].expr);
        put_c(m, &b, " then ");
        tpi_mc_write(m, &b, args[1].expr);
        put_c(m, &b, " else ");
        tpi_mc_write(m, &b, args[2].expr);
        put_c(m, &b, " end");
    } else {
        p->bad = true;
    }
    return tpi_mc_take(m, &b);
}

static bool at_end(const struct parse *p)
{
    return p->text.len == 0 || p->text.ptr[0] == '|';
}

/* One step of a pipeline; `before` is what comes through the pipe, behind the other arguments. */
static struct tpc_str step(struct parse *p, struct tpc_str before)
{
    struct arg args[ARGS];
    size_t n = 0;
    struct tpc_str name = { "", 0 };
    skip_space(p);
    if (p->text.len > 0 && is_letter(p->text.ptr[0])) {
        name = word(p);
    }
    skip_space(p);
    while (!p->bad && !at_end(p)) {
        if (n == ARGS) {
            p->bad = true;
            break;
        }
        args[n++] = argument(p);
        skip_space(p);
    }
    if (before.len > 0 && n < ARGS) {
        args[n++] = (struct arg){ before, { NULL, 0 } };
    }
    if (!p->bad && name.len == 0 && n == 1 && before.len == 0) {
        return args[0].expr;
    }
    p->bad = p->bad || name.len == 0;
    return p->bad ? TPC_STR("") : call(p, name, args, n);
}

/* Empty = it has no counterpart. */
static struct tpc_str pipeline(struct tpi_mc *m, struct tpc_str text)
{
    struct parse p = { .m = m, .text = text };
    struct tpc_str expr = { "", 0 };
    if (text.len > 0 && text.ptr[0] == '-') {
        p.text = after(text, 1);
    }
    if (p.text.len > 0 && p.text.ptr[p.text.len - 1] == '-') {
        p.text.len--;
    }
    for (int i = 0; i < STEPS && !p.bad; i++) {
        expr = step(&p, expr);
        if (p.text.len == 0) {
            return p.bad ? TPC_STR("") : expr;
        }
        p.text = after(p.text, 1); /* | */
    }
    return TPC_STR("");
}

static size_t find_two(struct tpc_str s, const char *two)
{
    const char *p = s.len >= 2 ? memmem(s.ptr, s.len, two, 2) : NULL;
    return p != NULL ? (size_t) (p - s.ptr) : s.len;
}

struct tpc_str tpi_mc_template(struct tpi_mc *m, const char *at, struct tpc_str text)
{
    struct tpi_buf b;
    struct tpc_str rest = text;
    tpi_mc_buf(&b);
    while (rest.len > 0) {
        size_t n = find_two(rest, "{{");
        tpi_mc_write(m, &b, (struct tpc_str){ rest.ptr, n });
        if (n == rest.len) {
            break;
        }
        rest = after(rest, n + 2);
        size_t end = find_two(rest, "}}");
        struct tpc_str inside = { rest.ptr, end };
        struct tpc_str expr = end < rest.len ? pipeline(m, inside) : TPC_STR("");
        if (expr.len > 0) {
            put_c(m, &b, "{{ ");
            tpi_mc_write(m, &b, expr);
            put_c(m, &b, " }}");
        } else {
            put_c(m, &b, "{{ '{{' }}");
            tpi_mc_write(m, &b, inside);
            put_c(m, &b, end < rest.len ? "}}" : "");
            tpi_mc_note(m, at, "no counterpart, left as text: {{%.*s}}",
                        (int) (inside.len < 200 ? inside.len : 200), inside.ptr);
        }
        rest = end < rest.len ? after(rest, end + 2) : TPC_STR("");
    }
    return tpi_mc_take(m, &b);
}

struct tpc_str tpi_mc_reference(struct tpi_mc *m, struct tpc_str text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\n')) {
        text = after(text, 1);
    }
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\n')) {
        text.len--;
    }
    if (text.len < 5 || memcmp(text.ptr, "{{", 2) != 0 || find_two(text, "}}") != text.len - 2) {
        return TPC_STR("");
    }
    return pipeline(m, (struct tpc_str){ text.ptr + 2, text.len - 4 });
}

struct tpc_value tpi_mc_templates(struct tpi_mc *m, const char *at, const struct tpc_value *v,
                                  uint32_t depth)
{
    struct tpc_value out = *v;
    bool map = v->type == TPC_MAP;
    if (v->type == TPC_TEXT) {
        return tpi_mc_text(tpi_mc_template(m, at, tpc_value_text(v)));
    }
    if ((!map && v->type != TPC_ARRAY) || v->len == 0) {
        return out;
    }
    if (depth == TPI_MC_DEPTH) {
        m->rc = m->rc != 0 ? m->rc : TPC_ETOOBIG;
        return out;
    }
    void *items = tpc_arena_take(
        m->arena, v->len * (map ? sizeof(struct tpc_member) : sizeof(struct tpc_value)));
    if (items == NULL) {
        m->rc = m->rc != 0 ? m->rc : TPC_ENOMEM;
        return (struct tpc_value){ .type = TPC_NULL };
    }
    struct tpc_member *members = items;
    struct tpc_value *values = items;
    for (size_t i = 0; i < v->len; i++) {
        const struct tpc_value *in = map ? &v->as.members[i].value : &v->as.items[i];
        struct tpc_value one = tpi_mc_templates(m, at, in, depth + 1);
        if (map) {
            members[i] = (struct tpc_member){ v->as.members[i].key, one };
        } else {
            values[i] = one;
        }
    }
    if (map) {
        out.as.members = members;
    } else {
        out.as.items = values;
    }
    return out;
}
