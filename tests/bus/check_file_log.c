/*
 * The file engine across restarts: what is there again, what a torn or bad file does.
 */
#include "bus_suites.h"

#include "bus/file_log.h"
#include "bus/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARTITIONS = 3 };

static struct bus_fix fix;

static struct bus_fix *ready(void)
{
    bus_prepare(&fix, &tpi_bus_file, PARTITIONS);
    tk_ok(bus_open(&fix));
    return &fix;
}

static void segment_path(const struct bus_fix *f, unsigned number, char *ret, size_t cap)
{
    snprintf(ret, cap, "%s/%016x.tpl", f->dir, number);
}

static long size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (long) st.st_size : -1;
}

/* Xors one byte of a file. */
static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    int c;

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, at, SEEK_SET), 0);
    c = fgetc(file);
    ck_assert_int_ge(c, 0);
    ck_assert_int_eq(fseek(file, at, SEEK_SET), 0);
    fputc(c ^ 0x40, file);
    ck_assert_int_eq(fclose(file), 0);
}

static void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb");
    FILE *out = fopen(to, "wb");
    int c;

    ck_assert(in != NULL && out != NULL);
    while ((c = fgetc(in)) != EOF) {
        fputc(c, out);
    }
    fclose(in);
    ck_assert_int_eq(fclose(out), 0);
}

