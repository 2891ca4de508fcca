#include "suites.h"

static struct tpc_arena *arena;
static struct tpc_error err;
static struct tpc_str device;
static struct tpc_bytes values;

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void teardown(void)
{
    arena = tpc_arena_destroy(arena);
}

static int unwrap(const char *payload)
{
    tpc_arena_reset(arena);
    return tpi_codec_unwrap(bytes_of(payload), arena, &err, &device, &values);
}

static void expect(const char *payload, const char *id, const void *bytes, size_t len)
{
    tk_ok(unwrap(payload));
    ck_assert(tpc_str_equal(device, tpc_str_from(id)));
    ck_assert_uint_eq(values.len, len);
    ck_assert_mem_eq(values.ptr, bytes, len);
}

START_TEST(values_come_in_three_forms)
{
    expect("{\"device_id\":\"d1\",\"values\":\"eyJhIjoxfQ==\"}", "d1", "{\"a\":1}", 7);
    expect("{\"values\":\"AP8=\",\"x\":[{}],\"device_id\":\"d1\"}", "d1", "\x00\xff", 2);
    expect("{\"device_id\":\"d1\",\"values\": {\"a\": 1 } }", "d1", "{\"a\": 1 }", 9);
    expect("{\"device_id\":\"d\\u0031\",\"values\":[0,255, 7]}", "d1", "\x00\xff\x07", 3);
    expect("{\"device_id\":\"d1\",\"values\":\"\\/+8=\"}", "d1", "\xff\xef", 2);
}
END_TEST

START_TEST(bad_envelopes_are_refused)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"device_id\":\"d1\"}",
        "{\"values\":\"AP8=\"}",
        "{\"device_id\":\"\",\"values\":\"AP8=\"}",
        "{\"device_id\":\"d1\",\"values\":\"\"}",
        "{\"device_id\":\"d1\",\"values\":{}}",
        "{\"device_id\":\"d1\",\"values\":[]}",
        "{\"device_id\":\"d1\",\"values\":\"AP8\"}",
        "{\"device_id\":\"d1\",\"values\":\"A P8=\"}",
        "{\"device_id\":\"d1\",\"values\":\"AP9=\"}",
        "{\"device_id\":\"d1\",\"values\":[256]}",
        "{\"device_id\":\"d1\",\"values\":[-1]}",
        "{\"device_id\":\"d1\",\"values\":[1.0]}",
        "{\"device_id\":\"d1\",\"values\":null}",
        "{\"device_id\":1,\"values\":\"AP8=\"}",
        "{\"device_id\":\"d1\",\"device_id\":\"d2\",\"values\":\"AP8=\"}",
        "{\"device_id\":\"d1\",\"values\":\"AP8=\"} x",
        "{\"device_id\":\"d1\",\"values\":\"AP8=\"",
        "{\"device_id\":\"d1\",\"values\":{\"a\":}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = unwrap(bad[i]);
        ck_assert_msg(rc == TPC_EDECODE, "%s: %s", bad[i], tpc_error_name(rc));
    }
}
END_TEST

START_TEST(peek_finds_the_device_without_reading_on)
{
    struct tpc_str id;
    tk_ok(tpi_codec_peek_device(bytes_of("{\"device_id\":\"d1\",\"values\": garbage"), &id));
    ck_assert(tpc_str_equal(id, TPC_STR("d1")));
    tk_ok(tpi_codec_peek_device(
        bytes_of("{\"values\":{\"device_id\":\"no\"},\"device_id\":\"d2\"}"), &id));
    ck_assert(tpc_str_equal(id, TPC_STR("d2")));
    tk_fails(TPC_EDECODE, tpi_codec_peek_device(bytes_of("{\"values\":1}"), &id));
    tk_fails(TPC_EDECODE, tpi_codec_peek_device(bytes_of("{\"device_id\":\"\"}"), &id));
    tk_fails(TPC_EDECODE, tpi_codec_peek_device(bytes_of("1"), &id));
    tk_fails(TPC_EDECODE, tpi_codec_peek_device(bytes_of(""), &id));
    tk_fails(TPC_EUNSUPPORTED, tpi_codec_peek_device(bytes_of("{\"device_id\":\"\\u0031\"}"), &id));
}
END_TEST

static int unwrap_all(const struct tpc_allocator *a, void *user)
{
    struct tpc_arena *own;
    (void) user;
    if (tpc_arena_create(a, 0, &own) != 0) {
        return TPC_ENOMEM;
    }
    int rc = tpi_codec_unwrap(bytes_of("{\"device_id\":\"d\\u0031\",\"values\":[0,255,7]}"), own,
                              NULL, &device, &values);
    tpc_arena_destroy(own);
    return rc;
}

START_TEST(out_of_memory_is_told)
{
    ck_assert_uint_gt(tk_each_alloc_fails(unwrap_all, NULL), 0);
}
END_TEST

Suite *envelope_suite(void)
{
    Suite *suite = suite_create("envelope");
    TCase *tc = tcase_create("envelope");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, values_come_in_three_forms);
    tcase_add_test(tc, bad_envelopes_are_refused);
    tcase_add_test(tc, peek_finds_the_device_without_reading_on);
    tcase_add_test(tc, out_of_memory_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}
