#include "data/utf8.h"

#include <string.h>

static bool follows(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

size_t tpi_utf8_step(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *) p;
    size_t left = (size_t) (end - p);
    unsigned char c = u[0];
    if (c < 0xC2 || left < 2) {
        return 0;
    }
    if (c < 0xE0) {
        return follows(u[1]) ? 2 : 0;
    }
    if (c < 0xF0) {
        if (left < 3 || !follows(u[1]) || !follows(u[2])) {
            return 0;
        }
        bool overlong = c == 0xE0 && u[1] < 0xA0;
        bool surrogate = c == 0xED && u[1] > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    if (c > 0xF4 || left < 4 || !follows(u[1]) || !follows(u[2]) || !follows(u[3])) {
        return 0;
    }
    bool overlong = c == 0xF0 && u[1] < 0x90;
    bool beyond = c == 0xF4 && u[1] > 0x8F;
    return overlong || beyond ? 0 : 4;
}

uint32_t tpi_utf8_take(const char **p, const char *end)
{
    unsigned char c = (unsigned char) *(*p)++;
    uint32_t more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
    if (c < 0x80) {
        return c;
    }
    if (more == 0 || c > 0xF4 || end - *p < (ptrdiff_t) more) {
        return 0xFFFD;
    }
    uint32_t code = c & (0x3FU >> more);
    for (uint32_t i = 0; i < more; i++) {
        unsigned char next = (unsigned char) (*p)[i];
        if ((next & 0xC0) != 0x80) {
            return 0xFFFD;
        }
        code = code << 6 | (next & 0x3F);
    }
    *p += more;
    return code > 0x10FFFF ? 0xFFFD : code;
}

bool tpi_utf8_valid(const char *p, size_t n)
{
    const char *end = p + n;
    while (p < end) {
        uint64_t word;
        if (end - p >= 8) {
            memcpy(&word, p, 8);
            if ((word & 0x8080808080808080u) == 0) {
                p += 8;
                continue;
            }
        }
        if ((unsigned char) *p < 0x80) {
            p++;
            continue;
        }
        size_t step = tpi_utf8_step(p, end);
        if (step == 0) {
            return false;
        }
        p += step;
    }
    return true;
}

size_t tpi_utf8_put(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char) code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char) (0xC0 | (code >> 6));
        out[1] = (char) (0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char) (0xE0 | (code >> 12));
        out[1] = (char) (0x80 | ((code >> 6) & 0x3F));
        out[2] = (char) (0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char) (0xF0 | (code >> 18));
    out[1] = (char) (0x80 | ((code >> 12) & 0x3F));
    out[2] = (char) (0x80 | ((code >> 6) & 0x3F));
    out[3] = (char) (0x80 | (code & 0x3F));
    return 4;
}
