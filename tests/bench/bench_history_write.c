/*
 * history_write: points from the program's hands into the log (file, `written`) and history.db, last
 * flush, checkpoint of open chunks and of the write-ahead file included, against one row for each
 * point in a table WITHOUT ROWID, 1,000 rows a transaction, both synchronous=FULL. Points per
 * CPU-second of the whole process; the generator's own cost is taken off both sides.
 *
 * Each device gets ROWS messages of 8 points: three full chunks and a bit. Of 100,000 devices the
 * other side takes each 100th one's whole history: all of it would take half an hour, and does not
 * take less for a row, since the pages of 1,000 devices are far more than the cache already.
 */
#include "bench.h"
#include "data.h"

#include <sqlite3.h>
#include <string.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>
#include <unistd.h>

enum {
    KEYS = 8,
    ROWS = 364, /* three chunks of 120 rows and a bit */
    BATCH = 256,
    TRANSACTION = 1000,
    FEW = 1000,
    MANY = 100000
};

struct bench {
    char dir[256];
    uint32_t devices;
    struct tpc_core *core;
    struct tpc_device **handles;
    struct data data;
    struct tpc_point points[KEYS];
    double skipped;
    double chunks;
    double samples;
};

static void put(struct bench *b, const char *kind, const char *text)
{
    bench_must(tpc_entity_put(b->core, NULL, kind, tpc_str_from(text), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
}

static void open_core(struct bench *b, bool noisy)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    char product[DATA_PRODUCT_BYTES];
    char text[512];
    char key[DATA_KEY_BYTES];
    o.log_level = TPC_LOG_ERROR;
    bench_must(tpc_core_create(&o, &b->core) == 0, "create");
    bench_must(tpc_core_add_module(b->core, tpc_module_sqlite()) == 0, "module");
    snprintf(text, sizeof(text), "{\"dir\":\"%s\",\"ack\":\"written\",\"reserve\":0}", b->dir);
    bench_must(tpc_core_open(b->core, "log", "file", tpc_str_from(text)) == 0,
               tpc_error_last()->text);
    snprintf(text, sizeof(text), "{\"dir\":\"%s\"}", b->dir);
    bench_must(tpc_core_open(b->core, "history", "sqlite", tpc_str_from(text)) == 0,
               tpc_error_last()->text);
    put(b, "product", data_product("json", KEYS, noisy, product));
    b->handles = calloc(b->devices, sizeof(b->handles[0]));
    bench_must(b->handles != NULL, "memory");
    for (uint32_t i = 0; i < b->devices; i++) {
        data_device(i, key);
        snprintf(text, sizeof(text), "{\"key\":\"%s\",\"product\":\"meter\"}", key);
        put(b, "device", text);
        bench_must(tpc_device_open(b->core, tpc_str_from(key), &b->handles[i]) == 0, "device");
    }
    bench_must(tpc_core_start(b->core) == 0, tpc_error_last()->text);
}

static void next(struct bench *b, struct data_message *m)
{
    data_next(&b->data, m);
    for (int i = 0; i < KEYS; i++) {
        struct tpc_point *p = &b->points[i];
        p->unix_ms = m->unix_ms;
        if (p->value.type == TPC_INT) {
            p->value.as.i = m->units[i];
        } else {
            p->value.as.d = m->values[i];
        }
    }
}

/* What making the messages costs. */
static double generator_ns(struct bench *b, uint64_t messages, bool noisy)
{
    struct data_message m;
    uint64_t sum = 0;
    data_init(&b->data, 1, b->devices, KEYS, noisy);
    double begin = bench_cpu_ns();
    for (uint64_t i = 0; i < messages; i++) {
        next(b, &m);
        sum += m.device;
    }
    double ns = bench_cpu_ns() - begin;
    bench_must(sum > 0, "generator");
    data_fini(&b->data);
    return ns;
}

static double feed_all(struct bench *b, uint64_t messages, bool noisy)
{
    struct data_message m;
    struct tpc_points points = { .size = sizeof(points),
                                 .count = KEYS,
                                 .point_size = sizeof(b->points[0]),
                                 .points = b->points };
    data_init(&b->data, 1, b->devices, KEYS, noisy);
    double begin = bench_cpu_ns();
    for (uint64_t i = 0; i < messages; i++) {
        next(b, &m);
        bench_must(tpc_feed_points(b->handles[m.device], &points, NULL, NULL) == 0,
                   tpc_error_last()->text);
        if (i % BATCH == BATCH - 1) {
            bench_must(tpc_core_step(b->core, 0, NULL) == 0, "step");
        }
    }
    bench_must(tpc_core_stop(b->core, 60000) == 0, tpc_error_last()->text);
    return bench_cpu_ns() - begin;
}

static double checkpoint(const char *dir, const char *file)
{
    char path[300];
    sqlite3 *db;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    double begin = bench_cpu_ns();
    bench_must(sqlite3_open(path, &db) == SQLITE_OK &&
                   sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) ==
                       SQLITE_OK,
               "checkpoint");
    sqlite3_close(db);
    return bench_cpu_ns() - begin;
}

