/* The disk of the log: damaged, full, failing. Nothing that was acknowledged is lost. */
#include "suites.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static bool no_sqlite(const char *what)
{
    if (!fx_has_sqlite()) {
        tk_skip(what, "the module sqlite is not built");
    }
    return !fx_has_sqlite();
}

static void feed_range(struct fx *f, const char *key, int from, int to)
{
    for (int i = from; i < to; i++) {
        int rc = fx_feed_seq(f, key, i);
        if (rc != 0) {
            fx_ok(rc, "feed");
        }
    }
    fx_settle(f);
    ck_assert_uint_eq(f->failed, 0);
}

static void append_bytes(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "ab");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
    fclose(file);
}

/* Ends without stopping the core: what is only in its memory is gone. */
static void run_and_die(void *user)
{
    struct fx *f = user;
    fx_run(f);
    for (int i = 0; i < 300; i += 10) {
        feed_range(f, "t1", i, i + 10);
    }
}

START_TEST(a_torn_tail_is_cut_off)
{
    struct fx f;
    char path[400];
    if (no_sqlite("a torn tail")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(run_and_die, &f), 0);
    fx_segment(&f, path);
    append_bytes(path, "\x40\x01\x00\x00 the beginning of a frame", 30);
    fx_open(&f);
    fx_start(&f);
    ck_assert_double_eq(fx_metric(&f, "tpc_log_torn_bytes_total"), 30);
    ck_assert_uint_eq(tk_env_logged(&f.e, "30 bytes of a torn write"), 1);
    feed_range(&f, "t1", 300, 310);
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_eq(r.count, 310);
    ck_assert(r.growing && r.ordered);
    fx_fini(&f);
}
END_TEST

static void damage(const char *path)
{
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    long middle = ftell(file) / 2;
    fseek(file, middle, SEEK_SET);
    int c = fgetc(file);
    fseek(file, middle, SEEK_SET);
    fputc(c ^ 0x55, file);
    fclose(file);
}

