#include "wrap.h"

#include <string.h>
#include <tpcore/json.h>

#include "base/crypto.h"
#include "base/error.h"
#include "data/member.h"

enum {
    NUMBER_BYTES = 32, /* no number is longer */
    LOOK_BACK = 64,    /* points of several times that go into one object */
    MARKS = 1024       /* bits, a power of two */
};

/* What points of a message go into. */
enum stream { TELEMETRY, ATTRIBUTES };

void tp_pack_init(struct tp_pack *p, const struct tpc_allocator *a)
{
    tpi_buf_init(&p->said, a, 0);
    tpi_buf_init(&p->parts, a, 0);
    tpi_buf_init(&p->json, a, 0);
    p->payload_max = SIZE_MAX;
}

void tp_pack_fini(struct tp_pack *p)
{
    tpi_buf_fini(&p->said);
    tpi_buf_fini(&p->parts);
    tpi_buf_fini(&p->json);
}

void tp_pack_clear(struct tp_pack *p)
{
    tpi_buf_clear(&p->said);
    tpi_buf_clear(&p->parts);
}

/* In one go where the room is enough, as it mostly is. */
static int put_value(struct tpi_buf *b, const struct tpc_value *v)
{
    size_t room = NUMBER_BYTES + (v->type == TPC_TEXT ? v->len : 0);
    int rc = tpi_buf_reserve(b, room);
    if (rc != 0) {
        return rc;
    }
    struct tpc_buf out = { b->ptr + b->len, room, 0 };
    rc = tpc_json_write(v, 0, &out);
    if (rc == TPC_ETOOBIG && (rc = tpi_buf_reserve(b, out.need)) == 0) {
        out = (struct tpc_buf){ b->ptr + b->len, out.need, 0 };
        rc = tpc_json_write(v, 0, &out);
    }
    b->len += rc == 0 ? out.need : 0;
    return rc;
}

static int put_text(struct tpi_buf *b, struct tpc_str text)
{
    struct tpc_value v = { .type = TPC_TEXT, .len = text.len };
    v.as.text = text.len > 0 ? text.ptr : "";
    return put_value(b, &v);
}

int tp_wrap(struct tpi_buf *b, struct tpc_str device, struct tpc_bytes values)
{
    static const char head[] = "{\"device_id\":", middle[] = ",\"values\":\"", tail[] = "\"}";
    size_t before = b->len;
    int rc = tpi_buf_put(b, head, sizeof(head) - 1);
    rc = rc != 0 ? rc : put_text(b, device);
    rc = rc != 0 ? rc : tpi_buf_put(b, middle, sizeof(middle) - 1);
    rc = rc != 0 ? rc : tpi_buf_reserve(b, TPI_BASE64_BYTES(values.len) + sizeof(tail));
    if (rc != 0) {
        b->len = before;
        return rc;
    }
    if (values.len > 0) {
        b->len += tpi_base64_encode(values.ptr, values.len, (char *) b->ptr + b->len);
    }
    memcpy(b->ptr + b->len, tail, sizeof(tail) - 1);
    b->len += sizeof(tail) - 1;
    return 0;
}

/* ---- one publish ---- */

/* Behind the topic that stands at the end of `said`, from `topic` on. */
static int end_part(struct tp_pack *p, const struct tpc_msg *m, size_t topic, bool wrapped,
                    struct tpc_error *err)
{
    struct tp_part part = { .id = m->id, .topic = topic, .topic_len = p->said.len - topic };
    struct tpc_bytes json = { p->json.ptr, p->json.len };
    part.payload = p->said.len;
    int rc =
        wrapped ? tp_wrap(&p->said, m->device, json) : tpi_buf_put(&p->said, json.ptr, json.len);
    part.payload_len = p->said.len - part.payload;
    if (rc == 0 && part.payload_len > p->payload_max) {
        rc = TPC_ETOOBIG;
    }
    rc = rc != 0 ? rc : tpi_buf_put(&p->parts, &part, sizeof(part));
    if (rc != 0) {
        p->said.len = topic;
        return tpi_error_set(err, rc, "thingspanel",
                             rc == TPC_ETOOBIG  ? "the payload is over payload_max"
                             : rc == TPC_EINVAL ? "the message cannot be written as JSON"
                                                : "no memory for a batch");
    }
    return 0;
}

