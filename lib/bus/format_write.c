/*
 * Writing segments' headers, frames and records: docs/format/log.md.
 */
#include "bus/format.h"

#include "base/buf.h"
#include "base/crc32c.h"

#include <stddef.h>
#include <string.h>
#include <tpcore/msg.h>

static const uint8_t segment_magic[8] = { 0x89, 'T', 'P', 'C', 'L', 'O', 'G', '\n' };
static const uint8_t frame_magic[4] = { 0xb5, 'T', 'P', 'F' };

enum { RECORD_HAS_TRACE = 1 << 16, RECORD_HAS_BOOT = 1 << 17 };

uint32_t tpi_segment_header_bytes(uint32_t partitions)
{
    return TPI_SEGMENT_FIXED_BYTES + partitions * 8U;
}

void tpi_segment_header_write(const struct tpi_segment_header *h, const uint64_t *offsets,
                              uint8_t *ret)
{
    uint32_t bytes = tpi_segment_header_bytes(h->partitions);
    uint32_t i;

    memcpy(ret, segment_magic, sizeof(segment_magic));
    tpi_put_u32(ret + 12, bytes);
    tpi_put_u16(ret + 16, TPI_LOG_FORMAT);
    tpi_put_u16(ret + 18, TPI_LOG_FORMAT);
    tpi_put_u32(ret + 20, h->partitions);
    memcpy(ret + 24, h->log_id.b, sizeof(h->log_id.b));
    tpi_put_u64(ret + 40, (uint64_t) h->log_unix_ms);
    tpi_put_u64(ret + 48, h->number);
    tpi_put_u64(ret + 56, (uint64_t) h->unix_ms);
    tpi_put_u64(ret + 64, h->first_sequence);
    tpi_put_u32(ret + 72, TPI_SEGMENT_FIXED_BYTES);
    tpi_put_u32(ret + 76, 0);
    for (i = 0; i < h->partitions; i++) {
        tpi_put_u64(ret + TPI_SEGMENT_FIXED_BYTES + (size_t) i * 8, offsets[i]);
    }
    tpi_put_u32(ret + 8, tpi_crc32c(0, ret + 12, bytes - 12));
}

size_t tpi_record_bound(const struct tpc_record *r)
{
    return r->body.len + TPI_RECORD_HEAD_MAX;
}

/* The buffer's own varint checks its room at every byte; here the bound was checked before. */
static uint8_t *put_varint(uint8_t *p, uint64_t x)
{
    while (x >= 0x80) {
        *p++ = (uint8_t) (x | 0x80);
        x >>= 7;
    }
    *p++ = (uint8_t) x;
    return p;
}

/* to - from as zigzag, modulo 2^64: any two times have a difference that reads back. */
static uint64_t zigzag_delta(int64_t from, int64_t to)
{
    uint64_t d = (uint64_t) to - (uint64_t) from;

    return (d << 1) ^ (uint64_t) - (int64_t) (d >> 63);
}

static bool id_is_set(const struct tpc_id *id)
{
    uint64_t half[2];

    memcpy(half, id->b, sizeof(half));
    return (half[0] | half[1]) != 0;
}

/* Records of older callers have no boot. */
static bool has_boot(const struct tpc_record *r)
{
    return (r->flags & TPC_MSG_CLOCK_UNSURE) != 0 &&
           r->size >= offsetof(struct tpc_record, mono_ms) + sizeof(r->mono_ms) &&
           id_is_set(&r->boot);
}

uint8_t *tpi_record_write(uint8_t *p, const struct tpc_record *r, int64_t base_unix_ms)
{
    uint8_t head[TPI_RECORD_HEAD_MAX];
    uint8_t *h = head;
    bool traced = id_is_set(&r->trace);
    bool unsure = has_boot(r);
    uint32_t bits =
        (traced ? (uint32_t) RECORD_HAS_TRACE : 0U) | (unsure ? (uint32_t) RECORD_HAS_BOOT : 0U);
    size_t head_bytes;

    h = put_varint(h, r->kind);
    h = put_varint(h, r->flags | bits);
    h = put_varint(h, r->device_id);
    h = put_varint(h, r->model_revision);
    h = put_varint(h, zigzag_delta(base_unix_ms, r->received_unix_ms));
    h = put_varint(h, zigzag_delta(r->received_unix_ms, r->unix_ms));
    if (traced) {
        memcpy(h, r->trace.b, sizeof(r->trace.b));
        h += sizeof(r->trace.b);
    }
    if (unsure) {
        memcpy(h, r->boot.b, sizeof(r->boot.b));
        h = put_varint(h + sizeof(r->boot.b), r->mono_ms);
    }
    head_bytes = (size_t) (h - head);
    p = put_varint(p, 1 + head_bytes + r->body.len);
    *p++ = (uint8_t) head_bytes;
    memcpy(p, head, head_bytes);
    p += head_bytes;
    if (r->body.len > 0) {
        memcpy(p, r->body.ptr, r->body.len);
        p += r->body.len;
    }
    return p;
}

void tpi_frame_write(const struct tpi_frame *f, uint8_t *ret)
{
    memcpy(ret, frame_magic, sizeof(frame_magic));
    tpi_put_u32(ret + 4, 0);
    tpi_put_u32(ret + 8, f->length);
    tpi_put_u16(ret + 12, TPI_FRAME_HEADER_BYTES);
    tpi_put_u16(ret + 14, TPI_RUN_BYTES);
    tpi_put_u32(ret + 16, 0);
    tpi_put_u32(ret + 20, f->count);
    tpi_put_u64(ret + 24, f->sequence);
    tpi_put_u64(ret + 32, (uint64_t) f->base_unix_ms);
    tpi_put_u32(ret + 40, f->run_count);
    tpi_put_u32(ret + 44, 0);
}

void tpi_run_write(uint8_t *frame, uint32_t index, const struct tpi_run *run)
{
    uint8_t *p = frame + TPI_FRAME_HEADER_BYTES + (size_t) index * TPI_RUN_BYTES;

    tpi_put_u32(p, run->partition);
    tpi_put_u32(p + 4, run->count);
    tpi_put_u64(p + 8, run->offset);
    tpi_put_u32(p + 16, run->at);
    tpi_put_u32(p + 20, run->bytes);
}

void tpi_frame_seal(uint8_t *frame)
{
    tpi_put_u32(frame + 44, tpi_crc32c(0, frame + 8, 36));
    tpi_put_u32(frame + 4, tpi_crc32c(0, frame + 8, tpi_frame_length(frame) - 8));
}
