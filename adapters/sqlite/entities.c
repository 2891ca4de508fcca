/*
 * The engine of tpc_store_ops: one table for each space in entities.db, and one for indexed fields.
 */
#include "db.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"

enum {
    SPACES = 4,
    SQL_BYTES = 700,
    QUERY_LIMIT = 1000,
    QUERY_LIMIT_MAX = 100000,
    KEY_MAX = 128,
    FIELDS_MAX = 1024 /* of one row; more is damage */
};

/* Writer statements: index = group + space - 1. */
enum writer_stmts {
    FIND = 0,
    INSERT = 4,
    UPDATE = 8,
    REMOVE = 12,
    FIELD_PUT = 16,
    FIELD_CLEAR = 17
};
/* Reader statements: QUERY has 16 for each space. */
enum reader_stmts { GET = 0, COUNT_KIND = 4, COUNT_ALL = 8, QUERY = 12 };
enum query_parts { BY_TENANT = 1, BY_AFTER = 2, BY_FIELD = 4, BY_ID = 8 };

struct entities {
    struct sqdb db;
    pthread_mutex_t lock; /* the writer */
    bool lock_ready;
};

static const char *const tables[SPACES + 1] = { NULL, "entity", "secret", "record", "meta" };

static const char columns[] = "kind, tenant, key, id, revision, created, modified, doc, fields";

static bool known_space(uint32_t space)
{
    return space >= 1 && space <= SPACES;
}

static int entities_init(void *self, const struct tpc_host *host, void *ctx,
                         const struct tpc_value *cfg)
{
    struct entities *e = self;
    if (pthread_mutex_init(&e->lock, NULL) != 0) {
        return host->fail(ctx, TPC_ENOMEM, "no lock can be made");
    }
    e->lock_ready = true;
    return sqdb_open(&e->db, host, ctx, cfg, &sqdb_entities_schema);
}

static void entities_fini(void *self)
{
    struct entities *e = self;
    if (e->db.host != NULL) {
        sqdb_close(&e->db);
    }
    if (e->lock_ready) {
        pthread_mutex_destroy(&e->lock);
        e->lock_ready = false;
    }
}

/* ---- fields ---- */

static const struct tpc_field *field_at(const struct tpc_row *row, uint32_t i)
{
    return (const struct tpc_field *) (const void *) ((const char *) row->fields +
                                                      (size_t) i * row->field_size);
}

/* Count, then length and bytes of each name and value. */
static int fields_write(const struct tpc_row *row, struct tpi_buf *out)
{
    int rc = tpi_buf_varint(out, row->field_count);
    for (uint32_t i = 0; rc == 0 && i < row->field_count; i++) {
        const struct tpc_field *f = field_at(row, i);
        rc = tpi_buf_varint(out, f->name.len);
        rc = rc != 0 ? rc : tpi_buf_text(out, f->name);
        rc = rc != 0 ? rc : tpi_buf_varint(out, f->value.len);
        rc = rc != 0 ? rc : tpi_buf_text(out, f->value);
    }
    return rc;
}

static struct tpc_str read_text(struct tpi_reader *in)
{
    uint64_t len = tpi_read_varint(in);
    if (len > tpi_reader_left(in)) {
        in->bad = true;
        return (struct tpc_str){ "", 0 };
    }
    return (struct tpc_str){ (const char *) tpi_read_bytes(in, (size_t) len), (size_t) len };
}

