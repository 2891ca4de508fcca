/* Modules in shared objects. */
#include "modules_test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void loads_and_runs(const char *file, const char *name)
{
    struct mt m;
    mt_open(&m, TPC_CORE_LOAD_ANY, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_load_module(m.core, mt_object(file)));
    mt_run(&m, name);
    mt_close(&m);
}

static void refused(const char *path, int code, const char *says)
{
    struct mt m;
    mt_open(&m, TPC_CORE_LOAD_ANY, TPC_THREADS_ALLOWED);
    tk_fails(code, tpc_core_load_module(m.core, path));
    mt_error_says(says);
    mt_close(&m);
}

START_TEST(objects_of_every_length_run)
{
    loads_and_runs("tpc_v_good.so", "v_good");
    loads_and_runs("tpc_v_short.so", "v_short");
    loads_and_runs("tpc_v_long.so", "v_long");
    loads_and_runs("tpc_v_option.so", "v_option");
}
END_TEST

START_TEST(objects_that_do_not_fit_are_refused)
{
    refused(mt_object("tpc_v_major.so"), TPC_EVERSION, "major 7");
    refused(mt_object("tpc_v_lacks.so"), TPC_EINVAL, "send");
    refused(mt_object("tpc_v_other.so"), TPC_EINVAL, "another name");
    refused(mt_object("tpc_v_none.so"), TPC_EINVAL, "tpc_module_v_none");
}
END_TEST

START_TEST(files_that_are_no_modules_are_refused)
{
    char path[400];
    const char *dir = tk_tmpdir();
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    snprintf(path, sizeof(path), "%s/tpc_text.so", dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("this is no object\n", f);
    fclose(f);
    refused(path, TPC_EINVAL, "tpc_text.so");
    refused(mt_object("tpc_v_absent.so"), TPC_ENOENT, "tpc_v_absent.so");
    refused(mt_object("libother.so"), TPC_EINVAL, "tpc_<name>.so");
    refused("tpc_not_installed_here.so", TPC_ENOENT, "tpc_not_installed_here.so");
}
END_TEST

START_TEST(loading_needs_leave)
{
    struct mt m;
    mt_open(&m, 0, TPC_THREADS_ALLOWED);
    tk_fails(TPC_EDENIED, tpc_core_load_module(m.core, mt_object("tpc_v_good.so")));
    mt_error_says("TPC_CORE_LOAD_ANY");
    mt_close(&m);
}
END_TEST

static int kept(void *user, const struct tpc_module_info *info)
{
    int *found = user;
    if (strcmp(info->name, "v_good") == 0) {
        ck_assert_uint_eq(info->loaded, 1);
        ck_assert_str_eq(info->version, "1.2");
        ck_assert_str_eq(info->licence, "Apache-2.0");
        ck_assert_str_eq(info->interfaces, "adapter");
        (*found)++;
    }
    return 0;
}

START_TEST(loaded_modules_are_listed_once)
{
    struct mt m;
    int found = 0;
    mt_open(&m, TPC_CORE_LOAD_ANY, TPC_THREADS_ALLOWED);
    tk_ok(tpc_core_load_module(m.core, mt_object("tpc_v_good.so")));
    tk_fails(TPC_EEXIST, tpc_core_load_module(m.core, mt_object("tpc_v_good.so")));
    tk_ok(tpc_core_modules(m.core, kept, &found));
    ck_assert_int_eq(found, 1);
    mt_close(&m);
}
END_TEST

Suite *object_suite(void)
{
    Suite *s = suite_create("object");
    TCase *t = tcase_create("object");
    tcase_add_test(t, objects_of_every_length_run);
    tcase_add_test(t, objects_that_do_not_fit_are_refused);
    tcase_add_test(t, files_that_are_no_modules_are_refused);
    tcase_add_test(t, loading_needs_leave);
    tcase_add_test(t, loaded_modules_are_listed_once);
    suite_add_tcase(s, t);
    return s;
}
