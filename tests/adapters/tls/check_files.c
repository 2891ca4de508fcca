#include "pem_files.h"
#include "tls_suites.h"

#include "tk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DAYS_TO_2120 = 54786 - 20000 }; /* 2120-01-01 is day 54,786 */

static struct pem_files p;

/* The set in use is this fixture's certificate. */
static void in_use(const char *fixture)
{
    size_t len;
    const char *text = pem_text(fixture, &len);
    ck_assert_uint_eq(p.files.part[TLS_CERT].len, len);
    ck_assert_mem_eq(p.files.part[TLS_CERT].text, text, len);
}

static void said(const char *what)
{
    ck_assert_msg(strstr(p.files.text, what) != NULL, "\"%s\" says nothing of \"%s\"", p.files.text,
                  what);
}

/* Stamps look old, as those of files that nobody touched for a while. */
static void settle(void)
{
    struct timespec times[2] = { { 1700000000, 0 }, { 1700000000, 0 } };
    for (int i = 0; i < TLS_ROLES; i++) {
        if (p.files.path[i] != NULL) {
            (void) utimensat(AT_FDCWD, p.path[i], times, 0);
        }
    }
    p.files.again = false;
}

START_TEST(good_set_is_taken_with_its_ends)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_int_eq(tls_files_days(&p.files, p.files.summary.chain_end_s), DAYS_TO_2120);
    ck_assert_int_eq(tls_files_days(&p.files, p.files.summary.ca_end_s), DAYS_TO_2120);
    ck_assert_str_eq(p.files.summary.chain_subject, "CN=client-a");
    ck_assert_str_eq(p.files.summary.ca_subject, "CN=test authority");
    ck_assert_uint_eq(p.files.summary.unchecked, 0);
    ck_assert_uint_eq(p.files.reloaded, 0);
    in_use("a.pem");
    pem_end(&p);
}
END_TEST

START_TEST(days_are_whole_and_go_below_zero)
{
    pem_begin(&p, NULL, NULL, NULL);
    static const struct {
        int64_t end_s, days;
    } all[] = { { 86400000, 0 },      { 86400000 + 86399, 0 },  { 86400000 + 86400, 1 },
                { 86400000 - 1, -1 }, { 86400000 - 86400, -1 }, { 86400000 - 86401, -2 } };
    tk_clock_set_unix(&p.env.clock, INT64_C(86400000) * 1000);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        ck_assert_int_eq(tls_files_days(&p.files, all[i].end_s), all[i].days);
    }
    pem_end(&p);
}
END_TEST

START_TEST(set_of_authorities_alone_is_one)
{
    char both[4096];
    size_t len, more;
    pem_begin(&p, "ca.pem", NULL, NULL);
    memcpy(both, "# ours\n", 7);
    const char *text = pem_text("ca.pem", &len);
    memcpy(both + 7, text, len);
    text = pem_text("ca2.pem", &more);
    memcpy(both + 7 + len, text, more);
    pem_write(&p, TLS_CA, both, 7 + len + more);
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_int_eq(p.files.summary.chain_end_s, 0);
    ck_assert_int_eq(tls_files_days(&p.files, p.files.summary.ca_end_s), DAYS_TO_2120);
    pem_end(&p);
}
END_TEST

START_TEST(key_may_stand_in_the_file_of_the_certificate)
{
    char both[4096];
    size_t len, more;
    pem_begin(&p, "ca.pem", "a.pem", NULL);
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("there is no private key in it");
    const char *text = pem_text("a.pem", &len);
    memcpy(both, text, len);
    text = pem_text("a.key", &more);
    memcpy(both + len, text, more);
    pem_write(&p, TLS_CERT, both, len + more);
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    text = pem_text("b.key", &more);
    memcpy(both + len, text, more);
    pem_write(&p, TLS_CERT, both, len + more);
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("does not belong");
    pem_end(&p);
}
END_TEST

