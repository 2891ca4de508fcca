/*
 * What every engine does, whatever it keeps its records in. Each test runs on all of them.
 */
#include "bus/dead.h"
#include "bus_fix.h"

#include <string.h>

static const struct tpc_bus_ops *const engines[] = { &tpi_bus_memory, &tpi_bus_file };
enum { ENGINES = 2, PARTITIONS = 4 };

static struct bus_fix fix;

static struct bus_fix *ready(int engine)
{
    bus_prepare(&fix, engines[engine], PARTITIONS);
    bus_set(&fix, "max_bytes", 8 << 20);
    bus_set(&fix, "segment_size", 256 << 10);
    bus_set(&fix, "cache", 0);
    tk_ok(bus_open(&fix));
    return &fix;
}

static void finish(struct bus_fix *f)
{
    bus_close(f);
    bus_done(f);
}

START_TEST(records_come_back_as_they_went_in)
{
    struct bus_fix *f = ready(_i);
    struct bus_seen seen;
    uint64_t sequence = 0;

    tk_ok(bus_put(f, 1, 500, &sequence));
    ck_assert_uint_eq(sequence, 500);
    ck_assert_uint_eq(bus_read_all(f, 1, 0, 100, 0, &seen), 500);
    ck_assert_uint_eq(seen.count, 500);
    ck_assert_uint_eq(bus_read_all(f, 0, 0, 100, 0, &seen), 0);
    ck_assert_uint_eq(bus_flush(f, 0), 500);
    ck_assert_uint_eq(bus_read_all(f, 1, 123, 7, TPC_READ_FLUSHED, &seen), 500);
    ck_assert_uint_eq(seen.first, 123);
    ck_assert_uint_eq(seen.count, 377);
    finish(f);
}
END_TEST

START_TEST(a_mixed_batch_keeps_each_partitions_order)
{
    struct bus_fix *f = ready(_i);
    struct bus_seen seen;
    uint32_t i, p;

    for (i = 0; i < 20; i++) {
        tk_ok(bus_put_mixed(f, 13));
    }
    for (p = 0; p < PARTITIONS; p++) {
        bus_read_all(f, p, 0, 11, 0, &seen);
        ck_assert_uint_eq(seen.count, 260);
        ck_assert_uint_eq(seen.jumps, 0);
    }
    finish(f);
}
END_TEST

START_TEST(an_empty_batch_is_nothing)
{
    struct bus_fix *f = ready(_i);
    uint64_t sequence = 99;

    tk_ok(f->ops->append(f->self, NULL, 0, sizeof(struct tpc_record), 0, NULL, &sequence));
    ck_assert_uint_eq(sequence, 0);
    finish(f);
}
END_TEST

START_TEST(a_bad_batch_leaves_no_trace)
{
    struct bus_fix *f = ready(_i);
    uint8_t body[2 << 10];
    struct tpc_record records[2] = { { .size = sizeof(records[0]) },
                                     { .size = sizeof(records[0]) } };
    uint64_t sequence = 0, first, end;
    struct tpc_error err;

    memset(body, 7, sizeof(body));
    records[1].partition = PARTITIONS;
    tk_fails(TPC_EINVAL,
             f->ops->append(f->self, records, 2, sizeof(records[0]), 0, &err, &sequence));
    records[1].partition = 0;
    records[1].body.ptr = body;
    records[1].body.len = (16 << 20) + 1;
    tk_fails(TPC_ETOOBIG,
             f->ops->append(f->self, records, 2, sizeof(records[0]), 0, &err, &sequence));
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    ck_assert_uint_eq(end, 0);
    ck_assert_uint_eq(sequence, 0);
    ck_assert_uint_eq(bus_info(f).appended_sequence, 0);
    finish(f);
}
END_TEST

static int stop_now(void *user, const struct tpc_record *record)
{
    (void) record;
    return ++*(int *) user == 3 ? 77 : 0;
}

START_TEST(a_callback_can_end_a_read)
{
    struct bus_fix *f = ready(_i);
    uint64_t next = 0;
    int calls = 0;

    tk_ok(bus_put(f, 0, 10, NULL));
    ck_assert_int_eq(f->ops->read(f->self, 0, 2, 100, 0, stop_now, &calls, &next), 77);
    ck_assert_uint_eq(next, 5);
    finish(f);
}
END_TEST

START_TEST(offsets_may_jump_but_never_go_back)
{
    struct bus_fix *f = ready(_i);
    struct bus_seen seen;
    uint64_t first, end;

    tk_ok(f->ops->raise_end(f->self, 2, 1000));
    tk_ok(f->ops->raise_end(f->self, 2, 10));
    tk_ok(bus_put(f, 2, 5, NULL));
    tk_ok(f->ops->range(f->self, 2, &first, &end));
    ck_assert_uint_eq(end, 1005);
    ck_assert_uint_eq(bus_read_all(f, 2, first, 100, 0, &seen), 1005);
    ck_assert_uint_eq(seen.first, 1000);
    ck_assert_uint_eq(seen.count, 5);
    finish(f);
}
END_TEST

