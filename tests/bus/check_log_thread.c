/*
 * Four threads append, one flushes, two read, on both engines: for ThreadSanitizer, and for the
 * order of what they see.
 */
#include "bus_suites.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { PARTITIONS = 4, APPENDERS = 4, READERS = 2, BATCHES = 150, BATCH = 16 };

struct traffic {
    struct bus_fix *f;
    atomic_uint appending;
    atomic_uint refused;
};

struct actor {
    struct traffic *t;
    uint32_t number;
    uint64_t read[PARTITIONS];
};

static struct bus_fix fix;

static void *append_some(void *user)
{
    struct actor *a = user;
    struct bus_fix *f = a->t->f;
    uint32_t i;

    for (i = 0; i < BATCHES;) {
        int rc = bus_put(f, a->number, BATCH, NULL);

        if (rc == 0) {
            i++;
        } else {
            atomic_fetch_add(&a->t->refused, 1);
            sched_yield();
        }
    }
    atomic_fetch_sub(&a->t->appending, 1);
    return NULL;
}

static void *flush_on(void *user)
{
    struct actor *a = user;
    struct bus_fix *f = a->t->f;
    uint64_t sequence = 0;

    while (atomic_load(&a->t->appending) > 0) {
        if (f->ops->flush(f->self, 0, NULL, &sequence) != 0) {
            break;
        }
        sched_yield();
    }
    f->ops->flush(f->self, TPC_FLUSH_SYNC, NULL, &sequence);
    return NULL;
}

static void *read_on(void *user)
{
    struct actor *a = user;
    struct bus_fix *f = a->t->f;
    struct bus_seen seen[PARTITIONS];
    uint32_t p;
    uint64_t left;

    memset(seen, 0, sizeof(seen));
    do {
        left = 0;
        for (p = 0; p < PARTITIONS; p++) {
            seen[p].partition = p;
            if (f->ops->read(f->self, p, a->read[p], 100, a->number == 0 ? 0 : TPC_READ_FLUSHED,
                             bus_check_record, &seen[p], &a->read[p]) != 0) {
                return NULL;
            }
            left += BATCHES * BATCH - a->read[p];
        }
        if (left > 0) {
            sched_yield();
        }
    } while (left > 0);
    return NULL;
}

static void run(const struct tpc_bus_ops *ops)
{
    struct bus_fix *f = &fix;
    struct traffic t = { .f = f };
    struct actor appenders[APPENDERS], readers[READERS], flusher = { .t = &t };
    pthread_t threads[APPENDERS + READERS + 1];
    uint32_t i, p;

    bus_prepare(f, ops, PARTITIONS);
    bus_set(f, "segment_size", 100000);
    bus_set(f, "pending", 64 << 10);
    bus_set(f, "cache", 1);
    tk_ok(bus_open(f));
    atomic_store(&t.appending, APPENDERS);
    for (i = 0; i < APPENDERS; i++) {
        appenders[i] = (struct actor){ .t = &t, .number = i };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, append_some, &appenders[i]), 0);
    }
    for (i = 0; i < READERS; i++) {
        readers[i] = (struct actor){ .t = &t, .number = i };
        ck_assert_int_eq(pthread_create(&threads[APPENDERS + i], NULL, read_on, &readers[i]), 0);
    }
    ck_assert_int_eq(pthread_create(&threads[APPENDERS + READERS], NULL, flush_on, &flusher), 0);
    for (i = 0; i < APPENDERS + READERS + 1; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    for (i = 0; i < READERS; i++) {
        for (p = 0; p < PARTITIONS; p++) {
            ck_assert_uint_eq(readers[i].read[p], BATCHES * BATCH);
        }
    }
    ck_assert_uint_eq(bus_info(f).flushed_sequence, APPENDERS * BATCHES * BATCH);
    bus_close(f);
    bus_done(f);
}

START_TEST(many_threads_agree_on_the_order_in_files)
{
    run(&tpi_bus_file);
}
END_TEST

START_TEST(many_threads_agree_on_the_order_in_memory)
{
    run(&tpi_bus_memory);
}
END_TEST

Suite *log_thread_suite(void)
{
    Suite *s = suite_create("log_thread");
    TCase *t = tcase_create("log_thread");

    tcase_set_timeout(t, 100);
    tcase_add_test(t, many_threads_agree_on_the_order_in_files);
    tcase_add_test(t, many_threads_agree_on_the_order_in_memory);
    suite_add_tcase(s, t);
    return s;
}
