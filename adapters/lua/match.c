#include "match.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static const char *try_match(struct match *m, const char *s, const char *p);

static const char *fail(struct match *m, const char *why)
{
    if (m->error == NULL) {
        m->error = why;
    }
    return NULL;
}

/* One step. Returns false when the budget is at its end; m->error is then set. */
static bool step(struct match *m)
{
    if (m->left > 0) {
        m->left--;
        return true;
    }
    if (m->charge != NULL && m->charge(m->user) != 0) {
        fail(m, "the budget of the call is spent");
        return false;
    }
    m->left = MATCH_CHUNK - 1;
    return true;
}

void match_init(struct match *m, const char *src, size_t src_len, const char *pat, size_t pat_len,
                match_charge_fn *charge, void *user)
{
    m->src = src;
    m->src_end = src + src_len;
    m->pat_end = pat + pat_len;
    m->charge = charge;
    m->user = user;
    m->left = MATCH_CHUNK;
    m->depth = MATCH_MAX_DEPTH;
    m->level = 0;
    m->error = NULL;
    m->error_arg = -1;
}

/* ---- one character ---- */

/* Behind the single-character class that begins at p, p before the pattern's end. */
static const char *class_end(struct match *m, const char *p)
{
    char c = *p++;
    if (c == '%') {
        return p == m->pat_end ? fail(m, "malformed pattern (ends with '%')") : p + 1;
    }
    if (c != '[') {
        return p;
    }
    if (p < m->pat_end && *p == '^') {
        p++;
    }
    do { /* a ']' in the first place is one of the set */
        if (p == m->pat_end) {
            return fail(m, "malformed pattern (missing ']')");
        }
        c = *p++;
        if (c == '%') {
            if (p == m->pat_end) {
                return fail(m, "malformed pattern (missing ']')");
            }
            p++;
        }
    } while (p == m->pat_end || *p != ']');
    return p + 1;
}

static bool in_class(unsigned char c, unsigned char class)
{
    bool yes;
    switch (tolower(class)) {
    case 'a':
        yes = isalpha(c) != 0;
        break;
    case 'c':
        yes = iscntrl(c) != 0;
        break;
    case 'd':
        yes = isdigit(c) != 0;
        break;
    case 'g':
        yes = isgraph(c) != 0;
        break;
    case 'l':
        yes = islower(c) != 0;
        break;
    case 'p':
        yes = ispunct(c) != 0;
        break;
    case 's':
        yes = isspace(c) != 0;
        break;
    case 'u':
        yes = isupper(c) != 0;
        break;
    case 'w':
        yes = isalnum(c) != 0;
        break;
    case 'x':
        yes = isxdigit(c) != 0;
        break;
    case 'z': /* of Lua 5.1, kept by 5.4 */
        yes = c == 0;
        break;
    default:
        return class == c;
    }
    return isupper(class) ? !yes : yes;
}

/* p at '[', last at its ']'. */
static bool in_set(unsigned char c, const char *p, const char *last)
{
    bool found = true;
    p++;
    if (*p == '^') {
        found = false;
        p++;
    }
    while (p < last) {
        if (*p == '%') {
            if (in_class(c, (unsigned char) p[1])) {
                return found;
            }
            p += 2;
        } else if (p[1] == '-' && p + 2 < last) {
            if ((unsigned char) p[0] <= c && c <= (unsigned char) p[2]) {
                return found;
            }
            p += 3;
        } else {
            if ((unsigned char) *p == c) {
                return found;
            }
            p++;
        }
    }
    return !found;
}

/* Whether the character at s, if there is one, is of the class [p, end). */
static bool single(const struct match *m, const char *s, const char *p, const char *end)
{
    if (s >= m->src_end) {
        return false;
    }
    unsigned char c = (unsigned char) *s;
    switch (*p) {
    case '.':
        return true;
    case '%':
        return in_class(c, (unsigned char) p[1]);
    case '[':
        return in_set(c, p, end - 1);
    default:
        return (unsigned char) *p == c;
    }
}

