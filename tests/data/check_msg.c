#include "data_suites.h"

#include "data/msg.h"

#include <stddef.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>

enum { BASE_MS = 1000000 };

static struct tpc_value num(double d)
{
    return (struct tpc_value){ .type = TPC_DOUBLE, .as.d = d };
}

static struct tpc_value whole(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = i };
}

static struct tpc_msg blank(void)
{
    return (struct tpc_msg){ .size = sizeof(struct tpc_msg),
                             .unix_ms = BASE_MS,
                             .point_size = sizeof(struct tpc_point) };
}

static void same_str(struct tpc_str a, struct tpc_str b)
{
    ck_assert(tpc_str_equal(a, b));
}

/* What the body carries is the same in both. */
static void same_body(const struct tpc_msg *a, const struct tpc_msg *b)
{
    ck_assert_mem_eq(&a->id, &b->id, sizeof(a->id));
    same_str(a->name, b->name);
    same_str(a->origin, b->origin);
    same_str(a->correlation, b->correlation);
    ck_assert_int_eq(a->code, b->code);
    ck_assert_uint_eq(a->point_count, b->point_count);
    for (uint32_t i = 0; i < a->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(a, i);
        const struct tpc_point *q = tpc_msg_point(b, i);
        if (p->property == TPC_PROPERTY_NONE) {
            same_str(p->key, q->key);
        }
        ck_assert_uint_eq(p->property, q->property);
        ck_assert_uint_eq(p->flags, q->flags);
        int64_t t = p->unix_ms == a->unix_ms ? 0 : p->unix_ms;
        ck_assert_int_eq(t, q->unix_ms == b->unix_ms ? 0 : q->unix_ms);
        ck_assert(p->value.type == q->value.type && tpc_value_equal(&p->value, &q->value));
    }
    ck_assert(tpc_value_equal(&a->params, &b->params));
    ck_assert_uint_eq(a->raw.len, b->raw.len);
    ck_assert(a->raw.len == 0 || memcmp(a->raw.ptr, b->raw.ptr, a->raw.len) == 0);
}

/* The vectors of docs/format/record.md: changing one of them is changing the format. */
START_TEST(golden_bodies_stay_as_they_are)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_point points[] = {
        { .property = 1, .value = num(23.75) },
        { .property = 2, .value = whole(-3) },
        { .property = 300, .value = { .type = TPC_BOOL, .as.b = true } },
        { .property = 0,
          .key = TPC_STR_INIT("door"),
          .flags = TPC_POINT_CLAMPED,
          .unix_ms = BASE_MS - 250,
          .value = { .type = TPC_TEXT, .len = 4, .as.text = "open" } },
    };
    struct tpc_msg telemetry = blank();
    telemetry.points = points;
    telemetry.point_count = 4;
    struct tpc_msg reply = blank();
    for (uint8_t i = 0; i < 16; i++) {
        reply.id.b[i] = i;
    }
    reply.correlation = TPC_STR("42");
    reply.code = -7;
    reply.params = data_json(arena, "{\"ok\":false,\"list\":[null,1.5,\"\"]}");
    struct tpc_msg dead = blank();
    dead.name = TPC_STR("frame");
    dead.origin = TPC_STR("mqtt");
    dead.raw = TPC_BYTES("\xDE\xAD");
    const struct {
        const struct tpc_msg *msg;
        const char *hex;
    } table[] = {
        { &telemetry, "20 04"
                      " 01 4b 8e25"
                      " 03 05"
                      " ac02 02"
                      " 00 35 04 646f6f72 01 f303 04 6f70656e" },
        { &reply, "59 000102030405060708090a0b0c0d0e0f 02 3432 0d"
                  " 08 02 02 6f6b 01 04 6c697374 07 03 00 04 000000000000f83f 05 00" },
        { &dead, "8601 05 6672616d65 04 6d717474 02 dead" },
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint8_t golden[128];
        struct tpi_buf buf;
        struct tpc_error err;
        struct tpc_msg back = blank();
        size_t n = data_hex(table[i].hex, golden, sizeof(golden));
        tpi_buf_init(&buf, NULL, 0);
        tk_ok(tpi_msg_encode(table[i].msg, &buf));
        ck_assert_uint_eq(buf.len, n);
        ck_assert_mem_eq(buf.ptr, golden, n);
        tk_ok(tpi_msg_decode((struct tpc_bytes){ golden, n }, arena, &err, &back));
        same_body(table[i].msg, &back);
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *exact = malloc(cut + 1);
            memcpy(exact, golden, cut);
            tk_fails(TPC_ECORRUPT,
                     tpi_msg_decode((struct tpc_bytes){ exact, cut }, arena, &err, &back));
            free(exact);
        }
        tpi_buf_fini(&buf);
    }
    tpc_arena_destroy(arena);
}
END_TEST

