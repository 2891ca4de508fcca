/*
 * memory_limit_bytes under a load that is larger than it: later is said, nothing that was taken is
 * lost, and the process stays as small as was asked for.
 */
#include "suites.h"

#include "crowd.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef FX_WITH_SQLITE

enum { DEVICES = 20000, EACH = 60 / FX_SLOWER, FEEDERS = 2, LIMIT_MIB = 64, PATIENCE_S = 120 };

/* Anonymous memory of this process in bytes: what was allocated, without files and shared maps. */
static size_t anonymous_bytes(void)
{
    char line[200];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            kib = (size_t) strtoul(line + 8, NULL, 10);
        }
    }
    fclose(file);
    return kib * 1024;
}

struct load {
    struct crowd *c;
    pthread_t thread;
    uint32_t from;
    uint32_t to;
    size_t later;
    bool stuck;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static void *feed_all(void *user)
{
    struct load *x = user;
    double last = now_s();
    for (uint32_t i = 0; i < EACH && !x->stuck; i++) {
        for (uint32_t k = x->from; k < x->to && !x->stuck; k++) {
            while (crowd_feed(x->c, k) == TPC_EAGAIN && !x->stuck) {
                x->later++;
                x->stuck = now_s() - last > PATIENCE_S;
                nanosleep(&(struct timespec){ 0, 200000 }, NULL);
            }
            last = x->later % 64 == 0 ? now_s() : last;
        }
    }
    return NULL;
}

struct peak {
    atomic_bool stop;
    size_t bytes;
};

static void *watch(void *user)
{
    struct peak *p = user;
    while (!atomic_load(&p->stop)) {
        size_t now = anonymous_bytes();
        p->bytes = now > p->bytes ? now : p->bytes;
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    }
    return NULL;
}

static void feed_in_threads(struct crowd *c, struct load *loads)
{
    for (uint32_t i = 0; i < FEEDERS; i++) {
        loads[i] = (struct load){ .c = c,
                                  .from = c->count / FEEDERS * i,
                                  .to = c->count / FEEDERS * (i + 1) };
        ck_assert_int_eq(pthread_create(&loads[i].thread, NULL, feed_all, &loads[i]), 0);
    }
    for (uint32_t i = 0; i < FEEDERS; i++) {
        pthread_join(loads[i].thread, NULL);
        ck_assert_msg(!loads[i].stuck, "later was said for %d s", PATIENCE_S);
    }
}

static void full_load(void *user)
{
    static struct crowd c;
    struct fx *f = user;
    struct load loads[FEEDERS];
    struct peak peak = { .stop = false };
    pthread_t watcher;
    size_t base = anonymous_bytes();
    fx_open(f);
    crowd_put(f, DEVICES);
    fx_start(f);
    struct crowd_book *book = crowd_book_make(DEVICES);
    crowd_open(&c, f, DEVICES, book);
    double begun = fx_metric(f, "tpc_core_memory_bytes");
    ck_assert_int_eq(pthread_create(&watcher, NULL, watch, &peak), 0);
    double start = now_s();
    feed_in_threads(&c, loads);
    double fed = now_s();
    ck_assert_uint_eq(crowd_settle(&c), 0);
    size_t stored = crowd_check(&c);
    atomic_store(&peak.stop, true);
    pthread_join(watcher, NULL);
    ck_assert_uint_eq(stored, (size_t) DEVICES * EACH);
    double most = fx_metric(f, "tpc_core_memory_peak_bytes");
    printf("memory: limit %d MiB; counted at first %.1f MiB, at most %.1f MiB, process %.1f MiB = "
           "%.2f of the limit\n",
           LIMIT_MIB, begun / 1048576, most / 1048576, (double) (peak.bytes - base) / 1048576,
           (double) (peak.bytes - base) / 1048576 / LIMIT_MIB);
    printf("memory: %zu messages in %.1f s, later %zu times, for memory %.0f times, %.0f "
           "allocations refused, %.0f provisional chunks\n",
           stored, fed - start, loads[0].later + loads[1].later,
           fx_metric(f, "tpc_core_memory_tight_total"),
           fx_metric(f, "tpc_core_memory_refused_total"),
           fx_metric(f, "tpc_history_provisional_total"));
    ck_assert_double_le(most, LIMIT_MIB * 1048576.0);
    crowd_close(&c);
    fx_close(f);
}

/* One message of each device in turn, until nothing is taken any more. */
static void feed_until_full(struct crowd *c, uint32_t *turn)
{
    int refused = 0;
    while (refused < 300) {
        int rc = crowd_feed(c, *turn);
        ck_assert_msg(rc == 0 || rc == TPC_EAGAIN, "%s", tpc_error_name(rc));
        if (rc == 0) {
            *turn = (*turn + 1) % c->count;
            refused = 0;
        } else {
            nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
            refused++;
        }
    }
}

/* The log's disk stands still: what is pending cannot leave memory. */
static void full_memory(void *user)
{
    static struct crowd c;
    struct fx *f = user;
    uint32_t turn = 0;
    double limit = (double) f->o.memory_limit_bytes;
    fx_open(f);
    crowd_put(f, DEVICES);
    fx_start(f);
    struct crowd_book *book = crowd_book_make(DEVICES);
    crowd_open(&c, f, DEVICES, book);
    tk_files_latch(&f->e.files, TK_FILE_WRITE);
    feed_until_full(&c, &turn);
    double used = fx_metric(f, "tpc_core_memory_bytes");
    ck_assert_double_ge(used, limit / 2);
    ck_assert_double_gt(fx_metric(f, "tpc_core_memory_refused_total") +
                            fx_metric(f, "tpc_core_memory_tight_total"),
                        0);
    tk_files_unlatch(&f->e.files, TK_FILE_WRITE);
    double start = now_s();
    for (uint32_t i = 0; i < 5 * DEVICES; i++) {
        while (crowd_feed(&c, turn) == TPC_EAGAIN) {
            nanosleep(&(struct timespec){ 0, 200000 }, NULL);
            ck_assert_msg(now_s() - start < PATIENCE_S, "it does not recover");
        }
        turn = (turn + 1) % c.count;
    }
    ck_assert_uint_eq(crowd_settle(&c), 0);
    size_t stored = crowd_check(&c);
    printf("memory: %zu messages over a time of %.0f bytes; %.0f allocations refused\n", stored,
           used, fx_metric(f, "tpc_core_memory_refused_total"));
    ck_assert_double_le(fx_metric(f, "tpc_core_memory_peak_bytes"), limit);
    crowd_close(&c);
    fx_close(f);
}

START_TEST(memory_that_is_full_refuses_and_recovers)
{
    struct fx f;
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE);
    f.o.allocator = NULL;
    f.o.ring_bytes = 1 << 20;
    f.o.memory_limit_bytes = (uint64_t) 22 << 20;
    f.o.history_open_bytes = (uint64_t) 256 << 20;
    ck_assert_int_eq(fx_child(full_memory, &f), 0);
    fx_fini(&f);
}
END_TEST

START_TEST(a_full_load_stays_within_the_limit_of_memory)
{
    struct fx f;
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE);
    f.o.allocator = NULL;
    f.o.memory_limit_bytes = (uint64_t) LIMIT_MIB << 20;
    ck_assert_int_eq(fx_child(full_load, &f), 0);
    fx_fini(&f);
}
END_TEST

Suite *memory_suite(void)
{
    Suite *s = suite_create("memory");
    TCase *t = tcase_create("memory");
    tcase_add_test(t, a_full_load_stays_within_the_limit_of_memory);
    tcase_add_test(t, memory_that_is_full_refuses_and_recovers);
    tcase_set_timeout(t, 300);
    suite_add_tcase(s, t);
    return s;
}

#else

START_TEST(loads)
{
    tk_skip("full loads within a limit of memory", "the module sqlite is not built");
}
END_TEST

Suite *memory_suite(void)
{
    Suite *s = suite_create("memory");
    TCase *t = tcase_create("memory");
    tcase_add_test(t, loads);
    suite_add_tcase(s, t);
    return s;
}

#endif
