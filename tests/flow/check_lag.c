/*
 * What holds the log: slow devices beside a fast one, and a log and a database that are not of the
 * same time.
 */
#include "suites.h"

#include "crowd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOW = 999, LOG_BYTES = 1 << 20 };

static bool no_sqlite(const char *what)
{
    if (!fx_has_sqlite()) {
        tk_skip(what, "the module sqlite is not built");
    }
    return !fx_has_sqlite();
}

/* ---- 1 fast and 999 slow ---- */

static int feed_or_wait(struct crowd *c, uint32_t device)
{
    int rc = crowd_feed(c, device);
    int waits = 0;
    for (; rc == TPC_EAGAIN && waits < 1000; waits++) {
        (void) fx_step(c->f);
        tk_clock_advance(&c->f->e.clock, 10);
        rc = crowd_feed(c, device);
    }
    ck_assert_msg(rc == 0, "device %u after %d waits: %s", (unsigned) device, waits,
                  tpc_error_name(rc));
    return waits;
}

struct crowd_run {
    struct fx *f;
    struct crowd_book *book;
    uint32_t fast;    /* messages of device 0 */
    uint64_t step_ms; /* between 100 of them */
};

/* Ends without a stop: what is only in memory is gone. */
static void one_fast_and_die(void *user)
{
    struct crowd_run *x = user;
    static struct crowd c;
    double most = 0;
    int waits = 0;
    fx_open(x->f);
    crowd_put(x->f, 1 + SLOW);
    fx_start(x->f);
    crowd_open(&c, x->f, 1 + SLOW, x->book);
    for (uint32_t i = 1; i <= SLOW; i++) {
        waits += feed_or_wait(&c, i);
    }
    for (uint32_t i = 0; i < x->fast; i++) {
        waits += feed_or_wait(&c, 0);
        if (i % 100 == 99) {
            (void) fx_step(x->f);
            tk_clock_advance(&x->f->e.clock, x->step_ms);
            double bytes = fx_metric(x->f, "tpc_log_bytes");
            most = bytes > most ? bytes : most;
        }
        if (i % 1000 == 999) { /* now and then one of the slow ones speaks */
            waits += feed_or_wait(&c, 1 + i / 1000 % SLOW);
        }
    }
    fx_settle(x->f);
    ck_assert_msg(most <= LOG_BYTES + 65536, "the log had %.0f bytes", most);
    ck_assert_double_gt(fx_metric(x->f, "tpc_log_trimmed_segments_total"), 5);
    (void) crowd_check(&c);
    printf("lag: log at most %.0f bytes, %.0f provisional and %.0f full chunks, %d waits\n", most,
           fx_metric(x->f, "tpc_history_provisional_total"),
           fx_metric(x->f, "tpc_history_chunks_total"), waits);
}

