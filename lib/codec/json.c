/* Codecs "json" and "thingspanel". */
#include "base/error.h"
#include "codec/codec.h"
#include "codec/emit.h"
#include "data/json_read.h"
#include "data/utf8.h"

#include <string.h>

/* The message by the way that the model directs. False: nothing happened. */
static bool decode_direct(const struct tpc_frame *frame, uint32_t index,
                          const struct tpc_decode_sink *sink, const struct tpc_decoded *head,
                          uint32_t flags, int *ret)
{
    struct tpi_direct *d = tpi_codec_direct(sink);
    struct tpc_str text = tpi_codec_payload_text(frame);
    struct tpi_json r;
    size_t at = 0;
    while (at < text.len && text.ptr[at] == ' ') {
        at++;
    }
    if (d == NULL || at == text.len || text.ptr[at] != '{') {
        return false;
    }
    tpi_json_enter(&r, text, text.ptr + at + 1);
    if (!d->json(d, &r, flags) || (r.p != r.end && tpi_json_next(&r) != TPI_JSON_END)) {
        return false;
    }
    *ret = d->message(d, index, head) != 0 ? TPI_CODEC_ENDED : 0;
    return true;
}

/* Flat object straight from the text to points. */
static int decode_flat(const struct tpc_frame *frame, uint32_t index,
                       const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    uint16_t kind = frame->kind == TPC_MSG_ATTRIBUTES ? TPC_MSG_ATTRIBUTES : TPC_MSG_TELEMETRY;
    struct tpc_decoded head = tpi_codec_head(frame, kind);
    struct tpi_json r;
    int rc;
    if (decode_direct(frame, index, sink, &head, 0, &rc)) {
        return rc;
    }
    tpi_json_begin(&r, tpi_codec_payload_text(frame));
    int event = tpi_json_next(&r);
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(&r, err);
    }
    if (event != TPI_JSON_MAP) {
        return tpi_error_set(err, TPC_EDECODE, "json", "an object was expected");
    }
    if (sink->begin(sink->user, index, &head) != 0) {
        return TPI_CODEC_ENDED;
    }
    rc = tpi_codec_read_points(&r, sink, err);
    if (rc != 0) {
        return rc;
    }
    if (tpi_json_next(&r) != TPI_JSON_END) {
        return tpi_json_fail(&r, err);
    }
    return sink->end(sink->user) != 0 ? TPI_CODEC_ENDED : 0;
}

static int parse(const struct tpc_frame *frame, const struct tpc_decode_sink *sink,
                 struct tpc_error *err, struct tpc_value *ret)
{
    return tpc_json_parse(sink->arena, tpi_codec_payload_text(frame), 0, err, ret);
}

static int parse_map(const struct tpc_frame *frame, const struct tpc_decode_sink *sink,
                     struct tpc_error *err, struct tpc_value *ret)
{
    int rc = parse(frame, sink, err, ret);
    if (rc == 0 && ret->type != TPC_MAP) {
        rc = tpi_error_set(err, TPC_EDECODE, "json", "an object was expected");
    }
    return rc;
}

static int json_frame(const struct tpc_frame *frame, uint32_t index,
                      const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    struct tpc_value v;
    int rc;
    switch (frame->kind) {
    case TPC_MSG_UNKNOWN:
    case TPC_MSG_TELEMETRY:
    case TPC_MSG_ATTRIBUTES:
        return decode_flat(frame, index, sink, err);
    case TPC_MSG_EVENT:
        rc = parse_map(frame, sink, err, &v);
        return rc != 0 ? rc : tpi_codec_event(frame, index, &v, sink, 0, err);
    case TPC_MSG_REPLY:
        rc = parse_map(frame, sink, err, &v);
        return rc != 0 ? rc : tpi_codec_reply(frame, index, &v, sink, err);
    case TPC_MSG_PRESENCE:
        rc = parse(frame, sink, err, &v);
        return rc != 0 ? rc : tpi_codec_presence_value(frame, index, &v, sink, err);
    case TPC_MSG_RAW:
        return tpi_codec_raw(frame, index, sink);
    default:
        return tpi_codec_wrong_kind(frame, "json", err);
    }
}

static int json_decode(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                       uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink)
{
    (void) self;
    (void) worker;
    (void) program;
    return tpi_codec_each(frames, count, frame_size, sink, json_frame);
}

static int json_encode(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                       struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret)
{
    (void) self;
    (void) worker;
    (void) program;
    return tpi_codec_encode(what, TPI_CODEC_PLAIN, tpi_codec_write_json, arena, err, ret);
}

