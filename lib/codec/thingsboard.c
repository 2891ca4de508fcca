/*
 * Codec "thingsboard": what ThingsBoard's devices and gateways say to their platform (contract
 * thingsboard 1.2 and 1.3), and what it says to them. The topic tells what a payload is:
 *
 *   v1/devices/me/telemetry          {k: v}, {"ts", "values"}, or an array of these
 *   v1/devices/me/attributes         {k: v}
 *   v1/devices/me/rpc/response/{id}  any JSON
 *   v1/gateway/telemetry             {device: [as above]}
 *   v1/gateway/attributes            {device: {k: v}}
 *   v1/gateway/connect, disconnect   {"device"}
 *   v1/gateway/rpc                   {"device", "id", "data"}
 *
 * A device of v1/gateway/.. stands behind the one that speaks, its name is its address. Requests are
 * the transport's to answer. A null is no value.
 */
#include "base/error.h"
#include "codec/codec.h"
#include "codec/emit.h"

#include <string.h>
#include <tpcore/json.h>

static const char origin[] = "thingsboard";

struct reading {
    const struct tpc_frame *frame;
    const struct tpc_decode_sink *sink;
    struct tpc_error *err;
    uint32_t index;
    uint16_t kind;  /* of the messages */
    uint16_t flags; /* enum tpc_decoded_flags */
};

/* Which of a gateway's devices, and what is said of it. */
typedef int part_fn(const struct reading *r, const struct tpc_value *v);

static int bad(const struct reading *r, struct tpc_str at, const char *text)
{
    char path[64];
    size_t n = at.len < sizeof(path) - 1 ? at.len : sizeof(path) - 1;
    tpi_error_set(r->err, TPC_EDECODE, origin, "%s", text);
    if (n > 0) {
        memcpy(path, at.ptr, n);
        path[n] = '\0';
        tpi_error_at(r->err, path);
    }
    return TPC_EDECODE;
}

/* ---- values ---- */

static bool has_value(const struct tpc_value *map)
{
    for (size_t i = 0; i < map->len; i++) {
        if (map->as.members[i].value.type != TPC_NULL) {
            return true;
        }
    }
    return false;
}

static int put_values(const struct reading *r, const struct tpc_value *map, int64_t unix_ms)
{
    struct tpc_decoded head = tpi_codec_head(r->frame, r->kind);
    head.flags = r->flags;
    head.unix_ms = unix_ms;
    if (!has_value(map)) {
        return 0;
    }
    if (r->sink->begin(r->sink->user, r->index, &head) != 0) {
        return TPI_CODEC_ENDED;
    }
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        if (m->value.type != TPC_NULL && r->sink->point(r->sink->user, m->key, &m->value, 0) != 0) {
            return TPI_CODEC_ENDED;
        }
    }
    return r->sink->end(r->sink->user) != 0 ? TPI_CODEC_ENDED : 0;
}

/* An entry of telemetry as {"values", "ts"?, "metadata"?}: its values; NULL = it is {k: v}. */
static const struct tpc_value *values_of(const struct tpc_value *entry)
{
    const struct tpc_value *values = tpc_value_get(entry, TPC_STR("values"));
    size_t known = values != NULL && values->type == TPC_MAP;
    if (known == 0) {
        return NULL;
    }
    bool stamped = tpc_value_get(entry, TPC_STR("ts")) != NULL;
    known += stamped + (size_t) (tpc_value_get(entry, TPC_STR("metadata")) != NULL);
    return stamped || known == entry->len ? values : NULL;
}

static int check_entry(const struct reading *r, const struct tpc_value *entry)
{
    int64_t ts = 0;
    if (entry->type != TPC_MAP) {
        return bad(r, (struct tpc_str){ NULL, 0 }, "telemetry must be an object or an array");
    }
    const struct tpc_value *v =
        values_of(entry) != NULL ? tpc_value_get(entry, TPC_STR("ts")) : NULL;
    if (v != NULL && (tpc_value_int(v, &ts) != 0 || ts < 0)) {
        return bad(r, TPC_STR("ts"), "must be a time in milliseconds");
    }
    return 0;
}

