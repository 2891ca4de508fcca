#include "expr/regexp.h"

#include <string.h>
#include <tpcore/error.h>

#include "data/utf8.h"

/* A word: op in 8 bits, a and b in 24 bits each. */
enum op {
    RE_MATCH,
    RE_CHAR,  /* a */
    RE_ANY,   /* but \n */
    RE_CLASS, /* of the a ranges behind it; b = 1: none of them */
    RE_RANGE, /* a..b */
    RE_SPLIT, /* to a and b */
    RE_JUMP,  /* to a */
    RE_BEGIN,
    RE_END
};

enum { WORD = 8, MANY = -1, MAX_REPEAT = 255, MAX_ATOMS = 8 * TPI_REGEXP_MAX_WORDS };

/* ---- compiling ---- */

struct maker {
    const char *p, *end, *start;
    struct tpi_buf *out;
    size_t base; /* where the program begins in out */
    uint32_t depth;
    uint32_t atoms;   /* parsed so far, repeats included */
    const char *what; /* of the error */
};

static int parse_alternatives(struct maker *m);

static int fail(struct maker *m, int rc, const char *what)
{
    m->what = what;
    return rc;
}

static uint32_t count(const struct maker *m)
{
    return (uint32_t) ((m->out->len - m->base) / WORD);
}

static uint64_t word(enum op op, uint32_t a, uint32_t b)
{
    return (uint64_t) op | (uint64_t) a << 8 | (uint64_t) b << 32; /* a below 2^24 */
}

static int emit(struct maker *m, enum op op, uint32_t a, uint32_t b)
{
    if (count(m) >= TPI_REGEXP_MAX_WORDS) {
        return fail(m, TPC_ETOOBIG, "the pattern is too long");
    }
    return tpi_buf_u64(m->out, word(op, a, b));
}

static void set(struct maker *m, uint32_t at, enum op op, uint32_t a, uint32_t b)
{
    tpi_put_u64(m->out->ptr + m->base + (size_t) at * WORD, word(op, a, b));
}

/* Room for a word at `at`: all from there moves up by one, jumps into it included. */
static int insert(struct maker *m, uint32_t at)
{
    int rc = emit(m, RE_MATCH, 0, 0);
    if (rc != 0) {
        return rc;
    }
    uint8_t *p = m->out->ptr + m->base;
    uint32_t n = count(m);
    memmove(p + (size_t) (at + 1) * WORD, p + (size_t) at * WORD, (size_t) (n - 1 - at) * WORD);
    for (uint32_t i = at + 1; i < n; i++) {
        uint64_t w = tpi_get_u64(p + (size_t) i * WORD);
        enum op op = (enum op)(w & 0xFF);
        uint32_t a = (uint32_t) (w >> 8 & 0xFFFFFF);
        uint32_t b = (uint32_t) (w >> 32);
        if (op == RE_SPLIT || op == RE_JUMP) {
            set(m, i, op, a + (a >= at), b + (op == RE_SPLIT && b >= at));
        }
    }
    return 0;
}

uint32_t tpi_regexp_class(char c, const char **ret)
{
    switch (c) {
    case 'd':
        *ret = "09";
        return 1;
    case 'w':
        *ret = "azAZ09__";
        return 4;
    case 's':
        *ret = "\t\r  ";
        return 2;
    default:
        return 0;
    }
}

int64_t tpi_regexp_escape(const char **p, const char *end)
{
    char c = **p;
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter) {
        return tpi_utf8_take(p, end);
    }
    if (c != 'n' && c != 't' && c != 'r') {
        return -1;
    }
    (*p)++;
    return c == 'n' ? '\n' : c == 't' ? '\t' : '\r';
}

static int emit_ranges(struct maker *m, const char *ranges, uint32_t n)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        rc = emit(m, RE_RANGE, (unsigned char) ranges[2 * i], (unsigned char) ranges[2 * i + 1]);
    }
    return rc;
}

