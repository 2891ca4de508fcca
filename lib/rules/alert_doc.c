/*
 * An alert as a document: params of its messages and, with its comments, its row in the store. Members
 * that are empty are left out.
 */
#include "rules/alert_state.h"

#include <string.h>

enum { MEMBERS = 32, HEX = TPC_ID_TEXT_BYTES };

static const char *const changes[] = { NULL,      "raise",    "worse", "clear", "acknowledge",
                                       "comment", "escalate", "flap",  "calm",  "unmute" };

struct out {
    struct tpc_arena *arena;
    struct tpc_member *members;
    size_t count;
    bool failed;
};

static void put(struct out *o, const char *key, struct tpc_value v)
{
    o->members[o->count++] = (struct tpc_member){ tpc_str_from(key), v };
}

static struct tpc_value text_value(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
}

static void put_text(struct out *o, const char *key, struct tpc_str s)
{
    if (s.len > 0) {
        put(o, key, text_value(s));
    }
}

static struct tpc_value int_value(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = i };
}

static void put_int(struct out *o, const char *key, int64_t i)
{
    if (i != 0) {
        put(o, key, int_value(i));
    }
}

static void put_flag(struct out *o, const char *key, bool b)
{
    if (b) {
        put(o, key, (struct tpc_value){ .type = TPC_BOOL, .as.b = true });
    }
}

static void put_id(struct out *o, const struct tpc_id *id)
{
    char *hex = tpc_arena_take(o->arena, HEX + 1);
    if (hex == NULL) {
        o->failed = true;
        return;
    }
    tpc_id_format(id, hex);
    put_text(o, "id", (struct tpc_str){ hex, HEX });
}

static bool begin(struct out *o, struct tpc_arena *arena)
{
    *o = (struct out){ .arena = arena };
    o->members = tpc_arena_take(arena, MEMBERS * sizeof(o->members[0]));
    return o->members != NULL;
}

static int end(struct out *o, struct tpc_value *ret)
{
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = o->count, .as.members = o->members };
    return o->failed ? TPC_ENOMEM : 0;
}

static struct tpc_str state_name(const struct tpi_alert *x)
{
    return tpi_alert_open(x) ? TPC_STR("raised") : TPC_STR("cleared");
}

static void put_list(struct out *o, const char *key, struct tpc_value *items, size_t count)
{
    put(o, key, (struct tpc_value){ .type = TPC_ARRAY, .len = count, .as.items = items });
}

static void put_notes(struct out *o, const struct tpi_alert *x)
{
    struct tpc_value *items =
        x->note_count > 0 ? tpc_arena_take(o->arena, x->note_count * sizeof(*items)) : NULL;
    size_t n = 0;
    for (const struct tpi_alert_note *p = x->notes; items != NULL && p != NULL; p = p->next) {
        struct tpc_member *m = tpc_arena_take(o->arena, 3 * sizeof(*m));
        if (m == NULL) {
            o->failed = true;
            return;
        }
        m[0] = (struct tpc_member){ TPC_STR("by"), text_value(p->by) };
        m[1] = (struct tpc_member){ TPC_STR("text"), text_value(p->text) };
        m[2] = (struct tpc_member){ TPC_STR("unix_ms"), int_value(p->unix_ms) };
        items[n++] = (struct tpc_value){ .type = TPC_MAP, .len = 3, .as.members = m };
    }
    o->failed |= x->note_count > 0 && items == NULL;
    if (n > 0) {
        put_list(o, "comments", items, n);
    }
}

static void put_toggles(struct out *o, const struct tpi_alert_toggles *t)
{
    if (t == NULL || t->count == 0) {
        return;
    }
    struct tpc_value *items = tpc_arena_take(o->arena, t->count * sizeof(*items));
    if (items == NULL) {
        o->failed = true;
        return;
    }
    for (uint32_t i = 0; i < t->count; i++) {
        items[i] = int_value(t->unix_ms[i]);
    }
    put_list(o, "toggles", items, t->count);
}

