#include "tk.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int skipped;
static char tmpdir[256];

void tk_skip(const char *what, const char *reason)
{
    printf("SKIP %s: %s\n", what, reason);
    skipped++;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void) st;
    (void) type;
    (void) ftw;
    return remove(path);
}

static void remove_tmpdir(void)
{
    if (tmpdir[0] != '\0') {
        nftw(tmpdir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

const char *tk_tmpdir(void)
{
    static char path[300];
    static int count;
    if (tmpdir[0] == '\0') {
        const char *top = getenv("TMPDIR");
        snprintf(tmpdir, sizeof(tmpdir), "%s/tpk.XXXXXX", top != NULL ? top : "/tmp");
        if (mkdtemp(tmpdir) == NULL) {
            perror(tmpdir);
            exit(2);
        }
        atexit(remove_tmpdir);
    }
    snprintf(path, sizeof(path), "%s/%d", tmpdir, count++);
    return path;
}

static void (*child_fn)(void *user);
static void *child_user;

START_TEST(in_child)
{
    child_fn(child_user);
}
END_TEST

void tk_in_child(void (*fn)(void *user), void *user)
{
    child_fn = fn;
    child_user = user;
    unsetenv("CK_RUN_SUITE"); /* they choose among the parent's tests */
    unsetenv("CK_RUN_CASE");
    Suite *s = suite_create("child");
    TCase *t = tcase_create("child");
    tcase_add_test(t, in_child);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_set_log(r, "/dev/null"); /* the log of the run, if there is one, is the parent's */
    srunner_run_all(r, CK_SILENT);
    if (srunner_ntests_failed(r) > 0 || srunner_ntests_run(r) != 1) {
        srunner_print(r, CK_NORMAL);
        fflush(NULL);
        _exit(1);
    }
    _exit(0);
}

int tk_main(const char *name, tk_suite_fn *const *suites)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    SRunner *runner = srunner_create((*suites)());
    for (tk_suite_fn *const *s = suites + 1; *s != NULL; s++) {
        srunner_add_suite(runner, (*s)());
    }
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int ran = srunner_ntests_run(runner);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double) (end.tv_sec - begin.tv_sec) + 1e-9 * (double) (end.tv_nsec - begin.tv_nsec);
    printf("tk: %s passed=%d failed=%d skipped=%d seconds=%.2f\n", name, ran - failed, failed,
           skipped, seconds);
    fflush(stdout);
    return failed != 0 ? 1 : ran == 0 && skipped > 0 ? 77 : 0;
}
