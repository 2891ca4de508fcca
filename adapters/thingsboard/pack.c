#include "pack.h"

#include "../text/say.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "data/json_scan.h"
#include "data/member.h"
#include "data/number.h"

enum {
    CLOSE_BYTES = 8,    /* of all that may be open, without metadata */
    COMPARED_MAX = 256, /* keys looked at before two messages share a device's attributes */
    FULL = 1
};

void tb_pack_init(struct tb_pack *p, const struct tpc_allocator *alloc)
{
    memset(p, 0, sizeof(*p));
    p->alloc = alloc;
    tpi_buf_init(&p->out, alloc, 0);
    tpi_buf_init(&p->groups, alloc, 0);
    tpi_buf_init(&p->which, alloc, 0);
}

void tb_pack_fini(struct tb_pack *p)
{
    tpi_buf_fini(&p->out);
    tpi_buf_fini(&p->groups);
    tpi_buf_fini(&p->which);
}

static size_t batch_bytes(uint32_t count)
{
    return (size_t) count * (sizeof(uint32_t) + sizeof(uint16_t) + sizeof(uint8_t));
}

int tb_batch_init(struct tb_batch *b, const struct tpc_allocator *alloc,
                  const struct tpc_batch *batch)
{
    size_t bytes = batch_bytes(batch->count);
    memset(b, 0, sizeof(*b));
    b->batch = batch;
    if (bytes > 0) {
        b->order = alloc->resize(alloc->user, NULL, 0, bytes);
        if (b->order == NULL) {
            return TPC_ENOMEM;
        }
        memset(b->order, 0, bytes);
        b->pending = (uint16_t *) (void *) (b->order + batch->count);
        b->marks = (uint8_t *) (b->pending + batch->count);
    }
    return 0;
}

void tb_batch_fini(struct tb_batch *b, const struct tpc_allocator *alloc)
{
    if (b->order != NULL) {
        alloc->resize(alloc->user, b->order, batch_bytes(b->batch->count), 0);
        b->order = NULL;
    }
}

uint32_t tb_pack_groups(const struct tb_pack *p)
{
    return (uint32_t) (p->groups.len / sizeof(struct tb_group));
}

struct tb_group *tb_pack_group(const struct tb_pack *p, uint32_t i)
{
    return (struct tb_group *) (void *) p->groups.ptr + i;
}

/* ---- what a message has ---- */

/* JSON has no word for it, and the server takes no null. */
static bool sayable(const struct tpc_value *v)
{
    return v->type != TPC_NULL && (v->type != TPC_DOUBLE || isfinite(v->as.d));
}

static bool is_point_of(const struct tpc_msg *m, const struct tpc_point *p, enum tb_stream stream)
{
    bool attribute = m->kind == TPC_MSG_ATTRIBUTES || (p->flags & TPC_POINT_ATTRIBUTE) != 0;
    return attribute == (stream == TB_ATTRIBUTES) && p->key.len > 0 && sayable(&p->value);
}

static bool is_event(const struct tb_pack *p, const struct tpc_msg *m)
{
    return m->kind == TPC_MSG_EVENT || (m->kind == TPC_MSG_ALERT && p->o.alerts);
}

static uint8_t streams_of(const struct tb_pack *p, const struct tpc_msg *m)
{
    uint8_t marks = 0;
    if (is_event(p, m)) {
        return TB_MARK_STREAM << TB_TELEMETRY;
    }
    if (m->kind != TPC_MSG_TELEMETRY && m->kind != TPC_MSG_ATTRIBUTES) {
        return 0;
    }
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *point = tpc_msg_point(m, i);
        if (is_point_of(m, point, TB_TELEMETRY)) {
            marks |= TB_MARK_STREAM << TB_TELEMETRY;
        } else if (is_point_of(m, point, TB_ATTRIBUTES)) {
            marks |= TB_MARK_STREAM << TB_ATTRIBUTES;
        }
    }
    return marks;
}

static bool has(const struct tb_batch *b, uint32_t i, enum tb_stream stream)
{
    return (b->marks[i] & TB_MARK_GIVEN) == 0 && (b->marks[i] >> stream & TB_MARK_STREAM) != 0;
}

/* ---- devices of a batch ---- */

