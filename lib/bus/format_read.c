/*
 * Reading segments: docs/format/log.md. Nothing here trusts a length before a CRC has been right,
 * and nothing runs past what it was given even if a CRC was right by chance.
 */
#include "bus/format.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"

#include <string.h>

static const uint8_t segment_magic[8] = { 0x89, 'T', 'P', 'C', 'L', 'O', 'G', '\n' };
static const uint8_t frame_magic[4] = { 0xb5, 'T', 'P', 'F' };

enum {
    RECORD_HAS_TRACE = 1 << 16,
    RECORD_HAS_BOOT = 1 << 17,
    FRAME_MUST_KNOW = -65536, /* bits 16..31 */
    HEADER_MAX = 1 << 20      /* bytes of a segment's header that is believed */
};

int tpi_segment_header_read(const uint8_t *p, size_t len, struct tpi_segment_header *ret,
                            const uint8_t **ret_table)
{
    struct tpi_segment_header h;
    uint32_t table_at;

    if (len < TPI_SEGMENT_FIXED_BYTES || memcmp(p, segment_magic, sizeof(segment_magic)) != 0) {
        return TPC_EDECODE;
    }
    h.header_bytes = tpi_get_u32(p + 12);
    if (h.header_bytes < TPI_SEGMENT_FIXED_BYTES || h.header_bytes > len ||
        tpi_get_u32(p + 8) != tpi_crc32c(0, p + 12, h.header_bytes - 12)) {
        return TPC_EDECODE;
    }
    h.format = tpi_get_u16(p + 16);
    h.format_min = tpi_get_u16(p + 18);
    if (h.format_min > TPI_LOG_FORMAT) {
        return TPC_EVERSION;
    }
    h.partitions = tpi_get_u32(p + 20);
    table_at = tpi_get_u32(p + 72);
    if (h.partitions > TPI_LOG_PARTITIONS_MAX || table_at > h.header_bytes ||
        h.header_bytes - table_at < h.partitions * 8U) {
        return TPC_EDECODE;
    }
    memcpy(h.log_id.b, p + 24, sizeof(h.log_id.b));
    h.log_unix_ms = (int64_t) tpi_get_u64(p + 40);
    h.number = tpi_get_u64(p + 48);
    h.unix_ms = (int64_t) tpi_get_u64(p + 56);
    h.first_sequence = tpi_get_u64(p + 64);
    *ret = h;
    *ret_table = p + table_at;
    return 0;
}

uint32_t tpi_frame_length(const uint8_t *p)
{
    return tpi_get_u32(p + 8);
}

bool tpi_frame_parse(const uint8_t *p, bool check, struct tpi_frame *ret)
{
    uint64_t need;

    if (memcmp(p, frame_magic, sizeof(frame_magic)) != 0) {
        return false;
    }
    if (check && tpi_get_u32(p + 44) != tpi_crc32c(0, p + 8, 36)) {
        return false;
    }
    ret->ptr = p;
    ret->length = tpi_get_u32(p + 8);
    ret->header_bytes = tpi_get_u16(p + 12);
    ret->run_bytes = tpi_get_u16(p + 14);
    ret->flags = tpi_get_u32(p + 16);
    ret->count = tpi_get_u32(p + 20);
    ret->sequence = tpi_get_u64(p + 24);
    ret->base_unix_ms = (int64_t) tpi_get_u64(p + 32);
    ret->run_count = tpi_get_u32(p + 40);
    need = (uint64_t) ret->header_bytes + (uint64_t) ret->run_count * ret->run_bytes;
    return ret->header_bytes >= TPI_FRAME_HEADER_BYTES && ret->run_bytes >= TPI_RUN_BYTES &&
           ret->length <= TPI_FRAME_MAX && need <= ret->length;
}

