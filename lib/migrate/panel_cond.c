/* Conditions on devices, as expressions. */
#include "migrate/panel.h"

#include "data/member.h"

#include <string.h>
#include <tpcore/json.h>

static bool is(struct tpc_str text, const char *name)
{
    return tpc_str_equal(text, tpc_str_from(name)) != 0;
}

static int fail_name(struct panel *p, const char *member, struct tpc_str name)
{
    tpi_panel_note(p, member, "no place for a name as '%.*s'",
                   (int) (name.len < 64 ? name.len : 64), name.len > 0 ? name.ptr : "");
    return false;
}

/* ---- reading ---- */

static bool read_source(struct panel *p, struct tpc_str type, struct panel_condition *ret)
{
    static const struct {
        const char *name;
        enum panel_source source;
    } types[] = { { "TEL", PANEL_TELEMETRY },
                  { "TELEMETRY", PANEL_TELEMETRY },
                  { "telemetry", PANEL_TELEMETRY },
                  { "ATTR", PANEL_TELEMETRY },
                  { "ATTRIBUTES", PANEL_TELEMETRY },
                  { "attributes", PANEL_TELEMETRY },
                  { "EVT", PANEL_EVENT },
                  { "EVENT", PANEL_EVENT },
                  { "event", PANEL_EVENT },
                  { "STATUS", PANEL_STATUS },
                  { "status", PANEL_STATUS } };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (is(type, types[i].name)) {
            ret->source = types[i].source;
            return true;
        }
    }
    tpi_panel_note(p, "trigger_param_type", "unknown: '%.*s'",
                   (int) (type.len < 64 ? type.len : 64), type.len > 0 ? type.ptr : "");
    return false;
}

static bool read_status(struct panel *p, struct panel_condition *ret)
{
    ret->online = is(ret->name, "ON-LINE") ? 1 : is(ret->name, "OFF-LINE") ? 0 : -1;
    if (ret->online >= 0 || is(ret->name, "ALL")) {
        return true;
    }
    tpi_panel_note(p, "trigger_param", "a status is ON-LINE, OFF-LINE or ALL");
    return false;
}

bool tpi_panel_condition(struct panel *p, const struct tpc_value *c, struct panel_condition *ret)
{
    *ret = (struct panel_condition){ .value = tpi_member(c, "trigger_value") };
    struct tpc_str type = tpi_panel_scalar(p, tpi_member(c, "trigger_conditions_type"));
    struct tpc_str id = tpi_member_text(c, "trigger_source");
    ret->class_wide = is(type, "11");
    ret->name = tpi_member_text(c, "trigger_param");
    ret->op = tpi_member_text(c, "trigger_operator");
    if (id.len == 0) {
        tpi_panel_note(p, "trigger_source", "missing");
        return false;
    }
    ret->key = tpi_panel_key(p, ret->class_wide ? "products" : "devices", id);
    if (!read_source(p, tpi_member_text(c, "trigger_param_type"), ret)) {
        return false;
    }
    if (ret->source == PANEL_STATUS) {
        return read_status(p, ret);
    }
    if (ret->name.len == 0 || memchr(ret->name.ptr, '`', ret->name.len) != NULL) {
        return fail_name(p, "trigger_param", ret->name) != 0;
    }
    return true;
}

/* ---- writing ---- */

static bool same_word(struct tpc_str name, const char *word)
{
    if (name.len != strlen(word)) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? (char) (name.ptr[i] + 32) : name.ptr[i];
        if (c != word[i]) {
            return false;
        }
    }
    return true;
}

static bool is_plain(struct tpc_str name)
{
    static const char *const words[] = { "and",  "or",   "not",  "in",   "between",
                                         "like", "is",   "null", "case", "when",
                                         "then", "else", "end",  "true", "false" };
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9')) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (same_word(name, words[i])) {
            return false;
        }
    }
    return name.len > 0;
}

static int put_name(struct tpi_buf *out, struct tpc_str name)
{
    bool plain = is_plain(name);
    int rc = plain ? 0 : tpi_buf_u8(out, '`');
    rc = rc != 0 ? rc : tpi_buf_text(out, name);
    return rc != 0 || plain ? rc : tpi_buf_u8(out, '`');
}

static int put_quoted(struct tpi_buf *out, struct tpc_str text)
{
    int rc = tpi_buf_u8(out, '\'');
    for (size_t i = 0; rc == 0 && i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\n' || c == '\t') {
            rc = tpi_buf_text(out, c == '\n' ? TPC_STR("\\n") : TPC_STR("\\t"));
            continue;
        }
        rc = c == '\'' || c == '\\' ? tpi_buf_u8(out, '\\') : 0;
        rc = rc != 0 ? rc : tpi_buf_u8(out, (uint8_t) c);
    }
    return rc != 0 ? rc : tpi_buf_u8(out, '\'');
}

static size_t digits(struct tpc_str s, size_t at)
{
    while (at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9') {
        at++;
    }
    return at;
}

