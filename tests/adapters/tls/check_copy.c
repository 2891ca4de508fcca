#include "copy.h"
#include "pem_files.h"
#include "tls_suites.h"

#include "tk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct pem_files p;

static void expect_text(const char *path, const char *fixture)
{
    char got[8192];
    size_t len;
    const char *text = pem_text(fixture, &len);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    ck_assert_uint_eq(fread(got, 1, sizeof(got), f), len);
    ck_assert_mem_eq(got, text, len);
    fclose(f);
}

START_TEST(copy_keeps_the_set_that_was_taken_over_whatever_the_files_become)
{
    struct tls_copy *c;
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    tk_ok(tls_copy_create(&p.files, &c));
    pem_write(&p, TLS_KEY, "half", 4);
    unlink(p.path[TLS_CA]);
    expect_text(c->path[TLS_CA], "ca.pem");
    expect_text(c->path[TLS_CERT], "a.pem");
    expect_text(c->path[TLS_KEY], "a.key");
    expect_text(c->path[TLS_KEY], "a.key"); /* each opening begins at the start */
    tls_copy_destroy(c);
    pem_end(&p);
}
END_TEST

START_TEST(copy_cannot_be_written_to)
{
    struct tls_copy *c;
    pem_begin(&p, "ca.pem", NULL, NULL);
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    tk_ok(tls_copy_create(&p.files, &c));
    ck_assert_ptr_null(c->path[TLS_CERT]);
    ck_assert_ptr_null(c->path[TLS_KEY]);
    if (c->fd[TLS_CA] >= 0) {
        ck_assert_int_eq(write(c->fd[TLS_CA], "x", 1), -1);
        ck_assert_int_eq(ftruncate(c->fd[TLS_CA], 0), -1);
        ck_assert_int_ne(fcntl(c->fd[TLS_CA], F_GETFD) & FD_CLOEXEC, 0);
    }
    tls_copy_destroy(c);
    pem_end(&p);
}
END_TEST

START_TEST(copy_without_descriptors_is_an_error_and_leaks_none)
{
    struct rlimit before, none;
    struct tls_copy *c;
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    int next = dup(STDIN_FILENO);
    close(next);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (rlim_t room = 0; room < 3; room++) {
        none = (struct rlimit){ (rlim_t) next + room, before.rlim_max };
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
        int rc = tls_copy_create(&p.files, &c);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        ck_assert_int_eq(rc, TPC_EIO);
    }
    int again = dup(STDIN_FILENO);
    close(again);
    ck_assert_int_eq(again, next);
    pem_end(&p);
}
END_TEST

static int make_one(const struct tpc_allocator *a, void *user)
{
    struct tls_files f = p.files;
    struct tls_copy *c;
    (void) user;
    f.alloc = a;
    int rc = tls_copy_create(&f, &c);
    if (rc == 0) {
        tls_copy_destroy(c);
    }
    return rc;
}

START_TEST(copy_survives_each_allocation_that_fails)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_uint_eq(tk_each_alloc_fails(make_one, NULL), 1);
    pem_end(&p);
}
END_TEST

Suite *copy_suite(void)
{
    Suite *s = suite_create("copy");
    TCase *c = tcase_create("copy");
    tcase_add_test(c, copy_keeps_the_set_that_was_taken_over_whatever_the_files_become);
    tcase_add_test(c, copy_cannot_be_written_to);
    tcase_add_test(c, copy_without_descriptors_is_an_error_and_leaks_none);
    tcase_add_test(c, copy_survives_each_allocation_that_fails);
    suite_add_tcase(s, c);
    return s;
}
