/*
 * Codec "alink": the envelope of the IoT module (contract iot-module section 5),
 * {"requestId", "method", "params"} for requests and {"requestId", "method", "code", "data", "msg"}
 * for replies. The method alone says what a message is.
 */
#include "base/error.h"
#include "codec/codec.h"
#include "codec/emit.h"
#include "data/json_read.h"

#include <string.h>
#include <tpcore/json.h>

struct envelope {
    struct tpc_str request_id; /* or "id" */
    struct tpc_str method;     /* without "_reply" */
    struct tpc_str msg;
    int32_t code;
    bool reply;
    int params_event;       /* first event of params' value; 0 = absent */
    struct tpi_json params; /* reader that has just given it */
    bool direct;            /* params were read straight to points */
    int data_event;
    struct tpi_json data;
};

static const struct tpc_str property_post = TPC_STR_INIT("thing.property.post");
static const struct tpc_str event_post = TPC_STR_INIT("thing.event.post");
static const struct tpc_str pack_post = TPC_STR_INIT("thing.event.property.pack.post");
static const struct tpc_str state_update = TPC_STR_INIT("thing.state.update");
static const struct tpc_str ota_progress = TPC_STR_INIT("thing.ota.progress");
static const struct tpc_str reply_suffix = TPC_STR_INIT("_reply");

static int bad(struct tpc_error *err, const char *path, const char *text)
{
    tpi_error_set(err, TPC_EDECODE, "alink", "%s", text);
    tpi_error_at(err, path);
    return TPC_EDECODE;
}

/* A text, or an integer as it is written. */
static int read_label(struct tpi_json *r, int event, const char *path,
                      const struct tpc_decode_sink *sink, struct tpc_error *err,
                      struct tpc_str *ret)
{
    struct tpc_value v = { .type = TPC_INT, .as = { .i = r->i } };
    switch (event) {
    case TPI_JSON_NULL:
        return 0;
    case TPI_JSON_TEXT:
        if (tpi_json_unescape(r, sink->arena, ret) != 0) {
            return tpi_error_set(err, TPC_ENOMEM, "alink", "no memory for \"%s\"", path);
        }
        return 0;
    case TPI_JSON_INT:
        return tpi_codec_label(&v, path, sink->arena, err, ret);
    case TPI_JSON_ERROR:
        return tpi_json_fail(r, err);
    default:
        return bad(err, path, "must be a text or an integer");
    }
}

static int read_code(struct tpi_json *r, int event, struct tpc_error *err, struct envelope *e)
{
    if (event == TPI_JSON_NULL) {
        return 0;
    }
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(r, err);
    }
    if (event != TPI_JSON_INT || r->i < INT32_MIN || r->i > INT32_MAX) {
        return bad(err, "code", "must be an integer of 32 bits");
    }
    e->code = (int32_t) r->i;
    e->reply = true;
    return 0;
}

/* Remembers where a value begins and passes over it, for it cannot be read before the method is
 * known. */
static int keep(struct tpi_json *r, int event, struct tpc_error *err, struct tpi_json *ret_reader,
                int *ret_event)
{
    *ret_reader = *r;
    *ret_event = event == TPI_JSON_NULL ? 0 : event;
    return tpi_json_skip(r, event) != 0 ? tpi_json_fail(r, err) : 0;
}

/* Properties, where it is known that they are. */
static int read_params(struct tpi_json *r, int event, const struct tpc_decode_sink *sink,
                       struct tpc_error *err, struct envelope *e)
{
    struct tpi_direct *d = tpi_codec_direct(sink);
    struct tpi_json ahead = *r;
    e->direct = d != NULL && event == TPI_JSON_MAP && tpc_str_equal(e->method, property_post) &&
                d->json(d, &ahead, TPI_DIRECT_ANY_CASE);
    if (!e->direct) {
        return keep(r, event, err, &e->params, &e->params_event);
    }
    e->params = *r;
    e->params_event = event;
    *r = ahead;
    return 0;
}

