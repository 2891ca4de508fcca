#include "bus/cursor.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"

#include <string.h>

static const uint8_t cursor_magic[8] = { 0x89, 'T', 'P', 'C', 'C', 'U', 'R', '\n' };

enum { CURSOR_FORMAT = 1 };

void tpi_cursors_init(struct tpi_cursors *cs, const struct tpc_allocator *alloc,
                      uint32_t partitions, bool instant)
{
    memset(cs, 0, sizeof(*cs));
    cs->alloc = alloc;
    cs->partitions = partitions;
    cs->instant = instant;
}

static void cursor_free(struct tpi_cursors *cs, struct tpi_cursor *c)
{
    if (c->offsets != NULL) {
        tpi_free(cs->alloc, c->offsets, (size_t) cs->partitions * 3 * sizeof(uint64_t));
    }
    tpi_free(cs->alloc, c, sizeof(*c));
}

void tpi_cursors_fini(struct tpi_cursors *cs)
{
    uint32_t i;

    for (i = 0; i < cs->count; i++) {
        if (cs->list[i] != NULL) {
            cursor_free(cs, cs->list[i]);
        }
    }
    cs->count = 0;
}

struct tpi_cursor *tpi_cursors_get(const struct tpi_cursors *cs, uint32_t index)
{
    return index < cs->count ? cs->list[index] : NULL;
}

static bool name_valid(struct tpc_str name)
{
    size_t i;

    if (name.len == 0 || name.len > TPI_CURSOR_NAME_MAX) {
        return false;
    }
    for (i = 0; i < name.len; i++) {
        char ch = name.ptr[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' ||
              ch == '.' || ch == ':')) {
            return false;
        }
    }
    return true;
}

static int find(const struct tpi_cursors *cs, struct tpc_str name)
{
    uint32_t i;

    for (i = 0; i < cs->count; i++) {
        const struct tpi_cursor *c = cs->list[i];

        if (c != NULL && tpc_str_equal(tpc_str_from(c->name), name)) {
            return (int) i;
        }
    }
    return -1;
}

/* A new cursor in a free slot. */
static int add(struct tpi_cursors *cs, struct tpc_str name, uint32_t *ret_index)
{
    struct tpi_cursor *c;
    uint32_t i = 0;

    while (i < cs->count && cs->list[i] != NULL) {
        i++;
    }
    if (i == TPI_CURSORS_MAX) {
        return TPC_ETOOBIG;
    }
    c = tpi_alloc_zero(cs->alloc, sizeof(*c));
    if (c == NULL) {
        return TPC_ENOMEM;
    }
    c->offsets = tpi_alloc_array(cs->alloc, (size_t) cs->partitions * 3, sizeof(uint64_t));
    if (c->offsets == NULL) {
        cursor_free(cs, c);
        return TPC_ENOMEM;
    }
    c->saved = c->offsets + cs->partitions;
    c->writing = c->saved + cs->partitions;
    memcpy(c->name, name.ptr, name.len);
    cs->list[i] = c;
    if (i == cs->count) {
        cs->count++;
    }
    *ret_index = i;
    return 0;
}

int tpi_cursors_open(struct tpi_cursors *cs, const struct tpc_cursor_options *o,
                     struct tpc_error *err, uint32_t *ret_index, bool *ret_fresh)
{
    struct tpi_cursor *c;
    uint32_t index = 0;
    int at, rc;

    if (!name_valid(o->name)) {
        return tpi_error_set(err, TPC_EINVAL, "log", "cursor name: 1-64 of a-z 0-9 - _ . :");
    }
    if (o->cursor_class < TPC_CURSOR_HOLD || o->cursor_class > TPC_CURSOR_TAIL) {
        return tpi_error_set(err, TPC_EINVAL, "log", "cursor class %u", o->cursor_class);
    }
    at = find(cs, o->name);
    if (at < 0) {
        rc = add(cs, o->name, &index);
        if (rc != 0) {
            return tpi_error_set(err, rc, "log",
                                 rc == TPC_ENOMEM ? "out of memory" : "more than %d cursors",
                                 (int) TPI_CURSORS_MAX);
        }
    } else {
        index = (uint32_t) at;
    }
    c = cs->list[index];
    if (c->cursor_class != o->cursor_class || c->max_bytes != o->max_bytes ||
        c->max_age_ms != o->max_age_ms) {
        cs->dirty = true;
    }
    c->cursor_class = o->cursor_class;
    c->max_bytes = o->max_bytes;
    c->max_age_ms = o->max_age_ms;
    c->opened++;
    *ret_index = index;
    *ret_fresh = at < 0;
    return 0;
}

