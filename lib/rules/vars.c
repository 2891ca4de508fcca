#include "rules/vars.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "data/msg.h"

static bool is_template(const struct tpc_value *v)
{
    return v->len >= 4 && memmem(v->as.text, v->len, "{{", 2) != NULL;
}

static uint8_t type_of(const struct tpi_var *v)
{
    if (v->expr != NULL) {
        return (uint8_t) tpi_expr_result(v->expr);
    }
    if (v->text != NULL) {
        return TPI_EXPR_ANY; /* of one value alone it is that value */
    }
    switch (v->fixed->type) {
    case TPC_BOOL:
        return TPI_EXPR_BOOL;
    case TPC_INT:
    case TPC_DOUBLE:
        return TPI_EXPR_NUMBER;
    case TPC_ARRAY:
        return TPI_EXPR_LIST;
    case TPC_MAP:
        return TPI_EXPR_MAP;
    default:
        return TPI_EXPR_ANY;
    }
}

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    const struct tpi_vars_scope *s = user;
    for (uint32_t i = 0; i < s->vars->count; i++) {
        if (tpc_str_equal(name, s->vars->items[i].name)) {
            *ret_index = TPI_NAME_VAR + i;
            *ret_type = type_of(&s->vars->items[i]);
            return 0;
        }
    }
    return s->below->resolve(s->below->user, name, ret_index, ret_type);
}

static int constant(void *user, struct tpc_str name, struct tpc_value *ret)
{
    const struct tpi_vars_scope *s = user;
    return s->below->constant(s->below->user, name, ret);
}

struct tpi_expr_scope tpi_vars_scope(struct tpi_vars_scope *s)
{
    return (struct tpi_expr_scope){ .resolve = resolve,
                                    .constant = s->below->constant != NULL ? constant : NULL,
                                    .user = s,
                                    .features = s->below->features,
                                    .env = s->below->env,
                                    .zone_dir = s->below->zone_dir,
                                    .script = s->below->script,
                                    .script_user = s->below->script_user };
}

/* ---- compiling ---- */

static int compile(const struct tpc_allocator *alloc, const struct tpc_value *value,
                   const struct tpi_expr_scope *scope, struct tpc_error *err, struct tpi_var *ret)
{
    struct tpc_str text = tpc_value_text(value);
    if (value->type != TPC_TEXT) {
        ret->fixed = value;
        return 0;
    }
    if (is_template(value)) {
        return tpi_template_compile(alloc, text, scope, TPI_TEMPLATE_PLAIN, err, &ret->text);
    }
    return tpi_expr_compile(alloc, text, scope, TPI_EXPR_ANY, err, &ret->expr);
}

/* Whether the language takes it for the name of the variable: no keyword, no other text. */
static int check_name(const struct tpi_vars *v, const struct tpi_expr_scope *scope,
                      struct tpc_error *err)
{
    struct tpi_expr *e = NULL;
    struct tpc_str name = v->items[v->count - 1].name;
    int rc = name.len > TPI_VAR_NAME_BYTES
                 ? TPC_EINVAL
                 : tpi_expr_compile(v->alloc, name, scope, TPI_EXPR_ANY, NULL, &e);
    bool good = rc == 0 && tpi_expr_name_count(e) == 1 &&
                tpi_expr_name_index(e, 0) == TPI_NAME_VAR + v->count - 1;
    tpi_expr_destroy(e);
    if (rc == TPC_ENOMEM || good) {
        return rc;
    }
    return tpi_error_set(err, TPC_EINVAL, "rules", "'%.*s' cannot be the name of a variable",
                         (int) (name.len < 100 ? name.len : 100), name.ptr);
}

static void at_name(struct tpc_error *err, struct tpc_str name)
{
    char text[TPI_VAR_NAME_BYTES + 1];
    size_t n = name.len < sizeof(text) ? name.len : sizeof(text) - 1;
    memcpy(text, name.ptr, n);
    text[n] = '\0';
    tpi_error_at(err, text);
}

static int make_one(struct tpi_vars *v, const struct tpc_member *m,
                    const struct tpi_expr_scope *scope, struct tpc_error *err)
{
    struct tpi_var var = { .name = m->key };
    int rc = compile(v->alloc, &m->value, scope, err, &var);
    if (rc == 0) {
        v->items[v->count++] = var;
        rc = check_name(v, scope, err);
    }
    if (rc != 0) {
        at_name(err, m->key);
    }
    return rc;
}

static int make_all(struct tpi_vars *v, const struct tpc_value *map,
                    const struct tpi_expr_scope *below, struct tpc_error *err)
{
    struct tpi_vars_scope known = { v, below };
    struct tpi_expr_scope scope = tpi_vars_scope(&known);
    if (map->type != TPC_MAP) {
        return tpi_error_set(err, TPC_EINVAL, "rules", "not a map");
    }
    if (map->len > TPI_VARS_MAX) {
        return tpi_error_set(err, TPC_ETOOBIG, "rules", "more than %d variables", TPI_VARS_MAX);
    }
    v->cap = (uint32_t) map->len;
    v->items = tpi_alloc_array(v->alloc, map->len, sizeof(*v->items));
    if (v->items == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "rules", "out of memory");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < map->len; i++) {
        rc = make_one(v, &map->as.members[i], &scope, err);
    }
    return rc;
}

int tpi_vars_make(const struct tpc_allocator *alloc, const struct tpc_value *map,
                  const struct tpi_expr_scope *scope, struct tpc_error *err, struct tpi_vars *ret)
{
    *ret = (struct tpi_vars){ .alloc = alloc };
    if (map == NULL || (map->type == TPC_MAP && map->len == 0)) {
        return 0;
    }
    int rc = make_all(ret, map, scope, err);
    if (rc != 0) {
        tpi_error_at(err, "vars");
        tpi_vars_fini(ret);
    }
    return rc;
}

