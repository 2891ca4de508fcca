/* Reports of what a broker's plugin refused. */
#include "mqtt_suites.h"
#include "refused.h"

#include <string.h>
#include <tpcore/error.h>

static struct tpc_arena *arena;

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void teardown(void)
{
    arena = tpc_arena_destroy(arena);
}

static int read(const char *json, struct tpc_why *ret)
{
    return mqtt_refused_read((struct tpc_bytes){ (const uint8_t *) json, strlen(json) }, arena,
                             ret);
}

START_TEST(a_report_says_all_that_is_kept_of_a_failure)
{
    struct tpc_why w;
    tk_ok(read(
        "{\"device\":\"d1\",\"stage\":\"auth\",\"code\":-7,\"times\":312,\"time\":1700000000123,"
        "\"reason\":\"wrong password\",\"origin\":\"10.0.0.9\",\"payload_hex\":\"00ff\","
        "\"payload_bytes\":70000,\"more\":[1,2]}",
        &w));
    ck_assert_uint_eq(w.size, sizeof(w));
    ck_assert_uint_eq(w.stage, TPC_WHY_AUTH);
    ck_assert_int_eq(w.code, -7);
    ck_assert_uint_eq(w.times, 312);
    ck_assert_int_eq(w.unix_ms, 1700000000123);
    ck_assert(tpc_str_equal(w.device, TPC_STR("d1")));
    ck_assert(tpc_str_equal(w.reason, TPC_STR("wrong password")));
    ck_assert(tpc_str_equal(w.origin, TPC_STR("10.0.0.9")));
    ck_assert_uint_eq(w.payload.len, 2);
    ck_assert_uint_eq(w.payload.ptr[1], 0xff);
    ck_assert_uint_eq(w.payload_bytes, 70000);
    ck_assert_uint_eq(w.tenant.len, 0);
}
END_TEST

START_TEST(numbers_that_make_no_sense_are_left_out)
{
    struct tpc_why w;
    tk_ok(read("{\"device\":\"d1\",\"stage\":\"acl\",\"code\":3,\"times\":-1,\"time\":-5,"
               "\"payload_bytes\":1e300,\"reason\":7}",
               &w));
    ck_assert_uint_eq(w.stage, TPC_WHY_ACL);
    ck_assert_int_eq(w.code, TPC_EDENIED);
    ck_assert_uint_eq(w.times, 1);
    ck_assert_int_eq(w.unix_ms, 0);
    ck_assert_uint_eq(w.payload_bytes, 0);
    ck_assert_uint_eq(w.reason.len, 0);
    tk_ok(read("{\"device\":\"d1\",\"stage\":\"acl\",\"times\":4294967296}", &w));
    ck_assert_uint_eq(w.times, 1);
}
END_TEST

START_TEST(what_is_no_report_is_refused)
{
    struct tpc_why w;
    char long_hex[300] = "{\"device\":\"d1\",\"stage\":\"acl\",\"payload_hex\":\"";
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{\"device\":\"d1\"}",
        "{\"stage\":\"acl\"}",
        "{\"device\":\"\",\"stage\":\"acl\"}",
        "{\"device\":\"d1\",\"stage\":\"\"}",
        "{\"device\":\"d1\",\"stage\":\"all\"}",
        "{\"device\":\"d1\",\"stage\":2}",
        "{\"device\":\"d1\",\"stage\":\"acl\",\"payload_hex\":\"abc\"}",
        "{\"device\":\"d1\",\"stage\":\"acl\",\"payload_hex\":\"zz\"}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = read(bad[i], &w);
        ck_assert_msg(rc == TPC_EDECODE, "%s: %d", bad[i], rc);
    }
    memset(long_hex + strlen(long_hex), '0', 130);
    memcpy(long_hex + strlen(long_hex), "\"}", 3);
    ck_assert_int_eq(read(long_hex, &w), TPC_EDECODE);
}
END_TEST

Suite *refused_suite(void)
{
    Suite *s = suite_create("refused");
    TCase *c = tcase_create("report");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, a_report_says_all_that_is_kept_of_a_failure);
    tcase_add_test(c, numbers_that_make_no_sense_are_left_out);
    tcase_add_test(c, what_is_no_report_is_refused);
    suite_add_tcase(s, c);
    return s;
}
