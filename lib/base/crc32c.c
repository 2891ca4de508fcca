#include "base/crc32c.h"

#include <string.h>

#include "base/crc32c_table.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

static uint64_t load64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof(x));
    return x;
}

uint32_t tpi_crc32c_table(uint32_t crc, const void *ptr, size_t n)
{
    const uint8_t *p = ptr;
    crc = ~crc;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t x = load64(p) ^ crc;
        crc = crc32c_rows[7][x & 255] ^ crc32c_rows[6][x >> 8 & 255] ^
              crc32c_rows[5][x >> 16 & 255] ^ crc32c_rows[4][x >> 24 & 255] ^
              crc32c_rows[3][x >> 32 & 255] ^ crc32c_rows[2][x >> 40 & 255] ^
              crc32c_rows[1][x >> 48 & 255] ^ crc32c_rows[0][x >> 56];
    }
#endif
    for (; n > 0; p++, n--) {
        crc = crc >> 8 ^ crc32c_rows[0][(crc ^ *p) & 255];
    }
    return ~crc;
}

#if defined(__x86_64__)

/*
 * The instruction has a latency of three cycles and starts one each cycle, so three lanes run side
 * by side. A lane's CRC is moved over the `distance` bytes that follow it by a carry-less product
 * with x^(8 * distance - 33) mod P: the crc32 of the 64-bit product multiplies by the missing x^33.
 * (Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011.)
 */
enum { LONG_LANE = 1024, SHORT_LANE = 128 };

struct shift {
    size_t lane_bytes;
    uint32_t by_one; /* x^(8 * lane - 33) mod P, reflected */
    uint32_t by_two; /* x^(16 * lane - 33) mod P */
};

static const struct shift shifts[] = {
    { LONG_LANE, 0x170076fa, 0xa51b6135 },
    { SHORT_LANE, 0x0d3b6092, 0xb9e02b86 },
};

__attribute__((target("sse4.2,pclmul"))) static uint64_t move(uint64_t crc, uint32_t by)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long) crc),
                                           _mm_cvtsi64_si128((long long) by), 0);
    return (uint64_t) _mm_cvtsi128_si64(product);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_sse(uint32_t first,
                                                                    const uint8_t *p, size_t n)
{
    uint64_t crc = ~first;
    for (size_t k = 0; k < sizeof(shifts) / sizeof(shifts[0]); k++) {
        const size_t lane = shifts[k].lane_bytes;
        for (; n >= 3 * lane; p += 3 * lane, n -= 3 * lane) {
            uint64_t b = 0, c = 0;
            for (size_t i = 0; i < lane; i += 8) {
                crc = _mm_crc32_u64(crc, load64(p + i));
                b = _mm_crc32_u64(b, load64(p + lane + i));
                c = _mm_crc32_u64(c, load64(p + 2 * lane + i));
            }
            crc = _mm_crc32_u64(0, move(crc, shifts[k].by_two) ^ move(b, shifts[k].by_one)) ^ c;
        }
    }
    for (; n >= 8; p += 8, n -= 8) {
        crc = _mm_crc32_u64(crc, load64(p));
    }
    for (; n > 0; p++, n--) {
        crc = _mm_crc32_u8((uint32_t) crc, *p);
    }
    return ~(uint32_t) crc;
}

uint32_t tpi_crc32c(uint32_t crc, const void *p, size_t n)
{
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        return crc32c_sse(crc, p, n);
    }
    return tpi_crc32c_table(crc, p, n);
}

#elif defined(__aarch64__) && defined(__linux__)

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif

/* By hand, because arm_acle.h of clang 14 hides its functions without -march=armv8-a+crc. */
static uint32_t crc32c_arm(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(load64(p)));
    }
    for (; n > 0; p++, n--) {
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t) *p));
    }
    return ~crc;
}

uint32_t tpi_crc32c(uint32_t crc, const void *p, size_t n)
{
    if ((getauxval(AT_HWCAP) & HWCAP_CRC32) != 0) {
        return crc32c_arm(crc, p, n);
    }
    return tpi_crc32c_table(crc, p, n);
}

#else

uint32_t tpi_crc32c(uint32_t crc, const void *p, size_t n)
{
    return tpi_crc32c_table(crc, p, n);
}

#endif
