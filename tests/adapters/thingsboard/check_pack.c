/* Messages as payloads: the forms of section 1.3 of the interface, cut at the limits. */
#include "pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "tb_suites.h"

enum { MESSAGES = 64, POINTS = 128, TEXT = 1 << 16 };

static struct tb_devices devices;
static struct tb_pack pack;
static struct tb_batch b;
static struct tpc_msg msgs[MESSAGES];
static struct tpc_point points[MESSAGES][POINTS];
static struct tpc_batch batch;
static struct tb_pack_options o;

static void begin(void)
{
    tb_devices_init(&devices, tpc_allocator_default(), 1000);
    tb_pack_init(&pack, tpc_allocator_default());
    memset(msgs, 0, sizeof(msgs));
    memset(points, 0, sizeof(points));
    batch = (struct tpc_batch){ .size = sizeof(batch), .msg_size = sizeof(msgs[0]), .msgs = msgs };
    o = (struct tb_pack_options){ .payload_max = 50000, .points_max = UINT32_MAX };
}

static void end(void)
{
    tb_batch_fini(&b, tpc_allocator_default());
    tb_pack_fini(&pack);
    tb_devices_fini(&devices);
}

static struct tpc_msg *add(const char *device, uint16_t kind, int64_t unix_ms)
{
    struct tpc_msg *m = &msgs[batch.count];
    *m = (struct tpc_msg){ .size = sizeof(*m), .kind = kind, .unix_ms = unix_ms };
    m->device = tpc_str_from(device);
    m->product = TPC_STR("type");
    m->id.b[15] = (uint8_t) (batch.count + 1);
    m->points = points[batch.count++];
    m->point_size = sizeof(struct tpc_point);
    return m;
}

static struct tpc_point *add_point(struct tpc_msg *m, const char *key)
{
    struct tpc_point *p = &points[m - msgs][m->point_count++];
    *p = (struct tpc_point){ .key = tpc_str_from(key) };
    return p;
}

static void add_int(struct tpc_msg *m, const char *key, int64_t v)
{
    add_point(m, key)->value = (struct tpc_value){ .type = TPC_INT, .as.i = v };
}

static void start(void)
{
    tk_ok(tb_batch_init(&b, tpc_allocator_default(), &batch));
    tk_ok(tb_pack_begin(&pack, &b, &devices, &o));
}

/* The next part has this topic and payload. */
static void next_is(const char *topic, const char *payload)
{
    struct tpc_error err;
    struct tb_part part;
    ck_assert_int_eq(tb_pack_next(&pack, &err, &part), 1);
    ck_assert_msg(tpc_str_equal(part.topic, tpc_str_from(topic)), "%.*s", (int) part.topic.len,
                  part.topic.ptr);
    ck_assert_msg(part.payload.len == strlen(payload) &&
                      memcmp(part.payload.ptr, payload, part.payload.len) == 0,
                  "%.*s is not %s", (int) part.payload.len, (const char *) part.payload.ptr,
                  payload);
    tb_batch_out(&b, &part);
    tb_batch_back(&b, part.stream, part.from, part.to, true);
}

static void no_more(void)
{
    struct tpc_error err;
    struct tb_part part;
    ck_assert_int_eq(tb_pack_next(&pack, &err, &part), 0);
}

START_TEST(telemetry_is_put_together_by_device_with_the_time_of_each_point)
{
    struct tpc_msg *m = add("A", TPC_MSG_TELEMETRY, 1000);
    add_int(m, "x", 1);
    add_point(m, "y")->value = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = 21.5 };
    struct tpc_point *late = add_point(m, "z");
    late->value = (struct tpc_value){ .type = TPC_BOOL, .as.b = true };
    late->unix_ms = 1001;
    m = add("B", TPC_MSG_TELEMETRY, 1000);
    add_point(m, "t")->value = (struct tpc_value){ .type = TPC_TEXT, .len = 3, .as.text = "a\"b" };
    m = add("A", TPC_MSG_TELEMETRY, 2000);
    add_int(m, "x", -2);
    start();
    next_is("v1/gateway/telemetry",
            "{\"A\":[{\"ts\":1000,\"values\":{\"x\":1,\"y\":21.5}},{\"ts\":1001,\"values\":{\"z\":"
            "true}},{\"ts\":2000,\"values\":{\"x\":-2}}],\"B\":[{\"ts\":1000,\"values\":{\"t\":"
            "\"a\\\"b\"}}]}");
    no_more();
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert(tb_batch_has(&b, i));
    }
}
END_TEST

