#include "store_suites.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history_suite.h"
#include "store/history.h"
#include "tk_env.h"

enum { PARTITIONS = 2 };

static const struct tpc_id log_a = { { 0xaa, 1 } };
static const struct tpc_id log_b = { { 0xbb, 2 } };

struct fixture {
    struct tk_env env;
    void *self;
    struct tpi_history *h;
    uint64_t offsets[PARTITIONS];
};

static void open_stage(struct fixture *f, const struct tpi_history_limits *limits)
{
    tk_ok(tpi_history_create(&f->env.env, &tpi_memory_history, f->self, limits, PARTITIONS, NULL,
                             &f->h));
    tk_ok(tpi_history_start(f->h, &log_a, 1000, false, NULL));
}

static struct fixture *begin(const struct tpi_history_limits *limits)
{
    struct fixture *f = calloc(1, sizeof(*f));
    tk_env_init(&f->env);
    f->self = history_engine_open(&tpi_memory_history, NULL);
    open_stage(f, limits);
    return f;
}

static void end(struct fixture *f)
{
    tpi_history_destroy(f->h);
    history_engine_close(&tpi_memory_history, f->self);
    tk_env_fini(&f->env);
    free(f);
}

static int say_at(struct tpi_history *h, uint32_t partition, uint64_t offset, uint64_t device,
                  int64_t at, int64_t value)
{
    struct tpc_point p = { .property = 1, .value = { .type = TPC_INT, .as = { .i = value } } };
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_TELEMETRY,
                         .offset = offset,
                         .device_id = device,
                         .unix_ms = at,
                         .point_count = 1,
                         .point_size = sizeof(p),
                         .points = &p };
    return tpi_history_apply(h, &m, partition);
}

static void say(struct fixture *f, uint64_t device, int64_t at, int64_t value)
{
    uint32_t partition = (uint32_t) (device % PARTITIONS);
    tk_ok(say_at(f->h, partition, f->offsets[partition]++, device, at, value));
}

static void event(struct fixture *f, uint32_t partition)
{
    struct tpc_msg m = {
        .size = sizeof(m), .kind = TPC_MSG_EVENT, .offset = f->offsets[partition]++, .device_id = 9
    };
    tk_ok(tpi_history_apply(f->h, &m, partition));
}

struct stored {
    char text[512];
};

static int see(void *user, const struct tpc_chunk *c)
{
    struct stored *s = user;
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof(s->text) - len, "%lld-%lld*%u%s%s ",
             (long long) c->first_unix_ms, (long long) c->last_unix_ms, c->samples,
             (c->flags & TPC_CHUNK_PROVISIONAL) != 0 ? "?" : "",
             (c->flags & TPC_CHUNK_OVERLAP) != 0 ? "!" : "");
    return 0;
}

static void check_chunks(struct fixture *f, uint64_t device, const char *expected)
{
    struct tpc_scan q = { sizeof(q), 0, device, INT64_MIN, INT64_MAX };
    struct stored s = { .text = "" };
    tk_ok(tpi_memory_history.scan(f->self, &q, see, &s));
    ck_assert_str_eq(s.text, expected);
}

/* Values of property 1 of a device in time order, as text. */
static void check_values(struct tpi_history *h, uint64_t device, const char *expected)
{
    const uint16_t id = 1;
    const struct tpc_str key = TPC_STR_INIT("temp");
    const struct tpi_history_device d = { device, TPC_STR_INIT("dev"), &id };
    struct tpi_history_query q = { .devices = &d,
                                   .device_count = 1,
                                   .property_count = 1,
                                   .properties = &key,
                                   .from_unix_ms = INT64_MIN,
                                   .to_unix_ms = INT64_MAX };
    const struct tpc_row_batch *b;
    struct tpi_history_rows *rows;
    char text[512] = "";
    tk_ok(tpi_history_query_open(h, &q, NULL, &rows));
    while (tpi_history_query_next(rows, NULL, &b) == 1) {
        ck_assert(tpc_str_equal(b->device, d.key));
        ck_assert(tpc_str_equal(b->columns[0].property, key));
        for (uint32_t i = 0; i < b->count; i++) {
            size_t len = strlen(text);
            snprintf(text + len, sizeof(text) - len, "%lld=%lld ", (long long) b->unix_ms[i],
                     (long long) b->columns[0].ints[i]);
        }
    }
    tpi_history_query_close(rows);
    ck_assert_str_eq(text, expected);
}