void tpi_frame_run(const struct tpi_frame *f, uint32_t index, struct tpi_run *ret)
{
    const uint8_t *p = f->ptr + f->header_bytes + (size_t) index * f->run_bytes;

    ret->partition = tpi_get_u32(p);
    ret->count = tpi_get_u32(p + 4);
    ret->offset = tpi_get_u64(p + 8);
    ret->at = tpi_get_u32(p + 16);
    ret->bytes = tpi_get_u32(p + 20);
}

bool tpi_frame_good(const struct tpi_frame *f)
{
    struct tpi_run run;
    uint64_t count = 0;
    uint32_t i;

    if (tpi_get_u32(f->ptr + 4) != tpi_crc32c(0, f->ptr + 8, f->length - 8)) {
        return false;
    }
    for (i = 0; i < f->run_count; i++) {
        tpi_frame_run(f, i, &run);
        if (run.at > f->length || run.bytes > f->length - run.at ||
            run.offset + run.count < run.offset) {
            return false;
        }
        count += run.count;
    }
    return count == f->count;
}

bool tpi_frame_find(const struct tpi_frame *f, uint32_t partition, struct tpi_run *ret)
{
    const uint8_t *p = f->ptr + f->header_bytes;
    uint32_t i;

    for (i = 0; i < f->run_count; i++, p += f->run_bytes) {
        if (tpi_get_u32(p) == partition) {
            tpi_frame_run(f, i, ret);
            return true;
        }
    }
    return false;
}

void tpi_record_walk_init(struct tpi_record_walk *w, const struct tpi_frame *f,
                          const struct tpi_run *run)
{
    w->p = f->ptr + run->at;
    w->end = w->p + run->bytes;
    w->offset = run->offset;
    w->base_unix_ms = f->base_unix_ms;
    w->partition = run->partition;
    w->left = run->count;
}

static bool get_varint(const uint8_t **p, const uint8_t *end, uint64_t *ret)
{
    const uint8_t *q = *p;
    uint64_t x = 0;
    unsigned shift;

    for (shift = 0; shift < 64 && q < end; shift += 7) {
        uint8_t b = *q++;

        if (shift == 63 && b > 1) {
            return false;
        }
        x |= (uint64_t) (b & 0x7f) << shift;
        if (b < 0x80) {
            *ret = x;
            *p = q;
            return true;
        }
    }
    return false;
}

static int64_t add_zigzag(int64_t base, uint64_t z)
{
    uint64_t d = (z >> 1) ^ (uint64_t) - (int64_t) (z & 1);

    return (int64_t) ((uint64_t) base + d);
}

/* Length field and head_bytes: *ret_head .. *ret_body .. *ret_end. */
static bool record_frame(const struct tpi_record_walk *w, const uint8_t **ret_head,
                         const uint8_t **ret_body, const uint8_t **ret_end)
{
    const uint8_t *p = w->p;
    uint64_t length;

    if (w->left == 0 || !get_varint(&p, w->end, &length) || length == 0 ||
        length > (uint64_t) (w->end - p) || p[0] > length - 1) {
        return false;
    }
    *ret_head = p + 1;
    *ret_body = p + 1 + p[0];
    *ret_end = p + length;
    return true;
}