/* Fields into a new array (NULL if there are none). */
static int fields_read(const struct tpc_allocator *alloc, struct tpc_bytes bytes,
                       struct tpc_field **ret, uint32_t *ret_count)
{
    struct tpi_reader in;
    tpi_reader_init(&in, bytes.ptr, bytes.len);
    uint64_t count = bytes.len > 0 ? tpi_read_varint(&in) : 0;
    if (count > FIELDS_MAX) {
        return TPC_ECORRUPT;
    }
    struct tpc_field *fields = NULL;
    if (count > 0) {
        fields = tpi_alloc_array(alloc, (size_t) count, sizeof(*fields));
        if (fields == NULL) {
            return TPC_ENOMEM;
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        fields[i].name = read_text(&in);
        fields[i].value = read_text(&in);
    }
    if (in.bad || tpi_reader_left(&in) != 0) {
        tpi_free(alloc, fields, (size_t) count * sizeof(*fields));
        return TPC_ECORRUPT;
    }
    *ret = fields;
    *ret_count = (uint32_t) count;
    return 0;
}

/* ---- writing ---- */

static sqlite3_stmt *writer_stmt(struct entities *e, int group, uint32_t space, const char *format,
                                 int *ret_rc)
{
    char sql[SQL_BYTES];
    int index = group + (int) space - 1;
    if (e->db.stmts[index] == NULL) {
        snprintf(sql, sizeof(sql), format, tables[space]);
    }
    return sqdb_stmt(&e->db, index, sql, ret_rc);
}

/* Row number and revision of what stands at an op's place; 0 = nothing. */
static int find(struct entities *e, const struct tpc_row *row, int64_t *ret_pk,
                uint64_t *ret_revision)
{
    int rc;
    sqlite3_stmt *stmt = writer_stmt(
        e, FIND, row->space,
        "SELECT pk, revision FROM %s WHERE kind = ?1 AND tenant = ?2 AND key = ?3", &rc);
    *ret_pk = 0;
    *ret_revision = TPC_NO_REV;
    if (stmt == NULL) {
        return rc;
    }
    sqdb_bind_text(stmt, 1, row->kind);
    sqlite3_bind_int64(stmt, 2, (int64_t) row->tenant);
    sqdb_bind_text(stmt, 3, row->key);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *ret_pk = sqlite3_column_int64(stmt, 0);
        *ret_revision = (uint64_t) sqlite3_column_int64(stmt, 1);
    }
    int end = sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : end;
}

static int clear_fields(struct entities *e, uint32_t space, int64_t pk)
{
    int rc;
    sqlite3_stmt *stmt =
        sqdb_stmt(&e->db, FIELD_CLEAR, "DELETE FROM field WHERE space = ?1 AND pk = ?2", &rc);
    if (stmt == NULL) {
        return rc;
    }
    sqlite3_bind_int64(stmt, 1, space);
    sqlite3_bind_int64(stmt, 2, pk);
    return sqdb_run(stmt);
}

static int put_fields(struct entities *e, const struct tpc_row *row, int64_t pk)
{
    int rc = SQLITE_OK;
    for (uint32_t i = 0; rc == SQLITE_OK && i < row->field_count; i++) {
        const struct tpc_field *f = field_at(row, i);
        sqlite3_stmt *stmt = sqdb_stmt(
            &e->db, FIELD_PUT,
            "INSERT OR IGNORE INTO field(space, kind, name, value, pk) VALUES(?1, ?2, ?3, ?4, ?5)",
            &rc);
        if (stmt == NULL) {
            return rc;
        }
        sqlite3_bind_int64(stmt, 1, row->space);
        sqdb_bind_text(stmt, 2, row->kind);
        sqdb_bind_text(stmt, 3, f->name);
        sqdb_bind_text(stmt, 4, f->value);
        sqlite3_bind_int64(stmt, 5, pk);
        rc = sqdb_run(stmt);
    }
    return rc;
}

