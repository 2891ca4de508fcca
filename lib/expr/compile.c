/* From a text to a block of code. */
#include "expr/parse.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "calendar/zone.h"

static bool is_chain(const struct parser *p)
{
    const struct code *c = code_at(p, 0);
    if (c->op != OP_CMP_NUMBER) {
        return false;
    }
    do {
        c++;
    } while (c->op == OP_AND_NUMBER);
    return c->op == OP_END;
}

/* Puts the parts into one block and the texts' addresses into the constants. */
static int finish(struct parser *p, const struct tpc_allocator *alloc, uint8_t result,
                  struct tpi_expr **ret)
{
    size_t names_bytes = p->name_count * sizeof(uint32_t);
    size_t zones_bytes = p->zone_count * sizeof(struct tpi_zone *);
    size_t scripts_bytes = p->script_count * sizeof(p->scripts[0]);
    size_t bytes = sizeof(struct tpi_expr) + zones_bytes + scripts_bytes + p->consts.len +
                   p->code.len + names_bytes + p->pool.len;
    struct tpi_expr *e = tpi_alloc(alloc, bytes);
    if (e == NULL) {
        return tpi_error_set(p->lx.err, TPC_ENOMEM, "expr", "out of memory");
    }
    struct tpi_zone **zones = (struct tpi_zone **) (void *) (e + 1);
    struct tpi_expr_script **scripts =
        (struct tpi_expr_script **) (void *) ((uint8_t *) (e + 1) + zones_bytes);
    uint8_t *at = (uint8_t *) (e + 1) + zones_bytes + scripts_bytes;
    struct cell *consts = (struct cell *) (void *) at;
    uint8_t *code = at + p->consts.len;
    uint32_t *names = (uint32_t *) (void *) (code + p->code.len);
    char *pool = (char *) names + names_bytes;
    if (p->consts.len > 0) {
        memcpy(consts, p->consts.ptr, p->consts.len);
    }
    memcpy(scripts, p->scripts, scripts_bytes);
    memcpy(code, p->code.ptr, p->code.len);
    memcpy(names, p->names, names_bytes);
    memcpy(zones, p->zones, zones_bytes);
    if (p->pool.len > 0) {
        memcpy(pool, p->pool.ptr, p->pool.len);
    }
    for (size_t i = 0; i < p->consts.len / sizeof(struct cell); i++) {
        if (consts[i].type == TPC_TEXT) {
            consts[i].as.text = pool + consts[i].as.offset;
        }
    }
    *e = (struct tpi_expr){ .alloc = alloc,
                            .bytes = bytes,
                            .code = (const struct code *) (void *) code,
                            .consts = consts,
                            .names = names,
                            .zones = zones,
                            .zone_count = p->zone_count,
                            .name_count = p->name_count,
                            .result = result,
                            .needs = p->needs,
                            .script_count = p->script_count,
                            .scripts = scripts,
                            .chain = is_chain(p) };
    p->script_count = 0; /* they are the expression's now */
    *ret = e;
    return 0;
}

/* What stands in a template behind the value: functions, at last perhaps "raw". */
static int parse_pipes(struct parser *p, struct operand *value, bool *ret_raw)
{
    int rc = 0;
    while (rc == 0 && !*ret_raw && p->tok.type == TOKEN_PIPE) {
        rc = parse_next(p);
        if (rc == 0 && tpi_expr_is_word(&p->tok, "raw")) {
            *ret_raw = true;
            rc = parse_next(p);
        } else if (rc == 0) {
            rc = tpi_parse_pipe(p, value);
        }
    }
    return rc;
}

static int need_result(struct parser *p, const struct operand *whole, enum tpi_expr_type want)
{
    static const char *const texts[] = { NULL,
                                         NULL,
                                         "a condition is needed",
                                         "a number is needed",
                                         "a text is needed",
                                         "a list is needed",
                                         "a map is needed" };
    return want <= TPI_EXPR_NULL ? 0 : tpi_parse_need(p, whole, (uint8_t) want, texts[want]);
}

