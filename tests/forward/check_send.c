/* Batches on their way: order, failures, poison, rate, restarts. */
#include "post.h"

#include <stdio.h>
#include <string.h>

static const char plain[] = "{'key':'out','sink':'box'}";

/* Numbers of t1 came in order, each once. */
static void check_numbers(int64_t from, int64_t to)
{
    ck_assert_uint_eq(box.count, (uint32_t) (to - from + 1));
    for (uint32_t i = 0; i < box.count; i++) {
        ck_assert_int_eq(box.items[i].n, from + i);
    }
}

START_TEST(messages_arrive_once_and_in_order_of_a_device)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", plain));
    post_start(p);
    int64_t last[9] = { 0 };
    for (int64_t n = 1; n <= 500; n++) {
        for (int d = 1; d <= 8; d++) {
            char key[4];
            snprintf(key, sizeof(key), "t%d", d);
            post_say(p, key, n);
        }
    }
    post_run(p);
    ck_assert_uint_eq(box.count, 4000);
    for (uint32_t i = 0; i < box.count; i++) {
        int d = box.items[i].device[1] - '0';
        ck_assert_int_eq(box.items[i].n, ++last[d]);
        ck_assert_uint_eq(box.items[i].kind, TPC_MSG_TELEMETRY);
    }
    ck_assert_uint_eq(box.largest, 256);
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_eq(info.sent, 4000);
    ck_assert_uint_eq(info.behind, 0);
    ck_assert_uint_eq(info.state, TPC_FORWARD_READY);
    post_run(p);
    ck_assert_uint_eq(box.count, 4000);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(nothing_is_allocated_for_a_message)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','where':'n > 0'}"));
    tk_ok(post_put(p, "handler", "{'key':'h','sink':'box'}"));
    post_start(p);
    post_count(p, 1, 2000);
    post_run(p);
    size_t before = p->env.alloc.count;
    post_count(p, 2001, 6000);
    post_run(p);
    ck_assert_uint_eq(box.count, 6000);
    ck_assert_uint_eq(p->env.alloc.count, before);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(what_nobody_wants_takes_no_memory)
{
    struct post *p = post_new(NULL);
    tk_ok(
        post_put(p, "forward", "{'key':'out','sink':'box','where':'n > 0','batch':{'wait':'1h'}}"));
    post_start(p);
    post_count(p, -100, 0);
    post_run(p);
    size_t before = p->env.alloc.count;
    for (int i = 0; i < 40; i++) {
        post_count(p, -1000, 0);
        post_run(p);
    }
    ck_assert_uint_eq(p->env.alloc.count, before);
    ck_assert_uint_eq(box.count, 0);
    post_say(p, "t1", 1); /* with one that waits for the others of its batch, it is not for ever */
    for (int i = 0; i < 40 && box.count == 0; i++) {
        post_count(p, -1000, 0);
        post_run(p);
    }
    ck_assert_uint_eq(box.count, 1);
    ck_assert_uint_eq(post_info(p, "out").behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(batches_keep_to_count_bytes_and_wait)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'count':10,'wait':'2s'}}"));
    post_start(p);
    post_count(p, 1, 25);
    post_run(p);
    ck_assert_uint_eq(box.count, 20);
    ck_assert_uint_eq(box.largest, 10);
    uint64_t due = tpi_forward_next_ms(p->forward);
    ck_assert_uint_gt(due, 0);
    ck_assert_uint_le(due, 2000);
    post_wait(p, 1999);
    ck_assert_uint_eq(box.count, 20);
    post_wait(p, 2);
    check_numbers(1, 25);
    /* A message counts as its record and 64 bytes. */
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'bytes':300}}"));
    box.largest = 0;
    post_count(p, 26, 45);
    post_run(p);
    check_numbers(1, 45);
    ck_assert_uint_ge(box.largest, 2);
    ck_assert_uint_le(box.largest, 4);
    /* One that is larger than the bound goes alone. */
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'bytes':1}}"));
    box.largest = 0;
    post_count(p, 46, 50);
    post_run(p);
    check_numbers(1, 50);
    ck_assert_uint_eq(box.largest, 1);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(outage_is_waited_for_with_growing_pauses_and_nothing_is_lost)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','retry':{'min':'1s','max':'8s'}}"));
    post_start(p);
    box.answer = TPC_EOFFLINE;
    post_count(p, 1, 300);
    post_run(p);
    ck_assert_uint_eq(box.sends, 1);
    uint64_t most = 1000;
    for (int i = 0; i < 8; i++) {
        struct tpc_forward_info info = post_info(p, "out");
        ck_assert_uint_eq(info.state, TPC_FORWARD_RETRYING);
        ck_assert_uint_eq(info.retried, (uint64_t) i + 1);
        ck_assert_int_eq(info.error_code, TPC_EOFFLINE);
        uint64_t due = tpi_forward_next_ms(p->forward);
        ck_assert_uint_ge(due, most / 2);
        ck_assert_uint_le(due, most);
        uint32_t sends = box.sends;
        /* Whatever the wall clock is set to. */
        tk_clock_set_unix(&p->env.clock, i % 2 == 0 ? 86400000 : 4102444800000);
        post_wait(p, due - 1);
        ck_assert_uint_eq(box.sends, sends);
        post_wait(p, 1);
        ck_assert_uint_eq(box.sends, sends + 1);
        most = most < 8000 ? most * 2 : 8000;
    }
    ck_assert_uint_eq(tk_env_logged(&p->env, "it is tried again"), 1);
    box.answer = 0;
    post_wait(p, 8000);
    check_numbers(1, 300);
    ck_assert_uint_eq(tk_env_logged(&p->env, "delivers again"), 1);
    ck_assert_uint_eq(p->letters, 0);
    /* After a success the first pause is short again. */
    box.send_code = TPC_EAGAIN;
    post_count(p, 301, 301);
    post_run(p);
    ck_assert_uint_le(tpi_forward_next_ms(p->forward), 1000);
    box.send_code = 0;
    post_wait(p, 1000);
    check_numbers(1, 301);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(refusal_to_serve_is_retried_after_the_longest_pause)
{
    static const int codes[] = { TPC_EDENIED, TPC_EUNSUPPORTED, TPC_EIO, TPC_ECANCELED };
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','retry':{'min':'1s','max':'100s'}}"));
    post_start(p);
    for (int i = 0; i < 4; i++) {
        box.answer = codes[i];
        post_count(p, i + 1, i + 1);
        post_run(p);
        ck_assert_uint_ge(tpi_forward_next_ms(p->forward), 50000);
        box.answer = 0;
        post_wait(p, 100000);
        check_numbers(1, i + 1);
    }
    ck_assert_uint_eq(p->letters, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(poison_in_a_batch_of_256_isolates_exactly_that_message)
{
    for (int64_t bad = 1; bad <= 256; bad += 51) {
        struct post *p = post_new(NULL);
        tk_ok(post_put(p, "forward", plain));
        post_start(p);
        box.poison[0] = bad;
        post_count(p, 1, 256);
        post_run(p);
        ck_assert_uint_eq(p->letters, 1);
        ck_assert_uint_eq(box.count, 255);
        int64_t n = 0;
        for (uint32_t i = 0; i < box.count; i++) {
            n = n + 1 == bad ? n + 2 : n + 1;
            ck_assert_int_eq(box.items[i].n, n);
        }
        ck_assert_uint_le(box.sends, 20); /* not one by one */
        char raw[64];
        snprintf(raw, sizeof(raw), "\"n\":%d", (int) bad);
        ck_assert_ptr_nonnull(strstr(p->letter, raw));
        ck_assert_ptr_nonnull(strstr(p->letter, "TPC_EMODEL | main/forward/out | "));
        struct tpc_forward_info info = post_info(p, "out");
        ck_assert_uint_eq(info.dead, 1);
        ck_assert_uint_eq(info.sent, 255);
        post_run(p);
        ck_assert_uint_eq(post_info(p, "out").behind, 0);
        post_stop(p);
        post_free(p);
    }
}
END_TEST

START_TEST(several_poisoned_messages_go_and_the_rest_arrives)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", plain));
    post_start(p);
    int64_t bad[] = { 1, 2, 100, 101, 255, 256 };
    memcpy(box.poison, bad, sizeof(bad));
    post_count(p, 1, 300);
    post_run(p);
    ck_assert_uint_eq(p->letters, 6);
    ck_assert_uint_eq(box.count, 294);
    for (uint32_t i = 1; i < box.count; i++) {
        ck_assert_int_gt(box.items[i].n, box.items[i - 1].n);
    }
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(dead_letter_that_cannot_be_written_holds_the_cursor)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", plain));
    post_start(p);
    box.poison[0] = 2;
    p->letter_code = TPC_EAGAIN;
    post_count(p, 1, 3);
    post_run(p);
    ck_assert_uint_eq(box.count, 1);
    ck_assert_uint_ge(post_info(p, "out").behind, 2);
    uint32_t sends = box.sends;
    post_wait(p, 1000);
    ck_assert_uint_eq(box.sends, sends);
    p->letter_code = 0;
    post_wait(p, 1000);
    ck_assert_uint_eq(p->letters, 1);
    ck_assert_uint_eq(box.count, 2);
    ck_assert_int_eq(box.items[1].n, 3);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(restart_in_the_middle_repeats_with_the_same_ids)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'count':10}}"));
    post_start(p);
    box.hold = true;
    post_count(p, 1, 25);
    post_run(p);
    ck_assert_uint_eq(box_answer(0), 1);
    post_run(p);
    ck_assert_uint_eq(box.held_count, 1);
    ck_assert_uint_eq(box.count, 10);
    /* The second batch arrived, but nobody heard of it. */
    struct tpc_id ids[10];
    for (uint32_t i = 0; i < 10; i++) {
        ids[i] = tpc_batch_msg(box.batches[0], i)->id;
    }
    post_stop(p);
    tk_ok(post_restart(p));
    box.hold = false;
    post_start(p);
    post_run(p);
    check_numbers(1, 25);
    for (uint32_t i = 0; i < 10; i++) {
        ck_assert_mem_eq(&box.items[10 + i].id, &ids[i], sizeof(ids[i]));
        ck_assert_uint_eq(ids[i].b[6] >> 4, 8);
        ck_assert_uint_eq(ids[i].b[8] >> 6, 2);
    }
    for (uint32_t i = 0; i < 25; i++) {
        for (uint32_t k = 0; k < i; k++) {
            ck_assert_mem_ne(&box.items[i].id, &box.items[k].id, sizeof(struct tpc_id));
        }
    }
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(one_batch_is_on_its_way_at_a_time)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'count':5}}"));
    post_start(p);
    box.hold = true;
    post_count(p, 1, 50);
    for (int i = 0; i < 10; i++) {
        post_run(p);
        ck_assert_uint_eq(box.held_count, 1);
        ck_assert_uint_eq(post_info(p, "out").state, TPC_FORWARD_SENDING);
        ck_assert_uint_eq(post_info(p, "out").behind, 50 - 5 * (uint64_t) i);
        ck_assert_uint_eq(box_answer(0), 1);
    }
    post_run(p);
    check_numbers(1, 50);
    tpi_forward_sent(p->forward, box.held[0], NULL); /* twice: ignored */
    tpi_forward_sent(p->forward, 0, NULL);
    tpi_forward_sent(p->forward, UINT64_MAX, NULL);
    post_run(p);
    check_numbers(1, 50);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(rate_is_kept)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','limit':10}"));
    post_start(p);
    post_count(p, 1, 100);
    post_run(p);
    ck_assert_uint_eq(box.count, 10);
    for (int i = 0; i < 50; i++) {
        post_wait(p, 100);
    }
    ck_assert_uint_ge(box.count, 50);
    ck_assert_uint_le(box.count, 61);
    for (int i = 0; i < 50; i++) {
        post_wait(p, 100);
    }
    post_wait(p, 2000);
    check_numbers(1, 100);
    /* Less than one a second. */
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','limit':0.1}"));
    post_count(p, 101, 103);
    post_run(p);
    ck_assert_uint_eq(box.count, 101);
    post_wait(p, 9000);
    ck_assert_uint_eq(box.count, 101);
    post_wait(p, 1100);
    ck_assert_uint_eq(box.count, 102);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(what_the_log_does_not_keep_any_more_is_counted_and_told)
{
    struct post *p = post_new("{\"max_bytes\":1048576}");
    tk_ok(post_put(p, "forward", plain));
    post_start(p);
    post_count(p, 1, 10);
    post_run(p);
    box.hold = true;
    post_count(p, 11, 40000);
    post_run(p);
    ck_assert_uint_eq(box.held_count, 1);
    post_count(p, 40001, 60000); /* the held batch is out of the log meanwhile */
    box.hold = false;
    (void) box_answer(0);
    post_run(p);
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_gt(info.gap_records, 0);
    ck_assert_uint_eq(info.behind, 0);
    ck_assert_uint_eq(info.sent + info.gap_records, 60000);
    ck_assert_uint_eq(box.gap, info.gap_records);
    ck_assert_int_eq(box.items[(box.count - 1) % BOX_ITEMS].n, 60000);
    ck_assert_uint_ge(tk_env_logged(&p->env, "were passed over"), 1);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(keep_bounds_what_waits)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','keep':{'age':'60s'}}"));
    post_start(p);
    box.answer = TPC_EOFFLINE;
    post_count(p, 1, 20000);
    post_run(p);
    tk_clock_advance(&p->env.clock, 120000);
    post_count(p, 20001, 40000);
    (void) tpi_bus_memory.trim(p->log);
    box.answer = 0;
    post_run(p);
    post_wait(p, 120000);
    struct tpc_forward_info info = post_info(p, "out");
    ck_assert_uint_gt(info.gap_records, 1000);
    ck_assert_uint_eq(info.behind, 0);
    ck_assert_int_eq(box.items[box.count - 1].n, 40000);
    post_stop(p);
    post_free(p);
}
END_TEST

