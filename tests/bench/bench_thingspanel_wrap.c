/*
 * thingspanel_wrap: messages as wrapped publishes of a ThingsPanel service, against writing the same
 * objects as plain JSON from trees that are there. Four values a message, as meters have, and a hundred.
 */
#include "bench.h"

#include <string.h>
#include <tpcore/json.h>

#include "wrap.h"

enum { MESSAGES = 64, FEW = 4, MANY = 100, ROUNDS = 9, TIMES = 60, TEXT_BYTES = 1 << 14 };

static struct bench {
    struct tp_pack pack;
    struct tpc_msg msgs[MESSAGES];
    struct tpc_point points[MANY];
    struct tpc_member members[MANY];
    char keys[MANY][16];
    char ids[MESSAGES][40];
    uint8_t text[TEXT_BYTES];
    uint32_t count; /* points a message */
    uint64_t bytes[2];
} b;

static void fill(void)
{
    for (int p = 0; p < MANY; p++) {
        struct tpc_point *point = &b.points[p];
        snprintf(b.keys[p], sizeof(b.keys[p]), "value_%02d", p);
        point->key = tpc_str_from(b.keys[p]);
        point->value = p % 2 == 0 ? (struct tpc_value){ .type = TPC_DOUBLE, .as.d = p + 230.4 }
                                  : (struct tpc_value){ .type = TPC_INT, .as.i = p * 655 };
        b.members[p] = (struct tpc_member){ point->key, point->value };
    }
    for (int i = 0; i < MESSAGES; i++) {
        struct tpc_msg *m = &b.msgs[i];
        snprintf(b.ids[i], sizeof(b.ids[i]), "6f0c0a52-7d1e-4d7c-9c39-%012d", i);
        *m = (struct tpc_msg){ .size = sizeof(*m), .kind = TPC_MSG_TELEMETRY };
        m->device = tpc_str_from(b.ids[i]);
        m->point_size = sizeof(struct tpc_point);
        m->points = b.points;
    }
}

static void wrap(void *user, uint32_t times)
{
    (void) user;
    for (uint32_t t = 0; t < times; t++) {
        tp_pack_clear(&b.pack);
        for (uint32_t i = 0; i < MESSAGES; i++) {
            uint32_t parts = 0;
            b.msgs[i].point_count = b.count;
            bench_must(tp_pack_message(&b.pack, &b.msgs[i], NULL, &parts) == 0 && parts == 1,
                       "wrapping");
        }
        b.bytes[0] += b.pack.said.len;
    }
}

static void plain(void *user, uint32_t times)
{
    struct tpc_value map = { .type = TPC_MAP, .len = b.count, .as.members = b.members };
    (void) user;
    for (uint32_t t = 0; t < times; t++) {
        for (uint32_t i = 0; i < MESSAGES; i++) {
            struct tpc_buf out = { b.text, sizeof(b.text), 0 };
            bench_must(tpc_json_write(&map, 0, &out) == 0, "writing");
            b.bytes[1] += out.need;
        }
    }
}

int main(void)
{
    static const uint32_t counts[] = { FEW, MANY };
    tp_pack_init(&b.pack, NULL);
    fill();
    for (size_t i = 0; i < 2; i++) {
        b.count = counts[i];
        struct bench_pair best = bench_compare(wrap, plain, NULL, TIMES, ROUNDS);
        double ours = best.ours / MESSAGES, theirs = best.theirs / MESSAGES;
        bench_line(i == 0 ? "thingspanel_wrap" : "thingspanel_wrap_100", ours, "ns/message",
                   "plain JSON of a tree", theirs / ours);
        bench_line(i == 0 ? "thingspanel_wrap_point" : "thingspanel_wrap_100_point",
                   ours / counts[i], "ns/point", "plain JSON of a tree", theirs / ours);
    }
    tp_pack_fini(&b.pack);
    return 0;
}
