#include "base/error.h"
#include "codec/emit.h"

#include <string.h>
#include <tpcore/json.h>

enum { FIRST_BYTES = 256 }; /* most commands are shorter: one pass */

int tpi_codec_write_json(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_error *err,
                         struct tpc_bytes *ret)
{
    struct tpc_buf buf = { .cap = FIRST_BYTES };
    int rc = 0;
    for (int pass = 0; pass < 2; pass++) {
        buf.ptr = tpc_arena_take(arena, buf.cap);
        if (buf.ptr == NULL) {
            return tpi_error_set(err, TPC_ENOMEM, "codec", "no memory for %zu bytes of JSON",
                                 buf.cap);
        }
        rc = tpc_json_write(v, 0, &buf);
        if (rc != TPC_ETOOBIG) {
            break;
        }
        buf.cap = buf.need;
    }
    if (rc != 0) {
        return tpi_error_set(err, rc, "codec", "the message cannot be written as JSON");
    }
    *ret = (struct tpc_bytes){ buf.ptr, buf.need };
    return 0;
}

static bool is(struct tpc_str s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.ptr, text, s.len) == 0;
}

/* What a set or a get carries: its params alone. */
static struct tpc_value bare(const struct tpc_encode *what, bool get, struct tpc_member *room)
{
    bool none = what->params.type == TPC_NULL;
    bool all = get && (none || (what->params.type == TPC_MAP && what->params.len == 0));
    if (!all) {
        return none ? tpi_codec_map(NULL, 0) : what->params;
    }
    room->key = TPC_STR("keys");
    room->value = (struct tpc_value){ .type = TPC_ARRAY };
    return tpi_codec_map(room, 1);
}

/* ThingsPanel: result, errcode, message, ts in seconds, method (its MQTT rules for devices). */
static struct tpc_value answer(const struct tpc_encode *what, enum tpi_codec_style style,
                               struct tpc_member *room)
{
    static const struct tpc_str done = TPC_STR_INIT("success");
    static const struct tpc_str failed = TPC_STR_INIT("failed");
    struct tpc_str message = what->code == 0 ? done : failed;
    size_t n = 0;
    if (what->params.type == TPC_TEXT) {
        message = tpc_value_text(&what->params);
    }
    if (style == TPI_CODEC_THINGSPANEL) {
        room[n++] = (struct tpc_member){ TPC_STR("result"), tpi_codec_int(what->code != 0) };
        if (what->code != 0) {
            room[n++] = (struct tpc_member){ TPC_STR("errcode"), tpi_codec_text(TPC_STR("000")) };
        }
        room[n++] = (struct tpc_member){ TPC_STR("message"), tpi_codec_text(message) };
        if (what->unix_ms != 0) {
            room[n++] = (struct tpc_member){ TPC_STR("ts"), tpi_codec_int(what->unix_ms / 1000) };
        }
        if (what->code == 0 && what->name.len > 0) {
            room[n++] = (struct tpc_member){ TPC_STR("method"), tpi_codec_text(what->name) };
        }
        return tpi_codec_map(room, n);
    }
    if (what->correlation.len > 0) {
        room[n++] = (struct tpc_member){ TPC_STR("id"), tpi_codec_text(what->correlation) };
    }
    room[n++] = (struct tpc_member){ TPC_STR("code"), tpi_codec_int(what->code) };
    room[n++] = (struct tpc_member){ TPC_STR("message"), tpi_codec_text(message) };
    if (what->params.type != TPC_NULL && what->params.type != TPC_TEXT) {
        room[n++] = (struct tpc_member){ TPC_STR("data"), what->params };
    }
    return tpi_codec_map(room, n);
}

static struct tpc_value command(const struct tpc_encode *what, enum tpi_codec_style style,
                                struct tpc_member *room)
{
    size_t n = 0;
    if (is(what->name, "set") || is(what->name, "get")) {
        return bare(what, what->name.ptr[0] == 'g', room);
    }
    if (style == TPI_CODEC_PLAIN && what->correlation.len > 0) {
        room[n++] = (struct tpc_member){ TPC_STR("id"), tpi_codec_text(what->correlation) };
    }
    room[n++] = (struct tpc_member){ TPC_STR("method"), tpi_codec_text(what->name) };
    if (what->params.type != TPC_NULL) {
        room[n++] = (struct tpc_member){ TPC_STR("params"), what->params };
    }
    return tpi_codec_map(room, n);
}

static bool over_gateway(const struct tpc_encode *what)
{
    return what->size >= offsetof(struct tpc_encode, path) + sizeof(what->path) &&
           (what->flags & TPC_ENCODE_GATEWAY) != 0 && what->kind != TPC_MSG_REPLY;
}

/* {key: v} */
static int in_map(struct tpc_str key, struct tpc_arena *arena, struct tpc_value *v)
{
    struct tpc_member *m = tpc_arena_take(arena, sizeof(*m));
    if (m == NULL) {
        return TPC_ENOMEM;
    }
    *m = (struct tpc_member){ key, *v };
    *v = tpi_codec_map(m, 1);
    return 0;
}

/* The tree of a gateway (contract thingspanel 1.7), built from the device up to the top gateway. Its
 * leaf of a get is the list of keys alone. */
static int nest(const struct tpc_encode *what, struct tpc_arena *arena, struct tpc_value *v)
{
    bool to_gateway = (what->flags & TPC_ENCODE_TO_GATEWAY) != 0 || what->path_count == 0;
    if (what->kind == TPC_MSG_ATTRIBUTES_GET ||
        (what->kind == TPC_MSG_COMMAND && is(what->name, "get"))) {
        const struct tpc_value *keys = tpc_value_get(v, TPC_STR("keys"));
        *v = keys != NULL && keys->type == TPC_ARRAY ? *keys
                                                     : (struct tpc_value){ .type = TPC_ARRAY };
    }
    int rc = to_gateway ? in_map(TPC_STR("gateway_data"), arena, v) : 0;
    for (uint32_t i = what->path_count; rc == 0 && i > 0; i--) {
        bool device = i == what->path_count && !to_gateway;
        rc = in_map(what->path[i - 1], arena, v);
        rc = rc != 0 ? rc
                     : in_map(device ? TPC_STR("sub_device_data") : TPC_STR("sub_gateway_data"),
                              arena, v);
    }
    return rc;
}

int tpi_codec_encode(const struct tpc_encode *what, enum tpi_codec_style style,
                     tpi_codec_write_fn *write, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpc_bytes *ret)
{
    struct tpc_member room[4];
    struct tpc_value v;
    switch (what->kind) {
    case TPC_MSG_COMMAND:
        if (what->name.len == 0) {
            return tpi_error_set(err, TPC_EINVAL, "codec", "a command needs the name of a service");
        }
        v = command(what, style, room);
        break;
    case TPC_MSG_ATTRIBUTES_SET:
    case TPC_MSG_TELEMETRY_SET:
        v = bare(what, false, room);
        break;
    case TPC_MSG_ATTRIBUTES_GET:
        v = bare(what, true, room);
        break;
    case TPC_MSG_REPLY:
        v = answer(what, style, room);
        break;
    default:
        return tpi_error_set(err, TPC_EUNSUPPORTED, "codec", "no encoding for a message of kind %s",
                             tpc_kind_name(what->kind));
    }
    if (style == TPI_CODEC_THINGSPANEL && over_gateway(what) && nest(what, arena, &v) != 0) {
        return tpi_error_set(err, TPC_ENOMEM, "codec", "no memory for a gateway's message");
    }
    return write(&v, arena, err, ret);
}