START_TEST(key_without_a_certificate_is_refused)
{
    pem_begin(&p, "ca.pem", NULL, "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("key ");
    said("certificate is missing");
    pem_end(&p);
}
END_TEST

START_TEST(unchanged_files_are_not_read_again)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    settle();
    ck_assert_int_eq(pem_look(&p), TLS_SAME); /* the times changed */
    p.files.again = false;
    uint64_t reads = p.files.reads;
    size_t allocations = p.env.alloc.count;
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(pem_look(&p), TLS_SAME);
    }
    ck_assert_uint_eq(p.files.reads, reads);
    ck_assert_uint_eq(p.env.alloc.count, allocations);
    pem_end(&p);
}
END_TEST

START_TEST(files_just_written_are_read_once_more)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_int_eq(pem_look(&p), TLS_SAME);
    ck_assert_uint_eq(p.files.reads, 2);
    pem_end(&p);
}
END_TEST

START_TEST(same_bytes_in_another_file_are_nothing_new)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    pem_put(&p, TLS_CERT, "a.pem");
    pem_put(&p, TLS_KEY, "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_SAME);
    ck_assert_uint_eq(p.files.reloaded, 0);
    pem_end(&p);
}
END_TEST

START_TEST(new_pair_replaces_the_old_one)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    pem_put(&p, TLS_CERT, "rsa.pem");
    pem_put(&p, TLS_KEY, "rsa.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_uint_eq(p.files.reloaded, 1);
    in_use("rsa.pem");
    pem_put(&p, TLS_CA, "ca2.pem");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_str_eq(p.files.summary.ca_subject, "CN=test authority 2");
    pem_end(&p);
}
END_TEST

START_TEST(half_of_a_pair_waits_for_the_other_and_is_told_once)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    pem_put(&p, TLS_KEY, "b.key");
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said(p.path[TLS_KEY]);
    said("does not belong");
    ck_assert_int_eq(pem_look(&p), TLS_SAME); /* read again, told once */
    ck_assert_int_eq(pem_look(&p), TLS_SAME);
    in_use("a.pem");
    pem_put(&p, TLS_CERT, "b.pem");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    in_use("b.pem");
    ck_assert_uint_eq(p.files.refused, 1);
    pem_end(&p);
}
END_TEST

START_TEST(bad_file_keeps_the_set_and_is_named)
{
    static const struct {
        enum tls_role role;
        const char *fixture; /* NULL = the text */
        const char *text, *why;
    } all[] = {
        { TLS_CA, NULL, "", "no certificate" },
        { TLS_CA, NULL, "hello\n", "no certificate" },
        { TLS_CA, "a.key", NULL, "no certificate" },
        { TLS_CA, NULL, "x\n\n-----BEGIN CERTIFICATE-----\nMIIB\n", "line 3: its END" },
        { TLS_CA, NULL, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
          "line 1: this certificate cannot be read" },
        { TLS_CERT, "b.pem", NULL, "does not belong" },
        { TLS_CERT, "a.key", NULL, "no certificate" },
        { TLS_KEY, "a.pem", NULL, "no private key" },
        { TLS_KEY, "ed.key", NULL, "does not belong" },
        { TLS_KEY, "locked.key", NULL, "line 1: this key is locked" },
        { TLS_KEY, NULL,
          "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
          "line 1: this key is locked" },
        { TLS_KEY, NULL, "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
          "line 1: this key cannot be read" },
        { TLS_KEY, NULL, "-----BEGIN PRIVATE KEY-----\nMIIB\n", "line 1: its END" },
    };
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        static const char *const own[] = { "ca.pem", "a.pem", "a.key" };
        if (all[i].fixture != NULL) {
            pem_put(&p, all[i].role, all[i].fixture);
        } else {
            pem_write(&p, all[i].role, all[i].text, strlen(all[i].text));
        }
        ck_assert_msg(pem_look(&p) == TLS_REFUSED, "case %zu", i);
        said(strstr(all[i].why, "belong") != NULL ? p.path[TLS_KEY] : p.path[all[i].role]);
        said(all[i].why);
        in_use("a.pem");
        pem_put(&p, all[i].role, own[all[i].role]);
        ck_assert_int_eq(pem_look(&p), TLS_SAME); /* as it was */
    }
    ck_assert_uint_eq(p.files.reloaded, 0);
    pem_end(&p);
}
END_TEST

