/* Whose turn it is, without a socket: the test is the line and the clock. */
#include <string.h>

#include "bus.h"
#include "modbus_suites.h"

enum { TAGS = 4 };

static struct mb_tag tags[TAGS];
static struct mb_slave_config slaves[3];
static struct mb_config config;
static struct mb_bus bus;
static struct tpc_arena *arena;
static struct tk_alloc memory;
static uint64_t now;
static uint32_t values, offline, online, ended, refused, said;
static uint32_t offline_at_end; /* when the last command ended */
static char failure[120];

static void on_values(void *user, struct mb_slave *s, const struct mb_read *read,
                      const struct mb_tag *tag, const uint8_t *data)
{
    (void) user, (void) s, (void) tag, (void) data;
    values += read != NULL ? read->spans : 1;
}

static void on_presence(void *user, struct mb_slave *s, bool is)
{
    (void) user, (void) s;
    online += is;
    offline += !is;
}

static void on_ended(void *user, struct mb_command *c)
{
    (void) user;
    ended++;
    offline_at_end = offline;
    memcpy(failure, c->failure, sizeof(failure));
    memory.base.resize(memory.base.user, c, sizeof(*c) + c->count * sizeof(c->items[0]), 0);
}

static void on_refused(void *user, struct mb_slave *s, const struct mb_request *r, int exception,
                       bool first)
{
    (void) user, (void) s, (void) r, (void) exception;
    refused++;
    said += first;
}

static const struct mb_listener listener = { NULL, on_values, on_presence, on_ended, on_refused };

/* Slaves of the same four registers: 0, 1, 10, 11. */
static void begin(uint32_t count)
{
    static const uint16_t places[TAGS] = { 0, 1, 10, 11 };
    static const char *const names[TAGS] = { "a", "b", "c", "d" };
    tk_alloc_init(&memory);
    tk_ok(tpc_arena_create(&memory.base, 0, &arena));
    for (uint32_t i = 0; i < TAGS; i++) {
        tags[i] = (struct mb_tag){ .name = tpc_str_from(names[i]),
                                   .function = 3,
                                   .writing = MB_WRITE_AUTO,
                                   .poll_ms = 1000,
                                   .address = places[i] };
        tags[i].shape = (struct mb_shape){ .type = MB_UINT, .width = 16, .count = 1, .bit = -1 };
    }
    for (uint32_t i = 0; i < 3; i++) {
        slaves[i] = (struct mb_slave_config){
            .unit = (uint8_t) (i + 1), .tags = tags, .count = TAGS, .limits = { 125, 2000, 16, 256 }
        };
    }
    config = (struct mb_config){ .slaves = slaves,
                                 .slave_count = count,
                                 .timeout_ms = 100,
                                 .retries = 1,
                                 .pipeline = 1,
                                 .degraded_after = 2,
                                 .back_off_min_ms = 1000,
                                 .back_off_max_ms = 8000 };
    now = 1000;
    values = offline = online = ended = refused = said = 0;
    tk_ok(mb_bus_init(&bus, &config, &memory.base, &listener, arena, now));
}

static void end(void)
{
    mb_bus_fini(&bus);
    tpc_arena_destroy(arena);
    tk_alloc_check(&memory);
}

static struct mb_job *next(enum mb_lane lane)
{
    uint32_t wait;
    return mb_bus_next(&bus, lane, now, &wait);
}

static void answer(struct mb_job *job)
{
    static const uint8_t data[250];
    mb_bus_done(&bus, job, MB_ANSWERED, data, 0, now);
}

static void be_silent(struct mb_job *job)
{
    now = job->deadline_ms;
    mb_bus_done(&bus, job, MB_SILENT, NULL, 0, now);
}

static void refuse(struct mb_job *job, int exception)
{
    mb_bus_done(&bus, job, MB_REFUSED, NULL, exception, now);
}

static struct mb_command *command(uint32_t slave, uint32_t tag)
{
    size_t size = sizeof(struct mb_command) + sizeof(struct mb_item);
    struct mb_command *c = memory.base.resize(memory.base.user, NULL, 0, size);
    memset(c, 0, size);
    c->slave = slave;
    c->count = 1;
    c->items[0].tag = &tags[tag];
    return c;
}

