/*
 * kill -9 at seeded moments: what flush() acknowledged is there, in order, and nothing is torn.
 */
#include "bus_suites.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTITIONS = 3, KILLS = 20 };

/* What the child tells before it dies. */
struct shared {
    atomic_uint_fast64_t batches;
    atomic_uint_fast64_t acknowledged[PARTITIONS];
    atomic_uint_fast64_t committed;
    atomic_uint_fast64_t until; /* the child does not run far past its death */
};

static struct bus_fix fix;

struct writer {
    struct bus_fix *fix;
    struct shared *shared;
    unsigned seed;
};

static void write_for_ever(void *user)
{
    const struct writer *w = user;
    struct bus_fix *f = w->fix;
    struct shared *shared = w->shared;
    unsigned seed = w->seed;
    struct tpc_cursor_options o = { .size = sizeof(o),
                                    .cursor_class = TPC_CURSOR_HOLD,
                                    .name = TPC_STR("history") };
    uint64_t sequence, first, end[PARTITIONS];
    uint32_t cursor, p;

    if (bus_open(f) != 0 || f->ops->cursor_open(f->self, &o, NULL, &cursor) != 0) {
        _exit(3);
    }
    for (;;) {
        uint32_t i;

        for (i = 0; i < 1 + seed % 3; i++) {
            seed = seed * 1103515245U + 12345U;
            if (bus_put(f, seed / 65536 % PARTITIONS, 1 + seed / 4096 % 40, NULL) != 0) {
                _exit(4);
            }
            atomic_fetch_add(&shared->batches, 1);
            while (atomic_load(&shared->batches) > atomic_load(&shared->until) + 20) {
                sched_yield();
            }
        }
        for (p = 0; p < PARTITIONS; p++) {
            f->ops->range(f->self, p, &first, &end[p]);
        }
        if (f->ops->flush(f->self, 0, NULL, &sequence) != 0) {
            _exit(5);
        }
        for (p = 0; p < PARTITIONS; p++) {
            atomic_store(&shared->acknowledged[p], end[p]);
        }
        if (seed / 1024 % 8 == 0) {
            if (f->ops->commit(f->self, cursor, 0, end[0], TPC_FLUSH_SYNC) != 0) {
                _exit(6);
            }
            atomic_store(&shared->committed, end[0]);
        }
    }
}

static void check_after(struct bus_fix *f, const struct shared *shared)
{
    uint32_t p;

    tk_ok(bus_open(f));
    ck_assert_uint_eq(bus_info(f).bad_frames, 0);
    for (p = 0; p < PARTITIONS; p++) {
        struct bus_seen seen;
        uint64_t end = bus_read_all(f, p, 0, 256, 0, &seen);

        ck_assert_uint_ge(end, atomic_load(&shared->acknowledged[p]));
        ck_assert_uint_eq(seen.count, end);
        ck_assert_uint_eq(seen.jumps, 0);
    }
    ck_assert_uint_ge(bus_position(f, bus_cursor(f, "history", TPC_CURSOR_HOLD), 0),
                      atomic_load(&shared->committed));
    bus_close(f);
}

START_TEST(kill_nine_loses_nothing_that_was_acknowledged)
{
    struct bus_fix *f = &fix;
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const char *given = getenv("TK_SEED");
    unsigned seed = given != NULL ? (unsigned) strtoul(given, NULL, 10) : 20261120U;
    int kill_no, status;

    ck_assert(shared != MAP_FAILED);
    printf("log_crash: seed %u\n", seed);
    fflush(stdout);
    bus_prepare(f, &tpi_bus_file, PARTITIONS);
    bus_set(f, "segment_size", 128 << 10);
    bus_set(f, "cursor_interval", 0);
    for (kill_no = 0; kill_no < KILLS; kill_no++) {
        uint64_t until = atomic_load(&shared->batches) + 1 + seed / 65536 % 150;
        pid_t child;

        atomic_store(&shared->until, until);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            struct writer w = { f, shared, seed };

            tk_in_child(write_for_ever, &w);
        }
        while (atomic_load(&shared->batches) < until && waitpid(child, &status, WNOHANG) == 0) {
            sched_yield();
        }
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status));
        check_after(f, shared);
        seed = seed * 1103515245U + 12345U;
    }
    bus_done(f);
    munmap(shared, sizeof(*shared));
}
END_TEST

Suite *log_crash_suite(void)
{
    Suite *s = suite_create("log_crash");
    TCase *t = tcase_create("log_crash");

    tcase_set_timeout(t, 100);
    tcase_add_test(t, kill_nine_loses_nothing_that_was_acknowledged);
    suite_add_tcase(s, t);
    return s;
}