START_TEST(file_cut_anywhere_is_refused_or_not_read_wrongly)
{
    char text[4096];
    size_t len;
    pem_begin(&p, NULL, "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    for (int role = TLS_CERT; role <= TLS_KEY; role++) {
        const char *own = role == TLS_CERT ? "a.pem" : "a.key";
        memcpy(text, pem_text(own, &len), 4096);
        for (size_t cut = 1; cut + 2 < len; cut += 7) {
            char *exact = malloc(cut); /* reading behind it is seen */
            ck_assert_ptr_nonnull(exact);
            memcpy(exact, text, cut);
            pem_write(&p, (enum tls_role) role, exact, cut);
            free(exact);
            ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
            in_use("a.pem");
        }
        pem_put(&p, (enum tls_role) role, own);
        ck_assert_int_eq(pem_look(&p), TLS_SAME);
    }
    pem_end(&p);
}
END_TEST

START_TEST(damaged_certificate_is_refused)
{
    char text[4096];
    size_t len;
    pem_begin(&p, NULL, "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    memcpy(text, pem_text("a.pem", &len), 4096);
    memset(text + strlen("-----BEGIN CERTIFICATE-----\n"), 'A', 8); /* no sequence any more */
    pem_write(&p, TLS_CERT, text, len);
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("line 1: ");
    memcpy(text, pem_text("a.pem", &len), 4096);
    text[100] = '\0';
    pem_write(&p, TLS_CERT, text, len);
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("zero bytes");
    pem_end(&p);
}
END_TEST

START_TEST(file_that_is_gone_is_told_once_and_comes_back)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    unlink(p.path[TLS_CERT]);
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("No such file");
    ck_assert_int_eq(pem_look(&p), TLS_SAME);
    pem_put(&p, TLS_CERT, "a.pem");
    ck_assert_int_eq(pem_look(&p), TLS_SAME);
    unlink(p.path[TLS_CERT]); /* another time is another change */
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    ck_assert_int_eq(mkdir(p.path[TLS_CERT], 0700), 0);
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("this is no file");
    rmdir(p.path[TLS_CERT]);
    ck_assert_int_eq(mkfifo(p.path[TLS_CERT], 0600), 0);
    (void) pem_look(&p); /* waits for no writer */
    said("this is no file");
    unlink(p.path[TLS_CERT]);
    pem_end(&p);
}
END_TEST

START_TEST(file_over_the_limit_is_refused)
{
    size_t len = TLS_FILE_BYTES_MAX + 1;
    char *big = malloc(len);
    ck_assert_ptr_nonnull(big);
    memset(big, '\n', len);
    pem_begin(&p, "ca.pem", NULL, NULL);
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    pem_write(&p, TLS_CA, big, len);
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("larger than 1 MiB");
    size_t ca;
    const char *text = pem_text("ca2.pem", &ca);
    memcpy(big, text, ca);
    pem_write(&p, TLS_CA, big, len - 1); /* just as large as it may be */
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    free(big);
    pem_end(&p);
}
END_TEST

