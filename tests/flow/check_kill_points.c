/*
 * kill -9 inside of every call to the disk that an append, a flush, a commit, a checkpoint, a trim
 * and a migration make: what was acknowledged is in the history, once.
 */
#include "suites.h"

#include "crowd.h"

#include <signal.h>
#ifdef FX_WITH_SQLITE
#include <sqlite3.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef FX_WITH_SQLITE
#include "../adapters/sqlite/faulty_vfs.h"

enum { DEVICES = 8, ROUNDS = 600, KILLED = 1000 + SIGKILL };

struct point {
    const char *name;
    int file_op; /* enum tk_file_op of the log, or -1 */
    enum faulty_vfs_op vfs_op;
    const char *file; /* of a database */
    uint32_t most;    /* random calls are below this */
    uint32_t times;   /* kills here */
    bool at_start;    /* in what opening does */
};

static const struct point points[] = {
    { "append: a write to the log", TK_FILE_WRITE, 0, NULL, 400, 8, false },
    { "append: a sync of the log", TK_FILE_SYNC, 0, NULL, 40, 4, false },
    { "append: a new segment", TK_FILE_OPEN, 0, NULL, 4, 3, false },
    { "append: the folder of the log", TK_FILE_SYNC_DIR, 0, NULL, 4, 3, false },
    { "trim: a segment is removed", TK_FILE_REMOVE, 0, NULL, 2, 4, false },
    { "commit: a write to the history", -1, FAULTY_VFS_WRITE, "history.db-wal", 400, 8, false },
    { "commit: a sync of the history", -1, FAULTY_VFS_SYNC, "history.db-wal", 20, 4, false },
    { "commit: a write to the records", -1, FAULTY_VFS_WRITE, "entities.db-wal", 4, 3, false },
    { "checkpoint: a write to the history", -1, FAULTY_VFS_WRITE, "history.db", 60, 6, false },
    { "checkpoint: a sync of the history", -1, FAULTY_VFS_SYNC, "history.db", 3, 3, false },
    { "checkpoint: the history's log is cut", -1, FAULTY_VFS_TRUNCATE, "history.db-wal", 2, 2,
      false },
    { "start: a write to the log", TK_FILE_WRITE, 0, NULL, 3, 3, true },
    { "start: a write to the history", -1, FAULTY_VFS_WRITE, "history.db-wal", 3, 3, true },
};

/* Never true: its state is a record that is saved every five seconds. */
static const char scene[] = TPC_JSON({
    "key": "never", "when": { "product": "meter", "expr": "level < 0" },
    "then": [ { "command": { "device": "c0", "service": "get" } } ]
});

struct life {
    struct fx *f;
    struct crowd_book *book;
    const struct point *point;
    uint32_t nth;
    bool put; /* the devices, first */
};

static void arm(struct fx *f, const struct point *p, uint32_t nth)
{
    if (p->file_op >= 0) {
        tk_files_kill(&f->e.files, (enum tk_file_op) p->file_op, nth);
    } else {
        faulty_vfs_kill(p->vfs_op, p->file, nth);
    }
}

static void feed_rounds(struct fx *f, struct crowd *c, uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++) {
        for (uint32_t k = 0; k < c->count; k++) {
            int rc = crowd_feed(c, k);
            if (rc != 0 && rc != TPC_EAGAIN) {
                fx_ok(rc, "feed");
            }
        }
        (void) fx_step(f);
        tk_clock_advance(&f->e.clock, 10);
    }
}

/* A whole life that may end in every call. */
static void live(void *user)
{
    const struct life *x = user;
    static struct crowd c;
    if (x->point != NULL && x->point->at_start) {
        arm(x->f, x->point, x->nth);
    }
    fx_open(x->f);
    if (x->put) {
        crowd_put(x->f, DEVICES);
        fx_put(x->f, "scene", scene);
    }
    fx_start(x->f);
    crowd_open(&c, x->f, DEVICES, x->book);
    c.shuffled = true;
    (void) crowd_check(&c);
    if (x->point != NULL) {
        arm(x->f, x->point, x->nth);
        feed_rounds(x->f, &c, ROUNDS);
    }
    crowd_close(&c);
    fx_close(x->f);
}

