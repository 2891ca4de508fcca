#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base_suites.h"

static const uint64_t numbers[] = { 0,          1,         127,        128,        16383, 16384,
                                    UINT32_MAX, INT64_MAX, UINT64_MAX, 1ULL << 63, 300 };

START_TEST(numbers_come_back_as_they_were_put)
{
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t x = numbers[i];
        tk_ok(tpi_buf_u8(&b, (uint8_t) x));
        tk_ok(tpi_buf_u16(&b, (uint16_t) x));
        tk_ok(tpi_buf_u32(&b, (uint32_t) x));
        tk_ok(tpi_buf_u64(&b, x));
        size_t before = b.len;
        tk_ok(tpi_buf_varint(&b, x));
        ck_assert_uint_eq(b.len - before, tpi_varint_size(x));
        tk_ok(tpi_buf_zigzag(&b, (int64_t) x));
    }
    struct tpi_reader r;
    tpi_reader_init(&r, b.ptr, b.len);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t x = numbers[i];
        ck_assert_uint_eq(tpi_read_u8(&r), (uint8_t) x);
        ck_assert_uint_eq(tpi_read_u16(&r), (uint16_t) x);
        ck_assert_uint_eq(tpi_read_u32(&r), (uint32_t) x);
        ck_assert_uint_eq(tpi_read_u64(&r), x);
        ck_assert_uint_eq(tpi_read_varint(&r), x);
        ck_assert_int_eq(tpi_read_zigzag(&r), (int64_t) x);
    }
    ck_assert_uint_eq(tpi_reader_left(&r), 0);
    ck_assert(!r.bad);
    tpi_buf_fini(&b);
}
END_TEST

START_TEST(bytes_are_little_endian)
{
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    tk_ok(tpi_buf_u16(&b, 0x0102));
    tk_ok(tpi_buf_u32(&b, 0x01020304));
    tk_ok(tpi_buf_varint(&b, 300));
    tk_ok(tpi_buf_zigzag(&b, -2));
    static const uint8_t expected[] = { 2, 1, 4, 3, 2, 1, 0xac, 0x02, 3 };
    ck_assert_uint_eq(b.len, sizeof(expected));
    ck_assert_mem_eq(b.ptr, expected, sizeof(expected));
    tpi_buf_fini(&b);
}
END_TEST

START_TEST(reader_stays_bad_after_the_end)
{
    static const uint8_t three[3] = { 1, 2, 3 };
    struct tpi_reader r;
    tpi_reader_init(&r, three, 3);
    ck_assert_ptr_nonnull(tpi_read_bytes(&r, 0));
    ck_assert_uint_eq(tpi_read_u32(&r), 0);
    ck_assert(r.bad);
    ck_assert_uint_eq(tpi_read_u8(&r), 0);
    ck_assert_ptr_null(tpi_read_bytes(&r, 0));
    ck_assert_uint_eq(tpi_reader_left(&r), 0);
    tpi_reader_init(&r, NULL, 0);
    ck_assert_uint_eq(tpi_read_u8(&r), 0);
    ck_assert(r.bad);
}
END_TEST

START_TEST(varint_over_64_bits_or_cut_is_refused)
{
    static const uint8_t full[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 };
    static const uint8_t over[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 };
    struct tpi_reader r;
    tpi_reader_init(&r, full, sizeof(full));
    ck_assert_uint_eq(tpi_read_varint(&r), UINT64_MAX);
    ck_assert(!r.bad);
    tpi_reader_init(&r, over, sizeof(over));
    ck_assert_uint_eq(tpi_read_varint(&r), 0);
    ck_assert(r.bad);
    for (size_t n = 0; n < sizeof(full); n++) {
        tpi_reader_init(&r, full, n);
        ck_assert_uint_eq(tpi_read_varint(&r), 0);
        ck_assert(r.bad);
    }
}
END_TEST

START_TEST(limit_is_exact_and_keeps_the_content)
{
    struct tk_alloc a;
    struct tpi_buf b;
    tk_alloc_init(&a);
    for (size_t limit = 1; limit < 600; limit += 37) {
        tpi_buf_init(&b, &a.base, limit);
        for (size_t i = 0; i < limit; i++) {
            tk_ok(tpi_buf_u8(&b, (uint8_t) i));
        }
        tk_fails(TPC_ETOOBIG, tpi_buf_u8(&b, 0));
        tk_fails(TPC_ETOOBIG, tpi_buf_printf(&b, "x"));
        ck_assert_uint_eq(b.len, limit);
        ck_assert_uint_eq(b.ptr[limit - 1], (uint8_t) (limit - 1));
        tpi_buf_fini(&b);
    }
    tk_alloc_check(&a);
}
END_TEST

START_TEST(printf_of_any_length_fits)
{
    char text[2000];
    struct tpi_buf b;
    for (size_t n = 0; n < sizeof(text); n += 51) {
        memset(text, 'x', n);
        text[n] = '\0';
        tpi_buf_init(&b, NULL, n + 2);
        tk_ok(tpi_buf_printf(&b, "<%s>", text));
        ck_assert_uint_eq(b.len, n + 2);
        ck_assert_uint_eq(b.ptr[n + 1], '>');
        tk_fails(TPC_ETOOBIG, tpi_buf_printf(&b, "%s", "y"));
        tpi_buf_fini(&b);
    }
}
END_TEST

START_TEST(steal_moves_the_memory)
{
    struct tk_alloc a;
    struct tpi_buf b;
    size_t len, cap;
    tk_alloc_init(&a);
    tpi_buf_init(&b, &a.base, 0);
    tk_ok(tpi_buf_text(&b, TPC_STR("hello")));
    uint8_t *p = tpi_buf_steal(&b, &len, &cap);
    ck_assert_uint_eq(len, 5);
    ck_assert_mem_eq(p, "hello", 5);
    ck_assert_ptr_null(b.ptr);
    tpi_buf_fini(&b);
    tpi_free(&a.base, p, cap);
    tk_alloc_check(&a);
}
END_TEST

static int use_buf(const struct tpc_allocator *alloc, void *user)
{
    struct tpi_buf b;
    (void) user;
    tpi_buf_init(&b, alloc, 0);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < 300; i++) {
        size_t before = b.len;
        rc = tpi_buf_printf(&b, "%zu%*s", i, i % 7 == 0 ? 300 : 1, "");
        ck_assert(rc == 0 || b.len == before);
    }
    tpi_buf_fini(&b);
    return rc;
}

START_TEST(buf_survives_every_failing_allocation)
{
    ck_assert_uint_gt(tk_each_alloc_fails(use_buf, NULL), 5);
}
END_TEST

Suite *buf_suite(void)
{
    Suite *s = suite_create("buf");
    TCase *c = tcase_create("buf");
    tcase_add_test(c, numbers_come_back_as_they_were_put);
    tcase_add_test(c, bytes_are_little_endian);
    tcase_add_test(c, reader_stays_bad_after_the_end);
    tcase_add_test(c, varint_over_64_bits_or_cut_is_refused);
    tcase_add_test(c, limit_is_exact_and_keeps_the_content);
    tcase_add_test(c, printf_of_any_length_fits);
    tcase_add_test(c, steal_moves_the_memory);
    tcase_add_test(c, buf_survives_every_failing_allocation);
    suite_add_tcase(s, c);
    return s;
}
