/* ThingsPanel's device models: lists of telemetry, attributes, events, commands. */
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "model/form.h"

static const char origin[] = "model";

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

static bool is_any_case(const struct tpc_value *v, const char *text)
{
    struct tpc_str s = tpc_value_text(v);
    size_t n = strlen(text);
    for (size_t i = 0; i < n && s.len == n; i++) {
        if (lower(s.ptr[i]) != lower(text[i])) {
            return false;
        }
    }
    return s.len == n;
}

/* ---- from ThingsPanel ---- */

static int from_type(struct tpi_tree *t, const struct tpc_value *def, struct tpc_error *err)
{
    const char *key = "data_type";
    const struct tpc_value *type = tpi_form_member(def, key);
    if (type == NULL && tpi_form_member(def, "param_type") != NULL) {
        key = "param_type"; /* of parameters, in some versions */
        type = tpi_form_member(def, key);
    }
    const char *own = is_any_case(type, "Number")    ? "double"
                      : is_any_case(type, "String")  ? "text"
                      : is_any_case(type, "Boolean") ? "bool"
                                                     : NULL;
    if (own == NULL) {
        return tpi_form_expected(err, key, "String, Number or Boolean");
    }
    tpi_tree_text(t, "type", own);
    return 0;
}

static int from_head(struct tpi_tree *t, const struct tpc_value *def, struct tpc_error *err)
{
    int rc = tpi_form_head(t, def, "data_identifier", "data_name", err);
    if (rc == 0) {
        tpi_tree_put(t, "additional_info", tpi_form_member(def, "additional_info"));
    }
    return rc;
}

static int from_point(struct tpc_arena *arena, enum tpi_what what, const struct tpc_value *def,
                      struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    const struct tpc_value *flag = tpi_form_member(def, "read_write_flag");
    tpi_tree_begin(&t, arena);
    int rc = from_head(&t, def, err);
    rc = rc != 0 ? rc : from_type(&t, def, err);
    if (rc != 0) {
        return rc;
    }
    if (is_any_case(flag, "RW") || is_any_case(flag, "W")) {
        tpi_tree_text(&t, "access", flag->len == 2 ? "rw" : "w");
    } else if (flag != NULL && !is_any_case(flag, "R")) {
        return tpi_form_expected(err, "read_write_flag", "R, W or RW");
    }
    if (what == TPI_WHAT_ATTRIBUTE) {
        tpi_tree_text(&t, "role", "attribute");
    }
    tpi_tree_put(&t, "unit", tpi_form_member(def, "unit"));
    return tpi_tree_end(&t, ret);
}

static int from_param(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                      const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    (void) index;
    (void) user;
    tpi_tree_begin(&t, arena);
    int rc = from_head(&t, item, err);
    rc = rc != 0 ? rc : from_type(&t, item, err);
    tpi_tree_put(&t, "unit", tpi_form_member(item, "unit"));
    return rc != 0 ? rc : tpi_tree_end(&t, ret);
}

/* params: an array, or the JSON text of one, as the platform's tables have it. */
static int from_params(struct tpi_tree *t, const struct tpc_value *def, const char *own,
                       struct tpc_error *err)
{
    const struct tpc_value *params = tpi_form_member(def, "params");
    struct tpc_value parsed, list;
    if (params == NULL || (params->type == TPC_TEXT && params->len == 0)) {
        return 0;
    }
    if (params->type == TPC_TEXT) {
        int rc = tpc_json_parse(t->arena, tpc_value_text(params), TPC_JSON_COPY, err, &parsed);
        if (rc != 0) {
            return rc == TPC_ENOMEM
                       ? rc
                       : tpi_form_expected(err, "params", "an array, or the JSON text of one");
        }
        params = &parsed;
    }
    int rc = tpi_form_each(t->arena, params, "params", from_param, NULL, err, &list);
    if (rc == 0) {
        tpi_tree_put(t, own, &list);
    }
    return rc;
}

