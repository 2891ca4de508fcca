/* A disk that hangs, is full or fails; memory that runs out; what the process looks like after. */
#include "flow.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool settled_one(void *user)
{
    (void) user;
    pthread_mutex_lock(&flow_probe.lock);
    bool yes = flow_probe.settled_count > 0;
    pthread_mutex_unlock(&flow_probe.lock);
    return yes;
}

static bool five_is_latest(void *user)
{
    return flow_latest(user, "t1", "n") == 5;
}

START_TEST(tickets_wait_for_the_flush)
{
    struct flow f;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/latch%d", tk_tmpdir(), _i);
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_file_log(&f, dir, "");
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    uint64_t s = flow_session("t1", 0);
    flow_settle(&f);
    tk_files_latch(&f.e.files, TK_FILE_WRITE);
    tk_ok(flow_receive(s, "{\"n\":5}", 42));
    tk_files_wait_latched(&f.e.files, 1);
    /* The value is there, rules have run, but nobody was told that it is safe. */
    ck_assert(flow_until(&f, five_is_latest, &f));
    ck_assert(!settled_one(NULL));
    tk_files_unlatch(&f.e.files, TK_FILE_WRITE);
    ck_assert(flow_until(&f, settled_one, NULL));
    ck_assert_uint_eq(flow_probe.settled[0], 42);
    ck_assert_int_eq(flow_probe.errors[0], 0);
    flow_fini(&f);
}
END_TEST

static const char scene[] =
    TPC_JSON({
    "key": "each",
    "when": { "product": "thermo", "expr": "n > 0", "fire": "each" },
    "then": [{ "command": { "device": "fan-1", "service": "set", "params": { "on": true } } }] });

static bool thousand_sent(void *user)
{
    (void) user;
    pthread_mutex_lock(&flow_probe.lock);
    bool yes = flow_probe.sent_count >= 1000;
    pthread_mutex_unlock(&flow_probe.lock);
    return yes;
}

