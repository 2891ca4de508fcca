#include "value.h"

#include <math.h>
#include <string.h>

enum { WORDS = 4 };

/* ---- words ---- */

static uint16_t swapped(uint16_t word)
{
    return (uint16_t) (word << 8 | word >> 8);
}

static uint16_t word_at(const struct mb_shape *s, const uint8_t *wire, uint32_t i)
{
    uint16_t word = (uint16_t) (wire[2 * i] << 8 | wire[2 * i + 1]);
    return s->swap_bytes ? swapped(word) : word;
}

/* All registers of a number as one, up to 64 bits. */
static uint64_t gather(const struct mb_shape *s, const uint8_t *wire)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < s->count && i < WORDS; i++) {
        all = all << 16 | word_at(s, wire, s->swap_words ? s->count - 1u - i : i);
    }
    return all;
}

static void spread(const struct mb_shape *s, uint64_t all, uint8_t *wire)
{
    for (uint32_t i = 0; i < s->count && i < WORDS; i++) {
        uint32_t at = s->swap_words ? i : s->count - 1u - i;
        uint16_t word = (uint16_t) (all >> 16 * i);
        word = s->swap_bytes ? swapped(word) : word;
        wire[2 * at] = (uint8_t) (word >> 8);
        wire[2 * at + 1] = (uint8_t) word;
    }
}

/* ---- floats ---- */

/* IEEE 754-2008 binary16. */
static double half_to_double(uint16_t h)
{
    int exponent = h >> 10 & 31;
    double fraction = h & 1023;
    double v = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    if (exponent == 31) {
        v = fraction != 0 ? NAN : INFINITY;
    }
    return (h & 0x8000) != 0 ? -v : v;
}

/* To the nearest, ties to even. False if it is out of range. */
static bool double_to_half(double v, uint16_t *ret)
{
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    double a = fabs(v);
    int exponent;
    (void) frexp(a, &exponent);
    exponent = exponent < -13 ? -13 : exponent; /* below it the fraction loses digits */
    double units = nearbyint(ldexp(a, 11 - exponent));
    if (units == 2048) {
        units = 1024;
        exponent++;
    }
    if (!isfinite(v) || exponent > 16) {
        return false;
    }
    uint32_t bits = (uint32_t) units; /* below 1024 the number is subnormal */
    bits = bits < 1024 ? bits : (uint32_t) (exponent + 14) << 10 | (bits & 1023);
    *ret = (uint16_t) (sign | bits);
    return true;
}

static double as_float(const struct mb_shape *s, uint64_t raw)
{
    double d;
    float f;
    uint32_t half = (uint32_t) raw;
    if (s->width == 64) {
        memcpy(&d, &raw, sizeof(d));
        return d;
    }
    if (s->width == 32) {
        memcpy(&f, &half, sizeof(f));
        return (double) f;
    }
    return half_to_double((uint16_t) raw);
}

/* ---- numbers ---- */

static double rounded(const struct mb_shape *s, double d)
{
    static const double tens[] = { 1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9 };
    if (s->decimals < 0 || s->decimals > 9) {
        return d;
    }
    double by = tens[s->decimals];
    double r = round(d * by) / by;
    return isfinite(r) ? r : d;
}

static bool bcd(const struct mb_shape *s, uint64_t all, int64_t *ret)
{
    int64_t n = 0;
    for (int shift = s->width - 4; shift >= 0; shift -= 4) {
        int64_t digit = (int64_t) (all >> shift & 15);
        if (digit > 9) {
            return false;
        }
        n = n * 10 + digit;
    }
    *ret = n;
    return true;
}

/* The number before scaling; false if an unsigned one is above int64, which is then in *ret_big. */
static bool as_int(const struct mb_shape *s, uint64_t raw, int64_t *ret, double *ret_big)
{
    uint64_t sign = 1ull << (s->width - 1);
    if (s->type == MB_UINT && s->width == 64 && raw > INT64_MAX) {
        *ret_big = (double) raw;
        return false;
    }
    *ret = s->type == MB_INT && s->width < 64 ? (int64_t) ((raw ^ sign) - sign) : (int64_t) raw;
    return true;
}

static const struct tpc_str *name_of(const struct mb_shape *s, int64_t raw)
{
    for (uint32_t i = 0; i < s->name_count; i++) {
        if (s->names[i].raw == raw) {
            return &s->names[i].text;
        }
    }
    return NULL;
}

