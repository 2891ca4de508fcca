/* Adapters and sinks that are opened and closed while the core runs. */
#include "box.h"
#include "flow.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

/* ---- an adapter with a thread that reports all the time ---- */

struct talker {
    const struct tpc_host *host;
    void *ctx;
    char device[16];
    int64_t beat; /* of its timer */
    uint64_t session;
    uint64_t timer;
    atomic_bool stop;
    pthread_t thread;
};

static struct {
    atomic_uint live;    /* instances that are not freed */
    atomic_uint settled; /* tickets, of all instances */
    atomic_uint taken;   /* frames */
    atomic_uint beats;
    atomic_uint sends;
    atomic_uint commanded, ended;
    int commands; /* that each gives */
    int start_code;
    const char *wants; /* a service that start() looks for without a word in the descriptor */
} talkers;

static const struct tpc_option talker_options[] = {
    { .name = "device", .type = TPC_OPT_TEXT, .flags = TPC_OPT_REQUIRED, .help = "whose frames" },
};

static int talker_init(void *self, const struct tpc_host *host, void *ctx,
                       const struct tpc_value *cfg)
{
    struct talker *t = self;
    struct tpc_str device = tpc_value_text(tpc_value_get(cfg, TPC_STR("device")));
    t->host = host;
    t->ctx = ctx;
    snprintf(t->device, sizeof(t->device), "%.*s", (int) device.len, device.ptr);
    atomic_fetch_add(&talkers.live, 1);
    if (strcmp(host->name(ctx), "line") == 0) {
        tk_ok(host->offer(ctx, "talker.line", &talkers, t));
    }
    return 0;
}

static void on_command(void *user, const struct tpc_command *c)
{
    struct talker *t = user;
    (void) c;
    ck_assert_int_ne(t->device[0], '\0'); /* it is not freed */
    atomic_fetch_add(&talkers.ended, 1);
}

/* To a device that nobody reaches. */
static void send_commands(struct talker *t)
{
    for (int i = 0; i < talkers.commands; i++) {
        struct tpc_host_command c;
        memset(&c, 0, sizeof(c));
        c.size = sizeof(c);
        c.device = TPC_STR("fan-1");
        c.service = TPC_STR("set");
        c.params_json = TPC_STR("{\"on\":true}");
        c.timeout_ms = 20;
        c.expire_ms = 20 + (uint32_t) i * 10;
        if (t->host->command(t->ctx, &c, on_command, t, NULL) == 0) {
            atomic_fetch_add(&talkers.commanded, 1);
        }
    }
}

static void *talk(void *user)
{
    struct talker *t = user;
    send_commands(t);
    struct tpc_frame frame;
    char text[32];
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    for (uint32_t n = 1; !atomic_load(&t->stop); n++) {
        int len = snprintf(text, sizeof(text), "{\"n\":%u}", n);
        frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) len };
        if (t->host->receive(t->ctx, t->session, &frame, n) == 0) {
            atomic_fetch_add(&talkers.taken, 1);
        }
        if (n % 2 == 0) {
            poll(NULL, 0, 1);
        }
    }
    return NULL;
}

static void beat(void *user)
{
    struct talker *t = user;
    atomic_fetch_add(&talkers.beats, 1);
    (void) t->host->timer_set(t->ctx, 1, beat, t, NULL); /* stop() leaves it to the core */
}

static int talker_start(void *self)
{
    struct talker *t = self;
    struct tpc_session_options o;
    memset(&o, 0, sizeof(o));
    o.size = sizeof(o);
    o.flags = TPC_SESSION_PRESENCE;
    o.device = tpc_str_from(t->device);
    int rc = t->host->session_open(t->ctx, &o, &t->session);
    if (rc != 0) {
        return rc;
    }
    const void *ops;
    void *other;
    if (talkers.wants != NULL && t->host->need(t->ctx, talkers.wants, &ops, &other) != 0) {
        return TPC_ENOENT;
    }
    if (talkers.start_code != 0) {
        return (t->host->fail)(t->ctx, talkers.start_code, "not today");
    }
    (void) t->host->timer_set(t->ctx, 1, beat, t, NULL);
    atomic_store(&t->stop, false);
    return pthread_create(&t->thread, NULL, talk, t) == 0 ? 0 : TPC_EAGAIN;
}

