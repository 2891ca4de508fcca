/* Decimal text to double and back, right to the last bit and the same under every locale. */
#ifndef TPI_DATA_NUMBER_H
#define TPI_DATA_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Nearest double (ties to even) of mantissa * 10^exp10, for a mantissa that holds every digit.
 * Exact without a table of powers for |exp10| <= 27. Returns false if it cannot tell here: then
 * tpi_number_slow() can.
 */
bool tpi_number_fast(uint64_t mantissa, int32_t exp10, double *ret);

/*
 * Nearest double of any JSON number [p, end) without its sign. Returns infinity when it is beyond
 * double. Goes through strtod() with the decimal point taken out, so the locale plays no part.
 */
double tpi_number_slow(const char *p, const char *end);

enum { TPI_NUMBER_TEXT_BYTES = 32 };

/*
 * Writes a finite double with the fewest of 15 to 17 digits that read back the same; always with a
 * point or an exponent, so that it reads back as a double. No NUL. Returns the bytes written.
 */
size_t tpi_number_print(double d, char out[TPI_NUMBER_TEXT_BYTES]);

/* Writes an integer in decimal; no NUL. Returns the bytes written (at most 20). */
size_t tpi_number_print_int(int64_t i, char out[TPI_NUMBER_TEXT_BYTES]);

#endif
