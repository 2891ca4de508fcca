/* Several batches on their way: order, failures, changes, rates, limits. */
#include "post.h"

#include <stdio.h>
#include <string.h>

START_TEST(several_batches_are_on_their_way_but_none_of_the_same_partition)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','window':4,'batch':{'count':10}}"));
    post_start(p);
    box.hold = true;
    for (int64_t n = 1; n <= 100; n++) {
        for (int d = 1; d <= 8; d++) {
            char key[4];
            snprintf(key, sizeof(key), "t%d", d);
            post_say(p, key, n);
        }
    }
    post_run(p);
    ck_assert_uint_ge(box.held_count, 3);
    ck_assert_uint_le(box.held_count, 4);
    ck_assert_uint_eq(post_info(p, "out").in_flight, box.held_count);
    ck_assert_uint_gt(post_info(p, "out").held_bytes, 0);
    while (box.held_count > 0) {
        box_answer_one(box.held_count - 1, 0); /* the last first */
        post_run(p);
    }
    ck_assert_uint_eq(box.count, 800);
    ck_assert_uint_eq(box.shared, 0);
    int64_t last[9] = { 0 };
    for (uint32_t i = 0; i < box.count; i++) {
        ck_assert_int_eq(box.items[i].n, ++last[box.items[i].device[1] - '0']);
    }
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_eq(info.behind, 0);
    ck_assert_uint_eq(info.held_bytes, 0);
    ck_assert_uint_eq(info.in_flight, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(few_messages_go_in_one_batch_however_wide_the_window_is)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','window':16}"));
    post_start(p);
    box.hold = true;
    for (int d = 1; d <= 8; d++) {
        char key[4];
        snprintf(key, sizeof(key), "t%d", d);
        post_say(p, key, 1);
    }
    post_run(p);
    ck_assert_uint_eq(box.held_count, 1);
    ck_assert_uint_eq(box.last_count, 8);
    (void) box_answer(0);
    post_run(p);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(while_the_other_side_is_down_no_more_is_tried_and_success_wakes_the_rest)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','window':4,'batch':{'count':5},"
                   "'retry':{'min':'1s','max':'600s'}}"));
    post_start(p);
    box.hold = true;
    for (int64_t n = 1; n <= 50; n++) {
        for (int d = 1; d <= 8; d++) {
            char key[4];
            snprintf(key, sizeof(key), "t%d", d);
            post_say(p, key, n);
        }
    }
    post_run(p);
    uint32_t first = box.held_count;
    ck_assert_uint_ge(first, 3);
    (void) box_answer(TPC_EOFFLINE);
    for (int i = 0; i < 400; i++) { /* long enough for the pauses to grow */
        post_wait(p, 2000);
        ck_assert_uint_le(box.held_count, first);
        (void) box_answer(TPC_EOFFLINE);
    }
    box.hold = false;
    uint64_t due = tpi_forward_next_ms(p->forward);
    post_wait(p, due); /* one is tried, and it succeeds */
    for (int i = 0; i < 3; i++) {
        post_wait(p, 1000);
    }
    ck_assert_uint_eq(box.count, 400);
    ck_assert_uint_eq(post_info(p, "out").behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(change_waits_for_all_batches_that_are_on_their_way)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','window':4,'batch':{'count':5}}"));
    post_start(p);
    box.hold = true;
    for (int64_t n = 1; n <= 20; n++) {
        for (int d = 1; d <= 8; d++) {
            char key[4];
            snprintf(key, sizeof(key), "t%d", d);
            post_say(p, key, n);
        }
    }
    post_run(p);
    uint32_t held = box.held_count;
    ck_assert_uint_ge(held, 3);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'count':5}}"));
    while (held > 0) {
        box_answer_one(0, held % 2 == 0 ? 0 : TPC_EOFFLINE);
        post_run(p);
        held--;
        ck_assert_uint_eq(box.held_count, held > 0 ? held : 1); /* nothing new before all ended */
        ck_assert(held == 0 || tpi_forward_next_ms(p->forward) > 0);
    }
    while (box.held_count > 0) {
        (void) box_answer(0);
        post_run(p);
    }
    ck_assert_uint_eq(box.count, 160);
    post_stop(p);
    post_free(p);
}
END_TEST

