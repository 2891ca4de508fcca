/*
 * The file engine: batches of 256 records of 120 bytes over 16 partitions, appended and flushed, against
 * write() of the same bodies from the same batches. CPU time of the process, kernel included.
 */
#include "bench.h"

#include "base/env.h"
#include "bus/bus.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <tpcore/ext/host.h>
#include <tpcore/value.h>
#include <unistd.h>

enum { BATCH = 256, BODY = 120, PARTITIONS = 16, BATCHES = 1000, ROUNDS = 7 };

struct bench {
    const struct tpc_bus_ops *ops;
    void *self;
    struct tpc_record records[BATCH];
    uint8_t bodies[BATCH * BODY];
    char dir[200];
    int raw;
    off_t raw_at;
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
        bench_must(b->ops->append(b->self, b->records, BATCH, sizeof(b->records[0]), 0, NULL,
                                  &sequence) == 0,
                   "append");
        bench_must(b->ops->flush(b->self, 0, NULL, &sequence) == 0, "flush");
    }
}

/* The same bytes to a file that is begun anew as often as the engine begins a segment. */
static void raw_write(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        if (b->raw_at > (64 << 20)) {
            bench_must(ftruncate(b->raw, 0) == 0, "ftruncate");
            b->raw_at = 0;
        }
        bench_must(pwrite(b->raw, b->bodies, sizeof(b->bodies), b->raw_at) ==
                       (ssize_t) sizeof(b->bodies),
                   "write");
        b->raw_at += (off_t) sizeof(b->bodies);
    }
}

static void append_only(void *user, uint32_t times)
{
    struct bench *b = user;
    uint64_t sequence;
    for (uint32_t i = 0; i < times; i++) {
        bench_must(b->ops->append(b->self, b->records, BATCH, sizeof(b->records[0]), 0, NULL,
                                  &sequence) == 0,
                   "append");
    }
}

static void open_log(struct bench *b, const struct tpc_bus_ops *ops, struct tpc_host *host)
{
    static struct tpc_member members[3];
    struct tpc_value cfg = { .type = TPC_MAP, .len = 3, .as.members = members };
    members[0] =
        (struct tpc_member){ TPC_STR("dir"),
                             { .type = TPC_TEXT, .len = strlen(b->dir), .as.text = b->dir } };
    members[1] =
        (struct tpc_member){ TPC_STR("max_bytes"), { .type = TPC_INT, .as.i = 256 << 20 } };
    members[2] = (struct tpc_member){ TPC_STR("reserve"), { .type = TPC_INT } };
    b->ops = ops;
    b->self = calloc(1, ops->instance_size);
    bench_must(b->self != NULL && ops->init(b->self, host, NULL, &cfg, PARTITIONS) == 0, "init");
}

static void close_log(struct bench *b)
{
    b->ops->fini(b->self);
    free(b->self);
}

static void fill_records(struct bench *b)
{
    for (uint32_t i = 0; i < BATCH; i++) {
        struct tpc_record *r = &b->records[i];
        memset(b->bodies + (size_t) i * BODY, (int) i, BODY);
        r->size = (uint32_t) sizeof(*r);
        r->kind = TPC_MSG_TELEMETRY;
        r->partition = i % 4; /* what one of four workers owns */
        r->model_revision = 3;
        r->device_id = 1000 + i;
        r->received_unix_ms = 1763640000000;
        r->unix_ms = r->received_unix_ms - i;
        r->body = (struct tpc_bytes){ b->bodies + (size_t) i * BODY, BODY };
    }
}

int main(void)
{
    static struct bench b;
    struct tpc_host host = { .iface = TPC_IFACE(struct tpc_host, 1),
                             .allocator = tpc_allocator_default(),
                             .clock = tpi_clock_system(),
                             .random = tpi_random_system(),
                             .files = tpi_files_system(),
                             .fail = host_fail,
                             .log = host_log };
    const char *top = getenv("TMPDIR");
    char path[260];
    snprintf(b.dir, sizeof(b.dir), "%s/tpbench.XXXXXX", top != NULL ? top : "/tmp");
    bench_must(mkdtemp(b.dir) != NULL, "mkdtemp");
    snprintf(path, sizeof(path), "%s/raw", b.dir);
    b.raw = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    bench_must(b.raw >= 0, "open");
    fill_records(&b);
    open_log(&b, &tpi_bus_file, &host);
    struct bench_pair pair = bench_compare(append, raw_write, &b, BATCHES, ROUNDS);
    printf(
        "{\"bench\":\"log_append\",\"value\":%.1f,\"unit\":\"ns/message\",\"vs\":\"write() of the "
        "bodies\",\"ratio\":%.2f}\n",
        pair.ours / BATCH, pair.ours / pair.theirs);
    close_log(&b);
    open_log(&b, &tpi_bus_memory, &host);
    pair = bench_compare(append_only, raw_write, &b, BATCHES, ROUNDS);
    printf("{\"bench\":\"log_append_memory\",\"value\":%.1f,\"unit\":\"ns/"
           "message\",\"vs\":\"write() of "
           "the bodies\",\"ratio\":%.2f}\n",
           pair.ours / BATCH, pair.ours / pair.theirs);
    close_log(&b);
    close(b.raw);
    snprintf(path, sizeof(path), "rm -rf '%s'", b.dir);
    return system(path) == 0 ? 0 : 1;
}
