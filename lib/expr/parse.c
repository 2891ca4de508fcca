/* Operators, from the weakest to the strongest. */
#include "expr/parse.h"

static void negate_const(struct cell *c)
{
    if (c->type == TPC_INT) {
        c->as.i = -c->as.i; /* a literal is never INT64_MIN */
    } else {
        c->as.d = -c->as.d;
    }
}

static int parse_unary(struct parser *p, struct operand *ret)
{
    if (p->tok.type != TOKEN_MINUS) {
        return tpi_parse_primary(p, ret);
    }
    size_t start = p->tok.start;
    int rc = parse_next(p);
    if (rc == 0 && p->tok.type == TOKEN_NUMBER) {
        negate_const(&p->tok.value);
        rc = tpi_parse_primary(p, ret);
        ret->start = start;
        return rc;
    }
    rc = rc != 0 ? rc : tpi_parse_enter(p);
    rc = rc != 0 ? rc : parse_unary(p, ret);
    parse_leave(p);
    rc = rc != 0 ? rc : tpi_parse_need(p, ret, TPI_EXPR_NUMBER, "- needs a number");
    if (rc != 0) {
        return rc;
    }
    ret->type = TPI_EXPR_NUMBER;
    ret->is_name = false;
    ret->start = start;
    return tpi_emit(p, (struct code){ .op = OP_NEG }, 0);
}

/* Binary operators of numbers; level 0: + -, level 1: * / %. */
static uint8_t math_op(enum token_type t, int level)
{
    switch (t) {
    case TOKEN_PLUS:
        return level == 0 ? OP_ADD : OP_END;
    case TOKEN_MINUS:
        return level == 0 ? OP_SUB : OP_END;
    case TOKEN_STAR:
        return level == 1 ? OP_MUL : OP_END;
    case TOKEN_SLASH:
        return level == 1 ? OP_DIV : OP_END;
    case TOKEN_PERCENT:
        return level == 1 ? OP_MOD : OP_END;
    default:
        return OP_END;
    }
}

static int parse_math(struct parser *p, int level, struct operand *ret)
{
    int rc = level == 1 ? parse_unary(p, ret) : parse_math(p, 1, ret);
    while (rc == 0 && math_op(p->tok.type, level) != OP_END) {
        uint8_t op = math_op(p->tok.type, level);
        struct operand right = { 0 };
        rc = parse_next(p);
        if (rc == 0) {
            rc = level == 1 ? parse_unary(p, &right) : parse_math(p, 1, &right);
        }
        if (rc != 0) {
            return rc;
        }
        rc = tpi_parse_need(p, ret, TPI_EXPR_NUMBER, "arithmetic needs numbers");
        rc = rc != 0 ? rc : tpi_parse_need(p, &right, TPI_EXPR_NUMBER, "arithmetic needs numbers");
        if (rc != 0) {
            return rc;
        }
        ret->type = TPI_EXPR_NUMBER;
        ret->is_name = false;
        ret->end = right.end;
        rc = tpi_emit(p, (struct code){ .op = op }, -1);
    }
    return rc;
}

static int need_comparable(const struct parser *p, const struct operand *a, const struct operand *b)
{
    if (a->type == b->type || a->type <= TPI_EXPR_NULL || b->type <= TPI_EXPR_NULL) {
        return 0;
    }
    return tpi_parse_fail_types(p, a, b, "compared with");
}

static int parse_relation(struct parser *p, struct operand *left)
{
    uint8_t relation = p->tok.x;
    size_t at = p->tok.start;
    struct operand right = { 0 };
    int rc = parse_next(p);
    rc = rc != 0 ? rc : parse_math(p, 0, &right);
    rc = rc != 0 ? rc : need_comparable(p, left, &right);
    if (rc != 0) {
        return rc;
    }
    if (relation != REL_EQ && relation != REL_NE &&
        (left->type == TPI_EXPR_BOOL || right.type == TPI_EXPR_BOOL)) {
        return tpi_parse_fail(p, at, "bools have no order: use == or !=");
    }
    left->end = right.end;
    return tpi_emit_compare(p, left, relation);
}

/* One constant of an in-list, with its sign. */
static int parse_item(struct parser *p, const struct operand *left)
{
    bool minus = p->tok.type == TOKEN_MINUS;
    struct operand item = { .start = p->tok.start };
    struct cell c;
    uint32_t at = 0;
    int rc = minus ? parse_next(p) : 0;
    if (rc != 0) {
        return rc;
    }
    if (!tpi_parse_const(&p->tok, &c, &item.type) || (minus && item.type != TPI_EXPR_NUMBER)) {
        return tpi_parse_expected(p, "a constant");
    }
    item.end = p->tok.end;
    if (minus) {
        negate_const(&c);
    }
    rc = need_comparable(p, left, &item);
    rc = rc != 0 ? rc : tpi_emit_const(p, &c, &at);
    return rc != 0 ? rc : parse_next(p);
}

static int parse_in(struct parser *p, struct operand *left, bool negate)
{
    size_t first = p->consts.len / sizeof(struct cell);
    int rc = parse_next(p);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_OPEN) {
        return tpi_parse_expected(p, "'('");
    }
    do {
        rc = parse_next(p);
        rc = rc != 0 ? rc : parse_item(p, left);
    } while (rc == 0 && p->tok.type == TOKEN_COMMA);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_CLOSE) {
        return tpi_parse_expected(p, "',' or ')'");
    }
    size_t count = p->consts.len / sizeof(struct cell) - first;
    left->end = p->tok.end;
    rc = parse_next(p);
    struct code c = { OP_IN, negate, (uint16_t) count, (uint32_t) first };
    return rc != 0 ? rc : tpi_emit(p, c, 0);
}

