/*
 * Regular expressions without surprises: a pattern becomes a program whose states are all followed
 * at once (Thompson 1968; Pike's simulation without submatches), so a search takes at most
 * length of the text * length of the program steps, whatever the pattern. It allocates nothing.
 *
 *     literals, ., [a-z_] [^..], \d \w \s and \D \W \S (ASCII), ^ $ (of the text), ( ) (?: ) |,
 *     * + ? {m} {m,} {m,n}, each with a ? behind it, which changes nothing; \ before any other sign
 *
 * Characters are those of UTF-8. There are no back references and no look-around.
 */
#ifndef TPI_EXPR_REGEXP_H
#define TPI_EXPR_REGEXP_H

#include "base/buf.h"

enum {
    TPI_REGEXP_MAX_WORDS = 512, /* of a program */
    TPI_REGEXP_MAX_DEPTH = 16   /* parentheses inside one another */
};

/* Appends the program, words of 8 bytes. Returns 0, TPC_EINVAL or TPC_ETOOBIG (what is wrong at which
 * byte of the pattern) or TPC_ENOMEM; out may then have more than before. */
int tpi_regexp_compile(struct tpc_str pattern, struct tpi_buf *out, size_t *ret_at,
                       const char **ret_what);

/* Whether the pattern is found anywhere in the text. program: what compile() made, of any alignment. */
bool tpi_regexp_found(struct tpc_str program, struct tpc_str text);

/* What patterns of any engine have in common. \d \w \s as ranges, two characters each; 0 if c is none of
 * them. */
uint32_t tpi_regexp_class(char c, const char **ret);
/* The character that stands behind a backslash, *p < end; -1, and *p stays, if there is none such. */
int64_t tpi_regexp_escape(const char **p, const char *end);

#endif
