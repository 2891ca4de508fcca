#include "rules/fill.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/msg.h"

static bool is_template(const struct tpc_value *v)
{
    return v->type == TPC_TEXT && v->len >= 4 && memmem(v->as.text, v->len, "{{", 2) != NULL;
}

static size_t children(const struct tpc_value *v)
{
    return v->type == TPC_MAP || v->type == TPC_ARRAY ? v->len : 0;
}

static const struct tpc_value *child(const struct tpc_value *v, size_t i)
{
    return v->type == TPC_MAP ? &v->as.members[i].value : &v->as.items[i];
}

bool tpi_fills_any(const struct tpc_value *tree)
{
    if (is_template(tree)) {
        return true;
    }
    for (size_t i = 0; i < children(tree); i++) {
        if (tpi_fills_any(child(tree, i))) {
            return true;
        }
    }
    return false;
}

/* ---- compiling ---- */

struct compiling {
    const struct tpi_expr_scope *scope;
    struct tpc_error *err;
    struct tpi_fills *fills;
};

static int compile_text(struct compiling *c, const struct tpc_value *v)
{
    struct tpi_fills *f = c->fills;
    if (f->count == TPI_FILLS_MAX) {
        return tpi_error_set(c->err, TPC_ETOOBIG, "rules", "more than %d texts with values",
                             TPI_FILLS_MAX);
    }
    struct tpi_template **items =
        tpi_resize(f->alloc, f->items, f->count * sizeof(*items), (f->count + 1) * sizeof(*items));
    if (items == NULL) {
        return tpi_error_set(c->err, TPC_ENOMEM, "rules", "out of memory");
    }
    f->items = items;
    f->items[f->count++] = NULL;
    struct tpc_str text = { v->as.text, v->len };
    return tpi_template_compile(f->alloc, text, c->scope, TPI_TEMPLATE_PLAIN, c->err,
                                &f->items[f->count - 1]);
}

static void at_key(struct tpc_error *err, struct tpc_str key)
{
    char text[129];
    size_t n = key.len < sizeof(text) ? key.len : sizeof(text) - 1;
    memcpy(text, key.ptr, n);
    text[n] = '\0';
    tpi_error_at(err, text);
}

static int compile_tree(struct compiling *c, const struct tpc_value *v, uint32_t depth)
{
    int rc = is_template(v) ? compile_text(c, v) : 0;
    for (size_t i = 0; rc == 0 && i < children(v); i++) {
        rc = depth == TPI_FILL_DEPTH ? tpi_error_set(c->err, TPC_ETOOBIG, "rules", "too deep")
                                     : compile_tree(c, child(v, i), depth + 1);
        if (rc != 0 && v->type == TPC_MAP) {
            at_key(c->err, v->as.members[i].key);
        } else if (rc != 0) {
            tpi_error_at_index(c->err, i);
        }
    }
    return rc;
}

int tpi_fills_compile(const struct tpc_allocator *alloc, const struct tpc_value *tree,
                      const struct tpi_expr_scope *scope, struct tpc_error *err,
                      struct tpi_fills *ret)
{
    *ret = (struct tpi_fills){ .alloc = alloc };
    struct compiling c = { scope, err, ret };
    int rc = compile_tree(&c, tree, 0);
    if (rc != 0) {
        tpi_fills_fini(ret);
    }
    return rc;
}

void tpi_fills_fini(struct tpi_fills *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        tpi_template_destroy(f->items[i]);
    }
    tpi_free(f->alloc, f->items, f->count * sizeof(*f->items));
    *f = (struct tpi_fills){ .alloc = f->alloc };
}

/* ---- filling in ---- */

struct filling {
    const struct tpi_fills *fills;
    const struct tpi_fill_source *from;
    struct tpc_arena *arena;
    uint32_t next;
};

static int fill_text(struct filling *f, struct tpc_value *ret)
{
    const struct tpi_template *t = f->fills->items[f->next++];
    struct tpi_buf out;
    struct tpc_value v;
    if (f->from->scratch != NULL) {
        f->from->scratch->used = 0;
    }
    if (tpi_template_value(t, f->from->host, f->from->user, f->from->scratch, &v)) {
        return tpi_value_copy(&v, f->arena, ret); /* what it borrows is overwritten by the next */
    }
    tpi_buf_init(&out, f->fills->alloc, TPI_FILL_TEXT_BYTES);
    int rc = tpi_template_render(t, f->from->host, f->from->user, f->from->scratch, &out);
    char *text = rc == 0 ? tpc_arena_take(f->arena, out.len + 1) : NULL;
    if (text != NULL) {
        memcpy(text, out.ptr != NULL ? out.ptr : (const uint8_t *) "", out.len);
        text[out.len] = '\0';
        *ret = (struct tpc_value){ .type = TPC_TEXT, .len = out.len, .as.text = text };
    }
    tpi_buf_fini(&out);
    return rc == 0 && text == NULL ? TPC_ENOMEM : rc;
}

static int fill_tree(struct filling *f, const struct tpc_value *in, struct tpc_value *ret);

static int fill_map(struct filling *f, const struct tpc_value *in, struct tpc_value *ret)
{
    struct tpc_member *out = tpc_arena_take(f->arena, in->len * sizeof(*out));
    int rc = out != NULL ? 0 : TPC_ENOMEM;
    for (size_t i = 0; rc == 0 && i < in->len; i++) {
        out[i].key = in->as.members[i].key;
        rc = fill_tree(f, &in->as.members[i].value, &out[i].value);
    }
    *ret = *in;
    ret->as.members = out;
    return rc;
}

static int fill_list(struct filling *f, const struct tpc_value *in, struct tpc_value *ret)
{
    struct tpc_value *out = tpc_arena_take(f->arena, in->len * sizeof(*out));
    int rc = out != NULL ? 0 : TPC_ENOMEM;
    for (size_t i = 0; rc == 0 && i < in->len; i++) {
        rc = fill_tree(f, &in->as.items[i], &out[i]);
    }
    *ret = *in;
    ret->as.items = out;
    return rc;
}

static int fill_tree(struct filling *f, const struct tpc_value *in, struct tpc_value *ret)
{
    if (is_template(in)) {
        return fill_text(f, ret);
    }
    if (in->len > 0 && in->type == TPC_MAP) {
        return fill_map(f, in, ret);
    }
    if (in->len > 0 && in->type == TPC_ARRAY) {
        return fill_list(f, in, ret);
    }
    *ret = *in;
    return 0;
}

static bool load_nothing(void *user, uint32_t index, struct tpc_value *ret)
{
    (void) user;
    (void) index;
    (void) ret;
    return false;
}

int tpi_fills_apply(const struct tpi_fills *fills, const struct tpc_value *tree,
                    const struct tpi_fill_source *from, struct tpc_arena *arena,
                    struct tpc_value *ret)
{
    static const struct tpi_expr_host nothing = { .load = load_nothing };
    struct tpi_fill_source source = *from;
    source.host = source.host != NULL ? source.host : &nothing;
    struct filling f = { fills, &source, arena, 0 };
    return fill_tree(&f, tree, ret);
}
