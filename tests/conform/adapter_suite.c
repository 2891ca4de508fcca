#include "adapter_suite.h"

#include "data/option.h"

#include <string.h>
#include <tpcore/json.h>

static const struct adapter_subject *subject;

static const struct tpc_adapter_ops *ops_of(void)
{
    return fake_adapter_of(subject->module());
}

START_TEST(descriptor_and_table_are_whole)
{
    const struct tpc_module *m = subject->module();
    const struct tpc_adapter_ops *o = ops_of();
    ck_assert_uint_ge(m->iface.size, offsetof(struct tpc_module, offers) + sizeof(m->offers));
    ck_assert_uint_eq(m->iface.major, 1);
    ck_assert_ptr_nonnull(m->name);
    ck_assert_ptr_nonnull(m->version);
    ck_assert_ptr_nonnull(m->licence);
    ck_assert_ptr_nonnull(o);
    ck_assert_uint_eq(o->iface.major, 1);
    ck_assert_uint_gt(o->instance_size, 0);
    ck_assert(
        TPC_HAS(o, struct tpc_adapter_ops, init) && TPC_HAS(o, struct tpc_adapter_ops, start) &&
        TPC_HAS(o, struct tpc_adapter_ops, send) && TPC_HAS(o, struct tpc_adapter_ops, settled) &&
        TPC_HAS(o, struct tpc_adapter_ops, resume) && TPC_HAS(o, struct tpc_adapter_ops, stop) &&
        TPC_HAS(o, struct tpc_adapter_ops, fini));
    for (uint32_t i = 0; i < o->options.count; i++) {
        const struct tpc_option *option = TPC_LIST_AT(struct tpc_option, o->options, i);
        ck_assert_ptr_nonnull(option->name);
        ck_assert_msg(option->help != NULL && option->since != NULL, "option %s says too little",
                      option->name);
    }
}
END_TEST

START_TEST(option_that_is_not_in_the_table_is_refused)
{
    struct tk_env env;
    struct fake_host h;
    tk_env_init(&env);
    tk_fails(TPC_EINVAL, fake_init(&h, &env, ops_of(), "{\"no_such_option\":1}"));
    fake_fini(&h);
    tk_env_fini(&env);
}
END_TEST

START_TEST(fini_frees_an_instance_that_was_never_started)
{
    struct tk_env env;
    struct fake_host h;
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, ops_of(), subject->options));
    fake_fini(&h);
    tk_env_fini(&env);
}
END_TEST

static int init_once(const struct tpc_allocator *a, void *user)
{
    struct tk_env env;
    struct fake_host h;
    tk_env_init(&env);
    (void) user;
    env.alloc.base = *a;
    int rc = fake_init(&h, &env, ops_of(), subject->options);
    fake_fini(&h);
    tk_env_fini(&env);
    return rc;
}

START_TEST(fini_frees_what_an_init_without_memory_left)
{
    tk_each_alloc_fails(init_once, NULL);
}
END_TEST

START_TEST(stop_closes_all_sessions_and_is_the_last_host_call)
{
    struct tk_env env;
    struct fake_host h;
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, ops_of(), subject->options));
    h.settle = FAKE_SETTLE_INSIDE;
    tk_ok(fake_start(&h));
    fake_run(&h, 2000, 50);
    if (subject->provoke != NULL) {
        subject->provoke(&h, 1);
        fake_run(&h, 2000, 50);
        ck_assert(fake_wait_frames(&h, 1));
    }
    fake_stop(&h);
    fake_run(&h, 5000, 100);
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    for (uint32_t i = 0; i < h.session_count; i++) {
        ck_assert_msg(!h.sessions[i].open, "session of %s is open after stop",
                      h.sessions[i].device);
    }
    tk_env_fini(&env);
}
END_TEST

START_TEST(after_a_stop_it_starts_again)
{
    struct tk_env env;
    struct fake_host h;
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, ops_of(), subject->options));
    h.settle = FAKE_SETTLE_INSIDE;
    for (uint32_t times = 0; times < 3; times++) {
        uint32_t before = h.frame_count;
        tk_ok(fake_start(&h));
        fake_run(&h, 2000, 50);
        if (subject->provoke != NULL) {
            subject->provoke(&h, times + 1);
            fake_run(&h, 2000, 50);
        }
        ck_assert(fake_wait_frames(&h, before + 1));
        fake_stop(&h);
    }
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
}
END_TEST

START_TEST(stop_without_a_start_and_a_device_without_a_session_are_fine)
{
    struct tk_env env;
    struct fake_host h;
    struct tpc_frame frame = { .size = sizeof(frame), .kind = TPC_MSG_COMMAND };
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, ops_of(), subject->options));
    frame.name = TPC_STR("go");
    frame.payload = TPC_BYTES("{}");
    int rc = fake_send(&h, 0, "p", "d", &frame, 1);
    ck_assert_msg(rc == TPC_EOFFLINE || rc == TPC_EAGAIN, "send said %s", tpc_error_name(rc));
    ck_assert_uint_eq(h.sent_count, 0);
    fake_stop(&h);
    fake_fini(&h);
    tk_env_fini(&env);
}
END_TEST

START_TEST(frame_that_was_told_later_comes_after_resume)
{
    struct tk_env env;
    struct fake_host h;
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, ops_of(), subject->options));
    h.settle = FAKE_SETTLE_INSIDE;
    h.receive_code = TPC_EAGAIN;
    tk_ok(fake_start(&h));
    if (subject->provoke != NULL) {
        subject->provoke(&h, 1);
    }
    fake_run(&h, 2000, 50);
    ck_assert(fake_wait_later(&h, 1));
    ck_assert_uint_eq(h.frame_count, 0);
    fake_answer(&h, 0);
    fake_run(&h, 2000, 50);
    ck_assert(fake_wait_frames(&h, 1));
    fake_stop(&h);
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
}
END_TEST

TCase *adapter_suite(const struct adapter_subject *s)
{
    TCase *c = tcase_create("conformance");
    subject = s;
    tcase_set_timeout(c, 60);
    tcase_add_test(c, descriptor_and_table_are_whole);
    tcase_add_test(c, option_that_is_not_in_the_table_is_refused);
    tcase_add_test(c, fini_frees_an_instance_that_was_never_started);
    tcase_add_test(c, fini_frees_what_an_init_without_memory_left);
    tcase_add_test(c, stop_closes_all_sessions_and_is_the_last_host_call);
    tcase_add_test(c, after_a_stop_it_starts_again);
    tcase_add_test(c, stop_without_a_start_and_a_device_without_a_session_are_fine);
    tcase_add_test(c, frame_that_was_told_later_comes_after_resume);
    return c;
}
