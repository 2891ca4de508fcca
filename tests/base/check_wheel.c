#include <stdlib.h>
#include <string.h>

#include "base/wheel.h"
#include "base_suites.h"

enum { TIMERS = 300 };

struct item {
    struct tpi_timer timer;
    struct test *test;
    uint64_t order; /* of adding */
    bool in_model;
    uint64_t again_ms; /* adds itself again after this; 0 = not */
};

struct test {
    struct tpi_wheel wheel;
    struct item items[TIMERS];
    uint64_t orders;
    uint64_t last_at, last_order;
    size_t fired;
};

static void fired(void *user, uint64_t now_ms)
{
    struct item *i = user;
    struct test *t = i->test;
    ck_assert(i->in_model);
    ck_assert(!tpi_timer_pending(&i->timer));
    ck_assert_uint_le(i->timer.at_ms, now_ms);
    ck_assert(i->timer.at_ms > t->last_at ||
              (i->timer.at_ms == t->last_at && i->order > t->last_order));
    t->last_at = i->timer.at_ms;
    t->last_order = i->order;
    i->in_model = false;
    t->fired++;
}

static void add(struct test *t, struct item *i, uint64_t at_ms)
{
    i->order = ++t->orders;
    i->in_model = true;
    tpi_wheel_add(&t->wheel, &i->timer, at_ms);
    ck_assert_uint_eq(i->timer.at_ms, at_ms);
}

static struct test *make(uint64_t now_ms)
{
    struct test *t = calloc(1, sizeof(*t));
    tpi_wheel_init(&t->wheel, now_ms);
    for (size_t i = 0; i < TIMERS; i++) {
        t->items[i].timer.fn = fired;
        t->items[i].timer.user = &t->items[i];
        t->items[i].test = t;
    }
    return t;
}

/* What the model says is due, and when the next is. */
static size_t due(const struct test *t, uint64_t now_ms, uint64_t *ret_next)
{
    size_t count = 0;
    *ret_next = UINT64_MAX;
    for (size_t i = 0; i < TIMERS; i++) {
        if (t->items[i].in_model) {
            uint64_t at = t->items[i].timer.at_ms;
            count += at <= now_ms;
            *ret_next = at < *ret_next ? at : *ret_next;
        }
    }
    return count;
}

static uint64_t random_delay(unsigned int *seed)
{
    static const uint64_t scales[] = { 4, 64, 100, 5000, 100000, 5000000, 400000000 };
    return 1 + (uint64_t) rand_r(seed) % scales[(size_t) rand_r(seed) % 7];
}

START_TEST(wheel_agrees_with_a_plain_list_over_random_steps)
{
    static const uint64_t starts[] = {
        0, 63, 4095, UINT64_C(1000000), UINT64_C(1795176000000), (UINT64_C(1) << 42) - 5
    };
    for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
        struct test *t = make(starts[s]);
        unsigned int seed = 5 + (unsigned int) s;
        uint64_t now = starts[s], next;
        for (size_t step = 0; step < 20000; step++) {
            struct item *i = &t->items[(size_t) rand_r(&seed) % TIMERS];
            int what = rand_r(&seed) % 10;
            if (what < 5) {
                add(t, i, now + random_delay(&seed));
            } else if (what < 6) {
                tpi_wheel_cancel(&t->wheel, &i->timer);
                i->in_model = false;
            } else {
                now += random_delay(&seed);
                size_t expected = due(t, now, &next);
                t->fired = 0;
                ck_assert_uint_eq(tpi_wheel_run(&t->wheel, now), expected);
                ck_assert_uint_eq(t->fired, expected);
            }
            due(t, now, &next);
            uint64_t wait = tpi_wheel_next_ms(&t->wheel, now);
            if (next == UINT64_MAX) {
                ck_assert_uint_eq(wait, TPI_WHEEL_NONE);
            } else {
                ck_assert_uint_le(wait, next - now);
                ck_assert(wait > 0 || next == now);
            }
        }
        free(t);
    }
}
END_TEST

START_TEST(next_is_exact_for_few_timers)
{
    struct test *t = make(1000);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 1000), TPI_WHEEL_NONE);
    add(t, &t->items[0], 1000 + 86400000);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 1000), 86400000);
    add(t, &t->items[1], 1005);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 1000), 5);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 1007), 0);
    tpi_wheel_cancel(&t->wheel, &t->items[1].timer);
    tpi_wheel_cancel(&t->wheel, &t->items[1].timer);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 1000), 86400000);
    ck_assert_uint_eq(tpi_wheel_count(&t->wheel), 1);
    add(t, &t->items[2], 1000);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 1000), 0);
    free(t);
}
END_TEST

