/* Table telemetry against damage, bad SQL, little memory and impatience. */
#include "door_suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tpcore_sql.h"

enum { ROUNDS = 40, LARGEST_BLOB = 4096, HEAP_STEPS = 3000 };

/* One chunk of t1 with seq and temperature, and open samples of t2. */
static void make_data(struct fx *f)
{
    char json[100];
    fx_init(f, 0, FX_FILE_LOG | FX_SQLITE);
    fx_run(f);
    door_tick(f, false);
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(json, sizeof(json), "{\"seq\":%d,\"temperature\":%d.25,\"note\":\"n%d\"}", i,
                 i % 9, i % 4);
        door_feed(f, "t1", INT64_C(1795000000000) + i * 1000, json);
    }
    door_tick(f, true);
    door_feed(f, "t2", INT64_C(1795000000000), "{\"seq\":1}");
    door_tick(f, false);
}

static void change(const struct fx *f, const char *sql, const void *blob, int len)
{
    char path[400];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    snprintf(path, sizeof(path), "%s/history.db", f->dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    if (blob != NULL) {
        sqlite3_bind_blob(stmt, 1, blob, len, SQLITE_STATIC);
    }
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

static int read_blob(const struct fx *f, uint8_t *to)
{
    sqlite3 *db = door_open(f->dir, "history.db");
    sqlite3_stmt *stmt;
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT blob FROM chunk", -1, &stmt, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    int len = sqlite3_column_bytes(stmt, 0);
    ck_assert_int_le(len, LARGEST_BLOB);
    memcpy(to, sqlite3_column_blob(stmt, 0), (size_t) len);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return len;
}

START_TEST(a_damaged_chunk_is_named_and_the_rest_still_read)
{
    struct fx f;
    uint8_t blob[LARGEST_BLOB];
    int refused = 0;
    make_data(&f);
    fx_close(&f);
    change(&f, "DELETE FROM chunk WHERE dev <> (SELECT min(dev) FROM chunk)", NULL, 0);
    int len = read_blob(&f, blob);
    for (int i = 0; i < len; i++) {
        blob[i] ^= 0x5a;
        change(&f, "UPDATE chunk SET blob = ?1", blob, len);
        blob[i] ^= 0x5a;
        sqlite3 *db = door_open(f.dir, "history.db");
        const char *answer = door_ask(db, "SELECT sum(value), count(value), max(ts) FROM telemetry"
                                          " WHERE device = 't1'");
        /* SQLITE_CORRUPT, or for the byte that holds the version, SQLITE_ERROR */
        refused += strncmp(answer, "11 chunk 1 of device t1: ", 25) == 0 ||
                   (i == 1 && strstr(answer, "1 chunk 1 of device t1: chunk has format") == answer);
        ck_assert_str_eq(door_ask(db, "SELECT count(*) FROM telemetry WHERE device = 't2'"), "0\n");
        sqlite3_close(db);
    }
    ck_assert_int_eq(refused, len); /* there is a CRC */
    for (int cut = 0; cut < len; cut += 7) {
        change(&f, "UPDATE chunk SET blob = ?1", blob, cut);
        sqlite3 *db = door_open(f.dir, "history.db");
        const char *answer = door_ask(db, "SELECT count(value) FROM telemetry");
        ck_assert_msg(strncmp(answer, "11 chunk 1 of device t1: ", 25) == 0, "%d: %s", cut, answer);
        sqlite3_close(db);
    }
    change(&f, "UPDATE chunk SET blob = ?1", blob, len);
    change(&f, "UPDATE chunk SET t1 = t1 + 1", NULL, 0);
    sqlite3 *db = door_open(f.dir, "history.db");
    const char *answer = door_ask(db, "SELECT count(value) FROM telemetry");
    ck_assert_msg(strstr(answer, "times are not those") != NULL, "%s", answer);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(a_damaged_log_is_passed_over_like_the_core_does)
{
    struct fx f;
    char path[400];
    make_data(&f);
    fx_segment(&f, path);
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    fseek(file, -20, SEEK_END);
    fputs("damage", file);
    fclose(file);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry WHERE device = 't1'"),
                     3 * ROUNDS);
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry WHERE device = 't2'"), 0);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(nothing_can_be_written)
{
    static const char *const bad[] = {
        "INSERT INTO telemetry VALUES('a','b','c','d',1,2)",
        "UPDATE telemetry SET value = 1",
        "DELETE FROM telemetry",
        "CREATE VIRTUAL TABLE x USING telemetry",
        "DROP TABLE telemetry",
        "SELECT rowid FROM telemetry",
        "SELECT nothing FROM telemetry",
        "SELECT * FROM telemetry('t1')",
    };
    struct fx f;
    make_data(&f);
    sqlite3 *db;
    char path[400];
    snprintf(path, sizeof(path), "%s/history.db", f.dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK); /* could write, but for the table */
    ck_assert_int_eq(sqlite3_tpcoresql_init(db, NULL, NULL), SQLITE_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *answer = door_ask(db, bad[i]);
        ck_assert_msg(strncmp(answer, "1 ", 2) == 0, "%s: %s", bad[i], answer);
    }
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry"), 3 * ROUNDS + 1);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(a_database_of_another_kind_or_version_is_refused)
{
    struct fx f;
    make_data(&f);
    sqlite3 *db = door_open(f.dir, "entities.db");
    const char *answer = door_ask(db, "SELECT * FROM telemetry");
    ck_assert_msg(strstr(answer, "no history.db is open") != NULL, "%s", answer);
    sqlite3_close(db);
    fx_close(&f);
    change(&f, "PRAGMA user_version = 4711", NULL, 0);
    db = door_open(f.dir, "history.db");
    answer = door_ask(db, "SELECT * FROM telemetry");
    ck_assert_msg(strstr(answer, "schema version 4711") != NULL, "%s", answer);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(a_history_of_version_1_is_read)
{
    static const char *const back[] = { "DROP INDEX over_first", "DROP INDEX over_last",
                                        "CREATE INDEX chunk_last ON chunk(dev, t1, t0)",
                                        "PRAGMA user_version = 1" };
    struct fx f;
    make_data(&f);
    /* late, so that its chunk overlaps */
    door_feed(&f, "t1", INT64_C(1795000000500), "{\"seq\":1000}");
    fx_close(&f);
    for (int i = 0; i < 4; i++) {
        change(&f, back[i], NULL, 0);
    }
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_str_eq(door_ask(db, "SELECT value FROM telemetry WHERE device = 't1' AND"
                                  " property = 'seq' ORDER BY ts LIMIT 3"),
                     "0\n1000\n1\n");
    ck_assert_str_eq(door_ask(db, "SELECT value FROM telemetry WHERE device = 't1' AND"
                                  " property = 'seq' AND ts < 1795000001001 ORDER BY ts DESC"),
                     "1\n1000\n0\n");
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

/* ---- impatience ---- */

static void stop_now(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    (void) argc;
    if (sqlite3_value_int64(argv[0]) == 5) {
        sqlite3_interrupt(sqlite3_context_db_handle(ctx));
    }
    sqlite3_result_int(ctx, 1);
}

START_TEST(a_query_can_be_interrupted)
{
    struct fx f;
    make_data(&f);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_int_eq(
        sqlite3_create_function(db, "stop_at", 1, SQLITE_UTF8, NULL, stop_now, NULL, NULL),
        SQLITE_OK);
    const char *answer = door_ask(db, "SELECT sum(stop_at(value)) FROM telemetry WHERE"
                                      " property = 'seq'");
    ck_assert_msg(strncmp(answer, "9 interrupted", 13) == 0, "%s", answer);
    ck_assert_int_eq(door_number(db, "SELECT count(*) FROM telemetry"), 3 * ROUNDS + 1);
    sqlite3_close(db);
    fx_fini(&f);
}
END_TEST

START_TEST(a_query_that_is_left_halfway_holds_nothing)
{
    struct fx f;
    sqlite3_stmt *stmt;
    make_data(&f);
    sqlite3 *db = door_open(f.dir, "history.db");
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT * FROM telemetry", -1, &stmt, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_txn_state(db, "main"), SQLITE_TXN_READ);
    ck_assert_int_eq(sqlite3_reset(stmt), SQLITE_OK);
    ck_assert_int_eq(sqlite3_txn_state(db, "main"), SQLITE_TXN_NONE);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_BUSY); /* the statement is the program's */
    sqlite3_finalize(stmt);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    fx_fini(&f);
}
END_TEST

/* ---- memory ---- */

START_TEST(each_allocation_may_fail)
{
    static const char *const queries[] = {
        "SELECT count(*), max(device), max(property), max(value) FROM telemetry",
        "SELECT value FROM telemetry WHERE device = 't1' AND property = 'seq' ORDER BY ts DESC"
        " LIMIT 1",
    };
    static const char *const answers[] = { "121|t2|temperature|n3\n", "39\n" };
    struct fx f;
    make_data(&f);
    for (int q = 0; q < 2; q++) {
        size_t n = 0;
        do {
            ck_assert_int_lt((int) n, HEAP_STEPS);
            sqlite3 *db = door_open(f.dir, "history.db");
            door_heap_fail_at(++n);
            const char *answer = door_ask(db, queries[q]);
            bool failed = door_heap_failed();
            door_heap_fail_at(0);
            /* some failures only make things slower */
            ck_assert_msg(strcmp(answer, answers[q]) == 0 ||
                              (failed && strstr(answer, "out of memory") != NULL),
                          "%zu: %s", n, answer);
            ck_assert_str_eq(door_ask(db, queries[q]), answers[q]);
            ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
            if (!failed) {
                break;
            }
        } while (true);
        ck_assert_int_gt((int) n, 50);
    }
    fx_fini(&f);
}
END_TEST

Suite *door_fault_suite(void)
{
    Suite *s = suite_create("door_faults");
    TCase *t = tcase_create("faults");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_damaged_chunk_is_named_and_the_rest_still_read);
    tcase_add_test(t, a_damaged_log_is_passed_over_like_the_core_does);
    tcase_add_test(t, nothing_can_be_written);
    tcase_add_test(t, a_database_of_another_kind_or_version_is_refused);
    tcase_add_test(t, a_history_of_version_1_is_read);
    tcase_add_test(t, a_query_can_be_interrupted);
    tcase_add_test(t, a_query_that_is_left_halfway_holds_nothing);
    tcase_add_test(t, each_allocation_may_fail);
    suite_add_tcase(s, t);
    return s;
}