/* ---- watermark and checkpoints ---- */

START_TEST(open_samples_hold_the_watermark_until_the_checkpoint)
{
    struct fixture *f = begin(NULL);
    say(f, 2, 10, 1);
    say(f, 2, 20, 2);
    tk_ok(tpi_history_commit(f->h, false, NULL));
    ck_assert_uint_eq(tpi_history_watermark(f->h, 0), 0);
    check_chunks(f, 2, "");
    ck_assert_uint_eq(tpi_history_due_ms(f->h), 60000);
    tk_clock_advance(&f->env.clock, 60000);
    ck_assert(tpi_history_due(f->h));
    tk_ok(tpi_history_commit(f->h, false, NULL));
    ck_assert_uint_eq(tpi_history_watermark(f->h, 0), 2);
    ck_assert_uint_eq(tpi_history_off_end(f->h, 2), 2);
    check_chunks(f, 2, "10-20*2? ");
    ck_assert(!tpi_history_due(f->h));
    say(f, 2, 30, 3);
    tk_ok(tpi_history_commit(f->h, true, NULL));
    check_chunks(f, 2, "10-30*3? ");
    check_values(f->h, 2, "10=1 20=2 30=3 ");
    end(f);
}
END_TEST

/* One transaction and its syncs, not one for each partition. */
START_TEST(a_checkpoint_takes_what_is_soon_due_in_all_partitions)
{
    struct fixture *f = begin(NULL);
    say(f, 2, 10, 1);
    tk_clock_advance(&f->env.clock, 20000);
    say(f, 3, 10, 1); /* of the other partition */
    tk_clock_advance(&f->env.clock, 20000);
    say(f, 5, 10, 1);
    tk_clock_advance(&f->env.clock, 20000);
    tk_ok(tpi_history_commit(f->h, false, NULL));
    check_chunks(f, 2, "10-10*1? ");
    check_chunks(f, 3, "10-10*1? ");
    check_chunks(f, 5, ""); /* that one is young */
    ck_assert_uint_eq(tpi_history_due_ms(f->h), 40000);
    end(f);
}
END_TEST

START_TEST(quiet_device_holds_its_own_partition_only)
{
    const struct tpi_history_limits limits = { .chunk_samples = 3 };
    struct fixture *f = begin(&limits);
    say(f, 2, 1, 1);
    for (int i = 0; i < 6; i++) {
        say(f, 4, 10 + i, i);
        say(f, 3, 10 + i, i);
    }
    tk_ok(tpi_history_commit(f->h, false, NULL));
    ck_assert_uint_eq(tpi_history_watermark(f->h, 0), 0);
    ck_assert_uint_eq(tpi_history_watermark(f->h, 1), 6);
    ck_assert_uint_eq(tpi_history_max_offset(f->h, 0), 7);
    check_chunks(f, 4, "10-12*3 13-15*3 ");
    end(f);
}
END_TEST

START_TEST(records_of_other_kinds_move_the_watermark)
{
    struct fixture *f = begin(NULL);
    event(f, 0);
    event(f, 0);
    tk_ok(tpi_history_commit(f->h, false, NULL));
    ck_assert_uint_eq(tpi_history_watermark(f->h, 0), 0);
    tk_clock_advance(&f->env.clock, 60000);
    ck_assert(tpi_history_due(f->h));
    tk_ok(tpi_history_commit(f->h, false, NULL));
    ck_assert_uint_eq(tpi_history_watermark(f->h, 0), 2);
    ck_assert_uint_eq(tpi_history_due_ms(f->h), UINT64_MAX);
    end(f);
}
END_TEST

