#include "db.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"

static const char origin[] = "sqlite";

enum { CHECKPOINT_PAGES = 1000, PAGE_BYTES = 4096 };

const struct tpc_option sqdb_options[SQDB_OPTIONS] = {
    { .name = "dir",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 1,
      .max = 900,
      .since = "0.1",
      .help = "Folder of entities.db and history.db; made if it is not there." },
    { .name = "busy_timeout",
      .type = TPC_OPT_DURATION,
      .def = "5s",
      .max = 600000,
      .since = "0.1",
      .help = "How long a write waits for another process (a backup) before TPC_EAGAIN." },
    { .name = "wal_limit",
      .type = TPC_OPT_SIZE,
      .def = "64MiB",
      .min = 65536,
      .max = INT64_C(1) << 40,
      .since = "0.1",
      .help = "Size of the write-ahead file from which it is emptied by force." },
    { .name = "cache",
      .type = TPC_OPT_SIZE,
      .def = "8MiB",
      .min = 65536,
      .max = INT64_C(1) << 36,
      .since = "0.1",
      .help = "Page cache of each file's writer; readers take a quarter." },
    { .name = "vfs",
      .type = TPC_OPT_TEXT,
      .max = 63,
      .since = "0.1",
      .help = "Name of an SQLite VFS that the program registered; absent = the default one." },
    { .name = "read_only",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "Entities only: reads what another process writes (TPC_CORE_OBSERVE)." },
};

/* ---- errors ---- */

int sqdb_code(int rc)
{
    if (rc == SQLITE_IOERR_NOMEM) {
        return TPC_ENOMEM;
    }
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return TPC_EAGAIN;
    case SQLITE_FULL:
        return TPC_ENOSPC;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return TPC_ECORRUPT;
    case SQLITE_NOMEM:
        return TPC_ENOMEM;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return TPC_EDENIED;
    case SQLITE_TOOBIG:
        return TPC_ETOOBIG;
    default:
        return TPC_EIO;
    }
}

int sqdb_fail(const struct sqdb *db, sqlite3 *conn, int rc, const char *what, struct tpc_error *err)
{
    int code = sqdb_code(rc);
    const char *why = conn != NULL && sqlite3_errcode(conn) == (rc & 0xff) ? sqlite3_errmsg(conn)
                                                                           : sqlite3_errstr(rc);
    if (code == TPC_EAGAIN) {
        why = "another process has it locked";
    }
    return tpi_error_native(err, code, rc, origin, "%s: %s: %s", db->path, what, why);
}

/* ---- statements ---- */

static sqlite3_stmt *prepare(sqlite3 *conn, sqlite3_stmt **slot, const char *sql, int *ret_rc)
{
    *ret_rc = SQLITE_OK;
    if (*slot == NULL) {
        *ret_rc = sqlite3_prepare_v3(conn, sql, -1, SQLITE_PREPARE_PERSISTENT, slot, NULL);
    } else {
        sqlite3_reset(*slot);
        sqlite3_clear_bindings(*slot);
    }
    return *ret_rc == SQLITE_OK ? *slot : NULL;
}

sqlite3_stmt *sqdb_stmt(struct sqdb *db, int index, const char *sql, int *ret_rc)
{
    return prepare(db->writer, &db->stmts[index], sql, ret_rc);
}

sqlite3_stmt *sqdb_reader_stmt(struct sqdb_reader *r, int index, const char *sql, int *ret_rc)
{
    return prepare(r->db, &r->stmts[index], sql, ret_rc);
}

int sqdb_run(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    int end = sqlite3_reset(stmt);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : end != SQLITE_OK ? end : rc;
}

/* Views are the caller's until the statement is reset. */
int sqdb_bind_text(sqlite3_stmt *stmt, int at, struct tpc_str text)
{
    return sqlite3_bind_text64(stmt, at, text.len > 0 ? text.ptr : "", text.len, SQLITE_STATIC,
                               SQLITE_UTF8);
}

int sqdb_bind_bytes(sqlite3_stmt *stmt, int at, struct tpc_bytes bytes)
{
    if (bytes.len == 0) {
        return sqlite3_bind_zeroblob(stmt, at, 0);
    }
    return sqlite3_bind_blob64(stmt, at, bytes.ptr, bytes.len, SQLITE_STATIC);
}

struct tpc_str sqdb_column_text(sqlite3_stmt *stmt, int at)
{
    const char *p = (const char *) sqlite3_column_text(stmt, at);
    return (struct tpc_str){ p != NULL ? p : "", (size_t) sqlite3_column_bytes(stmt, at) };
}

