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

/* Value of a digit, or a number over 63. */
static uint32_t base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t) (c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t) (c - 'a') + 26;
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t) (c - '0') + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
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
    for (size_t i = 0; i < len; i += 4) {
        if (base64_group(text + i, i + 4 == len ? pad : 0, ret + i / 4 * 3) != 0) {
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
