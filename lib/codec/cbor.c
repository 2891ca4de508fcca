/* Codec "cbor": the shapes of json, in CBOR. */
#include "base/error.h"
#include "codec/codec.h"
#include "codec/emit.h"

#include <tpcore/cbor.h>

enum { FIRST_BYTES = 256 };

static uint16_t data_kind(const struct tpc_frame *frame)
{
    return frame->kind == TPC_MSG_ATTRIBUTES ? TPC_MSG_ATTRIBUTES : TPC_MSG_TELEMETRY;
}

static int cbor_frame(const struct tpc_frame *frame, uint32_t index,
                      const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    if (frame->kind == TPC_MSG_RAW) {
        return tpi_codec_raw(frame, index, sink);
    }
    struct tpi_direct *d = tpi_codec_direct(sink);
    struct tpc_decoded head;
    if (d != NULL && frame->kind <= TPC_MSG_ATTRIBUTES && d->cbor(d, frame->payload)) {
        head = tpi_codec_head(frame, data_kind(frame));
        return d->message(d, index, &head) != 0 ? TPI_CODEC_ENDED : 0;
    }
    struct tpc_value v;
    int rc = tpc_cbor_parse(sink->arena, frame->payload, err, &v);
    if (rc != 0) {
        return rc;
    }
    if (frame->kind == TPC_MSG_PRESENCE) {
        return tpi_codec_presence_value(frame, index, &v, sink, err);
    }
    if (v.type != TPC_MAP) {
        return tpi_error_set(err, TPC_EDECODE, "cbor", "a map was expected");
    }
    switch (frame->kind) {
    case TPC_MSG_UNKNOWN:
    case TPC_MSG_TELEMETRY:
    case TPC_MSG_ATTRIBUTES:
        head = tpi_codec_head(frame, data_kind(frame));
        return tpi_codec_emit_map(index, sink, &head, &v);
    case TPC_MSG_EVENT:
        return tpi_codec_event(frame, index, &v, sink, 0, err);
    case TPC_MSG_REPLY:
        return tpi_codec_reply(frame, index, &v, sink, err);
    default:
        return tpi_codec_wrong_kind(frame, "cbor", err);
    }
}

static int cbor_decode(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                       uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink)
{
    (void) self;
    (void) worker;
    (void) program;
    return tpi_codec_each(frames, count, frame_size, sink, cbor_frame);
}

static int write_cbor(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_error *err,
                      struct tpc_bytes *ret)
{
    struct tpc_buf buf = { .cap = FIRST_BYTES };
    int rc = 0;
    for (int pass = 0; pass < 2; pass++) {
        buf.ptr = tpc_arena_take(arena, buf.cap);
        if (buf.ptr == NULL) {
            return tpi_error_set(err, TPC_ENOMEM, "cbor", "no memory for %zu bytes", buf.cap);
        }
        rc = tpc_cbor_write(v, &buf);
        if (rc != TPC_ETOOBIG) {
            break;
        }
        buf.cap = buf.need;
    }
    if (rc != 0) {
        return tpi_error_set(err, rc, "cbor", "the message cannot be written as CBOR");
    }
    *ret = (struct tpc_bytes){ buf.ptr, buf.need };
    return 0;
}

static int cbor_encode(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                       struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret)
{
    (void) self;
    (void) worker;
    (void) program;
    return tpi_codec_encode(what, TPI_CODEC_PLAIN, write_cbor, arena, err, ret);
}

const struct tpc_codec_ops tpi_codec_cbor = {
    .iface = TPC_IFACE(struct tpc_codec_ops, 1),
    .name = "cbor",
    .compile = tpi_codec_compile_none,
    .release = tpi_codec_release_none,
    .decode = cbor_decode,
    .encode = cbor_encode,
};
