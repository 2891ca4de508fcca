/*
 * The transform of a target: what is changed of a message before it goes. Values are set first, from
 * the message as it came; then keys are chosen, then renamed. Keys are those of the points; of a
 * message without points those of its params.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/map.h"
#include "data/member.h"
#include "data/msg.h"
#include "forward/inside.h"

/* What is to become of a key. */
struct key_rule {
    bool select, drop;
    struct tpc_str name; /* renamed; empty = as it is */
};

struct setting {
    struct tpc_str key;
    struct tpi_expr *expr;
};

struct fwd_shape {
    struct fwd_script *script; /* then nothing else */
    struct setting *set;
    uint32_t set_count;
    bool selects;
    struct tpi_map keys; /* -> struct key_rule of the config's arena */
};

static const struct tpc_option key_item = {
    .name = "key", .type = TPC_OPT_TEXT, .min = 1, .max = 256
};

const struct tpc_option fwd_transform_options[FWD_TRANSFORM_OPTIONS] = {
    { .name = "set",
      .type = TPC_OPT_TABLE,
      .flags = TPC_OPT_OPEN,
      .since = "0.1",
      .help = "key: expression; a value of the message, new or instead of another" },
    { .name = "select",
      .type = TPC_OPT_LIST,
      .min = 1,
      .max = FWD_SET,
      .elem = &key_item,
      .since = "0.1",
      .help = "keys that go; absent = all" },
    { .name = "drop",
      .type = TPC_OPT_LIST,
      .min = 1,
      .max = FWD_SET,
      .elem = &key_item,
      .since = "0.1",
      .help = "keys that do not" },
    { .name = "rename",
      .type = TPC_OPT_TABLE,
      .flags = TPC_OPT_OPEN,
      .since = "0.1",
      .help = "key: how it is called on the other side" },
    { .name = "lua",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .max = 65536,
      .since = "0.1",
      .help = "code with a function transform(msg); nothing else beside it" },
};

/* ---- compiling ---- */

static int rule_of(struct fwd_config *c, struct tpc_str key, struct key_rule **ret)
{
    struct fwd_shape *s = c->shape;
    struct key_rule *r = tpi_map_get(&s->keys, key.ptr, key.len);
    if (r == NULL) {
        r = tpc_arena_take(c->arena, sizeof(*r));
        if (r == NULL) {
            return TPC_ENOMEM;
        }
        *r = (struct key_rule){ .select = false };
        if (tpi_map_put(&s->keys, key.ptr, key.len, r, NULL) != 0) {
            return TPC_ENOMEM;
        }
    }
    *ret = r;
    return 0;
}

static int read_keys(struct fwd_config *c, const struct tpc_value *list, bool select)
{
    struct key_rule *r;
    for (size_t i = 0; list != NULL && i < list->len; i++) {
        if (rule_of(c, tpc_value_text(&list->as.items[i]), &r) != 0) {
            return TPC_ENOMEM;
        }
        r->select |= select;
        r->drop |= !select;
    }
    return 0;
}

/* A member of a table whose values are texts. The path is the error's. */
static int bad_member(struct tpc_error *err, const struct tpc_member *m, const char *table,
                      const char *text)
{
    int rc = tpi_error_set(err, TPC_EINVAL, "forward", "%s", text);
    if (err != NULL) {
        char key[64];
        size_t len = m->key.len < sizeof(key) ? m->key.len : sizeof(key) - 1;
        memcpy(key, m->key.ptr, len);
        key[len] = '\0';
        tpi_error_at(err, key);
        tpi_error_at(err, table);
    }
    return rc;
}

static int check_table(const struct tpc_value *map, const char *table, struct tpc_error *err)
{
    for (size_t i = 0; map != NULL && i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        if (i == FWD_SET) {
            return bad_member(err, m, table, "too many members");
        }
        if (m->key.len == 0 || m->key.len > 256 || tpc_value_text(&m->value).len == 0) {
            return bad_member(err, m, table, "not a text for a key");
        }
    }
    return 0;
}