static int parse_between(struct parser *p, struct operand *left, bool negate)
{
    struct operand low, high;
    int rc = parse_next(p);
    rc = rc != 0 ? rc : parse_math(p, 0, &low);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_AND) {
        return tpi_parse_expected(p, "'and'");
    }
    rc = parse_next(p);
    rc = rc != 0 ? rc : parse_math(p, 0, &high);
    rc = rc != 0 ? rc : need_comparable(p, left, &low);
    rc = rc != 0 ? rc : need_comparable(p, left, &high);
    if (rc != 0) {
        return rc;
    }
    left->end = high.end;
    return tpi_emit(p, (struct code){ .op = OP_BETWEEN, .x = negate }, -2);
}

static int parse_like(struct parser *p, struct operand *left, bool negate)
{
    struct operand right = { 0 };
    int rc = parse_next(p);
    rc = rc != 0 ? rc : parse_math(p, 0, &right);
    rc = rc != 0 ? rc : tpi_parse_need(p, left, TPI_EXPR_TEXT, "like needs a text");
    rc = rc != 0 ? rc : tpi_parse_need(p, &right, TPI_EXPR_TEXT, "like needs a text");
    if (rc != 0) {
        return rc;
    }
    left->end = right.end;
    return tpi_emit(p, (struct code){ .op = OP_LIKE, .x = negate }, -1);
}

static int parse_is(struct parser *p, struct operand *left)
{
    int rc = parse_next(p);
    bool negate = p->tok.type == TOKEN_NOT;
    if (rc == 0 && negate) {
        rc = parse_next(p);
    }
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_NULL) {
        return tpi_parse_expected(p, "'null'");
    }
    left->end = p->tok.end;
    rc = parse_next(p);
    return rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_NULL, .x = negate }, 0);
}

static bool is_comparison(enum token_type t)
{
    return t == TOKEN_RELATION || t == TOKEN_IN || t == TOKEN_BETWEEN || t == TOKEN_LIKE ||
           t == TOKEN_IS;
}

static int parse_tail(struct parser *p, struct operand *left)
{
    bool negate = p->tok.type == TOKEN_NOT;
    int rc = negate ? parse_next(p) : 0;
    if (rc != 0) {
        return rc;
    }
    switch (p->tok.type) {
    case TOKEN_IN:
        return parse_in(p, left, negate);
    case TOKEN_BETWEEN:
        return parse_between(p, left, negate);
    case TOKEN_LIKE:
        return parse_like(p, left, negate);
    default:
        break;
    }
    if (negate) {
        return tpi_parse_expected(p, "in, between or like");
    }
    return p->tok.type == TOKEN_IS ? parse_is(p, left) : parse_relation(p, left);
}

static int parse_comparison(struct parser *p, struct operand *ret)
{
    int rc = parse_math(p, 0, ret);
    if (rc != 0 || (!is_comparison(p->tok.type) && p->tok.type != TOKEN_NOT)) {
        return rc;
    }
    rc = parse_tail(p, ret);
    if (rc != 0) {
        return rc;
    }
    ret->type = TPI_EXPR_BOOL;
    ret->is_name = false;
    if (is_comparison(p->tok.type)) {
        return tpi_parse_fail(p, p->tok.start, "comparisons in a row: use && or parentheses");
    }
    return 0;
}

static int parse_not(struct parser *p, struct operand *ret)
{
    if (p->tok.type != TOKEN_NOT) {
        return parse_comparison(p, ret);
    }
    size_t start = p->tok.start;
    int rc = tpi_parse_enter(p);
    rc = rc != 0 ? rc : parse_next(p);
    rc = rc != 0 ? rc : parse_not(p, ret);
    parse_leave(p);
    rc = rc != 0 ? rc : tpi_parse_need(p, ret, TPI_EXPR_BOOL, "not needs a condition");
    if (rc != 0) {
        return rc;
    }
    ret->type = TPI_EXPR_BOOL;
    ret->is_name = false;
    ret->start = start;
    return tpi_emit(p, (struct code){ .op = OP_NOT }, 0);
}

/* The right side of && or ||, and the jump over it. */
static int parse_logic(struct parser *p, bool is_and, struct operand *left)
{
    const char *what = is_and ? "&& needs conditions" : "|| needs conditions";
    int rc = tpi_parse_need(p, left, TPI_EXPR_BOOL, what);
    size_t jump = code_count(p);
    uint8_t jump_op = is_and ? OP_AND_JUMP : OP_OR_JUMP;
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = jump_op }, 0);
    rc = rc != 0 ? rc : parse_next(p);
    struct operand right = { 0 };
    if (rc == 0 && is_and) {
        rc = parse_not(p, &right);
    } else if (rc == 0) {
        rc = parse_not(p, &right);
        while (rc == 0 && p->tok.type == TOKEN_AND) {
            rc = parse_logic(p, true, &right);
        }
    }
    rc = rc != 0 ? rc : tpi_parse_need(p, &right, TPI_EXPR_BOOL, what);
    if (rc == 0 && is_and) {
        rc = tpi_emit_and(p, jump);
    } else if (rc == 0) {
        rc = tpi_emit(p, (struct code){ .op = OP_OR }, -1);
        tpi_emit_land(p, jump);
    }
    left->type = TPI_EXPR_BOOL;
    left->is_name = false;
    left->end = right.end;
    return rc;
}

int tpi_parse_or(struct parser *p, struct operand *ret)
{
    int rc = tpi_parse_enter(p);
    rc = rc != 0 ? rc : parse_not(p, ret);
    while (rc == 0 && (p->tok.type == TOKEN_AND || p->tok.type == TOKEN_OR)) {
        rc = parse_logic(p, p->tok.type == TOKEN_AND, ret);
    }
    parse_leave(p);
    return rc;
}