/* A turn for another reason may come a moment before something is due. */
START_TEST(what_is_due_between_a_turn_and_the_sleep_is_not_slept_over)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'out','sink':'box','limit':1,'batch':{'count':2,'wait':'1h'}}"));
    box.open_code = TPC_EOFFLINE;
    post_start(p);
    post_count(p, 1, 4);
    post_run(p);
    uint64_t due = tpi_forward_next_ms(p->forward);
    ck_assert_uint_le(due, 1000);
    post_wait(p, due - 1);
    tk_clock_advance(&p->env.clock, 1);
    ck_assert_uint_eq(tpi_forward_next_ms(p->forward), 0);
    box.open_code = 0;
    post_run(p);
    ck_assert_uint_eq(box.count, 1);
    for (int i = 2; i <= 4; i++) { /* each waits for the rate */
        due = tpi_forward_next_ms(p->forward);
        ck_assert_uint_gt(due, 0);
        ck_assert_uint_le(due, 1001);
        post_wait(p, due - 1);
        tk_clock_advance(&p->env.clock, 1);
        ck_assert_uint_eq(tpi_forward_next_ms(p->forward), 0);
        post_run(p);
        check_numbers(1, i);
    }
    post_stop(p);
    post_free(p);
}
END_TEST

/* What a read handed over before it failed is not read again. */
START_TEST(record_that_the_disk_does_not_give_holds_what_follows_and_repeats_nothing)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box'}"));
    post_start(p);
    p->bad_offset = 30;
    post_count(p, 0, 49);
    post_run(p);
    check_numbers(0, 29);
    for (int d = 2; d <= 8; d++) { /* others go on, if they are of another partition */
        char key[4];
        snprintf(key, sizeof(key), "t%d", d);
        post_say(p, key, 1000 + d);
    }
    for (int i = 0; i < 3; i++) {
        post_wait(p, 1000);
        ck_assert_uint_gt(box.count, 30);
        ck_assert_uint_le(box.count, 37);
    }
    uint32_t others = box.count - 30;
    p->bad_offset = 0;
    post_wait(p, 1000);
    ck_assert_uint_eq(box.count, 57);
    uint32_t n = 0;
    for (uint32_t i = 0; i < box.count; i++) {
        if (strcmp(box.items[i].device, "t1") == 0) {
            ck_assert_int_eq(box.items[i].n, n);
            n++;
        }
    }
    ck_assert_uint_eq(n, 50);
    ck_assert_uint_gt(others, 0);
    ck_assert_uint_eq(post_info(p, "out").behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

Suite *send_suite(void)
{
    Suite *s = suite_create("send");
    TCase *c = tcase_create("send");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, messages_arrive_once_and_in_order_of_a_device);
    tcase_add_test(c, nothing_is_allocated_for_a_message);
    tcase_add_test(c, what_nobody_wants_takes_no_memory);
    tcase_add_test(c, batches_keep_to_count_bytes_and_wait);
    tcase_add_test(c, outage_is_waited_for_with_growing_pauses_and_nothing_is_lost);
    tcase_add_test(c, refusal_to_serve_is_retried_after_the_longest_pause);
    tcase_add_test(c, poison_in_a_batch_of_256_isolates_exactly_that_message);
    tcase_add_test(c, several_poisoned_messages_go_and_the_rest_arrives);
    tcase_add_test(c, dead_letter_that_cannot_be_written_holds_the_cursor);
    tcase_add_test(c, restart_in_the_middle_repeats_with_the_same_ids);
    tcase_add_test(c, one_batch_is_on_its_way_at_a_time);
    tcase_add_test(c, rate_is_kept);
    tcase_add_test(c, record_that_the_disk_does_not_give_holds_what_follows_and_repeats_nothing);
    tcase_add_test(c, what_is_due_between_a_turn_and_the_sleep_is_not_slept_over);
    tcase_add_test(c, what_the_log_does_not_keep_any_more_is_counted_and_told);
    tcase_add_test(c, keep_bounds_what_waits);
    suite_add_tcase(s, c);
    return s;
}