/* -12.5 */
static bool is_number(struct tpc_str s)
{
    size_t from = s.len > 0 && s.ptr[0] == '-' ? 1 : 0;
    size_t at = digits(s, from);
    if (at == from || at - from > 300) {
        return false;
    }
    if (at < s.len && s.ptr[at] == '.') {
        size_t end = digits(s, at + 1);
        return end > at + 1 && end == s.len;
    }
    return at == s.len;
}

static struct tpc_str trim(struct tpc_str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s = (struct tpc_str){ s.ptr + 1, s.len - 1 };
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

static int put_literal(struct tpi_buf *out, struct tpc_str text)
{
    text = trim(text);
    bool as_is = is_number(text) || is(text, "true") || is(text, "false");
    return as_is ? tpi_buf_text(out, text) : put_quoted(out, text);
}

/* "20-30": neither may be negative, as there. */
static bool put_between(struct panel *p, struct tpc_str text, const char *member,
                        struct tpi_buf *out)
{
    const char *dash = text.len > 0 ? memchr(text.ptr, '-', text.len) : NULL;
    size_t at = dash != NULL ? (size_t) (dash - text.ptr) : 0;
    struct tpc_str low = trim((struct tpc_str){ text.ptr, at });
    struct tpc_str high =
        dash != NULL ? trim((struct tpc_str){ dash + 1, text.len - at - 1 }) : TPC_STR("");
    if (!is_number(low) || !is_number(high)) {
        tpi_panel_note(p, member, "between needs two numbers as 20-30, not '%.*s'",
                       (int) (text.len < 64 ? text.len : 64), text.len > 0 ? text.ptr : "");
        return false;
    }
    int rc = tpi_buf_printf(out, " between %.*s and %.*s", (int) low.len, low.ptr, (int) high.len,
                            high.ptr);
    p->rc = rc != 0 ? rc : p->rc;
    return rc == 0;
}

static int put_in(struct tpi_buf *out, struct tpc_str text)
{
    int rc = tpi_buf_text(out, TPC_STR(" in ("));
    for (size_t i = 0; rc == 0 && i <= text.len;) {
        const char *comma = i < text.len ? memchr(text.ptr + i, ',', text.len - i) : NULL;
        size_t end = comma != NULL ? (size_t) (comma - text.ptr) : text.len;
        rc = i > 0 ? tpi_buf_text(out, TPC_STR(", ")) : 0;
        rc = rc != 0 ? rc : put_literal(out, (struct tpc_str){ text.ptr + i, end - i });
        i = end + 1;
    }
    return rc != 0 ? rc : tpi_buf_u8(out, ')');
}

static bool put_relation(struct panel *p, struct tpc_str op, struct tpc_str value,
                         const char *member, struct tpi_buf *out)
{
    static const char *const same[] = { "=", "!=", ">", "<", ">=", "<=" };
    int rc = TPC_EINVAL;
    if (is(op, "between")) {
        return put_between(p, value, member, out);
    }
    if (is(op, "in")) {
        rc = put_in(out, value);
    }
    for (size_t i = 0; rc == TPC_EINVAL && i < sizeof(same) / sizeof(same[0]); i++) {
        if (is(op, same[i]) || (i == 0 && is(op, "=="))) {
            rc = tpi_buf_printf(out, " %s ", same[i]);
            rc = rc != 0 ? rc : put_literal(out, value);
            break;
        }
    }
    if (rc == TPC_EINVAL) {
        tpi_panel_note(p, member, "unknown operator '%.*s'", (int) (op.len < 32 ? op.len : 32),
                       op.len > 0 ? op.ptr : "");
        return false;
    }
    p->rc = rc != 0 ? rc : p->rc;
    return rc == 0;
}

/* ---- events ---- */

static bool put_path(struct panel *p, struct tpc_str path, struct tpi_buf *out)
{
    if (path.len == 0) {
        return fail_name(p, "trigger_value", TPC_STR("")) != 0;
    }
    int rc = tpi_buf_text(out, TPC_STR("params"));
    for (size_t i = 0; rc == 0 && i <= path.len;) {
        const char *dot = i < path.len ? memchr(path.ptr + i, '.', path.len - i) : NULL;
        size_t end = dot != NULL ? (size_t) (dot - path.ptr) : path.len;
        struct tpc_str part = { path.ptr + i, end - i };
        if (part.len == 0 || memchr(part.ptr, '`', part.len) != NULL) {
            return fail_name(p, "trigger_value", path) != 0;
        }
        rc = tpi_buf_u8(out, '.');
        rc = rc != 0 ? rc : put_name(out, part);
        i = end + 1;
    }
    p->rc = rc != 0 ? rc : p->rc;
    return rc == 0;
}

static bool put_and(struct panel *p, struct tpi_buf *out, bool *first)
{
    int rc = *first ? 0 : tpi_buf_text(out, TPC_STR(" and "));
    *first = false;
    p->rc = rc != 0 ? rc : p->rc;
    return rc == 0;
}

/* A list as a text with commas; [20, 30] of between as "20-30". */
static struct tpc_str joined(struct panel *p, const struct tpc_value *v, bool between)
{
    struct tpi_buf sum;
    int rc = 0;
    if (v == NULL || v->type != TPC_ARRAY) {
        return tpi_panel_scalar(p, v);
    }
    tpi_buf_init(&sum, NULL, 0);
    for (size_t i = 0; rc == 0 && i < v->len; i++) {
        rc = i > 0 ? tpi_buf_u8(&sum, between ? '-' : ',') : 0;
        rc = rc != 0 ? rc : tpi_buf_text(&sum, tpi_panel_scalar(p, &v->as.items[i]));
    }
    struct tpc_value all = tpi_panel_text(p, (struct tpc_str){ (const char *) sum.ptr, sum.len });
    tpi_buf_fini(&sum);
    p->rc = rc != 0 ? rc : p->rc;
    return tpc_value_text(&all);
}

static bool put_field(struct panel *p, const struct tpc_value *c, struct tpi_buf *out)
{
    struct tpc_str op = tpi_member_text(c, "operator");
    const struct tpc_value *value = tpi_member(c, "value");
    if (!put_path(p, tpi_member_text(c, "field"), out)) {
        return false;
    }
    if (is(op, "exists")) {
        bool there = value == NULL || value->type != TPC_BOOL || value->as.b;
        int rc = tpi_buf_text(out, there ? TPC_STR(" is not null") : TPC_STR(" is null"));
        p->rc = rc != 0 ? rc : p->rc;
        return rc == 0;
    }
    return put_relation(p, op, joined(p, value, is(op, "between")), "trigger_value", out);
}

static bool put_fields(struct panel *p, const struct tpc_value *list, struct tpi_buf *out)
{
    bool first = true;
    bool good = true;
    for (size_t i = 0; good && i < list->len; i++) {
        good = put_and(p, out, &first) && put_field(p, &list->as.items[i], out);
    }
    return good;
}

static bool put_null(struct panel *p, struct tpi_buf *out)
{
    int rc = tpi_buf_text(out, TPC_STR(" is null"));
    p->rc = rc != 0 ? rc : p->rc;
    return rc == 0;
}

/* All members as they are given; the event may have more. */
static bool put_exact(struct panel *p, const struct tpc_value *map, struct tpi_buf *out)
{
    bool first = true;
    bool good = true;
    for (size_t i = 0; good && i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        if (m->value.type > TPC_TEXT) {
            tpi_panel_note(p, "trigger_value", "a list or map in it cannot be compared");
            return false;
        }
        good = put_and(p, out, &first) && put_path(p, m->key, out) &&
               (m->value.type == TPC_NULL
                    ? put_null(p, out)
                    : put_relation(p, TPC_STR("="), tpi_panel_scalar(p, &m->value), "trigger_value",
                                   out));
    }
    return good;
}

static bool put_event(struct panel *p, const struct panel_condition *c, struct tpi_buf *out)
{
    struct tpc_value parsed = { .type = TPC_NULL };
    const struct tpc_value *v = c->value;
    if (v != NULL && v->type == TPC_TEXT && v->len > 0) {
        int rc = tpc_json_parse(p->arena, tpc_value_text(v), 0, NULL, &parsed);
        p->rc = rc == TPC_ENOMEM ? rc : p->rc;
        v = &parsed;
        if (rc != 0) {
            tpi_panel_note(p, "trigger_value", "no JSON");
            return false;
        }
    }
    if (v == NULL || v->type == TPC_NULL || (v->type == TPC_TEXT && v->len == 0)) {
        return true; /* any */
    }
    if (v->type != TPC_MAP) {
        tpi_panel_note(p, "trigger_value", "no JSON object");
        return false;
    }
    const struct tpc_value *list = tpi_member(v, "conditions");
    if (is(tpi_member_text(v, "match_mode"), "field") && list != NULL && list->type == TPC_ARRAY) {
        return put_fields(p, list, out);
    }
    return put_exact(p, v, out);
}

/* ---- all ---- */

static int put_subject(const struct panel_condition *c, bool self, struct tpi_buf *out)
{
    if (self) {
        return 0;
    }
    int rc = tpi_buf_text(out, TPC_STR("device("));
    rc = rc != 0 ? rc : put_quoted(out, c->key);
    return rc != 0 ? rc : tpi_buf_text(out, TPC_STR(")."));
}

bool tpi_panel_expr(struct panel *p, const struct panel_condition *c, bool self,
                    struct tpi_buf *out)
{
    int rc = 0;
    if (c->source == PANEL_EVENT) {
        return put_event(p, c, out);
    }
    if (c->source == PANEL_STATUS) {
        if (c->online < 0) {
            return true;
        }
        rc = c->online == 0 ? tpi_buf_text(out, TPC_STR("not ")) : 0;
        rc = rc != 0 ? rc : put_subject(c, self, out);
        rc = rc != 0 ? rc : tpi_buf_text(out, self ? TPC_STR("device.online") : TPC_STR("online"));
        p->rc = rc != 0 ? rc : p->rc;
        return rc == 0;
    }
    rc = put_subject(c, self, out);
    rc = rc != 0 ? rc : put_name(out, c->name);
    p->rc = rc != 0 ? rc : p->rc;
    return rc == 0 &&
           put_relation(p, c->op, tpi_panel_scalar(p, c->value), "trigger_operator", out);
}
