/* Compiles expressions: recursive descent with types, straight to code. */
#include "expr/expr.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "expr/code.h"
#include "expr/lex.h"

#include <assert.h>
#include <string.h>

struct parser {
    struct lexer lx;
    struct token tok; /* the one to be looked at */
    tpi_expr_resolve_fn *resolve;
    void *user;
    struct tpi_buf code;
    struct tpi_buf consts;
    struct tpi_buf pool;
    uint32_t names[TPI_EXPR_MAX_NAMES];
    uint32_t name_count;
    uint32_t depth; /* of the recursion */
    uint32_t stack; /* cells in use at this place of the code */
};

/* What a part of the expression gives. */
struct operand {
    uint8_t type; /* enum tpi_expr_type */
    bool is_name;
    size_t start, end; /* bytes of the source */
    size_t code;       /* its first instruction */
};

static int parse_or(struct parser *p, struct operand *ret);

static const char *type_word(uint8_t type, bool article)
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
    default:
        return "any value";
    }
}

static int next(struct parser *p)
{
    return tpi_expr_lex(&p->lx, &p->tok);
}

static int fail_at(const struct parser *p, size_t at, const char *text)
{
    return tpi_expr_error(&p->lx, TPC_EINVAL, at, "%s", text);
}

static int fail_expected(const struct parser *p, const char *what)
{
    if (p->tok.type == TOKEN_END) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, p->tok.start, "%s expected at the end", what);
    }
    size_t len = p->tok.end - p->tok.start;
    return tpi_expr_error(&p->lx, TPC_EINVAL, p->tok.start, "%s expected, not '%.*s'", what,
                          (int) (len < 40 ? len : 40), p->lx.text.ptr + p->tok.start);
}

/* "'on' is bool, compared with a number" */
static int fail_types(const struct parser *p, const struct operand *a, const struct operand *b,
                      const char *what)
{
    if (!a->is_name && b->is_name) {
        const struct operand *swap = a;
        a = b;
        b = swap;
    }
    if (a->is_name) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, a->start, "'%.*s' is %s, %s %s",
                              (int) (a->end - a->start), p->lx.text.ptr + a->start,
                              type_word(a->type, false), what, type_word(b->type, true));
    }
    return tpi_expr_error(&p->lx, TPC_EINVAL, a->start, "%s, %s %s", type_word(a->type, true), what,
                          type_word(b->type, true));
}

/* Checks that an operand is of a type, may be of it, or is null. */
static int need_type(const struct parser *p, const struct operand *a, uint8_t type,
                     const char *what)
{
    if (a->type == type || a->type == TPI_EXPR_ANY || a->type == TPI_EXPR_NULL) {
        return 0;
    }
    if (a->is_name) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, a->start, "'%.*s' is %s, %s",
                              (int) (a->end - a->start), p->lx.text.ptr + a->start,
                              type_word(a->type, false), what);
    }
    return tpi_expr_error(&p->lx, TPC_EINVAL, a->start, "%s stands here, %s",
                          type_word(a->type, true), what);
}

static size_t code_count(const struct parser *p)
{
    return p->code.len / sizeof(struct code);
}

static int too_big(const struct parser *p, const char *what)
{
    return tpi_expr_error(&p->lx, TPC_ETOOBIG, p->tok.start, "too many %s", what);
}

/* grow: cells more (1), as many (0) or fewer on the stack after it. */
static int emit(struct parser *p, struct code c, int grow)
{
    if (code_count(p) >= TPI_EXPR_MAX_CODE) {
        return too_big(p, "operations");
    }
    p->stack = (uint32_t) ((int) p->stack + grow);
    if (p->stack > TPI_EXPR_MAX_DEPTH) {
        return too_big(p, "operations inside one another");
    }
    return tpi_buf_put(&p->code, &c, sizeof(c));
}

static int add_const(struct parser *p, const struct cell *c, uint32_t *ret)
{
    size_t n = p->consts.len / sizeof(*c);
    if (n >= TPI_EXPR_MAX_CODE) {
        return too_big(p, "constants");
    }
    *ret = (uint32_t) n;
    return tpi_buf_put(&p->consts, c, sizeof(*c));
}