static double scaled(const struct mb_shape *s, double d)
{
    return rounded(s, d * s->multiplier / s->divider + s->offset);
}

static bool take_double(const struct mb_shape *s, double d, struct tpc_value *ret)
{
    d = mb_scaled(s) ? scaled(s, d) : rounded(s, d);
    *ret = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = d };
    return isfinite(d);
}

static bool take_int(const struct mb_shape *s, int64_t i, struct tpc_value *ret)
{
    const struct tpc_str *name = name_of(s, i);
    if (name != NULL) {
        *ret = (struct tpc_value){ .type = TPC_TEXT, .len = name->len, .as.text = name->ptr };
        return true;
    }
    if (mb_scaled(s)) {
        return take_double(s, (double) i, ret);
    }
    *ret = (struct tpc_value){ .type = TPC_INT, .as.i = i };
    return true;
}

static void take_bool(const struct mb_shape *s, bool b, struct tpc_value *ret)
{
    const struct tpc_str *name = name_of(s, b);
    *ret = name != NULL
               ? (struct tpc_value){ .type = TPC_TEXT, .len = name->len, .as.text = name->ptr }
               : (struct tpc_value){ .type = TPC_BOOL, .as.b = b };
}

static bool number(const struct mb_shape *s, const uint8_t *wire, struct tpc_value *ret)
{
    uint64_t raw = gather(s, wire);
    int64_t i;
    double d;
    if (s->width == 8) {
        raw = s->high_byte ? raw >> 8 & 255 : raw & 255;
    }
    switch (s->type) {
    case MB_FLOAT:
        return take_double(s, as_float(s, raw), ret);
    case MB_BCD:
        return bcd(s, raw, &i) && take_int(s, i, ret);
    default:
        return as_int(s, raw, &i, &d) ? take_int(s, i, ret) : take_double(s, d, ret);
    }
}

/* ---- texts and lists ---- */

static uint8_t byte_at(const struct mb_shape *s, const uint8_t *wire, uint32_t i)
{
    return wire[s->swap_bytes ? i ^ 1 : i];
}

/* Up to the first zero; what is no UTF-8 becomes "?", for many devices send Latin-1. */
static void text(const struct mb_shape *s, const uint8_t *wire, uint8_t *space,
                 struct tpc_value *ret)
{
    size_t len = 0;
    for (uint32_t i = 0; i < 2u * s->count && i < MB_TEXT_MAX; i++) {
        uint8_t c = byte_at(s, wire, i);
        if (c == 0) {
            break;
        }
        space[len++] = c < 32 || c > 126 ? '?' : c;
    }
    while (len > 0 && space[len - 1] == ' ') {
        len--;
    }
    *ret = (struct tpc_value){ .type = TPC_TEXT, .len = len, .as.text = (const char *) space };
}

static void hex(const struct mb_shape *s, const uint8_t *wire, uint8_t *space,
                struct tpc_value *ret)
{
    static const char digits[] = "0123456789abcdef";
    size_t len = 0;
    for (uint32_t i = 0; i < 2u * s->count && i < MB_TEXT_MAX; i++) {
        uint8_t c = byte_at(s, wire, i);
        space[len++] = (uint8_t) digits[c >> 4];
        space[len++] = (uint8_t) digits[c & 15];
    }
    *ret = (struct tpc_value){ .type = TPC_TEXT, .len = len, .as.text = (const char *) space };
}

static void list(const uint8_t *bits, uint32_t first, uint32_t count, uint8_t *space,
                 struct tpc_value *ret)
{
    struct tpc_value v;
    uint32_t n = 0;
    for (; n < count && n < MB_BITS_AS_LIST; n++) {
        uint32_t at = first + n;
        v = (struct tpc_value){ .type = TPC_BOOL, .as.b = (bits[at / 8] >> at % 8 & 1) != 0 };
        memcpy(space + n * sizeof(v), &v, sizeof(v));
    }
    *ret = (struct tpc_value){ .type = TPC_ARRAY,
                               .len = n,
                               .as.items = (const struct tpc_value *) (const void *) space };
}