static int group_of(struct tb_pack *p, struct tb_devices *devices, const struct tpc_msg *m,
                    uint32_t *ret)
{
    struct tb_device *device = NULL;
    int rc = tb_devices_put(devices, m->device, &device);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (device != NULL && device->batch == p->serial) {
        *ret = device->group;
        return 0;
    }
    struct tb_group g = { .device = device, .name = device != NULL ? device->name : m->device };
    g.product = m->product;
    g.origin = m->origin;
    g.own = p->o.device_mode || (p->o.own.len > 0 && tpc_str_equal(p->o.own, m->device) != 0);
    *ret = tb_pack_groups(p);
    if (tpi_buf_put(&p->groups, &g, sizeof(g)) != 0) {
        return TPC_ENOMEM;
    }
    if (device != NULL) {
        device->batch = p->serial;
        device->group = *ret;
    }
    return 0;
}

static void note(struct tb_pack *p, const struct tpc_msg *m, uint32_t i, struct tb_group *g)
{
    uint8_t streams = streams_of(p, m);
    if (g->device != NULL && g->device->deleted) {
        streams = 0;
    }
    p->b->marks[i] |= streams;
    g->data = g->data || (streams != 0 && (p->b->marks[i] & TB_MARK_GIVEN) == 0);
    if (m->kind == TPC_MSG_PRESENCE) {
        g->presence =
            tpi_member_bool(&m->params, "online", true) ? TB_PRESENCE_ONLINE : TB_PRESENCE_OFFLINE;
    }
    g->count++;
}

int tb_pack_begin(struct tb_pack *p, struct tb_batch *b, struct tb_devices *devices,
                  const struct tb_pack_options *o)
{
    uint32_t count = b->batch->count;
    uint32_t group = 0;
    const struct tpc_msg *before = NULL;
    p->o = *o;
    p->b = b;
    p->serial++;
    p->stream = TB_TELEMETRY;
    p->place = p->point = 0;
    tpi_buf_clear(&p->groups);
    tpi_buf_clear(&p->which);
    if (tpi_buf_reserve(&p->which, count * sizeof(group)) != 0) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(b->batch, i);
        bool same = before != NULL && tpc_str_equal(before->device, m->device) != 0;
        if (!same && group_of(p, devices, m, &group) != 0) {
            return TPC_ENOMEM;
        }
        before = m;
        note(p, m, i, tb_pack_group(p, group));
        tpi_buf_put(&p->which, &group, sizeof(group));
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < tb_pack_groups(p); i++) {
        tb_pack_group(p, i)->first = at;
        at += tb_pack_group(p, i)->count;
        tb_pack_group(p, i)->count = 0;
    }
    const uint32_t *which = (const uint32_t *) (const void *) p->which.ptr;
    for (uint32_t i = 0; i < count; i++) {
        struct tb_group *g = tb_pack_group(p, which[i]);
        b->order[g->first + g->count++] = i;
    }
    return 0;
}

/* ---- texts ---- */

static int put_number(struct tpi_buf *b, int64_t n)
{
    int rc = tpi_buf_reserve(b, TPI_NUMBER_TEXT_BYTES);
    if (rc == 0) {
        b->len += tpi_number_print_int(n, (char *) b->ptr + b->len);
    }
    return rc;
}

static int put_text(struct tpi_buf *b, const char *text, size_t len)
{
    if (len == 0 || tpi_scan_plain(text, text + len) != text + len) {
        return say_quoted(b, (struct tpc_str){ text, len });
    }
    int rc = tpi_buf_reserve(b, len + 2);
    if (rc == 0) {
        uint8_t *at = b->ptr + b->len;
        at[0] = '"';
        memcpy(at + 1, text, len);
        at[len + 1] = '"';
        b->len += len + 2;
    }
    return rc;
}

static int put_value(struct tpi_buf *b, const struct tpc_value *v)
{
    int rc;
    switch (v->type) {
    case TPC_INT:
        return put_number(b, v->as.i);
    case TPC_DOUBLE:
        rc = tpi_buf_reserve(b, TPI_NUMBER_TEXT_BYTES);
        if (rc == 0) {
            b->len += tpi_number_print(v->as.d, (char *) b->ptr + b->len);
        }
        return rc;
    case TPC_BOOL:
        return v->as.b ? tpi_buf_put(b, "true", 4) : tpi_buf_put(b, "false", 5);
    case TPC_TEXT:
        return put_text(b, v->as.text, v->len);
    default:
        return say_value(b, v);
    }
}

