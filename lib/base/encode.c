/* Base64 and hexadecimal text. */
#include "base/crypto.h"

#include <tpcore/error.h>

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t tpi_base64_encode(const void *ptr, size_t n, char *ret)
{
    const uint8_t *p = ptr;
    char *out = ret;
    for (; n >= 3; p += 3, n -= 3) {
        uint32_t x = (uint32_t) p[0] << 16 | (uint32_t) p[1] << 8 | p[2];
        *out++ = base64_digits[x >> 18];
        *out++ = base64_digits[x >> 12 & 63];
        *out++ = base64_digits[x >> 6 & 63];
        *out++ = base64_digits[x & 63];
    }
    if (n > 0) {
        uint32_t x = (uint32_t) p[0] << 16 | (n == 2 ? (uint32_t) p[1] << 8 : 0);
        *out++ = base64_digits[x >> 18];
        *out++ = base64_digits[x >> 12 & 63];
        *out++ = n == 2 ? base64_digits[x >> 6 & 63] : '=';
        *out++ = '=';
    }
    *out = '\0';
    return (size_t) (out - ret);
}

/* Value of a digit, from ' ' on; NO = none. */
enum { NO = 255, DIGITS_FROM = 32, DIGITS_TO = 128 };

/* clang-format off */
static const uint8_t base64_values[DIGITS_TO - DIGITS_FROM] = {
    NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 62, NO, NO, NO, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, NO, NO, NO, NO, NO, NO,
    NO,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, NO, NO, NO, NO, NO,
    NO, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, NO, NO, NO, NO, NO,
};
/* clang-format on */

/* Value of a digit, or a number over 63. */
static inline uint32_t base64_value(char c)
{
    uint32_t at = (uint32_t) (unsigned char) c - DIGITS_FROM;
    return at < DIGITS_TO - DIGITS_FROM ? base64_values[at] : NO;
}

/* Four digits, of which the last `pad` are '=', to 3 - pad bytes. */
static int base64_group(const char *text, size_t pad, uint8_t *out)
{
    uint32_t x = 0;
    for (size_t i = 0; i < 4; i++) {
        uint32_t value = i < 4 - pad ? base64_value(text[i]) : 0;
        if (value > 63) {
            return TPC_EDECODE;
        }
        x = x << 6 | value;
    }
    if ((pad == 1 && (x & 0xff) != 0) || (pad == 2 && (x & 0xffff) != 0)) {
        return TPC_EDECODE; /* bits that no encoder sets: two texts for one content */
    }
    for (size_t i = 0; i < 3 - pad; i++) {
        out[i] = (uint8_t) (x >> (16 - 8 * i));
    }
    return 0;
}

/* Whole groups without padding. All values put together: over 63 if one was no digit. */
static uint32_t base64_groups(const char *text, size_t count, uint8_t *out)
{
    uint32_t any = 0;
    for (; count > 0; count--, text += 4, out += 3) {
        uint32_t a = base64_value(text[0]);
        uint32_t b = base64_value(text[1]);
        uint32_t c = base64_value(text[2]);
        uint32_t d = base64_value(text[3]);
        uint32_t x = a << 18 | b << 12 | c << 6 | d;
        any |= a | b | c | d;
        out[0] = (uint8_t) (x >> 16);
        out[1] = (uint8_t) (x >> 8);
        out[2] = (uint8_t) x;
    }
    return any;
}

int tpi_base64_decode(const char *text, size_t len, uint8_t *ret, size_t cap, size_t *ret_len)
{
    if (len % 4 != 0) {
        return TPC_EDECODE;
    }
    size_t pad = 0;
    while (len != 0 && pad < 2 && text[len - 1 - pad] == '=') {
        pad++;
    }
    size_t need = len / 4 * 3 - pad;
    if (need > cap) {
        return TPC_ETOOBIG;
    }
    size_t whole = len / 4 - (pad != 0);
    if (base64_groups(text, whole, ret) > 63 ||
        (pad != 0 && base64_group(text + whole * 4, pad, ret + whole * 3) != 0)) {
        return TPC_EDECODE;
    }
    *ret_len = need;
    return 0;
}

size_t tpi_base64url_encode(const void *ptr, size_t n, char *ret)
{
    size_t len = tpi_base64_encode(ptr, n, ret);
    while (len > 0 && ret[len - 1] == '=') {
        ret[--len] = '\0';
    }
    for (size_t i = 0; i < len; i++) {
        ret[i] = ret[i] == '+' ? '-' : ret[i] == '/' ? '_' : ret[i];
    }
    return len;
}

/* Four digits at most, as base64 has them. */
static int base64url_group(const char *text, size_t len, uint8_t *ret)
{
    char group[4] = { '=', '=', '=', '=' };
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '+' || c == '/') {
            return TPC_EDECODE;
        }
        group[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    return base64_group(group, 4 - len, ret);
}

int tpi_base64url_decode(const char *text, size_t len, uint8_t *ret, size_t cap, size_t *ret_len)
{
    size_t rest = len % 4;
    size_t need = len / 4 * 3 + (rest == 0 ? 0 : rest - 1);
    if (rest == 1) {
        return TPC_EDECODE;
    }
    if (need > cap) {
        return TPC_ETOOBIG;
    }
    for (size_t i = 0; i < len; i += 4) {
        size_t n = len - i < 4 ? len - i : 4;
        if (base64url_group(text + i, n, ret + i / 4 * 3) != 0) {
            return TPC_EDECODE;
        }
    }
    *ret_len = need;
    return 0;
}

void tpi_hex(const void *ptr, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = ptr;
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[p[i] >> 4];
        ret[2 * i + 1] = digits[p[i] & 15];
    }
    ret[2 * n] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int tpi_unhex(const char *text, size_t len, uint8_t *ret)
{
    if (len % 2 != 0) {
        return TPC_EDECODE;
    }
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_value(text[i]);
        int low = hex_value(text[i + 1]);
        if (high < 0 || low < 0) {
            return TPC_EDECODE;
        }
        ret[i / 2] = (uint8_t) (high * 16 + low);
    }
    return 0;
}
