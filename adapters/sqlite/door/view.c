/* The databases at one moment: which file, its marks, statements that are kept. */
#include "../version.h"
#include "door.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { HEAP_ALIGN = 16 };

/* SQLite aligns to 8 bytes, arenas need 16: the byte before a block says how far it was moved. */
static void heap_free(void *ptr)
{
    uint8_t *p = ptr;
    if (p != NULL) {
        sqlite3_free(p - p[-1]);
    }
}

static void *heap_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    (void) user;
    if (new_size == 0) {
        heap_free(ptr);
        return NULL;
    }
    uint8_t *raw =
        new_size < SIZE_MAX - HEAP_ALIGN ? sqlite3_malloc64(new_size + HEAP_ALIGN) : NULL;
    if (raw == NULL) {
        return NULL;
    }
    size_t move = HEAP_ALIGN - (uintptr_t) raw % HEAP_ALIGN;
    uint8_t *p = raw + move;
    p[-1] = (uint8_t) move;
    if (ptr != NULL) {
        memcpy(p, ptr, old_size < new_size ? old_size : new_size);
        heap_free(ptr);
    }
    return p;
}

const struct tpc_allocator sqdoor_alloc = { .resize = heap_resize };

/* ---- errors ---- */

int sqdoor_fail(struct sqdoor_view *v, int code, const char *format, ...)
{
    va_list args;
    if ((code & 0xff) == SQLITE_NOMEM) {
        return SQLITE_NOMEM; /* SQLite has its own words for it */
    }
    va_start(args, format);
    sqlite3_free(*v->message);
    *v->message = sqlite3_vmprintf(format, args);
    va_end(args);
    return code;
}

int sqdoor_fail_sql(struct sqdoor_view *v, sqlite3 *db, int code)
{
    if (code == SQLITE_INTERRUPT) {
        return code;
    }
    return sqdoor_fail(v, code, "%s", sqlite3_errmsg(db));
}

/* ---- statements ---- */

int sqdoor_prepare(struct sqdoor_view *v, sqlite3 *db, char *text, sqlite3_stmt **slot)
{
    if (*slot != NULL) {
        sqlite3_free(text);
        sqlite3_reset(*slot);
        return SQLITE_OK;
    }
    if (text == NULL) {
        return SQLITE_NOMEM;
    }
    int rc = sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, slot, NULL);
    sqlite3_free(text);
    return rc == SQLITE_OK ? rc : sqdoor_fail_sql(v, db, rc);
}

static void drop(sqlite3_stmt **slot)
{
    sqlite3_finalize(*slot);
    *slot = NULL;
}

int sqdoor_pulse(struct sqdoor_view *v)
{
    int rc = sqdoor_prepare(v, v->db, sqlite3_mprintf("SELECT 1"), &v->pulse);
    if (rc != SQLITE_OK) {
        return rc;
    }
    rc = sqlite3_step(v->pulse);
    int end = sqlite3_reset(v->pulse);
    return rc == SQLITE_ROW ? SQLITE_OK : end;
}

int sqdoor_off_end(struct sqdoor_view *v, uint64_t device, uint64_t *ret, uint32_t *ret_partition)
{
    *ret = 0;
    *ret_partition = UINT32_MAX;
    /* The text begins with the partition in decimal; the cast reads so far. */
    int rc = sqdoor_prepare(v, v->db,
                            sqlite3_mprintf("SELECT value, CAST(text AS INTEGER) FROM \"%w\".mark"
                                            " WHERE type = %d AND key = ?1",
                                            v->schema, TPC_MARK_OFF_END),
                            &v->off_end);
    if (rc != SQLITE_OK) {
        return rc;
    }
    sqlite3_bind_int64(v->off_end, 1, (int64_t) device);
    if (sqlite3_step(v->off_end) == SQLITE_ROW) {
        *ret = (uint64_t) sqlite3_column_int64(v->off_end, 0);
        *ret_partition = (uint32_t) sqlite3_column_int64(v->off_end, 1);
    }
    rc = sqlite3_reset(v->off_end);
    return rc == SQLITE_OK ? rc : sqdoor_fail_sql(v, v->db, rc);
}