static struct tpc_msg random_msg(struct tpc_arena *arena, uint64_t *state)
{
    static const char *const words[] = { "", "a", "set", "origin of it", "0123456789" };
    struct tpc_msg m = blank();
    uint64_t bits = data_random(state);
    m.unix_ms = (int64_t) data_random(state) >> (bits % 64);
    if ((bits & 1) != 0) {
        memcpy(m.id.b, &bits, sizeof(bits));
    }
    m.name = tpc_str_from(words[bits >> 8 & 3]);
    m.origin = tpc_str_from(words[bits >> 10 & 3]);
    m.correlation = tpc_str_from(words[1 + (bits >> 12 & 3)]);
    m.code = (int32_t) (bits >> 32) >> (bits >> 16 & 31);
    m.point_count = (uint32_t) (bits >> 24 & 15);
    struct tpc_point *points = tpc_arena_take(arena, (m.point_count + 1u) * sizeof(*points));
    for (uint32_t i = 0; i < m.point_count; i++) {
        uint64_t b = data_random(state);
        points[i] = (struct tpc_point){ .property = (uint16_t) (b >> (b % 17)),
                                        .key = tpc_str_from(words[b >> 20 & 3]),
                                        .flags = (uint16_t) (b >> 60 & 3) };
        points[i].unix_ms = (b >> 58 & 1) != 0 ? (int64_t) data_random(state) : 0;
        points[i].value = data_random_tree(arena, state, 2);
    }
    m.points = points;
    if ((bits & 2) != 0) {
        m.params = data_random_tree(arena, state, 4);
    }
    if ((bits & 4) != 0) {
        m.raw = TPC_BYTES("raw \0 bytes");
    }
    return m;
}

START_TEST(random_messages_go_round)
{
    struct tpc_arena *arena = data_arena();
    struct tpi_buf buf;
    uint64_t state = 3;
    tpi_buf_init(&buf, NULL, 0);
    for (int i = 0; i < 5000; i++) {
        struct tpc_msg *copy;
        struct tpc_error err;
        tpc_arena_reset(arena);
        struct tpc_msg m = random_msg(arena, &state);
        struct tpc_msg back = blank();
        back.unix_ms = m.unix_ms;
        tpi_buf_clear(&buf);
        tk_ok(tpi_msg_encode(&m, &buf));
        struct tpc_bytes body = { buf.ptr, buf.len };
        tk_ok(tpi_msg_decode(body, arena, &err, &back));
        same_body(&m, &back);
        tk_ok(tpc_msg_dup(&back, NULL, &copy));
        /* The copy stands alone: damage what it was made from. */
        buf.ptr[data_random(&state) % buf.len] = (uint8_t) data_random(&state);
        struct tpc_msg other = blank();
        (void) tpi_msg_decode(body, arena, &err, &other);
        memset(buf.ptr, 0xA5, buf.len);
        same_body(&m, copy);
        tpc_msg_free(copy, NULL);
    }
    tpi_buf_fini(&buf);
    tpc_arena_destroy(arena);
}
END_TEST