static int put_row(struct entities *e, const struct tpc_row *row, int64_t pk,
                   struct tpc_bytes fields)
{
    int rc;
    sqlite3_stmt *stmt =
        pk == 0
            ? writer_stmt(e, INSERT, row->space,
                          "INSERT INTO %s(kind, tenant, key, id, revision, created, modified, doc,"
                          " fields) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                          &rc)
            : writer_stmt(e, UPDATE, row->space,
                          "UPDATE %s SET id = ?4, revision = ?5, created = ?6, modified = ?7,"
                          " doc = ?8, fields = ?9 WHERE kind = ?1 AND tenant = ?2 AND key = ?3",
                          &rc);
    if (stmt == NULL) {
        return rc;
    }
    sqdb_bind_text(stmt, 1, row->kind);
    sqlite3_bind_int64(stmt, 2, (int64_t) row->tenant);
    sqdb_bind_text(stmt, 3, row->key);
    sqlite3_bind_int64(stmt, 4, (int64_t) row->id);
    sqlite3_bind_int64(stmt, 5, (int64_t) row->revision);
    sqlite3_bind_int64(stmt, 6, row->created_unix_ms);
    sqlite3_bind_int64(stmt, 7, row->modified_unix_ms);
    rc = sqdb_bind_bytes(stmt, 8, row->doc);
    if (rc == SQLITE_OK) {
        rc = sqdb_bind_bytes(stmt, 9, fields);
    }
    return rc == SQLITE_OK ? sqdb_run(stmt) : rc;
}

static int apply_put(struct entities *e, const struct tpc_row *row, int64_t pk)
{
    struct tpi_buf fields;
    tpi_buf_init(&fields, e->db.host->allocator, 0);
    int rc = fields_write(row, &fields) == 0 ? SQLITE_OK : SQLITE_NOMEM;
    if (rc == SQLITE_OK && pk != 0) {
        rc = clear_fields(e, row->space, pk);
    }
    if (rc == SQLITE_OK) {
        rc = put_row(e, row, pk, (struct tpc_bytes){ fields.ptr, fields.len });
    }
    if (rc == SQLITE_OK) {
        rc = put_fields(e, row, pk != 0 ? pk : sqlite3_last_insert_rowid(e->db.writer));
    }
    tpi_buf_fini(&fields);
    return rc;
}

static int apply_delete(struct entities *e, const struct tpc_row *row, int64_t pk)
{
    int rc = clear_fields(e, row->space, pk);
    sqlite3_stmt *stmt =
        rc == SQLITE_OK ? writer_stmt(e, REMOVE, row->space, "DELETE FROM %s WHERE pk = ?1", &rc)
                        : NULL;
    if (stmt == NULL) {
        return rc;
    }
    sqlite3_bind_int64(stmt, 1, pk);
    return sqdb_run(stmt);
}

static int conflict(const struct tpc_store_op *op, uint64_t revision, struct tpc_error *err)
{
    char key[KEY_MAX + 1];
    snprintf(key, sizeof(key), "%.*s", (int) op->row.key.len, op->row.key.ptr);
    tpi_error_set(err, TPC_ECONFLICT, "sqlite", "revision %llu is there, %llu was expected",
                  (unsigned long long) revision, (unsigned long long) op->expect);
    tpi_error_at(err, key);
    return TPC_ECONFLICT;
}

static int apply(struct entities *e, const struct tpc_store_op *op, struct tpc_error *err)
{
    const struct tpc_row *row = &op->row;
    int64_t pk;
    uint64_t revision;
    if ((op->type != TPC_STORE_PUT && op->type != TPC_STORE_DELETE) || row->key.len == 0 ||
        row->key.len > KEY_MAX || !known_space(row->space) || row->field_count > FIELDS_MAX) {
        return tpi_error_set(err, TPC_EINVAL, "sqlite", "neither put nor delete, or a bad key");
    }
    int rc = find(e, row, &pk, &revision);
    if (rc == SQLITE_OK && op->expect != TPC_ANY_REV && op->expect != revision) {
        return conflict(op, revision, err);
    }
    if (rc == SQLITE_OK && op->type == TPC_STORE_PUT) {
        rc = apply_put(e, row, pk);
    } else if (rc == SQLITE_OK && pk != 0) {
        rc = apply_delete(e, row, pk);
    }
    return rc == SQLITE_OK ? 0 : sqdb_fail(&e->db, e->db.writer, rc, "cannot write a row", err);
}

static int entities_transact(void *self, const struct tpc_store_op *ops, uint32_t count,
                             size_t op_size, struct tpc_error *err)
{
    struct entities *e = self;
    if (count == 0) {
        return 0;
    }
    pthread_mutex_lock(&e->lock);
    int rc = sqdb_begin(&e->db, err);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        const char *at = (const char *) ops + (size_t) i * op_size;
        rc = apply(e, (const struct tpc_store_op *) (const void *) at, err);
    }
    if (rc == 0) {
        rc = sqdb_commit(&e->db, err);
    } else if (e->db.in_transaction) {
        sqdb_rollback(&e->db);
    }
    pthread_mutex_unlock(&e->lock);
    return rc;
}

