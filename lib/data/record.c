#include "data/msg.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

/* Bits of the presence varint, in the order of the fields. Never renumbered. */
enum {
    HAS_ID = 1,
    HAS_NAME = 2,
    HAS_ORIGIN = 4,
    HAS_CORRELATION = 8,
    HAS_CODE = 16,
    HAS_POINTS = 32,
    HAS_PARAMS = 64,
    HAS_RAW = 128,
    HAS_KNOWN = 255
};

/* Low four bits of a tag byte. Never renumbered. */
enum {
    TAG_NULL = 0,
    TAG_FALSE = 1,
    TAG_TRUE = 2,
    TAG_INT = 3,
    TAG_DOUBLE = 4,
    TAG_TEXT = 5,
    TAG_BLOB = 6,
    TAG_ARRAY = 7,
    TAG_MAP = 8,
    TAG_DECIMAL = 9, /* a double as integer; 9 to 12: with 0 to 3 decimals */
    TAG_DECIMAL_LAST = 12,
    TAG_TYPE = 15
};

/* High bits of a point's tag byte. */
enum { TAG_HAS_TIME = 16, TAG_HAS_FLAGS = 32, TAG_NEXT = 64, TAG_UNKNOWN = 128 };

/* A decimal is shorter than eight bytes up to this. */
enum { DECIMAL_DIGITS = 3, DECIMAL_MAX = 1 << 30 };
static const double decimal_powers[DECIMAL_DIGITS + 1] = { 1, 10, 100, 1000 };

enum {
    VARINT_BYTES = 10,
    POINT_BYTES = 64 /* over what a point takes without its key and its value's bytes */
};

/* ---- writing ---- */

struct writer {
    struct tpi_buf *out; /* its len moves only when all is written */
    uint8_t *p;
    uint8_t *end;
};

static __attribute__((noinline)) int make_room(struct writer *w, size_t n)
{
    size_t used = w->p != NULL ? (size_t) (w->p - w->out->ptr) - w->out->len : 0;
    int rc = tpi_buf_reserve(w->out, used + n);
    if (rc == 0) {
        w->p = w->out->ptr + w->out->len + used;
        w->end = w->out->ptr + w->out->cap;
    }
    return rc;
}

static inline int room(struct writer *w, size_t n)
{
    return (size_t) (w->end - w->p) >= n ? 0 : make_room(w, n);
}

static inline uint64_t zigzag(int64_t x)
{
    return ((uint64_t) x << 1) ^ (uint64_t) (x >> 63);
}

/* Without a check of room. Returns what follows: a byte written through a pointer may be any object,
 * so a cursor in a register is worth its while. */
static inline uint8_t *varint_at(uint8_t *p, uint64_t x)
{
    while (x >= 0x80) {
        *p++ = (uint8_t) (x | 0x80);
        x >>= 7;
    }
    *p++ = (uint8_t) x;
    return p;
}

static inline void put_varint(struct writer *w, uint64_t x)
{
    w->p = varint_at(w->p, x);
}

static inline uint8_t *double_at(uint8_t *p, double d)
{
    uint64_t bits;
    memcpy(&bits, &d, 8);
    for (uint32_t i = 0; i < 8; i++) {
        p[i] = (uint8_t) (bits >> 8 * i);
    }
    return p + 8;
}

static int put_bytes(struct writer *w, const void *p, size_t n)
{
    int rc = room(w, VARINT_BYTES + n);
    if (rc != 0) {
        return rc;
    }
    put_varint(w, n);
    if (n > 0) {
        memcpy(w->p, p, n);
        w->p += n;
    }
    return 0;
}

/* Type as a tag; 255 for a type that no tag stands for. */
static inline uint8_t tag_of(const struct tpc_value *v)
{
    static const uint8_t tags[] = {
        [TPC_NULL] = TAG_NULL,     [TPC_BOOL] = TAG_FALSE, [TPC_INT] = TAG_INT,
        [TPC_DOUBLE] = TAG_DOUBLE, [TPC_TEXT] = TAG_TEXT,  [TPC_BLOB] = TAG_BLOB,
        [TPC_ARRAY] = TAG_ARRAY,   [TPC_MAP] = TAG_MAP,
    };
    if (v->type >= sizeof(tags)) {
        return UINT8_MAX;
    }
    return v->type == TPC_BOOL && v->as.b ? TAG_TRUE : tags[v->type];
}

