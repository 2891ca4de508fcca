#include "data/json_read.h"

#include "base/error.h"
#include "data/json_scan.h"
#include "data/number.h"
#include "data/tree.h"
#include "data/utf8.h"

#include <math.h>

/* What may come next, r->expect. */
enum {
    AT_VALUE =
        TPI_JSON_AT_VALUE, /* a value: at the top, after a colon, after a comma of an array */
    AT_AFTER_VALUE =
        TPI_JSON_AT_AFTER_VALUE, /* ',' or the container's end; at the top the text's */
    AT_FIRST_ITEM = 2,           /* a value or ']' */
    AT_FIRST_KEY = 3,            /* a key or '}' */
    AT_FAILED = 4
};

#define HOT TPI_HOT

static const char expected_value[] = "a value was expected";

static __attribute__((cold, noinline)) int fail(struct tpi_json *r, const char *at, const char *why)
{
    r->expect = AT_FAILED;
    r->code = TPC_EDECODE;
    r->why = why;
    r->p = at;
    return TPI_JSON_ERROR;
}

/* ---- text ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    if (end - p < 4) {
        return -1;
    }
    int32_t x = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) {
            return -1;
        }
        x = x * 16 + digit;
    }
    return x;
}

/* The code point of "uXXXX" or a pair of them at p; *ret_next is what follows. -1 = malformed. */
static int32_t unicode_escape(const char *p, const char *end, const char **ret_next)
{
    int32_t x = hex4(p + 1, end);
    *ret_next = p + 5;
    if (x < 0 || (x >= 0xDC00 && x <= 0xDFFF)) {
        return -1;
    }
    if (x < 0xD800 || x > 0xDBFF) {
        return x;
    }
    if (end - p < 11 || p[5] != '\\' || p[6] != 'u') {
        return -1;
    }
    int32_t low = hex4(p + 7, end);
    if (low < 0xDC00 || low > 0xDFFF) {
        return -1;
    }
    *ret_next = p + 11;
    return 0x10000 + ((x - 0xD800) << 10) + (low - 0xDC00);
}

/* What one-letter escapes stand for; 0 = no such escape. */
static char short_escape(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return '\0';
    }
}

/* The rest of a text from its first byte that is not plain. Returns the closing quote, or NULL. */
static __attribute__((noinline)) const char *scan_odd(struct tpi_json *r, const char *p)
{
    for (;; p = tpi_scan_text(p, r->end)) {
        if (p == r->end) {
            fail(r, p, "the text does not end");
            return NULL;
        }
        if (*p == '"') {
            return p;
        }
        if ((unsigned char) *p < 0x20) {
            fail(r, p, "a control byte stands in a text");
            return NULL;
        }
        if (*p != '\\') {
            size_t step = tpi_utf8_step(p, r->end);
            if (step == 0) {
                fail(r, p, "the text is not UTF-8");
                return NULL;
            }
            p += step; /* the scan goes on behind it */
            continue;
        }
        r->escaped = true;
        const char *next = p + 2;
        bool known = r->end - p >= 2 && short_escape(p[1]) != '\0';
        if (r->end - p >= 2 && p[1] == 'u') {
            known = unicode_escape(p + 1, r->end, &next) >= 0;
        }
        if (!known) {
            fail(r, p, "the escape is malformed");
            return NULL;
        }
        p = next;
    }
}

/* A text whose opening quote is at p; fills text and escaped. Returns what follows, or NULL. */
HOT const char *read_text(struct tpi_json *r, const char *p)
{
    p++;
    const char *quote = tpi_scan_plain(p, r->end);
    r->escaped = false;
    if (__builtin_expect(quote == r->end || *quote != '"', 0)) {
        quote = scan_odd(r, quote);
        if (quote == NULL) {
            return NULL;
        }
    }
    r->text = (struct tpc_str){ p, (size_t) (quote - p) };
    return quote + 1;
}

size_t tpi_json_unescape_to(struct tpc_str escaped, char *out)
{
    const char *p = escaped.ptr;
    const char *end = p + escaped.len;
    size_t n = 0;
    while (p < end) {
        if (*p != '\\') {
            out[n++] = *p++;
            continue;
        }
        if (p[1] == 'u') {
            n += tpi_utf8_put((uint32_t) unicode_escape(p + 1, end, &p), out + n);
            continue;
        }
        out[n++] = short_escape(p[1]);
        p += 2;
    }
    return n;
}

int tpi_json_unescape(const struct tpi_json *r, struct tpc_arena *arena, struct tpc_str *ret)
{
    if (!r->escaped) {
        *ret = r->text;
        return 0;
    }
    char *copy = tpc_arena_take(arena, r->text.len);
    if (copy == NULL) {
        return TPC_ENOMEM;
    }
    *ret = (struct tpc_str){ copy, tpi_json_unescape_to(r->text, copy) };
    return 0;
}

