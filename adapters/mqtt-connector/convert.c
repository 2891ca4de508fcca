#include "convert.h"

#include "date.h"

#include <string.h>
#include <tpcore/cbor.h>
#include <tpcore/json.h>

#include "data/option.h"

enum { PAYLOAD_FIRST = 512 };

struct point {
    int64_t unix_ms;
    struct tpc_member member;
    bool written;
};

/* One message on its way. */
struct work {
    const struct cn_mapping *mapping;
    bool cbor;
    struct expr_message in;
    struct tpc_arena *arena;
    const struct cn_out *out;
    struct tpc_str device, type;
    int64_t unix_ms;
    struct point *points; /* room for them */
    struct tpc_member *members;
    uint32_t room, count;
    uint32_t frames;
};

bool cn_json(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpc_str text = { (const char *) payload.ptr, payload.len };
    return payload.len > 0 &&
           tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, ret) == 0;
}

int cn_who(const struct cn_from *f, const struct expr_message *m, struct tpc_arena *arena,
           struct tpc_str *ret_device, struct tpc_str *ret_type, const char **ret_why)
{
    int rc = expr_text(&f->device, m, arena, ret_device);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0 || !tpi_key_valid(*ret_device)) {
        *ret_device = (struct tpc_str){ NULL, 0 };
        *ret_why = rc == 0 ? "the name of the device is empty, too long or no text"
                           : "the device's expression matches nothing";
        return TPC_EDECODE;
    }
    rc = ret_type != NULL ? expr_text(&f->type, m, arena, ret_type) : 0;
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0 || (ret_type != NULL && !tpi_key_valid(*ret_type))) {
        *ret_why = rc == 0 ? "the type of the device is empty, too long or no text"
                           : "the type's expression matches nothing";
        return TPC_EDECODE;
    }
    return 0;
}

/* ---- frames ---- */

static int write_payload(struct work *w, const struct tpc_value *map, struct tpc_bytes *ret)
{
    uint8_t small[PAYLOAD_FIRST]; /* no more is kept of each item of an array than it needs */
    struct tpc_buf buf = { small, sizeof(small), 0 };
    int rc = w->cbor ? tpc_cbor_write(map, &buf) : tpc_json_write(map, 0, &buf);
    if (rc != 0 && rc != TPC_ETOOBIG) {
        return rc;
    }
    uint8_t *kept = tpc_arena_take(w->arena, buf.need);
    if (kept == NULL) {
        return TPC_ENOMEM;
    }
    if (rc == 0) {
        memcpy(kept, small, buf.need);
    } else {
        buf = (struct tpc_buf){ kept, buf.need, 0 };
        rc = w->cbor ? tpc_cbor_write(map, &buf) : tpc_json_write(map, 0, &buf);
    }
    *ret = (struct tpc_bytes){ kept, buf.need };
    return rc;
}

static int tell(struct work *w, uint16_t kind, int64_t unix_ms, struct tpc_bytes payload)
{
    struct cn_frame f = { w->device, w->type, kind, unix_ms, payload };
    w->frames++;
    return w->out->frame(w->out->user, &f);
}

static int refuse(struct work *w, int code, const char *why)
{
    struct tpc_bytes payload = w->in.bytes;
    struct tpc_str text;
    if (payload.ptr == NULL && w->in.json != NULL) { /* an item of an array */
        int rc = cast_text(w->in.json, w->arena, &text);
        if (rc == TPC_ENOMEM) {
            return rc;
        }
        payload = rc == 0 ? (struct tpc_bytes){ (const uint8_t *) text.ptr, text.len } : payload;
    }
    return w->out->refused(w->out->user, w->device, payload, code, why);
}

/* A frame for each time among the points. */
static int flush(struct work *w, uint16_t kind)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < w->count; i++) {
        struct tpc_value map = { .type = TPC_MAP, .as.members = w->members };
        struct tpc_bytes payload;
        if (w->points[i].written) {
            continue;
        }
        for (uint32_t k = i; k < w->count; k++) {
            struct point *p = &w->points[k];
            if (!p->written && p->unix_ms == w->points[i].unix_ms) {
                p->written = true;
                w->members[map.len++] = p->member;
            }
        }
        rc = write_payload(w, &map, &payload);
        if (rc == 0) {
            rc = tell(w, kind, w->points[i].unix_ms, payload);
        } else if (rc != TPC_ENOMEM) {
            w->frames++; /* it is not told twice */
            rc = refuse(w, TPC_EDECODE, "a value is nested too deeply");
        }
    }
    w->count = 0;
    return rc;
}

