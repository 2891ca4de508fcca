/*
 * tb_pack: a batch of messages as ThingsBoard's telemetry, per data point, against the same payloads by way of
 * a tree of values and the library's writer.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/arena.h>
#include <tpcore/json.h>

#include "pack.h"

enum { DEVICES = 10, POINTS = 100, ROUNDS = 7, TIMES = 200, TEXT_BYTES = 1 << 16 };

static struct bench {
    struct tb_devices devices;
    struct tb_pack pack;
    struct tb_batch batch;
    struct tpc_batch messages;
    struct tpc_msg msgs[DEVICES];
    struct tpc_point points[DEVICES][POINTS];
    char names[DEVICES][16];
    char keys[POINTS][16];
    struct tb_pack_options o;
    struct tpc_arena *arena;
    uint8_t text[TEXT_BYTES];
    uint64_t bytes[2];
} b;

static void fill(void)
{
    b.messages = (struct tpc_batch){
        .size = sizeof(b.messages), .count = DEVICES, .msg_size = sizeof(b.msgs[0]), .msgs = b.msgs
    };
    for (int p = 0; p < POINTS; p++) {
        snprintf(b.keys[p], sizeof(b.keys[p]), "tag_%03d", p);
    }
    for (int d = 0; d < DEVICES; d++) {
        struct tpc_msg *m = &b.msgs[d];
        snprintf(b.names[d], sizeof(b.names[d]), "dev_%d", d);
        *m = (struct tpc_msg){ .size = sizeof(*m), .kind = TPC_MSG_TELEMETRY };
        m->unix_ms = 1700000000000 + d;
        m->device = tpc_str_from(b.names[d]);
        m->point_count = POINTS;
        m->point_size = sizeof(struct tpc_point);
        m->points = b.points[d];
        for (int p = 0; p < POINTS; p++) {
            struct tpc_point *point = &b.points[d][p];
            point->key = tpc_str_from(b.keys[p]);
            point->value = p % 4 == 0 ? (struct tpc_value){ .type = TPC_DOUBLE, .as.d = p + 0.25 }
                                      : (struct tpc_value){ .type = TPC_INT, .as.i = p * 655 };
        }
    }
}

static void pack(void *user, uint32_t times)
{
    struct tpc_error err;
    struct tb_part part;
    (void) user;
    for (uint32_t i = 0; i < times; i++) {
        if (tb_batch_init(&b.batch, tpc_allocator_default(), &b.messages) != 0 ||
            tb_pack_begin(&b.pack, &b.batch, &b.devices, &b.o) != 0) {
            abort();
        }
        while (tb_pack_next(&b.pack, &err, &part) == 1) {
            b.bytes[0] += part.payload.len;
        }
        tb_batch_fini(&b.batch, tpc_allocator_default());
    }
}

static void *take(size_t n)
{
    void *p = tpc_arena_take(b.arena, n);
    return p != NULL ? p : (abort(), NULL);
}

/* {"ts","values"} */
static struct tpc_value entry(const struct tpc_msg *m)
{
    struct tpc_member *values = take(POINTS * sizeof(*values));
    struct tpc_member *two = take(2 * sizeof(*two));
    for (uint32_t p = 0; p < m->point_count; p++) {
        const struct tpc_point *point = tpc_msg_point(m, p);
        values[p] = (struct tpc_member){ point->key, point->value };
    }
    two[0] = (struct tpc_member){ TPC_STR("ts"), { .type = TPC_INT, .as.i = m->unix_ms } };
    two[1].key = TPC_STR("values");
    two[1].value = (struct tpc_value){ .type = TPC_MAP, .len = POINTS, .as.members = values };
    return (struct tpc_value){ .type = TPC_MAP, .len = 2, .as.members = two };
}

static void tree(void *user, uint32_t times)
{
    (void) user;
    for (uint32_t i = 0; i < times; i++) {
        struct tpc_buf out = { b.text, sizeof(b.text), 0 };
        struct tpc_member *all = take(DEVICES * sizeof(*all));
        for (uint32_t d = 0; d < DEVICES; d++) {
            struct tpc_value *one = take(sizeof(*one));
            *one = entry(&b.msgs[d]);
            all[d] = (struct tpc_member){ b.msgs[d].device,
                                          { .type = TPC_ARRAY, .len = 1, .as.items = one } };
        }
        struct tpc_value doc = { .type = TPC_MAP, .len = DEVICES, .as.members = all };
        if (tpc_json_write(&doc, 0, &out) != 0) {
            abort();
        }
        b.bytes[1] += out.need;
        tpc_arena_reset(b.arena);
    }
}

int main(void)
{
    tb_devices_init(&b.devices, tpc_allocator_default(), 1000);
    tb_pack_init(&b.pack, tpc_allocator_default());
    b.o = (struct tb_pack_options){ .payload_max = 52428, .points_max = UINT32_MAX };
    fill();
    if (tpc_arena_create(NULL, 0, &b.arena) != 0) {
        return 1;
    }
    struct bench_pair best = bench_compare(pack, tree, NULL, TIMES, ROUNDS);
    if (b.bytes[0] != b.bytes[1]) {
        fprintf(stderr, "not the same payloads\n");
        return 1;
    }
    double points = DEVICES * POINTS;
    printf("{\"bench\":\"tb_pack\",\"value\":%.1f,\"unit\":\"ns/point\",\"vs\":\"tree and writer\","
           "\"ratio\":%.2f}\n",
           best.ours / points, best.theirs / best.ours);
    tpc_arena_destroy(b.arena);
    tb_pack_fini(&b.pack);
    tb_devices_fini(&b.devices);
    return 0;
}