START_TEST(each_slave_is_asked_once_a_period)
{
    begin(3);
    for (uint32_t turn = 0; turn < 3; turn++) {
        for (uint32_t i = 0; i < 3; i++) {
            struct mb_job *j = next(MB_LANE_BOTH);
            ck_assert_ptr_nonnull(j);
            ck_assert_uint_eq(j->request.count, 12);
            answer(j);
        }
        uint32_t wait;
        ck_assert_ptr_null(mb_bus_next(&bus, MB_LANE_BOTH, now, &wait));
        ck_assert_uint_eq(wait, 1000);
        now += 1000;
    }
    ck_assert_uint_eq(values, 3 * 3 * TAGS);
    ck_assert_uint_eq(online, 3);
    end();
}
END_TEST

START_TEST(writes_overtake_reads)
{
    begin(3);
    tk_ok(mb_bus_give(&bus, command(2, 1)));
    struct mb_job *j = next(MB_LANE_BOTH);
    ck_assert_uint_eq(j->request.function, MB_WRITE_REGISTER);
    ck_assert_uint_eq(j->request.unit, 3);
    ck_assert_uint_eq(j->request.address, 1);
    mb_bus_done(&bus, j, MB_ANSWERED, NULL, 0, now);
    ck_assert_uint_eq(ended, 1);
    ck_assert_str_eq(failure, "");
    end();
}
END_TEST

START_TEST(a_write_is_read_back_if_it_is_asked_for)
{
    begin(1);
    tags[1].read_back = true;
    tk_ok(mb_bus_give(&bus, command(0, 1)));
    struct mb_job *j = next(MB_LANE_BOTH);
    mb_bus_done(&bus, j, MB_ANSWERED, NULL, 0, now);
    ck_assert_uint_eq(ended, 0);
    j = next(MB_LANE_BOTH);
    ck_assert_uint_eq(j->request.function, 3);
    ck_assert_uint_eq(j->request.address, 1);
    answer(j);
    ck_assert_uint_eq(values, 1);
    ck_assert_uint_eq(ended, 1);
    end();
}
END_TEST

START_TEST(a_write_without_an_answer_fails_and_is_not_sent_twice)
{
    begin(1);
    tk_ok(mb_bus_give(&bus, command(0, 1)));
    be_silent(next(MB_LANE_BOTH));
    ck_assert_uint_eq(ended, 1);
    ck_assert_str_eq(failure, "b: no answer");
    ck_assert_uint_eq(next(MB_LANE_BOTH)->request.function, 3);
    end();
}
END_TEST

START_TEST(a_silent_slave_is_asked_less_and_less)
{
    begin(2);
    for (uint32_t silences = 0; silences < 2; silences++) { /* each: a read and its retry */
        struct mb_job *j = next(MB_LANE_BOTH);
        while (j->slave != 0) {
            answer(j);
            j = next(MB_LANE_BOTH);
        }
        be_silent(j);
        j = next(MB_LANE_BOTH);
        ck_assert_uint_eq(j->slave, 0);
        ck_assert_uint_eq(j->attempt, 1);
        be_silent(j);
        now += 1000;
    }
    ck_assert_uint_eq(bus.slaves[0].pause_ms, 1000);
    uint64_t asked = 0, last = now;
    for (now = last; now < last + 40000; now += 100) {
        struct mb_job *j = next(MB_LANE_DEGRADED);
        if (j != NULL) {
            asked++;
            mb_bus_done(&bus, j, MB_SILENT, NULL, 0, now);
        }
        j = next(MB_LANE_HEALTHY);
        if (j != NULL) {
            ck_assert_uint_eq(j->slave, 1); /* nobody else waits for it */
            answer(j);
        }
    }
    ck_assert_uint_ge(asked, 6); /* 1, 2, 4, 8, 8, 8 .. s */
    ck_assert_uint_le(asked, 8);
    struct mb_job *j = NULL;
    for (; j == NULL; now += 100) {
        j = next(MB_LANE_DEGRADED);
    }
    answer(j);
    ck_assert_uint_eq(bus.slaves[0].pause_ms, 0);
    ck_assert_uint_eq(bus.degraded.count, 0);
    end();
}
END_TEST

