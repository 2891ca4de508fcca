/* Actions of automations. */
#include "migrate/panel.h"

#include "data/member.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

static bool is(struct tpc_str text, const char *name)
{
    return tpc_str_equal(text, tpc_str_from(name)) != 0;
}

enum what { WHAT_NONE, WHAT_CONTROL, WHAT_SET, WHAT_SERVICE };

static enum what what_of(struct tpc_str type)
{
    static const struct {
        const char *name;
        enum what what;
    } types[] = { { "TEL", WHAT_CONTROL },       { "TELEMETRY", WHAT_CONTROL },
                  { "telemetry", WHAT_CONTROL }, { "c_telemetry", WHAT_CONTROL },
                  { "ATTR", WHAT_SET },          { "ATTRIBUTES", WHAT_SET },
                  { "attributes", WHAT_SET },    { "c_attribute", WHAT_SET },
                  { "CMD", WHAT_SERVICE },       { "COMMAND", WHAT_SERVICE },
                  { "command", WHAT_SERVICE },   { "c_command", WHAT_SERVICE } };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (is(type, types[i].name)) {
            return types[i].what;
        }
    }
    return WHAT_NONE;
}

/* Text that is JSON becomes what it says; what is none stays a text. */
static struct tpc_value unpack(struct panel *p, const struct tpc_value *v)
{
    struct tpc_value parsed;
    if (v == NULL) {
        return (struct tpc_value){ .type = TPC_NULL };
    }
    if (v->type != TPC_TEXT || v->len == 0) {
        return *v;
    }
    int rc = tpc_json_parse(p->arena, tpc_value_text(v), 0, NULL, &parsed);
    p->rc = rc == TPC_ENOMEM ? rc : p->rc;
    return rc == 0 ? parsed : *v;
}

/* What goes to the device: service and params. False: noted. */
static bool set_order(struct panel *p, const struct tpc_value *a, struct panel_map *m)
{
    struct tpc_str type = tpi_member_text(a, "action_param_type");
    struct tpc_str name = tpi_member_text(a, "action_param");
    struct tpc_value value = unpack(p, tpi_member(a, "action_value"));
    enum what what = what_of(type);
    if (what == WHAT_NONE) {
        tpi_panel_note(p, "action_param_type", "unknown: '%.*s'",
                       (int) (type.len < 32 ? type.len : 32), type.len > 0 ? type.ptr : "");
        return false;
    }
    if (what == WHAT_SERVICE) {
        struct tpc_str method = tpi_member_text(&value, "method");
        const struct tpc_value *params = tpi_member(&value, "params");
        bool whole = method.len > 0; /* else the name stands apart, and the value is the params */
        method = whole ? method : name;
        struct tpc_value given = !whole           ? value
                                 : params != NULL ? *params
                                                  : (struct tpc_value){ .type = TPC_NULL };
        if (method.len == 0 || (given.type != TPC_NULL && given.type != TPC_MAP)) {
            tpi_panel_note(p, "action_value", "no {\"method\": .., \"params\": {..}}");
            return false;
        }
        tpi_panel_set(m, "service", tpi_panel_text(p, method));
        tpi_panel_set(m, "params", given);
        return true;
    }
    if (value.type != TPC_MAP && name.len > 0 && value.type != TPC_NULL) {
        struct panel_map one = { .count = 1 };
        one.members[0] = (struct tpc_member){ name, value };
        value = tpi_panel_map(p, &one);
    }
    if (value.type != TPC_MAP || value.len == 0) {
        tpi_panel_note(p, "action_value", "no JSON object with values");
        return false;
    }
    tpi_panel_set(m, "service",
                  tpi_panel_text(p, what == WHAT_SET ? TPC_STR("set") : TPC_STR("control")));
    tpi_panel_set(m, "params", value);
    return true;
}

static struct tpc_value wrap(struct panel *p, const char *name, const struct panel_map *inner)
{
    struct panel_map m = { .count = 0 };
    tpi_panel_set(&m, name, tpi_panel_map(p, inner));
    return tpi_panel_map(p, &m);
}