START_TEST(a_cursor_moves_forward_only)
{
    struct bus_fix *f = ready(_i);
    uint32_t c;

    tk_ok(bus_put(f, 0, 10, NULL));
    c = bus_cursor(f, "history", TPC_CURSOR_HOLD);
    ck_assert_uint_eq(bus_position(f, c, 0), 0);
    tk_ok(f->ops->commit(f->self, c, 0, 7, TPC_FLUSH_SYNC));
    tk_ok(f->ops->commit(f->self, c, 0, 3, 0));
    ck_assert_uint_eq(bus_position(f, c, 0), 7);
    tk_fails(TPC_EINVAL, f->ops->commit(f->self, c, 0, 11, 0));
    tk_fails(TPC_EINVAL, f->ops->commit(f->self, c, PARTITIONS, 0, 0));
    tk_fails(TPC_EINVAL, f->ops->commit(f->self, c + 1, 0, 0, 0));
    ck_assert_uint_eq(bus_cursor_info(f, "history").lag_records, 3);
    f->ops->cursor_close(f->self, c, 0);
    ck_assert_uint_eq(bus_position(f, bus_cursor(f, "history", TPC_CURSOR_HOLD), 0), 7);
    f->ops->cursor_close(f->self, c, 1);
    ck_assert_uint_eq(bus_position(f, bus_cursor(f, "history", TPC_CURSOR_HOLD), 0), 0);
    finish(f);
}
END_TEST

START_TEST(cursors_are_checked)
{
    struct bus_fix *f = ready(_i);
    struct tpc_cursor_options o = { .size = sizeof(o), .cursor_class = TPC_CURSOR_HOLD };
    const char *bad[] = { "", "UPPER", "a b", "a/b",
                          "12345678901234567890123456789012345678901234567890123456789012345" };
    uint32_t c, i;
    struct tpc_error err;

    for (i = 0; i < 5; i++) {
        o.name = tpc_str_from(bad[i]);
        tk_fails(TPC_EINVAL, f->ops->cursor_open(f->self, &o, &err, &c));
    }
    o.name = TPC_STR("fine:1.2-x_y");
    o.cursor_class = 9;
    tk_fails(TPC_EINVAL, f->ops->cursor_open(f->self, &o, &err, &c));
    o.cursor_class = TPC_CURSOR_TAIL;
    o.start = TPC_START_NEWEST;
    tk_ok(bus_put(f, 0, 10, NULL));
    tk_ok(f->ops->cursor_open(f->self, &o, &err, &c));
    ck_assert_uint_eq(bus_position(f, c, 0), 10);
    finish(f);
}
END_TEST

/* Fills until the engine says later or n batches are in; returns the batches. */
static uint32_t fill(struct bus_fix *f, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        int rc = bus_put(f, 0, 256, NULL);

        if (rc == TPC_EAGAIN) {
            break;
        }
        tk_ok(rc);
        bus_flush(f, 0);
    }
    return i;
}

START_TEST(the_log_is_bounded_and_says_what_is_gone)
{
    struct bus_fix *f = ready(_i);
    uint64_t first, end, next = 0;
    struct bus_seen seen = { .partition = 0 };

    ck_assert_uint_eq(fill(f, 600), 600); /* about 18 MB */
    tk_ok(f->ops->trim(f->self));
    ck_assert_uint_le(bus_info(f).bytes, (8 << 20) + (512 << 10));
    ck_assert_uint_gt(bus_info(f).trimmed_segments, 10);
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    ck_assert_uint_gt(first, 0);
    tk_fails(TPC_EGAP, f->ops->read(f->self, 0, 0, 10, 0, bus_check_record, &seen, &next));
    ck_assert_uint_eq(next, first);
    ck_assert_uint_eq(seen.count, 0);
    bus_read_all(f, 0, first, 1000, 0, &seen);
    ck_assert_uint_eq(seen.count, end - first);
    finish(f);
}
END_TEST