START_TEST(many_records_above_the_watermark_force_a_checkpoint)
{
    const struct tpi_history_limits limits = { .checkpoint_records = 100 };
    struct fixture *f = begin(&limits);
    say(f, 2, 1, 1);
    for (int i = 0; i < 98; i++) {
        event(f, 0);
    }
    ck_assert(!tpi_history_due(f->h));
    event(f, 0);
    ck_assert(tpi_history_due(f->h));
    tk_ok(tpi_history_commit(f->h, false, NULL));
    ck_assert_uint_eq(tpi_history_watermark(f->h, 0), 100);
    end(f);
}
END_TEST

START_TEST(full_chunks_wait_a_minute_or_for_company)
{
    const struct tpi_history_limits limits = { .chunk_samples = 2, .commit_chunks = 2 };
    struct fixture *f = begin(&limits);
    say(f, 2, 1, 1);
    say(f, 2, 2, 2);
    ck_assert_uint_eq(tpi_history_due_ms(f->h), 60000);
    say(f, 4, 1, 1);
    say(f, 4, 2, 2);
    ck_assert_uint_eq(tpi_history_due_ms(f->h), 0);
    end(f);
}
END_TEST

/* ---- replay ---- */

START_TEST(records_seen_before_are_passed_over)
{
    struct fixture *f = begin(NULL);
    say(f, 2, 1, 1);
    say(f, 4, 1, 1);
    tk_ok(say_at(f->h, 0, 1, 4, 1, 99));
    tk_ok(say_at(f->h, 0, 0, 2, 1, 99));
    ck_assert_uint_eq(tpi_history_counters(f->h)->skipped, 2);
    check_values(f->h, 4, "1=1 ");
    ck_assert_uint_eq(tpi_history_applied(f->h, 0), 2);
    tk_fails(TPC_EINVAL, say_at(f->h, PARTITIONS, 0, 2, 1, 1));
    end(f);
}
END_TEST

START_TEST(restart_replays_what_no_chunk_has)
{
    const struct tpi_history_limits limits = { .chunk_samples = 2 };
    struct fixture *f = begin(&limits);
    say(f, 2, 5, 50);
    say(f, 4, 1, 10);
    say(f, 4, 2, 20);
    tk_ok(tpi_history_commit(f->h, false, NULL));
    tpi_history_destroy(f->h);
    open_stage(f, &limits);
    ck_assert_uint_eq(tpi_history_watermark(f->h, 0), 0);
    check_values(f->h, 2, "");
    tk_ok(say_at(f->h, 0, 0, 2, 5, 50));
    tk_ok(say_at(f->h, 0, 1, 4, 1, 10));
    tk_ok(say_at(f->h, 0, 2, 4, 2, 20));
    ck_assert_uint_eq(tpi_history_counters(f->h)->skipped, 2);
    check_values(f->h, 2, "5=50 ");
    check_values(f->h, 4, "1=10 2=20 ");
    end(f);
}
END_TEST

START_TEST(another_log_is_refused_naming_both)
{
    struct fixture *f = begin(NULL);
    struct tpc_error err = { .size = sizeof(err) };
    say(f, 2, 1, 1);
    tk_ok(tpi_history_commit(f->h, true, NULL));
    tpi_history_destroy(f->h);
    tk_ok(tpi_history_create(&f->env.env, &tpi_memory_history, f->self, NULL, PARTITIONS, NULL,
                             &f->h));
    tk_fails(TPC_EGAP, tpi_history_start(f->h, &log_b, 2000, false, &err));
    ck_assert_ptr_ne(strstr(err.text, "aa01"), NULL);
    ck_assert_ptr_ne(strstr(err.text, "bb02"), NULL);
    ck_assert_ptr_ne(strstr(err.text, "1000 ms"), NULL);
    ck_assert_ptr_ne(strstr(err.text, "2000 ms"), NULL);
    tk_ok(tpi_history_start(f->h, &log_b, 2000, true, &err));
    ck_assert_uint_eq(tpi_history_max_offset(f->h, 0), 1);
    tpi_history_destroy(f->h);
    tk_ok(tpi_history_create(&f->env.env, &tpi_memory_history, f->self, NULL, PARTITIONS, NULL,
                             &f->h));
    tk_ok(tpi_history_start(f->h, &log_b, 2000, false, &err));
    end(f);
}
END_TEST

