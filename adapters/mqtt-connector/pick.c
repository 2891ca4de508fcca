#include "pick.h"

#include <string.h>

#include "base/error.h"
#include "data/utf8.h"
#include "expr/regexp.h"

enum op {
    OP_MATCH,
    OP_CHAR,  /* a */
    OP_ANY,   /* but \n */
    OP_CLASS, /* of the a ranges behind it; flag: none of them */
    OP_RANGE, /* a..b */
    OP_SPLIT, /* to a, or else b */
    OP_JUMP,  /* to a */
    OP_BEGIN,
    OP_END,  /* or before a \n that is the last byte */
    OP_LAST, /* the very end */
    OP_WORD, /* border of a word; flag: none */
    OP_LOOK, /* body behind it, goes on at a; b = 1 + characters to go back, 0 = ahead; flag: not */
};

enum { MANY = -1, REPEAT_MAX = 255, ATOMS_MAX = 8 * PICK_WORDS_MAX, VARIES = -1 };

/* ---- compiling ---- */

struct maker {
    const char *p, *end;
    struct pick_word words[PICK_WORDS_MAX];
    uint32_t count;
    uint32_t depth, looks;
    uint32_t atoms; /* parsed so far, repeats included */
    bool operators;
    const char *what; /* of the error */
};

static int parse_alternatives(struct maker *m, int *ret_width);

static int fail(struct maker *m, int rc, const char *what)
{
    m->what = what;
    return rc;
}

static int emit(struct maker *m, enum op op, bool flag, uint32_t a, uint32_t b)
{
    if (m->count == PICK_WORDS_MAX) {
        return fail(m, TPC_ETOOBIG, "the pattern is too long");
    }
    m->words[m->count++] = (struct pick_word){ (uint16_t) op, flag, a, b };
    return 0;
}

/* Room for a word at `at`: all from there moves up by one, jumps into it included. */
static int insert(struct maker *m, uint32_t at)
{
    int rc = emit(m, OP_MATCH, false, 0, 0);
    if (rc != 0) {
        return rc;
    }
    memmove(m->words + at + 1, m->words + at, (m->count - 1 - at) * sizeof(m->words[0]));
    for (uint32_t i = at + 1; i < m->count; i++) {
        struct pick_word *w = &m->words[i];
        if (w->op == OP_SPLIT || w->op == OP_JUMP || w->op == OP_LOOK) {
            w->a += w->a >= at;
            w->b += w->op == OP_SPLIT && w->b >= at;
        }
    }
    return 0;
}

static int emit_pairs(struct maker *m, const char *pairs, uint32_t n)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        rc = emit(m, OP_RANGE, false, (unsigned char) pairs[2 * i],
                  (unsigned char) pairs[2 * i + 1]);
    }
    return rc;
}

/* Behind the backslash, outside of []. */
static int parse_escape(struct maker *m, int *ret_width)
{
    const char *pairs = NULL;
    if (m->p == m->end) {
        return fail(m, TPC_EINVAL, "nothing stands behind \\");
    }
    char c = *m->p;
    bool none = c == 'D' || c == 'W' || c == 'S';
    uint32_t n = tpi_regexp_class(none ? (char) (c - 'A' + 'a') : c, &pairs);
    m->operators |= n > 0 || c == 'b' || c == 'B' || c == 'A' || c == 'Z';
    if (n > 0) {
        m->p++;
        int rc = emit(m, OP_CLASS, none, n, 0);
        return rc != 0 ? rc : emit_pairs(m, pairs, n);
    }
    if (c == 'b' || c == 'B' || c == 'A' || c == 'Z') {
        m->p++;
        *ret_width = 0;
        return emit(m, c == 'A' ? OP_BEGIN : c == 'Z' ? OP_LAST : OP_WORD, c == 'B', 0, 0);
    }
    m->operators = true; /* its text is not what it matches */
    int64_t code = tpi_regexp_escape(&m->p, m->end);
    return code < 0 ? fail(m, TPC_EINVAL, "this escape is not known")
                    : emit(m, OP_CHAR, false, (uint32_t) code, 0);
}

