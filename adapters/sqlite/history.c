/*
 * The engine of tpc_history_ops: chunks and marks in history.db.
 */
#include "db.h"

#include <stdio.h>

#include "base/error.h"

enum writer_stmts {
    PUT_CHUNK,
    REPLACE_CHUNK,
    PUT_MARK,
    PUT_SPAN,
    DELETE_DEVICE,
    DELETE_ALL,
    FREE_PAGES,
    PAGE_SIZE
};
enum reader_stmts {
    SCAN_OLDEST,
    SCAN_NEWEST,
    OVER_OLDEST,
    OVER_NEWEST,
    MARKS,
    READ_BEGIN,
    READ_END
};

enum {
    DELETE_CHUNKS = 4096, /* in one call: the writer is not to be held for long */
};

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

/* A row that is replaced may have been deleted meanwhile: then it is made again. */
static int put_row(struct history *h, const struct tpc_chunk *c, uint64_t id)
{
    int rc;
    sqlite3_stmt *stmt =
        id >= h->next_id
            ? sqdb_stmt(&h->db, PUT_CHUNK,
                        "INSERT INTO chunk(id, dev, t0, t1, n, flags, blob) VALUES(?1, ?2, ?3, ?4,"
                        " ?5, ?6, ?7)",
                        &rc)
            : sqdb_stmt(&h->db, REPLACE_CHUNK,
                        "INSERT INTO chunk(id, dev, t0, t1, n, flags, blob) VALUES(?1, ?2, ?3, ?4,"
                        " ?5, ?6, ?7) ON CONFLICT(id) DO UPDATE SET dev = excluded.dev,"
                        " t0 = excluded.t0, t1 = excluded.t1, n = excluded.n,"
                        " flags = excluded.flags, blob = excluded.blob",
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
    sqlite3_stmt *stmt =
        sqdb_stmt(&h->db, PUT_MARK,
                  "INSERT INTO mark(type, key, value, text, data) VALUES(?1, ?2, ?3, ?4,"
                  " ?5)"
                  " ON CONFLICT(type, key) DO UPDATE SET value = excluded.value,"
                  " text = excluded.text, data = excluded.data",
                  &rc);
    if (stmt == NULL) {
        return rc;
    }
    sqlite3_bind_int64(stmt, 1, m->type);
    sqlite3_bind_int64(stmt, 2, (int64_t) m->key);
    sqlite3_bind_int64(stmt, 3, (int64_t) m->value);
    rc = sqdb_bind_text(stmt, 4, m->text);
    if (rc == SQLITE_OK && m->size > offsetof(struct tpc_mark, data) && m->data.len > 0) {
        rc = sqdb_bind_bytes(stmt, 5, m->data);
    } else if (rc == SQLITE_OK) {
        rc = sqlite3_bind_null(stmt, 5);
    }
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

/* ---- deleting ---- */

static int history_delete_before(void *self, uint64_t device_id, int64_t unix_ms,
                                 uint64_t *ret_count)
{
    struct history *h = self;
    int rc;
    sqlite3_stmt *stmt =
        device_id != 0
            ? sqdb_stmt(&h->db, DELETE_DEVICE,
                        "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk INDEXED BY chunk_first"
                        " WHERE dev = ?2 AND t0 < ?1 AND t1 < ?1 LIMIT ?3)",
                        &rc)
            : sqdb_stmt(&h->db, DELETE_ALL,
                        "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE t1 < ?1"
                        " LIMIT ?3)",
                        &rc);
    if (stmt != NULL) {
        sqlite3_bind_int64(stmt, 1, unix_ms);
        if (device_id != 0) {
            sqlite3_bind_int64(stmt, 2, (int64_t) device_id);
        }
        sqlite3_bind_int64(stmt, 3, DELETE_CHUNKS);
        rc = sqdb_run(stmt);
    }
    if (rc == SQLITE_OK) {
        *ret_count = (uint64_t) sqlite3_changes64(h->db.writer);
    }
    return sqdb_code(rc);
}

static int writer_number(struct history *h, int index, const char *sql, int64_t *ret)
{
    int rc;
    sqlite3_stmt *stmt = sqdb_stmt(&h->db, index, sql, &rc);
    if (stmt == NULL) {
        return rc;
    }
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *ret = sqlite3_column_int64(stmt, 0);
    }
    int end = sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

/* Moves free pages to the end of the file and cuts it, max_bytes at a time. A file of schema version
 * 1 has no auto_vacuum: its free pages are used again, but it does not become shorter. */
static int history_give_back(void *self, uint64_t max_bytes, uint64_t *ret_bytes)
{
    struct history *h = self;
    int64_t before = 0;
    int64_t after = 0;
    int64_t page = 0;
    if (h->db.in_transaction) {
        return TPC_ESTATE;
    }
    int rc = writer_number(h, FREE_PAGES, "PRAGMA freelist_count", &before);
    rc = rc != SQLITE_OK ? rc : writer_number(h, PAGE_SIZE, "PRAGMA page_size", &page);
    if (rc != SQLITE_OK || before == 0 || page == 0) {
        *ret_bytes = 0;
        return sqdb_code(rc);
    }
    char sql[64];
    uint64_t pages = max_bytes / (uint64_t) page;
    snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%llu)",
             (unsigned long long) (pages > 0 ? pages : 1));
    rc = sqlite3_exec(h->db.writer, sql, NULL, NULL, NULL);
    rc = rc != SQLITE_OK ? rc : writer_number(h, FREE_PAGES, "PRAGMA freelist_count", &after);
    if (rc == SQLITE_OK) {
        *ret_bytes = after < before ? (uint64_t) (before - after) * (uint64_t) page : 0;
    }
    return sqdb_code(rc);
}