START_TEST(certificate_that_is_over_is_taken_only_as_the_first)
{
    pem_begin(&p, "ca.pem", "old.pem", "old.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_int_lt(tls_files_days(&p.files, p.files.summary.chain_end_s), -1000);
    pem_put(&p, TLS_CERT, "a.pem");
    pem_put(&p, TLS_KEY, "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    pem_put(&p, TLS_CERT, "old.pem");
    pem_put(&p, TLS_KEY, "old.key");
    ck_assert_int_eq(pem_look(&p), TLS_REFUSED);
    said("ended");
    in_use("a.pem");
    settle();
    ck_assert_int_eq(pem_look(&p), TLS_SAME);
    ck_assert_int_eq(pem_look(&p), TLS_SAME);
    /* The clock was wrong: 2020-06-01. */
    tk_clock_set_unix(&p.env.clock, INT64_C(1590969600000));
    p.files.again = false;
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    in_use("old.pem");
    pem_end(&p);
}
END_TEST

START_TEST(certificate_that_does_not_hold_yet_is_taken)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    tk_clock_set_unix(&p.env.clock, 86400000); /* a machine without a battery: 1970 */
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_int_gt(p.files.summary.own_begin_s, 86400);
    pem_end(&p);
}
END_TEST

START_TEST(algorithm_that_is_not_known_is_taken_unchecked)
{
    pem_begin(&p, "ca.pem", "ed.pem", "ed.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    ck_assert_uint_eq(p.files.summary.unchecked, 2);
    ck_assert_int_eq(p.files.summary.chain_end_s, 0);
    pem_end(&p);
}
END_TEST

START_TEST(set_changes_under_memory_that_runs_out_and_comes_back)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    pem_put(&p, TLS_CERT, "b.pem");
    pem_put(&p, TLS_KEY, "b.key");
    for (size_t i = 1; i <= TLS_ROLES; i++) {
        int news;
        p.env.alloc.fail_at = p.env.alloc.count + i;
        tk_fails(TPC_ENOMEM, tls_files_look(&p.files, &news));
        ck_assert_int_eq(news, TLS_SAME);
        in_use("a.pem");
    }
    p.env.alloc.fail_at = 0;
    ck_assert_int_eq(pem_look(&p), TLS_NEW);
    in_use("b.pem");
    pem_end(&p);
}
END_TEST

static int look_once(const struct tpc_allocator *a, void *user)
{
    struct tls_files f = p.files;
    int news;
    (void) user;
    f.alloc = a;
    tls_files_init(&f);
    int rc = tls_files_look(&f, &news);
    ck_assert(rc != 0 || news == TLS_NEW);
    tls_files_fini(&f);
    return rc;
}

START_TEST(look_survives_each_allocation_that_fails)
{
    pem_begin(&p, "ca.pem", "a.pem", "a.key");
    ck_assert_uint_eq(tk_each_alloc_fails(look_once, NULL), TLS_ROLES);
    pem_end(&p);
}
END_TEST

Suite *files_suite(void)
{
    Suite *s = suite_create("files");
    TCase *c = tcase_create("files");
    tcase_add_test(c, good_set_is_taken_with_its_ends);
    tcase_add_test(c, days_are_whole_and_go_below_zero);
    tcase_add_test(c, set_of_authorities_alone_is_one);
    tcase_add_test(c, key_may_stand_in_the_file_of_the_certificate);
    tcase_add_test(c, key_without_a_certificate_is_refused);
    tcase_add_test(c, unchanged_files_are_not_read_again);
    tcase_add_test(c, files_just_written_are_read_once_more);
    tcase_add_test(c, same_bytes_in_another_file_are_nothing_new);
    tcase_add_test(c, new_pair_replaces_the_old_one);
    tcase_add_test(c, half_of_a_pair_waits_for_the_other_and_is_told_once);
    tcase_add_test(c, bad_file_keeps_the_set_and_is_named);
    tcase_add_test(c, file_cut_anywhere_is_refused_or_not_read_wrongly);
    tcase_add_test(c, damaged_certificate_is_refused);
    tcase_add_test(c, file_that_is_gone_is_told_once_and_comes_back);
    tcase_add_test(c, file_over_the_limit_is_refused);
    tcase_add_test(c, certificate_that_is_over_is_taken_only_as_the_first);
    tcase_add_test(c, certificate_that_does_not_hold_yet_is_taken);
    tcase_add_test(c, algorithm_that_is_not_known_is_taken_unchecked);
    tcase_add_test(c, set_changes_under_memory_that_runs_out_and_comes_back);
    tcase_add_test(c, look_survives_each_allocation_that_fails);
    suite_add_tcase(s, c);
    return s;
}