/* ---- reading ---- */

static int give_row(struct entities *e, uint32_t space, sqlite3_stmt *stmt, tpc_row_fn *fn,
                    void *user)
{
    const struct tpc_allocator *alloc = e->db.host->allocator;
    struct tpc_field *fields = NULL;
    uint32_t count = 0;
    struct tpc_row row = { .size = sizeof(row),
                           .space = space,
                           .kind = sqdb_column_text(stmt, 0),
                           .tenant = (uint64_t) sqlite3_column_int64(stmt, 1),
                           .key = sqdb_column_text(stmt, 2),
                           .id = (uint64_t) sqlite3_column_int64(stmt, 3),
                           .revision = (uint64_t) sqlite3_column_int64(stmt, 4),
                           .created_unix_ms = sqlite3_column_int64(stmt, 5),
                           .modified_unix_ms = sqlite3_column_int64(stmt, 6),
                           .doc = sqdb_column_bytes(stmt, 7) };
    int rc = fields_read(alloc, sqdb_column_bytes(stmt, 8), &fields, &count);
    if (rc != 0) {
        return rc;
    }
    row.fields = fields;
    row.field_count = count;
    row.field_size = sizeof(*fields);
    rc = fn(user, &row);
    tpi_free(alloc, fields, count * sizeof(*fields));
    return rc;
}

/* Gives all rows of a bound statement; *ret_count is their number. */
static int give_rows(struct entities *e, uint32_t space, sqlite3_stmt *stmt, tpc_row_fn *fn,
                     void *user, uint32_t *ret_count)
{
    int rc;
    *ret_count = 0;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        int stop = give_row(e, space, stmt, fn, user);
        ++*ret_count;
        if (stop != 0) {
            return stop;
        }
    }
    return sqdb_code(rc);
}

static int entities_get(void *self, uint32_t space, struct tpc_str kind, uint64_t tenant,
                        struct tpc_str key, tpc_row_fn *fn, void *user)
{
    struct entities *e = self;
    char sql[SQL_BYTES];
    uint32_t count = 0;
    int rc;
    if (!known_space(space)) {
        return TPC_EINVAL;
    }
    struct sqdb_reader *r = sqdb_take(&e->db, &rc);
    if (r == NULL) {
        return sqdb_code(rc);
    }
    snprintf(sql, sizeof(sql), "SELECT %s FROM %s WHERE kind = ?1 AND tenant = ?2 AND key = ?3",
             columns, tables[space]);
    sqlite3_stmt *stmt = sqdb_reader_stmt(r, GET + (int) space - 1, sql, &rc);
    int code = sqdb_code(rc);
    if (stmt != NULL) {
        sqdb_bind_text(stmt, 1, kind);
        sqlite3_bind_int64(stmt, 2, (int64_t) tenant);
        sqdb_bind_text(stmt, 3, key);
        code = give_rows(e, space, stmt, fn, user, &count);
    }
    sqdb_give(&e->db, r);
    return code == 0 && count == 0 ? TPC_ENOENT : code;
}

