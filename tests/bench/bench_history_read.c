/*
 * history_read: a day of 1 s data of 8 devices, written through the whole platform, is read by public
 * functions of a platform that was opened anew: one device and one property at a time, half the
 * range, against SELECT ts, value stepped in C; and the average of 24 hours against SELECT
 * avg(value). The other side has the same samples as rows of a table WITHOUT ROWID, PRIMARY KEY(dev,
 * prop, ts). Results of both sides are compared. ns a point; the best of some rounds. Once with
 * devices of 8 properties, which share chunks of 120 rows, once with devices of one.
 */
#include "bench_util.h"
#include "rig.h"

#include <math.h>
#include <sqlite3.h>
#include <string.h>

enum { DEVICES = 8, KEYS = 8, DAY = 86400, ROUNDS = 5 };

struct bench {
    struct rig_options o;
    struct tpc_core *core;
    struct tpc_device *devices[DEVICES];
    struct tpc_str keys[KEYS];
    uint32_t key_count;
    sqlite3 *rows;
    sqlite3_stmt *range;
    sqlite3_stmt *average;
    int64_t from, middle, to;
    uint64_t points; /* of the present round */
    double sum;
};

/* ---- ours ---- */

static struct tpc_rows *ask(struct bench *b, uint32_t device, uint32_t key, int64_t to,
                            const struct tpc_aggregate *aggregate)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_rows *rows;
    q.devices = &b->devices[device];
    q.device_count = 1;
    q.properties = &b->keys[key];
    q.property_count = 1;
    q.from_unix_ms = b->from;
    q.to_unix_ms = to;
    q.aggregates = aggregate;
    q.aggregate_count = aggregate != NULL;
    bench_must(tpc_history_query(b->core, &q, &rows) == 0, tpc_error_last()->text);
    return rows;
}

static void our_rows(struct bench *b, uint32_t device, uint32_t key)
{
    struct tpc_rows *rows = ask(b, device, key, b->middle, NULL);
    const struct tpc_row_batch *batch;
    int rc;
    while ((rc = tpc_rows_next(rows, &batch)) == 1) {
        const struct tpc_column *c = &batch->columns[0];
        double sum = 0;
        bench_must(c->missing == 0 && (c->doubles != NULL || c->ints != NULL), "typed columns");
        for (uint32_t i = 0; i < batch->count; i++) {
            sum += (c->doubles != NULL ? c->doubles[i] : (double) c->ints[i]) +
                   (double) (batch->unix_ms[i] & 1);
        }
        b->sum += sum;
        b->points += batch->count;
    }
    bench_must(rc == 0, "reading");
    tpc_rows_close(rows);
}

static void our_average(struct bench *b, uint32_t device, uint32_t key)
{
    static const struct tpc_aggregate avg = { TPC_AGG_AVG, 0, 0 };
    struct tpc_rows *rows = ask(b, device, key, b->to, &avg);
    const struct tpc_row_batch *batch;
    bench_must(tpc_rows_next(rows, &batch) == 1, "aggregate");
    b->sum += batch->columns[0].doubles[0];
    b->points += DAY;
    bench_must(tpc_rows_next(rows, &batch) == 0, "one row");
    tpc_rows_close(rows);
}

/* ---- theirs ---- */

static void bind(const struct bench *b, sqlite3_stmt *stmt, uint32_t device, uint32_t key,
                 int64_t to)
{
    sqlite3_bind_int64(stmt, 1, device);
    sqlite3_bind_int64(stmt, 2, key);
    sqlite3_bind_int64(stmt, 3, b->from);
    sqlite3_bind_int64(stmt, 4, to);
}

static void their_rows(struct bench *b, uint32_t device, uint32_t key)
{
    double sum = 0;
    bind(b, b->range, device, key, b->middle);
    while (sqlite3_step(b->range) == SQLITE_ROW) {
        sum +=
            sqlite3_column_double(b->range, 1) + (double) (sqlite3_column_int64(b->range, 0) & 1);
        b->points++;
    }
    b->sum += sum;
    sqlite3_reset(b->range);
}

static void their_average(struct bench *b, uint32_t device, uint32_t key)
{
    bind(b, b->average, device, key, b->to);
    bench_must(sqlite3_step(b->average) == SQLITE_ROW, "SELECT avg");
    b->sum += sqlite3_column_double(b->average, 0);
    b->points += DAY;
    sqlite3_reset(b->average);
}

/* ---- both ---- */

static void run_sql(struct bench *b, const char *sql)
{
    bench_must(sqlite3_exec(b->rows, sql, NULL, NULL, NULL) == SQLITE_OK, sql);
}