static int read_member(struct tpi_json *r, const struct tpc_decode_sink *sink,
                       struct tpc_error *err, struct envelope *e)
{
    struct tpc_str key = r->text;
    int event = tpi_json_next(r);
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(r, err);
    }
    if (tpc_str_equal(key, TPC_STR("requestId"))) {
        struct tpc_str id = { NULL, 0 };
        int rc = read_label(r, event, "requestId", sink, err, &id);
        e->request_id = id.len > 0 ? id : e->request_id; /* an empty one leaves "id" */
        return rc;
    }
    if (tpc_str_equal(key, TPC_STR("method"))) {
        return read_label(r, event, "method", sink, err, &e->method);
    }
    if (tpc_str_equal(key, TPC_STR("params"))) {
        return read_params(r, event, sink, err, e);
    }
    if (tpc_str_equal(key, TPC_STR("id")) && e->request_id.len == 0) {
        return read_label(r, event, "id", sink, err, &e->request_id);
    }
    if (tpc_str_equal(key, TPC_STR("code"))) {
        return read_code(r, event, err, e);
    }
    if (tpc_str_equal(key, TPC_STR("data"))) {
        return keep(r, event, err, &e->data, &e->data_event);
    }
    if (tpc_str_equal(key, TPC_STR("msg"))) {
        return read_label(r, event, "msg", sink, err, &e->msg);
    }
    return tpi_json_skip(r, event) != 0 ? tpi_json_fail(r, err) : 0;
}

static int read_envelope(const struct tpc_frame *frame, const struct tpc_decode_sink *sink,
                         struct tpc_error *err, struct envelope *e)
{
    struct tpi_json r;
    tpi_json_begin(&r, tpi_codec_payload_text(frame));
    int event = tpi_json_next(&r);
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(&r, err);
    }
    if (event != TPI_JSON_MAP) {
        return tpi_error_set(err, TPC_EDECODE, "alink", "an object was expected");
    }
    while ((event = tpi_json_next(&r)) == TPI_JSON_KEY) {
        int rc = read_member(&r, sink, err, e);
        if (rc != 0) {
            return rc;
        }
    }
    if (event == TPI_JSON_ERROR || tpi_json_next(&r) != TPI_JSON_END) {
        return tpi_json_fail(&r, err);
    }
    size_t tail = e->method.len - reply_suffix.len;
    if (e->method.len > reply_suffix.len &&
        memcmp(e->method.ptr + tail, reply_suffix.ptr, reply_suffix.len) == 0) {
        e->method.len = tail;
        e->reply = true;
    }
    if (e->method.len == 0 && !e->reply) {
        return tpi_error_set(err, TPC_EDECODE, "alink", "a \"method\" is missing");
    }
    return 0;
}

/* params as a tree; must be an object. */
static int params_tree(struct envelope *e, const struct tpc_decode_sink *sink,
                       struct tpc_error *err, struct tpc_value *ret)
{
    if (e->params_event != TPI_JSON_MAP) {
        return bad(err, "params", "an object was expected");
    }
    return tpi_json_tree(&e->params, e->params_event, sink->arena, 0, err, ret);
}

static int emit_reply(uint32_t index, struct envelope *e, struct tpc_decoded *head,
                      const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    head->kind = TPC_MSG_REPLY;
    head->code = e->code;
    head->name = e->method;
    head->message = e->msg;
    if (e->data_event != 0) {
        int rc = tpi_json_tree(&e->data, e->data_event, sink->arena, 0, err, &head->params);
        if (rc != 0) {
            return rc;
        }
    }
    return tpi_codec_emit(index, sink, head);
}

