/* What goes when more waits than may. */
#include "post.h"

#include <stdio.h>
#include <string.h>

static void go_offline(struct post *p)
{
    box.answer = TPC_EOFFLINE;
    post_run(p);
}

static void go_online(struct post *p)
{
    box.answer = 0;
    for (int i = 0; i < 3; i++) {
        post_wait(p, 60000);
    }
}

/* One record after the other, as they come: n of t1 from .. to. */
static void come(struct post *p, int64_t from, int64_t to)
{
    for (int64_t n = from; n <= to; n += 10) {
        post_count(p, n, n + 9 < to ? n + 9 : to);
        post_run(p);
    }
}

START_TEST(oldest_goes_by_number)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','batch':{'count':10},'keep':{'records':100}}"));
    post_start(p);
    go_offline(p);
    come(p, 1, 1000);
    go_online(p);
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_eq(box.count, 110); /* one batch was held */
    ck_assert_int_eq(box.items[9].n, 10);
    ck_assert_int_eq(box.items[10].n, 901);
    ck_assert_int_eq(box.items[109].n, 1000);
    ck_assert_uint_eq(info.gap_records, 890);
    ck_assert_uint_eq(info.newest_records, 0);
    ck_assert_uint_eq(box.gap, 890);
    ck_assert_uint_eq(info.behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(gap_is_told_also_if_what_follows_it_is_refused)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','batch':{'count':10},'keep':{'records':100}}"));
    post_start(p);
    go_offline(p);
    come(p, 1, 1000);
    box.poison[0] = 901;
    go_online(p);
    ck_assert_uint_eq(p->letters, 1);
    ck_assert_uint_eq(box.count, 109);
    ck_assert_uint_eq(box.gap, 890);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(what_comes_goes_and_what_waits_stays)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','window':4,'batch':{'count':10},"
                   "'keep':{'records':100,'drop':'newest'}}"));
    post_start(p);
    go_offline(p);
    come(p, 1, 1000);
    ck_assert_uint_eq(tk_env_logged(&p->env, "what comes is passed over"), 1);
    go_online(p);
    ck_assert_uint_eq(tk_env_logged(&p->env, "what comes waits again"), 1);
    come(p, 1001, 1050);
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_eq(info.gap_records, 0);
    ck_assert_uint_eq(info.newest_records, 1000 - (box.count - 50));
    ck_assert_uint_eq(box.gap, info.newest_records);
    ck_assert_uint_ge(box.count, 150);
    ck_assert_uint_le(box.count, 160); /* as coarse as turns are */
    for (uint32_t i = 0; i < box.count; i++) {
        ck_assert_int_eq(box.items[i].n, i < box.count - 50 ? i + 1 : 1001 + i - (box.count - 50));
    }
    ck_assert_uint_eq(info.behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(what_was_taken_after_a_pause_is_not_passed_over)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','batch':{'count':10},"
                   "'keep':{'records':100,'drop':'newest'}}"));
    post_start(p);
    box.hold = true;
    int64_t n = 0;
    for (int i = 0; i < 400; i++) { /* the limit is reached and left again, many times */
        for (int k = 0; k < 8; k++) {
            post_say(p, "t1", ++n);
        }
        post_run(p);
        if (i % 40 >= 20) {
            (void) box_answer(0);
            post_run(p);
            (void) box_answer(0);
            post_run(p);
        }
    }
    box.hold = false;
    (void) box_answer(0);
    post_run(p);
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_gt(info.newest_records, 100);
    ck_assert_uint_eq(info.newest_records + box.count, (uint64_t) n);
    ck_assert_uint_ge(tk_env_logged(&p->env, "what comes is passed over"), 3);
    for (uint32_t i = 1; i < box.count; i++) {
        ck_assert_int_gt(box.items[i].n, box.items[i - 1].n);
    }
    ck_assert_int_eq(box.items[box.count - 1].n, n);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(newest_after_a_restart_delivers_what_the_log_still_has)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','batch':{'count':10},"
                   "'keep':{'records':100,'drop':'newest'}}"));
    post_start(p);
    go_offline(p);
    come(p, 1, 500);
    post_stop(p);
    tk_ok(post_restart(p));
    post_start(p);
    post_run(p);
    come(p, 501, 700); /* still too much waits: these go */
    go_online(p);
    ck_assert_uint_eq(box.count, 500);
    for (uint32_t i = 0; i < box.count; i++) {
        ck_assert_int_eq(box.items[i].n, i + 1);
    }
    ck_assert_uint_eq(post_info(p, "out").newest_records, 200);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(nothing_is_passed_over_that_may_not_survive)
{
    static const char *const keeps[] = { "'records':100,'drop':'newest'", "'records':100" };
    for (int i = 0; i < 2; i++) {
        struct post *p = post_new(NULL);
        char json[160];
        snprintf(json, sizeof(json), "{'key':'out','sink':'box','batch':{'count':10},'keep':{%s}}",
                 keeps[i]);
        tk_ok(post_put(p, "forward", json));
        post_start(p);
        go_offline(p);
        come(p, 1, 150);
        p->unflushed = true;
        come(p, 151, 400);
        go_online(p);
        struct tpc_forward_info info = post_info(p, "out");
        ck_assert_uint_ge(info.behind, i == 0 ? 250 : 100);
        uint64_t passed = info.newest_records + info.gap_records;
        ck_assert_uint_le(passed, 150);
        p->unflushed = false;
        post_wait(p, 1);
        info = post_info(p, "out");
        ck_assert_uint_eq(info.behind, 0);
        ck_assert_uint_ge(info.newest_records + info.gap_records, 280);
        ck_assert_uint_eq(info.newest_records + info.gap_records + box.count, 400);
        post_stop(p);
        post_free(p);
    }
}
END_TEST

