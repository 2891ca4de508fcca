/* What keeps the log, and who must be told when it can go on or when it ends. */
#include "flow.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILL_BYTES = 8000, FILL_FEEDS = 4000 };

static void on_end(void *user, const struct tpc_command *c)
{
    *(uint32_t *) user = c->state;
}

static int send_set(struct flow *f, const char *device, uint64_t expire_ms, uint32_t *state,
                    struct tpc_id *id)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_device *d = flow_device(f, device);
    o.device = d;
    o.service = TPC_STR("set");
    o.params_json = TPC_STR("{\"on\":true}");
    o.expire_ms = (uint32_t) expire_ms;
    int rc = tpc_command_send(f->core, NULL, &o, state != NULL ? on_end : NULL, state, id);
    tpc_device_unref(d);
    return rc;
}

/* Feeds what becomes dead letters of 8 kB. True: all were taken. */
static bool fill(struct flow *f, struct tpc_device *d, int feeds)
{
    static uint8_t junk[FILL_BYTES];
    memset(junk, 'x', sizeof(junk));
    for (int i = 0; i < feeds; i++) {
        int tries = 0;
        while (tpc_feed(d, (struct tpc_bytes){ junk, sizeof(junk) }, NULL, NULL) == TPC_EAGAIN) {
            if (++tries > 100) {
                return false;
            }
            tk_ok(tpc_core_step(f->core, 0, NULL));
            tk_clock_advance(&f->e.clock, 20);
        }
    }
    return true;
}

/* A core whose log of 1 MiB is soon full. */
static void small_log(struct flow *f, const char *dir)
{
    f->o.ring_bytes = 1;
    flow_create(f);
    flow_file_log(f, dir, ",\"max_bytes\":\"1MiB\",\"segment_size\":\"64KiB\",\"reserve\":0");
    flow_devices(f, 2);
    flow_probe_open(f);
    flow_start(f);
}

START_TEST(an_open_command_does_not_stop_a_log_from_turning_over)
{
    struct flow f;
    uint32_t state = 0;
    struct tpc_id id;
    flow_init(&f, 0);
    small_log(&f, tk_tmpdir());
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(send_set(&f, "fan-1", 86400000, &state, &id));
    ck_assert(fill(&f, d, FILL_FEEDS));
    ck_assert_uint_eq(state, 0);
    /* It is still the same command: it leaves when its device comes. */
    (void) flow_session("fan-1", 0);
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(a_command_that_was_written_anew_survives_a_restart)
{
    struct flow f;
    struct tpc_id id;
    const char *dir = tk_tmpdir();
    flow_init(&f, 0);
    small_log(&f, dir);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(send_set(&f, "fan-1", 86400000, NULL, &id));
    ck_assert(fill(&f, d, FILL_FEEDS));
    tpc_device_unref(d);
    flow_settle(&f);
    flow_destroy(&f);
    small_log(&f, dir);
    (void) flow_session("fan-1", 0);
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    flow_fini(&f);
}
END_TEST

static const char each[] =
    TPC_JSON({
    "key": "each",
    "when": { "product": "thermo", "expr": "n > 0", "fire": "each" },
    "then": [{ "command": { "device": "fan-1", "service": "set", "params": { "on": true } } }] });

static int hold_back(void *user, const struct tpc_batch *batch)
{
    (void) batch;
    return atomic_load((atomic_bool *) user) ? TPC_EAGAIN : 0;
}

START_TEST(a_full_log_takes_ends_and_commands_of_scenes)
{
    struct flow f;
    struct tpc_id id;
    uint32_t state = 0;
    atomic_bool stuck;
    struct tpc_consume_options co = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    atomic_init(&stuck, true);
    flow_init(&f, 0);
    small_log(&f, tk_tmpdir());
    tk_ok(send_set(&f, "fan-1", 600000, &state, &id));
    co.name = TPC_STR("keeper");
    co.filter = TPC_STR("main/up/#");
    co.flags = TPC_CONSUME_HOLD;
    tk_ok(tpc_consume(f.core, &co, hold_back, &stuck, &sub));
    struct tpc_device *d = flow_device(&f, "t1");
    ck_assert(!fill(&f, d, FILL_FEEDS));
    tk_clock_advance(&f.e.clock, 700000);
    for (int i = 0; i < 20 && state == 0; i++) {
        tk_ok(tpc_core_step(f.core, 0, NULL));
        tk_clock_advance(&f.e.clock, 1000);
    }
    ck_assert_uint_eq(state, TPC_COMMAND_EXPIRED);
    /* The keeper lets go: everything goes on. */
    atomic_store(&stuck, false);
    tk_clock_advance(&f.e.clock, 10000);
    ck_assert(fill(&f, d, 100));
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(each), TPC_ANY_REV, NULL));
    tpc_unsubscribe(sub);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(last_frames_of_a_session_are_no_way_back)
{
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    uint64_t s = flow_session("t1", TPC_SESSION_PRESENCE);
    flow_settle(&f);
    tk_ok(flow_receive(s, "{\"n\":1}", 0));
    flow_probe.host->session_close(flow_probe.ctx, s);
    flow_settle(&f);
    tk_ok(send_set(&f, "t1", 0, NULL, NULL));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 0);
    flow_fini(&f);
}
END_TEST

