#include <pthread.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/arena.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base_suites.h"

START_TEST(default_allocator_gives_resizes_and_frees)
{
    const struct tpc_allocator *a = tpc_allocator_default();
    char *p = tpi_alloc_zero(NULL, 10);
    ck_assert_ptr_nonnull(p);
    memcpy(p, "123456789", 10);
    p = tpi_resize(a, p, 10, 100000);
    ck_assert_str_eq(p, "123456789");
    tpi_free(a, p, 100000);
    tpi_free(a, NULL, 1);
    ck_assert_ptr_null(tpi_alloc_array(a, SIZE_MAX / 2, 3));
}
END_TEST

START_TEST(str_dup_ends_with_nul_and_takes_its_length_and_one)
{
    struct tk_alloc a;
    tk_alloc_init(&a);
    char *p = tpi_str_dup(&a.base, (struct tpc_str){ "abcdef", 3 });
    ck_assert_str_eq(p, "abc");
    ck_assert_uint_eq(a.live_bytes, 4);
    tpi_free(&a.base, p, 4);
    p = tpi_str_dup(&a.base, (struct tpc_str){ NULL, 0 });
    ck_assert_str_eq(p, "");
    tpi_free(&a.base, p, 1);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(meter_refuses_over_its_limit_and_counts)
{
    struct tk_alloc a;
    struct tpi_meter m;
    tk_alloc_init(&a);
    tpi_meter_init(&m, &a.base, 1066); /* 66 of them reserve */
    char *p = tpi_alloc(&m.base, 600);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_null(tpi_alloc(&m.base, 401));
    ck_assert_ptr_null(tpi_resize(&m.base, p, 600, 1001));
    ck_assert_uint_eq(tpi_meter_refused(&m), 2);
    char *q = tpi_alloc(&m.base, 400);
    ck_assert_ptr_nonnull(q);
    ck_assert_uint_eq(tpi_meter_used(&m), 1000);
    tpi_free(&m.base, q, 400);
    p = tpi_resize(&m.base, p, 600, 100);
    ck_assert_uint_eq(tpi_meter_used(&m), 100);
    ck_assert_uint_eq(a.live_bytes, 100);
    tpi_free(&m.base, p, 100);
    ck_assert_uint_eq(tpi_meter_used(&m), 0);
    ck_assert_uint_eq(tpi_meter_peak(&m), 1000);
    ck_assert_uint_eq(tpi_meter_limit(&m), 1000);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(the_reserve_is_kept_for_its_own_allocator)
{
    struct tk_alloc a;
    struct tpi_meter m;
    tk_alloc_init(&a);
    tpi_meter_init(&m, &a.base, 1600);
    ck_assert_uint_eq(tpi_meter_limit(&m), 1500);
    void *full = tpi_alloc(&m.base, 1500);
    ck_assert_ptr_nonnull(full);
    ck_assert_ptr_null(tpi_alloc(&m.base, 1));
    void *more = tpi_alloc(&m.reserve, 100);
    ck_assert_ptr_nonnull(more);
    ck_assert_ptr_null(tpi_alloc(&m.reserve, 1));
    tpi_free(&m.reserve, full, 1500);
    tpi_free(&m.base, more, 100);
    ck_assert_ptr_null(tpi_alloc(&m.base, 1501));
    tk_alloc_check(&a);
}
END_TEST

START_TEST(meter_gives_back_what_the_inner_allocator_refuses)
{
    struct tk_alloc a;
    struct tpi_meter m;
    tk_alloc_init(&a);
    a.fail_at = 1;
    tpi_meter_init(&m, &a.base, 0);
    ck_assert_ptr_null(tpi_alloc(&m.base, 10));
    ck_assert_uint_eq(tpi_meter_used(&m), 0);
    ck_assert_uint_eq(tpi_meter_refused(&m), 1);
}
END_TEST

static void *allocate_often(void *user)
{
    struct tpi_meter *m = user;
    for (size_t i = 0; i < 20000; i++) {
        size_t n = 1 + i % 100;
        void *p = tpi_alloc(&m->base, n);
        tpi_free(&m->base, p, n);
    }
    return NULL;
}

START_TEST(meter_never_passes_its_limit_with_threads)
{
    struct tpi_meter m;
    pthread_t threads[4];
    tpi_meter_init(&m, NULL, 250);
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, allocate_often, &m);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_eq(tpi_meter_used(&m), 0);
    ck_assert_uint_le(tpi_meter_peak(&m), 250);
}
END_TEST

START_TEST(arena_memory_is_aligned_and_does_not_overlap)
{
    struct tk_alloc a;
    struct tpc_arena *arena;
    uint8_t *taken[300];
    tk_alloc_init(&a);
    tk_ok(tpc_arena_create(&a.base, 0, &arena));
    ck_assert_uint_eq(a.live_blocks, 1);
    for (size_t i = 0; i < 300; i++) {
        taken[i] = tpc_arena_take(arena, i * 7);
        ck_assert_ptr_nonnull(taken[i]);
        ck_assert_uint_eq((uintptr_t) taken[i] % alignof(max_align_t), 0);
        memset(taken[i], (int) (i & 255), i * 7);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < i * 7; j++) {
            ck_assert_uint_eq(taken[i][j], i & 255);
        }
    }
    arena = tpc_arena_destroy(arena);
    ck_assert_ptr_null(arena);
    ck_assert_ptr_null(tpc_arena_destroy(NULL));
    tk_alloc_check(&a);
}
END_TEST

