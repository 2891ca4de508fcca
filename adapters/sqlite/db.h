/*
 * One SQLite file: a writer connection, a pool of reader connections, prepared statements.
 *
 * Names across the files of this folder start with sqdb_.
 */
#ifndef SQLITE_DB_H
#define SQLITE_DB_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <tpcore/ext/history.h>
#include <tpcore/ext/store.h>

enum {
    SQDB_PATH_BYTES = 1024,
    SQDB_WRITER_STMTS = 24,
    SQDB_READER_STMTS = 78,
    SQDB_OPTIONS = 6,
    SQDB_IDLE_READERS = 16 /* connections kept open; more are closed after use */
};

struct sqdb_reader {
    sqlite3 *db;
    sqlite3_stmt *stmts[SQDB_READER_STMTS];
    struct sqdb_reader *next;
};

/* What a file holds: versions and how to come from one to the next. */
struct sqdb_schema {
    const char *file; /* "history.db" */
    uint32_t application_id;
    uint32_t version;
    const char *const *steps; /* steps[v] brings version v to v + 1 */
    bool wipe;                /* secure_delete: overwrite what is deleted */
    bool shrinks;             /* auto_vacuum: what is deleted can be given back to the disk */
};

struct sqdb {
    const struct tpc_host *host;
    void *ctx;
    const struct sqdb_schema *schema;
    char path[SQDB_PATH_BYTES];
    char vfs[64];
    void *lock_file; /* held while open: one process per file */
    int busy_timeout_ms;
    int64_t wal_limit_bytes;
    int64_t cache_bytes;
    bool read_only;  /* another process writes the file: no lock, no writer */
    sqlite3 *writer; /* NULL if read_only */
    sqlite3_stmt *stmts[SQDB_WRITER_STMTS];
    int wal_pages; /* after the last commit */
    bool in_transaction;
    pthread_mutex_t pool_lock;
    bool pool_ready;
    struct sqdb_reader *idle;
    uint32_t idle_count;
};

extern const struct tpc_option sqdb_options[SQDB_OPTIONS];
extern const struct sqdb_schema sqdb_entities_schema;
extern const struct sqdb_schema sqdb_history_schema;

/* Opens, locks and migrates the file. Returns 0 or a code after host->fail(); db is then to be
 * closed all the same. */
int sqdb_open(struct sqdb *db, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
              const struct sqdb_schema *schema);
void sqdb_close(struct sqdb *db);

/* Whether the file is ours and not too new; nothing is written. Returns 0 or a code after
 * host->fail(). */
int sqdb_check(struct sqdb *db, sqlite3 *conn, bool *ret_empty);

/* Brings an opened writer to the schema's version. Returns 0 or a code after host->fail(). */
int sqdb_migrate(struct sqdb *db);

/* Code for an SQLite result. */
int sqdb_code(int rc);

/* Fills err (may be NULL) from a connection's last failure; returns the code. */
int sqdb_fail(const struct sqdb *db, sqlite3 *conn, int rc, const char *what,
              struct tpc_error *err);

/* Statement `index` of the writer or a reader, prepared at its first use, reset and unbound. NULL
 * and *ret_rc on failure. */
sqlite3_stmt *sqdb_stmt(struct sqdb *db, int index, const char *sql, int *ret_rc);
sqlite3_stmt *sqdb_reader_stmt(struct sqdb_reader *r, int index, const char *sql, int *ret_rc);

/* A reader for this thread until it is given back. NULL and *ret_rc on failure. */
struct sqdb_reader *sqdb_take(struct sqdb *db, int *ret_rc);
void sqdb_give(struct sqdb *db, struct sqdb_reader *r);

/* Writer only, one thread at a time. commit leaves no transaction open, whatever it returns. */
int sqdb_begin(struct sqdb *db, struct tpc_error *err);
int sqdb_commit(struct sqdb *db, struct tpc_error *err);
void sqdb_rollback(struct sqdb *db);

/* Steps a statement that gives no rows and resets it. */
int sqdb_run(sqlite3_stmt *stmt);

int sqdb_bind_text(sqlite3_stmt *stmt, int at, struct tpc_str text);
int sqdb_bind_bytes(sqlite3_stmt *stmt, int at, struct tpc_bytes bytes);
struct tpc_str sqdb_column_text(sqlite3_stmt *stmt, int at);
struct tpc_bytes sqdb_column_bytes(sqlite3_stmt *stmt, int at);

/* Column 0 of the only row of a statement without parameters. Returns an SQLite result. */
int sqdb_number(sqlite3 *conn, const char *sql, int64_t *ret);

extern const struct tpc_store_ops sqdb_store_ops;
extern const struct tpc_history_ops sqdb_history_ops;

#endif