/* One end of a range inside []. */
static int class_char(struct maker *m, uint32_t *ret)
{
    if (m->p == m->end) {
        return fail(m, TPC_EINVAL, "no closing ]");
    }
    if (*m->p != '\\') {
        *ret = tpi_utf8_take(&m->p, m->end);
        return 0;
    }
    m->p++;
    int64_t code = m->p < m->end ? tpi_regexp_escape(&m->p, m->end) : -1;
    if (code < 0) {
        return fail(m, TPC_EINVAL, "this escape is not known");
    }
    *ret = (uint32_t) code;
    return 0;
}

static int class_item(struct maker *m)
{
    const char *pairs = NULL;
    uint32_t n = 0;
    if (m->end - m->p >= 2 && *m->p == '\\') {
        n = tpi_regexp_class(m->p[1], &pairs);
    }
    if (n > 0) {
        m->p += 2;
        return emit_pairs(m, pairs, n);
    }
    uint32_t first = 0;
    int rc = class_char(m, &first);
    uint32_t last = first;
    if (rc == 0 && m->end - m->p >= 2 && m->p[0] == '-' && m->p[1] != ']') {
        m->p++;
        rc = class_char(m, &last);
        if (rc == 0 && last < first) {
            return fail(m, TPC_EINVAL, "a range in [] that goes backwards");
        }
    }
    return rc != 0 ? rc : emit(m, OP_RANGE, false, first, last);
}

/* Behind the "[". */
static int parse_class(struct maker *m)
{
    uint32_t at = m->count;
    bool none = m->p < m->end && *m->p == '^';
    m->p += none;
    int rc = emit(m, OP_CLASS, none, 0, 0);
    bool first = true;
    while (rc == 0 && (m->p == m->end || *m->p != ']' || first)) {
        rc = class_item(m); /* "]" as the first one stands for itself */
        first = false;
    }
    if (rc == 0) {
        m->p++;
        m->words[at].a = m->count - at - 1;
    }
    return rc;
}

static bool follows(const struct maker *m, const char *text)
{
    size_t n = strlen(text);
    return (size_t) (m->end - m->p) >= n && memcmp(m->p, text, n) == 0;
}

/* Behind "(?=" and its like. */
static int parse_look(struct maker *m, bool behind, bool none)
{
    uint32_t at = m->count;
    int width = 0;
    if (++m->looks > PICK_LOOKS_MAX) {
        return fail(m, TPC_ETOOBIG, "too many look-arounds inside one another");
    }
    int rc = emit(m, OP_LOOK, none, 0, 0);
    rc = rc != 0 ? rc : parse_alternatives(m, &width);
    rc = rc != 0 ? rc : emit(m, OP_MATCH, false, 0, 0);
    m->looks--;
    if (rc == 0 && behind && width == VARIES) {
        return fail(m, TPC_EINVAL, "what is inside (?<= ) must have a fixed length");
    }
    if (rc == 0) {
        m->words[at].a = m->count;
        m->words[at].b = behind ? (uint32_t) width + 1 : 0;
    }
    return rc;
}

/* Behind "(?P<": the name, which nobody needs. */
static int pass_name(struct maker *m)
{
    while (m->p < m->end && *m->p != '>') {
        m->p++;
    }
    if (m->p == m->end) {
        return fail(m, TPC_EINVAL, "no closing > of a name");
    }
    m->p++;
    return 0;
}