/* ret_raw NULL: a whole text, else the part of a template. */
static int parse_all(struct parser *p, enum tpi_expr_type want, bool *ret_raw, uint8_t *ret_type)
{
    struct operand whole;
    enum token_type end = ret_raw != NULL ? TOKEN_CLOSE_BRACES : TOKEN_END;
    size_t start = p->lx.pos;
    int rc = parse_next(p);
    if (rc == 0 && p->tok.type == end) {
        return tpi_parse_fail(p, start, "the expression is empty");
    }
    rc = rc != 0 ? rc : tpi_parse_or(p, &whole);
    if (rc == 0 && ret_raw != NULL) {
        rc = parse_pipes(p, &whole, ret_raw);
    }
    if (rc == 0 && p->tok.type != end) {
        return tpi_parse_expected(p, ret_raw != NULL ? "'}}'" : "an operator");
    }
    rc = rc != 0 ? rc : need_result(p, &whole, want);
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_END }, 0);
    if (rc == 0) {
        assert(p->stack == 1);
        *ret_type = whole.type;
    }
    return rc;
}

static int compile(const struct tpc_allocator *alloc, struct tpc_str text, size_t *pos,
                   const struct tpi_expr_scope *scope, enum tpi_expr_type want,
                   struct tpc_error *err, bool *ret_raw, struct tpi_expr **ret)
{
    struct parser p = { .lx = { .text = text, .pos = *pos, .err = err }, .scope = scope };
    tpi_buf_init(&p.code, alloc, 0);
    tpi_buf_init(&p.consts, alloc, 0);
    tpi_buf_init(&p.pool, alloc, 0);
    p.lx.pool = &p.pool;
    uint8_t result = TPI_EXPR_ANY;
    int rc = parse_all(&p, want, ret_raw, &result);
    if (rc == TPC_ENOMEM) {
        tpi_error_set(err, rc, "expr", "out of memory");
    }
    if (rc == 0) {
        rc = finish(&p, alloc, result, ret);
        *pos = p.lx.pos;
    }
    for (uint32_t i = 0; rc != 0 && i < p.zone_count; i++) {
        tpi_zone_destroy(p.zones[i]);
    }
    for (uint32_t i = 0; i < p.script_count; i++) {
        p.scripts[i]->close(p.scripts[i]);
    }
    tpi_buf_fini(&p.code);
    tpi_buf_fini(&p.consts);
    tpi_buf_fini(&p.pool);
    return rc;
}

int tpi_expr_compile(const struct tpc_allocator *alloc, struct tpc_str text,
                     const struct tpi_expr_scope *scope, enum tpi_expr_type want,
                     struct tpc_error *err, struct tpi_expr **ret)
{
    size_t pos = 0;
    if (text.len > TPI_EXPR_MAX_TEXT) {
        return tpi_error_set(err, TPC_ETOOBIG, "expr", "an expression of more than %d bytes",
                             TPI_EXPR_MAX_TEXT);
    }
    return compile(alloc, text, &pos, scope, want, err, NULL, ret);
}

int tpi_parse_part(const struct tpc_allocator *alloc, struct tpc_str text, size_t *pos,
                   const struct tpi_expr_scope *scope, struct tpc_error *err, bool *ret_raw,
                   struct tpi_expr **ret)
{
    *ret_raw = false;
    return compile(alloc, text, pos, scope, TPI_EXPR_ANY, err, ret_raw, ret);
}

void tpi_expr_destroy(struct tpi_expr *e)
{
    for (uint32_t i = 0; e != NULL && i < e->script_count; i++) {
        e->scripts[i]->close(e->scripts[i]);
    }
    if (e != NULL) {
        for (uint32_t i = 0; i < e->zone_count; i++) {
            tpi_zone_destroy(e->zones[i]);
        }
        tpi_free(e->alloc, e, e->bytes);
    }
}