/* A number by a plain key, written in one go: what nearly all points are. Returns false if it is not. */
static bool put_plain(struct tpi_buf *b, struct tpc_str key, const struct tpc_value *v)
{
    bool number = v->type == TPC_INT || v->type == TPC_DOUBLE;
    if (!number || tpi_scan_plain(key.ptr, key.ptr + key.len) != key.ptr + key.len ||
        tpi_buf_reserve(b, key.len + 4 + TPI_NUMBER_TEXT_BYTES) != 0) {
        return false;
    }
    char *at = (char *) b->ptr + b->len;
    if (at[-1] != '{') {
        *at++ = ',';
    }
    *at++ = '"';
    memcpy(at, key.ptr, key.len);
    at += key.len;
    *at++ = '"';
    *at++ = ':';
    at += v->type == TPC_INT ? tpi_number_print_int(v->as.i, at) : tpi_number_print(v->as.d, at);
    b->len = (size_t) (at - (char *) b->ptr);
    return true;
}

static int put_point(struct tpi_buf *b, struct tpc_str key, const struct tpc_value *v)
{
    if (put_plain(b, key, v)) {
        return 0;
    }
    int rc = b->ptr[b->len - 1] != '{' ? tpi_buf_put(b, ",", 1) : 0;
    rc = rc != 0 ? rc : put_text(b, key.ptr, key.len);
    rc = rc != 0 ? rc : tpi_buf_put(b, ":", 1);
    return rc != 0 ? rc : put_value(b, v);
}

/* ---- a payload ---- */

#define PUT(b, literal) tpi_buf_put(b, literal, sizeof(literal) - 1)

static int put_metadata(struct tb_pack *p)
{
    struct tpi_buf *b = &p->out;
    const struct tpc_msg *m = p->entry_of;
    struct tpc_str origin = m->origin.len > 0 ? m->origin : TPC_STR("tpcore");
    int rc = PUT(b, ",\"metadata\":{\"connector\":");
    rc = rc != 0 ? rc : put_text(b, origin.ptr, origin.len);
    rc = rc != 0 ? rc : PUT(b, ",\"receivedTs\":");
    rc = rc != 0 ? rc : put_number(b, m->received_unix_ms != 0 ? m->received_unix_ms : m->unix_ms);
    rc = rc != 0 ? rc : PUT(b, ",\"publishedTs\":");
    rc = rc != 0 ? rc : put_number(b, p->o.now_unix_ms);
    return rc != 0 ? rc : PUT(b, "}");
}

/* Bytes that closing everything takes at most. */
static size_t closing(const struct tb_pack *p, const struct tpc_msg *m)
{
    return CLOSE_BYTES + (p->o.metadata && p->stream == TB_TELEMETRY ? 120 + 6 * m->origin.len : 0);
}

static int close_entry(struct tb_pack *p)
{
    int rc = 0;
    if (p->entry_open) {
        rc = PUT(&p->out, "}");
        rc = rc == 0 && p->o.metadata ? put_metadata(p) : rc;
        rc = rc != 0 ? rc : PUT(&p->out, "}");
        p->entry_open = false;
    }
    return rc;
}

static int close_device(struct tb_pack *p)
{
    int rc = close_entry(p);
    if (p->device_open && !p->own && rc == 0) {
        rc = p->stream == TB_TELEMETRY ? PUT(&p->out, "]") : PUT(&p->out, "}");
    }
    p->device_open = false;
    return rc;
}

static int open_device(struct tb_pack *p, const struct tb_group *g)
{
    struct tpi_buf *b = &p->out;
    bool list = p->stream == TB_TELEMETRY;
    int rc = 0;
    p->device_open = true;
    if (g->own) {
        return b->len == 0 ? (list ? PUT(b, "[") : PUT(b, "{")) : 0;
    }
    rc = b->len == 0 ? PUT(b, "{") : PUT(b, ",");
    rc = rc != 0 ? rc : put_text(b, g->name.ptr, g->name.len);
    return rc != 0 ? rc : list ? PUT(b, ":[") : PUT(b, ":{");
}