static double number_of(const struct tpc_value *v)
{
    return v->type == TPC_INT ? (double) v->as.i : v->as.d;
}

/* Everything through the public API: count and checksum are the generator's. */
static void read_back(struct bench *b, uint64_t messages, bool noisy)
{
    struct data_message m;
    struct data_sum sent = { 0, 0 };
    struct data_sum got = { 0, 0 };
    struct tpc_str names[KEYS];
    data_init(&b->data, 1, b->devices, KEYS, noisy);
    for (uint64_t i = 0; i < messages; i++) {
        data_next(&b->data, &m);
        data_sum_message(&sent, &m);
    }
    data_fini(&b->data);
    for (int i = 0; i < KEYS; i++) {
        names[i] = tpc_str_from(data_key((uint32_t) i));
    }
    for (uint32_t d = 0; d < b->devices; d++) {
        struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
        const struct tpc_row_batch *rows;
        struct tpc_rows *r;
        int rc;
        q.devices = &b->handles[d];
        q.device_count = 1;
        q.properties = names;
        q.property_count = KEYS;
        bench_must(tpc_history_query(b->core, &q, &r) == 0, "query");
        while ((rc = tpc_rows_next(r, &rows)) == 1) {
            for (uint32_t k = 0; k < KEYS; k++) {
                const struct tpc_column *c = &rows->columns[k];
                for (uint32_t i = 0; i < rows->count; i++) {
                    struct tpc_value v;
                    if (tpc_column_value(c, i, &v) == 1) {
                        data_sum_point(&got, d, k, rows->unix_ms[i], number_of(&v));
                    }
                }
            }
        }
        bench_must(rc == 0, "reading");
        tpc_rows_close(r);
    }
    if (!data_sum_same(&got, &sent)) {
        fprintf(stderr, "bench: %llu points read back, %llu fed, sums %s\n",
                (unsigned long long) got.points, (unsigned long long) sent.points,
                got.sum == sent.sum ? "equal" : "differ");
        exit(1);
    }
}

static int keep_metric(void *user, const struct tpc_metric *m)
{
    static const char *const skipping[] = {
        "tpc_history_skipped_total",   "tpc_history_unusable_total",
        "tpc_uplink_duplicates_total", "tpc_uplink_points_refused_total",
        "tpc_uplink_refused_total",    "tpc_uplink_dead_letters_total"
    };
    struct bench *b = user;
    for (size_t i = 0; i < sizeof(skipping) / sizeof(skipping[0]); i++) {
        b->skipped += strcmp(m->name, skipping[i]) == 0 ? m->value : 0;
    }
    b->chunks += strcmp(m->name, "tpc_history_chunks_total") == 0 ? m->value : 0;
    b->samples += strcmp(m->name, "tpc_history_samples_total") == 0 ? m->value : 0;
    return 0;
}