static sqlite3_stmt *query_stmt(struct sqdb_reader *r, uint32_t space, unsigned parts, int *ret_rc)
{
    char sql[SQL_BYTES];
    char by_field[160] = "";
    int index = QUERY + ((int) space - 1) * 16 + (int) parts;
    if ((parts & BY_FIELD) != 0) {
        snprintf(by_field, sizeof(by_field),
                 " AND pk IN (SELECT pk FROM field WHERE space = %u AND kind = ?1 AND name = ?4"
                 " AND value = ?5)",
                 space);
    }
    snprintf(sql, sizeof(sql),
             "SELECT %s FROM %s WHERE kind = ?1%s%s%s%s ORDER BY tenant, key LIMIT ?7", columns,
             tables[space], (parts & BY_TENANT) != 0 ? " AND tenant = ?2" : "",
             (parts & BY_AFTER) != 0 ? " AND key > ?3" : "",
             (parts & BY_ID) != 0 ? " AND id = ?6" : "", by_field);
    return sqdb_reader_stmt(r, index, sql, ret_rc);
}

static int entities_query(void *self, const struct tpc_store_query *q, tpc_row_fn *fn, void *user)
{
    struct entities *e = self;
    unsigned parts = (q->tenant != UINT64_MAX ? BY_TENANT : 0u) |
                     (q->after_key.len > 0 ? BY_AFTER : 0u) |
                     (q->field.name.len > 0 ? BY_FIELD : 0u) | (q->id != 0 ? BY_ID : 0u);
    uint32_t limit = q->limit == 0 ? QUERY_LIMIT : q->limit;
    uint32_t count = 0;
    int rc;
    if (!known_space(q->space)) {
        return TPC_EINVAL;
    }
    struct sqdb_reader *r = sqdb_take(&e->db, &rc);
    if (r == NULL) {
        return sqdb_code(rc);
    }
    sqlite3_stmt *stmt = query_stmt(r, q->space, parts, &rc);
    int code = sqdb_code(rc);
    if (stmt != NULL) {
        sqdb_bind_text(stmt, 1, q->kind);
        if ((parts & BY_TENANT) != 0) {
            sqlite3_bind_int64(stmt, 2, (int64_t) q->tenant);
        }
        if ((parts & BY_AFTER) != 0) {
            sqdb_bind_text(stmt, 3, q->after_key);
        }
        if ((parts & BY_FIELD) != 0) {
            sqdb_bind_text(stmt, 4, q->field.name);
            sqdb_bind_text(stmt, 5, q->field.value);
        }
        if ((parts & BY_ID) != 0) {
            sqlite3_bind_int64(stmt, 6, (int64_t) q->id);
        }
        sqlite3_bind_int64(stmt, 7, limit > QUERY_LIMIT_MAX ? QUERY_LIMIT_MAX : limit);
        code = give_rows(e, q->space, stmt, fn, user, &count);
    }
    sqdb_give(&e->db, r);
    return code;
}

static int entities_count(void *self, uint32_t space, struct tpc_str kind, uint64_t *ret_count)
{
    struct entities *e = self;
    char sql[SQL_BYTES];
    int rc;
    if (!known_space(space)) {
        return TPC_EINVAL;
    }
    struct sqdb_reader *r = sqdb_take(&e->db, &rc);
    if (r == NULL) {
        return sqdb_code(rc);
    }
    bool all = kind.len == 0;
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s%s", tables[space],
             all ? "" : " WHERE kind = ?1");
    sqlite3_stmt *stmt =
        sqdb_reader_stmt(r, (all ? COUNT_ALL : COUNT_KIND) + (int) space - 1, sql, &rc);
    if (stmt != NULL && !all) {
        sqdb_bind_text(stmt, 1, kind);
    }
    if (stmt != NULL) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW) {
            *ret_count = (uint64_t) sqlite3_column_int64(stmt, 0);
        }
    }
    sqdb_give(&e->db, r);
    return sqdb_code(rc);
}

const struct tpc_store_ops sqdb_store_ops = {
    .iface = TPC_IFACE(struct tpc_store_ops, 1),
    .name = "sqlite",
    .instance_size = sizeof(struct entities),
    .options = TPC_OPTIONS(sqdb_options),
    .init = entities_init,
    .fini = entities_fini,
    .transact = entities_transact,
    .get = entities_get,
    .query = entities_query,
    .count = entities_count,
};
