/* TZif files: RFC 9636 section 3. Numbers are big-endian. */
#include "calendar/zone.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "calendar/zone_state.h"

#include <string.h>

enum {
    RESERVED_BYTES = 15,
    TYPE_BYTES = 6,
    MAX_TYPES = 256,
    MAX_OFFSET_S = 93599, /* RFC 9636 3.2: -25 h .. 26 h, both open */
    MIN_OFFSET_S = -89999
};

/* RFC 9636 3.2: no file names an earlier moment. */
#define MIN_CHANGE_S (-((int64_t) 1 << 59))

struct header {
    uint8_t version; /* 0, or '2' .. */
    uint32_t utc_marks;
    uint32_t std_marks;
    uint32_t leaps;
    uint32_t changes;
    uint32_t types;
    uint32_t chars;
};

/* Where the parts of a data block are. */
struct block {
    struct header h;
    uint32_t time_bytes; /* 4 or 8 */
    const uint8_t *times;
    const uint8_t *type_of;
    const uint8_t *types;
    const char *chars;
};

static int corrupt(struct tpc_error *err, const char *what)
{
    return tpi_error_set(err, TPC_EDECODE, "zone", "no TZif file: %s", what);
}

static uint32_t read_u32(struct tpi_reader *r)
{
    const uint8_t *p = tpi_read_bytes(r, 4);
    return p == NULL ? 0
                     : (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

static int64_t time_at(const uint8_t *p, uint32_t bytes)
{
    uint64_t x = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        x = x << 8 | p[i];
    }
    return bytes == 4 ? (int64_t) (int32_t) (uint32_t) x : (int64_t) x;
}

static int read_header(struct tpi_reader *r, struct tpc_error *err, struct header *ret)
{
    const uint8_t *magic = tpi_read_bytes(r, 4);
    ret->version = tpi_read_u8(r);
    tpi_read_bytes(r, RESERVED_BYTES);
    ret->utc_marks = read_u32(r);
    ret->std_marks = read_u32(r);
    ret->leaps = read_u32(r);
    ret->changes = read_u32(r);
    ret->types = read_u32(r);
    ret->chars = read_u32(r);
    if (r->bad || memcmp(magic, "TZif", 4) != 0) {
        return corrupt(err, "its header");
    }
    return 0;
}

/* A part of count items; a count that no file of the limit can hold ends the reader. */
static const uint8_t *part(struct tpi_reader *r, uint32_t count, uint32_t bytes)
{
    if (count > TPI_ZONE_MAX_BYTES) {
        r->bad = true;
        return NULL;
    }
    return tpi_read_bytes(r, (size_t) count * bytes);
}

static int read_block(struct tpi_reader *r, uint32_t time_bytes, struct tpc_error *err,
                      struct block *ret)
{
    int rc = read_header(r, err, &ret->h);
    if (rc != 0) {
        return rc;
    }
    ret->time_bytes = time_bytes;
    ret->times = part(r, ret->h.changes, time_bytes);
    ret->type_of = part(r, ret->h.changes, 1);
    ret->types = part(r, ret->h.types, TYPE_BYTES);
    ret->chars = (const char *) part(r, ret->h.chars, 1);
    part(r, ret->h.leaps, time_bytes + 4);
    part(r, ret->h.std_marks, 1);
    part(r, ret->h.utc_marks, 1);
    return r->bad ? corrupt(err, "it ends early") : 0;
}

/* The footer of version 2 and later: a line feed, the text, a line feed. */
static int read_footer(struct tpi_reader *r, struct tpc_error *err, bool *ret_has,
                       struct tpi_rule *ret)
{
    size_t n = tpi_reader_left(r);
    const char *p = (const char *) tpi_read_bytes(r, n);
    if (n < 2 || p[0] != '\n') {
        return corrupt(err, "its footer");
    }
    const char *end = memchr(p + 1, '\n', n - 1);
    if (end == NULL) {
        return corrupt(err, "its footer");
    }
    struct tpc_str text = { p + 1, (size_t) (end - p - 1) };
    *ret_has = text.len > 0;
    return text.len > 0 ? tpi_rule_parse(text, err, ret) : 0;
}

static int check_block(const struct block *b, struct tpc_error *err)
{
    if (b->h.leaps > 0) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, "zone", "the file counts leap seconds");
    }
    if (b->h.types == 0 || b->h.types > MAX_TYPES || b->h.chars == 0 ||
        b->chars[b->h.chars - 1] != '\0') {
        return corrupt(err, "its types");
    }
    for (uint32_t i = 0; i < b->h.types; i++) {
        const uint8_t *t = b->types + (size_t) i * TYPE_BYTES;
        int64_t offset = time_at(t, 4);
        if (offset < MIN_OFFSET_S || offset > MAX_OFFSET_S || t[4] > 1 || t[5] >= b->h.chars) {
            return corrupt(err, "a type");
        }
    }
    int64_t last = INT64_MIN;
    for (uint32_t i = 0; i < b->h.changes; i++) {
        int64_t at = time_at(b->times + (size_t) i * b->time_bytes, b->time_bytes);
        if (at <= last || at < MIN_CHANGE_S || at > -MIN_CHANGE_S || b->type_of[i] >= b->h.types) {
            return corrupt(err, "a change");
        }
        last = at;
    }
    return 0;
}

