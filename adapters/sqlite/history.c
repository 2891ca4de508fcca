/*
 * The engine of tpc_history_ops: chunks and marks in history.db.
 */
#include "db.h"

#include "base/error.h"

enum writer_stmts { PUT_CHUNK, PUT_MARK, PUT_SPAN, DELETE_DEVICE, DELETE_ALL };
enum reader_stmts { SCAN_OLDEST, SCAN_NEWEST, MARKS };

struct history {
    struct sqdb db;
    uint64_t next_id;     /* never goes back while the file is open: a deleted row's id is not given
                             to another device's chunk */
    int64_t span_stored;  /* greatest last - first of any chunk, as committed */
    int64_t span_pending; /* as of this transaction */
};

static int history_init(void *self, const struct tpc_host *host, void *ctx,
                        const struct tpc_value *cfg)
{
    struct history *h = self;
    int64_t last = 0;
    int64_t span = 0;
    int rc = sqdb_open(&h->db, host, ctx, cfg, &sqdb_history_schema);
    if (rc != 0) {
        return rc;
    }
    rc = sqdb_number(h->db.writer, "SELECT coalesce(max(id), 0) FROM chunk", &last);
    if (rc == SQLITE_OK) {
        rc = sqdb_number(h->db.writer, "SELECT value FROM meta WHERE name = 'max_span_ms'", &span);
    }
    if (rc != SQLITE_OK) {
        struct tpc_error err = { .size = sizeof(err) };
        int code = sqdb_fail(&h->db, h->db.writer, rc, "cannot be read", &err);
        return host->fail(ctx, code, "%s", err.text);
    }
    h->next_id = (uint64_t) last + 1;
    h->span_stored = span;
    h->span_pending = span;
    return 0;
}

static void history_fini(void *self)
{
    struct history *h = self;
    if (h->db.host != NULL) {
        sqdb_close(&h->db);
    }
}

/* ---- writing ---- */

static int history_begin(void *self, struct tpc_error *err)
{
    struct history *h = self;
    return sqdb_begin(&h->db, err);
}

static int need_transaction(const struct history *h, struct tpc_error *err)
{
    if (!h->db.in_transaction) {
        return tpi_error_set(err, TPC_ESTATE, "sqlite", "%s: no transaction is open", h->db.path);
    }
    return 0;
}

static int put_span(struct history *h, int64_t span)
{
    int rc;
    sqlite3_stmt *stmt =
        sqdb_stmt(&h->db, PUT_SPAN, "UPDATE meta SET value = ?1 WHERE name = 'max_span_ms'", &rc);
    if (stmt == NULL) {
        return rc;
    }
    sqlite3_bind_int64(stmt, 1, span);
    rc = sqdb_run(stmt);
    if (rc == SQLITE_OK) {
        h->span_pending = span;
    }
    return rc;
}

static int put_row(struct history *h, const struct tpc_chunk *c, uint64_t id)
{
    int rc;
    sqlite3_stmt *stmt =
        sqdb_stmt(&h->db, PUT_CHUNK,
                  "INSERT INTO chunk(id, dev, t0, t1, n, flags, blob) VALUES(?1, ?2, ?3, ?4, ?5,"
                  " ?6, ?7) ON CONFLICT(id) DO UPDATE SET dev = excluded.dev, t0 = excluded.t0,"
                  " t1 = excluded.t1, n = excluded.n, flags = excluded.flags,"
                  " blob = excluded.blob",
                  &rc);
    if (stmt == NULL) {
        return rc;
    }
    sqlite3_bind_int64(stmt, 1, (int64_t) id);
    sqlite3_bind_int64(stmt, 2, (int64_t) c->device_id);
    sqlite3_bind_int64(stmt, 3, c->first_unix_ms);
    sqlite3_bind_int64(stmt, 4, c->last_unix_ms);
    sqlite3_bind_int64(stmt, 5, c->samples);
    sqlite3_bind_int64(stmt, 6, c->flags);
    rc = sqdb_bind_bytes(stmt, 7, c->blob);
    return rc == SQLITE_OK ? sqdb_run(stmt) : rc;
}