const struct tpc_codec_ops tpi_codec_json = {
    .iface = TPC_IFACE(struct tpc_codec_ops, 1),
    .name = "json",
    .compile = tpi_codec_compile_none,
    .release = tpi_codec_release_none,
    .decode = json_decode,
    .encode = json_encode,
};

/* ---- thingspanel ---- */

/* What is no object, as a value: JSON as it is, else text, else bytes (contract thingspanel 5). */
static int raw_value(const struct tpc_frame *frame, const struct tpc_decode_sink *sink,
                     struct tpc_error *err, struct tpc_value *ret)
{
    int rc = parse(frame, sink, err, ret);
    if (rc != TPC_EDECODE) {
        return rc;
    }
    struct tpc_str text = tpi_codec_payload_text(frame);
    if (text.len > 0 && tpi_utf8_valid(text.ptr, text.len)) {
        *ret = tpi_codec_text(text);
        return 0;
    }
    ret->type = TPC_BLOB;
    ret->reserved = 0;
    ret->len = frame->payload.len;
    ret->as.blob = frame->payload.ptr;
    return 0;
}

static bool looks_like_object(struct tpc_bytes b)
{
    size_t i = 0;
    while (i < b.len && (b.ptr[i] == ' ' || (b.ptr[i] >= '\t' && b.ptr[i] <= '\r'))) {
        i++;
    }
    return i < b.len && b.ptr[i] == '{';
}

/* With a message id in the topic, attributes and events are answered (contract 1.6). */
static uint16_t answer_flag(const struct tpc_frame *frame)
{
    return frame->correlation.len > 0 ? TPC_DECODED_ANSWER : 0;
}

static struct tpc_decoded report_head(const struct tpc_frame *frame)
{
    bool attributes = frame->kind == TPC_MSG_ATTRIBUTES;
    struct tpc_decoded head =
        tpi_codec_head(frame, attributes ? TPC_MSG_ATTRIBUTES : TPC_MSG_TELEMETRY);
    /* A report is what answers a get (contract 1.5). */
    head.flags = attributes ? answer_flag(frame) | TPC_DECODED_GOT : 0;
    return head;
}

/* Values with a message id in their topic, of which no key may be there twice. */
static bool answered_direct(const struct tpc_frame *frame, uint32_t index,
                            const struct tpc_decode_sink *sink, int *ret)
{
    struct tpc_decoded head = report_head(frame);
    return decode_direct(frame, index, sink, &head, TPI_DIRECT_UNIQUE, ret);
}

static int thingspanel_data(const struct tpc_frame *frame, uint32_t index,
                            const struct tpc_value *v, const struct tpc_decode_sink *sink,
                            struct tpc_error *err)
{
    if (frame->kind == TPC_MSG_EVENT) {
        return tpi_codec_event(frame, index, v, sink, answer_flag(frame), err);
    }
    struct tpc_decoded head = report_head(frame);
    return tpi_codec_emit_map(index, sink, &head, v);
}

/* Telemetry, attributes and events, with the wrapping of what is no object. */
static int thingspanel_up(const struct tpc_frame *frame, uint32_t index,
                          const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    bool event = frame->kind == TPC_MSG_EVENT;
    struct tpc_value v;
    if (frame->topic.len > 8 && memcmp(frame->topic.ptr, "gateway/", 8) == 0) {
        struct tpc_decoded head = report_head(frame);
        head.flags |= answer_flag(frame);
        return tpi_codec_nested(frame, index, sink, &head, err);
    }
    if (looks_like_object(frame->payload)) {
        if (!event && answer_flag(frame) == 0) {
            return decode_flat(frame, index, sink, err);
        }
        int rc;
        if (!event && answered_direct(frame, index, sink, &rc)) {
            return rc;
        }
        rc = parse_map(frame, sink, err, &v);
        return rc != 0 ? rc : thingspanel_data(frame, index, &v, sink, err);
    }
    int rc = raw_value(frame, sink, err, &v);
    if (rc != 0) {
        return rc;
    }
    struct tpc_member *m = tpc_arena_take(sink->arena, 3 * sizeof(*m));
    if (m == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "thingspanel", "no memory for a raw value");
    }
    if (!event) {
        m[0] = (struct tpc_member){ TPC_STR("_raw"), v };
        v = tpi_codec_map(m, 1);
    } else {
        m[2] = (struct tpc_member){ TPC_STR("value"), v };
        m[0] = (struct tpc_member){ TPC_STR("method"), tpi_codec_text(TPC_STR("_raw")) };
        m[1] = (struct tpc_member){ TPC_STR("params"), tpi_codec_map(m + 2, 1) };
        v = tpi_codec_map(m, 2);
    }
    return thingspanel_data(frame, index, &v, sink, err);
}

