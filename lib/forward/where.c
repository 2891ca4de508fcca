/*
 * Expressions of a target: the condition, and what its transform sets. Names are keys of a message's
 * points, then members of its params; _kind, _name, _tenant, _product and _device are texts of the
 * message.
 */
#include <string.h>

#include "base/error.h"
#include "data/msg.h"
#include "forward/inside.h"

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    struct fwd_config *c = user;
    uint32_t i = 0;
    if (c->names == NULL) {
        c->names = tpc_arena_take(c->arena, TPI_EXPR_MAX_NAMES * sizeof(c->names[0]));
    }
    if (c->names == NULL) {
        c->no_memory = true;
        return TPC_ENOENT;
    }
    while (i < c->name_count && !tpc_str_equal(c->names[i], name)) {
        i++;
    }
    if (i == TPI_EXPR_MAX_NAMES) {
        return TPC_ENOENT;
    }
    if (i == c->name_count) {
        char *p = tpc_arena_take(c->arena, name.len + 1);
        if (p == NULL) {
            c->no_memory = true;
            return TPC_ENOENT;
        }
        memcpy(p, name.ptr, name.len);
        c->names[c->name_count++] = (struct tpc_str){ p, name.len };
    }
    *ret_index = i;
    *ret_type = name.len > 0 && name.ptr[0] == '_' ? TPI_EXPR_TEXT : TPI_EXPR_ANY;
    return 0;
}

int fwd_expr_compile(struct fwd_config *c, struct tpc_str text, uint32_t want,
                     struct tpc_error *err, struct tpi_expr **ret)
{
    struct tpi_expr_scope scope = { .resolve = resolve,
                                    .user = c,
                                    .features = TPI_EXPR_NOW | TPI_EXPR_EVENT };
    int rc = tpi_expr_compile(c->alloc, text, &scope, (enum tpi_expr_type) want, err, ret);
    return rc != 0 && c->no_memory ? TPC_ENOMEM : rc;
}

struct looking {
    const struct fwd_config *c;
    const struct tpc_msg *m;
};

static bool text_of(const struct tpc_msg *m, struct tpc_str name, struct tpc_value *ret)
{
    struct tpc_str text = { NULL, 0 };
    if (tpc_str_equal(name, TPC_STR("_kind"))) {
        text = tpc_str_from(tpc_kind_name(m->kind));
    } else if (tpc_str_equal(name, TPC_STR("_name"))) {
        text = m->name;
    } else if (tpc_str_equal(name, TPC_STR("_tenant"))) {
        text = m->tenant;
    } else if (tpc_str_equal(name, TPC_STR("_product"))) {
        text = m->product;
    } else if (tpc_str_equal(name, TPC_STR("_device"))) {
        text = m->device;
    }
    *ret = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
    return text.len > 0;
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct looking *l = user;
    struct tpc_str name = l->c->names[index];
    if (name.len > 0 && name.ptr[0] == '_') {
        return text_of(l->m, name, ret);
    }
    return tpi_msg_value(l->m, name, ret);
}

static int64_t now(void *user)
{
    const struct looking *l = user;
    return tpi_unix_ms(l->c->env);
}

static int64_t event_time(void *user)
{
    const struct looking *l = user;
    return l->m->unix_ms;
}

static const struct tpi_expr_host host = { .load = load, .now = now, .event_time = event_time };

struct tpc_value fwd_expr_eval(const struct fwd_config *c, const struct tpi_expr *e,
                               const struct tpc_msg *m, struct tpi_expr_scratch *scratch)
{
    struct looking l = { c, m };
    return tpi_expr_eval(e, &host, &l, scratch);
}

bool fwd_wanted(void *config, const struct tpc_msg *m)
{
    struct fwd_config *c = config;
    struct looking l = { c, m };
    if (c->where != NULL) {
        char room[TPI_EXPR_SCRATCH];
        struct tpi_expr_scratch scratch = { .buf = room, .cap = sizeof(room) };
        if (tpi_expr_test(c->where, &host, &l, &scratch) != 1) {
            return false;
        }
    }
    return c->keep == NULL || fwd_keep_wants(c, m);
}