START_TEST(fewer_partitions_than_the_marks_are_refused)
{
    struct fixture *f = begin(NULL);
    struct tpc_error err = { .size = sizeof(err) };
    say(f, 3, 1, 1);
    tk_ok(tpi_history_commit(f->h, true, NULL));
    tpi_history_destroy(f->h);
    tk_ok(tpi_history_create(&f->env.env, &tpi_memory_history, f->self, NULL, 1, NULL, &f->h));
    tk_fails(TPC_EINVAL, tpi_history_start(f->h, &log_a, 1000, false, &err));
    ck_assert_ptr_ne(strstr(err.text, "partition 1"), NULL);
    end(f);
}
END_TEST

START_TEST(device_that_moves_to_another_partition_loses_nothing)
{
    struct fixture *f = begin(NULL);
    tk_ok(say_at(f->h, 0, 100, 2, 1, 1));
    tk_ok(say_at(f->h, 1, 5, 2, 2, 2));
    tk_ok(tpi_history_commit(f->h, true, NULL));
    tk_ok(say_at(f->h, 1, 6, 2, 3, 3));
    check_values(f->h, 2, "1=1 2=2 3=3 ");
    tk_ok(tpi_history_commit(f->h, true, NULL));
    check_values(f->h, 2, "1=1 2=2 3=3 ");
    ck_assert_uint_eq(tpi_history_off_end(f->h, 2), 7);
    end(f);
}
END_TEST

/* ---- limits ---- */

START_TEST(memory_limit_refuses_until_a_commit_and_idle_devices_go_first)
{
    const struct tpi_history_limits limits = { .open_bytes = 20000 };
    struct fixture *f = begin(&limits);
    uint64_t device = 0;
    while (say_at(f->h, 0, device, device + 1, 1, 1) == 0) {
        device++;
        ck_assert_uint_lt(device, 1000);
    }
    ck_assert_uint_gt(device, 5);
    ck_assert(tpi_history_due(f->h));
    ck_assert_uint_eq(tpi_history_counters(f->h)->refused, 1);
    tk_ok(tpi_history_commit(f->h, false, NULL));
    ck_assert_uint_le(tpi_history_counters(f->h)->open_bytes, 10000);
    check_chunks(f, 1, "1-1*1 ");
    check_chunks(f, device, "");
    tk_ok(say_at(f->h, 0, device, device + 1, 1, 1));
    end(f);
}
END_TEST

/* Time in which the pump commits whenever it is due. */
static void pass(struct fixture *f, uint64_t ms)
{
    tk_clock_advance(&f->env.clock, ms);
    if (tpi_history_due(f->h)) {
        tk_ok(tpi_history_commit(f->h, false, NULL));
    }
}

START_TEST(chunk_that_hardly_grew_is_not_written_again)
{
    struct fixture *f = begin(NULL);
    struct tpi_history_counters *n = tpi_history_counters(f->h);
    for (int minute = 0; minute < 240; minute++) {
        for (int i = 0; i < 60; i++) {
            pass(f, 1000);
            if (i == 0 && minute < 110) {
                say(f, 2, minute * 60000 + 1, minute);
            }
        }
        ck_assert_uint_le(tpi_history_applied(f->h, 0) - tpi_history_watermark(f->h, 0), 17);
    }
    ck_assert_uint_eq(n->chunks, 0);
    ck_assert_uint_ge(n->provisional, 6); /* with 1, 2, 4, 8 .. rows; then each 16 minutes */
    ck_assert_uint_le(n->provisional, 13);
    ck_assert_uint_eq(tpi_history_watermark(f->h, 0), 110);
    end(f);
}
END_TEST

static int say_eight(struct tpi_history *h, uint64_t offset, uint64_t device, int64_t at)
{
    struct tpc_point points[8];
    memset(points, 0, sizeof(points));
    for (uint16_t i = 0; i < 8; i++) {
        points[i].property = (uint16_t) (i + 1);
        points[i].value.type = TPC_DOUBLE;
        points[i].value.as.d = (double) ((offset * 7 + i * 13u) % 1000) / 10;
    }
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_TELEMETRY,
                         .offset = offset,
                         .device_id = device,
                         .unix_ms = at,
                         .point_count = 8,
                         .point_size = sizeof(points[0]),
                         .points = points };
    return tpi_history_apply(h, &m, 0);
}