static int read_renames(struct fwd_config *c, const struct tpc_value *map, struct tpc_error *err)
{
    struct key_rule *r;
    int rc = check_table(map, "rename", err);
    for (size_t i = 0; rc == 0 && map != NULL && i < map->len; i++) {
        rc = rule_of(c, map->as.members[i].key, &r);
        if (rc == 0) {
            r->name = tpc_value_text(&map->as.members[i].value);
        }
    }
    return rc;
}

static int read_set(struct fwd_config *c, const struct tpc_value *map, struct tpc_error *err)
{
    struct fwd_shape *s = c->shape;
    int rc = check_table(map, "set", err);
    if (rc != 0 || map == NULL || map->len == 0) {
        return rc;
    }
    s->set = tpc_arena_take(c->arena, map->len * sizeof(s->set[0]));
    if (s->set == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; rc == 0 && i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        struct setting *one = &s->set[s->set_count];
        one->key = m->key;
        rc = fwd_expr_compile(c, tpc_value_text(&m->value), TPI_EXPR_ANY, err, &one->expr);
        s->set_count += rc == 0 ? 1 : 0;
        if (rc == TPC_EINVAL && err != NULL) {
            struct tpc_error why = *err;
            (void) bad_member(err, m, "set", why.text);
            err->line = why.line;
            err->column = why.column;
        }
    }
    return rc;
}

static int read_all(struct tpi_forward *f, struct fwd_config *c, const struct tpc_value *doc,
                    struct tpc_error *err)
{
    struct fwd_shape *s = c->shape;
    struct tpc_str lua = tpi_member_text(doc, "lua");
    const struct tpc_value *select = tpi_member(doc, "select");
    int rc = read_set(c, tpi_member(doc, "set"), err);
    rc = rc != 0 ? rc : read_keys(c, select, true);
    rc = rc != 0 ? rc : read_keys(c, tpi_member(doc, "drop"), false);
    rc = rc != 0 ? rc : read_renames(c, tpi_member(doc, "rename"), err);
    s->selects = select != NULL;
    if (rc != 0 || lua.len == 0) {
        return rc;
    }
    if (s->set_count > 0 || tpi_map_count(&s->keys) > 0) {
        rc = tpi_error_set(err, TPC_EINVAL, "forward", "code stands alone, without set and so on");
    }
    rc = rc != 0 ? rc : fwd_script_open(f, lua, err, &s->script);
    if (rc != 0 && err != NULL) {
        tpi_error_at(err, "lua");
    }
    return rc;
}

int fwd_shape_create(struct tpi_forward *f, struct fwd_config *c, const struct tpc_value *doc,
                     struct tpc_error *err)
{
    if (doc == NULL || doc->len == 0) {
        return 0;
    }
    c->shape = tpi_alloc_zero(c->alloc, sizeof(*c->shape));
    if (c->shape == NULL) {
        return TPC_ENOMEM;
    }
    tpi_map_init(&c->shape->keys, c->alloc);
    int rc = read_all(f, c, doc, err);
    if (rc != 0 && err != NULL) {
        tpi_error_at(err, "transform");
    }
    return rc;
}

void fwd_shape_destroy(struct fwd_config *c)
{
    struct fwd_shape *s = c->shape;
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->set_count; i++) {
        tpi_expr_destroy(s->set[i].expr);
    }
    fwd_script_close(s->script);
    tpi_map_fini(&s->keys);
    tpi_free(c->alloc, s, sizeof(*s));
}

/* ---- running ---- */

/* Whether a key goes; it is renamed. */
static bool key_goes(const struct fwd_shape *s, struct tpc_str *key)
{
    const struct key_rule *r =
        tpi_map_count(&s->keys) > 0 ? tpi_map_get(&s->keys, key->ptr, key->len) : NULL;
    if (r == NULL) {
        return !s->selects;
    }
    if (r->drop || (s->selects && !r->select)) {
        return false;
    }
    *key = r->name.len > 0 ? r->name : *key;
    return true;
}