START_TEST(a_refused_read_is_split_until_the_hole_is_alone)
{
    begin(1);
    for (int turn = 0; turn < 20; turn++) {
        struct mb_job *j = next(MB_LANE_BOTH);
        if (j == NULL) {
            now += 1000;
            continue;
        }
        uint32_t last = (uint32_t) j->request.address + j->request.count - 1;
        if (j->request.address <= 10 && last >= 10) {
            refuse(j, MB_ILLEGAL_ADDRESS);
        } else {
            answer(j);
        }
    }
    ck_assert_uint_ge(values, 6); /* a, b and d come, c is told */
    ck_assert_uint_eq(bus.cuts, 2);
    ck_assert_uint_ge(refused, 1);
    ck_assert_uint_eq(offline, 0);
    end();
}
END_TEST

/* Each hole once, and again when it was read in between. */
START_TEST(every_refused_place_is_said_once_until_it_answers)
{
    begin(1);
    config.back_off_max_ms = 1000;
    tags[1].address = 60, tags[2].address = 120, tags[3].address = 180;
    mb_bus_fini(&bus);
    tk_ok(mb_bus_init(&bus, &config, &memory.base, &listener, arena, now));
    static const uint32_t want[] = { 2, 2, 3, 3 };
    for (uint32_t turn = 0; turn < 4; turn++, now += 1000) {
        for (struct mb_job *j = next(MB_LANE_BOTH); j != NULL; j = next(MB_LANE_BOTH)) {
            if ((j->request.address == 60 && turn != 1) || j->request.address == 180) {
                refuse(j, MB_ILLEGAL_ADDRESS);
            } else {
                answer(j);
            }
        }
        ck_assert_uint_eq(said, want[turn]);
    }
    ck_assert_uint_eq(refused, 7);
    end();
}
END_TEST

START_TEST(of_a_part_of_a_register_the_rest_stays)
{
    static const uint8_t old[] = { 0x12, 0x34 };
    begin(1);
    tags[1].shape.width = 8;
    tags[1].shape.high_byte = true;
    struct mb_command *c = command(0, 1);
    c->items[0].data[0] = 0xab;
    tk_ok(mb_bus_give(&bus, c));
    struct mb_job *j = next(MB_LANE_BOTH);
    ck_assert(j->request.function == MB_READ_HOLDING && j->request.data == NULL);
    ck_assert(j->request.address == 1 && j->request.count == 1);
    mb_bus_done(&bus, j, MB_ANSWERED, old, 0, now);
    ck_assert_uint_eq(ended, 0);
    j = next(MB_LANE_BOTH);
    ck_assert_uint_eq(j->request.function, MB_WRITE_REGISTER);
    ck_assert_int_eq(memcmp(j->request.data, "\xab\x34", 2), 0);
    mb_bus_done(&bus, j, MB_ANSWERED, NULL, 0, now);
    ck_assert_uint_eq(ended, 1);
    ck_assert_str_eq(failure, "");
    ck_assert_uint_eq(values, 0);
    /* What cannot be read is not written. */
    tags[1].shape = (struct mb_shape){ .type = MB_BOOL, .width = 16, .count = 1, .bit = 3 };
    tk_ok(mb_bus_give(&bus, command(0, 1)));
    refuse(next(MB_LANE_BOTH), MB_DEVICE_FAILURE);
    ck_assert_uint_eq(ended, 2);
    ck_assert_str_eq(failure, "b: device failure");
    end();
}
END_TEST

/* It costs what its parts are, not their square. */
START_TEST(a_slave_that_refuses_all_is_not_asked_anew_with_each_cut)
{
    begin(1);
    uint32_t asked = 0;
    for (struct mb_job *j = next(MB_LANE_BOTH); j != NULL; j = next(MB_LANE_BOTH)) {
        refuse(j, MB_DEVICE_FAILURE);
        asked++;
    }
    ck_assert_uint_eq(asked, 2 * TAGS - 1);
    ck_assert_uint_eq(bus.slaves[0].read_count, TAGS);
    now += 8000;
    answer(next(MB_LANE_BOTH)); /* it has recovered: all in one again */
    ck_assert_uint_eq(bus.slaves[0].read_count, 1);
    answer(next(MB_LANE_BOTH));
    ck_assert_ptr_null(next(MB_LANE_BOTH));
    ck_assert_uint_eq(values, 1 + TAGS);
    end();
}
END_TEST

