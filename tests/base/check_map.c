#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base_suites.h"

enum { KEYS = 400, STEPS = 60000 };

static size_t key_of(size_t i, char key[32])
{
    return i == 0 ? 0 : (size_t) snprintf(key, 32, "k%zu%.*s", i, (int) (i % 9), "#########");
}

static void *mark(size_t i)
{
    static char marks[STEPS + 1];
    return &marks[i + 1];
}

static void compare(const struct tpi_map *m, void *const *model)
{
    size_t count = 0, walked = 0, iter = 0;
    char key[32] = "";
    for (size_t i = 0; i < KEYS; i++) {
        size_t len = key_of(i, key);
        ck_assert_ptr_eq(tpi_map_get(m, key, len), model[i]);
        count += model[i] != NULL;
    }
    ck_assert_uint_eq(tpi_map_count(m), count);
    struct tpc_bytes found;
    void *value;
    while (tpi_map_next(m, &iter, &found, &value)) {
        ck_assert_ptr_eq(tpi_map_get(m, found.ptr, found.len), value);
        ck_assert_uint_eq(found.ptr[found.len], 0);
        walked++;
    }
    ck_assert_uint_eq(walked, count);
}

START_TEST(map_agrees_with_a_plain_array_over_random_steps)
{
    struct tk_alloc a;
    struct tpi_map m;
    void *model[KEYS] = { NULL };
    unsigned int seed = 11;
    char key[32] = "";
    tk_alloc_init(&a);
    tpi_map_init(&m, &a.base);
    for (size_t step = 0; step < STEPS; step++) {
        /* Phases of mostly adding and of mostly removing. */
        bool put = (unsigned int) rand_r(&seed) % 10 < (step / 5000 % 2 == 0 ? 7U : 3U);
        size_t i = (size_t) rand_r(&seed) % KEYS;
        size_t len = key_of(i, key);
        if (put) {
            void *old = &m;
            tk_ok(tpi_map_put(&m, key, len, mark(step % STEPS), &old));
            ck_assert_ptr_eq(old, model[i]);
            model[i] = mark(step % STEPS);
        } else {
            ck_assert_ptr_eq(tpi_map_remove(&m, key, len), model[i]);
            model[i] = NULL;
        }
        if (step % 1000 == 0) {
            compare(&m, model);
        }
    }
    compare(&m, model);
    tpi_map_fini(&m);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(map64_agrees_with_a_plain_array_over_random_steps)
{
    struct tk_alloc a;
    struct tpi_map64 m;
    void *model[KEYS] = { NULL };
    unsigned int seed = 12;
    tk_alloc_init(&a);
    tpi_map64_init(&m, &a.base);
    for (size_t step = 0; step < STEPS; step++) {
        bool put = (unsigned int) rand_r(&seed) % 10 < (step / 5000 % 2 == 0 ? 7U : 3U);
        size_t i = (size_t) rand_r(&seed) % KEYS;
        uint64_t key = i * UINT64_C(0x1000000000000);
        if (put) {
            void *old = &m;
            tk_ok(tpi_map64_put(&m, key, mark(step), &old));
            ck_assert_ptr_eq(old, model[i]);
            model[i] = mark(step);
        } else {
            ck_assert_ptr_eq(tpi_map64_remove(&m, key), model[i]);
            model[i] = NULL;
        }
    }
    size_t count = 0, walked = 0, iter = 0;
    for (size_t i = 0; i < KEYS; i++) {
        ck_assert_ptr_eq(tpi_map64_get(&m, i * UINT64_C(0x1000000000000)), model[i]);
        count += model[i] != NULL;
    }
    uint64_t key;
    void *value;
    while (tpi_map64_next(&m, &iter, &key, &value)) {
        ck_assert_ptr_eq(tpi_map64_get(&m, key), value);
        walked++;
    }
    ck_assert_uint_eq(walked, count);
    ck_assert_uint_eq(tpi_map64_count(&m), count);
    tpi_map64_fini(&m);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(empty_map_answers)
{
    struct tpi_map m;
    struct tpi_map64 n;
    size_t iter = 0;
    tpi_map_init(&m, NULL);
    tpi_map64_init(&n, NULL);
    ck_assert_ptr_null(tpi_map_get(&m, "x", 1));
    ck_assert_ptr_null(tpi_map_remove(&m, "x", 1));
    ck_assert(!tpi_map_next(&m, &iter, NULL, NULL));
    ck_assert_ptr_null(tpi_map64_get(&n, 0));
    ck_assert_ptr_null(tpi_map64_remove(&n, 0));
    ck_assert(!tpi_map64_next(&n, &iter, NULL, NULL));
    tpi_map_fini(&m);
    tpi_map64_fini(&n);
}
END_TEST

START_TEST(keys_are_bytes_with_nul_and_are_copied)
{
    struct tpi_map m;
    char key[3] = { 'a', '\0', 'b' };
    tpi_map_init(&m, NULL);
    m.seed = 99;
    tk_ok(tpi_map_put(&m, key, 3, mark(1), NULL));
    tk_ok(tpi_map_put(&m, key, 1, mark(2), NULL));
    key[2] = 'c';
    ck_assert_ptr_null(tpi_map_get(&m, key, 3));
    ck_assert_ptr_eq(tpi_map_get(&m, "a\0b", 3), mark(1));
    ck_assert_ptr_eq(tpi_map_get(&m, "a", 1), mark(2));
    tpi_map_fini(&m);
}
END_TEST

static int fill_maps(const struct tpc_allocator *alloc, void *user)
{
    struct tpi_map m;
    struct tpi_map64 n;
    int rc = 0;
    (void) user;
    tpi_map_init(&m, alloc);
    tpi_map64_init(&n, alloc);
    for (size_t i = 0; rc == 0 && i < 100; i++) {
        char key[32] = "";
        size_t len = key_of(i, key);
        rc = tpi_map_put(&m, key, len, mark(i), NULL);
        ck_assert_uint_eq(tpi_map_count(&m), rc == 0 ? i + 1 : i);
        ck_assert_ptr_eq(tpi_map_get(&m, key, len), rc == 0 ? mark(i) : NULL);
        if (rc == 0) {
            rc = tpi_map64_put(&n, i, mark(i), NULL);
        }
    }
    for (size_t i = 0; i < tpi_map64_count(&n); i++) {
        ck_assert_ptr_eq(tpi_map64_get(&n, i), mark(i));
    }
    tpi_map_fini(&m);
    tpi_map64_fini(&n);
    return rc;
}

START_TEST(maps_survive_every_failing_allocation)
{
    ck_assert_uint_gt(tk_each_alloc_fails(fill_maps, NULL), 100);
}
END_TEST

Suite *map_suite(void)
{
    Suite *s = suite_create("map");
    TCase *c = tcase_create("map");
    tcase_add_test(c, map_agrees_with_a_plain_array_over_random_steps);
    tcase_add_test(c, map64_agrees_with_a_plain_array_over_random_steps);
    tcase_add_test(c, empty_map_answers);
    tcase_add_test(c, keys_are_bytes_with_nul_and_are_copied);
    tcase_add_test(c, maps_survive_every_failing_allocation);
    suite_add_tcase(s, c);
    return s;
}
