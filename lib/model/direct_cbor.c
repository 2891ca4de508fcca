/*
 * CBOR straight to points: one map of definite length with texts as keys and scalars as values
 * (RFC 8949 section 3), as devices send it. Anything else is the general reader's.
 */
#include <math.h>

#include "model/put.h"

/* Major types, in the upper three bits of an initial byte. */
enum {
    MAJOR_UINT = 0x00,
    MAJOR_NEGINT = 0x20,
    MAJOR_TEXT = 0x60,
    MAJOR_MAP = 0xA0,
    MAJOR_BITS = 0xE0,
    CBOR_FALSE = 0xF4,
    CBOR_TRUE = 0xF5,
    CBOR_NULL = 0xF6,
    CBOR_HALF = 0xF9,
    CBOR_FLOAT = 0xFA,
    CBOR_DOUBLE = 0xFB
};

struct reader {
    struct tpi_way way;
    const uint8_t *end;
};

/* Written so that compilers make one load of it. */
TPI_HOT uint64_t big_endian(const uint8_t *p, uint32_t bytes)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        n = n << 8 | p[i];
    }
    return n;
}

/* Argument of the initial byte at p < end. Returns what follows, or NULL. */
TPI_HOT const uint8_t *read_argument(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
    uint32_t info = *p & 0x1F;
    size_t left = (size_t) (end - p) - 1;
    p++;
    if (info < 24) {
        *ret = info;
        return p;
    }
    switch (info) {
    case 24:
        *ret = left < 1 ? 0 : *p;
        return left < 1 ? NULL : p + 1;
    case 25:
        *ret = left < 2 ? 0 : big_endian(p, 2);
        return left < 2 ? NULL : p + 2;
    case 26:
        *ret = left < 4 ? 0 : big_endian(p, 4);
        return left < 4 ? NULL : p + 4;
    case 27:
        *ret = left < 8 ? 0 : big_endian(p, 8);
        return left < 8 ? NULL : p + 8;
    default:
        return NULL;
    }
}

/* A text of definite length. Returns what follows, or NULL. */
TPI_HOT const uint8_t *read_text(const uint8_t *p, const uint8_t *end, struct tpc_str *ret)
{
    uint64_t len;
    p = read_argument(p, end, &len);
    if (p == NULL || len > (size_t) (end - p)) {
        return NULL;
    }
    const char *text = (const char *) p;
    const char *stop = text + len;
    for (const char *at = text; at < stop;) {
        at = tpi_scan_text(at, stop);
        if (at < stop && (unsigned char) *at++ >= 0x80) {
            return NULL; /* not UTF-8 */
        }
    }
    *ret = (struct tpc_str){ text, (size_t) len };
    return p + len;
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* Of a half, which must be finite. */
static bool half_of(uint32_t bits, double *ret)
{
    uint32_t exponent = bits >> 10 & 0x1F;
    uint32_t mantissa = bits & 0x3FF;
    double d = exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, (int) exponent - 25);
    *ret = (bits & 0x8000) != 0 ? -d : d;
    return exponent != 0x1F;
}

/* A scalar as a value. Returns what follows, or NULL. */
static const uint8_t *read_scalar(const uint8_t *p, const uint8_t *end, struct tpc_value *ret)
{
    uint64_t n;
    uint8_t initial = *p;
    struct tpc_str text;
    *ret = (struct tpc_value){ .type = TPC_NULL };
    switch (initial & MAJOR_BITS) {
    case MAJOR_UINT:
    case MAJOR_NEGINT:
        p = read_argument(p, end, &n);
        if (p == NULL || n > (uint64_t) INT64_MAX) {
            return NULL;
        }
        ret->type = TPC_INT;
        ret->as.i = initial >= MAJOR_NEGINT ? -1 - (int64_t) n : (int64_t) n;
        return p;
    case MAJOR_TEXT:
        p = read_text(p, end, &text);
        if (p != NULL) {
            *ret = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
        }
        return p;
    default:
        break;
    }
    switch (initial) {
    case CBOR_FALSE:
    case CBOR_TRUE:
        ret->type = TPC_BOOL;
        ret->as.b = initial == CBOR_TRUE;
        return p + 1;
    case CBOR_NULL:
        return p + 1;
    case CBOR_HALF:
    case CBOR_FLOAT:
    case CBOR_DOUBLE:
        p = read_argument(p, end, &n);
        if (p == NULL) {
            return NULL;
        }
        ret->type = TPC_DOUBLE;
        if (initial == CBOR_HALF) {
            return half_of((uint32_t) n, &ret->as.d) ? p : NULL;
        }
        if (initial == CBOR_FLOAT) {
            ret->as.d = float_of((uint32_t) n);
        } else {
            memcpy(&ret->as.d, &n, 8);
        }
        return p;
    default:
        return NULL;
    }
}