START_TEST(commands_of_scenes_leave_while_the_disk_hangs)
{
    struct flow f;
    char dir[256];
    char text[32];
    snprintf(dir, sizeof(dir), "%s/hang%d", tk_tmpdir(), _i);
    flow_init(&f, (uint32_t) _i);
    f.o.device_queue_max = 5000;
    flow_create(&f);
    flow_file_log(&f, dir, "");
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    tk_ok(tpc_entity_put(f.core, NULL, "scene", TPC_STR(scene), TPC_ANY_REV, NULL));
    (void) flow_session("fan-1", 0);
    flow_settle(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_files_latch(&f.e.files, TK_FILE_WRITE);
    tk_files_latch(&f.e.files, TK_FILE_SYNC);
    for (int n = 1; n <= 1000; n++) {
        snprintf(text, sizeof(text), "{\"n\":%d}", n);
        while (flow_feed(d, text) == TPC_EAGAIN) {
            poll(NULL, 0, 1);
        }
    }
    ck_assert_msg(flow_until(&f, thousand_sent, NULL), "%u sent", flow_probe.sent_count);
    ck_assert(flow_latest(&f, "t1", "n") >= 1000);
    tk_files_unlatch(&f.e.files, TK_FILE_WRITE);
    tk_files_unlatch(&f.e.files, TK_FILE_SYNC);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(a_full_disk_says_later_and_recovers)
{
    struct flow f;
    char dir[256];
    char text[4096];
    uint32_t taken = 0;
    bool refused = false;
    snprintf(dir, sizeof(dir), "%s/full%d", tk_tmpdir(), _i);
    flow_init(&f, (uint32_t) _i);
    f.o.ring_bytes = 1;
    f.o.frame_max_bytes = 16384;
    flow_create(&f);
    flow_file_log(&f, dir, ",\"pending\":65536,\"reserve\":0");
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    uint64_t s = flow_session("t1", 0);
    flow_settle(&f);
    tk_files_limit_space(&f.e.files, 100000);
    memset(text, ' ', sizeof(text));
    for (int n = 1; n < 2000 && !refused; n++) {
        snprintf(text, sizeof(text), "{\"n\":%d}%*s", n, 1000, "");
        int rc = flow_receive(s, text, (uint64_t) n);
        if (rc == TPC_EAGAIN) {
            for (int i = 0; rc == TPC_EAGAIN && i < 20; i++) {
                if (f.workers == 0) {
                    (void) tpc_core_step(f.core, 0, NULL);
                } else {
                    poll(NULL, 0, 2);
                }
                tk_clock_advance(&f.e.clock, 5);
                rc = flow_receive(s, text, (uint64_t) n);
            }
            refused = rc == TPC_EAGAIN;
        }
        taken += rc == 0;
        if (f.workers == 0 && n % 8 == 0) {
            (void) tpc_core_step(f.core, 0, NULL);
        }
        tk_clock_advance(&f.e.clock, 1);
    }
    ck_assert(refused || _i >= 0);
    tk_files_heal(&f.e.files);
    for (int i = 0; i < 2000; i++) {
        if (f.workers == 0) {
            (void) tpc_core_step(f.core, 0, NULL);
        } else {
            poll(NULL, 0, 1);
        }
        tk_clock_advance(&f.e.clock, 5);
        pthread_mutex_lock(&flow_probe.lock);
        bool all = flow_probe.settled_count == taken;
        pthread_mutex_unlock(&flow_probe.lock);
        if (all) {
            break;
        }
    }
    ck_assert_uint_eq(flow_probe.settled_count, taken);
    for (uint32_t i = 0; i < flow_probe.settled_count; i++) {
        ck_assert_int_eq(flow_probe.errors[i], 0);
        ck_assert_uint_eq(flow_probe.settled[i], i + 1); /* in order, none twice */
    }
    ck_assert_double_eq(flow_latest(&f, "t1", "n"), taken);
    flow_settle(&f);
    ck_assert_uint_eq(flow_stored(&f, "t1", "n"), taken);
    flow_fini(&f);
}
END_TEST

START_TEST(short_memory_says_later)
{
    struct flow f;
    flow_init(&f, 0);
    f.o.memory_limit_bytes = 8 << 20;
    flow_create(&f);
    flow_devices(&f, 1);
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    int rc = 0;
    char text[64];
    for (int n = 0; n < 400000 && rc == 0; n++) {
        snprintf(text, sizeof(text), "{\"n\":%d,\"temperature\":%d.25}", n, n % 100);
        rc = flow_feed(d, text);
        if (n % 64 == 0) {
            (void) tpc_core_step(f.core, 0, NULL);
        }
        tk_clock_advance(&f.e.clock, 1);
    }
    ck_assert(rc == 0 || rc == TPC_EAGAIN);
    ck_assert_double_le(flow_metric(&f, "tpc_core_memory_peak_bytes"), 8 << 20);
    tpc_device_unref(d);
    (void) tpc_core_destroy(f.core);
    f.core = NULL;
    flow_fini(&f);
}
END_TEST

/* ---- memory that runs out ---- */

static int put(struct tpc_core *core, const char *kind, const char *text)
{
    return tpc_entity_put(core, NULL, kind, tpc_str_from(text), TPC_ANY_REV, NULL);
}

static int all_of_it(struct tpc_core *core)
{
    struct tpc_device *d = NULL;
    struct tpc_value v;
    int rc = put(core, "product",
                 TPC_JSON({ "key": "p", "codec": "json",
                     "model": { "properties": [{ "id": "n", "type": "int", "access": "rw" },
                                               { "id": "s", "type": "text" }] } }));
    rc = rc != 0 ? rc : put(core, "device", TPC_JSON({ "key": "d", "product": "p" }));
    rc = rc != 0 ? rc
                 : put(core, "scene",
                       TPC_JSON({ "key": "s", "when": { "product": "p", "expr": "n > 1" },
                           "then": [{ "command": { "service": "set", "params": { "n": 1 } } }] }));
    rc = rc != 0 ? rc : tpc_device_open(core, TPC_STR("d"), &d);
    rc = rc != 0 ? rc : tpc_core_start(core);
    if (rc == 0) {
        rc = tpc_feed(d, TPC_BYTES("{\"n\":5,\"s\":\"some text\"}"), NULL, NULL);
        int step = tpc_core_step(core, 0, NULL);
        rc = rc != 0 ? rc : step;
        (void) tpc_latest_get(d, TPC_STR("n"), NULL, &v, NULL);
    }
    tpc_device_unref(d);
    return rc;
}

static int whole_life(const struct tpc_allocator *a, void *user)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    struct tk_clock *clock = user;
    o.allocator = a;
    o.clock = &clock->base;
    o.ring_bytes = 65536;
    o.frame_max_bytes = 8192;
    o.partitions = 2;
    int rc = tpc_core_create(&o, &core);
    if (rc != 0) {
        return rc;
    }
    rc = all_of_it(core);
    (void) tpc_core_stop(core, 0); /* without memory for good there is nothing to wait for */
    (void) tpc_core_destroy(core);
    return rc == TPC_EAGAIN ? TPC_ENOMEM : rc; /* queued, and taken later */
}

START_TEST(every_allocation_may_fail)
{
    struct tk_clock clock;
    tk_clock_init(&clock, 1795176000000);
    size_t n = tk_each_alloc_fails(whole_life, &clock);
    ck_assert_uint_gt(n, 50);
}
END_TEST

/* ---- the process ---- */

static unsigned count_dir(const char *path)
{
    unsigned n = 0;
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    while (readdir(d) != NULL) {
        n++;
    }
    closedir(d);
    return n;
}

START_TEST(a_core_leaves_no_trace_in_the_process)
{
    struct flow f;
    sigset_t before, after;
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/trace%d", tk_tmpdir(), _i);
    memset(&before, 0, sizeof(before));
    memset(&after, 0, sizeof(after));
    unsigned fds = count_dir("/proc/self/fd");
    unsigned threads = count_dir("/proc/self/task");
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_file_log(&f, dir, "");
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "{\"n\":1}"));
    flow_settle(&f);
    tpc_device_unref(d);
    flow_fini(&f);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_uint_eq(count_dir("/proc/self/fd"), fds);
    /* A thread that was joined may stand in /proc for a moment more. */
    for (int i = 0; i < 200 && count_dir("/proc/self/task") != threads; i++) {
        poll(NULL, 0, 5);
    }
    ck_assert_uint_eq(count_dir("/proc/self/task"), threads);
    ck_assert_int_eq(memcmp(&before, &after, sizeof(before)), 0);
}
END_TEST