START_TEST(one_fast_and_999_slow_devices_keep_the_log_and_the_memory_short)
{
    enum { SLOW = 999, SECONDS = 4500, FAST_A_SECOND = 5 };
    const struct tpi_history_limits limits = { .checkpoint_records = 10000, .open_bytes = 4 << 20 };
    struct fixture *f = begin(&limits);
    struct tpi_history_counters *n = tpi_history_counters(f->h);
    uint64_t offset = 0;
    uint64_t most = 0;
    for (int s = 0; s < SECONDS; s++) {
        for (int i = 0; i < FAST_A_SECOND; i++) {
            tk_ok(say_eight(f->h, offset++, 1, (int64_t) s * 1000 + i * 100));
        }
        if (s % 2 == 0) { /* each slow device once in 2,000 s */
            tk_ok(say_eight(f->h, offset++, 2 + (uint64_t) (s / 2) % SLOW, (int64_t) s * 1000));
        }
        pass(f, 1000);
        uint64_t behind = tpi_history_applied(f->h, 0) - tpi_history_watermark(f->h, 0);
        most = behind > most ? behind : most;
        ck_assert_uint_le(n->open_bytes, 4 << 20);
    }
    ck_assert_uint_le(most, 10000);
    ck_assert_uint_eq(n->refused, 0);
    ck_assert_uint_gt(n->provisional, SLOW);
    ck_assert_uint_lt(n->bytes, n->samples * 5 / 2); /* not the same again and again */
    end(f);
}
END_TEST

START_TEST(crowded_devices_have_smaller_chunks_and_no_needless_ones)
{
    enum { CROWD = 300, ROUNDS = 150, BUDGET = 600 << 10 };
    const struct tpi_history_limits limits = { .open_bytes = BUDGET };
    struct fixture *f = begin(&limits);
    struct tpi_history_counters *n = tpi_history_counters(f->h);
    uint64_t offset = 0;
    for (int r = 0; r < ROUNDS; r++) {
        for (uint64_t d = 1; d <= CROWD; d++) {
            tk_ok(say_eight(f->h, offset++, d, (int64_t) r * 100));
            if (offset % 256 == 0) {
                pass(f, 10);
            }
        }
        ck_assert_uint_le(n->open_bytes, BUDGET);
    }
    ck_assert_uint_eq(n->refused, 0);
    ck_assert_uint_eq(n->provisional, 0);
    ck_assert_uint_gt(n->chunks, CROWD * ROUNDS / 120);
    ck_assert_uint_lt(n->chunks, CROWD * ROUNDS / 12); /* they hold 12 rows and more */
    end(f);
}
END_TEST

START_TEST(far_apart_times_do_not_share_a_chunk)
{
    const struct tpi_history_limits limits = { .chunk_span_ms = 1000 };
    struct fixture *f = begin(&limits);
    say(f, 2, 5000, 1);
    say(f, 2, 6000, 2);
    say(f, 2, 1, 3);
    tk_ok(tpi_history_commit(f->h, true, NULL));
    check_chunks(f, 2, "1-1*1?! 5000-6000*2 ");
    check_values(f->h, 2, "1=3 5000=1 6000=2 ");
    end(f);
}
END_TEST

START_TEST(overlap_is_flagged_also_with_chunks_of_an_earlier_run)
{
    const struct tpi_history_limits limits = { .chunk_samples = 2 };
    struct fixture *f = begin(&limits);
    say(f, 2, 10, 1);
    say(f, 2, 20, 1);
    say(f, 2, 30, 1);
    say(f, 2, 40, 1);
    tk_ok(tpi_history_commit(f->h, true, NULL));
    check_chunks(f, 2, "10-20*2 30-40*2 ");
    tpi_history_destroy(f->h);
    open_stage(f, &limits);
    say(f, 2, 35, 2);
    say(f, 2, 60, 2);
    say(f, 2, 70, 2);
    tk_ok(tpi_history_commit(f->h, true, NULL));
    check_chunks(f, 2, "10-20*2 30-40*2 35-60*2! 70-70*1? ");
    end(f);
}
END_TEST

