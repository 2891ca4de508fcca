#include "data_suites.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/cbor.h>

static int parse_hex(struct tpc_arena *arena, const char *hex, struct tpc_error *err,
                     struct tpc_value *ret)
{
    uint8_t bytes[256];
    size_t n = data_hex(hex, bytes, sizeof(bytes));
    uint8_t *exact = tpc_arena_take(arena, n + 1);
    memcpy(exact, bytes, n);
    return tpc_cbor_parse(arena, (struct tpc_bytes){ exact, n }, err, ret);
}

/* RFC 8949 appendix A; NULL = refused here (undefined and simple values have no place in a tree).
 */
START_TEST(vectors_of_the_standard_are_read)
{
    static const struct {
        const char *hex;
        const char *json;
    } table[] = {
        { "00", "0" },
        { "01", "1" },
        { "0a", "10" },
        { "17", "23" },
        { "1818", "24" },
        { "1819", "25" },
        { "1864", "100" },
        { "1903e8", "1000" },
        { "1a000f4240", "1000000" },
        { "1b000000e8d4a51000", "1000000000000" },
        { "1bffffffffffffffff", "18446744073709551615" },
        { "3bffffffffffffffff", "-18446744073709551616" },
        { "1b7fffffffffffffff", "9223372036854775807" },
        { "3b7fffffffffffffff", "-9223372036854775808" },
        { "20", "-1" },
        { "29", "-10" },
        { "3863", "-100" },
        { "3903e7", "-1000" },
        { "f90000", "0.0" },
        { "f98000", "-0.0" },
        { "f93c00", "1.0" },
        { "fb3ff199999999999a", "1.1" },
        { "f93e00", "1.5" },
        { "f97bff", "65504.0" },
        { "fa47c35000", "100000.0" },
        { "fa7f7fffff", "3.4028234663852886e+38" },
        { "fb7e37e43c8800759c", "1.0e+300" },
        { "f90001", "5.960464477539063e-8" },
        { "f90400", "0.00006103515625" },
        { "f9c400", "-4.0" },
        { "fbc010666666666666", "-4.1" },
        { "f4", "false" },
        { "f5", "true" },
        { "f6", "null" },
        { "f7", NULL },
        { "f0", NULL },
        { "f8ff", NULL },
        { "c074323031332d30332d32315432303a30343a30305a", "\"2013-03-21T20:04:00Z\"" },
        { "c11a514b67b0", "1363896240" },
        { "c1fb41d452d9ec200000", "1363896240.5" },
        { "d74401020304", "\"AQIDBA==\"" },
        { "d818456449455446", "\"ZElFVEY=\"" },
        { "d82076687474703a2f2f7777772e6578616d706c652e636f6d", "\"http://www.example.com\"" },
        { "40", "\"\"" },
        { "4401020304", "\"AQIDBA==\"" },
        { "60", "\"\"" },
        { "6161", "\"a\"" },
        { "6449455446", "\"IETF\"" },
        { "62225c", "\"\\\"\\\\\"" },
        { "62c3bc", "\"\\u00fc\"" },
        { "63e6b0b4", "\"\\u6c34\"" },
        { "64f0908591", "\"\\ud800\\udd51\"" },
        { "80", "[]" },
        { "83010203", "[1,2,3]" },
        { "8301820203820405", "[1,[2,3],[4,5]]" },
        { "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
          "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]" },
        { "a0", "{}" },
        { "a201020304", "{\"1\":2,\"3\":4}" },
        { "a26161016162820203", "{\"a\":1,\"b\":[2,3]}" },
        { "826161a161626163", "[\"a\",{\"b\":\"c\"}]" },
        { "a56161614161626142616361436164614461656145",
          "{\"a\":\"A\",\"b\":\"B\",\"c\":\"C\",\"d\":\"D\",\"e\":\"E\"}" },
        { "5f42010243030405ff", "\"AQIDBAU=\"" },
        { "7f657374726561646d696e67ff", "\"streaming\"" },
        { "9fff", "[]" },
        { "9f018202039f0405ffff", "[1,[2,3],[4,5]]" },
        { "9f01820203820405ff", "[1,[2,3],[4,5]]" },
        { "83018202039f0405ff", "[1,[2,3],[4,5]]" },
        { "83019f0203ff820405", "[1,[2,3],[4,5]]" },
        { "bf61610161629f0203ffff", "{\"a\":1,\"b\":[2,3]}" },
        { "826161bf61626163ff", "[\"a\",{\"b\":\"c\"}]" },
        { "bf6346756ef563416d7421ff", "{\"Fun\":true,\"Amt\":-2}" },
        { "a1207f6161ff", "{\"-1\":\"a\"}" },
        { "a17f616161 62ff00", "{\"ab\":0}" },
        { "5fff", "\"\"" },
        { "7fff", "\"\"" },
    };
    struct tpc_arena *arena = data_arena();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tpc_value v;
        struct tpc_error err = { .text = "" };
        int rc = parse_hex(arena, table[i].hex, &err, &v);
        if (table[i].json == NULL) {
            ck_assert_msg(rc == TPC_EDECODE, "%s", table[i].hex);
            continue;
        }
        ck_assert_msg(rc == 0, "%s: %s", table[i].hex, err.text);
        struct tpc_value expected = data_json(arena, table[i].json);
        if (v.type == TPC_BLOB) {
            ck_assert_str_eq(data_text(arena, &v, 0), table[i].json);
        } else {
            ck_assert_msg(v.type == expected.type && tpc_value_equal(&v, &expected), "%s is %s",
                          table[i].hex, data_text(arena, &v, 0));
        }
    }
    struct tpc_value v;
    tk_ok(parse_hex(arena, "f97e00", NULL, &v));
    ck_assert(isnan(v.as.d));
    tk_ok(parse_hex(arena, "faff800000", NULL, &v));
    ck_assert(isinf(v.as.d) && v.as.d < 0);
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(malformed_bytes_are_refused)
{
    static const char *const table[] = {
        "",
        "18",
        "1901",
        "1c",
        "1f",
        "3f",
        "df00",
        "fc",
        "f818",
        "f800",
        "ff",
        "81",
        "8201",
        "9f",
        "9f01",
        "a1",
        "a101",
        "bf01ff",
        "bf0102",
        "41",
        "62c3",
        "61ff",
        "62c328",
        "63eda080",
        "5f",
        "5f01ff",
        "5f6161ff",
        "7f4161ff",
        "7f7f6161ffff",
        "7f61c361bcff",
        "5fc0ff",
        "7ff5ff",
        "5f80ff",
        "c1",
        "9fc1ff",
        "bf01c1ff",
        "0000",
        "8000",
        "a1f500",
        "a1410100",
        "a1f93c0000",
        "a1800000",
        "a1a00000",
        "a2616101616102",
        "a201016131 02",
        "a11bffffffffffffffff00",
        "9a07ffffff",
        "9b7fffffffffffffff",
        "9bffffffffffffffff",
        "bb8000000000000000",
        "ba07ffffff",
        "5b7fffffffffffffff",
        "7a7fffffff61",
        "8281",
    };
    struct tpc_arena *arena = data_arena();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tpc_value v = { .type = TPC_INT, .as.i = 5 };
        struct tpc_error err = { .text = "" };
        ck_assert_msg(parse_hex(arena, table[i], &err, &v) == TPC_EDECODE, "%s", table[i]);
        ck_assert_msg(err.column >= 1 && v.as.i == 5, "%s", table[i]);
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(a_header_that_promises_much_allocates_nothing)
{
    static const char *const table[] = { "9a07ffffff", "ba07ffffff", "5a07ffffff",
                                         "9b00000fffffffffff" };
    struct tk_alloc a;
    struct tpc_arena *arena;
    struct tpc_error err;
    tk_alloc_init(&a);
    tk_ok(tpc_arena_create(&a.base, 0, &arena));
    size_t count = a.count;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint8_t bytes[16];
        struct tpc_value v;
        size_t n = data_hex(table[i], bytes, sizeof(bytes));
        tk_fails(TPC_EDECODE, tpc_cbor_parse(arena, (struct tpc_bytes){ bytes, n }, &err, &v));
    }
    ck_assert_uint_eq(a.count, count);
    tpc_arena_destroy(arena);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(thirty_two_levels_are_read_and_no_more)
{
    static const uint8_t openers[] = { 0x81, 0x9f, 0xbf };
    struct tpc_arena *arena = data_arena();
    uint8_t bytes[200];
    struct tpc_value v;
    struct tpc_error err;
    memset(bytes, 0x81, 33);
    bytes[33] = 0x00;
    tk_ok(tpc_cbor_parse(arena, (struct tpc_bytes){ bytes + 1, 33 }, &err, &v));
    tk_fails(TPC_ETOOBIG, tpc_cbor_parse(arena, (struct tpc_bytes){ bytes, 34 }, &err, &v));
    ck_assert_uint_eq(err.column, 33);
    uint8_t *deep = malloc(1000000);
    for (size_t i = 0; i < 3; i++) {
        memset(deep, openers[i], 1000000);
        int rc = tpc_cbor_parse(arena, (struct tpc_bytes){ deep, 1000000 }, &err, &v);
        ck_assert(rc == TPC_ETOOBIG || (i == 2 && rc == TPC_EDECODE));
    }
    /* Tags nest without memory: a million of them are only read over. */
    memset(deep, 0xC1, 999999);
    deep[999999] = 0x05;
    tk_ok(tpc_cbor_parse(arena, (struct tpc_bytes){ deep, 1000000 }, &err, &v));
    ck_assert_int_eq(v.as.i, 5);
    free(deep);
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(an_error_says_where)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_error err;
    struct tpc_value v;
    tk_fails(TPC_EDECODE, parse_hex(arena, "a1 6161 82 00 a2 6162 01 6162 02", &err, &v));
    ck_assert_str_eq(err.path, "a[1].b");
    ck_assert_uint_eq(err.column, 10);
    ck_assert_str_eq(err.origin, "cbor");
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(values_are_written_in_the_shortest_form)
{
    static const struct {
        const char *json;
        const char *hex;
    } table[] = {
        { "[0,23,24,255,256,65535,65536,4294967295,4294967296]",
          "89 00 17 1818 18ff 190100 19ffff 1a00010000 1affffffff 1b0000000100000000" },
        { "[-1,-24,-25,-9223372036854775808]", "84 20 37 3818 3b7fffffffffffffff" },
        { "{\"a\":1.5,\"b\":null}", "a2 6161 fb3ff8000000000000 6162 f6" },
        { "[true,false,\"\\u00fc\",[],{}]", "85 f5 f4 62c3bc 80 a0" },
    };
    struct tpc_arena *arena = data_arena();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint8_t expected[128];
        uint8_t bytes[128];
        size_t n = data_hex(table[i].hex, expected, sizeof(expected));
        struct tpc_value v = data_json(arena, table[i].json);
        struct tpc_buf buf = { bytes, sizeof(bytes), 0 };
        tk_ok(tpc_cbor_write(&v, &buf));
        ck_assert_msg(buf.need == n && memcmp(bytes, expected, n) == 0, "%s", table[i].json);
        for (size_t cap = 0; cap < n; cap++) {
            buf = (struct tpc_buf){ bytes, cap, 0 };
            tk_fails(TPC_ETOOBIG, tpc_cbor_write(&v, &buf));
            ck_assert_uint_eq(buf.need, n);
        }
    }
    tpc_arena_destroy(arena);
}
END_TEST

static size_t written(struct tpc_arena *arena, const struct tpc_value *v, uint8_t **ret)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    tk_fails(TPC_ETOOBIG, tpc_cbor_write(v, &buf));
    *ret = tpc_arena_take(arena, buf.need);
    buf = (struct tpc_buf){ *ret, buf.need, 0 };
    tk_ok(tpc_cbor_write(v, &buf));
    return buf.need;
}

