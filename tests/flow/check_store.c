/* Databases that are locked, damaged or of a newer version: refused with a clear word, unharmed. */
#include "suites.h"

#ifdef FX_WITH_SQLITE

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static const char *const files[] = { "history.db", "entities.db" };

static void make_data(struct fx *f)
{
    fx_init(f, 0, FX_FILE_LOG | FX_SQLITE);
    fx_run(f);
    for (int i = 0; i < 50; i++) {
        fx_ok(fx_feed_seq(f, "t1", i), "feed");
    }
    fx_settle(f);
    fx_close(f);
}

static void check_data(struct fx *f, size_t count)
{
    struct fx_rows r = fx_history(f, "t1", "seq");
    ck_assert_uint_eq(r.count, count);
    ck_assert(r.growing);
}

static void path_of(const struct fx *f, const char *file, char ret[400])
{
    snprintf(ret, 400, "%s/%s", f->dir, file);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* Opening or starting fails with code, and says the file. */
static void refuses(struct fx *f, int code, const char *file)
{
    int rc = fx_make(f);
    rc = rc != 0 ? rc : tpc_core_start(f->core);
    ck_assert_msg(rc == code, "%s: %s (%s), expected %s", file, tpc_error_name(rc),
                  tpc_error_last()->text, tpc_error_name(code));
    fx_error_says(file);
    fx_close(f);
}

START_TEST(a_newer_schema_is_refused_and_left_alone)
{
    for (size_t i = 0; i < 2; i++) {
        struct fx f;
        char path[400];
        make_data(&f);
        path_of(&f, files[i], path);
        run_sql(path, "CREATE TABLE keep_version (v); INSERT INTO keep_version SELECT user_version "
                      "FROM pragma_user_version; PRAGMA user_version = 4711");
        refuses(&f, TPC_EVERSION, files[i]);
        run_sql(path, "SELECT v FROM keep_version");
        run_sql(path, "PRAGMA user_version = 1");
        fx_fini(&f);
    }
}
END_TEST

START_TEST(a_damaged_file_is_refused)
{
    for (size_t i = 0; i < 2; i++) {
        struct fx f;
        char path[400];
        make_data(&f);
        path_of(&f, files[i], path);
        FILE *file = fopen(path, "r+b");
        ck_assert_ptr_nonnull(file);
        fputs("this was a database once, it is none any more ..........................", file);
        fclose(file);
        refuses(&f, TPC_ECORRUPT, files[i]);
        fx_fini(&f);
    }
}
END_TEST

START_TEST(damage_inside_is_found_without_a_crash)
{
    struct fx f;
    char path[400];
    make_data(&f);
    path_of(&f, "history.db", path);
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    for (long at = 4096; fseek(file, at, SEEK_SET) == 0 && at < 40960; at += 512) {
        fputs("damage!", file);
    }
    fclose(file);
    int rc = fx_make(&f);
    rc = rc != 0 ? rc : tpc_core_start(f.core);
    ck_assert_msg(rc == TPC_ECORRUPT, "%s: %s", tpc_error_name(rc), tpc_error_last()->text);
    fx_fini(&f);
}
END_TEST

START_TEST(a_database_in_use_is_refused_and_opens_later)
{
    struct fx f;
    struct fx g;
    make_data(&f);
    fx_init(&g, 0, FX_SQLITE);
    snprintf(g.dir, sizeof(g.dir), "%s", f.dir);
    fx_open(&f);
    fx_start(&f);
    tk_fails(TPC_EAGAIN, fx_make(&g));
    fx_error_says("in use");
    check_data(&f, 50);
    fx_close(&f);
    fx_close(&g);
    fx_open(&f);
    fx_start(&f);
    check_data(&f, 50);
    fx_fini(&g);
    fx_fini(&f);
}
END_TEST

START_TEST(a_lock_of_another_connection_delays_only)
{
    struct fx f;
    char path[400];
    sqlite3 *db;
    make_data(&f);
    fx_open(&f);
    fx_start(&f);
    path_of(&f, "entities.db", path);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    static const char document[] = "{\"key\":\"t9\",\"product\":\"thermo\"}";
    tk_fails(TPC_EAGAIN,
             tpc_entity_put(f.core, NULL, "device", TPC_STR(document), TPC_ANY_REV, NULL));
    fx_error_says("locked");
    fx_still_works(&f); /* data goes on */
    ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    fx_put(&f, "device", document);
    fx_ok(fx_feed(&f, "t9", "{\"seq\":3}"), "feed");
    fx_settle(&f);
    ck_assert_double_eq(fx_latest(&f, "t9", "seq"), 3);
    fx_fini(&f);
}
END_TEST

START_TEST(a_locked_history_is_committed_later)
{
    struct fx f;
    char path[400];
    sqlite3 *db;
    make_data(&f);
    f.o.history_checkpoint_ms = 1000;
    fx_open(&f);
    fx_start(&f);
    path_of(&f, "history.db", path);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 50; i < 100; i++) {
        fx_ok(fx_feed_seq(&f, "t1", i), "feed");
        fx_settle(&f);
        tk_clock_advance(&f.e.clock, 500);
        (void) fx_step(&f);
    }
    ck_assert_uint_eq(f.failed, 0);
    ck_assert_double_ge(fx_metric(&f, "tpc_store_commit_failures_total"), 1);
    ck_assert_uint_eq(tk_env_logged(&f.e, "store: cannot commit"), 1);
    check_data(&f, 100); /* the open part is readable */
    ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    for (int i = 0; i < 5; i++) {
        tk_clock_advance(&f.e.clock, 2000);
        (void) fx_step(&f);
    }
    ck_assert_uint_eq(tk_env_logged(&f.e, "store: commits again"), 1);
    fx_close(&f);
    fx_open(&f);
    fx_start(&f);
    check_data(&f, 100);
    fx_fini(&f);
}
END_TEST

Suite *store_suite(void)
{
    Suite *s = suite_create("store");
    TCase *t = tcase_create("store");
    tcase_add_test(t, a_newer_schema_is_refused_and_left_alone);
    tcase_add_test(t, a_damaged_file_is_refused);
    tcase_add_test(t, damage_inside_is_found_without_a_crash);
    tcase_add_test(t, a_database_in_use_is_refused_and_opens_later);
    tcase_add_test(t, a_lock_of_another_connection_delays_only);
    tcase_add_test(t, a_locked_history_is_committed_later);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}

#else

START_TEST(databases)
{
    tk_skip("bad databases", "the module sqlite is not built");
}
END_TEST

Suite *store_suite(void)
{
    Suite *s = suite_create("store");
    TCase *t = tcase_create("store");
    tcase_add_test(t, databases);
    suite_add_tcase(s, t);
    return s;
}

#endif
