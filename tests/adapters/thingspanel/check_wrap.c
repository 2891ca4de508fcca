/* What goes up: topics of the contract, and payloads that the other side's unwrapping takes. */
#include "tp_suites.h"
#include "wrap.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/arena.h>

#include "codec/codec.h"

static struct tp_pack pack;
static struct tpc_arena *arena;

static void setup(void)
{
    tp_pack_init(&pack, NULL);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void teardown(void)
{
    tp_pack_fini(&pack);
    arena = tpc_arena_destroy(arena);
}

static struct tpc_msg message(uint16_t kind, const struct tpc_point *points, uint32_t count)
{
    struct tpc_msg m = { .size = sizeof(m), .kind = kind };
    m.device = TPC_STR("d-1");
    m.points = points;
    m.point_count = count;
    m.point_size = sizeof(*points);
    for (uint8_t i = 0; i < 16; i++) {
        m.id.b[i] = i;
    }
    return m;
}

static struct tpc_point number(const char *key, int64_t value)
{
    struct tpc_point p = { .key = tpc_str_from(key), .value = { .type = TPC_INT } };
    p.value.as.i = value;
    return p;
}

static uint32_t add(const struct tpc_msg *m)
{
    uint32_t parts = UINT32_MAX;
    tk_ok(tp_pack_message(&pack, m, NULL, &parts));
    return parts;
}

/* Topic and what is inside the envelope. */
static void expect(uint32_t i, const char *topic, const char *values)
{
    ck_assert_uint_lt(i, tp_pack_count(&pack));
    const struct tp_part *p = tp_pack_part(&pack, i);
    struct tpc_bytes payload = { pack.said.ptr + p->payload, p->payload_len };
    struct tpc_str device;
    struct tpc_bytes inside;
    ck_assert_uint_eq(p->topic_len, strlen(topic));
    ck_assert_mem_eq(pack.said.ptr + p->topic, topic, p->topic_len);
    tk_ok(tpi_codec_unwrap(payload, arena, NULL, &device, &inside));
    ck_assert(tpc_str_equal(device, TPC_STR("d-1")) != 0);
    ck_assert_msg(inside.len == strlen(values) && memcmp(inside.ptr, values, inside.len) == 0,
                  "%.*s", (int) inside.len, (const char *) inside.ptr);
}

static void expect_wrapped(const char *device, const char *values, size_t len, const char *want)
{
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    struct tpc_bytes bytes = { (const uint8_t *) values, len };
    tk_ok(tp_wrap(&b, tpc_str_from(device), bytes));
    ck_assert_uint_eq(b.len, strlen(want));
    ck_assert_mem_eq(b.ptr, want, b.len);
    tpi_buf_fini(&b);
}

START_TEST(envelope_is_byte_for_byte_that_of_the_contract)
{
    expect_wrapped("d", "{\"a\":1}", 7, "{\"device_id\":\"d\",\"values\":\"eyJhIjoxfQ==\"}");
    expect_wrapped("d", "\x00\xff", 2, "{\"device_id\":\"d\",\"values\":\"AP8=\"}");
    expect_wrapped("d", "", 0, "{\"device_id\":\"d\",\"values\":\"\"}");
    expect_wrapped("a\"b\\", "x", 1, "{\"device_id\":\"a\\\"b\\\\\",\"values\":\"eA==\"}");
}
END_TEST

/* Contract 9.1, item 1: the other way. */
START_TEST(what_the_platform_takes_is_taken_by_the_unwrapping_these_tests_use)
{
    static const struct {
        const char *text, *inside; /* NULL = refused */
    } cases[] = {
        { "{\"device_id\":\"d\",\"values\":\"eyJhIjoxfQ==\"}", "{\"a\":1}" },
        { "{\"device_id\":\"d\",\"values\":{\"a\":1}}", "{\"a\":1}" },
        { "{\"device_id\":\"d\",\"values\":[123,125]}", "{}" },
        { "{\"device_id\":\"d\",\"values\":\"\"}", NULL },
        { "{\"device_id\":\"d\",\"values\":\"%%\"}", NULL },
        { "{\"device_id\":\"\",\"values\":\"eA==\"}", NULL },
        { "{\"values\":\"eA==\"}", NULL },
        { "", NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpc_bytes payload = { (const uint8_t *) cases[i].text, strlen(cases[i].text) };
        struct tpc_str device;
        struct tpc_bytes inside;
        int rc = tpi_codec_unwrap(payload, arena, NULL, &device, &inside);
        ck_assert_int_eq(rc, cases[i].inside != NULL ? 0 : TPC_EDECODE);
        if (rc == 0) {
            ck_assert_uint_eq(inside.len, strlen(cases[i].inside));
            ck_assert_mem_eq(inside.ptr, cases[i].inside, inside.len);
        }
    }
}
END_TEST

START_TEST(telemetry_is_one_object_and_values_keep_their_types)
{
    struct tpc_point p[4] = { number("power", -7), number("v", 0), number("on", 0),
                              number("text", 0) };
    p[1].value = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = 230.5 };
    p[2].value = (struct tpc_value){ .type = TPC_BOOL, .as.b = 1 };
    p[3].value = (struct tpc_value){ .type = TPC_TEXT, .len = 4, .as.text = "a\"\n\xc3" };
    p[3].value.len = 3;
    struct tpc_msg m = message(TPC_MSG_TELEMETRY, p, 4);
    ck_assert_uint_eq(add(&m), 1);
    expect(0, "devices/telemetry", "{\"power\":-7,\"v\":230.5,\"on\":true,\"text\":\"a\\\"\\n\"}");
    ck_assert(tp_pack_part(&pack, 0)->last);
}
END_TEST

START_TEST(attributes_go_on_their_own_topic_with_an_id_that_stays)
{
    struct tpc_point p[3] = { number("a", 1), number("b", 2), number("c", 3) };
    p[1].flags = TPC_POINT_ATTRIBUTE;
    struct tpc_msg m = message(TPC_MSG_TELEMETRY, p, 3);
    ck_assert_uint_eq(add(&m), 2);
    expect(0, "devices/telemetry", "{\"a\":1,\"c\":3}");
    expect(1, "devices/attributes/000102030405060708090a0b0c0d0e0f", "{\"b\":2}");
    ck_assert(!tp_pack_part(&pack, 0)->last);
    ck_assert(tp_pack_part(&pack, 1)->last);
    m = message(TPC_MSG_ATTRIBUTES, p, 3);
    ck_assert_uint_eq(add(&m), 1);
    expect(2, "devices/attributes/000102030405060708090a0b0c0d0e0f", "{\"a\":1,\"b\":2,\"c\":3}");
}
END_TEST

START_TEST(several_values_of_one_key_are_several_publishes_in_their_order)
{
    struct tpc_point p[5] = { number("a", 1), number("b", 2), number("a", 3), number("c", 4),
                              number("a", 5) };
    p[2].unix_ms = 1000;
    p[3].unix_ms = 1000;
    p[4].unix_ms = 2000;
    struct tpc_msg m = message(TPC_MSG_TELEMETRY, p, 5);
    ck_assert_uint_eq(add(&m), 3);
    expect(0, "devices/telemetry", "{\"a\":1,\"b\":2}");
    expect(1, "devices/telemetry", "{\"a\":3,\"c\":4}");
    expect(2, "devices/telemetry", "{\"a\":5}");
    p[2].unix_ms = p[3].unix_ms = p[4].unix_ms = 0; /* of one time, too: an object has a key once */
    tp_pack_clear(&pack);
    ck_assert_uint_eq(add(&m), 3);
    expect(0, "devices/telemetry", "{\"a\":1,\"b\":2}");
    expect(1, "devices/telemetry", "{\"a\":3,\"c\":4}");
    expect(2, "devices/telemetry", "{\"a\":5}");
}
END_TEST

START_TEST(event_has_method_and_params)
{
    struct tpc_point none = { .flags = 0 };
    struct tpc_member w = { .key = TPC_STR("power"), .value = { .type = TPC_INT, .as.i = 9 } };
    struct tpc_msg m = message(TPC_MSG_EVENT, &none, 0);
    m.name = TPC_STR("overload");
    m.params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &w };
    ck_assert_uint_eq(add(&m), 1);
    expect(0, "devices/event/000102030405060708090a0b0c0d0e0f",
           "{\"method\":\"overload\",\"params\":{\"power\":9}}");
    m.params = (struct tpc_value){ .type = TPC_NULL };
    ck_assert_uint_eq(add(&m), 1);
    expect(1, "devices/event/000102030405060708090a0b0c0d0e0f",
           "{\"method\":\"overload\",\"params\":{}}");
}
END_TEST

