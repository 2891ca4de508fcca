/*
 * JSON straight to points. On the expected path a member costs a comparison of its key by words, the
 * number's eight bytes in a register, a comparison with the range and the point's 56 bytes.
 *
 * The text's last byte that is no blank is a '}' (else there is an error, which the general reader
 * tells): a byte at which every run of blanks or digits stops, so that these need no other end.
 */
#include "data/number.h"
#include "model/put.h"

struct reader {
    struct tpi_way way;
    struct tpi_json *r;
    const char *end; /* behind the last '}' */
    bool any_case;
};

/* A value in any form, read as the general reader reads it. Returns what follows, or NULL. */
static __attribute__((noinline)) const char *read_any(struct reader *s, const char *p,
                                                      struct tpc_value *ret)
{
    struct tpi_json *r = s->r;
    struct tpc_str text;
    tpi_json_at(r, p, TPI_JSON_AT_VALUE);
    int event = tpi_json_next(r);
    *ret = (struct tpc_value){ .type = TPC_NULL };
    switch (event) {
    case TPI_JSON_NULL:
        break;
    case TPI_JSON_BOOL:
        ret->type = TPC_BOOL;
        ret->as.b = r->i != 0;
        break;
    case TPI_JSON_INT:
        ret->type = TPC_INT;
        ret->as.i = r->i;
        break;
    case TPI_JSON_DOUBLE:
        ret->type = TPC_DOUBLE;
        ret->as.d = r->d;
        break;
    case TPI_JSON_TEXT:
        if (tpi_json_unescape(r, s->way.d->arena, &text) != 0) {
            return NULL;
        }
        *ret = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
        break;
    case TPI_JSON_ARRAY:
    case TPI_JSON_MAP:
        if (tpi_json_tree(r, event, s->way.d->arena, 0, NULL, ret) != 0) {
            return NULL;
        }
        break;
    default:
        return NULL;
    }
    return r->p;
}

static __attribute__((noinline)) const char *put_any(struct reader *s, const char *p,
                                                     uint32_t index)
{
    struct tpc_value v;
    p = read_any(s, p, &v);
    return p != NULL && tpi_put_checked(s->way.d, index, &v) ? p : NULL;
}

#if TPI_SCAN_WORDS && FLT_EVAL_METHOD == 0

/* The eight bytes at p < end, with zeros for those behind end. False: there are no eight bytes. */
TPI_HOT bool word_at(const char *begin, const char *p, const char *end, uint64_t *ret)
{
    if (end - p >= 8) {
        memcpy(ret, p, 8);
        return true;
    }
    if (end - begin < 8) {
        return false;
    }
    memcpy(ret, end - 8, 8);
    *ret >>= 8 * (8 - (end - p));
    return true;
}

/* Bytes from which '0' was taken. */
enum { POINT = '.' ^ '0', EXPONENT = 'e' ^ '0', EXPONENT_BIG = 'E' ^ '0' };

TPI_HOT bool is_exponent(uint64_t byte)
{
    return (byte | ('e' ^ 'E')) == (EXPONENT | EXPONENT_BIG);
}

/* A number that ends within eight bytes: most do. */
TPI_HOT const char *put_number(struct reader *s, const char *p, const struct tpi_key *k,
                               uint32_t index)
{
    bool negative = *p == '-';
    const char *digits = p + negative;
    uint64_t x;
    if (!word_at(s->r->begin, digits, s->end, &x)) {
        return put_any(s, p, index);
    }
    x ^= UINT64_C(0x3030303030303030);
    uint64_t odd = tpi_scan_over_nine(x);
    if (odd == 0) {
        return put_any(s, p, index);
    }
    uint32_t whole = (uint32_t) __builtin_ctzll(odd) - 7; /* in bits, as all below */
    uint64_t stop = x >> whole & 0xFF;
    if (whole == 0 || (whole > 8 && (x & 0xFF) == 0) || is_exponent(stop)) {
        return put_any(s, p, index);
    }
    if (stop != POINT) {
        int64_t i = (int64_t) tpi_scan_eight(x << (64 - whole));
        return tpi_put_int(s->way.d, k, index, negative ? -i : i) ? digits + whole / 8 : NULL;
    }
    odd &= odd - 1;
    uint32_t end = odd != 0 ? (uint32_t) __builtin_ctzll(odd) - 7 : 0;
    if (end <= whole + 8 || is_exponent(x >> end & 0xFF)) {
        return put_any(s, p, index);
    }
    /* The point taken out, the digits form one number. Both factors are exact: see
     * tpi_number_exact(). */
    uint64_t low = ((uint64_t) 1 << whole) - 1;
    uint64_t m = tpi_scan_eight(((x & low) | (x >> 8 & ~low)) << (72 - end));
    double d = (double) (int64_t) m / tpi_pow10_exact((end - whole) / 8 - 1);
    return tpi_put_number(s->way.d, k, index, negative ? -d : d) ? digits + end / 8 : NULL;
}

#else

static const char *put_number(struct reader *s, const char *p, const struct tpi_key *k,
                              uint32_t index)
{
    (void) k;
    return put_any(s, p, index);
}

#endif