static int push_const(struct parser *p, const struct cell *c)
{
    uint32_t at = 0;
    int rc = add_const(p, c, &at);
    return rc != 0 ? rc : emit(p, (struct code){ .op = OP_PUSH, .a = (uint16_t) at }, 1);
}

static int parse_name(struct parser *p, struct operand *ret)
{
    uint32_t index = 0;
    uint8_t type = TPI_EXPR_ANY;
    struct tpc_str name = p->tok.name;
    int rc = p->resolve(p->user, name, &index, &type);
    if (rc != 0) {
        return tpi_expr_error(&p->lx, rc == TPC_ENOMEM ? rc : TPC_EINVAL, p->tok.start,
                              "no property '%.*s'", (int) (name.len < 128 ? name.len : 128),
                              name.ptr);
    }
    uint32_t at = 0;
    while (at < p->name_count && p->names[at] != index) {
        at++;
    }
    if (at == p->name_count) {
        if (at == TPI_EXPR_MAX_NAMES) {
            return too_big(p, "names");
        }
        p->names[p->name_count++] = index;
    }
    ret->type = type;
    ret->is_name = true;
    /* a view of the name itself, without backticks */
    ret->start = (size_t) (name.ptr - p->lx.text.ptr);
    ret->end = ret->start + name.len;
    return emit(p, (struct code){ .op = OP_LOAD, .a = (uint16_t) at }, 1);
}

static int parse_group(struct parser *p, struct operand *ret)
{
    int rc = next(p);
    if (rc != 0) {
        return rc;
    }
    size_t start = ret->start;
    rc = parse_or(p, ret);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_CLOSE) {
        return fail_expected(p, "')'");
    }
    if (!ret->is_name) {
        ret->start = start;
        ret->end = p->tok.end;
    }
    return next(p);
}

/* A constant as the token says; false if it is none. */
static bool token_const(const struct token *t, struct cell *ret, uint8_t *ret_type)
{
    switch (t->type) {
    case TOKEN_NUMBER:
        *ret = t->value;
        *ret_type = TPI_EXPR_NUMBER;
        return true;
    case TOKEN_TEXT:
        *ret = t->value;
        *ret_type = TPI_EXPR_TEXT;
        return true;
    case TOKEN_TRUE:
    case TOKEN_FALSE:
        *ret = (struct cell){ .type = TPC_BOOL, .as.b = t->type == TOKEN_TRUE };
        *ret_type = TPI_EXPR_BOOL;
        return true;
    case TOKEN_NULL:
        *ret = (struct cell){ .type = TPC_NULL };
        *ret_type = TPI_EXPR_NULL;
        return true;
    default:
        return false;
    }
}

static void negate_const(struct cell *c)
{
    if (c->type == TPC_INT) {
        c->as.i = -c->as.i; /* a literal is never INT64_MIN */
    } else {
        c->as.d = -c->as.d;
    }
}

static int parse_primary(struct parser *p, struct operand *ret)
{
    struct cell c;
    *ret = (struct operand){ .start = p->tok.start, .end = p->tok.end, .code = code_count(p) };
    if (p->tok.type == TOKEN_OPEN) {
        return parse_group(p, ret);
    }
    int rc;
    if (p->tok.type == TOKEN_NAME) {
        rc = parse_name(p, ret);
    } else if (token_const(&p->tok, &c, &ret->type)) {
        rc = push_const(p, &c);
    } else {
        return fail_expected(p, "a value");
    }
    return rc != 0 ? rc : next(p);
}

