/*
 * What is SQLite's own: files, versions, locks, damage, full and slow disks, sudden death.
 */
#include "sqlite_suites.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faulty_vfs.h"
#include "history_suite.h"
#include "store/chunk.h"
#include "store/history.h"
#include "store_suite.h"
#include "tk_env.h"

/* ---- a place ---- */

struct place {
    char dir[300];
    struct tpc_member members[4];
    struct tpc_value cfg;
};

static void place_make(struct place *p, bool faulty)
{
    memset(p, 0, sizeof(*p));
    snprintf(p->dir, sizeof(p->dir), "%s", tk_tmpdir());
    p->members[0].key = TPC_STR("dir");
    p->members[0].value =
        (struct tpc_value){ .type = TPC_TEXT, .len = strlen(p->dir), .as = { .text = p->dir } };
    p->members[1].key = TPC_STR("busy_timeout");
    p->members[1].value = (struct tpc_value){ .type = TPC_INT, .as = { .i = 0 } };
    p->members[2].key = TPC_STR("wal_limit");
    p->members[2].value = (struct tpc_value){ .type = TPC_INT, .as = { .i = 262144 } };
    p->members[3].key = TPC_STR("vfs");
    p->members[3].value = (struct tpc_value){ .type = TPC_TEXT,
                                              .len = strlen(FAULTY_VFS_NAME),
                                              .as = { .text = FAULTY_VFS_NAME } };
    p->cfg = (struct tpc_value){ .type = TPC_MAP,
                                 .len = faulty ? 4 : 3,
                                 .as = { .members = p->members } };
    faulty_vfs_reset();
}

static const char *file_of(const struct place *p, const char *name)
{
    static char path[400];
    snprintf(path, sizeof(path), "%s/%s", p->dir, name);
    return path;
}

