#include "base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

size_t tpi_text_whole(const char *text, size_t len)
{
    size_t start = len;
    while (start > 0 && len - start < 4) {
        uint8_t c = (uint8_t) text[--start];
        if ((c & 0xc0) == 0x80) {
            continue;
        }
        size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return start + need > len ? start : len;
    }
    return len; /* not UTF-8: cut anywhere */
}

size_t tpi_text_copy(char *ret, size_t cap, const char *text)
{
    size_t len = strnlen(text, cap);
    if (len == cap) {
        len = tpi_text_whole(text, cap - 1);
    }
    memmove(ret, text, len);
    ret[len] = '\0';
    return len;
}

size_t tpi_text_format(char *ret, size_t cap, const char *fmt, va_list args)
{
    int n = vsnprintf(ret, cap, fmt, args);
    if (n < 0) {
        ret[0] = '\0';
        return 0;
    }
    size_t len = (size_t) n;
    if (len >= cap) {
        len = tpi_text_whole(ret, cap - 1);
        ret[len] = '\0';
    }
    return len;
}

int tpi_text_order(struct tpc_str a, struct tpc_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}