struct fed {
    int calls;
    int error;
};

static void on_fed(void *user, int error)
{
    struct fed *x = user;
    x->calls++;
    x->error = error;
}

START_TEST(a_stop_tells_whoever_fed_what_was_not_written)
{
    struct flow f;
    struct fed x = { 0, 0 };
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/told%d", tk_tmpdir(), _i);
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_file_log(&f, dir, "");
    flow_devices(&f, 1);
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    flow_settle(&f);
    tk_files_fail(&f.e.files, TK_FILE_WRITE, 1, TPC_EIO, true);
    tk_ok(tpc_feed(d, TPC_BYTES("{\"n\":1}"), on_fed, &x));
    tpc_device_unref(d);
    ck_assert_int_eq(tpc_core_stop(f.core, 50), TPC_ETIMEOUT);
    ck_assert_int_eq(x.calls, 1);
    ck_assert_int_eq(x.error, TPC_ECANCELED);
    tk_files_heal(&f.e.files);
    flow_fini(&f);
}
END_TEST

START_TEST(a_command_is_safe_when_its_call_returns_though_syncs_are_rare)
{
    struct flow f;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/rare", tk_tmpdir());
    flow_init(&f, 0);
    flow_create(&f);
    flow_file_log(&f, dir, ",\"ack\":\"synced\",\"sync_interval\":\"1h\"");
    flow_devices(&f, 1);
    flow_start(&f);
    tk_ok(send_set(&f, "fan-1", 0, NULL, NULL));
    ck_assert_double_eq(flow_metric(&f, "tpc_log_pending_bytes"), 0);
    flow_fini(&f);
}
END_TEST

START_TEST(a_call_between_two_steps_wakes_the_loop)
{
    struct flow f;
    uint32_t next = 0;
    flow_init(&f, 0);
    flow_create(&f);
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    (void) flow_session("fan-1", 0);
    for (int i = 0; i < 5; i++) {
        tk_ok(tpc_core_step(f.core, 0, &next));
    }
    struct pollfd p = { .fd = tpc_core_fd(f.core), .events = POLLIN };
    ck_assert_int_eq(poll(&p, 1, 0), 0);
    tk_ok(send_set(&f, "fan-1", 0, NULL, NULL));
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    ck_assert_int_eq(poll(&p, 1, 0), 1);
    flow_fini(&f);
}
END_TEST

static int receive_packet(uint64_t session, const char *text, uint16_t flags, uint64_t ticket)
{
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.flags = flags;
    frame.packet_id = 7;
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    return flow_probe.host->receive(flow_probe.ctx, session, &frame, ticket);
}