START_TEST(a_slave_that_is_overdue_is_asked_nothing_else)
{
    begin(2);
    tags[3].address = 200; /* two reads */
    mb_bus_fini(&bus);
    tk_ok(mb_bus_init(&bus, &config, &memory.base, &listener, arena, now));
    struct mb_job *j = next(MB_LANE_BOTH);
    uint32_t slave = j->slave;
    mb_bus_overdue(&bus, j);
    for (int i = 0; i < 2; i++) {
        struct mb_job *other = next(MB_LANE_BOTH);
        ck_assert_ptr_nonnull(other);
        ck_assert_uint_ne(other->slave, slave);
        answer(other);
    }
    ck_assert_ptr_null(next(MB_LANE_BOTH));
    answer(j); /* late, but there */
    j = next(MB_LANE_BOTH);
    ck_assert(j != NULL && j->slave == slave && j->request.address == 200);
    mb_bus_overdue(&bus, j);
    be_silent(j);
    ck_assert_uint_eq(bus.slaves[slave].held, 0);
    j = next(MB_LANE_BOTH); /* once more */
    ck_assert(j != NULL && j->slave == slave && j->request.address == 200 && !j->overdue);
    end();
}
END_TEST

START_TEST(periods_without_a_turn_are_counted_and_not_made_up_for)
{
    begin(1);
    struct mb_job *j = next(MB_LANE_BOTH);
    now += 5500;
    answer(j);
    ck_assert_uint_eq(bus.missed, 5);
    ck_assert_ptr_null(next(MB_LANE_BOTH));
    now += 500;
    ck_assert_ptr_nonnull(next(MB_LANE_BOTH));
    end();
}
END_TEST

START_TEST(commands_beyond_the_limit_come_later)
{
    begin(1);
    for (uint32_t i = 0; i < MB_COMMANDS_MAX; i++) {
        tk_ok(mb_bus_give(&bus, command(0, 0)));
    }
    struct mb_command *one = command(0, 0);
    ck_assert_int_eq(mb_bus_give(&bus, one), TPC_EAGAIN);
    on_ended(NULL, one);
    mb_bus_unreachable(&bus, "the line is cut");
    ck_assert_uint_eq(ended, MB_COMMANDS_MAX + 1);
    ck_assert_str_eq(failure, "the line is cut");
    end();
}
END_TEST

/* Workers still send while the core stops. */
START_TEST(a_command_that_comes_while_the_bus_is_closed_stays_its_senders)
{
    begin(1);
    tk_ok(mb_bus_give(&bus, command(0, 0)));
    tk_ok(mb_bus_give(&bus, command(0, 1)));
    ck_assert_ptr_nonnull(next(MB_LANE_BOTH));
    mb_bus_close(&bus);
    ck_assert_uint_eq(ended, 2);
    ck_assert_str_eq(failure, "stopped");
    struct mb_command *late = command(0, 0);
    ck_assert_int_eq(mb_bus_give(&bus, late), TPC_EOFFLINE);
    on_ended(NULL, late);
    end();
    ck_assert_uint_eq(ended, 3);
}
END_TEST

/* Two reads of one period, always under way together. */
START_TEST(a_read_is_split_though_another_is_always_under_way)
{
    begin(1);
    tags[2].address = 40;
    tags[3].address = 41;
    mb_bus_fini(&bus);
    config.timeout_ms = 1000; /* as the period */
    tk_ok(mb_bus_init(&bus, &config, &memory.base, &listener, arena, now));
    for (int turn = 0; turn < 10; turn++, now += 1000) {
        struct mb_job *jobs[4] = { NULL };
        for (int i = 0; i < 4 && (jobs[i] = next(MB_LANE_BOTH)) != NULL; i++) {
        }
        for (int i = 0; i < 4 && jobs[i] != NULL; i++) {
            if (jobs[i]->request.address == 0 && jobs[i]->request.count == 2) {
                refuse(jobs[i], MB_ILLEGAL_ADDRESS);
            } else {
                answer(jobs[i]);
            }
        }
    }
    ck_assert_uint_eq(bus.cuts, 1);
    ck_assert_uint_eq(bus.slaves[0].read_count, 3);
    ck_assert_uint_ge(values, 30);
    end();
}
END_TEST