START_TEST(attributes_go_apart_and_a_key_never_twice_in_a_payload)
{
    struct tpc_msg *m = add("A", TPC_MSG_TELEMETRY, 1000);
    add_int(m, "x", 1);
    add_int(m, "serial", 5);
    points[0][1].flags = TPC_POINT_ATTRIBUTE;
    m = add("B", TPC_MSG_ATTRIBUTES, 1000);
    add_int(m, "k", 1);
    m = add("B", TPC_MSG_ATTRIBUTES, 1001);
    add_int(m, "l", 2);
    m = add("B", TPC_MSG_ATTRIBUTES, 1002);
    add_int(m, "k", 3);
    start();
    next_is("v1/gateway/telemetry", "{\"A\":[{\"ts\":1000,\"values\":{\"x\":1}}]}");
    ck_assert(!tb_batch_has(&b, 0)); /* its attribute is not there yet */
    next_is("v1/gateway/attributes", "{\"A\":{\"serial\":5},\"B\":{\"k\":1,\"l\":2}}");
    next_is("v1/gateway/attributes", "{\"B\":{\"k\":3}}");
    no_more();
    ck_assert(tb_batch_has(&b, 0));
}
END_TEST

START_TEST(events_alerts_and_what_has_no_word_in_json)
{
    struct tpc_value nan = { .type = TPC_DOUBLE, .as.d = (double) NAN };
    struct tpc_value one = { .type = TPC_INT, .as.i = 1 };
    struct tpc_member member = { TPC_STR_INIT("level"), one };
    struct tpc_msg *m = add("A", TPC_MSG_EVENT, 7);
    m->name = TPC_STR("door");
    m->params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &member };
    add("A", TPC_MSG_ALERT, 8)->name = TPC_STR("hot");
    m = add("A", TPC_MSG_TELEMETRY, 9);
    add_point(m, "nothing");
    add_point(m, "nan")->value = nan;
    add("A", TPC_MSG_REPLY, 10);
    start();
    next_is("v1/gateway/telemetry", "{\"A\":[{\"ts\":7,\"values\":{\"door\":{\"level\":1}}}]}");
    no_more();
    tb_batch_fini(&b, tpc_allocator_default());
    o.alerts = true;
    start();
    next_is("v1/gateway/telemetry",
            "{\"A\":[{\"ts\":7,\"values\":{\"door\":{\"level\":1}}},{\"ts\":"
            "8,\"values\":{\"hot\":true}}]}");
    no_more();
}
END_TEST

START_TEST(own_device_has_topics_of_its_own)
{
    add_int(add("gw", TPC_MSG_TELEMETRY, 1), "x", 1);
    add_int(add("A", TPC_MSG_TELEMETRY, 2), "x", 2);
    add_int(add("gw", TPC_MSG_ATTRIBUTES, 3), "a", 3);
    o.own = TPC_STR("gw");
    start();
    next_is("v1/devices/me/telemetry", "[{\"ts\":1,\"values\":{\"x\":1}}]");
    next_is("v1/gateway/telemetry", "{\"A\":[{\"ts\":2,\"values\":{\"x\":2}}]}");
    next_is("v1/devices/me/attributes", "{\"a\":3}");
    no_more();
}
END_TEST

START_TEST(session_of_a_device_says_everything_as_itself)
{
    add_int(add("A", TPC_MSG_TELEMETRY, 1), "x", 1);
    add_int(add("B", TPC_MSG_TELEMETRY, 2), "x", 2);
    add_int(add("A", TPC_MSG_ATTRIBUTES, 3), "a", 3);
    add_int(add("B", TPC_MSG_ATTRIBUTES, 3), "a", 4);
    o.device_mode = true;
    start();
    next_is("v1/devices/me/telemetry",
            "[{\"ts\":1,\"values\":{\"x\":1}},{\"ts\":2,\"values\":{\"x\":2}}]");
    next_is("v1/devices/me/attributes", "{\"a\":3}");
    next_is("v1/devices/me/attributes", "{\"a\":4}");
    no_more();
}
END_TEST

