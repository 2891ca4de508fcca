/*
 * json_points: a JSON message of about 185 bytes to checked points, allocations counted, against
 * jansson's parse alone of the same messages: keys in the order of the message before; in another
 * order each time; 30 % unknown keys, escapes and UTF-8. The model has ranges, steps, an enum, a
 * bool and a text, and its order is not the messages'.
 */
#include "points.h"

#include <jansson.h>

static void ours(void *user, uint32_t times)
{
    (void) times;
    points_decode(user, &tpi_codec_json);
}

static void theirs(void *user, uint32_t times)
{
    struct points *b = user;
    (void) times;
    for (uint32_t i = 0; i < POINTS_MESSAGES; i++) {
        json_t *v = json_loadb((const char *) b->bytes[i], b->len[i], 0, NULL);
        bench_must(v != NULL, "jansson");
        json_decref(v);
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
        for (uint32_t i = 0; i < POINTS_MESSAGES; i++) {
            b->len[i] = points_json(b, i, shape, (char *) points_place(b, i));
            b->total_bytes += b->len[i];
        }
        size_t before = b->allocations;
        double a = bench_round(ours, b, POINTS_MESSAGES);
        double t = bench_round(theirs, b, POINTS_MESSAGES);
        allocations = b->allocations - before; /* of the last round: buffers are warm */
        our = a < our ? a : our;
        their = t < their ? t : their;
    }
    uint32_t known = shape == POINTS_MIXED ? 7 : POINTS_KEYS;
    uint32_t unknown = shape == POINTS_MIXED ? 3 : 0;
    bench_must(b->refused == 0 && b->count == POINTS_MESSAGES * POINTS_ROUNDS &&
                   b->points == b->count * known && b->bad == b->count * unknown &&
                   allocations == 0,
               "that every message came directly, without an allocation,");
    size_t bytes = b->total_bytes / b->count;
    points_verify(b, &tpi_codec_json);
    snprintf(line, sizeof(line), "ns (%zu bytes, %zu allocations)", bytes, allocations);
    bench_line(name, our, line, "jansson json_loadb", their / our);
}

int main(void)
{
    static struct points b;
    points_init(&b);
    run(&b, "json_points", POINTS_PREDICTED);
    run(&b, "json_points_shuffled", POINTS_SHUFFLED);
    run(&b, "json_points_mixed", POINTS_MIXED);
    points_fini(&b);
    return 0;
}
