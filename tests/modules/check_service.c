/* Services that modules offer and need, and modules that start threads. */
#include "modules_test.h"
#include "variants.h"

static void add_and_open(struct mt *m, const char *name, const struct tpc_module *module)
{
    tk_ok(tpc_core_add_module(m->core, module));
    tk_ok(tpc_core_open(m->core, name, module->name, (struct tpc_str){ NULL, 0 }));
}

START_TEST(who_offers_starts_first)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    add_and_open(&m, "needer", tpc_module_v_needs());
    add_and_open(&m, "offerer", tpc_module_v_offers());
    tk_ok(tpc_core_start(m.core));
    ck_assert_uint_eq(tk_env_logged(&m.e, "needer: start with the link"), 1);
    tk_ok(tpc_core_stop(m.core, 1000));
    ck_assert_uint_eq(tk_env_logged(&m.e, "offerer: stop"), 1);
    mt_close(&m);
}
END_TEST

START_TEST(a_missing_service_is_named)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    add_and_open(&m, "needer", tpc_module_v_needs());
    tk_fails(TPC_ENOENT, tpc_core_start(m.core));
    mt_error_says("needer");
    mt_error_says("v.link");
    ck_assert_str_eq(tpc_error_last()->path, "needer");
    ck_assert_uint_eq(tk_env_logged(&m.e, "needer: start"), 0);
    mt_close(&m);
}
END_TEST

START_TEST(a_start_that_failed_can_be_repaired)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    add_and_open(&m, "needer", tpc_module_v_needs());
    tk_fails(TPC_ENOENT, tpc_core_start(m.core));
    add_and_open(&m, "offerer", tpc_module_v_offers());
    tk_ok(tpc_core_start(m.core));
    mt_close(&m);
}
END_TEST

START_TEST(a_cycle_is_refused)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    add_and_open(&m, "first", tpc_module_v_ring_a());
    add_and_open(&m, "second", tpc_module_v_ring_b());
    tk_fails(TPC_EINVAL, tpc_core_start(m.core));
    mt_error_says("cycle");
    mt_error_says("first");
    ck_assert_uint_eq(tk_env_logged(&m.e, ": start"), 0);
    mt_close(&m);
}
END_TEST

START_TEST(threads_are_refused_by_name_where_none_may_start)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_NONE);
    tk_fails(TPC_EDENIED, tpc_core_add_module(m.core, tpc_module_v_threads()));
    mt_error_says("v_threads");
    mt_close(&m);
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_add_module(m.core, tpc_module_v_threads()));
    mt_run(&m, "v_threads");
    mt_close(&m);
}
END_TEST

Suite *service_suite(void)
{
    Suite *s = suite_create("service");
    TCase *t = tcase_create("service");
    tcase_add_test(t, who_offers_starts_first);
    tcase_add_test(t, a_missing_service_is_named);
    tcase_add_test(t, a_start_that_failed_can_be_repaired);
    tcase_add_test(t, a_cycle_is_refused);
    tcase_add_test(t, threads_are_refused_by_name_where_none_may_start);
    suite_add_tcase(s, t);
    return s;
}
