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
    FIELD_REMOVE = 17,
    FIELDS = 18
};
/* Reader statements: QUERY has 16 for each space. */
enum reader_stmts { GET = 0, COUNT_KIND = 4, COUNT_ALL = 8, QUERY = 12, CHANGES = 76, RANGE = 77 };
enum query_parts { BY_TENANT = 1, BY_AFTER = 2, BY_FIELD = 4, BY_ID = 8 };
/* Parameters of a query: those of its terms follow, two for each. */
enum query_parameters { P_KIND = 1, P_TENANT, P_AFTER, P_ID, P_LIMIT, P_TERMS };
enum { PROBE_ROWS = 256 /* the best of several conditions is known by then */ };

struct entities {
    struct sqdb db;
    pthread_mutex_t lock; /* the writer */
    bool lock_ready;
};

static const char *const tables[SPACES + 1] = { NULL, "entity", "secret", "record", "meta" };

static const char columns[] = "kind, tenant, key, id, revision, created, modified, doc, fields";
static const char e_columns[] =
    "e.kind, e.tenant, e.key, e.id, e.revision, e.created, e.modified, e.doc, e.fields";

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

static bool has_field(const struct tpc_row *row, const struct tpc_field *f)
{
    for (uint32_t i = 0; row != NULL && i < row->field_count; i++) {
        const struct tpc_field *have = field_at(row, i);
        if (tpc_str_equal(have->name, f->name) && tpc_str_equal(have->value, f->value)) {
            return true;
        }
    }
    return false;
}

static int bind_field(sqlite3_stmt *stmt, const struct tpc_row *row, const struct tpc_field *f)
{
    sqlite3_bind_int64(stmt, 1, row->space);
    sqdb_bind_text(stmt, 2, row->kind);
    sqdb_bind_text(stmt, 3, f->name);
    sqdb_bind_text(stmt, 4, f->value);
    sqlite3_bind_int64(stmt, 5, (int64_t) row->tenant);
    return sqdb_bind_text(stmt, 6, row->key);
}

/* Takes the fields that the stored row has, and `next` (may be NULL) has not, out of the index. */
static int remove_fields(struct entities *e, const struct tpc_row *row, struct tpc_bytes stored,
                         const struct tpc_row *next)
{
    struct tpc_field *fields = NULL;
    uint32_t count = 0;
    int rc = SQLITE_OK;
    int code = fields_read(e->db.host->allocator, stored, &fields, &count);
    if (code != 0) {
        return code == TPC_ENOMEM ? SQLITE_NOMEM : SQLITE_CORRUPT;
    }
    for (uint32_t i = 0; rc == SQLITE_OK && i < count; i++) {
        if (has_field(next, &fields[i])) {
            continue;
        }
        sqlite3_stmt *stmt =
            sqdb_stmt(&e->db, FIELD_REMOVE,
                      "DELETE FROM field WHERE space = ?1 AND kind = ?2 AND name = ?3"
                      " AND value = ?4 AND tenant = ?5 AND key = ?6",
                      &rc);
        if (stmt != NULL) {
            rc = bind_field(stmt, row, &fields[i]);
            rc = rc == SQLITE_OK ? sqdb_run(stmt) : rc;
        }
    }
    tpi_free(e->db.host->allocator, fields, count * sizeof(*fields));
    return rc;
}

static int clear_fields(struct entities *e, const struct tpc_row *row, int64_t pk,
                        const struct tpc_row *next)
{
    int rc;
    sqlite3_stmt *stmt =
        writer_stmt(e, FIELDS, row->space, "SELECT fields FROM %s WHERE pk = ?1", &rc);
    if (stmt == NULL) {
        return rc;
    }
    sqlite3_bind_int64(stmt, 1, pk);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        rc = remove_fields(e, row, sqdb_column_bytes(stmt, 0), next);
    }
    int end = sqlite3_reset(stmt);
    return rc == SQLITE_OK || rc == SQLITE_DONE ? end : rc;
}