static __attribute__((noinline)) const uint8_t *put_any(struct reader *s, const uint8_t *p,
                                                        uint32_t index)
{
    struct tpc_value v;
    p = read_scalar(p, s->end, &v);
    return p != NULL && tpi_put_checked(s->way.d, index, &v) ? p : NULL;
}

/* The value of a property at p < end. */
TPI_HOT const uint8_t *put_value(struct reader *s, const uint8_t *p, uint32_t index)
{
    const struct tpi_key *k = &s->way.keys[index];
    struct tpi_direct *d = s->way.d;
    if (!tpi_way_room(d)) {
        return NULL;
    }
    if (*p == CBOR_DOUBLE && s->end - p >= 9) {
        double value;
        uint64_t bits = big_endian(p + 1, 8);
        memcpy(&value, &bits, 8);
        return tpi_put_number(d, k, index, value) ? p + 9 : NULL;
    }
    if (*p < MAJOR_NEGINT + 0x20) {
        uint64_t n;
        bool negative = *p >= MAJOR_NEGINT;
        p = read_argument(p, s->end, &n);
        if (p == NULL || n > (uint64_t) INT64_MAX) {
            return NULL;
        }
        return tpi_put_int(d, k, index, negative ? -1 - (int64_t) n : (int64_t) n) ? p : NULL;
    }
    return put_any(s, p, index);
}

/* A member whose key was not expected. */
static __attribute__((noinline)) const uint8_t *read_other(struct reader *s, const uint8_t *p)
{
    struct tpc_str key;
    struct tpc_value v;
    if ((*p & MAJOR_BITS) != MAJOR_TEXT) {
        return NULL;
    }
    p = read_text(p, s->end, &key);
    if (p == NULL || p == s->end) {
        return NULL;
    }
    int index = tpi_keys_find(s->way.model, key.ptr, key.len, (size_t) (s->end - p) + key.len);
    if (index >= 0) {
        tpi_way_learn(&s->way, (uint32_t) index);
        s->way.place = (uint32_t) index + 1;
        return tpi_way_new(&s->way, (uint32_t) index) ? put_value(s, p, (uint32_t) index) : NULL;
    }
    p = tpi_way_new_other(&s->way, key.ptr, key.len) ? read_scalar(p, s->end, &v) : NULL;
    return p != NULL && tpi_put_unknown(s->way.d, key, &v) ? p : NULL;
}

TPI_HOT const uint8_t *read_member(struct reader *s, const uint8_t *p)
{
    uint32_t index = tpi_way_guess(&s->way);
    if (index < s->way.count &&
        tpi_pattern_at(&s->way.keys[index].cbor, (const char *) p, (const char *) s->end)) {
        p += s->way.keys[index].cbor.len;
        s->way.place = index + 1;
        return p < s->end && tpi_way_new(&s->way, index) ? put_value(s, p, index) : NULL;
    }
    return read_other(s, p);
}

bool tpi_direct_cbor(struct tpi_direct *d, struct tpc_bytes bytes)
{
    struct reader s = { .end = bytes.ptr + bytes.len };
    const uint8_t *p = bytes.ptr;
    uint64_t left;
    if (bytes.len == 0 || (*p & MAJOR_BITS) != MAJOR_MAP) {
        return false;
    }
    p = read_argument(p, s.end, &left);
    if (p == NULL) {
        return false;
    }
    tpi_way_begin(&s.way, d, true);
    for (; left > 0; left--) {
        if (p == s.end) {
            return false;
        }
        p = read_member(&s, p);
        if (p == NULL) {
            return false;
        }
    }
    return p == s.end;
}
