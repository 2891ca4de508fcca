/*
 * Texts in fixed fields: cut at the border of a UTF-8 character, always with a NUL; the order of texts.
 */
#ifndef TPI_BASE_TEXT_H
#define TPI_BASE_TEXT_H

#include <stdarg.h>
#include <stddef.h>
#include <tpcore/bytes.h>
#include <tpcore/export.h>

/* Copies as much of text as fits cap bytes with the NUL; cap > 0. Returns the length copied. */
size_t tpi_text_copy(char *ret, size_t cap, const char *text);

/* vsnprintf with the same cut. Returns the length. */
size_t tpi_text_format(char *ret, size_t cap, const char *fmt, va_list args) TPC_PRINTF(3, 0);

/* Length of the first len bytes of text without a character that is cut at their end. */
size_t tpi_text_whole(const char *text, size_t len);

/* By bytes, as memcmp(); a text comes before those that begin with it. < 0, 0 or > 0. */
int tpi_text_order(struct tpc_str a, struct tpc_str b);

#endif
