/*
 * Schemas and their steps: docs/format/sqlite.md. A step is never changed once released; a new
 * version appends one.
 */
#include "db.h"
#include "version.h"

#include <stdio.h>

#define ROW_TABLE(name)                                                                            \
    "CREATE TABLE " name "(pk INTEGER PRIMARY KEY, kind TEXT NOT NULL, tenant INTEGER NOT NULL,"   \
    " key TEXT NOT NULL, id INTEGER NOT NULL, revision INTEGER NOT NULL,"                          \
    " created INTEGER NOT NULL, modified INTEGER NOT NULL, doc BLOB NOT NULL,"                     \
    " fields BLOB NOT NULL);"                                                                      \
    "CREATE UNIQUE INDEX " name "_key ON " name "(kind, tenant, key);"                             \
    "CREATE INDEX " name "_id ON " name "(kind, id);"

#define MOVE_FIELDS(space, table)                                                                  \
    "INSERT OR IGNORE INTO field2 SELECT f.space, f.kind, f.name, f.value, r.tenant, r.key, r.pk"  \
    " FROM field AS f JOIN " table " AS r ON r.pk = f.pk WHERE f.space = " space ";"

#define CHANGE_TRIGGER(name, event, row, gone)                                                     \
    "CREATE TRIGGER " name " AFTER " event                                                         \
    " ON entity BEGIN INSERT INTO change(kind, tenant, key,"                                       \
    " gone) VALUES(" row ".kind, " row ".tenant, " row ".key, " gone ");"                          \
    " DELETE FROM change WHERE seq <= (SELECT max(seq) FROM change) - 65536; END;"

static const char *const entities_steps[] = {
    ROW_TABLE("entity") ROW_TABLE("secret") ROW_TABLE("record") ROW_TABLE(
        "meta") "CREATE TABLE field(space INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,"
                " value TEXT NOT NULL, pk INTEGER NOT NULL, PRIMARY KEY(space, kind, name, value, "
                "pk))"
                " WITHOUT ROWID;"
                "CREATE INDEX field_row ON field(space, pk);",
    /* The tenant and the key stand in the index itself: rows that match are found page by page in the
     * order of their keys, and several conditions are compared without a look at the rows. */
    "CREATE TABLE field2(space INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,"
    " value TEXT NOT NULL, tenant INTEGER NOT NULL, key TEXT NOT NULL, pk INTEGER NOT NULL,"
    " PRIMARY KEY(space, kind, name, value, tenant, key)) WITHOUT ROWID;" MOVE_FIELDS("1", "entity")
        MOVE_FIELDS("2", "secret") MOVE_FIELDS("3", "record")
            MOVE_FIELDS("4", "meta") "DROP TABLE field;"
                                     "ALTER TABLE field2 RENAME TO field;",
    /* What other processes that read the file have not seen yet: the last 65,536 changes. */
    "CREATE TABLE change(seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, tenant INTEGER NOT NULL,"
    " key TEXT NOT NULL, gone INTEGER NOT NULL);" CHANGE_TRIGGER(
        "entity_made", "INSERT", "NEW", "0") CHANGE_TRIGGER("entity_changed", "UPDATE", "NEW", "0")
        CHANGE_TRIGGER("entity_gone", "DELETE", "OLD", "1"),
};

