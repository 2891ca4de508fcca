#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base_suites.h"
#include "tk_env.h"

START_TEST(system_environment_works)
{
    struct tpi_env env;
    tpi_env_default(&env);
    uint64_t before = tpi_mono_ns(&env);
    ck_assert_int_gt(tpi_unix_ms(&env), INT64_C(1700000000000));
    ck_assert_uint_ge(tpi_mono_ns(&env), before);
    uint8_t a[600], b[600];
    tk_ok(tpi_random(&env, a, sizeof(a)));
    tk_ok(tpi_random(&env, b, sizeof(b)));
    ck_assert_mem_ne(a, b, sizeof(a));
    tpi_log(&env, TPC_LOG_ERROR, "x", "nobody hears %d", 1);
    tpi_log(NULL, TPC_LOG_ERROR, "x", "nor this");
}
END_TEST

START_TEST(log_filters_by_level_and_cuts_long_lines)
{
    struct tk_env e;
    tk_env_init(&e);
    e.env.log_level = TPC_LOG_INFO;
    tpi_log(&e.env, TPC_LOG_DEBUG, "log", "hidden");
    tpi_log(&e.env, TPC_LOG_INFO, "log", "seen %d", 42);
    char big[3000];
    memset(big, 'y', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    tpi_log(&e.env, TPC_LOG_WARN, "log", "%s", big);
    ck_assert_uint_eq(e.log_count, 2);
    ck_assert_uint_eq(tk_env_logged(&e, "log: seen 42"), 1);
    ck_assert_uint_eq(tk_env_logged(&e, "hidden"), 0);
    ck_assert_uint_eq(strlen(e.log_lines[1]), 505);
    tk_env_fini(&e);
}
END_TEST

START_TEST(ids_are_uuid_v7_of_the_clock)
{
    struct tk_env e;
    struct tpc_id id;
    tk_env_init(&e);
    tk_ok(tpi_id_make(&e.env, &id));
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++) {
        ms = ms << 8 | id.b[i];
    }
    ck_assert_int_eq((int64_t) ms, tpi_unix_ms(&e.env));
    ck_assert_uint_eq(id.b[6] >> 4, 7);
    ck_assert_uint_eq(id.b[8] >> 6, 2);
    tk_env_fini(&e);
}
END_TEST

START_TEST(ids_grow_also_when_the_clock_goes_back_or_stands_still)
{
    struct tk_env e;
    struct tpc_id last, id;
    tk_env_init(&e);
    tk_ok(tpi_id_make(&e.env, &last));
    for (int i = 0; i < 20000; i++) {
        if (i == 5000) {
            tk_clock_set_unix(&e.clock, tpi_unix_ms(&e.env) - 100000);
        }
        if (i > 15000) {
            tk_clock_advance(&e.clock, 30);
        }
        tk_ok(tpi_id_make(&e.env, &id));
        ck_assert_int_lt(memcmp(&last, &id, sizeof(id)), 0);
        ck_assert_uint_eq(id.b[6] >> 4, 7);
        last = id;
    }
    tk_env_fini(&e);
}
END_TEST

enum { ID_THREADS = 4, IDS = 3000 };

struct id_job {
    struct tk_env *env;
    struct tpc_id ids[IDS];
};

static void *make_ids(void *user)
{
    struct id_job *job = user;
    for (size_t i = 0; i < IDS; i++) {
        if (tpi_id_make(&job->env->env, &job->ids[i]) != 0) {
            return job;
        }
    }
    return NULL;
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct tpc_id));
}

START_TEST(ids_of_several_threads_differ_and_grow_in_each)
{
    struct tk_env e;
    pthread_t threads[ID_THREADS];
    struct id_job *jobs = calloc(ID_THREADS, sizeof(*jobs));
    struct tpc_id *all = calloc((size_t) ID_THREADS * IDS, sizeof(*all));
    tk_env_init(&e);
    for (size_t t = 0; t < ID_THREADS; t++) {
        jobs[t].env = &e;
        pthread_create(&threads[t], NULL, make_ids, &jobs[t]);
    }
    for (size_t t = 0; t < ID_THREADS; t++) {
        void *bad;
        pthread_join(threads[t], &bad);
        ck_assert_ptr_null(bad);
        for (size_t i = 1; i < IDS; i++) {
            ck_assert_int_lt(by_bytes(&jobs[t].ids[i - 1], &jobs[t].ids[i]), 0);
        }
        memcpy(all + t * IDS, jobs[t].ids, sizeof(jobs[t].ids));
    }
    /* The time and counter part alone (8 bytes) is never given out twice. */
    qsort(all, (size_t) ID_THREADS * IDS, sizeof(*all), by_bytes);
    for (size_t i = 1; i < (size_t) ID_THREADS * IDS; i++) {
        ck_assert_int_lt(memcmp(&all[i - 1], &all[i], 8), 0);
    }
    free(jobs);
    free(all);
    tk_env_fini(&e);
}
END_TEST

static int no_random(void *user, void *ptr, size_t len)
{
    (void) user;
    (void) ptr;
    (void) len;
    return TPC_EIO;
}

START_TEST(no_id_without_randomness)
{
    struct tk_env e;
    struct tpc_id id;
    tk_env_init(&e);
    e.random.fill = no_random;
    tk_fails(TPC_EIO, tpi_id_make(&e.env, &id));
    tk_env_fini(&e);
}
END_TEST

START_TEST(still_clock_moves_only_by_hand)
{
    struct tk_env e;
    tk_env_init(&e);
    int64_t unix_ms = tpi_unix_ms(&e.env);
    uint64_t mono = tpi_mono_ms(&e.env);
    tk_clock_advance(&e.clock, 1500);
    ck_assert_int_eq(tpi_unix_ms(&e.env), unix_ms + 1500);
    ck_assert_uint_eq(tpi_mono_ms(&e.env), mono + 1500);
    tk_clock_set_unix(&e.clock, 5);
    ck_assert_int_eq(tpi_unix_ms(&e.env), 5);
    ck_assert_uint_eq(tpi_mono_ms(&e.env), mono + 1500);
    tk_env_fini(&e);
}
END_TEST

Suite *env_suite(void)
{
    Suite *s = suite_create("env");
    TCase *c = tcase_create("env");
    tcase_add_test(c, system_environment_works);
    tcase_add_test(c, log_filters_by_level_and_cuts_long_lines);
    tcase_add_test(c, ids_are_uuid_v7_of_the_clock);
    tcase_add_test(c, ids_grow_also_when_the_clock_goes_back_or_stands_still);
    tcase_add_test(c, ids_of_several_threads_differ_and_grow_in_each);
    tcase_add_test(c, no_id_without_randomness);
    tcase_add_test(c, still_clock_moves_only_by_hand);
    suite_add_tcase(s, c);
    return s;
}