START_TEST(metadata_has_all_three_members)
{
    struct tpc_msg *m = add("A", TPC_MSG_TELEMETRY, 1);
    add_int(m, "x", 1);
    m->origin = TPC_STR("bus");
    m->received_unix_ms = 5;
    o.metadata = true;
    o.now_unix_ms = 6;
    start();
    next_is("v1/gateway/telemetry",
            "{\"A\":[{\"ts\":1,\"values\":{\"x\":1},\"metadata\":{\"connector\":\"bus\","
            "\"receivedTs\":5,\"publishedTs\":6}}]}");
    no_more();
}
END_TEST

/* Every value exactly once, in payloads within the limits, whatever these are. */
START_TEST(payloads_keep_the_limits_and_lose_nothing)
{
    static const size_t sizes[] = { 256, 300, 999, 4096, 50000 };
    static const uint32_t most[] = { 1, 7, 100, UINT32_MAX };
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    for (size_t i = 0; i < 40; i++) {
        char *name = tpc_arena_take(arena, 16);
        snprintf(name, 16, "dev-%zu", i % 7);
        struct tpc_msg *m = add(name, i % 5 == 0 ? TPC_MSG_ATTRIBUTES : TPC_MSG_TELEMETRY, 1000);
        for (size_t k = 0; k < 1 + i * 3; k++) {
            char *key = tpc_arena_take(arena, 16);
            snprintf(key, 16, "k%zu.%zu", i, k);
            add_int(m, key, (int64_t) (i * 1000 + k));
        }
    }
    uint64_t want = 0;
    for (uint32_t i = 0; i < batch.count; i++) {
        want += msgs[i].point_count;
    }
    for (size_t n = 0; n < 5 * 4; n++) {
        struct tb_part part;
        struct tpc_error err;
        uint64_t got = 0;
        o.payload_max = sizes[n / 4];
        o.points_max = most[n % 4];
        o.metadata = n % 3 == 0;
        start();
        while (tb_pack_next(&pack, &err, &part) == 1) {
            struct tpc_value doc;
            struct tpc_str text = { (const char *) part.payload.ptr, part.payload.len };
            ck_assert_uint_le(part.payload.len, o.payload_max);
            ck_assert_uint_le(part.points, o.points_max);
            tk_ok(
                tpc_json_parse(arena, text, 0, &err, &doc)); /* refuses a key that is there twice */
            got += part.points;
            tb_batch_out(&b, &part);
            tb_batch_back(&b, part.stream, part.from, part.to, true);
        }
        ck_assert_uint_eq(got, want);
        for (uint32_t i = 0; i < batch.count; i++) {
            ck_assert(tb_batch_has(&b, i));
        }
        tb_batch_fini(&b, tpc_allocator_default());
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(value_that_fits_into_no_payload_is_refused)
{
    static char text[1000];
    struct tpc_error err;
    struct tb_part part;
    memset(text, 'x', sizeof(text));
    add_int(add("A", TPC_MSG_TELEMETRY, 1), "x", 1);
    add_point(add("A", TPC_MSG_TELEMETRY, 2), "t")->value =
        (struct tpc_value){ .type = TPC_TEXT, .len = sizeof(text), .as.text = text };
    o.payload_max = 500;
    start();
    next_is("v1/gateway/telemetry", "{\"A\":[{\"ts\":1,\"values\":{\"x\":1}}]}");
    ck_assert_int_eq(tb_pack_next(&pack, &err, &part), TPC_ETOOBIG);
    ck_assert(tb_batch_has(&b, 0));
    ck_assert(!tb_batch_has(&b, 1));
}
END_TEST

START_TEST(what_was_given_before_is_left_out_and_what_failed_is_not_had)
{
    struct tb_part part;
    struct tpc_error err;
    add_int(add("A", TPC_MSG_TELEMETRY, 1), "x", 1);
    add_int(add("B", TPC_MSG_TELEMETRY, 2), "x", 2);
    add_int(add("A", TPC_MSG_TELEMETRY, 3), "x", 3);
    tk_ok(tb_batch_init(&b, tpc_allocator_default(), &batch));
    b.marks[0] = TB_MARK_GIVEN;
    tk_ok(tb_pack_begin(&pack, &b, &devices, &o));
    ck_assert_int_eq(tb_pack_next(&pack, &err, &part), 1);
    ck_assert_uint_eq(part.points, 2);
    tb_batch_out(&b, &part);
    ck_assert(!tb_batch_has(&b, 1));
    tb_batch_back(&b, part.stream, part.from, part.to, false);
    ck_assert(tb_batch_has(&b, 0));
    ck_assert(!tb_batch_has(&b, 1));
    ck_assert(!tb_batch_has(&b, 2));
}
END_TEST

START_TEST(device_over_the_limit_never_comes_twice_in_a_payload)
{
    devices.max = 1;
    add_int(add("A", TPC_MSG_TELEMETRY, 1), "x", 1);
    add_int(add("B", TPC_MSG_TELEMETRY, 2), "x", 2);
    add_int(add("A", TPC_MSG_TELEMETRY, 3), "x", 3);
    add_int(add("B", TPC_MSG_TELEMETRY, 4), "x", 4);
    start();
    next_is("v1/gateway/telemetry",
            "{\"A\":[{\"ts\":1,\"values\":{\"x\":1}},{\"ts\":3,\"values\":{\"x\":3}}]}");
    next_is("v1/gateway/telemetry", "{\"B\":[{\"ts\":2,\"values\":{\"x\":2}}]}");
    next_is("v1/gateway/telemetry", "{\"B\":[{\"ts\":4,\"values\":{\"x\":4}}]}");
    no_more();
}
END_TEST

static int whole(const struct tpc_allocator *a, void *user)
{
    struct tb_devices all;
    struct tb_pack p;
    struct tb_batch x;
    struct tb_part part;
    struct tpc_error err;
    (void) user;
    tb_devices_init(&all, a, 10);
    tb_pack_init(&p, a);
    int rc = tb_batch_init(&x, a, &batch);
    rc = rc != 0 ? rc : tb_pack_begin(&p, &x, &all, &o);
    while (rc == 0) {
        int more = tb_pack_next(&p, &err, &part);
        rc = more < 0 ? more : 0;
        if (more <= 0) {
            break;
        }
    }
    tb_batch_fini(&x, a);
    tb_pack_fini(&p);
    tb_devices_fini(&all);
    return rc;
}

START_TEST(without_memory_nothing_is_left_behind)
{
    add_int(add("A", TPC_MSG_TELEMETRY, 1), "x", 1);
    add_int(add("B", TPC_MSG_ATTRIBUTES, 2), "x", 2);
    tk_each_alloc_fails(whole, NULL);
}
END_TEST

Suite *pack_suite(void)
{
    Suite *s = suite_create("pack");
    TCase *c = tcase_create("pack");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, telemetry_is_put_together_by_device_with_the_time_of_each_point);
    tcase_add_test(c, attributes_go_apart_and_a_key_never_twice_in_a_payload);
    tcase_add_test(c, events_alerts_and_what_has_no_word_in_json);
    tcase_add_test(c, own_device_has_topics_of_its_own);
    tcase_add_test(c, session_of_a_device_says_everything_as_itself);
    tcase_add_test(c, metadata_has_all_three_members);
    tcase_add_test(c, payloads_keep_the_limits_and_lose_nothing);
    tcase_add_test(c, value_that_fits_into_no_payload_is_refused);
    tcase_add_test(c, what_was_given_before_is_left_out_and_what_failed_is_not_had);
    tcase_add_test(c, device_over_the_limit_never_comes_twice_in_a_payload);
    tcase_add_test(c, without_memory_nothing_is_left_behind);
    suite_add_tcase(s, c);
    return s;
}