/* ---- repetition ---- */

static const char *greedy(struct match *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t n = 0;
    while (single(m, s + n, p, end)) {
        if (!step(m)) {
            return NULL;
        }
        n++;
    }
    for (; n >= 0; n--) {
        const char *e = try_match(m, s + n, end + 1);
        if (e != NULL || m->error != NULL) {
            return e;
        }
    }
    return NULL;
}

static const char *lazy(struct match *m, const char *s, const char *p, const char *end)
{
    for (;;) {
        const char *e = try_match(m, s, end + 1);
        if (e != NULL || m->error != NULL) {
            return e;
        }
        if (!single(m, s, p, end)) {
            return NULL;
        }
        s++;
    }
}

/* ---- captures, %b, %f, %1 ---- */

static const char *open_capture(struct match *m, const char *s, const char *p, ptrdiff_t len)
{
    if (m->level >= MATCH_MAX_CAPTURES) {
        return fail(m, "too many captures");
    }
    m->captures[m->level].begin = s;
    m->captures[m->level].len = len;
    m->level++;
    const char *e = try_match(m, s, p);
    if (e == NULL) {
        m->level--;
    }
    return e;
}

static const char *close_capture(struct match *m, const char *s, const char *p)
{
    int i = m->level - 1;
    while (i >= 0 && m->captures[i].len != MATCH_OPEN) {
        i--;
    }
    if (i < 0) {
        return fail(m, "invalid pattern capture");
    }
    m->captures[i].len = s - m->captures[i].begin;
    const char *e = try_match(m, s, p);
    if (e == NULL) {
        m->captures[i].len = MATCH_OPEN;
    }
    return e;
}

/* %b: p at its two characters. */
static const char *balanced(struct match *m, const char *s, const char *p)
{
    if (m->pat_end - p < 2) {
        return fail(m, "malformed pattern (missing arguments to '%b')");
    }
    if (s >= m->src_end || *s != p[0]) {
        return NULL;
    }
    int open = 1;
    for (s++; s < m->src_end; s++) {
        if (!step(m)) {
            return NULL;
        }
        if (*s == p[1]) {
            if (--open == 0) {
                return s + 1;
            }
        } else if (*s == p[0]) {
            open++;
        }
    }
    return NULL;
}

/* %f: whether the frontier of set [p, end) is at s. */
static bool frontier(const struct match *m, const char *s, const char *p, const char *end)
{
    unsigned char before = s == m->src ? '\0' : (unsigned char) s[-1];
    unsigned char here = s == m->src_end ? '\0' : (unsigned char) *s;
    return !in_set(before, p, end - 1) && in_set(here, p, end - 1);
}

static const char *back_reference(struct match *m, const char *s, char digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->level || m->captures[i].len == MATCH_OPEN) {
        m->error_arg = i + 1;
        return fail(m, "invalid capture index %%%d");
    }
    /* A position compares as the huge length that Lua makes of it: never there. */
    size_t len = (size_t) m->captures[i].len;
    if ((size_t) (m->src_end - s) < len || memcmp(m->captures[i].begin, s, len) != 0) {
        return NULL;
    }
    m->left = len / 64 < m->left ? m->left - (uint32_t) (len / 64) : 0;
    return s + len;
}

/* ---- the match itself ---- */

/* What an item at p asks of try_match(). */
enum next {
    GO_ON,  /* s and p are moved on: match the rest */
    RESULT, /* *ret is the answer */
    SINGLE  /* an ordinary single character with or without suffix */
};