static int put_entry(const struct reading *r, const struct tpc_value *entry)
{
    const struct tpc_value *values = values_of(entry);
    const struct tpc_value *v = values != NULL ? tpc_value_get(entry, TPC_STR("ts")) : NULL;
    int64_t ts = 0;
    if (v != NULL) {
        (void) tpc_value_int(v, &ts);
    }
    return put_values(r, values != NULL ? values : entry, ts);
}

/* One entry, or an array of them. */
static int each_entry(const struct reading *r, const struct tpc_value *v,
                      int (*fn)(const struct reading *r, const struct tpc_value *entry))
{
    int rc = v->type == TPC_ARRAY ? 0 : fn(r, v);
    for (size_t i = 0; rc == 0 && v->type == TPC_ARRAY && i < v->len; i++) {
        rc = fn(r, &v->as.items[i]);
    }
    return rc;
}

static int check_telemetry(const struct reading *r, const struct tpc_value *v)
{
    return each_entry(r, v, check_entry);
}

static int put_telemetry(const struct reading *r, const struct tpc_value *v)
{
    return each_entry(r, v, put_entry);
}

static int check_attributes(const struct reading *r, const struct tpc_value *v)
{
    return v->type == TPC_MAP ? 0
                              : bad(r, (struct tpc_str){ NULL, 0 }, "attributes must be an object");
}

static int put_attributes(const struct reading *r, const struct tpc_value *v)
{
    return put_values(r, v, 0);
}

/* ---- a gateway's ---- */

static int behind(const struct reading *r, struct tpc_str device, const struct tpc_value *v,
                  part_fn *put)
{
    static const struct tpc_str none = { NULL, 0 };
    if (!tpi_codec_enter(r->sink, r->index, none, device)) {
        return 0;
    }
    int rc = put(r, v);
    r->sink->leave(r->sink->user);
    return rc;
}

/* {device: v, ..}: all is looked at before anything is said. */
static int each_device(struct reading *r, const struct tpc_value *root, part_fn *check,
                       part_fn *put)
{
    int rc = root->type == TPC_MAP
                 ? 0
                 : bad(r, (struct tpc_str){ NULL, 0 }, "an object of devices was expected");
    for (size_t i = 0; rc == 0 && i < root->len; i++) {
        rc = check(r, &root->as.members[i].value);
        if (rc != 0 && r->err != NULL) {
            bad(r, root->as.members[i].key, "telemetry or attributes of a device are malformed");
        }
    }
    r->flags |= TPC_DECODED_PART;
    for (size_t i = 0; rc == 0 && i < root->len; i++) {
        rc = behind(r, root->as.members[i].key, &root->as.members[i].value, put);
    }
    return rc;
}

static int named_device(const struct reading *r, const struct tpc_value *root, struct tpc_str *ret)
{
    const struct tpc_value *v = tpc_value_get(root, TPC_STR("device"));
    if (root->type != TPC_MAP || v == NULL || v->type != TPC_TEXT || v->len == 0) {
        return bad(r, TPC_STR("device"), "must be a name");
    }
    *ret = tpc_value_text(v);
    return 0;
}

static int put_presence(const struct reading *r, const struct tpc_value *v)
{
    return tpi_codec_presence_value(r->frame, r->index, v, r->sink, r->err);
}

static int presence(const struct reading *r, const struct tpc_value *root, bool online)
{
    struct tpc_str device;
    const struct tpc_value v = { .type = TPC_BOOL, .as.b = online };
    int rc = named_device(r, root, &device);
    return rc != 0 ? rc : behind(r, device, &v, put_presence);
}

/* ---- replies ---- */

/* The text of {"error"} or {"result": {"error"}}; empty = it is no failure. */
static bool failure_of(const struct tpc_value *data, struct tpc_str *ret)
{
    const struct tpc_value *e = tpc_value_get(data, TPC_STR("error"));
    const struct tpc_value *ok = tpc_value_get(data, TPC_STR("success"));
    e = e != NULL ? e : tpc_value_get(tpc_value_get(data, TPC_STR("result")), TPC_STR("error"));
    if (e != NULL && e->type != TPC_NULL) {
        *ret = tpc_value_text(e);
        return true;
    }
    return ok != NULL && ok->type == TPC_BOOL && !ok->as.b;
}

