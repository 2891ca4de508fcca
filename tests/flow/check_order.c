/* Order of each device, no loss and the limit of memory, with 0, 1, 2 and 4 workers. */
#include "suites.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { FEEDERS = 2, MESSAGES = 3000 };

static const char *const keys[] = { "t1", "t2", "fan1", "fan2" };

struct follower {
    pthread_mutex_t lock;
    int last[4];
    int count[4];
    bool in_order;
};

static int on_batch(void *user, const struct tpc_batch *batch)
{
    struct follower *w = user;
    pthread_mutex_lock(&w->lock);
    w->in_order &= batch->gap_to <= batch->gap_from;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        for (size_t k = 0; k < 4; k++) {
            if (m->kind == TPC_MSG_TELEMETRY && tpc_str_equal(m->device, tpc_str_from(keys[k]))) {
                int seq = (int) tpc_msg_point(m, 0)->value.as.i;
                w->in_order &= seq == w->last[k] + 1;
                w->last[k] = seq;
                w->count[k]++;
            }
        }
    }
    pthread_mutex_unlock(&w->lock);
    return 0;
}

struct feeder {
    struct fx *f;
    struct tpc_device *devices[2];
    pthread_t thread;
    int later;
};

static void on_done(void *user, int error)
{
    struct fx *f = user;
    pthread_mutex_lock(&f->lock);
    f->done++;
    f->failed += error != 0;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static int feed_one(struct fx *f, struct tpc_device *d, int seq)
{
    char text[40];
    int n = snprintf(text, sizeof(text), "{\"seq\":%d}", seq);
    struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = 1795176000000 + seq };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) n };
    return tpc_feed_frame(d, &frame, on_done, f);
}

static void *feed_all(void *user)
{
    struct feeder *x = user;
    for (int i = 0; i < MESSAGES; i++) {
        for (int k = 0; k < 2; k++) {
            while (feed_one(x->f, x->devices[k], i) == TPC_EAGAIN) {
                x->later++;
                if (x->f->o.workers == 0) {
                    (void) tpc_core_step(x->f->core, 0, NULL);
                } else {
                    sched_yield();
                }
            }
        }
    }
    return NULL;
}

static void feed_in_threads(struct fx *f, struct feeder *feeders)
{
    for (int i = 0; i < FEEDERS; i++) {
        feeders[i] = (struct feeder){ .f = f };
        feeders[i].devices[0] = fx_device(f, keys[2 * i]);
        feeders[i].devices[1] = fx_device(f, keys[2 * i + 1]);
    }
    for (int i = 0; i < FEEDERS; i++) {
        ck_assert_int_eq(pthread_create(&feeders[i].thread, NULL, feed_all, &feeders[i]), 0);
    }
    for (int i = 0; i < FEEDERS; i++) {
        pthread_join(feeders[i].thread, NULL);
    }
    f->fed = FEEDERS * 2 * MESSAGES;
}

static bool followed_all(struct follower *w)
{
    pthread_mutex_lock(&w->lock);
    bool all = true;
    for (int k = 0; k < 4; k++) {
        all &= w->last[k] == MESSAGES - 1;
    }
    pthread_mutex_unlock(&w->lock);
    return all;
}

/* The history follows the log on a thread of its own. */
static struct fx_rows wait_history(struct fx *f, const char *key)
{
    struct fx_rows r = fx_history(f, key, "seq");
    for (int i = 0; i < 10000 && r.count < MESSAGES && f->o.workers > 0; i++) {
        nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
        r = fx_history(f, key, "seq");
    }
    return r;
}