static struct tpc_str text_of(const struct tpc_value *map, struct tpc_str key)
{
    return tpc_value_text(tpc_value_get(map, key));
}

/* The response object of the contract (1.6), read as ThingsPanel does (6.5): without a result it is a
 * success; a failure is told with errcode, else message, else all of it. The object itself is the
 * answer. */
static int response(const struct tpc_frame *frame, const struct tpc_value *v,
                    const struct tpc_decode_sink *sink, struct tpc_error *err,
                    struct tpc_decoded *head)
{
    const struct tpc_value *result = tpc_value_get(v, TPC_STR("result"));
    int64_t ts = 0;
    int rc = tpi_codec_code(result, "result", head->code, err, &head->code);
    if (rc == 0 && frame->correlation.len == 0) { /* one in the topic counts */
        rc = tpi_codec_label(tpc_value_get(v, TPC_STR("id")), "id", sink->arena, err,
                             &head->correlation);
    }
    if (rc != 0) {
        return rc;
    }
    head->message = text_of(v, TPC_STR("message"));
    if (head->code != 0) {
        struct tpc_str errcode = text_of(v, TPC_STR("errcode"));
        head->message = errcode.len > 0         ? errcode
                        : head->message.len > 0 ? head->message
                                                : tpi_codec_payload_text(frame);
    }
    head->name = text_of(v, TPC_STR("method"));
    if (tpc_value_int(tpc_value_get(v, TPC_STR("ts")), &ts) == 0 && ts > 0 &&
        ts < INT64_MAX / 1000) {
        head->unix_ms = ts * 1000;
    }
    head->params = *v;
    return 0;
}

/* A response that cannot be read counts as the device's failure (contract 6.5). */
static int thingspanel_reply(const struct tpc_frame *frame, uint32_t index,
                             const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    struct tpc_decoded head = tpi_codec_head(frame, TPC_MSG_REPLY);
    struct tpc_value v;
    int rc = parse_map(frame, sink, err, &v);
    rc = rc != 0 ? rc : response(frame, &v, sink, err, &head);
    if (rc != 0 && rc != TPC_EDECODE) {
        return rc;
    }
    if (rc != 0) {
        struct tpc_str text = tpi_codec_payload_text(frame);
        bool readable = text.len > 0 && tpi_utf8_valid(text.ptr, text.len);
        head = tpi_codec_head(frame, TPC_MSG_REPLY);
        head.code = 1;
        head.message = readable ? text : TPC_STR("the response cannot be read");
    }
    return tpi_codec_emit(index, sink, &head);
}

static int thingspanel_frame(const struct tpc_frame *frame, uint32_t index,
                             const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    switch (frame->kind) {
    case TPC_MSG_UNKNOWN:
    case TPC_MSG_TELEMETRY:
    case TPC_MSG_ATTRIBUTES:
    case TPC_MSG_EVENT:
        return thingspanel_up(frame, index, sink, err);
    case TPC_MSG_REPLY:
        return thingspanel_reply(frame, index, sink, err);
    default:
        return json_frame(frame, index, sink, err);
    }
}

static int thingspanel_decode(void *self, uint32_t worker, void *program,
                              const struct tpc_frame *frames, uint32_t count, size_t frame_size,
                              const struct tpc_decode_sink *sink)
{
    (void) self;
    (void) worker;
    (void) program;
    return tpi_codec_each(frames, count, frame_size, sink, thingspanel_frame);
}

static int thingspanel_encode(void *self, uint32_t worker, void *program,
                              const struct tpc_encode *what, struct tpc_arena *arena,
                              struct tpc_error *err, struct tpc_bytes *ret)
{
    (void) self;
    (void) worker;
    (void) program;
    return tpi_codec_encode(what, TPI_CODEC_THINGSPANEL, tpi_codec_write_json, arena, err, ret);
}

static bool thingspanel_nests(void *self, void *program)
{
    (void) self;
    (void) program;
    return true;
}

const struct tpc_codec_ops tpi_codec_thingspanel = {
    .iface = TPC_IFACE(struct tpc_codec_ops, 1),
    .name = "thingspanel",
    .compile = tpi_codec_compile_none,
    .release = tpi_codec_release_none,
    .decode = thingspanel_decode,
    .encode = thingspanel_encode,
    .nests = thingspanel_nests,
};
