/* Commands, answers and notes without a connection: whatever memory is short of, nothing is lost uncounted. */
#include "tp_suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/command.h>

#include "down.h"
#include "inside.h"
#include "tk_clock.h"

enum { CALLS_MAX = 64 };

static struct tp s;
static struct tpc_host host;
static struct tk_clock clock_now;
static uint64_t answers_lost, dropped, repeated;
static struct {
    tpc_command_fn *done;
    void *user;
} open_calls[CALLS_MAX];
static uint32_t open_count;

static int on_command(void *ctx, const struct tpc_host_command *c, tpc_command_fn *done, void *user,
                      struct tpc_id *ret)
{
    (void) ctx;
    (void) ret;
    if (tpc_str_equal(c->service, TPC_STR("no")) != 0) {
        return TPC_ENOENT;
    }
    if (done != NULL) {
        ck_assert_uint_lt(open_count, CALLS_MAX);
        open_calls[open_count].done = done;
        open_calls[open_count++].user = user;
    }
    return 0;
}

static void on_count(void *ctx, const char *metric, uint64_t n)
{
    (void) ctx;
    answers_lost += strcmp(metric, "answers_lost") == 0 ? n : 0;
    dropped += strcmp(metric, "down_dropped") == 0 ? n : 0;
    repeated += strcmp(metric, "down_repeated") == 0 ? n : 0;
}

static void on_log(void *ctx, int level, const char *fmt, ...) TPC_PRINTF(3, 4);
static void on_log(void *ctx, int level, const char *fmt, ...)
{
    (void) ctx;
    (void) level;
    (void) fmt;
}

static void begin(const struct tpc_allocator *a)
{
    tk_clock_init(&clock_now, 1795000000000);
    host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                              .allocator = a,
                              .clock = &clock_now.base,
                              .log = on_log,
                              .count = on_count,
                              .command = on_command };
    memset(&s, 0, sizeof(s));
    s.host = &host;
    s.config.answers_max = 8;
    s.config.down_max = 4;
    s.config.devices_max = 3;
    s.config.refuse_unknown = true;
    s.config.down_again_ms = 600000;
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.came, NULL);
    tpi_map_init(&s.calls, a);
    tpi_map_init(&s.status, a);
    answers_lost = dropped = repeated = 0;
    open_count = 0;
}

static void end(void)
{
    mqtt_notes_clear(&s.down, s.host->allocator);
    tp_calls_fini(&s);
    tp_status_fini(&s);
    tpi_map_fini(&s.calls);
    tpi_map_fini(&s.status);
    pthread_cond_destroy(&s.came);
    pthread_mutex_destroy(&s.lock);
}

static void call(const char *mid, const char *method)
{
    char topic[64];
    struct tp_down d;
    snprintf(topic, sizeof(topic), "devices/command/d/%s", mid);
    tk_ok(tp_down_topic((struct tpc_str){ NULL, 0 }, tpc_str_from(topic), &d));
    d.method = tpc_str_from(method);
    struct tpc_bytes payload = { (const uint8_t *) method, strlen(method) };
    tp_call(&s, &d, tpc_str_from(topic), payload);
}

static void close_all(uint32_t from)
{
    struct tpc_command c = { .size = sizeof(c), .state = TPC_COMMAND_SUCCEEDED };
    for (uint32_t i = from; i < open_count; i++) {
        open_calls[i].done(open_calls[i].user, &c);
    }
}

static void hear(const char *topic, size_t payload_len, bool retained)
{
    static uint8_t bytes[TP_DOWN_BYTES + 1];
    struct mqtt_incoming m = { .topic = tpc_str_from(topic), .retained = retained };
    m.payload = (struct tpc_bytes){ bytes, payload_len };
    tp_on_message(&s, &m);
}

static int all_of_it(const struct tpc_allocator *a, void *user)
{
    (void) user;
    begin(a);
    call("1", "a");
    call("2", "no");
    uint32_t closed = open_count;
    close_all(0);
    /* Every command is answered once, or its answer is counted as lost. */
    ck_assert_uint_eq(s.answer_count + answers_lost, 2);
    call("1", "a"); /* again */
    if (repeated == 1) {
        ck_assert_uint_eq(open_count, closed);
        ck_assert_uint_le(s.answer_count + answers_lost, 3);
    }
    close_all(closed);
    hear("x", 10, false);
    ck_assert_uint_eq(s.down.count + dropped, 1);
    bool noted = tp_status_note(&s, TPC_STR("d"), true);
    ck_assert_uint_eq(tpi_map_count(&s.status), noted);
    end();
    return 0;
}

START_TEST(every_command_is_answered_or_counted_without_memory)
{
    ck_assert_uint_gt(tk_each_alloc_fails(all_of_it, NULL), 10);
}
END_TEST

START_TEST(answers_beyond_their_number_drop_the_oldest)
{
    begin(tpc_allocator_default());
    for (unsigned i = 0; i < 20; i++) {
        char mid[8];
        snprintf(mid, sizeof(mid), "%u", i);
        call(mid, "a");
    }
    close_all(0);
    ck_assert_uint_eq(s.answer_count, 8);
    ck_assert_uint_eq(answers_lost, 12);
    ck_assert_uint_eq(s.call_count, 0);
    ck_assert_uint_eq(s.done_count, 20);
    tk_clock_advance(&clock_now, 600001);
    call("20", "a"); /* what is old is forgotten on the way */
    ck_assert_uint_eq(s.done_count, 0);
    end();
}
END_TEST

START_TEST(notes_are_bounded_in_number_and_size_and_old_ones_pass)
{
    begin(tpc_allocator_default());
    hear("a", 1, true);
    ck_assert_uint_eq(s.down.count, 0);
    ck_assert_uint_eq(dropped, 0);
    s.stopping = true;
    hear("a", 1, false);
    ck_assert_uint_eq(s.down.count + dropped, 0);
    s.stopping = false;
    for (int i = 0; i < 6; i++) {
        hear("a", 1, false);
    }
    ck_assert_uint_eq(s.down.count, 4);
    ck_assert_uint_eq(dropped, 2);
    mqtt_notes_clear(&s.down, s.host->allocator);
    hear("a", TP_DOWN_BYTES, false); /* alone it is taken */
    hear("a", 1, false);
    ck_assert_uint_eq(s.down.count, 1);
    ck_assert_uint_eq(dropped, 3);
    end();
}
END_TEST

START_TEST(status_of_more_devices_than_allowed_is_not_kept)
{
    begin(tpc_allocator_default());
    ck_assert(tp_status_note(&s, TPC_STR("1"), true));
    ck_assert(tp_status_note(&s, TPC_STR("2"), true));
    ck_assert(tp_status_note(&s, TPC_STR("3"), false));
    ck_assert(!tp_status_note(&s, TPC_STR("4"), true));
    ck_assert(tp_status_note(&s, TPC_STR("1"), false)); /* it is known */
    end();
}
END_TEST

Suite *calls_suite(void)
{
    Suite *suite = suite_create("thingspanel_calls");
    TCase *c = tcase_create("calls");
    tcase_add_test(c, every_command_is_answered_or_counted_without_memory);
    tcase_add_test(c, answers_beyond_their_number_drop_the_oldest);
    tcase_add_test(c, notes_are_bounded_in_number_and_size_and_old_ones_pass);
    tcase_add_test(c, status_of_more_devices_than_allowed_is_not_kept);
    suite_add_tcase(suite, c);
    return suite;
}