static int emit_properties(uint32_t index, struct envelope *e, struct tpc_decoded *head,
                           const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    if (e->params_event != TPI_JSON_MAP) {
        return bad(err, "params", "an object was expected");
    }
    head->kind = TPC_MSG_TELEMETRY;
    head->flags = TPC_DECODED_ANSWER | TPC_DECODED_ANY_CASE;
    head->name = property_post;
    struct tpi_direct *d = tpi_codec_direct(sink);
    struct tpi_json ahead = e->params;
    if (d != NULL && (e->direct || d->json(d, &ahead, TPI_DIRECT_ANY_CASE))) {
        return d->message(d, index, head) != 0 ? TPI_CODEC_ENDED : 0;
    }
    if (sink->begin(sink->user, index, head) != 0) {
        return TPI_CODEC_ENDED;
    }
    int rc = tpi_codec_read_points(&e->params, sink, err);
    if (rc != 0) {
        return rc;
    }
    return sink->end(sink->user) != 0 ? TPI_CODEC_ENDED : 0;
}

/* "time" in ms; absent = 0. */
static int read_time(const struct tpc_value *map, struct tpc_error *err, int64_t *ret)
{
    const struct tpc_value *v = tpc_value_get(map, TPC_STR("time"));
    int64_t ms = 0;
    if (v != NULL && v->type != TPC_NULL && (tpc_value_int(v, &ms) != 0 || ms < 0)) {
        return bad(err, "params.time", "must be milliseconds since 1970");
    }
    *ret = ms;
    return 0;
}

static int emit_event(uint32_t index, struct envelope *e, struct tpc_decoded *head,
                      const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    struct tpc_value params;
    int rc = params_tree(e, sink, err, &params);
    if (rc == 0) {
        rc = read_time(&params, err, &head->unix_ms);
    }
    if (rc != 0) {
        return rc;
    }
    const struct tpc_value *value = tpc_value_get(&params, TPC_STR("value"));
    head->kind = TPC_MSG_EVENT;
    head->flags = TPC_DECODED_ANSWER;
    head->name = tpc_value_text(tpc_value_get(&params, TPC_STR("identifier")));
    if (head->name.len == 0) {
        return bad(err, "params.identifier", "an event needs its identifier");
    }
    if (value != NULL) {
        head->params = *value;
    }
    return tpi_codec_emit(index, sink, head);
}

/* The first message of a pack carries the answer; of a gateway's, whoever is first taken. */
static void asked_once(struct tpc_decoded *head)
{
    if ((head->flags & TPC_DECODED_PART) == 0) {
        head->flags &= (uint16_t) ~TPC_DECODED_ANSWER;
    }
}

/* The events of a pack: {id: {"value", "time"}}. */
static int emit_pack_events(uint32_t index, const struct tpc_value *events,
                            struct tpc_decoded *head, const struct tpc_decode_sink *sink)
{
    size_t count = events != NULL && events->type == TPC_MAP ? events->len : 0;
    for (size_t i = 0; i < count; i++) {
        const struct tpc_member *m = &events->as.members[i];
        const struct tpc_value *value = tpc_value_get(&m->value, TPC_STR("value"));
        const struct tpc_value *time = tpc_value_get(&m->value, TPC_STR("time"));
        head->kind = TPC_MSG_EVENT;
        head->name = m->key;
        head->unix_ms = 0;
        head->params = value != NULL ? *value : (struct tpc_value){ .type = TPC_NULL };
        if (time != NULL) {
            (void) tpc_value_int(time, &head->unix_ms); /* checked by check_part() */
        }
        if (tpi_codec_emit(index, sink, head) != 0) {
            return TPI_CODEC_ENDED;
        }
        asked_once(head);
    }
    return 0;
}