/* Behind the backslash, outside of []. */
static int parse_escape(struct maker *m)
{
    const char *ranges = NULL;
    if (m->p == m->end) {
        return fail(m, TPC_EINVAL, "nothing stands behind \\");
    }
    char c = *m->p;
    bool none = c == 'D' || c == 'W' || c == 'S';
    uint32_t n = tpi_regexp_class(none ? (char) (c - 'A' + 'a') : c, &ranges);
    if (n > 0) {
        m->p++;
        int rc = emit(m, RE_CLASS, n, none);
        return rc != 0 ? rc : emit_ranges(m, ranges, n);
    }
    int64_t code = tpi_regexp_escape(&m->p, m->end);
    return code < 0 ? fail(m, TPC_EINVAL, "unknown escape in a pattern")
                    : emit(m, RE_CHAR, (uint32_t) code, 0);
}

/* One end of a range inside []. */
static int class_char(struct maker *m, uint32_t *ret)
{
    if (m->p == m->end) {
        return fail(m, TPC_EINVAL, "no closing ] in a pattern");
    }
    if (*m->p != '\\') {
        *ret = tpi_utf8_take(&m->p, m->end);
        return 0;
    }
    m->p++;
    int64_t code = m->p < m->end ? tpi_regexp_escape(&m->p, m->end) : -1;
    if (code < 0) {
        return fail(m, TPC_EINVAL, "unknown escape in a pattern");
    }
    *ret = (uint32_t) code;
    return 0;
}

static int class_item(struct maker *m)
{
    const char *ranges = NULL;
    uint32_t n = 0;
    if (m->end - m->p >= 2 && *m->p == '\\') {
        n = tpi_regexp_class(m->p[1], &ranges);
    }
    if (n > 0) {
        m->p += 2;
        return emit_ranges(m, ranges, n);
    }
    uint32_t first = 0, last = 0;
    int rc = class_char(m, &first);
    last = first;
    if (rc == 0 && m->end - m->p >= 2 && m->p[0] == '-' && m->p[1] != ']') {
        m->p++;
        rc = class_char(m, &last);
        if (rc == 0 && last < first) {
            return fail(m, TPC_EINVAL, "a range in [] that goes backwards");
        }
    }
    return rc != 0 ? rc : emit(m, RE_RANGE, first, last);
}

/* Behind the "[". */
static int parse_class(struct maker *m)
{
    uint32_t at = count(m);
    bool none = m->p < m->end && *m->p == '^';
    m->p += none;
    int rc = emit(m, RE_CLASS, 0, none);
    bool first = true;
    while (rc == 0 && (m->p == m->end || *m->p != ']' || first)) {
        rc = class_item(m); /* "]" as the first one stands for itself */
        first = false;
    }
    if (rc == 0) {
        m->p++;
        set(m, at, RE_CLASS, count(m) - at - 1, none);
    }
    return rc;
}

/* Behind the "(". */
static int parse_group(struct maker *m)
{
    if (m->end - m->p >= 2 && m->p[0] == '?' && m->p[1] == ':') {
        m->p += 2;
    }
    if (++m->depth > TPI_REGEXP_MAX_DEPTH) {
        return fail(m, TPC_ETOOBIG, "too many parentheses in a pattern");
    }
    int rc = parse_alternatives(m);
    m->depth--;
    if (rc == 0 && m->p == m->end) {
        return fail(m, TPC_EINVAL, "no closing ) in a pattern");
    }
    m->p += rc == 0;
    return rc;
}

static int parse_atom(struct maker *m)
{
    if (++m->atoms > MAX_ATOMS) { /* (){9}: repeats of nothing fill no words */
        return fail(m, TPC_ETOOBIG, "the pattern is too long");
    }
    switch (*m->p) {
    case '(':
        m->p++;
        return parse_group(m);
    case '[':
        m->p++;
        return parse_class(m);
    case '\\':
        m->p++;
        return parse_escape(m);
    case '.':
        m->p++;
        return emit(m, RE_ANY, 0, 0);
    case '^':
        m->p++;
        return emit(m, RE_BEGIN, 0, 0);
    case '$':
        m->p++;
        return emit(m, RE_END, 0, 0);
    case '*':
    case '+':
    case '?':
    case '{':
        return fail(m, TPC_EINVAL, "nothing to repeat in a pattern");
    default:
        return emit(m, RE_CHAR, tpi_utf8_take(&m->p, m->end), 0);
    }
}

/* Digits of {m,n}; -1 if there are none or too many. */
static int number(struct maker *m)
{
    int x = -1;
    while (m->p < m->end && *m->p >= '0' && *m->p <= '9' && x <= MAX_REPEAT) {
        x = (x < 0 ? 0 : x * 10) + (*m->p++ - '0');
    }
    return x <= MAX_REPEAT ? x : -1;
}

