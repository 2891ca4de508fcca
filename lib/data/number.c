#include "data/number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SIZEOF_INT128__

__extension__ typedef unsigned __int128 wide;

enum { MAX_POW5 = 27 }; /* the largest power of five below 2^63 */

static uint64_t pow5(uint32_t n)
{
    uint64_t r = 1;
    uint64_t base = 5;
    for (; n != 0; n >>= 1) {
        if (n & 1) {
            r *= base;
        }
        base *= base;
    }
    return r;
}

static int leading_zeros(wide n)
{
    uint64_t high = (uint64_t) (n >> 64);
    return high != 0 ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t) n);
}

/* Nearest double of (n + something in [0, 1) if sticky) * 2^exp2; n has over 54 bits if sticky. */
static double round_wide(wide n, bool sticky, int exp2)
{
    int bits = 128 - leading_zeros(n);
    if (bits <= 53) {
        return ldexp((double) (uint64_t) n, exp2);
    }
    int shift = bits - 53;
    wide lost = n & (((wide) 1 << shift) - 1);
    wide half = (wide) 1 << (shift - 1);
    uint64_t m = (uint64_t) (n >> shift);
    if (lost > half || (lost == half && (sticky || (m & 1) != 0))) {
        m++;
    }
    return ldexp((double) m, exp2 + shift);
}

static bool wide_double(uint64_t mantissa, int32_t exp10, double *ret)
{
    if (exp10 < -MAX_POW5 || exp10 > MAX_POW5) {
        return false;
    }
    if (exp10 >= 0) {
        *ret = round_wide((wide) mantissa * pow5((uint32_t) exp10), false, exp10);
        return true;
    }
    /* The dividend's top bit is set and the divisor is below 2^63: the quotient has 65 bits. */
    int shift = leading_zeros(mantissa);
    wide dividend = (wide) mantissa << shift;
    uint64_t divisor = pow5((uint32_t) -exp10);
    wide quotient = dividend / divisor;
    bool sticky = quotient * divisor != dividend;
    *ret = round_wide(quotient, sticky, exp10 - shift);
    return true;
}

/*
 * The `precision` significant digits of a positive double as one integer, rounded as printf does
 * (exactly, ties to even), and the exponent of the first. Works where the power of ten that makes
 * an integer of it is 10^0 to 10^27: between about 1e-10 and 1e15.
 */
static bool wide_digits(double d, int precision, uint64_t *ret_digits, int *ret_exp10)
{
    int exp2;
    uint64_t mantissa = (uint64_t) ldexp(frexp(d, &exp2), 53);
    int exp10 = (int) floor((exp2 - 1) * 0.30102999566398120);
    uint64_t limit = pow5((uint32_t) precision) << precision;
    /* The estimate is the exponent or one less: then there is a digit too many. */
    for (;; exp10++) {
        int k = precision - 1 - exp10;
        int shift = 53 - exp2 - k;
        if (k < 0 || k > MAX_POW5 || shift <= 0 || shift > 127) {
            return false;
        }
        wide scaled = (wide) mantissa * pow5((uint32_t) k);
        wide digits = scaled >> shift;
        wide lost = scaled & (((wide) 1 << shift) - 1);
        wide half = (wide) 1 << (shift - 1);
        digits += lost > half || (lost == half && (digits & 1) != 0);
        if (digits < limit) {
            *ret_digits = (uint64_t) digits;
            *ret_exp10 = exp10;
            return true;
        }
    }
}

#else

static bool wide_double(uint64_t mantissa, int32_t exp10, double *ret)
{
    (void) mantissa;
    (void) exp10;
    (void) ret;
    return false;
}

static bool wide_digits(double d, int precision, uint64_t *ret_digits, int *ret_exp10)
{
    (void) d;
    (void) precision;
    (void) ret_digits;
    (void) ret_exp10;
    return false;
}

#endif

bool tpi_number_fast(uint64_t mantissa, int32_t exp10, double *ret)
{
    if (mantissa == 0) {
        *ret = 0.0;
        return true;
    }
    return wide_double(mantissa, exp10, ret);
}

enum {
    SLOW_DIGITS = 780,   /* a double's halfway point has at most 767 significant digits */
    SLOW_EXP_MAX = 99999 /* far beyond double in either direction */
};

static int32_t read_exponent(const char *p, const char *end)
{
    bool negative = p < end && *p == '-';
    int32_t e = 0;
    for (; p < end; p++) {
        if (*p >= '0' && *p <= '9' && e < SLOW_EXP_MAX) {
            e = e * 10 + (*p - '0');
        }
    }
    return negative ? -e : e;
}

double tpi_number_slow(const char *p, const char *end)
{
    char text[SLOW_DIGITS + 24];
    size_t n = 0;
    int64_t exp10 = 0;
    bool fraction = false;
    bool sticky = false;
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (n < SLOW_DIGITS) {
            if (n != 0 || *p != '0') {
                text[n++] = *p;
            }
            exp10 -= fraction;
        } else {
            sticky = sticky || *p != '0';
            exp10 += !fraction;
        }
    }
    if (sticky) {
        /* Whatever was cut off only matters as being above zero. */
        text[n++] = '1';
        exp10--;
    }
    if (n == 0) {
        return 0.0;
    }
    if (p < end) {
        exp10 += read_exponent(p + 1, end);
    }
    snprintf(text + n, sizeof(text) - n, "e%lld", (long long) exp10);
    int saved = errno;
    double d = strtod(text, NULL);
    errno = saved;
    return d;
}

