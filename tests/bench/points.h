/*
 * What json_points and cbor_points share: fresh messages of a real product, and a sink that takes
 * checked points as the way up does. A round is timed over messages that were made before it and
 * are never used again; after it, untimed, the points are compared with what was generated.
 */
#ifndef BENCH_POINTS_H
#define BENCH_POINTS_H

#include "bench.h"
#include "data.h"

#include <string.h>
#include <tpcore/arena.h>
#include <tpcore/cbor.h>
#include <tpcore/ext/codec.h>
#include <tpcore/json.h>

#include "codec/codec.h"
#include "model/direct.h"

enum {
    POINTS_MESSAGES = 1024, /* of a round; they lie side by side, as in a queue of frames */
    POINTS_BYTES = 512,     /* of a message */
    POINTS_NUMBERS = 6,     /* of a message, beside a mode, a flag and a state */
    POINTS_KEYS = POINTS_NUMBERS + 3,
    POINTS_MEMBERS = POINTS_KEYS + 4,
    POINTS_ROUNDS = 160
};

enum points_shape {
    POINTS_PREDICTED = 0,
    POINTS_SHUFFLED = 1, /* members in another order each time */
    POINTS_MIXED = 2     /* 30 % unknown keys, escapes, UTF-8 */
};

struct points {
    struct data data;
    struct tpc_arena *arena;
    struct tpi_model *model;
    struct tpi_guesses guesses;
    struct tpi_direct direct;
    struct tpc_decode_sink sink;
    struct tpc_point room[64];
    uint32_t indexes[64];
    size_t allocations;
    struct tpc_allocator counting;

    uint8_t room_bytes[POINTS_MESSAGES * POINTS_BYTES];
    uint8_t *bytes[POINTS_MESSAGES];
    size_t len[POINTS_MESSAGES];
    double sums[POINTS_MESSAGES]; /* of the numbers that are properties */
    uint32_t count;               /* messages taken */
    uint32_t points, bad, refused;
    double sum;
    size_t total_bytes;
};

static const char points_model[] = TPC_JSON({
    "properties": [
        { "id": "online", "type": "bool" },
        { "id": "temperature", "type": "int", "min": -40000, "max": 1250000 },
        { "id": "relative_humidity", "type": "double", "min": 0, "max": 1000000, "step": 0.1 },
        { "id": "barometer", "type": "double", "min": 0, "max": 1000000, "step": 0.01 },
        { "id": "battery_voltage", "type": "double", "min": -100, "max": 10000, "step": 0.001 },
        { "id": "flow_rate_lpm", "type": "int", "min": -500000, "max": 500000, "step": 1 },
        { "id": "voltage_phase_a", "type": "double", "min": -100000, "max": 100000 },
        { "id": "state", "type": "text", "length": 64 },
        { "id": "mode", "type": "enum", "values": [
            { "name": "off", "value": 0 }, { "name": "cool", "value": 1 },
            { "name": "heat", "value": 2 }, { "name": "auto", "value": 3 } ] } ] });

static void *points_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    struct points *b = user;
    const struct tpc_allocator *inner = tpc_allocator_default();
    b->allocations += new_size > old_size;
    return inner->resize(inner->user, ptr, old_size, new_size);
}

static void points_start(struct tpi_direct *d)
{
    struct points *b = d->user;
    d->model = b->model;
    d->guess = tpi_guess_of(&b->guesses, b->model);
    d->points = b->room;
    d->indexes = b->indexes;
    d->cap = 64;
    d->count = 0;
    d->bad = 0;
}

static bool points_more(struct tpi_direct *d)
{
    (void) d;
    return false;
}

static int points_message(struct tpi_direct *d, uint32_t frame, const struct tpc_decoded *head)
{
    struct points *b = d->user;
    (void) frame;
    (void) head;
    b->points += d->count;
    b->bad += d->bad;
    b->count++;
    return 0;
}

/* The plain way: a message that comes here was not read by the model. */
static int points_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    struct points *b = user;
    (void) frame;
    (void) head;
    b->refused++;
    return TPC_ECANCELED;
}

static void points_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    struct points *b = user;
    (void) frame;
    (void) err;
    b->refused++;
}

static inline void points_init(struct points *b)
{
    struct tpc_value v;
    data_init(&b->data, 7, 1000, POINTS_NUMBERS, false);
    b->counting = (struct tpc_allocator){ points_resize, b };
    bench_must(tpc_arena_create(&b->counting, 0, &b->arena) == 0, "arena");
    bench_must(tpc_json_parse(b->arena, TPC_STR(points_model), 0, NULL, &v) == 0 &&
                   tpi_model_compile(NULL, &v, NULL, TPI_ENFORCE_USUAL, 1, NULL, &b->model) == 0,
               "model");
    tpi_direct_init(&b->direct);
    b->direct.user = b;
    b->direct.arena = b->arena;
    b->direct.most = 64;
    b->direct.start = points_start;
    b->direct.more = points_more;
    b->direct.message = points_message;
    b->sink = (struct tpc_decode_sink){ .size = sizeof(b->sink),
                                        .user = b,
                                        .arena = b->arena,
                                        .begin = points_begin,
                                        .refuse = points_refuse,
                                        .direct = &b->direct };
}