/* Of two values with the same key and time the later one counts. */
static int add(struct work *w, uint16_t kind, struct tpc_str key, const struct tpc_value *v,
               int64_t unix_ms)
{
    for (uint32_t i = 0; i < w->count; i++) {
        struct point *p = &w->points[i];
        if (p->unix_ms == unix_ms && tpc_str_equal(p->member.key, key)) {
            p->member.value = *v;
            return 0;
        }
    }
    if (w->count == w->room) {
        int rc = flush(w, kind);
        if (rc != 0) {
            return rc;
        }
    }
    w->points[w->count++] = (struct point){ unix_ms, { key, *v }, false };
    return 0;
}

/* ---- values ---- */

static void left_out(const struct work *w, const char *metric)
{
    w->out->count(w->out->user, metric, 1);
}

/* Of an entry; that of the message if it says none that can be read. */
static int entry_time(struct work *w, const struct cn_entry *e, int64_t *ret)
{
    struct tpc_str text;
    *ret = w->unix_ms;
    if (!e->has_time) {
        return 0;
    }
    int rc = expr_text(&e->time, &w->in, w->arena, &text);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0 || date_parse(text, e->date_flags, ret) != 0) {
        left_out(w, "unread_times");
    }
    return 0;
}

static int add_all(struct work *w, uint16_t kind, const struct cn_entry *e)
{
    const struct tpc_value *json = w->in.json;
    int64_t unix_ms;
    int rc = entry_time(w, e, &unix_ms);
    if (json == NULL || json->type != TPC_MAP) {
        left_out(w, "values_missing");
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < json->len; i++) {
        const struct tpc_member *m = &json->as.members[i];
        struct tpc_value v;
        if (m->value.type == TPC_NULL || m->key.len == 0) {
            continue;
        }
        rc = cast_value(e->type, &m->value, w->arena, &v);
        if (rc == TPC_EDECODE) {
            left_out(w, "values_unfit");
            rc = 0;
        } else if (rc == 0) {
            rc = add(w, kind, m->key, &v, unix_ms);
        }
    }
    return rc;
}

static int add_entry(struct work *w, uint16_t kind, const struct cn_entry *e)
{
    struct tpc_value found, v;
    struct tpc_str key;
    int64_t unix_ms;
    if (e->all) {
        return add_all(w, kind, e);
    }
    int rc = expr_value(&e->value, &w->in, w->arena, &found);
    rc = rc != 0 ? rc : expr_text(&e->key, &w->in, w->arena, &key);
    if (rc != 0 || key.len == 0) {
        if (rc != TPC_ENOMEM) {
            left_out(w, "values_missing");
        }
        return rc == TPC_ENOMEM ? rc : 0;
    }
    rc = cast_value(e->type, &found, w->arena, &v);
    if (rc != 0) {
        if (rc != TPC_ENOMEM) {
            left_out(w, "values_unfit");
        }
        return rc == TPC_ENOMEM ? rc : 0;
    }
    rc = entry_time(w, e, &unix_ms);
    return rc != 0 ? rc : add(w, kind, key, &v, unix_ms);
}

/* Room for all values of a list, up to CN_POINTS_MAX. */
static int make_room(struct work *w, const struct cn_entries *list)
{
    size_t most = list->count;
    for (uint32_t i = 0; i < list->count; i++) {
        bool map = w->in.json != NULL && w->in.json->type == TPC_MAP;
        most += list->items[i].all && map ? w->in.json->len : 0;
    }
    most = most < CN_POINTS_MAX ? most : CN_POINTS_MAX;
    if (w->room < most) {
        w->room = (uint32_t) most;
        w->points = tpc_arena_take(w->arena, most * sizeof(*w->points));
        w->members = tpc_arena_take(w->arena, most * sizeof(*w->members));
    }
    return w->room == 0 || (w->points != NULL && w->members != NULL) ? 0 : TPC_ENOMEM;
}

