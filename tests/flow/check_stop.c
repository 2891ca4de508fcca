/* Starting and stopping when something is wrong: all or nothing, and whoever waits is told once. */
#include "suites.h"

#include <stdio.h>
#include <string.h>

START_TEST(a_stop_on_a_full_disk_tells_everybody)
{
    struct fx f;
    fx_init(&f, 0, FX_FILE_LOG | (fx_has_sqlite() ? FX_SQLITE : 0));
    fx_run(&f);
    for (int i = 0; i < 10; i++) {
        fx_ok(fx_feed_seq(&f, "t1", i), "feed");
    }
    fx_settle(&f);
    tk_files_limit_space(&f.e.files, 0);
    for (int i = 10; i < 20; i++) {
        fx_ok(fx_feed_seq(&f, "t1", i), "feed");
    }
    ck_assert_int_eq(fx_step(&f), TPC_ENOSPC);
    fx_ok(fx_feed_seq(&f, "t1", 20), "feed");
    tk_fails(TPC_ETIMEOUT, tpc_core_stop(f.core, 10));
    ck_assert_uint_eq(f.done, f.fed); /* each is told */
    ck_assert_uint_eq(f.failed, 11);
    ck_assert_int_eq(f.last_error, TPC_ECANCELED);
    tk_files_heal(&f.e.files);
    fx_close(&f);
    fx_open(&f);
    if (!fx_has_sqlite()) {
        fx_entities(&f);
    }
    fx_start(&f);
    tk_ok(fx_step(&f));
    ck_assert_double_ge(fx_latest(&f, "t1", "seq"), 9);
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

static void rounds(uint32_t workers, uint32_t parts)
{
    struct fx f;
    fx_init(&f, workers, parts | FX_PROBE);
    fx_run(&f);
    for (int round = 0; round < 4; round++) {
        tk_fails(TPC_ESTATE, tpc_core_start(f.core));
        for (int i = 0; i < 50; i++) {
            fx_ok(fx_feed_seq(&f, "t1", round * 50 + i), "feed");
        }
        fx_settle(&f);
        ck_assert_uint_eq(f.failed, 0);
        tk_ok(tpc_core_stop(f.core, 5000));
        tk_fails(TPC_ESTATE, tpc_core_stop(f.core, 5000));
        tk_fails(TPC_ESTATE, tpc_feed(fx_device(&f, "t1"), TPC_BYTES("{}"), NULL, NULL));
        fx_start(&f);
        struct fx_rows r = fx_history(&f, "t1", "seq");
        ck_assert_msg(r.count == (size_t) (round + 1) * 50, "%zu after round %d", r.count, round);
        ck_assert(r.growing && r.ordered);
    }
    fx_fini(&f);
}

START_TEST(a_core_starts_and_stops_many_times)
{
    rounds(0, 0);
    rounds(2, 0);
    rounds(0, FX_FILE_LOG | (fx_has_sqlite() ? FX_SQLITE : 0));
    rounds(2, FX_FILE_LOG | (fx_has_sqlite() ? FX_SQLITE : 0));
}
END_TEST

struct inside {
    struct fx *f;
    int step;
    int stop;
    int feed;
    int calls;
};

static void on_inside(void *user, int error)
{
    struct inside *x = user;
    ck_assert_int_eq(error, 0);
    x->step = tpc_core_step(x->f->core, 0, NULL);
    x->stop = tpc_core_stop(x->f->core, 0);
    x->feed = x->calls == 0
                  ? tpc_feed(fx_device(x->f, "t1"), TPC_BYTES("{\"seq\":2}"), on_inside, x)
                  : x->feed;
    x->calls++;
}

START_TEST(callbacks_may_feed_and_not_stop)
{
    struct fx f;
    fx_init(&f, 0, 0);
    fx_run(&f);
    struct inside x = { .f = &f };
    tk_ok(tpc_feed(fx_device(&f, "t1"), TPC_BYTES("{\"seq\":1}"), on_inside, &x));
    tk_ok(fx_step(&f));
    tk_ok(fx_step(&f));
    ck_assert_int_eq(x.calls, 2);
    ck_assert_int_eq(x.feed, 0);
    ck_assert_int_eq(x.step, TPC_ESTATE);
    ck_assert_int_eq(x.stop, TPC_ESTATE);
    ck_assert_double_eq(fx_latest(&f, "t1", "seq"), 2);
    fx_fini(&f);
}
END_TEST

/* ---- each file operation fails in turn ---- */

struct told {
    int acknowledged;
};

static void on_told(void *user, int error)
{
    struct told *t = user;
    t->acknowledged += error == 0;
}

static int feed_ten(struct fx *f, int from, struct told *t)
{
    struct tpc_device *d = NULL;
    int rc = tpc_device_open(f->core, TPC_STR("t1"), &d);
    for (int i = from; rc == 0 && i < from + 10; i++) {
        char text[40];
        int n = snprintf(text, sizeof(text), "{\"seq\":%d}", i);
        struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = 1795176000000 + i };
        frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) n };
        rc = tpc_feed_frame(d, &frame, on_told, t);
        int stepped = tpc_core_step(f->core, 0, NULL);
        ck_assert_msg(stepped == 0 || stepped == TPC_EIO || stepped == TPC_ENOSPC, "step: %s",
                      tpc_error_name(stepped));
        tk_clock_advance(&f->e.clock, 200);
    }
    tpc_device_unref(d);
    return rc;
}