/* Items that begin with '%' and are no class. */
static enum next escape_item(struct match *m, const char **s, const char **p, const char **ret)
{
    const char *q = *p + 1;
    if (q == m->pat_end) {
        return SINGLE; /* class_end() reports it */
    }
    if (*q == 'b') {
        *s = balanced(m, *s, q + 1);
        *p = q + 3;
    } else if (*q == 'f') {
        q++;
        if (q >= m->pat_end || *q != '[') {
            *ret = fail(m, "missing '[' after '%f' in pattern");
            return RESULT;
        }
        const char *end = class_end(m, q);
        if (end == NULL || !frontier(m, *s, q, end)) {
            *s = NULL;
        }
        *p = end;
    } else if (*q >= '0' && *q <= '9') {
        *s = back_reference(m, *s, *q);
        *p = q + 1;
    } else {
        return SINGLE;
    }
    *ret = NULL;
    return *s == NULL ? RESULT : GO_ON;
}

/* A single character class and its suffix. */
static enum next single_item(struct match *m, const char **s, const char **p, const char **ret)
{
    const char *end = class_end(m, *p);
    *ret = NULL;
    if (end == NULL) {
        return RESULT;
    }
    char suffix = end < m->pat_end ? *end : '\0';
    bool one = single(m, *s, *p, end);
    if (!one && (suffix == '?' || suffix == '*' || suffix == '-')) {
        *p = end + 1;
        return GO_ON;
    }
    switch (suffix) {
    case '?':
        *ret = try_match(m, *s + 1, end + 1);
        if (*ret != NULL || m->error != NULL) {
            return RESULT;
        }
        *p = end + 1;
        return GO_ON;
    case '+':
        *ret = one ? greedy(m, *s + 1, *p, end) : NULL;
        return RESULT;
    case '*':
        *ret = greedy(m, *s, *p, end);
        return RESULT;
    case '-':
        *ret = lazy(m, *s, *p, end);
        return RESULT;
    default:
        if (!one) {
            return RESULT;
        }
        *s += 1;
        *p = end;
        return GO_ON;
    }
}

static enum next item(struct match *m, const char **s, const char **p, const char **ret)
{
    switch (**p) {
    case '(':
        if (*p + 1 < m->pat_end && (*p)[1] == ')') {
            *ret = open_capture(m, *s, *p + 2, MATCH_POSITION);
        } else {
            *ret = open_capture(m, *s, *p + 1, MATCH_OPEN);
        }
        return RESULT;
    case ')':
        *ret = close_capture(m, *s, *p + 1);
        return RESULT;
    case '$':
        if (*p + 1 == m->pat_end) {
            *ret = *s == m->src_end ? *s : NULL;
            return RESULT;
        }
        return SINGLE;
    case '%':
        return escape_item(m, s, p, ret);
    default:
        return SINGLE;
    }
}

static const char *try_match(struct match *m, const char *s, const char *p)
{
    const char *ret = NULL;
    if (m->error != NULL) {
        return NULL;
    }
    if (m->depth-- == 0) {
        m->depth++;
        return fail(m, "pattern too complex");
    }
    enum next next = GO_ON;
    while (next == GO_ON) {
        if (p == m->pat_end) {
            ret = s;
            break;
        }
        if (!step(m)) {
            ret = NULL;
            break;
        }
        next = item(m, &s, &p, &ret);
        if (next == SINGLE) {
            next = single_item(m, &s, &p, &ret);
        }
    }
    m->depth++;
    return m->error != NULL ? NULL : ret;
}

const char *match_at(struct match *m, const char *s, const char *pat)
{
    m->level = 0;
    m->depth = MATCH_MAX_DEPTH;
    return try_match(m, s, pat);
}

int match_capture(struct match *m, int i, const char *s, const char *e, struct match_capture *ret)
{
    if (i >= m->level) {
        if (i != 0) {
            m->error_arg = i + 1;
            fail(m, "invalid capture index %%%d");
            return -1;
        }
        ret->begin = s;
        ret->len = e - s;
        return 0;
    }
    if (m->captures[i].len == MATCH_OPEN) {
        fail(m, "unfinished capture");
        return -1;
    }
    *ret = m->captures[i];
    return 0;
}

int match_is_plain(const char *pat, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (pat[i] != '\0' && strchr("^$*+?.([%-", pat[i]) != NULL) {
            return 0;
        }
    }
    return 1;
}
