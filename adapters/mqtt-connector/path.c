#include "path.h"

#include <string.h>

#include "base/error.h"

enum op { STEP_NAME, STEP_INDEX, STEP_ANY, STEP_DEEP /* the next step at any depth */ };

/* ---- compiling ---- */

struct maker {
    const char *p, *end;
    struct path_step steps[PATH_STEPS_MAX];
    uint32_t count;
    const char *what;
};

static int fail(struct maker *m, int rc, const char *what)
{
    m->what = what;
    return rc;
}

static int add(struct maker *m, enum op op, int32_t index, struct tpc_str name)
{
    if (m->count == PATH_STEPS_MAX) {
        return fail(m, TPC_ETOOBIG, "too many steps");
    }
    m->steps[m->count++] = (struct path_step){ op, index, name };
    return 0;
}

/* A name up to its quote; without escapes. */
static int quoted(struct maker *m, struct tpc_str *ret)
{
    char quote = *m->p++;
    const char *close = memchr(m->p, quote, (size_t) (m->end - m->p));
    if (close == NULL) {
        return fail(m, TPC_EINVAL, "no closing quote");
    }
    *ret = (struct tpc_str){ m->p, (size_t) (close - m->p) };
    m->p = close + 1;
    return 0;
}

static int bare(struct maker *m)
{
    const char *begin = m->p;
    while (m->p < m->end && memchr(".[]'\"`", *m->p, 6) == NULL) {
        m->p++;
    }
    struct tpc_str name = { begin, (size_t) (m->p - begin) };
    if (name.len == 0) {
        return fail(m, TPC_EINVAL,
                    m->p < m->end && *m->p == '`' ? "operators in ` ` are not known"
                                                  : "a name was expected");
    }
    bool any = name.len == 1 && begin[0] == '*';
    return add(m, any ? STEP_ANY : STEP_NAME, 0, name);
}

static int named(struct maker *m)
{
    struct tpc_str name;
    if (m->p < m->end && (*m->p == '"' || *m->p == '\'')) {
        int rc = quoted(m, &name);
        return rc != 0 ? rc : add(m, STEP_NAME, 0, name);
    }
    return bare(m);
}

static void pass_blanks(struct maker *m)
{
    while (m->p < m->end && *m->p == ' ') {
        m->p++;
    }
}

static int indexed(struct maker *m)
{
    bool minus = m->p < m->end && *m->p == '-';
    int32_t n = 0;
    m->p += minus;
    const char *begin = m->p;
    while (m->p < m->end && *m->p >= '0' && *m->p <= '9' && m->p - begin < 9) {
        n = n * 10 + (*m->p++ - '0');
    }
    if (m->p == begin) {
        return fail(m, TPC_EINVAL, "a number, a name in quotes or * was expected");
    }
    return add(m, STEP_INDEX, minus ? -n : n, (struct tpc_str){ NULL, 0 });
}

/* Behind the "[". */
static int bracket(struct maker *m)
{
    struct tpc_str name = { NULL, 0 };
    int rc;
    pass_blanks(m);
    if (m->p < m->end && (*m->p == '"' || *m->p == '\'')) {
        rc = quoted(m, &name);
        rc = rc != 0 ? rc : add(m, STEP_NAME, 0, name);
    } else if (m->p < m->end && *m->p == '*') {
        m->p++;
        rc = add(m, STEP_ANY, 0, name);
    } else {
        rc = indexed(m);
    }
    pass_blanks(m);
    if (rc == 0 && (m->p == m->end || *m->p != ']')) {
        return fail(m, TPC_EINVAL, "] was expected");
    }
    m->p += rc == 0;
    return rc;
}

/* One step and what stands before it. */
static int step(struct maker *m)
{
    if (*m->p == '[') {
        m->p++;
        return bracket(m);
    }
    if (*m->p != '.') {
        return fail(m, TPC_EINVAL, "a dot or [ was expected");
    }
    m->p++;
    if (m->p < m->end && *m->p == '.') {
        m->p++;
        int rc = add(m, STEP_DEEP, 0, (struct tpc_str){ NULL, 0 });
        if (rc == 0 && m->p < m->end && *m->p == '[') {
            m->p++;
            return bracket(m);
        }
        return rc != 0 ? rc : named(m);
    }
    if (m->p < m->end && *m->p == '[') { /* jsonpath-rw takes a.[0] */
        m->p++;
        return bracket(m);
    }
    return named(m);
}