void tpi_vars_fini(struct tpi_vars *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        tpi_expr_destroy(v->items[i].expr);
        tpi_template_destroy(v->items[i].text);
    }
    tpi_free(v->alloc, v->items, v->cap * sizeof(*v->items));
    *v = (struct tpi_vars){ .alloc = v->alloc };
}

uint64_t tpi_vars_hash(const struct tpc_value *v, uint64_t h)
{
    h = tpi_hash(&v->type, sizeof(v->type), h);
    switch (v->type) {
    case TPC_TEXT:
        return tpi_hash(v->as.text, v->len, h);
    case TPC_BOOL:
        return tpi_hash(&v->as.b, sizeof(v->as.b), h);
    case TPC_INT:
    case TPC_DOUBLE:
        return tpi_hash(&v->as.i, sizeof(v->as.i), h);
    case TPC_ARRAY:
        for (size_t i = 0; i < v->len; i++) {
            h = tpi_vars_hash(&v->as.items[i], h);
        }
        return h;
    case TPC_MAP:
        for (size_t i = 0; i < v->len; i++) {
            h = tpi_hash(v->as.members[i].key.ptr, v->as.members[i].key.len, h);
            h = tpi_vars_hash(&v->as.members[i].value, h);
        }
        return h;
    default:
        return h;
    }
}

/* ---- what they are made of ---- */

static void mark(uint32_t *used, const struct tpi_expr *e)
{
    for (uint32_t i = 0; e != NULL && i < tpi_expr_name_count(e); i++) {
        uint32_t id = tpi_expr_name_index(e, i);
        if (id >= TPI_NAME_VAR) {
            *used |= UINT32_C(1) << (id - TPI_NAME_VAR);
        }
    }
}

static uint32_t use(uint32_t *used, struct tpi_expr *e, struct tpi_expr **ret, uint32_t n)
{
    if (e == NULL) {
        return n;
    }
    mark(used, e);
    if (ret != NULL) {
        ret[n] = e;
    }
    return n + 1;
}

uint32_t tpi_vars_used(const struct tpi_vars *v, struct tpi_expr *const *exprs, uint32_t count,
                       struct tpi_expr **ret)
{
    uint32_t used = 0; /* a bit for each: TPI_VARS_MAX is 32 */
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        mark(&used, exprs[i]);
    }
    for (uint32_t i = v->count; i > 0; i--) { /* a variable names only earlier ones */
        const struct tpi_var *var = &v->items[i - 1];
        if ((used & UINT32_C(1) << (i - 1)) == 0) {
            continue;
        }
        n = use(&used, var->expr, ret, n);
        for (uint32_t k = 0; var->text != NULL && k < tpi_template_parts(var->text); k++) {
            n = use(&used, tpi_template_expr(var->text, k), ret, n);
        }
    }
    return n;
}

/* ---- values ---- */

static int render(const struct tpi_vars *vars, const struct tpi_var *v,
                  const struct tpi_expr_host *host, void *user, struct tpi_expr_scratch *scratch,
                  struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpi_buf out;
    struct tpc_value one;
    if (tpi_template_value(v->text, host, user, scratch, &one)) {
        return tpi_value_copy(&one, arena, ret);
    }
    tpi_buf_init(&out, vars->alloc, TPI_TEMPLATE_MAX_TEXT);
    int rc = tpi_template_render(v->text, host, user, scratch, &out);
    if (rc == 0) {
        one = (struct tpc_value){ .type = TPC_TEXT,
                                  .len = out.len,
                                  .as.text = out.len > 0 ? (const char *) out.ptr : "" };
        rc = tpi_value_copy(&one, arena, ret);
    }
    tpi_buf_fini(&out);
    return rc;
}

static int eval(const struct tpi_vars *vars, const struct tpi_var *v,
                const struct tpi_expr_host *host, void *user, struct tpi_expr_scratch *scratch,
                struct tpc_arena *arena, struct tpc_value *ret)
{
    scratch->used = 0;
    if (v->expr != NULL) {
        struct tpc_value value = tpi_expr_eval(v->expr, host, user, scratch);
        return tpi_value_copy(&value, arena, ret); /* what it borrows is overwritten by the next */
    }
    if (v->text != NULL) {
        return render(vars, v, host, user, scratch, arena, ret);
    }
    *ret = *v->fixed;
    return 0;
}

void tpi_vars_eval(const struct tpi_vars *v, const struct tpi_expr_host *host, void *user,
                   struct tpi_expr_scratch *scratch, struct tpc_arena *arena,
                   struct tpi_var_values *ret)
{
    *ret = (struct tpi_var_values){ .count = 0 };
    struct tpc_value *items =
        v->count > 0 ? tpc_arena_take(arena, v->count * sizeof(*items)) : NULL;
    if (items == NULL) {
        return;
    }
    ret->items = items;
    for (uint32_t i = 0; i < v->count; i++) {
        if (eval(v, &v->items[i], host, user, scratch, arena, &items[i]) != 0) {
            items[i] = (struct tpc_value){ .type = TPC_NULL };
        }
        ret->count = i + 1;
    }
}

bool tpi_vars_load(const struct tpi_var_values *v, uint32_t id, struct tpc_value *ret)
{
    uint32_t i = id - TPI_NAME_VAR;
    if (i >= v->count) {
        return false;
    }
    *ret = v->items[i];
    return true;
}