/* "*", "+", "?", "{m,n}" behind an atom. *ret_max may be MANY. False: there is none; *ret_min < 0: it
 * is malformed. */
static bool parse_repeat(struct maker *m, int *ret_min, int *ret_max)
{
    char c = m->p < m->end ? *m->p : '\0';
    if (c != '*' && c != '+' && c != '?' && c != '{') {
        return false;
    }
    m->p++;
    *ret_min = c == '+';
    *ret_max = c == '?' ? 1 : MANY;
    if (c == '{') {
        *ret_min = number(m);
        *ret_max = *ret_min;
        if (m->p < m->end && *m->p == ',') {
            m->p++;
            bool open = m->p < m->end && *m->p == '}';
            *ret_max = open ? MANY : number(m);
            *ret_min = !open && *ret_max < *ret_min ? -1 : *ret_min;
        }
        bool closed = m->p < m->end && *m->p == '}';
        *ret_min = closed ? *ret_min : -1;
        m->p += closed;
    }
    m->p += m->p < m->end && *m->p == '?';
    return true;
}

/* The atom that stands at `source` once more, from the program's end. */
static int again(struct maker *m, const char *source)
{
    const char *after = m->p;
    m->p = source;
    int rc = parse_atom(m);
    m->p = rc == 0 ? after : m->p;
    return rc;
}

/* The atom from `at`, which may be left out. */
static int optional(struct maker *m, uint32_t at, bool loop)
{
    int rc = insert(m, at);
    if (rc == 0 && loop) {
        rc = emit(m, RE_JUMP, at, 0);
    }
    if (rc == 0) {
        set(m, at, RE_SPLIT, at + 1, count(m));
    }
    return rc;
}

/* The atom from `at`, of the source at `source`, so many times. */
static int repeat(struct maker *m, const char *source, uint32_t at, int min, int max)
{
    int rc = 0;
    if (max == 0) {
        m->out->len = m->base + (size_t) at * WORD;
        return 0;
    }
    for (int i = 1; rc == 0 && i < min; i++) {
        at = count(m);
        rc = again(m, source);
    }
    if (rc == 0 && max == MANY) {
        return min > 0 ? emit(m, RE_SPLIT, at, count(m) + 1) : optional(m, at, true);
    }
    if (rc == 0 && min == 0) {
        rc = optional(m, at, false);
    }
    for (int i = min > 0 ? min : 1; rc == 0 && i < max; i++) {
        at = count(m);
        rc = again(m, source);
        rc = rc != 0 ? rc : optional(m, at, false);
    }
    return rc;
}

static int parse_sequence(struct maker *m)
{
    int rc = 0;
    while (rc == 0 && m->p < m->end && *m->p != '|' && *m->p != ')') {
        const char *source = m->p;
        uint32_t at = count(m);
        int min = 1, max = 1;
        rc = parse_atom(m);
        if (rc == 0 && parse_repeat(m, &min, &max)) {
            rc = min < 0 ? fail(m, TPC_EINVAL, "a malformed {} in a pattern")
                         : repeat(m, source, at, min, max);
        }
    }
    return rc;
}

static int parse_alternatives(struct maker *m)
{
    uint32_t at = count(m);
    int rc = parse_sequence(m);
    if (rc != 0 || m->p == m->end || *m->p != '|') {
        return rc;
    }
    /* split first, rest; first; jump end; rest */
    rc = insert(m, at);
    uint32_t jump = count(m);
    rc = rc != 0 ? rc : emit(m, RE_JUMP, 0, 0);
    m->p++;
    rc = rc != 0 ? rc : parse_alternatives(m); /* no deeper than there are words */
    if (rc == 0) {
        set(m, at, RE_SPLIT, at + 1, jump + 1);
        set(m, jump, RE_JUMP, count(m), 0);
    }
    return rc;
}

