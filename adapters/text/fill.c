#include "fill.h"

#include "say.h"
#include "utc.h"

#include <string.h>

#include "base/error.h"
#include "data/msg.h"

struct looking {
    const struct fill *f;
    const struct tpc_msg *m;
    const struct tpi_buf *json, *line;
    const char *time, *id;
};

/* ---- compiling ---- */

static bool is(struct tpc_str s, const char *name)
{
    return tpc_str_equal(s, tpc_str_from(name)) != 0;
}

static bool known(struct tpc_str name)
{
    static const char *const names[] = { "_kind", "_name", "_tenant", "_product", "_device",
                                         "_id",   "_time", "_text",   "_json" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is(name, names[i])) {
            return true;
        }
    }
    return false;
}

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    struct fill *f = user;
    uint32_t i = 0;
    bool own = name.len > 0 && name.ptr[0] == '_';
    if (own && !known(name)) {
        return TPC_ENOENT;
    }
    if (f->names == NULL) {
        f->names = tpc_arena_take(f->arena, TPI_EXPR_MAX_NAMES * sizeof(f->names[0]));
    }
    while (f->names != NULL && i < f->name_count && !tpc_str_equal(f->names[i], name)) {
        i++;
    }
    if (f->names == NULL || i == TPI_EXPR_MAX_NAMES) {
        f->no_memory = f->no_memory || f->names == NULL;
        return TPC_ENOENT;
    }
    if (i == f->name_count) {
        char *p = tpc_arena_take(f->arena, name.len + 1);
        if (p == NULL) {
            f->no_memory = true;
            return TPC_ENOENT;
        }
        memcpy(p, name.ptr, name.len);
        f->names[f->name_count++] = (struct tpc_str){ p, name.len };
    }
    f->json = f->json || is(name, "_json");
    f->line = f->line || is(name, "_text");
    *ret_index = i;
    *ret_type = own ? TPI_EXPR_TEXT : TPI_EXPR_ANY;
    return 0;
}

int fill_init(struct fill *f, const struct tpc_allocator *alloc, struct tpc_arena *arena,
              const struct tpc_clock *clock, struct tpc_str text, enum tpi_template_target target,
              struct tpc_error *err)
{
    struct tpi_expr_scope scope = { .resolve = resolve,
                                    .user = f,
                                    .features = TPI_EXPR_NOW | TPI_EXPR_EVENT };
    f->alloc = alloc;
    f->arena = arena;
    f->clock = clock;
    f->constant = text.len == 0 || memmem(text.ptr, text.len, "{{", 2) == NULL;
    int rc = tpi_template_compile(alloc, text, &scope, target, err, &f->template);
    if (rc != 0 && f->no_memory) {
        return tpi_error_set(err, TPC_ENOMEM, "template", "no memory for a template");
    }
    return rc;
}

void fill_fini(struct fill *f)
{
    tpi_template_destroy(f->template);
    f->template = NULL;
}

/* ---- filling ---- */

static struct tpc_str own_text(const struct looking *l, struct tpc_str name)
{
    const struct tpc_msg *m = l->m;
    if (is(name, "_kind")) {
        return tpc_str_from(tpc_kind_name(m->kind));
    }
    if (is(name, "_name")) {
        return m->name;
    }
    if (is(name, "_tenant")) {
        return m->tenant;
    }
    if (is(name, "_product")) {
        return m->product;
    }
    if (is(name, "_device")) {
        return m->device;
    }
    if (is(name, "_id")) {
        return tpc_str_from(l->id);
    }
    if (is(name, "_time")) {
        return tpc_str_from(l->time);
    }
    const struct tpi_buf *b = is(name, "_json") ? l->json : l->line;
    return (struct tpc_str){ (const char *) b->ptr, b->len };
}

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    const struct looking *l = user;
    struct tpc_str name = l->f->names[index];
    if (name.len > 0 && name.ptr[0] == '_') {
        struct tpc_str text = own_text(l, name);
        *ret = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
        return text.len > 0;
    }
    return tpi_msg_value(l->m, name, ret);
}

static int64_t now(void *user)
{
    const struct looking *l = user;
    return l->f->clock->unix_ms(l->f->clock->user);
}

static int64_t event_time(void *user)
{
    const struct looking *l = user;
    return l->m->unix_ms;
}

int fill_text(const struct fill *f, const struct tpc_msg *m, struct tpi_buf *out)
{
    static const struct tpi_expr_host host = { .load = load, .now = now, .event_time = event_time };
    char room[TPI_EXPR_SCRATCH];
    char time[UTC_RFC3339_BYTES];
    char id[TPC_ID_TEXT_BYTES + 1];
    struct tpi_expr_scratch scratch = { .buf = room, .cap = sizeof(room) };
    struct tpi_buf json, line;
    struct looking l = { f, m, &json, &line, time, id };
    tpi_buf_init(&json, f->alloc, out->limit);
    tpi_buf_init(&line, f->alloc, out->limit);
    utc_rfc3339(m->unix_ms, time);
    tpc_id_format(&m->id, id);
    int rc = f->json ? say_json(&json, m) : 0;
    if (rc == 0 && f->line) {
        rc = say_line(&line, m);
    }
    if (rc == 0) {
        rc = tpi_template_render(f->template, &host, &l, &scratch, out);
    }
    tpi_buf_fini(&json);
    tpi_buf_fini(&line);
    return rc;
}