/* And any change of one byte is read or refused, never more. */
START_TEST(random_documents_go_round)
{
    struct tpc_arena *arena = data_arena();
    uint64_t state = 11;
    for (int i = 0; i < 3000; i++) {
        struct tpc_value back;
        uint8_t *bytes;
        tpc_arena_reset(arena);
        struct tpc_value v = data_random_tree(arena, &state, 5);
        size_t n = written(arena, &v, &bytes);
        tk_ok(tpc_cbor_parse(arena, (struct tpc_bytes){ bytes, n }, NULL, &back));
        ck_assert(tpc_value_equal(&v, &back));
        bytes[data_random(&state) % n] = (uint8_t) data_random(&state);
        (void) tpc_cbor_parse(arena, (struct tpc_bytes){ bytes, n }, NULL, &back);
    }
    tpc_arena_destroy(arena);
}
END_TEST

static int parse_all(const struct tpc_allocator *a, void *user)
{
    const struct tpc_bytes *bytes = user;
    struct tpc_arena *arena = NULL;
    struct tpc_value v;
    int rc = tpc_arena_create(a, 0, &arena);
    if (rc == 0) {
        rc = tpc_cbor_parse(arena, *bytes, NULL, &v);
    }
    tpc_arena_destroy(arena);
    return rc;
}

START_TEST(running_out_of_memory_leaves_nothing_behind)
{
    /* Two hundred maps {integer key: text in two chunks}. */
    uint8_t bytes[3000] = { 0x98, 200 };
    size_t n = 2;
    for (int i = 0; i < 200; i++) {
        n += data_hex("a1 1903e8 7f 6161 626263 ff", bytes + n, sizeof(bytes) - n);
    }
    struct tpc_bytes all = { bytes, n };
    ck_assert_uint_ge(tk_each_alloc_fails(parse_all, &all), 3);
}
END_TEST

Suite *cbor_suite(void)
{
    Suite *s = suite_create("cbor");
    TCase *t = tcase_create("cbor");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, vectors_of_the_standard_are_read);
    tcase_add_test(t, malformed_bytes_are_refused);
    tcase_add_test(t, a_header_that_promises_much_allocates_nothing);
    tcase_add_test(t, thirty_two_levels_are_read_and_no_more);
    tcase_add_test(t, an_error_says_where);
    tcase_add_test(t, values_are_written_in_the_shortest_form);
    tcase_add_test(t, random_documents_go_round);
    tcase_add_test(t, running_out_of_memory_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return s;
}