static int talker_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                       uint64_t ticket)
{
    struct talker *t = self;
    (void) peer;
    (void) frame;
    atomic_fetch_add(&talkers.sends, 1);
    t->host->sent(t->ctx, ticket, NULL);
    return 0;
}

static void talker_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    struct talker *t = self;
    (void) tickets;
    (void) errors;
    ck_assert_int_ne(t->device[0], '\0'); /* it is not freed */
    atomic_fetch_add(&talkers.settled, count);
}

static void talker_stop(void *self)
{
    struct talker *t = self;
    atomic_store(&t->stop, true);
    pthread_join(t->thread, NULL);
}

static void talker_fini(void *self)
{
    struct talker *t = self;
    t->device[0] = '\0';
    atomic_fetch_sub(&talkers.live, 1);
}

static const struct tpc_adapter_ops talker_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "talker",
    .instance_size = sizeof(struct talker),
    .options = TPC_OPTIONS(talker_options),
    .init = talker_init,
    .start = talker_start,
    .send = talker_send,
    .settled = talker_settled,
    .stop = talker_stop,
    .fini = talker_fini,
};
static const struct tpc_interface talker_interfaces[] = { { TPC_KIND_ADAPTER, &talker_ops } };
static const struct tpc_module talker_module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                                 .name = "talker",
                                                 .version = "1",
                                                 .licence = "Apache-2.0",
                                                 .flags = TPC_MOD_THREADS,
                                                 .interfaces = TPC_INTERFACES(talker_interfaces) };

/* A module that offers a service, and one that needs it. */
static const char *const service_names[] = { "talker.line" };
static const struct tpc_module offering = { .iface = TPC_IFACE(struct tpc_module, 1),
                                            .name = "offering",
                                            .version = "1",
                                            .licence = "Apache-2.0",
                                            .flags = TPC_MOD_THREADS,
                                            .interfaces = TPC_INTERFACES(talker_interfaces),
                                            .offers = TPC_LIST(service_names) };
static const struct tpc_module needing = { .iface = TPC_IFACE(struct tpc_module, 1),
                                           .name = "needing",
                                           .version = "1",
                                           .licence = "Apache-2.0",
                                           .flags = TPC_MOD_THREADS,
                                           .interfaces = TPC_INTERFACES(talker_interfaces),
                                           .needs = TPC_LIST(service_names) };

/* ---- tests ---- */

static void begin(struct flow *f, uint32_t workers)
{
    memset(&talkers, 0, sizeof(talkers));
    box_reset();
    flow_init(f, workers);
    f->o.allocator = NULL; /* the talker's thread is one more */
    flow_create(f);
    tk_ok(tpc_core_add_module(f->core, &talker_module));
    tk_ok(tpc_core_add_module(f->core, &offering));
    tk_ok(tpc_core_add_module(f->core, &needing));
    tk_ok(tpc_core_add_module(f->core, box_module()));
    flow_devices(f, 4);
}

static int open_talker(struct flow *f, const char *name, const char *module, const char *device)
{
    char text[64];
    snprintf(text, sizeof(text), "{\"device\":\"%s\"}", device);
    return tpc_core_open(f->core, name, module, tpc_str_from(text));
}

static void work(struct flow *f, int ms)
{
    for (int i = 0; i < ms; i++) {
        if (f->workers == 0) {
            (void) tpc_core_step(f->core, 0, NULL);
        }
        tk_clock_advance(&f->e.clock, 1);
        poll(NULL, 0, 1);
    }
}

