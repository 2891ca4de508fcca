/* Registers and bits to values and back. */
#include <math.h>
#include <string.h>
#include <tpcore/json.h>

#include "modbus_suites.h"
#include "value.h"

static struct mb_shape shape(uint8_t type, uint8_t width)
{
    return (struct mb_shape){ .type = type,
                              .width = width,
                              .bit = -1,
                              .decimals = -1,
                              .count = (uint16_t) (width > 16 ? width / 16 : 1),
                              .multiplier = 1,
                              .divider = 1 };
}

static char json[2000];

static const char *read_as(const struct mb_shape *s, const char *wire)
{
    static _Alignas(8) uint8_t space[MB_VALUE_SPACE];
    struct tpc_value v;
    struct tpc_buf out = { (uint8_t *) json, sizeof(json) - 1, 0 };
    if (!mb_value_of_registers(s, (const uint8_t *) wire, space, &v)) {
        return "none";
    }
    ck_assert_int_eq(tpc_json_write(&v, 0, &out), 0);
    json[out.need] = '\0';
    return json;
}

START_TEST(numbers_of_every_width_and_sign)
{
    struct mb_shape s = shape(MB_INT, 16);
    ck_assert_str_eq(read_as(&s, "\xfb\x2e"), "-1234");
    s = shape(MB_UINT, 16);
    ck_assert_str_eq(read_as(&s, "\xfb\x2e"), "64302");
    s = shape(MB_INT, 8);
    ck_assert_str_eq(read_as(&s, "\x01\xfe"), "-2");
    s.high_byte = true;
    ck_assert_str_eq(read_as(&s, "\x01\xfe"), "1");
    s = shape(MB_INT, 32);
    ck_assert_str_eq(read_as(&s, "\xf8\xa4\x32\xeb"), "-123456789");
    s = shape(MB_UINT, 64);
    ck_assert_str_eq(read_as(&s, "\x00\x2b\xdc\x54\x5d\x6b\x4b\x87"), "12345678901234567");
    ck_assert_str_eq(read_as(&s, "\xff\xff\xff\xff\xff\xff\xff\xff"), "1.8446744073709552e19");
    s = shape(MB_BCD, 32);
    ck_assert_str_eq(read_as(&s, "\x12\x34\x56\x78"), "12345678");
    ck_assert_str_eq(read_as(&s, "\x12\x34\x5a\x78"), "none");
}
END_TEST

/* 0x42c80000 is 100.0: ABCD, CDAB, BADC, DCBA. */
START_TEST(the_four_orders_of_bytes_and_words)
{
    struct mb_shape s = shape(MB_FLOAT, 32);
    ck_assert_str_eq(read_as(&s, "\x42\xc8\x00\x00"), "100.0");
    s.swap_words = true;
    ck_assert_str_eq(read_as(&s, "\x00\x00\x42\xc8"), "100.0");
    s.swap_bytes = true;
    ck_assert_str_eq(read_as(&s, "\x00\x00\xc8\x42"), "100.0");
    s.swap_words = false;
    ck_assert_str_eq(read_as(&s, "\xc8\x42\x00\x00"), "100.0");
}
END_TEST

START_TEST(half_floats_and_floats_that_are_no_number)
{
    struct mb_shape s = shape(MB_FLOAT, 16);
    ck_assert_str_eq(read_as(&s, "\x3c\x00"), "1.0");
    ck_assert_str_eq(read_as(&s, "\xc1\x00"), "-2.5");
    ck_assert_str_eq(read_as(&s, "\x7b\xff"), "65504.0");
    ck_assert_str_eq(read_as(&s, "\x7e\x00"), "none");
    s = shape(MB_FLOAT, 32);
    ck_assert_str_eq(read_as(&s, "\x7f\x80\x00\x00"), "none");
}
END_TEST

