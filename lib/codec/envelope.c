/* ThingsPanel's {"device_id", "values"} around a payload (contract thingspanel 1.2 and 2). */
#include "base/crypto.h"
#include "base/error.h"
#include "codec/codec.h"
#include "data/json_read.h"

static const char origin[] = "envelope";

static struct tpc_str as_text(struct tpc_bytes b)
{
    return (struct tpc_str){ (const char *) b.ptr, b.len };
}

/* Starts reading a payload that must be an object. */
static int begin(struct tpc_bytes payload, struct tpi_json *r, struct tpc_error *err)
{
    tpi_json_begin(r, as_text(payload));
    int event = tpi_json_next(r);
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(r, err);
    }
    if (event != TPI_JSON_MAP) {
        return tpi_error_set(err, TPC_EDECODE, origin, "an object was expected");
    }
    return 0;
}

int tpi_codec_peek_device(struct tpc_bytes payload, struct tpc_str *ret_device_id)
{
    struct tpi_json r;
    int rc = begin(payload, &r, NULL);
    if (rc != 0) {
        return rc;
    }
    while (tpi_json_next(&r) == TPI_JSON_KEY) {
        bool found = !r.escaped && tpc_str_equal(r.text, TPC_STR("device_id"));
        int event = tpi_json_next(&r);
        if (!found) {
            if (event == TPI_JSON_ERROR || tpi_json_skip(&r, event) != 0) {
                return TPC_EDECODE;
            }
            continue;
        }
        if (event != TPI_JSON_TEXT || r.text.len == 0) {
            return TPC_EDECODE;
        }
        if (r.escaped) {
            return TPC_EUNSUPPORTED;
        }
        *ret_device_id = r.text;
        return 0;
    }
    return TPC_EDECODE;
}

static int from_base64(const struct tpi_json *r, struct tpc_arena *arena, struct tpc_error *err,
                       struct tpc_bytes *ret)
{
    struct tpc_str text;
    size_t len = 0;
    if (tpi_json_unescape(r, arena, &text) != 0) { /* "\/" is a legal way to write a slash */
        return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for the values");
    }
    size_t cap = text.len / 4 * 3;
    uint8_t *out = tpc_arena_take(arena, cap > 0 ? cap : 1);
    if (out == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for the values");
    }
    if (tpi_base64_decode(text.ptr, text.len, out, cap, &len) != 0) {
        tpi_error_set(err, TPC_EDECODE, origin, "must be base64 with padding");
        tpi_error_at(err, "values");
        return TPC_EDECODE;
    }
    *ret = (struct tpc_bytes){ out, len };
    return 0;
}

/* [1, 2, 255]: the way Go's encoder writes bytes that lost their type. r stands behind '['. */
static int from_numbers(struct tpi_json *r, struct tpc_arena *arena, struct tpc_error *err,
                        struct tpc_bytes *ret)
{
    struct tpi_json ahead = *r;
    size_t count = 0;
    int event;
    while ((event = tpi_json_next(&ahead)) == TPI_JSON_INT && ahead.i >= 0 && ahead.i <= 255) {
        count++;
    }
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(&ahead, err);
    }
    if (event != TPI_JSON_ARRAY_END) {
        tpi_error_set(err, TPC_EDECODE, origin, "an array of values must hold bytes, 0 to 255");
        tpi_error_at(err, "values");
        return TPC_EDECODE;
    }
    uint8_t *out = tpc_arena_take(arena, count > 0 ? count : 1);
    if (out == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for the values");
    }
    for (size_t i = 0; i < count; i++) {
        (void) tpi_json_next(r);
        out[i] = (uint8_t) r->i;
    }
    (void) tpi_json_next(r);
    *ret = (struct tpc_bytes){ out, count };
    return 0;
}

/* r has just given MAP: its bytes as they stand, braces and all. An empty object has no values. */
static int from_object(struct tpi_json *r, struct tpc_error *err, struct tpc_bytes *ret)
{
    const char *first = r->p - 1;
    struct tpi_json ahead = *r;
    bool empty = tpi_json_next(&ahead) == TPI_JSON_MAP_END;
    if (tpi_json_skip(r, TPI_JSON_MAP) != 0) {
        return tpi_json_fail(r, err);
    }
    *ret = (struct tpc_bytes){ (const uint8_t *) first, empty ? 0 : (size_t) (r->p - first) };
    return 0;
}

static int read_values(struct tpi_json *r, int event, struct tpc_arena *arena,
                       struct tpc_error *err, struct tpc_bytes *ret)
{
    switch (event) {
    case TPI_JSON_TEXT:
        return from_base64(r, arena, err, ret);
    case TPI_JSON_MAP:
        return from_object(r, err, ret);
    case TPI_JSON_ARRAY:
        return from_numbers(r, arena, err, ret);
    case TPI_JSON_ERROR:
        return tpi_json_fail(r, err);
    default:
        tpi_error_set(err, TPC_EDECODE, origin, "must be base64 text, an object or an array");
        tpi_error_at(err, "values");
        return TPC_EDECODE;
    }
}

static int read_device(struct tpi_json *r, int event, struct tpc_arena *arena,
                       struct tpc_error *err, struct tpc_str *ret)
{
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(r, err);
    }
    if (event != TPI_JSON_TEXT) {
        tpi_error_set(err, TPC_EDECODE, origin, "must be a text");
        tpi_error_at(err, "device_id");
        return TPC_EDECODE;
    }
    if (tpi_json_unescape(r, arena, ret) != 0) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "no memory for the device's id");
    }
    return 0;
}

int tpi_codec_unwrap(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpc_str *ret_device_id, struct tpc_bytes *ret_values)
{
    struct tpc_str device = { NULL, 0 };
    struct tpc_bytes values = { NULL, 0 };
    struct tpi_json r;
    int event;
    int rc = begin(payload, &r, err);
    while (rc == 0 && (event = tpi_json_next(&r)) != TPI_JSON_MAP_END) {
        if (event == TPI_JSON_ERROR) {
            return tpi_json_fail(&r, err);
        }
        bool is_device = tpc_str_equal(r.text, TPC_STR("device_id"));
        bool is_values = tpc_str_equal(r.text, TPC_STR("values"));
        event = tpi_json_next(&r);
        if (is_device && device.len == 0) {
            rc = read_device(&r, event, arena, err, &device);
        } else if (is_values && values.len == 0) {
            rc = read_values(&r, event, arena, err, &values);
        } else if (event == TPI_JSON_ERROR || is_device || is_values) {
            rc = event == TPI_JSON_ERROR
                     ? tpi_json_fail(&r, err)
                     : tpi_error_set(err, TPC_EDECODE, origin, "a member is there twice");
        } else if (tpi_json_skip(&r, event) != 0) {
            rc = tpi_json_fail(&r, err);
        }
    }
    if (rc != 0) {
        return rc;
    }
    if (tpi_json_next(&r) != TPI_JSON_END) {
        return tpi_json_fail(&r, err);
    }
    if (device.len == 0 || values.len == 0) {
        return tpi_error_set(err, TPC_EDECODE, origin, "\"%s\" is missing or empty",
                             device.len == 0 ? "device_id" : "values");
    }
    *ret_device_id = device;
    *ret_values = values;
    return 0;
}
