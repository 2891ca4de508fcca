/* Whose a connection is: the program's login(), the directory, the platform. */
#include "http_fx.h"
#include "tp_suites.h"

#include <stdio.h>
#include <string.h>

static struct fx f;

#define OK(data) "{\"code\":200,\"message\":\"Success\",\"data\":" data "}"
#define NONE "{\"code\":101001,\"message\":\"not found\"}"
#define LIMITED "{\"code\":201003,\"message\":\"too many\"}"
#define CONFIG "/api/v1/plugin/device/config"

static const char device_a[] =
    OK("{\"id\":\"a\",\"voucher\":\"{\\\"serial\\\":\\\"1\\\"}\",\"device_type\":\"1\","
       "\"device_number\":\"A\"}");

static void is_in(uint32_t i, const char *device)
{
    ck_assert(f.ends[i].told);
    ck_assert_int_eq(f.ends[i].code, 0);
    ck_assert_uint_eq(f.ends[i].verdict, TPC_ACCESS_IN);
    ck_assert_uint_eq(f.ends[i].flags, TPC_ACCESS_FEED);
    ck_assert_str_eq(f.ends[i].device, device);
    ck_assert_str_eq(f.ends[i].product, "meter");
    ck_assert_str_eq(f.ends[i].answer, "welcome");
}

static void is_refused(uint32_t i)
{
    ck_assert(f.ends[i].told);
    ck_assert_int_eq(f.ends[i].code, TPC_EDENIED);
    ck_assert_str_eq(f.ends[i].answer, "go away");
}

static void begin(void)
{
    fx_init(&f, 1, NULL);
    fx_quiet_start(&f);
}

START_TEST(unknown_voucher_is_asked_for_once_however_many_wait)
{
    begin();
    for (uint32_t i = 0; i < 3; i++) {
        tk_ok(fx_login(&f, i, "V1", NULL));
        ck_assert(!f.ends[i].told);
    }
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 1);
    fx_answer(&f, CONFIG, "{\"voucher\":\"{\\\"serial\\\":\\\"1\\\"}\"}", device_a);
    for (uint32_t i = 0; i < 3; i++) {
        is_in(i, "a");
    }
    ck_assert_str_eq(f.host.devices[0].device, "a"); /* before it was let in */
    tk_ok(fx_login(&f, 3, "V1", NULL));              /* from now on nobody is asked */
    is_in(3, "a");
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 1);
    ck_assert_int_eq(fake_metric(&f.host, "logins"), 4);
    fx_fini(&f);
}
END_TEST

START_TEST(device_that_the_platform_does_not_know_is_refused)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_answer(&f, CONFIG, "", NONE);
    is_refused(0);
    ck_assert_uint_eq(f.host.device_count, 0);
    tk_ok(fx_login(&f, 1, "V2", NULL));
    fx_answer(&f, CONFIG, "", OK("null"));
    is_refused(1);
    fx_fini(&f);
}
END_TEST

START_TEST(voucher_is_asked_for_no_more_often_than_the_platform_allows)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_answer(&f, CONFIG, "", NONE);
    tk_ok(fx_login(&f, 1, "V1", NULL));
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 1); /* it waits for its turn */
    ck_assert(!f.ends[1].told);
    fx_pass(&f, 2900);
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 1);
    fx_pass(&f, 101);
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 2);
    fx_answer(&f, CONFIG, "", device_a);
    is_in(1, "a");
    tk_ok(fx_login(&f, 2, "V2", NULL)); /* another voucher has a turn of its own */
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 3);
    fx_fini(&f);
}
END_TEST