START_TEST(an_adapter_comes_and_goes_under_traffic)
{
    struct flow f;
    begin(&f, (uint32_t) _i);
    tk_ok(open_talker(&f, "stays", "talker", "t1"));
    flow_start(&f);
    for (int round = 0; round < 8; round++) {
        tk_ok(open_talker(&f, "guest", "talker", "t2"));
        tk_fails(TPC_EEXIST, open_talker(&f, "guest", "talker", "t3"));
        ck_assert_uint_eq(atomic_load(&talkers.live), 2);
        work(&f, 5);
        tk_ok(tpc_core_close(f.core, "guest", 2000));
        ck_assert_uint_eq(atomic_load(&talkers.live), 1);
        tk_fails(TPC_ENOENT, tpc_core_close(f.core, "guest", 0));
    }
    work(&f, 5);
    ck_assert(flow_metric(&f, "tpc_core_sessions") == 1);
    ck_assert_uint_gt(atomic_load(&talkers.beats), 0);
    tk_ok(tpc_core_close(f.core, "stays", 2000));
    flow_settle(&f);
    ck_assert(flow_metric(&f, "tpc_core_sessions") == 0);
    ck_assert_uint_gt(atomic_load(&talkers.settled), 0);
    /* All that was taken is in the log, whether or not its adapter was still there. */
    ck_assert(flow_metric(&f, "tpc_uplink_messages_total") >= (double) atomic_load(&talkers.taken));
    /* Opened again after a stop, it starts with the core. */
    tk_ok(tpc_core_stop(f.core, 1000));
    tk_ok(open_talker(&f, "guest", "talker", "t2"));
    uint32_t before = atomic_load(&talkers.taken);
    flow_start(&f);
    work(&f, 5);
    ck_assert_uint_gt(atomic_load(&talkers.taken), before);
    tk_ok(tpc_core_stop(f.core, 1000));
    tk_ok(tpc_core_close(f.core, "guest", 0));
    ck_assert_uint_eq(atomic_load(&talkers.live), 0);
    flow_fini(&f);
}
END_TEST

/* The log cannot be written: what the adapter received stays in memory, the adapter goes. */
START_TEST(an_adapter_goes_while_the_log_stands_still)
{
    struct flow f;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/still-%d", tk_tmpdir(), _i);
    begin(&f, (uint32_t) _i);
    flow_file_log(&f, dir, "");
    tk_ok(open_talker(&f, "guest", "talker", "t2"));
    flow_start(&f);
    work(&f, 5);
    tk_files_fail(&f.e.files, TK_FILE_SYNC, 1, TPC_EIO, true);
    work(&f, 5);
    tk_ok(tpc_core_close(f.core, "guest", 5));
    ck_assert_uint_eq(atomic_load(&talkers.live), 0);
    tk_files_heal(&f.e.files);
    tk_ok(open_talker(&f, "guest", "talker", "t2"));
    uint32_t before = atomic_load(&talkers.settled);
    for (int i = 0; i < 200 && atomic_load(&talkers.settled) == before; i++) {
        work(&f, 5);
    }
    ck_assert_uint_gt(atomic_load(&talkers.settled), before);
    flow_fini(&f);
    ck_assert_uint_eq(atomic_load(&talkers.live), 0);
}
END_TEST

/* A thread of the adapter waits for its command to be in the log while stop() waits for the thread. */
START_TEST(no_stop_waits_for_a_log_that_fails)
{
    struct flow f;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/fails-%d", tk_tmpdir(), _i);
    begin(&f, (uint32_t) _i);
    flow_file_log(&f, dir, "");
    flow_start(&f);
    work(&f, 5);
    tk_files_fail(&f.e.files, TK_FILE_WRITE, 1, TPC_EIO, true);
    talkers.commands = 1;
    tk_ok(open_talker(&f, "guest", "talker", "t2"));
    work(&f, 5);                                       /* its command does not expire yet */
    ck_assert_uint_eq(atomic_load(&talkers.taken), 0); /* it waits */
    tk_ok(tpc_core_close(f.core, "guest", 5));
    ck_assert_uint_eq(atomic_load(&talkers.commanded), 0);
    tk_ok(open_talker(&f, "guest", "talker", "t2"));
    tk_fails(TPC_ETIMEOUT, tpc_core_stop(f.core, 5));
    ck_assert_uint_eq(atomic_load(&talkers.commanded), 0);
    tk_files_heal(&f.e.files);
    flow_fini(&f);
    ck_assert_uint_eq(atomic_load(&talkers.live), 0);
    ck_assert_uint_eq(atomic_load(&talkers.ended), 0);
}
END_TEST