START_TEST(time_jumps_by_days_and_not_back)
{
    struct test *t = make(0);
    for (size_t i = 0; i < TIMERS; i++) {
        add(t, &t->items[i], (uint64_t) (i + 1) * 86400000);
    }
    ck_assert_uint_eq(tpi_wheel_run(&t->wheel, UINT64_C(86400000) * 100), 100);
    ck_assert_uint_eq(tpi_wheel_run(&t->wheel, 5), 0);
    ck_assert_uint_eq(tpi_wheel_run(&t->wheel, UINT64_C(86400000) * 1000), TIMERS - 100);
    free(t);
}
END_TEST

START_TEST(far_times_are_brought_down_and_do_not_fire_early)
{
    struct tpi_wheel w;
    struct item i = { .timer = { .fn = fired } };
    tpi_wheel_init(&w, 77);
    tpi_wheel_add(&w, &i.timer, UINT64_MAX);
    ck_assert_uint_eq(tpi_wheel_run(&w, UINT64_C(86400000) * 365 * 1000), 0);
    ck_assert_uint_eq(tpi_wheel_next_ms(&w, w.now_ms), TPI_WHEEL_NONE - 1);
    tpi_wheel_cancel(&w, &i.timer);
}
END_TEST

static void fired_and_again(void *user, uint64_t now_ms)
{
    struct item *i = user;
    i->test->fired++;
    tpi_wheel_add(&i->test->wheel, &i->timer,
                  i->again_ms != 0 ? i->timer.at_ms + i->again_ms : now_ms);
}

START_TEST(timer_adds_itself_again_in_its_callback)
{
    struct test *t = make(0);
    struct item *i = &t->items[0];
    i->timer.fn = fired_and_again;
    i->again_ms = 10;
    tpi_wheel_add(&t->wheel, &i->timer, 10);
    ck_assert_uint_eq(tpi_wheel_run(&t->wheel, 95), 9);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 95), 5);
    /* Due at once: once in each run, without hanging it. */
    i->again_ms = 0;
    ck_assert_uint_eq(tpi_wheel_run(&t->wheel, 100), 1);
    ck_assert_uint_eq(tpi_wheel_run(&t->wheel, 100), 1);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 100), 0);
    free(t);
}
END_TEST

static void cancel_others(void *user, uint64_t now_ms)
{
    struct item *i = user;
    (void) now_ms;
    i->test->fired++;
    for (size_t k = 0; k < TIMERS; k++) {
        tpi_wheel_cancel(&i->test->wheel, &i->test->items[k].timer);
    }
}

START_TEST(callback_cancels_timers_that_are_due_with_it)
{
    struct test *t = make(0);
    for (size_t i = 0; i < TIMERS; i++) {
        t->items[i].timer.fn = cancel_others;
        tpi_wheel_add(&t->wheel, &t->items[i].timer, i < 100 ? 50 : 50 + i * 1000);
    }
    ck_assert_uint_eq(tpi_wheel_run(&t->wheel, 1000000), 1);
    ck_assert_uint_eq(t->fired, 1);
    ck_assert_uint_eq(tpi_wheel_count(&t->wheel), 0);
    ck_assert_uint_eq(tpi_wheel_next_ms(&t->wheel, 1000000), TPI_WHEEL_NONE);
    free(t);
}
END_TEST

static void free_itself(void *user, uint64_t now_ms)
{
    (void) now_ms;
    free(user);
}

START_TEST(callback_frees_its_timer)
{
    struct tpi_wheel w;
    tpi_wheel_init(&w, 0);
    for (uint64_t i = 0; i < 10; i++) {
        struct tpi_timer *t = calloc(1, sizeof(*t));
        t->fn = free_itself;
        t->user = t;
        tpi_wheel_add(&w, t, 100);
    }
    ck_assert_uint_eq(tpi_wheel_run(&w, 100), 10);
    ck_assert_uint_eq(tpi_wheel_count(&w), 0);
}
END_TEST

Suite *wheel_suite(void)
{
    Suite *s = suite_create("wheel");
    TCase *c = tcase_create("wheel");
    tcase_add_test(c, wheel_agrees_with_a_plain_list_over_random_steps);
    tcase_add_test(c, next_is_exact_for_few_timers);
    tcase_add_test(c, time_jumps_by_days_and_not_back);
    tcase_add_test(c, far_times_are_brought_down_and_do_not_fire_early);
    tcase_add_test(c, timer_adds_itself_again_in_its_callback);
    tcase_add_test(c, callback_cancels_timers_that_are_due_with_it);
    tcase_add_test(c, callback_frees_its_timer);
    suite_add_tcase(s, c);
    return s;
}
