/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef TPI_DATA_UTF8_H
#define TPI_DATA_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the sequence of two to four bytes at p, where *p >= 0x80; 0 if it is not well formed
 * (RFC 3629 section 4) or does not end before `end`. */
size_t tpi_utf8_step(const char *p, const char *end);

/* The character at *p < end, whose bytes are passed; a byte that begins none is taken for U+FFFD. For
 * matching: overlong forms and surrogates count as characters. */
uint32_t tpi_utf8_take(const char **p, const char *end);

/* Whether n bytes are well formed UTF-8 throughout. */
bool tpi_utf8_valid(const char *p, size_t n);

/* Writes a code point (<= 0x10FFFF, no surrogate) to out; returns its 1 to 4 bytes. */
size_t tpi_utf8_put(uint32_t code, char out[4]);

#endif