static void prepare(struct fx *f, uint32_t workers)
{
    faulty_vfs_reset();
    fx_init(f, workers, FX_FILE_LOG | FX_SQLITE);
    snprintf(f->vfs, sizeof(f->vfs), "%s", FAULTY_VFS_NAME);
    snprintf(f->log_options, sizeof(f->log_options),
             "\"segment_size\":\"64KiB\",\"max_bytes\":\"1MiB\"");
    snprintf(f->store_options, sizeof(f->store_options), "\"wal_limit\":\"64KiB\"");
    f->o.history_checkpoint_ms = 300;
}

/* How often a life ended inside of the point. */
static uint32_t kill_at_point(struct fx *f, struct crowd_book *book, const struct point *p,
                              unsigned int *seed)
{
    uint32_t killed = 0;
    for (uint32_t i = 0; i < p->times; i++) {
        uint32_t nth = i < 2 ? i + 1 : 1 + (uint32_t) rand_r(seed) % p->most;
        struct life x = { f, book, p, nth, false };
        int rc = fx_child(live, &x);
        ck_assert_msg(rc == 0 || rc == KILLED, "%s, call %u: the child ended with %d", p->name,
                      (unsigned) nth, rc);
        killed += rc == KILLED;
    }
    return killed;
}

static void check_all_there(struct fx *f, struct crowd_book *book)
{
    static struct crowd c;
    fx_open(f);
    fx_start(f);
    crowd_open(&c, f, DEVICES, book);
    c.shuffled = true;
    size_t stored = crowd_check(&c);
    printf("kill: %zu samples are stored\n", stored);
    crowd_close(&c);
}

static unsigned int a_seed(void)
{
    const char *given = getenv("FLOW_SEED");
    unsigned int seed =
        given != NULL ? (unsigned int) strtoul(given, NULL, 10) : (unsigned int) time(NULL);
    printf("kill: seed %u\n", seed);
    return seed;
}

START_TEST(a_kill_inside_of_any_call_to_the_disk_loses_nothing)
{
    struct fx f;
    unsigned int seed = a_seed();
    prepare(&f, 0);
    struct crowd_book *book = crowd_book_make(DEVICES);
    struct life first = { &f, book, NULL, 0, true };
    ck_assert_int_eq(fx_child(live, &first), 0);
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        uint32_t killed = kill_at_point(&f, book, &points[i], &seed);
        ck_assert_msg(killed > 0, "%s: never reached", points[i].name);
    }
    check_all_there(&f, book);
    fx_fini(&f);
    crowd_book_free(book);
}
END_TEST

/* The first start makes the schemas: a database that is half made is made anew. */
START_TEST(a_kill_inside_of_making_the_databases_leaves_a_platform_that_starts)
{
    static const char *const files[] = { "history.db",  "history.db-wal",  "history.db-journal",
                                         "entities.db", "entities.db-wal", "entities.db-journal" };
    static const enum faulty_vfs_op ops[] = { FAULTY_VFS_WRITE, FAULTY_VFS_SYNC,
                                              FAULTY_VFS_TRUNCATE, FAULTY_VFS_DELETE };
    uint32_t kills = 0;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
            int rc = KILLED;
            for (uint32_t nth = 1; nth < 40 && rc == KILLED; nth += nth < 6 ? 1 : 7) {
                struct fx f;
                struct point p = { "migration", -1, ops[k], files[i], 1, 1, true };
                prepare(&f, 0);
                struct crowd_book *book = crowd_book_make(DEVICES);
                struct life x = { &f, book, &p, nth, true };
                rc = fx_child(live, &x);
                ck_assert_msg(rc == KILLED || rc == 0, "%s, call %u: %d", files[i], (unsigned) nth,
                              rc);
                kills += rc == KILLED;
                if (rc == KILLED) {
                    struct life again = { &f, book, NULL, 0, true };
                    ck_assert_int_eq(fx_child(live, &again), 0);
                }
                fx_fini(&f);
                crowd_book_free(book);
            }
        }
    }
    printf("kill: %u kills while the databases were made\n", (unsigned) kills);
    ck_assert_uint_gt(kills, 20);
}
END_TEST

