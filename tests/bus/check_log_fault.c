/*
 * The file engine when the disk fails, fills up, hangs or loses what was not synced.
 */
#include "bus_suites.h"

#include "tk_files.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>

enum { PARTITIONS = 2 };

static struct bus_fix fix;

static struct bus_fix *prepared(void)
{
    bus_prepare(&fix, &tpi_bus_file, PARTITIONS);
    return &fix;
}

static void expect(struct bus_fix *f, uint32_t partition, uint64_t count)
{
    struct bus_seen seen;

    bus_read_all(f, partition, 0, 500, 0, &seen);
    ck_assert_uint_eq(seen.count, count);
    ck_assert_uint_eq(seen.jumps, 0);
}

START_TEST(a_failed_write_is_tried_again)
{
    struct bus_fix *f = prepared();
    struct tpc_error err;
    uint64_t sequence = 0;
    int i;

    tk_ok(bus_open(f));
    for (i = 0; i < 5; i++) {
        tk_ok(bus_put(f, 0, 100, NULL));
        tk_files_fail(&f->env.files, TK_FILE_WRITE, 1, TPC_EIO, false);
        tk_fails(TPC_EIO, f->ops->flush(f->self, 0, &err, &sequence));
        ck_assert_int_eq(err.code, TPC_EIO);
        ck_assert_uint_eq(bus_info(f).flushed_sequence, (uint64_t) i * 100);
        ck_assert_uint_eq(bus_flush(f, 0), (uint64_t) (i + 1) * 100);
        ck_assert_uint_eq(bus_info(f).pending_bytes, 0);
    }
    bus_close(f);
    tk_ok(bus_open(f));
    ck_assert_uint_eq(bus_info(f).torn_bytes + bus_info(f).bad_frames, 0);
    expect(f, 0, 500);
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(a_failed_sync_acknowledges_nothing_and_writes_again)
{
    struct bus_fix *f = prepared();
    uint64_t sequence = 0;
    size_t writes;

    bus_set_text(f, "ack", "synced");
    tk_ok(bus_open(f));
    tk_ok(bus_put(f, 0, 10, NULL));
    ck_assert_uint_eq(bus_flush(f, 0), 10);
    tk_ok(bus_put(f, 0, 10, NULL));
    tk_files_fail(&f->env.files, TK_FILE_SYNC, 1, TPC_EIO, false);
    tk_fails(TPC_EIO, f->ops->flush(f->self, 0, NULL, &sequence));
    ck_assert_uint_eq(bus_info(f).flushed_sequence, 10);
    writes = f->env.files.fault[TK_FILE_WRITE].count;
    ck_assert_uint_eq(bus_flush(f, 0), 20);
    ck_assert_uint_gt(f->env.files.fault[TK_FILE_WRITE].count, writes);
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(an_interval_bounds_the_syncs)
{
    struct bus_fix *f = prepared();
    size_t syncs;

    bus_set_text(f, "ack", "synced");
    bus_set(f, "sync_interval", 50);
    tk_ok(bus_open(f));
    tk_clock_advance(&f->env.clock, 100);
    tk_ok(bus_put(f, 0, 10, NULL));
    ck_assert_uint_eq(bus_flush(f, 0), 10);
    syncs = f->env.files.fault[TK_FILE_SYNC].count;
    tk_ok(bus_put(f, 0, 10, NULL));
    ck_assert_uint_eq(bus_flush(f, 0), 10);
    ck_assert_uint_eq(f->env.files.fault[TK_FILE_SYNC].count, syncs);
    tk_clock_advance(&f->env.clock, 50);
    ck_assert_uint_eq(bus_flush(f, 0), 20);
    tk_ok(bus_put(f, 0, 10, NULL));
    ck_assert_uint_eq(bus_flush(f, TPC_FLUSH_SYNC), 30);
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(a_full_disk_refuses_and_recovers)
{
    struct bus_fix *f = prepared();
    struct tpc_record r = { .size = sizeof(r), .partition = 1 };
    uint64_t sequence = 0, put = 0, first, end;
    uint32_t c;
    int rc = 0;

    bus_set(f, "reserve", 4 << 20);
    bus_set(f, "pending", 1 << 20);
    tk_files_limit_space(&f->env.files, 6 << 20);
    tk_ok(bus_open(f));
    c = bus_cursor(f, "history", TPC_CURSOR_HOLD);
    while ((rc = bus_put(f, 0, 100, NULL)) == 0) {
        put += 100;
        rc = f->ops->flush(f->self, 0, NULL, &sequence);
        ck_assert_msg(rc == 0, "the reserve takes what was accepted: %s", tpc_error_name(rc));
    }
    ck_assert_int_eq(rc, TPC_ENOSPC);
    ck_assert_uint_gt(put, 5000);
    ck_assert_uint_eq(tk_env_logged(&f->env, "no space left"), 1);
    /* What must go on does. */
    tk_ok(f->ops->append(f->self, &r, 1, sizeof(r), TPC_APPEND_RESERVE, NULL, &sequence));
    bus_flush(f, TPC_FLUSH_SYNC);
    tk_ok(f->ops->commit(f->self, c, 0, put, TPC_FLUSH_SYNC));
    tk_fails(TPC_ENOSPC, bus_put(f, 0, 1, NULL));
    /* No space yet: the answer stays. */
    tk_clock_advance(&f->env.clock, 2000);
    tk_fails(TPC_ENOSPC, bus_put(f, 0, 1, NULL));
    tk_files_heal(&f->env.files);
    tk_clock_advance(&f->env.clock, 2000);
    tk_ok(bus_put(f, 0, 100, NULL));
    bus_flush(f, 0);
    expect(f, 0, put + 100);
    bus_close(f);
    tk_ok(bus_open(f));
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    ck_assert_uint_eq(end, put + 100);
    expect(f, 0, put + 100);
    ck_assert_uint_eq(bus_info(f).torn_bytes, 0);
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(a_file_size_limit_is_a_full_disk)
{
    struct bus_fix *f = prepared();
    struct rlimit old, small;
    uint64_t sequence = 0, put = 0;
    void (*handler)(int);
    int rc = 0;

    bus_set(f, "pending", 256 << 10);
    tk_ok(bus_open(f));
    handler = signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 2 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    while (rc == 0 && (rc = bus_put(f, 0, 100, NULL)) == 0) {
        put += 100;
        rc = f->ops->flush(f->self, 0, NULL, &sequence);
    }
    ck_assert_int_eq(rc, TPC_ENOSPC);
    tk_fails(TPC_ENOSPC, bus_put(f, 0, 100, NULL));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    tk_clock_advance(&f->env.clock, 2000);
    tk_ok(bus_put(f, 0, 100, NULL));
    ck_assert_uint_eq(bus_flush(f, 0), put + 100);
    bus_close(f);
    tk_ok(bus_open(f));
    expect(f, 0, put + 100);
    bus_close(f);
    bus_done(f);
}
END_TEST

struct flusher {
    struct bus_fix *f;
    int rc;
};

static void *flush_once(void *user)
{
    struct flusher *flusher = user;
    uint64_t sequence;

    flusher->rc = flusher->f->ops->flush(flusher->f->self, 0, NULL, &sequence);
    return NULL;
}

START_TEST(a_disk_that_hangs_stops_appending_only_when_the_buffer_is_full)
{
    struct bus_fix *f = prepared();
    struct flusher flusher = { f, 1 };
    struct bus_seen seen;
    pthread_t thread;
    uint64_t put = 100;

    bus_set(f, "pending", 1 << 20);
    tk_ok(bus_open(f));
    tk_files_latch(&f->env.files, TK_FILE_WRITE);
    tk_ok(bus_put(f, 0, 100, NULL));
    ck_assert_int_eq(pthread_create(&thread, NULL, flush_once, &flusher), 0);
    tk_files_wait_latched(&f->env.files, 1);
    while (bus_put(f, 0, 100, NULL) == 0) {
        put += 100;
    }
    ck_assert_uint_gt(put, 6000);
    ck_assert_uint_lt(put, 12000);
    ck_assert_uint_eq(bus_info(f).refused, 1);
    tk_fails(TPC_EAGAIN, bus_put(f, 0, 100, NULL));
    bus_read_all(f, 0, 0, 100, 0, &seen); /* readers go on */
    ck_assert_uint_eq(seen.count, put);
    bus_read_all(f, 0, 0, 100, TPC_READ_FLUSHED, &seen);
    ck_assert_uint_eq(seen.count, 0);
    tk_files_unlatch(&f->env.files, TK_FILE_WRITE);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    tk_ok(flusher.rc);
    ck_assert_uint_eq(bus_flush(f, 0), put);
    tk_ok(bus_put(f, 0, 100, NULL));
    bus_close(f);
    tk_ok(bus_open(f));
    expect(f, 0, put + 100);
    bus_close(f);
    bus_done(f);
}
END_TEST

/* A loss of power in the middle of synced traffic: what was acknowledged is there. */
START_TEST(a_power_cut_keeps_what_was_synced)
{
    struct bus_fix *f = prepared();
    uint64_t reached[PARTITIONS] = { 0, 0 };
    uint64_t first, end, sequence;
    unsigned round, i, p;

    bus_set_text(f, "ack", "synced");
    bus_set(f, "segment_size", 64 << 10);
    bus_set(f, "max_bytes", 64 << 20);
    for (round = 0; round < 25; round++) {
        tk_files_track(&f->env.files, true);
        tk_ok(bus_open(f));
        for (i = 0; i < 12 + round % 5; i++) {
            tk_ok(bus_put(f, i % PARTITIONS, 30 + round, NULL));
            if (i % 4 == 3) {
                bus_flush(f, 0);
                for (p = 0; p < PARTITIONS; p++) {
                    tk_ok(f->ops->range(f->self, p, &first, &reached[p]));
                }
            }
        }
        /* The process dies in the middle of a write: fini's last flush fails, too. */
        tk_files_fail(&f->env.files, TK_FILE_WRITE, 1, TPC_EIO, true);
        (void) f->ops->flush(f->self, 0, NULL, &sequence);
        bus_close(f);
        tk_files_heal(&f->env.files);
        tk_files_crash(&f->env.files, round);
        tk_files_track(&f->env.files, false);
        tk_ok(bus_open(f));
        for (p = 0; p < PARTITIONS; p++) {
            tk_ok(f->ops->range(f->self, p, &first, &end));
            ck_assert_uint_ge(end, reached[p]);
            expect(f, p, end);
        }
        bus_close(f);
    }
    bus_done(f);
}
END_TEST

START_TEST(offsets_a_cursor_has_seen_are_not_given_out_twice)
{
    struct bus_fix *f = prepared();
    struct bus_seen seen;
    uint64_t first, end;
    uint32_t c;

    tk_ok(bus_open(f));
    c = bus_cursor(f, "rules", TPC_CURSOR_HOLD);
    tk_ok(bus_put(f, 0, 10, NULL));
    bus_flush(f, TPC_FLUSH_SYNC);
    tk_files_track(&f->env.files, true);
    tk_ok(bus_put(f, 0, 10, NULL));
    bus_flush(f, 0);
    tk_ok(f->ops->commit(f->self, c, 0, 20, TPC_FLUSH_SYNC));
    tk_files_fail(&f->env.files, TK_FILE_SYNC, 1, TPC_EIO, true);
    bus_close(f);
    tk_files_heal(&f->env.files);
    tk_files_crash(&f->env.files, 0);
    tk_files_track(&f->env.files, false);
    tk_ok(bus_open(f));
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    ck_assert_uint_eq(end, 20);
    tk_ok(bus_put(f, 0, 5, NULL));
    bus_read_all(f, 0, 0, 100, 0, &seen);
    ck_assert_uint_eq(seen.count, 15);
    ck_assert_uint_eq(seen.jumps, 10);
    ck_assert_uint_eq(seen.last, 24);
    bus_close(f);
    bus_done(f);
}
END_TEST

START_TEST(a_failing_start_leaves_nothing_behind)
{
    struct bus_fix *f = prepared();
    size_t i;

    for (i = 1; i < 12; i++) {
        tk_files_fail(&f->env.files, TK_FILE_OPEN, i, TPC_EDENIED, false);
        if (bus_open(f) == 0) {
            bus_close(f);
        }
        tk_files_heal(&f->env.files);
        tk_files_fail(&f->env.files, TK_FILE_READ, i, TPC_EIO, false);
        if (bus_open(f) == 0) {
            bus_close(f);
        }
        tk_files_heal(&f->env.files);
        tk_files_fail(&f->env.files, TK_FILE_SYNC, i, TPC_EIO, false);
        if (bus_open(f) == 0) {
            bus_close(f);
        }
        tk_files_heal(&f->env.files);
        tk_alloc_check(&f->env.alloc);
    }
    tk_ok(bus_open(f));
    bus_close(f);
    bus_done(f);
}
END_TEST

Suite *log_fault_suite(void)
{
    Suite *s = suite_create("log_fault");
    TCase *t = tcase_create("log_fault");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_failed_write_is_tried_again);
    tcase_add_test(t, a_failed_sync_acknowledges_nothing_and_writes_again);
    tcase_add_test(t, an_interval_bounds_the_syncs);
    tcase_add_test(t, a_full_disk_refuses_and_recovers);
    tcase_add_test(t, a_file_size_limit_is_a_full_disk);
    tcase_add_test(t, a_disk_that_hangs_stops_appending_only_when_the_buffer_is_full);
    tcase_add_test(t, a_power_cut_keeps_what_was_synced);
    tcase_add_test(t, offsets_a_cursor_has_seen_are_not_given_out_twice);
    tcase_add_test(t, a_failing_start_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return s;
}
