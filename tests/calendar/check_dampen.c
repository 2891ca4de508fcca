#include "places.h"

#include "calendar/dampen.h"

/* Runs one after the other, a second apart: '1' true, '0' false; the answers in the same way. */
static void answers(const struct tpi_dampen *d, const char *runs, const char *expect)
{
    struct tpi_dampen_state s = { 0 };
    for (int i = 0; runs[i] != '\0'; i++) {
        bool got = tpi_dampen_run(d, &s, runs[i] == '1', 1000 * i);
        ck_assert_msg(got == (expect[i] == '1'), "run %d of %s", i, runs);
    }
}

START_TEST(none_believes_every_run)
{
    struct tpi_dampen d = { .type = TPI_DAMPEN_NONE };
    answers(&d, "0110", "0110");
}
END_TEST

START_TEST(consecutive_looks_at_the_newest_runs)
{
    struct tpi_dampen d = { .type = TPI_DAMPEN_CONSECUTIVE, .count = 3 };
    answers(&d, "1110111100", "0010001100");
}
END_TEST

START_TEST(evaluation_counts_in_the_newest_window)
{
    struct tpi_dampen d = { .type = TPI_DAMPEN_EVALUATION, .count = 2, .window = 4 };
    answers(&d, "1001000011100000", "0001000001111000");
}
END_TEST

START_TEST(active_needs_its_time_without_a_break)
{
    struct tpi_dampen d = { .type = TPI_DAMPEN_ACTIVE, .active_ms = 2000 };
    answers(&d, "1101111011", "0000011000");
    struct tpi_dampen_state s = { 0 };
    ck_assert_int_eq(tpi_dampen_due(&d, &s), INT64_MAX);
    tpi_dampen_run(&d, &s, true, 5000);
    ck_assert_int_eq(tpi_dampen_due(&d, &s), 7000);
    ck_assert(!tpi_dampen_run(&d, &s, true, 6999));
    ck_assert(tpi_dampen_run(&d, &s, true, 7000));
    ck_assert(!tpi_dampen_run(&d, &s, true, 1000)); /* the clock went back */
    ck_assert_int_eq(tpi_dampen_due(&d, &s), 3000);
    ck_assert(!tpi_dampen_run(&d, &s, false, 9000));
    ck_assert_int_eq(tpi_dampen_due(&d, &s), INT64_MAX);
}
END_TEST

START_TEST(counts_beyond_the_limits_are_brought_to_them)
{
    struct tpi_dampen d = { .type = TPI_DAMPEN_CONSECUTIVE, .count = 1000 };
    struct tpi_dampen_state s = { 0 };
    for (int i = 0; i < TPI_DAMPEN_MAX_RUNS - 1; i++) {
        ck_assert(!tpi_dampen_run(&d, &s, true, i));
    }
    ck_assert(tpi_dampen_run(&d, &s, true, 100));
    d.count = 0;
    ck_assert(tpi_dampen_run(&d, &s, true, 101));
    ck_assert(!tpi_dampen_run(&d, &s, false, 102));
}
END_TEST

Suite *dampen_suite(void)
{
    Suite *s = suite_create("dampen");
    TCase *t = tcase_create("dampen");
    tcase_add_test(t, none_believes_every_run);
    tcase_add_test(t, consecutive_looks_at_the_newest_runs);
    tcase_add_test(t, evaluation_counts_in_the_newest_window);
    tcase_add_test(t, active_needs_its_time_without_a_break);
    tcase_add_test(t, counts_beyond_the_limits_are_brought_to_them);
    suite_add_tcase(s, t);
    return s;
}