/* ---- numbers ---- */

enum { EXPONENT_MAX = 1000000 };

static const char *read_exponent(const char *p, const char *end, int64_t *exp10)
{
    bool negative = false;
    p++;
    if (p < end && (*p == '+' || *p == '-')) {
        negative = *p++ == '-';
    }
    if (!tpi_scan_is_digit(p, end)) {
        return NULL;
    }
    int64_t e = 0;
    for (; tpi_scan_is_digit(p, end); p++) {
        if (e < EXPONENT_MAX) {
            e = e * 10 + (*p - '0');
        }
    }
    *exp10 += negative ? -e : e;
    return p;
}

static __attribute__((noinline)) int slow_double(struct tpi_json *r, const char *digits,
                                                 const char *end, bool negative)
{
    double d = tpi_number_slow(digits, end);
    if (!isfinite(d)) {
        return fail(r, digits, "the number is beyond double");
    }
    r->d = negative ? -d : d;
    r->p = end;
    return TPI_JSON_DOUBLE;
}

/* A number whose first byte, '-' or a digit, is at p. */
HOT int read_number(struct tpi_json *r, const char *p)
{
    const char *end = r->end;
    bool negative = *p == '-';
    p += negative;
    const char *digits = p;
    uint64_t m = 0;
    if (!tpi_scan_is_digit(p, end)) {
        return fail(r, p, "a digit was expected");
    }
    p = tpi_scan_digits(p, end, &m);
    int64_t count = p - digits;
    if (*digits == '0' && count > 1) {
        return fail(r, digits, "a number starts with 0");
    }
    if (p == end || (*p != '.' && *p != 'e' && *p != 'E')) {
        if (count < 19 || (count == 19 && m <= (uint64_t) INT64_MAX + negative)) {
            r->i = (int64_t) (negative ? 0 - m : m);
            r->p = p;
            return TPI_JSON_INT;
        }
        return slow_double(r, digits, p, negative);
    }
    int64_t exp10 = 0;
    if (*p == '.') {
        const char *fraction = ++p;
        p = tpi_scan_digits(p, end, &m);
        exp10 = fraction - p;
        if (exp10 == 0) {
            return fail(r, p, "a digit was expected");
        }
        count -= exp10;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *e = p;
        p = read_exponent(p, end, &exp10);
        if (p == NULL) {
            return fail(r, e, "the exponent has no digits");
        }
    }
    double d;
    if (count > 19 || exp10 < -1000 || exp10 > 1000 || !tpi_number_exact(m, (int32_t) exp10, &d)) {
        return slow_double(r, digits, p, negative);
    }
    r->d = negative ? -d : d;
    r->p = p;
    return TPI_JSON_DOUBLE;
}

/* ---- grammar ---- */

HOT int open_container(struct tpi_json *r, const char *p, bool map)
{
    if (r->depth == TPC_JSON_MAX_DEPTH) {
        fail(r, p, "more than 32 arrays and maps inside one another");
        r->code = TPC_ETOOBIG;
        return TPI_JSON_ERROR;
    }
    r->maps = (r->maps & ~((uint32_t) 1 << r->depth)) | (uint32_t) map << r->depth;
    r->depth++;
    r->p = p + 1;
    r->expect = map ? AT_FIRST_KEY : AT_FIRST_ITEM;
    return map ? TPI_JSON_MAP : TPI_JSON_ARRAY;
}

static inline bool literal(const struct tpi_json *r, const char *p, const char *word, size_t n)
{
    return (size_t) (r->end - p) >= n && memcmp(p, word, n) == 0;
}

HOT int read_value(struct tpi_json *r, const char *p)
{
    r->expect = AT_AFTER_VALUE;
    switch (*p) {
    case '"':
        p = read_text(r, p);
        if (p == NULL) {
            return TPI_JSON_ERROR;
        }
        r->p = p;
        return TPI_JSON_TEXT;
    case '{':
        return open_container(r, p, true);
    case '[':
        return open_container(r, p, false);
    case 't':
        if (!literal(r, p, "true", 4)) {
            return fail(r, p, expected_value);
        }
        r->i = 1;
        r->p = p + 4;
        return TPI_JSON_BOOL;
    case 'f':
        if (!literal(r, p, "false", 5)) {
            return fail(r, p, expected_value);
        }
        r->i = 0;
        r->p = p + 5;
        return TPI_JSON_BOOL;
    case 'n':
        if (!literal(r, p, "null", 4)) {
            return fail(r, p, expected_value);
        }
        r->p = p + 4;
        return TPI_JSON_NULL;
    default:
        if (*p != '-' && (unsigned char) (*p - '0') > 9) {
            return fail(r, p, expected_value);
        }
        return read_number(r, p);
    }
}