void tpi_cursors_place(struct tpi_cursors *cs, struct tpi_cursor *c, uint32_t partition,
                       uint64_t offset)
{
    c->offsets[partition] = offset;
    c->saved[partition] = offset;
    cs->dirty = true;
}

void tpi_cursors_commit(struct tpi_cursors *cs, struct tpi_cursor *c, uint32_t partition,
                        uint64_t offset)
{
    if (offset <= c->offsets[partition]) {
        return;
    }
    c->offsets[partition] = offset;
    if (cs->instant || c->cursor_class == TPC_CURSOR_TAIL) {
        c->saved[partition] = offset;
    } else {
        cs->dirty = true;
    }
}

void tpi_cursors_close(struct tpi_cursors *cs, uint32_t index, bool forget)
{
    struct tpi_cursor *c = tpi_cursors_get(cs, index);

    if (c == NULL) {
        return;
    }
    if (c->opened > 0) {
        c->opened--;
    }
    if (forget || (c->cursor_class == TPC_CURSOR_TAIL && c->opened == 0)) {
        cursor_free(cs, c);
        cs->list[index] = NULL;
        cs->dirty = true;
    }
}

bool tpi_cursors_hold(const struct tpi_cursors *cs, const uint64_t *ends, bool saved)
{
    uint32_t i, p;

    for (i = 0; i < cs->count; i++) {
        const struct tpi_cursor *c = cs->list[i];

        if (c == NULL || c->cursor_class != TPC_CURSOR_HOLD) {
            continue;
        }
        for (p = 0; p < cs->partitions; p++) {
            if ((saved ? c->saved : c->offsets)[p] < ends[p]) {
                return true;
            }
        }
    }
    return false;
}

void tpi_cursors_lift(struct tpi_cursors *cs, struct tpi_cursor *c, const uint64_t *firsts)
{
    uint32_t p;

    for (p = 0; p < cs->partitions; p++) {
        if (c->offsets[p] < firsts[p]) {
            c->gap_records += firsts[p] - c->offsets[p];
            tpi_cursors_commit(cs, c, p, firsts[p]);
        }
    }
}