/* Looks at each block before it goes. */
struct looking {
    uint32_t freed;
    uint32_t with_secret;
};

static void *look_and_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    struct looking *l = user;
    if (new_size > 0) {
        return realloc(ptr, new_size);
    }
    l->freed++;
    l->with_secret += memmem(ptr, old_size, "hunter2", 7) != NULL;
    free(ptr);
    return NULL;
}

START_TEST(arena_with_secrets_is_wiped)
{
    for (int secret = 0; secret < 2; secret++) {
        struct looking l = { 0 };
        const struct tpc_allocator alloc = { look_and_resize, &l };
        struct tpc_arena *arena;
        tk_ok(tpc_arena_create(&alloc, 0, &arena));
        for (int i = 0; i < 3; i++) { /* several blocks */
            char *p = tpc_arena_take(arena, 6000);
            memcpy(p, "hunter2", 8);
        }
        if (secret) {
            tpi_arena_secret(arena);
        }
        tpc_arena_reset(arena);
        tpc_arena_destroy(arena);
        ck_assert_uint_ge(l.freed, 3);
        ck_assert_int_eq(l.with_secret > 0, !secret);
    }
}
END_TEST

START_TEST(small_arena_takes_little_more_than_it_gives)
{
    struct tk_alloc a;
    struct tpc_arena *arena;
    tk_alloc_init(&a);
    tk_ok(tpc_arena_create(&a.base, 0, &arena));
    tpi_arena_small(arena, 256);
    size_t before = a.live_bytes;
    size_t given = 0;
    for (size_t i = 0; i < 600; i++) {
        size_t size = i == 5 ? 700 : 16 + i % 3 * 32;
        memset(tpc_arena_take(arena, size), 1, size);
        given += size;
        if (given < 2048) {
            ck_assert_uint_le(a.live_bytes - before, given + given / 3 + 256);
        }
    }
    ck_assert_uint_le(a.count, 30); /* many small blocks are too many */
    tpc_arena_destroy(arena);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(arena_allocates_nothing_once_it_is_warm)
{
    struct tk_alloc a;
    struct tpc_arena *arena;
    tk_alloc_init(&a);
    tk_ok(tpc_arena_create(&a.base, 0, &arena));
    for (size_t round = 0; round < 10; round++) {
        if (round == 2) {
            a.fail_at = a.count + 1;
            a.sticky = true;
        }
        for (size_t i = 0; i < 100; i++) {
            ck_assert_ptr_nonnull(tpc_arena_take(arena, 150));
        }
        tpc_arena_reset(arena);
        ck_assert_uint_le(a.live_blocks, 2);
    }
    tpc_arena_destroy(arena);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(arena_stays_within_its_limit)
{
    struct tk_alloc a;
    struct tpc_arena *arena;
    tk_alloc_init(&a);
    tk_ok(tpc_arena_create(&a.base, 10000, &arena));
    size_t before = a.live_bytes;
    ck_assert_ptr_null(tpc_arena_take(arena, 10001));
    ck_assert_ptr_null(tpc_arena_take(arena, SIZE_MAX));
    ck_assert_ptr_null(tpc_arena_take(arena, SIZE_MAX - 15));
    size_t got = 0;
    while (tpc_arena_take(arena, 16) != NULL) {
        got += 16;
    }
    ck_assert_uint_gt(got, 9800);
    ck_assert_uint_le(a.live_bytes - before, 10000);
    tpc_arena_reset(arena);
    ck_assert_ptr_nonnull(tpc_arena_take(arena, 5000));
    tpc_arena_destroy(arena);
    tk_alloc_check(&a);
    tk_fails(TPC_EINVAL, tpc_arena_create(NULL, 0, NULL));
}
END_TEST

static int use_arena(const struct tpc_allocator *alloc, void *user)
{
    struct tpc_arena *arena = NULL;
    (void) user;
    int rc = tpc_arena_create(alloc, 0, &arena);
    for (size_t i = 0; rc == 0 && i < 2000; i++) {
        if (tpc_arena_take(arena, 40) == NULL) {
            rc = TPC_ENOMEM;
        }
    }
    tpc_arena_destroy(arena);
    return rc;
}

START_TEST(arena_survives_every_failing_allocation)
{
    ck_assert_uint_gt(tk_each_alloc_fails(use_arena, NULL), 3);
}
END_TEST

Suite *alloc_suite(void)
{
    Suite *s = suite_create("alloc");
    TCase *c = tcase_create("alloc");
    tcase_add_test(c, default_allocator_gives_resizes_and_frees);
    tcase_add_test(c, str_dup_ends_with_nul_and_takes_its_length_and_one);
    tcase_add_test(c, meter_refuses_over_its_limit_and_counts);
    tcase_add_test(c, the_reserve_is_kept_for_its_own_allocator);
    tcase_add_test(c, meter_gives_back_what_the_inner_allocator_refuses);
    tcase_add_test(c, meter_never_passes_its_limit_with_threads);
    tcase_add_test(c, arena_memory_is_aligned_and_does_not_overlap);
    tcase_add_test(c, arena_with_secrets_is_wiped);
    tcase_add_test(c, small_arena_takes_little_more_than_it_gives);
    tcase_add_test(c, arena_allocates_nothing_once_it_is_warm);
    tcase_add_test(c, arena_stays_within_its_limit);
    tcase_add_test(c, arena_survives_every_failing_allocation);
    suite_add_tcase(s, c);
    return s;
}