static int panel_from(struct tpc_arena *arena, enum tpi_what what, const struct tpc_value *other,
                      struct tpc_error *err, struct tpc_value *ret)
{
    if (what == TPI_WHAT_PROPERTY || what == TPI_WHAT_ATTRIBUTE) {
        return from_point(arena, what, other, err, ret);
    }
    struct tpi_tree t;
    tpi_tree_begin(&t, arena);
    int rc = from_head(&t, other, err);
    rc = rc != 0 ? rc : from_params(&t, other, what == TPI_WHAT_SERVICE ? "input" : "output", err);
    rc = rc != 0 ? rc : tpi_tree_end(&t, ret);
    return rc == TPC_ENOMEM ? tpi_error_set(err, rc, origin, "out of memory") : rc;
}

/* ---- to ThingsPanel ---- */

static void to_head(struct tpi_tree *t, const struct tpc_value *def)
{
    const struct tpc_value *id = tpi_form_member(def, "id");
    const struct tpc_value *name = tpi_form_member(def, "name");
    tpi_tree_put(t, "data_identifier", id);
    tpi_tree_put(t, "data_name", name != NULL ? name : id);
    tpi_tree_put(t, "description", tpi_form_member(def, "description"));
    tpi_tree_put(t, "additional_info", tpi_form_member(def, "additional_info"));
}

/* Structs and arrays are texts there, enums and dates numbers. */
static void to_type(struct tpi_tree *t, const struct tpc_value *def)
{
    const struct tpc_value *type = tpi_form_member(def, "type");
    bool text =
        tpi_form_is(type, "text") || tpi_form_is(type, "struct") || tpi_form_is(type, "array");
    tpi_tree_text(t, "data_type",
                  text                        ? "String"
                  : tpi_form_is(type, "bool") ? "Boolean"
                                              : "Number");
    tpi_tree_put(t, "unit", tpi_form_member(def, "unit"));
}

static int to_param(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                    const void *user, struct tpc_error *err, struct tpc_value *ret)
{
    struct tpi_tree t;
    (void) index;
    (void) user;
    (void) err;
    tpi_tree_begin(&t, arena);
    to_head(&t, item);
    to_type(&t, item);
    return tpi_tree_end(&t, ret);
}

static int panel_to(struct tpc_arena *arena, enum tpi_what what, const struct tpc_value *own,
                    struct tpc_value *ret)
{
    struct tpi_tree t;
    tpi_tree_begin(&t, arena);
    to_head(&t, own);
    if (what == TPI_WHAT_SERVICE || what == TPI_WHAT_EVENT) {
        const struct tpc_value *params =
            tpi_form_member(own, what == TPI_WHAT_SERVICE ? "input" : "output");
        struct tpc_value list;
        if (params != NULL) {
            int rc = tpi_form_each(arena, params, "params", to_param, NULL, NULL, &list);
            t.failed = t.failed || rc == TPC_ENOMEM;
            tpi_tree_put(&t, "params", rc == 0 ? &list : NULL);
        }
    } else {
        const struct tpc_value *access = tpi_form_member(own, "access");
        tpi_tree_text(&t, "read_write_flag",
                      tpi_form_is(access, "rw")  ? "RW"
                      : tpi_form_is(access, "w") ? "W"
                                                 : "R");
        to_type(&t, own);
    }
    return tpi_tree_end(&t, ret);
}

static const struct tpi_form_list lists[] = { { "telemetry", "properties", TPI_WHAT_PROPERTY },
                                              { "attributes", "properties", TPI_WHAT_ATTRIBUTE },
                                              { "commands", "services", TPI_WHAT_SERVICE },
                                              { "events", "events", TPI_WHAT_EVENT },
                                              { NULL, NULL, TPI_WHAT_PROPERTY } };

static const struct tpi_form_segment segments[] = { { "id", "data_identifier" },
                                                    { "name", "data_name" },
                                                    { "type", "data_type" },
                                                    { "input", "params" },
                                                    { "output", "params" },
                                                    { "access", "read_write_flag" },
                                                    { NULL, NULL } };

static const char *const known[] = {
    "data_identifier", "data_name", "description", "additional_info", "data_type",
    "read_write_flag", "unit",      "params",      "tpcore",          NULL
};

const struct tpi_form tpi_form_thingspanel = { .name = "thingspanel",
                                               .lists = lists,
                                               .segments = segments,
                                               .known = known,
                                               .from = panel_from,
                                               .to = panel_to };