static void put_source(struct out *o, const struct tpi_alert *x)
{
    struct tpc_value *items = x->has_source ? tpc_arena_take(o->arena, 2 * sizeof(*items)) : NULL;
    if (items != NULL) {
        items[0] = int_value(x->source_partition);
        items[1] = int_value((int64_t) x->source_offset);
        put_list(o, "source", items, 2);
    }
    o->failed |= x->has_source && items == NULL;
}

int tpi_alert_write(const struct tpi_alert *x, const struct tpi_alert_said *said,
                    struct tpc_arena *arena, struct tpc_value *ret)
{
    struct out o;
    if (!begin(&o, arena)) {
        return TPC_ENOMEM;
    }
    put_text(&o, "state", state_name(x));
    if (said->what != 0) {
        put_text(&o, "change", tpc_str_from(changes[said->what]));
    }
    put_text(&o, "severity", tpc_str_from(tpc_severity_name(x->severity)));
    put_text(&o, "text", x->text);
    put_id(&o, &x->id);
    put_int(&o, "number", x->change);
    put_int(&o, "nth", x->nth);
    put_text(&o, "key", x->key);
    put_text(&o, "tenant", x->tenant);
    put_text(&o, "device", x->device);
    put_int(&o, "tenant_id", (int64_t) x->tenant_id);
    put_int(&o, "device_id", (int64_t) x->device_id);
    put_int(&o, "partition", x->partition);
    put_text(&o, "by", x->by);
    put_int(&o, "count", (int64_t) x->count);
    put_int(&o, "since_unix_ms", x->raised_ms);
    put_int(&o, "last_unix_ms", x->last_ms);
    put_int(&o, "cleared_unix_ms", x->cleared_ms);
    put_int(&o, "acknowledged_unix_ms", x->acked_ms);
    put_text(&o, "acknowledged_by", x->acked_by);
    put_flag(&o, "flapping", (x->flags & TPC_ALERT_FLAPPING) != 0);
    put_flag(&o, "muted", (x->flags & TPC_ALERT_MUTED) != 0);
    put_flag(&o, "escalated", (x->flags & TPC_ALERT_ESCALATED) != 0);
    put_flag(&o, "held", (x->flags & TPI_ALERT_HELD) != 0);
    put_flag(&o, "ends", (x->flags & TPI_ALERT_WANT_CLEAR) != 0);
    put_source(&o, x);
    put_toggles(&o, x->toggles);
    if (said->what == 0) {
        put_notes(&o, x);
    }
    put_text(&o, "actor", said->actor);
    put_text(&o, "comment", said->comment);
    return end(&o, ret);
}

int tpi_alert_tell(const struct tpi_alert *x, const struct tpi_alert_config *c,
                   enum tpi_alert_what what, int64_t unix_ms, struct tpc_arena *arena,
                   struct tpc_value *ret)
{
    struct out o;
    if (!begin(&o, arena)) {
        return TPC_ENOMEM;
    }
    put_text(&o, "alert", x->key);
    put_text(&o, "name", c->name.len > 0 ? c->name : x->key);
    put_id(&o, &x->id);
    put_text(&o, "state", state_name(x));
    put_text(&o, "change", tpc_str_from(changes[what]));
    put_text(&o, "severity", tpc_str_from(tpc_severity_name(x->severity)));
    put_text(&o, "text", x->text);
    put_text(&o, "tenant", x->tenant);
    put_text(&o, "device", x->device);
    put_text(&o, "by", x->by);
    put_int(&o, "count", (int64_t) x->count);
    put_int(&o, "since_unix_ms", x->raised_ms);
    put_int(&o, "unix_ms", unix_ms);
    put_text(&o, "acknowledged_by", x->acked_by);
    return end(&o, ret);
}

/* ---- reading ---- */