START_TEST(points_that_cannot_be_kept_are_counted_and_the_rest_stays)
{
    struct fixture *f = begin(NULL);
    struct tpc_point points[3] = { { .property = 0, .value = { .type = TPC_INT } },
                                   { .property = 1, .value = { .type = 77 } },
                                   { .property = 1,
                                     .value = { .type = TPC_INT, .as = { .i = 5 } } } };
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_ATTRIBUTES,
                         .device_id = 2,
                         .unix_ms = 1,
                         .point_count = 3,
                         .point_size = sizeof(points[0]),
                         .points = points };
    tk_ok(tpi_history_apply(f->h, &m, 0));
    ck_assert_uint_eq(tpi_history_counters(f->h)->unusable, 2);
    check_values(f->h, 2, "1=5 ");
    m.offset = 1;
    m.point_count = 2;
    tk_ok(tpi_history_apply(f->h, &m, 0));
    ck_assert_uint_eq(tpi_history_counters(f->h)->unusable, 4);
    ck_assert_uint_eq(tpi_history_applied(f->h, 0), 2);
    end(f);
}
END_TEST

/* ---- properties ---- */

static int count_mark(void *user, const struct tpc_mark *m)
{
    (void) m;
    ++*(int *) user;
    return 0;
}

START_TEST(property_names_are_written_once)
{
    struct fixture *f = begin(NULL);
    int count = 0;
    for (int i = 0; i < 3; i++) {
        tk_ok(tpi_history_property(f->h, 7, 1, TPC_STR("temp"), TPC_STR("double")));
        tk_ok(tpi_history_property(f->h, 7, 2, TPC_STR("a\"b"), TPC_STR("int")));
    }
    tk_fails(TPC_EINVAL, tpi_history_property(f->h, 7, 0, TPC_STR("x"), TPC_STR("int")));
    ck_assert_uint_eq(tpi_history_due_ms(f->h), 1000);
    tk_ok(tpi_history_commit(f->h, false, NULL));
    tk_ok(tpi_memory_history.marks(f->self, TPC_MARK_PROPERTY, count_mark, &count));
    ck_assert_int_eq(count, 2);
    ck_assert_uint_eq(tpi_history_due_ms(f->h), UINT64_MAX);
    tpi_history_destroy(f->h);
    open_stage(f, NULL);
    tk_ok(tpi_history_property(f->h, 7, 1, TPC_STR("temp"), TPC_STR("double")));
    ck_assert_uint_eq(tpi_history_due_ms(f->h), UINT64_MAX);
    tk_ok(tpi_history_property(f->h, 7, 1, TPC_STR("temp"), TPC_STR("int")));
    ck_assert_uint_eq(tpi_history_due_ms(f->h), 1000);
    end(f);
}
END_TEST

/* ---- queries ---- */

START_TEST(bad_queries_are_refused)
{
    struct fixture *f = begin(NULL);
    const uint16_t id = 1;
    const struct tpc_str key = TPC_STR_INIT("temp");
    const struct tpi_history_device d = { 2, TPC_STR_INIT("dev"), &id };
    struct tpi_history_query q = { .devices = &d,
                                   .device_count = 1,
                                   .property_count = 1,
                                   .properties = &key,
                                   .from_unix_ms = 5,
                                   .to_unix_ms = 5 };
    struct tpi_history_rows *rows = NULL;
    tk_fails(TPC_EINVAL, tpi_history_query_open(f->h, &q, NULL, &rows));
    q.to_unix_ms = 6;
    q.property_count = 0;
    tk_fails(TPC_EINVAL, tpi_history_query_open(f->h, &q, NULL, &rows));
    q.property_count = 1;
    q.device_count = 0;
    tk_fails(TPC_EINVAL, tpi_history_query_open(f->h, &q, NULL, &rows));
    ck_assert_ptr_null(tpi_history_query_close(NULL));
    end(f);
}
END_TEST