static int parse_unary(struct parser *p, struct operand *ret)
{
    if (p->tok.type != TOKEN_MINUS) {
        return parse_primary(p, ret);
    }
    size_t start = p->tok.start;
    int rc = next(p);
    if (rc == 0 && p->tok.type == TOKEN_NUMBER) {
        negate_const(&p->tok.value);
        rc = parse_primary(p, ret);
        ret->start = start;
        return rc;
    }
    if (++p->depth > TPI_EXPR_MAX_DEPTH) {
        return too_big(p, "operations inside one another");
    }
    rc = rc != 0 ? rc : parse_unary(p, ret);
    p->depth--;
    rc = rc != 0 ? rc : need_type(p, ret, TPI_EXPR_NUMBER, "- needs a number");
    if (rc != 0) {
        return rc;
    }
    ret->type = TPI_EXPR_NUMBER;
    ret->is_name = false;
    ret->start = start;
    return emit(p, (struct code){ .op = OP_NEG }, 0);
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
        struct operand right;
        rc = next(p);
        if (rc == 0) {
            rc = level == 1 ? parse_unary(p, &right) : parse_math(p, 1, &right);
        }
        if (rc != 0) {
            return rc;
        }
        rc = need_type(p, ret, TPI_EXPR_NUMBER, "arithmetic needs numbers");
        rc = rc != 0 ? rc : need_type(p, &right, TPI_EXPR_NUMBER, "arithmetic needs numbers");
        if (rc != 0) {
            return rc;
        }
        ret->type = TPI_EXPR_NUMBER;
        ret->is_name = false;
        ret->end = right.end;
        rc = emit(p, (struct code){ .op = op }, -1);
    }
    return rc;
}

static int need_comparable(const struct parser *p, const struct operand *a, const struct operand *b)
{
    if (a->type == b->type || a->type <= TPI_EXPR_NULL || b->type <= TPI_EXPR_NULL) {
        return 0;
    }
    return fail_types(p, a, b, "compared with");
}

/* Two plain instructions in a row, a name and a constant, become one. */
static bool fuse(struct parser *p, const struct operand *left, uint8_t relation)
{
    struct code *c = (struct code *) (void *) p->code.ptr;
    size_t n = code_count(p);
    if (n != left->code + 2 || c[n - 2].op != OP_LOAD || c[n - 1].op != OP_PUSH) {
        return false;
    }
    c[n - 2] = (struct code){ OP_CMP_NAME, relation, c[n - 2].a, c[n - 1].a };
    p->code.len -= sizeof(*c);
    p->stack--;
    return true;
}

static int parse_relation(struct parser *p, struct operand *left)
{
    uint8_t relation = p->tok.x;
    size_t at = p->tok.start;
    struct operand right;
    int rc = next(p);
    rc = rc != 0 ? rc : parse_math(p, 0, &right);
    rc = rc != 0 ? rc : need_comparable(p, left, &right);
    if (rc != 0) {
        return rc;
    }
    if (relation > REL_NE && (left->type == TPI_EXPR_BOOL || right.type == TPI_EXPR_BOOL)) {
        return fail_at(p, at, "bools have no order: use == or !=");
    }
    left->end = right.end;
    return fuse(p, left, relation) ? 0 : emit(p, (struct code){ .op = OP_CMP, .x = relation }, -1);
}

/* One constant of an in-list, with its sign. */
static int parse_item(struct parser *p, const struct operand *left)
{
    bool minus = p->tok.type == TOKEN_MINUS;
    struct operand item = { .start = p->tok.start };
    struct cell c;
    uint32_t at = 0;
    int rc = minus ? next(p) : 0;
    if (rc != 0) {
        return rc;
    }
    if (!token_const(&p->tok, &c, &item.type) || (minus && item.type != TPI_EXPR_NUMBER)) {
        return fail_expected(p, "a constant");
    }
    item.end = p->tok.end;
    if (minus) {
        negate_const(&c);
    }
    rc = need_comparable(p, left, &item);
    rc = rc != 0 ? rc : add_const(p, &c, &at);
    return rc != 0 ? rc : next(p);
}

static int parse_in(struct parser *p, struct operand *left, bool negate)
{
    size_t first = p->consts.len / sizeof(struct cell);
    int rc = next(p);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_OPEN) {
        return fail_expected(p, "'('");
    }
    do {
        rc = next(p);
        rc = rc != 0 ? rc : parse_item(p, left);
    } while (rc == 0 && p->tok.type == TOKEN_COMMA);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_CLOSE) {
        return fail_expected(p, "',' or ')'");
    }
    size_t count = p->consts.len / sizeof(struct cell) - first;
    left->end = p->tok.end;
    rc = next(p);
    struct code c = { OP_IN, negate, (uint16_t) count, (uint32_t) first };
    return rc != 0 ? rc : emit(p, c, 0);
}

