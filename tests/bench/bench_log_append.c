/*
 * log_append: the file engine alone. `written`: batches of 64 messages appended and flushed, against
 * write() of the same bytes; CPU time of the process, kernel included. `synced`: groups of 1,000
 * messages, against write() and fdatasync() of the same bytes; wall-clock time, for a disk is waited
 * for, in the folder BENCH_DISK (or the present one). The CRC is the processor's where it has one; the
 * same with tables is printed, too.
 */
#include "bench.h"
#include "bench_util.h"
#include "data.h"

#include "base/crc32c.h"
#include "base/env.h"
#include "bus/bus.h"
#include "data/msg.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <tpcore/ext/host.h>
#include <unistd.h>

enum {
    DEVICES = 1000,
    KEYS = 8,
    PARTITIONS = 16,
    MESSAGES = 4096, /* different ones, again and again: in the path, too, they are in the cache */
    BATCH = 64,
    GROUP = 1000,
    ROUNDS = 7,
    WRITTEN_BATCHES = 4000,
    SYNCED_GROUPS = 64,
    RAW_BYTES = 64 << 20 /* then the file begins anew, as segments do */
};

struct bench {
    void *self;
    struct tpc_record *records;
    struct tpi_buf bodies;
    char dir[UTIL_PATH_BYTES];
    uint32_t at; /* next record */
    uint32_t batch;
    uint32_t batches; /* appended before a flush */
    uint32_t flush;
    int raw;
    off_t raw_at;
    uint8_t *raw_bytes;
    size_t raw_len; /* what the engine writes for `batch * batches` messages, on average */
};

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    va_list args;
    (void) ctx;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    return code;
}

static void host_log(void *ctx, int level, const char *fmt, ...)
{
    (void) ctx;
    (void) level;
    (void) fmt;
}

static void append(void *user, uint32_t times)
{
    struct bench *b = user;
    uint64_t sequence;
    for (uint32_t i = 0; i < times; i++) {
        for (uint32_t k = 0; k < b->batches; k++) {
            b->at = b->at + b->batch > MESSAGES ? 0 : b->at;
            bench_must(tpi_bus_file.append(b->self, b->records + b->at, b->batch,
                                           sizeof(b->records[0]), 0, NULL, &sequence) == 0,
                       "append");
            b->at += b->batch;
        }
        bench_must(tpi_bus_file.flush(b->self, b->flush, NULL, &sequence) == 0, "flush");
    }
}

static void raw_write(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        if (b->raw_at > RAW_BYTES) {
            bench_must(ftruncate(b->raw, 0) == 0, "ftruncate");
            b->raw_at = 0;
        }
        bench_must(pwrite(b->raw, b->raw_bytes, b->raw_len, b->raw_at) == (ssize_t) b->raw_len,
                   "write");
        b->raw_at += (off_t) b->raw_len;
        bench_must((b->flush & TPC_FLUSH_SYNC) == 0 || fdatasync(b->raw) == 0, "fdatasync");
    }
}

static double crc_ns(uint32_t (*crc)(uint32_t, const void *, size_t), const struct bench *b)
{
    double best = 1e18;
    uint32_t sum = 0;
    for (int r = 0; r < ROUNDS; r++) {
        double begin = bench_cpu_ns();
        for (int i = 0; i < 2000; i++) {
            sum ^= crc(0, b->raw_bytes, b->raw_len);
        }
        double ns = (bench_cpu_ns() - begin) / 2000;
        best = ns < best ? ns : best;
    }
    bench_must(sum != 1, "CRC");
    return best;
}

static void make_records(struct bench *b)
{
    struct data d;
    struct data_message m;
    struct tpc_point points[KEYS];
    size_t *ends = calloc(MESSAGES, sizeof(*ends));
    b->records = calloc(MESSAGES, sizeof(b->records[0]));
    b->raw_bytes = calloc(GROUP, 1024);
    bench_must(b->records != NULL && ends != NULL && b->raw_bytes != NULL, "memory");
    tpi_buf_init(&b->bodies, tpc_allocator_default(), 0);
    data_init(&d, 1, DEVICES, KEYS, false);
    memset(points, 0, sizeof(points));
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct tpc_record *r = &b->records[i];
        data_next(&d, &m);
        for (uint32_t k = 0; k < KEYS; k++) {
            points[k].property = (uint16_t) (k + 1);
            points[k].value.type = m.decimals[k] == 0 ? TPC_INT : TPC_DOUBLE;
            if (m.decimals[k] == 0) {
                points[k].value.as.i = m.units[k];
            } else {
                points[k].value.as.d = m.values[k];
            }
        }
        struct tpc_msg msg = { .size = sizeof(msg),
                               .kind = TPC_MSG_TELEMETRY,
                               .unix_ms = m.unix_ms,
                               .point_size = sizeof(points[0]),
                               .points = points,
                               .point_count = KEYS };
        bench_must(tpi_msg_encode(&msg, &b->bodies) == 0, "encoding");
        ends[i] = b->bodies.len;
        *r = (struct tpc_record){ .size = (uint32_t) sizeof(*r),
                                  .kind = TPC_MSG_TELEMETRY,
                                  .partition = m.device % PARTITIONS,
                                  .model_revision = 1,
                                  .device_id = 1000 + m.device,
                                  .unix_ms = m.unix_ms,
                                  .received_unix_ms = m.unix_ms + 20 };
    }
    for (uint32_t i = 0; i < MESSAGES; i++) {
        size_t from = i == 0 ? 0 : ends[i - 1];
        b->records[i].body = (struct tpc_bytes){ b->bodies.ptr + from, ends[i] - from };
    }
    memcpy(b->raw_bytes, b->bodies.ptr, (size_t) GROUP * ends[GROUP - 1] / GROUP);
    free(ends);
    data_fini(&d);
}

