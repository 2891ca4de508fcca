/* An edge that was told "later" is told to go on once there is room: ring, log or memory. */
#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int give(const char *text, size_t len, uint64_t ticket)
{
    struct tpc_frame frame = { .size = sizeof(frame) };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, len };
    return probe_receive("t1", &frame, ticket);
}

/* Gives frames until one is refused. How many were taken. */
static int give_until_later(struct fx *f, size_t len, bool steps)
{
    static char text[2048];
    int rc = 0;
    int n = 0;
    memset(text, 'x', sizeof(text));
    while (rc == 0 && n < 100000) {
        rc = give(text, len, (uint64_t) n + 1);
        n += rc == 0;
        if (steps && n % 8 == 0) {
            (void) fx_step(f);
        }
    }
    ck_assert_msg(rc == TPC_EAGAIN, "%s", tpc_error_name(rc));
    return n;
}

static bool resumed(struct fx *f, size_t before)
{
    for (int i = 0; i < 10000 && probe_resumed_count() == before; i++) {
        if (f->o.workers == 0) {
            (void) fx_step(f);
            tk_clock_advance(&f->e.clock, 50);
        } else {
            nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
        }
    }
    return probe_resumed_count() > before;
}

static void open_small(struct fx *f, uint32_t workers, uint32_t parts)
{
    fx_init(f, workers, parts | FX_PROBE);
    f->o.frame_max_bytes = 2048;
    f->o.ring_bytes = 16384;
    f->o.partitions = 1;
    snprintf(f->log_options, sizeof(f->log_options), "\"pending\":\"64KiB\"");
}

START_TEST(a_full_ring_resumes)
{
    for (uint32_t workers = 0; workers <= 2; workers += 2) {
        struct fx f;
        open_small(&f, workers, FX_FILE_LOG);
        fx_run(&f);
        int n = give_until_later(&f, 2000, false);
        ck_assert_msg(resumed(&f, 0), "workers %u: never told to go on", workers);
        ck_assert_int_eq(give("{}", 2, 7000), 0);
        for (int i = 0; i < 5; i++) {
            (void) fx_step(&f);
        }
        ck_assert(probe_wait_settled((size_t) n + 1));
        fx_fini(&f);
    }
}
END_TEST

START_TEST(a_full_disk_resumes)
{
    for (uint32_t workers = 0; workers <= 2; workers += 2) {
        struct fx f;
        open_small(&f, workers, FX_FILE_LOG);
        fx_run(&f);
        tk_files_limit_space(&f.e.files, 10000);
        int n = give_until_later(&f, 2000, true);
        for (int i = 0; i < 300 && workers > 0; i++) { /* until the log itself is full, too */
            n += give("xxxxxxxxxxxxxxx", 15, (uint64_t) n + 1) == 0;
            nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
        }
        size_t before = probe_resumed_count();
        (void) give_until_later(&f, 2000, false);
        tk_files_heal(&f.e.files);
        ck_assert_msg(resumed(&f, before), "workers %u: never told to go on", workers);
        fx_settle(&f);
        fx_still_works(&f);
        fx_fini(&f);
    }
}
END_TEST

static void put_device(struct fx *f, int i, int *ret_code)
{
    char json[80];
    snprintf(json, sizeof(json), "{\"key\":\"more-%d\",\"product\":\"thermo\"}", i);
    *ret_code = tpc_entity_put(f->core, NULL, "device", tpc_str_from(json), TPC_ANY_REV, NULL);
}

static void drop_device(struct fx *f, int i)
{
    char key[40];
    snprintf(key, sizeof(key), "more-%d", i);
    (void) tpc_entity_delete(f->core, NULL, FX_NO_OPTIONS, "device", tpc_str_from(key),
                             TPC_ANY_REV);
}

START_TEST(memory_that_is_free_again_resumes)
{
    for (uint32_t workers = 0; workers <= 2; workers += 2) {
        struct fx f;
        int rc = 0;
        int n = 0;
        open_small(&f, workers, 0);
        f.o.memory_limit_bytes = 8 << 20;
        f.o.history_open_bytes = 1 << 20;
        fx_run(&f);
        for (; n < 100000 && rc == 0; n++) {
            put_device(&f, n, &rc);
            if (n % 64 == 0) {
                (void) fx_step(&f);
            }
        }
        ck_assert_int_eq(give("{}", 2, 1), TPC_EAGAIN);
        size_t before = probe_resumed_count();
        for (int i = 0; i < n; i++) {
            drop_device(&f, i);
            (void) fx_step(&f);
        }
        ck_assert_msg(resumed(&f, before), "workers %u: never told to go on", workers);
        ck_assert_int_eq(give("{}", 2, 2), 0);
        fx_fini(&f);
    }
}
END_TEST

Suite *resume_suite(void)
{
    Suite *s = suite_create("resume");
    TCase *t = tcase_create("resume");
    tcase_add_test(t, a_full_ring_resumes);
    tcase_add_test(t, a_full_disk_resumes);
    tcase_add_test(t, memory_that_is_free_again_resumes);
    tcase_set_timeout(t, 240);
    suite_add_tcase(s, t);
    return s;
}