int sqdoor_next_device(struct sqdoor_view *v, int64_t from, bool *ret_found, int64_t *ret)
{
    *ret_found = false;
    int rc = sqdoor_prepare(
        v, v->db,
        sqlite3_mprintf("SELECT dev FROM \"%w\".chunk WHERE dev >= ?1 ORDER BY dev LIMIT 1",
                        v->schema),
        &v->next_device);
    if (rc != SQLITE_OK) {
        return rc;
    }
    sqlite3_bind_int64(v->next_device, 1, from);
    if (sqlite3_step(v->next_device) == SQLITE_ROW) {
        *ret_found = true;
        *ret = sqlite3_column_int64(v->next_device, 0);
    }
    rc = sqlite3_reset(v->next_device);
    return rc == SQLITE_OK ? rc : sqdoor_fail_sql(v, v->db, rc);
}

/* ---- which database ---- */

static int pragma(struct sqdoor_view *v, const char *schema, const char *name, int64_t *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqdoor_prepare(v, v->db, sqlite3_mprintf("PRAGMA \"%w\".%s", schema, name), &stmt);
    *ret = 0;
    if (rc == SQLITE_OK) {
        *ret = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
        rc = sqlite3_finalize(stmt);
        rc = rc == SQLITE_OK ? rc : sqdoor_fail_sql(v, v->db, rc);
    }
    return rc;
}

/* main, or else the first attached one that is a history. */
static int find_schema(struct sqdoor_view *v)
{
    sqlite3_stmt *list = NULL;
    bool found = false;
    int rc = sqdoor_prepare(v, v->db, sqlite3_mprintf("PRAGMA database_list"), &list);
    while (rc == SQLITE_OK && !found && sqlite3_step(list) == SQLITE_ROW) {
        const char *name = (const char *) sqlite3_column_text(list, 1);
        if (name != NULL && strlen(name) < sizeof(v->schema)) {
            int64_t application = 0;
            rc = pragma(v, name, "application_id", &application);
            found = application == SQDB_HISTORY_APPLICATION;
            snprintf(v->schema, sizeof(v->schema), "%s", name);
        }
    }
    sqlite3_finalize(list);
    if (rc == SQLITE_OK && !found) {
        return sqdoor_fail(v, SQLITE_ERROR, "telemetry: no history.db is open on this connection");
    }
    return rc;
}

/* The folder, and whether the file has the name under which its log is looked for. */
static void find_folder(struct sqdoor_view *v, bool *ret_own)
{
    const char *path = sqlite3_db_filename(v->db, v->schema);
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    v->dir[0] = '\0';
    *ret_own = false;
    if (path == NULL || path[0] == '\0' || strlen(path) >= sizeof(v->dir)) {
        return;
    }
    const char *name = slash != NULL ? slash + 1 : path;
    size_t len = (size_t) (name - path);
    if (len == 0) {
        snprintf(v->dir, sizeof(v->dir), "./");
    } else {
        memcpy(v->dir, path, len);
        v->dir[len] = '\0';
    }
    *ret_own = strcmp(name, "history.db") == 0;
}

/* ---- begin and end ---- */

static int take_anchor(struct sqdoor_view *v)
{
    int rc = sqdoor_prepare(
        v, v->db,
        sqlite3_mprintf("SELECT value FROM \"%w\".meta WHERE name = 'max_span_ms'", v->schema),
        &v->anchor);
    if (rc != SQLITE_OK) {
        return rc;
    }
    rc = sqlite3_step(v->anchor);
    if (rc == SQLITE_ROW) {
        v->span_ms = sqlite3_column_int64(v->anchor, 0);
        return SQLITE_OK;
    }
    rc = sqlite3_reset(v->anchor);
    return rc != SQLITE_OK ? sqdoor_fail_sql(v, v->db, rc)
                           : sqdoor_fail(v, SQLITE_CORRUPT_VTAB, "meta has no max_span_ms");
}