START_TEST(scaling_rounding_and_names)
{
    static const struct mb_name names[] = { { 1, TPC_STR_INIT("ON") }, { 2, TPC_STR_INIT("OFF") } };
    struct mb_shape s = shape(MB_INT, 16);
    s.divider = 10;
    ck_assert_str_eq(read_as(&s, "\x00\xeb"), "23.5");
    s.offset = -40;
    s.multiplier = 0.5;
    s.decimals = 1;
    ck_assert_str_eq(read_as(&s, "\x00\xeb"), "-28.3");
    s = shape(MB_UINT, 16);
    s.names = names;
    s.name_count = 2;
    ck_assert_str_eq(read_as(&s, "\x00\x02"), "\"OFF\"");
    ck_assert_str_eq(read_as(&s, "\x00\x03"), "3");
}
END_TEST

START_TEST(texts_bits_and_bytes)
{
    struct mb_shape s = shape(MB_STRING, 0);
    s.count = 4;
    ck_assert_str_eq(read_as(&s, "hello wo"), "\"hello wo\"");
    ck_assert_str_eq(read_as(&s, "pump  \0\0"), "\"pump\"");
    ck_assert_str_eq(read_as(&s, "a\xff\x01\x00zzzz"), "\"a??\"");
    s.swap_bytes = true;
    ck_assert_str_eq(read_as(&s, "ehll oow"), "\"hello wo\"");
    s = shape(MB_HEX, 0);
    ck_assert_str_eq(read_as(&s, "\x0a\xff"), "\"0aff\"");
    s = shape(MB_BOOL, 16);
    s.bit = 9;
    ck_assert_str_eq(read_as(&s, "\x02\x00"), "true");
    ck_assert_str_eq(read_as(&s, "\x01\x00"), "false");
    s = shape(MB_BITS, 0);
    ck_assert_str_eq(read_as(&s, "\x00\x05"),
                     "[true,false,true,false,false,false,false,false,false,false,false,false,"
                     "false,false,false,false]");
}
END_TEST

START_TEST(coils_of_any_place)
{
    static _Alignas(8) uint8_t space[MB_VALUE_SPACE];
    const uint8_t bits[] = { 0x80, 0x01 };
    struct mb_shape s = shape(MB_BOOL, 16);
    struct tpc_value v;
    for (uint32_t i = 0; i < 16; i++) {
        ck_assert(mb_value_of_bits(&s, bits, i, space, &v));
        ck_assert_int_eq(v.as.b, i == 7 || i == 8);
    }
    s.type = MB_BITS;
    s.count = 3;
    ck_assert(mb_value_of_bits(&s, bits, 6, space, &v));
    ck_assert_uint_eq(v.len, 3);
    ck_assert(!v.as.items[0].as.b && v.as.items[1].as.b && v.as.items[2].as.b);
}
END_TEST

static uint8_t wire[260];

static const char *write_as(const struct mb_shape *s, struct tpc_value v)
{
    memset(wire, 0xee, sizeof(wire));
    return mb_value_to_registers(s, &v, wire);
}

static struct tpc_value num(double d)
{
    return (struct tpc_value){ .type = TPC_DOUBLE, .as.d = d };
}

START_TEST(what_is_written_is_what_is_read)
{
    static const uint8_t types[] = { MB_INT, MB_UINT, MB_FLOAT, MB_BCD };
    for (uint32_t i = 0; i < 4 * 4 * 4; i++) {
        struct mb_shape s = shape(types[i / 16], (uint8_t) (8 << i / 4 % 4));
        s.swap_bytes = (i & 1) != 0;
        s.swap_words = (i & 2) != 0;
        if (s.width == 8 && s.type >= MB_FLOAT) {
            continue;
        }
        ck_assert_ptr_null(write_as(&s, num(42)));
        ck_assert_str_eq(read_as(&s, (const char *) wire), s.type == MB_FLOAT ? "42.0" : "42");
        ck_assert_uint_eq(wire[2 * s.count], 0xee);
    }
    struct mb_shape s = shape(MB_INT, 64);
    ck_assert_ptr_null(write_as(&s, (struct tpc_value){ .type = TPC_INT, .as.i = INT64_MAX }));
    ck_assert_str_eq(read_as(&s, (const char *) wire), "9223372036854775807");
    s = shape(MB_INT, 16);
    s.divider = 10;
    ck_assert_ptr_null(write_as(&s, num(23.5)));
    ck_assert_mem_eq(wire, "\x00\xeb", 2);
    s = shape(MB_FLOAT, 16);
    ck_assert_ptr_null(write_as(&s, num(-2.5)));
    ck_assert_mem_eq(wire, "\xc1\x00", 2);
}
END_TEST