static int open_entry(struct tb_pack *p, const struct tpc_msg *m, int64_t unix_ms)
{
    struct tpi_buf *b = &p->out;
    int rc = b->ptr[b->len - 1] != '[' ? PUT(b, ",") : 0;
    rc = rc != 0 ? rc : PUT(b, "{\"ts\":");
    rc = rc != 0 ? rc : put_number(b, unix_ms);
    rc = rc != 0 ? rc : PUT(b, ",\"values\":{");
    p->entry_open = true;
    p->entry_ms = unix_ms;
    p->entry_of = m;
    return rc;
}

/* Writes one value with what has to be opened for it; FULL: it does not fit, nothing is changed. */
static int write_one(struct tb_pack *p, const struct tpc_msg *m, struct tpc_str key,
                     const struct tpc_value *v, int64_t unix_ms)
{
    size_t len = p->out.len;
    bool device_open = p->device_open;
    bool entry_open = p->entry_open;
    int64_t entry_ms = p->entry_ms;
    const struct tpc_msg *entry_of = p->entry_of;
    const struct tb_group *g = tb_pack_group(p, p->group);
    int rc = p->device_open ? 0 : open_device(p, g);
    if (p->stream == TB_TELEMETRY && rc == 0) {
        if (p->entry_open && (p->entry_ms != unix_ms || p->entry_of != m)) {
            rc = close_entry(p);
        }
        rc = rc == 0 && !p->entry_open ? open_entry(p, m, unix_ms) : rc;
    }
    rc = rc != 0 ? rc : put_point(&p->out, key, v);
    if (rc == 0 && p->out.len + closing(p, m) <= p->o.payload_max && p->points < p->o.points_max) {
        p->points++;
        return 0;
    }
    p->out.len = len;
    p->device_open = device_open;
    p->entry_open = entry_open;
    p->entry_ms = entry_ms;
    p->entry_of = entry_of;
    return rc != 0 ? rc : FULL;
}

static int write_event(struct tb_pack *p, const struct tpc_msg *m)
{
    struct tpc_value yes = { .type = TPC_BOOL, .as.b = true };
    struct tpc_str name = m->name.len > 0 ? m->name : tpc_str_from(tpc_kind_name(m->kind));
    return write_one(p, m, name, m->params.type != TPC_NULL ? &m->params : &yes, m->unix_ms);
}

/* From p->point on. */
static int write_message(struct tb_pack *p, const struct tpc_msg *m)
{
    int rc = 0;
    if (is_event(p, m)) {
        return write_event(p, m);
    }
    for (; p->point < m->point_count && rc == 0; p->point += rc == 0) {
        const struct tpc_point *point = tpc_msg_point(m, p->point);
        if (is_point_of(m, point, p->stream)) {
            rc = write_one(p, m, point->key, &point->value,
                           point->unix_ms != 0 ? point->unix_ms : m->unix_ms);
        }
    }
    return rc;
}

/* Whether a device's attributes that are in the payload have a key of m, or that is not known. */
static bool meets(const struct tb_pack *p, const struct tpc_msg *m)
{
    uint32_t compared = 0;
    for (uint32_t at = p->group_from; at < p->place; at++) {
        const struct tpc_msg *old = tpc_batch_msg(p->b->batch, p->b->order[at]);
        for (uint32_t i = 0; i < old->point_count; i++) {
            struct tpc_str key = tpc_msg_point(old, i)->key;
            for (uint32_t k = 0; k < m->point_count; k++) {
                if (++compared > COMPARED_MAX ||
                    tpc_str_equal(key, tpc_msg_point(m, k)->key) != 0) {
                    return true;
                }
            }
        }
    }
    return false;
}

/* Goes over to the group of the next message. Returns FULL if the payload has to end before. */
static int enter(struct tb_pack *p, const struct tpc_msg *m, uint32_t group)
{
    const struct tb_group *g = tb_pack_group(p, group);
    if (p->out.len > 0 && p->group != group &&
        (g->device == NULL || tb_pack_group(p, p->group)->device == NULL)) {
        return FULL; /* one that is not remembered may come again */
    }
    if (p->out.len > 0 && (p->own || g->own) && (p->group != group || !p->own)) {
        /* A device mode's session has one device, whatever it is called here. */
        if (!(p->o.device_mode && p->own)) {
            return FULL;
        }
    }
    if (p->device_open && p->group == group) {
        return p->stream == TB_ATTRIBUTES && p->point == 0 && meets(p, m) ? FULL : 0;
    }
    int rc = close_device(p);
    if (rc == 0 && p->o.device_mode && p->stream == TB_ATTRIBUTES && p->out.len > 0) {
        return FULL;
    }
    p->group = group;
    p->group_from = p->place;
    p->own = g->own;
    return rc;
}