/* {"properties", "events"} of one device. */
static int check_part(const struct tpc_value *part, struct tpc_error *err)
{
    const struct tpc_value *properties = tpc_value_get(part, TPC_STR("properties"));
    const struct tpc_value *events = tpc_value_get(part, TPC_STR("events"));
    if (properties != NULL && properties->type != TPC_MAP && properties->type != TPC_NULL) {
        return bad(err, "params.properties", "an object was expected");
    }
    if (events != NULL && events->type != TPC_MAP && events->type != TPC_NULL) {
        return bad(err, "params.events", "an object was expected");
    }
    for (size_t i = 0; events != NULL && i < events->len; i++) {
        int64_t ms;
        const struct tpc_value *event = &events->as.members[i].value;
        if (events->as.members[i].key.len == 0) {
            return bad(err, "params.events", "an event has no name");
        }
        if (event->type != TPC_MAP) {
            return bad(err, "params.events", "an event must be an object {\"value\", \"time\"}");
        }
        int rc = read_time(event, err, &ms);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static size_t length(const struct tpc_value *v)
{
    return v != NULL && (v->type == TPC_MAP || v->type == TPC_ARRAY) ? v->len : 0;
}

/* Whole before the first message is begun: a frame is taken or refused as one. */
static int check_pack(const struct tpc_value *params, const struct tpc_value *subs,
                      struct tpc_error *err)
{
    int rc = check_part(params, err);
    if (rc == 0 && subs != NULL && subs->type != TPC_ARRAY && subs->type != TPC_NULL) {
        return bad(err, "params.subDevices", "a list was expected");
    }
    for (size_t i = 0; rc == 0 && i < length(subs); i++) {
        const struct tpc_value *sub = &subs->as.items[i];
        const struct tpc_value *identity = tpc_value_get(sub, TPC_STR("identity"));
        if (tpc_value_text(tpc_value_get(identity, TPC_STR("productKey"))).len == 0 ||
            tpc_value_text(tpc_value_get(identity, TPC_STR("deviceName"))).len == 0) {
            return bad(err, "params.subDevices",
                       "a sub-device needs its identity {\"productKey\", \"deviceName\"}");
        }
        rc = check_part(sub, err);
    }
    return rc;
}

/* The head carries what all parts have in common. */
static int emit_part(uint32_t index, const struct tpc_value *part, const struct tpc_decoded *common,
                     const struct tpc_decode_sink *sink)
{
    const struct tpc_value *properties = tpc_value_get(part, TPC_STR("properties"));
    struct tpc_decoded head = *common;
    if (length(properties) > 0) {
        head.kind = TPC_MSG_TELEMETRY;
        head.flags |= TPC_DECODED_ANY_CASE;
        head.name = pack_post;
        if (tpi_codec_emit_map(index, sink, &head, properties) != 0) {
            return TPI_CODEC_ENDED;
        }
        asked_once(&head);
    }
    head.flags &= (uint16_t) ~TPC_DECODED_ANY_CASE;
    return emit_pack_events(index, tpc_value_get(part, TPC_STR("events")), &head, sink);
}

static int emit_subs(uint32_t index, const struct tpc_value *subs, const struct tpc_decoded *head,
                     const struct tpc_decode_sink *sink)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < length(subs); i++) {
        const struct tpc_value *sub = &subs->as.items[i];
        const struct tpc_value *identity = tpc_value_get(sub, TPC_STR("identity"));
        struct tpc_str product = tpc_value_text(tpc_value_get(identity, TPC_STR("productKey")));
        struct tpc_str device = tpc_value_text(tpc_value_get(identity, TPC_STR("deviceName")));
        if (tpi_codec_enter(sink, index, product, device)) {
            rc = emit_part(index, sub, head, sink);
            sink->leave(sink->user);
        }
    }
    return rc;
}

static int emit_pack(uint32_t index, struct envelope *e, struct tpc_decoded *head,
                     const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    struct tpc_value params;
    int rc = params_tree(e, sink, err, &params);
    if (rc != 0) {
        return rc;
    }
    const struct tpc_value *subs = tpc_value_get(&params, TPC_STR("subDevices"));
    rc = check_pack(&params, subs, err);
    if (rc != 0) {
        return rc;
    }
    if (length(tpc_value_get(&params, TPC_STR("properties"))) +
            length(tpc_value_get(&params, TPC_STR("events"))) + length(subs) ==
        0) {
        return bad(err, "params", "a pack needs properties or events");
    }
    /* One answer for all of it, whose method is the pack's own. */
    head->flags = TPC_DECODED_ANSWER | (length(subs) > 0 ? TPC_DECODED_PART : 0);
    head->answer = pack_post;
    rc = emit_part(index, &params, head, sink);
    return rc != 0 ? rc : emit_subs(index, subs, head, sink);
}