TPI_HOT const char *put_literal(struct reader *s, const char *p, const struct tpi_key *k,
                                uint32_t index)
{
    if (s->end - p > 4 && memcmp(p, "true", 4) == 0) {
        return tpi_put_bool(s->way.d, k, index, true) ? p + 4 : NULL;
    }
    if (s->end - p > 5 && memcmp(p, "false", 5) == 0) {
        return tpi_put_bool(s->way.d, k, index, false) ? p + 5 : NULL;
    }
    return put_any(s, p, index);
}

/* The value of a property. Returns what follows, or NULL. */
TPI_HOT const char *put_value(struct reader *s, const char *p, uint32_t index)
{
    const struct tpi_key *k = &s->way.keys[index];
    if (!tpi_way_room(s->way.d)) {
        return NULL;
    }
    if ((unsigned char) (*p - '0') < 10 || *p == '-') {
        return put_number(s, p, k, index);
    }
    if (*p == '"') {
        const char *quote = tpi_scan_text(p + 1, s->end);
        if (quote < s->end && *quote == '"') {
            size_t len = (size_t) (quote - p) - 1;
            return tpi_put_text(s->way.d, k, index, p + 1, len) ? quote + 1 : NULL;
        }
        return put_any(s, p, index);
    }
    return *p == 't' || *p == 'f' ? put_literal(s, p, k, index) : put_any(s, p, index);
}

/* A key with its colon. *ret_index is -1 for one that is no property. Returns what follows. */
static __attribute__((noinline)) const char *find_key(struct reader *s, const char *p,
                                                      struct tpc_str *ret_key, int *ret_index)
{
    if (*p != '"') {
        return NULL;
    }
    const char *quote = tpi_scan_text(p + 1, s->end);
    if (quote == s->end) {
        return NULL;
    }
    struct tpc_str key = { p + 1, (size_t) (quote - p) - 1 };
    size_t readable = (size_t) (s->end - key.ptr);
    p = quote + 1;
    if (*quote != '"') {
        struct tpc_value v;
        p = read_any(s, key.ptr - 1, &v); /* escapes stand in it, or a fault */
        if (p == NULL || p >= s->end) {
            return NULL;
        }
        key = tpc_value_text(&v);
        readable = key.len;
    }
    p = tpi_scan_blanks(p, s->end);
    if (*p != ':') {
        return NULL;
    }
    int index = tpi_keys_find(s->way.model, key.ptr, key.len, readable);
    if (index < 0 && s->any_case) {
        index = tpi_model_find_any_case(s->way.model, key);
    }
    if (index >= 0) {
        tpi_way_learn(&s->way, (uint32_t) index);
    }
    *ret_key = key;
    *ret_index = index;
    return p + 1;
}

/* The value of a key that is no property: it must be well formed all the same. */
static __attribute__((noinline)) const char *pass_other(struct reader *s, const char *p,
                                                        struct tpc_str key)
{
    struct tpc_value v;
    if (!tpi_way_new_other(&s->way, key.ptr, key.len)) {
        return NULL;
    }
    p = read_any(s, p, &v);
    return p != NULL && tpi_put_unknown(s->way.d, key, &v) ? p : NULL;
}

TPI_HOT const char *blanks(const char *p, const char *end)
{
    return (unsigned char) *p > ' ' ? p : tpi_scan_blanks(p, end);
}

/* A member. Returns what follows, or NULL. */
TPI_HOT const char *read_member(struct reader *s, const char *p)
{
    uint32_t index = tpi_way_guess(&s->way);
    if (__builtin_expect(index < s->way.count, 1) &&
        tpi_pattern_at(&s->way.keys[index].json, p, s->end)) {
        p += s->way.keys[index].json.len;
    } else {
        struct tpc_str key;
        int found;
        p = find_key(s, p, &key, &found);
        if (p == NULL) {
            return NULL;
        }
        if (found < 0) {
            return pass_other(s, blanks(p, s->end), key);
        }
        index = (uint32_t) found;
    }
    s->way.place = index + 1;
    p = tpi_way_new(&s->way, index) ? put_value(s, blanks(p, s->end), index) : NULL;
    return p;
}

static const char *read_members(struct reader *s, const char *p)
{
    p = blanks(p, s->end);
    if (*p == '}') {
        return p + 1;
    }
    for (;;) {
        p = read_member(s, p);
        if (p == NULL || p >= s->end) {
            return NULL;
        }
        p = blanks(p, s->end);
        if (*p != ',') {
            return *p == '}' ? p + 1 : NULL;
        }
        p = blanks(p + 1, s->end);
    }
}

bool tpi_direct_json(struct tpi_direct *d, struct tpi_json *r, uint32_t flags)
{
    struct reader s = { .r = r, .end = r->end, .any_case = (flags & TPI_DIRECT_ANY_CASE) != 0 };
    while (s.end > r->p && (unsigned char) s.end[-1] <= ' ') {
        s.end--;
    }
    if (s.end == r->p || s.end[-1] != '}') {
        return false;
    }
    tpi_way_begin(&s.way, d, (flags & TPI_DIRECT_UNIQUE) != 0);
    const char *p = read_members(&s, r->p);
    if (p == NULL) {
        return false;
    }
    r->depth--;
    tpi_json_at(r, p, TPI_JSON_AT_AFTER_VALUE);
    return true;
}