struct racing {
    struct fixture *f;
    atomic_int done;
    atomic_int written;
};

/* What was applied before the query began is there, in order, without a hole. */
static void *read_on(void *user)
{
    struct racing *r = user;
    const uint16_t id = 1;
    const struct tpc_str key = TPC_STR_INIT("temp");
    const struct tpi_history_device d = { 2, TPC_STR_INIT("dev"), &id };
    struct tpi_history_query q = { .devices = &d,
                                   .device_count = 1,
                                   .property_count = 1,
                                   .properties = &key,
                                   .from_unix_ms = INT64_MIN,
                                   .to_unix_ms = INT64_MAX };
    while (atomic_load(&r->done) == 0) {
        int64_t before = atomic_load(&r->written);
        int64_t next = 0;
        struct tpi_history_rows *rows;
        const struct tpc_row_batch *b;
        tk_ok(tpi_history_query_open(r->f->h, &q, NULL, &rows));
        while (tpi_history_query_next(rows, NULL, &b) == 1) {
            for (uint32_t i = 0; i < b->count; i++) {
                ck_assert_int_eq(b->unix_ms[i], next + 1);
                ck_assert_int_eq(b->columns[0].ints[i], next);
                next++;
            }
        }
        tpi_history_query_close(rows);
        ck_assert_int_ge(next, before);
    }
    return NULL;
}

START_TEST(queries_beside_the_pump_see_every_sample_once)
{
    const struct tpi_history_limits limits = { .chunk_samples = 7 };
    struct fixture *f = begin(&limits);
    struct racing r = { .f = f };
    tpi_history_destroy(f->h);
    /* the kit's counting allocator is for one thread */
    f->env.env.alloc = tpc_allocator_default();
    open_stage(f, &limits);
    pthread_t reader;
    pthread_create(&reader, NULL, read_on, &r);
    for (int64_t i = 0; i < 3000; i++) {
        say(f, 2, i + 1, i);
        atomic_store(&r.written, (int) i + 1);
        if (i % 10 == 9) {
            tk_ok(tpi_history_commit(f->h, i % 30 == 9, NULL));
        }
    }
    atomic_store(&r.done, 1);
    pthread_join(reader, NULL);
    end(f);
}
END_TEST

/* ---- memory ---- */

static int use_all(struct tpi_env *env, void *self)
{
    const uint16_t ids[2] = { 1, 2 };
    const struct tpc_str keys[2] = { TPC_STR_INIT("temp"), TPC_STR_INIT("none") };
    const struct tpi_history_device d = { 2, TPC_STR_INIT("dev"), ids };
    const struct tpi_history_limits limits = { .chunk_samples = 4 };
    struct tpi_history_query q = { .devices = &d,
                                   .device_count = 1,
                                   .property_count = 2,
                                   .properties = keys,
                                   .from_unix_ms = 0,
                                   .to_unix_ms = 100 };
    struct tpi_history *h = NULL;
    struct tpi_history_rows *rows = NULL;
    const struct tpc_row_batch *b = NULL;
    int rc = tpi_history_create(env, &tpi_memory_history, self, &limits, 1, NULL, &h);
    rc = rc != 0 ? rc : tpi_history_start(h, &log_a, 1, false, NULL);
    rc = rc != 0 ? rc : tpi_history_property(h, 1, 1, TPC_STR("temp"), TPC_STR("int"));
    for (uint64_t i = 0; rc == 0 && i < 10; i++) {
        rc = say_at(h, 0, i, 2, (int64_t) (i * 3 % 10), (int64_t) i);
        if (rc == 0 && i == 5) {
            rc = tpi_history_commit(h, true, NULL);
        }
    }
    rc = rc != 0 ? rc : tpi_history_query_open(h, &q, NULL, &rows);
    if (rc == 0) {
        rc = tpi_history_query_next(rows, NULL, &b);
        if (rc == 1) {
            ck_assert_uint_eq(b->count, 10);
            rc = 0;
        }
    }
    tpi_history_query_close(rows);
    rc = rc != 0 ? rc : tpi_history_commit(h, true, NULL);
    tpi_history_destroy(h);
    return rc;
}

