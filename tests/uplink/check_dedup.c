/* Keys of what came lately: known for ten minutes, bounded, and undone when a batch is. */
#include "uplink/dedup.h"

#include "base/hash.h"
#include "uplink_suites.h"

START_TEST(keys_are_known_until_they_are_old)
{
    struct tk_alloc a;
    struct tpi_dedup d;
    tk_alloc_init(&a);
    tpi_dedup_init(&d, &a.base);
    ck_assert(!tpi_dedup_seen(&d, 0, 0));
    ck_assert(tpi_dedup_add(&d, 0, 0)); /* zero is a key like any other */
    ck_assert(tpi_dedup_seen(&d, 0, 1000));
    ck_assert(!tpi_dedup_seen(&d, 7, 1000));
    ck_assert(tpi_dedup_seen(&d, 0, TPI_DEDUP_KEEP_S * 1000));
    ck_assert(!tpi_dedup_seen(&d, 0, (TPI_DEDUP_KEEP_S + 1) * 1000));
    ck_assert_uint_eq(d.count, 0);
    tpi_dedup_fini(&d);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(the_oldest_leave_when_there_are_too_many)
{
    struct tk_alloc a;
    struct tpi_dedup d;
    uint64_t n = TPI_DEDUP_MAX + 1000;
    tk_alloc_init(&a);
    tpi_dedup_init(&d, &a.base);
    for (uint64_t i = 1; i <= n; i++) {
        ck_assert(!tpi_dedup_seen(&d, tpi_hash64(i), 0));
        ck_assert(tpi_dedup_add(&d, tpi_hash64(i), 0));
    }
    ck_assert_uint_eq(d.count, TPI_DEDUP_MAX);
    ck_assert_uint_eq(d.early, 1000);
    for (uint64_t i = 1; i <= n; i++) {
        ck_assert_int_eq(tpi_dedup_seen(&d, tpi_hash64(i), 0), i > 1000);
    }
    tpi_dedup_fini(&d);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(a_batch_that_fails_takes_its_keys_back)
{
    struct tk_alloc a;
    struct tpi_dedup d;
    tk_alloc_init(&a);
    tpi_dedup_init(&d, &a.base);
    for (uint64_t i = 1; i <= 5000; i++) {
        ck_assert(tpi_dedup_add(&d, i, 0));
        if (i % 5 == 0) {
            tpi_dedup_undo(&d, 2);
        }
    }
    for (uint64_t i = 1; i <= 5000; i++) {
        ck_assert_int_eq(tpi_dedup_seen(&d, i, 0), i % 5 != 0 && i % 5 != 4);
    }
    tpi_dedup_undo(&d, 100000);
    ck_assert_uint_eq(d.count, 0);
    tpi_dedup_fini(&d);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(without_memory_a_key_is_not_kept)
{
    struct tk_alloc a;
    struct tpi_dedup d;
    tk_alloc_init(&a);
    tpi_dedup_init(&d, &a.base);
    a.fail_at = 2;
    ck_assert(!tpi_dedup_add(&d, 1, 0));
    ck_assert(!tpi_dedup_seen(&d, 1, 0));
    ck_assert(tpi_dedup_add(&d, 1, 0));
    for (uint64_t i = 2; i <= 256; i++) {
        ck_assert(tpi_dedup_add(&d, i, 0));
    }
    a.fail_at = a.count + 1;
    ck_assert(tpi_dedup_add(&d, 257, 0)); /* the oldest makes room */
    ck_assert(!tpi_dedup_seen(&d, 1, 0));
    ck_assert(tpi_dedup_seen(&d, 257, 0));
    tpi_dedup_fini(&d);
    tk_alloc_check(&a);
}
END_TEST

Suite *dedup_suite(void)
{
    Suite *s = suite_create("dedup");
    TCase *t = tcase_create("dedup");
    tcase_add_test(t, keys_are_known_until_they_are_old);
    tcase_add_test(t, the_oldest_leave_when_there_are_too_many);
    tcase_add_test(t, a_batch_that_fails_takes_its_keys_back);
    tcase_add_test(t, without_memory_a_key_is_not_kept);
    suite_add_tcase(s, t);
    return s;
}
