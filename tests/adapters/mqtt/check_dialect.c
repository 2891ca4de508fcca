#include "dialect.h"
#include "mqtt_suites.h"

#include <stdio.h>
#include <string.h>

static const struct mqtt_pattern patterns[] = {
    { TPC_STR_INIT("meters/{device}/up"), TPC_STR_INIT("meters/{device}/down/{id}"),
      TPC_STR_INIT("meter"), TPC_MSG_UNKNOWN },
    { TPC_STR_INIT("+/{device}/ack/{id}"), { NULL, 0 }, { NULL, 0 }, TPC_MSG_REPLY },
};

static bool parse(uint32_t set, const char *topic, struct mqtt_address *ret)
{
    return mqtt_address_parse(set, patterns, 2, tpc_str_from(topic), ret);
}

static void is(struct tpc_str s, const char *text)
{
    ck_assert_msg(tpc_str_equal(s, tpc_str_from(text)), "\"%.*s\", expected \"%s\"", (int) s.len,
                  s.len > 0 ? s.ptr : "", text);
}

START_TEST(alink_topic_names_product_and_device)
{
    struct mqtt_address a;
    ck_assert(parse(MQTT_ALINK, "/sys/pk/dn/thing/property/post", &a));
    is(a.product, "pk");
    is(a.device, "dn");
    ck_assert_uint_eq(a.kind, TPC_MSG_UNKNOWN);
    ck_assert(parse(MQTT_ALINK, "/sys/pk/dn/thing/property/set_reply", &a));
    ck_assert(parse(MQTT_ALINK, "/sys/pk/dn/thing/service/invoke_reply", &a));
}
END_TEST

START_TEST(alink_downlinks_and_broken_topics_are_not_ours)
{
    static const char *const others[] = { "/sys/pk/dn/thing/property/set",
                                          "/sys/pk/dn/thing/service/invoke",
                                          "/sys/pk/dn/thing/property/post_reply",
                                          "/sys/pk/dn/",
                                          "/sys/pk/dn",
                                          "/sys//dn/thing/property/post",
                                          "/sys/pk//thing/property/post",
                                          "sys/pk/dn/thing/property/post",
                                          "" };
    struct mqtt_address a;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        ck_assert_msg(!parse(MQTT_ALINK, others[i], &a), "taken: %s", others[i]);
    }
}
END_TEST

START_TEST(thingspanel_topics_are_told_apart)
{
    static const struct {
        const char *topic;
        uint16_t kind;
        const char *id, *device;
    } good[] = {
        { "devices/telemetry", TPC_MSG_TELEMETRY, "", "" },
        { "devices/attributes/77", TPC_MSG_ATTRIBUTES, "77", "" },
        { "devices/event/78", TPC_MSG_EVENT, "78", "" },
        { "devices/command/response/79", TPC_MSG_REPLY, "79", "" },
        { "devices/attributes/set/response/80", TPC_MSG_REPLY, "80", "" },
        { "devices/status/d1", TPC_MSG_PRESENCE, "", "d1" },
        { "gateway/telemetry", TPC_MSG_TELEMETRY, "", "" },
        { "gateway/attributes/77", TPC_MSG_ATTRIBUTES, "77", "" },
        { "gateway/event/78", TPC_MSG_EVENT, "78", "" },
        { "gateway/command/response/79", TPC_MSG_REPLY, "79", "" },
        { "gateway/attributes/set/response/80", TPC_MSG_REPLY, "80", "" },
    };
    static const char *const others[] = {
        "devices/telemetry/",  "devices/telemetry/control/n", "devices/attributes",
        "devices/attributes/", "devices/attributes/a/b",      "devices/event/",
        "devices/status/",     "devices/command/n/1",         "other",
        "gateway/telemetry/1", "gateway/command/n/1",         "gateway/attributes/get/n",
    };
    struct mqtt_address a;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(parse(MQTT_THINGSPANEL, good[i].topic, &a), "refused: %s", good[i].topic);
        ck_assert_uint_eq(a.kind, good[i].kind);
        is(a.correlation, good[i].id);
        is(a.device, good[i].device);
        ck_assert_int_eq((a.flags & TPC_FRAME_WRAPPED) != 0, good[i].device[0] == '\0');
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        ck_assert_msg(!parse(MQTT_THINGSPANEL, others[i], &a), "taken: %s", others[i]);
    }
}
END_TEST

START_TEST(custom_pattern_finds_device_and_id)
{
    struct mqtt_address a;
    ck_assert(parse(MQTT_CUSTOM, "meters/m-1/up", &a));
    is(a.product, "meter");
    is(a.device, "m-1");
    ck_assert_uint_eq(a.custom, 0);
    ck_assert(parse(MQTT_CUSTOM, "any/m-2/ack/99", &a));
    is(a.device, "m-2");
    is(a.correlation, "99");
    ck_assert_uint_eq(a.custom, 1);
    ck_assert_uint_eq(a.kind, TPC_MSG_REPLY);
    ck_assert(!parse(MQTT_CUSTOM, "meters//up", &a));
    ck_assert(!parse(MQTT_CUSTOM, "meters/m-1/up/more", &a));
    ck_assert(!parse(MQTT_CUSTOM, "meters/m-1", &a));
    ck_assert(!parse(MQTT_ALINK, "meters/m-1/up", &a));
}
END_TEST