START_TEST(voucher_that_is_unknown_three_times_is_left_alone)
{
    begin();
    for (uint32_t i = 0; i < 3; i++) {
        tk_ok(fx_login(&f, i, "V1", NULL));
        fx_pass(&f, 3001);
        fx_answer(&f, CONFIG, "", NONE);
        is_refused(i);
    }
    for (uint32_t i = 3; i < 6; i++) {
        tk_ok(fx_login(&f, i, "V1", NULL));
        is_refused(i);
        fx_pass(&f, 10000);
    }
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 3);
    fx_pass(&f, 180000);
    tk_ok(fx_login(&f, 6, "V1", NULL));
    fx_answer(&f, CONFIG, "", device_a);
    is_in(6, "a");
    fx_fini(&f);
}
END_TEST

START_TEST(rate_limit_of_the_platform_is_waited_for)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    for (int i = 0; i < 3; i++) {
        fx_answer(&f, CONFIG, "", LIMITED);
        ck_assert(!f.ends[0].told);
        fx_pass(&f, 2900);
        ck_assert_ptr_null(fx_open(&f, CONFIG, ""));
        fx_pass(&f, 900); /* 3 s and up to a quarter */
        ck_assert_ptr_nonnull(fx_open(&f, CONFIG, ""));
    }
    fx_answer(&f, CONFIG, "", device_a);
    is_in(0, "a");
    ck_assert_int_eq(fake_metric(&f.host, "replies_limited"), 3);
    fx_fini(&f);
}
END_TEST

static const struct {
    int failed;
    uint32_t status;
    const char *body;
} bad[] = {
    { TPC_EOFFLINE, 0, "" },         { TPC_ETIMEOUT, 0, "" },
    { TPC_ETOOBIG, 0, "" },          { 0, 500, "oops" },
    { 0, 200, "{\"code\":200" },     { 0, 200, "{\"code\":100000}" }, /* it has no template */
    { 0, 200, "{\"code\":102001}" }, { 0, 200, "{\"code\":100002}" },
    { 0, 200, "{\"code\":201001}" },
};

START_TEST(platform_that_cannot_say_is_asked_again_until_the_connection_is_told_to_come_later)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    uint32_t tries = 0;
    for (int t = 0; t < 250 && !f.ends[0].told; t++) {
        struct fx_call *c = fx_open(&f, CONFIG, "");
        if (c != NULL && bad[_i].failed != 0) {
            fx_fail(&f, CONFIG, "", bad[_i].failed);
            tries++;
        } else if (c != NULL) {
            fx_answer_raw(&f, c, bad[_i].status, bad[_i].body, strlen(bad[_i].body));
            tries++;
        }
        fx_pass(&f, 100);
    }
    ck_assert(f.ends[0].told);
    ck_assert_int_eq(f.ends[0].code, TPC_ETIMEOUT); /* class retry, and nothing is written */
    ck_assert_str_eq(f.ends[0].answer, "");
    ck_assert_uint_ge(tries, 1);
    ck_assert_uint_le(tries, 5);
    ck_assert_int_eq(fake_metric(&f.host, "logins_later"), 1);
    fx_fini(&f);
}
END_TEST

START_TEST(connection_that_went_away_hears_nothing_more)
{
    uint64_t id[2];
    begin();
    tk_ok(fx_login(&f, 0, "V1", &id[0]));
    tk_ok(fx_login(&f, 1, "V1", &id[1]));
    tp_http_access(f.h)->cancel(f.h, id[0]);
    tp_http_access(f.h)->cancel(f.h, id[0]);
    tp_http_access(f.h)->cancel(f.h, 99);
    fx_answer(&f, CONFIG, "", device_a);
    ck_assert(!f.ends[0].told);
    is_in(1, "a");
    tp_http_access(f.h)->cancel(f.h, id[1]);
    fx_fini(&f);
}
END_TEST