static int emit_state(const struct tpc_frame *frame, uint32_t index, struct envelope *e,
                      const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    struct tpc_value params;
    int64_t state = 0;
    int rc = params_tree(e, sink, err, &params);
    if (rc != 0) {
        return rc;
    }
    if (tpc_value_int(tpc_value_get(&params, TPC_STR("state")), &state) != 0 || state < 1 ||
        state > 2) {
        return bad(err, "params.state", "must be 1 or 2");
    }
    return tpi_codec_presence(frame, index, state == 1, sink, err);
}

/* Methods of a gateway for what stands behind it (contract iot-module 4, 5). */
static bool is_request(struct tpc_str method)
{
    static const struct tpc_str methods[] = { TPC_STR_INIT("thing.topo.add"),
                                              TPC_STR_INIT("thing.topo.delete"),
                                              TPC_STR_INIT("thing.topo.get"),
                                              TPC_STR_INIT("thing.auth.register.sub") };
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (tpc_str_equal(method, methods[i])) {
            return true;
        }
    }
    return false;
}

static int ask(uint32_t index, struct envelope *e, struct tpc_decoded *head,
               const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    if (sink->size < offsetof(struct tpc_decode_sink, request) + sizeof(sink->request) ||
        sink->request == NULL) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, "alink", "nobody answers \"%.*s\" here",
                             (int) e->method.len, e->method.ptr);
    }
    int rc = e->params_event == 0
                 ? 0
                 : tpi_json_tree(&e->params, e->params_event, sink->arena, 0, err, &head->params);
    if (rc != 0) {
        return rc;
    }
    head->name = e->method;
    head->flags = TPC_DECODED_ANSWER;
    return sink->request(sink->user, index, head) != 0 ? TPI_CODEC_ENDED : 0;
}

static int alink_frame(const struct tpc_frame *frame, uint32_t index,
                       const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    struct envelope e = { .request_id = frame->correlation };
    if (frame->kind == TPC_MSG_PRESENCE) { /* the transport's word, not the device's */
        struct tpc_value v;
        int parsed = tpc_json_parse(sink->arena, tpi_codec_payload_text(frame), 0, err, &v);
        return parsed != 0 ? parsed : tpi_codec_presence_value(frame, index, &v, sink, err);
    }
    e.request_id.len = 0;
    int rc = read_envelope(frame, sink, err, &e);
    if (rc != 0) {
        return rc;
    }
    struct tpc_decoded head = tpi_codec_head(frame, TPC_MSG_UNKNOWN);
    if (e.request_id.len > 0) {
        head.correlation = e.request_id;
    }
    if (e.reply) {
        return emit_reply(index, &e, &head, sink, err);
    }
    if (tpc_str_equal(e.method, property_post)) {
        return emit_properties(index, &e, &head, sink, err);
    }
    if (tpc_str_equal(e.method, event_post)) {
        return emit_event(index, &e, &head, sink, err);
    }
    if (tpc_str_equal(e.method, pack_post)) {
        return emit_pack(index, &e, &head, sink, err);
    }
    if (tpc_str_equal(e.method, state_update)) {
        return emit_state(frame, index, &e, sink, err);
    }
    if (tpc_str_equal(e.method, ota_progress)) {
        head.kind = TPC_MSG_EVENT;
        head.name = ota_progress;
        rc = params_tree(&e, sink, err, &head.params);
        return rc != 0 ? rc : tpi_codec_emit(index, sink, &head);
    }
    if (is_request(e.method)) {
        return ask(index, &e, &head, sink, err);
    }
    return tpi_error_set(err, TPC_EUNSUPPORTED, "alink", "method \"%.*s\" is not taken",
                         (int) (e.method.len < 64 ? e.method.len : 64), e.method.ptr);
}