START_TEST(pattern_has_one_device_and_whole_levels)
{
    static const char *const good[] = { "{device}", "a/{device}", "/{device}/{id}/+" };
    static const char *const bad[] = { "",    "a/b",         "{device}/{device}", "a{device}",
                                       "a/#", "{device}/x+", "{device}/{other}" };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(mqtt_pattern_valid(tpc_str_from(good[i])), "refused: %s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!mqtt_pattern_valid(tpc_str_from(bad[i])), "taken: %s", bad[i]);
    }
}
END_TEST

struct down {
    enum mqtt_dialect dialect;
    uint16_t kind;
    const char *name, *topic;
};

START_TEST(downlink_topics_are_those_of_the_contracts)
{
    static const struct down all[] = {
        { MQTT_ALINK, TPC_MSG_COMMAND, "go", "/sys/p/d/thing/service/invoke" },
        { MQTT_ALINK, TPC_MSG_COMMAND, "set", "/sys/p/d/thing/property/set" },
        { MQTT_ALINK, TPC_MSG_ATTRIBUTES_SET, "", "/sys/p/d/thing/property/set" },
        { MQTT_ALINK, TPC_MSG_COMMAND, "thing.topo.change", "/sys/p/d/thing/topo/change" },
        { MQTT_ALINK, TPC_MSG_REPLY, "thing.topo.add", "/sys/p/d/thing/topo/add_reply" },
        { MQTT_ALINK, TPC_MSG_REPLY, "thing.property.post", "/sys/p/d/thing/property/post_reply" },
        { MQTT_ALINK, TPC_MSG_REPLY, "", "/sys/p/d/thing/property/post_reply" },
        { MQTT_ALINK, TPC_MSG_REPLY, "overheat", "/sys/p/d/thing/event/post_reply" },
        { MQTT_ALINK, TPC_MSG_ATTRIBUTES_GET, "", NULL },
        { MQTT_THINGSPANEL, TPC_MSG_TELEMETRY_SET, "", "devices/telemetry/control/d" },
        { MQTT_THINGSPANEL, TPC_MSG_ATTRIBUTES_SET, "", "devices/attributes/set/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_COMMAND, "set", "devices/attributes/set/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_ATTRIBUTES_GET, "", "devices/attributes/get/d" },
        { MQTT_THINGSPANEL, TPC_MSG_COMMAND, "get", "devices/attributes/get/d" },
        { MQTT_THINGSPANEL, TPC_MSG_COMMAND, "go", "devices/command/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_REPLY, "", "devices/attributes/response/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_REPLY, "overheat", "devices/event/response/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_RAW, "", NULL },
        { MQTT_CUSTOM, TPC_MSG_COMMAND, "go", "meters/d/down/c1" },
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct tpc_frame f = { .size = sizeof(f), .kind = all[i].kind };
        char topic[MQTT_TOPIC_MAX];
        f.name = tpc_str_from(all[i].name);
        f.correlation = TPC_STR("c1");
        int rc =
            mqtt_topic_down(all[i].dialect, &patterns[0], TPC_STR("p"), TPC_STR("d"), &f, topic);
        if (all[i].topic == NULL) {
            ck_assert_int_eq(rc, TPC_EUNSUPPORTED);
        } else {
            tk_ok(rc);
            ck_assert_str_eq(topic, all[i].topic);
        }
    }
}
END_TEST

START_TEST(a_services_devices_are_spoken_to_under_its_prefix)
{
    static const struct down all[] = {
        { MQTT_THINGSPANEL, TPC_MSG_COMMAND, "go", "plugin/x/devices/command/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_COMMAND, "set", "plugin/x/devices/attributes/set/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_ATTRIBUTES_GET, "", "plugin/x/devices/attributes/get/d" },
        { MQTT_THINGSPANEL, TPC_MSG_TELEMETRY_SET, "", "plugin/x/devices/telemetry/control/d" },
    };
    char topic[MQTT_TOPIC_MAX], longest[300];
    struct tpc_frame f = { .size = sizeof(f), .flags = TPC_FRAME_GATEWAY };
    f.correlation = TPC_STR("c1");
    f.topic = TPC_STR("plugin/x/");
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        f.kind = all[i].kind;
        f.name = tpc_str_from(all[i].name);
        tk_ok(mqtt_topic_down(all[i].dialect, NULL, TPC_STR("p"), TPC_STR("d"), &f, topic));
        ck_assert_str_eq(topic, all[i].topic);
    }
    memset(longest, 'x', sizeof(longest));
    f.topic = (struct tpc_str){ longest, sizeof(longest) };
    tk_fails(TPC_ETOOBIG,
             mqtt_topic_down(MQTT_THINGSPANEL, NULL, TPC_STR("p"), TPC_STR("d"), &f, topic));
}
END_TEST

