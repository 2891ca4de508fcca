/* Words of an expression's text. */
#include "expr/lex.h"

#include "base/error.h"
#include "base/text.h"
#include "data/number.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

static const struct word {
    const char *text;
    enum token_type type;
} words[] = {
    { "and", TOKEN_AND },     { "or", TOKEN_OR },     { "not", TOKEN_NOT },
    { "in", TOKEN_IN },       { "like", TOKEN_LIKE }, { "between", TOKEN_BETWEEN },
    { "is", TOKEN_IS },       { "null", TOKEN_NULL }, { "true", TOKEN_TRUE },
    { "false", TOKEN_FALSE }, { "case", TOKEN_CASE },
};

/* Longer signs first. */
static const struct sign {
    const char *text;
    enum token_type type;
    uint8_t x;
} signs[] = {
    { "&&", TOKEN_AND, 0 },
    { "||", TOKEN_OR, 0 },
    { "==", TOKEN_RELATION, REL_EQ },
    { "!=", TOKEN_RELATION, REL_NE },
    { "<>", TOKEN_RELATION, REL_NE },
    { "<=", TOKEN_RELATION, REL_LE },
    { ">=", TOKEN_RELATION, REL_GE },
    { "=", TOKEN_RELATION, REL_EQ },
    { "<", TOKEN_RELATION, REL_LT },
    { ">", TOKEN_RELATION, REL_GT },
    { "!", TOKEN_NOT, 0 },
    { "+", TOKEN_PLUS, 0 },
    { "-", TOKEN_MINUS, 0 },
    { "*", TOKEN_STAR, 0 },
    { "/", TOKEN_SLASH, 0 },
    { "%", TOKEN_PERCENT, 0 },
    { "(", TOKEN_OPEN, 0 },
    { ")", TOKEN_CLOSE, 0 },
    { ",", TOKEN_COMMA, 0 },
    { ".", TOKEN_DOT, 0 },
    { "[", TOKEN_OPEN_ITEM, 0 },
    { "]", TOKEN_CLOSE_ITEM, 0 },
    { "|", TOKEN_PIPE, 0 },
    { "}}", TOKEN_CLOSE_BRACES, 0 },
};

int tpi_expr_error(const struct lexer *lx, int code, size_t at, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    tpi_text_format(text, sizeof(text), fmt, args);
    va_end(args);
    tpi_error_set(lx->err, code, "expr", "%s", text);
    if (lx->err != NULL) {
        lx->err->line = 1;
        lx->err->column = 1;
        for (size_t i = 0; i < at && i < lx->text.len; i++) {
            bool new_line = lx->text.ptr[i] == '\n';
            lx->err->line += new_line;
            lx->err->column = new_line ? 1 : lx->err->column + 1;
        }
    }
    return code;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char) c >= 0x80;
}

static bool is_name(char c)
{
    return is_name_start(c) || is_digit(c) || c == '.';
}

/* ASCII only: the same under every locale. word is in small letters. */
static bool same_word(struct tpc_str s, const char *word)
{
    if (strlen(word) != s.len) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c >= 'A' && c <= 'Z') {
            c = (char) (c - 'A' + 'a');
        }
        if (c != word[i]) {
            return false;
        }
    }
    return true;
}

bool tpi_expr_is_word(const struct token *t, const char *word)
{
    return t->type == TOKEN_NAME && !t->quoted && same_word(t->name, word);
}

static void lex_name(struct lexer *lx, struct token *t)
{
    size_t end = lx->pos;
    while (end < lx->text.len && is_name(lx->text.ptr[end])) {
        end++;
    }
    while (lx->text.ptr[end - 1] == '.') {
        end--; /* of what comes next: pos.`a b` */
    }
    t->name = (struct tpc_str){ lx->text.ptr + lx->pos, end - lx->pos };
    t->type = TOKEN_NAME;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (same_word(t->name, words[i].text)) {
            t->type = words[i].type;
        }
    }
    lx->pos = end;
}

static int lex_quoted_name(struct lexer *lx, struct token *t)
{
    const char *from = lx->text.ptr + lx->pos + 1;
    const char *end = memchr(from, '`', lx->text.len - lx->pos - 1);
    if (end == NULL) {
        return tpi_expr_error(lx, TPC_EINVAL, lx->pos, "no closing ` of a name");
    }
    if (end == from) {
        return tpi_expr_error(lx, TPC_EINVAL, lx->pos, "empty name");
    }
    t->type = TOKEN_NAME;
    t->quoted = true;
    t->name = (struct tpc_str){ from, (size_t) (end - from) };
    lx->pos += t->name.len + 2;
    return 0;
}

static size_t digits(const struct lexer *lx, size_t at)
{
    while (at < lx->text.len && is_digit(lx->text.ptr[at])) {
        at++;
    }
    return at;
}