START_TEST(presence_is_one_byte_on_the_status_topic)
{
    struct tpc_point none = { .flags = 0 };
    struct tpc_member on = { .key = TPC_STR("online"), .value = { .type = TPC_BOOL, .as.b = 1 } };
    struct tpc_msg m = message(TPC_MSG_PRESENCE, &none, 0);
    m.params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &on };
    ck_assert_uint_eq(add(&m), 1);
    on.value.as.b = 0;
    ck_assert_uint_eq(add(&m), 1);
    for (uint32_t i = 0; i < 2; i++) {
        const struct tp_part *p = tp_pack_part(&pack, i);
        ck_assert_uint_eq(p->topic_len, strlen("devices/status/d-1"));
        ck_assert_mem_eq(pack.said.ptr + p->topic, "devices/status/d-1", p->topic_len);
        ck_assert_uint_eq(p->payload_len, 1);
        ck_assert_int_eq(pack.said.ptr[p->payload], i == 0 ? '1' : '0');
    }
    m.device = TPC_STR("a/#"); /* no topic */
    ck_assert_uint_eq(add(&m), 0);
}
END_TEST

START_TEST(other_kinds_become_nothing_and_a_failure_leaves_the_rest)
{
    struct tpc_point p[2] = { number("a", 1), number("b", 2) };
    struct tpc_msg m = message(TPC_MSG_REPLY, p, 2);
    ck_assert_uint_eq(add(&m), 0);
    m = message(TPC_MSG_COMMAND_CLOSED, p, 2);
    ck_assert_uint_eq(add(&m), 0);
    m = message(TPC_MSG_TELEMETRY, p, 2);
    ck_assert_uint_eq(add(&m), 1);
    size_t said = pack.said.len;
    uint32_t parts = 0;
    pack.payload_max = 20;
    struct tpc_error err = { .size = sizeof(err) };
    tk_fails(TPC_ETOOBIG, tp_pack_message(&pack, &m, &err, &parts));
    ck_assert_uint_eq(pack.said.len, said);
    ck_assert_uint_eq(tp_pack_count(&pack), 1);
    expect(0, "devices/telemetry", "{\"a\":1,\"b\":2}");
}
END_TEST