int tpi_cursors_list(const struct tpi_cursors *cs, const uint64_t *nexts, tpc_cursor_info_fn *fn,
                     void *user)
{
    uint32_t i, p;

    for (i = 0; i < cs->count; i++) {
        const struct tpi_cursor *c = cs->list[i];
        struct tpc_cursor_info info;
        int rc;

        if (c == NULL) {
            continue;
        }
        info.size = (uint32_t) sizeof(info);
        info.cursor_class = c->cursor_class;
        info.name = tpc_str_from(c->name);
        info.gap_records = c->gap_records;
        info.lag_records = 0;
        for (p = 0; p < cs->partitions; p++) {
            info.lag_records += nexts[p] > c->offsets[p] ? nexts[p] - c->offsets[p] : 0;
        }
        rc = fn(user, &info);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- the file ---- */

static int encode_one(const struct tpi_cursors *cs, const struct tpi_cursor *c, struct tpi_buf *out)
{
    size_t name_len = strlen(c->name);
    size_t length = 2 + name_len + tpi_varint_size(c->max_bytes) + tpi_varint_size(c->max_age_ms) +
                    tpi_varint_size(c->gap_records) + tpi_varint_size(cs->partitions);
    uint32_t p;
    int rc;

    for (p = 0; p < cs->partitions; p++) {
        length += tpi_varint_size(c->offsets[p]);
    }
    rc = tpi_buf_reserve(out, length + 10);
    if (rc != 0) {
        return rc;
    }
    /* None of these can fail any more. */
    tpi_buf_varint(out, length);
    tpi_buf_u8(out, (uint8_t) c->cursor_class);
    tpi_buf_u8(out, (uint8_t) name_len);
    tpi_buf_put(out, c->name, name_len);
    tpi_buf_varint(out, c->max_bytes);
    tpi_buf_varint(out, c->max_age_ms);
    tpi_buf_varint(out, c->gap_records);
    tpi_buf_varint(out, cs->partitions);
    for (p = 0; p < cs->partitions; p++) {
        tpi_buf_varint(out, c->offsets[p]);
    }
    return 0;
}

int tpi_cursors_encode(struct tpi_cursors *cs, const struct tpc_id *log_id, uint64_t generation,
                       struct tpi_buf *out)
{
    uint32_t i, count = 0;
    uint8_t *h;
    int rc = tpi_buf_reserve(out, TPI_CURSOR_FIXED_BYTES);

    if (rc != 0) {
        return rc;
    }
    memset(out->ptr, 0, TPI_CURSOR_FIXED_BYTES);
    out->len = TPI_CURSOR_FIXED_BYTES;
    for (i = 0; i < cs->count; i++) {
        struct tpi_cursor *c = cs->list[i];

        if (c == NULL || c->cursor_class == TPC_CURSOR_TAIL) {
            continue;
        }
        rc = encode_one(cs, c, out);
        if (rc != 0) {
            return rc;
        }
        memcpy(c->writing, c->offsets, (size_t) cs->partitions * sizeof(uint64_t));
        count++;
    }
    h = out->ptr;
    memcpy(h, cursor_magic, sizeof(cursor_magic));
    tpi_put_u32(h + 12, (uint32_t) out->len);
    tpi_put_u16(h + 16, CURSOR_FORMAT);
    tpi_put_u16(h + 18, CURSOR_FORMAT);
    tpi_put_u32(h + 20, count);
    tpi_put_u64(h + 24, generation);
    memcpy(h + 32, log_id->b, sizeof(log_id->b));
    tpi_put_u32(h + 8, tpi_crc32c(0, h + 12, out->len - 12));
    cs->dirty = false;
    return 0;
}

void tpi_cursors_saved(struct tpi_cursors *cs)
{
    uint32_t i, p;

    for (i = 0; i < cs->count; i++) {
        struct tpi_cursor *c = cs->list[i];

        for (p = 0; c != NULL && p < cs->partitions; p++) {
            if (c->writing[p] > c->saved[p]) {
                c->saved[p] = c->writing[p];
            }
        }
    }
}

/* The length that holds, 0 if this is not a good cursor file. */
static uint32_t file_length(struct tpc_bytes bytes)
{
    uint32_t length;

    if (bytes.len < TPI_CURSOR_FIXED_BYTES ||
        memcmp(bytes.ptr, cursor_magic, sizeof(cursor_magic)) != 0) {
        return 0;
    }
    length = tpi_get_u32(bytes.ptr + 12);
    if (length < TPI_CURSOR_FIXED_BYTES || length > bytes.len ||
        tpi_get_u32(bytes.ptr + 8) != tpi_crc32c(0, bytes.ptr + 12, length - 12)) {
        return 0;
    }
    return length;
}

uint64_t tpi_cursors_generation(struct tpc_bytes bytes)
{
    return file_length(bytes) == 0 ? 0 : tpi_get_u64(bytes.ptr + 24);
}

static int decode_one(struct tpi_cursors *cs, struct tpi_reader *r)
{
    struct tpi_cursor *c;
    uint32_t cursor_class = tpi_read_u8(r);
    struct tpc_str name;
    uint32_t index = 0, p;
    uint64_t count;
    int rc;

    name.len = tpi_read_u8(r);
    name.ptr = (const char *) tpi_read_bytes(r, name.len);
    if (r->bad || !name_valid(name) || find(cs, name) >= 0) {
        return TPC_EDECODE;
    }
    rc = add(cs, name, &index);
    if (rc != 0) {
        return rc;
    }
    c = cs->list[index];
    c->cursor_class = cursor_class == TPC_CURSOR_HOLD ? TPC_CURSOR_HOLD : TPC_CURSOR_LOSSY;
    c->max_bytes = tpi_read_varint(r);
    c->max_age_ms = tpi_read_varint(r);
    c->gap_records = tpi_read_varint(r);
    count = tpi_read_varint(r);
    for (p = 0; p < cs->partitions && p < count; p++) {
        c->offsets[p] = tpi_read_varint(r);
        c->saved[p] = c->offsets[p];
    }
    return r->bad ? TPC_EDECODE : 0;
}

int tpi_cursors_decode(struct tpi_cursors *cs, struct tpc_bytes bytes, const struct tpc_id *log_id)
{
    uint32_t length = file_length(bytes);
    struct tpi_reader r, one;
    uint32_t i, count;

    if (length == 0) {
        return TPC_EDECODE;
    }
    if (tpi_get_u16(bytes.ptr + 18) > CURSOR_FORMAT) {
        return TPC_EVERSION;
    }
    if (memcmp(bytes.ptr + 32, log_id->b, sizeof(log_id->b)) != 0) {
        return TPC_ECONFLICT;
    }
    count = tpi_get_u32(bytes.ptr + 20);
    tpi_reader_init(&r, bytes.ptr + TPI_CURSOR_FIXED_BYTES, length - TPI_CURSOR_FIXED_BYTES);
    for (i = 0; i < count; i++) {
        uint64_t len = tpi_read_varint(&r);
        const uint8_t *p = len <= length ? tpi_read_bytes(&r, (size_t) len) : NULL;
        int rc;

        if (p == NULL) {
            return TPC_EDECODE;
        }
        tpi_reader_init(&one, p, (size_t) len);
        rc = decode_one(cs, &one);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