static void sql(const struct place *p, const char *name, const char *text)
{
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(file_of(p, name), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int try_open(const struct place *p)
{
    void *self = calloc(1, sqlite_history_ops()->instance_size);
    int rc = sqlite_history_ops()->init(self, history_host(), NULL, &p->cfg);
    sqlite_history_ops()->fini(self);
    free(self);
    return rc;
}

static bool said(const char *part)
{
    return strstr(history_host_error()->text, part) != NULL;
}

static int put_one(void *self, int64_t at, struct tpc_error *err)
{
    static const uint8_t blob[2000] = { 1 };
    uint64_t id;
    struct tpc_chunk c = { .size = sizeof(c),
                           .device_id = 1,
                           .first_unix_ms = at,
                           .last_unix_ms = at + 1,
                           .samples = 1,
                           .blob = { blob, sizeof(blob) } };
    return sqlite_history_ops()->put_chunk(self, &c, err, &id);
}

static int write_one(void *self, int64_t at, struct tpc_error *err)
{
    const struct tpc_history_ops *ops = sqlite_history_ops();
    int rc = ops->begin(self, err);
    if (rc != 0) {
        return rc;
    }
    rc = put_one(self, at, err);
    if (rc != 0) {
        ops->rollback(self);
        return rc;
    }
    return ops->commit(self, err);
}

static int count_one(void *user, const struct tpc_chunk *c)
{
    (void) c;
    ++*(int *) user;
    return 0;
}

static int count_chunks(void *self)
{
    struct tpc_scan q = { sizeof(q), 0, 1, INT64_MIN, INT64_MAX };
    int count = 0;
    tk_ok(sqlite_history_ops()->scan(self, &q, count_one, &count));
    return count;
}

/* ---- versions ---- */

/* The first bytes of history.db: a change of the journal's mode would show there. */
static void head_of(struct place *p, uint8_t ret[64])
{
    FILE *f = fopen(file_of(p, "history.db"), "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(ret, 1, 64, f), 64);
    fclose(f);
}

START_TEST(newer_schema_is_refused_naming_both_versions)
{
    struct place p;
    place_make(&p, false);
    tk_ok(try_open(&p));
    sql(&p, "history.db", "PRAGMA user_version=7");
    tk_fails(TPC_EVERSION, try_open(&p));
    ck_assert(said("version 7"));
    ck_assert(said("up to 2"));
    ck_assert(said("history.db"));
    sql(&p, "history.db", "PRAGMA user_version=2");
    tk_ok(try_open(&p));
}
END_TEST

START_TEST(file_of_another_program_is_left_alone)
{
    struct place p;
    place_make(&p, false);
    tk_ok(history_host()->files->make_dir(history_host()->files->user, p.dir, NULL));
    sql(&p, "history.db", "CREATE TABLE bank(money)");
    uint8_t before[64];
    uint8_t after[64];
    head_of(&p, before);
    tk_fails(TPC_EVERSION, try_open(&p));
    ck_assert(said("another program"));
    head_of(&p, after);
    ck_assert_mem_eq(before, after, sizeof(before));
    sql(&p, "history.db", "SELECT money FROM bank");
}
END_TEST

START_TEST(file_of_schema_version_1_is_brought_up)
{
    struct place p;
    place_make(&p, false);
    void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
    for (int i = 0; i < 5; i++) {
        tk_ok(write_one(self, i * 10, NULL));
    }
    history_engine_close(sqlite_history_ops(), self);
    sql(&p, "history.db",
        "DROP INDEX over_first;DROP INDEX over_last;ALTER TABLE mark DROP COLUMN data;UPDATE chunk "
        "SET flags = 2, t0 = 5 WHERE t0 = "
        "20;"
        "UPDATE meta SET value = 20;CREATE INDEX chunk_last ON chunk(dev, t1, t0);"
        "PRAGMA user_version=1");
    self = history_engine_open(sqlite_history_ops(), &p.cfg);
    ck_assert_int_eq(count_chunks(self), 5);
    struct tpc_scan q = { sizeof(q), 1, 1, 15, 20 };
    int count = 0;
    tk_ok(sqlite_history_ops()->scan(self, &q, count_one, &count));
    ck_assert_int_eq(count, 1);
    history_engine_close(sqlite_history_ops(), self);
    sql(&p, "history.db",
        "INSERT INTO chunk SELECT 99, dev, t0, t1, n, flags, blob FROM chunk"
        " INDEXED BY over_last WHERE dev = 1 AND flags & 2");
}
END_TEST

static int count_row(void *user, const struct tpc_row *row)
{
    (void) row;
    ++*(int *) user;
    return 0;
}

START_TEST(fields_of_entities_of_schema_version_1_are_found_again)
{
    struct place p;
    struct tpc_field field = { TPC_STR("site"), TPC_STR("paris") };
    struct tpc_store_op op = store_put_op("d", 1, "a", TPC_NO_REV, 1, "x");
    struct tpc_store_query q = {
        .size = sizeof(q), .space = TPC_SPACE_ENTITY, .kind = TPC_STR("d"), .field = field
    };
    int found = 0;
    op.row.fields = &field;
    op.row.field_count = 1;
    q.tenant = 1;
    place_make(&p, false);
    void *self = store_open(sqlite_store_ops(), &p.cfg);
    tk_ok(sqlite_store_ops()->transact(self, &op, 1, sizeof(op), NULL));
    store_close(sqlite_store_ops(), self);
    sql(&p, "entities.db",
        "DROP TABLE field;CREATE TABLE field(space INTEGER NOT NULL, kind TEXT NOT NULL,"
        " name TEXT NOT NULL, value TEXT NOT NULL, pk INTEGER NOT NULL,"
        " PRIMARY KEY(space, kind, name, value, pk)) WITHOUT ROWID;"
        "CREATE INDEX field_row ON field(space, pk);"
        "INSERT INTO field SELECT 1, 'd', 'site', 'paris', pk FROM entity;"
        "DROP TRIGGER entity_made;DROP TRIGGER entity_changed;DROP TRIGGER entity_gone;"
        "DROP TABLE change;"
        "PRAGMA user_version=1");
    self = store_open(sqlite_store_ops(), &p.cfg);
    tk_ok(sqlite_store_ops()->query(self, &q, count_row, &found));
    ck_assert_int_eq(found, 1);
    q.field.value = TPC_STR("lyon");
    tk_ok(sqlite_store_ops()->query(self, &q, count_row, &found));
    ck_assert_int_eq(found, 1);
    store_close(sqlite_store_ops(), self);
}
END_TEST

static off_t size_of(struct place *p)
{
    struct stat st;
    ck_assert_int_eq(stat(file_of(p, "history.db"), &st), 0);
    return st.st_size;
}

START_TEST(space_of_deleted_chunks_goes_back_to_the_disk)
{
    struct place p;
    uint64_t gone;
    place_make(&p, false);
    void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
    tk_ok(sqlite_history_ops()->begin(self, NULL));
    for (int i = 0; i < 500; i++) {
        tk_ok(put_one(self, i * 10, NULL));
    }
    tk_ok(sqlite_history_ops()->commit(self, NULL));
    history_engine_close(sqlite_history_ops(), self);
    off_t before = size_of(&p);
    self = history_engine_open(sqlite_history_ops(), &p.cfg);
    tk_ok(sqlite_history_ops()->delete_before(self, 1, 4500, &gone));
    ck_assert_uint_eq(gone, 450);
    do {
        tk_ok(sqlite_history_ops()->give_back(self, 100000, &gone));
    } while (gone > 0);
    ck_assert_int_eq(count_chunks(self), 50);
    history_engine_close(sqlite_history_ops(), self);
    ck_assert_int_lt(size_of(&p), before / 4);
}
END_TEST

START_TEST(schema_is_as_the_document_says)
{
    struct place p;
    place_make(&p, false);
    void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
    struct tpc_mark m = { .size = sizeof(m),
                          .type = TPC_MARK_PROPERTY,
                          .key = 5 << 16 | 3,
                          .text = TPC_STR("{\"key\":\"temp\",\"type\":\"double\"}") };
    tk_ok(sqlite_history_ops()->begin(self, NULL));
    tk_ok(sqlite_history_ops()->put_marks(self, &m, 1, sizeof(m), NULL));
    tk_ok(sqlite_history_ops()->commit(self, NULL));
    sqlite3 *db;
    sqlite3_stmt *stmt;
    ck_assert_int_eq(sqlite3_open(file_of(&p, "history.db"), &db), SQLITE_OK);
    ck_assert_int_eq(
        sqlite3_prepare_v2(db, "SELECT product, id, key, type FROM property", -1, &stmt, NULL),
        SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int(stmt, 0), 5);
    ck_assert_int_eq(sqlite3_column_int(stmt, 1), 3);
    ck_assert_str_eq((const char *) sqlite3_column_text(stmt, 2), "temp");
    ck_assert_str_eq((const char *) sqlite3_column_text(stmt, 3), "double");
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    history_engine_close(sqlite_history_ops(), self);
}
END_TEST

/* ---- options and places ---- */

START_TEST(bad_options_are_named)
{
    struct place p;
    place_make(&p, true);
    p.members[3].value.as.text = "no-such";
    p.members[3].value.len = 7;
    tk_fails(TPC_EINVAL, try_open(&p));
    ck_assert(said("no-such"));
    place_make(&p, false);
    p.cfg.len = 0;
    tk_fails(TPC_EINVAL, try_open(&p));
    ck_assert(said("dir"));
    place_make(&p, false);
    p.members[0].value.as.text = "/proc/nowhere/at/all";
    p.members[0].value.len = strlen("/proc/nowhere/at/all");
    ck_assert_int_lt(try_open(&p), 0);
}
END_TEST

START_TEST(second_instance_is_told_that_the_file_is_in_use)
{
    struct place p;
    place_make(&p, false);
    void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
    tk_fails(TPC_EAGAIN, try_open(&p));
    ck_assert(said("in use"));
    ck_assert(said("history.db"));
    void *store = store_open(sqlite_store_ops(), &p.cfg);
    store_close(sqlite_store_ops(), store);
    history_engine_close(sqlite_history_ops(), self);
    tk_ok(try_open(&p));
}
END_TEST

START_TEST(write_lock_of_another_process_is_answered_later)
{
    struct place p;
    struct tpc_error err = { .size = sizeof(err) };
    place_make(&p, false);
    void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
    tk_ok(write_one(self, 1, NULL));
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(file_of(&p, "history.db"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    tk_fails(TPC_EAGAIN, write_one(self, 2, &err));
    ck_assert_ptr_ne(strstr(err.text, "another process"), NULL);
    ck_assert_int_eq(count_chunks(self), 1);
    ck_assert_int_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    tk_ok(write_one(self, 2, NULL));
    ck_assert_int_eq(count_chunks(self), 2);
    history_engine_close(sqlite_history_ops(), self);
}
END_TEST

START_TEST(damaged_file_is_named_and_not_written_over)
{
    struct place p;
    char garbage[5000];
    place_make(&p, false);
    tk_ok(try_open(&p));
    memset(garbage, 'x', sizeof(garbage));
    FILE *f = fopen(file_of(&p, "history.db"), "r+b");
    ck_assert_uint_eq(fwrite(garbage, 1, sizeof(garbage), f), sizeof(garbage));
    fclose(f);
    tk_fails(TPC_ECORRUPT, try_open(&p));
    ck_assert(said("history.db"));
    f = fopen(file_of(&p, "history.db"), "rb");
    ck_assert_int_eq(fgetc(f), 'x');
    fclose(f);
}
END_TEST

/* ---- faults ---- */

START_TEST(full_disk_refuses_the_transaction_and_heals)
{
    struct place p;
    int stored = 0;
    int refused = 0;
    place_make(&p, true);
    void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
    for (size_t after = 0; after < 12; after++) {
        struct tpc_error err = { .size = sizeof(err) };
        faulty_vfs_full(after);
        int rc = write_one(self, (int64_t) after, &err);
        ck_assert_msg(rc == 0 || rc == TPC_ENOSPC, "%s: %s", tpc_error_name(rc), err.text);
        refused += rc != 0;
        stored += rc == 0;
        faulty_vfs_reset();
        ck_assert_int_eq(count_chunks(self), stored);
    }
    ck_assert_int_gt(refused, 2);
    tk_ok(write_one(self, 99, NULL));
    history_engine_close(sqlite_history_ops(), self);
    self = history_engine_open(sqlite_history_ops(), &p.cfg);
    ck_assert_int_eq(count_chunks(self), stored + 1);
    history_engine_close(sqlite_history_ops(), self);
}
END_TEST

START_TEST(sync_that_fails_is_no_commit)
{
    struct place p;
    place_make(&p, true);
    void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
    tk_ok(write_one(self, 1, NULL));
    faulty_vfs_fail_sync();
    tk_fails(TPC_EIO, write_one(self, 2, NULL));
    ck_assert_int_eq(count_chunks(self), 1);
    faulty_vfs_reset();
    tk_ok(write_one(self, 2, NULL));
    ck_assert_int_eq(count_chunks(self), 2);
    history_engine_close(sqlite_history_ops(), self);
}
END_TEST

struct slow {
    void *self;
    int rc;
};

static void *write_slowly(void *user)
{
    struct slow *s = user;
    s->rc = write_one(s->self, 2, NULL);
    return NULL;
}

START_TEST(readers_go_on_while_a_sync_stalls)
{
    struct place p;
    pthread_t writer;
    place_make(&p, true);
    struct slow s = { history_engine_open(sqlite_history_ops(), &p.cfg), -1 };
    tk_ok(write_one(s.self, 1, NULL));
    faulty_vfs_latch();
    pthread_create(&writer, NULL, write_slowly, &s);
    faulty_vfs_wait_latched();
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(count_chunks(s.self), 1);
    }
    faulty_vfs_unlatch();
    pthread_join(writer, NULL);
    tk_ok(s.rc);
    ck_assert_int_eq(count_chunks(s.self), 2);
    history_engine_close(sqlite_history_ops(), s.self);
}
END_TEST

static int stop_reading(void *user, const struct tpc_chunk *c)
{
    void **args = user;
    (void) c;
    for (int i = 0; i < 200; i++) {
        tk_ok(write_one(args[0], 1000 + i, NULL));
    }
    return 0;
}

START_TEST(write_ahead_file_shrinks_once_a_long_reader_ends)
{
    struct place p;
    struct stat st;
    place_make(&p, false);
    void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
    tk_ok(write_one(self, 1, NULL));
    struct tpc_scan q = { sizeof(q), 0, 1, INT64_MIN, INT64_MAX };
    void *args[1] = { self };
    tk_ok(sqlite_history_ops()->scan(self, &q, stop_reading, args));
    ck_assert_int_eq(stat(file_of(&p, "history.db-wal"), &st), 0);
    ck_assert_int_gt(st.st_size, 262144);
    tk_ok(write_one(self, 5000, NULL));
    ck_assert_int_eq(stat(file_of(&p, "history.db-wal"), &st), 0);
    ck_assert_int_lt(st.st_size, 262144);
    history_engine_close(sqlite_history_ops(), self);
}
END_TEST

/* ---- secrets ---- */

static bool file_has(const char *path, const char *text)
{
    FILE *f = fopen(path, "rb");
    size_t len = strlen(text);
    size_t at = 0;
    int c;
    if (f == NULL) {
        return false;
    }
    while (at < len && (c = fgetc(f)) != EOF) {
        at = c == text[at] ? at + 1 : c == text[0];
    }
    fclose(f);
    return at == len;
}

START_TEST(secrets_have_a_table_of_their_own_and_leave_no_bytes)
{
    struct place p;
    place_make(&p, false);
    void *self = store_open(sqlite_store_ops(), &p.cfg);
    struct tpc_store_op op = store_put_op("device", 1, "d1", TPC_ANY_REV, 1, "xyzzy-key-material");
    op.row.space = TPC_SPACE_SECRET;
    tk_ok(sqlite_store_ops()->transact(self, &op, 1, sizeof(op), NULL));
    uint64_t count = 9;
    tk_ok(sqlite_store_ops()->count(self, TPC_SPACE_ENTITY, TPC_STR("device"), &count));
    ck_assert_uint_eq(count, 0);
    store_close(sqlite_store_ops(), self);
    ck_assert(file_has(file_of(&p, "entities.db"), "xyzzy-key-material"));
    self = store_open(sqlite_store_ops(), &p.cfg);
    op = store_delete_op("device", 1, "d1", TPC_ANY_REV);
    op.row.space = TPC_SPACE_SECRET;
    tk_ok(sqlite_store_ops()->transact(self, &op, 1, sizeof(op), NULL));
    store_close(sqlite_store_ops(), self);
    ck_assert(!file_has(file_of(&p, "entities.db"), "xyzzy-key-material"));
}
END_TEST

/* ---- sudden death ---- */

enum { KILLS = 12, KILL_DEVICES = 5 };

static struct tpi_history *stage_open(struct tk_env *env, void *self)
{
    static const struct tpi_history_limits limits = { .chunk_samples = 11 };
    static const struct tpc_id log_id = { { 1, 2, 3 } };
    struct tpi_history *h;
    tk_ok(tpi_history_create(&env->env, sqlite_history_ops(), self, &limits, 1, NULL, &h));
    tk_ok(tpi_history_start(h, &log_id, 1, false, NULL));
    return h;
}

/* Record k of the log is always the same: device k % 5 + 1 says k at time k. */
static void apply_record(struct tpi_history *h, uint64_t k)
{
    struct tpc_point p = { .property = 1,
                           .value = { .type = TPC_INT, .as = { .i = (int64_t) k } } };
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_TELEMETRY,
                         .offset = k,
                         .device_id = k % KILL_DEVICES + 1,
                         .unix_ms = (int64_t) k + 1,
                         .point_count = 1,
                         .point_size = sizeof(p),
                         .points = &p };
    tk_ok(tpi_history_apply(h, &m, 0));
}

struct writer {
    const struct place *place;
    uint64_t seed;
};

static void write_until_killed(void *user)
{
    const struct writer *w = user;
    const struct place *p = w->place;
    uint64_t seed = w->seed;
    static struct tk_env env;
    tk_env_init(&env);
    void *self = history_engine_open(sqlite_history_ops(), &p->cfg);
    struct tpi_history *h = stage_open(&env, self);
    for (uint64_t k = tpi_history_watermark(h, 0);; k++) {
        apply_record(h, k);
        if (history_random(&seed) % 20 == 0) {
            tk_ok(tpi_history_commit(h, history_random(&seed) % 2 == 0, NULL));
        }
    }
}

static int collect(void *user, const struct tpc_chunk *chunk)
{
    uint8_t *seen = user;
    struct tpi_chunk_reader in;
    struct tpi_chunk_column c;
    struct tpc_arena *arena;
    struct tpc_value values[64];
    uint8_t validity[8];
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpi_chunk_open(&in, chunk->blob, NULL));
    ck_assert_int_eq(tpi_chunk_next(&in, NULL, &c), 1);
    tk_ok(tpi_chunk_values(&c, in.span.rows, arena, NULL, values, validity));
    for (uint32_t i = 0; i < in.span.rows; i++) {
        ck_assert_uint_eq(seen[values[i].as.i], 0);
        seen[values[i].as.i] = 1;
    }
    tpc_arena_destroy(arena);
    return 0;
}

/* All below the watermark is there; nothing is there twice. Returns the end of what is there. */
static uint64_t check_stored(void *self, struct tpi_history *h)
{
    static uint8_t seen[1 << 22];
    uint64_t end = tpi_history_max_offset(h, 0);
    memset(seen, 0, sizeof(seen));
    for (uint64_t d = 1; d <= KILL_DEVICES; d++) {
        struct tpc_scan q = { sizeof(q), 0, d, INT64_MIN, INT64_MAX };
        tk_ok(sqlite_history_ops()->scan(self, &q, collect, seen));
        for (uint64_t k = d - 1; k < tpi_history_off_end(h, d); k += KILL_DEVICES) {
            ck_assert_msg(seen[k] == 1, "record %llu is lost", (unsigned long long) k);
        }
    }
    for (uint64_t k = 0; k < tpi_history_watermark(h, 0); k++) {
        ck_assert_msg(seen[k] == 1, "record %llu is lost", (unsigned long long) k);
    }
    ck_assert_uint_eq(seen[end], 0);
    return end;
}

START_TEST(killed_process_leaves_chunks_and_marks_that_agree)
{
    struct place p;
    uint64_t random = 20261120;
    uint64_t end = 0;
    static struct tk_env env;
    place_make(&p, false);
    tk_env_init(&env);
    for (int i = 0; i < KILLS; i++) {
        pid_t child = fork();
        if (child == 0) {
            struct writer w = { &p, history_random(&random) | 1 };
            tk_in_child(write_until_killed, &w);
        }
        usleep((useconds_t) (20000 + history_random(&random) % 150000));
        kill(child, SIGKILL);
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status));
        void *self = history_engine_open(sqlite_history_ops(), &p.cfg);
        struct tpi_history *h = stage_open(&env, self);
        uint64_t now = check_stored(self, h);
        ck_assert_uint_ge(now, end);
        end = now;
        for (uint64_t k = tpi_history_watermark(h, 0); k < end + 7; k++) {
            apply_record(h, k);
        }
        tk_ok(tpi_history_commit(h, true, NULL));
        ck_assert_uint_eq(tpi_history_watermark(h, 0), end + 7);
        end = check_stored(self, h);
        tpi_history_destroy(h);
        history_engine_close(sqlite_history_ops(), self);
    }
    printf("sqlite kill test: %d kills, %llu records\n", KILLS, (unsigned long long) end);
    tk_env_fini(&env);
}
END_TEST