/* The Python gateway writes some of its failures as a text with JSON in it. */
static int put_reply(const struct reading *r, const struct tpc_value *data)
{
    struct tpc_decoded head = tpi_codec_head(r->frame, TPC_MSG_REPLY);
    struct tpc_value inner = { .type = TPC_NULL };
    struct tpc_str text = tpc_value_text(data);
    if (data->type == TPC_TEXT && text.len > 0 && text.ptr[0] == '{') {
        (void) tpc_json_parse(r->sink->arena, text, 0, NULL, &inner);
    }
    head.flags = r->flags;
    head.code = failure_of(inner.type == TPC_MAP ? &inner : data, &head.message);
    head.params = *data;
    return tpi_codec_emit(r->index, r->sink, &head);
}

/* The transport has found the command's id by the number in it. On a broker where the gateway hears itself
 * it answers its own answers, without an id: they answer nothing. */
static int gateway_reply(struct reading *r, const struct tpc_value *root)
{
    static const struct tpc_value none = { .type = TPC_NULL };
    struct tpc_frame frame = *r->frame;
    struct tpc_str device;
    const struct tpc_value *data = tpc_value_get(root, TPC_STR("data"));
    int rc = named_device(r, root, &device);
    if (rc == 0 && frame.correlation.len == 0) {
        rc = tpi_codec_label(tpc_value_get(root, TPC_STR("id")), "id", r->sink->arena, r->err,
                             &frame.correlation);
    }
    r->frame = &frame;
    r->flags |= TPC_DECODED_PART;
    return rc != 0 || frame.correlation.len == 0
               ? rc
               : behind(r, device, data != NULL ? data : &none, put_reply);
}

static int device_reply(struct reading *r, const struct tpc_value *root, struct tpc_str id)
{
    struct tpc_frame frame = *r->frame;
    frame.correlation = frame.correlation.len > 0 ? frame.correlation : id;
    if (frame.correlation.len == 0) {
        return bad(r, TPC_STR("id"), "is missing");
    }
    r->frame = &frame;
    return put_reply(r, root);
}

/* ---- a frame ---- */

static bool is(struct tpc_str s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || memcmp(s.ptr, text, s.len) == 0);
}

static bool take(struct tpc_str *s, const char *prefix)
{
    size_t n = strlen(prefix);
    if (s->len < n || memcmp(s->ptr, prefix, n) != 0) {
        return false;
    }
    s->ptr += n;
    s->len -= n;
    return true;
}

static int of_gateway(struct reading *r, struct tpc_str what, const struct tpc_value *root)
{
    if (is(what, "telemetry")) {
        return each_device(r, root, check_telemetry, put_telemetry);
    }
    if (is(what, "attributes")) {
        r->kind = TPC_MSG_ATTRIBUTES;
        return each_device(r, root, check_attributes, put_attributes);
    }
    if (is(what, "connect") || is(what, "disconnect")) {
        return presence(r, root, what.ptr[0] == 'c');
    }
    return is(what, "rpc") ? gateway_reply(r, root)
                           : tpi_codec_wrong_kind(r->frame, origin, r->err);
}

static int of_device(struct reading *r, struct tpc_str what, const struct tpc_value *root)
{
    int rc;
    if (is(what, "telemetry")) {
        rc = check_telemetry(r, root);
        return rc != 0 ? rc : put_telemetry(r, root);
    }
    if (is(what, "attributes")) {
        r->kind = TPC_MSG_ATTRIBUTES;
        rc = check_attributes(r, root);
        return rc != 0 ? rc : put_attributes(r, root);
    }
    return take(&what, "rpc/response/") ? device_reply(r, root, what)
                                        : tpi_codec_wrong_kind(r->frame, origin, r->err);
}