static int pack_all(const struct tpc_allocator *a, void *user)
{
    struct tp_pack own;
    struct tpc_point p[3] = { number("a", 1), number("b", 2), number("a", 3) };
    uint32_t parts = 0;
    (void) user;
    p[1].flags = TPC_POINT_ATTRIBUTE;
    p[2].unix_ms = 5;
    struct tpc_msg m = message(TPC_MSG_TELEMETRY, p, 3);
    tp_pack_init(&own, a);
    int rc = tp_pack_message(&own, &m, NULL, &parts);
    ck_assert_uint_eq(tp_pack_count(&own), rc == 0 ? 3 : 0);
    tp_pack_fini(&own);
    return rc;
}

START_TEST(no_memory_adds_nothing)
{
    tk_each_alloc_fails(pack_all, NULL);
}
END_TEST

Suite *wrap_suite(void)
{
    Suite *s = suite_create("thingspanel_wrap");
    TCase *c = tcase_create("wrap");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, envelope_is_byte_for_byte_that_of_the_contract);
    tcase_add_test(c, what_the_platform_takes_is_taken_by_the_unwrapping_these_tests_use);
    tcase_add_test(c, telemetry_is_one_object_and_values_keep_their_types);
    tcase_add_test(c, attributes_go_on_their_own_topic_with_an_id_that_stays);
    tcase_add_test(c, several_values_of_one_key_are_several_publishes_in_their_order);
    tcase_add_test(c, event_has_method_and_params);
    tcase_add_test(c, presence_is_one_byte_on_the_status_topic);
    tcase_add_test(c, other_kinds_become_nothing_and_a_failure_leaves_the_rest);
    tcase_add_test(c, no_memory_adds_nothing);
    suite_add_tcase(s, c);
    return s;
}