/* The topic, with the message's own id behind it where a level of the sender's choice stands: the same when
 * it comes again. */
static int put_topic(struct tp_pack *p, const struct tpc_msg *m, const char *topic, bool with_id)
{
    char hex[2 * sizeof(m->id.b) + 1];
    int rc = tpi_buf_text(&p->said, tpc_str_from(topic));
    if (with_id && rc == 0) {
        tpi_hex(m->id.b, sizeof(m->id.b), hex);
        rc = tpi_buf_put(&p->said, hex, sizeof(hex) - 1);
    }
    return rc;
}

static int add_part(struct tp_pack *p, const struct tpc_msg *m, enum stream stream,
                    struct tpc_error *err)
{
    size_t topic = p->said.len;
    int rc = stream == TELEMETRY ? put_topic(p, m, "devices/telemetry", false)
                                 : put_topic(p, m, "devices/attributes/", true);
    if (rc != 0) {
        p->said.len = topic;
        return tpi_error_set(err, rc, "thingspanel", "no memory for a batch");
    }
    return end_part(p, m, topic, true, err);
}

/* ---- points ---- */

static enum stream stream_of(const struct tpc_msg *m, const struct tpc_point *point)
{
    return m->kind == TPC_MSG_ATTRIBUTES || (point->flags & TPC_POINT_ATTRIBUTE) != 0 ? ATTRIBUTES
                                                                                      : TELEMETRY;
}

/* Notes a key, by its end, among those of an object. False: it is not there, which need not be looked for. */
static bool mark(uint64_t marks[MARKS / 64], struct tpc_str key)
{
    uint32_t end = (uint32_t) key.len;
    for (size_t i = key.len < 4 ? 0 : key.len - 4; i < key.len; i++) {
        end = end << 8 | (uint8_t) key.ptr[i];
    }
    uint32_t at = end * 2654435761u >> 16 & (MARKS - 1);
    uint64_t bit = UINT64_C(1) << at % 64;
    bool maybe = (marks[at / 64] & bit) != 0;
    marks[at / 64] |= bit;
    return maybe;
}

/* Whether one of the points [from, to) of the stream has that key. */
static bool has_key(const struct tpc_msg *m, enum stream stream, uint32_t from, uint32_t to,
                    struct tpc_str key)
{
    for (uint32_t i = from; i < to; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        if (stream_of(m, p) == stream && tpc_str_equal(p->key, key) != 0) {
            return true;
        }
    }
    return false;
}

static int put_point(struct tpi_buf *b, const struct tpc_point *point)
{
    int rc = tpi_buf_put(b, b->len > 0 ? "," : "{", 1);
    rc = rc != 0 ? rc : put_text(b, point->key);
    rc = rc != 0 ? rc : tpi_buf_put(b, ":", 1);
    return rc != 0 ? rc : put_value(b, &point->value);
}

static int end_object(struct tp_pack *p, const struct tpc_msg *m, enum stream stream,
                      struct tpc_error *err)
{
    int rc = tpi_buf_put(&p->json, "}", 1);
    if (rc != 0) {
        return tpi_error_set(err, rc, "thingspanel", "no memory for a batch");
    }
    rc = add_part(p, m, stream, err);
    tpi_buf_clear(&p->json);
    return rc;
}

static int put_stream(struct tp_pack *p, const struct tpc_msg *m, enum stream stream,
                      struct tpc_error *err)
{
    uint32_t from = 0;
    bool apart = false; /* the object has values of several times */
    int64_t first_ms = 0;
    uint64_t marks[MARKS / 64] = { 0 }; /* of its keys */
    tpi_buf_clear(&p->json);
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *point = tpc_msg_point(m, i);
        if (stream_of(m, point) != stream) {
            continue;
        }
        apart = p->json.len > 0 && (apart || point->unix_ms != first_ms);
        if ((apart && i - from > LOOK_BACK) ||
            (mark(marks, point->key) && has_key(m, stream, from, i, point->key))) {
            int rc = end_object(p, m, stream, err);
            if (rc != 0) {
                return rc;
            }
            apart = false;
            memset(marks, 0, sizeof(marks));
            (void) mark(marks, point->key);
        }
        if (p->json.len == 0) {
            from = i;
            first_ms = point->unix_ms;
        }
        int rc = put_point(&p->json, point);
        if (rc != 0) {
            return tpi_error_set(err, rc, "thingspanel", "a value cannot be written as JSON");
        }
    }
    return p->json.len > 0 ? end_object(p, m, stream, err) : 0;
}