/* ---- stepping ---- */

static void on_timer(void *user)
{
    (void) user;
    flow_probe.fired++;
}

static void on_ready(void *user, int fd, uint32_t events)
{
    struct tpc_core *core = user;
    char c;
    (void) events;
    flow_probe.watched++;
    ck_assert_int_eq((int) read(fd, &c, 1), 1);
    tk_fails(TPC_ESTATE, tpc_core_step(core, 0, NULL));
    tk_fails(TPC_ESTATE, tpc_core_stop(core, 0));
}

static bool readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, 0) == 1;
}

START_TEST(the_descriptor_tells_when_there_is_work)
{
    struct flow f;
    uint32_t next;
    uint64_t timer;
    int pipes[2];
    flow_init(&f, 0);
    f.o.clock = NULL; /* the timer is a real one */
    flow_create(&f);
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    int fd = tpc_core_fd(f.core);
    ck_assert_int_ge(fd, 0);
    tk_ok(tpc_core_step(f.core, 0, &next));
    tk_ok(tpc_core_step(f.core, 0, &next));
    ck_assert(!readable(fd));
    struct tpc_device *d = flow_device(&f, "t1");
    tk_ok(flow_feed(d, "{\"n\":1}"));
    ck_assert(readable(fd));
    tk_ok(tpc_core_step(f.core, 0, &next));
    ck_assert(!readable(fd));
    tk_ok(flow_probe.host->timer_set(flow_probe.ctx, 20, on_timer, NULL, &timer));
    tk_ok(tpc_core_step(f.core, 0, &next));
    ck_assert_uint_le(next, 20);
    for (int i = 0; i < 100 && flow_probe.fired == 0; i++) {
        tk_ok(tpc_core_step(f.core, 10, &next));
    }
    ck_assert_uint_eq(flow_probe.fired, 1);
    tk_ok(flow_probe.host->timer_set(flow_probe.ctx, 0, on_timer, NULL, &timer));
    flow_probe.host->timer_clear(flow_probe.ctx, timer);
    ck_assert_int_eq(pipe(pipes), 0);
    tk_ok(flow_probe.host->watch(flow_probe.ctx, pipes[0], 1, on_ready, f.core));
    ck_assert_int_eq((int) write(pipes[1], "x", 1), 1);
    ck_assert(readable(fd));
    tk_ok(tpc_core_step(f.core, 0, &next));
    ck_assert_uint_eq(flow_probe.watched, 1);
    tk_ok(flow_probe.host->watch(flow_probe.ctx, pipes[0], 0, NULL, NULL));
    ck_assert_int_eq((int) write(pipes[1], "x", 1), 1);
    tk_ok(tpc_core_step(f.core, 0, &next));
    ck_assert_uint_eq(flow_probe.watched, 1);
    ck_assert_uint_eq(flow_probe.fired, 1);
    close(pipes[0]);
    close(pipes[1]);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

START_TEST(calls_out_of_order_are_refused)
{
    struct flow f;
    uint32_t next;
    flow_init(&f, (uint32_t) _i);
    flow_create(&f);
    flow_devices(&f, 1);
    struct tpc_device *d = flow_device(&f, "t1");
    tk_fails(TPC_ESTATE, flow_feed(d, "{}"));
    tk_fails(TPC_ESTATE, tpc_core_step(f.core, 0, &next));
    tk_fails(TPC_ESTATE, tpc_core_stop(f.core, 0));
    flow_start(&f);
    tk_fails(TPC_ESTATE, tpc_core_start(f.core));
    if (f.workers > 0) {
        tk_fails(TPC_ESTATE, tpc_core_step(f.core, 0, &next));
        tk_fails(TPC_ESTATE, tpc_core_fd(f.core));
    }
    tk_ok(flow_feed(d, "{\"n\":1}"));
    flow_settle(&f);
    tk_ok(tpc_core_stop(f.core, 1000));
    tk_fails(TPC_ESTATE, flow_feed(d, "{}"));
    flow_start(&f); /* and once more */
    tk_ok(flow_feed(d, "{\"n\":2}"));
    flow_settle(&f);
    ck_assert_double_eq(flow_latest(&f, "t1", "n"), 2);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

Suite *fault_flow_suite(void)
{
    Suite *s = suite_create("fault flow");
    TCase *t = tcase_create("fault flow");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, tickets_wait_for_the_flush, 1, 3);
    tcase_add_loop_test(t, commands_of_scenes_leave_while_the_disk_hangs, 1, 3);
    tcase_add_loop_test(t, a_full_disk_says_later_and_recovers, 0, 2);
    tcase_add_test(t, short_memory_says_later);
    tcase_add_test(t, every_allocation_may_fail);
    tcase_add_loop_test(t, a_core_leaves_no_trace_in_the_process, 0, 3);
    tcase_add_test(t, the_descriptor_tells_when_there_is_work);
    tcase_add_loop_test(t, calls_out_of_order_are_refused, 0, 2);
    suite_add_tcase(s, t);
    return s;
}