/* Id and folder of the log. A history that was never told has none. */
static int find_log(struct sqdoor_view *v, bool own)
{
    sqlite3_stmt *stmt = NULL;
    bool known = false;
    v->log_dir[0] = '\0';
    int rc = sqdoor_prepare(v, v->db,
                            sqlite3_mprintf("SELECT type, text FROM \"%w\".mark WHERE type IN"
                                            " (%d, %d) AND key = 0",
                                            v->schema, TPC_MARK_LOG, TPC_MARK_LOG_DIR),
                            &stmt);
    while (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW) {
        const char *text = (const char *) sqlite3_column_text(stmt, 1);
        if (text == NULL) {
            continue;
        }
        if (sqlite3_column_int(stmt, 0) == TPC_MARK_LOG) {
            known = tpc_id_parse((struct tpc_str){ text, strlen(text) }, &v->log_id) == 0;
        } else if (own && v->dir[0] != '\0') {
            int n = snprintf(v->log_dir, sizeof(v->log_dir), "%s%s", text[0] == '/' ? "" : v->dir,
                             text);
            if (n < 0 || (size_t) n + 32 >= sizeof(v->log_dir)) {
                v->log_dir[0] = '\0';
            }
        }
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_finalize(stmt);
        rc = rc == SQLITE_OK ? rc : sqdoor_fail_sql(v, v->db, rc);
    }
    if (!known) {
        v->log_dir[0] = '\0';
    }
    return rc;
}

static int check_version(struct sqdoor_view *v)
{
    int64_t version = 0;
    int rc = pragma(v, v->schema, "user_version", &version);
    if (rc == SQLITE_OK && (version < 1 || version > SQDB_HISTORY_VERSION)) {
        return sqdoor_fail(v, SQLITE_ERROR,
                           "history.db has schema version %lld, this telemetry knows up to %d",
                           (long long) version, SQDB_HISTORY_VERSION);
    }
    v->version = (int) version;
    return rc;
}

static int begin(struct sqdoor_view *v)
{
    char before[sizeof(v->schema)];
    bool own = false;
    memcpy(before, v->schema, sizeof(before));
    int rc = find_schema(v);
    if (strcmp(before, v->schema) != 0) {
        drop(&v->anchor);
        drop(&v->off_end);
        drop(&v->next_device);
    }
    rc = rc != SQLITE_OK ? rc : take_anchor(v);
    rc = rc != SQLITE_OK ? rc : check_version(v);
    if (rc != SQLITE_OK) {
        return rc;
    }
    find_folder(v, &own);
    rc = find_log(v, own);
    return rc != SQLITE_OK ? rc : sqdoor_names_open(v);
}

static void drop_products(struct sqdoor_view *v)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&v->products, &iter, NULL, &value)) {
        sqdoor_product_free(value);
    }
    tpi_map64_fini(&v->products);
    tpi_map64_init(&v->products, &sqdoor_alloc);
}

static void end(struct sqdoor_view *v)
{
    sqlite3_reset(v->anchor);
    sqdoor_names_close(&v->names);
    sqdoor_tail_fini(&v->tail);
    drop_products(v);
}

int sqdoor_view_take(struct sqdoor_view *v)
{
    if (v->users == 0) {
        int rc = begin(v);
        if (rc != SQLITE_OK) {
            end(v);
            return rc;
        }
    }
    v->users++;
    return SQLITE_OK;
}

void sqdoor_view_give(struct sqdoor_view *v)
{
    if (--v->users == 0) {
        end(v);
    }
}

void sqdoor_view_init(struct sqdoor_view *v, sqlite3 *db, char **message)
{
    memset(v, 0, sizeof(*v));
    v->db = db;
    v->message = message;
    tpi_map64_init(&v->products, &sqdoor_alloc);
    sqdoor_tail_init(&v->tail);
}

void sqdoor_view_fini(struct sqdoor_view *v)
{
    end(v);
    drop(&v->anchor);
    drop(&v->off_end);
    drop(&v->next_device);
    drop(&v->pulse);
    tpi_map64_fini(&v->products);
}