Suite *sqlite_suite(void)
{
    Suite *s = suite_create("sqlite");
    TCase *c = tcase_create("sqlite");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, newer_schema_is_refused_naming_both_versions);
    tcase_add_test(c, file_of_another_program_is_left_alone);
    tcase_add_test(c, file_of_schema_version_1_is_brought_up);
    tcase_add_test(c, fields_of_entities_of_schema_version_1_are_found_again);
    tcase_add_test(c, space_of_deleted_chunks_goes_back_to_the_disk);
    tcase_add_test(c, schema_is_as_the_document_says);
    tcase_add_test(c, bad_options_are_named);
    tcase_add_test(c, second_instance_is_told_that_the_file_is_in_use);
    tcase_add_test(c, write_lock_of_another_process_is_answered_later);
    tcase_add_test(c, damaged_file_is_named_and_not_written_over);
    tcase_add_test(c, full_disk_refuses_the_transaction_and_heals);
    tcase_add_test(c, sync_that_fails_is_no_commit);
    tcase_add_test(c, readers_go_on_while_a_sync_stalls);
    tcase_add_test(c, write_ahead_file_shrinks_once_a_long_reader_ends);
    tcase_add_test(c, secrets_have_a_table_of_their_own_and_leave_no_bytes);
    tcase_add_test(c, killed_process_leaves_chunks_and_marks_that_agree);
    suite_add_tcase(s, c);
    return s;
}
