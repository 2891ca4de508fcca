#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_suites.h"
#include "tk_env.h"

enum { RW = TPC_FILE_READ | TPC_FILE_WRITE | TPC_FILE_CREATE };

/* A folder and names in it. */
struct place {
    char dir[320];
    char a[340];
    char b[340];
};

static void place_init(struct place *p, const struct tpc_files *f)
{
    snprintf(p->dir, sizeof(p->dir), "%s/x/y", tk_tmpdir());
    snprintf(p->a, sizeof(p->a), "%s/a", p->dir);
    snprintf(p->b, sizeof(p->b), "%s/b", p->dir);
    tk_ok(f->make_dir(f->user, p->dir, NULL));
}

static int write_text(const struct tpc_files *f, void *file, const char *text, uint64_t offset)
{
    struct tpc_bytes part = { (const uint8_t *) text, strlen(text) };
    return f->write_at(f->user, file, &part, 1, offset, NULL);
}

static void *open_it(const struct tpc_files *f, const char *path, uint32_t flags)
{
    void *file = NULL;
    tk_ok(f->open(f->user, path, flags, &file, NULL));
    return file;
}

static void content_is(const char *path, const char *expected)
{
    const struct tpc_files *f = tpi_files_system();
    char text[200] = "";
    void *file;
    int rc = f->open(f->user, path, TPC_FILE_READ, &file, NULL);
    if (expected == NULL) {
        ck_assert_int_eq(rc, TPC_ENOENT);
        return;
    }
    ck_assert_msg(rc == 0, "%s is not there", path);
    ck_assert_int_ge(f->read_at(f->user, file, text, sizeof(text) - 1, 0, NULL), 0);
    ck_assert_str_eq(text, expected);
    f->close(f->user, file);
}

START_TEST(many_parts_are_written_in_order_and_read_back)
{
    enum { PARTS = 333 };
    const struct tpc_files *f = tpi_files_system();
    struct tpc_bytes parts[PARTS];
    uint8_t data[PARTS * 5], back[sizeof(data) + 10];
    struct place p;
    size_t len = 0;
    place_init(&p, f);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t) (i * 31 >> 3);
    }
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = (struct tpc_bytes){ data + len, i % 6 };
        len += i % 6;
    }
    void *file = open_it(f, p.a, RW);
    tk_ok(f->write_at(f->user, file, parts, PARTS, 7, NULL));
    tk_ok(f->write_at(f->user, file, parts, 0, 7, NULL));
    ck_assert_int_eq(f->length(f->user, file, NULL), (int64_t) len + 7);
    ck_assert_int_eq(f->read_at(f->user, file, back, sizeof(back), 7, NULL), (int64_t) len);
    ck_assert_mem_eq(back, data, len);
    ck_assert_int_eq(f->read_at(f->user, file, back, 10, len + 7, NULL), 0);
    tk_ok(f->sync(f->user, file, NULL));
    tk_ok(f->truncate(f->user, file, 9, NULL));
    ck_assert_int_eq(f->length(f->user, file, NULL), 9);
    int native = 0;
    tk_fails(TPC_EIO, (int) f->read_at(f->user, file, back, 1, UINT64_MAX, &native));
    ck_assert_int_eq(native, EINVAL);
    tk_fails(TPC_ENOSPC, f->truncate(f->user, file, UINT64_MAX, &native));
    f->close(f->user, file);
}
END_TEST

static int collect(void *user, const char *name)
{
    char *names = user;
    strncat(names, name, 10);
    return names[0] == '!' ? 5 : 0;
}

START_TEST(names_are_made_listed_renamed_removed)
{
    const struct tpc_files *f = tpi_files_system();
    struct place p;
    char names[100] = "";
    int native = 0;
    uint64_t free_bytes = 0;
    place_init(&p, f);
    tk_ok(f->make_dir(f->user, p.dir, NULL));
    f->close(f->user, open_it(f, p.a, RW));
    void *file;
    tk_fails(TPC_EEXIST, f->open(f->user, p.a, RW | TPC_FILE_EXCLUSIVE, &file, &native));
    ck_assert_int_eq(native, EEXIST);
    tk_fails(TPC_ENOENT, f->open(f->user, p.b, TPC_FILE_READ, &file, NULL));
    tk_fails(TPC_EEXIST, f->make_dir(f->user, p.a, NULL));
    tk_ok(f->rename(f->user, p.a, p.b, NULL));
    tk_fails(TPC_ENOENT, f->rename(f->user, p.a, p.b, NULL));
    tk_ok(f->list(f->user, p.dir, collect, names, NULL));
    ck_assert_str_eq(names, "b");
    names[0] = '!';
    ck_assert_int_eq(f->list(f->user, p.dir, collect, names, NULL), 5);
    tk_ok(f->sync_dir(f->user, p.dir, NULL));
    tk_ok(f->remove(f->user, p.b, NULL));
    tk_fails(TPC_ENOENT, f->remove(f->user, p.b, NULL));
    tk_fails(TPC_ENOENT, f->sync_dir(f->user, p.b, NULL));
    tk_fails(TPC_ENOENT, f->list(f->user, p.b, collect, names, NULL));
    tk_ok(f->space(f->user, p.dir, &free_bytes, NULL));
    ck_assert_uint_gt(free_bytes, 0);
    tk_fails(TPC_ENOENT, f->make_dir(f->user, "", NULL));
}
END_TEST

