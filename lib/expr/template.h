/*
 * Texts with values in them, compiled once:
 *
 *     {"text": "{{ device('boiler').name | upper }} is at {{ temperature | round(1) }}", "t": {{ temperature }}}
 *
 * Between {{ and }} stands an expression; behind each | a function of the language, whose first
 * argument is what stands before it. Values are escaped for the text's target; "raw" as the last
 * pipe leaves that out. {{ '{{' }} is how {{ itself is written. docs/reference/expr.md.
 *
 *     target   text, number, bool                        null     list, map
 *     plain    as it is; a double without fraction 31    nothing  JSON
 *     JSON     inside "": escaped; else a JSON value     null, inside "" nothing
 *     URL      percent-encoded (RFC 3986 section 2.3)    nothing  JSON, percent-encoded
 */
#ifndef TPI_EXPR_TEMPLATE_H
#define TPI_EXPR_TEMPLATE_H

#include "base/buf.h"
#include "expr/expr.h"

struct tpi_template;

enum tpi_template_target { TPI_TEMPLATE_PLAIN = 0, TPI_TEMPLATE_JSON = 1, TPI_TEMPLATE_URL = 2 };

enum {
    TPI_TEMPLATE_MAX_TEXT = 65536, /* bytes of source */
    TPI_TEMPLATE_MAX_PARTS = 1024  /* texts and values */
};

/*
 * Returns 0, TPC_EINVAL (err has line and column), TPC_ETOOBIG (a limit above or of expressions) or
 * TPC_ENOMEM. text is not kept.
 */
int tpi_template_compile(const struct tpc_allocator *alloc, struct tpc_str text,
                         const struct tpi_expr_scope *scope, enum tpi_template_target target,
                         struct tpc_error *err, struct tpi_template **ret);

/* NULL is fine. */
void tpi_template_destroy(struct tpi_template *t);

/* Bytes that it takes in memory, with its expressions. */
size_t tpi_template_bytes(const struct tpi_template *t);

/* The resolver's numbers of each of its values: `fn` is called for every one, some perhaps more than
 * once. */
void tpi_template_names(const struct tpi_template *t, void (*fn)(void *user, uint32_t index),
                        void *user);

/* Its parts, and the expression of one: NULL = it is a text. Borrowed. */
uint32_t tpi_template_parts(const struct tpi_template *t);
struct tpi_expr *tpi_template_expr(const struct tpi_template *t, uint32_t part);

/* The value itself if the template is one {{ .. }} and nothing else; false = it is not. As
 * tpi_expr_eval(). */
bool tpi_template_value(const struct tpi_template *t, const struct tpi_expr_host *host, void *user,
                        struct tpi_expr_scratch *scratch, struct tpc_value *ret);

/*
 * Appends the text to out, whose limit bounds it. scratch may be NULL. Any thread, each with its own
 * scratch. Returns 0, TPC_ETOOBIG, TPC_EINVAL (a tree that is too deep for JSON) or TPC_ENOMEM; out
 * is then as before.
 */
int tpi_template_render(const struct tpi_template *t, const struct tpi_expr_host *host, void *user,
                        struct tpi_expr_scratch *scratch, struct tpi_buf *out);

#endif