START_TEST(what_the_log_refused_is_no_duplicate_when_it_comes_again)
{
    struct flow f;
    char junk[3000];
    char dir[256];
    memset(junk, 'x', sizeof(junk) - 1);
    junk[sizeof(junk) - 1] = '\0';
    snprintf(dir, sizeof(dir), "%s/again", tk_tmpdir());
    flow_init(&f, 0);
    flow_create(&f);
    flow_file_log(&f, dir, ",\"max_record\":1024");
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    uint64_t s = flow_session("t1", 0);
    tk_ok(receive_packet(s, junk, 0, 1));
    flow_settle(&f);
    tk_ok(receive_packet(s, junk, TPC_FRAME_REDELIVERED, 2));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.settled_count, 2);
    ck_assert_int_eq(flow_probe.errors[0], TPC_ETOOBIG);
    ck_assert_int_eq(flow_probe.errors[1], TPC_ETOOBIG);
    /* One that it took is. */
    tk_ok(receive_packet(s, "{\"n\":1}", 0, 3));
    flow_settle(&f);
    tk_ok(receive_packet(s, "{\"n\":1}", TPC_FRAME_REDELIVERED, 4));
    flow_settle(&f);
    ck_assert_int_eq(flow_probe.errors[3], 0);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_duplicates_total"), 1);
    flow_fini(&f);
}
END_TEST

struct caller {
    struct flow *f;
    struct tpc_device *device;
    atomic_bool stop;
    atomic_uint fed;
    atomic_uint done;
};

static void count_done(void *user, int error)
{
    (void) error;
    atomic_fetch_add((atomic_uint *) user, 1);
}

static void ignore(void *user, const struct tpc_command *c)
{
    (void) user;
    (void) c;
}

static void *call_all_the_time(void *user)
{
    struct caller *c = user;
    while (!atomic_load(&c->stop)) {
        struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
        struct tpc_id id;
        o.device = c->device;
        o.service = TPC_STR("set");
        o.params_json = TPC_STR("{\"on\":true}");
        o.expire_ms = 1000;
        if (tpc_feed(c->device, TPC_BYTES("{\"n\":1}"), count_done, &c->done) == 0) {
            atomic_fetch_add(&c->fed, 1);
        }
        if (tpc_command_send(c->f->core, NULL, &o, NULL, NULL, &id) == 0) {
            (void) tpc_command_get(c->f->core, &id, ignore, NULL);
            (void) tpc_command_cancel(c->f->core, &id);
        }
    }
    return NULL;
}

START_TEST(calls_of_other_threads_end_while_the_core_stops_and_starts)
{
    struct flow f;
    struct caller c = { .f = &f };
    pthread_t thread;
    flow_init(&f, (uint32_t) _i);
    /* The thread uses the core as well. */
    f.o.allocator = NULL;
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    c.device = flow_device(&f, "t1");
    ck_assert_int_eq(pthread_create(&thread, NULL, call_all_the_time, &c), 0);
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < 10; k++) {
            if (_i == 0) {
                tk_ok(tpc_core_step(f.core, 0, NULL));
            }
            poll(NULL, 0, 1);
        }
        (void) tpc_core_stop(f.core, 1000);
        flow_start(&f);
    }
    atomic_store(&c.stop, true);
    if (_i == 0) {
        tk_ok(tpc_core_step(f.core, 0, NULL));
    }
    pthread_join(thread, NULL);
    tpc_device_unref(c.device);
    flow_destroy(&f);
    ck_assert_uint_gt(atomic_load(&c.fed), 0);
    ck_assert_uint_eq(atomic_load(&c.done), atomic_load(&c.fed));
    flow_fini(&f);
}
END_TEST

Suite *hold_flow_suite(void)
{
    Suite *s = suite_create("hold flow");
    TCase *c = tcase_create("hold");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, an_open_command_does_not_stop_a_log_from_turning_over);
    tcase_add_test(c, a_command_that_was_written_anew_survives_a_restart);
    tcase_add_test(c, a_full_log_takes_ends_and_commands_of_scenes);
    tcase_add_test(c, last_frames_of_a_session_are_no_way_back);
    tcase_add_loop_test(c, a_stop_tells_whoever_fed_what_was_not_written, 0, 2);
    tcase_add_test(c, a_command_is_safe_when_its_call_returns_though_syncs_are_rare);
    tcase_add_test(c, a_call_between_two_steps_wakes_the_loop);
    tcase_add_test(c, what_the_log_refused_is_no_duplicate_when_it_comes_again);
    tcase_add_loop_test(c, calls_of_other_threads_end_while_the_core_stops_and_starts, 0, 3);
    suite_add_tcase(s, c);
    return s;
}