static bool command(struct panel *p, const struct tpc_value *a, bool class_wide,
                    enum panel_context context, struct tpc_value *ret)
{
    struct panel_map m = { .count = 0 };
    struct tpc_str target = tpi_member_text(a, "action_target");
    const char *kind = class_wide ? "products" : "devices";
    if (target.len == 0) {
        tpi_panel_note(p, "action_target", "missing");
        return false;
    }
    if (!class_wide || context == PANEL_BY_TIME) { /* else it is the one that set it off */
        tpi_panel_set(&m, class_wide ? "product" : "device",
                      tpi_panel_text(p, tpi_panel_key(p, kind, target)));
    }
    if (!set_order(p, a, &m)) {
        return false;
    }
    *ret = wrap(p, "command", &m);
    return true;
}

static struct tpc_value severity(struct panel *p, struct tpc_str id)
{
    struct tpc_str given = tpi_member_text(tpi_panel_name(p, "alerts", id), "severity");
    return given.len > 0 ? tpi_panel_text(p, given) : (struct tpc_value){ .type = TPC_NULL };
}

static bool alarm(struct panel *p, const struct tpc_value *a, enum panel_context context,
                  struct tpc_value *ret)
{
    struct panel_map m = { .count = 0 };
    struct tpc_str id = tpi_member_text(a, "action_target");
    if (id.len == 0) {
        tpi_panel_note(p, "action_target", "missing");
        return false;
    }
    if (context == PANEL_BY_TIME) {
        tpi_panel_note(p, NULL, "an alarm that no device sets off is of nobody");
        return false;
    }
    tpi_panel_set(&m, "key", tpi_panel_text(p, tpi_panel_key(p, "alerts", id)));
    if (context != PANEL_CLEAR) {
        tpi_panel_set(&m, "severity", severity(p, id));
    }
    *ret = wrap(p, context == PANEL_CLEAR ? "clear" : "alert", &m);
    return true;
}

static bool scene(struct panel *p, const struct tpc_value *a, struct tpc_value *ret)
{
    struct panel_map m = { .count = 0 };
    struct tpc_str id = tpi_member_text(a, "action_target");
    if (id.len == 0) {
        tpi_panel_note(p, "action_target", "missing");
        return false;
    }
    tpi_panel_set(&m, "scene", tpi_panel_text(p, tpi_panel_key(p, "scenes", id)));
    *ret = wrap(p, "run", &m);
    return true;
}

static bool action(struct panel *p, const struct tpc_value *a, enum panel_context context,
                   struct tpc_value *ret)
{
    struct tpc_str type = tpi_panel_scalar(p, tpi_member(a, "action_type"));
    bool is_alarm = is(type, "30");
    if (context == PANEL_CLEAR && !is_alarm) {
        return false;
    }
    if (is(type, "10") || is(type, "11")) {
        return command(p, a, is(type, "11"), context, ret);
    }
    if (is(type, "20")) {
        return scene(p, a, ret);
    }
    if (is_alarm) {
        return alarm(p, a, context, ret);
    }
    tpi_panel_note(p, "action_type",
                   is(type, "40") ? "services are not imported%.*s" : "unknown: '%.*s'",
                   (int) (is(type, "40")  ? 0
                          : type.len < 32 ? type.len
                                          : 32),
                   type.len > 0 ? type.ptr : "");
    return false;
}

struct tpc_value tpi_panel_then(struct panel *p, const struct tpc_value *actions,
                                enum panel_context context, bool note)
{
    struct panel_list list = { .count = 0 };
    uint32_t notes = p->notes.count;
    size_t n = actions != NULL && actions->type == TPC_ARRAY ? actions->len : 0;
    char before[sizeof(p->path)];
    memcpy(before, p->path, sizeof(before));
    for (size_t i = 0; i < n; i++) {
        struct tpc_value v;
        snprintf(p->path, sizeof(p->path), "%.100s%sactions[%zu]", before,
                 before[0] != '\0' ? "." : "", i);
        if (i >= TPI_PANEL_ACTIONS) {
            tpi_panel_note(p, NULL, "more than %d actions", TPI_PANEL_ACTIONS);
            break;
        }
        if (action(p, &actions->as.items[i], context, &v)) {
            tpi_panel_add(p, &list, v);
        }
    }
    memcpy(p->path, before, sizeof(before));
    if (!note) {
        p->notes.count = notes;
    }
    return tpi_panel_array(&list);
}