START_TEST(a_hold_cursor_stops_the_log_until_it_moves)
{
    struct bus_fix *f = ready(_i);
    uint32_t hold = bus_cursor(f, "history", TPC_CURSOR_HOLD);
    uint32_t batches = fill(f, 600);
    uint64_t first, end;
    struct bus_seen seen;
    struct tpc_record r = { .size = sizeof(r) };
    uint64_t sequence;

    ck_assert_uint_lt(batches, 400);
    ck_assert_uint_gt(bus_info(f).refused, 0);
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    ck_assert_uint_eq(first, 0);
    tk_ok(f->ops->append(f->self, &r, 1, sizeof(r), TPC_APPEND_RESERVE, NULL, &sequence));
    ck_assert_uint_eq(bus_position(f, hold, 0), 0);
    tk_ok(f->ops->commit(f->self, hold, 0, end, 0));
    bus_flush(f, TPC_FLUSH_SYNC);
    ck_assert_uint_eq(fill(f, 5), 5);
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    bus_read_all(f, 0, end - 1000, 100, 0, &seen);
    ck_assert_uint_eq(seen.count, 1000);
    finish(f);
}
END_TEST

START_TEST(a_lossy_cursor_is_moved_and_the_gap_counted)
{
    struct bus_fix *f = ready(_i);
    struct tpc_cursor_options o = { .size = sizeof(o),
                                    .cursor_class = TPC_CURSOR_LOSSY,
                                    .name = TPC_STR("forward:1"),
                                    .max_bytes = 2 << 20 };
    uint32_t bounded, c = bus_cursor(f, "forward:2", TPC_CURSOR_LOSSY);
    uint64_t first, end;

    tk_ok(f->ops->cursor_open(f->self, &o, NULL, &bounded));
    ck_assert_uint_eq(fill(f, 150), 150);
    tk_ok(f->ops->trim(f->self));
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    ck_assert_uint_eq(first, 0);
    ck_assert_uint_eq(bus_position(f, c, 0), 0);
    ck_assert_uint_gt(bus_position(f, bounded, 0), 0);
    ck_assert_uint_eq(bus_cursor_info(f, "forward:1").gap_records, bus_position(f, bounded, 0));
    ck_assert_uint_eq(fill(f, 600), 600);
    tk_ok(f->ops->trim(f->self));
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    ck_assert_uint_eq(bus_position(f, c, 0), first);
    ck_assert_uint_eq(bus_cursor_info(f, "forward:2").gap_records, first);
    finish(f);
}
END_TEST

START_TEST(old_records_go_by_age)
{
    struct bus_fix *f = ready(_i);
    uint64_t first, end;

    ck_assert_uint_eq(fill(f, 30), 30);
    tk_clock_advance(&f->env.clock, 8LL * 86400 * 1000);
    ck_assert_uint_eq(fill(f, 30), 30);
    tk_ok(f->ops->trim(f->self));
    tk_ok(f->ops->range(f->self, 0, &first, &end));
    ck_assert_uint_gt(first, 256 * 15);
    ck_assert_uint_lt(first, 256 * 31);
    finish(f);
}
END_TEST

struct letters {
    uint32_t count;
    uint64_t last;
    char reason[64];
    uint8_t raw[8];
};

static int on_letter(void *user, const struct tpc_dead_letter *letter)
{
    struct letters *l = user;

    l->count++;
    l->last = letter->offset;
    ck_assert_int_eq(letter->code, TPC_ESCRIPT);
    ck_assert_uint_lt(letter->reason.len, sizeof(l->reason));
    memcpy(l->reason, letter->reason.ptr, letter->reason.len);
    ck_assert_uint_eq(letter->raw.len, 3);
    memcpy(l->raw, letter->raw.ptr, 3);
    ck_assert(tpc_str_equal(letter->device, TPC_STR("meter-1")));
    ck_assert(tpc_str_equal(letter->origin, TPC_STR("mqtt")));
    return 0;
}

START_TEST(dead_letters_are_listed_until_they_are_buried)
{
    struct bus_fix *f = ready(_i);
    const struct tpc_allocator *a = &f->env.alloc.base;
    struct tpi_dead dead = { .raw = TPC_BYTES("\x01\x02\x03"),
                             .code = TPC_ESCRIPT,
                             .line = 12,
                             .reason = TPC_STR("a nil value"),
                             .origin = TPC_STR("mqtt"),
                             .product = TPC_STR("meter"),
                             .device = TPC_STR("meter-1") };
    struct tpc_record r = { .size = sizeof(r), .kind = TPC_MSG_DEAD_LETTER, .partition = 3 };
    struct letters l = { 0 };
    struct tpi_buf body;
    uint64_t sequence;
    int i;

    tpi_buf_init(&body, a, 0);
    tk_ok(tpi_dead_encode(&dead, &body));
    r.body = (struct tpc_bytes){ body.ptr, body.len };
    for (i = 0; i < 3; i++) {
        tk_ok(bus_put(f, 3, 50, NULL));
        tk_ok(f->ops->append(f->self, &r, 1, sizeof(r), 0, NULL, &sequence));
    }
    tpi_buf_fini(&body);
    tk_ok(tpi_dead_list(f->ops, f->self, a, PARTITIONS, on_letter, &l));
    ck_assert_uint_eq(l.count, 3);
    ck_assert_uint_eq(l.last, 152);
    ck_assert_str_eq(l.reason, "a nil value");
    ck_assert_mem_eq(l.raw, "\x01\x02\x03", 3);
    tk_ok(tpi_dead_find(f->ops, f->self, a, 3, 101, on_letter, &l));
    ck_assert_uint_eq(l.last, 101);
    tk_fails(TPC_ENOENT, tpi_dead_find(f->ops, f->self, a, 3, 100, on_letter, &l));
    tk_fails(TPC_ENOENT, tpi_dead_bury(f->ops, f->self, a, 2, 101, 5, NULL));
    tk_ok(tpi_dead_bury(f->ops, f->self, a, 3, 101, 5, NULL));
    tk_fails(TPC_ENOENT, tpi_dead_bury(f->ops, f->self, a, 3, 101, 5, NULL));
    l.count = 0;
    tk_ok(tpi_dead_list(f->ops, f->self, a, PARTITIONS, on_letter, &l));
    ck_assert_uint_eq(l.count, 2);
    finish(f);
}
END_TEST

