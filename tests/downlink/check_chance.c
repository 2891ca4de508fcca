/* Random events: whatever happens in whatever order, each command ends with exactly one record. */
#include "bench.h"
#include "suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 1500, SEEDS = 40, PREFIX_SEEDS = 4, PREFIX_STEPS = 120, KNOWN = 4096 };

struct chance {
    struct bench *b;
    uint64_t state;
    struct tpc_id ids[KNOWN];
    int devices[KNOWN];
    size_t count;
};

static uint32_t pick(struct chance *c, uint32_t n)
{
    c->state ^= c->state << 13;
    c->state ^= c->state >> 7;
    c->state ^= c->state << 17;
    return (uint32_t) (c->state >> 20) % n;
}

static void send_one(struct chance *c)
{
    struct tpi_command_spec spec = { .service =
                                         pick(c, 2) == 0 ? TPC_STR("set") : TPC_STR("reboot"),
                                     .priority = pick(c, 3),
                                     .retries = pick(c, 3),
                                     .timeout_ms = 1 + pick(c, 3000),
                                     .retry_delay_ms = 1 + pick(c, 3000),
                                     .expire_ms = 1 + pick(c, 20000) };
    struct tpc_id id;
    int device = (int) pick(c, BENCH_DEVICES);
    if (c->count < KNOWN && bench_command(c->b, device, &spec, &id) == 0) {
        c->ids[c->count] = id;
        c->devices[c->count++] = device;
    }
}

/* One of the last few commands. */
static size_t some(struct chance *c)
{
    size_t near = c->count < 12 ? c->count : 12;
    return c->count - 1 - pick(c, (uint32_t) near);
}

static void confirm(struct chance *c)
{
    static const int codes[] = { TPC_EOFFLINE, TPC_EAGAIN, TPC_ETOOBIG, TPC_EIO };
    if (c->b->send_count > 0) {
        size_t near = c->b->send_count < 6 ? c->b->send_count : 6;
        size_t at = c->b->send_count - 1 - pick(c, (uint32_t) near);
        struct tpc_error err = { .size = sizeof(err), .code = codes[pick(c, 4)] };
        tpi_downlink_sent(c->b->d, c->b->sends[at % BENCH_SENDS].ticket,
                          pick(c, 2) == 0 ? NULL : &err);
    }
}

static void step(struct chance *c)
{
    static const int sends[] = { 0, 0, 0, TPC_EOFFLINE, TPC_EAGAIN, TPC_EMODEL, TPC_ENOMEM };
    struct bench *b = c->b;
    size_t i = c->count > 0 ? some(c) : 0;
    switch (pick(c, 14)) {
    case 0:
    case 1:
    case 2:
        send_one(c);
        break;
    case 3:
    case 4:
        if (c->count > 0) {
            bench_reply(b, c->devices[i], &c->ids[i], pick(c, 4) == 0 ? 5 : 0);
        }
        break;
    case 5:
        bench_reply(b, (int) pick(c, BENCH_DEVICES), NULL, 0);
        break;
    case 6:
        tpi_downlink_online(b->d, &b->devices[pick(c, BENCH_DEVICES)],
                            (uint32_t) (b->send_count % 3) * 50);
        break;
    case 7:
        b->send_code = sends[pick(c, 7)];
        break;
    case 8:
        b->send_now = pick(c, 3) == 0;
        b->command_when_closed = pick(c, 4) == 0;
        break;
    case 9:
        confirm(c);
        break;
    case 10:
        b->append_code = pick(c, 3) == 0 ? TPC_EAGAIN : 0;
        b->command_when_closed = b->command_when_closed && b->append_code == 0;
        break;
    case 11:
        if (c->count > 0) {
            tpi_downlink_cancel(b->d, &c->ids[i]);
        }
        break;
    case 12:
        if (pick(c, 12) == 0) {
            tpi_downlink_gone(b->d, &b->devices[pick(c, BENCH_DEVICES)]);
        }
        break;
    default:
        bench_advance(b, pick(c, 4) == 0 ? pick(c, 30000) : pick(c, 500));
        break;
    }
}