START_TEST(first_frame_may_need_a_second_and_may_be_none)
{
    begin();
    tk_ok(fx_login(&f, 0, "MORE", NULL));
    ck_assert(f.ends[0].told);
    ck_assert_int_eq(f.ends[0].code, 0);
    ck_assert_uint_eq(f.ends[0].verdict, TPC_ACCESS_MORE);
    ck_assert_str_eq(f.ends[0].answer, "who?");
    tk_ok(fx_login(&f, 1, "BAD", NULL));
    ck_assert(f.ends[1].told);
    ck_assert_int_eq(f.ends[1].code, TPC_EDECODE);
    ck_assert_str_eq(f.ends[1].answer, "go away");
    tk_ok(fx_login(&f, 2, "Va\"b", NULL)); /* the program's voucher is no JSON */
    ck_assert_int_eq(f.ends[2].code, TPC_EDECODE);
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 0);
    fx_fini(&f);
}
END_TEST

START_TEST(connections_that_wait_are_told_to_come_later_at_the_end)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_fini(&f);
    ck_assert(f.ends[0].told);
    ck_assert_int_eq(f.ends[0].code, TPC_ETIMEOUT);
}
END_TEST

START_TEST(device_comes_back_only_after_its_configuration_was_read_again)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_answer(&f, CONFIG, "", device_a);
    is_in(0, "a");
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"a\"}", "");
    ck_assert(fx_dropped(&f, "a"));
    tk_ok(fx_login(&f, 1, "V1", NULL));
    ck_assert(!f.ends[1].told);
    /* Its voucher is another one now. */
    fx_answer(&f, CONFIG, "{\"device_id\":\"a\"}",
              OK("{\"id\":\"a\",\"voucher\":\"{\\\"serial\\\":\\\"2\\\"}\",\"device_type\":\"1\","
                 "\"device_number\":\"A\"}"));
    ck_assert(!f.ends[1].told);
    fx_pass(&f, 3001); /* the platform says whose the old one is */
    fx_answer(&f, CONFIG, "{\"voucher\":\"{\\\"serial\\\":\\\"1\\\"}\"}", NONE);
    is_refused(1);
    tk_ok(fx_login(&f, 2, "V2", NULL));
    is_in(2, "a");
    fx_fini(&f);
}
END_TEST

START_TEST(known_device_is_let_in_where_the_platform_is_away_after_a_disconnect)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_answer(&f, CONFIG, "", device_a);
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"a\"}", "");
    tk_ok(fx_login(&f, 1, "V1", NULL));
    ck_assert(!f.ends[1].told);
    fx_fail(&f, CONFIG, "{\"device_id\":\"a\"}", TPC_EOFFLINE);
    is_in(1, "a");
    fx_pass(&f, 2000); /* and is still read again */
    fx_answer(&f, CONFIG, "{\"device_id\":\"a\"}", NONE);
    ck_assert(fx_dropped(&f, "a"));
    fx_fini(&f);
}
END_TEST

START_TEST(device_that_cannot_be_asked_for_after_a_disconnect_is_not_locked_out)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_answer(&f, CONFIG, "", device_a);
    is_in(0, "a");
    uint32_t calls = fx_calls(&f, "/plugin/devices");
    uint32_t count = f.h->ask_count;
    f.h->ask_count = TP_ASKS_LIMIT; /* unknown vouchers hold all places */
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"a\"}", "");
    ck_assert(fx_dropped(&f, "a"));
    tk_ok(fx_login(&f, 2, "V1", NULL)); /* it waits, and is let in with the step */
    is_in(2, "a");
    f.h->ask_count = count;
    ck_assert_int_eq(fake_metric(&f.host, "asks_refused"), 1);
    tk_ok(fx_login(&f, 1, "V1", NULL));
    is_in(1, "a");
    fx_pass(&f, 60000);
    ck_assert_uint_gt(fx_calls(&f, "/plugin/devices"), calls); /* what changed is read with all */
    fx_fini(&f);
}
END_TEST