/* The clock stands still in one run: then only the log's limit asks for checkpoints. */
static void one_fast(uint64_t step_ms)
{
    struct fx f;
    if (no_sqlite("1 fast and 999 slow devices")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    f.o.partitions = 1;
    snprintf(f.log_options, sizeof(f.log_options),
             "\"segment_size\":\"64KiB\",\"max_bytes\":\"%d\"", LOG_BYTES);
    struct crowd_book *book = crowd_book_make_first(1 + SLOW, 100000);
    struct crowd_run x = { &f, book, 80000, step_ms };
    ck_assert_int_eq(fx_child(one_fast_and_die, &x), 0);
    static struct crowd c;
    fx_open(&f);
    fx_start(&f);
    (void) fx_step(&f);
    /* Replay is bounded by what the log holds, not by what was ever sent. */
    double again = fx_metric(&f, "tpc_history_skipped_total");
    double taken = fx_metric(&f, "tpc_history_samples_total") / 3;
    printf("lag: replay passed over %.0f records and took %.0f\n", again, taken);
    ck_assert_double_lt(again + taken, 80000 / 2);
    crowd_open(&c, &f, 1 + SLOW, book);
    (void) crowd_check(&c);
    crowd_close(&c);
    fx_fini(&f);
    crowd_book_free(book);
}

START_TEST(one_fast_device_is_not_held_by_999_slow_ones)
{
    one_fast(100);
}
END_TEST

START_TEST(slow_devices_do_not_hold_a_full_log_either)
{
    one_fast(0);
}
END_TEST

/* ---- log and database of different times ---- */

static void copy_dir(const struct fx *f, const char *from, const char *to)
{
    char command[900];
    snprintf(command, sizeof(command), "rm -rf '%s/%s' && cp -a '%s/%s' '%s/%s'", f->dir, to,
             f->dir, from, f->dir, to);
    ck_assert_int_eq(system(command), 0);
}

static void copy_database(const struct fx *f, const char *from, const char *to)
{
    char command[900];
    snprintf(command, sizeof(command),
             "cd '%s' && mkdir -p ./%s && rm -f %s/*.db* && cp -a %s/*.db* %s/", f->dir, to, to,
             from, to);
    ck_assert_int_eq(system(command), 0);
}

static void feed_seqs(struct fx *f, int from, int to)
{
    for (int i = from; i < to; i++) {
        int rc = fx_feed_seq(f, "t1", i);
        for (int k = 0; k < 100 && rc == TPC_EAGAIN; k++) {
            (void) fx_step(f);
            tk_clock_advance(&f->e.clock, 100);
            rc = fx_feed_seq(f, "t1", i);
        }
        if (rc != 0) {
            fx_ok(rc, "feed");
        }
        if (i % 50 == 49) {
            (void) fx_step(f);
            tk_clock_advance(&f->e.clock, 500);
        }
    }
    fx_settle(f);
}

static void make_two_times(struct fx *f, int first, int second)
{
    fx_init(f, 0, FX_FILE_LOG | FX_SQLITE);
    snprintf(f->log_options, sizeof(f->log_options),
             "\"segment_size\":\"64KiB\",\"max_bytes\":\"1MiB\"");
    f->o.history_checkpoint_ms = 5000;
    fx_run(f);
    feed_seqs(f, 0, first);
    fx_close(f);
    copy_dir(f, "log", "log.old");
    copy_database(f, ".", "old");
    fx_open(f);
    fx_start(f);
    feed_seqs(f, first, first + second);
    printf("lag: %.0f segments were trimmed\n", fx_metric(f, "tpc_log_trimmed_segments_total"));
    fx_close(f);
}

/* A backup of the database: the log still has what it lacks. */
START_TEST(an_older_database_is_filled_from_the_log)
{
    struct fx f;
    if (no_sqlite("an older database")) {
        return;
    }
    make_two_times(&f, 500, 700);
    copy_database(&f, "old", ".");
    fx_open(&f);
    fx_start(&f);
    (void) fx_step(&f);
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_eq(r.count, 1200);
    ck_assert(r.growing && r.ordered);
    feed_seqs(&f, 1200, 1300);
    ck_assert_uint_eq(fx_history(&f, "t1", "seq").count, 1300);
    fx_fini(&f);
}
END_TEST

/* So old that the log does not reach back to it: refused by name, or started with a gap if told. */
START_TEST(a_database_that_the_log_does_not_reach_is_refused)
{
    struct fx f;
    enum { FIRST = 200, SECOND = 90000 };
    if (no_sqlite("a much older database")) {
        return;
    }
    make_two_times(&f, FIRST, SECOND);
    copy_database(&f, "old", ".");
    fx_open(&f);
    int rc = tpc_core_start(f.core);
    ck_assert_msg(rc == TPC_EGAP, "%s: %s", tpc_error_name(rc), tpc_error_last()->text);
    fx_error_says("the history ends at offset");
    fx_close(&f);
    f.o.flags = TPC_CORE_ACCEPT_GAP;
    fx_open(&f);
    fx_start(&f);
    (void) fx_step(&f);
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_gt(r.count, FIRST);
    ck_assert_uint_lt(r.count, FIRST + SECOND);
    ck_assert(r.ordered && !r.growing);
    ck_assert_double_eq(r.last, FIRST + SECOND - 1);
    fx_close(&f);
    f.o.flags = 0; /* once it is accepted it is no gap any more */
    fx_open(&f);
    fx_start(&f);
    feed_seqs(&f, FIRST + SECOND, FIRST + SECOND + 50);
    ck_assert_uint_eq(fx_history(&f, "t1", "seq").count, r.count + 50);
    fx_fini(&f);
}
END_TEST

/* The log is a backup: offsets that the history knows are not given out again, so that nothing new
 * is taken for old. */
START_TEST(what_comes_after_an_older_log_is_not_taken_for_old)
{
    struct fx f;
    if (no_sqlite("an older log")) {
        return;
    }
    make_two_times(&f, 300, 400);
    copy_dir(&f, "log.old", "log");
    fx_open(&f);
    fx_start(&f);
    (void) fx_step(&f);
    ck_assert_uint_eq(fx_history(&f, "t1", "seq").count, 700);
    feed_seqs(&f, 700, 900);
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_eq(r.count, 900);
    ck_assert(r.growing && r.ordered);
    fx_close(&f);
    fx_open(&f);
    fx_start(&f);
    ck_assert_uint_eq(fx_history(&f, "t1", "seq").count, 900);
    fx_fini(&f);
}
END_TEST

Suite *lag_suite(void)
{
    Suite *s = suite_create("lag");
    TCase *t = tcase_create("lag");
    tcase_add_test(t, one_fast_device_is_not_held_by_999_slow_ones);
    tcase_add_test(t, slow_devices_do_not_hold_a_full_log_either);
    tcase_add_test(t, an_older_database_is_filled_from_the_log);
    tcase_add_test(t, a_database_that_the_log_does_not_reach_is_refused);
    tcase_add_test(t, what_comes_after_an_older_log_is_not_taken_for_old);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