/* Behind the "(". */
static int parse_group(struct maker *m, int *ret_width)
{
    static const struct {
        const char *text;
        bool behind, none;
    } looks[] = {
        { "?=", false, false }, { "?!", false, true }, { "?<=", true, false }, { "?<!", true, true }
    };
    int rc = 0;
    bool look = false;
    if (++m->depth > PICK_DEPTH_MAX) {
        return fail(m, TPC_ETOOBIG, "too many parentheses");
    }
    for (size_t i = 0; !look && i < sizeof(looks) / sizeof(looks[0]); i++) {
        if (follows(m, looks[i].text)) {
            look = true;
            m->p += strlen(looks[i].text);
            *ret_width = 0;
            rc = parse_look(m, looks[i].behind, looks[i].none);
        }
    }
    if (!look) {
        if (follows(m, "?P<")) {
            rc = pass_name(m);
        } else if (follows(m, "?:")) {
            m->p += 2;
        } else if (follows(m, "?")) {
            rc = fail(m, TPC_EINVAL, "what stands behind (? is not known");
        }
        rc = rc != 0 ? rc : parse_alternatives(m, ret_width);
    }
    m->depth--;
    if (rc == 0 && m->p == m->end) {
        return fail(m, TPC_EINVAL, "no closing )");
    }
    m->p += rc == 0;
    return rc;
}

static int parse_atom(struct maker *m, int *ret_width)
{
    *ret_width = 1;
    if (++m->atoms > ATOMS_MAX) { /* (){9}: repeats of nothing fill no words */
        return fail(m, TPC_ETOOBIG, "the pattern is too long");
    }
    char c = *m->p;
    if (memchr("([\\.^$*+?{", c, 10) == NULL) {
        return emit(m, OP_CHAR, false, tpi_utf8_take(&m->p, m->end), 0);
    }
    m->operators = true;
    m->p++;
    switch (c) {
    case '(':
        return parse_group(m, ret_width);
    case '[':
        return parse_class(m);
    case '\\':
        return parse_escape(m, ret_width);
    case '.':
        return emit(m, OP_ANY, false, 0, 0);
    case '^':
    case '$':
        *ret_width = 0;
        return emit(m, c == '^' ? OP_BEGIN : OP_END, false, 0, 0);
    default:
        m->p--;
        return fail(m, TPC_EINVAL, "nothing to repeat");
    }
}

/* Digits of {m,n}; -1 if there are none or too many. */
static int number(struct maker *m)
{
    int x = -1;
    while (m->p < m->end && *m->p >= '0' && *m->p <= '9' && x <= REPEAT_MAX) {
        x = (x < 0 ? 0 : x * 10) + (*m->p++ - '0');
    }
    return x <= REPEAT_MAX ? x : -1;
}

/* How often an atom comes. */
struct times {
    int min, max; /* max may be MANY; min < 0: malformed */
    bool lazy;
};

static bool parse_repeat(struct maker *m, struct times *ret)
{
    char c = m->p < m->end ? *m->p : '\0';
    if (c != '*' && c != '+' && c != '?' && c != '{') {
        return false;
    }
    m->operators = true;
    m->p++;
    ret->min = c == '+';
    ret->max = c == '?' ? 1 : MANY;
    if (c == '{') {
        ret->min = number(m);
        ret->max = ret->min;
        if (m->p < m->end && *m->p == ',') {
            m->p++;
            bool open = m->p < m->end && *m->p == '}';
            ret->max = open ? MANY : number(m);
            ret->min = !open && ret->max < ret->min ? -1 : ret->min;
        }
        bool closed = m->p < m->end && *m->p == '}';
        ret->min = closed ? ret->min : -1;
        m->p += closed;
    }
    ret->lazy = m->p < m->end && *m->p == '?';
    m->p += ret->lazy;
    return true;
}

/* The atom that stands at `source` once more, from the program's end. */
static int again(struct maker *m, const char *source)
{
    int width;
    const char *after = m->p;
    m->p = source;
    int rc = parse_atom(m, &width);
    m->p = rc == 0 ? after : m->p;
    return rc;
}