static int build(const struct tpc_allocator *alloc, const struct block *b, struct tpc_error *err,
                 struct tpi_zone **ret)
{
    size_t times = b->h.changes * sizeof(int64_t);
    size_t types = b->h.types * sizeof(struct tpi_zone_type);
    size_t size = sizeof(struct tpi_zone) + times + types + b->h.changes + b->h.chars;
    struct tpi_zone *zone = tpi_alloc_zero(alloc, size);
    if (zone == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "zone", "out of memory");
    }
    int64_t *at = (int64_t *) (zone + 1);
    struct tpi_zone_type *type = (struct tpi_zone_type *) (at + b->h.changes);
    uint8_t *type_of = (uint8_t *) (type + b->h.types);
    char *chars = (char *) (type_of + b->h.changes);
    for (uint32_t i = 0; i < b->h.changes; i++) {
        at[i] = time_at(b->times + (size_t) i * b->time_bytes, b->time_bytes);
        type_of[i] = b->type_of[i];
    }
    memcpy(chars, b->chars, b->h.chars);
    for (uint32_t i = 0; i < b->h.types; i++) {
        const uint8_t *t = b->types + (size_t) i * TYPE_BYTES;
        type[i] = (struct tpi_zone_type){ (int32_t) time_at(t, 4), t[4] == 1, chars + t[5] };
    }
    zone->alloc = alloc;
    zone->size = size;
    zone->count = b->h.changes;
    zone->at = at;
    zone->types = type;
    zone->type_of = type_of;
    *ret = zone;
    return 0;
}

int tpi_zone_decode(const struct tpc_allocator *alloc, struct tpc_bytes bytes,
                    struct tpc_error *err, struct tpi_zone **ret)
{
    struct tpi_reader r;
    struct block b;
    struct tpi_rule rule = { 0 };
    struct tpi_zone *zone = NULL;
    bool has_rule = false;
    if (bytes.len > TPI_ZONE_MAX_BYTES) {
        return tpi_error_set(err, TPC_ETOOBIG, "zone", "over %d bytes", TPI_ZONE_MAX_BYTES);
    }
    tpi_reader_init(&r, bytes.ptr, bytes.len);
    int rc = read_block(&r, 4, err, &b);
    /* The first block is for readers of version 1 only. */
    if (rc == 0 && b.h.version >= '2') {
        rc = read_block(&r, 8, err, &b);
        rc = rc != 0 ? rc : read_footer(&r, err, &has_rule, &rule);
    }
    rc = rc != 0 ? rc : check_block(&b, err);
    rc = rc != 0 ? rc : build(alloc, &b, err, &zone);
    if (rc != 0) {
        return rc;
    }
    zone->has_rule = has_rule;
    zone->rule = rule;
    *ret = zone;
    return 0;
}