struct oom {
    int engine;
};

static int oom_run(const struct tpc_allocator *a, void *user)
{
    struct oom *oom = user;
    struct bus_fix f;
    struct tpc_cursor_options o = { .size = sizeof(o),
                                    .cursor_class = TPC_CURSOR_HOLD,
                                    .name = TPC_STR("history") };
    struct bus_seen seen = { .partition = 0 };
    uint64_t sequence, next;
    uint32_t cursor = 0;
    int rc, i;

    bus_prepare(&f, engines[oom->engine], PARTITIONS);
    bus_set(&f, "max_bytes", 1 << 20);
    bus_set(&f, "cache", 0);
    f.host.allocator = a;
    for (i = 0; i < 2; i++) {
        uint32_t k;

        rc = bus_open(&f);
        if (rc != 0) {
            break;
        }
        for (k = 0; k < 20 && rc == 0; k++) {
            rc = bus_put(&f, 0, 200, NULL);
            f.ops->flush(f.self, 0, NULL, &sequence);
        }
        rc = rc != 0 ? rc : f.ops->cursor_open(f.self, &o, NULL, &cursor);
        rc = rc != 0 ? rc : f.ops->commit(f.self, cursor, 0, 100, TPC_FLUSH_SYNC);
        rc = rc != 0 ? rc : f.ops->read(f.self, 0, 50, 300, 0, bus_check_record, &seen, &next);
        memset(&seen, 0, sizeof(seen));
        bus_close(&f);
        if (rc != 0) {
            break;
        }
    }
    ck_assert_msg(rc == 0 || rc == TPC_ENOMEM, "%s %s", tpc_error_name(rc), f.fail_text);
    bus_done(&f);
    return rc;
}

START_TEST(running_out_of_memory_is_an_answer)
{
    struct oom oom = { _i };

    ck_assert_uint_gt(tk_each_alloc_fails(oom_run, &oom), 5);
}
END_TEST

Suite *bus_conform_suite(void)
{
    Suite *s = suite_create("bus_conform");
    TCase *t = tcase_create("bus_conform");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, records_come_back_as_they_went_in, 0, ENGINES);
    tcase_add_loop_test(t, a_mixed_batch_keeps_each_partitions_order, 0, ENGINES);
    tcase_add_loop_test(t, an_empty_batch_is_nothing, 0, ENGINES);
    tcase_add_loop_test(t, a_bad_batch_leaves_no_trace, 0, ENGINES);
    tcase_add_loop_test(t, a_callback_can_end_a_read, 0, ENGINES);
    tcase_add_loop_test(t, offsets_may_jump_but_never_go_back, 0, ENGINES);
    tcase_add_loop_test(t, a_cursor_moves_forward_only, 0, ENGINES);
    tcase_add_loop_test(t, cursors_are_checked, 0, ENGINES);
    tcase_add_loop_test(t, the_log_is_bounded_and_says_what_is_gone, 0, ENGINES);
    tcase_add_loop_test(t, a_hold_cursor_stops_the_log_until_it_moves, 0, ENGINES);
    tcase_add_loop_test(t, a_lossy_cursor_is_moved_and_the_gap_counted, 0, ENGINES);
    tcase_add_loop_test(t, old_records_go_by_age, 0, ENGINES);
    tcase_add_loop_test(t, dead_letters_are_listed_until_they_are_buried, 0, ENGINES);
    tcase_add_loop_test(t, running_out_of_memory_is_an_answer, 0, ENGINES);
    suite_add_tcase(s, t);
    return s;
}