START_TEST(lock_is_exclusive_until_close)
{
    const struct tpc_files *f = tpi_files_system();
    struct place p;
    void *second;
    place_init(&p, f);
    void *first = open_it(f, p.a, RW | TPC_FILE_LOCK);
    tk_fails(TPC_EAGAIN, f->open(f->user, p.a, RW | TPC_FILE_LOCK, &second, NULL));
    f->close(f->user, first);
    second = open_it(f, p.a, RW | TPC_FILE_LOCK);
    f->close(f->user, second);
    f->close(f->user, NULL);
}
END_TEST

START_TEST(full_device_is_enospc)
{
    const struct tpc_files *f = tpi_files_system();
    void *file;
    if (f->open(f->user, "/dev/full", TPC_FILE_WRITE, &file, NULL) != 0) {
        tk_skip("full_device_is_enospc", "no /dev/full");
        return;
    }
    int native = 0;
    tk_fails(TPC_ENOSPC, f->write_at(f->user, file, &(struct tpc_bytes){ (const uint8_t *) "x", 1 },
                                     1, 0, &native));
    ck_assert_int_eq(native, ENOSPC);
    f->close(f->user, file);
}
END_TEST

/* ---- the kit's own files ---- */

START_TEST(kit_fails_the_call_it_was_told_to)
{
    struct tk_env e;
    struct place p;
    tk_env_init(&e);
    const struct tpc_files *f = e.env.files;
    place_init(&p, f);
    void *file = open_it(f, p.a, RW);
    tk_files_fail(&e.files, TK_FILE_WRITE, 2, TPC_EIO, false);
    tk_ok(write_text(f, file, "1111", 0));
    tk_fails(TPC_EIO, write_text(f, file, "2222", 4));
    ck_assert_int_eq(f->length(f->user, file, NULL), 6);
    tk_ok(write_text(f, file, "3333", 4));
    tk_files_fail(&e.files, TK_FILE_SYNC, 1, TPC_EIO, true);
    tk_fails(TPC_EIO, f->sync(f->user, file, NULL));
    tk_fails(TPC_EIO, f->sync(f->user, file, NULL));
    tk_files_heal(&e.files);
    tk_ok(f->sync(f->user, file, NULL));
    ck_assert_uint_eq(e.files.fault[TK_FILE_SYNC].failed, 2);
    f->close(f->user, file);
    content_is(p.a, "11113333");
    tk_env_fini(&e);
}
END_TEST

START_TEST(kit_runs_out_of_space_and_gets_it_back)
{
    struct tk_env e;
    struct place p;
    uint64_t left;
    tk_env_init(&e);
    const struct tpc_files *f = e.env.files;
    place_init(&p, f);
    void *file = open_it(f, p.a, RW);
    tk_files_limit_space(&e.files, 10);
    tk_ok(write_text(f, file, "12345678", 0));
    tk_ok(write_text(f, file, "abcd", 0));
    tk_fails(TPC_ENOSPC, write_text(f, file, "90xx", 8));
    tk_ok(f->space(f->user, p.dir, &left, NULL));
    ck_assert_uint_eq(left, 0);
    tk_ok(f->truncate(f->user, file, 4, NULL));
    tk_ok(f->space(f->user, p.dir, &left, NULL));
    ck_assert_uint_eq(left, 6);
    f->close(f->user, file);
    tk_ok(f->remove(f->user, p.a, NULL));
    tk_ok(f->space(f->user, p.dir, &left, NULL));
    ck_assert_uint_eq(left, 10);
    tk_env_fini(&e);
}
END_TEST

struct sync_job {
    const struct tpc_files *files;
    void *file;
    int rc;
};

static void *sync_in_thread(void *user)
{
    struct sync_job *job = user;
    job->rc = job->files->sync(job->files->user, job->file, NULL);
    return NULL;
}

START_TEST(kit_latch_holds_a_sync_until_it_is_opened)
{
    struct tk_env e;
    struct place p;
    pthread_t thread;
    tk_env_init(&e);
    const struct tpc_files *f = e.env.files;
    place_init(&p, f);
    struct sync_job job = { f, open_it(f, p.a, RW), 1 };
    tk_files_latch(&e.files, TK_FILE_SYNC);
    pthread_create(&thread, NULL, sync_in_thread, &job);
    tk_files_wait_latched(&e.files, 1);
    tk_ok(write_text(f, job.file, "beside it", 0));
    tk_files_unlatch(&e.files, TK_FILE_SYNC);
    pthread_join(thread, NULL);
    ck_assert_int_eq(job.rc, 0);
    f->close(f->user, job.file);
    tk_env_fini(&e);
}
END_TEST

