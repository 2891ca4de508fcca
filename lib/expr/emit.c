/* Errors with their positions, and the code itself. */
#include <string.h>

#include "expr/cell.h"
#include "expr/parse.h"

const char *tpi_parse_type(uint8_t type, bool article)
{
    switch (type) {
    case TPI_EXPR_NULL:
        return "null";
    case TPI_EXPR_BOOL:
        return article ? "a bool" : "bool";
    case TPI_EXPR_NUMBER:
        return "a number";
    case TPI_EXPR_TEXT:
        return article ? "a text" : "text";
    case TPI_EXPR_LIST:
        return "a list";
    case TPI_EXPR_MAP:
        return "a map";
    default:
        return "any value";
    }
}

int tpi_parse_fail(const struct parser *p, size_t at, const char *text)
{
    return tpi_expr_error(&p->lx, TPC_EINVAL, at, "%s", text);
}

int tpi_parse_expected(const struct parser *p, const char *what)
{
    if (p->tok.type == TOKEN_END) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, p->tok.start, "%s expected at the end", what);
    }
    size_t len = p->tok.end - p->tok.start;
    return tpi_expr_error(&p->lx, TPC_EINVAL, p->tok.start, "%s expected, not '%.*s'", what,
                          (int) (len < 40 ? len : 40), p->lx.text.ptr + p->tok.start);
}

static int name_len(const struct operand *a)
{
    size_t len = a->end - a->start;
    return (int) (len < 128 ? len : 128);
}

int tpi_parse_fail_types(const struct parser *p, const struct operand *a, const struct operand *b,
                         const char *what)
{
    if (!a->is_name && b->is_name) {
        const struct operand *swap = a;
        a = b;
        b = swap;
    }
    if (a->is_name) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, a->start, "'%.*s' is %s, %s %s", name_len(a),
                              p->lx.text.ptr + a->start, tpi_parse_type(a->type, false), what,
                              tpi_parse_type(b->type, true));
    }
    return tpi_expr_error(&p->lx, TPC_EINVAL, a->start, "%s, %s %s", tpi_parse_type(a->type, true),
                          what, tpi_parse_type(b->type, true));
}

int tpi_parse_need(const struct parser *p, const struct operand *a, uint8_t type, const char *what)
{
    if (a->type == type || a->type == TPI_EXPR_ANY || a->type == TPI_EXPR_NULL) {
        return 0;
    }
    if (a->is_name) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, a->start, "'%.*s' is %s, %s", name_len(a),
                              p->lx.text.ptr + a->start, tpi_parse_type(a->type, false), what);
    }
    return tpi_expr_error(&p->lx, TPC_EINVAL, a->start, "%s stands here, %s",
                          tpi_parse_type(a->type, true), what);
}

int tpi_parse_too_many(const struct parser *p, const char *what)
{
    return tpi_expr_error(&p->lx, TPC_ETOOBIG, p->tok.start, "too many %s", what);
}

int tpi_parse_enter(struct parser *p)
{
    if (++p->depth > TPI_EXPR_MAX_DEPTH) {
        return tpi_parse_too_many(p, "operations inside one another");
    }
    return 0;
}

int tpi_emit(struct parser *p, struct code c, int grow)
{
    if (code_count(p) >= TPI_EXPR_MAX_CODE) {
        return tpi_parse_too_many(p, "operations");
    }
    p->stack = (uint32_t) ((int) p->stack + grow);
    if (p->stack > TPI_EXPR_MAX_DEPTH) {
        return tpi_parse_too_many(p, "operations inside one another");
    }
    return tpi_buf_put(&p->code, &c, sizeof(c));
}

int tpi_emit_const(struct parser *p, const struct cell *c, uint32_t *ret)
{
    size_t n = p->consts.len / sizeof(*c);
    if (n >= TPI_EXPR_MAX_CODE) {
        return tpi_parse_too_many(p, "constants");
    }
    *ret = (uint32_t) n;
    return tpi_buf_put(&p->consts, c, sizeof(*c));
}

int tpi_emit_push(struct parser *p, const struct cell *c)
{
    uint32_t at = 0;
    int rc = tpi_emit_const(p, c, &at);
    return rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_PUSH, .a = (uint16_t) at }, 1);
}

int tpi_emit_text(struct parser *p, struct tpc_str text, uint32_t *ret)
{
    struct cell c = { .type = TPC_TEXT, .len = (uint32_t) text.len, .as.offset = p->pool.len };
    int rc = text.len > TPI_EXPR_MAX_TEXT ? tpi_parse_too_many(p, "bytes of a constant") : 0;
    rc = rc != 0 ? rc : tpi_buf_text(&p->pool, text);
    return rc != 0 ? rc : tpi_emit_const(p, &c, ret);
}

int tpi_emit_name(struct parser *p, uint32_t index, uint16_t *ret)
{
    uint32_t at = 0;
    while (at < p->name_count && p->names[at] != index) {
        at++;
    }
    if (at == p->name_count) {
        if (at == TPI_EXPR_MAX_NAMES) {
            return tpi_parse_too_many(p, "names");
        }
        p->names[p->name_count++] = index;
    }
    *ret = (uint16_t) at;
    return 0;
}

/* A double in place of a number below 2^53; false if it is none. */
static bool plain_number(struct cell *c)
{
    double d;
    if (!cell_number(c, &d) || !(fabs(d) < 9007199254740992.0)) {
        return false;
    }
    *c = cell_double(d);
    return true;
}

int tpi_emit_compare(struct parser *p, const struct operand *left, uint8_t relation)
{
    size_t n = code_count(p);
    struct code *c = n >= 2 ? code_at(p, n - 2) : NULL;
    if (n != left->code + 2 || c[0].op != OP_LOAD || c[1].op != OP_PUSH) {
        return tpi_emit(p, (struct code){ .op = OP_CMP, .x = relation }, -1);
    }
    struct cell *constant = (struct cell *) (void *) p->consts.ptr + c[1].a;
    uint8_t op = plain_number(constant) ? OP_CMP_NUMBER : OP_CMP_NAME;
    c[0] = (struct code){ op, relation, c[0].a, c[1].a };
    p->code.len -= sizeof(*c);
    p->stack--;
    return 0;
}

int tpi_emit_and(struct parser *p, size_t jump)
{
    struct code *c = code_at(p, jump);
    if (code_count(p) == jump + 2 && c[1].op == OP_CMP_NUMBER) {
        c[0] = c[1];
        c[0].op = OP_AND_NUMBER;
        p->code.len -= sizeof(*c);
        p->stack--;
        return 0;
    }
    int rc = tpi_emit(p, (struct code){ .op = OP_AND }, -1);
    if (rc == 0) {
        tpi_emit_land(p, jump);
    }
    return rc;
}

void tpi_emit_land(struct parser *p, size_t jump)
{
    code_at(p, jump)->b = (uint32_t) code_count(p);
}