static struct tpc_str get_text(const struct tpc_value *doc, const char *key)
{
    const struct tpc_value *v = tpc_value_get(doc, tpc_str_from(key));
    return v != NULL ? tpc_value_text(v) : (struct tpc_str){ NULL, 0 };
}

static int64_t get_int(const struct tpc_value *doc, const char *key)
{
    const struct tpc_value *v = tpc_value_get(doc, tpc_str_from(key));
    int64_t i = 0;
    return v != NULL && tpc_value_int(v, &i) == 0 && i > 0 ? i : 0;
}

static uint8_t get_flag(const struct tpc_value *doc, const char *key, uint8_t flag)
{
    const struct tpc_value *v = tpc_value_get(doc, tpc_str_from(key));
    return v != NULL && v->type == TPC_BOOL && v->as.b ? flag : 0;
}

static void get_source(const struct tpc_value *doc, struct tpi_alert *ret)
{
    const struct tpc_value *v = tpc_value_get(doc, TPC_STR("source"));
    int64_t partition = 0;
    int64_t offset = 0;
    ret->has_source = v != NULL && v->type == TPC_ARRAY && v->len == 2 &&
                      tpc_value_int(&v->as.items[0], &partition) == 0 &&
                      tpc_value_int(&v->as.items[1], &offset) == 0;
    ret->source_partition = (uint32_t) partition;
    ret->source_offset = (uint64_t) offset;
}

int tpi_alert_parse(const struct tpc_value *doc, struct tpi_alert *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (doc->type != TPC_MAP || tpc_id_parse(get_text(doc, "id"), &ret->id) != 0) {
        return TPC_ECORRUPT;
    }
    struct tpc_str state = get_text(doc, "state");
    ret->change = (uint32_t) get_int(doc, "number");
    ret->nth = (uint32_t) get_int(doc, "nth");
    ret->severity = (uint8_t) tpi_severity_of(get_text(doc, "severity"));
    ret->key = get_text(doc, "key");
    ret->tenant = get_text(doc, "tenant");
    ret->device = get_text(doc, "device");
    ret->text = get_text(doc, "text");
    ret->by = get_text(doc, "by");
    ret->acked_by = get_text(doc, "acknowledged_by");
    ret->tenant_id = (uint64_t) get_int(doc, "tenant_id");
    ret->device_id = (uint64_t) get_int(doc, "device_id");
    ret->partition = (uint32_t) get_int(doc, "partition");
    ret->count = (uint64_t) get_int(doc, "count");
    ret->raised_ms = get_int(doc, "since_unix_ms");
    ret->last_ms = get_int(doc, "last_unix_ms");
    ret->cleared_ms = get_int(doc, "cleared_unix_ms");
    ret->acked_ms = get_int(doc, "acknowledged_unix_ms");
    ret->flags = (uint8_t) (get_flag(doc, "flapping", TPC_ALERT_FLAPPING) |
                            get_flag(doc, "muted", TPC_ALERT_MUTED) |
                            get_flag(doc, "escalated", TPC_ALERT_ESCALATED) |
                            get_flag(doc, "held", TPI_ALERT_HELD) |
                            get_flag(doc, "ends", TPI_ALERT_WANT_CLEAR));
    get_source(doc, ret);
    bool cleared = tpc_str_equal(state, TPC_STR("cleared"));
    return ret->change > 0 && ret->severity > 0 && ret->key.len > 0 && ret->device_id > 0 &&
                   cleared == (ret->cleared_ms > 0)
               ? 0
               : TPC_ECORRUPT;
}

int tpi_alert_parse_note(const struct tpc_value *doc, struct tpi_alert_note *ret)
{
    ret->next = NULL;
    ret->by = get_text(doc, "by");
    ret->text = get_text(doc, "text");
    ret->unix_ms = get_int(doc, "unix_ms");
    return ret->text.len > 0 ? 0 : TPC_ECORRUPT;
}
