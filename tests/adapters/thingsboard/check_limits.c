/* Token buckets and the text of limits (section 1.4 of the interface). */
#include "limits.h"
#include "tb_suites.h"

static struct tb_bucket bucket(const char *text, uint32_t percent)
{
    struct tb_bucket b = { .count = 0 };
    tk_ok(tb_bucket_add(&b, tpc_str_from(text), percent, 0));
    return b;
}

START_TEST(all_windows_of_a_text_hold_at_once)
{
    struct tb_bucket b = bucket("10:1,60:60", 100);
    ck_assert_uint_eq(b.count, 2);
    ck_assert_uint_eq(tb_bucket_most(&b), 10);
    for (uint64_t i = 0; i < 10; i++) {
        ck_assert_uint_eq(tb_bucket_wait(&b, 1, 0), 0);
        tb_bucket_take(&b, 1);
    }
    ck_assert_uint_eq(tb_bucket_wait(&b, 1, 0), 100);
    uint64_t now = 0;
    uint32_t taken = 10;
    while (tb_bucket_wait(&b, 1, now) == 0 || now < 6000) {
        if (tb_bucket_wait(&b, 1, now) == 0) {
            tb_bucket_take(&b, 1);
            taken++;
        }
        now += 10;
    }
    ck_assert_uint_le(taken, 66); /* 60 and what came back within 6 s */
    ck_assert_uint_ge(taken, 60);
    ck_assert_uint_gt(tb_bucket_wait(&b, 1, now), 500); /* the minute's window now */
}
END_TEST

START_TEST(only_four_fifths_of_a_limit_are_used)
{
    struct tb_bucket b = bucket("10:1,300:60", 80);
    ck_assert_uint_eq(tb_bucket_most(&b), 8);
    b = bucket("1:1", 80);
    ck_assert_uint_eq(tb_bucket_most(&b), 1);
}
END_TEST

START_TEST(zero_and_empty_are_no_limit)
{
    struct tb_bucket b = bucket("0:0,", 80);
    ck_assert_uint_eq(b.count, 0);
    ck_assert_uint_eq(tb_bucket_most(&b), UINT32_MAX);
    ck_assert_uint_eq(tb_bucket_wait(&b, 1000000, 5), 0);
    b = bucket("", 80);
    ck_assert_uint_eq(b.count, 0);
}
END_TEST

START_TEST(text_that_is_no_limit_changes_nothing)
{
    static const char *const bad[] = { "10",   "10:",           ":1",
                                       "a:1",  "10:1;5:1",      "10:1,x",
                                       "-1:1", "99999999999:1", "1:99999999999" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tb_bucket b = bucket("5:1", 100);
        ck_assert_int_eq(tb_bucket_add(&b, tpc_str_from(bad[i]), 100, 0), TPC_EINVAL);
        ck_assert_uint_eq(b.count, 1);
    }
    struct tb_bucket b = bucket("1:1,2:2,3:3,4:4,5:5,6:6,7:7,8:8", 100);
    ck_assert_int_eq(tb_bucket_add(&b, TPC_STR("9:9"), 100, 0), TPC_ETOOBIG);
}
END_TEST

START_TEST(emptied_bucket_fills_again_and_a_large_message_waits_for_all_of_it)
{
    struct tb_bucket b = bucket("100:10", 100);
    tb_bucket_empty(&b, 1000);
    ck_assert_uint_eq(tb_bucket_wait(&b, 1, 1000), 100);
    ck_assert_uint_eq(tb_bucket_wait(&b, 5000, 1000), 10000);
    ck_assert_uint_eq(tb_bucket_wait(&b, 5000, 11000), 0);
    tb_bucket_take(&b, 5000);
    ck_assert_uint_eq(tb_bucket_wait(&b, 1, 11000), 100);
    ck_assert_uint_eq(tb_bucket_wait(&b, 1, UINT64_MAX), 0);
}
END_TEST

START_TEST(own_clouds_are_known_by_name)
{
    ck_assert(tb_host_is_cloud(TPC_STR("thingsboard.cloud")));
    ck_assert(tb_host_is_cloud(TPC_STR("eu.thingsboard.cloud")));
    ck_assert(tb_host_is_cloud(TPC_STR("demo.thingsboard.io")));
    ck_assert(tb_host_is_cloud(TPC_STR("tb-eu.cloud.example")));
    ck_assert(!tb_host_is_cloud(TPC_STR("127.0.0.1")));
    ck_assert(!tb_host_is_cloud(TPC_STR("tb.example")));
}
END_TEST

Suite *limits_suite(void)
{
    Suite *s = suite_create("limits");
    TCase *c = tcase_create("limits");
    tcase_add_test(c, all_windows_of_a_text_hold_at_once);
    tcase_add_test(c, only_four_fifths_of_a_limit_are_used);
    tcase_add_test(c, zero_and_empty_are_no_limit);
    tcase_add_test(c, text_that_is_no_limit_changes_nothing);
    tcase_add_test(c, emptied_bucket_fills_again_and_a_large_message_waits_for_all_of_it);
    tcase_add_test(c, own_clouds_are_known_by_name);
    suite_add_tcase(s, c);
    return s;
}