static int parse_between(struct parser *p, struct operand *left, bool negate)
{
    struct operand low, high;
    int rc = next(p);
    rc = rc != 0 ? rc : parse_math(p, 0, &low);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_AND) {
        return fail_expected(p, "'and'");
    }
    rc = next(p);
    rc = rc != 0 ? rc : parse_math(p, 0, &high);
    rc = rc != 0 ? rc : need_comparable(p, left, &low);
    rc = rc != 0 ? rc : need_comparable(p, left, &high);
    if (rc != 0) {
        return rc;
    }
    left->end = high.end;
    return emit(p, (struct code){ .op = OP_BETWEEN, .x = negate }, -2);
}

static int parse_like(struct parser *p, struct operand *left, bool negate)
{
    struct operand right;
    int rc = next(p);
    rc = rc != 0 ? rc : parse_math(p, 0, &right);
    rc = rc != 0 ? rc : need_type(p, left, TPI_EXPR_TEXT, "like needs a text");
    rc = rc != 0 ? rc : need_type(p, &right, TPI_EXPR_TEXT, "like needs a text");
    if (rc != 0) {
        return rc;
    }
    left->end = right.end;
    return emit(p, (struct code){ .op = OP_LIKE, .x = negate }, -1);
}

static int parse_is(struct parser *p, struct operand *left)
{
    int rc = next(p);
    bool negate = p->tok.type == TOKEN_NOT;
    if (rc == 0 && negate) {
        rc = next(p);
    }
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_NULL) {
        return fail_expected(p, "'null'");
    }
    left->end = p->tok.end;
    rc = next(p);
    return rc != 0 ? rc : emit(p, (struct code){ .op = OP_NULL, .x = negate }, 0);
}

static bool is_comparison(enum token_type t)
{
    return t == TOKEN_RELATION || t == TOKEN_IN || t == TOKEN_BETWEEN || t == TOKEN_LIKE ||
           t == TOKEN_IS;
}

static int parse_tail(struct parser *p, struct operand *left)
{
    bool negate = p->tok.type == TOKEN_NOT;
    int rc = negate ? next(p) : 0;
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
        return fail_expected(p, "in, between or like");
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
        return fail_at(p, p->tok.start, "comparisons in a row: use && or parentheses");
    }
    return 0;
}

static int parse_not(struct parser *p, struct operand *ret)
{
    if (p->tok.type != TOKEN_NOT) {
        return parse_comparison(p, ret);
    }
    if (++p->depth > TPI_EXPR_MAX_DEPTH) {
        return too_big(p, "operations inside one another");
    }
    size_t start = p->tok.start;
    int rc = next(p);
    rc = rc != 0 ? rc : parse_not(p, ret);
    p->depth--;
    rc = rc != 0 ? rc : need_type(p, ret, TPI_EXPR_BOOL, "not needs a condition");
    if (rc != 0) {
        return rc;
    }
    ret->type = TPI_EXPR_BOOL;
    ret->is_name = false;
    ret->start = start;
    return emit(p, (struct code){ .op = OP_NOT }, 0);
}

/* The right side of && or ||, and the jump over it. */
static int parse_logic(struct parser *p, bool is_and, struct operand *left)
{
    const char *what = is_and ? "&& needs conditions" : "|| needs conditions";
    int rc = need_type(p, left, TPI_EXPR_BOOL, what);
    size_t jump = code_count(p);
    uint8_t jump_op = is_and ? OP_AND_JUMP : OP_OR_JUMP;
    rc = rc != 0 ? rc : emit(p, (struct code){ .op = jump_op }, 0);
    rc = rc != 0 ? rc : next(p);
    struct operand right;
    if (rc == 0 && is_and) {
        rc = parse_not(p, &right);
    } else if (rc == 0) {
        rc = parse_not(p, &right);
        while (rc == 0 && p->tok.type == TOKEN_AND) {
            rc = parse_logic(p, true, &right);
        }
    }
    rc = rc != 0 ? rc : need_type(p, &right, TPI_EXPR_BOOL, what);
    rc = rc != 0 ? rc : emit(p, (struct code){ .op = is_and ? OP_AND : OP_OR }, -1);
    if (rc == 0) {
        ((struct code *) (void *) p->code.ptr)[jump].b = (uint32_t) code_count(p);
        left->type = TPI_EXPR_BOOL;
        left->is_name = false;
        left->end = right.end;
    }
    return rc;
}

