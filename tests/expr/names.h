/* The names that expressions of these tests know, and their values. */
#ifndef EXPR_NAMES_H
#define EXPR_NAMES_H

#include "expr/expr.h"

/* All that a host can offer. */
extern const struct tpi_expr_scope names_scope;
extern const struct tpi_expr_host names_host;

/* A name and the JSON of its result. */
struct row {
    const char *text;
    const char *result;
};

/* Each text with all features and a scratch of 256 bytes. */
void names_check(const struct row *rows, size_t count);
#define NAMES_CHECK(rows) names_check(rows, sizeof(rows) / sizeof((rows)[0]))

/* What is refused: column in line 1, and the reason. */
struct refused {
    const char *text;
    uint32_t column;
    const char *reason;
};
void names_refuse(const struct refused *rows, size_t count);
#define NAMES_REFUSE(rows) names_refuse(rows, sizeof(rows) / sizeof((rows)[0]))

#endif
