#include "codec/emit.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "data/json_read.h"
#include "data/number.h"

#include <string.h>

static const struct tpc_value *present(const struct tpc_value *map, struct tpc_str key)
{
    const struct tpc_value *v = tpc_value_get(map, key);
    return v == NULL || v->type == TPC_NULL ? NULL : v;
}

int tpi_codec_each(const struct tpc_frame *frames, uint32_t count, size_t frame_size,
                   const struct tpc_decode_sink *sink, tpi_codec_frame_fn *fn)
{
    const char *p = (const char *) frames;
    for (uint32_t i = 0; i < count; i++, p += frame_size) {
        struct tpc_error err;
        int rc = fn((const struct tpc_frame *) (const void *) p, i, sink, &err);
        if (rc < 0) {
            sink->refuse(sink->user, i, &err);
        }
    }
    return 0;
}

int tpi_codec_emit(uint32_t index, const struct tpc_decode_sink *sink,
                   const struct tpc_decoded *head)
{
    if (sink->begin(sink->user, index, head) != 0 || sink->end(sink->user) != 0) {
        return TPI_CODEC_ENDED;
    }
    return 0;
}

int tpi_codec_emit_map(uint32_t index, const struct tpc_decode_sink *sink,
                       const struct tpc_decoded *head, const struct tpc_value *map)
{
    if (sink->begin(sink->user, index, head) != 0) {
        return TPI_CODEC_ENDED;
    }
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        if (sink->point(sink->user, m->key, &m->value, 0) != 0) {
            return TPI_CODEC_ENDED;
        }
    }
    return sink->end(sink->user) != 0 ? TPI_CODEC_ENDED : 0;
}

/* The value whose first event was read; scalars without a tree. */
static int read_value(struct tpi_json *r, int event, struct tpc_arena *arena, struct tpc_error *err,
                      struct tpc_value *ret)
{
    struct tpc_value v = { .type = TPC_NULL };
    switch (event) {
    case TPI_JSON_INT:
        v.type = TPC_INT;
        v.as.i = r->i;
        break;
    case TPI_JSON_DOUBLE:
        v.type = TPC_DOUBLE;
        v.as.d = r->d;
        break;
    case TPI_JSON_BOOL:
        v.type = TPC_BOOL;
        v.as.b = r->i != 0;
        break;
    case TPI_JSON_NULL:
        break;
    default:
        return tpi_json_tree(r, event, arena, 0, err, ret);
    }
    *ret = v;
    return 0;
}

int tpi_codec_read_points(struct tpi_json *r, const struct tpc_decode_sink *sink,
                          struct tpc_error *err)
{
    int event = tpi_json_next(r);
    while (event == TPI_JSON_KEY) {
        struct tpc_str key = r->text;
        if (r->escaped && tpi_json_unescape(r, sink->arena, &key) != 0) {
            return tpi_error_set(err, TPC_ENOMEM, "json", "no memory for a key");
        }
        event = tpi_json_next(r);
        if (event == TPI_JSON_ERROR) {
            break;
        }
        struct tpc_value v;
        int rc = read_value(r, event, sink->arena, err, &v);
        if (rc != 0) {
            return rc;
        }
        if (sink->point(sink->user, key, &v, 0) != 0) {
            return TPI_CODEC_ENDED;
        }
        event = tpi_json_next(r);
    }
    return event == TPI_JSON_ERROR ? tpi_json_fail(r, err) : 0;
}

int tpi_codec_label(const struct tpc_value *v, const char *member, struct tpc_arena *arena,
                    struct tpc_error *err, struct tpc_str *ret)
{
    struct tpc_str s = { "", 0 };
    if (v == NULL || v->type == TPC_NULL) {
        *ret = s;
        return 0;
    }
    if (v->type == TPC_TEXT) {
        *ret = tpc_value_text(v);
        return 0;
    }
    if (v->type != TPC_INT) {
        tpi_error_set(err, TPC_EDECODE, "codec", "must be a text or an integer");
        tpi_error_at(err, member);
        return TPC_EDECODE;
    }
    char *p = tpc_arena_take(arena, TPI_NUMBER_TEXT_BYTES);
    if (p == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "codec", "no memory for \"%s\"", member);
    }
    s.ptr = p;
    s.len = tpi_number_print_int(v->as.i, p);
    *ret = s;
    return 0;
}

int tpi_codec_code(const struct tpc_value *v, const char *member, int32_t fallback,
                   struct tpc_error *err, int32_t *ret)
{
    int64_t code = fallback;
    if (v != NULL && v->type != TPC_NULL &&
        (tpc_value_int(v, &code) != 0 || code < INT32_MIN || code > INT32_MAX)) {
        tpi_error_set(err, TPC_EDECODE, "codec", "must be an integer of 32 bits");
        tpi_error_at(err, member);
        return TPC_EDECODE;
    }
    *ret = (int32_t) code;
    return 0;
}