static int parse_or(struct parser *p, struct operand *ret)
{
    if (++p->depth > TPI_EXPR_MAX_DEPTH) {
        return too_big(p, "operations inside one another");
    }
    int rc = parse_not(p, ret);
    while (rc == 0 && (p->tok.type == TOKEN_AND || p->tok.type == TOKEN_OR)) {
        rc = parse_logic(p, p->tok.type == TOKEN_AND, ret);
    }
    p->depth--;
    return rc;
}

/* Puts the parts into one block and the texts' addresses into the constants. */
static int finish(struct parser *p, const struct tpc_allocator *alloc, uint8_t result,
                  struct tpi_expr **ret)
{
    size_t names_bytes = p->name_count * sizeof(uint32_t);
    size_t bytes =
        sizeof(struct tpi_expr) + p->consts.len + p->code.len + names_bytes + p->pool.len;
    struct tpi_expr *e = tpi_alloc(alloc, bytes);
    if (e == NULL) {
        return tpi_error_set(p->lx.err, TPC_ENOMEM, "expr", "out of memory");
    }
    uint8_t *at = (uint8_t *) (e + 1);
    struct cell *consts = (struct cell *) (void *) at;
    uint8_t *code = at + p->consts.len;
    uint32_t *names = (uint32_t *) (void *) (code + p->code.len);
    char *pool = (char *) names + names_bytes;
    if (p->consts.len > 0) {
        memcpy(consts, p->consts.ptr, p->consts.len);
    }
    memcpy(code, p->code.ptr, p->code.len);
    memcpy(names, p->names, names_bytes);
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
                            .name_count = p->name_count,
                            .result = result };
    *ret = e;
    return 0;
}

static int parse_all(struct parser *p, enum tpi_expr_type want, uint8_t *ret_type)
{
    struct operand whole;
    int rc = next(p);
    if (rc == 0 && p->tok.type == TOKEN_END) {
        return fail_at(p, 0, "the expression is empty");
    }
    rc = rc != 0 ? rc : parse_or(p, &whole);
    if (rc == 0 && p->tok.type != TOKEN_END) {
        return fail_expected(p, "an operator");
    }
    if (rc == 0 && want != TPI_EXPR_ANY) {
        rc = need_type(p, &whole, (uint8_t) want,
                       want == TPI_EXPR_BOOL ? "a condition is needed" : "another type is needed");
    }
    rc = rc != 0 ? rc : emit(p, (struct code){ .op = OP_END }, 0);
    if (rc == 0) {
        assert(p->stack == 1);
        *ret_type = whole.type;
    }
    return rc;
}

int tpi_expr_compile(const struct tpc_allocator *alloc, struct tpc_str text,
                     tpi_expr_resolve_fn *resolve, void *user, enum tpi_expr_type want,
                     struct tpc_error *err, struct tpi_expr **ret)
{
    if (text.len > TPI_EXPR_MAX_TEXT) {
        return tpi_error_set(err, TPC_ETOOBIG, "expr", "an expression of more than %d bytes",
                             TPI_EXPR_MAX_TEXT);
    }
    struct parser p = { .lx = { .text = text, .err = err }, .resolve = resolve, .user = user };
    tpi_buf_init(&p.code, alloc, 0);
    tpi_buf_init(&p.consts, alloc, 0);
    tpi_buf_init(&p.pool, alloc, 0);
    p.lx.pool = &p.pool;
    uint8_t result = TPI_EXPR_ANY;
    int rc = parse_all(&p, want, &result);
    if (rc == TPC_ENOMEM) {
        tpi_error_set(err, rc, "expr", "out of memory");
    }
    if (rc == 0) {
        rc = finish(&p, alloc, result, ret);
    }
    tpi_buf_fini(&p.code);
    tpi_buf_fini(&p.consts);
    tpi_buf_fini(&p.pool);
    return rc;
}

void tpi_expr_destroy(struct tpi_expr *e)
{
    if (e != NULL) {
        tpi_free(e->alloc, e, e->bytes);
    }
}