/* Its connection went between two of its requests, and is not made again. */
START_TEST(a_command_that_was_begun_does_not_wait_for_a_new_connection)
{
    begin(1);
    tags[1].read_back = true;
    tk_ok(mb_bus_give(&bus, command(0, 1)));
    mb_bus_done(&bus, next(MB_LANE_BOTH), MB_ANSWERED, NULL, 0, now);
    ck_assert_uint_eq(ended, 0);
    mb_bus_unreachable(&bus, "the line is cut");
    ck_assert_uint_eq(ended, 1);
    ck_assert_str_eq(failure, "the line is cut");
    ck_assert_uint_eq(offline, 1);
    ck_assert_uint_eq(offline_at_end, 0); /* the reply had a session */
    ck_assert_uint_eq(next(MB_LANE_BOTH)->request.count, 12);
    end();
}
END_TEST

START_TEST(a_command_is_told_to_have_failed_before_its_slave_is_offline)
{
    begin(1);
    config.degraded_after = 1;
    answer(next(MB_LANE_BOTH));
    tk_ok(mb_bus_give(&bus, command(0, 1)));
    be_silent(next(MB_LANE_BOTH));
    ck_assert_uint_eq(ended, 1);
    ck_assert_uint_eq(offline, 1);
    ck_assert_uint_eq(offline_at_end, 0);
    now += 950; /* its reads are due, but its pause is not over */
    ck_assert_ptr_null(next(MB_LANE_BOTH));
    now += 50;
    ck_assert_ptr_nonnull(next(MB_LANE_BOTH));
    end();
}
END_TEST

/* On a line that has no time left the others are always due. */
START_TEST(a_silent_slave_comes_back_though_the_line_is_too_slow)
{
    begin(3);
    bool silent = true;
    uint32_t asked = 0;
    for (int turn = 0; turn < 200; turn++, now += 600) {
        struct mb_job *j = next(MB_LANE_BOTH);
        ck_assert_ptr_nonnull(j);
        silent = silent && bus.slaves[0].pause_ms == 0;
        asked += !silent && j->slave == 0;
        mb_bus_done(&bus, j, j->slave == 0 && silent ? MB_SILENT : MB_ANSWERED,
                    (const uint8_t[250]){ 0 }, 0, now);
    }
    ck_assert_uint_ge(asked, 1);
    ck_assert_uint_eq(bus.degraded.count, 0);
    end();
}
END_TEST

Suite *bus_suite(void)
{
    Suite *s = suite_create("bus");
    TCase *t = tcase_create("bus");
    tcase_add_test(t, each_slave_is_asked_once_a_period);
    tcase_add_test(t, writes_overtake_reads);
    tcase_add_test(t, a_write_is_read_back_if_it_is_asked_for);
    tcase_add_test(t, a_write_without_an_answer_fails_and_is_not_sent_twice);
    tcase_add_test(t, a_silent_slave_is_asked_less_and_less);
    tcase_add_test(t, a_refused_read_is_split_until_the_hole_is_alone);
    tcase_add_test(t, every_refused_place_is_said_once_until_it_answers);
    tcase_add_test(t, of_a_part_of_a_register_the_rest_stays);
    tcase_add_test(t, a_slave_that_refuses_all_is_not_asked_anew_with_each_cut);
    tcase_add_test(t, a_slave_that_is_overdue_is_asked_nothing_else);
    tcase_add_test(t, periods_without_a_turn_are_counted_and_not_made_up_for);
    tcase_add_test(t, commands_beyond_the_limit_come_later);
    tcase_add_test(t, a_command_that_comes_while_the_bus_is_closed_stays_its_senders);
    tcase_add_test(t, a_read_is_split_though_another_is_always_under_way);
    tcase_add_test(t, a_command_that_was_begun_does_not_wait_for_a_new_connection);
    tcase_add_test(t, a_command_is_told_to_have_failed_before_its_slave_is_offline);
    tcase_add_test(t, a_silent_slave_comes_back_though_the_line_is_too_slow);
    suite_add_tcase(s, t);
    return s;
}