START_TEST(kit_crash_keeps_what_was_synced_and_nothing_else)
{
    struct tk_env e;
    struct place p;
    char c[340];
    tk_env_init(&e);
    const struct tpc_files *f = e.env.files;
    place_init(&p, f);
    snprintf(c, sizeof(c), "%s/c", p.dir);
    tk_files_track(&e.files, true);
    void *file = open_it(f, p.a, RW);
    tk_ok(write_text(f, file, "synced", 0));
    tk_ok(f->sync(f->user, file, NULL));
    tk_ok(f->sync_dir(f->user, p.dir, NULL));
    tk_ok(write_text(f, file, "SYN and more", 0));
    tk_ok(f->truncate(f->user, file, 2, NULL));
    tk_ok(f->rename(f->user, p.a, p.b, NULL));
    tk_ok(write_text(f, file, "after the rename", 1));
    f->close(f->user, file);
    file = open_it(f, c, RW);
    tk_ok(write_text(f, file, "new file", 0));
    tk_ok(f->sync(f->user, file, NULL));
    f->close(f->user, file);
    tk_ok(f->rename(f->user, c, p.b, NULL));
    tk_ok(f->remove(f->user, p.b, NULL));
    tk_files_crash(&e.files, 0);
    content_is(p.a, "synced");
    content_is(p.b, NULL);
    content_is(c, NULL);
    tk_env_fini(&e);
}
END_TEST

START_TEST(kit_crash_keeps_names_after_sync_dir)
{
    struct tk_env e;
    struct place p;
    tk_env_init(&e);
    const struct tpc_files *f = e.env.files;
    place_init(&p, f);
    tk_files_track(&e.files, true);
    void *file = open_it(f, p.a, RW);
    tk_ok(write_text(f, file, "one", 0));
    tk_ok(f->sync(f->user, file, NULL));
    f->close(f->user, file);
    tk_ok(f->rename(f->user, p.a, p.b, NULL));
    tk_ok(f->sync_dir(f->user, p.dir, NULL));
    file = open_it(f, p.b, RW);
    tk_ok(write_text(f, file, "lost", 3));
    f->close(f->user, file);
    tk_files_crash(&e.files, 0);
    content_is(p.a, NULL);
    content_is(p.b, "one");
    tk_env_fini(&e);
}
END_TEST

START_TEST(kit_crash_with_a_seed_keeps_a_part)
{
    int all = 0, none = 0, some = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct tk_env e;
        struct place p;
        tk_env_init(&e);
        const struct tpc_files *f = e.env.files;
        place_init(&p, f);
        void *file = open_it(f, p.a, RW);
        tk_ok(write_text(f, file, "........", 0));
        tk_files_track(&e.files, true);
        tk_ok(write_text(f, file, "AAAA", 0));
        tk_ok(write_text(f, file, "BBBB", 4));
        f->close(f->user, file);
        tk_files_crash(&e.files, seed);
        char text[20] = "";
        file = open_it(f, p.a, TPC_FILE_READ | TPC_FILE_WRITE);
        ck_assert_int_eq(f->read_at(f->user, file, text, 19, 0, NULL), 8);
        ck_assert_uint_eq(strspn(text, "A."), 4 + strspn(text + 4, "."));
        all += strcmp(text, "AAAABBBB") == 0;
        none += strcmp(text, "........") == 0;
        some += strchr(text, '.') != NULL && strpbrk(text, "AB") != NULL;
        f->close(f->user, file);
        tk_env_fini(&e);
    }
    ck_assert_int_gt(all, 0);
    ck_assert_int_gt(none, 0);
    ck_assert_int_gt(some, 0);
}
END_TEST

Suite *files_suite(void)
{
    Suite *s = suite_create("files");
    TCase *c = tcase_create("files");
    tcase_add_test(c, many_parts_are_written_in_order_and_read_back);
    tcase_add_test(c, names_are_made_listed_renamed_removed);
    tcase_add_test(c, lock_is_exclusive_until_close);
    tcase_add_test(c, full_device_is_enospc);
    tcase_add_test(c, kit_fails_the_call_it_was_told_to);
    tcase_add_test(c, kit_runs_out_of_space_and_gets_it_back);
    tcase_add_test(c, kit_latch_holds_a_sync_until_it_is_opened);
    tcase_add_test(c, kit_crash_keeps_what_was_synced_and_nothing_else);
    tcase_add_test(c, kit_crash_keeps_names_after_sync_dir);
    tcase_add_test(c, kit_crash_with_a_seed_keeps_a_part);
    suite_add_tcase(s, c);
    return s;
}