/* Without a topic, what the frame itself says. */
static struct tpc_str topic_of(const struct tpc_frame *frame)
{
    if (frame->topic.len > 0) {
        return frame->topic;
    }
    switch (frame->kind) {
    case TPC_MSG_ATTRIBUTES:
        return TPC_STR("v1/devices/me/attributes");
    case TPC_MSG_REPLY:
        return TPC_STR("v1/devices/me/rpc/response/");
    default:
        return TPC_STR("v1/devices/me/telemetry");
    }
}

static int decode_frame(const struct tpc_frame *frame, uint32_t index,
                        const struct tpc_decode_sink *sink, struct tpc_error *err)
{
    struct reading r = { frame, sink, err, index, TPC_MSG_TELEMETRY, 0 };
    struct tpc_str topic = topic_of(frame);
    struct tpc_value root;
    int rc = tpc_json_parse(sink->arena, tpi_codec_payload_text(frame), 0, err, &root);
    if (rc != 0) {
        return rc;
    }
    if (frame->kind == TPC_MSG_PRESENCE) { /* a broker's plugin says who is there */
        return put_presence(&r, &root);
    }
    if (take(&topic, "v1/gateway/")) {
        return of_gateway(&r, topic, &root);
    }
    return take(&topic, "v1/devices/me/") ? of_device(&r, topic, &root)
                                          : tpi_codec_wrong_kind(frame, origin, err);
}

static int decode(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                  uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink)
{
    (void) self;
    (void) worker;
    (void) program;
    return tpi_codec_each(frames, count, frame_size, sink, decode_frame);
}

/* ---- down ---- */

static bool is_set(const struct tpc_encode *what)
{
    return what->kind == TPC_MSG_ATTRIBUTES_SET || what->kind == TPC_MSG_TELEMETRY_SET ||
           (what->kind == TPC_MSG_COMMAND && is(what->name, "set"));
}

/* A platform's call with a value instead of an object is a command with {"value": x}: that is x. */
static struct tpc_value bare(const struct tpc_value *params)
{
    const struct tpc_value *x = tpc_value_get(params, TPC_STR("value"));
    return params->type == TPC_MAP && params->len == 1 && x != NULL ? *x : *params;
}

static uint32_t depth_of(const struct tpc_encode *what)
{
    return what->size >= offsetof(struct tpc_encode, path) + sizeof(what->path) ? what->path_count
                                                                                : 0;
}

static int encode(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                  struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret)
{
    struct tpc_member call[3], outer[2];
    uint32_t depth = depth_of(what);
    size_t n = 0;
    (void) self;
    (void) worker;
    (void) program;
    if (what->kind == TPC_MSG_REPLY || depth > 1) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, origin,
                             depth > 1 ? "there are no gateways behind a gateway"
                                       : "reports are not answered");
    }
    struct tpc_value v = what->params.type != TPC_NULL ? what->params : tpi_codec_map(NULL, 0);
    if (!is_set(what)) {
        v = bare(&v);
        if (depth == 1) {
            call[n++] = (struct tpc_member){ TPC_STR("id"),
                                             tpi_codec_int(tpi_codec_number(what->correlation)) };
        }
        call[n++] = (struct tpc_member){ TPC_STR("method"), tpi_codec_text(what->name) };
        call[n++] = (struct tpc_member){ TPC_STR("params"), v };
        v = tpi_codec_map(call, n);
    }
    if (depth == 1) {
        outer[0] = (struct tpc_member){ TPC_STR("device"), tpi_codec_text(what->path[0]) };
        outer[1] = (struct tpc_member){ TPC_STR("data"), v };
        v = tpi_codec_map(outer, 2);
    }
    return tpi_codec_write_json(&v, arena, err, ret);
}

static bool nests(void *self, void *program)
{
    (void) self;
    (void) program;
    return true;
}

const struct tpc_codec_ops tpi_codec_thingsboard = {
    .iface = TPC_IFACE(struct tpc_codec_ops, 1),
    .name = "thingsboard",
    .compile = tpi_codec_compile_none,
    .release = tpi_codec_release_none,
    .decode = decode,
    .encode = encode,
    .nests = nests,
};
