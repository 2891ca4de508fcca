#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/bytes.h>

#include "base/error.h"
#include "base/text.h"
#include "base_suites.h"

START_TEST(every_code_has_a_name_and_a_class)
{
    ck_assert_str_eq(tpc_error_name(0), "TPC_OK");
    ck_assert_int_eq(tpc_error_class(0), TPC_CLASS_NONE);
    for (int code = TPC_EINVAL; code >= TPC_ESTATE; code--) {
        ck_assert_str_ne(tpc_error_name(code), "TPC_E?");
        ck_assert_int_ne(tpc_error_class(code), TPC_CLASS_NONE);
    }
    ck_assert_str_eq(tpc_error_name(TPC_ESTATE), "TPC_ESTATE");
    ck_assert_str_eq(tpc_error_name(TPC_ESTATE - 1), "TPC_E?");
    ck_assert_str_eq(tpc_error_name(1), "TPC_E?");
    ck_assert_str_eq(tpc_error_name(-2147483647 - 1), "TPC_E?");
    ck_assert_int_eq(tpc_error_class(-99), TPC_CLASS_OPERATOR);
    ck_assert_int_eq(tpc_error_class(TPC_EAGAIN), TPC_CLASS_RETRY);
    ck_assert_int_eq(tpc_error_class(TPC_ENOMEM), TPC_CLASS_RETRY);
    ck_assert_int_eq(tpc_error_class(TPC_ENOSPC), TPC_CLASS_OPERATOR);
}
END_TEST

START_TEST(setting_an_error_replaces_all_of_it)
{
    struct tpc_error e;
    memset(&e, 0xff, sizeof(e));
    ck_assert_int_eq(tpi_error_native(&e, TPC_EIO, 5, "log", "segment %d", 7), TPC_EIO);
    ck_assert_int_eq(e.native, 5);
    ck_assert_str_eq(e.text, "segment 7");
    ck_assert_uint_eq(e.size, sizeof(e));
    ck_assert_int_eq(tpi_error_set(&e, TPC_EINVAL, "json", "again: %s", e.text), TPC_EINVAL);
    ck_assert_str_eq(e.text, "again: segment 7");
    ck_assert_str_eq(e.origin, "json");
    ck_assert_str_eq(e.path, "");
    ck_assert_int_eq(e.native, 0);
    ck_assert_int_eq(tpi_error_set(NULL, TPC_EAGAIN, "x", "y"), TPC_EAGAIN);
}
END_TEST

START_TEST(path_grows_in_front)
{
    struct tpc_error e = { 0 };
    tpi_error_set(&e, TPC_EINVAL, "option", "must be positive");
    ck_assert_int_eq(tpi_error_at_index(&e, 3), TPC_EINVAL);
    ck_assert_int_eq(tpi_error_at(&e, "temp"), TPC_EINVAL);
    ck_assert_str_eq(e.path, "temp[3]");
    tpi_error_at(&e, ".values");
    ck_assert_str_eq(e.path, "values.temp[3]");
    tpi_error_at(&e, "[0]");
    ck_assert_str_eq(e.path, "[0].values.temp[3]");
    ck_assert_int_eq(tpi_error_at(NULL, "x"), TPC_EINVAL);
    for (int i = 0; i < 60; i++) {
        tpi_error_at(&e, "segment");
    }
    ck_assert_uint_lt(strlen(e.path), sizeof(e.path));
    ck_assert(strncmp(e.path, "segment.segment.", 16) == 0);
}
END_TEST

START_TEST(long_texts_are_cut_between_characters)
{
    struct tpc_error e = { 0 };
    char long_text[400];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(long_text, 'a', shift);
        for (size_t i = shift; i + 4 < sizeof(long_text); i += 3) {
            memcpy(long_text + i, "\xe2\x82\xac", 4);
        }
        tpi_error_set(&e, TPC_EINVAL, "x", "%s", long_text);
        size_t len = strlen(e.text);
        ck_assert_uint_le(len, sizeof(e.text) - 1);
        ck_assert_uint_ge(len, sizeof(e.text) - 3);
        ck_assert_uint_eq((len - shift) % 3, 0);
    }
    char small[4];
    ck_assert_uint_eq(tpi_text_copy(small, 4, "a\xf0\x9f\x98\x80"), 1);
    ck_assert_str_eq(small, "a");
    ck_assert_uint_eq(tpi_text_copy(small, 4, "\x80\x80\x80\x80\x80"), 3);
    ck_assert_uint_eq(tpi_text_copy(small, 4, "abc"), 3);
}
END_TEST

START_TEST(errno_has_a_code)
{
    ck_assert_int_eq(tpi_error_from_errno(0), 0);
    ck_assert_int_eq(tpi_error_from_errno(ENOENT), TPC_ENOENT);
    ck_assert_int_eq(tpi_error_from_errno(EDQUOT), TPC_ENOSPC);
    ck_assert_int_eq(tpi_error_from_errno(EFBIG), TPC_ENOSPC);
    ck_assert_int_eq(tpi_error_from_errno(EACCES), TPC_EDENIED);
    ck_assert_int_eq(tpi_error_from_errno(EWOULDBLOCK), TPC_EAGAIN);
    ck_assert_int_eq(tpi_error_from_errno(EXDEV), TPC_EIO);
}
END_TEST

START_TEST(texts_compare_by_length_and_bytes)
{
    ck_assert(tpc_str_equal(TPC_STR("abc"), tpc_str_from("abc")));
    ck_assert(!tpc_str_equal(TPC_STR("abc"), TPC_STR("abd")));
    ck_assert(!tpc_str_equal(TPC_STR("abc"), TPC_STR("ab")));
    ck_assert(tpc_str_equal(tpc_str_from(NULL), (struct tpc_str){ NULL, 0 }));
}
END_TEST

START_TEST(id_text_round_trips_with_and_without_dashes)
{
    struct tpc_id id, back;
    char text[33];
    for (size_t i = 0; i < 16; i++) {
        id.b[i] = (uint8_t) (i * 17);
    }
    tk_ok(tpc_id_format(&id, text));
    ck_assert_str_eq(text, "00112233445566778899aabbccddeeff");
    tk_ok(tpc_id_parse(tpc_str_from(text), &back));
    ck_assert_mem_eq(&id, &back, 16);
    tk_ok(tpc_id_parse(TPC_STR("00112233-4455-6677-8899-AABBCCDDEEFF"), &back));
    ck_assert_mem_eq(&id, &back, 16);
    static const char *const bad[] = { "",
                                       "0011",
                                       "00112233445566778899aabbccddeefg",
                                       "00112233445566778899aabbccddeeff0",
                                       "-00112233445566778899aabbccddeeff",
                                       "00112233445566778899aabbccddeeff-",
                                       "00--112233445566778899aabbccddeeff",
                                       "--------------------------------" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tk_fails(TPC_EDECODE, tpc_id_parse(tpc_str_from(bad[i]), &back));
    }
    ck_assert_mem_eq(&id, &back, 16);
}
END_TEST

Suite *error_suite(void)
{
    Suite *s = suite_create("error");
    TCase *c = tcase_create("error");
    tcase_add_test(c, every_code_has_a_name_and_a_class);
    tcase_add_test(c, setting_an_error_replaces_all_of_it);
    tcase_add_test(c, path_grows_in_front);
    tcase_add_test(c, long_texts_are_cut_between_characters);
    tcase_add_test(c, errno_has_a_code);
    tcase_add_test(c, texts_compare_by_length_and_bytes);
    tcase_add_test(c, id_text_round_trips_with_and_without_dashes);
    suite_add_tcase(s, c);
    return s;
}