START_TEST(known_device_is_let_in_after_a_stop_with_an_open_question)
{
    begin();
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_answer(&f, CONFIG, "", device_a);
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"a\"}", "");
    tp_http_end(f.h);
    ck_assert_int_eq(fx_login(&f, 1, "V1", NULL), TPC_ESTATE);
    ck_assert_int_eq(fx_login(&f, 1, "V2", NULL), TPC_ESTATE);
    ck_assert_uint_eq(f.h->ask_count, 0);
    tk_ok(tp_http_begin(f.h));
    tk_ok(fx_login(&f, 2, "V1", NULL));
    is_in(2, "a");
    fx_fini(&f);
}
END_TEST

START_TEST(device_that_the_core_refuses_is_refused)
{
    begin();
    f.host.make_code = TPC_EDENIED;
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_answer(&f, CONFIG, "", device_a);
    is_refused(0);
    tk_ok(fx_login(&f, 1, "V1", NULL));
    fx_pass(&f, 20001);
    ck_assert(f.ends[1].told);
    fx_fini(&f);
}
END_TEST

START_TEST(storm_of_connections_is_worked_off_a_few_calls_at_a_time)
{
    begin();
    for (uint32_t i = 0; i < 60; i++) {
        char frame[16];
        snprintf(frame, sizeof(frame), "V%u", (unsigned) (100 + i));
        tk_ok(fx_login(&f, i, frame, NULL));
    }
    ck_assert_uint_eq(fx_calls(&f, CONFIG), TP_ASKS_AWAY);
    for (uint32_t i = 0; i < 60; i++) {
        fx_answer(&f, CONFIG, "", NONE);
        ck_assert_uint_le(f.h->away_count, TP_ASKS_AWAY);
    }
    for (uint32_t i = 0; i < 60; i++) {
        is_refused(i);
    }
    ck_assert_uint_eq(fx_calls(&f, CONFIG), 60);
    fx_pass(&f, 181000); /* and nothing is remembered of them */
    ck_assert_uint_eq(f.h->ask_count, 0);
    fx_fini(&f);
}
END_TEST