/* ---- whatever happens ---- */

/* All of it is on one thread: threads have nothing to add. */
#ifdef __SANITIZE_THREAD__
enum { STEPS = 300, SEEDS = 1 };
#else
enum { STEPS = 2000, SEEDS = 3 };
#endif

struct luck {
    uint64_t x;
};

static uint32_t draw(struct luck *l, uint32_t n)
{
    l->x = l->x * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t) (l->x >> 33) % n;
}

struct course {
    struct post *p;
    struct luck luck;
    int64_t said[9];
    int window;
    const char *keep; /* member of the target's document */
    bool steady;      /* neither restarts nor changes */
    uint64_t counted; /* passed over, thinned, by stages that are gone */
};

static void put_target(struct course *c)
{
    char json[256];
    snprintf(json, sizeof(json),
             "{'key':'out','sink':'box','window':%d,'batch':{'count':%u,'wait':%u},"
             "'retry':{'min':'1s','max':'4s'}%s%s}",
             c->window, 1 + draw(&c->luck, 40), draw(&c->luck, 2) * 500,
             draw(&c->luck, 2) == 0 ? ",'transform':{'set':{'twice':'n * 2'}}" : "", c->keep);
    tk_ok(post_put(c->p, "forward", json));
}

static uint64_t not_sent(struct course *c)
{
    struct tpc_forward_info info = post_info(c->p, "out");
    return info.gap_records + info.newest_records + info.thinned;
}

static void happen(struct course *c)
{
    static const int codes[] = { 0, 0, 0, 0, TPC_EOFFLINE, TPC_ETIMEOUT, TPC_EDENIED, TPC_EMODEL };
    struct post *p = c->p;
    uint32_t what = draw(&c->luck, 1000);
    if (what < 400) {
        int d = 1 + (int) draw(&c->luck, 8);
        char key[4];
        snprintf(key, sizeof(key), "t%d", d);
        for (uint32_t n = 1 + draw(&c->luck, 20); n > 0; n--) {
            post_say(p, key, ++c->said[d]);
        }
    } else if (what < 900 && box.held_count > 0) {
        /* Refused for no reason only if there is a bad one in it: box.c says that itself. */
        int code = codes[draw(&c->luck, 7)];
        box_answer_one(draw(&c->luck, box.held_count), code);
    } else if (what < 985) {
        tk_clock_advance(&p->env.clock, draw(&c->luck, 3000));
    } else if (what < 990 && !c->steady) {
        put_target(c);
    } else if (what < 993 && !c->steady) {
        post_stop(p);
        c->counted += not_sent(c);
        tk_ok(post_restart(p));
        post_start(p);
    } else {
        p->letter_code = p->letter_code == 0 ? TPC_EAGAIN : 0;
    }
    post_run(p);
}

START_TEST(nothing_is_lost_doubled_or_out_of_order_whatever_happens)
{
    static const int windows[] = { 1, 4, 16 };
    for (int w = 0; w < 3; w++) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct course c = {
                .p = post_new(NULL), .luck = { seed }, .window = windows[w], .keep = ""
            };
            put_target(&c);
            post_start(c.p);
            box.hold = true;
            box.poison_every = 61;
            for (int i = 0; i < STEPS; i++) {
                happen(&c);
            }
            c.p->letter_code = 0;
            box.hold = false;
            (void) box_answer(0);
            for (int i = 0; i < 10; i++) {
                post_wait(c.p, 4000);
            }
            int64_t last[9] = { 0 };
            uint32_t bad = 0;
            for (uint32_t i = 0; i < box.count; i++) {
                int d = box.items[i].device[1] - '0';
                last[d] += (last[d] + 1) % 61 == 0 ? 2 : 1;
                ck_assert_int_eq(box.items[i].n, last[d]);
            }
            for (int d = 1; d <= 8; d++) {
                bad += (uint32_t) (c.said[d] / 61);
                ck_assert_int_ge(last[d] + 1, c.said[d]);
                ck_assert(last[d] == c.said[d] || c.said[d] % 61 == 0);
            }
            ck_assert_uint_eq(c.p->letters, bad);
            ck_assert_uint_eq(box.shared, 0);
            ck_assert_uint_le(box.most_held, (uint32_t) c.window);
            ck_assert(c.window == 1 || box.most_held > 1);
            ck_assert_uint_eq(post_info(c.p, "out").behind, 0);
            ck_assert_uint_eq(post_info(c.p, "out").held_bytes, 0);
            post_stop(c.p);
            post_free(c.p);
        }
    }
}
END_TEST