int tpi_codec_event(const struct tpc_frame *frame, uint32_t index, const struct tpc_value *map,
                    const struct tpc_decode_sink *sink, uint16_t flags, struct tpc_error *err)
{
    struct tpc_decoded head = tpi_codec_head(frame, TPC_MSG_EVENT);
    const struct tpc_value *method = present(map, TPC_STR("method"));
    const struct tpc_value *params = present(map, TPC_STR("params"));
    head.flags = flags;
    head.name = frame->name;
    if (method != NULL) {
        if (method->type != TPC_TEXT) {
            return tpi_error_set(err, TPC_EDECODE, "codec", "an event's \"method\" must be a text");
        }
        head.name = tpc_value_text(method);
    }
    if (head.name.len == 0) {
        return tpi_error_set(err, TPC_EDECODE, "codec", "an event needs a \"method\"");
    }
    if (params != NULL) {
        head.params = *params;
    }
    return tpi_codec_emit(index, sink, &head);
}

int tpi_codec_reply(const struct tpc_frame *frame, uint32_t index, const struct tpc_value *map,
                    const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    struct tpc_decoded head = tpi_codec_head(frame, TPC_MSG_REPLY);
    const struct tpc_value *result = present(map, TPC_STR("result"));
    /* A message id in the topic is the one that counts (contract thingspanel 2). */
    const struct tpc_value *id = frame->correlation.len > 0 ? NULL : present(map, TPC_STR("id"));
    const struct tpc_value *data = present(map, TPC_STR("data"));
    const struct tpc_value *message = present(map, TPC_STR("message"));
    int64_t ts = 0;
    struct tpc_str label;
    int rc;

    if (result != NULL) {
        rc = tpi_codec_code(result, "result", 0, err, &head.code);
    } else {
        rc = tpi_codec_code(present(map, TPC_STR("code")), "code", head.code, err, &head.code);
    }
    if (rc == 0) {
        rc = tpi_codec_label(id, "id", sink->arena, err, &label);
    }
    if (rc != 0) {
        return rc;
    }
    if (label.len > 0) {
        head.correlation = label;
    }
    if (message == NULL) {
        message = present(map, TPC_STR("msg"));
    }
    head.message = tpc_value_text(message);
    if (head.message.len == 0 && head.code != 0) {
        head.message = tpc_value_text(present(map, TPC_STR("errcode")));
    }
    head.name = tpc_value_text(present(map, TPC_STR("method")));
    if (tpc_value_int(present(map, TPC_STR("ts")), &ts) == 0 && ts > 0 && ts < INT64_MAX / 1000) {
        head.unix_ms = ts * 1000;
    }
    if (data != NULL) {
        head.params = *data;
    }
    return tpi_codec_emit(index, sink, &head);
}

static int put_presence(const struct tpc_frame *frame, uint32_t index, bool online,
                        const struct tpc_value *connection, const struct tpc_decode_sink *sink,
                        struct tpc_error *err)
{
    struct tpc_decoded head = tpi_codec_head(frame, TPC_MSG_PRESENCE);
    struct tpc_member *m = tpc_arena_take(sink->arena, 2 * sizeof(*m));
    if (m == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "codec", "no memory for a presence message");
    }
    m[0].key = TPC_STR("online");
    m[0].value = (struct tpc_value){ .type = TPC_BOOL, .as = { .b = online } };
    if (connection != NULL) {
        m[1].key = TPC_STR("connection");
        m[1].value = *connection;
    }
    head.params = tpi_codec_map(m, connection != NULL ? 2 : 1);
    return tpi_codec_emit(index, sink, &head);
}

int tpi_codec_presence(const struct tpc_frame *frame, uint32_t index, bool online,
                       const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    return put_presence(frame, index, online, NULL, sink, err);
}

int tpi_codec_presence_value(const struct tpc_frame *frame, uint32_t index,
                             const struct tpc_value *v, const struct tpc_decode_sink *sink,
                             struct tpc_error *err)
{
    int64_t online = -1;
    int64_t number = 0;
    const struct tpc_value *connection = NULL;
    if (v->type == TPC_MAP) {
        connection = tpc_value_get(v, TPC_STR("connection"));
        v = tpc_value_get(v, TPC_STR("online"));
    }
    if (tpc_value_int(v, &online) != 0 || online < 0 || online > 1) {
        return tpi_error_set(err, TPC_EDECODE, "codec", "a presence must be 1 or 0");
    }
    if (connection != NULL && (tpc_value_int(connection, &number) != 0 || number < 0)) {
        return tpi_error_set(err, TPC_EDECODE, "codec",
                             "the number of a connection is a whole number, 0 or above");
    }
    return put_presence(frame, index, online == 1, connection, sink, err);
}

int tpi_codec_raw(const struct tpc_frame *frame, uint32_t index, const struct tpc_decode_sink *sink)
{
    struct tpc_decoded head = tpi_codec_head(frame, TPC_MSG_RAW);
    head.name = frame->name;
    head.params.type = TPC_BLOB;
    head.params.len = frame->payload.len;
    head.params.as.blob = frame->payload.ptr;
    return tpi_codec_emit(index, sink, &head);
}

int tpi_codec_wrong_kind(const struct tpc_frame *frame, const char *origin, struct tpc_error *err)
{
    return tpi_error_set(err, TPC_EUNSUPPORTED, origin, "a device cannot send a message of kind %s",
                         tpc_kind_name(frame->kind));
}

uint32_t tpi_codec_number(struct tpc_str correlation)
{
    uint32_t n = correlation.len > 0 ? tpi_crc32c(0, correlation.ptr, correlation.len) : 0;
    n &= 0x7FFFFFFF;
    return n != 0 ? n : 1;
}