static int alink_decode(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                        uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink)
{
    (void) self;
    (void) worker;
    (void) program;
    return tpi_codec_each(frames, count, frame_size, sink, alink_frame);
}

/* ---- encode ---- */

static size_t put(struct tpc_member *m, size_t n, struct tpc_str key, struct tpc_value v)
{
    m[n] = (struct tpc_member){ key, v };
    return n + 1;
}

/* {"requestId", "method", "data", "code", "msg"}, absent what is null. The name of an event stands
 * for the method that brought it: identifiers have no dots. */
static size_t answer(const struct tpc_encode *what, struct tpc_member *m, size_t n)
{
    struct tpc_str method = what->name;
    struct tpc_str msg = { "", 0 };
    if (method.len == 0 || memchr(method.ptr, '.', method.len) == NULL) {
        method = method.len == 0 ? property_post : event_post;
    }
    n = put(m, n, TPC_STR("method"), tpi_codec_text(method));
    if (what->params.type == TPC_TEXT) {
        msg = tpc_value_text(&what->params);
    } else if (what->params.type != TPC_NULL) {
        n = put(m, n, TPC_STR("data"), what->params);
    }
    n = put(m, n, TPC_STR("code"), tpi_codec_int(what->code));
    return put(m, n, TPC_STR("msg"), tpi_codec_text(msg));
}

static int alink_encode(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                        struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret)
{
    (void) self;
    (void) worker;
    (void) program;
    struct tpc_member m[5];
    struct tpc_member inner[2];
    struct tpc_value params = what->params;
    size_t n = 0;
    bool set = what->kind == TPC_MSG_ATTRIBUTES_SET || what->kind == TPC_MSG_TELEMETRY_SET ||
               (what->kind == TPC_MSG_COMMAND && tpc_str_equal(what->name, TPC_STR("set")));

    if (params.type == TPC_NULL && what->kind != TPC_MSG_REPLY) {
        params = tpi_codec_map(NULL, 0);
    }
    if (what->correlation.len > 0) {
        n = put(m, n, TPC_STR("requestId"), tpi_codec_text(what->correlation));
    }
    if (what->kind == TPC_MSG_REPLY) {
        n = answer(what, m, n);
    } else if (set) {
        n = put(m, n, TPC_STR("method"), tpi_codec_text(TPC_STR("thing.property.set")));
        n = put(m, n, TPC_STR("params"), params);
    } else if (what->kind == TPC_MSG_COMMAND && what->name.len > 0 &&
               memchr(what->name.ptr, '.', what->name.len) != NULL) {
        /* A method of the platform's own: identifiers of services have no dots. */
        n = put(m, n, TPC_STR("method"), tpi_codec_text(what->name));
        n = put(m, n, TPC_STR("params"), params);
    } else if (what->kind == TPC_MSG_COMMAND && !tpc_str_equal(what->name, TPC_STR("get"))) {
        inner[0] = (struct tpc_member){ TPC_STR("identifier"), tpi_codec_text(what->name) };
        inner[1] = (struct tpc_member){ TPC_STR("inputParams"), params };
        n = put(m, n, TPC_STR("method"), tpi_codec_text(TPC_STR("thing.service.invoke")));
        n = put(m, n, TPC_STR("params"), tpi_codec_map(inner, 2));
    } else {
        return tpi_error_set(err, TPC_EUNSUPPORTED, "alink",
                             "the envelope has no method to get values or for kind %s",
                             tpc_kind_name(what->kind));
    }
    struct tpc_value v = tpi_codec_map(m, n);
    return tpi_codec_write_json(&v, arena, err, ret);
}

const struct tpc_codec_ops tpi_codec_alink = {
    .iface = TPC_IFACE(struct tpc_codec_ops, 1),
    .name = "alink",
    .compile = tpi_codec_compile_none,
    .release = tpi_codec_release_none,
    .decode = alink_decode,
    .encode = alink_encode,
};