static void split(struct maker *m, uint32_t at, uint32_t body, uint32_t after, bool lazy)
{
    m->words[at] = (struct pick_word){ OP_SPLIT, false, lazy ? after : body, lazy ? body : after };
}

/* The atom from `at`, which may be left out. */
static int optional(struct maker *m, uint32_t at, bool loop, bool lazy)
{
    int rc = insert(m, at);
    if (rc == 0 && loop) {
        rc = emit(m, OP_JUMP, false, at, 0);
    }
    if (rc == 0) {
        split(m, at, at + 1, m->count, lazy);
    }
    return rc;
}

/* The atom from `at`, of the source at `source`, so many times. */
static int repeat(struct maker *m, const char *source, uint32_t at, const struct times *t)
{
    int rc = 0;
    if (t->max == 0) {
        m->count = at;
        return 0;
    }
    for (int i = 1; rc == 0 && i < t->min; i++) {
        at = m->count;
        rc = again(m, source);
    }
    if (rc == 0 && t->max == MANY && t->min > 0) {
        rc = emit(m, OP_SPLIT, false, 0, 0);
        if (rc == 0) {
            split(m, m->count - 1, at, m->count, t->lazy);
        }
        return rc;
    }
    if (rc == 0 && t->min == 0) {
        rc = optional(m, at, t->max == MANY, t->lazy);
    }
    for (int i = t->min > 0 ? t->min : 1; rc == 0 && i < t->max; i++) {
        at = m->count;
        rc = again(m, source);
        rc = rc != 0 ? rc : optional(m, at, false, t->lazy);
    }
    return rc;
}

static int parse_sequence(struct maker *m, int *ret_width)
{
    int rc = 0;
    int sum = 0;
    while (rc == 0 && m->p < m->end && *m->p != '|' && *m->p != ')') {
        const char *source = m->p;
        uint32_t at = m->count;
        struct times t = { 1, 1, false };
        int width = 0;
        rc = parse_atom(m, &width);
        if (rc == 0 && parse_repeat(m, &t)) {
            rc = t.min < 0 ? fail(m, TPC_EINVAL, "a malformed {}") : repeat(m, source, at, &t);
        }
        bool fixed = sum != VARIES && width != VARIES && t.min == t.max && width <= PICK_TEXT_MAX;
        sum = fixed ? sum + width * t.min : VARIES;
        sum = sum > PICK_TEXT_MAX ? VARIES : sum;
    }
    *ret_width = sum;
    return rc;
}

static int parse_alternatives(struct maker *m, int *ret_width)
{
    uint32_t at = m->count;
    int other = 0;
    int rc = parse_sequence(m, ret_width);
    if (rc != 0 || m->p == m->end || *m->p != '|') {
        return rc;
    }
    /* split first, rest; first; jump end; rest */
    m->operators = true;
    rc = insert(m, at);
    uint32_t jump = m->count;
    rc = rc != 0 ? rc : emit(m, OP_JUMP, false, 0, 0);
    m->p++;
    rc = rc != 0 ? rc : parse_alternatives(m, &other); /* no deeper than there are words */
    if (rc == 0) {
        split(m, at, at + 1, jump + 1, false);
        m->words[jump].a = m->count;
        *ret_width = *ret_width == other ? other : VARIES;
    }
    return rc;
}

int pick_compile(struct tpc_arena *arena, struct tpc_str pattern, struct tpc_error *err,
                 struct pick *ret)
{
    struct maker m;
    memset(&m, 0, sizeof(m));
    m.p = pattern.ptr;
    m.end = pattern.ptr + pattern.len;
    bool fold = follows(&m, "(?i)");
    m.p += fold ? 4 : 0;
    int width = 0;
    int rc = parse_alternatives(&m, &width);
    if (rc == 0 && m.p < m.end) {
        rc = fail(&m, TPC_EINVAL, "a ) without its (");
    }
    rc = rc != 0 ? rc : emit(&m, OP_MATCH, false, 0, 0);
    if (rc != 0) {
        tpi_error_set(err, rc, "pattern", "%s", m.what);
        if (err != NULL) {
            err->column = (uint32_t) (m.p - pattern.ptr) + 1;
        }
        return rc;
    }
    struct pick_word *words = tpc_arena_take(arena, m.count * sizeof(*words));
    if (words == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "pattern", "no memory for a pattern");
    }
    memcpy(words, m.words, m.count * sizeof(*words));
    *ret = (struct pick){ words, m.count, fold, !m.operators && !fold };
    return 0;
}