static int history_put_chunk(void *self, const struct tpc_chunk *chunk, struct tpc_error *err,
                             uint64_t *ret_id)
{
    struct history *h = self;
    int rc = need_transaction(h, err);
    if (rc != 0) {
        return rc;
    }
    uint64_t id = chunk->id != 0 ? chunk->id : h->next_id;
    uint64_t span = (uint64_t) chunk->last_unix_ms - (uint64_t) chunk->first_unix_ms;
    int64_t wide = span > INT64_MAX ? INT64_MAX : (int64_t) span;
    rc = wide > h->span_pending ? put_span(h, wide) : SQLITE_OK;
    if (rc == SQLITE_OK) {
        rc = put_row(h, chunk, id);
    }
    if (rc != SQLITE_OK) {
        return sqdb_fail(&h->db, h->db.writer, rc, "cannot write a chunk", err);
    }
    if (id >= h->next_id) {
        h->next_id = id + 1;
    }
    *ret_id = id;
    return 0;
}

static int put_mark(struct history *h, const struct tpc_mark *m)
{
    int rc;
    sqlite3_stmt *stmt = sqdb_stmt(&h->db, PUT_MARK,
                                   "INSERT INTO mark(type, key, value, text) VALUES(?1, ?2, ?3, ?4)"
                                   " ON CONFLICT(type, key) DO UPDATE SET value = excluded.value,"
                                   " text = excluded.text",
                                   &rc);
    if (stmt == NULL) {
        return rc;
    }
    sqlite3_bind_int64(stmt, 1, m->type);
    sqlite3_bind_int64(stmt, 2, (int64_t) m->key);
    sqlite3_bind_int64(stmt, 3, (int64_t) m->value);
    rc = sqdb_bind_text(stmt, 4, m->text);
    return rc == SQLITE_OK ? sqdb_run(stmt) : rc;
}

static int history_put_marks(void *self, const struct tpc_mark *marks, uint32_t count,
                             size_t mark_size, struct tpc_error *err)
{
    struct history *h = self;
    int rc = need_transaction(h, err);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        const char *at = (const char *) marks + (size_t) i * mark_size;
        int step = put_mark(h, (const struct tpc_mark *) (const void *) at);
        if (step != SQLITE_OK) {
            rc = sqdb_fail(&h->db, h->db.writer, step, "cannot write a mark", err);
        }
    }
    return rc;
}

static int history_commit(void *self, struct tpc_error *err)
{
    struct history *h = self;
    int rc = sqdb_commit(&h->db, err);
    if (rc == 0) {
        h->span_stored = h->span_pending;
    } else {
        h->span_pending = h->span_stored;
    }
    return rc;
}

static void history_rollback(void *self)
{
    struct history *h = self;
    sqdb_rollback(&h->db);
    h->span_pending = h->span_stored;
}

static int history_delete_before(void *self, uint64_t device_id, int64_t unix_ms,
                                 uint64_t *ret_count)
{
    struct history *h = self;
    int rc;
    sqlite3_stmt *stmt =
        device_id != 0
            ? sqdb_stmt(&h->db, DELETE_DEVICE, "DELETE FROM chunk WHERE t1 < ?1 AND dev = ?2", &rc)
            : sqdb_stmt(&h->db, DELETE_ALL, "DELETE FROM chunk WHERE t1 < ?1", &rc);
    if (stmt != NULL) {
        sqlite3_bind_int64(stmt, 1, unix_ms);
        if (device_id != 0) {
            sqlite3_bind_int64(stmt, 2, (int64_t) device_id);
        }
        rc = sqdb_run(stmt);
    }
    if (rc == SQLITE_OK) {
        *ret_count = (uint64_t) sqlite3_changes64(h->db.writer);
    }
    return sqdb_code(rc);
}

/* ---- reading ---- */