/* Of every `every`th device only, its whole history in the order of arrival. */
static double insert_rows(struct bench *b, uint64_t messages, uint32_t every, bool noisy,
                          uint64_t *ret_rows)
{
    char path[300];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    struct data_message m;
    uint64_t rows = 0;
    snprintf(path, sizeof(path), "%s/rows.db", b->dir);
    bench_must(sqlite3_open(path, &db) == SQLITE_OK &&
                   sqlite3_exec(db,
                                "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"
                                "PRAGMA cache_size=-8192;"
                                "CREATE TABLE sample(dev INTEGER, prop INTEGER, ts INTEGER, value,"
                                " PRIMARY KEY(dev, prop, ts)) WITHOUT ROWID;BEGIN",
                                NULL, NULL, NULL) == SQLITE_OK &&
                   sqlite3_prepare_v2(db, "INSERT INTO sample VALUES(?1, ?2, ?3, ?4)", -1, &stmt,
                                      NULL) == SQLITE_OK,
               "opening the table");
    data_init(&b->data, 1, b->devices, KEYS, noisy);
    double begin = bench_cpu_ns();
    for (uint64_t n = 0; n < messages; n++) {
        next(b, &m);
        for (int i = 0; m.device % every == 0 && i < KEYS; i++) {
            sqlite3_bind_int64(stmt, 1, (int64_t) m.device + 1);
            sqlite3_bind_int64(stmt, 2, i + 1);
            sqlite3_bind_int64(stmt, 3, m.unix_ms);
            if (b->points[i].value.type == TPC_INT) {
                sqlite3_bind_int64(stmt, 4, m.units[i]);
            } else {
                sqlite3_bind_double(stmt, 4, m.values[i]);
            }
            bench_must(sqlite3_step(stmt) == SQLITE_DONE, "inserting");
            sqlite3_reset(stmt);
            if (++rows % TRANSACTION == 0) {
                bench_must(sqlite3_exec(db, "COMMIT;BEGIN", NULL, NULL, NULL) == SQLITE_OK,
                           "committing rows");
            }
        }
    }
    bench_must(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK, "committing rows");
    double ns = bench_cpu_ns() - begin;
    *ret_rows = rows;
    data_fini(&b->data);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return ns + checkpoint(b->dir, "rows.db");
}

static void make_dir(struct bench *b)
{
    const char *top = getenv("TMPDIR");
    snprintf(b->dir, sizeof(b->dir), "%.200s/tp-bench-XXXXXX", top != NULL ? top : "/tmp");
    bench_must(mkdtemp(b->dir) != NULL, "making a folder");
}

static void remove_dir(struct bench *b)
{
    char command[300];
    snprintf(command, sizeof(command), "rm -r '%s'", b->dir);
    bench_must(system(command) == 0, "removing the folder");
}

static void run(uint32_t devices, uint64_t rows, bool noisy)
{
    static struct bench b;
    char name[64];
    memset(&b, 0, sizeof(b));
    b.devices = devices;
    for (int i = 0; i < KEYS; i++) {
        b.points[i].key = tpc_str_from(data_key((uint32_t) i));
        b.points[i].value.type = i % 4 == 0 && !noisy ? TPC_INT : TPC_DOUBLE;
    }
    const char *shorter = getenv("BENCH_MESSAGES");
    uint64_t messages = shorter != NULL ? strtoull(shorter, NULL, 10) : rows * devices;
    make_dir(&b);
    open_core(&b, noisy);
    double own = generator_ns(&b, messages, noisy);
    double ours = feed_all(&b, messages, noisy) + checkpoint(b.dir, "history.db") - own;
    bench_must(tpc_core_stats(b.core, keep_metric, &b) == 0, "stats");
    bench_must(b.skipped == 0 && b.samples == (double) (messages * KEYS), "every point taken");
    if (getenv("BENCH_OURS") == NULL) { /* set it for a profile of our side */
        read_back(&b, messages, noisy);
    }
    for (uint32_t i = 0; i < devices; i++) {
        tpc_device_unref(b.handles[i]);
    }
    free(b.handles);
    tpc_core_destroy(b.core);
    uint64_t points = 0;
    double theirs = 0;
    if (getenv("BENCH_OURS") == NULL) { /* set it for a profile of our side */
        theirs = insert_rows(&b, messages, devices / FEW, noisy, &points) - own;
        theirs /= (double) points;
    }
    ours /= (double) (messages * KEYS);
    remove_dir(&b);
    snprintf(name, sizeof(name), "history_write_%u", devices);
    printf("{\"bench\":\"%s\",\"value\":%.0f,\"unit\":\"points/CPU-s\",\"vs\":\"SQLite rows\","
           "\"ratio\":%.2f,\"ns_a_point\":%.1f,\"rows_ns_a_point\":%.0f,"
           "\"rows_devices\":%d,\"chunks_a_device\":%.1f,\"skipped\":%.0f}\n",
           name, 1e9 / ours, theirs / ours, ours, theirs, FEW, b.chunks / devices, b.skipped);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    bool few = argc < 2 || strcmp(argv[1], "1000") == 0;
    bool many = argc < 2 || strcmp(argv[1], "100000") == 0;
    if (few) {
        run(FEW, ROWS, false);
    }
    if (many) {
        run(MANY, ROWS, false);
    }
    return 0;
}