struct tpc_bytes sqdb_column_bytes(sqlite3_stmt *stmt, int at)
{
    const uint8_t *p = sqlite3_column_blob(stmt, at);
    size_t len = (size_t) sqlite3_column_bytes(stmt, at);
    return (struct tpc_bytes){ p != NULL ? p : (const uint8_t *) "", p != NULL ? len : 0 };
}

int sqdb_number(sqlite3 *conn, const char *sql, int64_t *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(conn, sql, -1, &stmt, NULL);
    if (rc != SQLITE_OK) {
        return rc;
    }
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *ret = sqlite3_column_int64(stmt, 0);
    }
    int end = sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

/* ---- connections ---- */

static int connect_file(struct sqdb *db, bool writer, sqlite3 **ret)
{
    char sql[256];
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_CREATE : 0);
    sqlite3 *conn = NULL;
    int rc = sqlite3_open_v2(db->path, &conn, flags, db->vfs[0] != '\0' ? db->vfs : NULL);
    *ret = conn;
    if (rc != SQLITE_OK) {
        return rc;
    }
    sqlite3_extended_result_codes(conn, 1);
    sqlite3_busy_timeout(conn, db->busy_timeout_ms);
    sqlite3_db_config(conn, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(conn, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    snprintf(sql, sizeof(sql), "PRAGMA temp_store=MEMORY;PRAGMA cache_size=-%lld;%s",
             (long long) (db->cache_bytes / 1024 / (writer ? 1 : 4)),
             writer ? "PRAGMA synchronous=FULL;" : "PRAGMA query_only=ON;");
    return sqlite3_exec(conn, sql, NULL, NULL, NULL);
}

/* Keeps the size of the write-ahead file and checkpoints it as SQLite itself would. */
static int on_wal(void *user, sqlite3 *conn, const char *name, int pages)
{
    struct sqdb *db = user;
    db->wal_pages = pages;
    if (pages >= CHECKPOINT_PAGES) {
        (void) sqlite3_wal_checkpoint_v2(conn, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    return SQLITE_OK;
}

static int set_wal(struct sqdb *db, bool empty)
{
    char sql[160];
    sqlite3_stmt *stmt = NULL;
    int rc = SQLITE_OK;
    if (empty && db->schema->shrinks) { /* takes effect only before the first page is written */
        rc = sqlite3_exec(db->writer, "PRAGMA auto_vacuum=INCREMENTAL", NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(db->writer, "PRAGMA journal_mode=WAL", -1, &stmt, NULL);
    }
    if (rc != SQLITE_OK) {
        return rc;
    }
    rc = sqlite3_step(stmt);
    bool wal = rc == SQLITE_ROW && strcmp((const char *) sqlite3_column_text(stmt, 0), "wal") == 0;
    int end = sqlite3_finalize(stmt);
    if (end != SQLITE_OK || !wal) {
        return end != SQLITE_OK ? end : SQLITE_CANTOPEN;
    }
    snprintf(sql, sizeof(sql), "PRAGMA journal_size_limit=%lld;PRAGMA secure_delete=%s",
             (long long) db->wal_limit_bytes, db->schema->wipe ? "ON" : "OFF");
    rc = sqlite3_exec(db->writer, sql, NULL, NULL, NULL);
    sqlite3_wal_hook(db->writer, on_wal, db);
    return rc;
}

static int open_writer(struct sqdb *db)
{
    struct tpc_error err = { .size = sizeof(err) };
    bool empty = false;
    int rc = connect_file(db, true, &db->writer);
    if (rc == SQLITE_OK) {
        int code = sqdb_check(db, db->writer,
                              &empty); /* before anything is written: it may be a foreign file */
        if (code != 0) {
            return code;
        }
        rc = set_wal(db, empty);
    }
    if (rc != SQLITE_OK) {
        int code = sqdb_fail(db, db->writer, rc, "cannot be opened", &err);
        return db->host->fail(db->ctx, code, "%s", err.text);
    }
    return sqdb_migrate(db);
}

static void close_connection(sqlite3 *conn, sqlite3_stmt **stmts, int count)
{
    for (int i = 0; i < count; i++) {
        sqlite3_finalize(stmts[i]);
        stmts[i] = NULL;
    }
    sqlite3_close_v2(conn);
}

struct sqdb_reader *sqdb_take(struct sqdb *db, int *ret_rc)
{
    *ret_rc = SQLITE_OK;
    pthread_mutex_lock(&db->pool_lock);
    struct sqdb_reader *r = db->idle;
    if (r != NULL) {
        db->idle = r->next;
        db->idle_count--;
    }
    pthread_mutex_unlock(&db->pool_lock);
    if (r != NULL) {
        return r;
    }
    r = tpi_alloc_zero(db->host->allocator, sizeof(*r));
    *ret_rc = r != NULL ? connect_file(db, false, &r->db) : SQLITE_NOMEM;
    if (*ret_rc != SQLITE_OK && r != NULL) {
        sqlite3_close_v2(r->db);
        tpi_free(db->host->allocator, r, sizeof(*r));
        r = NULL;
    }
    return r;
}

static void reader_free(struct sqdb *db, struct sqdb_reader *r)
{
    close_connection(r->db, r->stmts, SQDB_READER_STMTS);
    tpi_free(db->host->allocator, r, sizeof(*r));
}

void sqdb_give(struct sqdb *db, struct sqdb_reader *r)
{
    for (int i = 0; i < SQDB_READER_STMTS; i++) {
        /* a statement that is not reset holds its snapshot, and the write-ahead file grows */
        if (r->stmts[i] != NULL) {
            sqlite3_reset(r->stmts[i]);
        }
    }
    pthread_mutex_lock(&db->pool_lock);
    bool keep = db->idle_count < SQDB_IDLE_READERS;
    if (keep) {
        r->next = db->idle;
        db->idle = r;
        db->idle_count++;
    }
    pthread_mutex_unlock(&db->pool_lock);
    if (!keep) {
        reader_free(db, r);
    }
}

/* ---- transactions ---- */

static int exec(struct sqdb *db, const char *sql)
{
    return sqlite3_exec(db->writer, sql, NULL, NULL, NULL);
}

int sqdb_begin(struct sqdb *db, struct tpc_error *err)
{
    if (db->in_transaction || db->writer == NULL) {
        return db->writer == NULL
                   ? tpi_error_set(err, TPC_EDENIED, origin, "%s is opened read-only", db->path)
                   : tpi_error_set(err, TPC_ESTATE, origin, "%s: a transaction is open", db->path);
    }
    int rc = exec(db, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) {
        return sqdb_fail(db, db->writer, rc, "no transaction can begin", err);
    }
    db->in_transaction = true;
    return 0;
}

void sqdb_rollback(struct sqdb *db)
{
    for (int i = 0; i < SQDB_WRITER_STMTS; i++) {
        if (db->stmts[i] != NULL) {
            sqlite3_reset(db->stmts[i]);
        }
    }
    if (sqlite3_get_autocommit(db->writer) == 0) {
        (void) exec(db, "ROLLBACK");
    }
    db->in_transaction = false;
}

/* A reader that takes its time keeps the write-ahead file from being emptied; this is tried after
 * each commit until it succeeds, without waiting. */
static void empty_wal(struct sqdb *db)
{
    if ((int64_t) db->wal_pages * PAGE_BYTES < db->wal_limit_bytes) {
        return;
    }
    sqlite3_busy_timeout(db->writer, 0);
    int rc = sqlite3_wal_checkpoint_v2(db->writer, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(db->writer, db->busy_timeout_ms);
    if (rc == SQLITE_OK) {
        db->wal_pages = 0;
    } else if (TPC_HAS(db->host, struct tpc_host, count)) {
        db->host->count(db->ctx, "wal_busy", 1);
    }
}

int sqdb_commit(struct sqdb *db, struct tpc_error *err)
{
    if (!db->in_transaction) {
        return tpi_error_set(err, TPC_ESTATE, origin, "%s: no transaction is open", db->path);
    }
    int rc = exec(db, "COMMIT");
    if (rc != SQLITE_OK) {
        int code = sqdb_fail(db, db->writer, rc, "cannot commit", err);
        sqdb_rollback(db);
        return code;
    }
    db->in_transaction = false;
    empty_wal(db);
    return 0;
}

/* ---- open and close ---- */

static int64_t number(const struct tpc_value *cfg, struct tpc_str name, int64_t fallback)
{
    int64_t x;
    return tpc_value_int(tpc_value_get(cfg, name), &x) == 0 ? x : fallback;
}

static int read_options(struct sqdb *db, const struct tpc_value *cfg, char *dir, size_t cap)
{
    struct tpc_str path = tpc_value_text(tpc_value_get(cfg, TPC_STR("dir")));
    struct tpc_str vfs = tpc_value_text(tpc_value_get(cfg, TPC_STR("vfs")));
    if (path.len == 0 || path.len + 32 >= cap) {
        return db->host->fail(db->ctx, TPC_EINVAL, "dir is missing or too long");
    }
    if (vfs.len >= sizeof(db->vfs)) {
        return db->host->fail(db->ctx, TPC_EINVAL, "vfs is too long");
    }
    memcpy(dir, path.ptr, path.len);
    dir[path.len] = '\0';
    if (vfs.len > 0) {
        memcpy(db->vfs, vfs.ptr, vfs.len);
    }
    db->vfs[vfs.len] = '\0';
    db->busy_timeout_ms = (int) number(cfg, TPC_STR("busy_timeout"), 5000);
    db->wal_limit_bytes = number(cfg, TPC_STR("wal_limit"), INT64_C(64) << 20);
    db->cache_bytes = number(cfg, TPC_STR("cache"), INT64_C(8) << 20);
    const struct tpc_value *read_only = tpc_value_get(cfg, TPC_STR("read_only"));
    db->read_only = read_only != NULL && read_only->type == TPC_BOOL && read_only->as.b;
    if (db->vfs[0] != '\0' && sqlite3_vfs_find(db->vfs) == NULL) {
        return db->host->fail(db->ctx, TPC_EINVAL, "SQLite has no VFS named %s", db->vfs);
    }
    return 0;
}

/* Once, so that a file that is not there or not ours is named at once. */
static int open_read_only(struct sqdb *db)
{
    struct tpc_error err = { .size = sizeof(err) };
    bool empty = false;
    int rc;
    struct sqdb_reader *r = sqdb_take(db, &rc);
    if (r == NULL) {
        int code = sqdb_fail(db, NULL, rc, "cannot be opened", &err);
        code = rc == SQLITE_CANTOPEN ? TPC_ENOENT : code;
        return db->host->fail(db->ctx, code, "%s", err.text);
    }
    int code = sqdb_check(db, r->db, &empty);
    sqdb_give(db, r);
    return code;
}

/* One process per file: SQLite would allow two, but two histories would count past each other. */
static int take_lock(struct sqdb *db)
{
    const struct tpc_files *files = db->host->files;
    char path[SQDB_PATH_BYTES + 8];
    int native = 0;
    snprintf(path, sizeof(path), "%s-lock", db->path);
    int rc = files->open(files->user, path, TPC_FILE_WRITE | TPC_FILE_CREATE | TPC_FILE_LOCK,
                         &db->lock_file, &native);
    if (rc == TPC_EAGAIN) {
        return db->host->fail(db->ctx, rc, "%s is in use by another process or instance", db->path);
    }
    if (rc != 0) {
        return db->host->fail(db->ctx, rc, "%s cannot be opened (%d)", path, native);
    }
    return 0;
}

int sqdb_open(struct sqdb *db, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
              const struct sqdb_schema *schema)
{
    char dir[SQDB_PATH_BYTES];
    int native = 0;
    db->host = host;
    db->ctx = ctx;
    db->schema = schema;
    int rc = read_options(db, cfg, dir, sizeof(dir));
    if (rc != 0) {
        return rc;
    }
    if (sqlite3_threadsafe() == 0) {
        return host->fail(ctx, TPC_EUNSUPPORTED, "this SQLite was built without threads");
    }
    rc = db->read_only ? 0 : host->files->make_dir(host->files->user, dir, &native);
    if (rc != 0) {
        return host->fail(ctx, rc, "folder %s cannot be made (%d)", dir, native);
    }
    (void) tpi_text_copy(db->path, sizeof(db->path), dir);
    size_t len = strlen(db->path);
    snprintf(db->path + len, sizeof(db->path) - len, "/%s", schema->file);
    if (pthread_mutex_init(&db->pool_lock, NULL) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no lock can be made");
    }
    db->pool_ready = true;
    if (db->read_only) {
        return open_read_only(db);
    }
    rc = take_lock(db);
    return rc != 0 ? rc : open_writer(db);
}

void sqdb_close(struct sqdb *db)
{
    if (db->writer != NULL) {
        sqdb_rollback(db);
    }
    while (db->idle != NULL) {
        struct sqdb_reader *r = db->idle;
        db->idle = r->next;
        reader_free(db, r);
    }
    close_connection(db->writer, db->stmts, SQDB_WRITER_STMTS);
    db->writer = NULL;
    if (db->lock_file != NULL) {
        db->host->files->close(db->host->files->user, db->lock_file);
        db->lock_file = NULL;
    }
    if (db->pool_ready) {
        pthread_mutex_destroy(&db->pool_lock);
        db->pool_ready = false;
    }
}
