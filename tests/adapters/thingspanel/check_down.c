/* What comes down: topics with their prefix, and payloads flat and nested. */
#include "tp_suites.h"
#include "down.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/arena.h>

static struct tpc_arena *arena;
static const struct tpc_str prefix = { "plugin/meter/", 13 };

static void setup(void)
{
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void teardown(void)
{
    arena = tpc_arena_destroy(arena);
}

static bool is(struct tpc_str text, const char *want)
{
    return tpc_str_equal(text, tpc_str_from(want)) != 0;
}

START_TEST(topics_of_a_service_are_known_with_device_and_message)
{
    static const struct {
        const char *topic;
        int kind; /* 0 = none of ours */
        const char *x, *mid;
    } cases[] = {
        { "plugin/meter/devices/telemetry/control/d-1", TP_DOWN_CONTROL, "d-1", "" },
        { "plugin/meter/devices/attributes/set/d-1/ab12", TP_DOWN_SET, "d-1", "ab12" },
        { "plugin/meter/devices/attributes/get/d-1", TP_DOWN_GET, "d-1", "" },
        { "plugin/meter/devices/command/d-1/1234567", TP_DOWN_COMMAND, "d-1", "1234567" },
        { "plugin/meter/devices/command/hall 2/north/77", TP_DOWN_COMMAND, "hall 2/north", "77" },
        { "plugin/meter/devices/command/d-1", 0, "", "" },
        { "plugin/meter/devices/command/d-1/", 0, "", "" },
        { "plugin/meter/devices/command//7", 0, "", "" },
        { "plugin/meter/devices/telemetry/control/", 0, "", "" },
        { "plugin/meter/devices/attributes/set/d-1", 0, "", "" },
        { "plugin/meter/gateway/command/d-1/7", 0, "", "" },
        { "plugin/meter/devices/command/response/7", TP_DOWN_COMMAND, "response", "7" },
        { "plugin/other/devices/command/d-1/7", 0, "", "" },
        { "devices/command/d-1/7", 0, "", "" },
        { "plugin/meter/", 0, "", "" },
        { "plugin/m", 0, "", "" },
        { "", 0, "", "" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tp_down d;
        int rc = tp_down_topic(prefix, tpc_str_from(cases[i].topic), &d);
        ck_assert_msg(rc == (cases[i].kind != 0 ? 0 : TPC_ENOENT), "%s", cases[i].topic);
        if (rc == 0) {
            ck_assert_int_eq((int) d.kind, cases[i].kind);
            ck_assert(is(d.x, cases[i].x) && is(d.mid, cases[i].mid));
        }
    }
    struct tp_down d;
    tk_ok(tp_down_topic((struct tpc_str){ NULL, 0 }, TPC_STR("devices/command/d/7"), &d));
}
END_TEST

static int read_as(const char *topic, const char *text, struct tp_down *ret)
{
    struct tpc_bytes payload = { (const uint8_t *) text, strlen(text) };
    struct tpc_error err = { .size = sizeof(err) };
    tk_ok(tp_down_topic((struct tpc_str){ NULL, 0 }, tpc_str_from(topic), ret));
    int rc = tp_down_read(payload, arena, &err, ret);
    ck_assert(rc == 0 || err.text[0] != '\0');
    return rc;
}

static int command(const char *text, struct tp_down *ret)
{
    return read_as("devices/command/d/7", text, ret);
}

START_TEST(flat_command_has_method_and_any_params)
{
    struct tp_down d;
    tk_ok(command("{\"method\":\"relay\",\"params\":{\"on\":true}}", &d));
    ck_assert(is(d.method, "relay") && d.params.type == TPC_MAP && d.depth == 0);
    tk_ok(command("{\"method\":\"relay\"}", &d));
    ck_assert_int_eq((int) d.params.type, TPC_NULL);
    tk_ok(command("{\"method\":\"relay\",\"params\":null}", &d));
    ck_assert_int_eq((int) d.params.type, TPC_NULL);
    tk_ok(command("{\"method\":\"relay\",\"params\":[1]}", &d));
    ck_assert_int_eq((int) d.params.type, TPC_ARRAY);
    tk_ok(command("{\"method\":\"relay\",\"params\":\"x\"}", &d));
    ck_assert_int_eq((int) d.params.type, TPC_TEXT);
}
END_TEST

START_TEST(what_means_nothing_is_refused)
{
    static const char *const bad[] = {
        "",
        "{",
        "7",
        "[]",
        "null",
        "{}",
        "{\"method\":7}",
        "{\"method\":\"\"}",
        "{\"gateway_data\":null}",
        "{\"gateway_data\":[\"a\"]}",
        "{\"sub_device_data\":{}}",
        "{\"sub_device_data\":{\"1\":null}}",
        "{\"sub_device_data\":{\"1\":7}}",
        "{\"sub_device_data\":{\"\":{\"method\":\"a\"}}}",
        "{\"sub_device_data\":{\"1\":{\"method\":\"a\"},\"2\":{\"method\":\"b\"}}}",
        "{\"gateway_data\":{\"method\":\"a\"},\"sub_device_data\":{\"1\":{\"method\":\"b\"}}}",
        "{\"sub_gateway_data\":{\"1\":{\"method\":\"a\"}}}",
        "{\"sub_gateway_data\":{\"1\":{}}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tp_down d;
        ck_assert_msg(command(bad[i], &d) == TPC_EDECODE, "%s", bad[i]);
    }
    struct tp_down d;
    tk_fails(TPC_EDECODE, read_as("devices/attributes/get/d", "{\"keys\":7}", &d));
    tk_fails(TPC_EDECODE, read_as("devices/attributes/get/d", "{\"keys\":[7]}", &d));
    tk_fails(TPC_EDECODE, read_as("devices/attributes/set/d/7", "[1]", &d));
    tk_fails(TPC_EDECODE, read_as("devices/telemetry/control/d", "true", &d));
}
END_TEST

/* depth gateways, and a device behind the last if there is one. */
static void nested(char *text, size_t cap, unsigned gateways, bool device, const char *leaf)
{
    size_t n = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < gateways; i++) {
        n += (size_t) snprintf(text + n, cap - n, "{\"sub_gateway_data\":{\"g%u\":", i);
    }
    n += (size_t) snprintf(text + n, cap - n,
                           device ? "{\"sub_device_data\":{\"s\":%s}}" : "{\"gateway_data\":%s}",
                           leaf);
    for (unsigned i = 0; i < gateways; i++) {
        n += (size_t) snprintf(text + n, cap - n, "},\"gateway_data\":null}");
    }
    ck_assert_uint_lt(n, cap);
}

START_TEST(nesting_of_every_depth_gives_the_path_from_the_gateway)
{
    for (unsigned gateways = 0; gateways <= 6; gateways++) {
        for (int device = 0; device < 2; device++) {
            char text[600];
            struct tp_down d;
            nested(text, sizeof(text), gateways, device != 0, "{\"method\":\"m\",\"params\":{}}");
            int rc = command(text, &d);
            ck_assert_int_eq(rc, gateways <= TP_SUB_GATEWAYS_MAX ? 0 : TPC_EDECODE);
            if (rc != 0) {
                continue;
            }
            ck_assert_uint_eq(d.depth, gateways + (unsigned) device);
            for (unsigned i = 0; i < gateways; i++) {
                char name[8];
                snprintf(name, sizeof(name), "g%u", i);
                ck_assert(is(d.path[i], name));
            }
            ck_assert(device == 0 || is(d.path[gateways], "s"));
            ck_assert(is(d.method, "m"));
        }
    }
}
END_TEST

START_TEST(sets_and_gets_are_read_flat_and_nested)
{
    struct tp_down d;
    tk_ok(read_as("devices/attributes/set/d/7", "{\"interval\":5}", &d));
    ck_assert(d.params.len == 1 && d.depth == 0);
    tk_ok(read_as("devices/attributes/set/d/7", "{\"sub_device_data\":{\"3\":{\"interval\":5}}}",
                  &d));
    ck_assert(d.params.len == 1 && d.depth == 1 && is(d.path[0], "3"));
    /* An attribute that is called so, and no object. */
    tk_ok(read_as("devices/attributes/set/d/7", "{\"gateway_data\":5}", &d));
    ck_assert(d.params.len == 1 && d.depth == 0 && is(d.params.as.members[0].key, "gateway_data"));
    tk_ok(read_as("devices/telemetry/control/d", "{\"on\":true}", &d));
    ck_assert(d.params.len == 1);
    static const char *const gets[] = { "", "{}", "{\"keys\":[]}", "{\"gateway_data\":[]}" };
    for (size_t i = 0; i < 4; i++) {
        tk_ok(read_as("devices/attributes/get/d", gets[i], &d));
        ck_assert(d.params.type == TPC_ARRAY && d.params.len == 0);
    }
    tk_ok(read_as("devices/attributes/get/d", "{\"keys\":[\"a\",\"b\"]}", &d));
    ck_assert_uint_eq(d.params.len, 2);
    tk_ok(read_as("devices/attributes/get/d", "{\"sub_device_data\":{\"3\":[\"a\"]}}", &d));
    ck_assert(d.params.len == 1 && d.depth == 1);
}
END_TEST

Suite *down_suite(void)
{
    Suite *s = suite_create("thingspanel_down");
    TCase *c = tcase_create("down");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, topics_of_a_service_are_known_with_device_and_message);
    tcase_add_test(c, flat_command_has_method_and_any_params);
    tcase_add_test(c, what_means_nothing_is_refused);
    tcase_add_test(c, nesting_of_every_depth_gives_the_path_from_the_gateway);
    tcase_add_test(c, sets_and_gets_are_read_flat_and_nested);
    suite_add_tcase(s, c);
    return s;
}
