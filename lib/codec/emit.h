/*
 * What the built-in codecs share: the walk over a batch's frames, messages from trees, JSON into an
 * arena.
 */
#ifndef TPI_CODEC_EMIT_H
#define TPI_CODEC_EMIT_H

#include <stddef.h>
#include <tpcore/ext/codec.h>

#include "model/direct.h"

/* Answer of an emitting function: the sink wants no more of this frame. Not an error of the frame.
 */
enum { TPI_CODEC_ENDED = 1 };

/* Decodes one frame: 0, TPI_CODEC_ENDED, or a code with err filled: the frame is refused. */
typedef int tpi_codec_frame_fn(const struct tpc_frame *frame, uint32_t index,
                               const struct tpc_decode_sink *sink, struct tpc_error *err);

/* Runs fn on each frame and refuses those it fails on. Always 0. */
int tpi_codec_each(const struct tpc_frame *frames, uint32_t count, size_t frame_size,
                   const struct tpc_decode_sink *sink, tpi_codec_frame_fn *fn);

/* A head of that kind with the frame's correlation, and of a reply its code. */
static inline struct tpc_decoded tpi_codec_head(const struct tpc_frame *frame, uint16_t kind)
{
    /* Every member by name: compilers then write the members and clear nothing before. */
    return (struct tpc_decoded){
        .size = sizeof(struct tpc_decoded),
        .kind = kind,
        .flags = 0,
        .code = kind == TPC_MSG_REPLY ? (int32_t) frame->code : 0,
        .unix_ms = 0,
        .name = { NULL, 0 },
        .correlation = frame->correlation,
        .message = { NULL, 0 },
        .params = { .type = TPC_NULL, .reserved = 0, .len = 0, .as = { .i = 0 } },
        .answer = { NULL, 0 },
    };
}

/* A message without points: begin and end. */
int tpi_codec_emit(uint32_t index, const struct tpc_decode_sink *sink,
                   const struct tpc_decoded *head);

/* A message with one point for each member of map. */
int tpi_codec_emit_map(uint32_t index, const struct tpc_decode_sink *sink,
                       const struct tpc_decoded *head, const struct tpc_value *map);

/* Points of the map whose MAP event was read, up to and with MAP_END. Codes as a frame_fn. */
int tpi_codec_read_points(struct tpi_json *r, const struct tpc_decode_sink *sink,
                          struct tpc_error *err);

/* The way straight to points, or NULL: this sink has none, or this is a module's copy of the code,
 * whose core may be of another version. */
static inline struct tpi_direct *tpi_codec_direct(const struct tpc_decode_sink *sink)
{
#ifdef TPC_EXT_BUILD
    (void) sink;
    return NULL;
#else
    return sink->size > offsetof(struct tpc_decode_sink, direct) ? sink->direct : NULL;
#endif
}

/* Goes to a device behind the gateway; see tpc_decode_sink.enter. False: its part is passed over. */
static inline bool tpi_codec_enter(const struct tpc_decode_sink *sink, uint32_t index,
                                   struct tpc_str product, struct tpc_str device)
{
    return sink->size > offsetof(struct tpc_decode_sink, leave) && sink->enter != NULL &&
           sink->enter(sink->user, index, product, device) == 0;
}

/* A gateway's tree of values or events, each part with this head. Codes as a frame_fn. */
int tpi_codec_nested(const struct tpc_frame *frame, uint32_t index,
                     const struct tpc_decode_sink *sink, const struct tpc_decoded *head,
                     struct tpc_error *err);

/* Event {"method", "params"?}. */
int tpi_codec_event(const struct tpc_frame *frame, uint32_t index, const struct tpc_value *map,
                    const struct tpc_decode_sink *sink, uint16_t flags, struct tpc_error *err);

/* Reply {"result", "errcode", "message", "ts", "method"} or {"id", "code", "data", "msg"}. Without
 * result and code it is a success (contract thingspanel 6.5). */
int tpi_codec_reply(const struct tpc_frame *frame, uint32_t index, const struct tpc_value *map,
                    const struct tpc_decode_sink *sink, struct tpc_error *err);

/* Presence. */
int tpi_codec_presence(const struct tpc_frame *frame, uint32_t index, bool online,
                       const struct tpc_decode_sink *sink, struct tpc_error *err);

/* Presence as {"online": bool}, with "connection" if it has a number, a bool or the number 1 or 0. */
int tpi_codec_presence_value(const struct tpc_frame *frame, uint32_t index,
                             const struct tpc_value *v, const struct tpc_decode_sink *sink,
                             struct tpc_error *err);

/* Payload kept as bytes. */
int tpi_codec_raw(const struct tpc_frame *frame, uint32_t index,
                  const struct tpc_decode_sink *sink);

/* TPC_EUNSUPPORTED: a frame of a kind that devices do not send. */
int tpi_codec_wrong_kind(const struct tpc_frame *frame, const char *origin, struct tpc_error *err);

/* A text or an int as text (an int in the arena); empty for null and absent.
 * Returns 0, TPC_EDECODE (naming member) or TPC_ENOMEM. */
int tpi_codec_label(const struct tpc_value *v, const char *member, struct tpc_arena *arena,
                    struct tpc_error *err, struct tpc_str *ret);

/* An int that fits a reply's code; null and absent give fallback. */
int tpi_codec_code(const struct tpc_value *v, const char *member, int32_t fallback,
                   struct tpc_error *err, int32_t *ret);

/* Number that stands for a command's id where a platform's ids are numbers: 1 .. 2^31 - 1. The transport
 * keeps the way back. */
uint32_t tpi_codec_number(struct tpc_str correlation);

/* Writers of JSON and CBOR trees have this type. */
typedef int tpi_codec_write_fn(const struct tpc_value *v, struct tpc_arena *arena,
                               struct tpc_error *err, struct tpc_bytes *ret);

/* JSON text of v in the arena. */
int tpi_codec_write_json(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_error *err,
                         struct tpc_bytes *ret);

enum tpi_codec_style {
    TPI_CODEC_PLAIN = 0,      /* commands carry "id"; answers are {"id", "code"} */
    TPI_CODEC_THINGSPANEL = 1 /* the id is in the topic; answers are {"result", "message"} */
};

/* Command, set, get or answer as the json, thingspanel and cbor codecs write it. */
int tpi_codec_encode(const struct tpc_encode *what, enum tpi_codec_style style,
                     tpi_codec_write_fn *write, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpc_bytes *ret);

/* compile of the codecs without options: the config may only name the codec. */
int tpi_codec_compile_none(void *self, const struct tpc_codec_source *source, struct tpc_error *err,
                           void **ret_program);
void tpi_codec_release_none(void *self, void *program);

/* Values in place. */
static inline struct tpc_value tpi_codec_text(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as = { .text = s.ptr } };
}

static inline struct tpc_value tpi_codec_int(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as = { .i = i } };
}

static inline struct tpc_value tpi_codec_map(const struct tpc_member *members, size_t count)
{
    return (struct tpc_value){ .type = TPC_MAP, .len = count, .as = { .members = members } };
}

static inline struct tpc_str tpi_codec_payload_text(const struct tpc_frame *frame)
{
    return (struct tpc_str){ (const char *) frame->payload.ptr, frame->payload.len };
}

#endif
