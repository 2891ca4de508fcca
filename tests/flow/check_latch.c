/*
 * A disk that hangs: rules and commands go on until the stated buffer is full, then the edge is
 * told "later", and all that was taken is settled once the disk is back.
 */
#include "suites.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FX_WITH_SQLITE
#include "../adapters/sqlite/faulty_vfs.h"
#endif

enum { COMMANDS = 1000, TICKET_AT = 1 };

static const char scene[] = TPC_JSON({
    "key": "fan-on",
    "when": { "product": "thermo", "devices": [ "t1" ], "expr": "temperature > 30", "fire": "each" },
    "then": [ { "command": { "device": "fan1", "service": "set", "params": { "on": true } } } ]
});

static void close_latch(struct fx *f)
{
    tk_files_latch(&f->e.files, TK_FILE_WRITE);
    tk_files_latch(&f->e.files, TK_FILE_SYNC);
#ifdef FX_WITH_SQLITE
    faulty_vfs_latch();
#endif
}

static void open_latch(struct fx *f)
{
    tk_files_unlatch(&f->e.files, TK_FILE_WRITE);
    tk_files_unlatch(&f->e.files, TK_FILE_SYNC);
#ifdef FX_WITH_SQLITE
    faulty_vfs_unlatch();
#endif
}

static int give(const char *device, const char *text, uint64_t ticket)
{
    struct tpc_frame frame = { .size = sizeof(frame) };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    return probe_receive(device, &frame, ticket);
}

static void open_all(struct fx *f)
{
    fx_init(f, 2, FX_FILE_LOG | FX_PROBE | (fx_has_sqlite() ? FX_SQLITE : 0));
    snprintf(f->log_options, sizeof(f->log_options), "\"pending\":\"1MiB\"");
#ifdef FX_WITH_SQLITE
    faulty_vfs_reset();
    snprintf(f->vfs, sizeof(f->vfs), FAULTY_VFS_NAME);
#endif
    f->o.frame_max_bytes = 4096;
    f->o.ring_bytes = 65536;
    f->o.history_checkpoint_ms = 20;
    fx_open(f);
    fx_entities(f);
    fx_put(f, "scene", scene);
    fx_start(f);
    probe_mode(PROBE_REPLY);
}

static void reopen(struct fx *f)
{
    fx_close(f);
    fx_open(f);
    if (!fx_has_sqlite()) {
        fx_entities(f); /* the memory store forgot them; in the same order they get the same ids */
    }
    fx_start(f);
}

/* Each report is answered by a command before the next one is given. */
static void fire(int n)
{
    for (int i = 0; i < n; i++) {
        char text[60];
        snprintf(text, sizeof(text), "{\"temperature\":%d}", 31 + i);
        size_t before = probe_sent_count();
        ck_assert_int_eq(give("t1", text, (uint64_t) (TICKET_AT + i)), 0);
        ck_assert_msg(probe_wait_sent(before + 1), "command %d did not leave", i);
    }
}

/* Until receive() says later because the buffer of the log is full. Letters are kept whole, so they
 * fill it faster than values. How many were taken. */
static int fill(struct fx *f, int first_ticket)
{
    char text[3000];
    int n = 0;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int turn = 0; turn < 1000000 && first_ticket + n < PROBE_TICKETS; turn++) {
        int rc = give("t2", text, (uint64_t) (first_ticket + n));
        n += rc == 0;
        if (rc == 0) {
            continue;
        }
        ck_assert_msg(rc == TPC_EAGAIN, "%s", tpc_error_name(rc));
        if (fx_metric(f, "tpc_core_append_waits_total") > 0) {
            return n;
        }
        sched_yield();
    }
    ck_abort_msg("%d frames of 3,000 bytes fit a buffer of 1 MiB", n);
    return n;
}

START_TEST(commands_of_scenes_leave_while_the_disk_hangs)
{
    struct fx f;
    open_all(&f);
    fire(3);
    ck_assert(probe_wait_settled(3));
    close_latch(&f);
    fire(COMMANDS);
    ck_assert_uint_eq(probe_settled_count(), 3); /* nothing is acknowledged that is not written */
    ck_assert_double_ge(fx_metric(&f, "tpc_log_pending_bytes"), COMMANDS);
    open_latch(&f);
    ck_assert(probe_wait_settled(3 + COMMANDS));
    ck_assert_uint_eq(probe_sent_count(), 3 + COMMANDS);
    reopen(&f);
    fx_fini(&f);
}
END_TEST

START_TEST(a_hanging_disk_says_later_once_its_buffer_is_full)
{
    struct fx f;
    open_all(&f);
    close_latch(&f);
    fire(20);
    int n = fill(&f, 100);
    ck_assert_int_gt(n, 300);
    ck_assert_double_ge(fx_metric(&f, "tpc_log_pending_bytes"), 900000);
    ck_assert_double_ge(fx_metric(&f, "tpc_core_receive_later_total"), 1);
    ck_assert_uint_eq(probe_settled_count(), 0);
    open_latch(&f);
    ck_assert_msg(probe_wait_settled((size_t) n + 20), "%zu of %d are settled",
                  probe_settled_count(), n + 20);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(probe_settled_error((uint64_t) (100 + i)), 0);
    }
    fx_still_works(&f);
    fx_fini(&f);
}
END_TEST

/* The edge may be gone before its tickets are settled: what it was not told it sends again. */
START_TEST(a_stop_after_a_hanging_disk_loses_nothing)
{
    struct fx f;
    open_all(&f);
    close_latch(&f);
    fire(10);
    open_latch(&f);
    reopen(&f);
    ck_assert_uint_le(probe_settled_count(), 10);
    ck_assert_double_eq(fx_latest(&f, "t1", "temperature"), 40);
    fx_fini(&f);
}
END_TEST

#ifdef FX_WITH_SQLITE
static void *put_scene(void *user)
{
    fx_put(user, "scene", scene);
    return NULL;
}

/* Whoever looks why nothing moves must get an answer. */
START_TEST(metrics_are_told_while_a_change_hangs_in_the_store)
{
    struct fx f;
    open_all(&f);
    fire(3);
    ck_assert(probe_wait_settled(3));
    double before = fx_metric(&f, "tpc_audit_rows");
    faulty_vfs_latch();
    pthread_t putting;
    ck_assert_int_eq(pthread_create(&putting, NULL, put_scene, &f), 0);
    faulty_vfs_wait_latched();
    ck_assert_double_ge(fx_metric(&f, "tpc_audit_rows"), before);
    faulty_vfs_unlatch();
    pthread_join(putting, NULL);
    ck_assert_double_gt(fx_metric(&f, "tpc_audit_rows"), before);
    fx_fini(&f);
}
END_TEST
#endif

Suite *latch_suite(void)
{
    Suite *s = suite_create("latch");
    TCase *t = tcase_create("latch");
    tcase_add_test(t, commands_of_scenes_leave_while_the_disk_hangs);
    tcase_add_test(t, a_hanging_disk_says_later_once_its_buffer_is_full);
    tcase_add_test(t, a_stop_after_a_hanging_disk_loses_nothing);
#ifdef FX_WITH_SQLITE
    tcase_add_test(t, metrics_are_told_while_a_change_hangs_in_the_store);
#endif
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