START_TEST(downlink_topics_of_gateways_are_those_of_the_contract)
{
    static const struct down all[] = {
        { MQTT_THINGSPANEL, TPC_MSG_TELEMETRY_SET, "", "gateway/telemetry/control/d" },
        { MQTT_THINGSPANEL, TPC_MSG_ATTRIBUTES_SET, "", "gateway/attributes/set/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_ATTRIBUTES_GET, "", "gateway/attributes/get/d" },
        { MQTT_THINGSPANEL, TPC_MSG_COMMAND, "go", "gateway/command/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_REPLY, "", "gateway/attributes/response/d/c1" },
        { MQTT_THINGSPANEL, TPC_MSG_REPLY, "overheat", "gateway/event/response/d/c1" },
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct tpc_frame f = { .size = sizeof(f), .kind = all[i].kind, .flags = TPC_FRAME_GATEWAY };
        char topic[MQTT_TOPIC_MAX];
        f.name = tpc_str_from(all[i].name);
        f.correlation = TPC_STR("c1");
        tk_ok(mqtt_topic_down(all[i].dialect, NULL, TPC_STR("p"), TPC_STR("d"), &f, topic));
        ck_assert_str_eq(topic, all[i].topic);
    }
}
END_TEST

START_TEST(key_that_would_break_a_topic_is_not_published_to)
{
    static const char *const keys[] = { "a/b", "+", "#", "a#" };
    static const enum mqtt_dialect dialects[] = { MQTT_ALINK, MQTT_THINGSPANEL, MQTT_CUSTOM };
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    char topic[MQTT_TOPIC_MAX], huge[MQTT_TOPIC_MAX + 1];
    f.name = TPC_STR("go");
    f.correlation = TPC_STR("c1");
    memset(huge, 'k', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    for (size_t d = 0; d < 3; d++) {
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
            tk_fails(TPC_EUNSUPPORTED, mqtt_topic_down(dialects[d], &patterns[0], TPC_STR("p"),
                                                       tpc_str_from(keys[i]), &f, topic));
        }
        tk_fails(TPC_ETOOBIG, mqtt_topic_down(dialects[d], &patterns[0], TPC_STR("p"),
                                              tpc_str_from(huge), &f, topic));
    }
}
END_TEST

enum { FILTERS_BYTES = 1024 };

static int collect(void *user, const char *filter, bool both_ways)
{
    (void) both_ways;
    char *all = user;
    size_t len = strlen(all);
    snprintf(all + len, FILTERS_BYTES - len, "%s ", filter);
    return 0;
}

START_TEST(filters_cover_each_dialect)
{
    char all[FILTERS_BYTES] = "";
    tk_ok(mqtt_filters(MQTT_ALINK | MQTT_CUSTOM, patterns, 2, collect, all));
    ck_assert_str_eq(all, "/sys/+/+/# meters/+/up +/+/ack/+ ");
    all[0] = '\0';
    tk_ok(mqtt_filters(MQTT_THINGSPANEL, patterns, 2, collect, all));
    ck_assert_str_eq(all,
                     "devices/telemetry devices/attributes/+ devices/event/+ "
                     "devices/command/response/+ devices/attributes/set/response/+ "
                     "devices/status/+ gateway/telemetry gateway/attributes/+ gateway/event/+ "
                     "gateway/command/response/+ gateway/attributes/set/response/+ tpcore/why ");
}
END_TEST

START_TEST(filter_matches_as_the_specification_says)
{
    static const struct {
        const char *filter, *topic;
        bool match;
    } cases[] = {
        { "a/b", "a/b", true },   { "a/+", "a/b", true },     { "a/+", "a/b/c", false },
        { "a/#", "a/b/c", true }, { "a/#", "a", true },       { "#", "a/b", true },
        { "#", "$SYS/x", false }, { "+/x", "$SYS/x", false }, { "$SYS/#", "$SYS/x", true },
        { "+", "", true },        { "a", "a/", false },       { "a/+", "a/", true },
        { "+/+", "/a", true },    { "/+", "a", false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_msg(mqtt_filter_match(tpc_str_from(cases[i].filter),
                                        tpc_str_from(cases[i].topic)) == cases[i].match,
                      "%s against %s", cases[i].topic, cases[i].filter);
    }
}
END_TEST

Suite *dialect_suite(void)
{
    Suite *s = suite_create("dialect");
    TCase *c = tcase_create("dialect");
    tcase_add_test(c, alink_topic_names_product_and_device);
    tcase_add_test(c, alink_downlinks_and_broken_topics_are_not_ours);
    tcase_add_test(c, thingspanel_topics_are_told_apart);
    tcase_add_test(c, custom_pattern_finds_device_and_id);
    tcase_add_test(c, pattern_has_one_device_and_whole_levels);
    tcase_add_test(c, downlink_topics_are_those_of_the_contracts);
    tcase_add_test(c, downlink_topics_of_gateways_are_those_of_the_contract);
    tcase_add_test(c, a_services_devices_are_spoken_to_under_its_prefix);
    tcase_add_test(c, key_that_would_break_a_topic_is_not_published_to);
    tcase_add_test(c, filters_cover_each_dialect);
    tcase_add_test(c, filter_matches_as_the_specification_says);
    suite_add_tcase(s, c);
    return s;
}