static int put_fields(struct entities *e, const struct tpc_row *row, int64_t pk)
{
    int rc = SQLITE_OK;
    for (uint32_t i = 0; rc == SQLITE_OK && i < row->field_count; i++) {
        sqlite3_stmt *stmt =
            sqdb_stmt(&e->db, FIELD_PUT,
                      "INSERT OR IGNORE INTO field(space, kind, name, value, tenant, key, pk)"
                      " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                      &rc);
        if (stmt == NULL) {
            return rc;
        }
        rc = bind_field(stmt, row, field_at(row, i));
        sqlite3_bind_int64(stmt, 7, pk);
        rc = rc == SQLITE_OK ? sqdb_run(stmt) : rc;
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
        rc = clear_fields(e, row, pk, row);
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
    int rc = clear_fields(e, row, pk, NULL);
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

/* ---- queries ---- */

/* What a query asks, once its field is one of its terms. */
struct ask {
    const struct tpc_store_query *q;
    unsigned parts;
    const struct tpc_store_term *terms[TPC_STORE_TERMS_MAX + 1];
    uint32_t count;
    int driver; /* the term whose rows are walked; -1 = all rows of the kind are */
    struct tpc_store_term field;
};

static int read_ask(const struct tpc_store_query *q, struct ask *a)
{
    *a = (struct ask){ .q = q, .driver = -1 };
    if (!known_space(q->space) || q->term_count > TPC_STORE_TERMS_MAX) {
        return TPC_EINVAL;
    }
    a->parts = (q->tenant != UINT64_MAX ? BY_TENANT : 0u) | (q->after_key.len > 0 ? BY_AFTER : 0u) |
               (q->id != 0 ? BY_ID : 0u);
    for (uint32_t i = 0; i < q->term_count; i++) {
        a->terms[a->count++] = &q->terms[i];
    }
    if (q->field.name.len > 0) {
        a->field.type = TPC_TERM_EQUAL;
        a->field.field = q->field;
        a->terms[a->count++] = &a->field;
    }
    return 0;
}

/* Rows of a term, counted up to PROBE_ROWS; negative on failure. */
static int probe(const struct sqdb_reader *r, const struct ask *a,
                 const struct tpc_store_term *term)
{
    char sql[SQL_BYTES];
    sqlite3_stmt *stmt = NULL;
    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM (SELECT 1 FROM field WHERE space = %u AND kind = ?1"
             " AND name = ?2 AND value = ?3%s LIMIT %d)",
             a->q->space, (a->parts & BY_TENANT) != 0 ? " AND tenant = ?4" : "", PROBE_ROWS);
    int rows = -1;
    if (sqlite3_prepare_v2(r->db, sql, -1, &stmt, NULL) == SQLITE_OK) {
        sqdb_bind_text(stmt, 1, a->q->kind);
        sqdb_bind_text(stmt, 2, term->field.name);
        sqdb_bind_text(stmt, 3, term->field.value);
        if ((a->parts & BY_TENANT) != 0) {
            sqlite3_bind_int64(stmt, 4, (int64_t) a->q->tenant);
        }
        rows = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : -1;
    }
    sqlite3_finalize(stmt);
    return rows;
}

/* The rows of the rarest term are walked; a number finds its row by itself. */
static void choose_driver(const struct sqdb_reader *r, struct ask *a)
{
    int best = INT32_MAX;
    if ((a->parts & BY_ID) != 0) {
        return;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->terms[i]->type != TPC_TERM_EQUAL) {
            continue;
        }
        int rows = a->count == 1 ? 0 : probe(r, a, a->terms[i]);
        if (rows < best) {
            best = rows;
            a->driver = (int) i;
        }
    }
}

/* The query's text: "o" is what is walked, in the order of tenant and key. */
static int query_text(const struct ask *a, struct tpi_buf *sql)
{
    const char *o = a->driver >= 0 ? "f" : "e";
    uint32_t space = a->q->space;
    int rc = a->driver >= 0
                 ? tpi_buf_printf(sql,
                                  "SELECT %s FROM field AS f CROSS JOIN %s AS e ON e.pk = f.pk"
                                  " WHERE f.space = %u AND f.kind = ?1 AND f.name = ?%d"
                                  " AND f.value = ?%d",
                                  e_columns, tables[space], space, P_TERMS + 2 * a->driver,
                                  P_TERMS + 2 * a->driver + 1)
                 : tpi_buf_printf(sql, "SELECT %s FROM %s AS e WHERE e.kind = ?1", e_columns,
                                  tables[space]);
    if (rc == 0 && (a->parts & BY_TENANT) != 0) {
        rc = tpi_buf_printf(sql, " AND %s.tenant = ?%d", o, P_TENANT);
    }
    if (rc == 0 && (a->parts & BY_AFTER) != 0) {
        rc = tpi_buf_printf(sql, " AND %s.key > ?%d", o, P_AFTER);
    }
    if (rc == 0 && (a->parts & BY_ID) != 0) {
        rc = tpi_buf_printf(sql, " AND e.id = ?%d", P_ID);
    }
    for (uint32_t i = 0; rc == 0 && i < a->count; i++) {
        int at = P_TERMS + 2 * (int) i;
        if ((int) i != a->driver) {
            rc = tpi_buf_printf(sql,
                                " AND %s (SELECT 1 FROM field AS x WHERE x.space = %u"
                                " AND x.kind = ?1 AND x.name = ?%d AND x.value = ?%d"
                                " AND x.tenant = %s.tenant AND x.key = %s.key)",
                                a->terms[i]->type == TPC_TERM_EQUAL ? "EXISTS" : "NOT EXISTS",
                                space, at, at + 1, o, o);
        }
    }
    rc = rc != 0 ? rc : tpi_buf_printf(sql, " ORDER BY %s.tenant, %s.key LIMIT ?%d", o, o, P_LIMIT);
    return rc != 0 ? rc : tpi_buf_u8(sql, 0);
}

static void bind_query(sqlite3_stmt *stmt, const struct ask *a)
{
    uint32_t limit = a->q->limit == 0 ? QUERY_LIMIT : a->q->limit;
    sqdb_bind_text(stmt, P_KIND, a->q->kind);
    if ((a->parts & BY_TENANT) != 0) {
        sqlite3_bind_int64(stmt, P_TENANT, (int64_t) a->q->tenant);
    }
    if ((a->parts & BY_AFTER) != 0) {
        sqdb_bind_text(stmt, P_AFTER, a->q->after_key);
    }
    if ((a->parts & BY_ID) != 0) {
        sqlite3_bind_int64(stmt, P_ID, (int64_t) a->q->id);
    }
    for (uint32_t i = 0; i < a->count; i++) {
        sqdb_bind_text(stmt, P_TERMS + 2 * (int) i, a->terms[i]->field.name);
        sqdb_bind_text(stmt, P_TERMS + 2 * (int) i + 1, a->terms[i]->field.value);
    }
    sqlite3_bind_int64(stmt, P_LIMIT, limit > QUERY_LIMIT_MAX ? QUERY_LIMIT_MAX : limit);
}

/* Queries without a condition, and those with one, are prepared once; others have a text of their
 * own. */
static int run_query(struct entities *e, struct sqdb_reader *r, struct ask *a, tpc_row_fn *fn,
                     void *user)
{
    struct tpi_buf sql;
    sqlite3_stmt *stmt = NULL;
    uint32_t count;
    choose_driver(r, a);
    bool kept = a->count == 0 || (a->count == 1 && a->driver == 0);
    int index =
        QUERY + ((int) a->q->space - 1) * 16 + (int) a->parts + (a->count > 0 ? BY_FIELD : 0);
    tpi_buf_init(&sql, e->db.host->allocator, 0);
    int rc = query_text(a, &sql) == 0 ? SQLITE_OK : SQLITE_NOMEM;
    if (rc == SQLITE_OK && kept) {
        stmt = sqdb_reader_stmt(r, index, (const char *) sql.ptr, &rc);
    } else if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(r->db, (const char *) sql.ptr, -1, &stmt, NULL);
    }
    tpi_buf_fini(&sql);
    int code = sqdb_code(rc);
    if (stmt != NULL) {
        bind_query(stmt, a);
        code = give_rows(e, a->q->space, stmt, fn, user, &count);
    }
    if (!kept) {
        sqlite3_finalize(stmt);
    }
    return code;
}

static int entities_query(void *self, const struct tpc_store_query *q, tpc_row_fn *fn, void *user)
{
    struct entities *e = self;
    struct ask a;
    int rc = read_ask(q, &a);
    if (rc != 0) {
        return rc;
    }
    struct sqdb_reader *r = sqdb_take(&e->db, &rc);
    if (r == NULL) {
        return sqdb_code(rc);
    }
    int code = run_query(e, r, &a, fn, user);
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

/* ---- changes ---- */

/* First and last number kept; both 0 if none is. */
static int change_range(struct sqdb_reader *r, uint64_t *ret_first, uint64_t *ret_last)
{
    int rc;
    sqlite3_stmt *stmt = sqdb_reader_stmt(
        r, RANGE, "SELECT (SELECT min(seq) FROM change), (SELECT max(seq) FROM change)", &rc);
    if (stmt == NULL) {
        return rc;
    }
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *ret_first = (uint64_t) sqlite3_column_int64(stmt, 0);
        *ret_last = (uint64_t) sqlite3_column_int64(stmt, 1);
        rc = SQLITE_OK;
    }
    return rc;
}

static int give_changes(struct sqdb_reader *r, uint64_t after, tpc_change_fn *fn, void *user,
                        uint64_t *ret_last)
{
    int rc;
    int stop = 0;
    sqlite3_stmt *stmt = sqdb_reader_stmt(
        r, CHANGES, "SELECT seq, kind, tenant, key, gone FROM change WHERE seq > ?1 ORDER BY seq",
        &rc);
    if (stmt == NULL) {
        return sqdb_code(rc);
    }
    sqlite3_bind_int64(stmt, 1, (int64_t) after);
    while (stop == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        *ret_last = (uint64_t) sqlite3_column_int64(stmt, 0);
        stop = fn(user, sqdb_column_text(stmt, 1), (uint64_t) sqlite3_column_int64(stmt, 2),
                  sqdb_column_text(stmt, 3), sqlite3_column_int(stmt, 4));
    }
    return stop != 0 ? stop : sqdb_code(rc);
}

static int entities_changes(void *self, uint64_t after, tpc_change_fn *fn, void *user,
                            uint64_t *ret_last)
{
    struct entities *e = self;
    uint64_t first = 0;
    uint64_t last = 0;
    int rc;
    struct sqdb_reader *r = sqdb_take(&e->db, &rc);
    if (r == NULL) {
        return sqdb_code(rc);
    }
    rc = sqlite3_exec(r->db, "BEGIN", NULL, NULL, NULL); /* both statements see one state */
    rc = rc != SQLITE_OK ? rc : change_range(r, &first, &last);
    int code = sqdb_code(rc);
    if (code == 0 && after != UINT64_MAX && (after > last || after + 1 < first)) {
        code = TPC_EGAP; /* trimmed, or the file is another one */
    } else if (code == 0 && after < last) {
        code = give_changes(r, after, fn, user, &last);
    }
    (void) sqlite3_reset(r->stmts[RANGE]);
    (void) sqlite3_reset(r->stmts[CHANGES]);
    (void) sqlite3_exec(r->db, "COMMIT", NULL, NULL, NULL);
    sqdb_give(&e->db, r);
    if (code == 0) {
        *ret_last = last;
    }
    return code;
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
    .changes = entities_changes,
};