/* A key with its colon. */
HOT int read_key(struct tpi_json *r, const char *p)
{
    if (p == r->end || *p != '"') {
        return fail(r, p, "a key was expected");
    }
    p = read_text(r, p);
    if (p == NULL) {
        return TPI_JSON_ERROR;
    }
    p = tpi_scan_blanks(p, r->end);
    if (p == r->end || *p != ':') {
        return fail(r, p, "':' was expected");
    }
    r->p = p + 1;
    r->expect = AT_VALUE;
    return TPI_JSON_KEY;
}

HOT int close_container(struct tpi_json *r, const char *p, bool map)
{
    r->depth--;
    r->p = p + 1;
    r->expect = AT_AFTER_VALUE;
    return map ? TPI_JSON_MAP_END : TPI_JSON_ARRAY_END;
}

static inline bool in_map(const struct tpi_json *r)
{
    return (r->maps >> (r->depth - 1) & 1) != 0;
}

/* After a value: the comma and what follows it, or an end. */
HOT int read_after(struct tpi_json *r, const char *p)
{
    if (r->depth == 0) {
        return p == r->end ? TPI_JSON_END : fail(r, p, "text follows the value");
    }
    bool map = in_map(r);
    if (p == r->end || *p != ',') {
        if (p < r->end && *p == (map ? '}' : ']')) {
            return close_container(r, p, map);
        }
        return fail(r, p, map ? "',' or '}' was expected" : "',' or ']' was expected");
    }
    p = tpi_scan_blanks(p + 1, r->end);
    if (map) {
        return read_key(r, p);
    }
    return p == r->end ? fail(r, p, expected_value) : read_value(r, p);
}

HOT int next_value(struct tpi_json *r)
{
    const char *p = tpi_scan_blanks(r->p, r->end);
    return p == r->end ? fail(r, p, expected_value) : read_value(r, p);
}

HOT int next_event(struct tpi_json *r)
{
    const char *p = tpi_scan_blanks(r->p, r->end);
    switch (r->expect) {
    case AT_AFTER_VALUE:
        return read_after(r, p);
    case AT_FIRST_KEY:
        if (p < r->end && *p == '}') {
            return close_container(r, p, true);
        }
        return read_key(r, p);
    case AT_FIRST_ITEM:
        if (p < r->end && *p == ']') {
            return close_container(r, p, false);
        }
        break;
    case AT_VALUE:
        break;
    default:
        return TPI_JSON_ERROR;
    }
    return p == r->end ? fail(r, p, expected_value) : read_value(r, p);
}

void tpi_json_begin(struct tpi_json *r, struct tpc_str text)
{
    const char *begin = text.ptr != NULL ? text.ptr : "";
    *r = (struct tpi_json){ .p = begin, .begin = begin, .end = begin + text.len };
}

int tpi_json_next(struct tpi_json *r)
{
    return next_event(r);
}

int tpi_json_skip(struct tpi_json *r, int event)
{
    if (event == TPI_JSON_KEY) {
        event = tpi_json_next(r);
    }
    if (event == TPI_JSON_MAP || event == TPI_JSON_ARRAY) {
        uint8_t outside = (uint8_t) (r->depth - 1);
        do {
            event = tpi_json_next(r);
        } while (event != TPI_JSON_ERROR && r->depth > outside);
    }
    return event == TPI_JSON_ERROR ? TPI_JSON_ERROR : 0;
}

/* ---- errors ---- */

int tpi_json_fail_at(const struct tpi_json *r, const char *at, int code, const char *why,
                     struct tpc_error *err)
{
    if (err == NULL) {
        return code;
    }
    uint32_t line = 1;
    const char *start = r->begin;
    for (const char *p = r->begin; p < at; p++) {
        if (*p == '\n') {
            line++;
            start = p + 1;
        }
    }
    tpi_error_set(err, code, "json", "%s", why);
    err->line = line;
    err->column = (uint32_t) (at - start) + 1;
    return code;
}

int tpi_json_fail(const struct tpi_json *r, struct tpc_error *err)
{
    return tpi_json_fail_at(r, r->p, r->code, r->why, err);
}

/* ---- trees ---- */