START_TEST(what_is_wrong_leaves_all_as_it_was)
{
    struct flow f;
    begin(&f, (uint32_t) _i);
    flow_start(&f);
    talkers.start_code = TPC_EIO;
    tk_fails(TPC_EIO, open_talker(&f, "guest", "talker", "t1"));
    ck_assert_ptr_nonnull(strstr(tpc_error_last()->text, "not today"));
    ck_assert_str_eq(tpc_error_last()->path, "guest");
    ck_assert_uint_eq(atomic_load(&talkers.live), 0);
    flow_settle(&f);
    ck_assert(flow_metric(&f, "tpc_core_sessions") == 0);
    talkers.start_code = 0;
    tk_fails(TPC_ENOENT, open_talker(&f, "guest", "talker", "nobody"));
    tk_fails(TPC_EINVAL, tpc_core_open(f.core, "guest", "talker", TPC_STR("{}")));
    tk_fails(TPC_ENOENT, open_talker(&f, "guest", "needing", "t1"));
    tk_fails(TPC_ESTATE, tpc_core_open(f.core, "log", "memory", TPC_STR("{}")));
    tk_fails(TPC_EUNSUPPORTED, tpc_core_close(f.core, "log", 0));
    /* Who is needed stays. */
    tk_ok(open_talker(&f, "line", "offering", "t1"));
    tk_ok(open_talker(&f, "user", "needing", "t2"));
    tk_fails(TPC_ESTATE, tpc_core_close(f.core, "line", 1000));
    ck_assert_str_eq(tpc_error_last()->path, "user");
    tk_ok(tpc_core_close(f.core, "user", 1000));
    talkers.wants = service_names[0];
    tk_ok(open_talker(&f, "guest", "talker", "t2"));
    tk_fails(TPC_ESTATE, tpc_core_close(f.core, "line", 1000));
    ck_assert_ptr_nonnull(strstr(tpc_error_last()->text, "guest"));
    tk_ok(tpc_core_close(f.core, "guest", 1000));
    talkers.wants = NULL;
    tk_ok(tpc_core_close(f.core, "line", 1000));
    ck_assert_uint_eq(atomic_load(&talkers.live), 0);
    flow_fini(&f);
}
END_TEST

static bool was_delivered(void *user)
{
    (void) user;
    return atomic_load(&talkers.sends) > 0;
}

START_TEST(commands_wait_for_their_adapter)
{
    struct flow f;
    begin(&f, (uint32_t) _i);
    tk_ok(open_talker(&f, "guest", "talker", "fan-1"));
    flow_start(&f);
    work(&f, 5);
    tk_ok(tpc_core_close(f.core, "guest", 1000));
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    o.device = flow_device(&f, "fan-1");
    o.service = TPC_STR("set");
    o.params_json = TPC_STR("{\"on\":true}");
    o.timeout_ms = 5000;
    tk_ok(tpc_command_send(f.core, NULL, &o, NULL, NULL, NULL));
    tpc_device_unref(o.device);
    work(&f, 20);
    ck_assert(!was_delivered(NULL));
    tk_ok(open_talker(&f, "guest", "talker", "fan-1"));
    ck_assert(flow_until(&f, was_delivered, NULL));
    flow_fini(&f);
}
END_TEST

/* What it gave goes on without it, and it is not told. */
START_TEST(commands_of_an_adapter_outlive_it)
{
    struct flow f;
    begin(&f, (uint32_t) _i);
    talkers.commands = 20;
    flow_start(&f);
    for (int round = 0; round < 3; round++) {
        tk_ok(open_talker(&f, "guest", "talker", "t1"));
        for (int i = 0; i < 2000 && atomic_load(&talkers.commanded) < 20; i++) {
            work(&f, 1);
        }
        work(&f, round * 50);
        tk_ok(tpc_core_close(f.core, "guest", 500));
        uint32_t ended = atomic_load(&talkers.ended);
        work(&f, 300);
        ck_assert_uint_eq(atomic_load(&talkers.ended), ended);
        atomic_store(&talkers.commanded, 0);
    }
    flow_fini(&f);
}
END_TEST

static int keep_state(void *user, const struct tpc_forward_info *info)
{
    *(uint32_t *) user = info->state;
    return 0;
}

static uint32_t state_of(struct flow *f)
{
    uint32_t state = 99;
    tk_ok(tpc_forward_info(f->core, TPC_STR("main"), (struct tpc_str){ NULL, 0 }, TPC_STR("out"),
                           keep_state, &state));
    return state;
}

