/*
 * A transform in the language of the codec "lua": the message goes in as a tree, what function
 * transform() gives comes back as JSON: one message, a list of them, or nothing.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/member.h"
#include "forward/inside.h"
#include "registry/lua.h"

struct fwd_script {
    const struct tpc_allocator *alloc;
    struct tpi_lua lua;
    uint32_t place;
};

static const struct tpi_lua_wrap transform = {
    .origin = "forward",
    .unusable = "a script needs the module lua, which cannot be used",
    .head = "local J=require('json') ",
    .tail =
        "\nif type(transform)~='function' then error('there is no function transform(msg)',0) end "
        "local T=transform function decode() end function encode(w) local r=T(w.params) "
        "if r==nil then return '[]' end "
        "if type(r)~='table' then error('transform returned a '..type(r)..', not a message',0) end "
        "if r[1]==nil then if next(r)==nil then return '[]' end r={r} end "
        "local s,e=J.encode(r) if s==nil then error(e,0) end return s end"
};

int fwd_script_open(struct tpi_forward *f, struct tpc_str code, struct tpc_error *err,
                    struct fwd_script **ret)
{
    struct fwd_script *s = tpi_alloc_zero(f->env->alloc, sizeof(*s));
    if (s == NULL) {
        return TPC_ENOMEM;
    }
    s->alloc = f->env->alloc;
    s->place = f->host.script_place;
    int rc = tpi_lua_open(f->host.registry, &transform, code, err, &s->lua);
    if (rc != 0) {
        fwd_script_close(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void fwd_script_close(struct fwd_script *s)
{
    if (s != NULL) {
        tpi_lua_close(&s->lua);
        tpi_free(s->alloc, s, sizeof(*s));
    }
}

/* ---- what comes back ---- */

static int wrong(struct tpc_error *err, const char *text)
{
    return tpi_error_set(err, TPC_ESCRIPT, "forward", "transform: %s", text);
}

/* An empty table is no map to JSON. */
static bool is_map(const struct tpc_value *v)
{
    return v->type == TPC_MAP || (v->type == TPC_ARRAY && v->len == 0);
}

static int take_kind(const struct tpc_value *doc, struct tpc_msg *out, struct tpc_error *err)
{
    static const uint16_t kinds[] = { TPC_MSG_TELEMETRY, TPC_MSG_ATTRIBUTES, TPC_MSG_EVENT };
    struct tpc_str text = tpi_member_text(doc, "kind");
    bool known = text.len == 0 || tpc_str_equal(text, tpc_str_from(tpc_kind_name(out->kind)));
    for (int i = 0; i < 3 && !known; i++) {
        known = tpc_str_equal(text, tpc_str_from(tpc_kind_name(kinds[i])));
        out->kind = known ? kinds[i] : out->kind;
    }
    return known ? 0 : wrong(err, "kind: not telemetry, attributes or event");
}

/* A key that the message had keeps its property and its own time. */
static struct tpc_point point_of(const struct tpc_msg *m, uint32_t guess, struct tpc_str key)
{
    struct tpc_point none = { .key = key };
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, (guess + i) % m->point_count);
        if (tpc_str_equal(p->key, key)) {
            return *p;
        }
    }
    return none;
}

static int take_values(const struct tpc_value *doc, const struct tpc_msg *m,
                       struct tpc_arena *arena, struct tpc_error *err, struct tpc_msg *out)
{
    const struct tpc_value *values = tpi_member(doc, "values");
    out->point_count = 0;
    if (values == NULL || values->len == 0) {
        return values == NULL || is_map(values) ? 0 : wrong(err, "values: not a table");
    }
    if (values->type != TPC_MAP) {
        return wrong(err, "values: not a table");
    }
    struct tpc_point *p = tpc_arena_take(arena, values->len * sizeof(*p));
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < values->len; i++) {
        p[i] = point_of(m, (uint32_t) i, values->as.members[i].key);
        p[i].value = values->as.members[i].value;
    }
    out->points = p;
    out->point_size = sizeof(*p);
    out->point_count = (uint32_t) values->len;
    return 0;
}

/* 1: a message; 0: nothing is left of it; or a code. */
static int take_one(const struct tpc_value *doc, const struct tpc_msg *m, struct tpc_arena *arena,
                    struct tpc_error *err, struct tpc_msg *out)
{
    *out = *m;
    if (doc->type != TPC_MAP) {
        return is_map(doc) ? 0 : wrong(err, "a message is a table");
    }
    struct tpc_str name = tpi_member_text(doc, "name");
    const struct tpc_value *params = tpi_member(doc, "params");
    int rc = take_kind(doc, out, err);
    rc = rc != 0 ? rc : take_values(doc, m, arena, err, out);
    if (rc != 0) {
        return rc;
    }
    out->unix_ms = tpi_member_int(doc, "unix_ms", m->unix_ms);
    out->name = name.len > 0 ? name : m->name;
    out->params = params != NULL ? *params : (struct tpc_value){ .type = TPC_NULL };
    return out->point_count > 0 ||
           (out->kind != TPC_MSG_TELEMETRY && out->kind != TPC_MSG_ATTRIBUTES);
}

static int take_list(const struct tpc_value *list, const struct tpc_msg *m, struct tpc_arena *arena,
                     struct tpc_error *err, struct tpc_msg *out, uint32_t *ret_count)
{
    uint32_t n = 0;
    if (list->type != TPC_ARRAY || list->len > FWD_LIST) {
        return wrong(err, "not a list of up to 64 messages");
    }
    for (size_t i = 0; i < list->len; i++) {
        int rc = take_one(&list->as.items[i], m, arena, err, &out[n]);
        if (rc < 0) {
            return rc;
        }
        n += (uint32_t) rc;
    }
    *ret_count = n;
    return 0;
}

int fwd_script_run(const struct fwd_script *s, const struct tpc_msg *m, struct tpc_arena *arena,
                   struct tpc_error *err, struct tpc_msg *out, uint32_t *ret_count)
{
    struct tpc_encode what = { .product = m->product, .device = m->device };
    struct tpc_value list;
    if (s->lua.program == NULL) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, "forward", "there is no codec lua here");
    }
    if (fwd_msg_tree(m, true, arena, &what.params) != 0) {
        return TPC_ENOMEM;
    }
    int rc = tpi_lua_run(&s->lua, s->place, &what, arena, err, &list);
    return rc != 0 ? rc : take_list(&list, m, arena, err, out, ret_count);
}