/* The cursor must stand exactly at the first command without an end. */
static void check_low(struct bench *b)
{
    for (uint32_t p = 0; p < BENCH_PARTITIONS; p++) {
        uint64_t low = TPI_DOWNLINK_NONE;
        for (size_t i = 0; i < b->record_count && low == TPI_DOWNLINK_NONE; i++) {
            const struct bench_record *r = &b->records[i];
            if (r->kind == TPC_MSG_COMMAND && r->partition == p &&
                bench_records(b, TPC_MSG_COMMAND_CLOSED, &r->id) == 0) {
                low = r->offset;
            }
        }
        ck_assert_uint_eq(tpi_downlink_low_offset(b->d, p), low);
    }
}

/* Everything works again: all that is open must come to an end. */
static void finish(struct bench *b)
{
    b->send_code = 0;
    b->send_now = false;
    b->append_code = 0;
    b->command_when_closed = false;
    for (int i = 0; i < 200 && tpi_downlink_open_count(b->d) > 0; i++) {
        for (int d = 0; d < BENCH_DEVICES; d++) {
            tpi_downlink_online(b->d, &b->devices[d], 0);
        }
        bench_advance(b, 10000);
    }
    ck_assert_uint_eq(tpi_downlink_open_count(b->d), 0);
}

static void check_ends(struct bench *b, const char *what, uint64_t seed)
{
    for (size_t i = 0; i < b->record_count; i++) {
        const struct bench_record *r = &b->records[i];
        if (r->kind == TPC_MSG_COMMAND) {
            size_t ends = bench_records(b, TPC_MSG_COMMAND_CLOSED, &r->id);
            ck_assert_msg(ends == 1, "%s, seed %llu: %zu ends", what, (unsigned long long) seed,
                          ends);
        }
    }
    ck_assert_uint_eq(bench_records(b, TPC_MSG_COMMAND, NULL),
                      bench_records(b, TPC_MSG_COMMAND_CLOSED, NULL));
}

static struct chance *chance_new(uint64_t seed)
{
    struct chance *c = calloc(1, sizeof(*c));
    c->b = bench_new();
    c->state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    return c;
}

static void chance_free(struct chance *c)
{
    bench_free(c->b);
    free(c);
}

START_TEST(each_command_ends_exactly_once_whatever_happens)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct chance *c = chance_new(seed);
        for (int i = 0; i < STEPS; i++) {
            step(c);
            if (i % 50 == 0) {
                check_low(c->b);
            }
        }
        finish(c->b);
        check_ends(c->b, "no restart", seed);
        ck_assert_uint_eq(c->b->closed_count, bench_records(c->b, TPC_MSG_COMMAND, NULL));
        chance_free(c);
    }
}
END_TEST

START_TEST(restarts_at_any_time_change_nothing_about_that)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct chance *c = chance_new(seed + 1000);
        for (int i = 0; i < STEPS; i++) {
            step(c);
            if (pick(c, 100) == 0) {
                bench_restart(c->b, c->b->record_count);
                check_low(c->b);
            }
        }
        finish(c->b);
        check_ends(c->b, "restarts", seed);
        chance_free(c);
    }
}
END_TEST

/* Keeps the first `count` records, as if the rest was never written. */
static void cut(struct bench *b, size_t count)
{
    while (b->record_count > count) {
        struct bench_record *r = &b->records[--b->record_count];
        b->next_offset[r->partition] = r->offset;
        tpi_buf_fini(&r->body);
    }
}

START_TEST(every_prefix_of_the_records_is_a_good_start)
{
    for (uint64_t seed = 1; seed <= PREFIX_SEEDS; seed++) {
        size_t total = SIZE_MAX;
        for (size_t count = 0; count <= total; count++) {
            struct chance *c = chance_new(seed + 2000);
            for (int i = 0; i < PREFIX_STEPS; i++) {
                step(c);
            }
            total = c->b->record_count;
            ck_assert_uint_gt(total, 20);
            cut(c->b, count);
            bench_restart(c->b, count);
            finish(c->b);
            check_ends(c->b, "prefix", seed);
            chance_free(c);
        }
    }
}
END_TEST

Suite *chance_suite(void)
{
    Suite *s = suite_create("chance");
    TCase *c = tcase_create("chance");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, each_command_ends_exactly_once_whatever_happens);
    tcase_add_test(c, restarts_at_any_time_change_nothing_about_that);
    tcase_add_test(c, every_prefix_of_the_records_is_a_good_start);
    suite_add_tcase(s, c);
    return s;
}