static uint32_t wanted;

static bool has_wanted(void *user)
{
    (void) user;
    return box_count() >= wanted;
}

static void feed(struct flow *f, int from, int to)
{
    char text[32];
    struct tpc_device *d = flow_device(f, "t1");
    for (int n = from; n <= to; n++) {
        snprintf(text, sizeof(text), "{\"n\":%d}", n);
        tk_ok(flow_feed(d, text));
    }
    tpc_device_unref(d);
    wanted = (uint32_t) to;
}

static uint32_t held(void)
{
    pthread_mutex_lock(&box.lock);
    uint32_t n = box.held_count;
    pthread_mutex_unlock(&box.lock);
    return n;
}

START_TEST(targets_wait_for_their_sink)
{
    struct flow f;
    struct tpc_str red = TPC_STR("{\"color\":\"red\"}");
    begin(&f, (uint32_t) _i);
    tk_ok(tpc_core_open(f.core, "box", "box", red));
    tk_ok(tpc_core_open(f.core, "other", "box", red));
    tk_ok(tpc_entity_put(f.core, NULL, "forward", TPC_STR("{\"key\":\"out\",\"sink\":\"box\"}"),
                         TPC_ANY_REV, NULL));
    flow_start(&f);
    feed(&f, 1, 10);
    ck_assert(flow_until(&f, has_wanted, NULL));
    for (int round = 1; round <= 5; round++) {
        tk_ok(tpc_core_close(f.core, "box", 100));
        ck_assert_uint_eq(box.open, 0); /* no thread has it now */
        ck_assert_uint_eq(state_of(&f), TPC_FORWARD_WAITING);
        ck_assert(flow_metric(&f, "tpc_forward_waiting") == 1);
        feed(&f, round * 10 + 1, round * 10 + 10);
        work(&f, 5);
        ck_assert_uint_eq(box_count(), (uint32_t) round * 10);
        /* Nobody may name it meanwhile. */
        tk_fails(TPC_ENOENT,
                 tpc_entity_put(f.core, NULL, "forward",
                                TPC_STR("{\"key\":\"more\",\"sink\":\"box\"}"), TPC_ANY_REV, NULL));
        tk_ok(tpc_core_open(f.core, "box", "box", red));
        ck_assert(flow_until(&f, has_wanted, NULL));
        flow_settle(&f);
        ck_assert_uint_eq(box_count(), wanted);
        ck_assert_int_eq(box.items[wanted - 1].n, (int) wanted);
    }
    /* A batch that is not answered comes again. */
    pthread_mutex_lock(&box.lock);
    box.hold = true;
    pthread_mutex_unlock(&box.lock);
    feed(&f, 61, 65);
    for (int i = 0; i < 2000 && held() == 0; i++) {
        work(&f, 1);
    }
    tk_ok(tpc_core_close(f.core, "box", 10));
    pthread_mutex_lock(&box.lock);
    box.hold = false;
    box.held_count = 0;
    pthread_mutex_unlock(&box.lock);
    tk_ok(tpc_core_open(f.core, "box", "box", red));
    ck_assert(flow_until(&f, has_wanted, NULL));
    tk_ok(tpc_core_close(f.core, "box", 100));
    tk_ok(tpc_core_close(f.core, "other", 100));
    flow_fini(&f);
}
END_TEST

Suite *attach_flow_suite(void)
{
    Suite *s = suite_create("attach flow");
    TCase *t = tcase_create("attach flow");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, an_adapter_comes_and_goes_under_traffic, 0, 3);
    tcase_add_loop_test(t, an_adapter_goes_while_the_log_stands_still, 0, 3);
    tcase_add_loop_test(t, no_stop_waits_for_a_log_that_fails, 1, 3);
    tcase_add_loop_test(t, what_is_wrong_leaves_all_as_it_was, 0, 3);
    tcase_add_loop_test(t, commands_wait_for_their_adapter, 0, 3);
    tcase_add_loop_test(t, commands_of_an_adapter_outlive_it, 0, 3);
    tcase_add_loop_test(t, targets_wait_for_their_sink, 0, 3);
    suite_add_tcase(s, t);
    return s;
}