static struct tpc_str trim(struct tpc_str s)
{
    while (s.len > 0 && s.ptr[0] == ' ') {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && s.ptr[s.len - 1] == ' ') {
        s.len--;
    }
    return s;
}

static int parse(struct maker *m)
{
    int rc = 0;
    if (m->p == m->end) {
        return fail(m, TPC_EINVAL, "it is empty");
    }
    bool root = *m->p == '$' && (m->end - m->p == 1 || m->p[1] == '.' || m->p[1] == '[');
    if (root) {
        m->p++;
    } else if (*m->p != '.' && *m->p != '[') {
        rc = named(m);
    }
    while (rc == 0 && m->p < m->end) {
        rc = step(m);
    }
    return rc;
}

int path_compile(struct tpc_arena *arena, struct tpc_str text, struct tpc_error *err,
                 struct path *ret)
{
    struct maker m;
    struct tpc_str whole = trim(text);
    memset(&m, 0, sizeof(m));
    m.p = whole.ptr;
    m.end = whole.ptr + whole.len;
    int rc = parse(&m);
    if (rc != 0) {
        tpi_error_set(err, rc, "path", "%s", m.what);
        if (err != NULL) {
            err->column = (uint32_t) (m.p - text.ptr) + 1;
        }
        return rc;
    }
    struct path_step *steps = tpc_arena_take(arena, (m.count + 1) * sizeof(*steps));
    if (steps == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "path", "no memory for a path");
    }
    memcpy(steps, m.steps, m.count * sizeof(*steps));
    *ret = (struct path){ whole, steps, m.count };
    return 0;
}

/* ---- finding ---- */

struct search {
    const struct path *path;
    uint32_t visits;
};

static const struct tpc_value *find(struct search *s, uint32_t at, const struct tpc_value *v);

static size_t item_count(const struct tpc_value *v)
{
    return v->type == TPC_ARRAY || v->type == TPC_MAP ? v->len : 0;
}

static const struct tpc_value *item(const struct tpc_value *v, size_t i)
{
    return v->type == TPC_MAP ? &v->as.members[i].value : &v->as.items[i];
}

/* The step behind `at`, tried on v and on all that is inside of it. Trees are 32 deep at most. */
static const struct tpc_value *find_deep(struct search *s, uint32_t at, const struct tpc_value *v)
{
    const struct tpc_value *found = find(s, at + 1, v);
    for (size_t i = 0; found == NULL && i < item_count(v) && s->visits < PATH_VISITS_MAX; i++) {
        found = find_deep(s, at, item(v, i));
    }
    return found;
}

static const struct tpc_value *find(struct search *s, uint32_t at, const struct tpc_value *v)
{
    const struct tpc_value *found = NULL;
    if (v == NULL || ++s->visits > PATH_VISITS_MAX) {
        return NULL;
    }
    if (at == s->path->count) {
        return v;
    }
    const struct path_step *step = &s->path->steps[at];
    switch ((enum op) step->op) {
    case STEP_NAME:
        return v->type == TPC_MAP ? find(s, at + 1, tpc_value_get(v, step->name)) : NULL;
    case STEP_INDEX: {
        int64_t i = step->index < 0 ? (int64_t) v->len + step->index : step->index;
        bool there = v->type == TPC_ARRAY && i >= 0 && i < (int64_t) v->len;
        return there ? find(s, at + 1, &v->as.items[i]) : NULL;
    }
    case STEP_ANY:
        for (size_t i = 0; found == NULL && i < item_count(v); i++) {
            found = find(s, at + 1, item(v, i));
        }
        return found;
    case STEP_DEEP:
        return find_deep(s, at, v);
    default:
        return NULL;
    }
}

const struct tpc_value *path_find(const struct path *p, const struct tpc_value *root)
{
    struct search s = { p, 0 };
    if (root->type == TPC_MAP) {
        const struct tpc_value *v = tpc_value_get(root, p->whole);
        if (v != NULL) {
            return v;
        }
    }
    return find(&s, 0, root);
}