static int put_tree(struct writer *w, const struct tpc_value *v, uint32_t depth);

/* The double as n / 10^digits, the fewest digits; false if that is not exactly this double. Division
 * rounds correctly, so that what a text with so many decimals gave is what comes back. */
static inline bool to_decimal(double d, int32_t *ret_n, uint32_t *ret_digits)
{
    double scaled = d * decimal_powers[DECIMAL_DIGITS];
    if (!(scaled > -DECIMAL_MAX && scaled < DECIMAL_MAX)) {
        return false;
    }
    int32_t n = (int32_t) (scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    if ((double) n / decimal_powers[DECIMAL_DIGITS] != d || (n == 0 && signbit(d))) {
        return false;
    }
    uint32_t digits = DECIMAL_DIGITS;
    while (digits > 0 && n % 10 == 0) {
        n /= 10;
        digits--;
    }
    *ret_n = n;
    *ret_digits = digits;
    return true;
}

/* What follows the tag. There is room for ten bytes at least. */
static inline int put_payload(struct writer *w, const struct tpc_value *v, uint32_t depth)
{
    switch (v->type) {
    case TPC_INT:
        put_varint(w, zigzag(v->as.i));
        return 0;
    case TPC_DOUBLE:
        w->p = double_at(w->p, v->as.d);
        return 0;
    case TPC_TEXT:
    case TPC_BLOB:
        return put_bytes(w, v->as.text, v->len);
    case TPC_ARRAY:
    case TPC_MAP:
        return put_tree(w, v, depth);
    default:
        return 0;
    }
}

static int put_value(struct writer *w, const struct tpc_value *v, uint32_t depth)
{
    uint8_t tag = tag_of(v);
    if (tag == UINT8_MAX) {
        return TPC_EINVAL;
    }
    int rc = room(w, 1 + VARINT_BYTES);
    if (rc != 0) {
        return rc;
    }
    *w->p++ = tag;
    return put_payload(w, v, depth);
}

static int put_tree(struct writer *w, const struct tpc_value *v, uint32_t depth)
{
    if (depth == TPI_MSG_MAX_DEPTH) {
        return TPC_EINVAL;
    }
    int rc = room(w, VARINT_BYTES);
    if (rc != 0) {
        return rc;
    }
    put_varint(w, v->len);
    for (size_t i = 0; i < v->len && rc == 0; i++) {
        if (v->type == TPC_MAP) {
            const struct tpc_member *m = &v->as.members[i];
            rc = put_bytes(w, m->key.ptr, m->key.len);
            rc = rc != 0 ? rc : put_value(w, &m->value, depth + 1);
        } else {
            rc = put_value(w, &v->as.items[i], depth + 1);
        }
    }
    return rc;
}

/* Whether a point's property goes without saying after the one of the point in front of it. */
static inline bool follows(uint32_t before, uint32_t property)
{
    return before != TPC_PROPERTY_NONE && property == before + 1;
}

/* before and after: the properties of its neighbours, 0 = none. */
/* What most points do not have, between tag and value. */
static int put_extras(struct writer *w, const struct tpc_point *point, bool own_time,
                      int64_t msg_unix_ms)
{
    if (point->property == TPC_PROPERTY_NONE) {
        int rc = put_bytes(w, point->key.ptr, point->key.len);
        rc = rc != 0 ? rc : room(w, POINT_BYTES);
        if (rc != 0) {
            return rc;
        }
    }
    if (point->flags != 0) {
        put_varint(w, point->flags);
    }
    if (own_time) {
        /* Unsigned, so that the difference of any two times has a value. */
        put_varint(w, zigzag((int64_t) ((uint64_t) point->unix_ms - (uint64_t) msg_unix_ms)));
    }
    return 0;
}

static inline int put_point(struct writer *w, const struct tpc_point *point, uint32_t before,
                            uint32_t after, int64_t msg_unix_ms)
{
    uint8_t tag = tag_of(&point->value);
    uint32_t digits = 0;
    int32_t n = 0;
    if (tag == UINT8_MAX) {
        return TPC_EINVAL;
    }
    int rc = room(w, POINT_BYTES);
    if (rc != 0) {
        return rc;
    }
    uint8_t *p = w->p;
    bool own_time = point->unix_ms != 0 && point->unix_ms != msg_unix_ms;
    bool decimal = tag == TAG_DOUBLE && to_decimal(point->value.as.d, &n, &digits);
    tag = decimal ? (uint8_t) (TAG_DECIMAL + digits) : tag;
    tag |= (uint8_t) ((own_time ? TAG_HAS_TIME : 0) | (point->flags != 0 ? TAG_HAS_FLAGS : 0));
    if (!follows(before, point->property)) {
        p = varint_at(p, point->property);
    }
    *p++ = follows(point->property, after) ? tag | TAG_NEXT : tag;
    w->p = p;
    if (own_time || point->flags != 0 || point->property == TPC_PROPERTY_NONE) {
        rc = put_extras(w, point, own_time, msg_unix_ms);
        if (rc != 0) {
            return rc;
        }
    }
    if (decimal) {
        put_varint(w, zigzag(n));
        return 0;
    }
    return put_payload(w, &point->value, 0);
}

/* As tpc_msg_point(), in place. */
static inline const struct tpc_point *next_point(const struct tpc_point *p, size_t size)
{
    return (const struct tpc_point *) (const void *) ((const char *) (const void *) p + size);
}

static int put_points(struct writer *w, const struct tpc_msg *m)
{
    if (m->point_count > TPI_MSG_MAX_POINTS) {
        return TPC_ETOOBIG;
    }
    int rc = room(w, VARINT_BYTES);
    if (rc != 0) {
        return rc;
    }
    put_varint(w, m->point_count);
    uint32_t before = TPC_PROPERTY_NONE;
    const struct tpc_point *p = m->points;
    for (uint32_t left = m->point_count; left > 0 && rc == 0; left--) {
        const struct tpc_point *next = next_point(p, m->point_size);
        uint32_t after = left > 1 ? next->property : TPC_PROPERTY_NONE;
        rc = put_point(w, p, before, after, m->unix_ms);
        before = p->property;
        p = next;
    }
    return rc;
}

static uint32_t presence(const struct tpc_msg *m)
{
    static const struct tpc_id none;
    uint32_t has = memcmp(&m->id, &none, sizeof(none)) != 0 ? HAS_ID : 0;
    has |= m->name.len != 0 ? HAS_NAME : 0;
    has |= m->origin.len != 0 ? HAS_ORIGIN : 0;
    has |= m->correlation.len != 0 ? HAS_CORRELATION : 0;
    has |= m->code != 0 ? HAS_CODE : 0;
    has |= m->point_count != 0 ? HAS_POINTS : 0;
    has |= m->params.type != TPC_NULL ? HAS_PARAMS : 0;
    return has | (m->raw.len != 0 ? HAS_RAW : 0);
}

static int put_fields(struct writer *w, const struct tpc_msg *m, uint32_t has)
{
    const struct tpc_str texts[] = { m->name, m->origin, m->correlation };
    int rc = 0;
    if ((has & HAS_ID) != 0) {
        memcpy(w->p, m->id.b, sizeof(m->id.b));
        w->p += sizeof(m->id.b);
    }
    for (uint32_t i = 0; i < 3 && rc == 0; i++) {
        if ((has & (uint32_t) HAS_NAME << i) != 0) {
            rc = put_bytes(w, texts[i].ptr, texts[i].len);
        }
    }
    if (rc == 0 && (has & HAS_CODE) != 0) {
        rc = room(w, VARINT_BYTES);
        if (rc == 0) {
            put_varint(w, zigzag(m->code));
        }
    }
    return rc;
}

static int finish(struct writer *w)
{
    size_t len = (size_t) (w->p - w->out->ptr);
    if (w->out->limit != 0 && len > w->out->limit) {
        return TPC_ETOOBIG;
    }
    w->out->len = len;
    return 0;
}

int tpi_msg_encode(const struct tpc_msg *m, struct tpi_buf *out)
{
    struct writer w = { .out = out };
    uint32_t has = presence(m);
    int rc = make_room(&w, 2 + sizeof(m->id.b));
    if (rc != 0) {
        return rc;
    }
    put_varint(&w, has);
    if ((has & ~(uint32_t) (HAS_POINTS | HAS_PARAMS | HAS_RAW)) != 0) {
        rc = put_fields(&w, m, has);
    }
    if (rc == 0 && (has & HAS_POINTS) != 0) {
        rc = put_points(&w, m);
    }
    if (rc == 0 && (has & HAS_PARAMS) != 0) {
        rc = put_value(&w, &m->params, 0);
    }
    if (rc == 0 && (has & HAS_RAW) != 0) {
        rc = put_bytes(&w, m->raw.ptr, m->raw.len);
    }
    return rc != 0 ? rc : finish(&w);
}

int tpi_value_encode(const struct tpc_value *v, struct tpi_buf *out)
{
    struct writer w = { .out = out };
    int rc = make_room(&w, 1 + VARINT_BYTES);
    if (rc == 0) {
        rc = put_value(&w, v, 0);
    }
    return rc != 0 ? rc : finish(&w);
}

/* ---- reading ---- */

struct source {
    const uint8_t *p;
    const uint8_t *end;
    struct tpc_arena *arena;
    int code; /* the first failure; every read after it gives nothing */
};

static __attribute__((cold, noinline)) int bad(struct source *s, int code)
{
    if (s->code == 0) {
        s->code = code;
    }
    s->p = s->end;
    return code;
}

static inline uint8_t get_byte(struct source *s)
{
    if (s->p == s->end) {
        bad(s, TPC_ECORRUPT);
        return 0;
    }
    return *s->p++;
}

static uint64_t get_long_varint(struct source *s)
{
    uint64_t x = 0;
    for (uint32_t shift = 0; shift < 70; shift += 7) {
        uint8_t byte = get_byte(s);
        /* The tenth byte has room for one bit. */
        if (shift == 63 && byte > 1) {
            break;
        }
        x |= (uint64_t) (byte & 0x7F) << shift;
        if (byte < 0x80) {
            return x;
        }
    }
    bad(s, TPC_ECORRUPT);
    return 0;
}

static inline uint64_t get_varint(struct source *s)
{
    if (s->p < s->end && *s->p < 0x80) {
        return *s->p++;
    }
    return get_long_varint(s);
}

/* A number of a field that is narrower than 64 bits. */
static uint64_t get_below(struct source *s, uint64_t max)
{
    uint64_t x = get_varint(s);
    if (x > max) {
        bad(s, TPC_ECORRUPT);
    }
    return x;
}

static inline int64_t get_zigzag(struct source *s)
{
    uint64_t x = get_varint(s);
    return (int64_t) ((x >> 1) ^ (0 - (x & 1)));
}

/* n bytes with their length in front. */
static inline const void *get_bytes(struct source *s, size_t *ret_len)
{
    uint64_t n = get_varint(s);
    if (n > (size_t) (s->end - s->p)) {
        bad(s, TPC_ECORRUPT);
        n = 0;
    }
    const void *p = s->p;
    s->p += n;
    *ret_len = (size_t) n;
    return p;
}

static struct tpc_str get_str(struct source *s)
{
    struct tpc_str str;
    str.ptr = get_bytes(s, &str.len);
    return str;
}

/* Written so that compilers make one load of it. */
static inline uint64_t little_endian(const uint8_t *p)
{
    return (uint64_t) p[0] | (uint64_t) p[1] << 8 | (uint64_t) p[2] << 16 | (uint64_t) p[3] << 24 |
           (uint64_t) p[4] << 32 | (uint64_t) p[5] << 40 | (uint64_t) p[6] << 48 |
           (uint64_t) p[7] << 56;
}

static void get_tree(struct source *s, bool map, uint32_t depth, struct tpc_value *ret);

/* Value of a type whose tag was read. Inlined where scalars are hot. */
static inline void get_payload(struct source *s, uint32_t tag, uint32_t depth,
                               struct tpc_value *ret)
{
    uint64_t bits;
    *ret = (struct tpc_value){ .type = TPC_NULL };
    switch (tag) {
    case TAG_NULL:
        return;
    case TAG_FALSE:
    case TAG_TRUE:
        ret->type = TPC_BOOL;
        ret->as.b = tag == TAG_TRUE;
        return;
    case TAG_INT:
        ret->type = TPC_INT;
        ret->as.i = get_zigzag(s);
        return;
    case TAG_DOUBLE:
        if (s->end - s->p < 8) {
            bad(s, TPC_ECORRUPT);
            return;
        }
        bits = little_endian(s->p);
        s->p += 8;
        ret->type = TPC_DOUBLE;
        memcpy(&ret->as.d, &bits, 8);
        return;
    case TAG_TEXT:
        ret->type = TPC_TEXT;
        ret->as.text = get_bytes(s, &ret->len);
        return;
    case TAG_BLOB:
        ret->type = TPC_BLOB;
        ret->as.blob = get_bytes(s, &ret->len);
        return;
    case TAG_ARRAY:
    case TAG_MAP:
        get_tree(s, tag == TAG_MAP, depth, ret);
        return;
    default:
        bad(s, TPC_EVERSION);
    }
}

static void get_value(struct source *s, uint32_t depth, struct tpc_value *ret)
{
    get_payload(s, get_byte(s), depth, ret);
}

/* Room for count elements that take at least `least` bytes each in what is left. */
static void *get_room(struct source *s, uint64_t count, size_t least, size_t size)
{
    if (count > (size_t) (s->end - s->p) / least) {
        bad(s, TPC_ECORRUPT);
        return NULL;
    }
    void *p = tpc_arena_take(s->arena, (size_t) count * size);
    if (p == NULL) {
        bad(s, TPC_ENOMEM);
    }
    return p;
}

static void get_tree(struct source *s, bool map, uint32_t depth, struct tpc_value *ret)
{
    uint64_t count = get_varint(s);
    ret->type = map ? TPC_MAP : TPC_ARRAY;
    if (depth == TPI_MSG_MAX_DEPTH) {
        bad(s, TPC_ECORRUPT);
        return;
    }
    if (count == 0) {
        return;
    }
    if (map) {
        struct tpc_member *members = get_room(s, count, 2, sizeof(*members));
        for (size_t i = 0; members != NULL && i < count && s->code == 0; i++) {
            members[i].key = get_str(s);
            get_value(s, depth + 1, &members[i].value);
        }
        ret->as.members = members;
    } else {
        struct tpc_value *items = get_room(s, count, 1, sizeof(*items));
        for (size_t i = 0; items != NULL && i < count && s->code == 0; i++) {
            get_value(s, depth + 1, &items[i]);
        }
        ret->as.items = items;
    }
    ret->len = (size_t) count;
}

/* next: its property is the one of the point in front of it and one more; tells the same of the
 * point behind it. */
static inline bool get_point(struct source *s, int64_t msg_unix_ms, bool next, uint32_t before,
                             struct tpc_point *point)
{
    uint64_t property = next ? (uint64_t) before + 1 : get_varint(s);
    uint8_t tag = get_byte(s);
    if (property > UINT16_MAX || (tag & TAG_UNKNOWN) != 0) {
        bad(s, property > UINT16_MAX ? TPC_ECORRUPT : TPC_EVERSION);
        return false;
    }
    *point = (struct tpc_point){ .key = { "", 0 }, .property = (uint16_t) property };
    if (property == TPC_PROPERTY_NONE) {
        point->key = get_str(s);
    }
    if ((tag & TAG_HAS_FLAGS) != 0) {
        point->flags = (uint16_t) get_below(s, UINT16_MAX);
    }
    if ((tag & TAG_HAS_TIME) != 0) {
        point->unix_ms = (int64_t) ((uint64_t) msg_unix_ms + (uint64_t) get_zigzag(s));
    }
    uint32_t type = tag & TAG_TYPE;
    if (type >= TAG_DECIMAL && type <= TAG_DECIMAL_LAST) {
        int64_t n = get_zigzag(s);
        point->value.type = TPC_DOUBLE;
        point->value.as.d = (double) n / decimal_powers[type - TAG_DECIMAL];
    } else {
        get_payload(s, type, 0, &point->value);
    }
    return (tag & TAG_NEXT) != 0;
}

static void get_points(struct source *s, struct tpc_msg *m)
{
    uint64_t count = get_varint(s);
    if (count > TPI_MSG_MAX_POINTS) {
        bad(s, TPC_ECORRUPT);
        return;
    }
    if (count == 0) {
        return;
    }
    struct tpc_point *points = get_room(s, count, 1, sizeof(*points));
    bool next = false;
    for (size_t i = 0; points != NULL && i < count && s->code == 0; i++) {
        next = get_point(s, m->unix_ms, next, i > 0 ? points[i - 1].property : 0, &points[i]);
    }
    m->points = points;
    m->point_count = (uint32_t) count;
}

static void get_fields(struct source *s, uint64_t has, struct tpc_msg *m)
{
    if ((has & HAS_ID) != 0) {
        if (s->end - s->p < (ptrdiff_t) sizeof(m->id.b)) {
            bad(s, TPC_ECORRUPT);
            return;
        }
        memcpy(m->id.b, s->p, sizeof(m->id.b));
        s->p += sizeof(m->id.b);
    }
    if ((has & HAS_NAME) != 0) {
        m->name = get_str(s);
    }
    if ((has & HAS_ORIGIN) != 0) {
        m->origin = get_str(s);
    }
    if ((has & HAS_CORRELATION) != 0) {
        m->correlation = get_str(s);
    }
    if ((has & HAS_CODE) != 0) {
        int64_t code = get_zigzag(s);
        m->code = (int32_t) code;
        if (code < INT32_MIN || code > INT32_MAX) {
            bad(s, TPC_ECORRUPT);
        }
    }
}

static void clear_body(struct tpc_msg *m)
{
    static const struct tpc_str empty = TPC_STR_INIT("");
    m->id = (struct tpc_id){ .b = { 0 } };
    m->name = empty;
    m->origin = empty;
    m->correlation = empty;
    m->code = 0;
    m->point_count = 0;
    m->point_size = sizeof(struct tpc_point);
    m->points = NULL;
    m->params = (struct tpc_value){ .type = TPC_NULL };
    m->raw = (struct tpc_bytes){ (const uint8_t *) "", 0 };
}

static int whole(const struct source *s, struct tpc_error *err)
{
    switch (s->code) {
    case 0:
        return s->p == s->end ? 0
                              : tpi_error_set(err, TPC_ECORRUPT, "record", "bytes follow the body");
    case TPC_EVERSION:
        return tpi_error_set(err, TPC_EVERSION, "record", "a newer version wrote this record");
    case TPC_ENOMEM:
        return tpi_error_set(err, TPC_ENOMEM, "record", "out of memory");
    default:
        return tpi_error_set(err, TPC_ECORRUPT, "record", "the record's body is damaged");
    }
}

int tpi_msg_decode(struct tpc_bytes body, struct tpc_arena *arena, struct tpc_error *err,
                   struct tpc_msg *ret)
{
    struct source s = { .p = body.ptr, .end = body.ptr + body.len, .arena = arena };
    struct tpc_msg m;
    m.unix_ms = ret->unix_ms;
    clear_body(&m);
    uint64_t has = get_varint(&s);
    if ((has & ~(uint64_t) HAS_KNOWN) != 0) {
        bad(&s, TPC_EVERSION);
    }
    get_fields(&s, has, &m);
    if ((has & HAS_POINTS) != 0) {
        get_points(&s, &m);
    }
    if ((has & HAS_PARAMS) != 0) {
        get_value(&s, 0, &m.params);
    }
    if ((has & HAS_RAW) != 0) {
        m.raw.ptr = get_bytes(&s, &m.raw.len);
    }
    int rc = whole(&s, err);
    if (rc != 0) {
        return rc;
    }
    ret->id = m.id;
    ret->name = m.name;
    ret->origin = m.origin;
    ret->correlation = m.correlation;
    ret->code = m.code;
    ret->point_count = m.point_count;
    ret->point_size = m.point_size;
    ret->points = m.points;
    ret->params = m.params;
    ret->raw = m.raw;
    return 0;
}

int tpi_value_decode(struct tpc_bytes bytes, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpc_value *ret)
{
    struct source s = { .p = bytes.ptr, .end = bytes.ptr + bytes.len, .arena = arena };
    struct tpc_value v;
    get_value(&s, 0, &v);
    int rc = whole(&s, err);
    if (rc == 0) {
        *ret = v;
    }
    return rc;
}