/* ---- searching ---- */

struct state {
    uint32_t pc, at;
};

struct search {
    const struct pick *pick;
    const char *text;
    uint32_t len;
    struct tpc_arena *arena;
    uint8_t
        *seen[PICK_LOOKS_MAX + 1]; /* a bit for each word and place; of each depth of look-around */
    struct state *stack;
    uint32_t used, room;
    uint32_t steps;
    bool no_memory;
};

enum { STACK_FIRST = 64 };

static bool push(struct search *s, uint32_t pc, uint32_t at)
{
    if (s->used == s->room) {
        uint32_t room = s->room == 0 ? STACK_FIRST : s->room * 2;
        struct state *stack = tpc_arena_take(s->arena, room * sizeof(*stack));
        if (stack == NULL) {
            s->no_memory = true;
            return false;
        }
        if (s->used > 0) {
            memcpy(stack, s->stack, s->used * sizeof(*stack));
        }
        s->stack = stack;
        s->room = room;
    }
    s->stack[s->used++] = (struct state){ pc, at };
    return true;
}

static size_t seen_bytes(const struct search *s)
{
    return ((size_t) s->pick->count * (s->len + 1) + 7) / 8;
}

/* Clears what a depth has seen. */
static bool begin_depth(struct search *s, uint32_t depth)
{
    size_t bytes = seen_bytes(s);
    if (s->seen[depth] == NULL) {
        s->seen[depth] = tpc_arena_take(s->arena, bytes);
    }
    if (s->seen[depth] == NULL) {
        s->no_memory = true;
        return false;
    }
    memset(s->seen[depth], 0, bytes);
    s->steps += (uint32_t) (bytes / 64);
    return true;
}

static bool first_time(struct search *s, uint32_t depth, struct state at)
{
    size_t bit = (size_t) at.pc * (s->len + 1) + at.at;
    uint8_t *byte = &s->seen[depth][bit / 8];
    uint8_t mask = (uint8_t) (1U << (bit % 8));
    bool first = (*byte & mask) == 0;
    *byte |= mask;
    return first;
}

static uint32_t swap_case(uint32_t c)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter ? c ^ 0x20 : c;
}

static bool in_class(const struct pick_word *class, uint32_t c)
{
    for (uint32_t i = 1; i <= class->a; i++) {
        if (c >= class[i].a && c <= class[i].b) {
            return true;
        }
    }
    return false;
}