/* The text of the last event, in the arena where it must be. */
HOT int keep_text(const struct tpi_json *r, struct tpc_arena *arena, uint32_t flags,
                  struct tpc_str *ret)
{
    if (r->escaped) {
        return tpi_json_unescape(r, arena, ret);
    }
    *ret = r->text;
    if ((flags & TPC_JSON_COPY) != 0 && r->text.len > 0) {
        char *copy = tpc_arena_take(arena, r->text.len);
        if (copy == NULL) {
            return TPC_ENOMEM;
        }
        memcpy(copy, r->text.ptr, r->text.len);
        ret->ptr = copy;
    }
    return 0;
}

/* The scalar of the last event as the next value. */
HOT int put_scalar(const struct tpi_json *r, int event, struct tpi_tree *t, uint32_t flags)
{
    struct tpc_value *v = tpi_tree_next(t);
    struct tpc_str text;
    int rc;
    if (v == NULL) {
        return TPC_ENOMEM;
    }
    v->reserved = 0;
    v->len = 0;
    switch (event) {
    case TPI_JSON_INT:
        v->type = TPC_INT;
        v->as.i = r->i;
        return 0;
    case TPI_JSON_DOUBLE:
        v->type = TPC_DOUBLE;
        v->as.d = r->d;
        return 0;
    case TPI_JSON_TEXT:
        rc = keep_text(r, t->arena, flags, &text);
        if (rc == 0) {
            v->type = TPC_TEXT;
            v->len = text.len;
            v->as.text = text.ptr;
        }
        return rc;
    case TPI_JSON_BOOL:
        v->type = TPC_BOOL;
        v->as.i = 0;
        v->as.b = r->i != 0;
        return 0;
    default:
        v->type = TPC_NULL;
        v->as.i = 0;
        return 0;
    }
}

/* One event into the tree. Returns 0, TPI_TREE_DUPLICATE, TPC_ENOMEM, TPC_ETOOBIG. */
HOT int grow_tree(const struct tpi_json *r, int event, struct tpi_tree *t, uint32_t flags)
{
    struct tpc_str key;
    int rc;
    switch (event) {
    case TPI_JSON_KEY:
        rc = keep_text(r, t->arena, flags, &key);
        return rc != 0 ? rc : tpi_tree_key(t, key);
    case TPI_JSON_MAP:
    case TPI_JSON_ARRAY:
        return tpi_tree_open(t, event == TPI_JSON_MAP);
    case TPI_JSON_MAP_END:
    case TPI_JSON_ARRAY_END:
        return tpi_tree_close(t);
    default:
        return put_scalar(r, event, t, flags);
    }
}

static __attribute__((cold, noinline)) int
tree_failed(const struct tpi_json *r, int rc, const struct tpi_tree *t, struct tpc_error *err)
{
    if (rc == TPC_ENOMEM) {
        return tpi_error_set(err, TPC_ENOMEM, "json", "out of memory");
    }
    if (rc == TPI_TREE_DUPLICATE) {
        tpi_json_fail_at(r, r->text.ptr - 1, TPC_EDECODE, "the key is there twice", err);
        if (err != NULL) {
            tpi_tree_path(t, err->path, sizeof(err->path));
        }
        return TPC_EDECODE;
    }
    return tpi_json_fail_at(r, r->p, rc, "more than 32 arrays and maps inside one another", err);
}

int tpi_json_tree(struct tpi_json *r, int event, struct tpc_arena *arena, uint32_t flags,
                  struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    if (event == TPI_JSON_KEY) {
        event = next_event(r);
    }
    tpi_tree_init(&t, arena, (flags & TPC_JSON_ALLOW_DUPLICATES) != 0);
    for (;;) {
        if (event == TPI_JSON_ERROR) {
            return tpi_json_fail(r, err);
        }
        int rc = grow_tree(r, event, &t, flags);
        if (rc != 0) {
            return tree_failed(r, rc, &t, err);
        }
        if (event == TPI_JSON_KEY) {
            /* Only a value can follow: no need to go through what may come. */
            event = next_value(r);
            continue;
        }
        if (t.depth == 0) {
            *ret = t.slots[0].value;
            return 0;
        }
        event = next_event(r);
    }
}

int tpc_json_parse(struct tpc_arena *arena, struct tpc_str text, uint32_t flags,
                   struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_json r;
    struct tpc_value v;
    if (arena == NULL || ret == NULL || (text.ptr == NULL && text.len != 0)) {
        return tpi_error_set(err, TPC_EINVAL, "json", "arena and ret must not be NULL");
    }
    tpi_json_begin(&r, text);
    int rc = tpi_json_tree(&r, next_event(&r), arena, flags, err, &v);
    if (rc != 0) {
        return rc;
    }
    if (next_event(&r) != TPI_JSON_END) {
        return tpi_json_fail(&r, err);
    }
    *ret = v;
    return 0;
}
