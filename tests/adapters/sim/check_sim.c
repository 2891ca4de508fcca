#include "adapter_suite.h"
#include "sim_suites.h"
#include "wave.h"

#include <string.h>
#include <tpcore/modules.h>

static struct tk_env env;
static struct fake_host h;

static void begin(const char *options)
{
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_sim()), options));
}

static void end(void)
{
    fake_stop(&h);
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
}

START_TEST(each_device_reports_once_in_an_interval)
{
    begin("{\"count\":4,\"interval\":\"100ms\",\"prefix\":\"d\"}");
    tk_ok(fake_start(&h));
    fake_run(&h, 999, 1);
    ck_assert_uint_eq(h.frame_count, 40);
    for (uint32_t i = 0; i < h.frame_count; i++) {
        char key[8] = { 'd', (char) ('1' + i % 4), 0 };
        ck_assert_str_eq(h.sessions[h.frames[i].session - 1].device, key);
        ck_assert_uint_eq(h.frames[i].ticket, 0);
    }
    ck_assert_ptr_nonnull(strstr(h.frames[39].payload, "\"seq\":10}"));
    end();
}
END_TEST

START_TEST(sequence_has_no_hole_after_later_and_resume)
{
    begin("{\"count\":2,\"interval\":\"100ms\"}");
    tk_ok(fake_start(&h));
    fake_run(&h, 99, 1);
    ck_assert_uint_eq(h.frame_count, 2);
    fake_answer(&h, TPC_EAGAIN);
    fake_run(&h, 60, 1);
    ck_assert_uint_eq(h.frame_count, 2);
    fake_answer(&h, 0);
    fake_run(&h, 40, 1);
    ck_assert_uint_eq(h.frame_count, 4);
    ck_assert_ptr_nonnull(strstr(h.frames[2].payload, "\"seq\":2}"));
    ck_assert_ptr_nonnull(strstr(h.frames[3].payload, "\"seq\":2}"));
    end();
}
END_TEST

START_TEST(long_pause_is_not_made_up_for_with_a_burst)
{
    begin("{\"count\":2,\"interval\":\"100ms\"}");
    tk_ok(fake_start(&h));
    fake_run(&h, 0, 1);
    tk_clock_advance(&env.clock, 10000);
    fake_run(&h, 0, 1);
    ck_assert_uint_le(h.frame_count, 5);
    end();
}
END_TEST

START_TEST(command_is_answered_after_the_delay)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    begin("{\"count\":1,\"interval\":\"1h\",\"reply_delay\":\"200ms\"}");
    tk_ok(fake_start(&h));
    fake_run(&h, 0, 1);
    f.correlation = TPC_STR("c7");
    f.payload = TPC_BYTES("{}");
    tk_ok(fake_send(&h, 1, "p", "sim-1", &f, 55));
    ck_assert_uint_eq(h.sent_count, 1);
    ck_assert_uint_eq(h.sent[0], 55);
    fake_run(&h, 199, 1);
    ck_assert_uint_eq(h.frame_count, 1);
    fake_run(&h, 2, 1);
    ck_assert_uint_eq(h.frame_count, 2);
    ck_assert_uint_eq(h.frames[1].kind, TPC_MSG_REPLY);
    ck_assert_str_eq(h.frames[1].correlation, "c7");
    ck_assert_str_eq(h.frames[1].payload, "{\"requestId\":\"c7\",\"id\":\"c7\",\"code\":0}");
    end();
}
END_TEST

START_TEST(answers_are_bounded_and_come_in_order)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    begin("{\"count\":1,\"interval\":\"1h\"}");
    tk_ok(fake_start(&h));
    fake_run(&h, 0, 1);
    f.correlation = TPC_STR("x");
    uint64_t taken = 0;
    while (fake_send(&h, 1, "p", "sim-1", &f, taken + 1) == 0) {
        taken++;
    }
    ck_assert_uint_eq(taken, 256);
    fake_answer(&h, TPC_EAGAIN);
    fake_run(&h, 500, 10);
    ck_assert_uint_eq(h.frame_count, 1);
    fake_answer(&h, 0);
    fake_run(&h, 500, 10);
    ck_assert_uint_eq(h.frame_count, 1 + 256);
    end();
}
END_TEST

START_TEST(device_that_comes_to_be_later_is_found)
{
    begin("{\"count\":2,\"interval\":\"100ms\"}");
    h.unknown = "sim-2";
    tk_ok(fake_start(&h));
    ck_assert_uint_eq(tk_env_logged(&env, "1 of 2 devices are not known"), 1);
    fake_run(&h, 99, 1);
    ck_assert_uint_eq(h.frame_count, 1);
    h.unknown = NULL;
    fake_run(&h, 100, 1);
    ck_assert_uint_eq(h.frame_count, 3);
    end();
}
END_TEST

START_TEST(least_above_greatest_value_is_refused)
{
    tk_env_init(&env);
    tk_fails(TPC_EINVAL,
             fake_init(&h, &env, fake_adapter_of(tpc_module_sim()), "{\"min\":5,\"max\":1}"));
    fake_fini(&h);
    tk_env_fini(&env);
}
END_TEST

START_TEST(waves_stay_inside_their_bounds)
{
    static const char *const names[] = { "sine", "ramp", "square", "constant" };
    for (size_t k = 0; k < 4; k++) {
        struct sim_wave w = { sim_wave_shape(tpc_str_from(names[k])), -3.0, 5.0, 1000 };
        for (uint64_t t = 0; t < 3000; t += 7) {
            double v = sim_wave_at(&w, t);
            ck_assert(v >= -3.0 && v <= 5.0);
            ck_assert_double_eq_tol(v, sim_wave_at(&w, t + 1000), 1e-9);
        }
    }
}
END_TEST

START_TEST(payload_is_cut_at_its_room)
{
    char out[16];
    size_t n = sim_payload(TPC_STR("{device}:{seq}/{value}{x"), TPC_STR("ab"), 1.5, 7, out, 16);
    ck_assert_uint_eq(n, 12);
    ck_assert_mem_eq(out, "ab:7/1.500{x", 12);
    for (size_t cap = 1; cap <= 12; cap++) {
        ck_assert_uint_lt(
            sim_payload(TPC_STR("{device}:{seq}/{value}"), TPC_STR("ab"), 1.5, 7, out, cap), cap);
    }
}
END_TEST

Suite *sim_suite(void)
{
    static const struct adapter_subject subject = { tpc_module_sim,
                                                    "{\"count\":3,\"interval\":\"100ms\"}", NULL };
    Suite *s = suite_create("sim");
    TCase *c = tcase_create("sim");
    tcase_add_test(c, each_device_reports_once_in_an_interval);
    tcase_add_test(c, sequence_has_no_hole_after_later_and_resume);
    tcase_add_test(c, long_pause_is_not_made_up_for_with_a_burst);
    tcase_add_test(c, command_is_answered_after_the_delay);
    tcase_add_test(c, answers_are_bounded_and_come_in_order);
    tcase_add_test(c, device_that_comes_to_be_later_is_found);
    tcase_add_test(c, least_above_greatest_value_is_refused);
    tcase_add_test(c, waves_stay_inside_their_bounds);
    tcase_add_test(c, payload_is_cut_at_its_room);
    suite_add_tcase(s, c);
    suite_add_tcase(s, adapter_suite(&subject));
    return s;
}