static int put_points(struct tp_pack *p, const struct tpc_msg *m, struct tpc_error *err)
{
    int rc = m->kind == TPC_MSG_ATTRIBUTES ? 0 : put_stream(p, m, TELEMETRY, err);
    return rc != 0 ? rc : put_stream(p, m, ATTRIBUTES, err);
}

/* ---- what is no points ---- */

/* {"method":name,"params":{..}} */
static int put_event(struct tp_pack *p, const struct tpc_msg *m, struct tpc_error *err)
{
    struct tpi_buf *b = &p->json;
    size_t topic = p->said.len;
    tpi_buf_clear(b);
    int rc = tpi_buf_text(b, TPC_STR("{\"method\":"));
    rc = rc != 0 ? rc : put_text(b, m->name);
    rc = rc != 0 ? rc : tpi_buf_text(b, TPC_STR(",\"params\":"));
    if (rc == 0) {
        rc = m->params.type == TPC_NULL ? tpi_buf_put(b, "{}", 2) : put_value(b, &m->params);
    }
    rc = rc != 0 ? rc : tpi_buf_put(b, "}", 1);
    rc = rc != 0 ? rc : put_topic(p, m, "devices/event/", true);
    if (rc != 0) {
        p->said.len = topic;
        return tpi_error_set(err, rc, "thingspanel", "the event cannot be written as JSON");
    }
    return end_part(p, m, topic, true, err);
}

/* One byte, unwrapped. A device whose key cannot stand in a topic is at no platform. */
static int put_status(struct tp_pack *p, const struct tpc_msg *m, struct tpc_error *err)
{
    size_t topic = p->said.len;
    for (size_t i = 0; i < m->device.len; i++) {
        uint8_t c = (uint8_t) m->device.ptr[i];
        if (c <= ' ' || c == '+' || c == '#' || c == '/' || c == 0x7f) {
            return 0;
        }
    }
    tpi_buf_clear(&p->json);
    int rc = tpi_buf_put(&p->json, tpi_member_bool(&m->params, "online", false) ? "1" : "0", 1);
    rc = rc != 0 ? rc : put_topic(p, m, "devices/status/", false);
    rc = rc != 0 ? rc : tpi_buf_text(&p->said, m->device);
    if (rc != 0) {
        p->said.len = topic;
        return tpi_error_set(err, rc, "thingspanel", "no memory for a batch");
    }
    return end_part(p, m, topic, false, err);
}

int tp_pack_message(struct tp_pack *p, const struct tpc_msg *m, struct tpc_error *err,
                    uint32_t *ret_parts)
{
    size_t said = p->said.len, parts = p->parts.len;
    int rc = 0;
    if (m->device.len == 0) {
        rc = 0;
    } else if (m->kind == TPC_MSG_TELEMETRY || m->kind == TPC_MSG_ATTRIBUTES) {
        rc = put_points(p, m, err);
    } else if (m->kind == TPC_MSG_EVENT) {
        rc = put_event(p, m, err);
    } else if (m->kind == TPC_MSG_PRESENCE) {
        rc = put_status(p, m, err);
    }
    if (rc != 0) {
        p->said.len = said;
        p->parts.len = parts;
        return rc;
    }
    if (p->parts.len > parts) {
        struct tp_part *last =
            (struct tp_part *) (void *) (p->parts.ptr + p->parts.len - sizeof(*last));
        last->last = true;
    }
    *ret_parts = (uint32_t) ((p->parts.len - parts) / sizeof(struct tp_part));
    return 0;
}