static struct tpc_str topic_of(const struct tb_pack *p)
{
    static const char *const topics[2][TB_STREAMS] = {
        { "v1/gateway/telemetry", "v1/gateway/attributes" },
        { "v1/devices/me/telemetry", "v1/devices/me/attributes" },
    };
    return tpc_str_from(topics[p->own][p->stream]);
}

static int finish(struct tb_pack *p, uint32_t from, bool inside, struct tb_part *ret)
{
    bool own = p->own;
    int rc = close_device(p);
    if (rc == 0) {
        rc = own && p->stream == TB_TELEMETRY ? PUT(&p->out, "]") : PUT(&p->out, "}");
    }
    ret->topic = topic_of(p);
    ret->payload = (struct tpc_bytes){ p->out.ptr, p->out.len };
    ret->stream = p->stream;
    ret->from = from;
    ret->to = p->place + inside;
    ret->points = p->points;
    return rc != 0 ? rc : 1;
}

/* Writes messages of the stream until the payload is full or there are no more. *inside: some of the
 * message at p->place is in it. */
static int write_some(struct tb_pack *p, bool *inside)
{
    const uint32_t *which = (const uint32_t *) (const void *) p->which.ptr;
    uint32_t count = p->b->batch->count;
    for (; p->place < count; p->place++, p->point = 0) {
        uint32_t i = p->b->order[p->place];
        if (!has(p->b, i, p->stream)) {
            continue;
        }
        const struct tpc_msg *m = tpc_batch_msg(p->b->batch, i);
        uint32_t before = p->points;
        int rc = enter(p, m, which[i]);
        rc = rc != 0 ? rc : write_message(p, m);
        if (rc != 0) {
            *inside = p->points > before;
            return rc;
        }
        p->b->marks[i] |= (uint8_t) (TB_MARK_OUT << p->stream);
    }
    return 0;
}

int tb_pack_next(struct tb_pack *p, struct tpc_error *err, struct tb_part *ret)
{
    for (; p->stream < TB_STREAMS; p->stream++, p->place = p->point = 0) {
        bool inside = false;
        uint32_t from = p->place;
        tpi_buf_clear(&p->out);
        p->device_open = p->entry_open = p->own = false;
        p->points = 0;
        int rc = write_some(p, &inside);
        if (rc == FULL && p->points == 0) {
            return tpi_error_set(err, TPC_ETOOBIG, "thingsboard",
                                 "a value does not fit into a payload of %zu bytes",
                                 p->o.payload_max);
        }
        for (uint32_t at = from; rc < 0 && at < p->place; at++) {
            p->b->marks[p->b->order[at]] &= (uint8_t) ~(TB_MARK_OUT << p->stream);
        }
        if (rc < 0) {
            return tpi_error_set(err, rc, "thingsboard", "a value cannot be written");
        }
        if (p->points > 0) {
            rc = finish(p, from, inside, ret);
            return rc > 0 ? rc : tpi_error_set(err, rc, "thingsboard", "no memory for a payload");
        }
    }
    return 0;
}

/* ---- parts on their way ---- */

void tb_batch_out(struct tb_batch *b, const struct tb_part *part)
{
    for (uint32_t at = part->from; at < part->to; at++) {
        uint32_t i = b->order[at];
        b->pending[i] = (uint16_t) (b->pending[i] + has(b, i, part->stream));
    }
}

void tb_batch_back(struct tb_batch *b, enum tb_stream stream, uint32_t from, uint32_t to, bool ok)
{
    for (uint32_t at = from; at < to; at++) {
        uint32_t i = b->order[at];
        if (has(b, i, stream)) {
            b->pending[i]--;
            b->marks[i] |= ok ? 0 : TB_MARK_FAILED;
        }
    }
}

bool tb_batch_has(const struct tb_batch *b, uint32_t i)
{
    uint8_t marks = b->marks[i];
    uint8_t wanted = marks & 3;
    return (marks & TB_MARK_GIVEN) != 0 ||
           (wanted != 0 && b->pending[i] == 0 && (marks & TB_MARK_FAILED) == 0 &&
            (marks >> 2 & wanted) == wanted);
}