static int scan_rows(sqlite3_stmt *stmt, uint64_t device, tpc_chunk_fn *fn, void *user)
{
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct tpc_chunk c = { .size = sizeof(c),
                               .id = (uint64_t) sqlite3_column_int64(stmt, 0),
                               .device_id = device,
                               .first_unix_ms = sqlite3_column_int64(stmt, 1),
                               .last_unix_ms = sqlite3_column_int64(stmt, 2),
                               .samples = (uint32_t) sqlite3_column_int64(stmt, 3),
                               .flags = (uint32_t) sqlite3_column_int64(stmt, 4),
                               .blob = sqdb_column_bytes(stmt, 5) };
        int stop = fn(user, &c);
        if (stop != 0) {
            return stop;
        }
    }
    return sqdb_code(rc);
}

#define SCAN_COLUMNS "SELECT id, t0, t1, n, flags, blob FROM chunk "
/* Bounds where a scan begins. Of the scan's own snapshot: another one could lack a wider chunk. */
#define SPAN "(SELECT value FROM meta WHERE name = 'max_span_ms')"

static int history_scan(void *self, const struct tpc_scan *q, tpc_chunk_fn *fn, void *user)
{
    struct history *h = self;
    int rc;
    struct sqdb_reader *r = sqdb_take(&h->db, &rc);
    if (r == NULL) {
        return sqdb_code(rc);
    }
    sqlite3_stmt *stmt =
        q->descending != 0
            ? sqdb_reader_stmt(r, SCAN_NEWEST,
                               SCAN_COLUMNS "INDEXED BY chunk_last WHERE dev = ?1 AND t1 >= ?2 AND"
                                            " t0 < ?3 AND t1 <= ?3 + " SPAN " ORDER BY t1 DESC",
                               &rc)
            : sqdb_reader_stmt(r, SCAN_OLDEST,
                               SCAN_COLUMNS "INDEXED BY chunk_first WHERE dev = ?1 AND t1 >= ?2 AND"
                                            " t0 < ?3 AND t0 >= ?2 - " SPAN " ORDER BY t0",
                               &rc);
    int code = sqdb_code(rc);
    if (stmt != NULL) {
        sqlite3_bind_int64(stmt, 1, (int64_t) q->device_id);
        sqlite3_bind_int64(stmt, 2, q->from_unix_ms);
        sqlite3_bind_int64(stmt, 3, q->to_unix_ms);
        code = scan_rows(stmt, q->device_id, fn, user);
    }
    sqdb_give(&h->db, r);
    return code;
}

static int mark_rows(sqlite3_stmt *stmt, uint32_t type, tpc_mark_fn *fn, void *user)
{
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct tpc_mark m = { .size = sizeof(m),
                              .type = type,
                              .key = (uint64_t) sqlite3_column_int64(stmt, 0),
                              .value = (uint64_t) sqlite3_column_int64(stmt, 1),
                              .text = sqdb_column_text(stmt, 2) };
        int stop = fn(user, &m);
        if (stop != 0) {
            return stop;
        }
    }
    return sqdb_code(rc);
}

static int history_marks(void *self, uint32_t type, tpc_mark_fn *fn, void *user)
{
    struct history *h = self;
    int rc;
    struct sqdb_reader *r = sqdb_take(&h->db, &rc);
    if (r == NULL) {
        return sqdb_code(rc);
    }
    sqlite3_stmt *stmt =
        sqdb_reader_stmt(r, MARKS, "SELECT key, value, text FROM mark WHERE type = ?1", &rc);
    int code = sqdb_code(rc);
    if (stmt != NULL) {
        sqlite3_bind_int64(stmt, 1, type);
        code = mark_rows(stmt, type, fn, user);
    }
    sqdb_give(&h->db, r);
    return code;
}

const struct tpc_history_ops sqdb_history_ops = {
    .iface = TPC_IFACE(struct tpc_history_ops, 1),
    .name = "sqlite",
    .instance_size = sizeof(struct history),
    .options = TPC_OPTIONS(sqdb_options),
    .shape = TPC_HISTORY_BLOB,
    .init = history_init,
    .fini = history_fini,
    .begin = history_begin,
    .put_chunk = history_put_chunk,
    .put_marks = history_put_marks,
    .commit = history_commit,
    .rollback = history_rollback,
    .scan = history_scan,
    .marks = history_marks,
    .delete_before = history_delete_before,
};