/* One life in which the nth operation fails. */
static int faulty_life(struct fx *f, enum tk_file_op op, size_t nth, int from, struct told *t)
{
    tk_files_fail(&f->e.files, op, nth, op == TK_FILE_WRITE ? TPC_ENOSPC : TPC_EIO, false);
    f->core = NULL;
    int rc = fx_make(f);
    rc = rc != 0 ? rc : tpc_core_start(f->core);
    rc = rc != 0 ? rc : feed_ten(f, from, t);
    (void) tpc_core_destroy(f->core);
    f->core = NULL;
    tk_files_heal(&f->e.files);
    return rc;
}

static void each_operation_fails(enum tk_file_op op)
{
    struct fx f;
    int next = 0;
    fx_init(&f, 0, FX_FILE_LOG | FX_SQLITE | FX_SYNCED);
    snprintf(f.log_options, sizeof(f.log_options),
             "\"segment_size\":\"64KiB\",\"max_bytes\":\"1MiB\"");
    f.o.partitions = 2;
    f.o.history_checkpoint_ms = 500;
    fx_run(&f);
    fx_close(&f);
    for (size_t nth = 1; nth <= 40; nth++) {
        struct told t = { 0 };
        int rc = faulty_life(&f, op, nth, next, &t);
        bool failed = f.e.files.fault[op].failed > 0;
        ck_assert_msg(rc == 0 || tpc_error_class(rc) == TPC_CLASS_OPERATOR || rc == TPC_EAGAIN,
                      "operation %d, call %zu: %s (%s)", op, nth, tpc_error_name(rc),
                      tpc_error_last()->text);
        fx_open(&f);
        fx_start(&f);
        tk_ok(fx_step(&f));
        struct fx_rows r = fx_history(&f, "t1", "seq");
        ck_assert_msg((int) r.count >= next + t.acknowledged,
                      "operation %d, call %zu: %zu samples, %d acknowledged", op, nth, r.count,
                      next + t.acknowledged);
        ck_assert(r.growing && r.ordered);
        next = (int) r.count;
        fx_close(&f);
        if (!failed && rc == 0 && nth > 3) {
            break; /* there is no nth call any more */
        }
    }
    ck_assert_int_gt(next, 10);
    fx_fini(&f);
}

START_TEST(each_operation_on_files_may_fail)
{
    if (!fx_has_sqlite()) {
        tk_skip("each operation on files", "the module sqlite is not built");
        return;
    }
    each_operation_fails(TK_FILE_OPEN);
    each_operation_fails(TK_FILE_READ);
    each_operation_fails(TK_FILE_WRITE);
    each_operation_fails(TK_FILE_SYNC);
    each_operation_fails(TK_FILE_TRUNCATE);
    each_operation_fails(TK_FILE_RENAME);
    each_operation_fails(TK_FILE_REMOVE);
    each_operation_fails(TK_FILE_SYNC_DIR);
}
END_TEST

Suite *stop_suite(void)
{
    Suite *s = suite_create("stop");
    TCase *t = tcase_create("stop");
    tcase_add_test(t, a_stop_on_a_full_disk_tells_everybody);
    tcase_add_test(t, a_core_starts_and_stops_many_times);
    tcase_add_test(t, callbacks_may_feed_and_not_stop);
    tcase_add_test(t, each_operation_on_files_may_fail);
    tcase_set_timeout(t, 240);
    suite_add_tcase(s, t);
    return s;
}