/* Past the fraction and the exponent that may follow the digits before `at`; 0 = malformed. */
static size_t number_tail(const struct lexer *lx, size_t at)
{
    const char *p = lx->text.ptr;
    if (at < lx->text.len && p[at] == '.') {
        size_t end = digits(lx, at + 1);
        if (end == at + 1) {
            return 0;
        }
        at = end;
    }
    if (at < lx->text.len && (p[at] == 'e' || p[at] == 'E')) {
        at++;
        if (at < lx->text.len && (p[at] == '+' || p[at] == '-')) {
            at++;
        }
        size_t end = digits(lx, at);
        if (end == at) {
            return 0;
        }
        at = end;
    }
    if (at < lx->text.len && is_name(p[at])) {
        return 0;
    }
    return at;
}

static bool small_int(const char *p, const char *end, int64_t *ret)
{
    int64_t i = 0;
    for (; p < end; p++) {
        if (__builtin_mul_overflow(i, 10, &i) || __builtin_add_overflow(i, *p - '0', &i)) {
            return false;
        }
    }
    *ret = i;
    return true;
}

static int lex_number(struct lexer *lx, struct token *t)
{
    size_t whole = digits(lx, lx->pos);
    size_t end = number_tail(lx, whole);
    if (end == 0) {
        return tpi_expr_error(lx, TPC_EINVAL, lx->pos, "malformed number");
    }
    const char *p = lx->text.ptr + lx->pos;
    t->type = TOKEN_NUMBER;
    t->value.type = TPC_INT;
    if (end != whole || !small_int(p, lx->text.ptr + whole, &t->value.as.i)) {
        t->value.type = TPC_DOUBLE;
        t->value.as.d = tpi_number_slow(p, lx->text.ptr + end);
        if (!isfinite(t->value.as.d)) {
            return tpi_expr_error(lx, TPC_EINVAL, lx->pos, "number is too large");
        }
    }
    lx->pos = end;
    return 0;
}

/* The character that stands for \c, or 0. */
static char escape(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case '\\':
    case '\'':
    case '"':
        return c;
    default:
        return 0;
    }
}

static int lex_text(struct lexer *lx, struct token *t)
{
    char quote = lx->text.ptr[lx->pos];
    size_t first = lx->pool->len;
    for (size_t i = lx->pos + 1; i < lx->text.len; i++) {
        char c = lx->text.ptr[i];
        if (c == quote) {
            t->type = TOKEN_TEXT;
            t->value.type = TPC_TEXT;
            t->value.len = (uint32_t) (lx->pool->len - first);
            t->value.as.offset = first;
            lx->pos = i + 1;
            return 0;
        }
        if (c == '\\') {
            i++;
            c = i < lx->text.len ? escape(lx->text.ptr[i]) : 0;
            if (c == 0) {
                return tpi_expr_error(lx, TPC_EINVAL, i - 1, "unknown escape in a text");
            }
        }
        int rc = tpi_buf_u8(lx->pool, (uint8_t) c);
        if (rc != 0) {
            return tpi_expr_error(lx, rc, i, "out of memory");
        }
    }
    return tpi_expr_error(lx, TPC_EINVAL, lx->pos, "no closing %c of a text", quote);
}

static int lex_sign(struct lexer *lx, struct token *t)
{
    const char *p = lx->text.ptr + lx->pos;
    size_t left = lx->text.len - lx->pos;
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        size_t n = strlen(signs[i].text);
        if (n <= left && memcmp(p, signs[i].text, n) == 0) {
            t->type = signs[i].type;
            t->x = signs[i].x;
            lx->pos += n;
            return 0;
        }
    }
    if (*p > ' ' && *p < 0x7F) {
        return tpi_expr_error(lx, TPC_EINVAL, lx->pos, "unexpected '%c'", *p);
    }
    return tpi_expr_error(lx, TPC_EINVAL, lx->pos, "unexpected byte 0x%02x", (unsigned char) *p);
}

int tpi_expr_lex(struct lexer *lx, struct token *ret)
{
    const char *p = lx->text.ptr;
    while (lx->pos < lx->text.len &&
           (p[lx->pos] == ' ' || p[lx->pos] == '\t' || p[lx->pos] == '\n' || p[lx->pos] == '\r')) {
        lx->pos++;
    }
    *ret = (struct token){ .type = TOKEN_END, .start = lx->pos };
    int rc = 0;
    if (lx->pos < lx->text.len) {
        char c = p[lx->pos];
        if (is_name_start(c)) {
            lex_name(lx, ret);
        } else if (c == '`') {
            rc = lex_quoted_name(lx, ret);
        } else if (is_digit(c)) {
            rc = lex_number(lx, ret);
        } else if (c == '"' || c == '\'') {
            rc = lex_text(lx, ret);
        } else {
            rc = lex_sign(lx, ret);
        }
    }
    ret->end = lx->pos;
    return rc;
}