static const char thin_target[] = "{'key':'out','sink':'box','batch':{'count':10},"
                                  "'keep':{'records':400,'drop':'thin'}}";

/* Samples 1 .. to of two devices that take turns, an event with every 50th. */
static void samples(struct post *p, int64_t to)
{
    for (int64_t n = 1; n <= to; n++) {
        post_say(p, "t1", n);
        post_say(p, "t2", n);
        if (n % 50 == 0) {
            post_event(p, "t1", n);
        }
        post_run(p);
    }
}

/* Each device is covered from the beginning to the end, more thinly where it is older. */
static void check_coverage(int64_t to)
{
    for (int d = 1; d <= 2; d++) {
        int64_t last = 10;
        int64_t step = 0;
        int64_t largest = 0;
        uint32_t count = 0;
        for (uint32_t i = 0; i < box.count; i++) {
            if (box.items[i].device[1] - '0' != d || box.items[i].kind != TPC_MSG_TELEMETRY) {
                continue;
            }
            step = box.items[i].n - last;
            ck_assert(step > 0 || box.items[i].n <= 10);
            largest = step > largest ? step : largest;
            last = box.items[i].n;
            count++;
        }
        ck_assert_int_eq(last, to);
        ck_assert_int_eq(step, 1);         /* the newest are all there */
        ck_assert_int_gt(largest, 2);      /* the oldest were thinned more than once */
        ck_assert_int_lt(largest, to / 4); /* and there is no hole */
        ck_assert_uint_ge(count, 100);
        ck_assert_uint_le(count, 400);
    }
}

static uint32_t events(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < box.count; i++) {
        n += box.items[i].kind == TPC_MSG_EVENT;
    }
    return n;
}

START_TEST(samples_are_thinned_out_and_events_are_not)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", thin_target));
    post_start(p);
    go_offline(p);
    samples(p, 4000);
    go_online(p);
    struct tpc_forward_info info = post_info(p, "out");
    check_coverage(4000);
    ck_assert_uint_eq(events(), 80);
    ck_assert_uint_eq(info.thinned + box.count, 8080);
    ck_assert_uint_eq(info.gap_records + info.newest_records, 0);
    ck_assert_uint_eq(TPI_METRIC_GET(tpi_forward_count(p->forward)->thinned), info.thinned);
    ck_assert_uint_eq(info.behind, 0);
    /* With nothing waiting, nothing is thinned. */
    box.count = 0;
    samples(p, 100);
    ck_assert_uint_eq(box.count, 202);
    post_stop(p);
    post_free(p);
}
END_TEST