static bool word_char(const struct search *s, uint32_t at)
{
    unsigned char c = at < s->len ? (unsigned char) s->text[at] : 0;
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Whether a word that takes no character holds at a place. */
static bool holds(const struct search *s, const struct pick_word *w, uint32_t at)
{
    switch (w->op) {
    case OP_BEGIN:
        return at == 0;
    case OP_LAST:
        return at == s->len;
    case OP_END:
        return at == s->len || (at + 1 == s->len && s->text[at] == '\n');
    default:
        return ((at > 0 && word_char(s, at - 1)) != word_char(s, at)) != (w->flag != 0);
    }
}

/* Whether a word takes the character at a place; *at is then behind it. */
static bool takes(const struct search *s, const struct pick_word *w, uint32_t *at)
{
    if (*at >= s->len) {
        return false;
    }
    const char *p = s->text + *at;
    uint32_t c = tpi_utf8_take(&p, s->text + s->len);
    uint32_t other = s->pick->fold ? swap_case(c) : c;
    bool ok = w->op == OP_CHAR  ? c == w->a || other == w->a
              : w->op == OP_ANY ? c != '\n'
                                : (in_class(w, c) || in_class(w, other)) != (w->flag != 0);
    *at = ok ? (uint32_t) (p - s->text) : *at;
    return ok;
}

/* Goes so many characters back. False: there are not so many. */
static bool go_back(const struct search *s, uint32_t chars, uint32_t *at)
{
    for (; chars > 0; chars--) {
        if (*at == 0) {
            return false;
        }
        do {
            (*at)--;
        } while (*at > 0 && ((unsigned char) s->text[*at] & 0xC0) == 0x80);
    }
    return true;
}

static bool run(struct search *s, uint32_t depth, struct state from, uint32_t *ret_end);

static bool look(struct search *s, uint32_t depth, struct state at)
{
    const struct pick_word *w = &s->pick->words[at.pc];
    uint32_t end;
    bool found = false;
    struct state inner = { at.pc + 1, at.at };
    if (depth < PICK_LOOKS_MAX && (w->b == 0 || go_back(s, w->b - 1, &inner.at)) &&
        begin_depth(s, depth + 1)) {
        found = run(s, depth + 1, inner, &end) && (w->b == 0 || end == at.at);
    }
    return found != (w->flag != 0);
}

/* One way through the program until it ends; *ret_end is set where it matches. */
static bool follow(struct search *s, uint32_t depth, struct state now, uint32_t *ret_end)
{
    while (first_time(s, depth, now) && s->steps < PICK_STEPS_MAX && !s->no_memory) {
        const struct pick_word *w = &s->pick->words[now.pc];
        bool on = true;
        s->steps++;
        switch (w->op) {
        case OP_MATCH:
            *ret_end = now.at;
            return true;
        case OP_SPLIT:
            on = push(s, w->b, now.at);
            now.pc = w->a;
            break;
        case OP_JUMP:
            now.pc = w->a;
            break;
        case OP_LOOK:
            on = look(s, depth, now);
            now.pc = w->a;
            break;
        case OP_CHAR:
        case OP_ANY:
        case OP_CLASS:
            on = takes(s, w, &now.at);
            now.pc += 1 + (w->op == OP_CLASS ? w->a : 0);
            break;
        default:
            on = holds(s, w, now.at);
            now.pc++;
        }
        if (!on) {
            return false;
        }
    }
    return false;
}

static bool run(struct search *s, uint32_t depth, struct state from, uint32_t *ret_end)
{
    uint32_t base = s->used;
    bool found = follow(s, depth, from, ret_end);
    while (!found && s->used > base) {
        struct state next = s->stack[--s->used];
        found = follow(s, depth, next, ret_end);
    }
    s->used = base;
    return found;
}

int pick_find(const struct pick *p, struct tpc_str text, bool begin, struct tpc_arena *arena,
              struct tpc_str *ret)
{
    struct search s = { .pick = p, .text = text.ptr, .arena = arena };
    if (text.len > PICK_TEXT_MAX) {
        return TPC_ENOENT;
    }
    s.len = (uint32_t) text.len;
    s.text = text.len > 0 ? text.ptr : "";
    if (!begin_depth(&s, 0)) {
        return TPC_ENOMEM;
    }
    uint32_t last = begin ? 0 : s.len;
    for (uint32_t at = 0; at <= last; at++) {
        uint32_t end = 0;
        bool inside = at > 0 && at < s.len && ((unsigned char) s.text[at] & 0xC0) == 0x80;
        if (!inside && run(&s, 0, (struct state){ 0, at }, &end)) {
            *ret = (struct tpc_str){ s.text + at, end - at };
            return s.no_memory ? TPC_ENOMEM : 0;
        }
    }
    return s.no_memory ? TPC_ENOMEM : TPC_ENOENT;
}
