/*
 * cbor_points: the messages of json_points in CBOR to checked points, allocations counted, against
 * libcbor's streaming decoder with callbacks that do nothing. The ratio is our cost divided by
 * libcbor's.
 */
#include "points.h"

#include <cbor.h>

static void ours(void *user, uint32_t times)
{
    (void) times;
    points_decode(user, &tpi_codec_cbor);
}

static void theirs(void *user, uint32_t times)
{
    struct points *b = user;
    (void) times;
    for (uint32_t i = 0; i < POINTS_MESSAGES; i++) {
        const uint8_t *p = b->bytes[i];
        size_t left = b->len[i];
        while (left > 0) {
            struct cbor_decoder_result r = cbor_stream_decode(p, left, &cbor_empty_callbacks, b);
            bench_must(r.status == CBOR_DECODER_FINISHED, "libcbor");
            p += r.read;
            left -= r.read;
        }
    }
}

static void make(struct points *b, enum points_shape shape)
{
    char text[POINTS_BYTES];
    for (uint32_t i = 0; i < POINTS_MESSAGES; i++) {
        struct tpc_value v;
        struct tpc_buf buf = { points_place(b, i), POINTS_BYTES, 0 };
        size_t len = points_json(b, i, shape, text);
        tpc_arena_reset(b->arena);
        bench_must(tpc_json_parse(b->arena, (struct tpc_str){ text, len }, 0, NULL, &v) == 0 &&
                       tpc_cbor_write(&v, &buf) == 0,
                   "making");
        b->len[i] = buf.need;
        b->total_bytes += buf.need;
    }
}

static void run(struct points *b, const char *name, enum points_shape shape)
{
    char line[64];
    double our = 1e18;
    double their = 1e18;
    size_t allocations = 0;
    b->total_bytes = 0;
    b->bad = b->refused = b->points = b->count = 0;
    for (int round = 0; round < POINTS_ROUNDS; round++) {
        make(b, shape);
        size_t before = b->allocations;
        double a = bench_round(ours, b, POINTS_MESSAGES);
        double t = bench_round(theirs, b, POINTS_MESSAGES);
        allocations = b->allocations - before;
        our = a < our ? a : our;
        their = t < their ? t : their;
    }
    uint32_t known = shape == POINTS_MIXED ? 7 : POINTS_KEYS;
    uint32_t unknown = shape == POINTS_MIXED ? 3 : 0;
    bench_must(b->points + b->bad == b->count * (known + unknown) && allocations == 0,
               "that every value was seen, without an allocation,");
    size_t bytes = b->total_bytes / (POINTS_MESSAGES * POINTS_ROUNDS);
    uint32_t general = b->refused;
    b->refused = 0;
    if (general == 0) {
        points_verify(b, &tpi_codec_cbor);
    }
    snprintf(line, sizeof(line), "ns (%zu bytes, %zu allocations)", bytes, allocations);
    bench_line(name, our, line, "libcbor streaming, empty callbacks", our / their);
    bench_must(general == 0, "that every message came directly");
}

int main(void)
{
    static struct points b;
    points_init(&b);
    run(&b, "cbor_points", POINTS_PREDICTED);
    run(&b, "cbor_points_shuffled", POINTS_SHUFFLED);
    points_fini(&b);
    return 0;
}