START_TEST(everything_is_there_after_a_restart)
{
    struct bus_fix *f = ready();
    struct tpc_bus_info before, after;
    struct bus_seen seen;
    uint32_t c = bus_cursor(f, "history", TPC_CURSOR_HOLD);
    uint64_t sequence = 0;
    int i;

    for (i = 0; i < 50; i++) {
        tk_ok(bus_put_mixed(f, 7));
    }
    tk_ok(f->ops->commit(f->self, c, 1, 33, 0));
    before = bus_info(f);
    bus_close(f);
    tk_clock_advance(&f->env.clock, 5000);
    tk_ok(bus_open(f));
    after = bus_info(f);
    ck_assert_mem_eq(&before.log_id, &after.log_id, sizeof(before.log_id));
    ck_assert_int_eq(before.created_unix_ms, after.created_unix_ms);
    ck_assert_uint_eq(after.appended_sequence, 50 * 7 * PARTITIONS);
    ck_assert_uint_eq(after.flushed_sequence, 50 * 7 * PARTITIONS);
    ck_assert_uint_eq(after.torn_bytes + after.bad_frames, 0);
    c = bus_cursor(f, "history", TPC_CURSOR_HOLD);
    ck_assert_uint_eq(bus_position(f, c, 1), 33);
    ck_assert_uint_eq(bus_position(f, c, 0), 0);
    tk_ok(bus_put(f, 2, 10, &sequence));
    ck_assert_uint_eq(sequence, 50 * 7 * PARTITIONS + 10);
    bus_read_all(f, 2, 0, 13, 0, &seen);
    ck_assert_uint_eq(seen.count, 360);
    ck_assert_uint_eq(seen.jumps, 0);
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(a_second_process_is_told_to_wait)
{
    struct bus_fix *f = ready();
    struct bus_fix other;

    bus_prepare(&other, &tpi_bus_file, PARTITIONS);
    bus_set_text(&other, "dir", f->dir);
    tk_fails(TPC_EAGAIN, bus_open(&other));
    ck_assert_ptr_nonnull(strstr(other.fail_text, "in use"));
    bus_close(f);
    tk_ok(bus_open(&other));
    bus_close(&other);
    bus_done(&other);
    bus_done(f);
}
END_TEST

START_TEST(more_partitions_can_be_asked_for_later)
{
    struct bus_fix *f = ready();
    struct bus_seen seen;

    tk_ok(bus_put(f, 2, 10, NULL));
    bus_close(f);
    f->partitions = 8;
    tk_ok(bus_open(f));
    tk_ok(bus_put(f, 7, 5, NULL));
    bus_read_all(f, 7, 0, 10, 0, &seen);
    ck_assert_uint_eq(seen.count, 5);
    bus_close(f);
    f->partitions = 2;
    tk_ok(bus_open(f));
    ck_assert_uint_eq(bus_info(f).partitions, 3); /* the newest segment's */
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(a_torn_frame_is_dropped_whole_wherever_it_is_torn)
{
    struct bus_fix *f = ready();
    char path[600], whole[620];
    struct bus_seen seen;
    long begin, end, cut;

    tk_ok(bus_put(f, 0, 4, NULL));
    bus_flush(f, 0);
    segment_path(f, 1, path, sizeof(path));
    begin = size_of(path);
    tk_ok(bus_put(f, 0, 4, NULL));
    bus_close(f);
    end = size_of(path);
    snprintf(whole, sizeof(whole), "%s.whole", path);
    copy_file(path, whole);
    for (cut = begin; cut < end; cut += cut < begin + 200 ? 1 : 3) {
        copy_file(whole, path);
        ck_assert_int_eq(truncate(path, cut), 0);
        tk_ok(bus_open(f));
        ck_assert_uint_eq(bus_info(f).torn_bytes, (uint64_t) (cut - begin));
        tk_ok(bus_put(f, 0, 2, NULL));
        bus_read_all(f, 0, 0, 10, 0, &seen);
        ck_assert_uint_eq(seen.count, 6);
        bus_close(f);
        tk_ok(bus_open(f));
        ck_assert_uint_eq(bus_info(f).torn_bytes, 0);
        bus_read_all(f, 0, 0, 10, 0, &seen);
        ck_assert_uint_eq(seen.count, 6);
        bus_close(f);
    }
    bus_done(f);
}
END_TEST

START_TEST(zeros_after_the_end_are_a_torn_tail)
{
    struct bus_fix *f = ready();
    char path[600];
    struct bus_seen seen;

    tk_ok(bus_put(f, 0, 4, NULL));
    bus_close(f);
    segment_path(f, 1, path, sizeof(path));
    ck_assert_int_eq(truncate(path, size_of(path) + 70000), 0);
    tk_ok(bus_open(f));
    ck_assert_uint_eq(bus_info(f).torn_bytes, 70000);
    bus_read_all(f, 0, 0, 10, 0, &seen);
    ck_assert_uint_eq(seen.count, 4);
    bus_close(f);
    bus_done(f);
}
END_TEST

/* Ten frames of 4 records; a byte of the sixth is wrong. */
static void bad_middle(bool reopen, long in_frame)
{
    struct bus_fix *f = ready();
    char path[600];
    struct bus_seen seen;
    long at = 0;
    int i;

    bus_set(f, "cache", 0);
    segment_path(f, 1, path, sizeof(path));
    for (i = 0; i < 10; i++) {
        tk_ok(bus_put(f, 1, 4, NULL));
        bus_flush(f, 0);
        if (i == 4) {
            at = size_of(path);
        }
    }
    bus_close(f);
    if (!reopen) {
        /* Another segment after it, so that the bad one is not scanned at the start. */
        tk_clock_advance(&f->env.clock, 3LL * 86400 * 1000);
        tk_ok(bus_open(f));
        tk_ok(bus_put(f, 1, 4, NULL));
        bus_close(f);
    }
    flip(path, at + in_frame);
    tk_ok(bus_open(f));
    bus_read_all(f, 1, 0, 3, 0, &seen);
    ck_assert_uint_eq(seen.count, reopen ? 36 : 40);
    ck_assert_uint_eq(seen.jumps, 4);
    bus_read_all(f, 1, 0, 100, 0, &seen);
    ck_assert_uint_eq(seen.jumps, 4);
    bus_read_all(f, 1, 30, 100, 0, &seen);
    ck_assert_uint_eq(seen.count, reopen ? 10 : 14);
    ck_assert_uint_eq(bus_info(f).bad_frames, 1);
    ck_assert_uint_gt(bus_info(f).bad_bytes, 400);
    ck_assert_uint_eq(bus_info(f).torn_bytes, 0);
    ck_assert_uint_le(tk_env_logged(&f->env, "bad frames"), 1);
    bus_close(f);
    bus_done(f);
}

START_TEST(a_bad_frame_in_the_middle_is_passed_over_and_counted)
{
    static const long places[] = { 0, 2, 5, 9, 12, 21, 30, 41, 46, 50, 60, 75, 80, 100, 400 };
    size_t i;

    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        bad_middle(true, places[i]);
        bad_middle(false, places[i]);
    }
}
END_TEST

START_TEST(a_segment_that_was_just_begun_is_removed)
{
    struct bus_fix *f = ready();
    char path[600];
    struct bus_seen seen;
    FILE *file;
    int i;

    tk_ok(bus_put(f, 0, 4, NULL));
    bus_close(f);
    segment_path(f, 2, path, sizeof(path));
    for (i = 0; i < 3; i++) {
        file = fopen(path, "wb");
        ck_assert_ptr_nonnull(file);
        fwrite("\x89TPCLOG\n", 1, i == 1 ? 8 : 0, file);
        fclose(file);
        if (i == 2) {
            ck_assert_int_eq(truncate(path, 5000), 0);
        }
        tk_ok(bus_open(f));
        ck_assert_int_eq(size_of(path), -1);
        bus_read_all(f, 0, 0, 10, 0, &seen);
        ck_assert_uint_eq(seen.count, 4);
        bus_close(f);
    }
    bus_done(f);
}
END_TEST

START_TEST(a_foreign_or_newer_segment_is_refused_by_name)
{
    struct bus_fix *f = ready();
    struct bus_fix other;
    char path[600], foreign[600];
    FILE *file;

    bus_prepare(&other, &tpi_bus_file, PARTITIONS);
    tk_random_seed(&other.env, 77);
    tk_clock_advance(&other.env.clock, 1);
    tk_ok(bus_open(&other));
    bus_close(&other);
    bus_close(f);
    segment_path(&other, 1, foreign, sizeof(foreign));
    segment_path(f, 2, path, sizeof(path));
    copy_file(foreign, path);
    tk_fails(TPC_ECORRUPT, bus_open(f));
    ck_assert_ptr_nonnull(strstr(f->fail_text, "another log"));
    bus_done(&other);

    file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    {
        struct tpi_segment_header h = { .partitions = 1, .number = 2 };
        uint8_t head[88];
        uint64_t offset = 0;

        tpi_segment_header_write(&h, &offset, head);
        fwrite(head, 1, 60, file);
        for (int i = 0; i < 1000; i++) {
            fputc(i, file);
        }
    }
    fclose(file);
    tk_fails(TPC_ECORRUPT, bus_open(f));
    ck_assert_ptr_nonnull(strstr(f->fail_text, "0000000000000002.tpl"));
    bus_done(f);
}
END_TEST

START_TEST(readers_that_lag_read_many_segments_from_disk)
{
    struct bus_fix *f = &fix;
    struct bus_seen seen;
    uint32_t p;
    int i;

    bus_prepare(f, &tpi_bus_file, PARTITIONS);
    bus_set(f, "segment_size", 300000);
    bus_set(f, "cache", 300000);
    tk_ok(bus_open(f));
    for (i = 0; i < 200; i++) {
        tk_ok(bus_put_mixed(f, 50));
        bus_flush(f, 0);
    }
    ck_assert_uint_gt(bus_segments(f), 10);
    for (i = 0; i < 2; i++) {
        for (p = 0; p < PARTITIONS; p++) {
            bus_read_all(f, p, 0, 256, 0, &seen);
            ck_assert_uint_eq(seen.count, 10000);
            ck_assert_uint_eq(seen.jumps, 0);
            bus_read_all(f, p, 4321, 7, TPC_READ_FLUSHED, &seen);
            ck_assert_uint_eq(seen.first, 4321);
            ck_assert_uint_eq(seen.count, 10000 - 4321);
        }
        bus_close(f);
        tk_ok(bus_open(f));
    }
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(reading_what_is_flushed_stops_there)
{
    struct bus_fix *f = ready();
    struct bus_seen seen;

    tk_ok(bus_put(f, 0, 10, NULL));
    bus_flush(f, 0);
    tk_ok(bus_put(f, 0, 10, NULL));
    ck_assert_uint_eq(bus_read_all(f, 0, 0, 100, TPC_READ_FLUSHED, &seen), 10);
    ck_assert_uint_eq(seen.count, 10);
    bus_read_all(f, 0, 0, 100, 0, &seen);
    ck_assert_uint_eq(seen.count, 20);
    bus_flush(f, 0);
    ck_assert_uint_eq(bus_read_all(f, 0, 10, 100, TPC_READ_FLUSHED, &seen), 20);
    bus_close(f);
    bus_done(f);
}
END_TEST

/* The offset that a reader wants next stands at the end of one chunk and, long before its record is
 * there, at the begin of the next, which others fill. */
START_TEST(reading_ends_where_others_fill_the_next_chunk)
{
    struct bus_seen seen;

    bus_prepare(&fix, &tpi_bus_file, PARTITIONS);
    bus_set(&fix, "segment_size", 65536);
    tk_ok(bus_open(&fix));
    tk_ok(bus_put(&fix, 0, 3, NULL));
    bus_flush(&fix, 0);
    ck_assert_uint_eq(bus_read_all(&fix, 0, 0, 100, TPC_READ_FLUSHED, &seen), 3);
    while (bus_segments(&fix) < 2) {
        tk_ok(bus_put(&fix, 1, 10, NULL));
    }
    bus_flush(&fix, 0);
    tk_ok(bus_put(&fix, 0, 1, NULL));
    for (int i = 0; i < 3; i++) { /* the second time where it left off */
        ck_assert_uint_eq(bus_read_all(&fix, 0, 3, 100, TPC_READ_FLUSHED, &seen), 3);
        ck_assert_uint_eq(seen.count, 0);
    }
    bus_flush(&fix, 0);
    ck_assert_uint_eq(bus_read_all(&fix, 0, 3, 100, TPC_READ_FLUSHED, &seen), 4);
    bus_close(&fix);
    bus_done(&fix);
}
END_TEST

START_TEST(cursors_of_another_log_are_not_believed)
{
    struct bus_fix *f = ready();
    char path[600];
    uint32_t c;

    tk_ok(bus_put(f, 0, 10, NULL));
    c = bus_cursor(f, "history", TPC_CURSOR_HOLD);
    tk_ok(f->ops->commit(f->self, c, 0, 10, TPC_FLUSH_SYNC));
    bus_close(f);
    segment_path(f, 1, path, sizeof(path));
    ck_assert_int_eq(unlink(path), 0);
    tk_ok(bus_open(f));
    ck_assert_uint_eq(tk_env_logged(&f->env, "belong to another log"), 1);
    ck_assert_uint_eq(bus_position(f, bus_cursor(f, "history", TPC_CURSOR_HOLD), 0), 0);
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(a_torn_cursor_file_leaves_the_one_before)
{
    struct bus_fix *f = ready();
    char path[600];
    uint32_t c;
    int i;

    tk_ok(bus_put(f, 0, 20, NULL));
    c = bus_cursor(f, "history", TPC_CURSOR_HOLD);
    for (i = 1; i <= 5; i++) {
        tk_ok(f->ops->commit(f->self, c, 0, (uint64_t) i, TPC_FLUSH_SYNC));
    }
    bus_close(f); /* nothing is dirty: the fifth save is in cursors.a */
    snprintf(path, sizeof(path), "%s/cursors.a", f->dir);
    flip(path, 60);
    tk_ok(bus_open(f));
    ck_assert_uint_eq(bus_position(f, bus_cursor(f, "history", TPC_CURSOR_HOLD), 0), 4);
    bus_close(f);
    bus_done(f);
}
END_TEST

static uint64_t bytes_read;
static int64_t (*read_below)(void *user, void *file, void *ptr, size_t len, uint64_t offset,
                             int *native);

static int64_t count_read(void *user, void *file, void *ptr, size_t len, uint64_t offset,
                          int *native)
{
    int64_t n = read_below(user, file, ptr, len, offset, native);

    bytes_read += n > 0 ? (uint64_t) n : 0;
    return n;
}

/* Readers of more partitions than are kept in place have to be moved, also within a segment of an
 * earlier run, which all of them have open: none begins at its first frame again each time. */
START_TEST(readers_that_take_turns_do_not_read_a_segment_from_its_start)
{
    enum { MANY = 2 * TPI_LOG_READERS, BATCHES = 200, EACH = 20, STEP = 50 };
    struct bus_fix *f = &fix;
    struct bus_seen seen[MANY];
    uint64_t from[MANY] = { 0 };
    uint64_t whole;
    uint32_t i, p;

    bus_prepare(f, &tpi_bus_file, MANY);
    bus_set(f, "segment_size", 6 << 20); /* the last one's index is made when it is opened */
    tk_ok(bus_open(f));
    for (i = 0; i < BATCHES; i++) {
        tk_ok(bus_put_mixed(f, EACH));
    }
    bus_close(f);
    read_below = f->quick.read_at;
    f->quick.read_at = count_read;
    tk_ok(bus_open(f));
    ck_assert_uint_eq(bus_segments(f), 2);
    whole = bus_info(f).bytes;
    memset(seen, 0, sizeof(seen));
    bytes_read = 0;
    for (i = 0; i < BATCHES * EACH / STEP; i++) {
        for (p = 0; p < MANY; p++) {
            seen[p].partition = p;
            tk_ok(f->ops->read(f->self, p, from[p], STEP, 0, bus_check_record, &seen[p], &from[p]));
        }
    }
    for (p = 0; p < MANY; p++) {
        ck_assert_uint_eq(seen[p].count, BATCHES * EACH);
        ck_assert_uint_eq(seen[p].jumps, 0);
    }
    /* Each of the turns may read what lies between two entries of the index and what a reader takes
     * at once; from the start it would be half of the segment. */
    ck_assert_msg(bytes_read < (uint64_t) (BATCHES * EACH / STEP) * MANY * whole / 5,
                  "%llu bytes read of %llu", (unsigned long long) bytes_read,
                  (unsigned long long) whole);
    bus_close(f);
    bus_done(f);
}
END_TEST

Suite *file_log_suite(void)
{
    Suite *s = suite_create("file_log");
    TCase *t = tcase_create("file_log");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, everything_is_there_after_a_restart);
    tcase_add_test(t, a_second_process_is_told_to_wait);
    tcase_add_test(t, more_partitions_can_be_asked_for_later);
    tcase_add_test(t, a_torn_frame_is_dropped_whole_wherever_it_is_torn);
    tcase_add_test(t, zeros_after_the_end_are_a_torn_tail);
    tcase_add_test(t, a_bad_frame_in_the_middle_is_passed_over_and_counted);
    tcase_add_test(t, a_segment_that_was_just_begun_is_removed);
    tcase_add_test(t, a_foreign_or_newer_segment_is_refused_by_name);
    tcase_add_test(t, readers_that_lag_read_many_segments_from_disk);
    tcase_add_test(t, reading_what_is_flushed_stops_there);
    tcase_add_test(t, reading_ends_where_others_fill_the_next_chunk);
    tcase_add_test(t, readers_that_take_turns_do_not_read_a_segment_from_its_start);
    tcase_add_test(t, cursors_of_another_log_are_not_believed);
    tcase_add_test(t, a_torn_cursor_file_leaves_the_one_before);
    suite_add_tcase(s, t);
    return s;
}