/* A stop, or another revision, lets batches go that are read once more. */
START_TEST(what_is_read_again_is_counted_once)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", thin_target));
    post_start(p);
    go_offline(p);
    samples(p, 4000);
    for (int i = 0; i < 3; i++) {
        post_stop(p);
        post_start(p);
        post_run(p);
        post_wait(p, 120000);
    }
    tk_ok(post_put(p, "forward", thin_target));
    post_run(p);
    go_online(p);
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_eq(info.thinned + box.count, 8080);
    ck_assert_uint_eq(info.behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(thinning_after_a_restart_is_found_anew)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", thin_target));
    post_start(p);
    go_offline(p);
    samples(p, 4000);
    post_stop(p);
    tk_ok(post_restart(p));
    post_start(p);
    go_online(p);
    check_coverage(4000);
    ck_assert_uint_eq(events(), 80);
    ck_assert_uint_eq(post_info(p, "out").behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(bytes_bound_what_waits_by_the_mean_size_of_records)
{
    static const char *const how[] = { "newest", "thin" };
    for (int i = 0; i < 2; i++) {
        struct post *p = post_new(NULL);
        char json[128];
        snprintf(json, sizeof(json),
                 "{'key':'out','sink':'box','batch':{'count':10},"
                 "'keep':{'bytes':'20k','drop':'%s'}}",
                 how[i]);
        tk_ok(post_put(p, "forward", json));
        post_start(p);
        come(p, 1, 10);
        tk_clock_advance(&p->env.clock, 1500); /* the size is looked at once a second */
        go_offline(p);
        come(p, 11, 3000);
        go_online(p);
        struct tpc_forward_info info = post_info(p, "out");
        ck_assert_uint_ge(box.count, 100);
        ck_assert_uint_le(box.count, 700);
        ck_assert_uint_eq(info.behind, 0);
        ck_assert_uint_eq(info.newest_records + info.thinned + box.count, 3000);
        post_stop(p);
        post_free(p);
    }
}
END_TEST

START_TEST(it_is_told_how_long_the_buffer_lasts)
{
    struct post *p = post_new("{\"max_bytes\":\"4MiB\",\"max_age\":\"100d\"}");
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','batch':{'count':10},'keep':{'records':10000}}"));
    post_start(p);
    ck_assert_uint_eq(post_info(p, "out").oldest_unix_ms, 0);
    go_offline(p);
    int64_t first = tpi_unix_ms(&p->env.env);
    for (int i = 0; i < 100; i++) { /* ten a second */
        post_count(p, i * 10, i * 10 + 9);
        post_wait(p, 1000);
    }
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_eq(info.behind, 1000);
    ck_assert_uint_gt(info.behind_bytes, 20000);
    ck_assert_uint_lt(info.behind_bytes, 200000);
    ck_assert_int_eq(info.oldest_unix_ms, first);
    ck_assert_uint_ge(info.buffer_seconds, 850); /* 9,000 are left */
    ck_assert_uint_le(info.buffer_seconds, 950);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','keep':{'age':'500s'}}"));
    post_run(p);
    info = post_info(p, "out");
    ck_assert_uint_ge(info.buffer_seconds, 395);
    ck_assert_uint_le(info.buffer_seconds, 405);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(bounds_that_the_log_does_not_reach_are_said)
{
    struct post *p = post_new("{\"max_bytes\":\"1MiB\"}");
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','keep':{'bytes':'2MiB'}}"));
    ck_assert_uint_eq(tk_env_logged(&p->env, "more than the log keeps"), 1);
    tk_fails(TPC_EINVAL,
             post_put(p, "forward", "{'key':'x','sink':'box','keep':{'drop':'newest'}}"));
    ck_assert_str_eq(p->err.path, "keep.drop");
    tk_fails(TPC_EINVAL,
             post_put(p, "handler", "{'key':'x','sink':'box','keep':{'records':5,'drop':'thin'}}"));
    post_free(p);
}
END_TEST

Suite *keep_suite(void)
{
    Suite *s = suite_create("keep");
    TCase *c = tcase_create("keep");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, oldest_goes_by_number);
    tcase_add_test(c, gap_is_told_also_if_what_follows_it_is_refused);
    tcase_add_test(c, what_comes_goes_and_what_waits_stays);
    tcase_add_test(c, what_was_taken_after_a_pause_is_not_passed_over);
    tcase_add_test(c, newest_after_a_restart_delivers_what_the_log_still_has);
    tcase_add_test(c, nothing_is_passed_over_that_may_not_survive);
    tcase_add_test(c, samples_are_thinned_out_and_events_are_not);
    tcase_add_test(c, what_is_read_again_is_counted_once);
    tcase_add_test(c, thinning_after_a_restart_is_found_anew);
    tcase_add_test(c, bytes_bound_what_waits_by_the_mean_size_of_records);
    tcase_add_test(c, it_is_told_how_long_the_buffer_lasts);
    tcase_add_test(c, bounds_that_the_log_does_not_reach_are_said);
    suite_add_tcase(s, c);
    return s;
}
