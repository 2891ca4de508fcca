/* tp-tool sql: table telemetry of a history.db, also of one that is being written, for machines whose
 * sqlite3 loads no extensions. */
#include "tool.h"
#include "tpcore_sql.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUSY_MS = 5000, SQL_MAX = 16 << 20 };

enum mode { MODE_LIST, MODE_CSV, MODE_JSON };

struct request {
    const char *path, *sql;
    enum mode mode;
    bool header;
};

static sqlite3 *interruptible;

static void on_signal(int number)
{
    (void) number;
    if (interruptible != NULL) {
        sqlite3_interrupt(interruptible);
    }
}

static int parse(int argc, char **argv, struct request *r)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--csv") == 0) {
            r->mode = MODE_CSV;
        } else if (strcmp(argv[i], "--json") == 0) {
            r->mode = MODE_JSON;
        } else if (strcmp(argv[i], "--header") == 0) {
            r->header = true;
        } else if (r->path == NULL && argv[i][0] != '-') {
            r->path = argv[i];
        } else if (r->path != NULL && r->sql == NULL) {
            r->sql = argv[i];
        } else {
            return -1;
        }
    }
    return r->path != NULL ? 0 : -1;
}

/* ---- output ---- */

static void put_csv(const char *text, size_t len)
{
    if (strcspn(text, ",\"\r\n") == len && len > 0) {
        fwrite(text, 1, len, stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"') {
            putchar('"');
        }
        putchar(text[i]);
    }
    putchar('"');
}

static void put_json_text(const char *text, size_t len)
{
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];
        if (c == '"' || c == '\\') {
            putchar('\\');
            putchar(c);
        } else if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void put_hex(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        printf("%02x", p[i]);
    }
}

static void put_json(sqlite3_stmt *stmt, int column)
{
    int type = sqlite3_column_type(stmt, column);
    const char *text = (const char *) sqlite3_column_text(stmt, column);
    size_t len = (size_t) sqlite3_column_bytes(stmt, column);
    if (text == NULL || type == SQLITE_NULL) {
        fputs("null", stdout);
    } else if (type == SQLITE_TEXT) {
        put_json_text(text, len);
    } else if (type == SQLITE_BLOB) {
        putchar('"');
        put_hex((const uint8_t *) text, len);
        putchar('"');
    } else {
        bool finite = strchr(text, 'I') == NULL; /* Inf is no JSON */
        fputs(finite ? text : "null", stdout);
    }
}

static void put_field(sqlite3_stmt *stmt, int column, enum mode mode)
{
    if (sqlite3_column_type(stmt, column) == SQLITE_BLOB) {
        put_hex(sqlite3_column_blob(stmt, column), (size_t) sqlite3_column_bytes(stmt, column));
        return;
    }
    const char *text = (const char *) sqlite3_column_text(stmt, column);
    size_t len = (size_t) sqlite3_column_bytes(stmt, column);
    if (text == NULL) {
        return;
    }
    if (mode == MODE_CSV) {
        put_csv(text, len);
    } else {
        fwrite(text, 1, len, stdout);
    }
}

static void put_header(sqlite3_stmt *stmt, enum mode mode)
{
    for (int i = 0; i < sqlite3_column_count(stmt); i++) {
        const char *name = sqlite3_column_name(stmt, i);
        fputs(i == 0 ? "" : mode == MODE_CSV ? "," : "|", stdout);
        if (mode == MODE_CSV) {
            put_csv(name, strlen(name));
        } else {
            fputs(name, stdout);
        }
    }
    putchar('\n');
}

static void put_row(sqlite3_stmt *stmt, enum mode mode, bool first)
{
    int count = sqlite3_column_count(stmt);
    if (mode == MODE_JSON) {
        fputs(first ? "[{" : ",\n{", stdout);
    }
    for (int i = 0; i < count; i++) {
        if (mode == MODE_JSON) {
            const char *name = sqlite3_column_name(stmt, i);
            fputs(i == 0 ? "" : ",", stdout);
            put_json_text(name, strlen(name));
            putchar(':');
            put_json(stmt, i);
        } else {
            fputs(i == 0 ? "" : mode == MODE_CSV ? "," : "|", stdout);
            put_field(stmt, i, mode);
        }
    }
    fputs(mode == MODE_JSON ? "}" : "\n", stdout);
}

/* ---- statements ---- */

static int run_one(sqlite3_stmt *stmt, const struct request *r)
{
    bool first = true;
    int rc;
    if (r->header && r->mode != MODE_JSON && sqlite3_column_count(stmt) > 0) {
        put_header(stmt, r->mode);
    }
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        put_row(stmt, r->mode, first);
        first = false;
    }
    if (r->mode == MODE_JSON && sqlite3_column_count(stmt) > 0) {
        fputs(first ? "[]\n" : "]\n", stdout);
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int run_all(sqlite3 *db, const char *sql, const struct request *r)
{
    int rc = SQLITE_OK;
    while (rc == SQLITE_OK && *sql != '\0') {
        sqlite3_stmt *stmt = NULL;
        rc = sqlite3_prepare_v2(db, sql, -1, &stmt, &sql);
        if (rc == SQLITE_OK && stmt != NULL) {
            rc = run_one(stmt, r);
        }
        if (rc != SQLITE_OK) {
            fflush(stdout);
            fprintf(stderr, "tp-tool: %s\n", sqlite3_errmsg(db));
        }
        sqlite3_finalize(stmt);
    }
    return rc != SQLITE_OK;
}

static char *read_stdin(void)
{
    char *sql = malloc(SQL_MAX + 1);
    size_t len = sql != NULL ? fread(sql, 1, SQL_MAX, stdin) : 0;
    if (sql != NULL) {
        sql[len] = '\0';
    }
    return sql;
}

static int open_history(const char *path, sqlite3 **ret)
{
    char *message = NULL;
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, BUSY_MS);
        rc = sqlite3_tpcoresql_init(db, &message, NULL);
    }
    if (rc == SQLITE_OK) {
        rc =
            sqlite3_exec(db, "PRAGMA query_only=ON; SELECT 1 FROM sqlite_schema", NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        fprintf(stderr, "tp-tool: %s: %s\n", path, message != NULL ? message : sqlite3_errmsg(db));
        sqlite3_free(message);
        sqlite3_close(db);
        return 1;
    }
    *ret = db;
    return 0;
}

int tool_sql(int argc, char **argv)
{
    struct request r = { 0 };
    sqlite3 *db;
    char *own = NULL;
    if (parse(argc, argv, &r) != 0) {
        return 2;
    }
    if (r.sql == NULL) {
        own = read_stdin();
        r.sql = own != NULL ? own : "";
    }
    int rc = open_history(r.path, &db);
    if (rc == 0) {
        struct sigaction on = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };
        interruptible = db;
        sigaction(SIGINT, &on, NULL);
        rc = run_all(db, r.sql, &r);
        interruptible = NULL;
        sqlite3_close(db);
    }
    free(own);
    return rc;
}
