/*
 * history_size: bytes of history.db for a point, of decimals and of noisy doubles, against a row for
 * each point in a table WITHOUT ROWID; all of it: pages, indexes, marks. The platform takes the data
 * and closes before its file is measured, and what it then gives back is compared with what was sent.
 */
#include "bench_util.h"
#include "rig.h"

#include <sqlite3.h>

enum { DEVICES = 1000, KEYS = 8, MESSAGES = 5000000, ROW_MESSAGES = 500000, TRANSACTION = 1000 };

/* Bytes a point of a table of rows, which come in the order of arrival. */
static double row_bytes(bool noisy)
{
    static struct data_message m;
    struct data data;
    char dir[UTIL_PATH_BYTES];
    char path[UTIL_PATH_BYTES + 16];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    snprintf(path, sizeof(path), "%s/rows.db", util_folder(NULL, dir));
    bench_must(sqlite3_open(path, &db) == SQLITE_OK &&
                   sqlite3_exec(db,
                                "PRAGMA journal_mode=WAL;PRAGMA synchronous=OFF;"
                                "CREATE TABLE sample(dev INTEGER, prop INTEGER, ts INTEGER, value,"
                                " PRIMARY KEY(dev, prop, ts)) WITHOUT ROWID;BEGIN",
                                NULL, NULL, NULL) == SQLITE_OK &&
                   sqlite3_prepare_v2(db, "INSERT INTO sample VALUES(?1, ?2, ?3, ?4)", -1, &stmt,
                                      NULL) == SQLITE_OK,
               "opening the table");
    data_init(&data, 1, DEVICES, KEYS, noisy);
    for (uint32_t n = 0; n < ROW_MESSAGES; n++) {
        data_next(&data, &m);
        for (int i = 0; i < KEYS; i++) {
            sqlite3_bind_int64(stmt, 1, (int64_t) m.device + 1);
            sqlite3_bind_int64(stmt, 2, i + 1);
            sqlite3_bind_int64(stmt, 3, m.unix_ms);
            if (m.decimals[i] == 0 && !noisy) {
                sqlite3_bind_int64(stmt, 4, m.units[i]);
            } else {
                sqlite3_bind_double(stmt, 4, m.values[i]);
            }
            bench_must(sqlite3_step(stmt) == SQLITE_DONE, "inserting");
            sqlite3_reset(stmt);
        }
        if (n % TRANSACTION == TRANSACTION - 1) {
            bench_must(sqlite3_exec(db, "COMMIT;BEGIN", NULL, NULL, NULL) == SQLITE_OK, "commit");
        }
    }
    bench_must(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK, "commit");
    data_fini(&data);
    sqlite3_finalize(stmt);
    bench_must(sqlite3_close(db) == SQLITE_OK, "closing the table");
    double bytes = util_file_bytes(dir, "rows.db") / ((double) ROW_MESSAGES * KEYS);
    util_remove(dir);
    return bytes;
}

static void measure(bool noisy)
{
    char dir[UTIL_PATH_BYTES];
    struct rig_result r;
    struct rig_options o = { .devices = DEVICES, .keys = KEYS, .workers = 1, .noisy = noisy };
    o.messages = util_number("BENCH_MESSAGES", MESSAGES);
    o.dir = util_folder(NULL, dir);
    rig_run(&o, &r);
    util_remove(dir);
    double bytes = r.history_bytes / (double) r.points;
    bench_line(noisy ? "history_size_noisy" : "history_size", bytes, "B/point", "SQLite rows",
               bytes / row_bytes(noisy));
}

int main(void)
{
    measure(false);
    measure(true);
    return 0;
}
