/* Decimal text to double and back, right to the last bit and the same under every locale. */
#ifndef TPI_DATA_NUMBER_H
#define TPI_DATA_NUMBER_H

#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Nearest double (ties to even) of mantissa * 10^exp10, for a mantissa that holds every digit.
 * Exact without a table of powers for |exp10| <= 27. Returns false if it cannot tell here: then
 * tpi_number_slow() can.
 */
bool tpi_number_fast(uint64_t mantissa, int32_t exp10, double *ret);

/* 10^n for n <= 22: the powers of ten that a double holds exactly. */
static inline double tpi_pow10_exact(uint32_t n)
{
    static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    return powers[n];
}

/* The same, with the common case in place: both factors are exact, so that one operation rounds
 * once (Clinger, PLDI 1990). Where doubles are computed in a wider format it is left out. */
static inline bool tpi_number_exact(uint64_t mantissa, int32_t exp10, double *ret)
{
#if FLT_EVAL_METHOD == 0
    if (mantissa <= (uint64_t) 1 << 53 && exp10 >= -22 && exp10 <= 22) {
        double d = (double) mantissa;
        *ret = exp10 < 0 ? d / tpi_pow10_exact((uint32_t) -exp10)
                         : d * tpi_pow10_exact((uint32_t) exp10);
        return true;
    }
#endif
    return tpi_number_fast(mantissa, exp10, ret);
}

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