static int use_with(const struct tpc_allocator *a, void *user)
{
    (void) user;
    struct tpi_env env;
    struct tpc_host host = *history_host();
    void *self = calloc(1, tpi_memory_history.instance_size);
    tpi_env_default(&env);
    env.alloc = a;
    host.allocator = a;
    tk_ok(tpi_memory_history.init(self, &host, NULL, NULL));
    int rc = use_all(&env, self);
    tpi_memory_history.fini(self);
    free(self);
    return rc;
}

START_TEST(every_failed_allocation_is_an_error_and_leaves_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(use_with, NULL), 20);
}
END_TEST

START_TEST(memory_engine_has_a_limit)
{
    struct tpc_member member = { TPC_STR("max_bytes"), { .type = TPC_INT, .as = { .i = 65536 } } };
    struct tpc_value cfg = { .type = TPC_MAP, .len = 1, .as = { .members = &member } };
    struct tpc_error err = { .size = sizeof(err) };
    void *self = history_engine_open(&tpi_memory_history, &cfg);
    static const uint8_t blob[40000];
    struct tpc_chunk c = { .size = sizeof(c), .device_id = 1, .blob = { blob, sizeof(blob) } };
    uint64_t id;
    tk_ok(tpi_memory_history.begin(self, NULL));
    tk_ok(tpi_memory_history.put_chunk(self, &c, NULL, &id));
    tk_fails(TPC_ENOSPC, tpi_memory_history.put_chunk(self, &c, &err, &id));
    ck_assert_ptr_ne(strstr(err.text, "max_bytes"), NULL);
    tpi_memory_history.rollback(self);
    tk_ok(tpi_memory_history.begin(self, NULL));
    tk_ok(tpi_memory_history.put_chunk(self, &c, NULL, &id));
    tk_ok(tpi_memory_history.commit(self, NULL));
    history_engine_close(&tpi_memory_history, self);
}
END_TEST

Suite *history_suite(void)
{
    Suite *s = suite_create("history");
    TCase *c = tcase_create("history");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, open_samples_hold_the_watermark_until_the_checkpoint);
    tcase_add_test(c, a_checkpoint_takes_what_is_soon_due_in_all_partitions);
    tcase_add_test(c, quiet_device_holds_its_own_partition_only);
    tcase_add_test(c, records_of_other_kinds_move_the_watermark);
    tcase_add_test(c, many_records_above_the_watermark_force_a_checkpoint);
    tcase_add_test(c, full_chunks_wait_a_minute_or_for_company);
    tcase_add_test(c, records_seen_before_are_passed_over);
    tcase_add_test(c, restart_replays_what_no_chunk_has);
    tcase_add_test(c, another_log_is_refused_naming_both);
    tcase_add_test(c, fewer_partitions_than_the_marks_are_refused);
    tcase_add_test(c, device_that_moves_to_another_partition_loses_nothing);
    tcase_add_test(c, memory_limit_refuses_until_a_commit_and_idle_devices_go_first);
    tcase_add_test(c, chunk_that_hardly_grew_is_not_written_again);
    tcase_add_test(c, one_fast_and_999_slow_devices_keep_the_log_and_the_memory_short);
    tcase_add_test(c, crowded_devices_have_smaller_chunks_and_no_needless_ones);
    tcase_add_test(c, far_apart_times_do_not_share_a_chunk);
    tcase_add_test(c, overlap_is_flagged_also_with_chunks_of_an_earlier_run);
    tcase_add_test(c, points_that_cannot_be_kept_are_counted_and_the_rest_stays);
    tcase_add_test(c, property_names_are_written_once);
    tcase_add_test(c, bad_queries_are_refused);
    tcase_add_test(c, queries_beside_the_pump_see_every_sample_once);
    tcase_add_test(c, every_failed_allocation_is_an_error_and_leaves_nothing);
    tcase_add_test(c, memory_engine_has_a_limit);
    suite_add_tcase(s, c);
    return s;
}