static int eval(const struct fwd_config *c, const struct setting *set, const struct tpc_msg *m,
                struct tpc_arena *arena, struct tpc_value *ret)
{
    char room[TPI_EXPR_SCRATCH];
    struct tpi_expr_scratch scratch = { .buf = room, .cap = sizeof(room) };
    struct tpc_value v = fwd_expr_eval(c, set->expr, m, &scratch);
    if (v.type < TPC_TEXT && v.type != TPC_NULL) {
        *ret = v;
        return 0;
    }
    return tpi_value_copy(&v, arena, ret);
}

static int shape_points(const struct fwd_config *c, const struct tpc_msg *m,
                        struct tpc_arena *arena, struct tpc_msg *out)
{
    const struct fwd_shape *s = c->shape;
    uint32_t n = m->point_count;
    uint32_t kept = 0;
    struct tpc_point *p = tpc_arena_take(arena, (n + s->set_count + 1) * sizeof(*p));
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        p[i] = *tpc_msg_point(m, i);
    }
    for (uint32_t i = 0; i < s->set_count; i++) {
        struct tpc_value v;
        uint32_t at = 0;
        if (eval(c, &s->set[i], m, arena, &v) != 0) {
            return TPC_ENOMEM;
        }
        while (at < n && !tpc_str_equal(p[at].key, s->set[i].key)) {
            at++;
        }
        if (at == n) {
            p[n++] = (struct tpc_point){ .key = s->set[i].key };
        }
        p[at].value = v;
    }
    for (uint32_t i = 0; i < n; i++) {
        p[kept] = p[i];
        kept += p[i].value.type != TPC_NULL && key_goes(s, &p[kept].key) ? 1 : 0;
    }
    out->points = p;
    out->point_size = sizeof(*p);
    out->point_count = kept;
    return 0;
}

static int shape_params(const struct fwd_config *c, const struct tpc_msg *m,
                        struct tpc_arena *arena, struct tpc_msg *out)
{
    const struct fwd_shape *s = c->shape;
    size_t n = m->params.type == TPC_MAP ? m->params.len : 0;
    size_t kept = 0;
    struct tpc_member *p = tpc_arena_take(arena, (n + s->set_count + 1) * sizeof(*p));
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    if (n > 0) {
        memcpy(p, m->params.as.members, n * sizeof(*p));
    }
    for (uint32_t i = 0; i < s->set_count; i++) {
        struct tpc_value v;
        size_t at = 0;
        if (eval(c, &s->set[i], m, arena, &v) != 0) {
            return TPC_ENOMEM;
        }
        while (at < n && !tpc_str_equal(p[at].key, s->set[i].key)) {
            at++;
        }
        if (at == n) {
            p[n++].key = s->set[i].key;
        }
        p[at].value = v;
    }
    for (size_t i = 0; i < n; i++) {
        p[kept] = p[i];
        kept += p[i].value.type != TPC_NULL && key_goes(s, &p[kept].key) ? 1 : 0;
    }
    out->params = (struct tpc_value){ .type = TPC_MAP, .len = kept, .as.members = p };
    return 0;
}

int fwd_shape_run(const struct fwd_config *c, const struct tpc_msg *m, struct tpc_arena *arena,
                  struct tpc_error *err, struct tpc_msg *out, uint32_t *ret_count)
{
    bool points =
        m->point_count > 0 || m->kind == TPC_MSG_TELEMETRY || m->kind == TPC_MSG_ATTRIBUTES;
    *ret_count = 0;
    if (c->shape->script != NULL) {
        return fwd_script_run(c->shape->script, m, arena, err, out, ret_count);
    }
    *out = *m;
    if (!points && m->params.type != TPC_MAP && m->params.type != TPC_NULL) {
        *ret_count = 1; /* it has no keys */
        return 0;
    }
    int rc = points ? shape_points(c, m, arena, out) : shape_params(c, m, arena, out);
    if (rc == 0) { /* one of which nothing is left does not go; an event may be its name alone */
        *ret_count = !points || out->point_count > 0 ? 1 : 0;
    }
    return rc;
}