/* Every record is delivered, a dead letter, or counted as one that was not. */
static void check_account(struct course *c)
{
    int64_t last[9] = { 0 };
    uint64_t said = 0;
    for (uint32_t i = 0; i < box.count; i++) {
        int d = box.items[i].device[1] - '0';
        ck_assert_int_gt(box.items[i].n, last[d]);
        last[d] = box.items[i].n;
    }
    for (int d = 1; d <= 8; d++) {
        said += (uint64_t) c->said[d];
    }
    /* Letters lie in the log, too; one may be among what was passed over. */
    uint64_t accounted = box.count + c->p->letters + c->counted + not_sent(c);
    ck_assert_uint_ge(accounted, said);
    ck_assert_uint_le(accounted, said + c->p->letters);
    ck_assert_uint_eq(box.shared, 0);
    ck_assert_uint_eq(post_info(c->p, "out").behind, 0);
}

START_TEST(what_goes_when_too_much_waits_is_counted_and_the_order_is_kept)
{
    static const struct {
        const char *keep;
        bool steady;
    } keeps[] = { { ",'keep':{'records':150}", false },
                  { ",'keep':{'records':150,'drop':'newest'}", false },
                  { ",'keep':{'records':150,'drop':'thin'}", true } };
    for (int k = 0; k < 3; k++) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct course c = { .p = post_new(NULL),
                                .luck = { seed },
                                .window = 4,
                                .keep = keeps[k].keep,
                                .steady = keeps[k].steady };
            put_target(&c);
            post_start(c.p);
            box.hold = true;
            box.poison_every = 61;
            for (int i = 0; i < STEPS; i++) {
                happen(&c);
            }
            c.p->letter_code = 0;
            box.hold = false;
            (void) box_answer(0);
            for (int i = 0; i < 10; i++) {
                post_wait(c.p, 4000);
            }
            ck_assert(STEPS < 1000 || c.counted + not_sent(&c) > 100);
            check_account(&c);
            post_stop(c.p);
            post_free(c.p);
        }
    }
}
END_TEST

START_TEST(rate_of_values_is_kept)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','limit_points':10,"
                   "'transform':{'set':{'a':'1','b':'2','c':'3','d':'4'}}}"));
    post_start(p);
    post_count(p, 1, 40); /* five values each */
    post_run(p);
    ck_assert_uint_eq(box.count, 2);
    for (int i = 0; i < 50; i++) {
        post_wait(p, 100);
    }
    ck_assert_uint_ge(box.count, 10);
    ck_assert_uint_le(box.count, 12);
    /* A message with more values than may go in a second goes all the same, and is waited for. */
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','limit_points':2,"
                   "'transform':{'set':{'a':'1','b':'2','c':'3','d':'4'}}}"));
    uint32_t before = box.count;
    post_run(p);
    ck_assert_uint_eq(box.count, before + 1);
    for (int i = 0; i < 50; i++) {
        post_wait(p, 100);
    }
    ck_assert_uint_ge(box.count, before + 2);
    ck_assert_uint_le(box.count, before + 4);
    post_stop(p);
    post_free(p);
}
END_TEST

Suite *window_suite(void)
{
    Suite *s = suite_create("window");
    TCase *c = tcase_create("window");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, several_batches_are_on_their_way_but_none_of_the_same_partition);
    tcase_add_test(c, few_messages_go_in_one_batch_however_wide_the_window_is);
    tcase_add_test(c, while_the_other_side_is_down_no_more_is_tried_and_success_wakes_the_rest);
    tcase_add_test(c, change_waits_for_all_batches_that_are_on_their_way);
    tcase_add_test(c, nothing_is_lost_doubled_or_out_of_order_whatever_happens);
    tcase_add_test(c, what_goes_when_too_much_waits_is_counted_and_the_order_is_kept);
    tcase_add_test(c, rate_of_values_is_kept);
    suite_add_tcase(s, c);
    return s;
}