static inline void points_fini(struct points *b)
{
    tpi_model_unref(b->model);
    tpc_arena_destroy(b->arena);
    data_fini(&b->data);
}

/* Members of a message as JSON texts, each in 64 bytes. Returns how many. */
static inline int points_members(struct points *b, uint32_t n, enum points_shape shape,
                                 char out[POINTS_MEMBERS][64])
{
    static const char *const states[] = { "running on pv", "stopped: door", "standby: cold",
                                          "starting: fan" };
    static const char *const texts[] = { "\\u6b63\\u5e38\\n", "运行中 21°C", "\\\"ok\\\" ✓",
                                         "größer\\t7" };
    struct data_message m;
    char text[DATA_JSON_BYTES];
    int count = 0;
    int numbers = shape == POINTS_MIXED ? 4 : POINTS_NUMBERS;
    data_next(&b->data, &m);
    size_t len = data_json(&m, text, sizeof(text));
    bench_must(len > 0, "text");
    text[len - 1] = ',';
    b->sums[n] = 0;
    for (char *p = text + 1; count < numbers; count++) {
        char *comma = strchr(p, ',');
        snprintf(out[count], 64, "%.*s", (int) (comma - p), p);
        p = comma + 1;
        b->sums[n] += m.values[count];
    }
    snprintf(out[count++], 64, "\"mode\":%u", n % 4);
    snprintf(out[count++], 64, "\"online\":%s", n % 3 == 0 ? "false" : "true");
    snprintf(out[count++], 64, "\"state\":\"%s\"",
             shape == POINTS_MIXED ? texts[n % 4] : states[n / 4 % 4]);
    if (shape == POINTS_MIXED) {
        snprintf(out[count++], 64, "\"rssi_dbm\":-%u", 40 + n % 50);
        snprintf(out[count++], 64, "\"fw\":\"v2.%u.%u-r\"", n % 7, n % 31);
        snprintf(out[count++], 64, "\"uptime_s\":%u", 1000 + n * 7);
    }
    return count;
}

static inline size_t points_json(struct points *b, uint32_t n, enum points_shape shape, char *out)
{
    static uint32_t random = 1;
    char members[POINTS_MEMBERS][64];
    int order[POINTS_MEMBERS] = { 0 };
    int count = points_members(b, n, shape, members);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        int other = shape == POINTS_SHUFFLED ? (int) (random >> 16) % (i + 1) : i;
        order[i] = order[other];
        order[other] = i;
    }
    for (int i = 0; i < count; i++) {
        /* In a mixed message an unknown key stands between known ones. */
        int k = shape == POINTS_MIXED ? (i * 7) % count : order[i];
        at +=
            (size_t) snprintf(out + at, POINTS_BYTES - at, "%c%s", i == 0 ? '{' : ',', members[k]);
    }
    return at + (size_t) snprintf(out + at, POINTS_BYTES - at, "}");
}

/* Where message n is to be written: behind the one before it. */
static inline uint8_t *points_place(struct points *b, uint32_t n)
{
    b->bytes[n] = n == 0 ? b->room_bytes : b->bytes[n - 1] + b->len[n - 1];
    return b->bytes[n];
}

/* What was decoded is what was made: each message once more, with its numbers added up. */
static inline void points_verify(struct points *b, const struct tpc_codec_ops *codec)
{
    for (uint32_t i = 0; i < POINTS_MESSAGES; i++) {
        struct tpc_frame f = { .size = sizeof(f), .payload = { b->bytes[i], b->len[i] } };
        tpc_arena_reset(b->arena);
        bench_must(codec->decode(NULL, 0, NULL, &f, 1, sizeof(f), &b->sink) == 0, "decode");
        double sum = 0;
        for (uint32_t k = 0; k < b->direct.count; k++) {
            const struct tpc_point *p = &b->room[k];
            double d;
            if (p->key.len > 6 && tpc_value_double(&p->value, &d) == 0) {
                sum += d;
            }
        }
        bench_must(sum > b->sums[i] - 1e-6 && sum < b->sums[i] + 1e-6, "the check of the values");
    }
}

static inline void points_decode(struct points *b, const struct tpc_codec_ops *codec)
{
    struct tpc_frame f = { .size = sizeof(f) };
    for (uint32_t i = 0; i < POINTS_MESSAGES; i++) {
        f.payload = (struct tpc_bytes){ b->bytes[i], b->len[i] };
        codec->decode(NULL, 0, NULL, &f, 1, sizeof(f), &b->sink);
        if (i % 256 == 255) {
            tpc_arena_reset(b->arena); /* as at the end of a batch */
        }
    }
}

#endif
