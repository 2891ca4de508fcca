#include "base/hash.h"

#define PRIME_1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME_3 UINT64_C(0x165667B19E3779F9)
#define PRIME_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME_5 UINT64_C(0x27D4EB2F165667C5)

static uint64_t rotate(uint64_t x, unsigned int by)
{
    return x << by | x >> (64 - by);
}

static uint64_t lane(uint64_t acc, uint64_t input)
{
    return rotate(acc + input * PRIME_2, 31) * PRIME_1;
}

static uint64_t merge(uint64_t acc, uint64_t v)
{
    return (acc ^ lane(0, v)) * PRIME_1 + PRIME_4;
}

/* Reads byte by byte so that the value does not depend on the machine's byte order; gcc and clang
 * make one load of it. */
static uint64_t load64(const uint8_t *p)
{
    uint64_t x = 0;
    for (unsigned int i = 0; i < 8; i++) {
        x |= (uint64_t) p[i] << (8 * i);
    }
    return x;
}

static uint64_t load32(const uint8_t *p)
{
    return (uint64_t) p[0] | (uint64_t) p[1] << 8 | (uint64_t) p[2] << 16 | (uint64_t) p[3] << 24;
}

static uint64_t tail(uint64_t h, const uint8_t *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        h = rotate(h ^ lane(0, load64(p)), 27) * PRIME_1 + PRIME_4;
    }
    if (n >= 4) {
        h = rotate(h ^ (load32(p) * PRIME_1), 23) * PRIME_2 + PRIME_3;
        p += 4;
        n -= 4;
    }
    for (; n > 0; p++, n--) {
        h = rotate(h ^ (*p * PRIME_5), 11) * PRIME_1;
    }
    h = (h ^ h >> 33) * PRIME_2;
    h = (h ^ h >> 29) * PRIME_3;
    return h ^ h >> 32;
}

uint64_t tpi_hash(const void *ptr, size_t n, uint64_t seed)
{
    const uint8_t *p = ptr;
    uint64_t total = n;
    if (n < 32) {
        return tail(seed + PRIME_5 + total, p, n);
    }
    uint64_t a = seed + PRIME_1 + PRIME_2, b = seed + PRIME_2, c = seed, d = seed - PRIME_1;
    for (; n >= 32; p += 32, n -= 32) {
        a = lane(a, load64(p));
        b = lane(b, load64(p + 8));
        c = lane(c, load64(p + 16));
        d = lane(d, load64(p + 24));
    }
    uint64_t h = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
    h = merge(merge(merge(merge(h, a), b), c), d);
    return tail(h + total, p, n);
}

uint64_t tpi_hash64(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}