static void order_and_loss(uint32_t workers, uint32_t parts)
{
    struct fx f;
    struct feeder feeders[FEEDERS];
    struct follower w = { .lock = PTHREAD_MUTEX_INITIALIZER,
                          .last = { -1, -1, -1, -1 },
                          .in_order = true };
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    fx_init(&f, workers, parts);
    f.o.frame_max_bytes = 1024;
    f.o.ring_bytes = 32768; /* small: later is said often */
    fx_run(&f);
    o.flags = TPC_CONSUME_HOLD;
    o.name = TPC_STR("follow");
    o.filter = TPC_STR("main/up/#");
    fx_ok(tpc_consume(f.core, &o, on_batch, &w, &sub), "consume");
    feed_in_threads(&f, feeders);
    fx_settle(&f);
    ck_assert_uint_eq(f.failed, 0);
    for (int i = 0; i < 20000 && !followed_all(&w); i++) {
        (void) fx_step(&f);
        if (workers > 0) {
            nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
        }
    }
    ck_assert(followed_all(&w));
    tpc_unsubscribe(sub);
    ck_assert(w.in_order);
    for (int k = 0; k < 4; k++) {
        ck_assert_int_eq(w.count[k], MESSAGES);
        struct fx_rows r = wait_history(&f, keys[k]);
        ck_assert_msg(r.count == MESSAGES, "%zu in the history", r.count);
        ck_assert(r.growing && r.ordered);
        ck_assert_double_eq(fx_latest(&f, keys[k], "seq"), MESSAGES - 1);
    }
    fx_fini(&f);
}

START_TEST(order_is_kept_without_workers)
{
    order_and_loss(0, 0);
    order_and_loss(0, FX_FILE_LOG);
}
END_TEST

START_TEST(order_is_kept_with_one_worker)
{
    order_and_loss(1, 0);
    order_and_loss(1, FX_FILE_LOG);
}
END_TEST

START_TEST(order_is_kept_with_two_workers)
{
    order_and_loss(2, 0);
    order_and_loss(2, FX_FILE_LOG | (fx_has_sqlite() ? FX_SQLITE : 0));
}
END_TEST

START_TEST(order_is_kept_with_four_workers)
{
    order_and_loss(4, 0);
    order_and_loss(4, FX_FILE_LOG | (fx_has_sqlite() ? FX_SQLITE : 0));
}
END_TEST

/* One more device than there is memory for is refused; what is there goes on. */
START_TEST(the_limit_of_memory_is_honoured)
{
    struct fx f;
    fx_init(&f, 0, 0);
    f.o.memory_limit_bytes = 6 << 20;
    f.o.ring_bytes = 1 << 20;
    f.o.history_open_bytes = 1 << 20;
    fx_run(&f);
    int rc = 0;
    for (int i = 0; i < 200000 && rc == 0; i++) {
        char json[80];
        snprintf(json, sizeof(json), "{\"key\":\"more-%d\",\"product\":\"thermo\"}", i);
        rc = tpc_entity_put(f.core, NULL, "device", tpc_str_from(json), TPC_ANY_REV, NULL);
        if (i % 64 == 0) {
            (void) fx_step(&f);
        }
    }
    ck_assert_msg(rc == TPC_ENOMEM || rc == TPC_EAGAIN, "%s", tpc_error_name(rc));
    ck_assert_uint_le(f.e.alloc.live_bytes, (6 << 20) + 65536);
    ck_assert_double_ge(fx_metric(&f, "tpc_core_memory_bytes"), (6 << 20) / 16 * 15 / 100 * 95);
    tk_fails(TPC_EAGAIN, fx_feed(&f, "t1", "{\"seq\":1}"));
    ck_assert_double_ge(fx_metric(&f, "tpc_core_memory_tight_total"), 1);
    for (int i = 0; i < 3000; i++) {
        char key[40];
        snprintf(key, sizeof(key), "more-%d", i);
        rc = tpc_entity_delete(f.core, NULL, FX_NO_OPTIONS, "device", tpc_str_from(key),
                               TPC_ANY_REV);
        if (rc != 0) {
            break;
        }
        (void) fx_step(&f);
    }
    ck_assert_msg(fx_feed(&f, "t1", "{\"seq\":1}") == 0, "memory is free again: %s after %s",
                  tpc_error_last()->text, tpc_error_name(rc));
    fx_settle(&f);
    ck_assert_double_eq(fx_latest(&f, "t1", "seq"), 1);
    fx_fini(&f);
}
END_TEST

Suite *order_suite(void)
{
    Suite *s = suite_create("order");
    TCase *t = tcase_create("order");
    tcase_add_test(t, order_is_kept_without_workers);
    tcase_add_test(t, order_is_kept_with_one_worker);
    tcase_add_test(t, order_is_kept_with_two_workers);
    tcase_add_test(t, order_is_kept_with_four_workers);
    tcase_add_test(t, the_limit_of_memory_is_honoured);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