static int add_entries(struct work *w, uint16_t kind, const struct cn_entries *list)
{
    int rc = make_room(w, list);
    for (uint32_t i = 0; rc == 0 && i < list->count; i++) {
        rc = add_entry(w, kind, &list->items[i]);
    }
    return rc != 0 ? rc : flush(w, kind);
}

/* "ts" or "timestamp" of a message; 0 = it has none. */
static int64_t message_time(struct work *w)
{
    const struct tpc_value *ts = NULL;
    int64_t unix_ms = 0;
    struct tpc_str text;
    if (w->mapping->received_time || w->in.json == NULL || w->in.json->type != TPC_MAP) {
        return 0;
    }
    ts = tpc_value_get(w->in.json, TPC_STR("ts"));
    ts = ts != NULL ? ts : tpc_value_get(w->in.json, TPC_STR("timestamp"));
    if (ts == NULL || ts->type == TPC_NULL) {
        return 0;
    }
    struct tpc_value whole; /* 1763744400123.0 is a number of milliseconds, too */
    if (ts->type == TPC_DOUBLE && cast_value(CAST_INTEGER, ts, w->arena, &whole) == 0) {
        ts = &whole;
    }
    if (cast_text(ts, w->arena, &text) != 0 || date_parse(text, 0, &unix_ms) != 0) {
        left_out(w, "unread_times");
        return 0;
    }
    return unix_ms;
}

/* ---- messages ---- */

static int convert_one(struct work *w)
{
    const char *why = "";
    w->device = w->type = (struct tpc_str){ NULL, 0 };
    w->frames = 0;
    int rc = cn_who(&w->mapping->from, &w->in, w->arena, &w->device, &w->type, &why);
    if (rc == TPC_EDECODE) {
        return refuse(w, rc, why);
    }
    if (rc != 0) {
        return rc;
    }
    w->unix_ms = message_time(w);
    if (w->mapping->converter == CN_RAW) {
        return tell(w, TPC_MSG_UNKNOWN, 0, w->in.bytes);
    }
    rc = add_entries(w, TPC_MSG_ATTRIBUTES, &w->mapping->attributes);
    rc = rc != 0 ? rc : add_entries(w, TPC_MSG_TELEMETRY, &w->mapping->timeseries);
    return rc != 0 || w->frames > 0 ? rc : refuse(w, TPC_EDECODE, "no value was found in it");
}

static int convert_json(struct work *w, const struct tpc_value *json)
{
    int rc = 0;
    if (json->type != TPC_ARRAY || w->mapping->converter == CN_RAW) {
        w->in.json = json;
        return convert_one(w);
    }
    if (json->len == 0) {
        return refuse(w, TPC_EDECODE, "an array without items");
    }
    w->in.bytes = (struct tpc_bytes){ NULL, 0 };
    for (size_t i = 0; rc == 0 && i < json->len; i++) {
        w->in.json = &json->as.items[i];
        rc = convert_one(w);
    }
    return rc;
}

int cn_convert(const struct cn_mapping *m, bool cbor, struct tpc_str topic,
               struct tpc_bytes payload, struct tpc_arena *arena, const struct cn_out *out)
{
    struct work w = { .mapping = m, .cbor = cbor, .arena = arena, .out = out };
    struct tpc_value json;
    struct tpc_error err = { .size = sizeof(err) };
    w.in = (struct expr_message){ .topic = topic, .bytes = payload, .hex = m->hex };
    bool wants = m->converter == CN_JSON ||
                 (m->converter == CN_RAW &&
                  (m->from.device.kind == EXPR_JSON || m->from.type.kind == EXPR_JSON));
    if (!wants) {
        return convert_one(&w);
    }
    struct tpc_str text = { (const char *) payload.ptr, payload.len };
    int rc = tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, &json);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    return rc == 0 ? convert_json(&w, &json) : refuse(&w, TPC_EDECODE, "it is no JSON");
}