START_TEST(a_part_of_a_register_has_its_mask)
{
    struct mb_shape s = shape(MB_UINT, 8);
    ck_assert_uint_eq(mb_write_mask(&s), 0x00ff);
    s.high_byte = true;
    ck_assert_uint_eq(mb_write_mask(&s), 0xff00);
    s.swap_bytes = true;
    ck_assert_uint_eq(mb_write_mask(&s), 0x00ff);
    s = shape(MB_BOOL, 16);
    ck_assert_uint_eq(mb_write_mask(&s), 0xffff);
    s.bit = 9;
    ck_assert_uint_eq(mb_write_mask(&s), 0x0200);
    ck_assert_ptr_null(write_as(&s, (struct tpc_value){ .type = TPC_BOOL, .as.b = true }));
    ck_assert(wire[0] == 2 && wire[1] == 0);
    s.swap_bytes = true;
    ck_assert_uint_eq(mb_write_mask(&s), 0x0002);
    ck_assert_ptr_null(write_as(&s, num(1)));
    ck_assert(wire[0] == 0 && wire[1] == 2);
    s = shape(MB_FLOAT, 32);
    ck_assert_uint_eq(mb_write_mask(&s), 0xffff);
}
END_TEST

START_TEST(what_cannot_be_written_says_why)
{
    struct mb_shape s = shape(MB_INT, 16);
    struct tpc_value text = { .type = TPC_TEXT, .len = 3, .as.text = "abc" };
    ck_assert_str_eq(write_as(&s, num(32768)), "out of the range of its type");
    ck_assert_str_eq(write_as(&s, num(NAN)), "no number");
    ck_assert_str_eq(write_as(&s, text), "no name of a number");
    s = shape(MB_UINT, 16);
    ck_assert_str_eq(write_as(&s, num(-1)), "out of the range of its type");
    s = shape(MB_BCD, 16);
    ck_assert_str_eq(write_as(&s, num(10000)), "has more digits than its registers");
    s = shape(MB_FLOAT, 32);
    ck_assert_str_eq(write_as(&s, num(1e300)), "out of the range of its type");
    s = shape(MB_STRING, 0);
    ck_assert_str_eq(write_as(&s, text), "longer than its registers");
    s = shape(MB_BOOL, 16);
    s.bit = 3;
    ck_assert_str_eq(write_as(&s, num(2)), "no boolean");
    ck_assert_str_eq(write_as(&s, text), "no boolean");
    s.bit = -1;
    ck_assert_str_eq(write_as(&s, num(7)), "no boolean");
}
END_TEST

Suite *value_suite(void)
{
    Suite *s = suite_create("value");
    TCase *t = tcase_create("value");
    tcase_add_test(t, numbers_of_every_width_and_sign);
    tcase_add_test(t, the_four_orders_of_bytes_and_words);
    tcase_add_test(t, half_floats_and_floats_that_are_no_number);
    tcase_add_test(t, scaling_rounding_and_names);
    tcase_add_test(t, texts_bits_and_bytes);
    tcase_add_test(t, coils_of_any_place);
    tcase_add_test(t, what_is_written_is_what_is_read);
    tcase_add_test(t, a_part_of_a_register_has_its_mask);
    tcase_add_test(t, what_cannot_be_written_says_why);
    suite_add_tcase(s, t);
    return s;
}