static const char *const history_steps[] = {
    "CREATE TABLE chunk(id INTEGER PRIMARY KEY, dev INTEGER NOT NULL, t0 INTEGER NOT NULL,"
    " t1 INTEGER NOT NULL, n INTEGER NOT NULL, flags INTEGER NOT NULL, blob BLOB NOT NULL);"
    "CREATE INDEX chunk_first ON chunk(dev, t0, t1);"
    "CREATE INDEX chunk_last ON chunk(dev, t1, t0);"
    "CREATE TABLE mark(type INTEGER NOT NULL, key INTEGER NOT NULL, value INTEGER NOT NULL,"
    " text TEXT NOT NULL, PRIMARY KEY(type, key)) WITHOUT ROWID;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('max_span_ms', 0);"
    "CREATE VIEW property AS SELECT key >> 16 AS product, key & 65535 AS id,"
    " json_extract(text, '$.key') AS key, json_extract(text, '$.type') AS type"
    " FROM mark WHERE type = 4;",
    /* Chunks that overlap none before them stand in one order by begin and by end: chunk_first serves
     * both ways, and only the others, which are rare, need more. */
    "DROP INDEX chunk_last;"
    "CREATE INDEX over_first ON chunk(dev, t0, t1) WHERE flags & 2;"
    "CREATE INDEX over_last ON chunk(dev, t1, t0) WHERE flags & 2;"
    "ALTER TABLE mark ADD COLUMN data BLOB;",
};

const struct sqdb_schema sqdb_entities_schema = { .file = "entities.db",
                                                  .application_id = SQDB_ENTITIES_APPLICATION,
                                                  .version = SQDB_ENTITIES_VERSION,
                                                  .steps = entities_steps,
                                                  .wipe = true };
const struct sqdb_schema sqdb_history_schema = { .file = "history.db",
                                                 .application_id = SQDB_HISTORY_APPLICATION,
                                                 .version = SQDB_HISTORY_VERSION,
                                                 .steps = history_steps,
                                                 .shrinks = true };

static int init_fail(struct sqdb *db, sqlite3 *conn, int rc, const char *what)
{
    struct tpc_error err = { .size = sizeof(err) };
    int code = sqdb_fail(db, conn, rc, what, &err);
    return db->host->fail(db->ctx, code, "%s", err.text);
}

static int run_step(struct sqdb *db, uint32_t version)
{
    char pragma[96];
    int rc = sqlite3_exec(db->writer, db->schema->steps[version], NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        return rc;
    }
    snprintf(pragma, sizeof(pragma), "PRAGMA application_id=%u;PRAGMA user_version=%u",
             db->schema->application_id, version + 1);
    return sqlite3_exec(db->writer, pragma, NULL, NULL, NULL);
}

int sqdb_check(struct sqdb *db, sqlite3 *conn, bool *ret_empty)
{
    int64_t application = 0;
    int64_t version = 0;
    int64_t tables = 0;
    int rc = sqdb_number(conn, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK) {
        rc = sqdb_number(conn, "PRAGMA user_version", &version);
    }
    if (rc == SQLITE_OK) {
        rc = sqdb_number(conn, "SELECT count(*) FROM sqlite_schema", &tables);
    }
    if (rc != SQLITE_OK) {
        return init_fail(db, conn, rc, "cannot read the schema");
    }
    if (tables > 0 && application != (int64_t) db->schema->application_id) {
        return db->host->fail(db->ctx, TPC_EVERSION, "%s was made by another program", db->path);
    }
    if (version < 0 || version > (int64_t) db->schema->version) {
        return db->host->fail(
            db->ctx, TPC_EVERSION,
            "%s has schema version %lld, this library knows up to %u: use a newer "
            "library",
            db->path, (long long) version, db->schema->version);
    }
    if (db->read_only && version < (int64_t) db->schema->version) {
        return db->host->fail(
            db->ctx, TPC_EVERSION,
            "%s has schema version %lld, this library reads %u: start the program "
            "that owns it once",
            db->path, (long long) version, db->schema->version);
    }
    *ret_empty = tables == 0;
    return 0;
}

int sqdb_migrate(struct sqdb *db)
{
    int64_t version = 0;
    int rc = sqlite3_exec(db->writer, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqdb_number(db->writer, "PRAGMA user_version", &version);
    }
    for (uint32_t v = (uint32_t) version; rc == SQLITE_OK && v < db->schema->version; v++) {
        rc = run_step(db, v);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db->writer, "COMMIT", NULL, NULL, NULL);
    }
    return rc == SQLITE_OK ? 0 : init_fail(db, db->writer, rc, "cannot write the schema");
}