/* ---- reading ---- */

/* Chunks of one kind in their order; `row` says whether the statement stands on one. */
struct stream {
    sqlite3_stmt *stmt;
    bool row;
    struct tpc_chunk chunk; /* without its blob */
};

static int stream_step(struct stream *s)
{
    int rc = sqlite3_step(s->stmt);
    s->row = rc == SQLITE_ROW;
    if (s->row) {
        s->chunk.id = (uint64_t) sqlite3_column_int64(s->stmt, 0);
        s->chunk.first_unix_ms = sqlite3_column_int64(s->stmt, 1);
        s->chunk.last_unix_ms = sqlite3_column_int64(s->stmt, 2);
    }
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Which of two comes first: by begin, or by end if newest come first. */
static bool stream_before(const struct stream *a, const struct stream *b, bool descending)
{
    if (!a->row || !b->row) {
        return a->row;
    }
    if (descending) {
        return a->chunk.last_unix_ms >= b->chunk.last_unix_ms;
    }
    return a->chunk.first_unix_ms < b->chunk.first_unix_ms ||
           (a->chunk.first_unix_ms == b->chunk.first_unix_ms && a->chunk.id < b->chunk.id);
}

static int scan_streams(struct stream *clean, struct stream *over, const struct tpc_scan *q,
                        tpc_chunk_fn *fn, void *user)
{
    int rc = stream_step(clean);
    rc = rc != SQLITE_OK ? rc : stream_step(over);
    while (rc == SQLITE_OK && (clean->row || over->row)) {
        struct stream *s = stream_before(clean, over, q->descending != 0) ? clean : over;
        if (s == clean && q->descending != 0 && s->chunk.last_unix_ms < q->from_unix_ms) {
            clean->row = false; /* those before it end still earlier */
            continue;
        }
        if (s->chunk.last_unix_ms >= q->from_unix_ms) {
            struct tpc_chunk c = { .size = sizeof(c),
                                   .id = s->chunk.id,
                                   .device_id = q->device_id,
                                   .first_unix_ms = s->chunk.first_unix_ms,
                                   .last_unix_ms = s->chunk.last_unix_ms,
                                   .samples = (uint32_t) sqlite3_column_int64(s->stmt, 3),
                                   .flags = (uint32_t) sqlite3_column_int64(s->stmt, 4),
                                   .blob = sqdb_column_bytes(s->stmt, 5) };
            int stop = fn(user, &c);
            if (stop != 0) {
                return stop;
            }
        }
        rc = stream_step(s);
    }
    return sqdb_code(rc);
}

#define SCAN_COLUMNS "SELECT id, t0, t1, n, flags, blob FROM chunk "
/* Bounds where a scan of overlapping chunks begins. Of the scan's own snapshot: another one could
 * lack a wider chunk. */
#define SPAN "(SELECT value FROM meta WHERE name = 'max_span_ms')"
/* So wide that the span does not fit, or the difference is no integer: no bound. */
#define WIDE SPAN " > 4611686018427387904"
#define CLEAN SCAN_COLUMNS "INDEXED BY chunk_first WHERE dev = ?1 AND flags & 2 = 0 AND t0 < ?3 "
/* The last one that begins at or before a time: those before it end before it begins. */
#define CLEAN_BEGIN                                                                                \
    "AND t0 >= coalesce((SELECT t0 FROM chunk INDEXED BY chunk_first WHERE dev = ?1 AND"           \
    " t0 <= ?2 AND flags & 2 = 0 ORDER BY t0 DESC LIMIT 1), ?2) "

static const char *const scan_sql[] = {
    [SCAN_OLDEST] = CLEAN CLEAN_BEGIN "ORDER BY t0",
    [SCAN_NEWEST] = CLEAN "ORDER BY t0 DESC",
    [OVER_OLDEST] = SCAN_COLUMNS "INDEXED BY over_first WHERE dev = ?1 AND flags & 2 AND t1 >= ?2"
                                 " AND t0 < ?3 AND t0 >= CASE WHEN " WIDE
                                 " THEN -9.3e18 ELSE ?2 - " SPAN " END ORDER BY t0, id",
    [OVER_NEWEST] = SCAN_COLUMNS "INDEXED BY over_last WHERE dev = ?1 AND flags & 2 AND t1 >= ?2"
                                 " AND t0 < ?3 AND t1 <= CASE WHEN " WIDE
                                 " THEN 9.3e18 ELSE ?3 + " SPAN " END ORDER BY t1 DESC",
};

static int stream_open(struct sqdb_reader *r, int index, const struct tpc_scan *q,
                       struct stream *ret)
{
    int rc;
    *ret = (struct stream){ .stmt = sqdb_reader_stmt(r, index, scan_sql[index], &rc) };
    if (ret->stmt != NULL) {
        sqlite3_bind_int64(ret->stmt, 1, (int64_t) q->device_id);
        sqlite3_bind_int64(ret->stmt, 2, q->from_unix_ms);
        sqlite3_bind_int64(ret->stmt, 3, q->to_unix_ms);
    }
    return rc;
}

static int reader_run(struct sqdb_reader *r, int index, const char *sql)
{
    int rc;
    sqlite3_stmt *stmt = sqdb_reader_stmt(r, index, sql, &rc);
    return stmt != NULL ? sqdb_run(stmt) : rc;
}

/* Chunks without and with the flag OVERLAP, merged; both of one snapshot. */
static int history_scan(void *self, const struct tpc_scan *q, tpc_chunk_fn *fn, void *user)
{
    struct history *h = self;
    struct stream clean;
    struct stream over;
    int rc;
    struct sqdb_reader *r = sqdb_take(&h->db, &rc);
    if (r == NULL) {
        return sqdb_code(rc);
    }
    rc = stream_open(r, q->descending != 0 ? SCAN_NEWEST : SCAN_OLDEST, q, &clean);
    rc = rc != SQLITE_OK ? rc
                         : stream_open(r, q->descending != 0 ? OVER_NEWEST : OVER_OLDEST, q, &over);
    rc = rc != SQLITE_OK ? rc : reader_run(r, READ_BEGIN, "BEGIN");
    int code = sqdb_code(rc);
    if (rc == SQLITE_OK) {
        code = scan_streams(&clean, &over, q, fn, user);
        sqlite3_reset(clean.stmt);
        sqlite3_reset(over.stmt);
        (void) reader_run(r, READ_END, "COMMIT");
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
                              .text = sqdb_column_text(stmt, 2),
                              .data = sqdb_column_bytes(stmt, 3) };
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
        sqdb_reader_stmt(r, MARKS, "SELECT key, value, text, data FROM mark WHERE type = ?1", &rc);
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
    .give_back = history_give_back,
};