/* Bits of registers, the lowest of the first register first. */
static void list_of_registers(const struct mb_shape *s, const uint8_t *wire, uint8_t *space,
                              struct tpc_value *ret)
{
    uint8_t bits[MB_BITS_AS_LIST / 8];
    uint32_t words = s->count < MB_BITS_AS_LIST / 16 ? s->count : MB_BITS_AS_LIST / 16;
    for (uint32_t i = 0; i < words; i++) {
        uint16_t word = word_at(s, wire, i);
        bits[2 * i] = (uint8_t) word;
        bits[2 * i + 1] = (uint8_t) (word >> 8);
    }
    list(bits, 0, words * 16, space, ret);
}

bool mb_value_of_registers(const struct mb_shape *s, const uint8_t *wire, uint8_t *space,
                           struct tpc_value *ret)
{
    switch (s->type) {
    case MB_STRING:
        text(s, wire, space, ret);
        return true;
    case MB_HEX:
        hex(s, wire, space, ret);
        return true;
    case MB_BITS:
        list_of_registers(s, wire, space, ret);
        return true;
    case MB_BOOL:
        take_bool(s, s->bit < 0 ? gather(s, wire) != 0 : (gather(s, wire) >> s->bit & 1) != 0, ret);
        return true;
    default:
        return number(s, wire, ret);
    }
}

bool mb_value_of_bits(const struct mb_shape *s, const uint8_t *data, uint32_t first, uint8_t *space,
                      struct tpc_value *ret)
{
    if (s->type == MB_BITS) {
        list(data, first, s->count, space, ret);
        return true;
    }
    bool on = (data[first / 8] >> first % 8 & 1) != 0;
    if (s->type == MB_BOOL) {
        take_bool(s, on, ret);
        return true;
    }
    return take_int(s, on, ret);
}

/* ---- back ---- */

static bool raw_of_name(const struct mb_shape *s, const struct tpc_value *v, int64_t *ret)
{
    struct tpc_str text = tpc_value_text(v);
    for (uint32_t i = 0; i < s->name_count; i++) {
        if (tpc_str_equal(s->names[i].text, text)) {
            *ret = s->names[i].raw;
            return true;
        }
    }
    return false;
}

/* true, false, 1, 0, or a name of them. */
static const char *to_bool(const struct mb_shape *s, const struct tpc_value *v, bool *ret)
{
    int64_t i = -1;
    double d = -1;
    if (v->type == TPC_TEXT) {
        (void) raw_of_name(s, v, &i);
    } else if (v->type == TPC_BOOL) {
        i = v->as.b;
    } else if (tpc_value_double(v, &d) == 0) {
        i = d == 0 ? 0 : d == 1 ? 1 : -1;
    }
    *ret = i == 1;
    return i == 0 || i == 1 ? NULL : "no boolean";
}

static const char *whole(const struct mb_shape *s, double d, uint64_t *ret)
{
    double top = ldexp(1, s->type == MB_UINT ? s->width : s->width - 1);
    double low = s->type == MB_UINT ? 0 : -top;
    d = round(d);
    if (!(d >= low && d < top)) {
        return "out of the range of its type";
    }
    *ret = d < 0 ? (uint64_t) (int64_t) d : (uint64_t) d;
    return NULL;
}

static const char *to_bcd(const struct mb_shape *s, double d, uint64_t *ret)
{
    uint64_t all = 0;
    d = round(d);
    if (!(d >= 0 && d < pow(10, s->width / 4))) {
        return "has more digits than its registers";
    }
    uint64_t n = (uint64_t) d;
    for (int shift = 0; n > 0; shift += 4, n /= 10) {
        all |= n % 10 << shift;
    }
    *ret = all;
    return NULL;
}

static const char *to_float(const struct mb_shape *s, double d, uint64_t *ret)
{
    float f = (float) d;
    uint32_t single;
    uint16_t half;
    if (s->width == 64) {
        memcpy(ret, &d, sizeof(d));
        return NULL;
    }
    if (s->width == 32) {
        memcpy(&single, &f, sizeof(f));
        *ret = single;
        return isfinite(f) ? NULL : "out of the range of its type";
    }
    if (!double_to_half(d, &half)) {
        return "out of the range of its type";
    }
    *ret = half;
    return NULL;
}

/* A whole number that is not scaled: exact, where a double has 53 bits. */
static const char *to_exact(const struct mb_shape *s, int64_t i, uint64_t *ret)
{
    int64_t top =
        s->width == 64 ? INT64_MAX : (1ll << (s->type == MB_UINT ? s->width : s->width - 1)) - 1;
    int64_t low = s->type == MB_UINT ? 0 : -top - 1;
    *ret = (uint64_t) i;
    return i < low || i > top ? "out of the range of its type" : NULL;
}