/* Points as they were written before decimals and following properties had a short form. */
START_TEST(bodies_of_the_first_writer_are_read)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_point points[] = { { .property = 1, .value = num(23.75) },
                                  { .property = 2, .value = whole(-3) } };
    struct tpc_msg m = blank();
    struct tpc_msg back = blank();
    struct tpc_error err;
    uint8_t bytes[32];
    m.points = points;
    m.point_count = 2;
    size_t n = data_hex("20 02 01 04 0000000000c03740 02 03 05", bytes, sizeof(bytes));
    tk_ok(tpi_msg_decode((struct tpc_bytes){ bytes, n }, arena, &err, &back));
    same_body(&m, &back);
    tpc_arena_destroy(arena);
}
END_TEST

/* Whatever a double is: the same 64 bits come back, and those of few decimals are short. */
START_TEST(doubles_come_back_bit_by_bit)
{
    static const struct {
        double value;
        size_t bytes; /* of the body */
    } table[] = {
        { 0.0, 5 },         { -0.0, 12 },       { 21.5, 6 },     { -0.001, 5 },
        { 1e6, 7 },         { 1073741.823, 9 }, { 1e7, 12 },     { 1e308, 12 },
        { 4.9e-324, 12 },   { 0.1 + 0.2, 12 },  { 0.3, 5 },      { INFINITY, 12 },
        { -INFINITY, 12 },  { NAN, 12 },        { 1.0 / 3, 12 }, { 12.3456, 12 },
        { -536870.912, 9 },
    };
    struct tpc_arena *arena = data_arena();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tpc_point point = { .property = 1, .value = num(table[i].value) };
        struct tpc_msg m = blank();
        struct tpc_msg back = blank();
        struct tpc_error err;
        struct tpi_buf buf;
        tpi_buf_init(&buf, NULL, 0);
        m.points = &point;
        m.point_count = 1;
        tk_ok(tpi_msg_encode(&m, &buf));
        tk_ok(tpi_msg_decode((struct tpc_bytes){ buf.ptr, buf.len }, arena, &err, &back));
        ck_assert_mem_eq(&back.points->value.as.d, &table[i].value, sizeof(double));
        ck_assert_msg(buf.len == table[i].bytes, "%g takes %zu", table[i].value, buf.len);
        tpi_buf_fini(&buf);
    }
    uint64_t state = 9;
    for (int i = 0; i < 200000; i++) {
        struct tpi_buf buf;
        int32_t n = (int32_t) data_random(&state) >> (i % 24);
        static const double powers[] = { 1, 10, 100, 1000, 10000 };
        struct tpc_point point = { .property = 1, .value = num(n / powers[i % 5]) };
        struct tpc_msg m = blank();
        struct tpc_msg back = blank();
        struct tpc_error err;
        tpc_arena_reset(arena);
        tpi_buf_init(&buf, NULL, 0);
        m.points = &point;
        m.point_count = 1;
        tk_ok(tpi_msg_encode(&m, &buf));
        tk_ok(tpi_msg_decode((struct tpc_bytes){ buf.ptr, buf.len }, arena, &err, &back));
        ck_assert_mem_eq(&back.points->value.as.d, &point.value.as.d, sizeof(double));
        tpi_buf_fini(&buf);
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(damaged_and_newer_bodies_are_told_apart)
{
    static const struct {
        const char *hex;
        int code;
    } table[] = {
        { "00", 0 },
        { "20 00", 0 },
        { "8002", TPC_EVERSION },
        { "20 02 01 40 00", 0 },
        { "20 02 ffff03 40 00", TPC_ECORRUPT },
        { "20 01 01 80", TPC_EVERSION },
        { "20 01 01 0d", TPC_EVERSION },
        { "20 01 01 0c", TPC_ECORRUPT },
        { "40 09", TPC_EVERSION },
        { "40 0f", TPC_EVERSION },
        { "40 10", TPC_EVERSION },
        { "", TPC_ECORRUPT },
        { "00 00", TPC_ECORRUPT },
        { "20 01 808004 00", TPC_ECORRUPT },
        { "20 ffffff7f 01 00", TPC_ECORRUPT },
        { "20 ffffffffffffffffff01", TPC_ECORRUPT },
        { "ffffffffffffffffffff01", TPC_ECORRUPT },
        { "ffffffffffffffffff02", TPC_ECORRUPT },
        { "02 05 61", TPC_ECORRUPT },
        { "10 8080808010", TPC_ECORRUPT },
        { "20 01 01 22 808004", TPC_ECORRUPT },
        { "40 05 ffffffffffffffffff01 61", TPC_ECORRUPT },
        { "40 07 ffffff7f 00", TPC_ECORRUPT },
        { "40 08 02 00 00", TPC_ECORRUPT },
        { "40 04 00000000000000", TPC_ECORRUPT },
    };
    struct tpc_arena *arena = data_arena();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint8_t bytes[64];
        struct tpc_error err;
        struct tpc_msg m = blank();
        m.code = 77;
        size_t n = data_hex(table[i].hex, bytes, sizeof(bytes));
        int rc = tpi_msg_decode((struct tpc_bytes){ bytes, n }, arena, &err, &m);
        ck_assert_msg(rc == table[i].code, "%s: %s", table[i].hex, tpc_error_name(rc));
        ck_assert_int_eq(m.code, rc == 0 ? 0 : 77);
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(trees_of_32_levels_are_kept_and_no_deeper_ones)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v[34] = { { .type = TPC_NULL } };
    struct tpc_value back;
    struct tpc_error err;
    struct tpc_msg *copy;
    struct tpi_buf buf;
    uint8_t deep[100];
    tpi_buf_init(&buf, NULL, 0);
    for (int i = 1; i < 34; i++) {
        v[i] = (struct tpc_value){ .type = TPC_ARRAY, .len = 1, .as.items = &v[i - 1] };
    }
    tk_ok(tpi_value_encode(&v[32], &buf));
    tk_ok(tpi_value_decode((struct tpc_bytes){ buf.ptr, buf.len }, arena, &err, &back));
    ck_assert(tpc_value_equal(&back, &v[32]));
    size_t len = buf.len;
    tk_fails(TPC_EINVAL, tpi_value_encode(&v[33], &buf));
    ck_assert_uint_eq(buf.len, len);
    for (size_t i = 0; i < sizeof(deep); i++) {
        deep[i] = i % 2 == 0 ? 7 : 1;
    }
    tk_fails(TPC_ECORRUPT, tpi_value_decode((struct tpc_bytes){ deep, 100 }, arena, &err, &back));
    /* An empty array counts as a level, too. */
    deep[65] = 0;
    tk_fails(TPC_ECORRUPT, tpi_value_decode((struct tpc_bytes){ deep, 66 }, arena, &err, &back));
    tk_ok(tpi_value_decode((struct tpc_bytes){ deep + 2, 64 }, arena, &err, &back));
    struct tpc_msg m = blank();
    m.params = v[33];
    tk_fails(TPC_EINVAL, tpc_msg_dup(&m, NULL, &copy));
    tk_fails(TPC_EINVAL, tpi_value_copy(&v[33], arena, &back));
    tk_ok(tpi_value_copy(&v[32], arena, &back));
    ck_assert(tpc_value_equal(&back, &v[32]));
    tpi_buf_fini(&buf);
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(a_buffer_at_its_limit_keeps_what_it_had)
{
    struct tpi_buf buf;
    struct tpc_msg m = blank();
    m.raw = TPC_BYTES("0123456789012345678901234567890123456789012345678901234567890123456789");
    tpi_buf_init(&buf, NULL, 64);
    tk_ok(tpi_buf_put(&buf, "abc", 3));
    tk_fails(TPC_ETOOBIG, tpi_msg_encode(&m, &buf));
    ck_assert_uint_eq(buf.len, 3);
    ck_assert_mem_eq(buf.ptr, "abc", 3);
    tpi_buf_fini(&buf);
}
END_TEST

/* A producer compiled when points were longer, and one when messages were shorter. */
START_TEST(records_of_other_sizes_are_walked_by_their_own_stride)
{
    struct long_point {
        struct tpc_point point;
        uint64_t newer;
    } points[2] = { { .point = { .property = 1, .value = num(1) }, .newer = 1 },
                    { .point = { .property = 2, .value = num(2) }, .newer = 2 } };
    struct tpc_msg *copy;
    struct tpc_msg msgs[2] = { blank(), blank() };
    msgs[1].points = &points[0].point;
    msgs[1].point_count = 2;
    msgs[1].point_size = sizeof(points[0]);
    struct tpc_batch batch = {
        .size = sizeof(batch), .count = 2, .msg_size = sizeof(msgs[0]), .msgs = msgs
    };
    ck_assert_ptr_eq(tpc_batch_msg(&batch, 1), &msgs[1]);
    ck_assert_uint_eq(tpc_msg_point(&msgs[1], 1)->property, 2);
    tk_ok(tpc_msg_dup(&msgs[1], NULL, &copy));
    ck_assert_uint_eq(copy->point_size, sizeof(struct tpc_point));
    ck_assert_uint_eq(tpc_msg_point(copy, 1)->property, 2);
    tpc_msg_free(copy, NULL);
    msgs[1].size = offsetof(struct tpc_msg, raw);
    msgs[1].raw = TPC_BYTES("behind its end");
    tk_ok(tpc_msg_dup(&msgs[1], NULL, &copy));
    ck_assert_uint_eq(copy->raw.len, 0);
    tpc_msg_free(copy, NULL);
    tpc_msg_free(NULL, NULL);
}
END_TEST

START_TEST(kinds_have_names)
{
    ck_assert_str_eq(tpc_kind_name(TPC_MSG_TELEMETRY), "telemetry");
    ck_assert_str_eq(tpc_kind_name(TPC_MSG_COMMAND_CLOSED), "command_closed");
    ck_assert_str_eq(tpc_kind_name(TPC_MSG_ALERT), "alert");
    ck_assert_str_eq(tpc_kind_name(TPC_MSG_NOTIFY), "notify");
    ck_assert_str_eq(tpc_kind_name(999), "unknown");
}
END_TEST

static int copy_all(const struct tpc_allocator *a, void *user)
{
    struct tpc_arena *trees = data_arena();
    struct tpc_arena *arena = NULL;
    struct tpc_msg m = blank();
    struct tpc_msg back = blank();
    struct tpc_msg *copy = NULL;
    struct tpi_buf buf;
    (void) user;
    m.params = data_json(trees, "{\"a\":[1,2,{\"b\":\"text\"}]}");
    m.name = TPC_STR("name");
    tpi_buf_init(&buf, a, 0);
    int rc = tpc_msg_dup(&m, a, &copy);
    if (rc == 0) {
        rc = tpi_msg_encode(copy, &buf);
    }
    if (rc == 0) {
        rc = tpc_arena_create(a, 0, &arena);
    }
    if (rc == 0) {
        rc = tpi_msg_decode((struct tpc_bytes){ buf.ptr, buf.len }, arena, NULL, &back);
    }
    tpc_msg_free(copy, a);
    tpi_buf_fini(&buf);
    tpc_arena_destroy(arena);
    tpc_arena_destroy(trees);
    return rc;
}

START_TEST(running_out_of_memory_leaves_nothing_behind)
{
    ck_assert_uint_ge(tk_each_alloc_fails(copy_all, NULL), 4);
}
END_TEST

Suite *msg_suite(void)
{
    Suite *s = suite_create("msg");
    TCase *t = tcase_create("msg");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, golden_bodies_stay_as_they_are);
    tcase_add_test(t, bodies_of_the_first_writer_are_read);
    tcase_add_test(t, doubles_come_back_bit_by_bit);
    tcase_add_test(t, random_messages_go_round);
    tcase_add_test(t, damaged_and_newer_bodies_are_told_apart);
    tcase_add_test(t, trees_of_32_levels_are_kept_and_no_deeper_ones);
    tcase_add_test(t, a_buffer_at_its_limit_keeps_what_it_had);
    tcase_add_test(t, records_of_other_sizes_are_walked_by_their_own_stride);
    tcase_add_test(t, kinds_have_names);
    tcase_add_test(t, running_out_of_memory_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return s;
}