bool tpi_record_walk_next(struct tpi_record_walk *w, struct tpc_record *ret)
{
    const uint8_t *p, *body, *end;
    uint64_t kind, flags, device_id, revision, received, time;

    if (!record_frame(w, &p, &body, &end) || !get_varint(&p, body, &kind) ||
        !get_varint(&p, body, &flags) || !get_varint(&p, body, &device_id) ||
        !get_varint(&p, body, &revision) || !get_varint(&p, body, &received) ||
        !get_varint(&p, body, &time)) {
        return false;
    }
    memset(&ret->trace, 0, sizeof(ret->trace));
    if ((flags & RECORD_HAS_TRACE) != 0) {
        if (body - p < (ptrdiff_t) sizeof(ret->trace.b)) {
            return false;
        }
        memcpy(ret->trace.b, p, sizeof(ret->trace.b));
        p += sizeof(ret->trace.b);
    }
    memset(&ret->boot, 0, sizeof(ret->boot));
    ret->mono_ms = 0;
    if ((flags & RECORD_HAS_BOOT) != 0) {
        if (body - p < (ptrdiff_t) sizeof(ret->boot.b)) {
            return false;
        }
        memcpy(ret->boot.b, p, sizeof(ret->boot.b));
        p += sizeof(ret->boot.b);
        if (!get_varint(&p, body, &ret->mono_ms)) {
            return false;
        }
    }
    if (kind > UINT16_MAX || revision > UINT32_MAX) {
        return false;
    }
    ret->size = (uint32_t) sizeof(*ret);
    ret->kind = (uint16_t) kind;
    ret->flags = (uint16_t) flags;
    ret->partition = w->partition;
    ret->model_revision = (uint32_t) revision;
    ret->device_id = device_id;
    ret->offset = w->offset++;
    ret->received_unix_ms = add_zigzag(w->base_unix_ms, received);
    ret->unix_ms = add_zigzag(ret->received_unix_ms, time);
    ret->body.ptr = body;
    ret->body.len = (size_t) (end - body);
    w->p = end;
    w->left--;
    return true;
}

void tpi_record_walk_seek(struct tpi_record_walk *w, uint64_t offset)
{
    const uint8_t *head, *body, *end;

    while (w->offset < offset && record_frame(w, &head, &body, &end)) {
        w->p = end;
        w->offset++;
        w->left--;
    }
}

/* ---- segment reader ---- */

/* Makes [at, at + need) available in buf. Returns the bytes from `at` on that are there, which are
 * fewer than need only at the limit, or a negative code. */
static int64_t fill(struct tpi_segment_reader *r, uint64_t at, size_t need)
{
    uint64_t room;
    int64_t got;
    size_t want;

    if (at >= r->buf_at && at + need <= r->buf_at + r->len) {
        return (int64_t) (r->buf_at + r->len - at);
    }
    /* A small file gets a small buffer: only one that filled it has more to give. */
    if (need > r->cap || (r->cap < TPI_READER_BLOCK_BYTES && r->cap > 0 && r->len == r->cap)) {
        size_t block = r->cap == 0 ? (size_t) TPI_READER_FIRST_BYTES : TPI_READER_BLOCK_BYTES;
        size_t cap = need > block ? need : block;
        uint8_t *buf = tpi_resize(r->alloc, r->buf, r->cap, cap);

        if (buf == NULL) {
            return TPC_ENOMEM;
        }
        r->buf = buf;
        r->cap = cap;
    }
    room = r->limit > at ? r->limit - at : 0;
    want = room < r->cap ? (size_t) room : r->cap;
    r->buf_at = at;
    r->len = 0;
    r->good_from = at;
    r->good_to = at;
    if (want == 0) {
        return 0;
    }
    got = r->files->read_at(r->files->user, r->file, r->buf, want, at, NULL);
    if (got > 0) {
        r->len = (size_t) got;
    }
    return got;
}

int tpi_segment_reader_open(struct tpi_segment_reader *r, const struct tpc_allocator *alloc,
                            const struct tpc_files *files, const char *path)
{
    const uint8_t *table;
    int64_t got;
    uint32_t bytes, i;
    int rc;

    memset(r, 0, sizeof(*r));
    r->alloc = alloc;
    r->files = files;
    r->limit = UINT64_MAX;
    rc = files->open(files->user, path, TPC_FILE_READ, &r->file, NULL);
    if (rc != 0) {
        r->file = NULL;
        return rc;
    }
    got = fill(r, 0, TPI_SEGMENT_FIXED_BYTES);
    if (got >= TPI_SEGMENT_FIXED_BYTES) {
        bytes = tpi_get_u32(r->buf + 12);
        got = bytes <= HEADER_MAX ? fill(r, 0, bytes) : 0;
    }
    if (got < 0) {
        rc = (int) got;
        goto out;
    }
    rc = tpi_segment_header_read(r->buf, r->len, &r->header, &table);
    if (rc != 0) {
        goto out;
    }
    r->offsets = tpi_alloc_array(alloc, (size_t) r->header.partitions + 1, sizeof(*r->offsets));
    if (r->offsets == NULL) {
        rc = TPC_ENOMEM;
        goto out;
    }
    for (i = 0; i < r->header.partitions; i++) {
        r->offsets[i] = tpi_get_u64(table + (size_t) i * 8);
    }
    r->pos = r->header.header_bytes;
    return 0;
out:
    tpi_segment_reader_close(r);
    return rc;
}