/* The rows are what the history gives: rig_run() compared that with what was generated. */
static void copy_rows(struct bench *b)
{
    sqlite3_stmt *insert;
    char path[UTIL_PATH_BYTES + 16];
    snprintf(path, sizeof(path), "%s/rows.db", b->o.dir);
    bench_must(sqlite3_open(path, &b->rows) == SQLITE_OK, "opening the table");
    run_sql(b, "PRAGMA journal_mode=WAL");
    run_sql(b,
            "CREATE TABLE sample(dev, prop, ts, value, PRIMARY KEY(dev, prop, ts)) WITHOUT ROWID");
    run_sql(b, "BEGIN");
    sqlite3_prepare_v2(b->rows, "INSERT INTO sample VALUES(?1, ?2, ?3, ?4)", -1, &insert, NULL);
    for (uint32_t d = 0; d < DEVICES; d++) {
        for (uint32_t k = 0; k < b->key_count; k++) {
            struct tpc_rows *rows = ask(b, d, k, b->to, NULL);
            const struct tpc_row_batch *batch;
            while (tpc_rows_next(rows, &batch) == 1) {
                for (uint32_t i = 0; i < batch->count; i++) {
                    const struct tpc_column *c = &batch->columns[0];
                    bind(b, insert, d, k, 0);
                    sqlite3_bind_int64(insert, 3, batch->unix_ms[i]);
                    if (c->ints != NULL) {
                        sqlite3_bind_int64(insert, 4, c->ints[i]);
                    } else {
                        sqlite3_bind_double(insert, 4, c->doubles[i]);
                    }
                    bench_must(sqlite3_step(insert) == SQLITE_DONE, "inserting");
                    sqlite3_reset(insert);
                }
            }
            tpc_rows_close(rows);
        }
    }
    sqlite3_finalize(insert);
    run_sql(b, "COMMIT");
    run_sql(b, "PRAGMA wal_checkpoint(TRUNCATE)");
    bench_must(sqlite3_prepare_v2(b->rows,
                                  "SELECT ts, value FROM sample WHERE dev = ?1 AND prop = ?2 AND"
                                  " ts >= ?3 AND ts < ?4",
                                  -1, &b->range, NULL) == SQLITE_OK &&
                   sqlite3_prepare_v2(b->rows,
                                      "SELECT avg(value) FROM sample WHERE dev = ?1 AND prop = ?2"
                                      " AND ts >= ?3 AND ts < ?4",
                                      -1, &b->average, NULL) == SQLITE_OK,
               "preparing");
}

typedef void series_fn(struct bench *b, uint32_t device, uint32_t key);

struct side {
    double best; /* ns a point */
    uint64_t points;
    double sum;
};

static void measure(struct bench *b, series_fn *fn, struct side *s)
{
    b->points = 0;
    b->sum = 0;
    double begin = bench_cpu_ns();
    for (uint32_t d = 0; d < DEVICES; d++) {
        for (uint32_t k = 0; k < b->key_count; k++) {
            fn(b, d, k);
        }
    }
    double ns = (bench_cpu_ns() - begin) / (double) b->points;
    s->best = s->points == 0 || ns < s->best ? ns : s->best;
    s->points = b->points;
    s->sum = b->sum;
}

static void compare(struct bench *b, const char *name, series_fn *ours, series_fn *theirs,
                    const char *vs)
{
    struct side a = { 0, 0, 0 };
    struct side c = { 0, 0, 0 };
    for (int i = 0; i < ROUNDS; i++) {
        measure(b, ours, &a);
        measure(b, theirs, &c);
    }
    bench_must(a.points == c.points && fabs(a.sum - c.sum) <= fabs(c.sum) * 1e-9,
               "both sides read the same");
    printf("{\"bench\":\"%s\",\"value\":%.3f,\"unit\":\"ns a point\",\"vs\":\"%s: %.1f ns\","
           "\"ratio\":%.4f,\"points\":%llu}\n",
           name, a.best, vs, c.best, a.best / c.best, (unsigned long long) a.points);
    fflush(stdout);
}

static void close_all(struct bench *b)
{
    sqlite3_finalize(b->range);
    sqlite3_finalize(b->average);
    sqlite3_close(b->rows);
    for (uint32_t i = 0; i < DEVICES; i++) {
        tpc_device_unref(b->devices[i]);
    }
    bench_must(tpc_core_destroy(b->core) == 0, "closing");
}

static void run(uint32_t keys, const char *read, const char *average)
{
    struct bench b;
    char dir[UTIL_PATH_BYTES];
    struct rig_result result;
    memset(&b, 0, sizeof(b));
    b.o = (struct rig_options){ .devices = DEVICES, .keys = keys, .workers = 2 };
    b.o.messages = (uint64_t) DEVICES * DAY;
    b.o.dir = util_folder(NULL, dir);
    rig_run(&b.o, &result);
    b.core = rig_open(&b.o);
    bench_must(tpc_core_start(b.core) == 0, tpc_error_last()->text);
    for (uint32_t i = 0; i < DEVICES; i++) {
        char key[DATA_KEY_BYTES];
        bench_must(tpc_device_open(b.core, tpc_str_from(data_device(i, key)), &b.devices[i]) == 0,
                   key);
    }
    b.key_count = keys;
    for (uint32_t i = 0; i < keys; i++) {
        b.keys[i] = tpc_str_from(data_key(i));
    }
    b.from = DATA_BEGIN_MS;
    b.middle = DATA_BEGIN_MS + (int64_t) DAY / 2 * 1000;
    b.to = DATA_BEGIN_MS + (int64_t) DAY * 1000;
    copy_rows(&b);
    compare(&b, read, our_rows, their_rows, "SELECT ts, value stepped in C");
    compare(&b, average, our_average, their_average, "SELECT avg(value)");
    close_all(&b);
    util_remove(dir);
}

int main(void)
{
    run(KEYS, "history_read", "history_read_avg");
    run(1, "history_read_one_property", "history_read_avg_one_property");
    return 0;
}
