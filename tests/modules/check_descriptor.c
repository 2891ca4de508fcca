/* Descriptors and tables of other sizes and versions, linked into the program. */
#include "modules_test.h"
#include "variants.h"

#include <string.h>

static void runs(const struct tpc_module *module)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_add_module(m.core, module));
    mt_run(&m, module->name);
    mt_close(&m);
}

static void refused(const struct tpc_module *module, int code, const char *first,
                    const char *second)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    tk_fails(code, tpc_core_add_module(m.core, module));
    mt_error_says(first);
    mt_error_says(second);
    ck_assert_int_eq(tpc_error_last()->code, code);
    tk_fails(TPC_ENOENT, tpc_core_open(m.core, "edge", "v_lacks", (struct tpc_str){ NULL, 0 }));
    tk_ok(tpc_core_start(m.core)); /* the core is as before */
    mt_close(&m);
}

START_TEST(tables_of_every_length_run)
{
    runs(tpc_module_v_good());
    runs(tpc_module_v_short());
    runs(tpc_module_v_long());
    runs(tpc_module_v_future());
}
END_TEST

START_TEST(short_option_elements_are_checked)
{
    struct mt m;
    runs(tpc_module_v_option());
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_add_module(m.core, tpc_module_v_option()));
    tk_fails(TPC_EINVAL, tpc_core_open(m.core, "edge", "v_option", TPC_STR("{\"port\":0}")));
    ck_assert_str_eq(tpc_error_last()->path, "edge.port");
    tk_fails(TPC_EINVAL, tpc_core_open(m.core, "edge", "v_option", TPC_STR("{\"hots\":\"x\"}")));
    ck_assert_str_eq(tpc_error_last()->path, "edge.hots");
    tk_fails(TPC_EINVAL, tpc_core_open(m.core, "edge", "v_option", TPC_STR("{\"host\":5}")));
    ck_assert_str_eq(tpc_error_last()->path, "edge.host");
    tk_ok(tpc_core_open(m.core, "edge", "v_option", TPC_STR("{\"host\":\"x\"}")));
    ck_assert_uint_eq(tk_env_logged(&m.e, "init port=7000"), 1);
    mt_close(&m);
}
END_TEST

START_TEST(another_major_is_refused_with_both_numbers)
{
    refused(tpc_module_v_major(), TPC_EVERSION, "major 7", "has 1");
    refused(tpc_module_v_descriptor(), TPC_EVERSION, "major 9", "has 1");
}
END_TEST

START_TEST(a_missing_method_is_named)
{
    refused(tpc_module_v_lacks(), TPC_EINVAL, "v_lacks", "send");
    refused(tpc_module_v_cut(), TPC_EINVAL, "v_cut", "send");
}
END_TEST

START_TEST(what_is_no_descriptor_is_refused)
{
    struct tpc_module empty;
    memset(&empty, 0, sizeof(empty));
    refused(&empty, TPC_EINVAL, "descriptor", "");
    refused(tpc_module_v_name(), TPC_EINVAL, "identifier", "");
}
END_TEST

START_TEST(module_without_interfaces_offers_nothing_to_open)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_add_module(m.core, tpc_module_v_bare()));
    tk_fails(TPC_EUNSUPPORTED,
             tpc_core_open(m.core, "edge", "v_bare", (struct tpc_str){ NULL, 0 }));
    mt_error_says("adapter");
    tk_fails(TPC_EUNSUPPORTED, tpc_core_open(m.core, "log", "v_bare", (struct tpc_str){ NULL, 0 }));
    mt_error_says("bus");
    mt_close(&m);
}
END_TEST

START_TEST(names_are_taken_once)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_add_module(m.core, tpc_module_v_good()));
    tk_fails(TPC_EEXIST, tpc_core_add_module(m.core, tpc_module_v_good()));
    mt_error_says("v_good");
    tk_ok(tpc_core_open(m.core, "one", "v_good", (struct tpc_str){ NULL, 0 }));
    tk_ok(tpc_core_open(m.core, "two", "v_good", (struct tpc_str){ NULL, 0 }));
    tk_fails(TPC_EEXIST, tpc_core_open(m.core, "one", "v_good", (struct tpc_str){ NULL, 0 }));
    mt_error_says("one");
    tk_ok(tpc_core_open(m.core, "log", "memory", (struct tpc_str){ NULL, 0 }));
    tk_fails(TPC_EEXIST, tpc_core_open(m.core, "log", "memory", (struct tpc_str){ NULL, 0 }));
    mt_error_says("log");
    mt_close(&m);
}
END_TEST

START_TEST(a_part_that_cannot_be_opened_leaves_its_name_free)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_add_module(m.core, tpc_module_v_good()));
    tk_fails(TPC_EDENIED, tpc_core_open(m.core, "edge", "v_good", TPC_STR("{\"port\":13}")));
    mt_error_says("port 13 is not for us");
    ck_assert_uint_eq(tk_env_logged(&m.e, "edge: fini"), 1);
    tk_fails(TPC_EINVAL, tpc_core_open(m.core, "edge", "v_good", TPC_STR("{\"port\":\"many\"}")));
    tk_fails(TPC_EINVAL, tpc_core_open(m.core, "edge", "v_good", TPC_STR("{\"port\":")));
    tk_fails(TPC_EINVAL, tpc_core_open(m.core, "edge", "v_good", TPC_STR("[1]")));
    tk_fails(TPC_EINVAL, tpc_core_open(m.core, "", "v_good", (struct tpc_str){ NULL, 0 }));
    mt_run(&m, "v_good");
    mt_close(&m);
}
END_TEST

START_TEST(modules_come_before_the_start)
{
    struct mt m;
    mt_open(&m, TPC_CORE_LOAD_ANY, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_start(m.core));
    tk_fails(TPC_ESTATE, tpc_core_add_module(m.core, tpc_module_v_good()));
    tk_fails(TPC_ESTATE, tpc_core_open(m.core, "log", "memory", (struct tpc_str){ NULL, 0 }));
    tk_fails(TPC_ESTATE, tpc_core_load_module(m.core, mt_object("tpc_v_good.so")));
    tk_fails(TPC_ESTATE, tpc_core_start(m.core));
    mt_close(&m);
}
END_TEST

Suite *descriptor_suite(void)
{
    Suite *s = suite_create("descriptor");
    TCase *t = tcase_create("descriptor");
    tcase_add_test(t, tables_of_every_length_run);
    tcase_add_test(t, short_option_elements_are_checked);
    tcase_add_test(t, another_major_is_refused_with_both_numbers);
    tcase_add_test(t, a_missing_method_is_named);
    tcase_add_test(t, what_is_no_descriptor_is_refused);
    tcase_add_test(t, module_without_interfaces_offers_nothing_to_open);
    tcase_add_test(t, names_are_taken_once);
    tcase_add_test(t, a_part_that_cannot_be_opened_leaves_its_name_free);
    tcase_add_test(t, modules_come_before_the_start);
    suite_add_tcase(s, t);
    return s;
}