int tpi_regexp_compile(struct tpc_str pattern, struct tpi_buf *out, size_t *ret_at,
                       const char **ret_what)
{
    struct maker m = { .p = pattern.ptr,
                       .end = pattern.ptr + pattern.len,
                       .start = pattern.ptr,
                       .out = out,
                       .base = out->len };
    int rc = parse_alternatives(&m);
    if (rc == 0 && m.p < m.end) {
        rc = fail(&m, TPC_EINVAL, "an unmatched ) in a pattern");
    }
    rc = rc != 0 ? rc : emit(&m, RE_MATCH, 0, 0);
    if (rc != 0) {
        *ret_at = (size_t) (m.p - m.start);
        *ret_what = m.what;
    }
    return rc;
}

/* ---- searching ---- */

/* The states that are followed at one place of the text. */
struct states {
    uint32_t count;
    uint16_t at[TPI_REGEXP_MAX_WORDS];
};

struct search {
    const char *program;
    uint32_t stamp;                       /* of the place */
    uint32_t marks[TPI_REGEXP_MAX_WORDS]; /* stamp of the place that a state was added at */
    uint16_t stack[TPI_REGEXP_MAX_WORDS + 1];
};

static uint64_t word_at(const struct search *s, uint32_t i)
{
    uint8_t bytes[WORD];
    memcpy(bytes, s->program + (size_t) i * WORD, WORD);
    return tpi_get_u64(bytes);
}

/* Adds a state and those that it leads to without a character. Each goes on the stack once, when it
 * is marked. True: one of them is the end. */
static bool add(struct search *s, struct states *set, uint32_t first, bool begin, bool end)
{
    uint32_t depth = 0;
    bool found = false;
    if (s->marks[first] != s->stamp) {
        s->marks[first] = s->stamp;
        s->stack[depth++] = (uint16_t) first;
    }
    while (depth > 0) {
        uint32_t at = s->stack[--depth];
        uint64_t w = word_at(s, at);
        uint32_t next[2] = { (uint32_t) (w >> 8 & 0xFFFFFF), (uint32_t) (w >> 32) };
        uint32_t count = 0;
        switch ((enum op)(w & 0xFF)) {
        case RE_SPLIT:
            count = 2;
            break;
        case RE_JUMP:
            count = 1;
            break;
        case RE_BEGIN:
            next[0] = at + 1;
            count = begin;
            break;
        case RE_END:
            next[0] = at + 1;
            count = end;
            break;
        case RE_MATCH:
            found = true;
            break;
        default:
            set->at[set->count++] = (uint16_t) at;
            break;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (s->marks[next[i]] != s->stamp) {
                s->marks[next[i]] = s->stamp;
                s->stack[depth++] = (uint16_t) next[i];
            }
        }
    }
    return found;
}

/* Where the state goes with this character; 0 = nowhere, which no state goes to. */
static uint32_t step(const struct search *s, uint32_t at, uint32_t c)
{
    uint64_t w = word_at(s, at);
    uint32_t a = (uint32_t) (w >> 8 & 0xFFFFFF);
    bool none = w >> 32 != 0;
    bool in = false;
    switch ((enum op)(w & 0xFF)) {
    case RE_CHAR:
        return a == c ? at + 1 : 0;
    case RE_ANY:
        return c != '\n' ? at + 1 : 0;
    default:
        for (uint32_t i = 1; i <= a && !in; i++) {
            uint64_t range = word_at(s, at + i);
            in = c >= (range >> 8 & 0xFFFFFF) && c <= range >> 32;
        }
        return in != none ? at + a + 1 : 0;
    }
}

bool tpi_regexp_found(struct tpc_str program, struct tpc_str text)
{
    struct search s = { .program = program.ptr };
    struct states sets[2];
    struct states *now = &sets[0];
    struct states *next = &sets[1];
    const char *p = text.ptr;
    const char *end = p + text.len;
    s.stamp = 1;
    now->count = 0;
    if (add(&s, now, 0, true, p == end)) {
        return true;
    }
    while (p < end) {
        uint32_t c = tpi_utf8_take(&p, end);
        bool found = false;
        next->count = 0;
        s.stamp++;
        for (uint32_t i = 0; i < now->count && !found; i++) {
            uint32_t to = step(&s, now->at[i], c);
            found = to != 0 && add(&s, next, to, false, p == end);
        }
        /* a match may begin at every place */
        if (found || add(&s, next, 0, false, p == end)) {
            return true;
        }
        struct states *swap = now;
        now = next;
        next = swap;
    }
    return false;
}
