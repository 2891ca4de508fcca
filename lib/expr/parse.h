/* The compiler: recursive descent with types, straight to code. parse.c knows the operators,
 * primary.c what stands between them, emit.c the code. */
#ifndef TPI_EXPR_PARSE_H
#define TPI_EXPR_PARSE_H

#include "base/buf.h"
#include "expr/functions.h"
#include "expr/lex.h"

struct parser {
    struct lexer lx;
    struct token tok; /* the one to be looked at */
    const struct tpi_expr_scope *scope;
    struct tpi_buf code;
    struct tpi_buf consts;
    struct tpi_buf pool;
    uint32_t names[TPI_EXPR_MAX_NAMES];
    uint32_t name_count;
    struct tpi_zone *zones[TPI_EXPR_MAX_ZONES];
    uint32_t zone_count;
    uint32_t needs; /* of the host */
    struct tpi_expr_script *scripts[TPI_EXPR_MAX_SCRIPTS];
    uint32_t script_count;
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

/* All functions return 0 or an error that is set, or TPC_ENOMEM. */

/* A whole expression, up to a token that cannot belong to it. */
int tpi_parse_or(struct parser *p, struct operand *ret);
/* A value with its members, items and calls. */
int tpi_parse_primary(struct parser *p, struct operand *ret);
/* The function of a name, whose first argument is there: "| round(1)" behind a value. */
int tpi_parse_pipe(struct parser *p, struct operand *value);

/* Checks argument `index` of a function by its table; common: of those so far. */
int tpi_parse_arg(struct parser *p, const struct function *f, uint32_t index,
                  const struct operand *arg, uint8_t *common);
int tpi_parse_wrong_count(struct parser *p, const struct function *f, uint32_t count);
/* Functions whose second argument is a constant. The token is the "(". */
int tpi_parse_with_constant(struct parser *p, int number, struct operand *ret);
/* lua('code', ..), the same. */
int tpi_parse_script(struct parser *p, int number, struct operand *ret);

/* A constant as the token says; false if it is none. */
bool tpi_parse_const(const struct token *t, struct cell *ret, uint8_t *ret_type);

/* Depth of the recursion: enter fails beyond the limit. */
int tpi_parse_enter(struct parser *p);
static inline void parse_leave(struct parser *p)
{
    p->depth--;
}

static inline int parse_next(struct parser *p)
{
    return tpi_expr_lex(&p->lx, &p->tok);
}

/* Of the token, which is a text; valid until the next token. */
static inline struct tpc_str parse_text(const struct parser *p)
{
    const struct cell *c = &p->tok.value;
    return c->len > 0 ? (struct tpc_str){ (const char *) p->pool.ptr + c->as.offset, c->len }
                      : (struct tpc_str){ "", 0 };
}

/* Whether a function's argument is a time zone; then the token is its name, it is opened, and its number
 * stands where the argument is. */
bool tpi_parse_is_zone(const struct function *f, uint32_t number);
int tpi_parse_zone(struct parser *p);

/*
 * Compiles one expression with its pipes that stands in a longer text, from *pos to "}}", behind
 * which *pos is put. *ret_raw: the pipe ended with "raw". Returns as tpi_expr_compile(); positions
 * are those of the longer text.
 */
int tpi_parse_part(const struct tpc_allocator *alloc, struct tpc_str text, size_t *pos,
                   const struct tpi_expr_scope *scope, struct tpc_error *err, bool *ret_raw,
                   struct tpi_expr **ret);

/* ---- errors ---- */

int tpi_parse_fail(const struct parser *p, size_t at, const char *text);
/* "')' expected, not 'x'" */
int tpi_parse_expected(const struct parser *p, const char *what);
/* "'on' is bool, compared with a number" */
int tpi_parse_fail_types(const struct parser *p, const struct operand *a, const struct operand *b,
                         const char *what);
/* Checks that an operand is of a type, may be of it, or is null. what: "- needs a number". */
int tpi_parse_need(const struct parser *p, const struct operand *a, uint8_t type, const char *what);
int tpi_parse_too_many(const struct parser *p, const char *what);
const char *tpi_parse_type(uint8_t type, bool article);

/* ---- code ---- */

static inline size_t code_count(const struct parser *p)
{
    return p->code.len / sizeof(struct code);
}

/* The instruction's address until the next is emitted. */
static inline struct code *code_at(const struct parser *p, size_t i)
{
    return (struct code *) (void *) p->code.ptr + i;
}

/* grow: cells more, as many (0) or fewer on the stack after it. */
int tpi_emit(struct parser *p, struct code c, int grow);
int tpi_emit_const(struct parser *p, const struct cell *c, uint32_t *ret);
int tpi_emit_push(struct parser *p, const struct cell *c);
int tpi_emit_call(struct parser *p, int number, uint32_t count);
/* A text as a constant: it is copied. */
int tpi_emit_text(struct parser *p, struct tpc_str text, uint32_t *ret);
/* Number of a name of the resolver's in this expression. */
int tpi_emit_name(struct parser *p, uint32_t index, uint16_t *ret);
/* Comparison of the two operands that were emitted last; a name and a constant become one
 * instruction. */
int tpi_emit_compare(struct parser *p, const struct operand *left, uint8_t relation);
/* AND of what stands before the jump at `jump` and what stands behind it: a single comparison with a
 * number takes the place of the jump. */
int tpi_emit_and(struct parser *p, size_t jump);
/* The jump at `jump` goes to the next instruction. */
void tpi_emit_land(struct parser *p, size_t jump);

#endif