static const char *to_number(const struct mb_shape *s, const struct tpc_value *v, uint64_t *ret)
{
    int64_t i;
    double d;
    if (v->type == TPC_TEXT) {
        if (!raw_of_name(s, v, &i)) {
            return "no name of a number";
        }
        d = (double) i;
    } else if (v->type == TPC_INT && !mb_scaled(s) && (s->type == MB_INT || s->type == MB_UINT)) {
        return to_exact(s, v->as.i, ret);
    } else if (tpc_value_double(v, &d) != 0 || !isfinite(d)) {
        return "no number";
    } else {
        d = mb_scaled(s) ? (d - s->offset) * s->divider / s->multiplier : d;
    }
    if (s->type == MB_FLOAT) {
        return to_float(s, d, ret);
    }
    if (s->type == MB_BCD) {
        return to_bcd(s, d, ret);
    }
    return whole(s, d, ret);
}

static const char *to_text(const struct mb_shape *s, const struct tpc_value *v, uint8_t *wire)
{
    if (v->type != TPC_TEXT) {
        return "no text";
    }
    if (v->len > 2u * s->count) {
        return "longer than its registers";
    }
    memset(wire, 0, 2u * s->count);
    for (uint32_t i = 0; i < v->len; i++) {
        wire[s->swap_bytes ? i ^ 1 : i] = (uint8_t) v->as.text[i];
    }
    return NULL;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87 : -1;
}

static const char *to_hex(const struct mb_shape *s, const struct tpc_value *v, uint8_t *wire)
{
    if (v->type != TPC_TEXT || v->len != 4u * s->count) {
        return "not four hexadecimal digits a register";
    }
    for (uint32_t i = 0; i < v->len; i += 2) {
        int high = digit_of(v->as.text[i]), low = digit_of(v->as.text[i + 1]);
        if (high < 0 || low < 0) {
            return "not hexadecimal";
        }
        wire[s->swap_bytes ? (i / 2) ^ 1 : i / 2] = (uint8_t) (high << 4 | low);
    }
    return NULL;
}

const char *mb_value_to_registers(const struct mb_shape *s, const struct tpc_value *v,
                                  uint8_t *wire)
{
    uint64_t raw = 0;
    switch (s->type) {
    case MB_STRING:
        return to_text(s, v, wire);
    case MB_HEX:
        return to_hex(s, v, wire);
    case MB_BITS:
        return "a list of bits of registers cannot be written";
    default:
        break;
    }
    bool on = false;
    const char *bad = s->type == MB_BOOL ? to_bool(s, v, &on) : to_number(s, v, &raw);
    if (s->type == MB_BOOL) {
        raw = (uint64_t) on << (s->bit >= 0 ? s->bit : 0);
    }
    if (bad == NULL && s->width == 8) {
        raw = s->high_byte ? raw << 8 & 0xff00 : raw & 255;
    }
    if (bad == NULL) {
        spread(s, raw, wire);
    }
    return bad;
}

uint16_t mb_write_mask(const struct mb_shape *s)
{
    uint16_t mask = 0xffff;
    if (s->type == MB_BOOL && s->bit >= 0) {
        mask = (uint16_t) (1 << s->bit);
    } else if (s->width == 8 && (s->type == MB_INT || s->type == MB_UINT)) {
        mask = s->high_byte ? 0xff00 : 0x00ff;
    }
    return s->swap_bytes ? swapped(mask) : mask;
}

const char *mb_value_to_bits(const struct mb_shape *s, const struct tpc_value *v, uint8_t *data)
{
    bool on;
    memset(data, 0, (s->count + 7u) / 8);
    if (s->type == MB_BITS) {
        if (v->type != TPC_ARRAY || v->len != s->count) {
            return "no list of as many booleans";
        }
        for (uint32_t i = 0; i < s->count; i++) {
            if (to_bool(s, &v->as.items[i], &on) != NULL) {
                return "no list of booleans";
            }
            data[i / 8] |= (uint8_t) (on << i % 8);
        }
        return NULL;
    }
    const char *bad = to_bool(s, v, &on);
    data[0] = on;
    return bad;
}