START_TEST(gateway_waits_for_those_behind_it_but_not_for_those_that_are_gone)
{
#define GATEWAY(behind)                                                                            \
    OK("{\"id\":\"g\",\"voucher\":\"{\\\"serial\\\":\\\"1\\\"}\",\"device_type\":\"2\",\"sub_"     \
       "devices\":" behind "}")
    begin();
    f.host.make_code = 0;
    tk_ok(fx_login(&f, 0, "V1", NULL));
    fx_answer(&f, CONFIG, "", GATEWAY("[]"));
    is_in(0, "g");
    f.host.make_code = TPC_EAGAIN; /* what comes new cannot be made now */
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
    tk_ok(fx_login(&f, 1, "V1", NULL));
    fx_answer(&f, CONFIG, "\"g\"", GATEWAY("[{\"device_id\":\"s\",\"sub_device_addr\":\"1\"}]"));
    fx_pass(&f, 2000);
    ck_assert(!f.ends[1].told);
    (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
    fx_step(&f);
    fx_answer(&f, CONFIG, "\"g\"", GATEWAY("null"));
    is_in(1, "g");
    fx_fini(&f);
}
END_TEST

static void count_end(void *user, const struct tpc_error *err, const struct tpc_access_grant *g)
{
    uint32_t *count = user;
    (void) g;
    *count += err != NULL && err->code == TPC_EDENIED;
}

START_TEST(thousand_connections_at_once_are_all_answered_in_their_order)
{
    enum { MANY = 900 };
    uint32_t refused = 0;
    begin();
    for (uint32_t i = 0; i < MANY; i++) {
        char frame[16];
        uint64_t id;
        snprintf(frame, sizeof(frame), "V%u", (unsigned) (1000 + i));
        const struct tpc_access_request r = { .size = sizeof(r),
                                              .frame = { (const uint8_t *) frame, 5 } };
        tk_ok(tp_http_access(f.h)->login(f.h, &r, count_end, &refused, &id));
    }
    fx_step(&f);
    for (uint32_t i = 0; i < MANY; i++) {
        char body[32];
        snprintf(body, sizeof(body), "\\\"%u\\\"", (unsigned) (1000 + i));
        if (fx_open(&f, CONFIG, "") == NULL) {
            fx_pass(&f, TP_ASKS_SCAN_MS);
        }
        fx_answer(&f, CONFIG, body, NONE);
    }
    ck_assert_uint_eq(refused, MANY);
    ck_assert_uint_eq(fx_calls(&f, CONFIG), MANY);
    fx_fini(&f);
}
END_TEST

static void on_drop(void *user, struct tpc_str tenant, struct tpc_str device)
{
    uint32_t *count = user;
    (void) tenant;
    (void) device;
    ++*count;
}

START_TEST(every_adapter_hears_of_connections_to_close)
{
    uint32_t counts[TP_WATCHERS_LIMIT + 1] = { 0 };
    const struct tpc_access_ops *access;
    begin();
    access = tp_http_access(f.h);
    for (uint32_t i = 0; i + 1 < TP_WATCHERS_LIMIT; i++) { /* the fixture is one */
        tk_ok(access->watch(f.h, on_drop, &counts[i]));
        tk_ok(access->watch(f.h, on_drop, &counts[i]));
    }
    tk_fails(TPC_EAGAIN, access->watch(f.h, on_drop, &counts[TP_WATCHERS_LIMIT]));
    tp_apply_drop(f.h, TPC_STR("a"));
    tk_ok(access->watch(f.h, NULL, &counts[0]));
    tk_ok(access->watch(f.h, NULL, &counts[0]));
    tp_apply_drop(f.h, TPC_STR("b"));
    ck_assert_uint_eq(counts[0], 1);
    ck_assert_uint_eq(counts[1], 2);
    ck_assert_uint_eq(counts[TP_WATCHERS_LIMIT - 2], 2);
    ck_assert(fx_dropped(&f, "a") && fx_dropped(&f, "b"));
    for (uint32_t i = 1; i + 1 < TP_WATCHERS_LIMIT; i++) {
        tk_ok(access->watch(f.h, NULL, &counts[i]));
    }
    fx_fini(&f);
}
END_TEST

Suite *access_suite(void)
{
    Suite *s = suite_create("access");
    TCase *t = tcase_create("access");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, unknown_voucher_is_asked_for_once_however_many_wait);
    tcase_add_test(t, device_that_the_platform_does_not_know_is_refused);
    tcase_add_test(t, voucher_is_asked_for_no_more_often_than_the_platform_allows);
    tcase_add_test(t, voucher_that_is_unknown_three_times_is_left_alone);
    tcase_add_test(t, rate_limit_of_the_platform_is_waited_for);
    tcase_add_loop_test(
        t, platform_that_cannot_say_is_asked_again_until_the_connection_is_told_to_come_later, 0,
        (int) (sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(t, connection_that_went_away_hears_nothing_more);
    tcase_add_test(t, first_frame_may_need_a_second_and_may_be_none);
    tcase_add_test(t, connections_that_wait_are_told_to_come_later_at_the_end);
    tcase_add_test(t, device_comes_back_only_after_its_configuration_was_read_again);
    tcase_add_test(t, known_device_is_let_in_where_the_platform_is_away_after_a_disconnect);
    tcase_add_test(t, device_that_cannot_be_asked_for_after_a_disconnect_is_not_locked_out);
    tcase_add_test(t, known_device_is_let_in_after_a_stop_with_an_open_question);
    tcase_add_test(t, device_that_the_core_refuses_is_refused);
    tcase_add_test(t, thousand_connections_at_once_are_all_answered_in_their_order);
    tcase_add_test(t, gateway_waits_for_those_behind_it_but_not_for_those_that_are_gone);
    tcase_add_test(t, every_adapter_hears_of_connections_to_close);
    tcase_add_test(t, storm_of_connections_is_worked_off_a_few_calls_at_a_time);
    suite_add_tcase(s, t);
    return s;
}
