/* Words of an expression's text. */
#ifndef TPI_EXPR_LEX_H
#define TPI_EXPR_LEX_H

#include "base/buf.h"
#include "expr/code.h"

#include <tpcore/error.h>

enum token_type {
    TOKEN_END,
    TOKEN_NAME,
    TOKEN_NUMBER,
    TOKEN_TEXT,
    TOKEN_TRUE,
    TOKEN_FALSE,
    TOKEN_NULL,
    TOKEN_AND,
    TOKEN_OR,
    TOKEN_NOT,
    TOKEN_IN,
    TOKEN_BETWEEN,
    TOKEN_LIKE,
    TOKEN_IS,
    TOKEN_CASE,
    TOKEN_RELATION, /* x = enum relation */
    TOKEN_PLUS,
    TOKEN_MINUS,
    TOKEN_STAR,
    TOKEN_SLASH,
    TOKEN_PERCENT,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_COMMA,
    TOKEN_DOT,
    TOKEN_OPEN_ITEM,
    TOKEN_CLOSE_ITEM,
    TOKEN_PIPE,        /* | of a template */
    TOKEN_CLOSE_BRACES /* }} of a template */
};

struct token {
    enum token_type type;
    uint8_t x;
    bool quoted;         /* a name between backticks */
    size_t start, end;   /* bytes of the source */
    struct tpc_str name; /* of a name: a view into the source */
    struct cell value;   /* of a number or text; texts stand in the pool by offset */
};

struct lexer {
    struct tpc_str text;
    size_t pos;
    struct tpi_buf *pool; /* texts without their escapes */
    struct tpc_error *err;
};

/* The next token. Returns 0, TPC_EINVAL (with line and column) or TPC_ENOMEM. */
int tpi_expr_lex(struct lexer *lx, struct token *ret);

/* Whether a token is this word, which is a name elsewhere. word is in small letters. */
bool tpi_expr_is_word(const struct token *t, const char *word);

/* Sets err with the line and column of a byte of the source. Returns code. */
int tpi_expr_error(const struct lexer *lx, int code, size_t at, const char *fmt, ...)
    TPC_PRINTF(4, 5);

#endif