static void open_log(struct bench *b, const char *top, const char *ack)
{
    static struct tpc_host host;
    static struct tpc_member members[2];
    struct tpc_value cfg = { .type = TPC_MAP, .len = 2, .as.members = members };
    char path[UTIL_PATH_BYTES + 8];
    host = (struct tpc_host){ .iface = TPC_IFACE(struct tpc_host, 1),
                              .allocator = tpc_allocator_default(),
                              .clock = tpi_clock_system(),
                              .random = tpi_random_system(),
                              .files = tpi_files_system(),
                              .fail = host_fail,
                              .log = host_log };
    util_folder(top, b->dir);
    members[0] =
        (struct tpc_member){ TPC_STR("dir"),
                             { .type = TPC_TEXT, .len = strlen(b->dir), .as.text = b->dir } };
    members[1] = (struct tpc_member){ TPC_STR("ack"),
                                      { .type = TPC_TEXT, .len = strlen(ack), .as.text = ack } };
    b->self = calloc(1, tpi_bus_file.instance_size);
    bench_must(b->self != NULL && tpi_bus_file.init(b->self, &host, NULL, &cfg, PARTITIONS) == 0,
               "init");
    snprintf(path, sizeof(path), "%s/raw", b->dir);
    b->raw = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    bench_must(b->raw >= 0, path);
    b->raw_at = 0;
}

static void close_log(struct bench *b)
{
    tpi_bus_file.fini(b->self);
    free(b->self);
    close(b->raw);
    util_remove(b->dir);
}

/* How many bytes of the file one group takes; warms both sides up. */
static void measure_bytes(struct bench *b, uint32_t times)
{
    struct tpc_bus_info before = { .size = sizeof(before) }, after = before;
    bench_must(tpi_bus_file.info(b->self, &before) == 0, "info");
    append(b, times);
    bench_must(tpi_bus_file.info(b->self, &after) == 0, "info");
    b->raw_len = (size_t) ((after.bytes - before.bytes) / times);
    raw_write(b, times);
}

static double wall_of(bench_fn *fn, struct bench *b, uint32_t times)
{
    double begin = util_wall_ns();
    fn(b, times);
    return (util_wall_ns() - begin) / times;
}

static void written(struct bench *b)
{
    b->batch = BATCH;
    b->batches = 1;
    b->flush = 0;
    open_log(b, NULL, "written");
    measure_bytes(b, WRITTEN_BATCHES);
    struct bench_pair p = bench_compare(append, raw_write, b, WRITTEN_BATCHES, ROUNDS);
    double slower = crc_ns(tpi_crc32c_table, b) - crc_ns(tpi_crc32c, b);
    bench_line("log_append_written", p.ours / BATCH, "ns/msg", "write() of the same bytes",
               p.ours / p.theirs);
    bench_line("log_append_written_software", (p.ours + slower) / BATCH, "ns/msg",
               "write() of the same bytes", (p.ours + slower) / p.theirs);
    close_log(b);
}

static void synced(struct bench *b)
{
    struct bench_pair best = { 1e18, 1e18 };
    b->batch = GROUP / 4; /* as workers hand them over */
    b->batches = 4;
    b->flush = TPC_FLUSH_SYNC;
    const char *top = getenv("BENCH_DISK");
    open_log(b, top != NULL ? top : ".", "synced");
    measure_bytes(b, SYNCED_GROUPS);
    for (int i = 0; i < ROUNDS; i++) {
        double ours = wall_of(append, b, SYNCED_GROUPS);
        double theirs = wall_of(raw_write, b, SYNCED_GROUPS);
        best.ours = ours < best.ours ? ours : best.ours;
        best.theirs = theirs < best.theirs ? theirs : best.theirs;
    }
    double slower = crc_ns(tpi_crc32c_table, b) - crc_ns(tpi_crc32c, b);
    bench_line("log_append_synced", best.ours / GROUP, "ns/msg",
               "write() and fdatasync() of the same bytes", best.ours / best.theirs);
    bench_line("log_append_synced_software", (best.ours + slower) / GROUP, "ns/msg",
               "write() and fdatasync() of the same bytes", (best.ours + slower) / best.theirs);
    bench_line("log_append_bytes", (double) b->raw_len / GROUP / KEYS, "B/point", "bodies", 0);
    close_log(b);
}

int main(void)
{
    static struct bench b;
    make_records(&b);
    written(&b);
    synced(&b);
    tpi_buf_fini(&b.bodies);
    free(b.records);
    free(b.raw_bytes);
    return 0;
}