size_t tpi_number_print_int(int64_t i, char out[TPI_NUMBER_TEXT_BYTES])
{
    char digits[20];
    size_t n = 0;
    size_t at = 0;
    uint64_t u = i < 0 ? (uint64_t) 0 - (uint64_t) i : (uint64_t) i;
    do {
        digits[n++] = (char) ('0' + u % 10);
        u /= 10;
    } while (u != 0);
    if (i < 0) {
        out[at++] = '-';
    }
    while (n > 0) {
        out[at++] = digits[--n];
    }
    return at;
}

/* Decimals of at most 15 digits: n / 10^k divides exact numbers, so it rounds as reading does, and
 * 15 digits never stand for two doubles. */
static size_t print_short(double d, char *out)
{
    for (uint32_t k = 0; k <= 15; k++) {
        double scaled = d * tpi_pow10_exact(k);
        if (scaled >= 1e15) {
            return 0;
        }
        uint64_t n = (uint64_t) (scaled + 0.5);
        if (n < 1000000000000000u && (double) n / tpi_pow10_exact(k) == d) {
            uint64_t scale = 1;
            for (uint32_t i = 0; i < k; i++) {
                scale *= 10;
            }
            size_t at = tpi_number_print_int((int64_t) (n / scale), out);
            uint64_t rest = n % scale;
            size_t decimals = k == 0 ? 1 : k;
            out[at] = '.';
            for (size_t i = decimals; i > 0; i--) {
                out[at + i] = (char) ('0' + rest % 10);
                rest /= 10;
            }
            return at + 1 + decimals;
        }
    }
    return 0;
}

/* "1234" with the point after the first digit moved by exp10: plain for small exponents. */
static size_t place_point(const char *digits, size_t n, int exp10, char *out)
{
    size_t at = 0;
    if (exp10 < -5 || exp10 > 16) {
        out[at++] = digits[0];
        if (n > 1) {
            out[at++] = '.';
            memcpy(out + at, digits + 1, n - 1);
            at += n - 1;
        }
        out[at++] = 'e';
        return at + tpi_number_print_int(exp10, out + at);
    }
    if (exp10 < 0) {
        out[at++] = '0';
        out[at++] = '.';
        for (int i = -1; i > exp10; i--) {
            out[at++] = '0';
        }
        memcpy(out + at, digits, n);
        return at + n;
    }
    for (size_t i = 0; i <= (size_t) exp10; i++) {
        out[at++] = i < n ? digits[i] : '0';
    }
    out[at++] = '.';
    if (n <= (size_t) exp10 + 1) {
        out[at++] = '0';
        return at;
    }
    memcpy(out + at, digits + exp10 + 1, n - (size_t) exp10 - 1);
    return at + n - (size_t) exp10 - 1;
}

/* Significant digits of a positive double; where printf gives them, the locale's point is passed
 * over. */
static size_t take_digits(double d, int precision, char *digits, int *exp10)
{
    char text[64];
    uint64_t whole;
    size_t n = 0;
    if (wide_digits(d, precision, &whole, exp10)) {
        n = tpi_number_print_int((int64_t) whole, digits);
    } else {
        snprintf(text, sizeof(text), "%.*e", precision - 1, d);
        const char *p = text;
        for (; *p != 'e'; p++) {
            if (*p >= '0' && *p <= '9') {
                digits[n++] = *p;
            }
        }
        *exp10 = (int) strtol(p + 1, NULL, 10);
    }
    while (n > 1 && digits[n - 1] == '0') {
        n--;
    }
    return n;
}

static double digits_double(const char *digits, size_t n, int exp10)
{
    uint64_t m = 0;
    for (size_t i = 0; i < n; i++) {
        m = m * 10 + (uint64_t) (digits[i] - '0');
    }
    int shift = exp10 - (int) (n - 1);
    double d;
    if (tpi_number_exact(m, shift, &d)) {
        return d;
    }
    char text[48];
    int len = snprintf(text, sizeof(text), "%llue%d", (unsigned long long) m, shift);
    return tpi_number_slow(text, text + len);
}

size_t tpi_number_print(double d, char out[TPI_NUMBER_TEXT_BYTES])
{
    size_t at = 0;
    if (signbit(d)) {
        out[at++] = '-';
        d = -d;
    }
    size_t n = d < 1e15 ? print_short(d, out + at) : 0;
    if (n != 0) {
        return at + n;
    }
    char digits[TPI_NUMBER_TEXT_BYTES];
    int exp10 = 0;
    for (int precision = 15; precision <= 17; precision++) {
        n = take_digits(d, precision, digits, &exp10);
        if (precision == 17 || digits_double(digits, n, exp10) == d) {
            break;
        }
    }
    return at + place_point(digits, n, exp10, out + at);
}
