/* A telemetry message of 185 bytes into a tree, against jansson in the same run; allocations while
 * the arena is warm; the same text through the event reader; writing it back. */
#include "bench.h"

#include "data/json_read.h"

#include <jansson.h>
#include <string.h>

static const char text[] =
    "{\"device_id\":\"d0f3a1c2-77aa-4b1e-9c55-2f1e0b7a9d10\",\"ts\":1719900000123,"
    "\"values\":{\"temperature\":23.75,\"humidity\":56.2,\"pressure\":1013.25,\"battery\":87,"
    "\"online\":true,\"mode\":\"auto-cool+1\"}}";

struct bench {
    struct tpc_arena *arena;
    size_t allocations;
    struct tpc_allocator counting;
    uint8_t out[512];
};

static void *count(void *user, void *ptr, size_t old_size, size_t new_size)
{
    struct bench *b = user;
    const struct tpc_allocator *inner = tpc_allocator_default();
    b->allocations += new_size > old_size;
    return inner->resize(inner->user, ptr, old_size, new_size);
}

static void ours(void *user, uint32_t times)
{
    struct bench *b = user;
    struct tpc_value v;
    for (uint32_t i = 0; i < times; i++) {
        tpc_arena_reset(b->arena);
        bench_must(tpc_json_parse(b->arena, TPC_STR(text), 0, NULL, &v) == 0, "parsing");
    }
}

static void theirs(void *user, uint32_t times)
{
    (void) user;
    for (uint32_t i = 0; i < times; i++) {
        json_t *v = json_loadb(text, sizeof(text) - 1, JSON_REJECT_DUPLICATES, NULL);
        bench_must(v != NULL, "jansson");
        json_decref(v);
    }
}

static void events(void *user, uint32_t times)
{
    (void) user;
    for (uint32_t i = 0; i < times; i++) {
        struct tpi_json r;
        tpi_json_begin(&r, TPC_STR(text));
        int event;
        do {
            event = tpi_json_next(&r);
        } while (event > TPI_JSON_END);
        bench_must(event == TPI_JSON_END, "reading");
    }
}

static void written(void *user, uint32_t times)
{
    struct bench *b = user;
    struct tpc_value v;
    tpc_arena_reset(b->arena);
    bench_must(tpc_json_parse(b->arena, TPC_STR(text), 0, NULL, &v) == 0, "parsing");
    for (uint32_t i = 0; i < times; i++) {
        struct tpc_buf buf = { b->out, sizeof(b->out), 0 };
        bench_must(tpc_json_write(&v, 0, &buf) == 0, "writing");
    }
}

static void their_writing(void *user, uint32_t times)
{
    struct bench *b = user;
    json_t *v = json_loadb(text, sizeof(text) - 1, 0, NULL);
    bench_must(v != NULL, "jansson");
    for (uint32_t i = 0; i < times; i++) {
        bench_must(json_dumpb(v, (char *) b->out, sizeof(b->out), JSON_COMPACT) > 0, "dumping");
    }
    json_decref(v);
}

int main(void)
{
    static struct bench b;
    b.counting = (struct tpc_allocator){ count, &b };
    bench_must(sizeof(text) - 1 == 185, "the message is not of 185 bytes; that");
    bench_must(tpc_arena_create(&b.counting, 0, &b.arena) == 0, "arena");
    ours(&b, 1000);
    b.allocations = 0;
    struct bench_pair best = bench_compare(ours, theirs, &b, 20000, 15);
    bench_line("json_read", best.ours, "ns", "jansson json_loadb", best.theirs / best.ours);
    bench_line("json_read_allocations", (double) b.allocations, "allocations", "", 0);
    best = bench_compare(events, theirs, &b, 20000, 7);
    bench_line("json_read_events", best.ours, "ns", "jansson json_loadb", best.theirs / best.ours);
    best = bench_compare(written, their_writing, &b, 20000, 7);
    bench_line("json_write", best.ours, "ns", "jansson json_dumpb", best.theirs / best.ours);
    tpc_arena_destroy(b.arena);
    return 0;
}