START_TEST(a_bad_frame_in_the_middle_is_skipped_and_counted)
{
    struct fx f;
    char path[400];
    if (no_sqlite("a bad frame in the middle")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    ck_assert_int_eq(fx_child(run_and_die, &f), 0);
    fx_segment(&f, path);
    damage(path);
    fx_open(&f);
    fx_start(&f);
    tk_ok(fx_step(&f));
    ck_assert_double_ge(fx_metric(&f, "tpc_log_bad_frames_total"), 1);
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_eq(r.count, 290); /* one frame = ten messages */
    ck_assert_double_eq(r.last, 299);
    ck_assert(!r.growing && r.ordered);
    feed_range(&f, "t1", 300, 310);
    ck_assert_uint_eq(fx_history(&f, "t1", "seq").count, 300);
    fx_fini(&f);
}
END_TEST

/* Feeds until "later"; how many were taken. */
static int feed_until_full(struct fx *f, int from)
{
    int n = from;
    int rc = 0;
    for (int turn = 0; turn < 100000 && rc == 0; turn++) {
        rc = fx_feed_seq(f, "t1", n);
        n += rc == 0;
        if (turn % 50 == 49) {
            (void) fx_step(f);
        }
    }
    ck_assert_msg(rc == TPC_EAGAIN, "%s after %d", tpc_error_name(rc), n);
    return n;
}

static void check_all_there(struct fx *f, int n)
{
    struct fx_rows r = fx_history(f, "t1", "seq");
    ck_assert_msg(r.count == (size_t) n, "%zu of %d are in the history", r.count, n);
    ck_assert(r.growing && r.ordered);
    ck_assert_double_eq(r.first, 0);
}

START_TEST(a_full_disk_refuses_and_recovers)
{
    struct fx f;
    if (no_sqlite("a full disk")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    snprintf(f.log_options, sizeof(f.log_options), "\"pending\":\"64KiB\"");
    f.o.frame_max_bytes = 4096;
    f.o.ring_bytes = 16384;
    fx_run(&f);
    feed_range(&f, "t1", 0, 100);
    tk_files_limit_space(&f.e.files, 20000);
    int n = feed_until_full(&f, 100);
    ck_assert_uint_lt(f.done, f.fed); /* the rest waits, unacknowledged */
    size_t done = f.done;
    ck_assert_int_eq(fx_step(&f), TPC_ENOSPC);
    ck_assert_uint_eq(f.done, done);
    ck_assert_uint_eq(tk_env_logged(&f.e, "log: cannot be written"), 1);
    ck_assert_double_ge(fx_metric(&f, "tpc_core_receive_later_total"), 1);
    ck_assert_double_gt(fx_metric(&f, "tpc_log_pending_bytes"), 0);
    tk_files_heal(&f.e.files);
    tk_clock_advance(&f.e.clock, 1000);
    fx_settle(&f);
    ck_assert_uint_eq(f.failed, 0);
    ck_assert_uint_eq(tk_env_logged(&f.e, "log: can be written again"), 1);
    feed_range(&f, "t1", n, n + 10);
    fx_close(&f);
    fx_open(&f);
    fx_start(&f);
    check_all_there(&f, n + 10);
    fx_fini(&f);
}
END_TEST

/* What was acknowledged before the end of the process on a full disk comes back. */
static void fill_and_die(void *user)
{
    struct fx *f = user;
    char path[400];
    fx_run(f);
    tk_files_limit_space(&f->e.files, 30000);
    (void) feed_until_full(f, 0);
    snprintf(path, sizeof(path), "%s/acknowledged", f->dir);
    FILE *file = fopen(path, "w");
    if (file == NULL || fprintf(file, "%zu", f->done) < 1 || fclose(file) != 0) {
        _exit(3);
    }
}

START_TEST(what_was_acknowledged_survives_the_end_on_a_full_disk)
{
    struct fx f;
    char path[400];
    size_t acknowledged = 0;
    if (no_sqlite("the end on a full disk")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    snprintf(f.log_options, sizeof(f.log_options), "\"pending\":\"64KiB\"");
    f.o.frame_max_bytes = 4096;
    f.o.ring_bytes = 16384;
    ck_assert_int_eq(fx_child(fill_and_die, &f), 0);
    snprintf(path, sizeof(path), "%s/acknowledged", f.dir);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%zu", &acknowledged), 1);
    fclose(file);
    ck_assert_uint_gt(acknowledged, 50);
    fx_open(&f);
    fx_start(&f);
    tk_ok(fx_step(&f));
    struct fx_rows r = fx_history(&f, "t1", "seq");
    ck_assert_uint_ge(r.count, acknowledged);
    ck_assert(r.growing);
    fx_fini(&f);
}
END_TEST

static void file_size_limit(void *user)
{
    struct fx *f = user;
    struct rlimit limit = { 300000, RLIM_INFINITY };
    signal(SIGXFSZ, SIG_IGN);
    fx_run(f);
    feed_range(f, "t1", 0, 100);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        _exit(3);
    }
    int n = feed_until_full(f, 100);
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0 || f->done >= f->fed) {
        _exit(4);
    }
    tk_clock_advance(&f->e.clock, 1000);
    fx_settle(f);
    feed_range(f, "t1", n, n + 10);
    fx_close(f);
    fx_open(f);
    fx_start(f);
    check_all_there(f, n + 10);
    fx_fini(f);
}

START_TEST(a_real_limit_on_file_sizes_is_survived)
{
    struct fx f;
    if (no_sqlite("RLIMIT_FSIZE")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    snprintf(f.log_options, sizeof(f.log_options), "\"pending\":\"64KiB\"");
    f.o.frame_max_bytes = 4096;
    f.o.ring_bytes = 16384;
    f.o.files = NULL;
    ck_assert_int_eq(fx_child(file_size_limit, &f), 0);
    fx_fini(&f);
}
END_TEST

START_TEST(a_sync_that_fails_acknowledges_nothing)
{
    struct fx f;
    if (no_sqlite("a failing sync")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE | FX_SYNCED);
    fx_run(&f);
    feed_range(&f, "t1", 0, 10);
    tk_files_fail(&f.e.files, TK_FILE_SYNC, 1, TPC_EIO, true);
    fx_ok(fx_feed_seq(&f, "t1", 10), "feed");
    ck_assert_int_eq(fx_step(&f), TPC_EIO);
    ck_assert_uint_eq(f.done, 10);
    ck_assert_double_eq(fx_latest(&f, "t1", "seq"), 10); /* readable, not acknowledged */
    tk_files_heal(&f.e.files);
    tk_clock_advance(&f.e.clock, 1000);
    fx_settle(&f);
    feed_range(&f, "t1", 11, 20);
    check_all_there(&f, 20);
    fx_fini(&f);
}
END_TEST

static void keep_going(struct fx *f, enum tk_file_op op, int code)
{
    for (size_t nth = 1; nth <= 4; nth++) {
        tk_files_fail(&f->e.files, op, nth, code, false);
        for (int i = 0; i < 5; i++) {
            fx_ok(fx_feed(f, "t1", "{\"on\":true}"), "feed");
            (void) fx_step(f);
            tk_clock_advance(&f->e.clock, 1000);
        }
        tk_files_heal(&f->e.files);
        fx_settle(f);
        ck_assert_uint_eq(f->failed, 0);
        fx_still_works(f);
    }
}

START_TEST(single_failures_of_the_disk_lose_nothing)
{
    struct fx f;
    if (no_sqlite("single failures")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE | FX_SYNCED);
    snprintf(f.log_options, sizeof(f.log_options), "\"segment_size\":\"64KiB\"");
    fx_run(&f);
    keep_going(&f, TK_FILE_WRITE, TPC_EIO);
    keep_going(&f, TK_FILE_WRITE, TPC_ENOSPC);
    keep_going(&f, TK_FILE_SYNC, TPC_EIO);
    keep_going(&f, TK_FILE_OPEN, TPC_EIO);
    fx_fini(&f);
}
END_TEST

START_TEST(a_log_from_another_time_is_refused_by_both_names)
{
    struct fx f;
    char from[400];
    char to[400];
    if (no_sqlite("a log from another time")) {
        return;
    }
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE);
    fx_run(&f);
    feed_range(&f, "t1", 0, 20);
    fx_close(&f);
    snprintf(from, sizeof(from), "%s/log", f.dir);
    snprintf(to, sizeof(to), "%s/log.away", f.dir);
    ck_assert_int_eq(rename(from, to), 0);
    tk_clock_advance(&f.e.clock, 5000);
    fx_open(&f);
    tk_fails(TPC_EGAP, tpc_core_start(f.core));
    fx_error_says("1795176000000");
    fx_error_says("1795176005000");
    tk_fails(TPC_ESTATE, tpc_feed(fx_device(&f, "t1"), TPC_BYTES("{}"), NULL, NULL));
    fx_close(&f);

    f.o.flags = TPC_CORE_ACCEPT_GAP;
    fx_open(&f);
    fx_start(&f);
    feed_range(&f, "t1", 20, 30);
    fx_close(&f);
    f.o.flags = 0;
    fx_open(&f);
    fx_start(&f);
    check_all_there(&f, 30);
    fx_fini(&f);
}
END_TEST

START_TEST(a_log_belongs_to_one_core)
{
    struct fx f;
    struct fx g;
    fx_init(&f, 0, FX_FILE_LOG);
    fx_init(&g, 0, FX_FILE_LOG);
    snprintf(g.dir, sizeof(g.dir), "%s", f.dir);
    fx_run(&f);
    tk_fails(TPC_EAGAIN, fx_make(&g));
    fx_error_says("log");
    feed_range(&f, "t1", 0, 5);
    fx_fini(&g);
    fx_fini(&f);
}
END_TEST

Suite *disk_suite(void)
{
    Suite *s = suite_create("disk");
    TCase *t = tcase_create("disk");
    tcase_add_test(t, a_torn_tail_is_cut_off);
    tcase_add_test(t, a_bad_frame_in_the_middle_is_skipped_and_counted);
    tcase_add_test(t, a_full_disk_refuses_and_recovers);
    tcase_add_test(t, what_was_acknowledged_survives_the_end_on_a_full_disk);
    tcase_add_test(t, a_real_limit_on_file_sizes_is_survived);
    tcase_add_test(t, a_sync_that_fails_acknowledges_nothing);
    tcase_add_test(t, single_failures_of_the_disk_lose_nothing);
    tcase_add_test(t, a_log_from_another_time_is_refused_by_both_names);
    tcase_add_test(t, a_log_belongs_to_one_core);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
