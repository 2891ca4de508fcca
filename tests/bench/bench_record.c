/* The body of a log record with six points: written and read back, against copying its bytes. */
#include "bench.h"

#include "data/msg.h"

#include <string.h>

struct bench {
    struct tpc_arena *arena;
    struct tpi_buf buf;
    struct tpc_msg msg;
    uint8_t copy[256];
};

static void encode(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        tpi_buf_clear(&b->buf);
        bench_must(tpi_msg_encode(&b->msg, &b->buf) == 0, "encoding");
    }
}

static void decode(void *user, uint32_t times)
{
    struct bench *b = user;
    struct tpc_msg m = { .size = sizeof(m), .unix_ms = b->msg.unix_ms };
    for (uint32_t i = 0; i < times; i++) {
        tpc_arena_reset(b->arena);
        struct tpc_bytes body = { b->buf.ptr, b->buf.len };
        bench_must(tpi_msg_decode(body, b->arena, NULL, &m) == 0, "decoding");
    }
}

static void copy(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        memcpy(b->copy, b->buf.ptr, b->buf.len);
        __asm__ volatile("" : : "r"(b->copy) : "memory");
    }
}

int main(void)
{
    static struct bench b;
    static const struct tpc_point points[] = {
        { .property = 1, .value = { .type = TPC_DOUBLE, .as.d = 23.75 } },
        { .property = 2, .value = { .type = TPC_DOUBLE, .as.d = 56.2 } },
        { .property = 3, .value = { .type = TPC_DOUBLE, .as.d = 1013.25 } },
        { .property = 4, .value = { .type = TPC_INT, .as.i = 87 } },
        { .property = 5, .value = { .type = TPC_BOOL, .as.b = true } },
        { .property = 6, .value = { .type = TPC_TEXT, .len = 9, .as.text = "auto-cool" } },
    };
    b.msg = (struct tpc_msg){ .size = sizeof(b.msg),
                              .kind = TPC_MSG_TELEMETRY,
                              .unix_ms = 1719900000123,
                              .point_count = 6,
                              .point_size = sizeof(points[0]),
                              .points = points };
    bench_must(tpc_arena_create(NULL, 0, &b.arena) == 0, "arena");
    tpi_buf_init(&b.buf, NULL, 0);
    struct bench_pair best = bench_compare(encode, copy, &b, 50000, 9);
    bench_line("record_encode", best.ours, "ns", "memcpy", best.theirs / best.ours);
    best = bench_compare(decode, copy, &b, 50000, 9);
    bench_line("record_decode", best.ours, "ns", "memcpy", best.theirs / best.ours);
    bench_line("record_bytes", (double) b.buf.len, "bytes", "", 0);
    tpi_buf_fini(&b.buf);
    tpc_arena_destroy(b.arena);
    return 0;
}
