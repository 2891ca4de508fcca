/*
 * The inner steps of reading JSON, in place: for json_read.c and for the reader that goes straight
 * to points (model/direct_json.c). Define TPI_SCAN_PORTABLE to leave the machine's own
 * instructions out; tests read everything both ways.
 */
#ifndef TPI_DATA_JSON_SCAN_H
#define TPI_DATA_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "data/utf8.h"

#if defined(__SSE2__) && !defined(TPI_SCAN_PORTABLE)
#define TPI_SCAN_SSE2 1
#include <emmintrin.h>
#else
#define TPI_SCAN_SSE2 0
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ &&                        \
    !defined(TPI_SCAN_PORTABLE)
#define TPI_SCAN_WORDS 1
#else
#define TPI_SCAN_WORDS 0
#endif

/* Small functions with few callers; GCC stops inlining such too early. */
#define TPI_HOT static inline __attribute__((always_inline))

TPI_HOT const char *tpi_scan_blanks(const char *p, const char *end)
{
    while (p < end && (unsigned char) *p <= ' ' &&
           (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    return p;
}

TPI_HOT bool tpi_scan_is_plain(char c)
{
    return (unsigned char) c >= 0x20 && (unsigned char) c < 0x80 && c != '"' && c != '\\';
}

/* First byte at or after p that is a quote, a backslash, a control byte or not ASCII. */
TPI_HOT const char *tpi_scan_plain(const char *p, const char *end)
{
#if TPI_SCAN_SSE2
    while (end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *) (const void *) p);
        /* Signed: bytes from 0x80 on are negative, so below a blank too. */
        __m128i odd = _mm_cmplt_epi8(x, _mm_set1_epi8(0x20));
        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(x, _mm_set1_epi8('"')));
        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
        unsigned int mask = (unsigned int) _mm_movemask_epi8(odd);
        if (mask != 0) {
            return p + __builtin_ctz(mask);
        }
        p += 16;
    }
#endif
    while (p < end && tpi_scan_is_plain(*p)) {
        p++;
    }
    return p;
}

/* First byte at or after p that is neither plain nor a part of well-formed UTF-8: a quote, a
 * backslash, a control byte, a fault, or the end. */
TPI_HOT const char *tpi_scan_text(const char *p, const char *end)
{
    for (;;) {
        p = tpi_scan_plain(p, end);
        if (p == end || (unsigned char) *p < 0x80) {
            return p;
        }
        do {
            const unsigned char *u = (const unsigned char *) p;
            /* Three bytes that need no further look: most scripts beside Latin. */
            if (end - p >= 3 && (u[0] & 0xF0) == 0xE0 && u[0] != 0xE0 && u[0] != 0xED &&
                (u[1] & 0xC0) == 0x80 && (u[2] & 0xC0) == 0x80) {
                p += 3;
                continue;
            }
            size_t step = tpi_utf8_step(p, end);
            if (step == 0) {
                return p;
            }
            p += step;
        } while (p < end && (unsigned char) *p >= 0x80);
    }
}

TPI_HOT bool tpi_scan_is_digit(const char *p, const char *end)
{
    return p < end && (unsigned char) (*p - '0') < 10;
}

#if TPI_SCAN_WORDS

/* Of eight bytes, first one lowest, from which '0' was taken by xor: a byte's highest bit is set
 * where there was no digit. True up to the first of these and a '.', bits above may be wrong. */
TPI_HOT uint64_t tpi_scan_over_nine(uint64_t x)
{
    return ((x + UINT64_C(0x7676767676767676)) | x) & UINT64_C(0x8080808080808080);
}

/* The number of eight digits from which '0' was taken off, first one lowest (Lemire, "number
 * parsing at a gigabyte per second", 2021, section 4). */
TPI_HOT uint64_t tpi_scan_eight(uint64_t x)
{
    x = x * 10 + (x >> 8);
    uint64_t low = (x & 0x000000FF000000FFu) * 0x000F424000000064u;
    uint64_t rest = ((x >> 16) & 0x000000FF000000FFu) * 0x0000271000000001u;
    return (low + rest) >> 32;
}

#endif

/* Eight digits at once, where there are so many. */
TPI_HOT bool tpi_scan_eight_digits(const char *p, uint64_t *ret)
{
#if TPI_SCAN_WORDS
    uint64_t x;
    memcpy(&x, p, 8);
    x ^= UINT64_C(0x3030303030303030);
    if (tpi_scan_over_nine(x) != 0) {
        return false;
    }
    *ret = tpi_scan_eight(x);
    return true;
#else
    (void) p;
    (void) ret;
    return false;
#endif
}

/* A run of digits into *m, which wraps around after 19 of them: the caller counts. */
TPI_HOT const char *tpi_scan_digits(const char *p, const char *end, uint64_t *m)
{
    uint64_t eight;
    while (end - p >= 8 && (unsigned char) (p[7] - '0') < 10 && tpi_scan_eight_digits(p, &eight)) {
        *m = *m * 100000000 + eight;
        p += 8;
    }
    while (tpi_scan_is_digit(p, end)) {
        *m = *m * 10 + (uint64_t) (*p++ - '0');
    }
    return p;
}

#endif