void tpi_segment_reader_close(struct tpi_segment_reader *r)
{
    if (r->offsets != NULL) {
        tpi_free(r->alloc, r->offsets, ((size_t) r->header.partitions + 1) * sizeof(*r->offsets));
        r->offsets = NULL;
    }
    tpi_free(r->alloc, r->buf, r->cap);
    r->buf = NULL;
    r->cap = 0;
    r->len = 0;
    if (r->file != NULL) {
        r->files->close(r->files->user, r->file);
        r->file = NULL;
    }
}

void tpi_segment_reader_seek(struct tpi_segment_reader *r, uint64_t pos)
{
    r->pos = pos < r->header.header_bytes ? r->header.header_bytes : pos;
}

/* What stands at a position: 1 a good frame, 0 none, TPC_EGAP nothing as the file ends, or another
 * negative code. *ret_skip = how far to go on if it is none. */
static int frame_at(struct tpi_segment_reader *r, uint64_t at, struct tpi_frame *ret,
                    uint64_t *ret_skip)
{
    int64_t got = fill(r, at, TPI_FRAME_HEADER_BYTES);

    *ret_skip = 1;
    if (got < TPI_FRAME_HEADER_BYTES) {
        return got < 0 ? (int) got : TPC_EGAP;
    }
    if (!tpi_frame_parse(r->buf + (at - r->buf_at), true, ret)) {
        return 0;
    }
    got = fill(r, at, ret->length);
    if (got < 0) {
        return (int) got;
    }
    if (got < ret->length) {
        return 0;
    }
    ret->ptr = r->buf + (at - r->buf_at); /* fill() may have moved it */
    if (at >= r->good_from && at < r->good_to) {
        return 1;
    }
    *ret_skip = ret->length;
    if (!tpi_frame_good(ret) || (ret->flags & (uint32_t) FRAME_MUST_KNOW) != 0) {
        return 0;
    }
    if (at != r->good_to) {
        r->good_from = at;
    }
    r->good_to = at + ret->length;
    return 1;
}

/* The next place from `at` on where a frame's magic may begin, within what is in the buffer. */
static uint64_t next_magic(const struct tpi_segment_reader *r, uint64_t at)
{
    const uint8_t *from, *hit;

    if (at < r->buf_at || at >= r->buf_at + r->len) {
        return at;
    }
    from = r->buf + (at - r->buf_at);
    hit = memchr(from, frame_magic[0], (size_t) (r->buf + r->len - from));
    return hit == NULL ? r->buf_at + r->len : at + (uint64_t) (hit - from);
}

int tpi_segment_reader_next(struct tpi_segment_reader *r, struct tpi_frame *ret)
{
    uint64_t begin = r->pos, at = r->pos, skip;
    int rc;

    while ((rc = frame_at(r, at, ret, &skip)) == 0) {
        at = skip == 1 ? next_magic(r, at + 1) : at + skip;
    }
    if (rc == TPC_EGAP) {
        r->tail_bytes = r->buf_at + r->len > begin ? r->buf_at + r->len - begin : 0;
        return 0;
    }
    if (rc < 0) {
        return rc;
    }
    if (at > begin && at > r->bad_at) {
        r->bad_frames++;
        r->bad_bytes += at - begin;
        r->bad_at = at;
    }
    r->pos = at + ret->length;
    return 1;
}
