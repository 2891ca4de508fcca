/* Samples from the log's messages into history.db, checkpoints and commits included, against one row
 * for each point in a table of SQLite; both with synchronous=FULL and as many points a transaction. */
#include "bench.h"

#include <sqlite3.h>
#include <string.h>
#include <tpcore/ext/host.h>
#include <tpcore/modules.h>
#include <unistd.h>

#include "store/history.h"

enum { DEVICES = 1000, POINTS = 6, MESSAGES_A_COMMIT = 20000, COMMITS = 12 };

struct bench {
    struct tpi_env env;
    char dir[256];
    const struct tpc_history_ops *ops;
    void *self;
    struct tpi_history *history;
    uint64_t offset;
    sqlite3 *rows;
    sqlite3_stmt *insert;
    uint64_t row_message;
};

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    (void) ctx;
    fprintf(stderr, "%s\n", fmt);
    return code;
}

static double sample(uint64_t message, int i)
{
    return 20.0 + (double) ((message / DEVICES * 7 + (uint64_t) i * 3) % 100) / 10;
}

static void open_history(struct bench *b)
{
    static struct tpc_host host;
    struct tpc_member dir = { TPC_STR("dir"),
                              { .type = TPC_TEXT, .len = strlen(b->dir), .as.text = b->dir } };
    struct tpc_value cfg = { .type = TPC_MAP, .len = 1, .as.members = &dir };
    static const struct tpc_id log_id = { { 1 } };
    host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                              .allocator = b->env.alloc,
                              .clock = b->env.clock,
                              .random = b->env.random,
                              .files = b->env.files,
                              .fail = host_fail };
    b->ops = TPC_LIST_AT(struct tpc_interface, tpc_module_sqlite()->interfaces, 1)->ops;
    b->self = calloc(1, b->ops->instance_size);
    bench_must(b->ops->init(b->self, &host, NULL, &cfg) == 0, "opening the history");
    bench_must(tpi_history_create(&b->env, b->ops, b->self, NULL, 1, NULL, &b->history) == 0 &&
                   tpi_history_start(b->history, &log_id, 1, false, NULL) == 0,
               "starting the history");
}

static void open_rows(struct bench *b)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/rows.db", b->dir);
    bench_must(sqlite3_open(path, &b->rows) == SQLITE_OK &&
                   sqlite3_exec(b->rows,
                                "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"
                                "CREATE TABLE sample(dev, prop, ts, value,"
                                " PRIMARY KEY(dev, prop, ts)) WITHOUT ROWID",
                                NULL, NULL, NULL) == SQLITE_OK &&
                   sqlite3_prepare_v2(b->rows, "INSERT INTO sample VALUES(?1, ?2, ?3, ?4)", -1,
                                      &b->insert, NULL) == SQLITE_OK,
               "opening the table");
}

static void chunks(void *user, uint32_t times)
{
    struct bench *b = user;
    struct tpc_point points[POINTS];
    memset(points, 0, sizeof(points));
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_TELEMETRY,
                         .point_count = POINTS,
                         .point_size = sizeof(points[0]),
                         .points = points };
    for (uint32_t n = 0; n < times / POINTS; n++) {
        for (int i = 0; i < POINTS; i++) {
            points[i].property = (uint16_t) (i + 1);
            points[i].value.type = TPC_DOUBLE;
            points[i].value.as.d = sample(b->offset, i);
        }
        m.offset = b->offset++;
        m.device_id = m.offset % DEVICES + 1;
        m.unix_ms = 1790000000000 + (int64_t) (m.offset / DEVICES) * 1000;
        bench_must(tpi_history_apply(b->history, &m, 0) == 0, "applying");
        if (b->offset % MESSAGES_A_COMMIT == 0) {
            bool all = b->offset % (MESSAGES_A_COMMIT * 4) == 0;
            bench_must(tpi_history_commit(b->history, all, NULL) == 0, "committing");
        }
    }
}

static void rows(void *user, uint32_t times)
{
    struct bench *b = user;
    sqlite3_exec(b->rows, "BEGIN", NULL, NULL, NULL);
    for (uint32_t n = 0; n < times / POINTS; n++) {
        uint64_t message = b->row_message++;
        for (int i = 0; i < POINTS; i++) {
            sqlite3_bind_int64(b->insert, 1, (int64_t) (message % DEVICES + 1));
            sqlite3_bind_int64(b->insert, 2, i + 1);
            sqlite3_bind_int64(b->insert, 3, (int64_t) (message / DEVICES) * 1000);
            sqlite3_bind_double(b->insert, 4, sample(message, i));
            bench_must(sqlite3_step(b->insert) == SQLITE_DONE, "inserting");
            sqlite3_reset(b->insert);
        }
    }
    bench_must(sqlite3_exec(b->rows, "COMMIT", NULL, NULL, NULL) == SQLITE_OK, "committing rows");
}

int main(void)
{
    static struct bench b;
    double ours = 0;
    double theirs = 0;
    char command[300];
    tpi_env_default(&b.env);
    const char *top = getenv("TMPDIR");
    snprintf(b.dir, sizeof(b.dir), "%.200s/tp-bench-XXXXXX", top != NULL ? top : "/tmp");
    bench_must(mkdtemp(b.dir) != NULL, "making a folder");
    open_history(&b);
    open_rows(&b);
    for (int i = 0; i < COMMITS; i++) {
        ours += bench_round(chunks, &b, MESSAGES_A_COMMIT * POINTS);
        theirs += i < COMMITS / 4 ? bench_round(rows, &b, MESSAGES_A_COMMIT * POINTS) : 0;
    }
    ours /= COMMITS;
    theirs /= COMMITS / 4;
    bench_line("history_sqlite", ours, "ns CPU a point", "row a point", theirs / ours);
    const struct tpi_history_counters *c = tpi_history_counters(b.history);
    bench_must(tpi_history_commit(b.history, true, NULL) == 0, "committing");
    bench_line("history_bytes", (double) c->bytes / (double) c->samples, "bytes a point written",
               "8-byte value", (double) c->bytes / (double) c->samples / 8);
    tpi_history_destroy(b.history);
    b.ops->fini(b.self);
    free(b.self);
    sqlite3_finalize(b.insert);
    sqlite3_close(b.rows);
    snprintf(command, sizeof(command), "rm -r %s", b.dir);
    return system(command) == 0 ? 0 : 1;
}
