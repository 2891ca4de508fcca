/* The telemetry message as CBOR into a tree, against the DOM of libcbor in the same run. */
#include "bench.h"

#include <cbor.h>
#include <string.h>
#include <tpcore/cbor.h>
#include <tpcore/json.h>

static const char text[] =
    "{\"device_id\":\"d0f3a1c2-77aa-4b1e-9c55-2f1e0b7a9d10\",\"ts\":1719900000123,"
    "\"values\":{\"temperature\":23.75,\"humidity\":56.2,\"pressure\":1013.25,\"battery\":87,"
    "\"online\":true,\"mode\":\"auto-cool+1\"}}";

struct bench {
    struct tpc_arena *arena;
    uint8_t bytes[512];
    size_t len;
};

static void ours(void *user, uint32_t times)
{
    struct bench *b = user;
    struct tpc_value v;
    for (uint32_t i = 0; i < times; i++) {
        tpc_arena_reset(b->arena);
        struct tpc_bytes bytes = { b->bytes, b->len };
        bench_must(tpc_cbor_parse(b->arena, bytes, NULL, &v) == 0, "parsing");
    }
}

static void theirs(void *user, uint32_t times)
{
    struct bench *b = user;
    for (uint32_t i = 0; i < times; i++) {
        struct cbor_load_result result;
        cbor_item_t *item = cbor_load(b->bytes, b->len, &result);
        bench_must(item != NULL, "cbor_load");
        cbor_decref(&item);
    }
}

int main(void)
{
    static struct bench b;
    struct tpc_value v;
    bench_must(tpc_arena_create(NULL, 0, &b.arena) == 0, "arena");
    bench_must(tpc_json_parse(b.arena, TPC_STR(text), 0, NULL, &v) == 0, "parsing");
    struct tpc_buf buf = { b.bytes, sizeof(b.bytes), 0 };
    bench_must(tpc_cbor_write(&v, &buf) == 0, "writing");
    b.len = buf.need;
    struct bench_pair best = bench_compare(ours, theirs, &b, 20000, 15);
    bench_line("cbor_read", best.ours, "ns", "libcbor cbor_load", best.theirs / best.ours);
    tpc_arena_destroy(b.arena);
    return 0;
}