/* What a release with version 1 of the history's schema left. */
static void make_old(const struct fx *f)
{
    char path[400];
    sqlite3 *db;
    snprintf(path, sizeof(path), "%s/history.db", f->dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    int rc = sqlite3_exec(db,
                          "DROP INDEX over_first; DROP INDEX over_last;"
                          "CREATE INDEX chunk_last ON chunk(dev, t1, t0);"
                          "ALTER TABLE mark DROP COLUMN data; PRAGMA user_version=1",
                          NULL, NULL, NULL);
    ck_assert_msg(rc == SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* A history of version 1 with samples, upgraded by a start that dies in the nth such call. */
static int upgrade_and_die(enum faulty_vfs_op op, const char *file, uint32_t nth)
{
    struct fx f;
    static struct crowd c;
    struct point p = { "migration", -1, op, file, 1, 1, true };
    prepare(&f, 0);
    struct crowd_book *book = crowd_book_make(DEVICES);
    fx_open(&f);
    crowd_put(&f, DEVICES);
    fx_start(&f);
    crowd_open(&c, &f, DEVICES, book);
    c.shuffled = true;
    feed_rounds(&f, &c, 200);
    crowd_close(&c);
    fx_close(&f);
    make_old(&f);
    struct life x = { &f, book, &p, nth, false };
    int rc = fx_child(live, &x);
    check_all_there(&f, book);
    fx_fini(&f);
    crowd_book_free(book);
    return rc;
}

START_TEST(a_kill_inside_of_a_migration_loses_nothing)
{
    static const struct {
        enum faulty_vfs_op op;
        const char *file;
    } calls[] = { { FAULTY_VFS_WRITE, "history.db-wal" },
                  { FAULTY_VFS_SYNC, "history.db-wal" },
                  { FAULTY_VFS_WRITE, "history.db" } };
    uint32_t kills = 0;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        int rc = KILLED;
        for (uint32_t nth = 1; nth <= 12 && rc == KILLED; nth += nth < 4 ? 1 : 4) {
            rc = upgrade_and_die(calls[i].op, calls[i].file, nth);
            ck_assert_msg(rc == KILLED || (rc == 0 && nth > 1), "%s, call %u: %d", calls[i].file,
                          (unsigned) nth, rc);
            kills += rc == KILLED;
        }
    }
    printf("kill: %u kills while a database was upgraded\n", (unsigned) kills);
}
END_TEST

/* The databases' disk is full from some write on, again and again; the log has room meanwhile, then
 * it has none either. */
START_TEST(a_full_disk_during_a_commit_loses_nothing)
{
    static struct crowd c;
    struct fx f;
    unsigned int seed = a_seed();
    double failures = 0;
    prepare(&f, 0);
    struct crowd_book *book = crowd_book_make(DEVICES);
    fx_open(&f);
    crowd_put(&f, DEVICES);
    fx_start(&f);
    crowd_open(&c, &f, DEVICES, book);
    c.shuffled = true;
    for (int i = 0; i < 30; i++) {
        faulty_vfs_full((size_t) rand_r(&seed) % 40);
        if (i % 3 == 2) {
            tk_files_limit_space(&f.e.files, (uint64_t) rand_r(&seed) % 100000);
        }
        feed_rounds(&f, &c, 60);
        faulty_vfs_reset();
        tk_files_heal(&f.e.files);
        tk_clock_advance(&f.e.clock, 1000);
        (void) fx_step(&f);
        feed_rounds(&f, &c, 20);
        (void) crowd_check(&c);
        failures = fx_metric(&f, "tpc_store_commit_failures_total");
    }
    ck_assert_double_ge(failures, 10);
    crowd_close(&c);
    fx_close(&f);
    check_all_there(&f, book);
    printf("kill: %.0f commits failed on a full disk\n", failures);
    fx_fini(&f);
    crowd_book_free(book);
}
END_TEST

Suite *kill_points_suite(void)
{
    Suite *s = suite_create("kill_points");
    TCase *t = tcase_create("kill_points");
    tcase_add_test(t, a_kill_inside_of_any_call_to_the_disk_loses_nothing);
    tcase_add_test(t, a_kill_inside_of_making_the_databases_leaves_a_platform_that_starts);
    tcase_add_test(t, a_kill_inside_of_a_migration_loses_nothing);
    tcase_add_test(t, a_full_disk_during_a_commit_loses_nothing);
    tcase_set_timeout(t, 300);
    suite_add_tcase(s, t);
    return s;
}

#else

START_TEST(kills)
{
    tk_skip("kills inside of calls to the disk", "the module sqlite is not built");
}
END_TEST

Suite *kill_points_suite(void)
{
    Suite *s = suite_create("kill_points");
    TCase *t = tcase_create("kill_points");
    tcase_add_test(t, kills);
    suite_add_tcase(s, t);
    return s;
}

#endif
